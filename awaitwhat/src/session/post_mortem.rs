//! What waited for what when a process died, by its core file: the same walk and the same readers, over memory in which nothing moves any more.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;

use super::assemble::assemble;
use super::attach_error::AttachError;
use super::gathering::Gathering;
use super::observer::{Found, Observer, Seen};
use super::once::{MAX_LESSONS, manner};
use super::turns::Turns;
use super::{Error, Options, jobs, waits};
use crate::budget::{Budget, NAMES_BYTES};
use crate::capture::LiveMemory;
use crate::core_file::{CoreFile, Places};
use crate::reading::still;
use crate::snapshot::Snapshot;
use crate::target::{FindError, find_interpreter};

/// A snapshot of the process that a core file is of, and what is to be known of the file.
pub struct PostMortem {
    pub snapshot: Snapshot,
    /// The signal by which it ended; `None` where the file is a copy of a process that went on.
    pub signal: Option<u32>,
    pub lack: Lack,
}

/// What is not to be had of a process's memory any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    /// Bytes that the core file should have, and has not: it was cut.
    pub bytes: u64,
    /// Files that the process had parts of in memory, and that are not there, not to be read, or others by now.
    pub files: Vec<PathBuf>,
}

impl Lack {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if self.bytes > 0 {
            write!(
                formatter,
                "the core file was cut: {} bytes of memory are missing (`ulimit -c`, or a full disk, may be why)",
                self.bytes
            )?;
            between = "; ";
        }
        if let Some(first) = self.files.first() {
            write!(formatter, "{between}{}", first.display())?;
            if self.files.len() > 1 {
                write!(formatter, " and {} more files", self.files.len() - 1)?;
            }
            formatter.write_str(
                " cannot be read, or changed since: --exe names the program, --sysroot the folder that was its root",
            )?;
        }
        Ok(())
    }
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
    let snapshot = look_at(&core, options);
    let lack = Lack {
        bytes: core.missing_bytes,
        files: core.pages.missing_files(),
    };
    match snapshot {
        Ok(snapshot) => Ok(PostMortem {
            snapshot,
            signal: core.signal,
            lack,
        }),
        Err(source) if lack.is_nothing() => Err(failed(source.into())),
        Err(source) => Err(failed(Lacking { lack, source }.into())),
    }
}

/// What is missing may be why.
#[derive(Debug, thiserror::Error)]
#[error("{lack}")]
struct Lacking {
    lack: Lack,
    source: AttachError,
}

fn look_at(core: &CoreFile, options: &Options) -> Result<Snapshot, AttachError> {
    let memory = LiveMemory::of_core(Rc::clone(&core.pages), core.mappings.clone());
    let mut interpreter = find_interpreter(&memory, memory.mappings())?;
    interpreter.process_id = Some(core.pid);
    let loops = interpreter.event_loops(&memory, &|| core.threads.clone())?;
    let found = Found {
        memory,
        interpreter,
        loops,
    };
    let names = Budget::new(NAMES_BYTES);
    let mut observer = Observer::of_dead(core.command.clone(), found, manner(options), &names);
    let gathered = all_passes(&mut observer)?;
    // Nothing has run since: nothing is blocked by more than what is told, and nothing can be confirmed by waiting.
    let mut snapshot = assemble(&mut observer, gathered, core.written_at, true, Vec::new())?;
    snapshot.pid = core.pid;
    Ok(snapshot)
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
    let (records, status) = still::walk(&observer.memory, &layout, plan);
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
