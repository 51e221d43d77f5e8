//! The tasks of the devices: which run, and how one takes another's place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::device::Device;
use crate::poll;
use crate::twin::{Cause, DeviceTwin, Link, Twin};

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
    /// Tasks of devices that are configured no more, until they have ended.
    ending: Vec<JoinHandle<()>>,
    /// The box is stopping: nothing is started any more.
    stopped: bool,
}

/// One device's task.
struct Running {
    twin: Arc<DeviceTwin>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Its last value before this task, microseconds since 1970 UTC; 0 = never.
    before_us: i64,
}

impl Running {
    /// When its last value was read, this task's or one before it.
    fn last_us(twin: &DeviceTwin, before_us: i64) -> i64 {
        twin.state()
            .values
            .iter()
            .map(|current| current.edge_us)
            .max()
            .filter(|us| *us != 0)
            .unwrap_or(before_us)
    }
}

impl Devices {
    /// Starts a task for each device of `twin`; `last_good_us` says when its last value was
    /// journalled, 0 = never.
    pub fn start(twin: &Arc<Twin>, shared: poll::Shared, last_good_us: impl Fn(&Device) -> i64) -> Self {
        let devices = Self { twin: Arc::clone(twin), shared, polled: Mutex::default() };
        let start = |twin: &Arc<DeviceTwin>| {
            let before_us = last_good_us(&twin.device);
            devices.poll(Arc::clone(twin), before_us, |shared, twin| {
                poll::run(Arc::clone(&twin.device), twin, shared, before_us)
            })
        };
        devices.lock().running = twin.devices().iter().map(start).collect();
        devices
    }

    fn lock(&self) -> MutexGuard<'_, Polled> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<F>(
        &self,
        twin: Arc<DeviceTwin>,
        before_us: i64,
        run: impl FnOnce(poll::Shared, Arc<DeviceTwin>) -> F,
    ) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.shared.stop.child_token();
        let shared = poll::Shared { stop: stop.clone(), ..self.shared.clone() };
        let task = tokio::spawn(run(shared, Arc::clone(&twin)));
        Running { twin, stop, task, before_us }
    }

    /// From now on these are the devices. One that runs already (the very same) goes on untouched:
    /// connection, twin and counters. One with the name of another takes its place as soon as that
    /// one's task has ended, so that no two ever read one machine and no sample overtakes another.
    /// `last_good_us` is asked for devices that did not run.
    pub fn replace(&self, devices: &[Arc<Device>], last_good_us: impl Fn(&Device) -> i64) {
        let mut polled = self.lock();
        if polled.stopped {
            return;
        }
        polled.ending.retain(|task| !task.is_finished());
        let mut before = std::mem::take(&mut polled.running);
        for device in devices {
            let same = before.iter().position(|it| Arc::ptr_eq(&it.twin.device, device));
            let place = same.or_else(|| before.iter().position(|it| it.twin.device.name == device.name));
            let running = match (same, place.map(|place| before.remove(place))) {
                (Some(_), Some(running)) => running,
                (None, Some(old)) => self.follow(old, device),
                (_, None) => {
                    let before_us = last_good_us(device);
                    let twin = Arc::new(DeviceTwin::new(Arc::clone(device)));
                    self.poll(twin, before_us, |shared, twin| {
                        poll::run_after(Arc::clone(device), twin, shared, before_us, was_absent())
                    })
                }
            };
            polled.running.push(running);
        }
        for gone in before {
            gone.stop.cancel();
            polled.ending.push(gone.task);
        }
        self.twin.set_devices(polled.running.iter().map(|running| Arc::clone(&running.twin)).collect());
    }

    /// Starts `device` behind the task of the device it replaces.
    fn follow(&self, old: Running, device: &Arc<Device>) -> Running {
        let Running { twin: old_twin, stop, task, before_us } = old;
        stop.cancel();
        let last_us = Running::last_us(&old_twin, before_us);
        let twin = Arc::new(DeviceTwin::new(Arc::clone(device)));
        let same_path = old_twin.device.path == device.path;
        self.poll(twin, if same_path { last_us } else { 0 }, move |shared, twin| async move {
            end(task, &twin.device.name).await;
            // It may have read once more meanwhile. Under another path it is a new machine.
            let last_us = if same_path { Running::last_us(&old_twin, before_us) } else { 0 };
            let cause = match &old_twin.state().link {
                Link::Down { cause, .. } => cause.clone(),
                Link::Starting | Link::StandingBy | Link::Up { .. } => was_changed(),
            };
            let device = Arc::clone(&twin.device);
            poll::run_after(device, twin, shared, last_us, cause).await;
        })
    }

    /// The tasks, after all of them were told to end; nothing is started any more.
    pub fn stop(&self) -> Vec<JoinHandle<()>> {
        self.shared.stop.cancel();
        let mut polled = self.lock();
        polled.stopped = true;
        let ending = std::mem::take(&mut polled.ending);
        let running = std::mem::take(&mut polled.running).into_iter().map(|running| running.task);
        running.chain(ending).collect()
    }
}

/// Waits for a task that was told to end.
async fn end(mut task: JoinHandle<()>, device: &str) {
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
