//! A profile in words and tables: what was traced and how well, the await points that dominate, the merged await tree.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::escape::{Escaped, fitted};
use super::losses::{self, Counted};
use super::style::{FAINT, HEADING, WARNING, styled};
use super::tree::{location, plural};
use super::{held, merged, table, wait_times};
use crate::profile::{
    ChainState, Point, Profile, WaitedFor, await_points, ratio, running_points, waited_for,
};

/// Rows of a table of points; the others are summed up.
pub(super) const MAX_POINTS: usize = 20;
/// Columns that a function's name may take.
pub(super) const FUNCTION_WIDTH: usize = 50;
/// Columns that the name of what is waited for may take.
const RESOURCE_WIDTH: usize = 60;

/// Writes the whole summary of `profile`, taken with chains of at most `max_frames` frames; tables are `width` columns wide at
/// most.
///
/// # Errors
/// When `output` fails.
pub fn write(
    profile: &Profile,
    max_frames: usize,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    begin(profile, max_frames, width, output)?;
    let waiting = profile.task_seconds(ChainState::Waiting);
    let running = profile.task_seconds(ChainState::Running);
    let ready = profile.task_seconds(ChainState::Ready);
    if waiting > 0.0 || ready > 0.0 {
        let and_ready = if ready > 0.0 {
            format!(", and {ready:.2} in which they were ready to go on and waited for their event loop only")
        } else {
            String::new()
        };
        let heading = format!("Await points: where tasks waited ({waiting:.2} task-seconds{and_ready})");
        writeln!(output, "\n{}", styled(HEADING, heading))?;
        let points = await_points(profile);
        write_points(profile, &points, "AWAITS", width, output)?;
        wait_times::write(&points, width, output)?;
    }
    if running > 0.0 {
        let heading = format!("Running: where tasks were at work ({running:.2} task-seconds)");
        writeln!(output, "\n{}", styled(HEADING, heading))?;
        write_points(profile, &running_points(profile), "CALLS", width, output)?;
    }
    write_merged(profile, output)
}

/// The same, but what tasks waited for takes the place of where they did.
///
/// # Errors
/// When `output` fails.
pub fn write_by_resource(
    profile: &Profile,
    max_frames: usize,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    begin(profile, max_frames, width, output)?;
    let waiting = profile.task_seconds(ChainState::Waiting);
    if waiting > 0.0 {
        let heading = format!("What tasks waited for ({waiting:.2} task-seconds)");
        writeln!(output, "\n{}", styled(HEADING, heading))?;
        write_resources(profile, width, output)?;
    }
    write_merged(profile, output)
}

/// Writes what was traced and how well, and the merged await tree.
///
/// # Errors
/// When `output` fails.
pub fn write_tree(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    write_header(profile, max_frames, output)?;
    write_merged(profile, output)
}

/// What was traced and how well, and who held event loops.
fn begin(
    profile: &Profile,
    max_frames: usize,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    write_header(profile, max_frames, output)?;
    held::write(profile, width, output)
}

fn write_merged(profile: &Profile, output: &mut impl Write) -> io::Result<()> {
    if profile.task_seconds(ChainState::Waiting) <= 0.0 {
        return writeln!(output, "\nNo task was seen waiting.");
    }
    writeln!(
        output,
        "\n{}",
        styled(HEADING, "Await tree: chains of waiting tasks, outermost first")
    )?;
    writeln!(output, "{}", styled(FAINT, "  SHARE     TASK-S"))?;
    merged::write(profile, output)
}

fn write_header(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let heading = format!("{}, traced for {:.1} s", who(profile), profile.duration_seconds);
    writeln!(output, "{}", styled(HEADING, heading))?;
    let busy = 100.0 * profile.busy_share();
    let loops = match profile.threads {
        0 => "no event loop seen".to_owned(),
        1 => format!("event loop on a CPU {busy:.1} % of the time"),
        threads => {
            format!("{threads} threads with event loops, on a CPU {busy:.1} % of the time each on average")
        }
    };
    writeln!(
        output,
        "{} samples, {} task visits, {:.1} tasks on average; {loops}",
        profile.samples,
        profile.task_visits,
        profile.mean_tasks()
    )?;
    let lost = losses::describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    if lost.is_empty() {
        writeln!(output, "Nothing was lost.")?;
    }
    for loss in lost {
        writeln!(output, "{}", styled(WARNING, format_args!("Not shown: {loss}")))?;
    }
    if profile.target_exited {
        let note = match profile.processes.len() {
            1 => {
                "The process ended, or became another program, before the time was over: this is what was seen until then."
            }
            _ => {
                "The processes ended, or became other programs, before the time was over: this is what was seen until then."
            }
        };
        writeln!(output, "{}", styled(WARNING, note))?;
    }
    Ok(())
}

/// What a profile is of: `Process 4711 (CPython 3.12.1)`, `3 processes (CPython 3.12.1, 3.14.10)`.
fn who(profile: &Profile) -> String {
    let versions: BTreeSet<&str> = profile.processes.iter().map(|process| &*process.python).collect();
    let versions: Vec<String> = versions
        .iter()
        .map(|version| Escaped(version).to_string())
        .collect();
    match profile.processes.as_slice() {
        [process] => format!("Process {} (CPython {})", process.pid, versions.concat()),
        several => format!(
            "{} processes together (CPython {})",
            several.len(),
            versions.join(", ")
        ),
    }
}

fn write_points(
    profile: &Profile,
    points: &[Point],
    verb: &str,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let has_ready = points.iter().any(|point| point.ready_seconds > 0.0);
    let mut heads = vec!["TASK-S", "SHARE", "MEAN TASKS"];
    heads.extend(has_ready.then_some("READY-S"));
    let numbers: Vec<usize> = (0..heads.len()).collect();
    heads.extend(["FUNCTION", "WHERE", verb]);
    let numbers_of = |task_seconds, ready_seconds: f64, share| {
        let mut row = self::numbers(profile, task_seconds, share);
        row.extend(has_ready.then(|| format!("{ready_seconds:.2}")));
        row
    };
    let shown = points.iter().take(MAX_POINTS).map(|point| {
        let mut row = numbers_of(point.task_seconds, point.ready_seconds, point.share);
        row.push(fitted(&point.function, FUNCTION_WIDTH));
        row.push(location(point.origin.shown(&point.file), point.line));
        row.push(awaited(point));
        row
    });
    let others = points
        .get(MAX_POINTS..)
        .filter(|others| !others.is_empty())
        .map(|others| {
            let sum = |of: fn(&Point) -> f64| others.iter().map(of).sum::<f64>();
            let mut row = numbers_of(
                sum(|point| point.task_seconds),
                sum(|point| point.ready_seconds),
                sum(|point| point.share),
            );
            row.extend([format!("({} more)", others.len()), String::new(), String::new()]);
            row
        });
    table::write_rows(&heads, &numbers, &numbers, shown.chain(others), width, output)
}

fn write_resources(profile: &Profile, width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    let heads = [
        "TASK-S",
        "SHARE",
        "MEAN TASKS",
        "WAITED FOR",
        "MOST OF IT IN",
        "WHERE",
    ];
    let numbers = [0, 1, 2];
    let things = waited_for(profile);
    let shown = things.iter().take(MAX_POINTS).map(|thing| {
        let point = &thing.point;
        let mut row = self::numbers(profile, thing.task_seconds, thing.share);
        let called = thing.called();
        row.push(called.map_or_else(|| "?".to_owned(), |it| fitted(&it, RESOURCE_WIDTH)));
        row.push(fitted(&point.function, FUNCTION_WIDTH));
        let place = location(point.origin.shown(&point.file), point.line);
        row.push(match thing.other_points {
            0 => place,
            others => format!("{place} and {}", plural(others, "other", "others")),
        });
        row
    });
    let others = things
        .get(MAX_POINTS..)
        .filter(|others| !others.is_empty())
        .map(|others| {
            let sum = |of: fn(&WaitedFor) -> f64| others.iter().map(of).sum::<f64>();
            let mut row = self::numbers(profile, sum(|it| it.task_seconds), sum(|it| it.share));
            row.extend([format!("({} more)", others.len()), String::new(), String::new()]);
            row
        });
    table::write_rows(&heads, &numbers, &numbers, shown.chain(others), width, output)
}

/// What is awaited at a point: by its name where that is known, or else the function that is called.
pub(super) fn awaited(point: &Point) -> String {
    match point.resources.as_slice() {
        [] if point.awaits.is_empty() => "-".to_owned(),
        [] => fitted(&point.awaits, FUNCTION_WIDTH),
        [(resource, _)] => fitted(&resource.called(), FUNCTION_WIDTH),
        [(resource, _), others @ ..] => {
            let more = plural(others.len(), "other", "others");
            format!("{} and {more}", fitted(&resource.called(), FUNCTION_WIDTH))
        }
    }
}

fn numbers(profile: &Profile, task_seconds: f64, share: f64) -> Vec<String> {
    let mean = ratio(task_seconds, profile.duration_seconds);
    vec![
        format!("{task_seconds:.2}"),
        format!("{:.1} %", 100.0 * share),
        format!("{mean:.2}"),
    ]
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;
    use crate::resource::ResourceKind;
    use crate::snapshot::Losses;
    use crate::testing::{self, HOSTILE, chain, frame, profile, ready, running, small_profile};

    fn stripped(output: &[u8]) -> String {
        anstream::adapter::strip_str(std::str::from_utf8(output).unwrap()).to_string()
    }

    fn drawn(profile: &Profile, width: Option<usize>) -> String {
        let mut output = Vec::new();
        super::write(profile, 512, width, &mut output).unwrap();
        stripped(&output)
    }

    fn service_with_names() -> Profile {
        let acquire = || {
            [
                frame("Lock.acquire", "/usr/lib/python3.14/asyncio/locks.py", 113),
                frame("use", "/srv/app.py", 22),
            ]
        };
        let named = |kind, label: &str, seconds| {
            testing::named(kind, label, chain(&acquire(), Some("Future"), seconds))
        };
        let elsewhere = chain(&[frame("flush", "/srv/db.py", 7)], Some("Future"), 3.0);
        profile(vec![
            named(ResourceKind::Lock, "self.lock", 20.0),
            named(ResourceKind::Lock, "other.lock", 10.0),
            chain(&acquire(), Some("Future"), 1.0),
            testing::named(ResourceKind::Lock, "self.lock", elsewhere),
            testing::named(
                ResourceKind::Queue,
                HOSTILE,
                chain(&[frame("main", "/srv/app.py", 61)], Some("Future"), 2.0),
            ),
        ])
    }

    #[test]
    fn what_is_waited_for_has_its_name() {
        insta::assert_snapshot!(drawn(&service_with_names(), None), @r#"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 3.6 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await points: where tasks waited (36.00 task-seconds)
        TASK-S   SHARE  MEAN TASKS  FUNCTION  WHERE           AWAITS
         31.00  86.1 %        3.10  use       /srv/app.py:22  lock self.lock and 1 other
          3.00   8.3 %        0.30  flush     /srv/db.py:7    lock self.lock
          2.00   5.6 %        0.20  main      /srv/app.py:61  queue a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
         86.1 %      31.00  use  /srv/app.py:22
                            │  Lock.acquire  asyncio/locks.py:113
         55.6 %      20.00  ├─ waits for lock self.lock
         27.8 %      10.00  ├─ waits for lock other.lock
          2.8 %       1.00  └─ waits for Future
          8.3 %       3.00  flush  /srv/db.py:7
                               waits for lock self.lock
          5.6 %       2.00  main  /srv/app.py:61
                               waits for queue a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7
        "#);
    }

    #[test]
    fn time_is_summed_up_by_what_was_waited_for() {
        let mut output = Vec::new();
        super::write_by_resource(&service_with_names(), 512, None, &mut output).unwrap();
        let text = stripped(&output);
        let table = text.split("\n\n").nth(1).unwrap();
        insta::assert_snapshot!(table, @r#"
        What tasks waited for (36.00 task-seconds)
        TASK-S   SHARE  MEAN TASKS  WAITED FOR                                        MOST OF IT IN  WHERE
         23.00  63.9 %        2.30  lock self.lock                                    use            /srv/app.py:22 and 1 other
         10.00  27.8 %        1.00  lock other.lock                                   use            /srv/app.py:22
          2.00   5.6 %        0.20  queue a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  main           /srv/app.py:61
          1.00   2.8 %        0.10  Future                                            use            /srv/app.py:22
        "#);
    }

    #[test]
    fn a_small_service() {
        insta::assert_snapshot!(drawn(&small_profile(), None), @"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 10.0 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await points: where tasks waited (99.25 task-seconds)
        TASK-S   SHARE  MEAN TASKS  FUNCTION     WHERE           AWAITS
         60.00  60.5 %        6.00  Pool.worker  /srv/app.py:20  sleep
         29.00  29.2 %        2.90  Pool.worker  /srv/app.py:22  Lock.acquire
         10.00  10.1 %        1.00  main         /srv/app.py:61  _GatheringFuture
          0.25   0.3 %        0.03  rare         /srv/app.py:99  Future

        Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)
        Waits shorter than the time between two looks are mostly missed. A task that goes on and
        is back in the same await by the next look passes for one that has waited on.
        <: shorter than that. Looks lie too far apart to tell more.
        IN PART: begun before the first look, or not over by the last one.
        WAITS    P50    P90    P99    MAX     ±  IN PART  SEEN FOR  WHERE           AWAITS
          100   0.60   0.61   0.61   0.61  0.01        2      0.30  /srv/app.py:20  sleep
            3  <0.03  27.96  27.96  27.96  0.01        -         -  /srv/app.py:22  Lock.acquire
            0      -      -      -      -     -        1     10.00  /srv/app.py:61  _GatheringFuture

        Running: where tasks were at work (0.50 task-seconds)
        TASK-S    SHARE  MEAN TASKS  FUNCTION  WHERE          CALLS
          0.50  100.0 %        0.05  crunch    /srv/app.py:7  -

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
         60.5 %      60.00  Pool.worker  /srv/app.py:20
                               sleep  asyncio/tasks.py:704
                               waits for Future
         29.2 %      29.00  Pool.worker  /srv/app.py:22
                               Lock.acquire  asyncio/locks.py:113
                               waits for Future
         10.1 %      10.00  main  /srv/app.py:61
                               waits for _GatheringFuture
          0.3 %       0.25  left out: 1 branch, less than 0.5 % each
        ");
    }

    #[test]
    fn the_tree_alone() {
        let mut output = Vec::new();
        super::write_tree(&small_profile(), 512, &mut output).unwrap();
        insta::assert_snapshot!(stripped(&output), @"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 10.0 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
         60.5 %      60.00  Pool.worker  /srv/app.py:20
                               sleep  asyncio/tasks.py:704
                               waits for Future
         29.2 %      29.00  Pool.worker  /srv/app.py:22
                               Lock.acquire  asyncio/locks.py:113
                               waits for Future
         10.1 %      10.00  main  /srv/app.py:61
                               waits for _GatheringFuture
          0.3 %       0.25  left out: 1 branch, less than 0.5 % each
        ");
    }

    #[test]
    fn ready_time_has_a_column_of_its_own() {
        let at = |line| [frame("worker", "/srv/app.py", line)];
        let behind = profile(vec![
            ready(&at(1), Some("Future"), 98.0),
            chain(&at(1), Some("Future"), 0.5),
            chain(&at(2), Some("Future"), 1.5),
            running(&at(4), 2.0),
        ]);
        insta::assert_snapshot!(drawn(&behind, None), @"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 10.2 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await points: where tasks waited (2.00 task-seconds, and 98.00 in which they were ready to go on and waited for their event loop only)
        TASK-S   SHARE  MEAN TASKS  READY-S  FUNCTION  WHERE          AWAITS
          1.50  75.0 %        0.15     0.00  worker    /srv/app.py:2  Future
          0.50  25.0 %        0.05    98.00  worker    /srv/app.py:1  Future

        Running: where tasks were at work (2.00 task-seconds)
        TASK-S    SHARE  MEAN TASKS  FUNCTION  WHERE          CALLS
          2.00  100.0 %        0.20  worker    /srv/app.py:4  -

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
         75.0 %       1.50  worker  /srv/app.py:2
                               waits for Future
         25.0 %       0.50  worker  /srv/app.py:1
                               waits for Future
        ");
    }

    #[test]
    fn nothing_seen() {
        let empty = Profile {
            threads: 0,
            samples: 0,
            task_visits: 0,
            duration_seconds: 0.5,
            ..profile(Vec::new())
        };
        insta::assert_snapshot!(drawn(&empty, None), @"
        Process 4711 (CPython 3.14.10), traced for 0.5 s
        0 samples, 0 task visits, 0.0 tasks on average; no event loop seen
        Nothing was lost.

        No task was seen waiting.
        ");
    }

    #[test]
    fn losses_and_an_early_end_are_told() {
        let mut short = profile(vec![running(&[frame("spin", "/srv/app.py", 3)], 1.5)]);
        short.losses = Losses {
            truncated: 3,
            torn: 1,
            ..Losses::default()
        };
        short.target_exited = true;
        short.threads = 2;
        insta::assert_snapshot!(drawn(&short, None), @"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 0.1 tasks on average; 2 threads with event loops, on a CPU 2.5 % of the time each on average
        Not shown: 3 of 9901 task visits truncated (chain deeper than 512 frames)
        Not shown: 1 of 9901 task visits left out (changed while it was read)
        The process ended, or became another program, before the time was over: this is what was seen until then.

        Running: where tasks were at work (1.50 task-seconds)
        TASK-S    SHARE  MEAN TASKS  FUNCTION  WHERE          CALLS
          1.50  100.0 %        0.15  spin      /srv/app.py:3  -

        No task was seen waiting.
        ");
    }

    #[test]
    fn branches_part_where_chains_do() {
        let leaf = |line| frame("leaf", "/srv/app.py", line);
        let [top, middle] = ["top", "middle"].map(|name| frame(name, "/srv/app.py", 1));
        let deep = |inner: &[crate::snapshot::Frame]| {
            inner
                .iter()
                .cloned()
                .chain([middle.clone(), top.clone()])
                .collect::<Vec<_>>()
        };
        let profile = profile(vec![
            chain(&deep(&[leaf(1)]), Some("Future"), 3.0),
            chain(&deep(&[leaf(2)]), Some("Future"), 6.0),
            chain(&deep(&[]), None, 1.0),
            chain(std::slice::from_ref(&top), Some("Task"), 2.0),
        ]);
        insta::assert_snapshot!(drawn(&profile, None), @"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 1.2 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await points: where tasks waited (12.00 task-seconds)
        TASK-S   SHARE  MEAN TASKS  FUNCTION  WHERE          AWAITS
          6.00  50.0 %        0.60  leaf      /srv/app.py:2  Future
          3.00  25.0 %        0.30  leaf      /srv/app.py:1  Future
          2.00  16.7 %        0.20  top       /srv/app.py:1  Task
          1.00   8.3 %        0.10  middle    /srv/app.py:1  ?

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
        100.0 %      12.00  top  /srv/app.py:1
         83.3 %      10.00  ├─ middle  /srv/app.py:1
         50.0 %       6.00  │  ├─ leaf  /srv/app.py:2
                            │  │     waits for Future
         25.0 %       3.00  │  ├─ leaf  /srv/app.py:1
                            │  │     waits for Future
          8.3 %       1.00  │  └─ waits for something unknown
         16.7 %       2.00  └─ waits for Task
        ");
    }

    #[test]
    fn many_points_are_summed_up() {
        let chains = (1..=30).map(|line| {
            chain(
                &[frame("f", "/srv/app.py", line)],
                Some("Future"),
                f64::from(line),
            )
        });
        let text = drawn(&profile(chains.collect()), None);
        assert!(text.contains("(10 more)"), "{text}");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let hostile = profile(vec![
            chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0),
            running(&[frame(HOSTILE, HOSTILE, 2)], 1.0),
        ]);
        let text = drawn(&hostile, Some(120));
        assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text}");
        insta::assert_snapshot!(text, @r#"
        Process 4711 (CPython 3.14.10), traced for 10.0 s
        990 samples, 9900 task visits, 0.2 tasks on average; event loop on a CPU 5.0 % of the time
        Nothing was lost.

        Await points: where tasks waited (1.00 task-seconds)
        TASK-S    SHARE  MEAN TASKS  FUNCTION                       WHERE                         AWAITS
          1.00  100.0 %        0.10  a;b\n\x1b[31mred\x07\u{202e}e  a;b\n\x1b[31mred\x07\u{202e}  a;b\n\x1b[31mred\x07\u{202e}
                                     vil\x9b<&"> 7                  evil\x9b<&"> 7:1              evil\x9b<&"> 7

        Running: where tasks were at work (1.00 task-seconds)
        TASK-S    SHARE  MEAN TASKS  FUNCTION                                  WHERE                                     CALLS
          1.00  100.0 %        0.10  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&">  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&">  -
                                     7                                         7:2

        Await tree: chains of waiting tasks, outermost first
          SHARE     TASK-S
        100.0 %       1.00  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7:1
                               waits for a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7
        "#);
    }
}
