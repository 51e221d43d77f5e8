//! Samples as Parquet files, one row a sample.
//!
//! Written column by column without Arrow. Memory is bounded: some ten thousand rows are held, and
//! a file ends before what must be remembered of it for its foot grows large. So no file is too
//! large for the file system of a stick either.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use forebay_connector::Value;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

use crate::batch::Sample;
use crate::replicate::encode;

/// Rows held at most.
const ROWS_MAX: usize = 50_000;
/// Bytes of texts and arrays held at most.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// A file that has reached this is finished.
const FILE_BYTES_MAX: usize = 512 << 20;

/// The columns, in the order in which [`Rows::write`] gives them.
const SCHEMA: &str = "message forebay_sample {
    required binary device (STRING);
    required binary tag (STRING);
    required int64 edge_time (TIMESTAMP(MICROS, true));
    optional int64 time (TIMESTAMP(MICROS, true));
    optional boolean bool_value;
    optional int64 int_value;
    optional int64 uint_value (INTEGER(64, false));
    optional float real_value;
    optional double lreal_value;
    optional binary text_value (STRING);
    optional int64 time_value (TIMESTAMP(MICROS, true));
    optional binary array_value (JSON);
    optional binary text (STRING);
    optional binary unit (STRING);
    required binary quality (STRING);
    required int64 offset (INTEGER(64, false));
    optional int64 thinned_from (TIMESTAMP(MICROS, true));
    optional double min;
    optional double max;
    optional double mean;
    optional int64 count (INTEGER(64, false));
    optional int64 bad_count (INTEGER(64, false));
}";

/// A column of the rows that are held.
struct Column<T: DataType> {
    values: Vec<T::T>,
    /// 1 = there is a value; empty in a column that always has one.
    levels: Vec<i16>,
    required: bool,
}

impl<T: DataType> Column<T> {
    fn new(required: bool) -> Self {
        Self { values: Vec::new(), levels: Vec::new(), required }
    }

    fn push(&mut self, value: Option<T::T>) {
        if !self.required {
            self.levels.push(i16::from(value.is_some()));
        }
        self.values.extend(value);
    }

    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> parquet::errors::Result<()> {
        if let Some(mut column) = group.next_column()? {
            let levels = (!self.required).then_some(self.levels.as_slice());
            column.typed::<T>().write_batch(&self.values, levels, None)?;
            column.close()?;
        }
        self.values.clear();
        self.levels.clear();
        Ok(())
    }
}

/// What is the same for all samples of a tag.
#[derive(Clone)]
pub struct Names {
    /// Path of the device.
    pub device: ByteArray,
    /// Path of the tag.
    pub tag: ByteArray,
    /// Its unit.
    pub unit: Option<ByteArray>,
}

/// What a thinned row sums up.
pub struct Summary {
    /// First time, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Smallest, largest and mean value; only of numbers.
    pub numbers: Option<[f64; 3]>,
    /// Good samples summed up; the value is the last of them.
    pub count: u64,
    /// Other samples, in `count` and the numbers not contained.
    pub bad: u64,
}

/// The rows that are held.
struct Rows {
    count: usize,
    text_bytes: usize,
    device: Column<ByteArrayType>,
    tag: Column<ByteArrayType>,
    edge_time: Column<Int64Type>,
    time: Column<Int64Type>,
    bool_value: Column<BoolType>,
    int_value: Column<Int64Type>,
    uint_value: Column<Int64Type>,
    real_value: Column<FloatType>,
    lreal_value: Column<DoubleType>,
    text_value: Column<ByteArrayType>,
    time_value: Column<Int64Type>,
    array_value: Column<ByteArrayType>,
    text: Column<ByteArrayType>,
    unit: Column<ByteArrayType>,
    quality: Column<ByteArrayType>,
    offset: Column<Int64Type>,
    thinned_from: Column<Int64Type>,
    min: Column<DoubleType>,
    max: Column<DoubleType>,
    mean: Column<DoubleType>,
    summed: Column<Int64Type>,
    bad: Column<Int64Type>,
}

impl Rows {
    fn new() -> Self {
        Self {
            count: 0,
            text_bytes: 0,
            device: Column::new(true),
            tag: Column::new(true),
            edge_time: Column::new(true),
            time: Column::new(false),
            bool_value: Column::new(false),
            int_value: Column::new(false),
            uint_value: Column::new(false),
            real_value: Column::new(false),
            lreal_value: Column::new(false),
            text_value: Column::new(false),
            time_value: Column::new(false),
            array_value: Column::new(false),
            text: Column::new(false),
            unit: Column::new(false),
            quality: Column::new(true),
            offset: Column::new(true),
            thinned_from: Column::new(false),
            min: Column::new(false),
            max: Column::new(false),
            mean: Column::new(false),
            summed: Column::new(false),
            bad: Column::new(false),
        }
    }

    fn push_value(&mut self, value: &Value) {
        self.bool_value.push(if let Value::Bool(it) = value { Some(*it) } else { None });
        self.int_value.push(if let Value::Int(it) = value { Some(*it) } else { None });
        // Parquet keeps the bits of an unsigned number in a signed one.
        self.uint_value.push(if let Value::Uint(it) = value { Some(it.cast_signed()) } else { None });
        self.real_value.push(if let Value::Real(it) = value { Some(*it) } else { None });
        self.lreal_value.push(if let Value::Lreal(it) = value { Some(*it) } else { None });
        self.text_value.push(if let Value::Text(it) = value { Some(ByteArray::from(&**it)) } else { None });
        self.time_value.push(if let Value::DateTime(it) = value { Some(*it) } else { None });
        let array = matches!(value, Value::Array(_)).then(|| {
            let mut json = Vec::new();
            encode::value(&mut json, value);
            json
        });
        self.text_bytes += match value {
            Value::Text(text) => text.len(),
            _ => array.as_ref().map_or(0, Vec::len),
        };
        self.array_value.push(array.map(ByteArray::from));
    }

    fn is_full(&self) -> bool {
        self.count >= ROWS_MAX || self.text_bytes >= TEXT_BYTES_MAX
    }

    /// Writes all rows as one group and forgets them.
    fn write(&mut self, file: &mut SerializedFileWriter<File>) -> parquet::errors::Result<()> {
        let mut group = file.next_row_group()?;
        let to = &mut group;
        self.device.write(to)?;
        self.tag.write(to)?;
        self.edge_time.write(to)?;
        self.time.write(to)?;
        self.bool_value.write(to)?;
        self.int_value.write(to)?;
        self.uint_value.write(to)?;
        self.real_value.write(to)?;
        self.lreal_value.write(to)?;
        self.text_value.write(to)?;
        self.time_value.write(to)?;
        self.array_value.write(to)?;
        self.text.write(to)?;
        self.unit.write(to)?;
        self.quality.write(to)?;
        self.offset.write(to)?;
        self.thinned_from.write(to)?;
        self.min.write(to)?;
        self.max.write(to)?;
        self.mean.write(to)?;
        self.summed.write(to)?;
        self.bad.write(to)?;
        group.close()?;
        (self.count, self.text_bytes) = (0, 0);
        Ok(())
    }
}

/// Writes tables into a folder, as many files as it takes.
pub struct TableWriter {
    folder: PathBuf,
    schema: Arc<Type>,
    properties: Arc<WriterProperties>,
    rows: Rows,
    /// The file that is being written, and a second handle to sync it.
    open: Option<(SerializedFileWriter<File>, File, PathBuf)>,
    /// Rows written.
    pub written_rows: u64,
    /// Files begun.
    pub files: u64,
}

impl TableWriter {
    /// Tables in `folder`, which must exist.
    ///
    /// # Errors
    /// Never but by a fault inside Forebay.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            // For each group, so that a reader passes over times it does not want; more would
            // only cost memory here.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_created_by(concat!("forebay ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            folder: folder.to_owned(),
            schema: Arc::new(parse_message_type(SCHEMA)?),
            properties: Arc::new(properties),
            rows: Rows::new(),
            open: None,
            written_rows: 0,
            files: 0,
        })
    }

    /// Adds a row: a sample of `names`, read at `edge_us` and stored as `offset`; `text` is what
    /// the number of an enumeration means.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn push(
        &mut self,
        names: &Names,
        (offset, edge_us): (u64, i64),
        sample: &Sample,
        text: Option<&str>,
        summary: Option<&Summary>,
    ) -> anyhow::Result<()> {
        let rows = &mut self.rows;
        rows.device.push(Some(names.device.clone()));
        rows.tag.push(Some(names.tag.clone()));
        rows.edge_time.push(Some(edge_us));
        rows.time.push(sample.source_us);
        rows.push_value(&sample.value);
        rows.text.push(text.map(ByteArray::from));
        rows.unit.push(names.unit.clone());
        rows.quality.push(Some(ByteArray::from(sample.quality.as_str())));
        rows.offset.push(Some(offset.cast_signed()));
        let numbers = summary.and_then(|summary| summary.numbers);
        rows.thinned_from.push(summary.map(|summary| summary.from_us));
        rows.min.push(numbers.map(|numbers| numbers[0]));
        rows.max.push(numbers.map(|numbers| numbers[1]));
        rows.mean.push(numbers.map(|numbers| numbers[2]));
        rows.summed.push(summary.map(|summary| summary.count.cast_signed()));
        rows.bad.push(summary.map(|summary| summary.bad.cast_signed()));
        rows.count += 1;
        self.written_rows += 1;
        if self.rows.is_full() { self.write_group() } else { Ok(()) }
    }

    /// Writes what is held and syncs the last file. Returns the bytes of all files.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        // A table without rows still says which columns there are.
        if self.rows.count > 0 || self.files == 0 {
            self.write_group()?;
        }
        self.close()?;
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        if self.open.is_none() {
            let path = self.folder.join(format!("samples-{:04}.parquet", self.files));
            let failed = || format!("cannot create {}", path.display());
            let file = File::create_new(&path).with_context(failed)?;
            let handle = file.try_clone().with_context(failed)?;
            let writer =
                SerializedFileWriter::new(file, Arc::clone(&self.schema), Arc::clone(&self.properties))?;
            self.open = Some((writer, handle, path));
            self.files += 1;
        }
        let Some((writer, _, path)) = &mut self.open else { return Ok(()) };
        self.rows.write(writer).with_context(|| format!("cannot write {}", path.display()))?;
        if writer.bytes_written() >= FILE_BYTES_MAX { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> anyhow::Result<()> {
        let Some((writer, handle, path)) = self.open.take() else { return Ok(()) };
        writer.close().with_context(|| format!("cannot write {}", path.display()))?;
        handle.sync_all().with_context(|| format!("cannot sync {}", path.display()))
    }
}
