//! A journal that somebody else may be writing, for reading only.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::index::{Handed, Index, Segment, Shared};
use super::scan::Scanner;
use super::segment::{Found, HEADER_BYTES, Header, Name, read_epoch};
use super::survey::Survey;
use super::{Epoch, OpenError, Reader};

/// What was in a directory when it was looked at. Changes nothing there.
///
/// Another process does not say how far it has synced, so the last records seen may not be durable
/// yet. Segments that are removed later are told as [`super::Read::Moved`] when they are the oldest.
pub struct View {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    epoch: Epoch,
    passed_over: Vec<String>,
}

impl View {
    /// Looks at a directory.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read, or holds no journal.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let failed =
            |action| move |source| OpenError { action, file: "the journal directory".into(), source };
        let names = disk.list().map_err(failed("list"))?;
        let mut segments: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
        segments.sort_unstable();
        let mut found = Vec::with_capacity(segments.len());
        let mut passed_over = Vec::new();
        for name in segments {
            match read(disk.as_ref(), name) {
                // It was removed since the names were read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Some(segment)) => found.push(segment),
                Ok(None) | Err(_) => passed_over.push(name.file()),
            }
        }
        let newest = || found.iter().rev().find_map(|(_, header)| Some(header.as_ref()?.epoch));
        let Some(epoch) = read_epoch(disk.as_ref()).or_else(newest) else {
            let none = io::Error::new(io::ErrorKind::NotFound, "there is no journal in it");
            return Err(failed("read")(none));
        };
        found.retain(|(segment, header)| {
            let own = header.as_ref().is_none_or(|header| header.epoch == epoch);
            if !own {
                passed_over.push(segment.name.file());
            }
            own
        });
        let index = index(disk.as_ref(), found);
        Ok(Self { disk, shared: Arc::new(Shared::view(index)), epoch, passed_over })
    }

    /// Identity of the journal.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Oldest offset that is there.
    pub fn first_offset(&self) -> u64 {
        self.shared.lock().first_offset()
    }

    /// Behind the last record that can be read.
    pub fn next_offset(&self) -> u64 {
        self.shared.lock().next_offset
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes()
    }

    /// Segment files that belong to another journal or to a newer version, or cannot be opened.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// A reader that begins at `offset`, or at the oldest that is there.
    ///
    /// # Errors
    /// Only when the decompressor gets no memory.
    pub fn reader(&self, offset: u64) -> io::Result<Reader> {
        Reader::new(Arc::clone(&self.disk), Arc::clone(&self.shared), self.epoch, offset)
    }
}

/// A segment as far as its file goes; `None` when it is of a newer version or has another's name.
fn read(disk: &dyn Disk, name: Name) -> io::Result<Option<(Segment, Option<Header>)>> {
    let file = disk.open(&name.file())?;
    let header = match Header::read(file.as_ref()) {
        Found::Header(header) if header.name == name => Some(header),
        Found::Nothing => None,
        Found::Header(_) | Found::Future(_) => return Ok(None),
    };
    let segment = Segment {
        name,
        created_us: header.map_or(0, |header| header.created_us),
        bytes: file.length()?,
        thinned: header.is_some_and(|header| header.thinned),
        handed: Handed::Perhaps,
    };
    Ok(Some((segment, header)))
}

/// The segments in which records can be found. Of the newest, what may be torn is left out.
fn index(disk: &dyn Disk, mut found: Vec<(Segment, Option<Header>)>) -> Index {
    let mut index = Index::default();
    while let Some((mut segment, header)) = found.pop() {
        let name = segment.name;
        index.next_offset = index.next_offset.max(name.first_offset);
        match index.segments.front() {
            // It was given up before anything of it was synced.
            Some(later) if later.name.first_offset <= name.first_offset => continue,
            Some(_) => {}
            None => {
                let Ok(file) = disk.open(&name.file()) else { continue };
                let survey = Survey::of(Scanner::new(file), name, header.as_ref(), segment.bytes);
                segment.bytes = survey.cut();
                if segment.bytes < HEADER_BYTES as u64 {
                    continue;
                }
                index.next_offset = index.next_offset.max(survey.damages(segment.bytes, &mut Vec::new()));
            }
        }
        index.segments.push_front(segment);
    }
    index
}
