//! The frames of a thread: the chain of a task that runs.
//!
//! Facts: `Include/internal/pycore_frame.h` (3.11 to 3.13), `Include/internal/pycore_interpframe_structs.h` (3.14); `heap_frame` has
//! those of 3.7 to 3.10.

use awaitwhat_common::event::{TaskState, task};
use awaitwhat_common::layout::{Layout, quirks};
use awaitwhat_common::limits::MAX_RUNNING_FRAMES;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::{SliceStatus, TaskStatus};

use crate::apart::stack;
use crate::walk::{Flow, Walk, phase};

/// `FRAME_OWNED_BY_GENERATOR`: the frame lies in a coroutine, generator or asynchronous generator.
const OWNED_BY_GENERATOR: u8 = 1;

/// One frame of a thread.
struct ThreadFrame {
    /// It is the interpreter's own, and has no code to show.
    is_internal: bool,
    /// The coroutine, generator or asynchronous generator that it belongs to, or 0.
    generator: u64,
    /// The state of that.
    state: i8,
    code: u64,
    instruction: u64,
    /// The frame that called it.
    previous: u64,
}

impl Walk {
    /// Begins the frames of the thread, from the current one outwards, up to `last_frame`; as the slice's first record
    /// (`is_tick` 1, `last_frame` 0) up to the outermost one that belongs to a coroutine.
    #[inline(always)]
    pub(crate) fn begin_running(
        &mut self,
        layout: &Layout,
        plan: &ThreadPlan,
        is_tick: u32,
        last_frame: u64,
    ) {
        self.is_tick = is_tick;
        self.last_frame = last_frame;
        self.state = TaskState::Running as u32;
        self.status = TaskStatus::Complete as u32;
        self.coroutine_frames = 0;
        self.base_frames = 0;
        self.thread_frames = 0;
        self.apart = stack::THREAD;
        let has_cframe = layout.quirks & quirks::CFRAME != 0;
        let current = plan
            .thread_state
            .wrapping_add(u64::from(layout.thread_current_frame));
        self.want_word(
            current,
            if has_cframe {
                phase::CFRAME
            } else {
                phase::CURRENT_FRAME
            },
        );
    }

    #[inline(always)]
    pub(crate) fn follow_cframe(&mut self, layout: &Layout) -> Flow {
        if self.word == 0 {
            return self.end_task(TaskStatus::Fault);
        }
        let current = self.word.wrapping_add(u64::from(layout.cframe_current_frame));
        self.want_word(current, phase::CURRENT_FRAME);
        Flow::Continue
    }

    /// A thread without a frame is one that has just begun, or runs no Python.
    #[inline(always)]
    pub(crate) fn take_current_frame(&mut self, layout: &Layout) -> Flow {
        self.current_frame = self.word;
        self.want_frame(layout, self.word);
        Flow::Continue
    }

    /// Looks at a frame, and at the state of the generator that it may belong to, which lies just before it.
    #[inline(always)]
    pub(crate) fn want_frame(&mut self, layout: &Layout, frame: u64) {
        self.object = frame;
        self.want(
            frame.wrapping_sub(layout.generator_state_before_frame()),
            phase::FRAME,
        );
    }

    #[inline(always)]
    pub(crate) fn visit_frame(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        self.thread_frames += 1;
        if self.object == 0 || self.thread_frames > MAX_RUNNING_FRAMES {
            if layout.driver_code != 0 {
                // What drives its tasks was not among the frames: whatever runs is none of them.
                self.coroutine_frames = 0;
            }
            return self.end_of_frames(layout, plan);
        }
        if self.is_over_budget() {
            // A recursion may be thousands of frames deep. Whose it is would only be known at its end.
            if self.is_tick == 1 {
                self.record.keep_frames(0);
                return self.end_task(TaskStatus::Truncated);
            }
            if self.slice_tasks != 0 {
                return Flow::Done(SliceStatus::Budget);
            }
        }
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let frame = self.thread_frame(layout);
        if self.apart != stack::THREAD && self.object == self.current_frame {
            // The coroutine is on its thread's stack after all, and is just being linked into it, or out of it.
            return self.end_task(TaskStatus::Torn);
        }
        if self.apart == stack::BEHIND {
            self.base_frames += 1;
            self.want_frame(layout, frame.previous);
            return Flow::Continue;
        }
        if !frame.is_internal {
            if !self
                .record
                .push_outer_frame(frame.code, frame.instruction, plan.max_frames)
            {
                self.status = TaskStatus::Truncated as u32;
            }
            self.base_frames += 1;
        }
        if frame.generator != 0 {
            if frame.code == layout.driver_code {
                return self.end_of_frames(layout, plan);
            }
            // A coroutine that is just being entered or left is on the thread's stack, but not in the state of one that runs.
            if frame.state != layout.state_executing {
                return self.end_task(TaskStatus::Torn);
            }
            self.coroutine_frames = self.record.frames();
            self.base_frames = 0;
            if self.is_tick == 1 {
                self.record.set(task::CORO, frame.generator);
            }
        }
        if self.object == self.last_frame {
            if self.apart == stack::THREAD {
                return self.end_of_running();
            }
            self.apart = stack::BEHIND;
        }
        self.want_frame(layout, frame.previous);
        Flow::Continue
    }

    /// The frame of the thread that the window holds.
    #[inline(always)]
    fn thread_frame(&self, layout: &Layout) -> ThreadFrame {
        let window = self.window();
        let before = layout.generator_state_before_frame();
        let previous = window.word(before + u64::from(layout.frame_previous));
        if layout.has_heap_frames() {
            let (code, instruction) = self.heap_frame_position(layout);
            return ThreadFrame {
                is_internal: false,
                generator: window.word(u64::from(layout.frame_generator)),
                state: window.byte(u64::from(layout.frame_state)) as i8,
                code,
                instruction,
                previous,
            };
        }
        let owner = window.byte(before + u64::from(layout.frame_owner));
        let generator = self.object.wrapping_sub(u64::from(layout.generator_frame));
        ThreadFrame {
            is_internal: owner >= layout.owner_internal,
            generator: if owner == OWNED_BY_GENERATOR { generator } else { 0 },
            state: window.byte(u64::from(layout.generator_frame_state) & 7) as i8,
            code: window.word(before + u64::from(layout.frame_code)) & !layout.tag_mask,
            instruction: window.word(before + u64::from(layout.frame_instruction)),
            previous,
        }
    }

    /// The chain of a task that runs is there, down to its own coroutine.
    #[inline(always)]
    fn end_of_running(&mut self) -> Flow {
        let is_truncated = self.status == TaskStatus::Truncated as u32;
        self.end_task(if is_truncated {
            TaskStatus::Truncated
        } else {
            TaskStatus::Complete
        })
    }

    /// The thread has no more frames, or none that matter: what drives tasks is below all of them. A task that executes must have been among them, and a coroutine is always driven by
    /// something: one at the very end is just being linked into the stack, or out of it.
    #[inline(always)]
    fn end_of_frames(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if self.is_tick == 0 && self.object == 0 {
            // A task of another loop may be one that another thread executes.
            let is_of_thread = plan.running_loop != 0 && self.record.get(task::LOOP) == plan.running_loop;
            if self.apart == stack::THREAD && is_of_thread {
                return self.begin_apart(layout);
            }
            if self.apart == stack::BEHIND && self.base_frames != 0 {
                return self.end_of_running();
            }
        }
        if self.is_tick == 0 || (self.coroutine_frames != 0 && self.base_frames == 0) {
            return self.end_task(TaskStatus::Torn);
        }
        self.record.keep_frames(self.coroutine_frames);
        self.phase = phase::FINISH;
        Flow::Continue
    }
}
