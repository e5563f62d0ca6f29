//! Tasks' names.

use super::{Objects, ReadError};
use crate::memory::Address;

impl Objects<'_> {
    /// The name of a task, from the object that names it: a `str`, or a number where CPython has not made the name yet, since
    /// nobody has asked for it (`Task-N`, `_asynciomodule.c` of 3.13).
    ///
    /// # Errors
    /// When the object cannot be read.
    pub fn task_name(&self, name: Address) -> Result<String, ReadError> {
        let type_object = self.type_of(name)?;
        if type_object == self.types.long {
            let number = self.integer(name)?;
            return Ok(number.map_or_else(|| "Task-?".to_owned(), |number| format!("Task-{number}")));
        }
        if self.is_subtype(type_object, self.types.unicode)? {
            return Ok(self.text(name)?.into_shown());
        }
        Ok(format!("<{} object at {name}>", self.type_name(type_object)?))
    }
}
