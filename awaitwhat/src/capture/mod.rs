//! The only place that imports aya: loads the eBPF programs, points them at threads, and yields the bytes that they send.
//!
//! Lifetimes: a [`Capture`] is loaded once. A target's [`memory::LiveMemory`] lives as long as the target. A thread's
//! [`Walker`](Capture::walk) and sampler live while the thread runs an event loop.

mod error;
mod features;
mod iterator;
mod kernel_types;
mod memory;
mod plain;

use std::collections::HashMap as Table;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use awaitwhat_common::kernel::KernelOffsets;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::plan::{ThreadPlan, layout_key};
use awaitwhat_walker::Walk;
use aya::maps::{Array, HashMap, MapData, RingBuf};
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

/// The compiled programs: `cargo xtask build-ebpf` makes them, and `--check` proves it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/awaitwhat.bpf.o");

/// The bit of a walk's key that tells the sampler's walk from the iterator's.
const IN_CONTEXT: u64 = 1 << 32;

/// A thread that is walked.
struct Thread {
    iterator: TaskIterator,
    /// Its id in the initial PID namespace, by which the programs know it.
    kernel_id: u32,
}

/// The loaded programs.
pub struct Capture {
    ebpf: Ebpf,
    layouts: HashMap<MapData, u64, Plain<Layout>>,
    threads: HashMap<MapData, u32, Plain<ThreadPlan>>,
    walks: HashMap<MapData, u64, Plain<Walk>>,
    records: RingBuf<MapData>,
    pages: Rc<PageReader>,
    iterators: Table<u32, Thread>,
    samplers: Table<u32, PerfEventLinkId>,
}

impl Capture {
    /// Loads the programs. `ring_bytes` is the size of the ring buffer, a power of two and a multiple of the page size.
    ///
    /// # Errors
    /// When a privilege or a feature of the kernel is missing.
    /// `threads` is how many event-loop threads can be walked at the same time: 36 KB of the kernel's memory each.
    pub fn load(ring_bytes: u32, threads: u32) -> Result<Self, CaptureError> {
        // aya's loader reads the kernel's types for relocations, of which the object has none: they are given back before the next
        // step needs them, as they are the most memory that is ever used.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("RECORDS", ring_bytes)
            .map_max_entries("THREADS", threads)
            .map_max_entries("WALKS", 2 * threads)
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
            threads: take(&mut ebpf, "THREADS")?,
            walks: take(&mut ebpf, "WALKS")?,
            records: take(&mut ebpf, "RECORDS")?,
            ebpf,
            pages,
            iterators: Table::new(),
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

    /// Begins to walk a thread, or changes its plan. A new plan starts both of its walks anew.
    ///
    /// # Errors
    /// When the thread has ended, or there are too many.
    pub fn set_thread(&mut self, plan: &ThreadPlan) -> Result<(), CaptureError> {
        let kernel_id = match self.iterators.get(&plan.tid) {
            Some(thread) => thread.kernel_id,
            None => {
                let walker = program_fd(&mut self.ebpf, "walk_thread")?;
                let thread = Thread::introduce(&walker, plan.tid)?;
                self.iterators
                    .entry(plan.tid)
                    .insert_entry(thread)
                    .get()
                    .kernel_id
            }
        };
        for key in walk_keys(kernel_id) {
            self.walks
                .insert(key, Plain(Walk::NEW), 0)
                .map_err(CaptureError::map)?;
        }
        self.threads
            .insert(kernel_id, Plain(*plan), 0)
            .map_err(CaptureError::map)
    }

    /// Ends the walks of a thread.
    pub fn remove_thread(&mut self, tid: u32) {
        self.stop_sampling(tid);
        let Some(Thread { kernel_id, .. }) = self.iterators.remove(&tid) else {
            return;
        };
        // Errors only mean that the entry is not there.
        let _ = self.threads.remove(&kernel_id);
        for key in walk_keys(kernel_id) {
            let _ = self.walks.remove(&key);
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
            .map_err(|error| CaptureError::attach(&error))?;
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

    /// Walks one slice of a thread that rests; its records wait in the ring buffer then.
    ///
    /// # Errors
    /// When the thread has ended ([`CaptureError::Gone`]).
    pub fn walk(&self, tid: u32) -> Result<(), CaptureError> {
        let thread = self.iterators.get(&tid).ok_or(CaptureError::Gone)?;
        thread.iterator.run(&mut []).map(|_| ())
    }

    /// Hands over every record that waits in the ring buffer, in order.
    pub fn drain(&mut self, mut receive: impl FnMut(&[u8])) {
        while let Some(record) = self.records.next() {
            receive(&record);
        }
    }
}

impl Thread {
    /// Binds `walker` to the thread `tid`, and learns from the program, which knows no plan for it yet, what the kernel calls it.
    fn introduce(walker: &OwnedFd, tid: u32) -> Result<Self, CaptureError> {
        let iterator = TaskIterator::of_thread(walker, tid)?;
        let mut answer = [0; size_of::<u32>()];
        if iterator.run(&mut answer)? != answer.len() {
            // There was no thread to visit.
            return Err(CaptureError::Gone);
        }
        Ok(Self {
            iterator,
            kernel_id: u32::from_ne_bytes(answer),
        })
    }
}

/// Keys of a thread's two walks.
fn walk_keys(kernel_id: u32) -> [u64; 2] {
    let key = u64::from(kernel_id);
    [key, key | IN_CONTEXT]
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
    fd.as_fd().try_clone_to_owned().map_err(CaptureError::Descriptor)
}

/// Takes the map with this name out of the object.
fn take<M: TryFrom<aya::maps::Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, CaptureError> {
    let map = ebpf.take_map(name).ok_or(CaptureError::Object(name))?;
    M::try_from(map).map_err(|_| CaptureError::Object(name))
}
