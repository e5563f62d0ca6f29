//! Snapshots come back as they were, whatever is in them.

use std::sync::Arc;

use fastrand::Rng;

use super::super::tables::{FRAME_KINDS, RANKS};
use super::{
    FUTURE_STATES, MAX_WEIGHT, Moment, Pieces, TASK_STATES, THREAD_STATES, TRIO_STATES, WAIT_KINDS, Weight,
    decode, encode, pack,
};
use crate::findings::{
    BlockedLoop, Deadlock, Deadlocked, Finding, Holder, HolderKind, Mentioned, MentionedTask, NeverWoken,
    SlowWait, UsedUp,
};
use crate::memory::Address;
use crate::origin::Origin;
use crate::recording::bytes::Bytes;
use crate::resource::{Children, Detail, Holding, Resource, ResourceKind, WorkerThread};
use crate::snapshot::Snapshot;
use crate::snapshot::{Frame, LoopState, Losses, Nursery, Stack, Task, TrioTask, WaitsOn};
use crate::survey::Survey;
use crate::survey::{Refusals, Refused};
use crate::testing::{HOSTILE, small_service};

/// Makes values in which all fields are filled, or not, by chance.
struct Any(Rng);

impl Any {
    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.bool().then(|| make(self))
    }

    fn few<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(0..4)).map(|_| make(self)).collect()
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.usize(0..values.len())]
    }

    fn text(&mut self) -> Arc<str> {
        self.of(&["", "worker", "Future", HOSTILE, "/srv/app.py"]).into()
    }

    fn id(&mut self) -> Address {
        Address(
            self.of(&[0, 0x7f00_0000_0000, u64::MAX])
                .wrapping_add(self.0.u64(0..4096)),
        )
    }

    fn seconds(&mut self) -> f64 {
        self.0.f64() * self.of(&[0.0, 1.0, 1e9])
    }

    fn frame(&mut self) -> Frame {
        Frame {
            function: self.text(),
            file: self.text(),
            line: self.0.u32(..),
            kind: self.of(&FRAME_KINDS),
            origin: Origin::of_parts(self.of(&RANKS), self.0.u16(..)),
        }
    }

    fn stack(&mut self) -> Stack {
        self.few(Self::frame).into()
    }

    fn nursery(&mut self) -> Nursery {
        Nursery {
            id: self.id(),
            tasks: self.few(Self::id),
        }
    }

    fn thread(&mut self) -> WorkerThread {
        WorkerThread {
            tid: self.some(|it| it.0.u32(..)),
            name: self.some(Self::text),
            state: self.some(|it| it.of(&THREAD_STATES)),
            stack: self.stack(),
            is_moving: self.0.bool(),
        }
    }

    fn resource(&mut self) -> Box<Resource> {
        let amount = |it: &mut Self| it.0.i64(..);
        let count = |it: &mut Self| it.0.u64(..);
        Box::new(Resource {
            kind: self.of(&[ResourceKind::Timer, ResourceKind::Pool, ResourceKind::Unknown]),
            words: self.text(),
            id: self.some(Self::id),
            type_name: self.some(Self::text),
            label: self.some(Self::text),
            operation: self.some(Self::text),
            held: self.some(|it| it.0.bool()),
            holding: match self.0.u8(0..4) {
                0 => Holding::Nobody,
                1 => Holding::Unknown,
                2 => Holding::OnlyWaiters,
                _ => Holding::Tasks {
                    tasks: self.few(Self::id),
                    are_all: self.0.bool(),
                },
            },
            parts: self.few(Self::id).into(),
            waiters: self.some(count),
            position: self.some(count),
            size: self.some(amount),
            limit: self.some(amount),
            free: self.some(amount),
            children: self.some(|it| Children {
                count: it.some(count),
                pending: it.some(count),
                done: it.some(count),
                failed: it.some(count),
                cancelled: it.some(count),
            }),
            deadline_ns: self.some(amount),
            waited_ns: self.some(amount),
            fd: self.some(amount),
            socket: self.some(count),
            method: self.some(Self::text),
            url: self.some(Self::text),
            local: self.some(Self::text),
            peer: self.some(Self::text),
            pid: self.some(amount),
            command: self.some(Self::text),
            query: self.some(Self::text),
            arguments: self.some(Self::text),
            thread: self.some(|it| Box::new(it.thread())),
            detail: self.few(|it| {
                let detail = if it.0.bool() {
                    Detail::Text(it.text())
                } else {
                    Detail::Number(it.0.i64(..))
                };
                (it.text(), detail)
            }),
        })
    }

    fn task(&mut self) -> Task {
        Task {
            id: self.id(),
            name: self.some(Self::text),
            tid: self.some(|it| it.0.u32(..)),
            state: self.of(&TASK_STATES),
            stack: self.stack(),
            waits_on: self.some(|it| WaitsOn {
                kind: it.of(&WAIT_KINDS),
                id: it.id(),
                type_name: it.text(),
                state: it.some(|it| it.of(&FUTURE_STATES)),
                tasks: it.few(Self::id),
                resource: it.some(Self::resource),
            }),
            awaited_by: self.few(Self::id),
            truncated: self.0.bool(),
            cancellations: self.0.u32(..),
            open_groups: self.few(Self::nursery),
            trio: self.some(|it| {
                Box::new(TrioTask {
                    state: it.of(&TRIO_STATES),
                    parent_nursery: it.some(Self::id),
                    nurseries: it.few(Self::nursery),
                })
            }),
        }
    }

    fn mentioned(&mut self) -> Mentioned {
        Mentioned {
            count: self.0.usize(..),
            first: self.few(|it| MentionedTask {
                task: it.id(),
                name: it.some(Self::text),
            }),
        }
    }

    fn finding(&mut self) -> Finding {
        match self.0.u8(0..6) {
            0 => Finding::BlockedLoop(BlockedLoop {
                tid: self.0.u32(..),
                seconds: self.seconds(),
                holder: Holder {
                    kind: match self.0.u8(0..3) {
                        0 => HolderKind::Task(self.id()),
                        1 => HolderKind::Callback,
                        _ => HolderKind::Unknown,
                    },
                    name: self.some(Self::text),
                    stack: self.stack(),
                    seconds: self.seconds(),
                },
                ready: self.0.usize(..),
                overdue_timers: self.some(|it| it.0.u64(..)),
            }),
            1 => Finding::Deadlock(Deadlock {
                tasks: self.few(|it| Deadlocked {
                    task: it.id(),
                    name: it.some(Self::text),
                    waits_for: it.some(Self::resource),
                    deadline_ns: it.some(|it| it.0.i64(..)),
                }),
                behind: self.0.usize(..),
            }),
            2 => Finding::UsedUp(UsedUp {
                resource: self.resource(),
                waiting: self.mentioned(),
            }),
            3 => Finding::CancelledButWaits(self.mentioned()),
            4 => Finding::NeverWoken(NeverWoken {
                tid: self.0.u32(..),
                seconds: self.seconds(),
                ready: self.mentioned(),
            }),
            _ => Finding::SlowWait(SlowWait {
                slow: self.seconds(),
                longest: self.seconds(),
                waiting: self.mentioned(),
            }),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut losses = Losses::default();
        // Nothing is counted further.
        losses
            .each_mut()
            .into_iter()
            .for_each(|it| *it = self.0.u64(..1 << 53));
        // Equal chains share one allocation.
        let shared = self.stack();
        let mut tasks = self.few(Self::task);
        tasks
            .iter_mut()
            .filter(|_| self.0.bool())
            .for_each(|it| it.stack = Arc::clone(&shared));
        Snapshot {
            pid: self.0.u32(..),
            command: self.text().to_string(),
            python: self.text().to_string(),
            captured_at: jiff::Timestamp::from_nanosecond(self.0.i64(..).into()).unwrap(),
            span_seconds: self.seconds(),
            tasks,
            loops: self.few(|it| LoopState {
                tid: it.0.u32(..),
                turn_seconds: it.some(Self::seconds),
                cpu_seconds: it.some(Self::seconds),
            }),
            main_thread: self.few(Self::frame),
            findings: self.few(Self::finding),
            losses,
        }
    }

    fn survey(&mut self) -> Survey<Snapshot> {
        Survey {
            targets: self.few(Self::snapshot),
            refused: Refusals {
                each: self.few(|it| Refused {
                    pid: it.0.u32(..),
                    command: it.text().to_string(),
                    reason: it.text().to_string(),
                }),
                others: self.0.u64(..),
                are_hidden: self.0.bool(),
            },
        }
    }
}

fn moment(found: Survey<Snapshot>) -> Moment {
    Moment {
        since: 7,
        taken_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        found,
    }
}

#[test]
fn all_of_a_snapshot_comes_back() {
    let mut any = Any(Rng::with_seed(7));
    for _ in 0..300 {
        let found = any.survey();
        let bytes = encode::encode(&found).unwrap();
        assert_eq!(decode::decode(&bytes).unwrap(), found);
        // What is cut, or goes on, is none.
        for bytes in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
            decode::decode(bytes).unwrap_err();
        }
    }
}

#[test]
fn a_large_moment_is_cut_into_pieces() {
    let mut service = small_service();
    let task = service.tasks[1].clone();
    service.tasks = (0..200_000)
        .map(|number| Task {
            id: Address(0x7f00_0000_0000 + 64 * number),
            name: Some(format!("Task-{number}").into()),
            ..task.clone()
        })
        .collect();
    let whole = moment(Survey {
        targets: vec![service],
        refused: Refusals::default(),
    });
    let packed = pack(&whole).unwrap();
    assert!((2..8).contains(&packed.blocks.len()), "{}", packed.blocks.len());
    assert!(packed.bytes() < 200_000 * 10, "{} bytes", packed.bytes());
    let mut pieces = None;
    for block in &packed.blocks {
        let piece = zstd::bulk::decompress(&block[16..], 8 << 20).unwrap();
        pieces = Some(Pieces::take(pieces, &piece).unwrap());
    }
    let pieces = pieces.unwrap();
    assert!(pieces.is_whole);
    assert!(pieces.read().unwrap() == whole);
    // The second piece does not begin anything.
    let second = zstd::bulk::decompress(&packed.blocks[1][16..], 8 << 20).unwrap();
    Pieces::take(None, &second).unwrap_err();
}

#[test]
fn few_bytes_cannot_ask_for_much_memory() {
    let mut bytes = Bytes::default();
    // A process without a name, at the beginning of time, with more tasks than there are bytes.
    [1, 1, 42, 0, 0, 0].into_iter().for_each(|byte| bytes.byte(byte));
    bytes.float(0.0);
    bytes.number(u64::MAX);
    decode::decode(&bytes.0).unwrap_err();
    let mut weight = Weight::default();
    weight.add(MAX_WEIGHT);
    assert!(weight.is_bearable());
    weight.add(1);
    assert!(!weight.is_bearable());
}
