//! Damaged, missing and foreign files of a journal, through the real lane: every record is there
//! unchanged or told as lost, and new ones are stored.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use forebay::device::Device;
use forebay::event::{Events, Kind};
use forebay::lane::{Body, Lane, LaneOptions, Opened};
use forebay_connector::Scalar;

use super::image::Ram;
use super::number_from_environment;
use crate::device::device;
use crate::journal::{LIMIT, batch, options, read_all, segments, serial};

/// Places that are damaged in the test command, for each way; `FOREBAY_ROT_SPOTS` sets more.
const SPOTS: u64 = 6000;
/// Records of the journal that is damaged.
const RECORDS: u64 = 160;
/// Records in one block.
const BLOCK: i64 = 8;

fn press() -> Arc<Device> {
    device("press-3", &[Scalar::Lint; 3])
}

/// Several blocks a segment and several segments.
fn small(directory: &Path) -> LaneOptions {
    LaneOptions { segment_bytes: 300, budget_bytes: 8 << 20, ..options(directory) }
}

/// Opens the journal and tells what was said meanwhile: the ranges that are told as lost.
struct Seen {
    lane: Opened,
    told: tokio::sync::mpsc::Receiver<forebay::event::Event>,
}

impl Seen {
    fn open(directory: &Path) -> Self {
        let (events, told) = Events::new();
        let lane =
            Lane::open(small(directory), events).expect("a journal opens whatever is in its directory");
        Self { lane, told }
    }

    /// Offsets that can be read, checked; and those that are told as lost.
    fn offsets(&mut self, press: &Arc<Device>) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let mut kept = BTreeSet::new();
        self.lane.reader.seek(0);
        // Who sends gets what is lost as a record in its place, too.
        self.lane.reader.hand_over();
        let mut lost = BTreeSet::new();
        for record in read_all(&mut self.lane.reader) {
            if let Body::Event(json) = &record.body {
                let event: serde_json::Value = serde_json::from_slice(json).expect("an event");
                let offset = |name: &str| event["data"][name].as_u64().expect("an offset");
                lost.extend(offset("from_offset")..offset("to_offset").min(offset("from_offset") + 10_000));
                continue;
            }
            assert_eq!(
                u64::try_from(serial(&record, press)),
                Ok(record.offset),
                "a record of another offset"
            );
            assert!(kept.insert(record.offset), "offset {} twice", record.offset);
        }
        while let Ok(event) = self.told.try_recv() {
            assert_eq!((event.kind, &event.data["cause"]), (Kind::Gap, &"damage".into()), "{event:?}");
            let offset = |name: &str| event.data[name].as_u64().expect("an offset");
            lost.extend(offset("from_offset")..offset("to_offset").min(offset("from_offset") + 10_000));
        }
        (kept, lost)
    }

    /// New records are stored behind everything that was ever used.
    fn goes_on(mut self, press: &Arc<Device>, what: &str) {
        let first = self.lane.reader.synced();
        assert!(first >= RECORDS, "{what}: offset {first} is used again");
        for number in first..first + 3 {
            let batch = batch(press, i64::try_from(number).expect("small"));
            self.lane.writer.try_append(batch).ok().expect("the queue has room");
        }
        assert_eq!(self.lane.writer.flush(LIMIT), Some(first + 3), "{what}");
        self.lane.reader.seek(first);
        assert_eq!(read_all(&mut self.lane.reader).len(), 3, "{what}");
        assert_eq!(self.lane.lane.close(), 0, "{what}");
    }
}

/// A journal of [`RECORDS`] records in `directory`, closed in order.
fn write(directory: &Path) {
    let press = press();
    let (events, _told) = Events::new();
    let lane = Lane::open(small(directory), events).expect("it opens");
    for number in 0..i64::try_from(RECORDS).expect("small") {
        lane.writer.try_append(batch(&press, number)).ok().expect("the queue has room");
        if (number + 1) % BLOCK == 0 {
            lane.writer.flush(LIMIT).expect("the disk works");
        }
    }
    assert_eq!(lane.lane.close(), 0);
    assert!(segments(directory).len() > 4, "{} segments", segments(directory).len());
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    files
}

/// Copies of a journal to be damaged, on a disk in memory.
struct Copies {
    ram: Ram,
    press: Arc<Device>,
}

impl Copies {
    fn new() -> Self {
        let ram = Ram::mount(64 << 20);
        write(&ram.path().join("sound"));
        Self { ram, press: press() }
    }

    fn sound(&self) -> PathBuf {
        self.ram.path().join("sound")
    }

    /// A copy, damaged by `damage`, that must hold or tell every record. Returns how many are lost.
    fn judge(&self, what: &str, damage: impl FnOnce(&Path)) -> usize {
        let directory = self.ram.path().join("copy");
        fs::create_dir(&directory).expect("there is room");
        for file in files(&self.sound()) {
            fs::copy(&file, directory.join(file.file_name().expect("it has one"))).expect("there is room");
        }
        damage(&directory);
        let mut seen = Seen::open(&directory);
        let (kept, lost) = seen.offsets(&self.press);
        let missing: Vec<_> = (0..RECORDS).filter(|it| !kept.contains(it) && !lost.contains(it)).collect();
        assert!(missing.is_empty(), "{what}: {missing:?} are neither there nor told");
        let both: Vec<_> = kept.intersection(&lost).collect();
        assert!(both.is_empty(), "{what}: {both:?} are there and told as lost");
        seen.goes_on(&self.press, what);
        fs::remove_dir_all(&directory).expect("it is ours");
        lost.iter().filter(|offset| **offset < RECORDS).count()
    }

    /// Every `every`-th place of every file, so that about `spots` are damaged.
    fn places(&self, spots: u64) -> Vec<(String, usize)> {
        let mut places = Vec::new();
        for file in files(&self.sound()) {
            let name = file.file_name().expect("it has one").to_str().expect("UTF-8").to_owned();
            let bytes = fs::read(&file).expect("it can be read").len();
            places.extend((0..bytes).map(|at| (name.clone(), at)));
        }
        let every = places.len().div_ceil(usize::try_from(spots).expect("few"));
        places.into_iter().step_by(every).collect()
    }
}

fn change(directory: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = directory.join(name);
    let mut content = fs::read(&path).expect("it is there");
    change(&mut content);
    fs::write(path, content).expect("there is room");
}

#[test]
fn bit_rot_in_any_byte_of_any_file_is_told_exactly() {
    let (copies, started) = (Copies::new(), Instant::now());
    let places = copies.places(number_from_environment("FOREBAY_ROT_SPOTS", SPOTS));
    let (mut lost, mut worst, mut harmless) = (0, 0, 0);
    for (number, (name, at)) in places.iter().enumerate() {
        let flip = |content: &mut Vec<u8>| content[*at] ^= 1 << (number % 8);
        let found = copies
            .judge(&format!("bit {} of byte {at} of {name}", number % 8), |copy| change(copy, name, flip));
        (lost, worst, harmless) = (lost + found, worst.max(found), harmless + usize::from(found == 0));
    }
    println!(
        "{} bytes damaged one by one in {:.1} s: {harmless} times nothing lost, else {} of {RECORDS} records at \
         most, every one told",
        places.len(),
        started.elapsed().as_secs_f64(),
        worst
    );
    assert!(lost > 0);
}

#[test]
fn zeroed_sectors_are_told_exactly() {
    let copies = Copies::new();
    let mut lost = 0;
    for sector_bytes in [64, 512, 4096] {
        for file in files(&copies.sound()) {
            let name = file.file_name().expect("it has one").to_str().expect("UTF-8");
            let bytes = fs::read(&file).expect("it can be read").len();
            for sector in (0..bytes).step_by(sector_bytes) {
                let zero = |content: &mut Vec<u8>| {
                    content[sector..].iter_mut().take(sector_bytes).for_each(|it| *it = 0)
                };
                lost += copies.judge(&format!("{sector_bytes} zeros at {sector} of {name}"), |copy| {
                    change(copy, name, zero)
                });
            }
        }
    }
    assert!(lost > 0);
}

/// A journal that was closed in order knows its length: every cut is told.
#[test]
fn a_file_that_is_cut_is_told_exactly() {
    let copies = Copies::new();
    let places = copies.places(number_from_environment("FOREBAY_ROT_SPOTS", SPOTS));
    let lost: usize = places
        .iter()
        .map(|(name, at)| {
            copies.judge(&format!("{name} cut at {at}"), |copy| {
                change(copy, name, |content| content.truncate(*at))
            })
        })
        .sum();
    assert!(lost > 0);
}

/// A torn tail after kill -9 or a power cut: what was being written goes, whole blocks before it stay.
#[test]
fn a_torn_tail_costs_what_was_never_synced_and_nothing_is_told() {
    let copies = Copies::new();
    let newest = segments(&copies.sound()).pop().expect("some");
    let name = newest.file_name().expect("it has one").to_str().expect("UTF-8").to_owned();
    let length = fs::read(&newest).expect("it can be read").len();
    let directory = copies.ram.path().join("torn");
    for at in 0..length {
        fs::create_dir(&directory).expect("there is room");
        // Without the note of a journal that was closed in order.
        for file in files(&copies.sound()).iter().filter(|file| !file.ends_with("closed")) {
            fs::copy(file, directory.join(file.file_name().expect("it has one"))).expect("there is room");
        }
        change(&directory, &name, |content| content.truncate(at));
        let mut seen = Seen::open(&directory);
        let (kept, lost) = seen.offsets(&copies.press);
        let whole = u64::try_from(kept.len()).expect("small");
        assert_eq!(kept, (0..whole).collect(), "cut at {at}");
        assert_eq!(
            (lost.len(), whole % u64::try_from(BLOCK).expect("small")),
            (0, 0),
            "cut at {at}: {lost:?}"
        );
        assert_eq!(seen.lane.reader.synced(), whole, "cut at {at}");
        assert_eq!(seen.lane.lane.close(), 0);
        fs::remove_dir_all(&directory).expect("it is ours");
    }
}

#[test]
fn missing_files_are_told_exactly() {
    let copies = Copies::new();
    for file in files(&copies.sound()) {
        let name = file.file_name().expect("it has one").to_str().expect("UTF-8");
        let lost = copies.judge(&format!("without {name}"), |copy| {
            fs::remove_file(copy.join(name)).expect("it is there");
        });
        assert_eq!(lost > 0, name.ends_with(".segment"), "without {name}");
    }
}

#[test]
fn foreign_files_and_folders_do_no_harm() {
    let copies = Copies::new();
    let first = segments(&copies.sound()).remove(0);
    let name = |path: &Path| path.file_name().expect("it has one").to_str().expect("UTF-8").to_owned();
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 7] = [
        ("a folder with the name of a later segment", |copy| {
            fs::create_dir(copy.join("00000000000000ff-0000000000000fff.segment")).expect("there is room");
        }),
        ("a link to nothing with the name of a later segment", |copy| {
            std::os::unix::fs::symlink("/nowhere", copy.join("00000000000000ff-0000000000000fff.segment"))
                .expect("a link");
        }),
        ("a picture with the name of a later segment", |copy| {
            fs::write(copy.join("00000000000000ff-0000000000000fff.segment"), [0xff, 0xd8, 0xff])
                .expect("there is room");
        }),
        ("folders instead of our small files", |copy| {
            for name in ["epoch", "handed", "closed"] {
                // `handed` is there only when something was handed over.
                let _not_there = fs::remove_file(copy.join(name));
                fs::create_dir_all(copy.join(name).join("inside")).expect("there is room");
            }
        }),
        ("left-over temporary files", |copy| {
            for name in
                ["epoch.tmp", "handed.tmp", "closed.tmp", "0000000000000001-0000000000000000.segment.tmp"]
            {
                fs::write(copy.join(name), "half").expect("there is room");
            }
        }),
        ("a name that is no text", |copy| {
            use std::os::unix::ffi::OsStrExt;
            fs::write(copy.join(std::ffi::OsStr::from_bytes(&[0xff, 0xfe])), "x").expect("there is room");
        }),
        ("lost+found and a user's notes", |copy| {
            fs::create_dir(copy.join("lost+found")).expect("there is room");
            fs::write(copy.join("notes.segment"), "do not delete").expect("there is room");
        }),
    ];
    for (what, plant) in plants {
        assert_eq!(copies.judge(what, plant), 0, "{what}");
    }
    // A segment of another journal under a name of its own is no record of this one.
    let other = copies.ram.path().join("other");
    write(&other);
    let foreign = segments(&other).remove(0);
    let lost = copies.judge("a segment of another journal", |copy| {
        fs::copy(&foreign, copy.join("00000000000000ff-0000000000000fff.segment")).expect("there is room");
    });
    assert_eq!(lost, 0);
    let lost = copies.judge("the first segment of another journal", |copy| {
        fs::copy(&foreign, copy.join(name(&first))).expect("there is room");
    });
    assert!(lost > 0, "what it replaces is told");
}

/// A journal that moved to another box keeps its identity and its offsets.
#[test]
fn a_journal_moved_to_another_box_goes_on() {
    let copies = Copies::new();
    let epoch = Seen::open(&copies.sound()).lane.reader.epoch();
    let (events, _told) = Events::new();
    let options = LaneOptions { box_path: "Other site/other-box".to_owned(), ..small(&copies.sound()) };
    let mut moved = Lane::open(options, events).expect("it opens");
    assert_eq!((moved.reader.epoch(), moved.recovery.created), (epoch, false));
    assert_eq!(read_all(&mut moved.reader).len() as u64, RECORDS);
    Seen { lane: moved, told: Events::new().1 }.goes_on(&copies.press, "moved");
}
