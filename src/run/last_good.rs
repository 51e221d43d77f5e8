//! What a start must know of the time before: when each device delivered its last value (the
//! beginning of a "box off" gap), and which gap records a crash has swallowed.
//!
//! The journal knows the first best, because only what is in there counts. A device whose values did not
//! change has nothing recent there, so the small state adds a time of its own every
//! [`SAVE_EVERY`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;

use crate::device::Device;
use crate::event::Event;
use crate::lane::{Body, LaneReader, LaneStatus};
use crate::poll;
use crate::state::State;
use crate::twin::Twin;

/// Last records of a lane that are looked at.
const TAIL_RECORDS: u64 = 5000;
/// Time between two saves: flash does not like more.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What the ends of the lanes tell about the time before this start.
pub struct Before {
    /// Device path → when its last value was journalled, microseconds since 1970 UTC; 0 = never.
    pub last_good_us: HashMap<String, i64>,
    /// Gap records that a crash has kept from the events lane. The batch after a gap carries it,
    /// so it can be stated now.
    pub unstated: Vec<Event>,
}

/// Reads the ends of both lanes and puts the readers back.
pub fn read(
    telemetry: &mut LaneReader,
    events: &mut LaneReader,
    state: Option<&State>,
    devices: &[Arc<Device>],
) -> Before {
    let mut last_good_us = saved(state, devices);
    let mut gaps = Vec::new();
    for_tail(telemetry, |body| {
        let Body::Batch(batch) = body else { return };
        if let Some(time) = last_good_us.get_mut(&batch.schema.device) {
            *time = batch.edge_us.max(*time);
        }
        let (device, standby_for) = (&batch.schema.device, &batch.schema.standby_for);
        gaps.extend(batch.gap.map(|gap| poll::gap_event(device, standby_for, &gap, batch.edge_us)));
    });
    let mut stated = HashSet::new();
    for_tail(events, |body| {
        if let Body::Event(json) = body {
            stated.extend(serde_json::from_slice(&json).ok().and_then(|event| gap_times(&event)));
        }
    });
    let is_unstated = |event: &Event| {
        let times = serde_json::to_value(event).ok().and_then(|event| gap_times(&event));
        times.is_some_and(|times| !stated.contains(&times))
    };
    // Kafka may have all of it soon, and then the journal forgets.
    if let Some(state) = state {
        write(state, &last_good_us.iter().map(|(path, us)| (path.clone(), *us)).collect::<Vec<_>>());
    }
    let unstated = gaps.into_iter().filter(is_unstated).collect();
    Before { last_good_us, unstated }
}

/// Device, beginning and end of a gap, which make it the same gap; `None` of another event. What was
/// told beside, as values from the device's own memory, is not known from a batch.
fn gap_times(event: &Json) -> Option<[String; 3]> {
    let text = |at: &Json| at.as_str().map(str::to_owned);
    (event["kind"] == "gap").then_some(())?;
    Some([text(&event["device"])?, text(&event["data"]["from"])?, text(&event["edge_time"])?])
}

/// What the small state alone knows, while the journal cannot be read.
pub fn saved(state: Option<&State>, devices: &[Arc<Device>]) -> HashMap<String, i64> {
    let saved = |device: &Arc<Device>| state.map_or(0, |state| state.last_good_us(&device.path));
    devices.iter().map(|device| (device.path.clone(), saved(device))).collect()
}

/// Gives the last records of a lane to `look`.
fn for_tail(reader: &mut LaneReader, mut look: impl FnMut(Body)) {
    let first = reader.offset();
    reader.seek(first.max(reader.synced().saturating_sub(TAIL_RECORDS)));
    loop {
        let records = reader.next(512, 1 << 20);
        if records.is_empty() {
            break;
        }
        records.into_iter().for_each(|record| look(record.body));
    }
    reader.seek(first);
}

/// Saves now and then until `stop`, as long as the journal takes what is read. A state that could not
/// be opened is tried again each time.
pub async fn save(
    state: Arc<SetOnce<State>>,
    directory: PathBuf,
    twin: Arc<Twin>,
    telemetry: watch::Receiver<LaneStatus>,
    stop: CancellationToken,
) {
    // What is saved was read one interval ago, so it is synced in the journal by now; a time that
    // is too late would hide the loss of what was not.
    let mut before = snapshot(&twin);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAVE_EVERY) => {}
        }
        // With a disk that does not work the last batches are in memory only.
        if telemetry.borrow().error.is_some() {
            continue;
        }
        let now = snapshot(&twin);
        let save = std::mem::replace(&mut before, now);
        let (state, directory) = (Arc::clone(&state), directory.clone());
        let saved = tokio::task::spawn_blocking(move || {
            if let Some(state) = state.get().or_else(|| reopened(&state, &directory)) {
                write(state, &save);
            }
        });
        if saved.await.is_err() {
            tracing::error!("saving the small state ended with a panic");
        }
    }
}

/// The state, when it can be opened by now.
fn reopened<'a>(place: &'a SetOnce<State>, directory: &Path) -> Option<&'a State> {
    match State::open(directory) {
        Ok(opened) => {
            tracing::info!("the small state works again");
            // Nobody else sets it.
            let _once = place.set(opened.state);
        }
        Err(error) => tracing::debug!("still without the small state: {error}"),
    }
    place.get()
}

/// Saves at the end, when everything is synced.
pub fn save_now(state: &State, twin: &Twin) {
    write(state, &snapshot(twin));
}

/// When each device was read last.
fn snapshot(twin: &Twin) -> Vec<(String, i64)> {
    twin.devices().iter().map(|twin| (twin.device.path.clone(), twin.state().read_us())).collect()
}

fn write(state: &State, times: &[(String, i64)]) {
    let known = times.iter().filter(|(_, us)| *us != 0);
    if let Err(error) = state.save_last_good(known.map(|(path, us)| (path.as_str(), *us))) {
        tracing::warn!("times of last values not saved: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::GapBefore;

    #[test]
    fn a_gap_that_was_told_with_values_from_the_memory_of_the_device_is_the_same_gap() {
        let times = |event: &Event| gap_times(&serde_json::to_value(event).unwrap());
        let told = |from_us: i64, to_us: i64| {
            poll::gap_event("Works1/press", "", &GapBefore { from_us, cause: poll::box_off() }, to_us)
        };
        let mut event = told(1_000_000, 2_000_000);
        event.text.push_str("; 7 values of it come from the device's own memory");
        event.data["from_history"] = 7.into();
        assert!(times(&event).is_some());
        assert_eq!(times(&event), times(&told(1_000_000, 2_000_000)));
        assert_ne!(times(&event), times(&told(1_000_000, 3_000_000)));
        assert_ne!(times(&event), times(&told(500_000, 2_000_000)));
        event.kind = crate::event::Kind::Alarm;
        assert_eq!(times(&event), None);
    }
}
