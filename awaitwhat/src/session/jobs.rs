//! Which thread works at what a task waits for, or how long the line before it is.
//!
//! Threads are looked at all at once, when a pass has tasks that wait for jobs. They may run meanwhile: so what is said of a thread holds where
//! no thread has run, or else where two looks agree.

use std::collections::HashMap;

use awaitwhat_common::event::TaskState as RawState;

use super::gathering::{Gathering, Named, Visit};
use super::observer::Observer;
use super::process::ThreadIds;
use super::rests::Runs;
use super::waits::Suspended;
use crate::memory::{Address, Fault, Memory as _};
use crate::processes::Processes;
use crate::python::executor::{Chained, JobState};
use crate::python::{ReadError, readable};
use crate::resource::{Detail, Resource, ResourceKind, ThreadState, WorkerThread};
use crate::snapshot::Frame;
use crate::target::{MAX_THREADS, Pool, QueuedJob, RunningJob, Workers};

/// Times that threads are looked at which do not rest. A thread may be in the middle of a change each time.
const MAX_LOOKS: usize = 6;

/// Finds the jobs that tasks of `pass` wait for: those whose functions no rule knows, or one that says so.
///
/// As with [`super::waits::read`], it holds once it is proven that the tasks had no turn meanwhile.
pub(super) fn find(observer: &Observer, pass: &mut Gathering) -> Result<(), Fault> {
    let mut chained = Chained::default();
    // In the order of the registry, in which tasks lie near each other.
    for id in &pass.order {
        let Some(visit) = pass.visits.get_mut(id) else {
            continue;
        };
        let may_be_job = match &visit.named {
            Named::ByNoRule | Named::Unfit => true,
            Named::As(resource) => matches!(resource.kind, ResourceKind::Dns | ResourceKind::Future),
            Named::No | Named::Changed => false,
        };
        if visit.state == RawState::Waiting && may_be_job {
            let job = readable(job_of(observer, visit, &mut chained))?;
            visit.job = job.flatten().unwrap_or_default();
        }
    }
    Ok(())
}

/// The future of the job that a task waits for, if it waits for one: that of `concurrent.futures`, or, of anyio's, its own.
fn job_of(observer: &Observer, visit: &Visit, chained: &mut Chained) -> Result<Option<Address>, ReadError> {
    job_behind(observer, &visit.suspended(), visit.layout, chained)
}

/// The same of a task that was met by a trace.
pub(super) fn job_behind(
    observer: &Observer,
    task: &Suspended,
    layout: u32,
    chained: &mut Chained,
) -> Result<Option<Address>, ReadError> {
    let future = task.awaited();
    let Some(types) = observer.interpreter.future_types(layout) else {
        return Ok(None);
    };
    if is_in_worker_of_anyio(task.stack(observer)) {
        return Ok(Some(future));
    }
    let objects = observer.interpreter.objects(&observer.memory);
    objects.job_behind(future, types, chained)
}

/// Whether a chain ends where anyio waits for one of its worker threads.
fn is_in_worker_of_anyio(stack: &[Frame]) -> bool {
    // A future that is written in Python has a frame of its own.
    stack.iter().take(2).any(|frame| {
        frame.file.ends_with("/anyio/_backends/_asyncio.py")
            && frame.function.rsplit('.').next() == Some("run_sync_in_worker_thread")
    })
}

/// Has what is known of the jobs be told that tasks of `pass` wait for, and returns whether there are any. What was read of the target's memory
/// before is forgotten.
///
/// It holds once it is proven that the tasks still wait for them: see [`doubt`].
pub(super) fn tell(observer: &mut Observer, pass: &mut Gathering) -> Result<bool, Fault> {
    let wanted: Vec<Address> = pass
        .visits
        .values()
        .map(|visit| visit.job)
        .filter(|job| !job.is_null())
        .collect();
    if wanted.is_empty() {
        return Ok(false);
    }
    let jobs = Jobs::look(observer, &wanted)?;
    let mut chained = Chained::default();
    for visit in pass.visits.values_mut().filter(|visit| !visit.job.is_null()) {
        let mut resource = match std::mem::take(&mut visit.named) {
            Named::As(resource) if resource.kind == ResourceKind::Dns => resource,
            _ => Box::new(Resource::of_kind(ResourceKind::Thread)),
        };
        jobs.tell(observer, visit.job, &mut chained, &mut resource)?;
        visit.named = Named::As(resource);
    }
    Ok(true)
}

/// Takes back what is told of the jobs of tasks that may have moved since they were visited. What was read of the target's memory before is
/// forgotten.
pub(super) fn doubt(observer: &Observer, pass: &mut Gathering) -> Result<(), Fault> {
    observer.memory.forget();
    let mut chained = Chained::default();
    for (id, visit) in &mut pass.visits {
        if !visit.job.is_null() && !waits_still(observer, *id, visit, &mut chained)? {
            visit.job = Address::NULL;
            visit.named = Named::Changed;
        }
    }
    Ok(())
}

/// Whether a task waits for the same job as when it was visited. What tells it from another one that has its address is what it is called.
fn waits_still(
    observer: &Observer,
    task: Address,
    visit: &Visit,
    chained: &mut Chained,
) -> Result<bool, Fault> {
    let (interpreter, memory) = (&observer.interpreter, &observer.memory);
    let mut name = vec![0; visit.name_bytes.len()];
    let now = readable(
        memory
            .read(visit.name, &mut name)
            .map_err(ReadError::from)
            .and_then(|()| {
                let fields = interpreter.task_fields(memory, visit.layout, task)?;
                Ok((fields, job_of(observer, visit, chained)?))
            }),
    )?;
    Ok(now.is_some_and(|(fields, job)| {
        job == Some(visit.job)
            && !name.is_empty()
            && *name == *visit.name_bytes
            && (fields.name, fields.fut_waiter) == (visit.name, visit.suspension.fut_waiter)
            && (fields.task_type, fields.event_loop) == (visit.suspension.task_type, visit.event_loop)
    }))
}

/// The jobs of one process, and its threads.
struct Jobs {
    workers: Workers,
    threads: Option<ThreadIds>,
    stills: HashMap<u32, Still>,
}

/// What is compared of a thread to find out whether it has run.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Still {
    /// The kernel's letter ([`Processes::thread_state`]).
    state: Option<char>,
    runs: Option<Runs>,
}

impl Still {
    /// Of all threads of a process, by what they are called outside.
    fn of_all(pid: u32, tids: &[u32]) -> HashMap<u32, Self> {
        let processes = Processes::default();
        let of_thread = |&tid: &u32| {
            let still = Self {
                state: processes.thread_state(pid, tid),
                runs: Runs::of(pid, tid),
            };
            (tid, still)
        };
        tids.iter().take(MAX_THREADS).map(of_thread).collect()
    }

    /// Whether the thread certainly does not run at this moment. Of one that does, the kernel counts later.
    fn rests(&self) -> bool {
        self.runs.is_some() && !matches!(self.state, None | Some('R'))
    }
}

impl Jobs {
    /// Looks at all threads of the process, until it is known which of them work at those of `wanted` that are at work.
    fn look(observer: &Observer, wanted: &[Address]) -> Result<Self, Fault> {
        let threads = observer.process.thread_ids().ok();
        let tids: Vec<u32> = threads.iter().flat_map(ThreadIds::all_outer).collect();
        let before = Still::of_all(observer.pid, &tids);
        let first = look_once(observer)?;
        let stills = Still::of_all(observer.pid, &tids);
        let have_rested = tids.len() <= MAX_THREADS
            && !tids.is_empty()
            && stills == before
            && before.values().all(Still::rests);
        let workers = if have_rested {
            first
        } else {
            look_until_agreed(observer, first, wanted)?
        };
        Ok(Self {
            workers,
            threads,
            stills,
        })
    }

    /// Says of `resource` what is known of the job whose future of `concurrent.futures` is at `job`.
    fn tell(
        &self,
        observer: &mut Observer,
        job: Address,
        chained: &mut Chained,
        resource: &mut Resource,
    ) -> Result<(), Fault> {
        let objects = observer.interpreter.objects(&observer.memory);
        if resource.kind == ResourceKind::Thread {
            resource.id = Some(job);
            resource.words = "job".into();
        }
        if let Some(running) = self.workers.running.get(&job) {
            resource.thread = Some(Box::new(self.thread(observer, running)?));
            tell_function(running.function.as_deref(), resource);
            tell_pool(running.pool.as_ref(), resource);
            tell_state(JobState::Running, resource);
            return Ok(());
        }
        if let Some(queued) = self.workers.queued.get(&job) {
            let function = readable(objects.work_item_function(queued.item))?.flatten();
            tell_function(function.as_deref(), resource);
            tell_place(queued, resource);
            tell_state(JobState::Queued, resource);
            return Ok(());
        }
        if let Some(task) = readable(objects.task_behind(job, chained))?.flatten() {
            // What another loop runs (`asyncio.run_coroutine_threadsafe`).
            resource.kind = ResourceKind::Task;
            resource.words = "task of another loop".into();
            resource.id = Some(task);
            resource.operation = Some("run_coroutine_threadsafe".into());
            return Ok(());
        }
        let state = readable(objects.job_state(job))?.unwrap_or(JobState::Unknown);
        tell_state(state, resource);
        Ok(())
    }

    fn thread(&self, observer: &mut Observer, running: &RunningJob) -> Result<WorkerThread, Fault> {
        let outer = self
            .threads
            .as_ref()
            .map_or(0, |threads| threads.outer(running.tid));
        let objects = observer.interpreter.objects(&observer.memory);
        let codes = &mut observer.names.codes;
        let mut stack = Vec::new();
        for frame in &running.frames {
            let mut shown = codes.frame(&objects, frame.code, frame.instruction)?;
            if running.is_moving && frame.instruction.is_null() {
                shown.line = 0;
            }
            stack.push(shown);
        }
        if running.left_out > 0 {
            stack.insert(stack.len() / 2, Frame::left_out(Some(running.left_out)));
        }
        let letter = self.stills.get(&outer).and_then(|still| still.state);
        Ok(WorkerThread {
            tid: (outer != 0).then_some(outer),
            name: running.thread_name.as_deref().map(Into::into),
            state: letter.and_then(ThreadState::of_letter),
            stack: stack.into(),
            is_moving: running.is_moving,
        })
    }
}

/// What two of several looks agree about.
fn look_until_agreed(observer: &Observer, first: Workers, wanted: &[Address]) -> Result<Workers, Fault> {
    let mut looks = vec![first];
    let mut agreed = Workers::default();
    while looks.len() < MAX_LOOKS {
        let next = look_once(observer)?;
        let earlier = looks.iter().cloned();
        earlier.for_each(|earlier| agreed.add(earlier.agreeing(&next)));
        looks.push(next);
        let objects = observer.interpreter.objects(&observer.memory);
        let mut is_missing = false;
        for job in wanted {
            is_missing |= match readable(objects.job_state(*job))? {
                Some(JobState::Running) => !agreed.running.contains_key(job),
                Some(JobState::Queued) => looks.len() == 2 && !agreed.queued.contains_key(job),
                Some(JobState::Done | JobState::Unknown) | None => false,
            };
        }
        if !is_missing {
            break;
        }
    }
    Ok(agreed)
}

fn look_once(observer: &Observer) -> Result<Workers, Fault> {
    observer.memory.forget();
    let found = readable(observer.interpreter.workers(&observer.memory))?;
    Ok(found.unwrap_or_default())
}

fn tell_state(state: JobState, resource: &mut Resource) {
    let text = match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Unknown => return,
    };
    note(resource, "state", text);
}

/// Of a thread's job, the function is what it is called.
fn tell_function(function: Option<&str>, resource: &mut Resource) {
    let Some(function) = function else { return };
    note(resource, "function", function);
}

fn tell_pool(pool: Option<&Pool>, resource: &mut Resource) {
    let Some(pool) = pool else { return };
    if let Some(prefix) = &pool.prefix {
        note(resource, "pool", prefix);
    }
    resource.limit = pool.size.and_then(|size| i64::try_from(size).ok());
}

fn tell_place(queued: &QueuedJob, resource: &mut Resource) {
    resource.position = Some(queued.before.saturating_add(1));
    resource.waiters = Some(queued.in_line);
    tell_pool(queued.pool.as_ref(), resource);
}

fn note(resource: &mut Resource, name: &str, text: &str) {
    resource.detail.push((name.into(), Detail::Text(text.into())));
}
