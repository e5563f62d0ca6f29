//! `awaitwhat ps --json` equals what each target says of itself, on every interpreter.

use anyhow::{bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{Shape, shapes};
use libtest_mimic::{Arguments, Failed, Trial};

/// Tasks of the pure-Python implementation are ordinary objects, without a structure of their own; they are counted as lost.
const PURE_PYTHON: &str = "pure_python_tasks";

/// Differences that a failure shows; one fault tends to make hundreds.
const SHOWN: usize = 8;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::from_args();
    let trials = match environment::obstacle() {
        None => trials()?,
        Some(obstacle) => vec![skipped_altogether(obstacle)],
    };
    libtest_mimic::run(&arguments, trials).exit();
}

fn skipped_altogether(obstacle: String) -> Trial {
    println!("skipped: shapes: {obstacle}");
    let ignored = !environment::is_ci();
    Trial::test("prerequisites", move || Err(Failed::from(obstacle))).with_ignored_flag(ignored)
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for python in environment::pythons()? {
        for shape in shapes()? {
            let name = format!("{}::{}", python.label, shape.name);
            let missing = shape.missing(&python).map(str::to_owned);
            if let Some(missing) = &missing {
                println!("skipped: {name}: needs {missing}");
            }
            let python = python.clone();
            let run = move || check(&python, &shape).map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
        }
    }
    Ok(trials)
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
    let mut truth = truth;
    if shape.name == PURE_PYTHON {
        let opaque = snapshot.lost.remove("opaque").and_then(|count| count.as_u64());
        ensure!(opaque == Some(1), "one task is opaque, counted {opaque:?}");
        truth.retain(|task| task.name.as_deref() != Some("pure"));
    }
    let found = differences(&truth, &snapshot);
    if !found.is_empty() {
        let shown: Vec<_> = found.iter().take(SHOWN).map(String::as_str).collect();
        bail!("{} differences\n{}", found.len(), shown.join("\n"));
    }
    Ok(())
}
