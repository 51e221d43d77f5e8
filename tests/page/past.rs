//! The past of a value, as an operator gets there.

use super::super::browser::Browser;
use super::*;

#[test]
fn the_name_of_a_value_leads_to_its_past() {
    let shop = Shop::open();
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/m/press-4?lang=de"));
    browser.script("document.querySelector('a.name[href*=oil_temp]').click()");
    let title = browser.wait_text("h1", "the curve", SOON, |text| text.contains("oil_temp"));
    assert!(title.contains("press-4: hydraulics.oil_temp"), "{title}");
    let said = browser.text(".summary");
    assert_eq!(said, "Tiefster Wert 20,0 °C, höchster 60,0 °C.");
    assert_eq!(browser.text(".parts [aria-current]"), "24 Stunden");
    // A hole is no line.
    let line = browser.script("return document.querySelector('.trend .line').getAttribute('d')");
    assert_eq!(line.as_str().expect("a path").matches('M').count(), 2, "{line}");
    browser.picture("trend-panel-german");
    browser.script("document.querySelectorAll('.spans a')[2].click()");
    browser.wait_text(".parts [aria-current]", "the week", SOON, |text| text == "7 Tage");
    assert_eq!(
        browser.script("return document.body.dataset.live"),
        "/live/m/press-4/trend/hydraulics.oil_temp/7d?lang=de"
    );
}

/// What a script returns as a list of texts.
fn list(browser: &Browser, script: &str) -> Vec<String> {
    let found = browser.script(script);
    let found = found.as_array().unwrap_or_else(|| panic!("{script}: {found}"));
    found.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// Elements that lie on top of each other, or outside of the page.
const IN_THE_WAY: &str = "
    const all = Array.from(document.querySelectorAll('.times text, .values span, .spans a, .parts > a, .summary'));
    const box = e => { const r = document.createRange(); r.selectNodeContents(e); return r.getBoundingClientRect(); };
    const bad = [];
    all.forEach((a, i) => { const x = box(a);
        if (x.left < 0 || x.right > window.innerWidth) bad.push('outside: ' + a.textContent);
        all.slice(i + 1).forEach(b => { const y = box(b);
            if (x.left < y.right && y.left < x.right && x.top < y.bottom && y.top < x.bottom)
                bad.push(a.textContent + ' on ' + b.textContent); }); });
    return bad;";

#[test]
fn a_curve_has_values_and_times_on_every_screen() {
    let open = |language| Shop::with(plant::plant(), |options| options.language = language);
    let stretched = open(Language::Stretched);
    let shop = open(Language::En);
    for (name, look) in [("panel", PANEL), ("phone", PHONE)] {
        let browser = Browser::open(look);
        for (language, shop) in [("en", &shop), ("de", &shop), ("stretched", &stretched)] {
            for span in ["1h", "24h", "7d"] {
                let chosen =
                    if language == "stretched" { String::new() } else { format!("?lang={language}") };
                browser.go(&shop.url(&format!("/m/press-4/trend/hydraulics.oil_temp/{span}{chosen}")));
                assert_eq!(browser.text(".values"), "60 °C\n50 °C\n40 °C\n30 °C\n20 °C");
                let times = list(
                    &browser,
                    "return Array.from(document.querySelectorAll('.times text'), e => e.textContent)",
                );
                let (least, is_time) = match span {
                    "1h" => (4, times.iter().all(|time| time.contains(':'))),
                    "24h" => (4, times.iter().filter(|time| time.contains(':')).count() >= 3),
                    _ => (7, times.iter().all(|time| !time.contains(':'))),
                };
                assert!((least..=least + 1).contains(&times.len()) && is_time, "{span}: {times:?}");
                assert_eq!(browser.script(IN_THE_WAY), serde_json::json!([]), "{language} {span} {name}");
                let rows = browser.script(
                    "return new Set(Array.from(document.querySelectorAll('.spans a'), e => e.offsetTop)).size",
                );
                assert_eq!(rows, 1, "{language} {span} {name}: the choice of times stands in one line");
                assert!(browser.fits_across());
                browser.picture(&format!("trend-{span}-{name}-{language}"));
            }
        }
    }
}
