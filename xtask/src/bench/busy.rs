//! What tracing does to a server that works, and what snapshots of it are worth.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Plan;
use super::grammar::Grammar;
use super::measure::{self, Output};
use super::observers::{OBSERVERS, Observer, Tools, chains};
use super::report::{Row, mebibytes, percent, seconds};
use super::statistics::{median, quantile};
use super::target::{Account, Target};
use super::trace::{self, RATE, Traced};
use crate::repo;

/// Tasks of the server.
const TASKS: usize = 1_000;
/// A saturated loop, and one that works now and then, in percent.
const SATURATED: u32 = 100;
const LIGHT: u32 = 5;

/// The throughput that has to remain while the server is traced.
const THROUGHPUT_AIM: f64 = 0.98;
/// By how much p99 of the loop's lag may grow, in seconds.
const LAG_AIM: f64 = 0.001;
/// The share of a core that the tracer may take.
const OBSERVER_AIM: f64 = 0.15;

/// A server's time without and with a tracer, by turns: one window without before each traced one, and one at the end.
struct Turns {
    alone: Vec<(f64, f64)>,
    traced: Vec<Traced>,
    account: Account,
}

/// Rows of the throughput of a saturated server.
pub fn throughput_rows(plan: &Plan, tools: &Tools) -> Result<Vec<Row>> {
    plan.say("throughput of a saturated server, traced and not");
    let turns = take_turns(plan, tools, SATURATED)?;
    let rate = |window| increase_per_second(&turns.account.done, window);
    let alone: Vec<f64> = turns.alone.iter().copied().map(rate).collect();
    let traced: Vec<f64> = turns.traced.iter().map(|traced| rate(traced.window)).collect();
    let kept = remaining(&alone, &traced);
    let ratio = median(kept.iter().copied());
    let efficiency = median(efficiency_kept(&turns));
    let share = median(turns.traced.iter().map(|traced| traced.observer_share));
    let what = format!("saturated server of {TASKS} tasks");
    let range = |values: &[f64]| {
        let all = || values.iter().copied();
        format!(
            "{} to {}",
            percent(quantile(all(), 0.0)),
            percent(quantile(all(), 1.0))
        )
    };
    let samples = median(turns.traced.iter().map(|traced| traced.samples as f64));
    let memory = turns
        .traced
        .iter()
        .map(|traced| traced.peak_memory)
        .max()
        .unwrap_or_default();
    Ok(vec![
        Row::own(
            format!("{what}, requests per second untraced"),
            format!("{:.0}", median(alone)),
        ),
        Row::own(
            format!("{what}, requests per second traced at {RATE} Hz"),
            format!("{:.0}", median(traced)),
        ),
        Row::own(
            format!("{what}, throughput kept while traced"),
            format!("{} ({})", percent(ratio), range(&kept)),
        )
        .reach(
            format!(">= {} of untraced", percent(THROUGHPUT_AIM)),
            ratio >= THROUGHPUT_AIM,
        ),
        Row::own(
            format!("{what}, requests per second of its own CPU time kept"),
            percent(efficiency),
        ),
        Row::own(format!("{what}, CPU of the tracer once it runs"), percent(share)).reach(
            format!("<= {} of a core", percent(OBSERVER_AIM)),
            share <= OBSERVER_AIM,
        ),
        Row::own(format!("{what}, peak memory of the tracer"), mebibytes(memory)),
        Row::own(
            format!("{what}, samples in {} s", plan.window + 1.5),
            format!("{samples:.0}"),
        ),
    ])
}

/// What remains of the requests that the server serves in a second of its own CPU time, which other load on the machine hardly changes.
fn efficiency_kept(turns: &Turns) -> Vec<f64> {
    let account = &turns.account;
    let efficiency =
        |window| increase_per_second(&account.done, window) / increase_per_second(&account.busy, window);
    let alone: Vec<f64> = turns.alone.iter().copied().map(efficiency).collect();
    let traced: Vec<f64> = turns
        .traced
        .iter()
        .map(|traced| efficiency(traced.window))
        .collect();
    remaining(&alone, &traced)
}

/// Rows of the lag of a loop that works now and then.
pub fn lag_rows(plan: &Plan, tools: &Tools) -> Result<Vec<Row>> {
    plan.say("loop lag of a lightly loaded server, traced and not");
    let turns = take_turns(plan, tools, LIGHT)?;
    let account = &turns.account;
    let lag = |window, share| quantile(within(&account.lags, window).map(|(_, lag)| lag), share);
    let alone = |share| median(turns.alone.iter().map(|&window| lag(window, share)));
    let traced = |share| median(turns.traced.iter().map(|traced| lag(traced.window, share)));
    let more = traced(0.99) - alone(0.99);
    let load = median(
        turns
            .alone
            .iter()
            .map(|&window| increase_per_second(&account.busy, window)),
    );
    let what = format!("{LIGHT} % busy server of {TASKS} tasks");
    let row = |name: &str, share| {
        Row::own(
            format!("{what}, {name}"),
            format!("{} to {}", seconds(alone(share)), seconds(traced(share))),
        )
    };
    Ok(vec![
        Row::own(
            format!("{what}, share of a core that it takes untraced"),
            percent(load),
        ),
        row("loop lag p50, untraced to traced", 0.5),
        row("loop lag p99, untraced to traced", 0.99)
            .reach(format!("at most {} more", seconds(LAG_AIM)), more <= LAG_AIM),
        Row::own(
            format!("{what}, CPU of the tracer once it runs"),
            percent(median(turns.traced.iter().map(|traced| traced.observer_share))),
        ),
    ])
}

fn take_turns(plan: &Plan, tools: &Tools, load: u32) -> Result<Turns> {
    let target = Target::server(&tools.python, TASKS, load)?;
    thread::sleep(Duration::from_secs(1));
    let mut alone = vec![undisturbed(plan.window)?];
    let mut traced = Vec::new();
    for _ in 0..plan.rounds {
        traced.push(trace::start(tools, target.pid(), plan.window)?.observe()?);
        alone.push(undisturbed(plan.window)?);
    }
    Ok(Turns {
        alone,
        traced,
        account: target.finish()?,
    })
}

fn undisturbed(window: f64) -> Result<(f64, f64)> {
    let begun = trace::now()?;
    thread::sleep(Duration::from_secs_f64(window));
    Ok((begun, trace::now()?))
}

fn within(series: &[(f64, f64)], (begun, ended): (f64, f64)) -> impl Iterator<Item = (f64, f64)> {
    series
        .iter()
        .copied()
        .filter(move |(time, _)| (begun..=ended).contains(time))
}

/// How fast a counter grew in a window.
fn increase_per_second(series: &[(f64, f64)], window: (f64, f64)) -> f64 {
    let mut points = within(series, window);
    match (points.next(), points.last()) {
        (Some((begun, before)), Some((ended, after))) => (after - before) / (ended - begun),
        _ => f64::NAN,
    }
}

/// What remains in each window in the middle, as a share of the mean of its neighbours.
fn remaining(alone: &[f64], traced: &[f64]) -> Vec<f64> {
    let neighbours = alone.windows(2).map(|pair| pair.iter().sum::<f64>() / 2.0);
    neighbours
        .zip(traced)
        .map(|(alone, traced)| traced / alone)
        .collect()
}

/// What snapshots of one observer were worth.
#[derive(Default)]
struct Worth {
    failed: usize,
    impossible: usize,
    /// Tasks seen over tasks there are, per successful snapshot.
    shown: Vec<f64>,
}

/// Rows of what snapshots of a working server are worth.
pub fn snapshot_rows(plan: &Plan, tools: &Tools) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (load, name) in [(SATURATED, "saturated"), (LIGHT, "5 % busy")] {
        plan.say(&format!("snapshots of a {name} server"));
        let target = Target::server(&tools.python, TASKS, load)?;
        let grammar = Grammar::of(&target);
        let mut worths = [Worth::default(), Worth::default()];
        for _ in 0..plan.busy_snapshots {
            for (observer, worth) in OBSERVERS.into_iter().zip(&mut worths) {
                judge(observer, &target, tools, &grammar, worth)?;
            }
        }
        rows.extend(worth_rows(plan, name, &worths));
    }
    Ok(rows)
}

fn worth_rows(plan: &Plan, name: &str, worths: &[Worth; 2]) -> [Row; 3] {
    let [own, peer] = worths;
    let what = format!(
        "{} snapshots of a {name} server of {TASKS} tasks",
        plan.busy_snapshots
    );
    let count = |label: &str, of: fn(&Worth) -> usize| Row {
        what: format!("{what}, {label}"),
        measured: [of(own).to_string(), of(peer).to_string(), String::new()],
        reach: None,
    };
    let shown = |worth: &Worth| match worth.shown.as_slice() {
        [] => "none succeeded".to_owned(),
        shares => percent(shares.iter().sum::<f64>() / shares.len() as f64),
    };
    [
        count("failed", |worth| worth.failed).reach("0", own.failed == 0),
        // Where no snapshot succeeded none was free of impossible chains either.
        count("with an impossible chain", |worth| worth.impossible)
            .reach("0", own.impossible == 0 && !own.shown.is_empty()),
        Row {
            what: format!("{what}, tasks shown on average"),
            measured: [shown(own), shown(peer), String::new()],
            reach: None,
        },
    ]
}

/// Takes a snapshot and looks for what cannot be.
fn judge(
    observer: Observer,
    target: &Target,
    tools: &Tools,
    grammar: &Grammar,
    worth: &mut Worth,
) -> Result<()> {
    let file = repo::cache("bench")?.join("snapshot.txt");
    let mut command = tools
        .snapshot(observer, target.pid())
        .context("the observer is not there")?;
    if measure::run(&mut command, Output::To(file.clone()))?
        .failure
        .is_some()
    {
        worth.failed += 1;
        return Ok(());
    }
    let chains = chains(observer, &file)?;
    worth.impossible += usize::from(!chains.iter().all(|chain| grammar.allows(chain)));
    worth.shown.push(chains.len() as f64 / target.tasks as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{increase_per_second, remaining};

    #[test]
    fn a_counter_is_read_within_its_window() {
        let series = [(0.0, 0.0), (1.0, 10.0), (2.0, 30.0), (3.0, 100.0)];
        assert_eq!(increase_per_second(&series, (0.5, 2.5)), 20.0);
        assert!(increase_per_second(&series, (5.0, 6.0)).is_nan());
    }

    #[test]
    fn a_traced_window_is_compared_with_its_neighbours() {
        assert_eq!(remaining(&[100.0, 300.0, 100.0], &[100.0, 100.0]), [0.5, 0.5]);
    }
}
