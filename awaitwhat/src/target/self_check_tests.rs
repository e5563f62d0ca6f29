//! Tests of the self-check, over a process made by hand.

use std::cell::Cell;

use awaitwhat_common::layout::Layout;
use awaitwhat_common::layout::quirks;

use super::self_check::Fact;
use super::{FindError, Interpreter, with_types};
use crate::layout::tests::{
    PUBLISHED_3_13, PUBLISHED_3_14, PUBLISHED_3_14_FREE_THREADED, PUBLISHED_3_15, published,
};
use crate::layout::{Offsets, Table, Version};
use crate::memory::{Address, Memory};
use crate::python::image::{Changing, Heap};

const PUBLISHED_AT: Address = Address(0x7000_0000);
/// More than a `PyInterpreterState` has in front of what is looked at, or a thread state has.
const STATE_BYTES: u64 = 16 << 10;

/// The layouts that there are, of versions that embed frames.
pub(crate) fn tables() -> Vec<(&'static str, Table)> {
    let table = |hex, words: &[&[u64]]| {
        let image = published(words);
        Table::for_interpreter(&image, Version::from_hex(hex), PUBLISHED_AT).expect("it is well-formed")
    };
    vec![
        ("3.11", table(0x030b_07f0, &[])),
        ("3.12", table(0x030c_01f0, &[])),
        ("3.13", table(0x030d_00f0, &PUBLISHED_3_13)),
        ("3.14", table(0x030e_0af0, &PUBLISHED_3_14)),
        (
            "3.14 free-threaded",
            table(0x030e_0af0, &PUBLISHED_3_14_FREE_THREADED),
        ),
        ("3.15", table(0x030f_02f0, &PUBLISHED_3_15)),
    ]
}

/// The layout of that name.
pub(super) fn table_of(name: &str) -> Table {
    let mut tables = tables().into_iter();
    let found = tables.find(|(other, _)| *other == name);
    found.expect("there is one").1
}

/// A process with a thread that is in a function, laid out like `table` says.
pub(super) struct Process {
    pub(super) heap: Heap,
    runtime: Address,
    pub(super) walk: Layout,
    /// The main interpreter, and its only thread.
    pub(super) main: Address,
    pub(super) thread: Address,
    /// What `sys.modules` has.
    modules: Vec<(&'static str, Address)>,
    /// What `_frozen_importlib` has.
    functions: Vec<Address>,
}

impl Process {
    pub(super) fn new(table: &Table) -> Self {
        let mut heap = Heap::new(table.offsets);
        let [runtime, main, thread] = [(); 3].map(|()| heap.allocate(STATE_BYTES));
        let mut process = Self {
            heap,
            runtime,
            walk: table.walk,
            main,
            thread,
            modules: Vec::new(),
            functions: Vec::new(),
        };
        process.add_types();
        process.functions = ["_find_and_load", "_gcd_import", "_handle_fromlist"]
            .map(|name| process.function(name))
            .to_vec();
        process.add_states();
        process
    }

    fn add_types(&mut self) {
        let (types, offsets) = (self.heap.types, self.heap.offsets);
        let generator = u64::from(self.walk.generator_frame) + u64::from(self.walk.frame_locals);
        let code = offsets.code.instructions.unwrap_or_default();
        for (type_object, name, size) in [
            (types.type_type, "type", offsets.type_object.cached_keys + 64),
            (types.unicode, "str", offsets.unicode.data + 8),
            (types.bytes, "bytes", offsets.bytes.value + 1),
            (types.long, "int", offsets.long.digits),
            (types.list, "list", offsets.list.items + 16),
            (types.tuple, "tuple", offsets.tuple.items),
            (types.dict, "dict", offsets.dict.values + 8),
            (types.set, "set", offsets.set.table + 128),
            (
                types.module,
                "module",
                offsets.module.definition.max(offsets.module.state) + 8,
            ),
            (types.code, "code", code),
            (types.function, "function", offsets.function.closure + 64),
            (types.cell, "cell", offsets.cell_contents + 8),
            (types.coroutine, "coroutine", generator),
            (types.generator, "generator", generator),
            (types.async_generator, "async_generator", generator),
            (
                types.weak_reference,
                "weakref.ReferenceType",
                offsets.weakref_object + 48,
            ),
        ] {
            self.add_type(type_object, name, size);
        }
    }

    fn add_type(&mut self, type_object: Address, name: &str, size: u64) {
        let offsets = self.heap.offsets.type_object;
        let heap = &mut self.heap;
        let text = heap.allocate(name.len() as u64 + 1);
        heap.image.write(text.0, name.as_bytes());
        let bases = heap.tuple(&[type_object]);
        let flags = 1 << 12 | u64::from(name == "type") << 31;
        heap.set(type_object, heap.offsets.object_type, heap.types.type_type.0);
        for (offset, word) in [
            (offsets.name, text.0),
            (offsets.basic_size, size),
            (offsets.flags, flags),
            (offsets.mro, bases.0),
            (
                offsets.dict_offset,
                if name == "function" { size - 16 } else { 0 },
            ),
        ] {
            heap.set(type_object, offset, word);
        }
    }

    pub(super) fn function(&mut self, name: &str) -> Address {
        let offsets = self.heap.offsets;
        let heap = &mut self.heap;
        let (name, file) = (heap.text(name), heap.text("<frozen importlib._bootstrap>"));
        let (names, lines) = (heap.tuple(&[name]), heap.bytes(&[0xd8, 0, 0, 0xd8, 0, 0]));
        let code = heap.object(heap.types.code, 512);
        for (offset, word) in [
            (offsets.code.qualified_name, name.0),
            (offsets.code.filename, file.0),
            (offsets.code.local_names, names.0),
            (offsets.code.line_table, lines.0),
        ] {
            heap.set(code, offset, word);
        }
        heap.image
            .write(code.0 + offsets.code.first_line, &7_u32.to_le_bytes());
        let function = heap.object(heap.types.function, 256);
        heap.set(function, offsets.function.code, code.0);
        function
    }

    /// Puts modules into `sys.modules`, beside those that are there.
    pub(super) fn import(&mut self, modules: &[(&'static str, Address)]) {
        self.modules.extend(modules);
        let dict = self.heap.dict(&self.modules);
        let offset = self.heap.offsets.interpreter.modules;
        self.heap.set(self.main, offset, dict.0);
    }

    fn add_states(&mut self) {
        let (first, last) = (self.functions[0], self.functions[2]);
        let functions = [
            ("_find_and_load", first),
            ("_gcd_import", self.functions[1]),
            ("_handle_fromlist", last),
        ];
        let (offsets, walk) = (self.heap.offsets, self.walk);
        let heap = &mut self.heap;
        let module = |heap: &mut Heap, items: &[(&str, Address)]| {
            let dict = heap.dict(items);
            let module = heap.object(heap.types.module, 256);
            heap.set(module, heap.offsets.module.dict, dict.0);
            module
        };
        let name = heap.text("builtins");
        let builtins = module(heap, &[("__name__", name)]);
        let importlib = module(heap, &functions);
        let (main, thread, frame) = (self.main, self.thread, heap.allocate(512));
        heap.set(self.runtime, offsets.runtime_interpreters_head, main.0);
        heap.set(main, offsets.interpreter.threads_head, thread.0);
        heap.set(thread, offsets.thread.interpreter, main.0);
        let mut current = frame;
        if walk.quirks & quirks::CFRAME != 0 {
            current = heap.allocate(64);
            heap.set(current, walk.cframe_current_frame.into(), frame.0);
        }
        heap.set(thread, walk.thread_current_frame.into(), current.0);
        let code = heap.image.read_u64(last.offset(offsets.function.code));
        heap.set(
            frame,
            walk.frame_code.into(),
            code.expect("it was written") | walk.tag_mask & 1,
        );
        self.import(&[("builtins", builtins), ("_frozen_importlib", importlib)]);
    }

    /// The interpreter, read by the layout of its own or of another build.
    fn interpreter(&self, offsets: Offsets, walk: Layout) -> Interpreter {
        let types = &self.heap.types;
        Interpreter {
            version: Version::from_hex(0x030c_01f0),
            image: "python".to_owned(),
            process_id: None,
            others: Vec::new(),
            runtime: self.runtime,
            offsets,
            types: self.heap.types,
            walk: with_types(walk, &offsets, types),
            wrappers: super::Wrappers::default(),
            thread_id_place: None,
            schedulers: Vec::new(),
            searches: Default::default(),
        }
    }

    pub(super) fn own(&self) -> Interpreter {
        self.interpreter(self.heap.offsets, self.walk)
    }
}

fn failing(interpreter: &Interpreter, memory: &dyn Memory) -> Vec<String> {
    let facts = interpreter.facts(memory).expect("all of it can be read");
    let failing = facts.into_iter().filter(|fact| !fact.holds);
    failing.map(|Fact { what, .. }| what).collect()
}

#[test]
fn accepts_what_is_laid_out_as_it_has_to_be() {
    for (name, table) in tables() {
        let process = Process::new(&table);
        let facts = process.own().facts(&process.heap.image).expect("it can be read");
        assert!(facts.iter().all(|fact| fact.holds), "{name}: {facts:?}");
        // None of them was left out.
        assert!(
            facts.iter().any(|fact| fact.what.contains("`_find_and_load`")),
            "{name}"
        );
        assert!(
            facts.iter().any(|fact| fact.what.contains("frame's code")),
            "{name}"
        );
        assert_eq!(process.own().check(&process.heap.image), Ok(()), "{name}");
    }
}

/// A build that somebody has put a field into, anywhere.
#[test]
fn refuses_every_structure_that_was_patched() {
    type Patch = fn(&mut Offsets, &mut Layout);
    let patches: [(&str, Patch); 24] = [
        ("runtime", |offsets, _| offsets.runtime_interpreters_head += 8),
        ("threads", |offsets, _| offsets.interpreter.threads_head += 8),
        ("modules", |offsets, _| offsets.interpreter.modules += 8),
        ("interpreter", |offsets, _| offsets.thread.interpreter += 8),
        ("type", |offsets, _| offsets.object_type += 8),
        ("tp_name", |offsets, _| offsets.type_object.name += 8),
        ("tp_basicsize", |offsets, _| offsets.type_object.basic_size += 8),
        ("tp_flags", |offsets, _| offsets.type_object.flags += 8),
        ("tp_dictoffset", |offsets, _| offsets.type_object.dict_offset += 8),
        ("tp_mro", |offsets, _| offsets.type_object.mro += 8),
        ("co_filename", |offsets, _| offsets.code.filename += 8),
        ("co_qualname", |offsets, _| offsets.code.qualified_name += 8),
        ("co_linetable", |offsets, _| offsets.code.line_table += 8),
        ("co_localsplusnames", |offsets, _| offsets.code.local_names += 8),
        ("co_firstlineno", |offsets, _| offsets.code.first_line += 4),
        ("co_code_adaptive", |offsets, _| {
            offsets.code.instructions = offsets.code.instructions.map(|at| at + 8);
        }),
        ("str", |offsets, _| offsets.unicode.data += 8),
        ("bytes", |offsets, _| offsets.bytes.value += 8),
        ("ma_keys", |offsets, _| offsets.dict.keys += 8),
        ("md_dict", |offsets, _| offsets.module.dict += 8),
        ("func_code", |offsets, _| offsets.function.code += 8),
        ("gi_iframe", |_, walk| walk.generator_frame += 8),
        ("localsplus", |_, walk| walk.frame_locals += 8),
        ("f_executable", |_, walk| walk.frame_code += 16),
    ];
    for (name, table) in tables() {
        let process = Process::new(&table);
        for (patch, change) in patches {
            let (mut offsets, mut walk) = (table.offsets, table.walk);
            change(&mut offsets, &mut walk);
            let interpreter = process.interpreter(offsets, walk);
            let result = interpreter.check(&process.heap.image);
            assert!(result.is_err(), "{name}: {patch}");
        }
    }
}

#[test]
fn refuses_the_layouts_of_other_builds() {
    for (name, table) in tables() {
        let process = Process::new(&table);
        for (other, foreign) in tables() {
            let result = process
                .interpreter(foreign.offsets, foreign.walk)
                .check(&process.heap.image);
            assert_eq!(
                result.is_ok(),
                name == other,
                "{name} read as {other}: {result:?}"
            );
        }
    }
}

#[test]
fn says_what_was_expected_and_found() {
    let (_, table) = tables().remove(1);
    let mut process = Process::new(&table);
    let size = process.heap.offsets.type_object.basic_size;
    process.heap.set(process.heap.types.generator, size, 152);
    let error = process
        .own()
        .check(&process.heap.image)
        .expect_err("it is larger");
    assert_eq!(
        error.to_string(),
        "the interpreter is not laid out like a standard build of CPython 3.12.1: the basic size of a generator should be 144, and is 152"
    );
}

#[test]
fn a_program_may_replace_functions_of_the_import_system() {
    let (_, table) = tables().remove(1);
    let mut process = Process::new(&table);
    let other = process.function("hook");
    let code = process.heap.offsets.function.code;
    let hook = process
        .heap
        .image
        .read_u64(other.offset(code))
        .expect("it was written");
    let functions = process.functions.clone();
    for (replaced, function) in functions.into_iter().enumerate() {
        assert!(
            failing(&process.own(), &process.heap.image).is_empty(),
            "{replaced}"
        );
        process.heap.set(function, code, hook);
    }
    assert_eq!(
        failing(&process.own(), &process.heap.image),
        ["the name of the code of `_find_and_load`"]
    );
}

#[test]
fn looks_again_at_a_process_that_works() {
    let (_, table) = tables().remove(1);
    let process = Process::new(&table);
    for (looks, is_accepted) in [(0, true), (5, true), (1000, false)] {
        let memory = Changing {
            image: &process.heap.image,
            is_changing: &|_, length| length == 8,
            looks: Cell::new(looks),
        };
        let result = process.own().check(&memory);
        assert_eq!(result.is_ok(), is_accepted, "{result:?}");
    }
}

#[test]
fn waits_for_an_interpreter_that_begins() {
    let (_, table) = tables().remove(1);
    let mut process = Process::new(&table);
    let head = process.heap.offsets.runtime_interpreters_head;
    process.heap.set(process.runtime, head, 0);
    assert_eq!(
        process.own().check(&process.heap.image),
        Err(FindError::NotInitialised)
    );
}
