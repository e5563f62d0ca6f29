//! One slice of a walk: `bpf_loop` drives the walker's steps.

use core::ffi::c_void;

use awaitwhat_common::event::SLICE_WORDS;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::MAX_STEPS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;
use awaitwhat_walker::{Flow, Host, MAX_RECORD_BYTES, Record, Walk};
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_loop};

use crate::maps::RECORDS;

/// User space polls the ring buffer at its own pace: waking it for each record would cost the target.
const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;
/// A record's length is below this power of two: the verifier sees a mask more easily than a comparison.
const RECORD_MASK: usize = 0x3fff;
const _: () = assert!(MAX_RECORD_BYTES <= RECORD_MASK && RECORD_MASK <= size_of::<Record>());

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// When a slice that began at `started` is out of `budget` (ns), which is without limit where it is 0.
#[inline(always)]
pub fn deadline(started: u64, budget: u64) -> u64 {
    if budget == 0 {
        u64::MAX
    } else {
        started.wrapping_add(budget)
    }
}

/// Sends a task record. False when the ring buffer is full.
#[inline(always)]
pub fn send_record(record: &Record) -> bool {
    let length = (record.length() * 8) & RECORD_MASK;
    let start = core::ptr::from_ref(record).cast::<u8>();
    // SAFETY: a record is longer than the mask, and its words lie from its start on.
    let bytes = unsafe { core::slice::from_raw_parts(start, length) };
    RECORDS.output::<[u8]>(bytes, NO_WAKEUP).is_ok()
}

/// What a step needs, as `bpf_loop` passes it on.
#[repr(C)]
struct Slice<H> {
    walk: *mut Walk,
    layout: *const Layout,
    plan: *const ThreadPlan,
    host: H,
}

extern "C" fn step<H: Host>(_index: u32, slice: *mut c_void) -> i64 {
    // SAFETY: `run` passes a pointer to a live `Slice<H>`, whose pointers are to map values; nobody else uses the walk meanwhile.
    let (slice, walk, layout, plan) = unsafe {
        let slice = &mut *slice.cast::<Slice<H>>();
        let (walk, layout, plan) = (&mut *slice.walk, &*slice.layout, &*slice.plan);
        (slice, walk, layout, plan)
    };
    match walk.step(layout, plan, &mut slice.host) {
        Flow::Continue => 0,
        Flow::Done(status) => {
            walk.set_ended(status);
            1
        }
    }
}

/// Runs the walker until its slice is done, and sends the slice's record.
///
/// `started` is when the slice began.
#[inline(always)]
pub fn run<H: Host>(walk: *mut Walk, layout: *const Layout, plan: *const ThreadPlan, host: H, started: u64) {
    let mut slice = Slice {
        walk,
        layout,
        plan,
        host,
    };
    // SAFETY: the pointer is to a map value that nobody else uses meanwhile.
    unsafe { (*walk).set_ended(SliceStatus::Budget) };
    // SAFETY: the callback has the type that `bpf_loop` calls, and the context outlives the call.
    unsafe {
        bpf_loop(
            MAX_STEPS,
            step::<H> as *const () as *mut c_void,
            (&raw mut slice).cast(),
            0,
        );
    }
    // SAFETY: the pointer is to a map value.
    let walk = unsafe { &mut *slice.walk };
    send_slice(walk, walk.ended(), now().wrapping_sub(started));
}

/// Sends the record that ends a slice.
#[inline(always)]
pub fn send_slice(walk: &mut Walk, status: SliceStatus, duration: u64) {
    let words: [u64; SLICE_WORDS] = walk.end_slice(status, duration);
    if RECORDS.output::<[u64; SLICE_WORDS]>(words, NO_WAKEUP).is_err() {
        walk.count_lost(1);
    }
}

/// A step in a phase that is rare, as a function of its own with what the verifier can check by types: it looks at it once, and not for each path
/// that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rare_step(walk: *mut Walk, layout: *const Layout, plan: *const ThreadPlan) -> u64 {
    // SAFETY: `call_rare_step` passes pointers to map values, and nobody else uses the walk meanwhile.
    let (walk, layout, plan) = unsafe { (walk.as_mut(), layout.as_ref(), plan.as_ref()) };
    if let (Some(walk), Some(layout), Some(plan)) = (walk, layout, plan) {
        walk.rare_step(layout, plan);
    }
    0
}
