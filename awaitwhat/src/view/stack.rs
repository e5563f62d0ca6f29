//! Stacks of tasks in the manner of Python's tracebacks: the outermost frame first, and last what the task waits for. Then who awaits it, with
//! their stacks.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use super::escape::fitted;
use super::style::{FAINT, TASK, WARNING, styled};
use super::{findings, names, tree, waits};
use crate::memory::Address;
use crate::snapshot::{Frame, FrameKind, Snapshot, Task, TaskState, WaitKind};

/// Awaiters of awaiters that are shown inside each other.
const MAX_DEPTH: usize = 16;
/// Awaiters of one task that are shown.
const MAX_AWAITERS: usize = 8;
/// Columns that the name of a function, and a line of source, may take.
const FUNCTION_WIDTH: usize = 80;
const SOURCE_WIDTH: usize = 120;

/// What finds the line of source that a frame is at.
pub type Source<'a> = &'a dyn Fn(&Frame) -> Option<String>;

/// Writes the stacks of the tasks at `positions`.
///
/// # Errors
/// When `output` fails.
pub fn write(
    snapshot: &Snapshot,
    positions: &[usize],
    source: Source<'_>,
    output: &mut impl Write,
) -> io::Result<()> {
    findings::write(snapshot, output)?;
    let by_id: waits::ById<'_> = snapshot.tasks.iter().map(|task| (task.id, task)).collect();
    for (number, task) in positions
        .iter()
        .filter_map(|it| snapshot.tasks.get(*it))
        .enumerate()
    {
        if number > 0 {
            writeln!(output)?;
        }
        let mut stacks = Stacks {
            by_id: &by_id,
            source,
            shown: HashSet::new(),
            output,
        };
        stacks.show(task, 0)?;
    }
    Ok(())
}

struct Stacks<'a, W> {
    by_id: &'a HashMap<Address, &'a Task>,
    source: Source<'a>,
    /// Tasks that are shown already: awaiters may be many tasks', and form a cycle.
    shown: HashSet<Address>,
    output: &'a mut W,
}

impl<W: Write> Stacks<'_, W> {
    /// Shows a task, and then those that await it.
    fn show(&mut self, task: &Task, depth: usize) -> io::Result<()> {
        let indent = "    ".repeat(depth);
        let title = styled(TASK, format!("● {}", names::name(task)));
        if !self.shown.insert(task.id) {
            return writeln!(self.output, "{indent}{title}  {}", styled(FAINT, "(see above)"));
        }
        let state = match task.state {
            TaskState::Pending => "waits",
            TaskState::Ready => "could go on, and waits for its loop",
            TaskState::Running => "runs",
        };
        let id = styled(FAINT, format!("{}  {state}", task.id));
        writeln!(self.output, "{indent}{title}  {id}")?;
        for frame in task.stack.iter().rev() {
            self.frame(frame, &indent)?;
        }
        if let Some(end) = self.end(task) {
            writeln!(self.output, "{indent}  {}", styled(FAINT, end))?;
        }
        self.awaiters(task, depth)
    }

    fn frame(&mut self, frame: &Frame, indent: &str) -> io::Result<()> {
        let function = fitted(&frame.function, FUNCTION_WIDTH);
        if frame.kind == FrameKind::LeftOut {
            return writeln!(self.output, "{indent}  {}", styled(WARNING, function));
        }
        let file = fitted(&frame.file, SOURCE_WIDTH);
        let line = match frame.line {
            0 => String::new(),
            line => format!(", line {line}"),
        };
        writeln!(self.output, "{indent}  File \"{file}\"{line}, in {function}")?;
        match (self.source)(frame) {
            Some(source) => writeln!(self.output, "{indent}    {}", fitted(&source, SOURCE_WIDTH)),
            None => Ok(()),
        }
    }

    /// What the task waits for.
    fn end(&self, task: &Task) -> Option<String> {
        let on = task.waits_on.as_ref()?;
        let resource: Vec<_> = on.resource.as_deref().into_iter().collect();
        let what = waits::sentence(&resource, self.by_id);
        let known = on.tasks.iter().filter_map(|id| self.by_id.get(id).copied());
        let end = match on.kind {
            WaitKind::Task if what.is_none() && known.clone().next().is_some() => {
                Some(format!("waits for {}", names::names(known)))
            }
            _ => what.or_else(|| tree::wait_line(on, false)),
        };
        end.map(|end| waits::with_outcome(end, on))
    }

    fn awaiters(&mut self, task: &Task, depth: usize) -> io::Result<()> {
        if task.awaited_by.is_empty() {
            return Ok(());
        }
        let indent = "    ".repeat(depth);
        writeln!(self.output, "{indent}  awaited by:")?;
        if depth >= MAX_DEPTH {
            return writeln!(self.output, "{indent}    {}", styled(FAINT, "…"));
        }
        for id in task.awaited_by.iter().take(MAX_AWAITERS) {
            if let Some(awaiter) = self.by_id.get(id).copied() {
                self.show(awaiter, depth + 1)?;
            }
        }
        let more = task.awaited_by.len().saturating_sub(MAX_AWAITERS);
        if more > 0 {
            let more = tree::plural(more, "other task", "other tasks");
            writeln!(
                self.output,
                "{indent}    {}",
                styled(FAINT, format_args!("… and {more}"))
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::snapshot::{Snapshot, WaitKind};
    use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

    fn shown(snapshot: &Snapshot, position: usize) -> String {
        let mut output = Vec::new();
        let source =
            |frame: &crate::snapshot::Frame| (frame.line == 20).then(|| "await asyncio.sleep(1)".to_owned());
        super::write(snapshot, &[position], &source, &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn a_task_with_its_awaiter() {
        insta::assert_snapshot!(shown(&small_service(), 1), @r#"
        ● worker-0  0x20  waits
          File "/srv/app.py", line 20, in Pool.worker
            await asyncio.sleep(1)
          File "/usr/lib/python3.14/asyncio/tasks.py", line 704, in sleep
          waits for Future
          awaited by:
            ● Task-1  0x10  waits
              File "/srv/app.py", line 61, in main
              waits for all of 3 tasks (gather)
        "#);
    }

    #[test]
    fn a_cycle_and_many_awaiters_come_to_an_end() {
        let mut tasks: Vec<_> = (1..=12)
            .map(|id| {
                task(id, &format!("awaiter-{id}"), &[frame("f", "/srv/app.py", 1)]).waiting(
                    WaitKind::Task,
                    "Task",
                    &[20],
                )
            })
            .collect();
        tasks.push(task(20, "awaited", &[]).waiting(WaitKind::Task, "Task", &[1]));
        insta::assert_snapshot!(shown(&snapshot(tasks), 12), @r#"
        ● awaited  0x14  waits
          waits for awaiter-1
          awaited by:
            ● awaiter-1  0x1  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
              awaited by:
                ● awaited  (see above)
            ● awaiter-2  0x2  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-3  0x3  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-4  0x4  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-5  0x5  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-6  0x6  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-7  0x7  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            ● awaiter-8  0x8  waits
              File "/srv/app.py", line 1, in f
              waits for awaited
            … and 4 other tasks
        "#);
    }

    #[test]
    fn hostile_text_stays_harmless() {
        let hostile = snapshot(vec![task(1, HOSTILE, &[frame(HOSTILE, HOSTILE, 1)])]);
        insta::assert_snapshot!(shown(&hostile, 0), @r#"
        ● a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  0x1  waits
          File "a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7", line 1, in a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7
          waits for Future
        "#);
    }
}
