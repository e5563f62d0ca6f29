//! The target's memory, page by page through an eBPF program: no ptrace right is needed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use awaitwhat_common::kernel::{
    MAX_READS, Mapping as RawMapping, NAME_BYTES, PAGE_BYTES, READ_HEADER_BYTES, ReadRequest,
};
use aya::maps::{Array, MapData};
use bytes::Buf as _;

use super::error::CaptureError;
use super::iterator::TaskIterator;
use super::plain::Plain;
use crate::memory::{Address, Fault, Mapping, Memory};

const PAGE: u64 = PAGE_BYTES as u64;
/// The longest single read: names, line tables and the like are far shorter.
const MAX_READ_BYTES: usize = 16 << 20;
/// Pages that are remembered; then all are forgotten, and read again where they are needed again. The longest single read has as many.
const MAX_PAGES: usize = MAX_READ_BYTES / PAGE_BYTES;
/// Mappings that are listed at most; the kernel's own bound for a process is 65,530 by default.
const MAX_MAPPINGS: usize = 1 << 17;
/// `VM_READ`, `VM_WRITE` and `VM_EXEC` (`include/linux/mm.h`).
const VM_READ: u64 = 1;
const VM_WRITE: u64 = 2;
const VM_EXEC: u64 = 4;

type Page = Box<[u8; PAGE_BYTES]>;

/// Asks the program `read_memory` for pages.
pub(super) struct PageReader {
    request: RefCell<Array<MapData, Plain<ReadRequest>>>,
    program: OwnedFd,
}

impl PageReader {
    pub(super) fn new(request: Array<MapData, Plain<ReadRequest>>, program: OwnedFd) -> Self {
        Self {
            request: RefCell::new(request),
            program,
        }
    }

    /// Reads at most [`MAX_READS`] pages of the iterator's process, with the number of its address space. Pages that cannot be read
    /// are `None`.
    fn read(&self, iterator: &TaskIterator, pages: &[u64]) -> Result<Vec<(u64, Option<Page>)>, CaptureError> {
        let mut request = ReadRequest {
            count: pages.len() as u64,
            pages: [0; MAX_READS],
        };
        request.pages[..pages.len()].copy_from_slice(pages);
        self.request
            .borrow_mut()
            .set(0, Plain(request), 0)
            .map_err(CaptureError::map)?;
        let answer_bytes = READ_HEADER_BYTES + PAGE_BYTES;
        let mut output = vec![0; pages.len() * answer_bytes];
        let filled = iterator.run(&mut output)?;
        if filled != output.len() {
            // The iterator had no task to visit.
            return Err(CaptureError::Gone);
        }
        Ok(output.chunks_exact(answer_bytes).map(page_of_answer).collect())
    }
}

/// Decodes an answer; it is as long as a header and a page.
fn page_of_answer(mut answer: &[u8]) -> (u64, Option<Page>) {
    let (status, address_space) = (answer.get_i64_le(), answer.get_u64_le());
    let page = <[u8; PAGE_BYTES]>::try_from(answer).ok().map(Box::new);
    (address_space, page.filter(|_| status == 0))
}

/// The memory of one live process.
///
/// Pages are remembered until [`LiveMemory::forget`] is called: within one look at the target this saves most of the reads, but
/// what the target changes meanwhile goes unseen.
pub struct LiveMemory {
    reader: Rc<PageReader>,
    iterator: TaskIterator,
    mappings: Vec<Mapping>,
    /// That of the first read, 0 before. A process that replaces itself by another program gets a new one.
    address_space: Cell<u64>,
    pages: RefCell<HashMap<u64, Option<Page>>>,
}

impl LiveMemory {
    pub(super) fn new(
        reader: Rc<PageReader>,
        list_mappings: &OwnedFd,
        pid: u32,
    ) -> Result<Self, CaptureError> {
        let mappings = read_mappings(&TaskIterator::of_thread(list_mappings, pid)?)?;
        let iterator = TaskIterator::of_thread(&reader.program, pid)?;
        Ok(Self {
            reader,
            iterator,
            mappings,
            address_space: Cell::new(0),
            pages: RefCell::default(),
        })
    }

    /// The process's mappings, in ascending order, as they were when this was made.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// Number of the address space that is read, as plans refer to it; 0 where nothing was read yet.
    pub fn address_space(&self) -> u64 {
        self.address_space.get()
    }

    /// Whether what was read here is the process's memory no longer: it has become another program, or is about to end.
    pub fn is_gone(&self) -> bool {
        self.forget();
        // Whichever page it is, the answer names the address space.
        let page = self.mappings.first().map_or(0, |mapping| mapping.start.0) & !(PAGE - 1);
        self.fetch(page, page) == Err(Fault::Gone)
    }

    /// Makes later reads see what the target has changed since.
    pub fn forget(&self) {
        self.pages.borrow_mut().clear();
    }

    /// Reads those of the pages from `first` to `last` that are not remembered.
    fn fetch(&self, first: u64, last: u64) -> Result<(), Fault> {
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= MAX_PAGES {
            pages.clear();
        }
        let missing: Vec<_> = (first..=last)
            .step_by(PAGE_BYTES)
            .filter(|page| !pages.contains_key(page))
            .collect();
        for batch in missing.chunks(MAX_READS) {
            let read = self
                .reader
                .read(&self.iterator, batch)
                .map_err(|error| match error {
                    CaptureError::Gone => Fault::Gone,
                    error => Fault::Reader {
                        errno: error.errno().unwrap_or(libc::EIO),
                    },
                })?;
            for (&address, (address_space, page)) in batch.iter().zip(read) {
                if self.address_space.get() == 0 {
                    self.address_space.set(address_space);
                }
                if self.address_space.get() != address_space {
                    // What was found here is gone, although the process goes on as another program.
                    return Err(Fault::Gone);
                }
                pages.insert(address, page);
            }
        }
        Ok(())
    }
}

impl Memory for LiveMemory {
    fn forget(&self) {
        Self::forget(self);
    }

    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let unreadable = Fault::Unreadable {
            address,
            length: buffer.len(),
        };
        if buffer.is_empty() {
            return Ok(());
        }
        let last = address.0.checked_add(buffer.len() as u64 - 1).ok_or(unreadable)?;
        if buffer.len() > MAX_READ_BYTES || last >= awaitwhat_common::limits::USER_ADDRESSES.end {
            return Err(unreadable);
        }
        self.fetch(address.0 & !(PAGE - 1), last & !(PAGE - 1))?;
        let pages = self.pages.borrow();
        let mut at = address.0;
        let mut rest = buffer;
        while !rest.is_empty() {
            let offset = (at & (PAGE - 1)) as usize;
            let length = rest.len().min(PAGE_BYTES - offset);
            let page = pages
                .get(&(at & !(PAGE - 1)))
                .and_then(Option::as_ref)
                .ok_or(unreadable)?;
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
    let (start, end, flags) = (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u64_le());
    let (file_page, file) = (bytes.get_u64_le(), bytes.get_u64_le());
    let name = bytes.get(..NAME_BYTES).unwrap_or_default();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Mapping {
        start: Address(start),
        end: Address(end),
        readable: flags & VM_READ != 0,
        writable: flags & VM_WRITE != 0,
        executable: flags & VM_EXEC != 0,
        file_offset: if file == 0 {
            0
        } else {
            file_page.wrapping_mul(PAGE)
        },
        file: (file != 0).then_some(file),
        name: String::from_utf8_lossy(name).into_owned(),
    }
}
