//! The target as a process: that it exists, and when it ends.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::observer::AttachError;

/// A handle of the process that outlives the process: its number may be reused, this is not.
pub(super) struct Process {
    handle: AsyncFd<std::os::fd::OwnedFd>,
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
        let handle = AsyncFd::register_with_interest(handle, Interest::READABLE)
            .map_err(|error| AttachError::Watch(error.into()))?;
        Ok(Self { handle })
    }

    /// Ready when the process has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.handle.readable().await.map(|mut guard| guard.retain_ready())
    }
}
