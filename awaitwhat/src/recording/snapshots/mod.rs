//! Snapshots in a recording: what all its targets were at one moment, besides what its observations tell of the time in between. Each stands for itself: to
//! read one takes nothing that was told before.
//!
//! What comes of one look is one run of bytes ([`encode`], [`decode`]), cut into pieces that are a block each.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::io;

use super::block::{Kind, Maker};
use super::bytes::{Bytes, Cursor, Malformed};
use crate::resource::ThreadState;
use crate::snapshot::{FutureState, Snapshot, TaskState, TrioState, WaitKind};
use crate::survey::Survey;

/// Version of the bytes that snapshots are written as.
const VERSION: u64 = 1;
/// Bytes of a piece.
const PIECE: usize = 4 << 20;
/// Bytes that all pieces of a look have at most: some million tasks.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of memory that what they tell of may take.
const MAX_WEIGHT: usize = 512 << 20;
/// Which piece it is, in its first byte.
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// Snapshots of all targets that were made in one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When the look began: in ns since the recording began, and by the clock of the machine.
    pub since: u64,
    pub taken_at: jiff::Timestamp,
    pub found: Survey<Snapshot>,
}

/// The same as the blocks of a file.
#[derive(Debug)]
pub struct Packed {
    pub(super) blocks: Vec<Vec<u8>>,
}

impl Packed {
    /// Bytes that it takes in a file.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }
}

/// Why a moment cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum NotPacked {
    #[error("there are too many tasks to keep them in a recording")]
    TooLarge,
    #[error("it cannot be compressed")]
    Compression(#[from] io::Error),
}

/// Makes blocks of a moment. That takes time in proportion to its tasks, so it is not done where time is short.
///
/// # Errors
/// See [`NotPacked`].
pub fn pack(moment: &Moment) -> Result<Packed, NotPacked> {
    let content = encode::encode(&moment.found).ok_or(NotPacked::TooLarge)?;
    let mut maker = Maker::new()?;
    let mut pieces = content.chunks(PIECE).peekable();
    let mut blocks = Vec::new();
    while let Some(piece) = pieces.next() {
        let mut bytes = Bytes::default();
        let is_first = blocks.is_empty();
        let last = if pieces.peek().is_none() { LAST } else { 0 };
        bytes.byte(last | if is_first { FIRST } else { 0 });
        if is_first {
            let taken_at = i64::try_from(moment.taken_at.as_nanosecond()).unwrap_or(i64::MAX);
            bytes.number(moment.since);
            bytes.change(0, taken_at.cast_unsigned());
        }
        bytes.0.extend(piece);
        blocks.push(maker.block(Kind::Snapshots, &bytes.0)?);
    }
    Ok(Packed { blocks })
}

/// Puts the pieces of a moment together.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) since: u64,
    pub(super) taken_at: jiff::Timestamp,
    content: Vec<u8>,
    pub(super) is_whole: bool,
}

impl Pieces {
    /// Takes a piece, which goes on with what was there before, or begins anew.
    pub(super) fn take(before: Option<Self>, piece: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(piece);
        let which = cursor.byte()?;
        let mut pieces = match before {
            _ if which & FIRST != 0 => {
                let since = cursor.number()?;
                let taken_at = i128::from(cursor.change(0)?.cast_signed());
                Self {
                    since,
                    taken_at: jiff::Timestamp::from_nanosecond(taken_at)
                        .map_err(|_| Malformed("when a snapshot was taken"))?,
                    content: Vec::new(),
                    is_whole: false,
                }
            }
            Some(before) if !before.is_whole => before,
            _ => return Err(Malformed("how a snapshot begins")),
        };
        if pieces.content.len() + cursor.0.len() > MAX_BYTES {
            return Err(Malformed("a snapshot that can be read with bounded memory"));
        }
        pieces.content.extend(cursor.0);
        pieces.is_whole = which & LAST != 0;
        Ok(pieces)
    }

    /// What they tell.
    pub(super) fn read(&self) -> Result<Moment, Malformed> {
        Ok(Moment {
            since: self.since,
            taken_at: self.taken_at,
            found: decode::decode(&self.content)?,
        })
    }
}

/// How much memory a moment takes; the writer counts at least what the reader does.
#[derive(Debug, Default)]
struct Weight(usize);

impl Weight {
    /// What an entry of a table takes besides its content.
    const ENTRY: usize = 64;

    fn add(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    fn is_bearable(&self) -> bool {
        self.0 <= MAX_WEIGHT
    }
}

/// Values that are written as the places that they have here.
const TASK_STATES: [TaskState; 3] = [TaskState::Pending, TaskState::Ready, TaskState::Running];
const FUTURE_STATES: [FutureState; 3] = [FutureState::Pending, FutureState::Done, FutureState::Cancelled];
const WAIT_KINDS: [WaitKind; 8] = [
    WaitKind::Future,
    WaitKind::Task,
    WaitKind::Gather,
    WaitKind::TaskGroup,
    WaitKind::Wait,
    WaitKind::Other,
    WaitKind::Nursery,
    WaitKind::Parked,
];
const TRIO_STATES: [TrioState; 4] = [
    TrioState::Parked,
    TrioState::Cancelling,
    TrioState::Runnable,
    TrioState::Running,
];
const THREAD_STATES: [ThreadState; 4] = [
    ThreadState::Running,
    ThreadState::Sleeping,
    ThreadState::Blocked,
    ThreadState::Stopped,
];

/// Kinds of what a task has that others wait for.
mod holding {
    pub(super) const NOBODY: u8 = 0;
    pub(super) const UNKNOWN: u8 = 1;
    pub(super) const SOME: u8 = 2;
    pub(super) const ALL: u8 = 3;
    pub(super) const ONLY_WAITERS: u8 = 4;
}

/// Kinds of findings.
mod finding {
    pub(super) const BLOCKED_LOOP: u8 = 0;
    pub(super) const DEADLOCK: u8 = 1;
    pub(super) const USED_UP: u8 = 2;
    pub(super) const CANCELLED_BUT_WAITS: u8 = 3;
    pub(super) const SLOW_WAIT: u8 = 4;
    pub(super) const NEVER_WOKEN: u8 = 5;
}

/// Kinds of what holds a loop.
mod holder {
    pub(super) const TASK: u8 = 0;
    pub(super) const CALLBACK: u8 = 1;
    pub(super) const UNKNOWN: u8 = 2;
}
