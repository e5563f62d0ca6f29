//! `graph`: who waits for what in a process, as a picture.

use std::io::Write;

use super::args::{GlobalArgs, GraphArgs, GraphFormat};
use super::exit::Exit;
use super::{machine_stdout, snapshot};
use crate::export::graph_json;
use crate::view::graph;

pub(super) async fn run(args: &GraphArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let Some(snapshot) = snapshot::of_one(&args.one, global, &args.mine, args.arguments).await? else {
        return Ok(Exit::Ok);
    };
    let mut stdout = machine_stdout();
    match args.format {
        GraphFormat::Dot => graph::write_dot(&snapshot, &mut stdout)?,
        GraphFormat::Json => graph_json::write(&snapshot, &mut stdout)?,
        GraphFormat::Svg => writeln!(stdout, "{}", graph::svg(&snapshot)?)?,
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}
