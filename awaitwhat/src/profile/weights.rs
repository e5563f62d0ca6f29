//! Task time per chain, and how much of it is known to belong to the chain as it is named.

use crate::chains::ChainId;

/// What one chain has been credited with, in ns of task time.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// Whose place this is; nobody's before it is credited with anything.
    chain: Option<ChainId>,
    /// What is known to belong to the chain as it is named.
    confirmed: f64,
    /// What was credited since its names were last checked.
    recent: f64,
}

/// What the chains have been credited with that are in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// By the place of the chain.
    weights: Vec<Weight>,
    /// Chains that were credited since names were last checked.
    recent: Vec<ChainId>,
}

impl Weights {
    /// Adds to the time of a chain, or takes from it what turns out to be another's; time of none is nobody's.
    pub(super) fn credit(&mut self, chain: Option<ChainId>, nanoseconds: f64) {
        let Some(chain) = chain.filter(|_| nanoseconds != 0.0) else {
            return;
        };
        if self.weights.len() <= chain.index() {
            self.weights.resize(chain.index() + 1, Weight::default());
        }
        let weight = &mut self.weights[chain.index()];
        if weight.chain.is_some_and(|it| it != chain) {
            // Nobody lets go of a chain that is in use, but a recording that was tampered with may say so.
            return;
        }
        weight.chain = Some(chain);
        if chain.is_proven() {
            weight.confirmed += nanoseconds;
            return;
        }
        if weight.recent == 0.0 {
            self.recent.push(chain);
        }
        weight.recent += nanoseconds;
    }

    /// The names of one chain were found to be right.
    pub(super) fn confirm_one(&mut self, chain: ChainId) {
        if let Some(weight) = self.of(chain) {
            weight.confirmed += std::mem::take(&mut weight.recent);
        }
    }

    /// Takes back what a chain was credited with since names were last checked, in ns.
    pub(super) fn take_recent(&mut self, chain: ChainId) -> f64 {
        self.of(chain)
            .map_or(0.0, |weight| std::mem::take(&mut weight.recent))
    }

    /// Names were found to be right: what chains were credited with is theirs.
    pub(super) fn confirm(&mut self) {
        for chain in std::mem::take(&mut self.recent) {
            if let Some(weight) = self.of(chain) {
                weight.confirmed += std::mem::take(&mut weight.recent);
            }
        }
    }

    /// Has the chains have no more in this period what they were credited with in the one `before`, which goes on as this one: what is confirmed of
    /// what is, and the rest of the rest.
    pub(super) fn begin_period(&mut self, before: &Self) {
        let count = self.weights.len().max(before.weights.len());
        self.weights.resize(count, Weight::default());
        for (weight, before) in self.weights.iter_mut().zip(&before.weights) {
            let Some(chain) = before.chain else { continue };
            weight.chain = Some(chain);
            weight.confirmed -= before.confirmed;
            if weight.recent == 0.0 {
                self.recent.push(chain);
            }
            weight.recent -= before.recent;
        }
    }

    /// Forgets a chain, and returns its confirmed time in ns.
    pub(super) fn take(&mut self, chain: ChainId) -> f64 {
        self.of(chain)
            .map_or(0.0, |weight| std::mem::take(weight).confirmed)
    }

    /// Confirmed time of a chain, in seconds.
    pub(super) fn task_seconds(&self, chain: ChainId) -> f64 {
        let weight = self
            .weights
            .get(chain.index())
            .filter(|it| it.chain == Some(chain));
        weight.map_or(0.0, |weight| weight.confirmed / 1e9)
    }

    fn of(&mut self, chain: ChainId) -> Option<&mut Weight> {
        self.weights
            .get_mut(chain.index())
            .filter(|weight| weight.chain == Some(chain))
    }
}

#[cfg(test)]
mod tests {
    use super::Weights;
    use crate::chains::{ChainId, ChainTable};
    use crate::snapshot::Stack;
    use crate::testing::with_task_record;

    fn chain(table: &mut ChainTable, code: u64) -> ChainId {
        with_task_record(&[code, code + 8], |record| {
            let named = table.intern(record, false, |_| Ok::<_, ()>((Stack::from([]), None)));
            named.expect("nothing fails")
        })
    }

    #[test]
    fn what_was_credited_is_confirmed_or_taken_back() {
        let (mut table, mut weights) = (ChainTable::default(), Weights::default());
        let (one, other) = (chain(&mut table, 16), chain(&mut table, 32));
        for id in [one, other] {
            weights.credit(Some(id), 2e9);
        }
        weights.credit(None, 1e9);
        weights.confirm();
        for id in [one, other] {
            weights.credit(Some(id), 1e9);
        }
        assert_eq!(weights.take_recent(one), 1e9);
        weights.confirm();
        assert_eq!(
            (weights.task_seconds(one), weights.task_seconds(other)),
            (2.0, 3.0)
        );
        assert_eq!(weights.take(one), 2e9);
        assert_eq!((weights.task_seconds(one), weights.take(one)), (0.0, 0.0));
    }

    #[test]
    fn what_was_credited_before_a_period_is_not_of_it() {
        let (mut table, mut weights) = (ChainTable::default(), Weights::default());
        let (one, other) = (chain(&mut table, 16), chain(&mut table, 32));
        for id in [one, other] {
            weights.credit(Some(id.proven()), 5e9);
            weights.credit(Some(id), 2e9);
        }
        let mut until_now = weights.clone();
        // What goes on until then, and is credited once it is over.
        until_now.credit(Some(one), 1e9);
        weights.begin_period(&until_now);
        for id in [one, other] {
            weights.credit(Some(id), 4e9);
        }
        assert_eq!(weights.take_recent(other), 4e9, "nothing of it is of before");
        weights.confirm();
        assert_eq!(
            (weights.task_seconds(one), weights.task_seconds(other)),
            (3.0, 0.0)
        );
    }

    #[test]
    fn what_was_seen_with_proof_is_its_own_at_once() {
        let (mut table, mut weights) = (ChainTable::default(), Weights::default());
        let one = chain(&mut table, 16);
        weights.credit(Some(one.proven()), 2e9);
        weights.credit(Some(one), 1e9);
        assert_eq!(weights.take_recent(one), 1e9);
        assert_eq!(weights.task_seconds(one), 2.0);
        weights.credit(Some(one), 3e9);
        weights.confirm_one(one);
        assert_eq!((weights.take_recent(one), weights.task_seconds(one)), (0.0, 5.0));
    }

    #[test]
    fn a_place_that_is_used_again_begins_with_nothing() {
        let (mut table, mut weights) = (ChainTable::default(), Weights::default());
        let one = chain(&mut table, 16);
        weights.credit(Some(one), 1e9);
        weights.confirm();
        table.let_go(|_| false);
        weights.take(one);
        let other = chain(&mut table, 32);
        assert_eq!(other.index(), one.index());
        weights.credit(Some(other), 3e9);
        weights.confirm();
        assert_eq!(
            (weights.task_seconds(one), weights.task_seconds(other)),
            (0.0, 3.0)
        );
    }

    /// However many chains there are, a check is about those that were credited since the last one.
    #[test]
    fn a_check_takes_as_long_as_what_was_credited() {
        let (mut table, mut weights) = (ChainTable::default(), Weights::default());
        let chains: Vec<_> = (1..=1000).map(|code| chain(&mut table, code * 16)).collect();
        for id in &chains {
            weights.credit(Some(*id), 1.0);
        }
        weights.confirm();
        for _ in 0..5 {
            weights.credit(Some(chains[7]), 1.0);
            weights.credit(Some(chains[8]), 1.0);
        }
        assert_eq!(weights.recent, chains[7..9]);
        weights.confirm();
        assert!(weights.recent.is_empty());
    }
}
