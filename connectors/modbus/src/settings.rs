//! Options of a device, checked.

use std::time::Duration;

use forebay_connector::{ByteOrder, DeviceComplaint, DeviceSpec, OptionKey, OptionKind, OptionValue};

use crate::address::{self, MAX_BITS, MAX_REGISTERS};
use crate::endpoint::{self, Endpoint};
use crate::frame::Framing;
use crate::plan::Limits;

/// Pause between two requests to a serial server when the device names none: 3.5 characters at 9600
/// bit/s, which a serial port of our own keeps by itself.
const SERIAL_SERVER_PAUSE: Duration = Duration::from_millis(5);

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
        help: "Most registers in one request (default 125, the most the protocol allows; 1 = one at a time).",
    },
    OptionKey {
        name: "max_coils",
        kind: OptionKind::Int(1, MAX_BITS as i64),
        help: "Most coils or discrete inputs in one request (default 2000, the most the protocol allows).",
    },
    OptionKey {
        name: "max_gap",
        kind: OptionKind::Int(0, MAX_REGISTERS as i64),
        help: "Holes of up to this many registers or coils are read over instead of asking twice (default 0).",
    },
    OptionKey {
        name: "one_tag_per_request",
        kind: OptionKind::Bool,
        help: "Every tag gets a request of its own, for devices that refuse to answer several registers at once (default false).",
    },
    OptionKey {
        name: "request_pause",
        kind: OptionKind::DurationMs(0, 10_000),
        help: "Silence between an answer and the next request on the same endpoint (default 0, to a serial server 5ms; a serial port keeps the silence of the standard by itself).",
    },
    OptionKey {
        name: "pause_after_connect",
        kind: OptionKind::DurationMs(0, 10_000),
        help: "Silence between connecting and the first request, for devices that lose what comes sooner (default 0).",
    },
    OptionKey {
        name: "close_after_poll",
        kind: OptionKind::Bool,
        help: "The connection is closed after each poll, for devices that have one connection only and others who want it (default false).",
    },
    OptionKey {
        name: "busy_retries",
        kind: OptionKind::Int(0, 10),
        help: "How often a request is repeated that the device answers with \"busy\" (exceptions 05 and 06; default 3).",
    },
    OptionKey {
        name: "busy_pause",
        kind: OptionKind::DurationMs(10, 10_000),
        help: "Wait before such a repetition; others on the line are served meanwhile (default 100ms).",
    },
    OptionKey {
        name: "timeout",
        kind: OptionKind::DurationMs(10, 60_000),
        help: "Longest wait for the connection and for each answer (default 1s); the time that bytes take on a serial line comes on top.",
    },
];

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
    /// Every tag gets a request of its own.
    pub one_tag_per_request: bool,
    /// Silence before each request.
    pub request_pause: Duration,
    /// Silence between connecting and the first request.
    pub pause_after_connect: Duration,
    /// The connection does not outlive a poll.
    pub close_after_poll: bool,
    /// Repetitions of a request that was answered with "busy".
    pub busy_retries: u16,
    /// Wait before such a repetition.
    pub busy_pause: Duration,
    /// Longest wait for a connection or an answer.
    pub timeout: Duration,
}

impl Settings {
    /// Reads options and endpoint.
    ///
    /// # Errors
    /// All complaints at once.
    pub fn read(device: &DeviceSpec) -> Result<Self, Vec<DeviceComplaint>> {
        let mut settings = Self::options(device);
        let mut complaints = Vec::new();
        match endpoint::parse(&device.endpoint) {
            Ok(endpoint) => {
                let is_server = matches!(endpoint, Endpoint::Network { framing: Framing::Rtu, .. });
                if is_server && !device.options.contains_key("request_pause") {
                    settings.request_pause = SERIAL_SERVER_PAUSE;
                }
                settings.endpoint = endpoint;
            }
            Err(complaint) => complaints.push(complaint),
        }
        complaints.extend(settings.unit_complaint());
        complaints.extend(settings.width_complaints(device));
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
        let flag = |name| matches!(device.options.get(name), Some(OptionValue::Bool(true)));
        Self {
            endpoint: Endpoint::Network { host: String::new(), port: 0, framing: Framing::Tcp },
            unit: u8::try_from(int("unit_id", 1)).unwrap_or(1),
            order: match device.options.get("order") {
                Some(OptionValue::Text(letters)) => ByteOrder::parse(letters).unwrap_or_default(),
                _ => ByteOrder::default(),
            },
            limits: Limits {
                registers: int("max_registers", MAX_REGISTERS).clamp(1, MAX_REGISTERS),
                coils: int("max_coils", MAX_BITS).clamp(1, MAX_BITS),
                gap: int("max_gap", 0),
            },
            one_tag_per_request: flag("one_tag_per_request"),
            request_pause: duration("request_pause", Duration::ZERO),
            pause_after_connect: duration("pause_after_connect", Duration::ZERO),
            close_after_poll: flag("close_after_poll"),
            busy_retries: int("busy_retries", 3),
            busy_pause: duration("busy_pause", Duration::from_millis(100)),
            timeout: duration("timeout", Duration::from_secs(1)),
        }
    }

    /// Units are 1 to 247 on a serial line, where 0 is a broadcast that nobody answers (MODBUS over
    /// Serial Line V1.02, 2.2). A device with its own Ethernet port is told apart by its address,
    /// and may ask for 255 or 0 (MODBUS Messaging on TCP/IP V1.0b, 4.4.1.2).
    fn unit_complaint(&self) -> Option<DeviceComplaint> {
        let is_serial = self.endpoint.framing() == Framing::Rtu;
        let (message, help) = match self.unit {
            0 if is_serial => (
                "unit_id 0 is a broadcast on a serial line, and never answered".to_owned(),
                "write the address set on the device, 1 to 247".to_owned(),
            ),
            255 if is_serial => (
                "unit_id 255 is reserved on a serial line".to_owned(),
                "write the address set on the device, 1 to 247".to_owned(),
            ),
            248..=254 => (
                format!("unit_id {} is reserved", self.unit),
                "units have the numbers 1 to 247; a device with its own Ethernet port may ask for 0 or 255"
                    .to_owned(),
            ),
            _ => return None,
        };
        Some(DeviceComplaint { code: "M0304", key: "unit_id", message, help })
    }

    /// The widest tag of registers and the widest of bits must fit into a request.
    fn width_complaints(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        // Tags with a faulty address have been complained about already.
        let tags = device.tags.iter().filter_map(|tag| {
            let (place, count) = address::check(&tag.address, tag.data_type).ok()?;
            Some((tag, place.table.is_bits(), count))
        });
        let kinds = [
            (false, "max_registers", self.limits.registers, "registers"),
            (true, "max_coils", self.limits.coils, "coils"),
        ];
        let complaint = |(are_bits, key, limit, unit): (bool, &'static str, u16, &str)| {
            let tags = tags.clone().filter(|(_, bits, _)| *bits == are_bits);
            let (tag, _, count) =
                tags.max_by_key(|(.., count)| *count).filter(|(.., count)| *count > limit)?;
            Some(DeviceComplaint {
                code: "M0305",
                key,
                message: format!("tag `{}` is {count} {unit} wide, {key} is {limit}", tag.path),
                help: format!("a value is never split: write {key} = {count} or more, or shorter tags"),
            })
        };
        kinds.into_iter().filter_map(complaint).collect()
    }
}
