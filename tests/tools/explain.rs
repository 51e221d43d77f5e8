//! `forebay explain` beside a running box that reads a simulated drive: what was calculated from
//! what was read, and where everything comes from.

use clap::Parser;
use forebay::config::check_files;
use forebay::explain::{self, Explain};
use forebay_connector::Value;

use super::daemon::Daemon;
use crate::support::{PATIENCE, wait_for};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    explain: Explain,
}

const PROFILE: &str = r#"forebay = 1

[profile]
name     = "drive"
version  = "1.0.0"
protocol = "modbus"
source   = "Parameter list, p. 41"

[scan]
fast = "50ms"

[defaults]
scan = "fast"

[tags.drive]
speed   = { address = "40002", type = "INT", unit = "1/min", scale = 0.1 }
torque  = { address = "40003", type = "INT", unit = "N.m" }
running = { address = "00001", type = "BOOL" }
power   = { value = "if(running, speed * torque / 9.549, 0)", unit = "W", range = [0, 100] }
highest = { value = "max(power, 1h)", unit = "W" }
"#;

const DEVICE: &str = r#"forebay = 1

[[device]]
profile  = "drive"
name     = "drive-1"
endpoint = "ENDPOINT"
location = "Werk1/Halle2/Linie3"

[device.tags.drive]
torque = { scale = 0.5 }
"#;

fn ask(daemon: &Daemon, what: &str) -> (String, bool) {
    let config = daemon.config();
    let arguments = ["explain", what, "--config", config.to_str().unwrap()];
    let mut out = Vec::new();
    let ended = explain::run(&Arguments::parse_from(arguments).explain, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), ended == std::process::ExitCode::SUCCESS)
}

#[test]
fn what_is_calculated_in_a_running_box_is_explained() {
    let mut daemon = Daemon::new("box-1", None, "away");
    for folder in ["profiles", "devices"] {
        std::fs::create_dir(daemon.folder.path().join(folder)).unwrap();
    }
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let config = config.replace("devices = []\nprofiles = []\n", "");
    daemon.write("forebay.toml", &config);
    daemon.write("profiles/drive.toml", PROFILE);
    daemon.write("devices/line3.toml", &DEVICE.replace("ENDPOINT", "tcp://127.0.0.1:1"));
    let loaded = check_files(&[daemon.config()]);
    assert_eq!(loaded.errors(), 0, "{:?}", loaded.diagnostics);
    let device = &loaded.devices[0];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let simulator = runtime.block_on(device.protocol.simulate(&device.spec)).unwrap();
    for (path, value) in [
        ("drive.speed", Value::Int(15_000)),
        ("drive.torque", Value::Int(7)),
        ("drive.running", Value::Bool(true)),
    ] {
        simulator.set(device.tags[device.tag_index(path).unwrap()].raw, &value);
    }
    daemon.write("devices/line3.toml", &DEVICE.replace("ENDPOINT", &simulator.endpoint()));
    assert!(!ask(&daemon, "drive-1/power").0.contains("now"), "no box runs yet");
    daemon.start();

    // 1500 1/min and 3.5 N.m: 549.8 W, which is outside of the range.
    let power = 1500.0 * 3.5 / 9.549;
    let said = wait_for("a calculated value", PATIENCE, || {
        let (said, found) = ask(&daemon, "drive-1/power");
        assert!(found, "{said}");
        said.contains(&format!("{power} W, out-of-range, read ")).then_some(said)
    });
    assert!(said.contains("calculated from drive.running, drive.speed, drive.torque"), "{said}");
    let said = wait_for("the highest value", PATIENCE, || {
        let (said, _) = ask(&daemon, "drive-1/drive.highest");
        said.contains(&format!("{power} W, out-of-range")).then_some(said)
    });
    assert!(said.contains("calculated from drive.power"), "{said}");
    simulator.set(device.tags[device.tag_index("drive.running").unwrap()].raw, &Value::Bool(false));
    wait_for("a drive that stands", PATIENCE, || {
        let (said, _) = ask(&daemon, "drive-1/power");
        let now = said.lines().find(|line| line.starts_with("now"))?;
        now.contains("0 W, good").then_some(())
    });
    let (said, _) = ask(&daemon, "drive-1/torque");
    let scale = said.lines().find(|line| line.starts_with("scale")).unwrap();
    assert!(scale.contains("line3.toml:10") && scale.contains("the device's own"), "{said}");
    let (said, found) = ask(&daemon, "drive-1/torqe");
    assert!(!found && said.contains("did you mean torque?"), "{said}");
    daemon.stop();
}
