//! Where things are in the structures of a program, by its debug information: gdb reads it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The program that reads debug information.
const GDB: &str = "gdb";

/// Whether there is a gdb.
pub fn is_there() -> bool {
    let version = Command::new(GDB).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// The values of C expressions, by their texts, as the debug information of `file` has them, which may be a file of its own below one of `folders`.
/// Those that it does not know are left out.
///
/// # Errors
/// When gdb cannot be run.
pub fn values(
    file: &Path,
    folders: &[PathBuf],
    expressions: &[String],
) -> anyhow::Result<HashMap<String, i64>> {
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    let mut command = Command::new(GDB);
    command
        .args(["-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex"])
        .arg(format!("set debug-file-directory {}", folders.join(":")));
    for (index, expression) in expressions.iter().enumerate() {
        command
            .arg("-ex")
            .arg(format!("printf \"%d %ld\\n\", {index}, (long)({expression})"));
    }
    // Its exit status is that of the last expression.
    let output = command.arg(file).output().context("gdb cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| {
            let (index, value) = line.split_once(' ')?;
            let expression = expressions.get(index.parse::<usize>().ok()?)?;
            Some((expression.clone(), value.parse().ok()?))
        })
        .collect())
}
