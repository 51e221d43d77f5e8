//! The words and numbers of the page, without HTTP.

extern crate self as forebay;

#[path = "../../tests/plant.rs"]
mod plant;

use std::sync::Arc;

use forebay_connector::{Quality, Value};
use jiff::tz::TimeZone;
use plant::{FakeFacts, MINUTE_US, all_good, bearing, plant as six_machines, take_away};

use super::facts::{Backfill, DiskError, PredictionState, ToItState};
use super::frame::{self, Place};
use super::judge::Letter;
use super::machine::machine;
use super::page;
use super::speech::Speech;
use super::view::{View, view};
use super::words::Language;
use crate::device::Text;
use crate::event::Kind;
use crate::twin::{Cause, Link, Twin};

/// 2026-02-11, a Wednesday, 14:36:05 in Berlin.
const NOW_US: i64 = 1_770_816_965_000_000;

fn speech(language: Language) -> Speech {
    let zone = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
    Speech { language, words: language.words(), now_us: NOW_US, zone }
}

struct Given {
    twin: Arc<Twin>,
    facts: Arc<FakeFacts>,
}

fn given() -> Given {
    let twin = six_machines();
    all_good(&twin, NOW_US, 1_200_000);
    Given { twin, facts: FakeFacts::well() }
}

impl Given {
    fn view(&self, language: Language) -> View {
        view(&self.twin, &*self.facts, &speech(language))
    }

    fn verdict(&self) -> (Option<Letter>, String) {
        let verdict = self.view(Language::En).verdict;
        (verdict.letter, format!("{} {}{}", verdict.text, verdict.oldest, verdict.note).trim().to_owned())
    }

    fn spoil(&self, name: &str, tag: usize, quality: Quality) {
        self.twin.device(name).expect("a machine").state().values[tag].quality = quality;
    }
}

fn letter_of(view: &View, name: &str) -> (Option<Letter>, String) {
    let row = view.machines.iter().find(|row| row.name == name).expect("a machine");
    (row.letter, row.cause.clone())
}

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

    for device in &given.twin.devices {
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
    let metrics = super::metrics::text(&view, &[]);
    for line in ["forebay_device_up{device=\"press-9\"} 0", "forebay_device_ne107{device=\"press-9\"} 4"] {
        assert!(metrics.lines().any(|have| have == line), "{metrics}");
    }
    let not_read = plant::not_read("press-9");
    let machine = super::machine::not_read(&not_read, &speech(Language::De));
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
    let machine = machine(press, &*given.facts, 1, &speech(Language::En));
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
    starting.twin.devices[0].state().link = Link::Starting;
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
fn the_way_to_it_is_told_in_words() {
    let given = given();
    let tile = |given: &Given| {
        let tile = given.view(Language::De).to_it;
        let lines: Vec<_> = tile.lines.iter().map(|line| line.text.clone()).collect();
        (tile.letter, tile.headline, lines.join(" | "))
    };
    assert_eq!(tile(&given), (None, "Aktuell (0,8 s)".to_owned(), "41 Datensätze je Sekunde".to_owned()));

    let cause = Cause { code: "unreachable".to_owned(), message: "broker transport failure".to_owned() };
    let since_us = NOW_US - 4 * MINUTE_US;
    given.facts.set(|a| {
        a.to_it.state = ToItState::Waiting { since_us, cause };
        a.to_it.backlog_records = 12_400;
    });
    let (letter, headline, lines) = tile(&given);
    assert_eq!((letter, headline.as_str()), (Some(Letter::M), "Wartet seit 14:32"));
    assert!(lines.contains("Nichts geht verloren: 12\u{202f}400 Datensätze"), "{lines}");
    assert!(given.verdict().1.ends_with("IT has taken nothing since 14:32; the values are kept here."));

    given.facts.set(|a| {
        a.to_it.state = ToItState::Up;
        (a.to_it.delay_s, a.to_it.records_per_s, a.to_it.intake_per_s) = (Some(240.0), 60.0, 40.0);
    });
    assert_eq!(tile(&given).2, "12\u{202f}400 Datensätze zu senden | fertig in etwa 10 min");

    given.facts.set(|a| a.to_it.state = ToItState::Fenced { since_us: NOW_US, importer: None });
    assert_eq!(tile(&given).0, Some(Letter::F));
    let importer = Some("Werk1/box-2".to_owned());
    given.facts.set(|a| a.to_it.state = ToItState::Fenced { since_us: NOW_US, importer });
    let (letter, headline, lines) = tile(&given);
    assert_eq!((letter, headline.as_str()), (Some(Letter::M), "Wartet auf eine andere Box"));
    assert!(lines.contains("Werk1/box-2 sendet einen Rückstand dieser Box"), "{lines}");
    given.facts.set(|a| (a.to_it.state, a.to_it.shut_out_us) = (ToItState::Up, Some(NOW_US - 4 * MINUTE_US)));
    assert!(tile(&given).2.contains("hat jemand anderes unter dem Namen dieser Box gesendet"));
}

#[test]
fn what_follows_who_has_paused_and_what_a_second_kafka_has_are_said() {
    let given = given();
    let lines = |given: &Given| {
        let tile = given.view(Language::De).to_it;
        (tile.headline, tile.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>())
    };
    let follows = |left_s, waits_for_window| {
        let backfill = Backfill { records: 12_400, left_s, waits_for_window };
        given.facts.set(|a| a.to_it.backfill = Some(backfill));
        let (headline, lines) = lines(&given);
        assert_eq!(headline, "Aktuell (0,8 s)", "fresh data does not wait");
        lines[1].clone()
    };
    assert_eq!(follows(Some(600.0), false), "12\u{202f}400 ältere Datensätze folgen, fertig in etwa 10 min");
    assert_eq!(follows(None, false), "12\u{202f}400 ältere Datensätze folgen");
    assert!(follows(None, true).ends_with("folgen, zur dafür eingestellten Zeit"));

    let since_us = NOW_US - 4 * MINUTE_US;
    given.facts.set(|a| a.to_it.state = ToItState::Paused { since_us, by: "anna".to_owned() });
    let (headline, lines_now) = lines(&given);
    assert_eq!((headline.as_str(), lines_now[0].as_str()), ("Angehalten", "von anna seit 14:32"));
    assert!(
        given.verdict().1.ends_with("Nothing goes to IT: paused by anna since 14:32."),
        "{:?}",
        given.verdict()
    );

    let cause = Cause { code: "not-trusted".to_owned(), message: "SASL".to_owned() };
    given.facts.set(|a| {
        a.to_it.state = ToItState::Waiting { since_us, cause };
        (a.to_it.second_records, a.to_it.second_up) = (Some(300), true);
    });
    let (_, lines_now) = lines(&given);
    assert!(lines_now[0].contains("Passwort oder Zertifikat?"), "{lines_now:?}");
    assert!(lines_now[2].contains("zweite IT-Standort die Daten: bisher 300"), "{lines_now:?}");
}

#[test]
fn what_may_be_lost_is_not_called_kept() {
    let given = given();
    let cause = Cause { code: "unreachable".to_owned(), message: String::new() };
    given.facts.set(|a| {
        a.to_it.state = ToItState::Waiting { since_us: NOW_US, cause };
        let message = "telemetry: the disk is full (os error 28); new data waits in memory, free space on it";
        a.reserve.disk_error = Some(DiskError { since_us: NOW_US, message: message.to_owned() });
    });
    for _ in ["the disk does not write", "the room is used up"] {
        let view = given.view(Language::En);
        assert_eq!(view.verdict.note, "IT has taken nothing since 14:36.");
        let json = serde_json::to_string(&view).expect("plain data");
        assert!(!json.contains("kept") && !json.contains("Nothing is lost"), "{json}");
        given.facts.set(|a| (a.reserve.disk_error, a.reserve.full) = (None, true));
    }
    given.facts.set(|a| a.reserve.full = false);
    assert!(given.view(Language::En).verdict.note.ends_with("the values are kept here."));
}

#[test]
fn wrong_settings_of_the_box_are_not_the_fault_of_it() {
    let given = given();
    let message = "cannot read /nope/ca.pem: No such file or directory (os error 2)".to_owned();
    let cause = Cause { code: "configuration".to_owned(), message };
    given.facts.set(|a| a.to_it.state = ToItState::Waiting { since_us: NOW_US, cause });
    let view = given.view(Language::De);
    let note = "Nichts geht seit 14:36 an die IT: Eigene Einstellungen dieser Box sind falsch; die Werte bleiben hier gespeichert.";
    assert_eq!(view.verdict.note, note);
    let line = &view.to_it.lines[0].text;
    assert!(
        line.starts_with("Eigene Einstellungen dieser Box sind falsch: cannot read /nope/ca.pem"),
        "{line}"
    );
}

#[test]
fn numbers_are_not_said_before_they_mean_something() {
    let given = given();
    given.facts.set(|a| {
        (a.reserve.left_s, a.to_it.records_per_s, a.to_it.committed_records) = (None, 0.0, 12);
    });
    let view = given.view(Language::En);
    assert_eq!(view.reserve.headline, "Being measured, takes a few minutes");
    assert_eq!(view.to_it.lines[0].text, "12 records since the start");
    let curves = |given: &Given| {
        let (view, speech) = (given.view(Language::En), speech(Language::En));
        let part = super::machine::Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, 1);
        page::overview(&view, part, &place(), &speech).into_string().matches("class=\"curve\"").count()
    };
    assert_eq!(curves(&given), 6);
    // The minute of the start is not whole, so this leaves one point.
    given.twin.devices[0].state().minutes.drain(..58);
    assert_eq!(curves(&given), 5, "one point is no curve");
}

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
fn events_of_models_and_of_the_box_are_german_on_a_german_page() {
    let given = given();
    let instruction = format!("Lager prüfen {}", "und seine Schmierung ".repeat(12));
    let event = |kind, data| plant::event(NOW_US, kind, "Werk1/press-4", "English", data);
    given.facts.set(|a| {
        let raised = serde_json::json!({
            "model": "bearing", "state": "raised", "score": 1.25, "threshold": 1.0,
            "look_at": {"en": "check", "de": instruction},
            "contributions": [{"tag": "vibration", "share": 0.62}, {"tag": "oil", "share": 0.3}],
        });
        let why = serde_json::json!({"en": "the device does not answer", "de": "das Gerät antwortet nicht"});
        let state = serde_json::json!({"model": "bearing", "state": "suppressed", "why": why});
        let refused =
            serde_json::json!({"what": "started", "version": "0.1.0", "devices_refused": ["press-9"]});
        a.events = vec![
            event(Kind::Prediction, raised),
            event(Kind::ModelState, state),
            event(Kind::Box, refused),
            event(Kind::Box, serde_json::json!({"what": "clock-jump", "seconds": -1.5})),
            event(Kind::Box, serde_json::json!({"what": "disk", "working": false})),
            event(Kind::Box, serde_json::json!({"what": "fenced", "lane": "telemetry"})),
            event(Kind::Box, serde_json::json!({"what": "kafka-away", "seconds": 5})),
            event(Kind::Box, serde_json::json!({"what": "kafka-back", "seconds": 240})),
        ];
    });
    let events = super::chronicle::events(&*given.facts, &speech(Language::De));
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    let raised =
        format!("Hauptlager: Kennwert 1,25, Grenze 1,00. {} (vibration 62 %, oil 30 %)", instruction.trim());
    assert_eq!(texts[0], raised, "and nothing of it is cut");
    assert_eq!(texts[1], "Modell bearing wacht nicht: das Gerät antwortet nicht");
    assert_eq!(texts[2], "Forebay 0.1.0 gestartet; Datei hat Fehler, nicht gelesen: press-9");
    assert_eq!(texts[3], "die Uhr der Box wurde um −1,5 s gestellt");
    assert!(texts[4].starts_with("die Platte nimmt nichts an"), "{}", texts[4]);
    assert!(texts[5].starts_with("Nichts geht an die IT: Eine andere Box"), "{}", texts[5]);
    assert_eq!(texts[6..], ["nichts geht an die IT", "die IT nimmt wieder Daten ab, nach 4 min"]);
    assert!(events.iter().all(|event| !event.english));
}

#[test]
fn many_long_events_stay_under_60_kb() {
    let given = given();
    let long = "<".repeat(2000);
    given.facts.set(|a| {
        let event = plant::event(NOW_US, Kind::Box, "box", &long, serde_json::json!({}));
        a.events = vec![event; 80];
    });
    let speech = speech(Language::De);
    let html = page::events(&super::chronicle::events(&*given.facts, &speech), &speech).into_string();
    assert!(html.len() < 58_000, "{} bytes", html.len());
}

#[test]
fn reserve_and_predictions_are_told_in_words() {
    let given = given();
    let now = given.view(Language::De);
    assert_eq!(now.reserve.headline, "9 Tage 4 h");
    assert_eq!(now.predictions.headline, "Nichts Auffälliges");
    given.facts.set(|a| {
        a.reserve.unsent_bytes = a.reserve.budget_bytes * 71 / 100;
        a.predictions[0].state = PredictionState::Raised;
        a.predictions[0].words = plant::text("look this week", "diese Woche ansehen");
        let mut broken = bearing(NOW_US);
        (broken.device, broken.state) = ("press-3".to_owned(), PredictionState::Broken);
        a.predictions.insert(0, broken);
    });
    let now = given.view(Language::De);
    assert_eq!((now.reserve.letter, now.predictions.letter), (Some(Letter::M), Some(Letter::M)));
    assert_eq!(now.predictions.headline, "press-4: Hauptlager");
    assert_eq!(now.predictions.lines[0].letter, Some(Letter::F));
}

#[test]
fn a_machine_shows_its_values_as_people_say_them() {
    let given = given();
    let press = given.twin.device("press-4").expect("a machine");
    press.state().values[4].value = Value::Bool(true);
    press.state().values[9].quality = Quality::OutOfRange;
    let machine = machine(press, &*given.facts, 1, &speech(Language::De));
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

#[test]
fn events_of_machines_are_told_in_the_readers_language() {
    let given = given();
    given.facts.set(|a| {
        let data = serde_json::json!({
            "tags": "*", "from": "2026-02-11T13:32:07Z", "to": "2026-02-11T13:35:11.5Z", "cause": "unreachable",
        });
        (a.events[1].data, a.events[1].edge_time) = (data, NOW_US - MINUTE_US);
    });
    let events = super::chronicle::events(&*given.facts, &speech(Language::De));
    let gap = &events[1];
    assert_eq!((gap.time.as_str(), gap.kind, gap.device.as_str()), ("14:35:05", "Lücke", "press-4"));
    assert_eq!(gap.text, "keine Werte von 14:32:07 bis 14:35:11 (Kabel oder SPS aus?)");
    assert_eq!(events[2].text, "sendet nichts (Kabel oder SPS aus?)");
    assert!(
        !events[2].english && events[3].english,
        "a text without words of ours stays English, and says so"
    );
}

fn place<'a>() -> Place<'a> {
    Place { path: "/", chosen: None, part: 1, build: "0" }
}

#[test]
fn hostile_names_and_texts_stay_text() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}\u{0}";
    let device = plant::device(
        evil,
        evil,
        Text::plain(evil),
        "modbus",
        vec![plant::tag(evil, "STRING[9]", evil, None)],
    );
    let twin = Arc::new(Twin::new(&[device]));
    all_good(&twin, NOW_US, 0);
    twin.devices[0].state().values[0].value = Value::Text(evil.into());
    twin.devices[0].state().identity = evil.to_owned();
    take_away(&twin, evil, NOW_US, evil);
    let given = Given { twin, facts: FakeFacts::well() };
    given.facts.set(|a| {
        (a.identity.name, a.identity.site) = (evil.to_owned(), evil.to_owned());
        a.predictions[0].device = super::speech::plain(evil);
        a.predictions[0].title = Text::plain(evil);
        a.events[1].text = evil.to_owned();
    });
    let speech = speech(Language::En);
    let view = given.view(Language::En);
    let part = super::machine::Part::of(1, page::MACHINES_SHOWN_MAX, 1);
    let machine = machine(&given.twin.devices[0], &*given.facts, 1, &speech);
    let events = super::chronicle::events(&*given.facts, &speech);
    let html = [
        page::overview(&view, part, &place(), &speech).into_string(),
        page::machine(&machine, &place(), &speech).into_string(),
        page::events(&events, &speech).into_string(),
    ];
    for html in &html {
        assert!(html.contains("&lt;script&gt;"), "{html}");
        assert!(!html.contains("<script") && !html.contains('\u{202e}') && !html.contains('\0'), "{html}");
    }
    assert!(html[0].contains("href=\"/m/%3Cscript%3E"), "{}", html[0]);
    let metrics = super::metrics::text(&view, &[]);
    assert!(metrics.contains("device=\"<script>alert(1)</script>\\\"'&"), "{metrics}");
}

#[test]
fn metrics_have_help_type_and_the_numbers_of_the_page() {
    let given = given();
    let metrics = super::metrics::text(&given.view(Language::En), &[]);
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
fn long_lists_are_shown_in_parts_under_60_kb() {
    let tags = (0..200).map(|at| {
        let mut tag = plant::tag(
            &format!("group{}.a_rather_long_tag_name_{at}", at / 9),
            "REAL",
            "mm/s",
            Some((0.0, 30.0)),
        );
        tag.desc = "What this tag means, in a sentence of the usual length".to_owned();
        tag
    });
    let big = plant::device("big", "Werk1", Text::plain("Big machine"), "s7", tags.collect());
    let mut devices = vec![big];
    for at in 0..120 {
        let name = format!("a-machine-with-a-long-name-{at:03}");
        let tags = vec![plant::tag("a.b", "REAL", "bar", None)];
        devices.push(plant::device(&name, "Werk1/Halle", Text::plain("Mechanical press 630 t"), "s7", tags));
    }
    let twin = Arc::new(Twin::new(&devices));
    all_good(&twin, NOW_US, 60_000_000);
    let given = Given { twin, facts: FakeFacts::well() };
    let speech = speech(Language::Stretched);
    let view = given.view(Language::Stretched);
    let frame = |body: &maud::Markup| {
        let clock = frame::clock(&view.time, view.clock, false, &speech);
        frame::frame(&view.identity, &clock, "title", body, &place(), &speech).into_string()
    };
    let part = super::machine::Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, 2);
    assert_eq!((part.from, part.to, part.parts), (40, 80, 4));
    let overview = frame(&page::overview(&view, part, &place(), &speech));
    assert!(overview.len() < 60_000, "{} bytes", overview.len());
    assert!(overview.contains("part=3") && overview.contains("rel=\"prev\""), "{overview}");
    let machine = machine(&given.twin.devices[0], &*given.facts, 9, &speech);
    assert_eq!(machine.part.number, 4, "the nearest part");
    let machine = super::machine::machine(&given.twin.devices[0], &*given.facts, 1, &speech);
    let page = frame(&page::machine(&machine, &place(), &speech));
    assert!(page.len() < 60_000, "{} bytes", page.len());
}
