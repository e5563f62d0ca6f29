//! Attributes of instances and of modules.

use super::{Objects, ReadError, non_null};
use crate::layout::ManagedDict;
use crate::memory::Address;

/// `Py_TPFLAGS_INLINE_VALUES` (object.h, 3.13+).
const INLINE_VALUES: u64 = 1 << 2;
/// `Py_TPFLAGS_MANAGED_DICT` (object.h, 3.11+).
const MANAGED_DICT: u64 = 1 << 4;
/// `Py_TPFLAGS_HEAPTYPE` (object.h).
const HEAP_TYPE: u64 = 1 << 9;
/// Words between a managed dict pointer and the object that it belongs to (`MANAGED_DICT_OFFSET`, pycore_object.h).
const MANAGED_DICT_WORDS: u64 = 3;
/// Words between the values pointer of 3.11 and its object (`_PyObject_ValuesPointer`, pycore_object.h).
const VALUES_WORDS: u64 = 4;
/// The largest instance that is believed to have a dict.
const MAX_INSTANCE_BYTES: u64 = 1 << 20;
/// Where `valid` is in a `PyDictValues` of 3.13+.
const VALUES_VALID: u64 = 3;

/// Where the attributes of an instance are.
enum Attributes {
    None,
    Dict(Address),
    Values(Address),
}

impl Objects<'_> {
    /// The instance attribute `name` of an object: what is in its `__dict__`, not what its type has.
    ///
    /// # Errors
    /// When the object, its type or its dict cannot be read.
    pub fn attribute(&self, object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        let type_object = self.type_of(object)?;
        match self.attributes(object, type_object)? {
            Attributes::None => Ok(None),
            Attributes::Dict(dict) => self.dict_get(dict, name),
            Attributes::Values(values) => {
                let keys = self
                    .memory
                    .read_address(type_object.offset(self.offsets.type_object.cached_keys))?;
                self.find_in_entries(&self.key_entries(keys, Some(values))?, name)
            }
        }
    }

    /// The attribute `name` of a module; of anything else, which `sys.modules` can have too, none.
    ///
    /// # Errors
    /// When the module or its dict cannot be read.
    pub fn module_attribute(&self, module: Address, name: &str) -> Result<Option<Address>, ReadError> {
        if !self.is_subtype(self.type_of(module)?, self.types.module)? {
            return Ok(None);
        }
        let dict = self
            .memory
            .read_address(module.offset(self.offsets.module.dict))?;
        if dict.is_null() {
            return Ok(None);
        }
        self.dict_get(dict, name)
    }

    fn attributes(&self, object: Address, type_object: Address) -> Result<Attributes, ReadError> {
        let offsets = &self.offsets.type_object;
        let flags = self.memory.read_u64(type_object.offset(offsets.flags))?;
        if flags & MANAGED_DICT != 0 {
            if flags & HEAP_TYPE == 0 {
                return Err(ReadError::Malformed {
                    what: "type",
                    address: type_object,
                });
            }
            return self.managed_attributes(object, type_object, flags);
        }
        let dict_offset = self.memory.read_u64(type_object.offset(offsets.dict_offset))?;
        if dict_offset == 0 || dict_offset > MAX_INSTANCE_BYTES {
            return Ok(Attributes::None);
        }
        self.dict_at(object.offset(dict_offset))
    }

    fn managed_attributes(
        &self,
        object: Address,
        type_object: Address,
        flags: u64,
    ) -> Result<Attributes, ReadError> {
        let before = |words: u64| object.offset((words * 8).wrapping_neg());
        let dict = before(MANAGED_DICT_WORDS);
        match self.offsets.managed_dict {
            ManagedDict::Pointers => match non_null(self.memory.read_address(before(VALUES_WORDS))?) {
                Some(values) => Ok(Attributes::Values(values)),
                None => self.dict_at(dict),
            },
            ManagedDict::Tagged => match self.memory.read_u64(dict)? {
                0 => Ok(Attributes::None),
                values if values & 1 == 1 => Ok(Attributes::Values(Address(values).offset(1))),
                dict => Ok(Attributes::Dict(Address(dict))),
            },
            ManagedDict::Inline { before } => {
                let dict = object.offset(before.wrapping_neg());
                if let Attributes::Dict(dict) = self.dict_at(dict)? {
                    return Ok(Attributes::Dict(dict));
                }
                let size = self
                    .memory
                    .read_u64(type_object.offset(self.offsets.type_object.basic_size))?;
                if flags & INLINE_VALUES == 0 || size > MAX_INSTANCE_BYTES {
                    return Ok(Attributes::None);
                }
                let values = object.offset(size);
                let mut valid = [0];
                self.memory.read(values.offset(VALUES_VALID), &mut valid)?;
                Ok(if valid == [0] {
                    Attributes::None
                } else {
                    Attributes::Values(values)
                })
            }
        }
    }

    fn dict_at(&self, pointer: Address) -> Result<Attributes, ReadError> {
        Ok(non_null(self.memory.read_address(pointer)?).map_or(Attributes::None, Attributes::Dict))
    }
}
