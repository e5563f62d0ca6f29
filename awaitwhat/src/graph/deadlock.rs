//! Tasks that wait for each other by what they hold: none of them goes on unless something else ends its wait.

use std::collections::{HashMap, VecDeque};

use super::{Components, index_by_id, is_cycle};
use crate::memory::Address;
use crate::resource::Holding;
use crate::snapshot::{Task, TaskState, WaitKind};

/// A circle of tasks of which at least one waits for what another holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Each waits for the next one, and the last one for the first.
    pub links: Vec<Link>,
    /// Tasks besides that wait for these, directly or through others, and cannot go on before them.
    pub behind: usize,
}

/// One task of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its position in the snapshot.
    pub task: usize,
    /// Whether it waits for what the next one holds, and not for that task itself.
    pub is_held: bool,
}

/// What a task needs to go on.
struct Need {
    tasks: Vec<usize>,
    /// Whether it goes on when one of them does; else it needs all of them to.
    is_any: bool,
    is_held: bool,
}

/// Finds the circles, in the snapshot's order. Those of tasks that only await each other are
/// [`AwaitGraph::cycles`](super::AwaitGraph::cycles).
///
/// A task counts only where all that it could go on by is known, and stuck itself: of a semaphore all holders, and not one of them.
#[must_use]
pub fn circles(tasks: &[Task]) -> Vec<Circle> {
    let index = index_by_id(tasks);
    let mut needs: Vec<Option<Need>> = tasks.iter().map(|task| need(task, &index)).collect();
    if !needs.iter().flatten().any(|need| need.is_held) {
        return Vec::new();
    }
    keep_stuck(&mut needs);
    let edges: Vec<Vec<usize>> = needs
        .iter()
        .map(|need| need.as_ref().map_or_else(Vec::new, |need| need.tasks.clone()))
        .collect();
    let components = Components::of(&edges);
    let mut circles: Vec<Circle> = components
        .members
        .iter()
        .filter(|members| is_cycle(members, &edges))
        .filter_map(|members| {
            let links = circle(members, &components.component, &needs)?;
            let behind = behind(&links, &edges);
            Some(Circle { links, behind })
        })
        .collect();
    circles.sort_by_key(|circle| circle.links.first().map(|link| link.task));
    circles
}

/// What a task needs; `None` where it may go on by something else, or that is not known.
fn need(task: &Task, index: &HashMap<Address, usize>) -> Option<Need> {
    let on = task
        .waits_on
        .as_ref()
        .filter(|_| task.state == TaskState::Pending)?;
    let positions =
        |ids: &[Address]| -> Vec<usize> { ids.iter().filter_map(|id| index.get(id).copied()).collect() };
    if let Some(resource) = &on.resource
        && let Holding::Tasks { tasks, are_all: true } = &resource.holding
        // A part may come free without its task: a connection does when the response has arrived.
        && resource.parts.is_empty()
    {
        let holders = positions(tasks);
        return (!holders.is_empty() && holders.len() == tasks.len()).then_some(Need {
            tasks: holders,
            is_any: true,
            is_held: true,
        });
    }
    let is_any = match on.kind {
        WaitKind::Task | WaitKind::Gather | WaitKind::TaskGroup | WaitKind::Nursery => false,
        // It may wait for the first of them.
        WaitKind::Wait => true,
        WaitKind::Future | WaitKind::Other | WaitKind::Parked => return None,
    };
    let awaited = positions(&on.tasks);
    let is_known = !awaited.is_empty() && (!is_any || awaited.len() == on.tasks.len());
    is_known.then_some(Need {
        tasks: awaited,
        is_any,
        is_held: false,
    })
}

/// Leaves those tasks that cannot go on, and of what they need those that cannot: what is left is stuck on itself.
fn keep_stuck(needs: &mut [Option<Need>]) {
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (task, need) in needs.iter().enumerate() {
        for needed in need.iter().flat_map(|need| &need.tasks) {
            waiting[*needed].push(task);
        }
    }
    let mut left: Vec<usize> = needs
        .iter()
        .map(|need| need.as_ref().map_or(0, |need| need.tasks.len()))
        .collect();
    let mut free: Vec<usize> = (0..needs.len()).filter(|task| needs[*task].is_none()).collect();
    while let Some(task) = free.pop() {
        for waiter in &waiting[task] {
            left[*waiter] -= 1;
            let goes_on = needs[*waiter]
                .as_ref()
                .is_some_and(|need| need.is_any || left[*waiter] == 0);
            if goes_on {
                needs[*waiter] = None;
                free.push(*waiter);
            }
        }
    }
    let is_stuck: Vec<bool> = needs.iter().map(Option::is_some).collect();
    for need in needs.iter_mut().flatten() {
        need.tasks.retain(|task| is_stuck[*task]);
    }
}

/// The shortest circle through the first task of a component that waits for what another of it holds. `None` where there is no such task.
fn circle(members: &[usize], component: &[usize], needs: &[Option<Need>]) -> Option<Vec<Link>> {
    let is_inside = |task: usize| component[task] == component[members[0]];
    let of = |task: usize| needs[task].as_ref();
    let first = *members.iter().find(|member| {
        of(**member).is_some_and(|need| need.is_held && need.tasks.iter().any(|task| is_inside(*task)))
    })?;
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut ahead = VecDeque::from([first]);
    'search: while let Some(task) = ahead.pop_front() {
        for next in of(task).into_iter().flat_map(|need| &need.tasks) {
            if is_inside(*next) && !came_from.contains_key(next) {
                came_from.insert(*next, task);
                ahead.push_back(*next);
            }
            if *next == first {
                break 'search;
            }
        }
    }
    let mut backwards = Vec::new();
    let mut task = *came_from.get(&first)?;
    while task != first {
        backwards.push(task);
        task = *came_from.get(&task)?;
    }
    let links = [first].into_iter().chain(backwards.into_iter().rev());
    let link = |task| Link {
        task,
        is_held: of(task).is_some_and(|need| need.is_held),
    };
    Some(links.map(link).collect())
}

/// How many tasks lead to those of a circle.
fn behind(links: &[Link], edges: &[Vec<usize>]) -> usize {
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (task, needed) in edges.iter().enumerate() {
        for needed in needed {
            waiting[*needed].push(task);
        }
    }
    let mut is_seen = vec![false; edges.len()];
    let mut ahead: Vec<usize> = links.iter().map(|link| link.task).collect();
    for task in &ahead {
        is_seen[*task] = true;
    }
    let mut count = 0;
    while let Some(task) = ahead.pop() {
        for waiter in &waiting[task] {
            if !std::mem::replace(&mut is_seen[*waiter], true) {
                count += 1;
                ahead.push(*waiter);
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Resource, ResourceKind};
    use crate::testing::{task, waits_on};

    fn waits(id: u64, kind: WaitKind, tasks: &[u64]) -> Task {
        Task {
            waits_on: Some(waits_on(kind, "Future", tasks)),
            ..task(id, "t", &[])
        }
    }

    fn wants(id: u64, holders: &[u64], are_all: bool) -> Task {
        let mut waiting = waits(id, WaitKind::Future, &[]);
        let resource = Resource {
            holding: Holding::Tasks {
                tasks: holders.iter().map(|id| Address(*id)).collect(),
                are_all,
            },
            ..Resource::of_kind(ResourceKind::Lock)
        };
        if let Some(on) = &mut waiting.waits_on {
            on.resource = Some(Box::new(resource));
        }
        waiting
    }

    /// Ids of the tasks of each circle, negative where they wait for the next task itself, and how many are behind.
    fn found(tasks: &[Task]) -> Vec<(Vec<i64>, usize)> {
        let id = |link: &Link| {
            let id = tasks[link.task].id.0.cast_signed();
            if link.is_held { id } else { -id }
        };
        let all = circles(tasks);
        all.iter()
            .map(|circle| (circle.links.iter().map(id).collect(), circle.behind))
            .collect()
    }

    #[test]
    fn two_that_hold_what_the_other_wants() {
        let tasks = [
            wants(1, &[2], true),
            wants(2, &[1], true),
            // Behind them: one that wants what they have, and one that awaits that one.
            wants(3, &[1], true),
            waits(4, WaitKind::Gather, &[3, 5]),
            task(5, "t", &[]),
        ];
        assert_eq!(found(&tasks), [(vec![1, 2], 2)]);
    }

    #[test]
    fn one_that_holds_what_it_wants() {
        assert_eq!(found(&[wants(1, &[1], true)]), [(vec![1], 0)]);
    }

    #[test]
    fn a_circle_may_lead_through_tasks_that_are_awaited() {
        let tasks = [
            waits(1, WaitKind::Gather, &[2, 3]),
            wants(2, &[1], true),
            task(3, "t", &[]),
        ];
        assert_eq!(found(&tasks), [(vec![2, -1], 0)]);
    }

    #[test]
    fn who_may_go_on_is_not_stuck() {
        // The holder sleeps.
        assert!(found(&[wants(1, &[2], true), waits(2, WaitKind::Future, &[])]).is_empty());
        // There may be other holders, or one of them may let go.
        assert!(found(&[wants(1, &[2], false), wants(2, &[1], true)]).is_empty());
        let sleeps = waits(3, WaitKind::Future, &[]);
        assert!(found(&[wants(1, &[2, 3], true), wants(2, &[1], true), sleeps]).is_empty());
        // A holder that is not there.
        assert!(found(&[wants(1, &[2, 9], true), wants(2, &[1], true)]).is_empty());
        // Of a wait, the first that is done may do.
        let first = waits(1, WaitKind::Wait, &[2, 3]);
        let sleeps = waits(3, WaitKind::Future, &[]);
        assert!(found(&[first, wants(2, &[1], true), sleeps]).is_empty());
        // The holder's part may come free by itself.
        let mut of_parts = wants(1, &[2], true);
        let on = of_parts.waits_on.as_mut();
        if let Some(resource) = on.and_then(|on| on.resource.as_deref_mut()) {
            resource.parts = [Address(7)].into();
        }
        assert!(found(&[of_parts, wants(2, &[1], true)]).is_empty());
        // It is about to go on.
        let ready = Task {
            state: TaskState::Ready,
            ..wants(2, &[1], true)
        };
        assert!(found(&[wants(1, &[2], true), ready]).is_empty());
        // Without anything held, it is no deadlock through holders.
        let cycle = [waits(1, WaitKind::Task, &[2]), waits(2, WaitKind::Task, &[1])];
        assert!(found(&cycle).is_empty());
    }

    #[test]
    fn all_holders_of_a_semaphore_may_be_stuck() {
        let tasks = [
            wants(1, &[2, 3], true),
            wants(2, &[1], true),
            wants(3, &[1], true),
        ];
        assert_eq!(found(&tasks), [(vec![1, 2], 1)]);
    }

    #[test]
    fn many_tasks_in_a_row_take_little() {
        const COUNT: u64 = 20_000;
        let in_row = (1..COUNT).map(|id| wants(id, &[id + 1], true));
        let mut tasks: Vec<Task> = in_row.collect();
        tasks.push(waits(COUNT, WaitKind::Future, &[]));
        assert!(found(&tasks).is_empty());
        if let Some(last) = tasks.last_mut() {
            *last = wants(COUNT, &[1], true);
        }
        let circles = circles(&tasks);
        assert_eq!(circles[0].links.len() as u64, COUNT);
    }
}
