//! How replication is doing, for the page, the metrics and people.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::{now_us, rfc3339};

/// How a lane is doing. Shared: the replicator writes, everyone else reads.
#[derive(Debug, Default)]
pub struct ReplicationStatus {
    inner: Mutex<Replication>,
}

/// One look at a [`ReplicationStatus`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replication {
    /// What it is doing.
    pub state: State,
    /// First offset that live data has not yet committed in Kafka; `None` before the first contact.
    pub next_offset: Option<u64>,
    /// All offsets below are committed; less than `next_offset` while a backlog waits.
    pub complete_below: Option<u64>,
    /// Ranges below `next_offset` that are not committed, from the first offset to before the second.
    pub left: Vec<(u64, u64)>,
    /// Records committed since the process started.
    pub records: u64,
    /// Bytes of values in them, before compression.
    pub bytes: u64,
    /// When the last transaction was committed, microseconds since 1970 UTC; 0 = never.
    pub last_commit_us: i64,
    /// From the newest committed record's edge time to its commit, microseconds.
    pub delay_us: i64,
    /// Transactions committed.
    pub transactions: u64,
    /// Transactions given up and sent again.
    pub aborts: u64,
    /// Records that were too large for Kafka and replaced by a notice.
    pub too_large: u64,
    /// Records that Kafka refused and that went to the dead-letter topic.
    pub dead_letters: u64,
    /// Records that Kafka refused and that are nowhere in it.
    pub rejected: u64,
    /// Connections made anew because certificates or passwords have changed.
    pub renewals: u64,
    /// Of `records`, those that were sent after newer ones.
    pub backfilled_records: u64,
    /// Bytes given to the network by the producers, as librdkafka counts them; some seconds late.
    pub wire_bytes: u64,
    /// What waits while newer data goes first; `None` = nothing.
    pub backlog: Option<Backlogged>,
    /// How often a producer was announced to the brokers, which shuts out others of this name.
    pub announced: u64,
    /// How often somebody else has announced himself under our name while we were sending.
    pub shut_out: u64,
    /// The last time, microseconds since 1970 UTC; 0 = never.
    pub shut_out_us: i64,
}

/// In the boot id of who sends a backlog of another box: between its number and the path of the box
/// that really sends.
const IMPORTED_BY: &str = " import by ";

/// Boot id of a box that sends a backlog of another one, with the name by which that can tell it.
pub fn importer_boot(site: &str, edge: &str) -> String {
    format!("{:016x}{IMPORTED_BY}{site}/{edge}", fastrand::u64(..))
}

/// Path of the box that really sends, if this is the boot id of an import.
pub fn importer(boot: &str) -> Option<&str> {
    boot.split_once(IMPORTED_BY).map(|(_, path)| path)
}

/// What waits while newer data goes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Backlogged {
    /// Records, at most: evicted ones are counted until it is their turn.
    pub records: u64,
    /// How long it will still take, seconds; `None` = not yet known.
    pub left_s: Option<f64>,
    /// The daily window is closed.
    pub waits_for_window: bool,
}

/// What a lane's replicator is doing. Times are microseconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// First attempt since the start.
    #[default]
    Connecting,
    /// Kafka takes what comes.
    Up,
    /// Kafka cannot be reached or is in trouble; tried again by itself.
    Waiting {
        /// Since when.
        since_us: i64,
        /// Why, in words.
        cause: String,
    },
    /// Kafka answers and says no: someone must grant or create what `cause` names.
    Refused {
        /// Since when.
        since_us: i64,
        /// What is missing and where, in words.
        cause: String,
    },
    /// Kafka does not let us in: password or certificate are wrong.
    NotLetIn {
        /// Since when.
        since_us: i64,
        /// Whom it does not let in, and what it says.
        cause: String,
    },
    /// What this box was told about Kafka cannot work: a file or a secret is missing.
    Settings {
        /// Since when.
        since_us: i64,
        /// Which, in words.
        cause: String,
    },
    /// Kafka takes what comes, but the disk of this box does not give what is to be sent next; tried
    /// again by itself. With fresh data first only the backlog waits.
    Unreadable {
        /// Since when.
        since_us: i64,
        /// What the disk says, in words.
        cause: String,
    },
    /// Another process writes under our name; we do not fight it.
    Fenced {
        /// Since when.
        since_us: i64,
        /// Boot id of the other one.
        by: String,
    },
    /// Someone has paused it.
    Paused {
        /// Since when.
        since_us: i64,
        /// Who.
        by: String,
    },
    /// The way to the second cluster, while it is not needed.
    Standby,
    /// Ended on request.
    Stopped,
}

impl State {
    /// Stable word for metrics and API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Waiting { .. } => "waiting",
            Self::Refused { .. } => "refused",
            Self::NotLetIn { .. } => "not-let-in",
            Self::Settings { .. } => "settings",
            Self::Unreadable { .. } => "unreadable",
            Self::Fenced { .. } => "fenced",
            Self::Paused { .. } => "paused",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
        }
    }

    /// Path of the box that sends a backlog of ours just now, and for which we wait.
    pub fn importer(&self) -> Option<&str> {
        if let Self::Fenced { by, .. } = self { importer(by) } else { None }
    }

    /// Since when it has been so, where that matters.
    pub fn since_us(&self) -> Option<i64> {
        match self {
            Self::Waiting { since_us, .. }
            | Self::Refused { since_us, .. }
            | Self::NotLetIn { since_us, .. }
            | Self::Settings { since_us, .. }
            | Self::Unreadable { since_us, .. }
            | Self::Fenced { since_us, .. }
            | Self::Paused { since_us, .. } => Some(*since_us),
            Self::Connecting | Self::Up | Self::Standby | Self::Stopped => None,
        }
    }
}

/// In words for someone who knows the machine and not Kafka.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting to Kafka"),
            Self::Up => f.write_str("data goes to Kafka"),
            Self::Waiting { cause, .. } => {
                write!(
                    f,
                    "Kafka does not take data: {cause}. Everything is kept on disk and sent later by itself"
                )
            }
            Self::Refused { cause, .. } => {
                write!(
                    f,
                    "Kafka refuses: {cause}. Everything is kept on disk until the IT department has changed this"
                )
            }
            Self::NotLetIn { cause, .. } => {
                write!(f, "Kafka does not let this box in: {cause}. Everything is kept on disk until it does")
            }
            Self::Settings { cause, .. } => {
                write!(f, "this box's settings: {cause}. Everything is kept on disk until this is mended")
            }
            Self::Unreadable { cause, since_us } => write!(
                f,
                "disk cannot be read: {cause}, trying again since {}. Nothing is lost by that yet; look at the disk, its \
                 card or its cable",
                rfc3339(*since_us)
            ),
            Self::Fenced { by, .. } => match importer(by) {
                Some(path) => write!(
                    f,
                    "{path} sends a backlog of this box that was imported there. This box sends nothing meanwhile, \
                     keeps everything on disk and goes on by itself when that is done"
                ),
                None => write!(
                    f,
                    "a second box with the same name writes to Kafka (its boot id is {by}). This box has stopped \
                     sending and keeps everything on disk; give each box its own edge name"
                ),
            },
            Self::Paused { by, .. } => write!(
                f,
                "paused by {by}: nothing is sent until `forebay resume`, everything is kept on disk"
            ),
            Self::Standby => f.write_str("the second Kafka is not needed"),
            Self::Stopped => f.write_str("replication has ended"),
        }
    }
}

impl ReplicationStatus {
    /// A copy of everything.
    pub fn snapshot(&self) -> Replication {
        self.lock().clone()
    }

    /// Replaces the state. While the kind of trouble stays the same its beginning is kept.
    /// Returns true when the state is new, so that it is logged once.
    pub(super) fn set(&self, state: State) -> bool {
        let mut inner = self.lock();
        let since = inner.state.since_us();
        let state = match (state, since) {
            (State::Waiting { cause, .. }, Some(since_us)) if inner.state.code() == "waiting" => {
                State::Waiting { since_us, cause }
            }
            (State::Refused { cause, .. }, Some(since_us)) if inner.state.code() == "refused" => {
                State::Refused { since_us, cause }
            }
            (State::NotLetIn { cause, .. }, Some(since_us)) if inner.state.code() == "not-let-in" => {
                State::NotLetIn { since_us, cause }
            }
            (State::Settings { cause, .. }, Some(since_us)) if inner.state.code() == "settings" => {
                State::Settings { since_us, cause }
            }
            (State::Unreadable { cause, .. }, Some(since_us)) if inner.state.code() == "unreadable" => {
                State::Unreadable { since_us, cause }
            }
            (State::Fenced { by, .. }, Some(since_us)) if inner.state.code() == "fenced" => {
                State::Fenced { since_us, by }
            }
            (state, _) => state,
        };
        let new = inner.state != state;
        inner.state = state;
        new
    }

    /// Nothing is paused any more; whether Kafka takes data shows when it has been asked.
    pub(super) fn resumed(&self) {
        let mut inner = self.lock();
        if matches!(inner.state, State::Paused { .. }) {
            inner.state = State::Connecting;
        }
    }

    /// Waiting since now, or since it began.
    pub(super) fn waiting(&self, cause: String) -> bool {
        self.set(State::Waiting { since_us: now_us(), cause })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Replication> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_name_is_used_for_an_import_learns_by_whom() {
        let by = importer_boot("Werk1", "box-2");
        let fenced = State::Fenced { since_us: 1, by };
        assert_eq!(fenced.importer(), Some("Werk1/box-2"));
        let words = fenced.to_string();
        assert!(words.starts_with("Werk1/box-2 sends a backlog of this box"), "{words}");
        let second = State::Fenced { since_us: 1, by: "00112233".into() };
        assert_eq!(second.importer(), None);
        assert!(second.to_string().contains("a second box with the same name"));
    }

    #[test]
    fn trouble_keeps_its_beginning() {
        let status = ReplicationStatus::default();
        assert!(status.set(State::Waiting { since_us: 1, cause: "no answer".to_owned() }));
        assert!(!status.set(State::Waiting { since_us: 2, cause: "no answer".to_owned() }));
        assert!(status.set(State::Waiting { since_us: 3, cause: "wrong name".to_owned() }));
        assert_eq!(status.snapshot().state.since_us(), Some(1));
        assert!(status.set(State::Up));
        assert!(status.set(State::Waiting { since_us: 9, cause: "no answer".to_owned() }));
        assert_eq!(status.snapshot().state.since_us(), Some(9));
    }
}
