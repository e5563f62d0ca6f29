//! Programs written in Python that tests run: what packs programs into one file, and what reads the files that are written for other tools.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Provided, Python, packages};
use crate::repo;

/// The version that runs them: each has what it needs for it, as wheels, and asks PyPI for nothing else.
const RUNS: (u32, u32) = (3, 11);

/// Packages that are installed together, in a folder of the cache.
struct Tools {
    folder: &'static str,
    what: &'static str,
    /// Each package, and where it is to be found among what is installed.
    packages: &'static [(&'static str, &'static str)],
    /// Tells the interpreter where they are.
    note: fn(&mut Python, PathBuf),
}

const ALL: [Tools; 2] = [
    Tools {
        folder: "shippers",
        what: "PEX and shiv",
        packages: &[("pex", "pex"), ("shiv", "shiv")],
        note: |python, folder| python.shippers = Some(folder),
    },
    Tools {
        folder: "readers",
        what: "what reads OTLP and Parquet",
        packages: &[
            ("opentelemetry-proto", "opentelemetry/proto/profiles"),
            ("duckdb", "duckdb"),
        ],
        note: |python, folder| python.readers = Some(folder),
    },
];

/// Has all of them in folders of the cache, and tells the interpreter that runs them.
pub fn add(provided: &mut Provided) {
    for tools in &ALL {
        let mut pythons = provided.pythons.iter_mut().filter(|it| it.version == RUNS);
        let found = pythons.find_map(|python| packages::pip_of(python).map(|pip| (python, pip)));
        let installed = found
            .context("there is no CPython 3.11 with pip")
            .and_then(|(python, pip)| {
                (tools.note)(python, install(tools, &pip)?);
                Ok(())
            });
        if let Err(error) = installed {
            provided.missing.push(format!("{}: {error:#}", tools.what));
        }
    }
}

fn install(tools: &Tools, pip: &str) -> Result<PathBuf> {
    let folder = repo::cache("packages")?.join(tools.folder);
    if tools
        .packages
        .iter()
        .any(|(_, place)| !folder.join(place).is_dir())
    {
        let names: Vec<&str> = tools.packages.iter().map(|(name, _)| *name).collect();
        eprintln!("Installing {}", names.join(" and "));
        let mut command = packages::install_command(pip);
        repo::run(command.arg("--target").arg(&folder).args(names))?;
    }
    Ok(folder)
}
