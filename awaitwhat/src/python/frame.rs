//! Frames of suspended coroutines, and their local variables.

use awaitwhat_common::layout::{Layout, quirks};
use awaitwhat_common::limits::MAX_OBJECTS;

use super::{Objects, ReadError, non_null};
use crate::memory::Address;

/// Variables and stack slots of one frame that are looked at.
const MAX_SLOTS: u64 = 4096;
/// Bytes of a code unit: opcode, then argument.
const CODE_UNIT: u64 = 2;
/// Values of `RESUME`'s argument (its low two bits) from this one on mean "after `yield from`" and "after `await`".
const RESUME_AFTER_AWAIT: u8 = 2;

/// One frame of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAddress {
    /// Address of the `_PyInterpreterFrame`, or `PyFrameObject`.
    pub frame: Address,
    /// Address of its code object.
    pub code: Address,
}

/// A chain, as far as it is of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The innermost frame.
    pub innermost: Option<FrameAddress>,
    /// The one that awaits it.
    pub next: Option<FrameAddress>,
    /// The one that awaits that.
    pub after_next: Option<FrameAddress>,
    /// How many objects it leads through.
    pub objects: u32,
    /// What the innermost frame awaits.
    pub terminal: Option<Address>,
}

/// Reads frames.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    pub objects: Objects<'a>,
    pub layout: &'a Layout,
}

impl Frames<'_> {
    /// Follows a chain from its outermost coroutine inwards.
    ///
    /// # Errors
    /// When one of its objects cannot be read, or is executing.
    pub fn chain(&self, coroutine: Address) -> Result<Chain, ReadError> {
        let mut chain = Chain::default();
        let (objects, terminal) = self.follow(coroutine, |frame| {
            chain.after_next = chain.next;
            chain.next = chain.innermost;
            chain.innermost = Some(frame);
        })?;
        Ok(Chain {
            objects,
            terminal,
            ..chain
        })
    }

    /// The frames of a chain, outermost first.
    ///
    /// # Errors
    /// As [`Frames::chain`].
    pub fn chain_frames(&self, coroutine: Address) -> Result<Vec<FrameAddress>, ReadError> {
        let mut frames = Vec::new();
        self.follow(coroutine, |frame| frames.push(frame))?;
        Ok(frames)
    }

    /// Calls `visit` with each frame of a chain, the outermost first. Returns how many objects it leads through, and its end.
    fn follow(
        &self,
        coroutine: Address,
        mut visit: impl FnMut(FrameAddress),
    ) -> Result<(u32, Option<Address>), ReadError> {
        let mut object = coroutine;
        for objects in 1..=MAX_OBJECTS {
            let type_object = self.objects.type_of(object)?;
            if self.is_generator(type_object) {
                let at = self.frame_of(object)?;
                visit(at);
                match self.awaited(object, at)? {
                    Some(awaited) => object = awaited,
                    None => return Ok((objects, None)),
                }
                continue;
            }
            let wrapper = self
                .layout
                .wrappers
                .iter()
                .find(|wrapper| wrapper.type_address == type_object.0);
            let Some(wrapper) = wrapper else {
                return Ok((objects, Some(object)));
            };
            object = self
                .objects
                .memory
                .read_address(object.offset(u64::from(wrapper.inner)))?;
            if wrapper.name != 0 && object.is_null() {
                return Ok((objects, None));
            }
            if wrapper.is_terminal != 0 {
                return Ok((objects, non_null(object)));
            }
        }
        Err(ReadError::Malformed {
            what: "chain of coroutines",
            address: coroutine,
        })
    }

    /// The value of a frame's local variable, also one that is shared with other functions; `None` where the frame has none
    /// of this name, or it is not bound.
    ///
    /// # Errors
    /// When the frame or its code object cannot be read.
    pub fn local(&self, at: FrameAddress, name: &str) -> Result<Option<Address>, ReadError> {
        self.local_in(at, &self.objects.local_indices(at.code, name)?)
    }

    /// As [`Frames::local`], of a variable whose places are known ([`Objects::local_indices`]).
    ///
    /// # Errors
    /// When the frame cannot be read.
    pub fn local_in(&self, at: FrameAddress, places: &[usize]) -> Result<Option<Address>, ReadError> {
        let locals = at.frame.offset(u64::from(self.layout.frame_locals));
        for index in places {
            let Some(value) = non_null(self.untagged(locals.offset(*index as u64 * 8))?) else {
                // Before 3.11 an argument that is shared has moved to another place of the same name.
                continue;
            };
            if self.objects.is_exactly(value, self.objects.types.cell)? {
                return self.objects.cell_contents(value);
            }
            return Ok(Some(value));
        }
        Ok(None)
    }

    /// The first variable of a frame, as a rule what its function was called with first. `None` where it is not bound.
    pub(crate) fn first_local(&self, at: FrameAddress) -> Result<Option<Address>, ReadError> {
        let locals = at.frame.offset(u64::from(self.layout.frame_locals));
        let value = non_null(self.untagged(locals)?);
        match value {
            Some(cell) if self.objects.is_exactly(cell, self.objects.types.cell)? => {
                self.objects.cell_contents(cell)
            }
            value => Ok(value),
        }
    }

    fn is_generator(&self, type_object: Address) -> bool {
        let layout = self.layout;
        [
            layout.coroutine_type,
            layout.generator_type,
            layout.async_generator_type,
        ]
        .contains(&type_object.0)
    }

    /// The frame of a generator.
    pub(super) fn frame_of(&self, generator: Address) -> Result<FrameAddress, ReadError> {
        let at = generator.offset(u64::from(self.layout.generator_frame));
        let frame = if self.layout.has_heap_frames() {
            self.objects.memory.read_address(at)?
        } else {
            at
        };
        let code = self.untagged(frame.offset(u64::from(self.layout.frame_code)))?;
        Ok(FrameAddress { frame, code })
    }

    /// What a suspended generator awaits; `None` where it is suspended in a plain `yield` or has not begun.
    fn awaited(&self, generator: Address, at: FrameAddress) -> Result<Option<Address>, ReadError> {
        let layout = self.layout;
        let malformed = ReadError::Malformed {
            what: "suspended coroutine",
            address: generator,
        };
        let state = self.state(generator, at)?;
        let is_suspended = state == layout.state_awaiting || state == layout.state_suspended;
        if state == layout.state_created && !is_suspended {
            return Ok(None);
        }
        if !is_suspended {
            return Err(malformed);
        }
        if state != layout.state_awaiting || !self.is_awaiting(at)? {
            return Ok(None);
        }
        let slot = self
            .stack_end(at.frame, 1)?
            .offset(u64::from(layout.frame_awaited).wrapping_neg());
        non_null(self.untagged(slot)?).map(Some).ok_or(malformed)
    }

    /// What a generator says of its frame (`gi_frame_state`, before 3.11 `f_state` or `f_executing`).
    fn state(&self, generator: Address, at: FrameAddress) -> Result<i8, ReadError> {
        let layout = self.layout;
        let state_at = if layout.has_heap_frames() {
            at.frame.offset(u64::from(layout.frame_state))
        } else {
            generator.offset(u64::from(layout.generator_frame_state))
        };
        let mut state = [0];
        self.objects.memory.read(state_at, &mut state)?;
        let [state] = state.map(u8::cast_signed);
        Ok(state)
    }

    /// Whether a generator is suspended, be it in an `await` or in a plain `yield`.
    pub(super) fn is_suspended(&self, generator: Address, at: FrameAddress) -> Result<bool, ReadError> {
        let state = self.state(generator, at)?;
        Ok([self.layout.state_awaiting, self.layout.state_suspended].contains(&state))
    }

    /// The values on a suspended frame's stack, the lowest first, at most [`MAX_SLOTS`]. They may have tags.
    pub(super) fn stack_values(&self, at: FrameAddress) -> Result<Vec<u64>, ReadError> {
        let (layout, memory) = (self.layout, self.objects.memory);
        let bottom = if layout.has_heap_frames() {
            memory.read_address(at.frame.offset(u64::from(layout.frame_value_stack)))?
        } else {
            let locals = self.objects.local_count(at.code)?;
            at.frame
                .offset(u64::from(layout.frame_locals))
                .offset(locals.wrapping_mul(8))
        };
        let bytes = self.stack_end(at.frame, 0)?.0.wrapping_sub(bottom.0);
        let is_stack = i64::try_from(bytes).is_ok() && bytes.is_multiple_of(8);
        if !is_stack {
            return Err(ReadError::Malformed {
                what: "suspended frame",
                address: at.frame,
            });
        }
        let values = self
            .objects
            .pointers(bottom, (bytes / 8).min(MAX_SLOTS) as usize)?;
        Ok(values.into_iter().map(|value| value.0).collect())
    }

    /// One past the topmost slot of a suspended frame's stack. Where that is counted, the count is `least` or more.
    fn stack_end(&self, frame: Address, least: u64) -> Result<Address, ReadError> {
        let (layout, memory) = (self.layout, self.objects.memory);
        let stack = frame.offset(u64::from(layout.frame_stack));
        if layout.quirks & quirks::STACK_POINTER != 0 {
            return Ok(memory.read_address(stack)?);
        }
        // Negative while the frame executes.
        let count = u64::try_from(self.objects.read_u32(stack)?.cast_signed());
        let count = count
            .ok()
            .filter(|count| *count >= least)
            .ok_or(ReadError::Malformed {
                what: "suspended frame",
                address: frame,
            })?;
        let bottom = if layout.has_heap_frames() {
            memory.read_address(frame.offset(u64::from(layout.frame_value_stack)))?
        } else {
            frame.offset(u64::from(layout.frame_locals))
        };
        Ok(bottom.offset(count.wrapping_mul(8)))
    }

    /// Where a state does not tell `await` from `yield`, the next instruction does.
    fn is_awaiting(&self, at: FrameAddress) -> Result<bool, ReadError> {
        let layout = self.layout;
        if layout.quirks & quirks::AWAIT_BY_OPCODE == 0 {
            return Ok(true);
        }
        let memory = self.objects.memory;
        let last = at.frame.offset(u64::from(layout.frame_instruction));
        let last = if layout.has_heap_frames() {
            let last = i64::from(self.objects.read_u32(last)?.cast_signed());
            if last < 0 {
                return Ok(false);
            }
            let bytes = memory.read_address(at.code.offset(u64::from(layout.code_bytes)))?;
            let offset = last.wrapping_mul(i64::from(layout.instruction_unit));
            bytes
                .offset(u64::from(layout.bytes_value))
                .offset(offset.cast_unsigned())
        } else {
            memory.read_address(last)?
        };
        let mut unit = [0; CODE_UNIT as usize];
        memory.read(last.offset(CODE_UNIT), &mut unit)?;
        let [opcode, argument] = unit;
        let says_await = layout.has_heap_frames() || argument & 3 >= RESUME_AFTER_AWAIT;
        Ok(opcode != 0 && layout.resume_opcodes.contains(&opcode) && says_await)
    }

    /// The object that a possibly tagged reference in a frame refers to.
    pub(super) fn untagged(&self, at: Address) -> Result<Address, ReadError> {
        let value = self.objects.memory.read_u64(at)?;
        Ok(Address(value & !self.layout.tag_mask))
    }
}

impl Objects<'_> {
    /// The indices of the local variable `name` in the frames of a code object. Before 3.11 there are two of an argument that is
    /// shared with other functions.
    pub fn local_indices(&self, code: Address, name: &str) -> Result<Vec<usize>, ReadError> {
        let mut indices = Vec::new();
        for (index, known) in self.local_names(code)?.into_iter().enumerate() {
            if self.str_equals(known, name)? {
                indices.push(index);
            }
        }
        Ok(indices)
    }

    /// How many variables the frames of a code object have (3.11+).
    fn local_count(&self, code: Address) -> Result<u64, ReadError> {
        let names = self
            .memory
            .read_address(code.offset(self.offsets.code.local_names))?;
        let count = self.memory.read_u64(names.offset(self.offsets.tuple.size))?;
        if count > MAX_SLOTS {
            return Err(ReadError::Malformed {
                what: "code object",
                address: code,
            });
        }
        Ok(count)
    }

    /// The names of local variables, in the order of their places in a frame.
    pub(crate) fn local_names(&self, code: Address) -> Result<Vec<Address>, ReadError> {
        let offsets = &self.offsets.code;
        let mut names = Vec::new();
        for offset in [offsets.local_names]
            .into_iter()
            .chain(offsets.shared_names.into_iter().flatten())
        {
            let tuple = self.memory.read_address(code.offset(offset))?;
            names.extend(self.first_tuple_items(tuple, MAX_SLOTS)?);
        }
        Ok(names)
    }

    pub(super) fn cell_contents(&self, cell: Address) -> Result<Option<Address>, ReadError> {
        let contents = self
            .memory
            .read_address(cell.offset(self.offsets.cell_contents))?;
        Ok(non_null(contents))
    }
}
