//! What all machines of a profile share stands in memory once.
//!
//! Each machine is read by itself, because parameters and exceptions may make it another; lists of
//! tags that turn out equal become one. A box with 200 machines of one profile has its texts, units,
//! limits and addresses once, not 200 times.

use std::sync::Arc;

/// Different lists that are looked through at most, so that looking never takes long.
const KINDS_MAX: usize = 64;

/// The lists met so far that are still in use.
#[derive(Debug)]
pub struct Alike<T>(Vec<Arc<[T]>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Alike<T> {
    /// The list that is equal to this one, if there is one, else this one.
    pub fn one(&mut self, list: impl AsRef<[T]> + Into<Arc<[T]>>) -> Arc<[T]> {
        // Machines of one kind mostly follow each other.
        if let Some(known) = self.0.iter().rev().find(|known| ***known == *list.as_ref()) {
            return Arc::clone(known);
        }
        self.0.retain(|known| Arc::strong_count(known) > 1);
        if self.0.len() == KINDS_MAX {
            self.0.remove(0);
        }
        let list = list.into();
        self.0.push(Arc::clone(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one_as_long_as_somebody_uses_them() {
        let mut alike = Alike::default();
        let first = alike.one(vec!["a", "b"]);
        let other = alike.one(vec!["a", "c"]);
        assert!(Arc::ptr_eq(&first, &alike.one(vec!["a", "b"])));
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, other));
        let _third = alike.one(vec!["d"]);
        assert_eq!(alike.0.len(), 1, "what nobody uses is forgotten");
    }

    #[test]
    fn the_oldest_of_many_is_forgotten() {
        let mut alike = Alike::default();
        let lists: Vec<_> = (0..=KINDS_MAX).map(|number| alike.one(vec![number])).collect();
        assert_eq!(alike.0.len(), KINDS_MAX);
        assert!(!Arc::ptr_eq(&lists[0], &alike.one(vec![0])));
        assert!(Arc::ptr_eq(&lists[KINDS_MAX], &alike.one(vec![KINDS_MAX])));
    }
}
