//! Children of a process that run event loops, where it has no tasks itself: a supervisor's workers, what a loader has unpacked.

use std::time::Duration;

use awaitwhat_common::limits::MAX_LOOPS_PER_THREAD;

use super::observer::{Manner, Observer};
use super::{Error, Options, load};
use crate::budget::{Budget, NAMES_BYTES};
use crate::processes::Processes;
use crate::selection::{Reason, Search, Selection};

/// Children that are looked at: this is for a hint.
const MAX_CHILDREN: usize = 64;

/// A process that runs an event loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub pid: u32,
    /// Name of its main thread.
    pub command: String,
}

/// The children of process `pid`, and theirs, that run an event loop now; of many, the first ones.
///
/// # Errors
/// When nothing can be looked at. A child that cannot be is none.
pub fn running_children(pid: u32, options: &Options) -> Result<Vec<Child>, Error> {
    let selection = Selection {
        pids: vec![pid],
        subprocesses: true,
        ..Selection::default()
    };
    let mut search = Search::new(&selection, Processes::default(), std::process::id());
    let children = search
        .look()
        .into_iter()
        .filter(|candidate| candidate.reason == Reason::Child)
        .take(MAX_CHILDREN);
    let mut children = children.peekable();
    if children.peek().is_none() {
        return Ok(Vec::new());
    }
    // Nothing is walked.
    let mut capture = load(options, MAX_LOOPS_PER_THREAD)?;
    let names = Budget::new(NAMES_BYTES);
    let mut found = Vec::new();
    for child in children {
        let manner = Manner {
            reading: options.clone(),
            iterator_budget: Duration::ZERO,
            is_only_running: true,
        };
        let Ok(mut observer) = Observer::attach(&mut capture, child.pid, manner, &names) else {
            continue;
        };
        if !observer.loops.running.is_empty() {
            found.push(Child {
                pid: child.pid,
                command: observer.process.command().to_owned(),
            });
        }
        observer.detach(&mut capture);
    }
    Ok(found)
}
