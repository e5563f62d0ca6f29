//! Whether a condition holds of what a trace sees. Nothing is read for that: what is told was seen, so that it is true, and a lower bound.

use std::time::{Duration, Instant};

use super::traced::Traced;
use crate::condition::Condition;

/// How often it is looked, and how many times longer than a look takes nobody looks again: it then takes 1 % of a processor at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSES: u32 = 100;

/// Conditions, and which of them were told to hold.
pub(super) struct Triggers {
    each: Vec<(Condition, bool)>,
    due: Instant,
}

/// A condition that holds, as it was given, and what has made it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) condition: String,
    pub(super) what: String,
}

impl Triggers {
    pub(super) fn new(conditions: &[Condition]) -> Self {
        Self {
            each: conditions.iter().map(|it| (it.clone(), false)).collect(),
            due: Instant::now(),
        }
    }

    /// The conditions that hold, and did not when it was looked before. What was told is not told again while a file `is_writing`, however often it holds.
    pub(super) fn look<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a Traced> + Clone,
        is_writing: bool,
    ) -> Vec<Found> {
        let now = Instant::now();
        if now < self.due {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (condition, was_told) in &mut self.each {
            let what = targets.clone().find_map(|it| it.what_holds(&condition.kind));
            match what {
                Some(what) if !*was_told => {
                    *was_told = true;
                    found.push(Found {
                        condition: condition.to_string(),
                        what,
                    });
                }
                Some(_) => {}
                None => *was_told &= is_writing,
            }
        }
        self.due = now + PAUSE.max(now.elapsed() * PAUSES);
        found
    }
}
