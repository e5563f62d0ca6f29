//! One snapshot: a pass over all tasks of every event loop.

use std::time::{Duration, Instant};

use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;

use super::asleep::{Polling, never_woken};
use super::assemble::assemble;
use super::attach_error::AttachError;
use super::blocked::{Blocked, Watch};
use super::gathering::Gathering;
use super::observer::{Manner, Observer, Seen};
use super::roster::Roster;
use super::turns::Turns;
use super::{Error, Options, jobs, waits};
use crate::capture::{Capture, CaptureError};
use crate::decode::{Record, SliceRecord, decode, loop_of};
use crate::findings::Finding;
use crate::selection::Selection;
use crate::snapshot::{LoopState, Losses, Snapshot};
use crate::survey::Survey;
use crate::target::FindError;

/// A thread that keeps running is sampled once per so much of its CPU time, in ns. A pass takes as many samples however they come, and what
/// it shows lies the closer together the sooner.
const BUSY_PERIOD: u64 = 250_000;
/// Times that the tasks of a loop are looked at in the hope for all of them in one turn, before what several turns show is put together.
/// A loop that works for half of the time rests in one of two looks.
const LOOKS_FOR_ONE_TURN: u32 = 24;
/// How long the tasks of a loop that works are read anew, in the hope that it rests until it is also read what they wait for.
const NAMING: Duration = Duration::from_millis(250);
/// How long the observer waits for such a thread to get on.
const PAUSE: Duration = Duration::from_millis(1);
/// A registry that contradicts itself so often, while its thread does not run, will not mend itself.
const MAX_TORN: u32 = 100;
/// Times that the walk begins anew, as it has met types of objects that had to be learnt about.
pub(super) const MAX_LESSONS: u32 = 8;
/// How long tasks that were seen in several turns are looked at once more, to tell which of them have not moved: until all are, so long at most, or as
/// many times of what the first pass took. It takes milliseconds, but where the thread has no CPU, no sample comes.
const SECOND_PASS: Duration = Duration::from_secs(3);
const TIMES_OF_FIRST_PASS: u32 = 4;
/// How long a snapshot may wait for threads that run. A pass that is not complete then is given as far as it is, and counted as incomplete; of
/// loops that are still to come, those that rest are read all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads every task of the processes of `selection` once, one process after the other.
pub(super) async fn snapshots(
    capture: &mut Capture,
    selection: &Selection,
    options: &Options,
) -> Result<Survey<Snapshot>, Error> {
    let mut roster = Roster::new(selection, false);
    let manner = manner(options);
    let mut targets = Vec::new();
    let mut shares = Vec::new();
    for candidate in roster.take_new(|_| false) {
        let Some(mut observer) = roster.attach(capture, candidate, manner.clone())? else {
            continue;
        };
        let snapshot = snapshot(capture, &mut observer).await;
        observer.detach(capture);
        match snapshot.map_err(|error| observer.explain(error)) {
            Ok(snapshot) if selection.is_shown(candidate.reason, has_tasks(&snapshot)) => {
                targets.push(snapshot);
                shares.push(observer.names.into_share());
            }
            Ok(_) => {}
            Err(error) => roster.cannot(candidate, error)?,
        }
    }
    let refused = roster.refused(targets.is_empty())?;
    Ok(Survey { targets, refused })
}

pub(super) fn manner(options: &Options) -> Manner {
    Manner {
        reading: options.clone(),
        iterator_budget: Duration::ZERO,
        is_only_running: false,
    }
}

pub(super) fn has_tasks(snapshot: &Snapshot) -> bool {
    !snapshot.tasks.is_empty() || snapshot.losses != Losses::default()
}

/// Reads every task of one process once.
pub(super) async fn snapshot(
    capture: &mut Capture,
    observer: &mut Observer,
) -> Result<Snapshot, AttachError> {
    gather(capture, observer).await?.assemble(observer).await
}

/// What was read of one process, which no snapshot is made of yet.
pub(super) struct Gathered {
    captured_at: jiff::Timestamp,
    pub(super) passes: Vec<Gathering>,
    is_proven: bool,
    blocked: Vec<Blocked>,
    polling: Vec<Polling>,
    loops: Vec<LoopState>,
}

impl Gathered {
    /// Makes the snapshot.
    pub(super) async fn assemble(self, observer: &mut Observer) -> Result<Snapshot, AttachError> {
        let mut snapshot = assemble(
            observer,
            self.passes,
            self.captured_at,
            self.is_proven,
            self.blocked,
        )?;
        snapshot.loops = self.loops;
        for finding in &snapshot.findings {
            if let Finding::BlockedLoop(blocked) = finding {
                let its = |state: &&mut LoopState| state.tid == blocked.tid;
                // It was seen later than the loops were, in the same turn.
                if let Some(state) = snapshot.loops.iter_mut().find(its) {
                    state.turn_seconds = Some(blocked.seconds);
                }
            }
        }
        let found = never_woken(observer.pid, &self.polling, &snapshot.tasks).await;
        snapshot.findings.extend(found);
        Ok(snapshot)
    }
}

/// Walks the tasks of every loop of one process, and looks at the loops before and after.
pub(super) async fn gather(capture: &mut Capture, observer: &mut Observer) -> Result<Gathered, AttachError> {
    let captured_at = jiff::Timestamp::now();
    let end = Instant::now() + PATIENCE;
    let mut watch = Watch::begin(observer).map_err(FindError::from)?;
    let mut lessons = 0;
    let (passes, is_proven) = loop {
        let losses = observer.losses.clone();
        let passes = all_passes(capture, observer, &mut watch, end).await?;
        lessons += 1;
        if lessons > MAX_LESSONS || !observer.apply_lessons(capture)? {
            break passes;
        }
        // What could not be read for want of knowledge is read now.
        observer.losses = losses;
    };
    let (loops, polling) = (watch.loops(), watch.polling());
    let is_any_running = passes.iter().any(Gathering::has_running);
    let blocked = watch
        .end(observer, is_any_running)
        .await
        .map_err(FindError::from)?;
    Ok(Gathered {
        captured_at,
        passes,
        is_proven,
        blocked,
        polling,
        loops,
    })
}

/// Walks the tasks of every loop. Also tells whether no thread has run since its pass.
///
/// The kernel is told of one thread's loops at a time.
async fn all_passes(
    capture: &mut Capture,
    observer: &mut Observer,
    watch: &mut Watch,
    end: Instant,
) -> Result<(Vec<Gathering>, bool), AttachError> {
    let mut gathered = Vec::new();
    let mut is_proven = true;
    let mut is_any_gone = false;
    let plans = observer.loops.plans.clone();
    for plan in &plans {
        let of_thread: Vec<&ThreadPlan> = plans.iter().filter(|other| other.tid == plan.tid).collect();
        let begun = of_thread.iter().try_for_each(|other| capture.set_plan(other));
        let result = match begun {
            Ok(()) => named_pass(capture, observer, plan, watch, end).await,
            Err(error) => Err(error.into()),
        };
        of_thread
            .iter()
            .for_each(|other| capture.remove_plan(other.loop_id()));
        match result {
            Ok((gathering, proven)) => {
                is_proven &= proven;
                gathered.push(gathering);
            }
            // The thread has ended, and its loop with it.
            Err(AttachError::Capture(CaptureError::Gone)) => is_any_gone = true,
            Err(error) => return Err(error),
        }
    }
    if is_any_gone && observer.memory.is_gone() {
        // So have all others: nothing is left that an empty answer would be about.
        return Err(CaptureError::Gone.into());
    }
    Ok((gathered, is_proven))
}

/// How often a registry contradicted itself since its thread ran last.
#[derive(Default)]
struct Torn {
    in_a_row: u32,
    runtime: u64,
}

impl Torn {
    fn count(&mut self, slice: &SliceRecord) {
        let is_again = slice.status == SliceStatus::RegistryTorn && slice.origin.runtime == self.runtime;
        self.in_a_row = if is_again { self.in_a_row + 1 } else { 0 };
        self.runtime = slice.origin.runtime;
    }
}

/// The two ways to walk one loop's tasks: whichever completes its pass first counts.
#[derive(Default)]
struct Passes {
    at_rest: Gathering,
    in_context: Gathering,
    torn: Torn,
}

impl Passes {
    /// Has the iterator walk one slice, and takes all that has come; returns how that slice ended.
    fn look(
        &mut self,
        capture: &mut Capture,
        observer: &mut Observer,
        plan: &ThreadPlan,
    ) -> Result<Option<SliceStatus>, AttachError> {
        capture.walk(plan.loop_id())?;
        let Self {
            at_rest,
            in_context,
            torn,
        } = self;
        let mut ended = None;
        let mut receive = |seen: Seen<'_>| match seen {
            Seen::Task(record, chain) if record.origin.in_context => in_context.visit(&record, chain),
            Seen::Task(record, chain) => at_rest.visit(&record, chain),
            Seen::Opaque(record) if record.origin.in_context => in_context.visit_opaque(record.address),
            Seen::Opaque(record) => at_rest.visit_opaque(record.address),
            Seen::LostTick | Seen::Unread(_) => {}
            Seen::Slice(slice) if slice.origin.in_context => in_context.slice(&slice),
            Seen::Slice(slice) => {
                ended = Some(slice.status);
                torn.count(&slice);
                at_rest.slice(&slice);
            }
        };
        observer.begin_drain();
        let mut result = Ok(());
        capture.drain(|bytes| {
            // Of one that was looked at before, something may have come too late; the sampler visits all loops of the thread.
            if result.is_ok() && loop_of(bytes) == Some((observer.pid, plan.loop_id())) {
                result = observer
                    .take(bytes, &|_| false)
                    .map(|seen| seen.into_iter().for_each(&mut receive));
            }
        });
        result.map_err(|fault| AttachError::Find(fault.into()))?;
        if ended == Some(SliceStatus::Replaced) {
            return Err(AttachError::Replaced);
        }
        Ok(ended)
    }

    fn is_complete(&self) -> bool {
        self.at_rest.is_complete || self.in_context.is_complete
    }

    /// The pass that is complete, or else the one that has met more tasks.
    fn into_fuller(self) -> Walked {
        let is_at_rest = self.at_rest.is_complete
            || !self.in_context.is_complete && self.at_rest.tasks() > self.in_context.tasks();
        let pass = if is_at_rest { self.at_rest } else { self.in_context };
        Walked {
            has_rested: is_at_rest && pass.is_complete,
            pass,
        }
    }
}

/// What one walk over a loop's tasks has gathered.
struct Walked {
    pass: Gathering,
    /// The loop's thread has not run since, as far as is known. Once it has, another pass may have been made since that nobody has taken: that the thread
    /// has rested since that one proves nothing.
    has_rested: bool,
}

impl Walked {
    /// Whether the loop's thread has provably not run since the pass was complete.
    fn has_rested(
        &mut self,
        capture: &mut Capture,
        observer: &Observer,
        plan: &ThreadPlan,
    ) -> Result<bool, AttachError> {
        if !self.has_rested {
            return Ok(false);
        }
        capture.walk(plan.loop_id())?;
        let mut ended = None;
        capture.drain(|bytes| {
            let is_its = loop_of(bytes) == Some((observer.pid, plan.loop_id()));
            if let Ok(Record::Slice(slice)) = decode(bytes)
                && is_its
                && !slice.origin.in_context
            {
                ended = Some(slice.status);
            }
        });
        if ended == Some(SliceStatus::Replaced) {
            return Err(AttachError::Replaced);
        }
        self.has_rested = ended == Some(SliceStatus::Unchanged);
        Ok(self.has_rested)
    }

    /// Without what its tasks wait for, which could not be told: each of them counts.
    fn unnamed(mut self) -> Gathering {
        self.pass.doubt_waits();
        self.pass
    }
}

/// Walks the tasks of one loop, and reads what they wait for. Also tells whether the thread has provably not run since.
async fn named_pass(
    capture: &mut Capture,
    observer: &mut Observer,
    plan: &ThreadPlan,
    watch: &mut Watch,
    end: Instant,
) -> Result<(Gathering, bool), AttachError> {
    let losses = observer.losses.clone();
    let mut pages = Vec::new();
    let give_up = end.min(Instant::now() + NAMING);
    loop {
        let begun = Instant::now();
        let mut walked = one_pass(capture, observer, plan, end).await?.into_fuller();
        let first_took = begun.elapsed();
        if !walked.pass.is_complete {
            observer.losses.incomplete += 1;
            return Ok((walked.unnamed(), false));
        }
        if read_names(capture, observer, plan, watch.turns(), &mut walked, &pages)? {
            let is_proven = tell_jobs(capture, observer, plan, &mut walked)?;
            return Ok((walked.pass, is_proven));
        }
        pages = observer.memory.remembered();
        let is_of_one_turn = !walked.pass.is_of_several_turns();
        if is_of_one_turn && !walked.pass.has_named() {
            return Ok((walked.unnamed(), false));
        }
        if !is_of_one_turn || Instant::now() >= give_up {
            let end = end.min(Instant::now() + SECOND_PASS.max(first_took * TIMES_OF_FIRST_PASS));
            second_pass(capture, observer, plan, watch, &mut walked.pass, end).await?;
            walked.pass.doubt_waits();
            tell_jobs(capture, observer, plan, &mut walked)?;
            return Ok((walked.pass, false));
        }
        // It has worked meanwhile: all is read anew.
        capture.set_plan(plan)?;
        observer.losses = losses.clone();
    }
}

/// Reads what the tasks of a pass wait for. Also tells whether all of it is proven to be of the turn that the pass is of.
///
/// What an earlier look needed, `pages`, is read at one go: to make something of it takes longer, and may be done while the loop goes on.
fn read_names(
    capture: &mut Capture,
    observer: &Observer,
    plan: &ThreadPlan,
    turns: &Turns,
    walked: &mut Walked,
    pages: &[u64],
) -> Result<bool, AttachError> {
    observer.memory.read_anew(pages).map_err(FindError::from)?;
    let reads = observer.memory.reads();
    let are_proven = !pages.is_empty() && walked.has_rested(capture, observer, plan)?;
    let are_sockets_asked = waits::read(observer, &mut walked.pass, turns).map_err(FindError::from)?;
    jobs::find(observer, &mut walked.pass).map_err(FindError::from)?;
    let is_all = are_proven && observer.memory.reads() == reads && !are_sockets_asked;
    Ok(!walked.pass.is_of_several_turns() && (is_all || walked.has_rested(capture, observer, plan)?))
}

/// Has be told what threads do of which the tasks of a pass wait. Also tells whether the loop's thread has provably not run since the pass.
fn tell_jobs(
    capture: &mut Capture,
    observer: &mut Observer,
    plan: &ThreadPlan,
    walked: &mut Walked,
) -> Result<bool, AttachError> {
    let has_jobs = jobs::tell(observer, &mut walked.pass).map_err(FindError::from)?;
    if !has_jobs {
        return Ok(true);
    }
    let is_proven = walked.has_rested(capture, observer, plan)?;
    if !is_proven {
        jobs::doubt(observer, &mut walked.pass).map_err(FindError::from)?;
    }
    Ok(is_proven)
}

/// Walks the tasks of one loop. A thread that rests is walked by the iterator in one go: that all is of one turn is worth some more looks.
/// One that never rests for so long is sampled in its own context, slice by slice, too. Both go on until either has made a complete pass.
async fn one_pass(
    capture: &mut Capture,
    observer: &mut Observer,
    plan: &ThreadPlan,
    end: Instant,
) -> Result<Passes, AttachError> {
    let tid = plan.tid;
    // What an earlier walk of this loop has sent too late would pass for this one's.
    capture.drain(|_| {});
    let mut passes = Passes::default();
    let mut is_sampling = false;
    let losses = observer.losses.clone();
    let mut looks = 0;
    loop {
        let ended = passes.look(capture, observer, plan)?;
        if passes.is_complete() || passes.torn.in_a_row > MAX_TORN || Instant::now() >= end {
            break;
        }
        if ended == Some(SliceStatus::Budget) {
            continue;
        }
        looks += 1;
        if looks < LOOKS_FOR_ONE_TURN {
            if ended == Some(SliceStatus::Disturbed) {
                capture.set_plan(plan)?;
                passes = Passes::default();
                observer.losses = losses.clone();
            }
        } else if !is_sampling {
            capture.start_sampling(tid, BUSY_PERIOD)?;
            is_sampling = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    capture.stop_sampling(tid);
    Ok(passes)
}

/// Has the tasks of a loop be visited once more until `end`, which goes on: what has not moved in between is as it was all the while.
async fn second_pass(
    capture: &mut Capture,
    observer: &mut Observer,
    plan: &ThreadPlan,
    watch: &mut Watch,
    first: &mut Gathering,
    end: Instant,
) -> Result<(), AttachError> {
    let losses = observer.losses.clone();
    let mut second = Passes::default();
    capture.drain(|_| {});
    capture.set_plan(plan)?;
    capture.start_sampling(plan.tid, BUSY_PERIOD)?;
    while !second.is_complete() && second.torn.in_a_row <= MAX_TORN && Instant::now() < end {
        if second.look(capture, observer, plan)? != Some(SliceStatus::Budget) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    capture.stop_sampling(plan.tid);
    let no_task_had_a_turn = watch
        .is_in_same_callback(observer, plan)
        .map_err(FindError::from)?;
    first.confirm(second.at_rest, no_task_had_a_turn);
    first.confirm(second.in_context, no_task_had_a_turn);
    // What it could not read counts once.
    observer.losses = losses;
    Ok(())
}
