//! Tracing a target, and what it costs the tracer.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::measure::{self, Output, Running, cpu_time, peak_memory};
use super::observers::Tools;
use crate::repo;

/// How often the tracer looks, in Hz.
pub const RATE: u32 = 99;
/// Seconds that the tracer is given to start before it is watched.
const START: f64 = 1.0;
/// Seconds for which it goes on after it was watched, so that its end does not take part.
const REST: f64 = 0.5;

/// A tracer that has been started.
pub struct Tracing {
    running: Running,
    /// Seconds for which it is watched.
    window: f64,
}

/// What was seen of it.
pub struct Traced {
    /// The window in which it was watched: two moments of the monotonic clock, in seconds.
    pub window: (f64, f64),
    /// CPU time in that window over its length.
    pub observer_share: f64,
    /// CPU time beyond that share, in seconds: loading and attaching, resolving names, writing.
    pub overhead: f64,
    /// The most memory it had by the end of the window, in bytes.
    pub peak_memory: u64,
    /// Samples it took, as it says.
    pub samples: u64,
}

/// Starts to trace `pid` so that it can be watched for `window` seconds.
pub fn start(tools: &Tools, pid: u32, window: f64) -> Result<Tracing> {
    let mut command = tools.trace(pid, RATE, START + window + REST);
    let running = measure::start(&mut command, Output::To(profile()?))?;
    Ok(Tracing { running, window })
}

/// What was seen in a window.
struct Watched {
    window: (f64, f64),
    /// Seconds of CPU time.
    used: f64,
    peak_memory: u64,
}

impl Tracing {
    /// Watches it and waits for its end.
    pub fn observe(self) -> Result<Traced> {
        let pid = self.running.pid();
        let watched = self.watch(pid);
        let outcome = self.running.wait()?;
        if let Some(failure) = outcome.failure {
            bail!("tracing failed: {failure}");
        }
        let Watched {
            window,
            used,
            peak_memory,
        } = watched?;
        let observer_share = used / (window.1 - window.0);
        Ok(Traced {
            window,
            observer_share,
            overhead: (outcome.cost.cpu - observer_share * outcome.cost.wall).max(0.0),
            peak_memory,
            samples: samples()?,
        })
    }

    fn watch(&self, pid: u32) -> Result<Watched> {
        thread::sleep(Duration::from_secs_f64(START));
        let (begun, used_before) = (now()?, cpu_time(pid)?);
        thread::sleep(Duration::from_secs_f64(self.window));
        let (ended, used_after) = (now()?, cpu_time(pid)?);
        Ok(Watched {
            window: (begun, ended),
            used: used_after - used_before,
            peak_memory: peak_memory(pid)?,
        })
    }
}

fn profile() -> Result<std::path::PathBuf> {
    Ok(repo::cache("bench")?.join("profile.json"))
}

fn samples() -> Result<u64> {
    let text = std::fs::read_to_string(profile()?).context("cannot read the profile")?;
    let profile: serde_json::Value = serde_json::from_str(&text).context("the profile is not JSON")?;
    profile["samples"]
        .as_u64()
        .context("the profile does not tell its samples")
}

/// The time of the monotonic clock, which the targets use as well.
pub fn now() -> Result<f64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a variable of the type that the call writes, which outlives it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot read the clock");
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
