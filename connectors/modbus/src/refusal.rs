//! Why a device does not give a tag, in the words of the engineer who can mend it.
//!
//! Exception codes are those of MODBUS Application Protocol V1.1b3, section 7.

use forebay_connector::PollError;

use crate::frame::Read;

/// ILLEGAL FUNCTION.
pub const ILLEGAL_FUNCTION: u8 = 0x01;
const ILLEGAL_DATA_ADDRESS: u8 = 0x02;
const ILLEGAL_DATA_VALUE: u8 = 0x03;
const SERVER_DEVICE_FAILURE: u8 = 0x04;
const ACKNOWLEDGE: u8 = 0x05;
const SERVER_DEVICE_BUSY: u8 = 0x06;
const NEGATIVE_ACKNOWLEDGE: u8 = 0x07;
const MEMORY_PARITY_ERROR: u8 = 0x08;
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
const GATEWAY_TARGET_DEVICE: u8 = 0x0B;

/// What a device does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Nothing.
    Silent,
    /// It closes the connection.
    Closes,
    /// It answers something else.
    Babbles,
}

impl Instead {
    /// What this failure of a single request was; `None` when it says nothing about the request.
    pub fn of(error: &PollError) -> Option<Self> {
        match error {
            PollError::Timeout { .. } => Some(Self::Silent),
            PollError::Lost { .. } => Some(Self::Closes),
            PollError::Mismatch { .. } => Some(Self::Babbles),
            PollError::Connect { .. } | PollError::Refused { .. } | PollError::Security { .. } => None,
        }
    }
}

/// A request without an answer of the unit.
#[derive(Debug)]
pub struct Failure {
    /// For the poller.
    pub error: PollError,
    /// What this says of the request, if anything.
    pub instead: Option<Instead>,
    /// It was the gateway that answered, and the connection is sound.
    pub by_gateway: bool,
}

impl From<PollError> for Failure {
    fn from(error: PollError) -> Self {
        Self { instead: Instead::of(&error), error, by_gateway: false }
    }
}

impl From<Failure> for PollError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Why a tag has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The device answered with this exception.
    Exception(u8, Read),
    /// The device answers other requests, and this one never.
    NoAnswer(Instead, Read),
    /// It stands in a block that was not answered, and its turn to be asked alone has not come.
    NotAskedYet,
}

impl Reason {
    /// For the page and the log.
    pub fn words(self) -> String {
        match self {
            Self::Exception(code, read) => exception(code, read),
            Self::NoAnswer(instead, read) => {
                let what = match instead {
                    Instead::Silent => "does not answer",
                    Instead::Closes => "closes the connection",
                    Instead::Babbles => "answers something else",
                };
                format!(
                    "the device {what} when {} is read, and answers other requests: check the address in its manual",
                    place(read)
                )
            }
            Self::NotAskedYet => {
                "stands in a block that the device does not answer; its tags are being asked one by one"
                    .into()
            }
        }
    }
}

/// `holding register 100 (wire 99, function 03)`.
fn place(read: Read) -> String {
    let (name, number) = (read.table.name(), u32::from(read.start) + 1);
    format!("{name} {number} (wire {}, function {:02})", read.start, read.function())
}

fn exception(code: u8, read: Read) -> String {
    let (place, name) = (place(read), read.table.name());
    match code {
        ILLEGAL_FUNCTION => format!(
            "the device has no {name}s (exception 01 to function {:02}): check the table digit of the address",
            read.function()
        ),
        ILLEGAL_DATA_ADDRESS => format!(
            "the device has no {place}, or not {} from there on (exception 02): check the address, numbers count from 1 and wire offsets from 0",
            read.count
        ),
        ILLEGAL_DATA_VALUE => format!(
            "the device will not give {} at once from {place} on (exception 03): check the type, or lower max_registers",
            read.count
        ),
        SERVER_DEVICE_FAILURE => format!(
            "the device failed to read {place} (exception 04): the value may need an option or a sensor that is not there"
        ),
        NEGATIVE_ACKNOWLEDGE => format!("the device refuses {place} (exception 07)"),
        MEMORY_PARITY_ERROR => {
            format!("the device found its own memory damaged at {place} (exception 08): have it serviced")
        }
        _ => format!("the device refuses {place} (exception {code:02X})"),
    }
}

/// True when the device asks for patience.
pub fn is_busy(code: u8) -> bool {
    matches!(code, ACKNOWLEDGE | SERVER_DEVICE_BUSY)
}

/// The failure behind an exception that the unit does not make for this request. A gateway says of
/// a unit that does not answer one request what it says of one that is off, so that may be the
/// request's own fault.
pub fn failure(code: u8, unit: u8) -> Option<Failure> {
    let by_gateway = matches!(code, GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_DEVICE);
    let error = PollError::Refused { what: of_device(code, unit)? };
    Some(Failure { error, instead: by_gateway.then_some(Instead::Silent), by_gateway })
}

/// Words for an exception that concerns the whole device.
fn of_device(code: u8, unit: u8) -> Option<String> {
    match code {
        code if is_busy(code) => Some(format!(
            "unit {unit} is busy (exception {code:02X}): poll it less often, set request_pause, or raise busy_retries"
        )),
        GATEWAY_PATH_UNAVAILABLE => Some(format!(
            "the gateway has no path to unit {unit} (exception 0A): check unit_id and the gateway's serial port"
        )),
        GATEWAY_TARGET_DEVICE => Some(format!(
            "unit {unit} behind the gateway does not answer (exception 0B): check its power, its cable and unit_id"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Table;

    #[test]
    fn every_exception_of_the_standard_has_words_of_its_own() {
        let read = Read { unit: 7, table: Table::HoldingRegisters, start: 99, count: 2 };
        let words: Vec<String> = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
            .map(|code| of_device(code, 7).unwrap_or_else(|| Reason::Exception(code, read).words()))
            .into();
        for (words, code) in words.iter().zip(["01", "02", "03", "04", "05", "06", "07", "08", "0A", "0B"]) {
            assert!(words.contains(&format!("exception {code}")), "{words}");
        }
        assert!(words[1].contains("holding register 100 (wire 99, function 03)"), "{}", words[1]);
    }
}
