//! What happened lately.

use super::*;

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

#[test]
fn removals_say_why_and_whether_it_may_have_them() {
    let given = given();
    for (cause, perhaps, english, german) in [
        ("disk-budget", false, "removed unsent: the room on the disk", "ungesendet gelöscht: Platz"),
        (
            "disk-full",
            true,
            "IT may not have all of them: the room",
            "die IT hat womöglich nicht alle: Der Platz",
        ),
        ("operator", false, "removed unsent, because somebody", "ungesendet gelöscht, weil es jemand"),
        ("operator", true, "somebody asked for it; IT may", "weil es jemand so wollte; die IT"),
    ] {
        let (from, to) = ("2026-02-11T13:00:00Z", "2026-02-11T13:10:00Z");
        let mut data = serde_json::json!({ "lane": "telemetry", "cause": cause, "from": from, "to": to });
        if perhaps {
            data["perhaps_sent"] = true.into();
        }
        let event = plant::event(NOW_US, Kind::Gap, "Werk1/box-1", "English", data);
        given.facts.set(|a| a.events = vec![event]);
        for (language, words) in [(Language::En, english), (Language::De, german)] {
            let told = &super::super::chronicle::events(&*given.facts, &speech(language))[0].text;
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}
