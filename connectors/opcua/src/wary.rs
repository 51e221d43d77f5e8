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
pub(crate) const VALUE_BYTES: usize = 128;
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
/// Lengths up to this one cost nothing, even where they cannot be true.
const HARMLESS: usize = 1 << 16;
/// Encoding bytes of arrays of numbers of one byte, without and with dimensions (Part 6, 5.2.2.16).
const ARRAYS: [u8; 6] = [0x81, 0x82, 0x83, 0xC1, 0xC2, 0xC3];
/// Shortest array that is counted as one.
const ARRAY_MIN: usize = 16;
/// So many of its bytes are exchanged for [`MARK`].
const MARKED: usize = 8;
/// Nothing to a number of one byte. Whatever else begins with a byte asks for more than one after it,
/// after at most one more, or cannot be decoded.
const MARK: u8 = 0xFF;
/// What such a number becomes.
const NUMBER_BYTES: usize = size_of::<opcua::types::Variant>();

/// What is left of an array of numbers of one byte.
#[derive(Default)]
struct Array {
    left: usize,
    /// How many of these are exchanged first.
    marks: usize,
}

/// A stream that ends where decoding on would cost too much, and remembers why.
pub(crate) struct Wary<'a> {
    bytes: &'a [u8],
    /// A byte in front of them.
    head: Option<u8>,
    /// The byte that was asked for last, alone.
    last: Option<u8>,
    /// What was given out last was [`PROBE`].
    probing: bool,
    /// [`PROBE`] was given out at all.
    is_exchanged: bool,
    /// Arrays of numbers of one byte are looked for: they take less than the same bytes in general.
    looks_for_arrays: bool,
    /// What seems to be one.
    array: Array,
    /// There was one.
    has_guessed: bool,
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
    let mut stream = Wary::new(head, bytes, true);
    let mut is_decoded = decode(&mut stream);
    let is_right = is_decoded && stream.fault.is_none() && stream.array.left == 0;
    if stream.has_guessed && !is_right {
        // Something only looked like an array, or the fault is another.
        stream = Wary::new(head, bytes, false);
        is_decoded = decode(&mut stream);
    }
    if let Some(fault) = stream.fault {
        Err(fault)
    } else if stream.is_exchanged && !is_decoded {
        // The library would perhaps come further than this trial, with the true number.
        Err("it sent an answer that cannot be decoded, with a number that no length can be".into())
    } else {
        Ok(stream.memory)
    }
}

/// Roughly where the stack is now.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

impl<'a> Wary<'a> {
    fn new(head: Option<u8>, bytes: &'a [u8], looks_for_arrays: bool) -> Self {
        Self {
            bytes,
            head,
            last: None,
            probing: false,
            is_exchanged: false,
            looks_for_arrays,
            array: Array::default(),
            has_guessed: false,
            memory: 0,
            stack: stack_address(),
            fault: None,
        }
    }

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
        if self.array.left > 0 && asked != 1 {
            // It is none.
            return Err(ErrorKind::InvalidData.into());
        }
        self.memory += match asked {
            1 if self.array.left > 0 => NUMBER_BYTES,
            1 => VALUE_BYTES,
            _ => FIELD_BYTES + buffer.len(),
        };
        if self.memory > MEMORY_MAX {
            let most = MEMORY_MAX >> 20;
            return Err(self.refuse(format!("it sent an answer that takes more than {most} MiB of memory")));
        }
        if let ([one], Some(head)) = (&mut *buffer, self.head.take()) {
            *one = head;
            self.last = Some(head);
            return Ok(());
        }
        let Some((piece, rest)) = self.bytes.split_at_checked(buffer.len()) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(piece);
        self.bytes = rest;
        self.mark(buffer);
        self.doubt(buffer);
        self.last = if let [one] = *buffer { Some(one) } else { None };
        Ok(())
    }

    /// Finds the beginning of an array of numbers of one byte, and exchanges the first ones: that they
    /// are such shows when nothing else than single bytes is asked for, up to the end of the array.
    fn mark(&mut self, buffer: &mut [u8]) {
        if let ([one], 1..) = (&mut *buffer, self.array.left) {
            self.array.left -= 1;
            if self.array.marks > 0 {
                self.array.marks -= 1;
                *one = MARK;
            }
        } else if let Ok(number) = <[u8; 4]>::try_from(&*buffer) {
            let left = usize::try_from(i32::from_le_bytes(number)).unwrap_or(0);
            let is_array = self.looks_for_arrays && self.last.is_some_and(|byte| ARRAYS.contains(&byte));
            if is_array && (ARRAY_MIN..=self.bytes.len()).contains(&left) {
                self.array = Array { left, marks: MARKED };
                self.has_guessed = true;
            }
        }
    }

    /// Exchanges the length of a body when there are fewer bytes. That it is one shows when as many
    /// bytes are asked for; everything else that looks like it is either a length as impossible, or a
    /// number that decides nothing.
    fn doubt(&mut self, buffer: &mut [u8]) {
        let Ok(number) = <[u8; 4]>::try_from(&*buffer) else { return };
        let Ok(length) = usize::try_from(i32::from_le_bytes(number)) else { return };
        if length > self.bytes.len().max(HARMLESS) && self.last.is_some_and(|byte| BODIES.contains(&byte)) {
            buffer.copy_from_slice(&PROBE.to_le_bytes());
            self.probing = true;
            self.is_exchanged = true;
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
        DiagnosticInfo, ExtensionObject, Guid, NodeAttributesMask, StatusCode, Variant,
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
            for claimed in [65_537, 1 << 24, i32::MAX] {
                let refused = trial::<ExtensionObject>(&object(body, claimed));
                assert!(
                    refused.clone().is_err_and(|why| why.contains("than the 30 that follow")),
                    "{claimed}: {refused:?}"
                );
                let array = [&[0x96, 2, 0, 0, 0, 0, 0, 0][..], &object(body, claimed)].concat();
                assert_eq!(trial::<Variant>(&array), refused, "{claimed}");
            }
            // The library refuses what is short by itself.
            for claimed in [i32::MIN, -2, -1, 0, 1, 30, 31, 65_536] {
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
    fn numbers_that_stop_the_trial_and_not_the_library_are_refused() {
        // An enumeration that knows numbers as large as this.
        let all = NodeAttributesMask::All as i32;
        let bytes = [&[1][..], &all.to_le_bytes(), &object(1, i32::MAX)].concat();
        let decode = |stream: &mut dyn Read| {
            let (owned, mut stream) = (context(), stream);
            let context = owned.context();
            bool::decode(&mut stream, &context).is_ok()
                && NodeAttributesMask::decode(&mut stream, &context).is_ok()
        };
        assert!(decode(&mut &bytes[..]));
        let refused = check(None, &bytes, |stream| decode(stream));
        assert!(refused.clone().is_err_and(|why| why.contains("no length can be")), "{refused:?}");
    }

    #[test]
    fn arrays_of_single_bytes_are_counted_as_what_they_take() {
        let list = |values: Vec<Variant>| {
            let values: Vec<DataValue> = values.into_iter().map(DataValue::value_only).collect();
            Some(values).encode_to_vec(&context().context())
        };
        let bools = Variant::from(vec![true; 6000]);
        let taken = |bytes: &[u8]| {
            check(None, bytes, |stream| {
                Option::<Vec<DataValue>>::decode(stream, &context().context()).is_ok()
            })
        };
        let memory = taken(&list(vec![bools; 100])).expect("100 arrays");
        assert!((600_000 * NUMBER_BYTES..600_000 * (NUMBER_BYTES + 1)).contains(&memory), "{memory}");
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
