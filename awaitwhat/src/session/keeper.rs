//! Snapshots of all targets while they are traced, now and then: by a watcher in a thread of its own, so that no look of the trace is late for it.

use std::error::Error as StdError;
use std::io;
use std::panic;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::passes::cpu_seconds;
use super::{Options, Watcher, nanoseconds};
use crate::recording::{self, Moment, Packed, Recorder};
use crate::selection::Selection;

/// From one look to the next it takes as many times of the processor's time that the last one took: of a target with very many tasks there are fewer
/// snapshots.
const PAUSES: f64 = 50.0;
/// How long the end of a trace waits for a look that was begun.
const LAST: Duration = Duration::from_secs(1);

/// Has snapshots be taken, and gives them to a recording.
pub(super) struct Keeper {
    /// Told when the recordings began that it is for.
    asked: Sender<Vec<Instant>>,
    taken: Receiver<Taken>,
    thread: Option<JoinHandle<()>>,
    every: Duration,
    /// When the next look is due; `None` while one is made.
    due: Option<Instant>,
}

/// What came of a look.
struct Taken {
    /// When the next look may begin, as far as it is for what this one took.
    rested: Instant,
    began: Instant,
    /// For each of the recordings, with when that began.
    packed: Result<Vec<(Instant, Packed)>, String>,
}

impl Keeper {
    /// Begins a thread that looks at the processes of `selection`, with what this one may do.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn begin(selection: &Selection, options: &Options, every: Duration) -> io::Result<Self> {
        let (asked, requests) = mpsc::channel::<Vec<Instant>>();
        let (answers, taken) = mpsc::channel();
        let (selection, options) = (selection.clone(), options.clone());
        let work = move || {
            let mut watcher = None;
            while let Ok(starts) = requests.recv() {
                let taken = take(&mut watcher, &selection, &options, &starts);
                if taken.packed.is_err() {
                    // What was loaded may be why.
                    watcher = None;
                }
                if answers.send(taken).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(work)?;
        Ok(Self {
            asked,
            taken,
            thread: Some(thread),
            every,
            due: Some(Instant::now()),
        })
    }

    /// Takes what was found, and asks for the next look when it is time to.
    pub(super) fn keep_up(&mut self, recorders: &[Recorder]) {
        match self.taken.try_recv() {
            Ok(taken) => self.take(taken, recorders),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.end_of_thread(),
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            // Where nobody looks any more, that is found when an answer is looked for.
            let starts: Vec<Instant> = recorders.iter().map(Recorder::began).collect();
            let _ = self.asked.send(starts);
        }
    }

    /// Another file has begun, which is to have a snapshot from its beginning. The look that goes on is of the file before.
    pub(super) fn hurry(&mut self) {
        if self.due.is_some() {
            self.due = Some(Instant::now());
        }
    }

    /// Takes what a look finds that was begun.
    pub(super) fn finish(mut self, recorders: &[Recorder]) {
        if self.due.is_some() {
            return;
        }
        match self.taken.recv_timeout(LAST) {
            Ok(taken) => self.take(taken, recorders),
            Err(RecvTimeoutError::Timeout) => {
                let why = "the recording ended before it was taken";
                recorders.iter().for_each(|it| it.miss(why.to_owned()));
            }
            Err(RecvTimeoutError::Disconnected) => self.end_of_thread(),
        }
    }

    fn take(&mut self, taken: Taken, recorders: &[Recorder]) {
        let Taken {
            rested,
            began,
            packed,
        } = taken;
        self.due = Some(rested.max(began + self.every));
        match packed {
            Ok(each) => {
                let of = |start: Instant| recorders.iter().find(move |it| it.began() == start);
                let for_some = each
                    .iter()
                    .filter_map(|(start, packed)| Some((of(*start)?, packed)));
                let kept = for_some.map(|(recorder, packed)| recorder.keep(packed));
                if kept.count() == 0 {
                    // Another file has begun meanwhile.
                    self.due = Some(Instant::now());
                }
            }
            Err(why) => recorders.iter().for_each(|it| it.miss(why.clone())),
        }
    }

    /// Panics as the thread has, if it has.
    fn end_of_thread(&mut self) {
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            panic::resume_unwind(panicked);
        }
    }
}

/// Takes one look, by what was loaded for the one before, for recordings that began then.
fn take<'a>(
    watcher: &mut Option<Watcher<'a>>,
    selection: &'a Selection,
    options: &Options,
    starts: &[Instant],
) -> Taken {
    let loaded = match watcher {
        Some(watcher) => Ok(watcher),
        None => Watcher::begin(selection, options).map(|begun| watcher.insert(begun)),
    };
    let began = Instant::now();
    let taken_at = this_millisecond();
    let before = cpu_seconds();
    let found = loaded
        .and_then(Watcher::look_and_wait)
        .map_err(|error| told(&error));
    let packed = found.and_then(|found| {
        let mut moment = Moment {
            since: 0,
            taken_at,
            found,
        };
        let pack = |start: &Instant| {
            moment.since = nanoseconds(began.saturating_duration_since(*start));
            let packed = recording::pack(&moment).map_err(|error| told(&error))?;
            Ok((*start, packed))
        };
        starts.iter().map(pack).collect()
    });
    let ended = Instant::now();
    let rest = Duration::try_from_secs_f64((cpu_seconds() - before) * PAUSES).unwrap_or_default();
    Taken {
        rested: ended + rest.max(ended - began),
        began,
        packed,
    }
}

/// The moment, as exactly as it is shown: who asks for what is shown gets the same snapshot.
fn this_millisecond() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// An error with what is behind it.
fn told(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
