//! What becomes of processes: what `/proc` tells of those that a run leaves behind, or does not, and what holds one up.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// How long a process that was asked to end may take to do so.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `holds`.
///
/// # Errors
/// When it does not come to hold; `what` says what it is.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    while !holds()? {
        ensure!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Interrupts a process, as Ctrl-C does.
///
/// # Errors
/// When there is no such process.
pub fn interrupt(pid: u32) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("0 is no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    Ok(())
}

/// Whether there is such a process, and it has not ended.
pub fn is_running(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}

/// Waits for the end of a process that need not be a child.
///
/// # Errors
/// When it goes on.
pub fn wait_for_end(pid: u32) -> anyhow::Result<()> {
    wait_until(&format!("the end of process {pid}"), || Ok(!is_running(pid)))
}

/// Waits until a user has no process.
///
/// # Errors
/// When some go on, or there is no `/proc`.
pub fn wait_for_end_of_all(user: u32) -> anyhow::Result<()> {
    wait_until(&format!("the end of all processes of user {user}"), || {
        // One that has ended meanwhile belongs to nobody.
        let is_of_user =
            |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == user);
        Ok(!all()?.iter().any(is_of_user))
    })
}

/// The children of a process whose command line contains `part`.
///
/// # Errors
/// When there is no `/proc`.
pub fn children_with(parent: u32, part: &str) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for pid in all()? {
        let is_child = fields(pid).is_some_and(|fields| fields.get(1) == Some(&parent.to_string()));
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if is_child && String::from_utf8_lossy(&line).contains(part) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// A named pipe that takes nothing more, and that nobody reads.
pub struct FullPipe {
    /// Ends in `.json`.
    pub path: PathBuf,
    _end: File,
}

impl FullPipe {
    /// Makes it in `folder`.
    ///
    /// # Errors
    /// When that fails.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("full.json");
        let made = Command::new("mkfifo").arg(&path).status()?;
        ensure!(made.success(), "no pipe can be made");
        let mut end = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        for bytes in [4096, 1] {
            while end.write(&[0; 4096][..bytes]).is_ok() {}
        }
        Ok(Self { path, _end: end })
    }
}

/// The number that a program has printed as `pid NUMBER`.
///
/// # Errors
/// When it has not.
pub fn printed_pid(text: &str) -> anyhow::Result<u32> {
    let number = text.lines().find_map(|line| line.strip_prefix("pid "));
    number
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("no `pid NUMBER` in {text:?}"))
}

/// Every process.
fn all() -> anyhow::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    Ok(pids)
}

/// The fields of a process's `stat` from its state on.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
