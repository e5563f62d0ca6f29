//! What each task did, one thing after the other, as far as it was looked at. [`super::Changes`] collects it.
//!
//! Nothing is known of the time between two looks at a task. A stay begins with the look that has found it, and ends with the look that has found something else;
//! each says how long before that the task was seen last. A task that left a chain and was back in it before the next look is shown as if it had stayed.

use std::sync::Arc;

use awaitwhat_common::plan::LoopId;

use super::account::TaskId;
use super::holds::Hold;
use super::ledger::Look;
use crate::resource::Resource;

/// What the tasks of one target did. Moments are in ns of the machine's monotonic clock, which all targets have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The first look, and the last one.
    pub began: u64,
    pub ended: u64,
    /// The tasks, in the order in which they were met first.
    pub tasks: Vec<(LoopId, TaskId)>,
    /// In the order in which they ended.
    pub stays: Vec<Stay>,
    /// What stays refer to.
    pub chains: Vec<SeenChain>,
    /// What was found to run when a loop's thread was sampled on a CPU: which loop, when, and the place of the chain.
    pub ran: Vec<(LoopId, u64, usize)>,
    /// Turns that held a loop for long, by when that was told.
    pub held: Vec<(u64, Hold)>,
    /// From when on there was no room, and how many changes came later.
    pub cut: Option<Cut>,
}

/// What a timeline lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub at: u64,
    pub left_out: u64,
}

/// A task was in one chain in all looks from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Places in [`Timeline::tasks`] and [`Timeline::chains`].
    pub task: usize,
    pub chain: usize,
    /// When the task was seen first in this chain, and when it was found in another one, or gone; where neither was found, when it was seen last.
    pub begin: u64,
    pub end: u64,
    /// When it was seen last in this chain.
    pub seen: u64,
    /// When it was seen last before it was seen in this chain; `None` where it had not been seen.
    pub before: Option<u64>,
    /// In how many looks it was seen so; moments at which its thread had provably not run since do not count.
    pub looks: u32,
}

/// What a chain looks like, and what tasks were found to wait for in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenChain {
    pub look: Look,
    /// What those that were asked did wait for, each once: `None` where no rule knows it. Empty where none was asked, or none has told.
    pub things: Vec<Option<Arc<Resource>>>,
}

impl SeenChain {
    /// What all that have told did wait for, if that is one thing.
    #[must_use]
    pub fn resource(&self) -> Option<&Arc<Resource>> {
        match self.things.as_slice() {
            [Some(thing)] => Some(thing),
            _ => None,
        }
    }
}
