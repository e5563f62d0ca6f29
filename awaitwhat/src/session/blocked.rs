//! Which event loops of a snapshot do not turn, and in what they are at work instead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use awaitwhat_common::plan::ThreadPlan;

use super::asleep::Polling;
use super::observer::Observer;
use super::rests::Runs;
use super::turns::{Look, Turns};
use crate::findings::{BlockedLoop, Finding, Holder, HolderKind, LONG_TURN};
use crate::memory::{Address, Fault};
use crate::python::event_loop::Overdue;
use crate::snapshot::{Frame, LoopState, Task, TaskState};
use crate::target::{EventLoop, HeldFrame, LoopMoment, Turn};

/// How far two looks have to be apart that show that a loop does not turn.
const APART: Duration = Duration::from_millis(100);

/// The loops of a process from before its tasks are read until after that.
pub(super) struct Watch {
    turns: Turns,
    loops: Vec<Watched>,
}

struct Watched {
    event_loop: EventLoop,
    first: Look,
    /// How often and how long its thread had run by then.
    runs: Option<Runs>,
}

/// A loop that does not turn.
pub(super) struct Blocked {
    event_loop: EventLoop,
    /// For how long it has not turned, and for how long it was in the same callback, at least.
    seconds: f64,
    alone_seconds: f64,
    /// When its turn began, in ns of `CLOCK_MONOTONIC`.
    began: u64,
    /// `None` where it is only known that its thread rests while a task is at work.
    turn: Option<Turn>,
    overdue: Option<Overdue>,
}

impl Watch {
    /// Looks at the loops for the first time.
    pub(super) fn begin(observer: &mut Observer) -> Result<Self, Fault> {
        let mut turns = Turns::new(observer.pid);
        let mut loops = Vec::new();
        for event_loop in observer.loops.running.clone() {
            let first = turns.look(observer, &event_loop)?;
            loops.push(Watched {
                event_loop,
                first,
                runs: Runs::of(observer.pid, event_loop.tid),
            });
        }
        Ok(Self { turns, loops })
    }

    /// What was learnt of the loops.
    pub(super) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Whether the loop of a plan is in the callback in which it was first seen: then none of its tasks has begun or ended a step since.
    pub(super) fn is_in_same_callback(
        &mut self,
        observer: &mut Observer,
        plan: &ThreadPlan,
    ) -> Result<bool, Fault> {
        let its = |it: &&Watched| it.event_loop.id() == plan.loop_id();
        let Some(watched) = self.loops.iter().find(its) else {
            return Ok(false);
        };
        let now = self.turns.look(observer, &watched.event_loop)?;
        Ok(match (&watched.first.moment, &now.moment) {
            (LoopMoment::Turn(first), LoopMoment::Turn(now)) => first.is_same_callback(now),
            _ => false,
        })
    }

    /// How the loops were when they were first seen.
    pub(super) fn loops(&self) -> Vec<LoopState> {
        let of_loop = |watched: &Watched| LoopState {
            tid: watched.event_loop.tid,
            turn_seconds: match watched.first.moment {
                LoopMoment::Polling => Some(0.0),
                LoopMoment::Turn(_) | LoopMoment::Unknown => watched.first.age,
            },
            cpu_seconds: watched.runs.as_ref().and_then(Runs::cpu_seconds),
        };
        self.loops.iter().map(of_loop).collect()
    }

    /// The loops that polled when they were first seen.
    pub(super) fn polling(&self) -> Vec<Polling> {
        let of_loop = |watched: &Watched| {
            let is_polling = watched.first.moment == LoopMoment::Polling;
            Some(Polling {
                tid: watched.event_loop.tid,
                runs: watched.runs.filter(|_| is_polling)?,
                at: watched.first.at,
            })
        };
        self.loops.iter().filter_map(of_loop).collect()
    }

    /// Looks again, and once more at what seems not to turn. A loop that polled at first is not asked again. `is_any_running` says whether a
    /// task was seen at work.
    pub(super) async fn end(
        mut self,
        observer: &mut Observer,
        is_any_running: bool,
    ) -> Result<Vec<Blocked>, Fault> {
        let mut doubtful = Vec::new();
        for watched in std::mem::take(&mut self.loops) {
            match watched.first.moment {
                LoopMoment::Polling => {}
                LoopMoment::Unknown => {
                    let now = Runs::of(observer.pid, watched.event_loop.tid);
                    if is_any_running && watched.runs.is_some() && watched.runs == now {
                        doubtful.push(watched);
                    }
                }
                LoopMoment::Turn(_) => doubtful.extend(self.look_again(observer, watched)?),
            }
        }
        if let Some(latest) = doubtful.iter().map(|it| it.first.at).max() {
            tokio::time::sleep((latest + APART).saturating_duration_since(Instant::now())).await;
        }
        let mut blocked = Vec::new();
        for watched in doubtful {
            blocked.extend(self.conclude(observer, watched)?);
        }
        Ok(blocked)
    }

    /// A loop that was in a turn: `None` where it has not been so for long. What it is compared with later is the first look at the turn.
    fn look_again(&mut self, observer: &mut Observer, watched: Watched) -> Result<Option<Watched>, Fault> {
        let second = self.turns.look(observer, &watched.event_loop)?;
        let is_long = second.age.is_some_and(|age| age > LONG_TURN);
        let is_same = match (&watched.first.moment, &second.moment) {
            (LoopMoment::Turn(first), LoopMoment::Turn(second)) => first.is_same_callback(second),
            _ => false,
        };
        let first = if is_same { watched.first } else { second };
        Ok(is_long.then_some(Watched { first, ..watched }))
    }

    fn conclude(&mut self, observer: &mut Observer, watched: Watched) -> Result<Option<Blocked>, Fault> {
        let Watched {
            event_loop,
            first,
            runs: before,
        } = watched;
        let LoopMoment::Turn(former) = first.moment else {
            let seconds = first.at.elapsed().as_secs_f64();
            let is_still = before.is_some() && Runs::of(observer.pid, event_loop.tid) == before;
            return Ok(is_still.then_some(Blocked {
                event_loop,
                seconds,
                alone_seconds: seconds,
                began: u64::MAX,
                turn: None,
                overdue: None,
            }));
        };
        let last = self.turns.look(observer, &event_loop)?;
        let (LoopMoment::Turn(turn), Some(seconds)) = (last.moment, last.age) else {
            return Ok(None);
        };
        if !former.is_same(&turn) {
            return Ok(None);
        }
        let alone = last.at - first.at;
        Ok(Some(Blocked {
            event_loop,
            seconds,
            alone_seconds: if former.is_same_callback(&turn) {
                alone.as_secs_f64()
            } else {
                0.0
            },
            began: self.turns.nanoseconds(turn.began),
            turn: Some(turn),
            overdue: self.turns.overdue(observer, &event_loop)?,
        }))
    }
}

/// The futures that will be done as soon as one of these loops turns, by loop, and when its turn began.
pub(super) struct DueFutures(HashMap<Address, (u64, HashSet<Address>)>);

impl DueFutures {
    pub(super) fn of(blocked: &[Blocked]) -> Self {
        let futures = |it: &Blocked| {
            it.overdue
                .iter()
                .flat_map(|overdue| overdue.futures.clone())
                .collect()
        };
        let of_loop = |it: &Blocked| (it.event_loop.address, (it.began, futures(it)));
        Self(blocked.iter().map(of_loop).collect())
    }

    /// Whether a task of `event_loop` that waits for `future` could go on, were its loop to turn. It was seen at `time` (ns).
    pub(super) fn has(&self, event_loop: Address, future: Address, time: u64) -> bool {
        let of_loop = self.0.get(&event_loop);
        of_loop.is_some_and(|(began, futures)| *began <= time && futures.contains(&future))
    }
}

/// What is told of `blocked` loops, with their tasks and the coroutine of each.
pub(super) fn findings(
    observer: &mut Observer,
    blocked: Vec<Blocked>,
    tasks: &[Task],
    coroutines: &[Address],
) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    for it in blocked {
        let tid = it.event_loop.tid;
        let holder = match &it.turn {
            Some(turn) => Some(holder(observer, turn, it.alone_seconds, tasks, coroutines)?),
            None => only_running(tasks, tid, it.alone_seconds),
        };
        // Of a loop that tells nothing, a task at work is all that shows that it does not poll.
        let Some(holder) = holder else { continue };
        let is_ready = |task: &&Task| task.tid == Some(tid) && task.state == TaskState::Ready;
        findings.push(Finding::BlockedLoop(BlockedLoop {
            tid,
            seconds: it.seconds,
            holder,
            ready: tasks.iter().filter(is_ready).count(),
            overdue_timers: it.overdue.map(|overdue| overdue.timers),
        }));
    }
    Ok(findings)
}

/// The task of the thread that is at work, if it is the only one.
fn only_running(tasks: &[Task], tid: u32, seconds: f64) -> Option<Holder> {
    let mut running = tasks
        .iter()
        .filter(|task| task.tid == Some(tid) && task.state == TaskState::Running);
    let task = running.next().filter(|_| running.next().is_none())?;
    Some(Holder {
        kind: HolderKind::Task(task.id),
        name: task.name.clone(),
        stack: Arc::clone(&task.stack),
        seconds,
    })
}

fn holder(
    observer: &mut Observer,
    turn: &Turn,
    seconds: f64,
    tasks: &[Task],
    coroutines: &[Address],
) -> Result<Holder, Fault> {
    let (frames, outermost) = held_frames(observer, turn)?;
    let position = coroutines.iter().position(|it| !it.is_null() && *it == outermost);
    let task = position.and_then(|position| tasks.get(position));
    let kind = match task {
        Some(task) => HolderKind::Task(task.id),
        None if outermost.is_null() && !frames.is_empty() => HolderKind::Callback,
        None => HolderKind::Unknown,
    };
    Ok(Holder {
        kind,
        name: task.and_then(|task| task.name.clone()),
        stack: frames.into(),
        seconds,
    })
}

/// What runs above a loop, innermost first, without asyncio's own frames that run it; and the coroutine of the outermost frame, which is a
/// task's, or NULL.
pub(super) fn held_frames(observer: &mut Observer, turn: &Turn) -> Result<(Vec<Frame>, Address), Fault> {
    let objects = observer.interpreter.objects(&observer.memory);
    let codes = &mut observer.names.codes;
    let mut frames = Vec::new();
    for HeldFrame {
        code, instruction, ..
    } in &turn.stack
    {
        frames.push(codes.frame(&objects, *code, *instruction)?);
    }
    let runs_it = |frame: &Frame| is_of_asyncio(frame);
    let own = frames.iter().rev().take_while(|frame| runs_it(frame)).count();
    let kept = frames.len() - own;
    let outermost = kept.checked_sub(1).and_then(|last| turn.stack.get(last));
    let coroutine = outermost.map_or(Address::NULL, |frame| frame.generator);
    frames.truncate(kept);
    if turn.left_out > 0 {
        frames.insert(
            frames.len().min(turn.stack.len() / 2),
            Frame::left_out(Some(turn.left_out)),
        );
    }
    Ok((frames, coroutine))
}

/// Whether a frame is one that runs a callback or a step of a task: `Handle._run`, and those of tasks that are written in Python.
fn is_of_asyncio(frame: &Frame) -> bool {
    let name = frame.function.rsplit('.').next().unwrap_or_default();
    let is_in = |file: &str| frame.file.ends_with(file);
    (is_in("/asyncio/events.py") && name == "_run")
        || (is_in("/asyncio/tasks.py") && (name.starts_with("__step") || name == "__wakeup"))
}
