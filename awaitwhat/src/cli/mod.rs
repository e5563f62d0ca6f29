//! The command line: from arguments to a model, and from the model to a stream.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;

use crate::survey::Refused;
use crate::view::escape::Escaped;
use crate::view::survey;

pub mod args;
pub mod config;
mod demo;
mod doctor;
pub mod exit;
mod output;
mod probe;
mod program;
mod snapshot;
mod trace;

use args::{Cli, Color, Command};
use exit::Exit;

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
    run(cli).unwrap_or_else(|error| report(&error)).into()
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let Cli { global, command } = cli;
    match command {
        Command::Demo(args) => runtime.block_on(demo::run(&args, &global)),
        Command::Ps(args) => runtime.block_on(snapshot::run(&args, &global, snapshot::View::Table)),
        Command::Tree(args) => runtime.block_on(snapshot::run(&args, &global, snapshot::View::Tree)),
        Command::Trace(args) => runtime.block_on(trace::run(config::TraceConfig::new(args, &global)?)),
        Command::Doctor(args) => doctor::run(&args),
    }
}

fn report(error: &anyhow::Error) -> Exit {
    let exit = Exit::of(error);
    if exit != Exit::Ok {
        let mut stderr = anstream::stderr().lock();
        // Nobody is left to be told when standard error fails.
        let _ = write_error(error, &mut stderr);
    }
    exit
}

/// Writes an error and its causes, one per line; texts of the target may be part of them.
fn write_error(error: &anyhow::Error, stderr: &mut impl Write) -> io::Result<()> {
    use crate::view::style::{ERROR, styled};
    for (number, cause) in error.chain().enumerate() {
        let before = if number == 0 {
            styled(ERROR, "error:").to_string()
        } else {
            "  because:".to_owned()
        };
        for (number, line) in cause.to_string().lines().enumerate() {
            let before = if number == 0 { &before } else { "   " };
            writeln!(stderr, "{before} {}", Escaped(line))?;
        }
    }
    Ok(())
}

/// Says on standard error which processes are missing from the output, and why.
fn complain(refused: &[Refused]) {
    let mut stderr = anstream::stderr().lock();
    for refused in refused {
        // Nobody is left to be told when standard error fails.
        let _ = writeln!(stderr, "{}", survey::describe(refused));
    }
}

/// Standard output for people: styles are taken out where they are not wanted.
fn people_stdout() -> impl Write {
    BufWriter::new(AutoStream::auto(io::stdout().lock()))
}

/// Standard output for machines.
fn machine_stdout() -> impl Write {
    BufWriter::new(io::stdout().lock())
}

/// Columns of the terminal that standard output is, if it is one.
fn stdout_width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::write_error;

    #[test]
    fn errors_are_told_with_their_causes() {
        let source = "version \"4.0\x1b[31m\" is not known\nknown are 3.11 to 3.14".into();
        let error = crate::session::Error::Target { pid: 42, source };
        let error = Err::<(), _>(error).context("tracing failed").unwrap_err();
        let mut output = Vec::new();
        write_error(&error, &mut output).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string();
        insta::assert_snapshot!(text, @r#"
        error: tracing failed
          because: process 42 cannot be looked at
          because: version "4.0\x1b[31m" is not known
            known are 3.11 to 3.14
        "#);
    }
}
