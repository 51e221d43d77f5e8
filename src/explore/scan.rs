//! `forebay scan modbus`: which units answer, which registers can be read, and which known profile
//! that looks like.
//!
//! Reads only, with function codes 03 and 04, one request at a time and with a pause after each, because
//! a gateway's other masters wait meanwhile. Asks before it begins.

mod likeness;
mod registers;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, Scalar, Secrets, TagSpec,
};
use tokio::time::Instant;

use crate::amount::counted;

/// Scans a line for machines that nobody has described yet.
#[derive(Debug, Subcommand)]
pub enum Scan {
    /// Looks for Modbus units behind a gateway or a port: only reads, and asks first.
    #[command(after_help = "\
Examples:
  forebay scan modbus tcp://192.168.20.15:502 --unit 1-20
  forebay scan modbus tcp://192.168.20.15:502 --unit 12 --registers 2900-3300 --yes
  forebay scan modbus 'serial:///dev/ttyS1?baud=9600&parity=even' --unit 1-32

Function codes 03 and 04 only. One request at a time with --pause after it: what else reads over the same
gateway waits that much longer. For each unit that answers it says which registers can be read, and which of
the profiles that come with the program (and of --profile) it looks like, and why. Registers count from 0.")]
    Modbus(Modbus),
}

/// What is scanned.
#[derive(Debug, Args)]
pub struct Modbus {
    /// The gateway or the port, as in [[device]]: tcp://host:502, serial:///dev/ttyS1?baud=9600&parity=even.
    endpoint: String,
    /// Units: 1-20, or 1,3,12.
    #[arg(long, value_name = "UNITS", default_value = "1", value_parser = numbers)]
    unit: Numbers,
    /// Registers that are looked at in both tables, from 0; at most 10,000.
    #[arg(long, value_name = "FROM-TO", default_value = "0-499", value_parser = numbers)]
    registers: Numbers,
    /// Milliseconds after each request.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(5..=10_000))]
    pause: u64,
    /// Milliseconds to wait for an answer.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    timeout: u64,
    /// Compares with these profiles, too.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Numbers as they are written on the command line.
#[derive(Debug, Clone)]
struct Numbers(Vec<u16>);

/// Most registers of one scan.
const REGISTERS_MAX: usize = 10_000;
/// Highest unit that a device may have (Modbus over serial line 1.02, 2.2).
const UNIT_MAX: u16 = 247;

fn numbers(text: &str) -> Result<Numbers, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{text:?} is no number"));
        let (from, to) = (number(from)?, number(to)?);
        if from > to {
            return Err(format!("{from} is more than {to}"));
        }
        all.extend(from..=to);
        if all.len() > REGISTERS_MAX {
            return Err(format!("at most {REGISTERS_MAX}"));
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(Numbers(all))
}

/// Scans, and says what was found.
///
/// # Errors
/// When nobody may be asked, nothing listens there, or a profile has errors.
pub async fn run(scan: &Scan, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Scan::Modbus(modbus) = scan;
    if let Some(wrong) = modbus.unit.0.iter().find(|unit| **unit > UNIT_MAX) {
        bail!("there is no unit {wrong}: they go from 0 to {UNIT_MAX}");
    }
    let known = likeness::known(&modbus.profile)?;
    if !modbus.may_begin(known.len(), out)? {
        writeln!(out, "Nothing was asked.")?;
        return Ok(ExitCode::FAILURE);
    }
    let (mut with_values, mut refusing) = (0, 0);
    for unit in &modbus.unit.0 {
        match modbus.unit(*unit).await? {
            Answer::Silent(why) => {
                // Each of many silent units is no news.
                if modbus.unit.0.len() == 1 {
                    writeln!(out, "unit {unit}: {why}")?;
                }
            }
            Answer::There { took } => {
                writeln!(out, "unit {unit}: answers within {} ms", took.as_millis().max(1))?;
                if registers::look(modbus, *unit, out).await? {
                    with_values += 1;
                } else {
                    refusing += 1;
                    writeln!(out, "  it may be that a gateway answers for a unit that is not there")?;
                }
                likeness::compare(modbus, *unit, &known, out).await?;
                out.flush()?;
            }
        }
    }
    let units = counted(modbus.unit.0.len() as u64, "unit", "units");
    writeln!(out, "{units} asked: {with_values} with values, {refusing} that only refuse")?;
    Ok(if with_values + refusing > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a unit did.
enum Answer {
    There { took: Duration },
    Silent(String),
}

impl Modbus {
    /// Says what will be done, and asks whether it may.
    fn may_begin(&self, profiles: usize, out: &mut impl Write) -> anyhow::Result<bool> {
        let Numbers(units) = &self.unit;
        let each = 2 * registers::requests_at_least(&self.registers.0) + profiles;
        let least_s = (units.len() as u64 * self.pause + each as u64 * self.pause) / 1000;
        writeln!(
            out,
            "This reads {} at {} with function codes 03 and 04, one request every {} ms, and writes nothing.\n\
             A unit that answers is asked some {each} times. It takes {least_s} s and more; silent units take {} ms each.",
            counted(units.len() as u64, "unit", "units"),
            self.endpoint,
            self.pause,
            self.timeout,
        )?;
        if self.yes {
            return Ok(true);
        }
        let input = std::io::stdin();
        if !input.is_terminal() {
            bail!("nobody can be asked here: say --yes if this line may be read now");
        }
        write!(out, "May it begin? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        input.lock().read_line(&mut answer).context("no answer")?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes" | "j" | "ja"))
    }

    /// Whether the unit is there: any answer of its own says so, also that it does not know the register.
    async fn unit(&self, unit: u16) -> anyhow::Result<Answer> {
        let tags = ["ir:0", "hr:0"].map(|address| (address.to_owned(), 1));
        let mut connector = self.open(unit, &tags)?;
        connector.connect().await?;
        let mut why = String::new();
        for tag in 0..2 {
            let started = Instant::now();
            let read = connector.read(&[tag], &mut Vec::new()).await;
            let took = started.elapsed();
            self.rest().await;
            match read {
                Ok(()) => {
                    connector.close().await;
                    return Ok(Answer::There { took });
                }
                // Nothing to go on with: the line itself is gone.
                Err(error @ PollError::Connect { .. }) => return Err(error.into()),
                Err(error) => {
                    why = error.to_string();
                    connector.connect().await?;
                }
            }
        }
        connector.close().await;
        Ok(Answer::Silent(why))
    }

    /// A connector for these registers: address and how many.
    fn open(&self, unit: u16, tags: &[(String, u16)]) -> anyhow::Result<Box<dyn Connector>> {
        let tag = |(address, count): &(String, u16)| TagSpec {
            path: address.clone(),
            address: address.clone(),
            data_type: DataType { scalar: Scalar::Uint, array_len: (*count > 1).then_some(*count) },
            order: None,
            scan: 0,
            deadband: None,
        };
        let spec = DeviceSpec {
            name: format!("unit {unit}"),
            endpoint: self.endpoint.clone(),
            options: BTreeMap::from([
                ("unit_id".to_owned(), OptionValue::Int(i64::from(unit))),
                ("timeout".to_owned(), OptionValue::Duration(Duration::from_millis(self.timeout))),
            ]),
            scans: Vec::new(),
            tags: tags.iter().map(tag).collect(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: PathBuf::new(),
        };
        if let Some(complaint) = forebay_modbus::Modbus.check_device(&spec).into_iter().next() {
            bail!("{}; {}", complaint.message, complaint.help);
        }
        Ok(forebay_modbus::Modbus.open(spec)?)
    }

    /// After each request.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(self.pause)).await;
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("a scan needs no secret {name}"))
    }
}
