//! The site configuration: `forebay.toml`.
//!
//! Read like profiles (see [`crate::document`]): all faults of all files come in one run. What is
//! required has no default; what has a default says so here. Secrets stand in files of their own
//! ([`CredentialStore`]), never in this one.

mod credentials;
mod folder;
mod kafka;
pub(crate) mod keys;
mod learn;
mod load;
mod model_options;
mod models;
mod read;
mod standby;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::replicate::DailyWindow;

pub use credentials::CredentialStore;
pub use load::{Loaded, check_files, check_traced, load, state_folder};

use crate::lane::WhenFull;
use crate::learn::StateOrder;
use crate::standby::Standby;

/// Everything in `forebay.toml`. Paths are resolved against the folder of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this box is.
    pub edge: Edge,
    /// Where data goes.
    pub kafka: Kafka,
    /// How it is kept until then.
    pub journal: Journal,
    /// Lane of measured values.
    pub telemetry: Lane,
    /// Lane of alarms, predictions, gaps and device states.
    pub events: Lane,
    /// Bounds.
    pub limits: Limits,
    /// The status page.
    pub status: Status,
    /// Log output.
    pub log: Log,
    /// Folders.
    pub paths: Paths,
    /// Models that run.
    pub models: Vec<Model>,
    /// `[[learn]]`: what is learned on the box.
    pub learn: Vec<Learn>,
    /// `[models]`: how they run, and whose are trusted.
    pub model_options: ModelOptions,
    /// `[standby]`: which of two boxes reads the machines; without it there is only this one.
    pub standby: Option<Standby>,
}

/// `[edge]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Unique among all boxes that write to the same Kafka; required.
    pub id: String,
    /// Name for people; the id by default.
    pub name: String,
    /// Site, part of the transactional id; required.
    pub site: String,
    /// Language of texts that reach people: `en` (default) or `de`.
    pub language: String,
}

/// `[kafka]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// `host:port` of at least one broker; required.
    pub brokers: Vec<String>,
    /// Topics are `<prefix>.telemetry`, `<prefix>.events`, `<prefix>.checkpoints`; `forebay` by default.
    pub topic_prefix: String,
    /// The broker gives up an open transaction after this long; 60 s by default.
    pub transaction_timeout: Duration,
    /// Time between commits while records trickle in; 1 s by default.
    pub commit_interval: Duration,
    /// A transaction is committed at the latest with this many records; 1,000,000 by default.
    pub transaction_records_max: usize,
    /// Missing topics are created; true by default.
    pub create_topics: bool,
    /// `[kafka.tls]`; without it data goes in the clear.
    pub tls: Option<Tls>,
    /// `[kafka.sasl]`; without it the box logs in as nobody, or by its certificate.
    pub sasl: Option<Sasl>,
    /// Exactly once with transactions; at least once when false. True by default.
    pub exactly_once: bool,
    /// Fresh data first after an outage; false by default: in order.
    pub live_first: bool,
    /// With `live_first`: from this age on a record is backlog; 30 s by default.
    pub live_after: Duration,
    /// With `live_first`: part of a transaction, or of the bandwidth, for the backlog; 0.5 by default.
    pub backfill_share: f64,
    /// With `live_first`: when the backlog may be sent; always by default.
    pub backfill_window: Option<DailyWindow>,
    /// Bits a second at most; no limit by default.
    pub bandwidth_bits_per_s: Option<u64>,
    /// `[kafka.fallback]`; none by default.
    pub fallback: Option<Fallback>,
}

/// `[kafka.fallback]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// `host:port` of at least one broker of the second cluster; required.
    pub brokers: Vec<String>,
    /// It gets data when the first has been away for so long; 10 min by default.
    pub after: Duration,
    /// `[kafka.fallback.tls]`; that of the first cluster by default.
    pub tls: Option<Tls>,
    /// `[kafka.fallback.sasl]`; that of the first cluster by default.
    pub sasl: Option<Sasl>,
}

/// `[kafka.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate authorities (PEM); the system's by default.
    pub ca: Option<PathBuf>,
    /// The box's own certificate (PEM) and key.
    pub identity: Option<(PathBuf, KeySource)>,
}

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the credentials, under this name.
    Credential(String),
    /// In a file (PEM).
    File(PathBuf),
}

/// `[kafka.sasl]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// User.
    pub username: String,
    /// Name of the credential that holds the password, without `credential:`.
    pub password: String,
}

/// `[journal]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Folder; `journal` in `paths.state` by default.
    pub directory: PathBuf,
    /// Data is on disk at the latest after this long; 500 ms by default.
    pub sync_interval: Duration,
    /// … or when this many bytes wait in memory; 4 MiB by default.
    pub sync_bytes: u64,
    /// Size of one file of the journal; 16 MiB by default.
    pub segment_bytes: u64,
    /// What Kafka has stays so long, as far as the budget allows; 7 days by default.
    pub keep: Duration,
    /// Bytes that the file system is to have left for others; 256 MiB by default.
    pub reserve_bytes: u64,
    /// What the disk does not give at reading is tried again for so long before it is passed over; 6
    /// hours by default.
    pub skip_unreadable_after: Duration,
    /// Bytes that the flash endures in its life (TBW of its data sheet); 30 TB by default, which
    /// is an assumption.
    pub flash_endurance_bytes: u64,
}

/// `[lanes.telemetry]`, `[lanes.events]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Bytes on disk. 2 GiB and 64 MiB by default.
    pub budget_bytes: u64,
    /// What makes room when nothing of it is sent: `thin`, then `evict` for telemetry by default;
    /// events are only evicted.
    pub when_full: Vec<WhenFull>,
    /// Samples are summed up over this long, whole seconds; 1 min by default. Telemetry only.
    pub thin_interval: Duration,
    /// What is younger is summed up only when nothing else makes room; 7 days by default.
    /// Telemetry only.
    pub full_for: Duration,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest pause between two attempts to reach a device; 60 s by default.
    pub reconnect_pause_max: Duration,
    /// Readers of the status page at once; 32 by default.
    pub web_clients: usize,
    /// Devices; 500 by default.
    pub devices: usize,
    /// Published tags of all devices; 100,000 by default.
    pub tags: usize,
}

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Address and port of the page; 127.0.0.1:8080 by default.
    pub listen: SocketAddr,
    /// Language of the page; that of `[edge]` by default.
    pub language: String,
    /// Names readers may use for the box in the address of the page, beside its own; none by default.
    pub host_names: Vec<String>,
    /// `sign_in = "network"`: passwords may come through the network unencrypted; by default only
    /// from the box itself.
    pub sign_in_from_network: bool,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// `error`, `warn`, `info` (default), `debug` or `trace`.
    pub level: String,
}

/// `[paths]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Folders with profiles; `profiles` by default.
    pub profiles: Vec<PathBuf>,
    /// Folders with device files; `devices` by default.
    pub devices: Vec<PathBuf>,
    /// Folders with models; `models` by default.
    pub models: Vec<PathBuf>,
    /// Folder for everything Forebay writes; `/var/lib/forebay` by default.
    pub state: PathBuf,
    /// Folder with credentials, besides `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

/// `[[model]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Folder name under `paths.models`.
    pub name: String,
    /// Devices it watches, by name.
    pub devices: Vec<String>,
}

/// `[[learn]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learn {
    /// The device, by name; required.
    pub device: String,
    /// Tags, a `*` at the end stands for anything; all that are measured by default.
    pub tags: Vec<String>,
    /// Name of the model; `learned-<device>` by default.
    pub model: Option<String>,
    /// Only in these states; always by default.
    pub state: Option<StateOrder>,
    /// Left out after each beginning of a state and each gap; 60 s by default with `state`, else 0.
    pub settle: Duration,
    /// From one row to the next; a second, or the slowest scan of the tags, by default.
    pub interval: Option<Duration>,
    /// By itself, once there is enough; false by default: a person says when.
    pub auto: bool,
    /// Enough is so much normal running; 8 h by default.
    pub after: Duration,
}

/// `[models]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Folder with public keys (`*.pub`) of those whose models are trusted; `model-keys` beside
    /// `forebay.toml` by default.
    pub keys: PathBuf,
    /// Models without a signature are taken; false by default.
    pub unsigned: bool,
    /// Threads that score; 1 by default.
    pub threads: usize,
    /// Share of one processor for all models, averaged over a minute; 0.25 by default.
    pub cpu_share: f64,
    /// A version in shadow that shows itself no worse takes over by itself; false by default.
    pub promote: bool,
    /// It must have watched for so long before; 24 h by default.
    pub shadow: Duration,
    /// More alarms than this in an hour, within a day after a change, roll it back; 6 by default.
    pub flood: usize,
    /// Models are taken from the topic `<prefix>.models`; false by default.
    pub kafka: bool,
}
