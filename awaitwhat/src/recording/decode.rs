//! From the bytes of a block to observations. Whatever the bytes are, the answer is some observations, and an error where they go on to say nothing; what is kept of
//! them has a bound.

use std::sync::Arc;

use awaitwhat_common::limits::MAX_LOOPS_PER_THREAD;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::bytes::{Cursor, Malformed};
use super::entry::{Target, kind, visit};
use super::lane::Lane;
use super::passes::{AHEAD, Visit, flag};
use super::tables::{FRAME_KINDS, RANKS, STATES, Values, at};
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;
use crate::origin;
use crate::profile::{End, Hold, HoldPlace, Look, Observation, Process, TaskId, Thing};
use crate::resource::Resource;
use crate::snapshot::{Frame, Losses};

/// Targets of one recording.
const MAX_TARGETS: usize = 1 << 14;
/// Loops of one target at a time.
const MAX_LOOPS: usize = 1 << 16;
/// Chains that are known at a time, of all targets.
const MAX_CHAINS: usize = 1 << 20;
/// Visits of passes that are not complete, and slices of these.
const MAX_OPEN_VISITS: u64 = 1 << 24;
const MAX_OPEN_SLICES: u64 = 1 << 22;
/// Visits that are remembered of all passes.
const MAX_REMEMBERED: usize = 1 << 23;
/// Frames of a stack, with what is put in between.
const MAX_FRAMES: usize = 2 * awaitwhat_common::limits::MAX_FRAMES;
/// Answers that come at once.
const MAX_THINGS: usize = 64;
/// Nothing is counted that far.
const MAX_COUNT: usize = 1 << 53;

/// What a block tells.
#[derive(Debug)]
pub(super) enum Told {
    Target(Target),
    /// Something was seen of the target with this number.
    Seen(usize, Observation),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    values: Values,
    lanes: Vec<OfTarget>,
    current: Option<usize>,
    chains: usize,
    open_visits: u64,
    open_slices: u64,
    remembered: usize,
}

#[derive(Debug, Default)]
struct OfTarget {
    pid: u32,
    lane: Lane,
    chains: Vec<KnownChain>,
    /// The loop and the manner that visits belong to.
    at: Option<(usize, usize)>,
    /// Visits and slices of passes that are not complete, by the same.
    open: Vec<[(u64, u64); 2]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct KnownChain {
    generation: u32,
    is_there: bool,
}

impl Decoder {
    /// Tells all that a block has.
    pub(super) fn run(
        &mut self,
        content: &[u8],
        mut tell: impl FnMut(Told) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut cursor = Cursor(content);
        while !cursor.is_at_end() {
            self.entry(&mut cursor, &mut tell)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        cursor: &mut Cursor<'_>,
        tell: &mut impl FnMut(Told) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let number = cursor.number()?;
        for _ in 0..number >> visit::BITS {
            let (_, passes) = self.passes()?;
            let expected = passes.expected().ok_or(Malformed("which tasks are as before"))?;
            tell(self.came(expected, false)?)?;
        }
        match number & ((1 << visit::BITS) - 1) {
            visit::NONE => return self.other(cursor, tell),
            visit::GONE => {
                let (_, passes) = self.passes()?;
                passes.skip(cursor.count(AHEAD, "how many tasks have gone")?);
            }
            what => {
                let is_new = what == visit::NEW;
                let (target, passes) = self.passes()?;
                let expected = passes.expected();
                let task = if is_new {
                    self.task(target, cursor)?
                } else {
                    expected.ok_or(Malformed("which task has moved"))?.task
                };
                let (chain, flags) = visited(cursor)?;
                let before = expected.filter(|_| !is_new).unwrap_or_default().future;
                let future = self.future(target, flags, before, cursor)?;
                let visit = Visit {
                    task,
                    chain,
                    future,
                    flags: flags & !flag::OTHER_FUTURE,
                };
                tell(self.came(visit, is_new)?)?;
            }
        }
        Ok(())
    }

    /// Takes a visit, in place of the expected one or besides.
    fn came(&mut self, visit: Visit, is_new: bool) -> Result<Told, Malformed> {
        let (target, passes) = self.passes()?;
        let before = passes.remembered();
        passes.came(visit, is_new);
        let more = passes.remembered() - before;
        self.remember(more)?;
        Ok(Told::Seen(target, self.visited(target, visit)?))
    }

    fn remember(&mut self, more: usize) -> Result<(), Malformed> {
        self.remembered += more;
        (self.remembered <= MAX_REMEMBERED).then_some(()).ok_or(Malformed(
            "of so many tasks, in a file that can be read with bounded memory",
        ))
    }

    fn current(&mut self) -> Result<(usize, &mut OfTarget), Malformed> {
        let target = self.current.ok_or(Malformed("which target it is about"))?;
        let of_target = self.lanes.get_mut(target);
        of_target
            .map(|it| (target, it))
            .ok_or(Malformed("which target it is about"))
    }

    /// The target, and its passes that visits belong to.
    fn passes(&mut self) -> Result<(usize, &mut super::passes::Passes), Malformed> {
        let (target, it) = self.current()?;
        let (place, manner) = it.at.ok_or(Malformed("whose tasks were met"))?;
        let of_loop = it.lane.loops.get_mut(place);
        let of_loop = of_loop.ok_or(Malformed("whose tasks were met"))?;
        Ok((target, &mut of_loop.manners[manner].passes))
    }

    fn origin(&mut self) -> Result<Origin, Malformed> {
        let (_, it) = self.current()?;
        let (place, manner) = it.at.ok_or(Malformed("where it comes from"))?;
        let of_loop = it.lane.loops.get(place);
        let of_loop = of_loop.ok_or(Malformed("where it comes from"))?;
        Ok(Origin {
            event_loop: of_loop.id,
            pid: it.pid,
            in_context: manner == 1,
            time: of_loop.manners[manner].time,
            runtime: of_loop.runtime,
            pass: of_loop.manners[manner].pass,
        })
    }

    /// One visit, and whether there may be so many.
    fn visited(&mut self, target: usize, visit: Visit) -> Result<Observation, Malformed> {
        let origin = self.origin()?;
        let it = self
            .lanes
            .get_mut(target)
            .ok_or(Malformed("which target it is about"))?;
        if let Some((place, manner)) = it.at
            && let Some(open) = it.open.get_mut(place)
        {
            open[manner].0 += 1;
            self.open_visits += 1;
        }
        if self.open_visits > MAX_OPEN_VISITS {
            return Err(Malformed("which of so many tasks are there"));
        }
        if visit.flags & flag::UNREAD != 0 {
            return Ok(Observation::Unread {
                origin,
                task: visit.task,
            });
        }
        Ok(Observation::Met {
            origin,
            task: visit.task,
            is_running: visit.flags & flag::RUNNING != 0,
            chain: it.chain(u64::from(visit.chain), visit.flags)?,
            future: visit.future,
        })
    }

    /// The future of a task that was met, which was another one `before`.
    fn future(
        &mut self,
        target: usize,
        flags: u8,
        before: Address,
        cursor: &mut Cursor<'_>,
    ) -> Result<Address, Malformed> {
        if flags & flag::OTHER_FUTURE == 0 {
            return Ok(before);
        }
        let it = self
            .lanes
            .get_mut(target)
            .ok_or(Malformed("which target it is about"))?;
        it.lane.future = Address(cursor.change(it.lane.future.0)?);
        Ok(it.lane.future)
    }

    fn task(&mut self, target: usize, cursor: &mut Cursor<'_>) -> Result<TaskId, Malformed> {
        let it = self
            .lanes
            .get_mut(target)
            .ok_or(Malformed("which target it is about"))?;
        let before = it.lane.task;
        it.lane.task = TaskId {
            address: Address(cursor.change(before.address.0)?),
            coroutine: Address(cursor.change(before.coroutine.0)?),
            name: Address(cursor.change(before.name.0)?),
        };
        Ok(it.lane.task)
    }

    fn other(
        &mut self,
        cursor: &mut Cursor<'_>,
        tell: &mut impl FnMut(Told) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match cursor.byte()? {
            kind::NOTHING => Ok(()),
            kind::TURN_TO => {
                self.current = Some(cursor.count(MAX_TARGETS, "which target it is about")?);
                let (_, it) = self.current()?;
                it.at = None;
                Ok(())
            }
            kind::TARGET => self.target(cursor).and_then(|target| tell(Told::Target(target))),
            kind::FORGET_TABLES => {
                self.values = Values::default();
                Ok(())
            }
            kind::TEXT => self.text(cursor),
            kind::FRAME => self.frame(cursor),
            kind::STACK => self.stack(cursor),
            kind::RESOURCE => self.resource(cursor),
            kind::LOOP => self.event_loop(cursor),
            kind::ORIGIN => self.turn_to(cursor),
            other => {
                let observation = self.observation(other, cursor)?;
                let (target, _) = self.current()?;
                if let Observation::End(_) = observation {
                    self.end(target);
                }
                tell(Told::Seen(target, observation))
            }
        }
    }

    /// Keeps nothing of a target that is looked at no longer. Only its sums may still be folded.
    fn end(&mut self, target: usize) {
        let Some(it) = self.lanes.get_mut(target) else {
            return;
        };
        let ended = std::mem::take(it);
        it.pid = ended.pid;
        self.chains -= ended.chains.len();
        for of_loop in &ended.lane.loops {
            let manners = of_loop.manners.iter();
            let remembered: usize = manners.map(|manner| manner.passes.remembered()).sum();
            self.remembered = self.remembered.saturating_sub(remembered);
        }
        for (visits, slices) in ended.open.into_iter().flatten() {
            self.open_visits = self.open_visits.saturating_sub(visits);
            self.open_slices = self.open_slices.saturating_sub(slices);
        }
    }

    fn target(&mut self, cursor: &mut Cursor<'_>) -> Result<Target, Malformed> {
        if self.lanes.len() >= MAX_TARGETS {
            return Err(Malformed("which of so many targets there are"));
        }
        let pid = id(cursor)?;
        self.lanes.push(OfTarget {
            pid,
            ..OfTarget::default()
        });
        let process = Process {
            pid,
            command: cursor.text()?.to_string(),
            python: cursor.text()?.to_string(),
        };
        let started_at = i128::from(cursor.change(0)?.cast_signed());
        Ok(Target {
            process,
            started_at: jiff::Timestamp::from_nanosecond(started_at)
                .map_err(|_| Malformed("when it began"))?,
            began: cursor.number()?,
            is_shown_empty: cursor.byte()? != 0,
        })
    }

    fn text(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let text = cursor.text()?;
        self.values.grow(text.len())?;
        self.values.texts.push(text);
        Ok(())
    }

    /// A text that was defined.
    fn known_text(&self, number: u64) -> Result<Arc<str>, Malformed> {
        known(&self.values.texts, number)
    }

    fn optional(&self, number: u64) -> Result<Option<Arc<str>>, Malformed> {
        number
            .checked_sub(1)
            .map(|number| self.known_text(number))
            .transpose()
    }

    fn frame(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let frame = Frame {
            function: self.known_text(cursor.number()?)?,
            file: self.known_text(cursor.number()?)?,
            line: id(cursor)?,
            kind: at(&FRAME_KINDS, cursor.byte()?)?,
            origin: origin::Origin::of_parts(
                at(&RANKS, cursor.byte()?)?,
                cursor.count(usize::from(u16::MAX), "which part of a path is shown")? as u16,
            ),
        };
        self.values.grow(0)?;
        self.values.frames.push(frame);
        Ok(())
    }

    fn stack(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let frames = cursor.count(MAX_FRAMES, "how many frames a stack has")?;
        self.values.grow(frames * size_of::<Frame>())?;
        let frames = (0..frames)
            .map(|_| known(&self.values.frames, cursor.number()?))
            .collect::<Result<_, _>>()?;
        self.values.stacks.push(frames);
        Ok(())
    }

    fn resource(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let kind = self.known_text(cursor.number()?)?;
        let words = self.known_text(cursor.number()?)?;
        let mut text = || self.optional(cursor.number()?);
        let resource = Resource {
            kind: serde_json::from_str(&kind).map_err(|_| Malformed("of which kind a resource is"))?,
            words,
            type_name: text()?,
            label: text()?,
            operation: text()?,
            method: text()?,
            url: text()?,
            local: text()?,
            peer: text()?,
            command: text()?,
            query: text()?,
            ..Resource::default()
        };
        self.values.grow(0)?;
        self.values.resources.push(Arc::new(resource));
        Ok(())
    }

    fn event_loop(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let id = LoopId {
            tid: id(cursor)?,
            slot: cursor.count(MAX_LOOPS_PER_THREAD as usize, "which of a thread's loops it is")? as u32,
        };
        let (_, it) = self.current()?;
        if it.lane.loops.len() >= MAX_LOOPS || it.lane.place(id).is_some() {
            return Err(Malformed("of a loop that is new"));
        }
        let place = it.lane.begin(id);
        if it.open.len() <= place {
            it.open.resize(place + 1, Default::default());
        }
        Ok(())
    }

    /// The loop at a place.
    fn loop_at(&mut self, place: usize) -> Result<LoopId, Malformed> {
        let (_, it) = self.current()?;
        let id = it.lane.loops.get(place).map(|of_loop| of_loop.id);
        id.filter(|id| it.lane.place(*id) == Some(place))
            .ok_or(Malformed("which loop it is about"))
    }

    fn turn_to(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let number = cursor.count(2 * MAX_LOOPS, "which loop it is about")?;
        let (place, manner) = (number >> 1, number & 1);
        self.loop_at(place)?;
        let (_, it) = self.current()?;
        it.at = Some((place, manner));
        let of_loop = it.lane.loops.get_mut(place);
        let of_loop = of_loop.ok_or(Malformed("which loop it is about"))?;
        let in_manner = &mut of_loop.manners[manner];
        in_manner.time = cursor.change(in_manner.time)?;
        of_loop.runtime = cursor.change(of_loop.runtime)?;
        in_manner.pass = cursor.change(in_manner.pass)?;
        let before = in_manner.passes.remembered();
        in_manner.passes.go_on_with(in_manner.pass);
        let fewer = before - in_manner.passes.remembered();
        self.remembered = self.remembered.saturating_sub(fewer);
        Ok(())
    }

    fn observation(&mut self, kind: u8, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        Ok(match kind {
            kind::CHAIN => self.chain(cursor)?,
            kind::TICK => {
                let (_, it) = self.current()?;
                it.lane.tick = cursor.change(it.lane.tick)?;
                Observation::Tick {
                    at_ms: it.lane.tick.min(u64::MAX / 1_000_000),
                }
            }
            kind::WAITS => {
                let place = cursor.count(MAX_LOOPS, "which loop it is about")?;
                let event_loop = self.loop_at(place)?;
                let (_, it) = self.current()?;
                let of_loop = it.lane.loops.get_mut(place);
                let of_loop = of_loop.ok_or(Malformed("which loop it is about"))?;
                of_loop.waited = cursor.change(of_loop.waited)?;
                let waited = of_loop.waited;
                Observation::Waits { event_loop, waited }
            }
            kind::RAN => {
                let origin = self.origin()?;
                let (chain, flags) = visited(cursor)?;
                let (_, it) = self.current()?;
                let chain = it.chain(u64::from(chain), flags)?;
                Observation::Ran { origin, chain }
            }
            kind::SLICE => self.slice(cursor)?,
            kind::ANSWERS => self.answers(cursor)?,
            kind::ASKED_IN_VAIN => {
                let (_, it) = self.current()?;
                let chain = it.chain(cursor.number()?, 0)?;
                Observation::AskedInVain { chain }
            }
            kind::LEFT => Observation::Left {
                at: cursor.number()?,
                chains: self.chains(cursor)?,
            },
            kind::CHECKED => Observation::Checked {
                retired: self.chains(cursor)?,
            },
            kind::LET_GO => self.let_go(cursor)?,
            kind::ENDED => self.ended(cursor)?,
            kind::HELD => Observation::Held(self.hold(cursor)?),
            kind::LOST => Observation::Lost(losses(cursor)?),
            kind::FOLD => Observation::Fold,
            kind::DISOWNED => Observation::Disowned,
            kind::END => Observation::End(End {
                at: cursor.number()?,
                retired: self.chains(cursor)?,
                has_exited: cursor.byte()? != 0,
            }),
            _ => return Err(Malformed("what kind of entry it is")),
        })
    }

    fn chain(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        let index = cursor.count(MAX_CHAINS, "which of so many chains it is")?;
        let look = Look {
            state: at(&STATES, cursor.byte()?)?,
            stack: known(&self.values.stacks, cursor.number()?)?,
            terminal: self.optional(cursor.number()?)?,
            resource: None,
        };
        let all = self.chains;
        let (_, it) = self.current()?;
        let is_new = index == it.chains.len();
        if index > it.chains.len() || (is_new && all >= MAX_CHAINS) {
            return Err(Malformed("which chain it is"));
        }
        if is_new {
            it.chains.push(KnownChain::default());
        }
        it.chains[index].is_there = true;
        let chain = it.chain(index as u64, 0)?;
        self.chains += usize::from(is_new);
        Ok(Observation::Chain { chain, look })
    }

    /// A list of chains.
    fn chains(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<ChainId>, Malformed> {
        let count = cursor.count(MAX_CHAINS, "how many chains it is about")?;
        let (_, it) = self.current()?;
        let mut before = 0;
        // Each of them takes a byte at least, so this grows no larger than the block.
        let mut chains = Vec::new();
        for _ in 0..count {
            before = cursor.change(before)?;
            chains.push(it.chain(before, 0)?);
        }
        Ok(chains)
    }

    fn let_go(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        let at = cursor.number()?;
        let chains = self.chains(cursor)?;
        let (_, it) = self.current()?;
        for chain in &chains {
            if let Some(known) = it.chains.get_mut(chain.index()) {
                known.is_there = false;
                known.generation = known.generation.wrapping_add(1);
            }
        }
        Ok(Observation::LetGo { at, chains })
    }

    fn slice(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        let origin = self.origin()?;
        let status = SliceStatus::from_u8(cursor.byte()?).ok_or(Malformed("how a slice ended"))?;
        let (_, it) = self.current()?;
        let open = it
            .at
            .and_then(|(place, manner)| Some(&mut it.open.get_mut(place)?[manner]));
        if let Some(open) = open {
            open.1 += 1;
            let (visits, slices) = *open;
            if status == SliceStatus::PassComplete {
                *open = (0, 0);
                self.open_visits = self.open_visits.saturating_sub(visits);
                // The one that ends it was not counted yet.
                self.open_slices = self.open_slices.saturating_sub(slices - 1);
            } else {
                self.open_slices += 1;
            }
        }
        if self.open_slices > MAX_OPEN_SLICES {
            return Err(Malformed("when so many slices end"));
        }
        Ok(Observation::Slice { origin, status })
    }

    fn answers(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        let (_, it) = self.current()?;
        let chain = it.chain(cursor.number()?, 0)?;
        let place = cursor.count(MAX_LOOPS, "which loop it is about")?;
        let event_loop = self.loop_at(place)?;
        let pass = cursor.number()?;
        let at = cursor.number()?;
        let tasks = cursor.count(MAX_COUNT, "how many tasks were met")? as u64;
        let count = cursor.count(MAX_THINGS, "how many have answered")?;
        let thing = |number: u64| -> Result<Thing, Malformed> {
            let number = number.checked_sub(1);
            number
                .map(|number| known(&self.values.resources, number))
                .transpose()
        };
        let things = (0..count)
            .map(|_| thing(cursor.number()?))
            .collect::<Result<_, _>>()?;
        Ok(Observation::Answers {
            chain,
            event_loop,
            pass,
            at,
            tasks,
            things,
        })
    }

    fn ended(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, Malformed> {
        let place = cursor.count(MAX_LOOPS, "which loop it is about")?;
        let event_loop = self.loop_at(place)?;
        let at = cursor.number()?;
        let goes_on = cursor.byte()? != 0;
        if !goes_on {
            let (_, it) = self.current()?;
            it.at = None;
            let manners = it.lane.loops.get(place).map(|of_loop| &of_loop.manners);
            let remembered: usize = manners
                .into_iter()
                .flatten()
                .map(|manner| manner.passes.remembered())
                .sum();
            it.lane.end(event_loop);
            let open = it.open.get_mut(place).map(std::mem::take).unwrap_or_default();
            self.remembered = self.remembered.saturating_sub(remembered);
            for (visits, slices) in open {
                self.open_visits = self.open_visits.saturating_sub(visits);
                self.open_slices = self.open_slices.saturating_sub(slices);
            }
        }
        Ok(Observation::Ended {
            event_loop,
            at,
            goes_on,
        })
    }

    fn hold(&mut self, cursor: &mut Cursor<'_>) -> Result<Hold, Malformed> {
        let is_task = cursor.byte()? != 0;
        let place = HoldPlace {
            is_task,
            root: self.known_text(cursor.number()?)?,
            frame: known(&self.values.frames, cursor.number()?)?,
        };
        Ok(Hold {
            place,
            turns: id(cursor)?.into(),
            seconds: cursor.float()?,
            longest_seconds: cursor.float()?,
            ready_seconds: cursor.float()?,
        })
    }
}

impl OfTarget {
    /// The chain at a place, which has to be known.
    fn chain(&self, index: u64, flags: u8) -> Result<ChainId, Malformed> {
        let index = u32::try_from(index).map_err(|_| Malformed("which chain it is"))?;
        let known = self.chains.get(index as usize).filter(|it| it.is_there);
        let known = known.ok_or(Malformed("which chain it is"))?;
        let chain = ChainId::of_parts(index, known.generation);
        Ok(if flags & flag::PROVEN != 0 {
            chain.proven()
        } else {
            chain
        })
    }
}

/// What was defined with this number.
fn known<T: Clone>(values: &[T], number: u64) -> Result<T, Malformed> {
    let index = usize::try_from(number).ok();
    let value = index.and_then(|index| values.get(index));
    value
        .cloned()
        .ok_or(Malformed("something that was defined before"))
}

/// The chain of a visit, and flags.
fn visited(cursor: &mut Cursor<'_>) -> Result<(u32, u8), Malformed> {
    let number = cursor.number()?;
    let chain = u32::try_from(number >> 1).map_err(|_| Malformed("which chain it is"))?;
    let flags = if number & 1 != 0 { cursor.byte()? } else { 0 };
    if flags & !flag::ALL != 0 {
        return Err(Malformed("how a task was met"));
    }
    Ok((chain, flags))
}

/// A number of 32 bits.
pub(super) fn id(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
    u32::try_from(cursor.number()?).map_err(|_| Malformed("a number of 32 bits"))
}

/// What was lost, as it is counted.
pub(super) fn losses(cursor: &mut Cursor<'_>) -> Result<Losses, Malformed> {
    let mut losses = Losses::default();
    for count in losses.each_mut() {
        *count = cursor.count(MAX_COUNT, "how much was lost")? as u64;
    }
    Ok(losses)
}
