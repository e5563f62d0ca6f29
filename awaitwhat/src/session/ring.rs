//! Recordings that are held in memory until they are worth a file.
//!
//! Two are held at a time, each of which can be read by itself. When the newer one tells of enough time, the older one is dropped, and another one begins. So
//! the older one always tells of as much as is to be kept of the time before, once that has passed. When a condition holds, it is written to a file, and goes
//! on there for a while.

use std::fmt;
use std::time::{Duration, Instant};

use super::triggers::Found;
use crate::condition::Condition;
use crate::recording::{Header, Next, Recorder, Snapshots, Trigger, Why, Written};
use crate::survey::Refusals;

/// What each of the recordings in memory may take.
const HELD_BYTES: u64 = 32 << 20;

/// What is to be kept, and when.
pub struct When {
    /// Any of these.
    pub conditions: Vec<Condition>,
    /// How much of the time before that is kept at least, where it fits into memory; and of the time after that.
    pub before: Duration,
    pub after: Duration,
    pub header: Header,
    /// Bytes that a file may have.
    pub max_bytes: Option<u64>,
    /// Makes room for a file, and opens it.
    pub next: Next,
    pub snapshots: Option<Duration>,
    /// Hears of what happens, as it does.
    pub told: Box<dyn FnMut(&News) + Send>,
}

impl fmt::Debug for When {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("When")
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

/// What happens while recordings are held.
#[derive(Clone, Debug)]
pub enum News {
    /// A condition holds. A file was begun, which goes back so far; or it goes on that was begun before.
    Triggered {
        trigger: Trigger,
        goes_back: Option<Duration>,
    },
    /// A file is whole, and tells of so much time.
    Kept { written: Written, time: Duration },
}

/// See the module.
pub(super) struct Ring {
    when: When,
    /// The oldest first.
    held: Vec<Recorder>,
    writing: Option<Writing>,
    /// When the first one began: it tells of the whole trace.
    began: Instant,
    /// What came of the files that are whole.
    sum: Written,
}

/// A recording that goes to a file.
struct Writing {
    recorder: Recorder,
    until: Instant,
}

impl Ring {
    pub(super) fn begin(when: When) -> Self {
        let mut ring = Self {
            when,
            held: Vec::new(),
            writing: None,
            began: Instant::now(),
            sum: Written {
                bytes: 0,
                files: 0,
                why: Why::Trace,
                snapshots: Snapshots::default(),
                triggers: Some(0),
            },
        };
        ring.began = ring.begin_another().began();
        ring
    }

    /// All recordings that go on.
    pub(super) fn recorders(&self) -> Vec<Recorder> {
        let writing = self.writing.iter().map(|it| &it.recorder);
        writing.chain(&self.held).cloned().collect()
    }

    /// Whether a file is written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether files cannot be written any longer.
    pub(super) fn is_over(&self) -> bool {
        self.sum.why != Why::Trace
    }

    /// The recording whose file is to end, if it is time to.
    pub(super) fn ended(&self) -> Option<Recorder> {
        let writing = self.writing.as_ref()?;
        let is_over = writing.until <= Instant::now() || writing.recorder.is_over();
        is_over.then(|| writing.recorder.clone())
    }

    /// The recordings that are to be dropped: those in memory that are as large as they may be, and the oldest where the one after it tells of enough.
    pub(super) fn drop_old(&mut self) -> Vec<Recorder> {
        let is_enough = self.held.len() > 1 && self.is_ripe();
        let mut old: Vec<Recorder> = self.held.drain(..usize::from(is_enough)).collect();
        old.extend(self.held.extract_if(.., |it| it.is_over()));
        old
    }

    /// Whether another one is to begin.
    pub(super) fn is_due(&self) -> bool {
        self.held.is_empty() || (self.held.len() == 1 && self.is_ripe())
    }

    /// Whether the newest one tells of enough, or of half of what there is room for.
    fn is_ripe(&self) -> bool {
        let newest = self.held.last();
        newest
            .is_some_and(|it| it.began().elapsed() >= self.when.before || it.bytes() >= self.held_bytes() / 2)
    }

    /// A file has room for what was held, and more.
    fn held_bytes(&self) -> u64 {
        let of_file = self.when.max_bytes.unwrap_or(u64::MAX) / 2;
        of_file.min(HELD_BYTES)
    }

    /// Begins another one, which is held.
    pub(super) fn begin_another(&mut self) -> Recorder {
        let header = Header {
            started_at: jiff::Timestamp::now(),
            ..self.when.header.clone()
        };
        let recorder = Recorder::hold(header, self.held_bytes());
        self.held.push(recorder.clone());
        recorder
    }

    /// A condition holds: the oldest recording goes to a file, unless one does so already.
    pub(super) fn trigger(&mut self, found: Found) {
        let is_new = self.writing.is_none();
        if is_new {
            self.let_out();
        }
        let Some(Writing { recorder, .. }) = &self.writing else {
            return;
        };
        let goes_back = recorder.began().elapsed();
        let trigger = Trigger {
            condition: found.condition,
            what: found.what,
            at: jiff::Timestamp::now(),
            since: super::nanoseconds(goes_back),
        };
        recorder.note(&trigger);
        let news = News::Triggered {
            trigger,
            goes_back: is_new.then_some(goes_back),
        };
        (self.when.told)(&news);
    }

    fn let_out(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let recorder = self.held.remove(0);
        match (self.when.next)() {
            Ok(file) => {
                recorder.let_out(file, self.when.max_bytes);
                self.sum.triggers = self.sum.triggers.map(|before| before + 1);
                let until = Instant::now() + self.when.after;
                self.writing = Some(Writing { recorder, until });
            }
            Err(error) => self.sum.why = Why::Failed(error.to_string()),
        }
    }

    /// The file ends, after the tapes of all targets were ended.
    pub(super) fn end_file(&mut self) {
        if let Some(Writing { recorder, .. }) = self.writing.take() {
            let time = recorder.began().elapsed();
            let written = recorder.finish_file(&Refusals::default());
            self.add(written, time);
        }
    }

    /// All is over: the trace began at `started_at`, and took `duration`.
    pub(super) fn finish(
        mut self,
        started_at: jiff::Timestamp,
        duration: Duration,
        refused: &Refusals,
    ) -> Written {
        if let Some(Writing { recorder, .. }) = self.writing.take() {
            let is_of_all = recorder.began() == self.began;
            let (written, time) = if is_of_all {
                let nanoseconds = super::nanoseconds(duration);
                (recorder.finish(started_at, nanoseconds, refused), duration)
            } else {
                (recorder.finish_file(refused), recorder.began().elapsed())
            };
            self.add(written, time);
        }
        self.sum
    }

    fn add(&mut self, written: Written, time: Duration) {
        let news = News::Kept { written, time };
        (self.when.told)(&news);
        let News::Kept { written, .. } = news else { return };
        let Written {
            bytes,
            files,
            why,
            snapshots,
            ..
        } = written;
        self.sum.bytes += bytes;
        self.sum.files += files;
        self.sum.snapshots.kept += snapshots.kept;
        self.sum.snapshots.missing += snapshots.missing;
        self.sum.snapshots.why = snapshots.why.or(self.sum.snapshots.why.take());
        // That one became as large as it may be does not keep others from being written.
        if let Why::Failed(_) = why {
            self.sum.why = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::memory::Address;
    use crate::profile::{Observation, Process, TaskId};
    use crate::recording::{Ending, Tape, Window, read};
    use crate::testing;

    /// Files, the oldest first, and what was told.
    #[derive(Clone, Default)]
    struct Seen {
        files: Arc<Mutex<Vec<Vec<u8>>>>,
        news: Arc<Mutex<Vec<News>>>,
    }

    /// The last of the files.
    struct Last(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Last {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut files = self.0.lock().unwrap();
            files.last_mut().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One target, and a ring in which a recording is ripe after `before`.
    struct World {
        ring: Ring,
        seen: Seen,
        tapes: Vec<(Recorder, Tape)>,
        rng: fastrand::Rng,
        at_ms: u64,
    }

    impl World {
        fn new(before: Duration, after: Duration, max_bytes: Option<u64>) -> Self {
            let seen = Seen::default();
            let (files, news) = (Arc::clone(&seen.files), Arc::clone(&seen.news));
            let ring = Ring::begin(When {
                conditions: Vec::new(),
                before,
                after,
                header: Header::new(99, 512, true),
                max_bytes,
                next: Box::new(move || {
                    files.lock().unwrap().push(Vec::new());
                    Ok(Box::new(Last(Arc::clone(&files))))
                }),
                snapshots: None,
                told: Box::new(move |it| news.lock().unwrap().push(it.clone())),
            });
            let mut world = Self {
                ring,
                seen,
                tapes: Vec::new(),
                rng: fastrand::Rng::with_seed(7),
                at_ms: 0,
            };
            let first = world.ring.recorders();
            first.into_iter().for_each(|it| world.begin_tape(it));
            world
        }

        fn begin_tape(&mut self, recorder: Recorder) {
            let process = Process {
                pid: 7,
                command: "python3".to_owned(),
                python: "3.14.10".to_owned(),
            };
            let tape = recorder.target(&process, jiff::Timestamp::UNIX_EPOCH, true);
            self.tapes.push((recorder, tape));
        }

        /// What the tracer does in each of its turns, with so many tasks that are new.
        fn turn(&mut self, tasks: usize) {
            self.at_ms += 10;
            let tick = Observation::Tick { at_ms: self.at_ms };
            self.tapes.iter().for_each(|(_, tape)| tape.write(&tick));
            for _ in 0..tasks {
                let mut address = || Address(self.rng.u64(..));
                let task = TaskId {
                    address: address(),
                    coroutine: address(),
                    name: address(),
                };
                let origin = testing::origin(self.at_ms);
                let unread = Observation::Unread { origin, task };
                self.tapes.iter().for_each(|(_, tape)| tape.write(&unread));
            }
            if let Some(ended) = self.ring.ended() {
                self.tapes.retain(|(_, tape)| !tape.is_of(&ended));
                self.ring.end_file();
            }
            for old in self.ring.drop_old() {
                self.tapes.retain(|(_, tape)| !tape.is_of(&old));
            }
            if self.ring.is_due() {
                let another = self.ring.begin_another();
                self.begin_tape(another);
            }
        }

        fn trigger(&mut self) {
            self.ring.trigger(Found {
                condition: "tasks > 5".to_owned(),
                what: "it has 6 tasks".to_owned(),
            });
        }

        fn finish(self) -> (Written, Seen) {
            drop(self.tapes);
            let ended = jiff::Timestamp::UNIX_EPOCH;
            let written = self
                .ring
                .finish(ended, Duration::from_secs(1), &Refusals::default());
            (written, self.seen)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn nothing_is_written_before_something_happens() {
        let mut world = World::new(Duration::ZERO, LONG, None);
        (0..50).for_each(|_| world.turn(5));
        assert_eq!(world.tapes.len(), 2);
        let (written, seen) = world.finish();
        assert_eq!((written.files, written.triggers), (0, Some(0)));
        assert!(seen.files.lock().unwrap().is_empty() && seen.news.lock().unwrap().is_empty());
    }

    #[test]
    fn the_oldest_is_written_and_goes_on() {
        let mut world = World::new(LONG, LONG, None);
        (0..50).for_each(|_| world.turn(5));
        world.trigger();
        world.turn(5);
        // Of what happens meanwhile the same file tells.
        world.trigger();
        (0..50).for_each(|_| world.turn(5));
        assert_eq!(world.tapes.len(), 2);
        let (written, seen) = world.finish();
        assert_eq!((written.files, written.triggers), (1, Some(1)));
        let files = seen.files.lock().unwrap();
        let [file] = files.as_slice() else { panic!() };
        assert_eq!(written.bytes, file.len() as u64);
        let recording = read(&file[..], |_| Window::default()).unwrap();
        assert_eq!((recording.ending, recording.triggers.len()), (Ending::Whole, 2));
        // From the first turn to the last one.
        assert_eq!(recording.profiles[0].losses.faults, 0);
        assert_eq!(recording.duration_ns, 1_000_000_000);
        let news = seen.news.lock().unwrap();
        let is_begun: Vec<_> = news
            .iter()
            .filter_map(|it| match it {
                News::Triggered { goes_back, .. } => Some(goes_back.is_some()),
                News::Kept { .. } => None,
            })
            .collect();
        assert_eq!(is_begun, [true, false]);
        assert!(matches!(news.last(), Some(News::Kept { .. })));
    }

    #[test]
    fn each_time_there_is_another_file() {
        let mut world = World::new(LONG, Duration::ZERO, None);
        for _ in 0..3 {
            (0..10).for_each(|_| world.turn(5));
            world.trigger();
        }
        let (written, seen) = world.finish();
        assert_eq!((written.files, written.triggers), (3, Some(3)));
        for file in seen.files.lock().unwrap().iter() {
            let recording = read(&file[..], |_| Window::default()).unwrap();
            assert_eq!(recording.triggers.len(), 1);
        }
    }

    #[test]
    fn memory_is_bounded_and_half_of_it_is_never_empty() {
        let most = 1 << 20;
        let mut world = World::new(LONG, LONG, Some(2 * most));
        let mut begun = 0;
        for turn in 0..600 {
            let before = world.ring.held.len();
            world.turn(500);
            let held: Vec<u64> = world.ring.held.iter().map(Recorder::bytes).collect();
            assert!(held.iter().all(|it| *it <= most), "{turn}: {held:?}");
            begun += usize::from(world.ring.held.len() != before);
            if begun > 0 {
                assert!(held[0] >= most / 2 - (300 << 10), "{turn}: {held:?}");
            }
        }
        assert!(begun > 0);
    }

    #[test]
    fn a_file_that_cannot_be_made_ends_it() {
        let mut world = World::new(LONG, LONG, None);
        world.ring.when.next = Box::new(|| Err(io::Error::other("no room")));
        world.turn(5);
        world.trigger();
        assert!(world.ring.is_over());
        let (written, _) = world.finish();
        assert_eq!(written.why, Why::Failed("no room".to_owned()));
    }
}
