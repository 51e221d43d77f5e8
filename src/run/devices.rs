//! The tasks of the devices: which run, and how one takes another's place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::device::Device;
use crate::poll;
use crate::twin::{Cause, DeviceTwin, Link, Missing, Twin};

/// A task that was told to end is waited for so long, then it is dropped in the middle of its poll.
const END_MAX: Duration = Duration::from_secs(10);

/// All devices that are polled.
pub struct Devices {
    twin: Arc<Twin>,
    shared: poll::Shared,
    polled: Mutex<Polled>,
}

#[derive(Default)]
struct Polled {
    running: Vec<Running>,
    /// Tasks of devices that are configured no more, or in another way, until they have ended; newest
    /// last.
    ending: Vec<Ending>,
    /// The box is stopping: nothing is started any more.
    stopped: bool,
}

/// One device's task.
struct Running {
    twin: Arc<DeviceTwin>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A task that was told to end, and has its time for that.
struct Ending {
    twin: Arc<DeviceTwin>,
    /// Cancelled as soon as nothing of the task reads any more.
    ended: CancellationToken,
    /// Waits for the task.
    waiting: JoinHandle<()>,
}

impl Ending {
    /// Tells a task to end.
    fn begin(running: Running) -> Self {
        let Running { twin, stop, task } = running;
        stop.cancel();
        let (ended, name) = (CancellationToken::new(), twin.device.name.clone());
        let at_end = ended.clone().drop_guard();
        let waiting = tokio::spawn(async move {
            end(AbortOnDropHandle::new(task), &name).await;
            drop(at_end);
        });
        Self { twin, ended, waiting }
    }

    /// Whether `device` has to wait: it may be the same machine, whatever it is called now, and a
    /// controller has few connections. The same path is the same key in Kafka: no sample overtakes
    /// another.
    fn is_in_the_way_of(&self, device: &Device) -> bool {
        let before = &self.twin.device;
        let line = |device: &Device| (device.protocol.name(), device.access.line.clone());
        let same_line = !device.access.line.is_empty() && line(before) == line(device);
        let shared = || addresses(before).any(|one| addresses(device).any(|other| one == other));
        before.name == device.name || before.path == device.path || same_line || shared()
    }
}

/// Where a device is reached.
fn addresses(device: &Device) -> impl Iterator<Item = (&str, &str)> {
    let endpoints = std::iter::once(&device.spec.endpoint).chain(&device.access.backup);
    endpoints.map(|endpoint| (device.protocol.name(), endpoint.as_str()))
}

impl Devices {
    /// Starts a task for each device of `twin`; `last_good_us` says when its last value was
    /// journalled, 0 = never.
    pub fn start(twin: &Arc<Twin>, shared: poll::Shared, last_good_us: impl Fn(&Device) -> i64) -> Self {
        let devices = Self { twin: Arc::clone(twin), shared, polled: Mutex::default() };
        let start = |twin: &Arc<DeviceTwin>| {
            let before_us = last_good_us(&twin.device);
            devices.poll(Arc::clone(twin), |shared, twin| {
                poll::run(Arc::clone(&twin.device), twin, shared, before_us)
            })
        };
        devices.lock().running = twin.devices().iter().map(start).collect();
        devices
    }

    fn lock(&self) -> MutexGuard<'_, Polled> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<F>(&self, twin: Arc<DeviceTwin>, run: impl FnOnce(poll::Shared, Arc<DeviceTwin>) -> F) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.shared.stop.child_token();
        let shared = poll::Shared { stop: stop.clone(), ..self.shared.clone() };
        let task = tokio::spawn(run(shared, Arc::clone(&twin)));
        Running { twin, stop, task }
    }

    /// From now on these are the devices. One that runs already (the very same) goes on untouched:
    /// connection, twin and counters. Any other starts as soon as the tasks have ended that may read
    /// the same machine or write under the same path ([`Ending`]). `last_good_us` is asked for
    /// devices that did not run.
    pub fn replace(&self, devices: &[Arc<Device>], last_good_us: impl Fn(&Device) -> i64) {
        let mut polled = self.lock();
        if polled.stopped {
            return;
        }
        polled.ending.retain(|ending| !ending.waiting.is_finished());
        let absent = polled.ending.len();
        let mut kept = Vec::new();
        for running in std::mem::take(&mut polled.running) {
            if devices.iter().any(|device| Arc::ptr_eq(device, &running.twin.device)) {
                kept.push(running);
            } else {
                polled.ending.push(Ending::begin(running));
            }
        }
        for device in devices {
            let same = kept.iter().position(|it| Arc::ptr_eq(&it.twin.device, device));
            let running = match same {
                Some(place) => kept.swap_remove(place),
                None => self.follow(&polled.ending, absent, device, &last_good_us),
            };
            polled.running.push(running);
        }
        self.twin.set_devices(polled.running.iter().map(|running| Arc::clone(&running.twin)).collect());
    }

    /// Starts `device` behind the tasks that are in its way; before `absent` are those of devices that
    /// were not configured any more. Under another path it is a new machine.
    fn follow(
        &self,
        ending: &[Ending],
        absent: usize,
        device: &Arc<Device>,
        last_good_us: impl Fn(&Device) -> i64,
    ) -> Running {
        let twin = Arc::new(DeviceTwin::new(Arc::clone(device)));
        let in_the_way = ending.iter().filter(|ending| ending.is_in_the_way_of(device));
        let in_the_way: Vec<_> = in_the_way.map(|ending| ending.ended.clone()).collect();
        let before = ending.iter().rposition(|ending| ending.twin.device.path == device.path);
        let Some((place, before)) = before.and_then(|place| Some((place, ending.get(place)?))) else {
            let missing = Missing::since(last_good_us(device), was_absent());
            return self.poll(twin, |shared, twin| async move {
                all_ended(&in_the_way).await;
                poll::run_after(Arc::clone(&twin.device), twin, shared, missing).await;
            });
        };
        let cause = if place < absent { was_absent() } else { was_changed() };
        let before = Arc::clone(&before.twin);
        self.poll(twin, |shared, twin| async move {
            all_ended(&in_the_way).await;
            // It may have read once more meanwhile.
            let missing = missing_after(&before, cause);
            poll::run_after(Arc::clone(&twin.device), twin, shared, missing).await;
        })
    }

    /// The tasks, after all of them were told to end; nothing is started any more.
    pub fn stop(&self) -> Vec<JoinHandle<()>> {
        self.shared.stop.cancel();
        let mut polled = self.lock();
        polled.stopped = true;
        let ending = std::mem::take(&mut polled.ending).into_iter().map(|ending| ending.waiting);
        let running = std::mem::take(&mut polled.running).into_iter().map(|running| running.task);
        running.chain(ending.collect::<Vec<_>>()).collect()
    }
}

/// Each of them ends within [`END_MAX`].
async fn all_ended(ending: &[CancellationToken]) {
    for ended in ending {
        ended.cancelled().await;
    }
}

/// What is missing of a device whose task has ended; `otherwise` says why where values came until then.
fn missing_after(before: &DeviceTwin, otherwise: Cause) -> Missing {
    let state = before.state();
    let missing = state.missing.clone();
    // Of a standby box the values may be those of an earlier turn.
    if missing.cause.is_some() || !matches!(state.link, Link::Up { .. }) {
        return missing;
    }
    // A task that was ended in the middle of a poll has left nothing newer.
    Missing::since(missing.last_good_us.max(state.read_us()), otherwise)
}

/// Waits for a task that was told to end.
async fn end(mut task: AbortOnDropHandle<()>, device: &str) {
    match timeout(END_MAX, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!(device, "its task ended with a panic"),
        Err(_) => {
            tracing::warn!(device, "its task did not end within {} s and is ended", END_MAX.as_secs());
            task.abort();
            // Only now nothing of it reads any more; how it ended is known.
            let _aborted = task.await;
        }
    }
}

/// Why there is a gap in the values of a device whose configuration is another one now.
fn was_changed() -> Cause {
    Cause { code: poll::RELOADED.into(), message: "its configuration was changed".into() }
}

/// Why there is a gap in the values of a device that is there again.
fn was_absent() -> Cause {
    Cause { code: poll::RELOADED.into(), message: "it was not in the configuration".into() }
}

#[cfg(test)]
mod tests;
