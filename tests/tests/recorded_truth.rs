//! What a recording tells of tasks that come and go is true: its snapshots, how long waits took, and what each task did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, ensure};
use awaitwhat_tests::churn::Churn;
use awaitwhat_tests::environment::Python;
use awaitwhat_tests::output::{Profile, Snapshot, WaitTimes};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::trace_events::{self, Slice};
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

const VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// How far the clocks of a file and of a target may be apart, in seconds: the file's first look comes a little after it began.
const CLOCKS: f64 = 0.015;
/// One in so many tasks that lived for a quarter of a second at least may be met by no look, where a look was late.
const MOST_MISSED: usize = 50;
/// One in so many tasks may pass for the one before it, where addresses are used again at once.
const MOST_ONE: usize = 25;
/// Lengths are told with two digits.
const DIGITS: f64 = 0.01;
/// How far a median may be off, in seconds, however imprecise others are because a look was late: the shortest waits are ten times as long.
const MEDIAN_OFF: f64 = 0.03;
/// Snapshots of live targets that those of a recording are compared with, and how many of their tasks either may leave out: both say so.
const LIVE: usize = 10;
const MOST_LEFT_OUT: f64 = 0.05;
/// Tasks of `many_waits.py` at a time: so many waits go on at either end.
const TASKS: usize = 100;

fn main() -> anyhow::Result<()> {
    trials::run_alone("recorded_truth", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    trials::of_versions(&[(
        &VERSIONS,
        &[
            ("snapshots", snapshots),
            ("waits", waits),
            ("timeline", timeline),
            ("reused", reused),
        ],
    )])
}

fn record(pid: u32, folder: &Path, options: &[&str]) -> anyhow::Result<String> {
    let path = folder.join("x.await").display().to_string();
    let recorded = tool::run(&[&["record", "-p", &pid.to_string(), "-o", &path], options].concat())?;
    ensure!(recorded.code() == Some(0), "{recorded:?}");
    Ok(path)
}

/// No snapshot has a name or an edge that is false, and they lack no more than live ones.
fn snapshots(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "churning.py", &["gather"])?;
    let folder = tempfile::tempdir()?;
    let path = record(target.pid, folder.path(), &["-d", "20", "--snapshots", "0.5"])?;
    let (mut recorded, mut seen) = (Churn::of(&target, python)?, BTreeSet::new());
    for at in 2..100 {
        let at = format!("{:.1}", f64::from(at) / 5.0);
        let ps = tool::run(&["ps", "--json", "--recording", &path, "--at", &at])?;
        if seen.is_empty() && ps.stderr.contains("its first snapshot is of") {
            continue;
        }
        ensure!(ps.code() == Some(0), "{ps:?}");
        let snapshot: Snapshot = serde_json::from_str(&ps.stdout)?;
        if seen.insert(snapshot.captured_at.clone()) {
            recorded.take(&snapshot).with_context(|| format!("at {at}"))?;
        }
    }
    ensure!(seen.len() >= 3, "only {} snapshots", seen.len());
    recorded.check()?;
    let mut live = Churn::of(&target, python)?;
    for _ in 0..LIVE {
        live.take(&tool::snapshot(target.pid)?)?;
    }
    live.check()?;
    let shares = [recorded.left_out(), live.left_out()];
    println!(
        "{}: left out {shares:?} recorded and live, {} snapshots",
        python.label,
        seen.len()
    );
    ensure!(shares.iter().all(|share| *share <= MOST_LEFT_OUT), "{shares:?}");
    Ok(())
}

/// What the target says of itself. Moments are in seconds since 1970.
#[derive(Debug, Deserialize)]
struct Account {
    ended: Vec<Ended>,
}

/// A task that has ended: its address, and its waits: in which function, from when until when.
#[derive(Debug, Deserialize)]
struct Ended {
    task: String,
    began: f64,
    ended: f64,
    waits: Vec<(String, f64, f64)>,
}

/// A target that was recorded for some seconds, and what it says of that.
fn recorded(python: &Python, folder: &Path, arguments: &[&str]) -> anyhow::Result<(String, Account)> {
    let mut target = Target::start(python, "many_waits.py", arguments)?;
    let path = record(target.pid, folder, &["-d", "8"])?;
    // Waits that were going on then are over two seconds later, and in the account.
    let _ = tool::profile(target.pid, 2, 10)?;
    let account: Value = target.ask("report")?;
    Ok((path, serde_json::from_value(account)?))
}

fn report<T: serde::de::DeserializeOwned>(path: &str, format: &str) -> anyhow::Result<T> {
    let report = tool::run(&["report", path, "-f", format])?;
    ensure!(report.code() == Some(0), "{report:?}");
    Ok(serde_json::from_str(&report.stdout)?)
}

fn waits(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, account) = recorded(python, folder.path(), &[])?;
    let profile: Profile = report(&path, "json")?;
    let first = profile.started_at.as_nanosecond() as f64 / 1e9;
    let last = first + profile.duration_seconds;
    for function in ["query", "render", "deliver"] {
        let own = account
            .ended
            .iter()
            .flat_map(|it| &it.waits)
            .filter(|(name, ..)| name == function);
        let within = own.filter(|(_, since, until)| *since >= first && *until <= last);
        let mut truth: Vec<f64> = within.map(|(_, since, until)| until - since).collect();
        truth.sort_by(f64::total_cmp);
        let points = profile.await_points.iter();
        let point = points
            .clone()
            .find(|it| it.function == function)
            .context("it is missing")?;
        println!(
            "{} {function}: {:?}, truth {}: {:?}",
            python.label,
            point.waits,
            truth.len(),
            quantiles(&truth)
        );
        check_waits(&point.waits, &truth).with_context(|| format!("{function}: {:?}", point.waits))?;
    }
    Ok(())
}

fn quantiles(sorted: &[f64]) -> [f64; 4] {
    [0.5, 0.9, 0.99, 1.0].map(|share| at_rank(sorted, share))
}

/// The value that this share of all is no longer than.
fn at_rank(sorted: &[f64], share: f64) -> f64 {
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .or(sorted.last())
        .copied()
        .unwrap_or(0.0)
}

/// What is shown is what the target says, as exactly as it claims to be.
fn check_waits(shown: &WaitTimes, truth: &[f64]) -> anyhow::Result<()> {
    let count = shown.whole as usize;
    ensure!(truth.len() > 100, "too few to tell: {}", truth.len());
    // At either end some of the waits that go on are seen by one and not by the other.
    ensure!(
        count.abs_diff(truth.len()) <= TASKS / 4,
        "{count} waits of {}",
        truth.len()
    );
    ensure!(shown.in_part as usize <= 2 * TASKS, "{} in part", shown.in_part);
    let precision = shown.precision_seconds.context("there is no precision")?;
    let median_off = (shown.p50_seconds.unwrap_or(0.0) - at_rank(truth, 0.5)).abs();
    ensure!(median_off <= MEDIAN_OFF, "the median is {median_off} s off");
    let slack = count.abs_diff(truth.len()) as f64 / truth.len() as f64 + 1.0 / truth.len() as f64;
    let shares = [
        (0.5, shown.p50_seconds),
        (0.9, shown.p90_seconds),
        (0.99, shown.p99_seconds),
        (1.0, shown.max_seconds),
    ];
    for (share, shown) in shares {
        let shown = shown.context("it is not shown")?;
        let (least, most) = (at_rank(truth, share - slack), at_rank(truth, share + slack));
        let off = precision + DIGITS * most;
        ensure!(
            (least - off..=most + off).contains(&shown),
            "{share}: {shown} s is not within {least} to {most} and {off}"
        );
    }
    Ok(())
}

/// A task as a timeline shows it, and what it was suspended in: a task itself does not tell waiting from being ready.
struct Shown<'a> {
    whole: &'a Slice,
    waits: Vec<&'a Slice>,
}

impl Shown<'_> {
    /// From when until when it is shown, in seconds since the file's first look.
    fn period(&self) -> (f64, f64) {
        (
            self.whole.begin / 1e6,
            (self.whole.begin + self.whole.duration) / 1e6,
        )
    }

    /// How much of a period it is shown for.
    fn overlap(&self, began: f64, ended: f64) -> f64 {
        let (first, last) = self.period();
        last.min(ended) - first.max(began)
    }

    /// How far its waits may be off together, as the file says.
    fn uncertain(&self) -> f64 {
        let told = |it: &&Slice, key: &str| it.args[key].as_f64().unwrap_or(0.0);
        let each = self.waits.iter();
        each.map(|it| (told(it, "begin_uncertain_us") + told(it, "end_uncertain_us")) / 1e6)
            .sum()
    }
}

/// The tasks of a timeline, by their addresses.
fn shown(slices: &[Slice]) -> BTreeMap<&str, Vec<Shown<'_>>> {
    let mut tasks: BTreeMap<&str, Vec<Shown<'_>>> = BTreeMap::new();
    for whole in slices.iter().filter(|it| it.category == "task") {
        let middle = |it: &Slice| it.begin + it.duration / 2.0;
        let is_its = |it: &&Slice| {
            (it.pid, it.tid) == (whole.pid, whole.tid)
                && matches!(it.category.as_str(), "waiting" | "ready")
                && (whole.begin..=whole.begin + whole.duration).contains(&middle(it))
        };
        let address = whole.args["task"].as_str().unwrap_or_default();
        tasks.entry(address).or_default().push(Shown {
            whole,
            waits: slices.iter().filter(is_its).collect(),
        });
    }
    tasks
}

/// What each task did comes to what it says itself, for the time that it is shown, and as exactly as the file says: of tasks that began and ended meanwhile.
fn timeline(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, account) = recorded(python, folder.path(), &[])?;
    let document: Value = report(&path, "chrome")?;
    let slices = trace_events::slices(&document)?;
    let started = document["otherData"]["started_at"].as_str();
    let started: jiff::Timestamp = started.context("it began at no time")?.parse()?;
    let origin = started.as_nanosecond() as f64 / 1e9;
    let tasks = shown(&slices);
    let end = slices.iter().map(|it| it.begin + it.duration).fold(0.0, f64::max) / 1e6;
    let (mut checked, mut missed, mut all_shown, mut all_true) = (0, 0, 0.0, 0.0);
    for task in &account.ended {
        let (began, ended) = (task.began - origin, task.ended - origin);
        if began < 0.1 || ended > end - 0.1 {
            continue;
        }
        checked += 1;
        // Its address may have been others' before and after.
        let own = tasks.get(task.task.as_str()).into_iter().flatten();
        let own = own.filter(|it| it.overlap(began, ended) > CLOCKS);
        let Some(own) =
            own.max_by(|one, other| one.overlap(began, ended).total_cmp(&other.overlap(began, ended)))
        else {
            missed += 1;
            continue;
        };
        let (first, last) = own.period();
        let shown: f64 = own.waits.iter().map(|it| it.duration / 1e6).sum();
        let within = |(_, since, until): &(String, f64, f64)| {
            ((until - origin).min(last) - (since - origin).max(first)).max(0.0)
        };
        let truth: f64 = task.waits.iter().map(within).sum();
        let off = own.uncertain() + CLOCKS;
        ensure!(
            first > began - CLOCKS,
            "shown from {first} on, and it began at {began}: {task:?}"
        );
        ensure!(
            (shown - truth).abs() <= off,
            "{shown} s of {truth}, to {off} s: {task:?}, from {first} to {last}"
        );
        // What it is shown late in the beginning, and for longer in the end, is one and the same on average.
        all_shown += shown;
        all_true += task
            .waits
            .iter()
            .map(|(_, since, until)| until - since)
            .sum::<f64>();
    }
    println!(
        "{}: {checked} tasks, {missed} not shown, {all_shown:.2} s of {all_true:.2}",
        python.label
    );
    ensure!(checked > 100, "only {checked} tasks began and ended meanwhile");
    ensure!(
        missed * MOST_MISSED <= checked,
        "{missed} of {checked} are not shown"
    );
    ensure!(
        (all_shown - all_true).abs() < 0.02 * all_true,
        "{all_shown} s of {all_true}"
    );
    Ok(())
}

/// Of a task that ends, and one that begins before the next look and gets the same addresses, nothing tells that they are two: there are few, and no time of theirs is
/// lost.
fn reused(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, account) = recorded(python, folder.path(), &["reuse"])?;
    let profile: Profile = report(&path, "json")?;
    let first = profile.started_at.as_nanosecond() as f64 / 1e9;
    let last = first + profile.duration_seconds;
    let (mut seen, mut truth, mut all_shown, mut all_true) = (0, 0, 0.0, 0.0);
    for point in profile.await_points.iter().filter(|it| it.waits.whole > 0) {
        seen += point.waits.whole as usize;
        all_shown += point.suspended_seconds();
    }
    for (_, since, until) in account.ended.iter().flat_map(|it| &it.waits) {
        truth += usize::from(*since >= first && *until <= last);
        all_true += (until.min(last) - since.max(first)).max(0.0);
    }
    println!(
        "{}: {seen} waits of {truth}, {all_shown:.2} s of {all_true:.2}",
        python.label
    );
    ensure!(truth > 300 && seen <= truth + TASKS / 4, "{seen} of {truth}");
    ensure!((truth - seen.min(truth)) * MOST_ONE <= truth, "{seen} of {truth}");
    ensure!(
        (all_shown - all_true).abs() < 0.02 * all_true,
        "{all_shown} s of {all_true}"
    );
    Ok(())
}
