//! The whole way of a backlog: journal on disk, read and decoded, JSON, transactions.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample, Schema};
use forebay::clock::now_us;
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions, LaneReader, LaneWriter, Opened};
use forebay::replicate::{JournalSource, Mode, Options, Replicator, Source, State, encode};
use forebay_connector::{Quality, Scalar, Value};

use crate::kafka_cluster::Cluster;
use crate::prepared::Prepared;
use crate::{cpu, device, outer};

/// The backlog of seven devices, `records` scans of `tags` noisy values, against
/// `rdkafka_performance` with the very same keys and values; and with `parts` what makes the
/// difference.
#[allow(clippy::cast_precision_loss)] // printed with three digits
pub fn drain(cluster: &Cluster, tags: u32, records: u64, parts: bool) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-drain");
    let _nothing_left_over = std::fs::remove_dir_all(&directory);
    let (lane, writer, reader) = open(&directory);
    let written = write(&writer, &directory, tags, records);
    let mut source = JournalSource::new("telemetry", reader);
    let length = written.bytes / records;
    println!("{tags:>7}  {records} records of {length} bytes from {:.1} MB of journal", mb(&directory));
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;

    let (start, before) = (Instant::now(), cpu());
    for _ in 0..records {
        source.next(Duration::ZERO).expect("a record").expect("all of them are there");
    }
    let (took, spent) = (start.elapsed(), cpu() - before);
    println!(
        "{:>9}reading and encoding alone: {:.0} records/s, {:.2} CPU s a million",
        "",
        rate(took),
        per_million(spent)
    );

    lane.close();
    let bench = Bench { cluster, directory: &directory, written: &written, tags, records };
    println!("{:>9}{:<48} records/s    MB/s  CPU s a million: sender, broker", "", "");
    let pairs: Vec<(f64, f64)> = (0..PAIRS).map(|pair| bench.pair(pair)).collect();
    let mut shares: Vec<f64> = pairs.iter().map(|(ours, same)| 100.0 * ours / same).collect();
    shares.sort_by(f64::total_cmp);
    println!("{:>9}of rdkafka_performance: {:.0} % in the middle, of {shares:.0?} %", "", shares[PAIRS / 2]);
    if parts {
        bench.parts();
    }
    std::fs::remove_dir_all(&directory).expect("this run's files go");
    std::fs::remove_file(&written.file).expect("this run's files go");
}

/// Both sides are measured so often, in turn.
const PAIRS: usize = 3;

/// What is measured again and again.
struct Bench<'a> {
    cluster: &'a Cluster,
    directory: &'a Path,
    written: &'a Written,
    tags: u32,
    records: u64,
}

impl Bench<'_> {
    /// `rdkafka_performance` and the whole way, records a second of us and of it.
    fn pair(&self, pair: usize) -> (f64, f64) {
        let same = self.outer("rdkafka_performance", &format!("same{pair}"), true, &[]);
        let ours = self.ours("exactly once, from the journal", &format!("journal{pair}"), &["journal"]);
        (ours, same)
    }

    /// What each of the differences costs.
    fn parts(&self) {
        let headers = ["-H", "edge=box-1", "-H", "epoch=00112233445566778899aabbccddeeff"];
        self.outer("the same without headers", "bare", false, &[]);
        self.outer("the same, idempotent", "idempotent", true, &["-X", "enable.idempotence=true"]);
        let small = ["-X", "queue.buffering.max.kbytes=16384"];
        self.outer("the same with a queue of 16 MiB", "small", true, &small);
        self.outer("the same with two headers", "two", false, &headers);
        self.ours("exactly once, records ready in memory", "ready", &["prepared"]);
        self.ours("at least once, records ready in memory", "least", &["prepared", "at-least-once"]);
        self.ours("at least once, from the journal", "least-journal", &["journal", "at-least-once"]);
        let one = outer::one_record(
            self.cluster,
            &self.topic("one"),
            &self.written.key,
            &self.written.value,
            self.records,
        );
        println!("{:>9}{:<48}{one:>10.0}", "", "rdkafka_performance, one record repeated");
    }

    fn topic(&self, what: &str) -> String {
        format!("{what}-drain{}.telemetry", self.tags)
    }

    fn outer(&self, what: &str, topic: &str, has_headers: bool, settings: &[&str]) -> f64 {
        let broker = broker_cpu();
        let ended = ended_cpu();
        let rate = outer::same_records(
            self.cluster,
            &self.topic(topic),
            &self.written.file,
            self.records,
            has_headers,
            settings,
        );
        self.print(what, rate, ended_cpu() - ended, broker_cpu() - broker, "");
        rate
    }

    fn ours(&self, what: &str, prefix: &str, how: &[&str]) -> f64 {
        let prefix = format!("{prefix}-drain{}", self.tags);
        self.cluster.create_topics(&prefix);
        let (broker, ended) = (broker_cpu(), ended_cpu());
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["send", &self.cluster.brokers(), &prefix, &self.records.to_string()])
            .arg(if how[0] == "journal" { self.directory } else { &self.written.file })
            .args(how)
            .stderr(Stdio::inherit())
            .output()
            .expect("it runs once more");
        let (broker, sender) = (broker_cpu() - broker, ended_cpu() - ended);
        let said = String::from_utf8(output.stdout).expect("text");
        let (rate, more) =
            said.trim().split_once(' ').unwrap_or_else(|| panic!("it says how fast it was: {said}"));
        let rate: f64 = rate.parse().expect("a number");
        self.print(what, rate, sender, broker, more);
        rate
    }

    #[allow(clippy::cast_precision_loss)] // printed with three digits
    fn print(&self, what: &str, rate: f64, sender: Duration, broker: Duration, more: &str) {
        let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.records as f64;
        println!(
            "{:>9}{what:<48}{rate:>10.0}{:>8.0}{:>8.2}{:>8.2}  {more}",
            "",
            rate * self.written.bytes as f64 / self.records as f64 / 1e6,
            per_million(sender),
            per_million(broker),
        );
    }
}

/// The sending half, in a process of its own, so that its memory is that of a box with a backlog:
/// brokers, prefix, number of records, the lane's directory or the file of records, which of the
/// two, and perhaps `at-least-once` are its arguments.
#[allow(clippy::cast_precision_loss)] // printed with three digits
pub fn send(arguments: &[String]) {
    let [brokers, prefix, records, from, what, mode @ ..] = arguments else { panic!("five: {arguments:?}") };
    let records: u64 = records.parse().expect("a number");
    let mode = if mode.is_empty() { Mode::ExactlyOnce } else { Mode::AtLeastOnce };
    let options = Options { mode, ..Options::new(brokers, prefix, "werk1", "box-1") };
    let (replicator, lane) = if what == "journal" {
        let (lane, _, reader) = open(Path::new(from));
        (Replicator::start(options, JournalSource::new("telemetry", reader), "bench", None), Some(lane))
    } else {
        (Replicator::start(options, Prepared::read(Path::new(from), records), "bench", None), None)
    };
    let replicator = replicator.expect("a thread");
    let status = replicator.status();
    while status.snapshot().state != State::Up {
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    while status.snapshot().records < records {
        std::thread::sleep(Duration::from_millis(2));
    }
    println!(
        "{} {} transactions, at most {} MB of memory",
        records as f64 / start.elapsed().as_secs_f64(),
        status.snapshot().transactions,
        peak_mb()
    );
    drop(replicator);
    if let Some(lane) = lane {
        lane.close();
    }
}

/// CPU time of the programs that we have started and that have ended.
fn ended_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    ticks(&stat, 13)
}

/// CPU time of the broker: Java, below the shell that we have started.
fn broker_cpu() -> Duration {
    let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let parent = |stat: &str| stat.rsplit(')').next()?.split_whitespace().nth(1).map(str::to_owned);
    let us = std::process::id().to_string();
    let is_ours = |java: &str| {
        let shell = parent(java)?;
        Some(parent(&stat(&shell).ok()?)? == us)
    };
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc").filter_map(Result::ok);
    processes
        .filter_map(|process| stat(process.file_name().to_str()?).ok())
        .filter(|stat| stat.contains("(java)") && is_ours(stat).unwrap_or(false))
        .map(|stat| ticks(&stat, 11))
        .sum()
}

/// Two neighbouring times of a process, in user and in kernel space.
fn ticks(stat: &str, skip: usize) -> Duration {
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(skip).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux architecture we build for
}

fn open(directory: &Path) -> (Lane, LaneWriter, LaneReader) {
    let (events, receiver) = Events::new();
    std::mem::forget(receiver); // nobody reads them here
    let options =
        LaneOptions { budget_bytes: 16 << 30, ..LaneOptions::new("telemetry", directory, "bench/box") };
    let Opened { lane, writer, reader, .. } = Lane::open(options, events).expect("the lane opens");
    (lane, writer, reader)
}

/// What was written, and the first of it.
struct Written {
    bytes: u64,
    key: String,
    value: Vec<u8>,
    file: std::path::PathBuf,
}

fn write(writer: &LaneWriter, directory: &Path, tags: u32, records: u64) -> Written {
    let scalars = vec![Scalar::Real; tags as usize];
    let devices: Vec<(Arc<Device>, Schema)> = (0..7)
        .map(|number| device::device(&format!("machine-{number}"), &scalars))
        .map(|device| (Arc::clone(&device), Schema::of(&device)))
        .collect();
    let mut file = outer::Records::create(directory.with_extension("records"));
    let mut random = fastrand::Rng::with_seed(u64::from(tags));
    let now = now_us();
    let (mut value, mut first, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (number, (device, schema)) in (0..records).zip(devices.iter().cycle()) {
        let sample = |tag| Sample {
            tag,
            value: Value::Real((random.f32() * 1000.0).round() / 10.0),
            quality: Quality::Good,
            source_us: None,
        };
        let samples: Vec<Sample> = (0..tags).map(sample).collect();
        let edge_us = now + i64::try_from(number).unwrap_or(0) * 1000;
        encode::batch(&mut value, schema, edge_us, None, &samples);
        bytes += value.len() as u64;
        if !file.is_full() {
            file.push(&schema.device, &value);
        }
        if number == 0 {
            first.clone_from(&value);
        }
        let mut batch = Batch { device: Arc::clone(device), edge_us, samples, gap: None };
        while let Err(back) = writer.try_append(batch) {
            batch = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush(Duration::from_secs(60)).expect("the disk works");
    Written { bytes, key: devices[0].1.device.clone(), value: first, file: file.close() }
}

#[allow(clippy::cast_precision_loss)] // printed with one digit
fn mb(directory: &Path) -> f64 {
    let files = std::fs::read_dir(directory).expect("the lane is there");
    let bytes: u64 = files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| if file.is_file() { file.len() } else { 0 })
        .sum();
    bytes as f64 / 1e6
}

/// Most memory this process has had at once.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1000
}
