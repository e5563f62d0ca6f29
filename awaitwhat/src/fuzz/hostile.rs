//! A memory that misleads: some of its words are changed, some change while it is read, some pages are missing, and it can have no end.

use std::cell::{Cell, RefCell};

use awaitwhat_fuzz::{Choices, Reached};

use crate::memory::{Address, Fault, Memory};
use crate::python::ReadError;
use crate::python::image::MemoryImage;

/// Reads that one call may make: a dict of 65,536 entries is searched by three for each, and by some for itself.
pub(crate) const MAX_READS: u64 = 1 << 18;
/// Bytes that one call may read: a set of 4,194,304 slots has 64 MiB.
pub(crate) const MAX_READ_BYTES: u64 = 80 << 20;
/// Bytes that one execution may hold: the image, and twice the items of that set while they grow.
pub(crate) const MAX_HELD_BYTES: u64 = 160 << 20;
const PAGE: u64 = 4096;

/// Memory as real objects are laid out in it.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) base: u64,
    bytes: Vec<u8>,
    /// Where there are words that are not 0.
    used: Vec<u64>,
}

/// What is behind the memory, and before it.
#[derive(Clone, Copy, Debug)]
enum Beyond {
    Nothing,
    Zeros,
    /// The same memory again, and again.
    Itself,
}

/// A word that changes after some reads.
#[derive(Clone, Copy, Debug)]
struct Change {
    reads: u64,
    offset: usize,
    word: u64,
}

/// See the module's description.
pub(crate) struct Hostile {
    base: u64,
    bytes: RefCell<Vec<u8>>,
    beyond: Beyond,
    missing: Vec<u64>,
    changes: RefCell<Vec<Change>>,
    /// After so many reads the target is gone.
    gone: Option<u64>,
    all_reads: Cell<u64>,
    /// Of the current call.
    reads: Cell<u64>,
    read_bytes: Cell<u64>,
}

impl Plain {
    pub(crate) fn new(image: &MemoryImage) -> Self {
        let (base, bytes) = image.flat();
        let used = (base..)
            .step_by(8)
            .zip(bytes.chunks_exact(8))
            .filter(|(_, word)| word.iter().any(|byte| *byte != 0))
            .map(|(address, _)| address)
            .collect();
        Self { base, bytes, used }
    }

    /// Any address in it, most often of a word that is in use; sometimes not a multiple of 8.
    pub(crate) fn address(&self, choices: &mut Choices<'_>) -> u64 {
        match choices.below(16) {
            0 => self.base + choices.below(self.bytes.len()) as u64,
            1 => self.base + choices.below(self.bytes.len()) as u64 / 8 * 8,
            _ => choices.pick(&self.used),
        }
    }

    fn offset(&self, address: u64) -> usize {
        (address - self.base) as usize
    }

    /// What a word can be changed to.
    fn word(&self, choices: &mut Choices<'_>, old: u64, targets: &[Address]) -> u64 {
        match choices.below(8) {
            0 | 1 if !targets.is_empty() => choices.pick(targets).0,
            0..=2 => self.address(choices),
            3 => old.wrapping_add(u64::from(choices.byte())),
            4 => old.wrapping_sub(u64::from(choices.byte())),
            5 => old ^ 1 << (choices.byte() % 64),
            6 => word_at(&self.bytes, self.offset(self.address(choices))),
            _ => choices.number(),
        }
    }
}

impl Hostile {
    /// A memory like `plain`, but for what `choices` say; words are changed to the addresses `targets`, among others.
    pub(crate) fn new(plain: &Plain, choices: &mut Choices<'_>, targets: &[Address]) -> Self {
        let mut bytes = plain.bytes.clone();
        for _ in 0..choices.below(12) {
            let offset = plain.offset(plain.address(choices));
            let word = plain.word(choices, word_at(&bytes, offset), targets);
            set_word(&mut bytes, offset, word);
        }
        let beyond = [Beyond::Nothing, Beyond::Nothing, Beyond::Zeros, Beyond::Itself];
        let beyond = choices.pick(&beyond);
        let missing = (0..choices.below(8).saturating_sub(5)).map(|_| plain.address(choices) / PAGE);
        let missing = missing.collect();
        let changes = (0..choices.below(8).saturating_sub(4)).map(|_| {
            let offset = plain.offset(plain.address(choices));
            Change {
                reads: u64::from(choices.byte()) + 1,
                offset,
                word: plain.word(choices, word_at(&bytes, offset), targets),
            }
        });
        let changes = changes.collect();
        let gone = choices.once_in(32).then(|| u64::from(choices.byte()));
        Self {
            base: plain.base,
            bytes: RefCell::new(bytes),
            beyond,
            missing,
            changes: RefCell::new(changes),
            gone,
            all_reads: Cell::new(0),
            reads: Cell::new(0),
            read_bytes: Cell::new(0),
        }
    }

    /// One call of a reader: it must not make too many reads. Notes how it ended.
    pub(crate) fn call<T>(
        &self,
        reached: &mut Reached,
        name: &'static str,
        read: impl FnOnce() -> Result<T, ReadError>,
    ) -> Option<T> {
        let result = self.bounded(read);
        reached.note(
            name,
            match result {
                Ok(_) => 0,
                Err(ReadError::Fault(Fault::Unreadable { .. })) => 1,
                Err(ReadError::Fault(_)) => 2,
                Err(ReadError::Malformed { .. }) => 3,
                Err(ReadError::Exhausted { .. }) => 4,
            },
        );
        result.ok()
    }

    /// One call of anything: it must not make too many reads.
    pub(crate) fn bounded<T>(&self, read: impl FnOnce() -> T) -> T {
        self.reads.set(0);
        self.read_bytes.set(0);
        read()
    }

    /// Changes the word at `address`, where that lies in the memory.
    pub(crate) fn set(&self, address: Address, word: u64) {
        let mut bytes = self.bytes.borrow_mut();
        let offset = address.0.wrapping_sub(self.base);
        if let Some(offset) = usize::try_from(offset)
            .ok()
            .filter(|offset| *offset < bytes.len())
        {
            set_word(&mut bytes, offset, word);
        }
    }

    fn count(&self, bytes: usize) -> u64 {
        let (all, reads) = (self.all_reads.get() + 1, self.reads.get() + 1);
        let read_bytes = self.read_bytes.get() + bytes as u64;
        assert!(reads <= MAX_READS, "one call makes more than {MAX_READS} reads");
        assert!(
            read_bytes <= MAX_READ_BYTES,
            "one call reads more than {MAX_READ_BYTES} bytes"
        );
        self.all_reads.set(all);
        self.reads.set(reads);
        self.read_bytes.set(read_bytes);
        all
    }

    fn change(&self, reads: u64) {
        let mut bytes = self.bytes.borrow_mut();
        self.changes.borrow_mut().retain(|change| {
            let is_due = change.reads <= reads;
            if is_due {
                set_word(&mut bytes, change.offset, change.word);
            }
            !is_due
        });
    }

    fn is_missing(&self, address: u64, length: usize) -> bool {
        let last = address.saturating_add((length as u64).saturating_sub(1));
        let pages = address / PAGE..=last / PAGE;
        self.missing.iter().any(|page| pages.contains(page))
    }
}

impl Memory for Hostile {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let length = buffer.len();
        let reads = self.count(length);
        if self.gone.is_some_and(|gone| reads > gone) {
            return Err(Fault::Gone);
        }
        self.change(reads);
        let fault = Fault::Unreadable { address, length };
        if self.is_missing(address.0, length) {
            return Err(fault);
        }
        let bytes = self.bytes.borrow();
        let from = address.0.wrapping_sub(self.base);
        let inside = usize::try_from(from)
            .ok()
            .and_then(|from| bytes.get(from..from.checked_add(length)?));
        match (inside, self.beyond) {
            (Some(inside), _) => buffer.copy_from_slice(inside),
            (None, Beyond::Nothing) => return Err(fault),
            (None, Beyond::Zeros) => buffer.fill(0),
            (None, Beyond::Itself) => repeat(&bytes, from, buffer),
        }
        Ok(())
    }
}

/// Fills `buffer` with what is at `from` in a memory that consists of `bytes` again and again.
fn repeat(bytes: &[u8], from: u64, mut buffer: &mut [u8]) {
    let mut at = (from % bytes.len() as u64) as usize;
    while !buffer.is_empty() {
        let part = buffer.len().min(bytes.len() - at);
        let (now, later) = buffer.split_at_mut(part);
        now.copy_from_slice(&bytes[at..at + part]);
        buffer = later;
        at = 0;
    }
}

/// The word at `offset`; bytes behind the end are 0.
fn word_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    let rest = &bytes[offset.min(bytes.len())..];
    word.iter_mut().zip(rest).for_each(|(byte, value)| *byte = *value);
    u64::from_le_bytes(word)
}

fn set_word(bytes: &mut [u8], offset: usize, word: u64) {
    let rest = &mut bytes[offset..];
    rest.iter_mut()
        .zip(word.to_le_bytes())
        .for_each(|(byte, value)| *byte = value);
}
