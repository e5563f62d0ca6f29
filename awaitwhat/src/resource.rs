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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// What it consists of, where whoever has one of these has a part of it.
    pub parts: Arc<[Address]>,
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
    /// The socket that the descriptor stands for, by its inode, where only the kernel knows its addresses.
    pub socket: Option<u64>,
    /// What is asked for, of whom: the method and the URL, without user information and query.
    pub method: Option<Arc<str>>,
    pub url: Option<Arc<str>>,
    /// Addresses of the near and the far end, as `host:port` or as a path.
    pub local: Option<Arc<str>>,
    pub peer: Option<Arc<str>>,
    /// Id and command of a child process.
    pub pid: Option<i64>,
    pub command: Option<Arc<str>>,
    /// What a server was asked, without what is somebody's data unless that was asked for: then its arguments, too.
    pub query: Option<Arc<str>>,
    pub arguments: Option<Arc<str>>,
    /// The thread that works at it.
    pub thread: Option<Box<WorkerThread>>,
    /// What else is known, by name.
    pub detail: Vec<(Arc<str>, Detail)>,
}

/// Futures of which a task waits for one, some or all. What is not known of them is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
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

    /// What tells waits of a longer time apart: what is waited for, what the code calls it, and where it leads. What changes with each wait is
    /// left out: parts of a URL's path with digits in them, and of an address the port that the system has chosen. Of a client's connection to this program,
    /// the program's own end is kept.
    #[must_use]
    pub fn in_common(self) -> Self {
        let (local, peer) = match (self.local, self.peer) {
            // The URL says it.
            _ if self.url.is_some() => (None, None),
            (local, Some(peer)) if is_chosen_port(&peer) => match local {
                Some(local) if !is_chosen_port(&local) => (Some(local), None),
                _ => (None, Some(without_port(&peer))),
            },
            (_, Some(peer)) => (None, Some(peer)),
            (local, None) => (local.filter(|local| !is_chosen_port(local)), None),
        };
        Self {
            kind: self.kind,
            words: self.words,
            type_name: self.type_name,
            label: self.label,
            operation: self.operation,
            method: self.method,
            url: self.url.map(|url| without_ids(&url)),
            local,
            peer,
            command: self.command,
            query: self.query,
            ..Self::default()
        }
    }

    /// What is asked for, of whom: `GET http://localhost/`; `None` where it is no request.
    #[must_use]
    pub fn request(&self) -> Option<String> {
        let url = self.url.as_ref()?;
        Some(match &self.method {
            Some(method) => format!("{method} {url}"),
            None => url.to_string(),
        })
    }

    /// What the code calls it, unless the words for it end in that: `lock lock` says no more than `lock`.
    #[must_use]
    pub fn own_label(&self) -> Option<&str> {
        let last = self.words.rsplit(' ').next();
        self.label.as_deref().filter(|label| Some(*label) != last)
    }

    /// What it is called in a profile: `lock self.pool_lock`, `data from stream reader 10.0.0.7:5432`, `query select 1 10.0.0.7:5432`. Text of the
    /// target is as it is.
    #[must_use]
    pub fn called(&self) -> String {
        let request = self.request();
        let label = self.own_label().filter(|_| request.is_none());
        let mut text = self.words.to_string();
        let (query, peer) = (self.query.as_deref(), self.peer.as_deref());
        for part in [request.as_deref(), label, query, peer].into_iter().flatten() {
            text.push(' ');
            text.push_str(part);
        }
        if let Some(local) = &self.local {
            text += &format!(" to {local}");
        }
        if let Some(command) = &self.command {
            text += &format!(" ({command})");
        }
        text
    }
}

/// First port that Linux chooses for those who do not say which (`ip_local_port_range` of Documentation/networking/ip-sysctl.rst).
const FIRST_CHOSEN_PORT: u16 = 32_768;

fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':')?;
    port.parse().ok()
}

fn is_chosen_port(address: &str) -> bool {
    port_of(address).is_some_and(|port| port >= FIRST_CHOSEN_PORT)
}

/// A URL with `*` for those parts of its path that say which of many things it is about: they have digits in them.
fn without_ids(url: &str) -> Arc<str> {
    let is_id = |part: &str| part.contains(|character: char| character.is_ascii_digit());
    let path = url.find("://").map_or(0, |scheme| scheme + "://".len());
    let mut parts = url[path..].split('/');
    // The first one is the host.
    let mut shown = format!("{}{}", &url[..path], parts.next().unwrap_or_default());
    for part in parts {
        shown.push('/');
        shown.push_str(if is_id(part) { "*" } else { part });
    }
    shown.into()
}

fn without_port(address: &str) -> Arc<str> {
    let host = port_of(address).and_then(|_| address.rsplit_once(':'));
    host.map_or(address, |(host, _)| host).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(local: Option<&str>, peer: Option<&str>) -> String {
        let stream = Resource {
            id: Some(Address(0x10)),
            label: Some("reader".into()),
            local: local.map(Arc::from),
            peer: peer.map(Arc::from),
            fd: Some(7),
            size: Some(3),
            ..Resource::of_kind(ResourceKind::Stream)
        };
        let common = stream.in_common();
        assert_eq!((common.id, common.fd, common.size), (None, None, None));
        common.called()
    }

    #[test]
    fn an_address_that_the_system_has_chosen_tells_nothing_apart() {
        let to_database = (Some("10.0.0.1:45001"), Some("10.0.0.7:5432"));
        assert_eq!(
            stream(to_database.0, to_database.1),
            "stream reader 10.0.0.7:5432"
        );
        let of_client = (Some("10.0.0.1:8080"), Some("10.0.0.9:45002"));
        assert_eq!(stream(of_client.0, of_client.1), "stream reader to 10.0.0.1:8080");
        let chosen = (Some("[::1]:45003"), Some("[::1]:45004"));
        assert_eq!(stream(chosen.0, chosen.1), "stream reader [::1]");
        assert_eq!(stream(None, Some("/run/app.sock")), "stream reader /run/app.sock");
        assert_eq!(stream(Some("0.0.0.0:80"), None), "stream reader to 0.0.0.0:80");
        assert_eq!(stream(None, None), "stream reader");
    }

    #[test]
    fn what_is_asked_for_tells_waits_apart() {
        let kept = Resource {
            peer: Some("10.0.0.7:5432".into()),
            parts: [Address(0x20)].into(),
            arguments: Some("'x'".into()),
            ..Resource::default()
        };
        let request = Resource {
            method: Some("GET".into()),
            url: Some("http://host:80/path".into()),
            words: "response to".into(),
            label: Some("session".into()),
            ..kept.clone()
        };
        let query = Resource {
            query: Some("select ?".into()),
            kind: ResourceKind::Query,
            words: "query".into(),
            ..kept
        };
        let common = [request, query].map(Resource::in_common);
        assert!(
            common
                .iter()
                .all(|it| it.parts.is_empty() && it.arguments.is_none())
        );
        let called = common.map(|it| it.called());
        assert_eq!(
            called,
            [
                "response to GET http://host:80/path",
                "query select ? 10.0.0.7:5432"
            ]
        );
    }

    #[test]
    fn what_tells_one_of_many_things_is_no_part_of_a_url() {
        let shown = |url| without_ids(url).to_string();
        assert_eq!(
            shown("http://10.0.0.7:80/v/items/17/a4-f/parts"),
            "http://10.0.0.7:80/v/items/*/*/parts"
        );
        assert_eq!(shown("http://host"), "http://host");
        assert_eq!(shown("/items/17"), "/items/*");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn a_name_that_says_nothing_is_left_out() {
        let called = |label: &str| {
            let queue = Resource {
                words: "an item of queue".into(),
                label: Some(label.into()),
                ..Resource::of_kind(ResourceKind::Queue)
            };
            queue.called()
        };
        assert_eq!(called("queue"), "an item of queue");
        assert_eq!(called("self.queue"), "an item of queue self.queue");
    }
}
