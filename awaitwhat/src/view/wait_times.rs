//! How long waits took, one by one, as a table: one long wait and many short ones come to the same time.

use std::io::{self, Write};

use super::escape::fitted;
use super::style::{FAINT, HEADING, styled};
use super::tree::location;
use super::{summary, table};
use crate::profile::{Point, WaitTimes};

const NOTHING: &str = "-";

/// Writes how long the waits at `points` took, as far as any were seen.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(points: &[Point], width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    let has_waits = |point: &&Point| point.waits.whole.is_some() || point.waits.in_part > 0;
    let shown: Vec<&Point> = points
        .iter()
        .take(summary::MAX_POINTS)
        .filter(has_waits)
        .collect();
    if shown.is_empty() {
        return Ok(());
    }
    let heading = "Waits: how long each took that was seen, in seconds";
    writeln!(output, "\n{}", styled(HEADING, heading))?;
    let note = "Most of those shorter than the time between two looks are missed. In part: they had begun before the first look, or went on after the last one.";
    writeln!(output, "{}", styled(FAINT, note))?;
    let has_parts = shown.iter().any(|point| point.waits.in_part > 0);
    let mut heads = vec!["WAITS", "P50", "P90", "P99", "MAX", "±"];
    if has_parts {
        heads.extend(["IN PART", "AT LEAST"]);
    }
    let numbers: Vec<usize> = (0..heads.len()).collect();
    heads.extend(["WHERE", "AWAITS"]);
    let rows = shown.into_iter().map(|point| {
        let mut row = cells(&point.waits);
        if has_parts {
            row.extend(parts(&point.waits));
        }
        row.push(location(point.origin.shown(&point.file), point.line));
        row.push(fitted(&summary::awaited(point), summary::FUNCTION_WIDTH));
        row
    });
    table::write_rows(&heads, &numbers, &numbers, rows, width, output)
}

fn cells(waits: &WaitTimes) -> Vec<String> {
    let Some(whole) = &waits.whole else {
        let mut none = vec![NOTHING.to_owned(); 6];
        if let Some(count) = none.first_mut() {
            "0".clone_into(count);
        }
        return none;
    };
    let lengths = [whole.p50, whole.p90, whole.p99, whole.longest];
    let mut cells = vec![whole.count.to_string()];
    cells.extend(lengths.map(|length| seconds(length, whole.precision)));
    cells.push(format!("{:.2}", whole.precision));
    cells
}

fn parts(waits: &WaitTimes) -> [String; 2] {
    match waits.in_part {
        0 => [NOTHING; 2].map(str::to_owned),
        count => [count.to_string(), format!("{:.2}", waits.longest_in_part)],
    }
}

/// A length; how much it is less than, where it may as well be none.
fn seconds(length: f64, precision: f64) -> String {
    if length > 1.5 * precision {
        format!("{length:.2}")
    } else {
        format!("<{:.2}", length + precision + 0.005)
    }
}
