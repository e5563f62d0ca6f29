//! Type objects.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Bytes of a type's name that are read.
const MAX_NAME_BYTES: usize = 256;
/// Bytes of a name that are read at a time, so that a name at the end of readable memory is still read.
const NAME_CHUNK_BYTES: usize = 32;
/// Types in a method resolution order that are looked at.
const MAX_MRO: u64 = 256;

impl Objects<'_> {
    /// `tp_name` as it is: `list`, but `_asyncio.Future` for a static or C heap type.
    ///
    /// # Errors
    /// When the type cannot be read or has no name.
    pub fn full_type_name(&self, type_object: Address) -> Result<String, ReadError> {
        let name = self
            .memory
            .read_address(type_object.offset(self.offsets.type_object.name))?;
        let mut bytes = Vec::new();
        while bytes.len() < MAX_NAME_BYTES {
            let mut chunk = [0; NAME_CHUNK_BYTES];
            let at = name.offset(bytes.len() as u64);
            // Up to the next boundary, so that no chunk crosses into a page that may not be there.
            let size = NAME_CHUNK_BYTES - at.0 as usize % NAME_CHUNK_BYTES;
            let chunk = chunk.get_mut(..size).unwrap_or_default();
            self.memory.read(at, chunk)?;
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                bytes.extend(chunk.iter().take(end));
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            bytes.extend_from_slice(chunk);
        }
        Err(ReadError::Malformed {
            what: "type",
            address: type_object,
        })
    }

    /// The name of a type without its module, as `type.__name__` gives it.
    ///
    /// # Errors
    /// When the type cannot be read or has no name.
    pub fn type_name(&self, type_object: Address) -> Result<String, ReadError> {
        let name = self.full_type_name(type_object)?;
        Ok(name
            .rsplit_once('.')
            .map_or(name.as_str(), |(_, name)| name)
            .to_owned())
    }

    /// Whether the object is a type, by its own type: `type`, or a metaclass.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn is_type(&self, object: Address) -> Result<bool, ReadError> {
        let metatype = self.type_of(object)?;
        self.is_subtype(metatype, self.types.type_type)
    }

    /// Whether `base` is in the method resolution order of `type_object`.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub fn is_subtype(&self, type_object: Address, base: Address) -> Result<bool, ReadError> {
        if type_object == base {
            return Ok(true);
        }
        let mro = self
            .memory
            .read_address(type_object.offset(self.offsets.type_object.mro))?;
        if mro.is_null() {
            return Ok(false);
        }
        Ok(self.first_tuple_items(mro, MAX_MRO)?.contains(&base))
    }
}
