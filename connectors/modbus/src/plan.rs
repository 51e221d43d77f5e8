//! Which requests read a set of tags.
//!
//! Tags sorted by place are gathered from the left as long as the block stays within the limits.
//! That is the fewest requests possible: a tag that begins later and yet fits where an earlier one
//! did not lies within the earlier one, and is read with it at no cost.

use std::ops::Range;

use forebay_connector::{ByteOrder, DataType, TagSpec};

use crate::address::{self, MAX_BITS, Place, Table};

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
}

/// How far one request may reach.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most registers in a request.
    pub registers: u16,
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
    /// Plans the reading of `tags`, indices into `items`.
    pub fn new(items: &[Item], tags: Vec<u32>, limits: Limits) -> Self {
        let mut members: Vec<Member> =
            tags.iter().enumerate().map(|(slot, tag)| Member { tag: *tag, slot }).collect();
        let item = |member: &Member| &items[member.tag as usize];
        members.sort_by_key(|member| (item(member).place.table, item(member).place.start));
        let mut blocks: Vec<Block> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let item = item(member);
            match blocks.last_mut().and_then(|block| block.with(item, limits).map(|count| (block, count))) {
                Some((block, count)) => {
                    block.count = count;
                    block.members.end = index + 1;
                }
                None => blocks.push(Block {
                    table: item.place.table,
                    start: item.place.start,
                    count: item.count,
                    refused: false,
                    members: index..index + 1,
                }),
            }
        }
        Self { tags, blocks, members }
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

impl Block {
    /// Length of the block with `item` added, `None` when it does not fit.
    fn with(&self, item: &Item, limits: Limits) -> Option<u16> {
        let end = u32::from(self.start) + u32::from(self.count);
        let hole = u32::from(item.place.start).saturating_sub(end);
        let limit = if self.table.is_bits() { MAX_BITS } else { limits.registers };
        let count = u16::try_from(end.max(item.end()) - u32::from(self.start)).ok()?;
        let fits = self.table == item.place.table && hole <= u32::from(limits.gap) && count <= limit;
        fits.then_some(count)
    }
}

#[cfg(test)]
mod tests;
