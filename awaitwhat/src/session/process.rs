//! The target as a process: that it exists, when it ends, and what its threads are called outside.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::attach_error::AttachError;
use crate::capture::CaptureError;
use crate::privileges::is_proc_hiding;
use crate::processes::{Processes, read_status};

/// The number of no process.
const NO_PROCESS: u32 = 0;

/// A handle of the process that outlives the process: its number may be reused, this is not.
pub(super) struct Process {
    pid: u32,
    /// None of one that is dead already.
    handle: Option<OwnedFd>,
    command: String,
}

impl Process {
    /// Takes hold of process `pid`.
    pub(super) fn open(pid: u32) -> Result<Self, AttachError> {
        check_proc()?;
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(AttachError::NoSuchProcess)?;
        let handle = pidfd_open(number, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => AttachError::NoSuchProcess,
            // Since Linux 6.9 a number of a thread that is no process says so; before, it is an invalid argument.
            Errno::INVAL | Errno::NOENT => AttachError::Thread,
            error => match CaptureError::of_errno("the end of the process", error.raw_os_error()) {
                Some(known) => AttachError::Capture(known),
                None => AttachError::Watch(error.into()),
            },
        })?;
        Ok(Self {
            pid,
            handle: Some(handle),
            command: Processes::default().command(pid).unwrap_or_default(),
        })
    }

    /// One that is dead, of which `/proc` tells nothing: another process may have its number.
    pub(super) fn dead(command: String) -> Self {
        Self {
            pid: NO_PROCESS,
            handle: None,
            command,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What the process calls itself: in a container that is not what it is called outside.
    pub(super) fn own_id(&self) -> Option<u32> {
        read_ids(&folder(self.pid)).ok()?.last().copied()
    }

    /// Reads the name of the process again, if it is still there.
    pub(super) fn read_command(&mut self) {
        if let Some(command) = Processes::default().command(self.pid) {
            self.command = command;
        }
    }

    /// The name of the process when it was read last.
    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// Whether the process ends within `time`, or has ended already.
    pub(super) fn ends_within(&self, time: Duration) -> bool {
        let Some(handle) = &self.handle else {
            return true;
        };
        let mut handles = [PollFd::new(handle, PollFlags::IN)];
        let time = Timespec::try_from(time).unwrap_or_default();
        matches!(poll(&mut handles, Some(&time)), Ok(1..))
    }

    /// What the process's threads are called outside. In a container that differs from what they call themselves.
    ///
    /// # Errors
    /// When the process has ended, or `/proc` does not show it.
    pub(super) fn thread_ids(&self) -> Result<ThreadIds, AttachError> {
        ThreadIds::read(self.pid).map_err(|error| {
            if self.has_ended() {
                AttachError::Ended
            } else {
                AttachError::Hidden(error)
            }
        })
    }
}

/// Makes sure that `/proc` is there, and counts processes as we do: in a PID namespace of one's own that is so only when it was mounted
/// there.
pub(super) fn check_proc() -> Result<(), AttachError> {
    let own = getpid().as_raw_nonzero().to_string();
    match fs::read_link("/proc/self") {
        Ok(number) if number.as_os_str() == own.as_str() => Ok(()),
        // In the root of a PID namespace that none of our ids belongs to, the link is there and leads nowhere.
        Err(_) if fs::symlink_metadata("/proc/self").is_err() => Err(AttachError::NoProc),
        _ => Err(AttachError::ForeignProc),
    }
}

/// Whether there are processes that `/proc` hides from us: with `hidepid` it shows the first one to nobody but those who see all.
pub fn hides_processes() -> bool {
    is_proc_hiding() && File::open("/proc/1/stat").is_err()
}

/// What the threads of process `pid` call themselves. Empty where it has ended, or is not shown.
pub fn own_thread_ids(pid: u32) -> BTreeSet<u32> {
    let threads = ThreadIds::read(pid).map(|threads| threads.outer.into_keys().collect());
    threads.unwrap_or_default()
}

/// How many threads process `pid` has; 0 where that cannot be told.
pub(super) fn thread_count(pid: u32) -> u32 {
    let threads = fs::read_dir(folder(pid).join("task")).map_or(0, Iterator::count);
    u32::try_from(threads).unwrap_or(u32::MAX)
}

/// The ids of a process's threads, by what the threads call themselves.
pub(super) struct ThreadIds {
    outer: HashMap<u32, u32>,
}

impl ThreadIds {
    fn read(pid: u32) -> io::Result<Self> {
        let process = folder(pid);
        let is_inside = read_ids(&process)?.len() > 1;
        let threads = fs::read_dir(process.join("task"))?.collect::<io::Result<Vec<_>>>()?;
        let ids = threads.iter().filter_map(|thread| {
            let outer: u32 = thread.file_name().to_str()?.parse().ok()?;
            // A thread that cannot be read has just ended.
            let own = if is_inside {
                read_ids(&thread.path()).ok()?.last().copied()?
            } else {
                outer
            };
            Some((own, outer))
        });
        Ok(Self { outer: ids.collect() })
    }

    /// What all threads are called outside.
    pub(super) fn all_outer(&self) -> impl Iterator<Item = u32> {
        self.outer.values().copied()
    }

    /// What the thread is called outside that calls itself `tid`; 0, which no thread is called, where it has ended, or is one of
    /// another process: memory that a child has from its parent still tells the parent's.
    pub(super) fn outer(&self, tid: u32) -> u32 {
        self.outer.get(&tid).copied().unwrap_or(0)
    }
}

/// Where the kernel tells about process `pid`.
fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The ids of the process or thread that `folder` tells about, as [`namespace_ids`].
fn read_ids(folder: &Path) -> io::Result<Vec<u32>> {
    namespace_ids(&read_status(folder)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
