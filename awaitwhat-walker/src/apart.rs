//! A task that works on another stack than the one that its coroutines are on: inside a greenlet.
//!
//! A greenlet has a stack of its own, and its first frame is called by none. So while one runs, the frames of its thread end without the
//! task's coroutine, which executes all the same. What the coroutine awaits executes too, up to the one that has switched to the greenlet, and
//! nothing leads from the thread there. But each has the next one among its variables and on its stack, and that one was called by it.
//! Plain functions between the innermost coroutine and the switch are not found, nor are other greenlets between this one and the task.
//!
//! A coroutine that is just being linked into its thread's stack, or out of it, executes for a moment without being there. It tells itself: what
//! called it is nothing yet, or among the thread's frames. Stacks that are apart have no frame in common.
//!
//! Facts: `TPythonState.cpp` of greenlet 3.5 (`set_initial_state`: the first frame of a greenlet has none before it), `TGreenlet.cpp`
//! (`expose_frames`: from 3.12 on the frames of a stack that is left are linked with each other, without those of the interpreter itself).

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::{MAX_APART_SLOTS, MAX_FRAME_SLOTS};
use awaitwhat_common::status::SliceStatus;

use crate::walk::{Flow, TABLE, Walk, phase};
use crate::window::is_object_address;

/// The stack that the walk over the frames of such a task is in.
pub(crate) mod stack {
    /// That of the thread, or nothing is apart.
    pub const THREAD: u32 = 0;
    /// That of the coroutines.
    pub const COROUTINES: u32 = 1;
    /// The same, behind the task's own coroutine.
    pub const BEHIND: u32 = 2;
}

impl Walk {
    /// Begins with the task's own coroutine, after the frames of its thread have ended without it.
    #[inline(always)]
    pub(crate) fn begin_apart(&mut self, layout: &Layout) -> Flow {
        self.apart = stack::COROUTINES;
        self.apart_slots = MAX_APART_SLOTS;
        self.look_within(layout, self.last_frame);
        Flow::Continue
    }

    /// Looks for what `frame` awaits among its variables and on its stack.
    #[inline(always)]
    fn look_within(&mut self, layout: &Layout, frame: u64) {
        self.frame = frame;
        self.frame_slot = frame.wrapping_add(u64::from(layout.frame_locals));
        self.frame_slots = MAX_FRAME_SLOTS;
        self.windows[TABLE].forget();
        self.phase = phase::FRAME_SLOT;
    }

    /// Looks at the next slot of the frame.
    #[inline(always)]
    pub(crate) fn visit_frame_slot(&mut self, layout: &Layout) -> Flow {
        if self.is_over_budget() && self.slice_tasks != 0 {
            return Flow::Done(SliceStatus::Budget);
        }
        if self.frame_slots == 0 || self.apart_slots == 0 {
            return self.leave_slots(layout);
        }
        let Some(value) = self.windows[TABLE].word_at(self.frame_slot) else {
            self.want_table(self.frame_slot, phase::FRAME_SLOTS);
            return Flow::Continue;
        };
        self.frame_slots -= 1;
        self.apart_slots -= 1;
        self.frame_slot = self.frame_slot.wrapping_add(8);
        let value = value & !layout.tag_mask;
        if is_object_address(value) {
            self.object = value;
            self.want(value, phase::SLOT_OBJECT);
        }
        Flow::Continue
    }

    /// Goes on with a part of the frame's slots that was read.
    #[inline(always)]
    pub(crate) fn take_frame_slots(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            self.windows[TABLE].forget();
            return self.leave_slots(layout);
        }
        self.phase = phase::FRAME_SLOT;
        Flow::Continue
    }

    /// Whether the object of a slot is a coroutine that the frame has called.
    #[inline(always)]
    pub(crate) fn visit_slot_object(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::FRAME_SLOT;
        if !self.is_loaded() || !layout.is_generator(self.window().word(u64::from(layout.object_type))) {
            return Flow::Continue;
        }
        let frame = u64::from(layout.generator_frame);
        if layout.has_heap_frames() {
            self.slot_frame = self.window().word(frame);
            self.want(self.slot_frame, phase::SLOT_FRAME);
            return Flow::Continue;
        }
        let state = self.window().byte(u64::from(layout.generator_frame_state)) as i8;
        let caller = self.window().word(frame + u64::from(layout.frame_previous));
        if state == layout.state_executing && caller == self.frame {
            self.look_within(layout, self.object.wrapping_add(frame));
        }
        Flow::Continue
    }

    /// The same, where that coroutine's frame is an object of its own.
    #[inline(always)]
    pub(crate) fn visit_slot_frame(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::FRAME_SLOT;
        let window = self.window();
        let state = window.byte(u64::from(layout.frame_state)) as i8;
        let is_own = window.word(u64::from(layout.frame_generator)) == self.object;
        let caller = window.word(u64::from(layout.frame_previous));
        if self.is_loaded() && state == layout.state_executing && is_own && caller == self.frame {
            self.look_within(layout, self.slot_frame);
        }
        Flow::Continue
    }

    /// Nothing that the frame has called was found: it is the innermost one, from which the frames lead outwards again.
    #[inline(always)]
    fn leave_slots(&mut self, layout: &Layout) -> Flow {
        self.want_frame(layout, self.frame);
        Flow::Continue
    }
}
