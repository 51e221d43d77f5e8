//! A table by number: fast for the small numbers that dictionaries have, right for all.

use std::collections::HashMap;

use super::CODED_DICTIONARIES_MAX;

/// See the module.
#[derive(Debug)]
pub struct Numbered<T> {
    small: Vec<Option<T>>,
    large: HashMap<u32, T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { small: Vec::new(), large: HashMap::new() }
    }
}

impl<T> Numbered<T> {
    fn place(number: u32) -> Option<usize> {
        usize::try_from(number).ok().filter(|_| number < CODED_DICTIONARIES_MAX)
    }

    /// What has this number.
    pub fn get(&self, number: u32) -> Option<&T> {
        match Self::place(number) {
            Some(place) => self.small.get(place)?.as_ref(),
            None => self.large.get(&number),
        }
    }

    /// Everything, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.small.iter().flatten().chain(self.large.values())
    }

    /// What has this number, made when there is nothing.
    pub fn get_or_insert_with(&mut self, number: u32, make: impl FnOnce() -> T) -> &mut T {
        let Some(place) = Self::place(number) else { return self.large.entry(number).or_insert_with(make) };
        if self.small.len() <= place {
            self.small.resize_with(place + 1, || None);
        }
        self.small[place].get_or_insert_with(make)
    }

    /// Gives `value` the number.
    pub fn insert(&mut self, number: u32, value: T) {
        let Some(place) = Self::place(number) else {
            self.large.insert(number, value);
            return;
        };
        if self.small.len() <= place {
            self.small.resize_with(place + 1, || None);
        }
        self.small[place] = Some(value);
    }
}
