//! The benchmark: awaitwhat beside CPython's `python -m asyncio ps` and py-spy, in one run, on the same targets, by turns.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo;
use observers::Tools;
use report::Row;

mod attach;
mod busy;
mod grammar;
mod idle;
mod machine;
pub mod measure;
mod observers;
mod report;
mod statistics;
mod target;
mod trace;

/// Where the table is written.
const DOCUMENT: &str = "docs/benchmarks.md";
/// Set where this process has a mount namespace of its own.
const IN_NAMESPACE: &str = "AWAITWHAT_XTASK_IN_NAMESPACE";

/// Compare awaitwhat with CPython's own tool and with py-spy, and measure what tracing costs
#[derive(clap::Args)]
pub struct Arguments {
    /// Only see whether it works: small targets, few rounds, nothing written
    #[arg(long)]
    quick: bool,
    /// Only measure this; nothing is written
    #[arg(long, value_parser = PARTS.map(|(name, _)| name))]
    only: Option<String>,
}

/// Measures something.
type Part = fn(&Plan, &Tools) -> Result<Vec<Row>>;

/// What is measured, in the order of the table.
const PARTS: [(&str, Part); 5] = [
    ("attach", attach::rows),
    ("idle", idle::rows),
    ("snapshots", busy::snapshot_rows),
    ("throughput", busy::throughput_rows),
    ("lag", busy::lag_rows),
];

/// How much is measured.
struct Plan {
    is_quick: bool,
    /// Numbers of idle tasks.
    sizes: &'static [usize],
    /// Snapshots per observer of each working server.
    busy_snapshots: usize,
    /// Traced windows of each working server.
    rounds: usize,
    /// Seconds of a window.
    window: f64,
    /// Seconds for which the tracer of idle tasks is watched.
    idle_window: f64,
}

const FULL: Plan = Plan {
    is_quick: false,
    sizes: &[100, 1_000, 10_000, 100_000],
    busy_snapshots: 50,
    rounds: 12,
    window: 2.5,
    idle_window: 10.0,
};

const QUICK: Plan = Plan {
    is_quick: true,
    sizes: &[100, 1_000],
    busy_snapshots: 5,
    rounds: 1,
    window: 1.5,
    idle_window: 2.0,
};

impl Plan {
    /// How many snapshots each observer takes of `tasks` idle tasks.
    fn snapshots(&self, tasks: usize) -> usize {
        match tasks {
            _ if self.is_quick => 2,
            0..=1_000 => 9,
            1_001..=10_000 => 7,
            _ => 3,
        }
    }

    /// Tells what is going on.
    fn say(&self, what: &str) {
        eprintln!("measuring: {what}");
    }
}

/// Runs the benchmark, prints its table and writes it to [`DOCUMENT`].
pub fn run(arguments: &Arguments) -> Result<()> {
    if std::env::var_os(IN_NAMESPACE).is_none() {
        return enter_namespace();
    }
    let plan = if arguments.quick { QUICK } else { FULL };
    let machine = machine::describe();
    let tools = Tools::provide()?;
    let mut rows = Vec::new();
    let is_chosen = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    for (name, part) in PARTS.into_iter().filter(|(name, _)| is_chosen(name)) {
        // A part that fails is a result too, and does not take the others with it.
        match part(&plan, &tools) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                rows.push(Row::own(name, format!("fails: {error:#}")).reach("to be measured", false))
            }
        }
    }

    let table = report::table(&rows);
    println!("{table}");
    if !plan.is_quick && arguments.only.is_none() {
        let path = repo::root()?.join(DOCUMENT);
        std::fs::write(&path, document(&table, &machine, &tools)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {DOCUMENT}");
    }
    Ok(())
}

/// Begins anew in a mount namespace of its own, so that what is mounted goes when the process does. Does not return where that works.
fn enter_namespace() -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new("unshare");
    command
        .arg("--mount")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(IN_NAMESPACE, "1");
    Err(command.exec()).context("cannot start unshare (of util-linux)")
}

fn document(table: &str, machine: &[String], tools: &Tools) -> Result<String> {
    let date = repo::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let items = |items: &[String]| items.iter().map(|item| format!("- {item}\n")).collect::<String>();
    Ok(format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench` on {date}\n\n{machine}{versions}\n{table}\n\n{NOTES}",
        date = date.trim(),
        machine = items(machine),
        versions = items(&tools.versions()?),
    ))
}

/// How the table is to be read.
const NOTES: &str = "\
## How it is measured

- All in one run, on the same process, the observers by turns; numbers are medians, ratios are to awaitwhat.
- Time is that of the whole command, from its start to its end, its output discarded; CPU time is user and kernel time of the command.
- Each idle task sleeps below nine coroutines. py-spy shows threads, not tasks: its column is what a look at the process costs it.
- The process with many modules has real ones, of its own, and loads copies of a shared object. The first sample of a snapshot comes before its end, and
  that of a trace before the time that is traced begins, so attaching takes less than what is shown.
- The kernel's walk is from the first task that is read to the last, as the snapshot itself tells it.
- A chain is impossible where the server has no call path that gives it, or where it ends in the middle of one and the task does not run.
  A table does not tell which task runs, so its chains may all end there.
- Throughput and lag are counted by the server itself, in windows with and without a tracer by turns; each traced window is compared with the
  mean of its two neighbours. The tracer's start and end lie outside of its window; what they cost is a line of its own.
- The tracer's programs that run in the target's own context cost the target, not the tracer: they are part of throughput and lag.
";
