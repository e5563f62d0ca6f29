//! From observations to a profile. The same observations give the same profile, to the last digit: nothing here has a clock, or depends on the order of a
//! map. So a trace that goes on and a recording of it cannot disagree.

use std::collections::HashSet;

use awaitwhat_common::status::SliceStatus;

use super::account::Account;
use super::asked::Asked;
use super::holds::{Hold, Holds};
use super::ledger::{Ledger, Look};
use super::lengths::ByPoint;
use super::observation::{End, Observation};
use super::points::PointKey;
use super::seen_waits::{Met, SeenWaits};
use super::{ChainState, Process, Profile};
use crate::budget::Budget;
use crate::chains::ChainId;
use crate::snapshot::Losses;

/// How long (ns) after the last look at a loop it is not looked at any more: the dearest passes are made more often.
const LONG: u64 = 1_000_000_000;

/// What one target comes to, so far.
#[derive(Clone, Debug)]
pub struct Sums {
    account: Account,
    /// What was summed up of chains that are not in use any more.
    ledger: Ledger,
    /// What chains look like that are known, by their places.
    looks: Vec<Option<(ChainId, Look)>>,
    asked: Asked,
    seen_waits: SeenWaits,
    /// How long waits took whose names were right.
    waits: ByPoint,
    holds: Holds,
    losses: Losses,
    /// Tasks that were asked in vain.
    in_vain: u64,
    /// How long (ns) it took, and whether the target ended; `None` while it goes on.
    end: Option<(u64, bool)>,
    /// The moment (ns) of the last observation that has one, and those of the first look that has told anything of tasks, and of the last one.
    latest: u64,
    first_looked: Option<u64>,
    looked: u64,
    /// What there was before the period that counts.
    before: Before,
}

/// What is taken from sums that only grow.
#[derive(Clone, Debug, Default)]
struct Before {
    /// When the period began, in ns.
    at: u64,
    samples: u64,
    task_visits: u64,
    /// CPU time, in ns.
    runtime: u64,
    losses: Losses,
    in_vain: u64,
}

impl Sums {
    /// Nothing yet. Sums of all targets with this budget share its room.
    pub fn new(budget: &Budget) -> Self {
        Self {
            account: Account::default(),
            ledger: Ledger::new(budget),
            looks: Vec::new(),
            asked: Asked::default(),
            seen_waits: SeenWaits::default(),
            waits: ByPoint::default(),
            holds: Holds::default(),
            losses: Losses::default(),
            in_vain: 0,
            end: None,
            latest: 0,
            first_looked: None,
            looked: 0,
            before: Before::default(),
        }
    }

    /// Takes what was seen.
    pub fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Met {
                origin,
                task,
                is_running,
                chain,
                future,
            } => {
                if chain.is_proven() {
                    self.account.confirm_one(chain);
                }
                let is_waiting = !is_running && self.is_waiting(chain);
                let met = Met {
                    chain,
                    future,
                    is_waiting,
                };
                self.seen_waits.met(&origin, task, met);
                self.account.met(&origin, task, is_running, chain);
            }
            Observation::Ran { origin, chain } => {
                if chain.is_proven() {
                    self.account.confirm_one(chain);
                }
                self.account.announce(&origin, chain);
            }
            Observation::Waits { event_loop, waited } => self.account.waits(event_loop, waited),
            Observation::Unread { origin, task } => {
                self.seen_waits.met_unread(&origin, task);
                self.account.met_unread(&origin, task);
            }
            Observation::Slice { origin, status } => {
                if !matches!(status, SliceStatus::Running | SliceStatus::Replaced) {
                    self.first_looked.get_or_insert(self.latest);
                    self.looked = self.latest;
                }
                self.seen_waits.slice(&origin, status);
                self.account.slice(&origin, status);
            }
            Observation::Tick { at_ms } => {
                self.latest = at_ms.saturating_mul(1_000_000);
                self.account.tick();
            }
            Observation::Chain { chain, look } => self.name(chain, look),
            Observation::Answers {
                chain,
                event_loop,
                pass,
                at,
                tasks,
                things,
            } => {
                let now = self.now(at);
                self.asked.answer(chain, event_loop, (now, pass), tasks, things);
            }
            Observation::AskedInVain { chain } => self.asked.in_vain(chain),
            Observation::Left { at, chains } => {
                let now = self.now(at);
                chains.into_iter().for_each(|chain| self.asked.left(chain, now));
            }
            Observation::Checked { retired } => self.check(&retired),
            Observation::LetGo { at, chains } => {
                let now = self.now(at);
                chains.into_iter().for_each(|chain| self.let_go(chain, now));
            }
            Observation::Ended {
                event_loop,
                at,
                goes_on,
            } => {
                self.seen_waits.end_loop(event_loop, goes_on);
                if goes_on {
                    self.account.begin_anew(event_loop);
                } else {
                    self.account.end_loop(event_loop);
                }
                let now = self.now(at);
                self.asked.end(event_loop, now);
            }
            Observation::Held(hold) => self.hold(hold, self.latest),
            Observation::Lost(losses) => self.losses = losses,
            Observation::Fold => {
                self.ledger.fold();
            }
            Observation::Disowned => {
                self.account = Account::default();
                self.seen_waits = SeenWaits::default();
                self.first_looked = None;
                self.before = Before {
                    samples: 0,
                    task_visits: 0,
                    runtime: 0,
                    ..self.before.clone()
                };
            }
            Observation::End(end) => self.finish(&end),
        }
    }

    /// Ends what goes on at its latest moment, as if it was looked at no longer.
    pub fn settle(&mut self) {
        if self.end.is_none() {
            self.finish(&End {
                at: self.latest,
                has_exited: false,
                retired: Vec::new(),
            });
        }
    }

    /// The same, as if the period was over when its loops were seen last: no look has been made for that, as one is at the end.
    pub fn settle_as_seen(&mut self) {
        if self.end.is_none() {
            let seen = self.seen();
            self.settle();
            self.end = Some((seen, false));
        }
    }

    /// What counts is what comes from here on. What was known stays known, and whatever was seen until now is taken to have lasted until now.
    pub fn begin_period(&mut self) {
        let seen = self.seen();
        self.account.begin_period();
        self.asked.begin_period(self.latest as f64 / 1e9);
        self.ledger.clear();
        self.seen_waits.begin_period();
        self.waits.clear();
        self.holds = Holds::default();
        self.before = Before {
            at: seen,
            samples: self.account.samples,
            task_visits: self.account.task_visits,
            runtime: self.account.runtime(),
            losses: self.losses.clone(),
            in_vain: self.in_vain,
        };
    }

    /// Until when (ns) what was seen is credited: the last look at a loop that works may be some time ago. Where none was made for long, there is no such
    /// loop.
    fn seen(&self) -> u64 {
        match self.first_looked {
            Some(first) if self.latest.saturating_sub(self.looked) < LONG => {
                first.saturating_add(self.account.duration())
            }
            _ => self.latest,
        }
    }

    /// Takes what held a loop until a moment (ns), which may be after the end of the period: as far as it did so within that.
    pub fn hold(&mut self, hold: Hold, until: u64) {
        let end = self.end.map_or(until, |(end, _)| end);
        let is_of_all = self.before.at == 0 && end >= until;
        let since = |moment: u64| until.saturating_sub(moment) as f64 / 1e9;
        let within = if is_of_all {
            Some(hold)
        } else {
            hold.within(since(self.before.at), since(end))
        };
        if let Some(hold) = within {
            self.holds.add(hold);
        }
    }

    /// The moment (s), which is the latest one.
    fn now(&mut self, at: u64) -> f64 {
        self.latest = at;
        at as f64 / 1e9
    }

    fn name(&mut self, chain: ChainId, look: Look) {
        if self.looks.len() <= chain.index() {
            self.looks.resize(chain.index() + 1, None);
        }
        self.looks[chain.index()] = Some((chain, look));
    }

    /// What chains were credited with is theirs, but for those that can no longer be told: whose time that is, is not known.
    fn check(&mut self, retired: &[ChainId]) {
        for &chain in retired {
            let Some((_, look)) = self.looks.get(chain.index()).and_then(Option::as_ref) else {
                continue;
            };
            let unnamed = self.account.take_recent(chain);
            self.ledger.add_unnamed(look.state, unnamed);
            self.asked.distrust(chain);
        }
        self.account.confirm();
        self.check_waits(retired);
    }

    /// The same of waits that are over.
    fn check_waits(&mut self, retired: &[ChainId]) {
        let retired: HashSet<ChainId> = retired.iter().copied().collect();
        self.seen_waits.distrust(&retired);
        let (mut over, beyond) = self.seen_waits.take_over();
        over.sort_by_key(|(chain, _)| chain.index());
        for (chain, wait) in over {
            let look = self.look(chain).filter(|_| !retired.contains(&chain));
            let point = look.map_or_else(PointKey::gone, PointKey::of);
            self.waits.add(point, wait);
        }
        self.waits.merge(PointKey::gone(), &beyond);
    }

    /// What a chain looks like.
    pub(super) fn look(&self, chain: ChainId) -> Option<&Look> {
        let known = self.looks.get(chain.index())?.as_ref();
        known.filter(|(it, _)| *it == chain).map(|(_, look)| look)
    }

    fn is_waiting(&self, chain: ChainId) -> bool {
        self.look(chain)
            .is_some_and(|look| look.state == ChainState::Waiting)
    }

    /// Sums up what a chain was credited with, which is confirmed.
    fn let_go(&mut self, chain: ChainId, now: f64) {
        let place = self.looks.get_mut(chain.index());
        let Some((_, look)) = place.and_then(|place| place.take_if(|(it, _)| *it == chain)) else {
            return;
        };
        let task_seconds = self.account.take(chain);
        let parts = self.asked.take(chain, now, &mut self.in_vain);
        look.in_parts(task_seconds, parts)
            .for_each(|chain| self.ledger.add(chain));
    }

    /// Sums up. A target that has ended is summed up to the last moment at which its tasks were seen.
    fn finish(&mut self, end: &End) {
        let now = self.now(end.at);
        let mut duration = end.at;
        if end.has_exited {
            self.account.cut_to_last_visit();
            duration = duration.min(self.seen());
        }
        self.account.end();
        self.seen_waits.end();
        self.check(&end.retired);
        let chains: Vec<ChainId> = self.looks.iter().flatten().map(|(chain, _)| *chain).collect();
        chains.into_iter().for_each(|chain| self.let_go(chain, now));
        self.end = Some((duration, end.has_exited));
    }

    /// The moment (ns since the target was first looked at) of what was taken last.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// Whether the target is looked at no longer.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        self.account.samples
    }

    /// Tasks of the latest passes.
    pub fn tasks(&self) -> usize {
        self.account.tasks()
    }

    /// The chains that may be credited without being seen again: whoever holds one is asked here.
    pub fn chains_in_use(&self) -> HashSet<ChainId> {
        let mut chains = self.account.chains_in_use();
        chains.extend(self.seen_waits.chains());
        chains
    }

    /// What tasks were found to wait for.
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The waits that go on.
    pub(super) fn seen_waits(&self) -> &SeenWaits {
        &self.seen_waits
    }

    /// Bytes of the text that the sums stand for that can be folded.
    pub fn bytes(&self) -> usize {
        self.ledger.bytes()
    }

    /// How many chains [`Observation::Fold`] has added up as others.
    pub fn folded(&self) -> u64 {
        self.ledger.folded()
    }

    /// The profile of `process`, whose trace began at `started_at`. What goes on is [settled](Self::settle) first.
    pub fn into_profile(mut self, process: Process, started_at: jiff::Timestamp) -> Profile {
        self.settle();
        let (duration, target_exited) = self.end.unwrap_or_default();
        let (chains, folded) = self.ledger.into_chains();
        let before = self.before;
        let mut losses = self.losses.since(&before.losses);
        losses.waits += self.in_vain - before.in_vain;
        losses.folded += folded;
        Profile {
            processes: vec![process],
            started_at,
            duration_seconds: duration.saturating_sub(before.at) as f64 / 1e9,
            samples: self.account.samples - before.samples,
            task_visits: self.account.task_visits - before.task_visits,
            busy_seconds: self.account.runtime().saturating_sub(before.runtime) as f64 / 1e9,
            threads: self.account.threads(),
            chains,
            waits: self.waits.into_sorted(),
            holds: self.holds.into_sorted(),
            losses,
            target_exited,
            timeline: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use awaitwhat_common::status::SliceStatus;

    use super::*;
    use crate::memory::Address;
    use crate::profile::{ChainState, TaskId};
    use crate::snapshot::Stack;
    use crate::testing::{frame, origin};

    const MILLISECOND: u64 = 1_000_000;

    fn profile(sums: Sums) -> Profile {
        let process = Process {
            pid: 7,
            command: "python3".to_owned(),
            python: "3.14.10".to_owned(),
        };
        sums.into_profile(process, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_there_is_so_far_ends_with_the_last_look() {
        let mut sums = Sums::new(&Budget::new(1 << 20));
        let chain = ChainId::of_parts(0, 0);
        sums.take(Observation::Chain {
            chain,
            look: Look {
                stack: Stack::from([frame("work", "/srv/app.py", 1)]),
                state: ChainState::Waiting,
                terminal: None,
                resource: None,
            },
        });
        sums.take(Observation::Met {
            origin: origin(0),
            task: TaskId {
                address: Address(0x10),
                coroutine: Address(0x20),
                name: Address(0x30),
            },
            is_running: false,
            chain,
            future: Address(0x40),
        });
        let slices = [SliceStatus::PassComplete, SliceStatus::Unchanged];
        for (at_ms, status) in [0, 200].into_iter().zip(slices) {
            sums.take(Observation::Tick { at_ms });
            let origin = origin(at_ms);
            sums.take(Observation::Slice { origin, status });
        }
        // By then nobody has looked again.
        sums.take(Observation::Tick { at_ms: 290 });
        let mut so_far = sums.clone();
        so_far.settle_as_seen();
        let so_far = profile(so_far);
        assert_eq!((so_far.duration_seconds, so_far.mean_tasks()), (0.2, 1.0));
        assert!(!so_far.target_exited);
        sums.take(Observation::Slice {
            origin: origin(400),
            status: SliceStatus::Unchanged,
        });
        sums.take(Observation::End(End {
            at: 400 * MILLISECOND,
            has_exited: false,
            retired: Vec::new(),
        }));
        let whole = profile(sums);
        assert_eq!((whole.duration_seconds, whole.mean_tasks()), (0.4, 1.0));
    }
}
