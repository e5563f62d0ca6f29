//! Records of one pass to a snapshot: marks what was truncated or lost, and never guesses.

use std::sync::Arc;

use awaitwhat_common::event::TaskState as RawState;
use foldhash::{HashMap, HashMapExt as _};

use super::attach_error::AttachError;
use super::blocked::{self, Blocked, DueFutures};
use super::gathering::{Gathering, Named, Visit};
use super::observer::Observer;
use super::{holders, sockets, trio};
use crate::findings;
use crate::graph;
use crate::memory::{Address, Fault, Fragment};
use crate::python::readable;
use crate::python::trio::{TrioReading, TrioVisit};
use crate::reading::edges::{self, Side};
use crate::reading::ends;
use crate::resource::ResourceKind;
use crate::snapshot::{Frame, FutureState, Nursery, Snapshot, Task, TaskState, WaitKind, WaitsOn};

/// Frames of the main thread that are read where no thread runs a loop.
const MAX_THREAD_FRAMES: usize = 32;

/// Puts the passes of all threads together. `is_proven` says that no thread has run since its pass, so that what is read now
/// belongs to what was read then.
pub(super) fn assemble(
    observer: &mut Observer,
    gathered: Vec<Gathering>,
    captured_at: jiff::Timestamp,
    is_proven: bool,
    blocked: Vec<Blocked>,
) -> Result<Snapshot, AttachError> {
    if !is_proven {
        observer.memory.forget();
    }
    let due = DueFutures::of(&blocked);
    let mut span: Option<(u64, u64)> = None;
    let mut tasks = Vec::new();
    let mut seen = Vec::new();
    for mut gathering in gathered {
        observer.losses.torn += gathering.leave_out_former();
        observer.losses.ring_buffer_full += gathering.lost;
        observer.losses.restarts += gathering.restarts;
        observer.losses.opaque += gathering.opaque.len() as u64;
        // Loops are walked one after the other: theirs are parts of one span.
        span = match (span, gathering.span) {
            (Some(all), Some(one)) => Some((all.0.min(one.0), all.1.max(one.1))),
            (all, one) => all.or(one),
        };
        let mut visits = gathering.visits;
        for id in gathering.order {
            let Some(mut visit) = visits.remove(&id) else {
                continue;
            };
            tasks.push(task(observer, id, &mut visit, &due).map_err(FindFault)?);
            seen.push(visit);
        }
    }
    if !is_proven {
        drop_doubtful(observer, &mut tasks, &seen).map_err(FindFault)?;
    }
    join_waits(observer, &mut tasks, &seen);
    if is_proven {
        join_loops(&mut tasks, &seen);
    }
    trio::gather_children(&mut tasks);
    holders::name(&mut tasks, &seen, &observer.losses);
    sockets::name(observer.pid, &mut tasks);
    graph::link(&mut tasks);
    let main_thread = if tasks.is_empty() {
        Vec::new()
    } else {
        idle_main_thread(observer).map_err(FindFault)?
    };
    let coroutines: Vec<Address> = seen.iter().map(|visit| visit.coroutine).collect();
    let findings = blocked::findings(observer, blocked, &tasks, &coroutines).map_err(FindFault)?;
    observer.losses.stale += observer.names.codes.take_unreadable();
    let mut snapshot = Snapshot {
        pid: observer.pid,
        command: observer.process.command().to_owned(),
        python: observer.interpreter.version.to_string(),
        captured_at,
        span_seconds: span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9),
        tasks,
        loops: Vec::new(),
        main_thread,
        findings,
        losses: observer.losses.clone(),
    };
    holders::find_deadlocks(observer, &mut snapshot, &seen, is_proven).map_err(FindFault)?;
    let found = findings::of_tasks(&snapshot.tasks, observer.slow());
    snapshot.findings.extend(found);
    Ok(snapshot)
}

/// Where the main thread is, while no thread runs a loop: tasks of loops that nobody runs are planned with the thread that began first.
fn idle_main_thread(observer: &mut Observer) -> Result<Vec<Frame>, Fault> {
    if !observer.loops.running.is_empty() {
        return Ok(Vec::new());
    }
    let Some(plan) = observer.loops.plans.first() else {
        return Ok(Vec::new());
    };
    let thread = Address(plan.thread_state);
    let (interpreter, memory) = (&observer.interpreter, &observer.memory);
    let found = readable(interpreter.thread_frames(memory, thread, MAX_THREAD_FRAMES))?;
    let objects = interpreter.objects(memory);
    let codes = &mut observer.names.codes;
    let frame = |(code, instruction)| codes.frame(&objects, code, instruction);
    found.unwrap_or_default().into_iter().map(frame).collect()
}

/// A fault that ends everything.
struct FindFault(Fault);

impl From<FindFault> for AttachError {
    fn from(FindFault(fault): FindFault) -> Self {
        Self::Find(fault.into())
    }
}

/// The task of a visit.
fn task(observer: &mut Observer, id: Address, visit: &mut Visit, due: &DueFutures) -> Result<Task, Fault> {
    let name = name(observer, visit)?;
    let chain = observer.names.chains.get(visit.chain);
    let stack = Arc::clone(&chain.stack);
    let trio = trio_task(observer, id, visit)?;
    // That its end is not known counts as that.
    let is_untold = !visit.has_no_end && (visit.named == Named::Changed || visit.is_held_unknown);
    let (state, waits_on) = match visit.state {
        RawState::Waiting if trio.is_none() => waits(observer, visit, &stack, due)?,
        RawState::Waiting => (TaskState::Pending, None),
        RawState::Running => (TaskState::Running, None),
        RawState::Created if trio.is_none() => (TaskState::Ready, None),
        RawState::Created => (TaskState::Pending, None),
    };
    let (trio, waits_on) = match trio {
        Some(reading) => {
            visit.turns = reading.turns;
            let waits_on = reading.waits_on.map(|on| WaitsOn {
                resource: visit.named.take(),
                ..on
            });
            (Some(Box::new(reading.task)), waits_on)
        }
        None => (None, waits_on),
    };
    let Observer { names, losses, .. } = observer;
    losses.waits += u64::from(is_untold && state == TaskState::Pending);
    let name = name.map(|name| names.task_name(name, losses));
    Ok(Task {
        id,
        name,
        tid: observer.thread_of(visit.event_loop),
        state,
        stack,
        waits_on,
        awaited_by: Vec::new(),
        truncated: visit.is_truncated,
        cancellations: visit.cancellations,
        open_groups: Vec::new(),
        trio,
    })
}

/// What only a task of trio has; `None` for a task of asyncio.
fn trio_task(observer: &mut Observer, id: Address, visit: &Visit) -> Result<Option<TrioReading>, Fault> {
    let (Some(frames), Some(types)) = (
        observer.interpreter.frames(&observer.memory, visit.layout),
        observer.interpreter.trio_types(visit.layout),
    ) else {
        return Ok(None);
    };
    let chain = observer.names.chains.get(visit.chain);
    let seen = TrioVisit {
        task: id,
        coroutine: visit.coroutine,
        is_running: visit.state == RawState::Running,
        is_truncated: visit.is_truncated,
        next_send: visit.suspension.fut_waiter,
        stack: &chain.stack,
        frames: &chain.frames,
    };
    let mut reading = readable(frames.trio_task(types, &seen))?;
    let Observer { names, losses, .. } = observer;
    let mut is_whole = false;
    if let Some(reading) = &mut reading {
        is_whole = !reading.is_cut;
        if !names.has_room_for_nurseries(reading.task.nurseries.len()) {
            reading.task.nurseries.clear();
            is_whole = false;
        }
    }
    losses.nurseries += u64::from(!is_whole);
    Ok(reading)
}

/// The name of a task, from what its record has of the object that names it.
fn name(observer: &mut Observer, visit: &Visit) -> Result<Option<String>, Fault> {
    if visit.name.is_null() {
        return Ok(None);
    }
    let objects = observer.interpreter.objects(&observer.memory);
    let name = readable(objects.task_name(Fragment {
        start: visit.name,
        bytes: &visit.name_bytes,
    }))?;
    observer.losses.names += u64::from(name.is_none());
    Ok(name)
}

/// Whether a suspended task of asyncio could go on, and what it waits for; the tasks behind that are still missing.
fn waits(
    observer: &mut Observer,
    visit: &mut Visit,
    stack: &[Frame],
    due: &DueFutures,
) -> Result<(TaskState, Option<WaitsOn>), Fault> {
    let Some(types) = observer.interpreter.future_types(visit.layout) else {
        return Ok((TaskState::Pending, None));
    };
    let objects = observer.interpreter.objects(&observer.memory);
    let (kinds, suspension) = (&mut observer.names.kinds, &visit.suspension);
    let is_due = due.has(visit.event_loop, suspension.fut_waiter, visit.time);
    let state = match readable(kinds.is_ready(objects, types, suspension))? {
        _ if is_due => TaskState::Ready,
        _ if visit
            .python_state
            .is_some_and(|state| state != FutureState::Pending) =>
        {
            TaskState::Ready
        }
        Some(true) => TaskState::Ready,
        Some(false) | None => TaskState::Pending,
    };
    if visit.has_no_end {
        return Ok((state, None));
    }
    let end = readable(kinds.end(objects, types, suspension, stack.first()))?;
    observer.losses.edges += u64::from(end.is_none());
    let waits_on = end.flatten().map(|end| WaitsOn {
        kind: end.kind,
        id: end.object,
        type_name: end.type_name,
        state: end.state.or(visit.python_state),
        tasks: Vec::new(),
        resource: visit.named.take(),
    });
    Ok((state, waits_on))
}

/// Says of every task of asyncio which others it waits for.
fn join_waits(observer: &mut Observer, tasks: &mut [Task], visits: &[Visit]) {
    let is_waiting = |task: &Task| task.trio.is_none() && task.state == TaskState::Pending;
    let side = |(task, visit): (&Task, &Visit)| {
        let waits_on = task.waits_on.as_ref().filter(|_| is_waiting(task));
        Side {
            task: task.id,
            turn: visit.turn,
            time: visit.time,
            again: visit.again.clone(),
            end: waits_on.and_then(|on| match on.kind {
                WaitKind::Task => Some(edges::End::Task(on.id)),
                WaitKind::Other => None,
                _ => Some(edges::End::Future(on.id)),
            }),
            group: waits_on.and_then(|_| ends::group(&task.stack, visit.first_variables)),
            open_groups: if task.trio.is_none() {
                visit.groups.clone().into()
            } else {
                Box::default()
            },
            links: visit.links.clone(),
            cut_callbacks: visit.cut_callbacks,
        }
    };
    let sides: Vec<Side> = tasks.iter().zip(visits).map(side).collect();
    let joined = edges::join(&sides);
    observer.losses.edges += joined.unknown_awaiters;
    for (task, found) in tasks.iter_mut().zip(joined.waits) {
        let group = |(id, tasks)| Nursery { id, tasks };
        task.open_groups = found.open.into_iter().map(group).collect();
        if let Some(waits_on) = &mut task.waits_on {
            waits_on.tasks = found.tasks;
            observer.losses.edges += u64::from(found.is_incomplete);
        }
    }
}

/// Says of tasks that wait for a task of another loop (`asyncio.run_coroutine_threadsafe`) which one that is: both refer to the future between them,
/// and no thread has run since both were read.
fn join_loops(tasks: &mut [Task], visits: &[Visit]) {
    let other_end = |(task, visit): (&Task, &Visit)| {
        let resource = task.waits_on.as_ref()?.resource.as_deref()?;
        let is_task = !visit.job.is_null() && resource.kind == ResourceKind::Task;
        Some((task.id, resource.id.filter(|_| is_task)?, visit.job))
    };
    let mut awaiters: HashMap<Address, Vec<(Address, Address)>> = HashMap::new();
    for (awaiter, awaited, job) in tasks.iter().zip(visits).filter_map(other_end) {
        awaiters.entry(awaited).or_default().push((awaiter, job));
    }
    let mut edges: HashMap<Address, Address> = HashMap::new();
    for (task, visit) in tasks.iter().zip(visits) {
        let known = awaiters.get(&task.id).into_iter().flatten();
        let proven = known.filter(|(_, job)| visit.links.contains(job));
        edges.extend(proven.map(|(awaiter, _)| (*awaiter, task.id)));
    }
    for task in tasks {
        if let (Some(waits_on), Some(awaited)) = (&mut task.waits_on, edges.get(&task.id))
            && !waits_on.tasks.contains(awaited)
        {
            waits_on.tasks.push(*awaited);
        }
    }
}

/// The target went on while it was read what tasks of trio are parked in: that of tasks that have moved meanwhile is taken back.
fn drop_doubtful(observer: &mut Observer, tasks: &mut [Task], visits: &[Visit]) -> Result<(), Fault> {
    observer.memory.forget();
    let interpreter = &observer.interpreter;
    for (task, visit) in tasks.iter_mut().zip(visits) {
        let (Some(types), Some(frames)) = (
            interpreter.trio_types(visit.layout),
            interpreter.frames(&observer.memory, visit.layout),
        ) else {
            continue;
        };
        let now = readable(interpreter.task_fields(&observer.memory, visit.layout, task.id))?;
        let turns = readable(frames.trio_turns(types, task.id))?.flatten();
        let is_same_turn = now.is_some_and(|now| {
            (now.task_type, now.name, now.event_loop, now.fut_waiter)
                == (
                    visit.suspension.task_type,
                    visit.name,
                    visit.event_loop,
                    visit.suspension.fut_waiter,
                )
        });
        if !(is_same_turn && turns.is_some() && turns == visit.turns) {
            trio::take_back(task);
        }
    }
    Ok(())
}
