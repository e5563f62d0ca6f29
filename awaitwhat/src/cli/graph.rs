//! `graph`: who waits for what in a process, as a picture.

use std::io::Write;

use super::args::{GlobalArgs, GraphArgs, GraphFormat, SelectionArgs};
use super::exit::Exit;
use super::{config, machine_stdout};
use crate::privileges::{self, Set};
use crate::session;
use crate::view::graph;

pub(super) async fn run(args: &GraphArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let options = config::reading(global, &args.mine)?;
    let selection = config::selection(&SelectionArgs::default(), &[args.process])?;
    privileges::only_read(Set::empty());
    let found = session::snapshots(&selection, &options).await;
    privileges::nothing();
    let found = found?;
    let Some(snapshot) = found.targets.first() else {
        return Ok(Exit::Ok);
    };
    let mut stdout = machine_stdout();
    match args.format {
        GraphFormat::Dot => graph::write_dot(snapshot, &mut stdout)?,
        GraphFormat::Svg => writeln!(stdout, "{}", graph::svg(snapshot)?)?,
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}
