//! The notes of a core file. Their layouts on x86-64 are those of `include/linux/elfcore.h` and `fs/binfmt_elf.c` (`fill_files_note`).

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// `pr_pid` of `struct elf_prstatus`.
const THREAD_ID: usize = 32;
/// `pr_pid` and `pr_fname` of `struct elf_prpsinfo`, with the bytes of the latter.
const PROCESS_ID: usize = 24;
const COMMAND: usize = 40;
const COMMAND_BYTES: usize = 16;
/// Parts of files that are remembered.
const MAX_PARTS: usize = 1 << 17;

/// What the notes say.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) pid: Option<u32>,
    pub(super) command: String,
    pub(super) signal: Option<u32>,
    pub(super) threads: BTreeSet<u32>,
    /// In ascending order of address.
    pub(super) files: Vec<FilePart>,
}

/// A part of a file that was in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePart {
    pub(super) start: u64,
    /// One past the last address.
    pub(super) end: u64,
    /// Where in the file it begins, in bytes.
    offset: u64,
    /// The number of the file, equal for parts of one.
    pub(super) file: usize,
    pub(super) path: PathBuf,
}

impl FilePart {
    /// Where in the file an address of the part is.
    pub(super) fn offset_of(&self, address: u64) -> u64 {
        self.offset.wrapping_add(address.wrapping_sub(self.start))
    }

    /// The name of the file, without its folder.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
    }
}

/// The part of a file that lies at an address.
pub(super) fn part_at(files: &[FilePart], address: u64) -> Option<&FilePart> {
    let after = files.partition_point(|part| part.start <= address);
    let part = files.get(after.checked_sub(1)?)?;
    (address < part.end).then_some(part)
}

impl Notes {
    pub(super) fn take_thread(&mut self, note: &[u8]) {
        self.threads
            .extend(number(note, THREAD_ID).filter(|tid| *tid != 0));
    }

    pub(super) fn take_process(&mut self, note: &[u8]) {
        self.pid = number(note, PROCESS_ID);
        let name = note.get(COMMAND..COMMAND + COMMAND_BYTES).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        self.command = String::from_utf8_lossy(name).into_owned();
    }

    pub(super) fn take_signal(&mut self, note: &[u8]) {
        self.signal = number(note, 0);
    }

    /// How many there are, the size of a page; for each the first address, the one behind the last, and the page in its file; then their paths.
    pub(super) fn take_files(&mut self, note: &[u8]) {
        let (words, _) = note.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let (Some(count), Some(page)) = (words.next(), words.next()) else {
            return;
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(MAX_PARTS);
        let paths = (2_usize.saturating_add(count.saturating_mul(3))).saturating_mul(8);
        let mut paths = note.get(paths..).unwrap_or_default().split(|&byte| byte == 0);
        let mut numbers = HashMap::new();
        for _ in 0..count {
            let (Some(start), Some(end), Some(first), Some(path)) =
                (words.next(), words.next(), words.next(), paths.next())
            else {
                break;
            };
            let next = numbers.len();
            self.files.push(FilePart {
                start,
                end,
                offset: first.wrapping_mul(page),
                file: *numbers.entry(path).or_insert(next),
                path: PathBuf::from(OsStr::from_bytes(path)),
            });
        }
        self.files.sort_by_key(|part| part.start);
    }
}

fn number(note: &[u8], at: usize) -> Option<u32> {
    let bytes = note.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}
