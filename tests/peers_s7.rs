//! The S7 connector against python-snap7, both the C library and the Python implementation, and
//! python-snap7 clients against our simulated CPU.

mod types;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, Quality, RawSample, ScanClass,
    Secrets, TagSpec, Value,
};
use forebay_s7::S7;
use tokio::runtime::Runtime;

use crate::support::{PATIENCE, Peer, Port, Python};

const BOTH: [Python; 2] = [Python::Snap7v2, Python::Current];

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name} here"))
    }
}

fn device<'a>(port: u16, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> DeviceSpec {
    let tag = |(address, data_type): (&str, &str)| TagSpec {
        path: format!("tag.{address}"),
        address: address.into(),
        data_type: DataType::parse(data_type).expect("a type"),
        order: None,
        scan: 0,
        deadband: None,
    };
    DeviceSpec {
        name: "press-3".into(),
        endpoint: format!("127.0.0.1:{port}"),
        options: [("timeout".to_owned(), OptionValue::Duration(PATIENCE))].into(),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_secs(1) }],
        tags: tags.into_iter().map(tag).collect(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: std::env::temp_dir(),
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime starts")
}

fn poll(runtime: &Runtime, connector: &mut dyn Connector) -> Result<Vec<RawSample>, PollError> {
    let mut samples = Vec::new();
    runtime.block_on(connector.poll(&[0], &mut samples)).map(|()| samples)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// Address, type, command that puts the bytes on the server, and the value they mean. The bytes
/// are written by hand after the Siemens layout, so that encoder and decoder cannot err together.
fn every_type() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("DB10.DBX0.2", "BOOL", "set 10 0 04", Value::Bool(true)),
        ("DB10.DBX0.3", "BOOL", "set 10 0 04", Value::Bool(false)),
        ("DB10.DBB1", "BYTE", "set 10 1 a5", Value::Uint(0xA5)),
        ("DB10.DBB2", "SINT", "set 10 2 80", Value::Int(-128)),
        ("DB10.DBB3", "USINT", "set 10 3 ff", Value::Uint(255)),
        ("DB10.DBB4", "CHAR", "set 10 4 fc", text("ü")),
        ("DB10.DBW6", "WORD", "set 10 6 beef", Value::Uint(0xBEEF)),
        ("DB10.DBW8", "INT", "set 10 8 cfc7", Value::Int(-12_345)),
        ("DB10.DBW10", "UINT", "set 10 10 d431", Value::Uint(54_321)),
        ("DB10.DBD12", "DWORD", "set 10 12 deadbeef", Value::Uint(0xDEAD_BEEF)),
        ("DB10.DBD16", "DINT", "set 10 16 fffffffe", Value::Int(-2)),
        ("DB10.DBD20", "UDINT", "set 10 20 ee6b2800", Value::Uint(4_000_000_000)),
        ("DB10.DBD24", "TIME", "set 10 24 00016180", Value::Int(90_496)),
        ("DB10.DBD28", "REAL", "set 10 28 4224cccd", Value::Real(41.2)),
        ("DB10.DBB32", "LWORD", "set 10 32 0123456789abcdef", Value::Uint(0x0123_4567_89AB_CDEF)),
        ("DB10.DBB40", "LINT", "set 10 40 fffffffffffffff6", Value::Int(-10)),
        ("DB10.DBB48", "ULINT", "set 10 48 8000000000000000", Value::Uint(1 << 63)),
        ("DB10.DBB56", "LREAL", "set 10 56 c00921fb54442d18", Value::Lreal(-std::f64::consts::PI)),
        ("DB10.DBB64", "STRING[16]", "set 10 64 100652657a20b080", text("Rez °€")),
        ("DB10.DBB82", "WSTRING[4]", "set 10 82 000400030047007203a9", text("GrΩ")),
        ("DB10.DBB94", "DTL", "set 10 94 07ea020b04081e0f075bcd15", Value::DateTime(1_770_798_615_123_456)),
        (
            "DB10.DBD106",
            "REAL[2]",
            "set 10 106 3fc00000c0200000",
            Value::Array(Box::new([Value::Real(1.5), Value::Real(-2.5)])),
        ),
        ("DB10.DBD114", "REAL", "set 10 114 7fc00000", Value::Null),
        ("M10.1", "BOOL", "setm 10 02", Value::Bool(true)),
        ("MD20", "DINT", "setm 20 00000007", Value::Int(7)),
        ("IW64", "INT", "seti 64 6c00", Value::Int(27_648)),
        ("E66.7", "BOOL", "seti 66 80", Value::Bool(true)),
        // Far away from the rest: items of their own, one with an odd length in the middle.
        ("DB10.DBB301", "USINT", "set 10 301 2a", Value::Uint(42)),
        ("DB11.DBX7.0", "BOOL", "set 11 7 01", Value::Bool(true)),
        ("QB4", "BYTE", "db 12 2", Value::Uint(0)),
    ]
}

#[test]
fn every_type_from_both_servers() {
    let runtime = runtime();
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &["--port", "0"]);
        server.command("db 10 400");
        server.command("db 11 8");
        let tags = every_type();
        for (_, _, command, _) in &tags {
            server.command(command);
        }
        let spec = device(server.port, tags.iter().map(|(address, data_type, ..)| (*address, *data_type)));
        let mut connector = S7.open(spec).expect("addresses are right");
        let identity = runtime.block_on(connector.connect()).expect("connects");
        assert!(identity.starts_with("6ES7 315-2EH14-0AB0"), "{identity:?}");
        for round in 0..3 {
            let samples = poll(&runtime, connector.as_mut()).expect("reads");
            assert_eq!(samples.len(), tags.len());
            for (sample, (address, _, _, value)) in samples.iter().zip(&tags) {
                assert_eq!(&sample.value, value, "{address}, round {round}");
                let quality = if *value == Value::Null { Quality::Invalid } else { Quality::Good };
                assert_eq!(sample.quality, quality, "{address}");
            }
        }
        assert_eq!(connector.requests(), 3, "one request a scan");
        // A changed value is seen at once.
        server.command("set 10 8 0001");
        assert_eq!(poll(&runtime, connector.as_mut()).expect("reads")[7].value, Value::Int(1));
    }
}

#[test]
fn a_missing_block_costs_only_its_tags() {
    let runtime = runtime();
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 1 6");
        server.command("set 1 0 000100020003");
        let tags = [
            ("DB1.DBW0", "INT"),
            ("DB99.DBW0", "INT"),
            ("DB1.DBW2", "INT"),
            ("DB1.DBW6", "INT"), // behind the end of the block
            ("DB99.DBD100", "REAL"),
            ("DB1.DBW4", "INT"),
        ];
        let mut connector = S7.open(device(server.port, tags)).expect("addresses are right");
        runtime.block_on(connector.connect()).expect("connects");
        for _ in 0..3 {
            let samples = poll(&runtime, connector.as_mut()).expect("reads");
            let found: Vec<_> =
                samples.iter().map(|sample| (sample.tag, &sample.value, sample.quality)).collect();
            use Quality::{Good, Refused};
            use Value::{Int, Null};
            let expected = [
                (0, &Int(1), Good),
                (1, &Null, Refused),
                (2, &Int(2), Good),
                (3, &Null, Refused),
                (4, &Null, Refused),
                (5, &Int(3), Good),
            ];
            assert_eq!(found, expected);
        }
        let why = connector.refusal(1).expect("a reason");
        assert!(why.starts_with("DB99 does not exist in the CPU, or it is an optimised block"), "{why}");
        let why = connector.refusal(3).expect("a reason");
        assert!(why.starts_with("DB1.DBW6 lies behind the end of DB1"), "{why}");
        // The block is downloaded; a new connection asks again.
        server.command("db 99 104");
        runtime.block_on(connector.connect()).expect("connects");
        let samples = poll(&runtime, connector.as_mut()).expect("reads");
        assert_eq!((&samples[4].value, samples[4].quality), (&Value::Real(0.0), Quality::Good));
    }
}

#[test]
fn more_tags_than_one_pdu_holds() {
    let runtime = runtime();
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 5 8000");
        let bytes: String = (0..4000u16).map(|number| format!("{number:04x}")).collect();
        server.command(&format!("set 5 0 {bytes}"));
        // Every word of the first half, every 25th of the second half, and 3000 bytes at once.
        let words: Vec<u16> = (0..2000).chain((2000..4000).step_by(25)).collect();
        let addresses: Vec<String> = words.iter().map(|word| format!("DB5.DBW{}", word * 2)).collect();
        let tags = addresses.iter().map(|address| (address.as_str(), "UINT"));
        let spec = device(server.port, tags.chain([("DB5.DBW1001", "UINT[1500]")]));
        let mut connector = S7.open(spec).expect("addresses are right");
        runtime.block_on(connector.connect()).expect("connects");
        let samples = poll(&runtime, connector.as_mut()).expect("reads");
        assert_eq!(samples.len(), words.len() + 1);
        for (sample, word) in samples.iter().zip(&words) {
            assert_eq!((&sample.value, sample.quality), (&Value::Uint(u64::from(*word)), Quality::Good));
        }
        // From an odd byte on: the low byte of one word and the high byte of the next.
        let odd = |index: u16| Value::Uint(u64::from(((500 + index) & 0xFF) << 8 | (501 + index) >> 8));
        assert_eq!(samples[words.len()].value, Value::Array((0..1500).map(odd).collect()));
        assert!(connector.requests() > 1);
    }
}

#[test]
fn a_server_that_was_killed_is_read_again() {
    let runtime = runtime();
    for python in BOTH {
        let port = Port::reserve();
        let number = port.number.to_string();
        let mut server = Peer::start(python, "s7_server.py", &["--port", &number]);
        server.command("db 1 2");
        server.command("set 1 0 0001");
        let mut connector = S7.open(device(port.number, [("DB1.DBW0", "INT")])).expect("addresses are right");
        runtime.block_on(connector.connect()).expect("connects");
        assert_eq!(poll(&runtime, connector.as_mut()).expect("reads")[0].value, Value::Int(1));
        drop(server); // kill -9
        let error = poll(&runtime, connector.as_mut()).expect_err("nobody there");
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        let error = runtime.block_on(connector.connect()).expect_err("nobody there");
        assert!(matches!(error, PollError::Connect { .. }), "{error}");
        let mut server = Peer::start(python, "s7_server.py", &["--port", &number]);
        server.command("db 1 2");
        server.command("set 1 0 0002");
        runtime.block_on(connector.connect()).expect("connects again");
        assert_eq!(poll(&runtime, connector.as_mut()).expect("reads")[0].value, Value::Int(2));
    }
}

/// Pain 2: the controller goes away in the middle of a scan, not between two.
#[test]
fn a_server_killed_under_load_is_read_again() {
    let runtime = runtime();
    for python in BOTH {
        let port = Port::reserve();
        let number = port.number.to_string();
        let tags = [("DB1.DBD0", "UDINT"), ("DB1.DBB4", "USINT[1900]")];
        let mut connector = S7.open(device(port.number, tags)).expect("addresses are right");
        for round in 1..=3u32 {
            let mut server = Peer::start(python, "s7_server.py", &["--port", &number]);
            server.command("db 1 1904");
            server.command(&format!("put DB 1 0 UDINT {round}"));
            runtime.block_on(connector.connect()).expect("connects");
            let scans = AtomicU32::new(0);
            let error = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while scans.load(Ordering::Relaxed) < 20 {
                        std::thread::yield_now();
                    }
                    drop(server); // kill -9
                });
                loop {
                    match poll(&runtime, connector.as_mut()) {
                        Ok(samples) => assert_eq!(samples[0].value, Value::Uint(round.into())),
                        Err(error) => break error,
                    }
                    scans.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(matches!(error, PollError::Lost { .. }), "{error}");
        }
    }
}

#[test]
fn foreign_clients_read_our_simulated_cpu() {
    let runtime = runtime();
    let tags = [
        ("DB10.DBW0", "INT"),
        ("DB10.DBD4", "REAL"),
        ("DB10.DBB8", "STRING[4]"),
        ("DB10.DBB100", "BYTE[1000]"),
        ("M10.1", "BOOL"),
        ("IW64", "INT"),
        ("T5", "S5TIME"),
        ("C7", "BCD[2]"),
    ];
    let simulator = runtime.block_on(S7.simulate(&device(0, tags))).expect("a socket");
    simulator.set(0, &Value::Int(-2));
    simulator.set(1, &Value::Real(41.2));
    simulator.set(2, &text("Öl"));
    simulator.set(3, &Value::Array((0..1000u64).map(|n| Value::Uint(n % 251)).collect()));
    simulator.set(4, &Value::Bool(true));
    simulator.set(5, &Value::Int(27_648));
    simulator.set(6, &Value::Int(127_000));
    simulator.set(7, &Value::Array([5, 999].map(Value::Uint).into()));
    let port = simulator.endpoint().rsplit(':').next().map(str::to_owned).expect("a port");
    for python in BOTH {
        let mut client = Peer::start(python, "s7_client.py", &["--port", &port]);
        assert_eq!(client.command("pdu"), "480", "what the client asked for");
        assert_eq!(client.command("db 10 0 14"), "fffe00004224cccd0402d66c0000");
        let long = (0..1000u64).fold(String::new(), |hex, n| hex + &format!("{:02x}", n % 251));
        assert_eq!(client.command("db 10 100 1000"), long, "over several PDUs");
        assert_eq!(client.command("memory 10 1"), "02");
        assert_eq!(client.command("inputs 64 2"), "6c00");
        assert_eq!(client.command("timers 5 1"), "2127");
        assert_eq!(client.command("counters 7 2"), "00050999");
        assert_eq!(client.command("several 10 3 0 4 8 100"), "fffe00 4224cc 0402d6 000102");
        assert_eq!(client.command("write 10 0 0001"), "refused");
        assert_eq!(client.command("db 10 0 2"), "fffe");
    }
}
