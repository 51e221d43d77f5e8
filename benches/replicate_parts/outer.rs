//! librdkafka's own `rdkafka_performance`: what it does with the same settings and no transactions.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kafka_cluster::Cluster;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/rdkafka_performance");

/// As ours, but that `offset` does not count.
const HEADERS: [&str; 6] =
    ["-H", "edge=box-1", "-H", "epoch=00112233445566778899aabbccddeeff", "-H", "offset=123456"];

/// Records a second by the program's own clock, which starts with the first record; one record,
/// repeated.
pub fn one_record(cluster: &Cluster, topic: &str, key: &str, value: &[u8], records: u64) -> f64 {
    let value = std::str::from_utf8(value).expect("JSON");
    let mut command = Command::new(PROGRAM);
    command.args(["-k", key, "-s", &value.len().to_string(), "-m", value]).args(HEADERS);
    run(cluster, topic, command, records)
}

/// The same with the records of a file in turn, by the program with our patch.
pub fn same_records(
    cluster: &Cluster,
    topic: &str,
    file: &Path,
    records: u64,
    has_headers: bool,
    settings: &[&str],
) -> f64 {
    let mut command = Command::new(format!("{PROGRAM}-records"));
    command.args(["-k", "from the file", "-s", "1", "-m", "x"]).env("RECORDS", file);
    command.args(settings).args(if has_headers { &HEADERS[..] } else { &[] });
    run(cluster, topic, command, records)
}

fn run(cluster: &Cluster, topic: &str, mut command: Command, records: u64) -> f64 {
    cluster.create_topic(topic, 4);
    let output = command
        .args(["-P", "-t", topic, "-b", &cluster.brokers(), "-a", "-1", "-z", "zstd"])
        .args(["-X", "compression.level=1", "-X", "linger.ms=5"])
        .args(["-X", "queue.buffering.max.messages=50000"])
        .args(["-c", &records.to_string()])
        .output()
        .expect("benches/rdkafka_performance builds the programs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!(" {records} delivered")), "not all has arrived: {said}");
    said.lines()
        .filter_map(|line| line.split_once(" msgs/s")?.0.rsplit(' ').next()?.parse().ok())
        .next_back()
        .unwrap_or_else(|| panic!("it says how fast it was: {said}"))
}

/// A file of records for [`same_records`].
pub struct Records {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: usize,
}

impl Records {
    /// Beyond it they are repeated, far behind anything that a compressor looks back to.
    const BYTES_MAX: usize = 128 << 20;

    pub fn create(path: PathBuf) -> Self {
        let file = BufWriter::new(File::create(&path).expect("target is writable"));
        Self { path, file, bytes: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= Self::BYTES_MAX
    }

    pub fn push(&mut self, key: &str, value: &[u8]) {
        for part in [key.as_bytes(), value] {
            let length = u32::try_from(part.len()).expect("a record");
            self.file.write_all(&length.to_ne_bytes()).expect("target is writable");
        }
        for part in [key.as_bytes(), value] {
            self.file.write_all(part).expect("target is writable");
            self.bytes += part.len();
        }
    }

    pub fn close(mut self) -> PathBuf {
        self.file.flush().expect("target is writable");
        self.path
    }
}
