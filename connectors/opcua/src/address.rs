//! Node ids as profiles write them: `ns=<alias>;s=…`, and fields of structures:
//! `ns=<alias>;field=Motor.Speed;s=…`. The field comes first, because the text after `s=` may hold
//! anything.
//!
//! The alias stands for a namespace URI in `[opcua.namespaces]`, never for an index: indices may
//! change when the server restarts (OPC UA Part 6, 5.1.12).

use std::collections::BTreeMap;
use std::ops::Range;

use forebay_connector::{Address, AddressFault, DataType, Scalar};
use opcua::types::{ByteString, Guid, Identifier, NodeId, ObjectId};

/// Longest text identifier that OPC UA allows, in bytes (Part 3, 8.2.4).
const MAX_IDENTIFIER_BYTES: usize = 4096;
/// Longest path of a field, in bytes.
const MAX_FIELD_BYTES: usize = 1024;
/// What stands before the path of a field.
const FIELD: &str = "field=";

/// A node id whose namespace still has its short name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeAddress {
    /// Key of `[opcua.namespaces]`; `None` is namespace 0, the standard's own.
    pub(crate) alias: Option<String>,
    /// Path of the field that is wanted of a structure; `None` is the value itself.
    pub(crate) field: Option<String>,
    identifier: Identifier,
}

impl NodeAddress {
    /// Reads one address.
    ///
    /// # Errors
    /// [`AddressFault`] with the fix.
    pub(crate) fn parse(address: &str) -> Result<Self, AddressFault> {
        let (alias, start) = namespace(address)?;
        let (field, start) = field(address, start)?;
        let identifier = identifier(address, start)?;
        Ok(Self { alias: alias.map(str::to_owned), field: field.map(str::to_owned), identifier })
    }

    /// The object that stands for the server itself.
    pub(crate) fn server() -> Self {
        Self { alias: None, field: None, identifier: Identifier::from(ObjectId::Server as u32) }
    }

    /// The id on a server where the alias has this index.
    pub(crate) fn resolve(&self, index: u16) -> NodeId {
        NodeId::new(index, self.identifier.clone())
    }

    /// What is sent for a read of it, in words.
    pub(crate) fn wire(&self) -> String {
        let id = Self { alias: None, field: None, identifier: self.identifier.clone() }.canonical();
        let field = self.field.as_ref().map_or(String::new(), |field| format!("field `{field}` of "));
        match &self.alias {
            Some(alias) => {
                format!("{field}attribute 13 (Value) of {id} in the namespace that `{alias}` stands for")
            }
            None => format!("{field}attribute 13 (Value) of {id} in namespace 0"),
        }
    }

    /// The node as profiles write it, without the field.
    pub(crate) fn node(&self) -> String {
        Self { field: None, ..self.clone() }.canonical()
    }

    fn canonical(&self) -> String {
        let id = match &self.identifier {
            Identifier::Numeric(number) => format!("i={number}"),
            Identifier::String(text) => format!("s={text}"),
            Identifier::Guid(guid) => format!("g={guid}"),
            Identifier::ByteString(bytes) => format!("b={}", bytes.as_base64()),
        };
        let id = match &self.field {
            Some(field) => format!("{FIELD}{field};{id}"),
            None => id,
        };
        match &self.alias {
            Some(alias) => format!("ns={alias};{id}"),
            None => id,
        }
    }
}

/// Checks an address together with its type.
///
/// # Errors
/// [`AddressFault`], codes `O0201` to `O0206`.
pub(crate) fn check(address: &str, data_type: DataType) -> Result<Address, AddressFault> {
    let canonical = NodeAddress::parse(address)?.canonical();
    let instead = match data_type.scalar {
        Scalar::Dtl | Scalar::DateAndTime | Scalar::Date => "DATETIME",
        Scalar::Bcd | Scalar::S5time => "UINT",
        Scalar::Lbcd | Scalar::Tod => "UDINT",
        _ => "",
    };
    if !instead.is_empty() {
        let mut wrong = fault("O0206", format!("OPC UA has no type {data_type}"), 0..address.len());
        wrong.type_label = Some("only in a controller's own memory".into());
        wrong.help = format!("write type = \"{instead}\", which servers send instead");
        return Err(wrong);
    }
    Ok(Address { place: canonical.clone(), canonical })
}

/// Checks that `[opcua.namespaces]` has the alias of an address.
///
/// # Errors
/// [`AddressFault`], code `O0210`, at the alias.
pub(crate) fn check_alias(address: &str, namespaces: &BTreeMap<String, String>) -> Result<(), AddressFault> {
    let Ok(NodeAddress { alias: Some(alias), .. }) = NodeAddress::parse(address) else { return Ok(()) };
    if namespaces.contains_key(&alias) {
        return Ok(());
    }
    // Behind `ns=`.
    let mut wrong = fault("O0210", format!("namespace `{alias}` is not declared"), 3..3 + alias.len());
    let near = namespaces.keys().map(|known| (edits(&alias, known), known)).min();
    wrong.help = match near {
        None => format!("add [opcua.namespaces] with {alias} = \"<namespace URI>\""),
        Some((edits, known)) if edits <= 2 && edits < alias.len() => format!("did you mean ns={known}?"),
        Some(_) => {
            let known: Vec<_> = namespaces.keys().map(String::as_str).collect();
            format!("[opcua.namespaces] has: {}", known.join(", "))
        }
    };
    Err(wrong)
}

/// Letters to be inserted, left out or replaced to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!left.eq_ignore_ascii_case(&right));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// OPC UA ids cannot be counted on: always a fault, `O0207`.
pub(crate) fn no_shift(address: &str) -> AddressFault {
    let mut wrong =
        fault("O0207", "node ids cannot be counted on, so `repeat` has no stride", 0..address.len());
    wrong.help = "write one line per tag, or put the counter into the id as a parameter".into();
    wrong
}

fn fault(code: &'static str, message: impl Into<String>, span: Range<usize>) -> AddressFault {
    AddressFault {
        code,
        message: message.into(),
        span,
        label: String::new(),
        type_label: None,
        help: "write ns=<alias>;s=<text>, where [opcua.namespaces] has <alias> = \"<namespace URI>\"".into(),
    }
}

/// The alias, and where the identifier starts.
fn namespace(address: &str) -> Result<(Option<&str>, usize), AddressFault> {
    if let Some(rest) = address.strip_prefix("nsu=") {
        let end = 4 + rest.find(';').unwrap_or(rest.len());
        let mut wrong = fault("O0205", "the namespace URI does not belong into the address", 0..end);
        wrong.help =
            format!("write [opcua.namespaces] with plc = \"{}\", and ns=plc; here", &address[4..end]);
        return Err(wrong);
    }
    let Some(rest) = address.strip_prefix("ns=") else { return Ok((None, 0)) };
    let Some(length) = rest.find(';') else {
        let mut wrong = fault("O0201", "there is no identifier after the namespace", 0..address.len());
        wrong.label = "add ;s=… or ;i=…".into();
        return Err(wrong);
    };
    let alias = &rest[..length];
    let span = 3..3 + length;
    if !alias.is_empty() && alias.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(numeric(address, alias, span));
    }
    let mut bytes = alias.bytes();
    let starts_well = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if !starts_well || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        let mut wrong = fault("O0203", format!("`{alias}` is no name for a namespace"), span);
        wrong.label = "letters, digits, _ and -, the first a letter".into();
        return Err(wrong);
    }
    Ok((Some(alias), 4 + length))
}

/// The path of a field, and where the identifier starts.
fn field(address: &str, start: usize) -> Result<(Option<&str>, usize), AddressFault> {
    let Some(rest) = address[start..].strip_prefix(FIELD) else { return Ok((None, start)) };
    let begin = start + FIELD.len();
    let length = rest.find(';').unwrap_or(rest.len());
    let path = &rest[..length];
    let steps_are_named = path.split('.').all(|step| !step.is_empty() && step.trim() == step);
    if path.len() > MAX_FIELD_BYTES || !steps_are_named || path.chars().any(char::is_control) {
        let mut wrong = fault("O0208", "this is no path to a field", begin..begin + length);
        wrong.help =
            "write the names as the server has them, with a point between a structure and its field \
                      and the number of an element in brackets, from 0: field=Zones[2].Temp;"
                .into();
        return Err(wrong);
    }
    if length == rest.len() {
        let mut wrong = fault("O0201", "there is no identifier after the field", start..address.len());
        wrong.label = "add ;s=… or ;i=…".into();
        return Err(wrong);
    }
    Ok((Some(path), begin + length + 1))
}

/// The address of a field of the structure at `address`.
pub fn with_field(address: &str, path: &str) -> String {
    let start = namespace(address).map_or(0, |(_, start)| start);
    format!("{}{FIELD}{path};{}", &address[..start], &address[start..])
}

/// What is probably not meant: the field behind the identifier, of which it would be a part.
pub(crate) fn doubt(address: &str) -> Option<AddressFault> {
    let NodeAddress { field: None, identifier: Identifier::String(text), .. } =
        NodeAddress::parse(address).ok()?
    else {
        return None;
    };
    let (node, path) = text.as_ref().rsplit_once(";field=")?;
    let begin = address.len() - path.len() - ";field=".len();
    let mut wrong = fault("O0209", "the field is taken for a part of the id", begin..address.len());
    let (_, start) = namespace(address).ok()?;
    wrong.help = format!("write it before the id: {}{FIELD}{path};s={node}", &address[..start]);
    Some(wrong)
}

fn numeric(address: &str, index: &str, span: Range<usize>) -> AddressFault {
    let mut wrong = fault("O0202", "the namespace is given by its index", span.clone());
    wrong.label = "may mean another namespace after the server's next start".into();
    wrong.help = if index.bytes().all(|byte| byte == b'0') {
        format!("namespace 0 is the standard's own: write {}", &address[span.end + 1..])
    } else {
        format!(
            "look up what index {index} is in the server's NamespaceArray, write that URI as \
             [opcua.namespaces] plc = \"<URI>\", and ns=plc{} here",
            &address[span.end..]
        )
    };
    wrong
}

fn identifier(address: &str, start: usize) -> Result<Identifier, AddressFault> {
    let text = &address[start..];
    let whole = start..address.len();
    let Some((kind, value)) = text.split_once('=').filter(|(kind, _)| matches!(*kind, "i" | "s" | "g" | "b"))
    else {
        let mut wrong = fault("O0201", "this is not a node id", whole);
        wrong.label = "i=, s=, g= or b= is missing".into();
        return Err(wrong);
    };
    let bad = |what: &str| {
        let mut wrong = fault("O0204", what, start + 2..address.len().max(start + 2));
        wrong.help = match kind {
            "i" => "i= takes a whole number from 0 to 4294967295",
            "s" => "s= takes any text up to 4096 bytes, exactly as the server spells it",
            "g" => "g= takes a GUID such as 72962b91-fa75-4ae6-8d28-b404dc7daf63",
            _ => "b= takes base64",
        }
        .into();
        wrong
    };
    match kind {
        "i" => match value.parse::<u32>() {
            Ok(number) if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Identifier::from(number)),
            _ => Err(bad("the identifier is not a number")),
        },
        "g" => value
            .parse::<Guid>()
            .ok()
            .filter(|_| value.len() == 36)
            .map(Identifier::from)
            .ok_or_else(|| bad("the identifier is not a GUID")),
        "b" => ByteString::from_base64(value)
            .filter(|bytes| !bytes.is_null_or_empty() && bytes.len() <= MAX_IDENTIFIER_BYTES)
            .map(Identifier::from)
            .ok_or_else(|| bad("the identifier is not base64")),
        _ if value.is_empty() => Err(bad("the identifier is empty")),
        _ if value.len() > MAX_IDENTIFIER_BYTES => Err(bad("the identifier is too long")),
        _ => Ok(Identifier::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: DataType = DataType::single(Scalar::Real);

    #[test]
    fn canonical_spellings_stay() {
        for address in [
            r#"ns=plc;s="DB_Filler"."rTankLevel""#,
            "ns=mach;i=6001",
            "i=2266",
            "s=a;b=c",
            "ns=plc;field=Zones[2].Temp;s=\"DB\".\"Status\"",
            "field=Low;i=2368",
            "ns=a_b-2;g=72962b91-fa75-4ae6-8d28-b404dc7daf63",
            "ns=plc;b=M/RbKBsRVkePCePcx24oRA==",
        ] {
            assert_eq!(check(address, REAL).map(|a| a.canonical).as_deref(), Ok(address));
        }
        assert_eq!(check("i=002266", REAL).unwrap().canonical, "i=2266");
        let upper = "ns=p;g=72962B91-FA75-4AE6-8D28-B404DC7DAF63";
        assert_eq!(check(upper, REAL).unwrap().place, upper.to_lowercase());
    }

    #[test]
    fn faults_point_at_their_place() {
        for (address, code, span) in [
            ("ns=3;s=Level", "O0202", 3..4),
            ("ns=0;i=2258", "O0202", 3..4),
            ("ns=3x;s=Level", "O0203", 3..5),
            ("ns=;s=Level", "O0203", 3..3),
            ("ns=plc", "O0201", 0..6),
            ("ns=plc;Level", "O0201", 7..12),
            ("Level", "O0201", 0..5),
            ("", "O0201", 0..0),
            ("ns=plc;i=-1", "O0204", 9..11),
            ("ns=plc;i=+1", "O0204", 9..11),
            ("ns=plc;i=4294967296", "O0204", 9..19),
            ("ns=plc;s=", "O0204", 9..9),
            ("ns=plc;g=7296", "O0204", 9..13),
            ("ns=plc;b=*", "O0204", 9..10),
            ("nsu=http://x.org/;s=Level", "O0205", 0..17),
            ("ns=plc;field=;s=Level", "O0208", 13..13),
            ("ns=plc;field=a..b;s=Level", "O0208", 13..17),
            ("ns=plc;field= a;s=Level", "O0208", 13..15),
            ("ns=plc;field=Speed", "O0201", 7..18),
            ("ns=plc;field=Speed;Level", "O0201", 19..24),
        ] {
            let fault = check(address, REAL).unwrap_err();
            assert_eq!((fault.code, fault.span), (code, span), "{address}");
            assert!(!fault.help.is_empty());
        }
    }

    #[test]
    fn a_field_behind_the_id_is_doubted() {
        let fault = doubt("ns=plc;s=Press.Status;field=Speed").expect("doubted");
        assert_eq!((fault.code, fault.span), ("O0209", 21..33));
        assert_eq!(fault.help, "write it before the id: ns=plc;field=Speed;s=Press.Status");
        assert_eq!(doubt("ns=plc;field=Speed;s=Press.Status"), None);
        assert_eq!(doubt("ns=plc;s=Press.Status"), None);
    }

    #[test]
    fn a_numeric_namespace_prints_the_fix() {
        let fault = check("ns=3;s=Level", REAL).unwrap_err();
        assert!(
            fault.help.contains("[opcua.namespaces]") && fault.help.contains("ns=plc;s=Level"),
            "{fault:?}"
        );
        assert!(check("ns=0;i=2258", REAL).unwrap_err().help.ends_with("write i=2258"));
    }

    #[test]
    fn an_unknown_namespace_is_marked_and_the_nearest_proposed() {
        let table = |names: &[&str]| names.iter().map(|name| ((*name).into(), "urn:x".into())).collect();
        let help = |names: &[&str]| check_alias("ns=plx;s=Level", &table(names)).unwrap_err().help;
        assert_eq!(check_alias("ns=plc;s=Level", &table(&["plc"])), Ok(()));
        assert_eq!(check_alias("i=2258", &table(&[])), Ok(()));
        assert_eq!(check_alias("ns=plx;s=Level", &table(&["plc"])).unwrap_err().span, 3..6);
        assert_eq!(help(&["mach", "plc"]), "did you mean ns=plc?");
        assert_eq!(help(&["machinery"]), "[opcua.namespaces] has: machinery");
        assert!(help(&[]).starts_with("add [opcua.namespaces]"));
    }

    #[test]
    fn dtl_is_refused_at_the_type() {
        let fault = check("i=1", DataType::single(Scalar::Dtl)).unwrap_err();
        assert_eq!(fault.code, "O0206");
        assert!(fault.type_label.is_some());
    }
}
