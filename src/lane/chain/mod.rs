//! Batches as records of a chain: each coded against what the same device said before.
//!
//! `docs/journal-format.md`, "Records of a chain", is the specification. The state of a chain holds
//! for each device the expected time of its next batch and its last set of tags, and for each tag
//! the last value and what its steps look like. Writer and reader go through the same states,
//! because `code_record` is the same function for both. A chain begins with an empty state, so it
//! can be read without anything before it.

mod bits;
mod device;
mod form;
mod model;
mod record;
#[cfg(test)]
mod tests;
mod values;

use bits::{BitReader, BitWriter};
use device::Device;
use record::{Context, code_record};

pub(super) use device::Meaning;
pub(super) use form::Linear;
pub(super) use record::{Content, Only};

/// State of a chain, the same for its writer and its reader.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// By number of the schema.
    devices: Vec<Option<Box<Device>>>,
    base_us: i64,
    first_bits: usize,
    chosen: Vec<(u8, i64)>,
    writer: BitWriter,
}

impl Chain {
    /// Forgets everything: a new chain begins at this wall time.
    pub(super) fn begin(&mut self, base_us: i64) {
        self.devices.iter_mut().flatten().for_each(|device| device.clear());
        self.base_us = base_us;
        self.first_bits = 0;
    }

    /// Bytes that this chain has spent on first values: the price of a new one.
    pub(super) fn first_bytes(&self) -> usize {
        self.first_bits / 8
    }

    /// Appends the record of `content` to `front`, and those of its bytes that pack well to `back`.
    /// `false` when a tag is none of the schema's; then the chain must end.
    pub(super) fn put(
        &mut self,
        schema: u32,
        meaning: &Meaning,
        content: &mut Content,
        front: &mut Vec<u8>,
        back: &mut Vec<u8>,
    ) -> bool {
        let mut writer = std::mem::take(&mut self.writer);
        let (device, mut context) = self.parts(schema, meaning, Only::default());
        let written = code_record(&mut writer, device, &mut context, content);
        writer.finish(front, back);
        self.writer = writer;
        written.is_some()
    }

    /// Fills `content` from a record; `None` when that cannot be, now and for the rest of the
    /// chain. Values that are not wanted are not made.
    pub(super) fn take(
        &mut self,
        schema: u32,
        meaning: &Meaning,
        (front, back): (&[u8], Option<&[u8]>),
        only: Only<'_>,
        content: &mut Content,
    ) -> Option<()> {
        let mut reader = BitReader::new(front, back);
        let (device, mut context) = self.parts(schema, meaning, only);
        if device.broken {
            return None;
        }
        let taken = code_record(&mut reader, device, &mut context, content);
        let whole = taken.filter(|to_end| !to_end || reader.is_done()).map(|_| ());
        device.broken = whole.is_none();
        whole
    }

    /// Whether values of this device were passed over since the chain began.
    pub(super) fn has_passed_over(&self, schema: u32) -> bool {
        let device = usize::try_from(schema).ok().and_then(|index| self.devices.get(index)?.as_ref());
        device.is_some_and(|device| device.passed_from.is_some())
    }

    /// Nothing more of this device can be read until the next chain.
    pub(super) fn give_up(&mut self, schema: u32) {
        self.device(schema).broken = true;
    }

    fn device(&mut self, schema: u32) -> &mut Device {
        Self::of(&mut self.devices, schema)
    }

    /// Numbers are bounded by the journal, which knows its dictionaries.
    fn of(devices: &mut Vec<Option<Box<Device>>>, schema: u32) -> &mut Device {
        let index = usize::try_from(schema).unwrap_or(usize::MAX);
        if devices.len() <= index {
            devices.resize_with(index + 1, || None);
        }
        devices[index].get_or_insert_default()
    }

    fn parts<'a>(
        &'a mut self,
        schema: u32,
        meaning: &'a Meaning,
        only: Only<'a>,
    ) -> (&'a mut Device, Context<'a>) {
        let Self { devices, base_us, first_bits, chosen, .. } = self;
        (Self::of(devices, schema), Context { meaning, base_us: *base_us, only, chosen, first_bits })
    }
}
