//! The command line as it is typed. [`super::config`] says what of it makes sense.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::exit;

/// Tells what the tasks of a running asyncio program wait for.
///
/// Reads the program's tasks and coroutines through eBPF: nothing is injected into it, it is not stopped, and it need not be
/// prepared. CPython 3.11 to 3.15 on x86-64 Linux.
#[derive(Debug, Parser)]
#[command(name = "awaitwhat", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct GlobalArgs {
    /// When to use colours. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Longest time that one walk may hold the target up, in microseconds. What does not fit goes on at the next sample.
    #[arg(long, global = true, value_name = "MICROSECONDS", default_value_t = 100)]
    pub budget: u64,
    /// Frames of a chain of coroutines that are read. Deeper chains are cut, and marked as truncated.
    #[arg(long, global = true, value_name = "FRAMES", default_value_t = awaitwhat_common::limits::MAX_FRAMES)]
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
    /// List the tasks of a process: one snapshot as a table.
    Ps(SnapshotArgs),
    /// Show who waits for whom in a process: one snapshot as an await tree.
    Tree(SnapshotArgs),
    /// Look at a process for a while: which await points dominate?
    #[command(
        override_usage = "awaitwhat trace [OPTIONS] --pid <PID>\n       awaitwhat trace [OPTIONS] -- <CMD> [ARGS]..."
    )]
    Trace(TraceArgs),
    /// Check what this kernel, these privileges and a target allow.
    Doctor(DoctorArgs),
}

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The Python to start the program with.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: OsString,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true))]
pub struct SnapshotArgs {
    /// The process to look at.
    #[arg(value_name = "PID", group = "target", value_parser = process_ids())]
    pub process: Option<u32>,
    /// The process to look at.
    #[arg(short, long, value_name = "PID", group = "target", value_parser = process_ids())]
    pub pid: Option<u32>,
    /// Write JSON (schema `awaitwhat.snapshot/1`).
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true))]
pub struct TraceArgs {
    /// The process to trace.
    #[arg(short, long, value_name = "PID", group = "target", value_parser = process_ids())]
    pub pid: Option<u32>,
    /// How long to trace, in seconds [default: 10 for a process; a program that is started: until it ends].
    ///
    /// Ctrl-C ends early, and still writes everything.
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Samples per second.
    #[arg(short, long, value_name = "HZ", default_value_t = 99)]
    pub rate: u32,
    /// Where to write the result; the summary then still goes to standard output.
    ///
    /// Without a format, the file's ending tells it: .svg, .folded, .json, .txt (summary).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What to write [default: by the ending of FILE, or summary].
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,
    /// A program to start and trace. When the time is over before it ends, it is terminated (SIGTERM).
    #[arg(last = true, value_name = "CMD", group = "target", num_args = 1..)]
    pub program: Vec<OsString>,
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
    /// JSON (schema `awaitwhat.profile/1`).
    Json,
}

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// A process to check as a target.
    #[arg(short, long, value_name = "PID", value_parser = process_ids())]
    pub pid: Option<u32>,
}

fn process_ids() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Color, Command, Format};

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
            assert_eq!((args.process.or(args.pid), args.json), (Some(42), true));
        }
        for line in [
            "awaitwhat ps",
            "awaitwhat ps 42 --pid 42",
            "awaitwhat tree 0",
            "awaitwhat tree x",
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
        assert_eq!((args.pid, args.duration, args.rate), (Some(42), Some(1.5), 49));
        assert_eq!(args.format, Some(Format::Flamegraph));
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

    #[test]
    fn the_commands_of_the_readme_are_understood() {
        let readme = include_str!("../../../README.md");
        let commands = readme.lines().map(|line| line.trim_start_matches("$ "));
        let commands: Vec<&str> = commands.filter(|line| line.starts_with("awaitwhat ")).collect();
        assert!(commands.len() > 6, "{commands:?}");
        for command in commands {
            let words = command.split('#').next().unwrap_or_default().split_whitespace();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }
}
