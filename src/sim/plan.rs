//! What this seed has in store: sizes and limits of the box, and which kinds of faults happen.

use std::time::Duration;

use super::world::TELEMETRY;
use crate::journal::memory_disk::Fate;
use crate::lane::LaneOptions;
use crate::replicate::{Backfill, Options};

/// Kinds of faults; each seed has some of them, because rare things happen between frequent ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process dies, now or in the middle of a change to the disk; the power with it or not.
    Death,
    /// Syncs, writes or removals fail.
    BadDisk,
    /// No room on the disk, or it may only be read.
    FullDisk,
    /// Every change to the disk takes long.
    SlowDisk,
    /// A byte decays.
    Rot,
    /// After a power cut a file is gone.
    LostFile,
    /// Requests and answers are lost.
    Loss,
    /// No network, for a while or for longer than the broker remembers.
    Outage,
    /// A second box with the same name.
    Intruder,
    /// The broker forgets its producers, or a topic is made again.
    Broker,
    /// The wall clock jumps.
    Clock,
}

const KINDS: [Kind; 11] = [
    Kind::Death,
    Kind::BadDisk,
    Kind::FullDisk,
    Kind::SlowDisk,
    Kind::Rot,
    Kind::LostFile,
    Kind::Loss,
    Kind::Outage,
    Kind::Intruder,
    Kind::Broker,
    Kind::Clock,
];

/// More bytes than any run writes.
const PLENTY_BYTES: usize = 1 << 24;
const PLENTY: u64 = PLENTY_BYTES as u64;

/// See the module.
#[derive(Debug)]
pub struct Plan {
    pub steps: u32,
    pub devices: usize,
    pub kinds: Vec<Kind>,
    /// Nothing breaks any more.
    pub is_calm: bool,
    /// For a while the disks give errors in the place of bytes.
    pub reads_fail: bool,
    pub transaction_timeout: Duration,
    pub producer_expiry: Duration,
    budget_bytes: u64,
    segment_bytes: u64,
    sync_interval: Duration,
    sync_bytes: usize,
    queue_len: usize,
    transaction_records: usize,
    commit_interval: Duration,
    backfill: Backfill,
}

impl Plan {
    pub fn new(fate: &mut Fate) -> Self {
        let mut of = |choices: &[usize]| choices[fate.below(choices.len())];
        let ms = |number: usize| Duration::from_millis(number as u64);
        Self {
            steps: u32::try_from(of(&[300, 800, 1500])).unwrap(),
            devices: of(&[1, 2, 4]),
            kinds: Vec::new(),
            is_calm: false,
            reads_fail: false,
            transaction_timeout: ms(of(&[10_000, 60_000])),
            producer_expiry: ms(of(&[30_000, 600_000])),
            budget_bytes: of(&[6_000, 20_000, PLENTY_BYTES]) as u64,
            segment_bytes: of(&[300, 1_000, 4_000]) as u64,
            sync_interval: ms(of(&[0, 50, 500])),
            sync_bytes: of(&[200, 2_000, 100_000]),
            queue_len: of(&[4, 64, 1024]),
            // The replicator begins with an eighth of it.
            transaction_records: of(&[2, 80, 8_000]),
            commit_interval: ms(of(&[0, 100, 1_000])),
            backfill: match of(&[0, 0, 1_000, 10_000]) {
                0 => Backfill::InOrder,
                after_ms => Backfill::LiveFirst { after: ms(after_ms), window: None },
            },
        }
        .with_kinds(fate)
    }

    fn with_kinds(mut self, fate: &mut Fate) -> Self {
        self.kinds = KINDS.into_iter().filter(|_| fate.below(5) < 2).collect();
        self
    }

    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Options of a lane.
    pub fn lane(&self, lane: usize, options: LaneOptions) -> LaneOptions {
        LaneOptions {
            budget_bytes: if lane == TELEMETRY { self.budget_bytes } else { PLENTY },
            segment_bytes: self.segment_bytes,
            sync_interval: self.sync_interval,
            sync_bytes: self.sync_bytes,
            queue_len: self.queue_len,
            // Every error passes before that, so nothing may be passed over.
            skip_unreadable_after: Duration::from_secs(365 * 24 * 3600),
            ..options
        }
    }

    /// Whether the lane's budget is ever reached. The lane of events keeps all, so that nothing
    /// that was told is lost.
    pub fn is_short_of_room(&self, lane: usize) -> bool {
        lane == TELEMETRY && self.budget_bytes < PLENTY
    }

    pub fn kafka(&self, options: Options) -> Options {
        Options {
            transaction_timeout: self.transaction_timeout,
            transaction_records_max: self.transaction_records,
            commit_interval: self.commit_interval,
            backfill: self.backfill,
            ..options
        }
    }
}
