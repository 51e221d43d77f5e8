//! `forebay demo record`: what the press does, as a table to train a model on.

use std::io::{self, Write};

use forebay_connector::Value;

use super::machine::Machine;

/// Options of `forebay demo record`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Record {
    /// Length of the recording, in simulated seconds.
    #[arg(long, default_value_t = 3600)]
    pub seconds: u32,
    /// Seed of the machine; equal seeds give equal tables.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Wear of the main bearing: 0 is new, 1 is worn out.
    #[arg(long, default_value_t = 0.0)]
    pub wear: f64,
}

/// Step of the simulation in milliseconds; all other times are multiples of it.
const STEP_MS: u32 = 50;
/// Scan class `fast` of the profile.
const FAST_MS: u32 = 200;
/// Scan class `normal` of the profile.
const NORMAL_MS: u32 = 1000;
/// Grid on which models see the tags.
const GRID_MS: u32 = 500;
/// Groups that the profile scans fast; `hydraulics.pressure` too.
const FAST_GROUPS: [&str; 2] = ["slide.", "drive."];

/// Writes a CSV table: the time in seconds, then each numeric tag of the press.
///
/// A value is as old as it would be in the live system: read with its scan class, then taken on
/// the grid of the models (every 500 ms).
///
/// # Errors
/// Those of `writer`.
pub fn run(options: &Record, writer: &mut impl Write) -> io::Result<()> {
    let mut machine = Machine::new(options.seed);
    machine.set_wear(options.wear);
    let mut read = numbers(&machine);
    write!(writer, "time_s")?;
    read.iter().try_for_each(|(path, _)| write!(writer, ",{path}"))?;
    writeln!(writer)?;
    for time_ms in (0..options.seconds.saturating_mul(1000)).step_by(STEP_MS as usize) {
        if time_ms % FAST_MS == 0 {
            let all = time_ms % NORMAL_MS == 0;
            for (kept, fresh) in read.iter_mut().zip(numbers(&machine)) {
                if all || is_fast(kept.0) {
                    *kept = fresh;
                }
            }
        }
        if time_ms % GRID_MS == 0 {
            write!(writer, "{:.1}", f64::from(time_ms) / 1000.0)?;
            read.iter().try_for_each(|(_, value)| write!(writer, ",{value}"))?;
            writeln!(writer)?;
        }
        machine.step(f64::from(STEP_MS) / 1000.0);
    }
    Ok(())
}

fn is_fast(path: &str) -> bool {
    FAST_GROUPS.iter().any(|group| path.starts_with(group)) || path == "hydraulics.pressure"
}

/// Measured values only: states, counters and texts teach a model nothing.
fn numbers(machine: &Machine) -> Vec<(&'static str, f32)> {
    let reals = machine.values().into_iter().filter_map(|(path, value)| match value {
        Value::Real(real) => Some((path, real)),
        _ => None,
    });
    reals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_has_a_row_for_each_point_of_the_grid() {
        let mut table = Vec::new();
        let options = Record { seconds: 20, seed: 1, wear: 0.0 };
        run(&options, &mut table).expect("memory takes it");
        let table = String::from_utf8(table).expect("text");
        let columns = table.lines().next().expect("a header").split(',').collect::<Vec<_>>();
        assert!(columns.contains(&"drive.vib_de") && columns.contains(&"hydraulics.oil_temp"));
        assert_eq!(table.lines().count(), 41);
        assert!(table.lines().all(|line| line.split(',').count() == columns.len()));
    }
}
