//! `cargo xtask test`: provides what the tests need, builds everything, runs every test, and counts.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::pythons::{self, Provided};
use crate::repo;
use crate::supported;

pub mod matrix;

use matrix::Trial;

/// How a test binary's last line begins, libtest's and libtest-mimic's alike.
const RESULT: &str = "test result: ";
/// How a test says that something was not tested, and why.
const SKIPPED: &str = "skipped: ";

/// What to test.
#[derive(Args)]
pub struct Arguments {
    /// Arguments for `cargo test`, in place of `--workspace`
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Counts over all test binaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

/// Runs the test of the tables of offsets, for the interpreters whose labels begin with `label`.
pub fn offsets(label: &str) -> Result<()> {
    let words = ["-p", "awaitwhat-tests", "--test", "offsets", "--", label];
    run(&Arguments {
        cargo: words.map(str::to_owned).into(),
    })
}

/// Provides, builds, and runs.
pub fn run(arguments: &Arguments) -> Result<()> {
    let provided = pythons::provide()?;
    judge_missing(&provided)?;
    build()?;
    let is_part = !arguments.cargo.is_empty();
    let results = if is_part {
        repo::root()?.join("target/test-results-part.jsonl")
    } else {
        supported::results()?
    };
    fs::write(&results, "").with_context(|| format!("cannot write {}", results.display()))?;
    let mut command = Command::new("cargo");
    command
        .current_dir(repo::root()?)
        .args(["test", "--no-fail-fast"])
        .env("AWAITWHAT_PYTHONS", provided.to_json()?)
        .env("AWAITWHAT_BIN", repo::root()?.join("target/release/awaitwhat"))
        .env("AWAITWHAT_RESULTS", &results);
    if !is_part {
        command.arg("--workspace");
    }
    command.args(&arguments.cargo);
    let (mut counts, skipped, is_success) = count(&mut command)?;
    if !is_success && counts.failed == 0 {
        eprintln!("cargo test failed without a failed test: something does not build, or ended early");
        counts.failed = 1;
    }
    let trials = matrix::read(&results)?;
    let labels: Vec<_> = provided.pythons.iter().map(|it| it.label.clone()).collect();
    println!("{}\n", matrix::table(&trials, &labels, is_part));
    print_skipped(&provided, &trials, &skipped);
    if !is_part && counts.failed == 0 {
        for promise in supported::broken_promises(&provided, &trials)? {
            println!("promised, and not tested: {promise}");
            // Elsewhere than in CI there may be less than there has to be.
            counts.failed += u64::from(is_ci());
        }
    }
    println!("{}", counts.line());
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

/// What is missing is a failure in CI, and said otherwise.
fn judge_missing(provided: &Provided) -> Result<()> {
    for missing in &provided.missing {
        eprintln!("missing: {missing}");
    }
    if is_ci() && !provided.missing.is_empty() {
        bail!(
            "CI=true, and prerequisites are missing: {}",
            provided.missing.join("; ")
        );
    }
    Ok(())
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Builds the program as its users do.
pub fn build() -> Result<()> {
    repo::run(Command::new("cargo").current_dir(repo::root()?).args([
        "build",
        "--release",
        "--package",
        "awaitwhat",
    ]))
}

/// Runs `command` with its output shown; adds up the results, and keeps what was skipped.
fn count(command: &mut Command) -> Result<(Counts, Vec<String>, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let (mut counts, mut skipped) = (Counts::default(), Vec::new());
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add(&line);
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            skipped.push(reason.to_owned());
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    Ok((counts, skipped, status.success()))
}

fn print_skipped(provided: &Provided, trials: &[Trial], skipped: &[String]) {
    for reason in provided.missing.iter().chain(&provided.without) {
        println!("not provided: {reason}");
    }
    for reason in matrix::skipped(trials).iter().chain(skipped) {
        println!("skipped: {reason}");
    }
}

impl Counts {
    /// Adds a test binary's last line; any other line adds nothing.
    pub fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix(RESULT) else {
            return;
        };
        for part in result.split(['.', ';']) {
            let Some((number, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// `N passed, M failed`, and what was skipped.
    pub fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.ignored > 0 {
            line.push_str(&format!(", {} skipped", self.ignored));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let mut counts = Counts::default();
        counts.add("running 3 tests");
        counts.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        counts.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts.line(), "5 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn nothing_skipped_is_not_mentioned() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts.line(), "1 passed, 0 failed");
    }
}
