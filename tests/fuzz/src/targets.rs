//! What is fuzzed. Each must neither panic nor use memory without bound.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::disk::Directory;
use crate::event::Events;
use crate::journal::{Disk, Journal, Options, Read};
use crate::lane::{LaneOptions, Parts};

/// Records looked at for one input.
const RECORDS_MAX: usize = 20_000;

/// Behind all offsets and numbers of files.
const NUMBERS_END: u64 = 1 << 62;

const OPTIONS: Options = Options { segment_bytes: 4096 };

/// Opens the directory that `input` describes as a journal, reads it, writes to it, opens it again.
pub fn journal(input: &[u8]) {
    let directory = Directory::of(input);
    let last = format!("{:016x}-", NUMBERS_END - 1);
    let last = directory.list().expect("memory").iter().any(|name| name.starts_with(&last));
    let (mut journal, _) = Journal::open(Arc::new(directory.clone()), OPTIONS).expect("a journal always opens");
    let end = journal.next_offset();
    let mut reader = journal.reader(journal.first_offset()).expect("memory");
    let mut next = 0;
    for _ in 0..RECORDS_MAX {
        let (from, to) = match reader.read() {
            Read::End => break,
            Read::Record { offset, .. } => (offset, offset + 1),
            Read::Link(link) if !link.wanted => continue,
            Read::Link(link) => (link.offset, link.offset + 1),
            Read::Damage(damage) => (damage.from_offset, damage.to_offset),
            Read::Unreadable(unreadable) => panic!("no disk fails here: {unreadable}"),
            Read::Moved { from, to } => (from, to),
        };
        assert!(next <= from && from < to && to <= end, "from {from} to {to} behind {next} of {end}");
        next = to;
    }
    // Offsets and numbers of files stay below this (docs/journal-format.md); where they cannot, it is said.
    if end < NUMBERS_END {
        assert_eq!(journal.append(b"new", 1).ok(), Some(end));
        let synced = journal.sync(1);
        assert_eq!(synced.ok(), (!last).then_some(end + 1));
        if last {
            return;
        }
        let mut reader = journal.reader(end).expect("memory");
        assert!(matches!(reader.read(), Read::Record { offset, bytes: b"new", .. } if offset == end));
        journal.trim(end / 2).expect("memory");
        journal.evict_oldest(b"").expect("memory");
        drop(journal);
        let (again, _) = Journal::open(Arc::new(directory), OPTIONS).expect("a journal always opens");
        assert_eq!(again.next_offset(), end + 1);
    }
}

/// Reads the directory that `input` describes as a lane: records of all kinds, with their schemas.
pub fn lane(input: &[u8]) {
    let (events, _told) = Events::new();
    let options = LaneOptions::new("telemetry", "memory", "Site/box");
    let directory = Arc::new(Directory::of(input));
    let parts = Parts::open(directory, Arc::new(SystemClock), options, events).expect("a lane always opens");
    let mut reader = parts.reader;
    let mut next = 0;
    let mut read = 0;
    while read < RECORDS_MAX {
        let before = reader.offset();
        let records = reader.next(500, 1 << 20);
        for record in &records {
            assert!(record.offset >= next, "offset {} behind {next}", record.offset);
            next = record.offset + 1;
            read += 1;
        }
        if records.is_empty() && reader.offset() == before {
            return;
        }
        read += 1;
    }
}
