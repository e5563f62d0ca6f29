//! Tasks that wait for what others of them hold, in words.

use super::blocked::duration;
use super::escape::fitted;
use super::tree::plural;
use super::waits;
use crate::findings::{Deadlock, Deadlocked};

/// Columns that the name of a task may take.
const NAME_WIDTH: usize = 60;
/// Tasks of a circle that are named.
const MAX_TASKS: usize = 8;

/// A deadlock as one line.
pub(super) fn describe(deadlock: &Deadlock) -> String {
    let tasks = &deadlock.tasks;
    let mut text = match tasks.as_slice() {
        [only] => format!(
            "Deadlock: {} waits for {}, which it holds itself",
            name(only),
            what(only, tasks)
        ),
        _ => {
            let next = tasks.iter().cycle().skip(1);
            let shown = tasks.iter().zip(next).take(MAX_TASKS);
            let hops: Vec<String> = shown.map(|(task, next)| hop(task, next, tasks)).collect();
            format!("Deadlock: {}", hops.join("; "))
        }
    };
    if let more @ 1.. = tasks.len().saturating_sub(MAX_TASKS) {
        text += &format!("; and so on through {}", plural(more, "task more", "tasks more"));
    }
    if let Some(left) = waits_left(deadlock) {
        text += &format!("; a timeout ends it in {}", duration(left));
    }
    if deadlock.behind > 0 {
        let behind = plural(deadlock.behind, "task waits", "tasks wait");
        text += &format!(
            "; {behind} behind {}",
            if tasks.len() == 1 { "it" } else { "them" }
        );
    }
    text
}

/// In how many seconds the first of the waits ends by itself; `None` where none does.
fn waits_left(deadlock: &Deadlock) -> Option<f64> {
    let first = deadlock.tasks.iter().filter_map(|task| task.deadline_ns).min()?;
    Some(first.max(0) as f64 / 1e9)
}

fn hop(task: &Deadlocked, next: &Deadlocked, all: &[Deadlocked]) -> String {
    match task.waits_for {
        Some(_) => format!(
            "{} waits for {}, which {} holds",
            name(task),
            what(task, all),
            name(next)
        ),
        None => format!("{} waits for {} itself", name(task), name(next)),
    }
}

/// What a task waits for, with its address where another one of the circle is called the same.
fn what(task: &Deadlocked, all: &[Deadlocked]) -> String {
    let Some(resource) = task.waits_for.as_deref() else {
        return String::new();
    };
    let name = waits::name(resource);
    let mut others = all.iter().filter_map(|other| other.waits_for.as_deref());
    let is_ambiguous = others.any(|other| other.id != resource.id && waits::name(other) == name);
    match resource.id {
        Some(id) if is_ambiguous => format!("{name} at {id}"),
        _ => name,
    }
}

fn name(task: &Deadlocked) -> String {
    match &task.name {
        Some(name) => fitted(name, NAME_WIDTH),
        None => format!("task at {}", task.task),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Address;
    use crate::resource::{Resource, ResourceKind};
    use crate::testing::HOSTILE;

    fn task(name: Option<&str>, lock: Option<&str>) -> Deadlocked {
        Deadlocked {
            task: Address(0x10),
            name: name.map(Into::into),
            waits_for: lock.map(|label| {
                Box::new(Resource {
                    id: Some(Address(0xa0)),
                    label: (!label.is_empty()).then(|| label.into()),
                    ..Resource::of_kind(ResourceKind::Lock)
                })
            }),
            deadline_ns: None,
        }
    }

    fn said(tasks: Vec<Deadlocked>, behind: usize) -> String {
        describe(&Deadlock { tasks, behind })
    }

    #[test]
    fn each_says_what_it_waits_for_and_who_has_it() {
        let all = [
            said(
                vec![
                    task(Some("transfer-1"), Some("self.b")),
                    task(Some("transfer-2"), Some("self.a")),
                ],
                3,
            ),
            said(vec![task(Some("main"), Some("")), task(None, None)], 0),
            said(vec![task(Some("nested"), Some("lock"))], 1),
            said(vec![task(Some("t"), Some("lock")); MAX_TASKS + 1], 0),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        Deadlock: transfer-1 waits for lock self.b, which transfer-2 holds; transfer-2 waits for lock self.a, which transfer-1 holds; 3 tasks wait behind them
        Deadlock: main waits for lock at 0xa0, which task at 0x10 holds; task at 0x10 waits for main itself
        Deadlock: nested waits for lock, which it holds itself; 1 task waits behind it
        Deadlock: t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; t waits for lock, which t holds; and so on through 1 task more
        ");
    }

    #[test]
    fn things_of_one_name_are_told_apart() {
        let other = |mut task: Deadlocked| {
            if let Some(wait) = &mut task.waits_for {
                wait.id = Some(Address(0xb0));
            }
            task
        };
        let tasks = vec![
            task(Some("a"), Some("lock")),
            other(task(Some("b"), Some("lock"))),
            task(Some("c"), Some("self.lock")),
        ];
        insta::assert_snapshot!(said(tasks, 0), @"Deadlock: a waits for lock at 0xa0, which b holds; b waits for lock at 0xb0, which c holds; c waits for lock self.lock, which a holds");
    }

    #[test]
    fn a_timeout_is_told() {
        // Also that of a task which waits for another one itself.
        let first = task(Some("first"), Some("a"));
        let second = Deadlocked {
            deadline_ns: Some(2_500_000_000),
            ..task(Some("second"), None)
        };
        insta::assert_snapshot!(said(vec![first, second], 0), @"Deadlock: first waits for lock a, which second holds; second waits for first itself; a timeout ends it in 2.5 s");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let text = said(vec![task(Some(HOSTILE), Some(HOSTILE)); 2], 0);
        assert!(
            !text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}', '\n']),
            "{text}"
        );
    }
}
