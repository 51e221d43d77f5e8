//! The forebay process that is killed, with its configuration and its log.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::counter::{Counter, profile};
use crate::support::{PATIENCE, get, wait_for};

/// Name of the box.
pub const EDGE: &str = "box-chaos";
/// Its lanes.
const LANES: [&str; 2] = ["telemetry", "events"];
/// A binary to be tried instead, for example one with a mistake that must be found.
const BINARY: &str = "FOREBAY_BIN";

/// What the gateway sends first after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    /// The oldest.
    InOrder,
    /// What is fresh; the rest beside it.
    LiveFirst,
}

/// A folder with a configuration, and the process that runs by it.
pub struct Daemon {
    folder: tempfile::TempDir,
    /// Beginning of `[kafka]`.
    kafka: String,
    child: Option<Child>,
}

impl Daemon {
    /// Writes the configuration; starts nothing.
    pub fn new(brokers: &str, prefix: &str, devices: &[Counter]) -> Self {
        let brokers: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
        let kafka = format!("[kafka]\nbrokers = [{}]\ntopic_prefix = \"{prefix}\"\n", brokers.join(", "));
        let daemon = Self { folder: tempfile::tempdir().expect("a folder"), kafka, child: None };
        daemon.write("profiles/counter.toml", &profile());
        let tables: String = devices.iter().map(Counter::table).collect();
        daemon.write("devices/plant.toml", &format!("forebay = 1\n{tables}"));
        for backfill in [Backfill::LiveFirst, Backfill::InOrder] {
            daemon.configure(backfill);
            let checked = Command::new(binary()).arg("check").arg(daemon.config()).output();
            let checked = checked.expect("forebay runs");
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        }
        daemon
    }

    /// What goes first from the next start on.
    pub fn configure(&self, backfill: Backfill) {
        let backfill = match backfill {
            Backfill::InOrder => "",
            Backfill::LiveFirst => "backfill = \"live-first\"\nlive_after = \"5s\"\n",
        };
        let text = format!(
            "forebay = 1\n[edge]\nid = \"{EDGE}\"\nsite = \"Werk1\"\n\
             {}transaction_timeout = \"10s\"\ncommit_interval = \"100ms\"\ntransaction_records_max = 500\n{backfill}\
             [journal]\ndirectory = \"journal\"\nsync_interval = \"50ms\"\nsegment_size = \"256MiB\"\n\
             [lanes.telemetry]\nbudget = \"2GiB\"\n\
             [limits]\nreconnect_pause_max = \"1s\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
             [paths]\nprofiles = [\"profiles\"]\ndevices = [\"devices\"]\nstate = \"state\"\n",
            self.kafka
        );
        self.write("forebay.toml", &text);
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("forebay.toml")
    }

    /// Keeps what is in a lane's journal now, also when the journal itself forgets it after Kafka has it.
    ///
    /// A link keeps a segment for nothing, because what was written is never written again.
    fn keep(&self, lane: &str) {
        let kept = self.kept(lane);
        std::fs::create_dir_all(&kept).expect("a folder");
        let journal = self.folder.path().join("journal").join(lane);
        for entry in std::fs::read_dir(journal).into_iter().flatten().flatten() {
            let place = kept.join(entry.file_name());
            // The newest of a name is right, and a file that has gone meanwhile was kept before.
            let _first = std::fs::remove_file(&place);
            let _gone = std::fs::hard_link(entry.path(), place);
        }
    }

    /// Everything that a lane's journal has held at a moment when the process had ended.
    pub fn kept(&self, lane: &str) -> PathBuf {
        self.folder.path().join("kept").join(lane)
    }

    /// Starts the process; its log goes on in one file over all starts.
    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).expect("a file");
        let child = Command::new(binary())
            .args(["run", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("forebay starts");
        self.child = Some(child);
    }

    /// kill -9, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            LANES.iter().for_each(|lane| self.keep(lane));
        }
    }

    /// SIGTERM, as systemd does it; must end by itself.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
        let status = wait_for("end after SIGTERM", PATIENCE, || child.try_wait().expect("our child"));
        assert!(status.success(), "{status}\n{}", self.log());
        LANES.iter().for_each(|lane| self.keep(lane));
    }

    /// True while the process runs; it must never end by itself.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("our child").is_none())
    }

    /// What `/api/v1/status.json` says, `None` when the page does not answer.
    pub fn status(&self) -> Option<serde_json::Value> {
        let log = self.log();
        let (_, after) = log.rsplit_once("status page: http://")?;
        let body = get(after.split_whitespace().next()?, "/api/v1/status.json")?;
        serde_json::from_str(&body).ok()
    }

    /// Records that are not in Kafka yet.
    pub fn backlog(&self) -> Option<u64> {
        self.status()?["to_it"]["numbers"]["backlog_records"].as_u64()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where its log is.
    pub fn log_path(&self) -> PathBuf {
        let name = self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forebay-{name}.log"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of forebay: {}", self.log_path().display());
        }
        self.kill();
    }
}

fn binary() -> PathBuf {
    std::env::var_os(BINARY).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_forebay")), PathBuf::from)
}
