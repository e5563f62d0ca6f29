//! A trace in the background, to which something happens.

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

    fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut trace = Self { child };
        trace.wait_until(is_attached)?;
        let begun = wake_ups(trace.child.id())?;
        trace.wait_until(|pid| Ok(wake_ups(pid)? >= begun + WAKE_UPS))?;
        Ok(trace)
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
    pub fn outcome(self) -> anyhow::Result<Outcome> {
        tool::collect(self.child)
    }
}

/// Whether the process has attached an eBPF program.
fn is_attached(pid: u32) -> anyhow::Result<bool> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    for entry in fs::read_dir(folder)? {
        // It may close the file while we look.
        let Ok(link) = fs::read_link(entry?.path()) else {
            continue;
        };
        if link.to_string_lossy().contains("bpf_link") {
            return Ok(true);
        }
    }
    Ok(false)
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
