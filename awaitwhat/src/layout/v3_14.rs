//! CPython 3.14, which publishes most offsets, those of tasks through its `_asyncio` module.
//!
//! What is not published is of the DWARF of 3.14.10 (Debian's `python3.14` and its `_asyncio`, x86-64); constants are of
//! the headers named beside them.

use awaitwhat_common::layout::{Layout, quirks};

use super::published::{self, Edition, PublishedError};
use super::{
    BytesObject, CodeObject, DictKeys, DictObject, ExitMethods, FunctionObject, FutureObject,
    InterpreterState, LineTable, LongObject, ManagedDict, MethodObject, ModuleObject, NOTHING, NativeId,
    Offsets, Registry, RunningLoop, SequenceObject, SetObject, SimpleQueue, Table, ThreadState, TypeObject,
    UnicodeObject, Version, opcodes,
};
use crate::memory::{Address, Memory};

pub(super) fn table(
    memory: &dyn Memory,
    version: Version,
    runtime: Address,
) -> Result<Table, PublishedError> {
    let mut table = UNPUBLISHED;
    published::apply(memory, runtime, version, Edition::V3_14, &mut table)?;
    Ok(table)
}

/// What 3.14 publishes is overwritten by what the target says.
pub(super) const UNPUBLISHED: Table = Table {
    offsets: OFFSETS,
    walk: WALK,
};

const OFFSETS: Offsets = Offsets {
    runtime_interpreters_head: 808,
    interpreter: InterpreterState {
        next: 7272,
        threads_head: 7344,
        modules: 7688,
    },
    thread: ThreadState {
        previous: 0,
        next: 8,
        interpreter: 16,
        id: NativeId::At(160),
        dict: 128,
    },
    object_type: 8,
    type_object: TypeObject {
        name: 24,
        basic_size: 32,
        flags: 168,
        dict_offset: 288,
        mro: 344,
        cached_keys: 880,
    },
    code: CodeObject {
        bytes: None,
        constants: 24,
        names: 32,
        flags: 48,
        first_line: 68,
        local_names: 96,
        shared_names: None,
        filename: 112,
        qualified_name: 128,
        line_table: 136,
        line_table_format: LineTable::Locations,
        instructions: Some(208),
        copies: None,
    },
    unicode: UnicodeObject {
        length: 16,
        state: 32,
        kind_shift: 2,
        ascii_data: 40,
        data: 56,
    },
    bytes: BytesObject { size: 16, value: 32 },
    long: LongObject {
        tag: 16,
        digits: 24,
        is_tagged: true,
    },
    dict: DictObject {
        keys: 32,
        values: 40,
        first_value: 8,
        keys_format: DictKeys::OfKinds,
    },
    managed_dict: ManagedDict::Inline { before: 24 },
    list: SequenceObject { size: 16, items: 24 },
    tuple: SequenceObject { size: 16, items: 32 },
    set: SetObject {
        used: 24,
        mask: 32,
        table: 40,
    },
    module: ModuleObject {
        dict: 16,
        definition: 24,
        state: 32,
    },
    function: FunctionObject {
        code: 48,
        qualified_name: 40,
        closure: 72,
    },
    method: MethodObject {
        function: 16,
        instance: 24,
    },
    descriptor_name: 24,
    exit_methods: ExitMethods::WithObject,
    cell_contents: 16,
    weakref_object: 16,
    future: FutureObject {
        callback0: 24,
        callbacks: 40,
    },
    simple_queue: SimpleQueue::RING,
    sizes: None,
    tasks: &[],
    running_loop: RunningLoop::Published,
    registry: Registry::ThreadLists,
    has_anext: true,
    opcodes: opcodes::V3_14,
};

/// The offsets of a task follow when `_asyncio` is imported.
const WALK: Layout = Layout {
    object_type: 8,
    weakref_object: 16,
    task_loop: 16,
    generator_frame_state: 67,
    generator_frame: 72,
    frame_code: 0,
    frame_previous: 8,
    frame_instruction: 56,
    frame_stack: 64,
    frame_locals: 80,
    frame_owner: 74,
    // The receiver of `SEND` stays on top while a coroutine is suspended: `_PyGen_yf` (genobject.c) peeks there.
    frame_awaited: 8,
    thread_current_frame: 72,
    set_mask: 32,
    set_table: 40,
    quirks: quirks::STACK_POINTER,
    // pycore_frame.h: enum _framestate.
    state_created: -3,
    state_suspended: -2,
    state_awaiting: -1,
    state_executing: 0,
    // pycore_interpframe_structs.h: FRAME_OWNED_BY_INTERPRETER.
    owner_internal: 3,
    // pycore_stackref.h: Py_INT_TAG covers all bits that a reference can have set.
    tag_mask: 3,
    ..NOTHING
};
