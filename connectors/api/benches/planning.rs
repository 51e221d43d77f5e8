//! How long planning takes, and how far from the bound it can be: `cargo bench -p forebay-connector`.

use std::time::Instant;

use forebay_connector::planning::{Cost, Packing, Place, Room, Rules, cover, pack};

/// What a PDU of 480 bytes has room for.
const ROOM: Room =
    Room { items: 20, answer_bytes: 466, answer_item_bytes: 4, request_item_bytes: 12, longest: 462 };

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap_or(0)
    }
}

/// Blocks of structures such as machines have: numbers and bits without holes, now and then a text.
fn blocks(count: usize, dice: &mut Dice) -> Vec<Place> {
    let (mut area, mut start) = (0, 0);
    let place = |_| {
        let len = match dice.below(20) {
            0 => 18,
            1..=5 => 1,
            6..=12 => 2,
            _ => 4,
        };
        if start > 2000 {
            (area, start) = (area + 1, 0);
        }
        let place = Place { area, start, len, alone: false };
        start += len + if dice.below(12) == 0 { dice.below(60) } else { 0 };
        place
    };
    (0..count).map(place).collect()
}

/// Anything anywhere, long texts and arrays among it.
fn scattered(count: usize, dice: &mut Dice) -> Vec<Place> {
    let place = |_| {
        let len = if dice.below(8) == 0 { 1 + dice.below(300) } else { 1 + dice.below(8) };
        Place { area: dice.below(40), start: dice.below(60_000), len, alone: dice.below(30) == 0 }
    };
    (0..count).map(place).collect()
}

fn report(name: &str, count: usize, packings: &[Packing], seconds: f64) {
    let requests: usize = packings.iter().map(|packing| packing.requests.len()).sum();
    let least: usize = packings.iter().map(|packing| packing.requests_min).sum();
    let best = packings.iter().filter(|packing| packing.cost_ns == packing.bound_ns).count();
    let worst = packings.iter().map(|packing| packing.cost_ns as f64 / packing.bound_ns.max(1) as f64);
    println!(
        "{name:<10} {count:>6} places: {:8.2} ms a plan, {requests} requests, at least {least}, \
         cost / bound at worst {:.4}, {best} of {} proved best",
        1000.0 * seconds / packings.len() as f64,
        worst.fold(1.0, f64::max),
        packings.len(),
    );
}

fn main() {
    let mut dice = Dice(1);
    for (name, make) in [("blocks", blocks as fn(usize, &mut Dice) -> _), ("scattered", scattered)] {
        for (count, rounds) in [(5, 1000), (20, 500), (60, 200), (200, 100), (2_000, 10), (20_000, 3)] {
            let cases: Vec<Vec<Place>> = (0..rounds).map(|_| make(count, &mut dice)).collect();
            let begun = Instant::now();
            let packings: Vec<Packing> =
                cases.iter().map(|places| pack(places, &ROOM, Cost::default())).collect();
            report(name, count, &packings, begun.elapsed().as_secs_f64());
        }
    }
    for (name, step, longest) in [("registers", 1, 125), ("coils", 8, 2000)] {
        let places: Vec<Place> = (0..20_000)
            .map(|_| Place { area: 0, start: dice.below(65_000), len: 1 + dice.below(4), alone: false })
            .collect();
        let rules = Rules { longest, gap: 10, span_ns: 5_000_000, step, step_ns: 1000 };
        let begun = Instant::now();
        let spans = cover(&places, &rules).spans.len();
        println!(
            "{name:<10}  20000 places: {:8.2} ms, {spans} requests",
            1000.0 * begun.elapsed().as_secs_f64()
        );
    }
}
