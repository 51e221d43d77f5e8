//! Dictionaries by number, and which of them the segment being written does not hold yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub(super) struct Dictionaries {
    by_number: BTreeMap<u32, Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
    last_number: u32,
    unwritten: Vec<u32>,
    /// Forgotten, but the segment being written may hold them.
    forgotten: Vec<u32>,
    /// Numbers that can be given again: no later segment holds what they meant.
    free: Vec<u32>,
}

impl Dictionaries {
    /// The number of these bytes, a new one unless they have one.
    pub(super) fn define(&mut self, bytes: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(bytes) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.last_number += 1;
            self.last_number
        });
        let bytes = Arc::<[u8]>::from(bytes);
        self.by_number.insert(number, Arc::clone(&bytes));
        self.numbers.insert(bytes, number);
        self.unwritten.push(number);
        number
    }

    pub(super) fn forget(&mut self, number: u32) {
        if let Some(bytes) = self.by_number.remove(&number) {
            self.numbers.remove(&bytes);
            self.forgotten.push(number);
        }
    }

    /// A segment begins, which holds none of them yet.
    pub(super) fn begin_segment(&mut self) {
        self.unwritten = self.by_number.keys().copied().collect();
        self.free.append(&mut self.forgotten);
    }

    /// Those that the segment does not hold yet; from now on it does.
    pub(super) fn take_unwritten(&mut self) -> Vec<(u32, Arc<[u8]>)> {
        let unwritten = std::mem::take(&mut self.unwritten);
        let known = |number| Some((number, Arc::clone(self.by_number.get(&number)?)));
        unwritten.into_iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_in_a_later_segment() {
        let mut dictionaries = Dictionaries::default();
        let press = dictionaries.define(b"press");
        assert_eq!(dictionaries.define(b"press"), press);
        assert_eq!(dictionaries.take_unwritten().len(), 1);
        dictionaries.forget(press);
        let mixer = dictionaries.define(b"mixer");
        assert_ne!(mixer, press, "the segment still holds the other");
        dictionaries.begin_segment();
        assert_eq!(dictionaries.define(b"oven"), press);
        let written: Vec<u32> = dictionaries.take_unwritten().into_iter().map(|(number, _)| number).collect();
        assert_eq!(written, [mixer, press]);
    }
}
