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
    /// Address of the `_PyInterpreterFrame`.
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
                let frame = object.offset(u64::from(self.layout.generator_frame));
                let code = self.untagged(frame.offset(u64::from(self.layout.frame_code)))?;
                visit(FrameAddress { frame, code });
                match self.awaited(object, frame)? {
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
        let Some(index) = self.objects.local_index(at.code, name)? else {
            return Ok(None);
        };
        let locals = at.frame.offset(u64::from(self.layout.frame_locals));
        let Some(value) = non_null(self.untagged(locals.offset(index as u64 * 8))?) else {
            return Ok(None);
        };
        if self.objects.is_exactly(value, self.objects.types.cell)? {
            return self.objects.cell_contents(value);
        }
        Ok(Some(value))
    }

    /// The object in a suspended frame's variables or on its stack that is a generator of the function `name`; where there are
    /// several, the one that was put there last. The value is the generator's own frame.
    ///
    /// # Errors
    /// When the frame cannot be read.
    pub fn generator_in(&self, at: FrameAddress, name: &str) -> Result<Option<FrameAddress>, ReadError> {
        let objects = &self.objects;
        let locals = at.frame.offset(u64::from(self.layout.frame_locals));
        let top = self.stack_top(at.frame)?;
        let count = top.0.wrapping_sub(locals.0) / 8;
        if count > MAX_SLOTS {
            return Err(ReadError::Malformed {
                what: "suspended frame",
                address: at.frame,
            });
        }
        for slot in objects.pointers(locals, count as usize)?.into_iter().rev() {
            let object = Address(slot.0 & !self.layout.tag_mask);
            if object.is_null() || !objects.is_exactly(object, objects.types.generator)? {
                continue;
            }
            let frame = object.offset(u64::from(self.layout.generator_frame));
            let code = self.untagged(frame.offset(u64::from(self.layout.frame_code)))?;
            let found = objects
                .memory
                .read_address(code.offset(objects.offsets.code.qualified_name))?;
            if objects.str_equals(found, name)? {
                return Ok(Some(FrameAddress { frame, code }));
            }
        }
        Ok(None)
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

    /// What a suspended generator awaits; `None` where it is suspended in a plain `yield` or has not begun.
    fn awaited(&self, generator: Address, frame: Address) -> Result<Option<Address>, ReadError> {
        let (memory, layout) = (self.objects.memory, self.layout);
        let malformed = ReadError::Malformed {
            what: "suspended coroutine",
            address: generator,
        };
        let mut state = [0];
        memory.read(
            generator.offset(u64::from(layout.generator_frame_state)),
            &mut state,
        )?;
        let [state] = state.map(u8::cast_signed);
        if state == layout.state_created {
            return Ok(None);
        }
        if state != layout.state_awaiting && state != layout.state_suspended {
            return Err(malformed);
        }
        if state != layout.state_awaiting || !self.is_awaiting(frame)? {
            return Ok(None);
        }
        let slot = self
            .stack_top(frame)?
            .offset(u64::from(layout.frame_awaited).wrapping_neg());
        non_null(self.untagged(slot)?).map(Some).ok_or(malformed)
    }

    /// One past the topmost slot of a suspended frame's stack.
    fn stack_top(&self, frame: Address) -> Result<Address, ReadError> {
        let layout = self.layout;
        let stack = frame.offset(u64::from(layout.frame_stack));
        if layout.quirks & quirks::STACK_POINTER != 0 {
            return Ok(self.objects.memory.read_address(stack)?);
        }
        // Negative while the frame executes.
        let count = u64::try_from(self.objects.read_u32(stack)?.cast_signed());
        let count = count
            .ok()
            .filter(|count| *count > 0)
            .ok_or(ReadError::Malformed {
                what: "suspended frame",
                address: frame,
            })?;
        let locals = frame.offset(u64::from(layout.frame_locals));
        Ok(locals.offset(count.wrapping_mul(8)))
    }

    /// Where a state does not tell `await` from `yield`, the next instruction does.
    fn is_awaiting(&self, frame: Address) -> Result<bool, ReadError> {
        let layout = self.layout;
        if layout.quirks & quirks::AWAIT_BY_OPCODE == 0 {
            return Ok(true);
        }
        let memory = self.objects.memory;
        let instruction = memory.read_address(frame.offset(u64::from(layout.frame_instruction)))?;
        let mut unit = [0; CODE_UNIT as usize];
        memory.read(instruction.offset(CODE_UNIT), &mut unit)?;
        let [opcode, argument] = unit;
        Ok(opcode != 0 && layout.resume_opcodes.contains(&opcode) && argument & 3 >= RESUME_AFTER_AWAIT)
    }

    /// The object that a possibly tagged reference in a frame refers to.
    fn untagged(&self, at: Address) -> Result<Address, ReadError> {
        let value = self.objects.memory.read_u64(at)?;
        Ok(Address(value & !self.layout.tag_mask))
    }
}

impl Objects<'_> {
    /// The index of the local variable `name` in the frames of a code object.
    ///
    /// # Errors
    /// When the code object cannot be read.
    pub fn local_index(&self, code: Address, name: &str) -> Result<Option<usize>, ReadError> {
        for (index, known) in self.local_names(code)?.into_iter().enumerate() {
            if self.str_equals(known, name)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// What the variable `name` of an enclosing function refers to in a function object's closure.
    ///
    /// # Errors
    /// When the function cannot be read.
    pub fn closure_variable(&self, function: Address, name: &str) -> Result<Option<Address>, ReadError> {
        let offsets = &self.offsets.function;
        let closure = self.memory.read_address(function.offset(offsets.closure))?;
        if closure.is_null() {
            return Ok(None);
        }
        let cells = self.first_tuple_items(closure, MAX_SLOTS)?;
        let code = self.memory.read_address(function.offset(offsets.code))?;
        // The variables of enclosing functions come last among the locals (`co_localsplusnames`), in the closure's order.
        let names = self.local_names(code)?;
        let first = names.len().saturating_sub(cells.len());
        for (&known, &cell) in names.iter().skip(first).zip(&cells) {
            if self.str_equals(known, name)? {
                return self.cell_contents(cell);
            }
        }
        Ok(None)
    }

    fn local_names(&self, code: Address) -> Result<Vec<Address>, ReadError> {
        let names = self
            .memory
            .read_address(code.offset(self.offsets.code.local_names))?;
        self.first_tuple_items(names, MAX_SLOTS)
    }

    fn cell_contents(&self, cell: Address) -> Result<Option<Address>, ReadError> {
        let contents = self
            .memory
            .read_address(cell.offset(self.offsets.cell_contents))?;
        Ok(non_null(contents))
    }
}
