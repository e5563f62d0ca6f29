//! How long it takes to begin, where a lot is loaded.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Plan;
use super::measure::{self, Output};
use super::observers::{Observer, Tools};
use super::report::{Row, seconds};
use super::statistics::median;
use super::target::Target;
use super::trace::RATE;
use crate::repo;

/// Modules that the process has imported, and shared objects that it has loaded.
const LOADED: usize = 500;
/// How long it may take from the start of the command to the first sample, in seconds.
const ATTACH_AIM: f64 = 0.3;
/// How long each trace looks, in seconds.
const TRACED: f64 = 0.3;

/// What is read of a profile.
#[derive(Deserialize)]
struct Profile {
    duration_seconds: f64,
    samples: u64,
}

/// Rows of commands whose first sample comes at their end at the latest.
pub fn rows(plan: &Plan, tools: &Tools) -> Result<Vec<Row>> {
    plan.say(&format!("attaching to a process with {LOADED} modules"));
    let target = Target::loaded(&tools.python, LOADED)?;
    let rounds = plan.snapshots(0);
    let what = format!("process with {LOADED} modules and {LOADED} shared objects");
    let row = |name: &str, taken: f64| {
        Row::own(format!("{what}, {name}"), seconds(taken))
            .reach(format!("<= {}", seconds(ATTACH_AIM)), taken <= ATTACH_AIM)
    };
    let snapshots = repeat(rounds, || snapshot(&target, tools))?;
    let traces = repeat(rounds, || trace(&target, tools))?;
    Ok(vec![
        row("snapshot from start to end of the command", median(snapshots)),
        row("trace beyond the time that is traced", median(traces)),
    ])
}

fn repeat(rounds: usize, measure: impl Fn() -> Result<f64>) -> Result<Vec<f64>> {
    (0..rounds).map(|_| measure()).collect()
}

fn snapshot(target: &Target, tools: &Tools) -> Result<f64> {
    let mut command = tools
        .snapshot(Observer::Awaitwhat, target.pid())
        .context("awaitwhat is not there")?;
    let outcome = measure::run(&mut command, Output::Discarded)?;
    match outcome.failure {
        Some(failure) => bail!("a snapshot failed: {failure}"),
        None => Ok(outcome.cost.wall),
    }
}

fn trace(target: &Target, tools: &Tools) -> Result<f64> {
    let file = repo::cache("bench")?.join("profile.json");
    let mut command = tools.trace(target.pid(), RATE, TRACED);
    let outcome = measure::run(&mut command, Output::To(file.clone()))?;
    if let Some(failure) = outcome.failure {
        bail!("a trace failed: {failure}");
    }
    let text = std::fs::read_to_string(&file).context("cannot read the profile")?;
    let profile: Profile = serde_json::from_str(&text).context("the profile is not as expected")?;
    if profile.samples == 0 {
        bail!("a trace took no sample");
    }
    Ok(outcome.cost.wall - profile.duration_seconds)
}
