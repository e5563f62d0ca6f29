//! The frames of a thread, read from outside: true of one that rests, and as good as it gets of one that runs.

use awaitwhat_common::layout::quirks;

use super::Interpreter;
use crate::memory::{Address, Fault, Memory};
use crate::python::ReadError;

/// Frames of the interpreter's own that may follow each other, and frames that are looked at in all.
const MAX_FRAMES: usize = 64;

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
        let walk = &self.walk;
        let mut frame = memory.read_address(thread.offset(walk.thread_current_frame.into()))?;
        if walk.quirks & quirks::CFRAME != 0 && !frame.is_null() {
            frame = memory.read_address(frame.offset(walk.cframe_current_frame.into()))?;
        }
        let mut found = Vec::new();
        for _ in 0..MAX_FRAMES {
            if frame.is_null() || found.len() >= limit {
                break;
            }
            if walk.has_heap_frames() || self.owner_of(memory, frame)? < walk.owner_internal {
                let code = memory.read_u64(frame.offset(walk.frame_code.into()))?;
                let code = Address(code & !walk.tag_mask);
                found.push((code, self.instruction_of(memory, frame)?));
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
