//! A trace in the background, to which something happens.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::tool::{self, Outcome};

/// How long a trace may take until it is under way.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Wake-ups after which a trace has certainly seen its target: it wakes for every sample.
const WAKE_UPS: u64 = 60;

/// What the kernel calls the open file of a perf event, by which a thread is sampled.
const SAMPLER: &str = "[perf_event]";

/// A running `awaitwhat trace`. It is killed with this value.
pub struct Trace {
    child: Child,
}

impl Trace {
    /// Starts `awaitwhat trace` with `arguments` and waits until it samples its target.
    ///
    /// # Errors
    /// When it cannot be started or ends instead.
    pub fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = tool::awaitwhat()?;
        command.arg("trace").args(arguments);
        Self::spawn(command)
    }

    /// Starts `awaitwhat` with `arguments` and waits until it samples thread `tid`, which never rests.
    ///
    /// # Errors
    /// When it cannot be started or ends instead.
    pub fn sampling(arguments: &[&str], tid: u32) -> anyhow::Result<Self> {
        let mut command = tool::awaitwhat()?;
        command.args(arguments);
        let mut this = Self::begin(command, Stdio::null())?;
        this.wait_until(|pid| {
            let is_walked = !descriptors(pid, "tid:", &tid.to_string())?.is_empty();
            Ok(is_walked && count(pid, SAMPLER)? != 0)
        })?;
        Ok(this)
    }

    fn spawn(command: Command) -> anyhow::Result<Self> {
        let mut trace = Self::begin(command, Stdio::null())?;
        trace.wait_until(is_attached)?;
        trace.sleep()?;
        Ok(trace)
    }

    fn begin(mut command: Command, stdin: Stdio) -> anyhow::Result<Self> {
        let child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }

    /// Waits until it has had the time to look at all that it looks at.
    fn sleep(&mut self) -> anyhow::Result<()> {
        let begun = wake_ups(self.child.id())?;
        self.wait_until(|pid| Ok(wake_ups(pid)? >= begun + WAKE_UPS))
    }

    fn wait_until(&mut self, mut holds: impl FnMut(u32) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let end = Instant::now() + START_LIMIT;
        while !holds(self.child.id())? {
            if let Some(status) = self.child.try_wait()? {
                bail!("the trace ended with {status} before it was under way");
            }
            ensure!(
                Instant::now() < end,
                "the trace was not under way after {START_LIMIT:?}"
            );
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits until it has taken hold of process `pid`, and has had the time to sample it.
    ///
    /// # Errors
    /// When it has ended, or does not do so.
    pub fn wait_for(&mut self, pid: u32) -> anyhow::Result<()> {
        let pid = pid.to_string();
        self.wait_until(|trace| Ok(!descriptors(trace, "Pid:", &pid)?.is_empty()))?;
        self.sleep()
    }

    /// Starts `awaitwhat trace` with `arguments`, with a standard input that stays open, and waits until it samples as many threads.
    ///
    /// # Errors
    /// When it cannot be started or ends instead.
    pub fn start_open(arguments: &[&str], threads: usize) -> anyhow::Result<Self> {
        let mut command = tool::awaitwhat()?;
        command.arg("trace").args(arguments);
        let mut trace = Self::begin(command, Stdio::piped())?;
        trace.wait_until(|trace| Ok(count(trace, SAMPLER)? >= threads))?;
        trace.sleep()?;
        Ok(trace)
    }

    /// The links by which it looks at thread `tid`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn links(&self, tid: u32) -> anyhow::Result<BTreeSet<String>> {
        let found = descriptors(self.child.id(), "tid:", &tid.to_string())?;
        Ok(found
            .iter()
            .filter_map(|text| field(text, "link_id:").map(str::to_owned))
            .collect())
    }

    /// Waits until it looks at thread `tid` by a link that is not one of `old`: until it has begun anew.
    ///
    /// # Errors
    /// When it has ended, or does not do so.
    pub fn wait_for_new(&mut self, tid: u32, old: &BTreeSet<String>) -> anyhow::Result<()> {
        let end = Instant::now() + START_LIMIT;
        while self.links(tid)?.is_subset(old) {
            ensure!(
                Instant::now() < end,
                "thread {tid} was not looked at anew within {START_LIMIT:?}"
            );
            thread::sleep(LOOK_AGAIN);
        }
        self.sleep()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Interrupts it, as Ctrl-C does.
    ///
    /// # Errors
    /// When it has ended.
    pub fn interrupt(&self) -> anyhow::Result<()> {
        self.signal("INT")
    }

    /// Sends it a signal, by name.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "the trace cannot be sent SIG{name}");
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end, or writes what is not UTF-8.
    pub fn outcome(mut self) -> anyhow::Result<Outcome> {
        if let Some(stdin) = self.child.stdin.take() {
            // What it traces ends with this input, and must not do so before the trace has.
            let end = Instant::now() + START_LIMIT;
            while self.child.try_wait()?.is_none() {
                ensure!(
                    Instant::now() < end,
                    "the trace did not end within {START_LIMIT:?}"
                );
                thread::sleep(LOOK_AGAIN);
            }
            drop(stdin);
        }
        tool::collect(self.child)
    }
}

/// Whether the process has attached an eBPF program.
fn is_attached(pid: u32) -> anyhow::Result<bool> {
    Ok(count(pid, "bpf_link")? != 0)
}

/// How many open files of a process have this in their names.
fn count(pid: u32, name: &str) -> anyhow::Result<usize> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        // It may close the file while we look.
        let link = fs::read_link(entry?.path()).unwrap_or_default();
        count += usize::from(link.to_string_lossy().contains(name));
    }
    Ok(count)
}

/// What the kernel tells (`fdinfo`) of those of a process's open files that have this value in this field.
fn descriptors(pid: u32, name: &str, value: &str) -> anyhow::Result<Vec<String>> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fdinfo");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        // It may close the file while we look.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if field(&text, name) == Some(value) {
            found.push(text);
        }
    }
    Ok(found)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// How often the threads of the process went to sleep.
fn wake_ups(pid: u32) -> anyhow::Result<u64> {
    let folder = Path::new("/proc").join(pid.to_string()).join("task");
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path().join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line
            .and_then(|count| count.trim().parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}
