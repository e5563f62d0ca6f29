//! A synthetic memory image for tests, and objects of CPython 3.12 in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::layout::{DictKeys, Offsets};
use crate::memory::{Address, Fault, Memory};
use crate::python::{Objects, Types};

const PAGE: u64 = 4096;

/// Pages that exist are zero where nothing was written.
#[derive(Debug, Default)]
pub(crate) struct MemoryImage {
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    /// How many reads there were.
    pub reads: RefCell<u64>,
}

impl MemoryImage {
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = address + index as u64;
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| Box::new([0; PAGE as usize]));
            page[(at % PAGE) as usize] = *byte;
        }
    }

    pub(crate) fn write_words(&mut self, address: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.write(address + index as u64 * 8, &word.to_le_bytes());
        }
    }
}

impl MemoryImage {
    /// All of it from its first page to its last one, and where that is; 0 where there is none between them.
    pub(crate) fn flat(&self) -> (u64, Vec<u8>) {
        let (Some(first), Some(last)) = (self.pages.keys().next(), self.pages.keys().last()) else {
            return (0, Vec::new());
        };
        let pages = (*first..=*last).flat_map(|page| match self.pages.get(&page) {
            Some(bytes) => bytes.to_vec(),
            None => vec![0; PAGE as usize],
        });
        (first * PAGE, pages.collect())
    }
}

impl Memory for MemoryImage {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        *self.reads.borrow_mut() += 1;
        let length = buffer.len();
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = address.0.wrapping_add(index as u64);
            let page = self
                .pages
                .get(&(at / PAGE))
                .ok_or(Fault::Unreadable { address, length })?;
            *byte = page[(at % PAGE) as usize];
        }
        Ok(())
    }
}

/// Memory of a target in the middle of a change: what `is_changing` says, by address and length of a read, is garbage until it was
/// looked at `looks` times more.
pub(crate) struct Changing<'a> {
    pub image: &'a MemoryImage,
    pub is_changing: &'a dyn Fn(Address, usize) -> bool,
    pub looks: Cell<u32>,
}

impl Memory for Changing<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        self.image.read(address, buffer)?;
        if self.looks.get() > 0 && (self.is_changing)(address, buffer.len()) {
            buffer.fill(0xff);
        }
        Ok(())
    }

    fn forget(&self) {
        self.looks.set(self.looks.get().saturating_sub(1));
    }
}

/// A memory image with types, and a place where the next object goes.
pub(crate) struct Heap {
    pub image: MemoryImage,
    pub offsets: Offsets,
    pub types: Types,
    next: u64,
}

impl Heap {
    /// Every type is at an address of its own, and has nothing but a type.
    pub(crate) fn new(offsets: Offsets) -> Self {
        let mut heap = Self {
            image: MemoryImage::default(),
            offsets,
            types: Types::default(),
            next: 0x10_0000,
        };
        let mut new_type = || heap.next_address(0x400);
        let types = Types {
            type_type: new_type(),
            unicode: new_type(),
            bytes: new_type(),
            long: new_type(),
            list: new_type(),
            tuple: new_type(),
            dict: new_type(),
            set: new_type(),
            module: new_type(),
            code: new_type(),
            frame: new_type(),
            function: new_type(),
            cell: new_type(),
            coroutine: new_type(),
            generator: new_type(),
            async_generator: new_type(),
            weak_reference: new_type(),
            none: new_type(),
        };
        heap.types = types;
        heap.image
            .write(0x10_0000, &vec![0; (heap.next - 0x10_0000) as usize]);
        heap
    }

    pub(crate) fn objects(&self) -> Objects<'_> {
        Objects {
            memory: &self.image,
            offsets: &self.offsets,
            types: &self.types,
        }
    }

    fn next_address(&mut self, size: u64) -> Address {
        let address = self.next;
        self.next += size.next_multiple_of(16);
        Address(address)
    }

    /// Memory of `size` zero bytes.
    pub(crate) fn allocate(&mut self, size: u64) -> Address {
        let address = self.next_address(size);
        self.image.write(address.0, &vec![0; size as usize]);
        address
    }

    /// An object of `size` bytes with a type.
    pub(crate) fn object(&mut self, type_object: Address, size: u64) -> Address {
        let address = self.allocate(size);
        self.set(address, self.offsets.object_type, type_object.0);
        address
    }

    pub(crate) fn set(&mut self, object: Address, offset: u64, word: u64) {
        self.image.write_words(object.0 + offset, &[word]);
    }

    /// A compact ASCII `str`.
    pub(crate) fn text(&mut self, text: &str) -> Address {
        self.wide_text(text.len() as u64, 1, true, text.as_bytes())
    }

    /// A compact `str` of any width.
    pub(crate) fn wide_text(&mut self, length: u64, width: u32, is_ascii: bool, data: &[u8]) -> Address {
        let offsets = self.offsets.unicode;
        let start = if is_ascii {
            offsets.ascii_data
        } else {
            offsets.data
        };
        let address = self.object(self.types.unicode, start + data.len() as u64);
        self.set(address, offsets.length, length);
        let state = (width | 1 << 3 | u32::from(is_ascii) << 4) << offsets.kind_shift;
        self.image.write(address.0 + offsets.state, &state.to_le_bytes());
        self.image.write(address.0 + start, data);
        address
    }

    /// A `dict` with text keys.
    pub(crate) fn dict(&mut self, items: &[(&str, Address)]) -> Address {
        let items: Vec<_> = items
            .iter()
            .map(|(key, value)| (self.text(key), *value))
            .collect();
        let keys = match self.offsets.dict.keys_format {
            DictKeys::OfKinds => {
                let words: Vec<u64> = items.iter().flat_map(|(key, value)| [key.0, value.0]).collect();
                self.keys(1, items.len() as u64, &words)
            }
            DictKeys::Sized => self.sized_keys(8, &items),
        };
        let size = self.offsets.dict.keys.max(self.offsets.dict.values) + 8;
        let address = self.object(self.types.dict, size);
        self.set(address, self.offsets.dict.keys, keys.0);
        address
    }

    /// A `PyDictKeysObject` with an index of 8 bytes.
    pub(crate) fn keys(&mut self, kind: u8, count: u64, words: &[u64]) -> Address {
        let address = self.allocate(40 + words.len() as u64 * 8);
        self.image.write(address.0 + 8, &[3, 3, kind]);
        self.set(address, 24, count);
        self.image.write_words(address.0 + 40, words);
        address
    }

    /// A `PyDictKeysObject` of 3.7 to 3.10, with an index of so many slots of a byte; an entry without key is a deleted one.
    pub(crate) fn sized_keys(&mut self, slots: u64, items: &[(Address, Address)]) -> Address {
        let address = self.allocate(40 + slots + items.len() as u64 * 24);
        self.image
            .write_words(address.0, &[1, slots, 0, 0, items.len() as u64]);
        let words: Vec<u64> = items
            .iter()
            .flat_map(|(key, value)| [u64::MAX, key.0, value.0])
            .collect();
        self.image.write_words(address.0 + 40 + slots, &words);
        address
    }

    /// Makes a `str` the one that names in programs refer to.
    pub(crate) fn intern(&mut self, text: Address) -> Address {
        let at = text.offset(self.offsets.unicode.state);
        let mut state = [0];
        self.image.read(at, &mut state).expect("a text has a state");
        self.image.write(at.0, &[state[0] | 1]);
        text
    }

    /// A `list`.
    pub(crate) fn list(&mut self, items: &[Address]) -> Address {
        let words: Vec<u64> = items.iter().map(|item| item.0).collect();
        let array = self.allocate(words.len() as u64 * 8);
        self.image.write_words(array.0, &words);
        let address = self.object(self.types.list, self.offsets.list.items + 16);
        self.set(address, self.offsets.list.size, words.len() as u64);
        self.set(address, self.offsets.list.items, array.0);
        address
    }

    /// A `tuple`.
    pub(crate) fn tuple(&mut self, items: &[Address]) -> Address {
        let words: Vec<u64> = items.iter().map(|item| item.0).collect();
        let offsets = self.offsets.tuple;
        let address = self.object(self.types.tuple, offsets.items + words.len() as u64 * 8);
        self.set(address, offsets.size, words.len() as u64);
        self.image.write_words(address.0 + offsets.items, &words);
        address
    }

    /// A `bytes` object.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> Address {
        let offsets = self.offsets.bytes;
        let address = self.object(self.types.bytes, offsets.value + value.len() as u64);
        self.set(address, offsets.size, value.len() as u64);
        self.image.write(address.0 + offsets.value, value);
        address
    }

    /// A type with a name and flags, whose instances have `basic_size` bytes.
    pub(crate) fn new_type(&mut self, name: &str, flags: u64, basic_size: u64) -> Address {
        let text = self.allocate(name.len() as u64 + 1);
        self.image.write(text.0, name.as_bytes());
        let offsets = self.offsets.type_object;
        let address = self.object(self.types.type_type, 1024);
        self.set(address, offsets.name, text.0);
        self.set(address, offsets.flags, flags);
        self.set(address, offsets.basic_size, basic_size);
        address
    }
}
