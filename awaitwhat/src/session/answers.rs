//! What the tasks of a traced target wait for. To ask all of them at every look would cost more than the trace does, so chance picks some, and the time of a
//! chain is shared among what these wait for.
//!
//! A task that rests is asked in the same rest in which its chain was read: its thread has not run since. An answer of which that is not
//! certain is none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use awaitwhat_common::event::TaskState;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use foldhash::fast::RandomState;

use super::chance::Chance;
use super::jobs::job_behind;
use super::observer::Observer;
use super::passes::cpu_seconds;
use super::room::Room;
use super::waits::{Suspended, bare_future, waiting};
use crate::chains::ChainId;
use crate::decode::{Origin, SliceRecord, TaskRecord};
use crate::memory::{Address, Fault};
use crate::profile::{Asked, Observation, Thing};
use crate::python::executor::Chained;
use crate::python::readable;
use crate::resource::{Resource, ResourceKind};
use crate::waits::{Learnt, Reader};

/// What asking may take of a CPU: tasks of chains of which something is known, at equal distances; and of those of which nothing is known yet, with so many
/// seconds besides, as everything is new at first.
const SHARE_FOR_KNOWN: f64 = 0.005;
const SHARE_FOR_NEW: f64 = 0.001;
const HEAD_START: f64 = 0.02;
/// Tasks of one chain that are asked at one look, at most. Few, as those that are asked last tell of long rests only.
const ASKED_OF_CHAIN: usize = 4;

/// See the module.
pub(super) struct Answers {
    /// CPU time (s) that it has taken so far to ask tasks of chains of which nothing was known, and of the others.
    spent_on_new: f64,
    spent_on_known: f64,
    chance: Chance,
    /// Whether tasks of this look are asked at all.
    is_open: bool,
    /// Chains that were met since tasks were asked last, with some tasks of each.
    met: HashMap<LoopId, HashMap<ChainId, Met, RandomState>>,
    passes: HashMap<LoopId, Pass>,
    /// Chains whose function no rule is for.
    without_rule: HashSet<ChainId, RandomState>,
    /// What was learnt of code and of types, by the number of the layout.
    learnt: HashMap<u32, Learnt>,
}

/// The last pass over a loop's tasks, by its number in the records.
#[derive(Default)]
struct Pass {
    number: u64,
    /// All its looks so far were such that tasks are asked.
    is_whole: bool,
    /// Chains that it has met so far.
    met: HashSet<ChainId, RandomState>,
}

/// How many tasks of a chain were met, and some of them, each with the number of its layout.
#[derive(Default)]
struct Met {
    tasks: u64,
    picked: Vec<(Suspended, u32)>,
}

impl Answers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            spent_on_new: 0.0,
            spent_on_known: 0.0,
            chance: Chance::new(seed),
            is_open: false,
            met: HashMap::new(),
            passes: HashMap::new(),
            without_rule: HashSet::default(),
            learnt: HashMap::new(),
        }
    }

    /// Another look begins: what was met before may have had a turn since. How many looks are left out only depends on what it took to ask before.
    pub(super) fn begin_look(&mut self, room: &Room) {
        self.met.clear();
        let now = room.now();
        self.is_open = self.is_affordable(now, false) || self.is_affordable(now, true);
    }

    /// Whether there is time left to ask tasks of a chain, `now` (ns) after the target was first looked at.
    fn is_affordable(&self, now: u64, is_answered: bool) -> bool {
        let now = now as f64 / 1e9;
        if is_answered {
            self.spent_on_known <= SHARE_FOR_KNOWN * now
        } else {
            self.spent_on_new <= HEAD_START + SHARE_FOR_NEW * now
        }
    }

    /// Takes a task that was met. Those that wait at rest may be asked.
    pub(super) fn visit(&mut self, record: &TaskRecord<'_>, chain: ChainId, is_ready: bool, asked: &Asked) {
        let is_waiting = record.state == TaskState::Waiting && !is_ready && !record.address.is_null();
        let is_whole = record.status != TaskStatus::Truncated;
        if !self.is_open
            || record.origin.in_context
            || !is_waiting
            || !is_whole
            || self.is_known(chain, asked)
        {
            return;
        }
        let event_loop = record.origin.event_loop;
        self.pass(event_loop, record.origin.pass).met.insert(chain);
        let met = self.met.entry(event_loop).or_default().entry(chain).or_default();
        met.tasks += 1;
        let task = (Suspended::of(record, chain), record.layout);
        if met.picked.len() < ASKED_OF_CHAIN {
            met.picked.push(task);
        } else if let Ok(place) = usize::try_from(self.chance.below(met.tasks))
            && let Some(other) = met.picked.get_mut(place)
        {
            *other = task;
        }
    }

    /// Whether nobody has to be asked what tasks of a chain wait for.
    fn is_known(&self, chain: ChainId, asked: &Asked) -> bool {
        self.without_rule.contains(&chain) || asked.is_settled(chain)
    }

    /// The pass with this number.
    fn pass(&mut self, event_loop: LoopId, number: u64) -> &mut Pass {
        let pass = self.passes.entry(event_loop).or_default();
        if pass.number != number {
            *pass = Pass {
                number,
                is_whole: true,
                met: HashSet::default(),
            };
        }
        pass
    }

    /// Takes the end of a slice. Nobody is left in a chain that a whole pass has not met.
    pub(super) fn slice(&mut self, slice: &SliceRecord, room: &mut Room) {
        let Origin { event_loop, pass, .. } = slice.origin;
        if slice.origin.in_context {
            return;
        }
        let is_open = self.is_open;
        let pass = self.pass(event_loop, pass);
        pass.is_whole &= is_open;
        if slice.status != SliceStatus::PassComplete || !pass.is_whole {
            return;
        }
        let met = std::mem::take(&mut pass.met);
        let standing = room.sums.asked().standing(event_loop);
        let chains: Vec<ChainId> = standing.filter(|chain| !met.contains(chain)).collect();
        if !chains.is_empty() {
            let at = room.now();
            room.take(Observation::Left { at, chains });
        }
    }

    /// Asks some of the tasks that were met, as long as their threads rest. `is_at_rest` says whether a loop's thread has not run since.
    pub(super) fn ask(
        &mut self,
        observer: &Observer,
        room: &mut Room,
        is_at_rest: impl Fn(LoopId) -> bool,
    ) -> Result<(), Fault> {
        for (event_loop, met) in std::mem::take(&mut self.met) {
            let is_at_rest = || is_at_rest(event_loop);
            for (is_answered, chain, met) in self.in_order(met, room.sums.asked()) {
                if !is_at_rest() {
                    break;
                }
                if !self.is_affordable(room.now(), is_answered) {
                    continue;
                }
                let before = cpu_seconds();
                let found = self.read(observer, &met, is_at_rest)?;
                self.note(chain, event_loop, met.tasks, found, room);
                let spent = if is_answered {
                    &mut self.spent_on_known
                } else {
                    &mut self.spent_on_new
                };
                *spent += cpu_seconds() - before;
            }
        }
        Ok(())
    }

    /// First the chains of which nothing is known yet, then the others by chance: whether there was an answer, chain, and tasks.
    fn in_order(
        &mut self,
        met: HashMap<ChainId, Met, RandomState>,
        asked: &Asked,
    ) -> Vec<(bool, ChainId, Met)> {
        let mut chains: Vec<_> = met
            .into_iter()
            .map(|(chain, met)| (self.chance.share(), (asked.is_answered(chain), chain, met)))
            .collect();
        chains.sort_unstable_by(|(place, one), (behind, other)| {
            one.0.cmp(&other.0).then_with(|| place.total_cmp(behind))
        });
        chains.into_iter().map(|(_, chain)| chain).collect()
    }

    /// What tasks of a chain wait for, as far as that fits together and they rest until it is read.
    fn read(
        &mut self,
        observer: &Observer,
        met: &Met,
        is_at_rest: impl Fn() -> bool,
    ) -> Result<Found, Fault> {
        let tasks = || met.picked.iter();
        let first_reads = tasks().flat_map(|(task, _)| task.first_read());
        observer.memory.fetch_ahead(first_reads)?;
        let mut things = Vec::new();
        // Where the thread wakes up, those that come first were asked: by chance, too.
        let first = usize::try_from(self.chance.below(met.picked.len() as u64)).unwrap_or(0);
        for (task, layout) in tasks().cycle().skip(first).take(met.picked.len()) {
            let Some(frames) = observer.interpreter.frames(&observer.memory, *layout) else {
                return Ok(Found::NoRule);
            };
            let tells_arguments = observer.tells_arguments();
            let futures = observer.interpreter.future_types(*layout).copied();
            let mut reader = match self.learnt.remove(layout) {
                Some(learnt) => Reader::with(frames, futures, tells_arguments, learnt),
                None => Reader::new(frames, futures, tells_arguments),
            };
            let found = ask_one(observer, &mut reader, task, *layout);
            self.learnt.insert(*layout, reader.into_learnt());
            let found = found?;
            if !is_at_rest() {
                break;
            }
            match found {
                Answer::NoRule => return Ok(Found::NoRule),
                Answer::Changed => {}
                Answer::For(thing) => things.push(thing),
            }
        }
        Ok(Found::Things(things))
    }

    /// Tells what came of asking some of the `tasks` that were met in a chain.
    fn note(&mut self, chain: ChainId, event_loop: LoopId, tasks: u64, found: Found, room: &mut Room) {
        match found {
            Found::NoRule => {
                self.without_rule.insert(chain);
            }
            Found::Things(things) if things.is_empty() => room.take(Observation::AskedInVain { chain }),
            Found::Things(things) => room.take(Observation::Answers {
                chain,
                event_loop,
                pass: self.passes.get(&event_loop).map_or(0, |pass| pass.number),
                at: room.now(),
                tasks,
                things,
            }),
        }
    }

    /// These chains are known no longer, or their code has changed: then what their tasks have said since may have been about the other code.
    pub(super) fn forget_chains<'a>(&mut self, chains: impl IntoIterator<Item = &'a ChainId>) {
        for chain in chains {
            self.without_rule.remove(chain);
        }
    }

    /// A loop has ended, or is walked anew.
    pub(super) fn forget(&mut self, event_loop: LoopId) {
        self.met.remove(&event_loop);
        self.passes.remove(&event_loop);
    }

    /// Time has passed: what was learnt may hold no longer, of these code objects surely.
    pub(super) fn forget_learnt(&mut self, codes: &[Address]) {
        self.learnt.values_mut().for_each(|learnt| learnt.forget(codes));
    }
}

/// What came of asking tasks of a chain.
enum Found {
    NoRule,
    /// What those wait for that could be read in time.
    Things(Vec<Thing>),
}

/// What came of asking one task.
enum Answer {
    /// All tasks with its chain wait for what no rule knows.
    NoRule,
    /// What was read does not fit together.
    Changed,
    For(Thing),
}

fn ask_one(
    observer: &Observer,
    reader: &mut Reader<'_>,
    task: &Suspended,
    layout: u32,
) -> Result<Answer, Fault> {
    let waiting = waiting(observer, task, None);
    let may_match = reader.may_match(&waiting);
    // By the rule for the function, or for the future.
    match readable(reader.resource(&waiting))? {
        Some(Some(resource)) => return Ok(Answer::For(in_common(Some(resource)))),
        Some(None) => {}
        None => return Ok(Answer::Changed),
    }
    let job = readable(job_behind(observer, task, layout, &mut Chained::default()))?;
    let future = bare_future(observer, reader, task, layout)?;
    Ok(match job.flatten() {
        Some(_) => Answer::For(in_common(Some(Resource {
            label: future.and_then(|future| future.label),
            ..Resource::of_kind(ResourceKind::Thread)
        }))),
        None if future.is_some() || may_match => Answer::For(in_common(future)),
        None => Answer::NoRule,
    })
}

fn in_common(resource: Option<Resource>) -> Thing {
    resource.map(|resource| Arc::new(resource.in_common()))
}
