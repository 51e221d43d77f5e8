//! The three fields below the machines.

use super::*;

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
    assert!(lines.contains("Nichts verloren. Datensätze hier: 12\u{202f}400."), "{lines}");
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
        let part = crate::status::machine::Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, 1);
        page::overview(&view, part, &place(), &speech).into_string().matches("class=\"curve\"").count()
    };
    assert_eq!(curves(&given), 6);
    // The minute of the start is not whole, so this leaves one point.
    given.twin.devices()[0].state().minutes.drain(..58);
    assert_eq!(curves(&given), 5, "one point is no curve");
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
fn what_may_be_in_kafka_is_not_called_lost_and_nothing_is_called_kept_beside_a_loss() {
    let given = given();
    let cause = Cause { code: "unreachable".to_owned(), message: "all brokers down".to_owned() };
    given.facts.set(|a| {
        a.to_it.state = ToItState::Waiting { since_us: NOW_US, cause };
        a.to_it.backlog_records = 149;
    });
    let texts = |given: &Given, language| {
        let view = given.view(language);
        let lines = view.to_it.lines.iter().chain(&view.reserve.lines);
        lines.map(|line| line.text.clone()).collect::<Vec<_>>().join("; ")
    };
    assert!(texts(&given, Language::En).contains("Nothing is lost. Records kept here: 149."));
    given.facts.set(|a| a.to_it.perhaps_sent_records = 100);
    assert!(
        texts(&given, Language::En)
            .contains("Nothing is lost: up to 149 records are still to be sent, IT may")
    );
    assert!(texts(&given, Language::De).contains("Bis zu 149 Datensätze sind noch zu senden, einen Teil"));
    given.facts.set(|a| a.reserve.perhaps_dropped_records = 30);
    let text = texts(&given, Language::En);
    assert!(!text.contains("Nothing is lost") && !text.contains("records lost"), "{text}");
    assert!(text.contains("30 records removed since the start may be lost"), "{text}");
    assert!(text.contains("Up to 149 records wait here, IT may have some"), "{text}");
    assert!(!given.verdict().1.contains("kept here"), "{:?}", given.verdict());
    given.facts.set(|a| (a.reserve.dropped_records, a.to_it.perhaps_sent_records) = (7, 0));
    let text = texts(&given, Language::En);
    assert!(
        text.contains("7 records lost since the start") && text.contains("Records waiting here: 149"),
        "{text}"
    );
    let json = serde_json::to_value(given.view(Language::En)).expect("plain data");
    let numbers = &json["reserve"]["numbers"];
    assert_eq!((&numbers["dropped_records"], &numbers["perhaps_dropped_records"]), (&7.into(), &30.into()));
}

#[test]
fn flash_wears_by_what_forebay_writes_and_others_are_told_apart() {
    let given = given();
    let lines = |language, own: f64, device: Option<f64>| {
        let years = |per_day: f64| 30e12 / per_day / 365.25;
        given.facts.set(|a| {
            a.reserve.flash = Flash {
                written_bytes_per_day: Some(own),
                endurance_bytes: 30_000_000_000_000,
                years: Some(years(own)),
                measured: true,
                device_bytes_per_day: device,
                device_years: device.map(years),
            };
        });
        let lines: Vec<String> =
            given.view(language).reserve.lines.into_iter().map(|line| line.text).collect();
        lines[1..].to_vec()
    };
    let own = "flash lasts about 68 years at Forebay’s 1.2 GB a day (if it endures 30 TB)";
    assert_eq!(lines(Language::En, 1.2e9, None), [own]);
    assert_eq!(lines(Language::En, 1.2e9, Some(2e9)), [own], "what others write is no news");
    let all = "only about 41 days at the 739 GB a day of all programs together";
    assert_eq!(lines(Language::En, 1.2e9, Some(739e9)), [own, all]);
    let german = lines(Language::De, 40e9, Some(200e9));
    assert_eq!(german[0], "Flash hält etwa 2 Jahre bei Forebays 40 GB am Tag (wenn er 30 TB aushält)");
    assert_eq!(german[1], "nur etwa 5 Monate bei den 200 GB am Tag aller Programme zusammen");
}

#[test]
fn what_is_sent_besides_has_the_name_to_stop_it_by() {
    let given = given();
    let errand = |kind, name: &str| Errand {
        kind,
        name: name.to_owned(),
        lane: "telemetry".to_owned(),
        done: 30,
        total: 120,
        held: false,
    };
    let errands = vec![errand(ErrandKind::Replay, "after-the-fire"), errand(ErrandKind::Import, "box-2")];
    given.facts.set(|a| a.to_it.errands = errands);
    let lines: Vec<String> = given.view(Language::En).to_it.lines.into_iter().map(|line| line.text).collect();
    assert_eq!(
        lines[1..],
        ["replay after-the-fire sends history again: 25 %", "backlog of box-2: 25 % sent"]
    );
    let german = &given.view(Language::De).to_it.lines[1].text;
    assert_eq!(german, "Wiederholung after-the-fire sendet Vergangenes noch einmal: 25 %");
}
