//! `list`, `tuple` and `set` objects.

use super::{Objects, ReadError, non_null};
use crate::memory::Address;

/// Items of a list or tuple that are read.
pub const MAX_ITEMS: u64 = 1 << 20;
/// Slots of a set that are looked at.
pub const MAX_SET_SLOTS: u64 = 1 << 22;
/// Slots that are read at a time.
const CHUNK_SLOTS: u64 = 4096;
/// Bytes of a slot of a set: `setentry { key, hash }`.
const SLOT_BYTES: u64 = 16;
/// The hash of a slot whose item was removed (setobject.c: dummy); no object has it.
const DUMMY_HASH: u64 = u64::MAX;

impl Objects<'_> {
    /// The items of a `list`.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_ITEMS`] items.
    pub fn list_items(&self, list: Address) -> Result<Vec<Address>, ReadError> {
        let offsets = &self.offsets.list;
        let count = self.item_count("list", list, offsets.size)?;
        let items = self.memory.read_address(list.offset(offsets.items))?;
        self.pointers(items, count)
    }

    /// The items of a `tuple`.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_ITEMS`] items.
    pub fn tuple_items(&self, tuple: Address) -> Result<Vec<Address>, ReadError> {
        let offsets = &self.offsets.tuple;
        let count = self.item_count("tuple", tuple, offsets.size)?;
        self.pointers(tuple.offset(offsets.items), count)
    }

    /// The items of a `set`, in the order of its table.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_SET_SLOTS`] slots.
    pub fn set_items(&self, set: Address) -> Result<Vec<Address>, ReadError> {
        let offsets = &self.offsets.set;
        let mask = self.memory.read_u64(set.offset(offsets.mask))?;
        if mask >= MAX_SET_SLOTS || !(mask + 1).is_power_of_two() {
            return Err(ReadError::Malformed {
                what: "set",
                address: set,
            });
        }
        let table = self.memory.read_address(set.offset(offsets.table))?;
        let mut items = Vec::new();
        for start in (0..=mask).step_by(CHUNK_SLOTS as usize) {
            let slots = CHUNK_SLOTS.min(mask + 1 - start);
            let words = self.pointers(table.offset(start * SLOT_BYTES), slots as usize * 2)?;
            let (slots, _) = words.as_chunks::<2>();
            items.extend(
                slots
                    .iter()
                    .filter(|[_, hash]| hash.0 != DUMMY_HASH)
                    .filter_map(|[key, _]| non_null(*key)),
            );
        }
        Ok(items)
    }

    fn item_count(&self, what: &'static str, object: Address, offset: u64) -> Result<usize, ReadError> {
        let count = self.memory.read_u64(object.offset(offset))?;
        if count > MAX_ITEMS {
            return Err(ReadError::Malformed {
                what,
                address: object,
            });
        }
        Ok(count as usize)
    }
}
