//! The table of events: gaps, devices that came and went, predictions, the box itself.

use std::fs::File;
use std::path::Path;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedRowGroupWriter;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Progress;
use super::samples::Written;
use super::table::{Column, Held, Rows, TableWriter};
use crate::journal::{Damage, DamageKind};
use crate::lane::{Body, Item, OfflineLane};
use crate::past::{self, Filter};

/// An event as it was stored, docs/kafka.md.
#[derive(Deserialize)]
struct Stored {
    kind: String,
    edge_time: String,
    device: String,
    text: String,
    data: Json,
}

/// Microseconds since 1970 UTC.
fn time_us(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

impl Stored {
    fn edge_us(&self) -> i64 {
        time_us(&self.edge_time).unwrap_or_default()
    }

    /// Begin and end of what it tells, microseconds since 1970 UTC.
    fn span_us(&self) -> (i64, i64) {
        let end = |name: &str| self.data[name].as_str().and_then(time_us).unwrap_or_else(|| self.edge_us());
        (end("from"), end("to"))
    }

    /// What is missing or summed up of a whole lane is about every machine.
    fn is_about(&self, devices: &[String]) -> bool {
        let is_one = |name: &String| {
            self.device == *name || self.device.rsplit('/').next().is_some_and(|last| last == *name)
        };
        devices.is_empty() || matches!(self.kind.as_str(), "gap" | "thinned") || devices.iter().any(is_one)
    }

    fn is_wanted(&self, filter: &Filter) -> bool {
        let (from_us, to_us) = self.span_us();
        self.is_about(&filter.devices) && filter.has_time(from_us.min(to_us), from_us.max(to_us))
    }
}

/// Writes the wanted events as tables in `folder`; no file when there are none.
///
/// # Errors
/// Those of the disk.
pub fn write(lane: &mut OfflineLane, filter: &Filter, folder: &Path, json: bool) -> anyhow::Result<Written> {
    // A gap is told when it ends, which may be after the time that is wanted.
    let ranges = past::ranges(lane, &Filter { until_us: None, ..filter.clone() });
    let total = ranges.iter().map(|range| range.end - range.start).sum();
    let mut progress = Progress::new("events", total, json);
    let mut table = TableWriter::<EventRows>::new(folder)?;
    let (mut damaged_records, mut unreadable_records) = (0, 0);
    for range in ranges {
        lane.seek(range.start);
        let mut at = range.start;
        while at < range.end {
            match lane.read_all() {
                Item::End | Item::Unreadable(_) => break,
                Item::Removed(..) => {}
                Item::Damage(Damage { from_offset, to_offset, kind, .. }) => match kind {
                    DamageKind::Damaged => damaged_records += to_offset - from_offset,
                    DamageKind::Unreadable => unreadable_records += to_offset - from_offset,
                    DamageKind::Unused => {}
                },
                Item::Record(record) => {
                    if let Body::Event(bytes) = &record.body
                        && let Ok(event) = serde_json::from_slice::<Stored>(bytes)
                        && event.is_wanted(filter)
                    {
                        table.push(&(record.offset, event))?;
                    }
                }
            }
            progress.add(lane.offset().saturating_sub(at));
            at = lane.offset();
        }
    }
    Written::of(table, damaged_records, unreadable_records)
}

/// The rows that are held.
struct EventRows {
    held: Held,
    edge_time: Column<Int64Type>,
    kind: Column<ByteArrayType>,
    device: Column<ByteArrayType>,
    text: Column<ByteArrayType>,
    data: Column<ByteArrayType>,
    offset: Column<Int64Type>,
}

impl Default for EventRows {
    fn default() -> Self {
        Self {
            held: Held::default(),
            edge_time: Column::new(true),
            kind: Column::new(true),
            device: Column::new(true),
            text: Column::new(true),
            data: Column::new(true),
            offset: Column::new(true),
        }
    }
}

impl Rows for EventRows {
    const NAME: &str = "events";
    const SCHEMA: &str = "message forebay_event {
    required int64 edge_time (TIMESTAMP(MICROS, true));
    required binary kind (STRING);
    required binary device (STRING);
    required binary text (STRING);
    required binary data (JSON);
    required int64 offset (INTEGER(64, false));
}";
    type Row<'a> = (u64, Stored);

    fn push(&mut self, (offset, event): &(u64, Stored)) {
        self.edge_time.push(Some(event.edge_us()));
        self.kind.push(Some(ByteArray::from(event.kind.as_str())));
        self.device.push(Some(ByteArray::from(event.device.as_str())));
        self.text.push(Some(ByteArray::from(event.text.as_str())));
        let data = event.data.to_string();
        self.held.text_bytes += event.text.len() + data.len();
        self.data.push(Some(ByteArray::from(data.into_bytes())));
        self.offset.push(Some(offset.cast_signed()));
        self.held.rows += 1;
    }

    fn held(&self) -> Held {
        self.held
    }

    fn write(&mut self, to: &mut SerializedRowGroupWriter<'_, File>) -> parquet::errors::Result<()> {
        self.edge_time.write(to)?;
        self.kind.write(to)?;
        self.device.write(to)?;
        self.text.write(to)?;
        self.data.write(to)?;
        self.offset.write(to)?;
        self.held = Held::default();
        Ok(())
    }
}
