//! What tasks of `churning.py` can be like: whatever a snapshot shows otherwise is false.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::environment::Python;
use crate::output::{Snapshot, Task};
use crate::target::Target;

/// One in so many tasks may be shown without all that it waits for.
const MOST_UNKNOWN: u64 = 100;

/// The types that each outermost function may wait for.
type Roots = BTreeMap<String, Vec<String>>;

/// What a target's tasks can be like.
#[derive(Debug)]
struct Grammar {
    roots: Roots,
    /// A task is made with a name of asyncio's own, and gets the one that was asked for right after that (`BaseEventLoop.create_task`,
    /// `Lib/asyncio/base_events.py`, before 3.12).
    is_named_late: bool,
}

/// What snapshots of a target have shown.
#[derive(Debug)]
pub struct Churn {
    grammar: Grammar,
    /// Tasks that stay, of which each snapshot has to show as many, or say that it lacks them.
    visitors: u64,
    views: u64,
    unknown: u64,
    left_out: u64,
    edges: usize,
}

impl Churn {
    /// Nothing of the target was shown yet.
    ///
    /// # Errors
    /// When it does not say what its tasks are like.
    pub fn of(target: &Target, python: &Python) -> anyhow::Result<Self> {
        let announced = &target.announced;
        Ok(Self {
            grammar: Grammar {
                roots: serde_json::from_value(announced["roots"].clone())?,
                is_named_late: python.version < (3, 12),
            },
            visitors: announced["visitors"].as_u64().context("nobody visits")?,
            views: 0,
            unknown: 0,
            left_out: 0,
            edges: 0,
        })
    }

    /// Takes one snapshot.
    ///
    /// # Errors
    /// When something of it cannot be, or is missing, and it does not say so.
    pub fn take(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        self.edges += check_snapshot(&self.grammar, snapshot)?;
        let left_out = ["torn", "faults", "ring_buffer_full", "undecodable", "incomplete"];
        let left_out: u64 = left_out.into_iter().map(|key| lost(snapshot, key)).sum();
        let is_visitor = |task: &&Task| task.stack.last().is_some_and(|frame| frame.function == "visitor");
        let shown = snapshot.tasks.iter().filter(is_visitor).count() as u64;
        ensure!(
            shown <= self.visitors && shown + left_out >= self.visitors,
            "{shown} visitors, and {left_out} tasks are said to be left out"
        );
        self.left_out += left_out;
        self.views += snapshot.tasks.len() as u64;
        self.unknown += lost(snapshot, "edges") + lost(snapshot, "names");
        Ok(())
    }

    /// Whether enough was shown, all in all.
    ///
    /// # Errors
    /// When it was not.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { views, unknown, .. } = self;
        ensure!(self.edges > 0, "nobody ever waited for anybody");
        ensure!(
            unknown * MOST_UNKNOWN <= *views,
            "{unknown} of {views} tasks without a name, or without all that they wait for"
        );
        Ok(())
    }

    /// The share of tasks that snapshots have left out, and said so.
    pub fn left_out(&self) -> f64 {
        self.left_out as f64 / (self.views + self.left_out) as f64
    }
}

fn lost(snapshot: &Snapshot, key: &str) -> u64 {
    snapshot.lost.get(key).and_then(Value::as_u64).unwrap_or(0)
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
