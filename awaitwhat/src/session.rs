//! How targets are read, and why they cannot be.

use std::error::Error as StdError;
use std::time::Duration;

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
