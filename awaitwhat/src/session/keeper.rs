//! Snapshots of all targets while they are traced, now and then: by a watcher in a thread of its own, so that no look of the trace is late for it.

use std::error::Error as StdError;
use std::io;
use std::panic;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime;

use super::{Error, Options, Watcher};
use crate::recording::{self, Moment, Packed, Recorder};
use crate::selection::Selection;
use crate::snapshot::Snapshot;
use crate::survey::Survey;

/// From one look to the next it takes as many times of what the last one took: of a target with very many tasks there are fewer snapshots.
const PAUSES: u32 = 50;
/// How long the end of a trace waits for a look that was begun.
const LAST: Duration = Duration::from_secs(1);

/// Has snapshots be taken, and gives them to a recording.
pub(super) struct Keeper {
    asked: Sender<()>,
    taken: Receiver<Taken>,
    thread: Option<JoinHandle<()>>,
    every: Duration,
    /// When the next look is due; `None` while one is made.
    due: Option<Instant>,
}

/// What came of a look.
struct Taken {
    began: Instant,
    took: Duration,
    packed: Result<Packed, String>,
}

impl Keeper {
    /// Begins a thread that looks at the processes of `selection`, with what this one may do.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn begin(
        selection: &Selection,
        options: &Options,
        every: Duration,
        recorder: &Recorder,
    ) -> io::Result<Self> {
        let (asked, requests) = mpsc::channel();
        let (answers, taken) = mpsc::channel();
        let (selection, options) = (selection.clone(), options.clone());
        let start = recorder.began();
        let work = move || {
            let mut watcher = None;
            while let Ok(()) = requests.recv() {
                let began = Instant::now();
                let taken_at = this_millisecond();
                let found = look(&mut watcher, &selection, &options);
                if found.is_err() {
                    // What was loaded may be why.
                    watcher = None;
                }
                let moment = found.map_err(|error| told(&error)).map(|found| Moment {
                    since: nanoseconds(began.saturating_duration_since(start)),
                    taken_at,
                    found,
                });
                let packed = moment.and_then(|moment| recording::pack(&moment).map_err(|error| told(&error)));
                let took = began.elapsed();
                if answers.send(Taken { began, took, packed }).is_err() {
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
    pub(super) fn keep_up(&mut self, recorder: &Recorder) {
        match self.taken.try_recv() {
            Ok(taken) => self.take(taken, recorder),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.end_of_thread(),
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            // Where nobody looks any more, that is found when an answer is looked for.
            let _ = self.asked.send(());
        }
    }

    /// Takes what a look finds that was begun.
    pub(super) fn finish(mut self, recorder: &Recorder) {
        if self.due.is_some() {
            return;
        }
        match self.taken.recv_timeout(LAST) {
            Ok(taken) => self.take(taken, recorder),
            Err(RecvTimeoutError::Timeout) => {
                recorder.miss("the recording ended before it was taken".to_owned())
            }
            Err(RecvTimeoutError::Disconnected) => self.end_of_thread(),
        }
    }

    fn take(&mut self, taken: Taken, recorder: &Recorder) {
        let Taken { began, took, packed } = taken;
        self.due = Some(began + self.every.max(took * PAUSES));
        match packed {
            Ok(packed) => recorder.keep(&packed),
            Err(why) => recorder.miss(why),
        }
    }

    /// Panics as the thread has, if it has.
    fn end_of_thread(&mut self) {
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            panic::resume_unwind(panicked);
        }
    }
}

/// Takes one look, by what was loaded for the one before.
fn look<'a>(
    watcher: &mut Option<Watcher<'a>>,
    selection: &'a Selection,
    options: &Options,
) -> Result<Survey<Snapshot>, Error> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| Error::NotBegun {
            source: source.into(),
        })?;
    let watcher = match watcher {
        Some(watcher) => watcher,
        None => watcher.insert(Watcher::begin(selection, options)?),
    };
    runtime.block_on(watcher.look())
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
