//! What a million tag values cost in CPU time: `cargo bench -p forebay-s7`.
//!
//! The connector is compared with the bare protocol, which sends the same requests ready-made and
//! reads the same answers without looking into them. Both read the simulated CPU, which runs on
//! other threads; only the time of the reading thread counts. The runs take turns, and the least
//! of each counts, so that another program on the machine disturbs both alike.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, Protocol, ScanClass, Secrets, TagSpec, Value,
};
use forebay_s7::S7;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Values read in one run of one way of reading.
const VALUES: usize = 500_000;
const RUNS: usize = 7;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name}"))
    }
}

fn device(tags: &[(String, &str)]) -> DeviceSpec {
    let tag = |(address, data_type): &(String, &str)| TagSpec {
        path: address.clone(),
        address: address.clone(),
        data_type: DataType::parse(data_type).expect("a type"),
        order: None,
        scan: 0,
        deadband: None,
    };
    DeviceSpec {
        name: "bench".into(),
        endpoint: "127.0.0.1".into(),
        options: BTreeMap::from([("timeout".into(), OptionValue::Duration(Duration::from_secs(20)))]),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_secs(1) }],
        tags: tags.iter().map(tag).collect(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: std::env::temp_dir(),
    }
}

/// CPU time of this thread so far, in nanoseconds (Linux, first number of `schedstat`).
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's time");
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Tags as machines have them.
fn cases() -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    let press = (0..100).flat_map(|n| {
        let at = n * 20;
        [
            (format!("DB10.DBX{at}.0"), "BOOL"),
            (format!("DB10.DBX{at}.1"), "BOOL"),
            (format!("DB10.DBW{}", at + 2), "INT"),
            (format!("DB10.DBD{}", at + 4), "REAL"),
            (format!("DB10.DBD{}", at + 8), "UDINT"),
            (format!("DB10.DBD{}", at + 12), "TIME"),
            (format!("DB10.DBW{}", at + 16), "WORD"),
        ]
    });
    vec![
        ("1000 REAL side by side", (0..1000).map(|n| (format!("DB1.DBD{}", n * 4), "REAL")).collect()),
        ("700 tags of a machine, mixed types", press.collect()),
        (
            "20 REAL far apart, one request",
            (0..20).map(|n| (format!("DB2.DBD{}", n * 100), "REAL")).collect(),
        ),
        ("200 INT far apart", (0..200).map(|n| (format!("DB3.DBW{}", n * 50), "INT")).collect()),
    ]
}

/// Lets a client through to the device and keeps the frames it sends.
async fn record(device: String) -> io::Result<(String, Arc<Mutex<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = listener.local_addr()?.to_string();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&sent);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await?;
        let far = TcpStream::connect(device).await?;
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
        let mut bytes = [0; 4096];
        loop {
            let count = near_in.read(&mut bytes).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            keep.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            far_out.write_all(&bytes[..count]).await?;
        }
    });
    Ok((endpoint, sent))
}

/// The frames by which a connection is set up, and those of one scan.
fn frames(sent: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut set_up, mut scan, mut rest) = (Vec::new(), Vec::new(), sent);
    while let [_, _, high, low, ..] = rest {
        let (frame, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        match frame {
            [_, _, _, _, _, 0xE0, ..] => set_up.push(frame.to_vec()),
            frame if frame[8] == 1 && frame[17] == 0xF0 => set_up.push(frame.to_vec()),
            frame if frame[8] == 1 => scan.push(frame.to_vec()),
            _ => {} // questions about the CPU
        }
        rest = behind;
    }
    (set_up, scan)
}

/// The bare protocol: one frame out, one frame in.
struct Bare {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Bare {
    async fn exchange(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.stream.write_all(frame).await?;
        let mut have = 0;
        loop {
            have += self.stream.read(&mut self.answer[have..]).await?;
            let length = usize::from(u16::from_be_bytes([self.answer[2], self.answer[3]]));
            if have >= 4 && have >= length {
                return Ok(have);
            }
        }
    }
}

/// Nanoseconds of CPU time a value costs.
fn cost(runtime: &Runtime, values: usize, scan: &mut dyn FnMut(&Runtime)) -> f64 {
    let rounds = VALUES / values;
    let begun = cpu_ns();
    for _ in 0..rounds {
        scan(runtime);
    }
    #[allow(clippy::cast_precision_loss)] // shown with three digits
    let cost = (cpu_ns() - begun) as f64 / (rounds * values) as f64;
    cost
}

fn main() {
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let client = Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("CPU time of the reading side for a million values, least of {RUNS} runs of {VALUES} values");
    println!("{:38} {:>9} {:>10} {:>10} {:>6}", "", "requests", "bare", "connector", "ratio");
    // A word of a case's name picks it.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, tags) in cases() {
        if !wanted.iter().all(|word| name.contains(word.as_str())) {
            continue;
        }
        let mut spec = device(&tags);
        let simulator = server.block_on(S7.simulate(&spec)).expect("a socket");
        (0..).zip(&tags).for_each(|(tag, _)| simulator.set(tag, &Value::Int(i64::from(tag % 100))));

        let (endpoint, sent) = server.block_on(record(simulator.endpoint())).expect("a socket");
        spec.endpoint = endpoint;
        let mut recorded = S7.open(spec.clone()).expect("a right device");
        client.block_on(async {
            recorded.connect().await.expect("connects");
            recorded.poll(&[0], &mut Vec::new()).await.expect("reads");
        });
        let (set_up, scan) = frames(&sent.lock().expect("no panic"));

        spec.endpoint = simulator.endpoint();
        let mut connector: Box<dyn Connector> = S7.open(spec).expect("a right device");
        client.block_on(connector.connect()).expect("connects");
        let mut bare = client.block_on(async {
            let stream = TcpStream::connect(simulator.endpoint()).await.expect("connects");
            stream.set_nodelay(true).expect("it is open");
            let mut bare = Bare { stream, answer: vec![0; 4096] };
            for frame in &set_up {
                bare.exchange(frame).await.expect("is set up");
            }
            bare
        });

        let mut samples = Vec::new();
        let mut by_connector = |client: &Runtime| {
            samples.clear();
            client.block_on(connector.poll(&[0], &mut samples)).expect("reads");
            assert_eq!(samples.len(), tags.len());
        };
        let mut by_hand = |client: &Runtime| {
            client.block_on(async {
                for frame in &scan {
                    bare.exchange(frame).await.expect("reads");
                }
            });
        };
        let (mut least_bare, mut least) = (f64::MAX, f64::MAX);
        for _ in 0..RUNS {
            least_bare = least_bare.min(cost(&client, tags.len(), &mut by_hand));
            least = least.min(cost(&client, tags.len(), &mut by_connector));
        }
        println!(
            "{name:38} {:>9} {:>7.1} ms {:>7.1} ms {:>6.2}",
            scan.len(),
            least_bare,
            least,
            least / least_bare
        );
    }
}
