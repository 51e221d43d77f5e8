//! Disks that answer with errors, under a running lane.
//!
//! A failed sync: ext4 in a file whose own disk is full. ext4 takes the write, and the sync fails when
//! the block device cannot store it (`I/O error` in the kernel's log, ENOSPC to the program); the kernel
//! then takes the data for written, as after any failed sync. No device mapper is needed for this.
//! A dead disk: ext4 shut down; everything answers EIO.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::{Clock, now_us};
use forebay::event::{Event, Events, Kind};
use forebay::journal::RealDisk;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::Scalar;

use super::image::{Cutter, Image};
use crate::device::device;
use crate::journal::{LIMIT, batch, open, options, read_all, serial};
use crate::support::wait_for;

fn small(image: &Image) -> LaneOptions {
    LaneOptions { budget_bytes: 8 << 20, segment_bytes: 64 << 10, ..options(&image.path().join("lane")) }
}

/// All events that have come.
fn told(events: &mut tokio::sync::mpsc::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[test]
fn a_failed_sync_closes_its_segment_and_what_it_held_is_written_anew() {
    let mut image = Image::without_journal(32 << 20, 16 << 20);
    let press = device("press-3", &[Scalar::Lint; 20]);
    let (lane, mut events) = open(small(&image));
    let status = lane.writer.status();
    let mut sent = 0;
    let mut send = |count: i64| {
        for _ in 0..count {
            lane.writer.try_append(batch(&press, sent)).ok().expect("the queue has room");
            sent += 1;
        }
        sent
    };
    for _ in 0..20 {
        send(10);
        lane.writer.flush(LIMIT).expect("the disk works");
    }
    for round in 1..=5u64 {
        // The memory behind the disk is used up by somebody else.
        let foreign = image.behind().join("foreign");
        let mut file = fs::File::create(&foreign).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
        drop(file);
        let synced = status.borrow().next_offset;
        // Enough that the device needs new blocks for it.
        let mut tries = 0;
        while status.borrow().error.is_none() {
            send(10);
            lane.writer.flush(Duration::from_millis(20));
            tries += 1;
            assert!(tries < 1000, "the disk takes everything");
        }
        let error = status.borrow().error.clone().unwrap_or_default();
        assert!(error.contains("the disk is full") || error.contains("the disk does not work"), "{error}");
        let failed = status.borrow().failed_syncs;
        assert!(failed >= round, "{failed} failed syncs in round {round}");
        let before = lane.reader.synced();
        assert!(before >= synced);
        fs::remove_file(&foreign).expect("it is ours");
        let all = u64::try_from(send(1)).expect("small");
        assert_eq!(lane.writer.flush(LIMIT), Some(all), "what waited is stored");
        wait_for("good news", LIMIT, || status.borrow().error.is_none().then_some(()));
        let states: Vec<_> =
            told(&mut events).iter().map(|event| (event.kind, event.data["working"].clone())).collect();
        assert_eq!(states, [(Kind::Box, false.into()), (Kind::Box, true.into())]);
    }
    let failed = status.borrow().failed_syncs;
    assert_eq!(lane.lane.close(), 0);
    drop((lane.reader, lane.history));
    // What the kernel only had in memory is gone now.
    image.unmount();
    image.mount();
    let (mut lane, mut events) = open(small(&image));
    let records = read_all(&mut lane.reader);
    assert_eq!(told(&mut events).iter().map(|event| &event.text).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(records.len(), usize::try_from(sent).expect("small"), "after {failed} failed syncs");
    assert!(records.iter().zip(0..).all(|(record, number)| serial(record, &press) == number));
    println!("{sent} batches through {failed} failed syncs, none lost");
    lane.lane.close();
}

#[test]
fn a_dead_disk_is_told_and_after_its_return_everything_synced_is_there() {
    let mut image = Image::new(16 << 20, 32 << 20);
    let mut cutter = Cutter::start();
    let press = device("press-3", &[Scalar::Lint; 20]);
    let (lane, mut events) = open(small(&image));
    for number in 0..500 {
        lane.writer.try_append(batch(&press, number)).ok().expect("the queue has room");
    }
    assert_eq!(lane.writer.flush(LIMIT), Some(500));
    cutter.cut(&image);
    // Batches are taken until the memory for waiting ones is full; nobody waits, nothing ends.
    let status = lane.writer.status();
    let mut number = 500;
    let begun = Instant::now();
    wait_for("batch given back", LIMIT, || {
        loop {
            if lane.writer.try_append(batch(&press, number)).is_err() {
                return status.borrow().error.is_some().then_some(());
            }
            number += 1;
        }
    });
    assert!(begun.elapsed() < LIMIT);
    let error = status.borrow().error.clone().unwrap_or_default();
    assert!(error.contains("the disk does not work") && error.contains("Input/output error"), "{error}");
    assert_eq!(status.borrow().next_offset, 500, "nothing is shown that is not stored");
    let said = wait_for("event", LIMIT, || events.try_recv().ok());
    assert_eq!((said.kind, &said.data["working"]), (Kind::Box, &false.into()));
    assert!(lane.lane.close() > 0, "what could not be stored is counted");
    drop((lane.reader, lane.writer, lane.history));
    image.unmount();
    image.mount();
    let (mut lane, _events) = open(small(&image));
    assert_eq!((lane.recovery.damages.len(), read_all(&mut lane.reader).len()), (0, 500));
    lane.lane.close();
}

/// A clock that somebody sets; the monotonic one goes on.
struct Jumping(std::sync::atomic::AtomicI64);

impl Clock for Jumping {
    fn now_us(&self) -> i64 {
        now_us() + self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

#[test]
fn a_clock_that_jumps_years_changes_neither_order_nor_content() {
    const YEAR_US: i64 = 365 * 86_400 * 1_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let press = device("press-3", &[Scalar::Lint; 4]);
    let clock = Arc::new(Jumping(0.into()));
    let small = LaneOptions { segment_bytes: 2 << 10, ..options(folder.path()) };
    let mut expected = Vec::new();
    for years in [0, 12, -30, 40, -56, 1] {
        clock.0.store(years * YEAR_US, std::sync::atomic::Ordering::SeqCst);
        let (events, mut told_now) = Events::new();
        let disk = Arc::new(RealDisk::open(folder.path()).expect("a folder"));
        let lane = Lane::open_on(disk, clock.clone(), small.clone(), events).expect("it opens");
        assert_eq!(lane.writer.status().borrow().next_offset, expected.len() as u64);
        for jump in [0, 5, -9] {
            // Also while it runs.
            clock.0.fetch_add(jump * YEAR_US, std::sync::atomic::Ordering::SeqCst);
            for _ in 0..40 {
                let edge_us = clock.now_us();
                let batch = forebay::batch::Batch { edge_us, ..batch(&press, 7) };
                lane.writer.try_append(batch).ok().expect("the queue has room");
                expected.push(edge_us);
            }
            // The sync interval is monotonic time: nothing waits for a clock to come back.
            let begun = Instant::now();
            let all = expected.len() as u64;
            wait_for("sync", LIMIT, || (lane.writer.status().borrow().next_offset == all).then_some(()));
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        assert_eq!(lane.lane.close(), 0);
        let texts: Vec<_> = told(&mut told_now).into_iter().map(|event| event.text).collect();
        assert_eq!(texts, Vec::<String>::new(), "nothing unsent is removed because of a clock");
    }
    let (mut lane, _events) = open(small);
    let found: Vec<i64> = read_all(&mut lane.reader)
        .iter()
        .map(|record| match &record.body {
            Body::Batch(stored) => stored.edge_us,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, expected, "in the order of reading, with the times as they were read");
    lane.lane.close();
}
