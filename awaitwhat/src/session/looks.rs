//! Looks in a thread of their own, one each time that it is asked for: meanwhile a screen can be drawn, and keys be taken.

use std::panic;
use std::sync::mpsc::{self as requests, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver};

use super::{Error, Options, Watcher};
use crate::privileges::{self, Set};
use crate::selection::Selection;
use crate::snapshot::Snapshot;
use crate::survey::Survey;

/// What one look has found.
#[derive(Debug)]
pub struct Look {
    pub survey: Survey<Snapshot>,
    /// How long it took.
    pub took: Duration,
}

/// Takes looks. After an error it takes no other one.
pub struct Looks {
    asked: Sender<()>,
    found: Receiver<Result<Look, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Looks {
    /// Begins a thread that looks at the processes of `selection`. The one that this is called from may not read any more.
    ///
    /// # Errors
    /// When there can be no thread. What else is in the way is told by the first look.
    pub fn begin(selection: Selection, options: Options) -> Result<Self, Error> {
        let (asked, requests) = requests::channel();
        let (answers, found) = mpsc::channel(1);
        let work = move || {
            privileges::only_read(Set::empty());
            let look = |watcher: &mut Watcher<'_>| {
                let begun = Instant::now();
                let survey = watcher.look_and_wait()?;
                let took = begun.elapsed();
                Ok(Look { survey, took })
            };
            let mut watcher = None;
            while let Ok(()) = requests.recv() {
                let answer = match &mut watcher {
                    Some(watcher) => look(watcher),
                    None => {
                        Watcher::begin(&selection, &options).and_then(|begun| look(watcher.insert(begun)))
                    }
                };
                let is_over = answer.is_err();
                if answers.blocking_send(answer).is_err() || is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("watcher".to_owned()).spawn(work);
        // That thread has what it needs: a thread begins with the capabilities of the one that makes it.
        privileges::leave_reading();
        Ok(Self {
            asked,
            found,
            thread: Some(thread.map_err(|source| Error::NoThread { source })?),
        })
    }

    /// Asks for a look.
    pub fn ask(&self) {
        // Where nobody looks any more, that was told.
        let _ = self.asked.send(());
    }

    /// What the look has found that was asked for; never ready where none is.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// # Panics
    /// As the thread has.
    pub async fn found(&mut self) -> Result<Look, Error> {
        if let Some(found) = self.found.recv().await {
            return found;
        }
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            panic::resume_unwind(panicked);
        }
        std::future::pending().await
    }
}
