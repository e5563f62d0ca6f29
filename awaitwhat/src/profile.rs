//! The model of a period: how many task-seconds were spent in which chain.

use std::sync::Arc;

use crate::resource::Resource;
use crate::snapshot::{Losses, Stack};

mod account;
#[cfg(test)]
mod account_tests;
mod asked;
#[cfg(test)]
mod bias_tests;
mod changes;
mod diff;
mod holds;
mod ledger;
mod lengths;
mod long_wait;
mod merged;
mod observation;
mod past;
mod points;
mod rest_clock;
mod seen_waits;
#[cfg(test)]
mod seen_waits_tests;
#[cfg(test)]
mod simulated;
mod split;
mod stratum;
mod sums;
mod timeline;
#[cfg(test)]
mod timeline_tests;
mod weights;

pub use account::{Account, TaskId};
pub(crate) use asked::Asked;
pub use changes::{Changes, MAX_CHANGES};
pub use diff::{Amount, Change, Diff, PlaceChange};
pub(crate) use holds::Holds;
pub use holds::{Hold, HoldPlace};
pub use ledger::Look;
pub(crate) use ledger::other_chains;
pub use lengths::{PointWaits, WaitTimes, WholeWaits};
pub(crate) use merged::merged_chains;
pub use observation::{End, Observation};
pub use points::{Point, WaitedFor, await_points, running_points, waited_for};
pub use split::Thing;
pub use sums::Sums;
pub use timeline::{Cut, SeenChain, Stay, Timeline};

/// What the tasks of a chain were doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// Suspended, until what they await is done.
    Waiting,
    /// They could have gone on, and waited for their event loop: see [`crate::snapshot::TaskState::Ready`].
    Ready,
    Running,
}

/// The time that tasks spent in one chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Innermost first.
    pub stack: Stack,
    pub state: ChainState,
    /// Name of the terminal awaitable's type, where there is one.
    pub terminal: Option<Arc<str>>,
    /// What those that waited did wait for, where that is known: see [`Resource::in_common`]. Chains that differ in this only share the time of one
    /// by how often either was found.
    pub resource: Option<Arc<Resource>>,
    /// How many answers of equal weight those shares stand on, of tasks that were asked: the more, the more certain they are.
    pub answers: f64,
    /// Integral over time of the number of tasks in this chain, in seconds.
    pub task_seconds: f64,
}

/// A process that was traced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Name of its main thread when it was first seen, by default that of its program's file.
    pub command: String,
    /// Version, for example `3.14.10`.
    pub python: String,
}

/// What a traced period showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The process; several where their profiles were [merged](Profile::merged).
    pub processes: Vec<Process>,
    /// When the period began.
    pub started_at: jiff::Timestamp,
    pub duration_seconds: f64,
    /// Samples taken: slices of passes, and moments at which the target had provably not run since the last one.
    pub samples: u64,
    /// Visits of single tasks in all samples.
    pub task_visits: u64,
    /// Time that the threads of the event loops were on a CPU, in seconds, summed over threads.
    pub busy_seconds: f64,
    /// Event-loop threads seen.
    pub threads: usize,
    pub chains: Vec<Chain>,
    /// How long waits took, by await point: [`await_points`] tells.
    pub waits: Vec<PointWaits>,
    /// Who held event loops for long, the longest first.
    pub holds: Vec<Hold>,
    pub losses: Losses,
    /// The target ended before the time was over; of several targets, each of them did.
    pub target_exited: bool,
    /// What each task did, where that was asked for. Profiles that were merged have none.
    pub timeline: Option<Timeline>,
}

impl Profile {
    /// Mean number of tasks, waiting, ready and running, over the period. 0 for an empty period.
    #[must_use]
    pub fn mean_tasks(&self) -> f64 {
        ratio(sum(&self.chains, |_| true), self.duration_seconds)
    }

    /// Share of the period that the event loops' threads were on a CPU: 1 is one whole core per thread.
    #[must_use]
    pub fn busy_share(&self) -> f64 {
        // A process has far fewer threads than 2^53.
        ratio(self.busy_seconds, self.duration_seconds * self.threads as f64)
    }

    /// Whether a task was seen, or would have been if it could be read.
    #[must_use]
    pub fn has_tasks(&self) -> bool {
        !self.chains.is_empty() || self.losses != Losses::default()
    }

    /// Time that tasks spent in `state`, in seconds.
    #[must_use]
    pub fn task_seconds(&self, state: ChainState) -> f64 {
        sum(&self.chains, |chain| chain.state == state)
    }
}

/// Task-seconds of those of the chains that are wanted.
fn sum(chains: &[Chain], is_wanted: impl Fn(&Chain) -> bool) -> f64 {
    // Not `sum()`: of nothing that is -0.
    chains
        .iter()
        .filter(|chain| is_wanted(chain))
        .fold(0.0, |sum, chain| sum + chain.task_seconds)
}

/// `part / whole`, 0 where there is no whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
