//! The only place that imports aya: loads the eBPF programs, points them at threads, and yields the bytes that they send.
//!
//! Lifetimes: a [`Capture`] is loaded once. A target's [`memory::LiveMemory`] lives as long as the target. A thread's
//! [`Walker`](Capture::walk) and sampler live while the thread runs an event loop; the loops of one thread share them.

mod error;
mod features;
mod iterator;
mod kernel_types;
mod memory;
mod plain;
mod waiting;

use std::collections::{BTreeSet, HashMap as Table};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use awaitwhat_common::kernel::KernelOffsets;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::plan::{IN_CONTEXT, LoopId, ThreadPlan, layout_key, loop_key};
use awaitwhat_walker::Walk;
use aya::maps::{Array, HashMap, MapData, MapError, RingBuf};
use aya::programs::perf_event::{
    PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use aya::programs::{Iter, PerfEvent};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};

pub use error::CaptureError;
pub use features::{Feature, features};
use iterator::TaskIterator;
pub use memory::LiveMemory;
use memory::PageReader;
use plain::Plain;
pub use waiting::report_waits;

/// The compiled programs: `cargo xtask build-ebpf` makes them, and `--check` proves it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/awaitwhat.bpf.o");

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
    ebpf: Ebpf,
    layouts: HashMap<MapData, u64, Plain<Layout>>,
    plans: HashMap<MapData, u64, Plain<ThreadPlan>>,
    walks: HashMap<MapData, u64, Plain<Walk>>,
    /// Which of a thread's loops the iterator walks, and what was written there last.
    slot: Array<MapData, u32>,
    walked_slot: u32,
    records: RingBuf<MapData>,
    pages: Rc<PageReader>,
    threads: Table<u32, Thread>,
    samplers: Table<u32, PerfEventLinkId>,
}

impl Capture {
    /// Loads the programs. `ring_bytes` is the size of the ring buffer, a power of two and a multiple of the page size; `loops` is how
    /// many event loops can be walked at the same time: 40 KB of the kernel's memory each.
    ///
    /// # Errors
    /// When a privilege or a feature of the kernel is missing.
    pub fn load(ring_bytes: u32, loops: u32) -> Result<Self, CaptureError> {
        // aya's loader reads the kernel's types for relocations, of which the object has none: they are given back before the next
        // step needs them, as they are the most memory that is ever used.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("RECORDS", ring_bytes)
            .map_max_entries("PLANS", loops)
            .map_max_entries("WALKS", 2 * loops)
            .load(OBJECT)
            .map_err(|error| CaptureError::load("maps", &error))?;
        let offsets = load_iterators(&mut ebpf)?;

        // This map stays with `ebpf`: the sampler, which is loaded later, refers to it.
        let kernel = ebpf.map_mut("KERNEL").ok_or(CaptureError::Object("KERNEL"))?;
        let mut kernel: Array<&mut MapData, Plain<KernelOffsets>> =
            kernel.try_into().map_err(|_| CaptureError::Object("KERNEL"))?;
        kernel.set(0, Plain(offsets), 0).map_err(CaptureError::map)?;
        let request = take(&mut ebpf, "REQUEST")?;
        let pages = Rc::new(PageReader::new(request, program_fd(&mut ebpf, "read_memory")?));
        Ok(Self {
            layouts: take(&mut ebpf, "LAYOUTS")?,
            plans: take(&mut ebpf, "PLANS")?,
            walks: take(&mut ebpf, "WALKS")?,
            slot: take(&mut ebpf, "SLOT")?,
            walked_slot: 0,
            records: take(&mut ebpf, "RECORDS")?,
            ebpf,
            pages,
            threads: Table::new(),
            samplers: Table::new(),
        })
    }

    /// The memory of process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn memory(&mut self, pid: u32) -> Result<LiveMemory, CaptureError> {
        let mappings = program_fd(&mut self.ebpf, "list_mappings")?;
        LiveMemory::new(Rc::clone(&self.pages), &mappings, pid)
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
                let walker = program_fd(&mut self.ebpf, "walk_thread")?;
                let thread = Thread::introduce(&walker, plan)?;
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
        let sampler: &mut PerfEvent = program(&mut self.ebpf, "sample_thread")?;
        // Verifying it takes a good part of a command's time, and a snapshot of a program that rests does without it.
        if sampler.fd().is_err() {
            sampler
                .load()
                .map_err(|error| CaptureError::load("sample_thread", &error))?;
        }
        let link = sampler
            .attach(
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                PerfEventScope::OneProcess { pid: tid, cpu: None },
                SamplePolicy::Period(period),
                false,
            )
            .map_err(CaptureError::attach)?;
        self.samplers.insert(tid, link);
        Ok(())
    }

    /// Whether the thread is being sampled.
    pub fn is_sampling(&self, tid: u32) -> bool {
        self.samplers.contains_key(&tid)
    }

    /// Stops what [`Capture::start_sampling`] began.
    pub fn stop_sampling(&mut self, tid: u32) {
        if let Some(link) = self.samplers.remove(&tid)
            && let Ok(sampler) = program::<PerfEvent>(&mut self.ebpf, "sample_thread")
        {
            // An error only means that the link is gone already.
            let _ = sampler.detach(link);
        }
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

/// Loads the iterators, and returns the offsets inside the kernel's structures: both are found in the kernel's types.
fn load_iterators(ebpf: &mut Ebpf) -> Result<KernelOffsets, CaptureError> {
    // Read once: sysfs hands out a page at a time.
    let types = kernel_types::read()?;
    let offsets = kernel_types::offsets(&types)?;
    let btf =
        Btf::parse(&types, Endianness::default()).map_err(|error| CaptureError::Btf(error.to_string()))?;
    drop(types);
    for (name, kind) in [
        ("walk_thread", "task"),
        ("read_memory", "task"),
        ("list_mappings", "task_vma"),
    ] {
        let program: &mut Iter = program(ebpf, name)?;
        program
            .load(kind, &btf)
            .map_err(|error| CaptureError::load(name, &error))?;
    }
    Ok(offsets)
}

/// The program with this name.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, CaptureError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    let program = ebpf.program_mut(name).ok_or(CaptureError::Object(name))?;
    program.try_into().map_err(|_| CaptureError::Object(name))
}

fn program_fd(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, CaptureError> {
    use std::os::fd::AsFd as _;
    let program: &mut Iter = program(ebpf, name)?;
    let fd = program.fd().map_err(|error| CaptureError::load(name, &error))?;
    fd.as_fd()
        .try_clone_to_owned()
        .map_err(|error| CaptureError::from_io("duplicating a file descriptor", error))
}

/// Takes the map with this name out of the object.
fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, CaptureError> {
    let map = ebpf.take_map(name).ok_or(CaptureError::Object(name))?;
    M::try_from(map).map_err(|error| CaptureError::take(name, &error))
}
