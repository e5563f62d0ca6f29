//! CPython 3.10: a frame has one state in place of `f_executing` and `gi_running`, and counts its instructions and its stack.
//!
//! Until 3.10.5 a task is laid out as in 3.9; then futures got `fut_exception_tb` (python/cpython#94748). Its size tells which.
//!
//! Offsets are those of the DWARF of 3.10.13 (`libpython3.10.so` and its `_asyncio`, x86-64); constants are of the headers named beside
//! them.

use awaitwhat_common::layout::{ABSENT, Layout, quirks};

use super::{
    CodeObject, FunctionObject, LineTable, Offsets, Sizes, Table, TaskLayout, TypeObject, heap_frames,
    opcodes, v3_9,
};

pub(super) const TABLE: Table = Table {
    offsets: Offsets {
        type_object: TypeObject {
            cached_keys: 872,
            ..heap_frames::OFFSETS.type_object
        },
        code: CodeObject {
            line_table_format: LineTable::Ranges,
            ..heap_frames::OFFSETS.code
        },
        function: FunctionObject {
            code: 48,
            qualified_name: 40,
            closure: 72,
        },
        sizes: Some(Sizes {
            generator: 88,
            frame: 360,
            code: 176,
        }),
        tasks: &TASKS,
        has_anext: true,
        opcodes: opcodes::V3_10,
        ..heap_frames::OFFSETS
    },
    walk: Layout {
        generator_frame_state: ABSENT,
        frame_instruction: 96,
        frame_stack: 80,
        frame_locals: 352,
        frame_generator: 88,
        frame_state: 108,
        instruction_unit: 2,
        quirks: quirks::HEAP_FRAME | quirks::AWAIT_BY_OPCODE | quirks::SIZED_KEYS,
        // cpython/frameobject.h: enum _framestate.
        state_created: -2,
        state_suspended: -1,
        state_awaiting: -1,
        state_executing: 0,
        ..heap_frames::WALK
    },
};

const TASKS: [TaskLayout; 2] = [
    v3_9::TASK,
    TaskLayout {
        size: 192,
        state: 88,
        cancellations: 184,
        fut_waiter: 152,
        coro: 160,
        name: 168,
    },
];
