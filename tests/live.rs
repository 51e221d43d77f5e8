//! The commands that speak to machines: `check --live`, `sim`, `browse`, `scan`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::chaos::counter::{Counter, profile};
use crate::peers_modbus::Cable;
use crate::support::{PATIENCE, Peer, Port, Python, wait_for};
use crate::tools::daemon::Daemon;

/// `forebay sim`, until it is dropped.
struct Sim {
    child: Child,
    endpoint: String,
}

impl Sim {
    fn start(arguments: &[&str]) -> Self {
        let mut child = forebay("sim", arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("endpoint = ")).expect("it says where it is");
        let endpoint = line.split('"').nth(1).unwrap().to_owned();
        // It says nothing more; a full pipe would stop it.
        std::thread::spawn(move || lines.count());
        Self { child, endpoint }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn forebay(command: &str, arguments: &[&str]) -> Command {
    let mut forebay = Command::new(env!("CARGO_BIN_EXE_forebay"));
    forebay.arg(command).args(arguments).stdin(Stdio::null());
    forebay
}

fn run(command: &str, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = forebay(command, arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.success(), text)
}

fn device_file(folder: &Path, profile: &str, endpoint: &str) -> PathBuf {
    let path = folder.join("machine.toml");
    let text = format!(
        "forebay = 1\n[[device]]\nname = \"machine\"\nprofile = \"{profile}\"\nendpoint = \"{endpoint}\"\n\
         location = \"Werk1/Halle\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_simulated_machine_is_what_its_file_says_and_says_so_live() {
    let folder = tempfile::tempdir().unwrap();
    for (profile, tag) in [("eastron-sdm630", "grid.frequency"), ("acme-press-630t", "drive.current")] {
        let sim = Sim::start(&[profile]);
        let file = device_file(folder.path(), profile, &sim.endpoint);
        let file = file.to_str().unwrap();
        let (sound, said) = run("check", &[file, "--live"]);
        assert!(sound, "{said}");
        assert!(said.contains("[[verify]] holds") && said.contains(" good"), "{said}");
        assert!(said.contains(tag) && !said.contains("out-of-range"), "{said}");
        drop(sim);
        let (sound, said) = run("check", &[file, "--live", "--at-most", "5"]);
        assert!(!sound && said.contains("not reached: "), "{said}");
    }
}

#[test]
fn held_values_are_shown_as_the_profile_means_them() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve();
    let sim = Sim::start(&[
        "acme-press-630t",
        "--port",
        &port.number.to_string(),
        "--set",
        "status.state=Execute",
        "--set",
        "hydraulics.oil_level=50",
        "--set",
        "status.fault_word.oil_hot=TRUE",
        "--set",
        "slide.force=7500",
    ]);
    assert_eq!(sim.endpoint, format!("127.0.0.1:{}", port.number));
    let file = device_file(folder.path(), "acme-press-630t", &sim.endpoint);
    let (sound, said) = run("check", &[file.to_str().unwrap(), "--live"]);
    let line = |tag: &str| said.lines().find(|line| line.trim_start().starts_with(tag)).unwrap_or_default();
    assert!(sound, "{said}");
    assert!(line("status.state ").contains("6 (Execute)"), "{said}");
    assert!(line("status.fault_word.oil_hot ").contains("TRUE (Oil too hot)"), "{said}");
    let level = line("hydraulics.oil_level ");
    assert!(level.contains(" 13824 ") && level.contains(" 50 %"), "{said}");
    assert!(
        line("slide.force ").contains("7500 kN") && line("slide.force ").contains("out-of-range"),
        "{said}"
    );

    let (sound, said) = run("sim", &["acme-press-630t", "--set", "slide.forse=1"]);
    assert!(!sound && said.contains("did you mean slide.force"), "{said}");
    let (sound, said) = run("sim", &["acme-press-630t", "--set", "slide.force=high"]);
    assert!(!sound && said.contains("is no REAL"), "{said}");
}

#[test]
fn a_check_that_does_not_hold_is_named_and_nothing_is_called_good() {
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::start(&["eastron-sdm630", "--set", "grid.frequency=40"]);
    let file = device_file(folder.path(), "eastron-sdm630", &sim.endpoint);
    let (sound, said) = run("check", &[file.to_str().unwrap(), "--live"]);
    assert!(!sound, "{said}");
    assert!(said.contains("check failed: grid.frequency (30071) is 40, must be within 45 and 65"), "{said}");
    assert!(said.contains(" 0 good, 17 not-verified"), "{said}");
    let (sound, said) = run("check", &[file.to_str().unwrap(), "--live", "--device", "machin"]);
    assert!(!sound && said.contains("did you mean machine"), "{said}");
}

#[test]
fn looking_at_a_machine_beside_the_box_is_one_connection_more_and_disturbs_nobody() {
    let counter = Counter::start("a");
    let mut daemon = Daemon::new("box-1", None, "away");
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let folders = "devices = [\"devices\"]\nprofiles = [\"profiles\"]";
    daemon.write("forebay.toml", &text.replace("devices = []\nprofiles = []", folders));
    for folder in ["devices", "profiles"] {
        std::fs::create_dir(daemon.folder.path().join(folder)).unwrap();
    }
    daemon.write("profiles/counter.toml", &profile());
    daemon.write("devices/a.toml", &format!("forebay = 1\n{}", counter.table()));
    daemon.start();
    wait_for("reads of the box", PATIENCE, || (counter.count() > 3).then_some(()));
    let (_, said) = run("check", &[daemon.config().to_str().unwrap(), "--live", "--device", "a"]);
    assert!(said.contains("124 tags: "), "{said}");
    let more = counter.count() + 3;
    wait_for("reads of the box", PATIENCE, || (counter.count() > more).then_some(()));
    assert_eq!(counter.clients(), 2, "the box and the look");
    daemon.stop();
    assert!(!daemon.log().contains("no values"), "{}", daemon.log());
}

#[test]
fn a_servers_tree_becomes_a_profile_that_reads_it() {
    let peer = Peer::start(Python::Current, "opcua_plant.py", &[]);
    let url = format!("opc.tcp://127.0.0.1:{}", peer.port);
    let (sound, tree) = run("browse", &[&url, "--security", "None"]);
    assert!(sound, "{tree}");
    for part in [
        "    Level  REAL % [0, 100]  s=\"DB\".\"rLevel\" in urn:forebay:plant",
        "State  DINT {0=Stopped, 1=Running, 2=He said \"no\"}  i=7001",
        "Hidden  ",
        "(not readable for this user)",
        "Speeds  INT[3]",
        "V599  UDINT",
    ] {
        assert!(tree.contains(part), "{part} is missing in\n{tree}");
    }
    assert!(!tree.contains("ServerStatus"), "the server itself is left out: {tree}");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("filler.opcua.toml");
    let out = out.to_str().unwrap();
    let (sound, said) = run("browse", &[&url, "--security", "None", "--under", "Filler", "--out", out]);
    assert!(sound && said.contains("6 tags, 1 left out"), "{said}");
    let draft = std::fs::read_to_string(out).unwrap();
    for part in [
        "level = { address = 'ns=n1;s=\"DB\".\"rLevel\"', type = \"REAL\", unit = \"%\", range = [0.0, 100.0] }",
        "desc = \"in furlong\"",
        "Hidden (not readable for this user)",
    ] {
        assert!(draft.contains(part), "{part} is missing in\n{draft}");
    }
    let (sound, said) = run("check", &[out, "--live"]);
    assert!(sound, "{said}\n{draft}");
    assert!(said.contains("41.5 %") && said.contains("1 (Running)") && said.contains("[1, 2, 3]"), "{said}");
    // What is there is not written over, what is not there is named, and bounds are told.
    let (sound, said) = run("browse", &[&url, "--security", "None", "--out", out]);
    assert!(!sound && said.contains("exists already"), "{said}");
    let (sound, said) = run("browse", &[&url, "--security", "None", "--under", "Filler/Tanc"]);
    assert!(!sound && said.contains("there are: Tank, State"), "{said}");
    let (sound, said) = run("browse", &[&url, "--security", "None", "--nodes", "5"]);
    assert!(sound && said.contains("more than 5 nodes"), "{said}");
    let (sound, said) = run("browse", &[&url, "--security", "None", "--depth", "1"]);
    assert!(sound && said.contains("with more below them") && !said.contains("rLevel"), "{said}");
}

#[test]
fn units_on_a_line_are_found_and_told_what_they_look_like() {
    let mut peer = Peer::start(Python::Current, "modbus_server.py", &["--unit", "3", "--unit", "7"]);
    peer.command("unit 7");
    peer.command("setf ir 0 ABCD 229.5");
    peer.command("setf ir 70 ABCD 50.02");
    peer.command("unit 3");
    peer.command("refuse hr 40 20");
    let endpoint = format!("tcp://127.0.0.1:{}", peer.port);
    let (begun, said) = run("scan", &["modbus", &endpoint, "--unit", "1-8"]);
    assert!(!begun && said.contains("say --yes"), "{said}");
    assert_eq!(peer.command("requests"), "0", "nothing before it may");
    let quick = ["--pause", "5", "--timeout", "300", "--registers", "0-199", "--yes"];
    let (found, said) = run("scan", &[&["modbus", &endpoint, "--unit", "2-3,7"], &quick[..]].concat());
    assert!(found, "{said}");
    assert!(said.contains("3 units asked: 2 with values, 1 that only refuse"), "{said}");
    let of_seven = said.split("unit 7: answers").nth(1).unwrap();
    assert!(
        of_seven.contains("looks like eastron-sdm630: 2 of 2 checks hold (grid.frequency 50.02 Hz"),
        "{said}"
    );
    assert!(of_seven.contains("input registers (04): 0-199 can be read, 4 of them not 0"), "{said}");
    let of_three = said.split("unit 3: answers").nth(1).unwrap().split("unit 7").next().unwrap();
    assert!(of_three.contains("holding registers (03): 0-39, 60-199 can be read"), "{said}");
    assert!(of_three.contains("looks like none of"), "{said}");
    // This server answers for units that it does not have; many gateways do.
    let of_two = said.split("unit 2: answers").nth(1).unwrap().split("unit 3").next().unwrap();
    assert!(of_two.contains("none of these can be read") && of_two.contains("not there"), "{said}");
    peer.command("silence on");
    let (found, said) = run("scan", &[&["modbus", &endpoint, "--unit", "7"], &quick[..]].concat());
    assert!(!found && said.contains("unit 7: no answer within 300 ms"), "{said}");
}

#[test]
fn units_on_a_serial_line_are_found() {
    let cable = Cable::new();
    let units: Vec<String> = (1..=8).flat_map(|unit| ["--unit".to_owned(), unit.to_string()]).collect();
    let mut arguments = vec!["--serial", cable.ends[0].as_str()];
    arguments.extend(units.iter().map(String::as_str));
    let mut peer = Peer::start(Python::Current, "modbus_server.py", &arguments);
    peer.command("unit 7");
    peer.command("setf ir 0 ABCD 229.5");
    peer.command("setf ir 70 ABCD 50.02");
    for unit in ["1", "2", "4", "5", "6", "8"] {
        peer.command(&format!("off {unit}"));
    }
    let endpoint = format!("serial://{}?baud=115200&parity=none", cable.ends[1]);
    let quick = ["--pause", "5", "--timeout", "300", "--registers", "0-199", "--yes"];
    let (found, said) = run("scan", &[&["modbus", &endpoint, "--unit", "1-8"], &quick[..]].concat());
    assert!(found, "{said}");
    assert!(said.contains("8 units asked: 2 with values, 0 that only refuse"), "{said}");
    assert!(said.contains("unit 3: answers within "), "{said}");
    let of_seven = said.split("unit 7: answers").nth(1).unwrap();
    assert!(of_seven.contains("input registers (04): 0-199 can be read, 4 of them not 0"), "{said}");
    assert!(of_seven.contains("looks like eastron-sdm630: 2 of 2 checks hold"), "{said}");
    let (found, said) = run("scan", &[&["modbus", &endpoint, "--unit", "5"], &quick[..]].concat());
    assert!(!found && said.contains("unit 5: no answer within "), "{said}");
    let nowhere = format!("serial://{}-is-not-there", cable.ends[1]);
    let (found, said) = run("scan", &[&["modbus", &nowhere, "--unit", "3"], &quick[..]].concat());
    assert!(!found && said.contains("is-not-there"), "{said}");
}
