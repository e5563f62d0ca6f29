//! A whole process: what is checked of it, its event loops, the walk over their tasks, and what is made of the records.

use std::collections::BTreeSet;

use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::status::TaskStatus;
use awaitwhat_fuzz::{Choices, Reached, Target};
use awaitwhat_walker::{Flow, Host, Record, Walk};

use super::synthetic_tests::{BUILDS, Planted, plant};
use crate::decode;
use crate::fuzz::hostile::{Hostile, MAX_HELD_BYTES, Plain};
use crate::memory::{Address, Memory as _};
use crate::symbolize::CodeCache;

/// Reads after which a slice's budget is used up: soon, or after more than a task needs.
const SLICE_READS: [u64; 2] = [4000, 2];
/// No slice takes more steps than its reads and what a task takes between two looks at the budget.
const MAX_SLICE_STEPS: u32 = 1 << 16;

/// Where a walk runs: over the memory.
struct Walked<'a> {
    memory: &'a Hostile,
    reads: u64,
    max_reads: u64,
    records: Vec<Vec<u8>>,
}

impl Host for Walked<'_> {
    fn read_window(&mut self, address: u64, window: &mut [u64; WINDOW_WORDS]) -> bool {
        window.fill(0);
        let mut is_readable = true;
        for (index, (word, at)) in window.iter_mut().zip((address..).step_by(8)).enumerate() {
            match self.memory.read_u64(Address(at)) {
                Ok(value) => *word = value,
                Err(_) if index == 0 => is_readable = false,
                Err(_) => break,
            }
        }
        self.reads += 1;
        is_readable
    }

    fn read_word(&mut self, address: u64) -> u64 {
        self.reads += 1;
        self.memory.read_u64(Address(address)).unwrap_or(0)
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        self.reads >= self.max_reads
    }

    fn emit(&mut self, record: &Record) {
        self.records
            .push(record.words().flat_map(u64::to_le_bytes).collect());
    }
}

#[test]
fn fuzz_process() {
    let processes = BUILDS.map(|(name, before)| {
        let planted = plant(name, before);
        let plain = Plain::new(&planted.process.heap.image);
        (planted, plain)
    });
    let target = Target {
        name: "process",
        executions: 300,
        max_bytes: MAX_HELD_BYTES,
        places: &[
            ("check", 0),
            ("check", 1),
            ("loops", 0),
            ("loops", 1),
            ("slice", 0),
            ("slice", 1),
            ("task", TaskStatus::Complete as u32),
            ("task", TaskStatus::Fault as u32),
            ("task", TaskStatus::Torn as u32),
            ("frame", 1),
        ],
    };
    target.run(|choices, reached| {
        let (planted, plain) = &processes[choices.below(processes.len())];
        look(planted, &Hostile::new(plain, choices, &[]), choices, reached);
    });
}

fn look(planted: &Planted, memory: &Hostile, choices: &mut Choices<'_>, reached: &mut Reached) {
    let mut interpreter = planted.process.own();
    let check = memory.bounded(|| interpreter.check(memory));
    reached.note_result("check", &check);
    let loops = memory.bounded(|| interpreter.event_loops(memory, &BTreeSet::new));
    reached.note_result("loops", &loops);
    let Ok(loops) = loops else { return };
    let Some((_, layout)) = interpreter.layouts().next() else {
        return;
    };
    let (objects, mut cache, mut walk) = (interpreter.objects(memory), CodeCache::default(), Walk::NEW);
    for (number, plan) in loops.plans.iter().take(2).enumerate() {
        let mut host = Walked {
            memory,
            reads: 0,
            max_reads: choices.pick(&SLICE_READS),
            records: Vec::new(),
        };
        let in_context = choices.once_in(2);
        let status = memory.bounded(|| {
            walk.begin_slice(layout, plan, in_context, 0, 0, number as u64);
            let mut steps = 0;
            loop {
                if let Flow::Done(status) = walk.step(layout, plan, &mut host) {
                    break status;
                }
                steps += 1;
                assert!(steps < MAX_SLICE_STEPS, "a slice goes on and on");
            }
        });
        reached.note("slice", status as u32);
        for bytes in host.records {
            let Ok(decode::Record::Task(record)) = decode::decode(&bytes) else {
                panic!("the walker sends what is no record of a task");
            };
            reached.note("task", record.status as u32);
            reached.note("state", record.state as u32);
            for (code, instruction) in record.frames() {
                let frame = memory.bounded(|| cache.frame(&objects, code, instruction));
                reached.note_result("frame", &frame);
            }
            let name = memory.bounded(|| objects.task_name(record.name));
            reached.note_result("name", &name);
        }
    }
}
