//! Many seeds, and the proof that the oracle notices mistakes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::context::{Context, Mutant};
use super::world::World;

const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One run.
fn run(seed: u64, mutant: Option<Mutant>, is_logged: bool) -> Context {
    let mut world = World::new(seed, mutant, is_logged);
    world.live();
    world.context.clone()
}

/// What was violated, with the end of the log.
fn report(seed: u64, mutant: Option<Mutant>) -> String {
    let again = run(seed, mutant, true);
    let broken = again.failure().unwrap_or_else(|| "nothing, when it was run again".to_owned());
    let log = again.lines().join("\n");
    format!("seed {seed}: {broken}\nFOREBAY_SIM_SEED={seed} runs it again; its log ends with\n{log}\n")
}

/// Runs seeds on all cores until one fails; the lowest that did.
fn first_failure(seeds: std::ops::Range<u64>, mutant: Option<Mutant>) -> Option<u64> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failed.load(Ordering::SeqCst) < seed {
                        return;
                    }
                    if run(seed, mutant, false).failure().is_some() {
                        failed.fetch_min(seed, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
}

#[test]
fn every_synced_record_arrives_once_and_in_order_or_is_told_as_lost() {
    let seeds = match number("FOREBAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FOREBAY_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let failed = first_failure(seeds, None);
    assert!(failed.is_none(), "{}", report(failed.unwrap_or_default(), None));
}
