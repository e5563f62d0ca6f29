//! What passes have met, in the order in which they did. Most of a pass is as the one before was: only what differs is written. The writer and the reader
//! of a recording keep the same of it.

use crate::memory::Address;
use crate::profile::TaskId;

/// Visits of a pass that are remembered. Those beyond are written in full.
pub(super) const MAX_REMEMBERED: usize = 1 << 20;
/// How far ahead in the pass before a task is looked for: as many may have gone at one place.
pub(super) const AHEAD: usize = 64;

/// One visit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) task: TaskId,
    /// The place of the chain.
    pub(super) chain: u32,
    /// As in `Observation::Met`; null where the task could not be read.
    pub(super) future: Address,
    pub(super) flags: u8,
}

/// Bits of [`Visit::flags`].
pub(super) mod flag {
    pub(in super::super) const RUNNING: u8 = 1;
    pub(in super::super) const PROVEN: u8 = 2;
    /// The task could not be read: there is no chain.
    pub(in super::super) const UNREAD: u8 = 4;
    /// Its future is another one than that of the expected visit of the task; than none, of a task that was not expected. In the file only.
    pub(in super::super) const OTHER_FUTURE: u8 = 8;
    pub(in super::super) const ALL: u8 = RUNNING | PROVEN | UNREAD | OTHER_FUTURE;
}

/// The passes over the tasks of one loop that are made in one manner.
#[derive(Debug, Default)]
pub(super) struct Passes {
    number: u64,
    current: Vec<Visit>,
    previous: Vec<Visit>,
    /// The visit of the pass before that is expected next.
    next: usize,
}

impl Passes {
    /// What comes belongs to the pass with this number.
    pub(super) fn go_on_with(&mut self, number: u64) {
        if self.number != number {
            self.number = number;
            self.previous = std::mem::take(&mut self.current);
            self.next = 0;
        }
    }

    /// The visit that is expected next.
    pub(super) fn expected(&self) -> Option<Visit> {
        self.previous.get(self.next).copied()
    }

    /// How far ahead a task is.
    pub(super) fn ahead(&self, task: TaskId) -> Option<usize> {
        let ahead = self.previous.get(self.next..)?;
        ahead.iter().take(AHEAD).position(|visit| visit.task == task)
    }

    /// So many visits that were expected have not come.
    pub(super) fn skip(&mut self, visits: usize) {
        self.next = self.next.saturating_add(visits).min(self.previous.len());
    }

    /// A visit has come, in place of the one that was expected or `is_new`.
    pub(super) fn came(&mut self, visit: Visit, is_new: bool) {
        if !is_new {
            self.skip(1);
        }
        if self.current.len() < MAX_REMEMBERED {
            self.current.push(visit);
        }
    }

    /// Visits that are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.current.len() + self.previous.len()
    }
}
