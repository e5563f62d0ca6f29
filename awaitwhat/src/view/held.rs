//! Who held event loops for long while a trace went on, as a table.

use std::io::{self, Write};

use super::escape::fitted;
use super::style::{HEADING, styled};
use super::table;
use super::tree::{location, plural};
use crate::profile::{Hold, Profile};

/// Rows that are shown; the others are summed up.
const MAX_ROWS: usize = 10;
/// Columns that a function's name may take.
const FUNCTION_WIDTH: usize = 50;

/// Writes the table, and nothing where no loop was held.
pub(super) fn write(profile: &Profile, width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    let holds = &profile.holds;
    if holds.is_empty() {
        return Ok(());
    }
    let sum = |of: fn(&Hold) -> f64| holds.iter().map(of).sum::<f64>();
    let heading = format!(
        "Blocked: event loops that did not turn for more than 0.1 s ({:.2} s in all; {:.2} task-seconds were ready meanwhile)",
        sum(|hold| hold.seconds),
        sum(|hold| hold.ready_seconds)
    );
    writeln!(output, "\n{}", styled(HEADING, heading))?;
    let heads = [
        "SECONDS", "TURNS", "LONGEST", "READY-S", "BY", "FUNCTION", "WHERE",
    ];
    let shown = holds.iter().take(MAX_ROWS).map(row);
    let others = holds
        .get(MAX_ROWS..)
        .filter(|others| !others.is_empty())
        .map(others);
    let numbers = [0, 1, 2, 3];
    table::write_rows(&heads, &numbers, &numbers, shown.chain(others), width, output)
}

fn row(hold: &Hold) -> Vec<String> {
    let place = &hold.place;
    let kind = if place.is_task { "task" } else { "callback" };
    let mut row = numbers(hold.seconds, hold.turns, hold.longest_seconds, hold.ready_seconds);
    row.extend([
        format!("{kind} {}", fitted(&place.root, FUNCTION_WIDTH)),
        fitted(&place.frame.function, FUNCTION_WIDTH),
        location(place.frame.shown_file(), place.frame.line),
    ]);
    row
}

fn others(others: &[Hold]) -> Vec<String> {
    let sum = |of: fn(&Hold) -> f64| others.iter().map(of).sum::<f64>();
    let longest = others.iter().map(|hold| hold.longest_seconds).fold(0.0, f64::max);
    let turns = others.iter().map(|hold| hold.turns).sum();
    let mut row = numbers(
        sum(|hold| hold.seconds),
        turns,
        longest,
        sum(|hold| hold.ready_seconds),
    );
    let more = plural(others.len(), "more place", "more places");
    row.extend([format!("({more})"), String::new(), String::new()]);
    row
}

fn numbers(seconds: f64, turns: u64, longest: f64, ready: f64) -> Vec<String> {
    vec![
        format!("{seconds:.2}"),
        turns.to_string(),
        format!("{longest:.2}"),
        format!("{ready:.2}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::HoldPlace;
    use crate::testing::{HOSTILE, frame, profile};

    fn hold(is_task: bool, name: &str, line: u32, seconds: f64) -> Hold {
        let root = frame(name, "/srv/app.py", 1);
        let stack = [frame("load", "/srv/app.py", line), root];
        Hold {
            place: HoldPlace::of(is_task, &stack),
            seconds,
            turns: 3,
            longest_seconds: seconds / 2.0,
            ready_seconds: 50.0 * seconds,
        }
    }

    fn written(holds: Vec<Hold>) -> String {
        let mut profile = profile(Vec::new());
        profile.holds = holds;
        let mut output = Vec::new();
        write(&profile, Some(140), &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn who_held_the_loop_is_a_table() {
        let holds = vec![hold(true, "hog", 7, 4.0), hold(false, "flush", 9, 1.0)];
        insta::assert_snapshot!(written(holds).trim_start(), @"
        Blocked: event loops that did not turn for more than 0.1 s (5.00 s in all; 250.00 task-seconds were ready meanwhile)
        SECONDS  TURNS  LONGEST  READY-S  BY              FUNCTION  WHERE
           4.00      3     2.00   200.00  task hog        load      /srv/app.py:7
           1.00      3     0.50    50.00  callback flush  load      /srv/app.py:9
        ");
    }

    #[test]
    fn many_places_are_summed_up() {
        let text = written((0..30).map(|line| hold(true, "hog", line, 1.0)).collect());
        assert!(text.contains("(20 more places)"), "{text}");
        assert_eq!(text.lines().count(), 2 + 1 + 11);
    }

    #[test]
    fn nothing_held_is_nothing_said() {
        assert_eq!(written(Vec::new()), "");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let text = written(vec![hold(true, HOSTILE, 1, 1.0)]);
        assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text}");
    }
}
