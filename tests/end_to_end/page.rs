//! The page of the real process, in a real browser, with a controller that is switched off and on,
//! and without any Kafka.

use std::time::Duration;

use super::gateway::Gateway;
use super::plant::{self, Values};
use crate::browser::{Browser, Look};
use crate::support::wait_for;

/// Longest time until the page shows what has happened at a machine.
const SOON: Duration = Duration::from_secs(30);

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
        let says = |what: &str| browser.wait_text("#v-text", what, SOON, |text| text.contains(what));
        says("All 4 machines deliver data");
        servers[0].kill();
        let verdict = says("press-a has sent nothing since");
        assert!(verdict.contains("cable or PLC off?"), "{verdict}");
        servers[0].restart();
        says("All 4 machines deliver data");
        assert!(browser.fits_across(), "{width} px");
        browser.picture(&format!("end-to-end-{width}"));
    }
    let waiting = wait_for("status", SOON, || {
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
    let status = wait_for("status", SOON, || gateway.status());
    assert_eq!(status["verdict"]["text"], "press-4 is not read (file has faults).");
    let address = gateway.page().trim_start_matches("http://").to_owned();
    let get = |path: &str| wait_for(path, SOON, || crate::support::get(&address, path));
    assert!(get("/metrics").contains("forebay_device_up{device=\"press-4\"} 0\n"));
    let machine = get("/m/press-4");
    assert!(machine.contains("error[P0114]: ") && machine.contains("devices/plant.toml:4"), "{machine}");
    gateway.stop();
}
