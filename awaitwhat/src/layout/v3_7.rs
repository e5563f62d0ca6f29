//! CPython 3.7.
//!
//! Offsets are those of the DWARF of 3.7.16 (`libpython3.7m.so` and its `_asyncio`, x86-64).

use awaitwhat_common::layout::{ABSENT, Layout};

use super::{
    CodeObject, InterpreterState, Offsets, Sizes, Table, TaskLayout, TypeObject, heap_frames, opcodes,
};

pub(super) const TABLE: Table = Table {
    offsets: Offsets {
        runtime_interpreters_head: 24,
        interpreter: InterpreterState {
            modules: 40,
            ..heap_frames::OFFSETS.interpreter
        },
        type_object: TypeObject {
            cached_keys: 856,
            ..heap_frames::OFFSETS.type_object
        },
        // There is no `co_posonlyargcount` yet.
        code: CodeObject {
            bytes: Some(40),
            constants: 48,
            names: 56,
            flags: 32,
            first_line: 36,
            local_names: 64,
            shared_names: Some([80, 72]),
            filename: 96,
            qualified_name: 104,
            line_table: 112,
            ..heap_frames::OFFSETS.code
        },
        sizes: Some(Sizes {
            generator: 96,
            frame: 368,
            code: 144,
        }),
        tasks: &TASKS,
        opcodes: opcodes::V3_7,
        ..heap_frames::OFFSETS
    },
    walk: Layout {
        code_bytes: 40,
        ..heap_frames::WALK
    },
};

// Tasks have no names.
const TASKS: [TaskLayout; 1] = [TaskLayout {
    size: 136,
    state: 72,
    cancellations: 128,
    fut_waiter: 104,
    coro: 112,
    name: ABSENT,
}];
