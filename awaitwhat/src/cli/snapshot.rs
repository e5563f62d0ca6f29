//! `ps` and `tree`: one snapshot.

use std::io::Write;

use super::args::{GlobalArgs, SnapshotArgs};
use super::exit::Exit;
use super::{config, machine_stdout, people_stdout, stdout_width};
use crate::export::snapshot_json;
use crate::session;
use crate::view::{table, tree};

/// How a snapshot is shown to people.
#[derive(Clone, Copy, Debug)]
pub(super) enum View {
    Table,
    Tree,
}

pub(super) async fn run(args: &SnapshotArgs, global: &GlobalArgs, view: View) -> anyhow::Result<Exit> {
    let options = config::reading(global)?;
    let pid = args.process.or(args.pid).ok_or(config::Error::NoTarget)?;
    let snapshot = session::snapshot(pid, &options).await?;
    if args.json {
        let mut stdout = machine_stdout();
        snapshot_json::write(&snapshot, &mut stdout)?;
        stdout.flush()?;
        return Ok(Exit::Ok);
    }
    let mut stdout = people_stdout();
    match view {
        View::Table => table::write(&snapshot, options.max_frames, stdout_width(), &mut stdout)?,
        View::Tree => tree::write(&snapshot, options.max_frames, &mut stdout)?,
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}
