//! pymodbus: it makes registers and their order itself, from numbers.

use forebay_connector::{ByteOrder, DeviceSpec, OptionValue, Scalar, TagSpec, Value};

use super::foreign::Language;

/// How to tell pymodbus about `spec`.
pub fn language(spec: &DeviceSpec) -> Language {
    let unit = match spec.options.get("unit_id") {
        Some(OptionValue::Int(unit)) => *unit,
        _ => 1,
    };
    Language {
        python: "python",
        script: "modbus_server.py",
        arguments: vec!["--unit".into(), unit.to_string()],
        scheme: "tcp://",
        prepare: Vec::new(),
        sets: spec.tags.iter().map(|tag| kind(tag.data_type.scalar).is_some()).collect(),
        set: commands,
    }
}

/// Table and offset from 0 of a canonical address; `None` for a bit of a register.
fn place(address: &str) -> Option<(&'static str, u32)> {
    let table = match address.as_bytes().first()? {
        b'0' => "co",
        b'1' => "di",
        b'3' => "ir",
        b'4' => "hr",
        _ => return None,
    };
    let number: u32 = address.get(1..)?.parse().ok()?;
    Some((table, number.checked_sub(1)?))
}

/// What pymodbus calls the type.
fn kind(scalar: Scalar) -> Option<&'static str> {
    Some(match scalar {
        Scalar::Bool => "bit",
        Scalar::Int => "INT16",
        Scalar::Word | Scalar::Uint => "UINT16",
        Scalar::Dint | Scalar::Time => "INT32",
        Scalar::Dword | Scalar::Udint => "UINT32",
        Scalar::Lint => "INT64",
        Scalar::Lword | Scalar::Ulint => "UINT64",
        Scalar::Real => "FLOAT32",
        Scalar::Lreal => "FLOAT64",
        _ => return None,
    })
}

fn commands(spec: &DeviceSpec, values: &[Value]) -> Vec<String> {
    let order = match spec.options.get("order") {
        Some(OptionValue::Text(order)) => order.as_str(),
        _ => "ABCD",
    };
    spec.tags.iter().zip(values).filter_map(|(tag, value)| command(tag, order, value)).collect()
}

fn command(tag: &TagSpec, order: &str, value: &Value) -> Option<String> {
    let (table, offset) = place(&tag.address)?;
    let order = match tag.order {
        None => order,
        Some(ByteOrder::Abcd) => "ABCD",
        Some(ByteOrder::Cdab) => "CDAB",
        Some(ByteOrder::Badc) => "BADC",
        Some(ByteOrder::Dcba) => "DCBA",
    };
    let text = match value {
        Value::Bool(bit) => return Some(format!("set {table} {offset} {}", u8::from(*bit))),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Lreal(number) => number.to_string(),
        _ => return None,
    };
    Some(format!("setv {table} {offset} {order} {} {text}", kind(tag.data_type.scalar)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one() {
        assert_eq!(place("30053"), Some(("ir", 52)));
        assert_eq!(place("440072"), Some(("hr", 40_071)));
        assert_eq!(place("10001"), Some(("di", 0)));
        assert_eq!(place("40001.3"), None);
    }
}
