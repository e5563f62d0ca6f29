//! The command line as it is typed. [`super::config`] says what of it makes sense.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::{config, exit, version};
use crate::condition::{Condition, NoCondition};

/// Tells what the tasks of a running asyncio program wait for.
///
/// Reads the program's tasks and coroutines through eBPF: nothing is injected into it, it is not stopped, and it need not be
/// prepared. CPython 3.7 to 3.15 on x86-64 Linux.
#[derive(Debug, Parser)]
#[command(name = "awaitwhat", version, long_version = version::LONG, after_help = exit::HELP, max_term_width = 80)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Heads the flags that every command takes, so that they do not stand between its own.
const EVERY: &str = "Options of every command";
/// Heads the flags that put a file in the place of a process.
const FILES: &str = "A file instead of a running process";

/// Flags that every command takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct GlobalArgs {
    /// When to use colours. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, help_heading = EVERY, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How long one look may delay the process, in microseconds. What does not fit is read at the next look.
    #[arg(long, global = true, help_heading = EVERY, value_name = "MICROSECONDS", default_value_t = 100)]
    pub budget: u64,
    /// How many frames of a chain of coroutines are shown, 512 at most. Of a deeper chain the 8 outermost and the innermost ones are
    /// shown, the gap between them is marked, and the task is counted as truncated. A chain is followed through 2,000 objects at most.
    #[arg(long, global = true, help_heading = EVERY, value_name = "FRAMES", default_value_t = awaitwhat_common::limits::MAX_FRAMES)]
    pub max_frames: usize,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a small asyncio program, look at it, and show what there is to see.
    Demo(DemoArgs),
    /// List the tasks of processes: one snapshot of each as a table.
    #[command(override_usage = "awaitwhat ps [OPTIONS] <PID>...\n       \
                                awaitwhat ps [OPTIONS] --name <PATTERN>|--cgroup <PATH>|--all\n       \
                                awaitwhat ps [OPTIONS] --core <FILE>\n       \
                                awaitwhat ps [OPTIONS] --recording <FILE> [PID]...")]
    Ps(PsArgs),
    /// Watch the tasks of processes live, on the whole terminal: which groups of equal tasks grow, what they wait for, what is wrong.
    #[command(override_usage = "awaitwhat top [OPTIONS] <PID>...\n       \
                                awaitwhat top [OPTIONS] --name <PATTERN>|--cgroup <PATH>|--all")]
    Top(TopArgs),
    /// Show who waits for whom in processes: one snapshot of each as an await tree.
    #[command(override_usage = "awaitwhat tree [OPTIONS] <PID>...\n       \
                                awaitwhat tree [OPTIONS] --name <PATTERN>|--cgroup <PATH>|--all\n       \
                                awaitwhat tree [OPTIONS] --core <FILE>\n       \
                                awaitwhat tree [OPTIONS] --recording <FILE> [PID]...")]
    Tree(SnapshotArgs),
    /// Say why a task does not go on: what it waits for, which task holds that, and what that task waits for in turn.
    #[command(override_usage = "awaitwhat why [OPTIONS] <TASK> <PID>\n       \
                                awaitwhat why [OPTIONS] <TASK> --core <FILE>\n       \
                                awaitwhat why [OPTIONS] <TASK> --recording <FILE> [PID]")]
    Why(WhyArgs),
    /// Show the stack of a task as a traceback, what it waits for, and who awaits it.
    #[command(
        override_usage = "awaitwhat stack [OPTIONS] <TASK> <PID>\n       awaitwhat stack [OPTIONS] --all-tasks <PID>\n       awaitwhat stack [OPTIONS] <TASK> --core <FILE>\n       awaitwhat stack [OPTIONS] --all-tasks --core <FILE>\n       awaitwhat stack [OPTIONS] <TASK|--all-tasks> [PID] --recording <FILE>"
    )]
    Stack(StackArgs),
    /// Draw a graph of which task waits for what, and which task holds it; deadlocks are red.
    #[command(override_usage = "awaitwhat graph [OPTIONS] <PID>\n       \
                                awaitwhat graph [OPTIONS] --core <FILE>\n       \
                                awaitwhat graph [OPTIONS] --recording <FILE> [PID]")]
    Graph(GraphArgs),
    /// Look at processes for a while, and sum up where their tasks wait: in a table, a flame graph, or a file for other tools.
    #[command(override_usage = "awaitwhat trace [OPTIONS] --pid <PID>...\n       \
                                awaitwhat trace [OPTIONS] --name <PATTERN>|--cgroup <PATH>|--all\n       \
                                awaitwhat trace [OPTIONS] -- <CMD> [ARGS]...")]
    Trace(TraceArgs),
    /// Record processes into a file, to look at them later: by `report`, or by `ps`, `tree` and others with --recording.
    ///
    /// All that `trace` would see goes into the file, and every now and then a snapshot of all tasks.
    #[command(
        override_usage = "awaitwhat record [OPTIONS] --output <FILE> --pid <PID>...\n       \
                                awaitwhat record [OPTIONS] --output <FILE> --name <PATTERN>\n       \
                                awaitwhat record [OPTIONS] --output <FILE> --cgroup <PATH>|--all\n       \
                                awaitwhat record [OPTIONS] --output <FILE> -- <CMD> [ARGS]..."
    )]
    Record(RecordArgs),
    /// Show a recording, or a part of it, as `trace` would have. That takes no privileges, and any machine will do.
    ///
    /// For all tasks at one moment, use `ps`, `tree`, `why`, `stack` or `graph` with --recording and --at.
    Report(ReportArgs),
    /// Compare two traces that were written as JSON: what takes more time than before, and what takes less?
    ///
    /// Each file is what `awaitwhat trace --format json` has written of one process, or of several with --merge. Task time is compared for
    /// each second of the trace, so that one may have lasted longer than the other.
    Diff(DiffArgs),
    /// Check whether this kernel, your privileges and a process are as awaitwhat needs them, and say how to mend what is not.
    Doctor(DoctorArgs),
    /// Print what your shell needs to complete commands and flags.
    ///
    /// Write it to where your shell looks for it. For bash that is the file awaitwhat in ~/.local/share/bash-completion/completions, for
    /// fish the file awaitwhat.fish in ~/.config/fish/completions, and for zsh a file _awaitwhat in a folder that `$fpath` names.
    Completions(CompletionsArgs),
    /// Write a manual page for each command into a folder.
    #[command(hide = true)]
    ManPages(ManPagesArgs),
}

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The Python to start the program with.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: OsString,
}

/// Which processes to look at.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct SelectionArgs {
    /// A process to look at. May be given several times.
    #[arg(short = 'p', long = "pid", value_name = "PID", group = "target", value_parser = process_ids())]
    pub pids: Vec<u32>,
    /// Python processes whose command line matches this regular expression. May be given several times: one of them must match.
    ///
    /// It is searched for in the program and its arguments, separated by spaces, as `ps -f` shows them; `^` and `$` stand for their
    /// beginning and end, `(?i)` in front ignores case. The syntax is that of the Rust crate `regex`.
    #[arg(long = "name", value_name = "PATTERN", group = "target")]
    pub names: Vec<String>,
    /// Python processes in this control group (cgroup v2) or below it; with --name, those of them that match. May be given several
    /// times.
    ///
    /// A path as /proc/PID/cgroup shows it, or one below /sys/fs/cgroup.
    #[arg(long = "cgroup", value_name = "PATH", group = "target")]
    pub cgroups: Vec<PathBuf>,
    /// Every Python process with tasks.
    #[arg(long, group = "target", conflicts_with_all = ["pids", "names", "cgroups"])]
    pub all: bool,
    /// Also look at child processes that are Python and have tasks, at their children, and so on; while tracing, also at those that are
    /// started meanwhile.
    #[arg(long)]
    pub subprocesses: bool,
    /// Files that hold your code: a regular expression that is searched for in their paths. May be given several times.
    ///
    /// Without it, all code is yours that is neither the standard library's nor lies where packages are installed. So you need it where your
    /// program is installed as a package. With it, no other code is yours. It decides which line of a chain of coroutines is shown as the one
    /// that waits (the await point), and the colours of trees and flame graphs. Paths are those that the Python itself uses, as JSON has them.
    #[arg(long, value_name = "PATTERN")]
    pub mine: Vec<String>,
}

/// A core file in place of a process.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct CoreArgs {
    /// Look at a core file: of a process that has ended, or a copy that `gcore` has made of one.
    ///
    /// That takes no root, and any kernel will do. A core file may leave out what the process had not changed of its program and its
    /// libraries: that is looked up in those files, at the paths that the core file names.
    #[arg(long, value_name = "FILE", group = "target", help_heading = FILES)]
    pub core: Option<PathBuf>,
    /// The program that the process of the core file ran, where it is not at the path that the core file names.
    #[arg(long, value_name = "PROGRAM", help_heading = FILES)]
    pub exe: Option<PathBuf>,
    /// The folder that was `/` to the process of the core file, for example a container's image: files that the core file names are
    /// looked up in it.
    #[arg(long, value_name = "FOLDER", help_heading = FILES)]
    pub sysroot: Option<PathBuf>,
}

/// A recording in place of processes.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct RecordedArgs {
    /// Look at a snapshot out of a recording that `awaitwhat record` has made. That takes no root, and any machine will do.
    ///
    /// Process ids say which of several recorded processes are meant.
    #[arg(long, value_name = "FILE", group = "target", conflicts_with = "core", help_heading = FILES)]
    pub recording: Option<PathBuf>,
    /// Which moment of the recording to look at: seconds since it began, or a time like 2026-01-31T03:04:05Z. The last snapshot that was
    /// taken by then is shown [default: the last one of all].
    #[arg(long, value_name = "TIME", value_parser = moment, help_heading = FILES)]
    pub at: Option<Moment>,
}

/// The one process that a command is about.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct OneArgs {
    /// The process to look at.
    #[arg(
        value_name = "PID",
        required_unless_present_any = ["core", "recording"],
        conflicts_with = "core",
        value_parser = process_ids()
    )]
    pub process: Option<u32>,
    #[command(flatten)]
    pub core: CoreArgs,
    #[command(flatten)]
    pub recorded: RecordedArgs,
}

/// What is told of tasks besides.
#[derive(Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct ToldArgs {
    /// Also show the literals in SQL, and the arguments of queries and commands. They may be somebody's private data.
    #[arg(long)]
    pub arguments: bool,
    /// Report waits that have lasted this long. When a wait began is known only of some that have a timeout: `asyncio.wait`, and up to
    /// Python 3.11 `wait_for`.
    #[arg(long, value_name = "SECONDS", default_value_t = config::SLOW, allow_negative_numbers = true)]
    pub slow: f64,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true).multiple(true))]
pub struct SnapshotArgs {
    /// Processes to look at.
    #[arg(
        value_name = "PID",
        group = "target",
        conflicts_with_all = ["all", "core"],
        value_parser = process_ids()
    )]
    pub processes: Vec<u32>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub core: CoreArgs,
    #[command(flatten)]
    pub recorded: RecordedArgs,
    /// Write JSON: schema `awaitwhat.snapshot/1` if a single process was named, `awaitwhat.snapshots/1` otherwise.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub told: ToldArgs,
}

#[derive(Args, Debug)]
pub struct PsArgs {
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// Show one snapshot after the other, until Ctrl-C. On a terminal each takes the place of the one before.
    ///
    /// SECONDS is the pause between two [default: 2]. The column SINCE then also says how long each look has found a task in the same wait
    /// (`seen 12.0 s`); between two looks it may have moved and come back.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        allow_negative_numbers = true,
        conflicts_with_all = ["json", "core", "recording"]
    )]
    pub watch: Option<f64>,
    /// Show only tasks with exactly this text in their name, their functions, or what they wait for, and say how many are hidden.
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub filter: Option<String>,
    /// What to order tasks by.
    #[arg(
        long,
        value_enum,
        value_name = "KEY",
        default_value = "name",
        conflicts_with = "json"
    )]
    pub sort: SortKey,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true).multiple(true))]
pub struct TopArgs {
    /// Processes to look at.
    #[arg(value_name = "PID", group = "target", conflicts_with = "all", value_parser = process_ids())]
    pub processes: Vec<u32>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Seconds from one look to the next. It is longer where a look takes more than a third of that.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub every: f64,
    /// Begin with only those tasks that have this text in their name, their functions, or what they wait for. The key `/` changes it.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    #[command(flatten)]
    pub told: ToldArgs,
}

/// What tasks are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// By thread, then by name; numbers at the end by value, as asyncio numbers tasks that nobody names in the order in which they were made.
    Name,
    /// Those first that have waited longest, as far as it is known.
    Since,
    /// By what they wait for.
    WaitsFor,
    /// Running, ready, then those that wait.
    State,
}

#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The task: its name, or its id as `ps --json` has it (0x...). If several have the name, each is explained.
    #[arg(value_name = "TASK")]
    pub task: String,
    #[command(flatten)]
    pub one: OneArgs,
    /// How to write it, to standard output.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: WhyFormat,
    /// Files that hold your code, as in `ps`: they decide which line is named of a chain of coroutines.
    #[arg(long, value_name = "PATTERN")]
    pub mine: Vec<String>,
    /// Also show the literals in SQL, and the arguments of queries and commands, as in `ps`.
    #[arg(long)]
    pub arguments: bool,
}

/// How the answer of `why` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhyFormat {
    /// Sentences.
    Text,
    /// JSON (schema `awaitwhat.why/1`).
    Json,
}

#[derive(Args, Debug)]
pub struct GraphArgs {
    #[command(flatten)]
    pub one: OneArgs,
    /// How to write it, to standard output. Equal tasks are one box.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "dot")]
    pub format: GraphFormat,
    /// Files that hold your code, as in `ps`: they decide which line is named of a chain of coroutines.
    #[arg(long, value_name = "PATTERN")]
    pub mine: Vec<String>,
    /// Also show the literals in SQL, and the arguments of queries and commands, as in `ps`.
    #[arg(long)]
    pub arguments: bool,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// The language of Graphviz: `awaitwhat graph 4711 | dot -Tpng -o waits.png`
    Dot,
    /// A picture that is laid out already, without Graphviz.
    Svg,
    /// JSON (schema `awaitwhat.graph/1`).
    Json,
}

#[derive(Args, Debug)]
pub struct StackArgs {
    /// The task, by its name or its id as `ps --json` has it (0x...), and the process that it belongs to. If several tasks have the name,
    /// each is shown. Leave out the task with --all-tasks, and the process with --core, or with a --recording of a single one.
    #[arg(value_name = "TASK|PID", num_args = 0..=2)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub core: CoreArgs,
    #[command(flatten)]
    pub recorded: RecordedArgs,
    /// Show every task.
    #[arg(long)]
    pub all_tasks: bool,
    /// Also show the literals in SQL, and the arguments of queries and commands, as in `ps`.
    #[arg(long)]
    pub arguments: bool,
}

/// What is made of what was seen.
#[derive(Args, Clone, Debug)]
pub struct FormArgs {
    /// Show several processes as one: times are those of all of them together.
    #[arg(long)]
    pub merge: bool,
    /// Where to write the result; the summary then still goes to standard output.
    ///
    /// Without a format, the file's ending tells it: .svg, .folded, .pb.gz, .speedscope.json, .html, .trace.json (chrome), .firefox.json.gz, .otlp, .parquet, .json, .txt (summary).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What to write [default: by the ending of FILE, or summary].
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,
    /// Draw a flame graph the other way round: at the root what is waited for, above it who waits for it.
    #[arg(long)]
    pub reverse: bool,
    /// What the summary adds up time for.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "await-point")]
    pub by: By,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true).multiple(true))]
pub struct TraceArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How long to trace, in seconds [default: 10 for a process; a program that is started: until it ends].
    ///
    /// Ctrl-C ends early, and still writes everything.
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Samples per second.
    #[arg(short, long, value_name = "HZ", default_value_t = 99)]
    pub rate: u32,
    /// Show a summary every so many seconds, of all that was seen so far. The signal SIGUSR1 shows one at any time.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub interval: Option<f64>,
    #[command(flatten)]
    pub form: FormArgs,
    /// A program to start and trace. When the time is over before it ends, it is terminated (SIGTERM).
    #[arg(
        last = true,
        value_name = "CMD",
        group = "target",
        num_args = 1..,
        conflicts_with_all = ["pids", "names", "cgroups", "all"]
    )]
    pub program: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true).multiple(true))]
#[command(group = ArgGroup::new("bounded").multiple(true).args(["max_size", "when"]))]
pub struct RecordArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How long to record, in seconds [default: until Ctrl-C, or until all have ended].
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Samples per second.
    #[arg(short, long, value_name = "HZ", default_value_t = 99)]
    pub rate: u32,
    /// Where to write the recording, as it goes on. By custom its name ends in .await.
    ///
    /// It holds names of functions, files and servers, and is for your eyes only at first. A recording that is there already is replaced, and no other file.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// End once the file is this large: a number of bytes, or one with K, M or G behind it, as in 500M.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// At that size, go on in another file instead of ending, and keep so many of the newest: FILE, FILE.1, FILE.2, ..., the oldest
    /// last. Each can be read by itself. With --when: so many files are kept [default there: 10].
    #[arg(long, value_name = "FILES", requires = "bounded", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub rotate: Option<u32>,
    /// Write nothing until this holds; then a file of the time before and after that. Conditions: 'waiting("TEXT") > TIME', 'blocked > TIME', 'tasks > NUMBER'.
    ///
    /// May be given several times: any of them. waiting("Pool.acquire") > 10s: some task has been in one wait for longer, and a function, a file and line, or what it
    /// waits for has this text in it. blocked > 500ms: some event loop has been in one turn for longer. tasks > 5000: some process has more. Until then what is
    /// seen is held in memory: 64 MB at most. Each time that one begins to hold there is another file, unless one is being written.
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub when: Vec<Condition>,
    /// With --when: how much of the time before is kept at least, in seconds, as far as it fits into memory.
    #[arg(long, value_name = "SECONDS", requires = "when", default_value_t = config::BEFORE, allow_negative_numbers = true)]
    pub before: f64,
    /// With --when: how much of the time after is kept, in seconds.
    #[arg(long, value_name = "SECONDS", requires = "when", default_value_t = config::AFTER, allow_negative_numbers = true)]
    pub after: f64,
    /// Keep a snapshot of all tasks every so many seconds, for `ps`, `tree`, `why`, `stack` and `graph` with --recording. 0: keep none.
    ///
    /// A snapshot costs what `ps` does: at 1,000 tasks some 20 ms of a processor, at 100,000 some 2 s. It is taken by a thread of its own, and the next
    /// one not before 50 times what it took: of very many tasks there are fewer, and never do they take more than 2 % of a processor.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = config::SNAPSHOTS,
        allow_negative_numbers = true
    )]
    pub snapshots: f64,
    /// Also write to this file what `trace` would have written. Its ending tells the format: .svg, .folded, .pb.gz, .speedscope.json, .html, .trace.json (chrome), .firefox.json.gz, .otlp, .parquet, .json, .txt (summary).
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A program to start and record. When the time is over before it ends, it is terminated (SIGTERM).
    #[arg(
        last = true,
        value_name = "CMD",
        group = "target",
        num_args = 1..,
        conflicts_with_all = ["pids", "names", "cgroups", "all"]
    )]
    pub program: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The recording.
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// Leave out what was before: seconds since the recording began, or a time like 2026-01-31T03:04:05Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Moment>,
    /// Leave out what came after: seconds since the recording began, or a time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Option<Moment>,
    #[command(flatten)]
    pub form: FormArgs,
}

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// So many seconds after it began.
    Seconds(f64),
    At(jiff::Timestamp),
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        // One that is beyond the end of a recording is no other than its end.
        let makes_sense = seconds >= 0.0 && seconds.is_finite();
        return makes_sense
            .then_some(Moment::Seconds(seconds))
            .ok_or_else(|| "a recording begins with second 0: choose a number from there on".to_owned());
    }
    text.parse()
        .map(Moment::At)
        .map_err(|_| "say seconds since the recording began, or a time like 2026-01-31T03:04:05Z".to_owned())
}

fn condition(text: &str) -> Result<Condition, NoCondition> {
    text.parse()
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes >= LEAST_SIZE)
        .ok_or_else(|| "say a number of bytes from 192K on, such as 500M".to_owned())
}

/// A smaller recording would end before it began.
const LEAST_SIZE: u64 = 192 << 10;

/// What time is summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The lines of your code at which tasks waited.
    AwaitPoint,
    /// What they waited for: each lock, queue, connection, ..., wherever that was.
    Resource,
}

/// What a trace is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Await points, where tasks ran, and the merged await tree.
    Summary,
    /// The merged await tree alone.
    Tree,
    /// Folded stacks, in microseconds of task time.
    Folded,
    /// An SVG flame graph, in microseconds of task time.
    Flamegraph,
    /// For `go tool pprof` and what else reads its format: gzip of profile.proto, in nanoseconds of task time by state, labelled by process.
    Pprof,
    /// For the viewer speedscope: seconds of task time, a profile for each process and state.
    Speedscope,
    /// A report in one HTML file, with the flame graph in it: opens from disk, and asks the network for nothing.
    Html,
    /// A timeline for ui.perfetto.dev and chrome://tracing (JSON trace event format): what each task did, and when.
    Chrome,
    /// For the Firefox Profiler (gzip of a processed profile): a track for tasks that begin alike, with samples of their chains and markers for waits.
    Firefox,
    /// OpenTelemetry's profiles (OTLP `ProfilesData`, v1development): a resource for each process, a profile for each state.
    Otlp,
    /// A table for DuckDB and what else reads Parquet: a row for each process, await point and thing that was waited for.
    Parquet,
    /// JSON: schema `awaitwhat.profile/1` if a single process was named, `awaitwhat.profiles/1` otherwise.
    Json,
}

#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The earlier profile.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later profile.
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// How to write it, to standard output.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "summary")]
    pub format: DiffFormat,
    /// What is compared: the flame graph always shows chains.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "await-point")]
    pub by: DiffBy,
}

/// How a comparison is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Tables: what changed most comes first.
    Summary,
    /// JSON (schema `awaitwhat.diff/1`).
    Json,
    /// An SVG flame graph of the later profile: red became more, blue became less.
    Flamegraph,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffBy {
    /// The lines of your code at which tasks waited.
    AwaitPoint,
    /// Whole chains of coroutines, with what they wait for; those that ran and those that were ready, too.
    Chain,
}

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// A process to check: whether it is a Python that awaitwhat can look at.
    #[arg(short, long, value_name = "PID", value_parser = process_ids())]
    pub pid: Option<u32>,
}

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell that reads it.
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Shells that complete what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Args, Debug)]
pub struct ManPagesArgs {
    /// Where to write them; it is made where it does not exist.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

fn process_ids() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{CommandFactory, Parser};

    use super::{Cli, Color, Command, Format, SortKey};

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_target_of_a_snapshot_is_given_either_way() {
        for line in [
            "awaitwhat ps 42 --json",
            "awaitwhat ps --pid 42 --json",
            "awaitwhat ps -p 42 --json",
        ] {
            let Command::Ps(args) = parsed(line).unwrap().command else {
                panic!("{line}")
            };
            let args = args.snapshot;
            let pids = [args.processes, args.selection.pids].concat();
            assert_eq!((pids, args.json), (vec![42], true));
        }
        for line in ["awaitwhat ps", "awaitwhat tree 0", "awaitwhat tree x"] {
            parsed(line).unwrap_err();
        }
    }

    #[test]
    fn a_table_is_watched_filtered_and_sorted() {
        let ps = |line: &str| match parsed(line).unwrap().command {
            Command::Ps(args) => (args.watch, args.filter, args.sort, args.snapshot.processes),
            _ => panic!("{line}"),
        };
        let (none, name) = (None, SortKey::Name);
        assert_eq!(ps("awaitwhat ps 42"), (None, none.clone(), name, vec![42]));
        assert_eq!(
            ps("awaitwhat ps --watch 42"),
            (Some(2.0), none.clone(), name, vec![42])
        );
        assert_eq!(
            ps("awaitwhat ps --watch=0.5 42"),
            (Some(0.5), none, name, vec![42])
        );
        assert_eq!(
            ps("awaitwhat ps 42 --filter db --sort waits-for"),
            (None, Some("db".to_owned()), SortKey::WaitsFor, vec![42])
        );
        for line in [
            "awaitwhat ps 42 --watch --json",
            "awaitwhat ps 42 --filter x --json",
            "awaitwhat ps 42 --sort age",
            "awaitwhat tree 42 --filter x",
        ] {
            parsed(line).unwrap_err();
        }
    }

    #[test]
    fn several_processes_are_given_in_several_ways() {
        let line =
            "awaitwhat tree 1 2 -p 3 --pid 4 --name ^gunicorn --name x --cgroup /a --cgroup b --subprocesses";
        let Command::Tree(args) = parsed(line).unwrap().command else {
            panic!()
        };
        assert_eq!((args.processes, args.selection.pids), (vec![1, 2], vec![3, 4]));
        assert_eq!(args.selection.names, ["^gunicorn", "x"]);
        assert_eq!(args.selection.cgroups, [Path::new("/a"), Path::new("b")]);
        assert!(args.selection.subprocesses && !args.selection.all);
        let Command::Trace(args) = parsed("awaitwhat trace --all --merge").unwrap().command else {
            panic!()
        };
        assert!(args.selection.all && args.form.merge);
        for line in [
            "awaitwhat ps --subprocesses",
            "awaitwhat ps --all 1",
            "awaitwhat ps --all --pid 1",
            "awaitwhat ps --all --name x",
            "awaitwhat ps --all --cgroup x",
            "awaitwhat ps 1 --merge",
            "awaitwhat trace --merge",
            "awaitwhat trace --all -- x",
            "awaitwhat trace --name x -- x",
            "awaitwhat trace --cgroup x -- x",
        ] {
            parsed(line).unwrap_err();
        }
    }

    #[test]
    fn a_task_is_asked_about_by_name_or_id() {
        let Command::Why(args) = parsed("awaitwhat why handler-3 42").unwrap().command else {
            panic!()
        };
        assert_eq!((args.task.as_str(), args.one.process), ("handler-3", Some(42)));
        for line in [
            "awaitwhat why 42",
            "awaitwhat why x y",
            "awaitwhat why x 0",
            "awaitwhat why x 42 --core file",
            "awaitwhat ps 42 --core file",
            "awaitwhat ps --core file --watch",
        ] {
            parsed(line).unwrap_err();
        }
        for line in [
            "awaitwhat why x --core file",
            "awaitwhat tree --core file --exe python3",
        ] {
            parsed(line).unwrap();
        }
    }

    #[test]
    fn a_recording_stands_in_for_processes() {
        for line in [
            "awaitwhat ps --recording file",
            "awaitwhat tree --recording file 42 --at 7.5",
            "awaitwhat why x --recording file --at 2026-01-31T03:04:05Z",
            "awaitwhat graph 42 --recording file",
            "awaitwhat stack x --recording file",
            "awaitwhat record -p 42 -o file --snapshots 0 --max-size 1M --rotate 2",
            "awaitwhat record -p 42 -o file --when tasks>9 --when blocked>1s --rotate 2 --before 5",
        ] {
            parsed(line).unwrap();
        }
        for line in [
            "awaitwhat ps --recording file --core file",
            "awaitwhat ps --recording file --watch",
            "awaitwhat why x --recording file --at yesterday",
            "awaitwhat record -p 42 -o file --rotate 2",
            "awaitwhat record -p 42 -o file --before 2",
            "awaitwhat record -p 42 -o file --when cpu>9",
            "awaitwhat record -p 42 -o file --max-size 1M --rotate 1",
            "awaitwhat top --recording file",
        ] {
            parsed(line).unwrap_err();
        }
    }

    #[test]
    fn a_trace_is_of_a_process_or_of_a_program() {
        let line = "awaitwhat --color never trace -p 42 -d 1.5 -r 49 -o x.svg -f flamegraph --budget 50";
        let cli = parsed(line).unwrap();
        assert_eq!((cli.global.color, cli.global.budget), (Color::Never, 50));
        let Command::Trace(args) = cli.command else {
            panic!()
        };
        assert_eq!(
            (args.selection.pids, args.duration, args.rate),
            (vec![42], Some(1.5), 49)
        );
        assert_eq!(args.form.format, Some(Format::Flamegraph));
        let Command::Trace(args) = parsed("awaitwhat trace -- python3 -c x").unwrap().command else {
            panic!()
        };
        assert_eq!(args.program, ["python3", "-c", "x"]);
        for line in [
            "awaitwhat trace",
            "awaitwhat trace 42",
            "awaitwhat trace -p 1 -- x",
            "awaitwhat trace --",
        ] {
            parsed(line).unwrap_err();
        }
    }

    /// The words of a line, as a shell has them, where it has quotes of one kind only.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (number, part) in line.split('\'').enumerate() {
            for character in part.chars() {
                match words.last_mut() {
                    Some(word) if number % 2 == 1 || !character.is_whitespace() => word.push(character),
                    Some(word) if word.is_empty() => {}
                    _ => words.push(String::new()),
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn the_commands_of_readme_and_manual_are_understood() {
        let pages = [
            include_str!("../../../README.md"),
            include_str!("../../../docs/manual.md"),
        ];
        let lines = pages.into_iter().flat_map(str::lines);
        let commands = lines.map(|line| line.trim_start_matches("$ "));
        let commands: Vec<&str> = commands.filter(|line| line.starts_with("awaitwhat ")).collect();
        assert!(commands.len() > 40, "{commands:?}");
        for command in commands {
            // An operator and a redirection look alike: the one of a shell ends the command.
            let end = command.find(" > ").filter(|_| !command.contains('\''));
            let command = &command[..end.unwrap_or(command.len())];
            let words = words(command.split('#').next().unwrap_or_default());
            // What asks for the version is answered by what clap takes for an error.
            let error = Cli::try_parse_from(words).err().filter(|it| it.exit_code() != 0);
            assert!(error.is_none(), "{command}: {error:?}");
        }
    }
}
