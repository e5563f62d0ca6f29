//! The program: linked with all that it needs, without anything of this machine in it, its debug information in a file beside it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Dist, archive};
use crate::repo;

/// Named, so that flags of the program are not those of build scripts, too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds it into the stage, and returns the archive of its debug information.
pub fn build(dist: &Dist) -> Result<PathBuf> {
    let built = cargo_build()?;
    let debug = dist.folder.join("debug");
    fs::create_dir_all(&debug).with_context(|| format!("cannot make {}", debug.display()))?;
    // The program names this file, for debuggers, by its name alone.
    let information = debug.join("awaitwhat.debug");
    repo::run(
        Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&built, &information]),
    )?;
    repo::run(
        Command::new("objcopy")
            .arg("--strip-all")
            .arg(format!("--add-gnu-debuglink={}", information.display()))
            .args([&built, &dist.program()]),
    )?;
    deny_paths(dist)?;
    archive::tar(dist, &format!("{}-debug", dist.name()), &debug)
}

fn cargo_build() -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command
        .current_dir(repo::root()?)
        .args(["build", "--release", "--locked", "--package", "awaitwhat"])
        .args(["--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\u{1f}"))
        .env("CFLAGS", c_flags()?.join(" "));
    repo::run(&mut command)?;
    Ok(repo::root()?
        .join("target")
        .join(TARGET)
        .join("release/awaitwhat"))
}

/// Folders of this machine, and what stands in the program for them.
fn folders() -> Result<Vec<(String, &'static str)>> {
    let home = env::var("HOME").context("HOME is not set")?;
    let cargo = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let root = repo::root()?.display().to_string();
    // Of several that fit the last one counts.
    Ok(vec![(home, "/home"), (cargo, "/cargo"), (root, "/awaitwhat")])
}

fn flags() -> Result<Vec<String>> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    for (folder, name) in folders()? {
        flags.push(format!("--remap-path-prefix={folder}={name}"));
    }
    Ok(flags)
}

fn c_flags() -> Result<Vec<String>> {
    let folders = folders()?;
    let flag = |(folder, name)| format!("-ffile-prefix-map={folder}={name}");
    Ok(folders.into_iter().map(flag).collect())
}

/// Fails where the program still names a folder of this machine.
fn deny_paths(dist: &Dist) -> Result<()> {
    let bytes = fs::read(dist.program()).context("cannot read the program")?;
    for (folder, _) in folders()? {
        let folder = format!("{folder}/");
        if bytes.windows(folder.len()).any(|it| it == folder.as_bytes()) {
            bail!("the program has {folder} in it: it is not the same on every machine");
        }
    }
    Ok(())
}
