//! What is to be known about the `asyncio` and `_asyncio` modules of the target, resolved once they are imported.

use std::collections::HashMap;

use awaitwhat_common::layout::{Layout, Wrapper};
use awaitwhat_common::limits::MAX_WRAPPERS;
use awaitwhat_common::plan::{Root, root_kind};

use super::Interpreter;
use super::data::scan_data;
use super::trio::TrioError;
use crate::layout::{AsyncioDebug, Registry, Version, find_asyncio_debug};
use crate::memory::{Address, Fault, Memory};
use crate::python::waits::FutureTypes;
use crate::python::{Objects, ReadError};

/// Words of the module state of `_asyncio` that are searched for a type.
const MAX_STATE_WORDS: u64 = 32;

/// Why the tasks of a program that uses asyncio cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsyncioError {
    #[error("asyncio's memory cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(
        "`_asyncio.Task` of CPython {version} should have the type name `_asyncio.Task`, and has `{found}`"
    )]
    NotATask { version: Version, found: String },
    #[error("`_asyncio.Task` of CPython {version} has {found} bytes, too few for a task's fields")]
    TaskSize { version: Version, found: u64 },
    #[error(
        "the `_asyncio` module of CPython {version} does not publish the layout of its tasks where it is expected to"
    )]
    NoDebugOffsets { version: Version },
    #[error("the layout of CPython {version}'s tasks is outside what the walker can read")]
    OutOfBounds { version: Version },
    #[error(transparent)]
    Trio(#[from] TrioError),
}

impl From<Fault> for AsyncioError {
    fn from(fault: Fault) -> Self {
        Self::Read(fault.into())
    }
}

/// Types of awaitables that wrap another one; they have no symbols.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wrappers {
    types: [Address; Self::NAMES.len()],
}

impl Wrappers {
    const NAMES: [&str; 4] = [
        "coroutine_wrapper",
        "async_generator_asend",
        "async_generator_athrow",
        "anext_awaitable",
    ];

    /// Searches the interpreter's data for the static types.
    pub(super) fn find(objects: &Objects<'_>) -> Self {
        let mut types = [Address::NULL; Self::NAMES.len()];
        scan_data(objects.memory, objects.types.coroutine, |address, word| {
            let (type_object, name) = static_type_at(objects, address, word)?;
            let index = Self::NAMES.iter().position(|known| *known == name)?;
            *types.get_mut(index)? = type_object;
            types.iter().all(|found| !found.is_null()).then_some(())
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

/// `asyncio.futures._PyFuture`; `None` where it is not there (yet).
fn python_future(objects: &Objects<'_>, modules: Address) -> Result<Option<Address>, ReadError> {
    match objects.dict_get(modules, "asyncio.futures")? {
        Some(futures) => objects.module_attribute(futures, "_PyFuture"),
        None => Ok(None),
    }
}

impl Interpreter {
    /// How many registered tasks are of a kind that the walker cannot read ([`Interpreter::is_task_type`]).
    ///
    /// It looks at every task in the registries that are sets: before 3.14 these are all tasks.
    pub(super) fn count_opaque_asyncio_tasks(
        &self,
        memory: &dyn Memory,
        layout: u32,
        asyncio: &Asyncio,
    ) -> Result<u64, ReadError> {
        let objects = self.objects(memory);
        let mut known = HashMap::new();
        let mut count = 0;
        for root in &asyncio.registries {
            for item in objects.set_items(Address(root.address))? {
                let task = match root.kind {
                    root_kind::WEAK_SET => memory.read_address(item.offset(self.offsets.weakref_object))?,
                    _ => item,
                };
                if task == self.types.none {
                    continue;
                }
                let type_object = objects.type_of(task)?;
                let is_task = match known.get(&type_object) {
                    Some(is_task) => *is_task,
                    None => self.is_task_type(memory, layout, type_object)?,
                };
                known.insert(type_object, is_task);
                count += u64::from(!is_task);
            }
        }
        Ok(count)
    }
}

/// Asyncio in one interpreter.
#[derive(Clone, Debug)]
pub(super) struct Asyncio {
    /// The modules `_asyncio` and `asyncio.tasks`.
    pub modules: [Address; 2],
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
        let objects = self.objects(memory);
        let modules = memory.read_address(state.offset(self.offsets.interpreter.modules))?;
        let accelerator = objects.dict_get(modules, "_asyncio")?;
        let tasks = objects.dict_get(modules, "asyncio.tasks")?;
        Ok(accelerator.zip(tasks).map(<[Address; 2]>::from))
    }

    /// Looks up asyncio in the interpreter at `state`, with the layout of its tasks; `None` where it is not imported, or not to
    /// its end.
    pub(super) fn find_asyncio(
        &self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<(Asyncio, Layout)>, AsyncioError> {
        let objects = self.objects(memory);
        let Some([accelerator, tasks]) = self.asyncio_modules(memory, state)? else {
            return Ok(None);
        };
        let modules = memory.read_address(state.offset(self.offsets.interpreter.modules))?;
        let Some(task_type) = objects.module_attribute(accelerator, "Task")? else {
            return Ok(None);
        };
        let Some(registries) = self.registries(&objects, tasks)? else {
            return Ok(None);
        };
        let types = FutureTypes {
            task: task_type,
            future: objects
                .module_attribute(accelerator, "Future")?
                .unwrap_or_default(),
            python_future: python_future(&objects, modules)?.unwrap_or_default(),
            gathering: objects
                .module_attribute(tasks, "_GatheringFuture")?
                .unwrap_or_default(),
        };
        let found = objects.full_type_name(task_type)?;
        if found != "_asyncio.Task" {
            return Err(AsyncioError::NotATask {
                version: self.version,
                found,
            });
        }
        let (debug, mut walk) = self.task_layout(memory, accelerator, task_type)?;
        self.add_wrappers(&objects, accelerator, &mut walk);
        if !walk.is_within_bounds() {
            return Err(AsyncioError::OutOfBounds {
                version: self.version,
            });
        }
        Ok(Some((
            Asyncio {
                modules: [accelerator, tasks],
                types,
                registries,
                debug,
            },
            walk,
        )))
    }

    /// The registries in the namespace of `asyncio.tasks`; `None` where it is not complete.
    fn registries(&self, objects: &Objects<'_>, tasks: Address) -> Result<Option<Vec<Root>>, ReadError> {
        let (weak, strong): (&[&str], &[&str]) = match self.offsets.registry {
            Registry::AllTasks => (&["_all_tasks"], &[]),
            Registry::ScheduledAndEager | Registry::ThreadLists => (&["_scheduled_tasks"], &["_eager_tasks"]),
        };
        let mut roots = Vec::new();
        for name in weak {
            let Some(weak_set) = objects.module_attribute(tasks, name)? else {
                return Ok(None);
            };
            let Some(address) = objects.attribute(weak_set, "data")? else {
                return Ok(None);
            };
            roots.push(Root {
                kind: root_kind::WEAK_SET,
                reserved: 0,
                address: address.0,
            });
        }
        for name in strong {
            let Some(address) = objects.module_attribute(tasks, name)? else {
                return Ok(None);
            };
            roots.push(Root {
                kind: root_kind::SET,
                reserved: 0,
                address: address.0,
            });
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

    fn task_layout(
        &self,
        memory: &dyn Memory,
        accelerator: Address,
        task_type: Address,
    ) -> Result<(Option<AsyncioDebug>, Layout), AsyncioError> {
        let version = self.version;
        let mut walk = self.walk;
        let size = memory.read_u64(task_type.offset(self.offsets.type_object.basic_size))?;
        let mut debug = None;
        if self.offsets.registry == Registry::ThreadLists {
            let definition = memory.read_address(accelerator.offset(self.offsets.module.definition))?;
            let found = find_asyncio_debug(memory, definition, size)
                .ok_or(AsyncioError::NoDebugOffsets { version })?;
            found.apply(&mut walk);
            debug = Some(found);
        }
        if u64::from(walk.task_name.max(walk.task_coro)) + 8 > size {
            return Err(AsyncioError::TaskSize { version, found: size });
        }
        Ok((debug, walk))
    }

    /// Tells the walker which types lead to another object. One that is not found ends the chains that it is in.
    fn add_wrappers(&self, objects: &Objects<'_>, accelerator: Address, walk: &mut Layout) {
        let future_iterator = self.find_future_iterator(objects, accelerator);
        walk.wrappers = self.wrapper_table(future_iterator);
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
                reserved: 0,
            });
        std::array::from_fn(|_| wrappers.next().unwrap_or_default())
    }

    /// The type of what a future's `__await__` returns: in the module's state, or in 3.11 in its data.
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
