//! From visits to waits: one suspension of one task at one await point, from the first visit that met the task in it to the last one.
//!
//! A wait has begun after the last visit that met its task otherwise, or after the last complete pass that did not meet the task at all; and it was over by the
//! first visit that met the task otherwise, or by the end of the first complete pass that did not meet it any more. Where there is no such visit or pass, it was
//! seen in part. Of waits shorter than the time between two looks most are met by none.
//!
//! That a task has gone on, and waits at the same place again, is told by its future: while a task makes its step, the future that woke it still lives,
//! so that the next one has another address. But a task that went on twice between two looks may wait for another future at the same address, as addresses are
//! used again: its two waits, with what was between them, count as one. That this happens is seen where a task is met in another wait by one look only, and
//! back at the same place by the next: others like it were met by none. So such returns are counted. A task without a future (trio) tells less: its waits that
//! follow each other at one place count as one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;
use foldhash::fast::RandomState;

use super::account::TaskId;
use super::lengths::{Lengths, Wait};
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;

/// Waits that are over, and are kept until names are checked, which is done about once a second.
const MAX_OVER: usize = 1 << 18;

/// What a visit has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) chain: ChainId,
    /// The future that wakes the task, or null.
    pub(super) future: Address,
    /// It neither ran, nor waited for its loop only.
    pub(super) is_waiting: bool,
}

impl Met {
    /// Whether this is what the same task was met in before, for all that can be told.
    fn goes_on(self, before: Self) -> bool {
        let is_other_future =
            self.future != before.future && !self.future.is_null() && !before.future.is_null();
        self.chain == before.chain && self.is_waiting == before.is_waiting && !is_other_future
    }
}

/// A task, and since when it is met in the same. Moments are those of records, in ns.
#[derive(Clone, Copy, Debug)]
struct Task {
    id: TaskId,
    /// `None` where it could not be read.
    met: Option<Met>,
    /// The wait that it was met in before that.
    before: Option<ChainId>,
    /// When it was not yet so; `None` where nobody has looked before.
    after: Option<u64>,
    first: u64,
    last: u64,
    /// The pass in either manner that met it last, counted by [`Pass::serial`].
    passes: [u64; 2],
}

/// The passes that are made in one manner.
#[derive(Clone, Copy, Debug, Default)]
struct Pass {
    /// Its number in the records.
    number: Option<u64>,
    serial: u64,
    begun: u64,
}

#[derive(Clone, Debug, Default)]
struct OfLoop {
    tasks: HashMap<Address, Task, RandomState>,
    passes: [Pass; 2],
    /// When the last complete pass began: whoever it did not meet came later. `None` until there is one.
    complete: Option<u64>,
    /// Until when no task has moved since the last complete pass at rest.
    unchanged: u64,
    latest: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenWaits {
    loops: BTreeMap<LoopId, OfLoop>,
    /// Waits that are over, since [`SeenWaits::take_over`]; and those that there was no room for.
    over: Vec<(ChainId, Wait)>,
    beyond: Lengths,
}

impl SeenWaits {
    /// A task was met, in the chain that was read.
    pub(super) fn met(&mut self, origin: &Origin, id: TaskId, met: Met) {
        let (of_loop, visit) = self.visit(origin);
        let (unchanged, absent) = (of_loop.unchanged, of_loop.absent());
        let over = match of_loop.tasks.entry(id.address) {
            Entry::Occupied(mut known) => known.get_mut().met(id, met, visit, unchanged, absent),
            Entry::Vacant(place) => {
                place.insert(Task::new(id, Some(met), absent, visit));
                [None, None]
            }
        };
        self.note(over.into_iter().flatten());
    }

    /// A task was met that could not be read: it is there.
    pub(super) fn met_unread(&mut self, origin: &Origin, id: TaskId) {
        let (of_loop, visit) = self.visit(origin);
        let (unchanged, absent) = (of_loop.unchanged, of_loop.absent());
        let over = match of_loop.tasks.entry(id.address) {
            Entry::Occupied(mut known) if known.get().id == id => {
                known.get_mut().passes[visit.manner] = visit.serial;
                None
            }
            Entry::Occupied(mut other) => {
                let other = other.insert(Task::new(id, None, absent, visit));
                other.over(unchanged, Some(visit.at))
            }
            Entry::Vacant(place) => {
                place.insert(Task::new(id, None, absent, visit));
                None
            }
        };
        self.note(over);
    }

    /// A slice has ended.
    pub(super) fn slice(&mut self, origin: &Origin, status: SliceStatus) {
        match status {
            SliceStatus::Running | SliceStatus::Replaced => {}
            SliceStatus::Unchanged => {
                let of_loop = self.loops.entry(origin.event_loop).or_default();
                of_loop.unchanged = of_loop.unchanged.max(origin.time);
                of_loop.latest = of_loop.latest.max(origin.time);
            }
            SliceStatus::PassComplete => {
                let (of_loop, manner) = self.of_loop(origin);
                let over = of_loop.complete(manner, origin.time);
                self.note(over);
            }
            _ => {
                self.of_loop(origin);
            }
        }
    }

    /// A loop has ended, or is walked anew: then its tasks are still there, but some may have been missed until now.
    pub(super) fn end_loop(&mut self, event_loop: LoopId, goes_on: bool) {
        if goes_on {
            if let Some(of_loop) = self.loops.get_mut(&event_loop) {
                of_loop.passes.iter_mut().for_each(|pass| pass.number = None);
                of_loop.complete = None;
            }
        } else if let Some(of_loop) = self.loops.remove(&event_loop) {
            self.note(of_loop.end());
        }
    }

    /// What was seen in these chains may have been another one.
    pub(super) fn distrust(&mut self, chains: &HashSet<ChainId>) {
        let is_one = |task: &&mut Task| task.met.is_some_and(|met| chains.contains(&met.chain));
        for of_loop in self.loops.values_mut() {
            for task in of_loop.tasks.values_mut().filter(is_one) {
                (task.met, task.after) = (None, None);
            }
        }
    }

    /// What counts is what comes from here on: waits that go on are seen in part.
    pub(super) fn begin_period(&mut self) {
        self.over.clear();
        self.beyond = Lengths::default();
        for of_loop in self.loops.values_mut() {
            let now = of_loop.latest;
            for task in of_loop.tasks.values_mut() {
                task.after = None;
                (task.first, task.last) = (task.first.max(now), task.last.max(now));
            }
        }
    }

    /// Nothing is looked at any more: what goes on was seen in part.
    pub(super) fn end(&mut self) {
        for of_loop in std::mem::take(&mut self.loops).into_values() {
            self.note(of_loop.end());
        }
    }

    /// The waits that are over since the last time, and those whose chains could not be kept.
    pub(super) fn take_over(&mut self) -> (Vec<(ChainId, Wait)>, Lengths) {
        (std::mem::take(&mut self.over), std::mem::take(&mut self.beyond))
    }

    /// The wait that was seen to last for the longest time (ns), and for longer than `longer_than`, of those in chains that are meant: its chain, and its task.
    pub(super) fn longest(
        &self,
        longer_than: u64,
        mut is_meant: impl FnMut(ChainId) -> bool,
    ) -> Option<(u64, ChainId, TaskId)> {
        let mut longest: Option<(u64, ChainId, TaskId)> = None;
        for of_loop in self.loops.values() {
            for task in of_loop.tasks.values() {
                let Some(met) = task.met.filter(|met| met.is_waiting) else {
                    continue;
                };
                let lasted = task.seen(of_loop.unchanged);
                let most = longest.map_or(longer_than, |(most, ..)| most);
                if lasted > most && is_meant(met.chain) {
                    longest = Some((lasted, met.chain, task.id));
                }
            }
        }
        longest
    }

    /// The chains that are referred to.
    pub(super) fn chains(&self) -> impl Iterator<Item = ChainId> {
        let tasks = self.loops.values().flat_map(|of_loop| of_loop.tasks.values());
        let met = tasks.filter_map(|task| Some(task.met?.chain));
        met.chain(self.over.iter().map(|(chain, _)| *chain))
    }

    fn note(&mut self, over: impl IntoIterator<Item = (ChainId, Wait)>) {
        for (chain, wait) in over {
            if self.over.len() < MAX_OVER {
                self.over.push((chain, wait));
            } else {
                self.beyond.add(wait);
            }
        }
    }

    /// The loop that a record is about, and in which manner it was looked at. A pass may begin with that.
    fn visit(&mut self, origin: &Origin) -> (&mut OfLoop, Visit) {
        let (of_loop, manner) = self.of_loop(origin);
        let visit = Visit {
            at: origin.time,
            manner,
            serial: of_loop.passes[manner].serial,
        };
        (of_loop, visit)
    }

    fn of_loop(&mut self, origin: &Origin) -> (&mut OfLoop, usize) {
        let of_loop = self.loops.entry(origin.event_loop).or_default();
        let manner = usize::from(origin.in_context);
        let pass = &mut of_loop.passes[manner];
        if pass.number != Some(origin.pass) {
            *pass = Pass {
                number: Some(origin.pass),
                serial: pass.serial + 1,
                begun: origin.time,
            };
        }
        of_loop.latest = of_loop.latest.max(origin.time);
        (of_loop, manner)
    }
}

impl OfLoop {
    /// Until when a task that nobody has met yet was not there.
    fn absent(&self) -> Option<u64> {
        self.complete.map(|begun| begun.max(self.unchanged))
    }

    /// A pass in this manner has looked at every place: tasks that it has not met have gone.
    fn complete(&mut self, manner: usize, at: u64) -> impl Iterator<Item = (ChainId, Wait)> + use<> {
        let pass = self.passes[manner];
        let has_gone = |task: &Task| task.passes[manner] != pass.serial && task.last < pass.begun;
        let gone = self.tasks.extract_if(|_, task| has_gone(task));
        let over = gone.filter_map(|(_, task)| task.over(self.unchanged, Some(at)));
        let over: Vec<_> = over.collect();
        self.complete = self.complete.max(Some(pass.begun));
        over.into_iter()
    }

    fn end(self) -> impl Iterator<Item = (ChainId, Wait)> {
        let unchanged = self.unchanged;
        self.tasks
            .into_values()
            .filter_map(move |task| task.over(unchanged, None))
    }
}

/// When a task was met, and by which pass.
#[derive(Clone, Copy, Debug)]
struct Visit {
    at: u64,
    manner: usize,
    serial: u64,
}

impl Task {
    fn new(id: TaskId, met: Option<Met>, after: Option<u64>, visit: Visit) -> Self {
        let mut passes = [0; 2];
        passes[visit.manner] = visit.serial;
        Self {
            id,
            met,
            before: None,
            after,
            first: visit.at,
            last: visit.at,
            passes,
        }
    }

    /// Another visit at the same address. Returns the wait that was over by then, and whether the task came back.
    fn met(
        &mut self,
        id: TaskId,
        met: Met,
        visit: Visit,
        unchanged: u64,
        absent: Option<u64>,
    ) -> [Option<(ChainId, Wait)>; 2] {
        let old = *self;
        let is_same = old.id == id;
        match old.met.filter(|_| is_same) {
            Some(before) if met.goes_on(before) => {
                self.last = old.last.max(visit.at);
                if before.future.is_null() {
                    self.met = Some(met);
                }
                self.passes[visit.manner] = visit.serial;
                return [None, None];
            }
            Some(before) => {
                *self = Self::new(id, Some(met), Some(old.last.max(unchanged)), visit);
                // Being ready is the end of the wait, and nothing else that the task was in.
                self.before = if before.is_waiting {
                    Some(before.chain)
                } else {
                    old.before
                };
            }
            None if is_same => *self = Self::new(id, Some(met), old.after, visit),
            None => *self = Self::new(id, Some(met), absent, visit),
        }
        if is_same {
            let other = 1 - visit.manner;
            self.passes[other] = old.passes[other];
        }
        let is_back =
            is_same && met.is_waiting && old.before == Some(met.chain) && old.is_brief_wait(unchanged);
        let back = is_back.then_some((met.chain, Wait::Return));
        [old.over(unchanged, Some(visit.at)), back]
    }

    /// It is in a wait, and one look only has met it there.
    fn is_brief_wait(&self, unchanged: u64) -> bool {
        self.met.is_some_and(|met| met.is_waiting) && self.last.max(unchanged) <= self.first
    }

    /// For how long (ns) it was seen in the same. Until `unchanged` no task has moved that was there.
    fn seen(&self, unchanged: u64) -> u64 {
        self.last.max(unchanged).saturating_sub(self.first)
    }

    /// Its wait, if it was in one, which was over at a moment; `None` if nobody has seen that. Until `unchanged` no task has moved that was there.
    fn over(&self, unchanged: u64, until: Option<u64>) -> Option<(ChainId, Wait)> {
        let met = self.met.filter(|met| met.is_waiting)?;
        let least = self.seen(unchanged);
        let wait = match (self.after, until) {
            (Some(after), Some(until)) => Wait::Whole {
                least,
                most: until.saturating_sub(after).max(least),
            },
            _ => Wait::InPart { seen: least },
        };
        Some((met.chain, wait))
    }
}
