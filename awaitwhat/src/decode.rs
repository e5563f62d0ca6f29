//! Bytes of the ring buffer to records. Total: whatever the bytes are, the answer is a record or an error value.

use awaitwhat_common::event::{
    FRAME_WORDS, HEAD, SLICE_WORDS, TASK_HEADER_WORDS, TaskState, aside, flags, kind, ring, slice, task,
};
use awaitwhat_common::limits::MAX_FRAMES;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use bytes::Buf as _;

use crate::memory::Address;

const WORD: usize = 8;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a record of {0} bytes is too short, or not a whole number of words")]
    Length(usize),
    #[error("a record is of the unknown kind {0}")]
    Kind(u8),
    #[error("a record has the unknown status {0}")]
    Status(u8),
    #[error("a record has the unknown state {0}")]
    State(u8),
    #[error("a record says that it has {frames} frames, which is not its length")]
    Counts { frames: usize },
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Task(TaskRecord<'a>),
    Slice(SliceRecord),
}

/// Where and when a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The event loop, and its process.
    pub event_loop: LoopId,
    pub pid: u32,
    /// Made in the thread's own context, by the sampler; else by the iterator, at rest.
    pub in_context: bool,
    /// `CLOCK_MONOTONIC` when the slice began, in ns.
    pub time: u64,
    /// CPU time of the thread when the slice began, in ns.
    pub runtime: u64,
    pub pass: u64,
}

/// One visit of one task; with address 0, whatever ran in the thread when the slice began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRecord<'a> {
    pub origin: Origin,
    pub status: TaskStatus,
    pub state: TaskState,
    /// It runs on another stack than its coroutines, inside a greenlet: nothing of its thread's frames said so.
    pub is_apart: bool,
    /// Number of the layout that the task was read with.
    pub layout: u32,
    pub address: Address,
    pub task_type: Address,
    /// The object that names the task.
    pub name: Address,
    pub event_loop: Address,
    /// The future that wakes the task.
    pub fut_waiter: Address,
    pub coroutine: Address,
    /// The terminal awaitable, and its type.
    pub terminal: Address,
    pub terminal_type: Address,
    /// How many cancellations of the task were asked for.
    pub cancellations: u32,
    /// `fut_state` of the terminal awaitable, which means something only where that is laid out as `_asyncio.Future` is.
    pub terminal_state: u32,
    /// Type of the future that wakes the task where that is not the terminal awaitable, or null; and its `fut_state`.
    pub fut_waiter_type: Address,
    pub fut_waiter_state: u32,
    /// The object that names the task, as far as it was read.
    pub name_bytes: &'a [u8],
    /// The first variable of the innermost frame, and of the one that awaits it.
    pub first_variables: [Address; 2],
    /// What the task's callbacks lead to; and how many callbacks there are where that is not all, else 0.
    pub links: Links<'a>,
    pub cut_callbacks: u32,
    frames: &'a [u8],
    /// Frames of the chain that are left out, see [`ring`].
    pub left_out: u32,
}

/// Addresses as a record has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links<'a>(&'a [u8]);

impl Links<'_> {
    /// Each address.
    pub fn iter(&self) -> impl Iterator<Item = Address> {
        let (words, _) = self.0.as_chunks::<WORD>();
        words.iter().map(|word| Address(u64::from_le_bytes(*word)))
    }
}

/// The end of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRecord {
    pub origin: Origin,
    pub status: SliceStatus,
    /// In ns.
    pub duration: u64,
    /// Records of this walk lost so far because the ring buffer was full.
    pub lost: u64,
}

/// Decodes one record.
///
/// # Errors
/// When the bytes are none.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    if bytes.len() < SLICE_WORDS * WORD || !bytes.len().is_multiple_of(WORD) {
        return Err(DecodeError::Length(bytes.len()));
    }
    let head = word(bytes, HEAD);
    match head as u8 {
        kind::TASK => decode_task(bytes, head).map(Record::Task),
        kind::SLICE => decode_slice(bytes, head).map(Record::Slice),
        other => Err(DecodeError::Kind(other)),
    }
}

/// The process that a record is about, whatever else it holds; `None` where it is too short to say.
pub fn process_of(bytes: &[u8]) -> Option<u32> {
    let is_long_enough = bytes.len() > task::THREAD * WORD;
    is_long_enough.then(|| (word(bytes, task::THREAD) >> 32) as u32)
}

/// The event loop that a record is about, whatever else it holds: its process, thread and slot.
pub fn loop_of(bytes: &[u8]) -> Option<(u32, LoopId)> {
    let pid = process_of(bytes)?;
    Some((pid, origin(bytes, word(bytes, HEAD)).event_loop))
}

/// The event loop that a record is about, where its thread waited for a CPU when the slice began.
pub fn waits_for_cpu(bytes: &[u8]) -> Option<LoopId> {
    let head = word(bytes, HEAD);
    let waits = (head >> 24) as u8 & flags::WAITS_FOR_CPU != 0;
    waits.then(|| origin(bytes, head).event_loop)
}

/// The word with number `index`; 0 behind the end.
fn word(bytes: &[u8], index: usize) -> u64 {
    bytes
        .get(index * WORD..)
        .and_then(|mut rest| rest.try_get_u64_le().ok())
        .unwrap_or(0)
}

fn origin(bytes: &[u8], head: u64) -> Origin {
    let bits = (head >> 24) as u8;
    Origin {
        event_loop: LoopId {
            tid: word(bytes, task::THREAD) as u32,
            slot: flags::slot(bits),
        },
        pid: (word(bytes, task::THREAD) >> 32) as u32,
        in_context: bits & flags::IN_CONTEXT != 0,
        time: word(bytes, task::TIME),
        runtime: word(bytes, task::RUNTIME),
        pass: word(bytes, task::PASS),
    }
}

fn decode_task(bytes: &[u8], head: u64) -> Result<TaskRecord<'_>, DecodeError> {
    let (status, state) = ((head >> 8) as u8, (head >> 16) as u8);
    let frames = (head >> 32) as u16 as usize;
    let wrong = DecodeError::Counts { frames };
    if frames > MAX_FRAMES {
        return Err(wrong);
    }
    let body = bytes.get(TASK_HEADER_WORDS * WORD..).ok_or(wrong)?;
    let (frame_bytes, rest) = body.split_at_checked(frames * FRAME_WORDS * WORD).ok_or(wrong)?;
    let aside = word(bytes, task::ASIDE);
    let (name_bytes, links) = rest
        .split_at_checked(aside::name_words(aside) * WORD)
        .ok_or(wrong)?;
    if links.len() != aside::links(aside) * WORD {
        return Err(wrong);
    }
    let states = word(bytes, task::FUTURE_STATES);
    let address = |index| Address(word(bytes, index));
    let counts = word(bytes, task::COUNTS);
    Ok(TaskRecord {
        origin: origin(bytes, head),
        status: TaskStatus::from_u8(status).ok_or(DecodeError::Status(status))?,
        state: TaskState::from_u8(state).ok_or(DecodeError::State(state))?,
        is_apart: (head >> 24) as u8 & flags::APART != 0,
        layout: u32::from((head >> 48) as u16),
        address: address(task::ADDRESS),
        task_type: address(task::TYPE),
        name: address(task::NAME),
        event_loop: address(task::LOOP),
        fut_waiter: address(task::FUT_WAITER),
        coroutine: address(task::CORO),
        terminal: address(task::TERMINAL),
        terminal_type: address(task::TERMINAL_TYPE),
        cancellations: (counts >> 32) as u32,
        left_out: ring::left_out(frames as u32, counts as u32),
        terminal_state: states as u32,
        fut_waiter_type: address(task::FUT_WAITER_TYPE),
        fut_waiter_state: (states >> 32) as u32,
        name_bytes,
        first_variables: task::FIRST_VARIABLES.map(address),
        links: Links(links),
        cut_callbacks: aside::cut(aside),
        frames: frame_bytes,
    })
}

fn decode_slice(bytes: &[u8], head: u64) -> Result<SliceRecord, DecodeError> {
    if bytes.len() != SLICE_WORDS * WORD {
        return Err(DecodeError::Length(bytes.len()));
    }
    let status = (head >> 8) as u8;
    Ok(SliceRecord {
        origin: origin(bytes, head),
        status: SliceStatus::from_u8(status).ok_or(DecodeError::Status(status))?,
        duration: word(bytes, slice::DURATION),
        lost: word(bytes, slice::LOST),
    })
}

impl<'a> TaskRecord<'a> {
    /// The frames as they came: what makes two chains equal.
    pub fn frame_bytes(&self) -> &'a [u8] {
        self.frames
    }

    /// Code object and instruction of each frame, innermost first.
    pub fn frames(&self) -> Vec<(Address, Address)> {
        frames_innermost_first(self.frames, self.state, self.left_out)
    }
}

/// Code object and instruction of each frame, innermost first: a walk goes inwards, but outwards in a running thread.
///
/// Of a chain that is walked inwards `left_out` frames are missing, behind the outermost ones that [`ring`] keeps.
pub fn frames_innermost_first(
    frame_bytes: &[u8],
    state: TaskState,
    left_out: u32,
) -> Vec<(Address, Address)> {
    let mut frames: Vec<_> = frame_bytes
        .chunks_exact(FRAME_WORDS * WORD)
        .map(|mut bytes| (Address(bytes.get_u64_le()), Address(bytes.get_u64_le())))
        .collect();
    if state == TaskState::Running {
        return frames;
    }
    let room = frames.len() as u32;
    if let Some(oldest) = ring::oldest(room, room.saturating_add(left_out)) {
        let outermost = ring::outermost(room);
        frames[outermost as usize..].rotate_left((oldest - outermost) as usize);
    }
    frames.reverse();
    frames
}

#[cfg(test)]
mod tests {
    use awaitwhat_common::event::{
        FRAME_WORDS, SLICE_WORDS, TASK_HEADER_WORDS, TaskState, aside, flags, kind, ring, task,
    };
    use awaitwhat_common::limits::{MAX_FRAMES, MAX_LOOPS_PER_THREAD};
    use awaitwhat_common::plan::LoopId;
    use awaitwhat_common::status::TaskStatus;
    use awaitwhat_fuzz::{Choices, Target};

    use super::{DecodeError, Record, decode, frames_innermost_first, loop_of, process_of};
    use crate::memory::Address;

    fn task_bytes(head: u64, rest: &[u64]) -> Vec<u8> {
        let mut words = vec![0; TASK_HEADER_WORDS];
        words[0] = head;
        words[5] = 0x7000;
        words.extend(rest);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn frames_come_innermost_first() {
        let head = u64::from(kind::TASK) | 2 << 32;
        let bytes = task_bytes(head, &[0x10, 0x11, 0x20, 0x21]);
        let Ok(Record::Task(record)) = decode(&bytes) else {
            panic!("no task record")
        };
        assert_eq!(
            (record.status, record.state),
            (TaskStatus::Complete, TaskState::Waiting)
        );
        assert_eq!(record.address, Address(0x7000));
        assert_eq!(
            record.frames(),
            [(Address(0x20), Address(0x21)), (Address(0x10), Address(0x11))]
        );
        let running = task_bytes(head | 1 << 16, &[0x10, 0x11, 0x20, 0x21]);
        let Ok(Record::Task(record)) = decode(&running) else {
            panic!("no task record")
        };
        assert_eq!(record.frames()[0].0, Address(0x10));
    }

    #[test]
    fn what_took_the_place_of_older_frames_is_put_in_order() {
        for (room, depth) in [
            (12, 13),
            (12, 16),
            (12, 17),
            (12, 1000),
            (1, 3),
            (2, 2),
            (3, 8),
            (0, 5),
        ] {
            // As the walker fills a record: outermost frames stay, the others take turns.
            let mut places = Vec::new();
            let mut next = 0;
            for frame in 1..=depth {
                if places.len() < room as usize {
                    places.push(frame);
                } else if room > 0 {
                    next = if next == 0 || next == room {
                        ring::outermost(room)
                    } else {
                        next
                    };
                    places[next as usize] = frame;
                    next += 1;
                }
            }
            let words: Vec<u64> = places.iter().flat_map(|frame| [*frame, 0]).collect();
            let head = u64::from(kind::TASK) | u64::from(room) << 32;
            let mut bytes = task_bytes(head, &words);
            bytes[8 * task::COUNTS..][..8].copy_from_slice(&(depth | 3 << 32).to_le_bytes());
            let Ok(Record::Task(record)) = decode(&bytes) else {
                panic!("no task record")
            };
            let found: Vec<u64> = record.frames().iter().map(|(code, _)| code.0).collect();
            let outermost = u64::from(ring::outermost(room));
            let innermost = (depth - u64::from(room) + outermost + 1..=depth).rev();
            let expected: Vec<u64> = innermost.chain((1..=outermost).rev()).collect();
            assert_eq!(
                found,
                if room == 0 { Vec::new() } else { expected },
                "{room} of {depth}"
            );
            assert_eq!(u64::from(record.left_out), depth - u64::from(room));
            assert_eq!(record.cancellations, 3);
        }
    }

    #[test]
    fn what_names_a_task_follows_its_frames() {
        let mut bytes = task_bytes(u64::from(kind::TASK) | 1 << 32, &[0x10, 0x11, 0x22, 0x33]);
        bytes[task::FUTURE_STATES * 8..][..8].copy_from_slice(&(1 | 2_u64 << 32).to_le_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Counts { frames: 1 }));
        bytes[task::ASIDE * 8] = 2;
        let Ok(Record::Task(record)) = decode(&bytes) else {
            panic!("no task record")
        };
        assert_eq!(record.frames(), [(Address(0x10), Address(0x11))]);
        assert_eq!((record.name_bytes[0], record.name_bytes[8]), (0x22, 0x33));
        assert_eq!((record.terminal_state, record.fut_waiter_state), (1, 2));
        bytes[task::ASIDE * 8] = 1;
        bytes[task::ASIDE * 8 + 2] = 1;
        bytes[task::ASIDE * 8 + 4] = 1;
        let Ok(Record::Task(record)) = decode(&bytes) else {
            panic!("no task record")
        };
        assert_eq!(record.links.iter().collect::<Vec<_>>(), [Address(0x33)]);
        assert_eq!(record.cut_callbacks, 1);
        bytes[task::ASIDE * 8] = 3;
        assert_eq!(decode(&bytes), Err(DecodeError::Counts { frames: 1 }));
    }

    #[test]
    fn a_record_names_its_loop() {
        for slot in 0..MAX_LOOPS_PER_THREAD {
            let head = u64::from(kind::TASK) | u64::from(flags::of_walk(true, slot)) << 24;
            let mut bytes = task_bytes(head, &[]);
            bytes[8..16].copy_from_slice(&(7 | 5_u64 << 32).to_le_bytes());
            let event_loop = LoopId { tid: 7, slot };
            assert_eq!(loop_of(&bytes), Some((5, event_loop)));
            let Ok(Record::Task(record)) = decode(&bytes) else {
                panic!("no task record")
            };
            assert_eq!(
                (record.origin.event_loop, record.origin.in_context),
                (event_loop, true)
            );
        }
        assert_eq!(loop_of(&[0; 8]), None);
    }

    #[test]
    fn nonsense_is_an_error_value() {
        let head = u64::from(kind::TASK);
        assert_eq!(decode(&[0; 7]), Err(DecodeError::Length(7)));
        assert_eq!(decode(&task_bytes(0, &[])), Err(DecodeError::Kind(0)));
        assert_eq!(
            decode(&task_bytes(head | 200 << 8, &[])),
            Err(DecodeError::Status(200))
        );
        assert_eq!(
            decode(&task_bytes(head | 9 << 16, &[])),
            Err(DecodeError::State(9))
        );
        assert_eq!(
            decode(&task_bytes(head | 3 << 32, &[1, 2])),
            Err(DecodeError::Counts { frames: 3 })
        );
        assert_eq!(
            decode(&task_bytes(head | 0xffff << 32, &[])),
            Err(DecodeError::Counts { frames: 0xffff })
        );
    }

    /// A record as the walker makes it, or what is nearly one.
    fn record(choices: &mut Choices<'_>) -> Vec<u8> {
        let kind = u64::from(choices.pick(&[kind::TASK, kind::SLICE]));
        let frames = choices.pick(&[0, 1, 2, 7, MAX_FRAMES, MAX_FRAMES + 1]);
        let (names, links) = (choices.below(9), choices.below(5));
        let length = if kind == u64::from(kind::TASK) {
            TASK_HEADER_WORDS + frames * FRAME_WORDS + names + links
        } else {
            SLICE_WORDS
        };
        let status = choices.below(8) as u64;
        let state = choices.below(4) as u64;
        let mut words = vec![0x7000; length];
        if let Some(word) = words.get_mut(task::ASIDE) {
            *word = aside::word(names as u32, links as u32, choices.below(3) as u32);
        }
        words[0] = kind | status << 8 | state << 16 | (frames as u64) << 32 | choices.number() << 48;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for _ in 0..choices.below(6) {
            let at = choices.below(bytes.len());
            bytes[at] = choices.byte();
        }
        if choices.once_in(4) {
            bytes.truncate(choices.below(bytes.len()));
        }
        bytes
    }

    /// Whatever the bytes are: a record, whose frames are as many as it has bytes for, or an error.
    #[test]
    fn fuzz_decode() {
        let target = Target {
            name: "decode",
            executions: 20_000,
            max_bytes: 1 << 20,
            places: &[
                ("task", 0),
                ("task", 1),
                ("task", 2),
                ("slice", 0),
                ("length", 0),
                ("kind", 0),
                ("status", 0),
                ("state", 0),
                ("counts", 0),
            ],
        };
        target.run(|choices, reached| {
            let bytes = if choices.once_in(8) {
                choices.rest().to_vec()
            } else {
                record(choices)
            };
            let loop_id = loop_of(&bytes);
            assert_eq!(loop_id.map(|(pid, _)| pid), process_of(&bytes));
            match decode(&bytes) {
                Ok(Record::Task(record)) => {
                    reached.note("task", record.state as u32);
                    let frames = record.frames();
                    let links = record.links.iter().count();
                    let words = TASK_HEADER_WORDS + frames.len() * FRAME_WORDS + links;
                    assert_eq!(bytes.len(), words * 8 + record.name_bytes.len());
                    assert!(frames.len() <= MAX_FRAMES);
                    assert_eq!(
                        frames,
                        frames_innermost_first(record.frame_bytes(), record.state, record.left_out)
                    );
                    assert_eq!(loop_id, Some((record.origin.pid, record.origin.event_loop)));
                }
                Ok(Record::Slice(record)) => {
                    reached.note("slice", 0);
                    assert_eq!(loop_id, Some((record.origin.pid, record.origin.event_loop)));
                }
                Err(error) => reached.note(
                    match error {
                        DecodeError::Length(_) => "length",
                        DecodeError::Kind(_) => "kind",
                        DecodeError::Status(_) => "status",
                        DecodeError::State(_) => "state",
                        DecodeError::Counts { .. } => "counts",
                    },
                    0,
                ),
            }
        });
    }
}
