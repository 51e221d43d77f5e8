//! One segment while it is read: finding the place, and the dictionaries on the way.

use std::sync::Arc;

use super::chain::ChainReader;
use super::contents::Contents;
use super::frame::{Fault, Frame, Joint};
use super::numbered::Numbered;
use super::pack::Unpacker;
use super::scan::{Scanner, Step};
use super::segment::Name;
use super::unreadable::ReadError;

/// Bytes of the dictionaries of one segment at most; those beyond are ignored.
const DICTIONARIES_BYTES_MAX: usize = 256 << 20;

/// A segment that is being read.
pub(super) struct Open {
    pub name: Name,
    /// As it was opened; another file may have taken the name since.
    pub thinned: bool,
    /// Synced length of that file.
    pub bytes: u64,
    pub scanner: Scanner,
    /// Why the bytes skipped last were bad.
    pub fault: Option<Fault>,
}

/// Where in a file the disk does not give what is wanted.
pub(super) type Failed = (u64, ReadError);

impl Open {
    /// Goes to where reading must begin for the record at `wanted`: its block, or the beginning of
    /// its chain. Takes the dictionaries on the way. `known`: its contents, if they were read.
    pub(super) fn find(
        &mut self,
        wanted: u64,
        known: Option<&Contents>,
        dictionaries: &mut Dictionaries,
        unpacker: &mut Unpacker,
    ) -> Result<(), Failed> {
        if wanted > self.name.first_offset {
            let read = if known.is_some() { None } else { self.scanner.contents(self.bytes) };
            if let Some(contents) = known.or(read.as_ref()) {
                self.leap(wanted, contents, dictionaries, unpacker)?;
            }
        }
        let mut chain = ChainReader::default();
        let mut key = None;
        loop {
            match self.scanner.step(self.bytes) {
                Step::Frame { frame: Frame::Dictionary { number, codec, raw_bytes, content }, .. } => {
                    dictionaries.take(unpacker, (number, codec, raw_bytes), content);
                }
                Step::Frame { at, frame: Frame::Block { head, .. } } => {
                    if head.first_offset.saturating_add(u64::from(head.count)) > wanted {
                        return self.begin_at(at);
                    }
                    key = None;
                }
                Step::Frame { at, frame: Frame::Chain { head, .. } } => {
                    let Some(first_offset) = chain.join(&head) else { continue };
                    if matches!(head.joint, Joint::Key { .. }) && first_offset <= wanted {
                        key = Some(at);
                    }
                    if first_offset.saturating_add(u64::from(head.count)) > wanted {
                        return self.begin_at(key.unwrap_or(at));
                    }
                }
                Step::Frame { frame: Frame::Contents(_), .. } => {}
                Step::Bad(fault) => {
                    self.fault = Some(fault);
                    chain.next = None;
                    self.resync()?;
                }
                Step::Failed(error) => return Err(self.failed(error)),
                Step::End => {
                    return self.begin_at(key.unwrap_or(self.scanner.position()));
                }
            }
        }
    }

    fn begin_at(&mut self, position: u64) -> Result<(), Failed> {
        self.scanner.go_to(position);
        Ok(())
    }

    pub(super) fn resync(&mut self) -> Result<(), Failed> {
        self.scanner.resync(self.bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ReadError) -> Failed {
        (self.scanner.position(), error)
    }

    /// Goes near the record at `wanted` with the table of contents.
    fn leap(
        &mut self,
        wanted: u64,
        contents: &Contents,
        dictionaries: &mut Dictionaries,
        unpacker: &mut Unpacker,
    ) -> Result<(), Failed> {
        let after = contents.parts.partition_point(|part| part.first_offset <= wanted);
        let Some(part) = after.checked_sub(1).map(|at| contents.parts[at]) else { return Ok(()) };
        let start = self.scanner.position();
        for entry in contents.dictionaries.iter().take_while(|entry| entry.position < part.position) {
            self.scanner.go_to(entry.position);
            match self.scanner.step(self.bytes) {
                Step::Frame { frame: Frame::Dictionary { number, codec, raw_bytes, content }, .. } => {
                    dictionaries.take(unpacker, (number, codec, raw_bytes), content);
                }
                // Without it records could not be decoded.
                Step::Failed(error) => return Err((entry.position, error)),
                _ => {}
            }
        }
        self.begin_at(part.position.max(start))
    }
}

/// The dictionaries of a segment, as far as they were read.
#[derive(Default)]
pub(super) struct Dictionaries {
    pub by_number: Numbered<Arc<[u8]>>,
    bytes: usize,
}

impl Dictionaries {
    pub(super) fn take(
        &mut self,
        unpacker: &mut Unpacker,
        (number, codec, raw_bytes): (u32, u8, u32),
        content: &[u8],
    ) {
        let mut raw = Vec::new();
        // A dictionary that does not unpack is missed by the records that name it.
        if self.bytes < DICTIONARIES_BYTES_MAX
            && unpacker.unpack(codec, raw_bytes, content, &mut raw).is_ok()
            // Read again, it stays the same one.
            && self.by_number.get(number).is_none_or(|known| **known != *raw)
        {
            // An empty one costs its place in the table.
            self.bytes += raw.len() + size_of::<(u32, Arc<[u8]>)>();
            self.by_number.insert(number, raw.into());
        }
    }
}
