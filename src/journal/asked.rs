//! What an operator asks of a journal: how far it can be trimmed, and what has been taken away.

use std::io;
use std::ops::Range;

use super::index::Handed;
use super::segment::Name;
use super::{Journal, handed};

impl Journal {
    /// Marks the segments with records of `range` as seen, durably, as a reader does that hands
    /// records over: they are never thinned.
    ///
    /// # Errors
    /// Those of the system; the records must not leave the box.
    pub fn hand_over(&self, range: Range<u64>) -> io::Result<()> {
        let names = self.with_offsets(|name, offsets, _| {
            (offsets.start < range.end && range.start < offsets.end).then_some(name)
        });
        names
            .into_iter()
            .try_for_each(|name| handed::note(self.disk.as_ref(), self.epoch, &self.shared, name))
    }

    /// Offsets of the segments of which certainly nobody was given a record.
    pub fn unhanded(&self) -> Vec<Range<u64>> {
        self.with_offsets(|_, offsets, handed| (handed == Handed::No).then_some(offsets))
    }

    fn with_offsets<T>(&self, choose: impl Fn(Name, Range<u64>, Handed) -> Option<T>) -> Vec<T> {
        let index = self.shared.lock();
        let segments = index.segments.iter().enumerate();
        segments
            .filter_map(|(at, it)| choose(it.name, it.name.first_offset..index.end(at), it.handed))
            .collect()
    }

    /// Where the whole segments end whose records all lie before `offset`; the newest counts as
    /// begun, however much it holds.
    pub fn whole_before(&self, offset: u64) -> u64 {
        let index = self.shared.lock();
        let older = (1..index.segments.len()).rev();
        let whole = older.map(|next| index.segments[next].name.first_offset).find(|first| *first <= offset);
        whole.unwrap_or(index.first_offset())
    }

    /// Where the segments end that were finished at `us`, microseconds since 1970 UTC: a segment is
    /// finished when the next one is begun.
    pub fn finished_before(&self, us: i64) -> u64 {
        let index = self.shared.lock();
        let ended = |number: &usize| index.segments.get(number + 1).is_some_and(|next| next.created_us <= us);
        let first = (0..index.segments.len()).find(|number| !ended(number));
        first.map_or(index.next_offset, |number| index.segments[number].name.first_offset)
    }
}
