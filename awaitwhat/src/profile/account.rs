//! From visits to task-seconds.
//!
//! A loop's time is of two kinds, and each is sampled in its own way: while the thread is on a CPU, its own perf event samples it
//! once per so much CPU time; while it rests, the observer looks at it once per so much time. Each kind has a clock that only
//! advances in its time, and each visit of a task stands for the time on that clock since the visit before: half of it belongs to
//! the chain seen then, half to the chain seen now. So weights stay unbiased however a pass over all tasks is cut into slices,
//! and however unevenly samples of the two kinds come.
//!
//! What runs is seen once at the beginning of every slice, and stands for the time since the slice before.

use std::collections::{HashMap, HashSet};

use awaitwhat_common::event::TaskState;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::weights::Weights;
use crate::chains::ChainId;
use crate::decode::{Origin, SliceRecord, TaskRecord};
use crate::memory::Address;

/// The last visit of a task in one kind of time.
#[derive(Clone, Copy, Debug)]
struct Visit {
    first_clock: u64,
    clock: u64,
    pass: u64,
    /// `None` while it runs: what runs is credited by slices.
    chain: Option<ChainId>,
}

/// One kind of time of one loop.
#[derive(Clone, Debug, Default)]
struct Stratum {
    start: u64,
    /// When the last slice began.
    last_slice: u64,
    /// Up to here nothing has changed since the last pass.
    constant_until: u64,
    /// Between two visits of a task, most recently.
    period: u64,
    passes: u64,
    visits: HashMap<Address, Visit>,
    /// What ran when the current slice began, until its record comes.
    announced: Option<ChainId>,
    running: Option<ChainId>,
}

/// One event loop, in its thread's time.
#[derive(Clone, Debug)]
struct Loop {
    /// Time and CPU time, in ns, of the first record, of the latest one, and of the latest one that was about tasks.
    first: (u64, u64),
    last: (u64, u64),
    last_visit: (u64, u64),
    resting: Stratum,
    busy: Stratum,
    /// Nothing is known of the time from the last record on until the next one: there was no loop.
    is_over: bool,
}

/// Task time per chain, while it is being summed up.
#[derive(Debug, Default)]
pub struct Account {
    weights: Weights,
    loops: HashMap<LoopId, Loop>,
    pub samples: u64,
    pub task_visits: u64,
}

impl Account {
    /// Takes one visit of a task whose chain was read.
    pub fn visit(&mut self, record: &TaskRecord<'_>, chain: ChainId) {
        let (clock, stratum) = stratum(&mut self.loops, &record.origin);
        if record.address.is_null() {
            stratum.announced = Some(chain);
            return;
        }
        self.task_visits += 1;
        // What runs was told by the slice's first record, unless the thread's frames do not lead to it.
        let is_told = record.state == TaskState::Running && !record.is_apart;
        let chain = (!is_told).then_some(chain);
        let pass = record.origin.pass;
        match stratum.visits.get_mut(&record.address) {
            Some(visit) => {
                let constant = stratum.constant_until.clamp(visit.clock, clock.max(visit.clock));
                let changed = clock.saturating_sub(constant) as f64 / 2.0;
                self.weights
                    .credit(visit.chain, (constant - visit.clock) as f64 + changed);
                self.weights.credit(chain, changed);
                stratum.period = clock.saturating_sub(visit.clock);
                *visit = Visit {
                    clock,
                    pass,
                    chain,
                    ..*visit
                };
            }
            None => {
                // A task that was there from the beginning was there all the time; another one appeared between two passes.
                let is_first_pass = stratum.passes == 0;
                let since = if is_first_pass {
                    clock.saturating_sub(stratum.start) as f64
                } else {
                    stratum.unseen(clock, clock.saturating_sub(stratum.period))
                };
                self.weights.credit(chain, since);
                let first_clock = if is_first_pass { stratum.start } else { clock };
                stratum.visits.insert(
                    record.address,
                    Visit {
                        first_clock,
                        clock,
                        pass,
                        chain,
                    },
                );
            }
        }
    }

    /// Takes the end of a slice.
    pub fn slice(&mut self, record: &SliceRecord) {
        let (clock, stratum) = stratum(&mut self.loops, &record.origin);
        if matches!(record.status, SliceStatus::Running | SliceStatus::Replaced) {
            return;
        }
        self.samples += 1;
        let announced = stratum.announced.take();
        if record.status == SliceStatus::Unchanged {
            stratum.constant_until = clock;
        } else {
            stratum.running = announced;
        }
        self.weights
            .credit(stratum.running, clock.saturating_sub(stratum.last_slice) as f64);
        stratum.last_slice = clock;
        if record.status == SliceStatus::PassComplete {
            stratum.passes += 1;
            self.forget_vanished(record);
        }
        if record.status != SliceStatus::RegistryTorn
            && let Some(of_loop) = self.loops.get_mut(&record.origin.event_loop)
        {
            of_loop.last_visit = (record.origin.time, record.origin.runtime);
        }
    }

    /// Tasks that a complete pass did not meet ended after their last visit, and after nothing changed any more.
    fn forget_vanished(&mut self, record: &SliceRecord) {
        let (clock, stratum) = stratum(&mut self.loops, &record.origin);
        let mut visits = std::mem::take(&mut stratum.visits);
        visits.retain(|_, visit| {
            let is_there = visit.pass >= record.origin.pass;
            if !is_there {
                let constant = stratum.constant_until.clamp(visit.clock, clock.max(visit.clock));
                let rested = (constant - visit.clock) as f64;
                self.weights
                    .credit(visit.chain, rested + stratum.unseen(clock, constant));
            }
            is_there
        });
        stratum.visits = visits;
    }

    /// Takes back what was seen of threads since their tasks were seen last: the target has ended, or runs another program.
    pub fn cut_to_last_visit(&mut self) {
        for of_loop in self.loops.values_mut() {
            of_loop.last = of_loop.last_visit;
        }
    }

    /// From the first sample to the last one, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        let first = self.loops.values().map(|it| it.first.0).min();
        let last = self.loops.values().map(|it| it.last.0).max();
        last.unwrap_or(0).saturating_sub(first.unwrap_or(0)) as f64 / 1e9
    }

    /// A loop has ended: what was seen last held until then. Another one may come in its place.
    pub fn end_loop(&mut self, event_loop: LoopId) {
        self.begin_anew(event_loop);
        if let Some(of_loop) = self.loops.get_mut(&event_loop) {
            of_loop.is_over = true;
        }
    }

    /// A loop goes on, but is walked anew.
    pub fn begin_anew(&mut self, event_loop: LoopId) {
        if let Some(of_loop) = self.loops.get_mut(&event_loop) {
            of_loop.settle(&mut self.weights);
        }
    }

    /// Ends all loops.
    pub fn end(&mut self) {
        for of_loop in self.loops.values_mut() {
            of_loop.settle(&mut self.weights);
        }
    }

    /// Takes back what a chain was credited with since names were last checked, in seconds.
    pub fn take_recent(&mut self, chain: ChainId) -> f64 {
        self.weights.take_recent(chain) / 1e9
    }

    /// The names of one chain were found to be right.
    pub fn confirm_one(&mut self, chain: ChainId) {
        self.weights.confirm_one(chain);
    }

    /// The names of all chains were found to be right: what they were credited with is theirs.
    pub fn confirm(&mut self) {
        self.weights.confirm();
    }

    /// Confirmed task time of a chain, in seconds.
    pub fn task_seconds(&self, chain: ChainId) -> f64 {
        self.weights.task_seconds(chain)
    }

    /// Forgets a chain that is not in use, and returns its confirmed task time in seconds.
    pub fn take(&mut self, chain: ChainId) -> f64 {
        self.weights.take(chain) / 1e9
    }

    /// The chains that may be credited without being seen again: whoever holds one is asked here.
    pub fn chains_in_use(&self) -> HashSet<ChainId> {
        let strata = self.loops.values().flat_map(|it| [&it.resting, &it.busy]);
        strata
            .flat_map(|stratum| {
                let visited = stratum.visits.values().filter_map(|visit| visit.chain);
                visited.chain(stratum.announced).chain(stratum.running)
            })
            .collect()
    }

    /// CPU time of all event-loop threads while they were traced, in seconds.
    pub fn busy_seconds(&self) -> f64 {
        self.thread_runtimes()
            .values()
            .map(|(first, last)| last.saturating_sub(*first) as f64 / 1e9)
            .sum()
    }

    /// Event-loop threads seen.
    pub fn threads(&self) -> usize {
        self.thread_runtimes().len()
    }

    /// First and last CPU time (ns) of each thread: its loops share it.
    fn thread_runtimes(&self) -> HashMap<u32, (u64, u64)> {
        let mut threads = HashMap::new();
        for (id, of_loop) in &self.loops {
            let (first, last) = (of_loop.first.1, of_loop.last.1);
            let thread = threads.entry(id.tid).or_insert((first, last));
            *thread = (thread.0.min(first), thread.1.max(last));
        }
        threads
    }

    /// Tasks of the latest passes.
    pub fn tasks(&self) -> usize {
        let of = |it: &Loop| it.resting.visits.len().max(it.busy.visits.len());
        self.loops.values().map(of).sum()
    }
}

/// The clock of a record, and the kind of time that it belongs to.
fn stratum<'a>(loops: &'a mut HashMap<LoopId, Loop>, origin: &Origin) -> (u64, &'a mut Stratum) {
    let resting = origin.time.saturating_sub(origin.runtime);
    let of_loop = loops.entry(origin.event_loop).or_insert_with(|| Loop {
        first: (origin.time, origin.runtime),
        last: (origin.time, origin.runtime),
        last_visit: (origin.time, origin.runtime),
        resting: Stratum {
            start: resting,
            last_slice: resting,
            ..Stratum::default()
        },
        busy: Stratum {
            start: origin.runtime,
            last_slice: origin.runtime,
            ..Stratum::default()
        },
        is_over: false,
    });
    if std::mem::take(&mut of_loop.is_over) {
        of_loop.resting.begin(resting);
        of_loop.busy.begin(origin.runtime);
    }
    of_loop.last = of_loop.last.max((origin.time, origin.runtime));
    if origin.in_context {
        (origin.runtime, &mut of_loop.busy)
    } else {
        (resting, &mut of_loop.resting)
    }
}

impl Loop {
    fn settle(&mut self, weights: &mut Weights) {
        let (time, runtime) = self.last;
        let resting_end = time.saturating_sub(runtime);
        self.resting.settle(resting_end, weights);
        self.busy.settle(runtime, weights);
        // Too short a time of one kind to have met a task in it: it did there what it did in the other.
        self.resting.fill_in(resting_end, &self.busy, weights);
        self.busy.fill_in(runtime, &self.resting, weights);
        self.resting.begin(resting_end);
        self.busy.begin(runtime);
    }
}

impl Stratum {
    /// What is credited to a task that came or went unseen between `since` and `clock`: half of the time in which it can have
    /// done so. That is what has passed since nothing changed any more, and no longer than between two visits.
    fn unseen(&self, clock: u64, since: u64) -> f64 {
        let possible = clock.saturating_sub(since.max(self.constant_until.min(clock)));
        let longest = if self.period == 0 { possible } else { self.period };
        possible.min(longest) as f64 / 2.0
    }

    /// Goes on at `clock` with nothing seen yet.
    fn begin(&mut self, clock: u64) {
        *self = Self {
            start: clock,
            last_slice: clock,
            period: self.period,
            ..Self::default()
        };
    }

    fn settle(&mut self, end: u64, weights: &mut Weights) {
        for visit in self.visits.values_mut() {
            weights.credit(visit.chain, end.saturating_sub(visit.clock) as f64);
            visit.clock = end.max(visit.clock);
        }
        weights.credit(self.running, end.saturating_sub(self.last_slice) as f64);
        self.last_slice = end.max(self.last_slice);
    }

    /// Credits this kind of time to the tasks that were met in the `other` only, for as long as they were there.
    fn fill_in(&self, end: u64, other: &Self, weights: &mut Weights) {
        let length = end.saturating_sub(self.start) as f64;
        for (task, visit) in &other.visits {
            if self.visits.contains_key(task) {
                continue;
            }
            let whole = visit.clock.saturating_sub(other.start) as f64;
            let there = visit.clock.saturating_sub(visit.first_clock) as f64;
            let share = if whole > 0.0 { there / whole } else { 1.0 };
            weights.credit(visit.chain, length * share);
        }
    }
}
