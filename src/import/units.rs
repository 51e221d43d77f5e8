//! Units as other programs spell them, to the closed list of profiles.
//!
//! Only spellings of the very same unit: nothing is converted, and nothing is guessed.

use crate::profile::units;

/// Spellings in small letters, without blanks and dots, and the unit they mean.
const SPELLINGS: &[(&str, &str)] = &[
    ("degc", "°C"),
    ("deg_c", "°C"),
    ("c", "°C"),
    ("ºc", "°C"),
    ("celsius", "°C"),
    ("gradc", "°C"),
    ("kelvin", "K"),
    ("volt", "V"),
    ("volts", "V"),
    ("amp", "A"),
    ("amps", "A"),
    ("ampere", "A"),
    ("watt", "W"),
    ("watts", "W"),
    ("kilowatt", "kW"),
    ("hertz", "Hz"),
    ("rpm", "1/min"),
    ("r/min", "1/min"),
    ("u/min", "1/min"),
    ("1/min", "1/min"),
    ("min-1", "1/min"),
    ("min^-1", "1/min"),
    ("nm", "N.m"),
    ("n·m", "N.m"),
    ("um", "µm"),
    ("\u{3bc}m", "µm"),
    ("m/s2", "m/s²"),
    ("m/s^2", "m/s²"),
    ("m3/h", "m³/h"),
    ("m^3/h", "m³/h"),
    ("cbm/h", "m³/h"),
    ("l/m", "l/min"),
    ("lpm", "l/min"),
    ("lit/min", "l/min"),
    ("stk", "pcs"),
    ("stck", "pcs"),
    ("stück", "pcs"),
    ("pcs", "pcs"),
    ("pieces", "pcs"),
    ("parts", "pcs"),
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("sek", "s"),
    ("msec", "ms"),
    ("percent", "%"),
    ("pct", "%"),
    ("-", "1"),
];

/// The unit that `written` spells, `None` when it is not in the list.
pub fn find(written: &str) -> Option<&'static str> {
    let written = written.trim();
    if let Some(unit) = units::find(written) {
        return Some(unit.symbol);
    }
    let plain: String =
        written.chars().filter(|c| !matches!(c, ' ' | '.')).collect::<String>().to_lowercase();
    let spelled = SPELLINGS.iter().find(|(spelling, _)| *spelling == plain).map(|(_, unit)| *unit);
    // `kw` is kW, but `MW` is no mW: only where one unit differs from it in nothing but case.
    let mut alike = units::UNITS.iter().filter(|unit| unit.symbol.to_lowercase() == plain);
    spelled.or_else(|| alike.next().filter(|_| alike.next().is_none()).map(|unit| unit.symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_understood_and_nothing_is_guessed() {
        for (written, unit) in [
            ("°C", "°C"),
            ("deg C", "°C"),
            ("RPM", "1/min"),
            ("kw", "kW"),
            ("KWH", "kWh"),
            ("m3/h", "m³/h"),
            ("Stck.", "pcs"),
        ] {
            assert_eq!(find(written), Some(unit), "{written}");
        }
        for unknown in ["MW", "mW", "psi", "l/h", "barr", "°F", ""] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
        assert!(SPELLINGS.iter().all(|(_, unit)| units::find(unit).is_some()));
    }
}
