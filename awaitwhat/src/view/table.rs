//! A snapshot as a table, one row per task.

use std::collections::HashMap;
use std::io::{self, Write};

use super::chosen::{self, Since};
use super::escape::fitted;
use super::findings;
use super::losses::{self, Counted};
use super::names;
use super::rows::{Columns, write_many};
use super::style::{WARNING, styled};
use super::{tree, waits};
use crate::memory::Address;
use crate::snapshot::{Snapshot, Stack, Task, TaskState, TrioState};

pub use super::chosen::{Rows, Seen, Sort};
pub(super) use super::rows::write_rows;

/// Columns that a chain of functions may take before it is cut, in a table of unlimited width.
const STACK_WIDTH: usize = 240;
/// Columns that a function's name may take in a chain.
const FUNCTION_WIDTH: usize = 60;
/// Tasks that are named in one cell.
const MAX_NAMES: usize = 3;

/// Writes `snapshot`, taken with chains of at most `max_frames` frames, as a table that is `width` columns wide at most.
///
/// Without a width every task is one line. Which tasks are shown, and in which order, `rows` says; `seen` is what earlier looks have seen. Since when
/// tasks have waited is a column where it is known of one.
///
/// # Errors
/// When `output` fails.
pub fn write(
    snapshot: &Snapshot,
    max_frames: usize,
    width: Option<usize>,
    rows: &Rows,
    seen: &Seen,
    output: &mut impl Write,
) -> io::Result<()> {
    findings::write(snapshot, output)?;
    let by_id: HashMap<Address, &Task> = snapshot.tasks.iter().map(|task| (task.id, task)).collect();
    let order = chosen::order(snapshot, rows, seen, &|task| waits_for(task, &by_id));
    let tasks = || order.iter().map(|position| &snapshot.tasks[*position]);
    let has_since = tasks().any(|task| seen.since(task, snapshot).is_some());
    let mut heads = vec!["TID", "TASK", "NAME", "STATE"];
    // Ids, states and times are copied and searched for: only prose is wrapped.
    let mut whole = vec![0, 1, 3];
    if has_since {
        heads.push("SINCE");
        whole.push(4);
    }
    heads.extend(["STACK (INNERMOST LAST)", "WAITS FOR", "AWAITED BY"]);
    let columns = Columns {
        heads: &heads,
        right: &[],
        whole: &whole,
    };
    let since = |task| {
        let since = seen.since(task, snapshot);
        has_since.then(|| since.map_or_else(|| "-".to_owned(), Since::text))
    };
    let all = || tasks().map(|task| row(task, since(task), &by_id));
    write_many(columns, all, width, output)?;
    write_hidden(snapshot.tasks.len() - order.len(), snapshot.tasks.len(), output)?;
    tree::write_idle(snapshot, output)?;
    if let Some(span) = losses::describe_span(snapshot) {
        writeln!(output, "{span}")?;
    }
    let lost = losses::describe(
        &snapshot.losses,
        Counted::Tasks,
        snapshot.tasks.len() as u64,
        max_frames,
    );
    lost.iter()
        .try_for_each(|loss| writeln!(output, "{}", styled(WARNING, format_args!("Not shown: {loss}"))))
}

/// Says how many tasks `--filter` has left out.
fn write_hidden(hidden: usize, all: usize, output: &mut impl Write) -> io::Result<()> {
    if hidden == 0 {
        return Ok(());
    }
    let verb = if hidden == 1 { "is" } else { "are" };
    let tasks = tree::plural(all, "task", "tasks");
    writeln!(output, "{hidden} of {tasks} {verb} hidden by --filter")
}

/// What a task waits for, in a cell.
pub(super) fn waits_for(task: &Task, by_id: &HashMap<Address, &Task>) -> String {
    let Some(on) = task.waits_on.as_ref() else {
        return "-".to_owned();
    };
    let what = on
        .resource
        .as_deref()
        .and_then(|it| waits::describe(&[it], by_id));
    let what = what.unwrap_or_else(|| fitted(&on.type_name, FUNCTION_WIDTH));
    let text = if on.tasks.is_empty() {
        what
    } else {
        format!("{what}: {}", listed(&on.tasks, by_id))
    };
    waits::with_outcome(text, on)
}

/// The word for what a task does.
pub(super) fn state_word(task: &Task) -> &'static str {
    match (task.trio.as_ref().map(|trio| trio.state), task.state) {
        (_, TaskState::Running) => "running",
        (None, TaskState::Pending) if task.cancellations > 0 => "cancelling",
        (Some(TrioState::Parked), _) => "parked",
        (Some(TrioState::Cancelling), _) => "cancelling",
        (Some(TrioState::Runnable), _) => "runnable",
        (_, TaskState::Ready) => "ready",
        (Some(TrioState::Running) | None, TaskState::Pending) => "pending",
    }
}

fn row(task: &Task, since: Option<String>, by_id: &HashMap<Address, &Task>) -> Vec<String> {
    let awaited_by = if task.awaited_by.is_empty() {
        "-".to_owned()
    } else {
        listed(&task.awaited_by, by_id)
    };
    let mut row = vec![
        task.tid.map_or_else(|| "-".to_owned(), |tid| tid.to_string()),
        task.id.to_string(),
        task.name
            .as_ref()
            .map_or_else(|| "-".to_owned(), |_| names::name(task)),
        state_word(task).to_owned(),
    ];
    row.extend(since);
    row.extend([stack(&task.stack), waits_for(task, by_id), awaited_by]);
    row
}

/// The chain, outermost first: `main > Pool.worker > sleep`. The innermost functions are kept where it has to be cut.
fn stack(stack: &Stack) -> String {
    let mut functions: Vec<String> = Vec::new();
    let mut used = 0;
    for equal in stack.chunk_by(PartialEq::eq) {
        let mut function = fitted(&equal[0].function, FUNCTION_WIDTH);
        if equal.len() > 1 {
            function += &format!(" x{}", equal.len());
        }
        used += function.chars().count() + 3;
        if used > STACK_WIDTH {
            functions.push("…".to_owned());
            break;
        }
        functions.push(function);
    }
    if functions.is_empty() {
        return "-".to_owned();
    }
    functions.reverse();
    functions.join(" > ")
}

fn listed(ids: &[Address], by_id: &HashMap<Address, &Task>) -> String {
    let name = |id: &Address| {
        by_id
            .get(id)
            .map_or_else(|| id.to_string(), |task| names::name(task))
    };
    let mut shown: Vec<String> = ids.iter().take(MAX_NAMES).map(name).collect();
    if ids.len() > MAX_NAMES {
        shown.push(format!("+{}", ids.len() - MAX_NAMES));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Rows, Seen, Sort};
    use crate::resource::{Resource, ResourceKind};
    use crate::snapshot::{Losses, Snapshot};
    use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

    fn drawn(snapshot: &Snapshot, width: Option<usize>) -> String {
        let mut output = Vec::new();
        super::write(
            snapshot,
            512,
            width,
            &Rows::default(),
            &Seen::default(),
            &mut output,
        )
        .unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn ids_are_never_wrapped() {
        let mut narrow = small_service();
        narrow.tasks[0].name = Some("a long name of many words ".repeat(4).into());
        let drawn = drawn(&narrow, Some(60));
        for task in &narrow.tasks {
            assert!(drawn.contains(&task.id.to_string()), "{drawn}");
        }
    }

    #[test]
    fn a_small_service() {
        insta::assert_snapshot!(drawn(&small_service(), None), @"
        TID  TASK  NAME      STATE    STACK (INNERMOST LAST)  WAITS FOR                                   AWAITED BY
        100  0x10  Task-1    pending  main                    _GatheringFuture: worker-0, worker-1, busy  -
        100  0x40  busy      running  job > crunch            -                                           Task-1
        100  0x20  worker-0  pending  Pool.worker > sleep     Future                                      Task-1
        100  0x30  worker-1  pending  Pool.worker > sleep     Future                                      Task-1
        ");
    }

    #[test]
    fn it_fits_the_terminal() {
        let text = drawn(&small_service(), Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @"
        TID  TASK  NAME      STATE    STACK (INNERMOST   WAITS FOR          AWAITED BY
                                      LAST)
        100  0x10  Task-1    pending  main               _GatheringFuture:  -
                                                         worker-0,
                                                         worker-1, busy
        100  0x40  busy      running  job > crunch       -                  Task-1
        100  0x20  worker-0  pending  Pool.worker >      Future             Task-1
                                      sleep
        100  0x30  worker-1  pending  Pool.worker >      Future             Task-1
                                      sleep
        ");
    }

    #[test]
    fn what_is_filtered_is_counted_and_who_waits_longest_is_first() {
        let mut some = small_service();
        for (task, waited) in some
            .tasks
            .iter_mut()
            .zip([None, Some(1_000_000_000), Some(200_000_000_000)])
        {
            if let Some(on) = &mut task.waits_on {
                on.resource = waited.map(|waited| {
                    Box::new(Resource {
                        waited_ns: Some(waited),
                        ..Resource::of_kind(ResourceKind::Timer)
                    })
                });
            }
        }
        let rows = Rows {
            filter: Some("worker".to_owned()),
            sort: Sort::Since,
        };
        let mut output = Vec::new();
        super::write(&some, 512, None, &rows, &Seen::default(), &mut output).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string();
        insta::assert_snapshot!(text, @"
        TID  TASK  NAME      STATE    SINCE  STACK (INNERMOST LAST)  WAITS FOR                                   AWAITED BY
        100  0x30  worker-1  pending  200 s  Pool.worker > sleep     timer                                       Task-1
        100  0x20  worker-0  pending  1.0 s  Pool.worker > sleep     timer                                       Task-1
        100  0x10  Task-1    pending  -      main                    _GatheringFuture: worker-0, worker-1, busy  -
        1 of 4 tasks is hidden by --filter
        ");
    }

    #[test]
    fn nothing_but_heads() {
        insta::assert_snapshot!(drawn(&snapshot(Vec::new()), None), @"TID  TASK  NAME  STATE  STACK (INNERMOST LAST)  WAITS FOR  AWAITED BY");
    }

    #[test]
    fn what_is_no_moment_says_so() {
        let mut long = small_service();
        long.span_seconds = 0.0123;
        assert_eq!(
            drawn(&long, None).lines().last(),
            Some("Read over 12 ms: what tasks do is up to that far apart.")
        );
    }

    #[test]
    fn many_tasks_and_deep_chains_are_cut() {
        let deep: Vec<_> = (0..60)
            .map(|level| frame(&format!("f{level}"), "/srv/app.py", 1))
            .collect();
        let ids: Vec<u64> = (2..=6).collect();
        let mut tasks = vec![task(1, "main", &deep).waiting_for(&ids)];
        tasks[0].truncated = true;
        tasks.extend(ids.iter().map(|id| task(*id, "leaf", &[])));
        let mut snapshot = snapshot(tasks);
        snapshot.losses = Losses {
            truncated: 1,
            ..Losses::default()
        };
        insta::assert_snapshot!(drawn(&snapshot, None), @"
        TID  TASK  NAME  STATE    STACK (INNERMOST LAST)                                                                                                                                                                                                                         WAITS FOR                               AWAITED BY
        100  0x2   leaf  pending  -                                                                                                                                                                                                                                              Future                                  main
        100  0x3   leaf  pending  -                                                                                                                                                                                                                                              Future                                  main
        100  0x4   leaf  pending  -                                                                                                                                                                                                                                              Future                                  main
        100  0x5   leaf  pending  -                                                                                                                                                                                                                                              Future                                  main
        100  0x6   leaf  pending  -                                                                                                                                                                                                                                              Future                                  main
        100  0x1   main  pending  … > f40 > f39 > f38 > f37 > f36 > f35 > f34 > f33 > f32 > f31 > f30 > f29 > f28 > f27 > f26 > f25 > f24 > f23 > f22 > f21 > f20 > f19 > f18 > f17 > f16 > f15 > f14 > f13 > f12 > f11 > f10 > f9 > f8 > f7 > f6 > f5 > f4 > f3 > f2 > f1 > f0  _GatheringFuture: leaf, leaf, leaf, +2  -
        Not shown: 1 of 6 tasks truncated (chain deeper than 512 frames)
        ");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let hostile = task(1, HOSTILE, &[frame(HOSTILE, HOSTILE, 1)]);
        insta::assert_snapshot!(drawn(&snapshot(vec![hostile]), None), @r#"
        TID  TASK  NAME                                        STATE    STACK (INNERMOST LAST)                      WAITS FOR  AWAITED BY
        100  0x1   a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  pending  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  Future     -
        "#);
    }
}
