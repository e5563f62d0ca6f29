//! What suspended frames are inside of: the objects whose `with` and `async with` blocks they have entered and not left.
//!
//! Such a block keeps the method that leaves it on the stack of its frame ([`ExitMethods`]). A function on the stack is that method when
//! the object's class has it by the name `__exit__` or `__aexit__`. A program that calls this method itself, or hands it on, may have it there
//! as well while it awaits something in the same expression: that is not told apart.
//!
//! Three kinds of objects have blocks of their own, which count as well: context managers that `contextlib` makes of generators
//! (`_GeneratorContextManagerBase.gen`), its stacks of contexts (`_BaseExitStack._exit_callbacks`), and generators that rest at a
//! `yield` while a `for` or `async for` goes through them. Names in `Lib/contextlib.py` are the same in 3.7 to 3.15.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::frame::{FrameAddress, Frames};
use super::{Objects, ReadError, non_null};
use crate::layout::ExitMethods;
use crate::memory::Address;

/// Generators within generators whose blocks are looked at.
const MAX_DEPTH: u32 = 16;
/// Blocks of one chain.
const MAX_BLOCKS: usize = 1024;
/// Stack slots of one chain that are looked at.
const MAX_SLOTS: usize = 1 << 14;
/// Why a chain with more is not searched.
const TOO_MANY: ReadError = ReadError::Exhausted {
    what: "blocks of a task",
};
/// Contexts of one `ExitStack` or `AsyncExitStack`.
const MAX_CONTEXTS: usize = 256;
/// Types, classes with their methods, and code objects that are remembered; then all are forgotten, and read again.
const MAX_KNOWN: usize = 1 << 14;
/// Bits of a reference in a frame that are all set where it is an integer (`Py_INT_TAG`, `pycore_stackref.h`, 3.14+).
const INTEGER_TAG: u64 = 3;
/// `Py_TPFLAGS_METHOD_DESCRIPTOR` (`object.h`, 3.8+): its objects are called with the object that they were found through.
const METHOD_DESCRIPTOR: u64 = 1 << 17;
/// `CO_COROUTINE` and `CO_ITERABLE_COROUTINE` (`code.h`).
const COROUTINE_FLAGS: u32 = 0x80 | 0x100;
/// The methods that enter and leave blocks.
const ASYNC_ENTER: &str = "__aenter__";
const EXIT: &str = "__exit__";
const ASYNC_EXIT: &str = "__aexit__";

/// A `with` or `async with` block that a suspended frame is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The context manager.
    pub object: Address,
    pub is_async: bool,
    /// The frame that has the block. Of a generator it need not be one of the chain.
    pub frame: FrameAddress,
    /// Where the context manager was made of a generator that rests, the frame of that.
    pub generator: Option<FrameAddress>,
}

/// What an object on a stack may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A method that is bound to its object (`method`).
    Method,
    /// The same in C (`builtin_function_or_method`).
    MethodInC,
    /// A method in C as its class has it (`method_descriptor`).
    Descriptor,
    /// Anything else that is called with the object that it was found through.
    Function,
    /// A generator, asynchronous or not.
    Generator,
    Other,
}

/// What `contextlib` makes of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// Its instances run a generator.
    Generator,
    /// Its instances have a stack of contexts.
    Stack,
    Other,
}

/// Finds blocks. What it has learnt of types and code it remembers: it is for one moment of a process.
pub struct Blocks<'a> {
    frames: Frames<'a>,
    kinds: HashMap<Address, Kind>,
    makers: HashMap<Address, Maker>,
    /// Whether a function leaves blocks of a class, and whether these are asynchronous.
    exits: HashMap<(Address, Address), Option<bool>>,
    /// The code of the `__aenter__` of a class, where that is a coroutine function.
    enters: HashMap<Address, Option<Address>>,
    /// Whether a code object is that of an `__aexit__`.
    leaving: HashMap<Address, bool>,
}

/// What was found in one chain so far.
#[derive(Default)]
struct Found {
    blocks: Vec<Inside>,
    /// Frames that are not to be looked at (again).
    seen: HashSet<Address>,
    /// Slots that were looked at.
    slots: usize,
}

impl Frames<'_> {
    /// The objects whose `async with` or `with` block a suspended frame is inside of, outermost first. What it may still be entering, as far
    /// as that cannot be told from this frame, is among them: [`Blocks::of_chain`] can tell.
    ///
    /// # Errors
    /// When the frame cannot be read.
    pub fn inside_of(&self, at: FrameAddress) -> Result<Vec<Inside>, ReadError> {
        Blocks::new(*self).of_chain(&[at])
    }
}

impl<'a> Blocks<'a> {
    #[must_use]
    pub fn new(frames: Frames<'a>) -> Self {
        Self {
            frames,
            kinds: HashMap::new(),
            makers: HashMap::new(),
            exits: HashMap::new(),
            enters: HashMap::new(),
            leaving: HashMap::new(),
        }
    }

    /// The blocks that the frames of a suspended task are inside of. Both have the outermost first.
    ///
    /// # Errors
    /// When a frame cannot be read.
    pub fn of_chain(&mut self, chain: &[FrameAddress]) -> Result<Vec<Inside>, ReadError> {
        self.make_room();
        let mut found = Found::default();
        // They are not to be found a second time through what has them on its stack.
        found.seen.extend(chain.iter().map(|at| at.frame));
        for (position, at) in chain.iter().enumerate() {
            self.leaves(*at, &mut found)?;
            let next = chain.get(position + 1);
            let awaits = next.map_or(Awaits::Other, |next| Awaits::Frame(*next));
            self.of_frame(*at, awaits, MAX_DEPTH, &mut found)?;
        }
        Ok(found.blocks)
    }

    fn objects(&self) -> Objects<'a> {
        self.frames.objects
    }

    fn make_room(&mut self) {
        let known = [
            self.kinds.len(),
            self.makers.len(),
            self.exits.len(),
            self.enters.len(),
        ];
        if known
            .iter()
            .chain([&self.leaving.len()])
            .any(|known| *known > MAX_KNOWN)
        {
            *self = Self::new(self.frames);
        }
    }

    /// Takes the blocks of one frame.
    fn of_frame(
        &mut self,
        at: FrameAddress,
        awaits: Awaits,
        depth: u32,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let values = self.frames.stack_values(at)?;
        found.count(values.len())?;
        for (index, value) in values.iter().enumerate() {
            let Some(object) = reference(*value, self.frames.layout.tag_mask) else {
                continue;
            };
            // What the frame refers to may be anything, also something that cannot be read.
            let Some(kind) = of_place(self.kind(object))? else {
                continue;
            };
            if kind == Kind::Generator {
                of_place(self.of_generator(object, depth, found))?;
                continue;
            }
            let above = values.get(index + 1);
            let above = above.and_then(|value| reference(*value, self.frames.layout.tag_mask));
            let Some((object, is_async)) = of_place(self.left_by(object, kind, above))?.flatten() else {
                continue;
            };
            let slots_above = values.len().saturating_sub(index + self.slots_of_block());
            let is_entering =
                is_async && slots_above <= self.slots_of_awaited() && self.is_entering(object, awaits)?;
            if !is_entering {
                self.take(object, is_async, at, depth, found)?;
            }
        }
        Ok(())
    }

    /// Slots that a block takes on the stack.
    fn slots_of_block(&self) -> usize {
        match self.objects().offsets.exit_methods {
            ExitMethods::Bound => 1,
            ExitMethods::WithObject => 2,
        }
    }

    /// Slots that what a frame awaits takes on the stack.
    fn slots_of_awaited(&self) -> usize {
        usize::from(self.frames.layout.frame_awaited) / 8
    }

    /// Takes an object whose block a frame is inside of, and what that object itself is inside of.
    fn take(
        &mut self,
        object: Address,
        is_async: bool,
        frame: FrameAddress,
        depth: u32,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let position = found.blocks.len();
        found.push(Inside {
            object,
            is_async,
            frame,
            generator: None,
        })?;
        match of_place(self.maker(object))?.unwrap_or(Maker::Other) {
            Maker::Generator => {
                let generator = of_place(self.objects().attribute(object, "gen"))?.flatten();
                if let Some(generator) = generator
                    && of_place(self.kind(generator))? == Some(Kind::Generator)
                {
                    let at = of_place(self.of_generator(generator, depth, found))?.flatten();
                    if let Some(block) = found.blocks.get_mut(position) {
                        block.generator = at;
                    }
                }
            }
            Maker::Stack => {
                of_place(self.of_stack(object, frame, depth, found))?;
            }
            Maker::Other => {}
        }
        Ok(())
    }

    /// Takes what a generator that rests is inside of. Returns its frame, unless that is one of the chain.
    fn of_generator(
        &mut self,
        generator: Address,
        depth: u32,
        found: &mut Found,
    ) -> Result<Option<FrameAddress>, ReadError> {
        let at = self.frames.frame_of(generator)?;
        if depth == 0 || !self.frames.is_suspended(generator, at)? || !found.seen.insert(at.frame) {
            return Ok(None);
        }
        self.of_frame(at, Awaits::Nothing, depth - 1, found)?;
        Ok(Some(at))
    }

    /// Takes the contexts that an `ExitStack` or `AsyncExitStack` has entered: pairs of whether it is not asynchronous, and what leaves it.
    fn of_stack(
        &mut self,
        stack: Address,
        frame: FrameAddress,
        depth: u32,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let objects = self.objects();
        let Some(contexts) = objects.attribute(stack, "_exit_callbacks")?.filter(|_| depth > 0) else {
            return Ok(());
        };
        for context in objects.deque_items(contexts)?.into_iter().take(MAX_CONTEXTS) {
            if !objects.is_exactly(context, objects.types.tuple)? {
                continue;
            }
            let [_, leaves] = objects.first_tuple_items(context, 2)?[..] else {
                continue;
            };
            if let Some((object, is_async)) = of_place(self.left_by_callback(leaves))?.flatten() {
                self.take(object, is_async, frame, depth - 1, found)?;
            }
        }
        Ok(())
    }

    /// What a callback of a stack of contexts leaves: that is a method, or until 3.7 a function that knows the object.
    fn left_by_callback(&mut self, callback: Address) -> Result<Option<(Address, bool)>, ReadError> {
        match self.kind(callback)? {
            kind @ (Kind::Method | Kind::MethodInC) => self.left_by(callback, kind, None),
            Kind::Function => {
                let Some(object) = self.objects().attribute(callback, "__self__")? else {
                    return Ok(None);
                };
                let class = self.objects().type_of(object)?;
                let is_async = self.objects().class_attribute(class, ASYNC_EXIT)?.is_some();
                Ok(Some((object, is_async)))
            }
            Kind::Descriptor | Kind::Generator | Kind::Other => Ok(None),
        }
    }

    /// The object whose block something on a stack leaves, and whether that is asynchronous; `above` is what lies above it.
    fn left_by(
        &mut self,
        object: Address,
        kind: Kind,
        above: Option<Address>,
    ) -> Result<Option<(Address, bool)>, ReadError> {
        let objects = self.objects();
        let method = objects.offsets.method;
        let part = |offset| objects.memory.read_address(object.offset(offset));
        let above = above.filter(|_| objects.offsets.exit_methods == ExitMethods::WithObject);
        let (instance, is_async) = match (kind, above) {
            (Kind::Method, _) => {
                let (function, instance) = (part(method.function)?, part(method.instance)?);
                (instance, self.exit(objects.type_of(instance)?, function)?)
            }
            (Kind::MethodInC, _) => {
                let definition = part(method.function)?;
                let name = objects.memory.read_address(definition)?;
                let name = objects.c_string(name, object)?;
                (part(method.instance)?, is_async_exit(&name))
            }
            (Kind::Descriptor | Kind::Function, Some(above)) => {
                (above, self.exit(objects.type_of(above)?, object)?)
            }
            _ => return Ok(None),
        };
        Ok(is_async
            .filter(|_| !instance.is_null())
            .map(|is_async| (instance, is_async)))
    }

    /// Whether a function leaves blocks of the objects of a class, and whether these are asynchronous.
    fn exit(&mut self, class: Address, function: Address) -> Result<Option<bool>, ReadError> {
        if let Some(known) = self.exits.get(&(class, function)) {
            return Ok(*known);
        }
        let objects = self.objects();
        let exit = if self.kind(function)? == Kind::Descriptor {
            let name = function.offset(objects.offsets.descriptor_name);
            let name = objects.memory.read_address(name)?;
            is_async_exit(&objects.text(name)?.text)
        } else if objects.class_attribute(class, ASYNC_EXIT)? == Some(function) {
            Some(true)
        } else {
            (objects.class_attribute(class, EXIT)? == Some(function)).then_some(false)
        };
        self.exits.insert((class, function), exit);
        Ok(exit)
    }

    /// Whether a frame whose topmost block is that of `object` still awaits `__aenter__`. Where that cannot be told, it is said to.
    fn is_entering(&mut self, object: Address, awaits: Awaits) -> Result<bool, ReadError> {
        let next = match awaits {
            Awaits::Nothing => return Ok(false),
            Awaits::Frame(next) => Some(next),
            Awaits::Other => None,
        };
        let class = self.objects().type_of(object)?;
        match (self.entering_code(class)?, next) {
            (Some(code), next) => Ok(next.is_some_and(|next| next.code == code)),
            // It is no coroutine of Python's, but may return one.
            (None, Some(next)) => Ok(of_place(self.frames.first_local(next))?.flatten() == Some(object)),
            (None, None) => Ok(true),
        }
    }

    /// The code of the `__aenter__` of a class, where that is a coroutine function.
    fn entering_code(&mut self, class: Address) -> Result<Option<Address>, ReadError> {
        if let Some(known) = self.enters.get(&class) {
            return Ok(*known);
        }
        let objects = self.objects();
        let code = match objects.class_attribute(class, ASYNC_ENTER)? {
            Some(function) if objects.is_exactly(function, objects.types.function)? => {
                let code = function.offset(objects.offsets.function.code);
                let code = objects.memory.read_address(code)?;
                let flags = objects.read_u32(code.offset(objects.offsets.code.flags))?;
                (flags & COROUTINE_FLAGS != 0).then_some(code)
            }
            _ => None,
        };
        self.enters.insert(class, code);
        Ok(code)
    }

    /// Takes the object whose `__aexit__` a frame is: its block is left when that returns. The frame that has the block may not have it on its
    /// stack any more.
    fn leaves(&mut self, at: FrameAddress, found: &mut Found) -> Result<(), ReadError> {
        let is_leaving = match self.leaving.get(&at.code) {
            Some(known) => *known,
            None => {
                let objects = self.objects();
                let name = at.code.offset(objects.offsets.code.qualified_name);
                let name = objects.memory.read_address(name)?;
                let is_leaving = objects.text(name)?.text.ends_with(ASYNC_EXIT);
                self.leaving.insert(at.code, is_leaving);
                is_leaving
            }
        };
        let Some(object) = (match is_leaving {
            true => of_place(self.frames.first_local(at))?.flatten(),
            false => None,
        }) else {
            return Ok(());
        };
        if found.blocks.last().is_some_and(|last| last.object == object) {
            return Ok(());
        }
        found.push(Inside {
            object,
            is_async: true,
            frame: at,
            generator: None,
        })
    }

    /// What an object may be, by its type.
    fn kind(&mut self, object: Address) -> Result<Kind, ReadError> {
        let objects = self.objects();
        let type_object = objects.type_of(object)?;
        if let Some(known) = self.kinds.get(&type_object) {
            return Ok(*known);
        }
        let types = objects.types;
        let kind = if type_object == types.function {
            Kind::Function
        } else if [types.generator, types.async_generator].contains(&type_object) {
            Kind::Generator
        } else if !objects.is_type(type_object)? {
            Kind::Other
        } else {
            match objects.full_type_name(type_object)?.as_str() {
                "method" => Kind::Method,
                "builtin_function_or_method" => Kind::MethodInC,
                "method_descriptor" => Kind::Descriptor,
                _ => {
                    let flags = type_object.offset(objects.offsets.type_object.flags);
                    match objects.memory.read_u64(flags)? & METHOD_DESCRIPTOR {
                        0 => Kind::Other,
                        _ => Kind::Function,
                    }
                }
            }
        };
        self.kinds.insert(type_object, kind);
        Ok(kind)
    }

    /// What `contextlib` makes of an object's class.
    fn maker(&mut self, object: Address) -> Result<Maker, ReadError> {
        let objects = self.objects();
        let class = objects.type_of(object)?;
        if let Some(known) = self.makers.get(&class) {
            return Ok(*known);
        }
        let mut maker = Maker::Other;
        for base in objects.resolution_order(class)? {
            maker = match objects.full_type_name(base)?.as_str() {
                "_GeneratorContextManagerBase" => Maker::Generator,
                "_BaseExitStack" => Maker::Stack,
                _ => continue,
            };
        }
        self.makers.insert(class, maker);
        Ok(maker)
    }
}

/// What a suspended frame awaits.
#[derive(Clone, Copy, Debug)]
enum Awaits {
    Frame(FrameAddress),
    /// Something that is no frame of the chain.
    Other,
    /// It rests at a plain `yield`.
    Nothing,
}

impl Found {
    fn push(&mut self, block: Inside) -> Result<(), ReadError> {
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(TOO_MANY);
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Counts slots that are looked at.
    fn count(&mut self, slots: usize) -> Result<(), ReadError> {
        self.slots += slots;
        if self.slots > MAX_SLOTS {
            return Err(TOO_MANY);
        }
        Ok(())
    }
}

/// The object that a value on a stack refers to; `None` for NULL and for integers.
fn reference(value: u64, tag_mask: u64) -> Option<Address> {
    if tag_mask != 0 && value & INTEGER_TAG == INTEGER_TAG {
        return None;
    }
    non_null(Address(value & !tag_mask))
}

/// Whether a method of this name leaves blocks, and whether these are asynchronous.
fn is_async_exit(name: &str) -> Option<bool> {
    match name {
        ASYNC_EXIT => Some(true),
        EXIT => Some(false),
        _ => None,
    }
}

/// The value; `None` where it cannot be read, unless nothing can any more, or a bound was hit.
pub(crate) fn of_place<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Malformed { .. }) => Ok(None),
        Err(ReadError::Fault(fault)) if fault.is_of_place() => Ok(None),
        Err(error) => Err(error),
    }
}
