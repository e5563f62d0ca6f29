//! Collects a timeline. It is made of the same observations as the sums are, so that it is the same for a trace that goes on and for a recording of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::ChainState;
use super::account::TaskId;
use super::holds::Hold;
use super::ledger::{Look, gone_chain};
use super::observation::Observation;
use super::timeline::{Cut, SeenChain, Stay, Timeline};
use crate::budget::{Budget, Share};
use crate::chains::ChainId;
use crate::decode::Origin;

/// How many changes the timelines of all targets have together. What comes later is counted.
pub const MAX_CHANGES: usize = 1 << 18;
/// Chains below which it is not worth looking for those that nothing refers to any more.
const FEW_CHAINS: usize = 1024;
/// Things that the tasks of one chain waited for, of those that are remembered.
const MAX_THINGS: usize = 8;

/// A timeline while it is collected.
#[derive(Debug)]
pub struct Changes {
    timeline: Timeline,
    share: Share,
    loops: BTreeMap<LoopId, OfLoop>,
    /// The places of chains that may still be met.
    places: HashMap<ChainId, usize>,
    /// The latest moment, and how many stays there were when names were last checked.
    now: Option<u64>,
    checked: usize,
    /// How many chains were left when those were last looked for that nothing refers to.
    kept: usize,
}

#[derive(Debug, Default)]
struct OfLoop {
    tasks: HashMap<TaskId, Open>,
    /// Until when its thread had provably not run since its tasks were met.
    still: u64,
    /// The pass that goes on, at rest and in context: its number, and when it began.
    passes: [Option<(u64, u64)>; 2],
}

/// A stay that goes on.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// `None` where there was no room for it.
    task: Option<usize>,
    chain: ChainId,
    place: usize,
    begin: u64,
    seen: u64,
    /// When the task was met last, also where it could not be read.
    met: u64,
    before: Option<u64>,
    looks: u32,
}

impl Changes {
    /// Nothing yet. Timelines with this budget share its room, which is counted in changes.
    #[must_use]
    pub fn new(budget: &Budget) -> Self {
        Self {
            timeline: Timeline::default(),
            share: budget.share(),
            loops: BTreeMap::new(),
            places: HashMap::new(),
            now: None,
            checked: 0,
            kept: 0,
        }
    }

    /// Takes what was seen.
    pub fn take(&mut self, observation: &Observation) {
        match observation {
            Observation::Chain { chain, look } => self.name(*chain, look),
            Observation::Met {
                origin, task, chain, ..
            } => self.met(origin, *task, *chain),
            Observation::Unread { origin, task } => {
                let of_loop = self.look_at(origin);
                if let Some(open) = of_loop.tasks.get_mut(task) {
                    open.met = open.met.max(origin.time);
                }
            }
            Observation::Ran { origin, chain } => self.ran(origin, *chain),
            Observation::Slice { origin, status } => self.slice(origin, *status),
            Observation::Answers { chain, things, .. } => {
                let place = self.places.get(chain).copied();
                if let Some(seen) = place.and_then(|place| self.timeline.chains.get_mut(place)) {
                    for thing in things {
                        if seen.things.len() < MAX_THINGS && !seen.things.contains(thing) {
                            seen.things.push(thing.clone());
                        }
                    }
                }
            }
            Observation::Checked { retired } => self.check(retired),
            Observation::LetGo { chains, .. } => self.let_go(chains),
            Observation::Ended {
                event_loop, goes_on, ..
            } => {
                if *goes_on {
                    self.loops.entry(*event_loop).or_default().passes = [None; 2];
                } else if let Some(of_loop) = self.loops.remove(event_loop) {
                    self.end_all(of_loop);
                }
            }
            Observation::Held(hold) => self.hold(hold),
            Observation::Disowned => {
                self.loops.clear();
                self.forget();
                self.now = None;
            }
            Observation::End(end) => {
                self.check(&end.retired);
                self.end();
            }
            Observation::Tick { .. }
            | Observation::Waits { .. }
            | Observation::AskedInVain { .. }
            | Observation::Left { .. }
            | Observation::Lost(_)
            | Observation::Fold => {}
        }
    }

    /// What counts is what comes from here on: what goes on is taken to begin now.
    pub fn begin_period(&mut self) {
        self.forget();
        let now = self.now.unwrap_or_default();
        self.timeline.began = now;
        let Self {
            timeline,
            share,
            loops,
            ..
        } = self;
        for (event_loop, of_loop) in loops {
            let mut open: Vec<(&TaskId, &mut Open)> = of_loop.tasks.iter_mut().collect();
            open.sort_by_key(|(task, open)| (open.begin, task.address));
            for (task, open) in open {
                share.set(share.bytes() + 1);
                open.task = Some(timeline.tasks.len());
                timeline.tasks.push((*event_loop, *task));
                (open.begin, open.seen) = (now, open.seen.max(now));
                (open.before, open.looks) = (None, 0);
            }
        }
    }

    /// Ends what goes on, as nobody looks any longer.
    pub fn end(&mut self) {
        for of_loop in std::mem::take(&mut self.loops).into_values() {
            self.end_all(of_loop);
        }
    }

    /// What was collected.
    #[must_use]
    pub fn into_timeline(mut self) -> Timeline {
        self.end();
        self.timeline.ended = self.now.unwrap_or_default();
        self.timeline
    }

    /// Chains that are remembered.
    #[cfg(test)]
    pub(super) fn chains(&self) -> usize {
        self.timeline.chains.len()
    }

    /// Forgets all but what goes on.
    fn forget(&mut self) {
        let chains = std::mem::take(&mut self.timeline.chains);
        self.timeline = Timeline {
            chains,
            ..Timeline::default()
        };
        self.share.set(0);
        self.checked = 0;
    }

    fn name(&mut self, chain: ChainId, look: &Look) {
        let chains = &mut self.timeline.chains;
        let known = self.places.get(&chain).and_then(|place| chains.get_mut(*place));
        match known {
            Some(seen) => seen.look = look.clone(),
            None => {
                self.places.insert(chain, chains.len());
                chains.push(SeenChain {
                    look: look.clone(),
                    things: Vec::new(),
                });
            }
        }
    }

    /// The loop that was looked at.
    fn look_at(&mut self, origin: &Origin) -> &mut OfLoop {
        if self.now.is_none() {
            self.timeline.began = origin.time;
        }
        self.now = Some(self.now.unwrap_or_default().max(origin.time));
        let of_loop = self.loops.entry(origin.event_loop).or_default();
        let pass = of_loop.passes.get_mut(usize::from(origin.in_context));
        if let Some(pass) = pass.filter(|pass| pass.is_none_or(|(number, _)| number != origin.pass)) {
            *pass = Some((origin.pass, origin.time));
        }
        of_loop
    }

    fn met(&mut self, origin: &Origin, task: TaskId, chain: ChainId) {
        let Some(place) = self.places.get(&chain).copied() else {
            return;
        };
        let at = origin.time;
        let of_loop = self.look_at(origin);
        let known = of_loop.tasks.get_mut(&task);
        let Some(open) = known else {
            self.begin(origin, task, chain, place, None);
            return;
        };
        open.met = open.met.max(at);
        let seen = open.seen.max(of_loop.still);
        if at < seen {
            // Records of both kinds may come in another order than they were made in.
            return;
        }
        if open.chain == chain {
            open.seen = at;
            open.looks = open.looks.saturating_add(1);
            return;
        }
        let over = Open { seen, ..*open };
        // It is over, whether or not what comes has room.
        open.task = None;
        self.close(&over, at);
        self.begin(origin, task, chain, place, Some((over.task, seen)));
    }

    /// A stay begins: of a task that was met before, where it was seen last at the moment that is told.
    fn begin(
        &mut self,
        origin: &Origin,
        task: TaskId,
        chain: ChainId,
        place: usize,
        known: Option<(Option<usize>, u64)>,
    ) {
        let at = origin.time;
        let has_room = self.has_room();
        let task_place = match known {
            _ if !has_room => None,
            Some((Some(place), _)) => Some(place),
            _ => {
                self.timeline.tasks.push((origin.event_loop, task));
                Some(self.timeline.tasks.len() - 1)
            }
        };
        let open = Open {
            task: task_place,
            chain,
            place,
            begin: at,
            seen: at,
            met: at,
            before: known.map(|(_, seen)| seen),
            looks: 1,
        };
        self.loops
            .entry(origin.event_loop)
            .or_default()
            .tasks
            .insert(task, open);
    }

    /// Whether one more change finds room. With the first that does not, all ends that goes on, and what comes later is only counted.
    fn has_room(&mut self) -> bool {
        if let Some(cut) = &mut self.timeline.cut {
            cut.left_out += 1;
            return false;
        }
        if !self.share.is_used_up() {
            self.share.set(self.share.bytes() + 1);
            return true;
        }
        let at = self.now.unwrap_or_default();
        let mut open: Vec<Open> = Vec::new();
        for of_loop in self.loops.values_mut() {
            let still = of_loop.still;
            for it in of_loop.tasks.values_mut() {
                let seen = it.seen.max(still);
                open.push(Open { seen, ..*it });
                it.task = None;
            }
        }
        self.close_at_once(open, |_| at);
        self.timeline.cut = Some(Cut { at, left_out: 1 });
        false
    }

    fn close(&mut self, open: &Open, end: u64) {
        if let Some(task) = open.task {
            self.timeline.stays.push(Stay {
                task,
                chain: open.place,
                begin: open.begin,
                end: end.max(open.begin),
                seen: open.seen,
                before: open.before,
                looks: open.looks,
            });
        }
    }

    /// Closes several, in an order that depends on nothing but what was seen.
    fn close_at_once(&mut self, mut open: Vec<Open>, end: impl Fn(&Open) -> u64) {
        open.sort_by_key(|it| it.task);
        open.iter().for_each(|it| self.close(it, end(it)));
    }

    /// Closes what goes on in a loop that nobody looks at any more: what was seen last is all that is known.
    fn end_all(&mut self, of_loop: OfLoop) {
        let still = of_loop.still;
        let open = of_loop.tasks.into_values();
        let open = open.map(|it| Open {
            seen: it.seen.max(still),
            ..it
        });
        self.close_at_once(open.collect(), |it| it.seen);
    }

    fn ran(&mut self, origin: &Origin, chain: ChainId) {
        self.look_at(origin);
        let Some(place) = self.places.get(&chain).copied() else {
            return;
        };
        if self.has_room() {
            self.timeline.ran.push((origin.event_loop, origin.time, place));
        }
    }

    fn hold(&mut self, hold: &Hold) {
        if let Some(now) = self.now
            && self.has_room()
        {
            self.timeline.held.push((now, hold.clone()));
        }
    }

    /// A slice has ended. Tasks that a whole pass has not met are gone.
    fn slice(&mut self, origin: &Origin, status: SliceStatus) {
        let in_context = usize::from(origin.in_context);
        match status {
            SliceStatus::Unchanged => {
                let of_loop = self.look_at(origin);
                of_loop.still = of_loop.still.max(origin.time);
            }
            SliceStatus::PassComplete => {
                let of_loop = self.look_at(origin);
                let pass = of_loop.passes.get_mut(in_context).and_then(Option::take);
                let Some((_, begin)) = pass else { return };
                let still = of_loop.still;
                let gone = of_loop
                    .tasks
                    .extract_if(|_, open| open.met.max(still) < begin)
                    .map(|(_, open)| Open {
                        seen: open.seen.max(still),
                        ..open
                    })
                    .collect();
                self.close_at_once(gone, |_| origin.time);
            }
            SliceStatus::Budget | SliceStatus::Disturbed | SliceStatus::RegistryTorn => {
                self.look_at(origin);
            }
            SliceStatus::Running | SliceStatus::Replaced => {}
        }
    }

    /// Names were checked: of chains that can no longer be told, what was seen since the last check may have been another.
    fn check(&mut self, retired: &[ChainId]) {
        let places = retired.iter().filter_map(|chain| self.places.get(chain).copied());
        let retired: HashSet<usize> = places.collect();
        if !retired.is_empty() {
            self.disown(&retired);
        }
        self.checked = self.timeline.stays.len();
    }

    /// Chains are not met any more. Those that nothing refers to are forgotten.
    fn let_go(&mut self, chains: &[ChainId]) {
        for chain in chains {
            self.places.remove(chain);
        }
        if self.timeline.chains.len() < 2 * self.kept.max(FEW_CHAINS) {
            return;
        }
        let Self {
            timeline,
            loops,
            places,
            ..
        } = self;
        let Timeline {
            chains, stays, ran, ..
        } = timeline;
        let open = loops.values_mut().flat_map(|it| it.tasks.values_mut());
        let mut users: Vec<&mut usize> = places.values_mut().collect();
        users.extend(open.map(|it| &mut it.place));
        users.extend(stays.iter_mut().map(|it| &mut it.chain));
        users.extend(ran.iter_mut().map(|(_, _, place)| place));
        users.sort_unstable();
        let mut old = std::mem::take(chains).into_iter().enumerate();
        let mut last = None;
        for user in users {
            if last != Some(*user) {
                last = Some(*user);
                chains.extend(old.find(|(place, _)| Some(*place) == last).map(|(_, seen)| seen));
            }
            *user = chains.len().saturating_sub(1);
        }
        self.kept = chains.len();
    }

    fn disown(&mut self, retired: &HashSet<usize>) {
        let timeline = &mut self.timeline;
        let mut gone: HashMap<ChainState, usize> = HashMap::new();
        let mut instead = |chains: &mut Vec<SeenChain>, place: usize| {
            let state = chains.get(place).map_or(ChainState::Waiting, |it| it.look.state);
            *gone.entry(state).or_insert_with(|| {
                chains.push(SeenChain {
                    look: gone_chain(state),
                    things: Vec::new(),
                });
                chains.len() - 1
            })
        };
        let recent = timeline.stays.iter_mut().skip(self.checked);
        for stay in recent.filter(|stay| retired.contains(&stay.chain)) {
            stay.chain = instead(&mut timeline.chains, stay.chain);
        }
        let open = self.loops.values_mut().flat_map(|it| it.tasks.values_mut());
        for open in open.filter(|open| retired.contains(&open.place)) {
            open.place = instead(&mut timeline.chains, open.place);
        }
    }
}
