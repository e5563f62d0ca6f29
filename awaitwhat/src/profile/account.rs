//! From visits to task-seconds.
//!
//! A loop's time is of two kinds, and each is sampled in its own way: while the thread is on a CPU, its own perf event samples it
//! once per so much CPU time; while it rests, the observer looks at it once per so much time. In each kind, `stratum` has each visit stand
//! for the time between two looks at the same place.
//!
//! The two are joined by what is known best. Passes at rest are many and cost the target nothing: a task that was met by two of them
//! was there all the time in between, also while the loop worked, and is credited with that time in the chain that it rested in. A sample
//! in context corrects which chain that was, for as long as it stands for: it credits what it found *instead of* that chain. Tasks that no pass at
//! rest has met yet are credited by samples alone. So how many tasks there are does not hang on the few samples of a loop that hardly works, and
//! what tasks do while it works is told by these alone.
//!
//! What runs is seen once at the beginning of every slice, and stands for the time since the slice before. Other tasks that are at work at the same time, because
//! a loop runs within a loop, are visited like those that wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::past::{MAX_LOOPS, Past, Span};
use super::rest_clock::RestClock;
use super::stratum::{Assumed, Found, Moment, Stratum};
use super::weights::Weights;
use crate::chains::ChainId;
use crate::decode::{Origin, TaskRecord};
use crate::memory::Address;

/// A task, by what distinguishes it from another one that gets the same address.
///
/// That one task is taken for two costs nothing: each is credited with half of the time between two looks. So a task that is
/// given another name may count as another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub address: Address,
    pub coroutine: Address,
    pub name: Address,
}

impl TaskId {
    /// The task that a record is about.
    pub fn of(record: &TaskRecord<'_>) -> Self {
        Self {
            address: record.address,
            coroutine: record.coroutine,
            name: record.name,
        }
    }
}

/// One event loop, in its thread's time.
#[derive(Clone, Debug)]
struct Loop {
    /// Time and CPU time, in ns, of the first record, of the latest one, and of the latest one that was about tasks.
    first: (u64, u64),
    last: (u64, u64),
    last_visit: (u64, u64),
    /// CPU time (ns) when it began.
    start: u64,
    clock: RestClock,
    resting: Stratum,
    busy: Stratum,
    /// Nothing is known of the time from the last record on until the next one: there was no loop.
    is_over: bool,
}

/// Task time per chain, while it is being summed up.
///
/// What it comes to depends on what it was told, to the last digit: wherever sums are made of several tasks, the order is that of their addresses.
#[derive(Clone, Debug, Default)]
pub struct Account {
    weights: Weights,
    loops: BTreeMap<LoopId, Loop>,
    past: Past,
    pub samples: u64,
    pub task_visits: u64,
}

impl Account {
    /// The loops are looked at once more.
    pub fn tick(&mut self) {
        self.loops.values_mut().for_each(|it| it.clock.tick());
    }

    /// What the look that comes finds in a loop, it finds while the thread waits for a CPU, as it has for so long (ns) until now.
    pub fn waits(&mut self, event_loop: LoopId, waited: u64) {
        if let Some(it) = self.loops.get_mut(&event_loop) {
            it.clock.waits(waited);
        }
    }

    /// Takes one visit of a task that could not be read: it is there all the same.
    pub fn met_unread(&mut self, origin: &Origin, id: TaskId) {
        let (it, _) = Loop::of(&mut self.loops, origin, true);
        it.stratum(origin).met_unread(id, origin.pass);
    }

    /// Takes what runs in a slice.
    pub fn announce(&mut self, origin: &Origin, chain: ChainId) {
        let (it, _) = Loop::of(&mut self.loops, origin, true);
        it.stratum(origin).announce(chain);
    }

    /// Takes one visit of a task whose chain was read. One that `is_running` is credited by slices, where the slice has announced it.
    pub fn met(&mut self, origin: &Origin, id: TaskId, is_running: bool, chain: ChainId) {
        self.task_visits += 1;
        let (it, at) = Loop::of(&mut self.loops, origin, true);
        let is_credited_by_slices = is_running && it.stratum(origin).is_announced(chain);
        let chain = (!is_credited_by_slices).then_some(chain);
        if origin.in_context {
            let assumed = it.resting.known(id).map(Assumed::new);
            let found = Found { chain, assumed };
            it.busy.met(id, found, at, origin.pass, &mut self.weights);
        } else {
            let found = Found { chain, assumed: None };
            let is_met_again = it.resting.met(id, found, at, origin.pass, &mut self.weights);
            if is_met_again {
                it.busy.is_credited(id, &mut self.weights);
            } else if let Some(until) = it.busy.credited_from_beginning(id) {
                self.weights.credit(chain, at.other - until);
            }
        }
    }

    /// Takes the end of a slice.
    pub fn slice(&mut self, origin: &Origin, status: SliceStatus) {
        if status == SliceStatus::Replaced {
            return;
        }
        let (it, at) = Loop::of(&mut self.loops, origin, status != SliceStatus::Running);
        let stratum = it.stratum(origin);
        match status {
            SliceStatus::Running | SliceStatus::Replaced => return,
            SliceStatus::Unchanged => stratum.unchanged(at, &mut self.weights),
            _ => {
                let is_complete = status == SliceStatus::PassComplete;
                stratum.walked(at, origin.pass, is_complete, &mut self.weights);
            }
        }
        self.samples += 1;
        if status != SliceStatus::RegistryTorn {
            it.last_visit = (origin.time, origin.runtime);
        }
    }

    /// Takes back what was seen of threads since their tasks were seen last: the target has ended, or runs another program.
    pub fn cut_to_last_visit(&mut self) {
        for of_loop in self.loops.values_mut() {
            of_loop.last = of_loop.last_visit;
        }
    }

    /// From the first sample to the last one, in ns.
    pub fn duration(&self) -> u64 {
        let times = self.loops.values().map(|it| (it.first.0, it.last.0));
        let times = times
            .chain(self.past.times)
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        times.map_or(0, |(first, last)| last.saturating_sub(first))
    }

    /// A loop has ended: what was seen last held until then. Another one may come in its place.
    pub fn end_loop(&mut self, event_loop: LoopId) {
        self.begin_anew(event_loop);
        if let Some(of_loop) = self.loops.get_mut(&event_loop) {
            of_loop.is_over = true;
        }
        if self.loops.len() > MAX_LOOPS {
            self.sum_up_old_loops();
        }
    }

    /// Remembers no longer that half of the threads that was not seen for the longest time: those that have loops are seen all the time.
    fn sum_up_old_loops(&mut self) {
        let spans = spans_of_threads(&self.loops);
        let mut oldest: Vec<_> = spans.iter().map(|(&tid, span)| (span.last.0, tid)).collect();
        oldest.sort_unstable();
        oldest.truncate(oldest.len().div_ceil(2));
        let oldest: HashSet<u32> = oldest.into_iter().map(|(_, tid)| tid).collect();
        let is_old = |id: &LoopId| oldest.contains(&id.tid);
        let mut gone: Vec<_> = self.loops.extract_if(.., |id, _| is_old(id)).collect();
        gone.iter_mut().for_each(|(_, it)| it.settle(&mut self.weights));
        let spans = spans_of_threads(gone.iter().map(|(id, it)| (id, it)));
        spans.into_values().for_each(|span| self.past.add(span));
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

    /// Another period begins: what chains were credited with until here, and what goes on comes to by now, is taken from what they will have in the end.
    pub fn begin_period(&mut self) {
        let mut until_now = self.clone();
        until_now.end();
        self.weights.begin_period(&until_now.weights);
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
        strata.flat_map(Stratum::chains).collect()
    }

    /// CPU time of all event-loop threads while they were traced, in ns.
    pub fn runtime(&self) -> u64 {
        self.all_threads().runtime
    }

    /// Event-loop threads seen.
    pub fn threads(&self) -> usize {
        self.all_threads().threads
    }

    #[cfg(test)]
    pub(super) fn remembered_loops(&self) -> usize {
        self.loops.len()
    }

    fn all_threads(&self) -> Past {
        let mut all = self.past;
        let spans = spans_of_threads(&self.loops);
        spans.into_values().for_each(|span| all.add(span));
        all
    }

    /// Tasks of the latest passes.
    pub fn tasks(&self) -> usize {
        let of = |it: &Loop| it.resting.tasks().max(it.busy.tasks());
        self.loops.values().map(of).sum()
    }
}

/// The span of each thread: its loops share its CPU time.
fn spans_of_threads<'a>(loops: impl IntoIterator<Item = (&'a LoopId, &'a Loop)>) -> HashMap<u32, Span> {
    let mut spans: HashMap<u32, Span> = HashMap::new();
    for (id, of_loop) in loops {
        let Loop { first, last, .. } = *of_loop;
        let span = Span { first, last };
        spans
            .entry(id.tid)
            .and_modify(|it| *it = it.and(span))
            .or_insert(span);
    }
    spans
}

impl Loop {
    /// The loop that a record is about, and the moment of it on the clocks of its kind of time. `is_at_rest` tells what a look has found.
    fn of<'a>(
        loops: &'a mut BTreeMap<LoopId, Self>,
        origin: &Origin,
        is_at_rest: bool,
    ) -> (&'a mut Self, Moment) {
        let of_loop = loops
            .entry(origin.event_loop)
            .or_insert_with(|| Self::new(origin.time, origin.runtime));
        if std::mem::take(&mut of_loop.is_over) {
            of_loop.begin(origin.time, origin.runtime);
        }
        of_loop.last = of_loop.last.max((origin.time, origin.runtime));
        let busy = of_loop.busy_clock(origin.runtime);
        let at = if origin.in_context {
            Moment {
                own: busy,
                other: 0.0,
            }
        } else {
            let own = of_loop.clock.look(origin.time, origin.runtime, is_at_rest);
            Moment { own, other: busy }
        };
        (of_loop, at)
    }

    fn new(time: u64, runtime: u64) -> Self {
        Self {
            first: (time, runtime),
            last: (time, runtime),
            last_visit: (time, runtime),
            start: runtime,
            clock: RestClock::begin(time, runtime),
            resting: Stratum::default(),
            busy: Stratum::default(),
            is_over: false,
        }
    }

    /// Goes on with nothing seen yet.
    fn begin(&mut self, time: u64, runtime: u64) {
        self.start = runtime;
        self.clock = RestClock::begin(time, runtime);
        self.resting = Stratum::default();
        self.busy = Stratum::default();
    }

    fn busy_clock(&self, runtime: u64) -> f64 {
        runtime.saturating_sub(self.start) as f64
    }

    fn stratum(&mut self, origin: &Origin) -> &mut Stratum {
        if origin.in_context {
            &mut self.busy
        } else {
            &mut self.resting
        }
    }

    fn settle(&mut self, weights: &mut Weights) {
        let (time, runtime) = self.last;
        let (rested, busy) = (self.clock.rested(time, runtime), self.busy_clock(runtime));
        self.resting.fill_in(rested, &self.busy, weights);
        let moment = |own, other| Moment { own, other };
        let at_rest = moment(rested, busy);
        self.resting.settle_at_rest(at_rest, &mut self.busy, weights);
        self.busy.settle(moment(busy, 0.0), weights);
        self.begin(time, runtime);
    }
}
