//! Which thread works at what a task waits for, in which frame, or how long the line before it is: as the target says itself.

use anyhow::{Context, Result, ensure};
use awaitwhat::memory::Address;
use awaitwhat::python::executor::{Chained, JobState};
use awaitwhat::session::own_thread_ids;
use awaitwhat::symbolize::CodeCache;
use awaitwhat::target::{Interpreter, RunningJob, Workers, find_interpreter};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Value, json};

const TARGET: &str = "executor_jobs.py";

type Check = fn(&Python, &[&str]) -> Result<()>;

/// Snapshots of a loop that works all the time, of which one has to tell everything.
const MAX_SNAPSHOTS: usize = 20;

fn main() -> Result<()> {
    trials::run("jobs", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        for (name, arguments) in [
            ("in_threads", &[] as &[&str]),
            ("of_python_futures", &["python"]),
            ("that_compute", &["busy"]),
            ("of_a_loop_at_work", &["working"]),
        ] {
            for (way, check) in [("read", reads as Check), ("shown", shows)] {
                let python = python.clone();
                let name = format!("{}::{way}_{name}", python.label);
                list.push(trials::trial(name, move || check(&python, arguments)));
            }
        }
        if python.has_package("anyio") {
            for (name, arguments) in [
                ("shown_of_anyio", &["anyio"][..]),
                ("shown_of_anyio_at_work", &["working", "anyio"]),
            ] {
                let python = python.clone();
                let name = format!("{}::{name}", python.label);
                list.push(trials::trial(name, move || shows(&python, arguments)));
            }
        }
    }
    Ok(list)
}

/// What the target says of a job.
#[derive(Debug, Deserialize)]
struct Truth {
    label: String,
    task: String,
    waiter: String,
    function: Option<String>,
    state: String,
    queued_before: Option<u64>,
    pool_size: Option<u64>,
    prefix: Option<String>,
    thread: Option<ThreadTruth>,
    #[serde(default)]
    inner: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ThreadTruth {
    /// 3.7 does not know it of all threads.
    tid: Option<u32>,
    name: String,
    stack: Vec<FrameTruth>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct FrameTruth {
    function: String,
    file: String,
    line: u32,
}

fn address(text: &str) -> Result<Address> {
    let digits = text.trim_start_matches("0x");
    Ok(Address(u64::from_str_radix(digits, 16)?))
}

/// By plain reads of all objects, without the program.
fn reads(python: &Python, arguments: &[&str]) -> Result<()> {
    let target = Target::start(python, TARGET, arguments)?;
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    let loops = interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
    let plan = loops.plans.first().context("no loop runs")?;
    let types = interpreter
        .future_types(plan.layout)
        .context("it is no loop of asyncio")?;
    let mut workers = interpreter.workers(&memory)?;
    if arguments == ["busy"] {
        // A thread that computes may be met in the middle of a change.
        let mut looks = vec![std::mem::take(&mut workers)];
        while workers.running.len() < looks[0].running.len() || looks.len() < 5 {
            let next = interpreter.workers(&memory)?;
            looks
                .iter()
                .for_each(|it| workers.add(it.clone().agreeing(&next)));
            looks.push(next);
        }
    }
    ensure!(!workers.is_cut);
    let jobs: Vec<Truth> = serde_json::from_value(target.announced["jobs"].clone())?;
    ensure!(jobs.len() >= 9 && workers.queued.len() == 3, "{workers:?}");
    for truth in &jobs {
        let behind = interpreter.objects(&memory).job_behind(
            address(&truth.waiter)?,
            types,
            &mut Chained::default(),
        )?;
        let job = behind.with_context(|| format!("no job behind {truth:?}"))?;
        check(&memory, &interpreter, &workers, job, truth).with_context(|| format!("{truth:#?}"))?;
    }
    Ok(())
}

fn check(
    memory: &PeerMemory,
    interpreter: &Interpreter,
    workers: &Workers,
    job: Address,
    truth: &Truth,
) -> Result<()> {
    let objects = interpreter.objects(memory);
    let state = match objects.job_state(job)? {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done | JobState::Unknown => "other",
    };
    ensure!(state == truth.state, "it is {state}");
    let inner = objects.task_behind(job, &mut Chained::default())?;
    let expected = truth.inner.first().map(|it| address(it)).transpose()?;
    ensure!(inner == expected, "{inner:?} is behind it");
    ensure!(workers.queued.get(&job).map(|it| it.before) == truth.queued_before);
    let (running, queued) = (workers.running.get(&job), workers.queued.get(&job));
    ensure!(running.is_some() == truth.thread.is_some());
    let pool = running.map_or_else(|| queued.and_then(|it| it.pool.as_ref()), |it| it.pool.as_ref());
    if truth.prefix.is_some() {
        let pool = pool.context("it has no pool")?;
        ensure!(
            (pool.size, &pool.prefix) == (truth.pool_size, &truth.prefix),
            "{pool:?}"
        );
    }
    if let Some(queued) = queued {
        ensure!(objects.work_item_function(queued.item)? == truth.function);
    }
    let (Some(running), Some(thread)) = (running, &truth.thread) else {
        return Ok(());
    };
    ensure!(running.function == truth.function, "{:?}", running.function);
    ensure!(
        running.thread_name.as_ref() == Some(&thread.name),
        "{:?}",
        running.thread_name
    );
    ensure!(thread.tid.is_none_or(|tid| tid == running.tid), "{}", running.tid);
    check_stack(memory, interpreter, running, thread, truth)
}

/// What `ps --json` says. Of a loop that works all the time some may be missing in a snapshot, and is counted; in one of several, all is told.
fn shows(python: &Python, arguments: &[&str]) -> Result<()> {
    let target = Target::start(python, TARGET, arguments)?;
    let jobs: Vec<Truth> = serde_json::from_value(target.announced["jobs"].clone())?;
    let is_working = arguments.contains(&"working");
    for _ in 0..if is_working { MAX_SNAPSHOTS } else { 1 } {
        let outcome = tool::run(&["ps", "--json", "--pid", &target.pid.to_string()])?;
        ensure!(outcome.code() == Some(0), "{}", outcome.stderr);
        let snapshot: Value = serde_json::from_str(&outcome.stdout)?;
        if is_all_shown(&snapshot, &jobs, is_working)? {
            return Ok(());
        }
    }
    // 3.7 has no names, which tell tasks of different turns apart.
    ensure!(python.version < (3, 8), "some job is never told");
    Ok(())
}

/// Whether all jobs are told; what is told has to be true.
fn is_all_shown(snapshot: &Value, jobs: &[Truth], is_working: bool) -> Result<bool> {
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut is_all = true;
    for truth in jobs {
        let task = tasks.iter().find(|task| task["id"] == *truth.task);
        let waits_on = &task.with_context(|| format!("{} is not shown", truth.label))?["waits_on"];
        if is_working && !truth.inner.is_empty() {
            // Both loops would have to rest.
            continue;
        }
        if is_working && waits_on["resource"].is_null() {
            ensure!(snapshot["lost"]["waits"] != 0, "it is not counted: {truth:?}");
            is_all = false;
            continue;
        }
        is_shown(waits_on, truth).with_context(|| format!("{truth:#?}\nis shown as {waits_on:#}"))?;
    }
    Ok(is_all)
}

fn is_shown(waits_on: &Value, truth: &Truth) -> Result<()> {
    let resource = &waits_on["resource"];
    if let Some(inner) = truth.inner.first() {
        ensure!(resource["kind"] == "task" && resource["id"] == **inner);
        ensure!(waits_on["tasks"] == json!([inner]), "it leads nowhere");
        return Ok(());
    }
    let kind = if truth.label == "host.test" {
        "dns"
    } else {
        "thread"
    };
    ensure!(resource["kind"] == kind);
    ensure!(kind != "dns" || resource["peer"] == "host.test:80");
    ensure!(resource["detail"]["state"] == *truth.state);
    ensure!(resource["detail"]["function"] == json!(truth.function));
    ensure!(resource["position"] == json!(truth.queued_before.map(|before| before + 1)));
    if let Some(prefix) = &truth.prefix {
        ensure!(resource["detail"]["pool"] == **prefix && resource["limit"] == json!(truth.pool_size));
    }
    ensure!(truth.queued_before.is_none() || resource["waiters"] == 3);
    let thread = &resource["thread"];
    let Some(known) = &truth.thread else {
        ensure!(thread.is_null());
        return Ok(());
    };
    ensure!(thread["name"] == *known.name);
    ensure!(known.tid.is_none() || thread["tid"] == json!(known.tid));
    let stack: Vec<FrameTruth> = serde_json::from_value(thread["stack"].clone())?;
    if truth.label == "busy" {
        ensure!(stack.last().is_some_and(|frame| frame.function == "compute"));
        ensure!(thread["state"] == "running" || thread["state"] == "sleeping");
    } else {
        ensure!(stack == known.stack && thread["state"] == "sleeping" && thread["moving"] == false);
    }
    Ok(())
}

fn check_stack(
    memory: &PeerMemory,
    interpreter: &Interpreter,
    running: &RunningJob,
    thread: &ThreadTruth,
    truth: &Truth,
) -> Result<()> {
    let objects = interpreter.objects(memory);
    let mut codes = CodeCache::default();
    let mut stack = Vec::new();
    for frame in &running.frames {
        let shown = codes.frame(&objects, frame.code, frame.instruction)?;
        stack.push(FrameTruth {
            function: shown.function.to_string(),
            file: shown.file.to_string(),
            line: shown.line,
        });
    }
    if truth.label == "busy" {
        // It is in `compute`, or in what that calls; where in it, two looks need not agree.
        let outermost = stack.last().map(|frame| &*frame.function);
        ensure!(outermost == Some("compute"), "{stack:?}");
        return Ok(());
    }
    ensure!(!running.is_moving && running.left_out == 0);
    ensure!(stack == thread.stack, "{stack:#?}");
    Ok(())
}
