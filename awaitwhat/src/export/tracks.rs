//! Where tasks are drawn in a timeline: one that begins after another one has ended takes its place, if both begin with the same function. So a program
//! whose tasks come and go has as many places as there are tasks at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use awaitwhat_common::plan::LoopId;

use crate::profile::{Stay, TaskId, Timeline};

/// What tasks begin with whose chains have no frames.
const UNKNOWN: &str = "task";

/// A place for one task after the other.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) event_loop: LoopId,
    /// The function that its tasks begin with.
    pub(super) root: Arc<str>,
    /// Which of those with this root it is, from 1 on.
    pub(super) number: usize,
    pub(super) tasks: Vec<Shown<'a>>,
}

/// What one task did.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) task: TaskId,
    /// In the order of time; never empty.
    pub(super) stays: Vec<&'a Stay>,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// The tracks of a timeline: by loop and function, then by their numbers.
pub(super) fn tracks(timeline: &Timeline) -> Vec<Track<'_>> {
    let mut of_tasks: Vec<Vec<&Stay>> = vec![Vec::new(); timeline.tasks.len()];
    for stay in &timeline.stays {
        if let Some(stays) = of_tasks.get_mut(stay.task) {
            stays.push(stay);
        }
    }
    let mut alike: BTreeMap<(LoopId, Arc<str>), Vec<Shown<'_>>> = BTreeMap::new();
    for (stays, (event_loop, task)) in of_tasks.into_iter().zip(&timeline.tasks) {
        if let Some(shown) = shown(*task, stays) {
            let root = root(timeline, &shown);
            alike.entry((*event_loop, root)).or_default().push(shown);
        }
    }
    alike.into_iter().flat_map(placed).collect()
}

fn shown(task: TaskId, mut stays: Vec<&Stay>) -> Option<Shown<'_>> {
    stays.sort_by_key(|stay| (stay.begin, stay.end));
    let (begin, end) = (stays.first()?.begin, stays.iter().map(|stay| stay.end).max()?);
    Some(Shown {
        task,
        stays,
        begin,
        end,
    })
}

/// The function that a task begins with.
fn root(timeline: &Timeline, shown: &Shown<'_>) -> Arc<str> {
    let chains = shown
        .stays
        .iter()
        .filter_map(|stay| timeline.chains.get(stay.chain));
    let root = chains.filter_map(|chain| chain.look.stack.last()).next();
    root.map_or_else(|| UNKNOWN.into(), |frame| Arc::clone(&frame.function))
}

fn placed<'a>(((event_loop, root), mut tasks): ((LoopId, Arc<str>), Vec<Shown<'a>>)) -> Vec<Track<'a>> {
    tasks.sort_by_key(|shown| (shown.begin, shown.end, shown.task.address));
    let mut tracks: Vec<Track<'a>> = Vec::new();
    // When the last task of each track ended; one that ended and began at one moment still shares it.
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for shown in tasks {
        let free = ends.peek().filter(|Reverse((end, _))| *end < shown.begin);
        let place = match free.copied() {
            Some(Reverse((_, place))) => {
                ends.pop();
                place
            }
            None => {
                tracks.push(Track {
                    event_loop,
                    root: Arc::clone(&root),
                    number: tracks.len() + 1,
                    tasks: Vec::new(),
                });
                tracks.len() - 1
            }
        };
        ends.push(Reverse((shown.end, place)));
        if let Some(track) = tracks.get_mut(place) {
            track.tasks.push(shown);
        }
    }
    tracks
}
