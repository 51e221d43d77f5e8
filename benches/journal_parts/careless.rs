//! A journal that is written fast, for those who measure reading it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use forebay::journal::{Disk, DiskFile, RealDisk};

/// A real directory that never syncs.
pub struct Careless(RealDisk);

struct CarelessFile(Box<dyn DiskFile>);

impl Disk for Careless {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(CarelessFile(self.0.create(name)?)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        self.0.random()
    }
}

impl DiskFile for CarelessFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(position, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.rewrite(position, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// The directory, made when it is missing.
pub fn careless(directory: &Path) -> Arc<Careless> {
    Arc::new(Careless(RealDisk::open(directory).expect("target/ can be written")))
}
