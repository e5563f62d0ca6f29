//! What the kernel knows of a thread.

use awaitwhat_common::kernel::KernelOffsets;
use aya_ebpf::bindings::{seq_file, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};

use crate::maps::KERNEL;

/// Reads a number of the kernel's at `address`; 0 where that fails. Without a branch: each one doubles what is to verify.
#[inline(always)]
pub fn read<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: `value` is as long as the read; the helper checks the address, and writes zeros where it fails.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    };
    value
}

/// Offsets inside the kernel's structures.
#[inline(always)]
pub fn offsets() -> Option<&'static KernelOffsets> {
    KERNEL.get(0)
}

/// Bits at the top of a kernel's address that are the same in all.
const SAME_BITS: u32 = 16;

/// Number of the address space of the thread whose `task_struct` is at `task`: where the kernel describes it, and which of its programs
/// the process runs, as the kernel gives that place to the next but one. 0 where there is none: the thread is about to end.
#[inline(always)]
pub fn address_space(task: u64, offsets: &KernelOffsets) -> u64 {
    let place: u64 = read(task.wrapping_add(u64::from(offsets.task_mm)));
    let program: u64 = read(task.wrapping_add(u64::from(offsets.task_exec_id)));
    // Without a branch, as the verifier follows each one.
    (place << SAME_BITS ^ program) * u64::from(place != 0)
}

/// Whether a thread is on a CPU, and how much it has run.
#[derive(Clone, Copy)]
pub struct Activity {
    pub is_on_cpu: bool,
    /// How often the thread has left a CPU.
    pub switches: u64,
    /// CPU time in ns.
    pub runtime: u64,
}

impl Activity {
    /// The activity of the thread whose `task_struct` is at `task`.
    #[inline(always)]
    pub fn of(task: u64, offsets: &KernelOffsets) -> Self {
        let voluntary: u64 = read(task.wrapping_add(u64::from(offsets.task_nvcsw)));
        let involuntary: u64 = read(task.wrapping_add(u64::from(offsets.task_nivcsw)));
        let runtime = read(task.wrapping_add(u64::from(offsets.task_runtime)));
        // An `int` in older kernels; since 7.3 a byte, with others behind it. 0 or 1, so its lowest byte tells.
        let on_cpu: u8 = read(task.wrapping_add(u64::from(offsets.task_on_cpu)));
        Self {
            is_on_cpu: on_cpu != 0,
            switches: voluntary.wrapping_add(involuntary),
            runtime,
        }
    }
}

/// How a thread that is on no CPU came to that.
#[derive(Clone, Copy)]
pub struct Pause {
    /// It could run, and waits for a CPU.
    pub waits_for_cpu: bool,
    /// It would be on a CPU if nobody looked: who looks has taken its own.
    pub is_by_look: bool,
}

impl Pause {
    /// That of the thread whose `task_struct` is at `task`.
    #[inline(always)]
    pub fn of(task: u64, offsets: &KernelOffsets) -> Self {
        // SAFETY: the helper has no preconditions.
        let own = unsafe { bpf_get_current_task() };
        let queued: u64 = read(task.wrapping_add(u64::from(offsets.task_last_queued)));
        let arrived: u64 = read(own.wrapping_add(u64::from(offsets.task_last_arrival)));
        // Without a branch, as the verifier follows each one.
        let waits_for_cpu = (offsets.task_last_queued != 0) & (queued != 0);
        Self {
            waits_for_cpu,
            is_by_look: waits_for_cpu & (queued == arrived),
        }
    }
}

/// What every iterator's context begins with (`struct bpf_iter_meta`).
#[repr(C)]
pub struct IteratorMeta {
    /// Where the iterator's output goes.
    pub seq: *mut seq_file,
    session_id: u64,
    seq_num: u64,
}

/// Context of a task iterator (`struct bpf_iter__task`).
#[repr(C)]
pub struct TaskContext {
    pub meta: *mut IteratorMeta,
    pub task: *mut task_struct,
}

/// Reads field number `index` of an iterator's context as a plain number, 0 where that fails: the helpers for reading take those.
#[inline(always)]
pub fn context_word<T>(context: *const T, index: usize) -> u64 {
    read(context as u64 + index as u64 * 8)
}
