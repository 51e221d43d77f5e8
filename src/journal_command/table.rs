//! Rows as Parquet files.
//!
//! Written column by column without Arrow. Memory is bounded: some ten thousand rows are held, and
//! a file ends before what must be remembered of it for its foot grows large. So no file is too
//! large for the file system of a stick either.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::DataType;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

/// Rows held at most.
const ROWS_MAX: usize = 50_000;
/// Bytes of texts and arrays held at most.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// A file that has reached this is finished.
const FILE_BYTES_MAX: usize = 512 << 20;

/// A column of the rows that are held.
pub struct Column<T: DataType> {
    values: Vec<T::T>,
    /// 1 = there is a value; empty in a column that always has one.
    levels: Vec<i16>,
    required: bool,
}

impl<T: DataType> Column<T> {
    /// A column that always has a value, or may have none.
    pub fn new(required: bool) -> Self {
        Self { values: Vec::new(), levels: Vec::new(), required }
    }

    /// Adds a value.
    pub fn push(&mut self, value: Option<T::T>) {
        if !self.required {
            self.levels.push(i16::from(value.is_some()));
        }
        self.values.extend(value);
    }

    /// Writes all values and forgets them.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> parquet::errors::Result<()> {
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

/// One kind of table: its columns, and the rows of it that are held.
pub trait Rows: Default {
    /// Beginning of the names of its files.
    const NAME: &str;
    /// The columns, in the order in which [`Self::write`] gives them.
    const SCHEMA: &str;
    /// One row.
    type Row<'a>;

    /// Holds one more.
    fn push(&mut self, row: &Self::Row<'_>);

    /// How much is held.
    fn held(&self) -> Held;

    /// Writes all rows as one group and forgets them.
    ///
    /// # Errors
    /// Those of the disk.
    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> parquet::errors::Result<()>;
}

/// How much is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows.
    pub rows: usize,
    /// Bytes of texts and arrays.
    pub text_bytes: usize,
}

/// Writes tables into a folder, as many files as it takes.
pub struct TableWriter<R> {
    folder: PathBuf,
    schema: Arc<Type>,
    properties: Arc<WriterProperties>,
    rows: R,
    /// The file that is being written, and a second handle to sync it.
    open: Option<(SerializedFileWriter<File>, File, PathBuf)>,
    /// Rows written.
    pub written_rows: u64,
    /// Files begun.
    pub files: u64,
    /// Bytes of the files that are finished.
    written_bytes: u64,
}

impl<R: Rows> TableWriter<R> {
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
            schema: Arc::new(parse_message_type(R::SCHEMA)?),
            properties: Arc::new(properties),
            rows: R::default(),
            open: None,
            written_rows: 0,
            files: 0,
            written_bytes: 0,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn push(&mut self, row: &R::Row<'_>) -> anyhow::Result<()> {
        self.rows.push(row);
        self.written_rows += 1;
        let held = self.rows.held();
        if held.rows >= ROWS_MAX || held.text_bytes >= TEXT_BYTES_MAX { self.write_group() } else { Ok(()) }
    }

    /// Writes what is held and syncs the last file. Returns the bytes of all files.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        if self.rows.held().rows > 0 {
            self.write_group()?;
        }
        self.close()?;
        Ok(self.written_bytes)
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        if self.open.is_none() {
            let path = self.folder.join(format!("{}-{:04}.parquet", R::NAME, self.files));
            let failed = || format!("cannot create {}", path.display());
            let file = File::create_new(&path).with_context(failed)?;
            let handle = file.try_clone().with_context(failed)?;
            let writer =
                SerializedFileWriter::new(file, Arc::clone(&self.schema), Arc::clone(&self.properties))?;
            self.open = Some((writer, handle, path));
            self.files += 1;
        }
        let Some((writer, _, path)) = &mut self.open else { return Ok(()) };
        let mut group = writer.next_row_group()?;
        let written = self.rows.write(&mut group).and_then(|()| group.close().map(drop));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        if writer.bytes_written() >= FILE_BYTES_MAX { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> anyhow::Result<()> {
        let Some((writer, handle, path)) = self.open.take() else { return Ok(()) };
        writer.close().with_context(|| format!("cannot write {}", path.display()))?;
        handle.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        self.written_bytes += handle.metadata()?.len();
        Ok(())
    }
}
