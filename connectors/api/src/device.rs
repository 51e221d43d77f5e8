//! A device as its protocol sees it, and what a protocol must offer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::planning::{ReadPlan, ScanReads};
use crate::{ByteOrder, Connector, DataType, Simulator};

/// How often a group of tags is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanClass {
    /// Name in the profile, for example `fast`.
    pub name: String,
    /// Time from the start of one read to the start of the next.
    pub interval: Duration,
}

/// One tag as the protocol needs it. Texts, units and scaling stay outside.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSpec {
    /// Path in the profile, for example `hydraulics.oil_temp`.
    pub path: String,
    /// Address in the protocol's notation, parameters filled in, checked by [`Protocol::check_address`].
    pub address: String,
    /// Type on the wire.
    pub data_type: DataType,
    /// Byte order of this tag where it differs from the device's.
    pub order: Option<ByteOrder>,
    /// Index into [`DeviceSpec::scans`].
    pub scan: usize,
    /// Deadband in raw units a server may apply itself (OPC UA), `None` to get every change.
    pub deadband: Option<f64>,
}

/// Value of a protocol option, checked against its [`OptionKey`].
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// Whole number.
    Int(i64),
    /// Text or one of the choices.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A duration, in the file a text with its unit (`"800ms"`).
    Duration(Duration),
    /// A table of texts, for example `[opcua.namespaces]` or `auth = { user, password }`.
    Texts(BTreeMap<String, String>),
}

/// What an option may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Whole number within these bounds, both included.
    Int(i64, i64),
    /// Any text.
    Text,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Bool,
    /// Duration within these bounds in milliseconds, both included.
    DurationMs(u64, u64),
    /// Table with any keys and text values.
    Texts,
    /// Table with exactly these keys and text values; a plain text is refused.
    Table(&'static [&'static str]),
}

/// One key of the protocol's table in a profile (`[modbus]`, `[s7]`, `[opcua]`).
#[derive(Debug, Clone, Copy)]
pub struct OptionKey {
    /// Name in the file.
    pub name: &'static str,
    /// What it may hold.
    pub kind: OptionKind,
    /// One sentence for help texts and the schema.
    pub help: &'static str,
}

/// A device as its connector sees it.
#[derive(Clone)]
pub struct DeviceSpec {
    /// Name from `[[device]]`, for messages.
    pub name: String,
    /// As written in `[[device]]`.
    pub endpoint: String,
    /// Options of the protocol's table; keys and kinds have been checked.
    pub options: BTreeMap<String, OptionValue>,
    /// Scan classes in use.
    pub scans: Vec<ScanClass>,
    /// Tags in profile order, `[[verify]]` tags that have no own line last. Equal devices share them.
    pub tags: Arc<[TagSpec]>,
    /// Fingerprint of the server certificate to trust (`sha256:…`).
    pub trust: Option<String>,
    /// The device may be read without encryption.
    pub allow_insecure: bool,
    /// Where secrets named in `options` are found.
    pub secrets: Arc<dyn Secrets>,
    /// Folder for this device's own small files (certificates), created on first use.
    pub state_directory: std::path::PathBuf,
}

/// Resolves `credential:NAME`; configuration never holds a secret itself.
pub trait Secrets: Send + Sync {
    /// The secret with this name.
    ///
    /// # Errors
    /// A sentence that says where it was looked for.
    fn read(&self, name: &str) -> Result<String, String>;
}

/// A checked address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The one canonical spelling.
    pub canonical: String,
    /// Equal for two tags that read the same place; used to warn of doubles.
    pub place: String,
}

/// The part of a device's memory that an address and its type read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// What is counted in: a data block, a table of registers.
    pub area: String,
    /// Bits from the beginning of the area.
    pub bits: Range<u64>,
}

/// True for a host of digits and dots that is no IPv4 address: a slip, never a name.
pub fn is_broken_ipv4(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && host.parse::<std::net::Ipv4Addr>().is_err()
}

/// Why an address cannot be read, for a message with a caret inside the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFault {
    /// Stable code, for example `S0203`.
    pub code: &'static str,
    /// What is wrong, without the tag's name.
    pub message: String,
    /// Bytes of the address the caret points at.
    pub span: Range<usize>,
    /// Words beside the caret, may be empty.
    pub label: String,
    /// Words beside the type, where type and address disagree.
    pub type_label: Option<String>,
    /// The fix.
    pub help: String,
}

/// A device cannot be opened as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpenFault {
    /// What is wrong and how to mend it.
    pub message: String,
}

/// A protocol: one crate, one line in `src/connectors.rs`.
#[async_trait]
pub trait Protocol: Send + Sync {
    /// Name in profiles: `modbus`, `s7`, `opcua`.
    fn name(&self) -> &'static str;

    /// Keys of the protocol's table in a profile.
    fn options(&self) -> &'static [OptionKey];

    /// True when a device tells the units of its values, so that `unit = "server"` makes sense.
    fn has_server_units(&self) -> bool {
        false
    }

    /// Checks an address together with its type.
    ///
    /// # Errors
    /// [`AddressFault`] with the place of the fault in `address`.
    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault>;

    /// The address `by` units further on, for `repeat`: bytes for S7, registers or bits for Modbus.
    ///
    /// # Errors
    /// [`AddressFault`] when the protocol's addresses cannot be counted, or the end is passed.
    fn shift_address(&self, address: &str, by: u32) -> Result<String, AddressFault>;

    /// Checks what a canonical address refers to in the options of its profile.
    ///
    /// # Errors
    /// [`AddressFault`] with the place of the fault in `address`.
    fn check_reference(
        &self,
        address: &str,
        options: &BTreeMap<String, OptionValue>,
    ) -> Result<(), AddressFault> {
        let (_, _) = (address, options);
        Ok(())
    }

    /// What is probably not meant about a canonical address that can be read.
    fn doubt(&self, address: &str, data_type: DataType) -> Option<AddressFault> {
        let (_, _) = (address, data_type);
        None
    }

    /// What a canonical address reads, to warn of tags that overlap; `None` where that is not known.
    fn extent(&self, address: &str, data_type: DataType) -> Option<Extent> {
        let (_, _) = (address, data_type);
        None
    }

    /// How a canonical address is asked for, for `explain`: `FC03, wire 2999 (0x0BB7), 2 registers`.
    fn wire(&self, address: &str, data_type: DataType) -> String {
        let (_, _) = (address, data_type);
        String::new()
    }

    /// Checks what needs the whole device: endpoint, options that exclude each other, security.
    ///
    /// Each entry is one complaint: the key it is about (`endpoint`, `security` …), message, help.
    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint>;

    /// What this device shares with others: devices that give the same text take turns on one
    /// connection. `None`: it has a connection of its own.
    fn line(&self, device: &DeviceSpec) -> Option<String> {
        let _ = device;
        None
    }

    /// Host and port of this device, spelled the same for all devices that are reached there: their
    /// connections count together.
    fn address(&self, device: &DeviceSpec) -> String {
        let endpoint = device.endpoint.as_str();
        let behind = endpoint.split_once("://").map_or(endpoint, |(_, behind)| behind);
        behind.split('/').next().unwrap_or(behind).to_ascii_lowercase()
    }

    /// The requests by which this device would be read; sends none. For `forebay plan`.
    ///
    /// # Errors
    /// [`OpenFault`] when the device can never be read as configured.
    fn plan(&self, device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
        let scans = device.scans.iter().map(|_| ScanReads::default());
        Ok(ReadPlan { scans: scans.collect(), ..ReadPlan::default() })
    }

    /// Prepares a connector; connects nothing.
    ///
    /// # Errors
    /// [`OpenFault`] when the device can never be read as configured.
    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault>;

    /// Starts a simulated device on 127.0.0.1, port chosen by the system, that serves all tags of
    /// `device` (its endpoint is ignored). For `forebay demo` and tests.
    ///
    /// # Errors
    /// [`OpenFault`] when no socket can be had.
    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault>;
}

/// Complaint about a device as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceComplaint {
    /// Stable code.
    pub code: &'static str,
    /// Key of `[[device]]` or of the protocol's table that the complaint is about.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// The fix.
    pub help: String,
}
