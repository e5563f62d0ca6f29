//! `awaitwhat completions`: what a shell needs to complete commands and flags.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell as Generator;

use super::args::{Cli, CompletionsArgs, Shell};
use super::exit::Exit;
use super::machine_stdout;

/// Writes the shell's script to standard output.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let generator = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut Cli::command(), "awaitwhat", &mut script);
    let mut out = machine_stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Ok)
}
