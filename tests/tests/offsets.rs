//! The tables of `awaitwhat::layout` against the interpreters' debug information, and those of free-threaded builds against CPython's headers.
//!
//! A live interpreter of a version that is not known yet has no table: then it is printed what a table would have to say.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use awaitwhat::layout::{DictKeys, ManagedDict, NativeId, Offsets, RunningLoop, Table, Version};
use awaitwhat::memory::{Address, Fault, Memory};
use awaitwhat::session::own_thread_ids;
use awaitwhat::target::find_interpreter;
use awaitwhat_common::layout::{
    ABSENT, ENTRY, KEY_BEFORE_END, Layout, UNICODE_ENTRY, VALUE_BEFORE_END, keys_of_kinds, quirks, sized_keys,
};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::extension::Headers;
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{dwarf, trials};
use libtest_mimic::Trial;

/// Imports asyncio, and waits.
const TARGET: &str = "idle.py";
/// What every interpreter's debug information has.
const IN_EVERY_INTERPRETER: &str = "sizeof(PyTypeObject)";
/// What that of `_asyncio` has, which may be a file of its own.
const IN_ASYNCIO: &str = "sizeof(TaskObj)";
/// Where the image of published offsets lies.
const RUNTIME: Address = Address(0x10_0000);

fn main() -> Result<()> {
    trials::run("offsets", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::all_pythons()? {
        let name = format!("{}::debug_information", python.label);
        if !dwarf::is_there() {
            list.push(trials::skipped(name, "there is no gdb"));
            continue;
        }
        if !python.supported && python.version < (3, 7) {
            continue;
        }
        let files = files(&python)?;
        let known = dwarf::values(&files[0], &folders(&python), &[IN_EVERY_INTERPRETER.to_owned()])?;
        if known.is_empty() {
            list.push(trials::skipped(name, "it has no debug information"));
        } else {
            let python = python.clone();
            list.push(trials::trial(name, move || debug_information(&python, &files)));
        }
        list.extend(free_threaded(&python)?);
    }
    Ok(list)
}

/// Where separate debug information is.
fn folders(python: &Python) -> Vec<PathBuf> {
    let folder = Path::new("/usr/lib/debug");
    let inside = python.root().join("usr/lib/debug");
    vec![folder.to_owned(), inside]
}

/// What the interpreter answers to a program.
fn ask(python: &Python, program: &str) -> Result<String> {
    let output = python.command().args(["-c", program]).output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        python.label,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The files of the interpreter and of `_asyncio`.
fn files(python: &Python) -> Result<Vec<PathBuf>> {
    let program = "import os, sys, sysconfig, _asyncio\n\
        library = os.path.join(sysconfig.get_config_var('LIBDIR') or '', sysconfig.get_config_var('INSTSONAME') or '')\n\
        print(library if library.endswith('.so.1.0') and os.path.exists(library) else os.path.realpath(sys.executable))\n\
        print(getattr(_asyncio, '__file__', ''))";
    let root = python.root();
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    let answer = ask(python, program)?;
    Ok(answer
        .lines()
        .filter(|path| !path.is_empty())
        .map(inside)
        .collect())
}

/// A fact of a table: where it is said, and what it is in CPython's terms, the newest versions' first.
struct Fact {
    name: &'static str,
    expressions: &'static [&'static str],
    ours: fn(&Offsets, &Layout) -> Option<i64>,
    /// It is in `_asyncio`.
    is_asyncio: bool,
}

macro_rules! facts {
    ($($module:ident $name:literal [$($expression:literal),+] $ours:expr;)+) => {
        [$(Fact {
            name: $name,
            expressions: &[$($expression),+],
            ours: $ours,
            is_asyncio: facts!(@ $module),
        }),+]
    };
    (@ python) => { false };
    (@ asyncio) => { true };
}

/// The offset of a member, `structure.member`, or what stands for itself.
fn expression(text: &str) -> String {
    match text.split_once("::") {
        Some((structure, member)) => format!("&(({structure} *)0)->{member}"),
        None => text.to_owned(),
    }
}

fn signed(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

fn short(value: u16) -> Option<i64> {
    (value != ABSENT).then_some(value.into())
}

/// Whether a frame has a state: before 3.10 there is only whether it executes.
fn has_states(walk: &Layout) -> bool {
    walk.state_created != walk.state_suspended
}

/// What holds of the keys of dicts from 3.11 on.
fn of_kinds(offsets: &Offsets, value: u64) -> Option<i64> {
    signed(value).filter(|_| offsets.dict.keys_format == DictKeys::OfKinds)
}

/// What holds of them until 3.10.
fn of_sizes(offsets: &Offsets, value: u64) -> Option<i64> {
    signed(value).filter(|_| offsets.dict.keys_format == DictKeys::Sized)
}

fn facts() -> Vec<Fact> {
    facts! {
        python "runtime_interpreters_head" ["_PyRuntimeState::interpreters.head"] |o, _| signed(o.runtime_interpreters_head);
        python "interpreter.next" ["PyInterpreterState::next"] |o, _| signed(o.interpreter.next);
        python "interpreter.threads_head" ["PyInterpreterState::threads.head", "PyInterpreterState::tstate_head"] |o, _| signed(o.interpreter.threads_head);
        python "interpreter.modules" ["PyInterpreterState::imports.modules", "PyInterpreterState::modules"] |o, _| signed(o.interpreter.modules);
        python "thread.previous" ["PyThreadState::prev"] |o, _| signed(o.thread.previous);
        python "thread.next" ["PyThreadState::next"] |o, _| signed(o.thread.next);
        python "thread.interpreter" ["PyThreadState::interp"] |o, _| signed(o.thread.interpreter);
        python "thread.native_thread_id" ["PyThreadState::native_thread_id"] |o, _| match o.thread.id {
            NativeId::At(offset) => signed(offset),
            NativeId::Unknown { .. } => None,
        };
        python "thread.thread_id" ["PyThreadState::thread_id"] |o, _| match o.thread.id {
            NativeId::At(_) => None,
            NativeId::Unknown { posix } => signed(posix),
        };
        python "thread.dict" ["PyThreadState::dict"] |o, _| signed(o.thread.dict);
        python "object_type" ["PyObject::ob_type"] |o, _| signed(o.object_type);
        python "header_bytes" ["sizeof(PyObject)"] |o, _| signed(o.header_bytes());
        python "type_object.name" ["PyTypeObject::tp_name"] |o, _| signed(o.type_object.name);
        python "type_object.basic_size" ["PyTypeObject::tp_basicsize"] |o, _| signed(o.type_object.basic_size);
        python "type_object.flags" ["PyTypeObject::tp_flags"] |o, _| signed(o.type_object.flags);
        python "type_object.dict_offset" ["PyTypeObject::tp_dictoffset"] |o, _| signed(o.type_object.dict_offset);
        python "type_object.mro" ["PyTypeObject::tp_mro"] |o, _| signed(o.type_object.mro);
        python "type_object.cached_keys" ["PyHeapTypeObject::ht_cached_keys"] |o, _| signed(o.type_object.cached_keys);
        python "code.bytes" ["PyCodeObject::co_code"] |o, _| o.code.bytes.and_then(signed);
        python "code.constants" ["PyCodeObject::co_consts"] |o, _| signed(o.code.constants);
        python "code.names" ["PyCodeObject::co_names"] |o, _| signed(o.code.names);
        python "code.flags" ["PyCodeObject::co_flags"] |o, _| signed(o.code.flags);
        python "code.first_line" ["PyCodeObject::co_firstlineno"] |o, _| signed(o.code.first_line);
        python "code.local_names" ["PyCodeObject::co_localsplusnames", "PyCodeObject::co_varnames"] |o, _| signed(o.code.local_names);
        python "code.filename" ["PyCodeObject::co_filename"] |o, _| signed(o.code.filename);
        python "code.qualified_name" ["PyCodeObject::co_qualname", "PyCodeObject::co_name"] |o, _| signed(o.code.qualified_name);
        python "code.line_table" ["PyCodeObject::co_linetable", "PyCodeObject::co_lnotab"] |o, _| signed(o.code.line_table);
        python "code.instructions" ["PyCodeObject::co_code_adaptive"] |o, _| o.code.instructions.and_then(signed);
        python "code.shared_names[0]" ["PyCodeObject::co_cellvars"] |o, _| o.code.shared_names.and_then(|[cells, _]| signed(cells));
        python "code.shared_names[1]" ["PyCodeObject::co_freevars"] |o, _| o.code.shared_names.and_then(|[_, free]| signed(free));
        python "sizes.generator" ["sizeof(PyGenObject)"] |o, _| o.sizes.and_then(|sizes| signed(sizes.generator));
        python "sizes.frame" ["sizeof(PyFrameObject)"] |o, _| o.sizes.and_then(|sizes| signed(sizes.frame));
        python "sizes.code" ["sizeof(PyCodeObject)"] |o, _| o.sizes.and_then(|sizes| signed(sizes.code));
        python "code.copies" ["PyCodeObject::co_tlbc"] |o, _| o.code.copies.and_then(signed);
        python "unicode.length" ["PyASCIIObject::length"] |o, _| signed(o.unicode.length);
        python "unicode.state" ["PyASCIIObject::state"] |o, _| signed(o.unicode.state);
        python "unicode.ascii_data" ["sizeof(PyASCIIObject)"] |o, _| signed(o.unicode.ascii_data);
        python "unicode.data" ["sizeof(PyCompactUnicodeObject)"] |o, _| signed(o.unicode.data);
        python "bytes.size" ["PyBytesObject::ob_base.ob_size"] |o, _| signed(o.bytes.size);
        python "bytes.value" ["PyBytesObject::ob_sval"] |o, _| signed(o.bytes.value);
        python "long.tag" ["PyLongObject::long_value.lv_tag", "PyLongObject::ob_base.ob_size"] |o, _| signed(o.long.tag);
        python "long.digits" ["PyLongObject::long_value.ob_digit", "PyLongObject::ob_digit"] |o, _| signed(o.long.digits);
        python "dict.keys" ["PyDictObject::ma_keys"] |o, _| signed(o.dict.keys);
        python "dict.values" ["PyDictObject::ma_values"] |o, _| signed(o.dict.values);
        python "dict.first_value" ["PyDictValues::values"] |o, _| of_kinds(o, o.dict.first_value);
        python "keys_of_kinds::LOG2_SLOTS" ["PyDictKeysObject::dk_log2_size"] |o, _| of_kinds(o, keys_of_kinds::LOG2_SLOTS);
        python "keys_of_kinds::LOG2_INDEX_BYTES" ["PyDictKeysObject::dk_log2_index_bytes"] |o, _| of_kinds(o, keys_of_kinds::LOG2_INDEX_BYTES);
        python "keys_of_kinds::KIND" ["PyDictKeysObject::dk_kind"] |o, _| of_kinds(o, keys_of_kinds::KIND);
        python "keys_of_kinds::ENTRY_COUNT" ["PyDictKeysObject::dk_nentries"] |o, _| of_kinds(o, keys_of_kinds::ENTRY_COUNT);
        python "keys_of_kinds::INDEX" ["PyDictKeysObject::dk_indices"] |o, _| of_kinds(o, keys_of_kinds::INDEX);
        python "keys_of_kinds::GENERAL" ["DICT_KEYS_GENERAL"] |o, _| of_kinds(o, keys_of_kinds::GENERAL.into());
        python "keys_of_kinds::UNICODE" ["DICT_KEYS_UNICODE"] |o, _| of_kinds(o, keys_of_kinds::UNICODE.into());
        python "keys_of_kinds::SPLIT" ["DICT_KEYS_SPLIT"] |o, _| of_kinds(o, keys_of_kinds::SPLIT.into());
        python "UNICODE_ENTRY" ["sizeof(PyDictUnicodeEntry)"] |o, _| of_kinds(o, UNICODE_ENTRY);
        python "sized_keys::SLOTS" ["PyDictKeysObject::dk_size"] |o, _| of_sizes(o, sized_keys::SLOTS);
        python "sized_keys::ENTRY_COUNT" ["PyDictKeysObject::dk_nentries"] |o, _| of_sizes(o, sized_keys::ENTRY_COUNT);
        python "sized_keys::INDEX" ["PyDictKeysObject::dk_indices"] |o, _| of_sizes(o, sized_keys::INDEX);
        python "ENTRY" ["sizeof(PyDictKeyEntry)"] |_, _| signed(ENTRY);
        python "ENTRY - KEY_BEFORE_END" ["PyDictKeyEntry::me_key"] |_, _| signed(ENTRY - KEY_BEFORE_END);
        python "ENTRY - VALUE_BEFORE_END" ["PyDictKeyEntry::me_value"] |_, _| signed(ENTRY - VALUE_BEFORE_END);
        python "UNICODE_ENTRY - KEY_BEFORE_END" ["PyDictUnicodeEntry::me_key"] |o, _| of_kinds(o, UNICODE_ENTRY - KEY_BEFORE_END);
        python "UNICODE_ENTRY - VALUE_BEFORE_END" ["PyDictUnicodeEntry::me_value"] |o, _| of_kinds(o, UNICODE_ENTRY - VALUE_BEFORE_END);
        python "list.size" ["PyListObject::ob_base.ob_size"] |o, _| signed(o.list.size);
        python "list.items" ["PyListObject::ob_item"] |o, _| signed(o.list.items);
        python "tuple.size" ["PyTupleObject::ob_base.ob_size"] |o, _| signed(o.tuple.size);
        python "tuple.items" ["PyTupleObject::ob_item"] |o, _| signed(o.tuple.items);
        python "set.used" ["PySetObject::used"] |o, _| signed(o.set.used);
        python "set.mask" ["PySetObject::mask"] |o, _| signed(o.set.mask);
        python "set.table" ["PySetObject::table"] |o, _| signed(o.set.table);
        python "module.dict" ["PyModuleObject::md_dict"] |o, _| signed(o.module.dict);
        python "module.definition" ["PyModuleObject::md_token", "PyModuleObject::md_def"] |o, _| signed(o.module.definition);
        python "module.state" ["PyModuleObject::md_state"] |o, _| signed(o.module.state);
        python "function.code" ["PyFunctionObject::func_code"] |o, _| signed(o.function.code);
        python "function.qualified_name" ["PyFunctionObject::func_qualname"] |o, _| signed(o.function.qualified_name);
        python "function.closure" ["PyFunctionObject::func_closure"] |o, _| signed(o.function.closure);
        python "method.function" ["PyMethodObject::im_func"] |o, _| signed(o.method.function);
        python "method.instance" ["PyMethodObject::im_self"] |o, _| signed(o.method.instance);
        python "method.function (in C)" ["PyCFunctionObject::m_ml"] |o, _| signed(o.method.function);
        python "method.instance (in C)" ["PyCFunctionObject::m_self"] |o, _| signed(o.method.instance);
        python "descriptor_name" ["PyDescrObject::d_name"] |o, _| signed(o.descriptor_name);
        python "cell_contents" ["PyCellObject::ob_ref"] |o, _| signed(o.cell_contents);
        python "weakref_object" ["PyWeakReference::wr_object"] |o, _| signed(o.weakref_object);
        python "running_loop" ["_PyThreadStateImpl::asyncio_running_loop"] |o, _| match o.running_loop {
            RunningLoop::ThreadState(offset) => signed(offset),
            _ => None,
        };
        asyncio "running_loop" ["PyRunningLoopHolder::rl_loop"] |o, _| match o.running_loop {
            RunningLoop::Holder(offset) => signed(offset),
            _ => None,
        };
        asyncio "future.callback0" ["FutureObj::fut_callback0"] |o, _| signed(o.future.callback0);
        asyncio "future.callbacks" ["FutureObj::fut_callbacks"] |o, _| signed(o.future.callbacks);
        python "walk.object_type" ["PyObject::ob_type"] |_, w| short(w.object_type);
        python "walk.weakref_object" ["PyWeakReference::wr_object"] |_, w| short(w.weakref_object);
        asyncio "walk.task_coro" ["TaskObj::task_coro"] |_, w| short(w.task_coro);
        asyncio "walk.task_name" ["TaskObj::task_name"] |_, w| short(w.task_name);
        asyncio "walk.task_loop" ["TaskObj::task_loop"] |_, w| short(w.task_loop);
        asyncio "walk.task_fut_waiter" ["TaskObj::task_fut_waiter"] |_, w| short(w.task_fut_waiter);
        asyncio "walk.task_state" ["TaskObj::task_state"] |_, w| short(w.task_state);
        asyncio "walk.task_cancellations" ["TaskObj::task_num_cancels_requested", "TaskObj::task_must_cancel"] |_, w| short(w.task_cancellations);
        asyncio "walk.task_node" ["TaskObj::task_node"] |_, w| short(w.task_node);
        python "walk.generator_frame_state" ["PyGenObject::gi_frame_state", "PyGenObject::gi_running"] |_, w| short(w.generator_frame_state);
        python "walk.generator_frame" ["PyGenObject::gi_iframe", "PyGenObject::gi_frame"] |_, w| short(w.generator_frame);
        python "walk.frame_code" ["struct _PyInterpreterFrame::f_executable", "struct _PyInterpreterFrame::f_code", "PyFrameObject::f_code"] |_, w| short(w.frame_code);
        python "walk.frame_previous" ["struct _PyInterpreterFrame::previous", "PyFrameObject::f_back"] |_, w| short(w.frame_previous);
        python "walk.frame_instruction" ["struct _PyInterpreterFrame::instr_ptr", "struct _PyInterpreterFrame::prev_instr", "PyFrameObject::f_lasti"] |_, w| short(w.frame_instruction);
        python "walk.frame_stack" ["struct _PyInterpreterFrame::stackpointer", "struct _PyInterpreterFrame::stacktop", "PyFrameObject::f_stackdepth", "PyFrameObject::f_stacktop"] |_, w| short(w.frame_stack);
        python "walk.frame_locals" ["struct _PyInterpreterFrame::localsplus", "PyFrameObject::f_localsplus"] |_, w| short(w.frame_locals);
        python "walk.frame_owner" ["struct _PyInterpreterFrame::owner"] |_, w| (!w.has_heap_frames()).then_some(w.frame_owner.into());
        python "walk.frame_generator" ["PyFrameObject::f_gen"] |_, w| w.has_heap_frames().then_some(w.frame_generator.into());
        python "walk.frame_state" ["PyFrameObject::f_state", "PyFrameObject::f_executing"] |_, w| w.has_heap_frames().then_some(w.frame_state.into());
        python "walk.frame_value_stack" ["PyFrameObject::f_valuestack"] |_, w| w.has_heap_frames().then_some(w.frame_value_stack.into());
        python "walk.code_bytes" ["PyCodeObject::co_code"] |_, w| w.has_heap_frames().then_some(w.code_bytes.into());
        python "walk.bytes_value" ["PyBytesObject::ob_sval"] |_, w| w.has_heap_frames().then_some(w.bytes_value.into());
        python "walk.thread_current_frame" ["PyThreadState::current_frame", "PyThreadState::frame", "PyThreadState::cframe"] |_, w| short(w.thread_current_frame);
        python "walk.cframe_current_frame" ["_PyCFrame::current_frame"] |_, w| (w.quirks & quirks::CFRAME != 0).then_some(w.cframe_current_frame.into());
        python "walk.set_mask" ["PySetObject::mask"] |_, w| short(w.set_mask);
        python "walk.set_table" ["PySetObject::table"] |_, w| short(w.set_table);
        python "walk.state_created" ["FRAME_CREATED"] |_, w| has_states(w).then_some(w.state_created.into());
        python "walk.state_suspended" ["FRAME_SUSPENDED"] |_, w| has_states(w).then_some(w.state_suspended.into());
        python "walk.state_awaiting" ["FRAME_SUSPENDED_YIELD_FROM", "FRAME_SUSPENDED"] |_, w| has_states(w).then_some(w.state_awaiting.into());
        python "walk.state_executing" ["FRAME_EXECUTING"] |_, w| has_states(w).then_some(w.state_executing.into());
        python "walk.owner_internal" ["FRAME_OWNED_BY_INTERPRETER", "FRAME_OWNED_BY_CSTACK"] |_, w| (w.owner_internal != u8::MAX).then_some(w.owner_internal.into());
    }
    .into()
}

/// What the debug information of one build says of each fact.
struct Truth {
    values: HashMap<String, i64>,
}

impl Truth {
    fn read(files: &[PathBuf], folders: &[PathBuf]) -> Result<Self> {
        let facts = facts();
        let mut expressions: Vec<String> = facts
            .iter()
            .flat_map(|fact| fact.expressions)
            .map(|text| expression(text))
            .collect();
        expressions.push(IN_ASYNCIO.to_owned());
        expressions.sort();
        expressions.dedup();
        let mut values = HashMap::new();
        for file in files {
            for (expression, value) in dwarf::values(file, folders, &expressions)? {
                values.entry(expression).or_insert(value);
            }
        }
        Ok(Self { values })
    }

    fn of(&self, fact: &Fact) -> Option<i64> {
        let mut expressions = fact.expressions.iter();
        expressions.find_map(|text| self.values.get(&expression(text)).copied())
    }

    fn has_asyncio(&self) -> bool {
        self.values.contains_key(IN_ASYNCIO)
    }

    /// What differs from a table, or cannot be told.
    fn differences(&self, offsets: &Offsets, walk: &Layout) -> Vec<String> {
        let facts = facts();
        let checked = facts.iter().filter(|fact| self.has_asyncio() || !fact.is_asyncio);
        checked
            .filter_map(|fact| {
                let ours = (fact.ours)(offsets, walk)?;
                match self.of(fact) {
                    Some(truth) if truth == ours => None,
                    Some(truth) => Some(format!("{} is {truth}, the table says {ours}", fact.name)),
                    None => Some(format!("{} is in no debug information", fact.name)),
                }
            })
            .collect()
    }

    /// All that is known, as a new table needs it.
    fn print(&self) {
        for fact in facts() {
            if let Some(value) = self.of(&fact) {
                println!("{} = {value}", fact.name);
            }
        }
    }
}

fn debug_information(python: &Python, files: &[PathBuf]) -> Result<()> {
    let truth = Truth::read(files, &folders(python))?;
    let target = Target::start::<&str>(python, TARGET, &[])?;
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = match find_interpreter(&memory, &mappings(target.pid)?) {
        Ok(interpreter) => interpreter,
        Err(error) => {
            truth.print();
            bail!("there is no table: {error}");
        }
    };
    interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
    let walk = *interpreter.layouts().next().context("no asyncio was found")?.1;
    let objects = interpreter.objects(&memory);
    let differences = truth.differences(objects.offsets, &walk);
    if !differences.is_empty() {
        truth.print();
        bail!("{}", differences.join("\n"));
    }
    Ok(())
}

/// Nobody packages free-threaded builds, but what they look like is in everyone's headers.
fn free_threaded(python: &Python) -> Result<Option<Trial>> {
    if python.version < (3, 13) || python.label.ends_with("-dbg") {
        return Ok(None);
    }
    let name = format!("{}::free_threaded_headers", python.label);
    let headers = Headers::of(python)?;
    if !headers.has("internal/pycore_tstate.h") {
        return Ok(Some(trials::skipped(name, "its internal headers are not there")));
    }
    Ok(Some(trials::trial(name, move || free_threaded_headers(&headers))))
}

fn free_threaded_headers(headers: &Headers) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("free_threaded");
    let source = environment::repository().join("tests/headers/free_threaded.c");
    let mut command = headers.compiler(&["", "internal", "internal/mimalloc"]);
    command.args(["-g", "-w", "-Wl,--unresolved-symbols=ignore-all"]);
    let output = command.arg(&source).arg("-o").arg(&program).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(Command::new(&program).output()?.stdout)?;
    let numbers: Vec<u64> = printed
        .split_ascii_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [before, kind_shift, published @ ..] = numbers.as_slice() else {
        bail!("the program printed {printed:?}");
    };
    let version = Version::from_hex(u32::try_from(published[1])?);
    let table = Table::for_interpreter(&Published(published), version, RUNTIME)?;
    ensure!(
        table.offsets.managed_dict == ManagedDict::Inline { before: *before }
            && u64::from(table.offsets.unicode.kind_shift) == *kind_shift,
        "expected {before} and {kind_shift}, found {table:?}"
    );
    let truth = Truth::read(&[program], &[])?;
    let differences = truth.differences(&table.offsets, &table.walk);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// Memory in which there is nothing but published offsets, and zeros behind them.
struct Published<'a>(&'a [u64]);

impl Memory for Published<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let start = address.0.wrapping_sub(RUNTIME.0);
        for (at, byte) in (start..).zip(buffer) {
            let word = self.0.get((at / 8) as usize).copied().unwrap_or(0);
            *byte = word.to_le_bytes()[(at % 8) as usize];
        }
        Ok(())
    }
}
