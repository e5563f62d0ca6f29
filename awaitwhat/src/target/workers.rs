//! What the worker threads of `concurrent.futures` are at, and what stands in line for them.
//!
//! A worker is in `_worker` (`Lib/concurrent/futures/thread.py` of 3.7 to 3.15), which takes items from the queue that all of its pool share, and
//! calls `_WorkItem.run` of each. So the frames of a thread tell the job, the queue and the pool. Every thread is looked at once, for all tasks
//! that wait for jobs together. Workers of anyio (`WorkerThread.run`, `anyio/_backends/_asyncio.py` of 3 and 4) have a queue and a future of asyncio each.

use std::collections::{HashMap, HashSet};

use super::event_loops::ThreadId;
use super::jobs::{Pool, QueuedJob, RunningJob, Workers};
use super::thread_frames::ThreadFrame;
use super::{Interpreter, thread_id};
use crate::layout::NativeId;
use crate::memory::{Address, Fault, Memory};
use crate::python::executor::JobState;
use crate::python::frame::{FrameAddress, Frames};
use crate::python::{Objects, ReadError, readable};

/// Threads of all interpreters that are looked at.
pub const MAX_THREADS: usize = 4096;
/// Frames of one thread, and of all threads together, that are looked at.
const MAX_FRAMES: usize = 4096;
const MAX_ALL_FRAMES: usize = 1 << 16;
/// Times that a thread is looked at which is just changing.
const MAX_TRIES: u32 = 4;
/// Times that this happens at one look, before what is left of the threads is given up: each time, all is read anew.
const MAX_ALL_TRIES: u32 = 256;
/// Of the frames of a job, how many are kept: the innermost and the outermost.
const MAX_KEPT: usize = 64;
/// Items of all queues that are looked at.
const MAX_ALL_QUEUED: usize = 1 << 16;
/// Items whose pages are asked for at a time.
const AHEAD: usize = 1024;
/// Where workers are written, anyio's workers, and the queue that these wait at.
const FILE: &str = "/concurrent/futures/thread.py";
const ANYIO_FILE: &str = "/anyio/_backends/_asyncio.py";
const QUEUE_FILE: &str = "/queue.py";

/// Which function of a worker a code object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `_worker`.
    Worker,
    /// `_WorkItem.run`.
    Item,
    /// `WorkerContext.run` (3.14+), which calls the job's function.
    Context,
    /// `WorkerThread.run` of anyio, which takes jobs from a queue of its own.
    Anyio,
    Other,
}

/// A thread that is a worker.
struct Worker {
    role: Role,
    /// The frame of `_worker`, or of anyio's `WorkerThread.run`.
    frame: FrameAddress,
    /// That of `_WorkItem.run`, or the same, and those above, where it is at a job.
    job: Option<(FrameAddress, Vec<ThreadFrame>)>,
}

/// What a worker works at.
struct Job {
    /// The future that waits for it.
    future: Address,
    function: Option<String>,
    pool: Option<Pool>,
}

/// One look.
struct Look<'a> {
    interpreter: &'a Interpreter,
    frames: Frames<'a>,
    roles: HashMap<Address, Role>,
    frames_left: usize,
    tries_left: u32,
    queues: HashSet<Address>,
    queued_left: usize,
    found: Workers,
}

impl Interpreter {
    /// Looks at all threads of the process. True of those that rest meanwhile; what two looks agree about ([`Workers::agreeing`]) of those that
    /// run.
    ///
    /// # Errors
    /// When nothing of the process can be read any more, or its lists of threads cannot.
    pub fn workers(&self, memory: &dyn Memory) -> Result<Workers, ReadError> {
        let mut look = Look {
            interpreter: self,
            frames: Frames {
                objects: self.objects(memory),
                layout: &self.walk,
            },
            roles: HashMap::new(),
            frames_left: MAX_ALL_FRAMES,
            tries_left: MAX_ALL_TRIES,
            queues: HashSet::new(),
            queued_left: MAX_ALL_QUEUED,
            found: Workers::default(),
        };
        let mut threads_left = MAX_THREADS;
        for state in self.states(memory)? {
            let threads = self.threads_of(memory, state, threads_left)?;
            threads_left -= threads.len();
            let mut names = None;
            for thread in &threads {
                look.note(state, thread, &mut names)?;
            }
        }
        look.found.is_cut |= threads_left == 0;
        Ok(look.found)
    }

    /// The threads of the interpreter at `state`, with what they call themselves.
    fn threads_of(
        &self,
        memory: &dyn Memory,
        state: Address,
        limit: usize,
    ) -> Result<Vec<ThreadId>, ReadError> {
        let mut threads = self.thread_ids(memory, state, limit)?;
        if let (NativeId::Unknown { posix }, Some(place)) = (self.offsets.thread.id, self.thread_id_place) {
            for thread in &mut threads {
                let posix = memory.read_address(thread.state.offset(posix))?;
                thread.tid = thread_id::read(memory, posix, place).unwrap_or(0);
            }
        }
        Ok(threads)
    }

    /// What the program calls the threads of the interpreter at `state`, by what `threading.get_ident` gives.
    fn thread_names(&self, memory: &dyn Memory, state: Address) -> Result<HashMap<u64, Address>, ReadError> {
        let objects = self.objects(memory);
        let Some(threading) = self.module(memory, state, "threading")? else {
            return Ok(HashMap::new());
        };
        let Some(active) = objects.module_attribute(threading, "_active")? else {
            return Ok(HashMap::new());
        };
        if !objects.is_exactly(active, self.types.dict)? {
            return Ok(HashMap::new());
        }
        let mut names = HashMap::new();
        for (identity, thread) in objects.dict_items(active)? {
            let is_number = objects.is_exactly(identity, self.types.long)?;
            let identity = if is_number {
                objects.integer(identity)?
            } else {
                None
            };
            if let Some(identity) = identity.and_then(|it| u64::try_from(it).ok()) {
                names.insert(identity, thread);
            }
        }
        Ok(names)
    }
}

impl Look<'_> {
    fn objects(&self) -> Objects<'_> {
        self.frames.objects
    }

    /// Notes what a thread is at. One that cannot be read has just changed.
    fn note(
        &mut self,
        state: Address,
        thread: &ThreadId,
        names: &mut Option<HashMap<u64, Address>>,
    ) -> Result<(), Fault> {
        for _ in 0..MAX_TRIES {
            if self.tries_left == 0 {
                break;
            }
            if readable(self.try_note(state, thread, names))?.is_some() {
                return Ok(());
            }
            self.tries_left -= 1;
            self.objects().memory.forget();
        }
        self.found.torn += 1;
        Ok(())
    }

    fn try_note(
        &mut self,
        state: Address,
        thread: &ThreadId,
        names: &mut Option<HashMap<u64, Address>>,
    ) -> Result<(), ReadError> {
        let Some(worker) = self.worker(thread)? else {
            return Ok(());
        };
        let pool = match worker.role {
            Role::Anyio => None,
            _ => self.pool(worker.frame)?,
        };
        if worker.role == Role::Worker {
            self.note_queue(worker.frame, pool.as_ref())?;
        }
        let Some((at, frames)) = worker.job else {
            return Ok(());
        };
        let found = match worker.role {
            Role::Anyio => self.job_of_anyio(at, frames.last())?,
            _ => self.job_of_item(at, pool)?,
        };
        let Some(job) = found else { return Ok(()) };
        if names.is_none() {
            let found = self.interpreter.thread_names(self.objects().memory, state);
            *names = Some(found.unwrap_or_default());
        }
        let (frames, left_out) = both_ends(frames);
        let running = RunningJob {
            thread: thread.state,
            tid: thread.tid,
            thread_name: self.thread_name(thread, names.as_ref()).unwrap_or_default(),
            function: job.function,
            frames,
            left_out,
            is_moving: false,
            pool: job.pool,
        };
        self.found.running.insert(job.future, running);
        Ok(())
    }

    /// What `_WorkItem.run` is called for.
    fn job_of_item(&self, at: FrameAddress, pool: Option<Pool>) -> Result<Option<Job>, ReadError> {
        let Some(item) = self.frames.local(at, "self")? else {
            return Ok(None);
        };
        let future = self.objects().work_item_future(item)?;
        Ok(future.map(|future| Job {
            future,
            function: self.objects().work_item_function(item).unwrap_or_default(),
            pool,
        }))
    }

    /// What a worker of anyio is at. The variables of the last job may still be there while it waits for the next one.
    fn job_of_anyio(
        &mut self,
        at: FrameAddress,
        called: Option<&ThreadFrame>,
    ) -> Result<Option<Job>, ReadError> {
        if let Some(called) = called
            && self.is_queue(called.code)?
        {
            return Ok(None);
        }
        let objects = self.frames.objects;
        let (Some(own), Some(future), Some(function)) = (
            self.frames.local(at, "self")?,
            self.frames.local(at, "future")?,
            self.frames.local(at, "func")?,
        ) else {
            return Ok(None);
        };
        let is_worker = objects.type_name(objects.type_of(own)?)? == "WorkerThread";
        Ok(is_worker.then(|| Job {
            future,
            function: objects.callable_name(function).unwrap_or_default(),
            pool: None,
        }))
    }

    /// Whether a code object is of the module `queue`.
    fn is_queue(&self, code: Address) -> Result<bool, ReadError> {
        let objects = self.objects();
        let file = code.offset(objects.offsets.code.filename);
        let file = objects.memory.read_address(file)?;
        Ok(objects.text(file)?.into_shown().ends_with(QUEUE_FILE))
    }

    /// The frames of a thread, if it is a worker.
    fn worker(&mut self, thread: &ThreadId) -> Result<Option<Worker>, ReadError> {
        let mut limit = MAX_FRAMES.min(self.frames_left);
        let reserve = self.frames_left - limit;
        let memory = self.frames.objects.memory;
        let frames = self
            .interpreter
            .frames_of_thread(memory, thread.state, &mut limit);
        self.frames_left = reserve + limit;
        self.found.is_cut |= limit == 0;
        let mut frames = frames?;
        let mut last_item = None;
        let mut worker = None;
        for (at, frame) in frames.iter().enumerate() {
            match self.role(frame.code)? {
                Role::Item => last_item = Some(at),
                role @ (Role::Worker | Role::Anyio) => {
                    let frame = FrameAddress {
                        frame: frame.frame,
                        code: frame.code,
                    };
                    if role == Role::Anyio {
                        last_item = Some(at);
                    }
                    worker = Some((role, frame));
                    break;
                }
                Role::Context | Role::Other => {}
            }
        }
        let Some((role, frame_of_worker)) = worker else {
            return Ok(None);
        };
        let mut job = None;
        if let Some(at) = last_item
            && let Some(&ThreadFrame { frame, code, .. }) = frames.get(at)
        {
            frames.truncate(at);
            if let Some(outermost) = frames.last()
                && self.role(outermost.code)? == Role::Context
            {
                frames.pop();
            }
            job = Some((FrameAddress { frame, code }, frames));
        }
        Ok(Some(Worker {
            role,
            frame: frame_of_worker,
            job,
        }))
    }

    fn role(&mut self, code: Address) -> Result<Role, ReadError> {
        if let Some(&known) = self.roles.get(&code) {
            return Ok(known);
        }
        let role = role_of(&self.frames.objects, code)?;
        self.roles.insert(code, role);
        Ok(role)
    }

    /// The pool that a worker belongs to, which it refers to by a weak reference; `None` where it is gone.
    fn pool(&self, worker: FrameAddress) -> Result<Option<Pool>, ReadError> {
        let objects = self.objects();
        let Some(reference) = self.frames.local(worker, "executor_reference")? else {
            return Ok(None);
        };
        if !objects.is_exactly(reference, objects.types.weak_reference)? {
            return Ok(None);
        }
        let executor = reference.offset(objects.offsets.weakref_object);
        let executor = objects.memory.read_address(executor)?;
        if executor.is_null() || executor == objects.types.none {
            return Ok(None);
        }
        let of_type = |name, type_object| match objects.attribute(executor, name)? {
            Some(value) if objects.is_exactly(value, type_object)? => Ok::<_, ReadError>(Some(value)),
            _ => Ok(None),
        };
        let size = of_type("_max_workers", objects.types.long)?;
        let size = size.map_or(Ok(None), |size| objects.integer(size))?;
        let prefix = of_type("_thread_name_prefix", objects.types.unicode)?;
        let prefix = prefix.map(|prefix| objects.text(prefix)).transpose()?;
        Ok(Some(Pool {
            size: size.and_then(|size| u64::try_from(size).ok()),
            prefix: prefix
                .map(crate::python::Text::into_shown)
                .filter(|it| !it.is_empty()),
        }))
    }

    /// Notes what stands in line for a worker; all of a pool have one queue.
    fn note_queue(&mut self, worker: FrameAddress, pool: Option<&Pool>) -> Result<(), ReadError> {
        let Some(queue) = self.frames.local(worker, "work_queue")? else {
            return Ok(());
        };
        if !self.queues.insert(queue) {
            return Ok(());
        }
        let objects = self.frames.objects;
        let items = objects.simple_queue_items(queue)?;
        self.found.is_cut |= items.len() > self.queued_left;
        let items: Vec<Address> = items.into_iter().take(self.queued_left).collect();
        self.queued_left -= items.len();
        let mut line = Vec::new();
        for items in items.chunks(AHEAD) {
            objects.memory.prepare(items);
            let mut jobs = Vec::new();
            // It is `None` that has workers end.
            for item in items
                .iter()
                .filter(|it| !it.is_null() && **it != objects.types.none)
            {
                jobs.extend(objects.work_item_future(*item)?.map(|job| (*item, job)));
            }
            let futures: Vec<Address> = jobs.iter().map(|(_, job)| *job).collect();
            objects.memory.prepare(&futures);
            for (item, job) in jobs {
                if objects.job_state(job)? == JobState::Queued {
                    line.push((item, job));
                }
            }
        }
        let in_line = line.len() as u64;
        for (before, (item, job)) in (0..).zip(line) {
            let queued = QueuedJob {
                item,
                before,
                in_line,
                pool: pool.cloned(),
            };
            self.found.queued.insert(job, queued);
        }
        Ok(())
    }

    fn thread_name(
        &self,
        thread: &ThreadId,
        names: Option<&HashMap<u64, Address>>,
    ) -> Result<Option<String>, ReadError> {
        let objects = self.objects();
        let identity = objects.offsets.thread.identity();
        let identity = objects.memory.read_u64(thread.state.offset(identity))?;
        let Some(&thread) = names.and_then(|names| names.get(&identity)) else {
            return Ok(None);
        };
        match objects.attribute(thread, "_name")? {
            Some(name) if objects.is_exactly(name, objects.types.unicode)? => {
                Ok(Some(objects.text(name)?.into_shown()))
            }
            _ => Ok(None),
        }
    }
}

/// Before 3.11 a code object knows no more than its function's plain name: there is one `run` in that file until then.
fn role_of(objects: &Objects<'_>, code: Address) -> Result<Role, ReadError> {
    if !objects.is_exactly(code, objects.types.code)? {
        return Ok(Role::Other);
    }
    let text = |offset: u64| -> Result<String, ReadError> {
        let text = objects.memory.read_address(code.offset(offset))?;
        Ok(objects.text(text)?.into_shown())
    };
    let name = text(objects.offsets.code.qualified_name)?;
    if !matches!(
        &*name,
        "_worker" | "_WorkItem.run" | "WorkerContext.run" | "WorkerThread.run" | "run"
    ) {
        return Ok(Role::Other);
    }
    let file = text(objects.offsets.code.filename)?;
    Ok(match &*name {
        "_worker" if file.ends_with(FILE) => Role::Worker,
        "_WorkItem.run" | "run" if file.ends_with(FILE) => Role::Item,
        "WorkerContext.run" if file.ends_with(FILE) => Role::Context,
        "WorkerThread.run" | "run" if file.ends_with(ANYIO_FILE) => Role::Anyio,
        _ => Role::Other,
    })
}

/// Of many frames the innermost and the outermost, and how many are left out between them.
fn both_ends(mut frames: Vec<ThreadFrame>) -> (Vec<ThreadFrame>, u32) {
    let left_out = frames.len().saturating_sub(MAX_KEPT);
    if left_out > 0 {
        let outermost = frames.split_off(frames.len() - MAX_KEPT / 2);
        frames.truncate(MAX_KEPT / 2);
        frames.extend(outermost);
    }
    (frames, left_out as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> ThreadFrame {
        ThreadFrame {
            frame: Address(number),
            code: Address(number + 1),
            instruction: Address::NULL,
        }
    }

    #[test]
    fn of_a_deep_stack_both_ends_are_kept() {
        let frames = |count| (0..count).map(frame).collect::<Vec<_>>();
        assert_eq!(both_ends(frames(10)), (frames(10), 0));
        assert_eq!(both_ends(frames(64)).1, 0);
        let (kept, left_out) = both_ends(frames(100));
        assert_eq!((kept.len(), left_out), (MAX_KEPT, 36));
        assert_eq!(
            (kept[31].frame.0, kept[32].frame.0, kept[63].frame.0),
            (31, 68, 99)
        );
    }
}
