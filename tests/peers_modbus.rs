//! The Modbus connector against pymodbus and libmodbus, foreign implementations: over TCP, RTU over
//! TCP, and RTU over a pair of pseudo terminals.

mod lines;
mod vectors;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{
    ByteOrder, Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, Quality, RawSample,
    ScanClass, Secrets, TagSpec, Value,
};
use forebay_modbus::Modbus;
use tokio::runtime::Runtime;

use crate::support::{PATIENCE, Peer, Port, Python, tool, wait_for};

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

/// Two pseudo terminals, joined as by a null modem cable.
pub struct Cable {
    socat: Child,
    pub ends: [String; 2],
    _folder: tempfile::TempDir,
}

impl Cable {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let links = ["a", "b"].map(|name| folder.path().join(name));
        let terminal = |link: &std::path::PathBuf| format!("pty,raw,echo=0,link={}", link.display());
        let socat = Command::new("socat")
            .args(links.iter().map(terminal))
            .stdin(Stdio::null())
            .spawn()
            .expect("socat is missing: run tests/setup");
        let ends = links.map(|link| {
            let end = wait_for("pseudo terminal", PATIENCE, || std::fs::canonicalize(&link).ok());
            end.to_str().expect("a plain path").to_owned()
        });
        Self { socat, ends, _folder: folder }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _gone = self.socat.kill();
        let _reaped = self.socat.wait();
    }
}

/// A server that nobody here wrote, our connectors to its units, and a runtime for them.
struct Plant {
    server: Peer,
    endpoint: String,
    runtime: Runtime,
    cable: Option<Cable>,
}

impl Plant {
    /// pymodbus over TCP.
    fn start(arguments: &[&str]) -> Self {
        Self::tcp(Peer::start(Python::Current, "modbus_server.py", arguments), "tcp")
    }

    /// pymodbus with RTU frames over TCP.
    fn rtu_over_tcp(arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["--rtu"].iter().chain(arguments).copied().collect();
        Self::tcp(Peer::start(Python::Current, "modbus_server.py", &arguments), "rtu+tcp")
    }

    /// pymodbus on a serial line.
    fn serial(arguments: &[&str]) -> Self {
        let cable = Cable::new();
        let arguments: Vec<&str> = ["--serial", &cable.ends[0]].iter().chain(arguments).copied().collect();
        let server = Peer::start(Python::Current, "modbus_server.py", &arguments);
        Self::on_acable(server, cable)
    }

    /// libmodbus over TCP.
    fn libmodbus() -> Self {
        Self::tcp(Peer::run(Command::new(tool("modbus_server")), "modbus_server"), "tcp")
    }

    /// libmodbus on a serial line, unit 1.
    fn libmodbus_serial() -> Self {
        let cable = Cable::new();
        let mut command = Command::new(tool("modbus_server"));
        command.args(["--serial", &cable.ends[0]]);
        Self::on_acable(Peer::run(command, "modbus_server"), cable)
    }

    fn tcp(server: Peer, scheme: &str) -> Self {
        let endpoint = format!("{scheme}://127.0.0.1:{}", server.port);
        Self { server, endpoint, runtime: runtime(), cable: None }
    }

    fn on_acable(server: Peer, cable: Cable) -> Self {
        let endpoint = format!("serial://{}?baud=115200&parity=none", cable.ends[1]);
        Self { server, endpoint, runtime: runtime(), cable: Some(cable) }
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
            endpoint: self.endpoint.clone(),
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

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime starts")
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

#[test]
fn bits_of_registers_and_coils_of_pymodbus_are_read_right() {
    let mut plant = Plant::start(&["--unit", "1"]);
    let mut tags = Vec::new();
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
