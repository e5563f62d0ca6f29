//! Programs that awaitwhat starts itself.

use std::ffi::OsStr;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a program may take to end once it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// The signal that a program is asked to end with.
pub(super) const SIGTERM: i32 = Signal::TERM.as_raw();

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{program} cannot be started: is it spelled right, to be found through PATH, and executable?")]
pub(super) struct NotStarted {
    pub(super) program: String,
    pub(super) source: io::Error,
}

/// A running program that was started here.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    pid: u32,
}

impl Program {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.as_std().get_program().to_owned();
        let child = command.spawn().map_err(|source| NotStarted {
            program: shown(&name),
            source,
        })?;
        let pid = child
            .id()
            .with_context(|| format!("{} ended at once", shown(&name)))?;
        Ok(Self { child, pid })
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

    /// Asks the program to end (SIGTERM) if it still runs. Gives up on one that takes too long: then there is no status.
    ///
    /// # Errors
    /// When waiting for it fails.
    pub(super) async fn terminate(&mut self) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        terminate(self.pid);
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .map_or(Ok(None), |status| status.map(Some))
    }
}

/// Sends SIGTERM to a child that was not waited for yet, so that its process id is still its own.
fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A failure means that the child has ended, which is what was wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
