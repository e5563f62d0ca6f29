//! What tasks wait for has a name: targets that know what each of their tasks waits for, and what awaitwhat says of it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde_json::Value;

/// What a moment loses as a number in JSON, in seconds at most.
const ROUNDING: f64 = 1e-6;

fn main() -> anyhow::Result<()> {
    trials::run("waits", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        let name = format!("{}::at_rest", python.label);
        list.push(trials::trial(name, move || at_rest(&python)));
    }
    Ok(list)
}

/// The facts that a target knows of its tasks' waits, by the task's address.
type Expected = BTreeMap<String, BTreeMap<String, Value>>;

fn at_rest(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "named_waits.py", &[""; 0])?;
    let expected: Expected = serde_json::from_value(target.announced["expected"].clone())?;
    ensure!(expected.len() > 20, "the target says too little");
    let before = monotonic();
    let snapshot = look(&target)?;
    let after = monotonic();
    ensure!(snapshot["lost"]["waits"] == 0, "something changed at rest");
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut met = 0;
    for task in tasks {
        let id = task["id"].as_str().context("no id")?;
        let Some(facts) = expected.get(id) else { continue };
        met += 1;
        let found = &task["waits_on"]["resource"];
        compare(facts, found, before, after).with_context(|| format!("{facts:?}\nfound {found}"))?;
    }
    ensure!(
        met == expected.len(),
        "{met} of {} tasks are shown",
        expected.len()
    );
    Ok(())
}

fn look(target: &Target) -> anyhow::Result<Value> {
    let outcome = tool::run(&["ps", "--json", "--pid", &target.pid.to_string()])?;
    ensure!(outcome.code() == Some(0), "{}", outcome.stderr);
    Ok(serde_json::from_str(&outcome.stdout)?)
}

/// Compares what is known of a wait with what is told of it, which was read between two moments of `CLOCK_MONOTONIC`.
fn compare(facts: &BTreeMap<String, Value>, found: &Value, before: f64, after: f64) -> anyhow::Result<()> {
    if !facts.contains_key("kind") {
        ensure!(found.is_null(), "nothing is known of this");
        return Ok(());
    }
    for (key, value) in facts {
        match key.as_str() {
            "name" => {}
            "deadline" => {
                let deadline = value.as_f64().context("a deadline is a number")?;
                let left = found["deadline_in_seconds"].as_f64().context("no deadline")?;
                let range = deadline - after - ROUNDING..=deadline - before + ROUNDING;
                ensure!(range.contains(&left), "{left} s are not in {range:?}");
            }
            "detail" => {
                for (name, value) in value.as_object().context("details are an object")? {
                    ensure!(found["detail"][name] == *value, "{name}");
                }
            }
            key if found[key] != *value => bail!("{key} is {}", found[key]),
            _ => {}
        }
    }
    Ok(())
}

fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
