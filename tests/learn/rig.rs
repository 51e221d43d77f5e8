//! A box with simulated machines, of whose past its journal knows.

use std::f64::consts::TAU;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::clock::now_us;
use forebay::config::check_files;
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::{Quality, Simulator, Value};
use serde_json::Value as Json;

use crate::support::{PATIENCE, get, wait_for};
use crate::tools::daemon::{Daemon, append, contents};

/// Grid of what is learned here, as `[[learn]]` and `--interval` say it. Slow enough for a machine that is
/// busy with other tests.
pub const INTERVAL_MS: i64 = 200;
/// Machines move so often, live; they are read half as often.
const STEP: Duration = Duration::from_millis(50);

const PROFILE: &str = r#"forebay = 1
[profile]
name     = "rig"
version  = "1"
protocol = "modbus"
source   = "made for the test"
[modbus]
unit_id = 1
timeout = "5s"
[scan]
fast = "100ms"
[defaults]
scan        = "fast"
max_silence = "60m"
[tags.motor]
vibration = { address = "hr:0", type = "REAL", unit = "mm/s" }
current   = { address = "hr:2", type = "REAL", unit = "A" }
setpoint  = { address = "hr:4", type = "REAL", unit = "1/min" }
[tags.oil]
pressure  = { address = "hr:6", type = "REAL", unit = "bar" }
"#;

/// Path, mean, and how far each moves.
const TAGS: [(&str, f64, f64); 4] = [
    ("motor.vibration", 2.0, 0.5),
    ("motor.current", 80.0, 6.0),
    ("motor.setpoint", 1500.0, 0.0),
    ("oil.pressure", 5.0, 0.3),
];

/// What a machine does besides running normally.
#[derive(Default)]
struct Motion {
    /// How far it is from where it was, in amplitudes; bits of an `f64`.
    shift: AtomicU64,
    /// Its load does not change.
    steady: AtomicBool,
    /// Its load comes and goes in a few seconds, so that a few minutes of it show nothing that wanders.
    quick: AtomicBool,
    ended: AtomicBool,
}

/// A machine: its load comes and goes, and vibration, current and pressure follow it. A function of
/// time, so that its past and what it does live are of one piece.
pub struct Machine {
    device: Arc<Device>,
    motion: Arc<Motion>,
    mover: Option<JoinHandle<()>>,
}

/// Value of tag number `index` of [`TAGS`].
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a few digits are enough
fn value(index: usize, at_us: i64, motion: &Motion, shift: f64) -> Value {
    let (_, mean, amplitude) = TAGS[index];
    let seconds = (at_us % 86_400_000_000) as f64 / 1e6;
    let period = if motion.quick.load(Ordering::SeqCst) { 10.0 } else { 40.0 };
    let load = match motion.steady.load(Ordering::SeqCst) {
        true => 0.0,
        false => (TAU * seconds / period).sin() + 0.5 * (TAU * seconds / 13.0).sin(),
    };
    let seed = (at_us / 100_000).unsigned_abs() * 10 + index as u64;
    let noise = fastrand::Rng::with_seed(seed).f64() - 0.5;
    Value::Real((mean + amplitude * (load + 0.2 * noise + shift)) as f32)
}

impl Machine {
    fn start(device: Arc<Device>, simulator: Box<dyn Simulator>) -> Self {
        let motion = Arc::new(Motion::default());
        let (mine, raw) = (Arc::clone(&motion), tags_of(&device).map(|tag| device.tags[tag].raw));
        let mover = std::thread::spawn(move || {
            while !mine.ended.load(Ordering::SeqCst) {
                let shift = f64::from_bits(mine.shift.load(Ordering::SeqCst));
                let now = now_us();
                for (index, raw) in raw.iter().enumerate() {
                    simulator.set(*raw, &value(index, now, &mine, shift));
                }
                std::thread::sleep(STEP);
            }
        });
        Self { device, motion, mover: Some(mover) }
    }

    /// From now on it runs so many amplitudes away from where it was.
    pub fn shift(&self, amplitudes: f64) {
        self.motion.shift.store(amplitudes.to_bits(), Ordering::SeqCst);
    }

    /// Its load comes and goes quickly, in its past too.
    pub fn be_quick(&self) {
        self.motion.quick.store(true, Ordering::SeqCst);
    }

    /// From now on its load stays the same.
    pub fn keep_steady(&self) {
        self.motion.steady.store(true, Ordering::SeqCst);
    }

    /// What a box would have read of it, as a batch.
    fn batch(&self, at_us: i64) -> Batch {
        let sample = |(index, tag): (usize, usize)| Sample {
            tag: u32::try_from(tag).unwrap(),
            value: value(index, at_us, &self.motion, 0.0),
            quality: Quality::Good,
            source_us: None,
        };
        let samples = tags_of(&self.device).into_iter().enumerate().map(sample).collect();
        Batch { device: Arc::clone(&self.device), edge_us: at_us, samples, gap: None }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.motion.ended.store(true, Ordering::SeqCst);
        if let Some(mover) = self.mover.take() {
            mover.join().unwrap();
        }
    }
}

fn tags_of(device: &Device) -> [usize; 4] {
    TAGS.map(|(path, ..)| device.tag_index(path).unwrap())
}

/// The box and its machines.
pub struct Rig {
    pub daemon: Daemon,
    machines: Vec<Machine>,
    /// `forebay.toml` without what a test adds to it.
    text: String,
    /// The simulators live in it.
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    /// A box that does not run yet, with machines of these names, and this behind its configuration.
    pub fn new(names: &[&str], more: &str) -> Self {
        let daemon = Daemon::new("box-1", None, "away");
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        let folders = "devices = [\"devices\"]\nprofiles = [\"profiles\"]";
        let text = text.replace("devices = []\nprofiles = []", folders);
        for folder in ["devices", "profiles"] {
            std::fs::create_dir(daemon.folder.path().join(folder)).unwrap();
        }
        daemon.write("profiles/rig.toml", PROFILE);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut rig = Self { daemon, machines: Vec::new(), text, _runtime: runtime };
        rig.configure(more);
        rig.write_devices(names, &vec!["tcp://127.0.0.1:1".to_owned(); names.len()]);
        let loaded = check_files(&[rig.daemon.config()]);
        assert_eq!(loaded.errors(), 0, "{:?}", loaded.diagnostics);
        let mut endpoints = Vec::new();
        for name in names {
            let device = Arc::clone(loaded.devices.iter().find(|device| device.name == *name).unwrap());
            let simulator = rig._runtime.block_on(device.protocol.simulate(&device.spec)).unwrap();
            endpoints.push(simulator.endpoint());
            rig.machines.push(Machine::start(device, simulator));
        }
        rig.write_devices(names, &endpoints);
        rig
    }

    fn write_devices(&self, names: &[&str], endpoints: &[String]) {
        let table = |(name, endpoint): (&&str, &String)| {
            format!(
                "[[device]]\nname = \"{name}\"\nprofile = \"rig\"\nendpoint = \"{endpoint}\"\n\
                 location = \"Werk1/Halle/Linie/Zelle\"\n"
            )
        };
        let tables: String = names.iter().zip(endpoints).map(table).collect();
        self.daemon.write("devices/rig.toml", &format!("forebay = 1\n{tables}"));
    }

    /// Writes `forebay.toml` anew, with this at its end.
    pub fn configure(&self, more: &str) {
        self.daemon.write("forebay.toml", &format!("{}{more}", self.text));
    }

    pub fn machine(&self, name: &str) -> &Machine {
        self.machines.iter().find(|machine| machine.device.name == name).unwrap()
    }

    /// Has the journal know the last `seconds` of a machine, on the grid; the box must not run.
    pub fn ran(&self, name: &str, seconds: i64) {
        let options = LaneOptions::new("telemetry", self.daemon.lane("telemetry"), "Werk1/box-1");
        let opened = Lane::open(options, Events::new().0).unwrap();
        let (machine, now) = (self.machine(name), now_us());
        for step in (1..=seconds * 1000 / INTERVAL_MS).rev() {
            append(&opened.writer, machine.batch(now - step * INTERVAL_MS * 1000));
        }
        assert_eq!(opened.lane.close(), 0);
    }

    /// `forebay <arguments>`: its code, and what it said.
    pub fn said(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.daemon.command(arguments);
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// The same; it must be done.
    pub fn done(&self, arguments: &[&str]) -> String {
        let (code, said) = self.said(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    /// What is known of a model, `None` when there is none.
    pub fn model(&self, name: &str) -> Option<Json> {
        let list = self.daemon.client().get("/v1/models").ok()?;
        list["models"].as_array()?.iter().find(|model| model["name"] == name).cloned()
    }

    /// Waits until a model says of its device what is wanted: its state and its score.
    pub fn wait_model(&self, name: &str, what: &str, fits: impl Fn(&str, f64) -> bool) -> f64 {
        wait_for(what, PATIENCE, || {
            let device = self.model(name)?["devices"][0].clone();
            let (state, score) = (device["state"].as_str()?, device["score"].as_f64()?);
            fits(state, score).then_some(score)
        })
    }

    /// Waits until a model has scored `more` times from now on.
    pub fn wait_scores(&self, name: &str, more: u64) {
        let scored = || self.model(name)?["devices"][0]["scored"].as_u64();
        let before = scored().unwrap_or(0);
        wait_for("scores", PATIENCE, || (scored()? >= before + more).then_some(()));
    }

    /// Waits until this text is in the box's small state.
    pub fn wait_on_disk(&self, text: &str) {
        wait_for(&format!("{text} on the disk"), PATIENCE, || {
            let files = contents(&self.daemon.state().join("state"));
            let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            files.iter().any(|(_, bytes)| has(bytes)).then_some(())
        });
    }

    /// What the page's numbers say of a machine.
    pub fn status(&self, name: &str) -> Json {
        wait_for("status", PATIENCE, || {
            let status = get(&self.daemon.page(), "/api/v1/status.json")?;
            let status: Json = serde_json::from_str(&status).ok()?;
            status["machines"].as_array()?.iter().find(|machine| machine["name"] == name).cloned()
        })
    }

    /// It is read on, on the connection of the start.
    pub fn is_read_on(&self, name: &str) {
        let requests = || self.status(name)["requests"].as_u64().unwrap();
        let before = requests();
        wait_for("reads", PATIENCE, || (requests() > before + 2).then_some(()));
        let status = self.status(name);
        assert_eq!((&status["state"], &status["connects"]), (&"up".into(), &1.into()), "{status}");
    }

    /// Events in the journal of this kind; the box must not run.
    pub fn events(&self, kind: &str) -> Vec<Json> {
        let options = LaneOptions::new("events", self.daemon.lane("events"), "Werk1/box-1");
        let mut opened = Lane::open(options, Events::new().0).unwrap();
        let mut events: Vec<Json> = Vec::new();
        loop {
            let records = opened.reader.next(512, 1 << 20);
            if records.is_empty() {
                break;
            }
            for record in records {
                let Body::Event(json) = record.body else { continue };
                events.push(serde_json::from_slice(&json).unwrap());
            }
        }
        assert_eq!(opened.lane.close(), 0);
        events.retain(|event| event["kind"] == kind);
        events
    }
}
