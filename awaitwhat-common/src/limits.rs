//! Named bounds on everything that is read from a target: its memory is hostile input.

/// Size of the window that the walker reads around each object, in 8-byte words.
///
/// Every offset in a [`crate::layout::Layout`] must lie inside it.
pub const WINDOW_WORDS: usize = 32;
/// [`WINDOW_WORDS`] in bytes.
pub const WINDOW_BYTES: u64 = WINDOW_WORDS as u64 * 8;

/// Frames of one chain that a record can hold; deeper chains are marked truncated. A power of two, since it is a mask.
pub const MAX_FRAMES: usize = 512;
/// Words of the object that names a task: what a longer name has behind them is cut. A multiple of [`NAME_STEP_WORDS`].
pub const MAX_NAME_WORDS: u32 = 256;
/// Words of such an object that one step takes. A divisor of [`WINDOW_WORDS`].
pub const NAME_STEP_WORDS: u32 = 8;
/// Addresses that are sent of what a task's callbacks lead to. A power of two, since it is a mask.
pub const MAX_LINKS: usize = 32;
/// Addresses that one step appends to a record. A divisor of [`MAX_LINKS`].
pub const LINK_STEP_WORDS: u32 = 8;
/// Callbacks of one future that are looked at.
pub const MAX_CALLBACKS: u64 = 64;
/// Variables of a callback's enclosing functions, or arguments that it is bound to, that are looked at.
pub const MAX_CELLS: u64 = 16;
/// Steps that are taken for what the callbacks of one task lead to.
pub const MAX_LINK_STEPS: u32 = 512;
/// Types of futures, and types of callbacks that have something bound to them.
pub const MAX_FUTURE_TYPES: usize = 8;
pub const MAX_BOUND_TYPES: usize = 4;
/// Objects that one chain may lead through (frames and the wrappers between them): twice the depth that an interpreter allows unless it
/// is told otherwise (`sys.getrecursionlimit`), as a coroutine is resumed by the one that awaits it.
pub const MAX_OBJECTS: u32 = 2000;
/// Interpreter frames searched below a running task before the walk gives up.
pub const MAX_RUNNING_FRAMES: u32 = 4096;
/// Variables, and places on its stack, of one frame that executes on another stack than its thread's; and of all such frames of a task.
pub const MAX_FRAME_SLOTS: u32 = 256;
pub const MAX_APART_SLOTS: u32 = 1024;
/// Slots of a task registry (a set's table) that are looked at.
pub const MAX_SLOTS: u64 = 1 << 24;
/// Tasks that one pass over a linked list visits: a cyclic list ends here.
pub const MAX_TASKS: u64 = 1 << 22;
/// Layouts of one process: one for each library that schedules tasks, in each interpreter.
pub const MAX_LAYOUTS: usize = 256;
/// Registries that one walk goes through: since 3.14 each thread has one, and each walk looks for its loop's tasks in all. A power of two, since it
/// is a mask.
pub const MAX_ROOTS: usize = 256;
/// Event loops that run in one thread at the same time: interpreters that run within another's loop, and trio as a guest of asyncio. A
/// power of two, since it is a mask.
pub const MAX_LOOPS_PER_THREAD: u32 = 4;
/// Event loops of other threads that a pass knows to leave alone.
pub const MAX_FOREIGN_LOOPS: usize = 16;
/// Awaitables that wrap another awaitable and have no frame of their own. A power of two, since it is a mask.
pub const MAX_WRAPPERS: usize = 16;
/// Classes of tasks that are written in Python. A power of two, since it is a mask.
pub const MAX_TASK_SHAPES: usize = 8;
/// Attributes of an instance that are looked at where they have to be searched for.
pub const MAX_ATTRIBUTES: u64 = 128;
/// Slots of the index of a dict that has no more attributes: deleted ones take room until it is made anew.
pub const MAX_ATTRIBUTE_SLOTS: u64 = 1 << 15;
/// Steps that one run of the walker may take inside the kernel, whatever its time budget (`bpf_loop`'s own bound is 1 << 23).
pub const MAX_STEPS: u32 = 1 << 22;
/// Lowest and highest address that a pointer of a user process can have on x86-64.
pub const USER_ADDRESSES: core::ops::Range<u64> = 0x1000..0x8000_0000_0000;
