//! Answers that are flat: numbers, times and texts, as nearly all answers are.
//!
//! Nothing in them is nested, no length is longer than what is there, and what they become is bounded
//! by their own length. They may be decoded without a trial ([`crate::wary`]), which costs as much as
//! the decoding itself. Whatever is not known to be flat is not: it takes the trial.

/// Longest answer that is looked at, in bytes: whatever its bytes become stays below
/// [`crate::wary::MEMORY_MAX`].
const BYTES_MAX: usize = crate::wary::MEMORY_MAX / crate::wary::VALUE_BYTES;
/// Ids of the encodings in namespace 0: answers to Read and to Publish, and the changes in the latter
/// (Part 6, A.3).
const READ_RESPONSE: u16 = 634;
const PUBLISH_RESPONSE: u16 = 829;
const DATA_CHANGE_NOTIFICATION: u16 = 811;
/// An array without elements that says so by its length, and one that is not there (Part 6, 5.2.5).
const NO_ELEMENTS: [i32; 2] = [0, -1];
/// Bit of an array in the first byte of a Variant (Part 6, 5.2.2.16).
const ARRAY: u8 = 0x80;

/// True when the body of an answer is flat from its first byte to its last.
pub(crate) fn is_flat(body: &[u8]) -> bool {
    let mut rest = Rest(body);
    body.len() <= BYTES_MAX && rest.answer().is_some() && rest.0.is_empty()
}

/// What has not been looked at. Each function takes what it knows from the front; `None` = it is not
/// known to be flat.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(skipped)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn is(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn int32(&mut self) -> Option<i32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_le_bytes(*bytes))
    }

    /// Length of an array or a text, 0 where it is not there.
    fn length(&mut self) -> Option<usize> {
        match self.int32()? {
            -1 => Some(0),
            length => usize::try_from(length).ok(),
        }
    }

    fn no_elements(&mut self) -> Option<()> {
        NO_ELEMENTS.contains(&self.int32()?).then_some(())
    }

    /// An array of elements of a fixed length in bytes.
    fn fixed(&mut self, bytes: usize) -> Option<()> {
        let length = self.length()?.checked_mul(bytes)?;
        self.skip(length).map(drop)
    }

    fn each(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let length = self.length()?;
        (0..length).try_for_each(|_| element(self))
    }

    fn answer(&mut self) -> Option<()> {
        match self.type_id()? {
            READ_RESPONSE => {
                self.header()?;
                self.each(Self::data_value)?;
            }
            PUBLISH_RESPONSE => {
                self.header()?;
                self.published()?;
            }
            _ => return None,
        }
        // Diagnostics.
        self.no_elements()
    }

    /// A node id in namespace 0, of four bytes.
    fn type_id(&mut self) -> Option<u16> {
        self.is(&[1, 0])?;
        let id = self.skip(2)?;
        Some(u16::from_le_bytes([id[0], id[1]]))
    }

    /// ResponseHeader without diagnostics, texts and more header (Part 4, 7.34).
    fn header(&mut self) -> Option<()> {
        // Time, handle, result.
        self.skip(8 + 4 + 4)?;
        self.is(&[0])?;
        self.no_elements()?;
        self.is(&[0, 0, 0])
    }

    /// PublishResponse behind its header, up to the diagnostics (Part 4, 5.14.5).
    fn published(&mut self) -> Option<()> {
        // Subscription, available numbers, more to come, number and time of the message.
        self.skip(4)?;
        self.fixed(4)?;
        self.skip(1 + 4 + 8)?;
        self.each(Self::changes)?;
        // Results.
        self.fixed(4)
    }

    /// DataChangeNotification as an object (Part 4, 7.25.2).
    fn changes(&mut self) -> Option<()> {
        if self.type_id()? != DATA_CHANGE_NOTIFICATION {
            return None;
        }
        self.is(&[1])?;
        let length = self.length()?;
        let mut body = Rest(self.skip(length)?);
        body.each(|item| {
            // Client's handle.
            item.skip(4)?;
            item.data_value()
        })?;
        body.no_elements()?;
        body.0.is_empty().then_some(())
    }

    /// DataValue (Part 6, 5.2.2.17).
    fn data_value(&mut self) -> Option<()> {
        let fields = self.byte()?;
        if fields & 0xC0 != 0 {
            return None;
        }
        if fields & 0x01 != 0 {
            self.variant()?;
        }
        let field = |bit: u8, bytes: usize| if fields & bit == 0 { 0 } else { bytes };
        // Status, times and their picoseconds.
        let bytes = field(0x02, 4) + field(0x04, 8) + field(0x10, 2) + field(0x08, 8) + field(0x20, 2);
        self.skip(bytes).map(drop)
    }

    /// A Variant of numbers, times, texts or bytes, alone or in an array of one dimension.
    fn variant(&mut self) -> Option<()> {
        let kind = self.byte()?;
        let (id, is_array) = (kind & !ARRAY, kind & ARRAY != 0);
        match (id, fixed_bytes(id), is_array) {
            // Null, where there is no value.
            (0, _, false) => Some(()),
            (_, Some(bytes), false) => self.skip(bytes).map(drop),
            (_, Some(bytes), true) => self.fixed(bytes),
            // String, ByteString.
            (12 | 15, None, false) => self.fixed(1),
            (12 | 15, None, true) => self.each(|text| text.fixed(1)),
            _ => None,
        }
    }
}

/// Bytes of a built-in type of fixed length (Part 6, 5.1.2).
fn fixed_bytes(id: u8) -> Option<usize> {
    match id {
        1..=3 => Some(1),
        4 | 5 => Some(2),
        6 | 7 | 10 | 19 => Some(4),
        8 | 9 | 11 | 13 => Some(8),
        14 => Some(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
