//! The memory of a process that is dead, or was copied, as a core file has it.
//!
//! Written by the kernel (`fs/binfmt_elf.c`) or by debuggers (`gcore`): program headers say what was where, and notes who it was (`NT_PRPSINFO`), which
//! threads it had (`NT_PRSTATUS`), by which signal it ended (`NT_SIGINFO`), and of which files it had parts in memory (`NT_FILE`). What it had
//! only read of a file is not in a core file as a rule: that is read from the file itself, where it is still the same.
//!
//! A core file is hostile input: each number in it is checked, and whatever is taken from it has a bound.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use object::LittleEndian;
use object::elf::{
    EM_X86_64, ET_CORE, FileHeader64, NT_FILE, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, PT_LOAD, PT_NOTE,
};
use object::read::elf::{FileHeader as _, NoteIterator, ProgramHeader as _};
use object::read::{ReadCache, ReadRef as _};

mod notes;
mod pages;

use notes::{FilePart, Notes};
pub use pages::CorePages;

use crate::memory::{Address, Mapping};

/// Signals that end no process, as the one by which a debugger has stopped what it copies: 0 is none, the others are SIGCHLD to SIGTTOU, SIGURG and
/// SIGWINCH (signal(7)).
const END_NOTHING: [u32; 9] = [0, 17, 18, 19, 20, 21, 22, 23, 28];
/// Parts of memory that a core file may have; the kernel's own bound for a process is 65,530 by default.
const MAX_SEGMENTS: usize = 1 << 17;
/// Bytes of notes that are read: a thread takes some 3 KB, and a mapped file its path.
const MAX_NOTE_BYTES: u64 = 64 << 20;

/// Why a core file cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("it is no regular file")]
    NotRegular,
    #[error("it is no ELF file, as core files are; {}", packed(*first))]
    NotElf { first: [u8; 4] },
    #[error("it is an ELF file, but no core file of a process on x86-64: a program is given by --exe")]
    NotCore,
    #[error("its headers make no sense: it is damaged, or was cut short")]
    Malformed,
    #[error("it has no notes of threads and files: it was cut short, or what wrote it leaves them out")]
    NoNotes,
    #[error("the file {} of --exe cannot be read", path.display())]
    Executable { path: PathBuf, source: io::Error },
    #[error(
        "the file {} of --exe is not what the process ran: its first page differs from that in the core file",
        path.display()
    )]
    OtherExecutable { path: PathBuf },
}

/// What to do about a file that begins like this.
fn packed(first: [u8; 4]) -> &'static str {
    match first {
        [0x28, 0xb5, 0x2f, 0xfd] => "it is compressed: unpack it by `zstd -d`, or `coredumpctl dump -o FILE`",
        [0x1f, 0x8b, ..] => "it is compressed: unpack it by `gunzip`",
        [0x04, 0x22, 0x4d, 0x18] => "it is compressed: unpack it by `lz4 -d`",
        [0xfd, b'7', b'z', b'X'] => "it is compressed: unpack it by `unxz`",
        _ => "`coredumpctl dump -o FILE` writes one of a process that systemd has seen end",
    }
}

/// Where the files are that the process had parts of in memory, if not where it found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The program that it ran.
    pub executable: Option<PathBuf>,
    /// The folder that was its root.
    pub root: Option<PathBuf>,
}

/// A part of memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    /// One past the last address.
    end: u64,
    /// Where it lies in the core file, and how many bytes of it are there.
    offset: u64,
    kept: u64,
    is_writable: bool,
}

/// A core file whose headers were read.
#[derive(Debug)]
pub struct CoreFile {
    /// The process id, as the process had it itself.
    pub pid: u32,
    /// Its name, 15 bytes at most.
    pub command: String,
    /// The signal by which it ended; `None` where it is a copy of one that went on.
    pub signal: Option<u32>,
    /// When the file was written last.
    pub written_at: jiff::Timestamp,
    /// What its threads called themselves.
    pub threads: BTreeSet<u32>,
    pub mappings: Vec<Mapping>,
    /// Bytes that the headers promise and the file does not have.
    pub missing_bytes: u64,
    /// What reads its memory.
    pub pages: Rc<CorePages>,
}

impl CoreFile {
    /// Reads the headers of the file at `path`.
    ///
    /// # Errors
    /// See [`CoreError`].
    pub fn open(path: &Path, places: &Places) -> Result<Self, CoreError> {
        let file = pages::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(CoreError::NotRegular);
        }
        let (headers, notes) = read_headers(&file)?;
        let length = metadata.len();
        let segments: Vec<Segment> = headers.iter().map(|header| header.segment).collect();
        let end = segments.iter().map(|it| it.offset.saturating_add(it.kept)).max();
        let mappings = mappings(&headers, &notes.files);
        let pages = CorePages::new(file, segments, notes.files, places)?;
        let modified = metadata.modified()?;
        Ok(Self {
            pid: notes.pid.unwrap_or_default(),
            command: notes.command,
            signal: notes.signal.filter(|signal| !END_NOTHING.contains(signal)),
            written_at: jiff::Timestamp::try_from(modified).unwrap_or_default(),
            threads: notes.threads,
            mappings,
            missing_bytes: end.unwrap_or_default().saturating_sub(length),
            pages: Rc::new(pages),
        })
    }
}

/// A header of a part of memory.
struct Header {
    segment: Segment,
    flags: u32,
}

fn read_headers(file: &File) -> Result<(Vec<Header>, Notes), CoreError> {
    let cache = ReadCache::new(file);
    let first: &[u8] = cache.read_bytes_at(0, 4).map_err(|()| CoreError::Malformed)?;
    let first = <[u8; 4]>::try_from(first).unwrap_or_default();
    if first != object::elf::ELFMAG {
        return Err(CoreError::NotElf { first });
    }
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(&cache).map_err(|_| CoreError::NotCore)?;
    if header.e_type(endian) != ET_CORE || header.e_machine(endian) != EM_X86_64 {
        return Err(CoreError::NotCore);
    }
    let program_headers = header
        .program_headers(endian, &cache)
        .map_err(|_| CoreError::Malformed)?;
    let mut headers: Vec<Header> = Vec::new();
    let mut notes = Notes::default();
    for header in program_headers.iter().take(MAX_SEGMENTS) {
        match header.p_type(endian) {
            PT_LOAD => headers.extend(load(
                header.p_vaddr(endian),
                header.p_memsz(endian),
                (header.p_offset(endian), header.p_filesz(endian)),
                header.p_flags(endian).0,
            )),
            PT_NOTE => {
                let (offset, size) = (header.p_offset(endian), header.p_filesz(endian));
                let bytes = cache.read_bytes_at(offset, size.min(MAX_NOTE_BYTES));
                let bytes = bytes.map_err(|()| CoreError::NoNotes)?;
                let found =
                    NoteIterator::<FileHeader64<LittleEndian>>::new(endian, header.p_align(endian), bytes);
                let mut found = found.map_err(|_| CoreError::Malformed)?;
                while let Ok(Some(note)) = found.next() {
                    match note.n_type(endian) {
                        NT_PRSTATUS => notes.take_thread(note.desc()),
                        NT_PRPSINFO => notes.take_process(note.desc()),
                        NT_SIGINFO => notes.take_signal(note.desc()),
                        NT_FILE => notes.take_files(note.desc()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if notes.threads.is_empty() {
        return Err(CoreError::NoNotes);
    }
    headers.sort_by_key(|header| header.segment.start);
    let is_there = |part: &&FilePart| {
        // The last one that begins before the part ends.
        let after = headers.partition_point(|header| header.segment.start < part.end);
        let last = after.checked_sub(1).and_then(|index| headers.get(index));
        last.is_some_and(|header| part.start < header.segment.end)
    };
    let left_out = notes.files.iter().filter(|part| !is_there(part));
    let left_out: Vec<Header> = left_out.map(Header::of_code).collect();
    headers.extend(left_out);
    headers.sort_by_key(|header| header.segment.start);
    Ok((headers, notes))
}

impl Header {
    /// A part of a file that has no header of its own: debuggers leave out what is mapped to be run.
    fn of_code(part: &FilePart) -> Self {
        Self {
            segment: Segment {
                start: part.start,
                end: part.end,
                offset: 0,
                kept: 0,
                is_writable: false,
            },
            flags: object::elf::PF_R.0 | object::elf::PF_X.0,
        }
    }
}

/// A part of memory, where its header makes sense.
fn load(start: u64, size: u64, (offset, kept): (u64, u64), flags: u32) -> Option<Header> {
    let segment = Segment {
        start,
        end: start.checked_add(size)?,
        offset,
        kept: kept.min(size),
        is_writable: flags & object::elf::PF_W.0 != 0,
    };
    Some(Header { segment, flags })
}

/// What was mapped where, as the interpreter is looked for in it.
fn mappings(headers: &[Header], files: &[FilePart]) -> Vec<Mapping> {
    let (readable, executable) = (object::elf::PF_R.0, object::elf::PF_X.0);
    headers
        .iter()
        .map(|Header { segment, flags }| {
            let part = notes::part_at(files, segment.start);
            let is_writable = segment.is_writable;
            Mapping {
                start: Address(segment.start),
                end: Address(segment.end),
                readable: flags & readable != 0,
                writable: is_writable,
                executable: flags & executable != 0,
                // What was only read of a file is left out, or is there as anything else.
                written: is_writable && segment.kept > 0,
                file_offset: part.map_or(0, |part| part.offset_of(segment.start)),
                file: part.map(|part| part.file as u64),
                name: part.map_or_else(String::new, FilePart::name),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
