//! One machine, looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Connector, Look, PollError, Quality, RawSample, Value};
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::device::Device;
use crate::poll::{Engineer, failed_check};
use crate::twin::{Current, DeviceState};

/// Longest goodbye.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What was found at a machine.
pub struct Looked {
    /// What it says of itself, and how long connecting took; or why it cannot be reached.
    pub connected: Result<(String, Duration), String>,
    /// What the checks complain of.
    pub failed_checks: Vec<String>,
    /// Each raw tag, in the order of the profile.
    pub tags: Vec<Tag>,
    /// Published tags, same index as [`Device::tags`].
    pub published: Vec<Current>,
    /// Why looking ended early, in words.
    pub cut: Option<String>,
    /// Requests that it took.
    pub requests: u64,
    /// How long looking took.
    pub took: Duration,
}

/// What came over the wire for one raw tag.
pub struct Tag {
    /// Bytes and value; `None` when it was not looked at.
    pub look: Option<Look>,
    /// Why the machine refuses it, in words; may be empty.
    pub refusal: String,
}

impl Looked {
    fn nothing(device: &Device, why: String) -> Self {
        Self {
            connected: Err(why),
            failed_checks: Vec::new(),
            tags: Vec::new(),
            published: vec![Current::default(); device.tags.len()],
            cut: None,
            requests: 0,
            took: Duration::ZERO,
        }
    }

    /// The machine is what the files say.
    pub fn is_sound(&self) -> bool {
        let read = |current: &Current| current.edge_us != 0 && current.quality.ne107() != Some('F');
        self.connected.is_ok()
            && self.failed_checks.is_empty()
            && self.cut.is_none()
            && self.published.iter().all(read)
    }
}

/// A folder for the certificates of machines whose box has none, because there is no `forebay.toml`.
/// Goes away at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// A name that nobody can have prepared; made when a connector needs it.
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("forebay-check-{:016x}", fastrand::u64(..))))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Mostly nobody needed it.
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

/// Connects, checks, and reads every tag on its own. Ends after `limit`, whatever the machine does.
pub async fn look_at(device: &Arc<Device>, folder: &Folder, limit: Duration) -> Looked {
    let (started, end) = (Instant::now(), Instant::now() + limit);
    let mut spec = device.spec.clone();
    if spec.state_directory.is_relative() {
        spec.state_directory = folder.0.join(&spec.state_directory);
    }
    let mut connector = match device.protocol.open(spec) {
        Ok(connector) => connector,
        Err(fault) => return Looked::nothing(device, fault.message),
    };
    let connected = timeout_at(end, connector.connect()).await;
    let identity = match connected.unwrap_or(Err(PollError::Timeout { waited: limit })) {
        Ok(identity) => identity,
        Err(error) => return Looked::nothing(device, error.to_string()),
    };
    let mut looked = Looked::nothing(device, String::new());
    looked.connected = Ok((identity, started.elapsed()));
    let tags = look_at_tags(device, connector.as_mut(), &mut looked);
    if timeout_at(end, tags).await.is_err() {
        let why = format!("the rest was not looked at: {} s are over (--at-most)", limit.as_secs());
        looked.cut = Some(why);
    }
    publish(device, &mut looked);
    looked.requests = connector.requests();
    looked.took = started.elapsed();
    // Who does not answer to it is left.
    let _left = timeout(CLOSE_MAX, connector.close()).await;
    looked
}

/// The checks, then one tag after the other.
async fn look_at_tags(device: &Device, connector: &mut dyn Connector, looked: &mut Looked) {
    let checked: Vec<u32> = device.verify.iter().map(|verify| verify.raw).collect();
    if !checked.is_empty() {
        let mut raw = Vec::new();
        if let Err(error) = connector.read(&checked, &mut raw).await {
            looked.cut = Some(format!("the checks cannot be read: {error}"));
            return;
        }
        let complaints = device.verify.iter().filter_map(|verify| failed_check(device, verify, &raw));
        looked.failed_checks = complaints.map(|cause| cause.message).collect();
    }
    for tag in (0..).take(device.spec.tags.len()) {
        match connector.look(tag).await {
            Ok(look) => {
                let refusal = connector.refusal(tag).unwrap_or_default();
                looked.tags.push(Tag { look: Some(look), refusal });
            }
            Err(error) => {
                let path = device.spec.tags.get(tag as usize).map_or("", |tag| tag.path.as_str());
                looked.cut = Some(format!("{path}: {error}; the tags behind it were not looked at"));
                return;
            }
        }
    }
}

/// What the box would publish of what was read: by the very code that does it there.
fn publish(device: &Arc<Device>, looked: &mut Looked) {
    let raw: Vec<RawSample> =
        looked.tags.iter().filter_map(|tag| Some(tag.look.as_ref()?.sample.clone())).collect();
    let mut state = DeviceState { values: looked.published.clone(), ..DeviceState::default() };
    let (due, mut samples): (Vec<usize>, _) = ((0..device.spec.scans.len()).collect(), Vec::new());
    Engineer::new(Arc::clone(device)).publish(&raw, &due, clock::now_us(), &mut state, &mut samples);
    looked.published = state.values;
    if !looked.failed_checks.is_empty() {
        let not_read = Current::default().edge_us;
        for current in looked.published.iter_mut().filter(|current| current.edge_us != not_read) {
            current.quality = Quality::NotVerified;
        }
    }
}

impl Tag {
    /// Its decoded value.
    pub fn value(&self) -> Option<&Value> {
        self.look.as_ref().map(|look| &look.sample.value)
    }
}
