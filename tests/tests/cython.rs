//! Coroutines that Cython compiled, by several of its releases, whose objects differ: `ps --json` equals what the target says.
//!
//! Cython comes from PyPI into the cache; the target's module is compiled here, so that only interpreters of this file system have it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

/// Releases of Cython, and the minor versions of CPython 3 that each knows.
const RELEASES: [(&str, Range<u32>); 3] = [("0.29.37", 7..13), ("3.0.12", 7..14), ("3.1.2", 8..15)];

fn main() -> anyhow::Result<()> {
    trials::run("cython", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for (release, known) in RELEASES {
        let source = match translate(release) {
            Ok(source) => source,
            Err(error) if environment::is_ci() => return Err(error),
            Err(error) => {
                list.push(trials::skipped(release, &format!("{error:#}")));
                continue;
            }
        };
        for python in environment::pythons()? {
            let name = format!("{release}::{}", python.label);
            if !known.contains(&python.version.1) {
                list.push(trials::skipped(name, "this release of Cython does not know it"));
            } else if include(&python).is_none() {
                list.push(trials::skipped(name, "its headers are not on this file system"));
            } else {
                let source = source.clone();
                list.push(trials::trial(name, move || check(&python, &source)));
            }
        }
    }
    Ok(list)
}

/// Runs a command that has to succeed, and returns what it printed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Has a release of Cython translate the module to C, by an interpreter that every release knows.
fn translate(release: &str) -> anyhow::Result<PathBuf> {
    let pythons = environment::pythons()?;
    let python = pythons
        .iter()
        .find(|it| it.version == (3, 11) && it.command.len() == 1)
        .context("there is no CPython 3.11")?;
    let folder = environment::repository().join(".cache/cython").join(release);
    let packages = folder.join("packages");
    if !packages.join("Cython").exists() {
        let install = ["-m", "pip", "install", "--quiet", "--target"];
        let wanted = format!("Cython=={release}");
        output(python.command().args(install).arg(&packages).arg(wanted))?;
    }
    let source = folder.join("compiled.c");
    let module = environment::targets().join("compiled.pyx");
    let mut cython = python.command();
    cython.args(["-m", "cython"]).arg(module).arg("-o").arg(&source);
    output(cython.env("PYTHONPATH", &packages))?;
    Ok(source)
}

/// Where the interpreter's headers are, if it sees the same files as this process.
fn include(python: &Python) -> Option<PathBuf> {
    let ask = "import sysconfig; print(sysconfig.get_path('include'))";
    let folder = PathBuf::from(output(python.command().args(["-c", ask])).ok()?);
    (python.command.len() == 1 && folder.join("Python.h").exists()).then_some(folder)
}

/// Compiles the module for `python`, into `folder`.
fn compile(python: &Python, source: &Path, folder: &Path) -> anyhow::Result<()> {
    let include = include(python).context("the headers are gone")?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-w", "-I"])
        .arg(include);
    output(compiler.arg(source).arg("-o").arg(folder.join("compiled.so")))?;
    Ok(())
}

fn check(python: &Python, source: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    compile(python, source, folder.path())?;
    let mut command = python.target_command("cython_coroutines.py");
    command.env("PYTHONPATH", folder.path());
    let target = Target::spawn(command)?;
    let snapshot = tool::snapshot(target.pid)?;
    let found = differences(&target.tasks()?, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
