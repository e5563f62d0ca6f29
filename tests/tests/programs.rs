//! `trace -- CMD`: programs that awaitwhat starts itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::Profile;
use awaitwhat_tests::processes::{is_running, printed_pid, wait_for_end_of_all};
use awaitwhat_tests::tool::{self, Outcome, says};
use awaitwhat_tests::trace::Trace;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;

/// Exit code for a target that cannot be used, as `--help` documents it.
const TARGET: i32 = 3;
/// Three tasks that wait for two seconds, and one that waits for them; the program then ends as it is told to.
const PROGRAM: &str = "\
import asyncio, sys
async def worker(): await asyncio.sleep(2)
async def main(): await asyncio.gather(*(worker() for _ in range(3)))
asyncio.run(main())
sys.exit(int(sys.argv[1]))";
/// The same, with no end.
const ENDLESS: &str = "\
import asyncio, os
print('pid', os.getpid(), flush=True)
async def worker(): await asyncio.Event().wait()
async def main(): await asyncio.gather(*(worker() for _ in range(3)))
asyncio.run(main())";

fn main() -> anyhow::Result<()> {
    trials::run("programs", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = vec![
        trial("cannot_be_started", cannot_be_started),
        trial("not_python", not_python),
        trial("no_thread", no_thread),
    ];
    type Check = fn(&Python) -> anyhow::Result<()>;
    let checks: [(&str, Check); 5] = [
        ("ends_by_itself", ends_by_itself),
        ("fails", fails),
        ("interrupted", interrupted),
        ("hung_up", hung_up),
        ("unheard", unheard),
    ];
    for python in environment::pythons()? {
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
    }
    Ok(list)
}

/// The trace that `python` is started under to run `program`.
fn arguments<'a>(python: &'a [String], program: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["-f", "json", "--"];
    arguments.extend(python.iter().map(String::as_str));
    arguments.push("-c");
    arguments.extend(program);
    arguments
}

fn cannot_be_started() -> anyhow::Result<()> {
    let outcome = tool::run(&["trace", "--", "/nonexistent/program"])?;
    says(&outcome, TARGET, &["/nonexistent/program cannot be started"])
}

fn not_python() -> anyhow::Result<()> {
    let outcome = tool::run(&["trace", "--", "sh", "-c", "exit 7"])?;
    says(
        &outcome,
        TARGET,
        &["before there was a Python interpreter", "exit status: 7"],
    )
}

fn ends_by_itself(python: &Python) -> anyhow::Result<()> {
    let outcome = traced(python, "0")?;
    says(&outcome, 0, &[])?;
    ensure!(outcome.stderr.is_empty(), "{}", outcome.stderr);
    saw_workers(&outcome.stdout)
}

fn fails(python: &Python) -> anyhow::Result<()> {
    let outcome = traced(python, "9")?;
    says(&outcome, 0, &["exit status: 9"])?;
    saw_workers(&outcome.stdout)
}

fn traced(python: &Python, status: &str) -> anyhow::Result<Outcome> {
    let mut all = vec!["trace"];
    all.extend(arguments(&python.command, &[PROGRAM, status]));
    tool::run(&all)
}

fn interrupted(python: &Python) -> anyhow::Result<()> {
    let trace = Trace::start(&arguments(&python.command, &[ENDLESS]))?;
    trace.interrupt()?;
    let outcome = trace.outcome()?;
    says(&outcome, 0, &[])?;
    ensure!(!is_running(printed_pid(&outcome.stdout)?), "the program goes on");
    let (_, json) = outcome.stdout.split_once('\n').context("nothing is written")?;
    saw_workers(json)
}

/// The terminal goes away: what was seen is written, and neither the program nor anything half made stays behind.
fn hung_up(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("seen.json");
    let mut all = vec!["-o", path.to_str().context("the path is not UTF-8")?];
    all.extend(arguments(&python.command, &[ENDLESS]));
    let trace = Trace::start(&all)?;
    ensure!(
        fs::read_dir(folder.path())?.next().is_none(),
        "there is a file before it is whole"
    );
    trace.signal("HUP")?;
    let outcome = trace.outcome()?;
    says(&outcome, 0, &[])?;
    ensure!(!is_running(printed_pid(&outcome.stdout)?), "the program goes on");
    ensure!(fs::read_dir(folder.path())?.count() == 1, "more than the result");
    saw_workers(&fs::read_to_string(path)?)
}

/// Nobody reads standard error: the trace is like any other, and the program is ended.
fn unheard(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("seen.json");
    let mut command = tool::awaitwhat()?;
    command.args(["trace", "-d", "2", "-o"]).arg(&path);
    command.args(arguments(&python.command, &[ENDLESS]));
    let outcome = tool::run_unheard(command)?;
    says(&outcome, 0, &[])?;
    ensure!(!is_running(printed_pid(&outcome.stdout)?), "the program goes on");
    saw_workers(&fs::read_to_string(path)?)
}

/// The program can be started, and no thread besides.
fn no_thread() -> anyhow::Result<()> {
    // A user who has no other processes: the limit is for all of them together.
    let id = 60_000 + std::process::id() % 5_000;
    let user = id.to_string();
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("awaitwhat");
    fs::copy(environment::program()?, &program)?;
    let mut command = Command::new("prlimit");
    command.args([
        "--nproc=2",
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
    ]);
    command.arg(program).args(["trace", "--", "sleep", "7200"]);
    let outcome = tool::run_command(command)?;
    says(&outcome, 1, &["no thread can be started", "ulimit -u"])?;
    wait_for_end_of_all(id)
}

fn saw_workers(json: &str) -> anyhow::Result<()> {
    let profile: Profile = serde_json::from_str(json)?;
    let worker = profile
        .await_points
        .iter()
        .find(|point| point.function == "worker");
    ensure!(
        worker.is_some_and(|point| point.task_seconds > 0.0),
        "no worker in {profile:?}"
    );
    Ok(())
}
