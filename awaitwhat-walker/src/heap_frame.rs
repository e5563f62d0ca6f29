//! Frames that are objects of their own (3.7 to 3.10).
//!
//! Facts: `Include/frameobject.h` (3.7 to 3.9) and `Include/cpython/frameobject.h` (3.10), `Objects/genobject.c` (`_PyGen_yf`,
//! `gen_send_ex`, `_gen_throw`), `Python/ceval.c` (`YIELD_FROM`, the entry and the exit of `_PyEval_EvalFrameDefault`).
//!
//! What resumes a coroutine pushes a value on its stack, links its frame into the thread's (`f_back`), marks the coroutine
//! (`gi_running`, until 3.9), makes the frame the thread's current one, and takes its stack top away; only then does the frame execute
//! (`f_executing`, `f_state`). Leaving goes the same way back. So a frame is at rest if none of these marks is there, and what lies on
//! top of its stack is not `None`.

use awaitwhat_common::event::TaskState;
use awaitwhat_common::layout::{ABSENT, Layout};
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::TaskStatus;

use crate::chain::CODE_UNIT;
use crate::walk::{Flow, Walk, phase};

impl Walk {
    /// Goes on from a coroutine, generator or asynchronous generator to its frame.
    #[inline(always)]
    pub(crate) fn find_heap_frame(&mut self, layout: &Layout) -> Flow {
        let frame = self.window().word(u64::from(layout.generator_frame));
        let running = u64::from(layout.generator_frame_state);
        self.is_driven =
            u32::from(layout.generator_frame_state != ABSENT && self.window().byte(running) != 0);
        if frame == 0 {
            // It has ended.
            return self.end_task(TaskStatus::Torn);
        }
        self.want(frame, phase::HEAP_FRAME);
        self.frame = frame;
        Flow::Continue
    }

    /// The frame of a coroutine: what it executes, or where it is suspended.
    #[inline(always)]
    pub(crate) fn visit_heap_frame(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let is_outermost = self.record.depth() == self.opaque_frames;
        let window = self.window();
        let state = window.byte(u64::from(layout.frame_state)) as i8;
        let is_own = window.word(u64::from(layout.frame_generator)) == self.object;
        let is_linked = window.word(u64::from(layout.frame_previous)) != 0;
        if state == layout.state_executing {
            // Only a task's own coroutine can execute while nothing above it does.
            if !is_outermost || !is_own || !is_linked {
                return self.end_task(TaskStatus::Torn);
            }
            self.record.keep_frames(0);
            self.begin_running(layout, plan, 0, self.frame);
            return Flow::Continue;
        }
        let (code, instruction) = self.heap_frame_position(layout);
        let is_created = (instruction as i64) < 0;
        let is_at_rest = state == layout.state_suspended || (is_created && state == layout.state_created);
        if !is_at_rest || !is_own || is_linked || self.is_driven != 0 {
            return self.end_task(TaskStatus::Torn);
        }
        self.record.push_inner_frame(code, instruction, plan.max_frames);
        self.variables[1] = self.variables[0];
        self.variables[0] = self.frame.wrapping_add(u64::from(layout.frame_locals));
        if is_created {
            // Asked for behind the frame, whose place would otherwise be computed from what this says, and the verifier not see its bound.
            if !is_outermost {
                return self.end_task(TaskStatus::Torn);
            }
            self.state = TaskState::Created as u32;
            return self.end_task(TaskStatus::Complete);
        }
        self.instruction = instruction;
        self.want_word(code.wrapping_add(u64::from(layout.code_bytes)), phase::CODE);
        Flow::Continue
    }

    /// Goes on from the code's instructions, a `bytes` object, to the one that the frame goes on with.
    #[inline(always)]
    pub(crate) fn find_instruction(&mut self, layout: &Layout) -> Flow {
        self.instruction = self
            .word
            .wrapping_add(u64::from(layout.bytes_value))
            .wrapping_add(self.instruction)
            .wrapping_add(CODE_UNIT);
        self.want_word(self.instruction & !7, phase::OPCODE);
        Flow::Continue
    }

    /// The code object of the frame in the window, and where in its instructions the frame is: bytes, negative where it has not begun.
    #[inline(always)]
    pub(crate) fn heap_frame_position(&self, layout: &Layout) -> (u64, u64) {
        let window = self.window();
        let code = window.word(u64::from(layout.frame_code));
        let last = window.half(u64::from(layout.frame_instruction)) as i32;
        let instruction = i64::from(last).wrapping_mul(i64::from(layout.instruction_unit));
        (code, instruction as u64)
    }
}
