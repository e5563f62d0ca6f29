//! Walks a thread that rests, from the observer's CPU: the target does not notice.

use awaitwhat_common::kernel::PAGE_BYTES;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::{WINDOW_BYTES, WINDOW_WORDS};
use awaitwhat_common::plan::{ThreadPlan, loop_key};
use awaitwhat_common::status::SliceStatus;
use awaitwhat_walker::{Host, Record, Walk};
use aya_ebpf::helpers::generated::{bpf_ringbuf_query, bpf_seq_write};

use crate::kernel::{Activity, Pause, TaskContext, address_space, context_word, offsets, read};
use crate::maps::{CACHED_PAGES, FAILURE, LAYOUTS, PAGES, PLANS, Page, RECORDS, SLOT, WALKS};
use crate::reads::{BUSY, Reader};
use crate::slice::{deadline, now, rare_step, run, send_record, send_slice};

/// `BPF_RB_AVAIL_DATA` and `BPF_RB_RING_SIZE`.
const AVAILABLE_DATA: u64 = 0;
const RING_SIZE: u64 = 1;

/// Walks one event loop: the link that runs this names its thread, and [`SLOT`] which of the thread's loops it is. What the kernel calls the
/// thread is written in any case: a link whose thread has ended visits nothing, and writes nothing. A thread without a plan is not walked.
///
/// User space knows threads by the ids of its own PID namespace, and so does the link. The programs, and the maps, know them by
/// those of the initial namespace.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn walk_thread(context: *mut TaskContext) -> i32 {
    let _ = walk(context);
    0
}

#[inline(always)]
fn walk(context: *mut TaskContext) -> Option<()> {
    // SAFETY: the kernel passes a valid context.
    let task = unsafe { (*context).task };
    if task.is_null() {
        return None;
    }
    let offsets = offsets()?;
    let address = context_word(context, 1);
    let tid: u32 = read(address.wrapping_add(u64::from(offsets.task_pid)));
    // SAFETY: the context's metadata is valid like itself, and the number is as long as the write.
    unsafe {
        bpf_seq_write(
            (*(*context).meta).seq,
            (&raw const tid).cast(),
            size_of::<u32>() as u32,
        )
    };
    let key = loop_key(tid, *SLOT.get(0)?);
    let plan = PLANS.get_ptr(key)?;
    let walk = WALKS.get_ptr_mut(key)?;
    // SAFETY: a pointer to a map value, which user space replaces as a whole only.
    let plan_of_thread = unsafe { &*plan };
    let layout = LAYOUTS.get_ptr(plan_of_thread.layout_key())?;
    let activity = Activity::of(address, offsets);
    let pause = Pause::of(address, offsets);
    let is_at_work = activity.is_on_cpu | ((plan_of_thread.counts_time != 0) & pause.is_by_look);
    let started = now();
    // SAFETY: only this program uses this walk, and user space runs it once at a time.
    let state = unsafe { &mut *walk };
    let reason_not_to = if plan_of_thread.address_space != address_space(address, offsets) {
        Some(SliceStatus::Replaced)
    } else if is_at_work {
        Some(SliceStatus::Running)
    } else if state.is_unchanged(activity.switches) {
        Some(SliceStatus::Unchanged)
    } else {
        None
    };
    if let Some(status) = reason_not_to {
        state.begin_empty_slice(plan_of_thread, started, activity.runtime);
        state.set_waits_for_cpu(pause.waits_for_cpu & !is_at_work);
        send_slice(state, status, 0);
        return Some(());
    }
    state.begin_slice(
        // SAFETY: a pointer to a map value, as above.
        unsafe { &*layout },
        plan_of_thread,
        false,
        started,
        activity.runtime,
        activity.switches,
    );
    state.set_waits_for_cpu(pause.waits_for_cpu);
    let host = AtRest {
        reader: Reader { task, address },
        thread: u64::from(tid) | u64::from(plan_of_thread.tgid) << 32,
        switches: activity.switches,
        deadline: deadline(started, plan_of_thread.iterator_budget_ns),
    };
    set_failure(0);
    run(walk, layout, plan, host, started);
    Some(())
}

/// The walker over the memory of a thread that does not run.
struct AtRest {
    reader: Reader,
    /// Thread id, and process id from bit 32 on.
    thread: u64,
    /// How often the thread had left a CPU when the slice began.
    switches: u64,
    deadline: u64,
}

impl AtRest {
    /// The page that holds `address`, read once per rest of the thread.
    #[inline(never)]
    fn page(&mut self, address: u64) -> Option<&'static Page> {
        let start = address & !(PAGE_BYTES as u64 - 1);
        let index = (address / PAGE_BYTES as u64) as u32 & (CACHED_PAGES - 1);
        let slot = PAGES.get_ptr_mut(index)?;
        // SAFETY: a pointer to a map value that only this program uses, once at a time.
        let page = unsafe { &mut *slot };
        // One branch instead of three, as the verifier follows each one.
        let difference =
            (page.tag ^ (start | 1)) | (page.thread ^ self.thread) | (page.switches ^ self.switches);
        if difference == 0 {
            return Some(page);
        }
        page.tag = 0;
        let words = (&raw mut page.words).cast();
        // The next page may not exist: of what cannot be read there are zeros.
        // SAFETY: the array is as long as a page and a window.
        let status = unsafe { self.reader.copy(start, words, WINDOW_BYTES as usize, false) };
        if status != 0 {
            set_failure(status);
            return None;
        }
        page.thread = self.thread;
        page.switches = self.switches;
        page.tag = start | 1;
        Some(page)
    }
}

/// What the last read that failed failed with.
#[inline(always)]
fn failure() -> i64 {
    FAILURE.get(0).copied().unwrap_or(0)
}

#[inline(always)]
fn set_failure(status: i64) {
    if let Some(failure) = FAILURE.get_ptr_mut(0) {
        // SAFETY: a pointer to a map value that only this program uses, once at a time.
        unsafe { *failure = status };
    }
}

/// Index of the word at `address` within its page.
#[inline(always)]
fn word_in_page(address: u64) -> usize {
    (address as usize >> 3) & (PAGE_BYTES / 8 - 1)
}

impl Host for AtRest {
    #[inline(always)]
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let page = self.page(address)?;
        // The index is masked to the page.
        let first = word_in_page(address);
        // SAFETY: the words of a page go on for the length of a window behind its last word.
        unsafe {
            let source = page.words.as_ptr().add(first);
            if let Some(window) = window {
                core::ptr::copy_nonoverlapping(source, window.as_mut_ptr(), WINDOW_BYTES as usize / 8);
            }
            Some(*source)
        }
    }

    #[inline(always)]
    fn is_undisturbed(&mut self) -> bool {
        let Some(offsets) = offsets() else {
            return false;
        };
        let activity = Activity::of(self.reader.address, offsets);
        // Without a branch, as the verifier follows each one. A process that was changing its mappings all the while is looked at again.
        !activity.is_on_cpu & (activity.switches == self.switches) & (failure() != BUSY)
    }

    #[inline(always)]
    fn is_refused(&self) -> bool {
        failure() > 0
    }

    /// Out of time, or the ring buffer is three quarters full: user space drains it between two slices, so that nothing is lost. The
    /// rest is for what samplers send meanwhile.
    #[inline(always)]
    fn is_over_budget(&mut self) -> bool {
        let ring = (&raw const RECORDS).cast_mut().cast();
        // SAFETY: the pointer is to a ring buffer map.
        let (used, size) = unsafe {
            (
                bpf_ringbuf_query(ring, AVAILABLE_DATA),
                bpf_ringbuf_query(ring, RING_SIZE),
            )
        };
        (now() >= self.deadline) | (used > size / 4 * 3)
    }

    #[inline(always)]
    fn rare_step(walk: &mut Walk, layout: &Layout, plan: &ThreadPlan) {
        rare_step(walk, layout, plan);
    }

    #[inline(always)]
    fn emit(&mut self, record: &Record) -> bool {
        send_record(record)
    }
}
