//! `forebay learn` at a running box.

use serde_json::Value as Json;

use super::rig::Rig;
use crate::support::{PATIENCE, wait_for};

const MODEL: &str = "learned-pump";

/// `forebay learn` of the last minutes, on the grid of these tests.
fn learn<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["learn", "pump", "--from", "10m ago", "--interval", "200"], more].concat()
}

#[test]
fn what_was_learned_by_order_watches_and_the_next_version_runs_in_shadow() {
    let mut rig = Rig::new(&["pump"], "");
    rig.ran("pump", 150);
    rig.daemon.start();
    let said = rig.done(&learn(&[]));
    for part in [
        "  motor.vibration, motor.current, oil.pressure\n",
        "not learned: motor.setpoint (a value that did not move in that time)",
        "left out: ",
        "(nothing was read)",
        "This is little: ",
        "It watches pump from now on.",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    let first = rig.model(MODEL).unwrap()["active"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("{MODEL} {first} is in the store; a score takes ")), "{said}");
    let list = rig.done(&["model", "list"]);
    assert!(list.contains(&format!("* {first} ")) && list.contains("    pump: "), "{list}");
    rig.wait_model(MODEL, "normal score", |state, score| state == "normal" && score < 1.0);

    // The next one waits beside it: of other tags, and of a time that has an end.
    let to = jiff::Timestamp::from_microsecond(forebay::clock::now_us() - 2_000_000).unwrap().to_string();
    let tags = ["--tags", "motor.*", "--to", to.as_str(), "--json"];
    let second: Json = serde_json::from_str(&rig.done(&learn(&tags))).unwrap();
    assert_eq!((&second["in_shadow"], &second["model"]), (&true.into(), &MODEL.into()), "{second}");
    assert_eq!(second["used"]["tags"], serde_json::json!(["motor.vibration", "motor.current"]));
    let rows = second["used"]["rows"].as_u64().unwrap();
    assert!((600..=1000).contains(&rows), "{second}");
    let shadow = wait_for("scores in shadow", PATIENCE, || {
        let model = rig.model(MODEL)?;
        (model["shadow"]["figures"]["scored"].as_u64()? > 0).then_some(model)
    });
    assert_eq!(
        (&shadow["active"], &shadow["shadow"]["version"]),
        (&first.as_str().into(), &second["version"])
    );
    assert!(rig.done(&["model", "list"]).contains("; in shadow since "));

    let third: Json = serde_json::from_str(&rig.done(&learn(&["--activate", "--json"]))).unwrap();
    assert_eq!(third["in_shadow"], false, "{third}");
    assert_eq!(rig.model(MODEL).unwrap()["active"], third["version"]);
    rig.wait_model(MODEL, "normal score", |state, score| state == "normal" && score < 1.0);
    assert_eq!(rig.model(MODEL).unwrap()["versions"].as_array().unwrap().len(), 3);
    // It sees what is not normal, and says at which tag.
    rig.machine("pump").shift(8.0);
    rig.wait_model(MODEL, "alarm", |state, _| state == "raised");
    rig.is_read_on("pump");
    rig.daemon.stop();
    let raised = rig.events("prediction").remove(0);
    assert_eq!((&raised["data"]["model"], &raised["data"]["state"]), (&MODEL.into(), &"raised".into()));
    assert_eq!(raised["data"]["version"], third["version"], "{raised}");
    let done: Vec<Json> = rig.events("model-changed").iter().map(|it| it["data"]["change"].clone()).collect();
    assert_eq!(done, ["installed", "activated", "installed", "shadow", "installed", "activated"]);
}

#[test]
fn what_cannot_be_learned_is_said_and_the_box_goes_on() {
    let mut rig = Rig::new(&["pump", "fan"], "");
    rig.ran("pump", 150);
    let (code, said) = rig.said(&learn(&[]));
    assert!(code == Some(1) && said.contains("no forebay runs here"), "{said}");
    rig.daemon.start();
    for (arguments, parts) in [
        (
            vec!["learn", "pmp", "--from", "1h ago"],
            ["there is no device \"pmp\": did you mean \"pump\"?", ""],
        ),
        (
            learn(&["--tags", "motor.vibrtion"]),
            ["there is no tag \"motor.vibrtion\"", "\"motor.vibration\"?"],
        ),
        (learn(&["--tags", "gear.*"]), ["there is no tag \"gear.*\"", "Known: motor.vibration, "]),
        (learn(&["--state", "motor.mode=Run"]), ["\"motor.mode\"", "Known: motor.vibration, "]),
        (
            vec!["learn", "pump", "--from", "3 days ago", "--to", "2 days ago"],
            ["only 0 s of normal running", "left out: nothing was read"],
        ),
        (
            vec!["learn", "pump", "--from", "60s ago", "--interval", "200"],
            ["of normal running between", "at least 2 min are needed (600 rows)"],
        ),
        // What it was read since the start.
        (
            vec!["learn", "fan", "--from", "1h ago"],
            ["of normal running between", "at least 10 min are needed"],
        ),
        (
            vec!["learn", "pump", "--from", "1h ago", "--to", "2h ago"],
            ["the time must begin before it ends", ""],
        ),
    ] {
        let (code, said) = rig.said(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
        assert!(!said.contains("panic"), "{arguments:?}: {said}");
    }
    let (code, said) = rig.said(&["learn", "pump", "--from", "soon"]);
    assert!(code.is_some_and(|code| code > 0) && said.contains("soon"), "{said}");
    assert_eq!(rig.model(MODEL), None);
    assert!(!rig.done(&["model", "list"]).contains("learned-"));
    ["pump", "fan"].iter().for_each(|name| rig.is_read_on(name));
    // And what can be learned still is.
    assert!(rig.done(&learn(&[])).contains("It watches pump from now on."));
    rig.daemon.stop();
    assert_eq!(rig.events("model-changed").len(), 2);
}
