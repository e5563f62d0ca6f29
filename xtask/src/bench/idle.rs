//! Snapshots of a program whose tasks all sleep.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Plan;
use super::measure::{self, Cost, Output};
use super::observers::{OBSERVERS, Observer, Tools, chains};
use super::report::{Row, mebibytes, percent, seconds};
use super::statistics::median;
use super::target::Target;
use super::trace::{self, RATE};
use crate::repo;

/// How long a snapshot, as a whole command, may take: number of tasks, seconds.
const COMMAND_AIMS: [(usize, f64); 3] = [(100, 0.025), (10_000, 0.1), (100_000, 0.4)];
/// How long the kernel may walk: number of tasks, seconds.
const WALK_AIM: (usize, f64) = (10_000, 0.025);
/// The share of a core that the tracer may take: number of tasks, share.
const OBSERVER_AIM: (usize, f64) = (10_000, 0.01);

/// The most memory that the tracer may have: number of tasks, bytes.
const MEMORY_AIM: (usize, u64) = (10_000, 64 << 20);

/// What the snapshots of one observer took.
struct Trials {
    costs: Vec<Cost>,
    /// Why the last one that failed did.
    failure: Option<String>,
}

impl Trials {
    /// The median of what `value` takes from the successful snapshots.
    fn median(&self, value: fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(value))
    }

    fn cell(&self, value: fn(&Cost) -> f64) -> String {
        match &self.failure {
            Some(failure) if self.costs.is_empty() => format!("fails: {failure}"),
            _ => seconds(self.median(value)),
        }
    }
}

/// Measures all observers at all sizes of `plan`.
pub fn rows(plan: &Plan, tools: &Tools) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &tasks in plan.sizes {
        plan.say(&format!("snapshots of {tasks} idle tasks"));
        let target = Target::idle(&tools.python, tasks)?;
        let trials = interleaved(plan.snapshots(tasks), &target, tools)?;
        let own = trials[0].median(|cost| cost.wall);
        let mut wall = comparison(
            &format!("snapshot of {tasks} idle tasks, wall time"),
            &trials,
            |cost| cost.wall,
        );
        if let Some((_, aim)) = COMMAND_AIMS.iter().find(|(size, _)| *size == tasks) {
            wall = wall.reach(format!("<= {}", seconds(*aim)), own <= *aim);
        }
        rows.push(wall);
        rows.push(comparison(
            &format!("snapshot of {tasks} idle tasks, CPU time"),
            &trials,
            |cost| cost.cpu,
        ));
        rows.push(content(tasks, &target, tools, &trials)?);
        if tasks == WALK_AIM.0 || plan.is_quick {
            rows.push(walk(tasks, plan, &target, tools)?);
        }
        if tasks == OBSERVER_AIM.0 || plan.is_quick {
            rows.extend(observer(tasks, plan, &target, tools)?);
        }
    }
    Ok(rows)
}

/// Takes `rounds` snapshots with each observer, by turns.
fn interleaved(rounds: usize, target: &Target, tools: &Tools) -> Result<[Trials; 3]> {
    let mut trials = OBSERVERS.map(|_| Trials {
        costs: Vec::new(),
        failure: None,
    });
    for _ in 0..rounds {
        for (observer, trials) in OBSERVERS.into_iter().zip(&mut trials) {
            let Some(mut command) = tools.snapshot(observer, target.pid()) else {
                trials.failure = tools.py_spy.clone().err();
                continue;
            };
            let outcome = measure::run(&mut command, Output::Discarded)?;
            match outcome.failure {
                Some(_) => trials.failure = Some(last_words(observer, target, tools)?),
                None => trials.costs.push(outcome.cost),
            }
        }
    }
    Ok(trials)
}

/// Why a snapshot fails, with its output kept: `asyncio ps` puts its error there.
fn last_words(observer: Observer, target: &Target, tools: &Tools) -> Result<String> {
    let file = repo::cache("bench")?.join("snapshot.txt");
    let mut command = tools
        .snapshot(observer, target.pid())
        .context("the observer is not there")?;
    let failure = measure::run(&mut command, Output::To(file.clone()))?.failure;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let line: String = line
        .chars()
        .filter(|character| !character.is_control())
        .take(80)
        .collect();
    Ok(match failure {
        Some(failure) => format!("{line} {failure}").trim().to_owned(),
        None => "not each time".to_owned(),
    })
}

/// A row of medians, those of the peers with their ratio to ours.
fn comparison(what: &str, trials: &[Trials; 3], value: fn(&Cost) -> f64) -> Row {
    let [own, peers @ ..] = trials;
    let compared = |peer: &Trials| {
        let ratio = peer.median(value) / own.median(value);
        let cell = peer.cell(value);
        if ratio.is_finite() {
            format!("{cell} ({ratio:.2} x)")
        } else {
            cell
        }
    };
    let [first, second] = peers.each_ref().map(compared);
    Row {
        what: what.to_owned(),
        measured: [own.cell(value), first, second],
        reach: None,
    }
}

/// A row of how many tasks each observer shows.
fn content(tasks: usize, target: &Target, tools: &Tools, trials: &[Trials; 3]) -> Result<Row> {
    let file = repo::cache("bench")?.join("snapshot.txt");
    let mut cells = Vec::new();
    for (observer, trials) in OBSERVERS.into_iter().zip(trials) {
        let command = tools
            .snapshot(observer, target.pid())
            .filter(|_| !trials.costs.is_empty());
        cells.push(match (observer, command) {
            (Observer::PySpy, Some(_)) => "shows threads only".to_owned(),
            (_, Some(mut command)) => {
                measure::run(&mut command, Output::To(file.clone()))?;
                format!("{} of {}", chains(observer, &file)?.len(), target.tasks)
            }
            (_, None) => "none".to_owned(),
        });
    }
    let measured = cells
        .try_into()
        .ok()
        .context("one cell per observer was expected")?;
    Ok(Row {
        what: format!("snapshot of {tasks} idle tasks, tasks shown"),
        measured,
        reach: None,
    })
}

/// What is read of a snapshot in JSON.
#[derive(Deserialize)]
struct Span {
    span_seconds: f64,
}

/// A row of how long the kernel walks, as the snapshot says.
fn walk(tasks: usize, plan: &Plan, target: &Target, tools: &Tools) -> Result<Row> {
    let file = repo::cache("bench")?.join("snapshot.json");
    let mut spans = Vec::new();
    for _ in 0..plan.snapshots(tasks) {
        let mut command = tools
            .snapshot(Observer::Awaitwhat, target.pid())
            .context("awaitwhat is not there")?;
        if measure::run(&mut command, Output::To(file.clone()))?
            .failure
            .is_none()
        {
            let text = std::fs::read_to_string(&file).context("cannot read the snapshot")?;
            let snapshot: Span = serde_json::from_str(&text).context("the snapshot is not as expected")?;
            spans.push(snapshot.span_seconds);
        }
    }
    let span = median(spans);
    let row = Row::own(
        format!("kernel's walk of {tasks} idle tasks, 9 coroutines each"),
        seconds(span),
    );
    Ok(if tasks == WALK_AIM.0 {
        row.reach(format!("<= {}", seconds(WALK_AIM.1)), span <= WALK_AIM.1)
    } else {
        row
    })
}

/// Rows of what the tracer takes while it watches.
fn observer(tasks: usize, plan: &Plan, target: &Target, tools: &Tools) -> Result<Vec<Row>> {
    plan.say(&format!("tracing {tasks} idle tasks"));
    let tracing = trace::start(tools, target.pid(), plan.idle_window)?;
    let traced = tracing.observe()?;
    let what = format!("tracing {tasks} idle tasks at {RATE} Hz");
    let share = Row::own(
        format!("{what}, CPU of the tracer once it runs"),
        percent(traced.observer_share),
    );
    let aim = OBSERVER_AIM.1;
    let share = if tasks == OBSERVER_AIM.0 {
        share.reach(
            format!("<= {} of a core", percent(aim)),
            traced.observer_share <= aim,
        )
    } else {
        share
    };
    let memory = Row::own(
        format!("{what}, peak memory of the tracer"),
        mebibytes(traced.peak_memory),
    );
    let memory = if tasks == MEMORY_AIM.0 {
        let aim = MEMORY_AIM.1;
        memory.reach(format!("<= {}", mebibytes(aim)), traced.peak_memory <= aim)
    } else {
        memory
    };
    Ok(vec![
        share,
        Row::own(
            format!("{what}, CPU of the tracer to start and to end"),
            seconds(traced.overhead),
        ),
        memory,
    ])
}
