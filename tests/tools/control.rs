//! The control socket: who may use it, what it answers, what it bears.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, wait_committed};
use crate::support::{PATIENCE, get, wait_for};

#[test]
fn a_killed_box_leaves_no_trouble_and_two_never_share_a_socket() {
    let mut first = Daemon::new("box-1", None, "away");
    first.start();
    let path = first.state().join("control.sock");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let status = first.status();
    assert_eq!((&status["edge"], &status["site"]), (&"box-1".into(), &"Werk1".into()));
    assert_eq!(status["lanes"][0]["name"], "telemetry");
    assert_eq!(status["lanes"][1]["journal"]["error"], serde_json::Value::Null);

    // A second box with the same state but its own journal: it runs, and leaves the socket alone.
    let pid = status["pid"].clone();
    let config = std::fs::read_to_string(first.config()).unwrap();
    first.write("second.toml", &config.replace("[journal]\n", "[journal]\ndirectory = \"second\"\n"));
    let log = std::fs::File::create(first.folder.path().join("second.log")).unwrap();
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["run", "--config"])
        .arg(first.folder.path().join("second.toml"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let said = wait_for("complaint of the second box", PATIENCE, || {
        let log = std::fs::read_to_string(first.folder.path().join("second.log")).unwrap();
        log.contains("another forebay answers").then_some(log)
    });
    assert!(said.contains("give this one a folder of its own"), "{said}");
    assert_eq!(first.status()["pid"], pid);
    second.kill().unwrap();
    second.wait().unwrap();

    first.kill();
    assert!(path.exists(), "kill -9 leaves the file, that is the point");
    let refused = first.client().get("/v1/status").unwrap_err().to_string();
    assert!(refused.contains("no forebay runs here"), "{refused}");
    first.start();
    assert_ne!(first.status()["pid"], pid);
    first.stop();
    assert!(!path.exists(), "an orderly end takes the socket away");
}

#[test]
fn bad_requests_are_refused_in_json_and_hold_nobody_up() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.start();
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let long = "x".repeat(40_000);
    let trim = "/v1/journal/trim";
    for (request, expected) in [
        (request("GET", "/", ""), "HTTP/1.1 404"),
        (request("GET", "/v1/status/", ""), "HTTP/1.1 404"),
        (request("DELETE", "/v1/status", ""), "HTTP/1.1 405"),
        (request("GET", trim, ""), "HTTP/1.1 405"),
        (request("POST", trim, "{"), "HTTP/1.1 400"),
        (request("POST", trim, "[]"), "HTTP/1.1 400"),
        (request("POST", trim, r#"{"lane":"telemetry","befor":1}"#), "HTTP/1.1 400"),
        (request("POST", trim, r#"{"lane":"../../etc"}"#), "HTTP/1.1 400"),
        (request("POST", trim, r#"{"lane":"events","before_us":1,"before_offset":1}"#), "HTTP/1.1 400"),
        (request("POST", trim, &long), "HTTP/1.1 413"),
        (request("POST", "/v1/replication/pause", r#"{"lane":"none"}"#), "HTTP/1.1 400"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "HTTP/1.1 4"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "HTTP/1.1 400"),
    ] {
        let answer = daemon.raw(request.as_bytes());
        let start = &request[..request.len().min(60)];
        assert!(answer.starts_with(expected), "{start:?}: {answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        // What hyper itself refuses has no body.
        if !body.is_empty() {
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(json["error"].is_string(), "{start:?}: {answer}");
        }
    }
    // As many silent clients as there are places: they lose them, and somebody else is answered.
    let path = daemon.state().join("control.sock");
    let started = Instant::now();
    let silent: Vec<_> = (0..40).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    assert_eq!(daemon.status()["edge"], "box-1");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    drop(silent);
    // A body that does not come.
    let answer = daemon.raw(
        format!("POST {trim} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{{")
            .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    // Nothing of it on TCP.
    let page = daemon.page();
    assert!(get(&page, "/").is_some());
    assert!(get(&page, "/v1/status").is_none());
}

/// `forebay pause` and `resume` as an operator uses them, one lane and both.
#[test]
fn paused_lanes_keep_everything_and_send_it_when_resumed() {
    let broker = forebay::replicate::mock::Broker::start("paused").unwrap();
    let mut daemon = Daemon::new("box-1", Some(broker.bootstrap()), "paused");
    daemon.fill(0, 500);
    daemon.start();
    wait_committed(&daemon, 500, PATIENCE);
    let state = |daemon: &Daemon, lane: usize| daemon.status()["lanes"][lane]["replication"]["state"].clone();
    wait_for("events to be up", PATIENCE, || (state(&daemon, 1) == "up").then_some(()));
    let told = daemon.command(&["pause", "--lane", "telemetry"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.contains("telemetry: paused."), "{told:?}");
    wait_for("pause", PATIENCE, || (state(&daemon, 0) == "paused").then_some(()));
    assert_eq!(state(&daemon, 1), "up", "only the lane that was named");
    let (_, words) = daemon.journal(&["status"]).unwrap();
    assert!(words.contains("paused"), "{words}");
    daemon.command(&["pause"]);
    wait_for("pause of both", PATIENCE, || (state(&daemon, 1) == "paused").then_some(()));
    // It holds over kill -9, and a start sends nothing.
    daemon.kill();
    daemon.start();
    wait_for("pause after the restart", PATIENCE, || {
        (state(&daemon, 0) == "paused" && state(&daemon, 1) == "paused").then_some(())
    });
    let answer = daemon.command(&["resume", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&json["paused"], json["lanes"].as_array().unwrap().len()), (&false.into(), 2));
    wait_for("both up", PATIENCE, || (state(&daemon, 0) == "up" && state(&daemon, 1) == "up").then_some(()));
}
