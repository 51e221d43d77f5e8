//! The scaling columns, one to one.

use super::super::draft::number;
use super::super::report::Refusal;
use super::table::Line;

/// Keys of a tag and what differs from Kepware.
#[derive(Debug, Default, PartialEq)]
pub struct Scaled {
    /// Keys and values.
    pub keys: Vec<(&'static str, String)>,
    /// What, and what to do.
    pub changes: Vec<(String, String)>,
}

/// Reads scaling, clamping and negation.
///
/// # Errors
/// Square root, or numbers that scale nothing.
pub fn read(line: &Line, numeric: bool) -> Result<Scaled, Refusal> {
    let mut scaled = Scaled::default();
    let negate = yes(&line.negate);
    match line.scaling.to_ascii_lowercase().replace([' ', '_'], "").as_str() {
        "" | "none" => {
            if negate && numeric {
                scaled.keys.push(("scale", "-1".into()));
            }
        }
        "linear" if !numeric => {
            scaled.changes.push(("its scaling is left out: the tag is no number".into(), String::new()));
        }
        "linear" => linear(line, negate, &mut scaled)?,
        "squareroot" => {
            return Err(Refusal::new(
                "I0103",
                "it is scaled by a square root, Forebay scales linearly",
                "set Scaling to None and import again, then take the root where the value is used, or do it in the PLC",
            ));
        }
        _ => {
            let what = format!("\"{}\" is no scaling of Kepware", line.scaling);
            return Err(Refusal::new("I0103", what, "write None or Linear"));
        }
    }
    Ok(scaled)
}

fn linear(line: &Line, negate: bool, scaled: &mut Scaled) -> Result<(), Refusal> {
    let [raw_low, raw_high] = pair(&line.raw, ["Raw Low", "Raw High"])?;
    let [low, high] = pair(&line.scaled, ["Scaled Low", "Scaled High"])?;
    if raw_low == raw_high || low == high {
        let what = format!(
            "it is scaled from {raw_low} to {raw_high} into {low} to {high}, which makes every value the same"
        );
        return Err(Refusal::new("I0103", what, "correct Raw and Scaled Low and High"));
    }
    // In a profile `raw` rises; both may be turned round together.
    let (mut raw, mut eng) = ([raw_low, raw_high], [low, high]);
    if raw[0] > raw[1] {
        raw.reverse();
        eng.reverse();
    }
    if negate {
        eng = eng.map(|number| 0.0 - number);
    }
    scaled.keys.push(("raw", format!("[{}, {}]", number(raw[0]), number(raw[1]))));
    scaled.keys.push(("eng", format!("[{}, {}]", number(eng[0]), number(eng[1]))));
    match line.clamp.each_ref().map(|text| yes(text)) {
        [true, true] => scaled.keys.push(("clamp", "true".into())),
        [false, false] => {}
        [low, _] => {
            let end = if low { "low" } else { "high" };
            let what = format!(
                "it is clamped at its {end} end only; a profile clamps at both or none, so it is not"
            );
            scaled.changes.push((
                what,
                "write clamp = true to clamp both ends, or a range to mark what is outside of it".into(),
            ));
        }
    }
    let whole = ["char", "byte", "short", "word", "long", "dword"];
    if whole.contains(&line.scaled_type.to_ascii_lowercase().as_str()) {
        let what =
            format!("Kepware rounds the scaled value to {}, Forebay keeps its decimals", line.scaled_type);
        scaled.changes.push((what, String::new()));
    }
    Ok(())
}

fn pair(texts: &[String; 2], names: [&str; 2]) -> Result<[f64; 2], Refusal> {
    let mut numbers = [0.0; 2];
    for ((slot, text), name) in numbers.iter_mut().zip(texts).zip(names) {
        let read = text.parse::<f64>().ok().filter(|number| number.is_finite() && number.abs() < 1e15);
        *slot = read.ok_or_else(|| {
            let what = match text.as_str() {
                "" => format!("it is scaled, but {name} is empty"),
                text => format!("{name} \"{text}\" is no number"),
            };
            Refusal::new("I0103", what, "write the number into the file, as Tag Properties, Scaling shows it")
        })?;
    }
    Ok(numbers)
}

fn yes(text: &str) -> bool {
    ["1", "yes", "true", "enable", "enabled"].iter().any(|word| word.eq_ignore_ascii_case(text))
}
