//! The programs that are compared, and how their snapshots are read.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::target::Python;
use crate::repo;

/// A program that takes snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Observer {
    Awaitwhat,
    AsyncioPs,
    PySpy,
}

/// All of them, in the order of the table's columns.
pub const OBSERVERS: [Observer; 3] = [Observer::Awaitwhat, Observer::AsyncioPs, Observer::PySpy];

/// Where the observers are.
pub struct Tools {
    pub python: Python,
    pub awaitwhat: PathBuf,
    /// Why there is none, where that is so.
    pub py_spy: Result<PathBuf, String>,
}

impl Tools {
    /// Builds or gets what is missing.
    pub fn provide() -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "build",
            "--release",
            "--locked",
            "--package",
            "awaitwhat",
            "--bin",
            "awaitwhat",
        ]);
        let messages = repo::output(
            cargo
                .arg("--message-format=json-render-diagnostics")
                .current_dir(repo::root()?),
        )?;
        Ok(Self {
            python: Python::provide()?,
            awaitwhat: repo::executable(&messages)?,
            py_spy: py_spy().map_err(|error| format!("{error:#}")),
        })
    }

    /// The command by which `observer` takes a snapshot of `pid`; nothing where the observer is not there.
    pub fn snapshot(&self, observer: Observer, pid: u32) -> Option<Command> {
        let pid = pid.to_string();
        let mut command;
        match observer {
            Observer::Awaitwhat => {
                command = Command::new(&self.awaitwhat);
                command.args(["ps", "--json", &pid]);
            }
            Observer::AsyncioPs => {
                command = self.python.command();
                command.args(["-m", "asyncio", "ps", &pid]);
            }
            Observer::PySpy => {
                command = Command::new(self.py_spy.as_ref().ok()?);
                command.args(["dump", "--pid", &pid]);
            }
        }
        Some(command)
    }

    /// The command that traces `pid` at `rate` Hz for `seconds` and writes a profile in JSON.
    pub fn trace(&self, pid: u32, rate: u32, seconds: f64) -> Command {
        let mut command = Command::new(&self.awaitwhat);
        command.args(["trace", "--format", "json"]);
        command.args(["--pid", &pid.to_string()]);
        command.args(["--rate", &rate.to_string()]);
        command.args(["--duration", &seconds.to_string()]);
        command
    }

    /// Names and versions of the observers, as they give them.
    pub fn versions(&self) -> Result<Vec<String>> {
        let mut versions = vec![
            // A line each: the commit, the object and the compiler are told below the first.
            repo::output(Command::new(&self.awaitwhat).arg("--version"))?
                .trim()
                .replace('\n', "; "),
            repo::output(self.python.command().arg("--version"))?,
        ];
        if let Ok(py_spy) = &self.py_spy {
            versions.push(repo::output(Command::new(py_spy).arg("--version"))?);
        }
        Ok(versions.iter().map(|version| version.trim().to_owned()).collect())
    }
}

/// py-spy from PyPI, in the cache.
fn py_spy() -> Result<PathBuf> {
    let folder = repo::cache("py-spy")?;
    let program = folder.join("bin/py-spy");
    if !program.is_file() {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]);
        repo::run(pip.arg("--target").arg(&folder).arg("py-spy"))?;
    }
    Ok(program)
}

/// The chain of one task in a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    /// Innermost first, functions without the names of their classes.
    pub functions: Vec<String>,
    /// Whether the task may be running, in the middle of its chain; a table does not tell.
    pub may_run: bool,
}

/// The chains in a snapshot, one per task.
pub fn chains(observer: Observer, snapshot: &Path) -> Result<Vec<Chain>> {
    let text =
        std::fs::read_to_string(snapshot).with_context(|| format!("cannot read {}", snapshot.display()))?;
    match observer {
        Observer::Awaitwhat => chains_of_json(&text),
        Observer::AsyncioPs => chains_of_table(&text),
        // It shows threads.
        Observer::PySpy => Ok(Vec::new()),
    }
}

/// What is read of a snapshot in JSON.
#[derive(Deserialize)]
struct Snapshot<'text> {
    #[serde(borrow)]
    tasks: Vec<Task<'text>>,
}

#[derive(Deserialize)]
struct Task<'text> {
    state: &'text str,
    #[serde(borrow)]
    stack: Vec<Frame<'text>>,
}

#[derive(Deserialize)]
struct Frame<'text> {
    #[serde(borrow)]
    function: Cow<'text, str>,
    kind: &'text str,
}

fn chains_of_json(text: &str) -> Result<Vec<Chain>> {
    let snapshot: Snapshot = serde_json::from_str(text).context("the snapshot is not as expected")?;
    let chain = |task: &Task| {
        // A running task's stack begins with the plain functions it is in, which a table of coroutines leaves out.
        let coroutines = task.stack.iter().filter(|frame| frame.kind == "coroutine");
        Chain {
            functions: coroutines.map(|frame| bare_name(&frame.function)).collect(),
            may_run: task.state == "running",
        }
    };
    Ok(snapshot.tasks.iter().map(chain).collect())
}

fn chains_of_table(text: &str) -> Result<Vec<Chain>> {
    const COLUMN: &str = "coroutine stack";
    let mut lines = text.lines();
    let header = lines.next().context("the table is empty")?;
    let column = header
        .find(COLUMN)
        .context("the table has no column of coroutine stacks")?;
    // The second line is a rule.
    let cells = lines.skip(1).map(|line| line.get(column..).unwrap_or_default());
    Ok(cells.map(chain_of_cell).collect())
}

/// The chain at the beginning of `cell`; the rest are other columns, further away than a word is from the next.
fn chain_of_cell(cell: &str) -> Chain {
    let stack = cell.split("  ").next().unwrap_or_default();
    let functions = stack.split(" -> ").filter(|name| !name.is_empty());
    Chain {
        functions: functions.map(bare_name).collect(),
        may_run: true,
    }
}

fn bare_name(function: &str) -> String {
    function.rsplit('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Chain, chains_of_json, chains_of_table};

    fn chain(functions: &[&str], may_run: bool) -> Chain {
        let functions = functions.iter().copied().map(str::to_owned).collect();
        Chain { functions, may_run }
    }

    #[test]
    fn chains_are_read_from_a_table() {
        let table = "tid  task name  coroutine stack         awaiter chain\n----\n1    Task-1     main                                    0x0\n\
                     1    Task-2     Lock.acquire -> Server.serve            0x0\n";
        let expected = [chain(&["main"], true), chain(&["acquire", "serve"], true)];
        assert_eq!(chains_of_table(table).expect("a table"), expected);
    }

    #[test]
    fn chains_are_read_from_json() {
        let json = r#"{"tasks": [{"state": "pending", "stack": [{"function": "main", "kind": "coroutine"}]},
                       {"state": "running", "stack": [{"function": "len", "kind": "function"},
                           {"function": "Lock.acquire", "kind": "coroutine"},
                           {"function": "Server.serve", "kind": "coroutine"}]}]}"#;
        let expected = [chain(&["main"], false), chain(&["acquire", "serve"], true)];
        assert_eq!(chains_of_json(json).expect("a snapshot"), expected);
    }
}
