//! The Modbus connector against pymodbus, a foreign implementation.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{
    ByteOrder, Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, Quality, RawSample,
    ScanClass, Secrets, TagSpec, Value,
};
use forebay_modbus::Modbus;
use tokio::runtime::Runtime;

use crate::support::{PATIENCE, Peer, Port, Python, wait_for};

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name} here"))
    }
}

/// A tag and what it should read.
struct Expected {
    address: String,
    data_type: &'static str,
    order: Option<ByteOrder>,
    value: Value,
}

fn tag(address: impl Into<String>, data_type: &'static str, value: Value) -> Expected {
    Expected { address: address.into(), data_type, order: None, value }
}

/// A pymodbus server, our connectors to its units, and a runtime for them.
struct Plant {
    server: Peer,
    runtime: Runtime,
}

impl Plant {
    fn start(arguments: &[&str]) -> Self {
        let server = Peer::start(Python::Current, "modbus_server.py", arguments);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { server, runtime: runtime.expect("a runtime starts") }
    }

    fn command(&mut self, command: &str) {
        self.server.command(command);
    }

    fn open(&self, unit: i64, timeout: Duration, tags: &[Expected]) -> Box<dyn Connector> {
        let spec = |tag: &Expected| TagSpec {
            path: format!("tag.{}", tag.address),
            address: tag.address.clone(),
            data_type: DataType::parse(tag.data_type).expect("a type"),
            order: tag.order,
            scan: 0,
            deadband: None,
        };
        let options = [
            ("unit_id", OptionValue::Int(unit)),
            ("timeout", OptionValue::Duration(timeout)),
            ("max_gap", OptionValue::Int(16)),
        ];
        let device = DeviceSpec {
            name: format!("unit-{unit}"),
            endpoint: format!("tcp://127.0.0.1:{}", self.server.port),
            options: options.map(|(name, value)| (name.to_owned(), value)).into(),
            scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_secs(1) }],
            tags: tags.iter().map(spec).collect(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: "unused".into(),
        };
        assert_eq!(Modbus.check_device(&device), []);
        Modbus.open(device).expect("the device opens")
    }

    fn poll(&self, connector: &mut Box<dyn Connector>) -> Result<Vec<RawSample>, PollError> {
        let mut samples = Vec::new();
        self.runtime.block_on(connector.poll(&[0], &mut samples)).map(|()| samples)
    }

    fn connect_and_poll(&self, connector: &mut Box<dyn Connector>) -> Result<Vec<RawSample>, PollError> {
        self.runtime.block_on(connector.connect())?;
        self.poll(connector)
    }
}

fn assert_read(samples: &[RawSample], tags: &[Expected]) {
    assert_eq!(samples.len(), tags.len());
    for ((index, tag), sample) in (0u32..).zip(tags).zip(samples) {
        let Expected { address, data_type, order, value } = tag;
        assert_eq!(
            (sample.tag, &sample.value, sample.quality),
            (index, value, Quality::Good),
            "{address} {data_type} {order:?}"
        );
    }
}

/// pymodbus type, its text for pymodbus, our type, the value we must read, registers.
fn numbers() -> Vec<(&'static str, &'static str, &'static str, Value, u16)> {
    vec![
        ("INT16", "-12345", "INT", Value::Int(-12_345), 1),
        ("UINT16", "0xBEEF", "WORD", Value::Uint(0xBEEF), 1),
        ("UINT16", "65535", "UINT", Value::Uint(65_535), 1),
        ("INT32", "-2000000001", "DINT", Value::Int(-2_000_000_001), 2),
        ("INT32", "86400000", "TIME", Value::Int(86_400_000), 2),
        ("UINT32", "4000000002", "UDINT", Value::Uint(4_000_000_002), 2),
        ("UINT32", "0x11223344", "DWORD", Value::Uint(0x1122_3344), 2),
        ("INT64", "-9000000000000000003", "LINT", Value::Int(-9_000_000_000_000_000_003), 4),
        ("UINT64", "18000000000000000004", "ULINT", Value::Uint(18_000_000_000_000_000_004), 4),
        ("UINT64", "0x0123456789ABCDEF", "LWORD", Value::Uint(0x0123_4567_89AB_CDEF), 4),
        ("FLOAT32", "41.2", "REAL", Value::Real(41.2), 2),
        ("FLOAT64", "-1.7976931348623157e308", "LREAL", Value::Lreal(f64::MIN), 4),
        ("STRING", "Rezept 7b", "STRING[12]", Value::Text("Rezept 7b".into()), 6),
    ]
}

#[test]
fn every_type_and_order_of_pymodbus_is_read_right() {
    let mut plant = Plant::start(&["--unit", "1"]);
    let mut tags = Vec::new();
    for (area, first) in [("hr", 0), ("ir", 1000)] {
        let mut offset = first;
        for letters in ByteOrder::NAMES {
            for (foreign, text, data_type, value, registers) in numbers() {
                plant.command(&format!("setv {area} {offset} {letters} {foreign} {text}"));
                let order = ByteOrder::parse(letters);
                tags.push(Expected { order, ..tag(format!("{area}:{offset}"), data_type, value) });
                offset += registers + 1;
            }
        }
    }
    plant.command("setf hr 2000 CDAB 1.5");
    plant.command("setf hr 2002 CDAB -2.25");
    let pair = Value::Array([1.5, -2.25].map(Value::Real).into());
    tags.push(Expected { order: Some(ByteOrder::Cdab), ..tag("42001", "REAL[2]", pair) });
    plant.command("set hr 2010 0x8001");
    tags.push(tag("42011.0", "BOOL", Value::Bool(true)));
    tags.push(tag("42011.1", "BOOL", Value::Bool(false)));
    tags.push(tag("42011.15", "BOOL", Value::Bool(true)));
    for area in ["co", "di"] {
        plant.command(&format!("set {area} 17 1 0 1 1"));
        let bits = Value::Array([true, false, true, true].map(Value::Bool).into());
        tags.push(tag(format!("{area}:17"), "BOOL[4]", bits));
        tags.push(tag(format!("{area}:18"), "BOOL", Value::Bool(false)));
        tags.push(tag(format!("{area}:20"), "BOOL", Value::Bool(true)));
    }
    let mut connector = plant.open(1, PATIENCE, &tags);
    assert_read(&plant.connect_and_poll(&mut connector).expect("an answer"), &tags);
    assert_read(&plant.poll(&mut connector).expect("an answer"), &tags);
    assert_eq!(plant.server.command("requests"), connector.requests().to_string());
    plant.command("set hr 2010 0x0002");
    let samples = plant.poll(&mut connector).expect("an answer");
    let bits = tags.iter().zip(&samples).filter(|(tag, _)| tag.address.starts_with("42011."));
    let bits: Vec<_> = bits.map(|(_, sample)| sample.value.clone()).collect();
    assert_eq!(bits, [false, true, false].map(Value::Bool));
}

#[test]
fn two_units_behind_one_endpoint_keep_apart() {
    let mut plant = Plant::start(&["--unit", "12", "--unit", "13"]);
    plant.command("unit 12");
    plant.command("setf ir 52 ABCD 12.5");
    plant.command("unit 13");
    plant.command("setf ir 52 ABCD 13.5");
    let tags = [12.5, 13.5].map(|value| [tag("30053", "REAL", Value::Real(value))]);
    let [mut first, mut second] =
        [(12, &tags[0]), (13, &tags[1])].map(|(unit, tags)| plant.open(unit, PATIENCE, tags));
    plant.runtime.block_on(async {
        first.connect().await.expect("a connection");
        second.connect().await.expect("a connection");
        for _ in 0..50 {
            let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
            let (one, two) = tokio::join!(first.poll(&[0], &mut of_first), second.poll(&[0], &mut of_second));
            one.and(two).expect("both answer");
            assert_read(&of_first, &tags[0]);
            assert_read(&of_second, &tags[1]);
        }
    });
}

#[test]
fn a_register_pymodbus_refuses_costs_only_itself() {
    let mut plant = Plant::start(&["--unit", "1"]);
    plant.command("set hr 0 10 11 12 13 14 15 16 17 18 19");
    plant.command("refuse hr 6 1");
    let value = |number| Value::Uint(number);
    let tags = [
        tag("40001", "UINT", value(10)),
        tag("40003", "UINT", value(12)),
        tag("40006", "UDINT", Value::Null),
        tag("40009", "UINT", value(18)),
        tag("40010", "UINT", value(19)),
    ];
    let mut connector = plant.open(1, PATIENCE, &tags);
    for round in 0..3 {
        let samples =
            if round == 0 { plant.connect_and_poll(&mut connector) } else { plant.poll(&mut connector) };
        for (sample, tag) in samples.expect("an answer").iter().zip(&tags) {
            let quality = if tag.value == Value::Null { Quality::Refused } else { Quality::Good };
            assert_eq!((&sample.value, sample.quality), (&tag.value, quality), "{}", tag.address);
        }
    }
    plant.command("allow");
    let samples = plant.connect_and_poll(&mut connector).expect("an answer");
    assert_eq!((&samples[2].value, samples[2].quality), (&value(15 << 16 | 16), Quality::Good));
}

#[test]
fn silence_ends_in_a_timeout_and_the_next_values_are_fresh() {
    let mut plant = Plant::start(&["--unit", "1"]);
    let tags = [tag("40001", "UINT", Value::Uint(1))];
    let mut connector = plant.open(1, Duration::from_secs(1), &tags);
    plant.command("set hr 0 1");
    let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut connector).ok());
    assert_read(&samples, &tags);
    plant.command("silence on");
    let outcome = plant.poll(&mut connector);
    assert!(matches!(outcome, Err(PollError::Timeout { .. })), "{outcome:?}");
    let outcome = plant.connect_and_poll(&mut connector);
    assert!(matches!(outcome, Err(PollError::Timeout { .. })), "connects, then silence: {outcome:?}");
    plant.command("set hr 0 2");
    plant.command("silence off");
    let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut connector).ok());
    assert_eq!(samples[0].value, Value::Uint(2));
}

#[test]
fn a_server_that_restarts_is_read_again() {
    let port = Port::reserve();
    let number = port.number.to_string();
    let mut plant = Plant::start(&["--unit", "1", "--port", &number]);
    let tags = [tag("40001", "UINT", Value::Uint(1))];
    let mut connector = plant.open(1, PATIENCE, &tags);
    plant.command("set hr 0 1");
    assert_read(&plant.connect_and_poll(&mut connector).expect("an answer"), &tags);
    plant.command("quit");
    let outcome = plant.poll(&mut connector);
    assert!(matches!(outcome, Err(PollError::Lost { .. })), "{outcome:?}");
    wait_for("refused connection", PATIENCE, || {
        matches!(plant.connect_and_poll(&mut connector), Err(PollError::Connect { .. })).then_some(())
    });
    plant.server = Peer::start(Python::Current, "modbus_server.py", &["--unit", "1", "--port", &number]);
    plant.command("set hr 0 1");
    assert_read(&plant.connect_and_poll(&mut connector).expect("an answer"), &tags);
}
