//! The processes of a selection that were not looked at yet, and what becomes of those that cannot be.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Error;
use super::attach_error::AttachError;
use super::observer::{Manner, Observer};
use super::process::hides_processes;
use crate::budget::{Budget, NAMES_BYTES};
use crate::capture::{Capture, CaptureError};
use crate::processes::{Identity, Processes};
use crate::selection::{Candidate, Reason, Search, Selection};
use crate::survey::{Refusals, Refused};
use crate::target::FindError;

/// How long a process that looks as if it had only just started is given until there is an interpreter in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process that is no Python may take to become one: between `exec` and its first instruction it has no interpreter in it.
const SETTLING: Duration = Duration::from_secs(1);

/// Refused processes that are remembered one by one: where they come and go, there is no end of them.
const MAX_REFUSED: usize = 1024;

/// How long what was found to be no Python is left alone where looks follow each other: it may load one later.
const SWEEP: Duration = Duration::from_secs(10);

/// What to do with a process that could not be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody asked for it: it has ended, or is no Python.
    Skip,
    /// It may become readable.
    Retry,
    Refuse,
}

/// Who is to be looked at.
pub(super) struct Roster<'a> {
    search: Search<'a>,
    /// The processes that were dealt with, as they were then: one that runs another program now is another one.
    dealt_with: HashMap<u32, Option<Identity>>,
    /// Since when there was another try, and the error of the last one.
    doubtful: HashMap<u32, (Instant, AttachError)>,
    refused: Vec<(u32, Option<String>, AttachError)>,
    /// Refused processes besides these.
    refused_others: u64,
    /// What was asked for has only just been started.
    just_started: bool,
    /// What the names of all targets may take.
    names: Budget,
    /// Since when what is no Python is left alone.
    swept: Instant,
}

impl<'a> Roster<'a> {
    pub(super) fn new(selection: &'a Selection, just_started: bool) -> Self {
        Self {
            search: Search::new(selection, Processes::default(), std::process::id()),
            dealt_with: HashMap::new(),
            doubtful: HashMap::new(),
            refused: Vec::new(),
            refused_others: 0,
            just_started,
            names: Budget::new(NAMES_BYTES),
            swept: Instant::now(),
        }
    }

    /// Whether it is worth asking again for processes to look at.
    pub(super) fn is_open(&self) -> bool {
        self.search.selection().is_open() || !self.doubtful.is_empty()
    }

    /// Whether there is nobody left who could still have to be looked at.
    pub(super) fn is_empty(&mut self) -> bool {
        !self.search.selection().has_rules()
            && self.doubtful.is_empty()
            && (!self.is_open() || self.is_deserted())
    }

    fn is_deserted(&mut self) -> bool {
        let found = self.search.look();
        let is_there = |candidate: &Candidate| self.search.processes().identity(candidate.pid).is_some();
        !found.iter().any(is_there)
    }

    /// The processes that were not dealt with yet, or that run another program since. Each counts as dealt with from now on. Those that
    /// are being looked at are left alone: what they have become is seen when that has come to its end.
    pub(super) fn take_new(&mut self, is_looked_at: impl Fn(u32) -> bool) -> Vec<Candidate> {
        let mut found = self.search.look();
        let mut is_new = self.newness(&found);
        found.retain(|candidate| !is_looked_at(candidate.pid) && is_new(candidate));
        found
    }

    /// Those that [`Roster::take_new`] gives, and of those that `are_kept` the ones that still belong to the selection.
    pub(super) fn take_due(&mut self, are_kept: impl Fn(u32) -> bool) -> Vec<Candidate> {
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.dealt_with.clear();
        }
        let mut found = self.search.look();
        let mut is_new = self.newness(&found);
        found.retain(|candidate| are_kept(candidate.pid) || is_new(candidate));
        found
    }

    /// Tells of one of those that were `found` whether it was not dealt with yet. From now on it is.
    fn newness<'s>(&'s mut self, found: &[Candidate]) -> impl FnMut(&Candidate) -> bool + use<'s, 'a> {
        let there: HashSet<u32> = found.iter().map(|candidate| candidate.pid).collect();
        self.dealt_with.retain(|pid, _| there.contains(pid));
        self.doubtful.retain(|pid, _| there.contains(pid));
        let Self {
            search,
            dealt_with,
            doubtful,
            ..
        } = self;
        move |candidate| {
            // Before it is looked at: what it becomes meanwhile is something new.
            let identity = search.processes().identity(candidate.pid);
            let before = dealt_with.insert(candidate.pid, identity.clone());
            // One that has ended since is nothing new.
            let is_new = before.is_none_or(|before| identity.is_some() && before != identity);
            is_new || doubtful.contains_key(&candidate.pid)
        }
    }

    /// Has a process be looked at anew, though it was dealt with.
    pub(super) fn ask_again(&mut self, pid: u32) {
        self.dealt_with.remove(&pid);
    }

    /// Attaches to a process. `Ok(None)` where that cannot be done; whoever has to know will be told.
    ///
    /// # Errors
    /// What would be in the way of every other process too.
    pub(super) fn attach(
        &mut self,
        capture: &mut Capture,
        candidate: Candidate,
        manner: Manner,
    ) -> Result<Option<Observer>, Error> {
        match Observer::attach(capture, candidate.pid, manner, &self.names) {
            Ok(observer) => {
                self.doubtful.remove(&candidate.pid);
                Ok(Some(observer))
            }
            Err(error) => self.cannot(candidate, error).map(|()| None),
        }
    }

    /// Notes that a process could not be looked at, or no longer.
    ///
    /// # Errors
    /// As [`Roster::attach`].
    pub(super) fn cannot(&mut self, candidate: Candidate, error: AttachError) -> Result<(), Error> {
        let Candidate { pid, reason } = candidate;
        if error.is_about_all() {
            return Err(error.for_process(pid));
        }
        let since = self.doubtful.remove(&pid).map(|(since, _)| since);
        let since = since.unwrap_or_else(Instant::now);
        match self.verdict(reason, &error, since) {
            Verdict::Skip => {}
            Verdict::Retry => {
                self.doubtful.insert(pid, (since, error));
            }
            Verdict::Refuse => self.refuse(pid, error),
        }
        Ok(())
    }

    fn refuse(&mut self, pid: u32, error: AttachError) {
        if self.refused.len() < MAX_REFUSED {
            let command = self.search.processes().command(pid);
            self.refused.push((pid, command, error));
        } else {
            self.refused_others += 1;
        }
    }

    fn verdict(&self, reason: Reason, error: &AttachError, since: Instant) -> Verdict {
        let is_named = reason == Reason::Named;
        let is_settling = match reason {
            Reason::Named => false,
            Reason::Matched => error.is_being_loaded(),
            Reason::Child => error.is_no_python(),
        };
        if is_settling && since.elapsed() < SETTLING {
            return Verdict::Retry;
        }
        let may_become = match error {
            AttachError::Find(FindError::NotInitialised) => self.just_started || !is_named,
            // A child that was forked a moment ago still has much that is its parent's, and contradicts itself.
            _ if !is_named => error.is_momentary(),
            _ => self.just_started && error.is_too_early(),
        };
        if may_become && since.elapsed() < PATIENCE {
            return Verdict::Retry;
        }
        // A shell or a supervisor whose children are wanted need not be Python itself.
        let is_asked_for = is_named && !self.search.selection().subprocesses;
        if !is_asked_for && error.is_no_python() || !is_named && error.is_over() {
            return Verdict::Skip;
        }
        Verdict::Refuse
    }

    /// Those that were refused since the last time; where nothing was found at all (`is_nothing`), that is an error. Who asks for processes
    /// again gets them again.
    pub(super) fn refused(&mut self, is_nothing: bool) -> Result<Refusals, Error> {
        // Those that never got ready are told where there is nothing else to tell; one that could not be read, always.
        let just_started = self.just_started;
        for (pid, (_, error)) in std::mem::take(&mut self.doubtful) {
            self.dealt_with.remove(&pid);
            let is_left = error.is_momentary() && self.search.processes().identity(pid).is_some();
            if is_left || is_nothing && (just_started || !error.is_no_python()) {
                self.refuse(pid, error);
            }
        }
        let others = std::mem::take(&mut self.refused_others);
        if others > 0 {
            self.dealt_with.clear();
        }
        let mut refused = std::mem::take(&mut self.refused);
        for (pid, ..) in &refused {
            self.dealt_with.remove(pid);
        }
        let selection = self.search.selection();
        if is_nothing
            && !selection.has_rules()
            && selection.pids.len() == 1
            && refused.len() == 1
            && let Some((pid, _, error)) = refused.pop()
        {
            let is_too_early = self.just_started && (error.is_too_early() || error.is_over());
            let error = if is_too_early {
                AttachError::TooEarly
            } else {
                error
            };
            return Err(error.for_process(pid));
        }
        refused.sort_by_key(|(pid, ..)| *pid);
        let each = refused.into_iter().map(|(pid, command, error)| Refused {
            pid,
            command: command.unwrap_or_default(),
            reason: error.to_string(),
        });
        let refused = Refusals {
            each: each.collect(),
            others,
            are_hidden: self.search.selection().has_rules() && hides_processes(),
        };
        match refused {
            refused if !is_nothing => Ok(refused),
            Refusals { are_hidden: true, .. } => Err(Error::Privilege {
                source: AttachError::AllHidden.into(),
            }),
            refused => Err(Error::Nothing { refused }),
        }
    }
}

impl AttachError {
    /// Whether it says of the process that it is no Python.
    fn is_no_python(&self) -> bool {
        matches!(
            self,
            Self::NoMemory | Self::Find(FindError::NotPython { .. }) | Self::Thread
        )
    }

    /// Whether the process may be between `exec` and the loading of what it needs.
    fn is_being_loaded(&self) -> bool {
        matches!(
            self,
            Self::Find(FindError::NotPython {
                is_without_libc: true,
                ..
            })
        )
    }

    /// Whether it says of the process that it has ended, or is about to.
    fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Ended | Self::NoSuchProcess | Self::Capture(CaptureError::Gone)
        ) || self.is_gone()
    }

    /// Whether it would be the same with every other process.
    fn is_about_all(&self) -> bool {
        matches!(
            self,
            Self::NoProc | Self::ForeignProc | Self::Capture(CaptureError::Object(_))
        ) || matches!(self, Self::Capture(error) if error.is_about_kernel())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Selection {
        Selection {
            all: true,
            ..Selection::default()
        }
    }

    fn no_python(is_without_libc: bool) -> AttachError {
        AttachError::Find(FindError::NotPython {
            images: 2,
            is_without_libc,
        })
    }

    /// When there was the first try, if that was long ago.
    fn long_ago() -> Instant {
        let now = Instant::now();
        now.checked_sub(SETTLING * 2).unwrap_or(now)
    }

    #[test]
    fn what_may_still_become_python_is_tried_again() {
        let selection = everything();
        let roster = Roster::new(&selection, false);
        let (loading, loaded, over) = (no_python(true), no_python(false), AttachError::Ended);
        for (reason, error, expected) in [
            (Reason::Matched, &loading, Verdict::Retry),
            (Reason::Matched, &loaded, Verdict::Skip),
            (Reason::Child, &loading, Verdict::Retry),
            (Reason::Child, &loaded, Verdict::Retry),
            (Reason::Named, &loading, Verdict::Refuse),
            (Reason::Named, &loaded, Verdict::Refuse),
            (Reason::Matched, &over, Verdict::Skip),
            (Reason::Child, &over, Verdict::Skip),
        ] {
            assert_eq!(
                roster.verdict(reason, error, Instant::now()),
                expected,
                "{reason:?}, {error}"
            );
        }
        for reason in [Reason::Matched, Reason::Child] {
            assert_eq!(
                roster.verdict(reason, &loading, long_ago()),
                Verdict::Skip,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn who_is_kept_and_who_was_refused_is_looked_at_in_each_look() {
        let selection = Selection::of(1);
        let mut roster = Roster::new(&selection, false);
        let due = |roster: &mut Roster<'_>, kept: u32| -> Vec<u32> {
            let due = roster.take_due(|pid| pid == kept);
            due.iter().map(|candidate| candidate.pid).collect()
        };
        assert_eq!(due(&mut roster, 0), [1]);
        assert!(due(&mut roster, 0).is_empty());
        assert_eq!(due(&mut roster, 1), [1]);
        roster.ask_again(1);
        assert_eq!(due(&mut roster, 0), [1]);
        let candidate = Candidate {
            pid: 1,
            reason: Reason::Named,
        };
        for _ in 0..2 {
            let error = AttachError::Find(FindError::PyPy);
            roster.cannot(candidate, error).unwrap();
            assert_eq!(roster.refused(false).unwrap().each.len(), 1);
            assert_eq!(due(&mut roster, 0), [1]);
        }
        assert!(roster.refused(false).unwrap().is_empty());
    }

    #[test]
    fn of_ever_new_processes_some_are_remembered_and_the_others_counted() {
        let selection = everything();
        let mut roster = Roster::new(&selection, false);
        let pids = 1 << 30;
        for pid in pids..pids + MAX_REFUSED as u32 + 3 {
            let candidate = Candidate {
                pid,
                reason: Reason::Matched,
            };
            let error = AttachError::Find(FindError::PyPy);
            roster.cannot(candidate, error).unwrap();
        }
        let refused = roster.refused(false).unwrap();
        assert_eq!((refused.each.len(), refused.others), (MAX_REFUSED, 3));
        assert!(!refused.is_empty());
    }

    #[test]
    fn what_contradicts_itself_is_tried_again_unless_it_was_named() {
        let selection = everything();
        let roster = Roster::new(&selection, false);
        let error = AttachError::Find(FindError::UnknownBuild {
            image: "python".to_owned(),
        });
        for (reason, expected) in [
            (Reason::Matched, Verdict::Retry),
            (Reason::Child, Verdict::Retry),
            (Reason::Named, Verdict::Refuse),
        ] {
            assert_eq!(
                roster.verdict(reason, &error, Instant::now()),
                expected,
                "{reason:?}"
            );
        }
    }
}
