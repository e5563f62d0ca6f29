//! Who held an event loop for so long that nothing else was done, added up.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::origin;
use crate::snapshot::Frame;

/// Places that are told apart; what is held at others is added up as one.
const MAX_PLACES: usize = 1000;
/// What stands for those.
const OTHERS: &str = "other places";

/// What holds a loop: where it is at work, in a task or in a plain callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldPlace {
    /// In a coroutine, and so in a task as a rule; else in a plain callback.
    pub is_task: bool,
    /// The function of the task's coroutine, or of the callback.
    pub root: Arc<str>,
    /// The innermost of the frames that matter most.
    pub frame: Frame,
}

/// Time that a loop was held at one place, in turns of more than [`crate::findings::LONG_TURN`].
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub place: HoldPlace,
    pub seconds: f64,
    /// In how many turns, and how long in the longest one, in seconds.
    pub turns: u64,
    pub longest_seconds: f64,
    /// Integral over that time of the number of the loop's tasks that were ready, in seconds.
    pub ready_seconds: f64,
}

/// Holds while they are added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(HashMap<HoldPlace, Hold>);

/// Not escaped.
impl fmt::Display for HoldPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame {
            function,
            file,
            line,
            origin,
            ..
        } = &self.frame;
        write!(formatter, "{function} ({}:{line})", origin.shown(file))
    }
}

impl HoldPlace {
    /// The place of a stack, innermost first.
    pub(crate) fn of(is_task: bool, stack: &[Frame]) -> Self {
        let frame = stack.get(origin::await_point(stack)).cloned();
        let root = stack.last().map(|root| Arc::clone(&root.function));
        let frame = frame.unwrap_or_else(|| Frame::in_place_of("unknown"));
        Self {
            is_task,
            root: root.unwrap_or_else(|| Arc::clone(&frame.function)),
            frame,
        }
    }

    /// What is not known yet.
    pub(crate) fn not_yet() -> Self {
        Self::of(false, &[])
    }

    fn others() -> Self {
        Self::of(false, &[Frame::in_place_of(OTHERS)])
    }
}

impl Hold {
    /// The part of it that lies within a period: it ended so long (s) after the period began, and so long after that ended. `None` where no part does.
    pub(crate) fn within(mut self, since_begin: f64, since_end: f64) -> Option<Self> {
        let part = self.seconds.min(since_begin) - since_end.max(0.0);
        if part.is_nan() || part <= 0.0 || self.seconds <= 0.0 {
            return None;
        }
        self.ready_seconds *= part / self.seconds;
        self.longest_seconds = self.longest_seconds.min(part);
        self.seconds = part;
        Some(self)
    }
}

impl Holds {
    /// Adds what was held at one place in one turn.
    pub(crate) fn add(&mut self, hold: Hold) {
        let has_room = self.0.len() < MAX_PLACES || self.0.contains_key(&hold.place);
        let place = if has_room {
            hold.place.clone()
        } else {
            HoldPlace::others()
        };
        let sum = self.0.entry(place.clone()).or_insert_with(|| Hold {
            place,
            seconds: 0.0,
            turns: 0,
            longest_seconds: 0.0,
            ready_seconds: 0.0,
        });
        sum.seconds += hold.seconds;
        sum.turns += hold.turns;
        sum.longest_seconds = sum.longest_seconds.max(hold.longest_seconds);
        sum.ready_seconds += hold.ready_seconds;
    }

    /// All of them, the longest first.
    pub(crate) fn into_sorted(self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = self.0.into_values().collect();
        holds.sort_by(|one, other| {
            let by_time = other.seconds.total_cmp(&one.seconds);
            by_time.then_with(|| one.place.cmp(&other.place))
        });
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frame;

    fn hold(line: u32, seconds: f64) -> Hold {
        let stack = [
            frame("read", "/usr/lib/python3.12/socket.py", 700),
            frame("load", "/srv/app.py", line),
            frame("hog", "/srv/app.py", 1),
        ];
        Hold {
            place: HoldPlace::of(true, &stack),
            seconds,
            turns: 1,
            longest_seconds: seconds,
            ready_seconds: 10.0 * seconds,
        }
    }

    #[test]
    fn what_is_held_at_one_place_adds_up() {
        let mut holds = Holds::default();
        [hold(7, 0.5), hold(7, 1.5), hold(9, 1.0)]
            .into_iter()
            .for_each(|it| holds.add(it));
        let sorted = holds.into_sorted();
        let told: Vec<_> = sorted
            .iter()
            .map(|it| {
                (
                    it.place.frame.line,
                    it.seconds,
                    it.turns,
                    it.longest_seconds,
                    it.ready_seconds,
                )
            })
            .collect();
        assert_eq!(told, [(7, 2.0, 2, 1.5, 20.0), (9, 1.0, 1, 1.0, 10.0)]);
        assert_eq!(
            (&*sorted[0].place.root, &*sorted[0].place.frame.function),
            ("hog", "load")
        );
    }

    #[test]
    fn places_have_a_bound() {
        let mut holds = Holds::default();
        (0..5000).for_each(|line| holds.add(hold(line, 1.0)));
        let sorted = holds.into_sorted();
        assert_eq!(sorted.len(), MAX_PLACES + 1);
        assert_eq!(sorted[0].seconds, 4000.0);
        assert_eq!(&*sorted[0].place.frame.function, "<other places>");
    }
}
