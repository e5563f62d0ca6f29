//! Images of memory: objects that refer to each other without any sense, some of their words replaced by garbage.

use awaitwhat_common::layout::{
    ABSENT, Bound, ENTRY, Layout, Links, TaskShape, Text, UNICODE_ENTRY, Wrapper, attribute, keys_of_kinds,
    quirks, sized_keys,
};
use awaitwhat_common::limits::{MAX_TASK_SHAPES, MAX_WRAPPERS, WINDOW_BYTES, WINDOW_WORDS};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// Where the memory lies.
pub const BASE: u64 = 0x10_0000;
/// Objects in it; each fills a window.
pub const OBJECTS: u64 = 24;
/// Head of the list of tasks: it lies in the first object.
pub const HEAD: u64 = BASE + NODE;

/// Addresses of types, away from the memory.
const COROUTINE: u64 = 0x7000_0000;
const GENERATOR: u64 = 0x7000_0100;
const ASYNC_GENERATOR: u64 = 0x7000_0200;
const WEAK_REFERENCE: u64 = 0x7000_0300;
const CHAIN_WRAPPER: u64 = 0x7000_0400;
const TERMINAL_WRAPPER: u64 = 0x7000_0500;
const TASK: u64 = 0x7000_0600;
pub const PYTHON_TASK: u64 = 0x7000_0700;
const OPAQUE: u64 = 0x7000_0800;

/// The generator that drives tasks, where there is one: the second object, where that is one.
const DRIVER: u64 = BASE + WINDOW_BYTES;

/// Offsets of fields.
const TYPE: u64 = 8;
const REFERENT: u64 = 16;
const LOOP_OF_TASK: u64 = 16;
const COROUTINE_OF_TASK: u64 = 24;
const NODE: u64 = 72;
const DICT_OF_TASK: u64 = 56;
const VALUES: u64 = 128;
const VALUES_POINTER: u64 = 48;
/// What the values of a task begin with: the byte that says that they are valid is set.
const VALID: u64 = 1 << 24;
/// The dict of a task whose attributes are searched for, its keys, and their entries, all in the task itself.
const DICT: u64 = 88;
const DICT_VALUES: u64 = DICT + REFERENT;
const KEYS: u64 = 112;
const ENTRIES: u64 = KEYS + sized_keys::INDEX + sized_keys::MIN_SLOTS;
/// Keys of the other format, behind the values.
const KEYS_OF_KINDS: u64 = 160;
const ENTRIES_OF_KINDS: u64 = KEYS_OF_KINDS + keys_of_kinds::INDEX + (1 << keys_of_kinds::MIN_LOG2_SLOTS);
/// What is searched for: [`attribute`] counts from here.
const NAMES: u64 = 0x7000_0900;
const STATE: u64 = 16;
const FRAME: u64 = 24;
const CODE: u64 = 0;
const PREVIOUS: u64 = 8;
const INSTRUCTION: u64 = 16;
const STACK: u64 = 24;
const OWNER: u64 = 32;
const LOCALS: u64 = 40;
const MASK: u64 = 24;
const TABLE: u64 = 32;

/// Bytes that read as `RESUME` after an `await` wherever one looks.
const RESUMES: u64 = 0x0303_0303_0303_0303;

/// Offsets of fields of a frame that is an object of its own.
const FRAME_GENERATOR: u64 = 96;
const FRAME_STATE: u64 = 104;
const FRAME_LAST: u64 = 112;
const FRAME_DEPTH: u64 = 116;
const FRAME_VALUES: u64 = 120;
const FRAME_VALUE: u64 = 128;

/// Number of layouts: like 3.14, like 3.11, like 3.10, like 3.9, and like 3.14 with trio.
pub const LAYOUTS: usize = 5;
/// Like 3.10, and like 3.9: a generator's frame is an object of its own, which here lies in the same window.
const COUNTED_STACK: usize = 2;
const DRIVEN: usize = 3;
pub const TRIO: usize = 4;

fn has_frame_objects(layout: usize) -> bool {
    matches!(layout, COUNTED_STACK | DRIVEN)
}

/// One of the layouts.
pub fn layout(number: usize) -> Layout {
    if has_frame_objects(number) {
        return heap_layout(number);
    }
    let is_old = number == 1;
    let is_trio = number == TRIO;
    let short = |offset: u64| u16::try_from(offset).expect("an offset within a window");
    let mut wrappers = [Wrapper::default(); MAX_WRAPPERS];
    wrappers[0] = Wrapper {
        type_address: CHAIN_WRAPPER,
        inner: short(REFERENT),
        ..Wrapper::default()
    };
    wrappers[1] = Wrapper {
        type_address: TERMINAL_WRAPPER,
        is_terminal: 1,
        ..wrappers[0]
    };
    wrappers[2] = Wrapper {
        type_address: OPAQUE,
        name: 32,
        code: 40,
        ..wrappers[0]
    };
    let mut task_shapes = [TaskShape::default(); MAX_TASK_SHAPES];
    task_shapes[1] = TaskShape {
        type_address: PYTHON_TASK,
        // Those of one of the tasks.
        keys: BASE + WINDOW_BYTES + KEYS_OF_KINDS,
        coro: 8,
        name: ABSENT,
        callbacks: 8,
        event_loop: 16,
        fut_waiter: 24,
        state: 32,
        inline_values: if is_old { ABSENT } else { short(VALUES) },
        values_pointer: if is_old { VALUES_POINTER as i16 } else { 0 },
        dict_pointer: DICT_OF_TASK as i16,
        dict_keys: 0,
        dict_values: short(REFERENT),
        ..TaskShape::default()
    };
    Layout {
        task_type: TASK,
        text: Text {
            type_address: COROUTINE,
            length: 24,
            state: 24,
            // Somewhere in an address.
            kind_shift: 8,
            data: 16,
        },
        links: links(),
        task_shapes,
        attribute_names: std::array::from_fn(|attribute| NAMES + attribute as u64),
        object_type: short(TYPE),
        weakref_object: short(REFERENT),
        task_coro: short(COROUTINE_OF_TASK),
        task_name: short(COROUTINE_OF_TASK),
        task_loop: short(LOOP_OF_TASK),
        task_fut_waiter: 40,
        task_state: if is_trio { ABSENT } else { 48 },
        task_node: short(NODE),
        generator_frame_state: short(STATE),
        generator_frame: short(FRAME),
        frame_code: short(CODE),
        frame_previous: short(PREVIOUS),
        frame_instruction: short(INSTRUCTION),
        frame_stack: short(STACK),
        frame_locals: short(LOCALS),
        frame_owner: short(OWNER),
        frame_awaited: 8,
        set_mask: short(MASK),
        set_table: short(TABLE),
        // A frame as a cframe leads to the one that called it.
        cframe_current_frame: if is_old { short(PREVIOUS) } else { 0 },
        quirks: if is_old {
            quirks::CFRAME | quirks::AWAIT_BY_OPCODE
        } else {
            quirks::STACK_POINTER
        },
        state_suspended: 1,
        state_awaiting: if is_old { 1 } else { 2 },
        state_executing: 3,
        owner_internal: 4,
        resume_opcodes: [3, 0, 0],
        tag_mask: if is_old { 0 } else { 3 },
        none_address: BASE,
        weakref_type: WEAK_REFERENCE,
        coroutine_type: COROUTINE,
        generator_type: GENERATOR,
        async_generator_type: ASYNC_GENERATOR,
        driver_code: if is_trio { DRIVER } else { 0 },
        wrappers,
        ..Layout::default()
    }
}

/// Callbacks wherever one looks: whatever there is may be a future, a list, a tuple, a function, or bound to something.
fn links() -> Links {
    let short = |offset: u64| u16::try_from(offset).expect("an offset within a window");
    let mut links = Links {
        callback0: short(COROUTINE_OF_TASK),
        callbacks: 40,
        list_size: 40,
        list_items: 32,
        tuple_size: 24,
        tuple_items: 16,
        function_closure: 16,
        cell_contents: 24,
        list_type: COROUTINE,
        tuple_type: COROUTINE,
        function_type: CHAIN_WRAPPER,
        ..Links::default()
    };
    links.futures[1] = TERMINAL_WRAPPER;
    links.futures[2] = COROUTINE;
    links.bound[0] = Bound {
        type_address: TASK,
        offset: 24,
        ..Bound::default()
    };
    links.bound[2] = Bound {
        type_address: WEAK_REFERENCE,
        offset: 16,
        is_tuple: 1,
        reserved: 0,
    };
    links
}

/// A layout with frames that are objects of their own.
fn heap_layout(number: usize) -> Layout {
    let short = |offset: u64| u16::try_from(offset).expect("an offset within a window");
    let (stack, pointer) = if number == DRIVEN {
        (FRAME_VALUES, quirks::STACK_POINTER)
    } else {
        (FRAME_DEPTH, 0)
    };
    let mut task_shapes = layout(0).task_shapes;
    task_shapes[1].inline_values = ABSENT;
    task_shapes[1].is_searched = 1;
    Layout {
        task_shapes,
        generator_frame_state: if number == DRIVEN { short(STATE) } else { ABSENT },
        frame_previous: short(PREVIOUS + FRAME),
        frame_code: short(CODE + FRAME),
        frame_generator: short(FRAME_GENERATOR),
        frame_state: short(FRAME_STATE),
        frame_instruction: short(FRAME_LAST),
        frame_stack: short(stack),
        frame_value_stack: short(FRAME_VALUES),
        // A frame is its own code too, whose instructions are at its own beginning.
        code_bytes: short(FRAME),
        bytes_value: 0,
        instruction_unit: 2,
        // As a thread state, a reference leads to what it refers to.
        thread_current_frame: short(REFERENT),
        quirks: quirks::HEAP_FRAME | quirks::AWAIT_BY_OPCODE | quirks::SIZED_KEYS | pointer,
        state_awaiting: 1,
        tag_mask: 0,
        ..layout(0)
    }
}

/// The loop of the task with this number: itself.
pub fn task_loop(number: u64) -> u64 {
    BASE + number * WINDOW_BYTES
}

/// The address of an object.
pub fn address() -> impl Strategy<Value = u64> {
    (0..OBJECTS).prop_map(|number| BASE + number * WINDOW_BYTES)
}

/// A memory for the layout with this number.
pub fn image(layout: usize) -> impl Strategy<Value = Vec<u64>> {
    let garbage = prop_oneof![
        address(),
        any::<u64>(),
        (0..5_u64),
        (0..64_u64).prop_map(|bit| 1 << bit)
    ];
    let places = 0..(OBJECTS as usize * WINDOW_WORDS);
    (
        vec(object(layout), OBJECTS as usize),
        vec((places, garbage), 0..6),
    )
        .prop_map(|(objects, garbage)| {
            let mut words = vec![0; OBJECTS as usize * WINDOW_WORDS];
            for (number, (object, at)) in objects
                .iter()
                .zip((BASE..).step_by(WINDOW_BYTES as usize))
                .enumerate()
            {
                object.write(at, &mut words[number * WINDOW_WORDS..][..WINDOW_WORDS]);
            }
            link_tasks(&objects, &mut words);
            for (place, word) in garbage {
                words[place] = word;
            }
            words
        })
}

/// An object, by its parts.
#[derive(Clone, Debug)]
enum Object {
    Task {
        coroutine: u64,
        in_python: bool,
        attributes: Attributes,
    },
    Generator {
        type_address: u64,
        state: u64,
        owner: u64,
        previous: u64,
        awaited: u64,
        layout: usize,
    },
    /// Something whose second word is its type and whose third one is another object.
    Reference {
        type_address: u64,
        to: u64,
    },
    Set {
        mask: u64,
        table: u64,
    },
    Table(Vec<u64>),
}

/// The attributes of a task that is written in Python, and its dict.
#[derive(Clone, Copy, Debug)]
struct Attributes {
    slots: u64,
    count: u64,
    kind: u8,
    /// Whether the values of the dict are apart.
    is_split: bool,
    /// Whether the task has values without a dict.
    has_values: bool,
    layout: usize,
}

impl Attributes {
    /// Writes the dict into the task at `address`.
    fn write(&self, address: u64, coroutine: u64, mut set: impl FnMut(u64, u64)) {
        set(DICT_OF_TASK, address + DICT);
        // The values apart: type, loop and coroutine.
        set(REFERENT, address);
        set(DICT_VALUES, if self.is_split { address + TYPE } else { 0 });
        let (keys, entries, entry_bytes) = self.write_keys(&mut set);
        set(DICT, address + keys);
        let items = [
            (attribute::NAME, 0),
            (attribute::LOOP, address),
            (attribute::CORO, coroutine),
            (attribute::FUT_WAITER, BASE),
        ];
        let ends = (entries..=WINDOW_BYTES).step_by(entry_bytes as usize).skip(1);
        for (end, (name, value)) in ends.zip(items) {
            set(end - 16, NAMES + name as u64);
            set(end - 8, value);
        }
    }

    /// Writes the head of the keys. Returns where they are, where their entries are, and the size of these.
    fn write_keys(&self, set: &mut impl FnMut(u64, u64)) -> (u64, u64, u64) {
        if has_frame_objects(self.layout) {
            set(KEYS + sized_keys::SLOTS, self.slots);
            set(KEYS + sized_keys::ENTRY_COUNT, self.count);
            return (KEYS, ENTRIES, ENTRY);
        }
        let sizes = if self.slots == sized_keys::MIN_SLOTS {
            u64::from(keys_of_kinds::MIN_LOG2_SLOTS) * 0x101
        } else {
            self.slots
        };
        set(KEYS_OF_KINDS + 8, sizes | u64::from(self.kind) << 16);
        set(KEYS_OF_KINDS + keys_of_kinds::ENTRY_COUNT, self.count);
        let entry_bytes = if self.kind == keys_of_kinds::GENERAL {
            ENTRY
        } else {
            UNICODE_ENTRY
        };
        (KEYS_OF_KINDS, ENTRIES_OF_KINDS, entry_bytes)
    }
}

fn attributes(layout: usize) -> impl Strategy<Value = Attributes> {
    let slots =
        prop_oneof![8 => Just(sized_keys::MIN_SLOTS), 1 => 0..9_u64, 1 => any::<u64>(), 1 => Just(1 << 15)];
    let count = prop_oneof![8 => 3..5_u64, 1 => 0..256_u64, 1 => any::<u64>()];
    let kind = prop_oneof![8 => 0..3_u8, 1 => any::<u8>()];
    (slots, count, kind, any::<bool>(), any::<bool>()).prop_map(
        move |(slots, count, kind, is_split, has_values)| Attributes {
            slots,
            count,
            kind,
            is_split,
            has_values,
            layout,
        },
    )
}

fn object(layout: usize) -> impl Strategy<Value = Object> {
    let generators = prop_oneof![4 => Just(COROUTINE), 1 => Just(GENERATOR), 1 => Just(ASYNC_GENERATOR)];
    let states = prop_oneof![1 => Just(0), 1 => Just(1), 8 => Just(2), 4 => Just(3), 1 => Just(4)];
    let owners = prop_oneof![1 => Just(1), 3 => 0..5_u64];
    let previous = prop_oneof![4 => address(), 1 => Just(DRIVER), 1 => Just(0)];
    let references = prop_oneof![
        Just(WEAK_REFERENCE),
        Just(CHAIN_WRAPPER),
        Just(TERMINAL_WRAPPER),
        Just(OPAQUE)
    ];
    prop_oneof![
        4 => (address(), any::<bool>(), attributes(layout)).prop_map(
            |(coroutine, in_python, attributes)| Object::Task { coroutine, in_python, attributes }
        ),
        8 => (generators, states, owners, previous, address()).prop_map(
            move |(type_address, state, owner, previous, awaited)| Object::Generator {
                type_address, state, owner, previous, awaited, layout,
            }
        ),
        2 => (references, address()).prop_map(|(type_address, to)| Object::Reference { type_address, to }),
        1 => (prop_oneof![0..64_u64, any::<u64>()], address()).prop_map(|(mask, table)| Object::Set { mask, table }),
        2 => vec(prop_oneof![address(), Just(0)], WINDOW_WORDS / 2).prop_map(Object::Table),
    ]
}

impl Object {
    /// Writes the object, which lies at `address`.
    fn write(&self, address: u64, words: &mut [u64]) {
        let mut set = |offset: u64, value: u64| words[offset as usize / 8] = value;
        match *self {
            Self::Task {
                coroutine,
                in_python,
                attributes,
            } => {
                set(TYPE, if in_python { PYTHON_TASK } else { TASK });
                set(LOOP_OF_TASK, address);
                set(COROUTINE_OF_TASK, coroutine);
                if in_python {
                    attributes.write(address, coroutine, &mut set);
                }
                if in_python && attributes.has_values && !has_frame_objects(attributes.layout) {
                    set(VALUES, VALID);
                    set(VALUES + 8, coroutine);
                    set(VALUES + 16, address);
                    set(VALUES_POINTER, address + VALUES);
                }
            }
            Self::Generator {
                type_address,
                state,
                owner,
                previous,
                awaited,
                layout,
            } if has_frame_objects(layout) => {
                set(0, RESUMES);
                set(TYPE, type_address);
                // Who is driven is linked too, more often than not.
                set(STATE, u64::from(owner == 0));
                set(FRAME, address);
                set(
                    FRAME + PREVIOUS,
                    if state == 3 || owner == 1 { previous } else { 0 },
                );
                set(FRAME_GENERATOR, if owner == 4 { 0 } else { address });
                set(FRAME_STATE, if state == 2 { 1 } else { state });
                let last = if state == 0 { u32::MAX } else { 0 };
                set(FRAME_LAST, u64::from(last) | 1 << 32);
                set(
                    FRAME_VALUES,
                    address + FRAME_VALUE + if layout == DRIVEN { 8 } else { 0 },
                );
                set(FRAME_VALUE, awaited);
            }
            Self::Generator {
                type_address,
                state,
                owner,
                previous,
                awaited,
                layout,
            } => {
                let old = layout == 1;
                set(0, RESUMES);
                set(TYPE, type_address);
                set(STATE, if old && state == 2 { 1 } else { state });
                set(FRAME + CODE, address + 1);
                set(FRAME + PREVIOUS, if previous == 0 { 0 } else { previous + FRAME });
                // The next code unit is the one at the beginning of the object.
                set(FRAME + INSTRUCTION, address - 2);
                set(FRAME + STACK, if old { 1 } else { address + FRAME + LOCALS + 8 });
                set(FRAME + OWNER, owner);
                set(FRAME + LOCALS, awaited);
            }
            Self::Reference { type_address, to } => {
                // As a thread state it leads to a frame.
                set(0, to + FRAME);
                set(TYPE, type_address);
                set(REFERENT, to);
            }
            Self::Set { mask, table } => {
                set(MASK, mask);
                set(TABLE, table);
            }
            Self::Table(ref keys) => {
                for (offset, key) in (0..).step_by(16).zip(keys) {
                    set(offset, *key);
                }
            }
        }
    }
}

/// Makes a proper list of all tasks: garbage comes later.
fn link_tasks(objects: &[Object], words: &mut [u64]) {
    let is_task = |number: &usize| matches!(objects[*number], Object::Task { .. });
    let nodes = (1..objects.len())
        .filter(is_task)
        .map(|number| number * WINDOW_WORDS + NODE as usize / 8);
    let head = NODE as usize / 8;
    let ring: Vec<usize> = [head].into_iter().chain(nodes).chain([head]).collect();
    for pair in ring.windows(2) {
        words[pair[0]] = BASE + pair[1] as u64 * 8;
        words[pair[1] + 1] = BASE + pair[0] as u64 * 8;
    }
}
