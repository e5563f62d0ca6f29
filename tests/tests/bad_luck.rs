//! What users run into: the wrong process, too few privileges, a target that goes away, a full buffer.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::grammar::Grammar;
use awaitwhat_tests::output::{AwaitPoint, Profile, Snapshot};
use awaitwhat_tests::processes::{FullPipe, wait_until};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome, says};
use awaitwhat_tests::trace::Trace;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use serde_json::Value;

/// Exit codes, as `--help` documents them.
mod exit {
    pub const USAGE_OR_FAILURE: [i32; 2] = [1, 2];
    pub const TARGET: i32 = 3;
    pub const PRIVILEGE: i32 = 4;
    pub const TARGET_ENDED: i32 = 5;
    pub const NOT_WRITTEN: i32 = 7;
}

/// An unprivileged user's id, of Debian's `nobody`.
const NOBODY: u32 = 65534;
/// How often a process is started until it has a certain number.
const ATTEMPTS: usize = 100;
/// The library with the smallest ring buffer.
const ONE_PAGE_RING: &str = env!("CARGO_BIN_EXE_one-page-ring");
/// In microseconds.
const SMALLEST_BUDGET: &str = "10";
/// More than any test waits.
const HOURS: &str = "7200";

fn main() -> anyhow::Result<()> {
    trials::run("bad_luck", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = vec![
        trial("no_such_process", no_such_process),
        trial("not_python", not_python),
        trial("process_id_is_a_thread", process_id_is_a_thread),
        trial("no_privilege", no_privilege),
        trial("output_cannot_be_written", output_cannot_be_written),
        trial("output_is_lost", output_is_lost),
        trial("nobody_reads", nobody_reads),
        trial("slow_reader_and_signals", slow_reader_and_signals),
        trial("killed", killed),
        trial("limit_of_files_is_named", limit_of_files_is_named),
        trial("no_proc", no_proc),
    ];
    for python in environment::unsupported_pythons()? {
        let name = format!("{}::is_refused", python.label);
        list.push(trial(name, move || unknown_version_is_refused(&python)));
    }
    if let Some(python) = environment::pythons()?.pop() {
        let name = format!("{}::process_id_is_reused", python.label);
        list.push(trial(name, move || process_id_is_reused(&python)));
    }
    type Check = fn(&Python) -> anyhow::Result<()>;
    let checks: [(&str, Check); 11] = [
        ("no_asyncio", no_asyncio),
        ("no_tasks", no_tasks),
        ("target_ends", target_ends),
        ("target_execs", target_execs),
        ("target_execs_twice", target_execs_twice),
        ("target_is_killed", target_is_killed),
        ("more_loops_than_usual", more_loops_than_usual),
        ("too_deep_for_the_budget", too_deep_for_the_budget),
        ("interrupted", interrupted),
        ("chain_too_deep", chain_too_deep),
        ("loop_that_nobody_runs", loop_that_nobody_runs),
    ];
    for python in environment::pythons()? {
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
    }
    // Records are the same on every version.
    let pythons = environment::release_pythons()?;
    for python in pythons.first().into_iter().chain(pythons.last()).cloned() {
        let name = format!("{}::ring_buffer_full", python.label);
        list.push(trial(name, move || ring_buffer_full(&python)));
    }
    Ok(list)
}

/// A child that ends with this value.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(Command::new("sleep").arg(HOURS).spawn()?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every command that takes a process refuses it with `code`, says `words`, and writes nothing to standard output.
fn refused(pid: u32, code: i32, words: &[&str]) -> anyhow::Result<()> {
    let pid = pid.to_string();
    for arguments in [
        &["ps", &pid] as &[&str],
        &["ps", "--json", "--pid", &pid],
        &["tree", &pid],
        &["trace", "--pid", &pid, "-d", HOURS],
    ] {
        let outcome = tool::run(arguments)?;
        says(&outcome, code, words).with_context(|| format!("awaitwhat {}", arguments.join(" ")))?;
        ensure!(
            outcome.stdout.is_empty(),
            "standard output has {:?}",
            outcome.stdout
        );
    }
    Ok(())
}

fn no_such_process() -> anyhow::Result<()> {
    let mut child = Command::new("true").spawn()?;
    child.wait()?;
    let pid = child.id();
    refused(pid, exit::TARGET, &[&pid.to_string(), "no such process"])
}

fn not_python() -> anyhow::Result<()> {
    let sleeper = Sleeper::start()?;
    refused(sleeper.0.id(), exit::TARGET, &["Python"])
}

fn process_id_is_a_thread() -> anyhow::Result<()> {
    let python = environment::pythons()?.pop().context("no interpreter")?;
    let target = Target::start::<&str>(&python, "many_loops.py", &[])?;
    let threads = target.tasks()?;
    let tid = threads
        .iter()
        .find_map(|task| task.tid)
        .context("no task has a thread")?;
    ensure!(tid != target.pid, "the loops are in other threads than the first");
    refused(tid, exit::TARGET, &["thread"])
}

fn unknown_version_is_refused(python: &Python) -> anyhow::Result<()> {
    let mut command = python.command();
    command.args([
        "-c",
        "import sys; print('{}'); sys.stdout.flush(); sys.stdin.read()",
    ]);
    let target = Target::spawn(command)?;
    refused(target.pid, exit::TARGET, &["3.7", "3.15"])?;
    let outcome = tool::run(&["ps", &target.pid.to_string()])?;
    let age = if python.version < (3, 0) {
        "Python 2 "
    } else {
        "older than"
    };
    ensure!(
        outcome.stderr.contains(age),
        "{age} is not in {:?}",
        outcome.stderr
    );
    Ok(())
}

/// A copy of the program that every user can run.
fn public_copy() -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let copy = folder.path().join("awaitwhat");
    fs::copy(environment::program()?, &copy)?;
    Ok((folder, copy))
}

fn no_privilege() -> anyhow::Result<()> {
    let python = environment::pythons()?.pop().context("no interpreter")?;
    let target = Target::start::<&str>(&python, "idle.py", &[])?;
    let (_folder, program) = public_copy()?;
    let mut command = Command::new(program);
    command
        .args(["ps", &target.pid.to_string()])
        .uid(NOBODY)
        .gid(NOBODY);
    let outcome = tool::run_command(command)?;
    says(&outcome, exit::PRIVILEGE, &["CAP_BPF", "CAP_PERFMON", "sudo"])?;
    ensure!(
        outcome.stdout.is_empty(),
        "standard output has {:?}",
        outcome.stdout
    );
    Ok(())
}

/// It is found out before anything is traced: the trace would take longer than a test may.
fn output_cannot_be_written() -> anyhow::Result<()> {
    let python = environment::pythons()?.pop().context("no interpreter")?;
    let target = Target::start::<&str>(&python, "idle.py", &[])?;
    let folder = tempfile::tempdir()?;
    let nowhere = folder.path().join("no/such/folder/profile.svg");
    let slash = folder.path().join("new.json/");
    for path in [nowhere.as_path(), folder.path(), &slash] {
        let path = path.to_str().context("the path is not UTF-8")?;
        let pid = target.pid.to_string();
        let outcome = tool::run(&["trace", "--pid", &pid, "-d", HOURS, "-f", "json", "-o", path])?;
        let code = outcome.code().unwrap_or(-1);
        ensure!(
            exit::USAGE_OR_FAILURE.contains(&code),
            "{}: {}",
            outcome.status,
            outcome.stderr
        );
        ensure!(
            outcome.stderr.contains(path),
            "{path} is not in {:?}",
            outcome.stderr
        );
    }
    Ok(())
}

/// A program to look at, whichever it is.
fn any_target() -> anyhow::Result<Target> {
    let python = environment::pythons()?.pop().context("no interpreter")?;
    Target::start::<&str>(&python, "changes.py", &[])
}

/// There is no room, or no folder any more, when the trace is over: the summary is left, and the exit code tells.
fn output_is_lost() -> anyhow::Result<()> {
    let target = any_target()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.svg");
    let gone = path.to_str().context("the path is not UTF-8")?;
    for (path, format) in [
        ("/dev/full", "json"),
        ("/dev/full", "summary"),
        (gone, "flamegraph"),
    ] {
        let pid = target.pid.to_string();
        let trace = Trace::start(&["-p", &pid, "-d", HOURS, "-f", format, "-o", path])?;
        if path == gone {
            fs::remove_dir_all(folder.path())?;
        }
        trace.interrupt()?;
        let outcome = trace.outcome()?;
        says(&outcome, exit::NOT_WRITTEN, &[path, "could not be written"])?;
        ensure!(
            outcome.stdout.contains("Await points") && outcome.stdout.contains("worker"),
            "{path}, {format}: no summary: {}",
            outcome.stdout
        );
    }
    Ok(())
}

/// Nobody reads what is said, or what is shown: no panic, and no word of it.
fn nobody_reads() -> anyhow::Result<()> {
    let target = any_target()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.json");
    let mut command = tool::awaitwhat()?;
    command
        .args(["trace", "-d", "0.3", "-p", &target.pid.to_string(), "-o"])
        .arg(&path);
    says(&tool::run_unheard(command)?, 0, &[])?;
    let profile: Profile = serde_json::from_str(&fs::read_to_string(&path)?)?;
    ensure!(profile.pid == target.pid, "{profile:?}");
    let mut command = tool::awaitwhat()?;
    command.args(["trace", "-p", "1", "-d", "0.3"]);
    says(&tool::run_unheard(command)?, exit::TARGET, &[])?;

    let pid = target.pid.to_string();
    for arguments in [
        &["ps", &pid] as &[&str],
        &["tree", &pid],
        &["trace", "-d", "0.3", "-p", &pid],
    ] {
        let (_, closed) = std::io::pipe()?;
        let child = tool::awaitwhat()?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(closed)
            .stderr(Stdio::piped())
            .spawn()?;
        let outcome = tool::collect(child)?;
        says(&outcome, 0, &[])?;
        ensure!(outcome.stderr.is_empty(), "{arguments:?}: {}", outcome.stderr);
    }
    let full = tool::awaitwhat()?
        .args(["ps", &pid])
        .stdout(fs::File::create("/dev/full")?)
        .stderr(Stdio::piped())
        .spawn()?;
    says(
        &tool::collect(full)?,
        exit::NOT_WRITTEN,
        &["standard output", "No space"],
    )
}

/// The trace is over, and its output waits for a reader that does not read: a signal ends it.
fn slow_reader_and_signals() -> anyhow::Result<()> {
    let target = any_target()?;
    let folder = tempfile::tempdir()?;
    let pipe = FullPipe::new(folder.path())?;
    for name in ["INT", "TERM", "HUP"] {
        let mut child = tool::awaitwhat()?
            .args(["trace", "-d", "0.3", "-p", &target.pid.to_string(), "-o"])
            .arg(&pipe.path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = child.id().to_string();
        // The first one may still be for the trace.
        let ended = wait_until(&format!("the end by SIG{name}"), || {
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .stderr(Stdio::null())
                .status()?;
            Ok(child.try_wait()?.is_some())
        });
        if ended.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        ended?;
        ensure!(
            status.signal().is_some(),
            "SIG{name}: {status}, and nobody has read anything"
        );
    }
    Ok(())
}

/// Where the limit of open files is what fails, it is named, and nothing else is blamed.
fn limit_of_files_is_named() -> anyhow::Result<()> {
    let target = any_target()?;
    let pid = target.pid.to_string();
    // Enough to begin with; programs and maps take more.
    let limit = "--nofile=12";
    for arguments in [&["ps", &pid] as &[&str], &["trace", "-d", "0.3", "-p", &pid]] {
        let mut command = Command::new("prlimit");
        command
            .args([limit, "--"])
            .arg(environment::program()?)
            .args(arguments);
        let outcome = tool::run_command(command)?;
        says(&outcome, 1, &["no more files", "ulimit -n"]).with_context(|| format!("{arguments:?}"))?;
        for wrong in ["rejects", "rebuild", "panicked", "CAP_BPF"] {
            ensure!(!outcome.stderr.contains(wrong), "{}", outcome.stderr);
        }
    }
    Ok(())
}

/// Without `/proc` there seem to be no processes: that is said, and not that none is Python.
fn no_proc() -> anyhow::Result<()> {
    for arguments in [
        &["ps", "--all"] as &[&str],
        &["ps", "1"],
        &["trace", "--all", "-d", "0.3"],
    ] {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /proc; exec \"$@\"",
            "sh",
        ]);
        command.arg(environment::program()?).args(arguments);
        let outcome = tool::run_command(command)?;
        says(&outcome, exit::PRIVILEGE, &["/proc", "mount"]).with_context(|| format!("{arguments:?}"))?;
        ensure!(!outcome.stderr.contains("no Python"), "{}", outcome.stderr);
    }
    Ok(())
}

/// Of a trace that is killed nothing stays behind.
fn killed() -> anyhow::Result<()> {
    let target = any_target()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.json");
    let path = path.to_str().context("the path is not UTF-8")?;
    let trace = Trace::start(&["-p", &target.pid.to_string(), "-d", HOURS, "-o", path])?;
    trace.signal("KILL")?;
    let outcome = trace.outcome()?;
    ensure!(
        outcome.status.signal() == Some(libc::SIGKILL),
        "{}",
        outcome.status
    );
    ensure!(
        fs::read_dir(folder.path())?.next().is_none(),
        "something stays behind"
    );
    Ok(())
}

/// Well-formed empty results of every kind.
fn is_empty(python: &Python, file: &str) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, file, &[])?;
    let snapshot = tool::snapshot(target.pid)?;
    ensure!(snapshot.tasks.is_empty(), "{:?}", snapshot.tasks);
    let profile = tool::profile(target.pid, 1, 99)?;
    ensure!(
        profile.chains.is_empty() && profile.await_points.is_empty(),
        "{profile:?}"
    );
    ensure!(
        profile.mean_tasks == 0.0,
        "{} tasks in the mean",
        profile.mean_tasks
    );
    let pid = target.pid.to_string();
    for arguments in [
        &["ps", &pid] as &[&str],
        &["tree", &pid],
        &["trace", "-p", &pid, "-d", "1"],
    ] {
        let outcome = tool::run(arguments)?;
        ensure!(outcome.status.success(), "{arguments:?}: {}", outcome.stderr);
        ensure!(
            !outcome.stdout.trim().is_empty(),
            "{arguments:?} says nothing at all"
        );
    }
    Ok(())
}

fn no_asyncio(python: &Python) -> anyhow::Result<()> {
    is_empty(python, "without_asyncio.py")
}

fn no_tasks(python: &Python) -> anyhow::Result<()> {
    is_empty(python, "no_tasks.py")
}

/// The target goes away under a trace, by the line that it is told.
fn goes_away(python: &Python, how: &str) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "changes.py", &[])?;
    let trace = Trace::start(&["--pid", &target.pid.to_string(), "-d", HOURS, "-f", "json"])?;
    target.tell(how)?;
    let outcome = trace.outcome()?;
    says(&outcome, exit::TARGET_ENDED, &[])?;
    check_workers(&outcome)
}

/// What was seen of `changes.py` was written.
fn check_workers(outcome: &Outcome) -> anyhow::Result<()> {
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
    let sleeping = profile
        .await_points
        .iter()
        .find(|point| point.function == "worker");
    let sleeping = sleeping.with_context(|| format!("no worker in {profile:?}"))?;
    ensure!(
        sleeping.awaits == "sleep" && sleeping.task_seconds > 0.0,
        "{sleeping:?}"
    );
    // Three workers and the task that gathers them.
    ensure!(
        (profile.mean_tasks - 4.0).abs() < 0.5,
        "{} tasks in the mean",
        profile.mean_tasks
    );
    Ok(())
}

fn target_ends(python: &Python) -> anyhow::Result<()> {
    goes_away(python, "end")
}

fn target_execs(python: &Python) -> anyhow::Result<()> {
    goes_away(python, "exec")
}

/// It becomes two programs one after the other before the trace looks again, and the kernel gives the second one the place of the first in
/// its memory; without chance in addresses the second is like the first in all else.
fn target_execs_twice(python: &Python) -> anyhow::Result<()> {
    let plain = python.target_command("changes.py");
    let mut command = Command::new("setarch");
    command.arg("-R").arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut target = Target::spawn(command)?;
    let trace = Trace::start(&["--pid", &target.pid.to_string(), "-d", HOURS, "-f", "json"])?;
    trace.signal("STOP")?;
    target.ask("hop")?;
    trace.signal("CONT")?;
    let outcome = trace.outcome()?;
    says(&outcome, exit::TARGET_ENDED, &[])?;
    check_workers(&outcome)
}

/// The target is killed, and nothing is left of it, in the middle of a snapshot: of a loop that never rests, whose tasks are more than the
/// snapshot can have seen by then.
fn target_is_killed(python: &Python) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "restless.py", &[])?;
    let pid = target.pid.to_string();
    let snapshot = Trace::sampling(&["ps", "--json", "--budget", SMALLEST_BUDGET, &pid], target.pid)?;
    snapshot.signal("STOP")?;
    target.kill()?;
    snapshot.signal("CONT")?;
    let outcome = snapshot.outcome()?;
    says(&outcome, exit::TARGET, &["it has ended"])?;
    ensure!(
        outcome.stdout.is_empty(),
        "standard output has {:?}",
        outcome.stdout
    );
    Ok(())
}

fn more_loops_than_usual(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "many_more_loops.py", &[])?;
    let tasks = target.tasks()?;
    let threads: BTreeSet<_> = tasks.iter().map(|task| task.tid).collect();
    let profile = tool::profile(target.pid, 1, 99)?;
    ensure!(
        profile.threads == threads.len() && profile.lost["incomplete"] == 0,
        "{} of {} threads, lost {:?}",
        profile.threads,
        threads.len(),
        profile.lost
    );
    // Each task is visited once at least.
    ensure!(
        profile.task_visits >= tasks.len() as u64,
        "{} visits of {} tasks",
        profile.task_visits,
        tasks.len()
    );
    Ok(())
}

/// Some hundreds of frames take longer than the smallest budget: what runs cannot be told, but no chain is too deep.
fn too_deep_for_the_budget(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "recursion.py", &[])?;
    let pid = target.pid.to_string();
    let profile: Profile = tool::json(&[
        "trace",
        "-p",
        &pid,
        "-d",
        "1",
        "--budget",
        SMALLEST_BUDGET,
        "-f",
        "json",
    ])?;
    let count = |key: &str| profile.lost[key].as_u64();
    ensure!(
        count("truncated") == Some(0) && count("faults") == Some(0),
        "lost {:?}",
        profile.lost
    );
    ensure!(
        count("running").is_some_and(|count| count > 0),
        "the budget is too large: this tests nothing"
    );
    Ok(())
}

fn interrupted(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "changes.py", &[])?;
    let trace = Trace::start(&["--pid", &target.pid.to_string(), "-d", HOURS, "-f", "json"])?;
    trace.interrupt()?;
    let outcome = trace.outcome()?;
    says(&outcome, 0, &[])?;
    check_workers(&outcome)
}

/// The target ends, and another Python gets its number, before the trace looks again: it is stopped meanwhile.
fn process_id_is_reused(python: &Python) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "changes.py", &[])?;
    let pid = target.child_id();
    ensure!(pid == target.pid, "the target is not what was started");
    let trace = Trace::start(&["--pid", &pid.to_string(), "-d", HOURS, "-f", "json"])?;
    trace.signal("STOP")?;
    target.end();
    let _heir = start_as(pid, python)?;
    trace.signal("CONT")?;
    let outcome = trace.outcome()?;
    says(&outcome, exit::TARGET_ENDED, &[])?;
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
    let functions = |point: &AwaitPoint| point.function.clone();
    let seen: BTreeSet<String> = profile.await_points.iter().map(functions).collect();
    ensure!(
        seen == BTreeSet::from(["main".to_owned(), "worker".to_owned()]),
        "await points of {seen:?}"
    );
    Ok(())
}

/// Starts a target whose process id is `pid`, which nobody has.
fn start_as(pid: u32, python: &Python) -> anyhow::Result<Target> {
    for _ in 0..ATTEMPTS {
        // The kernel gives out the next free number; anybody else's new process may take it before ours.
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
        let target = Target::start::<&str>(python, "gather_deep.py", &[])?;
        if target.pid == pid {
            return Ok(target);
        }
    }
    bail!("no new process was given the number {pid}")
}

/// A ring buffer of one page holds some twenty tasks. A snapshot takes them bit by bit; the trace of a busy process loses some, and says so.
fn ring_buffer_full(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "busy_tasks.py", &[])?;
    let grammar: Grammar = serde_json::from_value(target.announced.clone())?;
    let pid = target.pid.to_string();
    let snapshot: Snapshot = serde_json::from_str(&with_one_page("snapshot", &pid)?)?;
    let lost: u64 = snapshot.lost.values().filter_map(Value::as_u64).sum();
    let missing = grammar.tasks.saturating_sub(snapshot.tasks.len()) as u64;
    ensure!(
        lost >= missing,
        "{missing} tasks are missing, {lost} said to be lost"
    );

    let profile = with_one_page("profile", &pid)?;
    let profile: Profile = serde_json::from_str(&profile)?;
    let full = profile.lost["ring_buffer_full"].as_u64().context("not counted")?;
    ensure!(full > 0, "a buffer of one page was not full: this tests nothing");
    // Before 3.8 a call is at its last line, which no syntax tree knows.
    for chain in profile.chains.iter().filter(|_| python.version >= (3, 8)) {
        grammar.check(&chain.frames, chain.state == "running")?;
    }
    let summary = with_one_page("summary", &pid)?;
    ensure!(
        summary.contains("ring buffer"),
        "the summary does not say so: {summary}"
    );
    Ok(())
}

/// What a run with the smallest ring buffer writes.
fn with_one_page(what: &str, pid: &str) -> anyhow::Result<String> {
    let mut command = Command::new(ONE_PAGE_RING);
    command.args([what, pid]);
    let outcome = tool::run_command(command)?;
    says(&outcome, 0, &[])?;
    Ok(outcome.stdout)
}

fn chain_too_deep(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "deep_chain.py", &[])?;
    let pid = target.pid.to_string();
    let snapshot = tool::snapshot(target.pid)?;
    let truncated = snapshot.tasks.iter().filter(|task| task.truncated).count();
    ensure!(
        truncated == 1 && snapshot.lost["truncated"] == 1,
        "{truncated} truncated, {:?}",
        snapshot.lost
    );
    let tree = tool::run(&["tree", &pid])?;
    ensure!(tree.status.success(), "{}", tree.stderr);
    let said = format!("{}{}", tree.stdout, tree.stderr);
    // The same line of `descend`, 198 times in one chain; in the other 7 times behind `six_hundred`, and up to its end as often as there is room.
    for said_so in [
        "truncated",
        "six_hundred",
        "x7",
        "… 88 frames left out …",
        "x503",
        "x198",
    ] {
        ensure!(said.contains(said_so), "the tree does not say {said_so}: {said}");
    }
    Ok(())
}

/// Its tasks cannot go on, and the main thread is elsewhere.
fn loop_that_nobody_runs(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "loop_stopped.py", &[])?;
    let pid = target.pid.to_string();
    for command in ["tree", "ps"] {
        let outcome = tool::run(&[command, &pid])?;
        says(&outcome, 0, &[])?;
        for words in [
            "No thread runs the event loop of 1 task:",
            "wait (threading.py:",
            "called from <module> (",
            "loop_stopped.py:",
        ] {
            ensure!(
                outcome.stdout.contains(words),
                "{words:?} is missing: {}",
                outcome.stdout
            );
        }
    }
    Ok(())
}
