//! What `cargo xtask test` provides: the interpreters and the program under test.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Names the interpreters: a JSON array of [`Python`].
pub const PYTHONS: &str = "AWAITWHAT_PYTHONS";
/// Path of the program under test.
pub const PROGRAM: &str = "AWAITWHAT_BIN";

/// An interpreter to test with.
#[derive(Clone, Debug, Deserialize)]
pub struct Python {
    /// Names it in the tests' names, for example `3.12`.
    pub label: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// How it is started; arguments are appended.
    pub command: Vec<String>,
    /// Where it finds `tests/targets`, as it sees its file system.
    pub targets: PathBuf,
    /// Where it finds packages that some targets need, as it sees its file system.
    pub packages: Option<PathBuf>,
    /// The packages that it finds there, for example `uvloop`.
    pub installed: Vec<String>,
    /// Releases of Cython that compile for it; each is a folder of packages on this machine, of the release's name.
    pub cython: Vec<PathBuf>,
    /// Where PEX and shiv are that run in it, if they do.
    pub shippers: Option<PathBuf>,
    /// Where packages are that read what is written for other tools, if they run in it.
    pub readers: Option<PathBuf>,
    /// Whether awaitwhat supports it; others have to be refused.
    pub supported: bool,
}

impl Python {
    /// Whether it is a debug build.
    pub fn is_debug(&self) -> bool {
        self.label.ends_with("-dbg")
    }

    /// The root of its file system, as this process sees it.
    pub fn root(&self) -> &Path {
        match self.command.as_slice() {
            [chroot, root, _] if chroot == "chroot" => Path::new(root),
            _ => Path::new("/"),
        }
    }

    /// Whether it finds a package from PyPI.
    pub fn has_package(&self, name: &str) -> bool {
        self.installed.iter().any(|it| it == name)
    }
}

/// The interpreters that awaitwhat supports.
///
/// # Errors
/// When the environment does not name them.
pub fn pythons() -> anyhow::Result<Vec<Python>> {
    let pythons = all_pythons()?;
    Ok(pythons.into_iter().filter(|it| it.supported).collect())
}

/// The interpreters that awaitwhat supports, without debug builds: those are too slow to be kept busy.
///
/// # Errors
/// As [`pythons`].
pub fn release_pythons() -> anyhow::Result<Vec<Python>> {
    let pythons = pythons()?;
    Ok(pythons.into_iter().filter(|it| !it.is_debug()).collect())
}

/// The interpreters that awaitwhat has to refuse.
///
/// # Errors
/// When the environment does not name them.
pub fn unsupported_pythons() -> anyhow::Result<Vec<Python>> {
    let pythons = all_pythons()?;
    Ok(pythons.into_iter().filter(|it| !it.supported).collect())
}

/// All interpreters.
///
/// # Errors
/// When the environment does not name them.
pub fn all_pythons() -> anyhow::Result<Vec<Python>> {
    let Ok(text) = env::var(PYTHONS) else {
        bail!("{PYTHONS} is not set: run `cargo xtask test`, or set it to what `cargo xtask pythons` prints");
    };
    serde_json::from_str(&text).with_context(|| format!("{PYTHONS} is not what `cargo xtask pythons` prints"))
}

/// The program under test.
///
/// # Errors
/// When it has not been built.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(PROGRAM) {
        return Ok(path.into());
    }
    let built = repository().join("target/release/awaitwhat");
    if !built.exists() {
        bail!("{} does not exist: run `cargo build --release`", built.display());
    }
    Ok(built)
}

/// The folder of the workspace.
pub fn repository() -> &'static Path {
    let Some(folder) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else {
        unreachable!("the crate lies in the workspace's folder");
    };
    folder
}

/// The folder of the targets, as this process sees it.
pub fn targets() -> PathBuf {
    repository().join("tests/targets")
}

/// Whether a missing prerequisite is a failure rather than a skip.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Why live tests cannot run here, if so.
pub fn obstacle() -> Option<String> {
    if let Err(error) = pythons() {
        return Some(error.to_string());
    }
    if let Err(error) = program() {
        return Some(error.to_string());
    }
    if !is_root() {
        return Some("loading eBPF programs needs root: run `sudo -E cargo xtask test`".to_owned());
    }
    None
}

/// Whether this process runs as root: /proc shows each process as its effective user's.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}
