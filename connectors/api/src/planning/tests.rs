//! Both planners against exhaustive searches that share nothing with them, and their limits.

use proptest::prelude::*;

use super::*;

/// All ways to put `count` things into groups.
fn partitions(count: usize) -> Vec<Vec<Vec<usize>>> {
    let mut all: Vec<Vec<Vec<usize>>> = vec![vec![]];
    for thing in 0..count {
        let mut longer = Vec::new();
        for groups in all {
            for group in 0..=groups.len() {
                let mut groups = groups.clone();
                if group == groups.len() {
                    groups.push(Vec::new());
                }
                groups[group].push(thing);
                longer.push(groups);
            }
        }
        all = longer;
    }
    all
}

/// The span that reads a group, judged entry by entry; `None` when it breaks a rule.
fn hull(places: &[Place], group: &[usize], longest: u32, gap: u32) -> Option<u32> {
    let members: Vec<&Place> = group.iter().map(|index| &places[*index]).collect();
    if members.iter().any(|member| member.area != members[0].area)
        || (members.len() > 1 && members.iter().any(|member| member.alone))
    {
        return None;
    }
    let start = members.iter().map(|place| u64::from(place.start)).min()?;
    let end = members.iter().map(|place| place.end()).max()?;
    let mut hole = 0;
    for entry in start..end {
        let used = members.iter().any(|place| (u64::from(place.start)..place.end()).contains(&entry));
        hole = if used { 0 } else { hole + 1 };
        if hole > gap {
            return None;
        }
    }
    u32::try_from(end - start).ok().filter(|len| *len <= longest)
}

/// The least cost of a cover, by trying every partition.
fn cheapest_cover(places: &[Place], rules: &Rules) -> u64 {
    let cost = |groups: &Vec<Vec<usize>>| {
        let hulls: Option<Vec<u32>> =
            groups.iter().map(|group| hull(places, group, rules.longest, rules.gap)).collect();
        Some(
            hulls?
                .iter()
                .map(|len| rules.span_ns + u64::from(len.div_ceil(rules.step)) * rules.step_ns)
                .sum(),
        )
    };
    partitions(places.len()).iter().filter_map(cost).min().unwrap()
}

/// The least cost of a packing, by trying every partition into spans and every one of those into
/// requests.
fn cheapest_packing(places: &[Place], room: &Room, cost: Cost) -> u64 {
    let mut least = u64::MAX;
    let packings: Vec<_> = (0..=places.len()).map(partitions).collect();
    for groups in partitions(places.len()) {
        let hulls: Option<Vec<u32>> =
            groups.iter().map(|group| hull(places, group, room.longest, u32::MAX)).collect();
        let Some(lens) = hulls else { continue };
        let answer = |len: u32| room.answer_item_bytes + len + len % 2;
        let bytes: u32 = lens.iter().map(|len| answer(*len) + room.request_item_bytes).sum();
        for requests in &packings[lens.len()] {
            let fits = |request: &Vec<usize>| {
                request.len() <= room.items
                    && request.iter().map(|span| answer(lens[*span])).sum::<u32>() <= room.answer_bytes
            };
            if requests.iter().all(fits) {
                let total = requests.len() as u64 * cost.request_ns + u64::from(bytes) * cost.byte_ns;
                least = least.min(total);
            }
        }
    }
    least
}

fn places(count: usize, reach: u32, longest: u32) -> impl Strategy<Value = Vec<Place>> {
    let place = (0u32..2, 0..reach, 1..=longest, proptest::bool::weighted(0.1))
        .prop_map(|(area, start, len, alone)| Place { area, start, len, alone });
    proptest::collection::vec(place, 0..=count)
}

fn rules() -> impl Strategy<Value = Rules> {
    let step = prop_oneof![Just(1u32), Just(2), Just(8)];
    (4u32..16, prop_oneof![0u32..6, Just(u32::MAX)], 0u64..60, step, 0u64..10)
        .prop_map(|(longest, gap, span_ns, step, step_ns)| Rules { longest, gap, span_ns, step, step_ns })
}

fn room() -> impl Strategy<Value = Room> {
    (1usize..4, 14u32..40, 0u32..6, 0u32..14).prop_map(|(items, answer_bytes, answer_item_bytes, request)| {
        let longest = (answer_bytes - answer_item_bytes) & !1;
        Room { items, answer_bytes, answer_item_bytes, request_item_bytes: request, longest }
    })
}

/// Costs from "only requests count" to "only bytes count".
fn cost() -> impl Strategy<Value = Cost> {
    (prop_oneof![Just(0u64), 1u64..30, Just(5000)], 0u64..3)
        .prop_map(|(request_ns, byte_ns)| Cost { request_ns, byte_ns })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_cover_is_cheaper(places in places(6, 24, 8), rules in rules()) {
        let readable: Vec<Place> = places.iter().copied().filter(|place| place.len <= rules.longest).collect();
        prop_assert_eq!(cover(&places, &rules).cost_ns, cheapest_cover(&readable, &rules));
    }

    #[test]
    fn no_packing_is_cheaper(places in places(5, 40, 10), room in room(), cost in cost()) {
        let readable: Vec<Place> = places.iter().copied().filter(|place| place.len <= room.longest).collect();
        let packing = pack(&places, &room, cost);
        prop_assert_eq!(packing.cost_ns, cheapest_packing(&readable, &room, cost));
        prop_assert_eq!(packing.cost_ns, packing.bound_ns, "and that is known");
    }
}

proptest! {
    #[test]
    fn covers_keep_their_limits(places in places(300, 3000, 60), rules in rules()) {
        let rules = Rules { longest: rules.longest * 4, ..rules };
        let cover = cover(&places, &rules);
        let mut cost_ns = 0;
        for (index, span) in cover.spans.iter().enumerate() {
            let members: Vec<usize> = (0..places.len()).filter(|place| cover.span_of[*place] == Some(index)).collect();
            prop_assert_eq!(hull(&places, &members, rules.longest, rules.gap), Some(span.len));
            cost_ns += rules.cost_ns(span.len);
        }
        prop_assert_eq!(cover.cost_ns, cost_ns);
        for (place, span) in places.iter().zip(&cover.span_of) {
            prop_assert_eq!(span.is_none(), place.len > rules.longest);
        }
    }

    #[test]
    fn packings_keep_their_limits_and_their_bound(places in places(300, 3000, 30), items in 1usize..=20) {
        let room = Room { items, answer_bytes: 226, answer_item_bytes: 4, request_item_bytes: 12, longest: 222 };
        let packing = pack(&places, &room, Cost::default());
        let mut asked: Vec<usize> = packing.requests.iter().flatten().copied().collect();
        asked.sort_unstable();
        prop_assert_eq!(asked, (0..packing.spans.len()).collect::<Vec<_>>(), "each span once");
        for request in &packing.requests {
            prop_assert!((1..=items).contains(&request.len()));
            let bytes: u32 = request.iter().map(|span| 4 + packing.spans[*span].len.next_multiple_of(2)).sum();
            prop_assert!(bytes <= room.answer_bytes);
        }
        for (index, span) in packing.spans.iter().enumerate() {
            let members: Vec<usize> = (0..places.len()).filter(|place| packing.span_of[*place] == Some(index)).collect();
            prop_assert_eq!(hull(&places, &members, room.longest, u32::MAX), Some(span.len));
        }
        prop_assert!(packing.bound_ns <= packing.cost_ns);
        prop_assert!(packing.requests_min <= packing.requests.len());
    }
}

#[test]
fn a_span_is_cut_where_that_saves_a_request() {
    // Three blocks of 300 bytes, 466 bytes a request: whole, each would need one of its own.
    let places: Vec<Place> = (0..450)
        .map(|index| Place { area: index / 150, start: index % 150 * 2, len: 2, alone: false })
        .collect();
    let room =
        Room { items: 20, answer_bytes: 466, answer_item_bytes: 4, request_item_bytes: 12, longest: 462 };
    let packing = pack(&places, &room, Cost::default());
    assert_eq!((packing.requests.len(), packing.requests_min), (2, 2));
}

#[test]
fn a_wide_hole_is_read_where_that_saves_a_request() {
    let mut starts: Vec<u32> = (0..20).map(|index| index * 100).collect();
    starts.push(1940);
    let places: Vec<Place> =
        starts.iter().map(|start| Place { area: 0, start: *start, len: 2, alone: false }).collect();
    let room =
        Room { items: 20, answer_bytes: 466, answer_item_bytes: 4, request_item_bytes: 12, longest: 462 };
    assert_eq!(pack(&places, &room, Cost::default()).requests.len(), 1);
}

#[test]
fn nothing_to_read_costs_nothing() {
    let room =
        Room { items: 20, answer_bytes: 466, answer_item_bytes: 4, request_item_bytes: 12, longest: 462 };
    assert_eq!(pack(&[], &room, Cost::default()), Packing::default());
    let rules = Rules { longest: 125, gap: 0, span_ns: 1, step: 1, step_ns: 1 };
    assert_eq!(cover(&[], &rules), Cover::default());
}
