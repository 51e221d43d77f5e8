//! What the replicator must be told, and how librdkafka is told.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use sha2::{Digest, Sha256};

use super::control::ReplicationControl;
use super::fallback::Fallback;
use super::pace::Line;
use super::topics::LEASES;
use super::transport::Delivery;
use super::window::DailyWindow;

/// Records of a transaction at most, unless it is set: in practice its time ends it.
pub const TRANSACTION_RECORDS_MAX: usize = 1_000_000;
/// Bytes of values of a transaction at most.
const TRANSACTION_BYTES_MAX: usize = 1 << 30;

/// Batches that are not full wait so long.
const LINGER_MS: u32 = 25;

/// Everything about the way to Kafka. Passwords never show in `Debug`.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`, several joined with commas; any one of them leads to the others.
    pub brokers: String,
    /// Topics are `<prefix>.telemetry`, `<prefix>.events`, `<prefix>.checkpoints`.
    pub prefix: String,
    /// Site, part of the transactional id.
    pub site: String,
    /// Name of this box, unique among all that write to this Kafka.
    pub edge: String,
    /// Encryption; `None` sends in the clear.
    pub tls: Option<Tls>,
    /// User and password; `None` logs in as nobody, or by the certificate in `tls`.
    pub sasl: Option<Sasl>,
    /// After this long without an answer the broker gives up an open transaction. At most what
    /// the broker allows (`transaction.max.timeout.ms`, 15 minutes by default).
    pub transaction_timeout: Duration,
    /// Time between commits while records trickle in.
    pub commit_interval: Duration,
    /// A transaction is committed at the latest with this many records.
    pub transaction_records_max: usize,
    /// A transaction is committed at the latest with this many bytes of values.
    pub transaction_bytes_max: usize,
    /// Larger values are replaced by a notice. Keep it under the topic's `max.message.bytes`.
    pub record_bytes_max: usize,
    /// Topics that do not exist are created like this; `None` leaves it to the IT department.
    pub create_topics: Option<CreateTopics>,
    /// While another box writes under our name, look this often whether it still does.
    pub fenced_retry: Duration,
    /// A newcomer that fenced us writes its nonce within this time.
    pub newcomer_max: Duration,
    /// What is promised.
    pub mode: Mode,
    /// How the records of the live cursor are marked.
    pub delivery: Delivery,
    /// What goes first after an outage.
    pub backfill: Backfill,
    /// The bandwidth, shared by the lanes that are given the same one, and the backlog's share.
    pub line: Arc<Line>,
    /// To pause and resume, shared in the same way.
    pub control: Arc<ReplicationControl>,
    /// The second cluster, if there is one.
    pub fallback: Option<Fallback>,
    /// Id of a replay: history that is sent once more, with a transactional id, a checkpoint and a
    /// header of its own; `None` for everything else.
    pub replay: Option<String>,
    /// We send what another box has, under its name and only until it is done. What goes wrong after
    /// we have announced ourselves, and so shut out others of that name, ends it.
    pub guest: bool,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Transactions: nothing is there twice for readers with `read_committed`.
    #[default]
    ExactlyOnce,
    /// For brokers without transactions: after a fault at most one transaction's worth of records
    /// is there twice, with the same headers.
    AtLeastOnce,
}

/// What goes first after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backfill {
    /// The oldest.
    #[default]
    InOrder,
    /// Fresh data; what is older than `after` follows beside it.
    LiveFirst {
        /// From this age on a record is backlog.
        after: Duration,
        /// When the backlog may be sent; `None` = always.
        window: Option<DailyWindow>,
    },
}

impl Options {
    /// Options for a Kafka without encryption or passwords, everything else as documented in
    /// docs/kafka.md.
    pub fn new(brokers: &str, prefix: &str, site: &str, edge: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            prefix: prefix.to_owned(),
            site: site.to_owned(),
            edge: edge.to_owned(),
            tls: None,
            sasl: None,
            transaction_timeout: Duration::from_secs(60),
            commit_interval: Duration::from_secs(1),
            transaction_records_max: TRANSACTION_RECORDS_MAX,
            transaction_bytes_max: TRANSACTION_BYTES_MAX,
            record_bytes_max: 900_000,
            create_topics: Some(CreateTopics { partitions: -1, replication: -1 }),
            fenced_retry: Duration::from_secs(60),
            newcomer_max: Duration::from_secs(3),
            mode: Mode::ExactlyOnce,
            delivery: Delivery::Live,
            backfill: Backfill::InOrder,
            line: Arc::new(Line::new(None, 0.5)),
            control: Arc::default(),
            fallback: None,
            replay: None,
            guest: false,
        }
    }

    /// Topic of a lane, or of the checkpoints: `<prefix>.<name>`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Transactional id of a lane; the broker lets only one process write under it. It is the same
    /// whatever the prefix of the topics is (ADR 12).
    pub fn transactional_id(&self, lane: &str) -> String {
        format!("forebay.{}.{}.{}", self.site, self.edge, self.stream(lane))
    }

    /// What has a transactional id and a checkpoint of its own: a lane, or a replay of it.
    pub(super) fn stream(&self, lane: &str) -> String {
        match &self.replay {
            Some(id) => format!("{lane}.replay-{id}"),
            None => lane.to_owned(),
        }
    }

    /// Who we are to Kafka, for messages about permissions.
    pub(super) fn principal(&self) -> String {
        match (&self.sasl, &self.tls) {
            (Some(sasl), _) => format!("user {}", sasl.username),
            (None, Some(Tls { certificate: Some(_), .. })) => "the certificate's user".to_owned(),
            (None, _) => "this box (it logs in without a user)".to_owned(),
        }
    }

    /// Whether all secrets can be read now.
    ///
    /// # Errors
    /// The sentence that says which cannot, and where it was looked for.
    pub fn check_secrets(&self) -> Result<(), String> {
        let key = self.tls.as_ref().and_then(|tls| tls.key_password.as_ref());
        let passwords = self.sasl.as_ref().map(|sasl| &sasl.password).into_iter().chain(key);
        passwords.into_iter().try_for_each(|password| (password.0)().map(drop))
    }

    /// Whether all certificates and keys can be read now: librdkafka would only give the number of
    /// an error of OpenSSL.
    ///
    /// # Errors
    /// The sentence that says which file cannot be read, and why.
    pub fn check_files(&self) -> Result<(), String> {
        let Some(tls) = &self.tls else { return Ok(()) };
        [&tls.ca, &tls.certificate].into_iter().flatten().try_for_each(|path| check_pem(path))?;
        tls.key.as_ref().map_or(Ok(()), |key| check_pem(&key.path()?))
    }

    /// Changes with the content of every file and secret that a connection uses.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |what: Option<Vec<u8>>| {
            // What is missing is not the same as what is empty.
            let content = what.as_deref();
            hash.update([u8::from(content.is_some())]);
            hash.update((content.map_or(0, <[u8]>::len) as u64).to_le_bytes());
            hash.update(content.unwrap_or_default());
        };
        if let Some(tls) = &self.tls {
            for path in
                [tls.ca.clone(), tls.certificate.clone(), tls.key.as_ref().and_then(|it| it.path().ok())]
            {
                add(path.and_then(|path| read_some(&path).ok()));
            }
            add(tls.key_password.as_ref().and_then(|password| (password.0)().ok()).map(String::into_bytes));
        }
        if let Some(sasl) = &self.sasl {
            add((sasl.password.0)().ok().map(String::into_bytes));
        }
        hash.finalize().into()
    }

    /// Settings that producer and consumer share.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("forebay-{}", self.edge))
            .set("socket.keepalive.enable", "true")
            // A broker that is stopped rather than dead accepts connections and says nothing;
            // the default of a minute would outlast the transaction.
            .set("socket.timeout.ms", millis(self.transaction_timeout.min(Duration::from_secs(10))))
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "5000");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            tls.apply(&mut config);
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.get());
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Settings of a lane's producer. Batches hold at most `batch_bytes`. Without transactions
    /// `is_idempotent` says whether the brokers know an idempotent producer.
    pub(super) fn producer(&self, lane: &str, batch_bytes: usize, is_idempotent: bool) -> ClientConfig {
        let mut config = self.client();
        match self.mode {
            Mode::ExactlyOnce => config
                .set("transactional.id", self.transactional_id(lane))
                .set("transaction.timeout.ms", millis(self.transaction_timeout)),
            Mode::AtLeastOnce if is_idempotent => config
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", millis(self.transaction_timeout)),
            Mode::AtLeastOnce => config
                .set("message.timeout.ms", millis(self.transaction_timeout))
                // More than one would change the order when the first is repeated.
                .set("max.in.flight.requests.per.connection", "1"),
        };
        config
            .set("acks", "all")
            .set("compression.codec", "zstd")
            .set("compression.level", "1")
            // Each batch costs both sides a request and a compressor. Behind, four partitions
            // fill theirs in this time; live, it is little beside the interval of commits.
            .set("linger.ms", LINGER_MS.to_string())
            .set("batch.size", batch_bytes.to_string())
            .set("message.max.bytes", (self.record_bytes_max + 16_384).to_string())
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "16384")
            // Bytes on the wire; sooner when they are counted against a limit.
            .set("statistics.interval.ms", if self.line.is_limited() { "500" } else { "5000" })
            // What was delivered is known from the commit.
            .set("delivery.report.only.error", "true");
        config
    }

    /// Settings of the reader of checkpoints. `committed` = only what was committed.
    pub(super) fn consumer(&self, lane: &str, committed: bool) -> ClientConfig {
        let mut config = self.client();
        config
            // The group is never joined: partitions are assigned by hand and no offsets stored.
            .set("group.id", self.transactional_id(lane))
            .set("isolation.level", if committed { "read_committed" } else { "read_uncommitted" })
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.wait.max.ms", "100")
            // A topic that a metadata request would create has the wrong settings.
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Settings of the producer that writes an active box's lease: one record now and then, which is of
    /// no use any more after `timeout`.
    pub(super) fn lease_producer(&self, timeout: Duration) -> ClientConfig {
        let mut config = self.client();
        config
            .set("acks", "all")
            .set("message.timeout.ms", millis(timeout))
            // One at a time: a later one never stands before an earlier one.
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "0")
            // After an outage the standby waits for a lease: it must come before the old one has run out.
            .set("reconnect.backoff.max.ms", "1000")
            .set("queue.buffering.max.messages", "10")
            .set("queue.buffering.max.kbytes", "64")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Settings of the reader of leases.
    pub(super) fn lease_consumer(&self) -> ClientConfig {
        let mut config = self.consumer(LEASES, false);
        config
            .set("enable.partition.eof", "true")
            // On a narrow line each question counts.
            .set("fetch.wait.max.ms", "500")
            .set("queued.max.messages.kbytes", "256")
            .set("fetch.message.max.bytes", "65536");
        config
    }

    /// Settings of the client that creates topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client()
    }
}

/// Largest file of certificates that is looked at; a system's whole list has some 250 KB.
const PEM_BYTES_MAX: u64 = 4 << 20;

fn read_some(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_pem(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // A folder of certificates is fine, and opening a pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Ok(());
    }
    let bytes = read_some(path).map_err(failed)?;
    // RFC 7468, section 2.
    let begin = b"-----BEGIN ";
    match bytes.windows(begin.len()).any(|window| window == begin) {
        true => Ok(()),
        false => Err(format!("{} is no PEM file: there is no line with -----BEGIN", path.display())),
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// How to create topics; -1 leaves a number to the broker's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateTopics {
    /// Partitions of the data topics.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
}

/// Encryption and, with a certificate, identity. Files are PEM and read again with every new
/// connection to Kafka, so that a renewed certificate needs no restart.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities that may vouch for the brokers; `None` = those of the operating system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, when the brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<Located>,
    /// Password of the key file.
    pub key_password: Option<Password>,
}

impl Tls {
    fn apply(&self, config: &mut ClientConfig) {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        config.set("ssl.ca.location", self.ca.as_ref().map_or_else(|| "probe".to_owned(), path));
        if let Some(certificate) = &self.certificate {
            config.set("ssl.certificate.location", path(certificate));
        }
        if let Some(key) = self.key.as_ref().and_then(|key| key.path().ok()) {
            config.set("ssl.key.location", path(&key));
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", password.get());
        }
    }
}

/// A file that is looked for with every new connection to Kafka, because it may come later.
#[derive(Clone)]
pub struct Located(Arc<dyn Fn() -> Result<PathBuf, String> + Send + Sync>);

impl Located {
    /// The file with this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(Arc::new(move || Ok(path.clone())))
    }

    /// The file that `find` gives, or a sentence that says where it was looked for.
    pub fn found_by(find: impl Fn() -> Result<PathBuf, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    fn path(&self) -> Result<PathBuf, String> {
        (self.0)()
    }
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Located({:?})", self.path())
    }
}

/// User and password.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// How they are sent.
    pub mechanism: Mechanism,
    /// User.
    pub username: String,
    /// Password.
    pub password: Password,
}

/// How user and password are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// As they are: only with TLS.
    Plain,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// All, in the order to offer them.
    pub const ALL: [Self; 3] = [Self::ScramSha512, Self::ScramSha256, Self::Plain];

    /// Name as Kafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// The mechanism with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(name))
    }
}

/// A secret that does not show in logs. It is asked for with every new connection to Kafka, so
/// that one that was missing or has been renewed needs no restart.
#[derive(Clone)]
pub struct Password(Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl Password {
    /// A password that never changes.
    pub fn new(password: impl Into<String>) -> Self {
        let password = password.into();
        Self(Arc::new(move || Ok(password.clone())))
    }

    /// A password that `read` gives, or a sentence that says why it cannot.
    pub fn read_by(read: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Empty when it cannot be read; [`Options::check_secrets`] has refused to go on before.
    fn get(&self) -> String {
        (self.0)().unwrap_or_default()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        let mut options = Options::new("kafka:9093", "forebay", "werk1", "box-1");
        options.tls = Some(Tls { key_password: Some(Password::new("s3cret-key")), ..Tls::default() });
        options.sasl = Some(Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "box-1".to_owned(),
            password: Password::new("s3cret-word"),
        });
        let shown = format!("{options:?} {:?}", options.producer("telemetry", 1000, true));
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("box-1"));
    }

    #[test]
    fn a_missing_secret_is_told_and_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kafka");
        let mut options = Options::new("kafka:9093", "forebay", "werk1", "box-1");
        let read = path.clone();
        let password =
            Password::read_by(move || std::fs::read_to_string(&read).map_err(|error| error.to_string()));
        options.sasl = Some(Sasl { mechanism: Mechanism::Plain, username: "u".to_owned(), password });
        assert!(options.check_secrets().unwrap_err().contains("No such file"));
        std::fs::write(&path, "s3cret").unwrap();
        assert_eq!(options.check_secrets(), Ok(()));
        assert_eq!(options.producer("telemetry", 1000, true).get("sasl.password"), Some("s3cret"));
    }

    #[test]
    fn a_missing_certificate_is_told_by_its_path_and_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let mut options = Options::new("kafka:9093", "forebay", "werk1", "box-1");
        options.tls = Some(Tls { ca: Some(ca.clone()), ..Tls::default() });
        let error = options.check_files().unwrap_err();
        assert!(error.starts_with(&format!("cannot read {}: No such file", ca.display())), "{error}");
        std::fs::write(&ca, "not yet").unwrap();
        assert!(options.check_files().unwrap_err().contains("is no PEM file"));
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_eq!(options.check_files(), Ok(()));
    }

    #[test]
    fn every_file_and_secret_changes_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let password = |name: &str| {
            let path = file(name);
            Password::read_by(move || std::fs::read_to_string(&path).map_err(|error| error.to_string()))
        };
        let mut options = Options::new("kafka:9093", "forebay", "werk1", "box-1");
        let key = file("key");
        options.tls = Some(Tls {
            ca: Some(file("ca")),
            certificate: Some(file("certificate")),
            key: Some(Located::found_by(move || {
                key.exists().then(|| key.clone()).ok_or("not yet".to_owned())
            })),
            key_password: Some(password("key-password")),
        });
        options.sasl = Some(Sasl {
            mechanism: Mechanism::Plain,
            username: "u".to_owned(),
            password: password("password"),
        });
        let mut seen = vec![options.fingerprint()];
        for name in ["ca", "certificate", "key", "key-password", "password"] {
            for content in ["", "1", "2"] {
                std::fs::write(file(name), content).unwrap();
                assert_eq!(options.fingerprint(), options.fingerprint());
                assert!(!seen.contains(&options.fingerprint()), "{name}");
                seen.push(options.fingerprint());
            }
        }
    }

    #[test]
    fn librdkafka_knows_every_setting() {
        let mut options = Options::new("kafka:9093", "forebay", "werk1", "box-1");
        options.sasl = Some(Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "u".to_owned(),
            password: Password::new("p"),
        });
        for tls in [None, Some(Tls::default())] {
            options.tls = tls;
            for (mode, is_idempotent) in
                [(Mode::ExactlyOnce, true), (Mode::AtLeastOnce, true), (Mode::AtLeastOnce, false)]
            {
                options.mode = mode;
                options.producer("telemetry", 1000, is_idempotent).create_native_config().unwrap();
            }
            let lease = options.lease_producer(Duration::from_secs(5));
            for config in
                [options.consumer("telemetry", true), options.lease_consumer(), lease, options.admin()]
            {
                config.create_native_config().unwrap();
            }
        }
    }
}
