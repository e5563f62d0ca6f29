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

/// Where instances of one class have their attributes, and the keys that they share as long as none has a dict with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedAttributes {
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub keys: Address,
    /// Where the values are that an instance has in itself.
    pub inline_values: Option<u64>,
    /// Where the pointers to the values and to the dict are, in bytes from the instance on; 0 where there is none. In 3.12 they are one.
    pub values_pointer: i64,
    pub dict_pointer: i64,
}

impl Objects<'_> {
    /// Where instances of a class have their attributes; `None` where they have none, or share no keys.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub(crate) fn shared_attributes(
        &self,
        type_object: Address,
    ) -> Result<Option<SharedAttributes>, ReadError> {
        let offsets = &self.offsets.type_object;
        let flags = self.memory.read_u64(type_object.offset(offsets.flags))?;
        if flags & HEAP_TYPE == 0 {
            return Ok(None);
        }
        let keys = self
            .memory
            .read_address(type_object.offset(offsets.cached_keys))?;
        let size = self.memory.read_u64(type_object.offset(offsets.basic_size))?;
        let dict_offset = self.memory.read_u64(type_object.offset(offsets.dict_offset))?;
        let before = |words: u64| -((words * 8) as i64);
        let (values_pointer, dict_pointer) = match self.offsets.managed_dict {
            _ if keys.is_null() => return Ok(None),
            _ if flags & MANAGED_DICT == 0 => match i64::try_from(dict_offset) {
                Ok(offset @ 1..) => (0, offset),
                _ => return Ok(None),
            },
            ManagedDict::Pointers => (before(VALUES_WORDS), before(MANAGED_DICT_WORDS)),
            ManagedDict::Tagged => (before(MANAGED_DICT_WORDS), before(MANAGED_DICT_WORDS)),
            ManagedDict::Inline { before } => (0, -i64::try_from(before).unwrap_or_default()),
            ManagedDict::None => return Ok(None),
        };
        let is_inline = flags & MANAGED_DICT != 0
            && flags & INLINE_VALUES != 0
            && matches!(self.offsets.managed_dict, ManagedDict::Inline { .. });
        Ok(Some(SharedAttributes {
            keys,
            inline_values: is_inline.then_some(size),
            values_pointer,
            dict_pointer,
        }))
    }

    /// Whether a type was made while the program runs, as classes of Python are; those that are part of the interpreter are not.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub(crate) fn is_heap_type(&self, type_object: Address) -> Result<bool, ReadError> {
        let flags = type_object.offset(self.offsets.type_object.flags);
        Ok(self.memory.read_u64(flags)? & HEAP_TYPE != 0)
    }

    /// Where the value of the attribute `name` is, from the beginning of the values on; `None` where no instance had it yet.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub(crate) fn shared_attribute(
        &self,
        attributes: &SharedAttributes,
        name: &str,
    ) -> Result<Option<u64>, ReadError> {
        let index = self.key_index(attributes.keys, name)?;
        Ok(index.map(|index| self.offsets.dict.first_value + index * 8))
    }

    /// Where instances of a class have the pointer to their dict, where that is searched for each attribute; `None` where they have
    /// none.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub(crate) fn dict_pointer(&self, type_object: Address) -> Result<Option<i16>, ReadError> {
        let offset = self.offsets.type_object.dict_offset;
        let dict_offset = self.memory.read_u64(type_object.offset(offset))?;
        // One that is negative counts from the end of an instance, whose size is its own.
        let dict_offset = i16::try_from(dict_offset).ok();
        Ok(dict_offset.filter(|offset| *offset > 0 && offset % 8 == 0))
    }

    /// The `str` that programs refer to by the attribute `name`: the key of it among the attributes of `object`, those that it shares
    /// the keys of, or those of its classes. `None` where none of these has it.
    ///
    /// # Errors
    /// When the object, its type or a dict of them cannot be read.
    pub(crate) fn attribute_name(&self, object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        let type_object = self.type_of(object)?;
        let is_it = |key: Option<Address>| match key {
            Some(key) => Ok::<_, ReadError>(self.is_interned(key, name)?.then_some(key)),
            None => Ok(None),
        };
        if let Attributes::Dict(dict) = self.attributes(object, type_object)?
            && let Some(key) = is_it(self.dict_key(dict, name)?)?
        {
            return Ok(Some(key));
        }
        if let Some(shared) = self.shared_attributes(type_object)?
            && let Some(key) = is_it(self.shared_key(shared.keys, name)?)?
        {
            return Ok(Some(key));
        }
        for class in self.resolution_order(type_object)? {
            if let Some(namespace) = self.namespace(class)?
                && let Some(key) = is_it(self.dict_key(namespace, name)?)?
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

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

    /// The file (`__file__`) of a module in `modules`, which is `sys.modules`; `None` where it is not there, or has none.
    pub fn module_file(&self, modules: Address, name: &str) -> Option<String> {
        if modules.is_null() {
            return None;
        }
        let module = self.dict_get(modules, name).ok()??;
        let file = self.module_attribute(module, "__file__").ok()??;
        let is_text = self.is_exactly(file, self.types.unicode).ok()?;
        is_text
            .then(|| Some(self.text(file).ok()?.into_shown()))
            .flatten()
    }

    /// The file that a function's code names, and the code object; `None` where it is no function.
    ///
    /// # Errors
    /// When the function cannot be read.
    pub fn file_of_function(&self, function: Address) -> Result<Option<(String, Address)>, ReadError> {
        if !self.is_exactly(function, self.types.function)? {
            return Ok(None);
        }
        let code = self
            .memory
            .read_address(function.offset(self.offsets.function.code))?;
        let file = self
            .memory
            .read_address(code.offset(self.offsets.code.filename))?;
        Ok(Some((self.text(file)?.into_shown(), code)))
    }

    fn attributes(&self, object: Address, type_object: Address) -> Result<Attributes, ReadError> {
        let offsets = &self.offsets.type_object;
        let flags = self.memory.read_u64(type_object.offset(offsets.flags))?;
        if self.offsets.managed_dict != ManagedDict::None && flags & MANAGED_DICT != 0 {
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
            ManagedDict::None => Ok(Attributes::None),
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
