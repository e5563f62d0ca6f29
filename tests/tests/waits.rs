//! What tasks wait for has a name: targets that know what each of their tasks waits for, and what awaitwhat says of it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde_json::Value;

/// What a moment loses as a number in JSON, in seconds at most.
const ROUNDING: f64 = 1e-6;

/// A target whose argument is the library that its tasks wait by.
const LIBRARIES: &str = "named_library_waits.py";
/// Requests for a synchronous endpoint, of which anyio has 40 be handled at a time.
const REQUESTS: usize = 45;
const NETWORK: &str = "network_waits.py";
/// The versions on which a loop at work is looked at, and how often.
const BUSY_VERSIONS: [(u32, u32); 4] = [(3, 8), (3, 12), (3, 14), (3, 15)];
const SNAPSHOTS: usize = 10;

fn main() -> anyhow::Result<()> {
    trials::run("waits", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        for (way, file) in [
            ("at_rest", "named_waits.py"),
            ("for_sockets_and_children", "io_waits.py"),
        ] {
            let python = python.clone();
            let name = format!("{}::{way}", python.label);
            list.push(trials::trial(name, move || at_rest(&python, file, &[], 15)));
        }
        for (way, arguments) in [("of_several", &[][..]), ("of_several_in_python", &["pure"])] {
            let own = python.clone();
            let name = format!("{}::{way}", python.label);
            list.push(trials::trial(name, move || {
                at_rest(&own, "several_awaited.py", arguments, 6)
            }));
        }
        for library in ["asyncio", "anyio"] {
            let (own, name) = (
                python.clone(),
                format!("{}::open_groups_of_{library}", python.label),
            );
            // In anyio 3, which 3.7 has, nothing leads from a task to its group.
            let first = if library == "asyncio" { (3, 11) } else { (3, 8) };
            let is_there = library == "asyncio" || python.has_package(library);
            list.push(if is_there && python.version >= first {
                trials::trial(name, move || open_groups(&own, library))
            } else {
                trials::skipped(name, &format!("its {library} has no task groups that tell"))
            });
        }
        for library in ["anyio", "trio"] {
            let (own, name) = (python.clone(), format!("{}::of_{library}", python.label));
            list.push(if python.has_package(library) {
                trials::trial(name, move || at_rest(&own, LIBRARIES, &[library], 6))
            } else {
                trials::skipped(name, &format!("it has no {library}"))
            });
        }
        list.push(trial_of_endpoints(&python));
        let of_network = |libraries, least| of_network(&python, libraries, least);
        list.push(of_network(&["aiohttp"], 9));
        list.push(of_network(&["aiohttp", "uvloop"], 12));
        list.push(of_network(&["httpx"], 4));
        list.push(of_network(&["httpx", "trio"], 5));
        list.push(of_network(&["websockets"], 2));
        let (name, own) = (format!("{}::labels", python.label), python.clone());
        list.push(trials::trial(name, move || labels(&own)));
        if BUSY_VERSIONS.contains(&python.version) && !python.label.contains('-') {
            let name = format!("{}::at_work", python.label);
            list.push(trials::trial(name, move || at_work(&python)));
        }
    }
    Ok(list)
}

/// What clients and servers of a library wait for.
fn of_network(python: &Python, libraries: &'static [&'static str], least: usize) -> Trial {
    let name = format!("{}::of_{}", python.label, libraries.join("_on_"));
    // The compiled parts of aiohttp's wheels, which are for other builds, crash in these.
    if libraries.contains(&"aiohttp") && python.is_debug() {
        return trials::skipped(name, "its wheels do not work in debug builds");
    }
    if libraries.contains(&"websockets") && python.version < (3, 8) {
        return trials::skipped(name, "its websockets is another one");
    }
    if let Some(library) = libraries.iter().find(|library| !python.has_package(library)) {
        return trials::skipped(name, &format!("it has no {library}"));
    }
    let python = python.clone();
    trials::trial(name, move || at_rest(&python, NETWORK, libraries, least))
}

/// The facts that a target knows of its tasks' waits, by the task's address.
type Expected = BTreeMap<String, BTreeMap<String, Value>>;

/// Compares what is told of a target's tasks with what it says of them, which has to be of more tasks than `least`.
fn at_rest(python: &Python, file: &str, arguments: &[&str], least: usize) -> anyhow::Result<()> {
    let target = Target::start(python, file, arguments)?;
    let expected: Expected = serde_json::from_value(target.announced["expected"].clone())?;
    ensure!(expected.len() > least, "the target says too little");
    let before = monotonic();
    let snapshot = look(&target)?;
    let after = monotonic();
    ensure!(snapshot["lost"]["waits"] == 0, "something changed at rest");
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut met = 0;
    for task in tasks {
        let id = task["id"].as_str().context("no id")?;
        let Some(facts) = expected.get(id) else { continue };
        met += 1;
        let found = &task["waits_on"]["resource"];
        compare(facts, found, before, after).with_context(|| format!("{facts:?}\nfound {found}"))?;
    }
    ensure!(
        met == expected.len(),
        "{met} of {} tasks are shown",
        expected.len()
    );
    Ok(())
}

fn trial_of_endpoints(python: &Python) -> Trial {
    let name = format!("{}::sync_endpoints", python.label);
    if python.is_debug() {
        return trials::skipped(name, "FastAPI's wheels are for other builds");
    }
    if let Some(package) = ["fastapi", "uvicorn"].iter().find(|it| !python.has_package(it)) {
        return trials::skipped(name, &format!("it has no {package}"));
    }
    let python = python.clone();
    trials::trial(name, move || sync_endpoints(&python))
}

/// Of requests for a synchronous endpoint, as many have a thread as anyio has, and the others wait for its limiter.
fn sync_endpoints(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "sync_endpoints.py", &[REQUESTS.to_string()])?;
    let expected: Expected = serde_json::from_value(target.announced["expected"].clone())?;
    ensure!(
        expected.len() == REQUESTS,
        "{} tasks are expected",
        expected.len()
    );
    let snapshot = look(&target)?;
    ensure!(snapshot["lost"]["waits"] == 0, "something changed at rest");
    let mut threads = Vec::new();
    for (id, facts) in &expected {
        let tasks = snapshot["tasks"].as_array().context("no tasks")?;
        let task = tasks.iter().find(|task| task["id"] == **id);
        let found = &task.context("a task is not shown")?["waits_on"]["resource"];
        compare(facts, found, 0.0, 0.0).with_context(|| format!("{facts:?}\nfound {found}"))?;
        if let Some(thread) = found.get("thread") {
            threads.push((thread["name"].to_string(), thread["tid"].to_string()));
        }
    }
    let known = target.announced["threads"].as_array().context("no threads")?;
    let mut known: Vec<_> = known
        .iter()
        .map(|thread| (thread[0].to_string(), thread[1].to_string()))
        .collect();
    known.sort_unstable();
    threads.sort_unstable();
    ensure!(threads == known, "{threads:?} work, and not {known:?}");
    Ok(())
}

/// What the code calls what each task waits for.
fn labels(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "labels.py", &[""; 0])?;
    let expected: BTreeMap<String, Value> = serde_json::from_value(target.announced["expected"].clone())?;
    let snapshot = look(&target)?;
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut wrong = Vec::new();
    for (id, label) in &expected {
        let task = tasks.iter().find(|task| task["id"] == *id);
        let task = task.context("a task is not shown")?;
        let found = &task["waits_on"]["resource"];
        if found.is_null() || found["label"] != *label {
            wrong.push(format!("not {label}, but {}: {task}", found["label"]));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Whose children stand below whom while nobody waits for them.
fn open_groups(python: &Python, library: &str) -> anyhow::Result<()> {
    let target = Target::start(python, "open_groups.py", &[library])?;
    let expected: BTreeMap<String, Vec<Vec<String>>> =
        serde_json::from_value(target.announced["expected"].clone())?;
    let snapshot = look(&target)?;
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut met = 0;
    for task in tasks {
        let id = task["id"].as_str().context("no id")?;
        let groups = task["open_groups"].as_array().context("no groups")?;
        let found: Vec<&Value> = groups.iter().map(|group| &group["tasks"]).collect();
        let known = expected.get(id);
        met += usize::from(known.is_some());
        let known = serde_json::to_value(known.cloned().unwrap_or_default())?;
        ensure!(
            serde_json::to_value(&found)? == known,
            "{task}: {known} was expected"
        );
    }
    ensure!(
        met == expected.len(),
        "{met} of {} tasks are shown",
        expected.len()
    );
    let tree = tool::run(&["tree", "--color", "never", "--pid", &target.pid.to_string()])?;
    ensure!(
        tree.stdout.contains("TaskGroup of 2 tasks, still open"),
        "{}",
        tree.stdout
    );
    Ok(())
}

fn look(target: &Target) -> anyhow::Result<Value> {
    let outcome = tool::run(&["ps", "--json", "--pid", &target.pid.to_string()])?;
    ensure!(outcome.code() == Some(0), "{}", outcome.stderr);
    Ok(serde_json::from_str(&outcome.stdout)?)
}

/// Compares what is known of a wait with what is told of it, which was read between two moments of `CLOCK_MONOTONIC`.
fn compare(facts: &BTreeMap<String, Value>, found: &Value, before: f64, after: f64) -> anyhow::Result<()> {
    if !facts.contains_key("kind") {
        ensure!(found.is_null(), "nothing is known of this");
        return Ok(());
    }
    for (key, value) in facts {
        match key.as_str() {
            "name" => {}
            "deadline" => {
                let deadline = value.as_f64().context("a deadline is a number")?;
                let left = found["deadline_in_seconds"].as_f64().context("no deadline")?;
                let range = deadline - after - ROUNDING..=deadline - before + ROUNDING;
                ensure!(range.contains(&left), "{left} s are not in {range:?}");
            }
            "lasts" => {
                // What has gone by and what is left make up the whole.
                let lasts = value.as_f64().context("it is a number")?;
                let waited = found["waited_seconds"]
                    .as_f64()
                    .context("it is not told since when")?;
                let left = found["deadline_in_seconds"].as_f64().context("no deadline")?;
                ensure!(
                    (waited + left - lasts).abs() < ROUNDING,
                    "{waited} + {left} s are not {lasts}"
                );
            }
            "detail" => {
                for (name, value) in value.as_object().context("details are an object")? {
                    ensure!(found["detail"][name] == *value, "{name}");
                }
            }
            key if found[key] != *value => bail!("{key} is {}", found[key]),
            _ => {}
        }
    }
    Ok(())
}

fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// What tasks of a loop that works can wait for.
#[derive(serde::Deserialize)]
struct Grammar {
    /// The ids of locks, semaphores and queues, by the function that waits for them.
    things: BTreeMap<String, Vec<String>>,
    /// How long what has a number is held, in seconds.
    pauses: Vec<f64>,
    limit: i64,
}

/// Of tasks that come and go, whatever is told is true of the task that it is told of; what is not told is counted.
fn at_work(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "busy_waits.py", &[""; 0])?;
    let grammar: Grammar = serde_json::from_value(target.announced.clone())?;
    let (mut told, mut untold) = (0, 0);
    for number in 0..SNAPSHOTS {
        let snapshot = look(&target)?;
        let tasks = snapshot["tasks"].as_array().context("no tasks")?;
        let mut missing = 0;
        for task in tasks {
            match grammar
                .check(task)
                .with_context(|| format!("snapshot {number}: {task}"))?
            {
                Some(true) => told += 1,
                Some(false) => missing += 1,
                None => {}
            }
        }
        let counted = snapshot["lost"]["waits"].as_u64().context("it is not counted")?;
        ensure!(
            missing <= counted,
            "{missing} are not told, {counted} are counted"
        );
        untold += missing;
    }
    ensure!(told > 0, "nothing was told of {untold} tasks");
    Ok(())
}

impl Grammar {
    /// Whether it is told of a task what it waits for, if it waits for something that has a name, and if that can be.
    fn check(&self, task: &Value) -> anyhow::Result<Option<bool>> {
        let Some(name) = task["name"].as_str() else {
            return Ok(None);
        };
        let mut words = name.split(' ');
        let (Some(kind), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<usize>)) else {
            return Ok(None);
        };
        let Some(things) = self.things.get(kind) else {
            return Ok(None);
        };
        let frames = task["stack"].as_array().context("no stack")?;
        let is_in = |name: &str| {
            frames.iter().any(|frame| {
                let function = frame["function"].as_str().unwrap_or_default();
                function.rsplit('.').next() == Some(name)
            })
        };
        let expected = if is_in("sleep") {
            "timer"
        } else if is_in("acquire") || is_in("get") || is_in("put") {
            match kind {
                "lock" => "lock",
                "gate" => "semaphore",
                _ => "queue",
            }
        } else {
            return Ok(None);
        };
        let resource = &task["waits_on"]["resource"];
        if resource.is_null() {
            return Ok((task["state"] == "pending").then_some(false));
        }
        ensure!(resource["kind"] == expected, "{expected} was expected");
        if expected == "timer" {
            let delay: f64 = resource["detail"]["delay"]
                .as_str()
                .context("no delay")?
                .parse()?;
            ensure!(delay == self.pauses[number], "it sleeps for another time");
            let left = resource["deadline_in_seconds"].as_f64().context("no deadline")?;
            ensure!(left <= delay, "it sleeps for longer than it asked for");
            return Ok(Some(true));
        }
        ensure!(
            resource["id"] == things[number].as_str(),
            "it waits for another one"
        );
        let number = |key: &str| resource[key].as_i64();
        if task["state"] == "pending" {
            let (position, waiters) = (number("position"), number("waiters"));
            ensure!(position.is_some() && position <= waiters, "it is not in the line");
        }
        ensure!(
            kind != "gate" || number("limit") == Some(self.limit),
            "another limit"
        );
        Ok(Some(true))
    }
}
