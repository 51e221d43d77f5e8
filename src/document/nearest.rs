//! "Did you mean": the nearest name by edit distance.

/// Most edits between what was written and what is proposed.
const EDITS_MAX: usize = 2;

/// Longest name that is compared; the work grows with the square of it.
const NAME_CHARS_MAX: usize = 64;

/// The name most like `written`, at most two edits away and sharing at least one character's
/// place with it. `None` when none is near.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(NAME_CHARS_MAX + 1).collect();
    if written.len() > NAME_CHARS_MAX {
        return None;
    }
    names
        .into_iter()
        .filter_map(|name| {
            let chars: Vec<char> = name.chars().take(NAME_CHARS_MAX).collect();
            let edits = edits(&written, &chars);
            (edits <= EDITS_MAX && edits < written.len().max(chars.len())).then_some((edits, name))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance: insertions, deletions and replacements, ignoring case.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let same = left == right || left.to_lowercase().eq(right.to_lowercase());
            let replaced = diagonal + usize::from(!same);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_two_edits_are_proposed() {
        assert_eq!(nearest("deadbnd", ["address", "deadband", "type"]), Some("deadband"));
        assert_eq!(nearest("fst", ["fast", "normal", "slow"]), Some("fast"));
        assert_eq!(nearest("barr", ["mbar", "bar"]), Some("bar"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("something", ["else"]), None);
    }
}
