//! Names of other programs made fit for paths: letters, digits, `_` and `-`.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::NAME_BYTES_MAX;

/// Letters that people know a spelling for without dots and strokes.
const SPELLINGS: &[(char, &str)] = &[
    ('ä', "ae"),
    ('ö', "oe"),
    ('ü', "ue"),
    ('Ä', "Ae"),
    ('Ö', "Oe"),
    ('Ü', "Ue"),
    ('ß', "ss"),
    ('æ', "ae"),
    ('Æ', "Ae"),
    ('ø', "oe"),
    ('Ø', "Oe"),
    ('å', "aa"),
    ('Å', "Aa"),
    ('µ', "u"),
    ('\u{3bc}', "u"),
    ('°', "deg"),
    ('%', "pct"),
];

/// Letters with accents, and what is left without them.
const ACCENTS: [(&str, char); 12] = [
    ("áàâãā", 'a'),
    ("ÁÀÂÃ", 'A'),
    ("éèêëě", 'e'),
    ("ÉÈÊË", 'E'),
    ("íìîï", 'i'),
    ("ÍÌÎÏ", 'I'),
    ("óòôõő", 'o'),
    ("ÓÒÔÕ", 'O'),
    ("úùûűů", 'u'),
    ("çčć", 'c'),
    ("ñň", 'n'),
    ("šśž", 's'),
];

/// Keys of a group that no tag may have as its name.
const RESERVED: [&str; 2] = ["defaults", "repeat"];

/// The name with everything replaced that cannot stand in a path; never empty, at most
/// [`NAME_BYTES_MAX`] bytes.
pub fn fit(name: &str) -> String {
    let mut fitting = String::new();
    let mut filled = false;
    for letter in name.trim().chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') {
            fitting.push(letter);
            filled = false;
        } else if let Some((_, spelled)) = SPELLINGS.iter().find(|(known, _)| *known == letter) {
            fitting.push_str(spelled);
            filled = false;
        } else if let Some((_, plain)) = ACCENTS.iter().find(|(known, _)| known.contains(letter)) {
            fitting.push(*plain);
            filled = false;
        } else if !filled && !fitting.is_empty() {
            fitting.push('_');
            filled = true;
        }
        if fitting.len() > NAME_BYTES_MAX {
            break;
        }
    }
    if filled {
        fitting.pop();
    }
    fitting.truncate(NAME_BYTES_MAX);
    if fitting.is_empty() { "tag".to_owned() } else { fitting }
}

/// Paths of tags that are given out already.
#[derive(Debug, Default)]
pub struct Paths {
    taken: BTreeSet<String>,
    /// The last number that a path got.
    numbers: BTreeMap<String, usize>,
}

impl Paths {
    /// A name for a tag of `group` that no other has: `name` itself where that is free.
    pub fn give(&mut self, group: &str, name: &str) -> String {
        let wanted = if RESERVED.contains(&name) { format!("{name}_") } else { name.to_owned() };
        let mut given = wanted.clone();
        if self.taken.insert(format!("{group}.{given}")) {
            return given;
        }
        let path = format!("{group}.{wanted}");
        // From where the last one ended: thousands may have the same name.
        let mut number = self.numbers.get(&path).copied().unwrap_or(1);
        loop {
            number += 1;
            let end = format!("_{number}");
            let kept = wanted.len().min(NAME_BYTES_MAX - end.len());
            given = format!("{}{end}", &wanted[..kept]);
            if self.taken.insert(format!("{group}.{given}")) {
                break;
            }
        }
        self.numbers.insert(path, number);
        given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable() {
        for (name, fitting) in [
            ("OilTemp", "OilTemp"),
            ("Öl Temperatur (°C)", "Oel_Temperatur_degC"),
            ("Zone[1,2]", "Zone_1_2"),
            ("Größe", "Groesse"),
            ("%", "pct"),
            ("  ", "tag"),
            ("压力", "tag"),
            ("Motor – Strom", "Motor_Strom"),
        ] {
            assert_eq!(fit(name), fitting, "{name}");
        }
        let mut paths = Paths::default();
        assert_eq!(paths.give("a", "x"), "x");
        assert_eq!(paths.give("a", "x"), "x_2");
        assert_eq!(paths.give("b", "x"), "x");
        assert_eq!(paths.give("b", "repeat"), "repeat_");
    }

    proptest! {
        #[test]
        fn every_name_fits(name in "\\PC{0,100}", times in 1usize..20) {
            let mut paths = Paths::default();
            for _ in 0..times {
                let given = paths.give("g", &fit(&name));
                prop_assert!((1..=NAME_BYTES_MAX).contains(&given.len()));
                prop_assert!(given.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
            }
            prop_assert_eq!(paths.taken.len(), times);
        }
    }
}
