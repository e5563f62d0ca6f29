//! Where things are, and how other programs are run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the repository, without symbolic links.
pub fn root() -> Result<PathBuf> {
    // Cargo says at run time where this package is: two checkouts may share one target folder, and with it this very program.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = xtask.parent().context("xtask has no parent folder")?;
    root.canonicalize()
        .with_context(|| format!("cannot find the repository at {}", root.display()))
}

/// The folder `name` in the cache that git ignores; it is made where it does not exist.
pub fn cache(name: &str) -> Result<PathBuf> {
    let path = root()?.join(".cache").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Runs `command` with its output shown, and fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{status}: {}", words(command));
    }
    Ok(())
}

/// Runs `command` and returns what it writes to its standard output; its diagnostics are shown.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_start(command))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, words(command));
    }
    String::from_utf8(output.stdout).with_context(|| format!("output is not UTF-8: {}", words(command)))
}

/// The one executable that cargo's JSON messages name.
pub fn executable(messages: &str) -> Result<PathBuf> {
    match executables(messages)?.as_slice() {
        [(_, one)] => Ok(one.clone()),
        found => bail!("exactly one executable was expected, cargo made {}", found.len()),
    }
}

/// The executables that cargo's JSON messages name, each with its target's name.
pub fn executables(messages: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's message is not JSON")?;
        if let Some(path) = message["executable"].as_str() {
            let name = message["target"]["name"].as_str().unwrap_or_default();
            found.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    Ok(found)
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().display())
}

fn words(command: &Command) -> String {
    let mut line = command.get_program().display().to_string();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
