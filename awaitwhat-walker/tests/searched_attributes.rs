//! Tasks written in Python whose dicts are searched for their attributes: each kind of dict, and what is none.

use std::collections::BTreeMap;

use awaitwhat_common::event::{HEAD, task};
use awaitwhat_common::layout::{
    ABSENT, ENTRY, Layout, TaskShape, UNICODE_ENTRY, attribute, keys_of_kinds, quirks, sized_keys,
};
use awaitwhat_common::limits::{MAX_ATTRIBUTE_SLOTS, MAX_ATTRIBUTES, WINDOW_WORDS};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use awaitwhat_walker::{Flow, Host, Record, Walk};

/// Objects, far enough from each other.
const LIST: u64 = 0x10_0000;
const TASK: u64 = 0x10_1000;
const DICT: u64 = 0x10_2000;
const VALUES: u64 = 0x10_3000;
const COROUTINE: u64 = 0x10_4000;
const FRAME: u64 = 0x10_5000;
const LOOP: u64 = 0x10_6000;
const WAITER: u64 = 0x10_7000;
const NAME: u64 = 0x10_8000;
const NONE: u64 = 0x10_9000;
const PENDING: u64 = 0x10_a000;
const FINISHED: u64 = 0x10_b000;
const CODE: u64 = 0x10_c000;
const KEYS: u64 = 0x11_0000;
const SHARED_KEYS: u64 = 0x13_0000;
const TASK_TYPE: u64 = 0x20_0000;
const COROUTINE_TYPE: u64 = 0x20_1000;
/// `str` objects: those of [`attribute`] from here on, in steps of a page; and another one.
const NAMES: u64 = 0x30_0000;
const OTHER: u64 = 0x31_0000;

const NODE: u64 = 32;
const DICT_POINTER: u64 = 16;
const VALUES_POINTER: u64 = 24;
/// Where a task has values in itself, and where in them the first one is.
const INLINE_VALUES: u64 = 48;
const FIRST_VALUE: u64 = 8;
const MAX_STEPS: u32 = 1000;

fn name(attribute: usize) -> u64 {
    NAMES + attribute as u64 * 0x1000
}

fn layout() -> Layout {
    let mut layout = Layout {
        object_type: 8,
        task_node: NODE as u16,
        generator_frame: 16,
        generator_frame_state: ABSENT,
        frame_code: 16,
        frame_generator: 24,
        frame_previous: 32,
        frame_value_stack: 40,
        frame_instruction: 48,
        frame_state: 56,
        frame_awaited: 8,
        instruction_unit: 1,
        quirks: quirks::HEAP_FRAME | quirks::AWAIT_BY_OPCODE,
        state_executing: 1,
        none_address: NONE,
        coroutine_type: COROUTINE_TYPE,
        attribute_names: std::array::from_fn(name),
        ..Layout::default()
    };
    layout.task_shapes[1] = TaskShape {
        type_address: TASK_TYPE,
        pending: PENDING,
        inline_values: ABSENT,
        dict_pointer: DICT_POINTER as i16,
        dict_keys: 32,
        dict_values: 40,
        is_searched: 1,
        ..TaskShape::default()
    };
    layout
}

/// The memory of a process with one task, and what was sent of it.
struct Process {
    layout: Layout,
    words: BTreeMap<u64, u64>,
    records: Vec<Vec<u64>>,
}

/// The head of a dict's keys.
#[derive(Clone, Copy, Debug)]
enum Head {
    Sized {
        slots: u64,
        /// Bytes of each slot.
        slot_bytes: u64,
    },
    OfKind {
        log2_slots: u8,
        log2_index_bytes: u8,
        kind: u8,
    },
}

/// The dict of the task.
#[derive(Clone, Copy)]
struct Dict<'case> {
    head: Head,
    /// Keys and values; a deleted entry has neither.
    items: &'case [(u64, u64)],
    /// Whether the values are apart.
    is_split: bool,
}

impl Process {
    /// A process whose task, not yet begun, has this dict.
    fn new(dict: &Dict<'_>) -> Self {
        let mut process = Self {
            layout: layout(),
            words: BTreeMap::new(),
            records: Vec::new(),
        };
        process.set(LIST, &[TASK + NODE, TASK + NODE]);
        process.set(TASK, &[1, TASK_TYPE, DICT, 0, LIST, LIST]);
        process.set(DICT + 32, &[KEYS, if dict.is_split { VALUES } else { 0 }]);
        let entry_bytes = match dict.head {
            Head::OfKind { kind, .. } if kind != keys_of_kinds::GENERAL => UNICODE_ENTRY,
            Head::OfKind { .. } | Head::Sized { .. } => ENTRY,
        };
        let first_value = match dict.head {
            Head::OfKind { .. } => {
                process.layout.task_shapes[1].first_value = FIRST_VALUE as u16;
                FIRST_VALUE
            }
            Head::Sized { .. } => 0,
        };
        let entries = process.set_head(dict);
        process.set(VALUES, &[0]);
        for (at, (key, value)) in (0..).zip(dict.items) {
            let words = [u64::MAX, *key, if dict.is_split { 0 } else { *value }];
            let without_hash = usize::from(entry_bytes == UNICODE_ENTRY);
            process.set(entries + at * entry_bytes, &words[without_hash..]);
            if dict.is_split {
                process.set(VALUES + first_value + at * 8, &[*value]);
            }
        }
        process.set(COROUTINE, &[1, COROUTINE_TYPE, FRAME]);
        process.set(FRAME, &[1, 0, CODE, COROUTINE, 0, 0, u64::from(u32::MAX), 0]);
        process
    }

    /// Writes the head of the keys, and returns where the entries begin.
    fn set_head(&mut self, dict: &Dict<'_>) -> u64 {
        let count = dict.items.len() as u64;
        match dict.head {
            Head::Sized { slots, slot_bytes } => {
                self.layout.quirks |= quirks::SIZED_KEYS;
                self.set(KEYS, &[1, slots, 0, 0, count]);
                KEYS + sized_keys::INDEX + slots * slot_bytes
            }
            Head::OfKind {
                log2_slots,
                log2_index_bytes,
                kind,
            } => {
                let bytes = u64::from_le_bytes([log2_slots, log2_index_bytes, kind, 0, 1, 2, 3, 4]);
                self.set(KEYS, &[1, bytes, 0, count]);
                KEYS + keys_of_kinds::INDEX + (1 << log2_index_bytes.min(31))
            }
        }
    }

    fn shape(&mut self) -> &mut TaskShape {
        &mut self.layout.task_shapes[1]
    }

    fn set(&mut self, address: u64, words: &[u64]) {
        self.words
            .extend((address..).step_by(8).zip(words.iter().copied()));
    }

    /// Walks the whole process, and returns the records.
    fn walk(mut self) -> Vec<Vec<u64>> {
        let list = Root {
            kind: root_kind::LIST,
            reserved: 0,
            address: LIST,
        };
        let plan = ThreadPlan {
            tgid: 1,
            tid: 1,
            sends_strangers: 1,
            address_space: 1,
            event_loop: LOOP,
            max_frames: 8,
            ..ThreadPlan::of(&[list])
        };
        let layout = self.layout;
        assert!(layout.is_within_bounds());
        let mut walk = Box::new(Walk::NEW);
        walk.begin_slice(&layout, &plan, false, 0, 0, 0);
        for _ in 0..MAX_STEPS {
            if let Flow::Done(status) = walk.step(&layout, &plan, &mut self) {
                assert_eq!(status, SliceStatus::PassComplete);
                return self.records;
            }
        }
        panic!("the walk goes on and on");
    }
}

impl Host for Process {
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let Some(window) = window else {
            return self.words.get(&address).copied();
        };
        for (word, at) in window.iter_mut().zip((address..).step_by(8)) {
            *word = self.words.get(&at).copied().unwrap_or_default();
        }
        let is_there = self.words.contains_key(&address) || self.words.contains_key(&(address + 32));
        is_there.then_some(window[0])
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        false
    }

    fn emit(&mut self, record: &Record) -> bool {
        self.records.push(record.words().collect());
        true
    }
}

/// The attributes of a task that waits, with one that is deleted.
const WAITING: [(u64, u64); 6] = [
    (NAMES + attribute::LOOP as u64 * 0x1000, LOOP),
    (0, 0),
    (NAMES + attribute::NAME as u64 * 0x1000, NAME),
    (NAMES + attribute::FUT_WAITER as u64 * 0x1000, WAITER),
    (OTHER, FINISHED),
    (NAMES + attribute::CORO as u64 * 0x1000, COROUTINE),
];

/// Keys of 3.7 to 3.10, and of each kind since then, with values apart where such keys have them.
const FORMS: [(Head, bool); 5] = [
    (SIZED, false),
    (SIZED, true),
    (of_kind(8, 9, keys_of_kinds::GENERAL), false),
    (of_kind(8, 9, keys_of_kinds::UNICODE), false),
    (of_kind(8, 9, keys_of_kinds::SPLIT), true),
];
const SIZED: Head = Head::Sized {
    slots: 1 << 8,
    slot_bytes: 2,
};

const fn of_kind(log2_slots: u8, log2_index_bytes: u8, kind: u8) -> Head {
    Head::OfKind {
        log2_slots,
        log2_index_bytes,
        kind,
    }
}

/// Each form of a dict with these items.
fn dicts(items: &[(u64, u64)]) -> impl Iterator<Item = Dict<'_>> {
    FORMS.into_iter().map(move |(head, is_split)| Dict {
        head,
        items,
        is_split,
    })
}

/// The status of the only record.
#[track_caller]
fn status(process: Process) -> TaskStatus {
    let records = process.walk();
    assert_eq!(records.len(), 1);
    TaskStatus::from_u8((records[0][HEAD] >> 8) as u8).expect("a status")
}

#[track_caller]
fn assert_found(process: Process, fut_waiter: u64) {
    let records = process.walk();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record[HEAD] >> 8 & 0xff, TaskStatus::Complete as u64);
    assert_eq!(record[task::ADDRESS], TASK);
    assert_eq!(record[task::TYPE], TASK_TYPE);
    assert_eq!(record[task::NAME], NAME);
    assert_eq!(record[task::LOOP], LOOP);
    assert_eq!(record[task::FUT_WAITER], fut_waiter);
    assert_eq!(record[task::CORO], COROUTINE);
    assert_eq!(record.get(record.len() - 2), Some(&CODE));
}

#[test]
fn finds_attributes_among_the_entries_or_apart() {
    for is_split in [false, true] {
        for (slots, slot_bytes) in [(8, 1), (1 << 7, 1), (1 << 8, 2), (MAX_ATTRIBUTE_SLOTS, 2)] {
            let dict = Dict {
                head: Head::Sized { slots, slot_bytes },
                items: &WAITING,
                is_split,
            };
            assert_found(Process::new(&dict), WAITER);
        }
    }
    for kind in [
        keys_of_kinds::GENERAL,
        keys_of_kinds::UNICODE,
        keys_of_kinds::SPLIT,
    ] {
        for (log2_slots, log2_index_bytes) in [(3, 3), (7, 7), (8, 9), (15, 16)] {
            let dict = Dict {
                head: of_kind(log2_slots, log2_index_bytes, kind),
                items: &WAITING,
                is_split: kind == keys_of_kinds::SPLIT,
            };
            assert_found(Process::new(&dict), WAITER);
        }
    }
}

#[test]
fn finds_attributes_behind_many_others() {
    for before in [9, 10, 11, 15, 16, 17, 55, MAX_ATTRIBUTES as usize - WAITING.len()] {
        let mut items = vec![(OTHER, FINISHED); before];
        items.extend(WAITING);
        for dict in dicts(&items) {
            assert_found(Process::new(&dict), WAITER);
        }
    }
}

#[test]
fn takes_none_for_no_future() {
    let mut items = WAITING;
    items[3].1 = NONE;
    for dict in dicts(&items) {
        assert_found(Process::new(&dict), 0);
    }
}

#[test]
fn leaves_out_tasks_that_are_done_or_of_another_loop() {
    let state = |state| [&WAITING[..], &[(name(attribute::STATE), state)]].concat();
    let (pending, finished, mut foreign) = (state(PENDING), state(FINISHED), WAITING);
    foreign[0].1 = OTHER;
    for dict in dicts(&pending) {
        assert_found(Process::new(&dict), WAITER);
    }
    for dict in dicts(&finished).chain(dicts(&foreign)) {
        assert!(Process::new(&dict).walk().is_empty());
    }
}

#[test]
fn counts_what_lacks_an_attribute_as_opaque() {
    for missing in [0, 5] {
        let mut items = WAITING;
        items[missing] = (0, 0);
        for dict in dicts(&items) {
            assert_eq!(status(Process::new(&dict)), TaskStatus::Opaque);
        }
    }
}

#[test]
fn counts_what_has_too_many_attributes_as_opaque() {
    let mut many = WAITING.to_vec();
    many.resize(MAX_ATTRIBUTES as usize, (OTHER, FINISHED));
    for dict in dicts(&many) {
        assert_found(Process::new(&dict), WAITER);
    }
    many.push((OTHER, FINISHED));
    for dict in dicts(&many) {
        assert_eq!(status(Process::new(&dict)), TaskStatus::Opaque);
    }
}

#[test]
fn counts_a_dict_that_becomes_another_size_as_torn() {
    for dict in dicts(&[]) {
        assert_eq!(status(Process::new(&dict)), TaskStatus::Torn);
    }
}

/// New keys have their values among the entries; the values that are still apart are those of others.
#[test]
fn counts_a_dict_that_gets_keys_of_its_own_as_torn() {
    for (kind, is_split) in [
        (keys_of_kinds::GENERAL, true),
        (keys_of_kinds::UNICODE, true),
        (keys_of_kinds::SPLIT, false),
    ] {
        let dict = Dict {
            head: of_kind(8, 9, kind),
            items: &WAITING,
            is_split,
        };
        assert_eq!(status(Process::new(&dict)), TaskStatus::Torn, "kind {kind}");
    }
}

#[test]
fn believes_no_impossible_index() {
    let sized = |slots| Head::Sized { slots, slot_bytes: 0 };
    let sizes = [0, 1, 4, 7, 12, MAX_ATTRIBUTE_SLOTS * 2, 1 << 63, u64::MAX].map(sized);
    let logarithms = [
        (0, 0),
        (2, 2),
        (3, 4),
        (8, 8),
        (8, 10),
        (15, 15),
        (16, 18),
        (63, 65),
        (8, 0xff),
        (0xff, 0),
        (0xff, 0xff),
    ];
    let of_kinds = logarithms.map(|(slots, bytes)| of_kind(slots, bytes, keys_of_kinds::UNICODE));
    let no_kinds = [3, 4, 0x7f, 0xff].map(|kind| of_kind(8, 9, kind));
    for head in [&sizes[..], &of_kinds, &no_kinds].concat() {
        let dict = Dict {
            head,
            items: &WAITING,
            is_split: false,
        };
        assert_eq!(status(Process::new(&dict)), TaskStatus::Opaque, "{head:?}");
    }
}

#[test]
fn bad_pointers_are_faults_or_opaque() {
    for pointer in [0, 1, LOOP + 0x10_0000, u64::MAX] {
        for dict in dicts(&WAITING) {
            let mut process = Process::new(&dict);
            process.set(DICT + 32, &[pointer]);
            assert_eq!(status(process), TaskStatus::Fault, "keys at {pointer:#x}");
            let mut process = Process::new(&dict);
            process.set(TASK + DICT_POINTER, &[pointer]);
            assert_eq!(status(process), TaskStatus::Opaque, "a dict at {pointer:#x}");
        }
    }
    // Values that cannot be read are attributes that are not there.
    for dict in dicts(&WAITING).filter(|dict| dict.is_split) {
        let mut process = Process::new(&dict);
        process.set(DICT + 40, &[u64::MAX - 7]);
        assert_eq!(status(process), TaskStatus::Opaque);
    }
}

/// A task like those of 3.11 (with the pointers apart), 3.12 and 3.13, whose class has places for the attributes in [`SHARED_KEYS`].
fn process_with_places(dict: &Dict<'_>, values_pointer: u64, inline_values: u16) -> Process {
    let mut process = Process::new(dict);
    *process.shape() = TaskShape {
        keys: SHARED_KEYS,
        coro: FIRST_VALUE as u16,
        event_loop: FIRST_VALUE as u16 + 8,
        name: ABSENT,
        fut_waiter: ABSENT,
        state: ABSENT,
        values_pointer: values_pointer as i16,
        inline_values,
        is_searched: 0,
        ..*process.shape()
    };
    process
}

#[test]
fn searches_dicts_of_other_keys_than_those_of_the_class() {
    let of_kinds = || dicts(&WAITING).skip(2);
    for (values_pointer, inline_values) in [
        (0, ABSENT),
        (VALUES_POINTER, ABSENT),
        (DICT_POINTER, ABSENT),
        (0, INLINE_VALUES as u16),
    ] {
        for dict in of_kinds() {
            assert_found(process_with_places(&dict, values_pointer, inline_values), WAITER);
        }
    }
}

#[test]
fn takes_attributes_from_their_places_where_the_keys_are_those_of_the_class() {
    let dict = Dict {
        head: of_kind(8, 9, keys_of_kinds::SPLIT),
        items: &[(0, COROUTINE), (0, LOOP)],
        is_split: true,
    };
    let mut process = process_with_places(&dict, 0, ABSENT);
    process.set(DICT + 32, &[SHARED_KEYS]);
    assert_eq!(status(process), TaskStatus::Complete);
    // Other keys, which have no names either.
    assert_eq!(status(process_with_places(&dict, 0, ABSENT)), TaskStatus::Opaque);
}

#[test]
fn searches_the_keys_of_the_class_for_values_that_are_far_behind() {
    let dict = Dict {
        head: of_kind(8, 9, keys_of_kinds::SPLIT),
        items: &WAITING,
        is_split: true,
    };
    // In the task itself, and apart.
    for inline_values in [INLINE_VALUES as u16, ABSENT] {
        let mut process = process_with_places(&dict, VALUES_POINTER, inline_values);
        process.shape().is_searched = 1;
        process.shape().keys = KEYS;
        let values = if inline_values == ABSENT {
            process.set(TASK + VALUES_POINTER, &[VALUES]);
            VALUES
        } else {
            TASK + INLINE_VALUES
        };
        let valid = 1 << 24;
        process.set(values, &[valid]);
        for (at, (_, value)) in (0..).zip(WAITING) {
            process.set(values + FIRST_VALUE + at * 8, &[value]);
        }
        process.set(TASK + DICT_POINTER, &[0]);
        assert_found(process, WAITER);
    }
}
