//! Bits in front, bytes behind: how a record of a chain is laid out.
//!
//! A codec is written once against [`Coder`], and the same function runs for writing and for
//! reading. When writing, each method puts the value it is given and returns it; when reading, it
//! ignores what it is given and returns what stands in the bytes. So the two cannot disagree.
//!
//! Bits fill a record from its front, low bit of a byte first. Whole bytes (texts, arrays, causes)
//! fill it from its end, the first of them last. Nothing in between tells where they meet.

use super::model::{Number, unzigzag, zigzag};

/// Quotients from here on are written as length and bits.
const ESCAPE: u32 = 12;
/// Bits of the length in front of a number without a model.
const LENGTH_BITS: u32 = 7;

/// A direction.
pub(super) trait Coder {
    /// Whether the given values are written, or values are read into their place.
    const WRITES: bool;

    /// `bits` (at most 56) as they are.
    fn raw(&mut self, bits: u32, value: u64) -> Option<u64>;

    /// A number that is mostly small, as `model` has learned.
    fn number(&mut self, model: &mut Number, value: u64) -> Option<u64>;

    /// Whole bytes at the end of the record, their length among the bits.
    fn bytes(&mut self, length: &mut Number, value: &[u8]) -> Option<Vec<u8>>;

    /// The answer to one question.
    #[inline]
    fn bit(&mut self, value: bool) -> Option<bool> {
        Some(self.raw(1, u64::from(value))? != 0)
    }

    /// A number of any size without a model: its length in bits, then its bits.
    fn wide(&mut self, value: u64) -> Option<u64> {
        let length = self.raw(LENGTH_BITS, u64::from(u64::BITS - value.leading_zeros()))?;
        match u32::try_from(length).ok()? {
            0 => Some(0),
            length @ 1..=32 => self.raw(length, value),
            length @ 33..=64 => {
                let high = self.raw(length - 32, value >> 32)?;
                Some(high << 32 | self.raw(32, value & 0xffff_ffff)?)
            }
            _ => None,
        }
    }

    /// [`Coder::wide`] with a sign.
    fn wide_signed(&mut self, value: i64) -> Option<i64> {
        self.wide(zigzag(value)).map(unzigzag)
    }

    /// [`Coder::number`] with a sign.
    #[inline]
    fn signed(&mut self, model: &mut Number, value: i64) -> Option<i64> {
        self.number(model, zigzag(value)).map(unzigzag)
    }
}

/// Writes records, reusing its buffers.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bits: Vec<u8>,
    held: u64,
    count: u32,
    /// Bytes for the end, in the order in which they came, and the lengths of the pieces.
    bytes: Vec<u8>,
    pieces: Vec<usize>,
}

impl BitWriter {
    /// Appends the record to `front`, its bytes to `back`, and begins a new one.
    pub(super) fn finish(&mut self, front: &mut Vec<u8>, back: &mut Vec<u8>) {
        if self.count > 0 {
            self.bits.push(self.held.to_le_bytes()[0]);
        }
        front.extend_from_slice(&self.bits);
        let mut end = self.bytes.len();
        for length in self.pieces.drain(..).rev() {
            back.extend_from_slice(&self.bytes[end - length..end]);
            end -= length;
        }
        (self.held, self.count) = (0, 0);
        self.bits.clear();
        self.bytes.clear();
    }

    #[inline]
    fn put(&mut self, bits: u32, value: u64) {
        debug_assert!(bits <= 56 && value >> bits == 0);
        self.held |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bits.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }
}

impl Coder for BitWriter {
    const WRITES: bool = true;

    #[inline]
    fn raw(&mut self, bits: u32, value: u64) -> Option<u64> {
        self.put(bits, value);
        Some(value)
    }

    #[inline]
    fn number(&mut self, model: &mut Number, value: u64) -> Option<u64> {
        let parameter = model.rice_parameter();
        match u32::try_from(value >> parameter) {
            Ok(quotient) if quotient < ESCAPE => {
                // `quotient` ones and a zero.
                self.put(quotient + 1, (1 << quotient) - 1);
                self.put(parameter, value & ((1 << parameter) - 1));
            }
            _ => {
                self.put(ESCAPE, (1 << ESCAPE) - 1);
                self.wide(value);
            }
        }
        model.learn(value);
        Some(value)
    }

    fn bytes(&mut self, length: &mut Number, value: &[u8]) -> Option<Vec<u8>> {
        self.number(length, value.len() as u64)?;
        self.bytes.extend_from_slice(value);
        self.pieces.push(value.len());
        Some(value.to_vec())
    }
}

/// Reads what a [`BitWriter`] wrote. The bytes may be anything.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    /// The record.
    whole: &'a [u8],
    /// What of it has not been taken into `held`.
    front: &'a [u8],
    held: u64,
    count: u32,
    /// Where the bytes come from: the end of the record, or of a slice of their own.
    back: &'a [u8],
    apart: bool,
}

impl<'a> BitReader<'a> {
    /// Reads bits from the front of `record`, and bytes from the end of `back`, or of `record`.
    pub(super) fn new(record: &'a [u8], back: Option<&'a [u8]>) -> Self {
        let apart = back.is_some();
        Self { whole: record, front: record, held: 0, count: 0, back: back.unwrap_or(record), apart }
    }

    /// Whether everything was read: bits and bytes meet.
    pub(super) fn is_done(&self) -> bool {
        let read = self.whole.len() - self.front.len() - (self.count / 8) as usize;
        if self.apart { self.back.is_empty() && read == self.whole.len() } else { self.back.len() == read }
    }

    #[inline]
    fn fill(&mut self) {
        if let Some(chunk) = self.front.first_chunk::<8>() {
            // Bits above `count` are those of the bytes that come next, which give them once more.
            self.held |= u64::from_le_bytes(*chunk) << self.count;
            self.front = &self.front[(((63 - self.count) / 8) & 7) as usize..];
            // That many bytes more.
            self.count |= 56;
        } else {
            while self.count <= 55 {
                let Some((first, rest)) = self.front.split_first() else { return };
                self.held |= u64::from(*first) << self.count;
                self.count += 8;
                self.front = rest;
            }
        }
    }

    /// A number that is an escape, or more than is held.
    #[cold]
    fn long_number(&mut self, ones: u32, parameter: u32) -> Option<u64> {
        if ones >= ESCAPE {
            self.take(ESCAPE)?;
            return self.wide(0);
        }
        self.take(ones + 1)?;
        Some(u64::from(ones) << parameter | self.take(parameter)?)
    }

    #[inline]
    fn take(&mut self, bits: u32) -> Option<u64> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return None;
            }
        }
        let value = self.held & ((1 << bits) - 1);
        self.held >>= bits;
        self.count -= bits;
        Some(value)
    }
}

impl Coder for BitReader<'_> {
    const WRITES: bool = false;

    #[inline]
    fn raw(&mut self, bits: u32, _: u64) -> Option<u64> {
        self.take(bits)
    }

    #[inline]
    fn number(&mut self, model: &mut Number, _: u64) -> Option<u64> {
        let parameter = model.rice_parameter();
        if self.count < 56 {
            self.fill();
        }
        let ones = self.held.trailing_ones();
        let bits = ones + 1 + parameter;
        let value = if ones < ESCAPE && bits <= self.count {
            let low = self.held >> (ones + 1) & ((1 << parameter) - 1);
            self.held >>= bits;
            self.count -= bits;
            u64::from(ones) << parameter | low
        } else {
            self.long_number(ones, parameter)?
        };
        model.learn(value);
        Some(value)
    }

    fn bytes(&mut self, length: &mut Number, _: &[u8]) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number(length, 0)?).ok()?;
        let (rest, taken) = self.back.split_at_checked(self.back.len().checked_sub(length)?)?;
        self.back = rest;
        Some(taken.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_bytes_come_back_from_one_slice_and_from_two() {
        let numbers = [0, 1, 5, 300, u64::MAX, 7, 1 << 52];
        let mut writer = BitWriter::default();
        let (mut model, mut length) = (Number::default(), Number::default());
        for number in numbers {
            writer.number(&mut model, number).unwrap();
            writer.bytes(&mut length, &number.to_le_bytes()).unwrap();
            writer.wide_signed(-5).unwrap();
        }
        let (mut front, mut back) = (Vec::new(), Vec::new());
        writer.finish(&mut front, &mut back);
        let together = [front.clone(), back.clone()].concat();
        for mut reader in [BitReader::new(&together, None), BitReader::new(&front, Some(&back))] {
            let (mut model, mut length) = (Number::default(), Number::default());
            for number in numbers {
                assert!(!reader.is_done());
                assert_eq!(reader.number(&mut model, 0), Some(number));
                assert_eq!(reader.bytes(&mut length, &[]), Some(number.to_le_bytes().to_vec()));
                assert_eq!(reader.wide_signed(0), Some(-5));
            }
            assert!(reader.is_done());
        }
    }

    #[test]
    fn nothing_is_read_from_nothing() {
        let (mut model, mut reader) = (Number::default(), BitReader::new(&[], None));
        assert!(reader.is_done());
        assert_eq!((reader.raw(1, 0), reader.number(&mut model, 0), reader.wide(0)), (None, None, None));
        assert_eq!(BitReader::new(&[0], None).bytes(&mut model, &[]), Some(vec![]));
        let mut reader = BitReader::new(&[0xff, 0xff], Some(&[7]));
        assert_eq!((reader.bytes(&mut Number::default(), &[]), reader.is_done()), (None, false));
    }

    #[test]
    fn small_numbers_take_few_bits() {
        let mut writer = BitWriter::default();
        let mut model = Number::default();
        for _ in 0..64 {
            writer.number(&mut model, 1).unwrap();
        }
        let mut front = Vec::new();
        writer.finish(&mut front, &mut Vec::new());
        assert!(front.len() <= 17, "{} bytes for 64 ones", front.len());
    }
}
