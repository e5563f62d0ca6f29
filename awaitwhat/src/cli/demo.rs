//! `demo`: a small asyncio program, and everything there is to see of it.

use std::ffi::OsStr;
use std::future::pending;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::args::{DemoArgs, GlobalArgs};
use super::exit::Exit;
use super::output::{NewFile, NotWritten};
use super::program::{NotStarted, Program};
use super::signals::{Interrupted, Signals};
use super::{config, people_stdout, stdout_width, trace};
use crate::export::flamegraph;
use crate::layout::{KNOWN, KNOWN_MINORS};
use crate::privileges::{self, Set};
use crate::profile::Profile;
use crate::selection::Selection;
use crate::session::{self, Options, TraceOptions};
use crate::snapshot::Snapshot;
use crate::view::style::{HEADING, styled};
use crate::view::{summary, tree};

const PROGRAM: &str = include_str!("demo.py");
/// What the program prints once all its tasks are at work.
const READY: &str = "ready";
/// What its file is called, and how that ends.
const FLAME_GRAPH: (&str, &str) = ("awaitwhat-demo", "svg");
const DURATION: Duration = Duration::from_secs(3);
/// How long the program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(args: &DemoArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let reading = config::reading(global, &[])?;
    let file = flame_graph_file()?;
    let reserve = file.reserve();
    let mut signals = Signals::catch()?;
    let (snapshot, profile) = tokio::select! {
        seen = see(&args.python, reading.clone(), reserve) => seen?,
        // Without what was to be shown; the program ends with what was dropped here.
        signal = signals.received() => return Err(Interrupted(signal).into()),
    };
    privileges::only(reserve);
    signals.release();
    let written = write_flame_graph(&profile, file);
    show(&snapshot, &profile, reading.max_frames)?;
    let path = written?;
    let mut stdout = people_stdout();
    writeln!(
        stdout,
        "\nThe same as a flame graph, for a browser: {}",
        path.display()
    )?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// Starts the program, looks at it, and ends it.
async fn see(python: &OsStr, reading: Options, reserve: Set) -> anyhow::Result<(Snapshot, Profile)> {
    check_python(python).await?;
    let program = start(python).await?;
    privileges::only_read(reserve);
    look(program.pid(), reading).await
}

async fn look(pid: u32, reading: Options) -> anyhow::Result<(Snapshot, Profile)> {
    let selection = Selection::of(pid);
    let snapshot = session::snapshots(&selection, &reading).await?;
    let snapshot = snapshot.targets.into_iter().next();
    let options = TraceOptions {
        reading,
        rate_hz: 99,
        duration: Some(DURATION),
        just_started: false,
        keeps_timeline: false,
    };
    let trace = trace::trace(&selection, &options, (None, None), None, pending::<()>()).await?;
    let profile = trace.survey.targets.into_iter().next();
    snapshot.zip(profile).context("the demo program is gone")
}

fn show(snapshot: &Snapshot, profile: &Profile, max_frames: usize) -> std::io::Result<()> {
    let mut stdout = people_stdout();
    writeln!(
        stdout,
        "{}\n",
        styled(HEADING, "One moment of it (awaitwhat tree PID):")
    )?;
    tree::write(snapshot, max_frames, &mut stdout)?;
    writeln!(
        stdout,
        "\n{}\n",
        styled(HEADING, "A few seconds of it (awaitwhat trace --pid PID):")
    )?;
    summary::write(profile, max_frames, stdout_width(), &mut stdout)?;
    stdout.flush()
}

/// In the current folder, or in the one for temporary files where that one must not be written to.
fn flame_graph_file() -> anyhow::Result<NewFile> {
    NewFile::prepare(PathBuf::new()).or_else(|_| NewFile::prepare(std::env::temp_dir()))
}

/// Returns where it was written to.
fn write_flame_graph(profile: &Profile, mut file: NewFile) -> anyhow::Result<PathBuf> {
    let (stem, ending) = FLAME_GRAPH;
    let mut buffered = BufWriter::new(&mut file);
    let written = flamegraph::write(profile, flamegraph::Root::Outermost, &mut buffered)
        .and_then(|()| buffered.flush());
    drop(buffered);
    written.map_err(|source| NotWritten {
        place: "the flame graph".to_owned(),
        source,
    })?;
    file.commit(stem, ending)
}

/// Makes sure that `python` is one that the demo works with.
async fn check_python(python: &OsStr) -> anyhow::Result<()> {
    let name = python.to_string_lossy();
    let question = "import sys; print(sys.implementation.name, *sys.version_info[:2])";
    let output = Command::new(python)
        .args(["-c", question])
        .stdin(Stdio::null())
        .output()
        .await;
    let output = output
        .map_err(|source| NotStarted {
            program: name.clone().into_owned(),
            source,
        })
        .with_context(|| format!("the demo needs a CPython {KNOWN}: say which by --python PROGRAM"))?;
    ensure!(
        output.status.success(),
        "{name} does not work: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let answer = String::from_utf8_lossy(&output.stdout);
    let version = parse_version(&answer);
    ensure!(
        version.is_some_and(|version| KNOWN_MINORS.contains(&version)),
        "{name} is {}: the demo needs a CPython {KNOWN} (try --python PROGRAM)",
        answer.trim()
    );
    Ok(())
}

/// Reads `cpython 3 12`.
fn parse_version(answer: &str) -> Option<(u8, u8)> {
    let mut words = answer.trim().strip_prefix("cpython ")?.split(' ').map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// Starts the program and waits until all its tasks are at work.
async fn start(python: &OsStr) -> anyhow::Result<Program> {
    // It is needed until the program has been read, and gone with this value.
    let folder = tempfile::Builder::new().prefix("awaitwhat-demo-").tempdir()?;
    let file = folder.path().join("demo.py");
    std::fs::write(&file, PROGRAM)?;
    let mut program = Program::start(&mut command(python, &file))?;
    let stdout = program
        .child()
        .stdout
        .take()
        .context("the demo program has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) if line == READY => Ok(program),
        Ok(_) => bail!("the demo program ended before it was ready"),
        Err(_) => bail!("the demo program was not ready within {} s", PATIENCE.as_secs()),
    }
}

/// Its input stays open as long as this process lives: the program ends with it, also when this process is killed.
fn command(python: &OsStr, file: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn the_answer_of_python_is_understood() {
        assert_eq!(parse_version("cpython 3 12\n"), Some((3, 12)));
        for answer in ["pypy 3 11\n", "", "cpython", "cpython 3 x"] {
            assert_eq!(parse_version(answer), None);
        }
    }
}
