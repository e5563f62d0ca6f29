//! Interpreters inside programs of another name: linked in, shared or static, or loaded late; and programs with two of them.

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

/// What runs inside: a shape that every version knows.
const SHAPE: &str = "gather_tasks.py";
/// What is no interpreter, and has a symbol and a name of one; beside the program.
const DECOY: &str = "./libpython-decoy.so";
/// The program's name, which says nothing about Python.
const NAME: &str = "shop-server";

fn main() -> anyhow::Result<()> {
    trials::run("embedded", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    // One in another root has no compiler, and is not of this system's C library.
    let pythons: Vec<Python> = environment::pythons()?
        .into_iter()
        .filter(|python| python.command.len() == 1 && !python.is_debug())
        .collect();
    let mut list = Vec::new();
    for (index, python) in pythons.iter().enumerate() {
        let bystander = pythons[(index + 1) % pythons.len()].clone();
        for (name, build) in BUILDS {
            let (python, bystander) = (python.clone(), bystander.clone());
            list.push(trial(format!("{}::{name}", python.label), move || {
                let kit = Kit::of(&python)?;
                let bystander = Kit::of(&bystander)?;
                let other = (name == IDLE_SECOND).then(|| bystander.get("INSTSONAME"));
                check(&python, &build(&kit, &bystander)?, &kit, other)
            }));
        }
    }
    Ok(list)
}

/// A build with two interpreters at work, of which one has asyncio.
const IDLE_SECOND: &str = "beside_an_idle_one";

/// Gives the compiler's arguments for an interpreter, and one that stands by.
type Builder = fn(&Kit, &Kit) -> anyhow::Result<Vec<String>>;

const BUILDS: [(&str, Builder); 9] = [
    ("shared", |kit, _| kit.linked(&["-DLINKED"], &kit.shared())),
    ("thread", |kit, _| {
        kit.linked(&["-DLINKED", "-DTHREAD"], &kit.shared())
    }),
    ("builtin_asyncio", |kit, _| {
        let mut libraries = kit.shared();
        libraries.push(kit.asyncio());
        kit.linked(&["-DLINKED", "-DBUILTIN_ASYNCIO"], &libraries)
    }),
    ("static", |kit, _| {
        kit.linked(&["-DLINKED", "-no-pie", "-rdynamic", "-s"], &kit.archived("")?)
    }),
    ("static_pie", |kit, _| {
        kit.linked(
            &["-DLINKED", "-DTHREAD", "-pie", "-rdynamic", "-s"],
            &kit.archived("-pic")?,
        )
    }),
    ("loaded_late", |kit, _| {
        kit.linked(&[&kit.plugin("PLUGIN"), "-DTHREAD"], &[])
    }),
    ("beside_another", |kit, bystander| {
        kit.linked(&[&kit.plugin("PLUGIN"), &bystander.plugin("BYSTANDER")], &[])
    }),
    (IDLE_SECOND, |kit, bystander| {
        let home = format!("-DBYSTANDER_HOME=\"{}\"", bystander.get("prefix"));
        kit.linked(
            &[&kit.plugin("PLUGIN"), &bystander.plugin("BYSTANDER"), &home],
            &[],
        )
    }),
    ("beside_a_decoy", |kit, _| {
        kit.linked(&[&kit.plugin("PLUGIN"), &format!("-DBYSTANDER=\"{DECOY}\"")], &[])
    }),
];

/// What it takes to build a program around an interpreter.
struct Kit {
    settings: Settings,
}

impl Kit {
    fn of(python: &Python) -> anyhow::Result<Self> {
        Ok(Self {
            settings: Settings::of(python)?,
        })
    }

    fn get(&self, name: &str) -> &str {
        self.settings.get(name)
    }

    fn linked(&self, arguments: &[&str], library: &[String]) -> anyhow::Result<Vec<String>> {
        let own = |argument: &&str| (*argument).to_owned();
        let mut all: Vec<String> = arguments.iter().map(own).collect();
        // The function that runs a command line got its name in 3.8.
        if self.get("VERSION") == "3.7" {
            all.push("-DMAIN=_Py_UnixMain".to_owned());
        }
        all.push(source("embed.c"));
        all.extend(library.iter().cloned());
        Ok(all)
    }

    fn plugin(&self, name: &str) -> String {
        format!("-D{name}=\"{}\"", self.settings.library().display())
    }

    fn shared(&self) -> Vec<String> {
        vec![
            self.settings.library().display().to_string(),
            format!("-Wl,-rpath,{}", self.get("LIBDIR")),
        ]
    }

    /// The extension module `_asyncio`.
    fn asyncio(&self) -> String {
        format!("{}/_asyncio{}", self.get("DESTSHARED"), self.get("EXT_SUFFIX"))
    }

    /// The archive, of position-independent code where there is one of its own, and what it needs.
    fn archived(&self, suffix: &str) -> anyhow::Result<Vec<String>> {
        let name = self.get("LIBRARY");
        let stem = name
            .strip_suffix(".a")
            .with_context(|| format!("the archive is {name:?}"))?;
        let folder = Path::new(self.get("LIBPL"));
        let special = folder.join(format!("{stem}{suffix}.a"));
        let archive = if special.exists() {
            special
        } else {
            folder.join(name)
        };
        let mut all = vec![archive.display().to_string()];
        for needed in ["MODLIBS", "LIBS", "SYSLIBS", "LIBM"] {
            all.extend(self.get(needed).split_whitespace().map(str::to_owned));
        }
        all.extend(["-lpthread", "-lutil", "-ldl"].map(str::to_owned));
        Ok(all)
    }
}

fn check(python: &Python, build: &[String], kit: &Kit, other: Option<&str>) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let program = compile(folder.path(), build)?;
    let mut command = Command::new(&program);
    command
        .arg(python.targets.join(SHAPE))
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHOME", kit.get("prefix"));
    let target = Target::spawn(command)?;
    let snapshot = tool::snapshot(target.pid)?;
    ensure!(
        target.announced["python"] == snapshot.python.as_str(),
        "the version is {}, shown {}",
        target.announced["python"],
        snapshot.python
    );
    let found = differences(&target.tasks()?, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    let doctor = tool::run(&["doctor", "--pid", &target.pid.to_string()])?.stdout;
    let told = doctor.lines().find(|line| line.contains("is not looked at"));
    ensure!(
        told.map(|line| other.is_some_and(|other| line.contains(other))) == other.map(|_| true),
        "the other interpreter is {other:?}: {doctor}"
    );
    Ok(())
}

fn compile(folder: &Path, build: &[String]) -> anyhow::Result<PathBuf> {
    let program = folder.join(NAME);
    cc(&program, build)?;
    cc(&folder.join(DECOY), &["-shared".to_owned(), source("decoy.c")])?;
    Ok(program)
}

fn cc(output: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("cc");
    command.arg("-o").arg(output).args(arguments);
    let outcome = tool::run_command(command)?;
    ensure!(
        outcome.status.success(),
        "the program does not build: {}",
        outcome.stderr
    );
    Ok(())
}

fn source(name: &str) -> String {
    let folder = environment::repository().join("tests/embedded");
    folder.join(name).display().to_string()
}
