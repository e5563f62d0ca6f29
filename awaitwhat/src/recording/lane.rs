//! What the writer and the reader of a recording both know of one target at any place of the file.

use std::collections::HashMap;

use awaitwhat_common::plan::LoopId;

use super::passes::Passes;
use crate::memory::Address;
use crate::profile::TaskId;

/// What comes next is relative to this.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Loops by their places. One that has ended leaves its place to another one.
    pub(super) loops: Vec<Place>,
    free: Vec<usize>,
    places: HashMap<LoopId, usize>,
    /// The last look at all loops, in ms.
    pub(super) tick: u64,
    /// The task that was written in full last.
    pub(super) task: TaskId,
    /// The future that was written last.
    pub(super) future: Address,
}

/// One loop.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) id: LoopId,
    /// CPU time (ns) of its thread.
    pub(super) runtime: u64,
    /// For how long (ns) it had waited for a CPU.
    pub(super) waited: u64,
    /// Looks at rest, and samples in context.
    pub(super) manners: [Manner; 2],
}

/// One manner of looking at a loop.
#[derive(Debug, Default)]
pub(super) struct Manner {
    /// In ns, as records have it.
    pub(super) time: u64,
    pub(super) pass: u64,
    pub(super) passes: Passes,
}

impl Lane {
    /// The place of a loop, where it has one.
    pub(super) fn place(&self, id: LoopId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// Gives a loop a place.
    pub(super) fn begin(&mut self, id: LoopId) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.loops.push(Place::default());
            self.loops.len() - 1
        });
        if let Some(it) = self.loops.get_mut(place) {
            *it = Place {
                id,
                ..Place::default()
            };
        }
        self.places.insert(id, place);
        place
    }

    /// The loop has ended: another one may get its place.
    pub(super) fn end(&mut self, id: LoopId) {
        if let Some(place) = self.places.remove(&id) {
            if let Some(it) = self.loops.get_mut(place) {
                *it = Place::default();
            }
            self.free.push(place);
        }
    }
}
