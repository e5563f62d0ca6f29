//! One name for many tasks.

use std::sync::Arc;

use super::escape::fitted;
use crate::snapshot::Task;

/// Columns that a single name may take.
const NAME_WIDTH: usize = 60;
/// Different kinds of names that are listed.
const MAX_KINDS: usize = 3;

/// The name of a task; its address where it has none that could be read. Escaped and cut.
pub(super) fn name(task: &Task) -> String {
    fitted(&raw_name(task), NAME_WIDTH)
}

fn raw_name(task: &Task) -> Arc<str> {
    task.name
        .clone()
        .unwrap_or_else(|| format!("task at {}", task.id).into())
}

/// Sums up the names of `tasks`: `worker-0 … worker-999`, or `api, db, cache, …`. Escaped and cut.
pub(super) fn names<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> String {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut more = false;
    for task in tasks {
        let name = raw_name(task);
        let (stem, number) = split(&name);
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.stem == stem) {
            kind.take(&name, number);
        } else if kinds.len() < MAX_KINDS {
            kinds.push(Kind {
                stem: stem.to_owned(),
                first: (number, name.clone()),
                last: (number, name),
                count: 1,
            });
        } else {
            more = true;
        }
    }
    let mut shown: Vec<String> = kinds.iter().map(Kind::show).collect();
    if more {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// Positions of `tasks` in the order in which they are shown: by thread, then by name (numbers at the end by value), then by
/// address. The registries of a program have no order that would mean anything.
pub(super) fn reading_order(tasks: &[Task]) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..tasks.len()).collect();
    positions.sort_by_cached_key(|position| {
        let task = &tasks[*position];
        let (stem, number) = task.name.as_deref().map(split).unzip();
        (task.tid, stem, number, task.id)
    });
    positions
}

/// Names that differ in their trailing number only.
struct Kind {
    stem: String,
    first: (Option<u64>, Arc<str>),
    last: (Option<u64>, Arc<str>),
    count: usize,
}

impl Kind {
    fn take(&mut self, name: &Arc<str>, number: Option<u64>) {
        self.count += 1;
        if number < self.first.0 {
            self.first = (number, name.clone());
        }
        if number > self.last.0 {
            self.last = (number, name.clone());
        }
    }

    fn show(&self) -> String {
        let (first, last) = (
            fitted(&self.first.1, NAME_WIDTH),
            fitted(&self.last.1, NAME_WIDTH),
        );
        match self.count {
            _ if first == last => first,
            2 => format!("{first}, {last}"),
            _ => format!("{first} … {last}"),
        }
    }
}

/// Splits off the number at the end, if there is one.
fn split(name: &str) -> (&str, Option<u64>) {
    let stem = name.trim_end_matches(|character: char| character.is_ascii_digit());
    (stem, name[stem.len()..].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{names, reading_order};
    use crate::testing::{HOSTILE, task};

    fn summed_up(all: &[&str]) -> String {
        let tasks: Vec<_> = (1..).zip(all).map(|(id, name)| task(id, name, &[])).collect();
        names(&tasks)
    }

    #[test]
    fn numbered_names_become_a_range() {
        assert_eq!(
            summed_up(&["worker-9", "worker-10", "worker-0"]),
            "worker-0 … worker-10"
        );
        assert_eq!(summed_up(&["foo2", "foo2"]), "foo2");
        assert_eq!(summed_up(&["only"]), "only");
        assert_eq!(summed_up(&["7", "8"]), "7, 8");
        assert_eq!(summed_up(&["worker", "worker1"]), "worker, worker1");
        assert_eq!(
            summed_up(&["a99999999999999999999999", "a1"]),
            "a99999999999999999999999, a1"
        );
    }

    #[test]
    fn few_kinds_are_listed() {
        assert_eq!(
            summed_up(&["api", "db-1", "db-2", "cache", "mail", "log"]),
            "api, db-1, db-2, cache, …"
        );
        assert_eq!(summed_up(&[]), "");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            summed_up(&[HOSTILE]),
            r#"a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7"#
        );
    }

    #[test]
    fn tasks_are_read_by_thread_then_by_name() {
        let names = ["worker-10", "worker-9", "Task-2", "Task-10", "api", "worker-9"];
        let mut tasks: Vec<_> = (1..).zip(names).map(|(id, name)| task(id, name, &[])).collect();
        tasks[4].tid = Some(200);
        tasks[0].name = None;
        assert_eq!(reading_order(&tasks), [0, 2, 3, 1, 5, 4]);
    }
}
