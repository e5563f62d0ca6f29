//! What awaitwhat does without: ptrace, and every capability but CAP_BPF and CAP_PERFMON.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Frame, Profile, Snapshot, Task};
use awaitwhat_tests::processes::{FullPipe, is_running, printed_pid, wait_until};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome, says};
use awaitwhat_tests::trace::Trace;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;

/// The launcher that forbids ptrace and its like.
const NO_PTRACE: &str = env!("CARGO_BIN_EXE_no-ptrace");
/// Two unprivileged users' ids, of Debian's `nobody` and `daemon`.
const NOBODY: u32 = 65534;
const DAEMON: u32 = 1;
const CAPABILITIES: &str = "+bpf,+perfmon";
/// The exit code for want of a privilege.
const PRIVILEGE: i32 = 4;
/// The exit code where some of several processes are not shown.
const SOME: i32 = 6;
/// Mounts a `/proc` that hides as much as the first argument says, and becomes the program that the others name.
const HIDE: &str = r#"mount -t proc -o "hidepid=$0" proc /proc; exec "$@""#;

fn main() -> anyhow::Result<()> {
    trials::run("privileges", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::pythons()?;
    let mut list = vec![
        trial("program_is_roots_own", program_is_roots_own),
        trial("program_gets_none_of_ours", program_gets_none_of_ours),
        trial(
            "program_of_another_user_is_ended",
            program_of_another_user_is_ended,
        ),
        trial("foreign_folders", foreign_folders),
    ];
    if let Some(python) = pythons.last().cloned() {
        list.push(trial("the_filter_kills", move || the_filter_kills(&python)));
    }
    if let Some(python) = pythons.last().cloned() {
        let other = python.clone();
        list.push(trial("only_the_reader_is_privileged", move || {
            only_the_reader_is_privileged(&other)
        }));
        list.push(trial("nobody_is_privileged_who_writes", move || {
            nobody_is_privileged_who_writes(&python)
        }));
    }
    for python in pythons {
        let label = python.label.clone();
        let hidden = python.clone();
        list.push(trial(format!("{label}::hidden_proc"), move || {
            hidden_proc(&hidden)
        }));
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

/// A `/proc` that hides other users' processes does not tell their threads: that is no answer, and no empty one.
fn hidden_proc(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "gather_tasks.py", &[])?;
    let (_folder, program) = public_copy()?;
    let pid = target.pid.to_string();
    for hides in ["1", "2"] {
        for arguments in [
            &["ps", "--json", &pid] as &[&str],
            &["tree", &pid],
            &["trace", "-p", &pid, "-d", "1"],
        ] {
            let outcome = run_hidden(&program, hides, arguments)?;
            says(&outcome, PRIVILEGE, &["hidepid"])
                .with_context(|| format!("hidepid={hides}, {arguments:?}"))?;
            ensure!(
                outcome.stdout.is_empty(),
                "standard output has {:?}",
                outcome.stdout
            );
        }
        hidden_selection(&program, hides)?;
        let outcome = run_hidden(&program, hides, &["doctor"])?;
        ensure!(outcome.stdout.contains("hidepid"), "doctor: {}", outcome.stdout);
    }
    Ok(())
}

/// Where processes are hidden, none was found because of that, or some are missing: other tests have targets of this user.
fn hidden_selection(program: &Path, hides: &str) -> anyhow::Result<()> {
    for arguments in [
        &["ps", "--all"] as &[&str],
        &["tree", "--name", "gather_tasks"],
        &["trace", "--all", "-d", "1"],
    ] {
        let outcome = run_hidden(program, hides, arguments)?;
        ensure!(
            matches!(outcome.code(), Some(PRIVILEGE | SOME)) && outcome.stderr.contains("hidepid"),
            "hidepid={hides}, {arguments:?}: {}, {}",
            outcome.status,
            outcome.stderr
        );
    }
    Ok(())
}

/// Runs `program` with two capabilities where `/proc` hides so much.
fn run_hidden(program: &Path, hides: &str, arguments: &[&str]) -> anyhow::Result<Outcome> {
    let inner = with_two_capabilities(program.as_os_str(), arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", HIDE, hides]);
    command.arg(inner.get_program()).args(inner.get_args());
    tool::run_command(command)
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

/// The lines of a `status` file that tell capabilities, by their names: `CapPrm` and so on.
fn capabilities(status: &str) -> BTreeMap<String, u64> {
    let sets = status.lines().filter_map(|line| {
        let (name, mask) = line.split_once(':')?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        name.starts_with("Cap").then(|| (name.to_owned(), mask))
    });
    sets.collect()
}

/// What each thread of a process is permitted on request (`CapPrm`), or now (`CapEff`).
fn held(pid: u32, set: &str) -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may have ended.
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let sets = capabilities(&status);
        all.extend(sets.get(set));
    }
    all.sort_unstable();
    Ok(all)
}

/// CAP_BPF and CAP_PERFMON; where the kernel's setting asks for it, CAP_SYS_ADMIN.
fn needed() -> anyhow::Result<u64> {
    let paranoid: i32 = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")?
        .trim()
        .parse()?;
    Ok(1 << 38 | 1 << 39 | u64::from(paranoid > 2) << 21)
}

/// Root's trace: one thread can read, the other one nothing, and neither can ever have more again.
fn only_the_reader_is_privileged(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "changes.py", &[])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.json");
    let path = path.to_str().context("the path is not UTF-8")?;
    let trace = Trace::start(&["-p", &target.pid.to_string(), "-d", "7200", "-o", path])?;
    let needed = needed()?;
    let (now, ever) = (held(trace.pid(), "CapEff")?, held(trace.pid(), "CapPrm")?);
    ensure!(now == [0, needed] && ever == now, "{now:x?}, {ever:x?}");
    trace.interrupt()?;
    says(&trace.outcome()?, 0, &[])
}

/// While it writes, to a reader that does not read, no thread has anything.
fn nobody_is_privileged_who_writes(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "changes.py", &[])?;
    let folder = tempfile::tempdir()?;
    let pipe = FullPipe::new(folder.path())?;
    let mut child = tool::awaitwhat()?
        .args([
            "trace",
            "-d",
            "0.3",
            "-p",
            &target.pid.to_string(),
            "-f",
            "json",
            "-o",
        ])
        .arg(&pipe.path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = child.id();
    let given_up = wait_until("giving up all capabilities", || {
        ensure!(
            child.try_wait()?.is_none(),
            "it has ended, and nobody has read anything"
        );
        Ok(held(pid, "CapPrm")?.iter().all(|permitted| *permitted == 0))
    });
    child.kill()?;
    child.wait()?;
    given_up
}

/// What root starts has what root's shell would give to it, also from a folder of somebody else's.
fn program_is_roots_own() -> anyhow::Result<()> {
    let folder = public_folder()?;
    let program = folder.path().join("cat");
    fs::copy("/bin/cat", &program)?;
    chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    let mut plain = Command::new(&program);
    plain.arg("/proc/self/status");
    let plain = capabilities(&tool::run_command(plain)?.stdout);
    ensure!(plain.get("CapEff").is_some_and(|set| *set != 0), "{plain:x?}");
    let mut command = tool::awaitwhat()?;
    command
        .args(["trace", "--"])
        .arg(&program)
        .arg("/proc/self/status");
    let traced = capabilities(&tool::run_command(command)?.stdout);
    ensure!(traced == plain, "{traced:x?} for {plain:x?}");
    Ok(())
}

/// What a user starts who was given the two capabilities has none of them.
fn program_gets_none_of_ours() -> anyhow::Result<()> {
    let (_folder, program) = public_copy()?;
    let arguments = ["trace", "--", "cat", "/proc/self/status"];
    let outcome = tool::run_command(with_two_capabilities(program.as_os_str(), &arguments))?;
    let mut sets = capabilities(&outcome.stdout);
    // What its children could get at most, from files: that is no privilege.
    sets.remove("CapBnd");
    ensure!(
        sets.len() == 4 && sets.values().all(|set| *set == 0),
        "{sets:x?}, {}",
        outcome.stderr
    );
    Ok(())
}

/// Root has started a program that has become another user's since: it is ended all the same.
fn program_of_another_user_is_ended() -> anyhow::Result<()> {
    let user = format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups");
    let script = format!("echo pid $$; exec setpriv {user} sleep 7200");
    let outcome = tool::run(&["trace", "--", "sh", "-c", &script])?;
    says(&outcome, 3, &["Python"])?;
    ensure!(!is_running(printed_pid(&outcome.stdout)?), "it goes on");
    Ok(())
}

/// Root's result goes where root says, also into a folder that is not root's, and takes the place of what is not.
fn foreign_folders() -> anyhow::Result<()> {
    let python = environment::pythons()?.pop().context("no interpreter")?;
    let target = Target::start::<&str>(&python, "changes.py", &[])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.json");
    chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
    for mode in [0o755, 0o700] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode))?;
        let mut command = tool::awaitwhat()?;
        command
            .args(["trace", "-d", "0.3", "-p", &target.pid.to_string(), "-o"])
            .arg(&path);
        says(&tool::run_command(command)?, 0, &[])?;
        let profile: Profile = serde_json::from_str(&fs::read_to_string(&path)?)?;
        ensure!(profile.pid == target.pid, "{profile:?}");
        ensure!(fs::read_dir(folder.path())?.count() == 1, "more than the result");
        // The next one finds a file that belongs to somebody else.
        chown(&path, Some(NOBODY), Some(NOBODY))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        fs::write(&path, "")?;
    }
    Ok(())
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
