//! `dict` objects, also those whose values are kept apart from their keys.

use awaitwhat_common::layout::{ENTRY, UNICODE_ENTRY, keys_of_kinds as keys, sized_keys};

use super::{Objects, ReadError, non_null, readable};
use crate::layout::DictKeys;
use crate::memory::Address;

/// Entries of a dict that are looked at.
pub const MAX_ENTRIES: u64 = 1 << 16;
/// Why a dict with more is not searched.
const TOO_MANY: ReadError = ReadError::Exhausted {
    what: "entries of a dict",
};
/// Keys that dicts share of which the number is looked for (`SHARED_KEYS_MAX_SIZE`, 30 since 3.11, is less).
const MAX_SHARED_KEYS: u64 = 128;
/// Entries that are read at a time.
const CHUNK_ENTRIES: u64 = 1024;

/// The largest index of a dict that is believed: of a [`sized_keys`] its numbers have up to 32 bits.
const MAX_SLOTS: u64 = 1 << 31;
/// Words in front of that index.
const SIZED_KEYS_WORDS: usize = sized_keys::INDEX as usize / 8;

/// The entries of a keys object, and where their values are.
#[derive(Clone, Copy)]
pub(super) struct Entries {
    /// The keys object.
    keys: Address,
    first: Address,
    count: u64,
    /// Words per entry.
    stride: u64,
    /// Where the values are when they are not in the entries.
    values: Option<Address>,
}

/// One entry of a dict.
#[derive(Clone, Copy)]
struct Entry {
    /// Its number in the order of insertion.
    number: u64,
    key: Address,
    value: Address,
}

/// What a search of a dict has found: it holds until keys are added to the dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The keys object, and how many entries it had.
    keys: Address,
    count: u64,
    /// The number of the entry; `None` where there was none with that key.
    entry: Option<u64>,
}

impl Objects<'_> {
    /// As [`Objects::dict_get`], of a dict that was searched for this key before: `known` tells what was found, and is brought up to date.
    /// Unless keys were added, that takes a few reads, however large the dict is.
    ///
    /// # Errors
    /// When the dict cannot be read or has more than [`MAX_ENTRIES`] entries.
    pub fn dict_get_again(
        &self,
        dict: Address,
        key: &str,
        known: &mut Option<Search>,
    ) -> Result<Option<Address>, ReadError> {
        let entries = self.dict_entries(dict)?;
        if let Some(Search { keys, count, entry }) = *known
            && (keys, count) == (entries.keys, entries.count)
        {
            let Some(number) = entry else {
                return Ok(None);
            };
            // A key that was deleted leaves an empty entry.
            let again = Entries {
                first: entries.first.offset(number * entries.stride * 8),
                count: 1,
                values: entries.values.map(|values| values.offset(number * 8)),
                ..entries
            };
            if let Some(found) = self.find_entry(&again, key)? {
                return Ok(Some(found.value));
            }
        }
        let found = self.find_entry(&entries, key)?;
        *known = Some(Search {
            keys: entries.keys,
            count: entries.count,
            entry: found.map(|found| found.number),
        });
        Ok(found.map(|found| found.value))
    }

    /// The value of a key that is a `str` with this ASCII text.
    ///
    /// # Errors
    /// When the dict cannot be read or has more than [`MAX_ENTRIES`] entries.
    pub fn dict_get(&self, dict: Address, key: &str) -> Result<Option<Address>, ReadError> {
        self.find_in_entries(&self.dict_entries(dict)?, key)
    }

    /// The keys and values of a dict, in the order of insertion.
    ///
    /// # Errors
    /// When the dict cannot be read or has more than [`MAX_ENTRIES`] entries.
    pub fn dict_items(&self, dict: Address) -> Result<Vec<(Address, Address)>, ReadError> {
        let mut items = Vec::new();
        let entries = self.dict_entries(dict)?;
        self.for_each_entry(&entries, |_, key, value| {
            items.push((key, value));
            Ok(false)
        })?;
        Ok(items)
    }

    /// The key of a dict that is a `str` with this ASCII text.
    pub(super) fn dict_key(&self, dict: Address, text: &str) -> Result<Option<Address>, ReadError> {
        let entry = self.find_entry(&self.dict_entries(dict)?, text)?;
        Ok(entry.map(|entry| entry.key))
    }

    pub(super) fn find_in_entries(
        &self,
        entries: &Entries,
        name: &str,
    ) -> Result<Option<Address>, ReadError> {
        Ok(self.find_entry(entries, name)?.map(|entry| entry.value))
    }

    /// The entry whose key is a `str` with this ASCII text.
    fn find_entry(&self, entries: &Entries, name: &str) -> Result<Option<Entry>, ReadError> {
        let mut found = None;
        self.for_each_entry(entries, |number, key, value| {
            // A key that is no string has another name, whatever it is.
            let is_equal = readable(self.str_equals(key, name))?.unwrap_or(false);
            found = is_equal.then_some(Entry { number, key, value });
            Ok(is_equal)
        })?;
        Ok(found)
    }

    /// The number of the key `name` among the keys that dicts share.
    pub(super) fn key_index(&self, keys: Address, name: &str) -> Result<Option<u64>, ReadError> {
        Ok(self.find_shared_key(keys, name)?.map(|(index, _)| index))
    }

    /// That key itself.
    pub(super) fn shared_key(&self, keys: Address, name: &str) -> Result<Option<Address>, ReadError> {
        Ok(self.find_shared_key(keys, name)?.map(|(_, key)| key))
    }

    fn find_shared_key(&self, keys: Address, name: &str) -> Result<Option<(u64, Address)>, ReadError> {
        let entries = self.key_entries(keys, None)?;
        for index in 0..entries.count.min(MAX_SHARED_KEYS) {
            // The key comes right before the value.
            let key = entries
                .first
                .offset((index * entries.stride + entries.stride - 2) * 8);
            let key = self.memory.read_address(key)?;
            if !key.is_null() && self.str_equals(key, name)? {
                return Ok(Some((index, key)));
            }
        }
        Ok(None)
    }

    fn dict_entries(&self, dict: Address) -> Result<Entries, ReadError> {
        let offsets = &self.offsets.dict;
        let keys = self.memory.read_address(dict.offset(offsets.keys))?;
        let values = self.memory.read_address(dict.offset(offsets.values))?;
        self.key_entries(keys, non_null(values))
    }

    /// The entries of a keys object, with the `PyDictValues` at `values`.
    pub(super) fn key_entries(&self, object: Address, values: Option<Address>) -> Result<Entries, ReadError> {
        match self.offsets.dict.keys_format {
            DictKeys::Sized => self.sized_key_entries(object, values),
            DictKeys::OfKinds => self.key_entries_of_kinds(object, values),
        }
    }

    fn sized_key_entries(&self, object: Address, values: Option<Address>) -> Result<Entries, ReadError> {
        let words = self.pointers(object, SIZED_KEYS_WORDS)?;
        let word = |offset: u64| words.get(offset as usize / 8).map_or(u64::MAX, |word| word.0);
        let (slots, count) = (word(sized_keys::SLOTS), word(sized_keys::ENTRY_COUNT));
        if !slots.is_power_of_two() || slots > MAX_SLOTS || count > slots {
            return Err(ReadError::Malformed {
                what: "dict",
                address: object,
            });
        }
        if count > MAX_ENTRIES {
            return Err(TOO_MANY);
        }
        let slot_bytes = if slots <= sized_keys::MAX_BYTE_SLOTS {
            1
        } else if slots <= sized_keys::MAX_SHORT_SLOTS {
            2
        } else {
            4
        };
        Ok(Entries {
            keys: object,
            first: object.offset(sized_keys::INDEX + slots * slot_bytes),
            count,
            stride: ENTRY / 8,
            values,
        })
    }

    fn key_entries_of_kinds(&self, object: Address, values: Option<Address>) -> Result<Entries, ReadError> {
        let malformed = ReadError::Malformed {
            what: "dict",
            address: object,
        };
        let mut header = [0; keys::INDEX as usize];
        self.memory.read(object, &mut header)?;
        let byte = |offset: u64| header.get(offset as usize).copied().unwrap_or(u8::MAX);
        let index_bytes = 1_u64
            .checked_shl(u32::from(byte(keys::LOG2_INDEX_BYTES)))
            .ok_or(malformed)?;
        let count = header
            .last_chunk()
            .map_or(u64::MAX, |count| u64::from_le_bytes(*count));
        let stride = match byte(keys::KIND) {
            keys::GENERAL => ENTRY / 8,
            keys::UNICODE | keys::SPLIT => UNICODE_ENTRY / 8,
            _ => return Err(malformed),
        };
        if count > MAX_SLOTS {
            return Err(malformed);
        }
        if count > MAX_ENTRIES {
            return Err(TOO_MANY);
        }
        let first = object.offset(keys::INDEX).offset(index_bytes);
        let values = values.map(|values| values.offset(self.offsets.dict.first_value));
        Ok(Entries {
            keys: object,
            first,
            count,
            stride,
            values,
        })
    }

    /// Calls `visit` with the number, the key and the value of each entry until it returns true.
    fn for_each_entry(
        &self,
        entries: &Entries,
        mut visit: impl FnMut(u64, Address, Address) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        for start in (0..entries.count).step_by(CHUNK_ENTRIES as usize) {
            let count = CHUNK_ENTRIES.min(entries.count - start);
            let chunk = entries.first.offset(start * entries.stride * 8);
            let words = self.pointers(chunk, (count * entries.stride) as usize)?;
            let values = match entries.values {
                Some(values) => Some(self.pointers(values.offset(start * 8), count as usize)?),
                None => None,
            };
            for ((number, index), entry) in (start..)
                .zip(0..)
                .zip(words.chunks_exact(entries.stride as usize))
            {
                let [.., key, value] = *entry else { continue };
                let value = values
                    .as_ref()
                    .map_or(Some(value), |values| values.get::<usize>(index).copied());
                if let (Some(key), Some(value)) = (non_null(key), value.and_then(non_null))
                    && visit(number, key, value)?
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
const _: () = assert!(
    keys::ENTRY_COUNT + 8 == keys::INDEX,
    "the count is read as the last word of the header"
);
