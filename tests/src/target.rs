//! Processes to look at.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::environment::Python;
use crate::output::Task;

/// How long a target may take to announce itself or to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a target may take to end once its standard input has.
const END_LIMIT: Duration = Duration::from_secs(5);

impl Python {
    /// The command that runs a file of `tests/targets`.
    pub fn target_command(&self, file: &str) -> Command {
        let mut command = self.command();
        command.arg(self.targets.join(file));
        command
    }

    /// The command that runs the interpreter.
    pub fn command(&self) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words);
        // Targets leave nothing behind in the repository.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }
}

/// How often a program that is still being written is started again.
const MAX_ATTEMPTS: u32 = 100_000;

/// A running target. It ends with this value.
pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: File,
    /// The process that announced itself; not the child where the child forked.
    pub pid: u32,
    /// What it announced.
    pub announced: Value,
}

impl Target {
    /// Starts a file of `tests/targets` and waits until it has announced itself.
    ///
    /// # Errors
    /// When it cannot be started or ends instead.
    pub fn start<S: AsRef<OsStr>>(python: &Python, file: &str, arguments: &[S]) -> anyhow::Result<Self> {
        let mut command = python.target_command(file);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts `command` and waits until it has announced itself by a line of JSON.
    ///
    /// # Errors
    /// When it cannot be started or ends instead.
    pub fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let stderr = tempfile::tempfile()?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone()?);
        let mut child = start(&mut command).with_context(|| format!("cannot start {command:?}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the target has no standard output")?;
        let mut target = Self {
            pid: child.id(),
            child,
            stdin,
            lines: read_lines(stdout),
            stderr,
            announced: Value::Null,
        };
        target.announced = target.answer()?;
        if let Some(pid) = target.announced["pid"].as_u64() {
            target.pid = u32::try_from(pid)?;
        }
        Ok(target)
    }

    /// The process that was started: the target itself, or what it was started by.
    pub fn child_id(&self) -> u32 {
        self.child.id()
    }

    /// Its own answer to what its tasks do.
    ///
    /// # Errors
    /// When it announced none.
    pub fn tasks(&self) -> anyhow::Result<Vec<Task>> {
        serde_json::from_value(self.announced["tasks"].clone()).context("the target's truth is malformed")
    }

    /// Sends it a line and reads its answer.
    ///
    /// # Errors
    /// When it has ended, or does not answer.
    pub fn ask(&mut self, line: &str) -> anyhow::Result<Value> {
        self.tell(line)?;
        self.answer()
    }

    /// The next line that it says by itself.
    ///
    /// # Errors
    /// When it says none.
    pub fn next_line(&mut self) -> anyhow::Result<Value> {
        self.answer()
    }

    /// Sends it a line.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the target's input is closed")?;
        writeln!(stdin, "{line}").context("the target has ended")
    }

    /// Kills it and waits until nothing is left of it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by something else.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        self.child.wait().context("the target cannot be waited for")?;
        Ok(())
    }

    /// Ends it and waits until it is gone.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        // Standard output ends with the process; lines that it still had to say are of no interest.
        loop {
            match self.lines.recv_timeout(END_LIMIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // An error means that it has ended in the meantime.
                    let _ = self.child.kill();
                    break;
                }
            }
        }
        let _ = self.child.wait();
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        match self.lines.recv_timeout(ANSWER_LIMIT) {
            Ok(line) => serde_json::from_str(&line).with_context(|| format!("the target said {line:?}")),
            Err(RecvTimeoutError::Timeout) => bail!("the target did not answer: {}", self.complaint()),
            Err(RecvTimeoutError::Disconnected) => bail!("the target ended: {}", self.complaint()),
        }
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        match self
            .stderr
            .rewind()
            .and_then(|()| self.stderr.read_to_string(&mut text))
        {
            Ok(_) => text,
            Err(error) => format!("(its standard error cannot be read: {error})"),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a program that may just have been written: while another test begins a process, that one still holds the file open.
fn start(command: &mut Command) -> std::io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && attempts < MAX_ATTEMPTS => {
                attempts += 1;
                thread::yield_now();
            }
            result => return result,
        }
    }
}

fn read_lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
