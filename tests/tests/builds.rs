//! Interpreters as they are shipped and upgraded: under another name, stripped, deleted or replaced on disk while they run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::settings::Settings;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use tempfile::TempDir;

/// What runs: a shape that every version knows.
const SHAPE: &str = "gather_tasks.py";
/// Exit code for a target that cannot be used, as `--help` documents it.
const TARGET: i32 = 3;
/// What a copy of the interpreter is called.
const NAME: &str = "shop-server";

fn main() -> anyhow::Result<()> {
    trials::run("builds", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    type Check = fn(&Python) -> anyhow::Result<()>;
    let checks: [(&str, Check); 3] = [
        ("stripped", stripped),
        ("deleted", deleted),
        ("replaced", replaced),
    ];
    let mut list = Vec::new();
    for python in environment::pythons()? {
        if python.version < (3, 13) {
            let python = python.clone();
            list.push(trial(format!("{}::no_symbols", python.label), move || {
                no_symbols(&python)
            }));
        }
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
    }
    Ok(list)
}

fn stripped(python: &Python) -> anyhow::Result<()> {
    let copy = Installation::of(python)?;
    for file in &copy.files {
        let mut command = Command::new("strip");
        command.arg(file);
        let outcome = tool::run_command(command)?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
    }
    compare(&copy.start(python)?)
}

fn deleted(python: &Python) -> anyhow::Result<()> {
    let copy = Installation::of(python)?;
    let target = copy.start(python)?;
    drop(copy);
    compare(&target)
}

/// As a package manager replaces files: by a rename, so that those who run the old ones keep them.
fn replaced(python: &Python) -> anyhow::Result<()> {
    let copy = Installation::of(python)?;
    let target = copy.start(python)?;
    for file in &copy.files {
        let new = file.with_extension("new");
        fs::write(&new, b"not an ELF file")?;
        fs::rename(&new, file)?;
    }
    compare(&target)
}

/// Before 3.13 nothing else tells where an interpreter is. (Since then it is a shape like others.)
fn no_symbols(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "no_symbols.py", &[])?;
    let outcome = tool::run(&["ps", &target.pid.to_string()])?;
    tool::says(
        &outcome,
        TARGET,
        &["no Python interpreter was found", "exports no symbols"],
    )
}

fn compare(target: &Target) -> anyhow::Result<()> {
    let snapshot = tool::snapshot(target.pid)?;
    ensure!(
        target.announced["python"] == snapshot.python.as_str(),
        "the version is {}, shown {}",
        target.announced["python"],
        snapshot.python
    );
    let found = differences(&target.tasks()?, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// A copy of an interpreter's program, and of its library where there is one. It is removed with this value.
struct Installation {
    folder: TempDir,
    /// The root that the interpreter runs in.
    root: PathBuf,
    files: Vec<PathBuf>,
    prefix: String,
}

impl Installation {
    fn of(python: &Python) -> anyhow::Result<Self> {
        let settings = Settings::of(python)?;
        let root = python.root();
        let folder = TempDir::new_in(root.join("tmp"))?;
        let outside = |path: &Path| fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(path)));
        let program = outside(Path::new(&executable(python)?))?;
        let mut files = vec![folder.path().join(NAME)];
        fs::copy(program, &files[0])?;
        if let Ok(library) = outside(&settings.library()) {
            files.push(folder.path().join(settings.get("INSTSONAME")));
            fs::copy(library, &files[1])?;
        }
        Ok(Self {
            folder,
            root: root.to_owned(),
            files,
            prefix: settings.get("prefix").to_owned(),
        })
    }

    fn start(&self, python: &Python) -> anyhow::Result<Target> {
        let mut words = python.command.clone();
        let inside = Path::new("/").join(self.folder.path().strip_prefix(&self.root)?);
        let program = words.last_mut().context("no command")?;
        *program = inside.join(NAME).display().to_string();
        let copy = Python {
            command: words,
            ..python.clone()
        };
        let mut command = copy.target_command(SHAPE);
        command
            .env("PYTHONHOME", &self.prefix)
            .env("LD_LIBRARY_PATH", inside);
        Target::spawn(command)
    }
}

/// The path of the interpreter's program, as it sees its file system.
fn executable(python: &Python) -> anyhow::Result<String> {
    let mut command = python.command();
    command.args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"]);
    let outcome = tool::run_command(command)?;
    ensure!(outcome.status.success(), "{}", outcome.stderr);
    Ok(outcome.stdout.trim().to_owned())
}
