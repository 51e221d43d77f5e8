//! The page of the real process, in a real browser, with a controller that is switched off and on,
//! and without any Kafka.

use sha2::{Digest, Sha256};

use super::gateway::Gateway;
use super::plant::{self, Values};
use crate::browser::{Browser, Look};
use crate::support::{PATIENCE, wait_for};

#[test]
fn the_page_says_when_a_controller_goes_and_comes_back_without_any_kafka() {
    let mut servers = plant::start(Values::step(0));
    // Port 1 of this machine: nobody there, as when the line to IT is cut.
    let mut gateway = Gateway::new("127.0.0.1:1", "page", "60s", &servers);
    gateway.check();
    gateway.start();
    let page = gateway.page();
    for (width, height) in [(800, 480), (360, 740)] {
        let browser = Browser::open(Look { width, height, dark: false, scripts: true });
        browser.go(&format!("{page}/?lang=en"));
        let says = |what: &str| browser.wait_text("#v-text", what, PATIENCE, |text| text.contains(what));
        says("All 4 machines deliver data");
        servers[0].kill();
        // At first the connection has only broken off.
        let away = |text: &str| {
            text.contains("press-a has sent nothing since") && text.contains("cable or PLC off?")
        };
        browser.wait_text("#v-text", "silence of press-a", PATIENCE, away);
        servers[0].restart();
        says("All 4 machines deliver data");
        assert!(browser.fits_across(), "{width} px");
        browser.picture(&format!("end-to-end-{width}"));
    }
    // What was stored is there to be looked at; while press-a was away there is a hole.
    let address = page.trim_start_matches("http://").to_owned();
    let past = wait_for("the past", PATIENCE, || {
        let past = crate::support::get(&address, "/m/press-a/trend/e2e.level/1h?lang=en")?;
        past.contains("Lowest 41.2").then_some(past)
    });
    let line = past.split("class=\"line\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
    assert!(line.is_some_and(|line| line.contains('M')), "{past}");
    let waiting = wait_for("status", PATIENCE, || {
        let numbers = gateway.status()?["to_it"]["numbers"].clone();
        numbers["backlog_records"].as_u64().filter(|records| *records > 0)
    });
    println!("{waiting} records are kept");
    gateway.stop();
}

#[test]
fn a_machine_that_is_refused_is_on_the_page_and_in_the_numbers() {
    let mut gateway = Gateway::new("127.0.0.1:1", "page-refused", "60s", &[]);
    let device = "forebay = 1\n[[device]]\nname = \"press-4\"\nprofile = \"acme-pres-630t\"\n";
    gateway.add("devices/plant.toml", device);
    gateway.start();
    let status = wait_for("status", PATIENCE, || gateway.status());
    assert_eq!(status["verdict"]["text"], "press-4 is not read (file has faults).");
    let address = gateway.page().trim_start_matches("http://").to_owned();
    let get = |path: &str| wait_for(path, PATIENCE, || crate::support::get(&address, path));
    assert!(get("/metrics").contains("forebay_device_up{device=\"press-4\"} 0\n"));
    let docs = std::fs::read_to_string(crate::support::root().join("docs/status-page.md")).expect("a file");
    let metrics = get("/metrics");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let unknown: Vec<&str> = names.filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "docs/status-page.md does not list {unknown:?}");
    let machine = get("/m/press-4");
    assert!(machine.contains("error[P0114]: ") && machine.contains("devices/plant.toml:4"), "{machine}");
    gateway.stop();
}

#[test]
fn a_missing_file_of_this_box_is_called_its_own_settings() {
    let mut gateway = Gateway::new("127.0.0.1:1", "page-settings", "60s", &[]);
    let settings = "forebay = 1\n[edge]\nid = \"box\"\nsite = \"Werk1\"\n\
        [kafka]\nbrokers = [\"127.0.0.1:1\"]\n[kafka.tls]\nca = \"/nope/ca.pem\"\n\
        [journal]\ndirectory = \"journal\"\n[status]\nlisten = \"127.0.0.1:0\"\n[paths]\nstate = \"state\"\n";
    gateway.add("forebay.toml", settings);
    gateway.start();
    let it = wait_for("reason", PATIENCE, || {
        let it = gateway.status()?["to_it"].clone();
        (it["numbers"]["state"] == "waiting").then_some(it)
    });
    assert_eq!(it["numbers"]["cause"], "configuration", "{it}");
    let line = it["lines"][0]["text"].as_str().expect("a text");
    assert!(
        line.starts_with("This box’s own settings are wrong: cannot read /nope/ca.pem: No such file"),
        "{line}"
    );
    assert!(gateway.log().contains("this box's settings: cannot read /nope/ca.pem"), "{}", gateway.log());
    assert!(!gateway.log().contains("IT department"), "{}", gateway.log());
    gateway.stop();
}

/// The certificate of an OPC UA server, made with openssl.
const CERTIFICATE: &[u8] = include_bytes!("../../src/opcua_command/tests/first.der");

#[test]
fn a_certificate_that_waits_is_on_the_page_until_the_command_there_has_decided() {
    let mut gateway = Gateway::new("127.0.0.1:1", "page-certificate", "60s", &[]);
    gateway.add(
        "devices/plant.toml",
        "forebay = 1\n[[device]]\nname = \"filler-1\"\nprofile = \"bottle-filler\"\nlocation = \"A/B/C/D\"\n\
         endpoint = \"opc.tcp://127.0.0.1:1\"\n",
    );
    let digits: String = Sha256::digest(CERTIFICATE).iter().map(|byte| format!("{byte:02x}")).collect();
    gateway.add_bytes(&format!("state/devices/filler-1/rejected/{digits}.der"), CERTIFICATE);
    gateway.check();
    gateway.start();
    let in_state = |gateway: &Gateway, state: &str| {
        wait_for(&format!("a certificate that is {state}"), PATIENCE, || {
            let shown = gateway.status()?["certificates"][0].clone();
            (shown["state"] == state).then_some(shown)
        })
    };
    let shown = in_state(&gateway, "waiting");
    assert_eq!(shown["fingerprint"], format!("sha256:{digits}"));
    assert_eq!((&shown["device"], &shown["letter"]), (&"filler-1".into(), &"M".into()));
    let command = shown["trust"].as_str().expect("a command").to_owned();
    let address = gateway.page().trim_start_matches("http://").to_owned();
    let page = wait_for("the machine's page", PATIENCE, || crate::support::get(&address, "/m/filler-1"));
    assert!(page.contains(&command), "{command} is not in {page}");
    // Typed as it stands there.
    gateway.run(&command);
    let shown = in_state(&gateway, "trusted");
    assert!(shown["trust"].is_null(), "{shown}");
    gateway.stop();
}
