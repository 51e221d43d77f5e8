//! Where a device or its gateway is reached, and what is wrong with an endpoint that cannot be.
//!
//! | endpoint | means |
//! |---|---|
//! | `tcp://host:502` | Modbus TCP |
//! | `rtu+tcp://host:4001` | RTU frames over TCP: a serial server that passes bytes on as they are |
//! | `serial:///dev/ttyS1?baud=9600&parity=none` | RTU on a serial line of this box |

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use forebay_connector::{DeviceComplaint, is_broken_ipv4};

use crate::frame::Framing;

/// Port of Modbus TCP when the endpoint names none.
const PORT: u16 = 502;
/// Speeds that devices and adapters have.
const BAUDS: [u32; 14] = [
    1200, 2400, 4800, 9600, 14_400, 19_200, 28_800, 38_400, 57_600, 76_800, 115_200, 230_400, 460_800,
    921_600,
];
/// An example that is right, for messages.
const EXAMPLE: &str = "serial:///dev/ttyS1?baud=9600&parity=none";

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Network {
        /// Name or address, lower case, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// How frames are packed.
        framing: Framing,
    },
    /// A serial port.
    Serial(Serial),
}

/// A serial port and how it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// Device file.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop: u8,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

impl Parity {
    const ALL: [(&'static str, Self); 3] = [("none", Self::None), ("even", Self::Even), ("odd", Self::Odd)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, parity)| *parity == self).map_or("", |(name, _)| name)
    }
}

impl Serial {
    /// Time on the wire of this many bytes.
    pub fn time_of(&self, bytes: usize) -> Duration {
        // Start bit, eight data bits, parity and stop bits.
        let bits = 9 + u32::from(self.parity != Parity::None) + u32::from(self.stop);
        Duration::from_secs_f64(f64::from(bits) / f64::from(self.baud))
            .saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Silence that parts two frames: 3.5 characters of 11 bits, 1.75 ms above 19,200 bit/s
    /// (MODBUS over Serial Line V1.02, 2.5.1.1).
    pub fn silence(&self) -> Duration {
        if self.baud > 19_200 {
            return Duration::from_micros(1750);
        }
        Duration::from_secs_f64(38.5 / f64::from(self.baud))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, baud, parity, stop } = self;
        write!(f, "serial://{path}?baud={baud}&parity={}&stop={stop}", parity.name())
    }
}

impl Endpoint {
    /// Equal for two endpoints that are the same line, however it is set.
    pub fn line(&self) -> String {
        match self {
            Self::Network { .. } => self.to_string(),
            Self::Serial(serial) => format!("serial://{}", serial.path),
        }
    }

    /// How frames are packed.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Network { framing, .. } => *framing,
            Self::Serial(_) => Framing::Rtu,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => serial.fmt(f),
            Self::Network { host, port, framing } => {
                let scheme = if *framing == Framing::Rtu { "rtu+tcp" } else { "tcp" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

/// Reads an endpoint.
///
/// # Errors
/// M0301 (serial line), M0302 (no endpoint), M0303 (port).
pub fn parse(text: &str) -> Result<Endpoint, DeviceComplaint> {
    if let Some(rest) = text.strip_prefix("serial:") {
        return parse_serial(text, rest).map(Endpoint::Serial);
    }
    if let Some(rest) = text.strip_prefix("rtu+tcp://") {
        return parse_network(text, rest, Framing::Rtu);
    }
    if let Some(rest) = text.strip_prefix("tcp://") {
        return parse_network(text, rest, Framing::Tcp);
    }
    if let Some(rest) = text.strip_prefix("opc.tcp://") {
        let host = rest.split(['/', ':']).next().unwrap_or("");
        return Err(complaint(
            "M0302",
            format!("`{text}` is an address of OPC UA, and the profile reads by Modbus"),
            format!("write tcp://{host}:{PORT}, or choose a profile with protocol = \"opcua\""),
        ));
    }
    let help = if text.starts_with("/dev/") {
        format!("write serial://{text}?baud=9600&parity=none, with the values set on the devices")
    } else if text.starts_with("COM") || text.starts_with("com") {
        format!("a serial port is a file here: {EXAMPLE}")
    } else {
        format!("write tcp://{}", text.split("://").last().unwrap_or("192.168.0.10:502"))
    };
    Err(complaint("M0302", format!("`{text}` is no Modbus endpoint"), help))
}

fn complaint(code: &'static str, message: String, help: String) -> DeviceComplaint {
    DeviceComplaint { code, key: "endpoint", message, help }
}

fn parse_network(text: &str, rest: &str, framing: Framing) -> Result<Endpoint, DeviceComplaint> {
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
        None if framing == Framing::Rtu => {
            return Err(complaint(
                "M0303",
                "a serial server has no usual port".into(),
                format!("write rtu+tcp://{host}:4001 with the port set on the serial server"),
            ));
        }
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
    Ok(Endpoint::Network { host: host.to_ascii_lowercase(), port, framing })
}

/// Speed and parity must be written: a wrong guess looks like a dead line.
fn parse_serial(text: &str, rest: &str) -> Result<Serial, DeviceComplaint> {
    let wrong = |message: String, help: String| complaint("M0301", message, help);
    let (path, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with("/dev/") || path.len() == "/dev/".len() || path.contains("..") {
        return Err(wrong(
            format!("`{text}` names no serial port"),
            format!("write three slashes and the device file: {EXAMPLE}"),
        ));
    }
    let (mut baud, mut parity, mut stop) = (None, None, 1);
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        match key {
            "baud" => baud = Some(parse_baud(value)?),
            "parity" => parity = Some(parse_parity(value)?),
            "stop" => {
                stop = value.parse().ok().filter(|stop| (1..=2).contains(stop)).ok_or_else(|| {
                    wrong(format!("`{value}` is no number of stop bits"), "write stop=1 or stop=2".into())
                })?;
            }
            "data" if value == "8" => {}
            "data" => {
                return Err(wrong(
                    format!("RTU needs 8 data bits, not `{value}`"),
                    "write data=8 or leave it out; 7 bits belong to Modbus ASCII, which is not read".into(),
                ));
            }
            _ => {
                return Err(wrong(
                    format!("`{key}` is no setting of a serial line"),
                    "there are baud, parity, stop and data".into(),
                ));
            }
        }
    }
    let (Some(baud), Some(parity)) = (baud, parity) else {
        let missing = if baud.is_none() { "baud" } else { "parity" };
        return Err(wrong(
            format!("{missing} of the serial line is missing"),
            format!("write it as it is set on the devices, for example {EXAMPLE}"),
        ));
    };
    Ok(Serial { path: path.to_owned(), baud, parity, stop })
}

fn parse_baud(value: &str) -> Result<u32, DeviceComplaint> {
    let baud: Option<u32> = value.parse().ok();
    baud.filter(|baud| BAUDS.contains(baud)).ok_or_else(|| {
        let nearest = BAUDS.into_iter().min_by_key(|known| known.abs_diff(baud.unwrap_or(9600)));
        complaint(
            "M0301",
            format!("`{value}` is no usual speed of a serial line"),
            format!("did you mean baud={}? Usual are 9600, 19200, 38400 and 115200", nearest.unwrap_or(9600)),
        )
    })
}

fn parse_parity(value: &str) -> Result<Parity, DeviceComplaint> {
    let known = Parity::ALL.into_iter().find(|(name, _)| *name == value);
    known.map(|(_, parity)| parity).ok_or_else(|| {
        complaint(
            "M0301",
            format!("`{value}` is no parity"),
            "write parity=none, parity=even or parity=odd".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, read) in [
            ("tcp://192.168.20.15:502", "tcp://192.168.20.15:502"),
            ("tcp://Meter-7.Plant:1502", "tcp://meter-7.plant:1502"),
            ("tcp://10.0.0.1", "tcp://10.0.0.1:502"),
            ("tcp://[::1]:503", "tcp://[::1]:503"),
            ("tcp://[::1]", "tcp://[::1]:502"),
            ("rtu+tcp://Moxa-1:4001", "rtu+tcp://moxa-1:4001"),
            ("rtu+tcp://[fe80::1]:4001", "rtu+tcp://[fe80::1]:4001"),
            ("serial:///dev/ttyS1?baud=9600&parity=none", "serial:///dev/ttyS1?baud=9600&parity=none&stop=1"),
            (
                "serial:///dev/serial/by-id/usb-x?stop=2&data=8&parity=even&baud=115200",
                "serial:///dev/serial/by-id/usb-x?baud=115200&parity=even&stop=2",
            ),
        ] {
            assert_eq!(parse(text).map(|endpoint| endpoint.to_string()).as_deref(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_mended() {
        for (text, code, help) in [
            ("10.0.0.1:502", "M0302", "write tcp://10.0.0.1:502"),
            ("/dev/ttyUSB0", "M0302", "write serial:///dev/ttyUSB0?baud="),
            ("COM3", "M0302", "serial:///dev/ttyS1?baud="),
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
            ("rtu+tcp://moxa", "M0303", "rtu+tcp://moxa:4001"),
            ("serial:///dev/ttyS1", "M0301", "baud=9600&parity=none"),
            ("serial:///dev/ttyS1?baud=9600", "M0301", "as it is set on the devices"),
            ("serial:///dev/ttyS1?parity=none", "M0301", "as it is set on the devices"),
            ("serial:///dev/ttyS1?baud=9601&parity=none", "M0301", "did you mean baud=9600?"),
            ("serial:///dev/ttyS1?baud=fast&parity=none", "M0301", "did you mean baud=9600?"),
            ("serial:///dev/ttyS1?baud=9600&parity=odds", "M0301", "parity=odd"),
            ("serial:///dev/ttyS1?baud=9600&parity=none&stop=3", "M0301", "stop=2"),
            ("serial:///dev/ttyS1?baud=9600&parity=none&data=7", "M0301", "ASCII"),
            ("serial:///dev/ttyS1?baud=9600&parity=none&flow=on", "M0301", "baud, parity, stop and data"),
            ("serial://ttyS1?baud=9600&parity=none", "M0301", "three slashes"),
            ("serial:///dev/../etc/passwd?baud=9600&parity=none", "M0301", "three slashes"),
            ("serial:", "M0301", "three slashes"),
        ] {
            let complaint = parse(text).expect_err(text);
            assert_eq!(complaint.code, code, "{text}: {complaint:?}");
            assert!(complaint.help.contains(help), "{text}: {complaint:?}");
        }
    }

    #[test]
    fn silence_and_times_are_those_of_the_standard() {
        let serial = |baud, parity, stop| Serial { path: "/dev/x".into(), baud, parity, stop };
        let slow = serial(9600, Parity::Even, 1);
        assert_eq!(slow.silence().as_micros(), 4010);
        assert_eq!(slow.time_of(8).as_micros(), 9166);
        assert_eq!(serial(19_200, Parity::None, 2).silence().as_micros(), 2005);
        assert_eq!(serial(38_400, Parity::None, 1).silence().as_micros(), 1750);
    }
}
