//! Processes whose structures are garbage: bounded work, no crash, nothing invented, and what is whole is shown.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Frame, Profile, Snapshot, Task};
use awaitwhat_tests::resident::Resident;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome};
use awaitwhat_tests::trials;
use libtest_mimic::Trial;
use serde_json::Value;

const FILE: &str = "hostile.py";
/// Corruptions of a registry: it may show fewer tasks, but has to say so.
const REGISTRIES: [&str; 2] = ["registry_", "list_"];
/// A pending task without a coroutine is one that was never initialised: there is nothing to show, and nothing is lost.
const NO_CHAIN: [&str; 1] = ["coroutine_null"];

/// One of so many corruptions is looked at in debug builds.
const OF_DEBUG_BUILDS: usize = 6;

/// What leads to shared memory, and of that one whose chain cannot be followed as that would make memory.
const SHARED: &str = "_shared";
const REFUSED: &str = "coroutine_shared";

fn main() -> anyhow::Result<()> {
    trials::run("hostile", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        let announced = Target::start(&python, FILE, &["list"])?.announced.clone();
        let corruptions: Vec<String> = serde_json::from_value(announced["corruptions"].clone())?;
        // A debug build differs by its offsets only, which `shapes` looks at, and takes twice the time.
        let step = if python.is_debug() { OF_DEBUG_BUILDS } else { 1 };
        for corruption in corruptions.into_iter().step_by(step) {
            let python = python.clone();
            let name = format!("{}::{corruption}", python.label);
            list.push(trials::trial(name, move || check(&python, &corruption)));
        }
    }
    Ok(list)
}

fn check(python: &Python, corruption: &str) -> anyhow::Result<()> {
    let target = Target::start(python, FILE, &[corruption])?;
    let pid = target.pid.to_string();
    let before = Resident::of(target.pid)?;
    check_survival(&tool::run(&["tree", &pid])?)?;
    let outcome = tool::run(&["ps", "--json", &pid])?;
    check_survival(&outcome)?;
    let after = Resident::of(target.pid)?;
    ensure!(
        after.shared == before.shared,
        "shared memory was made: {before:?}, then {after:?}"
    );
    let is_registry = REGISTRIES.iter().any(|kind| corruption.starts_with(kind));
    if is_registry {
        check_trace(&tool::run(&["trace", "-p", &pid, "-d", "1", "-f", "json"])?)?;
    }
    if is_registry && !outcome.status.success() {
        ensure!(!outcome.stderr.trim().is_empty(), "it does not say why it failed");
        return Ok(());
    }
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    let snapshot: Snapshot = serde_json::from_str(&outcome.stdout)?;
    let truth: BTreeMap<String, Task> = target
        .tasks()?
        .into_iter()
        .map(|task| (task.id.clone(), task))
        .collect();
    let victim = target.announced["victim"].as_str().context("no victim")?;
    check_shown(&truth, &snapshot, victim)?;
    let refused = snapshot.lost.get("refused").and_then(Value::as_u64);
    let is_victim_shown = snapshot.tasks.iter().any(|task| task.id == victim);
    let is_led_astray = corruption.ends_with(SHARED) && !is_registry && !is_victim_shown;
    ensure!(
        refused == Some(u64::from(is_led_astray)) && (is_led_astray || corruption != REFUSED),
        "{refused:?} tasks are said to lead to memory that is not read"
    );
    check_loss(&truth, &snapshot, victim, corruption, is_registry)
}

/// Ends by itself, with a code that it documents, and without a panic.
fn check_survival(outcome: &Outcome) -> anyhow::Result<()> {
    let code = outcome
        .code()
        .with_context(|| format!("ended by {}: {}", outcome.status, outcome.stderr))?;
    ensure!((0..=5).contains(&code), "exit code {code}: {}", outcome.stderr);
    ensure!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    Ok(())
}

/// A trace that has seen no task says why. All tasks wait without end.
fn check_trace(outcome: &Outcome) -> anyhow::Result<()> {
    check_survival(outcome)?;
    if !outcome.status.success() {
        ensure!(!outcome.stderr.trim().is_empty(), "it does not say why it failed");
        return Ok(());
    }
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
    let lost: u64 = profile.lost.values().filter_map(Value::as_u64).sum();
    ensure!(
        !profile.chains.is_empty() || lost > 0,
        "a trace shows no task, and nothing is said to be lost"
    );
    Ok(())
}

/// What is shown is there: the victim's frames are its own or marked as unknown, and everything else is as it is.
fn check_shown(truth: &BTreeMap<String, Task>, snapshot: &Snapshot, victim: &str) -> anyhow::Result<()> {
    for shown in &snapshot.tasks {
        let task = truth
            .get(&shown.id)
            .with_context(|| format!("there is no such task: {shown:?}"))?;
        if shown.id != victim {
            ensure!(task.stack == shown.stack, "{task:?}\nis shown as\n{shown:?}");
            ensure!(task.name == shown.name, "{task:?}\nis shown as\n{shown:?}");
            continue;
        }
        for frame in &shown.stack {
            let is_own = task.stack.contains(frame);
            ensure!(
                is_own || is_marked(frame) || is_renamed(frame, task),
                "invented: {frame:?}"
            );
        }
    }
    Ok(())
}

/// What stands for a frame that is not known, or for frames in the middle of a deep chain, says so.
fn is_marked(frame: &Frame) -> bool {
    matches!(frame.kind.as_deref(), Some("unknown" | "left_out"))
}

/// A frame whose code object is partly garbage still has the right function.
fn is_renamed(frame: &Frame, task: &Task) -> bool {
    task.stack
        .iter()
        .any(|own| own.function == frame.function && own.kind == frame.kind)
        && frame.line == 0
}

/// What is not shown is counted.
fn check_loss(
    truth: &BTreeMap<String, Task>,
    snapshot: &Snapshot,
    victim: &str,
    corruption: &str,
    is_registry: bool,
) -> anyhow::Result<()> {
    let is_shown = |id: &String| snapshot.tasks.iter().any(|task| task.id == *id);
    let missing: Vec<&String> = truth.keys().filter(|id| !is_shown(id)).collect();
    let lost: u64 = snapshot.lost.values().filter_map(Value::as_u64).sum();
    if !is_registry && missing.iter().any(|id| *id != victim) {
        bail!(
            "tasks that are whole are missing: {missing:?}, lost {:?}",
            snapshot.lost
        );
    }
    if !missing.is_empty() && lost == 0 && !NO_CHAIN.contains(&corruption) {
        bail!(
            "{} tasks are missing, and nothing is said to be lost",
            missing.len()
        );
    }
    Ok(())
}
