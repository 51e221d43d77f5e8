//! What the page must know beside the twin: numbers of the box, the journal, the way to IT and
//! the models. Plain copies; the page never waits for those who know them.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::device::Text;
use crate::event::Event;
use crate::infer::episode::{Episode, Severity};
use crate::infer::trend::Hour;
use crate::standby::Report;
use crate::twin::Cause;

/// Answers the page's questions. Every call returns a copy at once: no waiting, no I/O.
pub trait Facts: Send + Sync {
    /// Who the box is.
    fn identity(&self) -> Identity;

    /// The way to Kafka.
    fn to_it(&self) -> ToIt;

    /// Room on the disk.
    fn reserve(&self) -> Reserve;

    /// One entry for each model and device.
    fn predictions(&self) -> Vec<Prediction>;

    /// The same models with what they have found so far: for the page about them only, as it is a lot.
    fn watching(&self) -> Vec<Watching>;

    /// Machines whose files have faults: they are not read, or run on as they did before.
    fn not_read(&self) -> Vec<NotRead>;

    /// How two boxes share the plant; `None` = there is only this one.
    fn standby(&self) -> Option<Report> {
        None
    }

    /// The certificates that servers have shown, those of one machine together.
    fn certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }

    /// The latest events, newest first, about [`EVENTS_SHOWN_MAX`].
    fn events(&self) -> Vec<Event>;

    /// Why polling or the journal does not work, one text each; empty when they do. This is what
    /// `/healthz` answers, so neither Kafka nor a device that is away belongs here.
    fn stopped(&self) -> Vec<Text>;

    /// Further numbers for `/metrics`.
    fn metrics(&self) -> Vec<Metric>;

    /// A curve out of the past. The one call that reads the disk, for [`TREND_READ_MAX`] at most.
    fn trend(&self, wanted: &TrendWanted<'_>) -> Trend;
}

/// Longest time for reading a curve.
pub const TREND_READ_MAX: Duration = Duration::from_secs(2);

/// Which curve.
#[derive(Debug, Clone, Copy)]
pub struct TrendWanted<'a> {
    /// Path of the machine.
    pub device: &'a str,
    /// Path of the tag.
    pub tag: &'a str,
    /// Begin, microseconds since 1970 UTC.
    pub from_us: i64,
    /// End.
    pub to_us: i64,
    /// A value that is not followed by another holds for so long at most, microseconds: one that does
    /// not change is sent again before.
    pub hold_us: i64,
    /// Equal steps from begin to end.
    pub steps: usize,
}

/// A curve out of the past.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trend {
    /// One entry for each step; `None` where nothing good is stored.
    pub steps: Vec<Option<TrendStep>>,
    /// Reading took too long: the rest is missing.
    pub is_cut: bool,
}

/// What a value was during one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrendStep {
    /// Lowest.
    pub low: f64,
    /// Highest.
    pub high: f64,
    /// Mean over time.
    pub mean: f64,
}

/// A machine that is configured and not read, because its files have faults.
#[derive(Debug, Clone, Default)]
pub struct NotRead {
    /// Its name; that of its file, or the place of its `[[device]]`, when it has none.
    pub name: String,
    /// The first fault in one sentence, English.
    pub fault: String,
    /// Where that is: `file:line`.
    pub place: String,
    /// All faults in the words of `forebay check`, at most some 12 KiB.
    pub check: String,
    /// The files got these faults while the box ran: the machine is read on as it was before.
    pub runs_on: bool,
}

/// A certificate that the server of a machine has shown.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// [`crate::device::Device::name`].
    pub device: String,
    /// What was decided.
    pub state: CertificateState,
    /// Whom it belongs to, as it says itself.
    pub subject: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub fingerprint: String,
    /// First day of its validity, RFC 3339 in UTC.
    pub valid_from: String,
    /// Last day of its validity, RFC 3339 in UTC.
    pub valid_to: String,
    /// Its last day is over.
    pub expired: bool,
    /// When the server showed it first, microseconds since 1970 UTC.
    pub seen_us: i64,
}

/// What was decided of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// Nothing yet.
    Waiting,
    /// It is trusted.
    Trusted,
    /// The file of the machine names another one.
    Refused,
}

/// Events on the page at most.
pub const EVENTS_SHOWN_MAX: usize = 50;

/// Who the box is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Identity {
    /// Edge id of `forebay.toml`.
    pub edge_id: String,
    /// Name for people; may equal the edge id.
    pub name: String,
    /// Where the box stands.
    pub site: String,
    /// Version of the program.
    pub version: String,
    /// Start of the process, microseconds since 1970 UTC.
    #[serde(rename = "started", serialize_with = "crate::clock::serialize_us")]
    pub started_us: i64,
    /// Whether somebody keeps the clock right; `None` when that is not known.
    pub clock_synchronised: Option<bool>,
    /// The last time that the clock was set by more than 2 s since the start.
    pub clock_jump: Option<ClockJump>,
}

/// The clock of the box was set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockJump {
    /// When, by the new clock, microseconds since 1970 UTC.
    #[serde(rename = "at", serialize_with = "crate::clock::serialize_us")]
    pub at_us: i64,
    /// By how much, seconds; negative = back.
    pub by_s: f64,
}

/// How the connection to Kafka is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ToItState {
    /// Records are taken.
    Up,
    /// Not yet connected, and no failure so far.
    #[default]
    Connecting,
    /// Not taken since this time.
    Waiting {
        /// Since when, microseconds since 1970 UTC.
        since_us: i64,
        /// Code `unreachable`, `refused`, `not-trusted`, `timeout` or another; the message is
        /// the last error in words. `configuration` = the settings of this box are wrong.
        cause: Cause,
    },
    /// Another box sends under the same name.
    Fenced {
        /// Since when, microseconds since 1970 UTC.
        since_us: i64,
        /// Path of the box that only sends a backlog of this one, if it is that.
        importer: Option<String>,
    },
    /// Someone has paused it.
    Paused {
        /// Since when, microseconds since 1970 UTC.
        since_us: i64,
        /// Who, as they said.
        by: String,
    },
}

/// Always the same three fields, so that nobody who reads the JSON must tell types apart.
impl Serialize for ToItState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, since_us, cause) = match self {
            Self::Up => ("up", None, None),
            Self::Connecting => ("connecting", None, None),
            Self::Waiting { since_us, cause } => ("waiting", Some(*since_us), Some(cause)),
            Self::Fenced { since_us, .. } => ("fenced", Some(*since_us), None),
            Self::Paused { since_us, .. } => ("paused", Some(*since_us), None),
        };
        let by = match self {
            Self::Paused { by, .. } => Some(by),
            Self::Fenced { importer, .. } => importer.as_ref(),
            _ => None,
        };
        let mut fields = serializer.serialize_struct("ToItState", 5)?;
        fields.serialize_field("state", state)?;
        fields.serialize_field("since", &since_us.map(crate::clock::rfc3339))?;
        fields.serialize_field("cause", &cause.map(|cause| &cause.code))?;
        fields.serialize_field("message", &cause.map(|cause| &cause.message))?;
        fields.serialize_field("by", &by)?;
        fields.end()
    }
}

/// A moment that may be unknown, as RFC 3339 text or `null`.
pub(super) fn serialize_moment<S: Serializer>(us: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    us.map(crate::clock::rfc3339).serialize(serializer)
}

/// Numbers of the way to Kafka, all lanes together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ToIt {
    /// The connection.
    #[serde(flatten)]
    pub state: ToItState,
    /// Age of the oldest record that Kafka has not confirmed, seconds; `None` before the first.
    pub delay_s: Option<f64>,
    /// Records that Kafka has not confirmed.
    pub backlog_records: u64,
    /// Of `backlog_records`, those that Kafka may have, as long as it was not heard since the start.
    pub perhaps_sent_records: u64,
    /// Records confirmed per second, mean of about 10 s.
    pub records_per_s: f64,
    /// Records journalled per second, mean of about 10 s.
    pub intake_per_s: f64,
    /// Records confirmed since the start.
    pub committed_records: u64,
    /// What waits while newer data goes first; `None` = nothing does.
    pub backfill: Option<Backfill>,
    /// What is sent besides because somebody asked for it.
    pub errands: Vec<Errand>,
    /// Records that went to the second Kafka since the start; `None` = there is no second one.
    pub second_records: Option<u64>,
    /// The second Kafka takes data now.
    pub second_up: bool,
    /// How often somebody else has sent under the name of this box, since the start.
    pub shut_out: u64,
    /// The last time, if that is less than an hour ago, microseconds since 1970 UTC.
    #[serde(rename = "shut_out_last", serialize_with = "serialize_moment")]
    pub shut_out_us: Option<i64>,
}

/// Something that is sent besides the box's own new data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errand {
    /// Which kind.
    pub kind: ErrandKind,
    /// Box that the backlog comes from, or id of the replay.
    pub name: String,
    /// Lane.
    pub lane: String,
    /// Offsets done.
    pub done: u64,
    /// Offsets in all.
    pub total: u64,
    /// It does not go on until somebody does something.
    pub held: bool,
}

/// Kinds of [`Errand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrandKind {
    /// The backlog of another box (`forebay journal import`).
    Import,
    /// History once more (`forebay replay`).
    Replay,
}

/// What waits while newer data goes first (`backfill = "live-first"`), all lanes together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Backfill {
    /// Records, at most.
    pub records: u64,
    /// How long it will still take, seconds; `None` = not yet known.
    pub left_s: Option<f64>,
    /// The daily window is closed.
    pub waits_for_window: bool,
}

/// Numbers of the journal.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reserve {
    /// Bytes on disk that are not yet confirmed by Kafka.
    pub unsent_bytes: u64,
    /// Bytes the journal may use.
    pub budget_bytes: u64,
    /// Bytes written per second, mean of 1 h (or since the start).
    pub written_bytes_per_s: f64,
    /// How long the rest of the budget lasts without Kafka, everything in full, seconds; `None`
    /// when not yet known.
    pub left_s: Option<f64>,
    /// Edge time of the oldest record not confirmed, microseconds since 1970 UTC.
    #[serde(rename = "oldest_unsent", serialize_with = "serialize_moment")]
    pub oldest_unsent_us: Option<i64>,
    /// Records removed since the start that were never given to Kafka: they are lost.
    pub dropped_records: u64,
    /// Records removed since the start of which Kafka may have some.
    pub perhaps_dropped_records: u64,
    /// How much longer it lasts when the oldest values are summed up, seconds; `None` when that is
    /// not configured, or nothing was summed up yet, so that nobody knows what it saves.
    pub thinned_left_s: Option<f64>,
    /// Bytes that Kafka has confirmed and that are kept while there is room; not in `unsent_bytes`.
    pub history_bytes: u64,
    /// Bytes of `unsent_bytes` that are summed up.
    pub thinned_bytes: u64,
    /// Records summed up since the start.
    pub thinned_records: u64,
    /// From here on what is not sent is there in full; `None` while nothing is summed up.
    #[serde(rename = "full_from", serialize_with = "serialize_moment")]
    pub full_from_us: Option<i64>,
    /// The room is used up now and the oldest values are being summed up.
    pub thinning: bool,
    /// The room is used up now: each new record drops an old one.
    pub full: bool,
    /// The flash that the journal is on.
    pub flash: Flash,
    /// The disk does not take records, and why.
    pub disk_error: Option<DiskError>,
    /// Per lane.
    pub lanes: Vec<Lane>,
}

impl Reserve {
    /// Whether values are or may be lost, or will be unless somebody acts: what waits may not be called kept.
    pub fn is_losing(&self) -> bool {
        let has_lost = self.dropped_records > 0 || self.perhaps_dropped_records > 0;
        self.full || self.disk_error.is_some() || has_lost
    }
}

/// How the flash wears.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Flash {
    /// Bytes that Forebay writes a day, with what the file system adds; mean of the last day, `None`
    /// in the first minutes.
    pub written_bytes_per_day: Option<f64>,
    /// Bytes it endures in its life: `flash_endurance` of the configuration, an assumption.
    pub endurance_bytes: u64,
    /// How long a new one would last at this rate, years.
    pub years: Option<f64>,
    /// The kernel counted what Forebay wrote; else it is estimated from what the journal wrote.
    pub measured: bool,
    /// Bytes a day that all programs together write to the device; `None` where the file system has
    /// no device of its own.
    pub device_bytes_per_day: Option<f64>,
    /// How long a new one would last at that rate, years.
    pub device_years: Option<f64>,
}

/// The journal cannot write.
#[derive(Debug, Clone, Serialize)]
pub struct DiskError {
    /// Since when, microseconds since 1970 UTC.
    #[serde(rename = "since", serialize_with = "crate::clock::serialize_us")]
    pub since_us: i64,
    /// What the system said.
    pub message: String,
}

/// Numbers of one lane.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Lane {
    /// `telemetry` or `events`.
    pub name: String,
    /// Bytes on disk, also those that Kafka has already.
    pub disk_bytes: u64,
    /// Bytes of them that are not yet confirmed by Kafka.
    pub unsent_bytes: u64,
    /// Bytes of them that Kafka has already.
    pub history_bytes: u64,
    /// Bytes of the unsent that are summed up.
    pub thinned_bytes: u64,
    /// Bytes it may use.
    pub budget_bytes: u64,
    /// Records written and synced since the start.
    pub appended_records: u64,
    /// Records confirmed by Kafka since the start.
    pub committed_records: u64,
    /// Records that Kafka has not confirmed.
    pub backlog_records: u64,
}

/// What a model says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictionState {
    /// Nothing unusual.
    Normal,
    /// Over its threshold: somebody must look.
    Raised,
    /// An input is missing or not good: no statement.
    Suppressed,
    /// The window is not yet full.
    #[default]
    Filling,
    /// The model cannot run.
    Broken,
}

/// One model on one device.
#[derive(Debug, Clone, Default)]
pub struct Prediction {
    /// [`crate::device::Device::name`].
    pub device: String,
    /// Folder name of the model.
    pub model: String,
    /// What it watches, for people.
    pub title: Text,
    /// Version of the model.
    pub version: String,
    /// What it says.
    pub state: PredictionState,
    /// The same in words: what to look at when raised, why when suppressed or broken. May be empty.
    pub words: Text,
    /// Last score; `None` when there is none to believe.
    pub score: Option<f64>,
    /// Scores from here on are unusual.
    pub threshold: f64,
    /// Since when this state holds, microseconds since 1970 UTC.
    pub since_us: Option<i64>,
    /// When it scored last, microseconds since 1970 UTC.
    pub last_us: Option<i64>,
    /// Scores of the past, oldest first, for the curve; at most about 60.
    pub history: Vec<f32>,
    /// Windows that were not scored since it began to run, for lack of time.
    pub dropped: u64,
    /// The episode that runs, and how urgent it is.
    pub episode: Option<(String, Severity)>,
}

/// One model on one device, with its past.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// What it says now.
    pub prediction: Prediction,
    /// First digits of the hash of its graph.
    pub hash8: String,
    /// Since when this version scores here, microseconds since 1970 UTC.
    pub version_since_us: Option<i64>,
    /// Newest first; the first may be running.
    pub episodes: Vec<Episode>,
    /// Scores by hour, oldest first.
    pub hours: Vec<Hour>,
    /// How long the part will last, where the model says so.
    pub remaining: Option<Remaining>,
    /// The tag of whose slow change most of what may be followed is used up, and the share of it, 0 to 1.
    pub reach_used: Option<(String, f64)>,
}

/// Remaining useful life, with its band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remaining {
    /// Seconds.
    pub likely_s: f64,
    /// Seconds, lower end of the band.
    pub least_s: f64,
    /// Seconds, upper end.
    pub most_s: f64,
}

/// What kind of number a [`Metric`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric of `/metrics` with all its label sets.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Name with base unit, for example `forebay_poll_duration_seconds`; counters end in `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Label pairs and value.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}
