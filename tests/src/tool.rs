//! Runs of the program under test.

use std::io::{Read, pipe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;

use crate::environment;
use crate::output::{Profile, Snapshot};

/// How long the program may take, whatever it does.
const LIMIT: Duration = Duration::from_secs(120);

/// What a run of the program left.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code, or `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The program under test.
///
/// # Errors
/// When it is not built.
pub fn awaitwhat() -> anyhow::Result<Command> {
    Ok(Command::new(environment::program()?))
}

/// Runs `awaitwhat` with `arguments` to its end.
///
/// # Errors
/// When it cannot be started, does not end, or writes what is not UTF-8.
pub fn run(arguments: &[&str]) -> anyhow::Result<Outcome> {
    let mut command = awaitwhat()?;
    command.args(arguments);
    run_command(command)
}

/// Runs `command` to its end.
///
/// # Errors
/// As [`run`].
pub fn run_command(mut command: Command) -> anyhow::Result<Outcome> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    collect(child).with_context(|| format!("{command:?}"))
}

/// Runs `command` to its end, with a standard error that nobody reads any more.
///
/// # Errors
/// As [`run`].
pub fn run_unheard(mut command: Command) -> anyhow::Result<Outcome> {
    // The end that is read from is closed at once.
    let (_, closed) = pipe()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(closed)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    collect(child).with_context(|| format!("{command:?}"))
}

/// Waits for the end of `child`, whose outputs are pipes; what is none is empty.
///
/// # Errors
/// When it does not end, or writes what is not UTF-8.
pub fn collect(mut child: Child) -> anyhow::Result<Outcome> {
    let (sender, receiver) = channel();
    let stdout = read_all(child.stdout.take(), sender.clone());
    let stderr = read_all(child.stderr.take(), sender);
    let end = Instant::now() + LIMIT;
    for _ in 0..2 {
        let left = end.saturating_duration_since(Instant::now());
        if receiver.recv_timeout(left).is_err() {
            child
                .kill()
                .context("the program did not end, and cannot be killed")?;
            child.wait()?;
            bail!("the program did not end within {LIMIT:?}");
        }
    }
    let status = child.wait()?;
    Ok(Outcome {
        status,
        stdout: text(stdout)?,
        stderr: text(stderr)?,
    })
}

/// Reads all of `source` in a thread of its own and says by `done` that it has ended.
fn read_all(source: Option<impl Read + Send + 'static>, done: Sender<()>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is kept: the test then sees output cut short.
            let _ = source.read_to_end(&mut bytes);
        }
        // Nobody listens once the limit is over.
        let _ = done.send(());
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> anyhow::Result<String> {
    let bytes = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
    String::from_utf8(bytes).context("the program wrote what is not UTF-8")
}

/// `awaitwhat ps --json` of a process.
///
/// # Errors
/// When the command fails or its output is malformed.
pub fn snapshot(pid: u32) -> anyhow::Result<Snapshot> {
    let snapshot: Snapshot = json(&["ps", "--json", "--pid", &pid.to_string()])?;
    ensure!(
        snapshot.schema == "awaitwhat.snapshot/1",
        "schema {:?}",
        snapshot.schema
    );
    ensure!(
        snapshot.pid == pid,
        "asked for process {pid}, got {}",
        snapshot.pid
    );
    Ok(snapshot)
}

/// `awaitwhat trace -f json` of a process.
///
/// # Errors
/// When the command fails or its output is malformed.
pub fn profile(pid: u32, seconds: u32, rate: u32) -> anyhow::Result<Profile> {
    profile_by(awaitwhat()?, pid, seconds, rate)
}

/// The same by an `awaitwhat` that runs on one CPU only.
///
/// # Errors
/// As [`profile`].
pub fn profile_on_cpu(cpu: usize, pid: u32, seconds: u32, rate: u32) -> anyhow::Result<Profile> {
    profile_by(on_cpu(cpu, &awaitwhat()?), pid, seconds, rate)
}

fn profile_by(mut command: Command, pid: u32, seconds: u32, rate: u32) -> anyhow::Result<Profile> {
    let (pid_text, seconds, rate) = (pid.to_string(), seconds.to_string(), rate.to_string());
    command.args([
        "trace", "--pid", &pid_text, "-d", &seconds, "-r", &rate, "-f", "json",
    ]);
    let profile: Profile = json_of(command)?;
    ensure!(
        profile.schema == "awaitwhat.profile/1",
        "schema {:?}",
        profile.schema
    );
    ensure!(profile.pid == pid, "asked for process {pid}, got {}", profile.pid);
    Ok(profile)
}

/// The command, which may use one CPU only.
pub fn on_cpu(cpu: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &cpu.to_string()]);
    pinned.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    pinned
}

/// Runs `awaitwhat` with `arguments`, which ask for JSON, and reads that.
///
/// # Errors
/// When the command fails or its output is malformed.
pub fn json<T: DeserializeOwned>(arguments: &[&str]) -> anyhow::Result<T> {
    let mut command = awaitwhat()?;
    command.args(arguments);
    json_of(command)
}

fn json_of<T: DeserializeOwned>(command: Command) -> anyhow::Result<T> {
    let words = format!("{command:?}");
    let outcome = run_command(command)?;
    ensure!(
        outcome.status.success(),
        "{words} ended with {}: {}",
        outcome.status,
        outcome.stderr
    );
    serde_json::from_str(&outcome.stdout).with_context(|| {
        let start: String = outcome.stdout.chars().take(500).collect();
        format!("{words} wrote {start:?}")
    })
}

/// Demands that a run ended with `code`, and that its diagnostics contain each of `words`.
///
/// # Errors
/// When it did not, with what it said instead.
pub fn says(outcome: &Outcome, code: i32, words: &[&str]) -> anyhow::Result<()> {
    ensure!(
        outcome.code() == Some(code),
        "{}, {code} was expected: {}",
        outcome.status,
        outcome.stderr
    );
    for word in words {
        ensure!(
            outcome.stderr.contains(word),
            "{word:?} is not in {:?}",
            outcome.stderr
        );
    }
    Ok(())
}
