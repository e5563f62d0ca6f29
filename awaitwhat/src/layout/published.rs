//! `_Py_DebugOffsets`: what an interpreter publishes about itself at the start of `_PyRuntime` (3.13+).
//!
//! It is a sequence of 64-bit words in sections; most sections begin with the size of the structure that they are
//! about, and every offset must lie inside it (`pycore_runtime.h` of 3.13, `pycore_debug_offsets.h` of 3.14 and 3.15).
//!
//! A free-threaded build says so at the beginning. Its objects have a longer header, so everything behind a header is further
//! on: what such a build does not publish is derived from the tables of the ordinary one ([`make_free_threaded`]).

use super::{ManagedDict, Offsets, RunningLoop, Table, Version};
use crate::memory::{Address, Fault, Memory};

/// The first eight bytes.
pub(crate) const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");
/// Words that are read: more than any known edition has in front of the parts that are of use here.
const MAX_WORDS: usize = 160;
/// The largest structure that is believed (`PyInterpreterState` and `_PyRuntimeState` have some hundred KiB).
const MAX_STRUCT_BYTES: u64 = 16 << 20;

/// `sizeof(PyObject)`: `ob_refcnt` and `ob_type` (object.h).
const HEADER_BYTES: u64 = 16;
/// `sizeof(PyObject)` in a free-threaded build: `ob_tid`, flags, a lock and bits of the collector, two reference counts, and `ob_type`.
const FREE_THREADED_HEADER_BYTES: u64 = 32;

/// What is wrong with the published offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    #[error("the interpreter's debug offsets cannot be read: {0}")]
    Fault(#[from] Fault),
    #[error(
        "the interpreter's debug offsets do not begin with their cookie (found {found:#x}): this is not a build of CPython that awaitwhat knows"
    )]
    Cookie { found: u64 },
    #[error("the interpreter is CPython {interpreter}, but its debug offsets are those of {published}")]
    Version {
        interpreter: Version,
        published: Version,
    },
    #[error(
        "the interpreter's debug offsets make no sense: they say `free_threaded` is {found:#x}, which should be 0 or 1"
    )]
    FreeThreaded { found: u64 },
    #[error(
        "the interpreter's debug offsets make no sense: {section} has size {size} and an offset of {offset}"
    )]
    Nonsense {
        section: &'static str,
        size: u64,
        offset: u64,
    },
}

/// Which shape the structure has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edition {
    V3_13,
    V3_14,
    V3_15,
}

/// The version of the offsets at `runtime`; `None` where there are none.
pub(crate) fn version(memory: &dyn Memory, runtime: Address) -> Option<Version> {
    let cookie = memory.read_u64(runtime).ok()?;
    let version = memory.read_u64(runtime.offset(8)).ok()?;
    let version = Version::from_hex(u32::try_from(version).ok()?);
    // What begins like them by chance is of no known version.
    (cookie == COOKIE && version.minor().0 == 3).then_some(version)
}

/// Overwrites in `table` whatever the interpreter publishes.
pub(super) fn apply(
    memory: &dyn Memory,
    runtime: Address,
    version: Version,
    edition: Edition,
    table: &mut Table,
) -> Result<(), PublishedError> {
    let mut words = Words::read(memory, runtime)?;
    if words.take_header(version)? {
        make_free_threaded(edition, table);
    }
    words.apply_states(edition, table)?;
    words.apply_frame_and_code(edition, table)?;
    words.apply_objects(edition, table)
}

/// Moves what the tables have of an ordinary build to where a free-threaded one has it. What is published overwrites it afterwards.
///
/// Proven with the headers of 3.13 to 3.15, compiled with `Py_GIL_DISABLED` (`cargo xtask offsets`).
fn make_free_threaded(edition: Edition, table: &mut Table) {
    const MORE: u64 = FREE_THREADED_HEADER_BYTES - HEADER_BYTES;
    let Table { offsets, walk } = table;
    let Offsets {
        object_type,
        type_object,
        code,
        unicode,
        set,
        module,
        function,
        method,
        descriptor_name,
        cell_contents,
        weakref_object,
        future,
        ..
    } = offsets;
    for offset in [
        object_type,
        &mut type_object.basic_size,
        &mut type_object.dict_offset,
        &mut type_object.mro,
        &mut type_object.cached_keys,
        &mut code.constants,
        &mut code.names,
        &mut code.flags,
        &mut unicode.data,
        &mut set.used,
        &mut set.mask,
        &mut set.table,
        &mut module.dict,
        &mut module.definition,
        &mut module.state,
        &mut function.code,
        &mut function.qualified_name,
        &mut function.closure,
        &mut method.function,
        &mut method.instance,
        descriptor_name,
        cell_contents,
        weakref_object,
        &mut future.callback0,
        &mut future.callbacks,
    ] {
        *offset += MORE;
    }
    for offset in [
        &mut walk.weakref_object,
        &mut walk.task_coro,
        &mut walk.task_name,
        &mut walk.task_loop,
        &mut walk.task_fut_waiter,
        &mut walk.task_state,
        &mut walk.generator_frame_state,
        &mut walk.generator_frame,
        &mut walk.set_mask,
        &mut walk.set_table,
    ] {
        *offset += MORE as u16;
    }
    if walk.task_cancellations != awaitwhat_common::layout::ABSENT {
        walk.task_cancellations += MORE as u16;
    }
    // pycore_object.h: MANAGED_DICT_OFFSET; there is no header of the collector before an object.
    offsets.managed_dict = ManagedDict::Inline { before: 8 };
    if edition != Edition::V3_13 {
        // cpython/unicodeobject.h: `interned` is a byte of its own.
        offsets.unicode.kind_shift = 8;
    }
}

/// The published offsets of any edition, also one that is not known, as far as they look like offsets; `None` where there are none.
pub(crate) fn words(memory: &dyn Memory, runtime: Address) -> Option<Vec<u64>> {
    let Words { words, .. } = Words::read(memory, runtime).ok()?;
    let [cookie, version, free_threaded, offsets @ ..] = words;
    if cookie != COOKIE {
        return None;
    }
    // Behind them come addresses of the process.
    let offsets = offsets.into_iter().take_while(|&word| word <= MAX_STRUCT_BYTES);
    Some([version, free_threaded].into_iter().chain(offsets).collect())
}

struct Words {
    words: [u64; MAX_WORDS],
    position: usize,
}

impl Words {
    fn read(memory: &dyn Memory, runtime: Address) -> Result<Self, Fault> {
        let mut bytes = [0; MAX_WORDS * 8];
        memory.read(runtime, &mut bytes)?;
        let mut words = [0; MAX_WORDS];
        let (chunks, _) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        Ok(Self { words, position: 0 })
    }

    /// Checks what stands before the sections; whether it is a free-threaded build.
    fn take_header(&mut self, version: Version) -> Result<bool, PublishedError> {
        let [cookie, published, free_threaded] = self.take();
        if cookie != COOKIE {
            return Err(PublishedError::Cookie { found: cookie });
        }
        let published = Version::from_hex(u32::try_from(published).unwrap_or(u32::MAX));
        if published != version {
            return Err(PublishedError::Version {
                interpreter: version,
                published,
            });
        }
        match free_threaded {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(PublishedError::FreeThreaded { found }),
        }
    }

    fn apply_states(&mut self, edition: Edition, table: &mut Table) -> Result<(), PublishedError> {
        let offsets = &mut table.offsets;
        let [_, interpreters_head] = self.section("runtime_state")?;
        offsets.runtime_interpreters_head = interpreters_head;
        let (next, threads_head, modules) = match edition {
            Edition::V3_13 => {
                let [_, next, threads, _, modules, _, _, _, _, _, _, _] =
                    self.section("interpreter_state")?;
                (next, threads, modules)
            }
            Edition::V3_14 | Edition::V3_15 => {
                let [_, next, threads, _, _, modules, _, _, _, _, _, _, _, _, _] =
                    self.section("interpreter_state")?;
                (next, threads, modules)
            }
        };
        offsets.interpreter = super::InterpreterState {
            next,
            threads_head,
            modules,
        };
        let thread_size = self.peek();
        let name = "thread_state";
        let thread = if edition == Edition::V3_15 {
            let [
                previous,
                next,
                interpreter,
                frame,
                _,
                _,
                _,
                id,
                native_id,
                rest @ ..,
            ] = self.section::<15>(name)?;
            let [_, _, _, _, _, _] = rest;
            // `err_stackitem`, which has no size.
            let [_] = self.take();
            [previous, next, interpreter, frame, id, native_id]
        } else {
            let [thread @ .., _, _] = self.section::<8>(name)?;
            thread
        };
        let [
            previous,
            next,
            interpreter,
            current_frame,
            thread_id,
            native_thread_id,
        ] = thread;
        if edition == Edition::V3_13 {
            // Not published: it follows the `PyThreadState` that a `_PyThreadStateImpl` begins with (pycore_tstate.h).
            offsets.running_loop = RunningLoop::ThreadState(thread_size);
        }
        // Not published: `dict`, `gilstate_counter` and `async_exc` come right before `thread_id` (pystate.h of all).
        let dict = thread_id.wrapping_sub(24);
        offsets.thread = super::ThreadState {
            previous,
            next,
            interpreter,
            id: super::NativeId::At(native_thread_id),
            dict,
        };
        table.walk.thread_current_frame = narrow(name, current_frame)?;
        Ok(())
    }

    fn apply_frame_and_code(&mut self, edition: Edition, table: &mut Table) -> Result<(), PublishedError> {
        let name = "interpreter_frame";
        let (frame, stack) = match edition {
            Edition::V3_13 => (self.section::<5>(name)?, None),
            Edition::V3_14 | Edition::V3_15 => {
                let [previous, code, instruction, locals, owner, stack, _] = self.section(name)?;
                ([previous, code, instruction, locals, owner], Some(stack))
            }
        };
        let [previous, code, instruction, locals, owner] = frame;
        let walk = &mut table.walk;
        walk.frame_previous = narrow(name, previous)?;
        walk.frame_code = narrow(name, code)?;
        walk.frame_instruction = narrow(name, instruction)?;
        walk.frame_locals = narrow(name, locals)?;
        walk.frame_owner = narrow(name, owner)?;
        if let Some(stack) = stack {
            walk.frame_stack = narrow(name, stack)?;
        }
        let (code, copies) = match edition {
            Edition::V3_13 => (self.section::<9>("code_object")?, 0),
            Edition::V3_14 | Edition::V3_15 => {
                let [rest @ .., copies] = self.section::<10>("code_object")?;
                (rest, copies)
            }
        };
        let [
            filename,
            _,
            qualified_name,
            line_table,
            first_line,
            _,
            local_names,
            _,
            instructions,
        ] = code;
        let code = &mut table.offsets.code;
        *code = super::CodeObject {
            // Published as 0 where there are none, which is where every object has its header.
            copies: (copies != 0).then_some(copies),
            first_line,
            local_names,
            filename,
            qualified_name,
            line_table,
            instructions: Some(instructions),
            ..*code
        };
        Ok(())
    }

    fn apply_objects(&mut self, edition: Edition, table: &mut Table) -> Result<(), PublishedError> {
        let Table { offsets, walk } = table;
        let header = offsets.object_type + 8;
        let size = self.peek();
        [offsets.object_type] = self.section("pyobject")?;
        if size != header || offsets.header_bytes() != header {
            return Err(PublishedError::Nonsense {
                section: "pyobject",
                size,
                offset: offsets.object_type,
            });
        }
        walk.object_type = narrow("pyobject", offsets.object_type)?;
        let types = &mut offsets.type_object;
        if edition == Edition::V3_15 {
            [types.name, _, types.flags, types.basic_size, types.dict_offset] =
                self.section("type_object")?;
            [types.cached_keys] = self.section("heap_type_object")?;
        } else {
            [types.name, _, types.flags] = self.section("type_object")?;
        }
        [offsets.tuple.items, offsets.tuple.size] = self.section("tuple_object")?;
        [offsets.list.items, offsets.list.size] = self.section("list_object")?;
        if edition != Edition::V3_13 {
            let [used, entries, mask] = self.section("set_object")?;
            offsets.set = super::SetObject {
                used,
                mask,
                table: entries,
            };
            walk.set_mask = narrow("set_object", mask)?;
            walk.set_table = narrow("set_object", entries)?;
        }
        [offsets.dict.keys, offsets.dict.values] = self.section("dict_object")?;
        let [_] = self.section("float_object")?;
        [offsets.long.tag, offsets.long.digits] = self.section("long_object")?;
        [offsets.bytes.size, offsets.bytes.value] = self.section("bytes_object")?;
        self.apply_unicode(edition, &mut offsets.unicode)?;
        if edition == Edition::V3_15 {
            // Sizes of other structures are among the collector's offsets.
            let [_, _, _, _, _] = self.take();
        } else {
            let [_] = self.section("gc")?;
        }
        if edition != Edition::V3_13 {
            let [_, frame, state] = self.section("gen_object")?;
            walk.generator_frame = narrow("gen_object", frame)?;
            walk.generator_frame_state = narrow("gen_object", state)?;
        }
        Ok(())
    }

    fn apply_unicode(
        &mut self,
        edition: Edition,
        unicode: &mut super::UnicodeObject,
    ) -> Result<(), PublishedError> {
        let name = "unicode_object";
        let size = self.peek();
        [unicode.state, unicode.length] = self.section(name)?;
        let sizes = if edition == Edition::V3_15 {
            self.take()
        } else {
            let [ascii] = self.take();
            [ascii, unicode.data]
        };
        // Sizes of what a `PyUnicodeObject` begins with.
        [unicode.ascii_data, unicode.data] = sizes;
        match sizes.into_iter().find(|&inner| inner >= size) {
            Some(offset) => Err(PublishedError::Nonsense {
                section: name,
                size,
                offset,
            }),
            None => Ok(()),
        }
    }

    /// The next word, which is still to be taken.
    fn peek(&self) -> u64 {
        self.words.get(self.position).copied().unwrap_or(0)
    }

    /// The next `N` words; words that are not there are 0.
    fn take<const N: usize>(&mut self) -> [u64; N] {
        let words = std::array::from_fn(|index| self.words.get(self.position + index).copied().unwrap_or(0));
        self.position += N;
        words
    }

    /// The `N` offsets of a section that begins with a size; all of them must be smaller.
    fn section<const N: usize>(&mut self, section: &'static str) -> Result<[u64; N], PublishedError> {
        let [size] = self.take();
        let offsets = self.take();
        match offsets
            .iter()
            .find(|&&offset| offset >= size || size > MAX_STRUCT_BYTES)
        {
            Some(&offset) => Err(PublishedError::Nonsense {
                section,
                size,
                offset,
            }),
            None => Ok(offsets),
        }
    }
}

/// `offset` for the walker, whose offsets have 16 bits.
fn narrow(section: &'static str, offset: u64) -> Result<u16, PublishedError> {
    u16::try_from(offset).map_err(|_| PublishedError::Nonsense {
        section,
        size: u64::from(u16::MAX),
        offset,
    })
}
