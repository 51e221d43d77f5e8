//! What a CPU says of itself: list 0x0011 of its system status lists (SZL).

use crate::frame::{self, Message};

/// Module identification: order number and versions.
pub(crate) const MODULE_IDENTIFICATION: u16 = 0x0011;

/// Bytes of one entry: index, order number, type, two version words.
const ENTRY_BYTES: usize = 28;

/// Asks for the whole list.
pub(crate) fn write_request(out: &mut Vec<u8>, reference: u16) {
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 8, 8);
        out.extend([0, 1, 0x12, 4, 0x11, 0x44, 1, 0, 0xFF, 9, 0, 4]);
        out.extend(MODULE_IDENTIFICATION.to_be_bytes());
        out.extend([0, 0]);
    });
}

/// Order number and firmware, empty when the answer holds none. Nothing depends on it, so nothing
/// of it is an error.
pub(crate) fn parse(message: &Message<'_>) -> String {
    let [0xFF, 9, _, _, 0, 0x11, _, _, len1, len0, _, _, entries @ ..] = message.data else {
        return String::new();
    };
    let len = usize::from(u16::from_be_bytes([*len1, *len0])).max(22);
    let mut text = String::new();
    for entry in entries.chunks(len).take(16) {
        let [_, index, rest @ ..] = entry else { continue };
        let order: String = rest
            .iter()
            .take(20)
            .map(|byte| char::from(*byte))
            .filter(|character| character.is_ascii_graphic() || *character == ' ')
            .collect();
        if *index == 1 && text.is_empty() {
            text.push_str(order.trim());
        }
        // The firmware is written as the letter V and three numbers.
        if let (7, Some([b'V', a, b, c])) = (*index, entry.get(ENTRY_BYTES - 4..ENTRY_BYTES)) {
            text.push_str(&format!(" V{a}.{b}.{c}"));
        }
    }
    text.trim().to_owned()
}

/// The answer of the simulated device: one entry with this order number.
pub(crate) fn write_answer(out: &mut Vec<u8>, reference: u16, order: &str) {
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 12, 12 + ENTRY_BYTES);
        out.extend([0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, 0, 0, 0]);
        out.extend([0xFF, 9, 0, 8 + 28, 0, 0x11, 0, 0, 0, 28, 0, 1, 0, 1]);
        let order = order.bytes().chain(std::iter::repeat(b' '));
        out.extend(order.take(20).chain([0; 6]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(data: &[u8]) -> String {
        parse(&Message { kind: 7, reference: 1, error: 0, parameters: &[], data })
    }

    #[test]
    fn order_number_and_firmware() {
        let mut data = vec![0xFF, 9, 0, 64, 0, 0x11, 0, 0, 0, 28, 0, 2, 0, 1];
        data.extend(b"6ES7 515-2AM02-0AB0 \0\0\0\x01\0\0");
        data.extend([0, 7]);
        data.extend(b"                    \0\0V\x02\x09\x04");
        assert_eq!(identity(&data), "6ES7 515-2AM02-0AB0 V2.9.4");
        assert_eq!(identity(&data[..30]), "6ES7 515-2AM02-0", "cut off");
        for len in 0..data.len() {
            let _shorter = identity(&data[..len]);
        }
        data[9] = 0;
        let _absurd = identity(&data);
    }

    #[test]
    fn our_own_answer_is_read() {
        let mut out = Vec::new();
        write_answer(&mut out, 5, "Forebay simulator");
        let message = frame::parse_message(&out[7..]).expect("a message");
        assert_eq!((message.reference, parse(&message).as_str()), (5, "Forebay simulator"));
    }
}
