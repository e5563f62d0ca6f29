//! What chains, frames and awaitables of one target are called, and what is known of types.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use awaitwhat_common::event::{TaskState, ring};
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::TaskStatus;

use crate::budget::Share;
use crate::capture::LiveMemory;
use crate::chains::{Chain, ChainId, ChainTable, Parked};
use crate::decode::TaskRecord;
use crate::memory::{Address, Fault};
use crate::pattern::Pattern;
use crate::profile::other_chains;
use crate::python::trio::TrioTypes;
use crate::python::{Objects, ReadError, readable};
use crate::reading::ends::{Kinds, Suspension};
use crate::reading::greenlets;
use crate::snapshot::{Frame, FrameKind, Losses};
use crate::symbolize::CodeCache;
use crate::target::Interpreter;

/// How often names are proven in the time between two checks: each proof is some reads of the target's memory. Only names that are new are proven
/// at all, as those that live for a second are found to be right by a check.
const MAX_PROOFS: u32 = 4096;
/// Characters of a task's name that are held where there is no room for long ones.
const SHORT_NAME: usize = 60;
/// Nurseries of all tasks that a snapshot holds: tasks may share a list of them.
const MAX_NURSERIES: usize = 1 << 18;
/// How often it is looked for what tasks of trio with one chain are parked in: some are in nothing.
const MAX_SEARCHES: u32 = 16;
/// Types of tasks that are remembered: what is no type changes with the garbage that it is read from.
const MAX_TASK_TYPES: usize = 4096;

/// What chains, frames and awaitables are called.
pub(super) struct Names {
    /// What chains, code objects and the names of tasks may take.
    share: Share,
    /// Bytes of the names of tasks that a snapshot holds.
    task_name_bytes: usize,
    /// Nurseries of tasks that a snapshot holds.
    nurseries: usize,
    pub(super) chains: ChainTable,
    pub(super) codes: CodeCache,
    pub(super) kinds: Kinds,
    /// Futures that are done as soon as their loop turns, by loop.
    pub(super) due: HashMap<Address, HashSet<Address>>,
    /// Chains whose names are known to be right of what was drained last, by the loop that they were seen in.
    proven: HashSet<(ChainId, LoopId)>,
    /// How often it was tried to prove names since they were last checked.
    proofs: u32,
    /// What is known of the types that tasks have, by the number of the layout and the address.
    task_types: HashMap<(u32, Address), TaskType>,
    /// Types at which chains ended and nothing was learnt, by the number of the layout and the address.
    ends: HashSet<(u32, Address)>,
    /// Whether types were learnt since the walker was told last.
    has_learnt: bool,
}

/// What records of one type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskType {
    /// Of tasks that the walker reads.
    Known,
    /// Of tasks that it reads from the next pass on.
    Learnt,
    /// Of tasks that it cannot read.
    Opaque,
    /// Of no type at all.
    Nothing,
}

impl Names {
    /// `mine` are the files that hold the application's code, where the user says so.
    pub(super) fn new(share: Share, mine: Arc<[Pattern]>) -> Self {
        Self {
            share,
            task_name_bytes: 0,
            nurseries: 0,
            chains: ChainTable::default(),
            codes: CodeCache::new(mine),
            kinds: Kinds::default(),
            due: HashMap::new(),
            proven: HashSet::new(),
            proofs: 0,
            task_types: HashMap::new(),
            ends: HashSet::new(),
            has_learnt: false,
        }
    }

    /// What the type of a record is: registries hold tasks that are written in Python too, which the walker takes for something else
    /// until it is told about their class.
    pub(super) fn task_type(
        &mut self,
        interpreter: &mut Interpreter,
        memory: &LiveMemory,
        task: &TaskRecord<'_>,
    ) -> Result<TaskType, Fault> {
        if task.address.is_null() {
            return Ok(TaskType::Known);
        }
        let key = (task.layout, task.task_type);
        if let Some(&known) = self.task_types.get(&key) {
            return Ok(known);
        }
        let found = readable(learn(interpreter, memory, task))?.unwrap_or(TaskType::Nothing);
        self.has_learnt |= found == TaskType::Learnt;
        if self.task_types.len() >= MAX_TASK_TYPES {
            self.task_types.clear();
        }
        self.task_types.insert(key, found);
        Ok(found)
    }

    /// Whether what ran in a thread is a task of the loop in question. trio's loop uses generators itself, while no task runs; its tasks
    /// are coroutines. As a guest it runs within callbacks of asyncio, which are no tasks.
    pub(super) fn runs_a_task(
        &self,
        interpreter: &Interpreter,
        tick: &TaskRecord<'_>,
        chain: ChainId,
    ) -> bool {
        let chain = self.chains.get(chain);
        if interpreter.trio_types(tick.layout).is_none() {
            let outermost = chain.frames.last().map(|(code, _)| *code);
            return !outermost.is_some_and(|code| interpreter.is_trio_driver(code));
        }
        let outermost = chain.stack.last().map(|frame| frame.kind);
        matches!(
            outermost,
            Some(FrameKind::Coroutine | FrameKind::Unknown | FrameKind::LeftOut)
        )
    }

    /// Finds out what a task of trio is parked in, unless that is known of its chain. The target may go on meanwhile, and then does not tell.
    pub(super) fn find_parked(
        &mut self,
        interpreter: &Interpreter,
        memory: &LiveMemory,
        types: &TrioTypes,
        task: &TaskRecord<'_>,
        id: ChainId,
    ) -> Result<(), Fault> {
        let chain = self.chains.get(id);
        let is_over = match chain.parked {
            Parked::In(_) => true,
            Parked::NotFound(times) => times >= MAX_SEARCHES,
        };
        let Some(frames) = interpreter.frames(memory, task.layout) else {
            return Ok(());
        };
        if is_over || task.address.is_null() || task.state != TaskState::Waiting {
            return Ok(());
        }
        let found = frames.trio_parked_in(types, task.coroutine, &chain.stack, &chain.frames);
        let name = readable(found)?
            .flatten()
            .map(|found| self.codes.intern(&found.type_name));
        self.chains.note_parked(id, name);
        Ok(())
    }

    /// Whether something was learnt about what a chain ends with, so that it goes on there from the next pass on.
    pub(super) fn learns_end(
        &mut self,
        interpreter: &mut Interpreter,
        memory: &LiveMemory,
        task: &TaskRecord<'_>,
    ) -> Result<bool, Fault> {
        let key = (task.layout, task.terminal_type);
        if task.terminal_type.is_null() || self.ends.contains(&key) {
            return Ok(false);
        }
        let learnt = interpreter.learn_awaitable(memory, task.layout, task.terminal, task.terminal_type);
        if readable(learnt)? == Some(true) {
            self.has_learnt = true;
            return Ok(true);
        }
        if self.ends.len() >= MAX_TASK_TYPES {
            self.ends.clear();
        }
        self.ends.insert(key);
        Ok(false)
    }

    /// Whether a task that does not run could go on, and waits for its loop only.
    pub(super) fn is_ready(
        &mut self,
        interpreter: &Interpreter,
        memory: &LiveMemory,
        task: &TaskRecord<'_>,
    ) -> Result<bool, Fault> {
        let awaits_pending = task.state == TaskState::Waiting && Suspension::of(task).awaits_pending();
        if awaits_pending && self.due.is_empty() {
            // So it is with most, and nothing has to be looked up for it.
            return Ok(false);
        }
        if interpreter.trio_types(task.layout).is_some() {
            // `_next_send_fn` is set of a task that is in line to run.
            let is_set =
                !task.fut_waiter.is_null() && task.fut_waiter != interpreter.objects(memory).types.none;
            return Ok(is_set && task.state != TaskState::Running);
        }
        match task.state {
            TaskState::Running => return Ok(false),
            TaskState::Created => return Ok(true),
            TaskState::Waiting => {}
        }
        if !self.due.is_empty() && self.is_due(task) {
            return Ok(true);
        }
        let Some(types) = interpreter.future_types(task.layout) else {
            return Ok(false);
        };
        let objects = interpreter.objects(memory);
        let is_ready = readable(self.kinds.is_ready(objects, types, &Suspension::of(task)))?;
        Ok(is_ready.unwrap_or(false))
    }

    /// Whether what the task awaits is only not done as its loop does not turn.
    pub(super) fn keep_due(&mut self, is_running: impl Fn(Address) -> bool) {
        self.due.retain(|&event_loop, _| is_running(event_loop));
    }

    fn is_due(&self, task: &TaskRecord<'_>) -> bool {
        let due = self.due.get(&task.event_loop);
        due.is_some_and(|due| due.contains(&task.fut_waiter))
    }

    /// The chain of a record, named when it is seen for the first time. Where there is no room for another one, it is taken for one of the
    /// others, which is counted. It is [proven](ChainId::proven) where its names were read while things were still as in the record.
    pub(super) fn chain_of(
        &mut self,
        objects: &Objects<'_>,
        task: &TaskRecord<'_>,
        is_ready: bool,
        losses: &mut Losses,
        is_as_seen: &dyn Fn() -> bool,
    ) -> Result<ChainId, Fault> {
        let event_loop = task.origin.event_loop;
        if let Some(known) = self.chains.known(task, is_ready) {
            if task.origin.in_context || self.chains.is_settled(known) {
                return Ok(known);
            }
            if self.proven.contains(&(known, event_loop)) {
                return Ok(known.proven());
            }
            if self.proofs >= MAX_PROOFS || self.is_still_called_so(objects, known, losses)? {
                return Ok(self.proof(known, event_loop, is_as_seen));
            }
        }
        if self.share.is_used_up() {
            losses.folded += 1;
            return Ok(self.chains.other(task.state, is_ready, other_chains));
        }
        let Self { chains, codes, .. } = self;
        let chain = chains.intern(task, is_ready, |frames| {
            let frame = |&(code, instruction)| codes.frame(objects, code, instruction);
            let mut stack = frames.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
            mark_left_out(&mut stack, task);
            let terminal = if task.terminal_type.is_null() {
                None
            } else {
                readable(objects.checked_type_name(task.terminal_type))?
            };
            Ok((stack.into(), terminal.map(|name| codes.intern(&name))))
        })?;
        self.tell_bytes();
        Ok(self.proof(chain, event_loop, is_as_seen))
    }

    /// Reads the names of a chain again, and retires it where they are others now. What is new at its address is named anew then.
    fn is_still_called_so(
        &mut self,
        objects: &Objects<'_>,
        chain: ChainId,
        losses: &mut Losses,
    ) -> Result<bool, Fault> {
        self.proofs += 1;
        let frames = &self.chains.get(chain).frames;
        let changed = self
            .codes
            .read_again(objects, frames.iter().map(|(code, _)| *code))?;
        losses.stale += self.chains.retire(&changed);
        Ok(changed.is_empty())
    }

    /// The chain, whose names were just read, with the proof that it was called so when it was seen, if there is one.
    fn proof(&mut self, chain: ChainId, event_loop: LoopId, is_as_seen: &dyn Fn() -> bool) -> ChainId {
        if self.proofs >= MAX_PROOFS || !is_as_seen() {
            return chain;
        }
        self.proofs += 1;
        self.proven.insert((chain, event_loop));
        chain.proven()
    }

    /// The target has gone on since names were proven.
    pub(super) fn forget_proofs(&mut self) {
        self.proven.clear();
    }

    /// Whether types were learnt since the last time, of which the walker is to be told. What was taken for other types by then is looked at anew.
    pub(super) fn take_lessons(&mut self) -> bool {
        let has_learnt = std::mem::take(&mut self.has_learnt);
        if has_learnt {
            self.task_types.clear();
            self.ends.clear();
        }
        has_learnt
    }

    /// Reads the code objects again whose names were used since the last time, and forgets what was learnt of types. Returns those that are
    /// others now.
    pub(super) fn revalidate(
        &mut self,
        objects: &Objects<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<Address>, Fault> {
        // A chain that is known already is not named anew.
        let used = self.chains.take_used_codes();
        used.into_iter().for_each(|code| self.codes.touch(code));
        let changed = self.codes.revalidate(objects)?;
        losses.stale += self.codes.take_unreadable();
        self.forget_types();
        Ok(changed)
    }

    /// Forgets what belongs to the snapshot before, and what the target may have changed since, but for chains and code.
    pub(super) fn begin_snapshot(&mut self) {
        self.task_name_bytes = 0;
        self.nurseries = 0;
        self.forget_proofs();
        self.forget_types();
        self.tell_bytes();
    }

    /// A class may have gone, and another one have come to its place.
    fn forget_types(&mut self) {
        self.ends.clear();
        self.task_types.clear();
        self.kinds.forget();
    }

    /// Takes it that the chains with these code objects can no longer be told. Returns how many chains those are.
    pub(super) fn retire(&mut self, changed: &[Address]) -> u64 {
        let retired = self.chains.retire(changed);
        self.chains.settle();
        self.proofs = 0;
        retired
    }

    /// Forgets the chains that are not `needed`, and the code that only they had; returns those chains.
    pub(super) fn let_go(&mut self, needed: impl Fn(ChainId) -> bool) -> Vec<(ChainId, Chain)> {
        let gone = self.chains.let_go(needed);
        self.codes.keep_only(&self.chains.codes());
        self.tell_bytes();
        gone
    }

    /// Bytes that chains and code objects take.
    pub(super) fn bytes(&self) -> usize {
        self.share.bytes()
    }

    /// Whether there is room for no other chain.
    pub(super) fn is_full(&self) -> bool {
        self.share.is_used_up()
    }

    fn tell_bytes(&mut self) {
        self.share
            .set(self.chains.bytes() + self.codes.bytes() + self.task_name_bytes);
    }

    /// A task's name, to be held. Where there is no room for more, long ones are cut, which is marked and counted.
    pub(super) fn task_name(&mut self, mut name: String, losses: &mut Losses) -> Arc<str> {
        if self.is_full()
            && let Some((end, _)) = name.char_indices().nth(SHORT_NAME)
        {
            name.truncate(end);
            name.push('…');
            losses.short_names += 1;
        }
        self.task_name_bytes += name.len();
        self.tell_bytes();
        name.into()
    }

    /// Whether so many nurseries of another task can be held.
    pub(super) fn has_room_for_nurseries(&mut self, count: usize) -> bool {
        let all = self.nurseries.saturating_add(count);
        let has_room = all <= MAX_NURSERIES;
        if has_room {
            self.nurseries = all;
        }
        has_room
    }

    /// What was taken of the budget: a snapshot holds it on.
    pub(super) fn into_share(self) -> Share {
        self.share
    }
}

/// Marks where in the stack of `task` frames are missing.
fn mark_left_out(stack: &mut Vec<Frame>, task: &TaskRecord<'_>) {
    if task.left_out > 0 {
        let outermost = ring::outermost(stack.len() as u32) as usize;
        stack.insert(stack.len() - outermost, Frame::left_out(Some(task.left_out)));
    }
    // What the walk did not come to: it goes inwards, and outwards in a thread that runs.
    match (task.status, task.state) {
        (TaskStatus::Truncated, TaskState::Running) => stack.push(Frame::left_out(None)),
        (TaskStatus::Truncated, _) => stack.insert(0, Frame::left_out(None)),
        _ => {}
    }
    if task.state == TaskState::Waiting {
        greenlets::mark(stack);
    }
}

/// What the type of a record is, which may be learnt by that.
fn learn(
    interpreter: &mut Interpreter,
    memory: &LiveMemory,
    task: &TaskRecord<'_>,
) -> Result<TaskType, ReadError> {
    Ok(
        if interpreter.is_task_type(memory, task.layout, task.task_type)? {
            TaskType::Known
        } else if interpreter.learn_task_type(memory, task.layout, task.task_type, task.address)? {
            TaskType::Learnt
        } else {
            TaskType::Opaque
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn names_within(bytes: usize) -> Names {
        Names::new(Budget::new(bytes).share(), Arc::default())
    }

    #[test]
    fn names_that_are_cut_are_counted() {
        let mut names = names_within(2 * SHORT_NAME);
        let mut losses = Losses::default();
        let mut hold = |name: &str| names.task_name(name.to_owned(), &mut losses).len();
        let long = "n".repeat(4 * SHORT_NAME);
        assert_eq!(hold(&long), long.len());
        // Nothing more may be held: only what is long anyway is cut.
        assert_eq!(hold("short"), "short".len());
        assert_eq!(hold(&long), SHORT_NAME + '…'.len_utf8());
        assert_eq!(losses.short_names, 1);
    }

    #[test]
    fn a_loop_that_is_gone_completes_no_futures() {
        let mut names = names_within(1);
        let future = HashSet::from([Address(0x30)]);
        names.due.insert(Address(0x10), future.clone());
        names.due.insert(Address(0x20), future.clone());
        names.keep_due(|event_loop| event_loop == Address(0x20));
        assert_eq!(names.due, HashMap::from([(Address(0x20), future)]));
    }

    #[test]
    fn nurseries_of_all_tasks_have_a_bound() {
        let mut names = names_within(1);
        assert!(names.has_room_for_nurseries(MAX_NURSERIES - 1));
        assert!(!names.has_room_for_nurseries(2));
        assert!(names.has_room_for_nurseries(1));
        assert!(!names.has_room_for_nurseries(1));
        assert!(names.has_room_for_nurseries(0));
    }
}
