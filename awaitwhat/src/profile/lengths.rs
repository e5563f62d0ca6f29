//! How long waits took: of each await point a histogram, whose size does not depend on how many waits there were.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::points::PointKey;

/// Decimal digits that lengths are kept with.
const DIGITS: u8 = 2;
/// Lengths are kept in steps of 0.1 ms.
const STEP: f64 = 1e5;
/// Steps (some hundred days) that no wait is taken to be longer than.
const MAX_STEPS: u64 = 1 << 38;
/// Await points of one target whose waits are told apart. Those of others are told together.
const MAX_POINTS: usize = 1024;

/// One wait, as far as it was seen: one suspension of one task at one await point. In ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It began and ended between looks: it took so long at least, and so long at most.
    Whole { least: u64, most: u64 },
    /// It had begun before the first look, or not ended by the last one. It was seen for so long.
    InPart { seen: u64 },
    /// A task is back, after another wait that one look only has met.
    Return,
}

/// The lengths of some waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lengths {
    whole: Option<Box<Whole>>,
    in_part: u64,
    /// The longest of those that were seen in part, in ns.
    longest_in_part: u64,
    returns: u64,
}

/// The lengths of those that were seen whole: how long each took at least, and at most, in steps.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    least: Histogram<u32>,
    most: Histogram<u32>,
}

/// What is told of the waits at an await point. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WaitTimes {
    /// Those whose beginning and end lie between two looks each.
    pub whole: Option<WholeWaits>,
    /// Those that had begun before the first look, or had not ended by the last one.
    pub in_part: u64,
    /// How long the longest of these was seen: it took longer.
    pub longest_in_part: f64,
    /// How often a task was back after another wait that one look only has met. Where that is not 0, other tasks were back before any look could tell: some of
    /// these waits may be several, one after the other.
    pub returns: u64,
}

/// Waits that were seen whole, by their lengths in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WholeWaits {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub longest: f64,
    /// How far any of these may be from the truth, besides 1 % of it, as waits are seen at looks only.
    pub precision: f64,
}

impl Lengths {
    pub(super) fn add(&mut self, wait: Wait) {
        match wait {
            Wait::Whole { least, most } => {
                if self.whole.is_none() {
                    self.whole = Whole::new().map(Box::new);
                }
                if let Some(whole) = &mut self.whole {
                    // A histogram grows as it has to: it has room for the most there is.
                    let _ = whole.least.record(steps(least));
                    let _ = whole.most.record(steps(most));
                }
            }
            Wait::InPart { seen } => {
                self.in_part += 1;
                self.longest_in_part = self.longest_in_part.max(seen);
            }
            Wait::Return => self.returns += 1,
        }
    }

    /// Adds others.
    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut self.whole, &other.whole) {
            (Some(whole), Some(others)) => {
                let _ = whole.least.add(&others.least);
                let _ = whole.most.add(&others.most);
            }
            (None, others) => self.whole.clone_from(others),
            (Some(_), None) => {}
        }
        self.in_part += other.in_part;
        self.longest_in_part = self.longest_in_part.max(other.longest_in_part);
        self.returns += other.returns;
    }

    pub(super) fn times(&self) -> WaitTimes {
        WaitTimes {
            whole: self.whole.as_ref().map(|whole| whole.times()),
            in_part: self.in_part,
            longest_in_part: self.longest_in_part as f64 / 1e9,
            returns: self.returns,
        }
    }
}

impl Whole {
    fn new() -> Option<Self> {
        let least = Histogram::new(DIGITS).ok()?;
        let most = least.clone();
        Some(Self { least, most })
    }

    /// What a share of the waits did not exceed lies between that of what they took at least, and that of what they took at most.
    fn times(&self) -> WholeWaits {
        let mut precision = 0.0_f64;
        let mut at = |share| {
            let middle = |of: &Histogram<u32>| of.median_equivalent(of.value_at_quantile(share));
            let (least, most) = (middle(&self.least), middle(&self.most));
            // What comes from keeping two digits only is no matter of when was looked.
            let apart = most.saturating_sub(least);
            let by_looks = apart.saturating_sub(self.most.equivalent_range(most) - 1);
            precision = precision.max(by_looks as f64 * STEP / 2e9);
            f64::midpoint(least as f64, most as f64) * STEP / 1e9
        };
        let [p50, p90, p99, longest] = [0.5, 0.9, 0.99, 1.0].map(&mut at);
        WholeWaits {
            count: self.least.len(),
            p50,
            p90,
            p99,
            longest,
            precision,
        }
    }
}

fn steps(nanoseconds: u64) -> u64 {
    ((nanoseconds as f64 / STEP).round() as u64).min(MAX_STEPS)
}

/// The lengths of waits, by await point.
#[derive(Clone, Debug, Default)]
pub(super) struct ByPoint(HashMap<PointKey, Lengths>);

impl ByPoint {
    /// Adds a wait. What of ever new points there is room for depends on the order in which they come.
    pub(super) fn add(&mut self, point: PointKey, wait: Wait) {
        self.of(point).add(wait);
    }

    pub(super) fn merge(&mut self, point: PointKey, lengths: &Lengths) {
        if *lengths != Lengths::default() {
            self.of(point).merge(lengths);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, point: PointKey) -> &mut Lengths {
        let is_full = self.0.len() >= MAX_POINTS && !self.0.contains_key(&point);
        let point = if is_full { PointKey::others() } else { point };
        self.0.entry(point).or_default()
    }

    /// In one order.
    pub(super) fn into_sorted(self) -> Vec<PointWaits> {
        let mut all: Vec<_> = self
            .0
            .into_iter()
            .map(|(point, lengths)| PointWaits { point, lengths })
            .collect();
        all.sort_by(|one, other| one.point.cmp(&other.point));
        all
    }
}

/// The waits at one await point.
#[derive(Clone, Debug, PartialEq)]
pub struct PointWaits {
    pub(super) point: PointKey,
    pub(super) lengths: Lengths,
}

/// Those of several processes as one.
pub(super) fn merged_waits<'a>(waits: impl Iterator<Item = &'a PointWaits>) -> Vec<PointWaits> {
    let mut merged = ByPoint::default();
    for of_point in waits {
        merged.merge(of_point.point.clone(), &of_point.lengths);
    }
    merged.into_sorted()
}

#[cfg(test)]
impl PointWaits {
    /// Waits in a chain that took so long (ms) at least and at most, and some that were seen in part.
    pub(crate) fn of(chain: &super::Chain, whole: &[(u64, u64)], in_part: &[u64]) -> Self {
        let look = super::Look {
            stack: chain.stack.clone(),
            state: chain.state,
            terminal: chain.terminal.clone(),
            resource: None,
        };
        let nanoseconds = |milliseconds: u64| milliseconds * 1_000_000;
        let mut lengths = Lengths::default();
        for &(least, most) in whole {
            let (least, most) = (nanoseconds(least), nanoseconds(most));
            lengths.add(Wait::Whole { least, most });
        }
        for &seen in in_part {
            let seen = nanoseconds(seen);
            lengths.add(Wait::InPart { seen });
        }
        let point = PointKey::of(&look);
        Self { point, lengths }
    }

    /// The same, where tasks were back so often.
    pub(crate) fn with_returns(mut self, returns: u64) -> Self {
        self.lengths.returns = returns;
        self
    }

    /// How many waits there were, whole or in part.
    pub(super) fn count(&self) -> u64 {
        let times = self.lengths.times();
        times.in_part + times.whole.map_or(0, |whole| whole.count)
    }
}
