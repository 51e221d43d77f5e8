//! A real browser: headless Chromium, driven by chromedriver over W3C WebDriver (JSON in HTTP).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{PATIENCE, root, wait_for};

/// Times that a browser is tried to be opened: one that starts too slowly is given up by its driver,
/// and a driver gives up when another program has its port.
const OPENINGS: usize = 5;
/// Longest wait for an answer of chromedriver, which itself waits a minute for a browser to start.
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// Key of an element reference (W3C WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What a page is opened with.
#[derive(Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub scripts: bool,
}

/// One browser window in a session and a profile of its own.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    // Removed when the browser has gone.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver and a browser with this look.
    pub fn open(look: Look) -> Self {
        let browser = (1..OPENINGS).find_map(|_| Self::start(look).ok());
        let browser = browser.unwrap_or_else(|| Self::start(look).expect("a browser"));
        // The window's outer size differs from the page's; this sets the page's.
        browser.cdp(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false,
            }),
        );
        let scheme = if look.dark { "dark" } else { "light" };
        browser.cdp(
            "Emulation.setEmulatedMedia",
            &json!({
                "features": [{ "name": "prefers-color-scheme", "value": scheme }],
            }),
        );
        browser
    }

    fn start(look: Look) -> Result<Self, String> {
        for program in ["/usr/bin/chromium", "/usr/bin/chromedriver"] {
            assert!(Path::new(program).exists(), "{program} is missing: run tests/setup");
        }
        let mut driver = Command::new("/usr/bin/chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let port = match port_of(&mut driver) {
            Ok(port) => port,
            Err(said) => {
                driver.wait().expect("chromedriver ends");
                return Err(format!("chromedriver ended and said: {said}"));
            }
        };
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let mut browser = Self {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            session: String::new(),
            _profile: profile,
        };
        let capabilities = capabilities(look, browser._profile.path());
        let answer = browser.call("POST", "/session", &capabilities)?;
        browser.session = answer["sessionId"].as_str().expect("a session").to_owned();
        Ok(browser)
    }

    pub fn go(&self, url: &str) {
        self.command("POST", "url", &json!({ "url": url }));
    }

    /// The visible text of the first element that fits the CSS selector.
    pub fn text(&self, selector: &str) -> String {
        // The page may load itself anew between the two questions.
        wait_for(selector, PATIENCE, || self.text_now(selector).ok())
    }

    fn text_now(&self, selector: &str) -> Result<String, String> {
        let find = json!({ "using": "css selector", "value": selector });
        let found = self.call("POST", &self.path("element"), &find)?;
        let id = found[ELEMENT].as_str().ok_or("no element")?.to_owned();
        let text = self.call("GET", &self.path(&format!("element/{id}/text")), &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// What a script in the page returns.
    pub fn script(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until the text of the element is as the test wants it.
    pub fn wait_text(
        &self,
        selector: &str,
        what: &str,
        limit: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> String {
        wait_for(what, limit, || Some(self.text(selector)).filter(|text| fits(text)))
    }

    /// True when nothing sticks out to the right.
    pub fn fits_across(&self) -> bool {
        self.script("return document.documentElement.scrollWidth <= window.innerWidth") == Value::Bool(true)
    }

    /// Height of the whole page in pixels.
    pub fn page_height(&self) -> i64 {
        self.script("return document.documentElement.scrollHeight").as_i64().expect("a height")
    }

    /// Writes `target/page/<name>.png`, the whole page.
    pub fn picture(&self, name: &str) {
        let answer = self.cdp("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let folder = root().join("target/page");
        std::fs::create_dir_all(&folder).expect("target can be written");
        let bytes = base64(answer["data"].as_str().expect("a picture"));
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("target can be written");
    }

    fn cdp(&self, name: &str, parameters: &Value) -> Value {
        self.command("POST", "goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    fn path(&self, path: &str) -> String {
        format!("/session/{}/{path}", self.session)
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &self.path(path), body).unwrap_or_else(|message| panic!("{path}: {message}"))
    }

    /// The value of the answer, or what chromedriver complains of.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.exchange(method, path, body).expect("chromedriver answers");
        let mut value: Value = serde_json::from_str(&answer.body).map_err(|_| answer.body.clone())?;
        match answer.status {
            200 => Ok(value["value"].take()),
            _ => Err(value["value"]["message"].to_string()),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let (host, length) = (self.address, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n");
        let request = format!("{head}Content-Type: application/json\r\nConnection: close\r\n\r\n{body}");
        exchange(self.address, request.as_bytes())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; without it the browser would outlive its driver.
        let _ended = self.exchange("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

fn capabilities(look: Look, profile: &Path) -> Value {
    let mut arguments: Vec<String> = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--lang=en",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--window-size={},{}", look.width, look.height));
    arguments.push(format!("--user-data-dir={}", profile.display()));
    let mut options = json!({ "binary": "/usr/bin/chromium", "args": arguments });
    if !look.scripts {
        options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
    }
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } })
}

/// chromedriver says its port in a sentence: `… started successfully on port 41234.` What it said
/// when it ends without that.
fn port_of(driver: &mut Child) -> Result<u16, String> {
    let mut output = BufReader::new(driver.stdout.take().expect("stdout is piped"));
    let mut said = String::new();
    while output.read_line(&mut said).expect("chromedriver writes") > 0 {
        if let Some((_, port)) = said.split_once("successfully on port ") {
            let port = port.trim().trim_end_matches('.').parse().expect("a port");
            // Reads on, so that chromedriver never waits for a full pipe.
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            return Ok(port);
        }
    }
    Err(said)
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends these bytes and reads one HTTP answer.
pub fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    // A server may refuse and close before it has read all of it.
    let written = stream.write_all(request);
    read_answer(&mut stream, request.starts_with(b"HEAD")).or_else(|error| written.and(Err(error)))
}

/// Reads one HTTP answer.
pub fn read_answer(stream: &mut TcpStream, head_only: bool) -> std::io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, head));
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    let mut body = Vec::new();
    match length {
        _ if head_only => {}
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Decodes base64 (RFC 4648) as chromedriver sends it.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{byte:#04x} is no base64"),
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}
