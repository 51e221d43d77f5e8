//! Reading the frames of one segment, and finding the next good one behind damage.

use std::io;

use super::contents::Contents;
use super::disk::DiskFile;
use super::frame::{FRAME_HEAD_BYTES_MAX, Fault, Format, Frame, Shape};
use super::search;
use super::segment::{Found, HEADER_BYTES, Header, read_exact_at};

/// Read at once. While looking for a good frame, a part of this size that cannot be read is taken
/// for zeros.
const PIECE_BYTES: usize = 64 << 10;

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
    /// Unknown until a frame is asked for, when the header does not tell it.
    format: Option<Format>,
    position: u64,
    /// Bytes of the file from `buffer_at` on, never beyond a limit that was given: what lies
    /// behind may still change.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Scanner {
    /// Starts behind the header.
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        let format = match Header::read(file.as_ref()) {
            Found::Header(header) => Some(header.format),
            Found::Future(_) | Found::Nothing => None,
        };
        Self { file, format, position: HEADER_BYTES as u64, buffer: Vec::new(), buffer_at: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at `position`, where a frame must begin.
    pub(super) fn go_to(&mut self, position: u64) {
        self.position = position;
    }

    /// The table of contents at the end of a segment of `bytes` bytes, if it has one.
    pub(super) fn contents(&self, bytes: u64) -> Option<Contents> {
        // Without it reading begins at the beginning.
        Contents::read(self.file.as_ref(), bytes).ok().flatten()
    }

    /// The frame at the position, which must end before `limit`; moves behind it when it is good.
    pub(super) fn step(&mut self, limit: u64) -> Step<'_> {
        if self.position >= limit {
            return Step::End;
        }
        let at = self.position;
        let format = match self.format {
            Some(format) => format,
            None => self.guess_format(limit),
        };
        let shape = match self.load(format, limit) {
            Ok(shape) => shape,
            Err(fault) => return Step::Bad(fault),
        };
        let start = self.buffer.len() - self.loaded().len();
        match format.parse_shaped(&self.buffer[start..start + shape.length()], shape) {
            Ok(frame) => {
                self.position = at + shape.length() as u64;
                Step::Frame { at, frame }
            }
            Err(fault) => Step::Bad(fault),
        }
    }

    /// What of the bytes at the position is in the buffer.
    fn loaded(&self) -> &[u8] {
        let start = self.position.checked_sub(self.buffer_at).and_then(|start| usize::try_from(start).ok());
        start.and_then(|start| self.buffer.get(start..)).unwrap_or(&[])
    }

    /// Reads the whole frame at the position into the buffer; its shape.
    fn load(&mut self, format: Format, limit: u64) -> Result<Shape, Fault> {
        self.fill(FRAME_HEAD_BYTES_MAX, limit)?;
        let shape = format.shape(self.loaded())?;
        let length = shape.length();
        if self.position + length as u64 > limit {
            return Err(Fault::Short);
        }
        self.fill(length, limit)?;
        if self.loaded().len() < length { Err(Fault::Short) } else { Ok(shape) }
    }

    /// Makes sure that the next `needed` bytes are in the buffer, as far as they are before
    /// `limit` and in the file.
    fn fill(&mut self, needed: usize, limit: u64) -> Result<(), Fault> {
        let left = usize::try_from(limit - self.position).unwrap_or(usize::MAX);
        let needed = needed.min(left);
        if self.loaded().len() >= needed {
            return Ok(());
        }
        self.buffer_at = self.position;
        // Flash sometimes answers at the second try; and one bad page is not to cost its neighbours.
        let mut read = self.read(needed.max(PIECE_BYTES).min(left));
        if read.is_err() {
            read = self.read(needed);
        }
        read.map_err(|error| Fault::Unreadable(error.kind()))
    }

    fn read(&mut self, length: usize) -> io::Result<()> {
        self.buffer.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(self.position + filled as u64, &mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }

    /// Moves behind damage: to the next byte at which a good frame begins, else to `limit`.
    pub(super) fn resync(&mut self, limit: u64) {
        let start = self.position + 1;
        let rest = self.read_tolerant(start, limit);
        let found = search::find(self.format.unwrap_or(Format::Two), &rest);
        self.position = found.map_or(limit, |at| start + at as u64);
    }

    /// The format of a segment whose header is gone: that of the first good frame.
    fn guess_format(&mut self, limit: u64) -> Format {
        let rest = self.read_tolerant(self.position, limit);
        let distance = |format| search::find(format, &rest).unwrap_or(usize::MAX);
        let format = if distance(Format::One) < distance(Format::Two) { Format::One } else { Format::Two };
        self.format = Some(format);
        format
    }

    fn read_tolerant(&self, from: u64, to: u64) -> Vec<u8> {
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let mut position = from;
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            if read_exact_at(self.file.as_ref(), position, piece).is_err() {
                piece.fill(0);
            }
            position += piece.len() as u64;
        }
        bytes
    }
}
