//! Where all goes that is seen of one target.

use std::time::Instant;

use super::nanoseconds;
use crate::profile::{Changes, End, Observation, Process, Profile, Sums};
use crate::recording::{Recorder, Tape};

/// What a target comes to, and the clock that observations have their moments from.
pub(super) struct Room {
    pub(super) sums: Sums,
    /// What each task does, where that is asked for.
    changes: Option<Changes>,
    /// The recordings that all goes into besides.
    tapes: Vec<Tape>,
    began: Instant,
}

impl Room {
    pub(super) fn new(sums: Sums, changes: Option<Changes>) -> Self {
        Self {
            sums,
            changes,
            tapes: Vec::new(),
            began: Instant::now(),
        }
    }

    /// What it takes to start is no part of the period. From here on all is recorded, where there are tapes.
    pub(super) fn start(&mut self, tapes: Vec<Tape>) {
        self.tapes = tapes;
        self.began = Instant::now();
    }

    /// What comes is recorded there no longer: the file ends with this.
    pub(super) fn end_tape(&mut self, recorder: &Recorder, end: &End) {
        let ended = self.tapes.extract_if(.., |tape| tape.is_of(recorder));
        ended.for_each(|tape| tape.write(&Observation::End(end.clone())));
    }

    /// What comes is recorded there no longer.
    pub(super) fn drop_tape(&mut self, recorder: &Recorder) {
        self.tapes.retain(|tape| !tape.is_of(recorder));
    }

    /// From here on all is recorded there, too.
    pub(super) fn go_on_with(&mut self, tape: Tape) {
        self.tapes.push(tape);
    }

    /// The moment, in ns since the target was first looked at.
    pub(super) fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// Takes what was seen.
    pub(super) fn take(&mut self, observation: Observation) {
        self.tapes.iter().for_each(|tape| tape.write(&observation));
        if let Some(changes) = &mut self.changes {
            changes.take(&observation);
        }
        self.sums.take(observation);
    }

    /// The profile of `process`, whose trace began at `started_at`.
    pub(super) fn into_profile(self, process: Process, started_at: jiff::Timestamp) -> Profile {
        Profile {
            timeline: self.changes.map(Changes::into_timeline),
            ..self.sums.into_profile(process, started_at)
        }
    }
}
