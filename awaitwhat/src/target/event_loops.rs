//! Which threads run event loops, and where their tasks are registered.

use awaitwhat_common::limits::{MAX_FOREIGN_LOOPS, MAX_FRAMES, MAX_ROOTS};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};

use super::Interpreter;
use super::asyncio::{Asyncio, AsyncioError};
use crate::layout::RunningLoop;
use crate::memory::{Address, Fault, Memory};
use crate::python::{Objects, ReadError};

/// Sub-interpreters that are looked at.
const MAX_INTERPRETERS: usize = 256;
/// Threads of one interpreter that are looked at.
const MAX_THREADS: usize = 16_384;
/// The key of a thread's dict under which its running loop is (until 3.13).
const LOOP_KEY: &str = "__asyncio_running_event_loop__";

/// The event loops of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLoops {
    /// One plan for each thread that runs an event loop; budgets and `tgid` are 0, and `tid` is the thread's id in the
    /// target's own PID namespace.
    pub plans: Vec<ThreadPlan>,
    /// Registries and loops of other threads that no plan had room for: tasks of theirs may be missing, or seen twice.
    pub left_out: usize,
}

/// A thread state that is of interest.
struct Thread {
    state: Address,
    /// Where the interpreter's own list of tasks is (3.14).
    lingering: Option<Root>,
    /// `native_thread_id`.
    tid: u32,
    event_loop: Option<Address>,
}

impl Interpreter {
    /// The threads that run an event loop at the moment, with what to walk for each. Empty where asyncio is not
    /// imported or no loop runs.
    ///
    /// # Errors
    /// When the interpreter's memory cannot be read or is not laid out as expected.
    pub fn event_loops(&mut self, memory: &dyn Memory) -> Result<EventLoops, AsyncioError> {
        let states = list(
            memory,
            self.runtime.offset(self.offsets.runtime_interpreters_head),
            MAX_INTERPRETERS,
            |state| state.offset(self.offsets.interpreter.next),
        )?;
        let Some(&main) = states.first() else {
            return Ok(EventLoops::default());
        };
        let Some(asyncio) = self.resolve_asyncio(memory, main)?.cloned() else {
            return Ok(EventLoops::default());
        };
        let mut threads = Vec::new();
        for state in states {
            self.add_threads(memory, &asyncio, state, &mut threads)?;
        }
        plan(memory, &asyncio, &threads)
    }

    fn add_threads(
        &self,
        memory: &dyn Memory,
        asyncio: &Asyncio,
        interpreter: Address,
        threads: &mut Vec<Thread>,
    ) -> Result<(), AsyncioError> {
        let offsets = &self.offsets.thread;
        let head = interpreter.offset(self.offsets.interpreter.threads_head);
        let root =
            |debug: &crate::layout::AsyncioDebug| list_root(interpreter.offset(debug.interpreter_tasks_head));
        let lingering = asyncio.debug.as_ref().map(root);
        for state in list(memory, head, MAX_THREADS, |state| state.offset(offsets.next))? {
            let tid = memory.read_u64(state.offset(offsets.native_thread_id))?;
            threads.push(Thread {
                state,
                lingering,
                tid: u32::try_from(tid).unwrap_or(0),
                event_loop: self.running_loop(memory, asyncio, state)?,
            });
        }
        Ok(())
    }

    fn running_loop(
        &self,
        memory: &dyn Memory,
        asyncio: &Asyncio,
        thread: Address,
    ) -> Result<Option<Address>, ReadError> {
        let objects = self.objects(memory);
        let found = match (self.offsets.running_loop, &asyncio.debug) {
            (RunningLoop::ThreadState, Some(debug)) => {
                Some(memory.read_address(thread.offset(debug.thread_running_loop))?)
            }
            (RunningLoop::ThreadState, None) => None,
            (RunningLoop::ThreadDict, _) => self.loop_entry(&objects, thread)?,
            (RunningLoop::Holder(offset), _) => match self.loop_entry(&objects, thread)? {
                Some(holder) => Some(memory.read_address(holder.offset(offset))?),
                None => None,
            },
        };
        Ok(found.filter(|found| !found.is_null() && *found != self.types.none))
    }

    fn loop_entry(&self, objects: &Objects<'_>, thread: Address) -> Result<Option<Address>, ReadError> {
        let dict = objects
            .memory
            .read_address(thread.offset(self.offsets.thread.dict))?;
        if dict.is_null() {
            Ok(None)
        } else {
            objects.dict_get(dict, LOOP_KEY)
        }
    }
}

/// Follows a linked list of states from the pointer at `head`, at most `limit` of them.
fn list(
    memory: &dyn Memory,
    head: Address,
    limit: usize,
    next: impl Fn(Address) -> Address,
) -> Result<Vec<Address>, Fault> {
    let mut found = Vec::new();
    let mut link = head;
    while found.len() < limit {
        let state = memory.read_address(link)?;
        if state.is_null() {
            break;
        }
        found.push(state);
        link = next(state);
    }
    Ok(found)
}

fn list_root(address: Address) -> Root {
    Root {
        kind: root_kind::LIST,
        reserved: 0,
        address: address.0,
    }
}

/// Divides the tasks among the threads that run a loop: each takes its own loop's, wherever they are registered, and
/// the first one those of loops that run nowhere, too. So every task is visited by exactly one.
fn plan(memory: &dyn Memory, asyncio: &Asyncio, threads: &[Thread]) -> Result<EventLoops, AsyncioError> {
    let mut result = EventLoops::default();
    let mut lists: Vec<Root> = Vec::new();
    if let Some(debug) = &asyncio.debug {
        for thread in threads {
            let head = thread.state.offset(debug.thread_tasks_head);
            // A task is in the list of the thread that made it, which need not be the one that runs it.
            let is_used = memory.read_address(head)? != head;
            if is_used || thread.event_loop.is_some() {
                lists.push(list_root(head));
            }
            lists.extend(thread.lingering);
        }
        lists.sort_by_key(|root| root.address);
        lists.dedup();
    }
    let loops: Vec<Address> = threads.iter().filter_map(|thread| thread.event_loop).collect();
    for thread in threads {
        let Some(event_loop) = thread.event_loop else {
            continue;
        };
        let own = asyncio
            .debug
            .as_ref()
            .map(|debug| list_root(thread.state.offset(debug.thread_tasks_head)));
        let mut roots: Vec<Root> = own
            .into_iter()
            .chain(asyncio.registries.iter().copied())
            .collect();
        roots.extend(lists.iter().filter(|root| Some(**root) != own));
        result.left_out += roots.len().saturating_sub(MAX_ROOTS);
        let mut plan = ThreadPlan {
            tgid: 0,
            tid: thread.tid,
            thread_state: thread.state.0,
            event_loop: event_loop.0,
            foreign_loops: [0; MAX_FOREIGN_LOOPS],
            roots: std::array::from_fn(|index| roots.get(index).copied().unwrap_or_default()),
            root_count: roots.len().min(MAX_ROOTS) as u32,
            max_frames: MAX_FRAMES as u32,
            context_budget_ns: 0,
            iterator_budget_ns: 0,
            iterator_budget_records: 0,
        };
        if result.plans.is_empty() {
            let foreign: Vec<u64> = loops
                .iter()
                .filter(|other| **other != event_loop)
                .map(|other| other.0)
                .collect();
            result.left_out += foreign.len().saturating_sub(MAX_FOREIGN_LOOPS);
            plan.event_loop = 0;
            plan.foreign_loops = std::array::from_fn(|index| foreign.get(index).copied().unwrap_or(0));
        }
        result.plans.push(plan);
    }
    Ok(result)
}
