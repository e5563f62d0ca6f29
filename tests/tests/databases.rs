//! Waits for databases have names: pools that are used up, and who has their connections; queries and commands, without what is somebody's data.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::servers::Server;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde_json::Value;

/// The libraries, the package that each needs besides, and whether its server is PostgreSQL.
const LIBRARIES: [(&str, &str, bool); 4] = [
    ("asyncpg", "asyncpg", true),
    ("psycopg", "psycopg_pool", true),
    ("redis", "redis", false),
    ("sqlalchemy", "asyncpg", true),
];
/// The versions on which a loop at work and a deadlock are looked at, and how often the former is.
const SOME_VERSIONS: [(u32, u32); 2] = [(3, 8), (3, 14)];
const SNAPSHOTS: usize = 6;
/// The version whose targets are shown in all ways.
const VIEWS_VERSION: (u32, u32) = (3, 12);

fn main() -> Result<()> {
    trials::run("databases", list)
}

fn list() -> Result<Vec<Trial>> {
    let (postgresql, redis) = (Server::postgresql()?, Server::redis()?);
    let port = |server: &Option<Server>| server.as_ref().map(|server| server.port);
    let (postgresql_port, redis_port) = (port(&postgresql), port(&redis));
    // They are needed until this process ends.
    std::mem::forget((postgresql, redis));
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        if python.label.contains('-') {
            continue;
        }
        for (library, package, is_postgresql) in LIBRARIES {
            let name = format!("{}::{library}", python.label);
            let own = python.clone();
            let port = if is_postgresql {
                postgresql_port
            } else {
                redis_port
            };
            list.push(match port {
                None => trials::skipped(name, "its server is not installed"),
                Some(_) if !(python.has_package(library) && python.has_package(package)) => {
                    trials::skipped(name, "it has no such package")
                }
                Some(port) => trials::trial(name, move || at_rest(&own, library, port)),
            });
        }
        if let Some(port) = postgresql_port
            && SOME_VERSIONS.contains(&python.version)
            && python.has_package("asyncpg")
        {
            let (name, own) = (format!("{}::deadlock", python.label), python.clone());
            list.push(trials::trial(name, move || deadlock(&own, port)));
            let name = format!("{}::at_work", python.label);
            list.push(trials::trial(name, move || at_work(&python, port)));
        }
    }
    Ok(list)
}

/// The facts that a target knows of its tasks' waits, by the task's address.
type Expected = BTreeMap<String, BTreeMap<String, Value>>;

/// Compares what is told of a target's tasks with what it says of them, and that nobody's data is told unasked.
fn at_rest(python: &Python, library: &str, port: u16) -> Result<()> {
    let target = Target::start(python, "databases.py", &[library, &port.to_string()])?;
    let expected: Expected = serde_json::from_value(target.announced["expected"].clone())?;
    ensure!(expected.len() > 3, "the target says too little");
    let secret = target.announced["secret"].as_str().context("no secret")?;
    let pid = target.pid.to_string();
    let snapshot: Value = tool::json(&["ps", "--json", &pid])?;
    compare(&snapshot, &expected)?;
    ensure!(!snapshot.to_string().contains(secret), "data is told unasked");
    let told = tool::run(&["ps", "--json", "--arguments", &pid])?.stdout;
    ensure!(told.contains(secret), "arguments are not told: {told}");
    if python.version == VIEWS_VERSION {
        for command in [&["tree", &pid][..], &["graph", &pid], &["ps", &pid]] {
            let unasked = tool::run(command)?.stdout;
            let asked = tool::run(&[command, &["--arguments"]].concat())?.stdout;
            ensure!(!unasked.contains(secret), "{command:?}: {unasked}");
            ensure!(asked.len() >= unasked.len(), "{command:?}: {asked}");
        }
    }
    why(&pid, &expected)
}

/// Compares what is told of what tasks wait for with what is known of it.
fn compare(snapshot: &Value, expected: &Expected) -> Result<()> {
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut wrong = Vec::new();
    for (id, facts) in expected {
        let task = tasks.iter().find(|task| task["id"] == **id);
        let found = &task.context("a task is not shown")?["waits_on"]["resource"];
        for (key, value) in facts.iter().filter(|(key, _)| *key != "name") {
            if found[key] != *value {
                let name = facts.get("name").unwrap_or(&Value::Null);
                wrong.push(format!("{name}: {key} is not {value}: {found}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// From a task that waits for a pool, `why` leads to those who have its connections, and to what these wait for.
fn why(pid: &str, expected: &Expected) -> Result<()> {
    let pool = expected.iter().find(|(_, facts)| facts["kind"] == "pool");
    let (id, facts) = pool.context("nobody waits for a pool")?;
    let holders = facts["holders"].as_array().context("nobody has it")?;
    let text = tool::run(&["--color", "never", "why", id, pid])?.stdout;
    let has_one = text
        .lines()
        .filter(|line| line.contains(" has one, and waits for "));
    let told = has_one.count();
    ensure!(
        text.contains(" pool") && text.contains(" in use") && told == holders.len(),
        "{text}"
    );
    Ok(())
}

/// Two tasks that have all connections of a pool, and want more of them, are told to be stuck.
fn deadlock(python: &Python, port: u16) -> Result<()> {
    let target = Target::start(python, "databases.py", &["deadlock", &port.to_string()])?;
    let expected: Expected = serde_json::from_value(target.announced["expected"].clone())?;
    let snapshot: Value = tool::json(&["ps", "--json", &target.pid.to_string()])?;
    compare(&snapshot, &expected)?;
    let findings = snapshot["findings"].as_array().context("no findings")?;
    let is_found = findings.iter().any(|finding| finding["id"] == "deadlock");
    ensure!(is_found, "{findings:?}");
    Ok(())
}

/// Of tasks that take connections and give them back all the time, whatever is told is true.
fn at_work(python: &Python, port: u16) -> Result<()> {
    let target = Target::start(python, "busy_pool.py", &[port.to_string()])?;
    let truth = &target.announced;
    let limit = truth["limit"].as_i64().context("no limit")?;
    let queries = truth["queries"].as_array().context("no queries")?;
    let (mut pools, mut asked) = (0, 0);
    for _ in 0..SNAPSHOTS {
        let snapshot: Value = tool::json(&["ps", "--json", &target.pid.to_string()])?;
        let tasks = snapshot["tasks"].as_array().context("no tasks")?;
        for task in tasks {
            let found = &task["waits_on"]["resource"];
            if found["kind"] == "pool" {
                pools += 1;
                ensure!(found["id"] == truth["pool"] && found["limit"] == limit, "{task}");
                let size = found["size"].as_i64().context("no size")?;
                ensure!((0..=limit).contains(&size), "{task}");
                let holders = found["holders"].as_array().context("nobody was asked for")?;
                ensure!(holders.len() as i64 <= limit, "{task}");
                ensure!(!holders.contains(&task["id"]), "it waits for what it has: {task}");
            } else if found["kind"] == "query" && !found["query"].is_null() {
                // What a connection is reset by before it goes back is the library's.
                let name = task["name"].as_str().unwrap_or_default();
                if let Some((_, number)) = name.strip_prefix("query ").and_then(|name| name.split_once(' ')) {
                    asked += 1;
                    let number: usize = number.parse()?;
                    let own = queries.get(number).context("no such query")?;
                    let query = found["query"].as_str().unwrap_or_default();
                    let is_reset = query.contains("pg_advisory_unlock_all");
                    ensure!(found["query"] == *own || is_reset, "{task}: {own}");
                }
            }
        }
        let findings = snapshot["findings"].as_array().context("no findings")?;
        let is_stuck = findings.iter().any(|finding| finding["id"] == "deadlock");
        ensure!(!is_stuck, "{findings:?}");
    }
    ensure!(
        pools > 0 && asked > 0,
        "{pools} tasks waited for the pool, {asked} for an answer"
    );
    Ok(())
}
