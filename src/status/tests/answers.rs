//! The same for programs: JSON and metrics.

use std::time::Duration;

use forebay_connector::ScanClass;

use super::*;
use crate::twin::{AccessState, Slowed};

#[test]
fn the_json_names_moments_and_states_in_one_way() {
    let given = given();
    let state = |given: &Given| serde_json::to_value(given.view(Language::En)).expect("plain data");
    let up = state(&given);
    assert_eq!(up["to_it"]["numbers"]["state"], "up");
    assert_eq!(up["to_it"]["numbers"]["since"], serde_json::Value::Null);
    let cause = Cause { code: "unreachable".to_owned(), message: "all brokers down".to_owned() };
    given.facts.set(|a| {
        a.to_it.state = ToItState::Waiting { since_us: NOW_US, cause };
        a.reserve.oldest_unsent_us = Some(NOW_US);
        a.reserve.disk_error = Some(DiskError { since_us: NOW_US, message: "full".to_owned() });
    });
    let json = state(&given);
    let (it, moment) = (&json["to_it"]["numbers"], "2026-02-11T13:36:05.000000Z");
    assert_eq!((&it["state"], &it["since"]), (&"waiting".into(), &moment.into()));
    assert_eq!((&it["cause"], &it["message"]), (&"unreachable".into(), &"all brokers down".into()));
    assert_eq!(json["reserve"]["numbers"]["oldest_unsent"], moment);
    assert_eq!(json["reserve"]["numbers"]["disk_error"]["since"], moment);
    assert!(json["identity"]["started"].is_string() && json["machines"][0]["since"].is_string(), "{json}");
    assert!(!json.to_string().contains("_us\":"), "{json}");
}

#[test]
fn the_json_has_the_words_of_the_page() {
    let given = given();
    take_away(&given.twin, "press-4", NOW_US - 4 * MINUTE_US, "unreachable");
    let json = serde_json::to_value(given.view(Language::De)).expect("plain data");
    assert_eq!(json["verdict"]["text"], "press-4 sendet seit 14:32 nichts (Kabel oder SPS aus?).");
    assert_eq!(json["verdict"]["letter"], "F");
    let press =
        json["machines"].as_array().expect("a list").iter().find(|m| m["name"] == "press-4").expect("it");
    assert_eq!((&press["state"], &press["good"]), (&"down".into(), &0.into()));
    assert_eq!(json["reserve"]["numbers"]["budget_bytes"], 8_000_000_000_u64);
}

#[test]
fn metrics_have_help_type_and_the_numbers_of_the_page() {
    let given = given();
    let metrics = crate::status::metrics::text(&given.view(Language::En), &[]);
    for line in [
        "# TYPE forebay_device_good_tags gauge",
        "forebay_device_good_tags{device=\"press-4\"} 13",
        "forebay_journal_reserve_seconds 792000",
        "forebay_kafka_committed_records_total 3961022",
        "# TYPE forebay_kafka_committed_records_total counter",
        "forebay_prediction_score{device=\"press-4\",model=\"bearing\"} 0.41",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is missing from\n{metrics}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
}

/// A box on which everything is the case that a field can tell of.
fn eventful() -> Given {
    let given = given();
    take_away(&given.twin, "press-4", NOW_US - 4 * MINUTE_US, "unreachable");
    let scan = ScanClass { name: "fast".to_owned(), interval: Duration::from_millis(200) };
    let slowed = Slowed::new(&scan, 2, Duration::from_millis(340));
    let twin = given.twin.device("press-3").expect("a press");
    twin.state().access = AccessState { backup: Some("192.168.10.43".to_owned()), slowed: vec![slowed] };
    given.facts.set(|a| {
        a.identity.clock_jump = Some(ClockJump { at_us: NOW_US, by_s: 2.5 });
        a.to_it.state = ToItState::Paused { since_us: NOW_US, by: "anna".to_owned() };
        a.to_it.backfill = Some(Backfill::default());
        a.to_it.second_records = Some(3);
        a.to_it.errands = vec![Errand {
            kind: ErrandKind::Replay,
            name: "after-the-fire".to_owned(),
            lane: "telemetry".to_owned(),
            done: 1,
            total: 2,
            held: false,
        }];
        a.reserve.disk_error = Some(DiskError { since_us: NOW_US, message: "full".to_owned() });
        a.reserve.lanes = vec![Lane::default()];
        a.standby = Some(crate::standby::Report::Active { lease: Some(Err("no right".to_owned())) });
        let waits = crate::status::facts::CertificateState::Waiting;
        a.certificates = vec![plant::certificate("filler-1", waits)];
    });
    given
}

/// Paths of all fields, lists as `name[]`.
fn fields(json: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.push(path.clone());
                fields(value, &path, found);
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| fields(value, &format!("{path}[]"), found));
        }
        _ => {}
    }
}

#[test]
fn every_field_of_status_json_is_documented() {
    let json = serde_json::to_value(eventful().view(Language::En)).expect("plain data");
    for empty in [
        "/to_it/numbers/errands",
        "/reserve/numbers/lanes",
        "/predictions/numbers",
        "/machines",
        "/certificates",
    ] {
        assert!(json.pointer(empty).and_then(|it| it.as_array()).is_some_and(|it| !it.is_empty()), "{empty}");
    }
    for null in ["/to_it/numbers/backfill", "/reserve/numbers/disk_error", "/identity/clock_jump", "/standby"]
    {
        assert!(json.pointer(null).is_some_and(serde_json::Value::is_object), "{null}");
    }
    let docs = include_str!("../../../docs/status-page.md");
    let table = docs.split("### Fields of status.json").nth(1).expect("the table");
    let table = table.split("\n### ").next().unwrap_or_default();
    // First cell: the places that the row tells of; the rest names the fields there.
    let rows: Vec<(Vec<&str>, &str)> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let (places, fields) = line[2..].split_once('|').expect("two cells");
            (places.split('`').skip(1).step_by(2).collect(), fields)
        })
        .collect();
    let mut found = Vec::new();
    fields(&json, "", &mut found);
    found.sort();
    found.dedup();
    assert!(found.len() > 100, "{found:?}");
    let undocumented: Vec<&String> = found
        .iter()
        .filter(|path| {
            let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
            let is_place = |(places, _): &(Vec<&str>, &str)| {
                places.iter().any(|place| place == path || place.trim_end_matches("[]") == path.as_str())
            };
            // The row of the nearest place above it.
            let depth = |(places, _): &&(Vec<&str>, &str)| {
                places.iter().filter(|place| above.starts_with(**place)).map(|place| place.len()).max()
            };
            let row = rows.iter().filter(|row| depth(row).is_some()).max_by_key(depth);
            let is_named = row.is_some_and(|(_, fields)| {
                [format!("`{name}`"), format!("`{name}[]`")].iter().any(|name| fields.contains(name))
            });
            !rows.iter().any(is_place) && !is_named
        })
        .collect();
    assert!(undocumented.is_empty(), "docs/status-page.md does not list {undocumented:#?}");
}
