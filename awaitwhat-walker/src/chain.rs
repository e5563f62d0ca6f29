//! Chains: coroutines, generators, and what they await.
//!
//! Where frames are objects of their own, `heap_frame` takes over from here.
//!
//! Facts: `Objects/genobject.c` (`_PyGen_yf`), `Include/internal/pycore_frame.h` (frame states), `Python/ceval.c` and
//! `Python/bytecodes.c` (`SEND`, `YIELD_VALUE`, `RESUME`).

use awaitwhat_common::event::{OPAQUE_FRAME, TaskState};
use awaitwhat_common::layout::{Layout, quirks};
use awaitwhat_common::limits::{MAX_OBJECTS, MAX_WRAPPERS};
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::{SliceStatus, TaskStatus};

use crate::walk::{Flow, Walk, phase};
use crate::window::is_object_address;

/// Bytes of a code unit: opcode, then argument.
pub(crate) const CODE_UNIT: u64 = 2;
/// Values of `RESUME`'s argument (its low two bits) from this one on mean "after `yield from`" and "after `await`".
const RESUME_AFTER_AWAIT: u64 = 2;

impl Walk {
    #[inline(always)]
    pub(crate) fn visit_object(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        // A long chain that was begun too late is left to the next slice, which begins with it.
        if self.is_over_budget() && self.slice_tasks != 0 {
            return Flow::Done(SliceStatus::Budget);
        }
        self.objects += 1;
        if self.objects > MAX_OBJECTS {
            return self.end_task(TaskStatus::Truncated);
        }
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let type_address = self.window().word(u64::from(layout.object_type));
        if layout.is_generator(type_address) {
            return if layout.has_heap_frames() {
                self.find_heap_frame(layout)
            } else {
                self.visit_generator(layout, plan)
            };
        }
        for at in 0..MAX_WRAPPERS {
            if type_address != 0 && layout.wrappers[at].type_address == type_address {
                // Each way out of this loop is one more for the verifier to follow: all of them end here.
                self.wrapper = at as u32;
                self.phase = phase::WRAPPER;
                return Flow::Continue;
            }
        }
        self.end_with_terminal(layout)
    }

    /// An awaitable without a Python frame that leads to another one.
    #[inline(always)]
    pub(crate) fn visit_wrapper(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        let wrapper = &layout.wrappers[self.wrapper as usize & (MAX_WRAPPERS - 1)];
        let inner = self.window().word(u64::from(wrapper.inner));
        if wrapper.name != 0 {
            let code = self.window().word(u64::from(wrapper.code));
            let name = self.window().word(u64::from(wrapper.name));
            self.record
                .push_inner_frame(code, name | OPAQUE_FRAME, plan.max_frames);
            self.opaque_frames += 1;
            if inner == 0 {
                // It has not begun, runs, or hands on what its task waits for.
                return self.end_task(TaskStatus::Complete);
            }
        } else if inner == 0 {
            return self.end_with_terminal(layout);
        }
        self.object = inner;
        self.want(
            inner,
            if wrapper.is_terminal == 0 {
                phase::CHAIN
            } else {
                phase::TERMINAL
            },
        );
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_terminal(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            self.record.set_terminal(self.object, 0, 0);
            return self.end_task(TaskStatus::Fault);
        }
        self.end_with_terminal(layout)
    }

    #[inline(always)]
    fn end_with_terminal(&mut self, layout: &Layout) -> Flow {
        let type_address = self.window().word(u64::from(layout.object_type));
        let state = self.future_state(layout);
        self.record.set_terminal(self.object, type_address, state);
        self.end_task(TaskStatus::Complete)
    }

    /// A coroutine, generator or asynchronous generator: its frame, and what that awaits.
    #[inline(always)]
    fn visit_generator(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        // What is awaited by a coroutine without a Python frame is the outermost one that has a frame on the thread's stack.
        let is_outermost = self.record.depth() == self.opaque_frames;
        let state = self.window().byte(u64::from(layout.generator_frame_state)) as i8;
        if state == layout.state_executing {
            // Only a task's own coroutine can execute while nothing above it does.
            if !is_outermost {
                return self.end_task(TaskStatus::Torn);
            }
            self.record.keep_frames(0);
            let frame = self.object.wrapping_add(u64::from(layout.generator_frame));
            self.begin_running(layout, plan, 0, frame);
            return Flow::Continue;
        }
        let is_suspended = state == layout.state_suspended || state == layout.state_awaiting;
        let is_created = self.record.frames() == 0 && state == layout.state_created;
        if !is_suspended && !is_created {
            return self.end_task(TaskStatus::Torn);
        }
        let frame = u64::from(layout.generator_frame);
        let code = self.window().word(frame + u64::from(layout.frame_code)) & !layout.tag_mask;
        let instruction = self.window().word(frame + u64::from(layout.frame_instruction));
        self.record.push_inner_frame(code, instruction, plan.max_frames);
        let variable = self.window().word(frame + u64::from(layout.frame_locals)) & !layout.tag_mask;
        self.record.push_first_variable(variable);
        if is_created {
            self.state = TaskState::Created as u32;
            return self.end_task(TaskStatus::Complete);
        }
        if state != layout.state_awaiting {
            // Suspended in a plain `yield`: nothing is awaited.
            return self.end_task(TaskStatus::Complete);
        }
        if layout.quirks & quirks::AWAIT_BY_OPCODE == 0 {
            self.phase = phase::STACK;
        } else {
            self.instruction = instruction.wrapping_add(CODE_UNIT);
            self.want_word(self.instruction & !7, phase::OPCODE);
        }
        Flow::Continue
    }

    /// Where a state says "suspended" only: an `await` or `yield from` is followed by a `RESUME` that says so, or until 3.10 by
    /// the `YIELD_FROM` that is executed again and again.
    #[inline(always)]
    pub(crate) fn check_opcode(&mut self, layout: &Layout) -> Flow {
        if self.word == 0 || self.instruction & 1 != 0 {
            return self.end_task(TaskStatus::Fault);
        }
        let unit = self.word >> ((self.instruction & 6) * 8);
        let opcode = unit as u8;
        let is_resume = opcode != 0
            && (opcode == layout.resume_opcodes[0]
                || opcode == layout.resume_opcodes[1]
                || opcode == layout.resume_opcodes[2]);
        let says_await = layout.has_heap_frames() || (unit >> 8) & 3 >= RESUME_AFTER_AWAIT;
        if !is_resume || !says_await {
            return self.end_task(TaskStatus::Complete);
        }
        self.phase = phase::STACK;
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn find_awaited(&mut self, layout: &Layout) -> Flow {
        let is_embedded = !layout.has_heap_frames();
        let frame = if is_embedded {
            u64::from(layout.generator_frame)
        } else {
            0
        };
        let stack = frame + u64::from(layout.frame_stack);
        let top = if layout.quirks & quirks::STACK_POINTER != 0 {
            self.window().word(stack)
        } else {
            let count = self.window().half(stack) as i32;
            if count <= 0 {
                // An executing frame has no stack top in memory.
                return self.end_task(TaskStatus::Torn);
            }
            let bottom = if is_embedded {
                self.object
                    .wrapping_add(frame)
                    .wrapping_add(u64::from(layout.frame_locals))
            } else {
                self.window().word(u64::from(layout.frame_value_stack))
            };
            bottom.wrapping_add(count as u64 * 8)
        };
        let slot = top.wrapping_sub(u64::from(layout.frame_awaited));
        if !is_object_address(slot) {
            return self.end_task(TaskStatus::Torn);
        }
        match self.window().word_at(slot) {
            Some(value) => {
                self.word = value;
                self.phase = phase::AWAITED;
            }
            None => self.want_word(slot, phase::AWAITED),
        }
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn take_awaited(&mut self, layout: &Layout) -> Flow {
        self.object = self.word & !layout.tag_mask;
        // `None` is never awaited: it is what a coroutine is sent that is just being resumed (`gen_send_ex2`).
        if self.object == 0 || self.object == layout.none_address {
            return self.end_task(TaskStatus::Torn);
        }
        self.want(self.object, phase::CHAIN);
        Flow::Continue
    }
}
