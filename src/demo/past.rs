//! The press's past: what a box would have stored of it, in simulated time.
//!
//! The readings go through the code that works up those of real machines (scaling, quality, deadband)
//! into a real journal; only the clock runs faster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_connector::{Quality, RawSample};

use super::machine::Machine;
use super::site::Site;
use crate::batch::Batch;
use crate::config;
use crate::device::Device;
use crate::event::Events;
use crate::lane::{Lane, LaneOptions};
use crate::poll::Engineer;
use crate::twin::DeviceTwin;

/// Time between two steps of the machine, milliseconds.
const STEP_MS: u64 = 200;
/// Longest wait for the disk.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// The devices of the demo, as its files describe them.
///
/// # Errors
/// When there is no folder for temporary files.
pub fn devices() -> anyhow::Result<Vec<Arc<Device>>> {
    let site = Site::create()?;
    site.write(([127, 0, 0, 1], 0).into(), "127.0.0.1:9", &[])?;
    Ok(config::load(&site.config()).devices)
}

/// Lets the machine run for `seconds`, up to `end_us` (microseconds since 1970 UTC), and stores in the
/// journal under `directory` what a box would have read meanwhile. `each` may do something to the
/// machine at each whole second. Gives the number of records.
///
/// # Errors
/// When the disk does not take it.
pub fn record(
    directory: &Path,
    device: &Arc<Device>,
    machine: &mut Machine,
    (seconds, end_us): (u32, i64),
    mut each: impl FnMut(u32, &mut Machine),
) -> anyhow::Result<u64> {
    let folder = directory.join("telemetry");
    std::fs::create_dir_all(&folder)?;
    let (events, _unheard) = Events::new();
    let opened = Lane::open(LaneOptions::new("telemetry", folder, "demo"), events)?;
    let (mut poller, mut records) = (Poller::new(device), 0);
    let steps = u64::from(seconds) * 1000 / STEP_MS;
    for step in 0..steps {
        let time_ms = step * STEP_MS;
        if time_ms.is_multiple_of(1000) {
            each(u32::try_from(time_ms / 1000).unwrap_or(u32::MAX), machine);
        }
        #[allow(clippy::cast_precision_loss)] // 200
        machine.step(STEP_MS as f64 / 1000.0);
        let before_us = i64::try_from((steps - step - 1) * STEP_MS * 1000).unwrap_or(i64::MAX);
        let Some(mut batch) = poller.scan(machine, time_ms, end_us - before_us) else { continue };
        // The queue is short, the disk is not.
        while let Err(back) = opened.writer.try_append(batch) {
            opened.writer.flush(FLUSH_MAX).context("the disk does not take the press's past")?;
            batch = back;
        }
        records += 1;
    }
    opened.writer.flush(FLUSH_MAX).context("the disk does not take the press's past")?;
    match opened.lane.close() {
        0 => Ok(records),
        lost => bail!("{lost} records of the press's past could not be stored"),
    }
}

/// Reads a machine as a box would.
pub struct Poller {
    device: Arc<Device>,
    twin: DeviceTwin,
    engineer: Engineer,
    /// Raw tag of each value of the machine, where there is one.
    raw: Vec<Option<usize>>,
}

impl Poller {
    /// Has read nothing yet.
    pub fn new(device: &Arc<Device>) -> Self {
        let (twin, engineer) = (DeviceTwin::new(Arc::clone(device)), Engineer::new(Arc::clone(device)));
        Self { device: Arc::clone(device), twin, engineer, raw: Vec::new() }
    }

    /// Reads what is due at `time_ms` of its life; `None` when nothing is to be stored.
    pub fn scan(&mut self, machine: &Machine, time_ms: u64, edge_us: i64) -> Option<Batch> {
        let spec = &self.device.spec;
        let is_due = |scan: &usize| {
            let interval_ms = u64::try_from(spec.scans[*scan].interval.as_millis()).unwrap_or(1000);
            time_ms.is_multiple_of(interval_ms.max(1))
        };
        let due: Vec<usize> = (0..spec.scans.len()).filter(is_due).collect();
        let values = machine.values();
        if self.raw.is_empty() {
            let raw = |path: &str| spec.tags.iter().position(|tag| tag.path == path);
            self.raw = values.iter().map(|(path, _)| raw(path)).collect();
        }
        let mut read: Vec<RawSample> = Vec::with_capacity(values.len());
        for ((_, value), raw) in values.into_iter().zip(&self.raw) {
            let Some(raw) = raw.filter(|raw| due.contains(&spec.tags[*raw].scan)) else { continue };
            let tag = u32::try_from(raw).unwrap_or(u32::MAX);
            read.push(RawSample { tag, value, quality: Quality::Good, source_us: None });
        }
        let mut samples = Vec::new();
        self.engineer.publish(&read, &due, edge_us, &mut self.twin.state(), &mut samples);
        let device = Arc::clone(&self.device);
        (!samples.is_empty()).then_some(Batch { device, edge_us, samples, gap: None })
    }
}
