//! `[[learn]]` with `when = "auto"`: the box learns by itself, once.

use super::rig::Rig;
use crate::support::{PATIENCE, wait_for};

/// `[[learn]]` of a machine that is learned by itself after so much normal running.
fn learn(device: &str, after: &str) -> String {
    format!("[[learn]]\ndevice = \"{device}\"\ninterval = \"1s\"\nwhen = \"auto\"\nafter = \"{after}\"\n")
}

#[test]
fn a_box_learns_by_itself_once_there_is_enough_and_never_again() {
    let mut rig = Rig::new(&["pump", "fan"], &learn("pump", "20m"));
    ["pump", "fan"].iter().for_each(|name| rig.ran(name, 640));
    rig.daemon.start();
    // Nobody asks: it looks by itself some time after its start, and there is too little.
    wait_for("a first look", PATIENCE, || {
        rig.daemon.log().contains(" of 20 min of normal running").then_some(())
    });
    assert_eq!(rig.model("learned-pump"), None);

    // Less is enough from now on, and nothing is read in another way for that.
    rig.configure(&learn("pump", "10m"));
    let said = rig.done(&["reload"]);
    assert!(said.contains("configuration taken over: [[learn]]; no machine has changed"), "{said}");
    let model = wait_for("a model", PATIENCE, || {
        rig.model("learned-pump").filter(|model| model["active"].is_string())
    });
    assert_eq!(model["by"], "forebay", "{model}");
    rig.wait_model("learned-pump", "normal score", |state, score| state == "normal" && score < 1.0);
    assert_eq!(rig.model("learned-fan"), None, "nobody wants that");
    rig.is_read_on("pump");

    // After a start it looks once more, at the fan too; what is known is not learned again.
    rig.daemon.kill();
    rig.daemon.start();
    rig.configure(&(learn("pump", "10m") + &learn("fan", "10m")));
    rig.done(&["reload"]);
    wait_for("a model of the fan", PATIENCE, || rig.model("learned-fan")?["active"].as_str().map(drop));
    let again = rig.model("learned-pump").unwrap();
    assert_eq!((&again["active"], again["versions"].as_array().unwrap().len()), (&model["active"], 1));
    assert_eq!(again["shadow"], serde_json::Value::Null, "{again}");
    ["pump", "fan"].iter().for_each(|name| rig.is_read_on(name));
    rig.daemon.stop();
    let events = rig.events("model-changed");
    let done: Vec<(&str, &str)> = events
        .iter()
        .map(|it| (it["data"]["model"].as_str().unwrap(), it["data"]["change"].as_str().unwrap()))
        .collect();
    let each = |model| [(model, "installed"), (model, "activated")];
    assert_eq!(done, [each("learned-pump"), each("learned-fan")].concat());
    assert!(events.iter().all(|it| it["data"]["by"] == "forebay"), "{events:?}");
}
