//! Where all goes that is seen of one target.

use std::time::Instant;

use super::nanoseconds;
use crate::profile::{Changes, End, Observation, Process, Profile, Sums};
use crate::recording::Tape;

/// What a target comes to, and the clock that observations have their moments from.
pub(super) struct Room {
    pub(super) sums: Sums,
    /// What each task does, where that is asked for.
    changes: Option<Changes>,
    /// The recording that all goes into besides.
    tape: Option<Tape>,
    began: Instant,
}

impl Room {
    pub(super) fn new(sums: Sums, changes: Option<Changes>) -> Self {
        Self {
            sums,
            changes,
            tape: None,
            began: Instant::now(),
        }
    }

    /// What it takes to start is no part of the period. From here on all is recorded, where there is a tape.
    pub(super) fn start(&mut self, tape: Option<Tape>) {
        self.tape = tape;
        self.began = Instant::now();
    }

    /// What comes is recorded no longer: the file ends with this.
    pub(super) fn end_tape(&mut self, end: End) {
        if let Some(tape) = self.tape.take() {
            tape.write(&Observation::End(end));
        }
    }

    /// What comes is recorded no longer.
    pub(super) fn end_recording(&mut self) {
        self.tape = None;
    }

    /// From here on all is recorded there.
    pub(super) fn go_on_with(&mut self, tape: Tape) {
        self.tape = Some(tape);
    }

    /// Records what the sums know already.
    pub(super) fn record(&self, known: &Observation) {
        if let Some(tape) = &self.tape {
            tape.write(known);
        }
    }

    /// The moment, in ns since the target was first looked at.
    pub(super) fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// Takes what was seen.
    pub(super) fn take(&mut self, observation: Observation) {
        if let Some(tape) = &self.tape {
            tape.write(&observation);
        }
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
