//! How exactly a tag is published: `deadband`, or `compress` for a swinging door.

use forebay_connector::DataType;

use super::tag::value_key;
use crate::document::{Fields, Resolved};

/// What is held back of a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// Changes up to this much, in published units.
    pub deadband: f64,
    /// What straight lines between the published values may miss, in published units.
    pub compress: Option<f64>,
}

/// Reads `deadband` and `compress`, of which a tag has one. `range` is what shares refer to.
pub fn read(fields: &Fields<'_>, data_type: DataType, range: Option<(f64, f64)>) -> Precision {
    let plain = |deadband| Precision { deadband, compress: None };
    if fields.is_own("compress") && fields.is_own("deadband") {
        fields.refuse(
            "P0126",
            "compress",
            "has both `deadband` and `compress`",
            "use deadband (values as they were read, fewer of them) or compress (straight lines between them)",
        );
        return plain(0.0);
    }
    let wanted = fields.has("compress") && !fields.is_own("deadband");
    if wanted && value_key(fields, data_type, "compress") {
        return Precision { deadband: 0.0, compress: share(fields, "compress", range) };
    }
    if !value_key(fields, data_type, "deadband") {
        return plain(0.0);
    }
    plain(share(fields, "deadband", range).unwrap_or(0.0))
}

/// A number in published units, or a share of `range` (or of `eng`).
fn share(fields: &Fields<'_>, key: &str, range: Option<(f64, f64)>) -> Option<f64> {
    let entry = fields.entry(key)?;
    let word = if key == "compress" { "deviation" } else { key };
    let help = "write a number in the unit of the tag, or a share of its range such as \"1%\"";
    let number = match fields.ctx.resolve(&fields.subject, &entry.node)? {
        Resolved::Text(text) => {
            let percent = text.text.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok());
            match (percent, range) {
                (Some(share), Some((low, high))) => Some(share / 100.0 * (high - low)),
                (Some(_), None) if fields.has("range") => return None,
                (Some(_), None) => {
                    let message =
                        format!("the {word} \"{}\" is a share of `range`, which is missing", text.text);
                    fields.refuse("P0126", key, &message, "add range = [low, high]");
                    return None;
                }
                (None, _) => None,
            }
        }
        other => other.as_f64(),
    };
    let compress = key == "compress";
    let message = match number {
        Some(number) if number.is_finite() && number >= 0.0 && (number > 0.0 || !compress) => {
            warn_wide(fields, key, number, range);
            return Some(number);
        }
        Some(_) if compress => "`compress` must be more than 0".to_owned(),
        Some(_) => format!("`{key}` must be 0 or more"),
        None => format!("`{key}` is neither a number nor a share"),
    };
    fields.refuse_value("P0126", key, &message, help);
    None
}

/// What is as wide as the range holds every change back.
fn warn_wide(fields: &Fields<'_>, key: &str, number: f64, range: Option<(f64, f64)>) {
    if let (Some((low, high)), Some(entry)) = (range, fields.entry(key))
        && number >= high - low
    {
        let message =
            format!("{}: `{key}` = {number} is as wide as the range, {low} to {high}", fields.subject);
        let fault = fields.ctx.warning("P0126", entry.node.span, message);
        fields.ctx.report(fault.label("no change is ever sent").help("write a smaller one, such as \"1%\""));
    }
}
