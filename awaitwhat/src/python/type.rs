//! Type objects.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Bytes of a type's name that are read.
const MAX_NAME_BYTES: usize = 256;
/// Bytes of a name that are read at a time, so that a name at the end of readable memory is still read.
const NAME_CHUNK_BYTES: usize = 32;
/// Types in a method resolution order that are looked at.
const MAX_MRO: u64 = 256;

/// `tp_members` lies so far before `tp_dictoffset` (`methods` and `getset` beside it, then `base`, `dict`, `descr_get`, `descr_set`; in all
/// of 3.7 to 3.15, `cpython/object.h`).
const MEMBERS_BEFORE_DICT_OFFSET: u64 = 48;
/// `sizeof(PyMemberDef)`: name, type, offset, flags, documentation.
const MEMBER_BYTES: u64 = 40;
/// Members of a type that are looked at.
const MAX_MEMBERS: u64 = 32;

impl Objects<'_> {
    /// `tp_name` as it is: `list`, but `_asyncio.Future` for a static or C heap type.
    ///
    /// # Errors
    /// When the type cannot be read or has no name.
    pub fn full_type_name(&self, type_object: Address) -> Result<String, ReadError> {
        let name = self
            .memory
            .read_address(type_object.offset(self.offsets.type_object.name))?;
        self.c_string(name, type_object)
    }

    /// A text that ends with a zero byte, and belongs to a type.
    pub(super) fn c_string(&self, name: Address, type_object: Address) -> Result<String, ReadError> {
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

    /// The members of a type that are objects (`T_OBJECT`, 6, and `T_OBJECT_EX`, 16, of `structmember.h`), with their offsets: those that
    /// it declares in C by `tp_members`.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub(crate) fn object_members(&self, type_object: Address) -> Result<Vec<(String, u16)>, ReadError> {
        let at = self
            .offsets
            .type_object
            .dict_offset
            .wrapping_sub(MEMBERS_BEFORE_DICT_OFFSET);
        let table = self.memory.read_address(type_object.offset(at))?;
        let mut members = Vec::new();
        for index in 0..MAX_MEMBERS {
            let member = table.offset(index * MEMBER_BYTES);
            if table.is_null() || self.memory.read_address(member)?.is_null() {
                break;
            }
            let name = self.c_string(self.memory.read_address(member)?, type_object)?;
            let kind = self.read_u32(member.offset(8))?;
            let offset = self.memory.read_u64(member.offset(16))?;
            if let (6 | 16, Ok(offset)) = (kind, u16::try_from(offset)) {
                members.push((name, offset));
            }
        }
        Ok(members)
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

    /// As [`Objects::type_name`], of what is asked first whether it is a type.
    ///
    /// # Errors
    /// When it is none, or cannot be read.
    pub fn checked_type_name(&self, type_object: Address) -> Result<String, ReadError> {
        if !self.is_type(type_object)? {
            return Err(ReadError::Malformed {
                what: "type",
                address: type_object,
            });
        }
        self.type_name(type_object)
    }

    /// The names of a type and of those that it is derived from, in the order of resolution; of what is asked first whether it is a type.
    ///
    /// # Errors
    /// When it is none, or cannot be read.
    pub fn names_in_order(&self, type_object: Address) -> Result<Vec<String>, ReadError> {
        let first = self.checked_type_name(type_object)?;
        let mut names = vec![first];
        for base in self.resolution_order(type_object)? {
            if base != type_object {
                names.push(self.type_name(base)?);
            }
        }
        Ok(names)
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
        Ok(type_object == base || self.resolution_order(type_object)?.contains(&base))
    }

    /// The method resolution order of `type_object`, which is empty where it is not made yet.
    pub(crate) fn resolution_order(&self, type_object: Address) -> Result<Vec<Address>, ReadError> {
        let mro = self
            .memory
            .read_address(type_object.offset(self.offsets.type_object.mro))?;
        if mro.is_null() {
            return Ok(Vec::new());
        }
        self.first_tuple_items(mro, MAX_MRO)
    }
}
