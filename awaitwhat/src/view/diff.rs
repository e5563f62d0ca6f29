//! Two profiles side by side, in tables: what has changed most comes first.

use std::io::{self, Write};

use super::escape::{Escaped, fitted};
use super::losses::{Counted, describe};
use super::style::{FAINT, HEADING, WARNING, styled};
use super::table;
use super::tree::location;
use crate::profile::{Amount, Chain, ChainState, Change, Diff, PlaceChange, Point, Profile, ratio};

/// Rows of a table; the others are summed up.
const MAX_ROWS: usize = 20;
/// Columns that a function's name, or that of what is waited for, may take.
const NAME_WIDTH: usize = 50;
/// Frames of a chain that are named: the outermost ones.
const MAX_FRAMES: usize = 4;

/// What the columns mean that say how sure a change is.
const NOTES: [&str; 2] = [
    "SURE: `yes` where the change is more than +-, which is what chance of sampling may make of it, at most, in 19 of 20 cases.",
    "How much the load itself varies from one period to the next, two files cannot tell.",
];

/// Writes how the await points have changed; tables are `width` columns wide at most.
///
/// # Errors
/// When `output` fails.
pub fn write_points(diff: &Diff, width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    begin(diff, width, output)?;
    let heading = "Await points: how many tasks waited there on average";
    let rows = diff.points();
    let place = |what: &PlaceChange| {
        let point = &what.point;
        let place = location(point.origin.shown(&point.file), point.line);
        let before = what.line_before.map(|line| format!(" (was {line})"));
        vec![
            fitted(&point.function, NAME_WIDTH),
            place + &before.unwrap_or_default(),
            awaited(point),
        ]
    };
    write_changes(
        heading,
        &["FUNCTION", "WHERE", "AWAITS"],
        &rows,
        place,
        width,
        output,
    )
}

/// Writes how the chains have changed.
///
/// # Errors
/// When `output` fails.
pub fn write_chains(diff: &Diff, width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    begin(diff, width, output)?;
    let heading = "Chains: how many tasks were in each on average";
    let rows = diff.chains();
    let chain = |chain: &Chain| vec![state(chain.state).to_owned(), route(chain), end(chain)];
    write_changes(
        heading,
        &["STATE", "CHAIN", "ENDS IN"],
        &rows,
        chain,
        width,
        output,
    )
}

/// What was compared, how well each was seen, and the sums.
fn begin(diff: &Diff, width: Option<usize>, output: &mut impl Write) -> io::Result<()> {
    for (word, profile) in [("before", &diff.before), ("after", &diff.after)] {
        write_side(word, profile, output)?;
    }
    writeln!(output, "\n{}", styled(HEADING, "Tasks on average"))?;
    let heads = ["BEFORE", "AFTER", "CHANGE", ""];
    let mean = |profile: &Profile, state| ratio(profile.task_seconds(state), profile.duration_seconds);
    let states = [ChainState::Waiting, ChainState::Ready, ChainState::Running];
    let mut rows: Vec<Vec<String>> = states
        .into_iter()
        .map(|state| {
            let (before, after) = (mean(&diff.before, state), mean(&diff.after, state));
            let numbers = [
                format!("{before:.2}"),
                format!("{after:.2}"),
                signed(after - before),
            ];
            numbers
                .into_iter()
                .chain([self::state(state).to_owned()])
                .collect()
        })
        .collect();
    let busy = |profile: &Profile| 100.0 * profile.busy_share();
    rows.push(vec![
        format!("{:.1} %", busy(&diff.before)),
        format!("{:.1} %", busy(&diff.after)),
        format!("{:+.1}", busy(&diff.after) - busy(&diff.before)),
        "of the time on a CPU, for each thread with an event loop".to_owned(),
    ]);
    table::write_rows(&heads, &[0, 1, 2], &[0, 1, 2], rows.into_iter(), width, output)
}

fn write_side(word: &str, profile: &Profile, output: &mut impl Write) -> io::Result<()> {
    let who = match profile.processes.as_slice() {
        [process] => format!(
            "process {} ({}, CPython {})",
            process.pid,
            Escaped(&process.command),
            Escaped(&process.python)
        ),
        several => format!("{} processes together", several.len()),
    };
    let heading = format!(
        "{word}: {who}, traced for {:.1} s from {} on",
        profile.duration_seconds,
        profile.started_at.strftime("%F %T UTC")
    );
    writeln!(output, "{}", styled(HEADING, heading))?;
    writeln!(
        output,
        "{} samples, {} task visits",
        profile.samples, profile.task_visits
    )?;
    // How deep chains were followed is not in the file.
    let lost = describe(
        &profile.losses,
        Counted::Visits,
        profile.task_visits,
        awaitwhat_common::limits::MAX_FRAMES,
    );
    for loss in lost {
        writeln!(output, "{}", styled(WARNING, format_args!("Not shown: {loss}")))?;
    }
    Ok(())
}

fn write_changes<T>(
    heading: &str,
    named: &[&str],
    changes: &[Change<T>],
    names: impl Fn(&T) -> Vec<String>,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    writeln!(output, "\n{}", styled(HEADING, heading))?;
    if changes.is_empty() {
        return writeln!(output, "There is none in either profile.");
    }
    let mut heads = vec![
        "BEFORE",
        "AFTER",
        "CHANGE",
        "+-",
        "SHARE BEFORE",
        "SHARE AFTER",
        "SURE",
    ];
    let numbers: Vec<usize> = (0..6).collect();
    heads.extend(named);
    let shown = changes.iter().take(MAX_ROWS).map(|change| {
        let mut row = amounts(change.before, change.after);
        row.insert(3, format!("{:.2}", change.margin));
        row.push(sure(change).to_owned());
        row.extend(names(&change.what));
        row
    });
    let others = changes
        .get(MAX_ROWS..)
        .filter(|others| !others.is_empty())
        .map(|others| {
            let mut row = amounts(sum(others, |it| it.before), sum(others, |it| it.after));
            row.insert(3, String::new());
            row.extend([String::new(), format!("({} more)", others.len())]);
            row.extend((1..named.len()).map(|_| String::new()));
            row
        });
    table::write_rows(&heads, &numbers, &numbers, shown.chain(others), width, output)?;
    for note in NOTES {
        writeln!(output, "{}", styled(FAINT, note))?;
    }
    Ok(())
}

fn amounts(before: Amount, after: Amount) -> Vec<String> {
    vec![
        format!("{:.2}", before.mean_tasks),
        format!("{:.2}", after.mean_tasks),
        signed(after.mean_tasks - before.mean_tasks),
        format!("{:.1} %", 100.0 * before.share),
        format!("{:.1} %", 100.0 * after.share),
    ]
}

fn sure<T>(change: &Change<T>) -> &'static str {
    if change.is_beyond_chance() { "yes" } else { "no" }
}

fn sum<T>(changes: &[Change<T>], of: impl Fn(&Change<T>) -> Amount) -> Amount {
    changes.iter().fold(Amount::default(), |sum, change| {
        let amount = of(change);
        Amount {
            task_seconds: sum.task_seconds + amount.task_seconds,
            mean_tasks: sum.mean_tasks + amount.mean_tasks,
            share: sum.share + amount.share,
            answers: sum.answers + amount.answers,
        }
    })
}

fn signed(change: f64) -> String {
    // What rounds to nothing has no sign.
    if change.abs() < 0.005 {
        "0.00".to_owned()
    } else {
        format!("{change:+.2}")
    }
}

fn state(state: ChainState) -> &'static str {
    match state {
        ChainState::Waiting => "waiting",
        ChainState::Ready => "ready",
        ChainState::Running => "running",
    }
}

/// What is awaited at a point: by its name where that is known, or else the function that is called.
fn awaited(point: &Point) -> String {
    let known = point.resources.first().map(|(resource, _)| resource.called());
    fitted(known.as_deref().unwrap_or(&point.awaits), NAME_WIDTH)
}

/// The functions of a chain, outermost first.
fn route(chain: &Chain) -> String {
    let frames = chain.stack.iter().rev();
    let named: Vec<String> = frames
        .take(MAX_FRAMES)
        .map(|frame| {
            let place = location(frame.shown_file(), frame.line);
            format!("{} {place}", fitted(&frame.function, NAME_WIDTH))
        })
        .collect();
    let more = chain.stack.len().saturating_sub(MAX_FRAMES);
    let more = (more > 0).then(|| format!(" > {more} more"));
    named.join(" > ") + &more.unwrap_or_default()
}

/// What a chain ends in.
fn end(chain: &Chain) -> String {
    let known = chain.resource.as_ref().map(|resource| resource.called());
    let end = known.as_deref().or(chain.terminal.as_deref());
    end.map_or_else(|| "-".to_owned(), |end| fitted(end, NAME_WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKind;
    use crate::snapshot::Losses;
    use crate::testing::{HOSTILE, chain, frame, named, profile, running, small_profile};

    fn drawn(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut output = Vec::new();
        write(&mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    /// A later profile: more waits for the lock, which has a name by now, and lines have moved.
    fn later() -> Profile {
        let mut later = small_profile();
        later.chains.remove(1);
        later
            .chains
            .push(chain(&[frame("rare", "/srv/app.py", 199)], Some("Future"), 0.5));
        later.chains.retain(|it| it.task_seconds != 0.25);
        let acquire = frame("Lock.acquire", "/usr/lib/python3.14/asyncio/locks.py", 113);
        let at = chain(
            &[acquire, frame("Pool.worker", "/srv/app.py", 22)],
            Some("Future"),
            70.0,
        );
        later.chains.push(named(ResourceKind::Lock, "self.lock", at));
        later.losses = Losses {
            torn: 2,
            ..Losses::default()
        };
        later
    }

    #[test]
    fn await_points() {
        let diff = Diff::new(small_profile(), later());
        insta::assert_snapshot!(drawn(|output| write_points(&diff, None, output)), @"
        before: process 4711 (python3, CPython 3.14.10), traced for 10.0 s from 2026-01-02 03:04:05 UTC on
        990 samples, 9900 task visits
        after: process 4711 (python3, CPython 3.14.10), traced for 10.0 s from 2026-01-02 03:04:05 UTC on
        990 samples, 9900 task visits
        Not shown: 2 of 9902 task visits left out (changed while it was read)

        Tasks on average
        BEFORE  AFTER  CHANGE
          9.93  14.05   +4.12  waiting
          0.00   0.00    0.00  ready
          0.05   0.05    0.00  running
         5.0 %  5.0 %    +0.0  of the time on a CPU, for each thread with an event loop

        Await points: how many tasks waited there on average
        BEFORE  AFTER  CHANGE    +-  SHARE BEFORE  SHARE AFTER  SURE  FUNCTION     WHERE                     AWAITS
          2.90   7.00   +4.10  0.23        29.2 %       49.8 %  yes   Pool.worker  /srv/app.py:22            lock self.lock
          0.03   0.05   +0.03  0.02         0.3 %        0.4 %  yes   rare         /srv/app.py:199 (was 99)  Future
          6.00   6.00    0.00  0.24        60.5 %       42.7 %  no    Pool.worker  /srv/app.py:20            sleep
          1.00   1.00    0.00  0.10        10.1 %        7.1 %  no    main         /srv/app.py:61            _GatheringFuture
        SURE: `yes` where the change is more than +-, which is what chance of sampling may make of it, at most, in 19 of 20 cases.
        How much the load itself varies from one period to the next, two files cannot tell.
        ");
    }

    #[test]
    fn chains() {
        let diff = Diff::new(small_profile(), later());
        let text = drawn(|output| write_chains(&diff, None, output));
        insta::assert_snapshot!(text.split("\n\n").nth(2).unwrap(), @"
        Chains: how many tasks were in each on average
        BEFORE  AFTER  CHANGE    +-  SHARE BEFORE  SHARE AFTER  SURE  STATE    CHAIN                                                           ENDS IN
          0.00   7.00   +7.00  0.20         0.0 %       49.8 %  yes   waiting  Pool.worker /srv/app.py:22 > Lock.acquire asyncio/locks.py:113  lock self.lock
          2.90   0.00   -2.90  0.11        29.2 %        0.0 %  yes   waiting  Pool.worker /srv/app.py:22 > Lock.acquire asyncio/locks.py:113  Future
          0.03   0.05   +0.03  0.02         0.3 %        0.4 %  yes   waiting  rare /srv/app.py:199                                            Future
          6.00   6.00    0.00  0.24        60.5 %       42.7 %  no    waiting  Pool.worker /srv/app.py:20 > sleep asyncio/tasks.py:704         Future
          1.00   1.00    0.00  0.10        10.1 %        7.1 %  no    waiting  main /srv/app.py:61                                             _GatheringFuture
          0.05   0.05    0.00  0.02       100.0 %      100.0 %  no    running  Pool.worker /srv/app.py:25 > crunch /srv/app.py:7               -
        SURE: `yes` where the change is more than +-, which is what chance of sampling may make of it, at most, in 19 of 20 cases.
        How much the load itself varies from one period to the next, two files cannot tell.
        ");
    }

    #[test]
    fn many_rows_are_summed_up() {
        let of = |seconds: f64| {
            let chain = |line| chain(&[frame("f", "/srv/app.py", line)], Some("Future"), seconds);
            profile((1..=25).map(chain).collect())
        };
        let diff = Diff::new(of(1.0), of(2.0));
        let text = drawn(|output| write_points(&diff, None, output));
        assert!(text.contains("0.50   1.00   +0.50"), "{text}");
        assert!(text.contains("(5 more)"), "{text}");
    }

    #[test]
    fn hostile_names_reach_no_terminal() {
        let mut hostile = profile(vec![
            named(
                ResourceKind::Queue,
                HOSTILE,
                chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0),
            ),
            running(&[frame(HOSTILE, HOSTILE, 1)], 1.0),
        ]);
        hostile.processes[0].command = HOSTILE.to_owned();
        hostile.processes[0].python = HOSTILE.to_owned();
        let diff = Diff::new(small_profile(), hostile);
        for text in [
            drawn(|output| write_points(&diff, Some(80), output)),
            drawn(|output| write_chains(&diff, Some(80), output)),
        ] {
            let is_safe = |character| character == '\n' || super::super::escape::is_safe(character);
            assert!(text.chars().all(is_safe), "{text}");
        }
    }

    #[test]
    fn of_nothing_nothing_is_told() {
        let nothing = || profile(Vec::new());
        let diff = Diff::new(nothing(), nothing());
        for text in [
            drawn(|output| write_points(&diff, None, output)),
            drawn(|output| write_chains(&diff, None, output)),
        ] {
            assert!(text.contains("There is none in either profile."), "{text}");
        }
    }
}
