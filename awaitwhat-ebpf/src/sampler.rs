//! Samples a thread that runs, in its own context: its memory stands still meanwhile.

use awaitwhat_common::kernel::PAGE_BYTES;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::{WINDOW_BYTES, WINDOW_WORDS};
use awaitwhat_common::plan::{IN_CONTEXT, ThreadPlan, loop_key};
use awaitwhat_walker::{Host, Record, Walk};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_prandom_u32, bpf_probe_read_user};
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;

use crate::kernel::{Activity, address_space, offsets};
use crate::maps::{LAYOUTS, PLANS, WALKS};
use crate::slice::{deadline, now, rare_step, run, send_record};

/// Walks an event loop of the current thread, if there is one to walk.
#[perf_event]
pub fn sample_thread(_context: PerfEventContext) -> u32 {
    let _ = sample();
    0
}

#[inline(always)]
fn sample() -> Option<()> {
    let tid = bpf_get_current_pid_tgid() as u32;
    let mut key = loop_key(tid, 0);
    let mut plan = PLANS.get_ptr(key)?;
    // SAFETY: a pointer to a map value, which user space replaces as a whole only.
    let loops = unsafe { (*plan).loops_of_thread };
    if loops > 1 {
        // One loop at a time, so that a sample costs the target what it always does. By chance: no rhythm of the target's can keep step.
        // SAFETY: the helper has no preconditions.
        key = loop_key(tid, unsafe { bpf_get_prandom_u32() } % loops);
        plan = PLANS.get_ptr(key)?;
    }
    let walk = WALKS.get_ptr_mut(key | IN_CONTEXT)?;
    // SAFETY: a pointer to a map value, which user space replaces as a whole only.
    let (layout, budget) = unsafe { ((*plan).layout_key(), (*plan).context_budget_ns) };
    let layout = LAYOUTS.get_ptr(layout)?;
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let offsets = offsets()?;
    // SAFETY: a pointer to a map value, as above.
    if unsafe { (*plan).address_space } != address_space(task, offsets) {
        // Another program now: the iterator says so.
        return None;
    }
    let activity = Activity::of(task, offsets);
    let started = now();
    // SAFETY: the walk belongs to this thread, and a perf event does not interrupt itself.
    unsafe {
        (*walk).begin_slice(
            &*layout,
            &*plan,
            true,
            started,
            activity.runtime,
            activity.switches,
        )
    };
    let host = InContext {
        deadline: deadline(started, budget),
    };
    run(walk, layout, plan, host, started);
    Some(())
}

/// The walker in the thread's own context.
struct InContext {
    deadline: u64,
}

impl Host for InContext {
    #[inline(always)]
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let Some(window) = window else {
            let mut word = 0u64;
            // SAFETY: the word is as long as the read; the helper checks the address.
            let status = unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) };
            return if status == 0 { Some(word) } else { None };
        };
        let destination = window.as_mut_ptr().cast();
        // SAFETY: the window is as long as the read; the helper checks the address.
        let status = unsafe { bpf_probe_read_user(destination, WINDOW_BYTES as u32, address as *const _) };
        if status == 0 {
            return Some(window[0]);
        }
        // The object may lie at the end of the last page.
        let page = PAGE_BYTES as u64;
        let length = (page - (address & (page - 1))) & (WINDOW_BYTES - 1);
        *window = [0; WINDOW_WORDS];
        // SAFETY: as above, with a shorter read.
        if length != 0 && unsafe { bpf_probe_read_user(destination, length as u32, address as *const _) } == 0
        {
            return Some(window[0]);
        }
        None
    }

    #[inline(always)]
    fn is_undisturbed(&mut self) -> bool {
        true
    }

    #[inline(always)]
    fn is_over_budget(&mut self) -> bool {
        now() >= self.deadline
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
