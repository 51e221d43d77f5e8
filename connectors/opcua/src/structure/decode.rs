//! From the bytes of a structure to its fields.
//!
//! Bytes and descriptions come from outside: depth and number of values are bounded, each length
//! is compared with what is there, and bytes that are left over are a fault like missing ones,
//! because both mean that the description is not theirs.

use std::io::Read;
use std::sync::LazyLock;

use forebay_connector::DecodeFault;
use opcua::types::{
    Array, BinaryDecodable, ByteStringBody, Context, ContextOwned, DecodingOptions, ExtensionObject, NodeId,
    Variant, VariantScalarTypeId,
};

use super::{Field, Form, Kind, Step, Structure, Structures};
use crate::wary;

/// Structures within structures.
const DEPTH_MAX: usize = 16;
/// Values in one structure, those of arrays and of structures within it included.
const VALUES_MAX: usize = 1 << 16;
/// Bits of a mask of optional fields (Part 6, 5.2.7).
const MASK_BITS: usize = 32;
/// Bit of an encoding byte that says that an array follows (Part 6, 5.2.2.16).
const ARRAY: u8 = 0x80;

/// For the built-in types; its options bound texts and arrays.
static CONTEXT: LazyLock<ContextOwned> = LazyLock::new(|| {
    let options = DecodingOptions {
        max_string_length: 1 << 16,
        max_byte_string_length: 1 << 16,
        max_array_length: VALUES_MAX,
        ..DecodingOptions::default()
    };
    ContextOwned::new_default(Default::default(), options)
});

/// A structure, or a part of one.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// An optional field that was left out, or not the chosen one.
    Absent,
    /// A single value or an array of single values.
    Value(Variant),
    /// Fields, by their position.
    Structure(Vec<Decoded>),
    /// Structures.
    Array(Vec<Decoded>),
}

/// Decodes a value that is structure number `root`, or an array of it.
///
/// # Errors
/// [`DecodeFault`] when it is another one, or damaged.
pub(crate) fn decode(structures: &Structures, root: usize, value: &Variant) -> Result<Decoded, DecodeFault> {
    let mut left = Left { values: VALUES_MAX, memory: wary::MEMORY_MAX };
    match value {
        Variant::ExtensionObject(object) => body(structures, root, object, &mut left),
        Variant::Array(array) => {
            let each = |value: &Variant| match value {
                Variant::ExtensionObject(object) => body(structures, root, object, &mut left),
                _ => Err(DecodeFault::Layout),
            };
            Ok(Decoded::Array(array.values.iter().map(each).collect::<Result<_, _>>()?))
        }
        _ => Err(DecodeFault::Layout),
    }
}

/// What a path leads to; `None` where nothing is: a field that was left out, or behind the end of
/// an array.
pub(crate) fn leaf(decoded: &Decoded, steps: &[Step]) -> Option<Variant> {
    let (mut at, mut element) = (decoded, None);
    for step in steps {
        match (at, *step) {
            (Decoded::Structure(parts), Step::Field(place))
            | (Decoded::Array(parts), Step::Element(place)) => {
                at = parts.get(place)?;
            }
            (Decoded::Value(Variant::Array(array)), Step::Element(place)) => {
                element = Some(array.values.get(place)?);
            }
            _ => return None,
        }
    }
    match (element, at) {
        (Some(element), _) => Some(element.clone()),
        (None, Decoded::Value(value)) => Some(value.clone()),
        (None, _) => None,
    }
}

fn body(
    structures: &Structures,
    root: usize,
    object: &ExtensionObject,
    left: &mut Left,
) -> Result<Decoded, DecodeFault> {
    let structure = structures.0.get(root).ok_or(DecodeFault::Layout)?;
    let own;
    let (bytes, mark): (&[u8], NodeId) = match (object.inner_as::<ByteStringBody>(), &object.body) {
        (Some(raw), _) => (raw.raw_body().value.as_deref().unwrap_or_default(), raw.encoding_id().clone()),
        // A structure of the standard, which the library has decoded already.
        (None, Some(known)) => {
            let mut bytes = Vec::new();
            let context = CONTEXT.context();
            known.encode_binary(&mut bytes, &context).map_err(|_| DecodeFault::Layout)?;
            own = bytes;
            (&own, known.binary_type_id().node_id)
        }
        (None, None) => return Ok(Decoded::Absent),
    };
    // A structure derived from the declared one has other fields.
    if !structure.encoding.is_null() && mark != structure.encoding && mark != structure.id {
        return Err(DecodeFault::Layout);
    }
    let mut reader = Reader { structures, bytes, context: CONTEXT.context(), left };
    let decoded = reader.structure(structure, DEPTH_MAX)?;
    if reader.bytes.is_empty() { Ok(decoded) } else { Err(DecodeFault::Layout) }
}

/// What may still come.
struct Left {
    values: usize,
    /// In bytes.
    memory: usize,
}

struct Reader<'a> {
    structures: &'a Structures,
    bytes: &'a [u8],
    context: Context<'static>,
    left: &'a mut Left,
}

impl Reader<'_> {
    fn structure(&mut self, structure: &Structure, depth: usize) -> Result<Decoded, DecodeFault> {
        let depth = depth.checked_sub(1).ok_or(DecodeFault::Layout)?;
        self.count(1)?;
        let mut fields = Vec::with_capacity(structure.fields.len());
        match structure.form {
            Form::Unknown => return Err(DecodeFault::Layout),
            Form::Plain => {
                for field in &structure.fields {
                    fields.push(self.field(field, depth)?);
                }
            }
            Form::Optional => {
                let mask = self.u32()?;
                let mut optional = 0..MASK_BITS;
                for field in &structure.fields {
                    let bit =
                        if field.optional { Some(optional.next().ok_or(DecodeFault::Layout)?) } else { None };
                    let there = bit.is_none_or(|bit| mask >> bit & 1 == 1);
                    fields.push(if there { self.field(field, depth)? } else { self.absent()? });
                }
            }
            Form::Union => {
                let chosen = self.u32()? as usize;
                if chosen > structure.fields.len() {
                    return Err(DecodeFault::Layout);
                }
                for (number, field) in (1..).zip(&structure.fields) {
                    fields.push(if number == chosen { self.field(field, depth)? } else { self.absent()? });
                }
            }
        }
        Ok(Decoded::Structure(fields))
    }

    fn field(&mut self, field: &Field, depth: usize) -> Result<Decoded, DecodeFault> {
        match (field.dimensions, field.kind) {
            (0, Kind::Simple(kind)) => self.simple(kind).map(Decoded::Value),
            (0, Kind::Structure(number)) => self.nested(number, depth),
            (1, Kind::Simple(kind)) => {
                let array = self.variant(kind.encoding_mask() | ARRAY)?;
                if let Variant::Array(array) = &array {
                    self.count(array.values.len())?;
                }
                Ok(Decoded::Value(array))
            }
            (dimensions, kind) => {
                let length = if dimensions == 1 { self.length()? } else { self.lengths(dimensions)? };
                self.elements(kind, length, depth)
            }
        }
    }

    /// A field that is not there takes its room all the same.
    fn absent(&mut self) -> Result<Decoded, DecodeFault> {
        self.count(1)?;
        Ok(Decoded::Absent)
    }

    fn nested(&mut self, number: usize, depth: usize) -> Result<Decoded, DecodeFault> {
        let structures = self.structures;
        self.structure(structures.0.get(number).ok_or(DecodeFault::Layout)?, depth)
    }

    fn elements(&mut self, kind: Kind, length: usize, depth: usize) -> Result<Decoded, DecodeFault> {
        if length > self.left.values {
            return Err(DecodeFault::Layout);
        }
        match kind {
            Kind::Structure(number) => {
                let each = (0..length).map(|_| self.nested(number, depth));
                Ok(Decoded::Array(each.collect::<Result<_, _>>()?))
            }
            Kind::Simple(kind) => {
                let values = (0..length).map(|_| self.simple(kind)).collect::<Result<Vec<_>, _>>()?;
                let array = Array::new(kind, values).map_err(|_| DecodeFault::Layout)?;
                Ok(Decoded::Value(Variant::Array(Box::new(array))))
            }
        }
    }

    fn simple(&mut self, kind: VariantScalarTypeId) -> Result<Variant, DecodeFault> {
        self.count(1)?;
        self.decode((kind != VariantScalarTypeId::Variant).then(|| kind.encoding_mask()))
    }

    /// A value without its encoding byte, which is the only thing that structures leave out.
    fn variant(&mut self, encoding: u8) -> Result<Variant, DecodeFault> {
        self.decode(Some(encoding))
    }

    /// A value with its encoding byte, or with this one in front of it.
    fn decode(&mut self, encoding: Option<u8>) -> Result<Variant, DecodeFault> {
        let context = &self.context;
        // The library has not looked into these bytes before: there may be values in values.
        let trial = wary::check(encoding, self.bytes, |stream| Variant::decode(stream, context).is_ok());
        let taken = trial.map_err(|_| DecodeFault::Layout)?;
        self.left.memory = self.left.memory.checked_sub(taken).ok_or(DecodeFault::Layout)?;
        let head = encoding.as_slice();
        Variant::decode(&mut head.chain(&mut self.bytes), context).map_err(|_| DecodeFault::Layout)
    }

    fn u32(&mut self) -> Result<u32, DecodeFault> {
        u32::decode(&mut self.bytes, &self.context).map_err(|_| DecodeFault::Layout)
    }

    /// A length; -1 is no array at all, which is an empty one here (Part 6, 5.2.5).
    fn length(&mut self) -> Result<usize, DecodeFault> {
        let length = self.u32()?;
        if length == u32::MAX { Ok(0) } else { Ok(length as usize) }
    }

    /// The product of as many lengths as there are dimensions.
    fn lengths(&mut self, dimensions: u32) -> Result<usize, DecodeFault> {
        if self.length()? != dimensions as usize {
            return Err(DecodeFault::Layout);
        }
        let mut product = 1usize;
        for _ in 0..dimensions {
            product = product.checked_mul(self.length()?).ok_or(DecodeFault::Layout)?;
        }
        Ok(product)
    }

    fn count(&mut self, values: usize) -> Result<(), DecodeFault> {
        self.left.values = self.left.values.checked_sub(values).ok_or(DecodeFault::Layout)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::{BinaryEncodable, ByteString};
    use proptest::prelude::*;

    use super::super::tests::{field, structure};
    use super::*;

    const I32: Kind = Kind::Simple(VariantScalarTypeId::Int32);
    const TEXT: Kind = Kind::Simple(VariantScalarTypeId::String);

    fn object(bytes: Vec<u8>) -> Variant {
        let raw = ByteStringBody::new(ByteString::from(bytes), NodeId::new(2, 11u32));
        Variant::ExtensionObject(ExtensionObject::new(raw))
    }

    /// A value with its bytes as Part 6, 5.2 says, written here a second time.
    fn write(value: &Decoded, kind: Kind, structures: &Structures, bytes: &mut Vec<u8>) {
        match (value, kind) {
            (Decoded::Value(Variant::Array(array)), Kind::Simple(_)) => {
                bytes.extend(i32::try_from(array.values.len()).expect("few").to_le_bytes());
                for value in &array.values {
                    write(&Decoded::Value(value.clone()), kind, structures, bytes);
                }
            }
            (Decoded::Value(Variant::Int32(number)), _) => bytes.extend(number.to_le_bytes()),
            (Decoded::Value(Variant::String(text)), _) => {
                bytes.extend(i32::try_from(text.as_ref().len()).expect("short").to_le_bytes());
                bytes.extend(text.as_ref().as_bytes());
            }
            (Decoded::Array(values), _) => {
                bytes.extend(i32::try_from(values.len()).expect("few").to_le_bytes());
                values.iter().for_each(|value| write(value, kind, structures, bytes));
            }
            (Decoded::Structure(values), Kind::Structure(number)) => {
                write_fields(values, number, structures, bytes);
            }
            other => panic!("not made here: {other:?}"),
        }
    }

    fn write_fields(values: &[Decoded], number: usize, structures: &Structures, bytes: &mut Vec<u8>) {
        let structure = &structures.0[number];
        let there = |value: &&(&Decoded, &Field)| *value.0 != Decoded::Absent;
        let pairs: Vec<_> = values.iter().zip(&structure.fields).collect();
        match structure.form {
            Form::Optional => {
                let optional = pairs.iter().filter(|(_, field)| field.optional);
                let mask = (0..).zip(optional).filter(|(_, pair)| there(pair)).map(|(bit, _)| 1u32 << bit);
                bytes.extend(mask.sum::<u32>().to_le_bytes());
            }
            Form::Union => {
                let chosen = pairs.iter().position(|pair| there(&pair)).map_or(0, |place| place + 1);
                bytes.extend(u32::try_from(chosen).expect("few").to_le_bytes());
            }
            _ => {}
        }
        for (value, field) in pairs.iter().filter(there) {
            write(value, field.kind, structures, bytes);
        }
    }

    /// What a field may hold.
    fn filling(field: &Field, structures: &[Structure]) -> BoxedStrategy<Decoded> {
        let one = match field.kind {
            Kind::Structure(number) => filled(&structures[number], structures),
            TEXT => "[a-z\u{e4}]{0,8}".prop_map(|text| Decoded::Value(Variant::from(text))).boxed(),
            Kind::Simple(_) => any::<i32>().prop_map(|number| Decoded::Value(Variant::from(number))).boxed(),
        };
        let value = match (field.dimensions, field.kind) {
            (0, _) => one,
            (_, Kind::Structure(_)) => proptest::collection::vec(one, 0..4).prop_map(Decoded::Array).boxed(),
            (_, Kind::Simple(kind)) => proptest::collection::vec(one, 1..4)
                .prop_map(move |values| {
                    let single = |value| match value {
                        Decoded::Value(value) => value,
                        other => panic!("{other:?}"),
                    };
                    let values: Vec<Variant> = values.into_iter().map(single).collect();
                    Decoded::Value(Variant::from(Array::new(kind, values).expect("of one type")))
                })
                .boxed(),
        };
        if field.optional {
            return prop_oneof![Just(()).prop_map(|()| Decoded::Absent), value].boxed();
        }
        value
    }

    fn filled(structure: &Structure, structures: &[Structure]) -> BoxedStrategy<Decoded> {
        let fields: Vec<_> = structure.fields.iter().map(|field| filling(field, structures)).collect();
        if structure.form != Form::Union {
            return fields.prop_map(Decoded::Structure).boxed();
        }
        let count = fields.len();
        (fields, 0..=count)
            .prop_map(|(fields, chosen)| {
                let only = (1..).zip(fields);
                let only = only.map(|(number, it)| if number == chosen { it } else { Decoded::Absent });
                Decoded::Structure(only.collect())
            })
            .boxed()
    }

    /// Some structures, of which each has only later ones in it; the first is the outermost.
    fn layouts() -> impl Strategy<Value = Vec<Structure>> {
        let form = prop_oneof![Just(Form::Plain), Just(Form::Optional), Just(Form::Union)];
        let field = (0usize..5, 0u32..2, any::<bool>());
        let one = (form, proptest::collection::vec(field, 1..5));
        proptest::collection::vec(one, 1..4).prop_map(|all| {
            let count = all.len();
            let made = all.into_iter().enumerate().map(|(number, (form, fields))| {
                let fields = fields.into_iter().enumerate().map(|(place, (kind, dimensions, optional))| {
                    let kind = match kind {
                        0 | 1 => I32,
                        2 => TEXT,
                        _ if number + 1 < count => Kind::Structure(number + 1),
                        _ => TEXT,
                    };
                    super::super::tests::field(
                        &format!("f{place}"),
                        kind,
                        dimensions,
                        optional && form == Form::Optional,
                    )
                });
                structure(form, fields.collect())
            });
            made.collect()
        })
    }

    fn layout_and_value() -> impl Strategy<Value = (Structures, Decoded)> {
        layouts().prop_flat_map(|structures| {
            let value = filled(&structures[0], &structures);
            value.prop_map(move |value| {
                let copy = |it: &Structure| structure(it.form, it.fields.clone());
                (Structures(structures.iter().map(copy).collect()), value)
            })
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_less_or_more((structures, value) in layout_and_value()) {
            let mut bytes = Vec::new();
            write(&value, Kind::Structure(0), &structures, &mut bytes);
            let read = decode(&structures, 0, &object(bytes.clone()));
            prop_assert_eq!(read.as_ref(), Ok(&value));
            let longer = [&bytes[..], &[0]].concat();
            prop_assert!(decode(&structures, 0, &object(longer)).is_err());
            if let Some((_, shorter)) = bytes.split_last() {
                // One that has lost its end may still be a whole one of another content, never the same.
                let read = decode(&structures, 0, &object(shorter.to_vec()));
                prop_assert_ne!(read.as_ref(), Ok(&value));
            }
        }

        #[test]
        fn any_bytes_end_in_a_value_or_a_fault(
            (structures, value) in layout_and_value(),
            noise in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
            other in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = Vec::new();
            write(&value, Kind::Structure(0), &structures, &mut bytes);
            for (place, byte) in noise {
                let length = bytes.len().max(1);
                if let Some(at) = bytes.get_mut(usize::from(place) % length) {
                    *at = byte;
                }
            }
            for bytes in [bytes, other] {
                if let Ok(read) = decode(&structures, 0, &object(bytes)) {
                    prop_assert!(matches!(read, Decoded::Structure(_)));
                }
            }
        }
    }

    #[test]
    fn fields_of_no_size_and_structures_in_themselves_are_bounded() {
        let empty = structure(Form::Plain, Vec::new());
        let many = structure(Form::Plain, vec![field("all", Kind::Structure(1), 1, false)]);
        let structures = Structures(vec![many, empty]);
        for (length, fits) in [(1000u32, true), (65_536, false), (u32::MAX - 1, false)] {
            assert_eq!(
                decode(&structures, 0, &object(length.to_le_bytes().to_vec())).is_ok(),
                fits,
                "{length}"
            );
        }
        let itself = structure(Form::Plain, vec![field("inner", Kind::Structure(0), 1, false)]);
        let one_each = [1u8, 0, 0, 0].repeat(1000);
        assert!(decode(&Structures(vec![itself]), 0, &object(one_each)).is_err());
        let unknown = structure(Form::Unknown, Vec::new());
        assert!(decode(&Structures(vec![unknown]), 0, &object(vec![0])).is_err());
    }

    #[test]
    fn a_union_takes_its_room_and_has_no_field_that_is_not_declared() {
        let union = |fields: usize| {
            structure(Form::Union, (0..fields).map(|_| field("a", I32, 0, false)).collect::<Vec<_>>())
        };
        let two = Structures(vec![union(2)]);
        let chosen = |number: u32| [number.to_le_bytes(), [7, 0, 0, 0]].concat();
        assert!(decode(&two, 0, &object(chosen(2))).is_ok());
        for number in [3, u32::MAX] {
            assert!(decode(&two, 0, &object(chosen(number))).is_err(), "{number}");
        }
        // 40 unions of 2,000 fields in which nothing is chosen are 160 bytes, and 80,000 fields.
        let array = structure(Form::Plain, vec![field("all", Kind::Structure(1), 1, false)]);
        let wide = Structures(vec![array, union(2000)]);
        let unions = |count: u32| object([&count.to_le_bytes()[..], &[0; 4].repeat(count as usize)].concat());
        assert!(decode(&wide, 0, &unions(30)).is_ok());
        assert!(decode(&wide, 0, &unions(40)).is_err());
    }

    #[test]
    fn values_within_values_are_bounded_where_the_library_does_not_count() {
        let of = |kind| Structures(vec![structure(Form::Plain, vec![field("a", kind, 0, false)])]);
        let any = of(Kind::Simple(VariantScalarTypeId::Variant));
        let diagnostics = of(Kind::Simple(VariantScalarTypeId::DiagnosticInfo));
        let values = |deep: usize| [[23, 1].repeat(deep), vec![1, 1]].concat();
        assert!(decode(&any, 0, &object(values(5))).is_ok());
        assert!(decode(&any, 0, &object(values(2_000_000))).is_err());
        assert!(decode(&diagnostics, 0, &object([vec![0x40; 5], vec![0]].concat())).is_ok());
        assert!(decode(&diagnostics, 0, &object([vec![0x40; 3_000_000], vec![0]].concat())).is_err());
        // An object that claims more than there is.
        let claims = [&[22, 1, 5, 7, 0, 2][..], &i32::MAX.to_le_bytes(), &[0; 9]].concat();
        assert!(decode(&any, 0, &object(claims)).is_err());
    }

    #[test]
    fn a_structure_of_another_type_is_none() {
        let structures = Structures(vec![structure(Form::Plain, vec![field("a", I32, 0, false)])]);
        let marked = |mark: u32| {
            let raw = ByteStringBody::new(ByteString::from(vec![7, 0, 0, 0]), NodeId::new(2, mark));
            decode(&structures, 0, &Variant::ExtensionObject(ExtensionObject::new(raw)))
        };
        // By its encoding, and by the type itself.
        for mark in [11, 10] {
            let read = marked(mark).expect("decoded");
            assert_eq!(leaf(&read, &[Step::Field(0)]), Some(Variant::Int32(7)));
        }
        assert!(marked(12).is_err());
        assert!(decode(&structures, 0, &Variant::Int32(7)).is_err());
    }

    #[test]
    fn arrays_of_structures_and_of_several_dimensions_are_read() {
        let matrix = structure(Form::Plain, vec![field("m", I32, 2, false)]);
        let structures = Structures(vec![matrix]);
        let mut bytes: Vec<u8> = [2i32, 2, 3].into_iter().flat_map(i32::to_le_bytes).collect();
        bytes.extend((1i32..=6).flat_map(i32::to_le_bytes));
        let all =
            Array::new(VariantScalarTypeId::ExtensionObject, vec![object(bytes.clone()), object(bytes)]);
        let read = decode(&structures, 0, &Variant::from(all.expect("objects"))).expect("decoded");
        assert_eq!(
            leaf(&read, &[Step::Element(1), Step::Field(0), Step::Element(5)]),
            Some(Variant::Int32(6))
        );
        assert_eq!(leaf(&read, &[Step::Element(2), Step::Field(0)]), None, "behind the end");
    }

    #[test]
    fn a_structure_that_the_library_knows_is_read_too() {
        let range = opcua::types::Range { low: -1.5, high: 60.0 };
        let double = Kind::Simple(VariantScalarTypeId::Double);
        let mut own =
            structure(Form::Plain, vec![field("Low", double, 0, false), field("High", double, 0, false)]);
        own.encoding = opcua::types::ObjectId::Range_Encoding_DefaultBinary.into();
        assert_eq!(range.byte_len(&CONTEXT.context()), 16);
        let value = Variant::ExtensionObject(ExtensionObject::from_message(range));
        let read = decode(&Structures(vec![own]), 0, &value).expect("decoded");
        assert_eq!(leaf(&read, &[Step::Field(1)]), Some(Variant::Double(60.0)));
    }
}
