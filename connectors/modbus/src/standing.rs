//! What is known of the units behind one line: which are silent, and whose answers may still come.
//!
//! **Silent units.** A request that nobody answers holds the line for the whole time limit. A unit
//! that was silent twice in a row is demoted: all demoted units together get at most a tenth of the
//! line's time, so that their neighbours hardly notice. Its first answer promotes it.
//!
//! **Late answers.** An answer on RTU names no request. When one did not come in time it may come
//! during a later request, and would pass for its answer if it is of the same shape: unit,
//! function, length. Until the unit has answered a request of another shape, none of that shape is
//! believed; if need be such a request is made only for that (a fence). Devices answer in order, so
//! what was asked before the fence does not come after it. An exception tells even less: it has no
//! length, so none is believed as long as any answer of its unit and function may come late.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::PollError;
use tokio::time::Instant;

use crate::address::{MAX_BITS, MAX_REGISTERS};
use crate::frame::Read;

/// Silences in a row that demote a unit.
const DEMOTED_AFTER: u32 = 2;
/// Demoted units leave the line alone this many times as long as they have held it.
const REST: u32 = 9;
/// Shapes remembered of a unit whose answers may be late.
const SHAPES_MAX: usize = 32;

/// Function and bytes of data of an answer.
type Shape = (u8, usize);

fn shape(read: Read) -> Shape {
    (read.function(), read.data_len())
}

/// The units behind one line.
#[derive(Debug, Default)]
pub struct Standing {
    units: BTreeMap<u8, Unit>,
    /// Demoted units may ask from then on.
    rest_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Unit {
    /// Silences in a row.
    silent: u32,
    /// Answers that may still come.
    late: Vec<Shape>,
    /// An exception came that may have been a late one.
    doubted: bool,
}

/// How to ask a unit some of whose answers may still come.
#[derive(Debug, PartialEq, Eq)]
pub enum Caution {
    /// As always.
    None,
    /// This first; its answer shows that no earlier one will come.
    Fence(Read),
    /// There is no request of another shape, or none whose answer would tell: only time does.
    Wait,
}

impl Standing {
    /// Lets a unit use the line, or tells why not now.
    ///
    /// # Errors
    /// [`PollError::Refused`] for a demoted unit whose neighbours have a right to the line.
    pub fn admit(&self, unit: u8, now: Instant) -> Result<(), PollError> {
        let silent = self.units.get(&unit).map_or(0, |unit| unit.silent);
        let rest = self.rest_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if silent < DEMOTED_AFTER || rest.is_zero() {
            return Ok(());
        }
        Err(PollError::Refused {
            what: format!(
                "unit {unit} was silent {silent} times and is asked less often, so that it does not hold up the others on its line: check its power, its cable and unit_id"
            ),
        })
    }

    /// The unit has answered; promotes it. True when it was demoted.
    pub fn answered(&mut self, unit: u8) {
        if let Some(known) = self.units.get_mut(&unit) {
            known.silent = 0;
        }
    }

    /// The unit was asked and has not answered; the line was held for `held`.
    pub fn silent(&mut self, unit: u8, held: Duration, now: Instant) {
        let known = self.units.entry(unit).or_default();
        known.silent = known.silent.saturating_add(1);
        if known.silent >= DEMOTED_AFTER {
            self.rest_until = Some(now + held * REST);
        }
    }

    /// The answer to this request may still come, on a line whose answers name no request.
    pub fn may_come_late(&mut self, read: Read) {
        let known = self.units.entry(read.unit).or_default();
        if known.late.len() < SHAPES_MAX && !known.late.contains(&shape(read)) {
            known.late.push(shape(read));
        }
    }

    /// Nothing comes late any more from this unit.
    pub fn is_in_step(&mut self, unit: u8) {
        if let Some(known) = self.units.get_mut(&unit) {
            known.late.clear();
            known.doubted = false;
        }
    }

    /// True when an exception to this request, which is not sent yet, could be that of an earlier one.
    pub fn doubts_exceptions(&self, read: Read) -> bool {
        let late = self.units.get(&read.unit).map(|unit| &unit.late);
        late.is_some_and(|late| late.iter().any(|(function, _)| *function == read.function()))
    }

    /// Such an exception came. The unit may refuse every fence, so only time will tell.
    pub fn doubted(&mut self, unit: u8) {
        self.units.entry(unit).or_default().doubted = true;
    }

    /// True when another unit than this one may still answer.
    pub fn others_may_answer(&self, unit: u8) -> bool {
        self.units.iter().any(|(other, known)| *other != unit && !known.late.is_empty())
    }

    /// How to ask; `widest` is the device's own limit of entries in such a request.
    pub fn caution(&self, read: Read, widest: u16) -> Caution {
        let Some(Unit { late, doubted, .. }) = self.units.get(&read.unit) else { return Caution::None };
        // Beyond so many shapes, any may be late.
        if late.len() >= SHAPES_MAX || (*doubted && self.doubts_exceptions(read)) {
            return Caution::Wait;
        }
        if !late.contains(&shape(read)) {
            return Caution::None;
        }
        // Entries of one register or of one byte of bits.
        let step = if read.table.is_bits() { 8 } else { 1 };
        let widest = widest.min(if read.table.is_bits() { MAX_BITS } else { MAX_REGISTERS });
        let shorter = (1..=read.count.div_ceil(step)).rev().skip(1).map(|steps| steps * step);
        // More than one, for those that were not answered either. One of these may be refused, and
        // then there is a wait after all.
        let longer = (read.count..=widest).step_by(step.into()).skip(1);
        let longer = longer.take_while(|count| read.start.checked_add(*count).is_some());
        let fence = shorter
            .chain(longer)
            .map(|count| Read { count, ..read })
            .find(|fence| !late.contains(&shape(*fence)));
        fence.map_or(Caution::Wait, Caution::Fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Table;

    fn read(unit: u8, count: u16) -> Read {
        Read { unit, table: Table::HoldingRegisters, start: 10, count }
    }

    #[test]
    fn silent_units_get_a_tenth_of_the_time() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        let second = Duration::from_secs(1);
        standing.silent(1, second, start);
        assert_eq!(standing.admit(1, start), Ok(()), "once is no habit");
        standing.silent(1, second, start);
        assert!(matches!(standing.admit(1, start), Err(PollError::Refused { .. })));
        assert_eq!(standing.admit(2, start), Ok(()), "the others are not concerned");
        assert_eq!(standing.admit(1, start + 9 * second), Ok(()));
        standing.silent(2, second, start + 9 * second);
        standing.silent(2, second, start + 10 * second);
        let refused = standing.admit(1, start + 18 * second);
        assert!(matches!(refused, Err(PollError::Refused { .. })), "the tenth is for all of them together");
        standing.answered(1);
        assert_eq!(standing.admit(1, start + 10 * second), Ok(()), "promoted");
    }

    #[test]
    fn a_fence_has_a_shape_of_its_own() {
        let mut standing = Standing::default();
        assert_eq!(standing.caution(read(1, 4), 125), Caution::None);
        standing.may_come_late(read(1, 4));
        assert_eq!(standing.caution(read(2, 4), 125), Caution::None, "another unit");
        assert_eq!(standing.caution(read(1, 5), 125), Caution::None, "another length is a fence itself");
        assert_eq!(standing.caution(read(1, 4), 125), Caution::Fence(read(1, 3)));
        standing.may_come_late(read(1, 3));
        assert_eq!(standing.caution(read(1, 4), 125), Caution::Fence(read(1, 2)));
        standing.is_in_step(1);
        assert_eq!(standing.caution(read(1, 4), 125), Caution::None);
        standing.may_come_late(read(1, 1));
        assert_eq!(standing.caution(read(1, 1), 125), Caution::Fence(read(1, 2)));
        assert_eq!(standing.caution(read(1, 1), 1), Caution::Wait, "one register at a time");
        standing.may_come_late(read(1, 2));
        assert_eq!(standing.caution(read(1, 1), 125), Caution::Fence(read(1, 3)), "no fence twice");
        assert_eq!(standing.caution(read(1, 1), 2), Caution::Wait, "two registers at a time");
        for count in 1..=125 {
            standing.may_come_late(read(1, count));
        }
        assert_eq!(standing.caution(read(1, 120), 125), Caution::Wait, "more than are remembered");
    }

    #[test]
    fn after_a_doubtful_exception_only_time_tells() {
        let (mut standing, coils) = (Standing::default(), Read { table: Table::Coils, ..read(1, 4) });
        assert!(!standing.doubts_exceptions(read(1, 4)));
        standing.may_come_late(read(1, 4));
        assert!(standing.doubts_exceptions(read(1, 9)), "whatever was asked for");
        assert!(!standing.doubts_exceptions(coils), "an exception names its function");
        standing.doubted(1);
        assert_eq!(standing.caution(read(1, 9), 125), Caution::Wait);
        assert_eq!(standing.caution(coils, 125), Caution::None);
        standing.is_in_step(1);
        standing.may_come_late(read(1, 4));
        assert_eq!(standing.caution(read(1, 9), 125), Caution::None, "data have come");
    }

    #[test]
    fn fences_of_bits_differ_in_bytes() {
        let coils = |count| Read { unit: 1, table: Table::Coils, start: 0, count };
        let mut standing = Standing::default();
        standing.may_come_late(coils(20));
        assert_eq!(standing.caution(coils(20), 2000), Caution::Fence(coils(16)));
        assert_eq!(standing.caution(coils(17), 2000), Caution::Fence(coils(16)), "three bytes too");
        standing.is_in_step(1);
        standing.may_come_late(coils(3));
        assert_eq!(standing.caution(coils(3), 2000), Caution::Fence(coils(11)));
    }
}
