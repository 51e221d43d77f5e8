//! The plan of files as an engineer would write them.

use std::path::PathBuf;

use super::command::{PlanCommand, run};

/// A profile for Modbus with this `[modbus]`, these tags and these devices.
fn said(middle: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("meter.toml");
    let head = "forebay = 1\n[profile]\nname = \"meter\"\nversion = \"1\"\nprotocol = \"modbus\"\nsource = \"manual\"\n";
    std::fs::write(&file, format!("{head}{middle}")).unwrap();
    let mut out = Vec::new();
    run(&PlanCommand::of(vec![file]), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const TAGS: &str = r#"
[scan]
fast = "10ms"
slow = "10s"
[tags.power]
l1    = { address = "30001", type = "REAL", scan = "fast" }
l2    = { address = "30003", type = "REAL", scan = "fast" }
far   = { address = "30101", type = "REAL", scan = "fast" }
total = { address = "40001", type = "REAL", scan = "slow" }
"#;

fn device(name: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nendpoint = \"tcp://192.168.20.15:502\"\nlocation = \"Werk1/Halle2\"\n"
    )
}

#[test]
fn requests_rates_and_bytes_of_a_scan_class_are_told() {
    let said = said(&format!("{TAGS}{}", device("m1")));
    for line in [
        "m1 (modbus, tcp://192.168.20.15:502)",
        "  fast every 10 ms: 2 requests (the least possible; cost ÷ bound 1.00), 200 a second, 54 bytes, \
         about 10 ms per round",
        "    FC04 wire 0..4, 4 registers, 2 tags, 12 bytes out, 17 in",
        "    FC04 wire 100..102, 2 registers, 1 tag, 12 bytes out, 13 in",
        "    FC03 wire 0..2, 2 registers, 1 tag, 12 bytes out, 13 in",
        "  together: 200.1 requests and 5402 bytes a second, busy 100 %",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}\n{said}");
    }
}

#[test]
fn what_cannot_be_kept_up_is_a_warning() {
    let said = said(&format!("[modbus]\nrequest_pause = \"165ms\"\n{TAGS}{}", device("m1")));
    assert!(said.contains("warning: device `m1`: fast needs 340 ms per round, 10 ms asked"), "{said}");
    assert!(said.contains("  165 ms of silence before each request"), "{said}");
    assert!(said.contains("warning[P0181]: device `m1`: fast needs 330 ms"), "certain at once: {said}");
}

#[test]
fn devices_behind_one_gateway_add_up() {
    let slower = TAGS.replace("10ms", "16ms");
    let said = said(&format!("{slower}{}{}", device("m1"), device("m2")));
    assert!(said.contains("tcp://192.168.20.15:502, 2 devices in turn: 250.2 requests"), "{said}");
    assert!(
        said.contains("warning: m1, m2: all rounds on tcp://192.168.20.15:502 take 125 % of the time"),
        "{said}"
    );
    assert!(!said.contains("P0181"), "not certain: a quicker network would do: {said}");
}

#[test]
fn every_device_of_the_example_can_be_planned() {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/example/forebay.toml");
    let mut out = Vec::new();
    run(&PlanCommand::of(vec![example]), &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(!said.contains("cannot be read") && said.contains("cost ÷ bound 1.00"), "{said}");
    assert!(
        said.contains("slow every 60 s: 2 requests (the least possible; cost ÷ bound 1.00), 2 a minute"),
        "{said}"
    );
}

#[test]
fn a_subscription_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filler.toml");
    let device = "forebay = 1\n[[device]]\nname = \"filler-1\"\nprofile = \"bottle-filler\"\n\
                  endpoint = \"opc.tcp://192.168.30.10:4840\"\nlocation = \"Werk2/Linie1\"\n";
    std::fs::write(&file, device).unwrap();
    let mut out = Vec::new();
    run(&PlanCommand::of(vec![file]), &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains(": subscription of "), "{said}");
    assert!(said.contains("the server sends changes every 500 ms"), "{said}");
}
