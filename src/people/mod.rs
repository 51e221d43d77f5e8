//! Who may press buttons on the status page.
//!
//! Persons are kept in the small state of the box, their passwords only as Argon2id hashes. They are
//! added and removed by `forebay person` through the control socket, so by whoever has the rights of
//! the service on the box; nobody becomes a person by the page.

pub mod command;
pub mod password;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::SetOnce;

use crate::clock::now_us;
use crate::event::{Event, Events, Kind};
use crate::state::{State, Table};

/// Persons of one box at most.
pub const PEOPLE_MAX: usize = 100;
/// Letters of a name at most.
pub const NAME_CHARS_MAX: usize = 32;

/// What somebody may do. A later one may all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Answers what models report.
    Operator,
    /// Also changes what models run and what they learn.
    Engineer,
}

impl Role {
    /// The role with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "operator" => Ok(Self::Operator),
            "engineer" => Ok(Self::Engineer),
            _ => Err("choose operator or engineer".to_owned()),
        }
    }

    /// Its name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Engineer => "engineer",
        }
    }
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Name, unique on the box.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added, microseconds since 1970 UTC: a person who is removed and added again
    /// is another one.
    pub added_us: i64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    role: Role,
    hash: String,
    added_us: i64,
}

/// A person is not added or removed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeopleError {
    /// The name cannot be one.
    #[error(
        "\"{0}\" is no name: 1 to {NAME_CHARS_MAX} letters, digits, points, hyphens or underscores, for example anna.berg"
    )]
    Name(String),
    /// There is one of this name.
    #[error("there is a person {0} already; remove them first, for a new password too")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no person {0}; `forebay person list` has all")]
    Unknown(String),
    /// No room.
    #[error("there are {PEOPLE_MAX} persons already, which is the most")]
    TooMany,
    /// What came is no Argon2id hash.
    #[error("the password came in a form this version does not know; use the same forebay as the box")]
    Hash,
    /// It cannot be kept.
    #[error("not kept, the small state does not work: {0}")]
    State(String),
}

/// All persons of a box.
pub struct People {
    state: Arc<SetOnce<State>>,
    events: Events,
    /// `site/edge`, for events.
    box_path: String,
}

impl People {
    /// Those in this state.
    pub fn new(state: Arc<SetOnce<State>>, events: Events, box_path: &str) -> Self {
        Self { state, events, box_path: box_path.to_owned() }
    }

    /// Nobody, for ever: a page on which nothing can be pressed.
    pub fn nobody() -> Self {
        Self::new(Arc::default(), Events::new().0, "")
    }

    /// All, by name.
    pub fn list(&self) -> Vec<Person> {
        let all = self.state.get().map(|state| state.list(Table::People)).unwrap_or_default();
        all.into_iter().filter_map(|(name, value)| Some(person(&name, &read(&value)?))).collect()
    }

    /// The person of this name.
    pub fn find(&self, name: &str) -> Option<Person> {
        Some(person(name, &self.stored(name)?))
    }

    fn stored(&self, name: &str) -> Option<Stored> {
        read(&self.state.get()?.get(Table::People, name)?)
    }

    /// Adds somebody; `by` is who does it.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub fn add(&self, name: &str, role: Role, hash: &str, by: &str) -> Result<(), PeopleError> {
        if !is_name(name) {
            return Err(PeopleError::Name(name.chars().take(NAME_CHARS_MAX).collect()));
        }
        if !password::is_hash(hash) {
            return Err(PeopleError::Hash);
        }
        if self.stored(name).is_some() {
            return Err(PeopleError::Exists(name.to_owned()));
        }
        if self.list().len() >= PEOPLE_MAX {
            return Err(PeopleError::TooMany);
        }
        let stored = Stored { role, hash: hash.to_owned(), added_us: now_us() };
        let json = serde_json::to_vec(&stored).map_err(|error| PeopleError::State(error.to_string()))?;
        self.save(name, json)?;
        self.tell("added", name, json!({ "by": by, "role": role }), &format!("{by} added {name}"));
        Ok(())
    }

    /// Removes somebody; who is signed in is so no more.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub fn remove(&self, name: &str, by: &str) -> Result<(), PeopleError> {
        if self.stored(name).is_none() {
            return Err(PeopleError::Unknown(name.chars().take(NAME_CHARS_MAX).collect()));
        }
        self.save(name, Vec::new())?;
        self.tell("removed", name, json!({ "by": by }), &format!("{by} removed {name}"));
        Ok(())
    }

    fn save(&self, name: &str, value: Vec<u8>) -> Result<(), PeopleError> {
        let state = self.state.get().ok_or_else(|| PeopleError::State("it is not open".to_owned()))?;
        let saved = state.save(Table::People, [(name, value)].into_iter());
        saved.map_err(|error| PeopleError::State(error.to_string()))
    }

    /// The person, if this is their password. Takes as long for somebody who is not known. Blocks for
    /// some hundredths of a second and 19 MiB.
    pub fn verify(&self, name: &str, password: &str) -> Option<Person> {
        let stored = is_name(name).then(|| self.stored(name)).flatten();
        match stored {
            Some(stored) => password::is_right(password, &stored.hash).then(|| person(name, &stored)),
            None => {
                password::waste(password);
                None
            }
        }
    }

    /// An event about a person: `state` is what became of them.
    pub fn tell(&self, state: &str, name: &str, more: serde_json::Value, text: &str) {
        let mut data = json!({ "state": state, "person": name });
        if let (Some(data), serde_json::Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        tracing::info!("people: {text}");
        let device = self.box_path.clone();
        self.events.emit(Event {
            kind: Kind::Person,
            edge_time: now_us(),
            device,
            text: text.to_owned(),
            data,
        });
    }
}

fn read(value: &[u8]) -> Option<Stored> {
    serde_json::from_slice(value).ok()
}

fn person(name: &str, stored: &Stored) -> Person {
    Person { name: name.to_owned(), role: stored.role, added_us: stored.added_us }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(folder: &tempfile::TempDir) -> (People, tokio::sync::mpsc::Receiver<Event>) {
        let place = Arc::new(SetOnce::new());
        place.set(State::open(&folder.path().join("state")).unwrap().state).ok().unwrap();
        let (events, received) = Events::new();
        (People::new(place, events, "Works1/box-1"), received)
    }

    #[test]
    fn a_person_is_kept_knows_their_password_and_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (all, mut received) = people(&folder);
        let hash = password::hash("correct horse battery").unwrap();
        all.add("anna", Role::Engineer, &hash, "root").unwrap();
        assert_eq!(all.add("anna", Role::Operator, &hash, "root"), Err(PeopleError::Exists("anna".into())));
        drop(all);
        let (all, _) = people(&folder);
        assert_eq!(all.list().len(), 1);
        assert_eq!(all.verify("anna", "correct horse battery").unwrap().role, Role::Engineer);
        for (name, password) in
            [("anna", "correct horse batterz"), ("anna", ""), ("ben", "correct horse battery")]
        {
            assert_eq!(all.verify(name, password), None, "{name} {password}");
        }
        all.remove("anna", "root").unwrap();
        assert_eq!((all.list().len(), all.find("anna")), (0, None));
        assert_eq!(all.remove("anna", "root"), Err(PeopleError::Unknown("anna".into())));
        let added = received.try_recv().unwrap();
        assert_eq!((added.kind, &added.data["by"]), (Kind::Person, &json!("root")));
    }

    #[test]
    fn names_and_hashes_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (all, _) = people(&folder);
        let hash = password::hash("correct horse battery").unwrap();
        for name in ["", "a b", "a/b", "a\nb", "<b>", &"x".repeat(33)] {
            assert!(
                matches!(all.add(name, Role::Operator, &hash, "root"), Err(PeopleError::Name(_))),
                "{name}"
            );
        }
        all.add("jürgen.öz-1", Role::Operator, &hash, "root").unwrap();
        for hash in ["", "correct horse battery", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"] {
            assert_eq!(all.add("ben", Role::Operator, hash, "root"), Err(PeopleError::Hash), "{hash}");
        }
    }

    #[test]
    fn a_box_without_a_state_has_nobody() {
        let nobody = People::nobody();
        assert_eq!((nobody.list().len(), nobody.verify("anna", "correct horse battery")), (0, None));
        let hash = password::hash("correct horse battery").unwrap();
        assert!(matches!(nobody.add("anna", Role::Operator, &hash, ""), Err(PeopleError::State(_))));
    }
}
