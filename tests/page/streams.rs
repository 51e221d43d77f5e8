//! Pages that were left: a browser keeps them for the way back, and must not keep their streams.

use super::super::browser::Browser;
use super::*;

/// Browsers give up the streams of pages that they keep after a minute, by themselves.
const LONG_BEFORE: Duration = Duration::from_secs(30);

#[test]
fn who_walks_through_many_pages_waits_for_none() {
    let shop = Shop::with(plant::plant(), |options| options.web_clients_max = 2);
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/?lang=en"));
    for path in ["/health", "/events", "/", "/health", "/m/press-4"] {
        browser.script(&format!(
            "const link = document.querySelector('a'); link.href = '{path}?lang=en'; link.click()"
        ));
        let shown = "return location.pathname";
        wait_for(path, SOON, || (browser.script(shown) == path).then_some(()));
    }
    // Only the page that is shown is live, so there is a place for another reader.
    wait_for("place for another reader", LONG_BEFORE, || (live(&shop).1 == 200).then_some(()));
    // And the way back shows what is now.
    shop.trouble();
    browser.script("history.back()");
    browser.wait_text("#v-text", "the page before, as it is now", SOON, |text| text.contains("filler-1"));
}
