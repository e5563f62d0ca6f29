//! The target as a process: that it exists, and when it ends.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::observer::AttachError;

/// How often a process is looked at for its end.
const INTERVAL: Duration = Duration::from_millis(10);

/// A handle of the process that outlives the process: its number may be reused, this is not.
pub(super) struct Process {
    handle: OwnedFd,
}

impl Process {
    /// Takes hold of process `pid`.
    pub(super) fn open(pid: u32) -> Result<Self, AttachError> {
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(AttachError::NoSuchProcess)?;
        let handle = pidfd_open(number, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => AttachError::NoSuchProcess,
            // Since Linux 6.9 a number of a thread that is no process says so; before, it is an invalid argument.
            Errno::INVAL | Errno::NOENT => AttachError::Thread,
            error => AttachError::Watch(error.into()),
        })?;
        Ok(Self { handle })
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut handles, Some(&Timespec::default())), Ok(1..))
    }

    /// Ready when the process has ended.
    pub(super) async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
