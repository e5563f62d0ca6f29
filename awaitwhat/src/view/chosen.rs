//! Which tasks of a snapshot are rows of the table, in which order, and for how long they have waited.

use std::collections::HashMap;
use std::sync::Arc;

use super::escape::fitted;
use super::names;
use crate::memory::Address;
use crate::snapshot::{Snapshot, Stack, Task, TaskState};

/// Columns that a duration may take, and nanoseconds in a second.
const WIDTH: usize = 20;
const SECOND: f64 = 1e9;

/// Which tasks are shown, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// A text that has to occur in the name, in a function's name, or in what a task waits for.
    pub filter: Option<String>,
    pub sort: Sort,
}

/// What tasks are ordered by; those that are equal in it by their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// By thread, then by name, with numbers at the end by value.
    #[default]
    Name,
    /// Those first that have waited for the longest time.
    Since,
    /// By the text of what they wait for.
    WaitsFor,
    /// By state: running, ready, then those that wait.
    State,
}

/// Since when a task has waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Since {
    /// For so many seconds.
    Known(f64),
    /// Each look in so many seconds has found it in the same wait.
    Seen(f64),
}

impl Since {
    pub(super) const fn seconds(self) -> f64 {
        match self {
            Self::Known(seconds) | Self::Seen(seconds) => seconds,
        }
    }

    pub(super) fn text(self) -> String {
        let number = |seconds: f64| match seconds {
            ..100.0 => format!("{seconds:.1} s"),
            _ => format!("{seconds:.0} s"),
        };
        let text = match self {
            Self::Known(seconds) => number(seconds),
            Self::Seen(seconds) => format!("seen {}", number(seconds)),
        };
        fitted(&text, WIDTH)
    }
}

/// What earlier looks have seen of tasks that wait.
#[derive(Debug, Default)]
pub struct Seen(HashMap<(u32, Address), Wait>);

/// A wait, as far as it is seen.
#[derive(Clone, Debug)]
struct Wait {
    name: Option<Arc<str>>,
    stack: Stack,
    on: Option<Address>,
    first: jiff::Timestamp,
}

impl Wait {
    fn of(task: &Task, snapshot: &Snapshot) -> Self {
        Self {
            name: task.name.clone(),
            stack: Arc::clone(&task.stack),
            on: task.waits_on.as_ref().map(|on| on.id),
            first: snapshot.captured_at,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.on) == (&other.name, other.on) && self.stack == other.stack
    }
}

impl Seen {
    /// Takes one look at several processes.
    pub fn look(&mut self, snapshots: &[Snapshot]) {
        let mut now = HashMap::new();
        for snapshot in snapshots {
            for task in snapshot
                .tasks
                .iter()
                .filter(|task| task.state == TaskState::Pending)
            {
                let key = (snapshot.pid, task.id);
                let wait = Wait::of(task, snapshot);
                let known = self.0.remove(&key).filter(|known| known.is_same(&wait));
                now.insert(key, known.unwrap_or(wait));
            }
        }
        self.0 = now;
    }

    /// Since when a task has waited: as its wait says itself, or else as earlier looks have seen it.
    pub(super) fn since(&self, task: &Task, snapshot: &Snapshot) -> Option<Since> {
        let resource = task.waits_on.as_ref().and_then(|on| on.resource.as_deref());
        if let Some(waited) = resource.and_then(|it| it.waited_ns) {
            return Some(Since::Known(waited as f64 / SECOND));
        }
        let known = self.0.get(&(snapshot.pid, task.id))?;
        let seconds = snapshot.captured_at.duration_since(known.first).as_secs_f64();
        (seconds > 0.0).then_some(Since::Seen(seconds))
    }
}

/// Positions of the tasks that are shown, in the order in which they are. `waits_for` says what a task waits for.
pub(super) fn order(
    snapshot: &Snapshot,
    rows: &Rows,
    seen: &Seen,
    waits_for: &dyn Fn(&Task) -> String,
) -> Vec<usize> {
    let task = |position: &usize| &snapshot.tasks[*position];
    let mut order = names::reading_order(&snapshot.tasks);
    if let Some(text) = &rows.filter {
        order.retain(|position| matches(task(position), text, waits_for));
    }
    match rows.sort {
        Sort::Name => {}
        Sort::State => order.sort_by_key(|position| match task(position).state {
            TaskState::Running => 0,
            TaskState::Ready => 1,
            TaskState::Pending => 2,
        }),
        Sort::WaitsFor => order.sort_by_cached_key(|position| waits_for(task(position))),
        Sort::Since => {
            let seconds = |position: &usize| {
                let since = seen.since(task(position), snapshot);
                since.map_or(-1.0, Since::seconds)
            };
            order.sort_by(|one, other| seconds(other).total_cmp(&seconds(one)));
        }
    }
    order
}

/// Whether a text occurs in what is shown of a task.
pub(super) fn matches(task: &Task, text: &str, waits_for: &dyn Fn(&Task) -> String) -> bool {
    task.name.as_deref().is_some_and(|name| name.contains(text))
        || task.stack.iter().any(|frame| frame.function.contains(text))
        || waits_for(task).contains(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Resource, ResourceKind};
    use crate::testing::{frame, snapshot, task};

    fn waited(mut task: Task, nanoseconds: i64) -> Task {
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(Resource {
                waited_ns: Some(nanoseconds),
                ..Resource::of_kind(ResourceKind::Timer)
            }));
        }
        task
    }

    fn ids(snapshot: &Snapshot, rows: &Rows) -> Vec<u64> {
        let waits_for = |task: &Task| format!("wait of {}", task.id);
        let order = order(snapshot, rows, &Seen::default(), &waits_for);
        order.iter().map(|it| snapshot.tasks[*it].id.0).collect()
    }

    #[test]
    fn tasks_are_ordered_and_left_out_as_asked_for() {
        let all = snapshot(vec![
            task(0x1, "b-10", &[frame("Pool.get", "/srv/app.py", 1)]),
            waited(task(0x2, "b-2", &[]), 5),
            waited(task(0x3, "a", &[]), 7),
        ]);
        let sorted = |sort| ids(&all, &Rows { filter: None, sort });
        assert_eq!(sorted(Sort::Name), [3, 2, 1]);
        assert_eq!(sorted(Sort::Since), [3, 2, 1]);
        assert_eq!(sorted(Sort::WaitsFor), [1, 2, 3]);
        let filtered = |text: &str| {
            let filter = Some(text.to_owned());
            ids(
                &all,
                &Rows {
                    filter,
                    sort: Sort::Name,
                },
            )
        };
        assert_eq!(filtered("b-"), [2, 1]);
        assert_eq!(filtered("Pool"), [1]);
        assert_eq!(filtered("of 0x3"), [3]);
        assert!(filtered("b*").is_empty());
    }

    #[test]
    fn those_that_can_go_on_come_first() {
        let mut all = snapshot(vec![task(1, "a", &[]), task(2, "b", &[]), task(3, "c", &[])]);
        all.tasks[1].state = TaskState::Ready;
        all.tasks[2].state = TaskState::Running;
        let rows = Rows {
            filter: None,
            sort: Sort::State,
        };
        assert_eq!(ids(&all, &rows), [3, 2, 1]);
    }

    #[test]
    fn a_wait_is_seen_as_long_as_each_look_finds_the_same() {
        let at = |seconds: i64, line| {
            let mut one = snapshot(vec![task(1, "a", &[frame("f", "/srv/app.py", line)])]);
            one.captured_at = jiff::Timestamp::from_second(seconds).unwrap();
            one
        };
        let mut seen = Seen::default();
        let mut look = |one: &Snapshot| {
            seen.look(std::slice::from_ref(one));
            seen.since(&one.tasks[0], one)
        };
        assert_eq!(look(&at(10, 1)), None);
        assert_eq!(look(&at(12, 1)), Some(Since::Seen(2.0)));
        assert_eq!(look(&at(15, 1)), Some(Since::Seen(5.0)));
        assert_eq!(look(&at(16, 2)), None);
        let fact = waited(task(1, "a", &[]), 2_500_000_000);
        assert_eq!(
            seen.since(&fact, &at(20, 1)).map(Since::text).as_deref(),
            Some("2.5 s")
        );
    }
}
