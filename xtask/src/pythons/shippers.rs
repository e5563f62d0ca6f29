//! What packs programs into one file: PEX and shiv.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Provided, packages};
use crate::repo;

const PACKAGES: [&str; 2] = ["pex", "shiv"];

/// The version whose programs are packed: PEX has what it needs for it, and asks PyPI for nothing.
const RUNS: (u32, u32) = (3, 11);

/// Has both in a folder of the cache, and tells the interpreter that runs them.
pub fn add(provided: &mut Provided) {
    let mut pythons = provided.pythons.iter_mut().filter(|it| it.version == RUNS);
    let found = pythons.find_map(|python| packages::pip_of(python).map(|pip| (python, pip)));
    let installed = found
        .context("there is no CPython 3.11 with pip")
        .and_then(|(python, pip)| {
            python.shippers = Some(install(&pip)?);
            Ok(())
        });
    if let Err(error) = installed {
        provided.missing.push(format!("PEX and shiv: {error:#}"));
    }
}

fn install(pip: &str) -> Result<PathBuf> {
    let folder = repo::cache("packages")?.join("shippers");
    if PACKAGES.iter().any(|package| !folder.join(package).is_dir()) {
        eprintln!("Installing {}", PACKAGES.join(" and "));
        let mut command = packages::install_command(pip);
        repo::run(command.arg("--target").arg(&folder).args(PACKAGES))?;
    }
    Ok(folder)
}
