//! A snapshot as an await tree.
//!
//! Roots are the tasks that nobody awaits. Below a task stand its frames, outermost first, then what its chain ends in, then the
//! tasks that it waits for. Equal subtrees are one entry with a count. A task that several wait for is drawn once and referred to
//! afterwards; so is the task that closes a cycle.
//!
//! trio's nurseries, and task groups, are drawn too, with broken lines: their children stand below the task that has the nursery open, also where it does
//! not wait for them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Write};

use super::branches::{Branches, Place};
use super::escape::{Escaped, fitted};
use super::findings;
use super::losses::{self, Counted};
use super::names;
use super::style::{FAINT, HEADING, RUNNING, TASK, WARNING, styled};
use super::waits;
use crate::graph::{AwaitGraph, Shape};
use crate::origin::{self, Rank};
use crate::snapshot::{Frame, FrameKind, Snapshot, Task, TaskState, TrioState, WaitKind, WaitsOn};

/// Levels that are drawn inside each other. What is deeper becomes an entry of its own: ten thousand tasks in a row would
/// otherwise be indented over ten thousand columns.
const MAX_DEPTH: usize = 24;
/// Columns that the name of a function or of a type may take.
const FUNCTION_WIDTH: usize = 80;

/// Writes the await tree of `snapshot`, taken with chains of at most `max_frames` frames.
///
/// # Errors
/// When `output` fails.
pub fn write(snapshot: &Snapshot, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let graph = AwaitGraph::new(&snapshot.tasks);
    write_header(snapshot, &graph, output)?;
    Tree::new(&snapshot.tasks, &graph, output).draw()?;
    write_losses(snapshot, max_frames, output)
}

/// Writes whose tasks follow, and how many there are.
///
/// # Errors
/// When `output` fails.
pub fn write_heading(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    let heading = format!(
        "{}: {}",
        who(snapshot),
        plural(snapshot.tasks.len(), "task", "tasks")
    );
    writeln!(output, "{}", styled(HEADING, heading))
}

/// `Process 4711 (CPython 3.12.1)`.
fn who(snapshot: &Snapshot) -> String {
    format!("Process {} (CPython {})", snapshot.pid, Escaped(&snapshot.python))
}

fn write_header(snapshot: &Snapshot, graph: &AwaitGraph, output: &mut impl Write) -> io::Result<()> {
    findings::write(snapshot, output)?;
    let count = |state| snapshot.tasks.iter().filter(|task| task.state == state).count();
    let running = count(TaskState::Running);
    let ready = match count(TaskState::Ready) {
        0 => String::new(),
        ready => format!(", {ready} ready"),
    };
    let heading = format!(
        "{}: {}, {running} running{ready}, {} awaited by no other",
        who(snapshot),
        plural(snapshot.tasks.len(), "task", "tasks"),
        graph.roots().len(),
    );
    writeln!(output, "{}", styled(HEADING, heading))?;
    write_idle(snapshot, output)?;
    if let Some(span) = losses::describe_span(snapshot) {
        writeln!(output, "{span}")?;
    }
    for cycle in graph.cycles() {
        let warning = if cycle.len() == 1 {
            "1 task waits for itself: it cannot go on".to_owned()
        } else {
            format!(
                "{} tasks wait for each other in a cycle: none of them can go on",
                cycle.len()
            )
        };
        let names = names::names(cycle.iter().map(|member| &snapshot.tasks[*member]));
        writeln!(output, "{}", styled(WARNING, format_args!("{warning} ({names})")))?;
    }
    writeln!(output)
}

/// Says where tasks belong to event loops that no thread runs, and where the main thread is meanwhile.
pub(super) fn write_idle(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    let idle = snapshot.tasks.iter().filter(|task| task.tid.is_none()).count();
    if idle == 0 {
        return Ok(());
    }
    let mut text = format!(
        "No thread runs the event loop of {}: it was stopped, or has not begun",
        plural(idle, "task", "tasks")
    );
    let place = |frame: &Frame| {
        let function = fitted(&frame.function, FUNCTION_WIDTH);
        format!("{function} ({})", location(frame.shown_file(), frame.line))
    };
    let threads = &snapshot.main_thread;
    if let Some(innermost) = threads.first() {
        text += &format!("; the main thread is in {}", place(innermost));
    }
    // Whose code brought it there.
    let called_by = origin::await_point(threads);
    if let Some(caller) = threads.get(called_by).filter(|_| called_by > 0) {
        text += &format!(", called from {}", place(caller));
    }
    writeln!(output, "{}", styled(WARNING, text))
}

fn write_losses(snapshot: &Snapshot, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let lost = losses::describe(
        &snapshot.losses,
        Counted::Tasks,
        snapshot.tasks.len() as u64,
        max_frames,
    );
    if !lost.is_empty() {
        writeln!(output)?;
    }
    lost.iter()
        .try_for_each(|loss| writeln!(output, "{}", styled(WARNING, format_args!("Not shown: {loss}"))))
}

/// `1 task`, `2 tasks`.
pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What stands below a task.
enum Entry {
    /// Tasks of one shape. Some of them may have been drawn by the time it is their turn.
    Group(Vec<usize>),
    /// Tasks that are drawn elsewhere.
    Reference(Vec<usize>),
    /// Nurseries that are open, one of each task of a group: how many, and their children.
    Nurseries(usize, Vec<usize>),
}

/// Entries of one level that are still to be drawn, and the tasks they stand below (none at the top).
struct Level {
    awaiters: Vec<usize>,
    entries: VecDeque<Entry>,
}

struct Tree<'a, W> {
    tasks: &'a [Task],
    graph: &'a AwaitGraph,
    by_id: waits::ById<'a>,
    output: &'a mut W,
    branches: Branches,
    levels: Vec<Level>,
    drawn: Vec<bool>,
    /// The place of each task in the order of reading.
    rank: Vec<usize>,
    /// Groups that were too deep, to be drawn at the top with their number.
    continued: VecDeque<(usize, Vec<usize>)>,
    continuations: usize,
    several_threads: bool,
}

impl<'a, W: Write> Tree<'a, W> {
    fn new(tasks: &'a [Task], graph: &'a AwaitGraph, output: &'a mut W) -> Self {
        let threads: HashSet<_> = tasks.iter().map(|task| task.tid).collect();
        let mut rank = vec![0; tasks.len()];
        for (place, position) in names::reading_order(tasks).into_iter().enumerate() {
            rank[position] = place;
        }
        Self {
            tasks,
            graph,
            by_id: tasks.iter().map(|task| (task.id, task)).collect(),
            output,
            branches: Branches::default(),
            levels: Vec::new(),
            drawn: vec![false; tasks.len()],
            rank,
            continued: VecDeque::new(),
            continuations: 0,
            several_threads: threads.len() > 1,
        }
    }

    fn draw(mut self) -> io::Result<()> {
        let roots = self.grouped(self.graph.tops().to_vec());
        self.levels.push(Level {
            awaiters: Vec::new(),
            entries: roots,
        });
        self.draw_levels()?;
        while let Some((number, group)) = self.continued.pop_front() {
            self.draw_group(Place::Top, &group, Some(number))?;
            self.draw_levels()?;
        }
        Ok(())
    }

    fn draw_levels(&mut self) -> io::Result<()> {
        while let Some(level) = self.levels.last_mut() {
            match level.entries.pop_front() {
                None => {
                    self.levels.pop();
                    self.branches.leave();
                }
                Some(Entry::Reference(tasks)) => self.draw_reference(&tasks)?,
                Some(Entry::Group(tasks)) => self.draw_new(tasks)?,
                Some(Entry::Nurseries(count, children)) => self.draw_nurseries(count, children)?,
            }
        }
        Ok(())
    }

    /// Draws those of `tasks` that are not drawn yet, and refers to the others afterwards.
    fn draw_new(&mut self, tasks: Vec<usize>) -> io::Result<()> {
        let (seen, new): (Vec<usize>, Vec<usize>) = tasks.into_iter().partition(|task| self.drawn[*task]);
        if !seen.is_empty()
            && let Some(level) = self.levels.last_mut()
        {
            level.entries.push_front(Entry::Reference(seen));
        }
        if new.is_empty() {
            return Ok(());
        }
        let place = self.place();
        if self.branches.depth() >= MAX_DEPTH {
            self.draw_continuation(place, new)
        } else {
            self.draw_group(place, &new, None)
        }
    }

    fn place(&self) -> Place {
        match self.levels.last() {
            Some(level) if self.levels.len() > 1 || !level.awaiters.is_empty() => {
                if level.entries.is_empty() {
                    Place::Last
                } else {
                    Place::Middle
                }
            }
            _ => Place::Top,
        }
    }

    fn mark_drawn(&mut self, group: &[usize]) {
        for task in group {
            self.drawn[*task] = true;
        }
    }

    fn draw_group(&mut self, place: Place, group: &[usize], continuation: Option<usize>) -> io::Result<()> {
        let Some(first) = group.first().map(|first| &self.tasks[*first]) else {
            return Ok(());
        };
        self.mark_drawn(group);
        let from = continuation
            .map(|number| format!("#{number} "))
            .unwrap_or_default();
        let before = self.branches.before_entry(place);
        writeln!(
            self.output,
            "{}{from}{}{}",
            styled(FAINT, before),
            self.title(group),
            self.remarks(place, first)
        )?;
        self.branches.enter(place);
        let entries = self.below(group);
        self.draw_frames(group, !entries.is_empty())?;
        self.levels.push(Level {
            awaiters: group.to_vec(),
            entries,
        });
        Ok(())
    }

    fn draw_nurseries(&mut self, count: usize, children: Vec<usize>) -> io::Result<()> {
        let place = self.place();
        let before = self.branches.before_open_entry(place);
        let opener = self.levels.last().and_then(|level| level.awaiters.first());
        let is_trio = opener.is_some_and(|opener| self.tasks[*opener].trio.is_some());
        let nurseries = match (is_trio, count) {
            (true, 1) => "nursery".to_owned(),
            (true, _) => format!("{count} nurseries"),
            (false, 1) => "TaskGroup".to_owned(),
            (false, _) => format!("{count} TaskGroups"),
        };
        let text = format!(
            "{before}{nurseries} of {}, still open",
            plural(children.len(), "task", "tasks")
        );
        writeln!(self.output, "{}", styled(FAINT, text))?;
        self.branches.enter(place);
        let entries = self.grouped(children);
        self.levels.push(Level {
            awaiters: Vec::new(),
            entries,
        });
        Ok(())
    }

    fn draw_continuation(&mut self, place: Place, group: Vec<usize>) -> io::Result<()> {
        self.mark_drawn(&group);
        self.continuations += 1;
        let before = self.branches.before_entry(place);
        let remark = format!("  (goes on below, at #{})", self.continuations);
        writeln!(
            self.output,
            "{}{}{}",
            styled(FAINT, before),
            self.title(&group),
            styled(FAINT, remark)
        )?;
        self.continued.push_back((self.continuations, group));
        Ok(())
    }

    fn draw_reference(&mut self, tasks: &[usize]) -> io::Result<()> {
        let awaiters = self.levels.last().map_or(&[][..], |level| &level.awaiters);
        let closes_cycle = awaiters
            .iter()
            .any(|awaiter| tasks.iter().any(|task| self.graph.in_one_cycle(*awaiter, *task)));
        let remark = if closes_cycle {
            styled(WARNING, "  (see above: closes a cycle)")
        } else {
            styled(FAINT, "  (see above)")
        };
        let before = self.branches.before_entry(self.place());
        writeln!(
            self.output,
            "{}{}{remark}",
            styled(FAINT, before),
            self.title(tasks)
        )
    }

    fn title(&self, group: &[usize]) -> String {
        let names = names::names(group.iter().map(|task| &self.tasks[*task]));
        format!(
            "{}{}",
            styled(TASK, format_args!("● {names}")),
            styled(HEADING, times(group.len()))
        )
    }

    fn remarks(&self, place: Place, task: &Task) -> String {
        let mut remarks = String::new();
        match task.state {
            TaskState::Running => remarks += &format!("  {}", styled(RUNNING, "running")),
            TaskState::Ready => remarks += &format!("  {}", styled(RUNNING, "ready")),
            TaskState::Pending => {}
        }
        match task.trio.as_ref().map(|trio| trio.state) {
            Some(TrioState::Runnable) => remarks += &format!("  {}", styled(RUNNING, "runnable")),
            Some(TrioState::Cancelling) => {
                remarks += &format!("  {}", styled(WARNING, "cancelled, but waits"))
            }
            Some(TrioState::Parked | TrioState::Running) | None => {}
        }
        if task.cancellations > 0 {
            remarks += &format!("  {}", styled(WARNING, cancelled(task)));
        }
        if task.truncated {
            remarks += &format!("  {}", styled(WARNING, "truncated"));
        }
        if let (Place::Top, true, Some(tid)) = (place, self.several_threads, task.tid) {
            remarks += &format!("  {}", styled(FAINT, format_args!("thread {tid}")));
        }
        remarks
    }

    fn draw_frames(&mut self, group: &[usize], has_children: bool) -> io::Result<()> {
        let Some(task) = group.first().map(|first| &self.tasks[*first]) else {
            return Ok(());
        };
        let before = styled(FAINT, self.branches.before_line(has_children)).to_string();
        let traps = origin::trio_traps(&task.stack);
        let shown = task.stack.get(traps..).unwrap_or_default();
        for equal in shown.chunk_by(PartialEq::eq).rev() {
            writeln!(
                self.output,
                "{before}{}{}",
                frame_line(&equal[0]),
                styled(HEADING, times(equal.len()))
            )?;
        }
        let members = group.iter().map(|task| &self.tasks[*task]);
        let resources: Vec<_> = members
            .filter_map(|task| task.waits_on.as_ref()?.resource.as_deref())
            .collect();
        let end = waits::sentence(&resources, &self.by_id);
        let on = task.waits_on.as_ref();
        let end = end.or_else(|| on.and_then(|on| wait_line(on, has_children)));
        if let Some((end, on)) = end.zip(on) {
            let end = waits::with_outcome(end, on);
            writeln!(self.output, "{before}{}", styled(FAINT, end))?;
        }
        Ok(())
    }

    /// What the tasks of `group` wait for, all together, and what else they have open.
    fn below(&self, group: &[usize]) -> VecDeque<Entry> {
        let mut waits: Vec<usize> = group
            .iter()
            .flat_map(|task| self.graph.waits_for(*task))
            .copied()
            .collect();
        waits.sort_unstable();
        waits.dedup();
        let mut entries = self.grouped(waits);
        // Tasks of one shape have equally many.
        let nurseries = group
            .first()
            .map_or(0, |first| self.graph.nurseries(*first).len());
        for number in 0..nurseries {
            let of_task = |task: &usize| self.graph.nurseries(*task).get(number).into_iter().flatten();
            let children = group.iter().flat_map(of_task).copied().collect();
            entries.push_back(Entry::Nurseries(group.len(), children));
        }
        entries
    }

    /// `tasks` by shape, in the order in which they are read.
    fn grouped(&self, mut tasks: Vec<usize>) -> VecDeque<Entry> {
        tasks.sort_unstable_by_key(|task| self.rank[*task]);
        let mut position: HashMap<Shape, usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for task in tasks {
            let group = *position.entry(self.graph.shape(task)).or_insert(groups.len());
            if group == groups.len() {
                groups.push(Vec::new());
            }
            groups[group].push(task);
        }
        groups.into_iter().map(Entry::Group).collect()
    }
}

/// `  x3` behind what stands for three; nothing behind what stands for itself.
pub(super) fn times(count: usize) -> String {
    if count > 1 {
        format!("  x{count}")
    } else {
        String::new()
    }
}

/// That a task of asyncio goes on though its cancellation was asked for.
const fn cancelled(task: &Task) -> &'static str {
    match task.state {
        TaskState::Pending => "cancelled, but waits",
        TaskState::Ready => "cancelled",
        TaskState::Running => "cancelled, but runs",
    }
}

/// `function  file:line`, escaped.
pub(super) fn frame_line(frame: &Frame) -> String {
    let mut function = fitted(&frame.function, FUNCTION_WIDTH);
    if frame.kind == FrameKind::LeftOut {
        return styled(WARNING, function).to_string();
    }
    if frame.origin.rank != Rank::Application {
        function = styled(FAINT, function).to_string();
    }
    format!(
        "{function}  {}",
        styled(FAINT, location(frame.shown_file(), frame.line))
    )
}

/// `file:line`, escaped; just the file where the line is unknown.
pub(super) fn location(file: &str, line: u32) -> String {
    let file = Escaped(file);
    if line == 0 {
        file.to_string()
    } else {
        format!("{file}:{line}")
    }
}

/// What a chain ends in; nothing where the tasks below say it all.
pub(super) fn wait_line(on: &WaitsOn, has_children: bool) -> Option<String> {
    let type_name = fitted(&on.type_name, FUNCTION_WIDTH);
    let tasks = plural(on.tasks.len(), "task", "tasks");
    Some(match on.kind {
        WaitKind::Task if has_children => return None,
        WaitKind::Task => format!("waits for a task that is not shown ({})", on.id),
        _ if on.tasks.is_empty() => format!("waits for {type_name}"),
        WaitKind::Gather => format!("waits for all of {tasks} (gather)"),
        WaitKind::Nursery => format!("waits for all of {tasks} (nursery)"),
        WaitKind::TaskGroup => format!("waits for all of {tasks} (TaskGroup)"),
        WaitKind::Wait => format!("waits for {tasks} (wait)"),
        WaitKind::Future | WaitKind::Other | WaitKind::Parked => format!("waits for {tasks} ({type_name})"),
    })
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
