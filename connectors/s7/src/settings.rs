//! What a device's endpoint and its `[s7]` table say.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::{DeviceComplaint, DeviceSpec, OptionKey, OptionKind, OptionValue, is_broken_ipv4};

use crate::paced::Paced;

/// Keys of `[s7]`.
pub(crate) const OPTIONS: &[OptionKey] = &[
    OptionKey {
        name: "cpu",
        kind: OptionKind::Choice(&["s7-300", "s7-400", "s7-1200", "s7-1500", "logo"]),
        help: "Family of the CPU; sets rack, slot and PDU size. Without it those of an s7-1500 hold.",
    },
    OptionKey {
        name: "rack",
        kind: OptionKind::Int(0, 7),
        help: "Rack of the CPU, where it differs from the one `cpu` sets.",
    },
    OptionKey {
        name: "slot",
        kind: OptionKind::Int(0, 31),
        help: "Slot of the CPU, where it differs from the one `cpu` sets.",
    },
    OptionKey {
        name: "connection_type",
        kind: OptionKind::Choice(&["op", "pg", "basic"]),
        help: "Kind of connection taken on the CPU; `op` unless written, which leaves the PG slot to the engineer.",
    },
    OptionKey {
        name: "remote_tsap",
        kind: OptionKind::Text,
        help: "Transport selector of the CPU as the engineering tool shows it, \"0x0200\" or \"02.00\"; instead of rack, slot and connection_type.",
    },
    OptionKey {
        name: "local_tsap",
        kind: OptionKind::Text,
        help: "Our own transport selector, \"0x0100\" unless written; a LOGO! looks at it.",
    },
    OptionKey {
        name: "take_last_connection",
        kind: OptionKind::Bool,
        help: "Read the CPU even when that leaves no connection for the engineer; false unless written.",
    },
    OptionKey {
        name: "timeout",
        kind: OptionKind::DurationMs(50, 60_000),
        help: "Longest wait for one answer; 2s unless written.",
    },
];

/// What each family of CPUs needs: name, rack, slot, PDU size to ask for in bytes.
///
/// The PDU size is an offer; the CPU settles on what it can.
const CPUS: &[(&str, u16, u16, u16)] = &[
    ("s7-300", 0, 2, 480),
    ("s7-400", 0, 3, 480),
    ("s7-1200", 0, 1, 240),
    ("s7-1500", 0, 1, 960),
    ("logo", 0, 0, 240),
];

/// Our side's transport selector; S7 CPUs do not look at it.
const LOCAL_TSAP: u16 = 0x0100;

/// Kind of connection, by the number the transport selector names it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Programming device: the engineer's.
    Pg = 1,
    /// Operator panel.
    Op = 2,
    /// S7 basic communication.
    Basic = 3,
}

/// What a CPU can do and how its tools name things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// S7-300 and S7-400.
    Classic,
    /// S7-1200 and S7-1500, which have optimised blocks.
    Tia,
    /// LOGO!.
    Logo,
}

/// How the CPU is addressed behind its network address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// By the place of the CPU.
    Slot { rack: u16, slot: u16, kind: Kind },
    /// By this transport selector, whatever it means.
    Tsap(u16),
}

impl Target {
    /// Transport selector of the CPU: connection type, then rack and slot.
    pub(crate) fn remote_tsap(self) -> u16 {
        match self {
            Self::Slot { rack, slot, kind } => u16::from(kind as u8) << 8 | rack << 5 | slot & 0x1F,
            Self::Tsap(tsap) => tsap,
        }
    }

    /// Kind of connection, where it is known.
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Slot { kind, .. } => Some(kind),
            Self::Tsap(tsap) => match tsap >> 8 {
                1 => Some(Kind::Pg),
                2 => Some(Kind::Op),
                3 => Some(Kind::Basic),
                _ => None,
            },
        }
    }

    /// The same place by another kind of connection; `None` where the engineer has written a
    /// transport selector.
    pub(crate) fn with(self, kind: Kind) -> Option<Self> {
        match self {
            Self::Slot { rack, slot, .. } => Some(Self::Slot { rack, slot, kind }),
            Self::Tsap(_) => None,
        }
    }
}

/// How to reach a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub host: String,
    pub port: u16,
    pub target: Target,
    pub local_tsap: u16,
    /// Reads on although no connection is left for the engineer.
    pub take_last: bool,
    /// For messages.
    pub family: Family,
    /// PDU size to ask for.
    pub pdu_bytes: u16,
    pub timeout: Duration,
    /// Waits before every request.
    pub pace: Paced,
}

impl Settings {
    /// Reads the settings; keys and kinds have been checked against [`OPTIONS`].
    pub(crate) fn read(device: &DeviceSpec) -> Result<Self, DeviceComplaint> {
        let text = |key| match device.options.get(key) {
            Some(OptionValue::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let int = |key| match device.options.get(key) {
            Some(OptionValue::Int(int)) => u16::try_from(*int).ok(),
            _ => None,
        };
        let cpu = cpu(&device.options);
        let (_, rack, slot, pdu_bytes) =
            CPUS.iter().find(|(name, ..)| *name == cpu).copied().unwrap_or(("", 0, 1, 960));
        let (host, port) = endpoint(&device.endpoint)?;
        Ok(Self {
            host,
            port,
            target: match text("remote_tsap") {
                Some(written) => Target::Tsap(tsap("remote_tsap", written)?),
                None => Target::Slot {
                    rack: int("rack").unwrap_or(rack),
                    slot: int("slot").unwrap_or(slot),
                    kind: match text("connection_type") {
                        Some("pg") => Kind::Pg,
                        Some("basic") => Kind::Basic,
                        _ => Kind::Op,
                    },
                },
            },
            local_tsap: text("local_tsap").map_or(Ok(LOCAL_TSAP), |written| tsap("local_tsap", written))?,
            take_last: device.options.get("take_last_connection") == Some(&OptionValue::Bool(true)),
            family: match cpu {
                "s7-300" | "s7-400" => Family::Classic,
                "logo" => Family::Logo,
                _ => Family::Tia,
            },
            pdu_bytes,
            timeout: match device.options.get("timeout") {
                Some(OptionValue::Duration(timeout)) => *timeout,
                _ => Duration::from_secs(2),
            },
            pace: Paced::default(),
        })
    }

    /// The endpoint for messages.
    pub(crate) fn endpoint(&self) -> String {
        joined(&self.host, self.port)
    }
}

/// Family of the CPU.
pub(crate) fn cpu(options: &BTreeMap<String, OptionValue>) -> &str {
    match options.get("cpu") {
        Some(OptionValue::Text(cpu)) => cpu,
        _ => "s7-1500",
    }
}

/// Reads `0x0200`, or `02.00` as LOGO!Soft Comfort and STEP 7 show it.
fn tsap(key: &'static str, text: &str) -> Result<u16, DeviceComplaint> {
    let hex = |digits: &str, count: usize| {
        let right = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        right.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let number = match (text.strip_prefix("0x").or(text.strip_prefix("0X")), text.split_once('.')) {
        (Some(digits), _) => hex(digits, 4),
        (None, Some((high, low))) => hex(high, 2).zip(hex(low, 2)).map(|(high, low)| high << 8 | low),
        (None, None) => None,
    };
    number.ok_or_else(|| DeviceComplaint {
        code: "S0214",
        key,
        message: format!("\"{text}\" is no transport selector"),
        help: "write its two bytes as the engineering tool shows them, for example \"02.00\" or \"0x0200\""
            .into(),
    })
}

/// Host and port as one text.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port of an endpoint with its port written out; a wrong one as it is.
pub(crate) fn address(text: &str) -> String {
    let address = endpoint(text).map_or_else(|_| text.to_owned(), |(host, port)| joined(&host, port));
    address.to_ascii_lowercase()
}

/// Splits `host`, `host:port` or `[v6]:port`.
fn endpoint(text: &str) -> Result<(String, u16), DeviceComplaint> {
    let complaint = |message: &str| DeviceComplaint {
        code: "S0210",
        key: "endpoint",
        message: format!("{message} in the endpoint \"{text}\""),
        help: "write the address or name of the CPU, for example \"192.168.10.33\"; \
               a port only where it is not 102: \"192.168.10.33:1102\""
            .into(),
    };
    if text.contains("://") {
        return Err(complaint("a scheme is not expected"));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => {
            (host, Some(rest.strip_prefix(':').ok_or_else(|| complaint("`:` is missing"))?))
        }
        None => match text.split_once(':') {
            // Several colons are an IPv6 address without brackets.
            Some((_, rest)) if rest.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/,;[]".contains(c)) {
        return Err(complaint("no host name or address"));
    }
    if is_broken_ipv4(host) {
        return Err(complaint("no IPv4 address (four numbers from 0 to 255)"));
    }
    let port = match port {
        None => 102,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| complaint("no valid port"))?,
    };
    Ok((host.into(), port))
}

/// Everything about a device as a whole that cannot work.
pub(crate) fn complaints(device: &DeviceSpec) -> Vec<DeviceComplaint> {
    let mut found: Vec<_> = Settings::read(device).err().into_iter().collect();
    let says_it_too = ["rack", "slot", "connection_type"].into_iter();
    if device.options.contains_key("remote_tsap") {
        found.extend(says_it_too.filter(|key| device.options.contains_key(*key)).map(|key| {
            DeviceComplaint {
                code: "S0214",
                key,
                message: format!("`remote_tsap` is written, so `{key}` means nothing"),
                help: format!("remove `{key}`, or `remote_tsap`"),
            }
        }));
    }
    if device.trust.is_some() {
        found.push(DeviceComplaint {
            code: "S0211",
            key: "trust",
            message: "an S7 connection has no certificate that could be trusted".into(),
            help: "remove `trust`; keep the CPU in a network segment of its own".into(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_selectors() {
        for (text, number) in [
            ("0x0200", Some(0x0200)),
            ("0X4d57", Some(0x4D57)),
            ("02.00", Some(0x0200)),
            ("10.01", Some(0x1001)),
            ("", None),
            ("0200", None),
            ("0x200", None),
            ("0x02000", None),
            ("0x+200", None),
            ("2.0", None),
            ("02.00.00", None),
            ("€.00", None),
        ] {
            assert_eq!(tsap("remote_tsap", text).ok(), number, "{text}");
        }
        let slot = |kind| Target::Slot { rack: 1, slot: 3, kind };
        assert_eq!(slot(Kind::Op).remote_tsap(), 0x0223);
        assert_eq!(slot(Kind::Op).with(Kind::Basic), Some(slot(Kind::Basic)));
        assert_eq!(Target::Tsap(0x0100).kind(), Some(Kind::Pg));
        assert_eq!(Target::Tsap(0x0100).with(Kind::Op), None, "what is written is kept to");
        assert_eq!(Target::Tsap(0x4D57).kind(), None);
    }

    #[test]
    fn endpoints() {
        let split = |text| endpoint(text).map(|(host, port)| format!("{host} {port}")).ok();
        assert_eq!(split("192.168.10.33").as_deref(), Some("192.168.10.33 102"));
        assert_eq!(split("press-3.plant:1102").as_deref(), Some("press-3.plant 1102"));
        assert_eq!(split("[fe80::1]:1102").as_deref(), Some("fe80::1 1102"));
        assert_eq!(split("fe80::1").as_deref(), Some("fe80::1 102"));
        assert_eq!(address("fe80::1"), "[fe80::1]:102");
        assert_eq!(address("Press-3.plant"), address("press-3.plant:102"));
        for wrong in [
            "",
            ":102",
            "tcp://a:102",
            "a:b",
            "a:0",
            "a:65536",
            "a b",
            "[fe80::1]102",
            "a,b",
            "10.0.0.333",
            "10.0.1:102",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
