//! The buttons of engineers on the page, pressed in a real browser.

use serde_json::Value as Json;

use super::rig::Rig;
use crate::browser::{Browser, Look};
use crate::support::{PATIENCE, wait_for};

const MODEL: &str = "learned-pump";
const PASSWORD: &str = "correct horse battery";
const LEARN: &str = "[[learn]]\ndevice = \"pump\"\ninterval = \"200ms\"\n";
/// Points of the grid after which most of a new level is in what is accepted.
const SETTLED: u64 = 160;

/// Anna is an operator, Ben an engineer.
fn rig() -> Rig {
    let mut rig = Rig::new(&["pump"], LEARN);
    rig.machine("pump").be_quick();
    rig.ran("pump", 150);
    rig.daemon.start();
    let file = rig.daemon.folder.path().join("password");
    rig.daemon.write("password", PASSWORD);
    for (name, role) in [("anna", "operator"), ("ben", "engineer")] {
        rig.done(&["person", "add", name, "--role", role, "--password-file", file.to_str().unwrap()]);
    }
    rig
}

/// A page of the box that one person after another signs in on.
struct Page {
    browser: Browser,
    address: String,
}

impl Page {
    fn open(rig: &Rig) -> Self {
        let browser = Browser::open(Look { width: 800, height: 480, dark: false, scripts: true });
        Self { browser, address: format!("http://{}", rig.daemon.page()) }
    }

    fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.address));
    }

    fn sign_in(&self, name: &str) {
        self.go("/sign-in?lang=en");
        self.browser.script(&format!(
            "document.querySelector('[name=name]').value = '{name}';
             document.querySelector('[name=password]').value = '{PASSWORD}';
             document.querySelector('form.sign button').click()"
        ));
        let who = format!("Signed in: {name}");
        self.browser.wait_text(".who", "who is signed in", PATIENCE, |text| text == who);
    }

    fn sign_out(&self) {
        self.go("/sign-in?lang=en");
        self.browser.script("document.querySelector('form button').click()");
        self.browser.wait_text(".who", "nobody signed in", PATIENCE, |text| text == "Sign in to answer");
    }

    /// Presses the button of an order on the page as it is now, which the browser must show.
    fn press(&self, order: &str) {
        self.go("/health?lang=en");
        let shown = self.browser.script(&format!(
            "const orders = document.querySelector('details.orders');
             if (orders) orders.querySelector('summary').click();
             const button = document.querySelector('form[action=\"/do/{order}\"] button');
             const shown = button && button.checkVisibility() && button.getBoundingClientRect().height >= 48;
             if (shown) button.click();
             return shown"
        ));
        assert_eq!(shown, Json::Bool(true), "the button {order}");
    }

    /// Orders on the page.
    fn orders(&self) -> Json {
        let forms = ["learn", "promote", "accept"].map(|order| format!("form[action=\"/do/{order}\"]"));
        self.browser.script(&format!("return document.querySelectorAll('{}').length", forms.join(", ")))
    }

    /// What is sent by hand, with the token that the page has given: what the answer says.
    fn forge(&self, order: &str) -> String {
        self.go("/sign-in?lang=en");
        self.browser.script(&format!(
            "const form = document.querySelector('form');
             form.action = '/do/{order}';
             for (const [name, value] of [['device', 'pump'], ['model', '{MODEL}'], ['back', '/health']]) {{
                 const field = document.createElement('input');
                 [field.name, field.value] = [name, value];
                 form.append(field);
             }}
             form.querySelector('button').click()"
        ));
        self.browser.wait_text("body", "an answer", PATIENCE, |text| text.contains("Nothing was done"))
    }
}

#[test]
fn an_engineer_learns_promotes_and_accepts_and_an_operator_cannot() {
    let mut rig = rig();
    let page = Page::open(&rig);
    page.sign_in("anna");
    assert_eq!(page.orders(), 0);
    for order in ["learn", "promote", "accept"] {
        let said = page.forge(order);
        assert!(said.contains("this needs the role engineer"), "{order}: {said}");
    }
    assert_eq!(rig.model(MODEL), None, "an operator has done nothing");
    page.sign_out();
    assert_eq!(page.orders(), 0);

    page.sign_in("ben");
    let heading = |what: &str| {
        page.browser.wait_text("#h0 h2", what, PATIENCE, |text| text == "pump: Behaviour of pump");
    };
    page.press("learn");
    heading("what is watched");
    let first = rig.model(MODEL).unwrap()["active"].clone();
    assert!(first.is_string());
    assert_eq!(page.orders(), 3);
    page.browser.script("document.querySelector('details.orders summary').click()");
    assert!(page.browser.fits_across());
    page.browser.picture("health-orders");
    // Nothing is in shadow yet, and that is said.
    page.press("promote");
    let said =
        page.browser.wait_text("body", "an answer", PATIENCE, |text| text.contains("Nothing was done"));
    assert!(said.contains(&format!("{MODEL} has no version in shadow")), "{said}");

    page.press("learn");
    let shadow =
        wait_for("a shadow", PATIENCE, || rig.model(MODEL)?["shadow"]["version"].as_str().map(str::to_owned));
    assert_eq!(rig.model(MODEL).unwrap()["active"], first);
    page.press("promote");
    wait_for("the other version", PATIENCE, || (rig.model(MODEL)?["active"] == *shadow).then_some(()));
    assert_eq!(rig.model(MODEL).unwrap()["by"], "ben");

    // The machine is another one now.
    rig.wait_model(MODEL, "normal score", |state, _| state == "normal");
    rig.machine("pump").keep_steady();
    rig.machine("pump").shift(3.0);
    rig.wait_model(MODEL, "alarm", |state, _| state == "raised");
    rig.wait_scores(MODEL, SETTLED);
    let before = rig.wait_model(MODEL, "alarm that lasts", |state, score| state == "raised" && score > 1.0);
    page.press("accept");
    heading("the page after it");
    let is_accepted = |state: &str, score: f64| state == "normal" && score < 0.6 * before;
    rig.wait_model(MODEL, "end of the alarm", is_accepted);
    rig.wait_on_disk("\"accepted\":");
    rig.daemon.kill();
    rig.daemon.start();
    let again = rig.wait_model(MODEL, "normal score", is_accepted);
    println!("score {before} before it was accepted, {again} after a kill");
    rig.is_read_on("pump");
    rig.daemon.stop();

    let events = rig.events("model-changed");
    let by_ben: Vec<&str> = events
        .iter()
        .filter(|event| event["data"]["by"] == "ben" && event["data"]["model"] == MODEL)
        .map(|event| event["data"]["change"].as_str().unwrap())
        .collect();
    assert_eq!(
        by_ben,
        ["installed", "activated", "installed", "shadow", "activated", "accepted"],
        "{events:?}"
    );
    assert_eq!(events.len(), by_ben.len(), "nobody else: {events:?}");
    let raised: Vec<Json> = rig.events("prediction").iter().map(|it| it["data"]["state"].clone()).collect();
    assert!(raised.iter().filter(|state| *state == "raised").count() == 1, "{raised:?}");
}
