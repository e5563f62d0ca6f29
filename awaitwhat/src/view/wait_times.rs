//! How long waits took, one by one, as a table: one long wait and many short ones come to the same time.

use std::io::{self, Write};

use super::escape::fitted;
use super::style::{FAINT, HEADING as HEADING_STYLE, styled};
use super::tree::location;
use super::{summary, table};
use crate::profile::{Point, WaitTimes};

/// What the table is headed by.
pub(crate) const HEADING: &str =
    "Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)";

const NOTHING: &str = "-";
/// Columns of waits that were seen in part.
const PARTS: usize = 2;

/// Writes how long the waits at `points` took, as far as any were seen.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(points: &[Point], width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    let shown = shown(points, summary::MAX_POINTS);
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(output, "\n{}", styled(HEADING_STYLE, HEADING))?;
    for note in notes(&shown) {
        writeln!(output, "{}", styled(FAINT, note))?;
    }
    let mut heads = vec!["WAITS", "P50", "P90", "P99", "MAX", "±", "IN PART", "SEEN FOR"];
    let left_out = if has_parts(&shown) { 0 } else { PARTS };
    let numbers: Vec<usize> = (0..heads.len() - left_out).collect();
    heads.truncate(numbers.len());
    heads.extend(["WHERE", "AWAITS"]);
    let rows = shown.into_iter().map(|point| {
        let mut row = cells(&point.waits);
        row.truncate(numbers.len());
        row.push(location(point.origin.shown(&point.file), point.line));
        row.push(fitted(&summary::awaited(point), summary::FUNCTION_WIDTH));
        row
    });
    table::write_rows(&heads, &numbers, &numbers, rows, width, output)
}

/// Those of the first points at which waits were seen.
pub(crate) fn shown(points: &[Point], most: usize) -> Vec<&Point> {
    let has_waits = |point: &&Point| point.waits.whole.is_some() || point.waits.in_part > 0;
    points.iter().take(most).filter(has_waits).collect()
}

/// What has to be said of such a table.
pub(crate) fn notes(shown: &[&Point]) -> impl Iterator<Item = &'static str> {
    let has_returns = shown.iter().any(|point| point.waits.returns > 0);
    let always = "Waits shorter than the time between two looks are mostly missed. A task that goes on and\nis back in the same await by the next look passes for one that has waited on.";
    let has_short = shown.iter().any(|point| {
        let whole = point.waits.whole.as_ref();
        whole.is_some_and(|whole| is_short(whole.p50, whole.precision))
    });
    let short = "<: shorter than that. Looks lie too far apart to tell more.";
    let returns = "~: tasks were back so soon that some of these may be several waits.";
    let parts = "IN PART: begun before the first look, or not over by the last one.";
    let short = has_short.then_some(short);
    let returns = has_returns.then_some(returns);
    let parts = has_parts(shown).then_some(parts);
    [Some(always), short, returns, parts].into_iter().flatten()
}

fn has_parts(shown: &[&Point]) -> bool {
    shown.iter().any(|point| point.waits.in_part > 0)
}

/// How many waits there were, their lengths and how precise these are; and how many were seen in part, and for how long at least.
pub(crate) fn cells(waits: &WaitTimes) -> Vec<String> {
    let nothing = || NOTHING.to_owned();
    let mut cells = match &waits.whole {
        Some(whole) => {
            let lengths = [whole.p50, whole.p90, whole.p99, whole.longest];
            let mut cells = vec![whole.count.to_string()];
            cells.extend(lengths.map(|length| seconds(length, whole.precision, waits.returns)));
            cells.push(format!("{:.2}", whole.precision));
            cells
        }
        None => vec![
            "0".to_owned(),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
        ],
    };
    cells.extend(match waits.in_part {
        0 => [nothing(), nothing()],
        count => [
            count.to_string(),
            seconds(waits.longest_in_part, 0.0, waits.returns),
        ],
    });
    cells
}

/// A length; how much it is less than, where it may as well be none. It may be that of several waits where tasks were back.
fn seconds(length: f64, precision: f64, returns: u64) -> String {
    let mark = if returns > 0 { "~" } else { "" };
    if is_short(length, precision) {
        format!("<{:.2}", length + precision + 0.005)
    } else {
        format!("{mark}{length:.2}")
    }
}

/// Whether a length may as well be none.
fn is_short(length: f64, precision: f64) -> bool {
    length < 1.5 * precision
}

#[cfg(test)]
mod tests {
    use crate::profile::{PointWaits, Profile, await_points};
    use crate::testing::{HOSTILE, chain, frame, profile, small_profile};

    fn drawn(profile: &Profile, width: Option<usize>) -> String {
        let mut output = Vec::new();
        super::write(&await_points(profile), width, &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn long_waits_and_short_ones() {
        insta::assert_snapshot!(drawn(&small_profile(), Some(80)), @"
        Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)
        Waits shorter than the time between two looks are mostly missed. A task that goes on and
        is back in the same await by the next look passes for one that has waited on.
        <: shorter than that. Looks lie too far apart to tell more.
        IN PART: begun before the first look, or not over by the last one.
        WAITS    P50    P90    P99    MAX     ±  IN PART  SEEN FOR  WHERE     AWAITS
          100   0.60   0.61   0.61   0.61  0.01        2      0.30  /srv/app  sleep
                                                                    .py:20
            3  <0.03  27.96  27.96  27.96  0.01        -         -  /srv/app  Lock.acq
                                                                    .py:22    uire
            0      -      -      -      -     -        1     10.00  /srv/app  _Gatheri
                                                                    .py:61    ngFuture
        ");
    }

    #[test]
    fn where_tasks_were_back_numbers_are_marked() {
        let point = chain(&[frame("serve", "/srv/app.py", 7)], Some("Future"), 4.0);
        let mut profile = profile(vec![point.clone()]);
        profile.waits = vec![PointWaits::of(&point, &[(1000, 1020), (0, 20)], &[2000]).with_returns(3)];
        insta::assert_snapshot!(drawn(&profile, None), @"
        Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)
        Waits shorter than the time between two looks are mostly missed. A task that goes on and
        is back in the same await by the next look passes for one that has waited on.
        <: shorter than that. Looks lie too far apart to tell more.
        ~: tasks were back so soon that some of these may be several waits.
        IN PART: begun before the first look, or not over by the last one.
        WAITS    P50    P90    P99    MAX     ±  IN PART  SEEN FOR  WHERE          AWAITS
            2  <0.03  ~1.01  ~1.01  ~1.01  0.01        1     ~2.00  /srv/app.py:7  Future
        ");
    }

    #[test]
    fn without_waits_there_is_nothing_to_say() {
        let profile = profile(vec![chain(&[frame("serve", "/srv/app.py", 7)], None, 4.0)]);
        assert_eq!(drawn(&profile, None), "");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let point = chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0);
        let mut profile = profile(vec![point.clone()]);
        profile.waits = vec![PointWaits::of(&point, &[(10, 30)], &[])];
        let text = drawn(&profile, Some(120));
        assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text}");
    }
}
