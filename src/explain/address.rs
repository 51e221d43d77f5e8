//! What an address by itself means.

use forebay_connector::{ByteOrder, DataType, Protocol, Value, decode_scalar};

use super::Columns;
use crate::connectors;

/// Most bytes of one value.
const BYTES_MAX: usize = 8;

/// Says what an address of this type reads; the error is for the one who asked.
pub fn explain(
    address: &str,
    data_type: &str,
    protocol: Option<&str>,
    bytes: Option<&str>,
) -> Result<String, String> {
    let known = || DataType::names().collect::<Vec<_>>().join(", ");
    let data_type = DataType::parse(data_type)
        .ok_or_else(|| format!("there is no type \"{data_type}\"; types are: {}", known()))?;
    let all = connectors::all();
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    for candidate in all.iter().filter(|it| protocol.is_none_or(|name| it.name() == name)) {
        match candidate.check_address(address, data_type) {
            Ok(found) => taken.push((candidate, found)),
            Err(fault) => refused.push(format!(
                "{} [{}]: {}; {}",
                candidate.name(),
                fault.code,
                fault.message,
                fault.help
            )),
        }
    }
    if refused.is_empty() && taken.is_empty() {
        let names: Vec<&str> = all.iter().map(|it| it.name()).collect();
        return Err(format!(
            "there is no protocol \"{}\", only {}",
            protocol.unwrap_or(""),
            names.join(", ")
        ));
    }
    if taken.is_empty() {
        return Err(format!("\"{address}\" is no address of a {data_type}\n  {}", refused.join("\n  ")));
    }
    let mut out = Columns::default();
    let mut has_order = false;
    for (protocol, found) in taken {
        has_order |= protocol.options().iter().any(|option| option.name == "order");
        out.line("address", &format!("{} ({})", found.canonical, protocol.name()));
        wire(&mut out, protocol.as_ref(), &found.canonical, data_type);
    }
    if let Some(bytes) = bytes {
        orders(&mut out, data_type, bytes, has_order)?;
    }
    Ok(out.text)
}

/// How it is asked for, as far as the protocol says.
pub fn wire(out: &mut Columns, protocol: &dyn Protocol, address: &str, data_type: DataType) {
    let wire = protocol.wire(address, data_type);
    if !wire.is_empty() {
        out.line("asked for", &wire);
    }
}

/// The value of these bytes, in all byte orders where the protocol `has_order`.
fn orders(out: &mut Columns, data_type: DataType, hex: &str, has_order: bool) -> Result<(), String> {
    if data_type.array_len.is_some() {
        let single = DataType::single(data_type.scalar);
        return Err(format!("--bytes shows one value, {data_type} is a list: write --type {single}"));
    }
    let digits: String =
        hex.chars().filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-' | ',')).collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    let wanted = data_type.scalar.bits().map(|bits| bits as usize / 8);
    let Some(wanted) = wanted.filter(|it| (2..=BYTES_MAX).contains(it) && it.is_power_of_two()) else {
        return Err(format!(
            "byte orders make a difference for values of 2, 4 and 8 bytes; {data_type} is none"
        ));
    };
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    let Some(bytes) = bytes.filter(|bytes| bytes.len() == wanted) else {
        return Err(format!("a {data_type} has {wanted} bytes: write {} hexadecimal digits", 2 * wanted));
    };
    // The first is the order of the bytes as they came.
    for name in ByteOrder::NAMES.into_iter().take(if has_order { usize::MAX } else { 1 }) {
        let mut ordered = bytes.clone();
        // All of NAMES are read.
        ByteOrder::parse(name).unwrap_or_default().to_big_endian(&mut ordered);
        let value = match decode_scalar(data_type.scalar, &ordered) {
            Ok(value) => plain(&value),
            Err(fault) => format!("no value: {fault}"),
        };
        out.line(name, &value);
    }
    Ok(())
}

/// A number as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Real(number) if (1e-5..1e9).contains(&number.abs()) || *number == 0.0 => number.to_string(),
        Value::Real(number) => format!("{number:e}"),
        Value::Lreal(number) if (1e-5..1e9).contains(&number.abs()) || *number == 0.0 => number.to_string(),
        Value::Lreal(number) => format!("{number:e}"),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}
