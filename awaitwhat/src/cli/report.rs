//! `report`: a recording, shown as `trace` shows what it sees.

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use anyhow::Context as _;

use super::args::{GlobalArgs, Moment, ReportArgs};
use super::config::{self, Form};
use super::diagnostics::{complain, tell};
use super::exit::Exit;
use super::output::{OutputFile, are_one, with_least};
use super::record::shown_trigger;
use super::trace::{Outcome, Shape, refuse_binary, write};
use crate::privileges;
use crate::recording::{self, Ending, Header, Recording, Trigger, Window};
use crate::session::Trace;
use crate::survey::Survey;

pub(super) fn run(args: ReportArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let max_frames = config::reading(global, &[])?.max_frames;
    let form = Form::new(args.form, max_frames)?;
    refuse_binary(&form)?;
    if let Some(output) = form
        .output
        .as_deref()
        .filter(|output| are_one(output, &args.recording))
    {
        return Err(config::Error::Recording(output.to_owned()).into());
    }
    if is_reversed(args.from, args.to) {
        return Err(config::Error::Reversed.into());
    }
    let file = form.output.as_deref().map(OutputFile::prepare).transpose()?;
    let shown = args.recording.display();
    let (recording, _) =
        with_least(|| File::open(&args.recording)).with_context(|| format!("{shown} cannot be opened"))?;
    privileges::only(
        file.as_ref()
            .map_or(privileges::Set::empty(), OutputFile::reserve),
    );
    let window = |header: &Header| Window {
        from: args.from.map(|from| since(header, from)),
        to: args.to.map(|to| since(header, to)),
    };
    let input = BufReader::new(recording);
    let recording = if form.keeps_timeline() {
        recording::read_with_timelines(input, window)
    } else {
        recording::read(input, window)
    };
    let recording = recording.with_context(|| format!("{shown} cannot be reported"))?;
    let ending = recording.ending.clone();
    recording.triggers.iter().for_each(tell_trigger);
    let shape = Shape::new(recording.header.is_single, &form);
    let host = recording.header.host.clone();
    let result = Outcome::new(trace_of(recording), shape).of_host(host);
    write(&result, &form, file)?;
    complain(result.refused());
    Ok(tell_ending(&ending, result.seconds()))
}

/// Whether nothing can lie between two moments. Of one that is a time and another that is not, the recording decides.
fn is_reversed(from: Option<Moment>, to: Option<Moment>) -> bool {
    match (from, to) {
        (Some(Moment::Seconds(from)), Some(Moment::Seconds(to))) => from >= to,
        (Some(Moment::At(from)), Some(Moment::At(to))) => from >= to,
        (None, Some(Moment::Seconds(to))) => to <= 0.0,
        _ => false,
    }
}

/// The moment in ns since the recording began.
pub(super) fn since(header: &Header, moment: Moment) -> u64 {
    match moment {
        Moment::Seconds(seconds) => (seconds * 1e9) as u64,
        Moment::At(at) => {
            let since = at.as_nanosecond() - header.started_at.as_nanosecond();
            u64::try_from(since.max(0)).unwrap_or(u64::MAX)
        }
    }
}

/// Says why the recording was kept.
fn tell_trigger(trigger: &Trigger) {
    let after = trigger.since as f64 / 1e9;
    tell(format_args!(
        "{} That was {after:.1} s after it began.",
        shown_trigger(trigger)
    ));
}

/// As if it had just been traced.
fn trace_of(recording: Recording) -> Trace {
    Trace {
        survey: Survey {
            targets: recording.profiles,
            refused: recording.refused,
        },
        started_at: recording.started_at,
        duration: Duration::from_nanos(recording.duration_ns),
        written: None,
    }
}

/// Says how far the recording goes, where that is not to its end.
fn tell_ending(ending: &Ending, seconds: f64) -> Exit {
    match ending {
        Ending::Whole => Exit::Ok,
        Ending::Cut => {
            tell(format_args!(
                "The recording ends without its last block: {seconds:.1} s are there."
            ));
            Exit::Ok
        }
        Ending::Damaged { at, why } => {
            tell(format_args!(
                "The recording is damaged from byte {at} on ({why}): the {seconds:.1} s before it are there."
            ));
            Exit::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_between_a_moment_and_an_earlier_one() {
        let at = |text: &str| Moment::At(text.parse().unwrap());
        let (early, late) = (at("2026-01-31T03:04:05Z"), at("2026-01-31T03:04:06Z"));
        for (from, to, expected) in [
            (None, None, false),
            (Some(Moment::Seconds(5.0)), None, false),
            (Some(Moment::Seconds(2.0)), Some(Moment::Seconds(5.0)), false),
            (Some(Moment::Seconds(5.0)), Some(Moment::Seconds(2.0)), true),
            (Some(Moment::Seconds(5.0)), Some(Moment::Seconds(5.0)), true),
            (None, Some(Moment::Seconds(0.0)), true),
            (Some(early), Some(late), false),
            (Some(late), Some(early), true),
            (Some(late), Some(Moment::Seconds(1.0)), false),
        ] {
            assert_eq!(is_reversed(from, to), expected, "{from:?} {to:?}");
        }
    }
}
