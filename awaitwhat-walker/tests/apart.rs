//! Tasks that work on another stack than their coroutines, inside a greenlet: with frames in coroutines, and as objects of their own.

use std::collections::BTreeMap;

use awaitwhat_common::event::{FRAME_WORDS, HEAD, TASK_HEADER_WORDS, TaskState, flags, task};
use awaitwhat_common::layout::{ABSENT, Layout, quirks};
use awaitwhat_common::limits::{MAX_FRAME_SLOTS, MAX_FRAMES, WINDOW_WORDS};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use awaitwhat_walker::{Flow, Host, Record, Walk};

const LIST: u64 = 0x10_0000;
const TASK: u64 = 0x10_1000;
const THREAD: u64 = 0x10_2000;
const EVENT_LOOP: u64 = 0x10_3000;
/// Plain frames: of the loop, and of the greenlet.
const LOOP_FRAME: u64 = 0x10_4000;
const GREENLET_FRAME: u64 = 0x10_5000;
/// The task's coroutines, the first its own, in steps of this many bytes.
const COROUTINES: u64 = 0x20_0000;
const STEP: u64 = 0x1_0000;
const TASK_TYPE: u64 = 0x30_0000;
const COROUTINE_TYPE: u64 = 0x30_1000;

const NODE: u64 = 64;
const EXECUTING: u64 = 3;
const SUSPENDED: u64 = 1;
/// Owner of a frame that lies in a coroutine.
const OWNED_BY_GENERATOR: u64 = 1;
const MAX_STEPS: u32 = 40_000;

/// Offsets of fields of a frame; it is an object of its own where it has a generator.
const CODE: u64 = 16;
const PREVIOUS: u64 = 24;
const OWNER: u64 = 40;
const GENERATOR: u64 = 48;
const STATE: u64 = 56;
const LOCALS: u64 = 64;
/// Of a generator: its state, and its frame or the pointer to it.
const GENERATOR_STATE: u64 = 16;
const FRAME: u64 = 24;
/// Where the frame of a coroutine is, behind it, where it is an object of its own.
const OWN_FRAME: u64 = 0x1000;

struct Process {
    layout: Layout,
    plan: ThreadPlan,
    words: BTreeMap<u64, u64>,
    records: Vec<Vec<u64>>,
}

impl Process {
    /// A process whose only task has so many coroutines, each in a variable of the one that awaits it; the thread is in a greenlet.
    fn new(is_heap: bool, coroutines: u64) -> Self {
        let root = Root {
            kind: root_kind::LIST,
            reserved: 0,
            address: LIST,
        };
        let mut process = Self {
            layout: layout(is_heap),
            plan: ThreadPlan {
                thread_state: THREAD,
                running_loop: EVENT_LOOP,
                ..ThreadPlan::of(&[root])
            },
            words: BTreeMap::new(),
            records: Vec::new(),
        };
        let node = TASK + NODE;
        process.set(LIST, &[node, node]);
        process.set(TASK, &[0, TASK_TYPE, EVENT_LOOP, COROUTINES]);
        process.set(node, &[LIST, LIST]);
        process.plain_frame(LOOP_FRAME, 0);
        process.plain_frame(GREENLET_FRAME, 0);
        process.set(THREAD, &[GREENLET_FRAME]);
        for number in 0..coroutines {
            let caller = if number == 0 {
                LOOP_FRAME
            } else {
                process.frame(number - 1)
            };
            process.coroutine(number, EXECUTING, caller);
            if number + 1 < coroutines {
                process.awaits(number, 2, number + 1);
            }
        }
        process
    }

    fn set(&mut self, address: u64, words: &[u64]) {
        self.words
            .extend((address..).step_by(8).zip(words.iter().copied()));
    }

    fn plain_frame(&mut self, frame: u64, previous: u64) {
        self.set(frame + CODE, &[frame, previous, 0, 0, 0]);
    }

    /// The frame of a coroutine.
    fn frame(&self, number: u64) -> u64 {
        let coroutine = COROUTINES + number * STEP;
        coroutine
            + if self.layout.has_heap_frames() {
                OWN_FRAME
            } else {
                FRAME
            }
    }

    fn coroutine(&mut self, number: u64, state: u64, caller: u64) {
        let (coroutine, frame) = (COROUTINES + number * STEP, self.frame(number));
        self.set(coroutine, &[0, COROUTINE_TYPE, state]);
        if self.layout.has_heap_frames() {
            self.set(coroutine + FRAME, &[frame]);
            self.set(frame + GENERATOR, &[coroutine, state]);
        }
        self.set(frame + CODE, &[coroutine, caller]);
        self.set(frame + OWNER, &[OWNED_BY_GENERATOR]);
        for slot in 0..u64::from(MAX_FRAME_SLOTS) + 8 {
            self.set(frame + LOCALS + slot * 8, &[0]);
        }
        if self.layout.has_heap_frames() {
            self.set(frame + GENERATOR, &[coroutine, state]);
        }
    }

    /// Puts a coroutine into a place of another one's frame.
    fn awaits(&mut self, number: u64, slot: u64, awaited: u64) {
        let place = self.frame(number) + LOCALS + slot * 8;
        self.set(place, &[COROUTINES + awaited * STEP]);
    }

    /// Walks the task. Returns what its record says: state, status, whether it is apart, and the frames' code.
    fn walk(&mut self) -> (TaskState, TaskStatus, bool, Vec<u64>) {
        let (layout, plan) = (self.layout, self.plan);
        let mut walk = Box::new(Walk::NEW);
        walk.begin_slice(&layout, &plan, false, 0, 0, 0);
        let mut steps = 0;
        let status = loop {
            if let Flow::Done(status) = walk.step(&layout, &plan, self) {
                break status;
            }
            steps += 1;
            assert!(steps < MAX_STEPS, "a walk without end");
        };
        assert_eq!(status, SliceStatus::PassComplete);
        let of_task: Vec<_> = self
            .records
            .iter()
            .filter(|it| it[task::ADDRESS] == TASK)
            .collect();
        let [record] = of_task.as_slice() else {
            panic!("{} records of the task", of_task.len());
        };
        let byte = |shift: u32| (record[HEAD] >> shift) as u8;
        let state = TaskState::from_u8(byte(16)).expect("a state");
        let status = TaskStatus::from_u8(byte(8)).expect("a status");
        let frames = record[TASK_HEADER_WORDS..].chunks(FRAME_WORDS);
        let codes = frames.map(|frame| frame[0]).collect();
        (state, status, byte(24) & flags::APART != 0, codes)
    }
}

impl Host for Process {
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let Some(window) = window else {
            return self.words.get(&address).copied();
        };
        for (word, at) in window.iter_mut().zip((address..).step_by(8)) {
            *word = self.words.get(&at).copied().unwrap_or(0);
        }
        Some(window[0])
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

fn layout(is_heap: bool) -> Layout {
    let short = |offset: u64| u16::try_from(offset).expect("an offset within a window");
    Layout {
        task_type: TASK_TYPE,
        object_type: 8,
        task_loop: 16,
        task_coro: 24,
        task_name: 32,
        task_fut_waiter: 40,
        task_state: ABSENT,
        task_node: short(NODE),
        generator_frame_state: if is_heap { ABSENT } else { short(GENERATOR_STATE) },
        generator_frame: short(FRAME),
        frame_code: short(CODE),
        frame_previous: short(PREVIOUS),
        frame_instruction: short(CODE + 16),
        frame_owner: short(OWNER),
        frame_generator: short(GENERATOR),
        frame_state: short(STATE),
        frame_locals: short(LOCALS),
        frame_value_stack: short(LOCALS),
        frame_awaited: 8,
        quirks: if is_heap {
            quirks::HEAP_FRAME | quirks::AWAIT_BY_OPCODE
        } else {
            0
        },
        state_executing: EXECUTING as i8,
        state_suspended: SUSPENDED as i8,
        owner_internal: u8::MAX,
        coroutine_type: COROUTINE_TYPE,
        ..Layout::default()
    }
}

const BOTH: [bool; 2] = [false, true];

fn coroutines(numbers: impl DoubleEndedIterator<Item = u64>) -> impl Iterator<Item = u64> {
    numbers.rev().map(|number| COROUTINES + number * STEP)
}

#[test]
fn the_greenlets_frames_come_first_and_then_the_coroutines() {
    for is_heap in BOTH {
        let mut process = Process::new(is_heap, 4);
        process.plain_frame(GREENLET_FRAME, GREENLET_FRAME + 0x100);
        process.plain_frame(GREENLET_FRAME + 0x100, 0);
        let expected: Vec<u64> = [GREENLET_FRAME, GREENLET_FRAME + 0x100]
            .into_iter()
            .chain(coroutines(0..4))
            .collect();
        assert_eq!(
            process.walk(),
            (TaskState::Running, TaskStatus::Complete, true, expected)
        );
    }
}

#[test]
fn what_a_coroutine_awaits_is_found_wherever_it_lies_in_the_frame() {
    for (is_heap, slot) in BOTH
        .into_iter()
        .flat_map(|it| [0, 31, 40, 200].map(|slot| (it, slot)))
    {
        let mut process = Process::new(is_heap, 2);
        process.awaits(0, 2, 0);
        process.awaits(0, slot, 1);
        let expected: Vec<u64> = [GREENLET_FRAME].into_iter().chain(coroutines(0..2)).collect();
        assert_eq!(process.walk().3, expected, "slot {slot}");
    }
}

#[test]
fn a_coroutine_that_was_not_called_by_the_frame_is_not_taken() {
    for is_heap in BOTH {
        for (state, caller) in [
            (SUSPENDED, None),
            (EXECUTING, Some(LOOP_FRAME)),
            (EXECUTING, Some(0)),
        ] {
            let mut process = Process::new(is_heap, 2);
            let caller = caller.unwrap_or(process.frame(0));
            process.coroutine(1, state, caller);
            assert_eq!(process.walk().3, [GREENLET_FRAME, COROUTINES]);
        }
    }
}

#[test]
fn a_greenlet_without_a_python_frame_has_none() {
    for is_heap in BOTH {
        let mut process = Process::new(is_heap, 1);
        process.set(THREAD, &[0]);
        let expected = (TaskState::Running, TaskStatus::Complete, true, vec![COROUTINES]);
        assert_eq!(process.walk(), expected);
    }
}

#[test]
fn a_coroutine_that_is_just_being_entered_or_left_is_torn() {
    for is_heap in BOTH {
        // Not called by anything yet; called by what the thread is in; by what that is called by.
        let mut entered = Process::new(is_heap, 1);
        entered.coroutine(0, EXECUTING, 0);
        let mut left = Process::new(is_heap, 1);
        left.set(THREAD, &[LOOP_FRAME]);
        let mut awaited_left = Process::new(is_heap, 2);
        awaited_left.plain_frame(LOOP_FRAME, GREENLET_FRAME);
        for mut process in [entered, left, awaited_left] {
            assert_eq!(process.walk().1, TaskStatus::Torn);
        }
    }
}

#[test]
fn a_task_of_another_loop_may_be_another_threads() {
    for is_heap in BOTH {
        let mut process = Process::new(is_heap, 1);
        process.plan.running_loop = LIST;
        assert_eq!(process.walk().1, TaskStatus::Torn);
    }
}

#[test]
fn frames_beyond_the_bound_are_left_out() {
    for is_heap in BOTH {
        let mut process = Process::new(is_heap, 4);
        process.plan.max_frames = 3;
        let (state, status, is_apart, frames) = process.walk();
        assert_eq!(
            (state, status, is_apart),
            (TaskState::Running, TaskStatus::Truncated, true)
        );
        assert_eq!(
            frames,
            [GREENLET_FRAME, COROUTINES + 3 * STEP, COROUTINES + 2 * STEP]
        );
    }
}

#[test]
fn coroutines_that_lead_to_each_other_have_an_end() {
    for is_heap in BOTH {
        let mut process = Process::new(is_heap, 2);
        process.awaits(1, 0, 0);
        let inner = process.frame(1);
        process.coroutine(0, EXECUTING, inner);
        process.awaits(0, 0, 1);
        process.plan.max_frames = MAX_FRAMES as u32;
        assert_ne!(process.walk().1, TaskStatus::Complete);
    }
}
