//! A thousand tasks in a loop that never rests: no snapshot fails, and none shows a chain that cannot be.

use std::collections::BTreeSet;
use std::env;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::stack_lines;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::grammar::Grammar;
use awaitwhat_tests::output::{Frame, Snapshot, Task};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;

/// Sets how many snapshots each trial takes.
const SNAPSHOTS: &str = "AWAITWHAT_SNAPSHOTS";
/// How many are taken by each trial, if nothing else is asked for: about 200 in all. Each takes a second, as it is tried for long to read names.
const DEFAULT_SNAPSHOTS: usize = 12;

/// How the program whose code is ever new is traced, and how far the mean of its tasks may be from its own.
const MADE_SECONDS: u32 = 5;
const MADE_RATE: u32 = 99;
const MADE_TOLERANCE: f64 = 0.1;

fn main() -> anyhow::Result<()> {
    trials::run("busy", list)
}

/// One trial of an interpreter.
type Check = fn(&Python, &str) -> anyhow::Result<()>;

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        let checks: [(&str, Check); 3] = [
            ("own_chains", check_own_chains),
            ("snapshots", check_snapshots),
            ("trace", check_trace),
        ];
        if matches!(python.version, (3, 8 | 12 | 14)) {
            let (name, python) = (format!("{}::made_code", python.label), python.clone());
            list.push(trials::trial(name, move || check_made_code(&python)));
        }
        let mut files = vec![("asyncio", "busy_tasks.py")];
        // These take their time, and the walk is the same: every second version has to do, or one for each of its ways.
        if python.has_package("trio") && python.version.1.is_multiple_of(2) && !python.label.contains('-') {
            files.push(("trio", "trio_busy_tasks.py"));
        }
        // Attributes are searched for in keys of each format; or they have their places, apart from the task, or in it.
        if matches!(python.version, (3, 10 | 12 | 14)) {
            files.push(("pure", "pure_busy_tasks.py"));
        }
        for (library, file) in files {
            for (name, check) in checks {
                let name = format!("{}::{library}::{name}", python.label);
                if python.version < (3, 8) {
                    // A name says to which family a task belongs, and a call is at its last line, which no syntax tree knows.
                    list.push(trials::skipped(
                        name,
                        "it has no names of tasks, and no ends of calls",
                    ));
                    continue;
                }
                let python = python.clone();
                list.push(trials::trial(name, move || check(&python, file)));
            }
        }
    }
    Ok(list)
}

/// What a program whose code is ever new says of itself.
#[derive(Deserialize)]
struct Account {
    at: f64,
    /// Of the number of its tasks, over time.
    integral: f64,
}

/// Code that is ever new: its names are right where they are told, and its time counts where they are not.
fn check_made_code(python: &Python) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "made_code.py", &[])?;
    let before: Account = serde_json::from_value(target.ask("report")?)?;
    let profile = tool::profile(target.pid, MADE_SECONDS, MADE_RATE)?;
    let after: Account = serde_json::from_value(target.ask("report")?)?;
    let mean = (after.integral - before.integral) / (after.at - before.at);
    ensure!(
        (profile.mean_tasks / mean - 1.0).abs() < MADE_TOLERANCE,
        "{mean} tasks, shown {} in the mean",
        profile.mean_tasks
    );
    let is_made = |frame: &Frame| frame.function.starts_with("made_");
    let made: Vec<_> = profile
        .chains
        .iter()
        .filter(|chain| chain.frames.iter().any(is_made))
        .collect();
    ensure!(!made.is_empty(), "none was told by its name");
    for chain in made {
        let (outermost, inner) = chain.frames.split_last().context("it has a frame")?;
        let is_own = inner.iter().all(|frame| !is_made(frame));
        ensure!(
            is_own && outermost.file == format!("/made/{}.py", outermost.function),
            "names of two code objects in one chain: {:?}",
            chain.frames
        );
    }
    Ok(())
}

fn start(python: &Python, file: &str) -> anyhow::Result<(Target, Grammar)> {
    let target = Target::start::<&str>(python, file, &[])?;
    let grammar = serde_json::from_value(target.announced.clone()).context("the grammar is malformed")?;
    Ok((target, grammar))
}

/// The grammar fits the target: it accepts what the target says of itself, and nothing that is put together from two of its chains.
fn check_own_chains(python: &Python, file: &str) -> anyhow::Result<()> {
    let (mut target, grammar) = start(python, file)?;
    for _ in 0..20 {
        let tasks: Vec<Task> = serde_json::from_value(target.ask("sample")?["tasks"].clone())?;
        ensure!(tasks.len() == grammar.tasks, "{} tasks", tasks.len());
        for task in &tasks {
            check_task(&grammar, task)?;
        }
        ensure!(
            torn_is_refused(&grammar, &tasks),
            "a torn chain passes for a possible one"
        );
    }
    Ok(())
}

/// Puts the inner half of each chain under the outer half of another family's.
fn torn_is_refused(grammar: &Grammar, tasks: &[Task]) -> bool {
    let root = |task: &Task| task.stack.last().map(|frame| frame.function.clone());
    tasks.iter().zip(tasks.iter().skip(1)).all(|(inner, outer)| {
        let (Some(_), Some(outermost)) = (inner.stack.get(..2), outer.stack.last()) else {
            return true;
        };
        let mut torn = inner.clone();
        torn.stack.pop();
        torn.stack.push(outermost.clone());
        root(inner) == root(outer) || torn.stack.len() < 2 || check_task(grammar, &torn).is_err()
    })
}

fn check_snapshots(python: &Python, file: &str) -> anyhow::Result<()> {
    let count = match env::var(SNAPSHOTS) {
        Ok(text) => text.parse().with_context(|| format!("{SNAPSHOTS} is {text:?}"))?,
        Err(_) => DEFAULT_SNAPSHOTS,
    };
    let (target, grammar) = start(python, file)?;
    for number in 0..count {
        let snapshot = tool::snapshot(target.pid)?;
        check_snapshot(&grammar, &snapshot).with_context(|| format!("snapshot {number}"))?;
    }
    Ok(())
}

fn check_snapshot(grammar: &Grammar, snapshot: &Snapshot) -> anyhow::Result<()> {
    let ids: BTreeSet<_> = snapshot.tasks.iter().map(|task| &task.id).collect();
    ensure!(ids.len() == snapshot.tasks.len(), "a task is shown twice");
    let running = |task: &&Task| task.state == "running";
    let at_once = snapshot.tasks.iter().filter(running).count();
    ensure!(at_once <= 1, "{at_once} tasks of one loop run at the same time");
    let lost: u64 = snapshot.lost.values().filter_map(|count| count.as_u64()).sum();
    ensure!(
        snapshot.tasks.len() as u64 + lost >= grammar.tasks as u64,
        "{} tasks shown of {}, {lost} said to be lost",
        snapshot.tasks.len(),
        grammar.tasks
    );
    snapshot
        .tasks
        .iter()
        .try_for_each(|task| check_task(grammar, task))
}

/// Whether the task can be where it is said to be, and whether it is its own chain.
fn check_task(grammar: &Grammar, task: &Task) -> anyhow::Result<()> {
    let describe = || {
        format!(
            "{} {:?} {}\n{}",
            task.id,
            task.name,
            task.state,
            stack_lines(&task.stack)
        )
    };
    grammar
        .check(&task.stack, task.state == "running")
        .with_context(describe)?;
    let root = task.stack.last().map_or("", |frame| frame.function.as_str());
    let name = task.name.as_deref().with_context(describe)?;
    let is_own = match root.strip_suffix("_root") {
        Some(family) => name.to_lowercase().starts_with(&format!("{family} ")),
        None => grammar.others.get(root).is_some_and(|other| other == name),
    };
    ensure!(is_own, "the chain is another task's: {}", describe());
    Ok(())
}

fn check_trace(python: &Python, file: &str) -> anyhow::Result<()> {
    let (target, grammar) = start(python, file)?;
    let profile = tool::profile(target.pid, 10, 99)?;
    let mut impossible = Vec::new();
    for chain in &profile.chains {
        if let Err(error) = grammar.check_profiled(&chain.frames, chain.state == "running") {
            let frames = stack_lines(&chain.frames);
            impossible.push(format!(
                "{error}: {} {} s\n{frames}",
                chain.state, chain.task_seconds
            ));
        }
    }
    if !impossible.is_empty() {
        bail!(
            "{} of {} chains are impossible\n{}",
            impossible.len(),
            profile.chains.len(),
            impossible.join("\n")
        );
    }
    let missed = (profile.mean_tasks / grammar.tasks as f64 - 1.0).abs();
    ensure!(
        missed < 0.03,
        "{} tasks, shown {} in the mean",
        grammar.tasks,
        profile.mean_tasks
    );
    Ok(())
}
