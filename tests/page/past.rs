//! The past of a value, as an operator gets there.

use super::super::browser::Browser;
use super::{PANEL, SOON, Shop};

#[test]
fn the_name_of_a_value_leads_to_its_past() {
    let shop = Shop::open();
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/m/press-4?lang=de"));
    browser.script("document.querySelector('a.name[href*=oil_temp]').click()");
    let title = browser.wait_text("h1", "the curve", SOON, |text| text.contains("oil_temp"));
    assert!(title.contains("hydraulics.oil_temp"), "{title}");
    let said = browser.text(".note");
    assert_eq!(said, "Tiefster Wert 20,0 °C, höchster 60,0 °C.");
    assert_eq!(browser.text(".parts [aria-current]"), "24 Stunden");
    // A hole is no line.
    let line = browser.script("return document.querySelector('.trend .line').getAttribute('d')");
    assert_eq!(line.as_str().expect("a path").matches('M').count(), 2, "{line}");
    browser.picture("trend-panel-german");
    browser.script("document.querySelectorAll('.parts a')[3].click()");
    browser.wait_text(".parts [aria-current]", "the week", SOON, |text| text == "7 Tage");
    assert_eq!(
        browser.script("return document.body.dataset.live"),
        "/live/m/press-4/trend/hydraulics.oil_temp/7d?lang=de"
    );
}
