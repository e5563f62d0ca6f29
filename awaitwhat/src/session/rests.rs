//! Whether threads have run since they were looked at. Where one has not, what was seen of it still holds, and another look would cost ten
//! times as much as to ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;
use rustix::time::{ClockId, clock_gettime};

use crate::decode::{Origin, SliceRecord};

/// Three decimal numbers of 64 bits, with what parts them, are not longer.
const SCHEDSTAT_BYTES: usize = 64;

/// The event loops of one process whose threads may be resting.
pub(super) struct Rests {
    pid: u32,
    loops: HashMap<LoopId, Rest>,
}

struct Rest {
    schedstat: File,
    /// How it was before the last look.
    before: Option<Runs>,
    /// What that look has found, if that was nothing new.
    found: Option<SliceRecord>,
    /// The thread waited for a CPU then.
    waits: bool,
    /// The thread may have run since a pass was complete.
    has_run: bool,
}

/// How long and how often a thread has run, as `/proc/PID/task/TID/schedstat` tells it (`Documentation/scheduler/sched-stats.rst`): the last
/// number grows whenever the thread gets a CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Runs([u8; SCHEDSTAT_BYTES]);

impl Rests {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            pid,
            loops: HashMap::new(),
        }
    }

    /// What another look at the loop would find: nothing new, where its thread has not run since the last one found that. `None` where a look
    /// is needed; it has to follow.
    pub(super) fn instead_of_look(&mut self, event_loop: LoopId) -> Option<SliceRecord> {
        // The thread may run from now on.
        let now = clock_gettime(ClockId::Monotonic);
        let rest = match self.loops.entry(event_loop) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Rest::of(self.pid, event_loop.tid)?),
        };
        let before = std::mem::replace(&mut rest.before, Runs::read(&rest.schedstat));
        rest.has_run |= before.is_none() || before != rest.before;
        let is_as_before = before.is_some() && before == rest.before;
        rest.waits &= is_as_before;
        let found = rest.found.take().filter(|_| is_as_before)?;
        rest.found = Some(found);
        Some(SliceRecord {
            origin: Origin {
                time: now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned(),
                ..found.origin
            },
            duration: 0,
            ..found
        })
    }

    /// The same look goes on: what is read from now on belongs to what it finds from now on.
    pub(super) fn go_on(&mut self, event_loop: LoopId) {
        if let Some(rest) = self.loops.get_mut(&event_loop) {
            let before = std::mem::replace(&mut rest.before, Runs::read(&rest.schedstat));
            rest.has_run |= before.is_none() || before != rest.before;
        }
    }

    /// Whether the loop's thread has not run since before the last look, so that what is read now belongs to what was found then.
    pub(super) fn is_as_looked_at(&self, event_loop: LoopId) -> bool {
        let rest = self.loops.get(&event_loop);
        rest.is_some_and(|rest| rest.before.is_some() && Runs::read(&rest.schedstat) == rest.before)
    }

    /// Notes that the last look has found the loop's thread waiting for a CPU: until it has run, it does.
    pub(super) fn note_wait(&mut self, event_loop: LoopId) {
        if let Some(rest) = self.loops.get_mut(&event_loop) {
            rest.waits = true;
        }
    }

    /// For how long (ns) the loop's thread had waited for a CPU since it began, before the last look; `None` where that did not find it waiting, or
    /// the kernel does not count.
    pub(super) fn waited(&self, event_loop: LoopId) -> Option<u64> {
        let rest = self.loops.get(&event_loop).filter(|rest| rest.waits)?;
        rest.before.as_ref()?.waited()
    }

    /// Whether the thread may have run since a pass over its tasks was complete, as [`Rests::instead_of_look`] found out.
    pub(super) fn has_run(&self, event_loop: LoopId) -> bool {
        self.loops.get(&event_loop).is_none_or(|rest| rest.has_run)
    }

    /// Notes what a look has found.
    pub(super) fn note(&mut self, slice: &SliceRecord) {
        let is_look = !slice.origin.in_context;
        if let Some(rest) = self.loops.get_mut(&slice.origin.event_loop).filter(|_| is_look) {
            rest.found = (slice.status == SliceStatus::Unchanged).then_some(*slice);
            rest.has_run &= !matches!(slice.status, SliceStatus::Unchanged | SliceStatus::PassComplete);
        }
    }

    /// A loop has ended, or is walked anew: the next look will find something.
    pub(super) fn forget(&mut self, event_loop: LoopId) {
        self.loops.remove(&event_loop);
    }

    /// The same of all loops.
    pub(super) fn forget_all(&mut self) {
        self.loops.clear();
    }
}

impl Rest {
    /// `None` where the thread has ended.
    fn of(pid: u32, tid: u32) -> Option<Self> {
        Some(Self {
            schedstat: Runs::open(pid, tid)?,
            before: None,
            found: None,
            waits: false,
            has_run: true,
        })
    }
}

impl Runs {
    /// Those of a thread until now; `None` as [`Runs::read`] has it.
    pub(super) fn of(pid: u32, tid: u32) -> Option<Self> {
        Self::read(&Self::open(pid, tid)?)
    }

    /// For how long the thread has run, in seconds.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        self.number(0).map(|nanoseconds| nanoseconds as f64 / 1e9)
    }

    /// For how long it has waited for a CPU, in ns.
    fn waited(&self) -> Option<u64> {
        self.number(1)
    }

    fn number(&self, index: usize) -> Option<u64> {
        let text = str::from_utf8(&self.0).ok()?;
        text.split(' ').nth(index)?.parse().ok()
    }

    fn open(pid: u32, tid: u32) -> Option<File> {
        File::open(format!("/proc/{pid}/task/{tid}/schedstat")).ok()
    }

    /// `None` where the thread has ended, or the kernel does not count.
    fn read(schedstat: &File) -> Option<Self> {
        let mut runs = [0; SCHEDSTAT_BYTES];
        let length = schedstat.read_at(&mut runs, 0).ok()?;
        // One that does not count says `0 0 0` (`proc_pid_schedstat`, `fs/proc/base.c`).
        (length > 0 && !runs.starts_with(b"0 ")).then_some(Self(runs))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use rustix::thread::gettid;

    use super::*;

    /// A thread that answers whenever it is asked, and rests in between; it is believed to have an event loop.
    struct Resting {
        event_loop: LoopId,
        ask: Sender<()>,
        answers: Receiver<u32>,
    }

    impl Resting {
        fn begin() -> Self {
            let (ask, questions) = channel();
            let (answer, answers) = channel();
            thread::spawn(move || {
                for () in questions {
                    let tid = gettid().as_raw_nonzero().get().cast_unsigned();
                    let _ = answer.send(tid);
                }
            });
            let mut begun = Self {
                event_loop: LoopId::default(),
                ask,
                answers,
            };
            begun.event_loop.tid = begun.run();
            begun
        }

        /// Has it run, and waits until it sleeps again; returns its id.
        fn run(&self) -> u32 {
            self.ask.send(()).expect("it is there");
            let tid = self.answers.recv().expect("it answers");
            // Of a thread that is off its CPU, this has the system call that it sleeps in.
            let call = || fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).expect("it is there");
            while call().starts_with("running") {
                thread::yield_now();
            }
            tid
        }
    }

    fn slice(event_loop: LoopId, status: SliceStatus) -> SliceRecord {
        SliceRecord {
            origin: Origin {
                event_loop,
                pid: std::process::id(),
                in_context: false,
                time: 0,
                runtime: 7,
                pass: 3,
            },
            status,
            duration: 20_000,
            lost: 1,
        }
    }

    /// A look that finds what is `found`, and whether another one is needed.
    fn look(rests: &mut Rests, found: &SliceRecord) -> Option<SliceRecord> {
        assert_eq!(rests.instead_of_look(found.origin.event_loop), None);
        rests.note(found);
        rests.instead_of_look(found.origin.event_loop)
    }

    #[test]
    fn a_thread_is_looked_at_again_once_it_has_run() {
        let thread = Resting::begin();
        let event_loop = thread.event_loop;
        let mut rests = Rests::new(std::process::id());
        let unchanged = slice(event_loop, SliceStatus::Unchanged);
        let still = look(&mut rests, &unchanged).expect("it rests");
        assert_eq!((still.status, still.lost), (SliceStatus::Unchanged, 1));
        assert_eq!((still.origin.runtime, still.origin.pass), (7, 3));
        let again = rests.instead_of_look(event_loop).expect("it rests");
        assert!(again.origin.time >= still.origin.time && still.origin.time > 0);

        assert!(!rests.has_run(event_loop));
        thread.run();
        assert_eq!(rests.instead_of_look(event_loop), None);
        assert!(rests.has_run(event_loop));
        assert_eq!(rests.instead_of_look(event_loop), None);
        assert!(rests.has_run(event_loop), "no pass was made since");
        rests.note(&slice(event_loop, SliceStatus::PassComplete));
        assert!(!rests.has_run(event_loop));
        assert!(look(&mut rests, &unchanged).is_some());
        rests.forget(event_loop);
        assert_eq!(rests.instead_of_look(event_loop), None);
    }

    #[test]
    fn a_thread_is_looked_at_again_unless_that_found_nothing_new() {
        let thread = Resting::begin();
        let event_loop = thread.event_loop;
        let mut rests = Rests::new(std::process::id());
        assert!(look(&mut rests, &slice(event_loop, SliceStatus::Unchanged)).is_some());
        // What its sampler sends says nothing of how it rests.
        let mut sampled = slice(event_loop, SliceStatus::Budget);
        sampled.origin.in_context = true;
        rests.note(&sampled);
        assert!(rests.instead_of_look(event_loop).is_some());
        for status in [
            SliceStatus::PassComplete,
            SliceStatus::Budget,
            SliceStatus::Disturbed,
            SliceStatus::Running,
            SliceStatus::RegistryTorn,
            SliceStatus::Replaced,
        ] {
            rests.note(&slice(event_loop, status));
            assert_eq!(rests.instead_of_look(event_loop), None, "{status:?}");
        }
    }

    #[test]
    fn a_thread_that_waits_for_a_cpu_does_so_until_it_has_run() {
        let thread = Resting::begin();
        let event_loop = thread.event_loop;
        let mut rests = Rests::new(std::process::id());
        assert_eq!(rests.instead_of_look(event_loop), None);
        assert_eq!(rests.waited(event_loop), None, "nobody has found it so");
        rests.note_wait(event_loop);
        let waited = rests.waited(event_loop).expect("the kernel counts");
        rests.note(&slice(event_loop, SliceStatus::Unchanged));
        assert!(rests.instead_of_look(event_loop).is_some());
        assert_eq!(rests.waited(event_loop), Some(waited));
        thread.run();
        assert_eq!(rests.instead_of_look(event_loop), None);
        assert_eq!(rests.waited(event_loop), None);
    }

    #[test]
    fn a_thread_that_has_ended_is_looked_at() {
        let thread = Resting::begin();
        let event_loop = thread.event_loop;
        let mut rests = Rests::new(std::process::id());
        let unchanged = slice(event_loop, SliceStatus::Unchanged);
        assert!(look(&mut rests, &unchanged).is_some());
        drop(thread);
        let folder = format!("/proc/self/task/{}", event_loop.tid);
        while std::path::Path::new(&folder).exists() {
            thread::yield_now();
        }
        assert_eq!(rests.instead_of_look(event_loop), None);
        rests.note(&unchanged);
        assert_eq!(rests.instead_of_look(event_loop), None);
    }
}
