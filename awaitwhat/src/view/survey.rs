//! Several processes in a table, before each of them is shown, and what became of the others.

use std::io::{self, Write};

use super::escape::{Escaped, fitted};
use super::style::{HEADING, WARNING, styled};
use super::table;
use super::tree::plural;
use crate::profile::{ChainState, Profile};
use crate::snapshot::Snapshot;
use crate::survey::{Refusals, Refused};

/// Columns that a process's name may take.
const COMMAND_WIDTH: usize = 40;

/// Writes one row per process of `snapshots`, and who was `refused`.
///
/// # Errors
/// When `output` fails.
pub fn write_snapshots(
    snapshots: &[Snapshot],
    refused: &Refusals,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    write_heading(snapshots.len(), output)?;
    let rows = snapshots.iter().map(|snapshot| {
        vec![
            snapshot.pid.to_string(),
            fitted(&snapshot.command, COMMAND_WIDTH),
            fitted(&snapshot.python, COMMAND_WIDTH),
            snapshot.tasks.len().to_string(),
        ]
    });
    let heads = ["PID", "COMMAND", "CPYTHON", "TASKS"];
    table::write_rows(&heads, &[0, 3], &[0, 3], rows, width, output)?;
    write_refused(refused, output)
}

/// Writes one row per process of `profiles`, and who was `refused`.
///
/// # Errors
/// When `output` fails.
pub fn write_profiles(
    profiles: &[Profile],
    refused: &Refusals,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    write_heading(profiles.len(), output)?;
    let rows = profiles.iter().flat_map(|profile| {
        profile.processes.iter().map(|process| {
            vec![
                process.pid.to_string(),
                fitted(&process.command, COMMAND_WIDTH),
                fitted(&process.python, COMMAND_WIDTH),
                format!("{:.1}", profile.mean_tasks()),
                format!("{:.2}", profile.task_seconds(ChainState::Waiting)),
                format!("{:.1} %", 100.0 * profile.busy_share()),
                format!("{:.1}", profile.duration_seconds),
            ]
        })
    });
    let heads = [
        "PID",
        "COMMAND",
        "CPYTHON",
        "MEAN TASKS",
        "TASK-S WAITING",
        "LOOP ON CPU",
        "SECONDS",
    ];
    let numbers = [0, 3, 4, 5, 6];
    table::write_rows(&heads, &numbers, &numbers, rows, width, output)?;
    write_refused(refused, output)
}

/// Writes whom there is nothing of, and why.
///
/// # Errors
/// When `output` fails.
pub fn write_refused(refused: &Refusals, output: &mut impl Write) -> io::Result<()> {
    describe_all(refused).try_for_each(|line| writeln!(output, "{}", styled(WARNING, line)))
}

/// A line for each that was refused, and one for those of whom nothing else is known.
pub fn describe_all(refused: &Refusals) -> impl Iterator<Item = String> {
    let others = (refused.others > 0)
        .then(|| format!("Not looked at: {} more, as there were so many", refused.others));
    let hidden = refused.are_hidden.then(|| {
        "Not looked at: the processes of others, which /proc hides (`hidepid` in /proc/mounts)".to_owned()
    });
    refused.each.iter().map(describe).chain(others).chain(hidden)
}

/// `Not looked at: process 4711 (python2): why`, on one line.
fn describe(refused: &Refused) -> String {
    let Refused { pid, command, reason } = refused;
    let name = if command.is_empty() {
        String::new()
    } else {
        format!(" ({})", fitted(command, COMMAND_WIDTH))
    };
    let reason: Vec<String> = reason.lines().map(|line| Escaped(line).to_string()).collect();
    format!("Not looked at: process {pid}{name}: {}", reason.join("; "))
}

fn write_heading(count: usize, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "{}",
        styled(HEADING, plural(count, "process", "processes"))
    )
}

#[cfg(test)]
mod tests {
    use super::{write_profiles, write_snapshots};
    use crate::survey::{Refusals, Refused};
    use crate::testing::{HOSTILE, small_profile, small_service};

    fn refused() -> Refusals {
        let each = vec![
            Refused {
                pid: 12,
                command: String::new(),
                reason: "there is no such process".to_owned(),
            },
            Refused {
                pid: 99,
                command: HOSTILE.to_owned(),
                reason: format!("it is {HOSTILE}\nand more"),
            },
        ];
        Refusals {
            each,
            others: 7,
            are_hidden: true,
        }
    }

    fn shown(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut output = Vec::new();
        write(&mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn snapshots_in_a_table() {
        let mut other = small_service();
        other.pid = 5;
        other.command = HOSTILE.to_owned();
        let snapshots = [other, small_service()];
        insta::assert_snapshot!(shown(|output| write_snapshots(&snapshots, &refused(), None, output)), @r#"
        2 processes
         PID  COMMAND                              CPYTHON  TASKS
           5  a;b\n\x1b[31mred\x07…evil\x9b<&"> 7  3.14.10      4
        4711  python3                              3.14.10      4
        Not looked at: process 12: there is no such process
        Not looked at: process 99 (a;b\n\x1b[31mred\x07…evil\x9b<&"> 7): it is a;b; \x1b[31mred\x07\u{202e}evil\x9b<&"> 7; and more
        Not looked at: 7 more, as there were so many
        Not looked at: the processes of others, which /proc hides (`hidepid` in /proc/mounts)
        "#);
    }

    #[test]
    fn profiles_in_a_table() {
        let profiles = [small_profile()];
        insta::assert_snapshot!(shown(|output| write_profiles(&profiles, &Refusals::default(), None, output)), @"
        1 process
         PID  COMMAND  CPYTHON  MEAN TASKS  TASK-S WAITING  LOOP ON CPU  SECONDS
        4711  python3  3.14.10        10.0           99.25        5.0 %     10.0
        ");
    }
}
