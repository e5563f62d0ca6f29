//! What the walks of one loop have found so far.

use awaitwhat_common::event::TaskState as RawState;
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use foldhash::{HashMap, HashSet};

use crate::chains::ChainId;
use crate::decode::{SliceRecord, TaskRecord};
use crate::memory::Address;
use crate::reading::edges::{Again, Turn};
use crate::reading::ends::Suspension;
use crate::resource::Resource;
use crate::snapshot::FutureState;
use crate::waits::Held;

/// One task as it was visited.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// When its slice began, in ns.
    pub(super) time: u64,
    pub(super) chain: ChainId,
    pub(super) state: RawState,
    /// The walk ended before the end of the chain.
    pub(super) has_no_end: bool,
    /// Frames are missing.
    pub(super) is_truncated: bool,
    pub(super) cancellations: u32,
    /// Number of the layout that the task was read with.
    pub(super) layout: u32,
    pub(super) name: Address,
    pub(super) event_loop: Address,
    pub(super) coroutine: Address,
    pub(super) suspension: Suspension,
    pub(super) turn: Turn,
    /// The object that names the task, as far as it was read together with the chain.
    pub(super) name_bytes: Box<[u8]>,
    /// The first variables of the two innermost frames.
    pub(super) first_variables: [Address; 2],
    /// What the task's callbacks lead to; and how many callbacks there are where that is not all, else 0.
    pub(super) links: Box<[Address]>,
    pub(super) cut_callbacks: u32,
    /// What a second pass has found of the task, where it has not moved since.
    pub(super) again: Option<Again>,
    /// How many turns a task of trio had had when it was read.
    pub(super) turns: Option<i64>,
    /// What it waits for, by its name.
    pub(super) named: Named,
    /// The state of the future that it waits for, where that is written in Python.
    pub(super) python_state: Option<FutureState>,
    /// The future of `concurrent.futures` that it waits for, or NULL.
    pub(super) job: Address,
    /// Those of the things that others wait for that it is inside of, each as often as it is.
    pub(super) held: Vec<Held>,
    /// It could not be read what it has of these.
    pub(super) is_held_unknown: bool,
    /// The task groups that it is inside of, outermost first.
    pub(super) groups: Vec<Address>,
}

/// What is known of the name of what a task waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing was asked.
    #[default]
    No,
    /// No rule knows the functions that it waits in.
    ByNoRule,
    /// Some do, but none fits.
    Unfit,
    As(Box<Resource>),
    /// It could not be read, or the task may have had a turn meanwhile.
    Changed,
}

impl Named {
    /// What the task waits for, where that is told.
    pub(super) fn take(&mut self) -> Option<Box<Resource>> {
        match std::mem::take(self) {
            Self::As(resource) => Some(resource),
            Self::No | Self::ByNoRule | Self::Unfit | Self::Changed => None,
        }
    }
}

impl Visit {
    /// Whether a later visit is of the same task, which waits for the same. Two tasks that have the same address may have more in common: what
    /// tells them apart is what they are called, as asyncio numbers the tasks that nobody names. Where tasks have no names, as in CPython 3.7, only
    /// that no task of the loop had a turn in between tells it.
    fn is_unmoved_in(&self, later: &Self, no_task_had_a_turn: bool) -> bool {
        let of = |it: &Self| {
            let suspension = &it.suspension;
            let ends = (suspension.fut_waiter, suspension.terminal);
            (it.state, it.chain, it.coroutine, it.name, it.event_loop, ends)
        };
        let is_same = no_task_had_a_turn || !self.name_bytes.is_empty();
        of(self) == of(later) && self.name_bytes == later.name_bytes && is_same
    }
}

/// What a pass has gathered so far.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) order: Vec<Address>,
    pub(super) visits: HashMap<Address, Visit>,
    /// Tasks of a kind that cannot be read.
    pub(super) opaque: HashSet<Address>,
    pub(super) lost: u64,
    pub(super) restarts: u64,
    /// Times of the first and of the last slice's end, in ns.
    pub(super) span: Option<(u64, u64)>,
    pub(super) is_complete: bool,
}

impl Gathering {
    /// Takes one visit; a later one of the same task replaces it.
    pub(super) fn visit(&mut self, record: &TaskRecord<'_>, chain: ChainId) {
        if record.address.is_null() || self.is_complete {
            return;
        }
        let visit = Visit {
            time: record.origin.time,
            chain,
            state: record.state,
            has_no_end: record.status == TaskStatus::Truncated,
            is_truncated: record.status == TaskStatus::Truncated || record.left_out > 0,
            cancellations: record.cancellations,
            layout: record.layout,
            name: record.name,
            event_loop: record.event_loop,
            coroutine: record.coroutine,
            suspension: Suspension::of(record),
            turn: Turn::of(&record.origin),
            name_bytes: record.name_bytes.into(),
            first_variables: record.first_variables,
            links: record.links.iter().collect(),
            cut_callbacks: record.cut_callbacks,
            again: None,
            turns: None,
            named: Named::No,
            python_state: None,
            job: Address::NULL,
            held: Vec::new(),
            is_held_unknown: false,
            groups: Vec::new(),
        };
        if self.visits.insert(record.address, visit).is_none() {
            self.order.push(record.address);
        }
    }

    /// Takes one visit of a task that cannot be read.
    pub(super) fn visit_opaque(&mut self, task: Address) {
        if !self.is_complete {
            self.opaque.insert(task);
        }
    }

    /// Whether what it has visited is of several turns of its loop.
    pub(super) fn is_of_several_turns(&self) -> bool {
        let mut turns = self.visits.values().map(|visit| visit.turn);
        let first = turns.next();
        turns.any(|turn| Some(turn) != first)
    }

    /// Takes what a later pass has found of tasks that have not moved since. `no_task_had_a_turn` says that the loop was in one callback all the while.
    pub(super) fn confirm(&mut self, mut later: Self, no_task_had_a_turn: bool) {
        for (id, visit) in &mut self.visits {
            let again = later.visits.remove(id);
            let again = again.filter(|it| visit.is_unmoved_in(it, no_task_had_a_turn));
            if let Some(Visit { time, links, .. }) = again {
                visit.again = Some(Again { time, links });
            }
        }
    }

    /// Whether it is told of any task what it waits for, which is true only of tasks that had no turn meanwhile.
    pub(super) fn has_named(&self) -> bool {
        self.visits.values().any(|visit| {
            matches!(visit.named, Named::As(_)) || !visit.job.is_null() || visit.python_state.is_some()
        })
    }

    /// Takes back what was read of tasks of which it is not proven that they had no turn meanwhile.
    pub(super) fn doubt_waits(&mut self) {
        let waits = |visit: &&mut Visit| visit.state == RawState::Waiting && visit.again.is_none();
        let moved = self.visits.values_mut().filter(waits);
        for visit in moved {
            visit.held.clear();
            visit.groups.clear();
            visit.job = Address::NULL;
            visit.python_state = None;
            if visit.named != Named::ByNoRule {
                visit.named = Named::Changed;
            }
        }
    }

    /// Tasks so far.
    pub(super) fn tasks(&self) -> usize {
        self.order.len()
    }

    /// Whether a task was seen at work.
    pub(super) fn has_running(&self) -> bool {
        self.visits.values().any(|visit| visit.state == RawState::Running)
    }

    /// Leaves out tasks that were seen to run before others of their loop were: it runs one at a time, and what they do by then was not seen.
    /// Those that one slice saw to run do so within each other. Returns how many were left out.
    pub(super) fn leave_out_former(&mut self) -> u64 {
        let is_running = |visit: &Visit| visit.state == RawState::Running;
        let running = self.visits.values().filter(|visit| is_running(visit));
        let latest = running.map(|visit| visit.time).max();
        let before = self.visits.len();
        self.visits
            .retain(|_, visit| !is_running(visit) || Some(visit.time) == latest);
        (before - self.visits.len()) as u64
    }

    /// Takes the end of a slice.
    pub(super) fn slice(&mut self, slice: &SliceRecord) {
        if self.is_complete {
            return;
        }
        self.lost = slice.lost;
        let end = slice.origin.time.saturating_add(slice.duration);
        let (first, _) = self.span.unwrap_or((slice.origin.time, end));
        self.span = Some((first, end));
        match slice.status {
            SliceStatus::PassComplete => self.is_complete = true,
            SliceStatus::RegistryTorn => self.restarts += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(time: u64, state: RawState) -> Visit {
        Visit {
            time,
            chain: ChainId::default(),
            state,
            has_no_end: false,
            is_truncated: false,
            cancellations: 0,
            layout: 0,
            name: Address::NULL,
            event_loop: Address::NULL,
            coroutine: Address::NULL,
            suspension: Suspension::default(),
            turn: Turn::default(),
            name_bytes: Box::default(),
            first_variables: [Address::NULL; 2],
            links: Box::default(),
            cut_callbacks: 0,
            again: None,
            turns: None,
            named: Named::No,
            python_state: None,
            job: Address::NULL,
            held: Vec::new(),
            is_held_unknown: false,
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_task_without_a_name_is_the_same_one_while_no_task_has_a_turn() {
        let of = |names: [&[u8]; 2]| {
            let mut gathering = Gathering::default();
            for (id, name) in (1..).zip(names) {
                let mut visit = visit(10, RawState::Waiting);
                visit.name_bytes = name.into();
                gathering.visits.insert(Address(id), visit);
            }
            gathering
        };
        let confirmed = |later: [&[u8]; 2], no_task_had_a_turn| {
            let mut first = of([b"", b"Task-2"]);
            first.confirm(of(later), no_task_had_a_turn);
            [1, 2].map(|id| first.visits[&Address(id)].again.is_some())
        };
        assert_eq!(confirmed([b"", b"Task-2"], false), [false, true]);
        assert_eq!(confirmed([b"", b"Task-2"], true), [true, true]);
        assert_eq!(confirmed([b"", b"Task-3"], true), [true, false]);
        assert_eq!(confirmed([b"Task-1", b"Task-2"], true), [false, true]);
    }

    #[test]
    fn of_tasks_that_ran_at_different_times_the_last_is_left() {
        let mut gathering = Gathering::default();
        for (id, time, state) in [
            (1, 10, RawState::Running),
            (2, 10, RawState::Waiting),
            (3, 20, RawState::Running),
            // Within each other.
            (4, 30, RawState::Running),
            (5, 30, RawState::Running),
            (6, 40, RawState::Waiting),
        ] {
            gathering.visits.insert(Address(id), visit(time, state));
        }
        assert_eq!(gathering.leave_out_former(), 2);
        let mut left: Vec<u64> = gathering.visits.keys().map(|id| id.0).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 4, 5, 6]);
        assert_eq!(gathering.leave_out_former(), 0);
    }
}
