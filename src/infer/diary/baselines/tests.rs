//! Baselines as they are kept and stored.

use super::*;
use crate::infer::adapt::TagState;

const DAY_US: i64 = 86_400_000_000;
const NONE: [usize; 0] = [];
const IN_JOURNAL: Duration = Duration::from_secs(10);

fn learned(hash: &str, offset: f64) -> State {
    State { forebay: 1, hash: hash.to_owned(), tags: vec![TagState { accepted: 0.0, offset, slow: 0.5 }] }
}

/// The places of a disk.
#[derive(Default)]
struct Places(BTreeMap<String, Vec<u8>>);

impl Places {
    fn write(&mut self, baselines: &mut Baselines, now: Instant) -> usize {
        let changed = baselines.changed(true, now, IN_JOURNAL);
        let count = changed.len();
        self.0.extend(changed);
        count
    }

    /// As the state lists them: what is empty is not there.
    fn read(&self) -> Baselines {
        let mut read = Baselines::default();
        for (piece, value) in self.0.iter().filter(|(_, value)| !value.is_empty()) {
            let (kind, place) = piece.split_once(' ').unwrap_or((piece, ""));
            assert_eq!(kind, "drift");
            read.take(place, value).ok();
        }
        read
    }
}

#[test]
fn each_version_has_a_place_of_its_own() {
    let (mut baselines, mut places, now) = (Baselines::default(), Places::default(), Instant::now());
    assert_eq!(baselines.begin("a"), None);
    assert_eq!(baselines.keep(learned("a", 0.1), false, 1), None);
    assert_eq!(baselines.keep(learned("b", 0.2), false, 2), None);
    assert_eq!(baselines.keep(learned("a", 0.3), false, 3), None);
    assert_eq!(baselines.changed(false, now, IN_JOURNAL), [], "not by itself before the scores are");
    assert_eq!(places.write(&mut baselines, now), 2);
    assert_eq!(places.write(&mut baselines, now), 0, "nothing has changed");
    baselines.keep(learned("b", 0.4), true, 4);
    assert_eq!(baselines.changed(false, now, IN_JOURNAL).len(), 1, "what a person accepts is written soon");
    baselines.keep(learned("b", 0.5), false, 5);
    assert_eq!(places.write(&mut baselines, now), 1, "the other is as it is stored");
    let mut read = places.read();
    assert_eq!((read.begin("a"), read.begin("b")), (Some(learned("a", 0.3)), Some(learned("b", 0.5))));
    assert_eq!(read.begin("c"), None);
}

#[test]
fn of_many_versions_those_in_use_last_are_kept() {
    let (mut baselines, mut places, now) = (Baselines::default(), Places::default(), Instant::now());
    for number in 0..30_u8 {
        baselines.keep(learned(&format!("hash {number}"), 0.1), false, i64::from(number) * DAY_US);
        // The first one runs again and again.
        baselines.keep(learned("hash 0", f64::from(number)), false, i64::from(number) * DAY_US + 1);
        places.write(&mut baselines, now);
    }
    assert_eq!(places.0.len(), BASELINES_MAX);
    for mut kept in [baselines, places.read()] {
        let found: Vec<u8> =
            (0..30).filter(|number| kept.begin(&format!("hash {number}")).is_some()).collect();
        assert_eq!(found, [0, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
        assert_eq!(kept.begin("hash 0"), Some(learned("hash 0", 29.0)));
    }
}

#[test]
fn the_single_baseline_of_an_earlier_forebay_is_taken_and_its_place_left() {
    let mut places = Places::default();
    places.0.insert("drift".into(), learned("a", 0.7).to_json().into_bytes());
    let mut baselines = places.read();
    assert_eq!(baselines.begin("a"), Some(learned("a", 0.7)));
    assert_eq!(baselines.begin("b"), None, "it is of one version only");
    assert_eq!(places.write(&mut baselines, Instant::now()), 2);
    assert_eq!(places.0["drift"], b"");
    assert_eq!(places.read().begin("a"), Some(learned("a", 0.7)));
    // What cannot be read is dropped, and said.
    places.0.insert("drift".into(), b"{\"hash\": 7}".to_vec());
    places.0.insert("drift 3".into(), b"\xff".to_vec());
    let mut baselines = Baselines::default();
    assert!(baselines.take("", &places.0["drift"]).unwrap_err().contains("invalid type"));
    assert!(baselines.take("3", &places.0["drift 3"]).is_err());
    places.write(&mut baselines, Instant::now());
    assert_eq!(places.0["drift"], b"");
}

#[test]
fn what_was_stored_is_more_than_some_minutes_and_less_than_what_a_person_accepted() {
    for accepted in [false, true] {
        let (mut places, mut before, now) = (Places::default(), Baselines::default(), Instant::now());
        before.keep(learned("a", 0.7), false, 5);
        before.keep(learned("b", 0.8), false, 5);
        places.write(&mut before, now);
        let mut baselines = Baselines::default();
        assert_eq!(baselines.begin("b"), None);
        baselines.keep(learned("a", 0.1), accepted, 9);
        for (piece, value) in &places.0 {
            baselines.take(piece.strip_prefix("drift ").unwrap(), value).unwrap();
        }
        let expected = if accepted { 0.2 } else { 0.7 };
        let told = baselines.keep(learned("a", 0.2), false, 10);
        assert_eq!(told, (!accepted).then(|| learned("a", 0.7)), "only now it hears of it");
        places.write(&mut baselines, now);
        assert_eq!(places.read().begin("a"), Some(learned("a", expected)));
        assert_eq!(places.0.len(), 2, "each in the place it had");
        // It had begun without, and had not kept anything yet.
        assert_eq!(baselines.keep(learned("b", 0.1), false, 10), Some(learned("b", 0.8)));
        assert_eq!(baselines.keep(learned("b", 0.81), false, 11), None);
    }
}

#[test]
fn a_tag_is_told_of_once_until_it_has_clearly_fallen_back() {
    let (mut baselines, now) = (Baselines::default(), Instant::now());
    let mut told = |hash: &str, used: [f64; 2]| {
        baselines.nearly_used_up(hash, &[("oil", used[0]), ("vib", used[1])], now)
    };
    assert_eq!(told("a", [1.0, 1.0]), NONE, "nothing is kept of it");
    baselines.keep(learned("a", 0.1), false, 1);
    baselines.keep(learned("b", 0.1), false, 1);
    let mut told = |hash: &str, used: [f64; 2]| {
        baselines.nearly_used_up(hash, &[("oil", used[0]), ("vib", used[1])], now)
    };
    assert_eq!(told("a", [0.79, 0.0]), NONE);
    assert_eq!(told("a", [0.8, 0.5]), [0]);
    for used in [0.81, 0.79, 0.6, 0.85, 1.0] {
        assert_eq!(told("a", [used, 0.0]), NONE, "{used}");
    }
    assert_eq!(told("a", [0.9, 0.9]), [1], "each tag for itself");
    assert_eq!(told("b", [0.9, 0.9]), [0, 1], "and each version");
    assert_eq!(told("a", [0.59, 0.9]), NONE);
    assert_eq!(told("a", [0.9, 0.9]), [0]);
}

#[test]
fn what_was_told_is_noted_when_it_is_in_the_journal_and_outlives_a_restart() {
    let (mut baselines, mut places, now) = (Baselines::default(), Places::default(), Instant::now());
    let used = [("oil", 0.9)];
    baselines.keep(learned("a", 0.1), false, 1);
    assert_eq!(baselines.nearly_used_up("a", &used, now), [0]);
    places.write(&mut baselines, now + Duration::from_secs(9));
    assert_eq!(places.read().nearly_used_up("a", &used, now), [0], "a crash may have swallowed it");
    let later = now + Duration::from_secs(11);
    places.0.extend(baselines.changed(false, later, IN_JOURNAL));
    let mut read = places.read();
    assert_eq!(read.nearly_used_up("a", &used, later), NONE);
    assert_eq!(read.nearly_used_up("a", &[("oil", 0.3)], later), NONE);
    places.0.extend(read.changed(false, later, IN_JOURNAL));
    assert_eq!(places.read().nearly_used_up("a", &used, later), [0], "it had fallen back");
}
