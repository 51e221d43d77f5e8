//! Who may press buttons on the status page.
//!
//! Persons are kept in the small state of the box, their passwords only as Argon2id hashes. They are
//! added and removed by `forebay person` through the control socket, so by whoever has the rights of
//! the service on the box; nobody becomes a person by the page.
//!
//! They are read once and held in memory: a page that asks who somebody is never waits for the disk
//! that the state is being saved on. A change counts when it is saved.

pub mod command;
pub mod password;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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

#[derive(Clone, Serialize, Deserialize)]
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
    /// Those who are saved, by name. Nobody holds it while a disk works.
    known: RwLock<BTreeMap<String, Stored>>,
    /// One change at a time; whether those who are stored were read.
    changing: Mutex<bool>,
}

impl People {
    /// Those in this state, which is read now if it is open; [`People::read_when_open`] else.
    pub fn new(state: Arc<SetOnce<State>>, events: Events, box_path: &str) -> Self {
        let (known, changing) = Default::default();
        let people = Self { state, events, box_path: box_path.to_owned(), known, changing };
        // Without a state there is nobody, as the box says elsewhere.
        drop(people.changing());
        people
    }

    /// Nobody, for ever: a page on which nothing can be pressed.
    pub fn nobody() -> Self {
        Self::new(Arc::default(), Events::new().0, "")
    }

    /// Reads those who are stored as soon as the state is open, which may be long after the start.
    pub async fn read_when_open(self: Arc<Self>) {
        self.state.wait().await;
        let reading = tokio::task::spawn_blocking(move || self.changing().map(drop));
        // It was waited for, so that it is there; a panic is none of the page's business.
        if !matches!(reading.await, Ok(Ok(()))) {
            tracing::error!("who may press buttons on the page cannot be read");
        }
    }

    /// All, by name.
    pub fn list(&self) -> Vec<Person> {
        self.known().iter().map(|(name, stored)| person(name, stored)).collect()
    }

    /// The person of this name.
    pub fn find(&self, name: &str) -> Option<Person> {
        Some(person(name, self.known().get(name)?))
    }

    fn known(&self) -> RwLockReadGuard<'_, BTreeMap<String, Stored>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Stored>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a change, for as long as the guard is held. May wait for the disk.
    fn changing(&self) -> Result<(&State, MutexGuard<'_, bool>), PeopleError> {
        let mut was_read = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state.get().ok_or_else(|| PeopleError::State("it is not open".to_owned()))?;
        if !*was_read {
            let stored = state.list(Table::People).into_iter().filter_map(|(name, value)| {
                let stored = serde_json::from_slice::<Stored>(&value);
                let unreadable =
                    |error: &_| tracing::error!("person {name} cannot be read, add them anew: {error}");
                stored.inspect_err(unreadable).ok().map(|stored| (name, stored))
            });
            let stored: BTreeMap<String, Stored> = stored.collect();
            *self.known_mut() = stored;
            *was_read = true;
        }
        Ok((state, was_read))
    }

    /// Adds somebody; `by` is who does it. May wait for the disk.
    ///
    /// # Errors
    /// [`PeopleError`]; then nothing has changed.
    pub fn add(&self, name: &str, role: Role, hash: &str, by: &str) -> Result<(), PeopleError> {
        if !is_name(name) {
            return Err(PeopleError::Name(name.chars().take(NAME_CHARS_MAX).collect()));
        }
        if !password::is_hash(hash) {
            return Err(PeopleError::Hash);
        }
        let (state, _changing) = self.changing()?;
        let known = self.known();
        let (exists, full) = (known.contains_key(name), known.len() >= PEOPLE_MAX);
        drop(known);
        if exists {
            return Err(PeopleError::Exists(name.to_owned()));
        }
        if full {
            return Err(PeopleError::TooMany);
        }
        let stored = Stored { role, hash: hash.to_owned(), added_us: now_us() };
        let json = serde_json::to_vec(&stored).map_err(|error| PeopleError::State(error.to_string()))?;
        save(state, name, json)?;
        self.known_mut().insert(name.to_owned(), stored);
        self.tell("added", name, json!({ "by": by, "role": role }), &format!("{by} added {name}"));
        Ok(())
    }

    /// Removes somebody; who is signed in is so no more. May wait for the disk.
    ///
    /// # Errors
    /// [`PeopleError`]; then nothing has changed.
    pub fn remove(&self, name: &str, by: &str) -> Result<(), PeopleError> {
        let (state, _changing) = self.changing()?;
        if self.find(name).is_none() {
            return Err(PeopleError::Unknown(name.chars().take(NAME_CHARS_MAX).collect()));
        }
        save(state, name, Vec::new())?;
        self.known_mut().remove(name);
        self.tell("removed", name, json!({ "by": by }), &format!("{by} removed {name}"));
        Ok(())
    }

    /// The person, if this is their password. Takes as long for somebody who is not known. Blocks for
    /// some hundredths of a second and 19 MiB.
    pub fn verify(&self, name: &str, password: &str) -> Option<Person> {
        let stored = self.known().get(name).cloned();
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

/// Saves durably; what fails is not brought by a later save either.
fn save(state: &State, name: &str, value: Vec<u8>) -> Result<(), PeopleError> {
    let saved = state.save_or_undo(Table::People, [(name, value)].into_iter());
    saved.map_err(|error| PeopleError::State(error.to_string()))
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
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Longest wait for what is to happen at once.
    const SOON: Duration = Duration::from_secs(20);

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

    /// Holds the state, as a save does that a slow disk takes its time for, until the sender is dropped.
    fn slow_save(people: &Arc<People>) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
        let ((held, is_held), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let people = Arc::clone(people);
        let saving = std::thread::spawn(move || {
            let slow = std::iter::once_with(|| {
                held.send(()).unwrap();
                released.recv_timeout(4 * SOON).unwrap_err();
                ("other", Vec::new())
            });
            people.state.get().unwrap().save(Table::Diary, slow).unwrap();
        });
        is_held.recv_timeout(SOON).unwrap();
        (release, saving)
    }

    #[test]
    fn who_somebody_is_does_not_wait_for_a_slow_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (all, _events) = people(&folder);
        let (all, hash) = (Arc::new(all), password::hash("correct horse battery").unwrap());
        all.add("anna", Role::Engineer, &hash, "root").unwrap();
        let (release, saving) = slow_save(&all);
        let ((answer, answered), asked) = (mpsc::channel(), Arc::clone(&all));
        std::thread::spawn(move || {
            let found = (asked.find("anna").is_some(), asked.list().len(), asked.find("ben").is_some());
            let right = asked.verify("anna", "correct horse battery").is_some();
            answer.send((found, right)).unwrap();
        });
        assert_eq!(answered.recv_timeout(SOON), Ok(((true, 1, false), true)), "while the state is held");

        // Who is being added waits for the disk, and nobody waits for them.
        let ((done, is_done), adding) = (mpsc::channel(), Arc::clone(&all));
        std::thread::spawn(move || done.send(adding.add("ben", Role::Operator, &hash, "root")).unwrap());
        is_done.recv_timeout(Duration::from_millis(200)).unwrap_err();
        let ((answer, answered), asked) = (mpsc::channel(), Arc::clone(&all));
        std::thread::spawn(move || answer.send((asked.find("ben").is_some(), asked.list().len())).unwrap());
        assert_eq!(answered.recv_timeout(SOON), Ok((false, 1)), "not saved, so not there");
        drop(release);
        assert_eq!(is_done.recv_timeout(SOON), Ok(Ok(())));
        assert!(all.find("ben").is_some());
        saving.join().unwrap();
    }

    #[test]
    fn a_save_that_fails_changes_nothing_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (all, mut received) = people(&folder);
        let hash = password::hash("correct horse battery").unwrap();
        all.add("anna", Role::Engineer, &hash, "root").unwrap();
        received.try_recv().unwrap();
        // The folder of the state is not one any more: nothing can be saved.
        let (directory, away) = (folder.path().join("state"), folder.path().join("away"));
        std::fs::rename(&directory, &away).unwrap();
        std::fs::write(&directory, "").unwrap();
        for failed in [all.add("ben", Role::Operator, &hash, "root"), all.remove("anna", "root")] {
            assert!(matches!(failed, Err(PeopleError::State(_))), "{failed:?}");
        }
        let names = |all: &People| all.list().into_iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(&all), ["anna"]);
        assert!(received.try_recv().is_err(), "no event of what did not happen");
        std::fs::remove_file(&directory).unwrap();
        std::fs::rename(&away, &directory).unwrap();
        // What somebody was told had failed does not come with a later save.
        all.add("carl", Role::Operator, &hash, "root").unwrap();
        assert_eq!(names(&all), ["anna", "carl"]);
        drop(all);
        assert_eq!(names(&people(&folder).0), ["anna", "carl"]);
    }

    #[tokio::test]
    async fn a_state_that_opens_late_is_read_then_and_damaged_entries_are_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (before, _) = people(&folder);
        let hash = password::hash("correct horse battery").unwrap();
        before.add("anna", Role::Engineer, &hash, "root").unwrap();
        let damaged = [("ben", b"{".to_vec())].into_iter();
        before.state.get().unwrap().save(Table::People, damaged).unwrap();
        drop(before);
        let place = Arc::new(SetOnce::new());
        let all = Arc::new(People::new(Arc::clone(&place), Events::new().0, "Works1/box-1"));
        assert_eq!(all.list().len(), 0);
        assert!(matches!(all.remove("anna", "root"), Err(PeopleError::State(_))), "it is not known");
        let reading = tokio::spawn(Arc::clone(&all).read_when_open());
        place.set(State::open(&folder.path().join("state")).unwrap().state).ok().unwrap();
        tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
        assert_eq!(all.list().into_iter().map(|it| it.name).collect::<Vec<_>>(), ["anna"]);
        all.add("ben", Role::Operator, &hash, "root").unwrap();
        assert_eq!(all.list().len(), 2);
    }
}
