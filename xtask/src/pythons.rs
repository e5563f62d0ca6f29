//! The interpreters that the live tests run against.
//!
//! Those of pyenv and the system's own are taken where they are; what they lack comes from a Debian root in the cache ([`root`]).

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::repo;

pub mod root;

/// Minor versions of CPython 3 that awaitwhat supports.
const SUPPORTED: std::ops::RangeInclusive<u32> = 11..=15;
/// Minor versions that have to be refused: those before.
const REFUSED: [u32; 5] = [6, 7, 8, 9, 10];
/// Packages from PyPI that some targets import.
const PACKAGES: [&str; 3] = ["anyio", "trio", "uvloop"];

/// An interpreter, as the tests read it from the environment.
#[derive(Clone, Debug, Serialize)]
pub struct Python {
    /// Names it in the tests' names.
    pub label: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// How it is started; arguments are appended.
    pub command: Vec<String>,
    /// Where it finds `tests/targets`, as it sees its file system.
    pub targets: PathBuf,
    /// Where it finds [`PACKAGES`], as it sees its file system.
    pub packages: Option<PathBuf>,
    /// Whether awaitwhat supports it; others have to be refused.
    pub supported: bool,
}

/// The interpreters, and what could not be had and why.
#[derive(Debug, Default)]
pub struct Provided {
    pub pythons: Vec<Python>,
    pub missing: Vec<String>,
}

impl Provided {
    /// The interpreters as the tests read them.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.pythons).context("the interpreters cannot be written as JSON")
    }
}

/// Provides the interpreters and prints them as the tests read them.
pub fn print() -> Result<()> {
    let provided = provide()?;
    for missing in &provided.missing {
        eprintln!("missing: {missing}");
    }
    println!("{}", provided.to_json()?);
    Ok(())
}

/// Finds the interpreters, and gets what is not on the machine.
pub fn provide() -> Result<Provided> {
    let mut provided = Provided::default();
    for path in installed() {
        add_installed(&mut provided, &path)?;
    }
    let has: BTreeSet<u32> = provided.pythons.iter().map(|python| python.version.1).collect();
    let lacking: Vec<u32> = root::MINORS
        .into_iter()
        .filter(|minor| !has.contains(minor))
        .collect();
    if !lacking.is_empty() {
        match root::provide() {
            Ok(root) => provided
                .pythons
                .extend(lacking.into_iter().map(|minor| in_root(&root, minor))),
            Err(error) => provided
                .missing
                .push(format!("CPython from a Debian root: {error:#}")),
        }
    }
    add_packages(&mut provided);
    note_missing(&mut provided);
    provided.pythons.sort_by_key(|python| python.version);
    Ok(provided)
}

/// Interpreters on this machine: pyenv's, newest first, then the system's.
fn installed() -> Vec<PathBuf> {
    let home = env::var_os("PYENV_ROOT").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".pyenv"),
        PathBuf::from,
    );
    let entries = std::fs::read_dir(home.join("versions")).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/python3")))
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(release_of(path)));
    paths.push(PathBuf::from("/usr/bin/python3"));
    paths
}

/// The numbers in the name of pyenv's folder of a version.
fn release_of(path: &Path) -> Vec<u32> {
    let folder = path
        .ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .unwrap_or_default();
    let name = folder.to_string_lossy();
    name.split('.').filter_map(|number| number.parse().ok()).collect()
}

/// Adds the interpreter at `path` where its version is of use and not there yet; the system's own build always differs from pyenv's.
fn add_installed(provided: &mut Provided, path: &Path) -> Result<()> {
    let Some(version) = version_of(path) else {
        return Ok(());
    };
    let is_system = path.starts_with("/usr");
    let is_wanted = version.0 == 3 && (SUPPORTED.contains(&version.1) || REFUSED.contains(&version.1));
    if !is_wanted || !is_system && provided.pythons.iter().any(|it| it.version == version) {
        return Ok(());
    }
    let label = format!("{}.{}", version.0, version.1);
    provided.pythons.push(Python {
        label: if is_system {
            format!("{label}-system")
        } else {
            label
        },
        version,
        command: vec![path.to_str().context("the path is not UTF-8")?.to_owned()],
        targets: repo::root()?.join("tests/targets"),
        packages: None,
        supported: SUPPORTED.contains(&version.1),
    });
    Ok(())
}

/// Major and minor version of the CPython at `path`, if there is one.
fn version_of(path: &Path) -> Option<(u32, u32)> {
    let code = "import sys; sys.implementation.name == 'cpython' and print(*sys.version_info[:2])";
    let output = Command::new(path)
        .args(["-c", code])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn in_root(root: &Path, minor: u32) -> Python {
    Python {
        label: format!("3.{minor}"),
        version: (3, minor),
        command: vec![
            "chroot".to_owned(),
            root.display().to_string(),
            format!("python3.{minor}"),
        ],
        targets: root::TARGETS.into(),
        packages: None,
        supported: SUPPORTED.contains(&minor),
    }
}

/// Installs [`PACKAGES`] for every supported version, into folders of the cache, not into the interpreters.
fn add_packages(provided: &mut Provided) {
    let pip = provided.pythons.iter().find(|python| has_pip(python)).cloned();
    for python in &mut provided.pythons {
        if !python.supported {
            continue;
        }
        let minor = python.version.1;
        let installed = match &pip {
            Some(pip) => install_packages(pip, python),
            None => Err(anyhow::anyhow!("no interpreter here has pip")),
        };
        match installed {
            Ok(folder) => python.packages = Some(folder),
            Err(error) => provided
                .missing
                .push(format!("{} for 3.{minor}: {error:#}", PACKAGES.join(", "))),
        }
    }
}

fn has_pip(python: &Python) -> bool {
    let [program] = python.command.as_slice() else {
        return false;
    };
    let status = Command::new(program)
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Installs the packages for `python` by the pip of another; returns the folder as `python` sees it.
fn install_packages(pip: &Python, python: &Python) -> Result<PathBuf> {
    let minor = python.version.1;
    let (folder, seen) = if python.command.len() == 1 {
        let folder = repo::cache("packages")?.join(format!("cp3{minor}"));
        (folder.clone(), folder)
    } else {
        let inside = Path::new(root::PACKAGES);
        (
            root::folder()?
                .join(inside.strip_prefix("/")?)
                .join(format!("cp3{minor}")),
            inside.join(format!("cp3{minor}")),
        )
    };
    if PACKAGES.iter().all(|package| folder.join(package).is_dir()) {
        return Ok(seen);
    }
    let [program] = pip.command.as_slice() else {
        bail!("pip's interpreter is not a program of this machine");
    };
    eprintln!("Installing {} for 3.{minor}", PACKAGES.join(", "));
    let mut command = Command::new(program);
    command
        .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore"])
        .args(["--only-binary=:all:", "--implementation=cp", "--python-version"])
        .arg(format!("3.{minor}"))
        .arg("--target")
        .arg(&folder)
        .args(PACKAGES);
    repo::run(&mut command)?;
    Ok(seen)
}

/// Notes the versions that awaitwhat supports or has to refuse and that are nowhere.
fn note_missing(provided: &mut Provided) {
    for minor in SUPPORTED.chain(REFUSED) {
        if !provided.pythons.iter().any(|python| python.version == (3, minor)) {
            provided.missing.push(format!(
                "CPython 3.{minor}: install it by `pyenv install 3.{minor}`"
            ));
        }
    }
}
