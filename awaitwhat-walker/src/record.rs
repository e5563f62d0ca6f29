//! The record of one task, while it is being built.

use awaitwhat_common::event::{FRAME_WORDS, HEAD, TASK_HEADER_WORDS, TaskState, kind, task};
use awaitwhat_common::limits::MAX_FRAMES;
use awaitwhat_common::status::TaskStatus;

/// Words after a record's header. A power of two, since it is a mask; twice what frames need, so that a record is longer than any
/// length that the eBPF side can mask out of it.
const BODY_WORDS: usize = 2048;
const _: () = assert!(MAX_FRAMES * FRAME_WORDS <= BODY_WORDS);
/// The longest record, in bytes.
pub const MAX_RECORD_BYTES: usize = (TASK_HEADER_WORDS + MAX_FRAMES * FRAME_WORDS) * 8;

/// The record of one task: words as [`awaitwhat_common::event`] describes them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    header: [u64; TASK_HEADER_WORDS],
    body: [u64; BODY_WORDS],
    frames: u32,
    layout: u32,
}

impl Record {
    pub(crate) const EMPTY: Self = Self {
        header: [0; TASK_HEADER_WORDS],
        body: [0; BODY_WORDS],
        frames: 0,
        layout: 0,
    };

    /// Length of the record in words.
    #[inline(always)]
    pub fn length(&self) -> usize {
        TASK_HEADER_WORDS + self.frames as usize * FRAME_WORDS
    }

    /// The words of the record: [`Record::length`] of them.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.header.iter().chain(&self.body).copied().take(self.length())
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, word: usize, value: u64) {
        self.header[word] = value;
    }

    /// Says by which layout the tasks to come are read.
    #[inline(always)]
    pub(crate) fn set_layout(&mut self, layout: u32) {
        self.layout = layout;
    }

    #[inline(always)]
    pub(crate) fn get(&self, word: usize) -> u64 {
        self.header[word]
    }

    /// Empties the part that belongs to one task; what belongs to the slice (thread, time, pass) stays.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        address: u64,
        type_address: u64,
        name: u64,
        event_loop: u64,
        fut_waiter: u64,
        coro: u64,
    ) {
        self.frames = 0;
        self.set(task::ADDRESS, address);
        self.set(task::TYPE, type_address);
        self.set(task::NAME, name);
        self.set(task::LOOP, event_loop);
        self.set(task::FUT_WAITER, fut_waiter);
        self.set(task::CORO, coro);
        self.set_terminal(0, 0);
    }

    #[inline(always)]
    pub(crate) fn set_terminal(&mut self, address: u64, type_address: u64) {
        self.set(task::TERMINAL, address);
        self.set(task::TERMINAL_TYPE, type_address);
    }

    /// Frames so far.
    #[inline(always)]
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Forgets all frames but the first `count`.
    #[inline(always)]
    pub(crate) fn keep_frames(&mut self, count: u32) {
        if count < self.frames {
            self.frames = count;
        }
    }

    /// Appends a frame; false when `limit` is reached.
    #[inline(always)]
    pub(crate) fn push_frame(&mut self, code: u64, instruction: u64, limit: u32) -> bool {
        // Frames come one by one, so they meet the bound. A comparison for order would let the compiler leave out the masks below, which
        // the verifier of Linux 6.1 needs.
        if self.frames >= limit || self.frames == MAX_FRAMES as u32 {
            return false;
        }
        let at = self.frames as usize * FRAME_WORDS;
        self.body[at & (BODY_WORDS - 1)] = code;
        self.body[(at + 1) & (BODY_WORDS - 1)] = instruction;
        self.frames += 1;
        true
    }

    /// Seals the record.
    #[inline(always)]
    pub(crate) fn finish(&mut self, status: TaskStatus, state: TaskState, flags: u32) {
        self.header[HEAD] = u64::from(kind::TASK)
            | (status as u64) << 8
            | (state as u64) << 16
            | u64::from(flags) << 24
            | u64::from(self.frames) << 32
            | u64::from(self.layout) << 48;
    }
}
