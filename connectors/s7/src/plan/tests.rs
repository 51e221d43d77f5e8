use proptest::prelude::*;

use super::*;

const PDU_480: Limits = Limits { request_bytes: 480, reply_bytes: 480 };

fn want(tag: u32, start: u32, len_bytes: u32) -> Want {
    Want { tag, area: Area::Db(1), start, len_bytes, alone: false }
}

#[test]
fn neighbours_are_one_range_and_gaps_are_weighed() {
    let plan = Plan::new(vec![want(0, 0, 4), want(1, 4, 4), want(2, 24, 2), want(3, 43, 2)], PDU_480);
    let ranges: Vec<_> = plan.ranges.iter().map(|range| (range.start, range.len_bytes, range.tags)).collect();
    assert_eq!(ranges, [(0, 26, 3), (43, 2, 1)], "16 bytes of gap are read along, 17 are not");
    assert_eq!(plan.requests, [[0, 1]]);
}

#[test]
fn a_tag_larger_than_an_answer_is_cut_between_elements() {
    let plan = Plan::new(vec![want(7, 100, 1000), want(8, 1100, 2)], Limits { reply_bytes: 240, ..PDU_480 });
    let lengths: Vec<_> = plan.ranges.iter().map(|range| range.len_bytes).collect();
    assert_eq!(lengths, [216, 216, 216, 216, 136, 2]);
    assert_eq!(plan.slots[0], Slot { tag: 7, image: 0..1000, ranges: 0..5 });
}

#[test]
fn a_request_carries_at_most_twenty_items() {
    let wants: Vec<_> = (0..50).map(|n| want(n, n * 100, 2)).collect();
    let plan = Plan::new(wants.clone(), PDU_480);
    assert_eq!(plan.requests.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 10]);
    let small = Limits { request_bytes: 125, ..PDU_480 };
    assert_eq!(Plan::new(wants, small).requests[0].len(), 9, "a small request holds fewer");
}

#[test]
fn a_tag_that_must_stay_alone_stays_alone() {
    let plan = Plan::new(vec![want(0, 0, 2), Want { alone: true, ..want(1, 2, 2) }, want(2, 4, 2)], PDU_480);
    assert_eq!(plan.ranges.len(), 3);
    assert!(plan.ranges.iter().all(|range| range.tags == 1));
}

fn wants() -> impl Strategy<Value = Vec<Want>> {
    let area = prop_oneof![
        3 => (1u16..4).prop_map(Area::Db),
        1 => Just(Area::Memory),
        1 => Just(Area::Input),
    ];
    let len = prop_oneof![8 => 1u32..13, 1 => 13u32..300, 1 => 300u32..3000];
    let one = (area, 0u32..2000, len, proptest::bool::weighted(0.1));
    proptest::collection::vec(one, 0..200).prop_map(|wants| {
        let tagged = wants.into_iter().enumerate();
        tagged
            .map(|(tag, (area, start, len_bytes, alone))| Want {
                tag: u32::try_from(tag).unwrap(),
                area,
                start,
                len_bytes,
                alone,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_tag_is_covered_and_every_limit_kept(
        wants in wants(),
        reply_bytes in prop_oneof![Just(64usize), Just(240), Just(480), Just(960)],
        request_bytes in prop_oneof![Just(64usize), Just(125), Just(480)],
    ) {
        let limits = Limits { request_bytes, reply_bytes };
        let plan = Plan::new(wants.clone(), limits);
        for request in &plan.requests {
            prop_assert!((1..=ITEMS_MAX).contains(&request.len()));
            prop_assert!(REQUEST_HEAD_BYTES + request.len() * REQUEST_ITEM_BYTES <= request_bytes);
            let reply: usize = request
                .iter()
                .map(|range| 4 + usize::from(plan.ranges[*range].len_bytes).next_multiple_of(2))
                .sum();
            prop_assert!(14 + reply <= reply_bytes);
        }
        let mut asked: Vec<usize> = plan.requests.iter().flatten().copied().collect();
        asked.sort_unstable();
        prop_assert_eq!(asked, (0..plan.ranges.len()).collect::<Vec<_>>(), "each range once");

        prop_assert_eq!(plan.slots.len(), wants.len());
        for (slot, want) in plan.slots.iter().zip(&wants) {
            prop_assert_eq!(slot.tag, want.tag);
            prop_assert_eq!(slot.image.len(), want.len_bytes as usize);
            prop_assert!(slot.image.end <= plan.image_bytes);
            // Byte by byte: the image holds at the tag's place what the device has at its address.
            let mut covered = slot.image.start;
            for range in &plan.ranges[slot.ranges.clone()] {
                let len = usize::from(range.len_bytes);
                prop_assert_eq!(range.area, want.area);
                prop_assert!((range.at..range.at + len).contains(&covered));
                let address = range.start as usize + (covered - range.at);
                prop_assert_eq!(address, want.start as usize + (covered - slot.image.start));
                covered = (range.at + len).min(slot.image.end);
                prop_assert!(!want.alone || range.tags == 1);
            }
            prop_assert_eq!(covered, slot.image.end);
        }
        for (range, next) in plan.ranges.iter().zip(plan.ranges.iter().skip(1)) {
            prop_assert_eq!(range.at + usize::from(range.len_bytes), next.at, "no bytes shared");
        }
    }

    #[test]
    fn merging_never_costs_more_than_asking_one_by_one(wants in wants()) {
        let alone: Vec<Want> = wants.iter().map(|want| Want { alone: true, ..*want }).collect();
        let (merged, single) = (Plan::new(wants, PDU_480), Plan::new(alone, PDU_480));
        prop_assert!(merged.cost_ns <= single.cost_ns, "{} requests, {} at least, {} ns, {} alone, {} ns", merged.requests.len(), merged.requests_min, merged.cost_ns, single.requests.len(), single.cost_ns);
        prop_assert!(merged.bound_ns <= merged.cost_ns);
    }
}
