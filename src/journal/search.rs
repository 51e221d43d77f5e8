//! Looking for the next good frame behind damage.
//!
//! A frame can begin at any byte, and one with a wrong length would have millions of bytes under
//! its checksum. So the checksums of all beginnings of the bytes are taken once, and that of a part
//! follows from two of them. The search is exact, and its time is bounded whatever the bytes are.

use super::frame::{CHECKSUM_BYTES, Format};

/// A checksum is kept every so many bytes.
const STEP_BYTES: usize = 64;
/// Checksums are 32 bits, and so many are the columns of what moves one on.
const BITS: usize = 32;
/// Castagnoli's polynomial, low bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Lengths below 2 to this.
const LENGTH_BITS: usize = 32;

/// Where the first good frame begins, if there is one.
pub(super) fn find(format: Format, bytes: &[u8]) -> Option<usize> {
    let mut checksums = None;
    for at in 0..bytes.len() {
        let candidate = &bytes[at..];
        let Ok(shape) = format.shape(candidate) else { continue };
        if shape.length() > candidate.len() {
            continue;
        }
        let body_at = at + shape.body_at();
        let body =
            checksums.get_or_insert_with(|| Checksums::of(bytes)).between(body_at, body_at + shape.body);
        let whole = moved(crc32c::crc32c(&candidate[..shape.head]), shape.body) ^ body;
        let right = candidate[shape.head..shape.body_at()] == whole.to_le_bytes();
        debug_assert_eq!(CHECKSUM_BYTES, size_of_val(&whole));
        // What has the right checksum may still not be a frame.
        if right && format.parse(&candidate[..shape.length()]).is_ok() {
            return Some(at);
        }
    }
    None
}

/// The checksums of all beginnings of some bytes.
struct Checksums<'a> {
    bytes: &'a [u8],
    every_step: Vec<u32>,
}

impl<'a> Checksums<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut checksum = 0;
        let mut every_step = Vec::with_capacity(bytes.len() / STEP_BYTES + 2);
        every_step.push(checksum);
        for step in bytes.chunks(STEP_BYTES) {
            checksum = crc32c::crc32c_append(checksum, step);
            every_step.push(checksum);
        }
        Self { bytes, every_step }
    }

    /// Of the bytes before `end`.
    fn before(&self, end: usize) -> u32 {
        let step = end / STEP_BYTES;
        crc32c::crc32c_append(self.every_step[step], &self.bytes[step * STEP_BYTES..end])
    }

    /// Of the bytes from `start` to before `end`.
    fn between(&self, start: usize, end: usize) -> u32 {
        // The checksum of two pieces is that of the first, moved on by the length of the second,
        // plus that of the second; plus is exclusive or, and undoes itself.
        moved(self.before(start), end - start) ^ self.before(end)
    }
}

/// A checksum moved on by `length` bytes.
fn moved(mut checksum: u32, length: usize) -> u32 {
    for (bit, matrix) in MOVES.iter().enumerate() {
        if length >> bit & 1 != 0 {
            checksum = applied(matrix, checksum);
        }
    }
    checksum
}

/// What moves a checksum on by 1, 2, 4, 8 ... bytes.
static MOVES: [[u32; BITS]; LENGTH_BITS] = moves();

const fn moves() -> [[u32; BITS]; LENGTH_BITS] {
    // By one bit: shifted, and the polynomial added for the bit that falls out.
    let mut matrix = [0; BITS];
    matrix[0] = POLYNOMIAL;
    let mut at = 1;
    while at < BITS {
        matrix[at] = 1 << (at - 1);
        at += 1;
    }
    let mut doublings = 0;
    while doublings < 3 {
        matrix = squared(&matrix);
        doublings += 1;
    }
    let mut moves = [[0; BITS]; LENGTH_BITS];
    let mut power = 0;
    while power < LENGTH_BITS {
        moves[power] = matrix;
        matrix = squared(&matrix);
        power += 1;
    }
    moves
}

const fn applied(matrix: &[u32; BITS], vector: u32) -> u32 {
    let mut sum = 0;
    let mut at = 0;
    while at < BITS {
        if vector >> at & 1 != 0 {
            sum ^= matrix[at];
        }
        at += 1;
    }
    sum
}

const fn squared(matrix: &[u32; BITS]) -> [u32; BITS] {
    let mut square = [0; BITS];
    let mut at = 0;
    while at < BITS {
        square[at] = applied(matrix, matrix[at]);
        at += 1;
    }
    square
}

#[cfg(test)]
mod tests {
    use super::super::frame::FrameWriter;
    use super::super::memory_disk::Fate;
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut fate = Fate::new(seed);
        (0..length).map(|_| fate.next().to_le_bytes()[0]).collect()
    }

    #[test]
    fn the_checksum_of_a_part_is_that_of_the_part() {
        let bytes = noise(1, 1000);
        let checksums = Checksums::of(&bytes);
        for (start, end) in [(0, 0), (0, 1000), (1, 2), (63, 64), (64, 128), (65, 900), (1000, 1000)] {
            assert_eq!(checksums.between(start, end), crc32c::crc32c(&bytes[start..end]), "{start} to {end}");
        }
    }

    #[test]
    fn a_frame_is_found_wherever_it_is() {
        let mut frame = Vec::new();
        FrameWriter::new().unwrap().dictionary(&mut frame, 3, &noise(2, 300));
        for before in [0, 1, 7, 64, 1000, 20_000] {
            let bytes = [noise(3, before), frame.clone(), noise(4, 5000)].concat();
            assert_eq!(find(Format::Two, &bytes), Some(before));
            assert_eq!(find(Format::Two, &bytes[..before + frame.len()]), Some(before), "at the end");
            assert_eq!(find(Format::Two, &bytes[..before + frame.len() - 1]), None, "cut short");
        }
    }

    #[test]
    fn noise_holds_no_frame_and_is_searched_fast() {
        // Every byte the beginning of a frame of many bytes.
        let long: Vec<u8> = [2u8, 0xff, 0xff, 0x01].repeat(100_000);
        for bytes in [noise(5, 400_000), long] {
            for format in [Format::One, Format::Two] {
                assert_eq!(find(format, &bytes), None);
            }
        }
    }
}
