//! Decodes what a peer sent once for trial, before the library may.
//!
//! The library believes two things that it should not: the length that the body of an object claims
//! to have, for which it asks the system for up to 2 GiB at once, and the depth of values in values,
//! which it follows until the stack ends. Either ends the whole process, not only the connection.
//! Both are seen from below, in what the decoder asks its stream for, so that this check needs no
//! grammar of its own and misses no type.

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};

/// Most memory that one answer may take once it is decoded, in bytes, as estimated by [`VALUE_BYTES`]
/// and [`FIELD_BYTES`].
pub(crate) const MEMORY_MAX: usize = 64 << 20;
/// What one byte on the wire may become at most: a boxed value without content.
const VALUE_BYTES: usize = 128;
/// What a longer piece takes beside its own bytes.
const FIELD_BYTES: usize = 64;
/// Stack that decoding may use, in bytes, of the 2 MiB that a thread has. Ten objects within each other,
/// the most that the library permits where it counts them, take a fraction of it.
const STACK_MAX: usize = 256 << 10;
/// Stands in for a length that cannot be true. No text is as long as this, by the options of the
/// library: who asks for as many bytes next has taken it for the length of a body.
const PROBE: i32 = (1 << 16) + 1;
/// Encoding bytes in front of the length of a body: bytes, XML (Part 6, 5.2.2.15).
const BODIES: [u8; 2] = [1, 2];

/// A stream that ends where decoding on would cost too much, and remembers why.
pub(crate) struct Wary<'a> {
    bytes: &'a [u8],
    /// A byte in front of them.
    head: Option<u8>,
    /// The byte that was asked for last, alone.
    last: Option<u8>,
    /// What was given out last was [`PROBE`].
    probing: bool,
    memory: usize,
    /// Where the stack was when decoding began.
    stack: usize,
    fault: Option<String>,
}

/// Lets `decode` have these bytes, with `head` in front of them; some of its numbers are not those of
/// the peer, so that its result is of no use. Returns how much memory the result takes at most, in
/// bytes.
///
/// # Errors
/// In words that follow "connection lost: ", why the bytes may not be decoded. Bytes that simply
/// cannot be decoded are none of this business.
pub(crate) fn check(
    head: Option<u8>,
    bytes: &[u8],
    decode: impl Fn(&mut Wary<'_>) -> bool,
) -> Result<usize, String> {
    let stack = stack_address();
    let mut stream = Wary { bytes, head, last: None, probing: false, memory: 0, stack, fault: None };
    let _done = decode(&mut stream);
    stream.fault.map_or(Ok(stream.memory), Err)
}

/// Roughly where the stack is now.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

impl Wary<'_> {
    fn refuse(&mut self, why: String) -> IoError {
        let error = IoError::new(ErrorKind::InvalidData, why.as_str());
        self.fault.get_or_insert(why);
        error
    }

    /// Gives out the next piece to who has asked for `asked` bytes.
    fn take(&mut self, asked: usize, buffer: &mut [u8]) -> IoResult<()> {
        if self.probing && asked == PROBE as usize {
            let left = self.bytes.len();
            return Err(
                self.refuse(format!("it sent an object that claims more bytes than the {left} that follow"))
            );
        }
        self.probing = false;
        if self.stack.abs_diff(stack_address()) > STACK_MAX {
            return Err(self.refuse("it sent values nested too deep".into()));
        }
        self.memory += if asked == 1 { VALUE_BYTES } else { FIELD_BYTES + buffer.len() };
        if self.memory > MEMORY_MAX {
            let most = MEMORY_MAX >> 20;
            return Err(self.refuse(format!("it sent an answer that takes more than {most} MiB of memory")));
        }
        if let ([one], Some(head)) = (&mut *buffer, self.head.take()) {
            *one = head;
            return Ok(());
        }
        let Some((piece, rest)) = self.bytes.split_at_checked(buffer.len()) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(piece);
        self.bytes = rest;
        self.doubt(buffer);
        self.last = if let [one] = *buffer { Some(one) } else { None };
        Ok(())
    }

    /// Exchanges the length of a body when there are fewer bytes. That it is one shows when as many
    /// bytes are asked for; everything else that looks like it is either a length as impossible, or a
    /// number that decides nothing.
    fn doubt(&mut self, buffer: &mut [u8]) {
        let Ok(number) = <[u8; 4]>::try_from(&*buffer) else { return };
        let Ok(length) = usize::try_from(i32::from_le_bytes(number)) else { return };
        if length > self.bytes.len() && self.last.is_some_and(|byte| BODIES.contains(&byte)) {
            buffer.copy_from_slice(&PROBE.to_le_bytes());
            self.probing = true;
        }
    }
}

impl Read for Wary<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let (asked, there) = (buffer.len(), self.bytes.len() + usize::from(self.head.is_some()));
        let length = asked.min(there);
        self.take(asked, &mut buffer[..length])?;
        Ok(length)
    }

    // The default calls `read` until it has enough, which would hide how much is asked for.
    fn read_exact(&mut self, buffer: &mut [u8]) -> IoResult<()> {
        self.take(buffer.len(), buffer)
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::{
        BinaryDecodable, BinaryEncodable, ByteString, ContextOwned, DataValue, DecodingOptions,
        DiagnosticInfo, ExtensionObject, Guid, StatusCode, Variant,
    };

    use super::*;

    /// The limits of the client.
    fn context() -> ContextOwned {
        let options =
            DecodingOptions { max_array_length: 1 << 16, max_string_length: 1 << 16, ..Default::default() };
        ContextOwned::new_default(Default::default(), options)
    }

    fn trial<T: BinaryDecodable>(bytes: &[u8]) -> Result<(), String> {
        let trial = check(None, bytes, |stream| T::decode(stream, &context().context()).is_ok());
        trial.map(|_| ())
    }

    /// An object with a body of this kind that claims to be as long as this.
    fn object(body: u8, claimed: i32) -> Vec<u8> {
        [&[1, 5, 7, 0, body][..], &claimed.to_le_bytes(), &[7; 30]].concat()
    }

    #[test]
    fn bodies_longer_than_what_is_there_are_refused() {
        for body in BODIES {
            for claimed in [31, 65_537, 1 << 24, i32::MAX] {
                let refused = trial::<ExtensionObject>(&object(body, claimed));
                assert!(
                    refused.clone().is_err_and(|why| why.contains("than the 30 that follow")),
                    "{claimed}: {refused:?}"
                );
                let array = [&[0x96, 2, 0, 0, 0, 0, 0, 0][..], &object(body, claimed)].concat();
                assert_eq!(trial::<Variant>(&array), refused, "{claimed}");
            }
            for claimed in [i32::MIN, -2, -1, 0, 1, 30] {
                assert_eq!(trial::<ExtensionObject>(&object(body, claimed)), Ok(()), "{claimed}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_length_passes() {
        // A status that is a number like 2 GiB stands behind a byte 1 or 2.
        for status in [0x4090_0000, 0x7FFF_FFFF, 65_537] {
            let bare = DataValue { status: Some(StatusCode::from(status)), ..Default::default() };
            let bytes = Variant::from(vec![0u8, 0, 1, 2]);
            let full = DataValue { value: Some(bytes), ..bare.clone() };
            let text =
                DataValue { value: Some(Variant::ByteString(ByteString::from(vec![2]))), ..bare.clone() };
            for value in [bare, full, text] {
                let all = [value.encode_to_vec(&context().context()), vec![5; 9]].concat();
                assert_eq!(trial::<DataValue>(&all), Ok(()), "{value:?}");
            }
        }
    }

    /// Levels that pass, of values that are each one level more than `inner` with these bytes.
    fn levels<T: BinaryDecodable>(outer: &[u8], inner: &[u8]) -> usize {
        let refused = |levels: &usize| {
            let bytes = [&outer.repeat(*levels)[..], inner].concat();
            trial::<T>(&bytes).is_err_and(|why| why.contains("too deep"))
        };
        (0..100_000).step_by(10).find(refused).expect("there is a limit")
    }

    #[test]
    fn values_are_nested_as_deep_as_is_sane() {
        let diagnostics = levels::<DiagnosticInfo>(&[0x40], &[0]);
        let values = levels::<DataValue>(&[1, 23], &[0]);
        println!("{diagnostics} diagnostics, {values} values within each other");
        assert!((30..2000).contains(&diagnostics) && (30..2000).contains(&values));
        // Where the library counts, its own limit of ten comes first, and is no fault here.
        let object = [&[24; 10_000][..], &[0]].concat();
        assert_eq!(trial::<Variant>(&object), Ok(()));
    }

    #[test]
    fn what_would_grow_beyond_all_measure_is_refused() {
        // A value of one byte becomes a box, an array of them in each of many.
        let array = [&[0x80 | 25][..], &65_536i32.to_le_bytes(), &[0; 65_536]].concat();
        let arrays =
            |count: i32| [&count.to_le_bytes()[..], &array.repeat(count.unsigned_abs() as usize)].concat();
        assert_eq!(trial::<Option<Vec<Variant>>>(&arrays(7)), Ok(()));
        let why = trial::<Option<Vec<Variant>>>(&arrays(10)).expect_err("too much");
        assert!(why.contains("more than 64 MiB"), "{why}");
        // What the estimate rests on, with the room that an allocation takes for itself.
        for size in [size_of::<DiagnosticInfo>(), size_of::<DataValue>()] {
            assert!(size_of::<Variant>() + size + 16 <= VALUE_BYTES, "{size}");
        }
        assert!(size_of::<Variant>() + size_of::<Guid>() + 16 <= FIELD_BYTES + size_of::<Guid>());
    }
}
