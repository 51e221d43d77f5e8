//! `forebay import kepware`: the CSV files that KEPServerEX and its relatives export for a device.
//!
//! Columns: Tag Name, Address, Data Type, Respect Data Type, Client Access, Scan Rate, Scaling, Raw
//! Low, Raw High, Scaled Low, Scaled High, Scaled Data Type, Clamp Low, Clamp High, Eng Units,
//! Description, Negate Value. Addresses are those of the drivers "Siemens TCP/IP Ethernet" (standard
//! item syntax) and "Modbus TCP/IP Ethernet" (PTC, Kepware driver documentation).

mod modbus;
mod rates;
mod s7;
mod scaling;
mod table;
mod types;
mod wide;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use forebay_connector::{ByteOrder, DataType, Protocol, Scalar};

use super::draft::{Draft, DraftTag, string, words};
use super::finish::{Target, finish};
use super::names::{self, Paths};
use super::report::{Refusal, Report};
use super::{TagKeys, source, units, zone};
use table::{Line, Table};
use wide::Wide;

/// Options of the import.
#[derive(Debug, Args)]
#[command(after_help = "\
In KEPServerEX: right-click the device, Export CSV. Then

  forebay import kepware press.csv --protocol s7 --endpoint 192.168.10.33 --out press.toml
  forebay import kepware meter.csv --protocol modbus --unit-id 12 --order CDAB --out meter.toml

The CSV does not hold the settings of the device itself: byte order, unit, zero-based addressing. Look
them up under Device Properties (Data Encoding, Settings) and give them here. Every line that is not
taken, or not exactly as it was, is named with its reason. Ends with 1 when a line was left out.

Three more settings of Data Encoding are not in the CSV. \"First DWord low\" (on by default) is part of what
--order says for 64-bit tags: CDAB is right with it, ABCD without. \"Treat longs as decimals\" (off by
default): Long and DWord hold two registers of four decimal digits, read them as two WORD tags.
\"Modicon bit order\" (off by default): bit 0 is the highest, so 400001.0 is 40001.15 in the profile.")]
pub struct Kepware {
    /// The exported CSV file.
    pub file: PathBuf,
    /// Driver of the device.
    #[arg(long, value_enum)]
    pub protocol: Driver,
    /// Modbus: address of the unit.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8))]
    pub unit_id: u8,
    /// Modbus: byte order. CDAB is Kepware with "First word low" enabled, as it is by default; ABCD
    /// with it disabled.
    #[arg(long, value_parser = order)]
    pub order: Option<String>,
    /// Modbus: "Zero-Based Addressing" of the device. enable: 400001 is the first register (as by
    /// default); disable: 400000 is.
    #[arg(long, value_enum, default_value = "enable", value_name = "AS IN KEPWARE")]
    pub zero_based: Switch,
    /// Modbus: "Zero-Based Bit Addressing". enable: bits 0 to 15 (as by default); disable: 1 to 16.
    #[arg(long, value_enum, default_value = "enable", value_name = "AS IN KEPWARE")]
    pub zero_based_bits: Switch,
    /// S7: family of the CPU.
    #[arg(long, default_value = "s7-1500", value_parser = ["s7-300", "s7-400", "s7-1200", "s7-1500", "logo"])]
    pub cpu: String,
    /// Zone of the controller's clock, for dates with time, for example Europe/Berlin.
    #[arg(long, value_parser = zone)]
    pub timezone: Option<String>,
    /// Where the profile goes.
    #[command(flatten)]
    pub target: Target,
}

/// The drivers whose addresses are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// Siemens TCP/IP Ethernet.
    S7,
    /// Modbus TCP/IP Ethernet, Modbus RTU Serial.
    Modbus,
}

/// A setting as Kepware names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    Enable,
    /// Off.
    Disable,
}

fn order(letters: &str) -> Result<String, String> {
    let letters = letters.to_ascii_uppercase();
    match ByteOrder::parse(&letters) {
        Some(_) => Ok(letters),
        None => Err(format!("it may be {}", ByteOrder::NAMES.join(", "))),
    }
}

/// A difference from Kepware: what, and what to do about it.
type Told = (String, String);

/// Where a tag is and what it is there, in the words of profiles.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    address: String,
    data_type: DataType,
    order: Option<ByteOrder>,
    /// What differs from Kepware.
    changes: Vec<Told>,
}

impl Found {
    fn new(address: impl Into<String>, data_type: DataType) -> Self {
        Self { address: address.into(), data_type, order: None, changes: Vec::new() }
    }
}

/// Runs the import.
///
/// # Errors
/// The file is no such export, nothing of it can be taken, or the profile cannot be written.
pub fn run(options: &Kepware, out: &mut impl Write, said: &mut impl Write) -> anyhow::Result<ExitCode> {
    let bytes = source::bytes(&options.file)?;
    let (draft, report) = import(options, &options.file, &bytes)?;
    finish(draft, report, &options.target, out, said)
}

/// Makes the profile of the bytes of a file.
///
/// # Errors
/// The file is no such export, or has too many lines.
pub fn import(options: &Kepware, file: &Path, bytes: &[u8]) -> anyhow::Result<(Draft, Report)> {
    let name = options.target.profile_name(file)?;
    let mut report = Report::new(file.display().to_string());
    let (text, encoding) = source::text(bytes);
    if encoding == source::Encoding::Windows1252 {
        report.note(
            "I0209",
            "the file is not UTF-8; it was read as Windows-1252",
            "look whether umlauts and ° are right",
        );
    }
    let table = Table::read(&text, &mut report)?;
    let mut draft =
        Draft { name, source: format!("{}, exported from Kepware", file_name(file)), ..Draft::default() };
    let protocol = head(&mut draft, options, &mut report);
    let rates = rates::Rates::of(&table, &mut report);
    (draft.scans, draft.defaults) = (rates.classes(), vec![("scan", string(rates.default_class()))]);
    let mut lines =
        Lines { options, protocol, rates: &rates, paths: Paths::default(), wide: Wide::default() };
    for line in &table.lines {
        if draft.tags() >= crate::profile::TAGS_MAX {
            let fix = "export a part of the tags at a time";
            report.not_taken(
                line.number,
                &line.name,
                Refusal::new("I0005", "a device has at most 20000 tags", fix),
            );
            continue;
        }
        match lines.tag(line, &mut report) {
            Ok((group, tag)) => draft.add(&group, tag),
            Err(refusal) => report.not_taken(line.number, line.said_name(), refusal),
        }
    }
    lines.wide.say(options, &mut report);
    Ok((draft, report))
}

/// What a device of Kepware has unless it was changed.
const KEPWARE_ORDER: &str = "CDAB";

fn file_name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the file does not say about the device.
fn head(draft: &mut Draft, options: &Kepware, report: &mut Report) -> &'static dyn Protocol {
    match options.protocol {
        Driver::S7 => {
            draft.protocol = forebay_s7::S7.name();
            draft.options = vec![("cpu", string(&options.cpu), "sets rack, slot and PDU size".into())];
            &forebay_s7::S7
        }
        Driver::Modbus => {
            draft.protocol = forebay_modbus::Modbus.name();
            let order = options.order.as_deref().unwrap_or(KEPWARE_ORDER);
            let why = match &options.order {
                Some(_) => "",
                None => {
                    report.note(
                        "I0207",
                        "the byte order is not in the CSV; CDAB is taken, Kepware's default (\"First word low\" enabled)",
                        "Device Properties, Data Encoding: with \"First word low\" disabled give --order ABCD",
                    );
                    "Kepware's default, \"First word low\"; ABCD where that is disabled"
                }
            };
            draft.options = vec![
                ("unit_id", options.unit_id.to_string(), "as in Device Properties, ID".into()),
                ("order", string(order), why.into()),
            ];
            &forebay_modbus::Modbus
        }
    }
}

/// What is needed for every line.
struct Lines<'a> {
    options: &'a Kepware,
    protocol: &'static dyn Protocol,
    rates: &'a rates::Rates,
    paths: Paths,
    wide: Wide,
}

impl Lines<'_> {
    /// The group and the tag of one line.
    fn tag(&mut self, line: &Line, report: &mut Report) -> Result<(String, DraftTag), Refusal> {
        let (number, name) = (line.number, line.said_name());
        if let Some(fault) = line.fault {
            return Err(Refusal::new("I0010", fault, "mend the line in a text editor"));
        }
        if line.name.is_empty() {
            return Err(Refusal::new("I0010", "the line has no tag name", "give it one"));
        }
        if line.access.eq_ignore_ascii_case("wo") || line.access.eq_ignore_ascii_case("w") {
            return Err(Refusal::new("I0106", "the tag can only be written", "Forebay reads; leave it out"));
        }
        let kind = types::Kind::parse(&line.data_type).ok_or_else(|| {
            let what = format!("there is no data type \"{}\" in Kepware", line.data_type);
            Refusal::new("I0102", what, format!("write one of: {}", types::names()))
        })?;
        // One value of an array of unknown length would be taken for the whole of it.
        if kind.is_array && kind.single != types::Type::String && !line.address.contains('[') {
            let what = format!("`{}` is an array of {} without a length", line.address, kind.name);
            let fix = format!("add [n], the number of its elements: {}[10]", line.address);
            return Err(Refusal::new("I0101", what, fix));
        }
        let found = match self.options.protocol {
            Driver::S7 => s7::find(&line.address, kind, self.protocol)?,
            Driver::Modbus => modbus::find(&line.address, kind, self.options, self.protocol)?,
        };
        let mut keys = TagKeys::new(&found.address, found.data_type);
        let numeric = found.data_type.scalar.is_number();
        let scaled = scaling::read(line, numeric)?;
        self.unit(line, numeric, &mut keys, report);
        let class = self.rates.class(line);
        if class != self.rates.default_class() {
            keys.add("scan", string(class));
        }
        scaled.keys.iter().for_each(|(key, value)| keys.add(key, value.clone()));
        if let Some(order) = found.order {
            keys.add("order", string(letters(order)));
        }
        self.zone(&found, &mut keys)?;
        // Nothing is said before the tag is sure to be taken.
        found.changes.iter().for_each(|(what, fix)| report.changed(number, name, "I0202", what, fix));
        scaled.changes.iter().for_each(|(what, fix)| report.changed(number, name, "I0203", what, fix));
        self.rates.say(line, report);
        if line.access.to_ascii_uppercase().contains('W') {
            report.read_only(name);
        }
        self.wide.add(name, found.data_type);
        let (group, given) = self.path(line, report);
        let described = words(&line.description);
        let fitting = line.name.rsplit('.').next().is_some_and(|last| last == given);
        if !described.is_empty() {
            keys.add("desc", string(&described));
        } else if !fitting {
            keys.add("desc", string(&words(&line.name)));
        }
        Ok((group, DraftTag { name: given, keys: keys.into_vec() }))
    }

    fn unit(&self, line: &Line, numeric: bool, keys: &mut TagKeys, report: &mut Report) {
        if line.unit.is_empty() {
            return;
        }
        let (number, name) = (line.number, line.said_name());
        match units::find(&line.unit) {
            Some(_) if !numeric => {
                report.changed(
                    number,
                    name,
                    "I0204",
                    &format!("the unit \"{}\" is left out: the tag is no number", line.unit),
                    "",
                );
            }
            Some(unit) => keys.add("unit", string(unit)),
            None => {
                let what =
                    format!("the unit \"{}\" is not in the list of units; the tag has none", line.unit);
                report.changed(
                    number,
                    name,
                    "I0204",
                    &what,
                    "write one of the list in docs/profiles.md, and scale the value to it",
                );
            }
        }
    }

    fn zone(&self, found: &Found, keys: &mut TagKeys) -> Result<(), Refusal> {
        if !found.data_type.scalar.is_local_time() {
            return Ok(());
        }
        let zone = self.options.timezone.as_ref().ok_or_else(super::zone_missing)?;
        keys.add("timezone", string(zone));
        Ok(())
    }

    /// Group and name: everything before the last dot is the group.
    fn path(&mut self, line: &Line, report: &mut Report) -> (String, String) {
        let (group, name) = line.name.rsplit_once('.').unwrap_or(("", &line.name));
        let group = if group.is_empty() { "main".to_owned() } else { names::fit(group) };
        let given = self.paths.give(&group, &names::fit(name));
        let dotted = line.name.rsplit_once('.').map_or("", |(group, _)| group);
        if given != name || (!dotted.is_empty() && dotted.replace('.', "_") != group) {
            let what = format!("its path is now `{group}.{given}`");
            report.changed(line.number, line.said_name(), "I0201", &what, "");
        }
        (group, given)
    }
}

fn letters(order: ByteOrder) -> &'static str {
    ByteOrder::NAMES.into_iter().find(|name| ByteOrder::parse(name) == Some(order)).unwrap_or("ABCD")
}

/// A number of bytes or elements of a text as `.20` or `[2][3]` gives it, 1 to 65535.
fn count(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|count| *count > 0)
}

/// Elements of `[n]` or `[rows][columns]`, and whether it is the latter with more than one row.
fn elements(text: &str) -> Option<(u16, bool)> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.split_once("][") {
        None => Some((count(inner)?, false)),
        Some((rows, columns)) => {
            let (rows, columns) = (count(rows)?, count(columns)?);
            Some((rows.checked_mul(columns)?, rows > 1))
        }
    }
}

/// An array of `count` values, and what to say about its rows.
fn array(scalar: Scalar, count: u16, by_rows: bool) -> (DataType, Vec<Told>) {
    let told = "its rows are one after another in one list of values".to_owned();
    let changes = if by_rows { vec![(told, String::new())] } else { Vec::new() };
    (DataType { scalar, array_len: Some(count) }, changes)
}
