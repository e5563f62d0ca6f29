//! Chains as they were sampled, each kept once, with the frames that they stand for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use awaitwhat_common::event::TaskState;

use crate::decode::{TaskRecord, frames_innermost_first};
use crate::memory::Address;
use crate::snapshot::Stack;

/// Distinct chains that are kept; what comes then is counted as lost.
const MAX_CHAINS: usize = 1 << 20;

/// A chain of a [`ChainTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainId(u32);

impl ChainId {
    /// Its place in the order of first sight.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What makes two chains one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    state: TaskState,
    terminal_type: Address,
    frames: Box<[u8]>,
}

/// One chain.
#[derive(Clone, Debug)]
pub struct Chain {
    pub state: TaskState,
    /// Type of the terminal awaitable, or null.
    pub terminal_type: Address,
    /// Code object and instruction of each frame, innermost first.
    pub frames: Vec<(Address, Address)>,
    /// What the frames stand for, innermost first.
    pub stack: Stack,
    /// Name of the terminal awaitable's type.
    pub terminal: Option<Arc<str>>,
}

/// Every chain seen so far.
#[derive(Debug, Default)]
pub struct ChainTable {
    ids: HashMap<Key, ChainId>,
    chains: Vec<Chain>,
    /// Chains that were seen since [`ChainTable::take_used_codes`].
    used: HashSet<ChainId>,
}

impl ChainTable {
    /// The chain of `record`. `describe` says what a chain stands for that was not seen before: its frames (innermost
    /// first) and the name of its terminal awaitable's type. `None` when the table is full.
    ///
    /// # Errors
    /// When `describe` fails; the chain stays unknown then.
    pub fn intern<E>(
        &mut self,
        record: &TaskRecord<'_>,
        describe: impl FnOnce(&[(Address, Address)]) -> Result<(Stack, Option<Arc<str>>), E>,
    ) -> Result<Option<ChainId>, E> {
        let key = Key {
            state: record.state,
            terminal_type: record.terminal_type,
            frames: record.frame_bytes().into(),
        };
        if let Some(&known) = self.ids.get(&key) {
            self.used.insert(known);
            return Ok(Some(known));
        }
        if self.chains.len() >= MAX_CHAINS {
            return Ok(None);
        }
        let frames = frames_innermost_first(&key.frames, key.state);
        let (stack, terminal) = describe(&frames)?;
        let id = ChainId(self.chains.len() as u32);
        self.chains.push(Chain {
            state: key.state,
            terminal_type: key.terminal_type,
            frames,
            stack,
            terminal,
        });
        self.ids.insert(key, id);
        Ok(Some(id))
    }

    /// The chain with this id.
    pub fn get(&self, id: ChainId) -> &Chain {
        &self.chains[id.index()]
    }

    /// Every chain, with its id.
    pub fn iter(&self) -> impl Iterator<Item = (ChainId, &Chain)> {
        self.chains
            .iter()
            .enumerate()
            .map(|(index, chain)| (ChainId(index as u32), chain))
    }

    /// The code objects of the chains that were seen since the last call.
    pub fn take_used_codes(&mut self) -> HashSet<Address> {
        let used = std::mem::take(&mut self.used);
        used.into_iter()
            .flat_map(|id| &self.get(id).frames)
            .map(|(code, _)| *code)
            .collect()
    }

    /// Makes chains with one of these code objects unknown, as another code object lies there now; returns their ids.
    pub fn retire(&mut self, codes: &[Address]) -> Vec<ChainId> {
        let is_stale = |chain: &Chain| chain.frames.iter().any(|(code, _)| codes.contains(code));
        let stale: Vec<_> = self
            .iter()
            .filter(|(_, chain)| is_stale(chain))
            .map(|(id, _)| id)
            .collect();
        self.ids.retain(|_, id| !stale.contains(id));
        stale
    }
}
