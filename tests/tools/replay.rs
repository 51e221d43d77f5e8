//! History sent once more, with real Kafka.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::daemon::{Daemon, START_US, STEP_US, noise, wait_committed};
use crate::kafka::assert_plain;
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

const TOTAL: i64 = 12_000;

fn at(number: i64) -> String {
    forebay::clock::rfc3339(*START_US + number * STEP_US)
}

/// `forebay replay <arguments> --json`: what the box answers, or what it says against it.
fn replay(daemon: &Daemon, arguments: &[&str]) -> Result<Json, String> {
    let output = daemon.command(&[&["replay"], arguments, &["--json"]].concat());
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn wait_done(daemon: &Daemon, id: &str) -> Json {
    wait_for("end of the replay", Duration::from_secs(120), || {
        let job = daemon.client().get(&format!("/v1/replay/{id}")).ok()?;
        (job["state"] == "done").then_some(job)
    })
}

/// Offsets of the records of this replay, of live records for `None`, in the order in which each
/// machine has them; checks their values.
fn offsets(read: &[Consumed], id: Option<&str>) -> Vec<u64> {
    let mut last = BTreeMap::new();
    let mut found = Vec::new();
    let of = |record: &&Consumed| record.headers.get("replay").map(String::as_str) == id;
    for record in read.iter().filter(of) {
        assert_eq!(record.headers.get("delivery").map(String::as_str), id.map(|_| "replay"));
        let offset = record.offset();
        assert!(last.insert(record.key.clone(), offset) < Some(offset), "{id:?}: {offset} out of order");
        let json = record.json();
        assert_eq!(json["samples"][0]["value"], offset);
        let near = json["samples"][1]["value"].as_f64().unwrap() - noise(i64::try_from(offset).unwrap());
        assert!(near.abs() < 1e-12, "{offset}: {near}");
        found.push(offset);
    }
    found.sort_unstable();
    found
}

#[test]
fn history_is_sent_again_exactly_once_for_each_id() {
    let cluster = Cluster::shared();
    cluster.create_topics("again");
    let brokers = cluster.brokers();
    let mut daemon = Daemon::new("box-1", Some(&brokers), "again");
    // One file: the newest stays, although Kafka has all of it.
    daemon.fill_in(64 << 20, 0, TOTAL);
    daemon.start();
    wait_committed(&daemon, TOTAL.unsigned_abs(), Duration::from_secs(120));

    // Killed in the middle, it goes on by itself.
    let range = ["--from", &at(1000), "--to", &at(11_000), "--id", "fire"];
    let job = replay(&daemon, &[&range, &["--detach"][..]].concat()).unwrap();
    assert_eq!(job["order"]["id"], "fire");
    let read_to = wait_for("part of the replay", PATIENCE, || {
        let job = daemon.client().get("/v1/replay/fire").ok()?;
        (job["records"].as_u64()? >= 500).then(|| job["next_offset"].as_u64().unwrap())
    });
    daemon.kill();
    println!("killed at {read_to}");
    assert!(read_to < 11_000, "the kill came too late");
    daemon.start();
    wait_done(&daemon, "fire");
    // The same order again is the same replay; another one under its id is refused.
    let again = replay(&daemon, &range).unwrap();
    assert_eq!(again["state"], "done");
    let other = replay(&daemon, &["--from", &at(0), "--to", &at(10), "--id", "fire"]).unwrap_err();
    assert!(other.contains("choose another id"), "{other}");

    // Another id sends again; only one machine, and the command waits.
    let device = ["--device", "box-1-press", "--from", &at(2000), "--to", &at(2100), "--id", "press"];
    let job = replay(&daemon, &device).unwrap();
    assert_eq!((&job["state"], &job["records"], &job["missing"]), (&json!("done"), &json!(50), &json!(0)));
    let misspelt = replay(&daemon, &["--device", "box-1-pres", "--from", &at(0)]).unwrap_err();
    assert!(
        misspelt.contains(
            "no machine \"box-1-pres\": did you mean \"box-1-press\"? It knows the machines: box-1-oven"
        ),
        "{misspelt}"
    );
    let listed = daemon.command(&["replay", "--list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("press: telemetry from") && listed.contains("done, 50 records sent"), "{listed}");

    daemon.stop();
    let read = consume(&brokers, &["again.telemetry"], true, Duration::from_secs(3));
    assert_eq!(offsets(&read, None), (0..TOTAL.unsigned_abs()).collect::<Vec<_>>());
    assert_eq!(offsets(&read, Some("fire")), (1000..11_000).collect::<Vec<_>>());
    assert_eq!(offsets(&read, Some("press")), (2000..2100).step_by(2).collect::<Vec<_>>());
    assert_eq!(read.len(), 12_000 + 10_000 + 50);
}

#[test]
fn what_is_no_longer_there_is_refused_and_a_replay_can_be_cancelled() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 9000);
    daemon.start();
    daemon.journal(&["trim", "--before-offset", "6000", "--unsent"]).unwrap();
    let gone = replay(&daemon, &["--from", &at(0)]).unwrap_err();
    let first = daemon.status()["lanes"][0]["journal"]["first_offset"].as_i64().unwrap();
    let oldest = at(first);
    assert!(gone.contains("is no longer on this box") && gone.contains(&oldest), "{oldest}: {gone}");
    let newest = forebay::amount::time(*START_US + 8999 * STEP_US);
    for (arguments, words) in [
        (&["--from", "1h ago", "--to", "2h ago"][..], "ends before it begins"),
        // Its file may hold something of that time, as far as can be seen from outside.
        (&["--from", "1m ago"], newest.as_str()),
        (&["--from", "1m ago"], "holds nothing of that time and these machines: it holds"),
        (&["--from", &oldest, "--device", "nobody"], "no machine \"nobody\"; it knows the machines"),
        (&["--from", &oldest, "--lane", "events", "--device", "nobody"], "it knows the machine: box-1"),
        (&["--from", &oldest, "--id", "../x"], "an id is"),
        (&["--from", &oldest, "--lane", "none"], "there is no lane"),
        (&["--cancel", "none"], "there is no replay with this id"),
    ] {
        let said = replay(&daemon, arguments).unwrap_err();
        assert!(said.contains(words), "{words}: {said}");
    }
    // Kafka is away, so it waits until it is cancelled.
    replay(&daemon, &["--from", &oldest, "--id", "slow", "--detach"]).unwrap();
    wait_for("begin", PATIENCE, || {
        let job = daemon.client().get("/v1/replay/slow").ok()?;
        job["text"].as_str()?.contains("not known yet").then_some(())
    });
    let job = replay(&daemon, &["--cancel", "slow"]).unwrap();
    assert_eq!(job["state"], "cancelled");
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.client().get("/v1/replay/slow").unwrap()["state"], "cancelled", "also after a restart");
}

/// A time of day so many hours from now, in the box's time zone.
fn clock(hours: i64) -> String {
    let time = jiff::Zoned::now().saturating_add(jiff::Span::new().hours(hours));
    time.strftime("%H:%M").to_string()
}

#[test]
fn a_replay_takes_only_what_kafka_had_and_the_rest_comes_once() {
    const SENT: i64 = 1000;
    const ALL: i64 = 1500;
    let cluster = Cluster::shared();
    cluster.create_topics("before");
    let brokers = cluster.brokers();
    let mut daemon = Daemon::new("box-1", Some(&brokers), "before");
    daemon.fill_in(64 << 20, 0, SENT);
    daemon.start();
    wait_committed(&daemon, SENT.unsigned_abs(), Duration::from_secs(120));
    daemon.stop();
    // What comes now is older than `live_after`, and waits for a time of day.
    daemon.fill_in(64 << 20, SENT, ALL);
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let window = format!("backfill = \"live-first\"\nbackfill_window = \"{}-{}\"\n", clock(6), clock(8));
    let waiting = config.replace("transaction_records_max", &format!("{window}transaction_records_max"));
    daemon.write("forebay.toml", &waiting);
    daemon.start();
    wait_committed(&daemon, ALL.unsigned_abs(), PATIENCE);
    let output = daemon.command(&["replay", "--from", "5h ago", "--id", "early"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.contains("done, 1,000 records sent; 500 records are not sent yet and come as normal ones"),
        "{text}"
    );
    daemon.stop();

    daemon.write("forebay.toml", &config);
    daemon.start();
    wait_for("the rest", PATIENCE, || {
        let status = daemon.client().get("/v1/status").ok()?;
        (status["lanes"][0]["journal"]["committed"] == ALL).then_some(())
    });
    daemon.stop();
    let read = consume(&brokers, &["before.telemetry"], true, Duration::from_secs(3));
    assert_eq!(offsets(&read, Some("early")), (0..SENT.unsigned_abs()).collect::<Vec<_>>());
    let live = read.iter().filter(|record| !record.headers.contains_key("replay"));
    let mut live: Vec<u64> = live.map(Consumed::offset).collect();
    live.sort_unstable();
    assert_eq!(live, (0..ALL.unsigned_abs()).collect::<Vec<_>>());
}

#[test]
fn an_id_keeps_the_times_it_was_first_given() {
    let cluster = Cluster::shared();
    cluster.create_topics("same");
    let brokers = cluster.brokers();
    let mut daemon = Daemon::new("box-1", Some(&brokers), "same");
    daemon.fill_in(64 << 20, 0, 1000);
    daemon.start();
    wait_committed(&daemon, 1000, Duration::from_secs(120));
    let run = |arguments: &[&str]| {
        let output = daemon.command(&[&["replay"], arguments].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), out.into_owned(), err.into_owned())
    };
    let relative = ["--from", "5h ago", "--id", "again"];
    let (done, first, _) = run(&relative);
    assert!(done && first.contains("done, 1,000 records sent"), "{first}");
    let meaning = first.lines().next().unwrap().strip_prefix("again: ").unwrap().to_owned();
    assert!(meaning.starts_with("telemetry from 20") && meaning.contains("Z to 20"), "{meaning}");
    // Time goes on; the words are the same.
    let written = forebay::clock::now_us();
    wait_for("another second", PATIENCE, || (forebay::clock::now_us() > written + 1_100_000).then_some(()));
    let (done, second, _) = run(&relative);
    let known = format!("again was begun before, and means what it meant then: {meaning}");
    assert!(done && second.lines().next() == Some(known.as_str()), "{second}");
    // The command that was printed is the same one, too.
    let (_, command) = first.lines().nth(1).unwrap().split_once(": ").unwrap();
    let command =
        command.split_once(" --config ").unwrap().0.strip_prefix("forebay replay ").unwrap().to_owned();
    let (done, third, said) = run(&command.split(' ').collect::<Vec<_>>());
    assert!(done && third.lines().next() == Some(known.as_str()), "{third}{said}");
    // Other words are another replay, and the refusal says how to ask for this one.
    let (done, _, refused) = run(&["--from", "4h ago", "--id", "again"]);
    assert!(!done && refused.contains(&command) && refused.contains("choose another id"), "{refused}");
    daemon.stop();
    let read = consume(&brokers, &["same.telemetry"], true, Duration::from_secs(3));
    assert_eq!(offsets(&read, Some("again")), (0..1000).collect::<Vec<_>>());
    assert_eq!(read.len(), 2000);
}

#[test]
fn who_stops_watching_is_told_how_it_goes_on() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 1000);
    daemon.start();
    let config = daemon.config();
    let watching = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["replay", "--from", "5h ago", "--id", "dark", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watching = watching.unwrap();
    let mut said = BufReader::new(watching.stderr.take().unwrap());
    // Not on a terminal, and still it says what is in the way.
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("dark: waits: what Kafka has already is not known yet"), "{line}");
    Command::new("kill").args(["-INT", &watching.id().to_string()]).status().unwrap();
    let output = watching.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "dark: telemetry from 20",
        "The same again, for example after an interruption: forebay replay --id dark --from 20",
        "The box goes on with it by itself.",
        "How far it is: forebay journal status --config",
        "To end it: forebay replay --cancel dark --config",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let status = wait_for("trouble in words", PATIENCE, || {
        let (_, status) = daemon.journal(&["status"]).unwrap();
        status.contains("nothing listens at 127.0.0.1:").then_some(status)
    });
    assert!(
        status.contains("replay dark: telemetry from 20") && status.contains("not known yet"),
        "{status}"
    );
    assert_plain(&status);
    // The original is kept for who knows it, as a detail.
    let log = daemon.log();
    let (raw, words): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("detail="));
    assert!(raw.iter().any(|line| line.contains("Connection refused")), "{log}");
    words.into_iter().for_each(assert_plain);
    assert!(daemon.command(&["replay", "--cancel", "dark"]).status.success());
    let (_, status) = daemon.journal(&["status"]).unwrap();
    assert!(!status.contains("dark"), "{status}");
}
