//! What the worker threads of `concurrent.futures` are at, and what stands in line for them.
//!
//! A worker is in `_worker` (`Lib/concurrent/futures/thread.py` of 3.7 to 3.15), which takes items from the queue that all of its pool share, and
//! calls `_WorkItem.run` of each. So the frames of a thread tell the job, the queue and the pool. Every thread is looked at once, for all tasks
//! that wait for jobs together.

use std::collections::{HashMap, HashSet};

use super::event_loops::ThreadId;
use super::thread_frames::ThreadFrame;
use super::{Interpreter, thread_id};
use crate::layout::NativeId;
use crate::memory::{Address, Fault, Memory};
use crate::python::executor::JobState;
use crate::python::frame::{FrameAddress, Frames};
use crate::python::{Objects, ReadError};

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
/// Where workers are written.
const FILE: &str = "/concurrent/futures/thread.py";

/// A pool of threads, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// How many threads it may have.
    pub size: Option<u64>,
    /// What its threads' names begin with.
    pub prefix: Option<String>,
}

/// A job that a thread works at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    /// Address of the thread's `PyThreadState`.
    pub thread: Address,
    /// What the thread calls itself; 0 where that is not known.
    pub tid: u32,
    /// What the program calls it (`threading.Thread.name`).
    pub thread_name: Option<String>,
    /// What it was given to call.
    pub function: Option<String>,
    /// The job's frames, innermost first; empty of one that runs no Python code.
    pub frames: Vec<ThreadFrame>,
    /// Frames in the middle that are left out.
    pub left_out: u32,
    /// The thread went on while it was read: further frames, or where the innermost one is, are not known.
    pub is_moving: bool,
    pub pool: Option<Pool>,
}

/// A job that no thread has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// Address of its `_WorkItem`.
    pub item: Address,
    /// How many that nobody has cancelled come before it, and how many there are in all.
    pub before: u64,
    pub in_line: u64,
    pub pool: Option<Pool>,
}

/// What one look at all threads has found, by the futures of `concurrent.futures`.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    pub running: HashMap<Address, RunningJob>,
    pub queued: HashMap<Address, QueuedJob>,
    /// Threads that could not be read.
    pub torn: u64,
    /// A bound was hit: there may be more.
    pub is_cut: bool,
}

impl Workers {
    /// What this look and a later one agree about: true of threads that run, too. Of a thread that went on, the outer frames that are the same.
    #[must_use]
    pub fn agreeing(mut self, later: &Self) -> Self {
        self.running.retain(|job, running| match later.running.get(job) {
            Some(other) if running.thread == other.thread => {
                running.agree(other);
                true
            }
            _ => false,
        });
        self.queued
            .retain(|job, queued| later.queued.get(job) == Some(queued));
        self.is_cut |= later.is_cut;
        self
    }
}

impl Workers {
    /// Adds what others have found that is not known yet.
    pub fn add(&mut self, other: Self) {
        for (job, running) in other.running {
            self.running.entry(job).or_insert(running);
        }
        for (job, queued) in other.queued {
            self.queued.entry(job).or_insert(queued);
        }
        self.is_cut |= other.is_cut;
    }
}

impl RunningJob {
    fn agree(&mut self, later: &Self) {
        keep_equal(&mut self.function, &later.function);
        keep_equal(&mut self.thread_name, &later.thread_name);
        keep_equal(&mut self.pool, &later.pool);
        if (&self.frames, self.left_out) == (&later.frames, later.left_out) {
            return;
        }
        self.is_moving = true;
        if self.left_out > 0 || later.left_out > 0 {
            self.frames.clear();
            self.left_out = 0;
            return;
        }
        let from_outside = self.frames.iter().rev().zip(later.frames.iter().rev());
        let mut kept: Vec<ThreadFrame> = Vec::new();
        for (one, other) in from_outside {
            if one == other {
                kept.push(*one);
                continue;
            }
            if (one.frame, one.code) == (other.frame, other.code) {
                kept.push(ThreadFrame {
                    instruction: Address::NULL,
                    ..*one
                });
            }
            break;
        }
        kept.reverse();
        self.frames = kept;
    }
}

/// Leaves nothing of what a later look says otherwise.
fn keep_equal<T: PartialEq>(one: &mut Option<T>, later: &Option<T>) {
    if one != later {
        *one = None;
    }
}

/// Which function of a worker a code object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `_worker`.
    Worker,
    /// `_WorkItem.run`.
    Item,
    /// `WorkerContext.run` (3.14+), which calls the job's function.
    Context,
    Other,
}

/// A thread that is in a `_worker`.
struct Worker {
    /// The frame of `_worker`.
    frame: FrameAddress,
    /// That of `_WorkItem.run` and those above, where it is at a job.
    job: Option<(FrameAddress, Vec<ThreadFrame>)>,
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
            match self.try_note(state, thread, names) {
                Ok(()) => return Ok(()),
                Err(ReadError::Fault(fault @ (Fault::Gone | Fault::Reader { .. }))) => return Err(fault),
                Err(_) => {
                    self.tries_left -= 1;
                    self.objects().memory.forget();
                }
            }
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
        let pool = self.pool(worker.frame)?;
        self.note_queue(worker.frame, pool.as_ref())?;
        let Some((at, frames)) = worker.job else {
            return Ok(());
        };
        let Some(item) = self.frames.local(at, "self")? else {
            return Ok(());
        };
        let Some(job) = self.objects().work_item_future(item)? else {
            return Ok(());
        };
        if names.is_none() {
            let found = self.interpreter.thread_names(self.objects().memory, state);
            *names = Some(found.unwrap_or_default());
        }
        let (frames, left_out) = both_ends(frames);
        let running = RunningJob {
            thread: thread.state,
            tid: thread.tid,
            thread_name: self.thread_name(thread, names.as_ref()).unwrap_or_default(),
            function: self.objects().work_item_function(item).unwrap_or_default(),
            frames,
            left_out,
            is_moving: false,
            pool,
        };
        self.found.running.insert(job, running);
        Ok(())
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
                Role::Worker => {
                    worker = Some(FrameAddress {
                        frame: frame.frame,
                        code: frame.code,
                    });
                    break;
                }
                Role::Context | Role::Other => {}
            }
        }
        let Some(worker) = worker else {
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
        Ok(Some(Worker { frame: worker, job }))
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
        let mut line = Vec::new();
        for item in items.into_iter().take(self.queued_left) {
            self.queued_left -= 1;
            // It is `None` that has workers end.
            if item.is_null() || item == objects.types.none {
                continue;
            }
            if let Some(job) = objects.work_item_future(item)?
                && objects.job_state(job)? == JobState::Queued
            {
                line.push((item, job));
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
    let role = match &*text(objects.offsets.code.qualified_name)? {
        "_worker" => Role::Worker,
        "_WorkItem.run" | "run" => Role::Item,
        "WorkerContext.run" => Role::Context,
        _ => return Ok(Role::Other),
    };
    let file = text(objects.offsets.code.filename)?;
    Ok(if file.ends_with(FILE) { role } else { Role::Other })
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

    fn frame(number: u64, instruction: u64) -> ThreadFrame {
        ThreadFrame {
            frame: Address(number),
            code: Address(number + 1),
            instruction: Address(instruction),
        }
    }

    fn job(frames: &[ThreadFrame]) -> RunningJob {
        RunningJob {
            thread: Address(0x10),
            tid: 7,
            thread_name: Some("reports_0".to_owned()),
            function: Some("work".to_owned()),
            frames: frames.to_vec(),
            left_out: 0,
            is_moving: false,
            pool: None,
        }
    }

    fn look(job: RunningJob) -> Workers {
        Workers {
            running: HashMap::from([(Address(1), job)]),
            ..Workers::default()
        }
    }

    fn agreed(one: RunningJob, other: RunningJob) -> Option<RunningJob> {
        look(one).agreeing(&look(other)).running.remove(&Address(1))
    }

    #[test]
    fn of_a_thread_that_goes_on_the_outer_frames_are_told() {
        let same = job(&[frame(0x20, 5), frame(0x30, 6)]);
        assert_eq!(agreed(same.clone(), same.clone()), Some(same.clone()));
        // It has called on, and come to another place of a function that it is still in.
        let later = job(&[frame(0x50, 1), frame(0x20, 9), frame(0x30, 6)]);
        let both = agreed(same.clone(), later).expect("it is the same job");
        assert!(both.is_moving);
        assert_eq!(both.frames, [frame(0x20, 0), frame(0x30, 6)]);
        let elsewhere = job(&[frame(0x60, 5)]);
        let both = agreed(same.clone(), elsewhere).expect("it is the same job");
        assert!(both.is_moving && both.frames.is_empty());
        let of_another_thread = RunningJob {
            thread: Address(0x18),
            ..same.clone()
        };
        assert_eq!(agreed(same.clone(), of_another_thread), None);
        let renamed = RunningJob {
            thread_name: None,
            ..same.clone()
        };
        assert_eq!(agreed(same, renamed).and_then(|job| job.thread_name), None);
    }

    #[test]
    fn a_place_in_the_line_is_told_where_it_is_the_same_twice() {
        let queued = |before| Workers {
            queued: HashMap::from([(
                Address(1),
                QueuedJob {
                    item: Address(8),
                    before,
                    in_line: 4,
                    pool: None,
                },
            )]),
            ..Workers::default()
        };
        assert_eq!(queued(3).agreeing(&queued(3)).queued.len(), 1);
        assert!(queued(3).agreeing(&queued(2)).queued.is_empty());
    }

    #[test]
    fn of_a_deep_stack_both_ends_are_kept() {
        let frames = |count| (0..count).map(|number| frame(number, 0)).collect::<Vec<_>>();
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
