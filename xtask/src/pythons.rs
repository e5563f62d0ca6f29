//! The interpreters that the live tests run against.
//!
//! Those of pyenv and the system's own are taken where they are; what they lack comes from a Debian root in the cache ([`root`]).

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{debian, repo, servers, shells};

mod cython;
mod packages;
pub mod root;
mod tools;

/// Minor versions of CPython 3 that awaitwhat supports.
const SUPPORTED: std::ops::RangeInclusive<u32> = 7..=15;
/// Versions that have to be refused: the last ones before.
const REFUSED: [(u32, u32); 2] = [(2, 7), (3, 6)];

/// The system's own interpreter, which every user can run.
const SYSTEM: &str = "/usr/bin/python3";

/// An interpreter, as the tests read it from the environment.
#[derive(Clone, Debug, Serialize)]
pub struct Python {
    /// Names it in the tests' names.
    pub label: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Where it comes from.
    pub build: String,
    /// How it is started; arguments are appended.
    pub command: Vec<String>,
    /// Where it finds `tests/targets`, as it sees its file system.
    pub targets: PathBuf,
    /// Where it finds packages from PyPI, as it sees its file system.
    pub packages: Option<PathBuf>,
    /// The packages that it finds there, for example `uvloop`.
    pub installed: Vec<String>,
    /// Releases of Cython that compile for it: folders of packages on this machine.
    pub cython: Vec<PathBuf>,
    /// Where PEX and shiv are that run in it, if they do.
    pub shippers: Option<PathBuf>,
    /// Where packages are that read what is written for other tools, if they run in it.
    pub readers: Option<PathBuf>,
    /// Whether awaitwhat supports it; others have to be refused.
    pub supported: bool,
}

/// The interpreters, and what could not be had and why.
#[derive(Debug, Default)]
pub struct Provided {
    pub pythons: Vec<Python>,
    /// What the tests cannot do without.
    pub missing: Vec<String>,
    /// Packages that do not exist for a version.
    pub without: Vec<String>,
}

impl Provided {
    /// The interpreters as the tests read them.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.pythons).context("the interpreters cannot be written as JSON")
    }
}

/// The system's own interpreter, without packages.
pub fn system() -> Result<Provided> {
    let mut provided = Provided::default();
    add_installed(&mut provided, Path::new(SYSTEM))?;
    if !provided.pythons.iter().all(|python| python.supported) || provided.pythons.is_empty() {
        bail!("{SYSTEM} is no CPython that awaitwhat supports");
    }
    Ok(provided)
}

/// Provides the interpreters and prints them as the tests read them.
pub fn print() -> Result<()> {
    let provided = provide()?;
    for missing in provided.missing.iter().chain(&provided.without) {
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
    match root::provide() {
        Ok(root) => add_of_root(&mut provided, &root),
        Err(error) => provided
            .missing
            .push(format!("CPython from a Debian root: {error:#}")),
    }
    let debug_build = system_debug_build().and_then(|path| add_installed(&mut provided, &path));
    if let Err(error) = debug_build {
        provided
            .missing
            .push(format!("the debug build of the system's interpreter: {error:#}"));
    }
    if let Err(error) = need_library() {
        provided
            .missing
            .push(format!("the system's libpython to link with: {error:#}"));
    }
    if let Err(error) = need_multiplexer() {
        provided.missing.push(format!("tmux: {error:#}"));
    }
    packages::add(&mut provided);
    cython::add(&mut provided);
    tools::add(&mut provided);
    servers::add(&mut provided);
    shells::add(&mut provided);
    note_missing(&mut provided);
    provided
        .pythons
        .sort_by(|left, right| (left.version, &left.label).cmp(&(right.version, &right.label)));
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
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/python")))
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(release_of(path)));
    paths.push(PathBuf::from(SYSTEM));
    paths
}

/// The debug build of the system's own interpreter, which is installed where it is not there.
fn system_debug_build() -> Result<PathBuf> {
    let (major, minor) = version_of(Path::new(SYSTEM)).with_context(|| format!("{SYSTEM} is no CPython"))?;
    let name = format!("python{major}.{minor}{}", root::DEBUG_BUILD);
    let path = Path::new("/usr/bin").join(&name);
    if !path.exists() {
        debian::install(&name)?;
    }
    Ok(path)
}

/// Sees to it that programs can be linked with the system's interpreter; pyenv's have what that takes.
fn need_library() -> Result<()> {
    let path = Path::new(SYSTEM);
    let Some((major, minor)) = version_of(path) else {
        return Ok(());
    };
    let code = "import os, sysconfig; print(os.path.exists(os.path.join(*sysconfig.get_config_vars('LIBPL', 'LIBRARY'))))";
    if repo::output(Command::new(path).args(["-c", code]))?.trim() == "True" {
        return Ok(());
    }
    debian::install(&format!("libpython{major}.{minor}-dev"))
}

/// Sees to it that there is tmux, in whose terminals `top` is tested.
fn need_multiplexer() -> Result<()> {
    if Command::new("tmux").arg("-V").output().is_ok() {
        return Ok(());
    }
    debian::install("tmux")
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
    let is_supported = version.0 == 3 && SUPPORTED.contains(&version.1);
    let is_wanted = is_supported || REFUSED.contains(&version);
    if !is_wanted || !is_system && provided.pythons.iter().any(|it| it.version == version) {
        return Ok(());
    }
    let is_debug = path.to_string_lossy().ends_with(root::DEBUG_BUILD);
    let (suffix, build) = match (is_system, is_debug) {
        (true, true) => (root::DEBUG_BUILD, "Debian's own debug build"),
        (true, false) => ("-system", "Debian's own"),
        (false, _) => ("", "pyenv's"),
    };
    provided.pythons.push(Python {
        label: format!("{}.{}{suffix}", version.0, version.1),
        version,
        build: build.to_owned(),
        command: vec![path.to_str().context("the path is not UTF-8")?.to_owned()],
        targets: repo::root()?.join("tests/targets"),
        packages: None,
        installed: Vec::new(),
        cython: Vec::new(),
        shippers: None,
        readers: None,
        supported: is_supported,
    });
    Ok(())
}

/// Major and minor version of the CPython at `path`, if there is one.
fn version_of(path: &Path) -> Option<(u32, u32)> {
    let code = "import platform, sys\nif platform.python_implementation() == 'CPython': print('%d %d' % sys.version_info[:2])";
    let output = Command::new(path)
        .args(["-c", code])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Adds the root's interpreters: those that are not on this machine, and the debug builds.
fn add_of_root(provided: &mut Provided, root: &Path) {
    for minor in root::MINORS {
        if !provided.pythons.iter().any(|it| it.version == (3, minor)) {
            provided.pythons.push(in_root(root, minor, ""));
        }
        provided.pythons.push(in_root(root, minor, root::DEBUG_BUILD));
    }
}

/// The interpreter of the root whose name ends with `build`.
fn in_root(root: &Path, minor: u32, build: &str) -> Python {
    Python {
        label: format!("3.{minor}{build}"),
        version: (3, minor),
        build: match build {
            root::DEBUG_BUILD => "Debian sid's debug build",
            _ => "Debian sid's",
        }
        .to_owned(),
        command: vec![
            "chroot".to_owned(),
            root.display().to_string(),
            format!("python3.{minor}{build}"),
        ],
        targets: root::TARGETS.into(),
        packages: None,
        installed: Vec::new(),
        cython: Vec::new(),
        shippers: None,
        readers: None,
        supported: SUPPORTED.contains(&minor),
    }
}

/// Notes the versions that awaitwhat supports or has to refuse and that are nowhere.
fn note_missing(provided: &mut Provided) {
    let supported = SUPPORTED.map(|minor| (3, minor));
    for (major, minor) in supported.chain(REFUSED) {
        if !provided
            .pythons
            .iter()
            .any(|python| python.version == (major, minor))
        {
            provided.missing.push(format!(
                "CPython {major}.{minor}: install it by `pyenv install {major}.{minor}`"
            ));
        }
    }
}
