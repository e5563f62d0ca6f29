//! One target under trace: when to look at what. What is seen goes into its room.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use awaitwhat_common::event::TaskState;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::TraceOptions;
use super::answers::Answers;
use super::attach_error::AttachError;
use super::completed::Completed;
use super::long_turns::LongTurns;
use super::observer::{Observer, Seen};
use super::passes::{Passes, cpu_seconds};
use super::rests::Rests;
use super::room::Room;
use crate::budget::Budget;
use crate::capture::{Capture, CaptureError};
use crate::chains::{Chain, ChainId, Parked};
use crate::condition::ConditionKind;
use crate::decode::{Origin, SliceRecord, waits_for_cpu};
use crate::memory::Fault;
use crate::origin;
use crate::profile::{ChainState, Changes, End as Ending, Look, Observation, Process, Profile, Sums, TaskId};
use crate::recording::{Recorder, Tape};
use crate::snapshot::{Losses, Stack};

/// How often loops that come and go are looked for, and names are checked.
const REFRESH: Duration = Duration::from_secs(1);
/// How often loops are looked for while there is none, and while they come and go.
const REFRESH_IDLE: Duration = Duration::from_millis(50);
/// How long after a loop came or went more of that is expected.
const RESTLESS: Duration = Duration::from_secs(5);
/// Refreshes that may fail in a row.
const MAX_FAILURES: u32 = 10;

/// Bytes of names below which it is not worth looking for those that nobody needs any more.
const LITTLE: usize = 2 << 20;

/// What a task awaits whose coroutine has not begun.
const NOT_STARTED: &str = "its first turn";

/// Why the trace of a target ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Time,
    Exit,
}

/// A target that is being traced.
pub(super) struct Traced {
    observer: Observer,
    room: Room,
    /// The losses that the room was told of.
    told: Losses,
    /// Bytes that names took when those were last let go that nobody needs.
    kept_bytes: usize,
    started_at: jiff::Timestamp,
    refreshed: Instant,
    /// When names were last checked.
    checked: Instant,
    /// When a loop was last found to have come or gone.
    changed: Option<Instant>,
    /// Records lost so far by each walk: its loop, and whether it is the sampler's.
    lost: HashMap<(LoopId, bool), u64>,
    /// Loops whose last look began a pass, or went on with one, that is not complete.
    unfinished: HashSet<LoopId>,
    /// Loops of which this look has told that their threads wait for a CPU.
    waiting: HashSet<LoopId>,
    passes: Passes,
    rests: Rests,
    answers: Answers,
    completed: Completed,
    long_turns: LongTurns,
    /// No thread with an event loop has run between the last two ticks.
    is_still: bool,
    /// The process is another program now.
    is_replaced: bool,
    /// Refreshes that failed in a row.
    failures: u32,
    /// The loops that were found belong to the target. In a child that has just been forked its parent's pass for running, until the child's
    /// own hooks have run (`asyncio.events`, 3.12 and later): a second look tells.
    is_proven: bool,
}

impl Traced {
    /// Begins to sample the target, and has it recorded on what `record` gives.
    pub(super) fn begin(
        observer: Observer,
        capture: &mut Capture,
        options: &TraceOptions,
        (sums, changes): (&Budget, Option<&Budget>),
        record: impl FnOnce(&Process, jiff::Timestamp) -> Vec<Tape>,
    ) -> Result<Self, AttachError> {
        let now = Instant::now();
        let seed = u64::from(observer.pid) << 32 | u64::from(now_in_nanoseconds());
        let mut traced = Self {
            rests: Rests::new(observer.pid),
            passes: Passes::new(Duration::from_secs(1) / options.rate_hz, seed),
            answers: Answers::new(seed),
            is_still: false,
            long_turns: LongTurns::new(observer.pid),
            observer,
            room: Room::new(Sums::new(sums), changes.map(Changes::new)),
            told: Losses::default(),
            kept_bytes: 0,
            started_at: jiff::Timestamp::now(),
            refreshed: now,
            checked: now,
            changed: None,
            lost: HashMap::new(),
            unfinished: HashSet::new(),
            waiting: HashSet::new(),
            completed: Completed::default(),
            is_replaced: false,
            failures: 0,
            is_proven: false,
        };
        traced.is_proven = !traced.observer.is_child();
        traced.start_sampling(capture, options)?;
        // Finding the interpreter took hundreds of pages, which hundreds of targets should not hold at once.
        traced.observer.memory.forget();
        // What it takes to start is no part of the period.
        traced.started_at = jiff::Timestamp::now();
        let tapes = record(&process_of(&traced.observer), traced.started_at);
        traced.room.start(tapes);
        traced.long_turns.start();
        Ok(traced)
    }

    /// Whether the process has ended. One whose threads have not run has not.
    pub(super) fn has_ended(&self) -> bool {
        !self.is_still && self.observer.process.has_ended()
    }

    /// Whether a pass over some loop's tasks has begun and is not complete.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Samples so far, and tasks of the last complete pass.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.room.sums.samples(), self.room.sums.tasks() as u64)
    }

    /// The next look is the last one.
    pub(super) fn begin_end(&mut self) {
        self.passes.make_all();
    }

    /// Has every loop be walked whose thread rests, and has run since it was walked last.
    pub(super) fn walk_all(&mut self, capture: &mut Capture) -> Result<(), AttachError> {
        self.tell_losses();
        let at_ms = self.room.now() / 1_000_000;
        self.room.take(Observation::Tick { at_ms });
        self.waiting.clear();
        self.answers.begin_look(&self.room);
        self.is_still = !self.observer.loops.plans.is_empty();
        for plan in &self.observer.loops.plans {
            if let Some(unchanged) = self.rests.instead_of_look(plan.loop_id()) {
                tell_wait(&self.rests, &mut self.room, plan.loop_id());
                self.room.take(slice_of(&unchanged));
                self.long_turns.note_run(plan.loop_id(), false);
                continue;
            }
            self.long_turns.note_run(plan.loop_id(), true);
            self.is_still = false;
            let event_loop = plan.loop_id();
            let begins_pass = self.rests.has_run(event_loop) && !self.unfinished.contains(&event_loop);
            if begins_pass && !self.passes.is_made(event_loop) {
                continue;
            }
            walk(capture, &mut self.passes, event_loop)?;
        }
        Ok(())
    }

    /// Has those loops be walked on whose passes are not complete.
    pub(super) fn walk_unfinished(&mut self, capture: &mut Capture) -> Result<(), AttachError> {
        self.unfinished.iter().try_for_each(|event_loop| {
            self.rests.go_on(*event_loop);
            walk(capture, &mut self.passes, *event_loop)
        })
    }

    /// See [`Observer::begin_drain`].
    pub(super) fn begin_drain(&mut self) {
        self.observer.begin_drain();
    }

    /// Takes one record of this target.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), AttachError> {
        self.take_wait(bytes);
        let rests = &self.rests;
        let is_as_seen = |event_loop| rests.is_as_looked_at(event_loop);
        let seen = match self.observer.take(bytes, &is_as_seen) {
            Ok(seen) => seen,
            // The process watcher tells that it has ended.
            Err(Fault::Gone) => None,
            Err(fault) => return Err(AttachError::Find(fault.into())),
        };
        match seen {
            None => {}
            Some(Seen::Task(record, chain)) => {
                self.tell_news();
                self.room.take(Observation::of_task(&record, chain));
                if !record.address.is_null() {
                    let is_ready = self.observer.names.chains.get(chain).is_ready;
                    self.long_turns.visit(&record.origin, is_ready);
                    self.answers
                        .visit(&record, chain, is_ready, self.room.sums.asked());
                }
            }
            Some(Seen::Unread(record)) => self.room.take(Observation::Unread {
                origin: record.origin,
                task: TaskId::of(&record),
            }),
            Some(Seen::Opaque(_)) => self.observer.losses.opaque += 1,
            Some(Seen::LostTick) => self.observer.losses.running += 1,
            Some(Seen::Slice(slice)) => self.take_slice(&slice),
        }
        Ok(())
    }

    /// Tells that the thread waits for a CPU that a record is about, before what was found meanwhile.
    fn take_wait(&mut self, bytes: &[u8]) {
        if let Some(event_loop) = waits_for_cpu(bytes)
            && self.waiting.insert(event_loop)
        {
            self.rests.note_wait(event_loop);
            tell_wait(&self.rests, &mut self.room, event_loop);
        }
    }

    fn take_slice(&mut self, slice: &SliceRecord) {
        let Origin {
            event_loop,
            in_context,
            ..
        } = slice.origin;
        let losses = &mut self.observer.losses;
        losses.restarts += u64::from(slice.status == SliceStatus::RegistryTorn);
        self.is_replaced |= slice.status == SliceStatus::Replaced;
        let so_far = self.lost.entry((event_loop, in_context)).or_default();
        losses.ring_buffer_full += slice.lost.saturating_sub(*so_far);
        *so_far = slice.lost;
        match slice.status {
            _ if in_context => {}
            SliceStatus::Budget | SliceStatus::Disturbed | SliceStatus::RegistryTorn => {
                self.unfinished.insert(event_loop);
            }
            SliceStatus::PassComplete | SliceStatus::Unchanged | SliceStatus::Replaced => {
                self.unfinished.remove(&event_loop);
            }
            SliceStatus::Running => {}
        }
        if !in_context {
            self.passes.note(slice);
        }
        self.completed.note(slice);
        self.long_turns.slice(slice);
        self.answers.slice(slice, &mut self.room);
        self.rests.note(slice);
        self.room.take(slice_of(slice));
    }

    /// Asks some of the tasks that were met since the look began what they wait for.
    pub(super) fn ask(&mut self) -> Result<(), AttachError> {
        let rests = &self.rests;
        match self.answers.ask(&self.observer, &mut self.room, |event_loop| {
            rests.is_as_looked_at(event_loop)
        }) {
            // The process watcher tells that it has ended.
            Ok(()) | Err(Fault::Gone) => Ok(()),
            Err(fault) => Err(AttachError::Find(fault.into())),
        }
    }

    /// Finds loops that have come or gone, and checks names, when it is time to.
    pub(super) fn keep_up(
        &mut self,
        capture: &mut Capture,
        options: &TraceOptions,
    ) -> Result<End, AttachError> {
        if self.is_replaced {
            return Ok(End::Exit);
        }
        if self.observer.apply_lessons(capture)? {
            self.rests.forget_all();
        }
        self.look_at_turns(capture)?;
        if self.refreshed.elapsed() < self.pause() {
            return Ok(End::Time);
        }
        self.refreshed = Instant::now();
        let end = self.refresh(capture, options)?;
        if self.failures == 0 && self.checked.elapsed() >= REFRESH {
            self.checked = self.refreshed;
            self.check_names()?;
            if self.has_grown() {
                self.let_go();
            }
        }
        Ok(end)
    }

    /// Sees which loops do not turn. Where one rests in a turn, and timers have become due since its tasks were read, these are read anew.
    fn look_at_turns(&mut self, capture: &mut Capture) -> Result<(), AttachError> {
        let outdated = match self.long_turns.look(&mut self.observer) {
            Ok(outdated) => outdated,
            Err(Fault::Gone) => return Ok(()),
            Err(fault) => return Err(AttachError::Find(fault.into())),
        };
        for hold in self.long_turns.take_holds() {
            self.room.take(Observation::Held(hold));
        }
        for event_loop in outdated {
            self.observer.walk_anew(capture, event_loop)?;
            self.rests.forget(event_loop);
        }
        Ok(())
    }

    /// Whether names take twice of what they took when they were last let go, so that letting go takes no more time than learning did.
    fn has_grown(&self) -> bool {
        self.observer.names.is_full() || self.observer.names.bytes() > LITTLE.max(2 * self.kept_bytes)
    }

    /// Forgets the names of chains that are in use no more. What they were credited with is confirmed.
    fn let_go(&mut self) {
        // A chain that was seen and belongs to nobody is told of as well, so that chains are known by their places.
        self.tell_news();
        let needed = self.room.sums.chains_in_use();
        let gone = self.observer.names.let_go(|id| needed.contains(&id));
        let chains: Vec<ChainId> = gone.into_iter().map(|(id, _)| id).collect();
        self.answers.forget_chains(&chains);
        let at = self.room.now();
        self.room.take(Observation::LetGo { at, chains });
        self.kept_bytes = self.observer.names.bytes();
    }

    /// What makes a condition true, in words; `None` where it does not hold, as far as that was seen.
    pub(super) fn what_holds(&self, condition: &ConditionKind) -> Option<String> {
        // Until then its loops may be its parent's.
        if !self.is_proven {
            return None;
        }
        let what = match condition {
            ConditionKind::Tasks { more_than } => {
                let tasks = self.room.sums.tasks();
                (tasks > *more_than).then(|| format!("it has {tasks} tasks"))
            }
            ConditionKind::Blocked { longer_than } => self.long_turns.longest(*longer_than),
            ConditionKind::Waiting { place, longer_than } => {
                let found = self.room.sums.longest_wait(*longer_than, place);
                found.map(|it| it.to_string())
            }
        };
        let (pid, command) = (self.observer.pid, self.observer.process.command());
        what.map(|what| format!("process {pid} ({command}): {what}"))
    }

    /// Where all goes that is seen.
    pub(super) fn room_mut(&mut self) -> &mut Room {
        &mut self.room
    }

    /// Tells what chains look like that are new, before they are referred to.
    fn tell_news(&mut self) {
        for chain in self.observer.names.chains.take_news() {
            if let Some(found) = self.observer.names.chains.find(chain) {
                let look = look_of(found);
                self.room.take(Observation::Chain { chain, look });
            }
        }
    }

    fn tell_losses(&mut self) {
        if self.told != self.observer.losses {
            self.told = self.observer.losses.clone();
            self.room.take(Observation::Lost(self.told.clone()));
        }
    }

    /// Tells a recording that its file ends here.
    pub(super) fn end_tape(&mut self, recorder: &Recorder) -> Result<(), AttachError> {
        self.check_names()?;
        self.tell_losses();
        let end = Ending {
            at: self.room.now(),
            has_exited: false,
            retired: self.observer.names.chains.retired().to_vec(),
        };
        self.room.end_tape(recorder, &end);
        Ok(())
    }

    /// Goes on in another file, which knows nothing of this target: all chains are told, and all tasks are visited anew.
    pub(super) fn begin_tape(
        &mut self,
        capture: &mut Capture,
        record: impl FnOnce(&Process) -> Tape,
    ) -> Result<(), AttachError> {
        self.tell_news();
        let since = self.room.now() / 1_000_000 * 1_000_000;
        let tape = record(&process_of(&self.observer)).going_on(since, self.told.clone());
        let mut gone = Vec::new();
        for (chain, found) in self.observer.names.chains.places() {
            let look = match found {
                Some(found) => look_of(found),
                None => {
                    gone.push(chain);
                    Look::of_nothing()
                }
            };
            tape.write(&Observation::Chain { chain, look });
        }
        tape.write(&Observation::LetGo {
            at: since,
            chains: gone,
        });
        self.room.go_on_with(tape);
        let plans = self.observer.loops.plans.iter();
        let loops: Vec<LoopId> = plans.map(|plan| plan.loop_id()).collect();
        for event_loop in loops {
            self.observer.walk_anew(capture, event_loop)?;
            self.rests.forget(event_loop);
            self.passes.forget(event_loop);
        }
        Ok(())
    }

    /// Until loops are looked for again: not long where there is none, or they come and go.
    fn pause(&self) -> Duration {
        let is_restless = self.changed.is_some_and(|changed| changed.elapsed() < RESTLESS);
        if self.observer.loops.plans.is_empty() || self.failures > 0 || is_restless || !self.is_proven {
            REFRESH_IDLE
        } else {
            REFRESH
        }
    }

    /// Finds loops that have come or gone. What is read of a target that works can be inconsistent once, but not again and
    /// again: then the process has replaced itself by another program.
    fn refresh(&mut self, capture: &mut Capture, options: &TraceOptions) -> Result<End, AttachError> {
        let before = self.observer.loops.plans.clone();
        match self.observer.refresh(capture) {
            Ok(gone) => gone.into_iter().for_each(|(gone, goes_on)| {
                let at = self.room.now();
                self.room.take(Observation::Ended {
                    event_loop: gone,
                    at,
                    goes_on,
                });
                if !goes_on {
                    self.observer.losses.incomplete += self.completed.end(gone);
                }
                // What begins anew has lost nothing yet, and is unfinished once it is looked at.
                self.lost.retain(|(event_loop, _), _| *event_loop != gone);
                self.unfinished.remove(&gone);
                self.rests.forget(gone);
                self.answers.forget(gone);
                self.passes.forget(gone);
            }),
            Err(
                AttachError::Capture(CaptureError::Gone) | AttachError::Scheduler(_) | AttachError::Ended,
            ) => {
                self.failures += 1;
                let is_over = self.failures >= MAX_FAILURES || self.observer.process.has_ended();
                return Ok(if is_over { End::Exit } else { End::Time });
            }
            Err(error) => return Err(error),
        }
        self.failures = 0;
        let is_proven = std::mem::replace(&mut self.is_proven, true);
        if !is_proven && self.observer.loops.plans.is_empty() {
            self.room.take(Observation::Disowned);
        }
        if self.observer.loops.plans != before {
            self.changed = Some(Instant::now());
            self.long_turns.forget_gone(&self.observer.loops.running);
            self.observer.forget_gone_futures();
        }
        self.start_sampling(capture, options)?;
        Ok(End::Time)
    }

    /// Samples every event-loop thread that is not sampled yet.
    fn start_sampling(&self, capture: &mut Capture, options: &TraceOptions) -> Result<(), AttachError> {
        let period = 1_000_000_000 / u64::from(options.rate_hz);
        for plan in &self.observer.loops.plans {
            if capture.is_sampling(plan.tid) {
                continue;
            }
            match capture.start_sampling(plan.tid, period) {
                Ok(()) | Err(CaptureError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes sure that code objects are still those that chains were named after. Of a target that has ended, or runs another
    /// program, nothing can be read any more: what was named so far stays named.
    fn check_names(&mut self) -> Result<(), AttachError> {
        self.look_at_names()?;
        let retired = self.take_retired();
        self.room.take(Observation::Checked { retired });
        Ok(())
    }

    fn look_at_names(&mut self) -> Result<(), AttachError> {
        let changed = match self.observer.revalidate() {
            _ if self.observer.process.has_ended() => Vec::new(),
            Ok(changed) => changed,
            Err(Fault::Gone) => Vec::new(),
            Err(fault) => return Err(AttachError::Find(fault.into())),
        };
        self.observer.retire(&changed);
        self.answers.forget_learnt(&changed);
        Ok(())
    }

    /// The chains that can no longer be told.
    fn take_retired(&mut self) -> Vec<ChainId> {
        self.tell_news();
        let retired = self.observer.names.chains.retired().to_vec();
        self.answers.forget_chains(&retired);
        retired
    }

    /// The profile that there would be if the target was looked at no longer: of the time until it was seen last.
    pub(super) fn so_far(&self) -> Profile {
        let mut sums = self.room.sums.clone();
        sums.take(Observation::Lost(self.observer.losses.clone()));
        sums.settle_as_seen();
        sums.into_profile(process_of(&self.observer), self.started_at)
    }

    /// Looks at the target no longer, and tells that.
    pub(super) fn finish(mut self, capture: &mut Capture, end: End) -> Finished {
        let at = self.room.now();
        // Names that cannot be checked any more are taken to be right, as those of a target that has ended.
        let _ = match end {
            End::Time => self.look_at_names(),
            End::Exit => Ok(()),
        };
        let retired = self.take_retired();
        self.observer.losses.incomplete += self.completed.end_all();
        self.observer.detach(capture);
        self.tell_losses();
        for hold in std::mem::replace(&mut self.long_turns, LongTurns::new(self.observer.pid)).finish() {
            self.room.take(Observation::Held(hold));
        }
        self.room.take(Observation::End(Ending {
            at,
            has_exited: end == End::Exit,
            retired,
        }));
        Finished {
            room: self.room,
            process: process_of(&self.observer),
            started_at: self.started_at,
        }
    }
}

/// A target that was traced.
pub(super) struct Finished {
    pub(super) room: Room,
    process: Process,
    started_at: jiff::Timestamp,
}

impl Finished {
    /// As [`Finished::into_profile`], which may follow.
    pub(super) fn so_far(&self) -> Profile {
        let sums = self.room.sums.clone();
        sums.into_profile(self.process.clone(), self.started_at)
    }

    pub(super) fn into_profile(self) -> Profile {
        self.room.into_profile(self.process, self.started_at)
    }
}

fn process_of(observer: &Observer) -> Process {
    Process {
        pid: observer.pid,
        command: observer.process.command().to_owned(),
        python: observer.interpreter.version.to_string(),
    }
}

fn slice_of(slice: &SliceRecord) -> Observation {
    Observation::Slice {
        origin: slice.origin,
        status: slice.status,
    }
}

/// The chain of a task of trio that waits, without the frames that are the same in all of them, and what it is parked in; the outermost
/// function of these where it is parked in nothing that has a name, as one that sleeps.
fn without_traps(chain: &Chain) -> Option<(Stack, Arc<str>)> {
    let is_parked = chain.state == TaskState::Waiting && chain.terminal_type.is_null();
    let traps = origin::trio_traps(&chain.stack);
    let (hidden, shown) = chain.stack.split_at_checked(traps)?;
    let trap = hidden.last().filter(|_| is_parked && !shown.is_empty())?;
    let end = match &chain.parked {
        Parked::In(name) => name,
        Parked::NotFound(_) => &trap.function,
    };
    Some((shown.into(), Arc::clone(end)))
}

/// Tells that a loop's thread waits for a CPU, where the last look has found that, and the kernel counts for how long.
fn tell_wait(rests: &Rests, room: &mut Room, event_loop: LoopId) {
    if let Some(waited) = rests.waited(event_loop) {
        room.take(Observation::Waits { event_loop, waited });
    }
}

/// Has one loop be walked, and notes what that takes.
fn walk(capture: &mut Capture, passes: &mut Passes, event_loop: LoopId) -> Result<(), AttachError> {
    let before = cpu_seconds();
    let walked = capture.walk(event_loop);
    passes.spend(event_loop, cpu_seconds() - before);
    match walked {
        // The thread has ended; the next refresh finds out.
        Ok(()) | Err(CaptureError::Gone) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is different each time.
fn now_in_nanoseconds() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |it| it.subsec_nanos())
}

fn state_of(chain: &Chain) -> ChainState {
    match chain.state {
        TaskState::Running => ChainState::Running,
        TaskState::Waiting | TaskState::Created if chain.is_ready => ChainState::Ready,
        TaskState::Waiting | TaskState::Created => ChainState::Waiting,
    }
}

/// A chain as it is shown.
fn look_of(chain: &Chain) -> Look {
    let terminal = match chain.state {
        TaskState::Created => Some(Arc::from(NOT_STARTED)),
        TaskState::Waiting | TaskState::Running => chain.terminal.clone(),
    };
    let (stack, terminal) = match without_traps(chain) {
        Some((stack, trap)) => (stack, Some(trap)),
        None => (chain.stack.clone(), terminal),
    };
    Look {
        stack,
        state: state_of(chain),
        terminal,
        resource: None,
    }
}
