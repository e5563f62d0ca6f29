//! The only place that reads memory of a process from outside, and the decision what is read ([`awaitwhat_common::reads`]).
//!
//! A thread of the process may change a mapping between the decision and the read: it then harms itself, and awaitwhat as far as a file system
//! makes it wait. The kernel offers no way to hold the mapping meanwhile.

use core::ffi::c_void;

use awaitwhat_common::kernel::{KernelOffsets, PAGE_BYTES};
use awaitwhat_common::reads::{Place, Refusal};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::generated::{bpf_copy_from_user_task, bpf_find_vma, bpf_probe_read_kernel};

use crate::kernel::{offsets, read};

/// Instead of 0: the page may be read, and so may the next one.
const MORE: i64 = -1;
/// `EFAULT` and `EBUSY`, as the helpers return them.
const UNKNOWN: i64 = -14;
pub const BUSY: i64 = -16;
/// An address of the kernel's, which no process maps.
const NOWHERE: u64 = 0xffff_8000_0000_0000;

/// Bits of an index that one node of an `xarray` decides (`XA_CHUNK_SHIFT`), and nodes from its root to an entry at most.
const NODE_BITS: u64 = 6;
const MAX_NODES: usize = 6;

/// Whose page is read. Two words, as it lies on a stack that is short.
pub struct Reader {
    pub task: *mut task_struct,
    /// Where `task` is, as a number.
    pub address: u64,
}

/// The question about one page, and its answer. Two words: the stacks of all functions together are short (Linux 6.1 counts each in steps of 32 bytes).
#[repr(C)]
struct Search {
    /// The page, then what [`judge`] said of it.
    page: u64,
    /// Where the `task_struct` is, and in its lowest bit whether the page may be waited for.
    task: u64,
}

impl Reader {
    /// Copies `PAGE_BYTES + beyond` bytes from `page` on; where what follows the page cannot be read, zeros take its place.
    ///
    /// 0, or a negative errno (`EBUSY`: the process was changing its mappings, and another try is worth it), or a [`Refusal`].
    /// `may_wait` says whether a page on the file system of the process's own program may be waited for.
    ///
    /// # Safety
    /// `destination` has to have room for as many bytes, in a map that nobody else uses meanwhile.
    #[inline(always)]
    pub unsafe fn copy(&self, page: u64, destination: *mut u64, beyond: usize, may_wait: bool) -> i64 {
        let from = page as *const _;
        let answer = self.ask(page, may_wait);
        if answer == BUSY {
            // The lock is asked for without waiting. A read that finds nothing waits for it.
            // SAFETY: there is room for a word; the helper checks the address.
            unsafe { bpf_copy_from_user_task(destination.cast(), 8, NOWHERE as *const _, self.task, 0) };
        }
        if !(MORE..=0).contains(&answer) {
            return answer;
        }
        let next = page.wrapping_add(PAGE_BYTES as u64);
        if beyond != 0 && (answer == MORE || matches!(self.ask(next, may_wait), 0 | MORE)) {
            let length = (PAGE_BYTES + beyond) as u32;
            // SAFETY: the caller's; the helper checks the address, and writes zeros where it fails.
            let status = unsafe { bpf_copy_from_user_task(destination.cast(), length, from, self.task, 0) };
            if status == 0 {
                return 0;
            }
        }
        // SAFETY: as above.
        unsafe {
            if beyond != 0 {
                let behind = destination.byte_add(PAGE_BYTES).cast();
                bpf_probe_read_kernel(behind, beyond as u32, core::ptr::null());
            }
            bpf_copy_from_user_task(destination.cast(), PAGE_BYTES as u32, from, self.task, 0)
        }
    }

    /// Whether the page at `page` may be read, as [`judge`] says it, or a negative errno.
    #[inline(always)]
    fn ask(&self, page: u64, may_wait: bool) -> i64 {
        let mut search = Search {
            page,
            task: self.address | u64::from(may_wait),
        };
        // SAFETY: the callback has the type that the helper calls, and the context outlives the call.
        let status = unsafe {
            bpf_find_vma(
                self.task,
                page,
                describe as *const () as *mut c_void,
                (&raw mut search).cast(),
                0,
            )
        };
        if status != 0 { status } else { search.page as i64 }
    }
}

/// Asks about a mapping, while the process cannot change it.
extern "C" fn describe(_task: *mut task_struct, mapping: *mut c_void, search: *mut c_void) -> i64 {
    // SAFETY: `ask` passes a pointer to a live `Search`.
    let search = unsafe { &mut *search.cast::<Search>() };
    // As a plain number: the verifier wants no sums with the pointer.
    let mapping: u64 = read((&raw const mapping) as u64);
    search.page = judge(mapping, search.page, search.task & !1, search.task & 1) as u64;
    0
}

/// Whether a page of the mapping whose `vm_area_struct` is at `mapping` may be read: 0, [`MORE`], or why not.
///
/// A function of its own with plain numbers only, so that the verifier looks at it once, and not for each path that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge(mapping: u64, page: u64, task: u64, may_wait: u64) -> i64 {
    let Some(offsets) = offsets() else {
        return UNKNOWN;
    };
    let mut place = Place::default();
    let start = describe_mapping(offsets, mapping, &mut place);
    if let Some(refusal) = place.refusal() {
        return refusal as i64;
    }
    if !place.is_in_memory() && !place.may_wait() {
        let rest = word(mapping, offsets.vma_end).wrapping_sub(page);
        return if rest > PAGE_BYTES as u64 { MORE } else { 0 };
    }
    let inode = word(place.file, offsets.file_inode);
    let index = word(mapping, offsets.vma_pgoff).wrapping_add(page.wrapping_sub(start) / PAGE_BYTES as u64);
    let entry = entry_of(offsets, word(inode, offsets.inode_mapping), index);
    if place.is_in_memory() {
        // There is an entry also where the page was swapped out.
        return if entry != 0 { 0 } else { Refusal::Untouched as i64 };
    }
    let uptodate = word(entry, offsets.page_flags) >> (offsets.uptodate_bit & 63) & 1;
    if is_page(entry) && uptodate == 1 {
        return 0;
    }
    let program = word(word(task, offsets.task_mm), offsets.mm_program);
    let own = word(word(program, offsets.file_inode), offsets.inode_superblock);
    if own != word(inode, offsets.inode_superblock) {
        return Refusal::Waits as i64;
    }
    if may_wait == 1 || place.is_written() {
        return 0;
    }
    Refusal::OwnWaits as i64
}

/// The word of the kernel's at `offset` of `base`; 0 where that fails.
#[inline(always)]
fn word(base: u64, offset: u32) -> u64 {
    read(base.wrapping_add(u64::from(offset)))
}

/// Fills in what the mapping whose `vm_area_struct` is at `mapping` is; returns where it starts.
#[inline(always)]
pub fn describe_mapping(offsets: &KernelOffsets, mapping: u64, place: &mut Place) -> u64 {
    place.flags = word(mapping, offsets.vma_flags);
    place.file = word(mapping, offsets.vma_file);
    if place.file != 0 {
        place.operations = word(mapping, offsets.vma_operations);
        place.written = word(mapping, offsets.vma_written);
        let inode = word(place.file, offsets.file_inode);
        let mode: u16 = read(inode.wrapping_add(u64::from(offsets.inode_mode)));
        place.mode = u64::from(mode);
        let superblock = word(inode, offsets.inode_superblock);
        place.magic = word(superblock, offsets.superblock_magic);
        place.device = word(superblock, offsets.superblock_device);
    }
    word(mapping, offsets.vma_start)
}

/// The entry of the page with this index in a file's page cache: 0 where there is none (`xas_load`, `lib/xarray.c`).
#[inline(always)]
fn entry_of(offsets: &KernelOffsets, mapping: u64, index: u64) -> u64 {
    let mut entry: u64 = read(mapping.wrapping_add(u64::from(offsets.mapping_pages)));
    if !is_node(entry) {
        return if index == 0 { entry } else { 0 };
    }
    let mut limit = u64::MAX;
    for _ in 0..MAX_NODES {
        if !is_node(entry) {
            break;
        }
        // The two lowest bits tag the pointer to a node.
        let node = entry.wrapping_sub(2);
        let shift: u8 = read(node.wrapping_add(u64::from(offsets.node_shift)));
        let place = index >> (shift & 63);
        // Only the root may be too small for the index.
        if limit == u64::MAX && place >> NODE_BITS != 0 {
            return 0;
        }
        limit = 0;
        entry = slot(offsets, node, place);
        if is_sibling(entry) {
            // A large page has one entry, and siblings that name its slot.
            entry = slot(offsets, node, entry >> 2);
        }
    }
    // A file of more than 2^48 bytes: what is not looked up is not there.
    if is_node(entry) { 0 } else { entry }
}

#[inline(always)]
fn slot(offsets: &KernelOffsets, node: u64, place: u64) -> u64 {
    let slots = node.wrapping_add(u64::from(offsets.node_slots));
    read(slots.wrapping_add((place & ((1 << NODE_BITS) - 1)) * 8))
}

/// `xa_is_node`, `xa_is_sibling` and, for a pointer to a page, `!xa_is_value` (`include/linux/xarray.h`).
#[inline(always)]
fn is_node(entry: u64) -> bool {
    entry & 3 == 2 && entry > 4096
}

#[inline(always)]
fn is_sibling(entry: u64) -> bool {
    entry & 3 == 2 && entry < 1 << (NODE_BITS + 2)
}

#[inline(always)]
fn is_page(entry: u64) -> bool {
    entry & 3 == 0 && entry != 0
}
