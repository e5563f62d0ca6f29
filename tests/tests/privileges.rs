//! What awaitwhat does without: ptrace, and every capability but CAP_BPF and CAP_PERFMON.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Frame, Profile, Snapshot, Task};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome};
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;

/// The launcher that forbids ptrace and its like.
const NO_PTRACE: &str = env!("CARGO_BIN_EXE_no-ptrace");
/// Two unprivileged users' ids, of Debian's `nobody` and `daemon`.
const NOBODY: u32 = 65534;
const DAEMON: u32 = 1;
const CAPABILITIES: &str = "+bpf,+perfmon";

fn main() -> anyhow::Result<()> {
    trials::run("privileges", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::pythons()?;
    let mut list = Vec::new();
    if let Some(python) = pythons.last().cloned() {
        list.push(trial("the_filter_kills", move || the_filter_kills(&python)));
    }
    for python in pythons {
        let label = python.label.clone();
        let filtered = python.clone();
        list.push(trial(format!("{label}::without_ptrace"), move || {
            without_ptrace(&filtered)
        }));
        for (name, user) in [("same_user", NOBODY), ("other_user", DAEMON)] {
            let name = format!("{label}::two_capabilities_{name}");
            if !can_change_user(&python) {
                list.push(trials::skipped(name, "other users cannot run this interpreter"));
                continue;
            }
            let python = python.clone();
            list.push(trial(name, move || two_capabilities(&python, user)));
        }
    }
    Ok(list)
}

/// The test itself is tested: what reads another process is killed.
fn the_filter_kills(python: &Python) -> anyhow::Result<()> {
    for call in ["ptrace(0, 0, 0, 0)", "process_vm_readv(1, 0, 0, 0, 0, 0)"] {
        let inner = python.command();
        let mut command = Command::new(NO_PTRACE);
        command.arg(inner.get_program()).args(inner.get_args());
        command.args(["-c", &format!("import ctypes; ctypes.CDLL(None).{call}")]);
        let outcome = tool::run_command(command)?;
        ensure!(
            outcome.status.signal() == Some(libc::SIGSYS),
            "{call}: {}",
            outcome.status
        );
    }
    Ok(())
}

fn without_ptrace(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "gather_tasks.py", &[])?;
    let program = environment::program()?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(NO_PTRACE);
        command.arg(&program).args(arguments);
        tool::run_command(command)
    };
    check_snapshot(
        &target.tasks()?,
        &run(&["ps", "--json", &target.pid.to_string()])?,
    )?;
    let pid = target.pid.to_string();
    let outcome = run(&["trace", "-p", &pid, "-d", "1", "-f", "json"])?;
    check_profile(&target.tasks()?, &outcome)?;
    let outcome = run(&["doctor", "--pid", &pid])?;
    ensure!(
        outcome.status.success(),
        "doctor: {}\n{}",
        outcome.status,
        outcome.stdout
    );
    Ok(())
}

/// Interpreters in root's home are closed to others; those of the system and of another root are not.
fn can_change_user(python: &Python) -> bool {
    python
        .command
        .first()
        .is_some_and(|program| program == "chroot" || program.starts_with("/usr/bin/"))
}

/// The target runs as `user`, awaitwhat as nobody with the two capabilities that it asks for.
fn two_capabilities(python: &Python, user: u32) -> anyhow::Result<()> {
    let (_targets, command) = command_as(python, user, "task_group.py")?;
    let target = Target::spawn(command)?;
    let (_folder, program) = public_copy()?;
    let pid = target.pid.to_string();
    let run = |arguments: &[&str]| tool::run_command(with_two_capabilities(program.as_os_str(), arguments));
    check_snapshot(&target.tasks()?, &run(&["ps", "--json", &pid])?)?;
    check_profile(
        &target.tasks()?,
        &run(&["trace", "-p", &pid, "-d", "1", "-f", "json"])?,
    )
}

/// The command that runs a target as another user, and where its copy lies that every user can read.
fn command_as(python: &Python, user: u32, file: &str) -> anyhow::Result<(tempfile::TempDir, Command)> {
    let folder = public_folder()?;
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--clear-groups",
        "--",
    ]);
    let targets = match python.command.as_slice() {
        [chroot, root, interpreter] if chroot == "chroot" => {
            command = Command::new(chroot);
            command.args([&format!("--userspec={user}:{user}"), "--groups="]);
            command.args([root, interpreter]);
            python.targets.clone()
        }
        [interpreter] => {
            for name in [file, "truth.py"] {
                let copy = folder.path().join(name);
                fs::copy(environment::targets().join(name), &copy)?;
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
            }
            command.arg(interpreter);
            folder.path().to_owned()
        }
        other => bail!("how is {other:?} run as another user?"),
    };
    command
        .arg(targets.join(file))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok((folder, command))
}

fn with_two_capabilities(program: &OsStr, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={NOBODY}"),
        &format!("--regid={NOBODY}"),
        "--clear-groups",
    ]);
    command.args([
        &format!("--inh-caps={CAPABILITIES}"),
        &format!("--ambient-caps={CAPABILITIES}"),
    ]);
    command.args([&format!("--bounding-set=-all,{CAPABILITIES}"), "--"]);
    command.arg(program).args(arguments);
    command
}

/// A copy of the program that every user can run.
fn public_copy() -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let folder = public_folder()?;
    let copy = folder.path().join("awaitwhat");
    fs::copy(environment::program()?, &copy)?;
    Ok((folder, copy))
}

fn public_folder() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn check_snapshot(truth: &[Task], outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    let snapshot: Snapshot = serde_json::from_str(&outcome.stdout)?;
    let found = differences(truth, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Every chain of the truth is there, and none besides.
fn check_profile(truth: &[Task], outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
    let places = |frames: &[Frame]| {
        let place = |frame: &Frame| format!("{} {}:{}", frame.function, frame.file, frame.line);
        frames.iter().map(place).collect::<Vec<_>>()
    };
    let expected: BTreeSet<_> = truth.iter().map(|task| places(&task.stack)).collect();
    let shown = profile.chains.iter().map(|chain| places(&chain.frames)).collect();
    ensure!(
        expected == shown,
        "the chains are {expected:#?}, shown {shown:#?}"
    );
    let mean = profile.mean_tasks;
    ensure!(
        (mean / truth.len() as f64 - 1.0).abs() < 0.03,
        "{} tasks, shown {mean} in the mean",
        truth.len()
    );
    Ok(())
}
