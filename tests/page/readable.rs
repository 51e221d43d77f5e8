//! What a reader sees of trouble: on a panel, on a phone, in both languages.

use super::super::browser::Browser;
use super::*;
use forebay::event::Kind;
use forebay::status::facts::{ClockJump, Errand, ErrandKind, Flash};

/// Height of the first element that fits, in pixels.
fn height(browser: &Browser, selector: &str) -> i64 {
    let script =
        format!("return Math.round(document.querySelector('{selector}').getBoundingClientRect().height)");
    browser.script(&script).as_i64().unwrap_or_else(|| panic!("{selector} has a height"))
}

#[test]
fn a_machine_whose_file_has_faults_has_a_row_and_a_page() {
    let shop = Shop::open();
    shop.facts.set(|answers| answers.not_read = vec![plant::not_read("press-9")]);
    for (name, look) in [("panel", PANEL), ("phone", PHONE)] {
        let browser = Browser::open(look);
        browser.go(&shop.url("/?lang=de"));
        let verdict = browser.text("#v-text");
        assert_eq!(verdict, "1 von 7 Maschinen wird nicht gelesen: press-9 (Datei hat Fehler).");
        assert_eq!(browser.text("#m0"), "F");
        assert!(browser.text("#c0").contains("devices/line3.toml:14"), "{}", browser.text("#c0"));
        assert!(browser.fits_across());
        browser.picture(&format!("not-read-{name}"));
        browser.script("document.querySelector('.machines a').click()");
        let check = browser.wait_text("pre", "the faults", SOON, |text| text.contains("error[P0114]"));
        assert!(check.contains("^^^^") && check.contains("devices/line3.toml: 1 error"), "{check}");
        assert!(browser.fits_across());
        browser.picture(&format!("not-read-machine-{name}"));
    }
    assert_eq!(shop.get("/live/m/press-9?once=1").status, 200);
    assert!(shop.get("/metrics").body.contains("forebay_device_up{device=\"press-9\"} 0\n"));
}

#[test]
fn on_a_phone_words_have_the_whole_width() {
    let shop = Shop::open();
    shop.trouble();
    shop.facts.set(|answers| {
        let raised = &mut answers.predictions[0];
        raised.device = "meter-hall-2".to_owned();
        raised.title = text("Bearing wear", "Lagerverschleiß");
        raised.words = text(
            "check the bearing at the drive end and its lubrication",
            "Lager auf der Antriebsseite und seine Schmierung prüfen",
        );
    });
    let browser = Browser::open(PHONE);
    browser.go(&shop.url("/?lang=de"));
    let row =
        "Array.from(document.querySelectorAll('.row')).find(r => r.textContent.includes('meter-hall-2'))";
    let lines = |part: &str| {
        let script = format!(
            "const e = {row}.querySelector('{part}'), r = document.createRange(); r.selectNodeContents(e);
             return new Set(Array.from(r.getClientRects()).map(c => Math.round(c.top))).size"
        );
        browser.script(&script).as_i64().expect("a count")
    };
    assert_eq!(lines(".name"), 1, "a name stays in one line");
    assert!(lines(".cause") <= 3, "{} lines", lines(".cause"));
    assert!(browser.fits_across());
    browser.picture("overview-phone-german");
    let panel = Browser::open(PANEL);
    panel.go(&shop.url("/?lang=de"));
    assert_eq!(panel.text("#t-predictions .headline"), "M\nmeter-hall-2: Lagerverschleiß");
    assert!(!panel.text("#t-predictions").contains("Schmierung"), "{}", panel.text("#t-predictions"));
    assert!(height(&panel, ".tiles") < 140, "{} px", height(&panel, ".tiles"));
    panel.picture("overview-panel-german-trouble");
}

#[test]
fn it_has_a_dark_variant_for_the_night_shift() {
    let shop = Shop::open();
    shop.trouble();
    let browser = Browser::open(Look { dark: true, ..PANEL });
    browser.go(&shop.url("/"));
    let ground = browser.script("return getComputedStyle(document.body).backgroundColor");
    assert_eq!(ground, "rgb(22, 25, 28)");
    browser.picture("overview-panel-dark");
    browser.go(&shop.url("/m/press-3"));
    browser.picture("machine-panel-dark");
    browser.go(&shop.url("/m/filler-1"));
    assert!(browser.text(".prediction").contains("look this week"), "{}", browser.text(".prediction"));
    browser.picture("prediction-panel-dark");
    let browser = Browser::open(Look { width: 1280, height: 800, ..PANEL });
    browser.go(&shop.url("/?lang=de"));
    assert!(browser.fits_across());
    browser.picture("overview-desk-german");
    browser.go(&shop.url("/m/press-3?lang=de"));
    browser.picture("machine-desk-german");
}

#[test]
fn clock_flash_and_replays_are_told_on_every_screen() {
    let shop = Shop::open();
    shop.facts.set(|answers| {
        let now = now_us();
        answers.identity.clock_synchronised = Some(false);
        answers.identity.clock_jump = Some(ClockJump { at_us: now - MINUTE_US, by_s: -3725.0 });
        answers.to_it.errands = vec![Errand {
            kind: ErrandKind::Replay,
            name: "after-the-fire-in-hall-2".to_owned(),
            lane: "telemetry".to_owned(),
            done: 30,
            total: 120,
            held: false,
        }];
        answers.reserve.flash = Flash {
            written_bytes_per_day: Some(1.2e9),
            endurance_bytes: 30_000_000_000_000,
            years: Some(68.4),
            measured: true,
            device_bytes_per_day: Some(739e9),
            device_years: Some(0.11),
        };
        let what = |at_us, text: &str, data| plant::event(at_us, Kind::Box, "Werk 1/presswerk-1", text, data);
        let text = "waiting since 2026-02-11T13:32:07.250000Z: no broker at 10.0.0.1:9092 answers";
        answers.events.splice(
            0..0,
            [
                what(now, text, serde_json::json!({"what": "kafka-away", "seconds": 5})),
                what(now, "English", serde_json::json!({"what": "state-put-aside"})),
                what(now, "English", serde_json::json!({"what": "no-model", "model": "bearing"})),
                what(now, "English", serde_json::json!({"what": "clock-jump", "seconds": -3725.0})),
            ],
        );
    });
    for (name, look) in [("panel", PANEL), ("phone", PHONE)] {
        let browser = Browser::open(look);
        for language in ["en", "de"] {
            browser.go(&shop.url(&format!("/?lang={language}")));
            let [clock, note, sent] = ["#clock", "#v-clock", "#t-it"].map(|place| browser.text(place));
            let expected = match language {
                "de" => [
                    "Uhr nicht gestellt",
                    "um 1 h 2 min zurückgestellt",
                    "Wiederholung after-the-fire-in-hall-2",
                ],
                _ => ["clock not set", "set back by 1 h 2 min", "replay after-the-fire-in-hall-2"],
            };
            for (said, expected) in [&clock, &note, &sent].into_iter().zip(expected) {
                assert!(said.contains(expected), "{said}");
            }
            assert!(clock.starts_with('S'), "{clock}");
            assert!(browser.text("#t-reserve").contains("739 GB"), "{}", browser.text("#t-reserve"));
            assert!(browser.fits_across());
            browser.picture(&format!("clock-{name}-{language}"));
            browser.go(&shop.url(&format!("/events?lang={language}")));
            let events = browser.text("#e");
            assert!(events.contains("no broker at 10.0.0.1:9092") && !events.contains("250000Z"), "{events}");
            assert!(browser.text(".heading small").contains("UTC"), "{}", browser.text(".heading"));
            assert!(browser.fits_across());
            browser.picture(&format!("events-{name}-{language}"));
        }
    }
}
