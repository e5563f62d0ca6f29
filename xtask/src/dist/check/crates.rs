//! Packages the crates as for crates.io, and installs `awaitwhat` from them in an empty folder, with stable cargo alone and no network.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::dist::Dist;
use crate::repo;

/// What is published, in the order in which one needs the other.
const CRATES: [&str; 3] = ["awaitwhat-common", "awaitwhat-walker", "awaitwhat"];

pub fn run(dist: &Dist) -> Result<()> {
    let folder = dist.folder.join("crates");
    let source = folder.join("source");
    repo::run(
        Command::new("cargo")
            .current_dir(repo::root()?)
            .args(["vendor", "--quiet", "--locked", "--versioned-dirs"])
            .arg(&source),
    )?;
    let commit = repo::output(
        Command::new("git")
            .current_dir(repo::root()?)
            .args(["rev-parse", "HEAD"]),
    )?;
    package(dist, &source)?;
    let home = folder.join("empty");
    fs::create_dir_all(&home).context("cannot make an empty folder")?;
    // `cargo install` reads no configuration of the folder that it is called in.
    let config = folder.join("config.toml");
    let text = format!(
        "[source.crates-io]\nreplace-with = \"folder\"\n[source.folder]\ndirectory = '{}'\n",
        source.display()
    );
    fs::write(&config, text).context("cannot write cargo's configuration")?;
    let installed = folder.join("installed");
    let mut install = Command::new("cargo");
    // What cargo tells the programs that it runs is not for the cargo that is run here.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            install.env_remove(name);
        }
    }
    repo::run(
        install
            .current_dir(&home)
            .arg("--config")
            .arg(&config)
            .args([
                "install",
                "--offline",
                "--locked",
                "--version",
                &dist.version,
                "--root",
            ])
            .arg(&installed)
            .arg("awaitwhat")
            .env("CARGO_TARGET_DIR", folder.join("target")),
    )?;
    let program = installed.join("bin/awaitwhat");
    let version = repo::output(Command::new(&program).arg("--version"))?;
    ensure!(
        version.contains(commit.trim()),
        "the program does not know its commit, which the package names: {version}"
    );
    let shown = repo::output(Command::new(&program).current_dir(&home).arg("demo"))?;
    ensure!(
        shown.contains("Await points"),
        "demo does not show await points:\n{shown}"
    );
    Ok(())
}

/// Puts the packaged crates beside those that they depend on.
fn package(dist: &Dist, source: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(repo::root()?).args([
        "package",
        "--quiet",
        "--no-verify",
        "--locked",
        "--allow-dirty",
    ]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    repo::run(&mut command)?;
    for name in CRATES {
        let name = format!("{name}-{}", dist.version);
        let file = repo::root()?.join("target/package").join(format!("{name}.crate"));
        repo::run(
            Command::new("tar")
                .args(["--extract", "--file"])
                .arg(&file)
                .arg("--directory")
                .arg(source),
        )?;
        let sum = repo::output(Command::new("sha256sum").arg(&file))?;
        let sum = sum.split_whitespace().next().context("sha256sum says nothing")?;
        let note = format!("{{\"files\":{{}},\"package\":\"{sum}\"}}");
        fs::write(source.join(&name).join(".cargo-checksum.json"), note).context("cannot note a checksum")?;
    }
    Ok(())
}
