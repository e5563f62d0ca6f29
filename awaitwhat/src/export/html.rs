//! A profile as one HTML file: what was traced and how well, where tasks waited, who held event loops, and the flame graph. It asks no
//! network for anything, and may not: its own policy forbids it.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use super::flamegraph::{self, Root};
use crate::profile::{ChainState, Hold, Point, Profile, WaitTimes, await_points, ratio, running_points};
use crate::survey::Refusals;
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};
use crate::view::survey::describe_all;
use crate::view::wait_times;

/// Rows of a table; the others are summed up.
const MAX_ROWS: usize = 100;

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
.flame { overflow-x: auto; }
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

/// Text of the target in HTML: what could act on a reader is an escape as elsewhere, and markup is no markup.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Plain(&Escaped(self.0).to_string()))
    }
}

/// Text in HTML that was put into words already.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => formatter.write_str("&amp;"),
            '<' => formatter.write_str("&lt;"),
            '>' => formatter.write_str("&gt;"),
            '"' => formatter.write_str("&quot;"),
            '\'' => formatter.write_str("&#39;"),
            other => formatter.write_char(other),
        })
    }
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
    write_holds(&profile.holds, output)?;
    let waiting = profile.task_seconds(ChainState::Waiting);
    let ready = profile.task_seconds(ChainState::Ready);
    let running = profile.task_seconds(ChainState::Running);
    if waiting > 0.0 || ready > 0.0 {
        writeln!(
            output,
            "<h3>Await points: where tasks waited ({waiting:.2} task-seconds, and {ready:.2} in which they were ready to go on)</h3>"
        )?;
        let points = await_points(profile);
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
    Ok(())
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

fn write_holds(holds: &[Hold], output: &mut impl Write) -> io::Result<()> {
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

fn write_points(profile: &Profile, points: &[Point], verb: &str, output: &mut impl Write) -> io::Result<()> {
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
fn write_waits(points: &[Point], output: &mut impl Write) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::HoldPlace;
    use crate::resource::ResourceKind;
    use crate::snapshot::Losses;
    use crate::survey::Refused;
    use crate::testing::{HOSTILE, chain, frame, named, profile, ready, running, small_profile};

    /// Names that try to be markup, and to end what they are in.
    const MARKUP: &str = "<script>alert(1)</script>]]>\"'--><img src=x onerror=alert(2)>&lt;\x1b\u{202e}";

    fn written(whole: &Profile, parts: &[Profile], refused: &Refusals) -> String {
        let mut output = Vec::new();
        let report = Report {
            whole,
            parts,
            refused,
            max_frames: 512,
            root: Root::Outermost,
        };
        write(&report, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    fn of(profile: &Profile) -> String {
        written(profile, std::slice::from_ref(profile), &Refusals::default())
    }

    #[test]
    fn a_profile() {
        let mut profile = small_profile();
        profile.losses = Losses {
            torn: 2,
            ..Losses::default()
        };
        let text = of(&profile);
        let body = text.split_once("<body>").unwrap().1;
        insta::assert_snapshot!(body.split_once("<svg").unwrap().0.trim(), @r#"
        <h1>What tasks await</h1>
        <h2>python3[4711] (CPython 3.14.10)</h2>
        <p>Traced for 10.0 s from 2026-01-02 03:04:05 UTC on: 990 samples, 9900 task visits, 10.0 tasks on average; threads with event loops: 1, each on a CPU 5.0 % of the time.</p>
        <p class="lost">Not shown: 2 of 9902 task visits left out (changed while it was read)</p>
        <h3>Await points: where tasks waited (99.25 task-seconds, and 0.00 in which they were ready to go on)</h3>
        <table>
        <tr><th class="number">task-seconds</th><th class="number">share</th><th class="number">mean tasks</th><th class="number">ready task-seconds</th><th>function</th><th>where</th><th>awaits</th></tr>
        <tr><td class="number">60.00</td><td class="number">60.5 %</td><td class="number">6.00</td><td class="number">0.00</td><td>Pool.worker</td><td>/srv/app.py:20</td><td>sleep</td></tr>
        <tr><td class="number">29.00</td><td class="number">29.2 %</td><td class="number">2.90</td><td class="number">0.00</td><td>Pool.worker</td><td>/srv/app.py:22</td><td>Lock.acquire</td></tr>
        <tr><td class="number">10.00</td><td class="number">10.1 %</td><td class="number">1.00</td><td class="number">0.00</td><td>main</td><td>/srv/app.py:61</td><td>_GatheringFuture</td></tr>
        <tr><td class="number">0.25</td><td class="number">0.3 %</td><td class="number">0.03</td><td class="number">0.00</td><td>rare</td><td>/srv/app.py:99</td><td>Future</td></tr>
        </table>
        <h3>Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)</h3>
        <p>Waits shorter than the time between two looks are mostly missed. A task that goes on and
        is back in the same await by the next look passes for one that has waited on.</p>
        <p>IN PART: begun before the first look, or not over by the last one.</p>
        <table>
        <tr><th class="number">waits</th><th class="number">p50</th><th class="number">p90</th><th class="number">p99</th><th class="number">longest</th><th class="number">±</th><th class="number">in part</th><th class="number">at least</th><th>function</th><th>where</th><th>awaits</th></tr>
        <tr><td class="number">100</td><td class="number">0.60</td><td class="number">0.61</td><td class="number">0.61</td><td class="number">0.61</td><td class="number">0.01</td><td class="number">2</td><td class="number">0.30</td><td>Pool.worker</td><td>/srv/app.py:20</td><td>sleep</td></tr>
        <tr><td class="number">3</td><td class="number">&lt;0.03</td><td class="number">27.96</td><td class="number">27.96</td><td class="number">27.96</td><td class="number">0.01</td><td class="number">-</td><td class="number">-</td><td>Pool.worker</td><td>/srv/app.py:22</td><td>Lock.acquire</td></tr>
        <tr><td class="number">0</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">1</td><td class="number">10.00</td><td>main</td><td>/srv/app.py:61</td><td>_GatheringFuture</td></tr>
        </table>
        <h3>Running: where tasks were at work (0.50 task-seconds)</h3>
        <table>
        <tr><th class="number">task-seconds</th><th class="number">share</th><th class="number">mean tasks</th><th class="number">ready task-seconds</th><th>function</th><th>where</th><th>calls</th></tr>
        <tr><td class="number">0.50</td><td class="number">100.0 %</td><td class="number">0.05</td><td class="number">0.00</td><td>crunch</td><td>/srv/app.py:7</td><td></td></tr>
        </table>
        <h2>Flame graph</h2>
        <div class="flame">
        "#);
        assert!(body.ends_with("</svg></div>\n</body>\n</html>\n"), "{body}");
    }

    #[test]
    fn several_processes_are_parts_of_one_report() {
        let mut other = small_profile();
        other.processes[0].pid = 12;
        let parts = [small_profile(), other];
        let merged = Profile::merged(&parts, parts[0].started_at, 10.0);
        let refused = Refusals {
            each: vec![Refused {
                pid: 7,
                command: MARKUP.to_owned(),
                reason: MARKUP.to_owned(),
            }],
            others: 0,
            are_hidden: false,
        };
        let each = written(&merged, &parts, &refused);
        for text in ["<h2>python3[4711] ", "<h2>python3[12] ", "<title>python3[12] ("] {
            assert_eq!(each.matches(text).count(), 1, "{text}");
        }
        let together = written(&merged, std::slice::from_ref(&merged), &refused);
        assert!(together.contains("<h2>python3[4711] (CPython 3.14.10), python3[12] (CPython 3.14.10)</h2>"));
        assert!(!together.contains("<title>python3[12]"));
        assert!(each.contains("&lt;img") && !each.contains("<img"));
    }

    #[test]
    fn no_name_is_markup() {
        for name in [MARKUP, HOSTILE] {
            let at = [frame(name, name, 1)];
            let mut hostile = profile(vec![
                named(ResourceKind::Lock, name, chain(&at, Some(name), 1.0)),
                ready(&at, Some(name), 1.0),
                running(&at, 1.0),
            ]);
            hostile.processes[0].command = name.to_owned();
            hostile.processes[0].python = name.to_owned();
            hostile.holds.push(Hold {
                place: HoldPlace::of(true, &at),
                seconds: 1.0,
                turns: 1,
                longest_seconds: 1.0,
                ready_seconds: 1.0,
            });
            let (text, plain) = (of(&hostile), of(&small_profile()));
            for tag in ["<script", "</script", "<img", "<![CDATA[", "]]>", "-->"] {
                let count = |text: &str| text.matches(tag).count();
                assert_eq!(count(&text), count(&plain), "{tag} of {name:?}");
            }
            let is_safe = |character| character == '\n' || crate::view::escape::is_safe(character);
            let body = text.split_once("<body>").unwrap().1.split_once("<svg").unwrap().0;
            assert!(body.chars().all(is_safe));
            assert!(!body.contains("alert(1)</script>") && body.contains("&lt;"));
        }
    }

    #[test]
    fn it_asks_for_nothing() {
        let text = of(&small_profile());
        assert!(text.contains("default-src 'none'"));
        for word in ["src=\"", "@import", "url(http", "href=\"http"] {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn many_rows_are_summed_up() {
        let chains = (1..=150).map(|line| chain(&[frame("f", "/srv/app.py", line)], Some("Future"), 1.0));
        let text = of(&profile(chains.collect()));
        assert!(text.contains("<td class=\"number\">50.00</td>") && text.contains("<td>(50 more)</td>"));
    }

    #[test]
    fn nothing_seen_is_a_report() {
        let text = of(&profile(Vec::new()));
        assert!(text.contains("No task was seen waiting.") && text.contains("no tasks seen"));
    }
}
