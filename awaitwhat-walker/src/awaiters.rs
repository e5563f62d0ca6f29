//! The tasks that wait for a task, as the interpreter keeps them (3.14+, `TaskObj.task_awaited_by`).

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::MAX_AWAITER_SLOTS;

use crate::registry::{key_of_slot, part_of_table};
use crate::walk::{Flow, Walk, phase};

impl Walk {
    /// Chooses how the tasks that wait for this one are found: there is none, or one, or a set of them.
    #[inline(always)]
    pub(crate) fn find_awaiters(&mut self) {
        self.phase = phase::FINISH;
        if self.awaited_by == 0 {
            return;
        }
        if self.awaited_by_is_set == 0 {
            self.record.push_awaiter(self.awaited_by);
        } else {
            self.want(self.awaited_by, phase::AWAITERS);
        }
    }

    #[inline(always)]
    pub(crate) fn begin_awaiters(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            return self.end_awaiters(1);
        }
        self.awaiter_slot = 0;
        self.awaiter_mask = self.window().word(u64::from(layout.set_mask));
        self.awaiter_table = self.window().word(u64::from(layout.set_table));
        self.want(self.awaiter_table, phase::AWAITER_SLOTS);
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_awaiter_slots(&mut self) -> Flow {
        if self.awaiter_slot > self.awaiter_mask {
            return self.end_awaiters(0);
        }
        if !self.is_loaded() || self.awaiter_slot >= MAX_AWAITER_SLOTS {
            return self.end_awaiters(1);
        }
        let key = key_of_slot(self.window(), self.awaiter_slot);
        if key != 0 && !self.record.push_awaiter(key) {
            return self.end_awaiters(1);
        }
        self.awaiter_slot += 1;
        let part = part_of_table(self.awaiter_table, self.awaiter_slot);
        if !self.window().is_at(part) {
            self.want(part, phase::AWAITER_SLOTS);
        }
        Flow::Continue
    }

    #[inline(always)]
    fn end_awaiters(&mut self, truncated: u32) -> Flow {
        self.awaiters_truncated = truncated;
        self.phase = phase::FINISH;
        Flow::Continue
    }
}
