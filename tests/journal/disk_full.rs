//! A lane on a small file system that really fills up.

use std::path::Path;
use std::process::Command;

use forebay::event::Kind;
use forebay::lane::LaneOptions;
use forebay_connector::Scalar;

use super::{LIMIT, batch, open, options, read_all, serial};
use crate::device::device;
use crate::support::wait_for;

/// A mounted tmpfs, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

/// Runs a command as root: directly, or through sudo.
fn as_root(arguments: &[&str]) {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let (program, arguments) = if root { (arguments[0], &arguments[1..]) } else { ("sudo", arguments) };
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{program} {arguments:?}: {status:?}. This test mounts a small tmpfs and needs root or passwordless sudo, \
         and in a container the capability SYS_ADMIN"
    );
}

impl SmallDisk {
    pub fn mount(bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes},mode=777");
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", directory.path().to_str().unwrap()]);
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy", self.path().to_str().unwrap()]);
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_synced_and_is_got_over() {
    let disk = SmallDisk::mount(1 << 20);
    let press = device("press-3", &[Scalar::Lint; 20]);
    // The budget is larger than the disk, so that the disk is full first.
    let small =
        LaneOptions { segment_bytes: 64 << 10, sync_bytes: 8 << 10, ..options(&disk.path().join("lane")) };
    let (mut lane, mut events) = open(small.clone());
    let warned = events.try_recv().expect("a warning that the budget is too large");
    assert!(warned.text.contains("set a smaller budget"), "{}", warned.text);
    let status = lane.writer.status();
    let mut sent = 0;
    // Batches are taken until the disk and then the memory for waiting ones are full.
    let refused = wait_for("batch given back", LIMIT, || {
        loop {
            match lane.writer.try_append(batch(&press, sent)) {
                Ok(()) => sent += 1,
                Err(batch) if status.borrow().error.is_some() => return Some(batch),
                Err(_) => return None,
            }
        }
    });
    assert_eq!(refused.samples.len(), 20);
    let error = status.borrow().error.clone().unwrap();
    assert!(error.contains("the disk is full"), "{error}");
    let told = wait_for("event", LIMIT, || events.try_recv().ok());
    assert_eq!((told.kind, told.text), (Kind::Box, error));

    // Reading goes on, and all that was synced is there.
    let synced = lane.reader.synced();
    assert!(synced > 0 && status.borrow().next_offset == synced);
    let records = read_all(&mut lane.reader);
    assert_eq!(records.len() as u64, synced);
    assert!(records.iter().zip(0..).all(|(record, number)| serial(record, &press) == number));

    // Kafka takes it, so there is room again: what waited in memory is stored, nothing is missing.
    let mut read = records.len();
    lane.reader.committed(lane.reader.offset());
    let sent = usize::try_from(sent).unwrap();
    wait_for("all the rest", LIMIT, || {
        for record in read_all(&mut lane.reader) {
            assert_eq!(usize::try_from(serial(&record, &press)), Ok(read));
            read += 1;
        }
        lane.reader.committed(lane.reader.offset());
        (read == sent).then_some(())
    });
    wait_for("good news", LIMIT, || status.borrow().error.is_none().then_some(()));
    let told = wait_for("event", LIMIT, || events.try_recv().ok());
    assert_eq!((told.kind, &told.data["working"]), (Kind::Box, &true.into()));
    assert_eq!(lane.lane.close(), 0);
    let (lane, _events) = open(small);
    assert_eq!((lane.recovery.damages, lane.reader.synced()), (vec![], sent as u64));
}

#[test]
fn within_its_budget_a_lane_never_fills_the_disk() {
    let disk = SmallDisk::mount(1 << 20);
    let press = device("press-3", &[Scalar::Lint; 20]);
    let budget =
        LaneOptions { budget_bytes: 700 << 10, sync_bytes: 8 << 10, ..options(&disk.path().join("lane")) };
    let (lane, mut events) = open(budget);
    let status = lane.writer.status();
    let mut number = 0;
    while status.borrow().evicted_records < 50_000 {
        lane.writer
            .try_append(batch(&press, number))
            .ok()
            .expect("a lane within its budget takes everything");
        number += 1;
        if number % 500 == 0 {
            lane.writer.flush(LIMIT).expect("the disk is not full");
        }
        assert_eq!(status.borrow().error, None);
        while let Ok(event) = events.try_recv() {
            assert_eq!(event.data["cause"], "disk-budget");
        }
    }
}
