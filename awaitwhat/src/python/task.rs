//! Tasks' names.

use super::{Objects, ReadError};
use crate::memory::Fragment;

impl Objects<'_> {
    /// The name of a task, from the object that names it as a record has it: a `str`, or a number where CPython has not made the name
    /// yet, since nobody has asked for it (`Task-N`, `_asynciomodule.c` of 3.13). What else names a task is called by its type, which
    /// alone is read from memory, and asked whether it is one.
    ///
    /// # Errors
    /// When the record does not have what it takes.
    pub fn task_name(&self, name: Fragment<'_>) -> Result<String, ReadError> {
        let seen = Objects {
            memory: &name,
            ..*self
        };
        let type_object = seen.type_of(name.start)?;
        if type_object == self.types.long {
            let number = seen.integer(name.start)?;
            return Ok(number.map_or_else(|| "Task-?".to_owned(), |number| format!("Task-{number}")));
        }
        let end = name.start.offset(name.bytes.len() as u64);
        if type_object == self.types.unicode {
            return Ok(seen.text_until(name.start, end)?.into_shown());
        }
        let type_name = self.checked_type_name(type_object)?;
        if self.is_subtype(type_object, self.types.unicode)? {
            return Ok(seen.text_until(name.start, end)?.into_shown());
        }
        Ok(format!("<{type_name} object at {}>", name.start))
    }
}

#[cfg(test)]
mod tests {
    use crate::layout::{Table, Version};
    use crate::memory::{Address, Fragment};
    use crate::python::image::{Heap, MemoryImage};

    fn heap() -> Heap {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        Heap::new(table.expect("3.12 publishes nothing").offsets)
    }

    /// The first words of an object.
    fn words(heap: &Heap, object: Address, count: usize) -> Vec<u8> {
        let objects = heap.objects();
        let mut bytes = vec![0; count * 8];
        // What lies behind the object may not be there.
        for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
            let _ = objects.memory.read(object.offset(at as u64 * 8), word);
        }
        bytes
    }

    #[test]
    fn a_name_is_what_its_record_has() {
        let mut heap = heap();
        let name = heap.text("client-7");
        let bytes = words(&heap, name, 8);
        // What lies there now says nothing.
        for word in 0..6 {
            heap.set(name, word * 8, 0xdead_beef);
        }
        let fragment = Fragment {
            start: name,
            bytes: &bytes,
        };
        assert_eq!(heap.objects().task_name(fragment).as_deref(), Ok("client-7"));
    }

    #[test]
    fn a_name_that_a_record_has_in_part_is_cut() {
        let mut heap = heap();
        let name = heap.text("0123456789abcdefghijklmnopqrstuvwxyz");
        let bytes = words(&heap, name, 7);
        let shown = |bytes| heap.objects().task_name(Fragment { start: name, bytes });
        assert_eq!(shown(&bytes).as_deref(), Ok("0123456789abcdef\u{2026}"));
        assert!(shown(&bytes[..8]).is_err(), "not even its type");
    }

    #[test]
    fn what_is_of_no_type_is_no_name() {
        let mut heap = heap();
        let no_type = heap.allocate(64);
        let object = heap.allocate(64);
        heap.set(object, 8, no_type.0);
        let bytes = words(&heap, object, 8);
        let fragment = Fragment {
            start: object,
            bytes: &bytes,
        };
        assert!(heap.objects().task_name(fragment).is_err());
    }
}
