//! Records of the ring buffer: little-endian 64-bit words.
//!
//! A task record is [`TASK_HEADER_WORDS`] words, then two words per frame (code object, instruction) in the order of the walk
//! (outermost first; innermost first for a running task), then the words that its [`task::ASIDE`] counts: those of the object that names
//! the task, and addresses that the task's callbacks lead to. A slice record is [`SLICE_WORDS`] words and follows the task records of
//! its slice.
//!
//! The first task record of a slice may be that of whatever runs in the thread: its task address is 0.

/// Word 0 of every record: kind in bits 0..8, status in 8..16, state in 16..24, flags in 24..32, frames in 32..48,
/// and in 48..64 the number of the layout that a task was read with ([`crate::plan::ThreadPlan::layout`]).
pub const HEAD: usize = 0;

/// Kinds of record.
pub mod kind {
    pub const TASK: u8 = 1;
    pub const SLICE: u8 = 2;
}

/// What a task was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TaskState {
    /// Suspended in its innermost frame.
    Waiting = 0,
    /// Its coroutine is executing; frames are those of the thread, down to the task's own coroutine.
    Running = 1,
    /// Its coroutine has not begun.
    Created = 2,
}

impl TaskState {
    /// The state that `value` stands for, if any.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Waiting),
            1 => Some(Self::Running),
            2 => Some(Self::Created),
            _ => None,
        }
    }
}

/// Bits of a record's flags.
pub mod flags {
    use crate::limits::MAX_LOOPS_PER_THREAD;

    /// The record comes from the thread's own context (a perf event), not from the task iterator.
    pub const IN_CONTEXT: u8 = 1 << 0;
    /// From this bit on, which of its thread's loops the record is about ([`crate::plan::LoopId::slot`]).
    pub const SLOT_SHIFT: u32 = 1;

    /// The running task works on another stack than its coroutines: frames between the two are missing.
    pub const APART: u8 = 1 << 3;

    /// The thread waited for a CPU when the slice began: it did not sleep. Of a look that has taken its CPU this is not said.
    pub const WAITS_FOR_CPU: u8 = 1 << 4;

    /// The flags of a walk's records.
    #[inline(always)]
    pub const fn of_walk(in_context: bool, slot: u32) -> u8 {
        in_context as u8 | ((slot & (MAX_LOOPS_PER_THREAD - 1)) << SLOT_SHIFT) as u8
    }

    /// The slot that flags name.
    pub const fn slot(flags: u8) -> u32 {
        (flags >> SLOT_SHIFT) as u32 & (MAX_LOOPS_PER_THREAD - 1)
    }
}

/// Words of a task record before its frames.
pub mod task {
    /// Thread id (bits 0..32) and process id (bits 32..64) of the loop's thread.
    pub const THREAD: usize = 1;
    /// `CLOCK_MONOTONIC` when the slice began, in ns.
    pub const TIME: usize = 2;
    /// CPU time of the thread when the slice began (`task_struct.se.sum_exec_runtime`), in ns.
    pub const RUNTIME: usize = 3;
    /// Number of the pass that the record belongs to.
    pub const PASS: usize = 4;
    /// Address of the task object; 0 for whatever ran in the thread when the slice began.
    pub const ADDRESS: usize = 5;
    /// Address of the task's type object.
    pub const TYPE: usize = 6;
    /// Address of the object that names the task.
    pub const NAME: usize = 7;
    /// Address of the task's event loop.
    pub const LOOP: usize = 8;
    /// `task_fut_waiter`: address of the future that wakes the task, or 0.
    pub const FUT_WAITER: usize = 9;
    /// Address of the terminal awaitable, or 0.
    pub const TERMINAL: usize = 10;
    /// Address of the terminal awaitable's type, or 0.
    pub const TERMINAL_TYPE: usize = 11;
    /// Address of the task's coroutine object; with task address 0, of the outermost coroutine that runs.
    pub const CORO: usize = 12;
    /// Frames of the chain (bits 0..32): where these are more than the record has, the others are left out, see [`super::ring`]. And how
    /// many cancellations of the task were asked for (bits 32..64), as [`crate::layout::Layout::task_cancellations`] says.
    pub const COUNTS: usize = 13;
    /// `fut_state` of the terminal awaitable (bits 0..32) and of the future that wakes the task (bits 32..64), in the turn of the chain.
    /// Either means something only where the object is laid out as `_asyncio.Future` is, which its type tells.
    pub const FUTURE_STATES: usize = 14;
    /// Type of the future that wakes the task, where that is another object than the terminal awaitable; else 0.
    pub const FUT_WAITER_TYPE: usize = 15;
    /// What follows the frames: words of the object that names the task (bits 0..16), addresses that its callbacks lead to (16..32), and
    /// from bit 32 on, where that is not all, how many callbacks there are, or [`super::aside::MANY`]; see [`super::aside`].
    pub const ASIDE: usize = 16;
    /// The first variable of the innermost frame of a suspended chain, which in a method is `self`; and that of the frame that awaits it.
    /// 0 where it is not known.
    pub const FIRST_VARIABLES: [usize; 2] = [17, 18];
}

/// Parts of [`task::ASIDE`].
pub mod aside {
    /// More callbacks than can be told, or an unknown number of them.
    pub const MANY: u32 = u32::MAX;

    /// The word with these parts.
    #[inline(always)]
    pub const fn word(name_words: u32, links: u32, cut: u32) -> u64 {
        name_words as u64 | (links as u64) << 16 | (cut as u64) << 32
    }

    /// How many callbacks there are, where not everything was looked at that they lead to; else 0.
    pub const fn cut(aside: u64) -> u32 {
        (aside >> 32) as u32
    }

    /// Words of the object that names the task.
    pub const fn name_words(aside: u64) -> usize {
        aside as u16 as usize
    }

    /// Addresses that the task's callbacks lead to.
    pub const fn links(aside: u64) -> usize {
        (aside >> 16) as u16 as usize
    }
}
/// Length of a task record before its frames, in words.
pub const TASK_HEADER_WORDS: usize = 19;

/// Frames of a chain that is walked inwards and is deeper than a record has room for.
///
/// Its outermost few stay where they are. The others take turns in the places behind these, each in that of the frame that was met the
/// longest time ago, so that the innermost ones are there in the end, where the task sits.
pub mod ring {
    /// Outermost frames that stay, where there is room for twice as many.
    const OUTERMOST: u32 = 8;

    /// How many outermost frames stay in a record with room for `room` frames.
    #[inline(always)]
    pub const fn outermost(room: u32) -> u32 {
        if room / 2 < OUTERMOST { room / 2 } else { OUTERMOST }
    }

    /// How many of the frames that follow them are left out, of a chain that is `depth` deep.
    pub const fn left_out(room: u32, depth: u32) -> u32 {
        depth.saturating_sub(room)
    }

    /// The place of the frame that follows those that are left out; `None` where there is no room for any.
    pub const fn oldest(room: u32, depth: u32) -> Option<u32> {
        let outermost = outermost(room);
        match left_out(room, depth).checked_rem(room - outermost) {
            Some(turned) => Some(outermost + turned),
            None => None,
        }
    }
}
/// Words per frame: address of the code object, address of the instruction.
///
/// A coroutine without a Python frame has the address of its name instead of an instruction, with [`OPAQUE_FRAME`] set.
pub const FRAME_WORDS: usize = 2;
/// The bit that no instruction's address has, as instructions are two bytes long; nor has an address what stands for "not begun" (-1).
pub const OPAQUE_FRAME: u64 = 1;

/// Words of a slice record. `HEAD`, `THREAD`, `TIME`, `RUNTIME` and `PASS` are as in a task record.
pub mod slice {
    /// How long the slice took, in ns.
    pub const DURATION: usize = 5;
    /// Records of this walk lost so far because the ring buffer was full.
    pub const LOST: usize = 6;
}
/// Length of a slice record, in words.
pub const SLICE_WORDS: usize = 7;
