//! CPython 3.11, which publishes nothing about itself.
//!
//! Offsets are those of the DWARF of 3.11.7 (`libpython3.11.so` and its `_asyncio`, x86-64); constants are of the
//! headers named beside them.

use awaitwhat_common::layout::{Layout, quirks};

use super::{
    BytesObject, CodeObject, DictKeys, DictObject, ExitMethods, FunctionObject, FutureObject,
    InterpreterState, LineTable, LongObject, ManagedDict, MethodObject, ModuleObject, NOTHING, NativeId,
    Offsets, Registry, RunningLoop, SequenceObject, SetObject, SimpleQueue, Table, ThreadState, TypeObject,
    UnicodeObject, opcodes,
};

pub(super) const TABLE: Table = Table {
    offsets: OFFSETS,
    walk: WALK,
};

const OFFSETS: Offsets = Offsets {
    runtime_interpreters_head: 40,
    interpreter: InterpreterState {
        next: 0,
        threads_head: 16,
        modules: 888,
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
        cached_keys: 872,
    },
    code: CodeObject {
        bytes: None,
        constants: 24,
        names: 32,
        flags: 48,
        first_line: 72,
        local_names: 96,
        shared_names: None,
        filename: 112,
        qualified_name: 128,
        line_table: 136,
        line_table_format: LineTable::Locations,
        instructions: Some(184),
        copies: None,
    },
    unicode: UnicodeObject {
        length: 16,
        state: 32,
        kind_shift: 2,
        ascii_data: 48,
        data: 72,
    },
    bytes: BytesObject { size: 16, value: 32 },
    long: LongObject {
        tag: 16,
        digits: 24,
        is_tagged: false,
    },
    dict: DictObject {
        keys: 32,
        values: 40,
        first_value: 0,
        keys_format: DictKeys::OfKinds,
    },
    managed_dict: ManagedDict::Pointers,
    list: SequenceObject { size: 16, items: 24 },
    tuple: SequenceObject { size: 16, items: 24 },
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
    exit_methods: ExitMethods::Bound,
    cell_contents: 16,
    weakref_object: 16,
    future: FutureObject {
        callback0: 24,
        callbacks: 40,
    },
    simple_queue: SimpleQueue::LIST,
    sizes: None,
    tasks: &[],
    running_loop: RunningLoop::Holder(16),
    registry: Registry::AllTasks,
    has_anext: true,
    opcodes: opcodes::V3_11,
};

const WALK: Layout = Layout {
    object_type: 8,
    weakref_object: 16,
    task_coro: 136,
    task_name: 144,
    task_loop: 16,
    task_fut_waiter: 128,
    task_state: 88,
    task_cancellations: 168,
    generator_frame_state: 75,
    generator_frame: 80,
    frame_code: 32,
    frame_previous: 48,
    frame_instruction: 56,
    frame_stack: 64,
    frame_locals: 72,
    frame_owner: 69,
    // The receiver of `SEND` stays on top while a coroutine is suspended: `_PyGen_yf` (genobject.c) peeks there.
    frame_awaited: 8,
    thread_current_frame: 56,
    cframe_current_frame: 8,
    set_mask: 32,
    set_table: 40,
    quirks: quirks::CFRAME | quirks::AWAIT_BY_OPCODE,
    // pycore_frame.h: enum _framestate.
    state_created: -2,
    state_suspended: -1,
    state_awaiting: -1,
    state_executing: 0,
    // pycore_frame.h: enum _frameowner has no frames of the interpreter's own.
    owner_internal: u8::MAX,
    // opcode.h: RESUME; pycore_opcode.h: RESUME_QUICK.
    resume_opcodes: [151, 150, 0],
    ..NOTHING
};
