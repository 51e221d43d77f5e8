//! CPU time of a million tag values: our connector against bare tokio-modbus for the same bytes.
//!
//! 10,000 tags of type REAL in requests of 100 registers, from a server on a thread of its own. Both
//! clients run in turn on this thread, and only this thread's time counts. Bare tokio-modbus reads
//! the registers and makes nothing of them; the connector makes checked samples of 10,000 tags.
//!
//! `cargo bench -p forebay-modbus`

// A bench that cannot go on has nothing better to do than to stop.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, Protocol, ScanClass, Secrets, TagSpec, Value,
};
use forebay_modbus::Modbus;
use tokio_modbus::client::{Context, Reader, tcp};

const TAGS: u16 = 10_000;
const REGISTERS: u16 = 100;
/// Each is a million values for each client.
const ROUNDS: usize = 7;
const POLLS: usize = 100;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name} here"))
    }
}

/// Answers every request of 12 bytes with registers that are finite as REAL.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let mut asked = [0; 12];
                let mut answer = [0x41; 9 + 250];
                while stream.read_exact(&mut asked).is_ok() {
                    let data = asked[11] * 2;
                    answer[..8].copy_from_slice(&asked[..8]);
                    answer[4..6].copy_from_slice(&(u16::from(data) + 3).to_be_bytes());
                    answer[8] = data;
                    if stream.write_all(&answer[..9 + usize::from(data)]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn device(address: SocketAddr) -> DeviceSpec {
    let tag = |number: u16| TagSpec {
        path: format!("tag.{number}"),
        address: format!("hr:{}", 2 * number),
        data_type: DataType::parse("REAL").unwrap(),
        order: None,
        scan: 0,
        deadband: None,
    };
    DeviceSpec {
        name: "bench".into(),
        endpoint: format!("tcp://{address}"),
        options: [("max_registers".to_owned(), OptionValue::Int(REGISTERS.into()))].into(),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_secs(1) }],
        tags: (0..TAGS).map(tag).collect(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: "unused".into(),
    }
}

/// CPU time of this thread in microseconds.
fn cpu_us() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns: f64 = text.split(' ').next().unwrap().parse().unwrap();
    ns / 1000.0
}

async fn ours(connector: &mut Box<dyn Connector>) -> f64 {
    let mut samples = Vec::new();
    let before = cpu_us();
    for _ in 0..POLLS {
        samples.clear();
        connector.poll(&[0], &mut samples).await.unwrap();
        assert_eq!(samples.len(), usize::from(TAGS));
    }
    let used = cpu_us() - before;
    assert!(samples.iter().all(|sample| sample.value == Value::Real(f32::from_bits(0x4141_4141))));
    used
}

async fn bare(context: &mut Context) -> f64 {
    let before = cpu_us();
    for _ in 0..POLLS {
        let mut start = 0;
        while start < 2 * TAGS {
            let words = context.read_holding_registers(start, REGISTERS).await.unwrap().unwrap();
            assert_eq!(std::hint::black_box(words).len(), usize::from(REGISTERS));
            start += REGISTERS;
        }
    }
    cpu_us() - before
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = serve();
        let mut connector = Modbus.open(device(address)).unwrap();
        connector.connect().await.unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut context = tcp::attach(stream);
        let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_ours.push(ours(&mut connector).await);
            of_bare.push(bare(&mut context).await);
        }
        let (ours, bare) = (median(of_ours), median(of_bare));
        let requests = f64::from(2 * TAGS / REGISTERS) * 100.0;
        println!("CPU for 1,000,000 REAL values in {requests} requests of {REGISTERS} registers, medians of {ROUNDS}");
        println!("  forebay-modbus     {ours:8.0} µs, {:.2} µs a request", ours / requests);
        println!("  bare tokio-modbus  {bare:8.0} µs, {:.2} µs a request", bare / requests);
        println!("  ratio {:.2} (aim: at most 1.50)", ours / bare);
    });
}
