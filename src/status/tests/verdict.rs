//! The answer in one sentence.

use super::*;

#[test]
fn the_verdict_is_one_sentence_about_one_cause() {
    let given = given();
    assert_eq!(given.verdict(), (None, "All 6 machines deliver data. Oldest value 1.2 s.".to_owned()));

    take_away(&given.twin, "press-4", NOW_US - 4 * MINUTE_US, "unreachable");
    let one = "press-4 has sent nothing since 14:32 (cable or PLC off?).";
    assert_eq!(given.verdict(), (Some(Letter::F), one.to_owned()));

    take_away(&given.twin, "press-3", NOW_US - 3 * MINUTE_US, "unreachable");
    let same = "2 of 6 machines have sent nothing since 14:32 (network, switch or power?): press-3, press-4.";
    assert_eq!(given.verdict().1, same);

    take_away(&given.twin, "filler-1", NOW_US, "not-trusted");
    let mixed = "3 of 6 machines deliver no data: press-3, press-4 (cable or PLC off?); filler-1 (password or certificate?).";
    assert_eq!(given.verdict().1, mixed);

    for device in &*given.twin.devices() {
        take_away(&given.twin, &device.device.name, NOW_US - 4 * MINUTE_US, "unreachable");
    }
    assert_eq!(given.verdict().1, "No machine has sent anything since 14:32 (network, switch or power?).");
}

#[test]
fn a_machine_whose_file_has_faults_is_not_forgotten() {
    let given = given();
    given.facts.set(|answers| answers.not_read = vec![plant::not_read("press-9")]);
    let one = "1 of 7 machines is not read: press-9 (file has faults).";
    assert_eq!(given.verdict(), (Some(Letter::F), one.to_owned()));
    let view = given.view(Language::De);
    assert_eq!(view.verdict.text, "1 von 7 Maschinen wird nicht gelesen: press-9 (Datei hat Fehler).");
    let (letter, cause) = letter_of(&view, "press-9");
    assert_eq!(letter, Some(Letter::F));
    assert!(cause.contains("\"acme-pres-630t\", devices/line3.toml:14"), "{cause}");
    let json = serde_json::to_value(&view).expect("plain data");
    assert_eq!(
        (&json["machines"][0]["name"], &json["machines"][0]["state"]),
        (&"press-9".into(), &"not-read".into())
    );
    let metrics = crate::status::metrics::text(&view, &[]);
    for line in ["forebay_device_up{device=\"press-9\"} 0", "forebay_device_ne107{device=\"press-9\"} 4"] {
        assert!(metrics.lines().any(|have| have == line), "{metrics}");
    }
    let not_read = plant::not_read("press-9");
    let machine = crate::status::machine::not_read(&not_read, &speech(Language::De));
    assert_eq!(machine.check, not_read.check.trim_end(), "the text of `forebay check`, column for column");

    given.facts.set(|answers| answers.not_read.push(plant::not_read("press-8")));
    let two = "2 of 8 machines are not read: press-8, press-9 (file has faults).";
    assert_eq!(given.verdict().1, two);
    take_away(&given.twin, "press-4", NOW_US - 4 * MINUTE_US, "unreachable");
    let mixed =
        "3 of 8 machines deliver no data: press-4 (cable or PLC off?); press-8, press-9 (file has faults).";
    assert_eq!(given.verdict().1, mixed);
    let only = Given { twin: Arc::new(Twin::new(&[])), facts: FakeFacts::well() };
    only.facts.set(|answers| answers.not_read = vec![plant::not_read("press-9")]);
    assert_eq!(only.verdict().1, "press-9 is not read (file has faults).");
}

#[test]
fn a_machine_that_never_sent_anything_is_silent_since_the_start() {
    let given = given();
    given.facts.set(|answers| answers.identity.started_us = NOW_US - 9 * MINUTE_US);
    take_away(&given.twin, "press-4", NOW_US - 4 * MINUTE_US, "unreachable");
    let press = given.twin.device("press-4").expect("a machine");
    press.state().good_us = 0;
    let text = "press-4 has sent nothing since the start at 14:27 (cable or PLC off?).";
    assert_eq!(given.verdict().1, text);
    let machine = machine(&press, &*given.facts, 1, &speech(Language::En));
    assert_eq!(machine.state, "no data yet since the start at 14:27");
}

#[test]
fn trouble_of_the_box_is_said_before_any_machine() {
    let given = given();
    take_away(&given.twin, "press-4", NOW_US, "unreachable");
    given.facts.set(|answers| answers.reserve.full = true);
    assert_eq!(
        given.verdict().1,
        "The room for values on the disk of this box is used up: the oldest values are being lost."
    );
    let error = DiskError { since_us: NOW_US - 4 * MINUTE_US, message: "Input/output error".to_owned() };
    given.facts.set(|answers| answers.reserve.disk_error = Some(error));
    let text = "This box cannot write to its disk since 14:32: new values are in memory at most, and that lasts only a short time.";
    assert_eq!(given.verdict(), (Some(Letter::F), text.to_owned()));
    assert_eq!(given.view(Language::En).reserve.headline, "Disk does not accept data");
}

#[test]
fn starting_and_empty_boxes_say_so() {
    let empty = Given { twin: Arc::new(Twin::new(&[])), facts: FakeFacts::well() };
    assert!(empty.verdict().1.starts_with("No machine is set up yet."), "{}", empty.verdict().1);
    let starting = Given { twin: six_machines(), facts: FakeFacts::well() };
    assert_eq!(starting.verdict(), (None, "Starting: 6 machines are being connected.".to_owned()));
    all_good(&starting.twin, NOW_US, 0);
    starting.twin.devices()[0].state().link = Link::Starting;
    assert_eq!(starting.verdict().1, "5 of 6 machines deliver data, the others are being connected.");
}

#[test]
fn the_worst_letter_wins() {
    let given = given();
    assert!(
        given.view(Language::En).machines.iter().all(|row| row.letter.is_none() && row.good == row.total)
    );

    given.facts.set(|answers| answers.predictions[0].state = PredictionState::Raised);
    assert_eq!(letter_of(&given.view(Language::En), "press-4").0, Some(Letter::M));
    assert_eq!(given.verdict().0, None, "a prediction does not spoil the data");
    given.spoil("press-4", 9, Quality::OutOfRange);
    let outside = "1 of 13 values is outside its range".to_owned();
    assert_eq!(letter_of(&given.view(Language::En), "press-4"), (Some(Letter::S), outside));
    given.spoil("press-4", 0, Quality::FunctionCheck);
    assert_eq!(letter_of(&given.view(Language::En), "press-4").0, Some(Letter::C));
    assert_eq!(given.verdict(), (Some(Letter::C), "press-4: someone works on the machine.".to_owned()));
    given.spoil("press-4", 1, Quality::Refused);
    given.spoil("press-4", 2, Quality::Invalid);
    let view = given.view(Language::En);
    assert_eq!(letter_of(&view, "press-4"), (Some(Letter::F), "2 of 13 values cannot be read".to_owned()));
    let row = view.machines.iter().find(|row| row.name == "press-4").expect("it is there");
    assert_eq!((row.good, row.total), (9, 13));
}

#[test]
fn a_clock_that_nobody_sets_or_that_was_set_is_told() {
    let given = given();
    assert_eq!(
        (given.view(Language::En).clock, given.view(Language::En).clock_note.as_str()),
        ("clock ok", "")
    );
    given.facts.set(|a| a.identity.clock_synchronised = Some(false));
    let view = given.view(Language::De);
    assert_eq!(view.clock, "Uhr nicht gestellt");
    let free = "Niemand stellt die Uhr dieser Box (kein Zeitserver?): Zeiten können falsch sein, die Reihenfolge der Werte stimmt.";
    assert_eq!(view.clock_note, free);
    let part = crate::status::machine::Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, 1);
    let html = page::overview(&view, part, &place(), &speech(Language::De)).into_string();
    assert!(html.contains(free), "{html}");
    let metrics = super::super::metrics::text(&view, &[]);
    assert!(metrics.contains("\nforebay_clock_synchronised 0\n"), "{metrics}");

    let jump = |at_us, by_s| {
        let clock_jump = Some(ClockJump { at_us, by_s });
        given
            .facts
            .set(|a| (a.identity.clock_synchronised, a.identity.clock_jump) = (Some(true), clock_jump));
        given.view(Language::En).clock_note
    };
    let back = "The clock of this box was set back by 1.5 s (14:32): earlier times may be off by as much.";
    assert_eq!(jump(NOW_US - 4 * MINUTE_US, -1.5), back);
    assert!(jump(NOW_US - 4 * MINUTE_US, 7200.0).contains("set forward by 2 h (14:32)"));
    assert_eq!(jump(NOW_US - 25 * 60 * MINUTE_US, -1.5), "", "no longer news");
    let json = serde_json::to_value(given.view(Language::En)).expect("plain data");
    assert_eq!(json["identity"]["clock_jump"]["by_s"], -1.5, "but the API has it");
}
