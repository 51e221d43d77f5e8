//! A device's poller as the journal knows it: batches whose content says who they are, and the
//! real bookkeeping of what the journal had no room for.

use std::ops::Range;
use std::sync::Arc;

use forebay_connector::{Quality, Value};

use super::context::Context;
use super::oracle::Item;
use crate::batch::{Batch, GapBefore, Sample};
use crate::clock::{Clock, rfc3339};
use crate::device::Device;
use crate::event::{Event, Events};
use crate::journal::memory_disk::Fate;
use crate::lane::LaneWriter;
use crate::poll::outage::Outage;
use crate::poll::testing;
use crate::twin::{Cause, Missing};

/// Tags of a device: its serial number, a number that changes slowly, and a text.
const TAGS: [&str; 3] = ["serial", "level", "note"];

/// One device, for the whole simulation.
pub struct Poller {
    device: Arc<Device>,
    serial: i64,
    level: i64,
    outage: Option<Outage>,
    /// Samples that the journal has given back and no record has told of yet.
    refused: Vec<(i64, u64)>,
}

impl Poller {
    pub fn new(number: usize) -> Self {
        let tags = (0..).zip(TAGS).map(|(raw, path)| testing::tag(path, raw)).collect();
        let mut device = testing::device(tags);
        // Nobody else has it yet.
        let own = Arc::get_mut(&mut device).unwrap();
        own.name = format!("press-{number}");
        own.path = format!("Werk1/press-{number}");
        Self { device, serial: 0, level: 100, outage: None, refused: Vec::new() }
    }

    /// The box has started.
    pub fn start(&mut self, events: &Events) {
        self.refused.clear();
        self.outage =
            Some(Outage::before_start(Arc::clone(&self.device), events.clone(), Missing::default()));
    }

    /// One scan; what the lane has taken.
    pub fn scan(&mut self, context: &Context, fate: &mut Fate, lane: &LaneWriter) -> Option<Item> {
        let edge_us = context.now_us();
        self.serial += 1;
        self.level += i64::try_from(fate.below(7)).unwrap() - 3;
        let mut samples = vec![good(0, Value::Int(self.serial)), good(1, Value::Int(self.level))];
        if fate.below(3) == 0 {
            let text: String =
                (0..fate.below(200)).map(|_| char::from(b'a' + fate.next().to_le_bytes()[0] % 26)).collect();
            samples.push(good(2, Value::Text(text.as_str().into())));
        }
        let cause = || Cause { code: "timeout".into(), message: "no answer".into() };
        let gap = (fate.below(10) == 0).then(|| GapBefore { from_us: edge_us - 5_000_000, cause: cause() });
        let value = expected(&self.device, edge_us, gap.as_ref(), &samples).into_bytes();
        let count = samples.len();
        let batch = Batch { device: Arc::clone(&self.device), edge_us, samples, gap: gap.map(Box::new) };
        let outage = self.outage.as_mut()?;
        match lane.try_append(batch) {
            Ok(()) => {
                outage.stored(edge_us);
                let numbers = Some((self.serial, self.level));
                Some(Item { key: self.device.path.clone(), value, numbers })
            }
            Err(_) => {
                self.refused.push((edge_us, count as u64));
                outage.lost(edge_us, count);
                None
            }
        }
    }

    /// An event has been emitted: if it tells what this poller had to give up, it must be right.
    pub fn check(&mut self, context: &Context, event: &Event) {
        if event.device != self.device.path || event.data["cause"] != "journal-full" {
            return;
        }
        let time = |name: &str| -> Option<i64> {
            let time: jiff::Timestamp = event.data[name].as_str()?.parse().ok()?;
            Some(time.as_microsecond())
        };
        // It was emitted a while ago; what was given back since then is for the next one.
        let told = event.data["samples"].as_u64().unwrap_or_default();
        let mut samples = 0;
        let count = self.refused.iter().take_while(|(_, more)| {
            let is_told = samples < told;
            samples += if is_told { more } else { &0 };
            is_told
        });
        let count = count.count();
        let refused: Vec<_> = self.refused.drain(..count).collect();
        context.demand(samples == told, || {
            format!("{} told for {samples} samples that were given back", event.data)
        });
        let edges = refused.iter().map(|(edge_us, _)| *edge_us);
        let range: Option<Range<i64>> = edges.clone().min().zip(edges.max()).map(|(min, max)| min..max);
        if let (Some(range), Some((from, to))) = (range, time("from").zip(time("to"))) {
            context.demand(from <= range.start && range.end <= to, || {
                let (from, to) = (rfc3339(range.start), rfc3339(range.end));
                format!("{} told for samples from {from} to {to}", event.data)
            });
        }
    }
}

fn good(tag: u32, value: Value) -> Sample {
    Sample { tag, value, quality: Quality::Good, source_us: None }
}

/// What a reader must see, written without the encoder.
fn expected(device: &Device, edge_us: i64, gap: Option<&GapBefore>, samples: &[Sample]) -> String {
    let rows = samples.iter().map(|sample| {
        let value = match &sample.value {
            Value::Text(text) => format!("\"{text}\""),
            Value::Int(number) => number.to_string(),
            other => panic!("{other:?} is not made here"),
        };
        format!("{{\"tag\":\"{}\",\"value\":{value},\"quality\":\"good\"}}", TAGS[sample.tag as usize])
    });
    let rows: Vec<String> = rows.collect();
    let gap = gap.map_or_else(String::new, |gap| {
        let from = rfc3339(gap.from_us);
        format!("\"gap\":{{\"from\":\"{from}\",\"cause\":\"timeout\",\"cause_text\":\"no answer\"}},")
    });
    format!(
        "{{\"device\":\"{}\",\"edge_time\":\"{}\",\"profile\":\"{}@{}\",{gap}\"samples\":[{}]}}",
        device.path,
        rfc3339(edge_us),
        device.profile,
        device.profile_version,
        rows.join(",")
    )
}
