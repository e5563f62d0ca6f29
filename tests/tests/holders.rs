//! What tasks are inside of, and who holds what others wait for.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use awaitwhat::memory::Address;
use awaitwhat::python::inside::Blocks;
use awaitwhat::session::own_thread_ids;
use awaitwhat::target::find_interpreter;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

/// Versions whose tasks are asked for what they hold.
const VERSIONS: [(u32, u32); 6] = [(3, 8), (3, 11), (3, 12), (3, 13), (3, 14), (3, 15)];
/// Snapshots of a program that takes locks all the time.
const SNAPSHOTS: usize = 20;

fn main() -> Result<()> {
    trials::run("holders", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        let name = format!("{}::blocks", python.label);
        let blocks_python = python.clone();
        list.push(trials::trial(name, move || blocks(&blocks_python)));
        if !VERSIONS.contains(&python.version) || python.label.contains('-') {
            continue;
        }
        for manner in [
            "held",
            "left",
            "crossed",
            "ring",
            "itself",
            "awaited",
            "semaphores",
        ] {
            let (name, python) = (format!("{}::{manner}", python.label), python.clone());
            list.push(trials::trial(name, move || at_rest(&python, manner)));
        }
        let name = format!("{}::busy", python.label);
        let busy_python = python.clone();
        list.push(trials::trial(name, move || busy(&busy_python)));
        let beside_python = python.clone();
        let name = format!("{}::beside", python.label);
        list.push(trials::trial(name, move || beside(&beside_python)));
        let own = python.clone();
        let name = format!("{}::graph_and_stack", python.label);
        list.push(trials::trial(name, move || graph_and_stack(&own)));
        let name = format!("{}::why", python.label);
        list.push(trials::trial(name, move || why(&python)));
    }
    Ok(list)
}

/// What a target says of one of its tasks.
#[derive(Deserialize)]
struct Truth {
    coroutine: String,
    /// The objects whose blocks it is inside of, outermost first.
    inside: Vec<String>,
}

fn address(text: &str) -> Result<Address> {
    let digits = text.strip_prefix("0x").context("an address begins with 0x")?;
    Ok(Address(u64::from_str_radix(digits, 16)?))
}

/// What suspended tasks are inside of, as it is read from their stacks.
fn blocks(python: &Python) -> Result<()> {
    let target = Target::start::<&str>(python, "holders.py", &[])?;
    let truth: BTreeMap<String, Truth> = serde_json::from_value(target.announced["blocks"].clone())?;
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    interpreter.process_id = Some(target.pid);
    let loops = interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
    let plan = loops.plans.first().context("no loop was found")?;
    let frames = interpreter
        .frames(&memory, plan.layout)
        .context("there is a plan, but no layout")?;
    let mut blocks = Blocks::new(frames);
    let mut wrong = Vec::new();
    for (name, truth) in &truth {
        let chain = frames.chain_frames(address(&truth.coroutine)?)?;
        let found: Vec<String> = blocks
            .of_chain(&chain)?
            .iter()
            .map(|block| block.object.to_string())
            .collect();
        if found != truth.inside {
            wrong.push(format!("{name} is inside of {:?}, found {found:?}", truth.inside));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What a target says of what one of its tasks waits for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Wait {
    id: String,
    /// The tasks that have it, and whether these are all.
    holders: Vec<String>,
    known: bool,
}

fn snapshot(target: &Target) -> Result<Value> {
    tool::json(&["ps", "--json", "--pid", &target.pid.to_string()])
}

/// Ids of the tasks of each deadlock that a snapshot tells of.
fn deadlocks(snapshot: &Value) -> Result<Vec<Vec<String>>> {
    let findings = snapshot["findings"].as_array().context("there are no findings")?;
    let deadlocks = findings.iter().filter(|finding| finding["id"] == "deadlock");
    deadlocks
        .map(|finding| {
            let tasks = finding["tasks"].as_array().context("it has no tasks")?;
            let ids = tasks
                .iter()
                .map(|task| serde_json::from_value(task["task"].clone()));
            let mut ids: Vec<String> = ids.collect::<Result<_, _>>()?;
            ids.sort_unstable();
            Ok(ids)
        })
        .collect()
}

/// Who holds what, and which tasks wait for each other, of a program that rests.
fn at_rest(python: &Python, manner: &str) -> Result<()> {
    let target = Target::start(python, "lock_deadlock.py", &[manner])?;
    let expected: BTreeMap<String, Wait> = serde_json::from_value(target.announced["waits"].clone())?;
    let ways: Vec<Vec<Vec<String>>> = serde_json::from_value(target.announced["deadlocks"].clone())?;
    let snapshot = snapshot(&target)?;
    let mut found = BTreeMap::new();
    for task in snapshot["tasks"].as_array().context("there are no tasks")? {
        let resource = &task["waits_on"]["resource"];
        if resource["holders"].is_null() {
            continue;
        }
        let mut holders: Vec<String> = serde_json::from_value(resource["holders"].clone())?;
        holders.sort_unstable();
        let wait = Wait {
            id: serde_json::from_value(resource["id"].clone())?,
            holders,
            known: resource["holder_known"].as_bool().context("it is not said")?,
        };
        found.insert(serde_json::from_value(task["id"].clone())?, wait);
    }
    ensure!(found == expected, "expected {expected:#?}, found {found:#?}");
    let deadlocks = deadlocks(&snapshot)?;
    let are_right = ways.len() == deadlocks.len()
        && ways
            .iter()
            .all(|ways| ways.iter().any(|way| deadlocks.contains(way)));
    ensure!(are_right, "expected {ways:?}, found {deadlocks:?}");
    Ok(())
}

/// A program that takes locks all the time is never said to be stuck.
fn busy(python: &Python) -> Result<()> {
    let target = Target::start(python, "lock_deadlock.py", &["busy"])?;
    for _ in 0..SNAPSHOTS {
        let deadlocks = deadlocks(&snapshot(&target)?)?;
        ensure!(deadlocks.is_empty(), "{deadlocks:?}");
    }
    Ok(())
}

/// In a program that goes on, a deadlock is told in one of some snapshots, and no other one in any.
fn beside(python: &Python) -> Result<()> {
    let target = Target::start(python, "lock_deadlock.py", &["beside"])?;
    let ways: Vec<Vec<Vec<String>>> = serde_json::from_value(target.announced["deadlocks"].clone())?;
    for _ in 0..SNAPSHOTS {
        let deadlocks = deadlocks(&snapshot(&target)?)?;
        if deadlocks.is_empty() {
            continue;
        }
        ensure!(
            ways.contains(&deadlocks),
            "expected {ways:?}, found {deadlocks:?}"
        );
        return Ok(());
    }
    anyhow::bail!("it was in none of {SNAPSHOTS} snapshots")
}

/// A deadlock is drawn in red, and the stack of a task ends in what it waits for, and goes on with who awaits it.
fn graph_and_stack(python: &Python) -> Result<()> {
    let target = Target::start(python, "lock_deadlock.py", &["crossed"])?;
    let pid = target.pid.to_string();
    let said = |arguments: &[&str]| -> Result<String> {
        let outcome = tool::run(arguments)?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
        Ok(outcome.stdout)
    };
    let dot = said(&["graph", &pid])?;
    let red = dot.lines().filter(|line| line.contains("color=red"));
    // Two tasks, and from each to what it waits for, and from there to who holds that.
    ensure!(red.count() == 6 && dot.contains("held by"), "{dot}");
    let svg = said(&["graph", &pid, "--format", "svg"])?;
    ensure!(
        svg.trim_end().ends_with("</svg>") && svg.contains("#ff0000"),
        "{svg}"
    );
    let stacks = said(&["--color", "never", "stack", "--all-tasks", &pid])?;
    ensure!(
        stacks.contains("waits for lock") && stacks.contains("  File \""),
        "{stacks}"
    );
    Ok(())
}

/// `why` leads from a task to the cause, and offers names where there is no such task.
fn why(python: &Python) -> Result<()> {
    let target = Target::start(python, "lock_deadlock.py", &["held"])?;
    let pid = target.pid.to_string();
    let names: BTreeMap<String, String> = serde_json::from_value(target.announced["names"].clone())?;
    let id = |name: &str| names.get(name).context("there is no such task");
    let said = |task: &str| -> Result<String> {
        let outcome = tool::run(&["--color", "never", "why", task, &pid])?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
        Ok(outcome.stdout)
    };
    let text = said(id("wants-managed")?)?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.len() == 3
            && lines[0].contains("waits for lock")
            && lines[0].contains("in late (")
            && lines[1].contains(" holds it, and waits for "),
        "{text}"
    );
    let text = said(id("wants-unknown")?)?;
    ensure!(text.contains("Who holds it is not known"), "{text}");
    if python.version < (3, 8) {
        return Ok(());
    }
    let text = said("wants-managed")?;
    ensure!(
        text.starts_with("wants-managed waits for lock")
            && text.contains("\nmanager holds it, and waits for "),
        "{text}"
    );
    let outcome = tool::run(&["why", "wants-manged", &pid])?;
    tool::says(&outcome, 3, &["has no task", "wants-managed"])
}
