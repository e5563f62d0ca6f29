//! A profile: samples of both kinds for a while, summed up as they come.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::observer::{AttachError, Observer, ring_bytes};
use super::traced::{End, ITERATOR_BUDGET, Traced};
use super::{Progress, TraceOptions};
use crate::capture::Capture;
use crate::profile::Profile;

/// How often a program that was just started is looked at until it is ready.
const RETRY: Duration = Duration::from_millis(5);
/// How long such a program may take until there is an interpreter in it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the first passes over many tasks may take before sampling begins.
const FIRST_PASSES: Duration = Duration::from_secs(2);

/// Traces process `pid`.
pub(super) async fn trace(
    pid: u32,
    options: &TraceOptions,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(Progress),
) -> Result<Profile, AttachError> {
    let mut stop = pin!(stop);
    let mut capture = Capture::load(ring_bytes())?;
    let observer = tokio::select! {
        observer = attach(&mut capture, pid, options) => observer?,
        () = &mut stop => return Err(AttachError::TooEarly),
    };
    let target = Traced::begin(observer, &mut capture, options)?;
    let mut tracer = Tracer {
        capture,
        target,
        options,
        progress,
        started: Instant::now(),
    };
    let end = tracer.run(stop).await?;
    Ok(tracer.finish(end))
}

/// Attaches; to a program that was just started as soon as it can be read.
async fn attach(capture: &mut Capture, pid: u32, options: &TraceOptions) -> Result<Observer, AttachError> {
    let started = Instant::now();
    loop {
        match Observer::attach(capture, pid, &options.reading, ITERATOR_BUDGET) {
            Err(error) if options.just_started && error.is_too_early() && started.elapsed() < PATIENCE => {
                tokio::time::sleep(RETRY).await;
            }
            Err(AttachError::Ended | AttachError::NoSuchProcess) if options.just_started => {
                return Err(AttachError::TooEarly);
            }
            result => return result,
        }
    }
}

struct Tracer<'a, P> {
    capture: Capture,
    target: Traced,
    options: &'a TraceOptions,
    progress: P,
    started: Instant,
}

impl<P: FnMut(Progress)> Tracer<'_, P> {
    /// Samples until the time is over, `stop` is ready, or the target ends.
    async fn run(&mut self, mut stop: impl Future<Output = ()> + Unpin) -> Result<End, AttachError> {
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
        if self.target.has_ended() {
            return Ok(End::Exit);
        }
        self.look()?;
        let (samples, tasks) = self.target.progress();
        (self.progress)(Progress {
            elapsed: self.started.elapsed(),
            samples,
            tasks,
        });
        self.target.keep_up(&mut self.capture, self.options)
    }

    /// Visits every task once before time is divided into samples, so that even a short trace has seen all of them.
    fn first_passes(&mut self) -> Result<(), AttachError> {
        loop {
            self.look()?;
            if !self.target.is_unfinished() || self.started.elapsed() > FIRST_PASSES {
                return Ok(());
            }
        }
    }

    fn look(&mut self) -> Result<(), AttachError> {
        self.target.walk_all(&self.capture)?;
        self.take()
    }

    /// Takes all that the eBPF side has sent.
    fn take(&mut self) -> Result<(), AttachError> {
        let Self { capture, target, .. } = self;
        target.begin_drain();
        let mut result = Ok(());
        capture.drain(|bytes| {
            if result.is_ok() {
                result = target.take(bytes);
            }
        });
        result
    }

    /// Takes what is left, and sums up.
    fn finish(mut self, end: End) -> Profile {
        if end == End::Time {
            // The target may just have ended; then there is nothing left to take.
            let _ = self.look();
        }
        self.target.finish(&mut self.capture, end)
    }
}

/// Ready at `until`; never without one.
async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
