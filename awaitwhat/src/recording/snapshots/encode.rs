//! From snapshots to bytes. Text, frames and stacks are written where they come first, and have numbers from then on.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::bytes::Bytes;
use super::super::tables::{FRAME_KINDS, RANKS, place_of};
use super::{
    FUTURE_STATES, MAX_BYTES, TASK_STATES, THREAD_STATES, TRIO_STATES, VERSION, WAIT_KINDS, Weight, finding,
    holder, holding,
};
use crate::findings::{Deadlocked, Finding, Holder, HolderKind, Mentioned};
use crate::memory::Address;
use crate::resource::{Children, Detail, Holding, Resource, WorkerThread};
use crate::snapshot::{Frame, Nursery, Snapshot, Stack, Task, TrioTask, WaitsOn};
use crate::survey::Survey;

/// The bytes of what one look has found; `None` where these are more than are read.
pub(super) fn encode(found: &Survey<Snapshot>) -> Option<Vec<u8>> {
    let mut encoder = Encoder::default();
    encoder.number(VERSION);
    encoder.list(&found.targets, Encoder::snapshot);
    let refused = serde_json::to_string(&found.refused).unwrap_or_default();
    encoder.out.text(&refused);
    let fits = encoder.out.0.len() <= MAX_BYTES && encoder.weight.is_bearable();
    fits.then_some(encoder.out.0)
}

#[derive(Default)]
struct Encoder {
    out: Bytes,
    texts: HashMap<Arc<str>, u64>,
    frames: HashMap<Frame, u64>,
    /// By where they lie: equal chains share one allocation, which is there for as long as this is.
    stacks: HashMap<(usize, usize), u64>,
    /// The address that was written last.
    address: u64,
    weight: Weight,
}

impl Encoder {
    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.out.number(items.len() as u64);
        self.weight.add(size_of_val(items));
        items.iter().for_each(|item| write(self, item));
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.out.byte(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn number(&mut self, number: u64) {
        self.out.number(number);
    }

    fn signed(&mut self, number: i64) {
        self.out.change(0, number.cast_unsigned());
    }

    fn flag(&mut self, is_so: bool) {
        self.out.byte(is_so.into());
    }

    fn address(&mut self, address: Address) {
        self.out.change(self.address, address.0);
        self.address = address.0;
    }

    fn text(&mut self, text: &Arc<str>) {
        let next = self.texts.len() as u64;
        if let Some(&known) = self.texts.get(text) {
            return self.out.number(known);
        }
        self.out.number(next);
        self.out.text(text);
        self.weight.add(Weight::ENTRY + text.len());
        self.texts.insert(Arc::clone(text), next);
    }

    fn frame(&mut self, frame: &Frame) {
        let next = self.frames.len() as u64;
        if let Some(&known) = self.frames.get(frame) {
            return self.out.number(known);
        }
        self.out.number(next);
        self.text(&frame.function);
        self.text(&frame.file);
        self.out.number(frame.line.into());
        self.out.byte(place_of(&FRAME_KINDS, &frame.kind));
        self.out.byte(place_of(&RANKS, &frame.origin.rank));
        self.out.number(frame.origin.shown_from().into());
        self.weight.add(Weight::ENTRY + size_of::<Frame>());
        self.frames.insert(frame.clone(), next);
    }

    fn stack(&mut self, stack: &Stack) {
        let next = self.stacks.len() as u64;
        // All that is empty may lie at one place.
        let place = (stack.as_ptr().addr(), stack.len());
        if let Some(&known) = self.stacks.get(&place) {
            return self.out.number(known);
        }
        self.out.number(next);
        self.weight.add(Weight::ENTRY);
        self.list(stack, Self::frame);
        self.stacks.insert(place, next);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.number(snapshot.pid.into());
        self.out.text(&snapshot.command);
        self.out.text(&snapshot.python);
        self.weight.add(snapshot.command.len() + snapshot.python.len());
        let captured_at = i64::try_from(snapshot.captured_at.as_nanosecond()).unwrap_or(i64::MAX);
        self.signed(captured_at);
        self.out.float(snapshot.span_seconds);
        self.list(&snapshot.tasks, Self::task);
        self.list(&snapshot.loops, |it, event_loop| {
            it.number(event_loop.tid.into());
            it.optional(event_loop.turn_seconds, |it, seconds| it.out.float(seconds));
            it.optional(event_loop.cpu_seconds, |it, seconds| it.out.float(seconds));
        });
        self.list(&snapshot.main_thread, Self::frame);
        self.list(&snapshot.findings, Self::finding);
        let counts = snapshot.losses.counts();
        counts.into_iter().for_each(|count| self.number(count));
    }

    fn task(&mut self, task: &Task) {
        self.address(task.id);
        self.optional(task.name.as_ref(), Self::text);
        self.optional(task.tid, |it, tid| it.number(tid.into()));
        self.out.byte(place_of(&TASK_STATES, &task.state));
        self.stack(&task.stack);
        self.optional(task.waits_on.as_ref(), Self::waits_on);
        self.addresses(&task.awaited_by);
        self.flag(task.truncated);
        self.number(task.cancellations.into());
        self.list(&task.open_groups, Self::nursery);
        self.optional(task.trio.as_deref(), Self::trio);
    }

    fn addresses(&mut self, addresses: &[Address]) {
        self.list(addresses, |it, address| it.address(*address));
    }

    fn nursery(&mut self, nursery: &Nursery) {
        self.address(nursery.id);
        self.addresses(&nursery.tasks);
    }

    fn trio(&mut self, trio: &TrioTask) {
        self.weight.add(size_of::<TrioTask>());
        self.out.byte(place_of(&TRIO_STATES, &trio.state));
        self.optional(trio.parent_nursery, Self::address);
        self.list(&trio.nurseries, Self::nursery);
    }

    fn waits_on(&mut self, on: &WaitsOn) {
        self.out.byte(place_of(&WAIT_KINDS, &on.kind));
        self.address(on.id);
        self.text(&on.type_name);
        self.optional(on.state, |it, state| {
            it.out.byte(place_of(&FUTURE_STATES, &state));
        });
        self.addresses(&on.tasks);
        self.optional(on.resource.as_deref(), Self::resource);
    }

    fn resource(&mut self, resource: &Resource) {
        let Resource {
            kind,
            words,
            id,
            type_name,
            label,
            operation,
            held,
            holding,
            parts,
            waiters,
            position,
            size,
            limit,
            free,
            children,
            deadline_ns,
            waited_ns,
            fd,
            socket,
            method,
            url,
            local,
            peer,
            pid,
            command,
            query,
            arguments,
            thread,
            detail,
        } = resource;
        self.weight.add(size_of::<Resource>());
        let kind = serde_json::to_string(kind).unwrap_or_default();
        self.text(&kind.into());
        self.text(words);
        self.optional(*id, Self::address);
        self.optional(*held, Self::flag);
        self.holding(holding);
        self.addresses(parts);
        for text in [
            type_name, label, operation, method, url, local, peer, command, query, arguments,
        ] {
            self.optional(text.as_ref(), Self::text);
        }
        for number in [waiters, position, socket] {
            self.optional(*number, Self::number);
        }
        for number in [size, limit, free, deadline_ns, waited_ns, fd, pid] {
            self.optional(*number, Self::signed);
        }
        self.optional(children.as_ref(), Self::children);
        self.optional(thread.as_deref(), Self::thread);
        self.list(detail, |it, (name, detail)| {
            it.text(name);
            match detail {
                Detail::Number(number) => {
                    it.flag(false);
                    it.signed(*number);
                }
                Detail::Text(text) => {
                    it.flag(true);
                    it.text(text);
                }
            }
        });
    }

    fn holding(&mut self, holding: &Holding) {
        match holding {
            Holding::Nobody => self.out.byte(holding::NOBODY),
            Holding::Unknown => self.out.byte(holding::UNKNOWN),
            Holding::Tasks { tasks, are_all } => {
                self.out.byte(if *are_all { holding::ALL } else { holding::SOME });
                self.addresses(tasks);
            }
            Holding::OnlyWaiters => self.out.byte(holding::ONLY_WAITERS),
        }
    }

    fn children(&mut self, children: &Children) {
        let Children {
            count,
            pending,
            done,
            failed,
            cancelled,
        } = *children;
        for number in [count, pending, done, failed, cancelled] {
            self.optional(number, Self::number);
        }
    }

    fn thread(&mut self, thread: &WorkerThread) {
        self.weight.add(size_of::<WorkerThread>());
        self.optional(thread.tid, |it, tid| it.number(tid.into()));
        self.optional(thread.name.as_ref(), Self::text);
        self.optional(thread.state, |it, state| {
            it.out.byte(place_of(&THREAD_STATES, &state));
        });
        self.stack(&thread.stack);
        self.flag(thread.is_moving);
    }

    fn finding(&mut self, finding: &Finding) {
        match finding {
            Finding::BlockedLoop(blocked) => {
                self.out.byte(finding::BLOCKED_LOOP);
                self.number(blocked.tid.into());
                self.out.float(blocked.seconds);
                self.holder(&blocked.holder);
                self.number(blocked.ready as u64);
                self.optional(blocked.overdue_timers, Self::number);
            }
            Finding::Deadlock(deadlock) => {
                self.out.byte(finding::DEADLOCK);
                self.list(&deadlock.tasks, Self::deadlocked);
                self.number(deadlock.behind as u64);
            }
            Finding::UsedUp(used_up) => {
                self.out.byte(finding::USED_UP);
                self.resource(&used_up.resource);
                self.mentioned(&used_up.waiting);
            }
            Finding::CancelledButWaits(waiting) => {
                self.out.byte(finding::CANCELLED_BUT_WAITS);
                self.mentioned(waiting);
            }
            Finding::SlowWait(slow) => {
                self.out.byte(finding::SLOW_WAIT);
                self.out.float(slow.slow);
                self.out.float(slow.longest);
                self.mentioned(&slow.waiting);
            }
            Finding::NeverWoken(never_woken) => {
                self.out.byte(finding::NEVER_WOKEN);
                self.number(never_woken.tid.into());
                self.out.float(never_woken.seconds);
                self.mentioned(&never_woken.ready);
            }
        }
    }

    fn holder(&mut self, holder: &Holder) {
        match holder.kind {
            HolderKind::Task(id) => {
                self.out.byte(holder::TASK);
                self.address(id);
            }
            HolderKind::Callback => self.out.byte(holder::CALLBACK),
            HolderKind::Unknown => self.out.byte(holder::UNKNOWN),
        }
        self.optional(holder.name.as_ref(), Self::text);
        self.stack(&holder.stack);
        self.out.float(holder.seconds);
    }

    fn deadlocked(&mut self, task: &Deadlocked) {
        self.address(task.task);
        self.optional(task.name.as_ref(), Self::text);
        self.optional(task.waits_for.as_deref(), Self::resource);
        self.optional(task.deadline_ns, Self::signed);
    }

    fn mentioned(&mut self, mentioned: &Mentioned) {
        self.number(mentioned.count as u64);
        self.list(&mentioned.first, |it, task| {
            it.address(task.task);
            it.optional(task.name.as_ref(), Self::text);
        });
    }
}
