//! Which version of CPython an interpreter is.

use super::FindError;
use super::again::look_again;
use crate::layout::{Table, Version};
use crate::memory::{Address, Fault, Memory};
use crate::python::{Objects, ReadError, Types, readable};

/// The version that the symbol `Py_Version` says (`const unsigned long`, 3.11+).
pub(super) fn by_symbol(memory: &dyn Memory, symbol: Address) -> Result<Version, Fault> {
    let hex = memory.read_u64(symbol)?;
    Ok(Version::from_hex(u32::try_from(hex).unwrap_or(u32::MAX)))
}

/// The version of an interpreter that has no such symbol, with its table: the one by which one finds `sys.hexversion`, and that it is of this
/// version.
pub(super) fn by_table(
    memory: &dyn Memory,
    types: &Types,
    runtime: Address,
    image: &str,
) -> Result<(Version, Table), FindError> {
    // One that has just begun adds to the dicts on the way to its version.
    let is_doubtful = |result: &Result<_, FindError>| result.as_ref().is_err_and(FindError::is_momentary);
    look_again(memory, is_doubtful, || {
        try_by_table(memory, types, runtime, image)
    })
}

fn try_by_table(
    memory: &dyn Memory,
    types: &Types,
    runtime: Address,
    image: &str,
) -> Result<(Version, Table), FindError> {
    let mut is_initialised = true;
    for (minor, table) in Table::without_version_symbol() {
        let objects = Objects {
            memory,
            offsets: &table.offsets,
            types,
        };
        match readable(hex_version(&objects, runtime))? {
            Some(Some(version)) if version.minor() == minor => return Ok((version, table)),
            // Until there is an interpreter, all of them lead to nothing, but for those that look at something else.
            Some(None) => is_initialised = false,
            Some(Some(_)) | None => {}
        }
    }
    Err(if is_initialised {
        FindError::UnknownBuild {
            image: image.to_owned(),
        }
    } else {
        FindError::NotInitialised
    })
}

/// `sys.hexversion`; `None` where there is none yet.
fn hex_version(objects: &Objects<'_>, runtime: Address) -> Result<Option<Version>, ReadError> {
    let (memory, offsets) = (objects.memory, objects.offsets);
    let interpreter = memory.read_address(runtime.offset(offsets.runtime_interpreters_head))?;
    if interpreter.is_null() {
        return Ok(None);
    }
    let modules = memory.read_address(interpreter.offset(offsets.interpreter.modules))?;
    if modules.is_null() {
        return Ok(None);
    }
    if !objects.is_exactly(modules, objects.types.dict)? {
        return Err(ReadError::Malformed {
            what: "dict",
            address: modules,
        });
    }
    let Some(sys) = objects.dict_get(modules, "sys")? else {
        return Ok(None);
    };
    let Some(hex) = objects.module_attribute(sys, "hexversion")? else {
        return Ok(None);
    };
    if !objects.is_exactly(hex, objects.types.long)? {
        return Ok(None);
    }
    let hex = objects.integer(hex)?.and_then(|hex| u32::try_from(hex).ok());
    Ok(hex.map(Version::from_hex))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::python::image::{Changing, Heap};

    /// More than a runtime's or an interpreter's state has in front of what is looked at.
    const STATE_WORDS: usize = 512;

    /// A process that has got as far as `sys.hexversion`, and where the version is found from.
    struct Begun {
        heap: Heap,
        runtime: Address,
        sys_keys: Address,
    }

    impl Begun {
        fn new(table: &Table, hex: u64) -> Self {
            let mut heap = Heap::new(table.offsets);
            let offsets = table.offsets;
            let [runtime, main] = [(); 2].map(|()| heap.allocate(STATE_WORDS as u64 * 8));
            // The tables of other versions lead to something else.
            for state in [runtime, main] {
                heap.image.write_words(state.0, &[1; STATE_WORDS]);
            }
            let version = heap.object(heap.types.long, 32);
            heap.set(version, offsets.long.digits - 8, 1);
            heap.set(version, offsets.long.digits, hex);
            let names = heap.dict(&[("hexversion", version)]);
            let sys = heap.object(heap.types.module, 64);
            heap.set(sys, offsets.module.dict, names.0);
            let modules = heap.dict(&[("sys", sys)]);
            heap.set(runtime, offsets.runtime_interpreters_head, main.0);
            heap.set(main, offsets.interpreter.modules, modules.0);
            let sys_keys = heap.image.read_address(names.offset(offsets.dict.keys));
            Self {
                heap,
                runtime,
                sys_keys: sys_keys.expect("it was written"),
            }
        }

        fn version(&self, memory: &dyn Memory) -> Result<Version, FindError> {
            by_table(memory, &self.heap.types, self.runtime, "python").map(|(version, _)| version)
        }
    }

    #[test]
    fn looks_again_at_an_interpreter_that_has_just_begun() {
        for ((major, minor), table) in Table::without_version_symbol() {
            let hex = u64::from(major) << 24 | u64::from(minor) << 16 | 0x05f0;
            let begun = Begun::new(&table, hex);
            let expected = Version::from_hex(hex as u32);
            for (looks, is_known) in [(0, true), (5, true), (12, true), (1000, false)] {
                let memory = Changing {
                    image: &begun.heap.image,
                    is_changing: &|address, _| address == begun.sys_keys,
                    looks: Cell::new(looks),
                };
                let found = begun.version(&memory);
                assert_eq!(found.as_ref().ok(), is_known.then_some(&expected), "{found:?}");
            }
        }
    }
}
