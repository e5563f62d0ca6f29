//! The record of one task, while it is being built.

use awaitwhat_common::event::{FRAME_WORDS, HEAD, TASK_HEADER_WORDS, TaskState, aside, kind, ring, task};
use awaitwhat_common::limits::{MAX_FRAMES, MAX_LINKS, MAX_NAME_WORDS};
use awaitwhat_common::status::TaskStatus;

/// Words after a record's header. A power of two, since it is a mask; twice what frames need, so that a record is longer than any
/// length that the eBPF side can mask out of it.
const BODY_WORDS: usize = 2048;
/// The most words behind a record's header.
const MAX_BODY_WORDS: usize = MAX_FRAMES * FRAME_WORDS + MAX_NAME_WORDS as usize + MAX_LINKS;
const _: () = assert!(MAX_BODY_WORDS <= BODY_WORDS);
/// The longest record, in bytes.
pub const MAX_RECORD_BYTES: usize = (TASK_HEADER_WORDS + MAX_BODY_WORDS) * 8;

/// The record of one task: words as [`awaitwhat_common::event`] describes them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    header: [u64; TASK_HEADER_WORDS],
    body: [u64; BODY_WORDS],
    frames: u32,
    layout: u32,
    /// Frames of the chain so far, also those that are no longer in the record.
    depth: u32,
    /// The place of the next frame inwards.
    next: u32,
    /// Cancellations of the task that were asked for.
    cancellations: u32,
    /// Words behind the frames that belong to the object that names the task.
    name_words: u32,
    /// Words behind those: what the task's callbacks lead to.
    links: u32,
    /// How many callbacks there are, where that is not all; else 0.
    cut: u32,
}

impl Record {
    pub(crate) const EMPTY: Self = Self {
        header: [0; TASK_HEADER_WORDS],
        body: [0; BODY_WORDS],
        frames: 0,
        layout: 0,
        depth: 0,
        next: 0,
        cancellations: 0,
        name_words: 0,
        links: 0,
        cut: 0,
    };

    /// Length of the record in words.
    #[inline(always)]
    pub fn length(&self) -> usize {
        TASK_HEADER_WORDS
            + self.frames as usize * FRAME_WORDS
            + self.name_words as usize
            + self.links as usize
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
        self.keep_frames(0);
        self.cancellations = 0;
        self.name_words = 0;
        self.links = 0;
        self.cut = 0;
        self.set(task::ADDRESS, address);
        self.set(task::TYPE, type_address);
        self.set(task::NAME, name);
        self.set(task::LOOP, event_loop);
        self.set(task::FUT_WAITER, fut_waiter);
        self.set(task::CORO, coro);
        self.set_terminal(0, 0, 0);
        self.set(task::FUT_WAITER_TYPE, 0);
        self.set(task::FIRST_VARIABLES[0], 0);
        self.set(task::FIRST_VARIABLES[1], 0);
    }

    /// Notes the first variable of a frame that is the innermost one so far.
    #[inline(always)]
    pub(crate) fn push_first_variable(&mut self, value: u64) {
        let [innermost, next] = task::FIRST_VARIABLES;
        self.set(next, self.get(innermost));
        self.set(innermost, value);
    }

    /// Appends an address that the task's callbacks lead to; no frame and no word of a name may follow.
    #[inline(always)]
    pub(crate) fn push_link(&mut self, link: u64) {
        if self.links == MAX_LINKS as u32 {
            return;
        }
        let at = self.frames as usize * FRAME_WORDS + self.name_words as usize + self.links as usize;
        self.body[at & (BODY_WORDS - 1)] = link;
        self.links += 1;
    }

    /// Says that not everything was looked at that the task's callbacks lead to, of which there are `callbacks`.
    #[inline(always)]
    pub(crate) fn cut_links(&mut self, callbacks: u32) {
        self.cut = callbacks;
    }

    /// Addresses so far.
    #[inline(always)]
    pub(crate) fn links(&self) -> u32 {
        self.links
    }

    #[inline(always)]
    pub(crate) fn set_cancellations(&mut self, count: u32) {
        self.cancellations = count;
    }

    #[inline(always)]
    pub(crate) fn set_terminal(&mut self, address: u64, type_address: u64, future_state: u32) {
        self.set(task::TERMINAL, address);
        self.set(task::TERMINAL_TYPE, type_address);
        self.set(task::FUTURE_STATES, u64::from(future_state));
    }

    /// What wakes the task, where that is another object than the terminal awaitable.
    #[inline(always)]
    pub(crate) fn set_fut_waiter(&mut self, type_address: u64, future_state: u32) {
        self.set(task::FUT_WAITER_TYPE, type_address);
        let states = self.get(task::FUTURE_STATES) | u64::from(future_state) << 32;
        self.set(task::FUTURE_STATES, states);
    }

    /// Appends a word of the object that names the task; no frame may follow.
    #[inline(always)]
    pub(crate) fn push_name_word(&mut self, word: u64) {
        // As for frames, a comparison for order would let the compiler leave out the mask.
        if self.name_words == MAX_NAME_WORDS {
            return;
        }
        let at = self.frames as usize * FRAME_WORDS + self.name_words as usize;
        self.body[at & (BODY_WORDS - 1)] = word;
        self.name_words += 1;
    }

    /// Frames that the record has so far.
    #[inline(always)]
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Frames of the chain so far.
    #[inline(always)]
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Words of the object that names the task so far.
    #[inline(always)]
    pub(crate) fn name_words(&self) -> u32 {
        self.name_words
    }

    /// Forgets all frames but the first `count`, of a record that has room for all.
    #[inline(always)]
    pub(crate) fn keep_frames(&mut self, count: u32) {
        if count < self.frames {
            self.frames = count;
        }
        self.depth = self.frames;
        self.next = self.frames;
    }

    /// Appends the next frame outwards; false when `limit` is reached.
    #[inline(always)]
    pub(crate) fn push_outer_frame(&mut self, code: u64, instruction: u64, limit: u32) -> bool {
        // Frames come one by one, so they meet the bound. A comparison for order would let the compiler leave out the masks of `put`, which
        // the verifier of Linux 6.1 needs.
        if self.frames >= limit || self.frames == MAX_FRAMES as u32 {
            return false;
        }
        self.put(self.frames, code, instruction);
        self.frames += 1;
        self.depth = self.frames;
        true
    }

    /// Adds the next frame inwards. Where `limit` is reached it takes the place of an older one, see [`ring`].
    #[inline(always)]
    pub(crate) fn push_inner_frame(&mut self, code: u64, instruction: u64, limit: u32) {
        if self.next >= limit || self.next == MAX_FRAMES as u32 {
            self.next = ring::outermost(self.frames);
        }
        self.put(self.next, code, instruction);
        self.next += 1;
        if self.frames < self.next {
            self.frames = self.next;
        }
        self.depth += 1;
    }

    #[inline(always)]
    fn put(&mut self, place: u32, code: u64, instruction: u64) {
        let at = place as usize * FRAME_WORDS;
        self.body[at & (BODY_WORDS - 1)] = code;
        self.body[(at + 1) & (BODY_WORDS - 1)] = instruction;
    }

    /// Seals the record.
    #[inline(always)]
    pub(crate) fn finish(&mut self, status: TaskStatus, state: TaskState, flags: u32) {
        self.header[task::COUNTS] = u64::from(self.depth) | u64::from(self.cancellations) << 32;
        self.header[task::ASIDE] = aside::word(self.name_words, self.links, self.cut);
        self.header[HEAD] = u64::from(kind::TASK)
            | (status as u64) << 8
            | (state as u64) << 16
            | u64::from(flags) << 24
            | u64::from(self.frames) << 32
            | u64::from(self.layout) << 48;
    }
}
