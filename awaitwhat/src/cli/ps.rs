//! `ps`: the table of tasks, once or again and again.

use super::args::{GlobalArgs, PsArgs};
use super::exit::Exit;
use super::snapshot::{self, View};
use super::{config, watch};
use crate::view::table::Seen;

pub(super) async fn run(args: &PsArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let (rows, pause) = config::rows(args)?;
    let Some(pause) = pause else {
        return snapshot::run(&args.snapshot, global, View::Table(&rows, &Seen::default())).await;
    };
    let selection = config::selection(&args.snapshot.selection, &args.snapshot.processes)?;
    let options = config::snapshot(&args.snapshot, global)?;
    watch::run(&selection, &options, &rows, pause).await
}
