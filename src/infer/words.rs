//! What a model says, in words, English and German.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::Quality;

use super::predictions::{Now, State};
use super::shadow::Comparison;
use super::spec::Spec;
use crate::device::Text;

/// A text in both languages.
pub(super) fn both(en: impl Into<String>, de: impl Into<String>) -> Text {
    Text(BTreeMap::from([("en".to_owned(), en.into()), ("de".to_owned(), de.into())]))
}

/// A text that others wrote in English.
pub(super) fn english(text: String) -> Text {
    both(text.clone(), text)
}

/// The model watches a device that is not there.
pub(super) fn no_device(name: &str) -> Text {
    both(format!("no device is named {name}"), format!("kein Gerät heißt {name}"))
}

/// The device does not have a tag that the model needs.
pub(super) fn missing_tag(model: &str, tag: &str, profile: &str) -> Text {
    both(
        format!(
            "model {model} needs tag {tag}, which profile {profile} does not have: name a device of its profile \
             under [[model]] in forebay.toml, or correct model.toml"
        ),
        format!(
            "Modell {model} braucht den Tag {tag}, den das Profil {profile} nicht hat: unter [[model]] in \
             forebay.toml ein Gerät seines Profils nennen, oder model.toml korrigieren"
        ),
    )
}

/// A tag that the model needs has a type it cannot use.
pub(super) fn no_number(tag: &str, data_type: &str) -> Text {
    both(
        format!("tag {tag} is {data_type}, a model needs a number; correct model.toml"),
        format!("Tag {tag} ist {data_type}, ein Modell braucht eine Zahl; model.toml korrigieren"),
    )
}

/// A state of `model.toml` that the tag does not have.
pub(super) fn no_such_state(tag: &str, state: &str, known: &str) -> Text {
    both(
        format!("tag {tag} has no state {state:?}; it has {known}; correct [state] in model.toml"),
        format!("Tag {tag} hat keinen Zustand {state:?}; es gibt {known}; [state] in model.toml korrigieren"),
    )
}

/// Why an input cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The device does not answer.
    Down,
    /// Not read since the start.
    NeverRead,
    /// Read, but not good.
    NotGood(Quality),
    /// Older than it may be, in milliseconds.
    Old {
        /// How old it may be.
        limit_ms: i64,
    },
    /// Text, a date or an array.
    NotNumber,
    /// The machine is in a state that is not watched.
    OtherState,
    /// The machine has only just come into a state that is watched.
    Settling,
    /// The inputs are fine, the model gave no finite number for them.
    NoScore,
}

/// `why` of a suppressed score.
pub(super) fn suppressed(tag: &str, reason: Reason) -> Text {
    let (en, de) = match reason {
        Reason::Down => return both("the device does not answer", "das Gerät antwortet nicht"),
        Reason::NoScore => {
            return both(
                "the model gave no finite number for these inputs",
                "das Modell gab für diese Eingänge keine endliche Zahl",
            );
        }
        Reason::NeverRead => ("has not been read yet".into(), "wurde noch nicht gelesen".into()),
        Reason::NotGood(quality) => {
            let (en, de) = quality_words(quality);
            (format!("is not good: {en}"), format!("ist nicht gut: {de}"))
        }
        Reason::Old { limit_ms } => {
            (format!("is older than {limit_ms} ms"), format!("ist älter als {limit_ms} ms"))
        }
        Reason::OtherState => {
            ("is not in a state that is watched".into(), "ist in keinem Zustand, der überwacht wird".into())
        }
        Reason::Settling => {
            ("has only just come into its state".into(), "ist erst kurz in seinem Zustand".into())
        }
        Reason::NotNumber => ("is not a number".into(), "ist keine Zahl".into()),
    };
    both(format!("{tag} {en}"), format!("{tag} {de}"))
}

fn quality_words(quality: Quality) -> (&'static str, &'static str) {
    match quality {
        Quality::Good => ("good", "gut"),
        Quality::FunctionCheck => ("someone works on the machine", "an der Maschine wird gearbeitet"),
        Quality::OutOfRange => ("outside its range", "außerhalb des Bereichs"),
        Quality::Uncertain => ("the server calls it uncertain", "der Server nennt ihn unsicher"),
        Quality::Refused => ("the device refuses the address", "das Gerät verweigert die Adresse"),
        Quality::Invalid => ("not a valid value", "kein gültiger Wert"),
        Quality::Bad => ("the server calls it bad", "der Server nennt ihn schlecht"),
        Quality::NotVerified => ("the check of the device failed", "die Prüfung des Geräts schlug fehl"),
        Quality::NoConnection => ("no connection", "keine Verbindung"),
    }
}

/// A model that takes far too long for a score.
pub(super) fn not_ending(after: Duration) -> Text {
    let seconds = after.as_secs_f32();
    both(
        format!(
            "a score did not end within {seconds:.1} s, far longer than in its trial: it was stopped; use another version"
        ),
        format!(
            "ein Kennwert war nach {seconds:.1} s nicht fertig, viel länger als bei der Probe: Es wurde angehalten; \
             eine andere Version nehmen"
        ),
    )
}

/// Inference has used up its share of the processor.
pub(super) fn no_time() -> Text {
    both(
        "all models together need more than their share of the processor ([models] cpu_share)",
        "alle Modelle zusammen brauchen mehr als ihren Anteil am Prozessor ([models] cpu_share)",
    )
}

/// A version in the store that may not run.
pub(super) fn not_usable(why: &str) -> Text {
    both(format!("it cannot be used: {why}"), format!("sie ist nicht verwendbar: {why}"))
}

/// Old versions are removed.
pub(super) fn making_room() -> Text {
    both("it is old, and a newer one needed its room", "sie ist alt, und eine neuere brauchte ihren Platz")
}

/// Too many alarms after a change.
pub(super) fn flood(raised: usize, device: &str) -> Text {
    both(
        format!("it raised {raised} alarms on {device} within an hour"),
        format!("sie hat an {device} binnen einer Stunde {raised} Alarme ausgelöst"),
    )
}

/// Why a shadow takes over.
pub(super) fn promoted(figures: &Comparison) -> Text {
    let hours = figures.watched_us / 3_600_000_000;
    let (raised, active) = (figures.raised, figures.active_raised);
    both(
        format!(
            "in {hours} h of shadow it would have raised {raised} alarms, the active version raised {active}"
        ),
        format!(
            "in {hours} h im Schatten hätte sie {raised} Alarme ausgelöst, die laufende Version {active}"
        ),
    )
}

/// Nobody has run a shadow over the past yet.
pub(super) fn not_looked_back() -> Text {
    both(
        "it has not been run over the last days in the journal yet",
        "sie lief noch nicht über die letzten Tage im Journal",
    )
}

/// A shadow could not be run over the past.
pub(crate) fn cannot_look_back(why: &str) -> Text {
    both(
        format!("it cannot be run over the last days in the journal: {why}"),
        format!("sie kann nicht über die letzten Tage im Journal laufen: {why}"),
    )
}

/// What a shadow would have raised before it began.
pub(crate) fn past_alarms(raised: u64, device: &str, watched: Duration) -> Text {
    let hours = watched.as_secs().div_ceil(3600);
    both(
        format!(
            "in the last {hours} watched hours of the journal it would have raised {raised} alarms on {device}, \
             more than one a day"
        ),
        format!(
            "in den letzten {hours} überwachten Stunden des Journals hätte sie an {device} {raised} Alarme ausgelöst, \
             mehr als einen am Tag"
        ),
    )
}

/// What was changed, English; `change` is the code of docs/kafka.md.
pub(super) fn model_changed(change: &str, model: &str, from: &str, to: &str) -> String {
    match change {
        "installed" => format!("model {model}: version {to} is in the store"),
        "activated" if from.is_empty() => format!("model {model}: version {to} runs now"),
        "activated" => format!("model {model}: version {to} runs now, before it was {from}"),
        "rolled-back" => format!("model {model}: version {from} was taken back, {to} runs now"),
        "shadow" => format!("model {model}: version {to} runs in shadow"),
        "shadow-ended" => format!("model {model}: version {from} runs in shadow no more"),
        "accepted" => format!("model {model}, version {to}: what it measures now is the new normal"),
        "not-promoted" => format!("model {model}: version {to} in shadow does not take over by itself"),
        "removed" => format!("model {model}: version {from} was removed"),
        _ => format!("model {model}: version {to} was refused"),
    }
}

/// Tags with their share of the score, largest first.
pub(super) fn shares<'a>(spec: &'a Spec, contrib: &[f32]) -> Vec<(&'a str, f32)> {
    let sum: f32 = contrib.iter().map(|value| value.abs()).sum();
    let share = |value: &f32| if sum > 0.0 { value.abs() / sum } else { 0.0 };
    let mut shares: Vec<_> =
        spec.inputs.iter().map(|input| input.tag.as_str()).zip(contrib.iter().map(share)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// What to look at: the words of the tag that contributes most.
pub(super) fn look_at(spec: &Spec, contrib: &[f32]) -> Text {
    let largest = contrib.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    largest
        .and_then(|(index, _)| spec.inputs.get(index))
        .map(|input| input.look_at.clone())
        .unwrap_or_default()
}

/// A state in words. Without a score nothing is ever called normal.
pub(super) fn state(spec: Option<&Spec>, now: &Now) -> Text {
    let join = |en: &str, de: &str, why: &Text| {
        both(format!("{en}: {}", why.get("en")), format!("{de}: {}", why.get("de")))
    };
    let (score, threshold) = (now.score.unwrap_or(0.0), spec.map_or(0.0, |spec| spec.threshold));
    match &now.state {
        State::Filling => {
            let missing = now.missing;
            both(
                format!("Not watching yet: {missing} more values of each input are needed"),
                format!("Wacht noch nicht: {missing} weitere Werte jedes Eingangs nötig"),
            )
        }
        State::Normal => both(
            format!("Normal: score {score:.2}, limit {threshold:.2}"),
            format!("Normal: Wert {score:.2}, Grenze {threshold:.2}"),
        ),
        State::Raised { .. } => spec.map(|spec| look_at(spec, &now.contrib)).unwrap_or_default(),
        State::Suppressed { why } => join("Not watching", "Wacht nicht", why),
        State::Broken { why } => join("Cannot run", "Läuft nicht", why),
    }
}
