//! One kind of time of one loop: the passes made in it, and what each visit of a task stands for.
//!
//! A pass looks at each place of the registries once, and what it finds there stands for the time since that place was looked at last. So a
//! task is credited on average with its life, however short that is and however passes are sliced: a task that lives for a third of the time between two looks is met by one
//! of three. What a look stands for is decided before it is made, so that nothing that it finds, as many tasks that take long to visit, changes its weight.
//!
//! When the place of a task that was not met before was looked at last is told by the tasks that were met by both passes. In a list, tasks move on as
//! older ones go; where no neighbour tells, it is taken to be as far into the pass.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::account::TaskId;
use super::weights::Weights;
use crate::chains::ChainId;
use crate::memory::Address;

/// A moment on two clocks, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub(super) struct Moment {
    /// On the clock of this kind of time.
    pub(super) own: f64,
    /// On the clock of the other kind, where this one tells what tasks do meanwhile; else 0.
    pub(super) other: f64,
}

/// What a visit by a sample may have been credited with already, unseen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assumed {
    /// The chain in which the task was met at rest before.
    chain: ChainId,
    /// The task was met at rest again: it was credited with all the time in between.
    is_credited: bool,
    /// What visits were credited with, in ns, since that chain was met, while it could not be told whether this time is counted twice.
    pending: f64,
    /// Until when (ns, on this kind's clock) the task was not met at rest.
    since: f64,
}

impl Assumed {
    pub(super) fn new(at_rest: Known) -> Self {
        Self {
            chain: at_rest.chain,
            is_credited: false,
            pending: 0.0,
            since: at_rest.since,
        }
    }
}

/// What the passes at rest know of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The chain that it was in when it was met last.
    pub(super) chain: ChainId,
    /// When it was met first, in ns, on the clock of the other kind.
    pub(super) since: f64,
}

/// What a visit has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// `None` while it runs: what runs is credited by slices.
    pub(super) chain: Option<ChainId>,
    pub(super) assumed: Option<Assumed>,
}

/// The last visit of a task.
#[derive(Clone, Copy, Debug)]
struct Visit {
    id: TaskId,
    at: Moment,
    /// When the task was met first, on the clock of the other kind.
    since: f64,
    /// The first pass has met it: as far as is known, it was there from the beginning.
    is_founder: bool,
    found: Found,
    /// The pass that met it last, and which of its visits this is.
    pass: u64,
    number: u64,
}

impl Visit {
    fn credit(&mut self, nanoseconds: f64, weights: &mut Weights) {
        weights.credit(self.found.chain, nanoseconds);
        self.assume(nanoseconds, weights);
    }

    /// So much of what the visit was credited with may have been credited already.
    fn assume(&mut self, nanoseconds: f64, weights: &mut Weights) {
        match &mut self.found.assumed {
            Some(assumed) if assumed.is_credited => weights.credit(Some(assumed.chain), -nanoseconds),
            Some(assumed) => assumed.pending += nanoseconds,
            None => {}
        }
    }

    /// The task was there from the beginning on: what was before it was met at rest is credited by nobody else.
    fn credit_from_beginning(&mut self, weights: &mut Weights) {
        self.is_founder = true;
        weights.credit(self.found.chain, self.at.own);
        if let Some(assumed) = self.found.assumed {
            self.assume((self.at.own - assumed.since).max(0.0), weights);
        }
    }

    /// What was credited to the visit before, and may still turn out to be counted twice.
    fn keep_pending(&mut self, old: &Self) {
        if let (Some(assumed), Some(before)) = (&mut self.found.assumed, old.found.assumed)
            && !before.is_credited
        {
            assumed.pending += before.pending;
        }
    }
}

/// A task that two passes met, one after the other: which visit of the later one it was, and how long (ns) after the other.
#[derive(Clone, Copy, Debug)]
struct Survivor {
    number: u64,
    gap: f64,
}

/// A pass: after how many visits each of its slices ended, and when (ns) that slice was.
#[derive(Clone, Debug, Default)]
struct Pass {
    slices: Vec<(u64, f64)>,
    survivors: Vec<Survivor>,
}

impl Pass {
    fn visits(&self) -> u64 {
        self.slices.last().map_or(0, |(visits, _)| *visits)
    }

    /// When a place was looked at that comes behind this `share` of the others.
    fn look_at(&self, share: f64) -> f64 {
        let before = share * self.visits() as f64;
        let after = self.slices.iter().find(|(visits, _)| *visits as f64 > before);
        after.or(self.slices.last()).map_or(0.0, |(_, at)| *at)
    }

    /// How long (ns) before visit `number`, at `at`, its place was looked at by the pass before.
    fn gap(&self, previous: &Self, number: u64, at: f64) -> f64 {
        let is_in_pieces = self.slices.len() > 1 || previous.slices.len() > 1;
        match self.neighbour(number) {
            Some(survivor) if is_in_pieces => survivor.gap,
            _ => at - previous.look_at((number as f64 + 0.5) / self.visits().max(number + 1) as f64),
        }
    }

    fn neighbour(&self, number: u64) -> Option<&Survivor> {
        let after = self.survivors.partition_point(|it| it.number < number);
        let before = after.checked_sub(1).and_then(|index| self.survivors.get(index));
        let distance = |it: &&Survivor| it.number.abs_diff(number);
        self.survivors
            .get(after)
            .into_iter()
            .chain(before)
            .min_by_key(distance)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Stratum {
    /// When the last slice began.
    last_slice: Moment,
    /// Up to here (ns) nothing has changed since the last complete pass.
    constant_until: f64,
    /// The pass that goes on, with its number in the records.
    current: Option<(u64, Pass)>,
    /// Its visits so far.
    visited: u64,
    /// The last complete one.
    previous: Option<Pass>,
    /// Passes begun.
    passes: u64,
    visits: HashMap<Address, Visit, RandomState>,
    /// Tasks that the pass that goes on was the first to meet.
    first: Vec<TaskId>,
    /// What ran when the current slice began, until its record comes.
    announced: Option<ChainId>,
    running: Option<ChainId>,
}

impl Stratum {
    /// Tasks that were met last.
    pub(super) fn tasks(&self) -> usize {
        self.visits.len()
    }

    /// The chains that may be credited without being seen again.
    pub(super) fn chains(&self) -> impl Iterator<Item = ChainId> {
        let visited = self.visits.values().flat_map(|visit| {
            let assumed = visit.found.assumed.map(|it| it.chain);
            visit.found.chain.into_iter().chain(assumed)
        });
        visited.chain(self.announced).chain(self.running)
    }

    /// What is known of a task that did not run when it was met last.
    pub(super) fn known(&self, id: TaskId) -> Option<Known> {
        let visit = self.visit(id)?;
        let chain = visit.found.chain?;
        let since = visit.since;
        Some(Known { chain, since })
    }

    /// Up to when (ns) a task is credited that was there from the beginning.
    pub(super) fn credited_from_beginning(&self, id: TaskId) -> Option<f64> {
        let visit = self.visit(id)?;
        let is_founder = visit.is_founder || !self.is_complete();
        is_founder.then_some(visit.at.own)
    }

    fn visit(&self, id: TaskId) -> Option<&Visit> {
        self.visits.get(&id.address).filter(|visit| visit.id == id)
    }

    /// Takes what ran when a slice began.
    pub(super) fn announce(&mut self, chain: ChainId) {
        self.announced = Some(chain);
    }

    /// Whether a running task is the one that its slice has announced.
    pub(super) fn is_announced(&self, chain: ChainId) -> bool {
        self.announced == Some(chain)
    }

    /// Takes a visit, in the pass with this number. True if the same task was met before: then it is also credited with what has passed on the other kind's clock since.
    pub(super) fn met(
        &mut self,
        id: TaskId,
        found: Found,
        at: Moment,
        pass: u64,
        weights: &mut Weights,
    ) -> bool {
        self.go_on_with(pass);
        let mut new = Visit {
            id,
            at,
            since: at.other,
            is_founder: false,
            found,
            pass: self.passes,
            number: self.visited,
        };
        self.visited += 1;
        let old = self.visits.get(&id.address).copied();
        let known = old.filter(|old| old.id == id);
        match (&known, old) {
            (Some(old), _) => {
                new.since = old.since;
                new.is_founder = old.is_founder;
                let constant = self.constant_since(old);
                weights.credit(old.found.chain, constant + at.other - old.at.other);
                new.keep_pending(old);
                new.credit(at.own - old.at.own - constant, weights);
                self.note_survivor(old, &new);
            }
            (None, Some(other)) => self.gone(&other, weights),
            (None, None) => {}
        }
        if known.is_none() {
            self.first.push(id);
        }
        self.visits.insert(id.address, new);
        known.is_some()
    }

    fn note_survivor(&mut self, old: &Visit, new: &Visit) {
        if let Some((_, pass)) = &mut self.current
            && old.pass + 1 == new.pass
        {
            let (number, gap) = (new.number, new.at.own - old.at.own);
            pass.survivors.push(Survivor { number, gap });
        }
    }

    /// Takes a visit of a task that is there, and could not be read.
    pub(super) fn met_unread(&mut self, id: TaskId, pass: u64) {
        self.go_on_with(pass);
        self.visited += 1;
        let passes = self.passes;
        if let Some(visit) = self.visits.get_mut(&id.address).filter(|visit| visit.id == id) {
            visit.pass = passes;
        }
    }

    /// The task was met at rest again, and credited with all the time since it was met there before.
    pub(super) fn is_credited(&mut self, id: TaskId, weights: &mut Weights) {
        let visit = self.visits.get_mut(&id.address).filter(|visit| visit.id == id);
        if let Some(assumed) = visit.and_then(|visit| visit.found.assumed.as_mut()) {
            weights.credit(Some(assumed.chain), -assumed.pending);
            assumed.pending = 0.0;
            assumed.is_credited = true;
        }
    }

    /// Takes the end of a slice in which a walk was made, with what ran at its beginning.
    pub(super) fn walked(&mut self, at: Moment, pass: u64, is_complete: bool, weights: &mut Weights) {
        self.running = self.announced.take();
        self.credit_running(at, weights);
        self.go_on_with(pass);
        if let Some((_, current)) = &mut self.current {
            current.slices.push((self.visited, at.own));
        }
        if is_complete {
            self.complete(weights);
        }
    }

    /// Nothing has changed since the last complete pass.
    pub(super) fn unchanged(&mut self, at: Moment, weights: &mut Weights) {
        self.constant_until = at.own;
        self.credit_running(at, weights);
    }

    fn credit_running(&mut self, at: Moment, weights: &mut Weights) {
        weights.credit(self.running, at.own - self.last_slice.own);
        self.last_slice = at;
    }

    fn go_on_with(&mut self, pass: u64) {
        if self.current.as_ref().is_none_or(|(number, _)| *number != pass) {
            self.current = Some((pass, Pass::default()));
            self.passes += 1;
            self.visited = 0;
        }
    }

    /// How long (ns) nothing has changed since a visit.
    fn constant_since(&self, visit: &Visit) -> f64 {
        (self.constant_until - visit.at.own).max(0.0)
    }

    /// Every place was looked at: tasks that were met for the first time came since the last look at their place, and those that were not
    /// met have gone.
    fn complete(&mut self, weights: &mut Weights) {
        let Some((_, pass)) = self.current.take() else {
            return;
        };
        self.credit_first(&pass, weights);
        let passes = self.passes;
        self.keep_only(|visit| visit.pass == passes, weights);
        self.previous = Some(pass);
    }

    /// Tasks of other visits have gone.
    fn keep_only(&mut self, is_there: impl Fn(&Visit) -> bool, weights: &mut Weights) {
        let mut gone: Vec<Visit> = self
            .visits
            .extract_if(|_, visit| !is_there(visit))
            .map(|(_, visit)| visit)
            .collect();
        gone.sort_unstable_by_key(|visit| visit.id.address);
        gone.iter().for_each(|visit| self.gone(visit, weights));
    }

    /// The visits in one order, whatever the map's is: sums depend on it.
    fn in_order(&self) -> Vec<&Visit> {
        let mut visits: Vec<_> = self.visits.values().collect();
        visits.sort_unstable_by_key(|visit| visit.id.address);
        visits
    }

    /// A task has gone since nothing was known not to have changed.
    fn gone(&self, visit: &Visit, weights: &mut Weights) {
        weights.credit(visit.found.chain, self.constant_since(visit));
    }

    fn credit_first(&mut self, pass: &Pass, weights: &mut Weights) {
        for id in std::mem::take(&mut self.first) {
            let Some(visit) = self.visits.get_mut(&id.address).filter(|visit| visit.id == id) else {
                continue;
            };
            let Some(previous) = &self.previous else {
                // Before the first pass nobody has looked: it stands for the whole time until then.
                visit.credit_from_beginning(weights);
                continue;
            };
            let at = visit.at.own;
            let since = pass.gap(previous, visit.number, at).min(at - self.constant_until);
            visit.credit(since.max(0.0), weights);
        }
    }

    /// Whether some pass has met every task.
    pub(super) fn is_complete(&self) -> bool {
        self.previous.is_some()
    }

    /// Whether a task is there, for all that the last look at its place has found.
    fn is_there(&self, visit: &Visit) -> bool {
        let is_passed_by = self.current.is_some() && visit.pass < self.passes && visit.number < self.visited;
        !is_passed_by
    }

    /// Time at rest ends for the tasks that are there, as if they were met once more: those that the `busy` kind knows too were there all
    /// the time, also while the loop worked. Where that kind has not met every task, they all were.
    pub(super) fn settle_at_rest(&mut self, end: Moment, busy: &mut Self, weights: &mut Weights) {
        let is_alone = !busy.is_complete();
        for visit in self.in_order().into_iter().filter(|it| self.is_there(it)) {
            let is_known = busy.visit(visit.id).is_some_and(|it| busy.is_there(it));
            if is_known || is_alone {
                weights.credit(visit.found.chain, end.other - visit.at.other);
                busy.is_credited(visit.id, weights);
            }
        }
        self.settle(end, weights);
    }

    /// Time ends: what was found last at each place stands for the rest.
    pub(super) fn settle(&mut self, end: Moment, weights: &mut Weights) {
        weights.credit(self.running, end.own - self.last_slice.own);
        // The pass that goes on has looked at the places of the others, and not met them.
        let passed_by = self.current.is_some().then_some((self.passes, self.visited));
        let is_there = |visit: &Visit| {
            passed_by.is_none_or(|(passes, visited)| visit.pass >= passes || visit.number >= visited)
        };
        self.keep_only(is_there, weights);
        if let Some((_, pass)) = self.current.take() {
            self.credit_first(&pass, weights);
        }
        let visits = self.in_order().into_iter().copied().collect::<Vec<_>>();
        self.visits.clear();
        for mut visit in visits {
            visit.credit(end.own - visit.at.own, weights);
        }
    }

    /// Time of this kind in which no pass was made that met every task: those that the `other` kind has met last did there what
    /// they did then.
    pub(super) fn fill_in(&self, length: f64, other: &Self, weights: &mut Weights) {
        if self.is_complete() {
            return;
        }
        for visit in other.in_order() {
            if self.visit(visit.id).is_none() {
                weights.credit(visit.found.chain, length);
            }
        }
    }
}
