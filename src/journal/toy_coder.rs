//! A coder for tests that goes wrong as soon as a record is not decoded behind the same records:
//! the head of each is exclusive or of it and the one before of its dictionary.

use std::collections::HashMap;

use super::{AppendError, BlockCoder, Coded, Journal, Link};

/// Bytes in front; the others are in the back.
const HEAD_BYTES: usize = 13;

fn mixed(head: &[u8], before: Option<&Vec<u8>>) -> Vec<u8> {
    let before = before.into_iter().flatten().chain(std::iter::repeat(&0));
    head.iter().zip(before).map(|(byte, before)| byte ^ before).collect()
}

/// Codes records of at least 13 bytes.
#[derive(Default)]
pub(super) struct ToyCoder {
    waiting: Vec<(u32, Vec<u8>)>,
    before: HashMap<u32, Vec<u8>>,
}

impl ToyCoder {
    pub(super) fn append(
        &mut self,
        journal: &mut Journal,
        dictionary: u32,
        record: &[u8],
        time_us: i64,
    ) -> Result<u64, AppendError> {
        let bytes = record.len();
        let offset = journal.append_coded(Coded { dictionary, time_us, bytes, bytes_max: bytes })?;
        self.waiting.push((dictionary, record.to_vec()));
        Ok(offset)
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl BlockCoder for ToyCoder {
    fn begin(&mut self, _: i64) {
        self.before.clear();
    }

    fn put(&mut self, record: usize, front: &mut Vec<u8>, back: &mut Vec<u8>) {
        let (dictionary, record) = &self.waiting[record];
        let (head, rest) = record.split_at(HEAD_BYTES);
        front.extend(mixed(head, self.before.get(dictionary)));
        back.extend_from_slice(rest);
        self.before.insert(*dictionary, head.to_vec());
    }

    fn first_bytes(&self) -> usize {
        self.before.len()
    }
}

/// Decodes what a [`ToyCoder`] coded.
#[derive(Default)]
pub(super) struct ToyDecoder {
    before: HashMap<u32, Vec<u8>>,
}

impl ToyDecoder {
    /// The record, if it is wanted.
    pub(super) fn take(&mut self, link: &Link<'_>) -> Option<Vec<u8>> {
        if link.begins {
            self.before.clear();
        }
        let (head, rest) = link.front.split_at(HEAD_BYTES);
        let head = mixed(head, self.before.get(&link.dictionary));
        self.before.insert(link.dictionary, head.clone());
        link.wanted.then(|| [&head, link.back.unwrap_or(rest)].concat())
    }
}
