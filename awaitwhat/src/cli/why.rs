//! `why`: from one task to what blocks it.

use std::io::Write;

use super::args::{GlobalArgs, SelectionArgs, WhyArgs};
use super::asked_task::{no_such_task, positions};
use super::exit::Exit;
use super::{config, people_stdout};
use crate::privileges::{self, Set};
use crate::session;
use crate::snapshot::Snapshot;
use crate::view::why;

/// Tasks of one name that are told of.
const MAX_TASKS: usize = 10;
pub(super) async fn run(args: &WhyArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let options = config::reading(global, &args.mine)?;
    let selection = config::selection(&SelectionArgs::default(), &[args.process])?;
    privileges::only_read(Set::empty());
    let found = session::snapshots(&selection, &options).await;
    privileges::nothing();
    let found = found?;
    let Some(snapshot) = found.targets.first() else {
        return Err(no_such_task(&args.task, args.process, &[]).into());
    };
    let positions = positions(&snapshot.tasks, &args.task);
    if positions.is_empty() {
        return Err(no_such_task(&args.task, args.process, &snapshot.tasks).into());
    }
    let mut stdout = people_stdout();
    write(snapshot, &positions, &mut stdout)?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

fn write(snapshot: &Snapshot, positions: &[usize], output: &mut impl Write) -> std::io::Result<()> {
    let shown = positions.get(..MAX_TASKS).unwrap_or(positions);
    why::write(snapshot, shown, output)?;
    match positions.len() - shown.len() {
        0 => Ok(()),
        more => writeln!(output, "\n… and {more} more of this name: say the id of one."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Task;
    use crate::testing::{snapshot, task};

    #[test]
    fn of_very_many_some_are_told_of() {
        let tasks: Vec<Task> = (1..=15).map(|id| task(id, "same", &[])).collect();
        let snapshot = snapshot(tasks);
        let all = positions(&snapshot.tasks, "same");
        let mut output = Vec::new();
        write(&snapshot, &all, &mut output).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string();
        assert_eq!(text.matches("same (0x").count(), MAX_TASKS);
        assert!(
            text.ends_with("\n… and 5 more of this name: say the id of one.\n"),
            "{text}"
        );
    }
}
