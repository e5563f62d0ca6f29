//! The frames of a thread, read from outside: true of one that rests, and as good as it gets of one that runs.

use awaitwhat_common::layout::quirks;

use super::Interpreter;
use crate::memory::{Address, Fault, Memory};
use crate::python::ReadError;

/// Frames of a thread that are read at most, whatever is asked for: more than Python lets recur by default.
const MAX_FRAMES: usize = 4096;

/// A frame of Python code of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadFrame {
    /// Address of the `_PyInterpreterFrame`, or `PyFrameObject`.
    pub frame: Address,
    /// Address of its code object.
    pub code: Address,
    /// An address, or counted from the beginning of the code, as the walker has it.
    pub instruction: Address,
}

impl Interpreter {
    /// Code object and instruction of the innermost frames of Python code of the thread whose state is at `thread`, innermost first; at
    /// most `limit`. An instruction is an address, or counts from the beginning of the code, as the walker has it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn thread_frames(
        &self,
        memory: &dyn Memory,
        thread: Address,
        limit: usize,
    ) -> Result<Vec<(Address, Address)>, ReadError> {
        let frames = self.frames_of_thread(memory, thread, &mut limit.min(MAX_FRAMES))?;
        Ok(frames.into_iter().map(|it| (it.code, it.instruction)).collect())
    }

    /// The same, with the addresses of the frames. What is read is taken off the limit, also where it cannot be read to the end.
    pub(super) fn frames_of_thread(
        &self,
        memory: &dyn Memory,
        thread: Address,
        limit: &mut usize,
    ) -> Result<Vec<ThreadFrame>, ReadError> {
        let walk = &self.walk;
        let mut frame = memory.read_address(thread.offset(walk.thread_current_frame.into()))?;
        if walk.quirks & quirks::CFRAME != 0 && !frame.is_null() {
            frame = memory.read_address(frame.offset(walk.cframe_current_frame.into()))?;
        }
        let mut found = Vec::new();
        // Below each frame that was called from C there is one of the interpreter's own.
        for _ in 0..=2 * *limit {
            if frame.is_null() || *limit == 0 {
                break;
            }
            if walk.has_heap_frames() || self.owner_of(memory, frame)? < walk.owner_internal {
                let code = memory.read_u64(frame.offset(walk.frame_code.into()))?;
                *limit -= 1;
                found.push(ThreadFrame {
                    frame,
                    code: Address(code & !walk.tag_mask),
                    instruction: self.instruction_of(memory, frame)?,
                });
            }
            frame = memory.read_address(frame.offset(walk.frame_previous.into()))?;
        }
        Ok(found)
    }

    pub(super) fn instruction_of(&self, memory: &dyn Memory, frame: Address) -> Result<Address, Fault> {
        let at = frame.offset(self.walk.frame_instruction.into());
        let word = memory.read_u64(at)?;
        if !self.walk.has_heap_frames() {
            return Ok(Address(word));
        }
        // `f_lasti` is an `int`, negative before the frame begins.
        let last = i64::from(word as u32 as i32);
        let unit = i64::from(self.walk.instruction_unit);
        Ok(Address(last.wrapping_mul(unit).cast_unsigned()))
    }

    pub(super) fn owner_of(&self, memory: &dyn Memory, frame: Address) -> Result<u8, Fault> {
        let mut owner = [0];
        memory.read(frame.offset(self.walk.frame_owner.into()), &mut owner)?;
        let [owner] = owner;
        Ok(owner)
    }
}
