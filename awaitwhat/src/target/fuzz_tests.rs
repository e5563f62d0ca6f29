//! A whole process: what is checked of it, its event loops, the walk over their tasks, and what is made of the records.

use std::collections::BTreeSet;

use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::{ThreadPlan, wants};
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use awaitwhat_fuzz::{Choices, Reached, Target};
use awaitwhat_walker::{Flow, Host, Record, Walk};

use super::Interpreter;
use super::synthetic_tests::{BUILDS, Planted, plant};
use crate::decode;
use crate::fuzz::hostile::{Hostile, MAX_HELD_BYTES, Plain};
use crate::memory::{Address, Fragment, Memory as _};
use crate::python::Objects;
use crate::symbolize::CodeCache;

/// Looks at the budget, one in eight steps, after which it is used up: later than a task needs, or soon.
const SLICE_LOOKS: [u64; 2] = [1000, 1];
/// No slice takes more steps than those, and what a task takes between two looks.
const MAX_SLICE_STEPS: u32 = 1 << 16;

/// Where a walk runs: over the memory.
struct Walked<'a> {
    memory: &'a Hostile,
    /// Looks at the budget that are left.
    looks: u64,
    records: Vec<Vec<u8>>,
}

impl Host for Walked<'_> {
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let Some(window) = window else {
            return self.memory.read_u64(Address(address)).ok();
        };
        window.fill(0);
        let mut is_readable = true;
        for (index, (word, at)) in window.iter_mut().zip((address..).step_by(8)).enumerate() {
            match self.memory.read_u64(Address(at)) {
                Ok(value) => *word = value,
                Err(_) if index == 0 => is_readable = false,
                Err(_) => break,
            }
        }
        is_readable.then_some(window[0])
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks == 0
    }

    fn emit(&mut self, record: &Record) -> bool {
        self.records
            .push(record.words().flat_map(u64::to_le_bytes).collect());
        true
    }
}

/// A process, and what is found of it while its memory is as it should be.
struct Found {
    planted: Planted,
    plain: Plain,
    interpreter: Interpreter,
    plans: Vec<ThreadPlan>,
}

fn found(name: &str, before: u64) -> Found {
    let planted = plant(name, before);
    let mut interpreter = planted.process.own();
    let image = &planted.process.heap.image;
    let loops = interpreter.event_loops(image, &BTreeSet::new);
    Found {
        plain: Plain::new(image),
        interpreter,
        plans: loops.expect("asyncio is there").plans,
        planted,
    }
}

/// What finds the loops, and what walks and names their tasks, over one hostile memory.
#[test]
fn fuzz_process() {
    let processes = BUILDS.map(|(name, before)| found(name, before));
    let target = Target {
        name: "process",
        executions: 1500,
        max_bytes: MAX_HELD_BYTES,
        places: &[
            ("check", 0),
            ("check", 1),
            ("loops", 0),
            ("loops", 1),
            ("workers", 0),
            ("workers", 1),
            ("slice", SliceStatus::PassComplete as u32),
            ("slice", SliceStatus::Budget as u32),
            ("slice", SliceStatus::RegistryTorn as u32),
            ("task", TaskStatus::Complete as u32),
            ("task", TaskStatus::Fault as u32),
            ("task", TaskStatus::Torn as u32),
            ("frame", 1),
            ("name", 0),
            ("name", 1),
        ],
    };
    target.run(|choices, reached| {
        let process = &processes[choices.below(processes.len())];
        let memory = Hostile::new(&process.plain, choices, &[]);
        // What may be changing is looked at again after pauses, so this takes long.
        if choices.once_in(16) {
            find(&process.planted, &memory, reached);
        }
        let workers = memory.bounded(|| process.interpreter.workers(&memory));
        reached.note_result("workers", &workers);
        walk(process, &memory, choices, reached);
    });
}

fn find(planted: &Planted, memory: &Hostile, reached: &mut Reached) {
    let mut interpreter = planted.process.own();
    let check = memory.bounded(|| interpreter.check(memory));
    reached.note_result("check", &check);
    let loops = memory.bounded(|| interpreter.event_loops(memory, &BTreeSet::new));
    reached.note_result("loops", &loops);
}

fn walk(process: &Found, memory: &Hostile, choices: &mut Choices<'_>, reached: &mut Reached) {
    let interpreter = &process.interpreter;
    let Some((_, layout)) = interpreter.layouts().next() else {
        return;
    };
    let (mut cache, mut walk) = (CodeCache::default(), Walk::NEW);
    for number in 0..=choices.below(3) {
        let plan = ThreadPlan {
            wants: wants::NAME | wants::LINKS,
            ..choices.pick(&process.plans)
        };
        let mut host = Walked {
            memory,
            looks: choices.pick(&SLICE_LOOKS),
            records: Vec::new(),
        };
        let in_context = choices.once_in(2);
        let status = memory.bounded(|| {
            walk.begin_slice(layout, &plan, in_context, 0, 0, number as u64);
            let mut steps = 0;
            loop {
                if let Flow::Done(status) = walk.step(layout, &plan, &mut host) {
                    break status;
                }
                steps += 1;
                assert!(steps < MAX_SLICE_STEPS, "a slice goes on and on");
            }
        });
        walk.end_slice(status, 1);
        reached.note("slice", status as u32);
        for bytes in host.records {
            name(&bytes, &interpreter.objects(memory), memory, &mut cache, reached);
        }
    }
}

/// Names what a record has.
fn name(bytes: &[u8], objects: &Objects<'_>, memory: &Hostile, cache: &mut CodeCache, reached: &mut Reached) {
    let Ok(decode::Record::Task(record)) = decode::decode(bytes) else {
        panic!("the walker sends what is no record of a task");
    };
    reached.note("task", record.status as u32);
    reached.note("state", record.state as u32);
    for (code, instruction) in record.frames() {
        let frame = memory.bounded(|| cache.frame(objects, code, instruction));
        reached.note_result("frame", &frame);
    }
    let seen = Fragment {
        start: record.name,
        bytes: record.name_bytes,
    };
    let name = memory.bounded(|| objects.task_name(seen));
    reached.note_result("name", &name);
}
