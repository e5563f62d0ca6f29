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
        self.first_list_items(list, MAX_ITEMS)
    }

    /// The first items of a `list`, at most `limit`.
    ///
    /// # Errors
    /// As [`Objects::list_items`].
    pub fn first_list_items(&self, list: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        let count = self.item_count("list", list, self.offsets.list.size)?;
        let items = self.memory.read_address(list.offset(self.offsets.list.items))?;
        self.pointers(items, count.min(limit) as usize)
    }

    /// The items of a `tuple`.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_ITEMS`] items.
    pub fn tuple_items(&self, tuple: Address) -> Result<Vec<Address>, ReadError> {
        self.first_tuple_items(tuple, MAX_ITEMS)
    }

    /// The first items of a `tuple`, at most `limit`.
    ///
    /// # Errors
    /// As [`Objects::tuple_items`].
    pub fn first_tuple_items(&self, tuple: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        let count = self.item_count("tuple", tuple, self.offsets.tuple.size)?;
        self.pointers(tuple.offset(self.offsets.tuple.items), count.min(limit) as usize)
    }

    /// The items of a `set`, in the order of its table.
    ///
    /// # Errors
    /// When it cannot be read or has more than [`MAX_SET_SLOTS`] slots.
    pub fn set_items(&self, set: Address) -> Result<Vec<Address>, ReadError> {
        let slots = self.set_slots(set)?;
        let table = self.memory.read_address(set.offset(self.offsets.set.table))?;
        let mut items = Vec::new();
        for start in (0..slots).step_by(CHUNK_SLOTS as usize) {
            let count = CHUNK_SLOTS.min(slots - start);
            let words = self.pointers(table.offset(start * SLOT_BYTES), count as usize * 2)?;
            let (chunk, _) = words.as_chunks::<2>();
            let used = chunk.iter().filter(|[_, hash]| hash.0 != DUMMY_HASH);
            items.extend(used.filter_map(|[key, _]| non_null(*key)));
        }
        Ok(items)
    }

    /// The items of a set, list or tuple; of anything else none.
    ///
    /// # Errors
    /// As the readers of these.
    pub fn collection_items(&self, object: Address) -> Result<Vec<Address>, ReadError> {
        let type_object = self.type_of(object)?;
        if type_object == self.types.set {
            self.set_items(object)
        } else if type_object == self.types.list {
            self.list_items(object)
        } else if type_object == self.types.tuple {
            self.tuple_items(object)
        } else {
            Ok(Vec::new())
        }
    }

    /// How many places [`Objects::collection_items`] has to look at.
    ///
    /// # Errors
    /// As the readers of these.
    pub fn collection_slots(&self, object: Address) -> Result<u64, ReadError> {
        let type_object = self.type_of(object)?;
        if type_object == self.types.set {
            self.set_slots(object)
        } else if type_object == self.types.list {
            self.item_count("list", object, self.offsets.list.size)
        } else if type_object == self.types.tuple {
            self.item_count("tuple", object, self.offsets.tuple.size)
        } else {
            Ok(0)
        }
    }

    fn set_slots(&self, set: Address) -> Result<u64, ReadError> {
        let mask = self.memory.read_u64(set.offset(self.offsets.set.mask))?;
        if mask >= MAX_SET_SLOTS || !(mask + 1).is_power_of_two() {
            return Err(ReadError::Malformed {
                what: "set",
                address: set,
            });
        }
        Ok(mask + 1)
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
