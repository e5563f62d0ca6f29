//! From a selection of processes to a model: everything that reads targets, behind two functions.

mod answers;
mod asleep;
mod assemble;
mod attach_error;
mod blocked;
mod chance;
mod completed;
mod family;
mod gathering;
mod holders;
mod jobs;
mod keeper;
mod long_turns;
mod looks;
mod names;
mod observer;
mod once;
mod passes;
mod post_mortem;
mod process;
mod records;
mod rests;
mod ring;
mod room;
mod roster;
mod sockets;
mod traced;
mod tracer;
mod triggers;
mod trio;
mod turns;
mod waits;
mod watcher;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::panic;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use awaitwhat_common::limits::MAX_LOOPS_PER_THREAD;
use tokio::sync::oneshot;

use crate::capture::{Capture, CaptureError};
use crate::pattern::Pattern;
use crate::privileges;
use crate::profile::Profile;
use crate::recording::Written;
use crate::selection::Selection;
use crate::snapshot::Snapshot;
use crate::survey::{Refusals, Refused, Survey};
use attach_error::AttachError;
pub use attach_error::SHOW_ALL;
pub use family::{Child, running_children};
pub use looks::{Look, Looks};
pub use post_mortem::{Lack, PostMortem, post_mortem};
pub use process::hides_processes;
pub use process::own_thread_ids;
use process::thread_count;
pub use records::ToRecord;
pub use ring::{News, When};
use tracer::Told;
pub use watcher::Watcher;

/// How a target is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time that one walk may hold the target up.
    pub budget: Duration,
    /// Frames of a chain that are read; deeper chains are marked truncated.
    pub max_frames: usize,
    /// Files that hold the application's code, where the user says so.
    pub mine: Arc<[Pattern]>,
    /// From when on a wait is slow, which is told of it.
    pub slow: Duration,
    /// Whether arguments of queries and commands are told, which are somebody's data.
    pub arguments: bool,
    /// Size of the ring buffer, in bytes: a power of two, and a page at least. Records that find no room in it are lost, and counted.
    pub ring_bytes: u32,
}

/// Size of the ring buffer in bytes: room for some 16,000 tasks with ten frames each. It counts twice as memory of the process, since
/// a record that wraps around is read in one piece.
pub const RING_BYTES: u32 = 4 << 20;

/// How a target is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    pub reading: Options,
    /// Samples per second.
    pub rate_hz: u32,
    /// How long; until the target ends or the trace is stopped where there is none.
    pub duration: Option<Duration>,
    /// What was named was only just started: it may take a while until it is a Python with an event loop.
    pub just_started: bool,
    /// Whether it is kept what each task did, and when: see [`Profile::timeline`].
    pub keeps_timeline: bool,
}

/// How far a trace has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub elapsed: Duration,
    pub samples: u64,
    /// Tasks in the last complete pass.
    pub tasks: u64,
}

/// When a trace tells what it has found so far.
#[derive(Clone, Debug, Default)]
pub struct Interim {
    /// Again and again, after so long.
    pub every: Option<Duration>,
    /// Whenever somebody sets this, which is taken back then.
    pub is_asked_for: Arc<AtomicBool>,
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
    /// None of several processes, or of those that match.
    #[error("{}", nothing(refused))]
    Nothing { refused: Refusals },
    /// A capability, or a feature of the kernel, is missing.
    #[error("this kernel, or the privileges of this process, do not allow it")]
    Privilege { source: Box<dyn StdError + Send + Sync> },
    /// Anything else.
    #[error("reading process {pid} failed")]
    Failed {
        pid: u32,
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A core file that is none, or of no Python that is known.
    #[error("the core file {} cannot be looked at", path.display())]
    Core {
        path: PathBuf,
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What awaitwhat itself needs has run out, or does not work.
    #[error("awaitwhat cannot begin to read")]
    NotBegun { source: Box<dyn StdError + Send + Sync> },
    /// There is none for what takes a while.
    #[error(
        "no thread can be started to trace in: raise `ulimit -u`, or pids.max of the control group, or end something"
    )]
    NoThread { source: io::Error },
}

/// What a trace has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub survey: Survey<Profile>,
    pub started_at: jiff::Timestamp,
    /// How long it took; processes that came later or ended earlier were traced for a shorter time.
    pub duration: Duration,
    /// What came of its recording, where there is one.
    pub written: Option<Written>,
}

/// Reads every task of the processes of `selection` once. A process without asyncio, or without tasks, gives an empty snapshot where
/// it was named or matches, and none otherwise.
///
/// # Errors
/// See [`Error`]. Of several processes those that cannot be looked at are no error, but [`Survey::refused`].
pub async fn snapshots(selection: &Selection, options: &Options) -> Result<Survey<Snapshot>, Error> {
    // One thread after the other.
    once::snapshots(&mut load(options, MAX_LOOPS_PER_THREAD)?, selection, options).await
}

/// Reads the tasks of the processes of `selection` again and again, until the time is over, `stop` is ready, or all have ended.
///
/// That happens in a thread of its own, which is told to stop when what is returned here is dropped. In it, `afterwards` is told what came of it, and
/// may still look at processes; the thread that this is called from may not any more. Meanwhile `progress` is told how far it has come, and `so_far` what there
/// would be to show if it ended now, when `interim` says so. What is `to_record` is written, too.
///
/// # Errors
/// As [`snapshots`]. A process that ends after the first sample is no error: see [`Profile::target_exited`].
pub async fn trace(
    selection: &Selection,
    options: &TraceOptions,
    to_record: Option<ToRecord>,
    stop: impl Future,
    progress: impl FnMut(Progress) + Send + 'static,
    (interim, so_far): (Interim, impl FnMut(Trace) + Send + 'static),
    afterwards: impl FnOnce(&Result<Trace, Error>) + Send + 'static,
) -> Result<Trace, Error> {
    let loops = match selection.single() {
        Some(pid) => thread_count(pid).clamp(*LOOPS.start(), *LOOPS.end()),
        None => *LOOPS.end(),
    };
    let (selection, options) = (selection.clone(), options.clone());
    let (stopper, stopped) = mpsc::channel();
    let (done, mut is_done) = oneshot::channel::<()>();
    let told = Told {
        progress,
        interim,
        so_far,
    };
    let work = thread::Builder::new().name("tracer".to_owned()).spawn(move || {
        // Dropped when all is done, also by a panic.
        let _done = done;
        privileges::only_read(privileges::Set::empty());
        let trace = load(&options.reading, loops)
            .and_then(|capture| tracer::trace(capture, &selection, &options, to_record, &stopped, told));
        afterwards(&trace);
        trace
    });
    // That thread has what it needs: a thread begins with the capabilities of the one that makes it.
    privileges::leave_reading();
    let work = work.map_err(|source| Error::NoThread { source })?;
    let mut stop = pin!(stop);
    tokio::select! {
        _ = &mut is_done => {}
        _ = &mut stop => {
            drop(stopper);
            // Never sent to, only dropped.
            let _ = is_done.await;
        }
    }
    work.join()
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// Makes sure that `/proc` is there, and counts processes as we do.
///
/// # Errors
/// When it does not: then no process can be looked at.
pub fn check_proc() -> Result<(), impl StdError> {
    process::check_proc()
}

/// Event loops that a trace has room for: of one process as many as it has threads when the trace begins, within these bounds; of several the
/// most.
const LOOPS: RangeInclusive<u32> = 64..=1024;

fn load(options: &Options, loops: u32) -> Result<Capture, Error> {
    // Without it there would seem to be no processes at all.
    process::check_proc().map_err(|error| Error::Privilege { source: error.into() })?;
    Capture::load(options.ring_bytes, loops).map_err(|error| {
        let is_about_kernel = error.is_about_kernel();
        let source = error.into();
        if is_about_kernel {
            Error::Privilege { source }
        } else {
            Error::NotBegun { source }
        }
    })
}

/// What is said where nothing was found to look at.
fn nothing(refused: &Refusals) -> String {
    let mut text = "no Python process was found to look at".to_owned();
    for Refused { pid, command, reason } in &refused.each {
        let name = if command.is_empty() {
            String::new()
        } else {
            format!(" ({command})")
        };
        // Writing into a string cannot fail.
        let _ = write!(text, "\nprocess {pid}{name}: {reason}");
    }
    if refused.others > 0 {
        let _ = write!(text, "\nand {} more", refused.others);
    }
    text
}

impl AttachError {
    /// Sorts the error by who has to mend what.
    fn for_process(self, pid: u32) -> Error {
        match self {
            Self::Capture(error) if error.is_about_kernel() => Error::Privilege { source: error.into() },
            error @ (Self::NoProc | Self::ForeignProc | Self::Hidden(_) | Self::AllHidden) => {
                Error::Privilege { source: error.into() }
            }
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

/// A duration in ns; as long as can be said where it is longer.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
