//! Are the machines and tags that somebody asks for known to the journal?

use std::collections::{BTreeMap, BTreeSet};

use super::{Filter, is_device, is_tag};
use crate::document::nearest;
use crate::lane::{Body, Item, OfflineLane};
use crate::replicate::RecordEncoder;

/// Names that are listed at most.
const LISTED_MAX: usize = 20;

/// A name that nothing in the journal has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(String);

/// Machines by path, each with its tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, BTreeSet<String>>);

impl Names {
    /// All that have samples in this lane.
    pub fn of_telemetry(lane: &mut OfflineLane) -> Self {
        let mut names = Self::default();
        for schema in lane.schemas() {
            names.0.entry(schema.device).or_default().extend(schema.tags.iter().map(|tag| tag.path.clone()));
        }
        names
    }

    /// Adds all that have events in this lane; reads all of it.
    pub fn add_events(&mut self, lane: &mut OfflineLane) {
        lane.seek(lane.files().first_offset());
        loop {
            match lane.read_all() {
                Item::Record(record) => {
                    if let Body::Event(json) = record.body {
                        self.0.entry(RecordEncoder::event(&json).0).or_default();
                    }
                }
                Item::End | Item::Unreadable(_) => return,
                Item::Damage(_) | Item::Removed(..) => {}
            }
        }
    }

    /// Whether one of them is this machine.
    pub fn has_device(&self, wanted: &str) -> bool {
        self.0.keys().any(|path| is_device(wanted, path))
    }

    /// Whether every machine and tag that is asked for is known.
    ///
    /// # Errors
    /// [`UnknownName`]: the first that is not, the one that is most like it, and what there is.
    pub fn check(&self, filter: &Filter) -> Result<(), UnknownName> {
        if let Some(unknown) = filter.devices.iter().find(|wanted| !self.has_device(wanted)) {
            let paths = self.0.keys().map(String::as_str);
            let names: Vec<&str> = self.0.keys().filter_map(|path| path.rsplit('/').next()).collect();
            let near = nearest(unknown, names.iter().copied().chain(paths));
            return Err(unknown_name("machine", unknown, near, &names));
        }
        let wanted =
            |path: &str| filter.devices.is_empty() || filter.devices.iter().any(|it| is_device(it, path));
        let of_wanted = self.0.iter().filter(|(path, _)| wanted(path)).flat_map(|(_, tags)| tags);
        let tags: BTreeSet<&str> = of_wanted.map(String::as_str).collect();
        let unknown = filter.tags.iter().find(|wanted| !tags.iter().any(|tag| is_tag(wanted, tag)));
        let Some(unknown) = unknown else { return Ok(()) };
        let near = nearest(unknown, tags.iter().copied());
        Err(unknown_name("tag", unknown, near, &tags.into_iter().collect::<Vec<_>>()))
    }
}

fn unknown_name(what: &str, unknown: &str, near: Option<&str>, known: &[&str]) -> UnknownName {
    let mut text = format!("the journal knows no {what} \"{}\"", unknown.escape_debug());
    if let Some(near) = near {
        text += &format!(": did you mean \"{near}\"?");
    }
    let listed = known.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    text += &match known.len() {
        0 => format!("; it has no {what} at all"),
        count @ ..=LISTED_MAX => {
            format!("{} {what}{}: {listed}", begin(near), if count == 1 { "" } else { "s" })
        }
        count => format!("{} {what}s: {listed} and {} more", begin(near), count - LISTED_MAX),
    };
    UnknownName(text)
}

/// Goes on after a question or a statement.
fn begin(near: Option<&str>) -> &'static str {
    if near.is_some() { " It knows the" } else { "; it knows the" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        Names(BTreeMap::from([
            ("Werk1/Halle2/press-3".to_owned(), tags(&["oil.temp", "oil.level", "mode"])),
            ("Werk1/Halle2/oven".to_owned(), tags(&["heat"])),
        ]))
    }

    fn said(devices: &[&str], tags: &[&str]) -> String {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filter = Filter { devices: own(devices), tags: own(tags), ..Filter::default() };
        names().check(&filter).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn known_names_are_taken() {
        for (devices, tags) in [
            (&[][..], &[][..]),
            (&["press-3"], &[]),
            (&["Werk1/Halle2/oven", "press-3"], &["heat", "oil.*"]),
            (&[], &["mode", "*"]),
        ] {
            assert_eq!(said(devices, tags), "");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_said_with_the_nearest_and_with_all() {
        assert_eq!(
            said(&["oven", "pres-3"], &[]),
            "the journal knows no machine \"pres-3\": did you mean \"press-3\"? It knows the machines: oven, press-3"
        );
        assert_eq!(
            said(&["mixer"], &[]),
            "the journal knows no machine \"mixer\"; it knows the machines: oven, press-3"
        );
        let of_one = said(&["oven"], &["oil.temp"]);
        assert_eq!(
            of_one, "the journal knows no tag \"oil.temp\"; it knows the tag: heat",
            "of the machines asked for"
        );
        assert!(said(&[], &["oil.tmp"]).contains("did you mean \"oil.temp\"?"));
        assert!(said(&[], &["gas.*"]).starts_with("the journal knows no tag \"gas.*\"; it knows"));
        let many: Vec<String> = (0..30).map(|number| format!("m{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let UnknownName(text) = unknown_name("machine", "x", None, &many);
        assert!(text.ends_with("m19 and 10 more"), "{text}");
    }
}
