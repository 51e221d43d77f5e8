//! Writes inputs to begin with: `seeds FOLDER`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey, Protocol, Quality,
    Secrets, Simulator, Value,
};
use forebay_fuzz::batch::{Batch, GapBefore, Sample};
use forebay_fuzz::clock::SystemClock;
use forebay_fuzz::device::{Device, Tag, Text, Transform};
use forebay_fuzz::disk::Directory;
use forebay_fuzz::event::{Event, Events, Kind};
use forebay_fuzz::lane::{Lane, LaneOptions};
use forebay_fuzz::twin::Cause;

struct Nothing;

fn none() -> OpenFault {
    OpenFault { message: "there is no machine".to_owned() }
}

#[async_trait]
impl Protocol for Nothing {
    fn name(&self) -> &'static str {
        "none"
    }
    fn options(&self) -> &'static [OptionKey] {
        &[]
    }
    fn check_address(&self, address: &str, _: DataType) -> Result<Address, AddressFault> {
        Ok(Address { canonical: address.to_owned(), place: address.to_owned() })
    }
    fn shift_address(&self, address: &str, _: u32) -> Result<String, AddressFault> {
        Ok(address.to_owned())
    }
    fn check_device(&self, _: &DeviceSpec) -> Vec<DeviceComplaint> {
        Vec::new()
    }
    fn open(&self, _: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Err(none())
    }
    async fn simulate(&self, _: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Err(none())
    }
}

impl Secrets for Nothing {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(name.to_owned())
    }
}

fn device(name: &str, tags: &[&str]) -> Arc<Device> {
    let tag = |(raw, data_type): (usize, &&str)| Tag {
        path: format!("t{raw}"),
        raw: raw as u32,
        transform: Transform::None,
        data_type: DataType::parse(data_type).expect("a type"),
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
    };
    Arc::new(Device {
        name: name.to_owned(),
        path: format!("S/{name}"),
        location: Vec::new(),
        profile: "p".to_owned(),
        profile_version: "1".to_owned(),
        title: Text::plain(name),
        protocol: Arc::new(Nothing),
        spec: DeviceSpec {
            name: name.to_owned(),
            endpoint: String::new(),
            options: BTreeMap::new(),
            scans: Vec::new(),
            tags: [].into(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(Nothing),
            state_directory: PathBuf::new(),
        },
        tags: tags.iter().enumerate().map(tag).collect(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: String::new(),
    })
}

/// A value of the type that tag number `tag` of the mixed device has.
fn value(tag: u32, scan: i64) -> Value {
    match tag {
        0 => Value::Bool(scan % 3 == 0),
        1 => Value::Int(-scan * 1000),
        2 => Value::Uint(scan as u64 * 77),
        3 => Value::Real(scan as f32 * 0.1),
        4 => Value::Lreal(scan as f64 * 1.5 + 0.01),
        5 => Value::Text(format!("step {}", scan % 4).into()),
        6 => Value::DateTime(scan * 1_000_000),
        7 => Value::Array([Value::Real(scan as f32), Value::Null].into()),
        _ => Value::Null,
    }
}

/// What a lane writes about two devices, with `scans` of each.
fn lane(scans: i64, segment_bytes: u64, quiet: bool) -> Directory {
    let directory = Directory::default();
    let options = LaneOptions {
        segment_bytes,
        sync_interval: Duration::from_secs(3600),
        ..LaneOptions::new("telemetry", "memory", "S/box")
    };
    let (events, _told) = Events::new();
    let lane = Lane::open_on(Arc::new(directory.clone()), Arc::new(SystemClock), options, events).expect("memory");
    let mixed = device("a", &["BOOL", "LINT", "ULINT", "REAL", "LREAL", "STRING[8]", "DTL", "REAL"]);
    let slow = device("b", &["REAL", "REAL"]);
    for scan in 0..scans {
        let samples = |count: u32| {
            let sample = |tag: u32| Sample {
                tag,
                value: value(tag, if quiet { scan / 5 } else { scan }),
                quality: Quality::ALL[usize::try_from(scan).expect("small") / 7 % Quality::ALL.len()],
                source_us: (scan % 11 == 0).then_some(scan),
            };
            (0..count).filter(|tag| (i64::from(*tag) + scan) % 3 != 0).map(sample).collect::<Vec<_>>()
        };
        let gap = (scan % 9 == 8).then(|| {
            let cause = Cause { code: "timeout".into(), message: "no answer".into() };
            Box::new(GapBefore { from_us: scan, cause })
        });
        let edge_us = 1_770_000_000_000_000 + scan * 100_000;
        for (device, tags) in [(&mixed, 9), (&slow, 2)] {
            let batch = Batch { device: Arc::clone(device), edge_us, samples: samples(tags.min(8)), gap: gap.clone() };
            assert!(lane.writer.try_append(batch).is_ok());
        }
        if scan % 4 == 3 {
            lane.writer.flush(Duration::from_secs(10)).expect("memory");
        }
        if scan % 10 == 9 {
            let data = serde_json::json!({ "n": scan });
            let event = Event { kind: Kind::Gap, edge_time: edge_us, device: "S/a".into(), text: "t".into(), data };
            assert!(lane.writer.try_append_event(event).is_ok());
        }
    }
    lane.writer.flush(Duration::from_secs(10)).expect("memory");
    lane.lane.close();
    directory
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("seeds FOLDER"));
    let write = |target: &str, name: &str, input: &[u8]| {
        let path = folder.join(target).join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(&path, input).expect("a file");
        println!("{}: {} bytes", path.display(), input.len());
    };
    for (name, scans, segment_bytes, quiet) in
        [("one", 1, 1 << 20, false), ("few", 12, 1 << 20, false), ("quiet", 60, 1 << 20, true), ("segments", 60, 500, false)]
    {
        let input = lane(scans, segment_bytes, quiet).to_input();
        write("journal", name, &input);
        write("lane", name, &input);
    }
    write("state", "two", b"\x0blast-good\0a\x0c12345678\0\0\0\0\0\x2c01234567890123456789012345678901234567\0\0\0\0");
    let input = fixture(Path::new("../fixtures/journal-v1"));
    write("journal", "version-1", &input);
    write("lane", "version-1", &input);
}

/// A journal of version 1, its checksums replaced by 0.
fn fixture(folder: &Path) -> Vec<u8> {
    let mut input = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("it can be read").path();
        let mut content = std::fs::read(&path).expect("it can be read");
        let mut zero = |at: usize| content[at..at + 4].fill(0);
        let kind = if path.ends_with("epoch") {
            zero(28);
            0
        } else {
            zero(60);
            let mut at = 64;
            while at + 8 <= content.len() {
                content[at + 4..at + 8].fill(0);
                at += 8 + u32::from_le_bytes(content[at..at + 4].try_into().expect("four")) as usize;
            }
            16
        };
        input.push(kind);
        input.extend_from_slice(&u16::try_from(content.len()).expect("small").to_le_bytes());
        input.extend_from_slice(&content);
    }
    input
}
