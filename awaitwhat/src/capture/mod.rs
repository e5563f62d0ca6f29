//! The only place that imports aya: loads the eBPF programs, points them at threads, and yields the bytes that they send.
//!
//! Lifetimes: a [`Capture`] is loaded once. A target's [`memory::LiveMemory`] lives as long as the target. A thread's
//! [`Walker`](Capture::walk) and sampler live while the thread runs an event loop; the loops of one thread share them.

mod error;
mod features;
mod iterator;
mod kernel_types;
mod memory;
mod object;
mod plain;
mod program;
mod system_calls;
mod waiting;

use std::collections::{BTreeSet, HashMap as Table};
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use awaitwhat_common::kernel::KernelOffsets;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::plan::{IN_CONTEXT, LoopId, ThreadPlan, layout_key, loop_key};
use awaitwhat_walker::Walk;
use aya::maps::{Array, HashMap, MapData, RingBuf};

pub use error::CaptureError;
pub use features::{Feature, features};
use iterator::TaskIterator;
use kernel_types::Types;
pub use memory::LiveMemory;
use memory::PageReader;
use object::{Object, Program};
use plain::Plain;
use program::Kind;
use system_calls::cpu_clock_event;
pub use waiting::report_waits;

/// A thread that is walked.
struct Thread {
    iterator: TaskIterator,
    /// Its id in the initial PID namespace, by which the programs know it.
    kernel_id: u32,
    /// Its loops that are walked.
    slots: BTreeSet<u32>,
}

/// The loaded programs.
pub struct Capture {
    /// Holds the maps that only programs use, too: the sampler, which is loaded when it is first needed, refers to them.
    object: Arc<Object>,
    walker: Program,
    mappings: OwnedFd,
    /// A snapshot of a program that rests does without it.
    sampler: Program,
    layouts: HashMap<MapData, u64, Plain<Layout>>,
    plans: HashMap<MapData, u64, Plain<ThreadPlan>>,
    walks: HashMap<MapData, u64, Plain<Walk>>,
    /// Which of a thread's loops the iterator walks, and what was written there last.
    slot: Array<MapData, u32>,
    walked_slot: u32,
    records: RingBuf<MapData>,
    pages: Rc<PageReader>,
    threads: Table<u32, Thread>,
    /// Their perf events, by thread: they sample until they are closed.
    samplers: Table<u32, OwnedFd>,
}

impl Capture {
    /// Loads the programs. `ring_bytes` is the size of the ring buffer, a power of two and a multiple of the page size; `loops` is how
    /// many event loops can be walked at the same time: 40 KB of the kernel's memory each.
    ///
    /// # Errors
    /// When a privilege or a feature of the kernel is missing.
    pub fn load(ring_bytes: u32, loops: u32) -> Result<Self, CaptureError> {
        let types = kernel_types::read()?;
        let types = Types::parse(&types)?;
        let mut object = Object::new(&[("RECORDS", ring_bytes), ("PLANS", loops), ("WALKS", 2 * loops)])?;
        let mut kernel: Array<&mut MapData, Plain<KernelOffsets>> = object.map_mut("KERNEL")?;
        kernel
            .set(0, Plain(kernel_types::offsets(&types)?), 0)
            .map_err(CaptureError::map)?;
        let iterator = |objects, is_sleepable| {
            let function = types.iterator(objects)?;
            Ok::<_, CaptureError>(Kind::Iterator {
                function,
                is_sleepable,
            })
        };
        let over_tasks = iterator("task", true)?;
        let over_mappings = iterator("task_vma", false)?;
        let request = object.take_map("REQUEST")?;
        let layouts = object.take_map("LAYOUTS")?;
        let plans = object.take_map("PLANS")?;
        let walks = object.take_map("WALKS")?;
        let slot = object.take_map("SLOT")?;
        let records = object.take_map("RECORDS")?;
        let object = Arc::new(object);
        // The kernel verifies the largest program while the target is looked at.
        let walker = Program::begin(&object, "walk_thread", over_tasks);
        Ok(Self {
            pages: Rc::new(PageReader::new(request, object.load("read_memory", over_tasks)?)),
            mappings: object.load("list_mappings", over_mappings)?,
            walker,
            sampler: Program::later("sample_thread", Kind::PerfEvent),
            layouts,
            plans,
            walks,
            slot,
            walked_slot: 0,
            records,
            object,
            threads: Table::new(),
            samplers: Table::new(),
        })
    }

    /// Waits until every program is loaded that a snapshot needs, which [`Capture::set_plan`] does otherwise.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn finish_loading(&mut self) -> Result<(), CaptureError> {
        self.walker.load(&self.object).map(|_| ())
    }

    /// Begins to load what [`Capture::start_sampling`] needs, which is loaded then otherwise.
    pub fn expect_sampling(&mut self) {
        self.sampler = Program::begin(&self.object, "sample_thread", Kind::PerfEvent);
    }

    /// The memory of process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn memory(&self, pid: u32) -> Result<LiveMemory, CaptureError> {
        LiveMemory::new(Rc::clone(&self.pages), &self.mappings, pid)
    }

    /// Says how process `pid` is laid out: `number` is what plans refer to this layout by.
    ///
    /// # Errors
    /// When the kernel refuses: too many targets.
    pub fn set_layout(&mut self, pid: u32, number: u32, layout: &Layout) -> Result<(), CaptureError> {
        self.layouts
            .insert(layout_key(pid, number), Plain(*layout), 0)
            .map_err(CaptureError::map)
    }

    /// Forgets what [`Capture::set_layout`] said.
    pub fn remove_layout(&mut self, pid: u32, number: u32) {
        // An error only means that the entry is not there.
        let _ = self.layouts.remove(&layout_key(pid, number));
    }

    /// Begins to walk an event loop, or changes its plan. A new plan starts both of its walks anew.
    ///
    /// # Errors
    /// When the thread has ended, or there are too many.
    pub fn set_plan(&mut self, plan: &ThreadPlan) -> Result<(), CaptureError> {
        let kernel_id = match self.threads.get_mut(&plan.tid) {
            Some(thread) => {
                thread.slots.insert(plan.slot);
                thread.kernel_id
            }
            None => {
                let thread = Thread::introduce(self.walker.load(&self.object)?, plan)?;
                self.threads.entry(plan.tid).insert_entry(thread).get().kernel_id
            }
        };
        let key = loop_key(kernel_id, plan.slot);
        for key in [key, key | IN_CONTEXT] {
            self.walks
                .insert(key, Plain(Walk::NEW), 0)
                .map_err(CaptureError::map)?;
        }
        self.insert_plan(key, plan)
    }

    /// Says how many loops there are besides one that is walked already; its walks go on.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn update_plan(&mut self, plan: &ThreadPlan) -> Result<(), CaptureError> {
        let thread = self.threads.get(&plan.tid).ok_or(CaptureError::Gone)?;
        self.insert_plan(loop_key(thread.kernel_id, plan.slot), plan)
    }

    fn insert_plan(&mut self, key: u64, plan: &ThreadPlan) -> Result<(), CaptureError> {
        self.plans.insert(key, Plain(*plan), 0).map_err(CaptureError::map)
    }

    /// Ends the walks of an event loop; with the last one of its thread, the thread is looked at no longer.
    pub fn remove_plan(&mut self, event_loop: LoopId) {
        let LoopId { tid, slot } = event_loop;
        let Some(thread) = self.threads.get_mut(&tid) else {
            return;
        };
        thread.slots.remove(&slot);
        let is_last = thread.slots.is_empty();
        let key = loop_key(thread.kernel_id, slot);
        // Errors only mean that the entry is not there.
        let _ = self.plans.remove(&key);
        for key in [key, key | IN_CONTEXT] {
            let _ = self.walks.remove(&key);
        }
        if is_last {
            self.stop_sampling(tid);
            self.threads.remove(&tid);
        }
    }

    /// Samples a thread in its own context, once per `period` of its CPU time (ns), while it runs.
    ///
    /// # Errors
    /// When the thread has ended, or the kernel refuses perf events.
    pub fn start_sampling(&mut self, tid: u32, period: u64) -> Result<(), CaptureError> {
        self.stop_sampling(tid);
        let sampler = self.sampler.load(&self.object)?;
        let event = cpu_clock_event(tid, period, sampler.as_fd())
            .map_err(|error| CaptureError::attach("perf_event_open", error))?;
        self.samplers.insert(tid, event);
        Ok(())
    }

    /// Whether the thread is being sampled.
    pub fn is_sampling(&self, tid: u32) -> bool {
        self.samplers.contains_key(&tid)
    }

    /// Stops what [`Capture::start_sampling`] began.
    pub fn stop_sampling(&mut self, tid: u32) {
        self.samplers.remove(&tid);
    }

    /// Walks one slice of a loop whose thread rests; its records wait in the ring buffer then.
    ///
    /// # Errors
    /// When the thread has ended ([`CaptureError::Gone`]).
    pub fn walk(&mut self, event_loop: LoopId) -> Result<(), CaptureError> {
        let thread = self.threads.get(&event_loop.tid).ok_or(CaptureError::Gone)?;
        if event_loop.slot != self.walked_slot {
            self.slot.set(0, event_loop.slot, 0).map_err(CaptureError::map)?;
            self.walked_slot = event_loop.slot;
        }
        visit(&thread.iterator).map(|_| ())
    }

    /// Hands over every record that waits in the ring buffer, in order.
    pub fn drain(&mut self, mut receive: impl FnMut(&[u8])) {
        while let Some(record) = self.records.next() {
            receive(&record);
        }
    }
}

impl Thread {
    /// Binds `walker` to the thread of `plan`, and learns from the program, which knows no plan for it yet, what the kernel calls it.
    fn introduce(walker: &OwnedFd, plan: &ThreadPlan) -> Result<Self, CaptureError> {
        let iterator = TaskIterator::of_thread(walker, plan.tid)?;
        let kernel_id = visit(&iterator)?;
        Ok(Self {
            iterator,
            kernel_id,
            slots: BTreeSet::from([plan.slot]),
        })
    }
}

/// Has the program visit the thread that the iterator is bound to; returns what the kernel calls the thread.
fn visit(iterator: &TaskIterator) -> Result<u32, CaptureError> {
    let mut answer = [0; size_of::<u32>()];
    if iterator.run(&mut answer)? != answer.len() {
        // There was no thread to visit.
        return Err(CaptureError::Gone);
    }
    Ok(u32::from_ne_bytes(answer))
}
