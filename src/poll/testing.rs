//! Devices made by hand for the tests of this folder, with a connector that plays a script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceMessage, DeviceSpec, OpenFault,
    OptionKey, Pace, PollError, Protocol, Quality, RawSample, Scalar, ScanClass, Secrets, Simulator, TagSpec,
    Value,
};
use tokio::time::Instant;

use crate::device::{Device, Tag, Text, Transform};

pub fn real(tag: u32, value: f32) -> RawSample {
    RawSample { tag, value: Value::Real(value), quality: Quality::Good, source_us: None }
}

pub fn tag(path: &str, raw: u32) -> Tag {
    Tag {
        path: path.into(),
        raw,
        transform: Transform::None,
        data_type: DataType::single(Scalar::Real),
        unit: String::new(),
        deadband: 0.0,
        compress: None,
        max_silence: Duration::from_secs(60),
        scan: 0,
        range: None,
        limits: BTreeMap::new(),
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc: String::new(),
        source: String::new(),
    }
}

/// A device whose protocol fails at every use; for tests that never connect.
pub fn device(tags: Vec<Tag>) -> Arc<Device> {
    scripted(tags, Script::default())
}

/// What a scripted connector answers, one entry for each connect and poll; after the last, silence.
#[derive(Clone, Default)]
pub struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    /// What the device remembers of the past, one entry for each time it is asked.
    history: Arc<Mutex<VecDeque<Step>>>,
    /// What it says by itself, given out with the first poll.
    messages: Arc<Mutex<Vec<DeviceMessage>>>,
    /// Requests that each reading of its history takes.
    history_requests: usize,
    pace: Option<Arc<dyn Pace>>,
    /// It sends changes only, and has sent or said nothing since then.
    silent_since: Option<Instant>,
    subscribes: bool,
}

/// What one call gives.
type Step = Result<Vec<RawSample>, PollError>;

impl Script {
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps.into())), ..Self::default() }
    }

    pub fn remembering(self, history: Vec<Step>) -> Self {
        Self { history: Arc::new(Mutex::new(history.into())), ..self }
    }

    pub fn asking_for_history(self, history_requests: usize) -> Self {
        Self { history_requests, ..self }
    }

    /// After its steps it falls silent as a dead subscription does.
    pub fn falling_silent(self) -> Self {
        Self { subscribes: true, ..self }
    }

    pub fn saying(self, messages: Vec<DeviceMessage>) -> Self {
        Self { messages: Arc::new(Mutex::new(messages)), ..self }
    }

    fn next(&self) -> Step {
        let step = self.steps.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        step.unwrap_or(Err(PollError::Timeout { waited: Duration::from_secs(1) }))
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name}"))
    }
}

pub fn scripted(tags: Vec<Tag>, script: Script) -> Arc<Device> {
    let read = tags.iter().filter(|tag| tag.formula.is_none());
    let raw = read.map(|tag| tag.raw).max().map_or(0, |raw| raw + 1);
    let specs = (0..raw).map(|raw| TagSpec {
        path: format!("raw{raw}"),
        address: format!("DB1.DBD{}", raw * 4),
        data_type: DataType::single(Scalar::Real),
        order: None,
        scan: 0,
        deadband: None,
    });
    Arc::new(Device {
        name: "press-3".into(),
        path: "Werk1/press-3".into(),
        location: vec!["Werk1".into()],
        profile: "test".into(),
        profile_version: "1".into(),
        title: Text::plain("Test"),
        protocol: Arc::new(script),
        spec: DeviceSpec {
            name: "press-3".into(),
            endpoint: "127.0.0.1".into(),
            options: BTreeMap::new(),
            scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_millis(100) }],
            tags: specs.collect(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: std::path::PathBuf::new(),
        },
        tags: tags.into(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: "test.toml:1".into(),
    })
}

#[async_trait]
impl Protocol for Script {
    fn name(&self) -> &'static str {
        "script"
    }
    fn options(&self) -> &'static [OptionKey] {
        &[]
    }
    fn check_address(&self, address: &str, _: DataType) -> Result<Address, AddressFault> {
        Ok(Address { canonical: address.into(), place: address.into() })
    }
    fn shift_address(&self, address: &str, _: u32) -> Result<String, AddressFault> {
        Ok(address.into())
    }
    fn check_device(&self, _: &DeviceSpec) -> Vec<DeviceComplaint> {
        Vec::new()
    }
    fn open(&self, _: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Ok(Box::new(self.clone()))
    }
    async fn simulate(&self, _: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Err(OpenFault { message: "a script cannot be simulated".into() })
    }
}

#[async_trait]
impl Connector for Script {
    async fn connect(&mut self) -> Result<String, PollError> {
        self.next().map(|_| "scripted".to_owned())
    }
    async fn poll(&mut self, _: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        if self.subscribes && self.steps.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.silent_since.get_or_insert_with(Instant::now);
            return Ok(());
        }
        samples.extend(self.next()?);
        Ok(())
    }
    fn silence(&self) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        self.pace = Some(pace);
    }
    async fn read(&mut self, _: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        samples.extend(self.next()?);
        Ok(())
    }
    fn take_messages(&mut self, messages: &mut Vec<DeviceMessage>) {
        messages.append(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner));
    }
    async fn history(
        &mut self,
        _: i64,
        _: i64,
        _: usize,
        samples: &mut Vec<RawSample>,
    ) -> Result<bool, PollError> {
        let step = self.history.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(step) = step else { return Ok(false) };
        for _ in 0..self.history_requests {
            if let Some(pace) = &self.pace {
                pace.turn().await;
            }
        }
        samples.extend(step?);
        Ok(true)
    }
    fn requests(&self) -> u64 {
        0
    }
    fn refusal(&self, tag: u32) -> Option<String> {
        Some(format!("there is no raw tag {tag}"))
    }
    async fn close(&mut self) {}
}
