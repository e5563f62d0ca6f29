//! What a task waits for: the kind of its terminal awaitable, and the tasks behind it.
//!
//! Facts: `Lib/asyncio/tasks.py` (`gather`, `wait`, `wait_for`, `shield`, `as_completed`) and `Lib/asyncio/taskgroups.py`
//! of 3.7 to 3.15. Edges are found from the waiting side: before 3.14 a task does not know its awaiters, and since
//! then it names some that do not wait for it (the parent of a `TaskGroup` whose body goes on) and misses others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::frame::{Chain, Frames};
use super::{ReadError, non_null};
use crate::memory::{Address, Fault};
use crate::snapshot::{Frame, WaitKind, WaitsOn};

/// Places of collections behind all awaitables of one snapshot that are looked at.
const MAX_SLOTS: u64 = 1 << 24;
/// Gathers, or shields, within each other that are looked into.
const MAX_NESTING: u32 = 16;
/// Callbacks of a future that are looked at: the one that is looked for is the first that the outer future of a `shield` gets, so nothing
/// is lost behind these.
const MAX_CALLBACKS: u64 = 64;
/// Types that are remembered.
const MAX_TYPES: usize = 4096;
/// The end of the path of anyio's own task groups on asyncio, which are like asyncio's.
const ANYIO: &str = "/anyio/_backends/_asyncio.py";
/// `STATE_PENDING` of `fut_state` (`_asynciomodule.c`).
const PENDING: u32 = 0;

/// Types of asyncio that end chains; those that the target does not have are NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FutureTypes {
    /// `_asyncio.Task`.
    pub task: Address,
    /// `asyncio.tasks._PyTask`.
    pub python_task: Address,
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
    /// Places that were looked at since the snapshot began.
    spent: u64,
    /// Awaitables so far behind which not every task could be named.
    cut: u64,
}

/// Kinds of types, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Task,
    PythonTask,
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

impl WaitReader {
    /// Begins a snapshot: what one snapshot looks at is bounded as a whole.
    pub fn begin_snapshot(&mut self) {
        self.spent = 0;
    }

    /// How many awaitables there were, since this was asked last, behind which not every task could be named.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// What `waiter` waits for. Where the tasks behind the awaitable cannot be read, none are named, and it counts as cut.
    ///
    /// The target may go on meanwhile: the task's `fut_waiter`, read anew afterwards, tells whether the tasks can be believed.
    ///
    /// # Errors
    /// When the terminal awaitable itself cannot be read.
    pub fn describe(
        &mut self,
        frames: Frames<'_>,
        types: &FutureTypes,
        waiter: &Waiter<'_>,
    ) -> Result<WaitsOn, ReadError> {
        let mut look = Look {
            frames,
            types,
            kinds: &mut self.kinds,
            spent: &mut self.spent,
            tasks: Vec::new(),
            seen: HashSet::new(),
            is_cut: false,
        };
        let (class, type_name) = look.classify(waiter.terminal)?;
        let kind = match look.behind(class, waiter) {
            Ok(kind) => kind,
            Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault.into()),
            Err(_) => {
                look.tasks.clear();
                look.is_cut = true;
                class.kind()
            }
        };
        self.cut += u64::from(look.is_cut);
        let mut tasks = look.tasks;
        tasks.sort_unstable();
        Ok(WaitsOn {
            kind,
            id: waiter.terminal,
            type_name,
            tasks,
        })
    }
}

impl Class {
    fn kind(self) -> WaitKind {
        match self {
            Self::Task | Self::PythonTask => WaitKind::Task,
            Self::Gathering => WaitKind::Gather,
            Self::Future | Self::PythonFuture => WaitKind::Future,
            Self::Other => WaitKind::Other,
        }
    }
}

/// Reads what is behind one terminal awaitable.
struct Look<'a> {
    frames: Frames<'a>,
    types: &'a FutureTypes,
    kinds: &'a mut HashMap<Address, (Class, Arc<str>)>,
    spent: &'a mut u64,
    /// The tasks found.
    tasks: Vec<Address>,
    /// Every future that was looked at: a gather can be among its own children.
    seen: HashSet<Address>,
    /// There is more than is looked at.
    is_cut: bool,
}

impl Look<'_> {
    /// The kind and the name of an object's type.
    fn classify(&mut self, object: Address) -> Result<(Class, Arc<str>), ReadError> {
        let objects = &self.frames.objects;
        let type_object = objects.type_of(object)?;
        if let Some((class, name)) = self.kinds.get(&type_object) {
            return Ok((*class, Arc::clone(name)));
        }
        let mut class = Class::Other;
        for (base, known) in [
            (self.types.python_future, Class::PythonFuture),
            (self.types.future, Class::Future),
            (self.types.gathering, Class::Gathering),
            (self.types.task, Class::Task),
            (self.types.python_task, Class::PythonTask),
        ] {
            if !base.is_null() && objects.is_subtype(type_object, base)? {
                class = known;
            }
        }
        let name: Arc<str> = objects.type_name(type_object)?.into();
        if self.kinds.len() >= MAX_TYPES {
            self.kinds.clear();
        }
        self.kinds.insert(type_object, (class, Arc::clone(&name)));
        Ok((class, name))
    }

    fn behind(&mut self, class: Class, waiter: &Waiter<'_>) -> Result<WaitKind, ReadError> {
        match class {
            Class::Task | Class::PythonTask => self.tasks.push(waiter.terminal),
            Class::Gathering => self.add_children(waiter.terminal, 0)?,
            Class::Future | Class::PythonFuture => {
                if let Some(kind) = self.by_frame(waiter)? {
                    return Ok(kind);
                }
                if may_be_shielded(waiter) {
                    self.add_shielded(class, waiter.terminal, 0)?;
                }
            }
            Class::Other => {}
        }
        Ok(class.kind())
    }

    /// Adds a future if it is a task, or else what it is known to stand for.
    fn add(&mut self, future: Address, nesting: u32) -> Result<(), ReadError> {
        if nesting > MAX_NESTING {
            self.is_cut |= !self.seen.contains(&future);
            return Ok(());
        }
        if !self.seen.insert(future) {
            return Ok(());
        }
        let class = self.classify(future)?.0;
        match class {
            Class::Task if self.is_pending(future)? => self.tasks.push(future),
            Class::PythonTask if self.is_pending_in_python(future)? => self.tasks.push(future),
            Class::Gathering => self.add_children(future, nesting + 1)?,
            Class::Future | Class::PythonFuture => self.add_shielded(class, future, nesting + 1)?,
            Class::Task | Class::PythonTask | Class::Other => {}
        }
        Ok(())
    }

    /// Adds the items of a set, list or tuple.
    fn add_all(&mut self, collection: Address, nesting: u32) -> Result<(), ReadError> {
        let objects = self.frames.objects;
        self.spend(objects.collection_slots(collection)?)?;
        let futures = objects.collection_items(collection)?;
        futures
            .into_iter()
            .try_for_each(|future| self.add(future, nesting))
    }

    fn spend(&mut self, slots: u64) -> Result<(), ReadError> {
        *self.spent = self.spent.saturating_add(slots);
        if *self.spent > MAX_SLOTS {
            return Err(ReadError::Exhausted {
                what: "futures behind awaitables",
            });
        }
        Ok(())
    }

    fn add_children(&mut self, gathering: Address, nesting: u32) -> Result<(), ReadError> {
        let objects = &self.frames.objects;
        match objects.attribute(gathering, "_children")? {
            Some(children) => self.add_all(children, nesting),
            None => Ok(()),
        }
    }

    /// The outer future of a `shield` has a callback whose closure holds the inner one.
    fn add_shielded(&mut self, class: Class, outer: Address, nesting: u32) -> Result<(), ReadError> {
        let objects = &self.frames.objects;
        let callbacks = match class {
            Class::PythonFuture => self.callbacks_in_python(outer)?,
            _ => self.callbacks(outer)?,
        };
        for callback in callbacks {
            if !objects.is_exactly(callback, objects.types.function)? {
                continue;
            }
            let name = callback.offset(objects.offsets.function.qualified_name);
            let name = objects.memory.read_address(name)?;
            if objects.str_equals(name, "shield.<locals>._outer_done_callback")?
                && let Some(inner) = objects.closure_variable(callback, "inner")?
            {
                return self.add(inner, nesting);
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
            self.add_callbacks(list, &mut callbacks)?;
        }
        Ok(callbacks)
    }

    fn callbacks_in_python(&self, future: Address) -> Result<Vec<Address>, ReadError> {
        let mut callbacks = Vec::new();
        if let Some(list) = self.frames.objects.attribute(future, "_callbacks")? {
            self.add_callbacks(list, &mut callbacks)?;
        }
        Ok(callbacks)
    }

    /// Adds the functions of a list of pairs: a function, and the context that it is called in.
    fn add_callbacks(&self, list: Address, callbacks: &mut Vec<Address>) -> Result<(), ReadError> {
        let objects = &self.frames.objects;
        for pair in objects.first_list_items(list, MAX_CALLBACKS)? {
            callbacks.extend(objects.first_tuple_items(pair, 1)?);
        }
        Ok(())
    }

    /// What the innermost frame says, where it is one of asyncio's own that wait for others by a future of theirs.
    fn by_frame(&mut self, waiter: &Waiter<'_>) -> Result<Option<WaitKind>, ReadError> {
        let Some(innermost) = waiter.innermost else {
            return Ok(None);
        };
        let function = match (module_of(&innermost.file), &*innermost.function) {
            ("taskgroups.py", "TaskGroup.__aexit__" | "TaskGroup._aexit") => Function::TaskGroup,
            ("tasks.py", "_wait") => Function::Wait,
            ("tasks.py", "wait_for" | "_cancel_and_wait") => Function::WaitFor,
            // Before 3.11 a code object knows no more than its function's plain name.
            ("queues.py", "Queue.get" | "get") => Function::QueueGet,
            _ if innermost.file.ends_with(ANYIO)
                && matches!(&*innermost.function, "TaskGroup.__aexit__" | "__aexit__") =>
            {
                Function::TaskGroup
            }
            _ => return Ok(None),
        };
        let chain = self.frames.chain(waiter.coroutine)?;
        self.spend(u64::from(chain.objects))?;
        if chain.terminal != Some(waiter.terminal) {
            return Ok(None);
        }
        match function {
            Function::TaskGroup => self.task_group(&chain),
            Function::Wait => self.wait(&chain),
            Function::WaitFor => self.wait_for(&chain),
            Function::QueueGet => self.as_completed(&chain),
        }
    }

    fn task_group(&mut self, chain: &Chain) -> Result<Option<WaitKind>, ReadError> {
        let objects = &self.frames.objects;
        let Some(group) = self.local(chain, "self")? else {
            return Ok(None);
        };
        if objects.attribute(group, "_on_completed_fut")? != chain.terminal {
            return Ok(None);
        }
        if let Some(members) = objects.attribute(group, "_tasks")? {
            self.add_all(members, 0)?;
        }
        Ok(Some(WaitKind::TaskGroup))
    }

    fn wait(&mut self, chain: &Chain) -> Result<Option<WaitKind>, ReadError> {
        if self.local(chain, "waiter")? != chain.terminal {
            return Ok(None);
        }
        if let Some(futures) = self.local(chain, "fs")? {
            self.add_all(futures, 0)?;
        }
        Ok(Some(WaitKind::Wait))
    }

    /// Until 3.11 `wait_for` waits for a future of its own, since 3.12 only for the one that it was given; there
    /// `_cancel_and_wait` still has one.
    fn wait_for(&mut self, chain: &Chain) -> Result<Option<WaitKind>, ReadError> {
        if self.local(chain, "waiter")? != chain.terminal {
            return Ok(None);
        }
        if let Some(future) = self.local(chain, "fut")? {
            self.add(future, 0)?;
        }
        Ok(Some(WaitKind::Future))
    }

    /// `as_completed` gets what is done from a queue; what is not is in `_todo` of its iterator (3.13+), or else in `todo` of
    /// its generator, which the frame that iterates over it has on its stack.
    fn as_completed(&mut self, chain: &Chain) -> Result<Option<WaitKind>, ReadError> {
        let objects = &self.frames.objects;
        let Some(next) = chain.next else { return Ok(None) };
        let name = next.code.offset(objects.offsets.code.qualified_name);
        let name = objects.memory.read_address(name)?;
        let is_local = objects.str_equals(name, "as_completed.<locals>._wait_for_one")?
            || objects.str_equals(name, "_wait_for_one")?;
        if objects.str_equals(name, "_AsCompletedIterator._wait_for_one")?
            && let Some(iterator) = self.frames.local(next, "self")?
            && let Some(todo) = objects.attribute(iterator, "_todo")?
        {
            self.add_all(todo, 0)?;
        } else if is_local
            && let Some(iterating) = chain.after_next
            && let Some(generator) = self.frames.generator_in(iterating, "as_completed")?
            && let Some(todo) = self.frames.local(generator, "todo")?
        {
            self.add_all(todo, 0)?;
        }
        Ok(None)
    }

    fn local(&self, chain: &Chain, name: &str) -> Result<Option<Address>, ReadError> {
        match chain.innermost {
            Some(frame) => self.frames.local(frame, name),
            None => Ok(None),
        }
    }

    fn is_pending_in_python(&self, task: Address) -> Result<bool, ReadError> {
        let objects = &self.frames.objects;
        match objects.attribute(task, "_state")? {
            Some(state) => objects.str_equals(state, "PENDING"),
            // What the class says.
            None => Ok(true),
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
