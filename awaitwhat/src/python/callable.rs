//! What a callable object is called: functions, methods, and what `functools.partial` makes of them.
//!
//! Facts: `Objects/funcobject.c`, `Include/cpython/classobject.h` (`PyMethodObject`), `Include/cpython/methodobject.h` (`PyCFunctionObject`),
//! `Include/methodobject.h` (`PyMethodDef`), `Modules/_functoolsmodule.c` (`partialobject`): the same in 3.7 to 3.15.

use super::{Objects, ReadError, non_null};
use crate::memory::Address;

/// How deep `partial` objects and methods may lie within each other.
const MAX_DEPTH: usize = 8;
/// Variables that a function shares with those around it.
const MAX_CELLS: u64 = 64;

impl Objects<'_> {
    /// The qualified name of what a call of the object runs in the end. A `partial` is called like what it is made of, and `Context.run`, which
    /// `asyncio.to_thread` calls, like the function that it is to run. `None` where the object does not tell.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn callable_name(&self, object: Address) -> Result<Option<String>, ReadError> {
        let mut callable = object;
        for _ in 0..MAX_DEPTH {
            if callable.is_null() {
                return Ok(None);
            }
            let type_object = self.type_of(callable)?;
            if type_object == self.types.function {
                return self.text_at(callable.offset(self.offsets.function.qualified_name));
            }
            let kind = self.full_type_name(type_object)?;
            let [first, second] = self.words_behind_header(callable)?;
            callable = match &*kind {
                "method" => first,
                "functools.partial" if self.is_context_run(first)? => {
                    let arguments = self.tuple_items(second, 1)?;
                    arguments.first().copied().unwrap_or_default()
                }
                "functools.partial" => first,
                "builtin_function_or_method" => return self.builtin_name(callable).map(Some),
                _ => return self.called_type_name(type_object).map(Some),
            };
        }
        Ok(None)
    }

    /// The place of the variable `name` among those that a function shares with those around it; `None` where it has none of that name.
    pub(super) fn closure_place(&self, function: Address, name: &str) -> Result<Option<usize>, ReadError> {
        let offsets = &self.offsets.function;
        let closure = self.memory.read_address(function.offset(offsets.closure))?;
        let count = self.tuple_items(closure, MAX_CELLS)?.len();
        let code = self.memory.read_address(function.offset(offsets.code))?;
        // Names of cells from outside come last, in the order of the closure.
        let names = self.local_names(code)?;
        let own = names.len().saturating_sub(count);
        for (place, known) in names.into_iter().skip(own).enumerate() {
            if self.str_equals(known, name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The value of a variable by its place, as [`Objects::closure_place`] tells it; `None` where it is not bound.
    pub(super) fn closure_value(
        &self,
        function: Address,
        place: usize,
    ) -> Result<Option<Address>, ReadError> {
        let closure = function.offset(self.offsets.function.closure);
        let cells = self.tuple_items(self.memory.read_address(closure)?, MAX_CELLS)?;
        match cells.get(place) {
            Some(&cell) if !cell.is_null() && self.is_exactly(cell, self.types.cell)? => {
                self.cell_contents(cell)
            }
            _ => Ok(None),
        }
    }

    /// The value of a variable that a function shares with those around it; `None` where it has none of that name, or it is not bound.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn closure_variable(&self, function: Address, name: &str) -> Result<Option<Address>, ReadError> {
        match self.closure_place(function, name)? {
            Some(place) => self.closure_value(function, place),
            None => Ok(None),
        }
    }

    /// Whether the object is the function of this qualified name, from a file that ends so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_function(&self, object: Address, name: &str, file: &str) -> Result<bool, ReadError> {
        if object.is_null() || !self.is_exactly(object, self.types.function)? {
            return Ok(false);
        }
        let qualified = object.offset(self.offsets.function.qualified_name);
        let is_named = self.str_equals(self.memory.read_address(qualified)?, name)?;
        Ok(is_named
            && self
                .file_of_function(object)?
                .is_some_and(|(found, _)| found.ends_with(file)))
    }

    /// The items of a `tuple`, at most `limit`; of anything else none.
    pub(super) fn tuple_items(&self, object: Address, limit: u64) -> Result<Vec<Address>, ReadError> {
        if object.is_null() || !self.is_exactly(object, self.types.tuple)? {
            return Ok(Vec::new());
        }
        self.first_tuple_items(object, limit)
    }

    /// Whether it is the method `run` of a `contextvars.Context`.
    fn is_context_run(&self, callable: Address) -> Result<bool, ReadError> {
        if callable.is_null() || self.full_type_name(self.type_of(callable)?)? != "builtin_function_or_method"
        {
            return Ok(false);
        }
        let [definition, own] = self.words_behind_header(callable)?;
        Ok(!own.is_null()
            && self.type_name(self.type_of(own)?)? == "Context"
            && self.c_string(self.memory.read_address(definition)?, callable)? == "run")
    }

    /// `time.sleep`, `list.append`: a function written in C, with its module or the type that it is a method of.
    fn builtin_name(&self, function: Address) -> Result<String, ReadError> {
        let header = self.offsets.header_bytes();
        let [definition, own] = self.words_behind_header(function)?;
        let name = self.c_string(self.memory.read_address(definition)?, function)?;
        let module = self.memory.read_address(function.offset(header + 16))?;
        if !module.is_null() && self.is_exactly(module, self.types.unicode)? {
            return Ok(format!("{}.{name}", self.text(module)?.into_shown()));
        }
        if own.is_null() || self.is_subtype(self.type_of(own)?, self.types.module)? {
            return Ok(name);
        }
        Ok(format!("{}.{name}", self.type_name(self.type_of(own)?)?))
    }

    fn called_type_name(&self, type_object: Address) -> Result<String, ReadError> {
        Ok(format!("{}.__call__", self.checked_type_name(type_object)?))
    }

    /// The first two fields of an object.
    fn words_behind_header(&self, object: Address) -> Result<[Address; 2], ReadError> {
        let first = object.offset(self.offsets.header_bytes());
        Ok([
            self.memory.read_address(first)?,
            self.memory.read_address(first.offset(8))?,
        ])
    }

    /// The text of the `str` that a pointer leads to; `None` where it leads to anything else.
    fn text_at(&self, pointer: Address) -> Result<Option<String>, ReadError> {
        let Some(text) = non_null(self.memory.read_address(pointer)?) else {
            return Ok(None);
        };
        if !self.is_exactly(text, self.types.unicode)? {
            return Ok(None);
        }
        Ok(Some(self.text(text)?.into_shown()))
    }
}
