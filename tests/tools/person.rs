//! `forebay person` and the page of a real box.

use std::net::SocketAddr;

use super::daemon::Daemon;
use crate::browser::{Answer, exchange};

const PASSWORD: &str = "correct horse battery";

/// Sends the form for signing in.
fn sign_in(page: &str, password: &str) -> Answer {
    let address: SocketAddr = page.parse().unwrap();
    let body = format!("name=anna&password={}&back=%2Fhealth", password.replace(' ', "+"));
    let length = body.len();
    let request = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {page}\r\nOrigin: http://{page}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    exchange(address, request.as_bytes()).unwrap()
}

/// What `GET /health` shows to who has this cookie.
fn health(page: &str, cookie: &str) -> String {
    let request =
        format!("GET /health HTTP/1.1\r\nHost: {page}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    exchange(page.parse().unwrap(), request.as_bytes()).unwrap().body
}

fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    cookie.unwrap_or_else(|| panic!("no cookie: {answer:?}")).split(';').next().unwrap().to_owned()
}

#[test]
fn a_person_is_added_signs_in_outlives_a_kill_and_is_removed() {
    let mut daemon = Daemon::new("box-1", None, "people");
    let file = |name: &str, text: &str| {
        daemon.write(name, text);
        daemon.folder.path().join(name).display().to_string()
    };
    let (good, weak) = (file("good", &format!("{PASSWORD}\n")), file("weak", "passwort1234\n"));
    let said = |daemon: &Daemon, arguments: &[&str]| {
        let output = daemon.command(arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let add = ["person", "add", "anna", "--password-file", good.as_str()];
    let (code, text) = said(&daemon, &add);
    assert!(code == Some(1) && text.contains("no forebay runs here"), "{text}");
    daemon.start();
    assert!(said(&daemon, &["person", "list"]).1.starts_with("Nobody yet"));
    let (code, text) = said(&daemon, &["person", "add", "anna", "--password-file", weak.as_str()]);
    assert!(code == Some(1) && text.contains("everybody tries first"), "{text}");
    let (code, text) = said(&daemon, &["person", "add", "anna"]);
    assert!(code == Some(1) && text.contains("use --password-file"), "no terminal: {text}");
    let (code, text) = said(&daemon, &["person", "add", "a/b", "--password-file", good.as_str()]);
    assert!(code == Some(1) && text.contains("is no name"), "{text}");
    assert_eq!(sign_in(&daemon.page(), PASSWORD).status, 401, "nobody yet");
    assert_eq!(said(&daemon, &add), (Some(0), "anna may sign in on the page now (operator).\n".to_owned()));
    let (code, text) = said(&daemon, &add);
    assert!(code == Some(1) && text.contains("there is a person anna already"), "{text}");

    let page = daemon.page();
    let answer = sign_in(&page, PASSWORD);
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = cookie_of(&answer);
    assert!(health(&page, &cookie).contains("Signed in: anna"));
    daemon.kill();
    daemon.start();
    let page = daemon.page();
    assert!(!health(&page, &cookie).contains("Signed in"), "sessions do not outlive the program");
    let cookie = cookie_of(&sign_in(&page, PASSWORD));
    assert!(health(&page, &cookie).contains("Signed in: anna"), "people do");
    let (code, text) = said(&daemon, &["person", "list", "--json"]);
    assert!(code == Some(0) && text.contains("\"role\":\"operator\"") && !text.contains("argon2"), "{text}");
    assert_eq!(said(&daemon, &["person", "remove", "anna"]).0, Some(0));
    assert!(!health(&page, &cookie).contains("Signed in"), "signed in no more");
    let (code, text) = said(&daemon, &["person", "remove", "anna"]);
    assert!(code == Some(1) && text.contains("there is no person anna"), "{text}");
    // What happened is told to IT, and never the password.
    let lane = daemon.lane("events");
    let stored = |word: &str| {
        std::fs::read_dir(&lane).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
            bytes.windows(word.len()).any(|part| part == word.as_bytes())
        })
    };
    daemon.stop();
    assert!(!stored(PASSWORD) && !daemon.log().contains(PASSWORD));
    assert!(daemon.log().contains("anna signed in from 127.0.0.1"), "{}", daemon.log());
}
