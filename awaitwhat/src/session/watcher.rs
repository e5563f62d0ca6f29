//! Snapshots one after the other: what was found out about a process in the first look serves in those that follow.
//!
//! What a look tells is of its own moment all the same. Event loops and threads are looked for anew; nothing of the target's memory is
//! remembered; and once the tasks were read, it is made sure that the code objects of their chains are still those that have been named. Where
//! anything does not fit, the process is looked at as if it were new.

use std::collections::{BTreeMap, HashSet};

use tokio::runtime;

use super::attach_error::AttachError;
use super::observer::{Manner, Observer};
use super::once::{gather, has_tasks, manner};
use super::roster::Roster;
use super::{Error, Options};
use crate::capture::Capture;
use crate::chains::ChainId;
use crate::selection::{Candidate, Selection};
use crate::snapshot::Snapshot;
use crate::survey::Survey;

/// Processes that it stays attached to; others are attached to anew in each look.
const MAX_KEPT: usize = 256;
/// Names are not let go of below that, in bytes.
const LITTLE: usize = 2 << 20;

/// Takes snapshots of a selection of processes, for which what the kernel needs is loaded once.
pub struct Watcher<'a> {
    capture: Capture,
    roster: Roster<'a>,
    selection: &'a Selection,
    manner: Manner,
    kept: BTreeMap<u32, Kept>,
}

/// A process that it stays attached to.
struct Kept {
    observer: Observer,
    /// Bytes that its names took when they were last let go of.
    kept_bytes: usize,
}

impl<'a> Watcher<'a> {
    /// Loads what is needed.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn begin(selection: &'a Selection, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            capture: super::load(options, super::MAX_LOOPS_PER_THREAD)?,
            roster: Roster::new(selection, false),
            selection,
            manner: manner(options),
            kept: BTreeMap::new(),
        })
    }

    /// Reads every task of the processes once, as [`snapshots`](super::snapshots) does.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look(&mut self) -> Result<Survey<Snapshot>, Error> {
        // Those that have ended, or belong to the selection no longer, are not put back.
        let mut former = std::mem::take(&mut self.kept);
        let mut targets = Vec::new();
        for candidate in self.roster.take_due(|pid| former.contains_key(&pid)) {
            let kept = former.remove(&candidate.pid);
            let Some(snapshot) = self.look_at(candidate, kept).await? else {
                continue;
            };
            if self.selection.is_shown(candidate.reason, has_tasks(&snapshot)) {
                targets.push(snapshot);
            }
        }
        let refused = self.roster.refused(targets.is_empty())?;
        Ok(Survey { targets, refused })
    }

    /// The same in a thread that does nothing else meanwhile.
    pub(super) fn look_and_wait(&mut self) -> Result<Survey<Snapshot>, Error> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| Error::NotBegun {
                source: source.into(),
            })?;
        runtime.block_on(self.look())
    }

    /// Looks at one process; `None` where that cannot be done, which the roster knows of.
    async fn look_at(&mut self, candidate: Candidate, kept: Option<Kept>) -> Result<Option<Snapshot>, Error> {
        if let Some(kept) = kept
            && let Some(snapshot) = self.look_again(kept).await
        {
            return Ok(Some(snapshot));
        }
        let Self {
            capture,
            roster,
            manner,
            ..
        } = self;
        let Some(observer) = roster.attach(capture, candidate, manner.clone())? else {
            return Ok(None);
        };
        let mut kept = Kept {
            observer,
            kept_bytes: 0,
        };
        match kept.look(capture).await {
            Ok((snapshot, _)) => {
                self.keep(kept);
                Ok(Some(snapshot))
            }
            Err(error) => {
                kept.observer.detach(capture);
                let error = kept.observer.explain(error);
                roster.cannot(candidate, error).map(|()| None)
            }
        }
    }

    /// Looks at a process that was looked at before; `None` where that tells nothing certain, as it may be another one by now.
    async fn look_again(&mut self, mut kept: Kept) -> Option<Snapshot> {
        let observer = &mut kept.observer;
        let begun = !observer.process.has_ended() && observer.begin_snapshot(&mut self.capture).is_ok();
        if begun && let Ok((snapshot, true)) = kept.look(&mut self.capture).await {
            self.keep(kept);
            return Some(snapshot);
        }
        kept.observer.detach(&mut self.capture);
        None
    }

    fn keep(&mut self, kept: Kept) {
        if self.kept.len() < MAX_KEPT {
            kept.observer.rest(&mut self.capture);
            self.kept.insert(kept.observer.pid, kept);
        } else {
            let mut observer = kept.observer;
            observer.detach(&mut self.capture);
            self.roster.ask_again(observer.pid);
        }
    }
}

impl Kept {
    /// Reads every task. Also tells whether the code objects are those that were named before this look.
    async fn look(&mut self, capture: &mut Capture) -> Result<(Snapshot, bool), AttachError> {
        let observer = &mut self.observer;
        let gathered = gather(capture, observer).await?;
        // By pages that were read since the tasks were.
        let changed = observer.check_names().map_err(crate::target::FindError::from)?;
        let names = &mut observer.names;
        names.retire(&changed);
        let has_grown = names.is_full() || names.bytes() > LITTLE.max(2 * self.kept_bytes);
        let used: Option<HashSet<ChainId>> = has_grown.then(|| {
            let visits = gathered.passes.iter().flat_map(|pass| pass.visits.values());
            visits.map(|visit| visit.chain).collect()
        });
        let snapshot = gathered.assemble(observer).await?;
        if snapshot.losses.stale > 0 {
            // What could not be named may have a name in the next look.
            observer.names.let_go(|_| false);
        } else if let Some(used) = used {
            observer.names.let_go(|chain| used.contains(&chain));
            self.kept_bytes = observer.names.bytes();
        }
        Ok((snapshot, changed.is_empty()))
    }
}
