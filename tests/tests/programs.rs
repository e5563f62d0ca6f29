//! `trace -- CMD`: programs that awaitwhat starts itself.

use anyhow::ensure;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::Profile;
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
import asyncio
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
    ];
    type Check = fn(&Python) -> anyhow::Result<()>;
    let checks: [(&str, Check); 3] = [
        ("ends_by_itself", ends_by_itself),
        ("fails", fails),
        ("interrupted", interrupted),
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
    saw_workers(&outcome)
}

fn fails(python: &Python) -> anyhow::Result<()> {
    let outcome = traced(python, "9")?;
    says(&outcome, 0, &["exit status: 9"])?;
    saw_workers(&outcome)
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
    saw_workers(&outcome)
}

fn saw_workers(outcome: &Outcome) -> anyhow::Result<()> {
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
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
