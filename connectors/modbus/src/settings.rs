//! Options and endpoint of a device, checked.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use forebay_connector::{
    ByteOrder, DeviceComplaint, DeviceSpec, OptionKey, OptionKind, OptionValue, is_broken_ipv4,
};

use crate::address::{self, MAX_REGISTERS};
use crate::plan::Limits;

/// Port of Modbus TCP when the endpoint names none.
const PORT: u16 = 502;

/// Keys of `[modbus]`.
pub const OPTIONS: &[OptionKey] = &[
    OptionKey {
        name: "unit_id",
        kind: OptionKind::Int(0, 255),
        help: "Address of the device behind the endpoint, 1 to 247 (default 1); 0 or 255 for a device with its own Ethernet port that asks for it. Behind a gateway to a serial line 0 is a broadcast and never answered.",
    },
    OptionKey {
        name: "order",
        kind: OptionKind::Choice(&ByteOrder::NAMES),
        help: "Order of the bytes of a value of several registers (default ABCD: high word first, high byte first).",
    },
    OptionKey {
        name: "max_registers",
        kind: OptionKind::Int(1, MAX_REGISTERS as i64),
        help: "Most registers in one request (default 125, the most the protocol allows).",
    },
    OptionKey {
        name: "max_gap",
        kind: OptionKind::Int(0, MAX_REGISTERS as i64),
        help: "Holes of up to this many registers or coils are read over instead of asking twice (default 0).",
    },
    OptionKey {
        name: "request_pause",
        kind: OptionKind::DurationMs(0, 10_000),
        help: "Silence between an answer and the next request on the same endpoint (default 0).",
    },
    OptionKey {
        name: "timeout",
        kind: OptionKind::DurationMs(10, 60_000),
        help: "Longest wait for the connection and for each answer (default 1s).",
    },
];

/// Where a device or its gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address, lower case, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "tcp://[{host}]:{port}") } else { write!(f, "tcp://{host}:{port}") }
    }
}

/// What one device's connector works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to connect to.
    pub endpoint: Endpoint,
    /// Unit identifier.
    pub unit: u8,
    /// Byte order of tags that name none.
    pub order: ByteOrder,
    /// Limits of a request.
    pub limits: Limits,
    /// Silence before each request.
    pub request_pause: Duration,
    /// Longest wait for a connection or an answer.
    pub timeout: Duration,
}

impl Settings {
    /// Reads options and endpoint.
    ///
    /// # Errors
    /// All complaints at once.
    pub fn read(device: &DeviceSpec) -> Result<Self, Vec<DeviceComplaint>> {
        let (endpoint, mut complaints) = match parse_endpoint(&device.endpoint) {
            Ok(endpoint) => (Some(endpoint), Vec::new()),
            Err(complaint) => (None, vec![complaint]),
        };
        let settings = Self {
            endpoint: endpoint.unwrap_or(Endpoint { host: String::new(), port: 0 }),
            ..Self::options(device)
        };
        complaints.extend(settings.complaints(device));
        if complaints.is_empty() { Ok(settings) } else { Err(complaints) }
    }

    /// The options alone, with an empty endpoint: a simulated device chooses its own.
    pub fn options(device: &DeviceSpec) -> Self {
        let int = |name, default| match device.options.get(name) {
            Some(OptionValue::Int(value)) => u16::try_from(*value).unwrap_or(default),
            _ => default,
        };
        let duration = |name, default| match device.options.get(name) {
            Some(OptionValue::Duration(value)) => *value,
            _ => default,
        };
        Self {
            endpoint: Endpoint { host: String::new(), port: 0 },
            unit: u8::try_from(int("unit_id", 1)).unwrap_or(1),
            order: match device.options.get("order") {
                Some(OptionValue::Text(letters)) => ByteOrder::parse(letters).unwrap_or_default(),
                _ => ByteOrder::default(),
            },
            limits: Limits {
                registers: int("max_registers", MAX_REGISTERS).clamp(1, MAX_REGISTERS),
                gap: int("max_gap", 0),
            },
            request_pause: duration("request_pause", Duration::ZERO),
            timeout: duration("timeout", Duration::from_secs(1)),
        }
    }

    fn complaints(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        let mut complaints = Vec::new();
        if (248..=254).contains(&self.unit) {
            complaints.push(DeviceComplaint {
                code: "M0304",
                key: "unit_id",
                message: format!("unit_id {} is reserved", self.unit),
                help: "units have the numbers 1 to 247; a device with its own Ethernet port may ask for 0 or 255".into(),
            });
        }
        // Tags with a faulty address have been complained about already.
        let widest = device
            .tags
            .iter()
            .filter_map(|tag| Some((tag, address::check(&tag.address, tag.data_type).ok()?)))
            .filter(|(_, (place, _))| !place.table.is_bits())
            .max_by_key(|(_, (_, count))| *count);
        if let Some((tag, (_, count))) = widest.filter(|(_, (_, count))| *count > self.limits.registers) {
            complaints.push(DeviceComplaint {
                code: "M0305",
                key: "max_registers",
                message: format!(
                    "tag `{}` is {count} registers wide, max_registers is {}",
                    tag.path, self.limits.registers
                ),
                help: format!(
                    "a value is never split: write max_registers = {count} or more, or shorter tags"
                ),
            });
        }
        complaints
    }
}

/// Reads `tcp://host:port`.
fn parse_endpoint(text: &str) -> Result<Endpoint, DeviceComplaint> {
    let complaint =
        |code, message: String, help: String| DeviceComplaint { code, key: "endpoint", message, help };
    if text.starts_with("serial:") {
        return Err(complaint(
            "M0301",
            "serial lines come in a later version".into(),
            "use a gateway from Ethernet to RS485 and write tcp://host:502".into(),
        ));
    }
    if let Some(rest) = text.strip_prefix("opc.tcp://") {
        let host = rest.split(['/', ':']).next().unwrap_or("");
        return Err(complaint(
            "M0302",
            format!("`{text}` is an address of OPC UA, and the profile reads by Modbus"),
            format!("write tcp://{host}:{PORT}, or choose a profile with protocol = \"opcua\""),
        ));
    }
    let Some(rest) = text.strip_prefix("tcp://") else {
        return Err(complaint(
            "M0302",
            format!("`{text}` is no Modbus endpoint"),
            format!("write tcp://{}", text.split("://").last().unwrap_or("192.168.0.10:502")),
        ));
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        // Something other than `:port` after the bracket is no port.
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(""))),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_name && host.parse::<Ipv6Addr>().is_err() {
        return Err(complaint(
            "M0302",
            format!("`{text}` names no host"),
            "write tcp://192.168.0.10:502, tcp://name:502 or tcp://[fe80::1]:502".into(),
        ));
    }
    if is_broken_ipv4(host) {
        return Err(complaint(
            "M0302",
            format!("`{host}` is no IPv4 address"),
            "an address is four numbers from 0 to 255, for example 192.168.0.10".into(),
        ));
    }
    let port = match port {
        None => PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0 && !rest.contains('+')).ok_or_else(|| {
            complaint(
                "M0303",
                format!("`{port}` is no port"),
                format!(
                    "a port is a number from 1 to 65535; Modbus has {PORT} unless the device says otherwise"
                ),
            )
        })?,
    };
    Ok(Endpoint { host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_mended() {
        for (text, read) in [
            ("tcp://192.168.20.15:502", "tcp://192.168.20.15:502"),
            ("tcp://Meter-7.Plant:1502", "tcp://meter-7.plant:1502"),
            ("tcp://10.0.0.1", "tcp://10.0.0.1:502"),
            ("tcp://[::1]:503", "tcp://[::1]:503"),
            ("tcp://[::1]", "tcp://[::1]:502"),
        ] {
            assert_eq!(parse_endpoint(text).map(|endpoint| endpoint.to_string()).as_deref(), Ok(read));
        }
        for (text, code, help) in [
            ("serial:///dev/ttyS1?baud=9600&parity=none", "M0301", "tcp://host:502"),
            ("10.0.0.1:502", "M0302", "write tcp://10.0.0.1:502"),
            ("opc.tcp://10.0.0.1:4840", "M0302", "write tcp://10.0.0.1:502, or choose a profile"),
            ("tcp://10.0.0.333:502", "M0302", "four numbers"),
            ("tcp://10.0.1", "M0302", "four numbers"),
            ("tcp://", "M0302", "tcp://192.168.0.10:502"),
            ("tcp://::1:502", "M0302", "tcp://[fe80::1]:502"),
            ("tcp://a b:502", "M0302", "tcp://name:502"),
            ("tcp://10.0.0.1:5O2", "M0303", "1 to 65535"),
            ("tcp://10.0.0.1:0", "M0303", "1 to 65535"),
            ("tcp://10.0.0.1:+5", "M0303", "1 to 65535"),
            ("tcp://10.0.0.1:", "M0303", "1 to 65535"),
            ("tcp://10.0.0.1:502/x", "M0303", "1 to 65535"),
            ("tcp://[::1]502", "M0303", "1 to 65535"),
        ] {
            let complaint = parse_endpoint(text).expect_err(text);
            assert_eq!(complaint.code, code, "{text}: {complaint:?}");
            assert!(complaint.help.contains(help), "{text}: {complaint:?}");
        }
    }
}
