//! `awaitwhat trace` tells how long tasks are at work where their loop has to share its CPU: with awaitwhat itself, and with others.

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::Profile;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

const SECONDS: u32 = 8;
const RATE: u32 = 99;
const VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// How much of the time the program is to compute, in percent.
const BUSY_PERCENT: u32 = 40;
/// How far the share of the time in which tasks are at work may be from the truth. Chance makes a third of that of one trace.
const TOLERANCE: f64 = 0.05;
/// The CPU that is shared: every machine has it.
const CPU: usize = 0;

fn main() -> anyhow::Result<()> {
    trials::run_alone("shared_cpu", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::release_pythons()?.into_iter();
    let mut list = Vec::new();
    for python in pythons.filter(|python| VERSIONS.contains(&python.version)) {
        for (name, others) in [("with_awaitwhat", 0), ("with_another_process", 1)] {
            let (name, python) = (format!("{}::{name}", python.label), python.clone());
            list.push(trials::trial(name, move || check(&python, others)));
        }
    }
    Ok(list)
}

/// What the program says of itself.
#[derive(Debug, Deserialize)]
struct Account {
    tasks: f64,
    /// For how long its tasks had been at work at moments of the calendar's clock, in seconds.
    history: Vec<(f64, f64)>,
}

impl Account {
    fn of(report: Value) -> anyhow::Result<Self> {
        serde_json::from_value(report).context("the program's account is malformed")
    }

    /// For how long its tasks had been at work at a moment in between.
    fn at(&self, moment: f64) -> anyhow::Result<f64> {
        let after = self.history.partition_point(|(at, _)| *at < moment);
        let ((earlier, before), (later, after)) = after
            .checked_sub(1)
            .and_then(|before| Some((self.history.get(before)?, self.history.get(after)?)))
            .with_context(|| format!("{moment} is not in the program's history"))?;
        Ok(before + (after - before) * (moment - earlier) / (later - earlier))
    }

    fn during(&self, profile: &Profile) -> anyhow::Result<f64> {
        let start = profile.started_at.as_nanosecond() as f64 / 1e9;
        Ok(self.at(start + profile.duration_seconds)? - self.at(start)?)
    }
}

/// A task is at work from the beginning of its turn to the end, whether its thread has a CPU meanwhile or waits for one. What one trace does not show to
/// be right, two together have to.
fn check(python: &Python, others: u32) -> anyhow::Result<()> {
    let mut command = python.target_command("shared_cpu.py");
    command.args([BUSY_PERCENT.to_string(), others.to_string()]);
    let mut program = Target::spawn(tool::on_cpu(CPU, &command))?;
    let (mut seconds, mut truth, mut shown) = (0.0, 0.0, 0.0);
    let mut differs = true;
    for _ in 0..2 {
        let profile = tool::profile_on_cpu(CPU, program.pid, SECONDS, RATE)?;
        let account = Account::of(program.ask("report")?)?;
        // One more has made them.
        let tasks = account.tasks + 1.0;
        ensure!(
            (profile.mean_tasks / tasks - 1.0).abs() < TOLERANCE,
            "{tasks} tasks, shown {} in the mean",
            profile.mean_tasks
        );
        seconds += profile.duration_seconds;
        truth += account.during(&profile)?;
        let running = profile.chains.iter().filter(|chain| chain.state == "running");
        shown += running.map(|chain| chain.task_seconds).sum::<f64>();
        println!(
            "{}: at work {:.3} of the time, shown {:.3}; on a CPU {:.3}",
            python.label,
            truth / seconds,
            shown / seconds,
            profile.busy_share
        );
        differs = (shown - truth).abs() > TOLERANCE * seconds;
        if !differs {
            break;
        }
    }
    ensure!(
        !differs,
        "tasks are at work for {truth} s of {seconds}, shown {shown}"
    );
    Ok(())
}
