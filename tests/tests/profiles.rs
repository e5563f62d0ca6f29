//! `awaitwhat trace` gives each await point the share that the target's own account gives it.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{AwaitPoint, Profile, Survey};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

const SECONDS: u32 = 10;
const RATE: u32 = 99;
/// How far a share may be from the truth.
const TOLERANCE: f64 = 0.03;
/// How far the time at work may be from the truth: what runs is told by a hundred samples a second, which the loops of a thread share.
const WORK_TOLERANCE: f64 = 0.1;

/// The coroutine of the loops that a server's children run.
const IN_CHILD: &str = "in_child";

/// The version that runs the server on trio.
const TRIO_VERSION: (u32, u32) = (3, 12);

/// Shares of the time that a server of requests works, in percent, and how long its requests take, in ms.
const REQUESTS: &[(u32, u32)] = &[(3, 1000), (10, 2000), (50, 1000)];
const REQUEST_VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// How far shares may be from the truth where there are a hundred requests at a time, and all task-seconds as a share of them.
const REQUEST_TOLERANCE: f64 = 0.01;

fn main() -> anyhow::Result<()> {
    trials::run_alone("profiles", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    let pythons = environment::release_pythons()?;
    let last = pythons.len().saturating_sub(1);
    for (number, python) in pythons.into_iter().enumerate() {
        // A loop that never rests is looked at on every version, for the sampler reads each its own way; the rest on the oldest and the newest.
        let shares: &[u32] = match number {
            0 => &[5, 100],
            it if it == last => &[5, 50, 100],
            _ => &[100],
        };
        for &busy_percent in shares {
            let name = format!("{}::paced_server_{busy_percent}_percent_busy", python.label);
            let python = python.clone();
            list.push(trials::trial(name, move || {
                check(&python, "paced_server.py", busy_percent)
            }));
        }
        let forking: &[u32] = match number {
            0 => &[100],
            it if it == last => &[5, 100],
            _ => &[],
        };
        for &busy_percent in forking {
            let name = format!("{}::forking_server_{busy_percent}_percent_busy", python.label);
            let python = python.clone();
            list.push(trials::trial(name, move || check_forking(&python, busy_percent)));
        }
        if python.has_package("trio") {
            let name = format!("{}::trio_ends", python.label);
            let python = python.clone();
            list.push(trials::trial(name, move || trio_ends(&python)));
        }
        // Tasks that come and go: where registries differ.
        let is_wanted = REQUEST_VERSIONS.contains(&python.version);
        if is_wanted {
            let (name, python) = (format!("{}::nested_run", python.label), python.clone());
            list.push(trials::trial(name, move || nested_run(&python)));
        }
        for &(busy_percent, life) in if is_wanted { REQUESTS } else { &[] } {
            let name = format!(
                "{}::requests_of_{life}_ms_{busy_percent}_percent_busy",
                python.label
            );
            let python = python.clone();
            list.push(trials::trial(name, move || {
                check_requests(&python, busy_percent, life)
            }));
        }
        // What differs with trio are chains, and not how time is counted: one version has to do.
        if python.version == TRIO_VERSION && python.has_package("trio") {
            for (server, busy_percent) in [
                ("trio_paced_server", 5),
                ("trio_paced_server", 100),
                ("guest_paced_server", 20),
                ("guest_paced_server", 100),
            ] {
                let name = format!("{}::{server}_{busy_percent}_percent_busy", python.label);
                let python = python.clone();
                list.push(trials::trial(name, move || {
                    check(&python, &format!("{server}.py"), busy_percent)
                }));
            }
        }
    }
    Ok(list)
}

/// What ends a chain of trio is in a profile what it is in a snapshot: what the task is parked in, and not how it gave up its turn.
fn trio_ends(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "trio_waits.py", &[])?;
    let parked: BTreeSet<String> = target
        .tasks()?
        .into_iter()
        .filter_map(|task| task.waits_on.filter(|on| on.kind != "future"))
        .map(|on| on.type_name)
        .collect();
    ensure!(
        parked.contains("MemoryReceiveChannel") && parked.contains("Semaphore"),
        "this tests nothing: {parked:?}"
    );
    let profile = tool::profile(target.pid, 1, 99)?;
    let ends: BTreeSet<String> = profile
        .chains
        .iter()
        .filter_map(|chain| chain.terminal.clone())
        .collect();
    let missing: Vec<_> = parked.difference(&ends).collect();
    ensure!(missing.is_empty(), "{missing:?} are not among {ends:?}");
    Ok(())
}

/// Tasks that are at work within each other count each, in a profile as in a snapshot.
fn nested_run(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "nested_run.py", &[])?;
    let tasks = target.tasks()?;
    let at_work = tasks.iter().filter(|task| task.state == "running").count();
    ensure!(at_work > 1, "this tests nothing: {at_work} tasks are at work");
    let profile = tool::profile(target.pid, 1, RATE)?;
    let running = profile.chains.iter().filter(|chain| chain.state == "running");
    let shown = running.map(|chain| chain.task_seconds).sum::<f64>() / profile.duration_seconds;
    ensure!(
        (shown / at_work as f64 - 1.0).abs() < TOLERANCE,
        "{at_work} tasks are at work, shown {shown} in the mean"
    );
    Ok(())
}

/// What the server says of itself at one moment, since it began.
#[derive(Debug, Deserialize)]
struct Account {
    /// Seconds on a clock of its own.
    at: f64,
    cpu_seconds: f64,
    work: Work,
    tasks: f64,
    /// How many it has had so far.
    #[serde(default)]
    children: u64,
    points: Vec<Point>,
    /// What it was at earlier moments, on the clock of the calendar, in seconds: the task-seconds of each point.
    #[serde(default)]
    history: Vec<(f64, Vec<f64>)>,
}

impl Account {
    /// Task-seconds of each point at a moment in between. An error if that is not in the history.
    fn at(&self, moment: f64) -> anyhow::Result<Vec<f64>> {
        let after = self.history.partition_point(|(at, _)| *at < moment);
        let ((earlier, before), (later, after)) = after
            .checked_sub(1)
            .and_then(|before| Some((self.history.get(before)?, self.history.get(after)?)))
            .with_context(|| format!("{moment} is not in the server's history"))?;
        let part = (moment - earlier) / (later - earlier);
        let between = |(before, after): (&f64, &f64)| before + part * (after - before);
        Ok(before.iter().zip(after).map(between).collect())
    }

    /// What was added to each point in the period of a profile.
    fn during(&self, profile: &Profile) -> anyhow::Result<Vec<Point>> {
        let start = profile.started_at.as_nanosecond() as f64 / 1e9;
        let (before, after) = (self.at(start)?, self.at(start + profile.duration_seconds)?);
        let seconds = before.iter().zip(&after).map(|(before, after)| after - before);
        let points = self.points.iter().zip(seconds);
        Ok(points
            .map(|(point, task_seconds)| Point {
                task_seconds,
                ..point.clone()
            })
            .collect())
    }
}

/// What its tasks have computed.
#[derive(Debug, Deserialize)]
struct Work {
    seconds: f64,
    cpu_seconds: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Point {
    function: String,
    file: String,
    line: u32,
    awaits: String,
    task_seconds: f64,
}

impl Point {
    fn is_at(&self, shown: &AwaitPoint) -> bool {
        (&self.function, &self.file, self.line, &self.awaits)
            == (&shown.function, &shown.file, shown.line, &shown.awaits)
    }
}

fn check(python: &Python, file: &str, busy_percent: u32) -> anyhow::Result<()> {
    let mut server = Target::start(python, file, &[busy_percent.to_string()])?;
    let before = account(server.ask("report")?)?;
    let profile = tool::profile(server.pid, SECONDS, RATE)?;
    let after = account(server.ask("report")?)?;
    agree(python, busy_percent, &before, &after, &profile)
}

/// A task per request: each lives for less time than the trace, and none is credited with another's time. What one trace alone does not show to be
/// right, two together have to: a machine that is held up has an account of chance, but none of bias.
fn check_requests(python: &Python, busy_percent: u32, life: u32) -> anyhow::Result<()> {
    let arguments = [busy_percent.to_string(), life.to_string()];
    let mut server = Target::start(python, "request_server.py", &arguments)?;
    let mut sum = Requests::default();
    let found = sum.trace(&mut server, python)?;
    if found.is_empty() {
        return Ok(());
    }
    println!("{}: again, as {}", python.label, found.join(", "));
    let found = sum.trace(&mut server, python)?;
    ensure!(
        found.is_empty(),
        "{}\nthe truth is {:#?}",
        found.join("\n"),
        sum.truth
    );
    Ok(())
}

/// What a server of requests has said of some periods, and what traces have shown of them.
#[derive(Default)]
struct Requests {
    seconds: f64,
    truth: Vec<Point>,
    shown: Vec<AwaitPoint>,
}

impl Requests {
    /// Traces the server once more. Returns how all traces together differ from the truth.
    fn trace(&mut self, server: &mut Target, python: &Python) -> anyhow::Result<Vec<String>> {
        let before = account(server.ask("report")?)?;
        let profile = tool::profile(server.pid, SECONDS, RATE)?;
        let after = account(server.ask("report")?)?;
        self.add(after.during(&profile)?, &profile);
        let expected = self.truth.iter().map(|point| point.task_seconds).sum::<f64>() / self.seconds;
        let shown = self.shown.iter().map(AwaitPoint::suspended_seconds).sum::<f64>() / self.seconds;
        println!(
            "{}: {:.1} % busy, {expected:.2} tasks waited, shown {shown:.2}; {} samples, lost {:?}",
            python.label,
            (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at) * 100.0,
            profile.samples,
            profile
                .lost
                .iter()
                .filter(|(_, count)| **count != 0)
                .collect::<Vec<_>>()
        );
        let mut found = compare(&self.truth, &self.shown, REQUEST_TOLERANCE)?;
        if (shown / expected - 1.0).abs() > REQUEST_TOLERANCE {
            found.push(format!("{expected} tasks waited in the mean, shown {shown}"));
        }
        Ok(found)
    }

    fn add(&mut self, truth: Vec<Point>, profile: &Profile) {
        self.seconds += profile.duration_seconds;
        for point in truth {
            let key = |it: &Point| (it.function.clone(), it.file.clone(), it.line, it.awaits.clone());
            match self.truth.iter_mut().find(|it| key(it) == key(&point)) {
                Some(known) => known.task_seconds += point.task_seconds,
                None => self.truth.push(point),
            }
        }
        let is_first = self.shown.is_empty();
        for point in &profile.await_points {
            let key = |it: &AwaitPoint| (it.function.clone(), it.file.clone(), it.line, it.awaits.clone());
            match self.shown.iter_mut().find(|it| key(it) == key(point)) {
                Some(known) => {
                    known.task_seconds += point.task_seconds;
                    known.ready_seconds += point.ready_seconds;
                }
                None => self.shown.push(point.clone()),
            }
        }
        if is_first {
            // Of one trace its own shares are held against its task-seconds.
            return;
        }
        let total: f64 = self.shown.iter().map(|point| point.task_seconds).sum();
        for point in &mut self.shown {
            point.share = point.task_seconds / total;
        }
    }
}

/// Children that come and go, and have copies of its tasks, change nothing in what is told of their parent, whether they are traced or not.
fn check_forking(python: &Python, busy_percent: u32) -> anyhow::Result<()> {
    let mut server = Target::start(python, "paced_server.py", &[&busy_percent.to_string(), "forks"])?;
    for with_children in [false, true] {
        let before = account(server.ask("report")?)?;
        let profile = if with_children {
            profile_of_parent(server.pid)?
        } else {
            tool::profile(server.pid, SECONDS, RATE)?
        };
        let after = account(server.ask("report")?)?;
        let children = after.children - before.children;
        ensure!(children >= u64::from(SECONDS), "it had {children} children");
        let of_child = profile.chains.iter().find(|chain| {
            let mut functions = chain.frames.iter().map(|frame| &*frame.function);
            functions.any(|it| it == IN_CHILD)
        });
        ensure!(
            of_child.is_none(),
            "a child's task is told of its parent: {of_child:?}"
        );
        agree(python, busy_percent, &before, &after, &profile)
            .with_context(|| format!("with children: {with_children}"))?;
    }
    Ok(())
}

/// What a trace of a process and its children tells of the process itself.
fn profile_of_parent(pid: u32) -> anyhow::Result<Profile> {
    let (pid_text, seconds, rate) = (pid.to_string(), SECONDS.to_string(), RATE.to_string());
    let words = [
        "trace",
        "-f",
        "json",
        "-d",
        &seconds,
        "-r",
        &rate,
        "--subprocesses",
        "-p",
        &pid_text,
    ];
    let survey: Survey<Profile> = tool::json(&words)?;
    let (parents, children): (Vec<_>, Vec<_>) = survey.targets.into_iter().partition(|it| it.pid == pid);
    ensure!(!children.is_empty(), "no child was seen");
    let mut parents = parents.into_iter();
    let parent = parents.next().context("the parent is not shown")?;
    ensure!(parents.next().is_none(), "the parent is shown twice");
    Ok(parent)
}

/// Compares a profile with the difference of the accounts before and after it.
fn agree(
    python: &Python,
    busy_percent: u32,
    before: &Account,
    after: &Account,
    profile: &Profile,
) -> anyhow::Result<()> {
    let period = after.at - before.at;
    let busy = (after.cpu_seconds - before.cpu_seconds) / period;
    println!(
        "{}: {busy_percent} % wanted, {:.1} % busy over {period:.1} s",
        python.label,
        busy * 100.0
    );
    let truth = difference(before, after.points.clone());
    let found = compare(&truth, &profile.await_points, TOLERANCE);
    let mut found = found.with_context(|| format!("the truth is {truth:#?}"))?;
    if (profile.mean_tasks / before.tasks - 1.0).abs() > TOLERANCE {
        found.push(format!(
            "{} tasks, shown {} in the mean",
            before.tasks, profile.mean_tasks
        ));
    }
    found.extend(compare_running(before, after, busy_percent == 100, profile));
    if !found.is_empty() {
        bail!(
            "{}\nlost: {:?}, {} samples",
            found.join("\n"),
            profile.lost,
            profile.samples
        );
    }
    Ok(())
}

fn account(report: Value) -> anyhow::Result<Account> {
    serde_json::from_value(report).context("the server's account is malformed")
}

/// What was added to each point since `before`.
fn difference(before: &Account, mut points: Vec<Point>) -> Vec<Point> {
    for (point, earlier) in points.iter_mut().zip(&before.points) {
        point.task_seconds -= earlier.task_seconds;
    }
    points
}

/// How the time on a CPU differs, and that of running tasks: no task is credited with another's, however many loops share a thread.
fn compare_running(before: &Account, after: &Account, is_saturated: bool, profile: &Profile) -> Vec<String> {
    let period = after.at - before.at;
    let busy = (after.cpu_seconds - before.cpu_seconds) / period;
    let work = (after.work.seconds - before.work.seconds) / period;
    let work_cpu = (after.work.cpu_seconds - before.work.cpu_seconds) / period;
    // On a machine with other work everything takes longer than its time on a CPU; what never rests then takes all the time.
    let at_work = if is_saturated {
        1.0
    } else if work_cpu > 0.0 {
        busy * work / work_cpu
    } else {
        busy
    };
    let running: f64 = profile
        .chains
        .iter()
        .filter(|chain| chain.state == "running")
        .map(|chain| chain.task_seconds / profile.duration_seconds)
        .sum();
    let mut found = Vec::new();
    if (profile.busy_share - busy).abs() > WORK_TOLERANCE {
        found.push(format!(
            "on a CPU {busy:.3} of the time, shown {:.3}",
            profile.busy_share
        ));
    }
    // Tasks run while they compute, and at most all the time that the thread is at work.
    if running < work - WORK_TOLERANCE || running > at_work + WORK_TOLERANCE {
        found.push(format!(
            "tasks compute {work:.3} of the time, the thread is at work {at_work:.3}, shown as running {running:.3}"
        ));
    }
    found
}

/// Shares that differ; both are shares of the time between the beginning of an await and its end, as tasks measure it.
fn compare(truth: &[Point], shown: &[AwaitPoint], tolerance: f64) -> anyhow::Result<Vec<String>> {
    let truth_total: f64 = truth.iter().map(|point| point.task_seconds).sum();
    let shown_total: f64 = shown.iter().map(AwaitPoint::suspended_seconds).sum();
    let waiting_total: f64 = shown.iter().map(|point| point.task_seconds).sum();
    ensure!(truth_total > 0.0 && shown_total > 0.0, "nothing was waited for");
    let mut found = Vec::new();
    for point in truth {
        let expected = point.task_seconds / truth_total;
        let share: f64 = shown
            .iter()
            .filter(|it| point.is_at(it))
            .map(|it| it.suspended_seconds() / shown_total)
            .sum();
        if (share - expected).abs() > tolerance {
            found.push(format!(
                "{} awaits {}: {:.1} %, shown {:.1} %",
                point.function,
                point.awaits,
                expected * 100.0,
                share * 100.0
            ));
        }
    }
    for point in shown {
        let share = point.suspended_seconds() / shown_total;
        if share > tolerance && !truth.iter().any(|it| it.is_at(point)) {
            found.push(format!("no such await point: {point:?}"));
        }
        let waiting_share = point.task_seconds / waiting_total;
        if (point.share - waiting_share).abs() > tolerance {
            found.push(format!(
                "{} says share {}, its task-seconds say {waiting_share}",
                point.function, point.share
            ));
        }
    }
    Ok(found)
}
