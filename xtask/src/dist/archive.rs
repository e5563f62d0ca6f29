//! Archives and checksums, the same each time they are made of the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Dist;
use crate::repo;

/// Packs `folder` as `name`.tar.gz, in which it is called `name`.
pub fn tar(dist: &Dist, name: &str, folder: &Path) -> Result<PathBuf> {
    let file = dist.folder.join(format!("{name}.tar.gz"));
    let plain = dist.folder.join(format!("{name}.tar"));
    repo::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--format=gnu"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            // Whatever the mask of who makes it.
            .arg("--mode=u+rwX,go+rX,go-w")
            .arg(format!("--mtime=@{}", dist.time))
            .arg(format!("--transform=s,^\\.,{name},"))
            .arg("--file")
            .arg(&plain)
            .arg("--directory")
            .arg(folder)
            .arg("."),
    )?;
    repo::run(Command::new("gzip").args(["--no-name", "--force"]).arg(&plain))?;
    Ok(file)
}

/// Writes `SHA256SUMS`, for `sha256sum --check`.
pub fn checksums(dist: &Dist, files: &[PathBuf]) -> Result<()> {
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    let sums = repo::output(Command::new("sha256sum").current_dir(&dist.folder).args(names))?;
    fs::write(dist.folder.join("SHA256SUMS"), sums).context("cannot write the checksums")
}
