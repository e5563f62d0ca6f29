//! `list`, `tuple`, `set` and `collections.deque` objects.
//!
//! Facts: `Modules/_collectionsmodule.c` (`dequeobject`, `BLOCK`), `Include/setobject.h` (`setentry`) and
//! `Objects/setobject.c` (`set_discard_entry`) of 3.7 to 3.15.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Items that a list or tuple may have.
pub const MAX_ITEMS: u64 = 1 << 20;
/// Items of a deque that are looked at.
pub const MAX_DEQUE_ITEMS: usize = 10_000;
/// `BLOCKLEN` of a deque.
pub(super) const BLOCK_ITEMS: u64 = 64;
/// The hash of what was taken out of a set, which no object has.
const REMOVED: u64 = u64::MAX;

impl Objects<'_> {
    /// The first items of a `list`, at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_ITEMS`] items.
    pub fn first_list_items(&self, list: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        let count = self.item_count("list", list, self.offsets.list.size)?;
        let items = self.memory.read_address(list.offset(self.offsets.list.items))?;
        self.pointers(items, count.min(limit) as usize)
    }

    /// The first items of a `tuple`, at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_ITEMS`] items.
    pub fn first_tuple_items(&self, tuple: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        let count = self.item_count("tuple", tuple, self.offsets.tuple.size)?;
        self.pointers(tuple.offset(self.offsets.tuple.items), count.min(limit) as usize)
    }

    /// The first items of a `collections.deque`, at most [`MAX_DEQUE_ITEMS`]. The caller knows that it is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_deque_items(&self, deque: Address) -> Result<Vec<Address>, ReadError> {
        let header = self.offsets.header_bytes();
        let word = |index: u64| self.memory.read_u64(deque.offset(header + index * 8));
        let count = usize::try_from(word(0)?)
            .unwrap_or(usize::MAX)
            .min(MAX_DEQUE_ITEMS);
        let (mut block, mut index) = (Address(word(1)?), word(3)?);
        let mut items = Vec::new();
        while items.len() < count && !block.is_null() {
            let left = BLOCK_ITEMS
                .saturating_sub(index)
                .min((count - items.len()) as u64);
            if left == 0 {
                break;
            }
            // The items lie between the links to the blocks before and behind.
            items.extend(self.pointers(block.offset(8 + index * 8), left as usize)?);
            block = self.memory.read_address(block.offset(8 + BLOCK_ITEMS * 8))?;
            index = 0;
        }
        Ok(items)
    }

    /// The items of a `set` in the first `limit` places of its table. The caller knows that it is one.
    ///
    /// # Errors
    /// When it cannot be read or has room for more than [`MAX_ITEMS`] items.
    pub fn first_set_items(&self, set: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        let offsets = &self.offsets.set;
        let mask = self.item_count("set", set, offsets.mask)?;
        let table = self.memory.read_address(set.offset(offsets.table))?;
        let places = mask.saturating_add(1).min(limit);
        let words = self.pointers(table, (places as usize).saturating_mul(2))?;
        let is_there = |entry: &[Address]| !entry[0].is_null() && entry[1].0 != REMOVED;
        let entries = words.chunks_exact(2).filter(|entry| is_there(entry));
        Ok(entries.map(|entry| entry[0]).collect())
    }

    /// An item of a `tuple`; `None` where it has not so many, or is none.
    ///
    /// # Errors
    /// As [`Objects::first_tuple_items`].
    pub(crate) fn tuple_item(&self, tuple: Address, index: u64) -> Result<Option<Address>, ReadError> {
        if !self.is_exactly(tuple, self.types.tuple)? {
            return Ok(None);
        }
        let offsets = self.offsets.tuple;
        if index >= self.item_count("tuple", tuple, offsets.size)? {
            return Ok(None);
        }
        let item = tuple.offset(offsets.items).offset(index.wrapping_mul(8));
        Ok(Some(self.memory.read_address(item)?))
    }

    /// How many items a `tuple` has.
    ///
    /// # Errors
    /// As [`Objects::first_tuple_items`].
    pub(crate) fn tuple_length(&self, tuple: Address) -> Result<u64, ReadError> {
        self.item_count("tuple", tuple, self.offsets.tuple.size)
    }

    fn item_count(&self, what: &'static str, object: Address, offset: u64) -> Result<u64, ReadError> {
        let count = self.memory.read_u64(object.offset(offset))?;
        if count > MAX_ITEMS {
            return Err(ReadError::Malformed {
                what,
                address: object,
            });
        }
        Ok(count)
    }
}
