//! Where in the application its tasks spend their time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::ledger::{self, Look};
use super::lengths::{Lengths, WaitTimes};
use super::{Chain, ChainState, Profile, ratio};
use crate::origin::{self, Origin};
use crate::resource::Resource;
use crate::snapshot::Frame;

/// What a task awaits that gave up its turn by a plain `yield`.
pub(crate) const NEXT_TURN: &str = "its next turn";

/// A place in the application, and the time that tasks spent there.
///
/// The place is the innermost frame of those of a chain that have the highest rank ([`origin::await_point`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub function: Arc<str>,
    pub file: Arc<str>,
    pub line: u32,
    /// Whose code it is, and how much of `file` is shown.
    pub origin: Origin,
    /// What the place awaits: the function of the next frame inwards, or the name of the terminal awaitable's type, or `?` where
    /// neither is known. For a running task: the function that it calls, empty where it is itself at work.
    pub awaits: Arc<str>,
    /// Integral over time of the number of tasks there, in seconds; without those that were ready.
    pub task_seconds: f64,
    /// The same of tasks that could have gone on from there, and waited for their event loop only. 0 of running tasks.
    pub ready_seconds: f64,
    /// Share of the time of all chains of the same state, 0 to 1.
    pub share: f64,
    /// What tasks waited for there, as far as that is known, and for how long, in seconds: the most time first.
    pub resources: Vec<(Arc<Resource>, f64)>,
    /// How long the waits there took, one by one. Empty of running tasks.
    pub waits: WaitTimes,
}

/// What makes await points one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PointKey {
    function: Arc<str>,
    file: Arc<str>,
    line: u32,
    origin: Origin,
    awaits: Arc<str>,
}

/// Not escaped.
impl fmt::Display for PointKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            function,
            file,
            line,
            origin,
            awaits,
        } = self;
        let file = origin.shown(file);
        write!(formatter, "{function} ({file}:{line}), which awaits {awaits}")
    }
}

impl PointKey {
    /// The await point of a chain.
    pub(super) fn of(look: &Look) -> Self {
        let (place, awaits) = point_of(&look.stack, look.state, look.terminal.as_deref());
        let Place {
            function,
            file,
            line,
            origin,
        } = place;
        Self {
            function: function.into(),
            file: file.into(),
            line,
            origin,
            awaits: awaits.into(),
        }
    }

    /// That of chains that are added up.
    pub(super) fn others() -> Self {
        Self::of(&ledger::others())
    }

    /// That of chains whose names may have been wrong.
    pub(super) fn gone() -> Self {
        Self::of(&ledger::gone())
    }

    fn is_of(&self, point: &Point) -> bool {
        let Self {
            function,
            file,
            line,
            origin,
            awaits,
        } = self;
        (function, file, line, origin, awaits)
            == (
                &point.function,
                &point.file,
                &point.line,
                &point.origin,
                &point.awaits,
            )
    }
}

/// A thing that tasks waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitedFor {
    /// `None` where that is not known; then `terminal` is all there is to say.
    pub resource: Option<Arc<Resource>>,
    /// Name of the terminal awaitable's type, where the resource is not known.
    pub terminal: Option<Arc<str>>,
    /// Integral over time of the number of tasks that waited for it, in seconds.
    pub task_seconds: f64,
    /// Share of the time of all chains that waited, 0 to 1.
    pub share: f64,
    /// The await point at which most of that time was spent: function, file and line.
    pub point: Point,
    /// At how many others it was waited for.
    pub other_points: usize,
}

/// The await points of a profile: where tasks were suspended. Where the most time was waited comes first; what was only ready there to go
/// on waited for its event loop, and does not count.
#[must_use]
pub fn await_points(profile: &Profile) -> Vec<Point> {
    let chains = |state: ChainState| profile.chains.iter().filter(move |chain| chain.state == state);
    let whole = profile.task_seconds(ChainState::Waiting);
    let mut points = points(
        chains(ChainState::Waiting).chain(chains(ChainState::Ready)),
        whole,
    );
    add_waits(profile, &mut points);
    points
}

/// Tells how long waits took, where they were. Those of points that are added up are told with what these are added up to.
fn add_waits(profile: &Profile, points: &mut [Point]) {
    let others = PointKey::others();
    let mut of_others = Lengths::default();
    for waits in &profile.waits {
        match points.iter_mut().find(|point| waits.point.is_of(point)) {
            Some(point) if waits.point != others => point.waits = waits.lengths.times(),
            _ => of_others.merge(&waits.lengths),
        }
    }
    if let Some(point) = points.iter_mut().find(|point| others.is_of(point)) {
        point.waits = of_others.times();
    }
}

/// Where tasks ran. The most time comes first.
#[must_use]
pub fn running_points(profile: &Profile) -> Vec<Point> {
    let is_running = |chain: &&Chain| chain.state == ChainState::Running;
    let whole = profile.task_seconds(ChainState::Running);
    points(profile.chains.iter().filter(is_running), whole)
}

/// The points of some chains. Shares are of `whole`, in seconds; what was ready does not rank.
fn points<'a>(chains: impl Iterator<Item = &'a Chain>, whole: f64) -> Vec<Point> {
    let mut found: HashMap<(Place<'_>, &str), Found> = HashMap::new();
    for chain in chains {
        let key = point_of(&chain.stack, chain.state, chain.terminal.as_deref());
        let found = found.entry(key).or_default();
        if chain.state == ChainState::Ready {
            found.ready += chain.task_seconds;
            continue;
        }
        found.own += chain.task_seconds;
        if let Some(resource) = &chain.resource {
            *found.resources.entry(Arc::clone(resource)).or_default() += chain.task_seconds;
        }
    }
    let mut points: Vec<Point> = found
        .into_iter()
        .map(|((place, awaits), found)| place.point(awaits, found, whole))
        .collect();
    points.sort_by(|one, other| {
        let place = |point: &Point| {
            (
                point.file.clone(),
                point.line,
                point.function.clone(),
                point.awaits.clone(),
                point.origin,
            )
        };
        other
            .task_seconds
            .total_cmp(&one.task_seconds)
            .then_with(|| other.ready_seconds.total_cmp(&one.ready_seconds))
            .then_with(|| place(one).cmp(&place(other)))
    });
    points
}

impl WaitedFor {
    /// What it is called; `None` where nothing is known. Text of the target is as it is.
    #[must_use]
    pub fn called(&self) -> Option<String> {
        let resource = self.resource.as_ref().map(|resource| resource.called());
        resource.or_else(|| self.terminal.as_ref().map(|name| name.to_string()))
    }
}

/// What tasks waited for, wherever they did. The most time comes first.
#[must_use]
pub fn waited_for(profile: &Profile) -> Vec<WaitedFor> {
    type Thing = (Option<Arc<Resource>>, Option<Arc<str>>);
    let mut found: HashMap<Thing, Vec<&Chain>> = HashMap::new();
    let waits = profile
        .chains
        .iter()
        .filter(|chain| chain.state == ChainState::Waiting);
    for chain in waits {
        let terminal = chain.terminal.clone().filter(|_| chain.resource.is_none());
        let thing = (chain.resource.clone(), terminal);
        found.entry(thing).or_default().push(chain);
    }
    let whole = profile.task_seconds(ChainState::Waiting);
    let mut things: Vec<WaitedFor> = found
        .into_iter()
        .filter_map(|((resource, terminal), chains)| {
            let task_seconds = chains.iter().map(|chain| chain.task_seconds).sum();
            let mut points = points(chains.into_iter(), whole).into_iter();
            Some(WaitedFor {
                resource,
                terminal,
                task_seconds,
                share: ratio(task_seconds, whole),
                point: points.next()?,
                other_points: points.len(),
            })
        })
        .collect();
    things.sort_by(|one, other| {
        let by_time = other.task_seconds.total_cmp(&one.task_seconds);
        by_time
            .then_with(|| one.called().cmp(&other.called()))
            .then_with(|| (&one.resource, &one.terminal).cmp(&(&other.resource, &other.terminal)))
    });
    things
}

/// What chains of one point come to, in seconds.
#[derive(Default)]
struct Found {
    own: f64,
    ready: f64,
    resources: HashMap<Arc<Resource>, f64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Place<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
    origin: Origin,
}

impl Place<'_> {
    fn point(&self, awaits: &str, found: Found, whole: f64) -> Point {
        let mut resources: Vec<_> = found.resources.into_iter().collect();
        resources.sort_by(|(one, seconds), (other, others)| {
            let by_time = others.total_cmp(seconds);
            by_time.then_with(|| (one.called(), one).cmp(&(other.called(), other)))
        });
        Point {
            function: self.function.into(),
            file: self.file.into(),
            line: self.line,
            origin: self.origin,
            awaits: awaits.into(),
            task_seconds: found.own,
            ready_seconds: found.ready,
            share: ratio(found.own, whole),
            resources,
            waits: WaitTimes::default(),
        }
    }
}

fn point_of<'a>(stack: &'a [Frame], state: ChainState, terminal: Option<&'a str>) -> (Place<'a>, &'a str) {
    let position = origin::await_point(stack);
    let inwards = position.checked_sub(1).and_then(|next| stack.get(next));
    let end = match state {
        ChainState::Waiting => terminal.unwrap_or("?"),
        ChainState::Ready => terminal.unwrap_or(NEXT_TURN),
        ChainState::Running => "",
    };
    let awaits = inwards.map_or(end, |frame| &frame.function);
    let place = match stack.get(position) {
        Some(frame) => Place {
            function: &frame.function,
            file: &frame.file,
            line: frame.line,
            origin: frame.origin,
        },
        None => Place {
            function: "?",
            file: "",
            line: 0,
            origin: Origin::default(),
        },
    };
    (place, awaits)
}

#[cfg(test)]
mod tests {
    use super::{Point, await_points, running_points};
    use crate::origin::Origin;
    use crate::profile::Profile;
    use crate::snapshot::Frame;
    use crate::testing::{chain, frame, profile, ready, running, small_profile};

    fn shown(points: &[Point]) -> String {
        let line = |point: &Point| {
            let Point {
                function,
                file,
                line,
                awaits,
                origin: _,
                task_seconds,
                ready_seconds,
                share,
                resources,
                waits: _,
            } = point;
            let ready = match ready_seconds {
                0.0 => String::new(),
                _ => format!("(and {ready_seconds:.2} ready) "),
            };
            let resources: Vec<_> = resources
                .iter()
                .map(|(it, seconds)| format!(" [{} {seconds:.2}]", it.called()))
                .collect();
            let resources = resources.concat();
            format!("{task_seconds:.2} {ready}{share:.3} {function} {file}:{line} -> {awaits}{resources}\n")
        };
        points.iter().map(line).collect()
    }

    #[test]
    fn the_innermost_application_frame_and_what_it_awaits() {
        insta::assert_snapshot!(shown(&await_points(&small_profile())), @"
        60.00 0.605 Pool.worker /srv/app.py:20 -> sleep
        29.00 0.292 Pool.worker /srv/app.py:22 -> Lock.acquire
        10.00 0.101 main /srv/app.py:61 -> _GatheringFuture
        0.25 0.003 rare /srv/app.py:99 -> Future
        ");
    }

    #[test]
    fn running_chains_are_apart() {
        insta::assert_snapshot!(shown(&running_points(&small_profile())), @"0.50 1.000 crunch /srv/app.py:7 -> ");
    }

    #[test]
    fn what_is_ready_does_not_rank() {
        let at = |line| [frame("worker", "/srv/app.py", line)];
        let profile = profile(vec![
            ready(&at(1), Some("Future"), 98.0),
            chain(&at(1), Some("Future"), 0.5),
            chain(&at(2), Some("Future"), 1.5),
            ready(&at(3), None, 5.0),
            running(&at(4), 2.0),
        ]);
        insta::assert_snapshot!(shown(&await_points(&profile)), @"
        1.50 0.750 worker /srv/app.py:2 -> Future
        0.50 (and 98.00 ready) 0.250 worker /srv/app.py:1 -> Future
        0.00 (and 5.00 ready) 0.000 worker /srv/app.py:3 -> its next turn
        ");
        insta::assert_snapshot!(shown(&running_points(&profile)), @"2.00 1.000 worker /srv/app.py:4 -> ");
    }

    #[test]
    fn chains_of_one_point_add_up() {
        let library = |line| frame("get", "/venv/lib/python3.12/site-packages/pool.py", line);
        let handler = || frame("handler", "/srv/app.py", 5);
        let deeper = frame("wait", "/usr/lib/python3.12/asyncio/tasks.py", 1);
        let profile: Profile = profile(vec![
            chain(&[library(1), handler()], Some("Future"), 1.0),
            chain(
                &[deeper, library(2), handler(), frame("main", "/srv/app.py", 1)],
                Some("Future"),
                2.0,
            ),
        ]);
        insta::assert_snapshot!(shown(&await_points(&profile)), @"3.00 1.000 handler /srv/app.py:5 -> get");
    }

    #[test]
    fn without_an_application_frame_the_innermost_counts() {
        let unknown = Frame {
            origin: Origin::default(),
            ..frame("?", "", 0)
        };
        let library = frame("serve_forever", "/usr/lib/python3.12/asyncio/base_events.py", 3);
        let profile = profile(vec![
            chain(&[unknown, library], Some("Future"), 1.0),
            chain(&[], None, 1.0),
            running(&[], 1.0),
        ]);
        insta::assert_snapshot!(shown(&await_points(&profile)), @"
        1.00 0.500 ? :0 -> ?
        1.00 0.500 serve_forever /usr/lib/python3.12/asyncio/base_events.py:3 -> ?
        ");
    }
}
