//! Learning on a box that runs models, and evaluating its journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::evaluate;
use super::*;
use crate::config::ModelOptions;
use crate::demo::machine::Machine;
use crate::demo::{past, site::Site};
use crate::event::Events;
use crate::infer::models::Setup;
use crate::infer::spec::Spec;
use crate::state::State;

const HELD: i64 = 11;
const EXECUTE: i64 = 6;
const SECOND_US: i64 = 1_000_000;

/// A model people have written, with a state it watches in.
fn write_template(folder: &Path, state: &str) {
    let place = folder.join("press-wear");
    std::fs::create_dir_all(&place).unwrap();
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/press-wear"));
    for file in ["model.onnx", "golden.json"] {
        std::fs::copy(shipped.join(file), place.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(shipped.join("model.toml")).unwrap();
    let (head, inputs) = text.split_once("[[input]]").unwrap();
    std::fs::write(place.join("model.toml"), format!("{head}{state}\n[[input]]{inputs}")).unwrap();
}

fn learner(folder: &Path, device: Arc<Device>, promote: bool, stop: &CancellationToken) -> Learner {
    let (twin, state) = (Arc::new(Twin::new(&[device])), Arc::new(SetOnce::new()));
    assert!(state.set(State::open(&folder.join("small")).unwrap().state).is_ok());
    let options = ModelOptions {
        keys: folder.join("keys"),
        unsigned: false,
        threads: 1,
        cpu_share: 1.0,
        promote,
        shadow: Duration::ZERO,
        flood: 6,
        kafka: false,
    };
    let folders = vec![folder.join("models")];
    let models = Models::start(Setup {
        options,
        folders: folders.clone(),
        state_folder: folder.join("state"),
        state,
        box_path: "Works1/box".to_owned(),
        twin: Arc::clone(&twin),
        diaries: Arc::default(),
        events: Events::new().0,
        stop: stop.clone(),
    });
    Learner::new(models, twin, &folder.join("journal"), &folders)
}

fn press() -> Arc<Device> {
    past::devices().unwrap().into_iter().find(|device| device.name == "press-3").unwrap()
}

#[test]
fn a_new_version_keeps_the_states_of_the_model_unless_the_order_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    write_template(
        &folder.path().join("models"),
        "[state]\ntag = \"status.state\"\nis = [\"Execute\"]\nsettle = \"20s\"\n",
    );
    let end_us = clock::now_us();
    past::record(
        &folder.path().join("journal"),
        &press(),
        &mut Machine::new(3),
        (1400, end_us),
        |second, machine| machine.set_state(if second < 700 { EXECUTE } else { HELD }),
    )
    .unwrap();
    let stop = CancellationToken::new();
    let learner = learner(folder.path(), press(), false, &stop);
    let order = Order {
        device: "press-3".into(),
        tags: vec!["drive.*".into()],
        from_us: end_us - 1400 * SECOND_US,
        to_us: Some(end_us),
        model: Some("press-wear".into()),
        ..Order::default()
    };
    let spec_of = |learned: &Learned| -> Spec {
        let place = learner.models().store().path("press-wear", &learned.version).unwrap();
        Folder::read(&place).content.unwrap().spec
    };
    let learned = learner.learn(&order, "anna").unwrap();
    let state = spec_of(&learned).prepare.state.expect("it watches in some states only");
    assert_eq!((state.is, state.settle), (vec!["Execute".to_owned()], Duration::from_secs(20)));
    let words = command::learned_words(&learned);
    assert!(words.contains("only while status.state is Execute (as press-wear 1.0.0 watches)"), "{words}");
    assert!((670..=690).contains(&learned.used.rows), "{words}");
    assert!(learned.in_shadow && learned.used.left_out.contains_key(Cause::State.words()), "{words}");
    assert_eq!(learner.rows_there(&order).unwrap().0, learned.used.rows, "what is there is counted alike");

    let held = StateOrder { tag: "status.state".into(), is: vec!["Held".into()] };
    let learned = learner.learn(&Order { state: Some(held), ..order.clone() }, "anna").unwrap();
    let state = spec_of(&learned).prepare.state.expect("it watches in some states only");
    assert_eq!((state.is, state.settle), (vec!["Held".to_owned()], Duration::ZERO));
    let words = command::learned_words(&learned);
    let said = "only while status.state is Held (press-wear 1.0.0 watches while status.state is Execute)";
    assert!(words.contains(said), "{words}");

    // Of another name it is another model, and a state that is none is told before anything is read.
    let other = Order { model: None, ..order.clone() };
    let learned = learner.learn(&other, "anna").unwrap();
    assert!(learned.used.state.is_none() && learned.used.rows > 1380, "{:?}", learned.used);
    let wrong = StateOrder { tag: "drive.lube_ok".into(), is: vec!["Execute".into()] };
    let error = learner.learn(&Order { state: Some(wrong), ..order }, "anna").unwrap_err().to_string();
    assert!(error.contains("drive.lube_ok is BOOL: \"Execute\" is no value of it"), "{error}");
    stop.cancel();
}

/// What a shadow would have raised over the last days keeps it from taking over by itself; one that would
/// have raised nothing takes over.
#[test]
fn a_shadow_is_run_over_the_past_before_it_takes_over_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let end_us = clock::now_us();
    past::record(
        &folder.path().join("journal"),
        &press(),
        &mut Machine::new(5),
        (2200, end_us),
        // Three times it is as it would be worn out, between what is learned and the end.
        |second, machine| machine.set_wear(if second > 1200 && second % 300 < 60 { 1.0 } else { 0.0 }),
    )
    .unwrap();
    let stop = CancellationToken::new();
    let learner = learner(folder.path(), press(), true, &stop);
    learner.models().look_back_first();
    // One of its devices is no longer there.
    let model = |devices: &[&str]| {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        learner.models().configure(&[crate::config::Model { name: "press".into(), devices }]);
    };
    model(&["press-9", "press-3"]);
    let at = |second: i64| end_us - (2200 - second) * SECOND_US;
    let order = |from_us: i64, to_us: i64, activate: bool| Order {
        device: "press-3".into(),
        tags: vec!["drive.*".into()],
        from_us,
        to_us: Some(to_us),
        model: Some("press".into()),
        activate,
        ..Order::default()
    };
    let first = learner.learn(&order(at(0), at(1000), true), "anna").unwrap();
    let strict = learner.learn(&order(at(0), at(1199), false), "anna").unwrap();
    assert!(strict.in_shadow);
    let wants = learner.models().wants_look_back();
    assert!(wants.is_empty(), "before it has scored it is no candidate: {wants:?}");
    let scored = || learner.models().pretend_scored();
    let active = || learner.models().registry().entry("press").active;
    let objection = || {
        let list = learner.models().list();
        let models = list["models"].as_array().unwrap();
        let model = models.iter().find(|model| model["name"] == "press").unwrap();
        model["shadow"]["objection"].as_str().unwrap_or_default().to_owned()
    };
    scored();
    learner.models().promote();
    assert_eq!(active().as_deref(), Some(&*first.version), "nobody has looked back");
    assert!(objection().contains("has not been run over the last days"), "{}", objection());
    learner.look_back(&stop);
    scored();
    learner.models().promote();
    assert_eq!(active().as_deref(), Some(&*first.version), "{}", objection());
    assert!(objection().contains("of the journal it would have raised "), "{}", objection());
    assert!(objection().ends_with(" alarms on press-3, more than one a day"), "{}", objection());
    assert!(learner.models().wants_look_back().is_empty(), "not again and again");
    learner.models().pretend_looked_earlier(Duration::from_secs(6 * 3600));
    assert!(objection().contains("has not been run over the last days"), "{}", objection());
    let (candidate, devices) = learner.models().wants_look_back().remove(0);
    assert_eq!(devices, ["press-3"]);
    // The journal cannot be read, or it was run for other devices.
    learner.models().look_back_later(&candidate, devices);
    assert!(learner.models().wants_look_back().is_empty());
    learner.models().pretend_looked_earlier(Duration::from_secs(600));
    assert_eq!(learner.models().wants_look_back().len(), 1);
    learner.models().looked_back(&candidate, vec!["press-9".into()], None);
    assert!(objection().contains("has not been run over the last days"), "{}", objection());
    assert_eq!(learner.models().wants_look_back().len(), 1);

    // Of the whole time the wear is normal to it.
    let mild = learner.learn(&order(at(0), at(2200), false), "anna").unwrap();
    scored();
    assert_eq!(learner.models().wants_look_back().len(), 1);
    learner.look_back(&stop);
    scored();
    assert_eq!(objection(), "");
    learner.models().promote();
    assert_eq!(active().as_deref(), Some(&*mild.version));
    stop.cancel();
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    command: evaluate::Command,
}

fn evaluated(arguments: &[&str]) -> anyhow::Result<String> {
    let line = Line::try_parse_from([&["evaluate"], arguments].concat())?;
    let mut said = Vec::new();
    evaluate::run(&line.command, &mut said)?;
    Ok(String::from_utf8(said)?)
}

/// A box's journal with wear in it, evaluated with and without labels through its files alone.
#[test]
fn a_journal_is_evaluated_by_labelled_periods() {
    let site = Site::create().unwrap();
    site.write(([127, 0, 0, 1], 0).into(), "127.0.0.1:9", &[]).unwrap();
    // It is whole seconds, so that the labels can say it.
    let end_us = clock::now_us() / SECOND_US * SECOND_US;
    let begin_us = end_us - 1800 * SECOND_US;
    past::record(&site.journal(), &press(), &mut Machine::new(4), (1800, end_us), |second, machine| {
        machine.set_state(if (300..400).contains(&second) { HELD } else { EXECUTE });
        let worn = (330..390).contains(&second) || (1000..1100).contains(&second);
        machine.set_wear(if worn { 1.0 } else { 0.0 });
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_template(folder.path(), "[state]\ntag = \"status.state\"\nis = [\"6\"]\nsettle = \"2s\"\n");
    let model = folder.path().join("press-wear").display().to_string();
    let labels = folder.path().join("faults.csv").display().to_string();
    let at = |second: i64| time(begin_us + second * SECOND_US);
    let config = site.config().display().to_string();
    let (from, journal) = (at(0), site.journal().display().to_string());
    let box_line = [
        &*model,
        &*journal,
        "--config",
        &*config,
        "--device",
        "press-3",
        "--from",
        &*from,
        "--to",
        &*at(1800),
    ];

    let said = evaluated(&box_line).unwrap();
    assert!(said.contains("1 alarms") && said.contains("No labels") && !said.contains("F1"), "{said}");
    assert!(said.contains("not watched: 1 min 40 s (the machine was in another state)"), "{said}");
    // The journal of the box itself gives the same.
    let own = [&[&*model, "journal"], &box_line[2..]].concat();
    assert_eq!(evaluated(&own).unwrap(), said);

    // One that is found, one in a state that is not watched, one that is before.
    let periods = [(1000, 1100), (330, 390), (-300, -200)];
    let text = periods.map(|(from, to)| format!("{},{}\n", at(from), at(to))).concat();
    std::fs::write(&labels, format!("from,to\n{text}")).unwrap();
    let line = [&box_line[..], &["--labels", &labels]].concat();
    let said = evaluated(&line).unwrap();
    let figures = |row: &str| -> Vec<f64> {
        let line = said.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}: {said}"));
        line[44..].split_whitespace().map(|figure| figure.parse().unwrap()).collect()
    };
    let model_figures = figures("press-wear, rows over the limit");
    assert!(model_figures[0] > 0.9 && model_figures[1] < 2.0 && model_figures[2] < 10.0, "{said}");
    assert_eq!(figures("always alarm")[1..], [100.0, 0.0], "{said}");
    assert!(said.contains("anomalies with a prediction: 1 of 1, median delay"), "{said}");
    assert!(said.contains("predictions without an anomaly: 0, 0.0 an hour"), "{said}");
    assert!(said.contains("labelled periods in which nothing was watched: 1"), "{said}");
    assert!(said.contains("labelled periods outside of this time: 1"), "{said}");

    for (labels_text, error) in [
        ("begin,end\n", "the header must be from,to"),
        ("from,to\nsoon,now\n", "faults.csv:2: \"soon\" is no time"),
        ("from,to\n2026-11-20 10:00,2026-11-20 09:00\n", "faults.csv:2: the period ends before it begins"),
    ] {
        std::fs::write(&labels, labels_text).unwrap();
        let said = evaluated(&line).unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
    }
    for (arguments, error) in [
        (&[&*model, &*journal, "--config", &*config, "--from", &*from][..], "which device"),
        (&["lag-pca", &*journal, "--config", &*config], "is a kind, fitted on tables only"),
        (&[&*model, &*labels, "--device", "press-3"], "--device is for a journal"),
    ] {
        let said = evaluated(arguments).unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
    }
}

#[test]
fn rows_of_a_table_in_other_states_are_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    write_template(folder.path(), "[state]\ntag = \"status.state\"\nis = [\"Execute\"]\nsettle = \"2s\"\n");
    let model = folder.path().join("press-wear").display().to_string();
    let table = folder.path().join("press.csv");
    let recorded = |wear: f64| {
        let mut text = Vec::new();
        let options = crate::demo::record::Record { seconds: 300, seed: 6, wear };
        crate::demo::record::run(&options, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let (healthy, worn) = (recorded(0.0), recorded(1.0));
    let mut text = String::new();
    for (row, (healthy, worn)) in healthy.lines().zip(worn.lines()).enumerate() {
        text += &match row {
            0 => format!("{healthy},status.state\n"),
            // In a stop it is as it would be worn out: 50 s.
            201..301 => format!("{worn},Held\n"),
            _ => format!("{healthy},execute\n"),
        };
    }
    std::fs::write(&table, &text).unwrap();
    let table = table.display().to_string();
    let said = evaluated(&[&model, &table, "--interval-s", "0.5"]).unwrap();
    // 100 rows in the other state; after each beginning four that settle and nine until the window is full.
    assert!(said.contains("(126 rows in a state that is not watched, or just after it)"), "{said}");
    assert!(
        said.contains("of the other 474, 0.0 % over the limit") && said.contains("; 0 predictions"),
        "{said}"
    );
    std::fs::write(&table, text.replace("status.state", "status.mode")).unwrap();
    let error = evaluated(&[&model, &table]).unwrap_err().to_string();
    assert!(error.contains("no column status.state, which says when the model watches"), "{error}");
}
