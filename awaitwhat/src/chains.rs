//! Chains as they were sampled, each kept once, with the frames that they stand for.
//!
//! A chain is known from the moment it is seen until [`ChainTable::let_go`] finds that nobody needs it any more. What is done
//! per second is in proportion to the chains that were seen in it, never to those that ever were.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use awaitwhat_common::event::TaskState;
use awaitwhat_common::status::TaskStatus;

use crate::decode::{TaskRecord, frames_innermost_first};
use crate::memory::Address;
use crate::snapshot::{Frame, Stack};

/// A chain of a [`ChainTable`]. Once it was let go no other one is taken for it, though its place is used again.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(Default))]
pub struct ChainId {
    index: u32,
    generation: u32,
    /// No part of what makes it equal to another: it is about the moment at which it was seen.
    is_proven: bool,
}

impl PartialEq for ChainId {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl Eq for ChainId {}

impl Hash for ChainId {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.index, self.generation).hash(hasher);
    }
}

impl ChainId {
    /// The same chain, seen while it is certain what it was called: its names were read before the thread ran again.
    #[must_use]
    pub fn proven(self) -> Self {
        Self {
            is_proven: true,
            ..self
        }
    }

    /// Whether it was seen so.
    pub fn is_proven(self) -> bool {
        self.is_proven
    }

    /// Its place, which a chain that was let go leaves to others.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// A chain of a table that is not there any more, as a recording tells of it.
    pub(crate) const fn of_parts(index: u32, generation: u32) -> Self {
        Self {
            index,
            generation,
            is_proven: false,
        }
    }

    /// A chain of no table, for tests of what is told of chains.
    #[cfg(test)]
    pub(crate) const fn numbered(index: u32) -> Self {
        Self {
            index,
            generation: 0,
            is_proven: false,
        }
    }
}

/// What makes two chains one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    state: TaskState,
    is_ready: bool,
    terminal_type: Address,
    frames: Box<[u8]>,
    /// Frames that are left out, and whether the walk ended before the chain did.
    left_out: u32,
    has_no_end: bool,
}

/// One chain.
#[derive(Clone, Debug)]
pub struct Chain {
    pub state: TaskState,
    /// It could go on, and waits for its loop: see [`crate::snapshot::TaskState::Ready`].
    pub is_ready: bool,
    /// Type of the terminal awaitable, or null.
    pub terminal_type: Address,
    /// Code object and instruction of each frame, innermost first.
    pub frames: Vec<(Address, Address)>,
    /// What the frames stand for, innermost first.
    pub stack: Stack,
    /// Name of the terminal awaitable's type.
    pub terminal: Option<Arc<str>>,
    /// What a task of trio is parked in, as that is told by no terminal awaitable.
    pub parked: Parked,
}

/// What is known of the object whose method has parked a task of trio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// Name of its type, of the task in which it was first read.
    In(Arc<str>),
    /// It was looked for so often, in vain.
    NotFound(u32),
}

/// A place for a chain.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    chain: Chain,
    /// `None` where its records are no longer taken for it, as another code object lies where one of its own was.
    key: Option<Arc<Key>>,
    /// Whether it was seen since [`ChainTable::take_used_codes`].
    is_used: bool,
    /// Whether its code objects were the same at a check: most that live so long live long.
    is_settled: bool,
}

/// The chains that are known.
#[derive(Debug, Default)]
pub struct ChainTable {
    ids: HashMap<Arc<Key>, ChainId>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Chains by the code objects that their frames belong to; those that were let go since may be among them.
    by_code: HashMap<Address, Vec<ChainId>>,
    /// Chains of which more is known since [`ChainTable::take_news`].
    news: Vec<ChainId>,
    /// Chains that were seen since [`ChainTable::take_used_codes`].
    used: Vec<ChainId>,
    /// Those whose code objects are being checked.
    checked: Vec<ChainId>,
    /// Those of [`ChainTable::retire`] that are still there.
    retired: Vec<ChainId>,
    /// For each state, what chains are taken for that there is no room for.
    others: HashMap<(TaskState, bool), ChainId>,
    bytes: usize,
}

impl ChainTable {
    /// The chain of `record`, where it is known. `is_ready` says whether its task waits for its loop only.
    pub fn known(&mut self, record: &TaskRecord<'_>, is_ready: bool) -> Option<ChainId> {
        let id = *self.ids.get(&Key::of(record, is_ready))?;
        self.note_use(id);
        Some(id)
    }

    /// The chain of `record`, with `is_ready` as in [`ChainTable::known`]. `describe` says what a chain stands for that is not known: its frames (innermost first) and the name of
    /// its terminal awaitable's type.
    ///
    /// # Errors
    /// When `describe` fails; the chain stays unknown then.
    pub fn intern<E>(
        &mut self,
        record: &TaskRecord<'_>,
        is_ready: bool,
        describe: impl FnOnce(&[(Address, Address)]) -> Result<(Stack, Option<Arc<str>>), E>,
    ) -> Result<ChainId, E> {
        let key = Key::of(record, is_ready);
        if let Some(&known) = self.ids.get(&key) {
            self.note_use(known);
            return Ok(known);
        }
        let frames = frames_innermost_first(&key.frames, key.state, key.left_out);
        let (stack, terminal) = describe(&frames)?;
        let key = Arc::new(key);
        let id = self.insert(Held {
            chain: Chain {
                state: key.state,
                is_ready,
                terminal_type: key.terminal_type,
                frames,
                stack,
                terminal,
                parked: Parked::NotFound(0),
            },
            key: Some(Arc::clone(&key)),
            is_used: false,
            is_settled: false,
        });
        self.ids.insert(key, id);
        self.index_codes(id);
        self.note_use(id);
        Ok(id)
    }

    /// What chains in `state` are taken for that there is no room for: one chain that looks like `stack`.
    pub fn other(&mut self, state: TaskState, is_ready: bool, stack: impl FnOnce() -> Stack) -> ChainId {
        if let Some(&other) = self.others.get(&(state, is_ready)) {
            return other;
        }
        let id = self.insert(Held {
            chain: Chain {
                state,
                is_ready,
                terminal_type: Address::NULL,
                frames: Vec::new(),
                stack: stack(),
                terminal: None,
                parked: Parked::NotFound(0),
            },
            key: None,
            is_used: false,
            is_settled: false,
        });
        self.others.insert((state, is_ready), id);
        id
    }

    /// The chain with this id, if it is still known.
    pub fn find(&self, id: ChainId) -> Option<&Chain> {
        self.held(id).map(|held| &held.chain)
    }

    /// Every place that chains have had, with the chain that has it now, if one has.
    pub fn places(&self) -> impl Iterator<Item = (ChainId, Option<&Chain>)> {
        (0..).zip(&self.slots).map(|(index, slot)| {
            let id = ChainId::of_parts(index, slot.generation);
            (id, slot.held.as_ref().map(|held| &held.chain))
        })
    }

    /// The chain with this id.
    ///
    /// # Panics
    /// When it was let go.
    pub fn get(&self, id: ChainId) -> &Chain {
        self.find(id).expect("nobody lets go of a chain that is in use")
    }

    /// Notes what came of a search for what a task with this chain is parked in.
    pub fn note_parked(&mut self, id: ChainId, found: Option<Arc<str>>) {
        let Some(held) = self.held_mut(id) else {
            return;
        };
        let parked = &mut held.chain.parked;
        match (found, &mut *parked) {
            (Some(found), _) => {
                *parked = Parked::In(found);
                self.news.push(id);
            }
            (None, Parked::NotFound(times)) => *times += 1,
            (None, Parked::In(_)) => {}
        }
    }

    /// The chains that are new since the last call, and those of which it was found out since what their tasks are parked in.
    pub fn take_news(&mut self) -> Vec<ChainId> {
        std::mem::take(&mut self.news)
    }

    /// Bytes that the chains take, without the names in them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many chains are known.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The code objects of the chains that were seen since the last call.
    pub fn take_used_codes(&mut self) -> HashSet<Address> {
        let mut codes = HashSet::new();
        let used = std::mem::take(&mut self.used);
        for &id in &used {
            if let Some(held) = self.held_mut(id) {
                held.is_used = false;
                codes.extend(held.chain.frames.iter().map(|(code, _)| *code));
            }
        }
        self.checked = used;
        codes
    }

    /// The code objects that [`ChainTable::take_used_codes`] gave were looked at, and chains of those that have changed are retired.
    pub fn settle(&mut self) {
        for id in std::mem::take(&mut self.checked) {
            if let Some(held) = self.held_mut(id) {
                held.is_settled = held.key.is_some();
            }
        }
    }

    /// Whether a chain's code objects were found to be the same at a check.
    pub fn is_settled(&self, id: ChainId) -> bool {
        self.held(id).is_some_and(|held| held.is_settled)
    }

    /// Has no record taken any more for a chain with one of these code objects, as another code object lies there now. Returns how many
    /// chains that are.
    pub fn retire(&mut self, codes: &[Address]) -> u64 {
        let before = self.retired.len();
        let by_code = &mut self.by_code;
        let affected: Vec<ChainId> = codes
            .iter()
            .filter_map(|code| by_code.remove(code))
            .flatten()
            .collect();
        for id in affected {
            // It may be there for several of its codes.
            if let Some(key) = self.held_mut(id).and_then(|held| held.key.take()) {
                self.ids.remove(&key);
                self.retired.push(id);
            }
        }
        (self.retired.len() - before) as u64
    }

    /// The chains that were retired and are still there.
    pub fn retired(&self) -> &[ChainId] {
        &self.retired
    }

    /// Lets go of the chains that are not `needed`, and returns them.
    pub fn let_go(&mut self, needed: impl Fn(ChainId) -> bool) -> Vec<(ChainId, Chain)> {
        let mut gone = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let id = ChainId {
                index: index as u32,
                generation: slot.generation,
                is_proven: false,
            };
            if needed(id) {
                continue;
            }
            let Some(held) = slot.held.take() else {
                continue;
            };
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.index);
            self.bytes -= held.bytes();
            if let Some(key) = held.key {
                self.ids.remove(&key);
            }
            gone.push((id, held.chain));
        }
        self.forget_gone();
        gone
    }

    /// The code objects of all chains that are known.
    pub fn codes(&self) -> HashSet<Address> {
        self.by_code.keys().copied().collect()
    }

    /// What refers to chains that were let go.
    fn forget_gone(&mut self) {
        let slots = &self.slots;
        let is_there = |id: &ChainId| slots[id.index()].generation == id.generation;
        self.news.retain(is_there);
        self.used.retain(is_there);
        self.checked.retain(is_there);
        self.retired.retain(is_there);
        self.others.retain(|_, id| is_there(id));
        self.by_code.retain(|_, chains| {
            chains.retain(is_there);
            chains.shrink_to_fit();
            !chains.is_empty()
        });
        self.ids.shrink_to(2 * self.ids.len());
        self.by_code.shrink_to(2 * self.by_code.len());
    }

    fn insert(&mut self, held: Held) -> ChainId {
        self.bytes += held.bytes();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.held = Some(held);
        let id = ChainId {
            index,
            generation: slot.generation,
            is_proven: false,
        };
        self.news.push(id);
        id
    }

    fn index_codes(&mut self, id: ChainId) {
        let Self { slots, by_code, .. } = self;
        let Some(held) = &slots[id.index()].held else {
            return;
        };
        for (code, _) in &held.chain.frames {
            let chains = by_code.entry(*code).or_default();
            if chains.last() != Some(&id) {
                chains.push(id);
            }
        }
    }

    fn note_use(&mut self, id: ChainId) {
        if let Some(held) = self.held_mut(id)
            && !std::mem::replace(&mut held.is_used, true)
        {
            self.used.push(id);
        }
    }

    fn held(&self, id: ChainId) -> Option<&Held> {
        let slot = self.slots.get(id.index())?;
        slot.held.as_ref().filter(|_| slot.generation == id.generation)
    }

    fn held_mut(&mut self, id: ChainId) -> Option<&mut Held> {
        let slot = self.slots.get_mut(id.index())?;
        slot.held.as_mut().filter(|_| slot.generation == id.generation)
    }
}

impl Key {
    fn of(record: &TaskRecord<'_>, is_ready: bool) -> Self {
        Self {
            state: record.state,
            is_ready,
            terminal_type: record.terminal_type,
            frames: record.frame_bytes().into(),
            left_out: record.left_out,
            has_no_end: record.status == TaskStatus::Truncated,
        }
    }
}

impl Held {
    fn bytes(&self) -> usize {
        // A key and its place in the map, the frames as addresses and as names, and the index of codes.
        const FIXED: usize = 256;
        const FRAME: usize = 2 * size_of::<(Address, Address)>() + size_of::<Frame>() + size_of::<ChainId>();
        FIXED + FRAME * self.chain.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use awaitwhat_common::event::TaskState;

    use super::{ChainId, ChainTable};
    use crate::memory::Address;
    use crate::snapshot::Stack;
    use crate::testing::with_task_record;

    /// The chain whose frames belong to these code objects.
    fn seen(table: &mut ChainTable, codes: &[u64]) -> ChainId {
        let frames: Vec<u64> = codes.iter().flat_map(|&code| [code, code + 8]).collect();
        with_task_record(&frames, |record| {
            table
                .intern(record, false, |_| Ok::<_, ()>((Stack::from([]), None)))
                .unwrap()
        })
    }

    #[test]
    fn a_chain_is_known_until_it_is_let_go() {
        let mut table = ChainTable::default();
        let (one, other) = (seen(&mut table, &[16, 32]), seen(&mut table, &[48, 32]));
        assert_eq!(seen(&mut table, &[16, 32]), one);
        assert_eq!(table.len(), 2);
        let gone = table.let_go(|id| id == other);
        assert_eq!(gone.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [one]);
        assert!(table.find(one).is_none() && table.find(other).is_some());
        // Its place is used again, and by another one.
        let new = seen(&mut table, &[64]);
        assert_eq!(new.index(), one.index());
        assert_ne!(new, one);
        assert!(table.find(one).is_none());
    }

    #[test]
    fn chains_of_code_that_has_changed_are_retired_once() {
        let mut table = ChainTable::default();
        let (one, kept) = (seen(&mut table, &[16, 32]), seen(&mut table, &[48, 32]));
        assert_eq!(table.retire(&[Address(16), Address(96)]), 1);
        assert_eq!(table.retired(), [one]);
        // What is seen at the same place is another chain, and the old one is still there for what it has to tell.
        let new = seen(&mut table, &[16, 32]);
        assert_ne!(new, one);
        assert!(table.find(one).is_some());
        assert_eq!(table.retire(&[Address(16), Address(32)]), 2);
        assert_eq!(table.retired().len(), 3);
        assert!(table.retired().contains(&kept) && table.retired().contains(&new));
        table.let_go(|_| false);
        assert!(table.retired().is_empty() && table.is_empty());
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn a_chain_is_settled_once_its_code_was_the_same_at_a_check() {
        let mut table = ChainTable::default();
        let (one, other) = (seen(&mut table, &[16, 32]), seen(&mut table, &[48, 32]));
        assert!(!table.is_settled(one));
        table.take_used_codes();
        let late = seen(&mut table, &[64]);
        table.retire(&[Address(16)]);
        table.settle();
        assert_eq!(
            [one, other, late].map(|id| table.is_settled(id)),
            [false, true, false]
        );
        // How a chain was seen makes it no other one.
        assert!(other.proven().is_proven() && !other.is_proven());
        assert_eq!(other.proven(), other);
        assert!(table.is_settled(other.proven()));
    }

    #[test]
    fn the_codes_of_what_was_seen_are_told_once() {
        let mut table = ChainTable::default();
        seen(&mut table, &[16, 32]);
        seen(&mut table, &[48, 32]);
        assert_eq!(table.take_used_codes(), [16, 32, 48].map(Address).into());
        assert!(table.take_used_codes().is_empty());
        seen(&mut table, &[48, 32]);
        assert_eq!(table.take_used_codes(), [32, 48].map(Address).into());
    }

    /// What is held after code that is ever new is in proportion to what is in use, not to what ever was.
    #[test]
    fn ever_new_code_leaves_nothing_behind() {
        let mut table = ChainTable::default();
        let mut held = Vec::new();
        for round in 0..200_u64 {
            let ids: Vec<_> = (0..50)
                .map(|task| seen(&mut table, &[16, 1000 + (round * 50 + task) * 16]))
                .collect();
            table.let_go(|id| ids.contains(&id));
            held.push((table.len(), table.slots.len(), table.by_code.len(), table.bytes()));
        }
        assert!(held[2..].iter().all(|it| *it == held[2]), "{held:?}");
    }

    #[test]
    fn what_there_is_no_room_for_is_one_chain_of_each_state() {
        let mut table = ChainTable::default();
        let mut other = |state| table.other(state, false, || Stack::from([]));
        let waiting = other(TaskState::Waiting);
        assert_eq!(other(TaskState::Waiting), waiting);
        assert_ne!(other(TaskState::Running), waiting);
        table.let_go(|_| false);
        assert!(table.find(waiting).is_none());
        assert_ne!(
            table.other(TaskState::Waiting, false, || Stack::from([])),
            waiting
        );
    }
}
