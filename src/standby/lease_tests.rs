//! What may be concluded from the lease, and how it goes together with the heartbeat.

use std::time::{Duration, Instant};

use super::Says;
use super::judge::decide;
use super::lease::{Evidence, Leases, Terms};
use crate::replicate::lease::Look;

const VALID_S: u64 = 15;
const AFTER_S: u64 = 5;

/// A topic, its active box and the standby that looks at it once a second.
struct Plant {
    start: Instant,
    valid_s: u64,
    second: u64,
    evidence: Evidence,
    leases: Leases,
    /// What stands in the topic.
    topic: Vec<Vec<u8>>,
    read: usize,
    kafka_answers: bool,
}

impl Plant {
    fn new() -> Self {
        Self::with_lease(VALID_S)
    }

    fn with_lease(valid_s: u64) -> Self {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut plant = Self {
            start,
            valid_s,
            second: 0,
            evidence: Evidence::new("box-a", seconds(AFTER_S), seconds(valid_s), start),
            leases: Leases::new("box-a", seconds(valid_s)),
            topic: Vec::new(),
            read: 0,
            kafka_answers: true,
        };
        plant.evidence.take(&Look::Begun, start);
        plant
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    fn end(&self) -> i64 {
        i64::try_from(self.topic.len()).expect("a few")
    }

    fn write(&mut self, is_last: bool) {
        let value = self.leases.next(is_last);
        self.topic.push(value);
    }

    /// One second, at the beginning of which the standby looks.
    fn pass(&mut self, writes: bool) -> Says {
        let now = self.now();
        if self.kafka_answers {
            self.evidence.take(&Look::Asked { at: now, end: self.end() }, now);
        } else {
            self.evidence.take(&Look::Blind("nothing listens"), now);
        }
        if writes && self.second.is_multiple_of(self.valid_s / 3) {
            self.write(false);
        }
        if self.kafka_answers {
            self.read(now);
        }
        self.second += 1;
        self.evidence.says(self.now())
    }

    fn read(&mut self, now: Instant) {
        for (offset, value) in self.topic.iter().enumerate().skip(self.read) {
            let offset = i64::try_from(offset).expect("a few");
            self.evidence.take(&Look::Record { offset, key: b"box-a", value }, now);
        }
        self.read = self.topic.len();
        self.evidence.take(&Look::ReadTo(self.end()), now);
    }

    /// The last of so many seconds.
    fn pass_all(&mut self, seconds: u64, writes: bool) -> Says {
        let mut says = Says::Nothing;
        for _ in 0..seconds {
            says = self.pass(writes);
        }
        says
    }
}

#[test]
fn a_lease_that_is_written_says_that_the_box_lives_and_then_that_it_is_back() {
    let mut plant = Plant::new();
    assert_eq!(plant.pass(true), Says::Lives);
    assert_eq!(plant.pass_all(10, true), Says::IsBack);
    assert_eq!(plant.pass_all(600, true), Says::IsBack);
}

#[test]
fn a_lease_that_is_not_written_runs_out_and_begins_again_with_the_second_of_a_run() {
    let mut plant = Plant::new();
    plant.pass_all(11, true);
    let says: Vec<_> = (0..20).map(|_| plant.pass(false)).collect();
    let gone = says.iter().position(|says| *says == Says::Gone).expect("it runs out");
    assert!((14..=17).contains(&gone), "after {gone} s");
    assert!(says[..gone].iter().all(|says| !matches!(says, Says::Gone | Says::Nothing)), "{says:?}");
    assert_eq!(plant.pass_all(4000, false), Says::Gone);
    plant.write(false);
    assert_eq!(plant.pass(false), Says::Lives, "it was written since the question before");
    assert_eq!(plant.pass_all(5, true), Says::IsBack);
}

#[test]
fn a_box_that_starts_again_and_again_is_not_back() {
    let mut plant = Plant::new();
    for _ in 0..5 {
        plant.leases = Leases::new("box-a", Duration::from_secs(VALID_S));
        assert_eq!(plant.pass_all(5, true), Says::Lives);
    }
}

#[test]
fn a_box_that_stops_in_order_holds_no_longer_than_the_allowed_silence() {
    let mut plant = Plant::new();
    plant.pass_all(11, true);
    let now = plant.now();
    plant.evidence.take(&Look::Asked { at: now, end: plant.end() }, now);
    plant.write(true);
    plant.read(now);
    plant.second += 1;
    assert_eq!(plant.evidence.says(plant.now()), Says::Lives);
    assert_eq!(plant.pass_all(AFTER_S + 1, false), Says::Gone);
}

#[test]
fn while_kafka_is_out_of_reach_nothing_is_said_and_what_was_written_meanwhile_counts() {
    let mut plant = Plant::new();
    plant.pass_all(11, true);
    plant.kafka_answers = false;
    let says: Vec<_> = (0..60).map(|_| plant.pass(true)).collect();
    assert!(!says.contains(&Says::Gone), "{says:?}");
    assert_eq!(says.last(), Some(&Says::Nothing));
    assert_eq!(plant.evidence.trouble(), Some("nothing listens"));
    plant.kafka_answers = true;
    plant.second = plant.second.next_multiple_of(5) + 1;
    let says: Vec<_> = (0..30).map(|_| plant.pass(true)).collect();
    assert_eq!(says[0], Says::NotYet, "it has lived meanwhile");
    assert!(!says.contains(&Says::Gone), "{says:?}");
    assert_eq!(says.last(), Some(&Says::IsBack));
    assert_eq!(plant.evidence.trouble(), None);
}

#[test]
fn an_outage_of_kafka_never_passes_for_silence() {
    let mut plant = Plant::new();
    plant.pass_all(11, true);
    plant.kafka_answers = false;
    plant.pass_all(60, false);
    plant.kafka_answers = true;
    assert_eq!(plant.pass(false), Says::NotYet, "the box could not write either");
    assert_ne!(plant.pass_all(VALID_S - 2, false), Says::Gone);
    assert_eq!(plant.pass_all(3, false), Says::Gone, "it could for so long");
}

#[test]
fn an_outage_that_is_shorter_than_the_lease_is_no_silence_either() {
    for valid_s in [6, 9, 15] {
        for outage in 2..valid_s {
            let mut plant = Plant::with_lease(valid_s);
            // The next lease is due when the outage begins.
            plant.pass_all(2 * valid_s, true);
            plant.kafka_answers = false;
            plant.pass_all(outage, false);
            plant.kafka_answers = true;
            // The box needs a moment to connect anew.
            let says: Vec<_> = (0..2).map(|_| plant.pass(false)).collect();
            assert!(!says.contains(&Says::Gone), "lease {valid_s} s, outage {outage} s: {says:?}");
            plant.write(false);
            assert_ne!(plant.pass(false), Says::Gone, "lease {valid_s} s, outage {outage} s");
            assert_eq!(plant.pass_all(2 * valid_s, true), Says::IsBack);
        }
    }
}

#[test]
fn outages_again_and_again_do_not_hide_that_the_box_is_gone() {
    let mut plant = Plant::new();
    plant.pass_all(11, true);
    let mut seconds = 0;
    loop {
        plant.kafka_answers = seconds % 4 == 0;
        seconds += 1;
        if plant.pass(false) == Says::Gone {
            break;
        }
        assert!(seconds < 100, "never");
    }
    assert!(seconds > VALID_S, "{seconds}");
}

#[test]
fn a_right_that_is_missing_is_no_proof_that_the_box_is_gone() {
    let mut plant = Plant::new();
    for _ in 0..60 {
        let now = plant.now();
        // The end may be asked for, the records may not be read.
        plant.evidence.take(&Look::Begun, now);
        plant.evidence.take(&Look::Asked { at: now, end: 7 }, now);
        plant.evidence.take(&Look::Blind("may not read"), now);
        plant.second += 1;
        assert_ne!(plant.evidence.says(plant.now()), Says::Gone);
    }
    assert_eq!(plant.evidence.says(plant.now()), Says::Nothing);
}

#[test]
fn other_boxes_and_nonsense_are_no_leases() {
    let mut plant = Plant::new();
    let terms =
        Terms { edge: "box-c".into(), boot: "1".into(), number: 0, valid_ms: u64::MAX, time: String::new() };
    let other = serde_json::to_vec(&terms).expect("JSON");
    for second in 0..40 {
        let now = plant.now();
        plant.evidence.take(&Look::Asked { at: now, end: second }, now);
        for (key, value) in [
            (&b"box-c"[..], &other[..]),
            (b"box-a", &other[..]),
            (b"box-a", b"{}"),
            (b"box-a", &[b' '; 5000]),
        ] {
            plant.evidence.take(&Look::Record { offset: second, key, value }, now);
        }
        plant.evidence.take(&Look::ReadTo(second + 1), now);
        plant.second += 1;
    }
    assert_eq!(plant.evidence.says(plant.now()), Says::Gone);
}

#[test]
fn a_lease_holds_for_an_hour_at_most_whatever_it_says() {
    let mut plant = Plant::new();
    plant.leases = Leases::new("box-a", Duration::MAX);
    plant.pass(true);
    assert_eq!(plant.pass_all(3598, false), Says::Lives);
    assert_eq!(plant.pass_all(5, false), Says::Gone);
}

#[test]
fn heartbeat_and_lease_together() {
    use Says::{Gone, IsBack, Lives, NotYet, Nothing};
    let (reads, waits, as_before) = (Some(true), Some(false), None);
    for (heartbeat, lease, expected) in [
        // One witness alone.
        (Some(Gone), None, reads),
        (Some(Lives), None, as_before),
        (Some(IsBack), None, waits),
        (Some(Nothing), None, as_before),
        (None, Some(Gone), reads),
        (None, Some(Lives), as_before),
        (None, Some(IsBack), waits),
        (None, Some(NotYet), as_before),
        (None, Some(Nothing), as_before),
        // The local network is cut, the active box lives.
        (Some(Gone), Some(IsBack), waits),
        (Some(Gone), Some(Lives), as_before),
        // It is really gone, or its way to Kafka has gone with it.
        (Some(Gone), Some(Gone), reads),
        // Kafka was not looked at long enough.
        (Some(Gone), Some(NotYet), as_before),
        // Kafka is out of reach from here: the heartbeat decides.
        (Some(Gone), Some(Nothing), reads),
        // The active box has lost Kafka only: it keeps what it reads on its disk.
        (Some(Lives), Some(Gone), as_before),
        (Some(IsBack), Some(Gone), waits),
        // No secret: the lease alone.
        (Some(Nothing), Some(Gone), reads),
        (Some(Nothing), Some(Nothing), as_before),
        (None, None, as_before),
    ] {
        assert_eq!(decide([heartbeat, lease]), expected, "{heartbeat:?} {lease:?}");
    }
}
