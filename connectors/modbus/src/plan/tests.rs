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
    assert_eq!(
        shape(&plan(&items, Limits { registers: 60, coils: 2000, gap: 8 })),
        [(0, 18), (52, 24), (342, 2)]
    );
    assert_eq!(shape(&plan(&items, Limits { registers: 125, coils: 2000, gap: 34 })), [(0, 76), (342, 2)]);
}

#[test]
fn ten_thousand_registers_are_eighty_requests() {
    let items: Vec<Item> = (0..10_000).map(|start| item(Table::HoldingRegisters, start, 1)).collect();
    assert_eq!(plan(&items, Limits { registers: 125, coils: 2000, gap: 0 }).blocks.len(), 80);
    let coils: Vec<Item> = (0..10_000).map(|start| item(Table::Coils, start, 1)).collect();
    assert_eq!(plan(&coils, Limits { registers: 125, coils: 2000, gap: 0 }).blocks.len(), 5);
}

#[test]
fn the_last_register_is_reached() {
    let items = [item(Table::HoldingRegisters, 65_532, 4), item(Table::HoldingRegisters, 65_535, 1)];
    assert_eq!(shape(&plan(&items, Limits { registers: 125, coils: 2000, gap: 0 })), [(65_532, 4)]);
}

#[test]
fn a_refused_block_is_halved_down_to_the_tag() {
    let items: Vec<Item> = (0..5).map(|start| item(Table::HoldingRegisters, start, 1)).collect();
    let mut plan = plan(&items, Limits { registers: 125, coils: 2000, gap: 0 });
    plan.split(&items, 0);
    assert_eq!(shape(&plan), [(0, 2), (2, 3)]);
    plan.split(&items, 1);
    assert_eq!(shape(&plan), [(0, 2), (2, 1), (3, 2)]);
    plan.split(&items, 1);
    assert_eq!(plan.blocks.iter().map(|block| block.refused).collect::<Vec<_>>(), [false, true, false]);
}

/// Cost of the cheapest groups of `items` that each fit into one request, by trying every partition.
fn cheapest(items: &[Item], limits: Limits, groups: &mut Vec<Vec<usize>>, next: usize) -> u64 {
    if next == items.len() {
        let all_fit = groups.iter().all(|group| fits(items, group, limits));
        let cost = |group: &Vec<usize>| {
            let start = group.iter().map(|index| u32::from(items[*index].place.start)).min().unwrap();
            let len = group.iter().map(|index| items[*index].end()).max().unwrap() - start;
            let bits = items[group[0]].place.table.is_bits();
            let bytes = 21 + if bits { len.div_ceil(8) } else { 2 * len };
            Cost::default().request_ns + u64::from(bytes) * Cost::default().byte_ns
        };
        return if all_fit { groups.iter().map(cost).sum() } else { u64::MAX };
    }
    let mut best = u64::MAX;
    for group in 0..=groups.len() {
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(next);
        best = best.min(cheapest(items, limits, groups, next + 1));
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
    let table = members[0].place.table;
    let longest = if table.is_bits() { 2000 } else { u32::from(limits.registers) };
    members.iter().all(|item| item.place.table == table)
        && end - u32::from(start) <= longest
        && widest <= u32::from(limits.gap)
}

fn small_items() -> impl Strategy<Value = Vec<Item>> {
    let table = prop_oneof![Just(Table::HoldingRegisters), Just(Table::InputRegisters), Just(Table::Coils)];
    let item = (table, 0u16..24, 1u16..5).prop_map(|(table, start, count)| item(table, start, count));
    proptest::collection::vec(item, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_plan_costs_less(items in small_items(), registers in 4u16..12, gap in 0u16..5) {
        let limits = Limits { registers, coils: 2000, gap };
        let plan = plan(&items, limits);
        let cost = |block: &Block| {
            rules(block.table, limits, Cost::default()).cost_ns(u32::from(block.count))
        };
        let found: u64 = plan.blocks.iter().map(cost).sum();
        prop_assert_eq!(found, cheapest(&items, limits, &mut Vec::new(), 0));
    }

    #[test]
    fn limits_hold_and_what_is_too_wide_is_never_asked_for(
        items in small_items(), registers in 1u16..5, gap in 0u16..5,
    ) {
        let plan = plan(&items, Limits { registers, coils: 2000, gap });
        for block in &plan.blocks {
            let members = plan.members(block);
            let wide = members.iter().any(|member| items[member.tag as usize].count > registers);
            prop_assert_eq!(block.refused, wide && !block.table.is_bits());
            prop_assert!(block.refused || block.table.is_bits() || block.count <= registers);
        }
    }
}

proptest! {
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
        let mut plan = Plan::new(&items, tags.clone(), Limits { registers, coils: 2000, gap });
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
