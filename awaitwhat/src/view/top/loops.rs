//! How busy event loops are, and how long their turns last: whatever becomes ready waits for the end of one.

use std::collections::{HashMap, VecDeque};

use super::super::tree::plural;
use super::draw::brief;
use super::groups::{MINUTE, seconds};
use crate::snapshot::{LoopState, Snapshot};

/// Loops whose past is remembered.
const MAX_LOOPS: usize = 4096;
/// Turns of one loop that are remembered: of shorter ones that are followed by a longer one nothing is.
const MAX_TURNS: usize = 256;

/// The loops of the last look, and their past.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// By process and thread.
    past: HashMap<(u32, u32), Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// When turns had lasted for how long, both in seconds: the oldest first, each shorter than the one before.
    turns: VecDeque<(f64, f64)>,
    /// When the thread had had how much CPU time, in seconds.
    ran: Option<(f64, f64)>,
    /// The share of a CPU that it took between the last two looks.
    busy: Option<f64>,
}

/// A loop that is worth telling of.
#[derive(Clone, Copy, Debug)]
struct Worst {
    tid: u32,
    value: f64,
}

impl Loops {
    /// Takes one look.
    pub(super) fn look(&mut self, snapshots: &[Snapshot]) {
        let mut former = std::mem::take(&mut self.past);
        for snapshot in snapshots {
            let now = seconds(snapshot.captured_at);
            for state in &snapshot.loops {
                let key = (snapshot.pid, state.tid);
                let mut past = former.remove(&key).unwrap_or_default();
                past.look(now, state);
                if self.past.len() < MAX_LOOPS {
                    self.past.insert(key, past);
                }
            }
        }
    }

    /// The busiest loop, and the longest turn within the last minute, on one line; `None` where nothing is known of any.
    pub(super) fn describe(&self) -> Option<String> {
        let worst = |of: fn(&Past) -> Option<f64>| {
            let known = self.past.iter();
            let known = known.filter_map(|((_, tid), past)| {
                let value = of(past)?;
                Some(Worst { tid: *tid, value })
            });
            // The same one each time, where several are as bad.
            known.max_by(|a, b| a.value.total_cmp(&b.value).then(b.tid.cmp(&a.tid)))
        };
        let busiest = worst(|past| past.busy);
        let longest = worst(|past| past.turns.front().map(|(_, lasted)| *lasted));
        let of = |worst: Worst| {
            if self.past.len() > 1 {
                format!(" (thread {})", worst.tid)
            } else {
                String::new()
            }
        };
        let mut parts = Vec::new();
        if let Some(it) = busiest {
            let the = if self.past.len() > 1 { "the busiest " } else { "" };
            parts.push(format!("{the}{:.0} % of a CPU{}", it.value * 100.0, of(it)));
        }
        if let Some(it) = longest {
            let lasted = if it.value > 0.0 {
                format!("longest turn seen {}{}", brief(it.value), of(it))
            } else {
                "no long turn seen".to_owned()
            };
            parts.push(lasted);
        }
        (!parts.is_empty()).then(|| {
            format!(
                "{}: {}",
                plural(self.past.len(), "event loop", "event loops"),
                parts.join(", ")
            )
        })
    }
}

impl Past {
    fn look(&mut self, now: f64, state: &LoopState) {
        if let Some(lasted) = state.turn_seconds {
            while self.turns.back().is_some_and(|(_, shorter)| *shorter <= lasted) {
                self.turns.pop_back();
            }
            if self.turns.len() < MAX_TURNS {
                self.turns.push_back((now, lasted));
            }
        }
        while self.turns.front().is_some_and(|(at, _)| now - at > MINUTE) {
            self.turns.pop_front();
        }
        let before = std::mem::replace(&mut self.ran, state.cpu_seconds.map(|ran| (now, ran)));
        self.busy = match (before, self.ran) {
            (Some((then, before)), Some((now, ran))) if now > then => {
                Some(((ran - before) / (now - then)).clamp(0.0, 1.0))
            }
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;

    fn look(at: i64, states: &[(u32, Option<f64>, f64)]) -> Vec<Snapshot> {
        let mut snapshot = snapshot(Vec::new());
        snapshot.captured_at = jiff::Timestamp::from_second(at).unwrap();
        snapshot.loops = states
            .iter()
            .map(|(tid, turn_seconds, ran)| LoopState {
                tid: *tid,
                turn_seconds: *turn_seconds,
                cpu_seconds: Some(*ran),
            })
            .collect();
        vec![snapshot]
    }

    #[test]
    fn a_turn_is_told_for_a_minute() {
        let mut loops = Loops::default();
        assert_eq!(loops.describe(), None);
        let mut told = Vec::new();
        for (at, turn, ran) in [
            (0, 0.25, 1.0),
            (10, 0.0, 3.5),
            (59, 0.1, 3.5),
            (61, 0.0, 5.5),
            (120, 0.0, 5.5),
        ] {
            loops.look(&look(at, &[(7, Some(turn), ran)]));
            told.push(loops.describe().unwrap());
        }
        insta::assert_snapshot!(told.join("\n"), @"
        1 event loop: longest turn seen 250 ms
        1 event loop: 25 % of a CPU, longest turn seen 250 ms
        1 event loop: 0 % of a CPU, longest turn seen 250 ms
        1 event loop: 100 % of a CPU, longest turn seen 100 ms
        1 event loop: 0 % of a CPU, no long turn seen
        ");
    }

    #[test]
    fn of_several_loops_the_worst_are_told() {
        let mut loops = Loops::default();
        loops.look(&look(
            0,
            &[(7, Some(0.0), 0.0), (8, None, 0.0), (9, Some(1.5), 0.0)],
        ));
        loops.look(&look(
            10,
            &[(7, Some(0.0), 1.0), (8, None, 9.0), (9, Some(0.0), 0.0)],
        ));
        insta::assert_snapshot!(loops.describe().unwrap(), @"3 event loops: the busiest 90 % of a CPU (thread 8), longest turn seen 1.5 s (thread 9)");
        // What has ended is forgotten.
        loops.look(&look(20, &[(8, None, 9.0)]));
        insta::assert_snapshot!(loops.describe().unwrap(), @"1 event loop: 0 % of a CPU");
    }
}
