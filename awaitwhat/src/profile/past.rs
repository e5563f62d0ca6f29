//! What is kept of threads whose event loops are long over: of ever new ones, not each can be remembered.

/// Loops that are remembered one by one: some times as many as are looked at together.
pub(super) const MAX_LOOPS: usize = 4096;

/// When a thread was looked at, and its CPU time then, in ns: for the first time and for the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) first: (u64, u64),
    pub(super) last: (u64, u64),
}

impl Span {
    /// With another one of the same thread.
    pub(super) fn and(self, other: Self) -> Self {
        let least = |one: (u64, u64), other: (u64, u64)| (one.0.min(other.0), one.1.min(other.1));
        let most = |one: (u64, u64), other: (u64, u64)| (one.0.max(other.0), one.1.max(other.1));
        Self {
            first: least(self.first, other.first),
            last: most(self.last, other.last),
        }
    }
}

/// Threads as a sum. One that begins loops again later counts as another one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    pub(super) threads: usize,
    /// Their CPU time while they were looked at, in ns.
    pub(super) runtime: u64,
    /// When the first of them was looked at for the first time, in ns, and the last one for the last time.
    pub(super) times: Option<(u64, u64)>,
}

impl Past {
    pub(super) fn add(&mut self, thread: Span) {
        let Span { first, last } = thread;
        self.threads += 1;
        self.runtime = self.runtime.saturating_add(last.1.saturating_sub(first.1));
        let (begin, end) = self.times.unwrap_or((first.0, last.0));
        self.times = Some((begin.min(first.0), end.max(last.0)));
    }
}
