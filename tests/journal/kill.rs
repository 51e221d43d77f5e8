//! kill -9 at random moments: what was reported as synced is there, and nothing else has changed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use forebay_connector::Scalar;

use super::{LIMIT, batch, open, options, read_all, serial};
use crate::device::device;

const ROUNDS: u64 = 20;
const TYPES: [Scalar; 10] = [Scalar::Lint; 10];
/// Names the directory in which the writing process writes until it is killed.
const DIRECTORY: &str = "FOREBAY_TEST_KILL_DIRECTORY";
/// Batches after which the writing process ends by itself.
const BATCHES_MAX: i64 = 1_000_000;

/// Writes batches and says after each sync how far it is. With a limit it ends by itself.
fn write(directory: &Path, limit: i64) -> i64 {
    let press = device("press-3", &TYPES);
    let (mut lane, _events) = open(options(directory));
    let first = i64::try_from(lane.reader.synced()).unwrap();
    let mut next = first;
    while next < first + limit {
        for _ in 0..20 {
            lane.writer.try_append(batch(&press, next)).ok().expect("the queue has room");
            next += 1;
        }
        let synced = lane.writer.flush(LIMIT).expect("the disk works");
        // The parent reads this line, and only what it has read counts as promised.
        println!("synced {synced}");
        if synced % 200 == 0 {
            lane.reader.committed(synced.saturating_sub(1000));
        }
    }
    assert_eq!(lane.lane.close(), 0);
    lane.reader.seek(0);
    read_all(&mut lane.reader);
    next
}

/// The other process of the test below, which starts it with a directory and kills it. Run by
/// itself, without a directory, it writes a little and ends.
#[test]
fn writer_process() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => {
            write(Path::new(&directory), BATCHES_MAX);
        }
        None => assert_eq!(write(tempfile::tempdir().unwrap().path(), 100), 100),
    }
}

#[test]
fn kill_9_loses_nothing_that_was_synced() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &TYPES);
    let mut total = 0;
    for round in 0..ROUNDS {
        let promised = write_and_kill(directory.path(), 1 + fastrand::u64(..60));
        let (mut lane, mut events) = open(options(directory.path()));
        assert_eq!(lane.recovery.damages, [], "round {round}: a kill is no damage");
        let synced = lane.reader.synced();
        assert!(synced >= promised, "round {round}: {synced} of {promised} promised batches are left");
        assert!(synced >= total, "round {round}: offsets are used again");
        let records = read_all(&mut lane.reader);
        assert!(events.try_recv().is_err(), "round {round}: nothing is missing");
        let first = records.first().map_or(synced, |record| record.offset);
        assert!(
            first + 1000 <= promised.max(1000),
            "round {round}: {first} was removed before it was committed"
        );
        for (expected, record) in (first..).zip(&records) {
            assert_eq!(record.offset, expected);
            assert_eq!(u64::try_from(serial(record, &press)), Ok(expected));
        }
        assert_eq!(first + records.len() as u64, synced);
        total = synced;
        lane.lane.close();
    }
    assert!(total > 0);
}

/// Runs the writing process until it has said `lines` times how far it is; the last it said.
fn write_and_kill(directory: &Path, lines: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["journal::kill::writer_process", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts itself");
    let output = BufReader::new(child.stdout.take().unwrap());
    let said =
        output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("synced ")?.parse().ok());
    let mut promised = 0;
    let mut said = said.inspect(|next| promised = *next);
    for _ in 0..lines {
        said.next().expect("the writing process writes on");
    }
    child.kill().expect("it can be killed");
    // It may have said more before the signal came.
    said.by_ref().for_each(drop);
    child.wait().expect("it can be waited for");
    promised
}
