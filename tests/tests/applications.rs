//! Real applications: FastAPI in uvicorn, at rest and under load, with worker processes of uvicorn and gunicorn, and aiohttp's server with clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::{differences, stack_lines};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{AwaitPoint, Chain, Frame, Profile, Snapshot, Survey};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;

const FASTAPI: &str = "app_fastapi.py";
const AIOHTTP: &str = "app_aiohttp.py";
/// Clients that send one request after the other.
const CLIENTS: usize = 40;
/// Requests that have to be served before the load counts as such.
const WARM: u64 = 200;
/// Processes that serve it together.
const WORKERS: usize = 2;
/// The coroutine in which gunicorn's worker runs uvicorn's server, outermost of its task's.
const GUNICORNS_OWN: &str = "UvicornWorker._serve";
/// Snapshots of a process under load.
const SNAPSHOTS: u32 = 10;
const TRACE_SECONDS: u32 = 2;
const RATE: u32 = 99;
/// How long the application may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// One trial of an interpreter.
type Check = fn(&Python) -> anyhow::Result<()>;

fn main() -> anyhow::Result<()> {
    trials::run("applications", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    const SERVER: [&str; 3] = ["fastapi", "uvicorn", "uvloop"];
    let at_rest: [(&str, &[&str], Check); 3] = [
        ("aiohttp", &["aiohttp", "httpx"], aiohttp),
        ("fastapi", &SERVER, |python| fastapi(python, "asyncio")),
        ("fastapi_in_uvloop", &SERVER, |python| fastapi(python, "uvloop")),
    ];
    const GUNICORN: [&str; 4] = ["fastapi", "gunicorn", "uvicorn", "uvicorn_worker"];
    let under_load: [(&str, &[&str], Check); 3] = [
        ("fastapi_under_load", &SERVER, under_load),
        ("fastapi_uvicorn_workers", &SERVER, |python| {
            workers_under_load(python, uvicorn)
        }),
        ("fastapi_gunicorn_workers", &GUNICORN, |python| {
            workers_under_load(python, gunicorn)
        }),
    ];
    let mut list = Vec::new();
    let pythons = environment::release_pythons()?;
    let oldest = pythons.iter().position(|it| it.version >= (3, 11));
    for (number, python) in pythons.iter().enumerate() {
        let mut checks = at_rest.to_vec();
        // The load is for the newest, and the oldest whose names of functions are qualified: others pass for one another. It takes the whole machine.
        if Some(number) == oldest || number + 1 == pythons.len() {
            checks.extend(under_load);
        }
        for (name, needs, check) in checks {
            let name = format!("{}::{name}", python.label);
            let python = python.clone();
            list.push(match needs.iter().find(|it| !python.has_package(it)) {
                Some(missing) => trials::skipped(name, &format!("needs {missing}")),
                None => trials::trial(name, move || check(&python)),
            });
        }
    }
    Ok(list)
}

fn aiohttp(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, AIOHTTP, &[])?;
    let truth = target.tasks()?;
    let handlers = truth.iter().filter(|task| has(&task.stack, "waits")).count();
    ensure!(handlers == 2, "{handlers} handlers are parked, of 2: {truth:?}");
    let found = differences(&truth, &tool::snapshot(target.pid)?);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Requests parked at a lock, in a gather, and in a thread.
fn fastapi(python: &Python, event_loop: &str) -> anyhow::Result<()> {
    let mut target = Target::start(python, FASTAPI, &[event_loop])?;
    let port = port(&target)?;
    let paths = ["/lock", "/lock", "/fan/1", "/fan/2", "/thread"];
    let requests = paths.map(|path| request(port, path));
    // They are parked for as long as they are open.
    let requests = requests.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let answer = target.ask(&format!("report {}", requests.len()))?;
    target.announced = answer;
    let truth = target.tasks()?;
    for (function, count) in [("at_lock", 2), ("fans_out", 2), ("fan", 2), ("query", 4)] {
        let found = truth.iter().filter(|task| has(&task.stack, function)).count();
        ensure!(found == count, "{found} tasks are in {function}, of {count}");
    }
    let mut snapshot = tool::snapshot(target.pid)?;
    let mut ticking = 0;
    for shown in &mut snapshot.tasks {
        // uvicorn looks around ten times a second: each time it waits for a new future.
        if let (true, Some(waits)) = (
            has(&shown.stack, &shown_name(python, "Server.main_loop")),
            &mut shown.waits_on,
        ) {
            let own = truth.iter().find(|task| task.id == shown.id);
            if let Some(own) = own.and_then(|task| task.waits_on.as_ref()) {
                waits.id.clone_from(&own.id);
                ticking += 1;
            }
        }
    }
    ensure!(ticking == 1, "{ticking} tasks are uvicorn's own");
    let found = differences(&truth, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Every chain that is shown is put together from steps that the application has seen itself take, and the handlers dominate.
fn under_load(python: &Python) -> anyhow::Result<()> {
    let (target, load, paths) = learn(python)?;
    load.wait()?;
    watch(target.pid, python, &paths)?;
    load.end()
}

/// The application under load, and what it has seen itself do.
fn learn(python: &Python) -> anyhow::Result<(Target, Load, Paths)> {
    let mut target = Target::start(python, FASTAPI, &["asyncio"])?;
    target.ask("warm up")?;
    let load = Load::start(port(&target)?);
    load.wait()?;
    let paths = serde_json::from_value(target.ask("grammar")?)?;
    Ok((target, load, paths))
}

/// Looks at a process under load by `ps` and by `trace`.
fn watch(pid: u32, python: &Python, paths: &Paths) -> anyhow::Result<()> {
    let mut handlers = 0;
    for _ in 0..SNAPSHOTS {
        handlers += paths.check_snapshot(&tool::snapshot(pid)?)?;
    }
    ensure!(handlers > 0, "no request was ever shown");
    let profile: Profile = tool::profile(pid, TRACE_SECONDS, RATE)?;
    check_profile(python, paths, &profile.chains, &profile.await_points)
}

fn check_profile(
    python: &Python,
    paths: &Paths,
    chains: &[Chain],
    await_points: &[AwaitPoint],
) -> anyhow::Result<()> {
    for chain in chains {
        paths
            .check(&chain.frames, &chain.state)
            .with_context(|| format!("{}\n{}", chain.state, stack_lines(&chain.frames)))?;
    }
    let first = await_points.first().context("no await point")?;
    let line = line_of_work()?;
    ensure!(
        (first.function.as_str(), first.line, first.awaits.as_str())
            == ("work", line, &*shown_name(python, "sleep")),
        "the handler's await point (line {line}) does not come first: {await_points:?}"
    );
    Ok(())
}

/// Looks at all workers of a server under load by one command each: `ps`, `trace`, and `trace --merge`.
fn workers_under_load(python: &Python, server: ServerWords) -> anyhow::Result<()> {
    let (target, load, paths) = learn(python)?;
    load.end()?;
    drop(target);
    let server = Server::start(python, server)?;
    let load = Load::start(server.port);
    load.wait()?;
    let master = server.master().to_string();
    let of_all = ["--subprocesses", "--pid", &master];
    let mut handlers = BTreeMap::new();
    for _ in 0..SNAPSHOTS {
        let survey: Survey<Snapshot> = tool::json(&[&["ps", "--json"], &of_all[..]].concat())?;
        server.is_shown_by(&survey, |snapshot| (snapshot.pid, snapshot.tasks.len()))?;
        for snapshot in &survey.targets {
            *handlers.entry(snapshot.pid).or_insert(0) += paths.check_snapshot(snapshot)?;
        }
    }
    let busy = server.workers.iter().filter(|pid| handlers[pid] > 0).count();
    ensure!(
        busy == WORKERS,
        "requests are shown in {busy} workers: {handlers:?}"
    );
    let (seconds, rate) = (TRACE_SECONDS.to_string(), RATE.to_string());
    let trace = [&["trace", "-f", "json", "-d", &seconds, "-r", &rate], &of_all[..]].concat();
    let survey: Survey<Profile> = tool::json(&trace)?;
    server.is_shown_by(&survey, |profile| (profile.pid, profile.chains.len()))?;
    for profile in survey.targets.iter().filter(|it| it.pid != server.master()) {
        check_profile(python, &paths, &profile.chains, &profile.await_points)
            .with_context(|| format!("worker {}", profile.pid))?;
    }
    let merged: Together = tool::json(&[&trace[..], &["--merge"]].concat())?;
    let merged = merged.merged;
    let pids: BTreeSet<u32> = merged.processes.iter().map(|process| process.pid).collect();
    ensure!(server.workers.is_subset(&pids), "{pids:?} are merged");
    check_profile(python, &paths, &merged.chains, &merged.await_points)?;
    load.wait()?;
    load.end()?;
    server.end()
}

/// A profile of several processes together.
#[derive(Deserialize)]
struct Together {
    merged: Merged,
}

#[derive(Deserialize)]
struct Merged {
    processes: Vec<Process>,
    chains: Vec<Chain>,
    await_points: Vec<AwaitPoint>,
}

#[derive(Deserialize)]
struct Process {
    pid: u32,
}

/// Gives the words of a server's command line, behind `python -m`.
type ServerWords = fn(u16) -> String;

fn uvicorn(port: u16) -> String {
    format!(
        "uvicorn app_fastapi:app --workers {WORKERS} --loop asyncio --http h11 --no-access-log --log-level warning \
        --host 127.0.0.1 --port {port}"
    )
}

fn gunicorn(port: u16) -> String {
    format!(
        "gunicorn app_fastapi:app --workers {WORKERS} --worker-class uvicorn_worker.UvicornWorker --no-control-socket \
        --bind 127.0.0.1:{port}"
    )
}

/// A server that runs the application by worker processes.
struct Server {
    target: Target,
    port: u16,
    workers: BTreeSet<u32>,
}

impl Server {
    fn start(python: &Python, words: ServerWords) -> anyhow::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = python.command();
        let packages = python.packages.iter();
        let paths: Vec<_> = packages.chain([&python.targets]).collect();
        command
            .env("PYTHONPATH", std::env::join_paths(paths)?)
            .arg("-m")
            .args(words(port).split_whitespace());
        // Its workers announce themselves.
        let mut target = Target::spawn(command)?;
        let mut workers = BTreeSet::from([target.pid]);
        while workers.len() < WORKERS {
            let worker = target.next_line()?;
            let pid = worker["pid"].as_u64().context("a worker without an id")?;
            workers.insert(u32::try_from(pid)?);
        }
        ensure!(
            !workers.contains(&target.child_id()),
            "the master is one of {workers:?}"
        );
        Ok(Self {
            target,
            port,
            workers,
        })
    }

    fn master(&self) -> u32 {
        self.target.child_id()
    }

    /// Whether all workers, and no other process with tasks, are in what was seen; `what` tells a process's id, and how much was seen of it.
    fn is_shown_by<T>(&self, survey: &Survey<T>, what: fn(&T) -> (u32, usize)) -> anyhow::Result<()> {
        let shown = survey.targets.iter().map(what).filter(|(_, tasks)| *tasks > 0);
        let shown: BTreeSet<u32> = shown.map(|(pid, _)| pid).collect();
        ensure!(
            shown == self.workers && survey.refused.is_empty(),
            "the workers are {:?}, shown {shown:?}, refused {:?}",
            self.workers,
            survey.refused
        );
        Ok(())
    }

    /// Ends it as an administrator does.
    fn end(mut self) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(self.master().to_string()).status()?;
        ensure!(status.success(), "the server has ended by itself");
        self.target.end();
        Ok(())
    }
}

/// The line at which the handler waits.
fn line_of_work() -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(environment::targets().join(FASTAPI))?;
    let found = text.lines().position(|line| line.ends_with("# point: work"));
    Ok(u32::try_from(found.context("no such line")?)? + 1)
}

/// A function's name as the version shows it: the qualified one since 3.11.
fn shown_name(python: &Python, qualified: &str) -> String {
    let plain = qualified.rsplit('.').next().unwrap_or_default();
    if python.version >= (3, 11) {
        qualified
    } else {
        plain
    }
    .to_owned()
}

fn has(stack: &[Frame], function: &str) -> bool {
    stack.iter().any(|frame| frame.function == function)
}

/// What the application's loop was seen to do.
#[derive(Deserialize)]
struct Paths {
    /// Function, file and line, and the function that it led to there.
    steps: BTreeSet<(String, String, u32, String)>,
    /// Where a function began or rested.
    rests: BTreeSet<(String, String, u32)>,
    /// Functions that are called by no coroutine.
    roots: BTreeSet<String>,
}

impl Paths {
    /// Checks every task of a process; returns how many of them are requests.
    fn check_snapshot(&self, snapshot: &Snapshot) -> anyhow::Result<usize> {
        let mut handlers = 0;
        for task in &snapshot.tasks {
            self.check(&task.stack, &task.state)
                .with_context(|| format!("{:?} {}\n{}", task.name, task.state, stack_lines(&task.stack)))?;
            if has(&task.stack, "work") && task.state != "running" {
                handlers += 1;
                self.check_refuses_gaps(&task.stack, &task.state)?;
            }
        }
        Ok(handlers)
    }

    /// Whether a task can be in `stack`. What a running task calls is not looked at: it may be anything.
    fn check(&self, stack: &[Frame], state: &str) -> anyhow::Result<()> {
        let stack = match stack.split_last() {
            Some((outermost, inside)) if outermost.function == GUNICORNS_OWN => inside,
            _ => stack,
        };
        let outermost = stack.last().context("no frame at all")?;
        ensure!(
            self.roots.contains(&outermost.function),
            "{} is no task's",
            outermost.function
        );
        if state == "running" {
            return Ok(());
        }
        let place = |frame: &Frame| (frame.function.clone(), frame.file.clone(), frame.line);
        for (inner, outer) in stack.iter().zip(stack.iter().skip(1)) {
            let (function, file, line) = place(outer);
            let step = (function, file, line, inner.function.clone());
            ensure!(self.steps.contains(&step), "{step:?} was never taken");
        }
        let innermost = stack.first().map(place).unwrap_or_default();
        ensure!(
            self.rests.contains(&innermost),
            "{innermost:?} is not where it rests"
        );
        Ok(())
    }

    /// The check itself is checked: a chain that lacks one of its frames is found out.
    fn check_refuses_gaps(&self, stack: &[Frame], state: &str) -> anyhow::Result<()> {
        for gap in 0..stack.len() {
            let mut torn = stack.to_vec();
            torn.remove(gap);
            ensure!(
                self.check(&torn, state).is_err(),
                "passes for a possible chain:\n{}",
                stack_lines(&torn)
            );
        }
        Ok(())
    }
}

fn port(target: &Target) -> anyhow::Result<u16> {
    Ok(u16::try_from(
        target.announced["port"].as_u64().context("no port")?,
    )?)
}

/// Sends a request and leaves the connection open.
fn request(port: u16, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream)
}

/// Clients that keep an application busy. They stop with this value.
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let client = || {
            let (is_over, served) = (is_over.clone(), served.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let mut answer = String::new();
                    request(port, "/work")?.read_to_string(&mut answer)?;
                    ensure!(
                        answer.ends_with("\"done\""),
                        "the application answered {answer:?}"
                    );
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Self {
            is_over,
            served,
            clients,
        }
    }

    /// Waits until more requests have been served.
    fn wait(&self) -> anyhow::Result<()> {
        let enough = self.served.load(Ordering::Relaxed) + WARM;
        while self.served.load(Ordering::Relaxed) < enough {
            if self.clients.iter().any(JoinHandle::is_finished) {
                bail!("a client has ended");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops the clients; an error of one is an error of the load.
    fn end(mut self) -> anyhow::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
