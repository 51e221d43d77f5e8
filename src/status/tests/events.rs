//! What happened lately.

use super::*;
use crate::event::What;
use crate::status::chronicle::EventRow;

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
    let events = crate::status::chronicle::events(&*given.facts, &speech(Language::De));
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    let raised =
        format!("Hauptlager: Kennwert 1,25, Grenze 1,00. {} (vibration 62 %, oil 30 %)", instruction.trim());
    assert_eq!(texts[0], raised, "and nothing of it is cut");
    assert_eq!(texts[1], "Modell bearing wacht nicht: das Gerät antwortet nicht");
    assert_eq!(texts[2], "Forebay 0.1.0 gestartet; Datei hat Fehler, nicht gelesen: press-9");
    assert_eq!(texts[3], "die Uhr der Box wurde um 1,5 s zurückgestellt");
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
    let html = page::events(&crate::status::chronicle::events(&*given.facts, &speech), &speech).into_string();
    assert!(html.len() < 58_000, "{} bytes", html.len());
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
    let events = crate::status::chronicle::events(&*given.facts, &speech(Language::De));
    let gap = &events[1];
    assert_eq!((gap.time.as_str(), gap.kind, gap.device.as_str()), ("14:35:05", "Lücke", "press-4"));
    assert_eq!(gap.text, "keine Werte von 14:32:07 bis 14:35:11 (Kabel oder SPS aus?)");
    assert_eq!(events[2].text, "sendet nichts (Kabel oder SPS aus?)");
    assert!(
        !events[2].english && events[3].english,
        "a text without words of ours stays English, and says so"
    );
}

/// Data as it is emitted, for each thing that can happen to the box.
fn data_of(what: What) -> serde_json::Value {
    use serde_json::json;
    let mut data = match what {
        What::Started => json!({"version": "0.1.0", "devices_refused": []}),
        What::ClockJump => json!({"seconds": 7200.0}),
        What::KafkaAway | What::KafkaBack => json!({"seconds": 240}),
        What::SecondKafkaBegins | What::SecondKafkaEnds => json!({"records": 12_400}),
        What::Fenced | What::ShutOut => json!({"lane": "telemetry", "times": 1}),
        What::TopicNew => json!({"lane": "telemetry", "topic": "forebay.telemetry", "next_offset": 7}),
        What::Disk | What::DiskRead => json!({"lane": "telemetry", "working": false}),
        What::DiskShort => json!({"lane": "telemetry", "free_bytes": 1 << 20, "reserve_bytes": 1 << 26}),
        What::DiskSmall => {
            json!({"lane": "telemetry", "budget_bytes": 8_000_000_000_u64, "room_bytes": 1 << 30})
        }
        What::NewOffsets => json!({"lane": "telemetry", "batches": 12, "from_offset": 3, "to_offset": 15}),
        What::StatePutAside | What::NoState => json!({}),
        What::NoModel => json!({"model": "bearing"}),
        What::ImportStarted | What::ImportHeld | What::ImportDone => {
            json!({"site": "Werk1", "edge": "box-2", "lane": "telemetry", "from_offset": 3, "to_offset": 15})
        }
        What::Configuration => json!({
            "cause": "reload", "by": "anna", "devices_changed": ["press-3"], "tags_added": ["press-3/drive.new"],
            "tables": ["[[learn]]"],
        }),
        What::ConfigurationFaults => json!({"cause": "save", "errors": 2, "devices_kept": ["press-3"]}),
        What::ReplayDone | What::ReplayCancelled => {
            json!({"replay": "after-the-fire", "lane": "telemetry", "missing": 0})
        }
        What::StandbyReads | What::StandbyWaits => json!({"of": "box-1"}),
    };
    data["what"] = serde_json::to_value(what).expect("a word");
    data
}

/// What stands on the page for an event whose own text is `English`.
fn said(language: Language, kind: Kind, data: serde_json::Value) -> EventRow {
    let given = given();
    let event = plant::event(NOW_US, kind, "Werk1/box-1", "English", data);
    given.facts.set(|a| a.events = vec![event]);
    crate::status::chronicle::events(&*given.facts, &speech(language)).remove(0)
}

/// German, made of words of the page, and another text than the English one.
fn is_translated(kind: Kind, data: &serde_json::Value) -> String {
    let [german, english] = [Language::De, Language::En].map(|language| said(language, kind, data.clone()));
    assert!(!german.english && !english.english, "{data} has no words on the page");
    assert_ne!(german.text, english.text, "{data}");
    assert!(!german.text.contains("English") && !german.text.contains('{'), "{}", german.text);
    german.text
}

#[test]
fn whatever_happens_to_the_box_is_told_in_german() {
    for what in What::ALL {
        is_translated(Kind::Box, &data_of(what));
    }
    let all: std::collections::HashSet<String> =
        What::ALL.iter().map(|what| is_translated(Kind::Box, &data_of(*what))).collect();
    assert_eq!(all.len(), What::ALL.len(), "each has words of its own");
    let mut disk = data_of(What::Disk);
    disk["working"] = true.into();
    assert_eq!(is_translated(Kind::Box, &disk), "die Platte arbeitet wieder");
    let done = said(Language::De, Kind::Box, data_of(What::ImportDone)).text;
    assert_eq!(done, "der Rückstand von box-2 ist bei der IT (12 Datensätze)");
}

#[test]
fn every_event_of_the_box_has_a_name_that_the_page_knows_and_it_is_documented() {
    let docs = include_str!("../../../docs/kafka.md");
    for what in What::ALL {
        let code = serde_json::to_value(what).expect("a word");
        let code = code.as_str().expect("a word");
        assert!(docs.contains(&format!("`{code}`")), "docs/kafka.md does not list {code}");
    }
    // What is emitted under a name of its own is none of these.
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                assert!(!code.contains("\"what\": \""), "{}: use event::What", path.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} sources found");
}

#[test]
fn every_documented_cause_of_a_gap_is_told_in_german() {
    let docs = include_str!("../../../docs/kafka.md");
    let table = docs.split("| `data.cause` of a gap |").nth(1).expect("the table of causes");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let causes: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .collect();
    assert!(causes.len() > 20, "{causes:?}");
    for cause in ["damage", "unreadable", "unused", "operator", "box-off", "rejected"] {
        assert!(causes.contains(&cause), "docs/kafka.md does not list {cause}");
    }
    for cause in causes {
        let data = serde_json::json!({
            "tags": "*", "lane": "telemetry", "from": "2026-02-11T13:32:07Z", "to": "2026-02-11T13:35:11.5Z",
            "cause": cause, "cause_text": "English", "batches": 8, "samples": 70, "from_offset": 1,
            "to_offset": 9, "bytes": 951_000, "topic": "forebay.aside", "reason": "invalid-record",
        });
        let text = is_translated(Kind::Gap, &data);
        assert!(!text.contains(cause) || cause == "panic", "{cause} is a code and no word: {text}");
    }
    let thinned = serde_json::json!({
        "lane": "telemetry", "from": "2026-02-11T13:32:07Z", "to": "2026-02-11T13:35:11.5Z", "batches": 1234,
        "interval_s": 60, "cause": "disk-budget",
    });
    assert!(is_translated(Kind::Thinned, &thinned).starts_with("1234 Datensätze von 14:32:07 bis 14:35:11"));
}

#[test]
fn events_of_every_kind_are_told_in_german() {
    use serde_json::json;
    // Exhaustive, so that a new kind needs a text.
    for kind in [
        Kind::Gap,
        Kind::Thinned,
        Kind::DeviceState,
        Kind::Alarm,
        Kind::Prediction,
        Kind::ModelState,
        Kind::ModelChanged,
        Kind::Drift,
        Kind::Score,
        Kind::Feedback,
        Kind::Person,
        Kind::Box,
    ] {
        let data = match kind {
            Kind::Gap | Kind::Thinned | Kind::Box => continue, // In tests of their own.
            Kind::DeviceState => json!({"state": "down", "cause": "a cause that nobody knows"}),
            Kind::Alarm => json!({"left_out": 3}),
            Kind::Prediction => json!({"state": "cleared", "model": "unknown", "score": 0.25}),
            Kind::Drift => json!({"model": "bearing", "tag": "oil_temp", "used": 0.83}),
            Kind::Score => json!({"model": "bearing", "mean": 0.4, "highest": 0.5}),
            Kind::Feedback => json!({"model": "unknown", "answer": "false-alarm", "person": "anna"}),
            Kind::Person => json!({"state": "signed-in", "person": "anna", "from": "10.0.0.7"}),
            Kind::ModelState => json!({"state": "broken", "model": "bearing", "why": {"en": "English"}}),
            Kind::ModelChanged => json!({"change": "activated", "model": "bearing", "from": "1", "to": "2"}),
        };
        is_translated(kind, &data);
    }
    let over = said(Language::De, Kind::Alarm, json!({"active": false, "severity": 700}));
    assert_eq!((over.text.as_str(), over.english), ("Alarm ist vorbei: English", false));
    for data in [
        json!({"state": "slowed", "scan": "fast", "asked_ms": 200, "every_ms": 400, "took_ms": 340}),
        json!({"state": "hastened", "scan": "fast", "asked_ms": 200, "every_ms": 200, "took_ms": 40}),
        json!({"state": "hastened", "scan": "fast", "asked_ms": 200, "every_ms": 400, "took_ms": 40}),
        json!({"state": "address", "address": "192.168.10.43", "before": "192.168.10.33"}),
    ] {
        is_translated(Kind::DeviceState, &data);
    }
    for change in [
        "installed",
        "activated",
        "rolled-back",
        "shadow",
        "shadow-ended",
        "removed",
        "refused",
        "accepted",
        "not-promoted",
    ] {
        is_translated(
            Kind::ModelChanged,
            &json!({"change": change, "model": "bearing", "from": "1", "to": "2"}),
        );
    }
    let why = json!({"en": "it is old", "de": "sie ist alt"});
    let data =
        json!({"change": "removed", "model": "bearing", "from": "1", "to": "", "why": why, "by": "anna"});
    let row = said(Language::De, Kind::ModelChanged, data);
    assert_eq!(row.text, "Modell bearing: Version 1 wurde gelöscht: sie ist alt (von anna)");
    for state in ["signed-in", "signed-out", "refused", "added", "removed"] {
        is_translated(Kind::Person, &json!({"state": state, "person": "anna", "from": "10.0.0.7"}));
    }
    for answer in ["seen", "real", "false-alarm"] {
        let said = json!({"model": "bearing", "answer": answer, "person": "anna", "note": "oil"});
        assert!(is_translated(Kind::Feedback, &said).starts_with("Hauptlager: anna"), "{answer}");
    }
    is_translated(Kind::Score, &json!({"model": "bearing", "mean": null, "highest": null}));
    let worse = json!({
        "state": "worse", "model": "bearing", "worst": 1.9, "threshold": 1.0, "contributions": [],
        "look_at": {"en": "check", "de": "prüfen"},
    });
    assert!(is_translated(Kind::Prediction, &worse).contains("1,90"));
    let broken = json!({"state": "broken", "model": "bearing", "why": {"en": "no such operator"}});
    let row = said(Language::De, Kind::ModelState, broken);
    assert_eq!(
        (row.text.as_str(), row.detail.as_str()),
        ("Modell bearing kann nicht laufen", "no such operator")
    );
}

#[test]
fn events_show_the_time_of_the_box_and_its_zone_once() {
    let speech = speech(Language::De);
    let data = serde_json::json!({"what": "kafka-away"});
    let text = "waiting since 2026-02-11T13:32:07.250000Z: no broker";
    let event = plant::event(NOW_US - 90 * MINUTE_US, Kind::Box, "Werk1/box-1", text, data);
    let unknown = plant::event(NOW_US, Kind::Box, "Werk1/box-1", text, serde_json::json!({}));
    let given = given();
    given.facts.set(|a| a.events = vec![event, unknown]);
    let rows = crate::status::chronicle::events(&*given.facts, &speech);
    assert_eq!(rows[0].time, "13:06:05");
    assert_eq!((rows[0].text.as_str(), rows[0].english), ("nichts geht an die IT", false));
    assert_eq!(rows[0].detail, "waiting since 14:32:07: no broker");
    assert_eq!((rows[1].text.as_str(), rows[1].english), ("waiting since 14:32:07: no broker", true));
    let html = page::events(&rows, &speech).into_string();
    assert_eq!(html.matches("CET (UTC+01:00)").count(), 1, "{html}");
    assert!(!html.contains("000Z"), "{html}");
    assert!(html.contains("<small lang=\"en\">waiting since 14:32:07"), "{html}");
}
