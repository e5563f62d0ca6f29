//! `_AsyncioDebug`: what the `_asyncio` module of 3.14 publishes about tasks.
//!
//! The structure (`Py_AsyncioModuleDebugOffsets` in `_asynciomodule.c`) has a section of its own, but section headers are
//! not mapped, and it has no symbol. It lies in the writable data of the module, though, and begins with a known
//! size, and has another one in its middle: a short search around the module's definition finds it.

use awaitwhat_common::layout::Layout;

use crate::memory::{Address, Memory};
use crate::target::data::scan_data;

/// Words of the structure.
const WORDS: usize = 13;
/// The largest `_PyThreadStateImpl` that is believed.
const MAX_THREAD_STATE_BYTES: u64 = 64 << 10;

/// The published offsets, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsyncioDebug {
    task_name: u16,
    task_awaited_by: u16,
    task_coro: u16,
    task_node: u16,
    /// `PyInterpreterState.asyncio_tasks_head`.
    pub interpreter_tasks_head: u64,
    /// `_PyThreadStateImpl.asyncio_running_loop`.
    pub thread_running_loop: u64,
    /// `_PyThreadStateImpl.asyncio_tasks_head`.
    pub thread_tasks_head: u64,
}

/// Searches the data around `near`, an address of the module's data, for the structure that is about tasks of
/// `task_size` bytes.
pub(crate) fn find(memory: &dyn Memory, near: Address, task_size: u64) -> Option<AsyncioDebug> {
    scan_data(memory, near, |address, word| {
        if word != task_size {
            return None;
        }
        let mut bytes = [0; WORDS * 8];
        memory.read(address, &mut bytes).ok()?;
        let (chunks, _) = bytes.as_chunks::<8>();
        let words: [u64; WORDS] =
            std::array::from_fn(|index| chunks.get(index).map_or(0, |c| u64::from_le_bytes(*c)));
        AsyncioDebug::from_words(&words)
    })
}

impl AsyncioDebug {
    fn from_words(words: &[u64; WORDS]) -> Option<Self> {
        let [
            size,
            name,
            awaited_by,
            is_task,
            is_set,
            coro,
            node,
            interpreter,
            interpreter_head,
            thread,
            rest @ ..,
        ] = *words;
        let [running_loop, running_task, thread_head] = rest;
        let in_task = |offset: u64, align: u64| {
            (offset < size && offset >= 16 && offset.is_multiple_of(align)).then_some(offset)
        };
        let pointer = |offset| u16::try_from(in_task(offset, 8)?).ok();
        let byte = |offset| u16::try_from(in_task(offset, 1)?).ok();
        byte(is_task)?;
        byte(is_set)?;
        let in_thread = |offset: u64| offset.is_multiple_of(8) && offset != 0 && offset < thread;
        let is_plausible = interpreter_head < interpreter
            && interpreter_head.is_multiple_of(8)
            && thread <= MAX_THREAD_STATE_BYTES
            && [running_loop, running_task, thread_head]
                .into_iter()
                .all(in_thread);
        is_plausible.then_some(Self {
            task_name: pointer(name)?,
            task_awaited_by: pointer(awaited_by)?,
            task_coro: pointer(coro)?,
            task_node: pointer(node)?,
            interpreter_tasks_head: interpreter_head,
            thread_running_loop: running_loop,
            thread_tasks_head: thread_head,
        })
    }

    /// Writes the offsets of a task.
    pub(crate) fn apply(&self, walk: &mut Layout) {
        walk.task_name = self.task_name;
        walk.task_coro = self.task_coro;
        walk.task_node = self.task_node;
        // Not published: in `TaskObj` of 3.14 `task_fut_waiter` comes right before `task_coro`, and before it, aligned as a pointer is,
        // `task_num_cancels_requested`; `task_state` comes right after `task_awaited_by`.
        walk.task_fut_waiter = self.task_coro.wrapping_sub(8);
        walk.task_cancellations = self.task_coro.wrapping_sub(16);
        walk.task_state = self.task_awaited_by.wrapping_add(8);
    }
}
