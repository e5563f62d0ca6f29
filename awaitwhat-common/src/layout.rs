//! Where things are inside the objects of one target: byte offsets from the start of each object, and quirks.
//!
//! User space fills a [`Layout`] once per target (`awaitwhat::layout`), validates it, and hands it to the walker,
//! which trusts it from then on.

use crate::limits::{MAX_BOUND_TYPES, MAX_FUTURE_TYPES, MAX_TASK_SHAPES, MAX_WRAPPERS, WINDOW_BYTES};

/// An offset that the target does not have.
pub const ABSENT: u16 = u16::MAX;

/// Facts of an interpreter that are not offsets, as bits of [`Layout::quirks`].
pub mod quirks {
    /// `PyThreadState` reaches the current frame through `cframe` (3.11, 3.12).
    pub const CFRAME: u32 = 1 << 0;
    /// The frame's stack top is a pointer (`stackpointer`, 3.14), not a count of slots (`stacktop`).
    pub const STACK_POINTER: u32 = 1 << 1;
    /// A frame state does not tell `await` from `yield` (3.11, 3.12): the next instruction does, see [`super::Layout::resume_opcodes`].
    pub const AWAIT_BY_OPCODE: u32 = 1 << 2;
    /// A frame is an object of its own, a `PyFrameObject` (3.7 to 3.10): a coroutine has a pointer to it, and it has one back.
    pub const HEAP_FRAME: u32 = 1 << 3;
    /// The keys of a dict are laid out as [`super::sized_keys`] says (3.7 to 3.10), not as [`super::keys_of_kinds`] does.
    pub const SIZED_KEYS: u32 = 1 << 4;
}

/// Offsets and quirks of one target.
///
/// Offsets are in bytes from the start of the object that they are named after. All but those of `thread_*` and `cframe_*` must lie
/// within one window ([`WINDOW_BYTES`]); [`Layout::is_within_bounds`] says whether they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// `PyObject.ob_type`.
    pub object_type: u16,
    /// `PyWeakReference.wr_object`.
    pub weakref_object: u16,

    /// `TaskObj.task_coro`.
    pub task_coro: u16,
    /// `TaskObj.task_name`, or [`ABSENT`] (3.7).
    pub task_name: u16,
    /// `TaskObj.task_loop`.
    pub task_loop: u16,
    /// `TaskObj.task_fut_waiter`; whatever else tells the turns of a task apart, where it is no future (trio).
    pub task_fut_waiter: u16,
    /// `TaskObj.task_state` (`fut_state`, an `int`: 0 is pending); a future has it at the same offset. [`ABSENT`] where a registry
    /// has no tasks but pending ones.
    pub task_state: u16,
    /// `TaskObj.task_num_cancels_requested` (an `int`), before 3.11 `task_must_cancel` (an `int` that is 1 from a cancellation that found
    /// the task not waiting until its next turn). [`ABSENT`] where a task has neither (trio).
    pub task_cancellations: u16,
    /// `TaskObj.task_node` (a `struct llist_node { next, prev }`), or [`ABSENT`].
    pub task_node: u16,

    /// `PyGenObject.gi_frame_state` (one signed byte); with [`quirks::HEAP_FRAME`] `gi_running` (3.7 to 3.9), or [`ABSENT`].
    pub generator_frame_state: u16,
    /// `PyGenObject.gi_iframe`: the frame embedded in a coroutine, generator or asynchronous generator; with
    /// [`quirks::HEAP_FRAME`] `gi_frame`, the pointer to it.
    pub generator_frame: u16,

    /// `_PyInterpreterFrame.f_executable` (before 3.13 `f_code`).
    pub frame_code: u16,
    /// `_PyInterpreterFrame.previous`, or `PyFrameObject.f_back`.
    pub frame_previous: u16,
    /// `_PyInterpreterFrame.instr_ptr` (before 3.13 `prev_instr`), or `PyFrameObject.f_lasti` (an `int`, see `instruction_unit`).
    pub frame_instruction: u16,
    /// `_PyInterpreterFrame.stackpointer` (before 3.14 `stacktop`, an `int`); `PyFrameObject.f_stackdepth` of 3.10 (an `int`),
    /// `f_stacktop` before.
    pub frame_stack: u16,
    /// `_PyInterpreterFrame.localsplus`, or `PyFrameObject.f_localsplus`, which need not lie within the window.
    pub frame_locals: u16,
    /// `_PyInterpreterFrame.owner` (one byte); not used with [`quirks::HEAP_FRAME`].
    pub frame_owner: u16,
    /// `PyFrameObject.f_gen`; like all up to `instruction_unit` used with [`quirks::HEAP_FRAME`] only.
    pub frame_generator: u16,
    /// `PyFrameObject.f_state` (one signed byte), before 3.10 `f_executing`.
    pub frame_state: u16,
    /// `PyFrameObject.f_valuestack`.
    pub frame_value_stack: u16,
    /// `PyCodeObject.co_code`.
    pub code_bytes: u16,
    /// `PyBytesObject.ob_sval`.
    pub bytes_value: u16,
    /// Bytes that `f_lasti` counts in: 2 in 3.10, 1 before.
    pub instruction_unit: u16,
    /// Where the awaited object lies below the top of a suspended frame's stack, in bytes: 8 is the topmost slot.
    pub frame_awaited: u16,

    /// `PyThreadState.current_frame`, or `PyThreadState.cframe` with [`quirks::CFRAME`].
    pub thread_current_frame: u16,
    /// `_PyCFrame.current_frame`; used with [`quirks::CFRAME`] only.
    pub cframe_current_frame: u16,

    /// `PySetObject.mask`.
    pub set_mask: u16,
    /// `PySetObject.table` (entries of `{ key, hash }`, 16 bytes each).
    pub set_table: u16,

    /// Bits of [`quirks`].
    pub quirks: u32,
    /// `FRAME_CREATED`.
    pub state_created: i8,
    /// `FRAME_SUSPENDED`: suspended in a plain `yield`; with [`quirks::AWAIT_BY_OPCODE`] in any.
    pub state_suspended: i8,
    /// `FRAME_SUSPENDED_YIELD_FROM`: suspended in an `await` or `yield from`; equals `state_suspended` with [`quirks::AWAIT_BY_OPCODE`].
    pub state_awaiting: i8,
    /// `FRAME_EXECUTING`.
    pub state_executing: i8,
    /// Frames with this owner or a greater one are the interpreter's own and have no code to show
    /// (`FRAME_OWNED_BY_INTERPRETER` in 3.14, `FRAME_OWNED_BY_CSTACK` in 3.12 and 3.13); 255 where there are none.
    pub owner_internal: u8,
    /// Opcodes that `RESUME` can have in memory (plain, specialized, instrumented), or with [`quirks::HEAP_FRAME`] `YIELD_FROM`;
    /// used with [`quirks::AWAIT_BY_OPCODE`] only. 0 is unused.
    pub resume_opcodes: [u8; 3],

    /// Bits of a tagged reference that are not part of the address (3.14+: 3, or what the version says), 0 where there are none.
    pub tag_mask: u64,
    /// Address of `_Py_NoneStruct`: what a dead weak reference refers to.
    pub none_address: u64,
    /// Address of `_PyWeakref_RefType`.
    pub weakref_type: u64,
    /// Address of `PyCoro_Type`.
    pub coroutine_type: u64,
    /// Address of `PyGen_Type`.
    pub generator_type: u64,
    /// Address of `PyAsyncGen_Type`.
    pub async_generator_type: u64,
    /// Code object of a generator that drives tasks (trio's loop is one): its frame is below theirs, and belongs to none. 0 where
    /// there is no such.
    pub driver_code: u64,
    /// Address of the type of most tasks, whose fields lie where `task_*` says; 0 where there is none.
    pub task_type: u64,
    /// Objects that name tasks.
    pub text: Text,
    /// What callbacks of tasks lead to.
    pub links: Links,
    /// Awaitables that lead to another one; unused entries have type 0.
    pub wrappers: [Wrapper; MAX_WRAPPERS],
    /// Tasks that are written in Python; unused entries have type 0.
    pub task_shapes: [TaskShape; MAX_TASK_SHAPES],
    /// Addresses of the names of such a task's attributes, by [`attribute`], for dicts that are searched. Names in programs are
    /// interned: each is one `str`. 0 where no task has had such an attribute yet.
    pub attribute_names: [u64; attribute::COUNT],
}

/// `PyASCIIObject` and `PyCompactUnicodeObject`: how long a `str` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Text {
    /// Address of `PyUnicode_Type`.
    pub type_address: u64,
    /// `length`, in characters.
    pub length: u16,
    /// `state`, an `int`.
    pub state: u16,
    /// Where in it `kind` begins, three bits that say how many bytes a character takes.
    pub kind_shift: u16,
    /// Where the characters of a `str` begin at the latest: `sizeof(PyCompactUnicodeObject)`.
    pub data: u16,
}

/// How a future leads to its callbacks, and a callback to what it will wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Links {
    /// `FutureObj.fut_callback0`.
    pub callback0: u16,
    /// `FutureObj.fut_callbacks`: a list of pairs of a callback and its context, or `None`, or NULL.
    pub callbacks: u16,
    /// `PyListObject.ob_size` and `ob_item`.
    pub list_size: u16,
    pub list_items: u16,
    /// `PyTupleObject.ob_size` and `ob_item`.
    pub tuple_size: u16,
    pub tuple_items: u16,
    /// `PyFunctionObject.func_closure`: a tuple of cells.
    pub function_closure: u16,
    /// `PyCellObject.ob_ref`.
    pub cell_contents: u16,
    /// Address of `PyList_Type`.
    pub list_type: u64,
    /// Address of `PyTuple_Type`.
    pub tuple_type: u64,
    /// Address of `PyFunction_Type`.
    pub function_type: u64,
    /// Addresses of types that are laid out as `_asyncio.Future` is, and are no tasks; unused entries are 0.
    pub futures: [u64; MAX_FUTURE_TYPES],
    /// Types of callbacks that have something bound to them; unused entries have type 0.
    pub bound: [Bound; MAX_BOUND_TYPES],
}

/// A type of callbacks that have something bound to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bound {
    /// Address of the type object, 0 for an unused entry.
    pub type_address: u64,
    /// Where the pointer to it is.
    pub offset: u16,
    /// 1 where it is a tuple of arguments (`functools.partial`), 0 where it is the object whose method this is.
    pub is_tuple: u16,
    /// Always 0: what would otherwise be padding.
    pub reserved: u32,
}

impl Links {
    fn is_within_bounds(&self) -> bool {
        let offsets = [
            self.callback0,
            self.callbacks,
            self.list_size,
            self.list_items,
            self.tuple_size,
            self.tuple_items,
            self.function_closure,
        ];
        offsets.iter().all(|&offset| fits(offset, 8))
            && self.bound.iter().all(|bound| fits(bound.offset, 8))
            && self.cell_contents.is_multiple_of(8)
    }
}

/// Attributes of tasks that are written in Python.
pub mod attribute {
    /// `_coro`.
    pub const CORO: usize = 0;
    /// `_loop`.
    pub const LOOP: usize = 1;
    /// `_name`.
    pub const NAME: usize = 2;
    /// `_fut_waiter`.
    pub const FUT_WAITER: usize = 3;
    /// `_state`.
    pub const STATE: usize = 4;
    /// `_callbacks`.
    pub const CALLBACKS: usize = 5;
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// `PyDictKeysObject` (`Objects/dict-common.h`), the same in 3.7 to 3.10: offsets of its fields in bytes. Behind the header come the
/// slots of the index, of which each is one byte, two or four, and then the entries.
pub mod sized_keys {
    /// `dk_size`: slots of the index, a power of two.
    pub const SLOTS: u64 = 8;
    /// `dk_nentries`: entries that are, or were, in use.
    pub const ENTRY_COUNT: u64 = 32;
    /// `dk_indices`.
    pub const INDEX: u64 = 40;
    /// `PyDict_MINSIZE` (`Objects/dictobject.c`): the least number of slots.
    pub const MIN_SLOTS: u64 = 8;
    /// Up to so many slots are of one byte each (`DK_IXSIZE`, `Objects/dictobject.c`).
    pub const MAX_BYTE_SLOTS: u64 = 0xff;
    /// Up to so many of two.
    pub const MAX_SHORT_SLOTS: u64 = 0xffff;
}

/// `PyDictKeysObject` (`pycore_dict.h`), the same in 3.11 to 3.15: offsets of its fields in bytes. Behind the header come the index and
/// the entries.
pub mod keys_of_kinds {
    /// `dk_log2_size` (one byte): slots of the index, as a power of two.
    pub const LOG2_SLOTS: u64 = 8;
    /// `dk_log2_index_bytes` (one byte): size of the index.
    pub const LOG2_INDEX_BYTES: u64 = 9;
    /// `dk_kind` (one byte).
    pub const KIND: u64 = 10;
    /// `dk_nentries`: entries that are, or were, in use.
    pub const ENTRY_COUNT: u64 = 24;
    /// `dk_indices`.
    pub const INDEX: u64 = 32;
    /// `PyDict_LOG_MINSIZE` (`Objects/dictobject.c`): the least number of slots.
    pub const MIN_LOG2_SLOTS: u8 = 3;
    /// With so many slots, or more, each of them is of two bytes (`new_keys_object`, `Objects/dictobject.c`).
    pub const MIN_LOG2_SHORT_SLOTS: u8 = 8;
    /// `DICT_KEYS_GENERAL`: entries are [`super::ENTRY`].
    pub const GENERAL: u8 = 0;
    /// `DICT_KEYS_UNICODE`: keys are strings, entries are [`super::UNICODE_ENTRY`].
    pub const UNICODE: u8 = 1;
    /// `DICT_KEYS_SPLIT`: as unicode, but the values are elsewhere.
    pub const SPLIT: u8 = 2;
}

/// Bytes of a `PyDictKeyEntry`: hash, key, value. The value is not used where a dict shares its keys with others.
pub const ENTRY: u64 = 24;
/// Bytes of a `PyDictUnicodeEntry`: key, value.
pub const UNICODE_ENTRY: u64 = 16;
/// How many bytes before the end of an entry its key is.
pub const KEY_BEFORE_END: u64 = 16;
/// And its value.
pub const VALUE_BEFORE_END: u64 = 8;

/// A type of tasks that have their fields in attributes of an instance, as classes written in Python do.
///
/// From 3.11 on instances of one class share the keys of their dicts, and an attribute's value is always in the same place of an array
/// of values. What differs by version is how that array is reached, and whether the dict that it belongs to is there.
///
/// Until 3.10 they share them only for a while, and later on not all do: a dict with other keys is searched for the names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TaskShape {
    /// Address of the type object, 0 for an unused entry.
    pub type_address: u64,
    /// Address of the keys that instances share: a dict with others has other places too. 0 until 3.10.
    pub keys: u64,
    /// Address of the `str` that `_state` is of a task that is not done; it may also have no value.
    pub pending: u64,
    /// `_coro`, from the beginning of the values, as all attributes are; not used where `is_searched`, as all of them are not.
    pub coro: u16,
    /// `_name`, or [`ABSENT`].
    pub name: u16,
    /// `_loop`.
    pub event_loop: u16,
    /// `_fut_waiter`, or [`ABSENT`].
    pub fut_waiter: u16,
    /// `_state`, or [`ABSENT`].
    pub state: u16,
    /// `_callbacks`, or [`ABSENT`].
    pub callbacks: u16,
    /// 1 for a type of futures that are no tasks: of these nothing but their callbacks is looked at.
    pub is_future: u16,
    /// Always 0: what would otherwise be padding.
    pub reserved: [u16; 2],
    /// Where the values are that an instance has in itself, with a byte at [`VALUES_VALID`] that is 1 as long as they are its own
    /// (3.13+), or [`ABSENT`].
    pub inline_values: u16,
    /// Where the pointer to the values is, in bytes from the instance on; 0 where there is none.
    pub values_pointer: i16,
    /// Where the pointer to the dict is, in bytes from the instance on; 0 where there is none. The same place as that of the
    /// pointer to the values means that this one is tagged: it has its lowest bit set, and points one byte before the values (3.12).
    pub dict_pointer: i16,
    /// `PyDictObject.ma_keys`.
    pub dict_keys: u16,
    /// `PyDictObject.ma_values`.
    pub dict_values: u16,
    /// Where in a `PyDictValues` the first value is.
    pub first_value: u16,
    /// 1 where every instance has to be searched for [`Layout::attribute_names`]: attributes have no places that all share, or these do
    /// not lie inside a window.
    pub is_searched: u16,
}

/// `PyDictValues.valid` (3.13+).
pub const VALUES_VALID: u64 = 3;

impl TaskShape {
    /// Whether everything lies inside a window.
    pub fn is_within_bounds(&self) -> bool {
        let base = if self.inline_values == ABSENT {
            0
        } else {
            self.inline_values
        };
        let fits = |offset: u16| {
            let end = u64::from(offset) + u64::from(base) + 8;
            offset.is_multiple_of(8) && end <= WINDOW_BYTES
        };
        base.is_multiple_of(8)
            && (self.is_searched == 1 && fits(0) || self.has_places(fits))
            && [self.dict_keys, self.dict_values]
                .into_iter()
                .all(|offset| offset.is_multiple_of(8) && u64::from(offset) + 8 <= WINDOW_BYTES)
            && [self.values_pointer, self.dict_pointer]
                .into_iter()
                .all(|offset| offset % 8 == 0)
            && self.first_value.is_multiple_of(8)
    }

    /// Whether all attributes have places that `fits` accepts, but for those that a task can do without.
    fn has_places(&self, fits: impl Fn(u16) -> bool) -> bool {
        [self.coro, self.event_loop].into_iter().all(&fits)
            && [self.name, self.fut_waiter, self.state, self.callbacks]
                .into_iter()
                .all(|offset| offset == ABSENT || fits(offset))
    }
}

/// A type of awaitable that has no frame and leads to another object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wrapper {
    /// Address of the type object, 0 for an unused entry.
    pub type_address: u64,
    /// Offset of the pointer to the object that it leads to.
    pub inner: u16,
    /// 1 where that object is the terminal awaitable (`_asyncio.FutureIter` to its future), 0 where the chain goes on.
    pub is_terminal: u16,
    /// Offset of the pointer to the `str` that names it, where it is a coroutine without a Python frame; 0 where it is none, and shows
    /// no frame.
    pub name: u16,
    /// Offset of the pointer to such a coroutine's code object.
    pub code: u16,
}

impl Layout {
    /// Whether frames are objects of their own.
    #[inline(always)]
    pub const fn has_heap_frames(&self) -> bool {
        self.quirks & quirks::HEAP_FRAME != 0
    }

    /// Whether objects of this type are coroutines, generators or asynchronous generators.
    #[inline(always)]
    pub const fn is_generator(&self, type_address: u64) -> bool {
        type_address == self.coroutine_type
            || type_address == self.generator_type
            || type_address == self.async_generator_type
    }

    /// How many bytes before a generator's frame the word lies that holds its state: the two are looked at together. 0 where a
    /// frame is an object of its own.
    #[inline(always)]
    pub const fn generator_state_before_frame(&self) -> u64 {
        if self.has_heap_frames() {
            return 0;
        }
        (self.generator_frame as u64).wrapping_sub(self.generator_frame_state as u64 & !7)
    }

    /// Whether every offset that the walker indexes a window with lies inside the window, aligned for its type.
    pub fn is_within_bounds(&self) -> bool {
        let words = [
            self.object_type,
            self.weakref_object,
            self.task_coro,
            self.task_loop,
            self.task_fut_waiter,
            self.generator_frame,
            self.set_mask,
            self.set_table,
        ];
        words.iter().all(|&offset| fits(offset, 8))
            && (self.task_state == ABSENT || fits(self.task_state, 4))
            && (self.task_cancellations == ABSENT || fits(self.task_cancellations, 4))
            && (self.task_name == ABSENT || fits(self.task_name, 8))
            && fits(self.text.length, 8)
            && fits(self.text.state, 4)
            && self.text.kind_shift < 32
            && self.links.is_within_bounds()
            && self.frame_locals.is_multiple_of(8)
            && (self.task_node == ABSENT || (fits(self.task_node, 8) && fits(self.task_node + 8, 8)))
            && self
                .wrappers
                .iter()
                .filter(|wrapper| wrapper.type_address != 0)
                .all(|wrapper| fits(wrapper.inner, 8) && fits(wrapper.name, 8) && fits(wrapper.code, 8))
            && self
                .task_shapes
                .iter()
                .all(|shape| shape.type_address == 0 || shape.is_within_bounds())
            && self.frame_awaited >= 8
            && self.frame_awaited.is_multiple_of(8)
            && self.thread_current_frame.is_multiple_of(8)
            && self.cframe_current_frame.is_multiple_of(8)
            && if self.has_heap_frames() {
                self.are_heap_frames_within_bounds()
            } else {
                self.are_embedded_frames_within_bounds()
            }
    }

    fn are_embedded_frames_within_bounds(&self) -> bool {
        let frame = |offset: u16| self.generator_frame.checked_add(offset).unwrap_or(ABSENT);
        let before = self.generator_state_before_frame();
        let words = [
            self.frame_code,
            self.frame_previous,
            self.frame_instruction,
            self.frame_locals,
        ];
        // A frame is looked at behind its generator's state, and never closer to the end than within its generator.
        (8..=u64::from(self.generator_frame)).contains(&before)
            && words.iter().all(|&offset| fits(frame(offset), 8))
            && fits(frame(self.frame_stack), self.stack_size())
            && fits(self.generator_frame_state, 1)
            && fits(frame(self.frame_owner), 1)
    }

    fn are_heap_frames_within_bounds(&self) -> bool {
        let words = [
            self.frame_code,
            self.frame_previous,
            self.frame_generator,
            self.frame_value_stack,
        ];
        words.iter().all(|&offset| fits(offset, 8))
            && fits(self.frame_instruction, 4)
            && fits(self.frame_stack, self.stack_size())
            && fits(self.frame_state, 1)
            && (self.generator_frame_state == ABSENT || fits(self.generator_frame_state, 1))
            // These are added to addresses of which single words are read.
            && self.code_bytes.is_multiple_of(8)
            && self.bytes_value.is_multiple_of(2)
            && matches!(self.instruction_unit, 1 | 2)
    }

    /// Bytes of what `frame_stack` leads to.
    fn stack_size(&self) -> u64 {
        if self.quirks & quirks::STACK_POINTER == 0 {
            4
        } else {
            8
        }
    }
}

/// Whether a value of `size` bytes at `offset` lies in a window, aligned.
fn fits(offset: u16, size: u64) -> bool {
    u64::from(offset) % size == 0 && u64::from(offset) + size <= WINDOW_BYTES
}
