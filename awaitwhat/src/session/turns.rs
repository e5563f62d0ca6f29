//! How long event loops have been in one turn, by their own clock.
//!
//! A turn of asyncio's begins when `_run_once` has polled and binds `end_time`. As long as that frame is there with that value, the loop has
//! not polled again: so one look tells since when, and no clock of awaitwhat's has to run meanwhile. That the clock is the system's is asked for
//! first. As a thread may run while it is read, only what two looks agree about is believed.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::observer::Observer;
use crate::memory::{Address, Fault};
use crate::python::event_loop::{Completing, LoopClass, Overdue};
use crate::python::readable;
use crate::target::{EventLoop, LoopMoment};

/// Loops whose classes are remembered.
const MAX_LOOPS: usize = 4096;

/// What is known of the loops of one process.
pub(super) struct Turns {
    loops: HashMap<Address, Known>,
    /// What has to be added to this process's clock to get the target's, in seconds: it may be in a time namespace of its own.
    clock_offset: f64,
}

#[derive(Clone, Copy)]
struct Known {
    /// `None` where it makes its turns in another way than asyncio's own.
    class: Option<LoopClass>,
    has_uvloop_clock: bool,
    completing: Completing,
}

/// What a look at a loop has found.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) moment: LoopMoment,
    /// How long its turn has lasted by then, in seconds; `None` where it is in none, or has a clock of its own.
    pub(super) age: Option<f64>,
    pub(super) at: Instant,
}

impl Turns {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            loops: HashMap::new(),
            clock_offset: monotonic_offset(&pid.to_string()) - monotonic_offset("self"),
        }
    }

    /// Forgets what is known of loops, which may have changed.
    pub(super) fn forget(&mut self) {
        self.loops.clear();
    }

    /// Looks at a loop of asyncio. What was read of the target's memory before is forgotten.
    pub(super) fn look(&mut self, observer: &mut Observer, event_loop: &EventLoop) -> Result<Look, Fault> {
        observer.memory.forget();
        let moment = self.moment(observer, event_loop)?;
        let at = Instant::now();
        let has_clock = self.class(event_loop).is_some_and(|class| class.has_system_clock);
        let age = match &moment {
            LoopMoment::Turn(turn) if has_clock => age(turn.began, self.now()),
            _ => None,
        };
        Ok(Look { moment, age, at })
    }

    /// What a loop has not come to by now; `None` where it does not tell.
    pub(super) fn overdue(
        &self,
        observer: &Observer,
        event_loop: &EventLoop,
    ) -> Result<Option<Overdue>, Fault> {
        let known = self.loops.get(&event_loop.address);
        let Some(known) = known.filter(|known| known.class.is_some_and(|class| class.has_system_clock))
        else {
            return Ok(None);
        };
        let (interpreter, memory) = (&observer.interpreter, &observer.memory);
        readable(interpreter.overdue(memory, event_loop.address, self.now(), known.completing))
    }

    /// What the clock of a loop that was looked at says now, in seconds; `None` where it is not the system's.
    pub(super) fn time_of(&self, event_loop: Address) -> Option<f64> {
        let known = self.loops.get(&event_loop)?;
        let has_system_clock = known.class.is_some_and(|class| class.has_system_clock);
        (has_system_clock || known.has_uvloop_clock).then(|| self.now())
    }

    /// A moment of a loop's clock, as `CLOCK_MONOTONIC` has it here, in ns.
    pub(super) fn nanoseconds(&self, of_loop: f64) -> u64 {
        ((of_loop - self.clock_offset) * 1e9) as u64
    }

    fn class(&self, event_loop: &EventLoop) -> Option<LoopClass> {
        self.loops.get(&event_loop.address)?.class
    }

    fn moment(&mut self, observer: &Observer, event_loop: &EventLoop) -> Result<LoopMoment, Fault> {
        let plan = observer
            .loops
            .plans
            .iter()
            .find(|plan| plan.loop_id() == event_loop.id());
        let is_asyncio = |layout| observer.interpreter.future_types(layout).is_some();
        let Some(plan) = plan.filter(|plan| is_asyncio(plan.layout)) else {
            return Ok(LoopMoment::Unknown);
        };
        if !self.loops.contains_key(&event_loop.address) {
            self.learn(observer, Address(plan.thread_state), event_loop.address)?;
        }
        let Some(class) = self.class(event_loop) else {
            return Ok(LoopMoment::Unknown);
        };
        let (interpreter, memory) = (&observer.interpreter, &observer.memory);
        let found = readable(interpreter.loop_moment(memory, plan, event_loop.address, &class))?;
        Ok(found.unwrap_or(LoopMoment::Unknown))
    }

    fn learn(&mut self, observer: &Observer, thread: Address, event_loop: Address) -> Result<(), Fault> {
        let (interpreter, memory) = (&observer.interpreter, &observer.memory);
        let known = readable(interpreter.interpreter_of(memory, thread).and_then(|state| {
            Ok(Known {
                class: interpreter.loop_class(memory, state, event_loop)?,
                has_uvloop_clock: interpreter.has_uvloop_clock(memory, event_loop)?,
                completing: interpreter.completing(memory, state)?,
            })
        }))?;
        if self.loops.len() >= MAX_LOOPS {
            self.loops.clear();
        }
        // What could not be read is tried again.
        if let Some(known) = known {
            self.loops.insert(event_loop, known);
        }
        Ok(())
    }

    /// The target's `CLOCK_MONOTONIC`, in seconds.
    fn now(&self) -> f64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 + self.clock_offset
    }
}

/// How long ago a moment of the target's clock was, in seconds; `None` where it cannot be one. That clock began at 0, whatever the target's memory says.
fn age(began: f64, now: f64) -> Option<f64> {
    (0.0..=now).contains(&began).then_some(now - began)
}

/// How far a process's `CLOCK_MONOTONIC` is from the machine's, in seconds. 0 where the kernel has no time namespaces.
fn monotonic_offset(process: &str) -> f64 {
    let offsets = fs::read_to_string(format!("/proc/{process}/timens_offsets")).unwrap_or_default();
    parse_offset(&offsets)
}

fn parse_offset(offsets: &str) -> f64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"));
    let mut numbers = line
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(nanoseconds))) => seconds + nanoseconds / 1e9,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{age, parse_offset};

    #[test]
    fn what_is_no_moment_of_the_clock_has_no_age() {
        assert_eq!(age(99.5, 100.0), Some(0.5));
        for began in [-1.0, 100.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300] {
            assert_eq!(age(began, 100.0), None, "{began}");
        }
    }

    #[test]
    fn a_time_namespace_moves_the_clock() {
        assert_eq!(
            parse_offset("monotonic           0         0\nboottime            0         0\n"),
            0.0
        );
        assert_eq!(
            parse_offset("monotonic   -86400   500000000\nboottime   7 0\n"),
            -86399.5
        );
        assert_eq!(parse_offset(""), 0.0);
        assert_eq!(parse_offset("monotonic x"), 0.0);
    }
}
