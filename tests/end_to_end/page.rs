//! The page of the real process, in a real browser, with a controller that is switched off and on,
//! and without any Kafka.

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
    let waiting = wait_for("status", PATIENCE, || {
        let numbers = gateway.status()?["to_it"]["numbers"].clone();
        numbers["backlog_records"].as_u64().filter(|records| *records > 0)
    });
    println!("{waiting} records are kept");
    gateway.stop();
}
