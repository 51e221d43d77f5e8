//! System status lists (SZL) of a CPU: asking for one, and joining its parts.
//!
//! An answer larger than the PDU comes in parts that are asked for one by one. Nothing depends on a
//! list, so one that is not given or has another form is no error; only what does not end is.

use crate::frame::{self, FrameFault, Message};

/// Parts of one list, and bytes of all of them; the largest list asked for has under 500 bytes.
const PARTS_MAX: u8 = 16;
const LIST_MAX_BYTES: usize = 4096;

/// Head of a part: return code, transport size, length. Head of a list: id, index, length and
/// number of its records.
const PART_HEAD_BYTES: usize = 4;
const LIST_HEAD_BYTES: usize = 8;

/// Which list, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListId {
    pub id: u16,
    pub index: u16,
}

/// A whole list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    record_bytes: usize,
    records: usize,
    bytes: Vec<u8>,
}

impl List {
    /// The records that are there as a whole, at most as many as the list says.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        // A length of 0 has no records; one over the bytes that are there gives none.
        let length = if self.record_bytes == 0 { usize::MAX } else { self.record_bytes };
        self.bytes.chunks_exact(length).take(self.records)
    }

    /// The text of a record between these bytes, without what cannot be shown.
    pub(crate) fn text(record: &[u8], bytes: std::ops::Range<usize>) -> String {
        let field = record.get(bytes.start..bytes.end.min(record.len())).unwrap_or_default();
        let text: String = field
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| char::from(*byte))
            .filter(|character| !character.is_control())
            .collect();
        text.trim().to_owned()
    }
}

/// What comes after a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next part, to be asked for with this sequence number.
    Part(u8),
    Done,
}

/// A list that is being joined.
#[derive(Debug)]
pub(crate) struct Assembly {
    asked: ListId,
    parts: u8,
    /// `None` until the first part, and when there is no such list.
    list: Option<List>,
}

impl Assembly {
    pub(crate) fn new(asked: ListId) -> Self {
        Self { asked, parts: 0, list: None }
    }

    /// The list, `None` when the CPU does not give it.
    pub(crate) fn into_list(self) -> Option<List> {
        self.list
    }

    /// Takes one answer.
    pub(crate) fn take(&mut self, message: &Message<'_>) -> Result<Next, FrameFault> {
        self.parts += 1;
        let (more, sequence) = match message.parameters {
            [0, 1, 0x12, 8, _, _, _, sequence, _, more, 0, 0] => (*more != 0, *sequence),
            // An error code, or a head that says nothing about parts.
            [0, 1, 0x12, 8, ..] => (false, 0),
            _ => (false, 0),
        };
        let payload = match message.data {
            [0xFF, 9, high, low, payload @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                payload.get(..length.min(payload.len())).unwrap_or_default()
            }
            _ => {
                self.list = None;
                return Ok(Next::Done);
            }
        };
        if let Some(list) = &mut self.list {
            list.bytes.extend_from_slice(payload);
        } else {
            self.list = first(self.asked, payload);
        }
        match &self.list {
            Some(list) if list.bytes.len() > LIST_MAX_BYTES => {
                frame::bad(format!("system status list of over {LIST_MAX_BYTES} bytes"))
            }
            Some(_) if more && self.parts >= PARTS_MAX => {
                frame::bad(format!("system status list of over {PARTS_MAX} parts"))
            }
            Some(_) if more => Ok(Next::Part(sequence)),
            _ => Ok(Next::Done),
        }
    }
}

/// The list that begins with these bytes.
fn first(asked: ListId, payload: &[u8]) -> Option<List> {
    let (head, bytes) = payload.split_at_checked(LIST_HEAD_BYTES)?;
    let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    (number(0) == asked.id).then(|| List {
        record_bytes: usize::from(number(4)),
        records: usize::from(number(6)),
        bytes: bytes.to_vec(),
    })
}

/// Asks for a list.
pub(crate) fn write_request(out: &mut Vec<u8>, reference: u16, list: ListId) {
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 8, 8);
        out.extend([0, 1, 0x12, 4, 0x11, 0x44, 1, 0, 0xFF, 9, 0, 4]);
        out.extend(list.id.to_be_bytes());
        out.extend(list.index.to_be_bytes());
    });
}

/// Asks for the next part of a list.
pub(crate) fn write_next(out: &mut Vec<u8>, reference: u16, sequence: u8) {
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 12, 4);
        out.extend([0, 1, 0x12, 8, 0x12, 0x44, 1, sequence, 0, 0, 0, 0, 0x0A, 0, 0, 0]);
    });
}

/// Answers with a whole list, for the simulated CPU.
pub(crate) fn write_answer(out: &mut Vec<u8>, reference: u16, list: ListId, records: &[&[u8]]) {
    let record_bytes = records.first().map_or(0, |record| record.len());
    let length = LIST_HEAD_BYTES + record_bytes * records.len();
    let word = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 12, PART_HEAD_BYTES + length);
        out.extend([0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, 0, 0, 0, 0xFF, 9]);
        out.extend(word(length));
        for head in [list.id.to_be_bytes(), list.index.to_be_bytes(), word(record_bytes), word(records.len())]
        {
            out.extend(head);
        }
        out.extend(records.concat());
    });
}

/// Answers that there is no such list.
pub(crate) fn write_unknown(out: &mut Vec<u8>, reference: u16) {
    frame::write_data(out, |out| {
        frame::write_head(out, 7, reference, 12, 4);
        out.extend([0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, 0, 0xD4, 1, 0x0A, 0, 0, 0]);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: ListId = ListId { id: 0x001C, index: 0 };

    fn take(assembly: &mut Assembly, more: u8, data: &[u8]) -> Result<Next, FrameFault> {
        let parameters = [0, 1, 0x12, 8, 0x12, 0x84, 1, 7, 0, more, 0, 0];
        assembly.take(&Message { kind: 7, reference: 1, error: 0, parameters: &parameters, data })
    }

    fn part(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0xFF, 9, length[0], length[1]], payload].concat()
    }

    #[test]
    fn parts_are_joined() {
        let mut assembly = Assembly::new(ASKED);
        let first = part(&[0, 0x1C, 0, 0, 0, 4, 0, 3, 1, 2, 3, 4, 5]);
        assert_eq!(take(&mut assembly, 1, &first), Ok(Next::Part(7)));
        assert_eq!(take(&mut assembly, 0, &part(&[6, 7, 8, 9])), Ok(Next::Done));
        let list = assembly.into_list().unwrap();
        // The third record is cut off.
        assert_eq!(list.records().collect::<Vec<_>>(), [[1, 2, 3, 4], [5, 6, 7, 8]]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for data in [
            &[0x0A, 0, 0, 0][..],
            &[],
            &[0xFF, 9, 0, 4, 0, 0x1C, 0, 0],
            &part(&[0, 0x11, 0, 0, 0, 4, 0, 1, 1, 2, 3, 4]), // another list
        ] {
            let mut assembly = Assembly::new(ASKED);
            assert_eq!(take(&mut assembly, 0, data), Ok(Next::Done), "{data:?}");
            assert_eq!(assembly.into_list(), None, "{data:?}");
        }
        for absurd in [&[0u8, 0, 0xFF, 0xFF][..], &[0xFF, 0xFF, 0xFF, 0xFF], &[0, 4, 0, 0]] {
            let mut assembly = Assembly::new(ASKED);
            let data = part(&[&[0, 0x1C, 0, 0], absurd, &[1, 2, 3, 4]].concat());
            take(&mut assembly, 0, &data).unwrap();
            assert_eq!(assembly.into_list().unwrap().records().count(), 0, "{absurd:?}");
        }
    }

    #[test]
    fn an_endless_list_ends() {
        let mut assembly = Assembly::new(ASKED);
        let first = part(&[0, 0x1C, 0, 0, 0, 4, 0xFF, 0xFF]);
        take(&mut assembly, 1, &first).unwrap();
        let empty = (1..100).find_map(|_| take(&mut assembly, 1, &part(&[])).err());
        assert!(empty.unwrap().to_string().contains("over 16 parts"));
        let mut assembly = Assembly::new(ASKED);
        take(&mut assembly, 1, &first).unwrap();
        let large = (1..100).find_map(|_| take(&mut assembly, 1, &part(&[0; 900])).err());
        assert!(large.unwrap().to_string().contains("over 4096 bytes"));
    }

    #[test]
    fn our_own_answer_is_read() {
        let mut out = Vec::new();
        write_answer(&mut out, 5, ASKED, &[&[1, 2], &[3, 4]]);
        let message = frame::parse_message(&out[7..]).unwrap();
        let mut assembly = Assembly::new(ASKED);
        assert_eq!((message.reference, assembly.take(&message)), (5, Ok(Next::Done)));
        assert_eq!(assembly.into_list().unwrap().records().collect::<Vec<_>>(), [[1, 2], [3, 4]]);
        write_unknown(&mut out, 5);
        let message = frame::parse_message(&out[7..]).unwrap();
        let mut assembly = Assembly::new(ASKED);
        assert_eq!((assembly.take(&message), assembly.into_list()), (Ok(Next::Done), None));
    }

    proptest! {
        #[test]
        fn no_answers_make_it_panic_or_grow(
            answers in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..16), proptest::collection::vec(any::<u8>(), 0..64)),
                1..20,
            ),
            right in any::<bool>(),
        ) {
            let mut assembly = Assembly::new(ASKED);
            for (parameters, data) in answers {
                let data = if right { part(&[&[0, 0x1C, 0, 0], &data[..]].concat()) } else { data };
                let message = Message { kind: 7, reference: 1, error: 0, parameters: &parameters, data: &data };
                let (nearly, _) = (take(&mut assembly, 1, &data), assembly.take(&message));
                if nearly.is_err() {
                    break;
                }
            }
            if let Some(list) = assembly.into_list() {
                prop_assert!(list.bytes.len() <= LIST_MAX_BYTES + 100);
                prop_assert!(list.records().map(<[u8]>::len).sum::<usize>() <= list.bytes.len());
            }
        }
    }
}
