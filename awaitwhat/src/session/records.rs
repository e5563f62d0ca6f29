//! The recordings of a trace: none, one, or those of which the oldest is kept when something happens.

use std::time::Duration;

use super::nanoseconds;
use super::ring::{Ring, When};
use crate::profile::Process;
use crate::recording::{self, Recorder, Tape, Written};
use crate::survey::Refusals;

/// What is to be recorded.
#[derive(Debug)]
pub enum ToRecord {
    /// All that is seen.
    All(recording::Options),
    /// What is seen around the moments at which something happens.
    When(When),
}

impl ToRecord {
    /// How long after one snapshot of all targets another one is kept.
    pub(super) fn snapshots(&self) -> Option<Duration> {
        match self {
            Self::All(options) => options.snapshots,
            Self::When(when) => when.snapshots,
        }
    }
}

/// See the module.
pub(super) enum Records {
    None,
    One(Recorder),
    Ring(Box<Ring>),
}

impl Records {
    pub(super) fn begin(to_record: Option<ToRecord>) -> Self {
        match to_record {
            None => Self::None,
            Some(ToRecord::All(options)) => Self::One(Recorder::begin(options)),
            Some(ToRecord::When(when)) => Self::Ring(Box::new(Ring::begin(when))),
        }
    }

    /// All that go on.
    pub(super) fn recorders(&self) -> Vec<Recorder> {
        match self {
            Self::None => Vec::new(),
            Self::One(recorder) => vec![recorder.clone()],
            Self::Ring(ring) => ring.recorders(),
        }
    }

    /// The only one there is.
    pub(super) const fn one(&self) -> Option<&Recorder> {
        match self {
            Self::One(recorder) => Some(recorder),
            Self::None | Self::Ring(_) => None,
        }
    }

    pub(super) fn ring_mut(&mut self) -> Option<&mut Ring> {
        match self {
            Self::Ring(ring) => Some(ring),
            Self::None | Self::One(_) => None,
        }
    }

    /// Where observations of another target go. It belongs to the result even if it has no tasks where `is_shown_empty`.
    pub(super) fn tapes(
        &self,
        process: &Process,
        started_at: jiff::Timestamp,
        is_shown_empty: bool,
    ) -> Vec<Tape> {
        let tape = |it: &Recorder| it.target(process, started_at, is_shown_empty);
        self.recorders().iter().map(tape).collect()
    }

    /// Whether nobody takes what is still seen.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::None => false,
            Self::One(recorder) => recorder.is_over(),
            Self::Ring(ring) => ring.is_over(),
        }
    }

    /// Ends what goes on: the trace began at `started_at`, and took `duration`. `None` where nothing was to be recorded.
    pub(super) fn finish(
        self,
        started_at: jiff::Timestamp,
        duration: Duration,
        refused: &Refusals,
    ) -> Option<Written> {
        match self {
            Self::None => None,
            Self::One(recorder) => Some(recorder.finish(started_at, nanoseconds(duration), refused)),
            Self::Ring(ring) => Some(ring.finish(started_at, duration, refused)),
        }
    }
}
