//! Running a command and measuring what it takes.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::repo;

/// No command that is measured may take longer.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How many characters of a failed command's diagnostics are kept: their end says why.
const DIAGNOSTICS: usize = 100;

/// What a command took.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of CPU time, in user and kernel mode.
    pub cpu: f64,
}

/// How a command ended.
pub struct Outcome {
    pub cost: Cost,
    /// Why it failed, where it did.
    pub failure: Option<String>,
}

/// What becomes of a command's standard output.
pub enum Output {
    Discarded,
    To(PathBuf),
}

/// A command that runs.
pub struct Running {
    child: Child,
    begun: Instant,
    diagnostics: PathBuf,
}

/// Runs `command` to its end.
pub fn run(command: &mut Command, output: Output) -> Result<Outcome> {
    start(command, output)?.wait()
}

/// Starts `command`.
pub fn start(command: &mut Command, output: Output) -> Result<Running> {
    let diagnostics = repo::cache("bench")?.join("diagnostics.txt");
    let stdout = match output {
        Output::Discarded => Stdio::null(),
        Output::To(path) => create(&path)?.into(),
    };
    command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(create(&diagnostics)?);
    let begun = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(Running {
        child,
        begun,
        diagnostics,
    })
}

fn create(path: &PathBuf) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; ends it when that takes too long.
    pub fn wait(self) -> Result<Outcome> {
        let Self {
            mut child,
            begun,
            diagnostics,
        } = self;
        let pid = child.id();
        let (ended, watched) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || {
            let remaining = TIME_LIMIT.saturating_sub(begun.elapsed());
            let is_late = watched.recv_timeout(remaining) == Err(RecvTimeoutError::Timeout);
            if is_late {
                // It may have ended at this very moment, which is as well.
                drop(child.kill());
            }
            is_late
        });
        let (status, usage) = reap(pid).context("cannot wait for the command")?;
        let wall = begun.elapsed().as_secs_f64();
        // The watchdog takes the end of the channel for the end of the command.
        drop(ended);
        let is_late = watchdog.join().is_ok_and(|is_late| is_late);

        let cost = Cost {
            wall,
            cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        };
        let failure = if is_late {
            Some(format!("no answer within {} s", TIME_LIMIT.as_secs()))
        } else if status != 0 {
            Some(last_words(&diagnostics))
        } else {
            None
        };
        Ok(Outcome { cost, failure })
    }
}

fn last_words(diagnostics: &PathBuf) -> String {
    let bytes = std::fs::read(diagnostics).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim();
    let skipped = line.chars().count().saturating_sub(DIAGNOSTICS);
    line.chars()
        .skip(skipped)
        .filter(|character| !character.is_control())
        .collect()
}

fn reap(pid: u32) -> io::Result<(i32, libc::rusage)> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: `rusage` consists of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables of the types that the call writes, which outlive it.
    let result = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok((status, usage))
    }
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// CPU time of all threads of `pid` so far, in seconds.
pub fn cpu_time(pid: u32) -> Result<f64> {
    let threads = format!("/proc/{pid}/task");
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir(&threads).with_context(|| format!("cannot list {threads}"))? {
        let path = thread?.path().join("schedstat");
        // A thread may end between the two calls.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let first = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
        nanoseconds += first.with_context(|| format!("{} has no run time", path.display()))?;
    }
    Ok(nanoseconds / 1e9)
}

/// The most memory that `pid` had at one time so far, in bytes; the kernel's account of an ended process would count its parent's in.
pub fn peak_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

/// The memory that `pid` has, in bytes.
pub fn resident_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("{path} tells no {key}"))? * 1024)
}
