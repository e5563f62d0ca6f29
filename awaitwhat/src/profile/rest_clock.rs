//! The clock of a loop's rest.

/// Looks over which what the looks say is brought in line with how long the loop has rested.
const STEERING: f64 = 64.0;
/// How much rest (ns) has to be seen until what looks find is weighed by how much of it there was indeed.
const TRUST: f64 = 2e8;

/// How long a loop has rested, as far as looks at it can tell.
///
/// Looks come by a timer, and find the loop at rest or at work. What is found at rest has to stand for as much time as lies between two looks,
/// whatever kind of rest it was: a long rest is looked at more often than a short one, in proportion. If it stood for how long the loop has rested since the
/// last look, long rests would have more than their part, as most of that time is their own. So this clock advances
/// by the time between looks, as far as they find the loop at rest. How long it has rested indeed, which the kernel knows exactly, corrects it slowly.
///
/// On a machine with much to do looks find rest too often: whoever looks takes a CPU, and may take it from the loop. So what they find counts as much as all rest until then
/// does, per rest that was found until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestClock {
    /// Time (ns) of the last look, and whether the loop was at rest.
    looked: (u64, bool),
    /// How long (ns) the loop had rested, for the kernel, when the clock began.
    start: u64,
    now: f64,
    /// How long (ns) looks have found it at rest.
    found: f64,
    /// The next look is another one.
    is_due: bool,
}

impl RestClock {
    /// Begins at 0. `time` is that of a look or sample, `runtime` the thread's CPU time then, in ns.
    pub(super) fn begin(time: u64, runtime: u64) -> Self {
        Self {
            looked: (time, false),
            start: time.saturating_sub(runtime),
            now: 0.0,
            found: 0.0,
            is_due: true,
        }
    }

    /// How long (ns) the loop has rested indeed.
    pub(super) fn rested(&self, time: u64, runtime: u64) -> f64 {
        time.saturating_sub(runtime).saturating_sub(self.start) as f64
    }

    /// The next look is another one. Until then all that is found at rest is found by one look, which may take a pass in several pieces.
    pub(super) fn tick(&mut self) {
        self.is_due = true;
    }

    /// Takes what a look has found; returns the time (ns) on this clock.
    pub(super) fn look(&mut self, time: u64, runtime: u64, is_at_rest: bool) -> f64 {
        let (last, was_at_rest) = self.looked;
        if std::mem::take(&mut self.is_due) {
            let at_rest = f64::from(u8::from(was_at_rest) + u8::from(is_at_rest)) / 2.0;
            let before = self.now;
            let found = time.saturating_sub(last) as f64 * at_rest;
            let rested = self.rested(time, runtime);
            self.found += found;
            self.now += found * (rested + TRUST) / (self.found + TRUST);
            if is_at_rest {
                let ahead = self.now - rested;
                self.now = (self.now - ahead / STEERING).max(before);
            }
            self.looked = (time.max(last), is_at_rest);
        }
        self.now
    }
}
