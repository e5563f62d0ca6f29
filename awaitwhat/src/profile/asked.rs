//! What tasks of the chains of one target were found to wait for.

use std::collections::HashMap;

use awaitwhat_common::plan::LoopId;
use foldhash::fast::RandomState;

use super::split::{Part, Split, Thing};
use crate::chains::ChainId;
use crate::resource::Resource;

/// Answers by chain. Moments are in seconds since the target was first looked at.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    chains: HashMap<ChainId, OfChain, RandomState>,
}

#[derive(Clone, Debug, Default)]
struct OfChain {
    split: Split,
    /// The loop whose tasks were met in it last.
    event_loop: LoopId,
    /// Times that its tasks were asked in vain.
    in_vain: u64,
}

impl Asked {
    /// Takes what some of the `tasks` wait for that a part of a pass has met in a chain.
    pub(super) fn answer(
        &mut self,
        chain: ChainId,
        event_loop: LoopId,
        (now, pass): (f64, u64),
        tasks: u64,
        things: Vec<Thing>,
    ) {
        let of_chain = self.chains.entry(chain).or_default();
        of_chain.event_loop = event_loop;
        of_chain.split.answer(now, pass, tasks, things);
    }

    /// Tasks of a chain were asked, and none has told.
    pub(super) fn in_vain(&mut self, chain: ChainId) {
        self.chains.entry(chain).or_default().in_vain += 1;
    }

    /// No task is in the chain any more.
    pub(super) fn left(&mut self, chain: ChainId, now: f64) {
        if let Some(of_chain) = self.chains.get_mut(&chain) {
            of_chain.split.end(now);
        }
    }

    /// A loop has ended, or is walked anew.
    pub(super) fn end(&mut self, event_loop: LoopId, now: f64) {
        let of_loop = |it: &&mut OfChain| it.event_loop == event_loop;
        self.chains
            .values_mut()
            .filter(of_loop)
            .for_each(|it| it.split.end(now));
    }

    /// What tasks of a chain waited for, and the share of each; nothing where that is not known. The chain is forgotten. How often tasks were asked
    /// in vain is counted where none has told.
    pub(super) fn take(&mut self, chain: ChainId, now: f64, in_vain: &mut u64) -> Vec<Part> {
        let Some(of_chain) = self.chains.remove(&chain) else {
            return Vec::new();
        };
        let parts = of_chain.split.into_parts(now);
        if parts.is_empty() {
            *in_vain += of_chain.in_vain;
        }
        parts
    }

    /// What was answered of a chain may have been about another one.
    pub(super) fn distrust(&mut self, chain: ChainId) {
        self.chains.remove(&chain);
    }

    /// From the moment `now` (s) on another period counts.
    pub(super) fn begin_period(&mut self, now: f64) {
        self.chains.values_mut().for_each(|it| it.split.begin_period(now));
    }

    /// Whether there was an answer.
    pub(crate) fn is_answered(&self, chain: ChainId) -> bool {
        self.chains.get(&chain).is_some_and(|it| it.split.is_answered())
    }

    /// Whether tasks of a chain were asked what they wait for, and all of them have told a thing like that.
    pub(super) fn are_all(&self, chain: ChainId, is_one: impl Fn(&Resource) -> bool) -> bool {
        self.chains.get(&chain).is_some_and(|it| it.split.are_all(is_one))
    }

    /// See [`Split::is_settled`].
    pub(crate) fn is_settled(&self, chain: ChainId) -> bool {
        self.chains.get(&chain).is_some_and(|it| it.split.is_settled())
    }

    /// The chains of a loop of which an answer stands.
    pub(crate) fn standing(&self, event_loop: LoopId) -> impl Iterator<Item = ChainId> {
        let stands = move |it: &OfChain| it.event_loop == event_loop && it.split.is_standing();
        self.chains
            .iter()
            .filter(move |(_, it)| stands(it))
            .map(|(chain, _)| *chain)
    }
}
