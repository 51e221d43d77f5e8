//! What a device's endpoint and its `[s7]` table say.

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

/// How to reach a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub host: String,
    pub port: u16,
    pub rack: u16,
    pub slot: u16,
    /// Kind of connection as the transport selector names it: 1 PG, 2 OP, 3 basic.
    pub connection: u16,
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
        let cpu = text("cpu").unwrap_or("s7-1500");
        let (_, rack, slot, pdu_bytes) =
            CPUS.iter().find(|(name, ..)| *name == cpu).copied().unwrap_or(("", 0, 1, 960));
        let (host, port) = endpoint(&device.endpoint)?;
        Ok(Self {
            host,
            port,
            rack: int("rack").unwrap_or(rack),
            slot: int("slot").unwrap_or(slot),
            connection: match text("connection_type") {
                Some("pg") => 1,
                Some("basic") => 3,
                _ => 2,
            },
            pdu_bytes,
            timeout: match device.options.get("timeout") {
                Some(OptionValue::Duration(timeout)) => *timeout,
                _ => Duration::from_secs(2),
            },
            pace: Paced::default(),
        })
    }

    /// Transport selector of the CPU: connection type, then rack and slot.
    pub(crate) fn remote_tsap(&self) -> u16 {
        (self.connection << 8) | (self.rack << 5) | (self.slot & 0x1F)
    }

    /// The endpoint for messages.
    pub(crate) fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
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
    use super::endpoint;

    #[test]
    fn endpoints() {
        let split = |text| endpoint(text).map(|(host, port)| format!("{host} {port}")).ok();
        assert_eq!(split("192.168.10.33").as_deref(), Some("192.168.10.33 102"));
        assert_eq!(split("press-3.plant:1102").as_deref(), Some("press-3.plant 1102"));
        assert_eq!(split("[fe80::1]:1102").as_deref(), Some("fe80::1 1102"));
        assert_eq!(split("fe80::1").as_deref(), Some("fe80::1 102"));
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
