//! Tasks with equal chains as one group, and how many they were before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Place;
use crate::memory::Address;
use crate::snapshot::{Snapshot, Stack, Task};
use crate::view::table::state_word;

/// How far back counts are remembered, in seconds.
pub(super) const MINUTE: f64 = 60.0;
/// Groups whose counts are remembered: of others only the last one is known.
const MAX_HISTORIES: usize = 4096;
/// How far two counts that are remembered are apart at least, in seconds.
const APART: f64 = 0.5;
/// Tasks by which a group has to have grown in a minute before that is told; and the share of those that it had, one in so many.
const MUCH: usize = 10;
const SHARE: usize = 10;

/// What tasks of one group have in common. What they wait for is no part of it: where the code is the same, that is called the same, and in a look
/// in which it could not be told a group would be another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pid: u32,
    pub(super) state: &'static str,
    pub(super) stack: Stack,
    type_name: Option<Arc<str>>,
}

impl Key {
    fn of(task: &Task, pid: u32) -> Self {
        let on = task.waits_on.as_ref();
        Self {
            pid,
            state: state_word(task),
            stack: Arc::clone(&task.stack),
            type_name: on.map(|on| Arc::clone(&on.type_name)),
        }
    }
}

/// What tells groups apart within one snapshot: equal chains share one allocation there, as a rule.
#[derive(PartialEq, Eq, Hash)]
struct Quick<'a> {
    pid: u32,
    state: &'static str,
    stack: usize,
    type_name: Option<&'a str>,
}

impl<'a> Quick<'a> {
    fn of(task: &'a Task, pid: u32) -> Self {
        let on = task.waits_on.as_ref();
        Self {
            pid,
            state: state_word(task),
            stack: task.stack.as_ptr().addr(),
            type_name: on.map(|on| &*on.type_name),
        }
    }
}

/// Tasks with equal chains.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: Key,
    pub(super) members: Vec<Place>,
    /// How many more they are than in the look before; `None` in the first one.
    pub(super) change: Option<i64>,
    /// The same over the last minute, or since the first look where that is not so long ago.
    pub(super) minute: Option<i64>,
    /// How many they were a minute ago, where they have only become more since.
    pub(super) grew_from: Option<usize>,
}

/// What is remembered of a group: when there were how many, the oldest first.
type History = VecDeque<(f64, usize)>;

/// The groups of the last look, and their past.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    past: HashMap<Key, History>,
    /// When each process was looked at last, in seconds.
    looks: HashMap<u32, f64>,
}

impl Groups {
    /// Takes one look.
    pub(super) fn look(&mut self, snapshots: &[Snapshot]) {
        let last: HashMap<Key, usize> = std::mem::take(&mut self.all)
            .into_iter()
            .map(|group| (group.key, group.members.len()))
            .collect();
        self.all = grouped(snapshots);
        let times: HashMap<u32, f64> = snapshots
            .iter()
            .map(|snapshot| (snapshot.pid, seconds(snapshot.captured_at)))
            .collect();
        for group in &mut self.all {
            let (pid, count) = (group.key.pid, group.members.len());
            let Some(&now) = times.get(&pid) else { continue };
            let former = self.looks.get(&pid).copied();
            if former.is_some() {
                let before = last.get(&group.key).copied().unwrap_or_default();
                group.change = Some(difference(count, before));
            }
            let has_room = self.past.len() < MAX_HISTORIES;
            let history = match self.past.get_mut(&group.key) {
                Some(history) => history,
                None if has_room => self
                    .past
                    .entry(group.key.clone())
                    // What was not there in the look before has come from nothing.
                    .or_insert_with(|| former.into_iter().map(|former| (former, 0)).collect()),
                None => continue,
            };
            note(history, now, count);
            group.minute = history
                .front()
                .filter(|(first, _)| *first < now)
                .map(|(_, before)| difference(count, *before));
            group.grew_from = grown(history, now);
        }
        self.note_gone(&times);
        self.looks = times;
    }

    /// Groups that are there no more have no tasks now, and are forgotten once they have had none for a minute.
    fn note_gone(&mut self, times: &HashMap<u32, f64>) {
        let there: HashSet<&Key> = self.all.iter().map(|group| &group.key).collect();
        self.past.retain(|key, history| {
            let Some(&now) = times.get(&key.pid) else {
                return false;
            };
            if !there.contains(key) {
                note(history, now, 0);
            }
            history.iter().any(|(_, count)| *count > 0)
        });
    }
}

/// The tasks of all processes, those with equal chains together, in the order in which they were met.
fn grouped(snapshots: &[Snapshot]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut quick: HashMap<Quick<'_>, usize> = HashMap::new();
    let mut exact: HashMap<Key, usize> = HashMap::new();
    for (process, snapshot) in snapshots.iter().enumerate() {
        for (position, task) in snapshot.tasks.iter().enumerate() {
            let found = *quick.entry(Quick::of(task, snapshot.pid)).or_insert_with(|| {
                let key = Key::of(task, snapshot.pid);
                *exact.entry(key.clone()).or_insert_with(|| {
                    groups.push(Group {
                        key,
                        members: Vec::new(),
                        change: None,
                        minute: None,
                        grew_from: None,
                    });
                    groups.len() - 1
                })
            });
            groups[found].members.push(Place {
                process: process as u32,
                task: position as u32,
            });
        }
    }
    groups
}

/// Notes a count, and forgets those that are of no use for what was a minute ago.
fn note(history: &mut History, now: f64, count: usize) {
    let is_close = |history: &History| {
        let mut last = history.iter().rev();
        match (last.next(), last.next()) {
            (Some((last, _)), Some((before, _))) => last - before < APART,
            _ => false,
        }
    };
    if is_close(history) {
        history.pop_back();
    }
    history.push_back((now, count));
    while history.get(1).is_some_and(|(time, _)| now - time >= MINUTE) {
        history.pop_front();
    }
}

/// How many there were a minute ago, where they are many more now, and were never fewer in between than before.
fn grown(history: &History, now: f64) -> Option<usize> {
    let (first, before) = *history.front()?;
    let (_, count) = *history.back()?;
    let never_fewer = history
        .iter()
        .zip(history.iter().skip(1))
        .all(|((_, one), (_, next))| one <= next);
    let is_much = count >= before.saturating_add(MUCH.max(before / SHARE));
    (now - first >= MINUTE && never_fewer && is_much).then_some(before)
}

fn difference(now: usize, before: usize) -> i64 {
    now as i64 - before as i64
}

pub(super) fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9
}

/// The ids of the members of a group.
pub(super) fn ids<'a>(group: &'a Group, snapshots: &'a [Snapshot]) -> impl Iterator<Item = Address> + 'a {
    let task = |place: &Place| place.task_of(snapshots).map(|task| task.id);
    group.members.iter().filter_map(task)
}
