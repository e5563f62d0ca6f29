//! What objects of extension modules have where Python does not see it: fields of their C structs, as rules say.

use super::reader::Reader;
use super::rules::HandleRule;
use crate::memory::Address;
use crate::python::ReadError;

/// Descriptors that a process can have (`fs.nr_open` is 2^20 unless somebody has raised it).
const MAX_DESCRIPTOR: u32 = 1 << 30;

impl Reader<'_> {
    /// The object in a field that a rule gives this name; `None` where there is no such rule, or there is none of the type that it says.
    pub(super) fn field(&mut self, object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        for rule in self.rules().of_fields() {
            if rule.name != name || !self.is_a(object, &rule.class)? {
                continue;
            }
            let objects = self.frames().objects;
            let value = objects.memory.read_address(object.offset(rule.offset.into()))?;
            let is_it = !value.is_null()
                && objects.full_type_name(objects.type_of(value)?)? == rule.value
                && !objects.is_heap_type(objects.type_of(value)?)?;
            return Ok(is_it.then_some(value));
        }
        Ok(None)
    }

    /// The descriptor in the C struct that an object points to; `None` where that does not point back, or is of another kind.
    pub(super) fn descriptor(&self, object: Address, handle: &HandleRule) -> Result<Option<i64>, ReadError> {
        let objects = self.frames().objects;
        let place = |from: Address, offset: u16| from.offset(offset.into());
        let found = objects.memory.read_address(place(object, handle.pointer))?;
        if found.is_null() || objects.memory.read_address(place(found, handle.owner))? != object {
            return Ok(None);
        }
        if !handle
            .kinds
            .contains(&objects.read_u32(place(found, handle.kind))?)
        {
            return Ok(None);
        }
        let descriptor = objects.read_u32(place(found, handle.fd))?;
        Ok((descriptor <= MAX_DESCRIPTOR).then(|| descriptor.into()))
    }
}
