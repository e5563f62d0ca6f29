//! CPython 3.8.
//!
//! Offsets are those of the DWARF of 3.8.18 (`libpython3.8.so` and its `_asyncio`, x86-64).

use super::{InterpreterState, Offsets, Sizes, Table, TaskLayout, TypeObject, heap_frames, opcodes};

pub(super) const TABLE: Table = Table {
    offsets: Offsets {
        interpreter: InterpreterState {
            modules: 56,
            ..heap_frames::OFFSETS.interpreter
        },
        type_object: TypeObject {
            cached_keys: 872,
            ..heap_frames::OFFSETS.type_object
        },
        sizes: Some(Sizes {
            generator: 96,
            frame: 368,
            code: 176,
        }),
        tasks: &TASKS,
        opcodes: opcodes::V3_8,
        ..heap_frames::OFFSETS
    },
    walk: heap_frames::WALK,
};

const TASKS: [TaskLayout; 1] = [TaskLayout {
    size: 144,
    state: 72,
    cancellations: 136,
    fut_waiter: 104,
    coro: 112,
    name: 120,
}];
