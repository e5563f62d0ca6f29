//! Writes a recording, as what it tells of is seen.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

mod writer;

use super::block::MAGIC;
use super::snapshots::Packed;
use super::trigger::Trigger;
use super::{Header, Target, Trailer};
use crate::profile::{End, Observation, Process};
use crate::snapshot::Losses;
use crate::survey::Refusals;
use writer::{Output, Writer};

/// Whether a file that begins with these bytes passes for a recording.
#[must_use]
pub fn begins_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Makes room for another file in place of the one that was written, and opens it.
pub type Next = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

/// What to write, and where to. It begins to be a [`Recorder`] in the thread that traces.
pub struct Options {
    pub output: Box<dyn Write + Send>,
    pub header: Header,
    /// Bytes after which the recording ends, or goes on in the next file where there is to be one.
    pub max_bytes: Option<u64>,
    pub next: Option<Next>,
    /// How long after one snapshot of all targets another one is kept; none is where there is no time.
    pub snapshots: Option<Duration>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// So did the trace.
    Trace,
    /// It became as large as it may.
    Size,
    /// It could not be written any longer.
    Failed(String),
}

/// What came of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// In all files.
    pub bytes: u64,
    pub files: u64,
    pub why: Why,
    pub snapshots: Snapshots,
    /// How often something happened for which a file was kept; `None` where all is kept.
    pub triggers: Option<u64>,
}

/// How often targets were kept as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    pub kept: u64,
    /// Those that could not be taken, or had no room, and why the last of them is missing.
    pub missing: u64,
    pub why: Option<String>,
}

/// A recording that is being written. All targets share it.
#[derive(Clone)]
pub struct Recorder {
    writer: Rc<RefCell<Writer>>,
}

/// Where observations of one target go.
#[derive(Clone)]
pub struct Tape {
    writer: Rc<RefCell<Writer>>,
    target: usize,
    /// When its file began, in ns since the target was first looked at, and what was lost by then.
    since: u64,
    lost: Losses,
    /// The last look at all loops, in ns.
    tick: Cell<u64>,
}

impl Recorder {
    /// Begins a recording. Nothing is written before there is a target.
    #[must_use]
    pub fn begin(options: Options) -> Self {
        let Options {
            output,
            header,
            max_bytes,
            next,
            ..
        } = options;
        Self::of(Writer::new(Output::File(output), header, (max_bytes, next)))
    }

    /// Begins one that is held in memory, as far as it has so many bytes: see [`Recorder::let_out`].
    #[must_use]
    pub fn hold(header: Header, max_bytes: u64) -> Self {
        Self::of(Writer::new(
            Output::Memory(Vec::new()),
            header,
            (Some(max_bytes), None),
        ))
    }

    fn of(writer: Writer) -> Self {
        Self {
            writer: Rc::new(RefCell::new(writer)),
        }
    }

    /// Another target is looked at from now on. It belongs to the result even if it has no tasks where `is_shown_empty`.
    #[must_use]
    pub fn target(&self, process: &Process, started_at: jiff::Timestamp, is_shown_empty: bool) -> Tape {
        let mut writer = self.writer.borrow_mut();
        writer.begin();
        let began = writer.elapsed();
        writer.targets_began.push(began / 1_000_000);
        Tape {
            target: writer.encoder.target(&Target {
                process: process.clone(),
                started_at,
                began,
                is_shown_empty,
            }),
            writer: Rc::clone(&self.writer),
            since: 0,
            lost: Losses::default(),
            tick: Cell::default(),
        }
    }

    /// Whether it has ended before the trace: nobody takes what is still seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.writer.borrow().why != Why::Trace
    }

    /// When it began, or the file that it has come to.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.writer.borrow().began
    }

    /// Whether the file is as large as it may be, and another one is to follow.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let writer = self.writer.borrow();
        writer.is_full && writer.why == Why::Trace
    }

    /// Ends the file, after the tapes of all its targets were ended, and goes on in the next one. What is told there has to begin with what targets are.
    pub fn begin_next(&self) {
        self.writer.borrow_mut().begin_next();
    }

    /// Writes what was held to a file that may have so many bytes, and goes on there.
    pub fn let_out(&self, output: Box<dyn Write + Send>, max_bytes: Option<u64>) {
        self.writer.borrow_mut().let_out(output, max_bytes);
    }

    /// Notes why it is kept; what was told before comes first. Until there is a target there is nothing to keep.
    pub fn note(&self, trigger: &Trigger) {
        self.writer.borrow_mut().note(trigger);
    }

    /// Bytes in its file by now, or in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.borrow().written
    }

    /// Keeps snapshots of all targets.
    pub fn keep(&self, packed: &Packed) {
        self.writer.borrow_mut().keep(packed);
    }

    /// Notes that some could not be taken.
    pub fn miss(&self, why: String) {
        self.writer.borrow_mut().miss(why);
    }

    /// Ends the recording: the trace began at `started_at`, and took `duration_ns`.
    #[must_use]
    pub fn finish(&self, started_at: jiff::Timestamp, duration_ns: u64, refused: &Refusals) -> Written {
        let trailer = Trailer {
            started_at,
            duration_ns,
            refused: refused.clone(),
        };
        if self.writer.borrow().former.1 > 0 {
            return self.finish_file(refused);
        }
        self.writer.borrow_mut().finish(&trailer)
    }

    /// Ends the file, which began later than the trace, or ends before it.
    #[must_use]
    pub fn finish_file(&self, refused: &Refusals) -> Written {
        let mut writer = self.writer.borrow_mut();
        let of_file = Trailer {
            started_at: writer.first.started_at,
            duration_ns: writer.ended.unwrap_or_else(|| writer.elapsed()),
            refused: refused.clone(),
        };
        writer.finish(&of_file)
    }
}

impl Tape {
    /// Whether it is one of this recording.
    #[must_use]
    pub fn is_of(&self, recorder: &Recorder) -> bool {
        Rc::ptr_eq(&self.writer, &recorder.writer)
    }

    /// The same of a target that was looked at before its file began: `since` is when that was, in ns since the first look, and `lost` what was lost by then.
    #[must_use]
    pub fn going_on(self, since: u64, lost: Losses) -> Self {
        let tick = Cell::new(since);
        Self {
            since,
            lost,
            tick,
            ..self
        }
    }

    /// Writes what was seen.
    pub fn write(&self, observation: &Observation) {
        if let Some(observation) = self.in_file(observation) {
            self.writer.borrow_mut().write(self.target, &observation);
        }
    }

    /// What is told as of a file that began later than the target was first looked at; `None` of what was over by then.
    fn in_file<'a>(&self, observation: &'a Observation) -> Option<Cow<'a, Observation>> {
        if self.since == 0 {
            return Some(Cow::Borrowed(observation));
        }
        let mut told = observation.clone();
        match &mut told {
            Observation::Tick { at_ms } => {
                self.tick.set(at_ms.saturating_mul(1_000_000));
                *at_ms = at_ms.saturating_sub(self.since / 1_000_000);
            }
            Observation::Answers { at, .. }
            | Observation::Left { at, .. }
            | Observation::LetGo { at, .. }
            | Observation::Ended { at, .. }
            | Observation::End(End { at, .. }) => *at = at.saturating_sub(self.since),
            Observation::Lost(losses) => *losses = losses.since(&self.lost),
            Observation::Held(hold) => {
                let in_file = self.tick.get().saturating_sub(self.since);
                *hold = hold.clone().within(in_file as f64 / 1e9, 0.0)?;
            }
            _ => {}
        }
        Some(Cow::Owned(told))
    }
}
