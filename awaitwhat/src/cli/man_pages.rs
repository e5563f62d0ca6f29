//! `awaitwhat man-pages`: a page for each command, of what its `--help` says.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::{Cli, ManPagesArgs};
use super::exit::Exit;

/// Writes the pages into a folder, which is made where it does not exist.
pub fn run(args: &ManPagesArgs) -> anyhow::Result<Exit> {
    write_all(&args.folder).with_context(|| {
        format!(
            "{} cannot be written to: choose a folder that is yours",
            args.folder.display()
        )
    })?;
    Ok(Exit::Ok)
}

/// A page for the program, and one for each command that users are told of.
fn write_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    write(&program, folder)?;
    for command in program.get_subcommands().filter(|it| !it.is_hide_set()) {
        write(command, folder)?;
    }
    Ok(())
}

fn write(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Vec::new();
    Man::new(command.clone())
        .title(name.to_uppercase())
        .source(concat!("awaitwhat ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
        .render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)
}
