//! A profile: samples of both kinds for a while, summed up as they come.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::observer::{AttachError, Found, Observer, Seen, ring_bytes};
use super::process::Process;
use super::{Progress, TraceOptions};
use crate::capture::{Capture, CaptureError};
use crate::chains::ChainTable;
use crate::memory::Fault;
use crate::profile::{Account, Chain, ChainState, Profile};
use awaitwhat_common::event::TaskState;
use awaitwhat_common::status::SliceStatus;

/// How long one look at a resting thread may take; the next one goes on where it stopped. It costs the observer only.
const ITERATOR_BUDGET: Duration = Duration::from_millis(1);
/// How often loops that come and go are looked for, and names are checked.
const REFRESH: Duration = Duration::from_secs(1);
/// How often loops are looked for while there is none, and while they come and go.
const REFRESH_IDLE: Duration = Duration::from_millis(50);
/// How long after a loop came or went more of that is expected.
const RESTLESS: Duration = Duration::from_secs(5);
/// How often a program that was just started is looked at until it is ready.
const RETRY: Duration = Duration::from_millis(5);
/// How long such a program may take until there is an interpreter in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first passes over many tasks may take before sampling begins.
const FIRST_PASSES: Duration = Duration::from_secs(2);
/// Refreshes that may fail in a row.
const MAX_FAILURES: u32 = 10;

/// What a task awaits whose coroutine has not begun.
const NOT_STARTED: &str = "its first turn";

/// Why a trace ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Time,
    Exit,
}

/// Traces process `pid`.
pub(super) async fn trace(
    pid: u32,
    options: &TraceOptions,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(Progress),
) -> Result<Profile, AttachError> {
    let mut stop = pin!(stop);
    let observer = tokio::select! {
        observer = attach(pid, options) => observer?,
        () = &mut stop => return Err(AttachError::TooEarly),
    };
    let mut tracer = Tracer::new(observer, options, progress);
    let end = tracer.run(stop).await?;
    Ok(tracer.finish(end))
}

/// Attaches; to a program that was just started as soon as it can be read.
async fn attach(pid: u32, options: &TraceOptions) -> Result<Observer, AttachError> {
    let started = Instant::now();
    let process = Process::open(pid)?;
    let mut capture = Capture::load(ring_bytes())?;
    loop {
        match Found::find(&mut capture, pid) {
            Ok(found) => {
                let reading = &options.reading;
                return Ok(Observer::new(
                    capture,
                    process,
                    pid,
                    found,
                    reading,
                    ITERATOR_BUDGET,
                )?);
            }
            Err(error)
                if options.just_started
                    && error.is_too_early()
                    && !process.has_ended()
                    && started.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(RETRY).await;
            }
            Err(_) if process.has_ended() && options.just_started => return Err(AttachError::TooEarly),
            Err(_) if process.has_ended() => return Err(AttachError::Ended),
            Err(error) => return Err(error),
        }
    }
}

struct Tracer<'a, P> {
    observer: Observer,
    options: &'a TraceOptions,
    account: Account,
    progress: P,
    started: Instant,
    refreshed: Instant,
    /// When names were last checked.
    checked: Instant,
    /// When a loop was last found to have come or gone.
    changed: Option<Instant>,
    /// Records lost so far by each walk: thread, and whether it is the sampler's.
    lost: HashMap<(u32, bool), u64>,
    /// Threads whose last look ended before its pass did.
    unfinished: HashSet<u32>,
    /// Refreshes that failed in a row.
    failures: u32,
}

impl<'a, P: FnMut(Progress)> Tracer<'a, P> {
    fn new(observer: Observer, options: &'a TraceOptions, progress: P) -> Self {
        let now = Instant::now();
        let account = Account::default();
        Self {
            observer,
            options,
            account,
            progress,
            started: now,
            refreshed: now,
            checked: now,
            changed: None,
            lost: HashMap::new(),
            unfinished: HashSet::new(),
            failures: 0,
        }
    }

    /// Samples until the time is over, `stop` is ready, or the target ends.
    async fn run(&mut self, mut stop: impl Future<Output = ()> + Unpin) -> Result<End, AttachError> {
        self.start_sampling()?;
        // What it takes to start is no part of the period.
        self.started = Instant::now();
        self.first_passes()?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.options.rate_hz);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let until = self
            .options
            .duration
            .map(|duration| tokio::time::Instant::now() + duration);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(End::Time),
                () = sleep_until(until) => return Ok(End::Time),
                () = self.observer.process.ended() => return Ok(End::Exit),
                _ = ticks.tick() => {
                    if self.tick()? == End::Exit {
                        return Ok(End::Exit);
                    }
                }
            }
        }
    }

    /// Looks at every thread once, and takes what the samplers have sent meanwhile.
    fn tick(&mut self) -> Result<End, AttachError> {
        self.walk_all()?;
        self.take()?;
        let elapsed = self.started.elapsed();
        let (samples, tasks) = (self.account.samples, self.account.tasks() as u64);
        (self.progress)(Progress {
            elapsed,
            samples,
            tasks,
        });
        if self.refreshed.elapsed() < self.pause() {
            return Ok(End::Time);
        }
        self.refreshed = Instant::now();
        let end = self.refresh()?;
        if self.failures == 0 && self.checked.elapsed() >= REFRESH {
            self.checked = self.refreshed;
            self.check_names()?;
        }
        Ok(end)
    }

    /// Until loops are looked for again: not long where there is none, or they come and go.
    fn pause(&self) -> Duration {
        let is_restless = self.changed.is_some_and(|changed| changed.elapsed() < RESTLESS);
        if self.observer.loops.plans.is_empty() || self.failures > 0 || is_restless {
            REFRESH_IDLE
        } else {
            REFRESH
        }
    }

    /// Visits every task once before time is divided into samples, so that even a short trace has seen all of them.
    fn first_passes(&mut self) -> Result<(), AttachError> {
        loop {
            self.walk_all()?;
            self.take()?;
            if self.unfinished.is_empty() || self.started.elapsed() > FIRST_PASSES {
                return Ok(());
            }
        }
    }

    fn walk_all(&mut self) -> Result<(), AttachError> {
        for index in 0..self.observer.loops.plans.len() {
            let tid = self.observer.loops.plans[index].tid;
            match self.observer.capture.walk(tid) {
                // The thread has ended; the next refresh finds out.
                Ok(()) | Err(CaptureError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), AttachError> {
        let Self {
            observer,
            account,
            lost,
            unfinished,
            ..
        } = self;
        let mut restarts = 0;
        let result = observer.drain(|seen| match seen {
            Seen::Task(record, chain) => account.visit(&record, chain),
            Seen::Slice(slice) => {
                restarts += u64::from(slice.status == SliceStatus::RegistryTorn);
                lost.insert((slice.origin.tid, slice.origin.in_context), slice.lost);
                if slice.status == SliceStatus::Budget && !slice.origin.in_context {
                    unfinished.insert(slice.origin.tid);
                } else if !slice.origin.in_context {
                    unfinished.remove(&slice.origin.tid);
                }
                account.slice(&slice);
            }
        });
        observer.losses.restarts += restarts;
        observer.losses.ring_buffer_full = lost.values().sum();
        match result {
            // The process watcher tells that it has ended.
            Ok(()) | Err(Fault::Gone) => Ok(()),
            Err(fault) => Err(AttachError::Find(fault.into())),
        }
    }

    /// Finds loops that have come or gone. What is read of a target that works can be inconsistent once, but not again and
    /// again: then the process has replaced itself by another program.
    fn refresh(&mut self) -> Result<End, AttachError> {
        let before = self.observer.loops.plans.clone();
        match self.observer.refresh(&self.options.reading, ITERATOR_BUDGET) {
            Ok(gone) => gone.iter().for_each(|&tid| self.account.end_thread(tid)),
            Err(AttachError::Capture(CaptureError::Gone) | AttachError::Asyncio(_)) => {
                self.failures += 1;
                let is_over = self.failures >= MAX_FAILURES || self.observer.process.has_ended();
                return Ok(if is_over { End::Exit } else { End::Time });
            }
            Err(error) => return Err(error),
        }
        self.failures = 0;
        if self.observer.loops.plans != before {
            self.changed = Some(Instant::now());
        }
        self.start_sampling()?;
        Ok(End::Time)
    }

    /// Samples every event-loop thread that is not sampled yet.
    fn start_sampling(&mut self) -> Result<(), AttachError> {
        let period = 1_000_000_000 / u64::from(self.options.rate_hz);
        let tids: Vec<u32> = self.observer.loops.plans.iter().map(|plan| plan.tid).collect();
        for tid in tids {
            if self.observer.capture.is_sampling(tid) {
                continue;
            }
            match self.observer.capture.start_sampling(tid, period) {
                Ok(()) | Err(CaptureError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes sure that code objects are still those that chains were named after. Of a target that has ended, or runs another
    /// program, nothing can be read any more: what was named so far stays named.
    fn check_names(&mut self) -> Result<(), AttachError> {
        let stale = match self.observer.revalidate() {
            _ if self.observer.process.has_ended() => Vec::new(),
            Ok(stale) => stale,
            Err(Fault::Gone) => Vec::new(),
            Err(fault) => return Err(AttachError::Find(fault.into())),
        };
        self.account.confirm(&stale);
        Ok(())
    }

    /// Takes what is left, and sums up. A target that has ended is summed up to the last moment at which its tasks were seen.
    fn finish(mut self, end: End) -> Profile {
        let mut duration = self.started.elapsed().as_secs_f64();
        if end == End::Exit {
            self.account.cut_to_last_visit();
            duration = duration.min(self.account.duration_seconds());
            self.account.end();
            self.account.confirm(&[]);
        } else {
            // The target may just have ended; then there is nothing left to take.
            let _ = self.walk_all();
            let _ = self.take();
            self.account.end();
            if self.check_names().is_err() {
                self.account.confirm(&[]);
            }
        }
        Profile {
            pid: self.observer.pid,
            python: self.observer.interpreter.version.to_string(),
            duration_seconds: duration,
            samples: self.account.samples,
            task_visits: self.account.task_visits,
            busy_seconds: self.account.busy_seconds(),
            threads: self.account.threads(),
            chains: chains(&self.observer.names.chains, &self.account),
            losses: self.observer.losses.clone(),
            target_exited: end == End::Exit,
        }
    }
}

/// Chains with their weights; those that look the same are one.
fn chains(table: &ChainTable, account: &Account) -> Vec<Chain> {
    let mut merged: HashMap<_, Chain> = HashMap::new();
    for (id, chain) in table.iter() {
        let task_seconds = account.task_seconds(id);
        if task_seconds <= 0.0 {
            continue;
        }
        let state = if chain.state == TaskState::Running {
            ChainState::Running
        } else {
            ChainState::Waiting
        };
        let terminal = match chain.state {
            TaskState::Created => Some(Arc::from(NOT_STARTED)),
            TaskState::Waiting | TaskState::Running => chain.terminal.clone(),
        };
        let key = (chain.stack.clone(), state, terminal.clone());
        let entry = merged.entry(key).or_insert_with(|| Chain {
            stack: chain.stack.clone(),
            state,
            terminal,
            task_seconds: 0.0,
        });
        entry.task_seconds += task_seconds;
    }
    let mut chains: Vec<_> = merged.into_values().collect();
    chains.sort_by(|one, other| {
        let by_time = other.task_seconds.total_cmp(&one.task_seconds);
        by_time
            .then_with(|| one.stack.cmp(&other.stack))
            .then_with(|| one.terminal.cmp(&other.terminal))
    });
    chains
}

/// Ready at `until`; never without one.
async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
