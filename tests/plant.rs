//! A small plant for the tests of the status page: six machines of three protocols, and facts
//! that a test can change while the page looks on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_connector::{DataType, DeviceSpec, Quality, ScanClass, Secrets, Value};

use super::forebay::clock::now_us;
use super::forebay::connectors::by_name;
use super::forebay::device::{BitText, Device, EnumValue, Tag, Text, Transform};
use super::forebay::event::{Event, Kind};
use super::forebay::infer::diary::Diary;
use super::forebay::infer::episode::Episode;
use super::forebay::infer::trend::Hour;
use super::forebay::standby::Report;
use super::forebay::status::facts::*;
use super::forebay::twin::{Cause, Link, Minute, Twin};

/// One minute in microseconds.
pub const MINUTE_US: i64 = 60_000_000;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("{name}: a test has no secrets"))
    }
}

/// A text in both languages.
pub fn text(en: &str, de: &str) -> Text {
    Text(BTreeMap::from([("en".to_owned(), en.to_owned()), ("de".to_owned(), de.to_owned())]))
}

/// A published tag read once a second.
pub fn tag(path: &str, data_type: &str, unit: &str, range: Option<(f64, f64)>) -> Tag {
    Tag {
        path: path.to_owned(),
        raw: 0,
        transform: Transform::None,
        data_type: DataType::parse(data_type).expect("a type"),
        unit: unit.to_owned(),
        deadband: 0.0,
        compress: None,
        max_silence: Duration::from_secs(60),
        scan: 0,
        range,
        limits: BTreeMap::new(),
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc: String::new(),
        source: "plant.toml:1".to_owned(),
    }
}

/// A device that is never connected.
pub fn device(name: &str, location: &str, title: Text, protocol: &str, mut tags: Vec<Tag>) -> Arc<Device> {
    for (at, tag) in tags.iter_mut().enumerate().filter(|(_, tag)| tag.transform == Transform::None) {
        tag.raw = u32::try_from(at).expect("few tags");
    }
    Arc::new(Device {
        name: name.to_owned(),
        path: format!("{location}/{name}"),
        location: location.split('/').map(str::to_owned).collect(),
        profile: "acme".to_owned(),
        profile_version: "1.2.0".to_owned(),
        title,
        protocol: by_name(protocol).expect("a protocol"),
        spec: DeviceSpec {
            name: name.to_owned(),
            endpoint: "192.168.10.21:102".to_owned(),
            options: BTreeMap::new(),
            scans: vec![ScanClass { name: "normal".to_owned(), interval: Duration::from_secs(1) }],
            tags: [].into(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: PathBuf::new(),
        },
        tags: tags.into(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: "plant.toml:1".to_owned(),
    })
}

fn press(name: &str, cell: &str) -> Arc<Device> {
    let states = BTreeMap::from([
        (4, EnumValue { text: text("Idle", "Bereit"), function_check: false }),
        (6, EnumValue { text: text("Execute", "Läuft"), function_check: false }),
    ]);
    let mut state = tag("status.state", "INT", "", None);
    state.enumeration = Some(Arc::new(states));
    let mut tags =
        vec![tag("status.running", "BOOL", "", None), state, tag("status.fault_word", "WORD", "", None)];
    for (bit, en, de) in [(0, "Overload", "Überlast"), (1, "Oil too hot", "Öl zu heiß")] {
        let mut named = tag(&format!("status.fault_word.bit{bit}"), "BOOL", "", None);
        named.raw = 2;
        named.transform = Transform::Bit(bit);
        named.bit = Some(BitText { text: text(en, de), priority: "high".to_owned() });
        tags.push(named);
    }
    let mut oil = tag("hydraulics.oil_temp", "REAL", "°C", Some((-20.0, 120.0)));
    oil.deadband = 0.2;
    oil.limits = BTreeMap::from([("hi".to_owned(), 65.0)]);
    oil.desc = "Oil temperature in the tank".to_owned();
    tags.extend([
        tag("production.strokes", "UDINT", "", None),
        tag("production.recipe", "STRING[16]", "", None),
        tag("slide.force", "REAL", "kN", Some((0.0, 7000.0))),
        tag("slide.position", "REAL", "mm", Some((-5.0, 620.0))),
        tag("hydraulics.pressure", "REAL", "bar", Some((0.0, 400.0))),
        oil,
        tag("vibration.drive_end", "REAL", "mm/s", Some((0.0, 30.0))),
        tag("vibration.non_drive_end", "REAL", "mm/s", Some((0.0, 30.0))),
    ]);
    device(
        name,
        &format!("Werk1/Presswerk/Linie3/{cell}"),
        text("Mechanical press 630 t", "Mechanische Presse 630 t"),
        "s7",
        tags,
    )
}

fn meter(name: &str, area: &str) -> Arc<Device> {
    let mut tags: Vec<_> = ["voltage_l1", "voltage_l2", "voltage_l3"]
        .iter()
        .map(|name| tag(&format!("grid.{name}"), "REAL", "V", Some((0.0, 300.0))))
        .collect();
    tags.push(tag("power.active", "LREAL", "kW", Some((-100.0, 100.0))));
    tags.push(tag("energy.imported", "LREAL", "kWh", None));
    device(name, &format!("Werk1/{area}"), text("Energy meter", "Energiezähler"), "modbus", tags)
}

fn filler(name: &str, line: &str) -> Arc<Device> {
    let tags = vec![
        tag("status.speed", "REAL", "1/min", None),
        tag("production.good", "DINT", "pcs", None),
        tag("filling.product_temp", "REAL", "°C", Some((0.0, 95.0))),
        tag("filling.tank_level", "REAL", "%", Some((0.0, 100.0))),
        tag("filling.torque", "REAL[24]", "N.m", None),
    ];
    device(name, &format!("Werk2/Abfuellung/{line}"), text("Bottle filler", "Flaschenfüller"), "opcua", tags)
}

/// The six machines, all still starting.
pub fn plant() -> Arc<Twin> {
    Arc::new(Twin::new(&[
        press("press-4", "Presse4"),
        press("press-3", "Presse3"),
        meter("meter-hall-2", "Halle2"),
        meter("meter-compressor", "Druckluft"),
        filler("filler-1", "Linie1"),
        filler("filler-2", "Linie2"),
    ]))
}

/// A value that fits the type of the tag.
fn value(tag: &Tag, at: usize) -> Value {
    let share = 0.4 + 0.05 * f64::from(u32::try_from(at % 7).expect("small"));
    let number = tag.range.map_or(1234.5, |(low, high)| low + share * (high - low));
    match tag.data_type.to_string().as_str() {
        "BOOL" => Value::Bool(tag.bit.is_none()),
        "INT" => Value::Int(6),
        "WORD" => Value::Uint(0),
        "DINT" => Value::Int(48_211),
        "UDINT" => Value::Uint(1_284_377),
        "LREAL" => Value::Lreal(number),
        "REAL" => Value::Real(number.to_string().parse().expect("a number")),
        "REAL[24]" => Value::Array(vec![Value::Real(2.4); 24].into_boxed_slice()),
        _ => Value::Text("R-2207".into()),
    }
}

/// All tags of all machines were read well, `age_us` ago, and for the last hour.
pub fn all_good(twin: &Twin, now: i64, age_us: i64) {
    for (number, device) in twin.devices().iter().enumerate() {
        let mut state = device.state();
        state.link = Link::Up { since_us: now - 95 * MINUTE_US };
        state.identity = "6ES7 515-2AM01-0AB0 V2.9".to_owned();
        state.good_us = now - age_us;
        state.round_us = 4200;
        state.connects = 1;
        state.minutes.clear();
        for back in (0..60).rev() {
            let wave = (back * (3 + i64::try_from(number).expect("few"))) % 11;
            let values = i64::try_from(state.values.len()).expect("few") * (290 + 2 * wave);
            let gone_us = if back == 0 { now % MINUTE_US } else { MINUTE_US };
            let values = u64::try_from(values * gone_us / MINUTE_US).expect("positive");
            state.minutes.push_back(Minute { minute: now / MINUTE_US - back, values });
        }
        for (at, tag) in device.device.tags.iter().enumerate() {
            let current = &mut state.values[at];
            current.value = value(tag, at);
            current.quality = Quality::Good;
            (current.edge_us, current.good_us) = (now - age_us, now - age_us);
        }
    }
}

/// The machine has gone.
pub fn take_away(twin: &Twin, name: &str, since_us: i64, code: &str) {
    let device = twin.device(name).expect("a machine of the plant");
    let cause = Cause {
        code: code.to_owned(),
        message: "cannot connect to 192.168.10.21:102: connection refused".to_owned(),
    };
    let mut state = device.state();
    state.good_us = since_us;
    state.minutes.retain(|minute| minute.minute < since_us / MINUTE_US);
    for current in &mut state.values {
        current.quality = Quality::NoConnection;
        current.good_us = since_us;
    }
    state.link = Link::Down { since_us, cause };
}

/// Answers of [`FakeFacts`], open to the test.
#[derive(Clone, Default)]
pub struct Answers {
    pub identity: Identity,
    pub to_it: ToIt,
    pub reserve: Reserve,
    pub predictions: Vec<Prediction>,
    /// One for each of `predictions` that has a past.
    pub watching: Vec<Watching>,
    /// Where the episodes of the first prediction come from.
    pub diary: Option<Arc<Diary>>,
    pub not_read: Vec<NotRead>,
    pub events: Vec<Event>,
    pub stopped: Vec<Text>,
    pub metrics: Vec<Metric>,
    pub standby: Option<Report>,
    pub certificates: Vec<Certificate>,
}

/// Facts as the test wants them.
pub struct FakeFacts(pub Mutex<Answers>);

impl FakeFacts {
    /// A box that is well.
    pub fn well() -> Arc<Self> {
        let now = now_us();
        Arc::new(Self(Mutex::new(Answers {
            identity: Identity {
                edge_id: "presswerk-1".to_owned(),
                name: "Presswerk Box 1".to_owned(),
                site: "Werk 1".to_owned(),
                version: "0.1.0".to_owned(),
                started_us: now - 26 * 60 * MINUTE_US,
                clock_synchronised: Some(true),
                clock_jump: None,
            },
            to_it: ToIt {
                backfill: None,
                errands: Vec::new(),
                second_records: None,
                second_up: false,
                shut_out: 0,
                shut_out_us: None,
                state: ToItState::Up,
                delay_s: Some(0.8),
                backlog_records: 3,
                perhaps_sent_records: 0,
                records_per_s: 41.3,
                intake_per_s: 41.0,
                committed_records: 3_961_022,
            },
            reserve: Reserve {
                unsent_bytes: 61_000_000,
                budget_bytes: 8_000_000_000,
                written_bytes_per_s: 10_022.0,
                left_s: Some(792_000.0),
                ..Reserve::default()
            },
            predictions: vec![bearing(now)],
            events: vec![
                event(
                    now - MINUTE_US,
                    Kind::DeviceState,
                    "Werk1/Presswerk/Linie3/Presse4/press-4",
                    "press-4 delivers values again",
                    serde_json::json!({"state": "up"}),
                ),
                event(
                    now - 4 * MINUTE_US,
                    Kind::Gap,
                    "Werk1/Presswerk/Linie3/Presse4/press-4",
                    "14 tags are missing from 14:32:07 to 14:35:11: no connection",
                    serde_json::json!({}),
                ),
                event(
                    now - 4 * MINUTE_US,
                    Kind::DeviceState,
                    "Werk1/Presswerk/Linie3/Presse4/press-4",
                    "press-4 sends nothing",
                    serde_json::json!({"state": "down", "cause": "unreachable"}),
                ),
                event(
                    now - 26 * 60 * MINUTE_US,
                    Kind::Box,
                    "presswerk-1",
                    "started, version 0.1.0",
                    serde_json::json!({}),
                ),
            ],
            ..Answers::default()
        })))
    }

    /// Changes the answers.
    pub fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.0.lock().expect("no test panics in a change"));
    }

    /// The answers, once no test holds them back.
    fn get(&self) -> Answers {
        // A worker that merely slept here would keep the task in its last-in slot from running,
        // and that may be the connection the test is waiting for.
        tokio::task::block_in_place(|| self.0.lock().expect("no test panics in a change").clone())
    }
}

/// A model that sees nothing unusual.
pub fn bearing(now: i64) -> Prediction {
    Prediction {
        device: "press-4".to_owned(),
        model: "bearing".to_owned(),
        title: text("Main bearing", "Hauptlager"),
        version: "3".to_owned(),
        state: PredictionState::Normal,
        words: Text::default(),
        score: Some(0.41),
        threshold: 1.0,
        since_us: Some(now - 25 * 60 * MINUTE_US),
        last_us: Some(now - 2_000_000),
        dropped: 0,
        history: (0..60)
            .map(|at| 0.35 + 0.002 * f32::from(u8::try_from(at * 7 % 31).expect("small")))
            .collect(),
        episode: None,
    }
}

/// A certificate that the server of this machine has shown.
pub fn certificate(device: &str, state: CertificateState) -> Certificate {
    Certificate {
        device: device.to_owned(),
        state,
        subject: "CN=Filler 1,O=Acme Bottling Machines GmbH & Co. KG".to_owned(),
        fingerprint: format!("sha256:{}", "9f86d081884c7d65".repeat(4)),
        valid_from: "2026-01-01T00:00:00Z".to_owned(),
        valid_to: "2031-01-01T00:00:00Z".to_owned(),
        expired: false,
        seen_us: now_us() - 3 * MINUTE_US,
    }
}

/// An episode of the press, as it is stored, that began `ago_us` ago; over when `lasted_us` is given.
pub fn episode(id: &str, now: i64, ago_us: i64, lasted_us: Option<i64>, worst: f32) -> Episode {
    let begin = now - ago_us;
    let json = serde_json::json!({
        "id": id, "begin_us": begin, "end_us": lasted_us.map(|us| begin + us),
        "since": { "at_us": begin - 2 * ago_us, "or_earlier": false },
        "worst": worst, "worst_us": begin + 1, "threshold": 1.0,
        "contributions": [
            { "tag": "hydraulics.oil_temp", "sum": 12.0 }, { "tag": "vibration.drive_end", "sum": 62.0 },
            { "tag": "slide.force", "sum": 1.0 }, { "tag": "hydraulics.pressure", "sum": 25.0 },
        ],
        "look_at": { "en": "check the bearing at the drive end", "de": "Lager auf der Antriebsseite prüfen" },
        "look_at_tag": "vibration.drive_end", "input_quality": 1.0,
        "identity": { "model": "bearing", "version": "3", "hash": "0f".repeat(32) }, "feedback": [],
    });
    serde_json::from_value(json).expect("an episode")
}

/// Scores of 30 days that rise in the last three, with a day without any.
pub fn month(now: i64) -> Vec<Hour> {
    let hour = now / (60 * MINUTE_US);
    let score = |back: i64| {
        let rise = f32::from(u8::try_from((72 - back).max(0)).expect("small")) / 72.0;
        0.35 + 0.05 * f32::from(u8::try_from(back % 24).expect("small")) / 24.0 + 1.2 * rise * rise
    };
    let is_there = |back: &i64| !(300..324).contains(back);
    let of = |back: i64| Hour {
        hour: hour - back,
        low: score(back) * 0.9,
        high: score(back) * 1.15,
        mean: score(back),
        scores: 7200,
        valid_s: 3600.0,
    };
    (0..720).rev().filter(is_there).map(of).collect()
}

/// A machine whose file names a profile that is not there.
pub fn not_read(name: &str) -> NotRead {
    let (fault, place) = ("there is no profile \"acme-pres-630t\"", "devices/line3.toml:14");
    NotRead {
        name: name.to_owned(),
        fault: format!("device `{name}`: {fault}"),
        place: place.to_owned(),
        runs_on: false,
        check: format!(
            "error[P0114]: device `{name}`: {fault}\n  --> {place}:12\n   |\n14 | profile  = \"acme-pres-630t\"\n   \
             |            ^^^^^^^^^^^^^^^^\n   |\n   = help: did you mean \"acme-press-630t\"?\n\n\
             devices/line3.toml: 1 error\n"
        ),
    }
}

/// An event.
pub fn event(edge_time: i64, kind: Kind, device: &str, text: &str, data: serde_json::Value) -> Event {
    Event { kind, edge_time, device: device.to_owned(), text: text.to_owned(), data }
}

impl Facts for FakeFacts {
    fn identity(&self) -> Identity {
        self.get().identity
    }

    fn to_it(&self) -> ToIt {
        self.get().to_it
    }

    fn reserve(&self) -> Reserve {
        self.get().reserve
    }

    fn predictions(&self) -> Vec<Prediction> {
        self.get().predictions
    }

    fn watching(&self) -> Vec<Watching> {
        let answers = self.get();
        let mut watching = answers.watching.into_iter();
        let with_past = |prediction| Watching { prediction, ..watching.next().unwrap_or_default() };
        let mut all: Vec<Watching> = answers.predictions.into_iter().map(with_past).collect();
        if let (Some(first), Some(diary)) = (all.first_mut(), &answers.diary) {
            (first.episodes, first.version_since_us) = (diary.episodes(), diary.version_since_us());
        }
        all
    }

    fn not_read(&self) -> Vec<NotRead> {
        self.get().not_read
    }

    fn events(&self) -> Vec<Event> {
        self.get().events
    }

    fn stopped(&self) -> Vec<Text> {
        self.get().stopped
    }

    fn metrics(&self) -> Vec<Metric> {
        self.get().metrics
    }

    fn standby(&self) -> Option<Report> {
        self.get().standby
    }

    fn certificates(&self) -> Vec<Certificate> {
        self.get().certificates
    }

    /// A saw between 20 and 60, away for a tenth of the time.
    fn trend(&self, wanted: &TrendWanted<'_>) -> Trend {
        let tooth = |at: usize| f64::from(u32::try_from(at % 40).expect("small"));
        let step =
            |at: usize| TrendStep { low: 20.0 + tooth(at), high: 21.0 + tooth(at), mean: 20.5 + tooth(at) };
        let is_there = |at: usize| at * 10 / wanted.steps != 6;
        let steps = (0..wanted.steps).map(|at| is_there(at).then(|| step(at))).collect();
        Trend { steps, is_cut: false }
    }
}
