//! Reading the frames of one segment, and finding the next good one behind damage.

use std::io;

use super::contents::Contents;
use super::disk::DiskFile;
use super::frame::{FRAME_HEAD_BYTES_MAX, Fault, Format, Frame, Shape};
use super::search;
use super::segment::{Found, HEADER_BYTES, Header, read_exact_at};
use super::unreadable::ReadError;

/// Read at once.
const PIECE_BYTES: usize = 64 << 10;
/// While looking for a good frame, a part of this size that the disk does not give is taken for
/// zeros, by who passes over such parts.
const PAGE_BYTES: usize = 4 << 10;

/// What comes next in a segment.
pub(super) enum Step<'a> {
    Frame {
        at: u64,
        frame: Frame<'a>,
    },
    /// No byte is left before the limit.
    End,
    /// The bytes at the position are not a frame; of a tolerant scanner also: they are not given.
    Bad(Fault),
    /// The disk does not give the bytes at the position. The next step tries again.
    Failed(ReadError),
}

/// Walks through the frames of one segment.
pub(super) struct Scanner {
    file: Box<dyn DiskFile>,
    /// Unknown until a frame is asked for.
    format: Option<Format>,
    /// What the disk does not give is passed over like damage.
    tolerant: bool,
    /// What the disk said last instead of giving bytes.
    failure: Option<ReadError>,
    position: u64,
    /// Bytes of the file from `buffer_at` on, never beyond a limit that was given: what lies
    /// behind may still change.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Scanner {
    /// Starts behind the header.
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        let position = HEADER_BYTES as u64;
        let (format, tolerant, failure) = (None, false, None);
        Self { file, format, tolerant, failure, position, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Passes over what the disk does not give, like over damage.
    pub(super) fn tolerant(mut self) -> Self {
        self.tolerate(true);
        self
    }

    /// Whether what the disk does not give is passed over from now on.
    pub(super) fn tolerate(&mut self, tolerant: bool) {
        self.tolerant = tolerant;
    }

    /// What the disk said last instead of giving bytes.
    pub(super) fn failure(&self) -> Option<ReadError> {
        self.failure
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
        let (format, shape) = match self.load(limit) {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(fault)) => return Step::Bad(fault),
            Err(error) if error.is_no_file() => return Step::Bad(Fault::Unreadable(error)),
            Err(error) => {
                self.failure = Some(error);
                return if self.tolerant { Step::Bad(Fault::Unreadable(error)) } else { Step::Failed(error) };
            }
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

    /// Reads the whole frame at the position into the buffer; its shape, or why it is none.
    fn load(&mut self, limit: u64) -> Result<Result<(Format, Shape), Fault>, ReadError> {
        let format = self.format(limit)?;
        self.fill(FRAME_HEAD_BYTES_MAX, limit)?;
        let shape = match format.shape(self.loaded()) {
            Ok(shape) => shape,
            Err(fault) => return Ok(Err(fault)),
        };
        let length = shape.length();
        if self.position + length as u64 > limit {
            return Ok(Err(Fault::Short));
        }
        self.fill(length, limit)?;
        Ok(if self.loaded().len() < length { Err(Fault::Short) } else { Ok((format, shape)) })
    }

    /// Makes sure that the next `needed` bytes are in the buffer, as far as they are before
    /// `limit` and in the file.
    fn fill(&mut self, needed: usize, limit: u64) -> io::Result<()> {
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
        read
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
    ///
    /// # Errors
    /// That of the disk, when a frame may be in what it does not give; the position stays. Of a
    /// tolerant scanner none.
    pub(super) fn resync(&mut self, limit: u64) -> Result<(), ReadError> {
        let start = self.position + 1;
        let (rest, failed) = self.read_rest(start, limit);
        self.position = match (search::find(self.format.unwrap_or(Format::Two), &rest), failed) {
            (Some(at), _) => start + at as u64,
            (None, None) => limit,
            (None, Some(error)) => return Err(error),
        };
        Ok(())
    }

    fn format(&mut self, limit: u64) -> Result<Format, ReadError> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let mut header = [0; HEADER_BYTES];
        let found = match read_exact_at(self.file.as_ref(), 0, &mut header) {
            Ok(_) => Header::parse(&header),
            Err(error) if self.is_zeros(&error) => Found::Nothing,
            Err(error) => return Err(error.into()),
        };
        let format = match found {
            Found::Header(header) => header.format,
            Found::Future(_) | Found::Nothing => self.guess_format(limit)?,
        };
        self.format = Some(format);
        Ok(format)
    }

    /// Whether what the disk does not give is taken for zeros.
    fn is_zeros(&mut self, error: &io::Error) -> bool {
        let error = ReadError::from(error);
        if error.is_no_file() {
            return true;
        }
        self.failure = Some(error);
        self.tolerant
    }

    /// The format of a segment whose header is gone: that of the first good frame.
    fn guess_format(&mut self, limit: u64) -> Result<Format, ReadError> {
        let (rest, failed) = self.read_rest(self.position, limit);
        let distance = |format| search::find(format, &rest).unwrap_or(usize::MAX);
        let (one, two) = (distance(Format::One), distance(Format::Two));
        match failed {
            Some(error) if one == two => Err(error),
            _ => Ok(if one < two { Format::One } else { Format::Two }),
        }
    }

    /// The bytes between two positions. Those that the disk does not give are zeros for a tolerant
    /// scanner; for another one the bytes end before them, with the error.
    fn read_rest(&mut self, from: u64, to: u64) -> (Vec<u8>, Option<ReadError>) {
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        for start in (0..length).step_by(PIECE_BYTES) {
            let piece = start..length.min(start + PIECE_BYTES);
            if read_exact_at(self.file.as_ref(), from + start as u64, &mut bytes[piece.clone()]).is_ok() {
                continue;
            }
            for start in piece.clone().step_by(PAGE_BYTES) {
                let page = start..piece.end.min(start + PAGE_BYTES);
                let read = read_exact_at(self.file.as_ref(), from + start as u64, &mut bytes[page.clone()]);
                let Err(error) = read else { continue };
                if !self.is_zeros(&error) {
                    bytes.truncate(start);
                    return (bytes, Some(error.into()));
                }
                bytes[page].fill(0);
            }
        }
        (bytes, None)
    }
}
