//! The programs that are observed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::pythons::root;
use crate::repo;

/// The sources, in this repository.
const IDLE: (&str, &str) = ("idle.py", include_str!("../../bench/idle.py"));
const LOADED: (&str, &str) = ("loaded.py", include_str!("../../bench/loaded.py"));
const SERVER: (&str, &str) = ("server.py", include_str!("../../bench/server.py"));

/// CPython 3.14 in a root folder of its own, with `/proc` mounted.
pub struct Python {
    root: PathBuf,
}

impl Python {
    /// The Python of the Debian root that the tests use, with `/proc` mounted for as long as this process's mount namespace lasts.
    pub fn provide() -> Result<Self> {
        let root = root::provide()?;
        repo::run(
            Command::new("mount")
                .args(["-t", "proc", "proc"])
                .arg(root.join("proc")),
        )?;
        Ok(Self { root })
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg("python3.14");
        command
    }

    /// Puts a program where this Python sees it; returns its path from there.
    fn install(&self, (name, source): (&str, &str)) -> Result<PathBuf> {
        let folder = Path::new("opt/awaitwhat-bench");
        let outside = self.root.join(folder);
        std::fs::create_dir_all(&outside).with_context(|| format!("cannot make {}", outside.display()))?;
        std::fs::write(outside.join(name), source).with_context(|| format!("cannot write {name}"))?;
        Ok(Path::new("/").join(folder).join(name))
    }
}

/// A running program. It ends with this value.
pub struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
    /// How many tasks it has.
    pub tasks: usize,
    /// The call paths in which its tasks are suspended, outermost first; none of an idle program.
    pub paths: Vec<Vec<String>>,
    /// Further call paths, which suspend nowhere.
    pub running_paths: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct Ready {
    tasks: usize,
    #[serde(default)]
    paths: Vec<Vec<String>>,
    #[serde(default)]
    running_paths: Vec<Vec<String>>,
}

/// What a server has to say about itself: pairs of a moment of the monotonic clock and a value, see `server.py`.
#[derive(Deserialize)]
pub struct Account {
    pub done: Vec<(f64, f64)>,
    pub busy: Vec<(f64, f64)>,
    pub lags: Vec<(f64, f64)>,
}

impl Target {
    /// A program whose `tasks` tasks all sleep.
    pub fn idle(python: &Python, tasks: usize) -> Result<Self> {
        Self::start(python, IDLE, &[tasks.to_string()])
    }

    /// A program that has imported `count` modules and loaded as many shared objects.
    pub fn loaded(python: &Python, count: usize) -> Result<Self> {
        Self::start(python, LOADED, &[count.to_string()])
    }

    /// A server of `tasks` tasks whose loop works for `load` percent of the time.
    pub fn server(python: &Python, tasks: usize, load: u32) -> Result<Self> {
        Self::start(python, SERVER, &[tasks.to_string(), load.to_string()])
    }

    fn start(python: &Python, program: (&str, &str), arguments: &[String]) -> Result<Self> {
        let path = python.install(program)?;
        let mut command = python.command();
        command
            .arg(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the target")?;
        let mut output = BufReader::new(child.stdout.take().context("the target has no output")?);
        let ready: Ready = read_line(&mut output).context("the target does not get ready")?;
        Ok(Self {
            child,
            output,
            tasks: ready.tasks,
            paths: ready.paths,
            running_paths: ready.running_paths,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends a server and returns its account.
    pub fn finish(mut self) -> Result<Account> {
        drop(self.child.stdin.take());
        read_line(&mut self.output).context("the server gives no account")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Closed input is its sign to end; a target that does not take it is not waited for.
        drop(self.child.stdin.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_line<T: DeserializeOwned>(output: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("unexpected line of {} bytes", line.len()))
}
