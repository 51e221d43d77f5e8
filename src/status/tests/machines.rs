//! Machines and their values.

use super::*;

#[test]
fn values_older_than_three_scans_are_doubtful() {
    let given = given();
    let old = |given: &Given, age_us: i64| {
        given.twin.device("press-3").expect("a machine").state().values[4].edge_us = NOW_US - age_us;
        letter_of(&given.view(Language::En), "press-3")
    };
    assert_eq!(old(&given, 3_000_000).0, None);
    assert_eq!(old(&given, 3_000_001), (Some(Letter::S), "1 of 13 values is old".to_owned()));
    // A subscription sends changes only.
    given.twin.device("filler-1").expect("a machine").state().values[0].edge_us = NOW_US - 60 * MINUTE_US;
    assert_eq!(letter_of(&given.view(Language::En), "filler-1").0, None);
}

#[test]
fn a_cause_that_nobody_knows_is_told_in_the_readers_language_and_its_detail_as_english() {
    let given = given();
    take_away(&given.twin, "press-4", NOW_US, "a new code");
    let (_, cause) = letter_of(&given.view(Language::De), "press-4");
    assert_eq!(cause, "Keine Daten, Ursache unbekannt");
    let speech = speech(Language::De);
    let machine = machine(&given.twin.device("press-4").expect("a machine"), &*given.facts, 1, &speech);
    let html = page::machine(&machine, &place(), &speech).into_string();
    let detail = "<dt>Für den Techniker</dt><dd lang=\"en\">cannot connect to 192.168.10.21:102";
    assert!(html.contains(detail), "{html}");
}

#[test]
fn a_failed_check_spoils_every_value() {
    let given = given();
    given.twin.device("press-3").expect("a machine").state().verified = Some(false);
    let (letter, cause) = letter_of(&given.view(Language::En), "press-3");
    assert_eq!(
        (letter, cause.as_str()),
        (Some(Letter::F), "Check failed: wrong machine or changed program?")
    );
    let row = given.view(Language::En).machines.into_iter().find(|row| row.name == "press-3");
    assert_eq!(row.map(|row| row.good), Some(0), "nothing of it may be believed");
}

#[test]
fn the_rate_of_the_last_hour_has_no_step_at_the_running_minute() {
    let given = given();
    let device = given.twin.device("press-3").expect("a machine");
    let rates = |given: &Given| {
        let view = given.view(Language::En);
        view.machines.into_iter().find(|row| row.name == "press-3").expect("it is there").rates
    };
    let mut full = rates(&given);
    assert_eq!(full.len(), 60);
    assert!(full.iter().flatten().all(|rate| (3700..4100).contains(rate)), "{full:?}");
    // Gone since two minutes: zeros, not a hole. Started a few minutes ago: a hole before.
    device.state().minutes.retain(|minute| minute.minute < NOW_US / MINUTE_US - 1);
    full = rates(&given);
    assert_eq!(&full[58..], [Some(0), Some(0)]);
    device.state().minutes.drain(..50);
    full = rates(&given);
    assert_eq!(
        full.iter().filter(|rate| rate.is_none()).count(),
        51,
        "the minute of the start is not whole: {full:?}"
    );
}

#[test]
fn a_machine_shows_its_values_as_people_say_them() {
    let given = given();
    let press = given.twin.device("press-4").expect("a machine");
    press.state().values[4].value = Value::Bool(true);
    press.state().values[9].quality = Quality::OutOfRange;
    let machine = machine(&press, &*given.facts, 1, &speech(Language::De));
    let tags: Vec<_> = machine.groups.iter().flat_map(|group| &group.tags).collect();
    let said = |name: &str| {
        let tag = tags.iter().find(|tag| tag.name == name).unwrap_or_else(|| panic!("{name} is shown"));
        format!("{} {} {}", tag.value, tag.unit, tag.worth).trim().to_owned()
    };
    assert_eq!(said("running"), "ja");
    assert_eq!(said("state"), "Läuft");
    assert_eq!(said("fault_word"), "Öl zu heiß");
    assert_eq!(said("strokes"), "1\u{202f}284\u{202f}377");
    assert_eq!(said("oil_temp"), "57,0 °C");
    assert!(
        said("pressure").ends_with("bar außerhalb des Bereichs") || said("position").ends_with("Bereichs")
    );
    assert!(!tags.iter().any(|tag| tag.name.starts_with("bit")), "bits are words of their tag");
    let oil = tags.iter().find(|tag| tag.name == "oil_temp").and_then(|tag| tag.bar.as_ref()).expect("a bar");
    assert!((oil.value - 0.55).abs() < 1e-6 && oil.normal.1 < 0.61, "{} {:?}", oil.value, oil.normal);
}
