//! Differences between what a target says of itself and what awaitwhat says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::output::{Frame, Snapshot, Task};

/// Chains of up to this many frames have to be shown whole.
pub const WHOLE_FRAMES: usize = 256;

/// Every difference, one paragraph each; empty where the snapshot tells the truth.
pub fn differences(truth: &[Task], snapshot: &Snapshot) -> Vec<String> {
    let mut found = losses(truth, snapshot);
    let expected = by_id(truth);
    let seen = by_id(&snapshot.tasks);
    if seen.len() != snapshot.tasks.len() {
        found.push("a task is shown twice".to_owned());
    }
    for (id, task) in &expected {
        match seen.get(id) {
            Some(shown) => found.extend(task_difference(task, shown)),
            None => found.push(format!("missing: {}", title(task))),
        }
    }
    for (id, task) in &seen {
        if !expected.contains_key(id) {
            found.push(format!(
                "there is no such task: {}\n{}",
                title(task),
                stack_lines(&task.stack)
            ));
        }
    }
    found
}

fn by_id(tasks: &[Task]) -> BTreeMap<&str, &Task> {
    tasks.iter().map(|task| (task.id.as_str(), task)).collect()
}

fn title(task: &Task) -> String {
    format!("task {} {:?}", task.id, task.name)
}

/// A target at rest gives no reason to lose anything, chains beyond the bound excepted.
fn losses(truth: &[Task], snapshot: &Snapshot) -> Vec<String> {
    let deep = truth
        .iter()
        .filter(|task| task.stack.len() > WHOLE_FRAMES)
        .count();
    let bound = |kind: &str| if kind == "truncated" { deep as u64 } else { 0 };
    snapshot
        .lost
        .iter()
        .filter(|(kind, count)| count.as_u64().is_none_or(|count| count > bound(kind)))
        .map(|(kind, count)| format!("lost: {count} {kind}"))
        .collect()
}

fn task_difference(truth: &Task, shown: &Task) -> Option<String> {
    let mut text = String::new();
    let mut field = |name: &str, truth: &dyn std::fmt::Debug, shown: &dyn std::fmt::Debug| {
        let (truth, shown) = (format!("{truth:?}"), format!("{shown:?}"));
        if truth != shown {
            // Writing to a string does not fail.
            let _ = write!(text, "\n  {name}: is {truth}, shown {shown}");
        }
    };
    field("name", &truth.name, &shown.name);
    field("tid", &truth.tid, &shown.tid);
    field("state", &truth.state, &shown.state);
    if shown.truncated {
        // The innermost part is missing, and what the task waits for with it.
        field("waits_on", &None::<()>, &shown.waits_on);
    } else {
        field("waits_on", &truth.waits_on, &shown.waits_on);
    }
    text.push_str(&awaiter_difference(truth, shown));
    text.push_str(&stack_difference(truth, shown));
    (!text.is_empty()).then(|| format!("{}{text}", title(truth)))
}

fn awaiter_difference(truth: &Task, shown: &Task) -> String {
    let required: BTreeSet<&String> = truth.awaited_by.iter().collect();
    let optional: BTreeSet<&String> = truth.optional_awaited_by.iter().collect();
    let seen: BTreeSet<&String> = shown.awaited_by.iter().collect();
    let mut text = String::new();
    if seen.len() != shown.awaited_by.len() {
        text.push_str("\n  awaited_by: an awaiter is shown twice");
    }
    for waiter in required.difference(&seen) {
        let _ = write!(text, "\n  awaited_by: {waiter} is missing");
    }
    for waiter in seen
        .difference(&required)
        .filter(|waiter| !optional.contains(*waiter))
    {
        let _ = write!(
            text,
            "\n  awaited_by: {waiter} is shown, but does not wait for it"
        );
    }
    text
}

fn stack_difference(truth: &Task, shown: &Task) -> String {
    let expected = if shown.truncated {
        if truth.stack.len() <= WHOLE_FRAMES || shown.stack.len() < WHOLE_FRAMES {
            return format!(
                "\n  truncated to {} frames of {}; up to {WHOLE_FRAMES} are to be shown whole",
                shown.stack.len(),
                truth.stack.len()
            );
        }
        let missing = truth.stack.len().saturating_sub(shown.stack.len());
        truth.stack.get(missing..).unwrap_or_default()
    } else {
        &truth.stack
    };
    if expected == shown.stack {
        return String::new();
    }
    format!(
        "\n  stack is\n{}\n  shown\n{}",
        stack_lines(expected),
        stack_lines(&shown.stack)
    )
}

/// One line per frame.
pub fn stack_lines(stack: &[Frame]) -> String {
    let line = |frame: &Frame| {
        let kind = frame.kind.as_deref().unwrap_or("");
        format!("    {} {}:{} {kind}", frame.function, frame.file, frame.line)
    };
    stack.iter().map(line).collect::<Vec<_>>().join("\n")
}
