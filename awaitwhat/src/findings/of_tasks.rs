//! What the tasks of a snapshot show by themselves.

use std::collections::HashMap;
use std::time::Duration;

use super::{Finding, Mentioned, MentionedTask, SlowWait, UsedUp};
use crate::memory::Address;
use crate::resource::{Resource, ResourceKind};
use crate::snapshot::{Task, TaskState, TrioState};

/// Tasks of one finding that are named.
const MAX_MENTIONED: usize = 100;
/// Pools, semaphores and limiters that are told of.
const MAX_USED_UP: usize = 20;
/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

impl Mentioned {
    /// These tasks.
    #[must_use]
    pub fn of<'a>(tasks: impl Iterator<Item = &'a Task>) -> Self {
        let mut mentioned = Self::default();
        tasks.for_each(|task| mentioned.add(task));
        mentioned
    }

    fn add(&mut self, task: &Task) {
        self.count += 1;
        if self.first.len() < MAX_MENTIONED {
            self.first.push(MentionedTask {
                task: task.id,
                name: task.name.clone(),
            });
        }
    }
}

/// What is found of tasks: what is used up, who was cancelled and waits on, and who waits for longer than is said to be `slow`.
#[must_use]
pub fn of_tasks(tasks: &[Task], slow: Duration) -> Vec<Finding> {
    let mut found = used_up(tasks);
    found.extend(cancelled(tasks));
    found.extend(slow_waits(tasks, slow.as_secs_f64()));
    found
}

/// What a task waits for, as far as it is known.
fn resource_of(task: &Task) -> Option<&Resource> {
    let on = task
        .waits_on
        .as_ref()
        .filter(|_| task.state == TaskState::Pending);
    on?.resource.as_deref()
}

/// Each thing that is used up, those first that most tasks wait for.
fn used_up(tasks: &[Task]) -> Vec<Finding> {
    let mut places: HashMap<Address, usize> = HashMap::new();
    let mut found: Vec<UsedUp> = Vec::new();
    for task in tasks {
        let Some(resource) = resource_of(task).filter(|it| is_used_up(it)) else {
            continue;
        };
        let Some(id) = resource.id else { continue };
        let place = *places.entry(id).or_insert_with(|| {
            found.push(UsedUp {
                resource: Box::new(resource.clone()),
                waiting: Mentioned::default(),
            });
            found.len() - 1
        });
        found[place].waiting.add(task);
    }
    found.sort_by_key(|it| std::cmp::Reverse(it.waiting.count));
    found.truncate(MAX_USED_UP);
    found.into_iter().map(Finding::UsedUp).collect()
}

/// Whether nothing is left of what others share.
fn is_used_up(resource: &Resource) -> bool {
    let is_shared = matches!(resource.kind, ResourceKind::Pool | ResourceKind::Semaphore);
    is_shared
        && match (resource.free, resource.size, resource.limit) {
            (Some(free), ..) => free <= 0,
            (None, Some(size), Some(limit)) => limit > 0 && size >= limit,
            _ => false,
        }
}

/// Tasks that wait though their cancellation was asked for, and was not taken back.
fn cancelled(tasks: &[Task]) -> Option<Finding> {
    let waits_on = |task: &&Task| match &task.trio {
        Some(trio) => trio.state == TrioState::Cancelling,
        None => task.state == TaskState::Pending && task.cancellations > 0,
    };
    let waiting = Mentioned::of(tasks.iter().filter(waits_on));
    (waiting.count > 0).then_some(Finding::CancelledButWaits(waiting))
}

/// Tasks that have waited for longer than `slow` seconds for something that is no mere moment.
fn slow_waits(tasks: &[Task], slow: f64) -> Option<Finding> {
    let mut waiting = Mentioned::default();
    let mut longest: f64 = 0.0;
    for task in tasks {
        let resource = resource_of(task).filter(|it| it.kind != ResourceKind::Timer);
        let Some(waited) = resource.and_then(|it| it.waited_ns) else {
            continue;
        };
        let seconds = waited as f64 / SECOND;
        if seconds >= slow {
            longest = longest.max(seconds);
            waiting.add(task);
        }
    }
    (waiting.count > 0).then_some(Finding::SlowWait(SlowWait {
        slow,
        longest,
        waiting,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::task;

    const SLOW: Duration = Duration::from_secs(10);

    fn waits(id: u64, resource: Resource) -> Task {
        let mut task = task(id, &format!("t-{id}"), &[]);
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(resource));
        }
        task
    }

    fn of_kind(kind: ResourceKind, at: u64) -> Resource {
        Resource {
            id: Some(Address(at)),
            ..Resource::of_kind(kind)
        }
    }

    #[test]
    fn what_is_used_up_is_told_once_with_all_who_wait() {
        let semaphore = |at, free| Resource {
            free: Some(free),
            ..of_kind(ResourceKind::Semaphore, at)
        };
        let pool = |size, limit| Resource {
            size: Some(size),
            limit: Some(limit),
            ..of_kind(ResourceKind::Pool, 0xb0)
        };
        let found = of_tasks(
            &[
                waits(1, semaphore(0xa0, 0)),
                waits(2, pool(5, 5)),
                waits(3, semaphore(0xa0, 0)),
                // Something is left, nothing is known, or it is nothing that is shared.
                waits(4, semaphore(0xc0, 1)),
                waits(5, of_kind(ResourceKind::Semaphore, 0xd0)),
                waits(
                    6,
                    Resource {
                        free: Some(0),
                        ..of_kind(ResourceKind::Queue, 0xe0)
                    },
                ),
            ],
            SLOW,
        );
        let told: Vec<(u64, usize)> = found
            .iter()
            .map(|finding| match finding {
                Finding::UsedUp(it) => (it.resource.id.unwrap().0, it.waiting.count),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(0xa0, 2), (0xb0, 1)]);
        assert!(!is_used_up(&pool(4, 5)) && !is_used_up(&pool(5, 0)));
    }

    #[test]
    fn who_was_cancelled_and_waits_is_told() {
        let mut cancelled = task(1, "a", &[]);
        cancelled.cancellations = 2;
        let mut runs = cancelled.clone();
        runs.state = TaskState::Running;
        let mut of_trio = task(3, "c", &[]).of_trio(None, &[], false);
        assert!(of_tasks(&[task(2, "b", &[]), runs, of_trio.clone()], SLOW).is_empty());
        if let Some(trio) = &mut of_trio.trio {
            trio.state = TrioState::Cancelling;
        }
        let found = of_tasks(&[cancelled, of_trio], SLOW);
        let [Finding::CancelledButWaits(waiting)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(waiting.count, 2);
    }

    #[test]
    fn only_waits_that_are_known_to_be_long_are_slow() {
        let waited = |kind, seconds: i64| Resource {
            waited_ns: Some(seconds * 1_000_000_000),
            ..of_kind(kind, 0xa0)
        };
        let found = of_tasks(
            &[
                waits(1, waited(ResourceKind::Future, 10)),
                waits(2, waited(ResourceKind::Future, 9)),
                waits(3, waited(ResourceKind::Timer, 1000)),
                waits(4, of_kind(ResourceKind::Future, 0xb0)),
                waits(5, waited(ResourceKind::Task, 35)),
            ],
            SLOW,
        );
        let [Finding::SlowWait(it)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((it.waiting.count, it.slow, it.longest), (2, 10.0, 35.0));
    }

    #[test]
    fn of_very_many_some_are_named() {
        let tasks: Vec<Task> = (1..=500)
            .map(|id| {
                let mut task = task(id, "t", &[]);
                task.cancellations = 1;
                task
            })
            .collect();
        let found = of_tasks(&tasks, SLOW);
        let [Finding::CancelledButWaits(waiting)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((waiting.count, waiting.first.len()), (500, MAX_MENTIONED));
    }
}
