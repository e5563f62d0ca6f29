//! Which threads run event loops, and where their tasks are registered.

use std::collections::{BTreeSet, HashSet};

use awaitwhat_common::limits::{MAX_LOOPS_PER_THREAD, MAX_ROOTS};
use awaitwhat_common::plan::{LoopId, Root, ThreadPlan, root_kind};

use super::again::look_again;
use super::asyncio::Asyncio;
use super::scheduler::SchedulerError;
use super::{Interpreter, thread_id};
use crate::layout::{NativeId, RunningLoop};
use crate::memory::{Address, Fault, Memory};
use crate::python::{Objects, ReadError};

/// Sub-interpreters that are looked at.
const MAX_INTERPRETERS: usize = 256;
/// Threads of all interpreters that are looked at.
const MAX_THREADS: usize = 16_384;
/// The key of a thread's dict under which its running loop is (3.7 to 3.12).
const LOOP_KEY: &str = "__asyncio_running_event_loop__";

/// The event loops of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLoops {
    /// What to walk, and in which thread's context; budgets and `tgid` are 0, and `tid` is as in [`EventLoop::tid`].
    ///
    /// One plan for each event loop that runs. Where none does in an interpreter, but tasks are left over from loops that were
    /// stopped, there is one plan, for its main thread. The plans of one thread have different slots, from 0 on.
    pub plans: Vec<ThreadPlan>,
    /// The loops that are running. A task of any other loop belongs to no thread.
    pub running: Vec<EventLoop>,
    /// Loops of one thread that were too many, and registries that no plan had room for: tasks of theirs may be missing.
    pub left_out: usize,
}

/// A loop that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLoop {
    /// Address of the loop object, as a task refers to it.
    pub address: Address,
    /// Id of its thread, in the target's own PID namespace; 0 where it is not known.
    pub tid: u32,
    /// The slot of its plan.
    pub slot: u32,
}

impl EventLoop {
    /// What its plan calls it.
    pub const fn id(&self) -> LoopId {
        LoopId {
            tid: self.tid,
            slot: self.slot,
        }
    }
}

/// A thread of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadId {
    /// Address of its `PyThreadState`.
    pub(super) state: Address,
    /// As [`EventLoop::tid`].
    pub(super) tid: u32,
}

/// A thread, as far as asyncio is concerned.
struct Thread {
    state: Address,
    tid: u32,
    event_loop: Option<Address>,
    /// Its list of tasks (3.14).
    own: Option<Root>,
    /// Its interpreter's list of tasks whose threads have ended (3.14).
    lingering: Option<Root>,
}

impl Interpreter {
    /// The threads that run an event loop at the moment, with what to walk for each. Empty where asyncio is not
    /// imported, or there is neither a running loop nor a task.
    ///
    /// `thread_ids` says what the process's threads call themselves. It is asked only where the interpreter does not know (before 3.11).
    ///
    /// # Errors
    /// When the interpreter's memory cannot be read or is not laid out as expected.
    pub fn event_loops(
        &mut self,
        memory: &dyn Memory,
        thread_ids: &dyn Fn() -> BTreeSet<u32>,
    ) -> Result<EventLoops, SchedulerError> {
        let is_doubtful =
            |result: &Result<_, SchedulerError>| result.as_ref().is_err_and(SchedulerError::is_momentary);
        look_again(memory, is_doubtful, || self.try_event_loops(memory, thread_ids))
    }

    /// The states of all interpreters of the process; the main one comes last.
    pub(super) fn states(&self, memory: &dyn Memory) -> Result<Vec<Address>, Fault> {
        let head = self.runtime.offset(self.offsets.runtime_interpreters_head);
        list(memory, head, self.offsets.interpreter.next, MAX_INTERPRETERS)
    }

    fn try_event_loops(
        &mut self,
        memory: &dyn Memory,
        thread_ids: &dyn Fn() -> BTreeSet<u32>,
    ) -> Result<EventLoops, SchedulerError> {
        let states = self.states(memory)?;
        let mut result = EventLoops::default();
        let mut threads = 0;
        // Sub-interpreters are put in front: the main interpreter, which ends the list, comes first.
        for state in states.into_iter().rev() {
            let mut of_state = self.thread_ids(memory, state, MAX_THREADS - threads)?;
            if let NativeId::Unknown { posix } = self.offsets.thread.id {
                self.name_threads(memory, posix, &thread_ids(), &mut of_state)?;
            }
            threads += of_state.len();
            if let Some(layout) = self.resolve_asyncio(memory, state)?
                && let Some(asyncio) = self.asyncio(layout)
            {
                let of_state = self.asyncio_threads(memory, asyncio, state, &of_state)?;
                result.add(self.plan(memory, layout, asyncio, &of_state)?);
            }
            if let Some(layout) = self.resolve_trio(memory, state)?
                && let Some(trio) = self.trio(layout)
            {
                result.add(self.plan_trio(memory, layout, trio, &of_state)?);
            }
        }
        result.count_loops();
        Ok(result)
    }

    /// Finds the ids of threads that have their `pthread_t` at `offset`, and are called by one of `ids`.
    fn name_threads(
        &mut self,
        memory: &dyn Memory,
        offset: u64,
        ids: &BTreeSet<u32>,
        threads: &mut [ThreadId],
    ) -> Result<(), ReadError> {
        let posix = |thread: &ThreadId| memory.read_address(thread.state.offset(offset));
        if self.thread_id_place.is_none() {
            let all = threads.iter().map(posix).collect::<Result<_, _>>()?;
            self.thread_id_place = thread_id::find_place(memory, &all, ids);
        }
        // A thread that has just begun or ended may be known to one side only.
        let place = self.thread_id_place.ok_or(ReadError::Malformed {
            what: "set of threads",
            address: self.runtime,
        })?;
        for thread in threads {
            let id = thread_id::read(memory, posix(thread)?, place);
            thread.tid = id.filter(|id| ids.contains(id)).unwrap_or(0);
        }
        Ok(())
    }

    /// The threads of one interpreter, at most `limit` of them.
    pub(super) fn thread_ids(
        &self,
        memory: &dyn Memory,
        interpreter: Address,
        limit: usize,
    ) -> Result<Vec<ThreadId>, ReadError> {
        let offsets = &self.offsets.thread;
        let head = interpreter.offset(self.offsets.interpreter.threads_head);
        let mut previous = Address::NULL;
        let mut threads = Vec::new();
        for state in list(memory, head, offsets.next, limit)? {
            // A thread that has just ended leaves its state to whoever allocates memory next.
            let before = memory.read_address(state.offset(offsets.previous))?;
            let owner = memory.read_address(state.offset(offsets.interpreter))?;
            if before != std::mem::replace(&mut previous, state) || owner != interpreter {
                return Err(ReadError::Malformed {
                    what: "thread state",
                    address: state,
                });
            }
            let tid = match offsets.id {
                NativeId::At(offset) => memory.read_u64(state.offset(offset))?,
                NativeId::Unknown { .. } => 0,
            };
            threads.push(ThreadId {
                state,
                tid: u32::try_from(tid).unwrap_or(0),
            });
        }
        Ok(threads)
    }

    /// What asyncio has for each of `threads`, all of one interpreter.
    fn asyncio_threads(
        &self,
        memory: &dyn Memory,
        asyncio: &Asyncio,
        interpreter: Address,
        threads: &[ThreadId],
    ) -> Result<Vec<Thread>, SchedulerError> {
        let debug = asyncio.debug.as_ref();
        let thread = |&ThreadId { state, tid }: &ThreadId| {
            Ok(Thread {
                state,
                tid,
                event_loop: self.running_loop(memory, asyncio, state)?,
                own: debug.map(|debug| list_root(state.offset(debug.thread_tasks_head))),
                lingering: debug.map(|debug| list_root(interpreter.offset(debug.interpreter_tasks_head))),
            })
        };
        threads.iter().map(thread).collect()
    }

    fn running_loop(
        &self,
        memory: &dyn Memory,
        asyncio: &Asyncio,
        thread: Address,
    ) -> Result<Option<Address>, ReadError> {
        let objects = self.objects(memory);
        if let Some(local) = asyncio.running_local {
            return self.running_loop_of_local(&objects, local, thread);
        }
        let at = |address| memory.read_address(address).map(Some);
        let found = match (self.offsets.running_loop, &asyncio.debug) {
            (RunningLoop::Published, Some(debug)) => at(thread.offset(debug.thread_running_loop))?,
            (RunningLoop::Published, None) => None,
            (RunningLoop::ThreadState(offset), _) => at(thread.offset(offset))?,
            (RunningLoop::ThreadDict, _) => self.loop_entry(&objects, thread)?,
            (RunningLoop::Holder(offset), _) => match self.loop_entry(&objects, thread)? {
                Some(holder) if self.is_own_holder(memory, holder.offset(offset))? => {
                    at(holder.offset(offset))?
                }
                _ => None,
            },
        };
        Ok(found.filter(|found| !found.is_null() && *found != self.types.none))
    }

    /// `asyncio.events._running_loop.loop_pid` is a pair of the loop, or `None`, and the id of the process that runs it (3.7 to 3.15).
    fn running_loop_of_local(
        &self,
        objects: &Objects<'_>,
        local: Address,
        thread: Address,
    ) -> Result<Option<Address>, ReadError> {
        let Some(pair) = objects.thread_local(local, thread, "loop_pid")? else {
            return Ok(None);
        };
        let [found, by] = objects.first_tuple_items(pair, 2)?[..] else {
            return Ok(None);
        };
        if found == self.types.none {
            return Ok(None);
        }
        let by = objects.integer(by)?.and_then(|by| u32::try_from(by).ok());
        Ok(Some(found).filter(|_| self.is_own(by)))
    }

    /// Whether a loop was set running by this very process, which `PyRunningLoopHolder` tells behind the loop (`rl_pid`, an `int`).
    fn is_own_holder(&self, memory: &dyn Memory, running: Address) -> Result<bool, Fault> {
        Ok(self.is_own(Some(memory.read_u64(running.offset(8))? as u32)))
    }

    /// Whether `process` is the id of this very process: a forked child has the running loop of its parent in memory, and asyncio tells by the
    /// id that is kept with it.
    fn is_own(&self, process: Option<u32>) -> bool {
        self.process_id.is_none_or(|own| process == Some(own))
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

    /// Divides the tasks of one interpreter among its threads that run a loop: each takes its own loop's, wherever they are registered, and
    /// the first one those of loops that run nowhere, too. So every task is visited by exactly one.
    fn plan(
        &self,
        memory: &dyn Memory,
        layout: u32,
        asyncio: &Asyncio,
        threads: &[Thread],
    ) -> Result<EventLoops, SchedulerError> {
        let mut result = EventLoops::default();
        let lists = used_lists(memory, threads)?;
        for thread in threads {
            if let Some(address) = thread.event_loop {
                result.running.push(EventLoop {
                    address,
                    tid: thread.tid,
                    slot: 0,
                });
                result.add_plan(layout, thread, asyncio, &lists);
            }
        }
        if result.plans.is_empty() {
            let is_used = self.has_members(memory, asyncio)? || !lists.is_empty();
            // New threads are put in front, so this is the one that began first.
            if let Some(thread) = threads.last().filter(|_| is_used) {
                result.add_plan(layout, thread, asyncio, &lists);
            }
        }
        result.share_tasks_without_thread();
        Ok(result)
    }

    /// Whether a registry that all threads share has members.
    fn has_members(&self, memory: &dyn Memory, asyncio: &Asyncio) -> Result<bool, Fault> {
        for root in &asyncio.registries {
            if memory.read_u64(Address(root.address).offset(self.offsets.set.used))? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl EventLoops {
    /// Adds those of another interpreter, or of another library. A thread may be in it already: it runs an interpreter within another, or
    /// trio as a guest of asyncio. Where it has no slot left, a loop that runs takes that of tasks that no loop runs.
    fn add(&mut self, other: Self) {
        self.left_out += other.left_out;
        // Where loops run there is a plan for each, in the same order.
        let mut running = other.running.into_iter();
        for mut plan in other.plans {
            let event_loop = running.next();
            plan.slot = self.plans.iter().filter(|it| it.tid == plan.tid).count() as u32;
            if plan.slot < MAX_LOOPS_PER_THREAD {
                self.plans.push(plan);
            } else {
                self.left_out += 1;
                let is_idle = |it: &ThreadPlan| it.tid == plan.tid && !self.runs(it.loop_id());
                let idle = self.plans.iter().position(is_idle);
                let Some(at) = idle.filter(|_| event_loop.is_some()) else {
                    continue;
                };
                plan.slot = self.plans[at].slot;
                self.plans[at] = plan;
            }
            self.running.extend(event_loop.map(|it| EventLoop {
                slot: plan.slot,
                ..it
            }));
        }
    }

    /// Whether a task of the loop at `address` is another walk's than that of `walked`: a walk that also takes tasks of loops that run nowhere
    /// knows only some of those that do.
    pub fn is_of_another(&self, walked: LoopId, address: Address) -> bool {
        let mut owners = self.running.iter().filter(|running| running.address == address);
        let first = owners.next();
        first.is_some_and(|first| first.id() != walked) && owners.all(|other| other.id() != walked)
    }

    fn runs(&self, event_loop: LoopId) -> bool {
        self.running.iter().any(|running| running.id() == event_loop)
    }

    /// Tells each plan how many there are of its thread.
    fn count_loops(&mut self) {
        let threads: Vec<u32> = self.plans.iter().map(|plan| plan.tid).collect();
        for plan in &mut self.plans {
            plan.loops_of_thread = threads.iter().filter(|tid| **tid == plan.tid).count() as u32;
        }
    }

    fn add_plan(&mut self, layout: u32, thread: &Thread, asyncio: &Asyncio, lists: &[Root]) {
        let mut roots: Vec<Root> = thread
            .own
            .into_iter()
            .chain(asyncio.registries.iter().copied())
            .collect();
        // A task is in the list of the thread that made it, which need not be the one that runs it.
        roots.extend(lists.iter().filter(|root| Some(**root) != thread.own));
        self.left_out += roots.len().saturating_sub(MAX_ROOTS);
        self.plans.push(ThreadPlan {
            tid: thread.tid,
            layout,
            thread_state: thread.state.0,
            event_loop: thread.event_loop.unwrap_or_default().0,
            running_loop: thread.event_loop.unwrap_or_default().0,
            ..ThreadPlan::of(&roots)
        });
    }

    fn share_tasks_without_thread(&mut self) {
        let Some((first, others)) = self.plans.split_first_mut() else {
            return;
        };
        first.event_loop = 0;
        first.sends_strangers = 1;
        // Tasks of loops that there is no room for are walked besides, and left out by `is_of_another`.
        for (foreign, other) in first.foreign_loops.iter_mut().zip(others) {
            *foreign = other.event_loop;
        }
    }
}

/// Follows a linked list of states from the pointer at `head`, at most `limit` of them, and to none of them twice.
fn list(memory: &dyn Memory, head: Address, next: u64, limit: usize) -> Result<Vec<Address>, Fault> {
    let mut found = Vec::new();
    let mut met = HashSet::new();
    let mut link = head;
    while found.len() < limit {
        let state = memory.read_address(link)?;
        if state.is_null() || !met.insert(state) {
            break;
        }
        found.push(state);
        link = state.offset(next);
    }
    Ok(found)
}

/// The linked lists that have members.
///
/// A thread that ended since the threads were listed has none any more. What is at the place of its head then leads nowhere, as a rule
/// (debug builds see to that), and the next look knows better.
fn used_lists(memory: &dyn Memory, threads: &[Thread]) -> Result<Vec<Root>, Fault> {
    let mut lists = Vec::new();
    for root in threads
        .iter()
        .flat_map(|thread| [thread.own, thread.lingering])
        .flatten()
    {
        let head = Address(root.address);
        let first = memory.read_address(head)?;
        if !lists.contains(&root) && first != head {
            memory.read_address(first)?;
            lists.push(root);
        }
    }
    Ok(lists)
}

fn list_root(address: Address) -> Root {
    Root {
        kind: root_kind::LIST,
        reserved: 0,
        address: address.0,
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use awaitwhat_common::limits::MAX_FOREIGN_LOOPS;

    use super::*;
    use crate::python::future::FutureTypes;
    use crate::python::image::MemoryImage;

    fn thread(number: u64, event_loop: u64) -> Thread {
        Thread {
            state: Address(number << 12),
            tid: number as u32,
            event_loop: (event_loop != 0).then_some(Address(event_loop)),
            own: Some(list_root(Address(number))),
            lingering: None,
        }
    }

    fn asyncio() -> Asyncio {
        let registry = Root {
            kind: root_kind::WEAK_SET,
            reserved: 0,
            address: 0x500,
        };
        Asyncio {
            modules: Default::default(),
            pending: Address::NULL,
            running_local: None,
            types: FutureTypes::default(),
            registries: vec![registry],
            debug: None,
        }
    }

    fn loops(threads: u64, lists: &[Root]) -> EventLoops {
        let mut loops = EventLoops::default();
        for number in 1..=threads {
            loops.add_plan(0, &thread(number, number + 100), &asyncio(), lists);
        }
        loops.share_tasks_without_thread();
        loops
    }

    #[test]
    fn gives_tasks_without_thread_to_the_first_plan() {
        let found = loops(3, &[]);
        let event_loops: Vec<u64> = found.plans.iter().map(|plan| plan.event_loop).collect();
        assert_eq!(event_loops, [0, 102, 103]);
        assert_eq!(found.plans[0].foreign_loops[..3], [102, 103, 0]);
        assert_eq!(found.left_out, 0);
    }

    #[test]
    fn walks_the_lists_of_other_threads_once() {
        let lists: Vec<Root> = [1, 2, 7].map(|number| list_root(Address(number))).to_vec();
        let plan = loops(2, &lists).plans[1];
        let roots: Vec<u64> = plan.roots.iter().map(|root| root.address).collect();
        assert_eq!(roots[..5], [2, 0x500, 1, 7, 0]);
        assert_eq!(plan.root_count, 4);
    }

    /// What one library of one interpreter has in these threads: a loop with that address each, or tasks that none runs (0).
    fn found(layout: u32, threads: &[(u64, u64)]) -> EventLoops {
        let mut loops = EventLoops::default();
        for &(number, event_loop) in threads {
            loops.add_plan(layout, &thread(number, event_loop), &asyncio(), &[]);
            if event_loop != 0 {
                loops.running.push(EventLoop {
                    address: Address(event_loop),
                    tid: number as u32,
                    slot: 0,
                });
            }
        }
        loops
    }

    /// All of what several have: thread, slot, layout, and how many loops the thread has; and in which slots loops run.
    fn together(all: &[EventLoops]) -> (Vec<[u32; 4]>, Vec<[u32; 2]>, usize) {
        let mut loops = EventLoops::default();
        all.iter().cloned().for_each(|it| loops.add(it));
        loops.count_loops();
        let plans = loops
            .plans
            .iter()
            .map(|plan| [plan.tid, plan.slot, plan.layout, plan.loops_of_thread]);
        let running = loops.running.iter().map(|it| [it.tid, it.slot]);
        (plans.collect(), running.collect(), loops.left_out)
    }

    #[test]
    fn loops_of_one_thread_have_a_slot_each() {
        let (plans, running, left_out) =
            together(&[found(0, &[(1, 101), (2, 102)]), found(1, &[(2, 202), (3, 203)])]);
        assert_eq!(plans, [[1, 0, 0, 1], [2, 0, 0, 2], [2, 1, 1, 2], [3, 0, 1, 1]]);
        assert_eq!(running, [[1, 0], [2, 0], [2, 1], [3, 0]]);
        assert_eq!(left_out, 0);
    }

    #[test]
    fn tasks_that_no_loop_runs_have_a_slot_too() {
        let (plans, running, left_out) = together(&[found(0, &[(1, 0)]), found(1, &[(1, 201)])]);
        assert_eq!(plans, [[1, 0, 0, 2], [1, 1, 1, 2]]);
        assert_eq!((running.as_slice(), left_out), ([[1, 1]].as_slice(), 0));
    }

    #[test]
    fn loops_beyond_the_last_slot_are_counted() {
        let idle = found(0, &[(1, 0)]);
        let all: Vec<EventLoops> = (1..=5)
            .map(|layout| found(layout, &[(1, 100 + u64::from(layout))]))
            .collect();
        let (plans, running, left_out) = together(&all);
        assert_eq!(plans.len(), MAX_LOOPS_PER_THREAD as usize);
        assert_eq!((running.len(), left_out), (4, 1));
        // One that runs comes before tasks that wait for nothing to come; those do not come instead of any.
        let (plans, running, left_out) = together(&[&all[..3], from_ref(&idle), &all[3..4]].concat());
        assert_eq!(plans[3], [1, 3, 4, 4]);
        assert_eq!((running, left_out), (vec![[1, 0], [1, 1], [1, 2], [1, 3]], 1));
        let (plans, _, left_out) = together(&[&all[..4], from_ref(&idle)].concat());
        assert_eq!((plans[3][2], left_out), (4, 1));
    }

    #[test]
    fn counts_what_there_is_no_room_for() {
        let too_many = MAX_ROOTS as u64 + 2;
        let lists: Vec<Root> = (50..50 + too_many)
            .map(|number| list_root(Address(number)))
            .collect();
        let found = loops(1, &lists);
        assert_eq!(
            (found.plans[0].root_count as usize, found.left_out),
            (MAX_ROOTS, 4)
        );
    }

    #[test]
    fn tasks_of_loops_beyond_those_of_a_plan_are_told_apart() {
        let many = MAX_FOREIGN_LOOPS as u64 + 3;
        let mut loops = found(
            0,
            &(1..=many)
                .map(|number| (number, number + 100))
                .collect::<Vec<_>>(),
        );
        loops.share_tasks_without_thread();
        assert_eq!((loops.left_out, loops.plans[0].event_loop), (0, 0));
        let id = |tid| LoopId { tid, slot: 0 };
        for number in 1..=many as u32 {
            let address = Address(u64::from(number) + 100);
            assert_eq!(loops.is_of_another(id(1), address), number != 1, "{number}");
            assert!(!loops.is_of_another(id(number), address), "{number}");
        }
        assert!(!loops.is_of_another(id(1), Address(7)), "no thread runs it");
    }

    #[test]
    fn looks_again_where_a_thread_has_left_garbage() {
        const HEADS: [u64; 3] = [0x1000, 0x2000, 0x3000];
        let threads = HEADS.map(|head| Thread {
            own: Some(list_root(Address(head))),
            ..thread(head, 0)
        });
        let mut image = MemoryImage::default();
        image.write_words(HEADS[0], &[HEADS[0]]);
        image.write_words(HEADS[1], &[0x5000]);
        image.write_words(0x5000, &[HEADS[1]]);
        image.write_words(HEADS[2], &[HEADS[2]]);
        let used = used_lists(&image, &threads);
        assert_eq!(used, Ok(vec![list_root(Address(HEADS[1]))]));
        // What debug builds write over memory that is given back (`Objects/obmalloc.c`, `PYMEM_DEADBYTE`).
        image.write_words(HEADS[2], &[0xdddd_dddd_dddd_dddd]);
        let error = used_lists(&image, &threads).expect_err("the third thread is gone");
        assert!(ReadError::from(error).is_momentary());
    }

    #[test]
    fn ends_a_list_that_leads_to_itself() {
        let mut image = MemoryImage::default();
        image.write_words(0x1000, &[0x2000]);
        image.write_words(0x2008, &[0x3000]);
        image.write_words(0x3008, &[0x2000]);
        let found = list(&image, Address(0x1000), 8, 100);
        assert_eq!(found, Ok(vec![Address(0x2000), Address(0x3000)]));
    }
}
