//! `trace`: a profile of a period.

use std::future::Future;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anstream::StripStream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::SIGUSR1;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::args::{By, Format};
use super::config::{self, Form, Target, TraceConfig};
use super::diagnostics::{complain, tell};
use super::exit::Exit;
use super::output::{NotWritten, OutputFile};
use super::program::{Ending, PATIENCE, Program, SIGTERM};
use super::record::{self, ToRecord};
use super::signals::Signals;
use super::{family, machine_stdout, people_stdout, stdout_width};
use crate::export::{
    chrome, firefox, flamegraph, folded, html, otlp, parquet, pprof, profile_json, speedscope, survey_json,
};
use crate::privileges::{self, Set};
use crate::profile::{MAX_CHANGES, Profile};
use crate::recording::{Written, own_host};
use crate::selection::Selection;
use crate::session::{self, Interim, Progress, Trace, TraceOptions};
use crate::survey::{Refusals, Survey};
use crate::view::{summary, survey};

/// Traces, and records what it sees where there is something to record to.
pub(super) async fn run(config: TraceConfig, to_record: Option<ToRecord>) -> anyhow::Result<Exit> {
    // Found out before the target is touched.
    refuse_binary(&config.form)?;
    let file = config
        .form
        .output
        .as_deref()
        .map(OutputFile::prepare)
        .transpose()?;
    let reserve = file.as_ref().map_or(Set::empty(), OutputFile::reserve);
    let mut signals = Signals::catch()?;
    // From here on this signal asks for what there is so far.
    let is_asked_for = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGUSR1, Arc::clone(&is_asked_for))?;
    match &config.target {
        Target::Processes(selection) => {
            privileges::only_read(reserve);
            let shape = Shape::of(selection, &config.form);
            let (place, recording) = record::parted(to_record, &config, selection);
            let show = ShowSoFar::of(&config, shape, is_asked_for);
            let traced = trace(
                selection,
                &config.options,
                (recording, place.as_deref()),
                Some(show),
                signals.received(),
            )
            .await;
            privileges::only(reserve);
            let trace = traced?;
            signals.release();
            let written = trace.written.clone();
            let result = Outcome::new(trace, shape);
            write_all(&result, &config.form, file, place.zip(written))?;
            complain(&result.refused);
            Ok(result.exit())
        }
        Target::Program {
            program,
            arguments,
            subprocesses,
        } => {
            // With all that this process was given: its user may start it from where only that lets him look.
            let mut program = Program::start(Command::new(program).args(arguments))?;
            privileges::only_read(reserve | Set::KILL);
            let selection = Selection {
                subprocesses: *subprocesses,
                ..Selection::of(program.pid())
            };
            let shape = Shape::of(&selection, &config.form);
            let (place, recording) = record::parted(to_record, &config, &selection);
            let show = ShowSoFar::of(&config, shape, is_asked_for);
            let stop = async {
                tokio::select! {
                    _ = signals.received() => {}
                    _ = program.ended() => {}
                }
            };
            let traced = trace(
                &selection,
                &config.options,
                (recording, place.as_deref()),
                Some(show),
                stop,
            )
            .await;
            // Before anything is written, which takes as long as its reader likes, and also when something failed.
            let ending = program.terminate(&mut signals).await;
            privileges::only(reserve);
            signals.release();
            let written = traced.and_then(|trace| {
                let written = trace.written.clone();
                let result = Outcome::new(trace, shape);
                write_all(&result, &config.form, file, place.zip(written)).map(|()| complain(&result.refused))
            });
            tell_ending(program.pid(), ending?);
            written?;
            // That a program ends which was started to be traced is how it should be.
            Ok(Exit::Ok)
        }
    }
}

/// Nobody can read on a terminal what is no text.
pub(super) fn refuse_binary(form: &Form) -> Result<(), config::Error> {
    if matches!(
        form.format,
        Format::Pprof | Format::Firefox | Format::Otlp | Format::Parquet
    ) && form.output.is_none()
        && io::stdout().is_terminal()
    {
        return Err(config::Error::Binary);
    }
    Ok(())
}

/// Says how the program ended that was started, where that is news.
fn tell_ending(pid: u32, ending: Ending) {
    match ending {
        Ending::Ended(status) if status.success() || status.signal() == Some(SIGTERM) => {}
        Ending::Ended(status) => tell(format_args!("The program ended with {status}.")),
        Ending::StillThere => tell(format_args!(
            "Process {pid} was asked to end (SIGTERM), and has not done so within {} s; `kill -9 {pid}` ends it at once.",
            PATIENCE.as_secs()
        )),
        Ending::NotPermitted => tell(format_args!(
            "Process {pid} goes on: it has become another user's, and awaitwhat may not end it; `sudo kill {pid}` does."
        )),
    }
}

/// In which form a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One process was named.
    Single,
    Each,
    Merged,
}

impl Shape {
    fn of(selection: &Selection, form: &Form) -> Self {
        Self::new(selection.single().is_some(), form)
    }

    pub(super) fn new(is_single: bool, form: &Form) -> Self {
        match is_single {
            true => Self::Single,
            false if form.merge => Self::Merged,
            false => Self::Each,
        }
    }
}

/// What a trace has found, in the form that it is written in.
pub(super) struct Outcome {
    shape: Shape,
    profiles: Vec<Profile>,
    /// All of them as one; the one where there is but one.
    whole: Profile,
    refused: Refusals,
    /// The machine that was looked at, by its name.
    host: String,
}

impl Outcome {
    pub(super) fn new(trace: Trace, shape: Shape) -> Self {
        let Survey { targets, refused } = trace.survey;
        let whole = match targets.as_slice() {
            [single] if shape == Shape::Single => single.clone(),
            profiles => Profile::merged(profiles, trace.started_at, trace.duration.as_secs_f64()),
        };
        Self {
            shape,
            profiles: targets,
            whole,
            refused,
            host: own_host(),
        }
    }

    /// It comes from another machine, or may.
    pub(super) fn of_host(self, host: String) -> Self {
        Self { host, ..self }
    }

    /// Who is not shown.
    pub(super) fn refused(&self) -> &Refusals {
        &self.refused
    }

    /// How long it took, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.whole.duration_seconds
    }

    /// Says how many changes a timeline had no room for.
    fn tell_left_out(&self) {
        let timelines = self.profiles.iter().filter_map(|it| it.timeline.as_ref());
        let cuts = timelines.filter_map(|it| it.cut.map(|cut| (cut, it.began)));
        let left_out: u64 = cuts.clone().map(|(cut, _)| cut.left_out).sum();
        let first = cuts.map(|(cut, began)| cut.at.saturating_sub(began)).min();
        if let Some(first) = first {
            tell(format_args!(
                "A timeline has room for {MAX_CHANGES} changes: {left_out} that came after {:.1} s are not in it. Trace for a shorter time, or \
                 record, and report parts (--from, --to).",
                first as f64 / 1e9
            ));
        }
    }

    fn exit(&self) -> Exit {
        if !self.refused.is_empty() {
            Exit::SomeTargets
        } else if self.whole.target_exited {
            Exit::TargetExited
        } else {
            Exit::Ok
        }
    }
}

/// How it is shown what there is so far.
pub(super) struct ShowSoFar<'a> {
    interim: Interim,
    shape: Shape,
    form: &'a Form,
}

impl<'a> ShowSoFar<'a> {
    fn of(config: &'a TraceConfig, shape: Shape, is_asked_for: Arc<AtomicBool>) -> Self {
        Self {
            interim: Interim {
                every: config.interval,
                is_asked_for,
            },
            shape,
            form: &config.form,
        }
    }

    /// Shows people what there is so far: on standard error where standard output is for machines.
    fn show(&self, so_far: Trace) -> anyhow::Result<()> {
        let result = Outcome::new(so_far, self.shape);
        let is_for_machines = self.form.output.is_none() && !is_for_people(self.form.format);
        if is_for_machines {
            let mut stderr = anstream::stderr().lock();
            render(&result, Format::Summary, self.form, None, &mut stderr)?;
            writeln!(stderr)?;
        } else {
            let mut stdout = people_stdout();
            render(&result, Format::Summary, self.form, stdout_width(), &mut stdout)?;
            writeln!(stdout)?;
            stdout.flush()?;
        }
        Ok(())
    }
}

/// Traces the processes of `selection`, and records at a place what is to be recorded, with a progress bar where standard error is a terminal.
///
/// # Errors
/// When none of them can be read.
pub(super) async fn trace(
    selection: &Selection,
    options: &TraceOptions,
    (mut to_record, place): (Option<session::ToRecord>, Option<&Path>),
    show_so_far: Option<ShowSoFar<'_>>,
    stop: impl Future,
) -> anyhow::Result<Trace> {
    let bar = progress_bar(options.duration);
    record::tell_news_beside(&mut to_record, place, &bar);
    let (shown, cleared) = (bar.clone(), bar.clone());
    let (wanted, reading) = (selection.clone(), options.reading.clone());
    let afterwards = move |trace: &Result<Trace, session::Error>| {
        cleared.finish_and_clear();
        family::hint(without_tasks(trace, &wanted), &wanted, &reading);
    };
    let progress = move |progress| show(&shown, progress);
    // Whoever reads slowly gets fewer of them.
    let (sender, mut received) = mpsc::channel(1);
    let so_far = move |so_far| drop(sender.try_send(so_far));
    let interim = show_so_far
        .as_ref()
        .map(|it| it.interim.clone())
        .unwrap_or_default();
    let told = (interim, so_far);
    let mut traced = pin!(session::trace(
        selection, options, to_record, stop, progress, told, afterwards
    ));
    let show = |so_far| {
        let shown = show_so_far.as_ref();
        shown.map_or(Ok(()), |it| bar.suspend(|| it.show(so_far)))
    };
    let trace = loop {
        tokio::select! {
            trace = &mut traced => break trace,
            Some(so_far) = received.recv() => show(so_far)?,
        }
    };
    if let Ok(so_far) = received.try_recv() {
        show(so_far)?;
    }
    // Also where it could not begin.
    bar.finish_and_clear();
    Ok(trace?)
}

/// The processes without tasks, as far as they were named.
fn without_tasks(trace: &Result<Trace, session::Error>, selection: &Selection) -> Vec<u32> {
    match trace {
        Ok(trace) => trace
            .survey
            .targets
            .iter()
            .filter(|profile| profile.chains.is_empty())
            .flat_map(|profile| profile.processes.iter().map(|process| process.pid))
            .collect(),
        Err(_) => selection.single().into_iter().collect(),
    }
}

fn progress_bar(duration: Option<Duration>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let length = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let template = match length {
        Some(_) => "tracing {bar:30} {elapsed} {msg}",
        None => "tracing {spinner} {elapsed} {msg}",
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // The templates are constants; a wrong one costs the looks of the bar only.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(u64::try_from(progress.elapsed.as_millis()).unwrap_or(u64::MAX));
    bar.set_message(format!("{} samples, {} tasks", progress.samples, progress.tasks));
}

/// Writes the result; of a recording, which is written, only what was asked for besides.
fn write_all(
    result: &Outcome,
    form: &Form,
    file: Option<OutputFile>,
    recorded: Option<(PathBuf, Written)>,
) -> anyhow::Result<()> {
    let Some((place, written)) = recorded else {
        return write(result, form, file);
    };
    if let (Some(file), Some(path)) = (file, &form.output) {
        write_file(result, form, file).map_err(|source| NotWritten {
            place: path.display().to_string(),
            source,
        })?;
        tell(format_args!("Wrote {}.", path.display()));
        result.tell_left_out();
    }
    let told = record::tell_written(&place, &written, result.whole.duration_seconds);
    if told.is_err() {
        // What cannot be put where it was asked for is not lost altogether.
        write_stdout(result, Format::Summary, form)?;
    }
    told
}

pub(super) fn write(result: &Outcome, form: &Form, file: Option<OutputFile>) -> anyhow::Result<()> {
    let (Some(file), Some(path)) = (file, &form.output) else {
        write_stdout(result, form.format, form)?;
        result.tell_left_out();
        return Ok(());
    };
    let written = write_file(result, form, file);
    // What cannot be put where it was asked for is not lost altogether.
    let shown = if form.format != Format::Summary || written.is_err() {
        write_stdout(result, Format::Summary, form)
    } else {
        Ok(())
    };
    written.map_err(|source| NotWritten {
        place: path.display().to_string(),
        source,
    })?;
    tell(format_args!("Wrote {}.", path.display()));
    result.tell_left_out();
    shown
}

fn write_file(result: &Outcome, form: &Form, mut file: OutputFile) -> io::Result<()> {
    if is_for_people(form.format) {
        let mut plain = StripStream::new(Vec::new());
        render(result, form.format, form, None, &mut plain)?;
        file.write_all(&plain.into_inner())?;
    } else {
        let mut buffered = BufWriter::new(&mut file);
        render(result, form.format, form, None, &mut buffered)?;
        buffered.flush()?;
    }
    file.commit()
}

fn write_stdout(result: &Outcome, format: Format, form: &Form) -> anyhow::Result<()> {
    if is_for_people(format) {
        let mut stdout = people_stdout();
        render(result, format, form, stdout_width(), &mut stdout)?;
        stdout.flush()?;
    } else {
        let mut stdout = machine_stdout();
        render(result, format, form, None, &mut stdout)?;
        stdout.flush()?;
    }
    Ok(())
}

fn is_for_people(format: Format) -> bool {
    matches!(format, Format::Summary | Format::Tree)
}

fn render(
    result: &Outcome,
    format: Format,
    form: &Form,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let Outcome {
        shape,
        profiles,
        whole,
        refused,
        host,
    } = result;
    let max_frames = form.max_frames;
    let parts = match shape {
        Shape::Each => profiles.as_slice(),
        Shape::Single | Shape::Merged => std::slice::from_ref(whole),
    };
    match (format, shape) {
        (Format::Summary | Format::Tree, Shape::Each) => {
            survey::write_profiles(profiles, refused, width, output)?;
            profiles.iter().try_for_each(|profile| {
                writeln!(output)?;
                show_profile(profile, format, form, width, output)
            })
        }
        (Format::Summary | Format::Tree, Shape::Single) => show_profile(whole, format, form, width, output),
        (Format::Summary | Format::Tree, Shape::Merged) => {
            survey::write_profiles(profiles, refused, width, output)?;
            writeln!(output)?;
            show_profile(whole, format, form, width, output)
        }
        (Format::Folded, Shape::Each) => folded::write_each(profiles, output),
        (Format::Folded, _) => folded::write(whole, output),
        (Format::Flamegraph, Shape::Each) => flamegraph::write_each(profiles, whole, form.root, output),
        (Format::Flamegraph, _) => flamegraph::write(whole, form.root, output),
        (Format::Pprof, Shape::Each) => pprof::write_each(profiles, whole, max_frames, output),
        (Format::Pprof, _) => pprof::write(whole, max_frames, output),
        (Format::Speedscope, Shape::Each) => speedscope::write_each(profiles, whole, max_frames, output),
        (Format::Speedscope, _) => speedscope::write(whole, max_frames, output),
        (Format::Html, _) => {
            let report = html::Report {
                whole,
                parts,
                refused,
                max_frames,
                root: form.root,
            };
            html::write(&report, output)
        }
        (Format::Chrome, _) => chrome::write(profiles, max_frames, output),
        (Format::Firefox, _) => firefox::write(profiles, max_frames, output),
        (Format::Otlp, _) => otlp::write(parts, host, max_frames, output),
        (Format::Parquet, _) => parquet::write(parts, host, max_frames, output),
        (Format::Json, Shape::Single) => profile_json::write(whole, output),
        (Format::Json, Shape::Each) => survey_json::write_profiles(profiles, refused, output),
        (Format::Json, Shape::Merged) => survey_json::write_merged(whole, refused, output),
    }
}

/// Shows one profile to people.
fn show_profile(
    profile: &Profile,
    format: Format,
    form: &Form,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let max_frames = form.max_frames;
    match (format, form.by) {
        (Format::Tree, _) => summary::write_tree(profile, max_frames, output),
        (_, By::AwaitPoint) => summary::write(profile, max_frames, width, output),
        (_, By::Resource) => summary::write_by_resource(profile, max_frames, width, output),
    }
}
