//! A snapshot as a table, one row per task.

use std::collections::HashMap;
use std::io::{self, Write};

use super::escape::fitted;
use super::findings;
use super::losses::{self, Counted};
use super::names;
use super::rows::{Columns, write_many};
use super::style::{WARNING, styled};
use super::{tree, waits};
use crate::memory::Address;
use crate::snapshot::{Snapshot, Stack, Task, TaskState, TrioState};

pub(super) use super::rows::write_rows;

/// Columns that a chain of functions may take before it is cut, in a table of unlimited width.
const STACK_WIDTH: usize = 240;
/// Columns that a function's name may take in a chain.
const FUNCTION_WIDTH: usize = 60;
/// Tasks that are named in one cell.
const MAX_NAMES: usize = 3;

/// Writes `snapshot`, taken with chains of at most `max_frames` frames, as a table that is `width` columns wide at most.
///
/// Without a width every task is one line.
///
/// # Errors
/// When `output` fails.
pub fn write(
    snapshot: &Snapshot,
    max_frames: usize,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    findings::write(snapshot, output)?;
    let by_id: HashMap<Address, &Task> = snapshot.tasks.iter().map(|task| (task.id, task)).collect();
    let heads = [
        "TID",
        "TASK",
        "NAME",
        "STATE",
        "STACK (INNERMOST LAST)",
        "WAITS FOR",
        "AWAITED BY",
    ];
    let columns = Columns {
        heads: &heads,
        right: &[],
        // Ids and states are copied and searched for: only prose is wrapped.
        whole: &[0, 1, 3],
    };
    let order = names::reading_order(&snapshot.tasks);
    let rows = || {
        order
            .iter()
            .map(|position| row(&snapshot.tasks[*position], &by_id))
    };
    write_many(columns, rows, width, output)?;
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

fn row(task: &Task, by_id: &HashMap<Address, &Task>) -> Vec<String> {
    let state = match (task.trio.as_ref().map(|trio| trio.state), task.state) {
        (_, TaskState::Running) => "running",
        (None, TaskState::Pending) if task.cancellations > 0 => "cancelling",
        (Some(TrioState::Parked), _) => "parked",
        (Some(TrioState::Cancelling), _) => "cancelling",
        (Some(TrioState::Runnable), _) => "runnable",
        (_, TaskState::Ready) => "ready",
        (Some(TrioState::Running) | None, TaskState::Pending) => "pending",
    };
    let waits_on = task.waits_on.as_ref().map_or_else(
        || "-".to_owned(),
        |on| {
            let what = on
                .resource
                .as_deref()
                .and_then(|it| waits::describe(&[it], by_id));
            let type_name = what.unwrap_or_else(|| fitted(&on.type_name, FUNCTION_WIDTH));
            let text = if on.tasks.is_empty() {
                type_name
            } else {
                format!("{type_name}: {}", listed(&on.tasks, by_id))
            };
            waits::with_outcome(text, on)
        },
    );
    let awaited_by = if task.awaited_by.is_empty() {
        "-".to_owned()
    } else {
        listed(&task.awaited_by, by_id)
    };
    vec![
        task.tid.map_or_else(|| "-".to_owned(), |tid| tid.to_string()),
        task.id.to_string(),
        task.name
            .as_ref()
            .map_or_else(|| "-".to_owned(), |_| names::name(task)),
        state.to_owned(),
        stack(&task.stack),
        waits_on,
        awaited_by,
    ]
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
    use crate::snapshot::{Losses, Snapshot};
    use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

    fn drawn(snapshot: &Snapshot, width: Option<usize>) -> String {
        let mut output = Vec::new();
        super::write(snapshot, 512, width, &mut output).unwrap();
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
