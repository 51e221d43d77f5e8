//! When each device delivered its last value before this start: the beginning of a "box off" gap.
//!
//! The journal knows it best, because only what is in there counts. A device whose values did not
//! change has nothing recent there, so the small state adds a time of its own every
//! [`SAVE_EVERY`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::device::Device;
use crate::lane::{Body, LaneReader};
use crate::state::State;
use crate::twin::Twin;

/// Last batches of the journal that are looked at.
const TAIL_RECORDS: u64 = 5000;
/// Time between two saves: flash does not like more.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Device path → microseconds since 1970 UTC.
pub fn read(
    telemetry: &mut LaneReader,
    state: Option<&State>,
    devices: &[Arc<Device>],
) -> HashMap<String, i64> {
    let saved = |device: &Arc<Device>| state.map_or(0, |state| state.last_good_us(&device.path));
    let mut times: HashMap<String, i64> =
        devices.iter().map(|device| (device.path.clone(), saved(device))).collect();
    let first = telemetry.offset();
    telemetry.seek(first.max(telemetry.synced().saturating_sub(TAIL_RECORDS)));
    loop {
        let records = telemetry.next(512, 1 << 20);
        if records.is_empty() {
            break;
        }
        for record in records {
            if let Body::Batch(batch) = record.body
                && let Some(time) = times.get_mut(&batch.schema.device)
            {
                *time = batch.edge_us.max(*time);
            }
        }
    }
    telemetry.seek(first);
    times
}

/// Saves now and then until `stop`.
pub async fn save(state: Arc<State>, twin: Arc<Twin>, stop: CancellationToken) {
    // What is saved was read one interval ago, so it is synced in the journal by now; a time that
    // is too late would hide the loss of what was not.
    let mut before = snapshot(&twin);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAVE_EVERY) => {}
        }
        let now = snapshot(&twin);
        let save = std::mem::replace(&mut before, now);
        let state = Arc::clone(&state);
        let saved = tokio::task::spawn_blocking(move || write(&state, &save)).await;
        if saved.is_err() {
            tracing::error!("saving the small state ended with a panic");
        }
    }
}

/// Saves at the end, when everything is synced.
pub fn save_now(state: &State, twin: &Twin) {
    write(state, &snapshot(twin));
}

fn snapshot(twin: &Twin) -> Vec<(String, i64)> {
    twin.devices.iter().map(|twin| (twin.device.path.clone(), twin.state().good_us)).collect()
}

fn write(state: &State, times: &[(String, i64)]) {
    let known = times.iter().filter(|(_, us)| *us != 0);
    if let Err(error) = state.save_last_good(known.map(|(path, us)| (path.as_str(), *us))) {
        tracing::warn!("times of last values not saved: {error}");
    }
}
