//! `[params]`: what may differ between two devices of the same type.

use crate::document::{Content, Context, Entry, Fields, Param, Params, Resolved, Table, is_name, nearest};

/// Declaration of one parameter.
#[derive(Debug, Clone)]
pub struct ParamDeclaration {
    /// Name.
    pub name: String,
    kind: Kind,
    min: Option<f64>,
    max: Option<f64>,
    default: Option<Param>,
    /// A default is written, be it faulty.
    has_default: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Number,
    Text,
    /// The declaration is faulty: nothing can be said about values.
    Faulty,
}

/// Keys of a declaration.
pub const KEYS: [&str; 5] = ["type", "default", "min", "max", "desc"];

/// Reads `[params]`.
pub fn declarations(root: &Fields<'_>) -> Vec<ParamDeclaration> {
    // A misspelt table is reported as an unknown key; what it declares is meant all the same.
    let misspelt = || root.entries().iter().find(|entry| nearest(&entry.key, ["params"]).is_some());
    let entry = root.entry("params").or_else(misspelt);
    let Some(table) = entry.and_then(|entry| root.as_table(entry)) else { return Vec::new() };
    let declared = table.entries.iter().map(|entry| {
        declaration(root, entry).unwrap_or_else(|| ParamDeclaration {
            name: entry.key.clone(),
            kind: Kind::Faulty,
            min: None,
            max: None,
            default: None,
            has_default: true,
        })
    });
    declared.collect()
}

/// One parameter; `None` when its type is not known, which has been reported.
fn declaration(root: &Fields<'_>, entry: &Entry) -> Option<ParamDeclaration> {
    let subject = format!("parameter `{}`", entry.key);
    if !is_name(&entry.key) {
        let message = format!("{subject}: a name has letters, digits and _ only");
        root.ctx.report(root.ctx.error("P0108", entry.key_span, message));
    }
    let fields = Fields::open(root.ctx, subject, root.as_table(entry)?, entry.key_span, &KEYS);
    fields.require("type", "it may be int, number or text");
    fields.text("desc");
    let kind = match fields.choice("type", &["int", "number", "text"])? {
        "int" => Kind::Int,
        "number" => Kind::Number,
        _ => Kind::Text,
    };
    let bound = |key| {
        if kind == Kind::Text && fields.has(key) {
            fields.refuse("P0107", key, &format!("a text has no `{key}`"), "remove it");
            return None;
        }
        fields.number(key)
    };
    let (min, max) = (bound("min"), bound("max"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        fields.refuse("P0107", "max", &format!("`max` = {max} is below `min` = {min}"), "exchange the two");
    }
    let mut declared = ParamDeclaration {
        name: entry.key.clone(),
        kind,
        min,
        max,
        default: None,
        has_default: fields.has("default"),
    };
    if let Some(default) = fields.entry("default") {
        declared.default = declared.value(&fields, default, "P0107");
    }
    Some(declared)
}

impl ParamDeclaration {
    /// The value of `entry` as this parameter takes it, or a report with `code`.
    fn value(&self, fields: &Fields<'_>, entry: &Entry, code: &'static str) -> Option<Param> {
        let refuse = |message: String, help: &str| {
            let message = format!("{}: {message}", fields.subject);
            fields.ctx.report(fields.ctx.error(code, entry.node.span, message).help(help));
            None
        };
        if self.kind == Kind::Faulty {
            return None;
        }
        let (value, number) = match (self.kind, fields.ctx.resolve(&fields.subject, &entry.node)?) {
            (Kind::Text, Resolved::Text(text)) => return Some(Param::Text(text.text)),
            (Kind::Int, Resolved::Int(number)) => (Param::Int(number), Resolved::Int(number).as_f64()),
            (Kind::Number, found @ (Resolved::Int(_) | Resolved::Number(_))) => {
                let number = found.as_f64().filter(|number| number.is_finite());
                (Param::Number(number.unwrap_or_default()), number)
            }
            (kind, found) => {
                let (wanted, example) = match kind {
                    Kind::Int => ("a whole number", "110"),
                    Kind::Number => ("a number", "12.5"),
                    Kind::Text | Kind::Faulty => ("a text in quotes", "\"A\""),
                };
                let help = match (&found, kind) {
                    (Resolved::Text(text), Kind::Int | Kind::Number) if text.text.parse::<f64>().is_ok() => {
                        format!("write {} = {}, without quotes", entry.key, text.text)
                    }
                    _ => format!("write for example {} = {example}", entry.key),
                };
                return refuse(format!("`{}` must be {wanted}, this is {}", entry.key, found.kind()), &help);
            }
        };
        let Some(number) = number else {
            return refuse(format!("`{}` must be finite", entry.key), "write a number");
        };
        let bounds = match (self.min, self.max) {
            (Some(min), _) if number < min => format!("below {min}"),
            (_, Some(max)) if number > max => format!("above {max}"),
            _ => return Some(value),
        };
        refuse(
            format!("`{}` = {number} is {bounds}", entry.key),
            "the bounds are the min and max of the parameter in [params] of the profile",
        )
    }
}

/// The parameters without any device: defaults, and "unknown" where there is none.
pub fn defaults(declared: &[ParamDeclaration]) -> Params {
    let value = |param: &ParamDeclaration| param.default.clone().unwrap_or(Param::Unknown);
    declared.iter().map(|param| (param.name.clone(), value(param))).collect()
}

/// The parameters of one device: what its `params` give, and the defaults. The second part
/// lists what was given, for messages.
pub fn of_device(
    declared: &[ParamDeclaration],
    ctx: &Context<'_>,
    device: &Fields<'_>,
) -> (Params, Vec<(String, String)>) {
    let mut params = defaults(declared);
    let mut given = Vec::new();
    let entry = device.entry("params");
    let table: Option<&Table> = entry.and_then(|entry| device.as_table(entry));
    if let (Some(table), Some(entry)) = (table, entry) {
        let names: Vec<&str> = declared.iter().map(|param| param.name.as_str()).collect();
        let subject = format!("`params` of {}", device.subject);
        let fields = Fields::open(ctx, subject, table, entry.node.span, &names);
        for param in declared {
            if let Some(entry) = fields.entry(&param.name)
                && let Some(value) = param.value(&fields, entry, "P0141")
            {
                given.push((param.name.clone(), value.text().unwrap_or_default()));
                params.insert(param.name.clone(), value);
            }
        }
    }
    let written = |name: &str| match entry.map(|entry| &entry.node.content) {
        Some(Content::Table(table)) => table.get(name).is_some(),
        _ => false,
    };
    for param in declared.iter().filter(|param| params.get(&param.name) == Some(&Param::Unknown)) {
        if !written(&param.name) && !param.has_default && !ctx.is_broken_key("params") {
            let message = format!("{} needs the parameter `{}`", device.subject, param.name);
            let fault = ctx.error("P0141", entry.map_or(device.span, |entry| entry.node.span), message);
            ctx.report(
                fault.help(format!(
                    "the profile gives it no default: write params = {{ {} = … }}",
                    param.name
                )),
            );
        }
    }
    (params, given)
}
