//! Registries of tasks: linked lists (3.14+) and sets, of weak references or of tasks.
//!
//! Facts: `Modules/_asynciomodule.c` (3.14, `asyncio_tasks_head`), `Lib/asyncio/tasks.py` (3.11, `_all_tasks`; 3.12 and 3.13,
//! `_scheduled_tasks`, `_eager_tasks`), `Include/cpython/setobject.h` (`setentry`), `Include/internal/pycore_llist.h`.

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::{MAX_ROOTS, MAX_SLOTS, MAX_TASKS, WINDOW_BYTES};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};
use awaitwhat_common::status::SliceStatus;

use crate::host::Host;
use crate::walk::{Flow, HISTORY, TABLE, Walk, phase, place};
use crate::window::Window;

/// Bytes of one slot of a set: key and hash.
const SLOT_BYTES: u64 = 16;
/// Slots that one window holds.
pub(crate) const SLOTS_PER_WINDOW: u64 = WINDOW_BYTES / SLOT_BYTES;
/// Hash of a slot whose key was removed (`Objects/setobject.c`, `dummy`).
const REMOVED: u64 = u64::MAX;
/// `llist_node.prev`, behind `next`.
const NODE_PREVIOUS: u64 = 8;

/// The key in the slot with number `slot` of the table's part that `slots` holds; 0 where there is none.
#[inline(always)]
pub(crate) fn key_of_slot(slots: &Window, slot: u64) -> u64 {
    let at = slot % SLOTS_PER_WINDOW * SLOT_BYTES;
    if slots.word(at + 8) == REMOVED {
        0
    } else {
        slots.word(at)
    }
}

/// Where the part of a table lies that holds the slot with number `slot`.
#[inline(always)]
pub(crate) fn part_of_table(table: u64, slot: u64) -> u64 {
    table.wrapping_add(slot / SLOTS_PER_WINDOW * WINDOW_BYTES)
}

impl Walk {
    #[inline(always)]
    pub(crate) fn choose_root<H: Host>(&mut self, plan: &ThreadPlan, host: &mut H) -> Flow {
        if self.root >= plan.root_count || self.root >= MAX_ROOTS as u32 {
            return self.end_pass(host);
        }
        self.want(self.current_root(plan).address, phase::ROOT);
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn begin_root<H: Host>(&mut self, layout: &Layout, plan: &ThreadPlan, host: &mut H) -> Flow {
        if !self.is_loaded() {
            return self.restart(host);
        }
        let root = self.current_root(plan);
        self.root_address = root.address;
        if root.kind == root_kind::LIST {
            self.last_node = root.address;
            self.node = self.window().word(0);
            self.history = [0; HISTORY];
            self.place = place::IN_LIST;
            self.phase = phase::NODE;
        } else {
            self.slot = 0;
            self.set_mask = self.window().word(u64::from(layout.set_mask));
            self.set_table = self.window().word(u64::from(layout.set_table));
            if self.set_mask >= MAX_SLOTS {
                return self.restart(host);
            }
            self.windows[TABLE].forget();
            self.place = place::IN_SET;
            self.phase = phase::SLOT;
        }
        Flow::Continue
    }

    #[inline(always)]
    fn end_pass<H: Host>(&mut self, host: &mut H) -> Flow {
        if !host.is_undisturbed() {
            return Flow::Done(SliceStatus::Disturbed);
        }
        self.root = 0;
        self.place = place::BEFORE_ROOT;
        Flow::Done(SliceStatus::PassComplete)
    }

    #[inline(always)]
    fn end_root(&mut self) -> Flow {
        self.root += 1;
        self.place = place::BEFORE_ROOT;
        self.phase = phase::NEXT_ROOT;
        Flow::Continue
    }

    #[inline(always)]
    fn current_root(&self, plan: &ThreadPlan) -> Root {
        plan.roots[self.root as usize & (MAX_ROOTS - 1)]
    }

    /// Goes back to the task to visit next, after the slice's first record.
    #[inline(always)]
    pub(crate) fn resume(&mut self) {
        self.history_tried = 0;
        match self.place {
            place::IN_LIST => self.phase = phase::RESUME_LIST,
            place::IN_SET => self.want(self.root_address, phase::RESUME_SET),
            _ => self.phase = phase::NEXT_ROOT,
        }
    }

    /// Finds the latest of the nodes visited so far that is still in the list: the walk goes on behind it.
    #[inline(always)]
    pub(crate) fn resume_list<H: Host>(&mut self, host: &mut H) -> Flow {
        if self.is_loaded() && self.history_tried != 0 {
            self.is_loaded = 0;
            let next = self.window().word(0);
            if next != 0 {
                self.node = next;
                self.want(next, phase::RESUME_BEHIND);
                return Flow::Continue;
            }
        }
        let latest = self.history_at.wrapping_sub(self.history_tried);
        let candidate = self.history[latest as usize & (HISTORY - 1)];
        if self.history_tried >= HISTORY as u32 || candidate == 0 {
            if self.history_tried == 0 {
                // Nothing of this list was visited yet.
                self.place = place::BEFORE_ROOT;
                self.phase = phase::NEXT_ROOT;
                return Flow::Continue;
            }
            return self.restart(host);
        }
        self.history_tried += 1;
        self.last_node = candidate;
        self.want(candidate, phase::RESUME_LIST);
        Flow::Continue
    }

    /// A node is in the list if the one that it leads to leads back to it.
    #[inline(always)]
    pub(crate) fn resume_behind(&mut self) -> Flow {
        let leads_back = self.is_loaded() && self.window().word(NODE_PREVIOUS) == self.last_node;
        self.is_loaded = 0;
        self.phase = if leads_back {
            phase::NODE
        } else {
            phase::RESUME_LIST
        };
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_node(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if self.node == self.current_root(plan).address || self.visited >= MAX_TASKS {
            return self.end_root();
        }
        self.visited += 1;
        self.object = self.node.wrapping_sub(u64::from(layout.task_node));
        self.want(self.object, phase::TASK);
        Flow::Continue
    }

    /// Takes the list's links from the task that the window holds. False if they contradict the way that led here.
    #[inline(always)]
    pub(crate) fn take_links(&mut self, layout: &Layout) -> bool {
        let node = u64::from(layout.task_node);
        self.next_node = self.window().word(node);
        self.window().word(node + NODE_PREVIOUS) == self.last_node
    }

    #[inline(always)]
    pub(crate) fn resume_set<H: Host>(&mut self, layout: &Layout, host: &mut H) -> Flow {
        if !self.is_loaded()
            || self.window().word(u64::from(layout.set_mask)) != self.set_mask
            || self.window().word(u64::from(layout.set_table)) != self.set_table
        {
            return self.restart(host);
        }
        self.windows[TABLE].forget();
        self.phase = phase::SLOT;
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_slot(&mut self, plan: &ThreadPlan) -> Flow {
        if self.slot > self.set_mask {
            return self.end_root();
        }
        let part = part_of_table(self.set_table, self.slot);
        if !self.windows[TABLE].is_at(part) {
            self.want_table(part, phase::SLOTS);
            return Flow::Continue;
        }
        let key = key_of_slot(&self.windows[TABLE], self.slot);
        if key == 0 {
            self.slot += 1;
            return Flow::Continue;
        }
        self.visited += 1;
        self.object = key;
        let is_weak = self.current_root(plan).kind == root_kind::WEAK_SET;
        self.want(
            key,
            if is_weak {
                phase::WEAK_REFERENCE
            } else {
                phase::TASK
            },
        );
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn take_slots<H: Host>(&mut self, host: &mut H) -> Flow {
        if !self.is_loaded() {
            return self.restart(host);
        }
        self.phase = phase::SLOT;
        // Empty parts cost time too, and a set may have nothing else. The first part is free, or nothing would ever be visited.
        self.slice_parts += 1;
        if self.slice_parts > 1 {
            self.within_budget()
        } else {
            Flow::Continue
        }
    }

    #[inline(always)]
    pub(crate) fn follow_weak_reference<H: Host>(&mut self, layout: &Layout, host: &mut H) -> Flow {
        let is_reference =
            self.is_loaded() && self.window().word(u64::from(layout.object_type)) == layout.weakref_type;
        let task = self.window().word(u64::from(layout.weakref_object));
        if !is_reference || task == 0 || task == layout.none_address {
            return self.skip(host);
        }
        self.object = task;
        self.want(task, phase::TASK);
        Flow::Continue
    }

    /// Goes on to the next task without a record of this one.
    #[inline(always)]
    pub(crate) fn skip<H: Host>(&mut self, host: &mut H) -> Flow {
        if !host.is_undisturbed() {
            return Flow::Done(SliceStatus::Disturbed);
        }
        self.go_on()
    }

    /// Goes on to the next task, in this slice or in the next one.
    #[inline(always)]
    pub(crate) fn go_on(&mut self) -> Flow {
        self.slice_tasks += 1;
        if self.place == place::IN_LIST {
            self.history_at = self.history_at.wrapping_add(1);
            self.history[self.history_at as usize & (HISTORY - 1)] = self.node;
            self.last_node = self.node;
            self.node = self.next_node;
            self.phase = phase::NODE;
        } else {
            self.slot += 1;
            self.phase = phase::SLOT;
        }
        self.within_budget()
    }

    /// Goes on as long as the slice's budget lasts.
    #[inline(always)]
    fn within_budget(&self) -> Flow {
        if self.is_over_budget() {
            Flow::Done(SliceStatus::Budget)
        } else {
            Flow::Continue
        }
    }
}
