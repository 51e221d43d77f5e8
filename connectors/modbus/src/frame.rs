//! Requests to read, as bytes, and what the bytes of an answer are worth.
//!
//! Two framings carry the same five bytes of request and the same answer: Modbus TCP puts seven
//! bytes in front (transaction, protocol, length, unit; MODBUS Messaging on TCP/IP V1.0b, 3.1.3),
//! RTU puts the unit in front and a CRC behind (MODBUS over Serial Line V1.02, 2.5.1).
//!
//! An answer is believed when every byte that can be predicted is as predicted: transaction, unit,
//! function, length, number of bytes, CRC. RTU has no transaction: see `standing` for answers that
//! come too late there.

use std::ops::Range;

use crate::address::Table;

/// Longest answer: seven bytes of header, function, count, 250 bytes of 125 registers or 2000 bits.
pub const ANSWER_MAX: usize = 9 + 250;

/// How frames are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP.
    Tcp,
    /// Modbus RTU.
    Rtu,
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Unit identifier.
    pub unit: u8,
    /// Table.
    pub table: Table,
    /// First register or coil on the wire.
    pub start: u16,
    /// How many.
    pub count: u16,
}

impl Read {
    /// Function code (MODBUS Application Protocol V1.1b3, 6.1 to 6.4).
    pub fn function(self) -> u8 {
        self.table.function()
    }

    /// Bytes of data in a good answer.
    pub fn data_len(self) -> usize {
        let count = usize::from(self.count);
        if self.table.is_bits() { count.div_ceil(8) } else { count * 2 }
    }

    /// Length of a good answer with everything around it.
    pub fn answer_len(self, framing: Framing) -> usize {
        match framing {
            Framing::Tcp => 9 + self.data_len(),
            Framing::Rtu => 5 + self.data_len(),
        }
    }

    /// The request.
    pub fn request(self, framing: Framing, transaction: u16) -> Request {
        let mut bytes = [0; 12];
        let [start, count, transaction] = [self.start, self.count, transaction].map(u16::to_be_bytes);
        let body = [self.unit, self.function(), start[0], start[1], count[0], count[1]];
        let len = match framing {
            Framing::Tcp => {
                bytes[..6].copy_from_slice(&[transaction[0], transaction[1], 0, 0, 0, 6]);
                bytes[6..].copy_from_slice(&body);
                12
            }
            Framing::Rtu => {
                bytes[..6].copy_from_slice(&body);
                bytes[6..8].copy_from_slice(&crc(&body).to_le_bytes());
                8
            }
        };
        Request { read: self, framing, transaction: u16::from_be_bytes(transaction), bytes, len }
    }
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    read: Read,
    framing: Framing,
    transaction: u16,
    bytes: [u8; 12],
    len: usize,
}

/// What the bytes that have come so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The beginning of an answer of this length.
    Part(usize),
    /// A flawless answer; its data are these bytes.
    Data(Range<usize>),
    /// The device said no, with this exception code.
    Exception(u8),
}

impl Request {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Judges the bytes received since the request was sent.
    ///
    /// # Errors
    /// Words about the first byte that cannot belong to an answer to this request.
    pub fn judge(&self, received: &[u8]) -> Result<Heard, String> {
        match self.framing {
            Framing::Tcp => self.judge_tcp(received),
            Framing::Rtu => self.judge_rtu(received),
        }
    }

    fn judge_tcp(&self, received: &[u8]) -> Result<Heard, String> {
        let full = self.read.answer_len(Framing::Tcp);
        let Some(header) = received.first_chunk::<6>() else { return Ok(Heard::Part(full)) };
        let [transaction, protocol, length] =
            [0, 2, 4].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        if transaction != self.transaction {
            return Err(format!("transaction {} asked, {transaction} answered", self.transaction));
        }
        if protocol != 0 {
            return Err(format!("protocol {protocol} is not Modbus"));
        }
        // Unit, function and exception code; or unit, function, number of bytes and the data.
        let total = 6 + usize::from(length);
        if total != 9 && total != full {
            return Err(format!("{} bytes of answer expected, {length} announced", full - 6));
        }
        if let Some(unit) = received.get(6) {
            self.check_unit(*unit)?;
        }
        let is_exception = match received.get(7) {
            Some(function) => self.check_function(*function)?,
            None => return Ok(Heard::Part(total)),
        };
        if is_exception != (total == 9) {
            return Err(format!("{length} bytes announced, which is no length of this answer"));
        }
        if let Some(bytes) = received.get(8).filter(|_| !is_exception) {
            self.check_data_len(*bytes)?;
        }
        match received.len() {
            len if len < total => Ok(Heard::Part(total)),
            len if len > total => Err(format!("{} bytes after the answer", len - total)),
            _ if is_exception => Ok(Heard::Exception(received[8])),
            _ => Ok(Heard::Data(9..total)),
        }
    }

    fn judge_rtu(&self, received: &[u8]) -> Result<Heard, String> {
        match self.judge_rtu_frame(received) {
            // Some adapters hear themselves. An echo may even end with the checksum of an answer.
            Ok(Heard::Data(_)) | Err(_) if self.is_echo(received) => {
                Err("our own request came back: switch the echo of the serial adapter off".into())
            }
            judged => judged,
        }
    }

    fn is_echo(&self, received: &[u8]) -> bool {
        let len = received.len().min(self.len);
        len >= 5 && received[..len] == self.bytes()[..len]
    }

    fn judge_rtu_frame(&self, received: &[u8]) -> Result<Heard, String> {
        let full = self.read.answer_len(Framing::Rtu);
        let Some(unit) = received.first() else { return Ok(Heard::Part(full)) };
        self.check_unit(*unit)?;
        let Some(function) = received.get(1) else { return Ok(Heard::Part(full)) };
        let is_exception = self.check_function(*function)?;
        let total = if is_exception { 5 } else { full };
        if let Some(bytes) = received.get(2).filter(|_| !is_exception && received.len() >= 5) {
            self.check_data_len(*bytes)?;
        }
        match received.len() {
            len if len < total => return Ok(Heard::Part(total)),
            len if len > total => return Err(format!("{} bytes after the answer", len - total)),
            _ => {}
        }
        let (frame, sum) = received.split_at(total - 2);
        if crc(frame).to_le_bytes() != sum {
            return Err("the checksum (CRC) is wrong: check cable, termination and the parity".into());
        }
        Ok(if is_exception { Heard::Exception(received[2]) } else { Heard::Data(3..total - 2) })
    }

    fn check_unit(&self, unit: u8) -> Result<(), String> {
        if unit == self.read.unit {
            return Ok(());
        }
        Err(format!("unit {} asked, unit {unit} answered", self.read.unit))
    }

    /// True for an exception.
    fn check_function(&self, function: u8) -> Result<bool, String> {
        let asked = self.read.function();
        if function & 0x7F == asked {
            return Ok(function & 0x80 != 0);
        }
        Err(format!("function {asked} asked for, {function} answered"))
    }

    fn check_data_len(&self, bytes: u8) -> Result<(), String> {
        let asked = self.read.data_len();
        if usize::from(bytes) == asked {
            return Ok(());
        }
        let (count, unit) = (self.read.count, if self.read.table.is_bits() { "bits" } else { "registers" });
        Err(format!("{count} {unit} ({asked} bytes) asked for, {bytes} bytes answered"))
    }
}

/// CRC of RTU, sent low byte first (MODBUS over Serial Line V1.02, 6.2.2).
pub fn crc(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0xFFFF, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from((crc ^ u16::from(*byte)) & 0xFF)])
}

const CRC_TABLE: [u16; 256] = crc_table();

const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let mut crc = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests;
