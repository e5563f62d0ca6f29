//! `_Py_DebugOffsets`: what an interpreter publishes about itself at the start of `_PyRuntime` (3.13+).
//!
//! It is a sequence of 64-bit words in sections; most sections begin with the size of the structure that they are
//! about, and every offset must lie inside it (`pycore_runtime.h` of 3.13, `pycore_debug_offsets.h` of 3.14).

use super::{RunningLoop, Table, Version};
use crate::memory::{Address, Fault, Memory};

/// The first eight bytes.
const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");
/// Words that are read: more than any known edition has in front of the parts that are of use here.
const MAX_WORDS: usize = 160;
/// The largest structure that is believed (`PyInterpreterState` and `_PyRuntimeState` have some hundred KiB).
const MAX_STRUCT_BYTES: u64 = 16 << 20;

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
    #[error("this is a free-threaded build of CPython, which awaitwhat cannot read yet")]
    FreeThreaded,
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
    words.check_header(version)?;
    words.apply_states(edition, table)?;
    words.apply_frame_and_code(edition, table)?;
    words.apply_objects(edition, table)
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

    fn check_header(&mut self, version: Version) -> Result<(), PublishedError> {
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
        if free_threaded != 0 {
            return Err(PublishedError::FreeThreaded);
        }
        Ok(())
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
            Edition::V3_14 => {
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
        let [
            previous,
            next,
            interpreter,
            current_frame,
            thread_id,
            native_thread_id,
            _,
            _,
        ] = self.section("thread_state")?;
        if edition == Edition::V3_13 {
            // Not published: it follows the `PyThreadState` that a `_PyThreadStateImpl` begins with (pycore_tstate.h).
            offsets.running_loop = RunningLoop::ThreadState(thread_size);
        }
        // Not published: `dict`, `gilstate_counter` and `async_exc` come right before `thread_id` (pystate.h of both).
        let dict = thread_id.wrapping_sub(24);
        offsets.thread = super::ThreadState {
            previous,
            next,
            interpreter,
            native_thread_id,
            dict,
        };
        table.walk.thread_current_frame = narrow("thread_state", current_frame)?;
        Ok(())
    }

    fn apply_frame_and_code(&mut self, edition: Edition, table: &mut Table) -> Result<(), PublishedError> {
        let name = "interpreter_frame";
        let (frame, stack) = match edition {
            Edition::V3_13 => (self.section::<5>(name)?, None),
            Edition::V3_14 => {
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
        let code = match edition {
            Edition::V3_13 => self.section::<9>("code_object")?,
            Edition::V3_14 => {
                let [rest @ .., _] = self.section::<10>("code_object")?;
                rest
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
            first_line,
            local_names,
            filename,
            qualified_name,
            line_table,
            instructions,
            ..*code
        };
        Ok(())
    }

    fn apply_objects(&mut self, edition: Edition, table: &mut Table) -> Result<(), PublishedError> {
        let Table { offsets, walk } = table;
        [offsets.object_type] = self.section("pyobject")?;
        walk.object_type = narrow("pyobject", offsets.object_type)?;
        [offsets.type_object.name, _, offsets.type_object.flags] = self.section("type_object")?;
        [offsets.tuple.items, offsets.tuple.size] = self.section("tuple_object")?;
        [offsets.list.items, offsets.list.size] = self.section("list_object")?;
        if edition == Edition::V3_14 {
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
        [
            offsets.unicode.state,
            offsets.unicode.length,
            offsets.unicode.ascii_data,
        ] = self.section("unicode_object")?;
        let [_] = self.section("gc")?;
        if edition == Edition::V3_14 {
            let [_, frame, state] = self.section("gen_object")?;
            walk.generator_frame = narrow("gen_object", frame)?;
            walk.generator_frame_state = narrow("gen_object", state)?;
        }
        Ok(())
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
