//! The command line: from arguments to a model, and from the model to a stream.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;

use crate::privileges;

pub mod args;
mod asked_task;
mod completions;
pub mod config;
mod core;
mod demo;
mod descriptors;
mod diagnostics;
mod diff;
mod doctor;
pub mod exit;
mod family;
mod graph;
mod man_pages;
mod memory_limit;
mod output;
mod probe;
mod program;
mod ps;
mod record;
mod recorded;
mod report;
mod signals;
mod snapshot;
mod stack;
mod terminal;
mod top;
mod trace;
mod version;
mod watch;
mod why;

use args::{Cli, Color, Command};
use exit::Exit;
use output::Stdout;
use signals::Interrupted;

/// Runs the program and says how it went. Diagnostics go to standard error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let choice = match cli.global.color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    choice.write_global();
    descriptors::raise();
    signals::fail_at_size_limit();
    crate::capture::report_waits(diagnostics::waits);
    let result = run(cli);
    if let Err(error) = &result
        && let Some(interrupted) = error.downcast_ref::<Interrupted>()
    {
        interrupted.end_process();
    }
    result.unwrap_or_else(|error| diagnostics::report(&error)).into()
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    if let Err(error) = privileges::keep_to_ourselves() {
        diagnostics::tell(format_args!(
            "Capabilities cannot be given up ({error}): a sandbox may forbid `capset`. awaitwhat goes on with all that it was given."
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let Cli { global, command } = cli;
    match command {
        Command::Demo(args) => runtime.block_on(demo::run(&args, &global)),
        Command::Ps(args) => runtime.block_on(ps::run(&args, &global)),
        Command::Top(args) => runtime.block_on(top::run(&args, &global)),
        Command::Tree(args) => runtime.block_on(snapshot::tree(&args, &global)),
        Command::Graph(args) => runtime.block_on(graph::run(&args, &global)),
        Command::Stack(args) => runtime.block_on(stack::run(&args, &global)),
        Command::Why(args) => runtime.block_on(why::run(&args, &global)),
        Command::Trace(args) => runtime.block_on(trace::run(config::TraceConfig::new(args, &global)?, None)),
        Command::Record(args) => runtime.block_on(record::run(args, &global)),
        Command::Report(args) => report::run(args, &global),
        Command::Diff(args) => diff::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::ManPages(args) => man_pages::run(&args),
    }
}

/// Standard output for people: styles are taken out where they are not wanted.
fn people_stdout() -> impl Write {
    Stdout(BufWriter::new(AutoStream::auto(io::stdout().lock())))
}

/// Standard output for machines.
fn machine_stdout() -> impl Write {
    Stdout(BufWriter::new(io::stdout().lock()))
}

/// Columns of the terminal that standard output is, if it is one.
fn stdout_width() -> Option<usize> {
    stdout_size().map(|(width, _)| width)
}

/// Columns and lines of that terminal.
fn stdout_size() -> Option<(usize, usize)> {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// Whether people who read standard output want colours.
fn people_choice() -> ColorChoice {
    AutoStream::choice(&io::stdout())
}
