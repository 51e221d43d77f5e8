//! The same for programs: JSON and metrics.

use super::*;

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
