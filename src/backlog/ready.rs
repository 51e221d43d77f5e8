//! Whether a backlog can be sent, found out without announcing anything to Kafka: who sends it uses
//! the name of the box it comes from, and shuts that one out.

use std::path::Path;
use std::time::Duration;

use super::Manifest;
use crate::clock::rfc3339;
use crate::lane::{Item, OfflineLane};
use crate::replicate::{NotSeen, Onlooker, Options, Seen, importer};

/// Whoever sends the same writes a checkpoint within this time and a pause between two transactions
/// (`commit_interval`, taken to be the same there): the longest transactions last 5 s.
const WATCH: Duration = Duration::from_secs(8);

/// What can be done with a backlog now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ready {
    /// It can be sent.
    Now,
    /// Kafka has all of it.
    Done,
    /// It goes on by itself later; in words what it waits for.
    Wait(String),
    /// Somebody must do something, in words what.
    Held(String),
}

/// Looks at the backlog in `folder`, which `options` would send. `know` is given the offset below which
/// Kafka has everything of its journal, as soon as that is known.
pub(super) fn look(
    options: &Options,
    folder: &Path,
    manifest: &Manifest,
    accept_gap: bool,
    is_over: impl Fn() -> bool,
    know: impl FnOnce(u64),
) -> Ready {
    let Manifest { lane, epoch, from, to, .. } = manifest;
    if let Some(pause) = options.control.paused() {
        let since = rfc3339(pause.since_us);
        let wait =
            format!("sending {lane} is paused on this box by {} since {since}: `forebay resume`", pause.by);
        return Ready::Wait(wait);
    }
    let asked = Onlooker::new(options, lane).and_then(|onlooker| Ok((onlooker.look(epoch)?, onlooker)));
    let (seen, onlooker) = match asked {
        Ok(asked) => asked,
        Err(not_seen) => return no_answer(not_seen),
    };
    know(seen.complete_below());
    if seen.complete_below() >= *to {
        return Ready::Done;
    }
    if !accept_gap && let Some(hole) = hole(&seen, options, manifest) {
        return Ready::Held(hole);
    }
    if let Some(words) = unreadable(folder, seen.complete_below().max(*from), *to) {
        return Ready::Held(words);
    }
    // A journal that Kafka has never heard of is sent by nobody.
    if seen.is_known() {
        let watch = WATCH + options.commit_interval;
        match onlooker.who_sends(epoch, watch, is_over) {
            Err(not_seen) => return no_answer(not_seen),
            Ok(Some(boot)) => return Ready::Wait(sent_by(&boot, &manifest.edge, watch)),
            Ok(None) => {}
        }
    }
    Ready::Now
}

fn no_answer(not_seen: NotSeen) -> Ready {
    match not_seen {
        NotSeen::Away(cause) => Ready::Wait(format!("Kafka does not say how far it is: {cause}")),
        NotSeen::Refused(cause) => Ready::Held(cause),
    }
}

/// Whoever sends the same is not disturbed.
fn sent_by(boot: &str, edge: &str, watch: Duration) -> String {
    let who = importer(boot)
        .map_or_else(|| format!("{edge} itself"), |path| format!("{path}, which has imported it, too,"));
    let (box_name, seconds) = (edge, watch.as_secs());
    format!(
        "{who} is sending the same under the name of {box_name}. This box does not disturb that, and sends what is left \
         when the other has been silent for {seconds} s"
    )
}

/// What is missing before it, if something is, and what to do.
fn hole(seen: &Seen, options: &Options, manifest: &Manifest) -> Option<String> {
    let Manifest { from, edge, lane, .. } = manifest;
    let missing = seen.missing_below(*from);
    if missing.is_empty() {
        return None;
    }
    let (first, last, count) = (missing.start, missing.end - 1, missing.end - missing.start);
    let what =
        if count == 1 { format!("record {first}") } else { format!("{count} records ({first} to {last})") };
    let is = if count == 1 { "is" } else { "are" };
    let prefix = &options.prefix;
    let nothing = match seen.is_known() {
        true => String::new(),
        false => format!(
            ". The topics {prefix}.* have nothing at all of this journal of {edge}: if {edge} sends to other topics, \
             import it on a box that sends there"
        ),
    };
    Some(format!(
        "before this backlog {what} of {lane} of {edge} {is} missing, neither in Kafka nor here{nothing}. Import the \
         backlog that has them first, or let {edge} send them, then this one follows by itself; if they are lost for \
         good, import this one again with --accept-gap"
    ))
}

/// Why nothing can be read at `offset`, where sending would begin.
fn unreadable(folder: &Path, offset: u64, to: u64) -> Option<String> {
    let mut lane = match OfflineLane::open(folder, Some(to)) {
        Ok(lane) => lane,
        Err(error) => return Some(format!("its copy on this box cannot be read: {error}")),
    };
    lane.seek(offset);
    match lane.read() {
        Item::Unreadable(unreadable) => Some(format!(
            "the disk of this box does not give its copy: {unreadable}. Look at the disk, its card or its cable"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(seen: &Seen, from: u64) -> Option<String> {
        let manifest = Manifest::new("Werk1", "box-1", "telemetry", "0a", (from, from + 10));
        hole(seen, &Options::new("", "plant", "Werk1", "box-1"), &manifest)
    }

    #[test]
    fn what_is_missing_is_counted_rightly() {
        let none = Seen::default();
        assert_eq!(words(&none, 0), None);
        let one = words(&none, 1).unwrap();
        assert!(one.contains("before this backlog record 0 of telemetry of box-1 is missing"), "{one}");
        assert!(one.contains("plant.* have nothing at all of this journal"), "{one}");
        let many = words(&none, 5000).unwrap();
        assert!(many.contains("5000 records (0 to 4999) of telemetry of box-1 are missing"), "{many}");
        assert!(!many.contains("later by itself"), "{many}");
    }

    #[test]
    fn whoever_sends_is_named() {
        let boot = crate::replicate::importer_boot("Werk1", "box-3");
        assert!(
            sent_by(&boot, "box-1", WATCH).starts_with("Werk1/box-3, which has imported it, too, is sending")
        );
        assert!(sent_by("0011", "box-1", WATCH).starts_with("box-1 itself is sending"));
    }
}
