//! `why`: from one task to what blocks it.

use std::io::Write;

use super::args::{GlobalArgs, WhyArgs, WhyFormat};
use super::asked_task::{find, pid_of};
use super::exit::Exit;
use super::{machine_stdout, people_stdout, snapshot};
use crate::export::why_json;
use crate::snapshot::Snapshot;
use crate::view::why;

/// Tasks of one name that are told of.
const MAX_TASKS: usize = 10;

pub(super) async fn run(args: &WhyArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let snapshot = snapshot::of_one(&args.one, global, &args.mine, args.arguments).await?;
    let tasks = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.tasks);
    let positions = find(tasks, &args.task, pid_of(&args.one, snapshot.as_ref()))?;
    let Some(snapshot) = &snapshot else {
        return Ok(Exit::Ok);
    };
    match args.format {
        WhyFormat::Text => {
            let mut stdout = people_stdout();
            write(snapshot, &positions, &mut stdout)?;
            stdout.flush()?;
        }
        WhyFormat::Json => {
            let mut stdout = machine_stdout();
            let shown = shown(&positions);
            why_json::write(snapshot, shown, positions.len() - shown.len(), &mut stdout)?;
            stdout.flush()?;
        }
    }
    Ok(Exit::Ok)
}

/// Those of several tasks of one name that are told of.
fn shown(positions: &[usize]) -> &[usize] {
    positions.get(..MAX_TASKS).unwrap_or(positions)
}

fn write(snapshot: &Snapshot, positions: &[usize], output: &mut impl Write) -> std::io::Result<()> {
    let shown = shown(positions);
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
        let all = find(&snapshot.tasks, "same", 42).unwrap();
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
