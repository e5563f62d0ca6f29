//! `threading.local` objects: what one of them holds for one thread.
//!
//! Facts: `Modules/_threadmodule.c` (`localobject`, `localdummyobject`), introspected in 3.7 to 3.15. Until 3.12 a local has a key of
//! its own, a `str`, under which the thread's dict has the dummy that leads to the attributes. Since 3.13 it is the other way
//! around: a thread has a dummy, under which the local's dict has the attributes.

use super::{Objects, ReadError, non_null};
use crate::memory::Address;

/// Pointers between the head of a local and its dict of dicts (3.13+: `args`, `kw`, `weakreflist`).
const LOCAL_DICTS: u64 = 3 * 8;
/// Words of a thread state that are searched for its dummy: `threading_local_key` is at 288 in 3.13 and 3.14, at 328 in 3.15.
const MAX_THREAD_WORDS: usize = 128;

impl Objects<'_> {
    /// The attribute `name` that the `threading.local` at `local` has in the thread whose state is at `thread`.
    ///
    /// # Errors
    /// When the local, the thread state or a dict cannot be read.
    pub fn thread_local(
        &self,
        local: Address,
        thread: Address,
        name: &str,
    ) -> Result<Option<Address>, ReadError> {
        match self.thread_local_dict(local, thread)? {
            Some(dict) => self.dict_get(dict, name),
            None => Ok(None),
        }
    }

    /// Whether the `threading.local` at `local` has no attributes in the thread whose state is at `thread`.
    ///
    /// # Errors
    /// As [`Objects::thread_local`].
    pub fn thread_local_is_empty(&self, local: Address, thread: Address) -> Result<bool, ReadError> {
        let Some(dict) = self.thread_local_dict(local, thread)? else {
            return Ok(true);
        };
        // `PyDictObject.ma_used`, right behind the header.
        Ok(self.memory.read_u64(dict.offset(self.offsets.header_bytes()))? == 0)
    }

    /// The attributes that the `threading.local` at `local` has in the thread whose state is at `thread`.
    fn thread_local_dict(&self, local: Address, thread: Address) -> Result<Option<Address>, ReadError> {
        let head = self.offsets.header_bytes();
        let first = self.memory.read_address(local.offset(head))?;
        let dict = if !first.is_null() && self.is_exactly(first, self.types.unicode)? {
            self.dict_of_key(first, thread)?
        } else {
            let dicts = self.memory.read_address(local.offset(head + LOCAL_DICTS))?;
            self.dict_of_dummy(local, dicts, thread)?
        };
        match dict {
            Some(dict) if !self.is_exactly(dict, self.types.dict)? => Err(malformed(local)),
            dict => Ok(dict),
        }
    }

    /// Until 3.12. The thread's dict has the very `str` as its key that the local has.
    fn dict_of_key(&self, key: Address, thread: Address) -> Result<Option<Address>, ReadError> {
        let entries = thread.offset(self.offsets.thread.dict);
        let Some(entries) = non_null(self.memory.read_address(entries)?) else {
            return Ok(None);
        };
        let entries = self.dict_items(entries)?;
        match entries.iter().find(|(other, _)| *other == key) {
            Some((_, dummy)) => {
                let dict = dummy.offset(self.offsets.header_bytes());
                Ok(non_null(self.memory.read_address(dict)?))
            }
            None => Ok(None),
        }
    }

    /// Since 3.13. Only the state of its thread refers to a dummy, but for the locals themselves.
    fn dict_of_dummy(
        &self,
        local: Address,
        dicts: Address,
        thread: Address,
    ) -> Result<Option<Address>, ReadError> {
        if dicts.is_null() || !self.is_exactly(dicts, self.types.dict)? {
            return Err(malformed(local));
        }
        let entries = self.dict_items(dicts)?;
        let words = self.pointers(thread, MAX_THREAD_WORDS)?;
        let own = entries.iter().find(|(dummy, _)| words.contains(dummy));
        Ok(own.map(|(_, dict)| *dict))
    }
}

fn malformed(local: Address) -> ReadError {
    ReadError::Malformed {
        what: "thread-local object",
        address: local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Table, Version};
    use crate::python::image::{Heap, MemoryImage};

    /// Kind of a keys object whose entries are hash, key and value.
    const GENERAL: u8 = 0;

    fn heap() -> Heap {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        Heap::new(table.expect("3.12 publishes nothing").offsets)
    }

    /// Two threads with a dict each, `n` being a `str` of the thread's own.
    struct Threads {
        threads: [Address; 2],
        dicts: [Address; 2],
        values: [Address; 2],
    }

    fn threads(heap: &mut Heap) -> Threads {
        let threads = [(); 2].map(|()| heap.allocate(MAX_THREAD_WORDS as u64 * 8));
        let values = ["one", "two"].map(|text| heap.text(text));
        let dicts = values.map(|value| heap.dict(&[("n", value)]));
        Threads {
            threads,
            dicts,
            values,
        }
    }

    fn dict_by_object(heap: &mut Heap, items: &[(Address, Address)]) -> Address {
        let words: Vec<u64> = items
            .iter()
            .flat_map(|(key, value)| [7, key.0, value.0])
            .collect();
        let keys = heap.keys(GENERAL, items.len() as u64, &words);
        let dict = heap.object(heap.types.dict, 48);
        heap.set(dict, heap.offsets.dict.keys, keys.0);
        dict
    }

    #[test]
    fn finds_attributes_by_the_key_of_the_local() {
        let mut heap = heap();
        let it = threads(&mut heap);
        let key = heap.text("thread.local.0x7f00");
        let same_text = heap.text("thread.local.0x7f00");
        let local = heap.object(Address(0x1000), 64);
        heap.set(local, 16, key.0);
        for (thread, dict) in it.threads.into_iter().zip(it.dicts) {
            let dummy = heap.object(Address(0x1000), 32);
            heap.set(dummy, 16, dict.0);
            let entries = dict_by_object(&mut heap, &[(same_text, Address(0x10)), (key, dummy)]);
            heap.set(thread, heap.offsets.thread.dict, entries.0);
        }
        check(&mut heap, local, &it);
        let empty = heap.allocate(1024);
        assert_eq!(heap.objects().thread_local(local, empty, "n"), Ok(None));
    }

    #[test]
    fn finds_attributes_by_the_dummy_of_the_thread() {
        let mut heap = heap();
        let it = threads(&mut heap);
        let dummies = it.threads.map(|thread| {
            let dummy = heap.object(Address(0x1000), 32);
            heap.set(thread, 288, dummy.0);
            dummy
        });
        let items: Vec<_> = dummies.into_iter().zip(it.dicts).collect();
        let dicts = dict_by_object(&mut heap, &items);
        let arguments = heap.tuple(&[]);
        let local = heap.object(Address(0x1000), 64);
        heap.set(local, 16, arguments.0);
        heap.set(local, 40, dicts.0);
        check(&mut heap, local, &it);
        let other = heap.allocate(1024);
        assert_eq!(heap.objects().thread_local(local, other, "n"), Ok(None));
    }

    fn check(heap: &mut Heap, local: Address, it: &Threads) {
        for (thread, value) in it.threads.into_iter().zip(it.values) {
            let found = heap.objects().thread_local(local, thread, "n");
            assert_eq!(found, Ok(Some(value)));
            let missing = heap.objects().thread_local(local, thread, "m");
            assert_eq!(missing, Ok(None));
            assert_eq!(heap.objects().thread_local_is_empty(local, thread), Ok(true));
        }
        for dict in it.dicts {
            heap.set(dict, 16, 1);
        }
        for thread in it.threads {
            assert_eq!(heap.objects().thread_local_is_empty(local, thread), Ok(false));
        }
    }

    #[test]
    fn refuses_what_is_no_local() {
        let mut heap = heap();
        let it = threads(&mut heap);
        let nothing = heap.object(Address(0x1000), 64);
        let found = heap.objects().thread_local(nothing, it.threads[0], "n");
        assert_eq!(found, Err(malformed(nothing)));
        let (list, arguments) = (heap.list(&[]), heap.tuple(&[]));
        let local = heap.object(Address(0x1000), 64);
        heap.set(local, 16, arguments.0);
        heap.set(local, 40, list.0);
        let found = heap.objects().thread_local(local, it.threads[0], "n");
        assert_eq!(found, Err(malformed(local)));
    }
}
