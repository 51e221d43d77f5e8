//! What a CPU says of itself: who it is, whether it runs, and how many connections it has left.
//!
//! The layouts are those of the manual "System Software for S7-300/400, System and Standard
//! Functions" (SZL 0x0011, 0x001C, 0x0424) and, for 0x0132 index 1, of the operation list of the
//! compatible VIPA SPEED7 CPUs, section 17.11.

use crate::settings::Kind;
use crate::szl::{List, ListId};

/// Module identification: order number and versions.
pub(crate) const MODULE: ListId = ListId { id: 0x0011, index: 0 };

/// Component identification: names, type, serial number.
pub(crate) const COMPONENTS: ListId = ListId { id: 0x001C, index: 0 };

/// General data of the communication: connections reserved, taken and free.
pub(crate) const CONNECTIONS: ListId = ListId { id: 0x0132, index: 1 };

/// The operating state.
pub(crate) const STATE: ListId = ListId { id: 0x0424, index: 0 };

/// Bytes of the simulated CPU's module identification: index, order number, type, two versions.
const MODULE_BYTES: usize = 28;

/// Order number and firmware, then type, station and serial number, as far as the CPU says them.
pub(crate) fn text(module: Option<&List>, components: Option<&List>) -> String {
    let mut parts = Vec::from_iter(module.map(order_and_firmware));
    if let Some(list) = components {
        let component = |index: u8| {
            let mut found = list.records().filter(|record| record.get(1) == Some(&index));
            found.next().map(|record| List::text(record, 2..34)).unwrap_or_default()
        };
        let (station, module, serial, kind) = (component(1), component(2), component(5), component(7));
        parts.push(if kind.is_empty() { module } else { kind });
        parts.extend([("station", station), ("serial", serial)].map(|(what, text)| match text.as_str() {
            "" => text,
            text => format!("{what} {text}"),
        }));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn order_and_firmware(list: &List) -> String {
    let mut text = String::new();
    for record in list.records() {
        let index = record.get(1).copied().unwrap_or_default();
        if index == 1 && text.is_empty() {
            text = List::text(record, 2..22);
        }
        // The firmware is written as the letter V and three numbers.
        if let (7, Some([b'V', a, b, c])) = (index, record.get(MODULE_BYTES - 4..MODULE_BYTES)) {
            text.push_str(&format!(" V{a}.{b}.{c}"));
        }
    }
    text.trim().to_owned()
}

/// The record of the simulated CPU's module identification with this order number.
pub(crate) fn module_record(order: &str) -> [u8; MODULE_BYTES] {
    let mut record = [0; MODULE_BYTES];
    record[1] = 1;
    record[2..22].fill(b' ');
    for (place, byte) in record[2..22].iter_mut().zip(order.bytes()) {
        *place = byte;
    }
    record
}

/// The connections of a CPU, ours among the taken ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    reserved_pg: u16,
    reserved_op: u16,
    reserved_basic: u8,
    taken_pg: u16,
    taken_op: u16,
    taken_basic: u8,
    /// Neither reserved nor taken.
    free: u16,
}

impl Connections {
    /// Reads the list [`CONNECTIONS`]; `None` when it has another form.
    pub(crate) fn read(list: &List) -> Option<Self> {
        let record = list.records().next().filter(|record| record.len() >= 16 && record[..2] == [0, 1])?;
        let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
        let byte = |at: usize| record.get(at).copied().unwrap_or(0);
        Some(Self {
            reserved_pg: word(2),
            reserved_op: word(4),
            taken_pg: word(6),
            taken_op: word(8),
            free: word(14),
            reserved_basic: byte(34),
            taken_basic: byte(35),
        })
    }

    /// True when an engineer can still connect although we are, or when our going away would not
    /// help him, because the place is reserved for connections of our kind.
    pub(crate) fn leave_one(self, ours: Option<Kind>) -> bool {
        let reserved_for_us = match ours {
            Some(Kind::Op) => self.taken_op <= self.reserved_op,
            Some(Kind::Basic) => self.reserved_basic > 0 && self.taken_basic <= self.reserved_basic,
            Some(Kind::Pg) | None => false,
        };
        self.free > 0 || self.taken_pg < self.reserved_pg || reserved_for_us
    }

    /// True when somebody is connected by a programming device's connection other than ours.
    pub(crate) fn engineer_is_in(self, ours: Option<Kind>) -> bool {
        self.taken_pg > u16::from(ours == Some(Kind::Pg))
    }
}

/// Operating state of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Stop,
    Startup,
    Run,
    Hold,
}

impl State {
    /// Reads the list [`STATE`]: the low half of the fourth byte is the state reached.
    pub(crate) fn read(list: &List) -> Option<Self> {
        match list.records().next()?.get(3)? & 0x0F {
            1..=4 => Some(Self::Stop),
            5..=7 => Some(Self::Startup),
            8 => Some(Self::Run),
            0x0A => Some(Self::Hold),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::parse_message;
    use crate::szl::{Assembly, write_answer};

    fn list(id: ListId, records: &[&[u8]]) -> List {
        let mut out = Vec::new();
        write_answer(&mut out, 1, id, records);
        let mut assembly = Assembly::new(id);
        assembly.take(&parse_message(&out[7..]).unwrap()).unwrap();
        assembly.into_list().unwrap()
    }

    fn record(index: u8, text: &str, rest: &[u8]) -> Vec<u8> {
        let mut record = vec![0, index];
        record.extend(text.bytes());
        record.extend(rest);
        record
    }

    #[test]
    fn order_number_firmware_and_names() {
        let module = list(
            MODULE,
            &[
                &record(1, "6ES7 515-2AM02-0AB0 ", &[0, 0, 0, 1, 0, 0]),
                &record(7, "                    ", &[0, 0, b'V', 2, 9, 4]),
                &record(0x81, "Boot Loader         ", &[0, 0, b'A', 0x20, 9, 9]),
            ],
        );
        assert_eq!(text(Some(&module), None), "6ES7 515-2AM02-0AB0 V2.9.4");
        let named = |index, name: &str| record(index, name, &vec![0; 32 - name.len()]);
        let components = list(
            COMPONENTS,
            &[
                &named(1, "Presse 3"),
                &named(2, "PLC_1"),
                &named(5, "S C-X4U421302009"),
                &named(7, "CPU 1515-2 PN"),
            ],
        );
        let whole = "6ES7 515-2AM02-0AB0 V2.9.4, CPU 1515-2 PN, station Presse 3, serial S C-X4U421302009";
        assert_eq!(text(Some(&module), Some(&components)), whole);
        assert_eq!(text(None, Some(&list(COMPONENTS, &[&named(2, "PLC_1\x07")]))), "PLC_1");
        assert_eq!(text(None, None), "");
    }

    #[test]
    fn the_engineers_place() {
        let connections = |words: [u16; 8], basic: [u8; 2]| {
            let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            record.resize(40, 0);
            (record[34], record[35]) = (basic[0], basic[1]);
            Connections::read(&list(CONNECTIONS, &[&record])).unwrap()
        };
        // Index, reserved PG and OP, taken PG and OP, configured, established, free.
        let (op, pg, basic) = (Some(Kind::Op), Some(Kind::Pg), Some(Kind::Basic));
        let cpu_315 = connections([1, 1, 1, 0, 1, 0, 0, 14], [0, 0]);
        assert!(cpu_315.leave_one(op) && cpu_315.leave_one(pg));
        let full_but_pg = connections([1, 1, 1, 0, 4, 0, 0, 0], [0, 0]);
        assert!(full_but_pg.leave_one(op), "the PG's place is reserved and free");
        assert!(!full_but_pg.engineer_is_in(op));
        let ours_is_the_pg = connections([1, 1, 1, 1, 4, 0, 0, 0], [0, 0]);
        assert!(!ours_is_the_pg.leave_one(pg), "we sit in the engineer's place");
        assert!(!ours_is_the_pg.engineer_is_in(pg));
        assert!(!ours_is_the_pg.leave_one(op) && ours_is_the_pg.engineer_is_in(op));
        let panel = connections([1, 1, 1, 1, 1, 0, 0, 0], [0, 0]);
        assert!(panel.leave_one(op), "only panels can have our place");
        assert!(!panel.leave_one(basic) && !panel.leave_one(None));
        assert!(connections([1, 1, 1, 1, 1, 0, 0, 0], [2, 1]).leave_one(basic));
        assert_eq!(Connections::read(&list(CONNECTIONS, &[&[0, 2, 0, 0]])), None);
    }

    #[test]
    fn states() {
        let state = |byte| State::read(&list(STATE, &[&[0x51, 0x44, 0xFF, byte]]));
        assert_eq!(state(0x08), Some(State::Run));
        assert_eq!(state(0x84), Some(State::Stop));
        assert_eq!(state(0x46), Some(State::Startup));
        assert_eq!(state(0x8A), Some(State::Hold));
        assert_eq!(state(0x00), None);
    }

    proptest! {
        #[test]
        fn whatever_a_list_holds_is_a_short_text_or_nothing(
            record in proptest::collection::vec(any::<u8>(), 0..48),
            more in proptest::collection::vec(any::<u8>(), 48),
            index in 0u8..9,
        ) {
            let mut right = more;
            (right[0], right[1]) = (0, index);
            for records in [&[record.as_slice()][..], &[&right, &right]] {
                let list = list(MODULE, records);
                let text = text(Some(&list), Some(&list));
                prop_assert!(text.chars().count() < 250 && !text.contains(char::is_control), "{text:?}");
                let _connections = Connections::read(&list).map(|found| found.leave_one(Some(Kind::Op)));
                let _state = State::read(&list);
            }
        }
    }
}
