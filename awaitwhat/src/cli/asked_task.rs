//! The task that was asked for, by its name or its id.

use super::args::OneArgs;
use crate::memory::Address;
use crate::snapshot::{Snapshot, Task};
use crate::view::escape::fitted;

/// Names that are offered in place of one that no task has.
const MAX_OFFERED: usize = 5;
/// Columns that such a name may take, and characters of names that are compared.
const NAME_WIDTH: usize = 60;

/// No task has the name or id that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} has no task \"{}\"{}", fitted(.task, NAME_WIDTH), offered(.close, *.count))]
pub(super) struct NoSuchTask {
    task: String,
    pid: u32,
    /// Names that are not far from it.
    close: Vec<String>,
    /// How many tasks there are.
    count: usize,
}

fn offered(close: &[String], count: usize) -> String {
    if count == 0 {
        return ": it has no tasks".to_owned();
    }
    let names: Vec<String> = close.iter().map(|name| fitted(name, NAME_WIDTH)).collect();
    let names = match names.as_slice() {
        [] => String::new(),
        names => format!("; close to it are: {}", names.join(", ")),
    };
    format!("{names} (`awaitwhat ps` lists all; a task without a name has an id, as `ps --json` shows it)")
}

/// The process that a command is about, as the user knows it.
pub(super) fn pid_of(one: &OneArgs, snapshot: Option<&Snapshot>) -> u32 {
    let of_snapshot = || snapshot.map(|snapshot| snapshot.pid);
    one.process.or_else(of_snapshot).unwrap_or_default()
}

/// Where the tasks of process `pid` are that have this id or name: one at least.
pub(super) fn find(tasks: &[Task], wanted: &str, pid: u32) -> Result<Vec<usize>, NoSuchTask> {
    let found = positions(tasks, wanted);
    if found.is_empty() {
        return Err(NoSuchTask {
            task: wanted.to_owned(),
            pid,
            close: closest(tasks, wanted),
            count: tasks.len(),
        });
    }
    Ok(found)
}

fn positions(tasks: &[Task], wanted: &str) -> Vec<usize> {
    let id = wanted
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(Address);
    let is_it = |task: &Task| Some(task.id) == id || task.name.as_deref() == Some(wanted);
    let found = tasks.iter().enumerate().filter(|(_, task)| is_it(task));
    found.map(|(position, _)| position).collect()
}

/// The names of tasks that differ least from `wanted`, but by no more than half of it.
fn closest(tasks: &[Task], wanted: &str) -> Vec<String> {
    let wanted = compared(wanted);
    let most = wanted.chars().count().div_ceil(2);
    let mut names: Vec<&str> = tasks.iter().filter_map(|task| task.name.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let mut close: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (strsim::levenshtein(&wanted, &compared(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    close.sort_unstable();
    let close = close.into_iter().take(MAX_OFFERED);
    close.map(|(_, name)| name.to_owned()).collect()
}

/// What is compared of a name.
fn compared(name: &str) -> String {
    name.chars()
        .take(NAME_WIDTH)
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{HOSTILE, task};

    fn error(tasks: &[Task], wanted: &str) -> String {
        find(tasks, wanted, 42).unwrap_err().to_string()
    }

    #[test]
    fn a_task_is_found_by_name_and_by_id() {
        let tasks = [task(0x10, "a", &[]), task(0x20, "b", &[]), task(0x30, "a", &[])];
        assert_eq!(positions(&tasks, "a"), [0, 2]);
        assert_eq!(positions(&tasks, "0x20"), [1]);
        for nothing in ["A", "", "0x", "0x99", "0xfffffffffffffffff", "20"] {
            assert!(positions(&tasks, nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn names_that_are_close_are_offered() {
        let names = ["handler-3", "handler-33", "Handler-4", "main", HOSTILE];
        let tasks: Vec<Task> = (1..).zip(names).map(|(id, name)| task(id, name, &[])).collect();
        insta::assert_snapshot!(error(&tasks, "handler3"), @r#"process 42 has no task "handler3"; close to it are: handler-3, Handler-4, handler-33 (`awaitwhat ps` lists all; a task without a name has an id, as `ps --json` shows it)"#);
        insta::assert_snapshot!(error(&tasks, "something else"), @r#"process 42 has no task "something else" (`awaitwhat ps` lists all; a task without a name has an id, as `ps --json` shows it)"#);
        insta::assert_snapshot!(error(&[], HOSTILE), @r#"process 42 has no task "a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7": it has no tasks"#);
        assert!(!error(&tasks, "a;b").contains('\x1b'));
    }
}
