//! From a lane to tables: which samples, and their rows.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::ByteArray;

use super::Progress;
use super::sample_table::{Names, SampleRow, SampleRows, Summary};
use super::table::{Rows, TableWriter};
use crate::batch::{Sample, Schema};
use crate::journal::{Damage, DamageKind};
use crate::lane::{Body, Item, OfflineLane, StoredBatch, ThinnedBatch};
use crate::past::{Filter, is_device};
use crate::replicate::encode;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that are damaged.
    pub damaged_records: u64,
    /// Records in whose place the disk gave errors.
    pub unreadable_records: u64,
    /// Machines that were asked for and have nothing in the time that was asked for.
    pub absent_devices: Vec<String>,
}

impl Written {
    /// Finishes a table.
    pub fn of<R: Rows>(
        table: TableWriter<R>,
        damaged_records: u64,
        unreadable_records: u64,
    ) -> anyhow::Result<Self> {
        let (rows, files) = (table.written_rows, table.files.max(1));
        let bytes = table.finish()?;
        Ok(Self { rows, files, bytes, damaged_records, unreadable_records, absent_devices: Vec::new() })
    }
}

/// The names of a device's tags; `None` = not wanted.
type Wanted = Vec<Option<Names>>;
/// What is wanted of each device, by the address of its schema.
type Devices = HashMap<usize, (Arc<Schema>, Arc<Wanted>)>;

/// Writes the wanted samples in these ranges of a lane as tables in `folder`.
///
/// # Errors
/// Those of the disk.
pub fn write(
    lane: &mut OfflineLane,
    filter: &Filter,
    ranges: &[Range<u64>],
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Written> {
    let mut table = TableWriter::<SampleRows>::new(folder)?;
    let mut devices: Devices = HashMap::new();
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
                Item::Record(record) => match &record.body {
                    Body::Batch(batch) if filter.has_time(batch.edge_us, batch.edge_us) => {
                        let wanted = wanted(&mut devices, &batch.schema, filter);
                        rows(&mut table, &wanted, record.offset, batch)?;
                    }
                    Body::Thinned(batch) if filter.has_time(batch.from_us, batch.to_us) => {
                        let wanted = wanted(&mut devices, &batch.schema, filter);
                        thinned_rows(&mut table, &wanted, record.offset, batch)?;
                    }
                    _ => {}
                },
            }
            progress.add(lane.offset().saturating_sub(at));
            at = lane.offset();
        }
    }
    // Those of the batches that are of that time.
    let is_there = |wanted: &&String| devices.values().any(|(schema, _)| is_device(wanted, &schema.device));
    let absent_devices = filter.devices.iter().filter(|wanted| !is_there(wanted)).cloned().collect();
    Ok(Written { absent_devices, ..Written::of(table, damaged_records, unreadable_records)? })
}

/// Names of the wanted tags, made once for each schema.
fn wanted(known: &mut Devices, schema: &Arc<Schema>, filter: &Filter) -> Arc<Wanted> {
    // Holding the schema keeps its address its own.
    let address = Arc::as_ptr(schema).addr();
    let (_, wanted) = known.entry(address).or_insert_with(|| {
        let device = ByteArray::from(schema.device.as_str());
        let is_wanted = filter.has_device(schema);
        let names = schema.tags.iter().map(|tag| {
            (is_wanted && filter.has_tag(&tag.path)).then(|| Names {
                device: device.clone(),
                tag: ByteArray::from(tag.path.as_str()),
                unit: (!tag.unit.is_empty()).then(|| ByteArray::from(tag.unit.as_str())),
            })
        });
        (Arc::clone(schema), Arc::new(names.collect()))
    });
    Arc::clone(wanted)
}

fn rows(
    table: &mut TableWriter<SampleRows>,
    wanted: &Wanted,
    offset: u64,
    batch: &StoredBatch,
) -> anyhow::Result<()> {
    for sample in &batch.samples {
        let Ok(tag) = usize::try_from(sample.tag) else { continue };
        let Some(Some(names)) = wanted.get(tag) else { continue };
        let text = encode::text(&batch.schema.tags[tag], &sample.value);
        table.push(&SampleRow { names, offset, edge_us: batch.edge_us, sample, text, summary: None })?;
    }
    Ok(())
}

fn thinned_rows(
    table: &mut TableWriter<SampleRows>,
    wanted: &Wanted,
    offset: u64,
    batch: &ThinnedBatch,
) -> anyhow::Result<()> {
    for thinned in &batch.samples {
        let Ok(tag) = usize::try_from(thinned.tag) else { continue };
        let Some(Some(names)) = wanted.get(tag) else { continue };
        let text = encode::text(&batch.schema.tags[tag], &thinned.last);
        let numbers = thinned.numbers.as_ref();
        let summary = Summary {
            from_us: batch.from_us,
            numbers: numbers.and_then(|it| Some([it.min.as_f64()?, it.max.as_f64()?, it.mean])),
            count: thinned.count,
            bad: thinned.bad,
        };
        let sample = Sample {
            tag: thinned.tag,
            value: thinned.last.clone(),
            quality: thinned.quality,
            source_us: None,
        };
        let (sample, summary) = (&sample, Some(&summary));
        table.push(&SampleRow { names, offset, edge_us: batch.to_us, sample, text, summary })?;
    }
    Ok(())
}
