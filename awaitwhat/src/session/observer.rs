//! One target: its process, its interpreter and event loops, and what is remembered of them. The eBPF side is shared by all targets.

use std::sync::Arc;
use std::time::Duration;

use awaitwhat_common::plan::{LoopId, ThreadPlan, wants};
use awaitwhat_common::status::TaskStatus;

use super::Options;
use super::attach_error::AttachError;
use super::names::{Names, TaskType};
use super::nanoseconds;
use super::process::{Process, own_thread_ids};
use crate::budget::Budget;
use crate::capture::{Capture, CaptureError, LiveMemory};
use crate::chains::ChainId;
use crate::decode::{Record, SliceRecord, TaskRecord, decode};
use crate::memory::{Address, Fault};
use crate::snapshot::Losses;
use crate::target::{EventLoops, FindError, Interpreter, find_interpreter};

/// Programs that a process becomes one after the other while it is looked at, before that is given up.
const MAX_PROGRAMS: u32 = 4;
/// How long a process may take to end once its memory is gone.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

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

    /// Says in a plan what to look at, and how far.
    fn fill_in(&self, plan: &mut ThreadPlan) {
        // What is besides a chain only a snapshot shows.
        plan.wants = if self.is_snapshot() {
            wants::NAME | wants::LINKS
        } else {
            0
        };
        plan.counts_time = u32::from(!self.is_snapshot());
        plan.max_frames = u32::try_from(self.reading.max_frames).unwrap_or(u32::MAX);
        plan.context_budget_ns = nanoseconds(self.reading.budget);
        plan.iterator_budget_ns = nanoseconds(self.iterator_budget);
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
pub(super) struct Found {
    pub(super) memory: LiveMemory,
    pub(super) interpreter: Interpreter,
    pub(super) loops: EventLoops,
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

    /// Looks at what is left of a process that is dead.
    pub(super) fn of_dead(command: String, found: Found, manner: Manner, names: &Budget) -> Self {
        let names = Names::new(names.share(), Arc::clone(&manner.reading.mine));
        let (mut observer, loops) = Self::begin(Process::dead(command), found, manner, names);
        observer.set_places();
        observer.losses.incomplete = loops.left_out as u64;
        observer.loops = loops;
        for plan in &mut observer.loops.plans {
            observer.manner.fill_in(plan);
        }
        observer
    }

    fn new(
        capture: &mut Capture,
        process: Process,
        found: Found,
        manner: Manner,
        names: Names,
    ) -> Result<Self, AttachError> {
        let (mut observer, loops) = Self::begin(process, found, manner, names);
        observer.follow(capture, loops)?;
        Ok(observer)
    }

    /// One that does not look at the event loops yet that were found.
    fn begin(process: Process, found: Found, manner: Manner, names: Names) -> (Self, EventLoops) {
        let observer = Self {
            pid: process.pid(),
            manner,
            process,
            memory: found.memory,
            interpreter: found.interpreter,
            loops: EventLoops::default(),
            names,
            losses: Losses::default(),
        };
        (observer, found.loops)
    }

    /// Looks at the target no longer.
    pub(super) fn detach(&mut self, capture: &mut Capture) {
        for plan in std::mem::take(&mut self.loops).plans {
            capture.remove_plan(plan.loop_id());
        }
        self.rest(capture);
    }

    /// Looks at the target no longer until [`Observer::begin_snapshot`]: others may need the room that its layouts take in the kernel.
    pub(super) fn rest(&self, capture: &mut Capture) {
        for (number, _) in self.interpreter.layouts() {
            capture.remove_layout(self.pid, number);
        }
    }

    /// Begins another snapshot of a target that is known: nothing of the one before is told in it.
    pub(super) fn begin_snapshot(&mut self, capture: &mut Capture) -> Result<(), AttachError> {
        self.losses = Losses::default();
        self.names.begin_snapshot();
        self.process.read_command();
        self.refresh(capture).map(|_| ())
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
        self.set_places();
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

    /// Says where the standard library and packages are, unless that is known.
    fn set_places(&mut self) {
        if self.names.codes.wants_places() {
            let folder = self.interpreter.standard_library(&self.memory);
            let modules = self.interpreter.modules(&self.memory);
            self.names.codes.set_places(folder, modules);
        }
    }

    /// Fills in what only awaitwhat knows of plans: what threads are called here, and how far to look.
    fn complete(&self, loops: &mut EventLoops) -> Result<(), AttachError> {
        let threads = self.process.thread_ids()?;
        for running in &mut loops.running {
            running.tid = threads.outer(running.tid);
        }
        for plan in &mut loops.plans {
            plan.tid = threads.outer(plan.tid);
            plan.tgid = self.pid;
            plan.address_space = self.memory.address_space();
            self.manner.fill_in(plan);
        }
        loops.plans.retain(|plan| plan.tid != 0);
        loops.running.retain(|running| running.tid != 0);
        if self.manner.is_only_running && loops.running.is_empty() {
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
        self.names.forget_proofs();
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

    /// Whether types of tasks were learnt since the last time, so that a walk finds more.
    pub(super) fn has_learnt(&mut self) -> bool {
        self.names.take_lessons()
    }

    /// Tells the walker about types of tasks that were learnt since the last time, and has it begin anew. False where there were none.
    pub(super) fn apply_lessons(&mut self, capture: &mut Capture) -> Result<bool, CaptureError> {
        if !self.names.take_lessons() {
            return Ok(false);
        }
        self.install(capture, &[])?;
        Ok(true)
    }

    /// Reads the code objects again whose names were used since the last time. Returns those that are others now.
    pub(super) fn revalidate(&mut self) -> Result<Vec<Address>, Fault> {
        self.memory.forget();
        self.check_names()
    }

    /// The same, by what is remembered of the target's memory as far as it is.
    pub(super) fn check_names(&mut self) -> Result<Vec<Address>, Fault> {
        let objects = self.interpreter.objects(&self.memory);
        self.names.revalidate(&objects, &mut self.losses)
    }

    /// Takes it that the chains with these code objects can no longer be told.
    pub(super) fn retire(&mut self, changed: &[Address]) {
        self.losses.stale += self.names.retire(changed);
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

    /// From when on a wait is slow.
    pub(super) const fn slow(&self) -> Duration {
        self.manner.reading.slow
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
