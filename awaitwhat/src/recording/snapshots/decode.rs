//! From bytes to snapshots. Whatever the bytes are, the answer is some snapshots or an error, and what is made of them has a bound.

use std::sync::Arc;

use super::super::bytes::{Cursor, Malformed};
use super::super::decode::{id, losses};
use super::super::tables::{FRAME_KINDS, RANKS, at};
use super::{
    FUTURE_STATES, TASK_STATES, THREAD_STATES, TRIO_STATES, VERSION, WAIT_KINDS, Weight, finding, holder,
    holding,
};
use crate::findings::{
    BlockedLoop, Deadlock, Deadlocked, Finding, Holder, HolderKind, Mentioned, MentionedTask, NeverWoken,
    SlowWait, UsedUp,
};
use crate::memory::Address;
use crate::origin::Origin;
use crate::resource::{Children, Detail, Holding, Resource, WorkerThread};
use crate::snapshot::{Frame, LoopState, Nursery, Snapshot, Stack, Task, TrioTask, WaitsOn};
use crate::survey::Survey;

/// What is said in these bytes.
pub(super) fn decode(content: &[u8]) -> Result<Survey<Snapshot>, Malformed> {
    let mut decoder = Decoder {
        cursor: Cursor(content),
        texts: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        address: 0,
        weight: Weight::default(),
    };
    if decoder.number()? != VERSION {
        return Err(Malformed("what this version of awaitwhat reads"));
    }
    let targets = decoder.list(Decoder::snapshot)?;
    let refused = decoder.cursor.text()?;
    let refused = serde_json::from_str(&refused).map_err(|_| Malformed("who was refused"))?;
    if !decoder.cursor.is_at_end() {
        return Err(Malformed("where a snapshot ends"));
    }
    Ok(Survey { targets, refused })
}

type Read<T> = Result<T, Malformed>;

struct Decoder<'a> {
    cursor: Cursor<'a>,
    texts: Vec<Arc<str>>,
    frames: Vec<Frame>,
    stacks: Vec<Stack>,
    /// The address that came last.
    address: u64,
    weight: Weight,
}

impl Decoder<'_> {
    fn weigh(&mut self, bytes: usize) -> Read<()> {
        self.weight.add(bytes);
        let is_bearable = self.weight.is_bearable();
        is_bearable
            .then_some(())
            .ok_or(Malformed("a snapshot that can be read with bounded memory"))
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        // Each takes a byte at least.
        let count = self.cursor.count(self.cursor.0.len(), "how many there are")?;
        self.weigh(count.saturating_mul(size_of::<T>()))?;
        (0..count).map(|_| read(self)).collect()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        self.flag()?.then(|| read(self)).transpose()
    }

    fn number(&mut self) -> Read<u64> {
        self.cursor.number()
    }

    fn size(&mut self) -> Read<usize> {
        self.cursor.count(usize::MAX, "how many there are")
    }

    fn id(&mut self) -> Read<u32> {
        id(&mut self.cursor)
    }

    fn signed(&mut self) -> Read<i64> {
        self.cursor.change(0).map(u64::cast_signed)
    }

    fn flag(&mut self) -> Read<bool> {
        match self.cursor.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("whether something is so")),
        }
    }

    fn place<T: Copy>(&mut self, values: &[T]) -> Read<T> {
        at(values, self.cursor.byte()?)
    }

    fn moment(&mut self) -> Read<jiff::Timestamp> {
        let nanoseconds = i128::from(self.signed()?);
        jiff::Timestamp::from_nanosecond(nanoseconds).map_err(|_| Malformed("when it was"))
    }

    fn address(&mut self) -> Read<Address> {
        self.address = self.cursor.change(self.address)?;
        Ok(Address(self.address))
    }

    fn addresses(&mut self) -> Read<Vec<Address>> {
        self.list(Self::address)
    }

    fn text(&mut self) -> Read<Arc<str>> {
        if let Some(known) = known(&self.texts, self.cursor.number()?)? {
            return Ok(known);
        }
        let text = self.cursor.text()?;
        self.weigh(Weight::ENTRY + text.len())?;
        self.texts.push(Arc::clone(&text));
        Ok(text)
    }

    fn frame(&mut self) -> Read<Frame> {
        if let Some(known) = known(&self.frames, self.cursor.number()?)? {
            return Ok(known);
        }
        self.weigh(Weight::ENTRY + size_of::<Frame>())?;
        let frame = Frame {
            function: self.text()?,
            file: self.text()?,
            line: self.id()?,
            kind: self.place(&FRAME_KINDS)?,
            origin: {
                let rank = self.place(&RANKS)?;
                let shown_from = u16::try_from(self.number()?);
                Origin::of_parts(
                    rank,
                    shown_from.map_err(|_| Malformed("how much of a path is shown"))?,
                )
            },
        };
        self.frames.push(frame.clone());
        Ok(frame)
    }

    fn stack(&mut self) -> Read<Stack> {
        if let Some(known) = known(&self.stacks, self.cursor.number()?)? {
            return Ok(known);
        }
        self.weigh(Weight::ENTRY)?;
        let stack = Stack::from(self.list(Self::frame)?);
        self.stacks.push(Arc::clone(&stack));
        Ok(stack)
    }

    fn snapshot(&mut self) -> Read<Snapshot> {
        let pid = self.id()?;
        let command = self.cursor.text()?.to_string();
        let python = self.cursor.text()?.to_string();
        self.weigh(command.len() + python.len())?;
        Ok(Snapshot {
            pid,
            command,
            python,
            captured_at: self.moment()?,
            span_seconds: self.cursor.float()?,
            tasks: self.list(Self::task)?,
            loops: self.list(Self::event_loop)?,
            main_thread: self.list(Self::frame)?,
            findings: self.list(Self::finding)?,
            losses: losses(&mut self.cursor)?,
        })
    }

    fn event_loop(&mut self) -> Read<LoopState> {
        Ok(LoopState {
            tid: self.id()?,
            turn_seconds: self.optional(|it| it.cursor.float())?,
            cpu_seconds: self.optional(|it| it.cursor.float())?,
        })
    }

    fn task(&mut self) -> Read<Task> {
        Ok(Task {
            id: self.address()?,
            name: self.optional(Self::text)?,
            tid: self.optional(Self::id)?,
            state: self.place(&TASK_STATES)?,
            stack: self.stack()?,
            waits_on: self.optional(Self::waits_on)?,
            awaited_by: self.addresses()?,
            truncated: self.flag()?,
            cancellations: self.id()?,
            open_groups: self.list(Self::nursery)?,
            trio: self.optional(Self::trio)?,
        })
    }

    fn nursery(&mut self) -> Read<Nursery> {
        Ok(Nursery {
            id: self.address()?,
            tasks: self.addresses()?,
        })
    }

    fn trio(&mut self) -> Read<Box<TrioTask>> {
        self.weigh(size_of::<TrioTask>())?;
        Ok(Box::new(TrioTask {
            state: self.place(&TRIO_STATES)?,
            parent_nursery: self.optional(Self::address)?,
            nurseries: self.list(Self::nursery)?,
        }))
    }

    fn waits_on(&mut self) -> Read<WaitsOn> {
        Ok(WaitsOn {
            kind: self.place(&WAIT_KINDS)?,
            id: self.address()?,
            type_name: self.text()?,
            state: self.optional(|it| it.place(&FUTURE_STATES))?,
            tasks: self.addresses()?,
            resource: self.optional(Self::resource)?,
        })
    }

    /// Fields are read in the order in which they stand here.
    fn resource(&mut self) -> Read<Box<Resource>> {
        self.weigh(size_of::<Resource>())?;
        let kind = self.text()?;
        Ok(Box::new(Resource {
            kind: serde_json::from_str(&kind).map_err(|_| Malformed("what kind of thing it is"))?,
            words: self.text()?,
            id: self.optional(Self::address)?,
            held: self.optional(Self::flag)?,
            holding: self.holding()?,
            parts: self.addresses()?.into(),
            type_name: self.optional(Self::text)?,
            label: self.optional(Self::text)?,
            operation: self.optional(Self::text)?,
            method: self.optional(Self::text)?,
            url: self.optional(Self::text)?,
            local: self.optional(Self::text)?,
            peer: self.optional(Self::text)?,
            command: self.optional(Self::text)?,
            query: self.optional(Self::text)?,
            arguments: self.optional(Self::text)?,
            waiters: self.optional(Self::number)?,
            position: self.optional(Self::number)?,
            socket: self.optional(Self::number)?,
            size: self.optional(Self::signed)?,
            limit: self.optional(Self::signed)?,
            free: self.optional(Self::signed)?,
            deadline_ns: self.optional(Self::signed)?,
            waited_ns: self.optional(Self::signed)?,
            fd: self.optional(Self::signed)?,
            pid: self.optional(Self::signed)?,
            children: self.optional(Self::children)?,
            thread: self.optional(Self::thread)?,
            detail: self.list(|it| Ok((it.text()?, it.detail()?)))?,
        }))
    }

    fn detail(&mut self) -> Read<Detail> {
        Ok(if self.flag()? {
            Detail::Text(self.text()?)
        } else {
            Detail::Number(self.signed()?)
        })
    }

    fn holding(&mut self) -> Read<Holding> {
        let kind = self.cursor.byte()?;
        Ok(match kind {
            holding::NOBODY => Holding::Nobody,
            holding::UNKNOWN => Holding::Unknown,
            holding::SOME | holding::ALL => Holding::Tasks {
                tasks: self.addresses()?,
                are_all: kind == holding::ALL,
            },
            holding::ONLY_WAITERS => Holding::OnlyWaiters,
            _ => return Err(Malformed("who holds it")),
        })
    }

    fn children(&mut self) -> Read<Children> {
        Ok(Children {
            count: self.optional(Self::number)?,
            pending: self.optional(Self::number)?,
            done: self.optional(Self::number)?,
            failed: self.optional(Self::number)?,
            cancelled: self.optional(Self::number)?,
        })
    }

    fn thread(&mut self) -> Read<Box<WorkerThread>> {
        self.weigh(size_of::<WorkerThread>())?;
        Ok(Box::new(WorkerThread {
            tid: self.optional(Self::id)?,
            name: self.optional(Self::text)?,
            state: self.optional(|it| it.place(&THREAD_STATES))?,
            stack: self.stack()?,
            is_moving: self.flag()?,
        }))
    }

    fn finding(&mut self) -> Read<Finding> {
        Ok(match self.cursor.byte()? {
            finding::BLOCKED_LOOP => Finding::BlockedLoop(BlockedLoop {
                tid: self.id()?,
                seconds: self.cursor.float()?,
                holder: self.holder()?,
                ready: self.size()?,
                overdue_timers: self.optional(Self::number)?,
            }),
            finding::DEADLOCK => Finding::Deadlock(Deadlock {
                tasks: self.list(Self::deadlocked)?,
                behind: self.size()?,
            }),
            finding::USED_UP => Finding::UsedUp(UsedUp {
                resource: self.resource()?,
                waiting: self.mentioned()?,
            }),
            finding::CANCELLED_BUT_WAITS => Finding::CancelledButWaits(self.mentioned()?),
            finding::SLOW_WAIT => Finding::SlowWait(SlowWait {
                slow: self.cursor.float()?,
                longest: self.cursor.float()?,
                waiting: self.mentioned()?,
            }),
            finding::NEVER_WOKEN => Finding::NeverWoken(NeverWoken {
                tid: self.id()?,
                seconds: self.cursor.float()?,
                ready: self.mentioned()?,
            }),
            _ => return Err(Malformed("what was found")),
        })
    }

    fn holder(&mut self) -> Read<Holder> {
        Ok(Holder {
            kind: match self.cursor.byte()? {
                holder::TASK => HolderKind::Task(self.address()?),
                holder::CALLBACK => HolderKind::Callback,
                holder::UNKNOWN => HolderKind::Unknown,
                _ => return Err(Malformed("what holds a loop")),
            },
            name: self.optional(Self::text)?,
            stack: self.stack()?,
            seconds: self.cursor.float()?,
        })
    }

    fn deadlocked(&mut self) -> Read<Deadlocked> {
        Ok(Deadlocked {
            task: self.address()?,
            name: self.optional(Self::text)?,
            waits_for: self.optional(Self::resource)?,
            deadline_ns: self.optional(Self::signed)?,
        })
    }

    fn mentioned(&mut self) -> Read<Mentioned> {
        Ok(Mentioned {
            count: self.size()?,
            first: self.list(|it| {
                Ok(MentionedTask {
                    task: it.address()?,
                    name: it.optional(Self::text)?,
                })
            })?,
        })
    }
}

/// What has this number; `None` where it is the next one, and what it stands for follows.
fn known<T: Clone>(values: &[T], number: u64) -> Read<Option<T>> {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    match values.get(index) {
        Some(known) => Ok(Some(known.clone())),
        None if index == values.len() => Ok(None),
        None => Err(Malformed("something that was told before")),
    }
}
