//! What holds in every CPython, whatever it runs, compared with what the layout of its version leads to.
//!
//! Where a build's structures are others than those of the layout (it was patched, or built in a way that is not known), one of
//! these facts does not hold, and the process is refused before anything is shown of it.

use std::fmt::Display;

use super::again::look_again;
use super::{FindError, Interpreter};
use crate::memory::{Address, Fault, Memory};
use crate::python::{ReadError, Text};

/// Threads whose frames are looked at.
const MAX_THREADS: usize = 8;
/// Bits of `tp_flags` (object.h): `Py_TPFLAGS_HEAPTYPE`, `Py_TPFLAGS_READY` and `Py_TPFLAGS_TYPE_SUBCLASS`.
const TYPE_FLAGS: u64 = 1 << 9 | 1 << 12 | 1 << 31;
/// Those of them that `type` itself has.
const FLAGS_OF_TYPE: u64 = 1 << 12 | 1 << 31;
/// Lines that a file is believed to have.
const MAX_LINES: u32 = 1 << 20;

/// The module that is there when an interpreter has begun.
const BUILTINS: &str = "builtins";
/// The module that every interpreter imports first, and its functions, the same in 3.7 to 3.15. A program may have put others in their
/// places, but not in all of them.
const FIRST_MODULE: &str = "_frozen_importlib";
const FIRST_FUNCTIONS: [&str; 3] = ["_find_and_load", "_gcd_import", "_handle_fromlist"];
/// Functions of `asyncio.tasks` in 3.7 to 3.15.
pub(super) const ASYNCIO_FUNCTIONS: [&str; 4] = ["gather", "ensure_future", "shield", "wait_for"];

/// Something that must hold, and what there is instead where it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at, for example ``the name of `PyCoro_Type` ``.
    pub what: String,
    pub expected: String,
    pub found: String,
    pub holds: bool,
}

impl Fact {
    fn equal<T: PartialEq + Display>(what: impl Into<String>, expected: &T, found: &T) -> Self {
        Self {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            holds: expected == found,
        }
    }

    fn at_least(what: impl Into<String>, expected: u64, found: u64) -> Self {
        Self {
            what: what.into(),
            expected: format!("at least {expected}"),
            found: found.to_string(),
            holds: found >= expected,
        }
    }

    /// What should be this name. That it cannot be read is an answer, too, unless nothing can be read any more.
    fn name(
        what: impl Into<String>,
        expected: &str,
        found: Result<String, ReadError>,
    ) -> Result<Self, ReadError> {
        let found = match found {
            Err(ReadError::Fault(fault)) if !fault.is_of_place() => return Err(fault.into()),
            Err(error) => error.to_string(),
            Ok(found) => found,
        };
        Ok(Self::equal(what, &expected, &found.as_str()))
    }
}

impl Interpreter {
    /// Refuses the interpreter unless all facts hold.
    pub(super) fn check(&self, memory: &dyn Memory) -> Result<(), FindError> {
        // What a process that works changes meanwhile may disagree.
        let is_doubtful = |wrong: &Result<Option<Fact>, FindError>| match wrong {
            Ok(wrong) => wrong.is_some(),
            Err(error) => error.is_momentary(),
        };
        match look_again(memory, is_doubtful, || self.first_wrong(memory))? {
            None => Ok(()),
            Some(fact) => Err(FindError::SelfCheck {
                version: self.version,
                what: fact.what,
                expected: fact.expected,
                found: fact.found,
            }),
        }
    }

    fn first_wrong(&self, memory: &dyn Memory) -> Result<Option<Fact>, FindError> {
        Ok(self.facts(memory)?.into_iter().find(|fact| !fact.holds))
    }

    /// All facts, those that do not hold among them.
    ///
    /// # Errors
    /// When the interpreter has not been initialised yet, or cannot be read.
    pub fn facts(&self, memory: &dyn Memory) -> Result<Vec<Fact>, FindError> {
        let main = self.main(memory)?;
        if main.is_null() {
            return Err(FindError::NotInitialised);
        }
        let thread = memory.read_address(main.offset(self.offsets.interpreter.threads_head))?;
        let modules = memory.read_address(main.offset(self.offsets.interpreter.modules))?;
        if thread.is_null() || modules.is_null() {
            return Err(FindError::NotInitialised);
        }
        let mut facts = self.names(memory, modules)?;
        facts.push(self.owner(memory, main, thread)?);
        facts.extend(self.sizes(memory)?);
        if facts.iter().any(|fact| !fact.holds) {
            // What comes now is read by what turned out to be wrong.
            return Ok(facts);
        }
        let Some(builtins) = self.objects(memory).dict_get(modules, BUILTINS)? else {
            return Err(FindError::NotInitialised);
        };
        facts.push(self.name_of_module(memory, builtins)?);
        facts.extend(self.types(memory)?);
        facts.extend(self.first_functions(memory, modules)?);
        facts.extend(self.frames_of_threads(memory, thread)?);
        Ok(facts)
    }

    /// The main interpreter's state, NULL where there is none (yet).
    pub(super) fn main(&self, memory: &dyn Memory) -> Result<Address, Fault> {
        memory.read_address(self.runtime.offset(self.offsets.runtime_interpreters_head))
    }

    /// Names of types: the static types have theirs from the beginning.
    fn names(&self, memory: &dyn Memory, modules: Address) -> Result<Vec<Fact>, ReadError> {
        let objects = self.objects(memory);
        let types = &self.types;
        let static_types = [
            ("PyType_Type", types.type_type, "type"),
            ("PyUnicode_Type", types.unicode, "str"),
            ("PyBytes_Type", types.bytes, "bytes"),
            ("PyLong_Type", types.long, "int"),
            ("PyList_Type", types.list, "list"),
            ("PyTuple_Type", types.tuple, "tuple"),
            ("PyDict_Type", types.dict, "dict"),
            ("PySet_Type", types.set, "set"),
            ("PyModule_Type", types.module, "module"),
            ("PyCode_Type", types.code, "code"),
            ("PyFunction_Type", types.function, "function"),
            ("PyCell_Type", types.cell, "cell"),
            ("PyCoro_Type", types.coroutine, "coroutine"),
            ("PyGen_Type", types.generator, "generator"),
            ("PyAsyncGen_Type", types.async_generator, "async_generator"),
        ];
        let type_name = |object| objects.full_type_name(objects.type_of(object)?);
        let mut facts = static_types
            .iter()
            .map(|(symbol, type_object, name)| {
                let found = objects.full_type_name(*type_object);
                Fact::name(format!("the name of `{symbol}`"), name, found)
            })
            .collect::<Result<Vec<_>, _>>()?;
        facts.push(Fact::name(
            "the name of the type of `PyCoro_Type`",
            "type",
            type_name(types.coroutine),
        )?);
        facts.push(Fact::name(
            "the name of the type of `sys.modules`",
            "dict",
            type_name(modules),
        )?);
        Ok(facts)
    }

    fn owner(&self, memory: &dyn Memory, main: Address, thread: Address) -> Result<Fact, ReadError> {
        let what = "the interpreter of the first thread";
        let found = memory.read_address(thread.offset(self.offsets.thread.interpreter));
        let found = found.map(|found| if found == main { "its own" } else { "another" });
        Fact::name(what, "its own", found.map(str::to_owned).map_err(Into::into))
    }

    /// Sizes of instances, as their types say them, against offsets of what they end with.
    fn sizes(&self, memory: &dyn Memory) -> Result<Vec<Fact>, ReadError> {
        let (offsets, types) = (&self.offsets, &self.types);
        // Embedded, a frame ends a generator: `offsetof(PyGenObject, gi_iframe.localsplus)`, to which each code object adds its own
        // (genobject.c).
        let embedded = u64::from(self.walk.generator_frame) + u64::from(self.walk.frame_locals);
        let known = offsets.sizes;
        let code = known.map(|sizes| sizes.code).or(offsets.code.instructions);
        let frame = known.map(|sizes| ("a frame", types.frame, sizes.frame));
        let exact = [
            (
                "a generator",
                types.generator,
                known.map_or(embedded, |sizes| sizes.generator),
            ),
            ("a `str`", types.unicode, offsets.unicode.data + 8),
            ("a `bytes`", types.bytes, offsets.bytes.value + 1),
            ("an `int`", types.long, offsets.long.digits),
            ("a `tuple`", types.tuple, offsets.tuple.items),
            ("a cell", types.cell, offsets.cell_contents + 8),
        ];
        let least = [
            ("a `list`", types.list, offsets.list.items),
            ("a `dict`", types.dict, offsets.dict.keys.max(offsets.dict.values)),
            ("a `set`", types.set, offsets.set.table.max(offsets.set.mask)),
            (
                "a module",
                types.module,
                offsets.module.state.max(offsets.module.definition),
            ),
            (
                "a function",
                types.function,
                offsets.function.closure.max(offsets.function.qualified_name),
            ),
            ("a weak reference", types.weak_reference, offsets.weakref_object),
            ("a type", types.type_type, offsets.type_object.cached_keys),
        ];
        let size = |type_object: Address| memory.read_u64(type_object.offset(offsets.type_object.basic_size));
        let mut facts = Vec::new();
        let code = code.map(|code| ("a code object", types.code, code));
        for (whose, type_object, expected) in exact.into_iter().chain(frame).chain(code) {
            let what = format!("the basic size of {whose}");
            facts.push(Fact::equal(what, &expected, &size(type_object)?));
        }
        for (whose, type_object, last) in least {
            let what = format!("the basic size of {whose}");
            facts.push(Fact::at_least(what, last + 8, size(type_object)?));
        }
        Ok(facts)
    }

    /// What `type` says of itself, once it is ready.
    fn types(&self, memory: &dyn Memory) -> Result<Vec<Fact>, ReadError> {
        let offsets = &self.offsets.type_object;
        let flags = memory.read_u64(self.types.type_type.offset(offsets.flags))?;
        let mro = memory.read_address(self.types.type_type.offset(offsets.mro))?;
        let objects = self.objects(memory);
        let first = objects.first_tuple_items(mro, 1).unwrap_or_default();
        let is_first = first == [self.types.type_type];
        let function = memory.read_u64(self.types.function.offset(offsets.dict_offset))?;
        let size = memory.read_u64(self.types.function.offset(offsets.basic_size))?;
        let is_inside = function != 0 && function.is_multiple_of(8) && function < size;
        Ok(vec![
            Fact::equal("the flags of `type`", &FLAGS_OF_TYPE, &(flags & TYPE_FLAGS)),
            Fact::equal("`type` is the first of its bases", &true, &is_first),
            Fact::equal("functions have their dict inside", &true, &is_inside),
        ])
    }

    /// What the module `builtins` says that it is called.
    fn name_of_module(&self, memory: &dyn Memory, builtins: Address) -> Result<Fact, ReadError> {
        let objects = self.objects(memory);
        let name = objects.module_attribute(builtins, "__name__")?;
        let found = match name {
            Some(name) if objects.is_exactly(name, self.types.unicode)? => {
                objects.text(name).map(Text::into_shown)
            }
            _ => Ok("no `str`".to_owned()),
        };
        Fact::name("the `__name__` of the module `builtins`", BUILTINS, found)
    }

    fn first_functions(&self, memory: &dyn Memory, modules: Address) -> Result<Option<Fact>, ReadError> {
        match self.objects(memory).dict_get(modules, FIRST_MODULE)? {
            Some(module) => self.functions(memory, module, &FIRST_FUNCTIONS),
            None => Ok(None),
        }
    }

    /// Whether one of the functions that a module has under these names is called so by its code. `None` where it has none.
    pub(super) fn functions(
        &self,
        memory: &dyn Memory,
        module: Address,
        names: &[&str],
    ) -> Result<Option<Fact>, ReadError> {
        let objects = self.objects(memory);
        let mut wrong = None;
        for name in names {
            let Some(function) = objects.module_attribute(module, name)? else {
                continue;
            };
            if !objects.is_exactly(function, self.types.function)? {
                continue;
            }
            let what = format!("the name of the code of `{name}`");
            let fact = Fact::name(what, name, self.name_of_code(memory, function))?;
            if fact.holds {
                return Ok(Some(fact));
            }
            wrong.get_or_insert(fact);
        }
        Ok(wrong)
    }

    /// What the code of a function is called; an error where anything else of the code is not as it has to be.
    fn name_of_code(&self, memory: &dyn Memory, function: Address) -> Result<String, ReadError> {
        let (objects, offsets) = (self.objects(memory), &self.offsets.code);
        let code = memory.read_address(function.offset(self.offsets.function.code))?;
        let malformed = |what| ReadError::Malformed { what, address: code };
        let part = |offset, type_object, what| {
            let part = memory.read_address(code.offset(offset))?;
            match objects.is_exactly(part, type_object)? {
                true => Ok(part),
                false => Err(malformed(what)),
            }
        };
        if !objects.is_exactly(code, self.types.code)? {
            return Err(malformed("code object"));
        }
        part(offsets.line_table, self.types.bytes, "line table")?;
        part(offsets.filename, self.types.unicode, "file name")?;
        part(offsets.local_names, self.types.tuple, "tuple of local names")?;
        let line = objects.read_u32(code.offset(offsets.first_line))?;
        if !(1..MAX_LINES).contains(&line) {
            return Err(malformed("number of a line"));
        }
        let name = part(offsets.qualified_name, self.types.unicode, "name")?;
        Ok(objects.text(name)?.into_shown())
    }

    /// The code of the innermost Python frames. No fact where no thread runs Python code.
    fn frames_of_threads(&self, memory: &dyn Memory, first: Address) -> Result<Option<Fact>, ReadError> {
        let what = "the name of the type of a frame's code";
        let mut wrong = None;
        let mut thread = first;
        for _ in 0..MAX_THREADS {
            if thread.is_null() {
                break;
            }
            if let Ok([(code, _), ..]) = self.thread_frames(memory, thread, 1).as_deref() {
                let code = *code;
                let objects = self.objects(memory);
                let found = objects.type_of(code).and_then(|it| objects.full_type_name(it));
                let fact = Fact::name(what, "code", found)?;
                if fact.holds {
                    return Ok(Some(fact));
                }
                wrong.get_or_insert(fact);
            }
            thread = memory.read_address(thread.offset(self.offsets.thread.next))?;
        }
        Ok(wrong)
    }
}
