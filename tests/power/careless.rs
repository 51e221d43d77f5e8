//! A real directory that leaves out syncs: the mistake that power cuts must notice.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay::journal::{self, DiskFile, RealDisk};

/// Leaves out every n-th sync of a file, and of the directory when n is 1.
pub struct Disk {
    real: RealDisk,
    every: u64,
    syncs: Arc<AtomicU64>,
}

impl Disk {
    pub fn open(directory: &Path, every: u64) -> Arc<dyn journal::Disk> {
        let real = RealDisk::open(directory).expect("a directory");
        Arc::new(Self { real, every, syncs: Arc::default() })
    }

    fn around(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(File { real: file, every: self.every, syncs: Arc::clone(&self.syncs) })
    }
}

impl journal::Disk for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.around(self.real.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.around(self.real.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.real.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.every == 1 { Ok(()) } else { self.real.sync_directory() }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.real.free_bytes()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        self.real.random()
    }
}

struct File {
    real: Box<dyn DiskFile>,
    every: u64,
    syncs: Arc<AtomicU64>,
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.real.append(bytes)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.real.read_at(position, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        let left_out = self.syncs.fetch_add(1, Ordering::SeqCst).is_multiple_of(self.every);
        if left_out { Ok(()) } else { self.real.sync() }
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.real.rewrite(position, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.real.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.real.length()
    }
}
