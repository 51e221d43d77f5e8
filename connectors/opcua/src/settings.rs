//! The `[opcua]` table of a profile: keys, defaults, and what must not be combined.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::{DeviceComplaint, DeviceSpec, OptionKey, OptionKind, OptionValue, is_broken_ipv4};
use opcua::crypto::SecurityPolicy;
use opcua::types::MessageSecurityMode;

use crate::address::{NodeAddress, check_alias};
use crate::certificate::Fingerprint;

/// Keys of `[opcua]`.
pub(crate) const OPTIONS: &[OptionKey] = &[
    OptionKey {
        name: "security",
        kind: OptionKind::Choice(&[
            "None",
            "Basic256Sha256",
            "Aes128_Sha256_RsaOaep",
            "Aes256_Sha256_RsaPss",
        ]),
        help: "Security policy; Basic256Sha256 unless written. None needs allow_insecure = true on the device.",
    },
    OptionKey {
        name: "mode",
        kind: OptionKind::Choice(&["None", "Sign", "SignAndEncrypt"]),
        help: "Message security; SignAndEncrypt unless written, None with security = \"None\".",
    },
    OptionKey {
        name: "auth",
        kind: OptionKind::Texts,
        help: "How to log in: { user = \"…\", password = \"credential:NAME\" }, or { certificate = \
               \"credential:NAME\", key = \"credential:NAME\" } with both in PEM; a guest unless written.",
    },
    OptionKey {
        name: "publishing",
        kind: OptionKind::DurationMs(50, 60_000),
        help: "How often the server sends what has changed, 500ms unless written.",
    },
    OptionKey {
        name: "read",
        kind: OptionKind::Choice(&["subscribe", "poll"]),
        help: "subscribe (the server sends changes) or poll (every tag is asked for in every scan).",
    },
    OptionKey {
        name: "events",
        kind: OptionKind::Bool,
        help: "true takes over the server's alarms and messages; false unless written.",
    },
    OptionKey {
        name: "event_nodes",
        kind: OptionKind::Texts,
        help: "Nodes whose alarms are taken over, press = \"ns=plc;s=Press\"; all of the server's unless written.",
    },
    OptionKey {
        name: "history",
        kind: OptionKind::Bool,
        help: "false never asks the server for what its tags were while the box was away.",
    },
    OptionKey {
        name: "namespaces",
        kind: OptionKind::Texts,
        help: "Short names for namespace URIs: plc = \"http://www.siemens.com/simatic-s7-opcua\".",
    },
    OptionKey {
        name: "timeout",
        kind: OptionKind::DurationMs(100, 60_000),
        help: "Longest wait for one answer, 5s unless written.",
    },
];

/// How to log in; secrets by the name of their credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// Anonymous.
    Guest,
    /// User name, and the credential that holds the password.
    User { name: String, password: String },
    /// The credentials that hold a user's certificate and its private key, both in PEM.
    Certificate { certificate: String, key: String },
}

/// The options of one device, defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `opc.tcp://host:port/path` as configured.
    pub(crate) url: String,
    pub(crate) policy: SecurityPolicy,
    pub(crate) mode: MessageSecurityMode,
    pub(crate) login: Login,
    pub(crate) publishing: Duration,
    /// True for `read = "poll"`.
    pub(crate) polled: bool,
    /// Whose alarms and messages are taken over; empty for none.
    pub(crate) events: Vec<NodeAddress>,
    pub(crate) history: bool,
    pub(crate) namespaces: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) trust: Option<Fingerprint>,
}

impl Settings {
    /// Reads the options and all complaints about them; with complaints the settings are not used.
    pub(crate) fn read(device: &DeviceSpec) -> (Self, Vec<DeviceComplaint>) {
        let mut complaints = Vec::new();
        check_endpoint(&device.endpoint, &mut complaints);
        let (policy, mode) = check_security(device, &mut complaints);
        let secure = policy != SecurityPolicy::None;
        let settings = Self {
            url: device.endpoint.clone(),
            policy,
            mode,
            login: check_login(device, secure, &mut complaints),
            publishing: duration(device, "publishing", Duration::from_millis(500)),
            polled: text(device, "read") == Some("poll"),
            events: check_events(device, &mut complaints),
            history: flag(device, "history").unwrap_or(true),
            namespaces: texts(device, "namespaces").cloned().unwrap_or_default(),
            timeout: duration(device, "timeout", Duration::from_secs(5)),
            trust: check_trust(device, secure, &mut complaints),
        };
        check_aliases(device, &settings.namespaces, &mut complaints);
        (settings, complaints)
    }

    /// True when messages are signed and the server has to prove who it is.
    pub(crate) fn secure(&self) -> bool {
        self.policy != SecurityPolicy::None
    }
}

fn complain(
    code: &'static str,
    key: &'static str,
    message: String,
    help: impl Into<String>,
) -> DeviceComplaint {
    DeviceComplaint { code, key, message, help: help.into() }
}

fn text<'a>(device: &'a DeviceSpec, key: &str) -> Option<&'a str> {
    match device.options.get(key) {
        Some(OptionValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn texts<'a>(device: &'a DeviceSpec, key: &str) -> Option<&'a BTreeMap<String, String>> {
    match device.options.get(key) {
        Some(OptionValue::Texts(texts)) => Some(texts),
        _ => None,
    }
}

fn flag(device: &DeviceSpec, key: &str) -> Option<bool> {
    match device.options.get(key) {
        Some(OptionValue::Bool(flag)) => Some(*flag),
        _ => None,
    }
}

fn duration(device: &DeviceSpec, key: &str, default: Duration) -> Duration {
    match device.options.get(key) {
        Some(OptionValue::Duration(duration)) => *duration,
        _ => default,
    }
}

fn check_endpoint(endpoint: &str, complaints: &mut Vec<DeviceComplaint>) {
    let host = authority(endpoint).map(|(host, _)| host);
    if let Some(host) = host.as_ref().filter(|host| is_broken_ipv4(host)) {
        complaints.push(complain(
            "O0304",
            "endpoint",
            format!("`{host}` is no IPv4 address"),
            "an address is four numbers from 0 to 255, for example 192.168.30.10",
        ));
    }
    if host.is_none() {
        complaints.push(complain(
            "O0304",
            "endpoint",
            format!("`{endpoint}` is no OPC UA endpoint"),
            "write opc.tcp://<host>:<port>, for example opc.tcp://192.168.30.10:4840",
        ));
    }
}

/// What devices at the same server have in common, however it is spelled.
pub(crate) fn shared_address(endpoint: &str) -> String {
    let address = match authority(endpoint) {
        Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
        Some((host, port)) => format!("{host}:{port}"),
        None => endpoint.to_owned(),
    };
    address.to_ascii_lowercase()
}

/// Host (without brackets) and port of an endpoint; the port is 4840 unless written.
pub(crate) fn authority(endpoint: &str) -> Option<(String, u16)> {
    let rest = endpoint.strip_prefix("opc.tcp://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("4840"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "4840")),
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let clean = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "@?#%".contains(c));
    clean.then(|| (host.to_owned(), port))
}

fn check_security(
    device: &DeviceSpec,
    complaints: &mut Vec<DeviceComplaint>,
) -> (SecurityPolicy, MessageSecurityMode) {
    let policy = match text(device, "security") {
        Some("None") => SecurityPolicy::None,
        Some("Aes128_Sha256_RsaOaep") => SecurityPolicy::Aes128Sha256RsaOaep,
        Some("Aes256_Sha256_RsaPss") => SecurityPolicy::Aes256Sha256RsaPss,
        _ => SecurityPolicy::Basic256Sha256,
    };
    let none = policy == SecurityPolicy::None;
    let mode = match text(device, "mode") {
        Some("None") => MessageSecurityMode::None,
        Some("Sign") => MessageSecurityMode::Sign,
        Some("SignAndEncrypt") => MessageSecurityMode::SignAndEncrypt,
        _ if none => MessageSecurityMode::None,
        _ => MessageSecurityMode::SignAndEncrypt,
    };
    if none != (mode == MessageSecurityMode::None) {
        complaints.push(complain(
            "O0302",
            "mode",
            format!("security {policy} and mode {mode:?} exclude each other"),
            "write both as \"None\", or neither",
        ));
    } else if none && !device.allow_insecure {
        complaints.push(complain(
            "O0301",
            "security",
            format!("device `{}` would be read without encryption", device.name),
            "write security = \"Basic256Sha256\" in [opcua], or allow_insecure = true in [[device]] if the \
             server can do nothing better and its network is its own",
        ));
    }
    (policy, mode)
}

/// What to write for `auth`.
const LOGINS: &str = "write auth = { user = \"…\", password = \"credential:NAME\" }, or auth = { certificate = \
                      \"credential:NAME\", key = \"credential:NAME\" }";

fn check_login(device: &DeviceSpec, secure: bool, complaints: &mut Vec<DeviceComplaint>) -> Login {
    let Some(auth) = texts(device, "auth") else { return Login::Guest };
    let by_certificate = auth.contains_key("certificate") || auth.contains_key("key");
    let keys = if by_certificate { ["certificate", "key"] } else { ["user", "password"] };
    for stray in auth.keys().filter(|key| !keys.contains(&key.as_str())) {
        let message = format!("auth = {{ {} }} cannot have `{stray}`", keys.join(", "));
        complaints.push(complain("O0303", "auth", message, LOGINS));
    }
    let login = if by_certificate {
        let certificate = credential(auth, "certificate", complaints);
        let key = credential(auth, "key", complaints);
        Login::Certificate { certificate, key }
    } else {
        let name = auth.get("user").cloned().unwrap_or_default();
        if name.is_empty() {
            complaints.push(complain("O0303", "auth", "auth has no user".into(), LOGINS));
        }
        Login::User { name, password: credential(auth, "password", complaints) }
    };
    if !secure {
        let message = if by_certificate {
            "a certificate proves nothing on a connection without security"
        } else {
            "the password would cross the network for everyone to read"
        };
        complaints.push(complain(
            "O0305",
            "auth",
            message.into(),
            "write security = \"Basic256Sha256\", or leave auth out and read as a guest",
        ));
    }
    login
}

/// The name of a credential. A secret that stands in the file stays out of the message, which goes
/// to logs and pages.
fn credential(auth: &BTreeMap<String, String>, key: &str, complaints: &mut Vec<DeviceComplaint>) -> String {
    let written = auth.get(key);
    let name = written.and_then(|text| text.strip_prefix("credential:")).unwrap_or_default();
    if name.is_empty() {
        let message = match written {
            None => format!("auth has no {key}"),
            Some(_) => format!("the {key} stands in the file"),
        };
        let help = format!(
            "write {key} = \"credential:NAME\" and store the {key} under that name; what stood in a file is no \
             secret any more, because files are copied"
        );
        complaints.push(complain(
            "O0303",
            "auth",
            message,
            if written.is_none() { LOGINS.into() } else { help },
        ));
    }
    name.to_owned()
}

/// The nodes whose events are wanted; the Server object's are all there are (Part 5, 6.3.3).
fn check_events(device: &DeviceSpec, complaints: &mut Vec<DeviceComplaint>) -> Vec<NodeAddress> {
    let nodes = texts(device, "event_nodes");
    let wanted = flag(device, "events").unwrap_or(nodes.is_some_and(|nodes| !nodes.is_empty()));
    let Some(nodes) = nodes.filter(|nodes| !nodes.is_empty()) else {
        return if wanted { vec![NodeAddress::server()] } else { Vec::new() };
    };
    let known = texts(device, "namespaces").cloned().unwrap_or_default();
    let mut addresses = Vec::new();
    for (name, node) in nodes {
        match check_alias(node, &known).and_then(|()| NodeAddress::parse(node)) {
            Ok(address) => addresses.push(address),
            Err(fault) => {
                let message = format!("event node `{name}`: {}", fault.message);
                complaints.push(complain(fault.code, "event_nodes", message, fault.help));
            }
        }
    }
    if wanted { addresses } else { Vec::new() }
}

fn check_trust(
    device: &DeviceSpec,
    secure: bool,
    complaints: &mut Vec<DeviceComplaint>,
) -> Option<Fingerprint> {
    let text = device.trust.as_deref()?;
    let parsed = Fingerprint::parse(text);
    if parsed.is_none() {
        complaints.push(complain(
            "O0306",
            "trust",
            format!("`{text}` is no fingerprint"),
            "write sha256: and 64 hexadecimal digits",
        ));
    } else if !secure {
        complaints.push(complain(
            "O0307",
            "trust",
            "without security nothing proves that the server owns this certificate".into(),
            "write security = \"Basic256Sha256\" in [opcua], or leave trust out",
        ));
    }
    parsed
}

fn check_aliases(
    device: &DeviceSpec,
    namespaces: &BTreeMap<String, String>,
    complaints: &mut Vec<DeviceComplaint>,
) {
    for (alias, uri) in namespaces {
        if uri.is_empty() {
            complaints.push(complain(
                "O0211",
                "namespaces",
                format!("namespace `{alias}` has no URI"),
                "copy the URI from the server's NamespaceArray",
            ));
        }
    }
    for tag in &*device.tags {
        // From files this has been said where the address stands.
        if let Err(fault) = check_alias(&tag.address, namespaces) {
            let message = format!("tag `{}`: {}", tag.path, fault.message);
            complaints.push(complain(fault.code, "namespaces", message, fault.help));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forebay_connector::{DataType, Scalar, Secrets, TagSpec};

    use super::*;

    struct NoSecrets;

    impl Secrets for NoSecrets {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no secrets".into())
        }
    }

    fn device(options: &[(&str, OptionValue)]) -> DeviceSpec {
        DeviceSpec {
            name: "filler-1".into(),
            endpoint: "opc.tcp://192.168.30.10:4840".into(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
            scans: Vec::new(),
            tags: Arc::default(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: "unused".into(),
        }
    }

    fn text(text: &str) -> OptionValue {
        OptionValue::Text(text.into())
    }

    fn table(pairs: &[(&str, &str)]) -> OptionValue {
        OptionValue::Texts(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    fn codes(device: &DeviceSpec) -> Vec<(&'static str, &'static str)> {
        Settings::read(device).1.iter().map(|complaint| (complaint.code, complaint.key)).collect()
    }

    #[test]
    fn without_options_everything_is_encrypted() {
        let (settings, complaints) = Settings::read(&device(&[]));
        assert_eq!(complaints, []);
        assert_eq!(settings.policy, SecurityPolicy::Basic256Sha256);
        assert_eq!(settings.mode, MessageSecurityMode::SignAndEncrypt);
        assert!(settings.secure() && !settings.polled);
    }

    #[test]
    fn insecure_reading_needs_a_word() {
        let mut plain = device(&[("security", text("None"))]);
        assert_eq!(codes(&plain), [("O0301", "security")]);
        plain.allow_insecure = true;
        assert_eq!(codes(&plain), []);
        plain.options.insert("mode".into(), text("Sign"));
        assert_eq!(codes(&plain), [("O0302", "mode")]);
        assert_eq!(codes(&device(&[("mode", text("None"))])), [("O0302", "mode")]);
    }

    #[test]
    fn passwords_are_names_and_travel_encrypted() {
        let named = table(&[("user", "forebay"), ("password", "credential:opcua-filler")]);
        assert_eq!(codes(&device(&[("auth", named.clone())])), []);
        let plain = table(&[("user", "forebay"), ("password", "hunter2")]);
        let (_, complaints) = Settings::read(&device(&[("auth", plain)]));
        assert_eq!(complaints.len(), 1);
        assert_eq!((complaints[0].code, complaints[0].key), ("O0303", "auth"));
        let said = format!("{complaints:?}");
        assert!(said.contains("credential:NAME") && !said.contains("hunter2"), "{said}");
        let nobody = table(&[("user", ""), ("password", "credential:")]);
        assert_eq!(codes(&device(&[("auth", nobody)])), [("O0303", "auth"), ("O0303", "auth")]);
        let mixed = table(&[("user", "forebay"), ("password", "credential:a"), ("key", "credential:b")]);
        let said = format!("{:?}", Settings::read(&device(&[("auth", mixed)])).1);
        assert!(said.contains("cannot have `user`") && said.contains("auth has no certificate"), "{said}");
        let mut open = device(&[("auth", named), ("security", text("None"))]);
        open.allow_insecure = true;
        assert_eq!(codes(&open), [("O0305", "auth")]);
    }

    #[test]
    fn a_user_may_have_a_certificate() {
        let named = [("certificate", "credential:user.pem"), ("key", "credential:user-key.pem")];
        let (settings, complaints) = Settings::read(&device(&[("auth", table(&named))]));
        assert_eq!(complaints, []);
        let (certificate, key) = ("user.pem".into(), "user-key.pem".into());
        assert_eq!(settings.login, Login::Certificate { certificate, key });
        let plain = [("certificate", "credential:user.pem"), ("key", "-----BEGIN PRIVATE KEY-----")];
        let (_, complaints) = Settings::read(&device(&[("auth", table(&plain))]));
        assert!(complaints.len() == 1 && !format!("{complaints:?}").contains("BEGIN"), "{complaints:?}");
        let mut open = device(&[("auth", table(&named)), ("security", text("None"))]);
        open.allow_insecure = true;
        assert_eq!(codes(&open), [("O0305", "auth")]);
    }

    #[test]
    fn events_are_those_of_the_server_or_of_named_nodes() {
        let namespaces = ("namespaces", table(&[("plc", "urn:plc")]));
        let events = |options: &[(&str, OptionValue)]| Settings::read(&device(options)).0.events;
        assert!(events(&[]).is_empty());
        assert_eq!(events(&[("events", OptionValue::Bool(true))]), [NodeAddress::server()]);
        let nodes = ("event_nodes", table(&[("press", "ns=plc;s=Press"), ("oven", "ns=plc;i=7")]));
        assert_eq!(events(&[namespaces.clone(), nodes.clone()]).len(), 2);
        let off = [namespaces, nodes.clone(), ("events", OptionValue::Bool(false))];
        assert!(events(&off).is_empty());
        assert_eq!(codes(&device(&[nodes])), [("O0210", "event_nodes"), ("O0210", "event_nodes")]);
    }

    #[test]
    fn trust_is_a_fingerprint_that_something_proves() {
        let fingerprint = format!("sha256:{}", "9f".repeat(32));
        let mut trusting = device(&[]);
        trusting.trust = Some(fingerprint.clone());
        assert_eq!(codes(&trusting), []);
        trusting.trust = Some("sha256:9f2c".into());
        assert_eq!(codes(&trusting), [("O0306", "trust")]);
        trusting.trust = Some(fingerprint);
        trusting.allow_insecure = true;
        trusting.options.insert("security".into(), text("None"));
        assert_eq!(codes(&trusting), [("O0307", "trust")]);
    }

    #[test]
    fn an_unknown_namespace_names_the_tag_and_the_known_ones() {
        let namespaces = table(&[("mach", "http://opcfoundation.org/UA/Machinery/"), ("empty", "")]);
        let mut filler = device(&[("namespaces", namespaces)]);
        let tag = |address: &str| TagSpec {
            path: "filling.level".into(),
            address: address.into(),
            data_type: DataType::single(Scalar::Real),
            order: None,
            scan: 0,
            deadband: None,
        };
        filler.tags = [tag("ns=mach;i=1"), tag("i=2258"), tag("ns=plc;s=Level")].into();
        let (_, complaints) = Settings::read(&filler);
        assert_eq!(codes(&filler), [("O0211", "namespaces"), ("O0210", "namespaces")]);
        assert!(complaints[1].message.contains("filling.level") && complaints[1].message.contains("plc"));
        assert!(complaints[1].help.contains("mach"), "{:?}", complaints[1]);
    }

    #[test]
    fn endpoints_name_host_and_port() {
        for (endpoint, expected) in [
            ("opc.tcp://plc:4841/ua", Some(("plc", 4841))),
            ("opc.tcp://10.0.0.1", Some(("10.0.0.1", 4840))),
            ("opc.tcp://[fe80::1]:4840/", Some(("fe80::1", 4840))),
            ("opc.tcp://[::1]", Some(("::1", 4840))),
            ("opc.tcp://", None),
            ("opc.tcp://plc:0", None),
            ("opc.tcp://plc:65536", None),
            ("opc.tcp://[::1", None),
            ("opc.tcp://a b", None),
            ("http://plc:4840", None),
            ("192.168.1.1", None),
        ] {
            let got = authority(endpoint);
            assert_eq!(got.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{endpoint}");
            let mut filler = device(&[]);
            filler.endpoint = endpoint.into();
            assert_eq!(codes(&filler).is_empty(), expected.is_some(), "{endpoint}");
        }
    }

    #[test]
    fn devices_at_one_server_have_one_address() {
        for (endpoint, expected) in [
            ("opc.tcp://PLC:4840/ua", "plc:4840"),
            ("opc.tcp://plc", "plc:4840"),
            ("opc.tcp://plc:4841/other/path", "plc:4841"),
            ("opc.tcp://[FE80::1]", "[fe80::1]:4840"),
            ("opc.tcp://[fe80::1]:4840/", "[fe80::1]:4840"),
            ("Nonsense", "nonsense"),
        ] {
            assert_eq!(shared_address(endpoint), expected, "{endpoint}");
        }
    }
}
