//! Which registers of a unit can be read.

use std::io::Write;

use forebay_connector::{PollError, Quality, Value};

use super::Modbus;

/// A table: prefix of its addresses, and its name.
const TABLES: [(&str, &str); 2] = [("hr", "holding registers (03)"), ("ir", "input registers (04)")];
/// Registers asked for at once; what is refused is asked for in the next smaller blocks.
const BLOCKS: [u16; 3] = [100, 20, 5];

/// One block: its level in [`BLOCKS`], its first register, its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    level: usize,
    from: u16,
    count: u16,
}

/// Requests for one table when nothing is refused.
pub fn requests_at_least(registers: &[u16]) -> usize {
    blocks(registers).iter().filter(|block| block.level == 0).count()
}

/// All blocks of all sizes, each before its parts.
fn blocks(registers: &[u16]) -> Vec<Block> {
    let mut blocks = Vec::new();
    // What is asked for may have holes.
    for run in registers.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        for large in run.chunks(usize::from(BLOCKS[0])) {
            split(large, 0, &mut blocks);
        }
    }
    blocks
}

fn split(registers: &[u16], level: usize, blocks: &mut Vec<Block>) {
    let (Some(from), Ok(count)) = (registers.first(), u16::try_from(registers.len())) else { return };
    blocks.push(Block { level, from: *from, count });
    if let Some(size) = BLOCKS.get(level + 1) {
        registers.chunks(usize::from(*size)).for_each(|part| split(part, level + 1, blocks));
    }
}

/// Looks at both tables of a unit and says what was found; true when anything can be read.
///
/// # Errors
/// When the line is gone, or nothing can be printed.
pub async fn look(modbus: &Modbus, unit: u16, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut any = false;
    let blocks = blocks(&modbus.registers.0);
    for (prefix, name) in TABLES {
        let tags: Vec<(String, u16)> =
            blocks.iter().map(|block| (format!("{prefix}:{}", block.from), block.count)).collect();
        let mut connector = modbus.open(unit, &tags)?;
        connector.connect().await?;
        let (mut runs, mut not_zero): (Vec<(u16, u16)>, usize) = (Vec::new(), 0);
        // Parts of what could be read as a whole are passed over.
        let (mut read_until, mut silent) = (0_u32, String::new());
        for (tag, block) in (0..).zip(&blocks) {
            if u32::from(block.from) < read_until {
                continue;
            }
            let mut samples = Vec::new();
            let read = connector.read(&[tag], &mut samples).await;
            modbus.rest().await;
            match read {
                Ok(()) => {}
                Err(error @ PollError::Connect { .. }) => return Err(error.into()),
                Err(error) => {
                    silent = error.to_string();
                    connector.connect().await?;
                    continue;
                }
            }
            let Some(sample) = samples.first().filter(|sample| sample.quality != Quality::Refused) else {
                continue;
            };
            read_until = u32::from(block.from) + u32::from(block.count);
            not_zero += zeros_not(&sample.value);
            let last = block.from + (block.count - 1);
            match runs.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(block.from) => *end = last,
                _ => runs.push((block.from, last)),
            }
        }
        connector.close().await;
        let runs: Vec<String> = runs.iter().map(|(from, to)| format!("{from}-{to}")).collect();
        let trouble = if silent.is_empty() { String::new() } else { format!("; once: {silent}") };
        if runs.is_empty() {
            writeln!(out, "  {name}: none of these can be read{trouble}")?;
        } else {
            any = true;
            writeln!(out, "  {name}: {} can be read, {not_zero} of them not 0{trouble}", runs.join(", "))?;
        }
    }
    Ok(any)
}

/// How many values are not 0.
fn zeros_not(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().filter(|value| value.as_f64() != Some(0.0)).count(),
        value => usize::from(value.as_f64() != Some(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_what_is_asked_for_and_nothing_else() {
        let registers: Vec<u16> = (10..130).chain([200]).collect();
        let blocks = blocks(&registers);
        for level in 0..BLOCKS.len() {
            let covered: Vec<u16> = blocks
                .iter()
                .filter(|block| block.level == level)
                .flat_map(|block| block.from..block.from + block.count)
                .collect();
            assert_eq!(covered, registers, "level {level}");
        }
        assert_eq!(requests_at_least(&registers), 3);
        assert!(blocks.iter().all(|block| block.count <= BLOCKS[block.level]));
    }
}
