//! What a model has learned since its training, and what it has found, over kill -9.

use std::time::Duration;

use forebay::clock::now_us;

use super::rig::Rig;
use crate::support::{PATIENCE, wait_for};

const MODEL: &str = "learned-pump";
const TAG: &str = "motor.vibration";
/// What the baseline has followed is taken down at the end of each minute.
const MINUTE_US: i64 = 60_000_000;
/// How far the machine goes from where it was while it was learned, in amplitudes: less than an alarm.
const AWAY: f64 = 1.8;
/// Share of the reach that its baseline has to use up for that.
const FOLLOWED: f64 = 0.15;

/// How much of its reach the baseline of [`TAG`] has used up, once there is a score without an alarm.
fn reach_used(rig: &Rig) -> Option<f64> {
    let device = rig.model(MODEL)?["devices"][0].clone();
    (device["state"] == "normal").then(|| device["reach_used"][TAG].as_f64()).flatten()
}

/// Waits until `us` has passed by the clock.
fn wait_until(us: i64) {
    wait_for("end of the minute", 2 * PATIENCE, || (now_us() > us).then_some(()));
}

#[test]
fn a_baseline_that_has_followed_and_an_alarm_outlive_kill_9() {
    let mut rig = Rig::new(&["pump"], "");
    rig.ran("pump", 150);
    rig.daemon.start();
    rig.done(&["learn", "pump", "--from", "10m ago", "--interval", "200"]);
    // Where it was on average: its baseline stays there, however long this takes.
    rig.machine("pump").keep_steady();
    rig.wait_model(MODEL, "normal score", |state, _| state == "normal");

    let fresh = wait_for("baseline", PATIENCE, || reach_used(&rig));
    assert!(fresh < FOLLOWED / 2.0, "{fresh}");
    // It comes slowly to another level, which is followed.
    for step in 1..=12 {
        rig.machine("pump").shift(AWAY * f64::from(step) / 12.0);
        std::thread::sleep(Duration::from_millis(400));
    }
    let followed = wait_for("baseline that has followed", 2 * PATIENCE, || {
        reach_used(&rig).filter(|used| *used > FOLLOWED)
    });
    wait_until((now_us() / MINUTE_US + 1) * MINUTE_US);
    rig.wait_scores(MODEL, 2);
    rig.daemon.stop();
    for _ in 0..2 {
        rig.daemon.start();
        let again = wait_for("score without alarm", PATIENCE, || reach_used(&rig));
        println!("{fresh} of the reach after learning, {followed} before a start, {again} after it");
        assert!(again > 0.8 * followed, "it has learned anew: {again}, and {followed} before");
        rig.daemon.kill();
    }

    rig.daemon.start();
    rig.wait_model(MODEL, "normal score", |state, _| state == "normal");
    rig.machine("pump").shift(8.0);
    rig.wait_model(MODEL, "alarm", |state, _| state == "raised");
    rig.wait_on_disk("{\"told\":");
    rig.daemon.kill();
    rig.daemon.start();
    rig.wait_model(MODEL, "alarm after a kill", |state, _| state == "raised");
    rig.is_read_on("pump");
    rig.machine("pump").shift(AWAY);
    rig.wait_model(MODEL, "end of the alarm", |state, _| state == "normal");
    rig.wait_on_disk("\"end_us\":1");
    rig.daemon.stop();
    let mut told: Vec<(String, String)> = Vec::new();
    for event in rig.events("prediction") {
        let text = |key: &str| event["data"][key].as_str().unwrap().to_owned();
        told.push((text("state"), text("episode")));
    }
    // What was told in the last seconds before a kill may be told twice, of the same episode.
    told.dedup();
    told.retain(|(state, _)| state != "worse");
    let states: Vec<&str> = told.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["raised", "cleared"], "{told:?}");
    assert_eq!(told[0].1, told[1].1, "{told:?}");
}
