//! From visits to task-seconds.
//!
//! A loop's time is of two kinds, and each is sampled in its own way: while the thread is on a CPU, its own perf event samples it
//! once per so much CPU time; while it rests, the observer looks at it once per so much time. Each kind has a clock that only
//! advances in its time, and each visit of a task stands for the time on that clock since the visit before: half of it belongs to
//! the chain seen then, half to the chain seen now. So weights stay unbiased however a pass over all tasks is cut into slices,
//! and however unevenly samples of the two kinds come.
//!
//! What runs is seen once at the beginning of every slice, and stands for the time since the slice before.

use std::collections::HashMap;

use awaitwhat_common::event::TaskState;
use awaitwhat_common::status::SliceStatus;

use crate::chains::ChainId;
use crate::decode::{Origin, SliceRecord, TaskRecord};
use crate::memory::Address;

/// What one chain has been credited with, in ns of task time.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// What is known to belong to the chain as it is named.
    confirmed: f64,
    /// What was credited since its names were last checked.
    recent: f64,
}

/// The last visit of a task in one kind of time.
#[derive(Clone, Copy, Debug)]
struct Visit {
    first_clock: u64,
    clock: u64,
    pass: u64,
    /// `None` while it runs: what runs is credited by slices.
    chain: Option<ChainId>,
}

/// One kind of time of one thread.
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

/// One event-loop thread.
#[derive(Clone, Debug)]
struct Thread {
    /// Time and CPU time, in ns, of the first record, of the latest one, and of the latest one that was about tasks.
    first: (u64, u64),
    last: (u64, u64),
    last_visit: (u64, u64),
    resting: Stratum,
    busy: Stratum,
}

/// Task time per chain, while it is being summed up.
#[derive(Debug, Default)]
pub struct Account {
    weights: Weights,
    threads: HashMap<u32, Thread>,
    pub samples: u64,
    pub task_visits: u64,
}

#[derive(Debug, Default)]
struct Weights(Vec<Weight>);

impl Weights {
    fn credit(&mut self, chain: Option<ChainId>, nanoseconds: f64) {
        let Some(chain) = chain else { return };
        if self.0.len() <= chain.index() {
            self.0.resize(chain.index() + 1, Weight::default());
        }
        self.0[chain.index()].recent += nanoseconds;
    }
}

impl Account {
    /// Takes one visit of a task whose chain was read.
    pub fn visit(&mut self, record: &TaskRecord<'_>, chain: ChainId) {
        let (clock, stratum) = stratum(&mut self.threads, &record.origin);
        if record.address.is_null() {
            stratum.announced = Some(chain);
            return;
        }
        self.task_visits += 1;
        let chain = (record.state != TaskState::Running).then_some(chain);
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
        let (clock, stratum) = stratum(&mut self.threads, &record.origin);
        if record.status == SliceStatus::Running {
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
            && let Some(thread) = self.threads.get_mut(&record.origin.tid)
        {
            thread.last_visit = (record.origin.time, record.origin.runtime);
        }
    }

    /// Tasks that a complete pass did not meet ended after their last visit, and after nothing changed any more.
    fn forget_vanished(&mut self, record: &SliceRecord) {
        let (clock, stratum) = stratum(&mut self.threads, &record.origin);
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
        for thread in self.threads.values_mut() {
            thread.last = thread.last_visit;
        }
    }

    /// From the first sample to the last one, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        let first = self.threads.values().map(|thread| thread.first.0).min();
        let last = self.threads.values().map(|thread| thread.last.0).max();
        last.unwrap_or(0).saturating_sub(first.unwrap_or(0)) as f64 / 1e9
    }

    /// A thread's loop has ended, or the trace: what was seen last held until then.
    pub fn end_thread(&mut self, tid: u32) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.settle(&mut self.weights);
        }
    }

    /// Ends all threads.
    pub fn end(&mut self) {
        for thread in self.threads.values_mut() {
            thread.settle(&mut self.weights);
        }
    }

    /// The names of all chains but the `stale` ones were found to be right. Returns how many ns of task time are dropped, as
    /// they were credited to a stale chain since the last check.
    pub fn confirm(&mut self, stale: &[ChainId]) -> f64 {
        let mut dropped = 0.0;
        for (index, weight) in self.weights.0.iter_mut().enumerate() {
            if stale.iter().any(|chain| chain.index() == index) {
                dropped += weight.recent;
            } else {
                weight.confirmed += weight.recent;
            }
            weight.recent = 0.0;
        }
        dropped
    }

    /// Confirmed task time of a chain, in seconds.
    pub fn task_seconds(&self, chain: ChainId) -> f64 {
        self.weights
            .0
            .get(chain.index())
            .map_or(0.0, |weight| weight.confirmed / 1e9)
    }

    /// CPU time of all event-loop threads while they were traced, in seconds.
    pub fn busy_seconds(&self) -> f64 {
        self.threads
            .values()
            .map(|thread| thread.last.1.saturating_sub(thread.first.1) as f64 / 1e9)
            .sum()
    }

    /// Event-loop threads seen.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Tasks of the latest passes.
    pub fn tasks(&self) -> usize {
        let of = |thread: &Thread| thread.resting.visits.len().max(thread.busy.visits.len());
        self.threads.values().map(of).sum()
    }
}

/// The clock of a record, and the kind of time that it belongs to.
fn stratum<'a>(threads: &'a mut HashMap<u32, Thread>, origin: &Origin) -> (u64, &'a mut Stratum) {
    let resting = origin.time.saturating_sub(origin.runtime);
    let thread = threads.entry(origin.tid).or_insert_with(|| Thread {
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
    });
    thread.last = thread.last.max((origin.time, origin.runtime));
    if origin.in_context {
        (origin.runtime, &mut thread.busy)
    } else {
        (resting, &mut thread.resting)
    }
}

impl Thread {
    fn settle(&mut self, weights: &mut Weights) {
        let (time, runtime) = self.last;
        let resting_end = time.saturating_sub(runtime);
        self.resting.settle(resting_end, weights);
        self.busy.settle(runtime, weights);
        // Too short a time of one kind to have met a task in it: it did there what it did in the other.
        self.resting.fill_in(resting_end, &self.busy, weights);
        self.busy.fill_in(runtime, &self.resting, weights);
        for stratum in [&mut self.resting, &mut self.busy] {
            stratum.visits.clear();
            stratum.running = None;
        }
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

#[cfg(test)]
mod tests {
    use awaitwhat_common::event::{TASK_HEADER_WORDS, flags, kind, task};
    use awaitwhat_common::status::SliceStatus;

    use super::Account;
    use crate::chains::{ChainId, ChainTable};
    use crate::decode::{Origin, Record, SliceRecord, decode};
    use crate::snapshot::Stack;

    const SECOND: u64 = 1_000_000_000;

    /// Feeds an account with visits and slices; chains are named by one letter, and are running if it is a capital one.
    #[derive(Default)]
    struct Feed {
        account: Account,
        chains: ChainTable,
    }

    impl Feed {
        fn chain(&mut self, name: char) -> ChainId {
            self.with_record(name, 0, origin(false, 0, 0, 1), |_, _, chain| chain)
        }

        fn with_record<T>(
            &mut self,
            name: char,
            address: u64,
            origin: Origin,
            take: impl FnOnce(&mut Account, &crate::decode::TaskRecord<'_>, ChainId) -> T,
        ) -> T {
            let mut words = [0; TASK_HEADER_WORDS + 2];
            let state = u64::from(name.is_ascii_uppercase());
            let context = if origin.in_context {
                u64::from(flags::IN_CONTEXT)
            } else {
                0
            };
            words[0] = u64::from(kind::TASK) | state << 16 | context << 24 | 1 << 32;
            words[task::THREAD] = u64::from(origin.tid);
            words[task::TIME] = origin.time;
            words[task::RUNTIME] = origin.runtime;
            words[task::PASS] = origin.pass;
            words[task::ADDRESS] = address;
            words[TASK_HEADER_WORDS] = u64::from(name);
            let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
            let Ok(Record::Task(record)) = decode(&bytes) else {
                panic!("no task record")
            };
            let named = self
                .chains
                .intern(&record, |_| Ok::<_, ()>((Stack::from([]), None)));
            let chain = named.unwrap().unwrap();
            take(&mut self.account, &record, chain)
        }

        fn visit(&mut self, name: char, address: u64, origin: Origin) {
            self.with_record(name, address, origin, |account, record, chain| {
                account.visit(record, chain)
            });
        }

        fn slice(&mut self, status: SliceStatus, origin: Origin) {
            let counts = SliceRecord {
                origin,
                status,
                tasks: 0,
                torn: 0,
                faults: 0,
                duration: 0,
                restarts: 0,
                lost: 0,
            };
            self.account.slice(&counts);
        }

        /// One complete pass over tasks that rest at `time` seconds.
        fn pass(&mut self, tasks: &[(u64, char)], time: f64, pass: u64) {
            let origin = origin(false, nanoseconds(time), 0, pass);
            for &(address, name) in tasks {
                self.visit(name, address, origin);
            }
            self.slice(SliceStatus::PassComplete, origin);
        }

        fn seconds(&mut self, name: char) -> f64 {
            self.account.confirm(&[]);
            let chain = self.chain(name);
            self.account.task_seconds(chain)
        }
    }

    fn nanoseconds(seconds: f64) -> u64 {
        (seconds * SECOND as f64) as u64
    }

    fn origin(in_context: bool, time: u64, runtime: u64, pass: u64) -> Origin {
        Origin {
            tid: 7,
            in_context,
            time: time + SECOND,
            runtime,
            pass,
        }
    }

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-6, "{one} is not {other}");
    }

    #[test]
    fn the_time_between_two_visits_is_divided() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        feed.pass(&[(1, 'b')], 4.0, 2);
        feed.account.end();
        close(feed.seconds('a'), 2.0);
        close(feed.seconds('b'), 2.0);
    }

    #[test]
    fn an_unchanged_target_is_credited_in_full() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a'), (2, 'a')], 0.0, 1);
        feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
        feed.pass(&[(1, 'b'), (2, 'b')], 10.0, 2);
        feed.account.end();
        close(feed.seconds('a'), 2.0 * 9.5);
        close(feed.seconds('b'), 2.0 * 0.5);
    }

    #[test]
    fn a_task_that_ends_after_a_rest_is_credited_with_the_rest() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
        feed.pass(&[], 10.0, 2);
        feed.account.end();
        close(feed.seconds('a'), 9.5);
    }

    #[test]
    fn a_task_that_begins_after_a_rest_is_not() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
        feed.pass(&[(1, 'a'), (2, 'b')], 10.0, 2);
        feed.pass(&[(1, 'a'), (2, 'b')], 11.0, 3);
        feed.account.end();
        close(feed.seconds('a'), 11.0);
        close(feed.seconds('b'), 1.5);
    }

    #[test]
    fn tasks_visited_late_were_there_from_the_beginning() {
        let mut feed = Feed::default();
        feed.visit('a', 1, origin(false, 0, 0, 1));
        feed.slice(SliceStatus::Budget, origin(false, 0, 0, 1));
        feed.visit('b', 2, origin(false, nanoseconds(6.0), 0, 1));
        feed.slice(SliceStatus::PassComplete, origin(false, nanoseconds(6.0), 0, 1));
        feed.account.end();
        close(feed.seconds('a'), 6.0);
        close(feed.seconds('b'), 6.0);
    }

    #[test]
    fn tasks_that_come_and_go_count_for_as_long_as_passes_are_apart() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        feed.pass(&[(1, 'a')], 2.0, 2);
        feed.pass(&[(1, 'a'), (2, 'b')], 4.0, 3);
        feed.pass(&[(1, 'a')], 6.0, 4);
        feed.account.end();
        close(feed.seconds('a'), 6.0);
        // Met once by passes that are 2 s apart: on average it lived for that long.
        close(feed.seconds('b'), 2.0);
    }

    #[test]
    fn running_tasks_are_credited_by_slices_and_cost_no_waiting_time() {
        let mut feed = Feed::default();
        feed.slice(SliceStatus::PassComplete, origin(true, 0, 0, 1));
        for tick in 1..=10 {
            let origin = origin(
                true,
                nanoseconds(f64::from(tick)),
                nanoseconds(f64::from(tick)),
                2,
            );
            feed.visit('R', 0, origin);
            feed.visit('R', 1, origin);
            feed.slice(SliceStatus::PassComplete, origin);
        }
        feed.account.end();
        close(feed.seconds('R'), 10.0);
        close(feed.account.busy_seconds(), 10.0);
    }

    #[test]
    fn each_kind_of_time_has_its_own_clock() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        // 10 s, 4 of them on a CPU: while it runs the task waits in `b`, while it rests in `a`.
        let busy = origin(true, nanoseconds(5.0), nanoseconds(2.0), 1);
        feed.visit('b', 1, busy);
        feed.slice(SliceStatus::PassComplete, busy);
        let rest = origin(false, nanoseconds(10.0), nanoseconds(4.0), 2);
        feed.visit('a', 1, rest);
        feed.slice(SliceStatus::PassComplete, rest);
        feed.account.end();
        close(feed.seconds('a'), 6.0);
        close(feed.seconds('b'), 4.0);
    }

    #[test]
    fn time_of_a_kind_that_met_no_task_follows_the_other_kind() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a')], 0.0, 1);
        feed.slice(
            SliceStatus::Running,
            origin(false, nanoseconds(10.0), nanoseconds(4.0), 1),
        );
        feed.account.end();
        close(feed.seconds('a'), 10.0);
    }

    #[test]
    fn what_a_stale_chain_was_credited_with_is_dropped() {
        let mut feed = Feed::default();
        feed.pass(&[(1, 'a'), (2, 'b')], 0.0, 1);
        feed.pass(&[(1, 'a'), (2, 'b')], 1.0, 2);
        feed.account.confirm(&[]);
        feed.pass(&[(1, 'a'), (2, 'b')], 3.0, 3);
        let stale = feed.chain('b');
        close(feed.account.confirm(&[stale]), 2.0e9);
        close(feed.seconds('a'), 3.0);
        close(feed.seconds('b'), 1.0);
    }
}
