//! Why a target cannot be looked at.

use std::io;

use crate::capture::CaptureError;
use crate::memory::Fault;
use crate::python::ReadError;
use crate::target::{FindError, SchedulerError};

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
