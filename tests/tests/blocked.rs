//! A loop that does not turn says so, since when, and in what it is at work, and so does one that nobody has woken; one that turns says nothing.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Finding, Snapshot};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

/// How long a target is left alone before it is looked at.
const BLOCKED: Duration = Duration::from_millis(500);
/// Snapshots of a loop that turns, none of which may say otherwise.
const SNAPSHOTS: usize = 10;
const TRACED_SECONDS: u32 = 2;
const TRACED_VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];

fn main() -> anyhow::Result<()> {
    trials::run("blocked", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        for (manner, check) in [
            ("task", held as fn(&Python, &str) -> anyhow::Result<()>),
            ("callback", held),
            ("spinner", held),
            ("many", held_by_many),
            ("turning", turns),
            ("idle", turns),
            ("own_clock", has_own_clock),
        ] {
            let python = python.clone();
            let name = format!("{}::{manner}", python.label);
            list.push(trials::trial(name, move || check(&python, manner)));
        }
        for manner in ["future", "task", "threadsafe"] {
            let python = python.clone();
            let name = format!("{}::woken_by_{manner}", python.label);
            list.push(trials::trial(name, move || sleeps_on(&python, manner)));
        }
        // A trace reads no more than a snapshot does, and sums up.
        let is_traced = TRACED_VERSIONS.contains(&python.version) && !python.label.contains('-');
        let manners = ["task", "callback", "spinner", "turning"];
        for manner in manners.into_iter().filter(|_| is_traced) {
            let python = python.clone();
            let name = format!("{}::trace_of_{manner}", python.label);
            list.push(trials::trial(name, move || traced(&python, manner)));
        }
    }
    Ok(list)
}

/// Starts a target, and gives it the time to be blocked for long.
fn start(python: &Python, manner: &str) -> anyhow::Result<Target> {
    let target = Target::start(python, "blocked_loop.py", &[manner])?;
    thread::sleep(BLOCKED);
    Ok(target)
}

/// A snapshot, and for how long (in seconds) the target's turn had lasted at most when it was made.
fn look(target: &Target) -> anyhow::Result<(Snapshot, f64)> {
    let snapshot = tool::snapshot(target.pid)?;
    let began = target.announced["began"]
        .as_f64()
        .context("it did not say when")?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let age = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 - began;
    Ok((snapshot, age))
}

/// How much CPU time the main thread has had, in seconds.
fn ran_until_now(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"))?;
    let nanoseconds: u64 = text.split(' ').next().context("no number")?.parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

fn only(snapshot: &Snapshot) -> anyhow::Result<&Finding> {
    let [finding] = snapshot.findings.as_slice() else {
        anyhow::bail!("one finding was expected: {:?}", snapshot.findings);
    };
    ensure!(finding.id == "blocked-loop" && finding.tid == snapshot.pid);
    Ok(finding)
}

fn held(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = start(python, manner)?;
    let before = ran_until_now(target.pid)?;
    let (snapshot, age) = look(&target)?;
    let finding = only(&snapshot)?;
    // What it says holds, and is not far from all that there is: the target has announced itself a moment after its turn began.
    ensure!(
        finding.seconds <= age + 0.05 && finding.seconds >= BLOCKED.as_secs_f64(),
        "blocked for {age} s, shown {}",
        finding.seconds
    );
    ensure!(finding.holder.seconds >= 0.1, "{:?}", finding.holder);
    let [state] = snapshot.loops.as_slice() else {
        anyhow::bail!("one loop was expected: {:?}", snapshot.loops);
    };
    let lasted = state.turn_seconds.context("its turn does not tell")?;
    ensure!(
        state.tid == snapshot.pid && lasted >= BLOCKED.as_secs_f64() && lasted <= finding.seconds,
        "{state:?}, {finding:?}"
    );
    let ran = state.cpu_seconds.context("nothing counts what it ran")?;
    ensure!(
        (before..=ran_until_now(target.pid)?).contains(&ran),
        "{before}: {state:?}"
    );
    let functions: Vec<&str> = finding.holder.stack.iter().map(|it| &*it.function).collect();
    let expected: &[&str] = match manner {
        "task" => &["block", "hog"],
        "callback" => &["block"],
        _ => &["compute", "spin"],
    };
    ensure!(functions == expected, "{functions:?}");
    let running = snapshot.tasks.iter().find(|task| task.state == "running");
    ensure!(
        finding.holder.task.as_ref() == running.map(|task| &task.id),
        "{:?} holds the loop, {running:?} runs",
        finding.holder
    );
    let kind = if manner == "callback" { "callback" } else { "task" };
    ensure!(finding.holder.kind == kind, "{:?}", finding.holder);
    sleepers_are_ready(&target, &snapshot, finding)?;
    for command in ["ps", "tree"] {
        let outcome = tool::run(&[command, "--pid", &target.pid.to_string()])?;
        let first = outcome.stdout.lines().next().unwrap_or_default();
        let words = ["has not turned for", expected[0], "20 tasks are ready"];
        ensure!(
            words.iter().all(|word| first.contains(word)),
            "{command}: {first}"
        );
    }
    Ok(())
}

/// Whose sleep is over could go on.
fn sleepers_are_ready(target: &Target, snapshot: &Snapshot, finding: &Finding) -> anyhow::Result<()> {
    let sleepers = target.announced["sleepers"]
        .as_u64()
        .context("no number of tasks")?;
    let ready = snapshot.tasks.iter().filter(|task| task.state == "ready").count();
    ensure!(
        (ready as u64, finding.ready as u64) == (sleepers, sleepers),
        "{sleepers} tasks could go on, {ready} are shown so, the finding says {}",
        finding.ready
    );
    ensure!(finding.overdue_timers == Some(sleepers), "{finding:?}");
    Ok(())
}

/// No single one of the callbacks has blocked the loop.
fn held_by_many(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = start(python, manner)?;
    let (snapshot, age) = look(&target)?;
    let finding = only(&snapshot)?;
    // The turn in which all of them run began after the one that announced them.
    ensure!(
        finding.seconds <= age && finding.seconds > BLOCKED.as_secs_f64() - 0.1,
        "{finding:?}, {age}"
    );
    ensure!(finding.holder.seconds == 0.0, "{:?}", finding.holder);
    ensure!(finding.holder.kind != "task", "{:?}", finding.holder);
    Ok(())
}

fn turns(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = start(python, manner)?;
    for _ in 0..SNAPSHOTS {
        let (snapshot, _) = look(&target)?;
        // On a machine with other work a turn may last longer than it should.
        let longest = snapshot.findings.iter().map(|it| it.seconds).fold(0.0, f64::max);
        ensure!(longest < 0.4, "{:?}", snapshot.findings);
    }
    Ok(())
}

/// What the loop's clock says is not believed; that its thread has rested all the time in a task is.
fn has_own_clock(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = start(python, manner)?;
    let (snapshot, age) = look(&target)?;
    for finding in &snapshot.findings {
        ensure!(finding.seconds <= age, "blocked for {age} s: {finding:?}");
        ensure!(finding.overdue_timers.is_none(), "{finding:?}");
    }
    Ok(())
}

/// Tasks that are ready while their loop sleeps are found, as many as there are, and no others.
fn sleeps_on(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = Target::start(python, "never_woken.py", &[manner])?;
    let ready = target.announced["ready"].as_u64().context("no number of tasks")?;
    let snapshot = tool::snapshot(target.pid)?;
    if ready == 0 {
        ensure!(snapshot.findings.is_empty(), "{:?}", snapshot.findings);
        return Ok(());
    }
    let [finding] = snapshot.findings.as_slice() else {
        anyhow::bail!("one finding was expected: {:?}", snapshot.findings);
    };
    ensure!(finding.id == "never-woken" && finding.tid == snapshot.pid);
    ensure!(finding.count == ready && finding.seconds >= 0.1, "{finding:?}");
    ensure!(
        finding.text.contains("3 tasks are ready to go on"),
        "{}",
        finding.text
    );
    Ok(())
}

fn traced(python: &Python, manner: &str) -> anyhow::Result<()> {
    let target = start(python, manner)?;
    let profile = tool::profile(target.pid, TRACED_SECONDS, 99)?;
    let duration = profile.duration_seconds;
    let held: f64 = profile.blocked.iter().map(|it| it.seconds).sum();
    if manner == "turning" {
        ensure!(held < 0.5 * duration, "{:?}", profile.blocked);
        return Ok(());
    }
    ensure!(
        held <= duration + 0.05 && held > 0.9 * duration,
        "held for {duration} s, shown {held}"
    );
    let (kind, root) = match manner {
        "task" => ("task", "hog"),
        "callback" => ("callback", "block"),
        _ => ("task", "spin"),
    };
    for it in &profile.blocked {
        ensure!((&*it.kind, &*it.root) == (kind, root), "{it:?}");
    }
    let sleepers = target.announced["sleepers"]
        .as_f64()
        .context("no number of tasks")?;
    let meanwhile: f64 = profile.blocked.iter().map(|it| it.ready_seconds).sum();
    ensure!(
        meanwhile > 0.8 * sleepers * duration && meanwhile <= sleepers * (duration + 0.05),
        "{sleepers} tasks were ready for {duration} s, shown {meanwhile} task-seconds"
    );
    let ready = |state: &str| {
        let chains = profile.chains.iter().filter(|chain| chain.state == state);
        chains.map(|chain| chain.task_seconds).sum::<f64>()
    };
    ensure!(
        ready("ready") > 0.8 * sleepers * duration,
        "{} of {} task-seconds are ready",
        ready("ready"),
        sleepers * duration
    );
    let first = profile.await_points.first().context("no await point")?;
    ensure!(
        first.function == "main" || first.task_seconds < 0.2 * sleepers * duration,
        "those that are ready lead: {first:?}"
    );
    Ok(())
}
