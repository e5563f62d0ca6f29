//! The turn that an event loop of asyncio is in, read from outside: true of a thread that rests; of one that runs, what two looks agree about.

use awaitwhat_common::layout::quirks;
use awaitwhat_common::plan::ThreadPlan;

use super::Interpreter;
use crate::memory::{Address, Memory};
use crate::python::ReadError;
use crate::python::event_loop::{Completing, LoopClass, Overdue};

/// Frames of a thread above its loop's that are looked at: more than Python lets recur by default.
const MAX_FRAMES: usize = 4096;
/// Of these, how many are kept: the outermost, where the task is, and the innermost, where it is at work.
const MAX_KEPT: usize = 64;
/// `FRAME_OWNED_BY_GENERATOR`.
const OWNED_BY_GENERATOR: u8 = 1;

/// A frame above the loop's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFrame {
    /// Code object and instruction, as the walker has them.
    pub code: Address,
    pub instruction: Address,
    /// The coroutine or generator that it belongs to, or NULL.
    pub generator: Address,
}

/// A turn: what a loop does between two polls.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The frame of the loop's `_run_once`.
    pub frame: Address,
    /// When it began, by the loop's clock in seconds, and the object that says so.
    pub began: f64,
    pub end_time: Address,
    /// The handle whose callback runs. While a turn lasts, no other one gets its address: all were in line when it began.
    pub handle: Address,
    /// What runs above, innermost first.
    pub stack: Vec<HeldFrame>,
    /// Frames in the middle of the stack that are left out.
    pub left_out: u32,
}

impl Turn {
    /// Whether another look has found the same turn.
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.frame, it.end_time, it.began.to_bits());
        key(self) == key(other)
    }

    /// Whether that was also in the same callback.
    pub fn is_same_callback(&self, other: &Self) -> bool {
        self.is_same(other) && !self.handle.is_null() && self.handle == other.handle
    }
}

/// What a look at a loop has found.
#[derive(Clone, Debug, PartialEq)]
pub enum LoopMoment {
    /// Its `_run_once` is not among the thread's frames, or not one that tells: it runs nothing, is another kind of loop, or what it runs has a
    /// stack of its own.
    Unknown,
    /// It polls, or is about to.
    Polling,
    Turn(Turn),
}

impl Interpreter {
    /// How the loop of a plan makes its turns; `None` where it does that in another way than asyncio's own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn loop_class(
        &self,
        memory: &dyn Memory,
        state: Address,
        event_loop: Address,
    ) -> Result<Option<LoopClass>, ReadError> {
        let time = self.module(memory, state, "time")?;
        self.objects(memory).loop_class(event_loop, time)
    }

    /// Whether the loop is one of uvloop's, with the clock of these.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_uvloop_clock(&self, memory: &dyn Memory, event_loop: Address) -> Result<bool, ReadError> {
        self.objects(memory).has_uvloop_clock(event_loop)
    }

    /// The functions of asyncio, in the interpreter at `state`, that complete a future when a timer is due.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn completing(&self, memory: &dyn Memory, state: Address) -> Result<Completing, ReadError> {
        let function = |module, name| match self.module(memory, state, module)? {
            Some(module) => self.objects(memory).module_attribute(module, name),
            None => Ok(None),
        };
        let sleep = function("asyncio.futures", "_set_result_unless_cancelled")?;
        let wait = function("asyncio.tasks", "_release_waiter")?;
        Ok(Completing([sleep, wait].map(Option::unwrap_or_default)))
    }

    /// What `event_loop` has not come to at `now`, by its clock.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn overdue(
        &self,
        memory: &dyn Memory,
        event_loop: Address,
        now: f64,
        completing: Completing,
    ) -> Result<Overdue, ReadError> {
        self.objects(memory).overdue(event_loop, now, completing)
    }

    /// The interpreter that a thread belongs to.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn interpreter_of(&self, memory: &dyn Memory, thread: Address) -> Result<Address, ReadError> {
        Ok(memory.read_address(thread.offset(self.offsets.thread.interpreter))?)
    }

    /// The turn that the loop at `event_loop`, of the plan's thread, is in.
    ///
    /// # Errors
    /// When the thread's frames cannot be read.
    pub fn loop_moment(
        &self,
        memory: &dyn Memory,
        plan: &ThreadPlan,
        event_loop: Address,
        class: &LoopClass,
    ) -> Result<LoopMoment, ReadError> {
        let Some(frames) = self.frames(memory, plan.layout) else {
            return Ok(LoopMoment::Unknown);
        };
        let mut frame = self.current_frame(memory, Address(plan.thread_state))?;
        let mut stack = Stack::default();
        for _ in 0..MAX_FRAMES {
            if frame.is_null() {
                break;
            }
            if let Some(held) = self.held_frame(memory, frame)? {
                let is_turn =
                    held.code == class.turn_code && frames.local_at(frame, class.own)? == Some(event_loop);
                if is_turn {
                    let Some(end_time) = frames.local_at(frame, class.end_time)? else {
                        return Ok(LoopMoment::Polling);
                    };
                    let Some(began) = frames.objects.float(end_time)? else {
                        return Ok(LoopMoment::Unknown);
                    };
                    return Ok(LoopMoment::Turn(Turn {
                        frame,
                        began,
                        end_time,
                        handle: frames.local_at(frame, class.handle)?.unwrap_or_default(),
                        left_out: stack.left_out,
                        stack: stack.into_frames(),
                    }));
                }
                stack.push(held);
            }
            frame = memory.read_address(frame.offset(self.walk.frame_previous.into()))?;
        }
        Ok(LoopMoment::Unknown)
    }

    /// The innermost frame of a thread, which may be one of the interpreter's own.
    fn current_frame(&self, memory: &dyn Memory, thread: Address) -> Result<Address, ReadError> {
        let walk = &self.walk;
        let frame = memory.read_address(thread.offset(walk.thread_current_frame.into()))?;
        if walk.quirks & quirks::CFRAME == 0 || frame.is_null() {
            return Ok(frame);
        }
        Ok(memory.read_address(frame.offset(walk.cframe_current_frame.into()))?)
    }

    /// A frame of Python code; `None` of one that is the interpreter's own.
    fn held_frame(&self, memory: &dyn Memory, frame: Address) -> Result<Option<HeldFrame>, ReadError> {
        let walk = &self.walk;
        let generator = if walk.has_heap_frames() {
            memory.read_address(frame.offset(walk.frame_generator.into()))?
        } else {
            match self.owner_of(memory, frame)? {
                owner if owner >= walk.owner_internal => return Ok(None),
                OWNED_BY_GENERATOR => Address(frame.0.wrapping_sub(walk.generator_frame.into())),
                _ => Address::NULL,
            }
        };
        let code = memory.read_u64(frame.offset(walk.frame_code.into()))?;
        Ok(Some(HeldFrame {
            code: Address(code & !walk.tag_mask),
            instruction: self.instruction_of(memory, frame)?,
            generator,
        }))
    }
}

/// Frames as they are met, innermost first.
#[derive(Default)]
struct Stack {
    innermost: Vec<HeldFrame>,
    /// Those that came last.
    outermost: std::collections::VecDeque<HeldFrame>,
    left_out: u32,
}

impl Stack {
    fn push(&mut self, frame: HeldFrame) {
        if self.innermost.len() < MAX_KEPT / 2 {
            self.innermost.push(frame);
            return;
        }
        if self.outermost.len() >= MAX_KEPT / 2 {
            self.outermost.pop_front();
            self.left_out += 1;
        }
        self.outermost.push_back(frame);
    }

    fn into_frames(self) -> Vec<HeldFrame> {
        self.innermost.into_iter().chain(self.outermost).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> HeldFrame {
        HeldFrame {
            code: Address(number),
            instruction: Address::NULL,
            generator: Address::NULL,
        }
    }

    #[test]
    fn of_a_deep_stack_both_ends_are_kept() {
        let mut stack = Stack::default();
        (0..1000).for_each(|number| stack.push(frame(number)));
        assert_eq!(stack.left_out, 1000 - MAX_KEPT as u32);
        let kept = stack.into_frames();
        assert_eq!(kept.len(), MAX_KEPT);
        let ends = (kept[0].code.0, kept[31].code.0, kept[32].code.0, kept[63].code.0);
        assert_eq!(ends, (0, 31, 968, 999));
    }

    #[test]
    fn a_turn_is_known_by_its_frame_and_its_time() {
        let turn = Turn {
            frame: Address(8),
            began: 1.5,
            end_time: Address(16),
            handle: Address(24),
            stack: vec![frame(1)],
            left_out: 0,
        };
        let other_callback = Turn {
            handle: Address(32),
            stack: Vec::new(),
            ..turn.clone()
        };
        assert!(turn.is_same(&other_callback) && !turn.is_same_callback(&other_callback));
        assert!(turn.is_same_callback(&turn.clone()));
        let later = Turn {
            began: 1.6,
            ..turn.clone()
        };
        assert!(!turn.is_same(&later));
    }
}
