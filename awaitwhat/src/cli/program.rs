//! Programs that awaitwhat starts itself. One that was started here does not stay behind: it is asked to end with its value, also when
//! something fails, or panics.
//!
//! When awaitwhat is killed (SIGKILL) such a program goes on: it is the user's, and may be worth more than the look at it. `strace`, `perf`
//! and `sudo` leave theirs alone in the same way.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::descriptors;
use super::signals::Signals;
use crate::privileges::{self, Set};

/// How long a program may take to end once it was asked to.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The signal that a program is asked to end with.
pub(super) const SIGTERM: i32 = Signal::TERM.as_raw();

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{program} cannot be started: {}", probable_cause(source))]
pub(super) struct NotStarted {
    pub(super) program: String,
    pub(super) source: io::Error,
}

/// What to look at when a program cannot be started.
fn probable_cause(error: &io::Error) -> &'static str {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => {
            "is it spelled right, to be found through PATH, and the interpreter in its first line there?"
        }
        (ErrorKind::PermissionDenied, _) => "is it executable, and may this user enter the folders above it?",
        (_, Some(libc::ENOEXEC)) => {
            "it is no program for this machine; of a script the first line has to name the interpreter (#!)"
        }
        (ErrorKind::ArgumentListTooLong, _) => "its arguments and environment are too long",
        (_, Some(libc::EAGAIN)) => {
            "no more processes may be made: raise `ulimit -u`, or pids.max of the control group, or end something"
        }
        (ErrorKind::OutOfMemory, _) => "there is not enough memory",
        (_, Some(libc::EMFILE | libc::ENFILE)) => {
            "no more files can be opened: raise `ulimit -n`, or fs.file-max of the machine"
        }
        _ => "try to start it without awaitwhat",
    }
}

/// How it ends with a program that was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Ended(ExitStatus),
    /// Not within [`PATIENCE`].
    StillThere,
    /// It has become another user's, whom we may not send a signal.
    NotPermitted,
}

/// A running program that was started here.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    pid: u32,
    was_asked: bool,
}

impl Program {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.as_std().get_program().to_owned();
        let child = descriptors::as_found(|| command.spawn()).map_err(|source| NotStarted {
            program: shown(&name),
            source,
        })?;
        let pid = child
            .id()
            .with_context(|| format!("{} ended at once", shown(&name)))?;
        Ok(Self {
            child,
            pid,
            was_asked: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// When waiting fails.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the program to end (SIGTERM) if it still runs, and waits a while for it. One of `signals` meanwhile ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When waiting for it fails.
    pub(super) async fn terminate(&mut self, signals: &mut Signals) -> io::Result<Ending> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Ending::Ended(status));
        }
        if !self.send(Signal::TERM) {
            return Ok(Ending::NotPermitted);
        }
        let is_impatient = tokio::select! {
            status = self.child.wait() => return status.map(Ending::Ended),
            () = tokio::time::sleep(PATIENCE) => false,
            _ = signals.received() => true,
        };
        if is_impatient {
            self.send(Signal::KILL);
            if let Ok(status) = tokio::time::timeout(PATIENCE, self.child.wait()).await {
                return status.map(Ending::Ended);
            }
        }
        Ok(Ending::StillThere)
    }

    /// Sends a signal, unless it was waited for: until then its process id is its own. False where that is not permitted.
    fn send(&mut self, signal: Signal) -> bool {
        self.was_asked = true;
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        match pid.and_then(Pid::from_raw) {
            // Other failures mean that it has ended, which is what was wanted.
            Some(pid) => privileges::raised(Set::KILL, || kill_process(pid, signal)) != Err(Errno::PERM),
            None => true,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Asked a second time, servers drop what they were just finishing.
        if !self.was_asked {
            self.send(Signal::TERM);
        }
    }
}

fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::NotStarted;

    #[test]
    fn why_a_program_cannot_be_started_is_told_by_the_error() {
        for (errno, word) in [
            (libc::ENOENT, "spelled right"),
            (libc::EACCES, "executable"),
            (libc::EAGAIN, "pids.max"),
            (libc::ENOMEM, "memory"),
            (libc::E2BIG, "too long"),
            (libc::ENOEXEC, "#!"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EIO, "without awaitwhat"),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let program = "x".to_owned();
            let text = NotStarted { program, source }.to_string();
            assert!(text.starts_with("x cannot be started: "), "{text}");
            assert!(text.contains(word), "{errno}: {text}");
        }
    }
}
