//! A profile of each target: samples of both kinds for a while, summed up as they come.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::attach_error::AttachError;
use super::keeper::Keeper;
use super::observer::Manner;
use super::records::{Records, ToRecord};
use super::ring::Ring;
use super::roster::{PATIENCE, Roster};
use super::traced::{End, Finished, Traced};
use super::triggers::Triggers;
use super::{Error, Interim, Progress, Trace, TraceOptions};
use crate::budget::{Budget, SUMS_BYTES};
use crate::capture::Capture;
use crate::decode::process_of;
use crate::profile::{MAX_CHANGES, Observation, Process, Profile};
use crate::recording::Recorder;
use crate::selection::{Candidate, Reason, Selection};
use crate::survey::{Refusals, Survey};

/// How often a program that was just started is looked at until it is ready.
const RETRY: Duration = Duration::from_millis(5);
/// How often progress is told. To show it takes as long as to look at a target that rests.
const PROGRESS: Duration = Duration::from_millis(100);
/// How often new processes are looked for.
const SEARCH: Duration = Duration::from_millis(100);
/// How long one look at a resting thread may take; the next one goes on where it stopped. It costs the observer only.
const ITERATOR_BUDGET: Duration = Duration::from_millis(1);
/// How long after a pass was interrupted it is gone on with, and how much of the time between two looks that may take. Tasks that are met by
/// one pass should be met at nearly one moment, and above all within less time than they live.
const PAUSE: Duration = Duration::from_micros(200);
const SHARE_OF_PASSES: u32 = 2;
/// How long the first passes over many tasks may take before sampling begins.
const FIRST_PASSES: Duration = Duration::from_secs(2);

/// Traces the processes of `selection` until the time is over, they have ended, the recording is as large as it may be, or the other end of `stop` says so, or is
/// gone.
pub(super) fn trace(
    mut capture: Capture,
    selection: &Selection,
    options: &TraceOptions,
    to_record: Option<ToRecord>,
    stop: &Receiver<()>,
    told: Told<impl FnMut(Progress), impl FnMut(Trace)>,
) -> Result<Trace, Error> {
    capture.expect_sampling();
    let every = to_record.as_ref().and_then(ToRecord::snapshots);
    let triggers = match &to_record {
        Some(ToRecord::When(when)) => Triggers::new(&when.conditions),
        _ => Triggers::new(&[]),
    };
    let mut tracer = Tracer {
        capture,
        selection,
        roster: Roster::new(selection, options.just_started),
        targets: BTreeMap::new(),
        finished: Vec::new(),
        sums: Budget::new(SUMS_BYTES),
        changes: options.keeps_timeline.then(|| Budget::new(MAX_CHANGES)),
        options,
        records: Records::begin(to_record),
        triggers,
        keeper: None,
        stop,
        told,
        started: Instant::now(),
        started_at: jiff::Timestamp::now(),
        searched: Instant::now(),
        told_progress: Instant::now(),
        told_so_far: Instant::now(),
    };
    if tracer.find_first()? {
        tracer.begin_to_keep(every);
        tracer.run()?;
    }
    tracer.finish()
}

/// What is told while a trace goes on, and when.
pub(super) struct Told<P, S> {
    pub(super) progress: P,
    pub(super) interim: Interim,
    pub(super) so_far: S,
}

struct Tracer<'a, P, S> {
    capture: Capture,
    selection: &'a Selection,
    roster: Roster<'a>,
    /// By process id.
    targets: BTreeMap<u32, (Reason, Traced)>,
    finished: Vec<(Reason, Finished)>,
    /// What sums of all targets may take.
    sums: Budget,
    /// What timelines of all targets may take, where they are kept.
    changes: Option<Budget>,
    options: &'a TraceOptions,
    records: Records,
    triggers: Triggers,
    keeper: Option<Keeper>,
    stop: &'a Receiver<()>,
    told: Told<P, S>,
    started: Instant,
    started_at: jiff::Timestamp,
    /// When processes were last looked for.
    searched: Instant,
    /// When progress was last told, and what there is so far.
    told_progress: Instant,
    told_so_far: Instant,
}

impl<P: FnMut(Progress), S: FnMut(Trace)> Tracer<'_, P, S> {
    /// Attaches to those that are there; to a program that was just started as soon as it can be read. False where it was stopped
    /// before.
    fn find_first(&mut self) -> Result<bool, Error> {
        loop {
            self.attach_new()?;
            let is_hopeless =
                !self.options.just_started || self.started.elapsed() > PATIENCE || self.roster.is_empty();
            if !self.targets.is_empty() || is_hopeless {
                return Ok(true);
            }
            if self.is_stopped_within(RETRY) {
                return Ok(false);
            }
        }
    }

    /// Waits, and not longer than until it is told to stop. That takes one system call, as waking up is most of what it costs to look at a
    /// target that rests.
    fn is_stopped_within(&self, time: Duration) -> bool {
        self.stop.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    /// Attaches to processes that were not looked at yet.
    fn attach_new(&mut self) -> Result<(), Error> {
        self.searched = Instant::now();
        let targets = &self.targets;
        for candidate in self.roster.take_new(|pid| targets.contains_key(&pid)) {
            let Candidate { pid, reason } = candidate;
            let capture = &mut self.capture;
            let manner = Manner {
                reading: self.options.reading.clone(),
                iterator_budget: ITERATOR_BUDGET,
                is_only_running: reason == Reason::Child,
            };
            let Some(observer) = self.roster.attach(capture, candidate, manner)? else {
                continue;
            };
            let (records, selection) = (&self.records, self.selection);
            let record = |process: &Process, started_at| {
                records.tapes(process, started_at, selection.is_shown(reason, false))
            };
            match Traced::begin(
                observer,
                capture,
                self.options,
                (&self.sums, self.changes.as_ref()),
                record,
            ) {
                Ok(traced) => {
                    self.targets.insert(pid, (reason, traced));
                }
                Err(error) => self.roster.cannot(candidate, error)?,
            }
        }
        Ok(())
    }

    /// Has snapshots be kept in the recording, too.
    fn begin_to_keep(&mut self, every: Option<Duration>) {
        let Some(every) = every else { return };
        match Keeper::begin(self.selection, &self.options.reading, every) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(source) => {
                let why = Error::NoThread { source }.to_string();
                self.records
                    .recorders()
                    .iter()
                    .for_each(|it| it.miss(why.clone()));
            }
        }
    }

    /// Samples until the time is over, it is told to stop, or nothing is left to sample.
    fn run(&mut self) -> Result<(), Error> {
        // What it takes to start is no part of the period.
        self.started = Instant::now();
        self.started_at = jiff::Timestamp::now();
        self.told_so_far = self.started;
        self.first_passes()?;
        let period = Duration::from_secs(1) / self.options.rate_hz;
        let begun = Instant::now();
        let mut next = begun;
        while !self.targets.is_empty() || !self.finished.is_empty() {
            let until_end = match self.options.duration {
                Some(duration) => duration.saturating_sub(begun.elapsed()),
                None => Duration::MAX,
            };
            let until_next = next.saturating_duration_since(Instant::now());
            if self.is_stopped_within(until_next.min(until_end)) || until_end <= until_next {
                return Ok(());
            }
            self.tick()?;
            // A tick that is late does not have others follow at once.
            next = (next + period).max(Instant::now());
            if self.records.is_over() || (self.targets.is_empty() && self.roster.is_empty()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks at every thread once, takes what the samplers have sent meanwhile, and sees who has come and gone.
    fn tick(&mut self) -> Result<(), Error> {
        self.look()?;
        let ended: Vec<u32> = self
            .targets
            .iter()
            .filter(|(_, (_, target))| target.has_ended())
            .map(|(pid, _)| *pid)
            .collect();
        ended.into_iter().for_each(|pid| self.end(pid));
        if self.told_progress.elapsed() >= PROGRESS {
            self.tell_progress();
        }
        if self.is_due() {
            self.tell_so_far();
        }
        self.for_each(|target, capture, options| target.keep_up(capture, options))?;
        if self.sums.is_used_up() {
            self.fold();
        }
        if self.roster.is_open() && self.searched.elapsed() >= SEARCH {
            self.attach_new()?;
        }
        if self.records.one().is_some_and(Recorder::is_full) && !self.targets.is_empty() {
            self.begin_next_file()?;
        }
        self.turn_ring()?;
        if let Some(keeper) = &mut self.keeper
            && !self.targets.is_empty()
        {
            keeper.keep_up(&self.records.recorders());
        }
        Ok(())
    }

    /// Has the recording go on in the next file, which can be read without those before.
    fn begin_next_file(&mut self) -> Result<(), Error> {
        let Some(recorder) = self.records.one().cloned() else {
            return Ok(());
        };
        self.end_tapes(&recorder)?;
        recorder.begin_next();
        if recorder.is_over() {
            return Ok(());
        }
        self.begin_tapes(&recorder)?;
        self.hurry();
        Ok(())
    }

    /// Keeps what is to be kept of recordings in memory, and drops what is not.
    fn turn_ring(&mut self) -> Result<(), Error> {
        if let Some(ended) = self.records.ring_mut().and_then(|ring| ring.ended()) {
            self.end_tapes(&ended)?;
            self.records.ring_mut().into_iter().for_each(Ring::end_file);
        }
        let Some(ring) = self.records.ring_mut() else {
            return Ok(());
        };
        let targets = self.targets.values().map(|(_, target)| target);
        let found = self.triggers.look(targets, ring.is_writing());
        let has_triggered = !found.is_empty();
        found.into_iter().for_each(|found| ring.trigger(found));
        let old = ring.drop_old();
        let another = ring.is_due().then(|| ring.begin_another());
        old.iter().for_each(|recorder| self.drop_tapes(recorder));
        if let Some(another) = another {
            self.begin_tapes(&another)?;
        }
        if has_triggered {
            self.hurry();
        }
        Ok(())
    }

    /// Has a snapshot be taken as soon as it can be.
    fn hurry(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.hurry();
        }
    }

    /// Tells a recording that its file ends.
    fn end_tapes(&mut self, recorder: &Recorder) -> Result<(), Error> {
        self.for_each(|target, _, _| target.end_tape(recorder).map(|()| End::Time))?;
        // What has ended is told in the file that it ended in.
        self.drop_tapes(recorder);
        Ok(())
    }

    /// Nothing more goes to a recording.
    fn drop_tapes(&mut self, recorder: &Recorder) {
        let of_targets = self.targets.values_mut().map(|(_, target)| target.room_mut());
        let of_finished = self.finished.iter_mut().map(|(_, finished)| &mut finished.room);
        of_targets
            .chain(of_finished)
            .for_each(|room| room.drop_tape(recorder));
    }

    /// Has all targets go to a recording that begins later than they were first looked at.
    fn begin_tapes(&mut self, recorder: &Recorder) -> Result<(), Error> {
        let mut failed = Vec::new();
        for (pid, (reason, target)) in &mut self.targets {
            let is_shown_empty = self.selection.is_shown(*reason, false);
            let record = |process: &Process| recorder.target(process, jiff::Timestamp::now(), is_shown_empty);
            if let Err(error) = target.begin_tape(&mut self.capture, record) {
                failed.push((*pid, error));
            }
        }
        failed
            .into_iter()
            .try_for_each(|(pid, error)| self.fail(pid, error))?;
        // Who rests all the while is to be there from the beginning.
        self.look()
    }

    fn tell_progress(&mut self) {
        self.told_progress = Instant::now();
        let each = self.targets.values().map(|(_, target)| target.progress());
        let (samples, tasks) = each.fold((0, 0), |(samples, tasks), (more, others)| {
            (samples + more, tasks + others)
        });
        (self.told.progress)(Progress {
            elapsed: self.started.elapsed(),
            samples,
            tasks,
        });
    }

    /// Whether it is to be told what there is so far.
    fn is_due(&self) -> bool {
        let Interim { every, is_asked_for } = &self.told.interim;
        let is_over = every.is_some_and(|every| self.told_so_far.elapsed() >= every);
        is_asked_for.swap(false, Ordering::Relaxed) || is_over
    }

    /// Tells what there would be to show if the trace ended now.
    fn tell_so_far(&mut self) {
        self.told_so_far = Instant::now();
        let of_targets = self.targets.values();
        let of_targets = of_targets.map(|(reason, target)| (*reason, target.so_far()));
        let of_finished = self.finished.iter();
        let of_finished = of_finished.map(|(reason, finished)| (*reason, finished.so_far()));
        let profiles = of_targets.chain(of_finished).collect();
        let so_far = Trace {
            survey: Survey {
                targets: self.shown(profiles),
                refused: Refusals::default(),
            },
            started_at: self.started_at,
            duration: self.started.elapsed(),
            written: None,
        };
        (self.told.so_far)(so_far);
    }

    /// Those of the profiles that are shown, by process.
    fn shown(&self, profiles: Vec<(Reason, Profile)>) -> Vec<Profile> {
        let is_shown =
            |(reason, profile): &(Reason, Profile)| self.selection.is_shown(*reason, profile.has_tasks());
        let shown = profiles.into_iter().filter(is_shown);
        let mut shown: Vec<Profile> = shown.map(|(_, profile)| profile).collect();
        shown.sort_by_key(|profile| profile.processes.first().map(|process| process.pid));
        shown
    }

    /// Visits every task once before time is divided into samples, so that even a short trace has seen all of them.
    fn first_passes(&mut self) -> Result<(), Error> {
        loop {
            let before = self.samples();
            self.look()?;
            let is_over = !self.is_unfinished() || self.samples() == before;
            if is_over || self.started.elapsed() > FIRST_PASSES {
                return Ok(());
            }
        }
    }

    /// Looks at every thread, and goes on with passes that were interrupted.
    fn look(&mut self) -> Result<(), Error> {
        let until = Instant::now() + Duration::from_secs(1) / self.options.rate_hz / SHARE_OF_PASSES;
        self.for_each(|target, capture, _| {
            target.begin_drain();
            target.walk_all(capture).map(|()| End::Time)
        })?;
        self.take()?;
        while self.is_unfinished() && Instant::now() + PAUSE < until {
            thread::sleep(PAUSE);
            self.for_each(|target, capture, _| {
                target.begin_drain();
                target.walk_unfinished(capture).map(|()| End::Time)
            })?;
            self.take()?;
        }
        Ok(())
    }

    fn is_unfinished(&self) -> bool {
        self.targets.values().any(|(_, target)| target.is_unfinished())
    }

    /// Looks so far that found something.
    fn samples(&self) -> u64 {
        self.targets.values().map(|(_, target)| target.progress().0).sum()
    }

    /// Takes all that the eBPF side has sent, each record for the target that it is about.
    fn take(&mut self) -> Result<(), Error> {
        let Self { capture, targets, .. } = self;
        let mut failed = BTreeMap::new();
        capture.drain(|bytes| {
            let pid = process_of(bytes).unwrap_or(0);
            // Of a target that has gone, something may come too late.
            let Some((_, target)) = targets.get_mut(&pid).filter(|_| !failed.contains_key(&pid)) else {
                return;
            };
            if let Err(error) = target.take(bytes) {
                failed.insert(pid, error);
            }
        });
        failed
            .into_iter()
            .try_for_each(|(pid, error)| self.fail(pid, error))?;
        self.for_each(|target, _, _| target.ask().map(|()| End::Time))
    }

    /// Does something with every target. One that has ended, or that it fails with, does not stop the others.
    fn for_each(
        &mut self,
        mut act: impl FnMut(&mut Traced, &mut Capture, &TraceOptions) -> Result<End, AttachError>,
    ) -> Result<(), Error> {
        let mut results = Vec::new();
        for (pid, (_, target)) in &mut self.targets {
            match act(target, &mut self.capture, self.options) {
                Ok(End::Time) => {}
                other => results.push((*pid, other)),
            }
        }
        for (pid, result) in results {
            match result {
                Ok(_) => self.end(pid),
                Err(error) => self.fail(pid, error)?,
            }
        }
        Ok(())
    }

    /// Sums up a target that has ended.
    fn end(&mut self, pid: u32) {
        if let Some((reason, target)) = self.targets.remove(&pid) {
            let end = if self.may_end(reason) {
                End::Time
            } else {
                End::Exit
            };
            let finished = target.finish(&mut self.capture, end);
            self.finished.push((reason, finished));
        }
    }

    /// Whether it is no news that a target ends: a program that was started to be traced does.
    fn may_end(&self, reason: Reason) -> bool {
        self.options.just_started && reason == Reason::Named
    }

    /// Has the longest sums be cut, until there is room.
    fn fold(&mut self) {
        while self.sums.is_used_up() {
            let of_targets = self.targets.values_mut().map(|(_, target)| target.room_mut());
            let of_finished = self.finished.iter_mut().map(|(_, finished)| &mut finished.room);
            let longest = of_targets.chain(of_finished).max_by_key(|room| room.sums.bytes());
            let Some(room) = longest else { return };
            let before = room.sums.folded();
            room.take(Observation::Fold);
            if room.sums.folded() == before {
                return;
            }
        }
    }

    /// Sums up a target that cannot be looked at any longer.
    fn fail(&mut self, pid: u32, error: AttachError) -> Result<(), Error> {
        let reason = self
            .targets
            .get(&pid)
            .map_or(Reason::Named, |(reason, _)| *reason);
        self.end(pid);
        self.roster.cannot(Candidate { pid, reason }, error)
    }

    /// Takes what is left, and sums up.
    fn finish(mut self) -> Result<Trace, Error> {
        self.targets
            .values_mut()
            .for_each(|(_, target)| target.begin_end());
        // The targets may just have ended; then there is nothing left to take.
        let _ = self.look();
        let duration = self.started.elapsed();
        for (reason, target) in std::mem::take(&mut self.targets).into_values() {
            let end = if target.has_ended() && !self.may_end(reason) {
                End::Exit
            } else {
                End::Time
            };
            let finished = target.finish(&mut self.capture, end);
            self.finished.push((reason, finished));
            self.fold();
        }
        // No period is longer for it.
        if let Some(keeper) = self.keeper.take() {
            keeper.finish(&self.records.recorders());
        }
        let finished = self.finished.drain(..);
        let profiles = finished.map(|(reason, it)| (reason, it.into_profile())).collect();
        let profiles = self.shown(profiles);
        let refused = self.roster.refused(profiles.is_empty())?;
        let records = std::mem::replace(&mut self.records, Records::None);
        let written = records.finish(self.started_at, duration, &refused);
        Ok(Trace {
            survey: Survey {
                targets: profiles,
                refused,
            },
            started_at: self.started_at,
            duration,
            written,
        })
    }
}
