//! What a task waits for, by its name: the lock, the queue, the timer behind the future that ends its chain.

use std::sync::Arc;

use crate::memory::Address;
use crate::snapshot::Stack;

/// Kinds of things that tasks wait for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    Timer,
    Lock,
    Semaphore,
    Event,
    Condition,
    Barrier,
    Queue,
    Stream,
    Socket,
    Connect,
    Dns,
    Listener,
    Process,
    Pipe,
    Signal,
    Thread,
    Gather,
    Group,
    Task,
    Pool,
    Query,
    Request,
    Channel,
    Future,
    #[default]
    Unknown,
}

impl ResourceKind {
    /// What it is called.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Lock => "lock",
            Self::Semaphore => "semaphore",
            Self::Event => "event",
            Self::Condition => "condition",
            Self::Barrier => "barrier",
            Self::Queue => "queue",
            Self::Stream => "stream",
            Self::Socket => "socket",
            Self::Connect => "connection",
            Self::Dns => "host name",
            Self::Listener => "listener",
            Self::Process => "process",
            Self::Pipe => "pipe",
            Self::Signal => "signal",
            Self::Thread => "thread",
            Self::Gather => "gather",
            Self::Group => "group",
            Self::Task => "task",
            Self::Pool => "pool",
            Self::Query => "query",
            Self::Request => "request",
            Self::Channel => "channel",
            Self::Future => "future",
            Self::Unknown => "unknown",
        }
    }
}

/// A thing that a task waits for. What is not known of it is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub kind: ResourceKind,
    /// What is waited for, in words: `lock`, `an item of queue`.
    pub words: Arc<str>,
    /// The object, and the name of its type.
    pub id: Option<Address>,
    pub type_name: Option<Arc<str>>,
    /// What the code calls it where the task waits.
    pub label: Option<Arc<str>>,
    /// What the task wants of it, where there are several things to want: `get`, `put`, `join` of a queue.
    pub operation: Option<Arc<str>>,
    /// Whether others have all there is of it.
    pub held: Option<bool>,
    pub holding: Holding,
    /// How many wait for it, and the place of this one in the line, from 1 on.
    pub waiters: Option<u64>,
    pub position: Option<u64>,
    /// How much is in it, how much fits, and how much is left for others to take.
    pub size: Option<i64>,
    pub limit: Option<i64>,
    pub free: Option<i64>,
    /// The futures of which it waits for one, some or all.
    pub children: Option<Children>,
    /// When the wait ends by itself, in ns from the moment of the snapshot on; negative where that moment is over.
    pub deadline_ns: Option<i64>,
    /// For how long it lasts by then, in ns.
    pub waited_ns: Option<i64>,
    pub fd: Option<i64>,
    /// Addresses of the near and the far end, as `host:port` or as a path.
    pub local: Option<Arc<str>>,
    pub peer: Option<Arc<str>>,
    /// Id and command of a child process.
    pub pid: Option<i64>,
    pub command: Option<Arc<str>>,
    /// The thread that works at it.
    pub thread: Option<Box<WorkerThread>>,
    /// What else is known, by name.
    pub detail: Vec<(Arc<str>, Detail)>,
}

/// Futures of which a task waits for one, some or all. What is not known of them is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// All of them, also those that have ended.
    pub count: Option<u64>,
    pub pending: Option<u64>,
    /// Those that have ended with a result, with an exception, and by a cancellation.
    pub done: Option<u64>,
    pub failed: Option<u64>,
    pub cancelled: Option<u64>,
}

/// A thread that works at what a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerThread {
    /// What the kernel calls it.
    pub tid: Option<u32>,
    /// What the program calls it.
    pub name: Option<Arc<str>>,
    pub state: Option<ThreadState>,
    /// The frames of what it works at, innermost first; empty where that is no Python code.
    pub stack: Stack,
    /// It went on while it was read: frames may be missing at the innermost end, and the innermost one has no line.
    pub is_moving: bool,
}

/// What the kernel says that a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadState {
    /// It runs, or could.
    Running,
    /// It waits, for a lock, a socket, a moment, ...
    Sleeping,
    /// It waits for a disk or the like, and nothing can interrupt it.
    Blocked,
    Stopped,
}

impl ThreadState {
    /// By the kernel's letter (proc_pid_stat(5)); `None` where that says something else.
    #[must_use]
    pub const fn of_letter(letter: char) -> Option<Self> {
        match letter {
            'R' => Some(Self::Running),
            'S' | 'I' => Some(Self::Sleeping),
            'D' => Some(Self::Blocked),
            'T' | 't' => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// Which tasks have what a task waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holding {
    /// It is nothing that tasks have, or they have not been asked for.
    #[default]
    Nobody,
    /// Somebody has it, but who does is not known.
    Unknown,
    /// These tasks have it, in ascending order of address; no others where `are_all`.
    Tasks { tasks: Vec<Address>, are_all: bool },
    /// No task is left that could let go of it: all of them wait for it, or for tasks that do.
    OnlyWaiters,
}

/// A fact that few resources have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Detail {
    Number(i64),
    Text(Arc<str>),
}

impl Resource {
    /// One of which nothing else is known.
    #[must_use]
    pub fn of_kind(kind: ResourceKind) -> Self {
        Self {
            kind,
            words: kind.words().into(),
            ..Self::default()
        }
    }
}
