//! What arrived, held against what the devices counted and what the journal says.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use forebay::event::Events;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::Value;
use serde_json::Value as Json;

use super::counter::{Counter, TAGS, register};
use super::daemon::EDGE;
use crate::kafka_cluster::Consumed;

/// A device that is read every 50 ms was not read for longer than a slow machine explains.
const SILENCE_MAX_US: i64 = 5_000_000;

/// One telemetry record as a reader understands it.
#[derive(Debug, Clone)]
pub struct Scan {
    pub device: String,
    /// Which reading of the device it is.
    pub count: u32,
    pub offset: u64,
    pub edge_us: i64,
    /// Beginning of the gap that it ends.
    pub gap_from_us: Option<i64>,
    /// Marked as sent after newer ones.
    pub is_backfill: bool,
    /// Where in Kafka.
    place: (i32, i64),
}

/// A gap event: device, from, to.
pub type Gap = (String, i64, i64);

/// The verdict.
#[derive(Debug, Default)]
pub struct Findings {
    pub samples: usize,
    pub records: usize,
    pub backfilled: usize,
    pub events: usize,
    /// Offsets of both lanes that the journal has and Kafka has not, and the other way round.
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub disordered: Vec<String>,
    pub gaps_explained: usize,
    pub unexplained: Vec<String>,
    /// Readings that the device gave and that no journal had when the gateway was killed; all of them lie in
    /// explained gaps.
    pub scans_in_gaps: u64,
    /// Anything else that is wrong.
    pub wrong: Vec<String>,
}

impl Findings {
    /// Empty when all is well.
    pub fn complaints(&self) -> String {
        let lists = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("out of order", &self.disordered),
            ("unexplained", &self.unexplained),
            ("wrong", &self.wrong),
        ];
        let said = lists.iter().filter(|(_, list)| !list.is_empty());
        said.map(|(what, list)| {
            format!(
                "{} {what}, first {}\n",
                list.len(),
                list.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
            )
        })
        .collect()
    }
}

/// A device's readings at the end.
pub struct Device {
    pub path: String,
    /// How often it was read.
    pub count: u32,
}

impl Device {
    pub fn of(counter: &Counter) -> Self {
        Self { path: format!("Werk1/Halle/Linie/Zelle/{}", counter.name), count: counter.count() }
    }
}

/// Everything that the verdict is about.
#[derive(Clone, Default)]
pub struct Evidence {
    /// Telemetry in Kafka.
    pub scans: Vec<Scan>,
    /// Events in Kafka: offset and what they are.
    pub events: Vec<(u64, Json)>,
    /// Telemetry in the journal: offset → device, edge time, count.
    pub journal: BTreeMap<u64, (String, i64, u32)>,
    /// Events in the journal.
    pub journal_events: BTreeSet<u64>,
    /// What was wrong with a record by itself.
    pub wrong: Vec<String>,
    /// Topic → epoch of its first record.
    epochs: HashMap<String, String>,
}

impl Evidence {
    /// Takes in a record that a stranger has read; `topic` is that of telemetry.
    pub fn add(&mut self, record: &Consumed, topic: &str) {
        if record.headers["edge"] != EDGE {
            self.wrong.push(format!("edge {}", record.headers["edge"]));
        }
        let epoch =
            self.epochs.entry(record.topic.clone()).or_insert_with(|| record.headers["epoch"].clone());
        if *epoch != record.headers["epoch"] {
            self.wrong.push(format!("one journal, one epoch: {epoch} and {}", record.headers["epoch"]));
        }
        if record.topic != topic {
            return self.events.push((record.offset(), record.json()));
        }
        match scan(record) {
            Ok(scan) => self.scans.push(scan),
            Err(wrong) => self.wrong.push(wrong),
        }
    }

    /// How many records were taken in.
    pub fn records(&self) -> usize {
        self.scans.len() + self.events.len() + self.wrong.len()
    }

    /// Adds what the journal says, from folders with everything its lanes ever held.
    pub fn add_journal(&mut self, telemetry: &Path, events: &Path) {
        for (offset, body) in lane(telemetry, "telemetry") {
            let Body::Batch(batch) = body else { panic!("{offset} is no batch") };
            let Some(Value::Uint(count)) = batch.samples.first().map(|sample| sample.value.clone()) else {
                panic!("{offset} has no count: {batch:?}")
            };
            let count = u32::try_from(count).expect("UDINT");
            self.journal.insert(offset, (batch.schema.device.clone(), batch.edge_us, count));
        }
        self.journal_events = lane(events, "events").map(|(offset, _)| offset).collect();
    }

    /// The verdict.
    pub fn judge(&self, devices: &[Device]) -> Findings {
        let mut findings = Findings {
            samples: self.scans.len() * TAGS,
            records: self.scans.len(),
            backfilled: self.scans.iter().filter(|scan| scan.is_backfill).count(),
            events: self.events.len(),
            wrong: self.wrong.clone(),
            ..Findings::default()
        };
        self.judge_offsets(&mut findings);
        let gaps: HashSet<Gap> = self.events.iter().filter_map(|(_, event)| gap(event)).collect();
        for device in devices {
            self.judge_device(device, &gaps, &mut findings);
        }
        findings
    }

    /// Kafka holds what the journal holds, each once.
    fn judge_offsets(&self, findings: &mut Findings) {
        let mut seen = HashMap::new();
        for scan in &self.scans {
            let Scan { device, count, edge_us, offset, .. } = scan;
            if seen.insert(*offset, ()).is_some() {
                findings.doubled.push(format!("telemetry {offset}"));
            }
            match self.journal.get(offset) {
                Some(stored) if *stored == (device.clone(), *edge_us, *count) => {}
                other => findings.wrong.push(format!("{scan:?} is {other:?} in the journal")),
            }
        }
        let missing = self.journal.keys().filter(|offset| !seen.contains_key(offset));
        findings.lost.extend(missing.map(|offset| format!("telemetry {offset}")));
        let mut seen = BTreeSet::new();
        for (offset, _) in &self.events {
            if !seen.insert(*offset) {
                findings.doubled.push(format!("event {offset}"));
            }
        }
        findings.lost.extend(self.journal_events.difference(&seen).map(|offset| format!("event {offset}")));
        // The first record is the first of the journal, and none between was never there.
        for (lane, offsets) in [
            ("telemetry", self.journal.keys().collect::<Vec<_>>()),
            ("events", self.journal_events.iter().collect()),
        ] {
            if offsets.iter().zip(0..).any(|(offset, number)| **offset != number) {
                findings.wrong.push(format!("the journal of {lane} has holes"));
            }
        }
    }

    fn judge_device(&self, device: &Device, gaps: &HashSet<Gap>, findings: &mut Findings) {
        let path = &device.path;
        let mut own: Vec<&Scan> = self.scans.iter().filter(|scan| scan.device == *path).collect();
        judge_order(path, &own, findings);
        // From here on in the order of the journal: the backlog between what was sent before it.
        own.sort_by_key(|scan| scan.offset);
        if own.iter().map(|scan| scan.place.0).collect::<HashSet<_>>().len() != 1 {
            findings.disordered.push(format!("{path} is in several partitions"));
        }
        if own.first().is_none_or(|scan| scan.count != 1) {
            findings.lost.push(format!("the first reading of {path}"));
        }
        if own.last().is_none_or(|scan| scan.count != device.count) {
            findings.lost.push(format!("reading {} of {path}, the last", device.count));
        }
        for pair in own.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.offset == before.offset {
                // Told already as one that is there twice.
                continue;
            }
            if after.count <= before.count {
                findings.disordered.push(format!("{path}: {} after {}", after.count, before.count));
                continue;
            }
            let missing = u64::from(after.count - before.count - 1);
            let is_silence = after.edge_us - before.edge_us > SILENCE_MAX_US;
            if missing == 0 && !is_silence && after.gap_from_us.is_none() {
                continue;
            }
            let told = gaps.contains(&(path.clone(), before.edge_us, after.edge_us));
            if told && after.gap_from_us == Some(before.edge_us) {
                findings.gaps_explained += 1;
                findings.scans_in_gaps += missing;
            } else {
                findings.unexplained.push(format!(
                    "{path}: {missing} readings after {}, event {told}, field {:?} for {}",
                    before.count, after.gap_from_us, before.edge_us
                ));
            }
        }
    }
}

/// In Kafka's order of each partition, which is that of reading, live records go up, and so do those of the backlog.
fn judge_order(path: &str, own: &[&Scan], findings: &mut Findings) {
    for is_backfill in [false, true] {
        let kind: Vec<&&Scan> = own.iter().filter(|scan| scan.is_backfill == is_backfill).collect();
        for pair in kind.windows(2).filter(|pair| pair[1].offset < pair[0].offset) {
            let (before, after) = (pair[0].count, pair[1].count);
            findings.disordered.push(format!("{path}: {after} after {before}, backfill {is_backfill}"));
        }
    }
}

/// Reads one record and checks that each of its samples is what the device gave.
fn scan(record: &Consumed) -> Result<Scan, String> {
    let value = record.json();
    let samples = value["samples"].as_array().map_or(&[][..], Vec::as_slice);
    let count = samples.first().and_then(|sample| sample["value"].as_u64());
    let count = count.and_then(|count| u32::try_from(count).ok()).ok_or_else(|| record.value.clone())?;
    let is_right = |(index, sample): (usize, &Json)| {
        let expected = if index == 0 { u64::from(count) } else { register(count, index).into() };
        let tag = if index == 0 { "line.count".to_owned() } else { format!("line.v{index}") };
        sample["tag"] == tag.as_str() && sample["value"] == expected && sample["quality"] == "good"
    };
    if samples.len() != TAGS || !samples.iter().enumerate().all(is_right) {
        return Err(format!("not what the device gave as reading {count}: {}", record.value));
    }
    let device = record.key.clone().unwrap_or_default();
    if value["device"] != device.as_str() {
        return Err(format!("key {device}, device {}", value["device"]));
    }
    Ok(Scan {
        device,
        count,
        offset: record.offset(),
        edge_us: time_us(&value["edge_time"]),
        is_backfill: record.headers.get("delivery").is_some_and(|delivery| delivery == "backfill"),
        gap_from_us: value.get("gap").map(|gap| time_us(&gap["from"])),
        place: (record.partition, record.kafka_offset),
    })
}

fn gap(event: &Json) -> Option<Gap> {
    let data = &event["data"];
    (event["kind"] == "gap" && data["tags"] == "*").then(|| {
        (
            event["device"].as_str().unwrap_or_default().to_owned(),
            time_us(&data["from"]),
            time_us(&data["to"]),
        )
    })
}

/// All records of a lane's journal.
fn lane(folder: &Path, name: &str) -> impl Iterator<Item = (u64, Body)> {
    let mut opened =
        Lane::open(LaneOptions::new(name, folder, "Werk1/judge"), Events::new().0).expect("a journal");
    assert!(opened.recovery.damages.is_empty(), "{:?}", opened.recovery.damages);
    let mut records = Vec::new();
    while let Some(more) = Some(opened.reader.next(512, 1 << 20)).filter(|more| !more.is_empty()) {
        records.extend(more.into_iter().map(|record| (record.offset, record.body)));
    }
    opened.lane.close();
    records.into_iter()
}

/// RFC 3339 to microseconds since 1970.
fn time_us(time: &Json) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_microsecond()
}
