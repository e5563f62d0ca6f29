//! CPython 3.9.
//!
//! Offsets are those of the DWARF of 3.9.18 (`libpython3.9.so` and its `_asyncio`, x86-64).

use super::{Offsets, Sizes, Table, TaskLayout, heap_frames};

pub(super) const TABLE: Table = Table {
    offsets: Offsets {
        sizes: Some(Sizes {
            generator: 96,
            frame: 368,
            code: 176,
        }),
        tasks: &TASKS,
        ..heap_frames::OFFSETS
    },
    walk: heap_frames::WALK,
};

const TASKS: [TaskLayout; 1] = [TASK];

pub(super) const TASK: TaskLayout = TaskLayout {
    size: 184,
    state: 80,
    cancellations: 176,
    fut_waiter: 144,
    coro: 152,
    name: 160,
};
