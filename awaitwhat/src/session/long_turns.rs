//! Turns of event loops that last long, while a trace goes on: in what they are at work, and how many tasks are ready meanwhile.
//!
//! A loop is looked at again where its thread has run since; of one that has not, what was seen still holds. A turn ends between two looks:
//! half of the time between them is its own, which is right on average. Looks that come late add no more than others.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::blocked::held_frames;
use super::observer::Observer;
use super::turns::{Look, Turns};
use crate::decode::{Origin, SliceRecord};
use crate::findings::LONG_TURN;
use crate::memory::{Address, Fault};
use crate::profile::{Hold, HoldPlace};
use crate::target::{EventLoop, LoopMoment, Turn};

/// Between two looks at a loop whose thread runs: while it is in one turn, and while it turns. Each look takes some reads of the target's memory.
const PAUSE: Duration = Duration::from_millis(25);
const LONG_PAUSE: Duration = Duration::from_millis(50);
/// Between two searches for what a loop has not come to.
const SEARCH: Duration = Duration::from_millis(100);
/// How much earlier than it was seen last a turn may seem to have ended: the clocks are read one after the other.
const TOLERANCE: Duration = Duration::from_millis(5);

/// The loops of one process under trace.
pub(super) struct LongTurns {
    turns: Turns,
    loops: HashMap<LoopId, OfLoop>,
    /// Of turns that are over, and were not told yet.
    holds: Vec<Hold>,
    started: Instant,
}

struct OfLoop {
    /// The thread may have run since it was looked at.
    has_run: bool,
    looked: Option<Instant>,
    /// Up to when the thread has not run since it was looked at.
    still_until: Option<Instant>,
    turn: Option<Current>,
    /// Tasks that were ready, in the pass that goes on and in the last complete one, by who makes it.
    ready: [ReadyCount; 2],
    latest_ready: u64,
}

#[derive(Clone, Copy, Default)]
struct ReadyCount {
    pass: u64,
    tasks: u64,
}

/// The turn that a loop is in.
struct Current {
    turn: Turn,
    /// When it began, and until when it was seen; up to there its time is counted.
    began: Instant,
    seen_until: Instant,
    looks: u32,
    /// Tasks that were ready when it was seen again for the first time.
    first_ready: Option<u64>,
    /// What was held where, as far as it was counted.
    held: HashMap<HoldPlace, (f64, f64)>,
    place: Option<HoldPlace>,
    /// The one that was found first.
    first_place: Option<HoldPlace>,
    searched: Option<Instant>,
    due: HashSet<Address>,
}

impl LongTurns {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            turns: Turns::new(pid),
            loops: HashMap::new(),
            holds: Vec::new(),
            started: Instant::now(),
        }
    }

    /// What it takes to start is no part of the period.
    pub(super) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// Notes whether the thread of a loop has run since the last time.
    pub(super) fn note_run(&mut self, event_loop: LoopId, has_run: bool) {
        let it = self.loops.entry(event_loop).or_insert_with(OfLoop::new);
        it.has_run |= has_run;
        if !it.has_run {
            it.still_until = Some(Instant::now());
        }
    }

    /// Takes one visit of a task.
    pub(super) fn visit(&mut self, origin: &Origin, is_ready: bool) {
        let it = self.loops.entry(origin.event_loop).or_insert_with(OfLoop::new);
        let count = it.count(origin);
        count.tasks += u64::from(is_ready);
    }

    /// Takes the end of a slice.
    pub(super) fn slice(&mut self, slice: &SliceRecord) {
        if slice.status == SliceStatus::PassComplete
            && let Some(it) = self.loops.get_mut(&slice.origin.event_loop)
        {
            it.latest_ready = it.count(&slice.origin).tasks;
            *it.count(&slice.origin) = ReadyCount::default();
        }
    }

    /// The loops have changed: those that are there no longer have no turns.
    pub(super) fn forget_gone(&mut self, running: &[EventLoop]) {
        self.turns.forget();
        let is_there = |id: &LoopId| running.iter().any(|it| it.id() == *id);
        let gone: Vec<LoopId> = self.loops.keys().filter(|id| !is_there(id)).copied().collect();
        for id in gone {
            if let Some(of_loop) = self.loops.remove(&id) {
                of_loop.end(&mut self.holds, self.started);
            }
        }
    }

    /// Looks at the loops whose threads have run, and counts the time of those that are in a turn. Returns those that rest, while more tasks of
    /// theirs could go on by now than when these were read.
    pub(super) fn look(&mut self, observer: &mut Observer) -> Result<Vec<LoopId>, Fault> {
        let mut outdated = Vec::new();
        for event_loop in observer.loops.running.clone() {
            let it = self.loops.entry(event_loop.id()).or_insert_with(OfLoop::new);
            if it.looked.is_some_and(|looked| looked.elapsed() < it.pause()) {
                continue;
            }
            it.looked = Some(Instant::now());
            let is_at_rest = !std::mem::take(&mut it.has_run);
            if !is_at_rest {
                it.still_until = None;
                let look = self.turns.look(observer, &event_loop)?;
                if it.take(look, &mut self.holds, self.started) {
                    observer.names.due.remove(&event_loop.address);
                }
            } else if let (Some(turn), Some(until)) = (&mut it.turn, it.still_until) {
                turn.looks += 1;
                turn.see(until, it.latest_ready, self.started);
            }
            let Some(turn) = it.turn.as_mut().filter(|turn| turn.is_long()) else {
                continue;
            };
            if !is_at_rest || turn.place.is_none() {
                turn.find_place(observer)?;
            }
            if turn.searched.is_none_or(|searched| searched.elapsed() >= SEARCH) {
                turn.searched = Some(Instant::now());
                let found = self.turns.overdue(observer, &event_loop)?.unwrap_or_default();
                let before = turn.due.len();
                turn.due = found.futures.into_iter().collect();
                if turn.due.len() > before && is_at_rest {
                    outdated.push(event_loop.id());
                }
                observer.names.due.insert(event_loop.address, turn.due.clone());
            }
        }
        Ok(outdated)
    }

    /// The turn of a loop that has lasted for longer than that by when it was seen last, in words: the longest one.
    pub(super) fn longest(&self, longer_than: Duration) -> Option<String> {
        let lasted = |turn: &Current| turn.seen_until.saturating_duration_since(turn.began);
        let turns = self
            .loops
            .iter()
            .filter_map(|(id, it)| Some((id, it.turn.as_ref()?)));
        let long = turns.filter(|(_, turn)| turn.is_long() && lasted(turn) > longer_than);
        let (id, turn) = long.max_by_key(|(_, turn)| lasted(turn))?;
        let seconds = lasted(turn).as_secs_f64();
        let place = turn.place.as_ref().or(turn.first_place.as_ref());
        let place = place.map_or_else(String::new, |place| format!(", at work in {place}"));
        let tid = id.tid;
        Some(format!(
            "the loop of thread {tid} has been in one turn for {seconds:.2} s{place}"
        ))
    }

    /// What turns have held that are over since the last time.
    pub(super) fn take_holds(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.holds)
    }

    /// What all turns have held that were not told yet.
    pub(super) fn finish(mut self) -> Vec<Hold> {
        for (_, of_loop) in std::mem::take(&mut self.loops) {
            of_loop.end(&mut self.holds, self.started);
        }
        self.holds
    }
}

impl OfLoop {
    fn new() -> Self {
        Self {
            has_run: true,
            looked: None,
            still_until: None,
            turn: None,
            ready: Default::default(),
            latest_ready: 0,
        }
    }

    fn pause(&self) -> Duration {
        match &self.turn {
            Some(turn) if turn.looks > 1 => PAUSE,
            _ => LONG_PAUSE,
        }
    }

    fn count(&mut self, origin: &Origin) -> &mut ReadyCount {
        let count = &mut self.ready[usize::from(origin.in_context)];
        if count.pass != origin.pass {
            *count = ReadyCount {
                pass: origin.pass,
                tasks: 0,
            };
        }
        count
    }

    /// Takes what a look has found. True where the turn that the loop was in has ended.
    fn take(&mut self, look: Look, holds: &mut Vec<Hold>, started: Instant) -> bool {
        let Look { moment, age, at } = look;
        let found = match moment {
            // It may have been read in the middle of a change.
            LoopMoment::Unknown => return false,
            LoopMoment::Polling => None,
            LoopMoment::Turn(turn) => {
                let Some(began) = age.and_then(|age| at.checked_sub(Duration::from_secs_f64(age))) else {
                    return false;
                };
                Some((turn, began))
            }
        };
        if let (Some(current), Some((turn, began))) = (&mut self.turn, &found) {
            if current.turn.is_same(turn) {
                current.looks += 1;
                if !current.turn.is_same_callback(turn) || current.turn.stack != turn.stack {
                    current.place = None;
                }
                current.turn.clone_from(turn);
                current.see(at, self.latest_ready, started);
                return false;
            }
            if *began + TOLERANCE < current.seen_until {
                // No turn begins before the one before it has ended: this was read in the middle of a change.
                return false;
            }
        }
        let at_most = found.as_ref().map_or(at, |(_, began)| at.min(*began));
        let ended = self.turn.take();
        self.turn = found.map(|(turn, began)| Current {
            turn,
            began,
            seen_until: at,
            looks: 1,
            first_ready: None,
            held: HashMap::new(),
            place: None,
            first_place: None,
            searched: None,
            due: HashSet::new(),
        });
        let has_ended = ended.is_some();
        if let Some(mut ended) = ended {
            ended.see_end(at_most, self.latest_ready, started);
            ended.end(holds, started);
        }
        has_ended
    }

    fn end(self, holds: &mut Vec<Hold>, started: Instant) {
        if let Some(current) = self.turn {
            current.end(holds, started);
        }
    }
}

impl Current {
    fn is_long(&self) -> bool {
        self.looks > 1 && (self.seen_until - self.began).as_secs_f64() > LONG_TURN
    }

    /// The turn still lasts at `at`, with so many tasks ready.
    fn see(&mut self, at: Instant, ready: u64, started: Instant) {
        let seconds = at
            .saturating_duration_since(self.seen_until.max(started))
            .as_secs_f64();
        self.seen_until = self.seen_until.max(at);
        self.first_ready.get_or_insert(ready);
        let place = self.place.clone().unwrap_or_else(HoldPlace::not_yet);
        let (held, of_ready) = self.held.entry(place).or_default();
        *held += seconds;
        *of_ready += seconds * ready as f64;
    }

    /// The turn has ended since it was seen last, at `at_most` at the latest.
    fn see_end(&mut self, at_most: Instant, ready: u64, started: Instant) {
        if self.is_long() {
            let unseen = at_most.saturating_duration_since(self.seen_until).min(PAUSE);
            self.see(self.seen_until + unseen / 2, ready, started);
        }
    }

    /// Finds out in what it is at work; what was not known before belongs to that.
    fn find_place(&mut self, observer: &mut Observer) -> Result<(), Fault> {
        let (frames, coroutine) = held_frames(observer, &self.turn)?;
        self.set_place(HoldPlace::of(!coroutine.is_null(), &frames));
        Ok(())
    }

    fn set_place(&mut self, place: HoldPlace) {
        if let Some((seconds, ready)) = self.held.remove(&HoldPlace::not_yet()) {
            let (held, of_ready) = self.held.entry(place.clone()).or_default();
            *held += seconds;
            *of_ready += ready;
        }
        self.first_place.get_or_insert_with(|| place.clone());
        self.place = Some(place);
    }

    /// The turn is over: what was held in it counts where it was long.
    fn end(mut self, holds: &mut Vec<Hold>, started: Instant) {
        if !self.is_long() {
            return;
        }
        // From its beginning until it was seen first it was at work, too: in what was seen then.
        let seen: f64 = self.held.values().map(|(seconds, _)| seconds).sum();
        let before =
            (self.seen_until.saturating_duration_since(self.began.max(started))).as_secs_f64() - seen;
        let first = self.first_place.take().unwrap_or_else(HoldPlace::not_yet);
        let (held, of_ready) = self.held.entry(first).or_default();
        *held += before.max(0.0);
        *of_ready += before.max(0.0) * self.first_ready.unwrap_or(0) as f64;
        for (place, (seconds, ready_seconds)) in self.held {
            holds.push(Hold {
                place,
                seconds,
                turns: 1,
                longest_seconds: seconds,
                ready_seconds,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Holds;
    use crate::testing::frame;

    /// A loop under looks at moments of a period, in ms.
    struct World {
        started: Instant,
        it: OfLoop,
        holds: Vec<Hold>,
    }

    impl World {
        fn new() -> Self {
            Self {
                started: Instant::now(),
                it: OfLoop::new(),
                holds: Vec::new(),
            }
        }

        /// A look finds the turn that began at `began`, where there is one, in a callback.
        fn look(&mut self, at: u64, began: Option<i64>, callback: u64) -> bool {
            let turn = |began: i64| Turn {
                frame: Address(8),
                began: began as f64 / 1e3,
                end_time: Address(16),
                handle: Address(callback),
                stack: Vec::new(),
                left_out: 0,
            };
            let look = Look {
                moment: began.map_or(LoopMoment::Polling, |began| LoopMoment::Turn(turn(began))),
                age: began.map(|began| (at as i64 - began) as f64 / 1e3),
                at: self.started + Duration::from_millis(at),
            };
            let has_ended = self.it.take(look, &mut self.holds, self.started);
            if let Some(turn) = self
                .it
                .turn
                .as_mut()
                .filter(|turn| turn.is_long() && turn.place.is_none())
            {
                turn.set_place(HoldPlace::of(true, &[frame("f", "/srv/app.py", callback as u32)]));
            }
            has_ended
        }

        /// Line, milliseconds, turns and task-milliseconds of each place.
        fn told(mut self) -> Vec<(u32, u64, u64, u64)> {
            self.it.end(&mut self.holds, self.started);
            let milliseconds = |seconds: f64| (seconds * 1e3).round() as u64;
            let told = |hold: Hold| {
                let ready = milliseconds(hold.ready_seconds);
                (
                    hold.place.frame.line,
                    milliseconds(hold.seconds),
                    hold.turns,
                    ready,
                )
            };
            let mut sums = Holds::default();
            self.holds.into_iter().for_each(|hold| sums.add(hold));
            sums.into_sorted().into_iter().map(told).collect()
        }
    }

    #[test]
    fn a_long_turn_counts_from_its_beginning_until_midway_between_two_looks() {
        let mut world = World::new();
        world.it.latest_ready = 10;
        assert!(!world.look(30, Some(10), 1));
        (1..=10).for_each(|number| assert!(!world.look(30 + 25 * number, Some(10), 1)));
        assert!(world.look(300, None, 0));
        assert_eq!(world.told(), [(1, 280, 1, 2800)]);
    }

    #[test]
    fn a_turn_ends_before_the_next_one_begins_and_a_late_look_adds_no_more_than_others() {
        for (at, next, expected) in [(300, Some(290), 285), (1300, None, 293), (1300, Some(282), 281)] {
            let mut world = World::new();
            world.look(10, Some(0), 1);
            world.look(280, Some(0), 1);
            world.look(at, next, 2);
            let told = world.told();
            assert!(
                matches!(told[..], [(1, milliseconds, 1, 0)] if milliseconds == expected),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_turn_that_goes_on_is_told_as_soon_as_it_is_long_enough() {
        let mut world = World::new();
        world.look(10, Some(0), 1);
        world.look(300, Some(0), 1);
        let mut turns = LongTurns::new(1);
        turns.loops.insert(LoopId { tid: 7, slot: 0 }, world.it);
        let told = |milliseconds| turns.longest(Duration::from_millis(milliseconds));
        assert_eq!(told(301), None);
        insta::assert_snapshot!(told(299).unwrap(), @"the loop of thread 7 has been in one turn for 0.30 s, at work in f (/srv/app.py:1)");
    }

    #[test]
    fn what_began_before_the_trace_counts_from_there() {
        let mut world = World::new();
        world.look(10, Some(-5000), 1);
        world.look(500, Some(-5000), 1);
        assert_eq!(world.told(), [(1, 500, 1, 0)]);
    }

    #[test]
    fn short_turns_and_such_as_were_seen_once_count_for_nothing() {
        let mut world = World::new();
        (0..40).for_each(|number| {
            let began = 25 * number;
            world.look(began + 5, Some(began as i64), 1);
            world.look(began + 20, Some(began as i64), 1);
        });
        // Read in the middle of a change: as if it had lasted for long.
        world.look(2000, None, 0);
        world.look(2025, Some(100), 1);
        world.look(2050, None, 0);
        assert_eq!(world.told(), []);
    }

    #[test]
    fn a_look_that_contradicts_the_one_before_is_left_out() {
        let mut world = World::new();
        world.look(10, Some(5), 1);
        world.look(200, Some(5), 1);
        assert!(!world.look(225, Some(100), 1));
        world.look(250, Some(5), 1);
        assert_eq!(world.told(), [(1, 245, 1, 0)]);
    }

    #[test]
    fn callbacks_of_one_turn_are_told_apart() {
        let mut world = World::new();
        world.look(10, Some(0), 1);
        world.look(150, Some(0), 1);
        world.look(200, Some(0), 2);
        assert_eq!(world.told(), [(1, 150, 1, 0), (2, 50, 1, 0)]);
    }
}
