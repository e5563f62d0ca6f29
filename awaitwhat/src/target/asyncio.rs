//! What is to be known about the `asyncio` and `_asyncio` modules of the target, resolved once they are imported.

use awaitwhat_common::layout::{ABSENT, Bound, Layout, Wrapper};
use awaitwhat_common::limits::MAX_WRAPPERS;
use awaitwhat_common::plan::{Root, root_kind};

use super::Interpreter;
use super::data::scan_data;
use super::scheduler::SchedulerError;
use super::self_check::ASYNCIO_FUNCTIONS;
use crate::layout::{AsyncioDebug, Registry, find_asyncio_debug};
use crate::memory::{Address, Memory};
use crate::python::future::FutureTypes;
use crate::python::{Objects, ReadError};

/// Words of the module state of `_asyncio` that are searched for a type.
const MAX_STATE_WORDS: u64 = 32;

/// Types of awaitables that wrap another one; they have no symbols.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wrappers {
    types: [Address; Self::NAMES.len()],
}

impl Wrappers {
    /// The last one is not in every version.
    const NAMES: [&str; 4] = [
        "coroutine_wrapper",
        "async_generator_asend",
        "async_generator_athrow",
        "anext_awaitable",
    ];

    /// Searches the interpreter's data for the static types.
    pub(super) fn find(objects: &Objects<'_>) -> Self {
        let mut types = [Address::NULL; Self::NAMES.len()];
        // One that the version does not have would be searched for to the end.
        let wanted = Self::NAMES.len() - usize::from(!objects.offsets.has_anext);
        scan_data(objects.memory, objects.types.coroutine, |address, word| {
            let (type_object, name) = static_type_at(objects, address, word)?;
            let index = Self::NAMES.iter().position(|known| *known == name)?;
            *types.get_mut(index)? = type_object;
            types
                .iter()
                .take(wanted)
                .all(|found| !found.is_null())
                .then_some(())
        });
        Self { types }
    }
}

/// The static type whose `ob_type` is the `word` at `address`, if it is one.
fn static_type_at(objects: &Objects<'_>, address: Address, word: u64) -> Option<(Address, String)> {
    if Address(word) != objects.types.type_type {
        return None;
    }
    let type_object = address.offset(objects.offsets.object_type.wrapping_neg());
    Some((type_object, objects.full_type_name(type_object).ok()?))
}

/// The registry of the set that a `WeakSet` is made of.
fn weak_set_root(objects: &Objects<'_>, weak_set: Address) -> Result<Option<Root>, ReadError> {
    let data = objects.attribute(weak_set, "data")?;
    Ok(data.map(|data| set_root(root_kind::WEAK_SET, data)))
}

fn set_root(kind: u32, set: Address) -> Root {
    Root {
        kind,
        reserved: 0,
        address: set.0,
    }
}

/// Asyncio in one interpreter.
#[derive(Clone, Debug)]
pub(super) struct Asyncio {
    /// The modules `_asyncio`, NULL where tasks are of pure Python, and `asyncio.tasks`.
    pub modules: [Address; 2],
    /// `asyncio.base_futures._PENDING`: what `_state` is of a task of pure Python that is not done.
    pub pending: Address,
    /// `asyncio.events._running_loop`, a `threading.local`: what tells the running loop without `_asyncio`.
    pub running_local: Option<Address>,
    pub types: FutureTypes,
    /// Registries that all threads share; those of threads are apart.
    pub registries: Vec<Root>,
    pub debug: Option<AsyncioDebug>,
}

impl Interpreter {
    /// Whether asyncio in the interpreter at `state` is still the one that was found there.
    pub(super) fn is_still_there(
        &self,
        memory: &dyn Memory,
        state: Address,
        asyncio: &Asyncio,
    ) -> Result<bool, ReadError> {
        Ok(self.asyncio_modules(memory, state)? == Some(asyncio.modules))
    }

    fn asyncio_modules(
        &self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<[Address; 2]>, ReadError> {
        // `None` forbids to import a module.
        let accelerator = self
            .module(memory, state, "_asyncio")?
            .filter(|module| *module != self.types.none);
        let tasks = self.module(memory, state, "asyncio.tasks")?;
        Ok(tasks.map(|tasks| [accelerator.unwrap_or_default(), tasks]))
    }

    /// Looks up asyncio in the interpreter at `state`, with the layout of its tasks; `None` where it is not imported, or not to
    /// its end.
    pub(super) fn find_asyncio(
        &self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<(Asyncio, Layout)>, SchedulerError> {
        let objects = self.objects(memory);
        let Some([accelerator, tasks]) = self.asyncio_modules(memory, state)? else {
            return Ok(None);
        };
        let of_accelerator = |name| match accelerator {
            Address::NULL => Ok(None),
            module => objects.module_attribute(module, name),
        };
        let of_module = |module, name| match self.module(memory, state, module)? {
            Some(module) => objects.module_attribute(module, name),
            None => Ok(None),
        };
        let (task_type, python_task) = (
            of_accelerator("Task")?,
            objects.module_attribute(tasks, "_PyTask")?,
        );
        if task_type.is_none() && !(accelerator.is_null() && python_task.is_some()) {
            return Ok(None);
        }
        let Some(registries) = self.registries(&objects, [accelerator, tasks])? else {
            return Ok(None);
        };
        let types = FutureTypes {
            task: task_type.unwrap_or_default(),
            python_task: python_task.unwrap_or_default(),
            future: of_accelerator("Future")?.unwrap_or_default(),
            python_future: of_module("asyncio.futures", "_PyFuture")?.unwrap_or_default(),
            gathering: objects
                .module_attribute(tasks, "_GatheringFuture")?
                .unwrap_or_default(),
        };
        if let Some(fact) = self.functions(memory, tasks, &ASYNCIO_FUNCTIONS)?
            && !fact.holds
        {
            return Err(SchedulerError::SelfCheck {
                version: self.version,
                what: fact.what,
                expected: fact.expected,
                found: fact.found,
            });
        }
        let (debug, mut walk) = match task_type {
            Some(task_type) => self.task_layout(memory, accelerator, task_type)?,
            None => (None, self.walk),
        };
        self.add_wrappers(&objects, accelerator, &mut walk);
        self.add_links(memory, state, accelerator, &types, &mut walk)?;
        if !walk.is_within_bounds() {
            return Err(SchedulerError::OutOfBounds {
                version: self.version,
            });
        }
        Ok(Some((
            Asyncio {
                modules: [accelerator, tasks],
                pending: of_module("asyncio.base_futures", "_PENDING")?.unwrap_or_default(),
                running_local: match task_type {
                    Some(_) => None,
                    None => of_module("asyncio.events", "_running_loop")?,
                },
                types,
                registries,
                debug,
            },
            walk,
        )))
    }

    /// The registries of `asyncio.tasks` and `_asyncio`; `None` where it is not complete.
    fn registries(
        &self,
        objects: &Objects<'_>,
        [accelerator, tasks]: [Address; 2],
    ) -> Result<Option<Vec<Root>>, ReadError> {
        let (weak, strong): (&[&str], &[&str]) = match self.offsets.registry {
            Registry::AllTasks => (&["_all_tasks"], &[]),
            Registry::ScheduledAndEager | Registry::ThreadLists => (&["_scheduled_tasks"], &["_eager_tasks"]),
        };
        let mut roots = Vec::new();
        for name in weak {
            let Some(weak_set) = objects.module_attribute(tasks, name)? else {
                return Ok(None);
            };
            let Some(root) = weak_set_root(objects, weak_set)? else {
                return Ok(None);
            };
            roots.push(root);
            if self.offsets.registry == Registry::ThreadLists && !accelerator.is_null() {
                roots.extend(self.own_registries(objects, accelerator, objects.type_of(weak_set)?)?);
            }
        }
        for name in strong {
            let Some(address) = objects.module_attribute(tasks, name)? else {
                return Ok(None);
            };
            roots.push(set_root(root_kind::SET, address));
        }
        for root in &roots {
            if !objects.is_exactly(Address(root.address), objects.types.set)? {
                return Err(ReadError::Malformed {
                    what: "set",
                    address: Address(root.address),
                });
            }
        }
        Ok(Some(roots))
    }

    /// Since 3.14 `_asyncio` has registries of its own, in the module's state alone, for whatever is registered through it and is no
    /// task of its own: `non_asyncio_tasks`, a `WeakSet`, and `non_asyncio_eager_tasks` behind it (`asyncio_state`, `_asynciomodule.c`).
    fn own_registries(
        &self,
        objects: &Objects<'_>,
        accelerator: Address,
        weak_set_type: Address,
    ) -> Result<Vec<Root>, ReadError> {
        let memory = objects.memory;
        let state = memory.read_address(accelerator.offset(self.offsets.module.state))?;
        let is = |object: Address, type_object| objects.is_exactly(object, type_object).unwrap_or(false);
        for index in 0..MAX_STATE_WORDS {
            let word = |index: u64| memory.read_address(state.offset(index * 8));
            let (weak_set, set) = (word(index)?, word(index + 1)?);
            if is(weak_set, weak_set_type) && is(set, self.types.set) {
                let weak = weak_set_root(objects, weak_set)?;
                return Ok(weak.into_iter().chain([set_root(root_kind::SET, set)]).collect());
            }
        }
        Ok(Vec::new())
    }

    fn task_layout(
        &self,
        memory: &dyn Memory,
        accelerator: Address,
        task_type: Address,
    ) -> Result<(Option<AsyncioDebug>, Layout), SchedulerError> {
        let version = self.version;
        let found = self.objects(memory).full_type_name(task_type)?;
        if found != "_asyncio.Task" {
            return Err(SchedulerError::NotATask { version, found });
        }
        let mut walk = Layout {
            task_type: task_type.0,
            ..self.walk
        };
        let size = memory.read_u64(task_type.offset(self.offsets.type_object.basic_size))?;
        let mut debug = None;
        if self.offsets.registry == Registry::ThreadLists {
            let definition = memory.read_address(accelerator.offset(self.offsets.module.definition))?;
            let found = find_asyncio_debug(memory, definition, size)
                .ok_or(SchedulerError::NoDebugOffsets { version })?;
            found.apply(&mut walk);
            debug = Some(found);
        }
        if !self.offsets.tasks.is_empty() {
            let known = self.offsets.tasks.iter().find(|task| task.size == size);
            known
                .ok_or(SchedulerError::TaskSize { version, found: size })?
                .apply(&mut walk);
        }
        let last = if walk.task_name == ABSENT {
            walk.task_coro
        } else {
            walk.task_name.max(walk.task_coro)
        };
        if u64::from(last) + 8 > size {
            return Err(SchedulerError::TaskSize { version, found: size });
        }
        Ok((debug, walk))
    }

    /// Tells the walker which types lead to another object. One that is not found ends the chains that it is in.
    fn add_wrappers(&self, objects: &Objects<'_>, accelerator: Address, walk: &mut Layout) {
        let future_iterator = Some(accelerator)
            .filter(|module| !module.is_null())
            .and_then(|module| self.find_future_iterator(objects, module));
        walk.wrappers = self.wrapper_table(future_iterator);
    }

    /// Tells the walker how callbacks lead to what they wake. One of a type that is not found leads nowhere.
    fn add_links(
        &self,
        memory: &dyn Memory,
        state: Address,
        accelerator: Address,
        types: &FutureTypes,
        walk: &mut Layout,
    ) -> Result<(), ReadError> {
        let objects = self.objects(memory);
        let named = |module, name| match self.module(memory, state, module)? {
            Some(module) => objects.module_attribute(module, name),
            None => Ok(None),
        };
        let first = self.offsets.header_bytes();
        // `PyMethodObject.im_self`, `PyCFunctionObject.m_self` and `partialobject.args` come after another pointer, `ww_task` of a
        // `TaskWakeupMethWrapper` (`_asynciomodule.c`) is the first one.
        let found = [
            (named("types", "MethodType")?, first + 8, 0),
            (named("types", "BuiltinFunctionType")?, first + 8, 0),
            (named("functools", "partial")?, first + 8, 1),
            (self.find_wakeup_wrapper(&objects, accelerator), first, 0),
        ];
        for (bound, (type_object, offset, is_tuple)) in walk.links.bound.iter_mut().zip(found) {
            *bound = Bound {
                type_address: type_object.unwrap_or_default().0,
                offset: u16::try_from(offset).unwrap_or(u16::MAX),
                is_tuple,
                reserved: 0,
            };
        }
        let is_native = !types.gathering.is_null()
            && !types.future.is_null()
            && objects.is_subtype(types.gathering, types.future)?;
        let gathering = if is_native { types.gathering } else { Address::NULL };
        for (known, type_object) in walk.links.futures.iter_mut().zip([types.future, gathering]) {
            *known = type_object.0;
        }
        Ok(())
    }

    /// The type of what wakes a task until 3.9; since 3.10, which also has `anext`, that is a method of the task.
    fn find_wakeup_wrapper(&self, objects: &Objects<'_>, accelerator: Address) -> Option<Address> {
        const NAME: &str = "TaskWakeupMethWrapper";
        if accelerator.is_null() || self.offsets.has_anext {
            return None;
        }
        let definition = accelerator.offset(self.offsets.module.definition);
        let definition = objects.memory.read_address(definition).ok()?;
        scan_data(objects.memory, definition, |address, word| {
            static_type_at(objects, address, word)
                .filter(|(_, name)| name == NAME)
                .map(|(found, _)| found)
        })
    }

    /// The types that every interpreter has, and that of what a future's `__await__` returns.
    pub(super) fn wrapper_table(&self, future_iterator: Option<Address>) -> [Wrapper; MAX_WRAPPERS] {
        let types = self
            .wrappers
            .types
            .iter()
            .map(|found| (*found, 0))
            .chain(future_iterator.map(|found| (found, 1)));
        // Every wrapper (`PyCoroWrapper`, `PyAsyncGenASend`, `PyAsyncGenAThrow`, `anextawaitableobject`, `futureiterobject`) has the
        // object that it leads to right after `PyObject_HEAD`. One outside the window would be found out by `is_within_bounds`.
        let inner = u16::try_from(self.offsets.header_bytes()).unwrap_or(u16::MAX);
        let mut wrappers = types
            .filter(|(found, _)| !found.is_null())
            .map(|(found, is_terminal)| Wrapper {
                type_address: found.0,
                inner,
                is_terminal,
                name: 0,
                code: 0,
            });
        std::array::from_fn(|_| wrappers.next().unwrap_or_default())
    }

    /// The type of what a future's `__await__` returns: in the module's state, or until 3.11 in its data.
    fn find_future_iterator(&self, objects: &Objects<'_>, accelerator: Address) -> Option<Address> {
        const NAME: &str = "_asyncio.FutureIter";
        let offsets = &self.offsets.module;
        let state = objects
            .memory
            .read_address(accelerator.offset(offsets.state))
            .ok()?;
        let in_state = (0..MAX_STATE_WORDS)
            .filter(|_| !state.is_null())
            .find_map(|index| {
                let found = objects.memory.read_address(state.offset(index * 8)).ok()?;
                let is_type = objects.is_exactly(found, objects.types.type_type).ok()?;
                (is_type && objects.full_type_name(found).ok()? == NAME).then_some(found)
            });
        in_state.or_else(|| {
            let definition = objects
                .memory
                .read_address(accelerator.offset(offsets.definition))
                .ok()?;
            scan_data(objects.memory, definition, |address, word| {
                static_type_at(objects, address, word)
                    .filter(|(_, name)| name == NAME)
                    .map(|(found, _)| found)
            })
        })
    }
}
