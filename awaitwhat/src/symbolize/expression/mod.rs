//! What the code says at the place where it waits: `async with self.locks[k]`, `await asyncio.sleep(3)`.
//!
//! The instructions before an await put together what is awaited, so its text is read from them, as far as it is made of names. What is
//! anything else is unknown, and shown as `…` or not at all. Texts in code are somebody's data, and are never shown.

mod machine;
mod nodes;
mod operation;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;

use self::machine::{CODE_UNIT, Instructions, Machine};
use self::nodes::{Id, Node, Nodes};
use self::text::Teller;
use super::instructions;
use crate::layout::OpcodeListing;
use crate::memory::Address;
use crate::python::{Objects, ReadError};

/// Code units of one code object that are read.
const MAX_UNITS: u64 = 1 << 15;
/// Places whose texts are remembered; then all are forgotten.
const MAX_KNOWN: usize = 1 << 14;

/// How code waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `await`, and `yield from`.
    Await,
    /// `async with` begins (`__aenter__`).
    AsyncWith,
    /// `async with` ends (`__aexit__`).
    AsyncWithEnd,
    /// `async for` takes the next item.
    AsyncFor,
}

/// What code says at the place where it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// `None` where that is not known: then nothing else is.
    pub way: Option<Way>,
    /// What the code calls the object: `self.locks[k]`, of `async with self.locks[k]` or `await self.locks[k].acquire()`; `rows`, of `async for row in
    /// rows`. Of `await asyncio.sleep(3)` it is `asyncio`.
    pub receiver: Option<String>,
    /// What stands behind `await`: `self.locks[k].acquire()`, `asyncio.sleep(3)`, `future`. Arguments that are neither names nor small
    /// numbers are `…`.
    pub expression: Option<String>,
    /// Calls of methods among the arguments, as in `asyncio.wait_for(self.lock.acquire(), 3)`.
    pub calls: Vec<Called>,
    /// Arguments that are names, or attributes of what these name: `self.lock`, of `await stack.enter_async_context(self.lock)`.
    pub names: Vec<String>,
}

/// A call of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    pub receiver: String,
    pub method: String,
}

/// What code says at each place, of one interpreter: remembered, as code stays what it is.
#[derive(Debug)]
pub struct Expressions {
    instructions: Instructions,
    known: HashMap<(Address, Address), Awaited>,
}

impl Expressions {
    /// Of an interpreter with this listing ([`crate::layout::Offsets::opcodes`]).
    #[must_use]
    pub fn new(listing: OpcodeListing) -> Self {
        Self {
            instructions: Instructions::new(listing.read()),
            known: HashMap::new(),
        }
    }

    /// What `code` says at `instruction`, as the walker's records have it.
    ///
    /// # Errors
    /// When the code object cannot be read, or is none.
    pub fn awaited(
        &mut self,
        objects: &Objects<'_>,
        code: Address,
        instruction: Address,
    ) -> Result<Awaited, ReadError> {
        if let Some(known) = self.known.get(&(code, instruction)) {
            return Ok(known.clone());
        }
        let awaited = read(&self.instructions, objects, code, instruction)?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert((code, instruction), awaited.clone());
        Ok(awaited)
    }

    /// Forgets what code objects say that are others now.
    pub fn forget(&mut self, codes: &[Address]) {
        self.known.retain(|(code, _), _| !codes.contains(code));
    }
}

fn read(
    instructions: &Instructions,
    objects: &Objects<'_>,
    code: Address,
    instruction: Address,
) -> Result<Awaited, ReadError> {
    if !objects.is_exactly(code, objects.types.code)? {
        return Err(ReadError::Malformed {
            what: "code object",
            address: code,
        });
    }
    let Some((bytes, unit)) = bytecode(objects, code, instruction)? else {
        return Ok(Awaited::default());
    };
    let Some((nodes, id)) = Machine::new(instructions).awaited(&bytes, unit) else {
        return Ok(Awaited::default());
    };
    tell(
        &mut Teller::new(objects, code, &nodes, &instructions.opcodes.facts),
        &nodes,
        id,
    )
}

/// The instructions up to the one that is asked for, and the code unit that it is at. `None` where it is none of them, or too far behind.
fn bytecode(
    objects: &Objects<'_>,
    code: Address,
    instruction: Address,
) -> Result<Option<(Vec<u8>, usize)>, ReadError> {
    let offsets = &objects.offsets.code;
    let (start, at, size) = if let Some(bytes) = offsets.bytes {
        let bytes = objects.memory.read_address(code.offset(bytes))?;
        if !objects.is_exactly(bytes, objects.types.bytes)? {
            return Ok(None);
        }
        let size = objects
            .memory
            .read_u64(bytes.offset(objects.offsets.bytes.size))?;
        (bytes.offset(objects.offsets.bytes.value), instruction.0, size)
    } else {
        let start = instructions(objects, code, instruction);
        // `ob_size` of a code object is its number of code units.
        let units = objects
            .memory
            .read_u64(code.offset(objects.offsets.header_bytes()))?;
        (
            start,
            instruction.0.wrapping_sub(start.0),
            units.saturating_mul(CODE_UNIT as u64),
        )
    };
    let unit = at / CODE_UNIT as u64;
    if at >= size || unit >= MAX_UNITS {
        return Ok(None);
    }
    // One more, as `YIELD_FROM` comes behind.
    let read = size.min((unit + 2) * CODE_UNIT as u64);
    let mut bytes = vec![0; read as usize];
    objects.memory.read(start, &mut bytes)?;
    Ok(Some((bytes, unit as usize)))
}

/// What is awaited, by how it was put together.
fn tell(teller: &mut Teller<'_>, nodes: &Nodes, id: Id) -> Result<Awaited, ReadError> {
    let of = |way, receiver| Awaited {
        way: Some(way),
        receiver,
        ..Awaited::default()
    };
    match nodes.get(id) {
        Node::Entering(object) => Ok(of(Way::AsyncWith, teller.whole(object)?)),
        Node::Leaving(object) => Ok(of(Way::AsyncWithEnd, teller.whole(object)?)),
        Node::Next(iterator) => {
            let Node::Iterator(of_what) = nodes.get(iterator) else {
                return Ok(of(Way::AsyncFor, None));
            };
            Ok(of(Way::AsyncFor, teller.whole(of_what)?))
        }
        Node::Unknown | Node::Null => Ok(Awaited::default()),
        node => {
            let receiver = match node {
                Node::Call(callable, ..) | Node::CallWithMany(callable) => receiver(teller, nodes, callable)?,
                _ => None,
            };
            let expression = teller.whole(id)?;
            let mut awaited = of(Way::Await, receiver);
            awaited.expression = expression;
            if let Node::Call(_, arguments, _) = node {
                for argument in arguments.told() {
                    tell_argument(teller, nodes, *argument, &mut awaited)?;
                }
            }
            Ok(awaited)
        }
    }
}

/// The object that a method is called of.
fn receiver(teller: &mut Teller<'_>, nodes: &Nodes, callable: Id) -> Result<Option<String>, ReadError> {
    match nodes.get(callable) {
        Node::Attribute(object, _) => teller.whole(object),
        Node::SuperAttribute(_) => Ok(Some("super()".to_owned())),
        _ => Ok(None),
    }
}

/// What an argument of what is awaited is, if it is a call of a method or has a name.
fn tell_argument(
    teller: &mut Teller<'_>,
    nodes: &Nodes,
    argument: Id,
    awaited: &mut Awaited,
) -> Result<(), ReadError> {
    match nodes.get(argument) {
        Node::Call(callable, ..) | Node::CallWithMany(callable) => {
            if let Node::Attribute(object, name) = nodes.get(callable)
                && let (Some(receiver), Some(method)) = (teller.whole(object)?, teller.name(name)?)
            {
                awaited.calls.push(Called { receiver, method });
            }
        }
        Node::Local(_) | Node::Shared(_) | Node::Name(_) | Node::Attribute(..) => {
            awaited.names.extend(teller.whole(argument)?);
        }
        _ => {}
    }
    Ok(())
}
