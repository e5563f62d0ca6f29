//! One target: its process, its interpreter and event loops, and what is remembered of them. The eBPF side is shared by all targets.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use awaitwhat_common::event::{TaskState, ring};
use awaitwhat_common::plan::{LoopId, ThreadPlan, wants};
use awaitwhat_common::status::TaskStatus;

use super::Options;
use super::process::{Process, own_thread_ids};
use crate::budget::{Budget, Share};
use crate::capture::{Capture, CaptureError, LiveMemory};
use crate::chains::{Chain, ChainId, ChainTable, Parked};
use crate::decode::{Record, SliceRecord, TaskRecord, decode};
use crate::memory::{Address, Fault};
use crate::pattern::Pattern;
use crate::profile::other_chains;
use crate::python::trio::TrioTypes;
use crate::python::{Objects, ReadError};
use crate::reading::ends::{Kinds, Suspension};
use crate::reading::greenlets;
use crate::snapshot::{Frame, FrameKind, Losses};
use crate::symbolize::CodeCache;
use crate::target::{EventLoops, FindError, Interpreter, SchedulerError, find_interpreter};

/// Programs that a process becomes one after the other while it is looked at, before that is given up.
const MAX_PROGRAMS: u32 = 4;
/// How often names are proven in the time between two checks: each proof is some reads of the target's memory. Only names that are new are proven
/// at all, as those that live for a second are found to be right by a check.
const MAX_PROOFS: u32 = 4096;

/// Characters of a task's name that are held where there is no room for long ones.
const SHORT_NAME: usize = 60;

/// Nurseries of all tasks that a snapshot holds: tasks may share a list of them.
const MAX_NURSERIES: usize = 1 << 18;

/// How often it is looked for what tasks of trio with one chain are parked in: some are in nothing.
const MAX_SEARCHES: u32 = 16;

/// How long a process may take to end once its memory is gone.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Types of tasks that are remembered: what is no type changes with the garbage that it is read from.
const MAX_TASK_TYPES: usize = 4096;

/// What to do where `/proc` hides processes.
pub const SHOW_ALL: &str = "run awaitwhat with sudo, with CAP_SYS_PTRACE besides, or as a member of the group that /proc was mounted for (`gid=`)";

/// Why a target cannot be looked at, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// Of a program that was just started.
    #[error("it ended, or the trace was stopped, before there was a Python interpreter in it")]
    TooEarly,
    #[error("it has ended")]
    Ended,
    #[error("it has just replaced itself by another program: try again")]
    Replaced,
    #[error("there is no such process")]
    NoSuchProcess,
    #[error("this is the id of a thread; give the id of its process (`ps -T` shows both)")]
    Thread,
    #[error("it has no memory of its own: it is a kernel thread, or has ended already")]
    NoMemory,
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(
        "/proc does not belong to the PID namespace that awaitwhat runs in, so that its numbers mean other processes\n\
         mount one that does, as container runtimes do (`unshare --mount-proc`, or `mount -t proc proc /proc`)"
    )]
    ForeignProc,
    #[error(
        "there is no /proc here, which tells what processes there are: mount it (`mount -t proc proc /proc`)"
    )]
    NoProc,
    #[error(
        "/proc does not show its threads ({0}): it hides them from all but a few (`hidepid` in /proc/mounts)\n\
         {SHOW_ALL}"
    )]
    Hidden(io::Error),
    #[error(
        "/proc hides the processes of others (`hidepid` in /proc/mounts), and there is none to look at among those that it shows\n\
         {SHOW_ALL}"
    )]
    AllHidden,
    #[error("the end of the process cannot be waited for: {0}")]
    Watch(io::Error),
}

impl AttachError {
    /// Whether the next look may succeed: what was read may have been changing.
    pub(super) const fn is_momentary(&self) -> bool {
        match self {
            Self::Find(error) => error.is_momentary(),
            Self::Scheduler(error) => error.is_momentary(),
            _ => false,
        }
    }

    /// Whether its memory went away while it was read: it has become another program, or is about to end.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Find(FindError::Read(ReadError::Fault(Fault::Gone)))
                | Self::Scheduler(SchedulerError::Read(ReadError::Fault(Fault::Gone)))
        )
    }

    /// Whether the process was only just started and may become readable.
    pub(super) fn is_too_early(&self) -> bool {
        match self {
            Self::Find(
                FindError::NotInitialised | FindError::Unnamed { .. } | FindError::NotPython { .. },
            ) => true,
            // What a program looks like while it replaces itself by another.
            Self::NoMemory => true,
            _ => self.is_momentary() || self.is_gone(),
        }
    }
}

/// How a target is looked at.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) reading: Options,
    /// How long one look at a thread that rests may take, without limit where it is 0; a trace has one, a snapshot has none.
    pub(super) iterator_budget: Duration,
    /// Only tasks of loops that run count: a child has copies of its parent's tasks, which nothing will ever run.
    pub(super) is_only_running: bool,
}

impl Manner {
    /// A snapshot walks one loop after the other, and says itself when: however many there are, the kernel knows of one thread's.
    const fn is_snapshot(&self) -> bool {
        self.iterator_budget.is_zero()
    }
}

/// Looks at one target.
pub(super) struct Observer {
    pub(super) pid: u32,
    manner: Manner,
    pub(super) process: Process,
    pub(super) memory: LiveMemory,
    pub(super) interpreter: Interpreter,
    pub(super) loops: EventLoops,
    pub(super) names: Names,
    pub(super) losses: Losses,
}

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
enum TaskType {
    /// Of tasks that the walker reads.
    Known,
    /// Of tasks that it reads from the next pass on.
    Learnt,
    /// Of tasks that it cannot read.
    Opaque,
    /// Of no type at all.
    Nothing,
}

/// A record, with its chain where it is one of a task.
pub(super) enum Seen<'a> {
    Task(TaskRecord<'a>, ChainId),
    /// A task that cannot be read.
    Opaque(TaskRecord<'a>),
    /// A task that could not be read this time.
    Unread(TaskRecord<'a>),
    /// What ran could not be told. Its task is read for itself besides, in the same pass.
    LostTick,
    Slice(SliceRecord),
}

/// What there is to look at in a process.
struct Found {
    memory: LiveMemory,
    interpreter: Interpreter,
    loops: EventLoops,
}

impl Found {
    /// Finds the interpreter of a process, and its event loops.
    fn find(capture: &mut Capture, process: &Process) -> Result<Self, AttachError> {
        let memory = capture.memory(process.pid())?;
        if memory.mappings().is_empty() {
            return Err(AttachError::NoMemory);
        }
        match Self::read(&memory, process) {
            Ok((interpreter, loops)) => Ok(Self {
                memory,
                interpreter,
                loops,
            }),
            // What went away in the middle of a search is missed there, and does not fit together.
            Err(_) if memory.is_gone() => Err(FindError::from(Fault::Gone).into()),
            Err(error) => Err(error),
        }
    }

    fn read(memory: &LiveMemory, process: &Process) -> Result<(Interpreter, EventLoops), AttachError> {
        let mut interpreter = find_interpreter(memory, memory.mappings())?;
        interpreter.process_id = process.own_id();
        let pid = process.pid();
        let loops = interpreter.event_loops(memory, &|| own_thread_ids(pid));
        if loops.is_err() {
            // Where nobody tells what the threads are called, nothing fits.
            process.thread_ids()?;
        }
        Ok((interpreter, loops?))
    }
}

impl Observer {
    /// Finds the interpreter of process `pid` and its event loops, and begins to look at them.
    pub(super) fn attach(
        capture: &mut Capture,
        pid: u32,
        manner: Manner,
        names: &Budget,
    ) -> Result<Self, AttachError> {
        let process = Process::open(pid)?;
        let mut found = Found::find(capture, &process);
        for _ in 1..MAX_PROGRAMS {
            // A child that becomes another program while it is looked at: that may be looked at, too.
            if process.has_ended() || !found.as_ref().is_err_and(AttachError::is_gone) {
                break;
            }
            found = Found::find(capture, &process);
        }
        if process.has_ended() {
            return Err(AttachError::Ended);
        }
        let names = Names::new(names.share(), Arc::clone(&manner.reading.mine));
        Self::new(capture, process, found?, manner, names)
    }

    fn new(
        capture: &mut Capture,
        process: Process,
        found: Found,
        manner: Manner,
        names: Names,
    ) -> Result<Self, AttachError> {
        let mut observer = Self {
            pid: process.pid(),
            manner,
            process,
            memory: found.memory,
            interpreter: found.interpreter,
            loops: EventLoops::default(),
            names,
            losses: Losses::default(),
        };
        observer.follow(capture, found.loops)?;
        Ok(observer)
    }

    /// Looks at the target no longer.
    pub(super) fn detach(&mut self, capture: &mut Capture) {
        for plan in std::mem::take(&mut self.loops).plans {
            capture.remove_plan(plan.loop_id());
        }
        for (number, _) in self.interpreter.layouts() {
            capture.remove_layout(self.pid, number);
        }
    }

    /// Looks for event loops that have come or gone, and walks those that are there from now on. Returns those that have
    /// gone, or go on but are walked anew (`true`).
    pub(super) fn refresh(&mut self, capture: &mut Capture) -> Result<Vec<(LoopId, bool)>, AttachError> {
        self.memory.forget();
        let loops = self
            .interpreter
            .event_loops(&self.memory, &|| own_thread_ids(self.pid))?;
        self.follow(capture, loops)
    }

    fn follow(
        &mut self,
        capture: &mut Capture,
        mut loops: EventLoops,
    ) -> Result<Vec<(LoopId, bool)>, AttachError> {
        self.complete(&mut loops)?;
        if self.names.codes.wants_places() {
            let folder = self.interpreter.standard_library(&self.memory);
            let modules = self.interpreter.modules(&self.memory);
            self.names.codes.set_places(folder, modules);
        }
        let is_kept = |plan: &ThreadPlan| loops.plans.iter().any(|it| is_same_walk(it, plan));
        let (kept, gone): (Vec<ThreadPlan>, Vec<ThreadPlan>) = std::mem::take(&mut self.loops.plans)
            .into_iter()
            .partition(is_kept);
        for plan in &gone {
            capture.remove_plan(plan.loop_id());
        }
        self.loops = loops;
        let unplanned = self.install(capture, &kept)?;
        let left_out = self.loops.left_out as u64 + unplanned;
        self.losses.incomplete = self.losses.incomplete.max(left_out);
        let goes_on = |plan: &ThreadPlan| self.loops.plans.iter().any(|it| is_same_loop(it, plan));
        Ok(gone.iter().map(|plan| (plan.loop_id(), goes_on(plan))).collect())
    }

    /// Fills in what only awaitwhat knows of plans: what threads are called here, and how far to look.
    fn complete(&self, loops: &mut EventLoops) -> Result<(), AttachError> {
        let Manner {
            reading,
            iterator_budget,
            is_only_running,
        } = &self.manner;
        let threads = self.process.thread_ids()?;
        for running in &mut loops.running {
            running.tid = threads.outer(running.tid);
        }
        for plan in &mut loops.plans {
            plan.tid = threads.outer(plan.tid);
            plan.tgid = self.pid;
            plan.address_space = self.memory.address_space();
            // What is besides a chain only a snapshot shows.
            plan.wants = if iterator_budget.is_zero() {
                wants::NAME | wants::LINKS
            } else {
                0
            };
            plan.max_frames = u32::try_from(reading.max_frames).unwrap_or(u32::MAX);
            plan.context_budget_ns = nanoseconds(reading.budget);
            plan.iterator_budget_ns = nanoseconds(*iterator_budget);
        }
        loops.plans.retain(|plan| plan.tid != 0);
        loops.running.retain(|running| running.tid != 0);
        if *is_only_running && loops.running.is_empty() {
            loops.plans.clear();
        }
        if !self.manner.is_snapshot() {
            leave_unknown_loops(loops);
        }
        Ok(())
    }

    /// Tells the eBPF side of all layouts, and of all plans of a trace. The walks of `known` plans go on; all others begin. Returns for how many
    /// loops there was no room.
    fn install(&self, capture: &mut Capture, known: &[ThreadPlan]) -> Result<u64, CaptureError> {
        for (number, layout) in self.interpreter.layouts() {
            capture.set_layout(self.pid, number, layout)?;
        }
        let mut unplanned = 0;
        if self.manner.is_snapshot() {
            return Ok(unplanned);
        }
        for plan in &self.loops.plans {
            let result = match known.iter().find(|it| is_same_walk(it, plan)) {
                Some(known) if known == plan => Ok(()),
                Some(_) => capture.update_plan(plan),
                None => capture.set_plan(plan),
            };
            match result {
                // A thread that has just ended has no tasks that wait.
                Ok(()) | Err(CaptureError::Gone) => {}
                // More event loops than there is room for.
                Err(CaptureError::Map(_)) => unplanned += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(unplanned)
    }

    /// What went wrong with the process. One that is killed looks like one that becomes another program, for a moment.
    pub(super) fn explain(&self, error: AttachError) -> AttachError {
        let may_have_ended = matches!(
            error,
            AttachError::Replaced | AttachError::Capture(CaptureError::Gone)
        ) || error.is_gone();
        if may_have_ended && self.process.ends_within(LAST_MOMENTS) {
            AttachError::Ended
        } else {
            error
        }
    }

    /// Has records named by what the target's memory holds from now on: it has gone on since the last time.
    pub(super) fn begin_drain(&mut self) {
        self.memory.forget();
        self.names.proven.clear();
    }

    /// Takes one record of this target: what it tells, if anything. What was lost on the way is counted.
    ///
    /// `is_as_seen` says whether a loop's thread has not run since its tasks were read at rest: then what is read now belongs to them.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        is_as_seen: &dyn Fn(LoopId) -> bool,
    ) -> Result<Option<Seen<'a>>, Fault> {
        match decode(bytes) {
            Ok(Record::Slice(slice)) => Ok(Some(Seen::Slice(slice))),
            Ok(Record::Task(task)) => self.take_task(task, is_as_seen),
            Err(_) => {
                self.losses.undecodable += 1;
                Ok(None)
            }
        }
    }

    fn take_task<'a>(
        &mut self,
        task: TaskRecord<'a>,
        is_as_seen: &dyn Fn(LoopId) -> bool,
    ) -> Result<Option<Seen<'a>>, Fault> {
        let losses = &mut self.losses;
        match self.names.task_type(&mut self.interpreter, &self.memory, &task)? {
            TaskType::Known => {}
            TaskType::Learnt => return Ok(None),
            TaskType::Opaque => return Ok(Some(Seen::Opaque(task))),
            TaskType::Nothing => {
                losses.faults += 1;
                return Ok(None);
            }
        }
        if self.loops.is_of_another(task.origin.event_loop, task.event_loop) {
            // Another walk has it.
            return Ok(None);
        }
        match task.status {
            TaskStatus::Opaque => {
                // Of a subclass of the ordinary tasks, it is just not one of those to be shown.
                let is_one = self.interpreter.is_learnt(task.layout, task.task_type);
                return Ok(is_one.then_some(Seen::Opaque(task)));
            }
            _ if task.address.is_null() => {
                // What ran is no visit of a task. Without a frame it was too deep for the budget.
                let is_told = match task.status {
                    TaskStatus::Torn | TaskStatus::Fault | TaskStatus::Refused => false,
                    _ => !task.frame_bytes().is_empty(),
                };
                return if is_told {
                    self.name(task, is_as_seen)
                } else {
                    Ok(Some(Seen::LostTick))
                };
            }
            TaskStatus::Torn => {
                losses.torn += 1;
                return Ok(Some(Seen::Unread(task)));
            }
            TaskStatus::Fault => {
                losses.faults += 1;
                return Ok(Some(Seen::Unread(task)));
            }
            TaskStatus::Refused => {
                losses.refused += 1;
                return Ok(Some(Seen::Unread(task)));
            }
            TaskStatus::Truncated => losses.truncated += 1,
            TaskStatus::Complete => losses.truncated += u64::from(task.left_out > 0),
        }
        self.name(task, is_as_seen)
    }

    /// Names the chain of a task that was read.
    fn name<'a>(
        &mut self,
        task: TaskRecord<'a>,
        is_as_seen: &dyn Fn(LoopId) -> bool,
    ) -> Result<Option<Seen<'a>>, Fault> {
        let Self {
            memory,
            interpreter,
            names,
            losses,
            ..
        } = self;
        if names.learns_end(interpreter, memory, &task)? {
            return Ok(None);
        }
        let event_loop = task.origin.event_loop;
        let is_as_seen = || !task.origin.in_context && is_as_seen(event_loop);
        let is_ready = names.is_ready(interpreter, memory, &task)?;
        let objects = interpreter.objects(memory);
        let chain = names.chain_of(&objects, &task, is_ready, losses, &is_as_seen)?;
        if let Some(types) = interpreter.trio_types(task.layout) {
            names.find_parked(interpreter, memory, types, &task, chain)?;
        }
        let is_told = !task.address.is_null() || names.runs_a_task(interpreter, &task, chain);
        Ok(is_told.then_some(Seen::Task(task, chain)))
    }

    /// Tells the walker about types of tasks that were learnt since the last time, and has it begin anew. False where there were none.
    pub(super) fn apply_lessons(&mut self, capture: &mut Capture) -> Result<bool, CaptureError> {
        if !std::mem::take(&mut self.names.has_learnt) {
            return Ok(false);
        }
        self.names.task_types.clear();
        self.names.ends.clear();
        self.install(capture, &[])?;
        Ok(true)
    }

    /// Reads the code objects again whose names were used since the last time. Returns those that are others now.
    pub(super) fn revalidate(&mut self) -> Result<Vec<Address>, Fault> {
        self.memory.forget();
        let objects = self.interpreter.objects(&self.memory);
        let Names { chains, codes, .. } = &mut self.names;
        // A chain that is known already is not named anew.
        chains
            .take_used_codes()
            .into_iter()
            .for_each(|code| codes.touch(code));
        let changed = codes.revalidate(&objects)?;
        self.losses.stale += self.names.codes.take_unreadable();
        self.names.ends.clear();
        self.names.task_types.clear();
        // A class may have gone, and another one have come to its place.
        self.names.kinds.forget();
        Ok(changed)
    }

    /// Takes it that the chains with these code objects can no longer be told.
    pub(super) fn retire(&mut self, changed: &[Address]) {
        self.losses.stale += self.names.chains.retire(changed);
        self.names.chains.settle();
        self.names.proofs = 0;
    }

    /// Loops that are gone complete no futures: another loop may get the address of one, and other futures theirs.
    pub(super) fn forget_gone_futures(&mut self) {
        let running = &self.loops.running;
        self.names
            .keep_due(|event_loop| running.iter().any(|it| it.address == event_loop));
    }

    /// Has the walk of one loop begin anew, so that its tasks are sent though its thread has not run.
    pub(super) fn walk_anew(&self, capture: &mut Capture, event_loop: LoopId) -> Result<(), AttachError> {
        for plan in self
            .loops
            .plans
            .iter()
            .filter(|plan| plan.loop_id() == event_loop)
        {
            match capture.set_plan(plan) {
                Ok(()) | Err(CaptureError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether arguments are to be told.
    pub(super) const fn tells_arguments(&self) -> bool {
        self.manner.reading.arguments
    }

    /// Whether the target is a child, in which only loops count that it runs itself.
    pub(super) fn is_child(&self) -> bool {
        self.manner.is_only_running
    }

    /// The thread that runs `event_loop`.
    pub(super) fn thread_of(&self, event_loop: Address) -> Option<u32> {
        self.loops
            .running
            .iter()
            .find(|running| running.address == event_loop)
            .map(|running| running.tid)
    }
}

/// Whether two plans are of the same walk, which may go on when the one replaces the other: the thread may have got another loop since.
fn is_same_walk(one: &ThreadPlan, other: &ThreadPlan) -> bool {
    let loops_of_thread = other.loops_of_thread;
    let one = ThreadPlan {
        loops_of_thread,
        ..*one
    };
    one == *other
}

/// Whether two plans are of the same loop.
fn is_same_loop(one: &ThreadPlan, other: &ThreadPlan) -> bool {
    let loop_of = |it: &ThreadPlan| (it.loop_id(), it.layout, it.thread_state, it.event_loop);
    loop_of(one) == loop_of(other)
}

/// Lets each walk take the tasks of its own loop only. While a target is traced loops may begin unseen, and their tasks would
/// pass for those of loops that run nowhere, without a thread whose rest could prove them.
fn leave_unknown_loops(loops: &mut EventLoops) {
    for running in &loops.running {
        let is_its = |plan: &&mut ThreadPlan| plan.loop_id() == running.id();
        for plan in loops.plans.iter_mut().filter(is_its) {
            plan.event_loop = running.address.0;
            plan.foreign_loops = Default::default();
        }
    }
}

impl Names {
    /// `mine` are the files that hold the application's code, where the user says so.
    fn new(share: Share, mine: Arc<[Pattern]>) -> Self {
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
    fn task_type(
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
        let found = match learn(interpreter, memory, task) {
            Ok(found) => found,
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault),
            Err(_) => TaskType::Nothing,
        };
        self.has_learnt |= found == TaskType::Learnt;
        if self.task_types.len() >= MAX_TASK_TYPES {
            self.task_types.clear();
        }
        self.task_types.insert(key, found);
        Ok(found)
    }

    /// Whether what ran in a thread is a task of the loop in question. trio's loop uses generators itself, while no task runs; its tasks
    /// are coroutines. As a guest it runs within callbacks of asyncio, which are no tasks.
    fn runs_a_task(&self, interpreter: &Interpreter, tick: &TaskRecord<'_>, chain: ChainId) -> bool {
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
    fn find_parked(
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
        let found = match frames.trio_parked_in(types, task.coroutine, &chain.stack, &chain.frames) {
            Ok(found) => found,
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault),
            Err(_) => None,
        };
        let name = found.map(|found| self.codes.intern(&found.type_name));
        self.chains.note_parked(id, name);
        Ok(())
    }

    /// Whether something was learnt about what a chain ends with, so that it goes on there from the next pass on.
    fn learns_end(
        &mut self,
        interpreter: &mut Interpreter,
        memory: &LiveMemory,
        task: &TaskRecord<'_>,
    ) -> Result<bool, Fault> {
        let key = (task.layout, task.terminal_type);
        if task.terminal_type.is_null() || self.ends.contains(&key) {
            return Ok(false);
        }
        match interpreter.learn_awaitable(memory, task.layout, task.terminal, task.terminal_type) {
            Ok(true) => {
                self.has_learnt = true;
                return Ok(true);
            }
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault),
            Ok(false) | Err(_) => {}
        }
        if self.ends.len() >= MAX_TASK_TYPES {
            self.ends.clear();
        }
        self.ends.insert(key);
        Ok(false)
    }

    /// Whether a task that does not run could go on, and waits for its loop only.
    fn is_ready(
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
        match self.kinds.is_ready(objects, types, &Suspension::of(task)) {
            Ok(is_ready) => Ok(is_ready),
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => Err(fault),
            Err(_) => Ok(false),
        }
    }

    /// Whether what the task awaits is only not done as its loop does not turn.
    fn keep_due(&mut self, is_running: impl Fn(Address) -> bool) {
        self.due.retain(|&event_loop, _| is_running(event_loop));
    }

    fn is_due(&self, task: &TaskRecord<'_>) -> bool {
        let due = self.due.get(&task.event_loop);
        due.is_some_and(|due| due.contains(&task.fut_waiter))
    }

    /// The chain of a record, named when it is seen for the first time. Where there is no room for another one, it is taken for one of the
    /// others, which is counted. It is [proven](ChainId::proven) where its names were read while things were still as in the record.
    fn chain_of(
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
            let terminal: Option<Arc<str>> = match objects.checked_type_name(task.terminal_type) {
                _ if task.terminal_type.is_null() => None,
                Ok(name) => Some(codes.intern(&name)),
                Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault),
                Err(_) => None,
            };
            Ok((stack.into(), terminal))
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
