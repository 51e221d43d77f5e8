//! From a lane to tables: which samples, and their rows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::ByteArray;

use super::Progress;
use super::table::{Names, TableWriter};
use crate::batch::Schema;
use crate::lane::{Body, Item, OfflineLane, StoredBatch};
use crate::past::{Filter, range};
use crate::replicate::encode;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that could not be read.
    pub damaged_records: u64,
}

/// The names of a device's tags; `None` = not wanted.
type Wanted = Vec<Option<Names>>;

/// Writes the wanted samples of a lane as tables in `folder`.
///
/// # Errors
/// Those of the disk.
pub fn write(
    lane: &mut OfflineLane,
    filter: &Filter,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Written> {
    let mut table = TableWriter::new(folder)?;
    let mut devices = HashMap::new();
    let (first, end) = range(lane, filter);
    lane.seek(first);
    let mut damaged_records = 0;
    while lane.offset() < end {
        match lane.read() {
            Item::End => break,
            Item::Removed(..) => {}
            Item::Damage(damage) => damaged_records += damage.to_offset - damage.from_offset,
            Item::Record(record) => {
                if let Body::Batch(batch) = &record.body
                    && filter.has_time(batch.edge_us, batch.edge_us)
                {
                    let wanted = wanted(&mut devices, &batch.schema, filter);
                    rows(&mut table, &wanted, record.offset, batch)?;
                }
            }
        }
        progress.set(lane.offset().saturating_sub(first));
    }
    let (rows, files) = (table.written_rows, table.files.max(1));
    Ok(Written { rows, files, bytes: table.finish()?, damaged_records })
}

/// Names of the wanted tags, made once for each schema.
fn wanted(
    known: &mut HashMap<usize, (Arc<Schema>, Arc<Wanted>)>,
    schema: &Arc<Schema>,
    filter: &Filter,
) -> Arc<Wanted> {
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

fn rows(table: &mut TableWriter, wanted: &Wanted, offset: u64, batch: &StoredBatch) -> anyhow::Result<()> {
    for sample in &batch.samples {
        let Ok(tag) = usize::try_from(sample.tag) else { continue };
        let Some(Some(names)) = wanted.get(tag) else { continue };
        let text = encode::text(&batch.schema.tags[tag], &sample.value);
        table.push(names, (offset, batch.edge_us), sample, text, None)?;
    }
    Ok(())
}
