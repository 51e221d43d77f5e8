//! Taking the parts apart: devices first, then what they have delivered is synced and sent while
//! Kafka takes it; what is left is sent after the next start. Every wait is bounded, so that
//! systemd (`TimeoutStopSec=20s`) need not end us before the journal is safe.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::facts::BoxFacts;
use super::{Running, last_good};
use crate::amount::counted;
use crate::lane::{Lane, LaneWriter};
use crate::replicate::Replicator;
use crate::status::facts::{Facts, ToItState};

/// Longest wait at the end for Kafka to take what is journalled.
const SEND_REST_MAX: Duration = Duration::from_secs(5);
/// Longest wait at the end for the journal to sync.
const SYNC_REST_MAX: Duration = Duration::from_secs(3);
/// Longest wait at the end for devices that are just being read.
const DEVICES_REST_MAX: Duration = Duration::from_secs(4);
/// Longest wait at the end for the page and the last events.
const TASKS_REST_MAX: Duration = Duration::from_secs(2);

impl Running {
    /// Takes everything apart in order. Bounded: devices say goodbye, the journal syncs, Kafka is
    /// given a few seconds.
    pub async fn stop(self) {
        tracing::info!("stopping: no more polling; what was read is stored and sent");
        end(self.devices.stop(), DEVICES_REST_MAX, "a device's task").await;
        let storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(storage) = storage else {
            tracing::error!("nothing of this run was stored: the journal's disk did not work");
            self.stop_rest.cancel();
            return end(self.tasks, TASKS_REST_MAX, "a task").await;
        };
        let writers: Vec<_> = storage.lanes.iter().map(|(_, writer)| writer.clone()).collect();
        let synced = sync_rest(writers).await;
        let all_synced = synced.len() == storage.lanes.len();
        if all_synced {
            send_rest(&self.box_facts, &synced).await;
        }
        // Before the events end: what a replicator has to say still comes into its lane.
        storage.replicators.iter().for_each(Replicator::stop);
        let replicators = storage.replicators;
        blocking(move || replicators.into_iter().for_each(Replicator::join)).await;
        self.stop_rest.cancel();
        let tasks = self.tasks.into_iter().chain(storage.tasks).collect();
        end(tasks, TASKS_REST_MAX, "a task").await;
        let lost = close(storage.lanes).await;
        if lost > 0 {
            tracing::error!("{lost} records could not be stored");
        } else if all_synced {
            // Only now: a time that is too late would hide the loss of what was not stored.
            let (state, twin) = (self.state, self.twin);
            blocking(move || state.get().into_iter().for_each(|state| last_good::save_now(state, &twin)))
                .await;
        }
        tracing::info!("stopped");
    }
}

/// Waits for tasks that were told to end; who does not end in time is ended.
async fn end(tasks: Vec<JoinHandle<()>>, limit: Duration, what: &str) {
    let deadline = Instant::now() + limit;
    for mut task in tasks {
        match tokio::time::timeout_at(deadline, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("{what} ended with a panic"),
            Err(_) => {
                task.abort();
                tracing::warn!("{what} did not end within {} s and was ended", limit.as_secs());
            }
        }
    }
}

/// Does what blocks where it may; a panic there has been reported by the panic hook.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Closes the lanes side by side; how many records could not be stored.
async fn close(lanes: Vec<(Lane, LaneWriter)>) -> u64 {
    let closing: Vec<_> =
        lanes.into_iter().map(|(lane, _)| tokio::spawn(blocking(|| lane.close()))).collect();
    let mut lost = 0;
    for lane in closing {
        // A lane whose thread has gone has lost something, nobody knows how much.
        lost += lane.await.ok().flatten().unwrap_or(1);
    }
    lost
}

/// Has everything that was handed over synced; the offset behind it for each lane, fewer when
/// that is not known because a disk does not work.
async fn sync_rest(writers: Vec<LaneWriter>) -> Vec<u64> {
    let flush = |writer: LaneWriter| tokio::spawn(blocking(move || writer.flush(SYNC_REST_MAX)));
    let flushing: Vec<_> = writers.into_iter().map(flush).collect();
    let mut synced = Vec::new();
    let deadline = Instant::now() + SYNC_REST_MAX;
    for lane in flushing {
        // Also bounds the wait for a thread that may block.
        if let Ok(Ok(Some(Some(offset)))) = tokio::time::timeout_at(deadline, lane).await {
            synced.push(offset);
        } else {
            tracing::error!("not everything could be stored within {} s", SYNC_REST_MAX.as_secs());
        }
    }
    synced
}

/// Waits until Kafka has everything before `synced`, as long as it takes something.
async fn send_rest(facts: &BoxFacts, synced: &[u64]) {
    let end = Instant::now() + SEND_REST_MAX;
    loop {
        let lanes = facts.lanes.iter().zip(synced);
        let rest: u64 = lanes
            .map(|(lane, synced)| synced.saturating_sub(lane.replication.snapshot().next_offset.unwrap_or(0)))
            .sum();
        if rest == 0 {
            return;
        }
        let to_it = facts.to_it();
        if to_it.state != ToItState::Up || Instant::now() >= end {
            let most = if to_it.perhaps_sent_records > 0 { "up to " } else { "" };
            let unsent = counted(to_it.backlog_records, "record", "records");
            tracing::info!("on disk, sent after the next start: {most}{unsent}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
