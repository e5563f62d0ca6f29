//! What is found out about a snapshot, or a period, besides what its tasks do.

mod of_tasks;

use std::sync::Arc;

pub use of_tasks::of_tasks;

use crate::memory::Address;
use crate::resource::Resource;
use crate::snapshot::Stack;

/// How long a loop may take for one turn before that is told, in seconds.
pub const LONG_TURN: f64 = 0.1;

/// What is found by `top` alone: tasks at one place have only become more for a minute.
pub const GROWING_GROUP: &str = "growing-group";

/// Something that a reader of a snapshot has to know. What each means, and what to do, is in `docs/findings.md`.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    BlockedLoop(BlockedLoop),
    Deadlock(Deadlock),
    UsedUp(UsedUp),
    CancelledButWaits(Mentioned),
    SlowWait(SlowWait),
    NeverWoken(NeverWoken),
}

impl Finding {
    /// What stays the same in all releases.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::BlockedLoop(_) => "blocked-loop",
            Self::Deadlock(_) => "deadlock",
            Self::UsedUp(_) => "used-up",
            Self::CancelledButWaits(_) => "cancelled-but-waits",
            Self::SlowWait(_) => "slow-wait",
            Self::NeverWoken(_) => "never-woken",
        }
    }
}

/// An event loop that has not turned for longer than [`LONG_TURN`]: nothing else that it has to do is done meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockedLoop {
    /// Thread of the loop, in the initial PID namespace.
    pub tid: u32,
    /// For how long it has not turned, at least.
    pub seconds: f64,
    pub holder: Holder,
    /// Tasks of the loop that could go on.
    pub ready: usize,
    /// Timers that are due; `None` where that is not known.
    pub overdue_timers: Option<u64>,
}

/// Tasks that wait for what the next one of them holds, and the last one for what the first one does: none of them goes on, unless its wait
/// is ended from outside (by a timeout, or a cancellation).
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlock {
    /// One task, which waits for what it holds itself; or several.
    pub tasks: Vec<Deadlocked>,
    /// How many tasks besides wait for these, directly or through others, and cannot go on before them.
    pub behind: usize,
}

/// A task of a deadlock.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlocked {
    pub task: Address,
    pub name: Option<Arc<str>>,
    /// What it waits for, which the next one holds; `None` where it waits for that task itself.
    pub waits_for: Option<Box<Resource>>,
    /// In how many nanoseconds a timeout ends its wait, whatever it waits for; `None` where none is known.
    pub deadline_ns: Option<i64>,
}

/// A pool, a semaphore or a limiter of which nothing is left, and for which tasks wait.
#[derive(Clone, Debug, PartialEq)]
pub struct UsedUp {
    /// As the first of the tasks waits for it.
    pub resource: Box<Resource>,
    pub waiting: Mentioned,
}

/// Tasks that have waited for longer than was said to be slow. Only of some waits it is known when they began.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowWait {
    /// What is slow, in seconds.
    pub slow: f64,
    /// For how long the one has waited that has waited for the longest time, in seconds.
    pub longest: f64,
    pub waiting: Mentioned,
}

/// An event loop that sleeps while tasks of it could go on: nothing has woken it.
#[derive(Clone, Debug, PartialEq)]
pub struct NeverWoken {
    /// Thread of the loop, in the initial PID namespace.
    pub tid: u32,
    /// For how long it has slept since then, at least, in seconds.
    pub seconds: f64,
    /// The tasks that could go on.
    pub ready: Mentioned,
}

/// Tasks that a finding is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mentioned {
    pub count: usize,
    /// The first of them.
    pub first: Vec<MentionedTask>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MentionedTask {
    pub task: Address,
    pub name: Option<Arc<str>>,
}

/// What a loop is at work in.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    pub kind: HolderKind,
    /// The task's name, where it is one that has a name.
    pub name: Option<Arc<str>>,
    /// Innermost first. From the task's outermost coroutine on, or from the callback on.
    pub stack: Stack,
    /// For how long it alone has held the loop, at least; 0 where others of the same turn may have, before it.
    pub seconds: f64,
}

/// Kinds of what a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderKind {
    Task(Address),
    /// A plain callback: of a timer, a signal, a file descriptor, `call_soon`.
    Callback,
    /// A task, or a callback: that could not be told.
    Unknown,
}

impl HolderKind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Callback => "callback",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_documented() {
        let ids = [
            Finding::Deadlock(Deadlock {
                tasks: Vec::new(),
                behind: 0,
            })
            .id(),
            Finding::CancelledButWaits(Mentioned::default()).id(),
            Finding::SlowWait(SlowWait {
                slow: 0.0,
                longest: 0.0,
                waiting: Mentioned::default(),
            })
            .id(),
            "blocked-loop",
            "used-up",
            "never-woken",
            GROWING_GROUP,
        ];
        let documented = include_str!("../../docs/findings.md");
        let sections = documented
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
        let mut sections: Vec<&str> = sections.collect();
        let mut ids = ids.to_vec();
        sections.sort_unstable();
        ids.sort_unstable();
        assert_eq!(sections, ids);
    }
}
