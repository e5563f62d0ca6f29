//! What to walk for one event loop.

use crate::limits::{MAX_FOREIGN_LOOPS, MAX_FRAMES, MAX_ROOTS};

/// An event loop, as records and plans name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopId {
    /// Id of its thread.
    pub tid: u32,
    /// Which of the thread's loops it is, from 0 on, below [`crate::limits::MAX_LOOPS_PER_THREAD`].
    pub slot: u32,
}

/// The key of a plan, and of its walk by the iterator: the loop, with its thread's id in the initial PID namespace (bits 0..32).
#[inline(always)]
pub const fn loop_key(kernel_id: u32, slot: u32) -> u64 {
    kernel_id as u64 | (slot as u64) << 33
}

/// What distinguishes the key of the sampler's walk from that of the iterator's.
pub const IN_CONTEXT: u64 = 1 << 32;

/// A registry of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// One of [`root_kind`].
    pub kind: u32,
    /// Always 0: what would otherwise be padding.
    pub reserved: u32,
    /// Address of the list head or of the set object.
    pub address: u64,
}

/// The key of a process's layout among those of all processes.
#[inline(always)]
pub const fn layout_key(tgid: u32, layout: u32) -> u64 {
    (tgid as u64) << 32 | layout as u64
}

/// What a [`Root`] is.
pub mod root_kind {
    /// A `struct llist_node` whose members are `TaskObj.task_node` (3.14+).
    pub const LIST: u32 = 1;
    /// A set of weak references to tasks (`WeakSet.data`).
    pub const WEAK_SET: u32 = 2;
    /// A set of tasks.
    pub const SET: u32 = 3;
}

/// What may be read of a task besides its chain.
pub mod wants {
    /// The object that names it.
    pub const NAME: u32 = 1 << 0;
    /// What its callbacks lead to: who awaits it.
    pub const LINKS: u32 = 1 << 1;
}

/// What to walk for one event loop in its thread, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadPlan {
    /// Process id, as user space knows it.
    pub tgid: u32,
    /// Thread id, as user space knows it; records bear it.
    pub tid: u32,
    /// Number of the [`crate::layout::Layout`] among those of the process: records repeat it.
    pub layout: u32,
    /// 1 where tasks are to be sent, as [`crate::status::TaskStatus::Opaque`], that are of another type than the layout knows, and
    /// not shown: they may be of a kind that user space has to learn about first. 0 where another thread's plan has that.
    pub sends_strangers: u32,
    /// As [`LoopId::slot`].
    pub slot: u32,
    /// How many loops the thread has plans for: the sampler visits one of them at a time, of its own choice.
    pub loops_of_thread: u32,
    /// What is read of a task besides its chain: bits of [`wants`].
    pub wants: u32,
    /// 1 where what is found stands for time, as in a trace: a thread from which the look itself has taken the CPU is then at work, and left to the
    /// sampler. 0 where it may be walked all the same, as by a snapshot.
    pub counts_time: u32,
    /// Number of the address space that the plan is about; in another one, nothing is walked.
    pub address_space: u64,
    /// Address of the thread's `PyThreadState`.
    pub thread_state: u64,
    /// Address of the loop that runs in this thread; tasks of other loops are left out. 0 accepts every loop that is not in `foreign_loops`.
    pub event_loop: u64,
    /// Address of the loop that runs in this thread, whatever loops are accepted: a task of it that executes is executed by this thread. 0
    /// where none does, or it is not one of asyncio.
    pub running_loop: u64,
    /// Loops of other threads, with `event_loop` 0; unused entries are 0.
    pub foreign_loops: [u64; MAX_FOREIGN_LOOPS],
    /// The registries to visit, `root_count` of them.
    pub roots: [Root; MAX_ROOTS],
    /// How many of `roots` there are.
    pub root_count: u32,
    /// Frames of a chain that are read, at most [`crate::limits::MAX_FRAMES`].
    pub max_frames: u32,
    /// How long one slice in the target's own context may take, in ns; 0 is without limit.
    pub context_budget_ns: u64,
    /// How long one slice by the task iterator may take, in ns; 0 is without limit.
    pub iterator_budget_ns: u64,
}

impl ThreadPlan {
    /// A plan of whatever loop is the only one of its thread: to walk `roots`, as many as there is room for, and all frames.
    pub fn of(roots: &[Root]) -> Self {
        Self {
            tgid: 0,
            tid: 0,
            layout: 0,
            sends_strangers: 0,
            slot: 0,
            loops_of_thread: 1,
            wants: 0,
            counts_time: 0,
            address_space: 0,
            thread_state: 0,
            event_loop: 0,
            running_loop: 0,
            foreign_loops: [0; MAX_FOREIGN_LOOPS],
            roots: core::array::from_fn(|index| roots.get(index).copied().unwrap_or_default()),
            root_count: roots.len().min(MAX_ROOTS) as u32,
            max_frames: MAX_FRAMES as u32,
            context_budget_ns: 0,
            iterator_budget_ns: 0,
        }
    }

    /// The loop that this is about.
    pub const fn loop_id(&self) -> LoopId {
        LoopId {
            tid: self.tid,
            slot: self.slot,
        }
    }

    /// The key of the plan's layout among those of all processes.
    #[inline(always)]
    pub const fn layout_key(&self) -> u64 {
        layout_key(self.tgid, self.layout)
    }
}
