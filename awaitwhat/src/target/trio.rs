//! What is to be known about trio in one interpreter of the target.
//!
//! Facts: `trio/_core/_run.py` of 0.22 to 0.35. Where a class keeps what is asked of the class itself, so no release of trio has to
//! be known by its number.

use awaitwhat_common::layout::{ABSENT, Layout};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};

use super::Interpreter;
use super::event_loops::{EventLoop, EventLoops, ThreadId};
use super::scheduler::SchedulerError;
use crate::memory::{Address, Memory};
use crate::python::ReadError;
use crate::python::trio::TrioTypes;

/// The module of trio's scheduler.
const MODULE: &str = "trio._core._run";

/// Why the tasks of a program that uses trio cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrioError {
    #[error(
        "trio's `{class}` should keep `{attribute}` in a slot, and does not: this release of trio is not known"
    )]
    NoSlot {
        class: &'static str,
        attribute: &'static str,
    },
    #[error("the `Task` of trio should have the type name `Task`, and has `{found}`")]
    NotATask { found: String },
    #[error("the layout of trio's tasks is outside what the walker can read")]
    OutOfBounds,
}

/// Trio in one interpreter.
#[derive(Clone, Debug)]
pub(super) struct Trio {
    /// The module `trio._core._run`.
    module: Address,
    /// `GLOBAL_RUN_CONTEXT`, a `threading.local` that has the `Runner` of each thread that runs trio.
    context: Address,
    pub(super) types: TrioTypes,
}

impl Interpreter {
    /// What is known of trio's tasks with this layout; `None` where they are not trio's.
    pub fn trio_types(&self, layout: u32) -> Option<&TrioTypes> {
        Some(&self.trio(layout)?.types)
    }

    /// Whether trio in the interpreter at `state` is still the one that was found there.
    pub(super) fn is_same_trio(
        &self,
        memory: &dyn Memory,
        state: Address,
        trio: &Trio,
    ) -> Result<bool, ReadError> {
        Ok(self.module(memory, state, MODULE)? == Some(trio.module))
    }

    /// Looks up trio in the interpreter at `state`, with the layout of its tasks; `None` where it is not imported, or not to its end.
    pub(super) fn find_trio(
        &self,
        memory: &dyn Memory,
        state: Address,
    ) -> Result<Option<(Trio, Layout)>, SchedulerError> {
        let Some(module) = self.module(memory, state, MODULE)? else {
            return Ok(None);
        };
        let objects = self.objects(memory);
        let attribute = |name| objects.module_attribute(module, name);
        let (Some(task), Some(context), Some(run)) = (
            attribute("Task")?,
            attribute("GLOBAL_RUN_CONTEXT")?,
            attribute("unrolled_run")?,
        ) else {
            return Ok(None);
        };
        let Some((folder, driver)) = objects.trio_folder(run)? else {
            return Ok(None);
        };
        let found = objects.full_type_name(task)?;
        if found != "Task" {
            return Err(TrioError::NotATask { found }.into());
        }
        let slot = |attribute| {
            let offset = objects.slot(task, attribute).map_err(SchedulerError::Read)?;
            let class = "Task";
            offset.ok_or(SchedulerError::Trio(TrioError::NoSlot { class, attribute }))
        };
        let layout = Layout {
            task_coro: slot("coro")?,
            task_name: slot("name")?,
            task_loop: slot("_runner")?,
            task_fut_waiter: slot("_next_send_fn")?,
            task_state: ABSENT,
            task_cancellations: ABSENT,
            task_node: ABSENT,
            driver_code: driver.0,
            wrappers: self.wrapper_table(None),
            ..self.walk
        };
        if !layout.is_within_bounds() {
            return Err(TrioError::OutOfBounds.into());
        }
        let types = TrioTypes {
            task,
            parent_nursery: slot("_parent_nursery")?,
            child_nurseries: slot("_child_nurseries")?,
            abort_func: slot("_abort_func")?,
            schedule_points: slot("_schedule_points")?,
            folder,
        };
        let trio = Trio {
            module,
            context,
            types,
        };
        Ok(Some((trio, layout)))
    }

    /// Whether `code` is that of what drives trio's tasks, in any interpreter: what runs above it is none of asyncio's.
    pub fn is_trio_driver(&self, code: Address) -> bool {
        let is_driver = |layout: &Layout| layout.driver_code == code.0;
        !code.is_null() && self.layouts().any(|(_, layout)| is_driver(layout))
    }

    /// A plan for each of `threads` that runs trio.
    pub(super) fn plan_trio(
        &self,
        memory: &dyn Memory,
        layout: u32,
        trio: &Trio,
        threads: &[ThreadId],
    ) -> Result<EventLoops, SchedulerError> {
        let objects = self.objects(memory);
        let mut result = EventLoops::default();
        for thread in threads {
            let Some(runner) = objects.thread_local(trio.context, thread.state, "runner")? else {
                // Once a run is over, nothing is left. Before, the attributes change with every turn of a task, and one that is
                // there all the time can be missed.
                if objects.thread_local_is_empty(trio.context, thread.state)? {
                    continue;
                }
                return Err(SchedulerError::Read(ReadError::Malformed {
                    what: "thread-local object",
                    address: trio.context,
                }));
            };
            let Some(tasks) = objects.member(runner, "tasks")? else {
                continue;
            };
            if !objects.is_exactly(tasks, self.types.set)? {
                return Err(SchedulerError::Read(ReadError::Malformed {
                    what: "set",
                    address: tasks,
                }));
            }
            result.running.push(EventLoop {
                address: runner,
                tid: thread.tid,
                slot: 0,
            });
            result.plans.push(plan(layout, thread, runner, tasks));
        }
        Ok(result)
    }
}

/// Walks the tasks of `runner`, all of which it has in a set.
fn plan(layout: u32, thread: &ThreadId, runner: Address, tasks: Address) -> ThreadPlan {
    let root = Root {
        kind: root_kind::SET,
        reserved: 0,
        address: tasks.0,
    };
    ThreadPlan {
        tid: thread.tid,
        layout,
        thread_state: thread.state.0,
        event_loop: runner.0,
        ..ThreadPlan::of(&[root])
    }
}
