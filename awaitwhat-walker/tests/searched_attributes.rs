//! Tasks written in Python whose dicts are searched for their attributes (3.7 to 3.10): each kind of dict, and what is none.

use std::collections::BTreeMap;

use awaitwhat_common::event::{HEAD, task};
use awaitwhat_common::layout::{ABSENT, Layout, TaskShape, attribute, quirks, sized_keys};
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
const TASK_TYPE: u64 = 0x20_0000;
const COROUTINE_TYPE: u64 = 0x20_1000;
/// `str` objects: those of [`attribute`] from here on, in steps of a page; and another one.
const NAMES: u64 = 0x30_0000;
const OTHER: u64 = 0x31_0000;

const NODE: u64 = 32;
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
        dict_pointer: 16,
        dict_keys: 32,
        dict_values: 40,
        is_searched: 1,
        ..TaskShape::default()
    };
    layout
}

/// The memory of a process with one task, and what was sent of it.
#[derive(Default)]
struct Process {
    words: BTreeMap<u64, u64>,
    records: Vec<Vec<u64>>,
}

/// The dict of the task.
struct Dict<'case> {
    slots: u64,
    /// Bytes of each slot.
    slot_bytes: u64,
    /// Keys and values; a deleted entry has neither.
    items: &'case [(u64, u64)],
    /// Whether the values are apart.
    is_split: bool,
}

impl Process {
    /// A process whose task, not yet begun, has this dict.
    fn new(dict: &Dict<'_>) -> Self {
        let mut process = Self::default();
        process.set(LIST, &[TASK + NODE, TASK + NODE]);
        process.set(TASK, &[1, TASK_TYPE, DICT, 0, LIST, LIST]);
        process.set(DICT + 32, &[KEYS, if dict.is_split { VALUES } else { 0 }]);
        process.set(KEYS, &[1, dict.slots, 0, 0, dict.items.len() as u64]);
        let entries = KEYS + sized_keys::INDEX + dict.slots * dict.slot_bytes;
        for (at, (key, value)) in (0..).zip(dict.items) {
            let in_entry = if dict.is_split { 0 } else { *value };
            process.set(entries + at * sized_keys::ENTRY, &[u64::MAX, *key, in_entry]);
            if dict.is_split {
                process.set(VALUES + at * 8, &[*value]);
            }
        }
        process.set(COROUTINE, &[1, COROUTINE_TYPE, FRAME]);
        process.set(FRAME, &[1, 0, CODE, COROUTINE, 0, 0, u64::from(u32::MAX), 0]);
        process
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
        let layout = layout();
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
    fn read_window(&mut self, address: u64, window: &mut [u64; WINDOW_WORDS]) -> bool {
        for (word, at) in window.iter_mut().zip((address..).step_by(8)) {
            *word = self.words.get(&at).copied().unwrap_or_default();
        }
        self.words.contains_key(&address) || self.words.contains_key(&(address + 32))
    }

    fn read_word(&mut self, address: u64) -> u64 {
        self.words.get(&address).copied().unwrap_or_default()
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        false
    }

    fn emit(&mut self, record: &Record) {
        self.records.push(record.words().collect());
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

fn dict(items: &[(u64, u64)]) -> Dict<'_> {
    Dict {
        slots: 1 << 8,
        slot_bytes: 2,
        items,
        is_split: false,
    }
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
                slots,
                slot_bytes,
                items: &WAITING,
                is_split,
            };
            assert_found(Process::new(&dict), WAITER);
        }
    }
}

#[test]
fn finds_attributes_behind_many_others() {
    for is_split in [false, true] {
        for before in [9, 10, 11, 55, MAX_ATTRIBUTES as usize - WAITING.len()] {
            let mut items = vec![(OTHER, FINISHED); before];
            items.extend(WAITING);
            let dict = Dict {
                is_split,
                ..dict(&items)
            };
            assert_found(Process::new(&dict), WAITER);
        }
    }
}

#[test]
fn takes_none_for_no_future() {
    let mut items = WAITING;
    items[3].1 = NONE;
    assert_found(Process::new(&dict(&items)), 0);
}

#[test]
fn leaves_out_tasks_that_are_done_or_of_another_loop() {
    let state = |state| [&WAITING[..], &[(name(attribute::STATE), state)]].concat();
    assert_found(Process::new(&dict(&state(PENDING))), WAITER);
    assert!(Process::new(&dict(&state(FINISHED))).walk().is_empty());
    let mut items = WAITING;
    items[0].1 = OTHER;
    assert!(Process::new(&dict(&items)).walk().is_empty());
}

#[test]
fn counts_what_lacks_an_attribute_as_opaque() {
    for missing in [0, 5] {
        let mut items = WAITING;
        items[missing] = (0, 0);
        assert_eq!(status(Process::new(&dict(&items))), TaskStatus::Opaque);
    }
}

#[test]
fn counts_what_has_too_many_attributes_as_opaque() {
    let mut many = WAITING.to_vec();
    many.resize(MAX_ATTRIBUTES as usize, (OTHER, FINISHED));
    assert_found(Process::new(&dict(&many)), WAITER);
    many.push((OTHER, FINISHED));
    assert_eq!(status(Process::new(&dict(&many))), TaskStatus::Opaque);
}

#[test]
fn counts_a_dict_that_becomes_another_size_as_torn() {
    assert_eq!(status(Process::new(&dict(&[]))), TaskStatus::Torn);
}

#[test]
fn believes_no_impossible_index() {
    for slots in [0, 4, 7, 12, MAX_ATTRIBUTE_SLOTS * 2, 1 << 63, u64::MAX] {
        let mut process = Process::new(&dict(&WAITING));
        process.set(KEYS + sized_keys::SLOTS, &[slots]);
        assert_eq!(status(process), TaskStatus::Opaque, "{slots} slots");
    }
}

#[test]
fn bad_pointers_are_faults_or_opaque() {
    for pointer in [0, 1, LOOP + 0x10_0000, u64::MAX] {
        let mut process = Process::new(&dict(&WAITING));
        process.set(DICT + 32, &[pointer]);
        assert_eq!(status(process), TaskStatus::Fault, "keys at {pointer:#x}");
        let mut process = Process::new(&dict(&WAITING));
        process.set(TASK + 16, &[pointer]);
        assert_eq!(status(process), TaskStatus::Opaque, "a dict at {pointer:#x}");
    }
    // Values that cannot be read are attributes that are not there.
    let mut process = Process::new(&dict(&WAITING));
    process.set(DICT + 40, &[u64::MAX - 7]);
    assert_eq!(status(process), TaskStatus::Opaque);
}
