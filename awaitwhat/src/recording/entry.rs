//! The kinds of entries that a run of observations consists of.

use crate::profile::Process;

/// What a number says that stands before a visit: the low bits; the others are how many visits before it were as expected.
pub(super) mod visit {
    /// No visit: a [kind](super) of entry follows.
    pub(in super::super) const NONE: u64 = 0;
    /// The expected task, in another chain.
    pub(in super::super) const CHANGED: u64 = 1;
    /// A task that was not expected.
    pub(in super::super) const NEW: u64 = 2;
    /// So many expected tasks have gone.
    pub(in super::super) const GONE: u64 = 3;
    pub(in super::super) const BITS: u32 = 2;
}

/// Kinds of entries.
pub(super) mod kind {
    pub(in super::super) const NOTHING: u8 = 0;
    /// What follows is about another target.
    pub(in super::super) const TURN_TO: u8 = 1;
    pub(in super::super) const TARGET: u8 = 2;
    pub(in super::super) const FORGET_TABLES: u8 = 3;
    pub(in super::super) const TEXT: u8 = 4;
    pub(in super::super) const FRAME: u8 = 5;
    pub(in super::super) const STACK: u8 = 6;
    pub(in super::super) const RESOURCE: u8 = 7;
    pub(in super::super) const CHAIN: u8 = 8;
    pub(in super::super) const LOOP: u8 = 9;
    pub(in super::super) const ORIGIN: u8 = 10;
    pub(in super::super) const TICK: u8 = 11;
    pub(in super::super) const RAN: u8 = 12;
    pub(in super::super) const SLICE: u8 = 13;
    pub(in super::super) const ANSWERS: u8 = 14;
    pub(in super::super) const ASKED_IN_VAIN: u8 = 15;
    pub(in super::super) const LEFT: u8 = 16;
    pub(in super::super) const CHECKED: u8 = 17;
    pub(in super::super) const LET_GO: u8 = 18;
    pub(in super::super) const ENDED: u8 = 19;
    pub(in super::super) const HELD: u8 = 20;
    pub(in super::super) const LOST: u8 = 21;
    pub(in super::super) const FOLD: u8 = 22;
    pub(in super::super) const DISOWNED: u8 = 23;
    pub(in super::super) const END: u8 = 24;
    pub(in super::super) const WAITS: u8 = 25;
}

/// A process that is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub process: Process,
    pub started_at: jiff::Timestamp,
    /// When it was first looked at, in ns since the recording began.
    pub began: u64,
    /// It belongs to the result even if it has no tasks.
    pub is_shown_empty: bool,
}
