//! Libraries that schedule tasks, asyncio and trio: each once per interpreter of the process, as that has modules and types of its own.

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::MAX_LAYOUTS;

use super::Interpreter;
use super::asyncio::Asyncio;
use super::trio::{Trio, TrioError};
use crate::layout::Version;
use crate::memory::{Address, Fault, Memory};
use crate::python::ReadError;

/// Why the tasks of a program that uses asyncio or trio cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    #[error("asyncio's memory cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(
        "`_asyncio.Task` of CPython {version} should have the type name `_asyncio.Task`, and has `{found}`"
    )]
    NotATask { version: Version, found: String },
    #[error(
        "`_asyncio.Task` of CPython {version} has {found} bytes: that is no layout of a task that awaitwhat knows"
    )]
    TaskSize { version: Version, found: u64 },
    #[error(
        "the `_asyncio` module of CPython {version} does not publish the layout of its tasks where it is expected to"
    )]
    NoDebugOffsets { version: Version },
    #[error(
        "asyncio is not laid out like that of a standard build of CPython {version}: {what} should be {expected}, and is {found}"
    )]
    SelfCheck {
        version: Version,
        what: String,
        expected: String,
        found: String,
    },
    #[error("the layout of CPython {version}'s tasks is outside what the walker can read")]
    OutOfBounds { version: Version },
    #[error(transparent)]
    Trio(#[from] TrioError),
}

impl SchedulerError {
    /// Whether the next look may succeed: what was read may have been changing.
    pub(crate) const fn is_momentary(&self) -> bool {
        match self {
            Self::SelfCheck { .. } => true,
            Self::Read(error) => error.is_momentary(),
            _ => false,
        }
    }
}

impl From<Fault> for SchedulerError {
    fn from(fault: Fault) -> Self {
        Self::Read(fault.into())
    }
}

/// One library in one interpreter.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// The `PyInterpreterState` that has imported it.
    pub(super) state: Address,
    /// What the walker needs to read its tasks.
    pub(super) layout: Layout,
    /// How many of the layout's wrappers were there from the beginning; the others were learnt.
    pub(super) wrappers: usize,
    pub(super) library: Library,
}

/// A library that schedules tasks.
#[derive(Clone, Debug)]
pub(super) enum Library {
    Asyncio(Asyncio),
    Trio(Trio),
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

    /// The asyncio whose tasks have this layout.
    pub(super) fn asyncio(&self, layout: u32) -> Option<&Asyncio> {
        match &self.scheduler(layout)?.library {
            Library::Asyncio(asyncio) => Some(asyncio),
            Library::Trio(_) => None,
        }
    }

    /// The trio whose tasks have this layout.
    pub(super) fn trio(&self, layout: u32) -> Option<&Trio> {
        match &self.scheduler(layout)?.library {
            Library::Trio(trio) => Some(trio),
            Library::Asyncio(_) => None,
        }
    }

    /// Whether instances of `type_object` are laid out like the tasks that the walker reads by `layout`: `_asyncio.Task` and its
    /// subclasses, and the classes that were learnt ([`Interpreter::learn_task_type`]); or trio's `Task`.
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
                let is_learnt = self.is_learnt(layout, type_object);
                Ok(is_learnt || self.objects(memory).is_subtype(type_object, asyncio.types.task)?)
            }
            Some(Library::Trio(trio)) => Ok(type_object == trio.types.task),
            None => Ok(false),
        }
    }

    /// The scheduler that was found in the interpreter at `state` before, of the kind that `library` tells, and its number.
    fn known<'a, L>(
        &'a self,
        state: Address,
        library: impl Fn(&'a Self, u32) -> Option<&'a L>,
    ) -> Option<(u32, &'a L)> {
        (0..)
            .zip(&self.schedulers)
            .filter(|(_, scheduler)| scheduler.state == state)
            .find_map(|(number, _)| Some((number, library(self, number)?)))
    }

    /// The number of the layout for tasks of asyncio in the interpreter at `state`; `None` where it is not imported, or not to its
    /// end.
    pub(super) fn resolve_asyncio(
        &mut self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<u32>, SchedulerError> {
        let known = self.known(state, Self::asyncio);
        // An interpreter that has ended may have left its address to another one.
        if let Some((number, asyncio)) = known
            && self.is_still_there(memory, state, asyncio)?
        {
            self.check_task_shapes(memory, number)?;
            self.check_awaitables(memory, number);
            return Ok(Some(number));
        }
        let known = known.map(|(number, _)| number);
        let found = self.find_asyncio(memory, state)?;
        Ok(found.and_then(|(asyncio, layout)| self.keep(known, state, layout, Library::Asyncio(asyncio))))
    }

    /// The number of the layout for tasks of trio in the interpreter at `state`; `None` as for asyncio.
    pub(super) fn resolve_trio(
        &mut self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<u32>, SchedulerError> {
        let known = self.known(state, Self::trio);
        if let Some((number, trio)) = known
            && self.is_same_trio(memory, state, trio)?
        {
            self.check_awaitables(memory, number);
            return Ok(Some(number));
        }
        let known = known.map(|(number, _)| number);
        let found = self.find_trio(memory, state)?;
        Ok(found.and_then(|(trio, layout)| self.keep(known, state, layout, Library::Trio(trio))))
    }

    /// Keeps a scheduler, under the number of one that it replaces. `None` where there are too many.
    fn keep(&mut self, known: Option<u32>, state: Address, layout: Layout, library: Library) -> Option<u32> {
        let wrappers = layout.wrappers.iter().filter(|it| it.type_address != 0).count();
        let scheduler = Scheduler {
            state,
            layout,
            wrappers,
            library,
        };
        if let Some(number) = known {
            *self.schedulers.get_mut(number as usize)? = scheduler;
            return Some(number);
        }
        let number = self.schedulers.len();
        if number >= MAX_LAYOUTS {
            return None;
        }
        self.schedulers.push(scheduler);
        u32::try_from(number).ok()
    }
}
