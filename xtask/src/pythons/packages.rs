//! Packages from PyPI that some targets import: event loops, frameworks, and real applications.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::{Provided, Python, root};
use crate::repo;

/// The newest of each that there is for a version.
const PACKAGES: [&str; 18] = [
    "aiohttp",
    "aiosqlite",
    "anyio",
    "asyncpg",
    "fastapi",
    "greenlet",
    "gunicorn",
    "httpx",
    "psycopg",
    "psycopg_binary",
    "psycopg_pool",
    "redis",
    "sqlalchemy",
    "trio",
    "uvicorn",
    "uvicorn_worker",
    "uvloop",
    "websockets",
];

/// A folder of packages: one for all builds of a version that see the same file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Folder {
    minor: u32,
    /// On this machine.
    path: PathBuf,
    /// As its interpreters see it.
    seen: PathBuf,
}

/// Installs [`PACKAGES`] for every supported version, into folders of the cache, not into the interpreters.
pub fn add(provided: &mut Provided) {
    let mut wanted: BTreeMap<Folder, Option<String>> = BTreeMap::new();
    for python in provided.pythons.iter().filter(|it| it.supported) {
        match folder_of(python) {
            Ok(folder) => {
                let pip = wanted.entry(folder).or_default();
                *pip = pip.take().or_else(|| pip_of(python));
            }
            Err(error) => provided
                .missing
                .push(format!("packages for {}: {error:#}", python.label)),
        }
    }
    // Newer ones come first, and know most.
    let any_pip = provided.pythons.iter().find_map(pip_of);
    let results: Vec<_> = thread::scope(|scope| {
        let installations: Vec<_> = wanted
            .iter()
            .map(|(folder, own)| scope.spawn(|| install(folder, own.as_deref(), any_pip.as_deref())))
            .collect();
        installations.into_iter().map(|it| it.join()).collect()
    });
    for (folder, result) in wanted.keys().zip(results) {
        match result.unwrap_or_else(|_| Err(anyhow!("the installation panicked"))) {
            Ok(without) => note(provided, folder, &without),
            Err(error) => provided
                .missing
                .push(format!("packages for 3.{}: {error:#}", folder.minor)),
        }
    }
}

fn folder_of(python: &Python) -> Result<Folder> {
    let minor = python.version.1;
    let name = format!("cp3{minor}");
    let (path, seen) = if is_on_machine(python) {
        let path = repo::cache("packages")?.join(name);
        (path.clone(), path)
    } else {
        let inside = Path::new(root::PACKAGES).join(name);
        (root::folder()?.join(inside.strip_prefix("/")?), inside)
    };
    Ok(Folder { minor, path, seen })
}

fn is_on_machine(python: &Python) -> bool {
    python.command.len() == 1
}

/// The program whose module pip installs for `python`, if it has that module.
pub(super) fn pip_of(python: &Python) -> Option<String> {
    let program = python.command.first().filter(|_| is_on_machine(python))?;
    let status = Command::new(program)
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|it| it.success()).then(|| program.clone())
}

/// Installs what is not in `folder`, by the interpreter's own pip or another's; returns the packages that this version does not have.
fn install(folder: &Folder, own: Option<&str>, other: Option<&str>) -> Result<Vec<&'static str>> {
    let lacking = || -> Vec<&'static str> {
        let is_there = |package: &&str| folder.path.join(package).is_dir();
        PACKAGES.into_iter().filter(|it| !is_there(it)).collect()
    };
    if lacking().is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("Installing {} for 3.{}", PACKAGES.join(", "), folder.minor);
    if folder.path.exists() {
        fs::remove_dir_all(&folder.path)
            .with_context(|| format!("cannot remove {}", folder.path.display()))?;
    }
    let pip = |packages: &[&str]| {
        let mut command = install_command(own.or(other).context("no interpreter here has pip")?);
        if own.is_none() {
            command
                .args(["--implementation=cp", "--python-version"])
                .arg(format!("3.{}", folder.minor));
        }
        repo::run(command.arg("--target").arg(&folder.path).args(packages))
    };
    if pip(&PACKAGES).is_err() {
        // One that this version does not have is no reason to do without the others.
        let results: Vec<_> = PACKAGES.iter().map(|package| pip(&[package])).collect();
        if results.iter().all(Result::is_err) {
            results.into_iter().collect::<Result<()>>()?;
        }
    }
    Ok(lacking())
}

/// The command by which `python`'s pip installs wheels; where to, and which, is appended.
pub(super) fn install_command(python: &str) -> Command {
    let mut command = Command::new(python);
    command.env("PIP_ROOT_USER_ACTION", "ignore").args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--only-binary=:all:",
    ]);
    command
}

/// Tells the interpreters that see `folder` what is in it.
fn note(provided: &mut Provided, folder: &Folder, without: &[&str]) {
    for python in provided.pythons.iter_mut().filter(|it| it.supported) {
        if folder_of(python).is_ok_and(|it| it == *folder) {
            python.packages = Some(folder.seen.clone());
            let installed = PACKAGES.iter().filter(|package| !without.contains(package));
            python.installed = installed.map(|&package| package.to_owned()).collect();
        }
    }
    for package in without {
        provided
            .without
            .push(format!("{package} for 3.{}: there is no wheel", folder.minor));
    }
}
