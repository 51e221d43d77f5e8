use forebay_connector::{DataType, Scalar};
use proptest::prelude::*;

use super::*;

fn item(table: Table, start: u16, count: u16) -> Item {
    let place = Place { table, start, bit: None };
    let data_type = DataType::single(Scalar::Word);
    Item { place, count, data_type, order: ByteOrder::Abcd, scan: 0 }
}

fn plan(items: &[Item], limits: Limits) -> Plan {
    Plan::new(items, (0u32..).take(items.len()).collect(), limits)
}

fn shape(plan: &Plan) -> Vec<(u16, u16)> {
    plan.blocks.iter().map(|block| (block.start, block.count)).collect()
}

#[test]
fn the_meter_of_the_documents_needs_three_requests() {
    // Registers 1 to 76 of the example meter in floats, and its total at 343.
    let starts = [0, 2, 4, 6, 8, 10, 12, 14, 16, 52, 56, 60, 62, 70, 72, 74, 342];
    let items: Vec<Item> = starts.map(|start| item(Table::InputRegisters, start, 2)).into();
    assert_eq!(shape(&plan(&items, Limits { registers: 60, gap: 8 })), [(0, 18), (52, 24), (342, 2)]);
    assert_eq!(shape(&plan(&items, Limits { registers: 125, gap: 34 })), [(0, 76), (342, 2)]);
}

#[test]
fn ten_thousand_registers_are_eighty_requests() {
    let items: Vec<Item> = (0..10_000).map(|start| item(Table::HoldingRegisters, start, 1)).collect();
    assert_eq!(plan(&items, Limits { registers: 125, gap: 0 }).blocks.len(), 80);
    let coils: Vec<Item> = (0..10_000).map(|start| item(Table::Coils, start, 1)).collect();
    assert_eq!(plan(&coils, Limits { registers: 125, gap: 0 }).blocks.len(), 5);
}

#[test]
fn the_last_register_is_reached() {
    let items = [item(Table::HoldingRegisters, 65_532, 4), item(Table::HoldingRegisters, 65_535, 1)];
    assert_eq!(shape(&plan(&items, Limits { registers: 125, gap: 0 })), [(65_532, 4)]);
}

#[test]
fn a_refused_block_is_halved_down_to_the_tag() {
    let items: Vec<Item> = (0..5).map(|start| item(Table::HoldingRegisters, start, 1)).collect();
    let mut plan = plan(&items, Limits { registers: 125, gap: 0 });
    plan.split(&items, 0);
    assert_eq!(shape(&plan), [(0, 2), (2, 3)]);
    plan.split(&items, 1);
    assert_eq!(shape(&plan), [(0, 2), (2, 1), (3, 2)]);
    plan.split(&items, 1);
    assert_eq!(plan.blocks.iter().map(|block| block.refused).collect::<Vec<_>>(), [false, true, false]);
}

/// Fewest groups of `items` that each fit into one request, by trying every partition.
fn fewest(items: &[Item], limits: Limits, groups: &mut Vec<Vec<usize>>, next: usize) -> usize {
    if next == items.len() {
        let all_fit = groups.iter().all(|group| fits(items, group, limits));
        return if all_fit { groups.len() } else { usize::MAX };
    }
    let mut best = usize::MAX;
    for group in 0..=groups.len() {
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(next);
        best = best.min(fewest(items, limits, groups, next + 1));
        groups[group].pop();
        if groups[group].is_empty() {
            groups.pop();
        }
    }
    best
}

/// One request for this group obeys the limits: judged register by register, unlike the planner.
fn fits(items: &[Item], group: &[usize], limits: Limits) -> bool {
    let members: Vec<&Item> = group.iter().map(|index| &items[*index]).collect();
    let (start, end) = (
        members.iter().map(|item| item.place.start).min().unwrap(),
        members.iter().map(|item| item.end()).max().unwrap(),
    );
    let mut hole = 0;
    let mut widest = 0;
    for register in u32::from(start)..end {
        let used = members.iter().any(|item| (u32::from(item.place.start)..item.end()).contains(&register));
        hole = if used { 0 } else { hole + 1 };
        widest = widest.max(hole);
    }
    members.iter().all(|item| item.place.table == members[0].place.table)
        && end - u32::from(start) <= u32::from(limits.registers)
        && widest <= u32::from(limits.gap)
}

fn small_items() -> impl Strategy<Value = Vec<Item>> {
    let item = (any::<bool>(), 0u16..24, 1u16..5).prop_map(|(holding, start, count)| {
        item(if holding { Table::HoldingRegisters } else { Table::InputRegisters }, start, count)
    });
    proptest::collection::vec(item, 1..8)
}

proptest! {
    #[test]
    fn no_plan_needs_fewer_requests(items in small_items(), registers in 4u16..12, gap in 0u16..5) {
        let limits = Limits { registers, gap };
        let plan = plan(&items, limits);
        prop_assert_eq!(plan.blocks.len(), fewest(&items, limits, &mut Vec::new(), 0));
    }

    #[test]
    fn every_tag_is_read_once_and_whole(
        starts in proptest::collection::vec((0u16..65_400, 1u16..100), 1..300),
        registers in 100u16..=125,
        gap in 0u16..125,
        splits in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
    ) {
        let items: Vec<Item> =
            starts.iter().map(|(start, count)| item(Table::HoldingRegisters, *start, *count)).collect();
        // Every second tag, backwards: samples come in the order asked for, not in that of places.
        let tags: Vec<u32> = (0u32..).take(items.len()).step_by(2).collect::<Vec<_>>().into_iter().rev().collect();
        let mut plan = Plan::new(&items, tags.clone(), Limits { registers, gap });
        for split in splits {
            let index = split.index(plan.blocks.len());
            plan.split(&items, index);
        }
        let mut seen = vec![0; tags.len()];
        for block in &plan.blocks {
            prop_assert!(block.count <= registers);
            for member in plan.members(block) {
                let item = &items[member.tag as usize];
                prop_assert_eq!(tags[member.slot], member.tag);
                prop_assert!(block.start <= item.place.start);
                prop_assert!(item.end() <= u32::from(block.start) + u32::from(block.count));
                seen[member.slot] += 1;
            }
        }
        prop_assert!(seen.iter().all(|times| *times == 1));
    }
}
