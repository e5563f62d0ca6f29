//! Facts of CPython versions: the only place that knows version numbers.
//!
//! A [`Table`] joins two views of one interpreter: `walk`, what the walker in the kernel needs, and `offsets`, what
//! user space needs to read objects. From 3.13 on most of it is published by the interpreter itself
//! ([`published`]), and the table of the version fills in what is not.

mod asyncio_debug;
mod heap_frames;
pub mod opcodes;
mod published;
#[cfg(test)]
pub(crate) mod tests;
mod v3_10;
mod v3_11;
mod v3_12;
mod v3_13;
mod v3_14;
mod v3_15;
mod v3_7;
mod v3_8;
mod v3_9;

use std::fmt;
use std::ops::RangeInclusive;

use awaitwhat_common::layout::Layout;

pub(crate) use asyncio_debug::{AsyncioDebug, find as find_asyncio_debug};
pub use opcodes::OpcodeListing;
pub use published::PublishedError;
pub(crate) use published::{COOKIE, version as published_version, words as published_words};

use crate::memory::{Address, Memory};

/// The versions that are known, as messages say them.
pub const KNOWN: &str = "3.7 to 3.15";
/// The minor versions that are known, from the first to the last.
pub const KNOWN_MINORS: RangeInclusive<(u8, u8)> = (3, 7)..=(3, 15);

/// A CPython version, as `PY_VERSION_HEX` encodes it (`patchlevel.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// From the value of `Py_Version` or `PY_VERSION_HEX`.
    pub fn from_hex(hex: u32) -> Self {
        Self(hex)
    }

    /// Major and minor number.
    pub fn minor(self) -> (u8, u8) {
        let [major, minor, ..] = self.0.to_be_bytes();
        (major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, release] = self.0.to_be_bytes();
        write!(formatter, "{major}.{minor}.{micro}")?;
        let serial = release & 0xf;
        match release >> 4 {
            0xa => write!(formatter, "a{serial}"),
            0xb => write!(formatter, "b{serial}"),
            0xc => write!(formatter, "rc{serial}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Version({self})")
    }
}

/// Everything that is known about where things are in one interpreter, before its addresses are.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Offsets that user space reads objects with.
    pub offsets: Offsets,
    /// Offsets and quirks for the walker; addresses and wrappers are still 0, and where
    /// [`Registry::ThreadLists`] is used so are the offsets of a task.
    pub walk: Layout,
}

/// Why there is no [`Table`] for an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("CPython {0} is not known to this version of awaitwhat: it reads {KNOWN}")]
    UnknownVersion(Version),
    #[error(transparent)]
    Published(#[from] PublishedError),
}

impl Table {
    /// The table for an interpreter of `version` whose `_PyRuntime` lies at `runtime`.
    ///
    /// # Errors
    /// Where the version is unknown, or what the interpreter publishes about itself cannot be read or makes no sense.
    pub fn for_interpreter(
        memory: &dyn Memory,
        version: Version,
        runtime: Address,
    ) -> Result<Self, LayoutError> {
        match version.minor() {
            (3, 7) => Ok(v3_7::TABLE),
            (3, 8) => Ok(v3_8::TABLE),
            (3, 9) => Ok(v3_9::TABLE),
            (3, 10) => Ok(v3_10::TABLE),
            (3, 11) => Ok(v3_11::TABLE),
            (3, 12) => Ok(v3_12::TABLE),
            (3, 13) => Ok(v3_13::table(memory, version, runtime)?),
            (3, 14) => Ok(v3_14::table(memory, version, runtime)?),
            (3, 15) => Ok(v3_15::table(memory, version, runtime)?),
            _ => Err(LayoutError::UnknownVersion(version)),
        }
    }

    /// The tables of the versions that have no symbol `Py_Version`, with the minor version that each is for. Which one fits an
    /// interpreter is to be found out: read with the right one, `sys.hexversion` says so.
    pub fn without_version_symbol() -> [((u8, u8), Self); 4] {
        [
            ((3, 10), v3_10::TABLE),
            ((3, 9), v3_9::TABLE),
            ((3, 8), v3_8::TABLE),
            ((3, 7), v3_7::TABLE),
        ]
    }
}

/// Byte offsets that user space needs, by object; named as in CPython's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub runtime_interpreters_head: u64,
    pub interpreter: InterpreterState,
    pub thread: ThreadState,
    pub object_type: u64,
    pub type_object: TypeObject,
    pub code: CodeObject,
    pub unicode: UnicodeObject,
    pub bytes: BytesObject,
    pub long: LongObject,
    pub dict: DictObject,
    pub managed_dict: ManagedDict,
    pub list: SequenceObject,
    pub tuple: SequenceObject,
    pub set: SetObject,
    pub module: ModuleObject,
    pub function: FunctionObject,
    pub method: MethodObject,
    /// `PyDescrObject.d_name`.
    pub descriptor_name: u64,
    pub exit_methods: ExitMethods,
    /// `PyCellObject.ob_ref`.
    pub cell_contents: u64,
    /// `PyWeakReference.wr_object`.
    pub weakref_object: u64,
    pub future: FutureObject,
    pub simple_queue: SimpleQueue,
    /// Sizes that tell this layout from others (before 3.11).
    pub sizes: Option<Sizes>,
    /// Layouts of `_asyncio.Task`, by its size, where patch releases differ; empty where there is one, or it is published.
    pub tasks: &'static [TaskLayout],
    /// Where the running event loop of a thread is found.
    pub running_loop: RunningLoop,
    /// Where tasks are registered.
    pub registry: Registry,
    /// Whether there is a type `anext_awaitable` (`Objects/iterobject.c`, since 3.10).
    pub has_anext: bool,
    /// What the numbers of instructions mean.
    pub opcodes: OpcodeListing,
}

impl Offsets {
    /// `sizeof(PyObject)`: `ob_type` is its last field in every build.
    pub fn header_bytes(&self) -> u64 {
        self.object_type.saturating_add(8)
    }
}

/// `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterState {
    pub next: u64,
    pub threads_head: u64,
    /// `sys.modules`: `modules` until 3.11, `imports.modules` since.
    pub modules: u64,
}

/// `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    pub previous: u64,
    pub next: u64,
    pub interpreter: u64,
    pub id: NativeId,
    pub dict: u64,
}

impl ThreadState {
    /// `thread_id`, what `threading.get_ident` gives: `gilstate_counter` and `async_exc` lie between `dict` and it (pystate.h of all).
    pub fn identity(&self) -> u64 {
        self.dict.saturating_add(24)
    }
}

/// Where a `PyThreadState` says what the kernel calls its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeId {
    /// 3.11+: `native_thread_id`.
    At(u64),
    /// Before, it does not. It says what the C library calls it: `thread_id`, a `pthread_t`, which is an address with glibc and musl.
    Unknown { posix: u64 },
}

/// Basic sizes of types, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub generator: u64,
    pub frame: u64,
    pub code: u64,
}

/// Where the fields of a `TaskObj` of one size are; they are named as in [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLayout {
    /// In bytes.
    pub size: u64,
    pub state: u16,
    pub cancellations: u16,
    pub fut_waiter: u16,
    pub coro: u16,
    pub name: u16,
}

impl TaskLayout {
    /// Writes the offsets of a task.
    pub(crate) fn apply(&self, walk: &mut Layout) {
        walk.task_state = self.state;
        walk.task_cancellations = self.cancellations;
        walk.task_fut_waiter = self.fut_waiter;
        walk.task_coro = self.coro;
        walk.task_name = self.name;
    }
}

/// `PyTypeObject` and `PyHeapTypeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeObject {
    pub name: u64,
    pub basic_size: u64,
    pub flags: u64,
    pub dict_offset: u64,
    pub mro: u64,
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub cached_keys: u64,
}

/// `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// `co_code` (before 3.11): a `bytes` object with the instructions.
    pub bytes: Option<u64>,
    /// `co_consts`.
    pub constants: u64,
    /// `co_names`.
    pub names: u64,
    /// `co_flags`, an `int`.
    pub flags: u64,
    /// `co_firstlineno`, an `int`.
    pub first_line: u64,
    /// `co_localsplusnames`, before 3.11 `co_varnames`.
    pub local_names: u64,
    /// `co_cellvars` and `co_freevars`, whose names follow those of `local_names` (before 3.11).
    pub shared_names: Option<[u64; 2]>,
    pub filename: u64,
    /// `co_qualname`, before 3.11 `co_name`.
    pub qualified_name: u64,
    pub line_table: u64,
    pub line_table_format: LineTable,
    /// `co_code_adaptive`: the instructions, in place; `None` where what a frame says of its instruction counts from their beginning
    /// (before 3.11).
    pub instructions: Option<u64>,
    /// `co_tlbc`, which a free-threaded build has from 3.14 on: each thread has a copy of the instructions for itself.
    pub copies: Option<u64>,
}

/// How a code object says which line an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTable {
    /// `co_lnotab` (before 3.10).
    Increments,
    /// `co_linetable` of 3.10 (PEP 626).
    Ranges,
    /// `co_linetable` since 3.11 (PEP 657).
    Locations,
}

/// `PyASCIIObject`, `PyCompactUnicodeObject`, `PyUnicodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicodeObject {
    pub length: u64,
    /// `state`: `interned`, then `kind:3, compact:1, ascii:1` from the lowest bit on.
    pub state: u64,
    /// The number of bits before `kind`: those of `interned`, 2, or 8 in a free-threaded build from 3.14 on.
    pub kind_shift: u32,
    /// `sizeof(PyASCIIObject)`: where the characters of a compact ASCII string begin.
    pub ascii_data: u64,
    /// `sizeof(PyCompactUnicodeObject)`: where those of any other compact string begin, and where a string that is
    /// not compact (an instance of a subclass) keeps a pointer to them.
    pub data: u64,
}

/// `PyBytesObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BytesObject {
    pub size: u64,
    pub value: u64,
}

/// `PyLongObject`: digits of 30 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongObject {
    /// `lv_tag`, before 3.12 `ob_size`.
    pub tag: u64,
    pub digits: u64,
    /// Sign in bits 0..2 (0 positive, 1 zero, 2 negative) and number of digits from bit 3 on (3.12+); else the number
    /// of digits, negated for a negative number.
    pub is_tagged: bool,
}

/// `PyDictObject`, `PyDictKeysObject` and `PyDictValues`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DictObject {
    pub keys: u64,
    pub values: u64,
    /// Where the first value is in a `PyDictValues`.
    pub first_value: u64,
    pub keys_format: DictKeys,
}

/// Which shape a `PyDictKeysObject` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictKeys {
    /// It says how many slots its index has (before 3.11).
    Sized,
    /// It says how many bytes its index has, and of which kind its entries are.
    OfKinds,
}

/// Where instances keep their attributes when their type has `Py_TPFLAGS_MANAGED_DICT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedDict {
    /// Before 3.11 there is none: a type has `tp_dictoffset`, or its instances have no attributes.
    None,
    /// 3.11: a pointer to the values four words before the object, or else one to the dict three words before.
    Pointers,
    /// 3.12: one pointer three words before the object: to the values, less one, when its lowest bit is set; else to the dict.
    Tagged,
    /// 3.13+: a pointer to the dict this many bytes before the object (three words; one in a free-threaded build); where it is
    /// NULL, the values lie after the object's `tp_basicsize` bytes when the type has `Py_TPFLAGS_INLINE_VALUES`.
    Inline { before: u64 },
}

/// `PyListObject` (`items` is a pointer to the items) or `PyTupleObject` (`items` is where they begin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceObject {
    pub size: u64,
    pub items: u64,
}

/// `PySetObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetObject {
    pub used: u64,
    pub mask: u64,
    pub table: u64,
}

/// `PyModuleObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleObject {
    pub dict: u64,
    pub definition: u64,
    pub state: u64,
}

/// `PyFunctionObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionObject {
    pub code: u64,
    pub qualified_name: u64,
    pub closure: u64,
}

/// `PyMethodObject` (`classobject.h`) and `PyCFunctionObject` (`methodobject.h`): both have a function, then whose method it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodObject {
    /// `im_func`, or `m_ml`: the `PyMethodDef` of a function in C, which begins with its name.
    pub function: u64,
    /// `im_self`, or `m_self`.
    pub instance: u64,
}

/// How `with` and `async with` keep the method that leaves their block, on the stack of their frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitMethods {
    /// Until 3.13 it is bound to its object (`BEFORE_WITH` and its kin, `Python/bytecodes.c`, before 3.12 `Python/ceval.c`).
    Bound,
    /// Since 3.14 the function comes first, and its object in the slot above it (`LOAD_SPECIAL`, `Python/bytecodes.c`). Where the class
    /// has no function, the bound method comes first, and NULL.
    WithObject,
}

/// `FutureObj` of `_asynciomodule.c`, which `TaskObj` begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureObject {
    pub callback0: u64,
    pub callbacks: u64,
}

impl FutureObject {
    /// `fut_exception`, which follows `fut_callbacks` in 3.7 to 3.15.
    #[must_use]
    pub const fn exception(&self) -> u64 {
        self.callbacks.saturating_add(8)
    }
}

/// `simplequeueobject` of `_queuemodule.c`: how it holds its items. Offsets are from the end of the object's header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimpleQueue {
    /// Until 3.12: a list (`lst`), of which the items before a position (`lst_pos`) are taken.
    List { list: u64, position: u64 },
    /// 3.13+: a ring (`RingBuf`): `get_idx`, `items`, `items_cap` and `num_items`.
    Ring {
        first: u64,
        items: u64,
        capacity: u64,
        count: u64,
    },
}

impl SimpleQueue {
    /// Of 3.7 to 3.12: `lock` and `locked` come before.
    const LIST: Self = Self::List {
        list: 16,
        position: 24,
    };
    /// Of 3.13 to 3.15: `has_threads_waiting` and `put_idx` come before.
    const RING: Self = Self::Ring {
        first: 16,
        items: 24,
        capacity: 32,
        count: 40,
    };
}

/// Where the event loop that runs in a thread is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningLoop {
    /// 3.7 to 3.11: `__asyncio_running_event_loop__` in the dict of the thread state is a `PyRunningLoopHolder`, which has the
    /// loop at this offset.
    Holder(u64),
    /// 3.12: `__asyncio_running_event_loop__` in the dict of the thread state is the loop.
    ThreadDict,
    /// 3.13: `_PyThreadStateImpl.asyncio_running_loop` is at this offset.
    ThreadState(u64),
    /// 3.14: the same, and the `_asyncio` module publishes where it is.
    Published,
}

/// Where asyncio registers its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// 3.7 to 3.11: the `WeakSet` `asyncio.tasks._all_tasks`.
    AllTasks,
    /// 3.12, 3.13: the `WeakSet` `asyncio.tasks._scheduled_tasks` and the set `_eager_tasks`.
    ScheduledAndEager,
    /// 3.14: a linked list per thread state and one per interpreter, whose heads the `_asyncio` module publishes. Tasks
    /// that are not C tasks or subclasses of them are in the sets of [`Registry::ScheduledAndEager`].
    ThreadLists,
}

/// A [`Layout`] to begin with.
const NOTHING: Layout = Layout {
    object_type: 0,
    weakref_object: 0,
    task_coro: 0,
    task_name: 0,
    task_loop: 0,
    task_fut_waiter: 0,
    task_state: 0,
    task_cancellations: awaitwhat_common::layout::ABSENT,
    task_node: awaitwhat_common::layout::ABSENT,
    generator_frame_state: 0,
    generator_frame: 0,
    frame_code: 0,
    frame_previous: 0,
    frame_instruction: 0,
    frame_stack: 0,
    frame_locals: 0,
    frame_owner: 0,
    frame_generator: 0,
    frame_state: 0,
    frame_value_stack: 0,
    code_bytes: 0,
    bytes_value: 0,
    instruction_unit: 0,
    frame_awaited: 0,
    thread_current_frame: 0,
    cframe_current_frame: 0,
    set_mask: 0,
    set_table: 0,
    quirks: 0,
    state_created: 0,
    state_suspended: 0,
    state_awaiting: 0,
    state_executing: 0,
    owner_internal: 0,
    resume_opcodes: [0; 3],
    tag_mask: 0,
    coroutine_type: 0,
    generator_type: 0,
    async_generator_type: 0,
    driver_code: 0,
    none_address: 0,
    weakref_type: 0,
    task_type: 0,
    text: awaitwhat_common::layout::Text {
        type_address: 0,
        length: 0,
        state: 0,
        kind_shift: 0,
        data: 0,
    },
    links: awaitwhat_common::layout::Links {
        callback0: 0,
        callbacks: 0,
        list_size: 0,
        list_items: 0,
        tuple_size: 0,
        tuple_items: 0,
        function_closure: 0,
        cell_contents: 0,
        list_type: 0,
        tuple_type: 0,
        function_type: 0,
        futures: [0; awaitwhat_common::limits::MAX_FUTURE_TYPES],
        bound: [awaitwhat_common::layout::Bound {
            type_address: 0,
            offset: 0,
            is_tuple: 0,
            reserved: 0,
        }; awaitwhat_common::limits::MAX_BOUND_TYPES],
    },
    task_shapes: [awaitwhat_common::layout::TaskShape {
        type_address: 0,
        keys: 0,
        pending: 0,
        coro: 0,
        name: 0,
        event_loop: 0,
        fut_waiter: 0,
        state: 0,
        callbacks: 0,
        is_future: 0,
        reserved: [0; 2],
        inline_values: 0,
        values_pointer: 0,
        dict_pointer: 0,
        dict_keys: 0,
        dict_values: 0,
        first_value: 0,
        is_searched: 0,
    }; awaitwhat_common::limits::MAX_TASK_SHAPES],
    attribute_names: [0; awaitwhat_common::layout::attribute::COUNT],
    wrappers: [awaitwhat_common::layout::Wrapper {
        type_address: 0,
        inner: 0,
        is_terminal: 0,
        name: 0,
        code: 0,
    }; awaitwhat_common::limits::MAX_WRAPPERS],
};
