//! Interpreters without symbols: linked statically into a program that exports none, so that nothing of them is named in memory.
//!
//! Since 3.13 `_PyRuntime` begins with a cookie, which is searched for, and what it publishes leads to `sys.modules`. From there
//! on an object's type is found through an object.

use super::FindError;
use crate::layout::{COOKIE, Offsets, Version, published_version};
use crate::memory::{Address, Mapping, Memory};
use crate::python::{Objects, Types};

/// Bytes of a process's writable data that are searched; CPython's own is below one MiB.
const MAX_SEARCHED: u64 = 32 << 20;
/// The smallest data that can have one: `_PyRuntime` of 3.13 to 3.15 has more than 256 KiB, as it contains the main interpreter.
const MIN_DATA: u64 = 64 << 10;
/// Bytes that are read at a time.
const CHUNK: u64 = 28 << 10;

/// Address, image and version of a `_PyRuntime` in the data of a mapped file.
pub(super) fn find_runtime<'a>(
    memory: &dyn Memory,
    mappings: &'a [Mapping],
) -> Option<(Address, &'a Mapping, Version)> {
    let mut left = MAX_SEARCHED;
    // An interpreter that runs has written to its own.
    let data = mappings.iter().filter(|mapping| {
        mapping.readable
            && mapping.written
            && mapping.file.is_some()
            && mapping.end.0.saturating_sub(mapping.start.0) >= MIN_DATA
    });
    for mapping in data {
        let mut start = mapping.start;
        while start < mapping.end && left > 0 {
            let length = CHUNK.min(mapping.end.0 - start.0).min(left);
            if let Some((address, version)) = search(memory, start, length) {
                return Some((address, mapping, version));
            }
            start = start.offset(length);
            left -= length;
        }
        // It is not read again.
        memory.forget();
    }
    None
}

fn search(memory: &dyn Memory, start: Address, length: u64) -> Option<(Address, Version)> {
    let mut bytes = vec![0; length as usize];
    memory.read(start, &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    words
        .iter()
        .enumerate()
        .filter(|(_, word)| u64::from_le_bytes(**word) == COOKIE)
        .find_map(|(index, _)| {
            let address = start.offset(index as u64 * 8);
            Some((address, published_version(memory, address)?))
        })
}

/// The types that objects of the interpreter have, and those that its modules name.
pub(super) fn find_types(
    memory: &dyn Memory,
    offsets: &Offsets,
    runtime: Address,
) -> Result<Types, FindError> {
    let main = memory.read_address(runtime.offset(offsets.runtime_interpreters_head))?;
    if main.is_null() {
        return Err(FindError::NotInitialised);
    }
    let modules = memory.read_address(main.offset(offsets.interpreter.modules))?;
    if modules.is_null() {
        return Err(FindError::NotInitialised);
    }
    let mut types = Types::default();
    let type_of = |object: Address| memory.read_address(object.offset(offsets.object_type));
    types.dict = type_of(modules)?;
    types.type_type = type_of(types.dict)?;
    let bare = types;
    let objects = Objects {
        memory,
        offsets,
        types: &bare,
    };
    let builtins = objects
        .dict_get(modules, "builtins")?
        .ok_or(FindError::NotInitialised)?;
    types.module = type_of(builtins)?;
    let known = types;
    let named = Named {
        objects: Objects {
            types: &known,
            ..objects
        },
        modules,
    };
    Ok(Types {
        unicode: named.find("builtins", "str")?,
        bytes: named.find("builtins", "bytes")?,
        long: named.find("builtins", "int")?,
        list: named.find("builtins", "list")?,
        tuple: named.find("builtins", "tuple")?,
        set: named.find("builtins", "set")?,
        none: named.find("builtins", "None")?,
        code: named.find("types", "CodeType")?,
        function: named.find("types", "FunctionType")?,
        cell: named.find("types", "CellType")?,
        coroutine: named.find("types", "CoroutineType")?,
        generator: named.find("types", "GeneratorType")?,
        async_generator: named.find("types", "AsyncGeneratorType")?,
        weak_reference: named.find("_weakref", "ref")?,
        ..known
    })
}

/// Objects by the names that modules give them.
struct Named<'a> {
    objects: Objects<'a>,
    modules: Address,
}

impl Named<'_> {
    fn find(&self, module: &'static str, name: &'static str) -> Result<Address, FindError> {
        let found = match self.objects.dict_get(self.modules, module)? {
            Some(object) => self.objects.module_attribute(object, name)?,
            None => None,
        };
        found.ok_or(FindError::Unnamed { module, name })
    }
}

#[cfg(test)]
mod tests {
    use super::find_runtime;
    use crate::layout::COOKIE;
    use crate::memory::{Address, Mapping};
    use crate::python::image::MemoryImage;

    /// CPython 3.13.0.
    const VERSION: u64 = 0x030d_00f0;
    const DATA: u64 = 0x10_0000;
    const LENGTH: u64 = 0x2_0000;

    fn found(image: &MemoryImage, change: impl Fn(&mut Mapping)) -> Option<Address> {
        let mut mapping = Mapping {
            start: Address(DATA),
            end: Address(DATA + LENGTH),
            readable: true,
            writable: true,
            executable: false,
            written: true,
            file_offset: 0x1000,
            file: Some(1),
            name: "shop-server".to_owned(),
        };
        change(&mut mapping);
        find_runtime(image, &[mapping]).map(|(address, ..)| address)
    }

    fn image(words: &[u64], at: u64) -> MemoryImage {
        let mut image = MemoryImage::default();
        image.write(DATA, &vec![0; LENGTH as usize]);
        image.write_words(at, words);
        image
    }

    #[test]
    fn published_offsets_are_found_in_data_only() {
        let at = DATA + LENGTH - 16;
        let image = image(&[COOKIE, VERSION], at);
        assert_eq!(found(&image, |_| {}), Some(Address(at)));
        assert_eq!(found(&image, |mapping| mapping.written = false), None);
        assert_eq!(found(&image, |mapping| mapping.readable = false), None);
        let small = |mapping: &mut Mapping| mapping.start = Address(at & !0xfff);
        assert_eq!(found(&image, small), None);
        assert_eq!(found(&image, |mapping| mapping.file = None), None);
    }

    #[test]
    fn a_cookie_without_a_version_is_passed_over() {
        let words = [COOKIE, 0, COOKIE, u64::MAX, COOKIE, VERSION];
        assert_eq!(found(&image(&words, DATA), |_| {}), Some(Address(DATA + 32)));
        assert_eq!(found(&image(&[COOKIE, 0x0200_0000], DATA), |_| {}), None);
    }

    #[test]
    fn the_search_is_bounded() {
        let endless = |mapping: &mut Mapping| mapping.end = Address(u64::MAX);
        assert_eq!(found(&image(&[], DATA), endless), None);
    }
}
