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

/// Insertions, deletions, replacements and swaps of two neighbours, ignoring case (the optimal
/// string alignment distance).
fn edits(a: &[char], b: &[char]) -> usize {
    let same = |left: char, right: char| left == right || left.to_lowercase().eq(right.to_lowercase());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(!same(*left, *right));
            let mut edits = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && same(*left, b[j - 1]) && same(a[i - 1], *right) {
                edits = edits.min(before[j - 1] + 1);
            }
            next.push(edits);
        }
        before = std::mem::replace(&mut row, next);
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
        assert_eq!(nearest("sdm360", ["sdm120", "sdm630"]), Some("sdm630"), "two neighbours swapped");
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("something", ["else"]), None);
    }
}
