//! Two profiles side by side: what became more, what became less, and how far chance alone may have made that.
//!
//! Lines move when code is edited. A function that was met in both profiles, on lines that have nothing in common but their number, is taken for one that
//! has moved: its first line before is its first one after, and so on.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::{Chain, ChainState, Point, Profile, await_points, merged_chains, ratio};
use crate::origin::Origin;
use crate::resource::Resource;
use crate::snapshot::{Frame, Stack};

/// How many standard errors may be chance: a normal variable is nearer to its mean in 19 of 20 cases.
const ERRORS: f64 = 2.0;

/// Two profiles, ready to be compared.
#[derive(Clone, Debug)]
pub struct Diff {
    /// The earlier one, with the paths and lines that its functions have in the later one.
    pub before: Profile,
    pub after: Profile,
    /// Lines of the earlier one that were changed for that, by the line that took their place.
    moved: HashMap<Place, u32>,
    /// What one visit stands for in the earlier and in the later one: a mean number of tasks.
    visits: [f64; 2],
}

/// How much there was of something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    /// Integral over time of the number of tasks, in seconds.
    pub task_seconds: f64,
    /// Mean number of tasks.
    pub mean_tasks: f64,
    /// Of the time of all tasks in the same state, 0 to 1.
    pub share: f64,
    /// Answers of equal weight that tell it from what is waited for at the same place: see [`Chain::answers`].
    pub answers: f64,
}

/// How something has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<T> {
    pub what: T,
    pub before: Amount,
    pub after: Amount,
    /// How far the mean number of tasks may differ by the chance of sampling alone: two standard errors, at most.
    pub margin: f64,
}

/// An await point of either profile. It has the time of the later one; that of the earlier where it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceChange {
    pub point: Point,
    /// The line that it had before, where that was another.
    pub line_before: Option<u32>,
}

/// Function, file and line.
type Place = (Arc<str>, Arc<str>, u32);

impl<T> Change<T> {
    /// By how much the mean number of tasks has changed.
    #[must_use]
    pub fn by(&self) -> f64 {
        self.after.mean_tasks - self.before.mean_tasks
    }

    /// Whether that is more than chance makes of it.
    #[must_use]
    pub fn is_beyond_chance(&self) -> bool {
        self.by().abs() > self.margin
    }
}

impl Diff {
    /// Compares two profiles.
    #[must_use]
    pub fn new(mut before: Profile, after: Profile) -> Self {
        let functions = functions_of(&after);
        let (renamed, moved) = correspondence(&functions_of(&before), &functions);
        let chains = std::mem::take(&mut before.chains);
        before.chains = merged_chains(chains.into_iter().map(|chain| Chain {
            stack: renamed_stack(&chain.stack, &renamed),
            ..chain
        }));
        Self {
            visits: [visit(&before), visit(&after)],
            before,
            after,
            moved,
        }
    }

    /// How the await points have changed, the most first.
    #[must_use]
    pub fn points(&self) -> Vec<Change<PlaceChange>> {
        let key = |point: &Point| {
            let place = (point.function.clone(), point.file.clone(), point.line);
            (place, point.awaits.clone())
        };
        let side = |profile: &Profile| {
            let points = await_points(profile).into_iter();
            let amount = |point: Point| {
                let amount = Amount {
                    task_seconds: point.task_seconds,
                    mean_tasks: ratio(point.task_seconds, profile.duration_seconds),
                    share: point.share,
                    answers: 0.0,
                };
                (key(&point), (point, amount))
            };
            points.map(amount).collect::<HashMap<_, _>>()
        };
        let sides = (side(&self.before), side(&self.after));
        let mut changes: Vec<_> = joined(sides)
            .map(|((place, _), point, before, after)| Change {
                margin: self.margin(before, after, 0.0),
                what: PlaceChange {
                    line_before: self.moved.get(&place).copied(),
                    point,
                },
                before,
                after,
            })
            .collect();
        sort(&mut changes, |what: &PlaceChange| {
            let point = &what.point;
            (
                point.file.clone(),
                point.line,
                point.function.clone(),
                point.awaits.clone(),
            )
        });
        changes
    }

    /// How the chains have changed, those that ran and those that were ready too, the most first. Their times are those of the later profile.
    #[must_use]
    pub fn chains(&self) -> Vec<Change<Chain>> {
        let key = |chain: &Chain| {
            (
                chain.stack.clone(),
                chain.state,
                chain.terminal.clone(),
                chain.resource.clone(),
            )
        };
        let side = |profile: &Profile| {
            // Of all states at once: a file may have millions of chains.
            let mut sums: HashMap<ChainState, f64> = HashMap::new();
            for chain in &profile.chains {
                *sums.entry(chain.state).or_default() += chain.task_seconds;
            }
            let whole = |state| sums.get(&state).copied().unwrap_or_default();
            let amount = |chain: Chain| {
                let amount = Amount {
                    task_seconds: chain.task_seconds,
                    mean_tasks: ratio(chain.task_seconds, profile.duration_seconds),
                    share: ratio(chain.task_seconds, whole(chain.state)),
                    answers: chain.answers,
                };
                (key(&chain), (chain, amount))
            };
            merged_chains(profile.chains.iter().cloned())
                .into_iter()
                .map(amount)
                .collect::<HashMap<_, _>>()
        };
        let wholes = (Wholes::of(&self.before), Wholes::of(&self.after));
        let sides = (side(&self.before), side(&self.after));
        let mut changes: Vec<_> = joined(sides)
            .map(|(_, chain, before, after)| {
                let shared = wholes.0.variance(&chain, before) + wholes.1.variance(&chain, after);
                Change {
                    margin: self.margin(before, after, shared),
                    what: chain,
                    before,
                    after,
                }
            })
            .collect();
        sort(&mut changes, |chain: &Chain| {
            let called = chain.resource.as_deref().map(Resource::called);
            (chain.stack.clone(), chain.state, chain.terminal.clone(), called)
        });
        changes
    }

    /// How far two means may differ by chance; `more` is added to the variance of their difference.
    fn margin(&self, before: Amount, after: Amount, more: f64) -> f64 {
        let [then, now] = self.visits;
        let variance = sampled(then, before.mean_tasks) + sampled(now, after.mean_tasks) + more;
        ERRORS * variance.sqrt()
    }
}

/// What one visit stands for: a mean number of tasks. Where there was none, whoever was there may have been missed in one look.
fn visit(profile: &Profile) -> f64 {
    match profile.task_visits {
        0 => ratio(1.0, profile.samples as f64),
        // A profile has fewer visits than 2^53.
        visits => ratio(profile.mean_tasks(), visits as f64),
    }
}

/// The variance of a mean number of tasks that was found by visits, as if each told of another wait. Where waits are longer than the time between two
/// visits it is less.
fn sampled(visit: f64, mean: f64) -> f64 {
    visit * mean.max(visit)
}

/// Chains that differ only in what they wait for.
type Alike = (Stack, ChainState, Option<Arc<str>>);

/// What chains come to that differ only in what they wait for: the mean number of their tasks, and answers.
struct Wholes(HashMap<Alike, (f64, f64)>);

impl Wholes {
    fn of(profile: &Profile) -> Self {
        let mut wholes: HashMap<_, (f64, f64)> = HashMap::new();
        for chain in &profile.chains {
            let whole = wholes.entry(Self::key(chain)).or_default();
            whole.0 += ratio(chain.task_seconds, profile.duration_seconds);
            whole.1 += chain.answers;
        }
        Self(wholes)
    }

    fn key(chain: &Chain) -> Alike {
        (chain.stack.clone(), chain.state, chain.terminal.clone())
    }

    /// The variance that is owed to how few answers there are: that of a share of so many.
    fn variance(&self, chain: &Chain, amount: Amount) -> f64 {
        let (mean, answers) = self.0.get(&Self::key(chain)).copied().unwrap_or_default();
        let share = ratio(amount.mean_tasks, mean).min(1.0);
        ratio(mean * mean * share * (1.0 - share), answers)
    }
}

/// What one profile has: what it is, and how much there was of it, by what it is told apart by.
type Side<K, T> = HashMap<K, (T, Amount)>;

/// Puts together what has the same key: what it is, as the later side has it, and how much there was on each side.
fn joined<K: Eq + Hash, T>(
    (mut before, after): (Side<K, T>, Side<K, T>),
) -> impl Iterator<Item = (K, T, Amount, Amount)> {
    let mut rows: Vec<_> = Vec::with_capacity(after.len());
    for (key, (what, now)) in after {
        let then = before
            .remove(&key)
            .map_or_else(Amount::default, |(_, amount)| amount);
        rows.push((key, what, then, now));
    }
    let gone = before.into_iter();
    rows.into_iter()
        .chain(gone.map(|(key, (what, then))| (key, what, then, Amount::default())))
}

/// What changed most comes first; of what changed as much, what is more.
fn sort<T, K: Ord>(changes: &mut [Change<T>], key: impl Fn(&T) -> K) {
    changes.sort_by(|one, other| {
        let most = |change: &Change<T>| change.before.mean_tasks.max(change.after.mean_tasks);
        other
            .by()
            .abs()
            .total_cmp(&one.by().abs())
            .then_with(|| most(other).total_cmp(&most(one)))
            .then_with(|| key(&one.what).cmp(&key(&other.what)))
    });
}

/// A function: its name, and the part of its file's path that is shown.
type Function = (Arc<str>, Arc<str>);

/// On which lines a function was met, and in which file.
struct Met {
    lines: BTreeSet<u32>,
    file: Arc<str>,
    origin: Origin,
}

fn function_of(frame: &Frame) -> Function {
    (frame.function.clone(), frame.shown_file().into())
}

fn functions_of(profile: &Profile) -> HashMap<Function, Met> {
    let mut functions: HashMap<Function, Met> = HashMap::new();
    let mut seen: HashSet<&Frame> = HashSet::new();
    for frame in profile.chains.iter().flat_map(|chain| chain.stack.iter()) {
        if !seen.insert(frame) {
            continue;
        }
        let met = functions.entry(function_of(frame)).or_insert_with(|| Met {
            lines: BTreeSet::new(),
            file: frame.file.clone(),
            origin: frame.origin,
        });
        met.lines.insert(frame.line);
    }
    functions
}

/// What the earlier profile's functions are in the later one.
struct Renamed {
    file: Arc<str>,
    origin: Origin,
    lines: HashMap<u32, u32>,
}

/// The functions of the earlier profile that the later one has, and the earlier lines of those that have moved.
fn correspondence(
    before: &HashMap<Function, Met>,
    after: &HashMap<Function, Met>,
) -> (HashMap<Function, Renamed>, HashMap<Place, u32>) {
    let mut moved = HashMap::new();
    let common = before
        .iter()
        .filter_map(|(function, then)| Some((function, then, after.get(function)?)));
    let renamed = common.map(|(function, then, now)| {
        let has_moved = then.lines.len() == now.lines.len() && then.lines.is_disjoint(&now.lines);
        let pairs = || then.lines.iter().copied().zip(now.lines.iter().copied());
        let lines: HashMap<u32, u32> = if has_moved {
            pairs().collect()
        } else {
            HashMap::new()
        };
        for (old, new) in &lines {
            moved.insert((function.0.clone(), now.file.clone(), *new), *old);
        }
        let renamed = Renamed {
            file: now.file.clone(),
            origin: now.origin,
            lines,
        };
        (function.clone(), renamed)
    });
    let renamed = renamed.collect();
    (renamed, moved)
}

fn renamed_stack(stack: &Stack, renamed: &HashMap<Function, Renamed>) -> Stack {
    let frames = stack.iter().map(|frame| match renamed.get(&function_of(frame)) {
        Some(now) => Frame {
            file: now.file.clone(),
            origin: now.origin,
            line: now.lines.get(&frame.line).copied().unwrap_or(frame.line),
            ..frame.clone()
        },
        None => frame.clone(),
    });
    frames.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKind;
    use crate::testing::{chain, frame, named, profile, running, small_profile};

    fn told(diff: &Diff) -> Vec<String> {
        let line = |change: &Change<PlaceChange>| {
            let point = &change.what.point;
            let before = change.what.line_before.map(|line| format!(" (was {line})"));
            format!(
                "{}:{}{} {}: {:.2} -> {:.2}, {:.3} -> {:.3}, +-{:.3} {}",
                point.function,
                point.line,
                before.unwrap_or_default(),
                point.awaits,
                change.before.mean_tasks,
                change.after.mean_tasks,
                change.before.share,
                change.after.share,
                change.margin,
                change.is_beyond_chance()
            )
        };
        diff.points().iter().map(line).collect()
    }

    fn sleeping(line: u32, seconds: f64) -> Chain {
        let sleep = frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704);
        chain(
            &[sleep, frame("Pool.worker", "/srv/app.py", line)],
            Some("Future"),
            seconds,
        )
    }

    #[test]
    fn equal_profiles_do_not_differ() {
        let diff = Diff::new(small_profile(), small_profile());
        assert!(
            diff.points()
                .iter()
                .all(|it| it.by() == 0.0 && !it.is_beyond_chance())
        );
        assert!(
            diff.chains()
                .iter()
                .all(|it| it.by() == 0.0 && !it.is_beyond_chance())
        );
        assert_eq!((diff.points().len(), diff.chains().len()), (4, 5));
    }

    #[test]
    fn what_changed_most_comes_first() {
        let mut after = small_profile();
        after.duration_seconds = 20.0;
        after.chains.retain(|chain| chain.task_seconds != 0.25);
        for chain in &mut after.chains {
            chain.task_seconds *= if chain.task_seconds == 29.0 { 6.0 } else { 2.0 };
        }
        after
            .chains
            .push(chain(&[frame("fresh", "/srv/app.py", 7)], Some("Future"), 0.02));
        insta::assert_snapshot!(told(&Diff::new(small_profile(), after)).join("\n"), @"
        Pool.worker:22 Lock.acquire: 2.90 -> 8.70, 0.292 -> 0.554, +-0.259 true
        rare:99 Future: 0.03 -> 0.00, 0.003 -> 0.000, +-0.011 true
        fresh:7 Future: 0.00 -> 0.00, 0.000 -> 0.000, +-0.004 false
        Pool.worker:20 sleep: 6.00 -> 6.00, 0.605 -> 0.382, +-0.250 false
        main:61 _GatheringFuture: 1.00 -> 1.00, 0.101 -> 0.064, +-0.102 false
        ");
    }

    #[test]
    fn a_function_that_has_moved_is_the_same() {
        let before = profile(vec![sleeping(20, 50.0), sleeping(22, 10.0)]);
        let after = profile(vec![sleeping(120, 50.0), sleeping(122, 30.0)]);
        insta::assert_snapshot!(told(&Diff::new(before.clone(), after)).join("\n"), @"
        Pool.worker:122 (was 22) sleep: 1.00 -> 3.00, 0.167 -> 0.375, +-0.110 true
        Pool.worker:120 (was 20) sleep: 5.00 -> 5.00, 0.833 -> 0.625, +-0.168 false
        ");
        // One line is where it was: it has not moved, and the other is gone.
        let after = profile(vec![sleeping(20, 50.0), sleeping(23, 10.0)]);
        insta::assert_snapshot!(told(&Diff::new(before.clone(), after)).join("\n"), @"
        Pool.worker:22 sleep: 1.00 -> 0.00, 0.167 -> 0.000, +-0.049 true
        Pool.worker:23 sleep: 0.00 -> 1.00, 0.000 -> 0.167, +-0.049 true
        Pool.worker:20 sleep: 5.00 -> 5.00, 0.833 -> 0.833, +-0.156 false
        ");
        // Which line became which cannot be told.
        let after = profile(vec![sleeping(99, 60.0)]);
        assert_eq!(told(&Diff::new(before, after)).len(), 3);
    }

    #[test]
    fn the_same_code_in_another_place_is_the_same() {
        let at = |python: &str| {
            let file = format!("/usr/lib/{python}/asyncio/tasks.py");
            profile(vec![chain(&[frame("sleep", &file, 704)], Some("Future"), 1.0)])
        };
        let diff = Diff::new(at("python3.13"), at("python3.14"));
        let (points, chains) = (diff.points(), diff.chains());
        assert_eq!((points.len(), chains.len()), (1, 1));
        assert_eq!((points[0].by(), chains[0].by()), (0.0, 0.0));
    }

    #[test]
    fn few_answers_make_a_share_uncertain() {
        let of = |own: f64, answers: f64| {
            let lock = |label, seconds| {
                let chain = named(ResourceKind::Lock, label, sleeping(20, seconds));
                Chain {
                    answers: answers * seconds / 50.0,
                    ..chain
                }
            };
            profile(vec![
                lock("own", own),
                lock("other", 50.0 - own),
                running(&[], 1.0),
            ])
        };
        let change = |answers| {
            let chains = Diff::new(of(20.0, answers), of(30.0, answers)).chains();
            assert_eq!(chains[0].by().abs(), 1.0);
            chains[0].clone()
        };
        let (few, many) = (change(4.0), change(4000.0));
        assert!(!few.is_beyond_chance() && many.is_beyond_chance());
        // Two shares of 0.4 and 0.6, of 5 tasks each: the standard error of their difference is 5 * sqrt(2 * 0.24 / 4).
        assert!(
            (few.margin - 2.0 * 5.0 * (0.48_f64 / 4.0).sqrt()).abs() < 0.05,
            "{}",
            few.margin
        );
        assert_eq!(few.after.answers + few.before.answers, 4.0);
    }

    #[test]
    fn of_nothing_there_is_no_change() {
        let empty = || Profile {
            duration_seconds: 0.0,
            samples: 0,
            task_visits: 0,
            ..profile(Vec::new())
        };
        assert_eq!(Diff::new(empty(), empty()).points(), []);
        let gone = Diff::new(small_profile(), empty()).points();
        assert!(
            gone.iter()
                .all(|it| it.after == Amount::default() && it.margin.is_finite())
        );
    }
}
