//! `cargo xtask fuzz`: gives the fuzz targets more time than the tests do, or tries one input again.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::repo;

/// Packages that have targets: tests whose functions are called [`PREFIX`] and the target's name.
const PACKAGES: [&str; 2] = ["awaitwhat", "awaitwhat-walker"];
const PREFIX: &str = "fuzz_";

/// Try the fuzz targets for a time: nothing may panic, go on without end, or take too much memory, and each has to reach what it is for
#[derive(Args)]
pub struct Arguments {
    /// How long to try each target
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    minutes: f64,
    /// What the inputs are made from; by default another number each time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Try nothing but this input of one target, in hexadecimal, as a failure printed it
    #[arg(long, value_name = "HEX", requires = "targets", conflicts_with_all = ["minutes", "seed"])]
    input: Option<String>,
    /// Targets to try; by default all
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// A test that is a target.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    package: &'static str,
    /// The test's path in its binary.
    path: String,
}

impl Target {
    fn name(&self) -> &str {
        let function = self.path.rsplit("::").next().unwrap_or(&self.path);
        function.strip_prefix(PREFIX).unwrap_or(function)
    }
}

/// Runs the targets one after the other, each in a process of its own; the others still run where one fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let targets = chosen(&arguments.targets)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = arguments
        .seed
        .unwrap_or_else(|| now.unwrap_or_default().as_secs());
    let mut failed = Vec::new();
    for target in &targets {
        let mut command = cargo_test(target.package)?;
        command.args(["--exact", "--nocapture", &target.path]);
        match &arguments.input {
            Some(input) => command.env("AWAITWHAT_FUZZ_INPUT", input),
            None => command
                .env(
                    "AWAITWHAT_FUZZ_SECONDS",
                    format!("{:.0}", arguments.minutes * 60.0),
                )
                .env("AWAITWHAT_FUZZ_SEED", seed.to_string()),
        };
        if !command.status().context("cannot start cargo")?.success() {
            failed.push(target.name());
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} targets failed: {}",
            failed.len(),
            targets.len(),
            failed.join(", ")
        );
    }
    println!("{} targets, none failed", targets.len());
    Ok(())
}

/// The targets of these names, or all.
fn chosen(names: &[String]) -> Result<Vec<Target>> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let list = repo::output(cargo_test(package)?.arg("--list"))?;
        all.extend(targets_of(package, &list));
    }
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| !all.iter().any(|target| target.name() == *name))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        let known: Vec<_> = all.iter().map(Target::name).collect();
        bail!(
            "there is no target {}; there are {}",
            unknown.join(", "),
            known.join(", ")
        );
    }
    all.retain(|target| names.is_empty() || names.iter().any(|name| name == target.name()));
    Ok(all)
}

/// The targets among the tests that a package's binaries list.
fn targets_of(package: &'static str, list: &str) -> Vec<Target> {
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    tests
        .filter(|path| {
            path.rsplit("::")
                .next()
                .is_some_and(|name| name.starts_with(PREFIX))
        })
        .map(|path| Target {
            package,
            path: path.to_owned(),
        })
        .collect()
}

/// The package's tests, fast and with every check; what is appended goes to them.
fn cargo_test(package: &str) -> Result<Command> {
    let mut command = Command::new("cargo");
    command
        .current_dir(repo::root()?)
        .args(["test", "--quiet", "--profile", "fuzz", "--package", package])
        .args(["--lib", "--tests", "--"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::{Target, targets_of};

    #[test]
    fn targets_are_tests_that_are_called_so() {
        let list = "fuzz::readers::fuzz_dicts: test\nfuzz_walker: test\nfuzz::other: test\n\n3 tests, 0 benchmarks\n";
        let targets = targets_of("awaitwhat", list);
        assert_eq!(
            targets.iter().map(Target::name).collect::<Vec<_>>(),
            ["dicts", "walker"]
        );
    }
}
