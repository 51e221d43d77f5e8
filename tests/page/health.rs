//! "Is anything about to fail?", the people who answer it, and those who should not.

use forebay::event::{Event, Events, Kind};
use forebay::infer::diary::{Diaries, keep};
use forebay::infer::episode::Severity;
use forebay::people::{People, Role, password};
use forebay::state::{State, Table};
use forebay::status::actions::{self, Acts};
use forebay::status::facts::{Prediction, Remaining, Watching};
use tokio::sync::SetOnce;
use tokio::sync::mpsc::Receiver;

use super::super::browser::Browser;
use super::*;

const PASSWORD: &str = "correct horse battery";
const RUNNING: &str = "20260211-133605-3fa9c1";
const HOUR_US: i64 = 60 * MINUTE_US;

/// A page with people, an episode that runs and one that is over.
struct Watched {
    shop: Shop,
    people: Arc<People>,
    received: Receiver<Event>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::open(&folder.path().join("state")).expect("a state").state;
        let now = now_us();
        let over = plant::episode("20260210-080000-000001", now, 30 * HOUR_US, Some(HOUR_US), 1.3);
        let running = plant::episode(RUNNING, now, 3 * HOUR_US, None, 1.9);
        for (place, episode) in [over, running].into_iter().enumerate() {
            let stored = serde_json::json!({ "told": "begin", "episode": episode }).to_string().into_bytes();
            let key = format!("Werk1/Presswerk/Linie3/Presse4/press-4\nbearing\nepisode {place}");
            state.save(Table::Diary, [(key.as_str(), stored)].into_iter()).expect("it is saved");
        }
        let diaries = Diaries::open(Some(&state));
        let diary = diaries.of("Werk1/Presswerk/Linie3/Presse4/press-4", "bearing");
        let place = Arc::new(SetOnce::new());
        place.set(state).ok().expect("nobody has set it");
        let (events, received) = Events::new();
        let people = Arc::new(People::new(Arc::clone(&place), events.clone(), "Werk1/presswerk-1"));
        let hash = password::hash(PASSWORD).expect("random numbers");
        for (name, role) in [("anna", Role::Operator), ("ben", Role::Engineer)] {
            people.add(name, role, &hash, "root").expect("a person");
        }
        let feedback = actions::feedback(Arc::clone(&diaries), events.clone());
        let engineer = actions::Action {
            name: "promote",
            fields: &[],
            who: Role::Engineer,
            call: Box::new(|_, _| Err(text("the model is gone", "das Modell ist fort"))),
        };
        let acts = Acts {
            people: Arc::clone(&people),
            actions: Arc::new([feedback, engineer]),
            from_network: false,
        };
        let shop = Shop::with(plant::plant(), |options| options.acts = acts);
        shop.facts.set(|answers| {
            let raised = &mut answers.predictions[0];
            (raised.state, raised.score) = (PredictionState::Raised, Some(1.62));
            raised.episode = Some((RUNNING.to_owned(), Severity::Medium));
            answers.predictions.push(silent(now));
            answers.predictions.push(Prediction { device: "press-3".to_owned(), ..plant::bearing(now) });
            let remaining = Remaining { likely_s: 864_000.0, least_s: 432_000.0, most_s: 1_728_000.0 };
            let hours = plant::month(now);
            let hash8 = "0f0f0f0f".to_owned();
            answers.watching =
                vec![Watching { hours, hash8, remaining: Some(remaining), ..Watching::default() }];
            answers.diary = Some(diary);
        });
        let stop = CancellationToken::new();
        shop.runtime.spawn(keep(diaries, place, events, stop.clone()));
        Self { shop, people, received, stop, _folder: folder }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.shop.address)
        };
        let kind = if headers.contains("Content-Type:") {
            ""
        } else {
            "Content-Type: application/x-www-form-urlencoded\r\n"
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\n{host}{kind}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        exchange(self.shop.address, request.as_bytes()).expect("an answer")
    }

    /// From a form of this page.
    fn send(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.post(path, &format!("Origin: http://{}\r\n{headers}", self.shop.address), body)
    }

    fn sign_in(&self, name: &str, password: &str) -> Answer {
        let body = format!("name={name}&password={}&back=%2Fhealth", password.replace(' ', "+"));
        self.send("/sign-in", "", &body)
    }

    /// The cookie of a person who signs in, and the token of their forms.
    fn signed_in(&self, name: &str) -> (String, String) {
        let answer = self.sign_in(name, PASSWORD);
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie =
            answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Max-Age=28800"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
        let page = self.shop.ask("GET", "/health", &cookie).body;
        let token = page.split("name=\"token\" value=\"").nth(1).expect("a form has a token");
        (cookie, token[..64].to_owned())
    }

    fn answers(&self) -> usize {
        let diary = self.shop.facts.0.lock().expect("no panic").diary.clone().expect("a diary");
        diary.episodes().iter().map(|episode| episode.feedback.len()).sum()
    }

    /// The next event of this kind.
    fn event(&mut self, kind: Kind) -> Event {
        wait_for("event", SOON, || self.received.try_recv().ok().filter(|event| event.kind == kind))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A model whose machine is away.
fn silent(now: i64) -> Prediction {
    Prediction {
        device: "filler-1".to_owned(),
        model: "capping".to_owned(),
        title: text("Capping head", "Verschließkopf"),
        state: PredictionState::Suppressed,
        words: text("Not watching: the device does not answer", "Wacht nicht: das Gerät antwortet nicht"),
        score: None,
        history: Vec::new(),
        ..plant::bearing(now)
    }
}

#[test]
fn what_is_about_to_fail_is_told_by_urgency_on_every_screen() {
    let watched = Watched::open();
    for (name, look) in [("panel", PANEL), ("phone", PHONE), ("panel-dark", Look { dark: true, ..PANEL })] {
        let browser = Browser::open(look);
        browser.go(&watched.shop.url("/"));
        let tile = browser.text("#t-predictions");
        assert!(tile.contains("press-4: Main bearing, look at it this week"), "{tile}");
        browser.script("document.querySelector('#t-predictions').click()");
        let answer = browser.wait_text("#v-text", "the question", SOON, |text| text.contains("look at it"));
        assert_eq!(answer, "press-4: Main bearing: look at it this week.");
        assert_eq!(browser.text("#v-note"), "1 of 3 models do not watch.");
        assert_eq!(
            (browser.text("#v-mark"), browser.text("#h0 h2")),
            ("M".into(), "press-4: Main bearing".into())
        );
        let facts = browser.text("#f0");
        for part in [
            "check the bearing at the drive end",
            "vibration.drive_end 62 %, hydraulics.pressure 25 %, Oil temperature in the tank (hydraulics.oil_temp) 12 %",
            "1.9 times the limit at worst, for 3 h, 100 % of its inputs good",
            "about 10 days, between 5 days and 20 days",
            "bearing, version 3 (0f0f0f0f)",
        ] {
            assert!(facts.contains(part), "{part} in {facts}");
        }
        assert!(
            browser.text("#s0").starts_with("Score 1.62, limit 1.00, last check"),
            "{}",
            browser.text("#s0")
        );
        assert_eq!(browser.text("#h1 h2"), "filler-1: Capping head");
        let silent = browser.text("#h1");
        assert!(
            silent.contains("S\n") && silent.contains("Not watching: the device does not answer"),
            "{silent}"
        );
        assert_eq!(browser.text("#h2 h2"), "press-3: Main bearing");
        assert!(browser.text(".over").contains("1.3 times the limit"), "{}", browser.text(".over"));
        assert_eq!(browser.script("return document.querySelectorAll('#c0 svg path.line').length"), 1);
        assert!(browser.fits_across());
        browser.picture(&format!("health-{name}"));
        browser.go(&watched.shop.url("/health?lang=de"));
        assert_eq!(browser.text("#v-text"), "press-4: Hauptlager: diese Woche ansehen.");
        assert!(
            browser.text("#f0").contains("Lager auf der Antriebsseite prüfen"),
            "{}",
            browser.text("#f0")
        );
        assert!(browser.fits_across());
        browser.picture(&format!("health-{name}-german"));
    }
    let page = watched.shop.get("/health");
    assert!(page.body.len() < 40_000, "{} bytes", page.body.len());
    assert!(!page.body.contains("<form") && page.body.contains("Sign in to answer"));
}

#[test]
fn nothing_unusual_is_said_of_what_watches_only() {
    let shop = Shop::open();
    let said = |shop: &Shop| {
        let body = shop.get("/live/health?once=1").body;
        let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        json["cells"]["v-text"].as_str().expect("a text").to_owned()
    };
    assert!(said(&shop).starts_with("Nothing unusual. 1 model runs, last check "), "{}", said(&shop));
    shop.facts.set(|answers| answers.predictions.push(silent(now_us())));
    assert!(said(&shop).starts_with("Nothing unusual where models watch: 1 of 2 do"), "{}", said(&shop));
    shop.facts.set(|answers| drop(answers.predictions.remove(0)));
    assert_eq!(said(&shop), "No model is watching. What stands below says why.");
    shop.facts.set(|answers| answers.predictions.clear());
    assert!(said(&shop).starts_with("No models are set up"), "{}", said(&shop));
}

/// Types and sends the form for signing in.
const SIGN_IN: &str = "
    document.querySelector('[name=name]').value = 'anna';
    document.querySelector('[name=password]').value = arguments[0] || 'correct horse battery';
    document.querySelector('form.sign button').click();";

#[test]
fn a_person_signs_in_answers_and_signs_out() {
    for look in [PANEL, Look { scripts: false, ..PHONE }] {
        let mut watched = Watched::open();
        let browser = Browser::open(look);
        browser.go(&watched.shop.url("/health"));
        browser.script("document.querySelector('.who a').click()");
        browser.wait_text("h1", "the door", SOON, |text| text == "Sign in");
        assert!(browser.fits_across());
        browser.script(&SIGN_IN.replace("arguments[0] || ", "'wrong ' + "));
        browser.wait_text(".wrong", "refusal", SOON, |text| text == "The name or the password is wrong.");
        browser.script(&SIGN_IN.replace("arguments[0] || ", ""));
        browser.wait_text(".who", "who is signed in", SOON, |text| text == "Signed in: anna");
        browser.picture(if look.scripts { "health-signed-in" } else { "health-signed-in-phone" });
        assert!(browser.fits_across());
        let small = browser.script(
            "return Array.from(document.querySelectorAll('button, input:not([type=hidden])')).filter(e => {
                const r = e.getBoundingClientRect(); return r.height < 48 || r.width < 48; }).length",
        );
        assert_eq!(small, 0, "buttons are large enough for gloves");
        browser.script(
            "const f = document.querySelector('.health form'); f.querySelector('.note').value = 'Öl <b>nachgefüllt</b>';
             f.querySelector('[value=real]').click();",
        );
        let said = browser.wait_text(".health .answers", "the answer", SOON, |text| !text.is_empty());
        assert!(said.starts_with("anna: Was real, ") && said.ends_with("– Öl <b>nachgefüllt</b>"), "{said}");
        let feedback = watched.event(Kind::Feedback);
        assert_eq!(feedback.data["episode"], RUNNING);
        assert_eq!((&feedback.data["answer"], &feedback.data["person"]), (&"real".into(), &"anna".into()));
        assert_eq!(feedback.data["note"], "Öl <b>nachgefüllt</b>");
        browser.go(&watched.shop.url("/sign-in"));
        browser.script("document.querySelector('form button').click()");
        browser.wait_text(".who", "nobody signed in", SOON, |text| text == "Sign in to answer");
        assert_eq!(browser.script("return document.forms.length"), 0);
        assert_eq!(watched.answers(), 1);
    }
}

#[test]
fn an_open_page_shows_a_new_episode_with_its_own_buttons() {
    let watched = Watched::open();
    let browser = Browser::open(PANEL);
    browser.go(&watched.shop.url("/sign-in"));
    browser.script(&SIGN_IN.replace("arguments[0] || ", ""));
    browser.wait_text(".who", "who is signed in", SOON, |text| text == "Signed in: anna");
    let new = plant::episode("20260212-000000-00000a", now_us(), MINUTE_US, None, 12.0);
    watched.shop.facts.set(|answers| {
        answers.watching.resize(3, Watching::default());
        answers.watching[2].episodes = vec![new];
    });
    browser.wait_text("#h0 h2", "what is more urgent comes first", SOON, |text| text.starts_with("press-3"));
    let first = "return document.querySelector('.health form [name=episode]').value";
    wait_for("forms under what they belong to", SOON, || {
        (browser.script(first) == "20260212-000000-00000a").then_some(())
    });
    assert!(browser.text("#v-text").starts_with("2 machines or parts need a look, first of all press-3"));
}

#[test]
fn forged_and_broken_requests_change_nothing() {
    let watched = Watched::open();
    let (cookie, token) = watched.signed_in("anna");
    let (others, _) = watched.signed_in("ben");
    let form = |token: &str| format!("token={token}&episode={RUNNING}&answer=real&note=&back=%2Fhealth");
    let (good, address) = (form(&token), watched.shop.address);
    let origin = |origin: &str| format!("Origin: {origin}\r\n{cookie}");
    let long = format!("{good}&note2={}", "x".repeat(20_000));
    let many = format!("{good}{}", "&f=1".repeat(40));
    for (headers, body, status) in [
        (origin("http://evil.example"), &good, 403),
        (origin("null"), &good, 403),
        (origin(&format!("http://127.0.0.1:{}", address.port().wrapping_add(1))), &good, 403),
        (origin(&format!("http://{address}.evil.example")), &good, 403),
        (cookie.clone(), &good, 403),
        (format!("Referer: http://evil.example/http://{address}/\r\n{cookie}"), &good, 403),
        (origin(&format!("http://{address}")).replace("Cookie", "X-Cookie"), &good, 401),
        (format!("Origin: http://{address}\r\n{others}"), &good, 403),
        (origin(&format!("http://{address}")), &form(""), 403),
        (origin(&format!("http://{address}")), &form(&"0".repeat(64)), 403),
        (origin(&format!("http://{address}")), &good.replace("token", "t"), 403),
        (origin(&format!("http://{address}")), &good.replace("answer=real", "answer=maybe"), 400),
        (origin(&format!("http://{address}")), &good.replace("&answer=real", ""), 400),
        (
            origin(&format!("http://{address}")),
            &good.replace("note=", &format!("note={}", "x".repeat(201))),
            400,
        ),
        (origin(&format!("http://{address}")), &good.replace("note=", "note=%ff%fe"), 400),
        (origin(&format!("http://{address}")), &good.replace(RUNNING, "nothing"), 409),
        (origin(&format!("http://{address}")), &long, 413),
        (origin(&format!("http://{address}")), &many, 400),
        (format!("Content-Type: text/plain\r\n{}", origin(&format!("http://{address}"))), &good, 415),
        (format!("Host: evil.example\r\n{}", origin("http://evil.example")), &good, 421),
    ] {
        let answer = watched.post("/do/feedback", &headers, body);
        assert_eq!(answer.status, status, "{headers} {body}: {answer:?}");
        assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{}", answer.head);
    }
    assert_eq!(watched.answers(), 0, "nothing was done");
    assert_eq!(watched.send("/do/nothing", &cookie, &good).status, 404);
    assert_eq!(watched.shop.ask("GET", "/do/feedback", &cookie).status, 405);
    // A role that is missing, and what the action itself says.
    assert_eq!(watched.send("/do/promote", &cookie, &good).status, 403);
    let (ben, token) = watched.signed_in("ben");
    let refused = watched.send("/do/promote", &ben, &form(&token));
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("Nothing was done: the model is gone"), "{}", refused.body);
    // And one that is right, back only to a page of this box.
    for (back, to) in [("%2Fhealth%3Flang%3Dde", "/health?lang=de"), ("%2F%2Fevil.example", "/health")] {
        let answer = watched.send("/do/feedback", &cookie, &good.replace("%2Fhealth", back));
        assert_eq!(answer.status, 303, "{answer:?}");
        assert!(answer.head.contains(&format!("location: {to}\r\n")), "{}", answer.head);
    }
    assert_eq!(watched.answers(), 2);
    // Who is removed is signed in no more, also when there is another one of that name.
    watched.people.remove("anna", "root").expect("she is there");
    assert_eq!(watched.send("/do/feedback", &cookie, &good).status, 401);
    let hash = password::hash(PASSWORD).expect("random numbers");
    watched.people.add("anna", Role::Operator, &hash, "root").expect("another one");
    assert_eq!(watched.send("/do/feedback", &cookie, &good).status, 401);
}

#[test]
fn a_flood_of_wrong_passwords_costs_time_and_is_told_once() {
    let mut watched = Watched::open();
    let statuses: Vec<u16> = (0..6).map(|_| watched.sign_in("anna", "wrong password!").status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    let refused = watched.sign_in("anna", PASSWORD);
    assert_eq!(refused.status, 429, "not even with the right one");
    assert!(
        refused.head.contains("retry-after: ") && !refused.head.contains("set-cookie"),
        "{}",
        refused.head
    );
    assert!(refused.body.contains("Too many wrong passwords. Please try again in 1"), "{}", refused.body);
    let told = |watched: &mut Watched| loop {
        let event = watched.event(Kind::Person);
        if event.data["state"] != "added" {
            return event;
        }
    };
    let event = told(&mut watched);
    assert_eq!((&event.data["state"], &event.data["person"]), (&"refused".into(), &"anna".into()));
    let (cookie, _) = watched.signed_in("ben");
    let event = told(&mut watched);
    assert_eq!((&event.data["state"], &event.data["person"]), (&"signed-in".into(), &"ben".into()));
    assert_eq!(event.data["from"], "127.0.0.1");
    assert!(watched.shop.ask("GET", "/health", &cookie).body.contains("Signed in: ben"));
    // Nothing of a password or a name comes back as HTML.
    let hostile = watched.send("/sign-in", "", "name=%3Cb%3E&password=x&back=%22%3E%3Cscript%3E");
    assert_eq!(hostile.status, 401);
    assert!(!hostile.body.contains("<script>") && !hostile.body.contains("<b>&"), "{}", hostile.body);
    assert_eq!(watched.send("/sign-in", "", &format!("name=anna&password={}", "x".repeat(300))).status, 400);
    assert_eq!(
        watched.post("/sign-in", "Origin: http://evil.example\r\n", "name=ben&password=x").status,
        403
    );
}

#[test]
fn the_page_stays_readable_under_a_flood_of_forms() {
    let watched = Watched::open();
    let held: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(watched.shop.address).expect("a connection");
            let address = watched.shop.address;
            let head = format!(
                "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: \
                 application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n\r\nname=anna"
            );
            stream.write_all(head.as_bytes()).expect("a beginning");
            stream
        })
        .collect();
    assert_eq!(watched.shop.get("/health").status, 200);
    assert_eq!(watched.shop.get("/healthz").status, 200);
    // Each is given up after some seconds.
    for mut stream in held {
        stream.set_read_timeout(Some(SOON)).expect("a socket option");
        assert_eq!(read_answer(&mut stream, false).expect("an answer").status, 408);
    }
}
