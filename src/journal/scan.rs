//! Reading the frames of one segment, and finding the next good one behind damage.

use super::disk::DiskFile;
use super::frame::{FRAME_HEADER_BYTES, Fault, Frame, begins_body, body_bytes, checked_body, parse_body};
use super::segment::{HEADER_BYTES, read_exact_at};

/// Bytes checked at most while looking for the next good frame. Random damage needs a few
/// megabytes; only bytes made to look like many long frames come near it.
const RESYNC_CHECKED_BYTES_MAX: u64 = 1 << 30;
/// Read at once while looking; a part that cannot be read is looked at as zeros.
const RESYNC_PIECE_BYTES: usize = 64 << 10;

/// What comes next in a segment.
pub(super) enum Step<'a> {
    Frame {
        at: u64,
        frame: Frame<'a>,
    },
    /// No byte is left before the limit.
    End,
    /// The bytes at the position are not a frame.
    Bad(Fault),
}

/// Walks through the frames of one segment.
pub(super) struct Scanner {
    file: Box<dyn DiskFile>,
    position: u64,
    buffer: Vec<u8>,
}

impl Scanner {
    /// Starts behind the header.
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, position: HEADER_BYTES as u64, buffer: Vec::new() }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The frame at the position, which must end before `limit`; moves behind it when it is good.
    pub(super) fn step(&mut self, limit: u64) -> Step<'_> {
        if self.position >= limit {
            return Step::End;
        }
        let at = self.position;
        match self.load(limit).and_then(|()| parse_body(checked_body(&self.buffer)?)) {
            Ok(frame) => {
                self.position = at + self.buffer.len() as u64;
                Step::Frame { at, frame }
            }
            Err(fault) => Step::Bad(fault),
        }
    }

    /// Reads the whole frame at the position into the buffer.
    fn load(&mut self, limit: u64) -> Result<(), Fault> {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.fill(&mut header)?;
        let length = FRAME_HEADER_BYTES + body_bytes(header)?;
        if self.position + length as u64 > limit {
            return Err(Fault::Short);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        let filled = self.fill(&mut buffer);
        self.buffer = buffer;
        filled
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), Fault> {
        // Flash sometimes answers at the second try.
        let read = read_exact_at(self.file.as_ref(), self.position, buffer)
            .or_else(|_| read_exact_at(self.file.as_ref(), self.position, buffer));
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Short),
            Err(error) => Err(Fault::Unreadable(error.kind())),
        }
    }

    /// Moves behind damage: to the next byte at which a good frame begins, else to `limit`.
    pub(super) fn resync(&mut self, limit: u64) {
        let start = self.position + 1;
        let rest = self.read_tolerant(start, limit);
        let mut checked = 0;
        for index in 0..rest.len() {
            let candidate = &rest[index..];
            let Some(header) = candidate.first_chunk::<FRAME_HEADER_BYTES>() else { break };
            let Ok(length) = body_bytes(*header) else { continue };
            // Cheap test first: the kind of frame stands behind the header.
            if !candidate.get(FRAME_HEADER_BYTES).is_some_and(|byte| begins_body(*byte))
                || candidate.len() - FRAME_HEADER_BYTES < length
            {
                continue;
            }
            checked += length as u64;
            if checked > RESYNC_CHECKED_BYTES_MAX {
                break;
            }
            if checked_body(candidate).and_then(parse_body).is_ok() {
                self.position = start + index as u64;
                return;
            }
        }
        self.position = limit;
    }

    fn read_tolerant(&self, from: u64, to: u64) -> Vec<u8> {
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let mut position = from;
        for piece in bytes.chunks_mut(RESYNC_PIECE_BYTES) {
            if read_exact_at(self.file.as_ref(), position, piece).is_err() {
                piece.fill(0);
            }
            position += piece.len() as u64;
        }
        bytes
    }
}
