//! A directory in memory that is made of a fuzzer's input, or of what a lane wrote.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::journal::{Disk, DiskFile};

type Content = Arc<Mutex<Vec<u8>>>;

/// Files by name.
#[derive(Clone, Default)]
pub struct Directory(Arc<Mutex<BTreeMap<String, Content>>>);

/// The small files, by the first byte of their part of an input.
const SMALL: [&str; 4] = ["epoch", "handed", "closed", "epoch.tmp"];
/// First byte of a segment that is named by its own header.
const SEGMENT: u8 = 16;

/// The name that a segment's header stands for; version 1 and later have it in the same place.
fn segment_name(content: &[u8], number: usize) -> String {
    let double = |at: usize| {
        let bytes = content.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(number as u64, u64::from_le_bytes)
    };
    format!("{:016x}-{:016x}.segment", double(28), double(36))
}

impl Directory {
    /// The files that `input` describes: a byte for the name, a length of two bytes, the content.
    pub fn of(mut input: &[u8]) -> Self {
        let directory = Self::default();
        let mut number = 0;
        while let [kind, low, high, rest @ ..] = input {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
            let (content, rest) = rest.split_at(length);
            input = rest;
            number += 1;
            let name = match SMALL.get(usize::from(*kind)) {
                Some(name) => (*name).to_owned(),
                // A name that the header does not bear out.
                None if *kind > 240 => format!("{:016x}-{:016x}.segment", kind, number),
                None => segment_name(content, number),
            };
            directory.0.lock().unwrap().insert(name, Arc::new(Mutex::new(content.to_vec())));
        }
        directory
    }

    /// The input that describes this directory.
    pub fn to_input(&self) -> Vec<u8> {
        let mut input = Vec::new();
        for (name, content) in self.0.lock().unwrap().iter() {
            let content = content.lock().unwrap();
            let kind = SMALL.iter().position(|small| small == name).map_or(SEGMENT, |at| at as u8);
            let length = u16::try_from(content.len()).expect("seeds are small");
            input.push(kind);
            input.extend_from_slice(&length.to_le_bytes());
            input.extend_from_slice(&content);
        }
        input
    }

    fn get(&self, name: &str) -> io::Result<Content> {
        self.0.lock().unwrap().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let content = Content::default();
        let mut files = self.0.lock().unwrap();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.insert(name.to_owned(), Arc::clone(&content));
        Ok(Box::new(File(content)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File(self.get(name)?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        Ok([7; 16])
    }
}

struct File(Content);

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let rest = usize::try_from(position).ok().and_then(|at| content.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let at = usize::try_from(position).map_err(io::Error::other)?;
        let end = at + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}
