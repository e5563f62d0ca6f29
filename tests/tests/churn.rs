//! Tasks that come and go by the thousand: every name is its task's, whatever is waited for can be, and every edge is between two that belong
//! together. What cannot be told is missing, and counted.

use std::env;

use anyhow::Context;
use awaitwhat_tests::churn::Churn;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

/// Sets how many snapshots are taken of each target.
const SNAPSHOTS: &str = "AWAITWHAT_SNAPSHOTS";
/// How many are taken if nothing else is asked for: some hundred tasks are in each.
const DEFAULT_SNAPSHOTS: usize = 10;

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

fn check(python: &Python, manner: &str) -> anyhow::Result<()> {
    let count = match env::var(SNAPSHOTS) {
        Ok(text) => text.parse().with_context(|| format!("{SNAPSHOTS} is {text:?}"))?,
        Err(_) => DEFAULT_SNAPSHOTS,
    };
    let target = Target::start(python, "churning.py", &[manner])?;
    let mut churn = Churn::of(&target, python)?;
    for number in 0..count {
        let snapshot = tool::snapshot(target.pid)?;
        churn
            .take(&snapshot)
            .with_context(|| format!("snapshot {number}"))?;
    }
    churn.check()
}
