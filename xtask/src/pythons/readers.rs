//! What reads the files that are written for other tools: the messages of OTLP, and DuckDB.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Provided, packages};
use crate::repo;

/// The packages, and where each is to be found among what is installed.
const PACKAGES: [(&str, &str); 2] = [
    ("opentelemetry-proto", "opentelemetry/proto/profiles"),
    ("duckdb", "duckdb"),
];

/// The version whose programs read: both packages have wheels for it.
const RUNS: (u32, u32) = (3, 11);

/// Has both in a folder of the cache, and tells the interpreter that runs them.
pub fn add(provided: &mut Provided) {
    let mut pythons = provided.pythons.iter_mut().filter(|it| it.version == RUNS);
    let found = pythons.find_map(|python| packages::pip_of(python).map(|pip| (python, pip)));
    let installed = found
        .context("there is no CPython 3.11 with pip")
        .and_then(|(python, pip)| {
            python.readers = Some(install(&pip)?);
            Ok(())
        });
    if let Err(error) = installed {
        provided
            .missing
            .push(format!("what reads OTLP and Parquet: {error:#}"));
    }
}

fn install(pip: &str) -> Result<PathBuf> {
    let folder = repo::cache("packages")?.join("readers");
    if PACKAGES.iter().any(|(_, place)| !folder.join(place).is_dir()) {
        let names = PACKAGES.map(|(name, _)| name);
        eprintln!("Installing {}", names.join(" and "));
        let mut command = packages::install_command(pip);
        repo::run(command.arg("--target").arg(&folder).args(names))?;
    }
    Ok(folder)
}
