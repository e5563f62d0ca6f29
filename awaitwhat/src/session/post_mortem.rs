//! What waited for what when a process died, by its core file: the same walk and the same readers, over memory in which nothing moves any more.

use std::path::Path;
use std::time::Duration;

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;
use awaitwhat_walker::{Flow, Host, Record, Walk};

use super::assemble::assemble;
use super::attach_error::AttachError;
use super::gathering::Gathering;
use super::observer::{Manner, Observer, Seen};
use super::turns::Turns;
use super::{Error, Options, jobs, waits};
use crate::budget::{Budget, NAMES_BYTES};
use crate::capture::LiveMemory;
use crate::core_file::{CoreFile, Places};
use crate::memory::{Address, Memory};
use crate::snapshot::Snapshot;
use crate::target::{FindError, find_interpreter};

/// Steps of the walk over the tasks of one loop. A walk takes some hundreds of steps for a task.
const MAX_STEPS: u64 = 1 << 26;
/// Times that the walk begins anew, as it has met types of objects that had to be learnt about.
const MAX_LESSONS: u32 = 8;

/// A snapshot of the process that a core file is of, and what is to be known of the file.
pub struct PostMortem {
    pub snapshot: Snapshot,
    /// The signal by which it ended; `None` where the file is a copy of a process that went on.
    pub signal: Option<u32>,
    /// Bytes of its memory that the file should have, and has not.
    pub missing_bytes: u64,
}

/// Reads every task of the process that the core file at `path` is of.
///
/// # Errors
/// When the file is none, or what it holds is no Python that is known.
pub fn post_mortem(path: &Path, places: &Places, options: &Options) -> Result<PostMortem, Error> {
    let failed = |source| Error::Core {
        path: path.to_owned(),
        source,
    };
    let core = CoreFile::open(path, places).map_err(|error| failed(error.into()))?;
    let missing_bytes = core.missing_bytes;
    look_at(core, options).map_err(|source| {
        failed(match missing_bytes {
            0 => source.into(),
            _ => Cut {
                missing_bytes,
                source,
            }
            .into(),
        })
    })
}

/// What is missing may be why.
#[derive(Debug, thiserror::Error)]
#[error("it was cut: {missing_bytes} bytes of memory are missing (`ulimit -c`, or a full disk, may be why)")]
struct Cut {
    missing_bytes: u64,
    source: AttachError,
}

fn look_at(core: CoreFile, options: &Options) -> Result<PostMortem, AttachError> {
    let (pid, written_at) = (core.pid, core.written_at);
    let (signal, missing_bytes) = (core.signal, core.missing_bytes);
    let (threads, command) = (core.threads.clone(), core.command.clone());
    let (pages, mappings) = core.into_pages();
    let memory = LiveMemory::of_core(pages, mappings);
    let mut interpreter = find_interpreter(&memory, memory.mappings())?;
    interpreter.process_id = Some(pid);
    let loops = interpreter.event_loops(&memory, &|| threads.clone())?;
    let manner = Manner {
        reading: options.clone(),
        iterator_budget: Duration::ZERO,
        is_only_running: false,
    };
    let names = Budget::new(NAMES_BYTES);
    let mut observer = Observer::of_dead(command, memory, interpreter, loops, manner, &names);
    let gathered = all_passes(&mut observer)?;
    // Nothing has run since: nothing is blocked by more than what is told, and nothing can be confirmed by waiting.
    let mut snapshot = assemble(&mut observer, gathered, written_at, true, Vec::new())?;
    snapshot.pid = pid;
    Ok(PostMortem {
        snapshot,
        signal,
        missing_bytes,
    })
}

fn all_passes(observer: &mut Observer) -> Result<Vec<Gathering>, AttachError> {
    let mut lessons = 0;
    loop {
        let losses = observer.losses.clone();
        let plans = observer.loops.plans.clone();
        let gathered: Result<Vec<Gathering>, AttachError> =
            plans.iter().map(|plan| one_pass(observer, plan)).collect();
        lessons += 1;
        if lessons > MAX_LESSONS || !observer.has_learnt() {
            return gathered;
        }
        // What could not be read for want of knowledge is read now.
        observer.losses = losses;
    }
}

/// Walks the tasks of one loop, and reads what they wait for.
fn one_pass(observer: &mut Observer, plan: &ThreadPlan) -> Result<Gathering, AttachError> {
    let mut pass = Gathering::default();
    let layout = observer.interpreter.layouts().find(|it| it.0 == plan.layout);
    let Some(layout) = layout.map(|(_, layout)| *layout) else {
        return Ok(pass);
    };
    let (records, status) = walk(&observer.memory, &layout, plan);
    for record in &records {
        match observer.take(record, &|_| true).map_err(FindError::from)? {
            Some(Seen::Task(task, chain)) => pass.visit(&task, chain),
            Some(Seen::Opaque(task)) => pass.visit_opaque(task.address),
            Some(Seen::Unread(_) | Seen::LostTick | Seen::Slice(_)) | None => {}
        }
    }
    pass.is_complete = status == Some(SliceStatus::PassComplete);
    observer.losses.incomplete += u64::from(!pass.is_complete);
    waits::read(observer, &mut pass, &Turns::new(observer.pid)).map_err(FindError::from)?;
    jobs::find(observer, &mut pass).map_err(FindError::from)?;
    jobs::tell(observer, &mut pass).map_err(FindError::from)?;
    Ok(pass)
}

/// One pass over all tasks: its records, and how it ended; `None` where it did not.
fn walk(memory: &LiveMemory, layout: &Layout, plan: &ThreadPlan) -> (Vec<Vec<u8>>, Option<SliceStatus>) {
    let mut host = Dead {
        memory,
        records: Vec::new(),
    };
    let mut walk = Walk::NEW;
    walk.begin_slice(layout, plan, false, 0, 0, 0);
    for _ in 0..MAX_STEPS {
        if let Flow::Done(status) = walk.step(layout, plan, &mut host) {
            return (host.records, Some(status));
        }
    }
    (host.records, None)
}

/// Lets the walker read memory in which nothing moves.
struct Dead<'a> {
    memory: &'a LiveMemory,
    records: Vec<Vec<u8>>,
}

impl Host for Dead<'_> {
    fn read_window(&mut self, address: u64, window: &mut [u64; WINDOW_WORDS]) -> bool {
        let mut bytes = [0; WINDOW_WORDS * 8];
        // As much as there is before the memory ends.
        let is_readable = (1..=WINDOW_WORDS).rev().any(|words| {
            let (head, tail) = bytes.split_at_mut(words * 8);
            tail.fill(0);
            self.memory.read(Address(address), head).is_ok()
        });
        let (words, _) = bytes.as_chunks::<8>();
        for (word, bytes) in window.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        is_readable
    }

    fn read_word(&mut self, address: u64) -> u64 {
        self.memory.read_u64(Address(address)).unwrap_or(0)
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        false
    }

    fn emit(&mut self, record: &Record) -> bool {
        self.records
            .push(record.words().flat_map(u64::to_le_bytes).collect());
        true
    }
}
