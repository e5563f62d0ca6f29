//! Attributes that a class keeps in slots (`__slots__`): at a fixed offset of each instance, which the class itself knows.
//!
//! Facts: `Objects/typeobject.c` (`type_new`), `Include/cpython/descrobject.h` (`PyDescrObject`, `PyMemberDescrObject`),
//! `Include/structmember.h` or `Include/descrobject.h` (`PyMemberDef`): the same in 3.7 to 3.15.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Bytes from `tp_dict` to `tp_dictoffset`: `tp_descr_get` and `tp_descr_set` lie between them.
const DICT_BEFORE_DICT_OFFSET: u64 = 3 * 8;
/// `PyMemberDescrObject.d_member`, behind the header: after `d_type`, `d_name` and `d_qualname`.
const MEMBER: u64 = 3 * 8;
/// `PyMemberDef.type`, an `int`.
const MEMBER_TYPE: u64 = 8;
/// `PyMemberDef.offset`.
const MEMBER_OFFSET: u64 = 16;
/// `T_OBJECT_EX`: what a slot is.
const OBJECT: u32 = 16;
/// The largest offset of a slot that is believed.
const MAX_OFFSET: u64 = 1 << 12;

impl Objects<'_> {
    /// Where instances of the class `type_object` have the attribute `name`, which the class itself declares as a slot.
    /// `None` where it does not.
    ///
    /// # Errors
    /// When the class cannot be read.
    pub fn slot(&self, type_object: Address, name: &str) -> Result<Option<u16>, ReadError> {
        let Some(namespace) = self.namespace(type_object)? else {
            return Ok(None);
        };
        let Some(descriptor) = self.dict_get(namespace, name)? else {
            return Ok(None);
        };
        let kind = self.type_of(descriptor)?;
        if self.full_type_name(kind)? != "member_descriptor" {
            return Ok(None);
        }
        let header = self.offsets.header_bytes();
        let member = self.memory.read_address(descriptor.offset(header + MEMBER))?;
        let offset = self.memory.read_u64(member.offset(MEMBER_OFFSET))?;
        let is_slot = self.read_u32(member.offset(MEMBER_TYPE))? == OBJECT;
        if !is_slot || offset < header || offset > MAX_OFFSET || !offset.is_multiple_of(8) {
            return Ok(None);
        }
        Ok(u16::try_from(offset).ok())
    }

    /// As [`Objects::slot`], of a class or any that it is derived from: the first in the order of resolution counts.
    ///
    /// # Errors
    /// When one of the classes cannot be read.
    pub fn inherited_slot(&self, type_object: Address, name: &str) -> Result<Option<u16>, ReadError> {
        for class in self.resolution_order(type_object)? {
            if let Some(offset) = self.slot(class, name)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// The dict with what the class itself declares (`tp_dict`).
    pub(super) fn namespace(&self, type_object: Address) -> Result<Option<Address>, ReadError> {
        let dict_offset = self.offsets.type_object.dict_offset;
        let namespace = type_object.offset(dict_offset - DICT_BEFORE_DICT_OFFSET);
        let namespace = self.memory.read_address(namespace)?;
        let is_dict = !namespace.is_null() && self.is_exactly(namespace, self.types.dict)?;
        Ok(is_dict.then_some(namespace))
    }

    /// The attribute `name` of an instance, be it in a slot that its class declares, or in its `__dict__`.
    ///
    /// # Errors
    /// When the object, its type or its dict cannot be read.
    pub fn member(&self, object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        match self.slot(self.type_of(object)?, name)? {
            Some(offset) => {
                let value = self.memory.read_address(object.offset(offset.into()))?;
                Ok((!value.is_null()).then_some(value))
            }
            None => self.attribute(object, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Table, Version};
    use crate::python::image::{Heap, MemoryImage};

    /// An `int`.
    const INT: u32 = 1;

    fn heap() -> Heap {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        Heap::new(table.expect("3.12 publishes nothing").offsets)
    }

    fn member(heap: &mut Heap, descriptor_type: Address, kind: u32, offset: u64) -> Address {
        let definition = heap.allocate(40);
        heap.set(definition, MEMBER_TYPE, kind.into());
        heap.set(definition, MEMBER_OFFSET, offset);
        let descriptor = heap.object(descriptor_type, 48);
        heap.set(descriptor, 16 + MEMBER, definition.0);
        descriptor
    }

    #[test]
    fn a_class_knows_where_its_slots_are() {
        let mut heap = heap();
        let kind = heap.new_type("member_descriptor", 0, 48);
        let other = heap.new_type("getset_descriptor", 0, 48);
        let entries = [
            ("good", member(&mut heap, kind, OBJECT, 24)),
            ("number", member(&mut heap, kind, INT, 24)),
            ("crooked", member(&mut heap, kind, OBJECT, 27)),
            ("in_header", member(&mut heap, kind, OBJECT, 8)),
            ("far", member(&mut heap, kind, OBJECT, MAX_OFFSET + 8)),
            ("property", member(&mut heap, other, OBJECT, 24)),
        ];
        let namespace = heap.dict(&entries);
        let class = heap.new_type("Task", 0, 64);
        let dict_offset = heap.offsets.type_object.dict_offset;
        heap.set(class, dict_offset - DICT_BEFORE_DICT_OFFSET, namespace.0);
        let instance = heap.object(class, 64);
        let value = heap.text("value");
        heap.set(instance, 24, value.0);

        let objects = heap.objects();
        assert_eq!(objects.slot(class, "good"), Ok(Some(24)));
        for name in ["number", "crooked", "in_header", "far", "property", "missing"] {
            assert_eq!(objects.slot(class, name), Ok(None), "{name}");
        }
        assert_eq!(objects.member(instance, "good"), Ok(Some(value)));
        assert_eq!(objects.member(instance, "missing"), Ok(None));
    }
}
