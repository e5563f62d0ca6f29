//! Which looks make a pass, where passes are dear.

use std::collections::HashMap;
use std::time::Duration;

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::chance::Chance;
use crate::decode::SliceRecord;
use rustix::time::{ClockId, clock_gettime};

/// What all passes over a loop may take of a CPU.
const SHARE_OF_CPU: f64 = 0.02;
/// What a pass takes in all, for each second of a CPU that it takes in the kernel: what it sends is decoded, named and booked besides.
const WHOLE_COST: f64 = 2.0;
/// How much of what the next pass takes is expected from the last one.
const NEWNESS: f64 = 0.25;

/// Leaves out passes by chance, so that those that are made cost no more than a share of a CPU, however many tasks there are. A look whose pass is left out is no look:
/// the next one stands for its time too. As chance alone decides, and nothing that the target does, none of its states is looked at more often than another.
pub(super) struct Passes {
    /// Time (s) between two looks.
    period: f64,
    chance: Chance,
    costs: HashMap<LoopId, Cost>,
}

#[derive(Default)]
struct Cost {
    /// Seconds that the current pass has taken so far in the kernel.
    current: f64,
    /// What a pass is expected to take in all, in seconds.
    expected: f64,
}

impl Passes {
    /// Passes of looks that are `period` apart. Any `seed` will do.
    pub(super) fn new(period: Duration, seed: u64) -> Self {
        Self {
            period: period.as_secs_f64(),
            chance: Chance::new(seed),
            costs: HashMap::new(),
        }
    }

    /// Whether the pass that a look would begin is to be made.
    pub(super) fn is_made(&mut self, event_loop: LoopId) -> bool {
        let affordable = self.period * SHARE_OF_CPU;
        let expected = self.costs.get(&event_loop).map_or(0.0, |cost| cost.expected);
        expected <= affordable || self.chance.share() * expected < affordable
    }

    /// From here on every pass is made, whatever it takes: what there is at the end counts until then.
    pub(super) fn make_all(&mut self) {
        self.period = f64::INFINITY;
    }

    /// Notes what a walk has taken of a CPU, in seconds.
    pub(super) fn spend(&mut self, event_loop: LoopId, seconds: f64) {
        self.costs.entry(event_loop).or_default().current += seconds;
    }

    /// Notes the end of a slice at rest.
    pub(super) fn note(&mut self, slice: &SliceRecord) {
        let cost = self.costs.entry(slice.origin.event_loop).or_default();
        if slice.status == SliceStatus::PassComplete {
            let whole = std::mem::take(&mut cost.current) * WHOLE_COST;
            let newness = if cost.expected == 0.0 { 1.0 } else { NEWNESS };
            cost.expected += (whole - cost.expected) * newness;
        }
    }

    /// The loop has ended, or is walked anew.
    pub(super) fn forget(&mut self, event_loop: LoopId) {
        self.costs.remove(&event_loop);
    }
}

/// CPU time of this thread, in seconds: walks are made in it. On a machine with other work that is less than what they last.
pub(super) fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Origin;

    fn slice(status: SliceStatus) -> SliceRecord {
        SliceRecord {
            origin: Origin {
                event_loop: LoopId::default(),
                pid: 1,
                in_context: false,
                time: 0,
                runtime: 0,
                pass: 1,
            },
            status,
            duration: 0,
            lost: 0,
        }
    }

    /// How many of 10,000 looks, 10 ms apart, make a pass of two slices that take as many `seconds` each.
    fn made(seconds: f64) -> u64 {
        let mut passes = Passes::new(Duration::from_millis(10), 12345);
        let mut made = 0;
        for _ in 0..10_000 {
            if passes.is_made(LoopId::default()) {
                made += 1;
                for status in [SliceStatus::Budget, SliceStatus::PassComplete] {
                    passes.spend(LoopId::default(), seconds);
                    passes.note(&slice(status));
                }
            }
        }
        made
    }

    #[test]
    fn cheap_passes_are_all_made() {
        assert_eq!(made(2e-5), 10_000);
    }

    #[test]
    fn the_last_pass_is_made_however_dear_it_is() {
        let mut passes = Passes::new(Duration::from_millis(10), 12345);
        passes.spend(LoopId::default(), 1e6);
        passes.note(&slice(SliceStatus::PassComplete));
        assert!(!passes.is_made(LoopId::default()));
        passes.make_all();
        assert!(passes.is_made(LoopId::default()));
    }

    #[test]
    fn dear_passes_take_their_share_and_no_more() {
        // 4 ms in all, of which 2 % of 100 s allow 500.
        let few = made(1e-3);
        assert!((400..600).contains(&few), "{few}");
        // 0.4 s in all.
        let fewest = made(0.1);
        assert!((1..12).contains(&fewest), "{fewest}");
    }
}
