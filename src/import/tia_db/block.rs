//! How a profile that was imported before writes the block: `DB{db}`, `DB10`, `%DB{line_db}`.

use std::collections::BTreeMap;

use anyhow::bail;

use super::update::{address, inner};
use crate::document::{Table, is_name};
use crate::import::draft::Draft;

/// The block in the addresses of a profile.
pub struct OldBlock {
    /// As the first of its tags writes it.
    pub written: String,
    /// In the one spelling in which blocks can be compared.
    canonical: String,
}

impl OldBlock {
    /// Told by the tags that have the names of members: all of them must be in the same block.
    ///
    /// # Errors
    /// There is no such tag, they are in several blocks, or in another one than `--db` says.
    pub fn find(path: &str, groups: &Table, draft: &Draft, number: u16) -> anyhow::Result<Self> {
        let mut blocks: BTreeMap<String, (String, String, usize)> = BTreeMap::new();
        for (group, tags) in &draft.groups {
            let Some(old) = groups.get(group).and_then(inner) else { continue };
            for tag in tags {
                let Some(address) = old.get(&tag.name).and_then(inner).and_then(address) else { continue };
                // What is in no data block is a block of its own here: it does not belong to this one.
                let (written, _) = split(address).unwrap_or((address, ""));
                let known = blocks
                    .entry(canonical(written))
                    .or_insert_with(|| (written.to_owned(), format!("{group}.{}", tag.name), 0));
                known.2 += 1;
            }
        }
        let mut found = blocks.iter();
        match (found.next(), found.next()) {
            (None, _) => bail!(
                "{path}: no tag has the name of a member of the block, so it is not told which of its addresses \
                 are in it[I0006]\n    fix: name the profile that was imported of this block, or import anew without --update"
            ),
            (Some((block, (_, tag, _))), None) if is_other(block, number) => bail!(
                "{path}: {tag} and the other members are in {block}, and --db says {number}[I0006]\n    \
                 fix: give the number of the profile, or write the new one into its addresses first"
            ),
            (Some((block, (written, ..))), None) if split(&format!("{written}.")).is_some() => {
                Ok(Self { written: written.clone(), canonical: block.clone() })
            }
            _ => {
                let said: Vec<String> = blocks
                    .values()
                    .map(|(written, tag, count)| match count {
                        1 => format!("{written} ({tag})"),
                        _ => format!("{written} ({tag} and {} more)", count - 1),
                    })
                    .collect();
                bail!(
                    "{path}: tags with the names of members are not all in one data block[I0006]: {}\n    \
                     fix: write the same block in all of them, and give tags that were added by hand other names",
                    said.join(", ")
                )
            }
        }
    }

    /// True when an address is in this block.
    pub fn has(&self, address: &str) -> bool {
        split(address).is_some_and(|(block, _)| canonical(block) == self.canonical)
    }
}

/// True when the block is written as another number.
fn is_other(block: &str, number: u16) -> bool {
    let digits = block.strip_prefix("DB").unwrap_or("");
    digits.parse::<u16>().is_ok_and(|written| written != number)
}

/// The data block of an address, as written, and the place in it.
pub fn split(address: &str) -> Option<(&str, &str)> {
    let (block, place) = address.split_once('.')?;
    let plain = block.strip_prefix('%').unwrap_or(block);
    let (head, number) = plain.split_at_checked(2)?;
    let parameter = || number.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(is_name);
    let is_block = head.eq_ignore_ascii_case("DB") && (number.parse::<u16>().is_ok() || parameter());
    is_block.then_some((block, place))
}

/// `%DB010` and `db10` are `DB10`; names of parameters stay as they are.
fn canonical(block: &str) -> String {
    let plain = block.strip_prefix('%').unwrap_or(block);
    match plain.split_at_checked(2) {
        Some((head, number)) if head.eq_ignore_ascii_case("DB") => {
            number.parse::<u16>().map_or_else(|_| format!("DB{number}"), |number| format!("DB{number}"))
        }
        _ => plain.to_owned(),
    }
}
