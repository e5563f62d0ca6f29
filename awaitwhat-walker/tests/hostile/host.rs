//! A host that reads an image, and checks what it is sent.

use std::collections::BTreeSet;

use awaitwhat::decode;
use awaitwhat_common::limits::{MAX_LINKS, MAX_NAME_WORDS, MAX_OBJECTS, WINDOW_WORDS};
use awaitwhat_walker::{Host, Record};

use super::image::{BASE, PYTHON_TASK};

/// Reads after which a slice's budget is used up.
const READS: u64 = 2_000;

/// Something that a walk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// A slice ended with this status.
    Slice(u8),
    /// A task's record had this state and status.
    Record(u8, u8),
    /// A record of a task that is written in Python had this status.
    InPython(u8),
    /// A record had several frames.
    Chain,
    /// A record had the words of a name, more than one step takes.
    Name,
    /// A record had something that callbacks lead to, several such things, and not all of them.
    Link,
    Links,
    CutLinks,
    /// A record had the type of what wakes its task.
    FutWaiter,
}

impl Seen {
    /// Whether it is about futures and callbacks, which trio has not.
    pub fn is_of_futures(&self) -> bool {
        matches!(self, Self::Link | Self::Links | Self::CutLinks | Self::FutWaiter)
    }
}

/// What all walks together must have done.
pub const EVERYTHING: [Seen; 23] = [
    Seen::Slice(0),
    Seen::Slice(1),
    Seen::Slice(2),
    Seen::Slice(5),
    Seen::Record(0, 0),
    Seen::Record(0, 1),
    Seen::Record(0, 2),
    Seen::Record(0, 3),
    Seen::Record(0, 4),
    Seen::Record(1, 0),
    Seen::Record(1, 1),
    Seen::Record(1, 2),
    Seen::Record(2, 0),
    Seen::InPython(0),
    Seen::InPython(2),
    Seen::InPython(3),
    Seen::InPython(4),
    Seen::Chain,
    Seen::Name,
    Seen::Link,
    Seen::Links,
    Seen::CutLinks,
    Seen::FutWaiter,
];

/// A word that is another one from some read on.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub reads: u64,
    pub place: usize,
    pub word: u64,
}

pub struct Hostile<'run> {
    words: Vec<u64>,
    changes: Vec<Change>,
    reads: u64,
    /// Whether the thread has run, asked again and again: bits, from the lowest one on.
    disturbances: u64,
    max_frames: u32,
    seen: &'run mut BTreeSet<Seen>,
}

impl<'run> Hostile<'run> {
    pub fn new(
        words: &[u64],
        changes: &[Change],
        disturbances: u64,
        max_frames: u32,
        seen: &'run mut BTreeSet<Seen>,
    ) -> Self {
        Self {
            words: words.to_vec(),
            changes: changes.to_vec(),
            reads: 0,
            disturbances,
            max_frames,
            seen,
        }
    }

    /// Counts a read, in front of which some words change.
    fn count(&mut self) {
        self.reads += 1;
        for change in &self.changes {
            if change.reads == self.reads {
                self.words[change.place] = change.word;
            }
        }
    }

    /// The words from `address` on.
    fn from(&self, address: u64) -> Option<&[u64]> {
        assert_eq!(address % 8, 0, "the walker reads aligned words only");
        let at = usize::try_from(address.checked_sub(BASE)? / 8).ok()?;
        self.words.get(at..).filter(|rest| !rest.is_empty())
    }
}

impl Host for Hostile<'_> {
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        self.count();
        let rest = self.from(address)?;
        let Some(window) = window else {
            return rest.first().copied();
        };
        window.fill(0);
        window
            .iter_mut()
            .zip(rest)
            .for_each(|(word, value)| *word = *value);
        Some(window[0])
    }

    fn is_undisturbed(&mut self) -> bool {
        let is_disturbed = self.disturbances & 1 == 1;
        self.disturbances >>= 1;
        !is_disturbed
    }

    fn is_over_budget(&mut self) -> bool {
        self.reads >= READS
    }

    fn emit(&mut self, record: &Record) -> bool {
        let bytes: Vec<u8> = record.words().flat_map(u64::to_le_bytes).collect();
        assert_eq!(bytes.len(), record.length() * 8);
        let Ok(decode::Record::Task(task)) = decode::decode(&bytes) else {
            panic!("what is sent is no record of a task");
        };
        let frames = task.frames().len();
        assert!(frames <= self.max_frames as usize);
        assert!(frames as u32 + task.left_out <= MAX_OBJECTS);
        self.seen
            .insert(Seen::Record(task.state as u8, task.status as u8));
        let (names, links) = (task.name_bytes.len() / 8, task.links.iter().count());
        assert!(names <= MAX_NAME_WORDS as usize && links <= MAX_LINKS);
        let is_seen = [
            (names > 8, Seen::Name),
            (links > 0, Seen::Link),
            (links > 2, Seen::Links),
            (task.cut_callbacks > 0, Seen::CutLinks),
            (!task.fut_waiter_type.is_null(), Seen::FutWaiter),
        ];
        self.seen
            .extend(is_seen.iter().filter(|(is_so, _)| *is_so).map(|(_, seen)| *seen));
        if task.task_type.0 == PYTHON_TASK {
            self.seen.insert(Seen::InPython(task.status as u8));
        }
        if frames > 2 {
            self.seen.insert(Seen::Chain);
        }
        true
    }
}
