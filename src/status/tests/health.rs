//! "Is anything about to fail?", without HTTP.

use super::*;
use crate::infer::feedback::{Answer, Feedback};
use crate::status::facts::{Prediction, Watching};
use crate::status::health::{Health, health};
use crate::status::health_page;

const HOUR_US: i64 = 60 * MINUTE_US;

fn model(device: &str, state: PredictionState) -> Prediction {
    Prediction { device: device.to_owned(), state, ..bearing(NOW_US) }
}

impl Given {
    /// These models, with their episodes.
    fn watch(&self, models: Vec<(Prediction, Watching)>) {
        self.facts.set(|a| (a.predictions, a.watching) = models.into_iter().unzip());
    }

    fn health(&self, language: Language) -> Health {
        health(&*self.facts, &self.twin, 1, &speech(language))
    }
}

fn episode(ago_us: i64, worst: f32) -> Watching {
    let episode = plant::episode(&format!("e-{worst}"), NOW_US, ago_us, None, worst);
    Watching { episodes: vec![episode], hours: plant::month(NOW_US), ..Watching::default() }
}

#[test]
fn what_is_most_urgent_comes_first_and_silence_is_never_good() {
    let given = given();
    given.watch(vec![
        (model("press-3", PredictionState::Normal), Watching::default()),
        (model("meter-hall-2", PredictionState::Filling), Watching::default()),
        (model("filler-2", PredictionState::Suppressed), Watching::default()),
        (model("press-4", PredictionState::Raised), episode(MINUTE_US, 1.2)),
        (model("filler-1", PredictionState::Broken), Watching::default()),
        (model("meter-compressor", PredictionState::Suppressed), episode(9 * HOUR_US, 4.0)),
    ]);
    let health = given.health(Language::De);
    let order: Vec<_> =
        health.items.iter().map(|item| item.name.split(':').next().unwrap_or_default()).collect();
    assert_eq!(order, ["meter-compressor", "press-4", "filler-1", "filler-2", "meter-hall-2", "press-3"]);
    assert_eq!(
        (health.letter, health.answer.as_str()),
        (
            Some(Letter::M),
            "2 Maschinen oder Teile ansehen, zuerst meter-compressor: Hauptlager: heute ansehen."
        )
    );
    assert_eq!(health.note, "4 von 6 Modellen wachen nicht.");
    let says: Vec<_> = health.items.iter().map(|item| (item.letter, item.says.as_str())).collect();
    assert!(says[0].1.starts_with("Heute ansehen. Wacht im Augenblick nicht: "), "{says:?}");
    assert_eq!(says[1], (Some(Letter::M), "Bei Gelegenheit ansehen"));
    assert_eq!((says[2].0, says[3].0, says[4].0, says[5].0), (Some(Letter::F), Some(Letter::S), None, None));
    assert_eq!(says[4].1, "Sammelt Werte");
    let fact = |label: &str| {
        let facts = &health.items[0].facts;
        facts.iter().find(|(name, _)| *name == label).map(|(_, text)| text.as_str()).expect("a fact")
    };
    assert_eq!(fact("Was ansehen"), "Lager auf der Antriebsseite prüfen");
    assert_eq!(fact("Seit wann"), "etwa Di 11:36, gemeldet 05:36");
    let sure =
        "ziemlich sicher: schlimmstenfalls das 4,0-fache der Grenze, seit 9 h, 100 % seiner Eingänge gut";
    assert_eq!(fact("Wie sicher"), sure);
    assert_eq!(fact("Gewacht"), "97 % der Zeit seit 2026-01-12 15:00");
    assert!(fact("Zu sehen vor allem an").starts_with("vibration.drive_end 62 %, hydraulics.pressure 25 %"));
}

#[test]
fn a_model_that_has_just_come_has_watched_all_the_time() {
    let given = given();
    let now_h = NOW_US.div_euclid(HOUR_US);
    let hours = vec![crate::infer::trend::Hour { hour: now_h, valid_s: 60.0, ..plant::month(NOW_US)[0] }];
    let version_since_us = Some(NOW_US - MINUTE_US);
    let watching = Watching { hours, version_since_us, ..Watching::default() };
    given.watch(vec![(model("press-4", PredictionState::Normal), watching)]);
    let health = given.health(Language::En);
    assert_eq!(health.items[0].facts[0].1, "100 % of the time since 14:35");
}

#[test]
fn slow_change_is_told_before_it_is_too_much() {
    let given = given();
    let facts = |used: f64| {
        let reach_used = Some(("vibration.drive_end".to_owned(), used));
        let watching = Watching { reach_used, ..Watching::default() };
        given.watch(vec![(model("press-4", PredictionState::Normal), watching)]);
        given.health(Language::En).items[0].facts.clone()
    };
    let told = |used| facts(used).into_iter().find(|(label, _)| *label == "Slow change");
    assert_eq!(told(0.79), None);
    let (_, text) = told(0.999).expect("it is told");
    assert!(text.starts_with("vibration.drive_end: 99 % of what a model follows"), "{text}");
}

#[test]
fn forms_change_their_places_only_when_the_page_is_told() {
    let given = given();
    let mut first = episode(HOUR_US, 2.0);
    let watch = |given: &Given, first: &Watching, score| {
        let raised = Prediction { score: Some(score), ..model("press-4", PredictionState::Raised) };
        given.watch(vec![
            (raised, first.clone()),
            (model("press-3", PredictionState::Normal), Watching::default()),
        ]);
        given.health(Language::En).shape
    };
    let shape = watch(&given, &first, 1.6);
    assert_eq!(watch(&given, &first, 1.9), shape, "a score changes nothing");
    let said = Feedback { answer: Answer::Seen, person: "anna".into(), note: "<b>".into(), at_us: NOW_US };
    first.episodes[0].feedback.push(said);
    let answered = watch(&given, &first, 1.6);
    assert_ne!(answered, shape);
    first.episodes[0].end_us = Some(NOW_US);
    assert_ne!(watch(&given, &first, 1.6), answered);
    let health = given.health(Language::En);
    assert_eq!(health.over[0].answers, ["anna: Seen, 14:36 – <b>"]);
    let html = health_page::page(&health, None, &place(), &speech(Language::En)).into_string();
    assert!(!html.contains("<b>,") && html.contains("&lt;b&gt;"), "{html}");
}

#[test]
fn many_models_come_in_parts_under_60_kb() {
    let given = given();
    let models = (0..40_u8).map(|at| {
        let device = format!("machine-{at:02}");
        (model(&device, PredictionState::Raised), episode(i64::from(at) * HOUR_US, 2.0))
    });
    given.watch(models.collect());
    let health = given.health(Language::De);
    let html = health_page::page(&health, None, &place(), &speech(Language::De)).into_string();
    assert!(html.len() < 56_000, "{} bytes", html.len());
    assert!(html.contains("1 bis 6 von 40 Modellen"));
}

#[test]
fn a_tile_says_how_soon_to_look() {
    let given = given();
    let raised = Prediction {
        episode: Some(("e".to_owned(), crate::infer::episode::Severity::High)),
        ..model("press-4", PredictionState::Raised)
    };
    given.watch(vec![(raised, Watching::default())]);
    assert_eq!(given.view(Language::De).predictions.headline, "press-4: Hauptlager, heute ansehen");
    let json = serde_json::to_value(given.view(Language::De)).expect("plain data");
    let row = &json["predictions"]["numbers"][0];
    assert_eq!((&row["episode"], &row["severity"]), (&"e".into(), &"high".into()));
}
