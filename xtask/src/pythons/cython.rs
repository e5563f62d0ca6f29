//! Releases of Cython, which compile a module of the tests.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Provided, packages};
use crate::repo;

/// Releases, and the minor versions of CPython 3 for which what they make compiles: 3.1 has dropped 3.7.
const RELEASES: [(&str, Range<u32>); 3] = [("0.29.37", 7..13), ("3.0.12", 7..14), ("3.1.2", 8..15)];

/// The version that runs Cython: every release knows it.
const RUNS: (u32, u32) = (3, 11);

/// Has every release in a folder of the cache, and tells the interpreters which of them compile for them.
pub fn add(provided: &mut Provided) {
    let mut pythons = provided.pythons.iter().filter(|it| it.version == RUNS);
    let pip = pythons.find_map(packages::pip_of);
    for (release, known) in RELEASES {
        match install(release, pip.as_deref()) {
            Ok(folder) => {
                let pythons = provided.pythons.iter_mut().filter(|it| it.supported);
                for python in pythons.filter(|it| known.contains(&it.version.1)) {
                    python.cython.push(folder.clone());
                }
            }
            Err(error) => provided.missing.push(format!("Cython {release}: {error:#}")),
        }
    }
}

fn install(release: &str, pip: Option<&str>) -> Result<PathBuf> {
    let folder = repo::cache("packages")?.join("cython").join(release);
    if !folder.join("Cython").is_dir() {
        eprintln!("Installing Cython {release}");
        let mut command = packages::install_command(pip.context("there is no CPython 3.11 with pip")?);
        command.arg("--target").arg(&folder);
        repo::run(command.arg(format!("Cython=={release}")))?;
    }
    Ok(folder)
}
