//! The table of contents of a segment: where to begin reading for an offset or a time, and which
//! dictionaries are used. The last frame of a finished segment; what has none is read from its
//! beginning.

use std::collections::HashMap;
use std::io;

use super::chain::ChainReader;
use super::disk::DiskFile;
use super::frame::{Format, Frame, FrameWriter, Joint};
use super::scan::{Scanner, Step};
use super::segment::{HEADER_BYTES, read_exact_at};
use super::unreadable::ReadError;
use super::{BODY_BYTES_MAX, varint};

/// A part is at least this long.
const PART_BYTES_MIN: u64 = 64 << 10;
/// Of the length of the frame, at the end of the file.
const LENGTH_BYTES: usize = 4;
const MS_US: i64 = 1000;
/// See [`Contents::walk`].
const SLACK_US: i64 = 3600 * 1_000_000;
const SEGMENT_SPAN_US: i64 = 24 * 3600 * 1_000_000;

/// A part of a segment that can be read without what is before it, but for dictionaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins in the file.
    pub position: u64,
    /// Offset of its first record.
    pub first_offset: u64,
    /// No record of it is earlier, microseconds since 1970 UTC.
    pub from_us: i64,
    /// No record of it is later.
    pub to_us: i64,
}

/// A dictionary in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub number: u32,
    pub position: u64,
    /// Records that refer to it; rows do not say to what they refer.
    pub records: u64,
}

/// What is where in a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub dictionaries: Vec<Entry>,
    pub parts: Vec<Part>,
}

impl Contents {
    /// Reads the table at the end of a segment of `bytes` bytes; `None` when there is none.
    pub(super) fn read(file: &dyn DiskFile, bytes: u64) -> io::Result<Option<Self>> {
        let mut length = [0; LENGTH_BYTES];
        let Some(at) = bytes.checked_sub(LENGTH_BYTES as u64) else { return Ok(None) };
        if !read_exact_at(file, at, &mut length)? {
            return Ok(None);
        }
        let length = u64::from(u32::from_le_bytes(length));
        let Some(start) = bytes.checked_sub(length).filter(|start| *start >= HEADER_BYTES as u64) else {
            return Ok(None);
        };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= BODY_BYTES_MAX) else {
            return Ok(None);
        };
        let mut frame = vec![0; length];
        if !read_exact_at(file, start, &mut frame)? {
            return Ok(None);
        }
        match Format::Two.parse(&frame) {
            Ok(Frame::Contents(content)) => Ok(Self::take(content)),
            _ => Ok(None),
        }
    }

    /// Makes the table of a segment that has none. Of a chain only the beginning is known, so its
    /// records are expected between that and the beginning of the next, give or take an hour.
    ///
    /// # Errors
    /// That of the disk, in the place of bytes.
    pub(super) fn walk(mut scanner: Scanner, first_offset: u64, bytes: u64) -> Result<Self, ReadError> {
        let mut gathering = Gathering::default();
        let mut end = first_offset;
        let mut chain = ChainReader::default();
        loop {
            let (at, first_offset, count, base_us) = match scanner.step(bytes) {
                Step::End => break,
                Step::Bad(_) => {
                    chain.next = None;
                    scanner.resync(bytes)?;
                    continue;
                }
                Step::Failed(error) => return Err(error),
                Step::Frame { at, frame: Frame::Dictionary { number, .. } } => {
                    gathering.dictionary(number, at);
                    continue;
                }
                Step::Frame { at, frame: Frame::Block { head, .. } } => {
                    (at, head.first_offset, head.count, head.base_us)
                }
                Step::Frame { at, frame: Frame::Chain { head, .. } } => match (chain.join(&head), head.joint)
                {
                    (Some(first_offset), Joint::Key { base_us, .. }) => {
                        (at, first_offset, head.count, base_us)
                    }
                    _ => continue,
                },
                Step::Frame { frame: Frame::Contents(_), .. } => continue,
            };
            gathering.record(None, base_us);
            gathering.begin(at, first_offset.max(end));
            gathering.record(None, base_us);
            end = first_offset.saturating_add(u64::from(count));
        }
        let mut contents = gathering.contents;
        for part in &mut contents.parts {
            part.from_us = part.from_us.saturating_sub(SLACK_US);
            part.to_us = part.to_us.saturating_add(SLACK_US);
        }
        if let Some(last) = contents.parts.last_mut() {
            // Nobody says when it ended, but no segment grows longer than this.
            last.to_us = last.to_us.saturating_add(SEGMENT_SPAN_US);
        }
        Ok(contents)
    }

    fn take(content: &[u8]) -> Option<Self> {
        let mut rest = content.get(..content.len().checked_sub(LENGTH_BYTES)?)?;
        let bytes = &mut rest;
        // Each takes at least three bytes.
        let count = |bytes: &mut &[u8]| {
            usize::try_from(varint::take(bytes)?).ok().filter(|count| *count <= bytes.len() / 3)
        };
        let mut contents = Self::default();
        let (mut number, mut position) = (0u32, 0u64);
        for _ in 0..count(bytes)? {
            number = u32::try_from(i64::from(number).checked_add(varint::take_signed(bytes)?)?).ok()?;
            position = position.checked_add(varint::take(bytes)?)?;
            contents.dictionaries.push(Entry { number, position, records: varint::take(bytes)? });
        }
        let (mut position, mut first_offset, mut from_ms) = (0u64, 0u64, 0i64);
        for _ in 0..count(bytes)? {
            position = position.checked_add(varint::take(bytes)?)?;
            first_offset = first_offset.checked_add(varint::take(bytes)?)?;
            from_ms = from_ms.wrapping_add(varint::take_signed(bytes)?);
            let to_ms = from_ms.wrapping_add(varint::take_signed(bytes)?);
            let (from_us, to_us) = (from_ms.saturating_mul(MS_US), to_ms.saturating_mul(MS_US));
            contents.parts.push(Part { position, first_offset, from_us, to_us });
        }
        rest.is_empty().then_some(contents)
    }

    /// Appends the table as a frame.
    pub(super) fn put(&self, frames: &mut FrameWriter, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        varint::put(&mut content, self.dictionaries.len() as u64);
        let (mut number, mut position) = (0u32, 0);
        for entry in &self.dictionaries {
            varint::put_signed(&mut content, i64::from(entry.number) - i64::from(number));
            varint::put(&mut content, entry.position - position);
            varint::put(&mut content, entry.records);
            (number, position) = (entry.number, entry.position);
        }
        varint::put(&mut content, self.parts.len() as u64);
        let (mut position, mut first_offset, mut from_ms) = (0, 0, 0i64);
        for part in &self.parts {
            let (from, to) = (part.from_us.div_euclid(MS_US), part.to_us.div_euclid(MS_US));
            let to = if part.to_us.rem_euclid(MS_US) == 0 { to } else { to + 1 };
            varint::put(&mut content, part.position - position);
            varint::put(&mut content, part.first_offset - first_offset);
            varint::put_signed(&mut content, from.wrapping_sub(from_ms));
            varint::put_signed(&mut content, to.wrapping_sub(from));
            (position, first_offset, from_ms) = (part.position, part.first_offset, from);
        }
        if content.len() + LENGTH_BYTES > BODY_BYTES_MAX / 2 {
            // Millions of dictionaries: reading finds its way without the table.
            return;
        }
        let start = out.len();
        content.extend_from_slice(&[0; LENGTH_BYTES]);
        frames.contents(out, &content);
        // The length of the frame stands in the frame, and does not depend on what it is.
        let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_le_bytes();
        let at = content.len() - LENGTH_BYTES;
        content[at..].copy_from_slice(&length);
        out.truncate(start);
        frames.contents(out, &content);
    }
}

/// Gathers the contents of a segment while it is written.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    contents: Contents,
    /// Place of each dictionary in the table.
    places: HashMap<u32, usize>,
}

impl Gathering {
    /// A dictionary was written at `position`.
    pub(super) fn dictionary(&mut self, number: u32, position: u64) {
        self.places.insert(number, self.contents.dictionaries.len());
        self.contents.dictionaries.push(Entry { number, position, records: 0 });
    }

    /// A block was written at `position` that can be read without the one before: it may begin a
    /// part.
    pub(super) fn begin(&mut self, position: u64, first_offset: u64) {
        let long = |part: &Part| position - part.position >= PART_BYTES_MIN;
        if self.contents.parts.last().is_none_or(long) {
            let part = Part { position, first_offset, from_us: i64::MAX, to_us: i64::MIN };
            self.contents.parts.push(part);
        }
    }

    /// A record was written.
    pub(super) fn record(&mut self, dictionary: Option<u32>, time_us: i64) {
        if let Some(part) = self.contents.parts.last_mut() {
            part.from_us = part.from_us.min(time_us);
            part.to_us = part.to_us.max(time_us);
        }
        if let Some(place) = dictionary.and_then(|number| self.places.get(&number)) {
            self.contents.dictionaries[*place].records += 1;
        }
    }

    /// All dictionaries so far.
    pub(super) fn dictionaries(&self) -> &[Entry] {
        &self.contents.dictionaries
    }

    /// The part that is being written.
    pub(super) fn last_part(&self) -> Option<Part> {
        self.contents.parts.last().copied()
    }

    /// Appends the table.
    pub(super) fn put(&self, frames: &mut FrameWriter, out: &mut Vec<u8>) {
        self.contents.put(frames, out);
    }
}
