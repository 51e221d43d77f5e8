//! *Seen*, *was real*, *false alarm*.

use std::sync::Arc;

use super::{Action, Field};
use crate::clock::now_us;
use crate::device::Text;
use crate::event::Events;
use crate::infer::diary::Diaries;
use crate::infer::feedback::{Answer, Feedback, NOTE_CHARS_MAX};
use crate::people::{Person, Role};

const FIELDS: &[Field] = &[
    Field { name: "episode", chars_max: 64, one_of: &[] },
    Field { name: "answer", chars_max: 16, one_of: &["seen", "real", "false-alarm"] },
    Field { name: "note", chars_max: NOTE_CHARS_MAX, one_of: &[] },
];

/// Keeps what a person says of an episode.
pub fn feedback(diaries: Arc<Diaries>, events: Events) -> Action {
    let call = move |person: &Person, filled: &super::Filled| {
        let field = |name: &str| filled.get(name).map(String::as_str).unwrap_or_default();
        let answer = Answer::parse(field("answer")).ok_or_else(|| Text::plain("no such answer"))?;
        let note = field("note").to_owned();
        let feedback = Feedback { answer, person: person.name.clone(), note, at_us: now_us() };
        diaries.hear(field("episode"), &feedback, &events).map_err(|_| gone())
    };
    Action { name: "feedback", fields: FIELDS, who: Role::Operator, call: Box::new(call) }
}

fn gone() -> Text {
    Text(
        [
            ("en", "this episode is no longer remembered, many have come after it."),
            ("de", "diese Episode ist nicht mehr gespeichert, viele kamen danach."),
        ]
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .into(),
    )
}
