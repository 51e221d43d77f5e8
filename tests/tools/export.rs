//! Tables for analysis, read by a stranger, and sticks that are too small.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::clock::rfc3339;
use forebay::event::{Event, Events, Kind};
use forebay::lane::{Lane, LaneOptions, Opened};
use forebay_connector::{Quality, Scalar, Value};
use serde_json::{Value as Json, json};

use super::daemon::{Daemon, START_US, STEP_US, append, batch, machines};
use crate::device::device;
use crate::support::{PATIENCE, root, tool};

/// Column types as pyarrow calls them, then every row.
fn read_by_pyarrow(folder: &Path, table: &str) -> (Json, Vec<Json>) {
    let output = Command::new(tool("parquet/bin/python"))
        .arg(root().join("tests/peers/parquet_rows.py"))
        .args([folder.as_os_str(), table.as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.next().unwrap(), lines.collect())
}

/// A float as Python's `float.hex` writes it.
fn hex(number: f64) -> Json {
    let script = "import sys; print(float(sys.argv[1]).hex())";
    let output = Command::new("python3").args(["-c", script, &format!("{number:e}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn export(daemon: &Daemon, arguments: &[&str]) -> (tempfile::TempDir, Json) {
    let stick = tempfile::tempdir().unwrap();
    let to = ["export", "--to", stick.path().to_str().unwrap()];
    let (success, json) = daemon.journal_json(&[&to, arguments].concat());
    assert!(success);
    (stick, json)
}

/// Values of all kinds, in the order of the tags of [`mixed`].
fn values() -> Vec<(Value, Quality, Option<i64>)> {
    vec![
        (Value::Int(i64::MIN), Quality::Good, None),
        (Value::Uint(u64::MAX), Quality::OutOfRange, Some(*START_US - 5)),
        (Value::Real(41.2), Quality::Good, None),
        (Value::Lreal(0.1), Quality::Uncertain, Some(*START_US)),
        (Value::Lreal(-f64::MIN_POSITIVE), Quality::Good, None),
        (Value::Bool(true), Quality::FunctionCheck, None),
        (Value::Text("Auftrag \"7\" läuft\n".into()), Quality::Good, None),
        (Value::DateTime(1_770_000_000_250_000), Quality::Good, None),
        (Value::Array([Value::Lreal(0.5), Value::Int(-3)].into()), Quality::Good, None),
        (Value::Null, Quality::NoConnection, None),
    ]
}

#[test]
fn a_stranger_reads_every_value() {
    let daemon = Daemon::new("box-1", None, "away");
    let values = values();
    let machine = device("mixed", &vec![Scalar::Lreal; values.len()]);
    let options = LaneOptions::new("telemetry", daemon.lane("telemetry"), "Werk1/box-1");
    let Opened { lane, writer, .. } = Lane::open(options, Events::new().0).unwrap();
    let samples = values.iter().zip(0..).map(|((value, quality, source_us), tag)| Sample {
        tag,
        value: value.clone(),
        quality: *quality,
        source_us: *source_us,
    });
    let samples: Vec<Sample> = samples.collect();
    append(&writer, Batch { device: Arc::clone(&machine), edge_us: *START_US, samples, gap: None });
    assert_eq!(lane.close(), 0);

    let (stick, json) = export(&daemon, &[]);
    assert_eq!((&json["lanes"][0]["rows"], &json["lanes"][0]["files"]), (&10.into(), &1.into()), "{json}");
    let (types, rows) = read_by_pyarrow(&super::backlog::exported(stick.path()), "samples");
    for (column, kind) in [
        ("device", "string"),
        ("edge_time", "timestamp[us, tz=UTC]"),
        ("uint_value", "uint64"),
        ("real_value", "float"),
        ("lreal_value", "double"),
        ("offset", "uint64"),
    ] {
        assert_eq!(types[column], kind, "{column}");
    }
    let columns = types.as_object().unwrap().len();
    assert_eq!(rows.len(), values.len());
    for (row, (number, (value, quality, source_us))) in rows.iter().zip(values.iter().enumerate()) {
        let mut expected = json!({
            "device": machine.path, "tag": format!("group0.tag{number}"), "unit": "°C", "offset": 0,
            "edge_time": *START_US, "time": source_us, "quality": quality.as_str(),
        });
        let (column, shown) = match value {
            Value::Int(it) => ("int_value", json!(it)),
            Value::Uint(it) => ("uint_value", json!(it)),
            Value::Real(it) => ("real_value", hex(f64::from(*it))),
            Value::Lreal(it) => ("lreal_value", hex(*it)),
            Value::Bool(it) => ("bool_value", json!(it)),
            Value::Text(it) => ("text_value", json!(it)),
            Value::DateTime(it) => ("time_value", json!(it)),
            Value::Array(_) => ("array_value", json!("[0.5,-3]")),
            Value::Null => ("time", json!(source_us)),
        };
        expected[column] = shown;
        assert_eq!(row.as_object().unwrap().len(), columns);
        for (name, value) in row.as_object().unwrap() {
            assert_eq!(value, expected.get(name).unwrap_or(&Json::Null), "row {number}, {name}: {row}");
        }
    }
}

#[test]
fn only_what_is_asked_for_is_exported_beside_the_running_box() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 9000);
    daemon.start();
    let rows = |arguments: &[&str]| export(&daemon, arguments).1["lanes"][0]["rows"].as_u64().unwrap();
    assert_eq!(rows(&[]), 27_000);
    assert_eq!(rows(&["--device", "box-1-press"]), 13_500);
    assert_eq!(rows(&["--device", "box-1-press", "--device", "box-1-oven", "--tag", "group0.tag1"]), 9000);
    assert_eq!(rows(&["--tag", "group0.*"]), 27_000);
    let at = |number: i64| forebay::clock::rfc3339(*START_US + number * STEP_US);
    assert_eq!(rows(&["--from", &at(8000)]), 3000);
    assert_eq!(rows(&["--until", &at(10), "--tag", "group0.tag0"]), 10);
    assert_eq!(rows(&["--from", &at(100), "--until", &at(200), "--tag", "group0.tag0"]), 100);
    let (stick, _) = export(&daemon, &["--from", &at(100), "--until", &at(102)]);
    let (_, found) = read_by_pyarrow(&super::backlog::exported(stick.path()), "samples");
    let offsets: Vec<_> = found.iter().map(|row| row["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [100, 100, 100, 101, 101, 101]);

    let stick = tempfile::tempdir().unwrap();
    let to = stick.path().to_str().unwrap();
    let nothing = daemon.journal(&["export", "--to", to, "--device", "none"]).unwrap_err();
    assert!(nothing.contains("knows no machine \"none\""), "{nothing}");
    assert_eq!(stick.path().read_dir().unwrap().count(), 0, "nothing is left");
}

#[test]
fn events_come_beside_the_samples_and_say_what_is_missing() {
    let daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 100);
    let options = LaneOptions::new("events", daemon.lane("events"), "Werk1/box-1");
    let Opened { lane, writer, .. } = Lane::open(options, Events::new().0).unwrap();
    let at = |seconds: i64| *START_US + seconds * 1_000_000;
    let gap = json!({ "tags": "*", "from": rfc3339(at(10)), "to": rfc3339(at(20)), "cause": "stopped" });
    let events = [
        (Kind::DeviceState, at(0), "Werk1/Halle/box-1-oven", json!({ "state": "up" })),
        (Kind::DeviceState, at(1), "Werk1/Halle/box-1-press", json!({ "state": "up" })),
        (Kind::Gap, at(30), "Werk1/Halle/box-1-press", gap.clone()),
    ];
    for (kind, edge_time, device, data) in events {
        let (device, text) = (device.to_owned(), "in words: \"äöü\"".to_owned());
        writer.try_append_event(Event { kind, edge_time, device, text, data }).unwrap();
    }
    assert_eq!(lane.close(), 0);
    let read = |arguments: &[&str]| {
        let (stick, json) = export(&daemon, arguments);
        let (types, rows) = read_by_pyarrow(&super::backlog::exported(stick.path()), "events");
        let told = json["lanes"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&told["lane"], &told["rows"]), (&"events".into(), &rows.len().into()), "{json}");
        assert_eq!(types["edge_time"], "timestamp[us, tz=UTC]");
        rows
    };
    let all = read(&[]);
    let offsets: Vec<_> = all.iter().map(|row| row["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2]);
    assert_eq!(all[2]["text"], "in words: \"äöü\"");
    let data: Json = serde_json::from_str(all[2]["data"].as_str().unwrap()).unwrap();
    assert_eq!((data, &all[2]["edge_time"]), (gap, &at(30).into()));
    assert_eq!(read(&["--device", "box-1-oven"]).len(), 2, "its own, and what is missing");
    // The gap was told after the time that is wanted, and is about it.
    let until = rfc3339(at(15));
    let within = read(&["--lane", "events", "--from", &rfc3339(at(5)), "--until", &until]);
    assert_eq!((within.len(), &within[0]["kind"]), (1, &"gap".into()));
}

#[test]
fn a_full_stick_is_told_and_nothing_half_is_left_on_it() {
    let daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 60_000);
    let stick = crate::journal::SmallDisk::mount(1100 << 10);
    let to = stick.path().to_str().unwrap();
    for (format, words) in [("parquet", "is full"), ("backlog", "is too full")] {
        // Both need less than there is free at the beginning only as Parquet: it is not known before.
        let full = daemon.journal(&["export", "--to", to, "--format", format]).unwrap_err();
        assert!(full.contains(words), "{format}: {full}");
        assert_eq!(stick.path().read_dir().unwrap().count(), 0, "{format}");
    }
}

#[test]
fn thinned_data_comes_with_what_it_sums_up() {
    const TOTAL: i64 = 60_000;
    let daemon = Daemon::new("box-1", None, "away");
    let options = LaneOptions {
        budget_bytes: 400 << 10,
        full_for: Duration::ZERO,
        sync_interval: Duration::from_millis(5),
        sync_bytes: 4 << 10,
        ..LaneOptions::new("telemetry", daemon.lane("telemetry"), "Werk1/box-1")
    };
    let Opened { lane, writer, .. } = Lane::open(options, Events::new().0).unwrap();
    let machines = machines("box-1");
    for number in 0..TOTAL {
        append(&writer, batch(&machines, number));
        if number % 5000 == 4999 {
            writer.flush(PATIENCE).unwrap();
        }
    }
    assert_eq!(lane.close(), 0);
    let (stick, _) = export(&daemon, &["--tag", "group0.tag0"]);
    let (_, rows) = read_by_pyarrow(&super::backlog::exported(stick.path()), "samples");
    let (thinned, full): (Vec<_>, Vec<_>) = rows.iter().partition(|row| !row["thinned_from"].is_null());
    println!("{} thinned, {} full", thinned.len(), full.len());
    assert!(thinned.len() > 10 && full.len() > 1000);
    // Each machine has every second number: what a row sums up has no holes.
    let mut counted = full.len() as u64;
    for row in thinned {
        let count = row["count"].as_u64().unwrap();
        let (last, bad) = (row["int_value"].as_u64().unwrap(), &row["bad_count"]);
        let first = last + 2 - 2 * count;
        let float = |key: &str| row[key].clone();
        assert_eq!((float("min"), float("max")), (hex(first as f64), hex(last as f64)), "{row}");
        assert_eq!(row["edge_time"].as_i64().unwrap() - *START_US, i64::try_from(last).unwrap() * STEP_US);
        assert_eq!(
            row["thinned_from"].as_i64().unwrap() - *START_US,
            i64::try_from(first).unwrap() * STEP_US
        );
        assert_eq!((bad, &row["quality"]), (&json!(0), &json!("good")));
        counted += count;
    }
    assert_eq!(counted, TOTAL.unsigned_abs());
}

#[test]
fn what_the_journal_does_not_know_is_named() {
    let daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 3000);
    let stick = tempfile::tempdir().unwrap();
    let to = ["export", "--to", stick.path().to_str().unwrap()];
    let said = |arguments: &[&str]| daemon.journal(&[&to, arguments].concat()).unwrap_err();
    for (arguments, words) in [
        (&["--device", "box-1-pres"][..], "no machine \"box-1-pres\": did you mean \"box-1-press\"?"),
        (
            &["--device", "box-1-oven", "--device", "x"],
            "\"x\"; it knows the machines: box-1-oven, box-1-press",
        ),
        (&["--tag", "group0.tg1"], "no tag \"group0.tg1\": did you mean \"group0.tag1\"?"),
        (&["--tag", "group7.*"], "it knows the tags: group0.tag0, group0.tag1, group0.tag2"),
        (&["--lane", "events", "--device", "nobody"], "no machine \"nobody\""),
        (
            &["--from", "1m ago"],
            "no sample fits these machines, tags and times. The journal of lane telemetry: it holds 20",
        ),
        (&["--until", "2h ago"], "it holds 20"),
    ] {
        let text = said(arguments);
        assert!(text.contains(words), "{words}: {text}");
        assert_eq!(std::fs::read_dir(stick.path()).unwrap().count(), 0, "{arguments:?} leaves nothing");
    }
    // One that is known and has nothing in that time is said beside the other.
    let until = rfc3339(*START_US + STEP_US);
    let all = ["--device", "box-1-press", "--device", "box-1-oven", "--until", &until];
    let (_, text) = daemon.journal(&[&to[..], &all].concat()).unwrap();
    assert!(text.contains("of box-1-oven the journal holds nothing of that time"), "{text}");
}

#[test]
fn exports_within_one_second_are_all_there() {
    let daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 100);
    let stick = tempfile::tempdir().unwrap();
    let to = ["export", "--to", stick.path().to_str().unwrap()];
    let mut folders: Vec<Json> = (0..6).map(|_| daemon.journal_json(&to).1["folder"].clone()).collect();
    folders.sort_by_key(Json::to_string);
    folders.dedup();
    assert_eq!(folders.len(), 6);
    assert_eq!(std::fs::read_dir(stick.path()).unwrap().count(), 6);
}
