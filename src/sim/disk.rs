//! The disk of one lane: the memory disk of the journal's tests, with every fault a disk can have
//! and a log of what was written where.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::context::{Context, Mutant};
use crate::journal::memory_disk::{Fate, MemoryDisk};
use crate::journal::{Disk, DiskFile, varint};

/// A disk that is not filling up has so much room.
const FREE_BYTES: u64 = 1 << 40;
/// Number of the error of a disk that does not give what is read.
const EIO: i32 = 5;

/// The power of the box, which all its disks share.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<PowerState>>);

#[derive(Default)]
struct PowerState {
    is_off: bool,
    /// Changes to the disk until the process dies in the middle of one.
    changes_left: Option<u64>,
}

/// How far an operation gets.
#[derive(PartialEq, Eq)]
enum Reach {
    Whole,
    /// The process dies before it, in the middle, or after it and before its answer.
    Dies(Moment),
}

#[derive(PartialEq, Eq)]
enum Moment {
    Before,
    Middle,
    After,
}

impl Power {
    pub fn is_off(&self) -> bool {
        self.0.lock().unwrap().is_off
    }

    /// The process ends here.
    pub fn off(&self) {
        self.0.lock().unwrap().is_off = true;
    }

    /// The next start.
    pub fn on(&self) {
        *self.0.lock().unwrap() = PowerState::default();
    }

    /// The process will die in one of the next changes to a disk.
    pub fn off_after(&self, changes: u64) {
        self.0.lock().unwrap().changes_left = Some(changes);
    }

    fn change(&self, fate: &mut Fate) -> io::Result<Reach> {
        let mut state = self.0.lock().unwrap();
        if state.is_off {
            return Err(io::Error::other("the process is dead"));
        }
        match &mut state.changes_left {
            Some(0) => {
                state.is_off = true;
                Ok(Reach::Dies(match fate.below(3) {
                    0 => Moment::Before,
                    1 => Moment::Middle,
                    _ => Moment::After,
                }))
            }
            Some(left) => {
                *left -= 1;
                Ok(Reach::Whole)
            }
            None => Ok(Reach::Whole),
        }
    }
}

/// Faults that are switched on.
#[derive(Default)]
pub struct Faults {
    pub writes: u32,
    pub removals: u32,
    pub read_only: bool,
    /// Longest time one operation takes.
    pub slow: Duration,
    /// Bytes that may still be written, when the disk is getting full.
    pub room: Option<usize>,
}

/// Bytes that were written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub file: String,
    pub bytes: Range<usize>,
}

struct State {
    inner: MemoryDisk,
    fate: Fate,
    faults: Faults,
    /// The last write that was tried since it was asked for.
    tried: Option<Write>,
    /// Segments that were replaced since that was asked for.
    replaced: Vec<String>,
    /// Segments that were removed since that was asked for.
    removed: Vec<String>,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    name: &'static str,
    context: Context,
    power: Power,
    state: Arc<Mutex<State>>,
}

struct SimFile {
    name: String,
    disk: SimDisk,
    file: Box<dyn DiskFile>,
}

impl SimDisk {
    pub fn new(name: &'static str, context: &Context, power: &Power) -> Self {
        let seed = context.seed ^ name.len() as u64;
        let state = State {
            inner: MemoryDisk::new(seed),
            fate: Fate::new(seed ^ 0xd15c),
            faults: Faults::default(),
            tried: None,
            replaced: Vec::new(),
            removed: Vec::new(),
        };
        Self { name, context: context.clone(), power: power.clone(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn inner(&self) -> MemoryDisk {
        self.state().inner.clone()
    }

    /// Switches faults on or off.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        let mut state = self.state();
        change(&mut state.faults);
        let room = state.faults.room;
        state.inner.fill(room);
    }

    pub fn fail_syncs(&self, files: usize, directory: usize) {
        let inner = self.inner();
        inner.fail_syncs(files);
        inner.fail_directory_syncs(directory);
    }

    /// Everything works from now on.
    pub fn mend(&self) {
        self.set(|faults| *faults = Faults::default());
        self.inner().revive();
        self.mend_reads();
    }

    /// True while nothing keeps the disk from being written.
    pub fn is_sound(&self) -> bool {
        let Faults { writes, removals, read_only, room, .. } = self.state().faults;
        writes == 0 && removals == 0 && !read_only && room.is_none()
    }

    /// Reading these bytes of a file fails from now on, or opening it.
    pub fn fail_reads(&self, name: &str, bytes: Option<Range<usize>>) {
        match bytes {
            Some(bytes) => self.inner().fail_reads(name, Some((bytes, EIO))),
            None => self.inner().fail_opens(name, Some(EIO)),
        }
    }

    /// Everything is given again.
    pub fn mend_reads(&self) {
        let inner = self.inner();
        for name in inner.names() {
            inner.fail_reads(&name, None);
            inner.fail_opens(&name, None);
        }
    }

    /// Where the last block went, or was to go; asked once.
    pub fn take_tried(&self) -> Option<Write> {
        self.state().tried.take()
    }

    /// Segments that were replaced; told once.
    pub fn take_replaced(&self) -> Vec<String> {
        std::mem::take(&mut self.state().replaced)
    }

    /// Segments that were removed; told once.
    pub fn take_removed(&self) -> Vec<String> {
        std::mem::take(&mut self.state().removed)
    }

    /// The disk as the next start finds it: after kill -9 with everything that was written, after
    /// a power cut with what was synced and some of the rest.
    pub fn restart(&self, is_power_cut: bool) {
        let mut state = self.state();
        if is_power_cut {
            let seed = state.fate.next();
            state.inner = state.inner.crash(seed);
        }
        state.faults = Faults { slow: state.faults.slow, ..Faults::default() };
        state.inner.revive();
        drop(state);
        self.mend_reads();
        self.launder();
    }

    pub fn names(&self) -> Vec<String> {
        self.inner().names()
    }

    pub fn length(&self, name: &str) -> usize {
        let length = self.inner().open(name).and_then(|file| file.length()).unwrap_or(0);
        usize::try_from(length).unwrap()
    }

    /// A byte decays.
    pub fn rot(&self, name: &str, at: usize, bits: u8) -> bool {
        let has_rotten = self.inner().rot(name, at, bits);
        self.launder();
        has_rotten
    }

    /// A name is lost by the file system.
    pub fn forget(&self, name: &str) {
        // It was in the list a moment ago.
        self.inner().remove(name).unwrap();
        self.inner().sync_directory().unwrap();
    }

    /// For [`Mutant::NoChecksum`]: gives everything the checksum that belongs to it, so that no
    /// check ever fails.
    fn launder(&self) {
        if self.context.mutant != Some(Mutant::NoChecksum) {
            return;
        }
        let inner = self.inner();
        for name in inner.names().into_iter().filter(|name| name.ends_with(".segment")) {
            inner.rewrite(&name, launder);
        }
    }

    /// One change to the disk, unless something keeps it from happening.
    fn change<T>(
        &self,
        what: impl FnOnce() -> String,
        cut: impl FnOnce(usize),
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let (reach, is_read_only, middle, slow) = {
            let mut state = self.state();
            let reach = self.power.change(&mut state.fate)?;
            let slowest = usize::try_from(state.faults.slow.as_millis()).unwrap();
            let slow = if slowest > 0 { state.fate.below(slowest) } else { 0 };
            (reach, state.faults.read_only, state.fate.below(1000), slow)
        };
        self.context.pass(Duration::from_millis(slow as u64));
        let result = match reach {
            _ if is_read_only => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
            Reach::Whole => whole(),
            Reach::Dies(moment) => {
                match moment {
                    Moment::Before => {}
                    Moment::Middle => cut(middle),
                    Moment::After => drop(whole()),
                }
                Err(io::Error::other("the process dies here"))
            }
        };
        self.context.say(|| {
            let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            format!("{} disk: {}: {outcome}", self.name, what())
        });
        result
    }
}

/// Right checksums for the header and all frames of a segment of format 2, whatever they hold.
fn launder(bytes: &mut [u8]) {
    const HEADER_BYTES: usize = 64;
    const CHECKSUM_BYTES: usize = 4;
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let (header, checksum) = bytes[..HEADER_BYTES].split_at_mut(HEADER_BYTES - CHECKSUM_BYTES);
    checksum.copy_from_slice(&crc32c::crc32c(header).to_le_bytes());
    let mut at = HEADER_BYTES;
    // Flags, length of the body, checksum over both and the body, body.
    while let Some(mut rest) = bytes.get(at + 1..) {
        let Some(length) = varint::take(&mut rest).and_then(|length| usize::try_from(length).ok()) else {
            return;
        };
        let head = bytes.len() - rest.len();
        let body = head + CHECKSUM_BYTES;
        let Some(end) = body.checked_add(length).filter(|end| *end <= bytes.len()) else { return };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..head]), &bytes[body..end]);
        bytes[head..body].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner().list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let whole = || self.inner().create(name);
        let file = self.change(|| format!("create {name}"), |_| {}, whole)?;
        Ok(Box::new(SimFile { name: name.to_owned(), disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.inner().open(name)?;
        Ok(Box::new(SimFile { name: name.to_owned(), disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let fails = {
            let removals = &mut self.state().faults.removals;
            let fails = *removals > 0;
            *removals = removals.saturating_sub(1);
            fails
        };
        if name.ends_with(".segment") {
            self.state().removed.push(name.to_owned());
        }
        let whole =
            || if fails { Err(io::Error::other("input/output error")) } else { self.inner().remove(name) };
        self.change(|| format!("remove {name}"), |_| {}, whole)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if to.ends_with(".segment") {
            self.state().replaced.push(to.to_owned());
        }
        self.change(|| format!("rename {from} to {to}"), |_| {}, || self.inner().rename(from, to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.change(|| "sync the directory".to_owned(), |_| {}, || self.inner().sync_directory())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.inner().free_bytes()?.min(FREE_BYTES))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        self.inner().random()
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (disk, name) = (self.disk.clone(), self.name.clone());
        let start = usize::try_from(self.file.length()?).unwrap();
        let fails = {
            let writes = &mut disk.state().faults.writes;
            let fails = *writes > 0;
            *writes = writes.saturating_sub(1);
            fails
        };
        let part = |middle: usize| &bytes[..bytes.len() * middle / 1000];
        let file = std::cell::RefCell::new(&mut self.file);
        let cut = |middle| drop(file.borrow_mut().append(part(middle)));
        let whole = || {
            if fails {
                file.borrow_mut().append(part(500))?;
                return Err(io::Error::other("input/output error"));
            }
            file.borrow_mut().append(bytes)
        };
        if name.ends_with(".segment") {
            disk.state().tried = Some(Write { file: name.clone(), bytes: start..start + bytes.len() });
        }
        disk.change(|| format!("write {} bytes to {name}", bytes.len()), cut, whole)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read_at(position, buffer) {
            Err(_) if self.disk.context.mutant == Some(Mutant::ErrorIsZeros) => {
                buffer.fill(0);
                Ok(buffer.len())
            }
            read => read,
        }
    }

    fn sync(&self) -> io::Result<()> {
        let disk = &self.disk;
        let skipped = disk.context.mutant == Some(Mutant::NoSync);
        let whole = || if skipped { Ok(()) } else { self.file.sync() };
        disk.change(|| format!("sync {}", self.name), |_| {}, whole)
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let what = || format!("write {} bytes of {} again", bytes.len(), self.name);
        self.disk.change(what, |_| {}, || self.file.rewrite(position, bytes))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let what = || format!("cut {} to {length} bytes", self.name);
        self.disk.change(what, |_| {}, || self.file.truncate(length))
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
