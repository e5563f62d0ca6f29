//! The tables of a report.

use std::io::{self, Write};

use super::text::{Plain, Text};
use crate::profile::{Hold, Point, Profile, WaitTimes, ratio};
use crate::view::escape::named;
use crate::view::wait_times;

/// Rows of a table; the others are summed up.
const MAX_ROWS: usize = 100;

pub(super) fn write_holds(holds: &[Hold], output: &mut impl Write) -> io::Result<()> {
    if holds.is_empty() {
        return Ok(());
    }
    writeln!(
        output,
        "<h3>Blocked: event loops that did not turn for more than 0.1 s</h3>"
    )?;
    let row = |hold: &Hold| {
        let place = &hold.place;
        let numbers = [hold.seconds, hold.longest_seconds, hold.ready_seconds].map(|it| format!("{it:.2}"));
        let kind = if place.is_task { "task" } else { "callback" };
        let texts = [
            format!("{kind} {}", named(&place.root)),
            named(&place.frame.function).to_owned(),
            location(place.frame.shown_file(), place.frame.line),
        ];
        (numbers.into(), texts.into())
    };
    let heads = [
        "seconds",
        "longest",
        "ready task-seconds",
        "by",
        "function",
        "where",
    ];
    let sum = |others: &[Hold]| {
        let all = |of: fn(&Hold) -> f64| format!("{:.2}", others.iter().map(of).sum::<f64>());
        vec![
            all(|hold| hold.seconds),
            String::new(),
            all(|hold| hold.ready_seconds),
        ]
    };
    write_table(&heads, holds, row, sum, output)
}

pub(super) fn write_points(
    profile: &Profile,
    points: &[Point],
    verb: &str,
    output: &mut impl Write,
) -> io::Result<()> {
    let numbers = |task_seconds: f64, ready_seconds: f64, share: f64| {
        vec![
            format!("{task_seconds:.2}"),
            format!("{:.1} %", 100.0 * share),
            format!("{:.2}", ratio(task_seconds, profile.duration_seconds)),
            format!("{ready_seconds:.2}"),
        ]
    };
    let row = |point: &Point| {
        let texts = vec![
            named(&point.function).to_owned(),
            location(point.origin.shown(&point.file), point.line),
            awaited(point),
        ];
        (
            numbers(point.task_seconds, point.ready_seconds, point.share),
            texts,
        )
    };
    let sum = |others: &[Point]| {
        let all = |of: fn(&Point) -> f64| others.iter().map(of).sum::<f64>();
        numbers(
            all(|it| it.task_seconds),
            all(|it| it.ready_seconds),
            all(|it| it.share),
        )
    };
    let heads = [
        "task-seconds",
        "share",
        "mean tasks",
        "ready task-seconds",
        "function",
        "where",
        verb,
    ];
    write_table(&heads, points, row, sum, output)
}

/// How long waits took, one by one.
pub(super) fn write_waits(points: &[Point], output: &mut impl Write) -> io::Result<()> {
    let shown = wait_times::shown(points, MAX_ROWS);
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(output, "<h3>{}</h3>", wait_times::HEADING)?;
    for note in wait_times::notes(&shown) {
        writeln!(output, "<p>{}</p>", Plain(note))?;
    }
    let row = |point: &&Point| {
        let place = location(point.origin.shown(&point.file), point.line);
        let texts = vec![named(&point.function).to_owned(), place, awaited(point)];
        (wait_times::cells(&point.waits), texts)
    };
    let heads = [
        "waits", "p50", "p90", "p99", "longest", "±", "in part", "at least", "function", "where", "awaits",
    ];
    // There are no more rows than there is room for.
    let sum = |_: &[&Point]| wait_times::cells(&WaitTimes::default());
    write_table(&heads, &shown, row, sum, output)
}

/// What is awaited at a point: all that it is known by, or else the function that is called.
fn awaited(point: &Point) -> String {
    let known: Vec<String> = point
        .resources
        .iter()
        .map(|(resource, _)| resource.called())
        .collect();
    if known.is_empty() {
        point.awaits.to_string()
    } else {
        known.join(", ")
    }
}

fn location(file: &str, line: u32) -> String {
    if file.is_empty() {
        String::new()
    } else {
        format!("{file}:{line}")
    }
}

/// Writes a table: numbers first, then texts of the target. `sum` tells the numbers of the rows that there is no room for.
fn write_table<T>(
    heads: &[&str],
    rows: &[T],
    row: impl Fn(&T) -> (Vec<String>, Vec<String>),
    sum: impl Fn(&[T]) -> Vec<String>,
    output: &mut impl Write,
) -> io::Result<()> {
    write!(output, "<table>\n<tr>")?;
    let numbers = sum(&[]).len();
    for (place, head) in heads.iter().enumerate() {
        let class = if place < numbers { " class=\"number\"" } else { "" };
        write!(output, "<th{class}>{head}</th>")?;
    }
    writeln!(output, "</tr>")?;
    let shown = rows.iter().take(MAX_ROWS).map(row);
    let others = rows.get(MAX_ROWS..).filter(|others| !others.is_empty());
    let others = others.map(|others| (sum(others), vec![format!("({} more)", others.len())]));
    for (numbers, texts) in shown.chain(others) {
        write!(output, "<tr>")?;
        for number in numbers {
            write!(output, "<td class=\"number\">{}</td>", Plain(&number))?;
        }
        for text in texts {
            write!(output, "<td>{}</td>", Text(&text))?;
        }
        writeln!(output, "</tr>")?;
    }
    writeln!(output, "</table>")
}
