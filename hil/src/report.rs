//! The report of one run, for people: who was tested, how each case ended, and what was seen.

use crate::rig::Rig;
use crate::runner::{Outcome, Report, Run};

/// How a run as a whole ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong; what was not run is not proved.
    Good,
    /// The product failed a case, or a known fault is gone.
    Product,
    /// The rig is broken: nothing is known of what did not run.
    Rig,
}

/// How a run as a whole ended; a fault of the rig comes first.
pub fn verdict(reports: &[Report]) -> Verdict {
    let runs = || reports.iter().flat_map(|report| &report.runs);
    if reports.iter().any(|report| report.fault.is_some()) || runs().any(|run| run.outcome == Outcome::Rig) {
        Verdict::Rig
    } else if runs().any(|run| run.outcome.is_bad()) {
        Verdict::Product
    } else {
        Verdict::Good
    }
}

/// One line: how many of what.
pub fn summary(reports: &[Report]) -> String {
    let count = |wanted: fn(&Outcome) -> bool| {
        let runs = reports.iter().flat_map(|report| &report.runs);
        runs.filter(|run| wanted(&run.outcome)).count()
    };
    let broken = reports.iter().filter(|report| report.fault.is_some()).count();
    format!(
        "{} passed, {} failed, {} not run, {} known faults, {} findings; rig faults: {}",
        count(|outcome| *outcome == Outcome::Passed),
        count(|outcome| *outcome == Outcome::Failed),
        count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        count(|outcome| *outcome == Outcome::KnownFault),
        count(|outcome| *outcome == Outcome::Finding),
        broken + count(|outcome| *outcome == Outcome::Rig),
    )
}

/// The report as Markdown. `when` is written as it is.
pub fn document(rig: &Rig, when: &str, reports: &[Report]) -> String {
    let mut text = format!(
        "# Rig {}\n\n{when}. Forebay {}. {}.\n\nFeatures: {}.\n",
        rig.name,
        env!("CARGO_PKG_VERSION"),
        summary(reports),
        rig.features.join(", ")
    );
    for report in reports {
        let Report { role, profile, protocol, kind, identity, said, fault, runs } = report;
        text.push_str(&format!("\n## {role}: {identity}\n\n{}, {protocol}, `{profile}`", kind.as_str()));
        if !said.is_empty() {
            text.push_str(&format!(", says of itself: {said}"));
        }
        text.push_str(".\n");
        if let Some(fault) = fault {
            text.push_str(&format!("\n**Rig: {fault}.** No case was run.\n"));
            continue;
        }
        text.push_str("\n| case | ended | ms | seen |\n|---|---|---:|---|\n");
        for Run { case, outcome, words, took } in runs {
            let ended = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "**failed**",
                Outcome::Rig => "**rig**",
                Outcome::Skipped(_) => "not run",
                Outcome::KnownFault => "known fault",
                Outcome::Finding => "**passed, but known to fail**",
            };
            let words = words.replace('|', "\\|").replace('\n', " ");
            text.push_str(&format!("| {case} | {ended} | {} | {words} |\n", took.as_millis()));
        }
    }
    text
}
