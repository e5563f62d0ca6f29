//! Why tasks do not go on: from each to what it waits for, through other tasks and through those who hold what it wants.
//!
//! A line says what one task waits for. The lines below it are about the tasks that this depends on, indented where they are several. The
//! last one is the cause, or says where knowledge ends.

use std::collections::HashMap;
use std::io::{self, Write};

use super::escape::fitted;
use super::style::{FAINT, TASK, WARNING, styled};
use super::tree::location;
use super::{findings, names, tree, waits};
use crate::findings::Finding;
use crate::graph::AwaitGraph;
use crate::memory::Address;
use crate::origin;
use crate::resource::{Holding, Resource, ResourceKind};
use crate::snapshot::{Frame, FutureState, Snapshot, Task, TaskState, WaitKind, WaitsOn};

/// Lines about one task that was asked for.
const MAX_LINES: usize = 200;
/// Different looking tasks, of those that one waits for, that are told.
const MAX_BRANCHES: usize = 4;
/// Indentations inside each other.
const MAX_INDENT: usize = 12;
/// Columns that the name of a function may take.
const FUNCTION_WIDTH: usize = 80;

/// Writes why the tasks at `positions` of a snapshot do not go on, one after the other.
///
/// # Errors
/// When `output` fails.
pub fn write(snapshot: &Snapshot, positions: &[usize], output: &mut impl Write) -> io::Result<()> {
    let graph = AwaitGraph::new(&snapshot.tasks);
    for (number, position) in positions.iter().enumerate() {
        if number > 0 {
            writeln!(output)?;
        }
        let mut why = Why::new(snapshot, &graph);
        why.tell_from(*position, positions.len() > 1);
        for line in why.lines {
            writeln!(output, "{line}")?;
        }
    }
    Ok(())
}

/// What is told of one task that was asked for: the first step is about it, and those behind are about the tasks that it depends on.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub steps: Vec<Step>,
    /// There is more than was told.
    pub is_cut: bool,
}

/// What is told of one task.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The task's position in the snapshot; how many look like it; and how it comes to be told.
    pub position: usize,
    pub others: usize,
    pub lead: Lead,
    /// The place among the steps of the one that depends on it.
    pub parent: Option<usize>,
    /// What it does, in words; nothing where it was told of before.
    pub text: Option<String>,
    pub repetition: Option<Repetition>,
    /// What is to be said where it depends on no other.
    pub end: Vec<String>,
}

/// A task that is come to once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Repetition {
    /// Another step tells of it.
    ToldAbove,
    /// It depends on itself through those that lead here.
    ClosesCircle,
    /// The same, and none of them can go on.
    ClosesDeadlock,
}

/// What is to be told of the tasks at `positions` of a snapshot, of one after the other.
pub(crate) fn answers(snapshot: &Snapshot, positions: &[usize]) -> Vec<Answer> {
    let graph = AwaitGraph::new(&snapshot.tasks);
    let answer = |position: &usize| {
        let mut why = Why::new(snapshot, &graph);
        let is_cut = !why.tell_from(*position, false) | why.leaves_out;
        Answer {
            steps: why.steps,
            is_cut,
        }
    };
    positions.iter().map(answer).collect()
}

/// Where knowledge ends.
const UNKNOWN_END: &str = "No task is known that it depends on.";

/// How a task comes to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lead {
    AskedFor,
    Awaited,
    Holds,
    /// It holds a part of it.
    HasOne,
}

/// A task, or several that look the same, still to be told.
struct Ahead {
    position: usize,
    /// How many look like it.
    others: usize,
    lead: Lead,
    indent: usize,
    /// The place among those told of the one that depends on it.
    parent: Option<usize>,
}

struct Why<'a> {
    snapshot: &'a Snapshot,
    graph: &'a AwaitGraph,
    by_id: waits::ById<'a>,
    positions: HashMap<Address, usize>,
    /// What was told, in order: the position of the task, and the place here of the one that depends on it.
    told: Vec<(usize, Option<usize>)>,
    /// The step of each that was told.
    step_of: Vec<usize>,
    steps: Vec<Step>,
    lines: Vec<String>,
    /// Of some tasks that one waits for nothing is told.
    leaves_out: bool,
}

impl<'a> Why<'a> {
    fn new(snapshot: &'a Snapshot, graph: &'a AwaitGraph) -> Self {
        let tasks = &snapshot.tasks;
        Self {
            snapshot,
            graph,
            by_id: tasks.iter().map(|task| (task.id, task)).collect(),
            positions: (0..)
                .zip(tasks)
                .map(|(position, task)| (task.id, position))
                .collect(),
            told: Vec::new(),
            step_of: Vec::new(),
            steps: Vec::new(),
            lines: Vec::new(),
            leaves_out: false,
        }
    }

    /// Tells why one task does not go on; returns whether that is all.
    fn tell_from(&mut self, position: usize, is_one_of_several: bool) -> bool {
        let mut stack = vec![Ahead {
            position,
            others: 0,
            lead: Lead::AskedFor,
            indent: 0,
            parent: None,
        }];
        while let Some(ahead) = stack.pop() {
            if self.lines.len() >= MAX_LINES {
                self.say(ahead.indent, "… and so on: `awaitwhat tree` shows all of it.");
                return false;
            }
            let id = is_one_of_several && ahead.lead == Lead::AskedFor;
            let next = self.tell(&ahead, id);
            stack.extend(next.into_iter().rev());
        }
        true
    }

    fn say(&mut self, indent: usize, text: &str) {
        let indent = "  ".repeat(indent.min(MAX_INDENT));
        self.lines.push(format!("{indent}{text}"));
    }

    /// Says what one task waits for. Returns the tasks that this depends on.
    fn tell(&mut self, ahead: &Ahead, with_id: bool) -> Vec<Ahead> {
        let snapshot = self.snapshot;
        let Some(task) = snapshot.tasks.get(ahead.position) else {
            return Vec::new();
        };
        let mut who = styled(TASK, names::name(task)).to_string();
        if with_id {
            who += &format!(" ({})", task.id);
        }
        if ahead.others > 0 {
            who += &format!(" (and {} like it)", ahead.others);
        }
        match ahead.lead {
            Lead::Holds => who += " holds it, and",
            Lead::HasOne => who += " has one, and",
            Lead::AskedFor | Lead::Awaited => {}
        }
        if let Some(before) = self.told.iter().position(|(told, _)| *told == ahead.position) {
            let repetition = if !self.leads_to(before, ahead.parent) {
                Repetition::ToldAbove
            } else if self.is_stuck(ahead.position) {
                Repetition::ClosesDeadlock
            } else {
                Repetition::ClosesCircle
            };
            let text = match repetition {
                Repetition::ToldAbove => "is told of above".to_owned(),
                Repetition::ClosesCircle => "closes the circle".to_owned(),
                Repetition::ClosesDeadlock => {
                    styled(WARNING, "closes the circle: none of its tasks can go on").to_string()
                }
            };
            self.say(ahead.indent, &format!("{who} {text}."));
            self.step(ahead, None, Some(repetition));
            return Vec::new();
        }
        self.told.push((ahead.position, ahead.parent));
        let place = place(task).map(|place| format!(", in {}", styled(FAINT, place)));
        let does = self.does(task);
        self.say(
            ahead.indent,
            &format!("{who} {does}{}.", place.unwrap_or_default()),
        );
        self.step_of.push(self.steps.len());
        self.step(ahead, Some(does), None);
        let (next, left_out) = self.next(task, ahead);
        if left_out > 0 {
            self.leaves_out = true;
            let text = format!("Of those that it waits for, {left_out} that look otherwise are not told of.");
            self.say(ahead.indent, &text);
        }
        if next.is_empty() {
            let end = self.end(task);
            end.iter().for_each(|line| self.say(ahead.indent, line));
            if let Some(step) = self.steps.last_mut() {
                step.end = end;
            }
        }
        next
    }

    fn step(&mut self, ahead: &Ahead, text: Option<String>, repetition: Option<Repetition>) {
        self.steps.push(Step {
            position: ahead.position,
            others: ahead.others,
            lead: ahead.lead,
            parent: ahead.parent.and_then(|parent| self.step_of.get(parent).copied()),
            text,
            repetition,
            end: Vec::new(),
        });
    }

    /// Whether what was told at `place` leads to what was told at `from`.
    fn leads_to(&self, place: usize, from: Option<usize>) -> bool {
        let mut at = from;
        while let Some(here) = at {
            if here == place {
                return true;
            }
            at = self.told.get(here).and_then(|(_, parent)| *parent);
        }
        false
    }

    /// Whether a task belongs to a deadlock that was found, or to a cycle of tasks that await each other.
    fn is_stuck(&self, position: usize) -> bool {
        let id = self.snapshot.tasks.get(position).map(|task| task.id);
        let is_in = |finding: &Finding| match finding {
            Finding::Deadlock(deadlock) => {
                let mut tasks = deadlock.tasks.iter();
                let positions = tasks.clone().map(|it| self.positions.get(&it.task).copied());
                tasks.any(|it| Some(it.task) == id) && self.are_for_good(positions)
            }
            Finding::BlockedLoop(_)
            | Finding::UsedUp(_)
            | Finding::CancelledButWaits(_)
            | Finding::SlowWait(_)
            | Finding::NeverWoken(_) => false,
        };
        let is_around = |cycle: &Vec<usize>| {
            cycle.contains(&position) && self.are_for_good(cycle.iter().map(|it| Some(*it)))
        };
        self.snapshot.findings.iter().any(is_in) || self.graph.cycles().iter().any(is_around)
    }

    /// Whether no timeout ends any of these waits. Of a task that awaits another one itself it is not known, so that it is not claimed.
    fn are_for_good(&self, mut positions: impl Iterator<Item = Option<usize>>) -> bool {
        positions.all(|position| {
            let task = position.and_then(|it| self.snapshot.tasks.get(it));
            let wait = task.and_then(|it| it.waits_on.as_ref()?.resource.as_deref());
            wait.is_some_and(|wait| wait.deadline_ns.is_none())
        })
    }

    /// What a task does, in words.
    fn does(&self, task: &Task) -> String {
        match (task.state, &task.waits_on) {
            (TaskState::Running, _) => "is running".to_owned(),
            (TaskState::Ready, on) => match on.as_ref().and_then(|on| on.state) {
                Some(FutureState::Done) => {
                    "could go on, as what it waited for is done, and waits for its turn".to_owned()
                }
                Some(FutureState::Cancelled) => {
                    "could go on, as what it waited for was cancelled, and waits for its turn".to_owned()
                }
                Some(FutureState::Pending) | None => "could go on, and waits for its turn".to_owned(),
            },
            (TaskState::Pending, None) => "waits for something that could not be told".to_owned(),
            (TaskState::Pending, Some(on)) => {
                let resource = on.resource.as_deref();
                let what = resource.and_then(|it| waits::sentence(&[it], &self.by_id));
                what.unwrap_or_else(|| self.awaits(on))
            }
        }
    }

    /// What a task waits for, where no rule says so.
    fn awaits(&self, on: &WaitsOn) -> String {
        let known = on.tasks.iter().filter_map(|id| self.by_id.get(id).copied());
        match (on.kind, names::names(known)) {
            (WaitKind::Task, name) if !name.is_empty() => format!("waits for task {name}"),
            _ => tree::wait_line(on, false).unwrap_or_else(|| "waits".to_owned()),
        }
    }

    /// The tasks that a task depends on, those of deadlocks first, and of how many more nothing is told.
    fn next(&self, task: &Task, ahead: &Ahead) -> (Vec<Ahead>, usize) {
        let Some(on) = task
            .waits_on
            .as_ref()
            .filter(|_| task.state == TaskState::Pending)
        else {
            return (Vec::new(), 0);
        };
        let holding = on.resource.as_ref().map(|resource| &resource.holding);
        let is_of_kind = |kind| on.resource.as_ref().is_some_and(|it| it.kind == kind);
        let (is_pool, is_query) = (is_of_kind(ResourceKind::Pool), is_of_kind(ResourceKind::Query));
        let (ids, lead) = match holding {
            Some(Holding::Tasks { tasks, .. }) if is_pool => (tasks, Lead::HasOne),
            Some(Holding::Tasks { tasks, .. }) => (tasks, Lead::Holds),
            // What else it awaits is a part of how its library waits.
            _ if is_pool || is_query => return (Vec::new(), 0),
            _ => (&on.tasks, Lead::Awaited),
        };
        let mut positions: Vec<usize> = ids
            .iter()
            .filter_map(|id| self.positions.get(id).copied())
            .collect();
        positions.sort_by_key(|position| !self.is_stuck(*position));
        let mut groups: Vec<(usize, usize)> = Vec::new();
        let mut left_out = 0;
        for position in positions {
            let shape = self.graph.shape(position);
            let known = groups
                .iter()
                .position(|(first, _)| self.graph.shape(*first) == shape);
            match known {
                Some(known) => groups[known].1 += 1,
                None if groups.len() < MAX_BRANCHES => groups.push((position, 0)),
                None => left_out += 1,
            }
        }
        let indent = ahead.indent + usize::from(groups.len() > 1);
        let parent = self.told.len().checked_sub(1);
        let ahead = |(position, others)| Ahead {
            position,
            others,
            lead,
            indent,
            parent,
        };
        (groups.into_iter().map(ahead).collect(), left_out)
    }

    /// What is to be said where a task depends on no other.
    fn end(&self, task: &Task) -> Vec<String> {
        match task.state {
            TaskState::Running => Vec::new(),
            TaskState::Ready => {
                let holds_up = |finding: &&Finding| match finding {
                    Finding::BlockedLoop(blocked) => Some(blocked.tid) == task.tid,
                    Finding::NeverWoken(never_woken) => Some(never_woken.tid) == task.tid,
                    Finding::Deadlock(_)
                    | Finding::UsedUp(_)
                    | Finding::CancelledButWaits(_)
                    | Finding::SlowWait(_) => false,
                };
                let found = self.snapshot.findings.iter().filter(holds_up);
                found.map(|it| format!("{}.", findings::describe(it))).collect()
            }
            TaskState::Pending => {
                let resource = task.waits_on.as_ref().and_then(|on| on.resource.as_deref());
                vec![resource.map_or(UNKNOWN_END, end_of).to_owned()]
            }
        }
    }
}

/// The innermost frame of the program itself.
fn place(task: &Task) -> Option<String> {
    place_of(&task.stack)
}

/// The innermost frame of the program itself, of a stack, as one text.
pub(super) fn place_of(stack: &[Frame]) -> Option<String> {
    let frame = stack.get(origin::await_point(stack))?;
    let function = fitted(&frame.function, FUNCTION_WIDTH);
    Some(format!(
        "{function} ({})",
        location(frame.shown_file(), frame.line)
    ))
}

/// The same, without the folders that its file is in.
pub(super) fn short_place_of(stack: &[Frame]) -> Option<String> {
    let frame = stack.get(origin::await_point(stack))?;
    let file = frame.shown_file();
    let name = file.rsplit('/').next().unwrap_or(file);
    let function = fitted(&frame.function, FUNCTION_WIDTH);
    Some(format!("{function} ({})", location(name, frame.line)))
}

/// How a wait that depends on no task ends.
fn end_of(resource: &Resource) -> &'static str {
    match (&resource.holding, resource.deadline_ns) {
        (Holding::Unknown, _) if resource.kind == ResourceKind::Pool => {
            "Who has its connections is not known: no task that could be read has one in a block or in a variable."
        }
        (Holding::Unknown, _) => {
            "Who holds it is not known: no task that could be read is inside of its `async with` block."
        }
        (Holding::OnlyWaiters, _) => "No task is left that could let go of it.",
        (_, Some(0..)) => "It goes on when that time is over.",
        (_, Some(_)) => "That time is over: its event loop has not come to it yet.",
        _ => match resource.kind {
            ResourceKind::Event => "Which task will set it cannot be told.",
            ResourceKind::Condition => "Which task will notify it cannot be told.",
            ResourceKind::Queue | ResourceKind::Channel => "Which task is at its other end cannot be told.",
            ResourceKind::Stream
            | ResourceKind::Socket
            | ResourceKind::Connect
            | ResourceKind::Dns
            | ResourceKind::Listener
            | ResourceKind::Process
            | ResourceKind::Pipe
            | ResourceKind::Signal
            | ResourceKind::Thread => "That comes from outside of the event loop.",
            ResourceKind::Query => "It goes on when the server answers.",
            _ => UNKNOWN_END,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{BlockedLoop, Deadlock, Deadlocked, Holder, HolderKind};
    use crate::testing::{HOSTILE, frame, snapshot, task};

    fn said(tasks: Vec<Task>, positions: &[usize], findings: Vec<Finding>) -> String {
        let mut snapshot = snapshot(tasks);
        snapshot.findings = findings;
        let mut output = Vec::new();
        write(&snapshot, positions, &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    fn at(id: u64, name: &str, line: u32) -> Task {
        task(id, name, &[frame("work", "/srv/app.py", line)])
    }

    fn wants(mut task: Task, resource: Resource) -> Task {
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(resource));
        }
        task
    }

    fn lock(label: &str, holding: Holding) -> Resource {
        Resource {
            id: Some(Address(0xa0)),
            label: Some(label.into()),
            held: Some(true),
            holding,
            ..Resource::of_kind(ResourceKind::Lock)
        }
    }

    fn by(tasks: &[u64]) -> Holding {
        Holding::Tasks {
            tasks: tasks.iter().map(|id| Address(*id)).collect(),
            are_all: true,
        }
    }

    #[test]
    fn from_a_task_to_the_one_that_holds_what_it_wants() {
        let sleep = Resource {
            words: "sleep".into(),
            deadline_ns: Some(3_541_000_000_000),
            ..Resource::of_kind(ResourceKind::Timer)
        };
        let tasks = vec![
            at(1, "main", 3).waiting_for(&[2, 3, 4]),
            wants(at(2, "handler-3", 61), lock("self.pool_lock", by(&[5]))),
            wants(at(3, "handler-4", 61), lock("self.pool_lock", by(&[5]))),
            wants(at(4, "other", 70), lock("self.log", Holding::Unknown)),
            wants(at(5, "forgetful", 12), sleep),
        ];
        insta::assert_snapshot!(said(tasks.clone(), &[1], Vec::new()), @"
        handler-3 waits for lock self.pool_lock (held by forgetful), in work (/srv/app.py:61).
        forgetful holds it, and sleeps (3541 s left), in work (/srv/app.py:12).
        It goes on when that time is over.
        ");
        insta::assert_snapshot!(said(tasks, &[0, 4], Vec::new()), @"
        main (0x1) waits for all of 3 tasks (gather), in work (/srv/app.py:3).
          handler-3 (and 1 like it) waits for lock self.pool_lock (held by forgetful), in work (/srv/app.py:61).
          forgetful holds it, and sleeps (3541 s left), in work (/srv/app.py:12).
          It goes on when that time is over.
          other waits for lock self.log (held, holder unknown), in work (/srv/app.py:70).
          Who holds it is not known: no task that could be read is inside of its `async with` block.

        forgetful (0x5) sleeps (3541 s left), in work (/srv/app.py:12).
        It goes on when that time is over.
        ");
    }

    fn deadlock(tasks: &[u64]) -> Finding {
        let deadlocked = |id: &u64| Deadlocked {
            task: Address(*id),
            name: None,
            waits_for: None,
            deadline_ns: None,
        };
        Finding::Deadlock(Deadlock {
            tasks: tasks.iter().map(deadlocked).collect(),
            behind: 0,
        })
    }

    #[test]
    fn circles_are_closed_and_ends_are_named() {
        let tasks = vec![
            wants(at(1, "left", 1), lock("b", by(&[2]))),
            wants(at(2, "right", 2), lock("a", by(&[1]))),
            wants(at(3, "nested", 3), lock("c", by(&[3]))),
            wants(at(4, "last", 4), lock("d", Holding::OnlyWaiters)),
            at(5, "plain", 5),
            at(6, "awaits", 6).waiting(WaitKind::Task, "Task", &[5]),
            at(7, "gone", 7).waiting(WaitKind::Task, "Task", &[99]),
            Task {
                waits_on: None,
                ..at(8, "unknown", 8)
            },
        ];
        let one_by_one: Vec<String> = [0, 2, 3, 5, 6, 7]
            .iter()
            .map(|position| said(tasks.clone(), &[*position], vec![deadlock(&[1, 2])]))
            .collect();
        insta::assert_snapshot!(one_by_one.join("\n"), @"
        left waits for lock b (held by right), in work (/srv/app.py:1).
        right holds it, and waits for lock a (held by left), in work (/srv/app.py:2).
        left holds it, and closes the circle: none of its tasks can go on.

        nested waits for lock c (held by nested), in work (/srv/app.py:3).
        nested holds it, and closes the circle.

        last waits for lock d (held by nobody: only waiters are left), in work (/srv/app.py:4).
        No task is left that could let go of it.

        awaits waits for task plain, in work (/srv/app.py:6).
        plain waits for Future, in work (/srv/app.py:5).
        No task is known that it depends on.

        gone waits for a task that is not shown (0xf00), in work (/srv/app.py:7).
        No task is known that it depends on.

        unknown waits for something that could not be told, in work (/srv/app.py:8).
        No task is known that it depends on.
        ");
    }

    #[test]
    fn a_circle_that_a_timeout_may_end_is_no_end() {
        let left = |wait: Resource| wants(at(1, "left", 1), wait);
        let right = wants(at(2, "right", 2), lock("a", by(&[1])));
        let timed = Resource {
            deadline_ns: Some(497_000_000_000),
            ..lock("b", by(&[2]))
        };
        let awaits = at(1, "left", 1).waiting(WaitKind::Task, "Task", &[2]);
        // Of one that awaits a task itself it is not known whether a timeout ends that.
        for (first, is_for_good) in [
            (left(lock("b", by(&[2]))), true),
            (left(timed), false),
            (awaits, false),
        ] {
            let text = said(vec![first, right.clone()], &[0], vec![deadlock(&[1, 2])]);
            assert!(text.contains("closes the circle"), "{text}");
            assert_eq!(
                text.contains("none of its tasks can go on"),
                is_for_good,
                "{text}"
            );
        }
    }

    #[test]
    fn that_some_are_not_told_of_is_said_and_those_of_a_deadlock_come_first() {
        let others = (10..20).map(|id| at(id, &format!("t-{id}"), id as u32));
        let stuck = [
            wants(at(1, "left", 1), lock("b", by(&[2]))),
            wants(at(2, "right", 2), lock("a", by(&[1]))),
        ];
        let ids: Vec<u64> = (10..20).chain([1]).collect();
        let all = at(5, "all", 5).waiting(WaitKind::Gather, "_GatheringFuture", &ids);
        let tasks: Vec<Task> = [all].into_iter().chain(others).chain(stuck).collect();
        let text = said(tasks, &[0], vec![deadlock(&[1, 2])]);
        assert!(
            text.contains("Of those that it waits for, 7 that look otherwise are not told of."),
            "{text}"
        );
        assert!(text.contains("none of its tasks can go on"), "{text}");
    }

    #[test]
    fn what_waits_for_its_turn_is_told_what_holds_its_loop() {
        let blocked = Finding::BlockedLoop(BlockedLoop {
            tid: 100,
            seconds: 2.0,
            holder: Holder {
                kind: HolderKind::Task(Address(2)),
                name: Some("hog".into()),
                stack: [frame("crunch", "/srv/app.py", 9)].into(),
                seconds: 2.0,
            },
            ready: 1,
            overdue_timers: None,
        });
        let ready = Task {
            state: TaskState::Ready,
            ..at(1, "ready", 1)
        };
        let hog = Task {
            state: TaskState::Running,
            waits_on: None,
            ..at(2, "hog", 9)
        };
        insta::assert_snapshot!(said(vec![ready, hog], &[0, 1], vec![blocked]), @"
        ready (0x1) could go on, and waits for its turn, in work (/srv/app.py:1).
        The event loop of thread 100 has not turned for 2.0 s at least: task hog is in crunch (/srv/app.py:9); 1 task is ready to go on.

        hog (0x2) is running, in work (/srv/app.py:9).
        ");
    }

    #[test]
    fn hostile_names_stay_harmless_and_output_is_bounded() {
        let hostile = wants(at(1, HOSTILE, 1), lock(HOSTILE, by(&[1])));
        let text = said(vec![hostile], &[0], Vec::new());
        assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text}");
        assert_eq!(text.lines().count(), 2);
        let in_row = (1..5000).map(|id| at(id, "t", 1).waiting(WaitKind::Task, "Task", &[id + 1]));
        let text = said(in_row.collect(), &[0], Vec::new());
        assert_eq!(text.lines().count(), MAX_LINES + 1);
    }
}
