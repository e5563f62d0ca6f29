//! `cargo xtask test`: provides what the tests need, builds everything, runs every test, and counts.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::pythons::{self, Provided};
use crate::repo;
use crate::supported;

mod clock;
pub mod counts;
mod listen;
pub mod matrix;

use clock::Clock;
use listen::{Failure, Heard};
use matrix::Trial;

/// Failures that the end of the output tells of; more tell nothing new.
const MAX_FAILURES: usize = 20;
/// Asks the live tests for one trial of each kind; see `tests/src/quick.rs`.
const QUICK: &str = "AWAITWHAT_QUICK";
/// What is done less often then: snapshots of a target at work, and cases that properties are tried with.
const SELDOM: [(&str, &str); 2] = [("AWAITWHAT_SNAPSHOTS", "3"), ("PROPTEST_CASES", "32")];

/// What to test.
#[derive(Args)]
pub struct Arguments {
    /// Run one trial of each kind, so that every interpreter has its turn, instead of every trial on every interpreter
    #[arg(long)]
    quick: bool,
    /// Arguments for `cargo test`, in place of `--workspace`
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Runs the test of the tables of offsets, for the interpreters whose labels begin with `label`.
pub fn offsets(label: &str) -> Result<()> {
    let words = ["-p", "awaitwhat-tests", "--test", "offsets", "--", label];
    run(&Arguments {
        quick: false,
        cargo: words.map(str::to_owned).into(),
    })
}

/// Provides, builds, and runs.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut clock = Clock::start();
    let provided = pythons::provide()?;
    judge_missing(&provided)?;
    clock.end("what tests need is provided");
    build()?;
    clock.end("the program is built");
    let is_part = arguments.quick || !arguments.cargo.is_empty();
    let results = if is_part {
        repo::root()?.join("target/test-results-part.jsonl")
    } else {
        supported::results()?
    };
    fs::write(&results, "").with_context(|| format!("cannot write {}", results.display()))?;
    let tests = |build_only: bool| -> Result<Command> {
        let mut command = Command::new("cargo");
        command
            .current_dir(repo::root()?)
            .args(["test", "--no-fail-fast"])
            .env("AWAITWHAT_PYTHONS", provided.to_json()?)
            .env("AWAITWHAT_BIN", repo::root()?.join("target/release/awaitwhat"))
            .env("AWAITWHAT_RESULTS", &results);
        if arguments.quick {
            command.env(QUICK, "1").envs(SELDOM);
        }
        if arguments.cargo.is_empty() {
            command.arg("--workspace");
        }
        let of_cargo = arguments.cargo.iter().take_while(|it| *it != "--");
        if build_only {
            command.args(of_cargo).arg("--no-run");
        } else {
            command.args(&arguments.cargo);
        }
        Ok(command)
    };
    repo::run(&mut tests(true)?)?;
    clock.end("the tests are built");
    let mut heard = listen(&mut tests(false)?)?;
    let trials = matrix::read(&results)?;
    let labels: Vec<_> = provided.pythons.iter().map(|it| it.label.clone()).collect();
    println!("{}\n", matrix::table(&trials, &labels, is_part));
    print_skipped(&provided, &trials, &heard.skipped);
    if !is_part && heard.counts.failed == 0 {
        for promise in supported::broken_promises(&provided, &trials)? {
            println!("promised, and not tested: {promise}");
            // Elsewhere than in CI there may be less than there has to be.
            heard.counts.failed += u64::from(is_ci());
        }
    }
    clock.stages.append(&mut heard.stages);
    println!("\n{}\n", clock.table());
    print_failures(&heard.failures);
    println!("{}", heard.counts.line());
    if heard.counts.failed > 0 {
        bail!("{} failed", heard.counts.failed);
    }
    Ok(())
}

/// Says why trials failed, last of all: what goes before may be cut off where it is kept.
fn print_failures(failures: &[Failure]) {
    for failure in failures.iter().take(MAX_FAILURES) {
        println!("{}\n", failure.report());
    }
    if let Some(more @ 1..) = failures.len().checked_sub(MAX_FAILURES) {
        println!("and {more} more\n");
    }
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

/// Runs `command`, shows all that it writes, in its order, and hears it.
fn listen(command: &mut Command) -> Result<Heard> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot share a pipe")?)
        .stderr(writer)
        .spawn()
        .context("cannot start cargo")?;
    // Its ends of the pipe, which are this process's, would keep it open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut heard = Heard::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        heard.line(&line);
    }
    heard.end_binary();
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && heard.counts.failed == 0 {
        eprintln!("cargo test failed without a failed test: something does not build, or ended early");
        heard.counts.failed = 1;
    }
    Ok(heard)
}

fn print_skipped(provided: &Provided, trials: &[Trial], skipped: &[String]) {
    for reason in provided.missing.iter().chain(&provided.without) {
        println!("not provided: {reason}");
    }
    for reason in matrix::skipped(trials).iter().chain(skipped) {
        println!("skipped: {reason}");
    }
}
