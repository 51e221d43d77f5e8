//! What replication keeps in mind over restarts, in the small state.

use std::sync::Arc;

use tokio::sync::SetOnce;

use crate::control::Switches;
use crate::replicate::{Memory, ReplicationControl};
use crate::state::{State, Table};

/// The part of one lane.
struct OfLane {
    lane: &'static str,
    state: Arc<SetOnce<State>>,
}

impl OfLane {
    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.lane)
    }
}

impl Memory for OfLane {
    fn is_ready(&self) -> bool {
        self.state.get().is_some()
    }

    fn recall(&self, key: &str) -> Option<Vec<u8>> {
        self.state.get()?.get(Table::Replication, &self.key(key)).filter(|value| !value.is_empty())
    }

    fn keep(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let state = self.state.get().ok_or("the small state does not work")?;
        let (key, value) = (self.key(key), value.to_vec());
        state
            .save(Table::Replication, std::iter::once((key.as_str(), value)))
            .map_err(|error| error.to_string())
    }
}

/// To pause and resume each lane, as they were left.
pub fn switches(state: &Arc<SetOnce<State>>) -> Switches {
    let switch = |lane| {
        let memory = OfLane { lane, state: Arc::clone(state) };
        (lane, Arc::new(ReplicationControl::remembering(Arc::new(memory))))
    };
    ["telemetry", "events"].map(switch).to_vec()
}
