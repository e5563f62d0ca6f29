//! Tasks that come and go by the thousand: every name is its task's, whatever is waited for can be, and every edge is between two that belong
//! together. What cannot be told is missing, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Snapshot, Task};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

/// Sets how many snapshots are taken of each target.
const SNAPSHOTS: &str = "AWAITWHAT_SNAPSHOTS";
/// How many are taken if nothing else is asked for: some hundred tasks are in each.
const DEFAULT_SNAPSHOTS: usize = 10;
/// One in so many tasks may be shown without all that it waits for.
const MOST_UNKNOWN: u64 = 100;

fn main() -> anyhow::Result<()> {
    trials::run("churn", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        for manner in ["gather", "wait", "group"] {
            let name = format!("{}::{manner}", python.label);
            if python.version < (3, 8) {
                list.push(trials::skipped(name, "it has no names of tasks"));
            } else if manner == "group" && python.version < (3, 11) {
                list.push(trials::skipped(name, "it has no TaskGroup"));
            } else {
                let python = python.clone();
                list.push(trials::trial(name, move || check(&python, manner)));
            }
        }
    }
    Ok(list)
}

/// The types that each outermost function may wait for.
type Roots = BTreeMap<String, Vec<String>>;

/// What a target's tasks can be like.
struct Grammar {
    roots: Roots,
    /// A task is made with a name of asyncio's own, and gets the one that was asked for right after that (`BaseEventLoop.create_task`,
    /// `Lib/asyncio/base_events.py`, before 3.12).
    is_named_late: bool,
}

fn check(python: &Python, manner: &str) -> anyhow::Result<()> {
    let count = match env::var(SNAPSHOTS) {
        Ok(text) => text.parse().with_context(|| format!("{SNAPSHOTS} is {text:?}"))?,
        Err(_) => DEFAULT_SNAPSHOTS,
    };
    let target = Target::start(python, "churning.py", &[manner])?;
    let roots: Roots = serde_json::from_value(target.announced["roots"].clone())?;
    let grammar = Grammar {
        roots,
        is_named_late: python.version < (3, 12),
    };
    let (mut views, mut unknown, mut edges) = (0, 0, 0);
    for number in 0..count {
        let snapshot = tool::snapshot(target.pid)?;
        edges += check_snapshot(&grammar, &snapshot).with_context(|| format!("snapshot {number}"))?;
        views += snapshot.tasks.len() as u64;
        unknown += lost(&snapshot, "edges") + lost(&snapshot, "names");
    }
    ensure!(edges > 0, "nobody ever waited for anybody");
    ensure!(
        unknown * MOST_UNKNOWN <= views,
        "{unknown} of {views} tasks without a name, or without all that they wait for"
    );
    Ok(())
}

fn lost(snapshot: &Snapshot, key: &str) -> u64 {
    snapshot
        .lost
        .get(key)
        .and_then(|count| count.as_u64())
        .unwrap_or(0)
}

/// How many edges there are, if all of them can be.
fn check_snapshot(grammar: &Grammar, snapshot: &Snapshot) -> anyhow::Result<usize> {
    let by_id: BTreeMap<&str, &Task> = snapshot
        .tasks
        .iter()
        .map(|task| (task.id.as_str(), task))
        .collect();
    ensure!(by_id.len() == snapshot.tasks.len(), "a task is shown twice");
    let nameless = snapshot.tasks.iter().filter(|task| task.name.is_none()).count() as u64;
    ensure!(
        nameless <= lost(snapshot, "names"),
        "{nameless} tasks have no name"
    );
    let running: BTreeSet<&str> = snapshot
        .tasks
        .iter()
        .filter(|task| task.state == "running")
        .map(|task| task.id.as_str())
        .collect();
    ensure!(running.len() <= 1, "one loop runs {} tasks", running.len());
    let mut edges = 0;
    for task in &snapshot.tasks {
        check_task(grammar, task).with_context(|| format!("{task:?}"))?;
        ensure!(task.awaited_by.len() <= 1, "two wait for {task:?}");
        for id in &task.awaited_by {
            let awaiter = by_id.get(id.as_str()).context("an awaiter is not shown")?;
            ensure!(belongs(task, awaiter), "{awaiter:?}\nwaits for\n{task:?}");
            edges += 1;
        }
    }
    Ok(edges)
}

/// Whether the name is one of the task's kind, and the task waits for something that its kind can wait for.
fn check_task(grammar: &Grammar, task: &Task) -> anyhow::Result<()> {
    let root = task.stack.last().map_or("", |frame| frame.function.as_str());
    let types = grammar.roots.get(root).context("no such kind of task")?;
    if let Some(name) = &task.name {
        let number = name.strip_prefix(root).and_then(|rest| rest.strip_prefix(' '));
        let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let is_just_made = grammar.is_named_late
            && task.state == "ready"
            && task.stack.len() == 1
            && name.strip_prefix("Task-").is_some_and(is_number);
        ensure!(
            number.is_some_and(is_number) || is_just_made,
            "the name is another task's"
        );
    }
    if let Some(waits_on) = &task.waits_on {
        ensure!(types.contains(&waits_on.type_name), "it cannot wait for that");
    }
    Ok(())
}

/// Whether the number of `awaited` is that of its `awaiter` and one more; a task without a name may be any.
fn belongs(awaited: &Task, awaiter: &Task) -> bool {
    let number = |task: &Task| {
        let name = task.name.as_deref()?;
        Some(name.split_once(' ')?.1.to_owned())
    };
    match (number(awaited), number(awaiter)) {
        (Some(awaited), Some(awaiter)) => awaited
            .rsplit_once('.')
            .is_some_and(|(before, _)| before == awaiter),
        _ => true,
    }
}
