//! What the command line asks for, checked: whoever holds one of these values need not doubt it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use awaitwhat_common::limits::MAX_FRAMES;
use clap::ValueEnum as _;

use super::args::{
    By, FormArgs, Format, GlobalArgs, OneArgs, PsArgs, RecordArgs, SelectionArgs, SnapshotArgs, SortKey,
    StackArgs, ToldArgs, TopArgs, TraceArgs,
};
use crate::condition::Condition;
use crate::export::flamegraph::Root;
use crate::pattern::Pattern;
use crate::selection::{Cgroup, Selection};
use crate::session::{Options, RING_BYTES, TraceOptions};
use crate::view::table::{Rows, Sort};

/// Rates that make sense, in samples per second.
const RATES: std::ops::RangeInclusive<u32> = 1..=1000;
/// Budgets that make sense, in microseconds.
const BUDGETS: std::ops::RangeInclusive<u64> = 10..=100_000;
/// Pauses between two snapshots that make sense, in seconds.
const PAUSES: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
/// From how many seconds on a wait is slow where nothing else is said, and what makes sense.
pub const SLOW: f64 = 10.0;
const SLOW_RANGE: std::ops::RangeInclusive<f64> = 0.001..=31_536_000.0;
/// Times between two snapshots of a recording, in seconds: where nothing is said, and what makes sense; 0 stands for none.
pub const SNAPSHOTS: f64 = 10.0;
const SNAPSHOT_RANGE: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
/// How much of the time before and after a moment is recorded, in seconds: where nothing is said, and what makes sense.
pub const BEFORE: f64 = 60.0;
pub const AFTER: f64 = 60.0;
const BEFORE_RANGE: std::ops::RangeInclusive<f64> = 1.0..=3600.0;
const AFTER_RANGE: std::ops::RangeInclusive<f64> = 0.0..=3600.0;
/// Files that are kept of such moments where nothing is said, and the least bytes that one may have.
pub const WHEN_FILES: u32 = 10;
const LEAST_WHEN_SIZE: u64 = 1 << 20;
/// Times between two interim summaries that make sense, in seconds.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.5..=86_400.0;
/// How long a process is traced when nothing is said, in seconds.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Files' endings and the formats they stand for. One that ends in another comes before it.
const ENDINGS: [(&str, Format); 11] = [
    (".svg", Format::Flamegraph),
    (".folded", Format::Folded),
    (".pb.gz", Format::Pprof),
    (".speedscope.json", Format::Speedscope),
    (".html", Format::Html),
    (".trace.json", Format::Chrome),
    (".firefox.json.gz", Format::Firefox),
    (".otlp", Format::Otlp),
    (".parquet", Format::Parquet),
    (".json", Format::Json),
    (".txt", Format::Summary),
];

/// A command line that can be parsed, and makes no sense.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("--watch={0} is out of range: choose {lowest} to {highest} seconds between two snapshots", lowest = PAUSES.start(), highest = PAUSES.end())]
    Watch(f64),
    #[error("--slow {0} is out of range: choose {lowest} to {highest} seconds", lowest = SLOW_RANGE.start(), highest = SLOW_RANGE.end())]
    Slow(f64),
    #[error("--every {0} is out of range: choose {lowest} to {highest} seconds between two looks", lowest = PAUSES.start(), highest = PAUSES.end())]
    Every(f64),
    #[error("--rate {0} is out of range: choose {lowest} to {highest} samples per second", lowest = RATES.start(), highest = RATES.end())]
    Rate(u32),
    #[error("--interval {0} is out of range: choose {lowest} to {highest} seconds", lowest = INTERVALS.start(), highest = INTERVALS.end())]
    Interval(f64),
    #[error("--snapshots {0} is out of range: choose {lowest} to {highest} seconds between two snapshots, or 0 for none", lowest = SNAPSHOT_RANGE.start(), highest = SNAPSHOT_RANGE.end())]
    Snapshots(f64),
    #[error("--before {0} is out of range: choose {lowest} to {highest} seconds", lowest = BEFORE_RANGE.start(), highest = BEFORE_RANGE.end())]
    Before(f64),
    #[error("--after {0} is out of range: choose {lowest} to {highest} seconds", lowest = AFTER_RANGE.start(), highest = AFTER_RANGE.end())]
    After(f64),
    #[error(
        "--max-size is too small for --when: half of a file is for the time before, so choose 1M or more"
    )]
    WhenSize,
    #[error("--duration {0} is no time to wait for: choose a number of seconds greater than 0")]
    Duration(f64),
    #[error("--budget {0} is out of range: choose {lowest} to {highest} microseconds", lowest = BUDGETS.start(), highest = BUDGETS.end())]
    Budget(u64),
    #[error("--max-frames {0} is out of range: choose 1 to {MAX_FRAMES} frames")]
    MaxFrames(usize),
    #[error(
        "`stack` needs to know a task and a process: `awaitwhat stack TASK PID`; `--all-tasks PID` shows every task, and `--core FILE` or `--recording FILE` stands in for PID"
    )]
    Stack,
    #[error("{} is the recording itself, which would be lost: choose another file for the result", .0.display())]
    Recording(PathBuf),
    #[error("--from is not before --to: nothing lies between them")]
    Reversed,
    #[error("--exe and --sysroot are about a core file: name it by --core FILE")]
    NoCore,
    #[error("--at is about a recording: name it by --recording FILE")]
    NoRecording,
    #[error(
        "{0} says what to look at, which was decided when it was recorded: say it to `awaitwhat record`{1}"
    )]
    NotRecorded(&'static str, &'static str),
    #[error("\"{0}\" is no process id: choose a number from 1 to {max}", max = i32::MAX)]
    ProcessId(String),
    #[error(
        "the ending of {} tells no format: end it in {}, or say --format",
        .0.display(), endings()
    )]
    Ending(PathBuf),
    #[error("the ending of {} tells no format: end it in {}", .0.display(), endings())]
    ProfileEnding(PathBuf),
    #[error("this format is no text, and standard output is a terminal: say where to write it, -o FILE")]
    Binary,
    #[error("--reverse is for flame graphs: say --format flamegraph or html, or end FILE in .svg or .html")]
    Reverse,
    #[error(
        "--merge adds processes up, and this format shows each for itself: leave it out, or choose another format"
    )]
    Merge,
    #[error("{option} {pattern} is no regular expression: {source}")]
    Pattern {
        option: &'static str,
        pattern: String,
        source: regex::Error,
    },
}

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Processes(Selection),
    /// A program to start, and its arguments.
    Program {
        program: OsString,
        arguments: Vec<OsString>,
        /// Its children, too.
        subprocesses: bool,
    },
}

/// What `trace` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    pub target: Target,
    pub options: TraceOptions,
    /// How often what there is so far is shown.
    pub interval: Option<Duration>,
    pub form: Form,
}

/// What is made of what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Several processes are shown as one.
    pub merge: bool,
    pub output: Option<PathBuf>,
    pub format: Format,
    /// What a flame graph begins with.
    pub root: Root,
    /// What the summary's table has a line for.
    pub by: By,
    /// Frames of a chain that are shown.
    pub max_frames: usize,
}

impl Form {
    /// Checks what was typed.
    ///
    /// # Errors
    /// [`Error::Ending`], [`Error::Reverse`], [`Error::Merge`].
    pub fn new(args: FormArgs, max_frames: usize) -> Result<Self, Error> {
        let format = format(args.format, args.output.as_deref())?;
        if args.reverse && !matches!(format, Format::Flamegraph | Format::Html) {
            return Err(Error::Reverse);
        }
        if args.merge && is_timeline(format) {
            return Err(Error::Merge);
        }
        Ok(Self {
            merge: args.merge,
            by: args.by,
            root: if args.reverse {
                Root::Innermost
            } else {
                Root::Outermost
            },
            format,
            output: args.output,
            max_frames,
        })
    }

    /// Whether it shows what each task did, and when.
    #[must_use]
    pub fn keeps_timeline(&self) -> bool {
        is_timeline(self.format) || (self.format == Format::Html && !self.merge)
    }
}

/// Whether a format shows what each task did, and when.
fn is_timeline(format: Format) -> bool {
    matches!(format, Format::Chrome | Format::Firefox)
}

impl TraceConfig {
    /// Checks what was typed.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(args: TraceArgs, global: &GlobalArgs) -> Result<Self, Error> {
        let target = target(&args.selection, args.program)?;
        let mut options = options(&target, args.duration, args.rate, &args.selection.mine, global)?;
        if args.duration.is_none() && !options.just_started {
            options.duration = Some(DEFAULT_DURATION);
        }
        let form = Form::new(args.form, options.reading.max_frames)?;
        Ok(Self {
            interval: args
                .interval
                .map(|seconds| within(&INTERVALS, seconds, Error::Interval))
                .transpose()?,
            options: TraceOptions {
                keeps_timeline: form.keeps_timeline(),
                ..options
            },
            form,
            target,
        })
    }

    /// Checks what was typed for a recording. Its form is that of the profile that is written besides.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn of_recording(args: RecordArgs, global: &GlobalArgs) -> Result<Self, Error> {
        let target = target(&args.selection, args.program)?;
        let options = options(&target, args.duration, args.rate, &args.selection.mine, global)?;
        let form = FormArgs {
            merge: false,
            reverse: false,
            output: args.profile,
            format: None,
            by: By::AwaitPoint,
        };
        let form = Form::new(form, options.reading.max_frames).map_err(|error| match error {
            // There is nothing else to say it by.
            Error::Ending(path) => Error::ProfileEnding(path),
            other => other,
        })?;
        Ok(Self {
            interval: None,
            options: TraceOptions {
                keeps_timeline: form.keeps_timeline(),
                ..options
            },
            form,
            target,
        })
    }
}

fn options(
    target: &Target,
    seconds: Option<f64>,
    rate_hz: u32,
    mine: &[String],
    global: &GlobalArgs,
) -> Result<TraceOptions, Error> {
    if !RATES.contains(&rate_hz) {
        return Err(Error::Rate(rate_hz));
    }
    Ok(TraceOptions {
        reading: reading(global, mine)?,
        rate_hz,
        duration: seconds.map(duration).transpose()?,
        just_started: matches!(target, Target::Program { .. }),
        keeps_timeline: false,
    })
}

/// Checks how the targets of a snapshot are to be read.
///
/// # Errors
/// [`Error::Slow`], and those of [`reading`].
pub fn snapshot(args: &SnapshotArgs, global: &GlobalArgs) -> Result<Options, Error> {
    told(&args.selection, &args.told, global)
}

fn told(selection: &SelectionArgs, told: &ToldArgs, global: &GlobalArgs) -> Result<Options, Error> {
    let mut options = reading(global, &selection.mine)?;
    options.arguments = told.arguments;
    options.slow = within(&SLOW_RANGE, told.slow, Error::Slow)?;
    Ok(options)
}

/// Checks how the target is to be read.
///
/// # Errors
/// [`Error::Budget`], [`Error::MaxFrames`], [`Error::Pattern`].
pub fn reading(global: &GlobalArgs, mine: &[String]) -> Result<Options, Error> {
    if !BUDGETS.contains(&global.budget) {
        return Err(Error::Budget(global.budget));
    }
    if !(1..=MAX_FRAMES).contains(&global.max_frames) {
        return Err(Error::MaxFrames(global.max_frames));
    }
    Ok(Options {
        budget: Duration::from_micros(global.budget),
        max_frames: global.max_frames,
        mine: patterns("--mine", mine)?.into(),
        slow: Duration::from_secs_f64(SLOW),
        arguments: false,
        ring_bytes: RING_BYTES,
    })
}

/// Checks how often snapshots are kept in a recording: never where `None`.
///
/// # Errors
/// [`Error::Snapshots`].
pub fn snapshots(seconds: f64) -> Result<Option<Duration>, Error> {
    match seconds {
        0.0 => Ok(None),
        seconds => within(&SNAPSHOT_RANGE, seconds, Error::Snapshots).map(Some),
    }
}

/// What is to be recorded around moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    pub conditions: Vec<Condition>,
    pub before: Duration,
    pub after: Duration,
}

/// Checks around which moments is recorded; `None` where all is.
///
/// # Errors
/// [`Error::Before`], [`Error::After`], [`Error::WhenSize`].
pub fn around(args: &RecordArgs) -> Result<Option<Around>, Error> {
    if args.when.is_empty() {
        return Ok(None);
    }
    if args.max_size.is_some_and(|size| size < LEAST_WHEN_SIZE) {
        return Err(Error::WhenSize);
    }
    Ok(Some(Around {
        conditions: args.when.clone(),
        before: within(&BEFORE_RANGE, args.before, Error::Before)?,
        after: within(&AFTER_RANGE, args.after, Error::After)?,
    }))
}

/// Checks which tasks of which process `stack` is about: all where no task is named.
///
/// # Errors
/// [`Error::Stack`], [`Error::ProcessId`].
pub fn stack(args: &StackArgs) -> Result<(Option<&str>, OneArgs), Error> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let is_core = args.core.core.is_some();
    let is_file = is_core || args.recorded.recording.is_some();
    let (task, process) = match (words.as_slice(), args.all_tasks) {
        ([task, process], false) if !is_core => (Some(*task), Some(*process)),
        ([process], true) if !is_core => (None, Some(*process)),
        ([task], false) if is_file => (Some(*task), None),
        ([], true) if is_file => (None, None),
        _ => return Err(Error::Stack),
    };
    let id = |word: &str| match word.parse() {
        Ok(id @ 1..=2_147_483_647) => Ok(id),
        _ => Err(Error::ProcessId(word.to_owned())),
    };
    let one = OneArgs {
        process: process.map(id).transpose()?,
        core: args.core.clone(),
        recorded: args.recorded.clone(),
    };
    Ok((task, one))
}

/// Checks how tasks are to be shown in a table, and the pause between two tables where there is to be more than one.
///
/// # Errors
/// [`Error::Watch`].
pub fn rows(args: &PsArgs) -> Result<(Rows, Option<Duration>), Error> {
    let rows = Rows {
        filter: args.filter.clone(),
        sort: match args.sort {
            SortKey::Name => Sort::Name,
            SortKey::Since => Sort::Since,
            SortKey::WaitsFor => Sort::WaitsFor,
            SortKey::State => Sort::State,
        },
    };
    let pause = args.watch.map(|seconds| within(&PAUSES, seconds, Error::Watch));
    Ok((rows, pause.transpose()?))
}

/// Checks how processes are to be watched, and the time from one look to the next.
///
/// # Errors
/// [`Error::Every`], [`Error::Slow`], and those of [`reading`].
pub fn top(args: &TopArgs, global: &GlobalArgs) -> Result<(Options, Duration), Error> {
    let every = within(&PAUSES, args.every, Error::Every)?;
    Ok((told(&args.selection, &args.told, global)?, every))
}

/// Checks which processes are asked for: `more` ids beside those of `args`.
///
/// # Errors
/// [`Error::Pattern`].
pub fn selection(args: &SelectionArgs, more: &[u32]) -> Result<Selection, Error> {
    let mut pids = [more, &args.pids].concat();
    pids.sort_unstable();
    pids.dedup();
    Ok(Selection {
        pids,
        names: patterns("--name", &args.names)?,
        cgroups: args.cgroups.iter().map(|path| Cgroup::new(path)).collect(),
        all: args.all,
        subprocesses: args.subprocesses,
    })
}

/// The regular expressions that were given to `option`.
fn patterns(option: &'static str, given: &[String]) -> Result<Vec<Pattern>, Error> {
    let read = |pattern: &String| {
        Pattern::new(pattern).map_err(|source| Error::Pattern {
            option,
            pattern: pattern.clone(),
            source,
        })
    };
    given.iter().map(read).collect()
}

fn target(args: &SelectionArgs, program: Vec<OsString>) -> Result<Target, Error> {
    let mut program = program.into_iter();
    match program.next() {
        None => selection(args, &[]).map(Target::Processes),
        Some(first) => Ok(Target::Program {
            program: first,
            arguments: program.collect(),
            subprocesses: args.subprocesses,
        }),
    }
}

/// A time in seconds, where it makes sense.
fn within(
    range: &std::ops::RangeInclusive<f64>,
    seconds: f64,
    error: fn(f64) -> Error,
) -> Result<Duration, Error> {
    if range.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(error(seconds))
    }
}

fn duration(seconds: f64) -> Result<Duration, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Error::Duration(seconds)),
    }
}

fn format(asked: Option<Format>, output: Option<&Path>) -> Result<Format, Error> {
    let (None, Some(path)) = (asked, output) else {
        return Ok(asked.unwrap_or(Format::Summary));
    };
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_ascii_lowercase();
    // What is called by nothing but an ending is a hidden file.
    let has = |ending: &str| name.len() > ending.len() && name.ends_with(ending);
    // It would be another format than it says.
    let is_cut = has(".firefox.json");
    let known = ENDINGS.iter().find(|(ending, _)| has(ending) && !is_cut);
    known
        .map(|(_, format)| *format)
        .ok_or_else(|| Error::Ending(path.to_owned()))
}

/// The endings, in words: `.svg (flamegraph), .folded or .json`. A format that is called by its ending is not named.
fn endings() -> String {
    let shown = ENDINGS.map(|(ending, format)| match format.to_possible_value() {
        Some(value) if ending.trim_start_matches('.') != value.get_name() => {
            format!("{ending} ({})", value.get_name())
        }
        _ => ending.to_owned(),
    });
    let [first @ .., last] = &shown;
    format!("{} or {last}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};

    use super::{Error, Target, TraceConfig};
    use crate::cli::args::{Cli, Command, Format};
    use crate::export::flamegraph::Root;
    use crate::pattern::Pattern;
    use crate::selection::{Cgroup, Selection};

    fn config(line: &str) -> Result<TraceConfig, Error> {
        let cli = Cli::try_parse_from(format!("awaitwhat trace {line}").split(' ')).unwrap();
        let Command::Trace(args) = cli.command else {
            panic!()
        };
        TraceConfig::new(args, &cli.global)
    }

    #[test]
    fn defaults() {
        let process = config("-p 42").unwrap();
        assert_eq!(process.target, Target::Processes(Selection::of(42)));
        assert_eq!(process.form.format, Format::Summary);
        assert_eq!(process.options.duration, Some(Duration::from_secs(10)));
        assert_eq!(process.options.rate_hz, 99);
        assert_eq!(process.options.reading.budget, Duration::from_micros(100));
        assert_eq!(process.options.reading.max_frames, 512);
        let program = config("-- python3 app.py").unwrap();
        let arguments = vec!["app.py".into()];
        assert_eq!(
            program.target,
            Target::Program {
                program: "python3".into(),
                arguments,
                subprocesses: false,
            }
        );
        assert_eq!(program.options.duration, None);
        assert!(program.options.just_started);
    }

    #[test]
    fn the_selection() {
        let Target::Processes(selection) =
            config("-p 7 -p 3 -p 7 --name ^x --cgroup /sys/fs/cgroup/a/ --subprocesses")
                .unwrap()
                .target
        else {
            panic!()
        };
        let expected = Selection {
            pids: vec![3, 7],
            names: vec![Pattern::new("^x").unwrap()],
            cgroups: vec![Cgroup::new("/a".as_ref())],
            all: false,
            subprocesses: true,
        };
        assert_eq!(selection, expected);
        assert_eq!(
            config("--all").unwrap().options.duration,
            Some(Duration::from_secs(10))
        );
        let error = config("--name [x").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--name [x is no regular expression"),
            "{error}"
        );
    }

    #[test]
    fn the_ending_tells_the_format() {
        for (line, format) in [
            ("-o x.svg", Format::Flamegraph),
            ("-o a.b/x.FOLDED", Format::Folded),
            ("-o x.json", Format::Json),
            ("-o x.PB.gz", Format::Pprof),
            ("-o a.b.speedscope.json", Format::Speedscope),
            ("-o speedscope.json", Format::Json),
            ("-o x.html", Format::Html),
            ("-o x.trace.json", Format::Chrome),
            ("-o x.firefox.json.gz", Format::Firefox),
            ("-o x.otlp", Format::Otlp),
            ("-o x.parquet", Format::Parquet),
            ("-o x.txt", Format::Summary),
            ("-o x.svg -f json", Format::Json),
            ("-o x -f tree", Format::Tree),
            ("-f flamegraph", Format::Flamegraph),
        ] {
            assert_eq!(
                config(&format!("-p 1 {line}")).unwrap().form.format,
                format,
                "{line}"
            );
        }
        for file in [
            "x",
            "x.doc",
            ".svg",
            "x.svg.gz",
            ".pb.gz",
            "svg",
            "x.firefox.json",
        ] {
            assert_eq!(
                config(&format!("-p 1 -o {file}")).unwrap_err(),
                Error::Ending(file.into())
            );
        }
    }

    #[test]
    fn a_recording_has_no_format_to_say() {
        let line = "awaitwhat record -p 1 -o x.await --profile x.doc";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Record(args) = cli.command else {
            panic!()
        };
        let error = TraceConfig::of_recording(args, &cli.global).unwrap_err();
        assert_eq!(error, Error::ProfileEnding("x.doc".into()));
        assert!(!error.to_string().contains("--format"), "{error}");
    }

    #[test]
    fn a_flame_graph_may_begin_with_what_is_waited_for() {
        for (line, root) in [
            ("-o x.svg", Root::Outermost),
            ("-o x.svg --reverse", Root::Innermost),
        ] {
            assert_eq!(config(&format!("-p 1 {line}")).unwrap().form.root, root);
        }
    }

    #[test]
    fn the_help_tells_every_ending() {
        let mut trace = Cli::command().find_subcommand("trace").unwrap().clone();
        let help = trace.render_long_help().to_string();
        for (ending, _) in super::ENDINGS {
            assert!(help.contains(ending), "{ending}");
            let manual = include_str!("../../../docs/manual.md");
            assert!(manual.contains(&format!("| `{ending}` |")), "{ending}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (line, error) in [
            ("--reverse", Error::Reverse),
            ("--reverse -o x.json", Error::Reverse),
            ("--merge -f chrome", Error::Merge),
            ("--merge -f firefox", Error::Merge),
            ("-r 0", Error::Rate(0)),
            ("-r 1001", Error::Rate(1001)),
            ("-d 0", Error::Duration(0.0)),
            ("-d=-1", Error::Duration(-1.0)),
            ("-d inf", Error::Duration(f64::INFINITY)),
            ("-d 1e300", Error::Duration(1e300)),
            ("--budget 0", Error::Budget(0)),
            ("--max-frames 0", Error::MaxFrames(0)),
            ("--max-frames 513", Error::MaxFrames(513)),
        ] {
            assert_eq!(config(&format!("-p 1 {line}")).unwrap_err(), error, "{line}");
        }
        assert!(matches!(config("-p 1 -d nan").unwrap_err(), Error::Duration(_)));
    }

    #[test]
    fn messages_name_the_choices() {
        insta::assert_snapshot!(config("-p 1 -r 0").unwrap_err(), @"--rate 0 is out of range: choose 1 to 1000 samples per second");
        insta::assert_snapshot!(config("-p 1 -o x.doc").unwrap_err(), @"the ending of x.doc tells no format: end it in .svg (flamegraph), .folded, .pb.gz (pprof), .speedscope.json (speedscope), .html, .trace.json (chrome), .firefox.json.gz (firefox), .otlp, .parquet, .json or .txt (summary), or say --format");
    }
}
