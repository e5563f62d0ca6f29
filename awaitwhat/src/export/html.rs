//! A profile as one HTML file: what was traced and how well, what stands out in that, where tasks waited, who held event loops, what each
//! task did and when, and the flame graph. It asks no
//! network for anything, and may not: its own policy forbids it.

use std::io::{self, Write};

mod findings;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod timeline;

use super::flamegraph::{self, Root};
use crate::profile::{ChainState, Profile, await_points, running_points};
use crate::survey::Refusals;
use crate::view::losses::{Counted, describe};
use crate::view::survey::describe_all;
use tables::{write_holds, write_points, write_waits};
use text::{Plain, Text};

/// How the file begins. The script that the policy allows is that of the flame graph, which is in the file itself.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>awaitwhat</title>
<style>
body { font-family: sans-serif; margin: 1.5em; color: #222; background: #fff; }
h1 { font-size: 1.4em; } h2 { font-size: 1.15em; margin-top: 1.6em; } h3 { font-size: 1em; }
th, td { text-align: left; }
table { border-collapse: collapse; font-size: 0.9em; }
th, td { padding: 0.2em 0.7em; border-bottom: 1px solid #ddd; vertical-align: top; }
td:not(.number) { font-family: monospace; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
.lost { color: #a04000; }
.flame, .timeline { overflow-x: auto; }
.timeline text { font: 11px monospace; fill: #222; }
.timeline .waiting { fill: #9ecae1; } .timeline .ready { fill: #fdae6b; } .timeline .running { fill: #de2d26; }
.timeline .held { fill: #de2d26; fill-opacity: 0.15; } .timeline line { stroke: #ddd; }
</style>
</head>
<body>
"#;

/// What a report is made of.
pub struct Report<'a> {
    /// All that was traced, as one.
    pub whole: &'a Profile,
    /// What is shown for itself: each process, or the whole.
    pub parts: &'a [Profile],
    /// Whom there is nothing of.
    pub refused: &'a Refusals,
    /// How deep chains were followed, in frames.
    pub max_frames: usize,
    /// What the flame graph begins with.
    pub root: Root,
}

/// Writes the report.
///
/// # Errors
/// When `output` fails.
pub fn write(report: &Report<'_>, output: &mut impl Write) -> io::Result<()> {
    output.write_all(HEAD.as_bytes())?;
    writeln!(output, "<h1>What tasks await</h1>")?;
    for refused in describe_all(report.refused) {
        writeln!(output, "<p class=\"lost\">{}</p>", Plain(&refused))?;
    }
    for part in report.parts {
        write_part(part, report.max_frames, output)?;
    }
    writeln!(output, "<h2>Flame graph</h2>\n<div class=\"flame\">")?;
    flamegraph::write_element(report.parts, report.whole, report.root, output)?;
    writeln!(output, "</div>\n</body>\n</html>")
}

fn write_part(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    write_header(profile, max_frames, output)?;
    let points = await_points(profile);
    findings::write(&profile.holds, &points, output)?;
    write_holds(&profile.holds, output)?;
    let waiting = profile.task_seconds(ChainState::Waiting);
    let ready = profile.task_seconds(ChainState::Ready);
    let running = profile.task_seconds(ChainState::Running);
    if waiting > 0.0 || ready > 0.0 {
        writeln!(
            output,
            "<h3>Await points: where tasks waited ({waiting:.2} task-seconds, and {ready:.2} in which they were ready to go on)</h3>"
        )?;
        write_points(profile, &points, "awaits", output)?;
        write_waits(&points, output)?;
    } else {
        writeln!(output, "<p>No task was seen waiting.</p>")?;
    }
    if running > 0.0 {
        writeln!(
            output,
            "<h3>Running: where tasks were at work ({running:.2} task-seconds)</h3>"
        )?;
        write_points(profile, &running_points(profile), "calls", output)?;
    }
    match &profile.timeline {
        Some(timeline) => timeline::write(timeline, output),
        None => Ok(()),
    }
}

fn write_header(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let who: Vec<String> = profile
        .processes
        .iter()
        .map(|process| {
            let (command, python) = (Text(&process.command), Text(&process.python));
            format!("{command}[{}] (CPython {python})", process.pid)
        })
        .collect();
    writeln!(
        output,
        "<h2>{}</h2>\n<p>Traced for {:.1} s from {} on: {} samples, {} task visits, {:.1} tasks on average; threads with event loops: {}, each on a CPU {:.1} % of the time.</p>",
        who.join(", "),
        profile.duration_seconds,
        profile.started_at.strftime("%F %T UTC"),
        profile.samples,
        profile.task_visits,
        profile.mean_tasks(),
        profile.threads,
        100.0 * profile.busy_share(),
    )?;
    let lost = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    if lost.is_empty() {
        writeln!(output, "<p>Nothing was lost.</p>")?;
    }
    for loss in lost {
        writeln!(output, "<p class=\"lost\">Not shown: {}</p>", Plain(&loss))?;
    }
    if profile.target_exited {
        writeln!(
            output,
            "<p class=\"lost\">It ended before the time was over: this is what was seen until then.</p>"
        )?;
    }
    Ok(())
}
