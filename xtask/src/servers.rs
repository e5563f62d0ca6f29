//! The database servers that live tests start: Debian's.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::debian;
use crate::pythons::Provided;

/// Where Debian has the programs of PostgreSQL, in a folder per version.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Installs the servers that are not on this machine.
pub fn add(provided: &mut Provided) {
    for (name, result) in [
        ("PostgreSQL", need_postgresql()),
        ("Redis", debian::need("redis-server", "redis-server")),
    ] {
        if let Err(error) = result {
            provided.missing.push(format!("{name}: {error:#}"));
        }
    }
}

fn need_postgresql() -> Result<()> {
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    let is_there = |version: &Path| version.join("bin/postgres").exists();
    if versions.into_iter().any(|version| is_there(&version.path())) {
        return Ok(());
    }
    debian::install("postgresql")
}
