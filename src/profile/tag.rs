//! One tag: a line of a group becomes a raw tag and the tags published from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_connector::{
    Address, AddressFault, DataType, Extent, OptionValue, Protocol, Scalar, ScanClass, TagSpec,
};
use jiff::tz::TimeZone;

use super::precision::{self, Precision};
use super::scaling;
use super::texts::{self, Enumeration, NamedBit};
use super::{options, units};
use crate::device::{Tag, Transform};
use crate::diagnostic::{Severity, Span};
use crate::document::{Context, Fields, Table, TextValue, nearest};

/// Keys of a tag.
pub const KEYS: [&str; 22] = [
    "address",
    "value",
    "type",
    "unit",
    "scan",
    "deadband",
    "compress",
    "max_silence",
    "range",
    "limits",
    "scale",
    "offset",
    "raw",
    "eng",
    "clamp",
    "enum",
    "bits",
    "kind",
    "order",
    "ne107",
    "timezone",
    "desc",
];

/// Keys of `[defaults]` and of `defaults` in a group: what several tags can share.
pub const DEFAULT_KEYS: [&str; 15] = [
    "type",
    "unit",
    "scan",
    "deadband",
    "compress",
    "max_silence",
    "range",
    "scale",
    "offset",
    "raw",
    "eng",
    "clamp",
    "kind",
    "order",
    "timezone",
];

/// A value is published at least this often where nothing else is said.
pub(super) const MAX_SILENCE_DEFAULT: Duration = Duration::from_secs(60);

/// Bounds of `max_silence`.
pub(super) const MAX_SILENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

/// Names of `limits`, ascending.
pub const LIMITS: [&str; 4] = ["lolo", "lo", "hi", "hihi"];

/// What tags refer to by name.
pub struct Names<'a> {
    /// The protocol of the profile.
    pub protocol: &'a dyn Protocol,
    /// Scan classes in the order of the file.
    pub scans: Vec<ScanClass>,
    /// `[enum.*]`.
    pub enumerations: BTreeMap<String, Enumeration>,
    /// `[bits.*]`.
    pub bits: BTreeMap<String, Vec<NamedBit>>,
    /// `[defaults]`.
    pub defaults: &'a Table,
    /// What is declared but faulty, by table and name; the name `*` is the whole table.
    pub faulty: BTreeSet<(&'static str, String)>,
    /// `[params]`, to tell where values come from.
    pub params: Option<&'a Table>,
    /// Options of the protocol; `None` when they are faulty.
    pub options: Option<&'a BTreeMap<String, OptionValue>>,
}

impl Names<'_> {
    /// True when it would be wrong to say that `name` does not exist in the table `kind`: it is
    /// declared but faulty, or stood in a part of the file that cannot be read.
    pub(super) fn may_exist(&self, fields: &Fields<'_>, kind: &'static str, name: &str) -> bool {
        fields.ctx.may_be_lost(name)
            || [name, "*"].iter().any(|name| self.faulty.contains(&(kind, (*name).to_owned())))
    }
}

/// One tag as read.
pub struct ReadTag {
    /// What the connector reads.
    pub raw: TagSpec,
    /// What is published; `raw` is not yet set.
    pub tags: Vec<Tag>,
    /// Place of the address, for the warning about doubles; `None` when it depends on a
    /// parameter without a value.
    pub place: Option<String>,
    /// Which part of the device's memory it reads, where the protocol can tell.
    pub extent: Option<Extent>,
    /// Where the address stands.
    pub span: Span,
}

/// Reads the type; required.
pub fn data_type(fields: &Fields<'_>) -> Option<DataType> {
    fields.require("type", "for example type = \"REAL\"; [defaults] may give it for all tags");
    let text = fields.text("type")?;
    let found = DataType::parse(&text.text);
    let base = text.text.split('[').next().unwrap_or("");
    if found.is_none() && text.text.ends_with(']') && DataType::parse(base).is_some() {
        let message = format!("the length of {} is not within 1 to 65535", text.text);
        fields.refuse_value("P0120", "type", &message, format!("write for example {base}[16]"));
    } else if found.is_none() {
        let help = match nearest(&text.text, DataType::names()) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("types are: {}", DataType::names().collect::<Vec<_>>().join(", ")),
        };
        fields.refuse_value("P0120", "type", &format!("there is no type \"{}\"", text.text), help);
    }
    found
}

/// An address, checked.
pub struct ReadAddress {
    /// As the connector is given it.
    pub canonical: String,
    /// The protocol's word for the place it reads.
    pub place: Option<String>,
    /// Which part of the device's memory it reads, where the protocol can tell.
    pub extent: Option<Extent>,
    /// Where it stands in the file.
    pub span: Span,
}

/// Reads and checks the address, moved on by `shift` units; required.
pub fn address(
    fields: &Fields<'_>,
    names: &Names<'_>,
    data_type: DataType,
    shift: u32,
) -> Option<ReadAddress> {
    let protocol = names.protocol;
    fields.require("address", "every tag has its address in the device");
    let text = fields.text("address")?;
    let checked = protocol.check_address(&text.text, data_type).and_then(|address| match shift {
        0 => Ok(address),
        _ => protocol
            .shift_address(&address.canonical, shift)
            .and_then(|moved| protocol.check_address(&moved, data_type))
            // The place of the fault is in the moved address, which does not stand in the file.
            .map_err(|fault| AddressFault { span: 0..text.text.len(), ..fault }),
    });
    let referred = |address: &Address| match names.options {
        Some(options) => protocol.check_reference(&address.canonical, options).or_else(|fault| {
            let name = address.canonical.get(fault.span.clone()).unwrap_or("");
            if fields.ctx.may_be_lost(name) { Ok(()) } else { Err(fault) }
        }),
        None => Ok(()),
    };
    match checked.and_then(|address| referred(&address).map(|()| address)) {
        Ok(Address { canonical, place }) => {
            if let Some(doubt) = protocol.doubt(&canonical, data_type) {
                complain(fields, &text, Severity::Warning, doubt);
            }
            let extent = protocol.extent(&canonical, data_type);
            Some(ReadAddress { canonical, place: Some(place), extent, span: text.span })
        }
        Err(fault) => {
            if !open_brace(fields, &text) {
                complain(fields, &text, Severity::Error, fault);
            }
            None
        }
    }
}

/// Says what the protocol has against an address.
fn complain(fields: &Fields<'_>, text: &TextValue, severity: Severity, fault: AddressFault) {
    let span = fields.within(text, fault.span.clone());
    let message = format!("{}: {}", fields.subject, fault.message);
    let mut found = fields.ctx.error(fault.code, span, message).label(fault.label);
    found.severity = severity;
    if let (Some(label), Some(entry)) = (fault.type_label, fields.entry("type")) {
        found = found.also(fields.ctx.place(entry.node.span), label);
    }
    fields.ctx.report(found.help(text.restore(&fault.help)));
}

/// Reports `{name` without its `}` in an address that is wrong anyway. True when there is one.
fn open_brace(fields: &Fields<'_>, text: &TextValue) -> bool {
    let Some(at) = text.text.rfind('{').filter(|at| !text.text[*at..].contains('}')) else { return false };
    let rest = &text.text[at + 1..];
    let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
    let end = at + 1 + name.len();
    let message = format!("{}: `}}` is missing behind the parameter's name", fields.subject);
    let fault = fields.ctx.error("P0106", fields.within(text, at..end), message);
    let help = format!("write {}}}{}", &text.text[..end], &text.text[end..]);
    fields.ctx.report(fault.help(text.restore(&help)));
    true
}

/// Reads one tag line. `path` is its full path; `shift` moves the address on (for `repeat`).
///
/// `None` when it cannot be used, or when it depends on a parameter without a value; the former
/// has been reported.
pub fn read(names: &Names<'_>, fields: &Fields<'_>, path: &str, shift: u32) -> Option<ReadTag> {
    let source = fields.ctx.at_line(fields.span);
    let data_type = data_type(fields);
    let scan = scan_class(names, fields);
    let max_silence = fields.duration("max_silence", MAX_SILENCE).unwrap_or(MAX_SILENCE_DEFAULT);
    let order = options::order(fields, names.protocol);
    let desc = fields.text("desc").map(|text| text.text).unwrap_or_default();
    // Without its type nothing more can be said about a tag.
    let data_type = data_type?;
    let address = address(fields, names, data_type, shift);
    let scaling = scaling::read(fields, data_type);
    let unit = unit(names.protocol, fields, data_type);
    let scaling = scaling::of_time(data_type.scalar, &unit, scaling);
    let range = value_key(fields, data_type, "range").then(|| fields.pair("range")).flatten();
    let Precision { deadband, compress } = precision::read(fields, data_type, range.or(scaling.span));
    let limits = limits(fields, data_type);
    let enumeration = enumeration(names, fields, data_type);
    let bits = bits(names, fields, data_type);
    let counter = counter(fields, data_type);
    let function_check = ne107(fields, data_type);
    let timezone = timezone(fields, data_type);
    let (address, scan) = (address?, scan?);
    let tag = Tag {
        path: path.to_owned(),
        raw: 0,
        transform: scaling.transform,
        data_type: scaling::published(data_type, scaling.transform),
        unit,
        deadband,
        compress,
        max_silence,
        scan,
        range,
        limits,
        counter,
        enumeration,
        function_check,
        bit: None,
        timezone,
        formula: None,
        desc,
        source,
    };
    let raw = TagSpec {
        path: path.to_owned(),
        address: address.canonical,
        data_type,
        order,
        scan,
        deadband: scaling::raw_deadband(deadband, scaling.transform),
    };
    let bit_tags = bits.into_iter().flatten().map(|bit| bit_tag(&tag, bit)).collect::<Vec<_>>();
    let tags = std::iter::once(tag).chain(bit_tags).collect();
    Some(ReadTag { raw, tags, place: address.place, extent: address.extent, span: address.span })
}

/// The tag of one named bit of `word`.
fn bit_tag(word: &Tag, bit: &NamedBit) -> Tag {
    Tag {
        path: format!("{}.{}", word.path, bit.name),
        transform: Transform::Bit(bit.number),
        data_type: DataType::single(Scalar::Bool),
        unit: String::new(),
        deadband: 0.0,
        compress: None,
        range: None,
        limits: BTreeMap::new(),
        counter: false,
        enumeration: None,
        bit: Some(bit.text.clone()),
        desc: String::new(),
        ..word.clone()
    }
}

/// True when `key` is there and the type is a number. On another type an own key is refused,
/// an inherited one left out.
pub(super) fn number_key(fields: &Fields<'_>, data_type: DataType, key: &str) -> bool {
    fitting(fields, data_type, key, data_type.scalar.is_number(), "numbers")
}

/// [`number_key`] for keys that look at one value. A list is published whole or not at all: it has
/// no limits, no range, and no line to the next list.
pub(super) fn value_key(fields: &Fields<'_>, data_type: DataType, key: &str) -> bool {
    if data_type.array_len.is_none() {
        return number_key(fields, data_type, key);
    }
    if fields.is_own(key) {
        let help = "remove it; a list is published when one of its values changes";
        fields.refuse("P0121", key, &format!("`{key}` makes no sense for {data_type}"), help);
    }
    false
}

fn counter(fields: &Fields<'_>, data_type: DataType) -> bool {
    number_key(fields, data_type, "kind")
        && fields.choice("kind", &["counter", "value"]) == Some("counter")
        && value_key(fields, data_type, "kind")
}

fn fitting(fields: &Fields<'_>, data_type: DataType, key: &str, fits: bool, meant_for: &str) -> bool {
    if !fields.has(key) {
        return false;
    }
    if !fits && fields.is_own(key) {
        let message = format!("`{key}` makes no sense for {data_type}");
        fields.refuse(
            "P0121",
            key,
            &message,
            format!("`{key}` is for {meant_for}: remove it, or correct the type"),
        );
    }
    fits
}

fn scan_class(names: &Names<'_>, fields: &Fields<'_>) -> Option<usize> {
    fields.require("scan", "say how often it is read: scan = \"…\", here or in [defaults]");
    let text = fields.text("scan")?;
    let found = names.scans.iter().position(|class| class.name == text.text);
    if found.is_none() && !names.may_exist(fields, "scan", &text.text) {
        let known: Vec<&str> = names.scans.iter().map(|class| class.name.as_str()).collect();
        let help = match nearest(&text.text, known.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None if known.is_empty() => format!("declare it: [scan] {} = \"1s\"", text.text),
            None => format!("[scan] in this file has: {}", known.join(", ")),
        };
        fields.refuse_value("P0110", "scan", &format!("scan class `{}` does not exist", text.text), help);
    }
    found
}

pub(super) fn unit(protocol: &dyn Protocol, fields: &Fields<'_>, data_type: DataType) -> String {
    let time = data_type.scalar.is_duration();
    let numeric = number_key(fields, data_type, "unit");
    let Some(text) = numeric.then(|| fields.text("unit")).flatten() else {
        return if time { "ms".to_owned() } else { String::new() };
    };
    if text.text == "server" {
        if !protocol.has_server_units() && fields.ctx.params().is_some() {
            let message = format!("{} does not tell units", protocol.name());
            fields.refuse("P0123", "unit", &message, "write the unit itself, for example unit = \"°C\"");
        }
        return String::new();
    }
    let Some(unit) = units::find(&text.text) else {
        let help = match units::meant(&text.text) {
            Some(symbol) => format!("did you mean \"{symbol}\"?"),
            None => {
                let all: Vec<&str> = units::UNITS.iter().map(|unit| unit.symbol).collect();
                format!("units are: {}", all.join(", "))
            }
        };
        fields.refuse_value("P0123", "unit", &format!("there is no unit \"{}\"", text.text), help);
        return String::new();
    };
    let scaled = ["scale", "raw"].iter().any(|key| fields.has(key));
    if time && !scaled && !matches!(unit.symbol, "s" | "ms") {
        fields.refuse("P0123", "unit", &format!("a {data_type} is in s or ms"), "write unit = \"s\"");
    }
    unit.symbol.to_owned()
}

pub(super) fn limits(fields: &Fields<'_>, data_type: DataType) -> BTreeMap<String, f64> {
    let mut limits = BTreeMap::new();
    if !value_key(fields, data_type, "limits") {
        return limits;
    }
    let Some(inner) = fields.table("limits", format!("{}: `limits`", fields.subject), &LIMITS) else {
        return limits;
    };
    let mut below: Option<(&str, f64)> = None;
    for name in LIMITS {
        let Some(limit) = inner.number(name) else { continue };
        if let Some((lower, value)) = below
            && limit <= value
        {
            let message = format!("`{name}` = {limit} is not above `{lower}` = {value}");
            inner.refuse("P0124", name, &message, "limits rise in the order lolo, lo, hi, hihi");
        }
        below = Some((name, limit));
        limits.insert(name.to_owned(), limit);
    }
    limits
}

fn enumeration(names: &Names<'_>, fields: &Fields<'_>, data_type: DataType) -> Option<Enumeration> {
    let whole = data_type.scalar.is_number()
        && !matches!(data_type.scalar, Scalar::Real | Scalar::Lreal)
        && !data_type.scalar.is_duration();
    if !fitting(fields, data_type, "enum", whole, "whole numbers") {
        return None;
    }
    let text = fields.text("enum")?;
    let found = names.enumerations.get(&text.text);
    if found.is_none() && !names.may_exist(fields, "enum", &text.text) {
        missing(fields, "P0111", "enum", &text.text, names.enumerations.keys());
    }
    found.cloned()
}

fn bits<'n>(names: &'n Names<'_>, fields: &Fields<'_>, data_type: DataType) -> Option<&'n Vec<NamedBit>> {
    let word = data_type.scalar.is_bit_string() && data_type.array_len.is_none();
    if !fitting(fields, data_type, "bits", word, "BYTE, WORD, DWORD and LWORD") {
        return None;
    }
    let text = fields.text("bits")?;
    let Some(bits) = names.bits.get(&text.text) else {
        if !names.may_exist(fields, "bits", &text.text) {
            missing(fields, "P0112", "bits", &text.text, names.bits.keys());
        }
        return None;
    };
    let width = data_type.scalar.bits().unwrap_or(0);
    if let Some(bit) = bits.iter().find(|bit| u32::from(bit.number) >= width) {
        let message = format!(
            "{}: {data_type} has {width} bits, [bits.{}] names bit {}",
            fields.subject, text.text, bit.number
        );
        let fault = fields.ctx.error("P0127", text.span, message);
        fields.ctx.report(fault.also(fields.ctx.place(bit.span), "this bit").help("bits count from 0"));
    }
    Some(bits)
}

fn missing<'n>(
    fields: &Fields<'_>,
    code: &'static str,
    key: &str,
    written: &str,
    known: impl Iterator<Item = &'n String>,
) {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let help = match nearest(written, known.iter().copied()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None if known.is_empty() => format!("declare it: [{key}.{written}]"),
        None => format!("this file has: {}", known.join(", ")),
    };
    fields.refuse(code, key, &format!("[{key}.{written}] does not exist"), help);
}

fn ne107(fields: &Fields<'_>, data_type: DataType) -> bool {
    let bool_tag = data_type == DataType::single(Scalar::Bool);
    fitting(fields, data_type, "ne107", bool_tag, "BOOL tags and values of [enum.*]")
        && texts::function_check(fields)
}

/// A DTL is the controller's local time: without its zone it is no point in time.
fn timezone(fields: &Fields<'_>, data_type: DataType) -> Option<TimeZone> {
    let local = data_type.scalar.is_local_time();
    if local && !fields.has("timezone") {
        let message = format!("{}: a {data_type} is the local time of the controller", fields.subject);
        let span = fields.entry("type").map_or(fields.span, |entry| entry.node.span);
        let fault = fields.ctx.error("P0128", span, message);
        fields.ctx.report(fault.help("say where it stands: timezone = \"Europe/Berlin\", or \"UTC\""));
    }
    if !fitting(fields, data_type, "timezone", local, "DTL and DATE_AND_TIME tags") {
        return None;
    }
    let text = fields.text("timezone")?;
    // Only names of the database: `get` would also take rules and the box's own zone.
    let zone = if text.text == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(&text.text) };
    if zone.is_err() {
        let help = "write a name of the time zone database, for example \"Europe/Berlin\" or \"UTC\"";
        fields.refuse_value("P0128", "timezone", &format!("there is no time zone \"{}\"", text.text), help);
    }
    zone.ok()
}

/// Opens the table of a tag with everything it inherits.
pub fn open<'a>(
    ctx: &'a Context<'a>,
    name: &str,
    table: &'a Table,
    span: Span,
    inherited: [&'a Table; 2],
) -> Fields<'a> {
    Fields::open(ctx, format!("tag `{name}`"), table, span, &KEYS).inheriting(inherited)
}
