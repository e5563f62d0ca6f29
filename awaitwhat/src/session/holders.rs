//! Who has what others wait for, once all tasks of a snapshot are known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::gathering::Visit;
use super::observer::Observer;
use super::rests::Runs;
use super::waits::{self, Readers};
use crate::findings::{Deadlock, Deadlocked, Finding};
use crate::graph::{self, Circle, Link};
use crate::memory::{Address, Fault};
use crate::python::readable;
use crate::resource::{Holding, Resource, ResourceKind};
use crate::snapshot::{Losses, Snapshot, Task, TaskState};

/// Times that tasks which may be in a deadlock are looked at again, as long as their threads do not rest meanwhile, and the pause between two.
const MAX_LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);
/// Moments in which they have to be found so.
const MOMENTS: u32 = 2;

/// Who has the objects, by their addresses.
type Holders = HashMap<Address, HoldersOfOne>;

/// Who has one object.
#[derive(Default)]
struct HoldersOfOne {
    /// In ascending order.
    tasks: Vec<Address>,
    /// How often those have it that have it for themselves.
    times: u64,
}

/// Says of each thing that somebody has which tasks do. `visits` are those of `tasks`, and `losses` what else there is.
pub(super) fn name(tasks: &mut [Task], visits: &[Visit], losses: &Losses) {
    if !tasks.iter().any(|task| wanted(task).is_some()) {
        return;
    }
    let holders = holders(tasks, visits);
    let only = only_waited_for(tasks, losses);
    for task in tasks.iter_mut() {
        let Some(resource) = wanted_mut(task) else {
            continue;
        };
        let found = if resource.parts.is_empty() {
            whole(resource, &holders)
        } else {
            of_parts(resource, &holders)
        };
        resource.holding = match found {
            Some(found) => found,
            None if only.is_some() && only == resource.id => Holding::OnlyWaiters,
            None => Holding::Unknown,
        };
    }
}

/// A resource that somebody has, but it is not known who does.
fn wanted(task: &Task) -> Option<&Resource> {
    let resource = task.waits_on.as_ref()?.resource.as_deref()?;
    (resource.holding == Holding::Unknown).then_some(resource)
}

fn wanted_mut(task: &mut Task) -> Option<&mut Resource> {
    let resource = task.waits_on.as_mut()?.resource.as_deref_mut()?;
    (resource.holding == Holding::Unknown).then_some(resource)
}

/// Those that have the one thing; `None` where nobody is known.
fn whole(resource: &Resource, holders: &Holders) -> Option<Holding> {
    let found = holders.get(&resource.id?)?;
    Some(Holding::Tasks {
        are_all: are_all(resource, found.times),
        tasks: found.tasks.clone(),
    })
}

/// Those that have parts of a thing; `None` where nobody is known. They are all that there are if each part has one of its own: of a part
/// that several have, others may have it as well.
fn of_parts(resource: &Resource, holders: &Holders) -> Option<Holding> {
    let of_part = |part: &Address| holders.get(part).map_or(&[][..], |found| &found.tasks[..]);
    let tasks: BTreeSet<Address> = resource.parts.iter().flat_map(of_part).copied().collect();
    let has_one = |part| of_part(part).len() == 1;
    let is_whole = resource.size == i64::try_from(resource.parts.len()).ok();
    (!tasks.is_empty()).then(|| Holding::Tasks {
        are_all: is_whole && resource.parts.iter().all(has_one),
        tasks: tasks.into_iter().collect(),
    })
}

/// Of a part that a task has for itself, no other is a holder that knows it, too.
fn holders(tasks: &[Task], visits: &[Visit]) -> Holders {
    let each = || {
        let both = tasks.iter().zip(visits);
        both.flat_map(|(task, visit)| visit.held.iter().map(move |held| (task.id, held)))
    };
    let own: HashSet<(Address, Address)> = each()
        .filter(|(_, held)| held.is_own)
        .filter_map(|(_, held)| Some((held.object, held.part?)))
        .collect();
    let mut holders = Holders::new();
    for (task, held) in each() {
        let is_anothers = |part| own.contains(&(held.object, part));
        if !held.is_own && held.part.is_some_and(is_anothers) {
            continue;
        }
        let of_object = holders.entry(held.object).or_default();
        of_object.tasks.push(task);
        of_object.times += u64::from(held.is_own);
    }
    for of_object in holders.values_mut() {
        of_object.tasks.sort_unstable();
        of_object.tasks.dedup();
    }
    holders
}

/// Whether these have all there is to have: the one lock, or as much as the limit says.
fn are_all(resource: &Resource, times: u64) -> bool {
    if resource.kind == ResourceKind::Lock {
        return true;
    }
    resource
        .limit
        .and_then(|limit| u64::try_from(limit).ok())
        .is_some_and(|limit| limit > 0 && times >= limit)
}

/// The one thing that all tasks wait for, directly or through others, so that none is left to let go of it. `None` where there are tasks that
/// are not known, or of which it is not known what they have.
fn only_waited_for(tasks: &[Task], losses: &Losses) -> Option<Address> {
    let lost = [
        losses.torn,
        losses.faults,
        losses.refused,
        losses.ring_buffer_full,
        losses.undecodable,
        losses.opaque,
        losses.incomplete,
        losses.truncated,
        losses.edges,
        losses.waits,
    ];
    if lost.iter().any(|lost| *lost > 0) || tasks.iter().any(|task| task.state != TaskState::Pending) {
        return None;
    }
    let waits_for_tasks = |task: &&Task| task.waits_on.as_ref().is_some_and(|on| !on.tasks.is_empty());
    let mut others = tasks.iter().filter(|task| !waits_for_tasks(task));
    let first = wanted(others.next()?)?.id?;
    others
        .all(|task| wanted(task).is_some_and(|resource| resource.id == Some(first)))
        .then_some(first)
}

/// Puts the deadlocks of a snapshot before all else that was found. Unless it is proven that no thread ran while it was made, each has to be there
/// when its tasks alone are looked at again.
pub(super) fn find_deadlocks(
    observer: &Observer,
    snapshot: &mut Snapshot,
    visits: &[Visit],
    is_proven: bool,
) -> Result<(), Fault> {
    let tasks = &snapshot.tasks;
    let mut found = Vec::new();
    for circle in graph::circles(tasks) {
        if is_proven || is_confirmed(observer, tasks, visits, &circle)? {
            found.push(deadlock(tasks, &circle));
        }
    }
    snapshot.findings.splice(0..0, found);
    Ok(())
}

fn deadlock(tasks: &[Task], circle: &Circle) -> Finding {
    let deadlocked = |link: &Link| Deadlocked {
        task: tasks[link.task].id,
        name: tasks[link.task].name.clone(),
        waits_for: of_held(tasks, link).cloned().map(Box::new),
        deadline_ns: wait_of(&tasks[link.task]).and_then(|wait| wait.deadline_ns),
    };
    Finding::Deadlock(Deadlock {
        tasks: circle.links.iter().map(deadlocked).collect(),
        behind: circle.behind,
    })
}

fn wait_of(task: &Task) -> Option<&Resource> {
    task.waits_on.as_ref()?.resource.as_deref()
}

/// What a task of a circle waits for, where the next one holds that.
fn of_held<'a>(tasks: &'a [Task], link: &Link) -> Option<&'a Resource> {
    wait_of(&tasks[link.task]).filter(|_| link.is_held)
}

/// Whether the tasks of a circle hold what others of it wait for in two moments more. Tasks, futures and frames leave their addresses to others at
/// once: what was read of them one after the other may be of several moments.
fn is_confirmed(
    observer: &Observer,
    tasks: &[Task],
    visits: &[Visit],
    circle: &Circle,
) -> Result<bool, Fault> {
    let mut moments = 0;
    for _ in 0..MAX_LOOKS {
        match look(observer, tasks, visits, circle)? {
            Some(true) => moments += 1,
            Some(false) => return Ok(false),
            None => {}
        }
        if moments == MOMENTS {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Whether the circle is there; `None` where the threads of its tasks did not rest all the while.
fn look(
    observer: &Observer,
    tasks: &[Task],
    visits: &[Visit],
    circle: &Circle,
) -> Result<Option<bool>, Fault> {
    let mut threads: Vec<Option<u32>> = circle.links.iter().map(|link| tasks[link.task].tid).collect();
    threads.sort_unstable();
    threads.dedup();
    let runs = || {
        let of_thread = |thread: &Option<u32>| Runs::of(observer.pid, (*thread)?);
        threads.iter().map(of_thread).collect::<Option<Vec<Runs>>>()
    };
    let before = runs();
    let are_asleep = threads
        .iter()
        .flatten()
        .all(|thread| is_asleep(observer.pid, *thread));
    if before.is_none() || !are_asleep {
        return Ok(None);
    }
    observer.memory.forget();
    let is_there = is_there(observer, tasks, visits, &circle.links)?;
    Ok((runs() == before).then_some(is_there))
}

/// Whether each task waits for what it was found to wait for, and has what the one before it does.
fn is_there(observer: &Observer, tasks: &[Task], visits: &[Visit], links: &[Link]) -> Result<bool, Fault> {
    let mut readers = Readers::default();
    let id_of = |link: &Link| of_held(tasks, link).and_then(|resource| resource.id);
    let befores = links.iter().cycle().skip(links.len() - 1);
    for (link, before) in links.iter().zip(befores) {
        let visit = &visits[link.task];
        let Some(reader) = waits::reader(&mut readers, observer, visit.layout) else {
            return Ok(false);
        };
        let waiting = waits::waiting(observer, &visit.suspended(), None);
        if let Some(id) = id_of(link) {
            let now = readable(reader.resource(&waiting))?.flatten();
            let is_same = now.is_some_and(|now| now.id == Some(id) && now.holding == Holding::Unknown);
            if !is_same {
                return Ok(false);
            }
        }
        let wanted: foldhash::HashSet<Address> = id_of(before).into_iter().collect();
        let held = readable(reader.held(&waiting, &wanted))?;
        if held.is_none_or(|held| held.is_empty() && !wanted.is_empty()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a thread is asleep, as `/proc/PID/task/TID/stat` tells its state (`Documentation/filesystems/proc.rst`).
fn is_asleep(pid: u32, tid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    // Its name, which comes before, may have brackets and spaces itself.
    let state = stat.rsplit_once(") ").map(|(_, behind)| behind);
    state.is_some_and(|state| state.starts_with('S'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{frame, task};

    /// Those that have parts of a pool of which `size` are in use, and whether they are all. `have` says which tasks have which part.
    fn found(size: i64, have: &[(u64, &[u64])]) -> Option<(Vec<u64>, bool)> {
        let pool = Resource {
            parts: have.iter().map(|(part, _)| Address(*part)).collect(),
            size: Some(size),
            ..Resource::of_kind(ResourceKind::Pool)
        };
        let of_part = |tasks: &[u64]| HoldersOfOne {
            tasks: tasks.iter().copied().map(Address).collect(),
            times: tasks.len() as u64,
        };
        let holders = have.iter().filter(|(_, tasks)| !tasks.is_empty());
        let holders = holders.map(|(part, tasks)| (Address(*part), of_part(tasks)));
        match of_parts(&pool, &holders.collect())? {
            Holding::Tasks { tasks, are_all } => Some((tasks.iter().map(|task| task.0).collect(), are_all)),
            other => panic!("{other:?} is no answer"),
        }
    }

    #[test]
    fn nobody_is_left_to_let_go_only_where_all_is_known() {
        let waits_for_lock = |id| {
            let mut task = task(id, "worker", &[frame("work", "/srv/app.py", 1)]);
            let lock = Resource {
                id: Some(Address(0xa0)),
                holding: Holding::Unknown,
                ..Resource::of_kind(ResourceKind::Lock)
            };
            task.waits_on.as_mut().expect("it waits").resource = Some(Box::new(lock));
            task
        };
        let tasks = [waits_for_lock(1), waits_for_lock(2)];
        let none = Losses::default;
        assert_eq!(only_waited_for(&tasks, &none()), Some(Address(0xa0)));
        let unknown = [
            Losses { torn: 1, ..none() },
            Losses {
                truncated: 1,
                ..none()
            },
            Losses { waits: 1, ..none() },
        ];
        for losses in unknown {
            assert_eq!(only_waited_for(&tasks, &losses), None, "{losses:?}");
        }
    }

    #[test]
    fn those_that_have_parts_are_all_where_each_part_has_one() {
        assert_eq!(
            found(2, &[(1, &[0x20]), (2, &[0x10])]),
            Some((vec![0x10, 0x20], true))
        );
        assert_eq!(found(2, &[(1, &[0x10]), (2, &[0x10])]), Some((vec![0x10], true)));
        // Of a part that several have, others may have it as well; and so of one that nobody known has, or that was not read.
        assert_eq!(found(1, &[(1, &[0x10, 0x20])]), Some((vec![0x10, 0x20], false)));
        assert_eq!(found(2, &[(1, &[0x10]), (2, &[])]), Some((vec![0x10], false)));
        assert_eq!(found(2, &[(1, &[0x10])]), Some((vec![0x10], false)));
        assert_eq!(found(1, &[(1, &[])]), None);
    }
}
