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
    field("trio", &truth.trio, &shown.trio);
    field("cancelling", &truth.cancelling, &shown.cancelling);
    field("waits_on", &truth.waits_on, &shown.waits_on);
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
    let gap = shown
        .stack
        .iter()
        .position(|frame| frame.kind.as_deref() == Some("left_out") && !truth.stack.contains(frame));
    let expected = match (shown.truncated, gap) {
        (false, None) => truth.stack.clone(),
        (true, Some(gap)) if shown.stack.len() > WHOLE_FRAMES => with_gap(&truth.stack, &shown.stack, gap),
        _ => {
            return format!(
                "\n  truncated to {} frames of {}; up to {WHOLE_FRAMES} are to be shown whole",
                shown.stack.len(),
                truth.stack.len()
            );
        }
    };
    if expected == shown.stack {
        return String::new();
    }
    format!(
        "\n  stack is\n{}\n  shown\n{}",
        stack_lines(&expected),
        stack_lines(&shown.stack)
    )
}

/// The innermost and the outermost frames of a chain, around what says in `shown` that those between them are left out.
fn with_gap(truth: &[Frame], shown: &[Frame], gap: usize) -> Vec<Frame> {
    let outermost = shown.len() - gap - 1;
    let missing = truth.len().saturating_sub(gap + outermost);
    let mark = Frame {
        function: format!("… {missing} frames left out …"),
        ..shown[gap].clone()
    };
    let inner = truth.iter().take(gap).cloned();
    let outer = truth.iter().skip(gap + missing).cloned();
    inner.chain([mark]).chain(outer).collect()
}

/// One line per frame.
pub fn stack_lines(stack: &[Frame]) -> String {
    let line = |frame: &Frame| {
        let kind = frame.kind.as_deref().unwrap_or("");
        format!("    {} {}:{} {kind}", frame.function, frame.file, frame.line)
    };
    stack.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::differences;
    use crate::output::{Frame, Snapshot, Task, Trio, WaitsOn};

    fn frame(function: &str, line: u32) -> Frame {
        Frame {
            function: function.to_owned(),
            file: "app.py".to_owned(),
            line,
            kind: Some("coroutine".to_owned()),
        }
    }

    fn task(id: &str, depth: u32) -> Task {
        Task {
            id: id.to_owned(),
            name: Some("name".to_owned()),
            tid: Some(7),
            state: "pending".to_owned(),
            stack: (0..depth).map(|line| frame("function", line)).collect(),
            waits_on: Some(WaitsOn {
                kind: "future".to_owned(),
                id: "0xf".to_owned(),
                type_name: "Future".to_owned(),
                state: Some("pending".to_owned()),
            }),
            awaited_by: vec!["0x2".to_owned()],
            optional_awaited_by: vec!["0x3".to_owned()],
            truncated: false,
            cancelling: 0,
            trio: Some(Trio {
                state: "parked".to_owned(),
                parent_nursery: None,
                nurseries: Vec::new(),
            }),
        }
    }

    fn found(truth: &[Task], shown: Vec<Task>) -> usize {
        let lost = [("torn".to_owned(), 0.into()), ("truncated".to_owned(), 0.into())];
        let snapshot = Snapshot {
            schema: String::new(),
            pid: 1,
            python: String::new(),
            captured_at: String::new(),
            tasks: shown,
            loops: Vec::new(),
            findings: Vec::new(),
            lost: lost.into(),
        };
        differences(truth, &snapshot).len()
    }

    #[test]
    fn the_truth_has_no_differences() {
        let truth = [task("0x1", 3)];
        assert_eq!(found(&truth, truth.to_vec()), 0);
        let mut with_optional = truth.clone();
        with_optional[0].awaited_by.push("0x3".to_owned());
        assert_eq!(found(&truth, with_optional.to_vec()), 0);
    }

    #[test]
    fn every_field_counts() {
        let truth = task("0x1", 3);
        let changes: [fn(&mut Task); 14] = [
            |task| task.cancelling += 1,
            |task| task.name = None,
            |task| task.tid = None,
            |task| task.state = "running".to_owned(),
            |task| task.waits_on = None,
            |task| task.waits_on.as_mut().unwrap().state = None,
            |task| task.trio = None,
            |task| task.stack[1].line += 1,
            |task| task.stack[1].kind = None,
            |task| task.stack.truncate(2),
            |task| task.stack.reverse(),
            |task| task.awaited_by.clear(),
            |task| task.awaited_by.push("0x4".to_owned()),
            |task| task.truncated = true,
        ];
        for change in changes {
            let mut shown = truth.clone();
            change(&mut shown);
            assert_eq!(
                found(std::slice::from_ref(&truth), vec![shown.clone()]),
                1,
                "{shown:?}"
            );
        }
    }

    #[test]
    fn tasks_are_neither_missing_nor_invented() {
        let (one, two) = (task("0x1", 3), task("0x2", 3));
        assert_eq!(found(&[one.clone(), two.clone()], vec![one.clone()]), 1);
        assert_eq!(found(std::slice::from_ref(&one), vec![one.clone(), two]), 1);
        assert_eq!(
            found(std::slice::from_ref(&one), vec![one.clone(), one.clone()]),
            1
        );
    }

    #[test]
    fn only_deep_chains_may_be_cut_and_say_so_where_they_are() {
        let cut = |truth: &Task, inner: usize, outer: usize| {
            let missing = truth.stack.len() - inner - outer;
            let mark = Frame {
                kind: Some("left_out".to_owned()),
                ..frame(&format!("… {missing} frames left out …"), 0)
            };
            let mut shown = truth.clone();
            shown.stack.splice(inner..inner + missing, [mark]);
            shown.truncated = true;
            shown
        };
        let (deep, flat) = (task("0x1", 600), task("0x1", 200));
        let of = |truth: &Task, shown: Task| found(std::slice::from_ref(truth), vec![shown]);
        assert_eq!(of(&deep, cut(&deep, 504, 8)), 0);
        assert_eq!(of(&deep, cut(&deep, 100, 8)), 1);
        assert_eq!(of(&flat, cut(&flat, 150, 8)), 1);
        let mut miscounted = cut(&deep, 504, 8);
        miscounted.stack[504].function = "… 87 frames left out …".to_owned();
        assert_eq!(of(&deep, miscounted), 1);
        let mut elsewhere = cut(&deep, 504, 8);
        elsewhere.stack.swap(503, 504);
        assert_eq!(of(&deep, elsewhere), 1);
        let mut unmarked = deep.clone();
        unmarked.stack.drain(..88);
        unmarked.truncated = true;
        assert_eq!(of(&deep, unmarked), 1);
    }
}
