//! The target's memory, page by page through an eBPF program: no ptrace right is needed.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use awaitwhat_common::kernel::{
    MAX_READS, Mapping as RawMapping, NAME_BYTES, PAGE_BYTES, READ_HEADER_BYTES, ReadRequest,
};
use awaitwhat_common::reads::{Place, Refusal};
use aya::maps::{Array, MapData};
use bytes::Buf as _;
use foldhash::fast::RandomState;

use super::error::CaptureError;
use super::iterator::TaskIterator;
use super::plain::Plain;
use super::waiting;
use crate::core_file::CorePages;
use crate::memory::{Address, Fault, Mapping, Memory};

const PAGE: u64 = PAGE_BYTES as u64;
/// The longest single read: names, line tables and the like are far shorter.
const MAX_READ_BYTES: usize = 16 << 20;
/// Pages that are remembered; then all are forgotten, and read again where they are needed again. The longest single read has as many.
const MAX_PAGES: usize = MAX_READ_BYTES / PAGE_BYTES;
/// Pages that are forgotten, and kept for the next ones: to get and to give back memory takes as long as to fill it.
const MAX_SPARE: usize = 1024;
/// How often a page is asked for while the process changes its mappings.
const MAX_ATTEMPTS: u32 = 1 << 14;
/// Mappings that are listed at most; the kernel's own bound for a process is 65,530 by default.
const MAX_MAPPINGS: usize = 1 << 17;
/// `VM_READ`, `VM_WRITE` and `VM_EXEC` (`include/linux/mm.h`).
const VM_READ: u64 = 1;
const VM_WRITE: u64 = 2;
const VM_EXEC: u64 = 4;

/// Bytes of an answer.
const ANSWER_BYTES: usize = READ_HEADER_BYTES + PAGE_BYTES;

type Page = Box<[u8; PAGE_BYTES]>;
/// What came of the pages that were asked for, by address.
type Pages = HashMap<u64, Result<Page, Unread>, RandomState>;

/// Asks the program `read_memory` for pages.
pub(super) struct PageReader {
    request: RefCell<Array<MapData, Plain<ReadRequest>>>,
    program: OwnedFd,
    /// Bound to the process that was read last. One for all: each is a descriptor, of which there are few, and most reads are of the process that
    /// was read before.
    bound: RefCell<Option<(u32, TaskIterator)>>,
    /// Whether a file system did not answer: then no page is waited for any more.
    is_waiting: Cell<bool>,
    /// What the last answers came in, and pages to put the next ones in.
    output: RefCell<Vec<u8>>,
    spare: RefCell<Vec<Page>>,
}

impl PageReader {
    pub(super) fn new(request: Array<MapData, Plain<ReadRequest>>, program: OwnedFd) -> Self {
        Self {
            request: RefCell::new(request),
            program,
            bound: RefCell::default(),
            is_waiting: Cell::new(false),
            output: RefCell::new(vec![0; MAX_READS * ANSWER_BYTES]),
            spare: RefCell::default(),
        }
    }

    /// The program, bound to process `pid`: by its number, as the link that a process had would be, so that what is read says itself whose it is.
    fn of_process(&self, pid: u32) -> Result<Ref<'_, TaskIterator>, CaptureError> {
        let is_bound = matches!(&*self.bound.borrow(), Some((other, _)) if *other == pid);
        if !is_bound {
            let mut bound = self.bound.borrow_mut();
            // First, so that there is a descriptor for the new one.
            *bound = None;
            *bound = Some((pid, TaskIterator::of_thread(&self.program, pid)?));
        }
        Ref::filter_map(self.bound.borrow(), |bound| Some(&bound.as_ref()?.1)).map_err(|_| CaptureError::Gone)
    }

    /// Reads at most [`MAX_READS`] pages of process `pid`.
    fn read(&self, pid: u32, pages: &[u64]) -> Result<Vec<Answer>, CaptureError> {
        self.ask_for(pages, false)?;
        let mut output = self.output.borrow_mut();
        let output = &mut output[..pages.len() * ANSWER_BYTES];
        let filled = self.of_process(pid)?.run(output)?;
        self.decode_all(output, filled)
    }

    /// Decodes all answers, of which `filled` bytes came.
    fn decode_all(&self, output: &[u8], filled: usize) -> Result<Vec<Answer>, CaptureError> {
        if filled != output.len() {
            // The iterator had no task to visit.
            return Err(CaptureError::Gone);
        }
        let mut spare = self.spare.borrow_mut();
        let answers = output.chunks_exact(ANSWER_BYTES);
        Ok(answers.map(|answer| Answer::decode(answer, &mut spare)).collect())
    }

    /// Takes back a page that nobody needs any more.
    fn take_back(&self, page: Page) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            spare.push(page);
        }
    }

    /// Reads one page of process `pid`, which was answered in a way that may not last: the process was changing its mappings, or the page
    /// may have to be waited for. `what` says for what.
    fn read_again(
        &self,
        pid: u32,
        page: u64,
        mut answer: Answer,
        what: impl FnOnce() -> String,
    ) -> Result<Answer, CaptureError> {
        let one = |answers: Vec<Answer>| answers.into_iter().next().ok_or(CaptureError::Gone);
        for _ in 0..MAX_ATTEMPTS {
            match answer.page {
                Err(Unread::Busy) => {
                    std::thread::yield_now();
                    answer = one(self.read(pid, &[page])?)?;
                }
                // A child that waits has the one buffer for such answers.
                Err(Unread::Refused(Refusal::OwnWaits)) if !self.is_waiting.get() => {
                    self.ask_for(&[page], true)?;
                    let mut output = vec![0; ANSWER_BYTES];
                    let iterator = self.of_process(pid)?;
                    let filled = waiting::run(&iterator, &mut output, &what())
                        .map_err(|error| CaptureError::from_io("waiting for a page", error))?;
                    let Some(filled) = filled else {
                        self.is_waiting.set(true);
                        break;
                    };
                    return one(self.decode_all(&output, filled)?);
                }
                _ => break,
            }
        }
        Ok(answer)
    }

    fn ask_for(&self, pages: &[u64], may_wait: bool) -> Result<(), CaptureError> {
        let mut request = ReadRequest {
            count: pages.len() as u64,
            may_wait: u64::from(may_wait),
            pages: [0; MAX_READS],
        };
        request.pages[..pages.len()].copy_from_slice(pages);
        let mut map = self.request.borrow_mut();
        map.set(0, Plain(request), 0).map_err(CaptureError::map)
    }
}

/// Why a page was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// Nothing is mapped there.
    Nothing,
    Refused(Refusal),
    /// The process was changing its mappings.
    Busy,
}

/// What came of the request for one page.
struct Answer {
    /// Number of the address space that it was read from.
    address_space: u64,
    page: Result<Page, Unread>,
}

impl Answer {
    /// Decodes an answer, which is as long as a header and a page; the page is put in one of `spare`, if there is any.
    fn decode(mut answer: &[u8], spare: &mut Vec<Page>) -> Self {
        let (status, address_space) = (answer.get_i64_le(), answer.get_u64_le());
        let page = match (status, <&[u8; PAGE_BYTES]>::try_from(answer)) {
            (0, Ok(bytes)) => Ok(match spare.pop() {
                Some(mut page) => {
                    *page = *bytes;
                    page
                }
                None => Box::new(*bytes),
            }),
            _ if status == -i64::from(libc::EBUSY) => Err(Unread::Busy),
            _ => Err(Refusal::from_status(status).map_or(Unread::Nothing, Unread::Refused)),
        };
        Self { address_space, page }
    }
}

/// Where pages come from.
enum Source {
    Process(Rc<PageReader>),
    Core(Rc<CorePages>),
}

/// The memory of one live process, or of one that a core file is of.
///
/// Pages are remembered until [`LiveMemory::forget`] is called: within one look at the target this saves most of the reads, but
/// what the target changes meanwhile goes unseen.
pub struct LiveMemory {
    source: Source,
    pid: u32,
    mappings: Vec<Mapping>,
    /// That of the first read, 0 before. A process that replaces itself by another program gets a new one.
    address_space: Cell<u64>,
    pages: RefCell<Pages>,
    /// Pages that were read so far.
    reads: Cell<u64>,
}

impl LiveMemory {
    pub(super) fn new(
        reader: Rc<PageReader>,
        list_mappings: &OwnedFd,
        pid: u32,
    ) -> Result<Self, CaptureError> {
        let mappings = read_mappings(&TaskIterator::of_thread(list_mappings, pid)?)?;
        Ok(Self::of(Source::Process(reader), pid, mappings))
    }

    /// That of a core file: it never changes, and belongs to no process that there is.
    pub fn of_core(pages: Rc<CorePages>, mappings: Vec<Mapping>) -> Self {
        Self::of(Source::Core(pages), 0, mappings)
    }

    fn of(source: Source, pid: u32, mappings: Vec<Mapping>) -> Self {
        Self {
            source,
            pid,
            mappings,
            address_space: Cell::new(0),
            pages: RefCell::default(),
            reads: Cell::new(0),
        }
    }

    /// The process's mappings, in ascending order, as they were when this was made.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// Number of the address space that is read, as plans refer to it; 0 where nothing was read yet.
    pub fn address_space(&self) -> u64 {
        self.address_space.get()
    }

    /// What a page belongs to, in words.
    fn owner_of(&self, page: u64) -> String {
        let holds = |mapping: &&Mapping| mapping.start.0 <= page && page < mapping.end.0;
        let name = self
            .mappings
            .iter()
            .find(holds)
            .map_or("", |mapping| &mapping.name);
        format!(
            "the file system of \"{name}\", which process {} runs, to hand over a page",
            self.pid
        )
    }

    /// Whether what was read here is the process's memory no longer: it has become another program, or is about to end.
    pub fn is_gone(&self) -> bool {
        self.forget();
        // Whichever page it is, the answer names the address space: one that is hardly ever mapped costs nothing.
        self.fetch(0, 0) == Err(Fault::Gone)
    }

    /// Makes later reads see what the target has changed since.
    pub fn forget(&self) {
        self.clear(&mut self.pages.borrow_mut());
    }

    fn clear(&self, pages: &mut Pages) {
        match &self.source {
            Source::Process(reader) => {
                let read = pages.drain().filter_map(|(_, page)| page.ok());
                read.for_each(|page| reader.take_back(page));
            }
            Source::Core(_) => pages.clear(),
        }
    }

    /// How many pages were read so far: as long as that stays the same, all is as it was when the last one was read.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// The addresses of the pages that are remembered.
    pub fn remembered(&self) -> Vec<u64> {
        self.pages.borrow().keys().copied().collect()
    }

    /// Reads these pages anew, as close together as it can be done, and forgets all others.
    ///
    /// # Errors
    /// When nothing can be read any more.
    pub fn read_anew(&self, pages: &[u64]) -> Result<(), Fault> {
        self.forget();
        self.fetch_all(pages.iter().copied())
    }

    /// Reads the pages that these addresses are in, as far as they are not remembered: all of them are going to be read from.
    ///
    /// # Errors
    /// When nothing can be read any more.
    pub fn fetch_ahead(&self, addresses: impl Iterator<Item = Address>) -> Result<(), Fault> {
        let end = awaitwhat_common::limits::USER_ADDRESSES.end;
        let pages = addresses.filter(|it| !it.is_null() && it.0 < end);
        let mut pages: Vec<u64> = pages.map(|it| it.0 & !(PAGE - 1)).collect();
        pages.sort_unstable();
        pages.dedup();
        self.fetch_all(pages.into_iter())
    }

    /// Fills `buffer` where all of it, up to the byte at `last`, is in one page that is remembered: that is what nearly all reads are.
    fn read_remembered(&self, address: Address, last: u64, buffer: &mut [u8]) -> bool {
        let page = address.0 & !(PAGE - 1);
        if last & !(PAGE - 1) != page {
            return false;
        }
        let pages = self.pages.borrow();
        let Some(Ok(bytes)) = pages.get(&page) else {
            return false;
        };
        let offset = (address.0 - page) as usize;
        let Some(part) = bytes.get(offset..offset + buffer.len()) else {
            return false;
        };
        buffer.copy_from_slice(part);
        true
    }

    /// Reads those of the pages from `first` to `last` that are not remembered.
    fn fetch(&self, first: u64, last: u64) -> Result<(), Fault> {
        self.fetch_all((first..=last).step_by(PAGE_BYTES))
    }

    fn fetch_all(&self, wanted: impl Iterator<Item = u64>) -> Result<(), Fault> {
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= MAX_PAGES {
            self.clear(&mut pages);
        }
        let missing: Vec<_> = wanted.filter(|page| !pages.contains_key(page)).collect();
        let reader = match &self.source {
            Source::Process(reader) => reader,
            Source::Core(core) => {
                self.reads.set(self.reads.get() + missing.len() as u64);
                let read = |address| (address, core.page(address).ok_or(Unread::Nothing));
                pages.extend(missing.into_iter().map(read));
                return Ok(());
            }
        };
        for batch in missing.chunks(MAX_READS) {
            let answers = reader.read(self.pid, batch).map_err(reader_fault)?;
            for (&address, answer) in batch.iter().zip(answers) {
                let answer = reader
                    .read_again(self.pid, address, answer, || self.owner_of(address))
                    .map_err(reader_fault)?;
                if self.address_space.get() == 0 {
                    self.address_space.set(answer.address_space);
                }
                if self.address_space.get() != answer.address_space {
                    // What was found here is gone, although the process goes on as another program.
                    return Err(Fault::Gone);
                }
                pages.insert(address, answer.page);
                self.reads.set(self.reads.get() + 1);
            }
        }
        Ok(())
    }
}

fn reader_fault(error: CaptureError) -> Fault {
    match error {
        CaptureError::Gone => Fault::Gone,
        error => Fault::Reader {
            errno: error.errno().unwrap_or(libc::EIO),
        },
    }
}

impl Memory for LiveMemory {
    fn forget(&self) {
        Self::forget(self);
    }

    fn prepare(&self, addresses: &[Address]) {
        // What is in the way of it is in the way of the reads that follow.
        let _ = self.fetch_ahead(addresses.iter().copied());
    }

    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let size = buffer.len();
        let unreadable = Fault::Unreadable {
            address,
            length: size,
        };
        if buffer.is_empty() {
            return Ok(());
        }
        let last = address.0.checked_add(buffer.len() as u64 - 1).ok_or(unreadable)?;
        if buffer.len() > MAX_READ_BYTES || last >= awaitwhat_common::limits::USER_ADDRESSES.end {
            return Err(unreadable);
        }
        if self.read_remembered(address, last, buffer) {
            return Ok(());
        }
        self.fetch(address.0 & !(PAGE - 1), last & !(PAGE - 1))?;
        let pages = self.pages.borrow();
        let mut at = address.0;
        let mut rest = buffer;
        while !rest.is_empty() {
            let offset = (at & (PAGE - 1)) as usize;
            let length = rest.len().min(PAGE_BYTES - offset);
            let page = match pages.get(&(at & !(PAGE - 1))) {
                Some(Ok(page)) => page,
                Some(Err(Unread::Refused(why))) => {
                    return Err(Fault::Refused {
                        address,
                        length: size,
                        why: *why,
                    });
                }
                Some(Err(Unread::Busy)) => return Err(Fault::Reader { errno: libc::EBUSY }),
                Some(Err(Unread::Nothing)) | None => return Err(unreadable),
            };
            let (part, behind) = rest.split_at_mut(length);
            part.copy_from_slice(&page[offset..offset + length]);
            rest = behind;
            at += length as u64;
        }
        Ok(())
    }
}

/// Lists the mappings. Bound to one thread, the kernel's iterator begins anew behind the last one instead of ending.
fn read_mappings(iterator: &TaskIterator) -> Result<Vec<Mapping>, CaptureError> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut cut = Vec::new();
    iterator.run_while(|piece| {
        cut.extend_from_slice(piece);
        let whole = cut.len() - cut.len() % size_of::<RawMapping>();
        for bytes in cut
            .drain(..whole)
            .as_slice()
            .chunks_exact(size_of::<RawMapping>())
        {
            let next = mapping(bytes);
            if mappings.last().is_some_and(|last| next.start <= last.start) || mappings.len() >= MAX_MAPPINGS
            {
                return false;
            }
            mappings.push(next);
        }
        true
    })?;
    Ok(mappings)
}

/// Decodes a mapping; `bytes` has the length of a [`RawMapping`].
fn mapping(mut bytes: &[u8]) -> Mapping {
    let (start, end) = (bytes.get_u64_le(), bytes.get_u64_le());
    // In the order of the structure's fields.
    let place = Place {
        flags: bytes.get_u64_le(),
        file: bytes.get_u64_le(),
        operations: bytes.get_u64_le(),
        written: bytes.get_u64_le(),
        mode: bytes.get_u64_le(),
        magic: bytes.get_u64_le(),
        device: bytes.get_u64_le(),
    };
    let file_page = bytes.get_u64_le();
    let name = bytes.get(..NAME_BYTES).unwrap_or_default();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Mapping {
        start: Address(start),
        end: Address(end),
        readable: place.flags & VM_READ != 0 && place.refusal().is_none(),
        writable: place.flags & VM_WRITE != 0,
        executable: place.flags & VM_EXEC != 0,
        written: place.is_written(),
        file_offset: if place.file == 0 {
            0
        } else {
            file_page.wrapping_mul(PAGE)
        },
        file: (place.file != 0).then_some(place.file),
        name: String::from_utf8_lossy(name).into_owned(),
    }
}
