//! A block device that gives EIO where it is read, for a while: the loop device's file is cut short
//! under the mounted file system, and made whole again. What lies in front of the cut works on.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::{Clock, SystemClock};
use forebay::device::Device;
use forebay::event::{Event, Events, Kind};
use forebay::journal::RealDisk;
use forebay::lane::{Body, Lane, LaneOptions, Opened, Record};
use forebay::replicate::mock::Broker;
use forebay::replicate::{JournalSource, Options, Replicator};
use forebay_connector::Scalar;
use tokio::sync::mpsc::Receiver;

use super::image::Image;
use crate::device::device;
use crate::journal::{LIMIT, batch, open, options, read_all, segments, serial};
use crate::support::wait_for;

const DISK_BYTES: u64 = 32 << 20;
/// From here on the device gives errors.
const CUT: u64 = 16 << 20;
const FILLER_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
const PAGES: usize = FILLER_BYTES / PAGE_BYTES;
const OLD: i64 = 3_000;
const NEW: i64 = 500;

/// A disk with a lane whose segments up to record [`OLD`] lie behind the cut, and everything else
/// in front of it, also what is written from now on.
struct Divided {
    image: Image,
    press: Arc<Device>,
    /// The segments behind the cut.
    old: Vec<std::path::PathBuf>,
}

impl Divided {
    fn new() -> Self {
        let image = Image::without_journal(DISK_BYTES, 2 * DISK_BYTES);
        image.reserve_nothing();
        let press = device("press-3", &[Scalar::Lint; 20]);
        let mut disk = Self { image, press, old: Vec::new() };
        // The folder, and the small files that every start needs, in front.
        disk.open().0.lane.close();
        let files = disk.fill("first");
        files.iter().for_each(|file| forget(file));
        let rest = disk.image.cut(CUT);
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for file in files {
            match readable_pages(&file, PAGES) {
                0 => high.push(file),
                PAGES => low.push(file),
                // It lies on both sides, and stays.
                _ => {}
            }
        }
        disk.image.restore(&rest);
        assert!(low.len() > 5 && high.len() > 5, "{} files in front, {} behind", low.len(), high.len());
        high.iter().for_each(|file| fs::remove_file(file).expect("it is ours"));
        let (lane, _events) = disk.open();
        disk.append(&lane, 0, OLD);
        assert_eq!(lane.lane.close(), 0);
        disk.old = segments(&disk.options().directory);
        disk.old.iter().for_each(|segment| disk.put_behind(segment));
        assert!(disk.old.len() > 2, "{:?}", disk.old);
        disk.fill("second");
        low.iter().for_each(|file| fs::remove_file(file).expect("it is ours"));
        disk
    }

    /// Puts a copy that lies behind the cut in the place of a file. The file system keeps some blocks for
    /// itself however full it is, so some of a file may lie in front; a copy in vain uses them up.
    fn put_behind(&self, file: &Path) {
        let content = fs::read(file).expect("it works");
        let pages = content.len().div_ceil(PAGE_BYTES);
        let folder = self.image.path();
        let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        for number in 0..100 {
            let copy = folder.join(format!("{name}-{number}"));
            fs::write(&copy, &content).expect("there is room");
            forget(&copy);
            let rest = self.image.cut(CUT);
            let is_behind = readable_pages(&copy, pages) == 0;
            self.image.restore(&rest);
            if is_behind {
                return fs::rename(&copy, file).expect("both are ours");
            }
        }
        panic!("no copy of {} lies behind the cut", file.display());
    }

    fn options(&self) -> LaneOptions {
        LaneOptions {
            budget_bytes: 8 << 20,
            segment_bytes: 8 << 10,
            ..options(&self.image.path().join("lane"))
        }
    }

    fn open(&self) -> (Opened, Receiver<Event>) {
        open(self.options())
    }

    fn append(&self, lane: &Opened, from: i64, to: i64) {
        for number in from..to {
            lane.writer.try_append(batch(&self.press, number)).ok().expect("the queue has room");
            if number % 5 == 0 || number + 1 == to {
                lane.writer.flush(LIMIT).expect("writing works");
            }
        }
    }

    /// Fills the disk with files, large ones as long as they fit; gives these.
    fn fill(&self, name: &str) -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        for bytes in [FILLER_BYTES, PAGE_BYTES] {
            for number in 0.. {
                let path = self.image.path().join(format!("{name}-{bytes}-{number}"));
                // Without room for its name it is not even created.
                let Ok(mut file) = fs::File::create(&path) else { break };
                if file.write_all(&vec![1; bytes]).and_then(|()| file.sync_all()).is_err() {
                    fs::remove_file(&path).expect("it is ours");
                    break;
                }
                if bytes == FILLER_BYTES {
                    files.push(path);
                }
            }
        }
        files
    }

    /// The device gives errors from now on; what is behind the cut.
    fn fail(&self) -> Vec<u8> {
        let rest = self.image.cut(CUT);
        for segment in &self.old {
            // What somebody has just touched is not forgotten at the first asking.
            let error = wait_for("error of the device", LIMIT, || {
                forget(segment);
                fs::read(segment).err()
            });
            assert_eq!(error.raw_os_error(), Some(5), "{error}");
        }
        rest
    }

    fn mend(&self, rest: &[u8]) {
        assert_eq!(self.image.length(), CUT, "nothing was written behind the cut");
        self.image.restore(rest);
    }

    fn serials(&self, records: &[Record]) -> Vec<i64> {
        records.iter().map(|record| serial(record, &self.press)).collect()
    }
}

/// How many of the first pages of a file the device gives.
fn readable_pages(file: &Path, pages: usize) -> usize {
    let file = fs::File::open(file).expect("a file");
    let is_given = |page: &usize| file.read_at(&mut [0; PAGE_BYTES], (page * PAGE_BYTES) as u64).is_ok();
    (0..pages).filter(is_given).count()
}

/// Makes the system read a file from the device again.
fn forget(path: &Path) {
    let file = fs::File::open(path).expect("a file");
    file.sync_all().expect("it syncs");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
}

fn told(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[test]
fn a_disk_that_gives_errors_for_a_while_holds_up_sending_and_loses_nothing() {
    let disk = Divided::new();
    let (lane, mut events) = disk.open();
    let status = lane.writer.status();
    let rest = disk.fail();
    let broker = Broker::start("read-errors").expect("a broker");
    let options = Options::new(broker.bootstrap(), "read-errors", "Works1", "box");
    let source = JournalSource::new("telemetry", lane.reader);
    let replicator = Replicator::start(options, source, "boot", None).expect("a thread");
    let replication = replicator.status();
    let state = wait_for("trouble to be shown", LIMIT, || {
        let state = replication.snapshot().state;
        (state.code() == "unreadable").then_some(state)
    });
    let words = state.to_string();
    for part in ["disk cannot be read: Input/output error", " at byte ", ".segment, trying again since 20"] {
        assert!(words.contains(part), "{words}");
    }
    // Storing goes on meanwhile, and the place is kept through several tries.
    let mut number = OLD;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) || number < OLD + NEW {
        let opened = lane.writer.clone();
        opened.try_append(batch(&disk.press, number)).ok().expect("the queue has room");
        assert!(opened.flush(LIMIT).is_some());
        number += 1;
    }
    let snapshot = replication.snapshot();
    assert_eq!((snapshot.state.code(), snapshot.records), ("unreadable", 0), "{snapshot:?}");
    assert_eq!(snapshot.state.since_us(), state.since_us());
    assert_eq!(status.borrow().error, None, "writing works");
    disk.mend(&rest);
    let all = u64::try_from(number).expect("small");
    wait_for("everything to be sent", LIMIT, || (replication.snapshot().records == all).then_some(()));
    assert_eq!(replication.snapshot().state.code(), "up");
    let events = told(&mut events);
    let found: Vec<_> = events.iter().map(|event| (event.kind, event.data["working"].clone())).collect();
    assert_eq!(found, [(Kind::Box, false.into()), (Kind::Box, true.into())], "{events:?}");
    assert!(events[0].text.contains("disk cannot be read"), "{}", events[0].text);
    assert_eq!(status.borrow().lost_records, 0);
    drop(replicator);
    assert_eq!(lane.lane.close(), 0);
    println!("{number} batches, none lost; {words}");
}

#[test]
fn a_start_on_a_disk_that_gives_errors_keeps_what_it_cannot_read() {
    let mut disk = Divided::new();
    let rest = disk.fail();
    let (mut lane, mut events) = disk.open();
    lane.reader.hand_over();
    assert_eq!(lane.recovery.damages, []);
    assert_eq!(lane.recovery.put_aside, Vec::<String>::new());
    assert!(lane.writer.status().borrow().next_offset >= u64::try_from(OLD).expect("small"));
    disk.append(&lane, OLD, OLD + NEW);
    assert_eq!(read_all(&mut lane.reader), []);
    assert!(lane.reader.trouble().is_some());
    disk.mend(&rest);
    let mut records = Vec::new();
    wait_for("the disk to be read", LIMIT, || {
        lane.reader.wait(Duration::from_secs(1));
        records.extend(read_all(&mut lane.reader));
        (lane.reader.offset() == lane.reader.synced()).then_some(())
    });
    // Where the newest ended was not to be known: one record tells that numbers were left out.
    let (left_out, records): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| matches!(record.body, Body::Event(_)));
    assert_eq!(disk.serials(&records), (0..OLD + NEW).collect::<Vec<_>>());
    let left_out: Vec<serde_json::Value> = left_out
        .iter()
        .map(|record| match &record.body {
            Body::Event(json) => serde_json::from_slice(json).expect("JSON"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(left_out.iter().all(|event| event["data"]["cause"] == "unused"), "{left_out:?}");
    assert!(left_out.len() <= 1);
    assert!(told(&mut events).iter().all(|event| event.kind == Kind::Box));
    assert_eq!(lane.lane.close(), 0);
    drop((lane.reader, lane.history));
    // Also for the next start, and what was read is on the disk.
    disk.image.unmount();
    disk.image.mount();
    let (mut lane, _events) = disk.open();
    let records = read_all(&mut lane.reader);
    assert_eq!(disk.serials(&records), (0..OLD + NEW).collect::<Vec<_>>());
    lane.lane.close();
}

/// A clock on which somebody turns the monotonic time on.
struct Ahead(std::sync::Mutex<Duration>);

impl Clock for Ahead {
    fn now_us(&self) -> i64 {
        SystemClock.now_us()
    }

    fn now(&self) -> Instant {
        Instant::now() + *self.0.lock().expect("nobody panics with it")
    }
}

#[test]
fn what_is_not_given_for_hours_is_passed_over_and_told_as_that() {
    let disk = Divided::new();
    let clock = Arc::new(Ahead(Duration::ZERO.into()));
    let (raised, mut events) = Events::new();
    let directory = disk.options().directory;
    let real = Arc::new(RealDisk::open(&directory).expect("a folder"));
    let mut lane = Lane::open_on(real, clock.clone(), disk.options(), raised).expect("it opens");
    lane.reader.hand_over();
    disk.append(&lane, OLD, OLD + NEW);
    let _rest = disk.fail();
    assert_eq!(read_all(&mut lane.reader), []);
    *clock.0.lock().expect("nobody panics with it") +=
        disk.options().skip_unreadable_after - Duration::from_secs(60);
    let early = read_all(&mut lane.reader);
    assert!(early.is_empty(), "not yet: {:?}", told(&mut events));
    let mut records = Vec::new();
    for _ in &disk.old {
        *clock.0.lock().expect("nobody panics with it") += disk.options().skip_unreadable_after;
        records.extend(read_all(&mut lane.reader));
        let at = lane.reader.offset();
        assert!(at == lane.reader.synced() || lane.reader.trouble().is_some(), "it stopped at {at}");
    }
    let fresh: Vec<_> =
        records.iter().filter(|record| matches!(record.body, Body::Batch(_))).cloned().collect();
    assert_eq!(
        disk.serials(&fresh),
        (OLD..OLD + NEW).collect::<Vec<_>>(),
        "the lane is not stopped for ever"
    );
    let gaps: Vec<_> = told(&mut events).into_iter().filter(|event| event.kind == Kind::Gap).collect();
    assert!(gaps.iter().all(|gap| gap.data["cause"] == "unreadable"), "{gaps:?}");
    let lost: u64 = gaps.iter().filter_map(|gap| gap.data["batches"].as_u64()).sum();
    assert_eq!(lost, u64::try_from(OLD).expect("small"), "told exactly");
    lane.lane.close();
}
