//! How much an ONNX file unpacks to, counted before it is unpacked.
//!
//! Two bytes of a protobuf can become a kilobyte in memory: an empty message is a whole structure.
//! So the records of a file (fields with their values) are counted along its own lengths, and one
//! with too many is never decoded. Field numbers are those of `onnx.proto`.

/// Most records of a file. A network of 100 nodes has about 3,000.
pub const RECORDS_MAX: usize = 65_536;
/// Deepest message in a message. A tensor in an attribute of a node is the fourth.
const DEPTH_MAX: usize = 12;

/// Messages that hold others, or lists that grow when they are unpacked.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    /// Anything else in which a field may be a message.
    Any,
    /// Holds none.
    Leaf,
}

/// What a field holds, if it is a message.
fn held(message: Message, field: u64) -> Option<Message> {
    Some(match (message, field) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) => Message::Graph,
        (Message::Graph, 1) => Message::Node,
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) => Message::Tensor,
        (Message::Graph, 11..=13) => Message::Value,
        (Message::Node, 5) => Message::Attribute,
        (Message::Value, 2) => Message::Any,
        (Message::Model, 20 | 25) | (Message::Graph, 14 | 15) | (Message::Attribute, 14 | 15 | 22 | 23) => {
            Message::Any
        }
        (Message::Model, 8 | 14) | (Message::Tensor, 3 | 13) => Message::Leaf,
        _ => return None,
    })
}

/// Numbers in a packed list, eight bytes each once unpacked, from one byte on.
fn packed(message: Message, field: u64) -> bool {
    matches!((message, field), (Message::Attribute, 8) | (Message::Tensor, 1 | 5 | 7 | 11))
}

/// Counts the records of a file.
///
/// # Errors
/// In words, when it is damaged or holds more than [`RECORDS_MAX`].
pub(super) fn count(file: &[u8]) -> Result<usize, &'static str> {
    let mut records = 0;
    walk(file, Message::Model, 0, &mut records)?;
    Ok(records)
}

const DAMAGED: &str = "it is damaged or no ONNX file";

fn walk(mut rest: &[u8], message: Message, depth: usize, records: &mut usize) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("messages stand in messages too deep");
    }
    while !rest.is_empty() {
        *records += 1;
        if *records > RECORDS_MAX {
            return Err("it is too large: more than 65,536 records");
        }
        let key = varint(&mut rest)?;
        let field = key >> 3;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => drop(take(&mut rest, 8)?),
            5 => drop(take(&mut rest, 4)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| DAMAGED)?;
                let content = take(&mut rest, length)?;
                match held(message, field) {
                    Some(inner) => walk(content, inner, depth + 1, records)?,
                    // Of a type only small things are known; what is no message there is a short text.
                    None if matches!(message, Message::Any) => {
                        let mut inner = *records;
                        if walk(content, Message::Any, depth + 1, &mut inner).is_ok() {
                            *records = inner;
                        } else if inner > RECORDS_MAX {
                            return Err("it is too large: more than 65,536 records");
                        }
                    }
                    None if packed(message, field) => *records += length / 8,
                    None => {}
                }
            }
            _ => return Err(DAMAGED),
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (content, after) = rest.split_at_checked(length).ok_or(DAMAGED)?;
    *rest = after;
    Ok(content)
}

fn varint(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DAMAGED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

    use super::*;

    #[test]
    fn a_shipped_model_is_small_and_a_bomb_is_not_unpacked() {
        let shipped = include_bytes!("../../models/press-wear/model.onnx");
        assert!(count(shipped).is_ok_and(|records| records < 300), "{:?}", count(shipped));
        // 200,000 empty attributes: 400 kB that would become 80 MB.
        let attribute = vec![AttributeProto::default(); 200_000];
        let node = vec![NodeProto { attribute, ..NodeProto::default() }];
        let graph = Some(GraphProto { node, ..GraphProto::default() });
        let bomb = ModelProto { graph, ..ModelProto::default() }.encode_to_vec();
        assert_eq!(count(&bomb), Err("it is too large: more than 65,536 records"));
        // A graph in an attribute in a graph, and so on.
        let mut nested = GraphProto::default();
        for _ in 0..20 {
            let attribute = AttributeProto { g: Some(nested), ..AttributeProto::default() };
            let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
            nested = GraphProto { node: vec![node], ..GraphProto::default() };
        }
        let nested = ModelProto { graph: Some(nested), ..ModelProto::default() }.encode_to_vec();
        assert_eq!(count(&nested), Err("messages stand in messages too deep"));
    }

    proptest! {
        /// What is counted is what is there; whatever the bytes are, it ends.
        #[test]
        fn any_bytes_are_counted_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(records) = count(&bytes) {
                prop_assert!(records <= bytes.len());
            }
        }
    }
}
