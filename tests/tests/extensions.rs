//! What extension modules bring: a task class of C's own, and coroutines that several releases of Cython compiled, whose objects differ.
//! `ps --json` equals what the target says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::extension::{Extension, Headers};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

fn main() -> anyhow::Result<()> {
    trials::run("extensions", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::pythons()?;
    let mut list = Vec::new();
    let mut translated = BTreeMap::new();
    for python in &pythons {
        let name = format!("{}::c_task_subclass", python.label);
        if !Headers::of(python)?.has("Python.h") {
            list.push(trials::skipped(name, "its headers are not there"));
            continue;
        }
        let own = python.clone();
        list.push(trials::trial(name, move || {
            check(&own, &source("derived.c"), "derived", "c_task_subclass.py")
        }));
        for folder in &python.cython {
            let release = folder.file_name().unwrap_or_default().to_string_lossy();
            let source = match translated.get(folder) {
                Some(source) => PathBuf::clone(source),
                None => translate(&pythons, folder)?,
            };
            translated.insert(folder, source.clone());
            let own = python.clone();
            list.push(trials::trial(
                format!("{}::cython_{release}", python.label),
                move || check(&own, &source, "compiled", "cython_coroutines.py"),
            ));
        }
    }
    Ok(list)
}

fn source(name: &str) -> PathBuf {
    environment::repository().join("tests/extensions").join(name)
}

/// Has the Cython in `folder` translate the module to C, by an interpreter that every release knows.
fn translate(pythons: &[Python], folder: &Path) -> anyhow::Result<PathBuf> {
    let mut pythons = pythons.iter();
    let python = pythons
        .find(|it| it.version == (3, 11) && it.root() == Path::new("/"))
        .context("there is no CPython 3.11 to run Cython")?;
    let output = folder.join("compiled.c");
    let mut cython = python.command();
    cython.args(["-m", "cython"]).arg(source("compiled.pyx"));
    cython.arg("-o").arg(&output).env("PYTHONPATH", folder);
    let outcome = tool::run_command(cython)?;
    ensure!(
        outcome.status.success(),
        "{}: {}",
        folder.display(),
        outcome.stderr
    );
    Ok(output)
}

fn check(python: &Python, source: &Path, module: &str, file: &str) -> anyhow::Result<()> {
    let extension = Extension::build(python, source, module)?;
    let target = Target::spawn(extension.target_command(python, file))?;
    let snapshot = tool::snapshot(target.pid)?;
    let found = differences(&target.tasks()?, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
