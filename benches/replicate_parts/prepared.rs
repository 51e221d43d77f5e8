//! Records that are ready in memory, for what sending costs without reading and encoding.

use std::path::Path;
use std::time::Duration;

use forebay::clock::now_us;
use forebay::replicate::{Record, Source, SourceFault};

/// The records of a file of [`crate::outer::Records`], in turn.
pub struct Prepared {
    bytes: Vec<u8>,
    at: usize,
    next: u64,
    total: u64,
}

impl Prepared {
    pub fn read(path: &Path, total: u64) -> Self {
        let bytes = std::fs::read(path).expect("the records are there");
        Self { bytes, at: 0, next: 0, total }
    }

    fn length(&self, at: usize) -> usize {
        let bytes = self.bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes) as usize
    }
}

impl Source for Prepared {
    fn lane(&self) -> &str {
        "telemetry"
    }

    fn epoch(&self) -> &str {
        "00112233445566778899aabbccddeeff"
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        (self.next, self.at) = (offset, 0);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.next >= self.total {
            std::thread::sleep(wait);
            return Ok(None);
        }
        let (key, value) = (self.length(self.at), self.length(self.at + 4));
        let start = self.at + 8;
        let end = start + key + value;
        let offset = self.next;
        self.next += 1;
        self.at = if end == self.bytes.len() { 0 } else { end };
        let key = &self.bytes[start..start + key];
        Ok(Some(Record {
            offset,
            edge_us: now_us(),
            key: std::str::from_utf8(key).expect("a path"),
            value: &self.bytes[start + key.len()..end],
            fault: None,
        }))
    }

    fn committed(&mut self, _: u64) {}

    fn used(&mut self, _: u64) {}

    fn secured(&mut self, _: u64) {}

    fn end(&self) -> u64 {
        self.total
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        Err(SourceFault("all of it is fresh".to_owned()))
    }
}
