//! What each task did, and when, as a picture: a row for each track, as in other timelines.

use std::io::{self, Write};

use super::super::stay_text::{StayText, of_chains};
use super::super::tracks::{Track, tracks};
use super::text::{Plain, Text};
use crate::profile::{Hold, Timeline};
use crate::view::escape::{fitted, named};

/// Rows, and boxes in all of them, that a browser draws without effort. How many more there are is said.
const MAX_TRACKS: usize = 200;
const MAX_STAYS: usize = 20_000;
/// Sizes in pixels: of names, of the time, of a row.
const NAMES: f64 = 190.0;
const TIME: f64 = 1000.0;
const ROW: f64 = 14.0;
const HEAD: f64 = 18.0;
/// Between two boxes, so that one wait after another is seen to be two.
const GAP: f64 = 1.0;
/// Columns of a name, and lines across the time.
const NAME_WIDTH: usize = 28;
const LINES: u32 = 10;

/// Where moments are in the picture.
struct Scale {
    began: u64,
    /// How long it is, in ns.
    period: f64,
}

impl Scale {
    fn at(&self, moment: u64) -> f64 {
        let share = moment.saturating_sub(self.began) as f64 / self.period;
        NAMES + TIME * share.clamp(0.0, 1.0)
    }
}

pub(super) fn write(timeline: &Timeline, output: &mut impl Write) -> io::Result<()> {
    let tracks = tracks(timeline);
    if tracks.is_empty() {
        return Ok(());
    }
    let (shown, left_out) = fitting(&tracks);
    let scale = Scale {
        began: timeline.began,
        period: timeline.ended.saturating_sub(timeline.began).max(1) as f64,
    };
    writeln!(
        output,
        "<h3>Timeline: what each task did</h3>\n<p>A row has one task after the other that begin with the same function. Blue waits, orange could go on and waits for its event loop, red \
         is at work; behind them, red, the event loop is held. A box begins and ends with a look: what a task did between two looks is not known. Point at one to read what it is.</p>"
    )?;
    if left_out.0 > 0 {
        writeln!(
            output,
            "<p class=\"lost\">Not shown: {} more rows, and {} boxes in them; --format chrome and firefox write all of them.</p>",
            left_out.0, left_out.1
        )?;
    }
    if let Some(cut) = timeline.cut {
        let seconds = cut.at.saturating_sub(timeline.began) as f64 / 1e9;
        writeln!(
            output,
            "<p class=\"lost\">Not shown: {} changes that came after {seconds:.3} s, as there was no room for more</p>",
            cut.left_out
        )?;
    }
    draw(timeline, shown, &scale, output)
}

/// The rows that there is room for, and how many more there are, with how many boxes.
fn fitting<'a, 'b>(tracks: &'b [Track<'a>]) -> (&'b [Track<'a>], (usize, usize)) {
    let boxes = |track: &Track<'_>| track.tasks.iter().map(|task| task.stays.len()).sum::<usize>();
    let mut room = MAX_STAYS;
    let fits = |track: &&Track<'_>| {
        let left = room.checked_sub(boxes(track));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let shown = tracks.iter().take(MAX_TRACKS).take_while(fits).count();
    let (shown, others) = tracks.split_at(shown);
    (shown, (others.len(), others.iter().map(boxes).sum()))
}

fn draw(timeline: &Timeline, tracks: &[Track<'_>], scale: &Scale, output: &mut impl Write) -> io::Result<()> {
    let (width, height) = (NAMES + TIME + 10.0, HEAD + ROW * tracks.len() as f64);
    writeln!(
        output,
        "<div class=\"timeline\">\n<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"Timeline\">"
    )?;
    for line in 0..=LINES {
        let share = f64::from(line) / f64::from(LINES);
        let (x, seconds) = (NAMES + TIME * share, scale.period * share / 1e9);
        let anchor = if line == LINES { "end" } else { "start" };
        writeln!(
            output,
            "<line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{height}\"/><text x=\"{x:.1}\" y=\"12\" text-anchor=\"{anchor}\">{seconds:.2} s</text>"
        )?;
    }
    for (until, hold) in &timeline.held {
        held(*until, hold, height, scale, output)?;
    }
    let texts = of_chains(timeline);
    for (row, track) in tracks.iter().enumerate() {
        draw_track(track, HEAD + ROW * row as f64, &texts, scale, output)?;
    }
    writeln!(output, "</svg>\n</div>")
}

/// A band for the time in which a loop was held.
fn held(until: u64, hold: &Hold, height: f64, scale: &Scale, output: &mut impl Write) -> io::Result<()> {
    // No turn lasts for longer than can be said in ns.
    let from = until.saturating_sub((hold.longest_seconds * 1e9) as u64);
    let (x, end) = (scale.at(from), scale.at(until));
    let place = &hold.place.frame;
    let text = format!(
        "event loop held for {:.3} s by {} ({}:{})",
        hold.seconds,
        named(&place.function),
        place.shown_file(),
        place.line
    );
    writeln!(
        output,
        "<rect class=\"held\" x=\"{x:.1}\" y=\"{HEAD}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
        (end - x).max(1.0),
        height - HEAD,
        Text(&text)
    )
}

fn draw_track(
    track: &Track<'_>,
    y: f64,
    texts: &[StayText],
    scale: &Scale,
    output: &mut impl Write,
) -> io::Result<()> {
    let name = fitted(&format!("{} {}", named(&track.root), track.number), NAME_WIDTH);
    writeln!(
        output,
        "<text x=\"0\" y=\"{:.1}\">{}</text>",
        y + ROW - 4.0,
        Plain(&name)
    )?;
    for task in &track.tasks {
        for stay in &task.stays {
            let Some(text) = texts.get(stay.chain) else {
                continue;
            };
            let (x, end) = (scale.at(stay.begin), scale.at(stay.end));
            writeln!(
                output,
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}, {:.3} s from {:.3} s on: {}, in {}</title></rect>",
                text.state,
                (end - x - GAP).max(0.5),
                ROW - 2.0,
                task.task.address,
                stay.end.saturating_sub(stay.begin) as f64 / 1e9,
                stay.begin.saturating_sub(scale.began) as f64 / 1e9,
                Plain(&text.name),
                Plain(&text.place),
            )?;
        }
    }
    Ok(())
}
