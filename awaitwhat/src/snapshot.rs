//! The model of one moment: every task, its chain, and what it waits for.

use std::sync::Arc;

use crate::findings::Finding;
use crate::memory::Address;
use crate::origin::Origin;
use crate::resource::Resource;

/// What kind of function a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    Coroutine,
    AsyncGenerator,
    /// A generator, `types.coroutine` functions included.
    Generator,
    /// A plain function that a running task is in.
    Function,
    /// A coroutine without a Python frame, as Cython makes them: its line is not known.
    Opaque,
    /// A frame whose code object could not be read, or had changed since it was seen.
    Unknown,
    /// Stands for frames that are not shown, as its function says: those of a chain that was deeper than the bound, or of a greenlet.
    LeftOut,
}

/// One frame of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Qualified name where the version has one (3.11+), else the name.
    pub function: Arc<str>,
    /// `co_filename`, as the target has it.
    pub file: Arc<str>,
    /// Line in `file`, 0 where unknown.
    pub line: u32,
    pub kind: FrameKind,
    /// Whose code it is, and how much of `file` is shown.
    pub origin: Origin,
}

impl Frame {
    /// The file as it is shown to people: without the folder that it has in common with others. Not escaped.
    #[must_use]
    pub fn shown_file(&self) -> &str {
        self.origin.shown(&self.file)
    }

    /// What stands for frames that are left out; how many, where it is known.
    #[must_use]
    pub fn left_out(count: Option<u32>) -> Self {
        let count = count.map(|count| format!("{count} ")).unwrap_or_default();
        Self::missing(format!("… {count}frames left out …").into())
    }

    /// What stands for the frames of a greenlet that waits.
    #[must_use]
    pub fn of_greenlet() -> Self {
        Self::missing("… frames of a greenlet …".into())
    }

    fn missing(function: Arc<str>) -> Self {
        Self {
            function,
            file: "".into(),
            line: 0,
            kind: FrameKind::LeftOut,
            origin: Origin::default(),
        }
    }

    /// A frame that says what stands in place of a chain.
    pub(crate) fn in_place_of(what: &str) -> Self {
        Self {
            function: format!("<{what}>").into(),
            file: "".into(),
            line: 0,
            kind: FrameKind::Unknown,
            origin: Origin::default(),
        }
    }
}

/// Frames of a chain, **innermost first**. Equal chains share one allocation.
pub type Stack = Arc<[Frame]>;

/// What a task was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Suspended: it waits.
    Pending,
    /// It could go on, and waits for its loop: what it awaited is done, it gave up its turn by a plain `yield` (`sleep(0)`), or it has not
    /// begun (then its only frame is the one it begins with).
    Ready,
    /// On its thread's Python stack at that moment.
    Running,
}

/// The terminal awaitable at the end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitsOn {
    pub kind: WaitKind,
    pub id: Address,
    /// Name of the object's type (`Future`, `Task`, `_GatheringFuture`, ...).
    pub type_name: Arc<str>,
    /// How far the future has come, as it was read; `None` where the object is no future, or it was not read.
    pub state: Option<FutureState>,
    /// Tasks that this object waits for in turn: the task itself for [`WaitKind::Task`], the children of a gather, the members of a
    /// `TaskGroup`, the set of an `asyncio.wait`, ...
    pub tasks: Vec<Address>,
    /// What it stands for, where a rule knows the function that waits for it.
    pub resource: Option<Box<Resource>>,
}

/// How far a future has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FutureState {
    Pending,
    /// It has a result or an exception.
    Done,
    Cancelled,
}

impl FutureState {
    /// By the field `fut_state` of a future written in C (`_asynciomodule.c` of 3.7 to 3.15); `None` where that says something else.
    #[must_use]
    pub const fn of_number(state: u32) -> Option<Self> {
        match state {
            0 => Some(Self::Pending),
            1 => Some(Self::Cancelled),
            2 => Some(Self::Done),
            _ => None,
        }
    }
}

/// What kind of object ends a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    Future,
    Task,
    Gather,
    /// The waiter of a `TaskGroup`'s exit.
    TaskGroup,
    /// The waiter of an `asyncio.wait` (and what is built on it).
    Wait,
    /// An awaitable that is no future.
    Other,
    /// A nursery of trio whose opener is about to leave it: it waits for the nursery's children.
    Nursery,
    /// An object whose method has parked a task of trio: a lock, a channel, a socket, ...
    Parked,
}

/// What trio does with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrioState {
    /// It waits, and could be cancelled.
    Parked,
    /// It waits, and its wait was asked to end early (a cancellation, as a rule) but goes on.
    Cancelling,
    /// It is in line to run.
    Runnable,
    Running,
}

/// What only a task of trio has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrioTask {
    pub state: TrioState,
    /// The nursery that it is a child of; none for the first task of a run.
    pub parent_nursery: Option<Address>,
    /// The nurseries that it has open, outermost first. It need not wait for them.
    pub nurseries: Vec<Nursery>,
}

/// A nursery of trio, or a task group of asyncio's or anyio's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nursery {
    pub id: Address,
    /// Its children, in ascending order of address.
    pub tasks: Vec<Address>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Address of the task object.
    pub id: Address,
    /// `None` where the name could not be read.
    pub name: Option<Arc<str>>,
    /// Thread of the task's event loop, in the initial PID namespace.
    pub tid: Option<u32>,
    pub state: TaskState,
    /// Innermost first.
    pub stack: Stack,
    pub waits_on: Option<WaitsOn>,
    /// Tasks that wait for this one, in ascending order of address.
    pub awaited_by: Vec<Address>,
    /// The chain is deeper than the bound: frames are missing where [`FrameKind::LeftOut`] stands.
    pub truncated: bool,
    /// How many cancellations of the task were asked for and not taken back (`Task.cancelling()`). Before 3.11: 1 where one was asked for
    /// that the task will get in its next turn. 0 of a task of trio, whose state says it, and of one that is written in Python.
    pub cancellations: u32,
    /// The task groups that it has open without waiting for them, outermost first, with their children; of trio's see [`TrioTask`].
    pub open_groups: Vec<Nursery>,
    /// What only a task of trio has; none where it is asyncio's.
    pub trio: Option<Box<TrioTask>>,
}

/// What a snapshot or profile does not show, and why. Always shown to the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Tasks dropped because they changed while they were read.
    pub torn: u64,
    /// Tasks dropped because a read of their memory failed.
    pub faults: u64,
    /// Tasks dropped because they lead to memory whose reading could do harm.
    pub refused: u64,
    /// Tasks whose chain was deeper than the bound.
    pub truncated: u64,
    /// Records dropped because the ring buffer was full.
    pub ring_buffer_full: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Frames whose code object changed or could not be read.
    pub stale: u64,
    /// Passes that had to start anew because a registry changed underneath.
    pub restarts: u64,
    /// Tasks of a kind that cannot be read.
    pub opaque: u64,
    /// Registries of tasks, or event loops, that could not be visited to their end.
    pub incomplete: u64,
    /// Chains that were added up as others, as there was no room for all of them; one counts each time that it is met while there is none.
    pub folded: u64,
    /// Tasks that wait for others, of which not all are named: they could not be told of one turn of the loop, or were more than are
    /// looked at; or of which it could not be read what they wait for.
    pub edges: u64,
    /// Samples that could not tell what ran in a thread.
    pub running: u64,
    /// Tasks that are shown without a name, as it could not be read in the turn that their chain was read in.
    pub names: u64,
    /// Tasks whose names are shown in part, as there was no room for more.
    pub short_names: u64,
    /// Tasks of trio of which not all nurseries are shown: they had too many, or these could not be read.
    pub nurseries: u64,
    /// Tasks of which it is not told what the future stands for that they wait for, or which of the things they have that others wait for: that
    /// changed while it was read, or could not be read.
    pub waits: u64,
}

impl Losses {
    /// How many kinds there are.
    pub const KINDS: usize = 17;

    /// Each of them, in the order of the fields.
    pub fn each_mut(&mut self) -> [&mut u64; Self::KINDS] {
        let Self {
            torn,
            faults,
            refused,
            truncated,
            ring_buffer_full,
            undecodable,
            stale,
            restarts,
            opaque,
            incomplete,
            folded,
            edges,
            running,
            names,
            short_names,
            nurseries,
            waits,
        } = self;
        [
            torn,
            faults,
            refused,
            truncated,
            ring_buffer_full,
            undecodable,
            stale,
            restarts,
            opaque,
            incomplete,
            folded,
            edges,
            running,
            names,
            short_names,
            nurseries,
            waits,
        ]
    }

    /// All of them, in that order.
    #[must_use]
    pub fn counts(&self) -> [u64; Self::KINDS] {
        self.clone().each_mut().map(|count| *count)
    }

    /// What was lost since it was `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Adds those of another target.
    pub fn add(&mut self, other: &Self) {
        *self = self.with(other, u64::saturating_add);
    }

    fn with(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let mut joined = self.clone();
        for (count, other) in joined.each_mut().into_iter().zip(other.counts()) {
            *count = join(*count, other);
        }
        joined
    }
}

/// What is known of an event loop just before its tasks are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopState {
    /// Thread that runs it, in the initial PID namespace.
    pub tid: u32,
    /// For how long its turn had lasted, in seconds: 0 where it polled, `None` where it does not tell. Of a loop that did not turn meanwhile, as it was seen last.
    pub turn_seconds: Option<f64>,
    /// How much CPU time the thread has had since it began, in seconds; `None` where the kernel does not count.
    pub cpu_seconds: Option<f64>,
}

/// Every task of a process at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Name of its main thread, by default that of its program's file.
    pub command: String,
    /// Version, for example `3.14.10`.
    pub python: String,
    pub captured_at: jiff::Timestamp,
    /// How long it took to read the tasks, in seconds: their states are this far apart at most.
    pub span_seconds: f64,
    /// In ascending order of thread, then in the order of the registry.
    pub tasks: Vec<Task>,
    /// The event loops that threads run, in the order in which they were found.
    pub loops: Vec<LoopState>,
    /// Where the main thread is while there are tasks and no thread runs an event loop, as far as it could be read: its innermost frames,
    /// innermost first. Empty where a loop runs.
    pub main_thread: Vec<Frame>,
    /// What is to be known besides.
    pub findings: Vec<Finding>,
    pub losses: Losses,
}
