//! From a process id to a model: everything that reads the target, behind two functions.

mod assemble;
mod observer;
mod once;
mod process;
mod traced;
mod tracer;
mod trio;

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use crate::capture::CaptureError;
use crate::profile::Profile;
use crate::snapshot::Snapshot;
use observer::AttachError;

/// How a target is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time that one walk may hold the target up.
    pub budget: Duration,
    /// Frames of a chain that are read; deeper chains are marked truncated.
    pub max_frames: usize,
}

/// How a target is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    pub reading: Options,
    /// Samples per second.
    pub rate_hz: u32,
    /// How long; until the target ends or the trace is stopped where there is none.
    pub duration: Option<Duration>,
    /// The target was only just started: it may take a while until it is a Python with an event loop.
    pub just_started: bool,
}

/// How far a trace has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub elapsed: Duration,
    pub samples: u64,
    /// Tasks in the last complete pass.
    pub tasks: u64,
}

/// Why a target could not be read.
///
/// The kinds are those that a user has to tell apart (they are the exit codes); what exactly failed is in the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such process, not Python, or a Python that is not known.
    #[error("process {pid} cannot be looked at")]
    Target {
        pid: u32,
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A capability, or a feature of the kernel, is missing.
    #[error("this kernel, or the privileges of this process, do not allow it")]
    Privilege { source: Box<dyn StdError + Send + Sync> },
    /// Anything else.
    #[error("reading process {pid} failed")]
    Failed {
        pid: u32,
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Reads every task of process `pid` once. A process without asyncio, or without tasks, gives an empty snapshot.
///
/// # Errors
/// See [`Error`].
pub async fn snapshot(pid: u32, options: &Options) -> Result<Snapshot, Error> {
    once::snapshot(pid, options)
        .await
        .map_err(|error| error.for_process(pid))
}

/// Reads the tasks of process `pid` again and again, until the time is over, `stop` is ready, or the process ends.
///
/// # Errors
/// See [`Error`]. A process that ends after the first sample is no error: see [`Profile::target_exited`].
pub async fn trace(
    pid: u32,
    options: &TraceOptions,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(Progress),
) -> Result<Profile, Error> {
    tracer::trace(pid, options, stop, progress)
        .await
        .map_err(|error| error.for_process(pid))
}

impl AttachError {
    /// Sorts the error by who has to mend what.
    fn for_process(self, pid: u32) -> Error {
        match self {
            Self::Capture(
                error @ (CaptureError::Permission { .. }
                | CaptureError::Btf(_)
                | CaptureError::KernelType { .. }
                | CaptureError::Load { .. }),
            ) => Error::Privilege { source: error.into() },
            Self::Capture(error @ CaptureError::Gone) => Error::Target {
                pid,
                source: error.into(),
            },
            Self::Capture(error) => Error::Failed {
                pid,
                source: error.into(),
            },
            Self::Watch(error) => Error::Failed {
                pid,
                source: error.into(),
            },
            other => Error::Target {
                pid,
                source: other.into(),
            },
        }
    }
}
