//! Moments of recordings in place of processes that run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Moment, OneArgs, RecordedArgs, SelectionArgs};
use super::config::Error;
use super::diagnostics::tell;
use super::output::with_least;
use super::report;
use crate::findings::{self, Finding};
use crate::privileges;
use crate::recording::{self, At, Ending, Kept};
use crate::session::Options;
use crate::snapshot::Snapshot;
use crate::survey::Survey;
use crate::view::escape::fitted;

/// Columns that a process's name may take, and processes that are named.
const COMMAND_WIDTH: usize = 40;
const MAX_NAMED: usize = 8;

/// What was kept of the processes that are asked for.
pub(super) struct Recorded {
    pub(super) found: Survey<Snapshot>,
    /// One process was named, when it was recorded or now, and no more.
    pub(super) is_single: bool,
    /// Frames of a chain that were read at most.
    pub(super) max_frames: usize,
    /// The processes that it has of that moment, in words.
    there: String,
}

/// The recording has no such process, or several where one is needed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrongProcess {
    #[error("at that moment the recording has no process {pid} that could be looked at: it has {there}")]
    Missing { pid: u32, there: String },
    #[error("say which process is meant: at that moment the recording has {there}")]
    Several { there: String },
}

/// What a recording has of the processes with these ids, or of all where none is named; `None` where no recording was named. Says besides which moment it is of.
pub(super) fn snapshots(
    args: &RecordedArgs,
    pids: &[u32],
    options: &Options,
) -> anyhow::Result<Option<Recorded>> {
    let Some(path) = &args.recording else {
        return match args.at {
            None => Ok(None),
            Some(_) => Err(Error::NoRecording.into()),
        };
    };
    if !options.mine.is_empty() {
        return Err(Error::NotRecorded("--mine", "").into());
    }
    if options.arguments {
        return Err(Error::NotRecorded("--arguments", ", which keeps none").into());
    }
    let kept = read(path, args.at)?;
    let Kept { header, moment, .. } = kept;
    let mut found = moment.found;
    let is_single = header.is_single || pids.len() == 1;
    let there = named(&found.targets);
    if !pids.is_empty() {
        let is_there = |pid: &u32| {
            let mut ids = found.targets.iter().map(|it| it.pid);
            ids.any(|it| it == *pid) || found.refused.each.iter().any(|it| it.pid == *pid)
        };
        if let Some(&pid) = pids.iter().find(|pid| !is_there(pid)) {
            return Err(WrongProcess::Missing { pid, there }.into());
        }
        found.targets.retain(|it| pids.contains(&it.pid));
        found.refused.each.retain(|it| pids.contains(&it.pid));
    }
    found
        .targets
        .iter_mut()
        .for_each(|it| tell_slow_waits(it, options.slow));
    Ok(Some(Recorded {
        found,
        is_single,
        max_frames: header.max_frames,
        there,
    }))
}

/// What a recording has of the one process that a command is about; `None` where no recording was named.
pub(super) fn of_one(one: &OneArgs, options: &Options) -> anyhow::Result<Option<Snapshot>> {
    let Some(recorded) = snapshots(&one.recorded, one.process.as_slice(), options)? else {
        return Ok(None);
    };
    let mut targets = recorded.found.targets;
    if targets.len() > 1 {
        let there = named(&targets);
        return Err(WrongProcess::Several { there }.into());
    }
    let pid = one.process.unwrap_or_default();
    let there = recorded.there;
    let missing = || WrongProcess::Missing { pid, there };
    targets.pop().ok_or_else(missing).map(Some).map_err(Into::into)
}

/// Refuses to choose by what a recording does not tell.
pub(super) fn refuse_rules(args: &RecordedArgs, selection: &SelectionArgs) -> Result<(), Error> {
    let rules = [
        ("--name", !selection.names.is_empty()),
        ("--cgroup", !selection.cgroups.is_empty()),
        ("--all", selection.all),
        ("--subprocesses", selection.subprocesses),
    ];
    match rules.into_iter().find(|(_, is_given)| *is_given) {
        Some((rule, _)) if args.recording.is_some() => {
            Err(Error::NotRecorded(rule, "; here, name processes by their ids"))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path, at: Option<Moment>) -> anyhow::Result<Kept> {
    let shown = path.display();
    let (file, _) = with_least(|| File::open(path)).with_context(|| format!("{shown} cannot be opened"))?;
    privileges::nothing();
    let wanted = at.map(|at| match at {
        Moment::Seconds(seconds) => At::Since((seconds * 1e9) as u64),
        Moment::At(time) => At::Time(time),
    });
    let kept = recording::kept(BufReader::new(file), wanted)
        .with_context(|| format!("{shown} has nothing to show"))?;
    tell(head(&kept, at));
    match &kept.ending {
        Ending::Whole => {}
        Ending::Cut => tell("The recording ends without its last block: of later moments it tells nothing."),
        Ending::Damaged { at, why } => tell(format_args!(
            "The recording is damaged from byte {at} on ({why}): this is what is before it."
        )),
    }
    Ok(kept)
}

/// Says of when a snapshot is, and how far that is from what was asked for.
fn head(kept: &Kept, at: Option<Moment>) -> String {
    let Kept { header, moment, .. } = kept;
    let since = tenths(moment.since);
    let mut text = format!(
        "Snapshot of {:.3}, {since:.1} s after the recording began",
        moment.taken_at
    );
    match at {
        None => text += ": the last one in it.",
        Some(at) => {
            let before = match at {
                Moment::At(time) => time.duration_since(moment.taken_at).as_secs_f64(),
                Moment::Seconds(_) => {
                    Duration::from_nanos(report::since(header, at).saturating_sub(moment.since)).as_secs_f64()
                }
            };
            // Writing into a string cannot fail.
            let _ = write!(text, ", {before:.1} s before the moment that was asked for.");
        }
    }
    text
}

/// Seconds, rounded up: who asks for the moment that is shown gets the same snapshot.
fn tenths(nanoseconds: u64) -> f64 {
    nanoseconds.div_ceil(100_000_000) as f64 / 10.0
}

/// What is slow is said now, and not when it was recorded.
fn tell_slow_waits(snapshot: &mut Snapshot, slow: Duration) {
    let is_slow = |finding: &Finding| matches!(finding, Finding::SlowWait(_));
    let findings = &mut snapshot.findings;
    findings.retain(|finding| !is_slow(finding));
    let found = findings::of_tasks(&snapshot.tasks, slow);
    // What is found of loops that sleep comes after what is found of tasks.
    let is_of_loop = |finding: &Finding| matches!(finding, Finding::NeverWoken(_));
    let place = findings.iter().position(is_of_loop).unwrap_or(findings.len());
    findings.splice(place..place, found.into_iter().filter(is_slow));
}

fn named(targets: &[Snapshot]) -> String {
    if targets.is_empty() {
        return "none".to_owned();
    }
    let first = targets.iter().take(MAX_NAMED);
    let first = first.map(|it| format!("{} ({})", it.pid, fitted(&it.command, COMMAND_WIDTH)));
    let mut text = first.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = targets.len().checked_sub(MAX_NAMED) {
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Mentioned, NeverWoken};
    use crate::memory::Address;
    use crate::recording::Header;
    use crate::resource::{Resource, ResourceKind};
    use crate::survey::Refusals;
    use crate::testing::small_service;

    fn kept(since: u64) -> Kept {
        Kept {
            header: Header {
                started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                ..Header::new(99, 512, true)
            },
            moment: recording::Moment {
                since,
                taken_at: "2026-01-02T03:04:15.250Z".parse().unwrap(),
                found: Survey {
                    targets: Vec::new(),
                    refused: Refusals::default(),
                },
            },
            ending: Ending::Whole,
        }
    }

    #[test]
    fn it_is_said_of_when_a_snapshot_is() {
        let kept = kept(10_050_000_001);
        let later = "2026-01-02T03:05:15Z".parse().unwrap();
        let shown = [None, Some(Moment::Seconds(12.5)), Some(Moment::At(later))].map(|at| head(&kept, at));
        insta::assert_snapshot!(shown.join("\n"), @"
        Snapshot of 2026-01-02T03:04:15.250Z, 10.1 s after the recording began: the last one in it.
        Snapshot of 2026-01-02T03:04:15.250Z, 10.1 s after the recording began, 2.4 s before the moment that was asked for.
        Snapshot of 2026-01-02T03:04:15.250Z, 10.1 s after the recording began, 59.8 s before the moment that was asked for.
        ");
    }

    #[test]
    fn what_is_slow_is_said_when_it_is_shown() {
        let mut service = small_service();
        let on = service.tasks[1].waits_on.as_mut().unwrap();
        on.resource = Some(Box::new(Resource {
            id: Some(Address(0x99)),
            waited_ns: Some(5_000_000_000),
            ..Resource::of_kind(ResourceKind::Gather)
        }));
        service.findings.push(Finding::NeverWoken(NeverWoken {
            tid: 7,
            seconds: 1.0,
            ready: Mentioned::default(),
        }));
        let mut found = |seconds| {
            tell_slow_waits(&mut service, Duration::from_secs(seconds));
            service.findings.iter().map(Finding::id).collect::<Vec<_>>()
        };
        assert_eq!(found(10), ["never-woken"]);
        assert_eq!(found(4), ["slow-wait", "never-woken"]);
        assert_eq!(found(3), ["slow-wait", "never-woken"]);
        assert_eq!(found(10), ["never-woken"]);
    }

    #[test]
    fn the_processes_that_are_there_are_named() {
        let mut many: Vec<Snapshot> = (1..=10)
            .map(|pid| Snapshot {
                pid,
                ..small_service()
            })
            .collect();
        assert!(
            named(&many).ends_with("8 (python3) and 2 more"),
            "{}",
            named(&many)
        );
        many.truncate(1);
        assert_eq!(named(&many), "1 (python3)");
        assert_eq!(named(&[]), "none");
    }
}
