//! Many seeds, and the proof that the oracle notices mistakes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::{Context, Mutant};
use super::world::World;

const SEEDS: u64 = 500;
/// Failures listed at most.
const FAILURES_MAX: usize = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One run.
fn run(seed: u64, mutant: Option<Mutant>, is_logged: bool) -> Context {
    run_with(seed, mutant, is_logged, mutant == Some(Mutant::ErrorIsZeros))
}

/// One run, with disks that give errors in the place of bytes for a while or without.
fn run_with(seed: u64, mutant: Option<Mutant>, is_logged: bool, reads_fail: bool) -> Context {
    let mut world = World::new(seed, mutant, is_logged);
    world.plan.reads_fail = reads_fail;
    let context = world.context.clone();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.live())) {
        context.fail(|| format!("a panic: {}", crate::panic::words(&*panic)));
    }
    context
}

/// What was violated, with the end of the log.
fn report(seed: u64, reads_fail: bool) -> String {
    let again = run_with(seed, None, true, reads_fail);
    let broken = again.failure().unwrap_or_else(|| "nothing, when it was run again".to_owned());
    let log = again.lines().join("\n");
    format!("seed {seed}: {broken}\nFOREBAY_SIM_SEED={seed} runs it again; its log ends with\n{log}\n")
}

/// Runs seeds on all cores; those that failed, and why. Ends after `most` failures.
fn failures(seeds: Range<u64>, run: impl Fn(u64) -> Context + Sync, most: usize) -> BTreeMap<u64, String> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= most {
                        return;
                    }
                    if let Some(failure) = run(seed).failure() {
                        failed.lock().unwrap().insert(seed, failure);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn every_synced_record_arrives_once_and_in_order_or_is_told_as_lost() {
    all_hold(false);
}

#[test]
fn what_a_disk_does_not_give_for_a_while_arrives_later() {
    all_hold(true);
}

fn all_hold(reads_fail: bool) {
    let seeds = match number("FOREBAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FOREBAY_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let failed = failures(seeds.clone(), |seed| run_with(seed, None, false, reads_fail), FAILURES_MAX);
    let Some(first) = failed.keys().next() else { return };
    let list: Vec<_> = failed.iter().map(|(seed, failure)| format!("{seed}: {failure}")).collect();
    let list = list.join("\n");
    panic!(
        "{}\n{} of {} seeds failed:\n{list}",
        report(*first, reads_fail),
        failed.len(),
        seeds.end - seeds.start
    );
}

#[test]
fn the_oracle_notices_every_mistake() {
    // `FOREBAY_SIM_MUTANTS` counts the seeds that notice; else one is enough.
    let counts = number("FOREBAY_SIM_MUTANTS").is_some();
    let mut unnoticed = Vec::new();
    for mutant in Mutant::ALL {
        let most = if counts { usize::MAX } else { 1 };
        let noticed = failures(0..SEEDS, |seed| run(seed, Some(mutant), false), most);
        if counts {
            println!("{mutant:?}: noticed by {} of {SEEDS} seeds", noticed.len());
        }
        match noticed.first_key_value() {
            Some((seed, failure)) => println!("{mutant:?}: seed {seed}: {failure}"),
            None => unnoticed.push(mutant),
        }
    }
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        let mut pairs = first.lines().into_iter().zip(second.lines());
        let differ = pairs.find(|(first, second)| first != second);
        assert!(first.digest() == second.digest(), "seed {seed}: {differ:#?}");
    }
}
