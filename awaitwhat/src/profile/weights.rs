//! Task time per chain, and how much of it is known to belong to the chain as it is named.

use crate::chains::ChainId;

/// What one chain has been credited with, in ns of task time.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// What is known to belong to the chain as it is named.
    confirmed: f64,
    /// What was credited since its names were last checked.
    recent: f64,
}

/// What every chain has been credited with.
#[derive(Debug, Default)]
pub(super) struct Weights(Vec<Weight>);

impl Weights {
    /// Adds to the time of a chain; time of none is nobody's.
    pub(super) fn credit(&mut self, chain: Option<ChainId>, nanoseconds: f64) {
        let Some(chain) = chain else { return };
        if self.0.len() <= chain.index() {
            self.0.resize(chain.index() + 1, Weight::default());
        }
        self.0[chain.index()].recent += nanoseconds;
    }

    /// The names of all chains but the `stale` ones were found to be right. Returns how many ns are dropped.
    pub(super) fn confirm(&mut self, stale: &[ChainId]) -> f64 {
        let mut dropped = 0.0;
        for (index, weight) in self.0.iter_mut().enumerate() {
            if stale.iter().any(|chain| chain.index() == index) {
                dropped += weight.recent;
            } else {
                weight.confirmed += weight.recent;
            }
            weight.recent = 0.0;
        }
        dropped
    }

    /// Confirmed time of a chain, in seconds.
    pub(super) fn task_seconds(&self, chain: ChainId) -> f64 {
        self.0
            .get(chain.index())
            .map_or(0.0, |weight| weight.confirmed / 1e9)
    }
}
