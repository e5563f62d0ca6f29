//! What was summed up of chains that nobody needs any more: by what they look like, as long as there is room.

use std::collections::HashMap;
use std::sync::Arc;

use super::split::Part;
use super::{Chain, ChainState, merged_chains};
use crate::budget::{Budget, Share};
use crate::resource::Resource;
use crate::snapshot::{Frame, Stack};

/// What stands in place of chains that are added up.
const OTHERS: &str = "other chains";
/// What stands in place of chains whose names were not known to be right before their code was gone.
const GONE: &str = "code that was gone before it could be named";

/// Task time by what chains look like.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    sums: HashMap<Look, Sum>,
    share: Share,
    /// Chains that were added up as others.
    folded: u64,
}

/// What chains that are one come to: seconds, and answers.
#[derive(Clone, Copy, Debug)]
struct Sum {
    task_seconds: f64,
    answers: f64,
}

/// What makes chains one in a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Look {
    pub stack: Stack,
    pub state: ChainState,
    pub terminal: Option<Arc<str>>,
    pub resource: Option<Arc<Resource>>,
}

impl Look {
    /// That of a chain that nobody is in.
    pub(crate) fn of_nothing() -> Self {
        Self {
            stack: Stack::from([]),
            state: ChainState::Waiting,
            terminal: None,
            resource: None,
        }
    }
}

impl Ledger {
    /// A ledger that has room for as much as others with the same budget leave.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            sums: HashMap::new(),
            share: budget.share(),
            folded: 0,
        }
    }

    /// Adds the time of a chain. It is negative where more was taken from it than it had: that belongs to what looks the same.
    pub(crate) fn add(&mut self, chain: Chain) {
        let Chain {
            stack,
            state,
            terminal,
            resource,
            answers,
            task_seconds,
        } = chain;
        if task_seconds == 0.0 {
            return;
        }
        let look = Look {
            stack,
            state,
            terminal,
            resource,
        };
        if let Some(sum) = self.sums.get_mut(&look) {
            sum.task_seconds += task_seconds;
            sum.answers += answers;
            return;
        }
        self.share.set(self.share.bytes() + look.bytes());
        let sum = Sum {
            task_seconds,
            answers,
        };
        self.sums.insert(look, sum);
    }

    /// Adds time of a chain whose names may have been wrong.
    pub(crate) fn add_unnamed(&mut self, state: ChainState, task_seconds: f64) {
        self.add(in_place_of(GONE, state, task_seconds));
    }

    /// Bytes of the text that it stands for.
    pub(crate) fn bytes(&self) -> usize {
        self.share.bytes()
    }

    /// Forgets all that was added.
    pub(crate) fn clear(&mut self) {
        self.sums.clear();
        self.share.set(0);
        self.folded = 0;
    }

    /// Chains that were added up as others.
    pub(crate) fn folded(&self) -> u64 {
        self.folded
    }

    /// Adds up the chains with the least time as others, so that half of the text is left. False where there is nothing to add up.
    pub(crate) fn fold(&mut self) -> bool {
        let (folded, half) = (self.folded, self.share.bytes() / 2);
        let mut looks: Vec<(Look, Sum)> = std::mem::take(&mut self.sums).into_iter().collect();
        looks.sort_by(|(look, one), (behind, other)| {
            let by_time = other.task_seconds.total_cmp(&one.task_seconds);
            by_time.then_with(|| look.cmp(behind))
        });
        self.share.set(0);
        for (look, sum) in looks {
            let state = look.state;
            if look.is_in_place() || self.share.bytes() + look.bytes() <= half {
                self.add(look.chain(sum));
            } else {
                self.folded += 1;
                self.add(in_place_of(OTHERS, state, sum.task_seconds));
            }
        }
        self.folded > folded
    }

    /// The chains, the most time first, and how many more were added up as others.
    pub(crate) fn into_chains(self) -> (Vec<Chain>, u64) {
        let chains = self.sums.into_iter().filter(|(_, sum)| sum.task_seconds > 0.0);
        let chains = merged_chains(chains.map(|(look, sum)| look.chain(sum)));
        (chains, self.folded)
    }
}

impl Look {
    fn chain(self, sum: Sum) -> Chain {
        let Self {
            stack,
            state,
            terminal,
            resource,
        } = self;
        Chain {
            stack,
            state,
            terminal,
            resource,
            answers: sum.answers,
            task_seconds: sum.task_seconds,
        }
    }

    /// A chain that looks like this, with its time (s), in as many parts as there are things that its tasks waited for.
    pub(crate) fn in_parts(self, task_seconds: f64, parts: Vec<Part>) -> impl Iterator<Item = Chain> {
        let whole = || Part {
            thing: None,
            share: 1.0,
            answers: 0.0,
        };
        let parts = if parts.is_empty() { vec![whole()] } else { parts };
        parts.into_iter().map(move |part| Chain {
            stack: Arc::clone(&self.stack),
            state: self.state,
            terminal: self.terminal.clone(),
            resource: part.thing,
            answers: part.answers,
            task_seconds: part.share * task_seconds,
        })
    }

    /// How long it is as text, with what a format adds.
    fn bytes(&self) -> usize {
        const FIXED: usize = 128;
        let frame = |frame: &Frame| size_of::<Frame>() + frame.function.len() + frame.file.len();
        let terminal = self.terminal.as_ref().map_or(0, |terminal| terminal.len());
        let resource = self.resource.as_ref().map_or(0, |it| it.called().len());
        FIXED + terminal + resource + self.stack.iter().map(frame).sum::<usize>()
    }

    fn is_in_place(&self) -> bool {
        let is = |what| self.stack.len() == 1 && self.stack[0] == Frame::in_place_of(what);
        is(OTHERS) || is(GONE)
    }
}

/// The stack of what chains are taken for that there is no room for.
pub(crate) fn other_chains() -> Stack {
    Arc::from([Frame::in_place_of(OTHERS)])
}

/// What a chain looks like whose names were not known to be right before its code was gone.
pub(super) fn gone_chain(state: ChainState) -> Look {
    look_in_place_of(GONE, state)
}

/// What waiting chains look like that are added up.
pub(super) fn others() -> Look {
    look_in_place_of(OTHERS, ChainState::Waiting)
}

/// What waiting chains look like whose names may have been wrong.
pub(super) fn gone() -> Look {
    look_in_place_of(GONE, ChainState::Waiting)
}

fn look_in_place_of(what: &str, state: ChainState) -> Look {
    Look {
        stack: Arc::from([Frame::in_place_of(what)]),
        state,
        terminal: None,
        resource: None,
    }
}

fn in_place_of(what: &str, state: ChainState, task_seconds: f64) -> Chain {
    look_in_place_of(what, state).chain(Sum {
        task_seconds,
        answers: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::{ChainState, Ledger};
    use crate::budget::Budget;
    use crate::testing::{chain, frame, running};

    fn sum(ledger: Ledger) -> (f64, usize, u64) {
        let (chains, folded) = ledger.into_chains();
        let seconds = chains.iter().map(|chain| chain.task_seconds).sum();
        (seconds, chains.len(), folded)
    }

    #[test]
    fn chains_that_look_the_same_are_one() {
        let mut ledger = Ledger::new(&Budget::new(1 << 20));
        let frames = || [frame("work", "/srv/app.py", 1)];
        for _ in 0..1000 {
            ledger.add(chain(&frames(), Some("Future"), 1.0));
            ledger.add(running(&frames(), 1.0));
        }
        ledger.add(chain(&frames(), Some("Future"), 0.0));
        let bytes = ledger.bytes();
        ledger.add(chain(&frames(), Some("Future"), 1.0));
        assert_eq!(ledger.bytes(), bytes);
        assert_eq!(sum(ledger), (2001.0, 2, 0));
    }

    #[test]
    fn the_least_are_added_up_where_there_is_no_room() {
        let budget = Budget::new(64 << 10);
        let mut ledger = Ledger::new(&budget);
        for number in 0..10_000_u32 {
            let seconds = if number % 1000 == 0 { 100.0 } else { 1.0 };
            ledger.add(chain(
                &[frame(&format!("made_{number}"), "/gen.py", 1)],
                Some("Future"),
                seconds,
            ));
            if budget.is_used_up() {
                assert!(ledger.fold());
                assert!(ledger.bytes() <= 33 << 10);
            }
        }
        let (chains, folded) = ledger.into_chains();
        let seconds: f64 = chains.iter().map(|chain| chain.task_seconds).sum();
        assert_eq!(seconds, 10.0 * 100.0 + 9990.0);
        // What matters most is there by its name, and the rest is one line.
        let named = |name: &str| {
            chains
                .iter()
                .filter(|it| it.stack[0].function.starts_with(name))
                .count()
        };
        assert!((0..10).all(|number| named(&format!("made_{}", number * 1000)) == 1));
        assert_eq!(named("<other chains>"), 1);
        assert_eq!(folded as usize, 10_000 - (chains.len() - 1));
    }

    #[test]
    fn what_could_not_be_named_counts() {
        let mut ledger = Ledger::new(&Budget::new(1 << 20));
        ledger.add_unnamed(ChainState::Waiting, 2.0);
        ledger.add_unnamed(ChainState::Waiting, 1.0);
        ledger.add_unnamed(ChainState::Running, 0.5);
        assert!(!ledger.fold());
        assert_eq!(sum(ledger), (3.5, 2, 0));
    }

    #[test]
    fn one_that_is_done_leaves_its_room_to_others() {
        let budget = Budget::new(100);
        let mut ledger = Ledger::new(&budget);
        ledger.add(chain(&[frame("a", "/b.py", 1)], None, 1.0));
        assert!(budget.is_used_up());
        drop(ledger);
        assert!(!budget.is_used_up());
    }
}
