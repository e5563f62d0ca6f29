//! What stands out in a period, before all numbers: event loops that did not turn, and long waits. What these are called is explained in `docs/findings.md`.

use std::io::{self, Write};

use super::text::Text;
use crate::profile::{Hold, Point};
use crate::resource::ResourceKind;
use crate::view::escape::named;

/// From how many seconds on a wait is told, and how many of each sort are.
const SLOW: f64 = 10.0;
const MAX_TOLD: usize = 5;

pub(super) fn write(holds: &[Hold], points: &[Point], output: &mut impl Write) -> io::Result<()> {
    let blocked = holds.iter().take(MAX_TOLD).map(blocked);
    let points = points.iter().filter(|point| !is_timer(point));
    let mut slow: Vec<(f64, &Point)> = points.map(|point| (longest(point), point)).collect();
    slow.retain(|(seconds, _)| *seconds >= SLOW);
    slow.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let slow = slow
        .into_iter()
        .take(MAX_TOLD)
        .map(|(seconds, point)| waited(seconds, point));
    let told: Vec<String> = blocked.chain(slow).collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(output, "<h3>Findings</h3>\n<ul>")?;
    for text in told {
        writeln!(output, "<li>{}</li>", Text(&text))?;
    }
    writeln!(output, "</ul>")
}

fn blocked(hold: &Hold) -> String {
    let place = &hold.place;
    let kind = if place.is_task { "task" } else { "callback" };
    format!(
        "blocked-loop: an event loop did not turn for {:.2} s in all, and for {:.2} s at the longest, as {kind} {} was at work in {} ({}:{})",
        hold.seconds,
        hold.longest_seconds,
        named(&place.root),
        named(&place.frame.function),
        place.frame.shown_file(),
        place.frame.line,
    )
}

/// Whether nothing but timers is known to have been waited for: these take as long as they were told to.
fn is_timer(point: &Point) -> bool {
    let mut kinds = point.resources.iter().map(|(it, _)| it.kind);
    !point.resources.is_empty() && kinds.all(|kind| kind == ResourceKind::Timer)
}

/// For how long (s) the longest wait at a point was seen.
fn longest(point: &Point) -> f64 {
    let whole = point.waits.whole.map_or(0.0, |whole| whole.longest);
    whole.max(point.waits.longest_in_part)
}

fn waited(seconds: f64, point: &Point) -> String {
    let has_ended = point.waits.whole.is_some_and(|whole| whole.longest >= seconds);
    let end = if has_ended { "" } else { " at least" };
    format!(
        "slow-wait: a task waited for {seconds:.1} s{end} in {} ({}:{}), which awaits {}",
        named(&point.function),
        point.origin.shown(&point.file),
        point.line,
        named(&point.awaits),
    )
}
