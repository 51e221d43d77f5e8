//! `[[verify]]`: what is read after every connect to know that the device is the right one.

use forebay_connector::{DataType, Scalar, TagSpec, Value};

use super::tag::{self, Names};
use super::walk::{Except, Walked};
use super::{options, scaling};
use crate::device::{Expected, Transform, Verify};
use crate::diagnostic::Span;
use crate::document::{Content, Entry, Fields, Resolved, nearest};

/// Most `[[verify]]` of one profile.
const VERIFY_MAX: usize = 32;

/// Keys of `[[verify]]`.
pub const KEYS: [&str; 4] = ["tag", "is", "between", "why"];

/// Keys of a tag that stands in `[[verify]]` itself.
pub const INLINE_KEYS: [&str; 8] = ["address", "type", "order", "scale", "offset", "raw", "eng", "clamp"];

/// Reads all `[[verify]]` of the profile into `walked`.
pub fn read(root: &Fields<'_>, names: &Names<'_>, except: &Except, walked: &mut Walked) {
    let tables = root.tables("verify");
    if tables.len() > VERIFY_MAX {
        let message = format!("{} [[verify]] stand here, at most {VERIFY_MAX} are possible", tables.len());
        root.ctx.report(root.ctx.error("P0131", tables[VERIFY_MAX].1, message));
    }
    for (number, (table, span)) in tables.into_iter().take(VERIFY_MAX).enumerate() {
        let fields = Fields::open(root.ctx, "[[verify]]", table, span, &KEYS);
        if let Some(verify) = one(&fields, names, except, walked, number + 1) {
            walked.verify.push(verify);
        }
    }
}

fn one(
    fields: &Fields<'_>,
    names: &Names<'_>,
    except: &Except,
    walked: &mut Walked,
    number: usize,
) -> Option<Verify> {
    fields
        .require("tag", "a path such as \"grid.frequency\", or a tag of its own: { address = …, type = … }");
    let why = fields.languages("why").unwrap_or_default();
    let expected = expected(fields);
    let entry = fields.entry("tag")?;
    let (raw, data_type, transform) = match &entry.node.content {
        Content::Table(_) => inline(fields, names, walked, number)?,
        _ => by_path(fields, except, walked)?,
    };
    let expected = expected?;
    check_kind(fields, data_type, &expected);
    Some(Verify { raw, transform, expected, why })
}

/// A tag that stands in `[[verify]]` itself; it is read in the slowest scan class.
fn inline(
    fields: &Fields<'_>,
    names: &Names<'_>,
    walked: &mut Walked,
    number: usize,
) -> Option<(u32, DataType, Transform)> {
    let inner = fields.table("tag", "the tag of [[verify]]", &INLINE_KEYS)?;
    let inner = inner.inheriting([names.defaults]);
    let data_type = tag::data_type(&inner)?;
    let address = tag::address(&inner, names, data_type, 0)?;
    let slowest = (0..names.scans.len()).max_by_key(|scan| names.scans[*scan].interval)?;
    let raw = u32::try_from(walked.raws.len()).ok()?;
    walked.raws.push(TagSpec {
        path: format!("verify.{number}"),
        address: address.canonical,
        data_type,
        order: options::order(&inner, names.protocol),
        scan: slowest,
        deadband: None,
    });
    Some((raw, data_type, scaling::read(&inner, data_type).transform))
}

fn by_path(fields: &Fields<'_>, except: &Except, walked: &Walked) -> Option<(u32, DataType, Transform)> {
    let path = fields.text("tag")?;
    let found = walked.tags.iter().find(|tag| tag.path == path.text);
    let Some(tag) = found else {
        let (message, help) = if except.takes(&path.text) {
            (
                format!("`except` of the device leaves out tag `{}`", path.text),
                "take it out of `except`".to_owned(),
            )
        } else {
            let help = match nearest(&path.text, walked.tags.iter().map(|tag| tag.path.as_str())) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => "write the path of a tag: <group>.<name>".to_owned(),
            };
            (format!("there is no tag `{}`", path.text), help)
        };
        if !walked.may_have(fields.ctx, &path.text) {
            fields.refuse("P0113", "tag", &message, help);
        }
        return None;
    };
    if tag.formula.is_some() {
        let help = "check one of the tags it is calculated from";
        fields.refuse("P0130", "tag", &format!("tag `{}` is calculated", path.text), help);
        return None;
    }
    let data_type = match tag.transform {
        Transform::Bit(_) => DataType::single(Scalar::Bool),
        _ => walked.raws.get(usize::try_from(tag.raw).ok()?)?.data_type,
    };
    Some((tag.raw, data_type, tag.transform))
}

fn expected(fields: &Fields<'_>) -> Option<Expected> {
    match (fields.entry("is"), fields.has("between")) {
        (Some(entry), false) => is(fields, entry),
        (None, true) => fields.pair("between").map(|(low, high)| Expected::Between(low, high)),
        (found, _) => {
            let message = match found {
                Some(_) => "[[verify]] has both `is` and `between`",
                None => "[[verify]] needs `is` or `between`",
            };
            let fault = fields.ctx.error("P0130", fields.span, message);
            fields.ctx.report(fault.help("write is = 3 or between = [45, 65]"));
            None
        }
    }
}

fn is(fields: &Fields<'_>, entry: &Entry) -> Option<Expected> {
    Some(Expected::Is(match fields.ctx.resolve(&fields.subject, &entry.node)? {
        Resolved::Bool(yes) => Value::Bool(yes),
        Resolved::Int(number) => Value::Int(number),
        Resolved::Number(number) if number.is_finite() => Value::Lreal(number),
        Resolved::Text(text) => Value::Text(text.text.into_boxed_str()),
        other => {
            let message = format!("`is` cannot be {}", other.kind());
            fields.refuse("P0130", "is", &message, "write a number, a text, or true or false");
            return None;
        }
    }))
}

/// What is expected must be of the tag's kind, or it never holds.
fn check_kind(fields: &Fields<'_>, data_type: DataType, expected: &Expected) {
    let scalar = data_type.scalar;
    let text = matches!(scalar, Scalar::String(_) | Scalar::Wstring(_) | Scalar::Char | Scalar::Wchar);
    let (fits, key) = match expected {
        Expected::Between(..) => (scalar.is_number(), "between"),
        Expected::Is(Value::Bool(_)) => (scalar == Scalar::Bool, "is"),
        Expected::Is(Value::Text(_)) => (text, "is"),
        Expected::Is(_) => (scalar.is_number(), "is"),
    };
    if !fits || data_type.array_len.is_some() {
        let span: Span = fields.entry(key).map_or(fields.span, |entry| entry.node.span);
        let message = format!("[[verify]]: a {data_type} can never be this");
        let fault = fields.ctx.error("P0130", span, message);
        fields.ctx.report(fault.help(match data_type.array_len {
            Some(_) => "a list is compared with nothing: read the element that is meant as a tag of its own",
            None => "compare numbers with numbers, texts with texts, BOOL with true or false",
        }));
    }
}
