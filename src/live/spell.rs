//! Values as an engineer writes and reads them.

use forebay_connector::{DataType, Scalar, Value};

use crate::clock;

/// Elements of an array shown at most.
const ELEMENTS_MAX: usize = 4;
/// Letters of a text shown at most.
const CHARS_MAX: usize = 40;

/// A value in one line.
pub fn spell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Lreal(value) => rounded(*value),
        Value::Text(text) => {
            // What a machine sends as text may hold anything; the terminal gets letters.
            let shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
            let more = if text.chars().count() > CHARS_MAX { "…" } else { "" };
            format!("\"{shown}{more}\"")
        }
        Value::DateTime(us) => clock::rfc3339(*us),
        Value::Array(values) => {
            let shown: Vec<String> = values.iter().take(ELEMENTS_MAX).map(spell).collect();
            let more = values.len().saturating_sub(ELEMENTS_MAX);
            let more = if more > 0 { format!(", … {more} more") } else { String::new() };
            format!("[{}{more}]", shown.join(", "))
        }
    }
}

/// What was scaled has digits from the scaling that nobody measured: nine are shown.
fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let written = format!("{value:.8e}");
    written.parse::<f64>().map_or(written, |value| value.to_string())
}

/// A value of this type from its text, as [`spell`] writes it.
///
/// # Errors
/// What would be right, in words.
pub fn parse(text: &str, data_type: DataType) -> Result<Value, String> {
    if let Some(len) = data_type.array_len {
        let element = DataType { array_len: None, ..data_type };
        let parts = text.trim().trim_start_matches('[').trim_end_matches(']').split(',');
        let values = parts.map(|part| parse(part.trim(), element)).collect::<Result<Vec<_>, _>>()?;
        if values.len() != usize::from(len) {
            return Err(format!("{} values were given, {data_type} has {len}", values.len()));
        }
        return Ok(Value::Array(values.into()));
    }
    let wrong = |wanted: &str| format!("{text:?} is no {data_type}: write {wanted}");
    let number = || wrong("a number, for example 41.5");
    let whole = || wrong("a whole number");
    Ok(match data_type.scalar {
        Scalar::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" => Value::Bool(true),
            "false" | "0" | "off" => Value::Bool(false),
            _ => return Err(wrong("TRUE or FALSE")),
        },
        Scalar::Real => Value::Real(text.parse().map_err(|_| number())?),
        Scalar::Lreal => Value::Lreal(text.parse().map_err(|_| number())?),
        Scalar::Sint
        | Scalar::Int
        | Scalar::Dint
        | Scalar::Lint
        | Scalar::Time
        | Scalar::S5time
        | Scalar::Tod => Value::Int(text.parse().map_err(|_| whole())?),
        Scalar::Byte
        | Scalar::Usint
        | Scalar::Word
        | Scalar::Uint
        | Scalar::Dword
        | Scalar::Udint
        | Scalar::Lword
        | Scalar::Ulint
        | Scalar::Bcd
        | Scalar::Lbcd => Value::Uint(text.parse().map_err(|_| whole())?),
        Scalar::Char | Scalar::Wchar | Scalar::String(_) | Scalar::Wstring(_) | Scalar::Date => {
            Value::Text(text.trim_matches('"').into())
        }
        Scalar::DateAndTime | Scalar::Dtl | Scalar::DateTime => {
            let time = text.parse::<jiff::Timestamp>();
            Value::DateTime(
                time.map_err(|_| wrong("a time, for example 2026-11-21T08:00:00Z"))?.as_microsecond(),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (data_type, text) in [
            ("BOOL", "TRUE"),
            ("INT", "-7"),
            ("ULINT", "18446744073709551615"),
            ("REAL", "41.2"),
            ("STRING[8]", "\"R-14\""),
            ("DTL", "2026-02-11T13:36:05.000000Z"),
            ("INT[3]", "[1, 2, 3]"),
        ] {
            let value = parse(text, DataType::parse(data_type).unwrap());
            assert_eq!(value.as_ref().map(spell).as_deref(), Ok(text), "{data_type}");
        }
        let wrong = parse("high", DataType::parse("REAL").unwrap()).unwrap_err();
        assert_eq!(wrong, "\"high\" is no REAL: write a number, for example 41.5");
    }

    #[test]
    fn scaled_values_have_no_digits_that_nobody_measured() {
        assert_eq!(spell(&Value::Lreal(0.1 + 0.2)), "0.3");
        assert_eq!(spell(&Value::Lreal(f64::from(230_u8) * 0.1)), "23");
        assert_eq!(
            spell(&Value::Text("a\u{1b}[2Jb".into())),
            "\"a\\u{1b}[2Jb\"",
            "the terminal is left alone"
        );
    }
}
