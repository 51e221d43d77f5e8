//! The foreign plant: two S7 servers, a Modbus and an OPC UA server that no one here wrote.

use crate::support::{Peer, Port, Python};

/// Bytes of the S7 data block.
const DB_BYTES: usize = 40;
/// Layout number that `[[verify]]` of the S7 profile demands. It is written last, so that a server
/// that has just started is not believed before it holds its values.
const LAYOUT: u16 = 3;

/// What all devices of the plant hold at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// UDINT; only ever grows.
    pub count: u32,
    /// REAL.
    pub level: f32,
    /// INT.
    pub state: i16,
    /// BOOL.
    pub running: bool,
}

impl Values {
    /// Values that differ from step to step in every tag.
    pub fn step(number: u16) -> Self {
        Self {
            count: 100_000 * u32::from(number + 1),
            level: f32::from(number) * 0.1 + 41.2,
            state: if number.is_multiple_of(2) { -7 } else { 1000 }
                + i16::try_from(number).expect("few steps"),
            running: number.is_multiple_of(2),
        }
    }

    /// What the page says of them, without the spaces in long numbers.
    pub fn in_words(&self) -> [String; 4] {
        let Self { count, level, state, running } = self;
        let running = if *running { "yes" } else { "no" };
        let state = state.to_string().replace('-', "−");
        [count.to_string(), format!("{level:.1}"), state, running.to_owned()]
    }
}

/// Kinds of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    S7(Snap7),
    Modbus,
    OpcUa,
}

/// Which python-snap7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snap7 {
    V2,
    V3,
}

/// One foreign server on a port of its own that it keeps over restarts.
pub struct Server {
    pub kind: Kind,
    pub name: &'static str,
    port: Port,
    peer: Option<Peer>,
    last: Values,
}

/// Device names with their servers.
const SERVERS: [(&str, Kind); 4] = [
    ("press-a", Kind::S7(Snap7::V2)),
    ("press-b", Kind::S7(Snap7::V3)),
    ("meter", Kind::Modbus),
    ("filler", Kind::OpcUa),
];

/// Starts all servers with these values.
pub fn start(values: Values) -> Vec<Server> {
    SERVERS.into_iter().map(|(name, kind)| Server::start(name, kind, values)).collect()
}

impl Server {
    /// Starts one server with these values.
    pub fn start(name: &'static str, kind: Kind, values: Values) -> Self {
        let mut server = Self { kind, name, port: Port::reserve(), peer: None, last: values };
        server.restart();
        server
    }

    /// Endpoint for `[[device]]`.
    pub fn endpoint(&self) -> String {
        match self.kind {
            Kind::S7(_) => format!("127.0.0.1:{}", self.port.number),
            Kind::Modbus => format!("tcp://127.0.0.1:{}", self.port.number),
            Kind::OpcUa => format!("opc.tcp://127.0.0.1:{}", self.port.number),
        }
    }

    /// Profile of this server's device.
    pub fn profile(&self) -> &'static str {
        match self.kind {
            Kind::S7(_) => "e2e-s7",
            Kind::Modbus => "e2e-modbus",
            Kind::OpcUa => "e2e-opcua",
        }
    }

    /// What it holds, or held before it was killed.
    pub fn held(&self) -> Values {
        self.last
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.peer = None;
    }

    /// Starts it (again), with the values it had.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.number.to_string();
        let (python, script) = match self.kind {
            Kind::S7(Snap7::V2) => (Python::Snap7v2, "s7_server.py"),
            Kind::S7(Snap7::V3) => (Python::Current, "s7_server.py"),
            Kind::Modbus => (Python::Current, "modbus_server.py"),
            Kind::OpcUa => (Python::Current, "opcua_server.py"),
        };
        let mut arguments = vec!["--port".to_owned(), port];
        if self.kind == Kind::OpcUa {
            arguments.extend(self.nodes());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut peer = Peer::start(python, script, &arguments);
        if let Kind::S7(_) = self.kind {
            peer.command(&format!("db 1 {DB_BYTES}"));
        }
        self.peer = Some(peer);
        self.set(self.last);
        if let (Kind::S7(_), Some(peer)) = (self.kind, &mut self.peer) {
            peer.command(&format!("set 1 12 {LAYOUT:04x}"));
        }
    }

    /// Arguments for nodes that are there as soon as the OPC UA server answers.
    fn nodes(&self) -> impl Iterator<Item = String> {
        let Values { count, level, state, running } = self.last;
        let nodes = [
            format!("s=count UDINT {count}"),
            format!("s=level REAL {level}"),
            format!("s=state INT {state}"),
            format!("s=running BOOL {running}"),
        ];
        nodes.into_iter().flat_map(|node| ["--node".to_owned(), node])
    }

    /// Gives the device new values; remembered while the server is away.
    pub fn set(&mut self, values: Values) {
        self.last = values;
        let Values { count, level, state, running } = values;
        let Some(peer) = &mut self.peer else { return };
        match self.kind {
            // One write for all tags: a read sees all of a step or nothing.
            Kind::S7(_) => {
                let (level, state) = (level.to_bits(), state.cast_unsigned());
                let running = u8::from(running);
                peer.command(&format!("set 1 0 {count:08x}{level:08x}{state:04x}{running:02x}"));
            }
            Kind::Modbus => {
                let (level, state) = (level.to_bits(), state.cast_unsigned());
                let words = [count >> 16, count & 0xFFFF, level >> 16, level & 0xFFFF, u32::from(state)];
                let words: Vec<String> = words.iter().map(u32::to_string).collect();
                peer.command(&format!("set hr 0 {}", words.join(" ")));
                peer.command(&format!("set co 0 {}", u8::from(running)));
            }
            Kind::OpcUa => {
                peer.command(&format!("set s=count {count}"));
                peer.command(&format!("set s=level {level}"));
                peer.command(&format!("set s=state {state}"));
                peer.command(&format!("set s=running {running}"));
            }
        }
    }
}

/// The profiles of the plant.
pub const PROFILES: [(&str, &str); 3] = [
    (
        "s7.toml",
        r#"forebay = 1
[profile]
name     = "e2e-s7"
version  = "1"
protocol = "s7"
source   = "made for the end-to-end test"
[s7]
cpu     = "s7-1500"
timeout = "20s"
[scan]
fast = "100ms"
[defaults]
scan        = "fast"
max_silence = "10m"
[tags.e2e]
count   = { address = "DB1.DBD0", type = "UDINT", kind = "counter" }
level   = { address = "DB1.DBD4", type = "REAL", unit = "°C" }
state   = { address = "DB1.DBW8", type = "INT" }
running = { address = "DB1.DBX10.0", type = "BOOL" }
[[verify]]
tag = { address = "DB1.DBW12", type = "UINT" }
is  = 3
"#,
    ),
    (
        "modbus.toml",
        r#"forebay = 1
[profile]
name     = "e2e-modbus"
version  = "1"
protocol = "modbus"
source   = "made for the end-to-end test"
[modbus]
unit_id = 1
timeout = "20s"
[scan]
fast = "100ms"
[defaults]
scan        = "fast"
max_silence = "10m"
[tags.e2e]
count   = { address = "hr:0", type = "UDINT", kind = "counter" }
level   = { address = "hr:2", type = "REAL", unit = "°C" }
state   = { address = "hr:4", type = "INT" }
running = { address = "co:0", type = "BOOL" }
[[verify]]
tag     = "e2e.count"
between = [1, 4294967295]
"#,
    ),
    (
        "opcua.toml",
        r#"forebay = 1
[profile]
name     = "e2e-opcua"
version  = "1"
protocol = "opcua"
source   = "made for the end-to-end test"
[opcua]
security   = "None"
mode       = "None"
publishing = "100ms"
timeout    = "20s"
[opcua.namespaces]
plc = "urn:forebay:test"
[scan]
fast = "100ms"
[defaults]
scan        = "fast"
max_silence = "10m"
[tags.e2e]
count   = { address = "ns=plc;s=count", type = "UDINT", kind = "counter" }
level   = { address = "ns=plc;s=level", type = "REAL", unit = "°C" }
state   = { address = "ns=plc;s=state", type = "INT" }
running = { address = "ns=plc;s=running", type = "BOOL" }
"#,
    ),
];
