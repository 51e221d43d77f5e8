//! Recognises Kepware's spelling of S7 addresses, to print the right one.

use std::ops::Range;

use forebay_connector::AddressFault;

/// Kepware's names, the letter we write and the type that belongs to it.
const TYPES: &[(&[&str], char, &str)] = &[
    (&["X", "BOOL"], 'X', "BOOL"),
    (&["B", "BYTE"], 'B', "BYTE"),
    (&["C", "CHAR"], 'B', "CHAR"),
    (&["W", "WORD"], 'W', "WORD"),
    (&["I", "INT"], 'W', "INT"),
    (&["D", "DWORD"], 'D', "DWORD"),
    (&["DI", "DINT"], 'D', "DINT"),
    (&["R", "REAL"], 'D', "REAL"),
    (&["T", "TIME"], 'D', "TIME"),
    (&["LR", "LREAL"], 'B', "LREAL"),
    (&["S", "STRING"], 'B', "STRING"),
    (&["DTL"], 'B', "DTL"),
    (&["SINT"], 'B', "SINT"),
    (&["USINT"], 'B', "USINT"),
    (&["UINT"], 'W', "UINT"),
    (&["UDINT"], 'D', "UDINT"),
    (&["LINT"], 'B', "LINT"),
    (&["ULINT"], 'B', "ULINT"),
    (&["DATE"], 'W', "DATE"),
    (&["TOD"], 'D', "TOD"),
    (&["DT"], 'B', "DATE_AND_TIME"),
];

/// `DB10,REAL48` and the like: `block` is where `DB10` stands.
pub(crate) fn fault(address: &str, block: Range<usize>) -> AddressFault {
    let help = translate(&address[block.clone()].to_ascii_uppercase(), &address[block.end + 1..])
        .unwrap_or_else(|| "write DB10.DBD48 with the type in type = \"…\"".into());
    crate::address::fault(
        "S0201",
        "this is the Kepware way to write it".into(),
        block.start..address.len(),
        "",
        help,
    )
}

/// `MREAL8` and the like: the area's letters are `area`, and what is written behind them begins
/// with a type instead of a width. `None` when it is something else.
pub(crate) fn fault_of_letter(address: &str, area: Range<usize>, canonical: &str) -> Option<AddressFault> {
    let help = translate(canonical, &address[area.end..])?;
    let span = area.start..address.len();
    Some(crate::address::fault("S0201", "this is the Kepware way to write it".into(), span, "", help))
}

/// What to write instead of `block`, a data block or the letter of another area, and the text
/// behind it.
fn translate(block: &str, text: &str) -> Option<String> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let (name, number) = text.split_at(digits);
    let (_, letter, data_type) =
        TYPES.iter().find(|(names, ..)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let (byte, rest) = number.split_at(end);
    let point = rest.strip_prefix('.').filter(|rest| all_digits(rest));
    let array =
        rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|rest| all_digits(rest));
    let (place, data_type) = match (*data_type, point, array) {
        ("BOOL", Some(bit), None) => (format!("{byte}.{bit}"), "BOOL".into()),
        ("STRING", len, None) => (byte.into(), format!("STRING[{}]", len.unwrap_or("254"))),
        (data_type, None, Some(len)) if data_type != "BOOL" => (byte.into(), format!("{data_type}[{len}]")),
        (data_type, None, None) if rest.is_empty() && data_type != "BOOL" => (byte.into(), data_type.into()),
        _ => return None,
    };
    let letters = match (block.starts_with("DB"), letter) {
        (true, _) => format!(".DB{letter}"),
        (false, 'X') => String::new(),
        (false, _) => letter.to_string(),
    };
    Some(format!("write {block}{letters}{place} with type = \"{data_type}\""))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
