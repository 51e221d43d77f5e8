//! Memory of the whole program with a large backlog.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forebay::replicate::mock::Broker;

use crate::gigabytes_in;
use crate::support::{self, Port};

/// The daemon on the journal in `directory`: first Kafka is away, then it comes and takes the backlog.
pub fn measure(directory: &Path, short: bool) {
    println!(
        "\nmemory of `forebay run`, backlog of {:.2} GB",
        gigabytes_in(&directory.join("journal/telemetry"))
    );
    let seconds = if short { 3 } else { 60 };
    let nobody = Port::reserve();
    watch(directory, "Kafka away", &format!("127.0.0.1:{}", nobody.number), seconds);
    let broker = Broker::start("bench").expect("the embedded broker");
    watch(directory, "Kafka takes the backlog", broker.bootstrap(), seconds);
}

fn watch(directory: &Path, words: &str, brokers: &str, seconds: u64) {
    let page = Port::reserve();
    let page = format!("127.0.0.1:{}", page.number);
    write_site(directory, brokers, &page);
    let started = Instant::now();
    let mut child = start(&directory.join("forebay.toml"));
    let mut open = None;
    while started.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(10));
        if open.is_none() && support::get(&page, "/metrics").is_some() {
            open = Some(started.elapsed());
        }
    }
    let sent = support::get(&page, "/metrics").map_or(0.0, |text| sent(&text));
    let pid = child.id().to_string();
    println!(
        "{words}, after {seconds} s: {:.1} MB resident, {:.1} at most; {sent:.0} records sent; page after {} ms",
        of(&pid, "VmRSS"),
        of(&pid, "VmHWM"),
        open.map_or_else(|| "no".to_owned(), |open| open.as_millis().to_string()),
    );
    Command::new("kill").arg(&pid).status().expect("kill runs");
    child.wait().expect("the process ends");
}

fn sent(metrics: &str) -> f64 {
    let name = "forebay_lane_committed_records_total{lane=\"telemetry\"}";
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// Megabytes of a process, as the kernel counts them.
pub fn of(pid: &str, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).expect("a number") / 1e3
}

fn start(config: &Path) -> Child {
    // FOREBAY_BIN measures another build, for example that of a package.
    let binary = std::env::var("FOREBAY_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_forebay").to_owned());
    Command::new(binary)
        .args(["run", "--config"])
        .arg(config)
        .stderr(Stdio::null())
        .spawn()
        .expect("forebay starts")
}

/// One machine that does not answer, so that nothing but the backlog is there.
fn write_site(folder: &Path, brokers: &str, page: &str) {
    let profile = "forebay = 1\n[profile]\nname = \"bench\"\nversion = \"1\"\nprotocol = \"modbus\"\nsource = \"made for \
                   this bench\"\n[modbus]\nunit_id = 1\n[scan]\nall = \"1s\"\n[defaults]\nscan = \"all\"\ntype = \
                   \"REAL\"\n[tags.values]\nv0 = { address = \"hr:0\" }\n[[device]]\nname = \"d0\"\nendpoint = \
                   \"tcp://127.0.0.1:1\"\nlocation = \"Bench/A/B/C0\"\n";
    fs::create_dir_all(folder.join("profiles")).expect("a folder");
    fs::write(folder.join("profiles/bench.toml"), profile).expect("a profile");
    let config = format!(
        "forebay = 1\n[edge]\nid = \"bench\"\nsite = \"Bench\"\n[kafka]\nbrokers = [\"{brokers}\"]\n\
         topic_prefix = \"bench\"\n[journal]\ndirectory = \"journal\"\nkeep = \"3650d\"\n[lanes.telemetry]\nbudget = \"60GiB\"\n\
         [status]\nlisten = \"{page}\"\n[paths]\nprofiles = [\"profiles\"]\nstate = \"state\"\n"
    );
    fs::write(folder.join("forebay.toml"), config).expect("a configuration");
}
