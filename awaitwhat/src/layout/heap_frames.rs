//! What CPython 3.7 to 3.10 have in common: frames that are objects of their own. None of them publishes anything.
//!
//! Where a version differs, its own table says so and names the build that it is taken from.

use awaitwhat_common::layout::{Layout, quirks};

use super::{
    BytesObject, CodeObject, DictKeys, DictObject, ExitMethods, FunctionObject, FutureObject,
    InterpreterState, LineTable, LongObject, ManagedDict, MethodObject, ModuleObject, NOTHING, NativeId,
    Offsets, Registry, RunningLoop, SequenceObject, SetObject, SimpleQueue, ThreadState, TypeObject,
    UnicodeObject, opcodes,
};

/// Those of 3.9, but for what differs between patch releases of one version.
pub(super) const OFFSETS: Offsets = Offsets {
    runtime_interpreters_head: 32,
    interpreter: InterpreterState {
        next: 0,
        threads_head: 8,
        modules: 856,
    },
    thread: ThreadState {
        previous: 0,
        next: 8,
        interpreter: 16,
        id: NativeId::Unknown { posix: 176 },
        dict: 152,
    },
    object_type: 8,
    type_object: TypeObject {
        name: 24,
        basic_size: 32,
        flags: 168,
        dict_offset: 288,
        mro: 344,
        cached_keys: 864,
    },
    code: CodeObject {
        bytes: Some(48),
        constants: 56,
        names: 64,
        flags: 36,
        first_line: 40,
        local_names: 72,
        shared_names: Some([88, 80]),
        filename: 104,
        qualified_name: 112,
        line_table: 120,
        line_table_format: LineTable::Increments,
        instructions: None,
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
        keys_format: DictKeys::Sized,
    },
    managed_dict: ManagedDict::None,
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
        code: 16,
        qualified_name: 104,
        closure: 48,
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
    has_anext: false,
    opcodes: opcodes::V3_9,
};

/// `PyFrameObject` and `PyGenObject` of 3.7 to 3.9; a task's fields depend on its size.
pub(super) const WALK: Layout = Layout {
    object_type: 8,
    weakref_object: 16,
    task_loop: 16,
    generator_frame_state: 24,
    generator_frame: 16,
    frame_code: 32,
    frame_previous: 24,
    frame_instruction: 104,
    frame_stack: 72,
    frame_locals: 360,
    frame_generator: 96,
    frame_state: 116,
    frame_value_stack: 64,
    code_bytes: 48,
    bytes_value: 32,
    instruction_unit: 1,
    // `YIELD_FROM` leaves what it awaits on top: `_PyGen_yf` (genobject.c) looks there.
    frame_awaited: 8,
    thread_current_frame: 24,
    set_mask: 32,
    set_table: 40,
    quirks: quirks::HEAP_FRAME | quirks::AWAIT_BY_OPCODE | quirks::STACK_POINTER | quirks::SIZED_KEYS,
    // frameobject.h: `f_executing` is 1 or 0; that a frame has not begun, `f_lasti` tells.
    state_created: 0,
    state_suspended: 0,
    state_awaiting: 0,
    state_executing: 1,
    owner_internal: u8::MAX,
    // opcode.h: YIELD_FROM, the same in all.
    resume_opcodes: [72, 0, 0],
    ..NOTHING
};
