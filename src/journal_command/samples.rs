//! From a lane to tables: which samples, and their rows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::ByteArray;

use super::Progress;
use super::table::{Names, TableWriter};
use crate::batch::Schema;
use crate::lane::{Body, Item, OfflineLane, StoredBatch};
use crate::replicate::encode;

/// Files that were begun so long after the end are not read: a batch may have waited, and the
/// clock may have been set.
const SPARE_US: i64 = 3_600_000_000;

/// Which samples.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Machines by name or path; empty = all.
    pub devices: Vec<String>,
    /// Tags, a `*` at the end stands for anything; empty = all.
    pub tags: Vec<String>,
    /// From this time on, microseconds since 1970 UTC.
    pub from_us: Option<i64>,
    /// Before this time.
    pub until_us: Option<i64>,
}

impl Filter {
    fn has_device(&self, schema: &Schema) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|it| *it == schema.name || *it == schema.device)
    }

    fn has_tag(&self, path: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == wanted,
        };
        self.tags.is_empty() || self.tags.iter().any(fits)
    }

    /// Whether a time between these two is wanted.
    fn has_time(&self, from_us: i64, to_us: i64) -> bool {
        self.from_us.is_none_or(|wanted| to_us >= wanted)
            && self.until_us.is_none_or(|wanted| from_us < wanted)
    }
}

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

/// Offsets that may hold something wanted.
pub fn range(lane: &OfflineLane, filter: &Filter) -> (u64, u64) {
    let segments = lane.files().segments();
    let known = |us: i64| (us != 0).then_some(us);
    let ended = |number: usize, us: i64| {
        let next = segments.get(number + 1).and_then(|next| known(next.created_us));
        next.is_some_and(|next| next.saturating_add(SPARE_US) < us)
    };
    let first = filter.from_us.map_or(0, |us| (0..segments.len()).take_while(|it| ended(*it, us)).count());
    let later = filter.until_us.and_then(|us| {
        let is_later = |us_of: i64| known(us_of).is_some_and(|it| it.saturating_sub(SPARE_US) > us);
        // Only if all behind it are later, too: a clock may have been ahead for a while.
        let earlier = segments.iter().rposition(|segment| !is_later(segment.created_us));
        segments.get(earlier.map_or(0, |it| it + 1)).map(|segment| segment.first_offset)
    });
    let first_offset = segments.get(first).map_or(lane.files().next_offset(), |segment| segment.first_offset);
    (first_offset, later.unwrap_or(lane.files().next_offset()))
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
