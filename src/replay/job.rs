//! One replay: what was asked for, and how far it is. Kept as a file, so that it outlives the
//! process.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backlog::{FileError, sync_folder};
use crate::past::Filter;

/// Longest file of a job.
const BYTES_MAX: u64 = 1 << 20;

/// What is to be sent once more. It never changes, so that after a restart the same is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Names it; whatever is asked for twice under one id is sent once.
    pub id: String,
    /// `telemetry` or `events`.
    pub lane: String,
    /// From this time on, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Before this time.
    pub to_us: i64,
    /// Machines by name or path; empty = all.
    #[serde(default)]
    pub devices: Vec<String>,
    /// What somebody wrote for `from_us`, when that is another time whenever it is read: `2h ago`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from_words: String,
    /// The same of `to_us`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to_words: String,
}

impl Order {
    /// Whether `other` asks for the same once more. Words like `2h ago` are the same words then,
    /// although they are another time.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_end = |us: i64, words: &str, other_us: i64, other_words: &str| {
            us == other_us || (!words.is_empty() && words == other_words)
        };
        (&self.id, &self.lane, &self.devices) == (&other.id, &other.lane, &other.devices)
            && is_end(self.from_us, &self.from_words, other.from_us, &other.from_words)
            && is_end(self.to_us, &self.to_words, other.to_us, &other.to_words)
    }

    /// Which records it means.
    pub fn filter(&self) -> Filter {
        Filter {
            devices: self.devices.clone(),
            tags: Vec::new(),
            from_us: Some(self.from_us),
            until_us: Some(self.to_us),
        }
    }
}

/// What of a lane Kafka had at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Everything before this offset …
    pub below: u64,
    /// … but these ranges, from the first to before the second.
    pub but: Vec<(u64, u64)>,
}

impl Sent {
    /// Whether Kafka had this one.
    pub fn has(&self, offset: u64) -> bool {
        offset < self.below && !self.but.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for its turn.
    Waiting,
    /// Is being sent.
    Sending,
    /// Everything is in Kafka.
    Done,
    /// Somebody has stopped it.
    Cancelled,
}

impl State {
    /// Nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub order: Order,
    /// Identity of the journal that its offsets belong to.
    pub epoch: String,
    /// Offsets that may hold something of it, from …
    pub from_offset: u64,
    /// … to before ….
    pub to_offset: u64,
    /// When it was asked for, microseconds since 1970 UTC.
    pub created_us: i64,
    /// How far it is.
    pub state: State,
    /// Where it is between the two offsets.
    pub next_offset: u64,
    /// What Kafka had when it was asked for, or as soon as the box knew that: nothing else is sent
    /// again, because it is still to come for the first time. `None` = not known yet.
    #[serde(default)]
    pub sent: Option<Sent>,
    /// Records in Kafka by it, since the process started; all of them when it was never interrupted.
    pub records: u64,
    /// The process has ended since it began to send.
    #[serde(default)]
    pub interrupted: bool,
    /// Records that are meant, but were not sent before: they come as normal ones.
    #[serde(default)]
    pub unsent: u64,
    /// Offsets that were removed from the disk, or could not be read, before it came to them.
    pub missing: u64,
    /// What Kafka says, in words.
    #[serde(default)]
    pub text: String,
}

impl Job {
    /// Keeps it durably in `folder`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        fs::create_dir_all(folder).map_err(FileError::of("create", folder))?;
        let (path, new) = (folder.join(file_name(&self.order.id)), folder.join("new.tmp"));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let mut file = File::create(&new).map_err(FileError::of("create", &new))?;
        file.write_all(&text).map_err(FileError::of("write", &new))?;
        file.sync_all().map_err(FileError::of("sync", &new))?;
        fs::rename(&new, &path).map_err(FileError::of("rename", &new))?;
        sync_folder(folder)
    }

    /// Forgets it.
    pub fn remove(&self, folder: &Path) {
        let path = folder.join(file_name(&self.order.id));
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// All jobs in `folder`, oldest first; what is no job is left alone.
    pub fn all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<Self> = entries.filter_map(|entry| Self::read(&entry.path())).collect();
        found.sort_by_key(|job| job.created_us);
        found
    }

    fn read(path: &Path) -> Option<Self> {
        path.extension().filter(|extension| *extension == "json")?;
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(job) if is_id(&job.order.id) && job.from_offset <= job.to_offset => Some(job),
            Ok(_) => {
                tracing::warn!("{} is no replay and is left alone", path.display());
                None
            }
            Err(error) => {
                tracing::warn!("{} is no replay and is left alone: {error}", path.display());
                None
            }
        }
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.json")
}

/// An id becomes part of a transactional id and of a file name.
pub fn is_id(id: &str) -> bool {
    (1..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let order = Order {
            id: "again-1".into(),
            lane: "telemetry".into(),
            from_us: 1,
            to_us: 2,
            devices: vec!["press-3".into()],
            ..Order::default()
        };
        let job = Job {
            order,
            epoch: "0a".repeat(16),
            from_offset: 3,
            to_offset: 9,
            created_us: 5,
            state: State::Waiting,
            next_offset: 3,
            sent: Some(Sent { below: 8, but: vec![(4, 5)] }),
            records: 0,
            interrupted: false,
            unsent: 0,
            missing: 0,
            text: String::new(),
        };
        job.save(folder.path()).unwrap();
        std::fs::write(folder.path().join("torn.json"), "{").unwrap();
        std::fs::write(folder.path().join("new.tmp"), "{").unwrap();
        assert_eq!(Job::all(folder.path()), std::slice::from_ref(&job));
        let done = Job { state: State::Done, ..job };
        done.save(folder.path()).unwrap();
        assert_eq!(Job::all(folder.path()), [done]);
    }

    #[test]
    fn a_job_of_an_earlier_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"{"order": {"id": "old", "lane": "telemetry", "from_us": 1, "to_us": 2}, "epoch": "0a",
            "from_offset": 3, "to_offset": 9, "created_us": 5, "state": "sending", "next_offset": 4, "records": 1,
            "missing": 0}"#;
        std::fs::write(folder.path().join("old.json"), json).unwrap();
        let read = Job::all(folder.path());
        assert_eq!((read[0].order.id.as_str(), &read[0].sent, read[0].unsent), ("old", &None, 0));
    }

    #[test]
    fn the_same_words_are_the_same_order_although_time_goes_on() {
        let order = |from_us, from_words: &str| Order {
            id: "fire".into(),
            from_us,
            to_us: 90,
            from_words: from_words.into(),
            ..Order::default()
        };
        let first = order(10, "2h ago");
        assert!(first.is_same(&order(13, "2h ago")), "three seconds later");
        assert!(first.is_same(&order(10, "")), "written out");
        assert!(!first.is_same(&order(13, "")) && !first.is_same(&order(13, "3h ago")));
        assert!(!order(10, "").is_same(&order(13, "")), "no words are no words");
        let other = Order { devices: vec!["press-3".into()], ..order(10, "2h ago") };
        assert!(!first.is_same(&other));
    }

    #[test]
    fn kafka_has_what_is_below_but_for_ranges() {
        let sent = Sent { below: 10, but: vec![(2, 4), (7, 8)] };
        let has: Vec<u64> = (0..12).filter(|offset| sent.has(*offset)).collect();
        assert_eq!(has, [0, 1, 4, 5, 6, 8, 9]);
    }

    #[test]
    fn ids_are_names_and_no_paths() {
        assert!(is_id("7f3a") && is_id("after-the-fire-2"));
        for wrong in ["", "../x", "a b", "ä", "a.b", &"x".repeat(41)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
