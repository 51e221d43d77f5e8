//! Pausing replication by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::now_us;

/// Key in the small state.
const PAUSE: &str = "replication-pause";

/// Beginning of keys in the small state.
const COMPLETE: &str = "replication-complete-";

/// How far the first cluster has come.
#[derive(Serialize, Deserialize)]
struct Complete {
    epoch: String,
    next_offset: u64,
}

/// Keeps a few short words over restarts: [`crate::state`], or nothing.
pub trait Memory: Send + Sync {
    /// False as long as it cannot be asked.
    fn is_ready(&self) -> bool {
        true
    }

    /// What was kept under this key.
    fn recall(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps `value` durably; an empty one is forgotten.
    ///
    /// # Errors
    /// In words: then it holds only until the next restart.
    fn keep(&self, key: &str, value: &[u8]) -> Result<(), String>;
}

/// Someone has paused replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when, microseconds since 1970 UTC.
    pub since_us: i64,
    /// Who, as they said.
    pub by: String,
}

/// Pauses and resumes the lanes that were given it. Everything is journalled as ever meanwhile.
#[derive(Default)]
pub struct ReplicationControl {
    now: Mutex<Now>,
    memory: Option<Arc<dyn Memory>>,
    /// It was told that nothing is remembered now.
    is_told: AtomicBool,
}

/// What holds now.
#[derive(Default)]
struct Now {
    pause: Option<Pause>,
    /// The memory was asked, or something newer holds than what it knows.
    is_known: bool,
}

impl std::fmt::Debug for ReplicationControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicationControl").field("pause", &self.paused()).finish_non_exhaustive()
    }
}

impl ReplicationControl {
    /// A control that remembers a pause over restarts. Something that cannot be read is no pause:
    /// data goes on.
    pub fn remembering(memory: Arc<dyn Memory>) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }

    /// Who has paused, and since when.
    pub fn paused(&self) -> Option<Pause> {
        let mut now = self.lock();
        if let Some(memory) = self.memory.as_ref().filter(|memory| !now.is_known && memory.is_ready()) {
            now.is_known = true;
            now.pause = memory.recall(PAUSE).and_then(|kept| serde_json::from_slice(&kept).ok());
        }
        now.pause.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while paused.
    pub fn is_paused(&self) -> bool {
        self.paused().is_some()
    }

    /// Nothing more is sent after the transaction that is open, until [`Self::resume`], also after
    /// restarts. A pause that holds already keeps its beginning and its author.
    ///
    /// # Errors
    /// In words, when a restart would end the pause because it could not be stored.
    pub fn pause(&self, by: &str) -> Result<(), String> {
        let pause = self.paused().unwrap_or_else(|| Pause { since_us: now_us(), by: by.to_owned() });
        let kept = serde_json::to_vec(&pause).map_err(|error| error.to_string())?;
        *self.lock() = Now { pause: Some(pause), is_known: true };
        self.keep(&kept)
    }

    /// Goes on.
    ///
    /// # Errors
    /// In words, when a restart would bring the pause back because that could not be stored.
    pub fn resume(&self) -> Result<(), String> {
        *self.lock() = Now { pause: None, is_known: true };
        self.keep(&[])
    }

    /// Remembers that everything below `next_offset` is in the first cluster. Not being able to
    /// costs sending some of it to the second one again, and knowing less while Kafka is away.
    pub(crate) fn keep_complete(&self, lane: &str, epoch: &str, next_offset: u64) {
        let kept = serde_json::to_vec(&Complete { epoch: epoch.to_owned(), next_offset }).unwrap_or_default();
        let Some(memory) = &self.memory else { return };
        match memory.keep(&format!("{COMPLETE}{lane}"), &kept) {
            Ok(()) => self.is_told.store(false, Ordering::Relaxed),
            Err(error) if !self.is_told.swap(true, Ordering::Relaxed) => {
                tracing::warn!("how far Kafka has come is not remembered: {error}");
            }
            Err(_) => {}
        }
    }

    /// What was remembered of this lane's journal.
    pub(crate) fn recall_complete(&self, lane: &str, epoch: &str) -> Option<u64> {
        let kept = self.memory.as_ref()?.recall(&format!("{COMPLETE}{lane}"))?;
        let complete: Complete = serde_json::from_slice(&kept).ok()?;
        (complete.epoch == epoch).then_some(complete.next_offset)
    }

    fn keep(&self, value: &[u8]) -> Result<(), String> {
        match &self.memory {
            Some(memory) => memory.keep(PAUSE, value),
            None => Err("there is no small state to keep it in: it holds until the next restart".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<HashMap<String, Vec<u8>>>);

    impl Memory for Notes {
        fn recall(&self, key: &str) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).filter(|value| !value.is_empty()).cloned()
        }
        fn keep(&self, key: &str, value: &[u8]) -> Result<(), String> {
            self.0.lock().unwrap().insert(key.to_owned(), value.to_vec());
            Ok(())
        }
    }

    #[test]
    fn how_far_kafka_is_belongs_to_one_journal() {
        let notes: Arc<Notes> = Arc::default();
        let control = ReplicationControl::remembering(notes);
        control.keep_complete("telemetry", "0a", 42);
        assert_eq!(control.recall_complete("telemetry", "0a"), Some(42));
        assert_eq!(control.recall_complete("telemetry", "0b"), None, "another disk");
        assert_eq!(control.recall_complete("events", "0a"), None);
    }

    #[test]
    fn a_pause_outlives_a_restart_and_keeps_its_author() {
        let notes: Arc<Notes> = Arc::default();
        let control = ReplicationControl::remembering(notes.clone());
        assert!(!control.is_paused());
        control.pause("anna").unwrap();
        control.pause("ben").unwrap();
        let pause = control.paused().unwrap();
        assert_eq!(pause.by, "anna");
        let after = ReplicationControl::remembering(notes.clone());
        assert_eq!(after.paused(), Some(pause));
        after.resume().unwrap();
        assert!(!ReplicationControl::remembering(notes.clone()).is_paused());
        notes.keep(PAUSE, b"damaged").unwrap();
        assert!(!ReplicationControl::remembering(notes).is_paused(), "data goes on");
        assert!(ReplicationControl::default().pause("anna").is_err(), "said that a restart ends it");
    }
}
