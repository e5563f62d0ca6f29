//! `list` and `tuple` objects.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Items that a list or tuple may have.
pub const MAX_ITEMS: u64 = 1 << 20;

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
