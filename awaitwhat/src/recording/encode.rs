//! From observations to the bytes of a block.

use std::sync::Arc;

use awaitwhat_common::plan::LoopId;

use super::bytes::Bytes;
use super::entry::{Target, kind, visit};
use super::lane::Lane;
use super::passes::{Visit, flag};
use super::tables::{FRAME_KINDS, Numbers, RANKS, STATES, place_of};
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;
use crate::profile::{End, Hold, Look, Observation, TaskId};
use crate::resource::Resource;
use crate::snapshot::{Frame, Losses, Stack};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    out: Bytes,
    numbers: Numbers,
    lanes: Vec<Lane>,
    /// The target that is written about, and where its visits come from.
    current: Option<usize>,
    origin: Option<Origin>,
    /// The place of that loop.
    at: usize,
    /// Visits that were as expected, and are not written yet.
    run: u64,
}

impl Encoder {
    /// Bytes since [`Encoder::take`].
    pub(super) fn bytes(&self) -> usize {
        self.out.0.len()
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if self.run > 0 {
            self.kind(kind::NOTHING);
        }
        std::mem::take(&mut self.out.0)
    }

    /// Another target comes; returns its number.
    pub(super) fn target(&mut self, target: &Target) -> usize {
        self.kind(kind::TARGET);
        let out = &mut self.out;
        out.number(target.process.pid.into());
        out.text(&target.process.command);
        out.text(&target.process.python);
        let started_at = i64::try_from(target.started_at.as_nanosecond()).unwrap_or(i64::MAX);
        out.change(0, started_at.cast_unsigned());
        out.number(target.began);
        out.byte(target.is_shown_empty.into());
        self.lanes.push(Lane::default());
        self.lanes.len() - 1
    }

    /// Something was seen of a target that has this number.
    pub(super) fn observe(&mut self, target: usize, observation: &Observation) {
        if self.current != Some(target) {
            self.kind(kind::TURN_TO);
            self.out.number(target as u64);
            self.current = Some(target);
            self.origin = None;
        }
        if self.numbers.is_full() {
            self.numbers = Numbers::default();
            self.kind(kind::FORGET_TABLES);
        }
        match observation {
            Observation::Met {
                origin,
                task,
                is_running,
                chain,
                future,
            } => {
                let running = if *is_running { flag::RUNNING } else { 0 };
                let (chain, proven) = (chain.index() as u32, proven(*chain));
                self.visit(
                    origin,
                    Visit {
                        task: *task,
                        chain,
                        future: *future,
                        flags: running | proven,
                    },
                );
            }
            Observation::Unread { origin, task } => self.visit(
                origin,
                Visit {
                    task: *task,
                    chain: 0,
                    future: Address::default(),
                    flags: flag::UNREAD,
                },
            ),
            Observation::Ran { origin, chain } => {
                self.turn_to(origin);
                self.kind(kind::RAN);
                self.visited(chain.index() as u32, proven(*chain));
            }
            Observation::Slice { origin, status } => {
                self.turn_to(origin);
                self.kind(kind::SLICE);
                self.out.byte(*status as u8);
            }
            Observation::Waits { event_loop, waited } => {
                let place = self.place(*event_loop);
                self.kind(kind::WAITS);
                self.out.number(place);
                let lane = self.lanes.get_mut(target);
                if let Some(of_loop) = lane.and_then(|lane| lane.loops.get_mut(place as usize)) {
                    self.out.change(of_loop.waited, *waited);
                    of_loop.waited = *waited;
                }
            }
            Observation::Tick { at_ms } => {
                self.kind(kind::TICK);
                if let Some(lane) = self.lanes.get_mut(target) {
                    self.out.change(lane.tick, *at_ms);
                    lane.tick = *at_ms;
                }
            }
            rare => self.observe_rare(target, rare),
        }
    }

    /// What is seen once a second or less.
    fn observe_rare(&mut self, target: usize, observation: &Observation) {
        match observation {
            Observation::Chain { chain, look } => self.chain(*chain, look),
            Observation::Answers {
                chain,
                event_loop,
                pass,
                at,
                tasks,
                things,
            } => {
                let things: Vec<u64> = things.iter().map(|thing| self.thing(thing.as_ref())).collect();
                let place = self.place(*event_loop);
                self.kind(kind::ANSWERS);
                [
                    chain.index() as u64,
                    place,
                    *pass,
                    *at,
                    *tasks,
                    things.len() as u64,
                ]
                .into_iter()
                .chain(things)
                .for_each(|number| self.out.number(number));
            }
            Observation::AskedInVain { chain } => {
                self.kind(kind::ASKED_IN_VAIN);
                self.out.number(chain.index() as u64);
            }
            Observation::Left { at, chains } => self.of_chains(kind::LEFT, Some(*at), chains),
            Observation::Checked { retired } => self.of_chains(kind::CHECKED, None, retired),
            Observation::LetGo { at, chains } => self.of_chains(kind::LET_GO, Some(*at), chains),
            Observation::Ended {
                event_loop,
                at,
                goes_on,
            } => {
                let place = self.place(*event_loop);
                self.kind(kind::ENDED);
                self.out.number(place);
                self.out.number(*at);
                self.out.byte((*goes_on).into());
                if !goes_on && let Some(lane) = self.lanes.get_mut(target) {
                    lane.end(*event_loop);
                    self.origin = None;
                }
            }
            Observation::Held(hold) => self.hold(hold),
            Observation::Lost(losses) => self.losses(losses),
            Observation::Fold => self.kind(kind::FOLD),
            Observation::Disowned => self.kind(kind::DISOWNED),
            Observation::End(End {
                at,
                has_exited,
                retired,
            }) => {
                self.of_chains(kind::END, Some(*at), retired);
                self.out.byte((*has_exited).into());
                self.origin = None;
                if let Some(lane) = self.lanes.get_mut(target) {
                    *lane = Lane::default();
                }
            }
            Observation::Met { .. }
            | Observation::Unread { .. }
            | Observation::Ran { .. }
            | Observation::Slice { .. }
            | Observation::Waits { .. }
            | Observation::Tick { .. } => {}
        }
    }

    /// An entry that is no visit.
    fn kind(&mut self, kind: u8) {
        self.end_run(visit::NONE);
        self.out.byte(kind);
    }

    fn end_run(&mut self, what: u64) {
        self.out.number(self.run << visit::BITS | what);
        self.run = 0;
    }

    /// The place of a loop.
    fn place(&mut self, event_loop: LoopId) -> u64 {
        let Some(lane) = self.current.and_then(|target| self.lanes.get_mut(target)) else {
            return 0;
        };
        if let Some(place) = lane.place(event_loop) {
            return place as u64;
        }
        let place = lane.begin(event_loop);
        self.kind(kind::LOOP);
        self.out.number(event_loop.tid.into());
        self.out.number(event_loop.slot.into());
        place as u64
    }

    /// Says where what follows comes from.
    fn turn_to(&mut self, origin: &Origin) {
        if self.origin.as_ref() == Some(origin) {
            return;
        }
        let place = self.place(origin.event_loop);
        self.at = place as usize;
        self.kind(kind::ORIGIN);
        self.out.number(place << 1 | u64::from(origin.in_context));
        let lane = self.current.and_then(|target| self.lanes.get_mut(target));
        if let Some(of_loop) = lane.and_then(|lane| lane.loops.get_mut(place as usize)) {
            let manner = &mut of_loop.manners[usize::from(origin.in_context)];
            self.out.change(manner.time, origin.time);
            self.out.change(of_loop.runtime, origin.runtime);
            self.out.change(manner.pass, origin.pass);
            manner.time = origin.time;
            manner.pass = origin.pass;
            of_loop.runtime = origin.runtime;
            manner.passes.go_on_with(origin.pass);
        }
        self.origin = Some(*origin);
    }

    fn visit(&mut self, origin: &Origin, mut visit: Visit) {
        self.turn_to(origin);
        let Some(target) = self.current else { return };
        let of_loop = self
            .lanes
            .get_mut(target)
            .and_then(|lane| lane.loops.get_mut(self.at));
        let Some(of_loop) = of_loop else { return };
        let passes = &mut of_loop.manners[usize::from(origin.in_context)].passes;
        let Some(ahead) = passes.ahead(visit.task) else {
            passes.came(visit, true);
            self.end_run(visit::NEW);
            self.task(target, visit.task);
            self.visited_task(target, visit, Address::default());
            return;
        };
        if ahead > 0 {
            passes.skip(ahead);
        }
        let expected = passes.expected();
        // Of a task that could not be read nothing new is known.
        if visit.flags & flag::UNREAD != 0 {
            visit.future = expected.unwrap_or_default().future;
        }
        passes.came(visit, false);
        if ahead > 0 {
            self.end_run(visit::GONE);
            self.out.number(ahead as u64);
        }
        if expected == Some(visit) {
            self.run += 1;
        } else {
            self.end_run(visit::CHANGED);
            self.visited_task(target, visit, expected.unwrap_or_default().future);
        }
    }

    /// What a task was met in, whose future was another one `before`.
    fn visited_task(&mut self, target: usize, visit: Visit, before: Address) {
        let is_other = visit.future != before;
        let other = if is_other { flag::OTHER_FUTURE } else { 0 };
        self.visited(visit.chain, visit.flags | other);
        if is_other && let Some(lane) = self.lanes.get_mut(target) {
            let last = std::mem::replace(&mut lane.future, visit.future);
            self.out.change(last.0, visit.future.0);
        }
    }

    fn task(&mut self, target: usize, task: TaskId) {
        let Some(lane) = self.lanes.get_mut(target) else {
            return;
        };
        let before = std::mem::replace(&mut lane.task, task);
        self.out.change(before.address.0, task.address.0);
        self.out.change(before.coroutine.0, task.coroutine.0);
        self.out.change(before.name.0, task.name.0);
    }

    /// The chain of a visit, with flags where there are any.
    fn visited(&mut self, chain: u32, flags: u8) {
        self.out.number(u64::from(chain) << 1 | u64::from(flags != 0));
        if flags != 0 {
            self.out.byte(flags);
        }
    }

    /// A list of chains, in its order.
    fn of_chains(&mut self, kind: u8, at: Option<u64>, chains: &[ChainId]) {
        self.kind(kind);
        if let Some(at) = at {
            self.out.number(at);
        }
        self.out.number(chains.len() as u64);
        let mut before = 0;
        for chain in chains {
            let index = chain.index() as u64;
            self.out.change(before, index);
            before = index;
        }
    }

    fn chain(&mut self, chain: ChainId, look: &Look) {
        let stack = self.stack(&look.stack);
        let terminal = self.optional(look.terminal.as_ref());
        self.kind(kind::CHAIN);
        self.out.number(chain.index() as u64);
        self.out.byte(place_of(&STATES, &look.state));
        self.out.number(stack);
        self.out.number(terminal);
    }

    fn hold(&mut self, hold: &Hold) {
        let root = self.text(&hold.place.root);
        let frame = self.frame(&hold.place.frame);
        self.kind(kind::HELD);
        self.out.byte(hold.place.is_task.into());
        self.out.number(root);
        self.out.number(frame);
        self.out.number(hold.turns);
        [hold.seconds, hold.longest_seconds, hold.ready_seconds]
            .into_iter()
            .for_each(|seconds| self.out.float(seconds));
    }

    fn losses(&mut self, losses: &Losses) {
        self.kind(kind::LOST);
        losses
            .counts()
            .into_iter()
            .for_each(|number| self.out.number(number));
    }

    /// The number of a thing, from 1 on; 0 where there is none.
    fn thing(&mut self, thing: Option<&Arc<Resource>>) -> u64 {
        let Some(thing) = thing else { return 0 };
        if let Some(known) = self.numbers.resources.get(thing) {
            return known + 1;
        }
        // Only what things have in common comes here: see `Resource::in_common`.
        let resource_kind = serde_json::to_string(&thing.kind).unwrap_or_default();
        let resource_kind = self.text(&Arc::from(resource_kind));
        let words = self.text(&thing.words);
        let texts = texts_of(thing).map(|text| self.optional(text));
        self.kind(kind::RESOURCE);
        [resource_kind, words]
            .into_iter()
            .chain(texts)
            .for_each(|number| self.out.number(number));
        let number = self.numbers.resources.len() as u64;
        self.numbers.resources.insert(Arc::clone(thing), number);
        self.numbers.grow(0);
        number + 1
    }

    fn stack(&mut self, stack: &Stack) -> u64 {
        if let Some(&known) = self.numbers.stacks.get(stack) {
            return known;
        }
        let frames: Vec<u64> = stack.iter().map(|frame| self.frame(frame)).collect();
        self.kind(kind::STACK);
        self.out.number(frames.len() as u64);
        frames.iter().for_each(|frame| self.out.number(*frame));
        let number = self.numbers.stacks.len() as u64;
        self.numbers.stacks.insert(Arc::clone(stack), number);
        self.numbers.grow(size_of::<Frame>() * stack.len());
        number
    }

    fn frame(&mut self, frame: &Frame) -> u64 {
        if let Some(&known) = self.numbers.frames.get(frame) {
            return known;
        }
        let (function, file) = (self.text(&frame.function), self.text(&frame.file));
        self.kind(kind::FRAME);
        [function, file, frame.line.into()]
            .into_iter()
            .for_each(|number| self.out.number(number));
        self.out.byte(place_of(&FRAME_KINDS, &frame.kind));
        self.out.byte(place_of(&RANKS, &frame.origin.rank));
        self.out.number(frame.origin.shown_from().into());
        let number = self.numbers.frames.len() as u64;
        self.numbers.frames.insert(frame.clone(), number);
        self.numbers.grow(0);
        number
    }

    /// The number of a text, from 1 on; 0 where there is none.
    fn optional(&mut self, text: Option<&Arc<str>>) -> u64 {
        text.map_or(0, |text| self.text(text) + 1)
    }

    fn text(&mut self, text: &Arc<str>) -> u64 {
        if let Some(&known) = self.numbers.texts.get(text) {
            return known;
        }
        self.kind(kind::TEXT);
        self.out.text(text);
        let number = self.numbers.texts.len() as u64;
        self.numbers.texts.insert(Arc::clone(text), number);
        self.numbers.grow(text.len());
        number
    }
}

fn proven(chain: ChainId) -> u8 {
    if chain.is_proven() { flag::PROVEN } else { 0 }
}

/// What resources have in common, but for their kinds and words, in the order in which it is written.
fn texts_of(resource: &Resource) -> [Option<&Arc<str>>; 9] {
    [
        &resource.type_name,
        &resource.label,
        &resource.operation,
        &resource.method,
        &resource.url,
        &resource.local,
        &resource.peer,
        &resource.command,
        &resource.query,
    ]
    .map(Option::as_ref)
}
