//! What a device refuses, in the words of the engineer who can change it.

use forebay_connector::PollError;

use crate::address::{Area, Place};
use crate::settings::{Family, Settings, Target};

/// Where PUT/GET is permitted.
const PUT_GET: &str = "tick 'Permit access with PUT/GET communication from remote partner' under \
                       Protection & Security > Connection mechanisms of the CPU, and download it";

/// Where a protection level stands in the way.
const PROTECTION: &str = "give the CPU an access level with read access without password (TIA: Protection & \
                          Security > Access level; STEP 7: Protection), and download it";

/// The CPU does not accept the connection. `reason` is the one of its COTP disconnect, if any.
pub(crate) fn no_connection(settings: &Settings, target: Target, reason: Option<u8>) -> PollError {
    let place = match target {
        Target::Slot { rack, slot, .. } => format!(
            "no CPU in rack {rack}, slot {slot} (S7-300: slot 2; S7-400: the slot it is plugged in, often 3; \
             S7-1200 and S7-1500: slot 1)"
        ),
        Target::Tsap(tsap) => format!("no partner with the transport selector {}", dotted(tsap)),
    };
    let taken = match settings.family {
        Family::Logo => format!(
            "no connection is free for the selectors {} (ours) and {} (its own): in LOGO!Soft Comfort add a \
             server connection under Tools > Ethernet Connections with 'Accept all connection requests', and \
             write its selectors as local_tsap and remote_tsap",
            dotted(settings.local_tsap),
            dotted(target.remote_tsap())
        ),
        _ => "no free connection: all its communication resources are taken (TIA: online, Connection \
              information of the CPU)"
            .into(),
    };
    // The reasons are those of ISO 8073, 13.5.3: congestion, and a selector that nobody has.
    let (said, what) = match (reason, settings.family) {
        (Some(0x01 | 0x81), _) => (reason, taken),
        (Some(0x02 | 0x03 | 0x83), Family::Classic | Family::Tia) => (reason, place),
        (reason, Family::Logo) => (reason, taken),
        (reason, _) => (reason, format!("{taken}; or {place}")),
    };
    let said = said.map_or(String::new(), |reason| format!(" (reason {reason:#04x})"));
    PollError::Refused { what: format!("the device closes the connection before it is set up{said}: {what}") }
}

/// A transport selector as Siemens' tools show it.
fn dotted(tsap: u16) -> String {
    let [high, low] = tsap.to_be_bytes();
    format!("{high:02X}.{low:02X}")
}

/// Our connection was the last one; it has been given up.
pub(crate) fn last_connection() -> PollError {
    PollError::Refused {
        what: "the last free connection is left for the engineer: all other connections of the CPU are \
               taken. Free one (panels and programs that read it), permit more in its configuration, or write \
               take_last_connection = true in [s7]"
            .into(),
    }
}

/// The error word of an answer: the request as a whole was refused.
pub(crate) fn of_request(error: u16) -> PollError {
    let what = match error {
        0x8104 => format!("PUT/GET communication is not permitted (error {error:#06x}): {PUT_GET}"),
        0x8500 => format!("the answer would be larger than the agreed PDU (error {error:#06x})"),
        0xD241 | 0xD602 | 0x8700..=0x87FF => {
            format!("the CPU is protected by a password (error {error:#06x}): {PROTECTION}; and {PUT_GET}")
        }
        0x8100..=0x81FF | 0xD401..=0xD4FF => {
            format!("the CPU does not know the service (error {error:#06x}): {PUT_GET}")
        }
        _ => format!("the CPU answers with error {error:#06x}"),
    };
    PollError::Refused { what }
}

/// The return code of an item: one address was refused.
pub(crate) fn of_item(code: u8, place: &Place, family: Family) -> String {
    let area = place.area;
    match (code, area) {
        (0x0A | 0x05, Area::Db(_)) if place.vm => format!(
            "{place} lies outside the variable memory of this LOGO!: it has VB0 to VB850, and its inputs, \
             outputs and flags above"
        ),
        (0x0A | 0x05, Area::Timer | Area::Counter) => {
            format!("{place} does not exist in this CPU: it has fewer of them, see its technical data")
        }
        (0x01 | 0x05 | 0x06 | 0x07 | 0x0A, Area::Periphery) => format!(
            "no module answers at {place} (return code {code:#04x}): check the address in the hardware \
             configuration; or this CPU does not let others read the periphery: read the process image instead, \
             {}",
            Place { area: Area::Input, ..*place }
        ),
        (0x0A, Area::Db(_)) => match family {
            Family::Tia => format!(
                "{area} does not exist in the CPU, or it is an optimised block: untick 'Optimized block access' \
                 in its attributes, compile and download, or read it by the CPU's OPC UA server"
            ),
            _ => format!("{area} does not exist in the CPU: check the number, or download the block"),
        },
        (0x0A, _) => format!("{place} does not exist in this CPU"),
        (0x05, Area::Db(_)) => match family {
            Family::Tia => format!(
                "{place} lies behind the end of {area}: check the address, or download the newer block. Or \
                 {area} is an optimised block: untick 'Optimized block access' in its attributes, compile and \
                 download"
            ),
            _ => format!(
                "{place} lies behind the end of {area}: check the address, or download the newer block"
            ),
        },
        (0x05, _) => format!("{place} lies behind the end of the area in this CPU"),
        (0x03, _) => format!("access to {place} is denied: {PROTECTION}; and {PUT_GET}"),
        (0x06 | 0x07, _) => format!("the CPU does not read {place} this way (return code {code:#04x})"),
        (0x01, _) => format!("hardware fault in the CPU at {place}: look into its diagnostic buffer"),
        _ => format!("{place} is refused with return code {code:#04x}"),
    }
}
