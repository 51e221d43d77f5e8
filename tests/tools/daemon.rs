//! A forebay process with a journal that the test has filled.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clap::Parser;
use forebay::batch::{Batch, Sample};
use forebay::clock::now_us;
use forebay::control::Client;
use forebay::device::Device;
use forebay::event::Events;
use forebay::journal_command::{self, JournalCommand};
use forebay::lane::{Lane, LaneOptions, LaneWriter, Opened};
use forebay_connector::{Quality, Scalar, Value};
use serde_json::Value as Json;

use crate::device::device;
use crate::support::{PATIENCE, Port, wait_for};

/// Edge time of the first batch of [`Daemon::fill`]: half an hour ago, in whole seconds.
pub static START_US: LazyLock<i64> = LazyLock::new(|| (now_us() / 1_000_000 - 1800) * 1_000_000);
/// Between two batches.
pub const STEP_US: i64 = 10_000;

/// A box: a folder with its configuration, and the process when it runs.
pub struct Daemon {
    pub folder: tempfile::TempDir,
    edge: String,
    child: Option<Child>,
    /// Where a Kafka would be that is away.
    nobody: Option<Port>,
}

/// `forebay journal …` inside the test.
#[derive(Parser)]
struct JournalArguments {
    #[command(subcommand)]
    command: JournalCommand,
}

impl Daemon {
    /// A box that reaches these brokers; `None` = its Kafka is away.
    pub fn new(edge: &str, brokers: Option<&str>, prefix: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Self { folder, edge: edge.to_owned(), child: None, nobody: None };
        daemon.configure(brokers, prefix);
        daemon
    }

    /// Writes the configuration anew.
    pub fn configure(&mut self, brokers: Option<&str>, prefix: &str) {
        let nobody = Port::reserve();
        let away = format!("127.0.0.1:{}", nobody.number);
        self.nobody = Some(nobody);
        let brokers: Vec<String> =
            brokers.unwrap_or(&away).split(',').map(|broker| format!("\"{broker}\"")).collect();
        self.write(
            "forebay.toml",
            &format!(
                "forebay = 1\n[edge]\nid = \"{}\"\nsite = \"Werk1\"\n[kafka]\nbrokers = [{}]\n\
                 topic_prefix = \"{prefix}\"\ntransaction_timeout = \"10s\"\ncommit_interval = \"100ms\"\n\
                 transaction_records_max = 500\n\
                 [journal]\nsync_interval = \"50ms\"\nsegment_size = \"1MiB\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
                 [paths]\ndevices = []\nprofiles = []\nstate = \"state\"\n",
                self.edge,
                brokers.join(", ")
            ),
        );
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("forebay.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Folder of a lane's journal.
    pub fn lane(&self, lane: &str) -> PathBuf {
        self.state().join("journal").join(lane)
    }

    /// Stores batches number `from` to before `to`; the box must not run.
    pub fn fill(&self, from: i64, to: i64) {
        self.fill_in(32 << 10, from, to);
    }

    /// The same in files of this size.
    pub fn fill_in(&self, segment_bytes: u64, from: i64, to: i64) {
        assert!(self.child.is_none());
        let options = LaneOptions {
            segment_bytes,
            sync_bytes: 4 << 10,
            ..LaneOptions::new("telemetry", self.lane("telemetry"), &format!("Werk1/{}", self.edge))
        };
        let Opened { lane, writer, .. } = Lane::open(options, Events::new().0).unwrap();
        let machines = machines(&self.edge);
        (from..to).for_each(|number| append(&writer, batch(&machines, number)));
        assert_eq!(lane.close(), 0);
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["run", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let path = self.state().join("control.sock");
        let pid = u64::from(self.child.as_ref().unwrap().id());
        wait_for(&format!("answer at {}", path.display()), PATIENCE, || {
            (self.client().get("/v1/status").ok()?["pid"] == pid).then_some(())
        });
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        let status = wait_for("end after SIGTERM", PATIENCE, || child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Sends it this signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Address of the page.
    pub fn page(&self) -> String {
        wait_for("page", PATIENCE, || {
            let log = self.log();
            let (_, after) = log.rsplit_once("status page: http://")?;
            after.split_whitespace().next().map(|address| address.trim_end_matches('/').to_owned())
        })
    }

    pub fn client(&self) -> Client {
        Client::new(&self.state())
    }

    pub fn status(&self) -> Json {
        self.client().get("/v1/status").unwrap()
    }

    /// Sends these bytes to the socket and reads until it closes.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.state().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The box may close before it has read everything.
        let _closed = stream.write_all(request);
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// `forebay journal <arguments>` in this process: success, and what it printed.
    pub fn journal(&self, arguments: &[&str]) -> Result<(bool, String), String> {
        let config = self.config();
        let (first, rest) = arguments.split_first().unwrap();
        let all = ["journal", first, "--config", config.to_str().unwrap()];
        let parsed =
            JournalArguments::try_parse_from(all.iter().chain(rest)).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let code = journal_command::run(parsed.command, &mut out).map_err(|error| format!("{error:#}"))?;
        let success = format!("{code:?}") == format!("{:?}", std::process::ExitCode::SUCCESS);
        Ok((success, String::from_utf8(out).unwrap()))
    }

    /// The same with `--json`.
    pub fn journal_json(&self, arguments: &[&str]) -> (bool, Json) {
        let (success, text) = self.journal(&[arguments, &["--json"]].concat()).unwrap();
        (success, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// `forebay <arguments>` as a process of its own.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .output()
            .unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.edge, self.log());
        }
        self.kill();
    }
}

/// The machines of a box.
pub fn machines(edge: &str) -> [Arc<Device>; 2] {
    ["press", "oven"]
        .map(|name| device(&format!("{edge}-{name}"), &[Scalar::Lint, Scalar::Lreal, Scalar::Bool]))
}

/// Batch number `number`: its number, and two values made from it.
pub fn batch(machines: &[Arc<Device>], number: i64) -> Batch {
    let index = usize::try_from(number).unwrap();
    let value = |tag: u32| match tag {
        0 => Value::Int(number),
        1 => Value::Lreal(noise(number)),
        _ => Value::Bool(number % 3 == 0),
    };
    let sample = |tag| Sample { tag, value: value(tag), quality: Quality::Good, source_us: None };
    Batch {
        device: Arc::clone(&machines[index % machines.len()]),
        edge_us: *START_US + number * STEP_US,
        samples: (0..3).map(sample).collect(),
        gap: None,
    }
}

/// A number that no packing makes shorter.
pub fn noise(number: i64) -> f64 {
    fastrand::Rng::with_seed(number.unsigned_abs()).f64()
}

/// Hands a batch over; waits while the queue is full.
pub fn append(writer: &LaneWriter, batch: Batch) {
    let mut waiting = Some(batch);
    wait_for("place in the lane's queue", PATIENCE, || {
        waiting = writer.try_append(waiting.take()?).err();
        waiting.is_none().then_some(())
    });
}

/// Waits until the box says that Kafka has all telemetry below `next_offset`.
pub fn wait_committed(daemon: &Daemon, next_offset: u64, limit: Duration) {
    wait_for(&format!("commit of {next_offset}"), limit, || {
        let status = daemon.client().get("/v1/status").ok()?;
        let next = status["lanes"][0]["replication"]["next_offset"].as_u64()?;
        (next >= next_offset).then_some(())
    });
}

/// Names and contents of all files below a folder.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
