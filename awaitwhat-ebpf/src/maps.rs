//! Everything that the programs share with each other and with user space.

use awaitwhat_common::kernel::{KernelOffsets, PAGE_BYTES, ReadRequest};
use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_walker::Walk;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};

/// Layouts of all targets together.
const MAX_LAYOUTS: u32 = 1024;
/// Event loops that are walked at the same time.
const MAX_LOOPS: u32 = 64;
/// Pages of the target that the iterator remembers while the thread does not run.
pub const CACHED_PAGES: u32 = 1024;
/// Size of the ring buffer in bytes; the loader may choose another one.
const RECORDS_BYTES: u32 = 4 << 20;

/// Layouts of each target, by [`ThreadPlan::layout_key`].
#[map]
pub static LAYOUTS: HashMap<u64, Layout> = HashMap::with_max_entries(MAX_LAYOUTS, 0);

/// What to walk, by [`awaitwhat_common::plan::loop_key`].
#[map]
pub static PLANS: HashMap<u64, ThreadPlan> = HashMap::with_max_entries(MAX_LOOPS, 0);

/// Walks by the same key; the sampler's with [`awaitwhat_common::plan::IN_CONTEXT`].
#[map]
pub static WALKS: HashMap<u64, Walk> = HashMap::with_max_entries(2 * MAX_LOOPS, 0);

/// Which of its thread's loops the iterator walks.
#[map]
pub static SLOT: Array<u32> = Array::with_max_entries(1, 0);

/// Task and slice records, for user space.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(RECORDS_BYTES, 0);

/// Offsets inside the running kernel's structures.
#[map]
pub static KERNEL: Array<KernelOffsets> = Array::with_max_entries(1, 0);

/// Pages that user space wants to read.
#[map]
pub static REQUEST: Array<ReadRequest> = Array::with_max_entries(1, 0);

/// Room for the answer to one page of a request, header, then bytes: to one that may not wait, and to one that may.
#[map]
pub static ANSWER: Array<Answer> = Array::with_max_entries(2, 0);

/// Pages that the iterator has read, direct-mapped by page number.
#[map]
pub static PAGES: Array<Page> = Array::with_max_entries(CACHED_PAGES, 0);

/// What the iterator's last read that failed failed with: 0, a negative errno or a refusal. In a map, as of what lies on a stack the verifier
/// follows each value.
#[map]
pub static FAILURE: Array<i64> = Array::with_max_entries(1, 0);

/// One page as the memory reader sends it.
#[repr(C)]
pub struct Answer {
    /// 0, or a negative errno.
    pub status: i64,
    pub address_space: u64,
    pub bytes: [u64; PAGE_BYTES / 8],
}

/// Words of a page, and of the window that may begin in its last word.
pub const CACHED_WORDS: usize = PAGE_BYTES / 8 + WINDOW_WORDS;

/// A page of the target, as it was while a thread had left a CPU `switches` times.
#[repr(C)]
pub struct Page {
    /// Address of the page, with the lowest bit set where something was read.
    pub tag: u64,
    /// Thread and process that the page was read for.
    pub thread: u64,
    pub switches: u64,
    /// The page, and the beginning of the next one (zero where that cannot be read).
    pub words: [u64; CACHED_WORDS],
}
