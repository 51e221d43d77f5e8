//! kill -9 at any moment of an installation, an activation, a roll-back: the registry points to a
//! version that is whole, the model scores, nothing half-done stays, and the samples go on.

use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

use super::{MODEL, Plant, argument, names, package};
use crate::support::{PATIENCE, wait_for};

const ROUNDS: u64 = 24;
const VERSIONS: usize = 5;
/// Longest time from the first order to the kill.
const KILL_WITHIN_MS: u64 = 600;

#[test]
fn kill_9_at_any_moment_leaves_a_whole_version() {
    let mut plant = Plant::new(None, "away");
    let tars: Vec<String> =
        (0..VERSIONS).map(|at| argument(&plant.tar(&format!("v{at}"))).to_owned()).collect();
    let unsigned = argument(&plant.write_tar("unsigned", &package("v9"))).to_owned();
    let mut random = fastrand::Rng::with_seed(5);
    let (mut half_done, mut changed) = (0, 0);
    let mut before = Json::Null;
    plant.daemon.start();
    plant.wait_scores();
    for round in 0..ROUNDS {
        let orders: Vec<Vec<String>> = (0..6).map(|_| order(&mut random, &tars, &unsigned)).collect();
        let config = plant.daemon.config();
        let ordering = thread::spawn(move || {
            for order in orders {
                let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
                // Killed in the middle of it, or refused: both are fine.
                let _said = command.arg("model").args(order).arg("--config").arg(&config).output().unwrap();
            }
        });
        thread::sleep(Duration::from_millis(random.u64(0..KILL_WITHIN_MS)));
        plant.daemon.kill();
        ordering.join().unwrap();
        let store = plant.daemon.state().join("models");
        half_done += names(&store).iter().filter(|name| name.starts_with('.')).count();

        let reads = plant.counter.count();
        plant.daemon.start();
        let listed = plant.wait_scores();
        assert!(
            names(&store).iter().all(|name| !name.starts_with('.')),
            "round {round}: {:?}",
            names(&store)
        );
        check(round, &listed);
        changed += usize::from(listed["active"] != before);
        before = listed["active"].clone();
        wait_for("reads", PATIENCE, || (plant.counter.count() > reads + 3).then_some(()));
    }
    plant.daemon.stop();
    println!("{ROUNDS} kills: {changed} times another version, {half_done} half-done folders removed");
    assert!(changed > 0, "no order ever came through");
    let (counts, gaps) = plant.stored();
    assert!(counts.is_sorted_by(|a, b| a < b), "no read twice, none out of order");
    let breaks = counts.windows(2).filter(|two| two[1] != two[0] + 1).count() as u64;
    assert!(breaks <= ROUNDS, "{breaks} breaks, reads are missing only where the box was killed");
    assert!(gaps as u64 <= ROUNDS, "{gaps}");
    assert_eq!(counts.last(), Some(&u64::from(plant.counter.count())), "and none at the end");
}

fn order(random: &mut fastrand::Rng, tars: &[String], unsigned: &str) -> Vec<String> {
    let at = random.usize(..tars.len());
    let version = format!("v{at}");
    let order: &[&str] = match random.u8(..7) {
        0 | 1 => &["install", &tars[at], "--activate"],
        2 => &["install", &tars[at], "--shadow"],
        3 => &["activate", MODEL, &version],
        4 => &["rollback", MODEL],
        5 => &["install", unsigned, "--activate"],
        _ => &["remove", MODEL, &version],
    };
    order.iter().map(|word| (*word).to_owned()).collect()
}

/// All that the registry names is there and whole.
fn check(round: u64, listed: &Json) {
    let versions = listed["versions"].as_array().unwrap();
    for version in versions {
        assert_eq!(version["refused"], Json::Null, "round {round}: {version}");
        assert_eq!(version["signed_by"], "central-it", "round {round}: {version}");
    }
    let is_there = |name: &Json| name.is_null() || versions.iter().any(|version| version["version"] == *name);
    assert!(is_there(&listed["active"]), "round {round}: {listed}");
    assert!(is_there(&listed["shadow"]["version"]), "round {round}: {listed}");
    assert!(listed["before"].as_array().unwrap().iter().all(is_there), "round {round}: {listed}");
    let device = &listed["devices"][0];
    assert_eq!(device["version"], listed["active"], "round {round}: what is active runs: {listed}");
    assert_ne!(device["state"], "broken", "round {round}: {listed}");
}
