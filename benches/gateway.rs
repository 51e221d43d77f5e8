//! The whole gateway as a process: 10,000 tags a second over Modbus TCP into an embedded broker.
//!
//! `cargo bench --bench gateway [-- SECONDS [DEVICES TAGS]]` prints start time, share of one core,
//! resident memory and the jitter of scan starts of the `forebay` process; `-- 30 200 500` are 100,000
//! tags a second from 200 devices. The simulated devices and the broker run in this process, so
//! that they do not count. Every value changes every second: nothing is held back by a deadband.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::replicate::mock::Broker;
use forebay_connector::{Simulator, Value};

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/support.rs"]
mod support;

/// How many devices, and how many tags each of them.
#[derive(Clone, Copy)]
struct Size {
    devices: usize,
    tags: usize,
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let seconds: usize = numbers.next().unwrap_or(30);
    let size = Size { devices: numbers.next().unwrap_or(10), tags: numbers.next().unwrap_or(1000) };
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let broker = Broker::start("bench").expect("the embedded broker");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    write_site(size, folder.path(), broker.bootstrap(), "127.0.0.1:0", &[]);
    let loaded = forebay::config::load(&folder.path().join("forebay.toml"));
    assert_eq!(loaded.devices.len(), size.devices, "{:?}", loaded.diagnostics);
    let simulators: Vec<Arc<dyn Simulator>> = runtime.block_on(async {
        let mut simulators = Vec::new();
        for device in &loaded.devices {
            let simulator = device.protocol.simulate(&device.spec).await.expect("a simulator");
            simulators.push(Arc::from(simulator));
        }
        simulators
    });
    runtime.spawn(change_values(size, simulators.clone()));
    let endpoints: Vec<String> = simulators.iter().map(|simulator| simulator.endpoint()).collect();
    let page = support::Port::reserve();
    let page = format!("127.0.0.1:{}", page.number);
    write_site(size, folder.path(), broker.bootstrap(), &page, &endpoints);

    let started = Instant::now();
    let mut child = start(&folder.path().join("forebay.toml"));
    let first = wait_for_first_values(&mut child, started);
    println!("start to first values      {:>8.0} ms   (limit 300)", first.as_secs_f64() * 1e3);
    std::thread::sleep(Duration::from_secs(10));
    let (before, synced, sent) = (cpu_seconds(child.id()), synced(&page), sent(&page));
    let window = Instant::now();
    let mut late_ms: Vec<f64> = (0..seconds).flat_map(|_| late_ms(&page)).collect();
    let cpu = cpu_seconds(child.id()) - before;
    let share = cpu / window.elapsed().as_secs_f64();
    let samples = crate::synced(&page) - synced;
    let records = crate::sent(&page) - sent;
    println!("share of one core          {:>8.2} %    (limit 5), over {seconds} s", share * 100.0);
    println!("CPU per million samples    {:>8.2} s", cpu / samples * 1e6);
    println!("samples synced             {:>8.0} a second", samples / window.elapsed().as_secs_f64());
    println!("records in Kafka           {:>8.1} a second", records / window.elapsed().as_secs_f64());
    println!(
        "resident memory            {:>8.1} MB   (limit 64), peak {:.1} MB",
        memory_mb(child.id(), "VmRSS"),
        memory_mb(child.id(), "VmHWM")
    );
    late_ms.sort_by(f64::total_cmp);
    let of_all = |share: usize| late_ms[(late_ms.len() - 1) * share / 100];
    println!(
        "scan starts late           {:>8.1} ms   (99 % of {}; median {:.1} ms, worst {:.1} ms)",
        of_all(99),
        late_ms.len(),
        of_all(50),
        of_all(100)
    );
    let journal = folder_bytes(&folder.path().join("journal"));
    println!("journal on disk            {:>8.1} MB", journal as f64 / 1e6);
    Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    child.wait().expect("the process ends");
}

/// Samples written and synced, by the process's own count.
fn synced(page: &str) -> f64 {
    metric(page, "forebay_samples_journalled_total{lane=\"telemetry\"}")
}

/// Telemetry records that the broker has confirmed.
fn sent(page: &str) -> f64 {
    metric(page, "forebay_lane_committed_records_total{lane=\"telemetry\"}")
}

fn metric(page: &str, name: &str) -> f64 {
    let text = support::get(page, "/metrics").expect("the page answers");
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// How late the last scan of each device began, a second from now.
fn late_ms(page: &str) -> Vec<f64> {
    std::thread::sleep(Duration::from_secs(1));
    let text = support::get(page, "/metrics").expect("the page answers");
    let of_devices = text.lines().filter(|line| line.starts_with("forebay_device_scan_late_seconds{"));
    let late_s = of_devices.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    late_s.map(|late_s| late_s * 1e3).collect()
}

async fn change_values(size: Size, simulators: Vec<Arc<dyn Simulator>>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut values = vec![20.0_f32; size.devices * size.tags];
    loop {
        tick.tick().await;
        for (index, value) in values.iter_mut().enumerate() {
            *value += (fastrand::f32() - 0.5) * 0.1;
            let tag = u32::try_from(index % size.tags).expect("few tags");
            simulators[index / size.tags].set(tag, &Value::Real(*value));
        }
    }
}

fn start(config: &Path) -> Child {
    // FOREBAY_BIN measures another build, for example that of a package.
    let binary = std::env::var("FOREBAY_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_forebay").to_owned());
    Command::new(binary)
        .args(["run", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .expect("forebay starts")
}

fn wait_for_first_values(child: &mut Child, started: Instant) -> Duration {
    let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    while log.read_line(&mut line).expect("the log is text") > 0 {
        if line.contains("first values") {
            let first = started.elapsed();
            // Goes on reading, so that the process never waits for its log.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return first;
        }
        line.clear();
    }
    panic!("forebay ended: {:?}", child.wait());
}

/// User and system time of a process, seconds (proc(5), /proc/PID/stat fields 14 and 15).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 =
        fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number");
    ticks / 100.0
}

fn memory_mb(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).expect("a number") / 1e3
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn write_site(size: Size, folder: &Path, brokers: &str, page: &str, endpoints: &[String]) {
    let mut profile = String::from(
        "forebay = 1\n[profile]\nname = \"bench\"\nversion = \"1\"\nprotocol = \"modbus\"\nsource = \"made for this bench\"\n\
         [modbus]\nunit_id = 1\n[scan]\nall = \"1s\"\n[defaults]\nscan = \"all\"\ntype = \"REAL\"\n[tags.values]\n",
    );
    for tag in 0..size.tags {
        writeln!(profile, "v{tag} = {{ address = \"hr:{}\" }}", tag * 2).expect("a text takes text");
    }
    for device in 0..size.devices {
        let endpoint = endpoints.get(device).map_or("tcp://127.0.0.1", String::as_str);
        write!(profile, "[[device]]\nname = \"d{device}\"\nendpoint = \"{endpoint}\"\nlocation = \"Bench/A/B/C{device}\"\n")
            .expect("a text takes text");
    }
    std::fs::create_dir_all(folder.join("profiles")).expect("a folder");
    std::fs::write(folder.join("profiles/bench.toml"), profile).expect("a profile");
    let config = format!(
        "forebay = 1\n[edge]\nid = \"bench\"\nsite = \"Bench\"\n[kafka]\nbrokers = [\"{brokers}\"]\n\
         topic_prefix = \"bench\"\n[journal]\ndirectory = \"journal\"\n[status]\nlisten = \"{page}\"\n\
         [paths]\nprofiles = [\"profiles\"]\nstate = \"state\"\n[limits]\ndevices = {}\ntags = {}\n",
        size.devices.max(10),
        size.devices * size.tags
    );
    std::fs::write(folder.join("forebay.toml"), config).expect("a configuration");
}
