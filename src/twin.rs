//! The twin: last values and states of all devices, for the page, the models and the metrics.
//!
//! Written by the pollers, read by everyone else. Locks are held for copies only; nobody holds
//! one while waiting.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use forebay_connector::{Quality, ScanClass, Value};

use crate::device::Device;

/// All devices, in configuration order. Which they are changes when the configuration does.
pub struct Twin(RwLock<Arc<[Arc<DeviceTwin>]>>);

impl Twin {
    /// A twin without values yet.
    pub fn new(devices: &[Arc<Device>]) -> Self {
        let new = |device: &Arc<Device>| Arc::new(DeviceTwin::new(Arc::clone(device)));
        Self(RwLock::new(devices.iter().map(new).collect()))
    }

    /// The devices of this moment.
    pub fn devices(&self) -> Arc<[Arc<DeviceTwin>]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these are the devices.
    pub fn set_devices(&self, devices: Arc<[Arc<DeviceTwin>]>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = devices;
    }

    /// The device with this name.
    pub fn device(&self, name: &str) -> Option<Arc<DeviceTwin>> {
        self.devices().iter().find(|twin| twin.device.name == name).cloned()
    }
}

/// One device's twin.
pub struct DeviceTwin {
    /// The device.
    pub device: Arc<Device>,
    state: Mutex<DeviceState>,
}

impl DeviceTwin {
    /// Of a device without values yet.
    pub fn new(device: Arc<Device>) -> Self {
        let values = vec![Current::default(); device.tags.len()];
        Self { device, state: Mutex::new(DeviceState { values, ..DeviceState::default() }) }
    }

    /// The state, locked. A poisoned lock is taken over: a panic in one task is no reason to
    /// stop showing the others' work.
    pub fn state(&self) -> MutexGuard<'_, DeviceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the connection to a device is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Link {
    /// Not yet tried, or trying for the first time.
    #[default]
    Starting,
    /// Not read, because another box does ([`Device::standby_for`]).
    StandingBy,
    /// Values come in since this time (microseconds since 1970 UTC).
    Up {
        /// Since when.
        since_us: i64,
    },
    /// No values since this time.
    Down {
        /// Since when.
        since_us: i64,
        /// Why, in words, as the last attempt found it.
        cause: Cause,
    },
}

/// Why there are no values: for people, and for machines to tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Stable word: `unreachable`, `timeout`, `mismatch`, `lost`, `refused`, `not-trusted`,
    /// `not-verified`, `configuration`, `panic`.
    pub code: String,
    /// The message in English, with numbers and limits.
    pub message: String,
}

/// A time without values, as the task of a device knows it. The task that takes its place carries on
/// with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// When a value came last, microseconds since 1970 UTC; 0 = never.
    pub last_good_us: i64,
    /// Why none has come since; `None` while values come in.
    pub cause: Option<Cause>,
    /// What kept the device away after a start or another configuration had ended.
    pub then: Option<Cause>,
}

impl Missing {
    /// No values since `last_good_us` (microseconds since 1970 UTC; 0 = never) for this `cause`.
    pub fn since(last_good_us: i64, cause: Cause) -> Self {
        Self { last_good_us, cause: Some(cause), then: None }
    }
}

/// Last value of one published tag.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// Published value; `Null` before the first.
    pub value: Value,
    /// Its quality; meaningless while `edge_us` is 0.
    pub quality: Quality,
    /// When it was read, microseconds since 1970 UTC; 0 = never.
    pub edge_us: i64,
    /// Time given by the device.
    pub source_us: Option<i64>,
    /// When a good value was read last; 0 = never.
    pub good_us: i64,
}

/// Counts of one minute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Minute {
    /// Unix time in minutes.
    pub minute: i64,
    /// Values read.
    pub values: u64,
}

/// Reasons for refused tags kept for one device at most; the others show their quality only.
pub const REFUSALS_MAX: usize = 200;

/// State of one device.
#[derive(Debug, Clone, Default)]
pub struct DeviceState {
    /// The connection.
    pub link: Link,
    /// Values that are missing, as of the last time that they began or ceased to be, or its task ended.
    pub missing: Missing,
    /// What the device says of itself (order number, firmware, server name).
    pub identity: String,
    /// Last values, same index as [`Device::tags`].
    pub values: Vec<Current>,
    /// When any good value was read last, microseconds since 1970 UTC; 0 = never.
    pub good_us: i64,
    /// When the device proved last that its values are still so, microseconds since 1970 UTC; 0 = never.
    /// Those of a subscription that is silent are only taken for unchanged.
    pub heard_us: i64,
    /// Values read since the start.
    pub values_read: u64,
    /// Samples journalled since the start (after deadband).
    pub samples: u64,
    /// Requests sent since the start.
    pub requests: u64,
    /// Failed polls and connects since the start.
    pub errors: u64,
    /// Successful connects since the start.
    pub connects: u64,
    /// Duration of the last poll in microseconds.
    pub round_us: u64,
    /// How late the last scan began, in microseconds after its place in the grid.
    pub late_us: u64,
    /// Scans that came too late because the one before took longer than the interval.
    pub scans_missed: u64,
    /// Values read in each of the last 60 minutes, oldest first.
    pub minutes: VecDeque<Minute>,
    /// Whether all `[[verify]]` held after the last connect; `None` = not yet run, or there is none.
    pub verified: Option<bool>,
    /// Why the device refuses tags, by [`Tag::raw`](crate::device::Tag::raw), in the words of the
    /// connector; at most [`REFUSALS_MAX`]. A refused tag of which nothing more is known is not here.
    pub refusals: BTreeMap<u32, String>,
    /// How it is reached and how often it is read, where that is not as asked.
    pub access: AccessState,
}

/// What a device has instead of what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessState {
    /// The backup address in use; `None`: the first address.
    pub backup: Option<String>,
    /// Scan classes that are read less often than asked.
    pub slowed: Vec<Slowed>,
}

/// A scan class that is read less often than asked, because the device is too slow for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slowed {
    /// Name of the class.
    pub scan: String,
    /// Multiple of its interval at which it is read.
    pub stretch: u32,
    /// The interval asked for.
    pub interval_ms: u64,
    /// What a round took that was too long, or quick enough to go back a step.
    pub took_ms: u64,
}

impl Slowed {
    /// A class at a multiple of its interval.
    pub fn new(scan: &ScanClass, stretch: u32, took: Duration) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { scan: scan.name.clone(), stretch, interval_ms: ms(scan.interval), took_ms: ms(took) }
    }
}

impl DeviceState {
    /// When it was read last for certain, microseconds since 1970 UTC; 0 = never. A value of any quality
    /// counts: what is out of range is there.
    pub fn read_us(&self) -> i64 {
        let newest = self.values.iter().map(|current| current.edge_us).max().unwrap_or(0);
        newest.min(self.heard_us)
    }

    /// Counts `values` read at `edge_us`.
    pub fn count(&mut self, edge_us: i64, values: u64) {
        self.values_read += values;
        let minute = edge_us.div_euclid(60_000_000);
        match self.minutes.back_mut() {
            Some(last) if last.minute == minute => last.values += values,
            _ => {
                self.minutes.push_back(Minute { minute, values });
                if self.minutes.len() > 60 {
                    self.minutes.pop_front();
                }
            }
        }
    }

    /// Tags whose last value is good.
    pub fn good_tags(&self) -> usize {
        self.values.iter().filter(|current| current.edge_us != 0 && current.quality.is_good()).count()
    }
}
