//! Which loops of a trace were visited to the end.

use std::collections::HashSet;

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use crate::decode::SliceRecord;

/// Whether every loop had a pass that came to its end: of one that had none, tasks are missing, however much of it was seen.
#[derive(Default)]
pub(super) struct Completed {
    complete: HashSet<LoopId>,
    /// Loops with a look that ended before its pass, and not because the thread went on.
    cut: HashSet<LoopId>,
}

impl Completed {
    /// Takes the end of a slice.
    pub(super) fn note(&mut self, slice: &SliceRecord) {
        let event_loop = slice.origin.event_loop;
        match slice.status {
            SliceStatus::PassComplete => self.complete.insert(event_loop),
            SliceStatus::Budget | SliceStatus::RegistryTorn => self.cut.insert(event_loop),
            _ => false,
        };
    }

    /// A loop has come to its end. Returns 1 where none of its passes has.
    pub(super) fn end(&mut self, event_loop: LoopId) -> u64 {
        let is_complete = self.complete.remove(&event_loop);
        u64::from(self.cut.remove(&event_loop) && !is_complete)
    }

    /// As [`Completed::end`], of all loops.
    pub(super) fn end_all(&mut self) -> u64 {
        let cut = self.cut.difference(&self.complete).count() as u64;
        *self = Self::default();
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Origin;

    fn slice(tid: u32, status: SliceStatus) -> SliceRecord {
        let origin = Origin {
            event_loop: LoopId { tid, slot: 0 },
            pid: 1,
            in_context: false,
            time: 0,
            runtime: 0,
            pass: 1,
        };
        SliceRecord {
            origin,
            status,
            duration: 0,
            lost: 0,
        }
    }

    #[test]
    fn a_loop_of_which_no_pass_ended_is_counted() {
        let mut completed = Completed::default();
        for (tid, statuses) in [
            (1, &[SliceStatus::Budget, SliceStatus::PassComplete] as &[_]),
            (2, &[SliceStatus::Budget, SliceStatus::Budget]),
            (3, &[SliceStatus::RegistryTorn]),
            (4, &[SliceStatus::Running, SliceStatus::Disturbed]),
            (5, &[SliceStatus::PassComplete, SliceStatus::RegistryTorn]),
        ] {
            statuses
                .iter()
                .for_each(|&status| completed.note(&slice(tid, status)));
        }
        let id = |tid| LoopId { tid, slot: 0 };
        assert_eq!(
            (completed.end(id(1)), completed.end(id(2)), completed.end(id(2))),
            (0, 1, 0)
        );
        assert_eq!((completed.end_all(), completed.end_all()), (1, 0));
    }
}
