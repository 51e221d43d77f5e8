//! How soon values come again after a controller has started again.
//!
//! `cargo bench --profile dev --bench reconnect [-- RESTARTS [AWAY_S]]`: foreign servers of each
//! protocol (python-snap7, pymodbus, asyncua) are killed while a task reads them ten times a second,
//! stay away for about ten seconds and are started again on their port. What counts is the time from
//! the moment the port takes connections (by the kernel's list, so that nobody has to try) to the first
//! good sample that the journal is given. All three run at once; each waits a different time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forebay::batch::Batch;
use forebay::device::Device;
use forebay::event::Events;
use forebay::poll::{self, Shared, Sink};
use forebay::twin::Twin;
use forebay_connector::Quality;
use tokio_util::sync::CancellationToken;

use support::{Peer, Port, Python};

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/support.rs"]
mod support;

/// Longest wait for values.
const PATIENCE: Duration = Duration::from_secs(180);

/// A protocol and its foreign server.
struct Case {
    protocol: &'static str,
    peer: Python,
    script: &'static str,
    arguments: &'static [&'static str],
    /// What stands before `127.0.0.1:PORT`.
    scheme: &'static str,
    /// Table of the protocol, and two tags.
    profile: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        protocol: "s7",
        peer: Python::Current,
        script: "s7_server.py",
        arguments: &[],
        scheme: "",
        profile: "[s7]\ncpu = \"s7-300\"\n[tags.a]\none = { address = \"MD0\" }\ntwo = { address = \"MD400\" }\n",
    },
    Case {
        protocol: "modbus",
        peer: Python::Current,
        script: "modbus_server.py",
        arguments: &[],
        scheme: "tcp://",
        profile: "[modbus]\nunit_id = 1\n[tags.a]\none = { address = \"hr:0\" }\ntwo = { address = \"hr:900\" }\n",
    },
    Case {
        protocol: "opcua",
        peer: Python::Current,
        script: "opcua_server.py",
        arguments: &["--node", "s=one REAL 1.5", "--node", "s=two REAL 2.5"],
        scheme: "opc.tcp://",
        profile: "[opcua]\nsecurity = \"None\"\nmode = \"None\"\nnamespaces = { t = \"urn:forebay:test\" }\n\
                  [tags.a]\none = { address = \"ns=t;s=one\" }\ntwo = { address = \"ns=t;s=two\" }\n",
    },
];

/// Notes when a good sample came, if nobody has taken note of the last.
#[derive(Default)]
struct FirstGood(Mutex<Option<Instant>>);

impl FirstGood {
    fn take(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Sink for FirstGood {
    fn append(&self, batch: Batch) -> Result<(), Batch> {
        if batch.samples.iter().any(|sample| sample.quality == Quality::Good) {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let restarts = numbers.next().unwrap_or(10);
    let away = Duration::from_secs(numbers.next().unwrap_or(10).into());
    println!(
        "from a port that is open again to the first good sample, away for {} s or up to 2 s more",
        away.as_secs()
    );
    println!("{:10} {:>9} {:>10} {:>10} {:>10}", "", "restarts", "least", "median", "worst");
    std::thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(move || {
                let mut taken_ms = measure(case, restarts, away);
                taken_ms.sort_by(f64::total_cmp);
                let at = |share: usize| taken_ms[(taken_ms.len() - 1) * share / 2];
                println!(
                    "{:10} {restarts:>9} {:>7.0} ms {:>7.0} ms {:>7.0} ms",
                    case.protocol,
                    at(0),
                    at(1),
                    at(2)
                );
            });
        }
    });
}

/// Milliseconds of each restart.
fn measure(case: &Case, restarts: u32, away: Duration) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let port = Port::reserve();
    let device = device(case, folder.path(), port.number);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut peer = Some(start(case, port.number));
    let sink = Arc::new(FirstGood::default());
    // Nobody reads the events: what does not fit is counted and dropped.
    let (events, _unread) = Events::new();
    let stop = CancellationToken::new();
    let shared = Shared {
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        events,
        gate: tokio::sync::watch::channel(false).1,
        reconnect_pause_max: Duration::from_secs(60),
        stop: stop.clone(),
    };
    let twin = Arc::clone(&Twin::new(&[Arc::clone(&device)]).devices()[0]);
    let task = runtime.spawn(poll::run(device, twin, shared, 0));
    first_good(&sink, Instant::now());
    let taken_ms = (0..restarts).map(|_| {
        drop(peer.take());
        std::thread::sleep(away + Duration::from_secs(2).mul_f64(fastrand::f64()));
        sink.take();
        let open = std::thread::scope(|scope| {
            let open = scope.spawn(|| until_open(port.number));
            peer = Some(start(case, port.number));
            open.join().expect("the kernel's list can be read")
        });
        let taken = first_good(&sink, open);
        // Under load for a while before the next time.
        std::thread::sleep(Duration::from_secs(3));
        taken.as_secs_f64() * 1e3
    });
    let taken_ms = taken_ms.collect();
    stop.cancel();
    runtime.block_on(task).expect("the task ends");
    taken_ms
}

/// From `since` to the first good sample.
fn first_good(sink: &FirstGood, since: Instant) -> Duration {
    loop {
        if let Some(at) = sink.take() {
            return at.saturating_duration_since(since);
        }
        assert!(since.elapsed() < PATIENCE, "no values within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start(case: &Case, port: u16) -> Peer {
    let number = port.to_string();
    let arguments = [&["--port", &number], case.arguments].concat();
    let peer = Peer::start(case.peer, case.script, &arguments);
    assert_eq!(peer.port, port, "{}: its port is taken", case.protocol);
    peer
}

/// Waits until somebody listens on this port.
fn until_open(port: u16) -> Instant {
    // proc_net_tcp: local address and port in hexadecimal, 0A is "listening".
    let (any, own) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST);
    let lines = [any, own]
        .map(|host| format!("{:08X}:{port:04X} 00000000:0000 0A", u32::from_ne_bytes(host.octets())));
    loop {
        let list = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its sockets");
        if lines.iter().any(|line| list.contains(line)) {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn device(case: &Case, folder: &Path, port: u16) -> Arc<Device> {
    let Case { protocol, scheme, profile, .. } = case;
    let (options, tags) = profile.split_once("[tags.a]").expect("a profile has tags");
    let profile = format!(
        "forebay = 1\n[profile]\nname = \"bench\"\nversion = \"1\"\nprotocol = \"{protocol}\"\nsource = \"made for this bench\"\n\
         {options}[scan]\nfast = \"100ms\"\n[defaults]\nscan = \"fast\"\ntype = \"REAL\"\nmax_silence = \"1s\"\n[tags.a]{tags}",
    );
    let site = "forebay = 1\n[edge]\nid = \"bench\"\nsite = \"Bench\"\n[kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic_prefix = \"bench\"\n\
         [journal]\ndirectory = \"journal\"\n[paths]\nprofiles = [\"profiles\"]\nstate = \"state\"\n";
    let own = format!(
        "[[device]]\nname = \"d\"\nendpoint = \"{scheme}127.0.0.1:{port}\"\nlocation = \"Bench/A/B/C\"\nallow_insecure = true\n"
    );
    std::fs::create_dir_all(folder.join("profiles")).expect("a folder");
    std::fs::write(folder.join("profiles/bench.toml"), format!("{profile}{own}")).expect("a profile");
    std::fs::write(folder.join("forebay.toml"), site).expect("a configuration");
    let loaded = forebay::config::load(&folder.join("forebay.toml"));
    assert_eq!(loaded.devices.len(), 1, "{:?}", loaded.diagnostics);
    Arc::clone(&loaded.devices[0])
}
