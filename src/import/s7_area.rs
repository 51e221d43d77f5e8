//! What TIA Portal, STEP 7 and Kepware call the memory of a CPU.

use forebay_connector::{DataType, Protocol, Scalar};

use super::report::Refusal;

/// Memory that has bytes, in international and German letters, and as profiles write it; longer
/// names first.
const AREAS: [(&str, &str); 10] = [
    ("PI", "PI"),
    ("PE", "PI"),
    ("PQ", "PQ"),
    ("PA", "PQ"),
    ("I", "I"),
    ("E", "I"),
    ("Q", "Q"),
    ("A", "Q"),
    ("M", "M"),
    ("F", "M"),
];

/// The memory an address in capitals begins with, and the rest of it.
pub fn area(address: &str) -> Option<(String, &str)> {
    let (name, area) = AREAS.iter().find(|(name, _)| address.starts_with(name))?;
    Some(((*area).to_owned(), &address[name.len()..]))
}

/// `T5`, `C3`, `Z3` in capitals: whatever the protocol has for them; `None` for other addresses.
pub fn timer_or_counter(
    address: &str,
    protocol: &dyn Protocol,
) -> Option<Result<(String, DataType), Refusal>> {
    let (letter, scalars) = match address.chars().next()? {
        'T' => ('T', [Scalar::S5time, Scalar::Time]),
        'C' | 'Z' => ('C', [Scalar::Bcd, Scalar::Word]),
        _ => return None,
    };
    let digits = &address[1..];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let found = scalars.into_iter().find_map(|scalar| {
        let data_type = DataType::single(scalar);
        let address = protocol.check_address(&format!("{letter}{digits}"), data_type).ok()?;
        Some((address.canonical, data_type))
    });
    Some(found.ok_or_else(|| {
        let what = format!("`{address}` is a timer or counter of the CPU, which cannot be read here");
        Refusal::new("I0104", what, "let the program copy it into a data block and read it there")
    }))
}
