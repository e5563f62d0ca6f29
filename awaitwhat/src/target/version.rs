//! Which version of CPython an interpreter is.

use super::FindError;
use crate::layout::{Table, Version};
use crate::memory::{Address, Fault, Memory};
use crate::python::{Objects, ReadError, Types};

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
    let mut is_initialised = true;
    for (minor, table) in Table::without_version_symbol() {
        let objects = Objects {
            memory,
            offsets: &table.offsets,
            types,
        };
        match hex_version(&objects, runtime) {
            Ok(Some(version)) if version.minor() == minor => return Ok((version, table)),
            // Until there is an interpreter, all of them lead to nothing, but for those that look at something else.
            Ok(None) => is_initialised = false,
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault.into()),
            _ => {}
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
