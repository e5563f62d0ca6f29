//! A read that may have to wait for a file system, made by a child: nothing ends a process that waits so, and awaitwhat is to go on.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::iterator::TaskIterator;

/// After this time it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a file system is waited for.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Says what is waited for.
static REPORT: OnceLock<fn(&str)> = OnceLock::new();

/// Has `report` say what is waited for, where a read takes longer than a second.
pub fn report_waits(report: fn(&str)) {
    // Whoever was first stays.
    let _ = REPORT.set(report);
}

/// Runs `iterator` once in a child, and fills `output` with what it writes; returns how many bytes that are, or nothing where that took longer
/// than [`LIMIT`]. Says that `what` is waited for.
pub(super) fn run(iterator: &TaskIterator, output: &mut [u8], what: &str) -> io::Result<Option<usize>> {
    let (mut source, mut sink) = io::pipe()?;
    // SAFETY: the child makes system calls only, with what was allocated before, and ends without running anything else.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // Whoever reads our output does not wait for the child.
        for standard in 0..=2 {
            // SAFETY: nobody uses it in the child.
            unsafe { libc::close(standard) };
        }
        let filled = iterator.run(output).unwrap_or(0);
        let is_written = sink.write_all(&output[..filled]).is_ok();
        // SAFETY: it has no preconditions.
        unsafe { libc::_exit(i32::from(!is_written)) };
    }
    drop(sink);
    let is_there = |patience| is_readable(&source, patience);
    if !is_there(PATIENCE)? {
        if let Some(report) = REPORT.get() {
            report(what);
        }
        if !is_there(LIMIT)? {
            // It ends when the kernel lets it.
            // SAFETY: the child is ours, and was not waited for yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
            return Ok(None);
        }
    }
    let mut answer = Vec::with_capacity(output.len());
    source.read_to_end(&mut answer)?;
    // SAFETY: the child is ours, and about to end: its end of the pipe is closed.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let filled = answer.len().min(output.len());
    output[..filled].copy_from_slice(&answer[..filled]);
    Ok(Some(filled))
}

fn is_readable(source: &io::PipeReader, patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::new(&source.as_fd(), PollFlags::IN)],
        Some(&patience),
    ) {
        Ok(count) => Ok(count != 0),
        // A signal asks for an end.
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
