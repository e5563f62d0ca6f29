//! Who waits for whom: joins what tasks say that they wait for with what the callbacks of others lead to.
//!
//! An address is no identity: a task, or a future, that is gone leaves its address to the next one. So an edge takes both sides. The awaiting
//! one says what ends its chain; the callbacks of the awaited one lead there. Of two records of one turn of the loop that is enough. Of
//! two turns it is only where the callbacks lead on to the awaiting task itself, and that one was read both before and after them, as one and the
//! same task that waited for the same: a task and its future that are gone may leave both of their addresses to the next two. What is neither
//! is left out, and counted.

use foldhash::{HashMap, HashMapExt as _};

use crate::decode::Origin;
use crate::memory::Address;

/// Edges of one snapshot.
const MAX_EDGES: usize = 1 << 22;

/// A turn of an event loop: records of the same one belong together.
///
/// A thread that rests has had as much CPU time as when it was last asked exactly where it did not run in between. A sample in its own
/// context stands for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    tid: u32,
    in_context: bool,
    mark: u64,
}

impl Turn {
    /// The turn of a record.
    pub fn of(origin: &Origin) -> Self {
        Self {
            tid: origin.event_loop.tid,
            in_context: origin.in_context,
            mark: if origin.in_context {
                origin.time
            } else {
                origin.runtime
            },
        }
    }
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A task: nothing else waits by it.
    Task(Address),
    /// A future, which may stand for tasks that lead to it.
    Future(Address),
}

/// One task, as an awaiting and as an awaited one.
#[derive(Clone, Debug)]
pub struct Side {
    pub task: Address,
    pub turn: Turn,
    /// When it was read, in ns.
    pub time: u64,
    /// What was read later of the same task, which waits for the same.
    pub again: Option<Again>,
    /// The future that it waits for; none where it waits for nothing, or is ready.
    pub end: Option<End>,
    /// The object whose method it waits in for several others, a `TaskGroup` say.
    pub group: Option<Address>,
    /// Others of that kind that it has open, outermost first, without waiting for those that belong to them.
    pub open_groups: Box<[Address]>,
    /// What its callbacks lead to.
    pub links: Box<[Address]>,
    /// How many callbacks it has, where that is not all that they lead to; else 0.
    pub cut_callbacks: u32,
}

/// What a second look has found of a task that has not moved since the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// When it was read, in ns.
    pub time: u64,
    /// What its callbacks lead to by then.
    pub links: Box<[Address]>,
}

impl Side {
    /// Whether it was inside of what it has open when `awaited` was read: as long as it does not move it is.
    fn is_open_for(&self, awaited: &Self) -> bool {
        let again = self.again.as_ref();
        self.turn == awaited.turn
            || again.is_some_and(|again| (self.time..=again.time).contains(&awaited.time))
    }

    /// Whether it waited for `link` all the while when callbacks of `awaited` led there, and on to itself.
    fn waits_meanwhile(&self, awaited: &Self, link: Option<Address>) -> bool {
        let Some(again) = &self.again else { return false };
        let meanwhile = self.time..=again.time;
        let leads_here =
            |links: &[Address]| links.contains(&self.task) && link.is_none_or(|link| links.contains(&link));
        let later = awaited.again.as_ref();
        (meanwhile.contains(&awaited.time) && leads_here(&awaited.links))
            || later.is_some_and(|it| meanwhile.contains(&it.time) && leads_here(&it.links))
    }
}

/// Tasks that each task waits for, in ascending order, and whether there may be more, which is not proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    pub tasks: Vec<Address>,
    pub is_incomplete: bool,
    /// The groups that it has open, outermost first, and the tasks that belong to each, in ascending order.
    pub open: Vec<(Address, Vec<Address>)>,
}

/// What all tasks wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// One item for each task.
    pub waits: Vec<Waits>,
    /// Tasks that may be awaited by more than is known: not all of their callbacks were looked at, and have no awaiter that is known.
    pub unknown_awaiters: u64,
}

/// Joins the sides of all tasks.
pub fn join(sides: &[Side]) -> Joined {
    let mut by_task: HashMap<Address, Vec<usize>> = HashMap::new();
    let mut by_future: HashMap<Address, Vec<usize>> = HashMap::new();
    let mut by_group: HashMap<Address, Vec<usize>> = HashMap::new();
    for (position, side) in sides.iter().enumerate() {
        match side.end {
            Some(End::Task(task)) => by_task.entry(task).or_default().push(position),
            Some(End::Future(future)) => by_future.entry(future).or_default().push(position),
            None => {}
        }
        if let Some(group) = side.group {
            by_group.entry(group).or_default().push(position);
        }
    }
    let mut waits = vec![Waits::default(); sides.len()];
    let mut room = MAX_EDGES;
    let mut unknown_awaiters = 0;
    for awaited in sides {
        let meanwhile = |awaiter: usize, link| sides[awaiter].waits_meanwhile(awaited, link);
        let direct = awaiters(&by_task, awaited.task).map(|it| (it, meanwhile(it, None)));
        let by_links = awaited.links.iter().flat_map(|&link| {
            let futures = awaiters(&by_future, link).map(move |it| (it, meanwhile(it, Some(link))));
            // Callbacks of members lead to the group, and no further.
            futures.chain(awaiters(&by_group, link).map(|it| (it, false)))
        });
        let mut callbacks = 0_u32;
        for (awaiter, is_proven) in direct.chain(by_links) {
            let of_one_turn = sides[awaiter].turn == awaited.turn;
            if (of_one_turn || is_proven) && room > 0 {
                room -= 1;
                callbacks = callbacks.saturating_add(1);
                waits[awaiter].tasks.push(awaited.task);
            } else {
                waits[awaiter].is_incomplete = true;
            }
        }
        unknown_awaiters += u64::from(callbacks < awaited.cut_callbacks);
    }
    for waits in &mut waits {
        waits.tasks.sort_unstable();
        waits.tasks.dedup();
    }
    join_open(sides, &mut waits);
    Joined {
        waits,
        unknown_awaiters,
    }
}

/// Says which tasks belong to the groups that others have open.
fn join_open(sides: &[Side], waits: &mut [Waits]) {
    let mut openers: HashMap<Address, Vec<usize>> = HashMap::new();
    for (position, side) in sides.iter().enumerate() {
        for group in side
            .open_groups
            .iter()
            .filter(|group| Some(**group) != side.group)
        {
            openers.entry(*group).or_default().push(position);
            waits[position].open.push((*group, Vec::new()));
        }
    }
    if openers.is_empty() {
        return;
    }
    for awaited in sides {
        for link in &awaited.links {
            for opener in awaiters(&openers, *link).filter(|opener| sides[*opener].task != awaited.task) {
                let is_proven = sides[opener].is_open_for(awaited);
                let open = &mut waits[opener];
                open.is_incomplete |= !is_proven;
                let group = open.open.iter_mut().find(|(group, _)| group == link);
                if let (true, Some((_, tasks))) = (is_proven, group) {
                    tasks.push(awaited.task);
                }
            }
        }
    }
    for Waits {
        tasks: awaited, open, ..
    } in waits
    {
        for (_, tasks) in open.iter_mut() {
            tasks.sort_unstable();
            tasks.dedup();
        }
        // Some releases wait for all of a group's tasks by another function's future.
        open.retain(|(_, tasks)| !tasks.iter().all(|task| awaited.binary_search(task).is_ok()));
    }
}

/// Positions of those who wait for what lies at `address`.
fn awaiters(places: &HashMap<Address, Vec<usize>>, address: Address) -> impl Iterator<Item = usize> {
    places.get(&address).into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(mark: u64) -> Turn {
        Turn {
            tid: 1,
            in_context: false,
            mark,
        }
    }

    /// Tasks have addresses that end with a zero here, futures have not.
    fn side(task: u64, mark: u64, end: Option<u64>, links: &[u64]) -> Side {
        Side {
            task: Address(task),
            turn: turn(mark),
            time: mark,
            again: None,
            end: end.map(|end| {
                let is_task = end >= 0x10 && end % 0x10 == 0;
                if is_task {
                    End::Task(Address(end))
                } else {
                    End::Future(Address(end))
                }
            }),
            group: None,
            open_groups: Box::default(),
            links: links.iter().copied().map(Address).collect(),
            cut_callbacks: 0,
        }
    }

    fn found(sides: &[Side]) -> Vec<(u64, Vec<u64>, bool)> {
        let plain = |(side, waits): (&Side, Waits)| {
            let tasks = waits.tasks.iter().map(|task| task.0).collect();
            (side.task.0, tasks, waits.is_incomplete)
        };
        sides.iter().zip(join(sides).waits).map(plain).collect()
    }

    #[test]
    fn a_task_that_awaits_another_is_called_back_by_it() {
        let sides = [side(0x10, 1, Some(0x20), &[]), side(0x20, 1, Some(0xf), &[0x10])];
        assert_eq!(found(&sides)[0], (0x10, vec![0x20], false));
        assert_eq!(found(&sides)[1], (0x20, vec![], false));
    }

    #[test]
    fn a_group_that_is_open_has_its_tasks_below_it() {
        let opener = |mark, again: Option<u64>| Side {
            open_groups: [0x9, 0x8].map(Address).into(),
            again: again.map(|time| Again {
                time,
                links: Box::default(),
            }),
            ..side(0x10, mark, Some(0xa), &[])
        };
        let open = |sides: &[Side]| join(sides).waits.swap_remove(0).open;
        let child = |task, mark| side(task, mark, Some(0xf), &[0x9]);
        let group = |tasks: &[u64]| {
            vec![(
                Address(0x9),
                tasks.iter().copied().map(Address).collect::<Vec<_>>(),
            )]
        };
        // Of one turn; and of another one, where it did not move meanwhile, or else may have.
        assert_eq!(
            open(&[opener(1, None), child(0x30, 1), child(0x20, 1)]),
            group(&[0x20, 0x30])
        );
        assert_eq!(
            open(&[opener(1, Some(3)), child(0x20, 2), child(0x30, 4)]),
            group(&[0x20])
        );
        assert!(join(&[opener(1, None), child(0x20, 2)]).waits[0].is_incomplete);
        // It waits for all of them, by the group itself or by something else.
        let waiting = Side {
            group: Some(Address(0x9)),
            ..opener(1, None)
        };
        assert!(open(&[waiting, child(0x20, 1)]).is_empty());
        let by_future = side(0x20, 1, Some(0xf), &[0x9, 0xa]);
        assert!(open(&[opener(1, None), by_future]).is_empty());
    }

    #[test]
    fn a_future_stands_between() {
        let sides = [
            side(0x10, 1, Some(0xa), &[]),
            side(0x20, 1, Some(0xf), &[0xb, 0xa, 0x10]),
            side(0x30, 1, Some(0xf), &[0xa, 0x10, 0xa]),
        ];
        assert_eq!(found(&sides)[0], (0x10, vec![0x20, 0x30], false));
    }

    #[test]
    fn who_awaits_an_awaiter_does_not_await_what_that_awaits() {
        let sides = [
            side(0x10, 1, Some(0x20), &[]),
            side(0x20, 1, Some(0xa), &[0x10]),
            side(0x30, 1, Some(0xf), &[0xa, 0x20]),
        ];
        assert_eq!(found(&sides)[0], (0x10, vec![0x20], false));
        assert_eq!(found(&sides)[1], (0x20, vec![0x30], false));
    }

    #[test]
    fn an_address_of_another_turn_proves_nothing() {
        // What ended the chain then is another one's now.
        let gone = [side(0x10, 1, Some(0xa), &[]), side(0x20, 2, None, &[0xa, 0x11])];
        assert_eq!(found(&gone)[0], (0x10, vec![], true));
        let direct = [side(0x10, 1, Some(0x20), &[]), side(0x20, 2, None, &[])];
        assert_eq!(found(&direct)[0], (0x10, vec![], true));
        // Both may be gone, and have left their addresses to a task and a future that belong together.
        let both = [side(0x10, 1, Some(0xa), &[]), side(0x20, 2, None, &[0xa, 0x10])];
        assert_eq!(found(&both)[0], (0x10, vec![], true));
    }

    #[test]
    fn who_waits_for_the_same_before_and_after_waits_for_it_meanwhile() {
        let again = |time, links: &[u64]| {
            Some(Again {
                time,
                links: links.iter().copied().map(Address).collect(),
            })
        };
        let mut awaiting = side(0x10, 1, Some(0xa), &[]);
        awaiting.again = again(3, &[]);
        let edges = |awaiting: &Side, awaited: Side| found(&[awaiting.clone(), awaited])[0].1.clone();
        let awaited = |mark, links: &[u64]| side(0x20, mark, None, links);
        assert_eq!(edges(&awaiting, awaited(2, &[0xa, 0x10])), [0x20]);
        assert!(edges(&awaiting, awaited(2, &[0xa, 0x30])).is_empty());
        assert!(edges(&awaiting, awaited(4, &[0xa, 0x10])).is_empty());
        // What is read first the first time is read first again.
        let mut before = awaited(0, &[0xa, 0x10]);
        assert!(edges(&awaiting, before.clone()).is_empty());
        before.again = again(2, &[0xa, 0x10]);
        assert_eq!(edges(&awaiting, before.clone()), [0x20]);
        before.again = again(2, &[0xb, 0x10]);
        assert!(edges(&awaiting, before).is_empty());
        let mut direct = side(0x10, 1, Some(0x20), &[]);
        direct.again = again(3, &[]);
        assert_eq!(edges(&direct, awaited(2, &[0x10])), [0x20]);
        assert!(edges(&direct, awaited(2, &[0x30])).is_empty());
    }

    #[test]
    fn who_is_called_back_and_waits_for_something_else_does_not_wait_for_it() {
        let sides = [side(0x10, 1, Some(0xf), &[]), side(0x20, 1, None, &[0x10])];
        assert_eq!(found(&sides)[0], (0x10, vec![], false));
    }

    #[test]
    fn members_of_a_group_lead_to_it_in_the_same_turn_only() {
        let mut parent = side(0x10, 1, Some(0xf), &[]);
        parent.group = Some(Address(0x60));
        let sides = [
            parent,
            side(0x20, 1, None, &[0x60]),
            side(0x30, 2, None, &[0x60, 0x10]),
        ];
        assert_eq!(found(&sides)[0], (0x10, vec![0x20], true));
    }

    #[test]
    fn awaiters_behind_callbacks_that_were_not_looked_at_are_counted() {
        let mut awaited = side(0x20, 1, None, &[0x10]);
        let awaiting = |task| side(task, 1, Some(0x20), &[]);
        awaited.cut_callbacks = 2;
        let unknown = |sides: &[Side]| join(sides).unknown_awaiters;
        assert_eq!(unknown(&[awaited.clone(), awaiting(0x10)]), 1);
        assert_eq!(unknown(&[awaited, awaiting(0x10), awaiting(0x11)]), 0);
    }

    #[test]
    fn a_sample_in_context_is_a_turn_of_its_own() {
        let origin = |in_context, time, runtime| Origin {
            event_loop: awaitwhat_common::plan::LoopId { tid: 7, slot: 0 },
            pid: 1,
            in_context,
            time,
            runtime,
            pass: 1,
        };
        assert_eq!(Turn::of(&origin(false, 1, 5)), Turn::of(&origin(false, 2, 5)));
        assert_ne!(Turn::of(&origin(false, 1, 5)), Turn::of(&origin(false, 1, 6)));
        assert_ne!(Turn::of(&origin(true, 1, 5)), Turn::of(&origin(true, 2, 5)));
        assert_ne!(Turn::of(&origin(true, 5, 5)), Turn::of(&origin(false, 5, 5)));
    }
}
