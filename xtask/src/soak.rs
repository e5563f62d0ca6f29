//! The soak: a long trace of a program that makes code all the time must cost in the end what it cost at the beginning.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::bench::measure::{cpu_time, resident_memory};
use crate::{pythons, repo};

/// The program that is traced, in this repository.
const PROGRAM: &str = "xtask/soak/churning.py";
/// Tasks that it begins per second, each with code of its own.
const RATE: u32 = 1000;
/// Characters of its names: so many that the bounds of what is kept are reached in the first minute or two.
const NAME_LENGTH: u32 = 2000;
/// Samples per second.
const SAMPLES: u32 = 999;
/// Windows that the time is divided into. The first third of them is for getting warm: what is kept grows until its bounds are reached.
const WINDOWS: u32 = 15;
/// How much more memory the last third may take than the middle one, relatively and in bytes.
const MEMORY_GROWTH: (f64, f64) = (1.05, 4e6);
/// How much more CPU time per second, relatively and in cores. Other load on the machine makes it vary.
const CPU_GROWTH: (f64, f64) = (1.2, 0.01);
/// How far the mean number of tasks may be from the program's own, relatively.
const MEAN_ERROR: f64 = 0.1;

/// Trace a program that makes code all the time, 999 times a second, and fail when memory or CPU time grows
///
/// The time is divided into 15 windows. In the last third of them the most memory may be 5 % and 4 MB more than in the middle third, and
/// the CPU time per second 20 % and 1 % of a core more. The mean number of tasks has to be the program's own, within 10 %.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(15..))]
    seconds: u32,
}

/// What a window took.
#[derive(Clone, Copy)]
struct Window {
    /// In bytes, at its end.
    memory: f64,
    /// In cores.
    cpu: f64,
}

/// What is read of a profile.
#[derive(Deserialize)]
struct Profile {
    mean_tasks: f64,
    chains: Vec<serde::de::IgnoredAny>,
}

/// What the program says of itself.
#[derive(Deserialize)]
struct Account {
    made: u64,
    mean_tasks: f64,
}

/// Runs the soak.
pub fn run(arguments: &Arguments) -> Result<()> {
    let awaitwhat = build()?;
    let target = Target::start()?;
    let profile = repo::cache("soak")?.join("profile.json");
    let mut command = Command::new(awaitwhat);
    command
        .args(["trace", "--format", "json", "--rate", &SAMPLES.to_string()])
        .args(["--duration", &arguments.seconds.to_string()])
        .args(["--pid", &target.child.id().to_string(), "--output"])
        .arg(&profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut tracer = Ended(command.spawn().context("cannot start awaitwhat")?);
    let windows = watch(tracer.0.id(), arguments.seconds)?;
    let status = tracer.0.wait()?;
    ensure!(status.success(), "awaitwhat: {status}");

    let text = std::fs::read(&profile).with_context(|| format!("cannot read {}", profile.display()))?;
    let found: Profile = serde_json::from_slice(&text)?;
    let account = target.finish()?;
    println!(
        "{} tasks made, {:.1} on average; the profile has {:.1} in {} chains, {:.1} MB",
        account.made,
        account.mean_tasks,
        found.mean_tasks,
        found.chains.len(),
        text.len() as f64 / 1e6
    );
    judge(&windows)?;
    let error = found.mean_tasks / account.mean_tasks - 1.0;
    ensure!(
        error.abs() <= MEAN_ERROR,
        "the mean number of tasks is wrong by {:.1} %",
        100.0 * error
    );
    Ok(())
}

fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "awaitwhat",
            "--bin",
            "awaitwhat",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(repo::root()?);
    repo::executable(&repo::output(&mut cargo)?)
}

/// Measures process `pid` at the end of each window; its last one ends a little early, as the process does at its end.
fn watch(pid: u32, seconds: u32) -> Result<Vec<Window>> {
    let length = Duration::from_secs_f64(f64::from(seconds) / f64::from(WINDOWS) * 0.99);
    let mut windows = Vec::new();
    let (mut since, mut cpu) = (Instant::now(), cpu_time(pid)?);
    println!("window      RSS   CPU");
    for number in 1..=WINDOWS {
        thread::sleep(length.saturating_sub(since.elapsed()));
        let so_far = cpu_time(pid).context("awaitwhat ended early")?;
        let window = Window {
            memory: resident_memory(pid)? as f64,
            cpu: (so_far - cpu) / since.elapsed().as_secs_f64(),
        };
        (since, cpu) = (Instant::now(), so_far);
        println!(
            "{number:6} {:5.1} MB {:4.1} %",
            window.memory / 1e6,
            100.0 * window.cpu
        );
        windows.push(window);
    }
    Ok(windows)
}

/// Fails where the last third of the windows took more than the middle one.
fn judge(windows: &[Window]) -> Result<()> {
    let third = windows.len() / 3;
    let (middle, last) = (&windows[third..2 * third], &windows[2 * third..]);
    let memory = |windows: &[Window]| windows.iter().map(|it| it.memory).fold(0.0, f64::max);
    let cpu = |windows: &[Window]| windows.iter().map(|it| it.cpu).sum::<f64>() / windows.len() as f64;
    let has_grown = |before: f64, after: f64, (factor, more): (f64, f64)| after > before * factor + more;
    if has_grown(memory(middle), memory(last), MEMORY_GROWTH) {
        bail!(
            "memory grows: {:.1} MB, then {:.1} MB",
            memory(middle) / 1e6,
            memory(last) / 1e6
        );
    }
    if has_grown(cpu(middle), cpu(last), CPU_GROWTH) {
        bail!(
            "CPU time grows: {:.1} %, then {:.1} %",
            100.0 * cpu(middle),
            100.0 * cpu(last)
        );
    }
    Ok(())
}

/// The program that is traced. It ends with this value.
struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Target {
    fn start() -> Result<Self> {
        let python = pythons::system()?.pythons.pop().context("there is no Python")?;
        let mut words = python.command.iter();
        let mut command = Command::new(words.next().context("an interpreter has no command")?);
        let mut child = command
            .args(words)
            .arg(repo::root()?.join(PROGRAM))
            .args([RATE.to_string(), NAME_LENGTH.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the program")?;
        let output = BufReader::new(child.stdout.take().context("the program has no output")?);
        let mut target = Self { child, output };
        target.line().context("the program does not get ready")?;
        Ok(target)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "it has ended");
        Ok(line)
    }

    /// Ends the program, and returns its account.
    fn finish(mut self) -> Result<Account> {
        drop(self.child.stdin.take());
        serde_json::from_str(&self.line()?).context("the program gives no account")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::{Window, judge};

    fn windows(memory: impl Fn(u32) -> f64, cpu: impl Fn(u32) -> f64) -> Vec<Window> {
        let window = |number| Window {
            memory: memory(number) * 1e6,
            cpu: cpu(number),
        };
        (0..15).map(window).collect()
    }

    #[test]
    fn growth_counts_once_it_is_warm() {
        let warm = |number: u32| f64::from(number.min(5)) * 10.0 + 50.0;
        assert!(judge(&windows(warm, |_| 0.2)).is_ok());
        assert!(judge(&windows(|number| 50.0 + f64::from(number) * 3.0, |_| 0.2)).is_err());
        assert!(judge(&windows(warm, |number| 0.2 + f64::from(number) * 0.02)).is_err());
        assert!(judge(&windows(warm, |number| 0.2 + f64::from(number % 2) * 0.02)).is_ok());
    }
}
