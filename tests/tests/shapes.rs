//! `awaitwhat ps --json` equals what each target says of itself, on every interpreter.

use anyhow::{bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{self, Shape};
use libtest_mimic::Trial;

/// Differences that a failure shows; one fault tends to make hundreds.
const SHOWN: usize = 8;

fn main() -> anyhow::Result<()> {
    trials::run("shapes", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        for shape in trials::shapes()? {
            let name = format!("{}::{}", python.label, shape.name);
            if let Some(missing) = shape.missing(&python) {
                list.push(trials::skipped(name, &format!("needs {missing}")));
                continue;
            }
            let python = python.clone();
            list.push(trials::trial(name, move || check(&python, &shape)));
        }
    }
    Ok(list)
}

/// Whether it can be proven what tasks wait for while their loop works. Where tasks have no names, as before 3.8, only the loop's own frame tells that none
/// of them has moved, and what works inside a greenlet hides that. Unless the loop is found at rest by chance, waits are lost, and counted.
fn is_provable(python: &Python, shape: &Shape) -> bool {
    python.version >= (3, 8) || shape.name != "greenlet_busy"
}

fn check(python: &Python, shape: &Shape) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, &shape.file(), &[])?;
    let truth = target.tasks()?;
    let mut snapshot = tool::snapshot(target.pid)?;
    ensure!(
        target.announced["python"] == snapshot.python.as_str(),
        "the version is {}, shown {}",
        target.announced["python"],
        snapshot.python
    );
    for kind in ["opaque", "torn"] {
        let shown = snapshot.lost.remove(kind).and_then(|count| count.as_u64());
        let expected = target.announced[kind].as_u64().unwrap_or(0);
        ensure!(
            shown == Some(expected),
            "{expected} tasks are {kind}, counted {shown:?}"
        );
    }
    if !is_provable(python, shape) {
        let lost = snapshot.lost.insert("waits".to_owned(), 0.into());
        let lost = lost.as_ref().and_then(serde_json::Value::as_u64);
        let waiting = truth.iter().filter(|task| task.state == "pending").count();
        ensure!(
            lost.is_some_and(|lost| lost <= waiting as u64),
            "{waiting} tasks wait, and it is not told of {lost:?}"
        );
    }
    let found = differences(&truth, &snapshot);
    if !found.is_empty() {
        let shown: Vec<_> = found.iter().take(SHOWN).map(String::as_str).collect();
        bail!("{} differences\n{}", found.len(), shown.join("\n"));
    }
    Ok(())
}
