//! The tasks that wait for a task, as the interpreter keeps them (3.14+, `TaskObj.task_awaited_by`).

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::MAX_AWAITER_SLOTS;

use crate::host::Host;
use crate::registry::{key_of_slot, part_of_table};
use crate::walk::{Flow, Walk, phase};

impl Walk {
    #[inline(always)]
    pub(crate) fn begin_awaiters<H: Host>(&mut self, layout: &Layout, host: &mut H) -> Flow {
        self.phase = phase::FINISH;
        if self.awaited_by == 0 {
            return Flow::Continue;
        }
        if self.awaited_by_is_set == 0 {
            self.record.push_awaiter(self.awaited_by);
            return Flow::Continue;
        }
        if !self.window.load(host, self.awaited_by) {
            self.awaiters_truncated = 1;
            return Flow::Continue;
        }
        self.awaiter_slot = 0;
        self.awaiter_mask = self.window.word(u64::from(layout.set_mask));
        self.awaiter_table = self.window.word(u64::from(layout.set_table));
        self.window.forget();
        self.phase = phase::AWAITER_SLOT;
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_awaiter_slot<H: Host>(&mut self, host: &mut H) -> Flow {
        self.phase = phase::FINISH;
        if self.awaiter_slot > self.awaiter_mask {
            return Flow::Continue;
        }
        let part = part_of_table(self.awaiter_table, self.awaiter_slot);
        let is_readable = self.window.is_at(part) || self.window.load(host, part);
        if !is_readable || self.awaiter_slot >= MAX_AWAITER_SLOTS {
            self.awaiters_truncated = 1;
            return Flow::Continue;
        }
        let key = key_of_slot(&self.window, self.awaiter_slot);
        if key != 0 && !self.record.push_awaiter(key) {
            self.awaiters_truncated = 1;
            return Flow::Continue;
        }
        self.awaiter_slot += 1;
        self.phase = phase::AWAITER_SLOT;
        Flow::Continue
    }
}
