//! The model of a period: how many task-seconds were spent in which chain.

use std::sync::Arc;

use crate::snapshot::{Losses, Stack};

/// What the tasks of a chain were doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    Waiting,
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
    /// Integral over time of the number of tasks in this chain, in seconds.
    pub task_seconds: f64,
}

/// What a traced period showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Version, for example `3.14.10`.
    pub python: String,
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
    pub losses: Losses,
    /// The target ended before the time was over.
    pub target_exited: bool,
}
