//! Small models for tests of what is made from them.

use std::sync::Arc;

use awaitwhat_common::event::{TASK_HEADER_WORDS, kind};
use awaitwhat_common::plan::LoopId;

use crate::decode::{Origin, Record, TaskRecord, decode};
use crate::memory::Address;
use crate::origin::Places;
use crate::profile::{Chain, ChainState, PointWaits, Process, Profile};
use crate::resource::{Resource, ResourceKind};
use crate::snapshot::{
    Frame, FrameKind, Losses, Nursery, Snapshot, Task, TaskState, TrioState, TrioTask, WaitKind, WaitsOn,
};

/// Names that try to act on a terminal, on a line-based format and on a reader.
pub const HOSTILE: &str = "a;b\n\x1b[31mred\x07\u{202e}evil\u{9b}<&\"> 7";

/// A record of a task that waits, with these words for frames: code object and instruction of each, innermost first.
pub fn with_task_record<T>(frames: &[u64], take: impl FnOnce(&TaskRecord<'_>) -> T) -> T {
    let mut words = vec![0; TASK_HEADER_WORDS];
    words[0] = u64::from(kind::TASK) | (frames.len() as u64 / 2) << 32;
    words.extend(frames);
    let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    match decode(&bytes) {
        Ok(Record::Task(record)) => take(&record),
        other => panic!("no task record: {other:?}"),
    }
}

pub fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: function.into(),
        file: file.into(),
        line,
        kind: FrameKind::Coroutine,
        origin: Places::default().of(file, |_| None),
    }
}

/// A task that waits on a plain future. `frames` innermost first.
pub fn task(id: u64, name: &str, frames: &[Frame]) -> Task {
    Task {
        id: Address(id),
        name: Some(name.into()),
        tid: Some(100),
        state: TaskState::Pending,
        stack: frames.into(),
        waits_on: Some(waits_on(WaitKind::Future, "Future", &[])),
        awaited_by: Vec::new(),
        truncated: false,
        cancellations: 0,
        open_groups: Vec::new(),
        trio: None,
    }
}

pub fn waits_on(kind: WaitKind, type_name: &str, tasks: &[u64]) -> WaitsOn {
    let tasks = tasks.iter().copied().map(Address).collect();
    WaitsOn {
        kind,
        id: Address(0xf00),
        type_name: type_name.into(),
        state: None,
        tasks,
        resource: None,
    }
}

impl Task {
    /// The same task, waiting for a gather of `tasks`; for a plain future where there are none.
    pub fn waiting_for(self, tasks: &[u64]) -> Self {
        let (kind, type_name) = if tasks.is_empty() {
            (WaitKind::Future, "Future")
        } else {
            (WaitKind::Gather, "_GatheringFuture")
        };
        self.waiting(kind, type_name, tasks)
    }

    /// The same task as one of trio, a child of `parent`, with `nurseries` of its own: address and children of each. It waits for the
    /// last one where `is_leaving`, and else in a function of trio.
    pub fn of_trio(mut self, parent: Option<u64>, nurseries: &[(u64, &[u64])], is_leaving: bool) -> Self {
        let addresses = |tasks: &[u64]| tasks.iter().copied().map(Address).collect::<Vec<_>>();
        self.trio = Some(Box::new(TrioTask {
            state: TrioState::Parked,
            parent_nursery: parent.map(Address),
            nurseries: nurseries
                .iter()
                .map(|(id, tasks)| Nursery {
                    id: Address(*id),
                    tasks: addresses(tasks),
                })
                .collect(),
        }));
        let waited_for = nurseries.last().filter(|_| is_leaving);
        self.waits_on = waited_for.map(|(id, tasks)| WaitsOn {
            id: Address(*id),
            ..waits_on(WaitKind::Nursery, "Nursery", tasks)
        });
        self
    }

    pub fn waiting(mut self, kind: WaitKind, type_name: &str, tasks: &[u64]) -> Self {
        self.waits_on = Some(waits_on(kind, type_name, tasks));
        self
    }
}

pub fn snapshot(mut tasks: Vec<Task>) -> Snapshot {
    crate::graph::link(&mut tasks);
    Snapshot {
        pid: 4711,
        command: "python3".to_owned(),
        python: "3.14.10".to_owned(),
        captured_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        span_seconds: 0.000_25,
        tasks,
        loops: Vec::new(),
        main_thread: Vec::new(),
        findings: Vec::new(),
        losses: Losses::default(),
    }
}

/// A chain that ends in `terminal`. `frames` innermost first.
pub fn chain(frames: &[Frame], terminal: Option<&str>, task_seconds: f64) -> Chain {
    Chain {
        stack: frames.into(),
        state: ChainState::Waiting,
        terminal: terminal.map(Arc::from),
        resource: None,
        answers: 0.0,
        task_seconds,
    }
}

/// A chain whose tasks were found to wait for something of this kind, which the code calls `label`.
pub fn named(kind: ResourceKind, label: &str, chain: Chain) -> Chain {
    let resource = Resource {
        label: Some(label.into()),
        ..Resource::of_kind(kind)
    };
    Chain {
        resource: Some(Arc::new(resource)),
        answers: 1.0,
        ..chain
    }
}

pub fn ready(frames: &[Frame], terminal: Option<&str>, task_seconds: f64) -> Chain {
    Chain {
        state: ChainState::Ready,
        ..chain(frames, terminal, task_seconds)
    }
}

pub fn running(frames: &[Frame], task_seconds: f64) -> Chain {
    Chain {
        state: ChainState::Running,
        ..chain(frames, None, task_seconds)
    }
}

pub fn profile(chains: Vec<Chain>) -> Profile {
    Profile {
        processes: vec![Process {
            pid: 4711,
            command: "python3".to_owned(),
            python: "3.14.10".to_owned(),
        }],
        started_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        duration_seconds: 10.0,
        samples: 990,
        task_visits: 9900,
        busy_seconds: 0.5,
        threads: 1,
        chains,
        waits: Vec::new(),
        holds: Vec::new(),
        losses: Losses::default(),
        target_exited: false,
        timeline: None,
    }
}

/// A process whose names could deceive, and of which some visits were lost.
pub fn hostile_profile() -> Profile {
    let mut hostile = profile(vec![chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0)]);
    hostile.processes[0].command = HOSTILE.to_owned();
    hostile.losses.torn = 3;
    hostile
}

/// A little server: a root with a gather of two equal workers, a shared task, and one that runs.
pub fn small_service() -> Snapshot {
    let sleep = || frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704);
    let worker = |id, name| task(id, name, &[sleep(), frame("Pool.worker", "/srv/app.py", 20)]);
    let main = task(0x10, "Task-1", &[frame("main", "/srv/app.py", 61)]).waiting_for(&[0x20, 0x30, 0x40]);
    let mut busy = task(
        0x40,
        "busy",
        &[frame("crunch", "/srv/app.py", 7), frame("job", "/srv/app.py", 9)],
    );
    busy.state = TaskState::Running;
    busy.waits_on = None;
    snapshot(vec![
        main,
        worker(0x20, "worker-0"),
        worker(0x30, "worker-1"),
        busy,
    ])
}

/// What a trace of such a server would show.
pub fn small_profile() -> Profile {
    let sleep = frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704);
    let acquire = frame("Lock.acquire", "/usr/lib/python3.14/asyncio/locks.py", 113);
    let worker = |line| frame("Pool.worker", "/srv/app.py", line);
    let main = frame("main", "/srv/app.py", 61);
    let mut profile = profile(vec![
        chain(&[sleep, worker(20)], Some("Future"), 60.0),
        chain(&[acquire, worker(22)], Some("Future"), 29.0),
        chain(&[main], Some("_GatheringFuture"), 10.0),
        chain(&[frame("rare", "/srv/app.py", 99)], Some("Future"), 0.25),
        running(&[frame("crunch", "/srv/app.py", 7), worker(25)], 0.5),
    ]);
    let sleeps: Vec<_> = (0..100).map(|wait| (590 + wait / 10, 610 + wait / 10)).collect();
    profile.waits = vec![
        PointWaits::of(&profile.chains[0], &sleeps, &[300, 120]),
        PointWaits::of(&profile.chains[1], &[(0, 20), (0, 18), (28_000, 28_020)], &[]),
        PointWaits::of(&profile.chains[2], &[], &[10_000]),
    ];
    profile
}

/// The origin of a record of the first pass over the only loop of thread 7.
pub fn origin(at_ms: u64) -> Origin {
    Origin {
        event_loop: LoopId { tid: 7, slot: 0 },
        pid: 7,
        in_context: false,
        time: at_ms * 1_000_000,
        runtime: 0,
        pass: 1,
    }
}
