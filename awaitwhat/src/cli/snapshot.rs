//! One snapshot of each process, for `ps` and `tree`.

use std::io::{self, Write};

use super::args::{GlobalArgs, OneArgs, SelectionArgs, SnapshotArgs};
use super::diagnostics::complain;
use super::exit::Exit;
use super::{config, core, family, machine_stdout, people_stdout, recorded, stdout_width};
use crate::export::{snapshot_json, survey_json};
use crate::privileges::{self, Set};
use crate::session;
use crate::snapshot::Snapshot;
use crate::survey::{Refusals, Survey};
use crate::view::table::{Rows, Seen};
use crate::view::{survey, table, tree};

/// How a snapshot is shown to people.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    Table(&'a Rows, &'a Seen),
    Tree,
}

/// `tree`.
pub(super) async fn tree(args: &SnapshotArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    run(args, global, View::Tree).await
}

/// One snapshot of each process that is asked for.
pub(super) async fn run(args: &SnapshotArgs, global: &GlobalArgs, view: View<'_>) -> anyhow::Result<Exit> {
    let options = config::snapshot(args, global)?;
    recorded::refuse_rules(&args.recorded, &args.selection)?;
    let selection = config::selection(&args.selection, &args.processes)?;
    if let Some(recorded) = recorded::snapshots(&args.recorded, &selection.pids, &options)? {
        let single = recorded.found.targets.first().filter(|_| recorded.is_single);
        write(&recorded.found, single, args.json, view, recorded.max_frames)?;
        return Ok(end_of(&recorded.found));
    }
    if let Some(snapshot) = core::snapshot(&args.core, &options)? {
        let found = Survey {
            targets: vec![snapshot],
            refused: Refusals::default(),
        };
        write(&found, found.targets.first(), args.json, view, options.max_frames)?;
        return Ok(Exit::Ok);
    }
    privileges::only_read(Set::empty());
    let found = session::snapshots(&selection, &options).await;
    let without_tasks: Vec<u32> = match &found {
        Ok(found) => {
            let are_empty = found.targets.iter().filter(|snapshot| snapshot.tasks.is_empty());
            are_empty.map(|snapshot| snapshot.pid).collect()
        }
        Err(_) => selection.single().into_iter().collect(),
    };
    // As long as it may look at children.
    family::hint(without_tasks, &selection, &options);
    privileges::nothing();
    let found = found?;
    let single = selection.single().and(found.targets.first());
    write(&found, single, args.json, view, options.max_frames)?;
    Ok(end_of(&found))
}

/// Says who is missing, and how that ends.
fn end_of(found: &Survey<Snapshot>) -> Exit {
    complain(&found.refused);
    if found.refused.is_empty() {
        Exit::Ok
    } else {
        Exit::SomeTargets
    }
}

/// Writes what was found in several processes, or in the only one that was asked for.
fn write(
    found: &Survey<Snapshot>,
    single: Option<&Snapshot>,
    is_json: bool,
    view: View<'_>,
    max_frames: usize,
) -> io::Result<()> {
    if is_json {
        let mut stdout = machine_stdout();
        match single {
            Some(snapshot) => snapshot_json::write(snapshot, &mut stdout)?,
            None => survey_json::write_snapshots(&found.targets, &found.refused, &mut stdout)?,
        }
        stdout.flush()
    } else {
        let mut stdout = people_stdout();
        match single {
            Some(snapshot) => show(snapshot, view, max_frames, &mut stdout)?,
            None => show_each(found, view, max_frames, &mut stdout)?,
        }
        stdout.flush()
    }
}

/// One snapshot of one process, for commands that are about nothing else; `None` where it has no tasks to show.
pub(super) async fn of_one(
    one: &OneArgs,
    global: &GlobalArgs,
    mine: &[String],
    arguments: bool,
) -> anyhow::Result<Option<Snapshot>> {
    let mut options = config::reading(global, mine)?;
    options.arguments = arguments;
    if let Some(snapshot) = recorded::of_one(one, &options)? {
        return Ok(Some(snapshot));
    }
    if let Some(snapshot) = core::snapshot(&one.core, &options)? {
        return Ok(Some(snapshot));
    }
    let selection = config::selection(&SelectionArgs::default(), one.process.as_slice())?;
    privileges::only_read(Set::empty());
    let found = session::snapshots(&selection, &options).await;
    privileges::nothing();
    Ok(found?.targets.into_iter().next())
}

/// Tables of several processes, or of the only one that was asked for.
pub(super) fn show_table(
    found: &Survey<Snapshot>,
    single: Option<&Snapshot>,
    rows: &Rows,
    seen: &Seen,
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let view = View::Table(rows, seen);
    match single {
        Some(snapshot) => show(snapshot, view, max_frames, output),
        None => show_each(found, view, max_frames, output),
    }
}

fn show_each(
    found: &Survey<Snapshot>,
    view: View<'_>,
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    survey::write_snapshots(&found.targets, &found.refused, stdout_width(), output)?;
    for snapshot in &found.targets {
        writeln!(output)?;
        if matches!(view, View::Table(..)) {
            tree::write_heading(snapshot, output)?;
        }
        show(snapshot, view, max_frames, output)?;
    }
    Ok(())
}

fn show(snapshot: &Snapshot, view: View<'_>, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    match view {
        View::Table(rows, seen) => table::write(snapshot, max_frames, stdout_width(), rows, seen, output),
        View::Tree => tree::write(snapshot, max_frames, output),
    }
}
