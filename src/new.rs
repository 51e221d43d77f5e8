//! `forebay new`: asks a few questions and writes a first profile.
//!
//! Every answer is checked as `forebay check` would check it, and asked for again where it is wrong, so
//! that the profile that is written has no faults.

use std::io::{BufRead, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use forebay_connector::{DataType, Protocol};

use crate::connectors;
use crate::document::duration;
use crate::import::draft::{Draft, DraftDevice, DraftTag, string};
use crate::import::finish::{proof, write};
use crate::import::names;
use crate::profile::units;

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// How often a question is asked before the command gives up.
const TRIES_MAX: usize = 20;

/// What is known already; everything else is asked for.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  forebay new
  forebay new --protocol modbus --endpoint tcp://192.168.20.15:502
  forebay new --yes --protocol s7 --name press --endpoint 192.168.10.33 --location Werk1/Presswerk/Linie3 \\
    --tag hydraulics.oil_temp --address DB10.DBD36 --type REAL --unit °C --out press.toml

To read many tags, import them instead: forebay import --help.")]
pub struct New {
    /// s7, modbus or opcua.
    #[arg(long)]
    pub protocol: Option<String>,
    /// Name of the profile: the type of the machine.
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the machine.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Name of the machine.
    #[arg(long)]
    pub device: Option<String>,
    /// Where it stands: Site/Area/Line/Cell.
    #[arg(long)]
    pub location: Option<String>,
    /// Modbus: address of the unit.
    #[arg(long)]
    pub unit_id: Option<String>,
    /// OPC UA: URI of the namespace of its variables, written ns=plc in addresses.
    #[arg(long)]
    pub namespace: Option<String>,
    /// First tag: group and name with a dot between.
    #[arg(long)]
    pub tag: Option<String>,
    /// Its address.
    #[arg(long)]
    pub address: Option<String>,
    /// Its type, for example REAL.
    #[arg(long = "type")]
    pub data_type: Option<String>,
    /// Its unit, for example °C; empty for none.
    #[arg(long)]
    pub unit: Option<String>,
    /// How often it is read.
    #[arg(long)]
    pub scan: Option<String>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Ask nothing: take the defaults, and fail where there is none.
    #[arg(long)]
    pub yes: bool,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// What the questions of a protocol are like.
struct Words {
    endpoint: &'static str,
    address: &'static str,
    data_type: &'static str,
}

fn words_of(protocol: &str) -> Words {
    match protocol {
        "modbus" => Words {
            endpoint: "tcp://192.168.20.15:502",
            address: "40001 (manual, from 1) or hr:0 (wire, from 0)",
            data_type: "INT",
        },
        "opcua" => Words {
            endpoint: "opc.tcp://192.168.30.10:4840",
            address: "ns=plc;s=\"DB\".\"value\"",
            data_type: "REAL",
        },
        _ => Words { endpoint: "192.168.10.33", address: "DB10.DBD36, M10.1 or IW64", data_type: "REAL" },
    }
}

/// Asks, checks and writes.
///
/// # Errors
/// The answers end before the questions, an answer given by an option is wrong, or the file cannot be
/// written.
pub fn run(options: &New, input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut asker = Asker { input, out, yes: options.yes };
    let draft = draft(options, &mut asker)?;
    let default = format!("{}.toml", draft.name);
    let given = options.out.as_ref().map(|path| path.display().to_string());
    let force = options.force;
    let free = |answer: &str| match PathBuf::from(answer) {
        path if path.exists() && !force => Err(format!("{answer} exists already; --force replaces it")),
        _ => Ok(()),
    };
    let file = asker.ask("File to write", ("--out", given.as_deref()), Some(&default), free)?;
    let text = draft.render();
    proof(&file, &text)?;
    write(&PathBuf::from(&file), &text, options.force)?;
    writeln!(
        out,
        "written: {file}\nnext: forebay check {file}; then add tags, one line each (docs/profiles.md)"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn draft<R: BufRead, W: Write>(options: &New, asker: &mut Asker<'_, R, W>) -> anyhow::Result<Draft> {
    let known: Vec<&str> = connectors::all().iter().map(|protocol| protocol.name()).collect();
    let is_known = |answer: &str| match known.contains(&answer) {
        true => Ok(()),
        false => Err(format!("it may be {}", known.join(", "))),
    };
    let question = format!("Protocol ({})", known.join(", "));
    let name = asker.ask(&question, ("--protocol", options.protocol.as_deref()), Some("s7"), is_known)?;
    let Some(protocol) = connectors::by_name(&name) else { bail!("there is no protocol {name}") };
    let words = words_of(protocol.name());
    let mut draft = Draft {
        protocol: protocol.name(),
        source: "written by forebay new; name the manual or the block here".into(),
        ..Draft::default()
    };
    draft.name = asker.ask(
        "Name of the profile, the type of machine",
        ("--name", options.name.as_deref()),
        Some("machine"),
        is_name,
    )?;
    details(options, asker, &mut draft)?;
    let device = format!("{}-1", &draft.name[..draft.name.len().min(62)]);
    let base = draft.clone();
    let fits = |endpoint: &str, location: &str, name: &str| {
        let device = DraftDevice {
            name: name.into(),
            endpoint: endpoint.into(),
            location: location.into(),
            insecure: false,
        };
        faults(&base, Some(device))
    };
    let question = format!("Address of the machine, for example {}", words.endpoint);
    let endpoint = asker.ask(&question, ("--endpoint", options.endpoint.as_deref()), None, |answer| {
        fits(answer, "Site", "machine")
    })?;
    let name =
        asker.ask("Name of the machine", ("--device", options.device.as_deref()), Some(&device), is_name)?;
    let location = asker.ask(
        "Where it stands: Site/Area/Line/Cell",
        ("--location", options.location.as_deref()),
        None,
        |answer| fits(&endpoint, answer, "machine"),
    )?;
    draft.device = Some(DraftDevice { name, endpoint, location, insecure: false });
    first_tag(options, asker, &mut draft, &protocol, &words)?;
    Ok(draft)
}

/// What a protocol needs to know besides.
fn details<R: BufRead, W: Write>(
    options: &New,
    asker: &mut Asker<'_, R, W>,
    draft: &mut Draft,
) -> anyhow::Result<()> {
    match draft.protocol {
        "modbus" => {
            let is_unit = |answer: &str| {
                answer.parse::<u8>().map(|_| ()).map_err(|_| "a number from 0 to 255".to_owned())
            };
            let unit = asker.ask(
                "Address of the unit (1 to 247)",
                ("--unit-id", options.unit_id.as_deref()),
                Some("1"),
                is_unit,
            )?;
            draft.options = vec![
                ("unit_id", unit, String::new()),
                ("order", string("ABCD"), "high word first; others: CDAB, BADC, DCBA".into()),
            ];
        }
        "opcua" => {
            let is_uri = |answer: &str| match answer.contains(':') && !answer.contains(char::is_whitespace) {
                true => Ok(()),
                false => Err("a URI such as urn:machine or http://maker.example/machine".to_owned()),
            };
            let standard = "http://www.siemens.com/simatic-s7-opcua";
            let uri = asker.ask(
                "Namespace URI of its variables, ns=plc in addresses",
                ("--namespace", options.namespace.as_deref()),
                Some(standard),
                is_uri,
            )?;
            draft.namespaces = vec![("plc".into(), uri)];
        }
        _ => draft.options = vec![("cpu", string("s7-1500"), "or s7-300, s7-400, s7-1200, logo".into())],
    }
    Ok(())
}

fn first_tag<R: BufRead, W: Write>(
    options: &New,
    asker: &mut Asker<'_, R, W>,
    draft: &mut Draft,
    protocol: &Arc<dyn Protocol>,
    words: &Words,
) -> anyhow::Result<()> {
    let is_path = |answer: &str| match answer.split_once('.') {
        Some((group, name)) if is_name(group).is_ok() && is_name(name).is_ok() => Ok(()),
        _ => Err("group and name with a dot between, for example hydraulics.oil_temp".to_owned()),
    };
    let path =
        asker.ask("First tag, group.name", ("--tag", options.tag.as_deref()), Some("main.value"), is_path)?;
    let is_type = |answer: &str| match DataType::parse(answer) {
        Some(data_type) if data_type.scalar.is_local_time() => {
            Err(format!("{data_type} needs a time zone; add it in the file later"))
        }
        Some(_) => Ok(()),
        None => Err(format!("types are: {}", DataType::names().collect::<Vec<_>>().join(", "))),
    };
    let data_type =
        asker.ask("Its type", ("--type", options.data_type.as_deref()), Some(words.data_type), is_type)?;
    let Some(data_type) = DataType::parse(&data_type) else { bail!("there is no type {data_type}") };
    let is_address = |answer: &str| match protocol.check_address(answer, data_type) {
        Ok(_) => Ok(()),
        Err(fault) => Err(format!("{}; {}", fault.message, fault.help)),
    };
    let question = format!("Its address, for example {}", words.address);
    let address = asker.ask(&question, ("--address", options.address.as_deref()), None, is_address)?;
    let mut keys = vec![("address", string(&address)), ("type", string(&data_type.to_string()))];
    if data_type.scalar.is_number() {
        let is_unit = |answer: &str| match (answer, units::find(answer)) {
            ("", _) | (_, Some(_)) => Ok(()),
            _ => Err(match units::meant(answer) {
                Some(unit) => format!("did you mean {unit}?"),
                None => format!(
                    "units are: {}",
                    units::UNITS.iter().map(|unit| unit.symbol).collect::<Vec<_>>().join(" ")
                ),
            }),
        };
        let unit = asker.ask(
            "Its unit, for example °C; empty for none",
            ("--unit", options.unit.as_deref()),
            Some(""),
            is_unit,
        )?;
        if !unit.is_empty() {
            keys.push(("unit", string(&unit)));
        }
    }
    let is_scan = |answer: &str| {
        let within = Duration::from_millis(10)..=Duration::from_secs(86_400);
        duration(answer)
            .filter(|every| within.contains(every))
            .map(|_| ())
            .ok_or_else(|| "a time with its unit, 10ms to 1d: 200ms, 1s, 5m".to_owned())
    };
    let scan = asker.ask("How often it is read", ("--scan", options.scan.as_deref()), Some("1s"), is_scan)?;
    draft.scans = vec![("normal".into(), duration(&scan).unwrap_or(Duration::from_secs(1)))];
    draft.defaults = vec![("scan", string("normal"))];
    let (group, name) = path.split_once('.').unwrap_or(("main", &path));
    draft.add(group, DraftTag { name: name.to_owned(), keys });
    Ok(())
}

fn is_name(answer: &str) -> Result<(), String> {
    match names::fit(answer) == answer && !matches!(answer, "defaults" | "repeat") {
        true => Ok(()),
        false => {
            Err(format!("letters (a to z), digits, _ and -, at most 64: {} would do", names::fit(answer)))
        }
    }
}

/// The first fault that `forebay check` finds in the device, in a line.
fn faults(base: &Draft, device: Option<DraftDevice>) -> Result<(), String> {
    let mut draft = base.clone();
    let (address, data_type) = match draft.protocol {
        "modbus" => ("40001", "INT"),
        "opcua" => ("i=2258", "DATETIME"),
        _ => ("MW0", "INT"),
    };
    draft.scans = vec![("normal".into(), Duration::from_secs(1))];
    draft.defaults = vec![("scan", string("normal"))];
    draft.add(
        "main",
        DraftTag {
            name: "value".into(),
            keys: vec![("address", string(address)), ("type", string(data_type))],
        },
    );
    draft.device = device;
    let text = draft.render();
    match proof("profile", &text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let said = error.to_string();
            let line = |begin: &str| said.lines().find_map(|line| line.trim().strip_prefix(begin));
            let fault = line("error[")
                .and_then(|rest| rest.split_once("]: "))
                .map_or("it is not possible", |(_, rest)| rest);
            let help = line("= help: ").map(|help| format!("; {help}")).unwrap_or_default();
            Err(format!("{fault}{help}"))
        }
    }
}

/// Asks on the terminal.
struct Asker<'a, R, W> {
    input: &'a mut R,
    out: &'a mut W,
    yes: bool,
}

impl<R: BufRead, W: Write> Asker<'_, R, W> {
    /// The answer to a question: what an option gives, the default, or what is typed; asked again
    /// until it is right.
    fn ask(
        &mut self,
        question: &str,
        (option, given): (&str, Option<&str>),
        default: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> anyhow::Result<String> {
        if let Some(given) = given {
            return match check(given) {
                Ok(()) => Ok(given.to_owned()),
                Err(what) => bail!("{option} \"{given}\": {what}"),
            };
        }
        if self.yes {
            return match default.map(|default| (default, check(default))) {
                Some((default, Ok(()))) => Ok(default.to_owned()),
                Some((default, Err(what))) => bail!("{option} \"{default}\": {what}"),
                None => bail!("{option} is needed with --yes: {question}"),
            };
        }
        for _ in 0..TRIES_MAX {
            let shown = default.filter(|default| !default.is_empty()).map(|default| format!(" [{default}]"));
            write!(self.out, "{question}{}: ", shown.unwrap_or_default())?;
            self.out.flush()?;
            let mut line = String::new();
            let read = self.input.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut line)?;
            if read == 0 {
                bail!("the answers end here; nothing is written. With --yes and options nothing is asked");
            }
            let typed = line.trim();
            let answer = match (typed, default) {
                ("", Some(default)) => default,
                ("", None) => {
                    writeln!(self.out, "  an answer is needed")?;
                    continue;
                }
                (typed, _) => typed,
            };
            match check(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(what) => writeln!(self.out, "  {what}")?,
            }
        }
        bail!("no answer fits after {TRIES_MAX} tries; nothing is written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(options: &New, answers: &str) -> (anyhow::Result<ExitCode>, String) {
        let mut out = Vec::new();
        let end = run(options, &mut answers.as_bytes(), &mut out);
        (end, String::from_utf8(out).unwrap())
    }

    #[test]
    fn wrong_answers_are_asked_for_again_and_the_profile_is_sound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("press.toml");
        let options = New { out: Some(file.clone()), ..New::default() };
        let answers = "profinet\ns7\nPresse 1\npress\ntcp://1.2.3.4\n192.168.10.33\n\n//\nWerk1/Halle1\n\
                       temp\nhydraulics.oil_temp\nREEL\nREAL\nDB10.DBW36\nDB10.DBD36\ndegC\n°C\nsoon\n500ms\n";
        let (end, said) = talk(&options, answers);
        assert!(end.is_ok(), "{end:?}\n{said}");
        for told in ["it may be s7, modbus, opcua", "Presse_1 would do", "a scheme is not expected", "P0143"]
        {
            let found = said.contains(told) || told == "P0143" && said.contains("`location` cannot be");
            assert!(found, "{told} is not in\n{said}");
        }
        assert!(
            said.contains("address is 16 bits wide, type REAL is 32") && said.contains("did you mean °C?"),
            "{said}"
        );
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("oil_temp = { address = \"DB10.DBD36\", type = \"REAL\", unit = \"°C\" }"),
            "{text}"
        );
        let (devices, doubts) = proof("press.toml", &text).unwrap();
        assert_eq!((devices.len(), doubts.as_str()), (1, ""));
        assert_eq!(
            (devices[0].name.as_str(), devices[0].spec.scans[0].interval),
            ("press-1", Duration::from_millis(500))
        );
        let (again, _) = talk(&options, answers);
        assert!(again.unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn scripts_are_asked_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let some = |text: &str| Some(text.to_owned());
        for (protocol, endpoint, address) in [
            ("s7", "192.168.10.33", "DB10.DBD36"),
            ("modbus", "tcp://192.168.20.15:502", "40001"),
            ("opcua", "opc.tcp://192.168.30.10:4840", "ns=plc;s=\"DB\".\"value\""),
        ] {
            let options = New {
                protocol: some(protocol),
                endpoint: some(endpoint),
                location: some("Werk1"),
                address: some(address),
                out: Some(folder.path().join(protocol)),
                yes: true,
                ..New::default()
            };
            let (end, said) = talk(&options, "");
            assert!(end.is_ok() && !said.contains('?'), "{protocol}: {end:?}\n{said}");
            let missing = New { address: None, ..options };
            assert!(talk(&missing, "").0.unwrap_err().to_string().starts_with("--address is needed"));
        }
        let (end, _) = talk(&New::default(), "s7\n");
        assert!(end.unwrap_err().to_string().contains("the answers end here"));
    }
}
