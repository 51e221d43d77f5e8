//! What was journalled, by device, tag and time.
//!
//! Segments are found by time and entered through their tables of contents; records of other
//! devices are stepped over, and of the wanted device only the wanted values are made. Much is read
//! by two threads at once (`history/threads.rs`). Reading history hands nothing over: what is read
//! may still be thinned.

mod threads;

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::chain::{Content, Only};
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
        let (from_us, to_us) = (wanted.from_us, wanted.to_us);
        // What is wanted of many tags would fill the memory while it waits for its turn.
        if wanted.tags.is_some() && threads::read(&reader, wanted, each) {
            return Ok(());
        }
        let ranges = reader.between(from_us, to_us);
        let mut reading = Reading::new(wanted, each);
        // Another process may have fewer than it seemed.
        let _given_or_told_to_stop =
            ranges.into_iter().try_for_each(|range| reading.range(&mut reader, range));
        Ok(())
    }
}

/// One call of [`History::read`].
struct Reading<'a> {
    wanted: &'a Wanted<'a>,
    decoder: Decoder,
    choices: Numbered<Choice>,
    content: Content,
    /// There is no more to read.
    is_over: bool,
    /// Every value is read of the records of a device, because some need it.
    every_value: bool,
    /// Reading must go back to this offset, or to where it is if that is before.
    back_to: Option<u64>,
    /// A dictionary whose records nobody wants was found.
    useless: Option<u32>,
    each: &'a mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
}

/// What is wanted of a device.
struct Choice {
    /// The dictionary that says so.
    meaning: Arc<[u8]>,
    device: bool,
    /// By tag; `None` for all.
    tags: Option<Vec<bool>>,
    /// Behind the last of them.
    end: Option<u32>,
}

impl Choice {
    fn of(meaning: &Arc<[u8]>, known: &Known, wanted: &Wanted<'_>) -> Self {
        let schema = &known.schema;
        let tag = |path: &str| wanted.tags.is_none_or(|tags| tags.contains(&path));
        let tags: Option<Vec<bool>> =
            wanted.tags.map(|_| schema.tags.iter().map(|it| tag(&it.path)).collect());
        let end =
            tags.as_ref().map(|tags| tags.iter().rposition(|wanted| *wanted).map_or(0, |last| last + 1));
        let end = end.and_then(|end| u32::try_from(end).ok());
        let device = wanted.device.is_none_or(|device| device == schema.device);
        Self { meaning: Arc::clone(meaning), device, tags, end }
    }

    fn has(&self, tag: u32) -> bool {
        let index = usize::try_from(tag).unwrap_or(usize::MAX);
        self.tags.as_ref().is_none_or(|tags| tags.get(index) == Some(&true))
    }
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a Wanted<'a>, each: &'a mut dyn FnMut(Past<'_>) -> ControlFlow<()>) -> Self {
        let (decoder, choices, content, is_over, every_value, back_to, useless) = Default::default();
        Self { wanted, decoder, choices, content, is_over, every_value, back_to, useless, each }
    }

    /// Gives what is wanted out of these offsets.
    fn range(&mut self, reader: &mut Reader, range: Range<u64>) -> ControlFlow<()> {
        reader.seek(range.start);
        reader.end_at(range.end);
        self.is_over = false;
        while reader.offset() < range.end {
            self.next(reader)?;
            if self.is_over && reader.offset() < range.end {
                return ControlFlow::Break(());
            }
            if let Some(offset) = self.back_to.take() {
                reader.seek(offset.min(reader.offset()));
            }
            if let Some(dictionary) = self.useless.take() {
                reader.ignore(dictionary);
            }
        }
        ControlFlow::Continue(())
    }

    fn next(&mut self, reader: &mut Reader) -> ControlFlow<()> {
        // Who looks at the past is shown what is there.
        reader.pass_over();
        match reader.read() {
            Read::End => {
                self.is_over = true;
                ControlFlow::Continue(())
            }
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
            // Most records are of other devices.
            self.useless = Some(link.dictionary);
            return ControlFlow::Continue(());
        }
        let content = &mut self.content;
        let only = Only { tags: choice.tags.as_deref(), end: choice.end.filter(|_| !self.every_value) };
        if let Err(fault) = self.decoder.take(link, &known, only, content) {
            if !self.every_value && self.decoder.has_passed_over(link.dictionary) {
                // It depends on what was passed over: once more from the beginning of the chain.
                self.every_value = true;
                self.back_to = Some(if link.wanted { link.offset } else { u64::MAX });
                return ControlFlow::Continue(());
            }
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
