//! Targets in a PID namespace of their own: process and thread ids are those of the namespace that awaitwhat runs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

fn main() -> anyhow::Result<()> {
    trials::run("containers", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        for file in ["task_group.py", "many_loops.py", "running_blocked.py"] {
            let name = format!("{}::{}", python.label, file.trim_end_matches(".py"));
            let python = python.clone();
            list.push(trials::trial(name, move || check(&python, file)));
        }
    }
    Ok(list)
}

fn check(python: &Python, file: &str) -> anyhow::Result<()> {
    let inner = python.target_command(file);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let target = Target::spawn(command)?;
    ensure!(
        target.pid == 1,
        "the target has no PID namespace of its own: {}",
        target.pid
    );
    let pid = only_child(target.child_id())?;
    let outer = outer_threads(pid)?;
    let mut truth = target.tasks()?;
    for task in &mut truth {
        let inner = task.tid.context("a loop without a thread")?;
        task.tid = Some(*outer.get(&inner).with_context(|| format!("no thread {inner}"))?);
    }
    let found = differences(&truth, &tool::snapshot(pid)?);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// The one child of a process.
fn only_child(pid: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("the children are {text:?}"))
}

/// Thread ids of a process: those in its own namespace, and what they are here.
fn outer_threads(pid: u32) -> anyhow::Result<BTreeMap<u32, u32>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(PathBuf::from(format!("/proc/{pid}/task")))? {
        let text = fs::read_to_string(entry?.path().join("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let ids: Vec<u32> = line
            .unwrap_or("")
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect();
        let (Some(outer), Some(inner)) = (ids.first(), ids.last()) else {
            continue;
        };
        threads.insert(*inner, *outer);
    }
    Ok(threads)
}
