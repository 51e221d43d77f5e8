//! What a device refuses, in the words of the engineer who can change it.

use forebay_connector::PollError;

use crate::address::{Area, Place};
use crate::settings::Settings;

/// Where PUT/GET is permitted.
const PUT_GET: &str = "tick 'Permit access with PUT/GET communication from remote partner' under \
                       Protection & Security > Connection mechanisms of the CPU, and download it";

/// The CPU does not accept the connection. `reason` is the one of its COTP disconnect, if any.
pub(crate) fn no_connection(settings: &Settings, reason: Option<u8>) -> PollError {
    let reason = reason.map_or(String::new(), |reason| format!(" (reason {reason:#04x})"));
    let Settings { rack, slot, .. } = settings;
    PollError::Refused {
        what: format!(
            "the CPU closes the connection before it is set up{reason}: no free connection, or no CPU in \
             rack {rack}, slot {slot} (S7-300: slot 2, S7-1200 and S7-1500: slot 1)"
        ),
    }
}

/// The error word of an answer: the request as a whole was refused.
pub(crate) fn of_request(error: u16) -> PollError {
    let what = match error {
        0x8104 | 0xD401..=0xD4FF => {
            format!("PUT/GET communication is not permitted (error {error:#06x}): {PUT_GET}")
        }
        0x8500 => format!("the answer would be larger than the agreed PDU (error {error:#06x})"),
        0x8100..=0x81FF => format!("the CPU does not know the service (error {error:#06x}): {PUT_GET}"),
        0x8700..=0x87FF => {
            format!("access denied (error {error:#06x}): check the protection level; {PUT_GET}")
        }
        _ => format!("the CPU answers with error {error:#06x}"),
    };
    PollError::Refused { what }
}

/// The return code of an item: one address was refused.
pub(crate) fn of_item(code: u8, place: &Place) -> String {
    match (code, place.area) {
        (0x0A, Area::Db(_)) => format!(
            "{area} does not exist in the CPU, or it is an optimised block: untick 'Optimized block access' in \
             its attributes, compile and download, or read it by the CPU's OPC UA server",
            area = place.area
        ),
        (0x0A, _) => format!("{place} does not exist in this CPU"),
        (0x05, Area::Db(_)) => format!(
            "{place} lies behind the end of {area}: check the address, or download the newer block",
            area = place.area
        ),
        (0x05, _) => format!("{place} lies behind the end of the area in this CPU"),
        (0x03, _) => format!("access to {place} is denied: check the protection level; {PUT_GET}"),
        (0x06 | 0x07, _) => format!("the CPU does not read {place} this way (return code {code:#04x})"),
        (0x01, _) => format!("hardware fault in the CPU at {place}"),
        _ => format!("{place} is refused with return code {code:#04x}"),
    }
}
