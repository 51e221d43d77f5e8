//! A press, its twin and one model on it, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use forebay::demo::machine::Machine;
use forebay::device::{Device, Tag, Text, Transform};
use forebay::event::{Event, Events, Kind};
use forebay::infer::folder::{Content, Folder};
use forebay::infer::predictions::Predictions;
use forebay::infer::watcher::Watcher;
use forebay::infer::{Binding, Prediction, watch};
use forebay::twin::{Cause, Link, Twin};
use forebay_connector::{DataType, DeviceSpec, Quality, Scalar, ScanClass, Secrets, Value};
use tokio::sync::mpsc::Receiver;

pub const INPUTS: [&str; 5] =
    ["drive.vib_de", "drive.vib_nde", "drive.current", "hydraulics.pressure", "hydraulics.oil_temp"];

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is not known"))
    }
}

/// A press with the tags that models see, scanned every 200 ms.
pub fn press(name: &str) -> Arc<Device> {
    let tag = |(raw, path): (usize, &&str)| Tag {
        path: (*path).to_owned(),
        raw: u32::try_from(raw).expect("few tags"),
        transform: Transform::None,
        data_type: DataType::single(Scalar::Real),
        unit: String::new(),
        deadband: 0.0,
        compress: None,
        max_silence: Duration::from_secs(60),
        scan: 0,
        range: None,
        limits: Default::default(),
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc: String::new(),
        source: String::new(),
    };
    let spec = DeviceSpec {
        name: name.to_owned(),
        endpoint: String::new(),
        options: Default::default(),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_millis(200) }],
        tags: [].into(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: Default::default(),
    };
    Arc::new(Device {
        name: name.to_owned(),
        path: format!("Works1/Pressing/Line3/{name}"),
        location: Vec::new(),
        profile: "acme-press-630t".to_owned(),
        profile_version: "1.2.0".to_owned(),
        title: Text::plain("Press"),
        protocol: forebay::connectors::by_name("s7").expect("S7 is a protocol"),
        spec,
        tags: INPUTS.iter().enumerate().map(tag).collect(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: String::new(),
    })
}

/// A press, its twin and one model on it, in simulated time.
pub struct Bench {
    pub twin: Twin,
    pub machine: Machine,
    pub watcher: Option<Watcher>,
    pub predictions: Arc<Predictions>,
    pub events: Events,
    pub received: Receiver<Event>,
    pub now_us: i64,
}

/// One point of the grid of the shipped model.
pub const GRID_US: i64 = 500_000;

impl Bench {
    pub fn new(folder: Folder, machine: Machine) -> Self {
        Self::on(folder, machine, press("press-3"))
    }

    pub fn on(folder: Folder, machine: Machine, device: Arc<Device>) -> Self {
        let twin = Twin::new(&[device]);
        let (events, received) = Events::new();
        let binding = Binding { folder: Arc::new(folder), device: "press-3".into() };
        let (watcher, predictions) = watch(binding, "Works1/box", &twin, &events);
        Self { twin, machine, watcher, predictions, events, received, now_us: 1_000_000_000 }
    }

    /// Lets the machine run to the next point of the grid, and the poller read it.
    pub fn poll(&mut self) {
        self.machine.step(0.5);
        self.now_us += GRID_US;
        let press = Arc::clone(&self.twin.devices()[0]);
        let mut state = press.state();
        state.link = Link::Up { since_us: 1 };
        for (path, value) in self.machine.values() {
            if let Some(index) = INPUTS.iter().position(|input| *input == path) {
                state.values[index].value = value;
                state.values[index].quality = Quality::Good;
                state.values[index].edge_us = self.now_us - 100_000;
            }
        }
    }

    pub fn tick(&mut self) {
        self.watcher.as_mut().expect("the model runs").tick(self.now_us, &self.events);
    }

    pub fn run(&mut self, seconds: u32) {
        for _ in 0..seconds * 2 {
            self.poll();
            self.tick();
        }
    }

    pub fn prediction(&self) -> Prediction {
        self.predictions.list().remove(0)
    }

    /// What happened since the last time, without the summaries of minutes.
    pub fn events(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.received.try_recv().ok());
        events.filter(|event| event.kind != Kind::Score).collect()
    }

    pub fn summaries(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.received.try_recv().ok());
        events.filter(|event| event.kind == Kind::Score).collect()
    }
}

pub fn shipped() -> Folder {
    Folder::built_in().into_iter().find(|folder| folder.name == "press-wear").expect("it is built in")
}

pub fn content() -> Content {
    shipped().content.expect("the shipped folder is right")
}

/// What may happen to an input.
pub enum Spoil {
    Quality(Quality),
    Old,
    Text,
    Down,
}

impl Spoil {
    pub fn apply(&self, bench: &mut Bench) {
        let now_us = bench.now_us;
        let press = Arc::clone(&bench.twin.devices()[0]);
        let mut state = press.state();
        match self {
            Self::Quality(quality) => state.values[2].quality = *quality,
            Self::Old => state.values[2].edge_us = now_us - 1_500_000,
            Self::Text => state.values[2].value = Value::Text("?".into()),
            Self::Down => state.link = Link::Down { since_us: 1, cause: Cause::default() },
        }
    }
}
