//! The status page in a real browser, and its server against rude clients.

extern crate forebay;

mod health;
mod past;
#[path = "plant.rs"]
mod plant;
mod readable;
mod streams;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::browser::{Answer, Browser, Look, exchange, read_answer};
use forebay::clock::now_us;
use forebay::device::Text;
use forebay::standby::{Report, Says};
use forebay::status::facts::{CertificateState, DiskError, PredictionState, ToIt, ToItState};
use forebay::status::{Language, Options, ServeError, serve};
use forebay::twin::{Cause, Twin};
use forebay_connector::{Quality, Value};
use plant::{FakeFacts, MINUTE_US, all_good, text};
use tokio_util::sync::CancellationToken;

use super::support::{PATIENCE as SOON, wait_for};

const PANEL: Look = Look { width: 800, height: 480, dark: false, scripts: true };
const PHONE: Look = Look { width: 360, height: 740, dark: false, scripts: true };

/// The past of one value.
const TREND: &str = "/m/press-4/trend/hydraulics.oil_temp/24h";

/// A served page and everything behind it.
struct Shop {
    twin: Arc<Twin>,
    facts: Arc<FakeFacts>,
    address: SocketAddr,
    stop: CancellationToken,
    runtime: tokio::runtime::Runtime,
}

impl Shop {
    fn open() -> Self {
        Self::with(plant::plant(), |_| {})
    }

    fn with(twin: Arc<Twin>, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Options::default() };
        change(&mut options);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // A test that holds the facts holds the workers that ask for them, and others must answer.
            .worker_threads(8)
            .enable_all()
            .build()
            .expect("a runtime");
        all_good(&twin, now_us(), 0);
        let (facts, stop) = (FakeFacts::well(), CancellationToken::new());
        let served = serve(options, Arc::clone(&twin), facts.clone(), stop.clone());
        let address = runtime.block_on(served).expect("a free port").address;
        // Values come in as from pollers: the machines of the test that are up stay fresh.
        let (fresh, end) = (Arc::clone(&twin), stop.clone());
        runtime.spawn(async move {
            while !end.is_cancelled() {
                refresh(&fresh);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { twin, facts, address, stop, runtime }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        exchange(self.address, request.as_bytes()).expect("an answer")
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    fn spoil(&self, device: &str, tag: usize, quality: Quality) {
        let device = self.twin.device(device).expect("a machine");
        device.state().values[tag].quality = quality;
    }

    /// press-4 gone, press-3 served, a value of filler-2 doubtful, a prediction raised, IT away.
    fn trouble(&self) {
        let now = now_us();
        plant::take_away(&self.twin, "press-4", now - 4 * MINUTE_US, "unreachable");
        self.spoil("press-3", 0, Quality::FunctionCheck);
        self.spoil("filler-2", 2, Quality::OutOfRange);
        self.facts.set(|answers| {
            let raised = &mut answers.predictions[0];
            raised.device = "filler-1".to_owned();
            raised.title = text("Capping head", "Verschließkopf");
            raised.state = PredictionState::Raised;
            raised.words = text("torque rising, look this week", "Drehmoment steigt, diese Woche ansehen");
            raised.score = Some(1.62);
            raised.history =
                (0..60).map(|at| 0.4 + 0.02 * f32::from(u8::try_from(at).expect("small"))).collect();
            answers.to_it.state = ToItState::Waiting {
                since_us: now - 9 * MINUTE_US,
                cause: Cause { code: "unreachable".to_owned(), message: "all brokers down".to_owned() },
            };
            answers.to_it.backlog_records = 22_140;
        });
    }
}

fn refresh(twin: &Twin) {
    let now = now_us();
    for device in &*twin.devices() {
        let mut state = device.state();
        if matches!(state.link, forebay::twin::Link::Up { .. }) {
            state.good_us = now;
            let values = u64::try_from(state.values.len()).expect("few");
            state.count(now, values);
            for current in &mut state.values {
                current.edge_us = now;
                current.good_us = if current.quality.is_good() { now } else { current.good_us };
            }
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn an_operator_reads_the_verdict_and_sees_it_change() {
    let shop = Shop::open();
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/"));
    assert_eq!(browser.text("#v-text"), "All 6 machines deliver data.");
    assert!(browser.text("#v-oldest").starts_with("Oldest value"), "{}", browser.text("#v-oldest"));
    assert!(browser.fits_across());
    assert!(browser.page_height() <= 480, "a 7-inch panel shows all of it: {}", browser.page_height());
    browser.picture("overview-panel-good");

    let since = now_us();
    plant::take_away(&shop.twin, "press-4", since, "unreachable");
    let verdict =
        browser.wait_text("#v-text", "change of the verdict", SOON, |text| text.contains("press-4"));
    assert!(
        verdict.starts_with("press-4 has sent nothing since ") && verdict.ends_with("(cable or PLC off?)."),
        "{verdict}"
    );
    assert_eq!(browser.text("#v-mark"), "F");
    shop.trouble();
    browser.wait_text("#t-it", "IT waiting", SOON, |text| text.contains("Waiting since"));
    browser.wait_text("#t-predictions", "prediction", SOON, |text| text.contains("filler-1: Capping head"));
    browser.wait_text(".machines li:nth-child(3) .mark", "function check", SOON, |text| text == "C");
    assert!(browser.fits_across());
    browser.picture("overview-panel-trouble");

    all_good(&shop.twin, now_us(), 0);
    browser.wait_text("#v-text", "all well again", SOON, |text| text == "All 6 machines deliver data.");
}

#[test]
fn it_fits_a_phone_and_a_longer_language() {
    for (name, language) in [("phone", Language::En), ("phone-stretched", Language::Stretched)] {
        let shop = Shop::with(plant::plant(), |options| options.language = language);
        shop.trouble();
        let browser = Browser::open(PHONE);
        for (page, path) in [
            ("overview", "/"),
            ("machine", "/m/press-4"),
            ("trend", TREND),
            ("health", "/health"),
            ("events", "/events"),
        ] {
            browser.go(&shop.url(path));
            assert!(browser.fits_across(), "{path} in {name}");
            browser.picture(&format!("{page}-{name}"));
        }
    }
    let shop = Shop::with(plant::plant(), |options| options.language = Language::Stretched);
    shop.trouble();
    for look in [Look { width: 320, ..PHONE }, PANEL] {
        let browser = Browser::open(look);
        browser.go(&shop.url("/"));
        assert!(browser.fits_across(), "{} px", look.width);
        browser.picture(&format!("overview-stretched-{}", look.width));
    }
}

#[test]
fn a_new_box_says_what_comes_next() {
    let shop = Shop::with(Arc::new(Twin::new(&[])), |_| {});
    shop.facts.set(|answers| {
        answers.predictions.clear();
        answers.events.clear();
        answers.to_it = ToIt::default();
        answers.reserve.left_s = None;
    });
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/"));
    assert!(browser.text("#v-text").starts_with("No machine is set up yet."));
    assert!(browser.text("#t-predictions").contains("No models set up"));
    browser.picture("overview-panel-empty");
    browser.go(&shop.url("/events"));
    assert_eq!(browser.text("#e"), "Nothing has happened yet.");

    let shop = Shop::open();
    shop.twin.devices().iter().for_each(|device| *device.state() = Default::default());
    browser.go(&shop.url("/"));
    assert_eq!(browser.text("#v-text"), "Starting: 6 machines are being connected.");
    browser.go(&shop.url("/m/press-4"));
    assert!(browser.text("h1").contains("press-4"));
    browser.picture("machine-panel-starting");
}

#[test]
fn it_is_german_on_request_and_keeps_that_in_its_links() {
    let shop = Shop::open();
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/?lang=de"));
    assert_eq!(browser.text("#v-text"), "Alle 6 Maschinen liefern Daten.");
    assert_eq!(browser.script("return document.documentElement.lang"), "de");
    let oldest = browser.text("#v-oldest");
    assert!(oldest.starts_with("Ältester Wert ") && oldest.contains(','), "{oldest}");
    browser.script("document.querySelector('.machines a').click()");
    let name = browser.wait_text("h1", "the machine's page", SOON, |text| text.contains("meter"));
    assert!(name.contains("Energiezähler"), "{name}");
    browser.picture("machine-panel-german");
    // The live stream speaks German, too.
    let link = browser.script("return document.body.dataset.live");
    assert_eq!(link, "/live/m/meter-compressor?lang=de");
    let german = shop.ask("GET", "/", "Accept-Language: fr;q=0.9, de-CH;q=0.8\r\n");
    assert!(
        german.body.contains("<html lang=\"de\">") && german.body.contains("Alle 6 Maschinen"),
        "{}",
        german.body
    );
}

#[test]
fn text_has_enough_contrast_and_targets_are_large() {
    // Relative luminance and contrast after WCAG 2.2, "contrast ratio".
    const CONTRAST: &str = "
        const lum = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(v => { v /= 255;
            return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255,255,255)'; };
        const bad = [];
        document.querySelectorAll('body *').forEach(e => {
            const own = Array.from(e.childNodes).some(n => n.nodeType === 3 && n.data.trim());
            if (!own || !e.getClientRects().length) return;
            const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) bad.push(e.className + ': ' + e.textContent + ' ' + ratio.toFixed(2));
        });
        document.querySelectorAll('a:not(.skip)').forEach(e => { const r = e.getBoundingClientRect();
            if (r.height < 48 || r.width < 48) bad.push('small target ' + e.textContent + ' ' + r.width + 'x' + r.height); });
        return bad;";
    let shop = Shop::open();
    shop.trouble();
    for dark in [false, true] {
        let browser = Browser::open(Look { dark, ..PANEL });
        for path in ["/", "/m/press-4", TREND, "/health", "/sign-in", "/events"] {
            browser.go(&shop.url(path));
            let bad = browser.script(CONTRAST);
            assert_eq!(bad, serde_json::json!([]), "{path} dark: {dark}");
        }
    }
}

#[test]
fn it_is_readable_without_scripts() {
    let shop = Shop::open();
    shop.trouble();
    let browser = Browser::open(Look { scripts: false, ..PANEL });
    browser.go(&shop.url("/"));
    assert!(
        browser.text("#v-text").starts_with("press-4 has sent nothing since"),
        "{}",
        browser.text("#v-text")
    );
    assert!(browser.text("#t-reserve").contains("9 days 4 h"));
    // The meta refresh alone brings the change.
    all_good(&shop.twin, now_us(), 0);
    browser
        .wait_text("#v-text", "the page to load itself", SOON, |text| text == "All 6 machines deliver data.");
}

#[test]
fn a_page_that_gets_no_news_says_that_it_is_old() {
    let shop = Shop::open();
    let browser = Browser::open(PANEL);
    browser.go(&shop.url("/"));
    assert_eq!(browser.text("#old"), "");
    let Shop { stop, runtime, .. } = &shop;
    stop.cancel();
    let _entered = runtime.enter();
    let banner = browser.wait_text("#old", "banner", SOON, |text| !text.is_empty());
    assert!(banner.starts_with("This page is old. Nothing has come from the box since "), "{banner}");
    browser.picture("overview-panel-old");
}

#[test]
fn a_hostile_device_stays_text_in_the_browser() {
    let evil = "<img src=x onerror=document.title='owned'>";
    let device = plant::device(
        evil,
        "Werk1",
        Text::plain(evil),
        "modbus",
        vec![plant::tag(evil, "STRING[9]", "", None)],
    );
    let shop = Shop::with(Arc::new(Twin::new(&[device])), |_| {});
    shop.twin.devices()[0].state().values[0].value = Value::Text(evil.into());
    plant::take_away(&shop.twin, evil, now_us(), evil);
    let browser = Browser::open(PHONE);
    browser.go(&shop.url("/"));
    browser.script("document.querySelector('.machines a').click()");
    browser.wait_text("h1", "the machine's page", SOON, |text| text.contains("onerror"));
    browser
        .wait_text("[id^=a0]", "a live update", SOON, |text| text.starts_with('1') || text.starts_with('2'));
    assert_eq!(browser.script("return document.images.length"), 0);
    assert_ne!(browser.script("return document.title"), "owned");
    assert!(browser.fits_across());
}

#[test]
fn every_answer_is_signed_and_nothing_can_be_written() {
    let shop = Shop::open();
    for (path, status) in [
        ("/", 200),
        ("/events", 200),
        ("/health", 200),
        ("/m/press-4", 200),
        (TREND, 200),
        ("/m/press-4/trend/hydraulics.oil_temp/2d", 404),
        ("/m/press-4/trend/nothing/24h", 404),
        ("/m/nobody/trend/hydraulics.oil_temp/24h", 404),
        ("/live/m/nobody/trend/hydraulics.oil_temp/24h", 404),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/api/v1/status.json", 200),
        ("/assets/forebay.css", 200),
        ("/assets/live.js", 200),
        ("/assets/icon.svg", 200),
        ("/m/nobody", 404),
        ("/live/m/nobody", 404),
        ("/assets/../Cargo.toml", 404),
        ("/assets/", 404),
        ("/admin", 404),
    ] {
        let answer = shop.get(path);
        assert_eq!(answer.status, status, "{path}");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'\r\n",
            "x-content-type-options: nosniff\r\n",
            // With forms the page's own origin must be told.
            if path == "/health" {
                "referrer-policy: same-origin\r\n"
            } else {
                "referrer-policy: no-referrer\r\n"
            },
        ] {
            assert!(answer.head.contains(header), "{path} without {header}: {}", answer.head);
        }
        assert!(answer.body.len() < 60_000, "{path}: {} bytes", answer.body.len());
        let head = shop.ask("HEAD", path, "");
        assert_eq!((head.status, head.body.as_str()), (status, ""), "HEAD {path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let answer = shop.ask(method, path, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("allow: GET, HEAD\r\n"), "{}", answer.head);
        }
    }
    // All that makes up the page, unpacked.
    let whole: usize = ["/", "/assets/forebay.css", "/assets/live.js", "/assets/icon.svg"]
        .iter()
        .map(|path| shop.get(path).body.len())
        .sum();
    assert!(whole < 60_000, "{whole} bytes");
    println!("the overview of six machines weighs {whole} bytes with all its files");
}

#[test]
fn foreign_names_and_oversized_requests_are_refused() {
    let shop =
        Shop::with(plant::plant(), |options| options.host_names = vec!["box1.plant.example".to_owned()]);
    let port = shop.address.port();
    for host in [format!("localhost:{port}"), "127.0.0.1".into(), "[::1]".into(), "BOX1.plant.example".into()]
    {
        assert_eq!(shop.ask("GET", "/", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "localhost\r\nHost: evil.example"]
    {
        let answer = shop.ask("GET", "/api/v1/status.json", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 421, "{host}");
        assert!(answer.body.contains("IP address") && !answer.body.contains("press-4"), "{}", answer.body);
    }
    assert_eq!(shop.get(&format!("/?{}", "x".repeat(2000))).status, 414);
    assert_eq!(shop.ask("GET", "/", &format!("X-Long: {}\r\n", "x".repeat(40_000))).status, 431);
    assert_eq!(shop.ask("GET", "/", &"X-Many: 1\r\n".repeat(100)).status, 431);
    assert_eq!(exchange(shop.address, b"\x16\x03\x01\x02\x00\r\n\r\n").expect("an answer").status, 400);
    for path in ["/m/%ff%fe", "/m/%00", "/?part=99999999999999999999&lang=%F0", "/?part=0&part=-1&lang=xx"] {
        assert!(shop.get(path).status < 500, "{path}");
    }
}

/// Opens a live stream; the status tells whether there was a place.
fn live(shop: &Shop) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(shop.address).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a socket option");
    write!(stream, "GET /live HTTP/1.1\r\nHost: {}\r\n\r\n", shop.address).expect("a request");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    let status = String::from_utf8_lossy(&head[9..12]).parse().expect("a status");
    (stream, status)
}

#[test]
fn live_readers_are_bounded_and_the_page_stays_readable() {
    let shop = Shop::with(plant::plant(), |options| options.web_clients_max = 4);
    let readers: Vec<_> = (0..4).map(|_| live(&shop)).collect();
    assert!(readers.iter().all(|(_, status)| *status == 200));
    let refused = shop.get("/live");
    assert_eq!(refused.status, 503);
    assert!(
        refused.body.contains("Too many readers at once") && refused.head.contains("retry-after: 5"),
        "{refused:?}"
    );
    // While all live readers get their news at once there is no turn for a fifth, who is told so.
    wait_for("page", SOON, || (shop.get("/").status == 200).then_some(()));
    let once = wait_for("news", SOON, || Some(shop.get("/live?once=1")).filter(|once| once.status == 200));
    assert!(once.body.contains("All 6 machines"), "{once:?}");
    drop(readers);
    wait_for("place for a live reader", SOON, || (live(&shop).1 == 200).then_some(()));
}

#[test]
fn requests_beyond_the_limit_are_told_to_come_again() {
    let shop = Shop::with(plant::plant(), |options| options.web_clients_max = 2);
    // Nobody gets facts, so pages pile up: one being made, one waiting, and one too many.
    let held = shop.facts.0.lock().expect("no test panics in a change");
    let (answered, answers) = mpsc::channel();
    for _ in 0..3 {
        let (address, answered) = (shop.address, answered.clone());
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        std::thread::spawn(move || answered.send(exchange(address, request.as_bytes())));
    }
    let next = || answers.recv_timeout(SOON).expect("an answer in time").expect("a whole answer");
    let refused = next();
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("Please try again"), "{}", refused.body);
    drop(held);
    assert_eq!([next().status, next().status], [200, 200], "the others are served");
    wait_for("page", SOON, || (shop.get("/").status == 200).then_some(()));
}

#[test]
fn a_live_stream_sends_changes_and_heartbeats() {
    let shop = Shop::open();
    let (mut stream, _) = live(&shop);
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let mut seen = |what: &str| {
        wait_for(what, SOON, || {
            let read = stream.read(&mut buffer).expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            text.contains(what).then(|| std::mem::take(&mut text))
        })
    };
    seen("event: cells");
    plant::take_away(&shop.twin, "filler-1", now_us(), "timeout");
    let changed = seen("PLC stopped or overloaded?");
    assert!(
        changed.matches("\"t-reserve\"").count() <= 1,
        "what did not change is not sent again: {changed}"
    );
    // A page on which nothing changes hears a heartbeat.
    let mut events = TcpStream::connect(shop.address).expect("a connection");
    events.set_read_timeout(Some(SOON)).expect("a socket option");
    write!(events, "GET /live/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    wait_for("heartbeat", SOON, || {
        let read = events.read(&mut buffer).expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        text.contains("event: beat").then_some(())
    });
}

/// False when the server has closed the connection.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket option");
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Within this time no connection has been silent for so long that it is closed for that.
const NOBODY_LATE: Duration = Duration::from_secs(5);

#[test]
fn a_flood_of_connections_does_not_stop_the_answers() {
    // What comes later than that proves nothing, so a slow machine gets several tries.
    assert!((0..10).any(|_| flood_is_thrown_out()), "the connections that are too many stay");
}

/// Whether a flood is thrown out before any of its connections can have been closed for its silence.
fn flood_is_thrown_out() -> bool {
    let shop = Shop::open();
    let begun = Instant::now();
    // Silent, half a request, and requests whose answer nobody reads.
    let mut flood = Vec::new();
    for at in 0..400 {
        let mut stream = TcpStream::connect(shop.address).expect("a connection");
        let rude: &[u8] = match at % 4 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nHost: loc",
            2 => b"HEAD /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
            _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        // The server may have thrown it out already.
        let _thrown_out = stream.write_all(rude);
        flood.push(stream);
        if at % 50 == 0 {
            assert_eq!(shop.get("/healthz").status, 200);
        }
    }
    wait_for("page", SOON, || (shop.get("/").status == 200).then_some(()));
    // 32 live and 64 passing connections are allowed.
    wait_for("end of the connections that are too many", SOON, || {
        flood.retain_mut(is_open);
        (flood.len() <= 96).then_some(())
    });
    begun.elapsed() < NOBODY_LATE
}

#[test]
fn a_slow_client_is_cut_off() {
    let shop = Shop::open();
    let mut slow = TcpStream::connect(shop.address).expect("a connection");
    slow.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket option");
    slow.write_all(b"GET / HTTP/1.1\r\n").expect("a beginning");
    // One more header line every half second never completes a request.
    wait_for("end of the connection", SOON, || {
        let written = slow.write_all(b"X-Slow: 1\r\n");
        match slow.read(&mut [0; 512]) {
            Ok(0) => Some(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && written.is_ok() => None,
            Err(_) => Some(()),
            Ok(_) => None,
        }
    });
    // An idle connection after an answer ends, too.
    let mut idle = TcpStream::connect(shop.address).expect("a connection");
    idle.set_read_timeout(Some(SOON)).expect("a socket option");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    assert_eq!(read_answer(&mut idle, false).expect("an answer").status, 200);
    assert_eq!(idle.read(&mut [0; 64]).expect("an orderly end"), 0);
}

#[test]
fn health_says_what_is_wrong_and_does_not_need_it() {
    let shop = Shop::open();
    shop.trouble();
    let answer = shop.get("/healthz");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok: polling and journal work\n"));
    let error = DiskError { since_us: now_us(), message: "Input/output error (os error 5)".to_owned() };
    shop.facts.set(|answers| answers.reserve.disk_error = Some(error));
    let answer = shop.get("/healthz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("cannot write to its disk") && answer.body.contains("os error 5"),
        "{}",
        answer.body
    );
    let json: serde_json::Value = serde_json::from_str(&shop.get("/api/v1/status.json").body).expect("JSON");
    assert_eq!(json["verdict"]["letter"], "F");
    assert_eq!(json["machines"].as_array().map(Vec::len), Some(6));
    let metrics = shop.get("/metrics");
    assert!(
        metrics.head.contains("text/plain; version=0.0.4")
            && metrics.body.contains("forebay_journal_failed 1\n")
    );
}

#[test]
fn a_standby_and_a_certificate_that_waits_are_told_on_any_screen_in_both_languages() {
    let shop = Shop::open();
    let words = [
        ("en", "This box reads the machines of box-a", "waits for a decision", "Fingerprint"),
        ("de", "Diese Box liest die Maschinen von box-a", "wartet auf eine Entscheidung", "Fingerabdruck"),
    ];
    shop.facts.set(|answers| {
        answers.standby = Some(Report::Standby {
            of: "box-a".to_owned(),
            reads: true,
            heartbeat: Some(Says::Gone),
            lease: Some(Says::Nothing),
            trouble: Some("nothing listens at kafka-1.plant.example:9092".to_owned()),
        });
        answers.certificates = vec![plant::certificate("filler-1", CertificateState::Waiting)];
    });
    for (name, look) in [("panel", PANEL), ("phone", PHONE)] {
        let browser = Browser::open(look);
        for (language, reads, waits, fingerprint) in words {
            browser.go(&shop.url(&format!("/?lang={language}")));
            browser.wait_text("#v-standby", reads, SOON, |text| text.contains(reads));
            assert!(browser.fits_across(), "{name} {language}");
            browser.picture(&format!("standby-{name}-{language}"));
            browser.go(&shop.url(&format!("/m/filler-1?lang={language}")));
            let shown = browser.text("#x");
            for part in [
                waits,
                fingerprint,
                "CN=Filler 1",
                "2031-01-01",
                "forebay opcua trust filler-1 9f86d081884c7d65",
            ] {
                assert!(shown.contains(part), "{part} is not in {shown}");
            }
            assert!(browser.fits_across(), "{name} {language}");
            browser.picture(&format!("certificate-{name}-{language}"));
        }
        // Decided on the box: the open page follows.
        shop.facts.set(|answers| answers.certificates[0].state = CertificateState::Trusted);
        browser.wait_text("#x", "decision", SOON, |text| text.contains("vertraut"));
        shop.facts.set(|answers| answers.certificates[0].state = CertificateState::Waiting);
    }
}

#[test]
fn a_port_in_use_is_an_error_in_words() {
    let shop = Shop::open();
    let options = Options { listen: shop.address, ..Options::default() };
    let again = serve(options, Arc::clone(&shop.twin), shop.facts.clone(), CancellationToken::new());
    let error = shop.runtime.block_on(again).expect_err("the port is taken");
    assert!(matches!(error, ServeError::Taken { address } if address == shop.address));
    assert!(error.to_string().contains("stop that program or choose another port"), "{error}");
}
