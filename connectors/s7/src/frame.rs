//! Frames as they go over the wire: TPKT (RFC 1006), COTP class 0 (ISO 8073), S7comm.
//!
//! Encoding writes into a buffer that is kept; the `parse_*` functions are pure, look at nothing
//! behind the slice they get, and never panic.

use crate::address::Area;
use crate::plan::Range;

/// Largest frame that is read, TPKT head included. A COTP data unit has at most 1024 bytes here;
/// more is refused before any memory is spent on it.
pub(crate) const FRAME_MAX_BYTES: usize = 2048;

/// Items one read request may carry; Siemens CPUs take no more.
pub(crate) const ITEMS_MAX: usize = 20;

/// Head, error word, function and item count in front of the first item of a reply.
pub(crate) const REPLY_HEAD_BYTES: usize = 14;

/// Head, function and item count in front of the first item of a request.
pub(crate) const REQUEST_HEAD_BYTES: usize = 12;

/// One item of a request: an S7ANY pointer with its head.
pub(crate) const REQUEST_ITEM_BYTES: usize = 12;

/// Return code, transport size and length in front of the data of a reply's item.
pub(crate) const REPLY_ITEM_BYTES: usize = 4;

/// Return code of an item that was read.
pub(crate) const ITEM_GOOD: u8 = 0xFF;

/// What does not fit, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FrameFault(pub String);

pub(crate) fn bad<T>(what: impl Into<String>) -> Result<T, FrameFault> {
    Err(FrameFault(what.into()))
}

/// Length of what follows the four bytes of a TPKT head (RFC 1006, section 6).
pub(crate) fn parse_tpkt(head: [u8; 4]) -> Result<usize, FrameFault> {
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] != 3 {
        return bad(format!("frame starts with {:#04x} instead of 0x03: not ISO on TCP", head[0]));
    }
    // A frame without at least three bytes of COTP says nothing.
    if !(7..=FRAME_MAX_BYTES).contains(&length) {
        return bad(format!("frame of {length} bytes, 7 to {FRAME_MAX_BYTES} are possible"));
    }
    Ok(length - 4)
}

/// A COTP unit (ISO 8073, class 0).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cotp<'a> {
    /// CR: somebody wants a connection; the unit size asked for as a power of two.
    Request { source: u16, size_exponent: u8 },
    /// CC: the connection stands; the largest unit the peer takes, head included.
    Confirm { unit_bytes: usize },
    /// DR: the connection is refused or ended.
    Disconnect { reason: u8 },
    /// DT: data, `last` when the message is complete.
    Data { last: bool, payload: &'a [u8] },
}

/// Reads the COTP unit of a frame.
pub(crate) fn parse_cotp(unit: &[u8]) -> Result<Cotp<'_>, FrameFault> {
    let head = unit.first().map_or(0, |len| usize::from(*len)) + 1;
    let Some((head, payload)) = unit.split_at_checked(head).filter(|(head, _)| head.len() >= 3) else {
        return bad(format!("COTP head of {head} bytes in a unit of {} bytes", unit.len()));
    };
    match (head[1] & 0xF0, head) {
        (0xF0, [_, _, number]) => Ok(Cotp::Data { last: number & 0x80 != 0, payload }),
        (0xD0, [_, _, _, _, _, _, _, parameters @ ..]) => {
            // Without the parameter the smallest unit of the standard applies.
            let exponent = unit_size(parameters)?.unwrap_or(7);
            Ok(Cotp::Confirm { unit_bytes: 1 << exponent })
        }
        (0xE0, [_, _, _, _, high, low, _, parameters @ ..]) => Ok(Cotp::Request {
            source: u16::from_be_bytes([*high, *low]),
            size_exponent: unit_size(parameters)?.unwrap_or(7),
        }),
        (0x80, [_, _, _, _, _, _, reason, ..]) => Ok(Cotp::Disconnect { reason: *reason }),
        (kind, _) => bad(format!("COTP unit of kind {kind:#04x} with a head of {} bytes", head.len())),
    }
}

/// The parameter "TPDU size" (0xC0) of a connection request or confirm, as a power of two.
fn unit_size(mut parameters: &[u8]) -> Result<Option<u8>, FrameFault> {
    let mut found = None;
    while let [code, len, rest @ ..] = parameters {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*len)) else {
            return bad("COTP parameter is longer than its unit");
        };
        match (code, value) {
            (0xC0, [exponent @ 7..=13]) => found = Some(*exponent),
            (0xC0, _) => return bad("COTP unit size is not 128 to 8192 bytes"),
            _ => {}
        }
        parameters = rest;
    }
    Ok(found)
}

/// An S7 message after its head was checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// 1 request, 2 and 3 answers, 7 user data.
    pub kind: u8,
    pub reference: u16,
    /// Error class and code, 0 when there is none.
    pub error: u16,
    pub parameters: &'a [u8],
    pub data: &'a [u8],
}

/// Reads an S7 message; the lengths in its head must add up exactly.
pub(crate) fn parse_message(bytes: &[u8]) -> Result<Message<'_>, FrameFault> {
    let [0x32, kind, _, _, r1, r0, p1, p0, d1, d0, rest @ ..] = bytes else {
        return bad(format!("{} bytes that are no S7 message", bytes.len()));
    };
    let word = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
    let (error, rest) = match (kind, rest) {
        (2 | 3, [class, code, rest @ ..]) => (word(class, code), rest),
        (1 | 7, rest) => (0, rest),
        _ => return bad(format!("S7 message of kind {kind} with {} bytes", bytes.len())),
    };
    let (parameters, data) = (usize::from(word(p1, p0)), usize::from(word(d1, d0)));
    if parameters + data != rest.len() {
        return bad(format!("S7 message announces {parameters} + {data} bytes and has {}", rest.len()));
    }
    let (parameters, data) = rest.split_at(parameters);
    Ok(Message { kind: *kind, reference: word(r1, r0), error, parameters, data })
}

/// The PDU size the device settles on.
pub(crate) fn parse_setup(message: &Message<'_>) -> Result<usize, FrameFault> {
    let [0xF0, _, _, _, _, _, high, low] = message.parameters else {
        return bad("answer to the setup of the communication has another form");
    };
    let pdu_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    // Below this not even one double word would fit an answer.
    if pdu_bytes < 64 {
        return bad(format!("PDU of {pdu_bytes} bytes is too small"));
    }
    Ok(pdu_bytes)
}

/// One item of a read reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Data(&'a [u8]),
    /// The return code; such an item has no data, whatever its length field says.
    Refused(u8),
}

/// Walks over the items of a read reply.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
    /// The previous item had an odd length, so a filling byte follows.
    odd: bool,
}

/// Begins to read the items of a reply, of which there must be `count`.
pub(crate) fn parse_items<'a>(message: &Message<'a>, count: usize) -> Result<Items<'a>, FrameFault> {
    match message.parameters {
        [4, items] if usize::from(*items) == count => Ok(Items { rest: message.data, odd: false }),
        [4, items] => bad(format!("{items} items answered, {count} asked")),
        _ => bad("answer belongs to another function"),
    }
}

impl<'a> Items<'a> {
    /// The next item.
    pub(crate) fn next_item(&mut self) -> Result<Item<'a>, FrameFault> {
        if self.odd {
            // A missing filling byte shows in the length checks below.
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        self.odd = false;
        let [code, size, high, low, rest @ ..] = self.rest else {
            return bad("answer ends within an item's head");
        };
        if *code != ITEM_GOOD {
            // C Snap7 sends length 4 here without any data, other devices length 0.
            self.rest = rest;
            return Ok(Item::Refused(*code));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let bytes = match size {
            3..=5 => length.div_ceil(8),
            6 | 7 | 9 => length,
            _ => return bad(format!("unknown transport size {size} in an answer")),
        };
        let Some((data, rest)) = rest.split_at_checked(bytes) else {
            return bad(format!("item of {bytes} bytes, {} are there", rest.len()));
        };
        self.rest = rest;
        self.odd = bytes % 2 == 1;
        Ok(Item::Data(data))
    }

    /// Checks that nothing but a filling byte is left.
    pub(crate) fn end(self) -> Result<(), FrameFault> {
        if self.rest.len() > usize::from(self.odd) {
            return bad(format!("{} bytes behind the last item", self.rest.len()));
        }
        Ok(())
    }
}

/// Writes a whole frame with one COTP data unit around what `body` writes.
pub(crate) fn write_data(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    write_frame(out, |out| {
        out.extend([2, 0xF0, 0x80]);
        body(out);
    });
}

/// Writes a TPKT head and what `unit` writes behind it.
pub(crate) fn write_frame(out: &mut Vec<u8>, unit: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend([3, 0, 0, 0]);
    unit(out);
    let length = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    out[2..4].copy_from_slice(&length);
}

/// COTP connection request: units of 1024 bytes, both transport selectors.
pub(crate) fn write_connect(out: &mut Vec<u8>, local_tsap: u16, remote_tsap: u16) {
    write_frame(out, |out| {
        out.extend([17, 0xE0, 0, 0, 0, 1, 0, 0xC0, 1, 10, 0xC1, 2]);
        out.extend(local_tsap.to_be_bytes());
        out.extend([0xC2, 2]);
        out.extend(remote_tsap.to_be_bytes());
    });
}

/// Head of an S7 message without error word.
pub(crate) fn write_head(out: &mut Vec<u8>, kind: u8, reference: u16, parameters: usize, data: usize) {
    out.extend([0x32, kind, 0, 0]);
    out.extend(reference.to_be_bytes());
    for length in [parameters, data] {
        out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// Setup of the communication: one request at a time, PDUs of this size wanted.
pub(crate) fn write_setup(out: &mut Vec<u8>, reference: u16, pdu_bytes: u16) {
    write_data(out, |out| {
        write_head(out, 1, reference, 8, 0);
        out.extend([0xF0, 0, 0, 1, 0, 1]);
        out.extend(pdu_bytes.to_be_bytes());
    });
}

/// What an S7ANY pointer says besides the area and the block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Transport size: 2 for bytes, the area's own code for timers and counters.
    pub size: u8,
    /// Elements of that size.
    pub count: u32,
    /// Bits from the beginning of the area, or the number of the timer or counter.
    pub address: u32,
}

impl Pointer {
    /// Points to these bytes of an area.
    pub(crate) fn of(area: Area, start: u32, len_bytes: u32) -> Self {
        match area.element_bytes() {
            None => Self { size: 2, count: len_bytes, address: start << 3 },
            Some(bytes) => Self { size: area.code(), count: len_bytes / bytes, address: start / bytes },
        }
    }
}

/// Read request for these ranges, at most [`ITEMS_MAX`], each asked for as bytes, or as
/// timers or counters.
pub(crate) fn write_read<'a>(
    out: &mut Vec<u8>,
    reference: u16,
    ranges: impl ExactSizeIterator<Item = &'a Range>,
) {
    let count = ranges.len();
    write_data(out, |out| {
        write_head(out, 1, reference, 2 + count * REQUEST_ITEM_BYTES, 0);
        out.extend([4, u8::try_from(count).unwrap_or(u8::MAX)]);
        for range in ranges {
            let pointer = Pointer::of(range.area, range.start, u32::from(range.len_bytes));
            out.extend([0x12, 10, 0x10, pointer.size]);
            out.extend(u16::try_from(pointer.count).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(range.area.db().to_be_bytes());
            // Area code and address share a double word; the address takes its low 24 bits.
            out.extend((u32::from(range.area.code()) << 24 | pointer.address).to_be_bytes());
        }
    });
}

#[cfg(test)]
mod tests;
