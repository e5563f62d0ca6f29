//! Libraries that schedule tasks: asyncio, once per interpreter of the process, as each has modules and types of its own.

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::MAX_LAYOUTS;

use super::Interpreter;
use super::asyncio::{Asyncio, AsyncioError};
use crate::memory::{Address, Memory};
use crate::python::ReadError;

/// One library in one interpreter.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// The `PyInterpreterState` that has imported it.
    pub(super) state: Address,
    /// What the walker needs to read its tasks.
    pub(super) layout: Layout,
    pub(super) library: Library,
}

/// A library that schedules tasks.
#[derive(Clone, Debug)]
pub(super) enum Library {
    Asyncio(Asyncio),
}

impl Interpreter {
    /// Layouts of tasks, each under the number that plans refer to it by ([`awaitwhat_common::plan::ThreadPlan::layout`]).
    ///
    /// There is none until a library that schedules tasks has been imported and [`Interpreter::event_loops`] has seen it.
    pub fn layouts(&self) -> impl Iterator<Item = (u32, &Layout)> {
        (0..).zip(self.schedulers.iter().map(|scheduler| &scheduler.layout))
    }

    /// The scheduler whose layout has this number.
    pub(super) fn scheduler(&self, layout: u32) -> Option<&Scheduler> {
        self.schedulers.get(layout as usize)
    }

    /// Whether instances of `type_object` are laid out like the tasks that the walker reads by `layout`: `_asyncio.Task` and its
    /// subclasses, but not tasks of the pure-Python implementation or of other libraries.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub fn is_task_type(
        &self,
        memory: &dyn Memory,
        layout: u32,
        type_object: Address,
    ) -> Result<bool, ReadError> {
        match self.scheduler(layout).map(|scheduler| &scheduler.library) {
            Some(Library::Asyncio(asyncio)) => {
                self.objects(memory).is_subtype(type_object, asyncio.types.task)
            }
            None => Ok(false),
        }
    }

    /// How many registered tasks are of a kind that the walker cannot read ([`Interpreter::is_task_type`]).
    ///
    /// # Errors
    /// When the registries cannot be read.
    pub fn count_opaque_tasks(&self, memory: &dyn Memory) -> Result<u64, ReadError> {
        let mut count = 0;
        for (scheduler, layout) in self.schedulers.iter().zip(0..) {
            let Library::Asyncio(asyncio) = &scheduler.library;
            count += self.count_opaque_asyncio_tasks(memory, layout, asyncio)?;
        }
        Ok(count)
    }

    /// The number of the layout for tasks of asyncio in the interpreter at `state`; `None` where it is not imported, or not to its
    /// end.
    pub(super) fn resolve_asyncio(
        &mut self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<u32>, AsyncioError> {
        let known = self
            .schedulers
            .iter()
            .position(|scheduler| scheduler.state == state);
        // An interpreter that has ended may have left its address to another one.
        if let Some(index) = known
            && let Library::Asyncio(asyncio) = &self.schedulers[index].library
            && self.is_still_there(memory, state, asyncio)?
        {
            return Ok(u32::try_from(index).ok());
        }
        let Some((asyncio, layout)) = self.find_asyncio(memory, state)? else {
            return Ok(None);
        };
        let scheduler = Scheduler {
            state,
            layout,
            library: Library::Asyncio(asyncio),
        };
        let index = match known {
            Some(index) => {
                self.schedulers[index] = scheduler;
                index
            }
            None if self.schedulers.len() >= MAX_LAYOUTS => return Ok(None),
            None => {
                self.schedulers.push(scheduler);
                self.schedulers.len() - 1
            }
        };
        Ok(u32::try_from(index).ok())
    }
}
