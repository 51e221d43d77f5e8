//! Fields of structures.
//!
//! A value that is a structure comes as a row of bytes without names (Part 6, 5.2.6). What they
//! mean the server says in the attribute DataTypeDefinition of the value's type (Part 3, 5.8.3),
//! which is read once for each connection. The library has a decoder of its own, which is not used:
//! what it cannot decode costs the whole message, and with it the connection.

mod decode;
mod load;

use opcua::types::{NodeId, Variant, VariantScalarTypeId};

pub(crate) use decode::{Decoded, decode, leaf};
pub(crate) use load::load;

/// The structures of a server that its tags need.
#[derive(Debug, Default)]
pub(crate) struct Structures(pub(crate) Vec<Structure>);

/// One type.
#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) form: Form,
    pub(crate) fields: Vec<Field>,
    /// Id by which its bytes are marked; null when the server does not say it.
    pub(crate) encoding: NodeId,
    /// Its own id, with which some servers mark them.
    pub(crate) id: NodeId,
}

/// What stands before the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Plain,
    /// A mask of the optional fields that are there.
    Optional,
    /// The number of the only field that is there, from 1; 0 is none.
    Union,
    /// It could not be made out: nothing can be read.
    Unknown,
}

/// One field.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Dimensions; 0 is a single value.
    pub(crate) dimensions: u32,
    pub(crate) optional: bool,
}

/// What one element of a field is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// A built-in type (Part 6, 5.1.2).
    Simple(VariantScalarTypeId),
    /// Position in [`Structures`].
    Structure(usize),
}

/// One step from a structure to what is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field, by its position.
    Field(usize),
    /// An element of an array, from 0.
    Element(usize),
}

/// Names listed in a message.
const NAMES_TOLD: usize = 20;

impl Structures {
    /// The way to a field of structure number `root`, as in `Motor.Zones[2].Temp`.
    ///
    /// A name may itself have a point or a bracket in it: the longest name that fits is taken.
    ///
    /// # Errors
    /// In words: there is no such field, or it is no single value.
    pub(crate) fn find(&self, root: usize, path: &str) -> Result<Vec<Step>, String> {
        // The value as a whole may be an array, which only the value itself tells.
        let (mut kind, mut is_array, mut at_root) = (Kind::Structure(root), false, true);
        let (mut steps, mut rest) = (Vec::new(), path);
        while !rest.is_empty() {
            let done = &path[..path.len() - rest.len()];
            if let Some((number, behind)) = element(rest).filter(|_| is_array || at_root) {
                steps.push(Step::Element(number));
                (is_array, at_root) = (false, false);
                rest = behind;
                continue;
            }
            if is_array {
                return Err(format!("`{done}` is an array: write {done}[0] for its first element"));
            }
            let Kind::Structure(number) = kind else {
                return Err(format!("`{done}` is a single value and has no fields"));
            };
            rest = rest.strip_prefix('.').filter(|_| !steps.is_empty()).unwrap_or(rest);
            let fields = &self.0[number].fields;
            let fitting = fields.iter().enumerate().filter(|(_, field)| begins(rest, &field.name));
            let Some((position, field)) = fitting.max_by_key(|(_, field)| field.name.len()) else {
                let names: Vec<&str> = fields.iter().take(NAMES_TOLD).map(|field| &*field.name).collect();
                return Err(format!("there is no field `{rest}`; there are: {}", names.join(", ")));
            };
            steps.push(Step::Field(position));
            (kind, is_array, at_root) = (field.kind, field.dimensions > 0, false);
            rest = &rest[field.name.len()..];
        }
        match kind {
            Kind::Simple(_) => Ok(steps),
            Kind::Structure(number) => {
                let fields = self.0[number].fields.iter().take(NAMES_TOLD);
                let names: Vec<String> = fields
                    .map(|field| format!("{path}{}.{}", if is_array { "[0]" } else { "" }, field.name))
                    .collect();
                Err(format!("`{path}` has fields of its own; write one of: {}", names.join(", ")))
            }
        }
    }
}

impl Structures {
    /// All single values and arrays of them in a structure, with the paths to them, at most `max`.
    pub(crate) fn leaves<'a>(
        &self,
        root: usize,
        decoded: &'a Decoded,
        max: usize,
    ) -> Vec<(String, &'a Variant)> {
        let mut found = Vec::new();
        self.walk(Kind::Structure(root), decoded, String::new(), max, &mut found);
        found
    }

    fn walk<'a>(
        &self,
        kind: Kind,
        decoded: &'a Decoded,
        path: String,
        max: usize,
        found: &mut Vec<(String, &'a Variant)>,
    ) {
        match (decoded, kind) {
            _ if found.len() >= max => {}
            (Decoded::Value(value), _) => found.push((path, value)),
            (Decoded::Array(elements), _) => {
                for (number, element) in elements.iter().enumerate() {
                    self.walk(kind, element, format!("{path}[{number}]"), max, found);
                }
            }
            (Decoded::Structure(values), Kind::Structure(number)) => {
                let point = if path.is_empty() { "" } else { "." };
                for (field, value) in self.0[number].fields.iter().zip(values) {
                    self.walk(field.kind, value, format!("{path}{point}{}", field.name), max, found);
                }
            }
            (Decoded::Structure(_) | Decoded::Absent, _) => {}
        }
    }
}

/// True when `text` begins with this name and another step or nothing follows.
fn begins(text: &str, name: &str) -> bool {
    let behind = text.strip_prefix(name).filter(|_| !name.is_empty());
    behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(['.', '[']))
}

/// The number of `[2]…`, and what follows.
fn element(text: &str) -> Option<(usize, &str)> {
    let (number, behind) = text.strip_prefix('[')?.split_once(']')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((number.parse().ok().filter(|_| is_number)?, behind))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn field(name: &str, kind: Kind, dimensions: u32, optional: bool) -> Field {
        Field { name: name.into(), kind, dimensions, optional }
    }

    pub(crate) fn structure(form: Form, fields: Vec<Field>) -> Structure {
        Structure { form, fields, encoding: NodeId::new(2, 11u32), id: NodeId::new(2, 10u32) }
    }

    fn press() -> Structures {
        let real = Kind::Simple(VariantScalarTypeId::Float);
        let zone = structure(Form::Plain, vec![field("Temp", real, 0, false)]);
        let fields = vec![
            field("Speed", real, 0, false),
            field("Speed.Set", real, 0, false),
            field("Profile", real, 1, false),
            field("Zones", Kind::Structure(1), 1, false),
            field("Die", Kind::Structure(1), 0, false),
        ];
        Structures(vec![structure(Form::Plain, fields), zone])
    }

    #[test]
    fn paths_lead_to_fields() {
        use Step::{Element, Field};
        let press = press();
        for (path, steps) in [
            ("Speed", vec![Field(0)]),
            ("Speed.Set", vec![Field(1)]),
            ("Profile", vec![Field(2)]),
            ("Profile[3]", vec![Field(2), Element(3)]),
            ("Zones[2].Temp", vec![Field(3), Element(2), Field(0)]),
            ("Die.Temp", vec![Field(4), Field(0)]),
            ("[7].Die.Temp", vec![Element(7), Field(4), Field(0)]),
        ] {
            assert_eq!(press.find(0, path), Ok(steps), "{path}");
        }
    }

    #[test]
    fn wrong_paths_say_what_there_is() {
        let press = press();
        let told = |path| press.find(0, path).unwrap_err();
        assert_eq!(
            told("Sped"),
            "there is no field `Sped`; there are: Speed, Speed.Set, Profile, Zones, Die"
        );
        assert_eq!(told("Speed.Max"), "`Speed` is a single value and has no fields");
        assert_eq!(told("Die"), "`Die` has fields of its own; write one of: Die.Temp");
        assert_eq!(told("Zones"), "`Zones` has fields of its own; write one of: Zones[0].Temp");
        assert_eq!(told("Zones.Temp"), "`Zones` is an array: write Zones[0] for its first element");
        assert!(told("Speed[1]").contains("single value"), "{}", told("Speed[1]"));
        assert!(told("Zones[99999999999999999999].Temp").contains("is an array"));
    }
}
