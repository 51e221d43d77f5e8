//! What was journalled, by device, tag and time.
//!
//! Segments are found by time and entered through their tables of contents; records of other
//! devices are stepped over, and of the wanted device only the wanted values are made. Reading
//! history hands nothing over: what is read may still be thinned.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::chain::Content;
use super::decoder::{Decoder, decode_row};
use super::reader::{Body, Record, StoredBatch};
use super::schemas::Known;
use crate::batch::{Schema, SchemaTag};
use crate::journal::{Damage, FilesError, JournalFiles, Link, Numbered, Read, Reader};

/// A row may be this much younger than its block: a block waits some seconds at most.
const BLOCK_SPAN_US: i64 = 3600 * 1_000_000;

/// The history of one lane. Cheap to clone; each reading has file handles of its own.
#[derive(Clone)]
pub struct History(Source);

#[derive(Clone)]
enum Source {
    /// Of a lane that this process runs.
    Lane(Arc<Mutex<Reader>>),
    /// Of a directory that another process may be writing.
    Directory(PathBuf),
}

/// What is wanted of the past.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Path of the device; `None` for all, and for events.
    pub device: Option<&'a str>,
    /// Paths of tags; `None` for all.
    pub tags: Option<&'a [&'a str]>,
    /// First edge time, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Last edge time.
    pub to_us: i64,
}

/// One thing out of the past.
#[derive(Debug)]
pub enum Past<'a> {
    /// A batch with the wanted samples, a thinned one, or an event. Batches come with what is
    /// missing before them.
    Record(&'a Record),
    /// Records that cannot be read. Nobody knows their time.
    Lost(&'a Damage),
}

impl History {
    /// The history of the lane in `directory`, which another process may be writing. Nothing is
    /// changed there. What stands at its end may not be durable yet.
    ///
    /// # Errors
    /// [`FilesError`] when it cannot be read, or holds no journal.
    pub fn open(directory: &Path) -> Result<Self, FilesError> {
        let history = Self(Source::Directory(directory.to_owned()));
        history.reader()?;
        Ok(history)
    }

    /// The history of a running lane: what is synced and no more.
    pub(super) fn of(reader: Reader) -> Self {
        Self(Source::Lane(Arc::new(Mutex::new(reader))))
    }

    fn reader(&self) -> Result<Reader, FilesError> {
        let failed = |directory: &Path| {
            let directory = directory.to_owned();
            move |error: io::Error| FilesError::Unreadable { directory, error }
        };
        match &self.0 {
            Source::Lane(reader) => {
                let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.another(0).map_err(failed(Path::new("the journal")))
            }
            Source::Directory(directory) => {
                JournalFiles::open(directory, None)?.reader(0).map_err(failed(directory))
            }
        }
    }

    /// Gives what is wanted to `each`, in the order of offsets, until it breaks. Times are edge
    /// times; they rise, unless somebody set the clock.
    ///
    /// A batch that holds none of the wanted tags is given only when something is missing before it.
    ///
    /// # Errors
    /// [`FilesError`] when the directory cannot be read. Damage is no error, but [`Past::Lost`].
    pub fn read(
        &self,
        wanted: &Wanted<'_>,
        each: &mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        let mut reader = self.reader()?;
        let mut reading = Reading {
            wanted,
            decoder: Decoder::default(),
            choices: Numbered::default(),
            content: Content::default(),
            each,
        };
        for range in reader.between(wanted.from_us, wanted.to_us) {
            reader.seek(range.start);
            while reader.offset() < range.end {
                if reading.next(&mut reader).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// One call of [`History::read`].
struct Reading<'a> {
    wanted: &'a Wanted<'a>,
    decoder: Decoder,
    choices: Numbered<Choice>,
    content: Content,
    each: &'a mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
}

/// What is wanted of a device.
struct Choice {
    /// The dictionary that says so.
    meaning: Arc<[u8]>,
    device: bool,
    /// By tag; `None` for all.
    tags: Option<Vec<bool>>,
}

impl Choice {
    fn of(meaning: &Arc<[u8]>, known: &Known, wanted: &Wanted<'_>) -> Self {
        let schema = &known.schema;
        let tag = |path: &str| wanted.tags.is_none_or(|tags| tags.contains(&path));
        let tags = wanted.tags.map(|_| schema.tags.iter().map(|it| tag(&it.path)).collect());
        let device = wanted.device.is_none_or(|device| device == schema.device);
        Self { meaning: Arc::clone(meaning), device, tags }
    }

    fn has(&self, tag: u32) -> bool {
        let index = usize::try_from(tag).unwrap_or(usize::MAX);
        self.tags.as_ref().is_none_or(|tags| tags.get(index) == Some(&true))
    }
}

impl Reading<'_> {
    fn next(&mut self, reader: &mut Reader) -> ControlFlow<()> {
        // Who looks at the past is shown what is there.
        reader.pass_over();
        match reader.read() {
            // Another process may have fewer than it seemed.
            Read::End => ControlFlow::Break(()),
            Read::Moved { .. } => ControlFlow::Continue(()),
            Read::Damage(damage) => (self.each)(Past::Lost(&damage)),
            // Not of a reader that passes over it.
            Read::Unreadable(_) => ControlFlow::Break(()),
            Read::Link(link) => self.link(&link),
            Read::Record { offset, base_us, bytes } => {
                let near = base_us.saturating_sub(BLOCK_SPAN_US) <= self.wanted.to_us
                    && base_us.saturating_add(BLOCK_SPAN_US) >= self.wanted.from_us;
                if !near {
                    return ControlFlow::Continue(());
                }
                let row = decode_row(bytes, base_us);
                let body = row.and_then(|row| self.decoder.row(row, reader));
                match body {
                    Ok(body) => self.body(Record { offset, body }, base_us),
                    Err(fault) => self.lost(offset, &fault.to_string()),
                }
            }
        }
    }

    fn lost(&mut self, offset: u64, cause: &str) -> ControlFlow<()> {
        (self.each)(Past::Lost(&Damage::new(offset, offset + 1, cause.to_owned())))
    }

    fn link(&mut self, link: &Link<'_>) -> ControlFlow<()> {
        // Most records are of other devices.
        let chosen = if link.begins { None } else { self.choices.get(link.dictionary).zip(link.meaning) };
        if chosen.is_some_and(|(choice, meaning)| !choice.device && Arc::ptr_eq(&choice.meaning, meaning)) {
            return ControlFlow::Continue(());
        }
        let known = match self.decoder.known(link) {
            Ok(known) => known,
            Err(fault) if link.wanted => return self.lost(link.offset, &fault.to_string()),
            Err(_) => return ControlFlow::Continue(()),
        };
        let (wanted, Some(meaning)) = (self.wanted, link.meaning) else { return ControlFlow::Continue(()) };
        let choice = self.choices.get_or_insert_with(link.dictionary, || Choice::of(meaning, &known, wanted));
        if !Arc::ptr_eq(&choice.meaning, meaning) {
            *choice = Choice::of(meaning, &known, wanted);
        }
        if !choice.device {
            return ControlFlow::Continue(());
        }
        let content = &mut self.content;
        if let Err(fault) = self.decoder.take(link, &known, choice.tags.as_deref(), content) {
            return if link.wanted {
                self.lost(link.offset, &fault.to_string())
            } else {
                ControlFlow::Continue(())
            };
        }
        if !link.wanted || !(wanted.from_us..=wanted.to_us).contains(&content.edge_us) {
            return ControlFlow::Continue(());
        }
        content.samples.retain(|sample| choice.has(sample.tag));
        if content.samples.is_empty() && content.gap.is_none() && choice.tags.is_some() {
            return ControlFlow::Continue(());
        }
        let batch = StoredBatch {
            schema: Arc::clone(&known.schema),
            edge_us: content.edge_us,
            samples: std::mem::take(&mut content.samples),
            gap: content.gap.take().map(|gap| *gap),
        };
        let record = Record { offset: link.offset, body: Body::Batch(batch) };
        let go_on = (self.each)(Past::Record(&record));
        if let Body::Batch(batch) = record.body {
            // Its memory serves the next one.
            self.content.samples = batch.samples;
        }
        go_on
    }

    /// Gives a row, if it is wanted.
    fn body(&mut self, mut record: Record, base_us: i64) -> ControlFlow<()> {
        let wanted = self.wanted;
        let has = |schema: &Schema| wanted.device.is_none_or(|device| device == schema.device);
        let in_time = |us: i64| (wanted.from_us..=wanted.to_us).contains(&us);
        let is_wanted = |tags: &[SchemaTag], tag: u32| {
            let path = usize::try_from(tag).ok().and_then(|tag| Some(tags.get(tag)?.path.as_str()));
            wanted.tags.is_none_or(|paths| path.is_some_and(|path| paths.contains(&path)))
        };
        let given = match &mut record.body {
            Body::Event(_) => wanted.device.is_none() && in_time(base_us),
            Body::Batch(batch) => {
                batch.samples.retain(|sample| is_wanted(&batch.schema.tags, sample.tag));
                let empty = batch.samples.is_empty() && batch.gap.is_none() && wanted.tags.is_some();
                has(&batch.schema) && in_time(batch.edge_us) && !empty
            }
            Body::Thinned(thinned) => {
                thinned.samples.retain(|sample| is_wanted(&thinned.schema.tags, sample.tag));
                let empty = thinned.samples.is_empty() && wanted.tags.is_some();
                let overlaps = thinned.from_us <= wanted.to_us && thinned.to_us >= wanted.from_us;
                has(&thinned.schema) && overlaps && !empty
            }
        };
        if given { (self.each)(Past::Record(&record)) } else { ControlFlow::Continue(()) }
    }
}
