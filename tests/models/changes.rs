//! Models changed as damage and malice would: in their bytes, and in what they say.

use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto};

/// Numbers that mean something to whoever reads sizes.
const NUMBERS: [i64; 12] = [0, 1, -1, 2, 3, 7, 1 << 16, 1 << 22, 1 << 31, 1 << 40, i64::MAX, i64::MIN];

/// One of the models with a few changes.
pub fn changed(models: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let model = random.choice(models).expect("some");
    let Ok(mut proto) = ModelProto::decode(model.as_slice()) else { return bytes(model, random) };
    if random.u8(..4) == 0 {
        return bytes(model, random);
    }
    let other = ModelProto::decode(random.choice(models).expect("some").as_slice()).unwrap_or_default();
    for _ in 0..random.usize(1..4) {
        structure(&mut proto, &other, random);
    }
    proto.encode_to_vec()
}

/// Bytes overwritten, cut out, repeated.
fn bytes(model: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut model = model.to_vec();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=model.len());
        match random.u8(..5) {
            0 | 1 if at < model.len() => model[at] = random.u8(..),
            2 => drop(model.drain(at..model.len().min(at + random.usize(..20)))),
            3 => {
                let piece = model[at..model.len().min(at + random.usize(..100))].to_vec();
                model.splice(at..at, piece.repeat(random.usize(1..5)));
            }
            _ => model.truncate(at.max(model.len() / 2)),
        }
    }
    model
}

/// One change that leaves a file which can be read.
fn structure(model: &mut ModelProto, other: &ModelProto, random: &mut fastrand::Rng) {
    let Some(graph) = &mut model.graph else { return };
    let number = *random.choice(&NUMBERS).expect("some");
    let names: Vec<String> = graph.node.iter().flat_map(|node| &node.output).cloned().collect();
    let count = graph.node.len();
    let Some(node) = random.choice(&mut graph.node) else { return };
    match random.u8(..9) {
        // A size in a constant, in its header or in its numbers.
        0 => {
            let Some(tensor) = random.choice(&mut graph.initializer) else { return };
            if let Some(dim) = random.choice(&mut tensor.dims) {
                *dim = number;
            }
        }
        1 => {
            let Some(tensor) = random.choice(&mut graph.initializer) else { return };
            if tensor.data_type == 7 && tensor.raw_data.len() >= 8 {
                let at = random.usize(..tensor.raw_data.len() / 8) * 8;
                tensor.raw_data[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
        }
        2 => {
            let Some(attribute) = random.choice(&mut node.attribute) else { return };
            attribute.i = number;
            if let Some(value) = random.choice(&mut attribute.ints) {
                *value = number;
            }
        }
        // Another operator, or the attributes of another node.
        3 => {
            let nodes = other.graph.as_ref().map(|graph| graph.node.as_slice()).unwrap_or_default();
            let Some(from) = random.choice(nodes) else { return };
            node.op_type.clone_from(&from.op_type);
            if random.bool() {
                node.attribute.clone_from(&from.attribute);
            }
        }
        // Another wiring.
        4 => {
            let name = random.choice(&names).cloned().unwrap_or_default();
            if let Some(input) = random.choice(&mut node.input) {
                *input = name;
            }
        }
        5 => {
            let name =
                random.choice(&graph.initializer).map(|tensor| tensor.name.clone()).unwrap_or_default();
            node.input.push(name);
        }
        6 => drop(node.input.pop()),
        7 => {
            // The same node many times, each on what the one before makes.
            let pattern = node.clone();
            let mut before = pattern.output.first().cloned().unwrap_or_default();
            for index in 0..random.usize(1..60) {
                let output = format!("{before}+{index}");
                let input = std::iter::once(before).chain(pattern.input.iter().skip(1).cloned()).collect();
                let more = NodeProto {
                    input,
                    output: vec![output.clone()],
                    name: output.clone(),
                    ..pattern.clone()
                };
                graph.node.push(more);
                before = output;
            }
        }
        _ => drop(graph.node.remove(random.usize(..count))),
    }
}
