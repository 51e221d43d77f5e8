//! The small state under power cuts, damage and a full disk. The version of sled and the extra fsync
//! were chosen by these tests (ADR 0008).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay::state::{Opened, State};

use super::image::{Cutter, Image, Ram};
use super::start::fill;
use super::victim::Victim;
use super::{CUTS, number_from_environment};

/// Names the directory in which the writing process saves until its disk is gone.
const DIRECTORY: &str = "FOREBAY_TEST_POWER_STATE";
/// Set when the writing process uses sled as it is, without our fsync: a mistake that must be noticed.
const MUTANT: &str = "FOREBAY_TEST_POWER_PLAIN_SLED";
/// Devices whose times are saved.
const DEVICES: u64 = 60;
/// Rounds in one directory; then a new one, so that beginnings are cut as well.
const ROUNDS_IN_ONE: u64 = 20;
/// Places of the large file that are damaged in the test command; `FOREBAY_ROT_SPOTS` sets more.
const SPOTS: u64 = 1000;

/// Which devices save number `number` gives the time `number`.
fn devices(number: u64) -> impl Iterator<Item = String> {
    let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (0..=number % 7).map(move |index| format!("Works1/Line/device-{}", (first + index * 31) % DEVICES))
}

/// What saves 1 to `number` leave: device → time.
fn after(number: u64) -> BTreeMap<String, i64> {
    let saves = (1..=number).flat_map(|number| devices(number).map(move |device| (device, number)));
    saves.map(|(device, number)| (device, i64::try_from(number).expect("few"))).collect()
}

fn save(state: &State, number: u64) -> Result<(), forebay::state::StateError> {
    let devices: Vec<String> = devices(number).collect();
    let time = i64::try_from(number).expect("few");
    state.save_last_good(devices.iter().map(|device| (device.as_str(), time)))
}

/// The latest time of all devices: the number of the last save.
fn number(state: &State) -> u64 {
    let times = (0..DEVICES).map(|index| state.last_good_us(&format!("Works1/Line/device-{index}")));
    times.max().and_then(|time| u64::try_from(time).ok()).unwrap_or(0)
}

fn write(directory: &Path, saves: u64) {
    let state = State::open(directory).expect("it opens").state;
    let first = number(&state) + 1;
    for number in first..first.saturating_add(saves) {
        save(&state, number).expect("a disk, or no process");
        println!("saved {number}");
    }
}

/// The same with sled alone.
fn write_plain(directory: &Path) {
    let database = sled::Config::new().path(directory).flush_every_ms(None).open().expect("it opens");
    for number in 1u64.. {
        for device in devices(number) {
            database.insert(device, &number.to_le_bytes()).expect("it takes it");
        }
        database.flush().expect("a disk, or no process");
        println!("saved {number}");
    }
}

/// The other process of the tests below. Run by itself, without a directory, it saves a little and ends.
#[test]
fn state_process() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) if std::env::var_os(MUTANT).is_some() => write_plain(Path::new(&directory)),
        Some(directory) => write(Path::new(&directory), u64::MAX),
        None => write(&tempfile::tempdir().expect("a folder").path().join("state"), 20),
    }
}

/// Saves in another process until the power is cut; the last save it reported before.
fn save_and_cut(
    image: &Image,
    cutter: &mut Cutter,
    directory: &Path,
    random: &mut fastrand::Rng,
    mutant: bool,
) -> u64 {
    let environment = [(DIRECTORY, directory.to_str().expect("UTF-8")), (MUTANT, "1")];
    let mut victim = Victim::start("power::state::state_process", &environment[..1 + usize::from(mutant)]);
    if random.u32(..5) > 0 {
        victim.wait_for_lines(random.usize(1..120));
    }
    std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
    let saved = victim.last("saved");
    cutter.cut(image);
    victim.end();
    saved
}

#[test]
fn power_cuts_lose_nothing_that_was_saved_and_the_state_always_opens() {
    let cuts = number_from_environment("FOREBAY_POWER_CUTS", CUTS);
    let seed = number_from_environment("FOREBAY_POWER_SEED", 20_261_121);
    println!("{cuts} power cuts, FOREBAY_POWER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut image = Image::new(48 << 20, 64 << 20);
    let mut cutter = Cutter::start();
    let (started, mut slowest) = (Instant::now(), Duration::ZERO);
    let (mut promised, mut saves) = (0, 0);
    for cut in 0..cuts {
        let folder = |round: u64| image.path().join(format!("state-{}", round / ROUNDS_IN_ONE));
        let directory = folder(cut);
        if cut % ROUNDS_IN_ONE == 0 {
            saves += promised;
            promised = 0;
            if let Some(old) = cut.checked_sub(1) {
                fs::remove_dir_all(folder(old)).expect("it is ours");
            }
        }
        promised = promised.max(save_and_cut(&image, &mut cutter, &directory, &mut random, false));
        image.unmount();
        image.mount();
        let begun = Instant::now();
        let opened = State::open(&directory).expect("it always opens");
        slowest = slowest.max(begun.elapsed());
        assert_eq!(
            opened.put_aside, None,
            "cut {cut} of FOREBAY_POWER_SEED={seed}: a power cut is no damage"
        );
        let found = number(&opened.state);
        assert!(found >= promised, "cut {cut}, seed {seed}: save {promised} was reported, {found} is left");
        for (device, time) in after(found) {
            assert_eq!(opened.state.last_good_us(&device), time, "cut {cut}, seed {seed}: {device}");
        }
        promised = found;
    }
    println!(
        "{cuts} cuts in {:.1} s: {} saves, 0 lost; opened in {} ms at most",
        started.elapsed().as_secs_f64(),
        saves + promised,
        slowest.as_millis()
    );
}

/// Why we sync ourselves: sled 0.34 alone reports saves that a power cut undoes.
#[test]
fn power_cuts_notice_that_sled_alone_does_not_sync() {
    let mut image = Image::new(48 << 20, 64 << 20);
    let (mut cutter, mut random) = (Cutter::start(), fastrand::Rng::with_seed(1));
    let noticed = (0..CUTS).find(|cut| {
        let directory = image.path().join(format!("plain-{cut}"));
        let saved = save_and_cut(&image, &mut cutter, &directory, &mut random, true);
        image.unmount();
        image.mount();
        let keys = sled::open(&directory).map_or(0, |database| database.len());
        keys < after(saved).len()
    });
    let cut = noticed.unwrap_or_else(|| panic!("{CUTS} power cuts notice nothing"));
    println!("sled without our fsync: noticed at cut {}", cut + 1);
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(target.parent().expect("it has one")).expect("a folder");
        fs::copy(&file, target).expect("a copy");
    }
}

/// Opens a damaged state: every value is the one of the last save, or something is said. Values are
/// never wrong, at most older. Then it must work again. Tells whether it was put aside.
fn judge_damaged(directory: &Path, saves: u64, what: &str) -> bool {
    let opened = State::open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
    let expected = after(saves);
    for index in 0..DEVICES {
        let device = format!("Works1/Line/device-{index}");
        let found = opened.state.last_good_us(&device);
        let right = expected.get(&device).copied().unwrap_or(0);
        if found != right {
            assert!(
                opened.put_aside.is_some(),
                "{what}: {device} has {found} instead of {right}, and nobody says so"
            );
            let was =
                u64::try_from(found).is_ok_and(|save| save <= saves && devices(save).any(|it| it == device));
            assert!(found == 0 || was, "{what}: {device} never had {found}");
        }
    }
    save(&opened.state, saves + 1).unwrap_or_else(|error| panic!("{what}: {error}"));
    let aside = opened.put_aside.is_some();
    drop(opened);
    let again = State::open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((number(&again.state), again.put_aside), (saves + 1, None), "{what}");
    aside
}

#[test]
fn damage_anywhere_in_the_state_is_noticed_and_got_over() {
    const SAVES: u64 = 25;
    let spots = number_from_environment("FOREBAY_ROT_SPOTS", SPOTS);
    let ram = Ram::mount(64 << 20);
    let (sound, damaged) = (ram.path().join("sound"), ram.path().join("damaged"));
    write(&sound, SAVES);
    // Most of sled's file is zeros that it does not read.
    let mut places = Vec::new();
    for file in files(&sound) {
        let content = fs::read(&file).expect("it can be read");
        places.extend(
            content.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| (file.clone(), at)),
        );
    }
    // The small files, on which everything depends, wholly; of the large one as much as there is time for.
    let (large, mut chosen): (Vec<_>, Vec<_>) =
        places.iter().cloned().partition(|(file, _)| file.ends_with("db"));
    let every = (large.len() / usize::try_from(spots).expect("few")).max(1);
    chosen.extend(large.into_iter().step_by(every));
    let (mut random, mut aside, started) = (fastrand::Rng::with_seed(7), 0, Instant::now());
    for (file, at) in &chosen {
        let at = *at;
        copy(&sound, &damaged);
        let name = file.strip_prefix(&sound).expect("it is below").to_owned();
        let mut content = fs::read(file).expect("it can be read");
        let how = random.u8(..4);
        match how {
            0 => content[at] = 0,
            1 => content[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
            2 => content.truncate(at),
            _ => content[at] ^= 1 << random.u32(..8),
        }
        fs::write(damaged.join(&name), content).expect("there is room");
        let what = format!("way {how} at {at} of {}", name.display());
        aside += u64::from(judge_damaged(&damaged, SAVES, &what));
        fs::remove_dir_all(&damaged).expect("it is ours");
        let _not_always_there = fs::remove_dir_all(damaged.with_extension("damaged"));
    }
    let (spots, places) = (chosen.len(), places.len());
    println!(
        "{spots} of {places} bytes damaged in {:.1} s: {aside} times put aside and made anew, no wrong value",
        started.elapsed().as_secs_f64()
    );
    assert!(aside > 0);
}

#[test]
fn files_of_the_state_that_are_missing_are_noticed() {
    const SAVES: u64 = 25;
    let ram = Ram::mount(64 << 20);
    let (sound, damaged) = (ram.path().join("sound"), ram.path().join("damaged"));
    write(&sound, SAVES);
    for file in files(&sound) {
        copy(&sound, &damaged);
        let name = file.strip_prefix(&sound).expect("it is below");
        fs::remove_file(damaged.join(name)).expect("it is ours");
        judge_damaged(&damaged, SAVES, &format!("without {}", name.display()));
        fs::remove_dir_all(&damaged).expect("it is ours");
    }
}

/// A disk that is full or read-only says nothing of the state: it is kept, and opens later.
#[test]
fn a_state_on_a_full_or_read_only_disk_is_not_taken_for_damaged() {
    let image = Image::new(16 << 20, 32 << 20);
    let directory = image.path().join("state");
    write(&directory, 25);
    for way in ["full", "read-only"] {
        let foreign = fill(&image.path());
        if way == "read-only" {
            image.remount("ro");
        }
        // It may open all the same, when it needs no room for that.
        if let Ok(opened) = State::open(&directory) {
            assert_eq!((number(&opened.state), opened.put_aside), (25, None), "{way}");
        }
        image.remount("rw");
        fs::remove_file(foreign).expect("it is ours");
        let opened = State::open(&directory).expect("the disk works again");
        assert_eq!((number(&opened.state), opened.put_aside), (25, None), "{way}");
    }
}

/// ENOSPC at every write: the disk has room for one block more each time.
#[test]
fn a_full_disk_costs_saves_and_nothing_else() {
    let ram = Ram::mount(24 << 20);
    let (directory, spare) = (ram.path().join("state"), ram.path().join("spare"));
    let state = State::open(&directory).expect("there is room").state;
    let (mut saved, mut failed) = (0, 0);
    for blocks in 0..48u64 {
        fs::write(&spare, vec![1; usize::try_from(blocks * 4096).expect("small")]).expect("there is room");
        let foreign = fill(ram.path());
        fs::remove_file(&spare).expect("it is ours");
        // Many saves, so that sled needs room for more than one segment.
        for _ in 0..40 {
            saved += 1;
            failed += u64::from(save(&state, saved).is_err());
        }
        assert_eq!(number(&state), saved, "what could not be saved is still known");
        fs::remove_file(foreign).expect("it is ours");
        saved += 1;
        save(&state, saved).expect("there is room again");
        let copied = ram.path().join("copy");
        copy(&directory, &copied);
        let Opened { state: again, put_aside } = State::open(&copied).expect("it opens");
        assert_eq!((number(&again), put_aside), (saved, None), "after {blocks} blocks");
        for (device, time) in after(saved) {
            assert_eq!(again.last_good_us(&device), time, "{device} after {blocks} blocks");
        }
        drop(again);
        fs::remove_dir_all(copied).expect("it is ours");
    }
    println!("{failed} of {saved} saves failed on a full disk");
    assert!(failed > 0);
}
