//! The target as a process: that it exists, when it ends, and what its threads are called outside.

use std::fs;
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
    pid: u32,
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
        Ok(Self { pid, handle })
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut handles, Some(&Timespec::default())), Ok(1..))
    }

    /// The id that the thread which calls itself `tid` has outside: in a container the two differ. `None` where it has ended.
    pub(super) fn outer_tid(&self, tid: u32) -> Option<u32> {
        let own = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        if namespace_ids(&own)?.len() == 1 {
            return Some(tid);
        }
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        for thread in threads.flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let ids = namespace_ids(&status).unwrap_or_default();
            if ids.last() == Some(&tid) {
                return ids.first().copied();
            }
        }
        None
    }

    /// Ready when the process has ended.
    pub(super) async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The ids of a thread from its `status` file, in each PID namespace from ours inwards (`NSpid`).
fn namespace_ids(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::namespace_ids;

    #[test]
    fn ids_go_from_the_outer_namespace_inwards() {
        let status = "Name:\tpython3\nPid:\t4711\nNSpid:\t4711\t7\nVmPeak:\t1 kB\n";
        assert_eq!(namespace_ids(status), Some(vec![4711, 7]));
        assert_eq!(namespace_ids("NSpid:\t12\n"), Some(vec![12]));
        assert_eq!(namespace_ids("NSpid:\tx\n"), None);
        assert_eq!(namespace_ids("Pid:\t1\n"), None);
    }
}
