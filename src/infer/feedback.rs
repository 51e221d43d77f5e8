//! What people say of an episode. It is data: kept with the episode, shown, and sent to IT.

use serde::{Deserialize, Serialize};

/// Answers kept with one episode.
pub const FEEDBACK_MAX: usize = 10;
/// Letters of a note at most.
pub const NOTE_CHARS_MAX: usize = 200;

/// What somebody found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Somebody has taken notice and looks after it.
    Seen,
    /// There was something wrong with the machine.
    Real,
    /// There was nothing wrong.
    FalseAlarm,
}

impl Answer {
    /// All of them, in the order of the buttons.
    pub const ALL: [Self; 3] = [Self::Seen, Self::Real, Self::FalseAlarm];

    /// As it is written in events and forms.
    pub fn code(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Real => "real",
            Self::FalseAlarm => "false-alarm",
        }
    }

    /// The answer with this code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.code() == code)
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// What was found.
    pub answer: Answer,
    /// Who says so.
    pub person: String,
    /// In their words; may be empty.
    pub note: String,
    /// When, microseconds since 1970 UTC.
    pub at_us: i64,
}

/// No episode has this name any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no episode {0} on this box any more")]
pub struct NoEpisode(pub String);
