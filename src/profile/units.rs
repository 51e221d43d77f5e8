//! The closed list of units.
//!
//! Codes are those of UNECE Recommendation 20, as in `Schema/UNECE_to_OPCUA.csv` of the OPC
//! Foundation's UA-Nodeset; symbols are what engineers write.

use crate::document::nearest;

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Symbol in profiles and records.
    pub symbol: &'static str,
    /// Common code of UNECE Recommendation 20.
    pub unece: &'static str,
    /// UCUM code, empty where there is none.
    pub ucum: &'static str,
}

impl Unit {
    /// `unitId` of OPC UA's `EUInformation`: the bytes of the code as a big-endian number.
    pub fn unit_id(&self) -> u32 {
        self.unece.bytes().fold(0, |id, byte| id << 8 | u32::from(byte))
    }
}

macro_rules! units {
    ($($symbol:literal $unece:literal $ucum:literal),* $(,)?) => {
        /// All units.
        pub const UNITS: &[Unit] = &[$(Unit { symbol: $symbol, unece: $unece, ucum: $ucum }),*];
    };
}

units! {
    "°C" "CEL" "Cel", "K" "KEL" "K",
    "bar" "BAR" "bar", "mbar" "MBR" "mbar", "kPa" "KPA" "kPa",
    "V" "VLT" "V", "A" "AMP" "A",
    "W" "WTT" "W", "kW" "KWT" "kW", "VA" "D46" "V.A", "var" "D44" "", "kvar" "KVR" "",
    "Wh" "WHR" "W.h", "kWh" "KWH" "kW.h", "kvarh" "K3" "",
    "Hz" "HTZ" "Hz", "1/min" "RPM" "/min",
    "1" "C62" "1", "pcs" "H87" "{pcs}", "%" "P1" "%",
    "mm" "MMT" "mm", "µm" "4H" "um", "mm/s" "C16" "mm/s", "m/s²" "MSK" "m/s2",
    "N" "NEW" "N", "kN" "B47" "kN", "N.m" "NU" "N.m",
    "s" "SEC" "s", "ms" "C26" "ms",
    "l/min" "L2" "L/min", "m³/h" "MQH" "m3/h",
}

/// Other ways people write them; the fix is proposed, not made.
const SPELLINGS: &[(&str, &str)] = &[
    ("degC", "°C"),
    ("deg C", "°C"),
    ("C", "°C"),
    ("Celsius", "°C"),
    ("rpm", "1/min"),
    ("RPM", "1/min"),
    ("U/min", "1/min"),
    ("min-1", "1/min"),
    ("Nm", "N.m"),
    ("N·m", "N.m"),
    ("um", "µm"),
    ("\u{3bc}m", "µm"),
    ("m/s2", "m/s²"),
    ("m3/h", "m³/h"),
    ("L/min", "l/min"),
    ("Stk", "pcs"),
    ("pieces", "pcs"),
    ("sec", "s"),
    ("percent", "%"),
    ("-", "1"),
    ("", "1"),
];

/// The unit with this symbol.
pub fn find(symbol: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.symbol == symbol)
}

/// The unit that was probably meant.
pub fn meant(symbol: &str) -> Option<&'static str> {
    let spelled = SPELLINGS.iter().find(|(spelling, _)| *spelling == symbol);
    spelled.map(|(_, unit)| *unit).or_else(|| nearest(symbol, UNITS.iter().map(|unit| unit.symbol)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_ids_are_those_of_the_nodeset() {
        for (symbol, id) in [
            ("°C", 4_408_652),
            ("kvarh", 19_251),
            ("1", 4_404_786),
            ("µm", 13_384),
            ("N.m", 20_053),
            ("%", 20_529),
        ] {
            assert_eq!(find(symbol).unwrap().unit_id(), id, "{symbol}");
        }
        assert_eq!(UNITS.len(), 31);
    }

    #[test]
    fn other_spellings_lead_to_the_symbol() {
        assert_eq!(meant("rpm"), Some("1/min"));
        assert_eq!(meant("\u{3bc}m"), Some("µm"));
        assert_eq!(meant("barr"), Some("bar"));
        assert_eq!(meant("parsec"), None);
        assert!(SPELLINGS.iter().all(|(_, symbol)| find(symbol).is_some()));
    }
}
