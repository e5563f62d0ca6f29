//! What a task waits for: the kind of its terminal awaitable, and the tasks behind it.
//!
//! Facts: `Lib/asyncio/tasks.py` (`gather`, `wait`, `wait_for`, `shield`, `as_completed`), `Lib/asyncio/taskgroups.py`, in 3.11 to 3.14.
//! Edges are found from the waiting side, since before 3.14 a task does not know its awaiters, and after that not all
//! of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::{Chain, Frames};
use super::{Objects, ReadError, non_null};
use crate::memory::{Address, Fault};
use crate::snapshot::{Frame, WaitKind, WaitsOn};

/// Tasks behind one awaitable that are shown.
const MAX_TASKS: usize = 1 << 16;
/// Gathers, or shields, within each other that are looked into.
const MAX_NESTING: u32 = 16;
/// Callbacks of a future that are looked at.
const MAX_CALLBACKS: usize = 64;
/// Types that are remembered.
const MAX_TYPES: usize = 4096;
/// `STATE_PENDING` of `fut_state` (`_asynciomodule.c`).
const PENDING: u32 = 0;

/// Types of asyncio that end chains; those that the target does not have are NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FutureTypes {
    /// `_asyncio.Task`.
    pub task: Address,
    /// `_asyncio.Future`.
    pub future: Address,
    /// `asyncio.futures._PyFuture`.
    pub python_future: Address,
    /// `asyncio.tasks._GatheringFuture`.
    pub gathering: Address,
}

/// A task that is suspended.
#[derive(Clone, Copy, Debug)]
pub struct Waiter<'a> {
    /// Address of the task's coroutine.
    pub coroutine: Address,
    /// What the chain ends with, or, where it ends in a plain `yield`, the task's `task_fut_waiter`.
    pub terminal: Address,
    /// The innermost frame.
    pub innermost: Option<&'a Frame>,
}

/// Describes what tasks wait for, and remembers what kind each type is of.
#[derive(Debug, Default)]
pub struct WaitReader {
    kinds: HashMap<Address, (Class, Arc<str>)>,
}

/// Kinds of types, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Task,
    Gathering,
    Future,
    PythonFuture,
    Other,
}

/// Functions of asyncio that wait for others by a future of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    TaskGroup,
    Wait,
    WaitFor,
    QueueGet,
}

/// Reads what is behind one terminal awaitable.
struct Look<'a> {
    frames: Frames<'a>,
    types: &'a FutureTypes,
}

impl WaitReader {
    /// What `waiter` waits for. Where the tasks behind the awaitable cannot be read, none are named.
    ///
    /// The target may go on meanwhile: [`Objects::still_waits`] tells afterwards whether the tasks can be believed.
    ///
    /// # Errors
    /// When the terminal awaitable itself cannot be read.
    pub fn describe(
        &mut self,
        frames: Frames<'_>,
        types: &FutureTypes,
        waiter: &Waiter<'_>,
    ) -> Result<WaitsOn, ReadError> {
        let look = Look { frames, types };
        let type_object = frames.objects.type_of(waiter.terminal)?;
        let (class, type_name) = self.classify(&look, type_object)?;
        let (kind, tasks) = match look.behind(class, waiter) {
            Ok(found) => found,
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault.into()),
            Err(_) => (class.kind(), Vec::new()),
        };
        Ok(WaitsOn {
            kind,
            id: waiter.terminal,
            type_name,
            tasks,
        })
    }

    fn classify(&mut self, look: &Look<'_>, type_object: Address) -> Result<(Class, Arc<str>), ReadError> {
        if let Some((class, name)) = self.kinds.get(&type_object) {
            return Ok((*class, Arc::clone(name)));
        }
        let class = look.class(type_object)?;
        let name: Arc<str> = look.frames.objects.type_name(type_object)?.into();
        if self.kinds.len() >= MAX_TYPES {
            self.kinds.clear();
        }
        self.kinds.insert(type_object, (class, Arc::clone(&name)));
        Ok((class, name))
    }
}

impl Objects<'_> {
    /// Whether the task at `task` has not been woken since it was seen to wait for `fut_waiter`.
    ///
    /// # Errors
    /// When the task cannot be read.
    pub fn still_waits(
        &self,
        frames: &Frames<'_>,
        task: Address,
        fut_waiter: Address,
    ) -> Result<bool, ReadError> {
        let at = task.offset(u64::from(frames.layout.task_fut_waiter));
        Ok(self.memory.read_address(at)? == fut_waiter)
    }
}

impl Class {
    fn kind(self) -> WaitKind {
        match self {
            Self::Task => WaitKind::Task,
            Self::Gathering => WaitKind::Gather,
            Self::Future | Self::PythonFuture => WaitKind::Future,
            Self::Other => WaitKind::Other,
        }
    }
}

impl Look<'_> {
    fn class(&self, type_object: Address) -> Result<Class, ReadError> {
        let types = self.types;
        for (base, class) in [
            (types.task, Class::Task),
            (types.gathering, Class::Gathering),
            (types.future, Class::Future),
            (types.python_future, Class::PythonFuture),
        ] {
            if !base.is_null() && self.frames.objects.is_subtype(type_object, base)? {
                return Ok(class);
            }
        }
        Ok(Class::Other)
    }

    fn behind(&self, class: Class, waiter: &Waiter<'_>) -> Result<(WaitKind, Vec<Address>), ReadError> {
        let mut tasks = Vec::new();
        let mut kind = class.kind();
        match class {
            Class::Task => tasks.push(waiter.terminal),
            Class::Gathering => self.add_children(waiter.terminal, 0, &mut tasks)?,
            Class::Future | Class::PythonFuture => {
                if let Some(found) = self.by_frame(waiter, &mut tasks)? {
                    kind = found;
                } else if class == Class::Future && may_be_shielded(waiter) {
                    self.add_shielded(waiter.terminal, 0, &mut tasks)?;
                }
            }
            Class::Other => {}
        }
        tasks.sort_unstable();
        tasks.dedup();
        Ok((kind, tasks))
    }

    /// Adds a future if it is a task, or else what it is known to stand for.
    fn add(&self, future: Address, nesting: u32, tasks: &mut Vec<Address>) -> Result<(), ReadError> {
        if nesting > MAX_NESTING || tasks.len() >= MAX_TASKS {
            return Ok(());
        }
        match self.class(self.frames.objects.type_of(future)?)? {
            Class::Task if self.is_pending(future)? => tasks.push(future),
            Class::Gathering => self.add_children(future, nesting + 1, tasks)?,
            Class::Future => self.add_shielded(future, nesting + 1, tasks)?,
            _ => {}
        }
        Ok(())
    }

    fn add_all(&self, futures: &[Address], nesting: u32, tasks: &mut Vec<Address>) -> Result<(), ReadError> {
        futures
            .iter()
            .try_for_each(|&future| self.add(future, nesting, tasks))
    }

    fn add_children(
        &self,
        gathering: Address,
        nesting: u32,
        tasks: &mut Vec<Address>,
    ) -> Result<(), ReadError> {
        let objects = &self.frames.objects;
        match objects.attribute(gathering, "_children")? {
            Some(children) => self.add_all(&objects.list_items(children)?, nesting, tasks),
            None => Ok(()),
        }
    }

    /// The outer future of a `shield` has a callback whose closure holds the inner one.
    fn add_shielded(&self, outer: Address, nesting: u32, tasks: &mut Vec<Address>) -> Result<(), ReadError> {
        let objects = &self.frames.objects;
        for callback in self.callbacks(outer)? {
            if objects.is_exactly(callback, objects.types.function)? {
                let name = objects
                    .memory
                    .read_address(callback.offset(objects.offsets.function.qualified_name))?;
                if objects.str_equals(name, "shield.<locals>._outer_done_callback")?
                    && let Some(inner) = objects.closure_variable(callback, "inner")?
                {
                    self.add(inner, nesting, tasks)?;
                }
            }
        }
        Ok(())
    }

    fn callbacks(&self, future: Address) -> Result<Vec<Address>, ReadError> {
        let objects = &self.frames.objects;
        let offsets = &objects.offsets.future;
        let read = |offset| objects.memory.read_address(future.offset(offset));
        let mut callbacks: Vec<Address> = non_null(read(offsets.callback0)?).into_iter().collect();
        if let Some(list) = non_null(read(offsets.callbacks)?) {
            for pair in objects.list_items(list)?.into_iter().take(MAX_CALLBACKS) {
                callbacks.extend(objects.tuple_items(pair)?.first());
            }
        }
        Ok(callbacks)
    }

    /// What the innermost frame says, where it is one of asyncio's own that wait for others by a future of theirs.
    fn by_frame(&self, waiter: &Waiter<'_>, tasks: &mut Vec<Address>) -> Result<Option<WaitKind>, ReadError> {
        let Some(innermost) = waiter.innermost else {
            return Ok(None);
        };
        let function = match (module_of(&innermost.file), &*innermost.function) {
            ("taskgroups.py", "TaskGroup.__aexit__" | "TaskGroup._aexit") => Function::TaskGroup,
            ("tasks.py", "_wait") => Function::Wait,
            ("tasks.py", "wait_for" | "_cancel_and_wait") => Function::WaitFor,
            ("queues.py", "Queue.get") => Function::QueueGet,
            _ => return Ok(None),
        };
        let chain = self.frames.chain(waiter.coroutine)?;
        if chain.terminal != Some(waiter.terminal) {
            return Ok(None);
        }
        match function {
            Function::TaskGroup => self.task_group(&chain, tasks),
            Function::Wait => self.wait(&chain, tasks),
            Function::WaitFor => self.wait_for(&chain, tasks),
            Function::QueueGet => self.as_completed(&chain, tasks),
        }
    }

    fn task_group(&self, chain: &Chain, tasks: &mut Vec<Address>) -> Result<Option<WaitKind>, ReadError> {
        let objects = &self.frames.objects;
        let Some(group) = self.local(chain, "self")? else {
            return Ok(None);
        };
        if objects.attribute(group, "_on_completed_fut")? != chain.terminal {
            return Ok(None);
        }
        if let Some(members) = objects.attribute(group, "_tasks")? {
            self.add_all(&objects.set_items(members)?, 0, tasks)?;
        }
        Ok(Some(WaitKind::TaskGroup))
    }

    fn wait(&self, chain: &Chain, tasks: &mut Vec<Address>) -> Result<Option<WaitKind>, ReadError> {
        if self.local(chain, "waiter")? != chain.terminal {
            return Ok(None);
        }
        if let Some(futures) = self.local(chain, "fs")? {
            self.add_all(&self.collection(futures)?, 0, tasks)?;
        }
        Ok(Some(WaitKind::Wait))
    }

    /// Until 3.11 `wait_for` waits for a future of its own; since then only for the one that it was given.
    fn wait_for(&self, chain: &Chain, tasks: &mut Vec<Address>) -> Result<Option<WaitKind>, ReadError> {
        if self.local(chain, "waiter")? != chain.terminal {
            return Ok(None);
        }
        if let Some(future) = self.local(chain, "fut")? {
            self.add(future, 0, tasks)?;
        }
        Ok(Some(WaitKind::Future))
    }

    /// `as_completed` gets what is done from a queue; what is not is in `todo`, of its iterator (3.13+) or its closure.
    fn as_completed(&self, chain: &Chain, tasks: &mut Vec<Address>) -> Result<Option<WaitKind>, ReadError> {
        let objects = &self.frames.objects;
        let Some(next) = chain.next else { return Ok(None) };
        let name = objects
            .memory
            .read_address(next.code.offset(objects.offsets.code.qualified_name))?;
        let todo = if objects.str_equals(name, "as_completed.<locals>._wait_for_one")? {
            self.frames.local(next, "todo")?
        } else if objects.str_equals(name, "_AsCompletedIterator._wait_for_one")? {
            match self.frames.local(next, "self")? {
                Some(iterator) => objects.attribute(iterator, "_todo")?,
                None => None,
            }
        } else {
            None
        };
        if let Some(todo) = todo {
            self.add_all(&objects.set_items(todo)?, 0, tasks)?;
        }
        Ok(None)
    }

    fn local(&self, chain: &Chain, name: &str) -> Result<Option<Address>, ReadError> {
        match chain.innermost {
            Some(frame) => self.frames.local(frame, name),
            None => Ok(None),
        }
    }

    /// The items of a set, list or tuple; of anything else none.
    fn collection(&self, object: Address) -> Result<Vec<Address>, ReadError> {
        let objects = &self.frames.objects;
        let type_object = objects.type_of(object)?;
        if type_object == objects.types.set {
            objects.set_items(object)
        } else if type_object == objects.types.list {
            objects.list_items(object)
        } else if type_object == objects.types.tuple {
            objects.tuple_items(object)
        } else {
            Ok(Vec::new())
        }
    }

    fn is_pending(&self, task: Address) -> Result<bool, ReadError> {
        let at = task.offset(u64::from(self.frames.layout.task_state));
        Ok(self.frames.objects.read_u32(at)? == PENDING)
    }
}

/// Base name of a file of asyncio, empty for any other file.
fn module_of(file: &str) -> &str {
    match file.rsplit_once('/') {
        Some((folder, name)) if folder.ends_with("/asyncio") => name,
        _ => "",
    }
}

/// Asyncio itself never awaits the future of a `shield`, unless it was handed one: looking into every future that a
/// `sleep` or a `Queue` waits for would be in vain.
fn may_be_shielded(waiter: &Waiter<'_>) -> bool {
    let Some(innermost) = waiter.innermost else {
        return true;
    };
    module_of(&innermost.file).is_empty() || &*innermost.function == "wait_for"
}
