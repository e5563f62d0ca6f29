//! The clock of a loop's rest.

/// Looks over which what the looks say is brought in line with how long the loop has rested.
const STEERING: f64 = 64.0;
/// How much rest (ns) has to be seen until what looks find is weighed by how much of it there was indeed: asleep, and waiting for a CPU. Of the latter there
/// may be next to nothing, but for looks that cause it.
const TRUST: [f64; 2] = [2e8, 2e7];

/// How long a loop has rested, as far as looks at it can tell.
///
/// Looks come by a timer, and find the loop at rest or at work. What is found at rest has to stand for as much time as lies between two looks,
/// whatever kind of rest it was: a long rest is looked at more often than a short one, in proportion. If it stood for how long the loop has rested since the
/// last look, long rests would have more than their part, as most of that time is their own. So this clock advances
/// by the time between looks, as far as they find the loop at rest. How long it has rested indeed, which the kernel knows exactly, corrects it slowly.
///
/// Rest is of two sorts: the thread sleeps, or it waits for a CPU, and then a task may be in the middle of its turn. On a machine with much to do looks find
/// that too often: whoever looks needs a CPU too, and may take the loop's, or get one when the loop loses its own. So what looks find counts as much as
/// all rest of its sort until then does, per rest that was found until then; the kernel counts both sorts.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestClock {
    /// Time (ns) of the last look, and whether the loop was at rest.
    looked: (u64, bool),
    /// How long (ns) the loop had rested, for the kernel, when the clock began.
    start: u64,
    now: f64,
    /// How long (ns) looks have found it at rest: asleep, and waiting for a CPU.
    found: [f64; 2],
    /// The same since it was found at rest last, until that is found again: what is found then is of that sort.
    pending: f64,
    /// How long (ns) the thread had waited for a CPU when that was told first, and how long it has by now.
    waited: Option<(u64, u64)>,
    /// The look that comes finds it waiting for a CPU.
    is_waiting: bool,
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
            found: [0.0; 2],
            pending: 0.0,
            waited: None,
            is_waiting: false,
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
        self.is_waiting = false;
    }

    /// The look that comes finds the thread waiting for a CPU, as it has for so long (ns) in all.
    pub(super) fn waits(&mut self, waited: u64) {
        let (first, _) = self.waited.unwrap_or((waited, waited));
        self.waited = Some((first, waited));
        self.is_waiting = true;
    }

    /// Takes what a look has found; returns the time (ns) on this clock.
    pub(super) fn look(&mut self, time: u64, runtime: u64, is_at_rest: bool) -> f64 {
        let (last, was_at_rest) = self.looked;
        if std::mem::take(&mut self.is_due) {
            let at_rest = f64::from(u8::from(was_at_rest) + u8::from(is_at_rest)) / 2.0;
            self.pending += time.saturating_sub(last) as f64 * at_rest;
            if is_at_rest {
                self.advance(self.rested(time, runtime));
            }
            self.looked = (time.max(last), is_at_rest);
        }
        self.now
    }

    /// Counts what was found; the loop has `rested` (ns) indeed.
    fn advance(&mut self, rested: f64) {
        let before = self.now;
        let waited = self
            .waited
            .map_or(0.0, |(first, now)| now.saturating_sub(first) as f64);
        let waited = waited.min(rested);
        let indeed = [rested - waited, waited];
        let sort = usize::from(self.is_waiting);
        let found = std::mem::take(&mut self.pending);
        self.found[sort] += found;
        self.now += found * (indeed[sort] + TRUST[sort]) / (self.found[sort] + TRUST[sort]);
        let ahead = self.now - rested;
        self.now = (self.now - ahead / STEERING).max(before);
    }
}
