//! A directory in memory whose power can be cut.
//!
//! What is synced stays. Of what is not, each sector of 8 bytes is kept or reads as zeros, the
//! file ends anywhere, and a name is in any of the states it went through, as `fate` says. A
//! failed sync leaves the same mess at once, and the next sync of that file succeeds without
//! mending it, as Linux does it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

const SECTOR_BYTES: usize = 8;

/// A random sequence from a seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Fate(u64);

impl Fate {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

#[derive(Default)]
struct Inode {
    /// What reading sees.
    cache: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// Shortest length it was cut to since the last sync.
    cut: Option<usize>,
    /// From here on it was written again since the last sync.
    rewritten: Option<usize>,
    /// Reading one of these bytes gives the error of this number. The bytes are as they were.
    unreadable: Option<(Range<usize>, i32)>,
    /// Opening it gives the error of this number.
    not_opened: Option<i32>,
}

type File = Arc<Mutex<Inode>>;

struct State {
    names: BTreeMap<String, File>,
    /// States each name went through since the last sync of the directory, the durable one first.
    history: BTreeMap<String, Vec<Option<File>>>,
    fate: Fate,
    capacity: usize,
    failing_syncs: usize,
    failing_directory_syncs: usize,
    failing_removes: usize,
    /// Stops everything when the next file is synced: the process dies between write and sync.
    dying: bool,
    dead: bool,
    /// So many more changes work, then nothing does.
    changes_left: Option<usize>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

struct MemoryFile {
    disk: Arc<Mutex<State>>,
    file: File,
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// The unsynced bytes as a power cut leaves them, whole length.
fn scar(bytes: &[u8], fate: &mut Fate) -> Vec<u8> {
    // From all kept to all gone: what is nearly whole is the hardest to notice.
    let kept_percent = [0, 50, 90, 98, 100][fate.below(5)];
    let mut scarred = bytes.to_vec();
    for sector in scarred.chunks_mut(SECTOR_BYTES) {
        if fate.below(100) >= kept_percent {
            sector.fill(0);
        }
    }
    scarred
}

impl State {
    /// Called by everything that changes something.
    fn alive(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.changes_left {
            self.dead |= *left == 0;
            *left = left.saturating_sub(1);
        }
        if self.dead { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| file.lock().unwrap().cache.len()).sum()
    }

    fn set(&mut self, name: &str, file: Option<File>) {
        let before = self.names.get(name).cloned();
        self.history.entry(name.to_owned()).or_insert_with(|| vec![before]).push(file.clone());
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
    }
}

impl MemoryDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            names: BTreeMap::new(),
            history: BTreeMap::new(),
            fate: Fate::new(seed),
            capacity: usize::MAX,
            failing_syncs: 0,
            failing_directory_syncs: 0,
            failing_removes: 0,
            dying: false,
            dead: false,
            changes_left: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next `count` syncs of files fail.
    pub(crate) fn fail_syncs(&self, count: usize) {
        self.state().failing_syncs = count;
    }

    /// The next `count` syncs of the directory fail.
    pub(crate) fn fail_directory_syncs(&self, count: usize) {
        self.state().failing_directory_syncs = count;
    }

    /// The next `count` removals of files fail.
    pub(crate) fn fail_removes(&self, count: usize) {
        self.state().failing_removes = count;
    }

    /// Nothing works any more from the next sync of a file on, as for a process that is killed
    /// there. [`MemoryDisk::revive`] is the next start.
    pub(crate) fn die_at_sync(&self) {
        self.state().dying = true;
    }

    /// Nothing works any more after so many more changes of any kind: writing, syncing, creating,
    /// removing, renaming.
    pub(crate) fn die_after(&self, changes: usize) {
        self.state().changes_left = Some(changes);
    }

    /// Whether it died.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Everything works again.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        (state.dying, state.dead, state.changes_left) = (false, false, None);
        (state.failing_syncs, state.failing_directory_syncs, state.failing_removes) = (0, 0, 0);
        state.capacity = usize::MAX;
    }

    /// Reading these bytes of a file gives the error of this number from now on; `None` ends that.
    pub(crate) fn fail_reads(&self, name: &str, bytes: Option<(Range<usize>, i32)>) {
        if let Some(file) = self.state().names.get(name) {
            file.lock().unwrap().unreadable = bytes;
        }
    }

    /// Opening a file gives the error of this number from now on; `None` ends that.
    pub(crate) fn fail_opens(&self, name: &str, number: Option<i32>) {
        if let Some(file) = self.state().names.get(name) {
            file.lock().unwrap().not_opened = number;
        }
    }

    /// The disk is full when `bytes` more are written; `None` makes room again.
    pub(crate) fn fill(&self, bytes: Option<usize>) {
        let mut state = self.state();
        state.capacity = bytes.map_or(usize::MAX, |bytes| state.used() + bytes);
    }

    /// The disk after a power cut. Old handles keep the old world.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut fate = Fate::new(seed);
        let state = self.state();
        let mut names = state.names.clone();
        for (name, states) in &state.history {
            match &states[fate.below(states.len())] {
                Some(file) => names.insert(name.clone(), Arc::clone(file)),
                None => names.remove(name),
            };
        }
        let survive = |(name, file): (String, File)| {
            let inode = file.lock().unwrap();
            let mut durable = inode.durable.clone();
            if let Some(cut) = inode.cut.filter(|_| fate.below(2) == 0) {
                durable.truncate(cut);
            }
            if let Some(from) = inode.rewritten {
                let sectors = durable.chunks_mut(SECTOR_BYTES).zip(inode.cache.chunks(SECTOR_BYTES));
                for (old, new) in sectors.skip(from.div_ceil(SECTOR_BYTES)) {
                    if old.len() == new.len() && fate.below(2) == 0 {
                        old.copy_from_slice(new);
                    }
                }
            }
            if inode.cut.is_none() && inode.cache.len() > durable.len() {
                let unsynced = scar(&inode.cache[durable.len()..], &mut fate);
                let length = if fate.below(2) == 0 { unsynced.len() } else { fate.below(unsynced.len() + 1) };
                durable.extend_from_slice(&unsynced[..length]);
            }
            let inode = Inode { cache: durable.clone(), durable, ..Inode::default() };
            (name, Arc::new(Mutex::new(inode)))
        };
        let names = names.into_iter().map(survive).collect();
        let after = Self::new(seed);
        after.state().names = names;
        after
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes the durable content of a file behind the journal's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = Arc::clone(&self.state().names[name]);
        let mut inode = file.lock().unwrap();
        change(&mut inode.durable);
        inode.cache = inode.durable.clone();
    }

    /// Flips bits of one byte where it lies, unsynced bytes included; false when there is none.
    pub(crate) fn rot(&self, name: &str, at: usize, bits: u8) -> bool {
        let Some(file) = self.state().names.get(name).cloned() else { return false };
        let mut inode = file.lock().unwrap();
        let inode = &mut *inode;
        let places = [inode.durable.get_mut(at), inode.cache.get_mut(at)];
        places.into_iter().flatten().map(|byte| *byte ^= bits).count() > 0
    }

    /// Changes a file where it lies, unsynced bytes included.
    pub(crate) fn rewrite(&self, name: &str, change: impl Fn(&mut [u8])) {
        let file = Arc::clone(&self.state().names[name]);
        let mut inode = file.lock().unwrap();
        change(&mut inode.durable);
        change(&mut inode.cache);
    }

    /// Adds a file behind the journal's back.
    pub(crate) fn plant(&self, name: &str, content: &[u8]) {
        let inode = Inode { cache: content.to_vec(), durable: content.to_vec(), ..Inode::default() };
        self.state().names.insert(name.to_owned(), Arc::new(Mutex::new(inode)));
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.alive()?;
        if state.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let file = File::default();
        state.set(name, Some(Arc::clone(&file)));
        Ok(Box::new(MemoryFile { disk: Arc::clone(&self.0), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.state().names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        if let Some(number) = file.lock().unwrap().not_opened {
            return Err(io::Error::from_raw_os_error(number));
        }
        Ok(Box::new(MemoryFile { disk: Arc::clone(&self.0), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if !state.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        if state.failing_removes > 0 {
            state.failing_removes -= 1;
            return Err(io::Error::other("the file cannot be removed"));
        }
        state.set(name, None);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let file = state.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.set(to, Some(file));
        state.set(from, None);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.failing_directory_syncs > 0 {
            state.failing_directory_syncs -= 1;
            return Err(io::Error::other("the directory cannot be synced"));
        }
        state.history.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok((state.capacity - state.used().min(state.capacity)) as u64)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let fate = &mut self.state().fate;
        Ok(std::array::from_fn(|_| fate.next().to_le_bytes()[0]))
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock().unwrap();
        state.alive()?;
        let room = state.capacity.saturating_sub(state.used());
        let fitting = &bytes[..bytes.len().min(room)];
        self.file.lock().unwrap().cache.extend_from_slice(fitting);
        if fitting.len() < bytes.len() { Err(full()) } else { Ok(()) }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inode = self.file.lock().unwrap();
        let start = usize::try_from(position).unwrap().min(inode.cache.len());
        let mut length = buffer.len().min(inode.cache.len() - start);
        if let Some((bytes, number)) = &inode.unreadable
            && start < bytes.end
            && bytes.start < start + length
        {
            if bytes.start <= start {
                return Err(io::Error::from_raw_os_error(*number));
            }
            length = bytes.start - start;
        }
        buffer[..length].copy_from_slice(&inode.cache[start..start + length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock().unwrap();
        state.dead |= state.dying;
        state.alive()?;
        let mut inode = self.file.lock().unwrap();
        if let Some(cut) = inode.cut.take() {
            inode.durable.truncate(cut);
        }
        let fails = state.failing_syncs > 0;
        let rewritten = inode.rewritten.take().filter(|_| !fails);
        let synced = inode.durable.len().min(rewritten.unwrap_or(usize::MAX));
        inode.durable.truncate(synced);
        let unsynced = if fails {
            state.failing_syncs -= 1;
            scar(&inode.cache[synced..], &mut state.fate)
        } else {
            inode.cache[synced..].to_vec()
        };
        inode.durable.extend_from_slice(&unsynced);
        if fails { Err(io::Error::other("the device failed")) } else { Ok(()) }
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.lock().unwrap().alive()?;
        let mut inode = self.file.lock().unwrap();
        let start = usize::try_from(position).unwrap();
        inode.cache[start..start + bytes.len()].copy_from_slice(bytes);
        inode.rewritten = Some(inode.rewritten.map_or(start, |from| from.min(start)));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.lock().unwrap().alive()?;
        let mut inode = self.file.lock().unwrap();
        let length = usize::try_from(length).unwrap();
        inode.cache.truncate(length);
        if length < inode.durable.len() {
            inode.cut = Some(length);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.lock().unwrap().cache.len() as u64)
    }
}
