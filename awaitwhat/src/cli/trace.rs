//! `trace`: a profile of a period.

use std::future::Future;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anstream::StripStream;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::args::Format;
use super::config::{Target, TraceConfig};
use super::exit::Exit;
use super::output::OutputFile;
use super::program::{Program, SIGTERM};
use super::{machine_stdout, people_stdout, stdout_width};
use crate::export::{flamegraph, folded, profile_json};
use crate::profile::Profile;
use crate::session::{self, Progress, TraceOptions};
use crate::view::summary;

pub(super) async fn run(config: TraceConfig) -> anyhow::Result<Exit> {
    // Found out before the target is touched.
    let file = config.output.as_deref().map(OutputFile::prepare).transpose()?;
    match &config.target {
        Target::Process(pid) => {
            let profile = trace(*pid, &config.options, interrupted()?).await?;
            write(&profile, &config, file)?;
            Ok(if profile.target_exited {
                Exit::TargetExited
            } else {
                Exit::Ok
            })
        }
        Target::Program { program, arguments } => {
            let mut program = Program::start(Command::new(program).args(arguments))?;
            let profile = trace_program(&mut program, &config.options).await;
            let written = profile.and_then(|profile| write(&profile, &config, file));
            // Also when something failed: what was started here does not stay behind.
            let status = program.terminate().await?;
            match status {
                Some(status) if status.success() || status.signal() == Some(SIGTERM) => {}
                Some(status) => eprintln!("The program ended with {status}."),
                None => eprintln!(
                    "Process {} was asked to end, and has not ended yet.",
                    program.pid()
                ),
            }
            written?;
            // That a program ends which was started to be traced is how it should be.
            Ok(Exit::Ok)
        }
    }
}

/// Traces a program that was started here until the time is over, it ends, or the user has seen enough.
async fn trace_program(program: &mut Program, options: &TraceOptions) -> anyhow::Result<Profile> {
    let interrupted = interrupted()?;
    let pid = program.pid();
    let stop = async {
        tokio::select! {
            () = interrupted => {}
            _ = program.ended() => {}
        }
    };
    trace(pid, options, stop).await
}

/// Traces process `pid`, with a progress bar where standard error is a terminal.
///
/// # Errors
/// When the target cannot be read.
pub(super) async fn trace(
    pid: u32,
    options: &TraceOptions,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Profile> {
    let bar = progress_bar(options.duration);
    let profile = session::trace(pid, options, stop, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    Ok(profile?)
}

/// Ready at the first Ctrl-C or SIGTERM; from here on neither ends this process by itself.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
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

fn write(profile: &Profile, config: &TraceConfig, file: Option<OutputFile>) -> anyhow::Result<()> {
    let Some(file) = file else {
        return write_stdout(profile, config.format, config);
    };
    write_file(profile, config, file)?;
    if config.format != Format::Summary {
        write_stdout(profile, Format::Summary, config)?;
    }
    if let Some(path) = &config.output {
        eprintln!("Wrote {}.", path.display());
    }
    Ok(())
}

fn write_file(profile: &Profile, config: &TraceConfig, mut file: OutputFile) -> anyhow::Result<()> {
    if is_for_people(config.format) {
        let mut plain = StripStream::new(Vec::new());
        render(profile, config.format, config, None, &mut plain)?;
        file.write_all(&plain.into_inner())?;
    } else {
        let mut buffered = BufWriter::new(&mut file);
        render(profile, config.format, config, None, &mut buffered)?;
        buffered.flush()?;
    }
    file.commit().context("the result could not be put in its place")
}

fn write_stdout(profile: &Profile, format: Format, config: &TraceConfig) -> anyhow::Result<()> {
    if is_for_people(format) {
        let mut stdout = people_stdout();
        render(profile, format, config, stdout_width(), &mut stdout)?;
        stdout.flush()?;
    } else {
        let mut stdout = machine_stdout();
        render(profile, format, config, None, &mut stdout)?;
        stdout.flush()?;
    }
    Ok(())
}

fn is_for_people(format: Format) -> bool {
    matches!(format, Format::Summary | Format::Tree)
}

fn render(
    profile: &Profile,
    format: Format,
    config: &TraceConfig,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let max_frames = config.options.reading.max_frames;
    match format {
        Format::Summary => summary::write(profile, max_frames, width, output),
        Format::Tree => summary::write_tree(profile, max_frames, output),
        Format::Folded => folded::write(profile, output),
        Format::Flamegraph => flamegraph::write(profile, output),
        Format::Json => profile_json::write(profile, output),
    }
}
