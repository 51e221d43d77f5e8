//! Which requests read a set of tags: the cheapest within the limits of the device, see
//! [`forebay_connector::planning`].

use std::ops::Range;

use forebay_connector::planning::{self, Cost, Rules};
use forebay_connector::{ByteOrder, DataType, TagSpec};

use crate::address::{self, MAX_BITS, Place, Table};

/// Bytes of every request over TCP.
pub const REQUEST_BYTES: usize = 12;

/// Bytes of an answer over TCP before the values.
pub const ANSWER_HEAD_BYTES: usize = 9;

/// A tag, its address understood.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where its value begins.
    pub place: Place,
    /// Registers or bits it takes.
    pub count: u16,
    /// Type on the wire.
    pub data_type: DataType,
    /// Byte order.
    pub order: ByteOrder,
    /// Scan class.
    pub scan: usize,
}

impl Item {
    /// Understands a tag of a device whose byte order is `order`.
    ///
    /// # Errors
    /// As [`address::check`].
    pub fn read(tag: &TagSpec, order: ByteOrder) -> Result<Self, forebay_connector::AddressFault> {
        let (place, count) = address::check(&tag.address, tag.data_type)?;
        let order = tag.order.unwrap_or(order);
        Ok(Self { place, count, data_type: tag.data_type, order, scan: tag.scan })
    }

    /// First entry of the table behind the value; up to 65,536.
    pub fn end(&self) -> u32 {
        u32::from(self.place.start) + u32::from(self.count)
    }

    /// Where it lies, for the planner.
    pub fn extent(&self) -> planning::Place {
        let (start, len) = (u32::from(self.place.start), u32::from(self.count));
        planning::Place { area: 0, start, len, alone: false }
    }
}

/// How far one request may reach.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most registers in a request.
    pub registers: u16,
    /// Most coils or discrete inputs in a request.
    pub coils: u16,
    /// Widest hole that is read over, in registers or coils.
    pub gap: u16,
}

/// A tag in a block.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Index of the tag.
    pub tag: u32,
    /// Position of its sample among those of the plan.
    pub slot: usize,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Block {
    /// Table.
    pub table: Table,
    /// First register or coil on the wire.
    pub start: u16,
    /// How many.
    pub count: u16,
    /// The device refuses it: not asked again as long as the plan lives.
    pub refused: bool,
    members: Range<usize>,
}

/// The requests for a set of tags.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The tags, in the order of their samples.
    pub tags: Vec<u32>,
    /// The requests.
    pub blocks: Vec<Block>,
    members: Vec<Member>,
}

impl Plan {
    /// Plans the reading of `tags`, indices into `items`. A tag wider than a request may be is never
    /// asked for.
    pub fn new(items: &[Item], tags: Vec<u32>, limits: Limits) -> Self {
        let mut plan = Self { members: Vec::with_capacity(tags.len()), tags, blocks: Vec::new() };
        for table in Table::ALL {
            plan.add_table(items, table, limits);
        }
        plan
    }

    /// Adds the requests for the tags of one table.
    fn add_table(&mut self, items: &[Item], table: Table, limits: Limits) {
        let item = |member: &Member| &items[member.tag as usize];
        let of_plan = (0..).zip(&self.tags).map(|(slot, tag)| Member { tag: *tag, slot });
        let mut members: Vec<Member> = of_plan.filter(|member| item(member).place.table == table).collect();
        members.sort_by_key(|member| (item(member).place.start, member.slot));
        let places: Vec<_> = members.iter().map(|member| item(member).extent()).collect();
        let cover = planning::cover(&places, &rules(table, limits, Cost::default()));
        // Members in the order of their spans, those without one last.
        let mut order: Vec<(Option<usize>, Member)> = cover.span_of.into_iter().zip(members).collect();
        order.sort_by_key(|(span, _)| span.unwrap_or(usize::MAX));
        for same in order.chunk_by(|(one, _), (other, _)| one == other && one.is_some()) {
            let first = self.members.len();
            self.members.extend(same.iter().map(|(_, member)| *member));
            let mut block = self.block(items, first..self.members.len());
            block.refused = same[0].0.is_none();
            self.blocks.push(block);
        }
    }

    /// The tags of a block.
    pub fn members(&self, block: &Block) -> &[Member] {
        &self.members[block.members.clone()]
    }

    /// The device refused block number `index`: it is halved, so that one bad register costs only
    /// its own tag, or given up when it is a single tag.
    pub fn split(&mut self, items: &[Item], index: usize) {
        let Range { start, end } = self.blocks[index].members.clone();
        if end - start < 2 {
            self.blocks[index].refused = true;
            return;
        }
        let middle = start.midpoint(end);
        let halves = [start..middle, middle..end].map(|members| self.block(items, members));
        self.blocks.splice(index..=index, halves);
    }

    /// The block that holds just these members, which all lie in one table.
    fn block(&self, items: &[Item], members: Range<usize>) -> Block {
        let item = |member: &Member| &items[member.tag as usize];
        let first = item(&self.members[members.start]).place;
        let end = self.members[members.clone()].iter().map(|member| item(member).end()).max();
        let count = end.unwrap_or_default() - u32::from(first.start);
        // Part of a block, and no block is longer than 2000.
        let count = u16::try_from(count).unwrap_or(MAX_BITS);
        Block { table: first.table, start: first.start, count, refused: false, members }
    }
}

/// What a request of this table may be, and what it costs: bytes of Modbus TCP, whose heads are 12
/// bytes of the request and 9 of the answer (MODBUS Messaging Implementation Guide V1.0b, 3.1).
pub fn rules(table: Table, limits: Limits, cost: Cost) -> Rules {
    let span_ns = cost.request_ns + (REQUEST_BYTES + ANSWER_HEAD_BYTES) as u64 * cost.byte_ns;
    let gap = u32::from(limits.gap);
    if table.is_bits() {
        Rules { longest: u32::from(limits.coils), gap, span_ns, step: 8, step_ns: cost.byte_ns }
    } else {
        Rules { longest: u32::from(limits.registers), gap, span_ns, step: 1, step_ns: 2 * cost.byte_ns }
    }
}

mod report;
#[cfg(test)]
mod tests;

pub use report::report;
