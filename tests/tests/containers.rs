//! Targets and observers in PID namespaces of their own: process and thread ids are those of the namespace that awaitwhat runs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::Snapshot;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;

/// Exit code where a privilege or a feature is missing, as `--help` documents it.
const PRIVILEGE: i32 = 4;

fn main() -> anyhow::Result<()> {
    trials::run("containers", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = vec![trials::trial("inside::foreign_proc", foreign_proc)];
    for python in environment::pythons()? {
        for (place, options, depth, files) in PLACES {
            for file in files {
                let shape = file.trim_end_matches(".py");
                let name = format!("{place}::{}::{shape}", python.label);
                let python = python.clone();
                list.push(trials::trial(name, move || {
                    let container = Container::run(&python, file, options)?;
                    check(&container, depth)
                }));
            }
        }
    }
    Ok(list)
}

/// Options of `unshare` for a container with a `/proc` of its own, and for one inside it.
const CONTAINER: &[&str] = &["--pid", "--fork", "--mount-proc", "--kill-child", "--"];
const NESTED: &[&str] = &[
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "--", //
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "--",
];

/// Changes into a root of its own as container runtimes do, and becomes the program given: with the root that the program is for,
/// or with this one, mounted anew.
const PIVOT: &str = r#"
    root=/
    if [ "$1" = chroot ]; then root=$2; shift 2; fi
    mount --rbind "$root" /mnt
    cd /mnt
    pivot_root . mnt
    cd /
    exec "$@"
"#;
/// Options of `unshare` for such a container, run by root or by a user who is root only inside.
const PIVOTED: &[&str] = &[
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--net",
    "--cgroup",
    "--fork",
    "--kill-child",
    "--",
    "sh",
    "-ec",
    PIVOT,
    "sh",
];
const ROOTLESS: &[&str] = &[
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--net",
    "--cgroup",
    "--fork",
    "--kill-child",
    "--",
    "sh",
    "-ec",
    PIVOT,
    "sh",
];

const SHAPES: &[&str] = &[
    "gather_tasks.py",
    "many_loops.py",
    "running_blocked.py",
    "running_busy.py",
];
const MANY_LOOPS: &[&str] = &["many_loops.py"];

/// How the target is started, how many containers deep awaitwhat looks at it, and at what.
const PLACES: [(&str, &[&str], usize, &[&str]); 6] = [
    ("outside", &["--pid", "--fork", "--kill-child", "--"], 0, SHAPES),
    ("inside", CONTAINER, 1, SHAPES),
    ("outside_nested", NESTED, 0, MANY_LOOPS),
    ("between_nested", NESTED, 1, MANY_LOOPS),
    ("pivoted", PIVOTED, 0, MANY_LOOPS),
    ("rootless", ROOTLESS, 0, MANY_LOOPS),
];

/// A target in a container.
struct Container {
    target: Target,
    /// Its processes as this namespace sees them, from the outermost container's first one to the target.
    firsts: Vec<u32>,
}

impl Container {
    fn run(python: &Python, file: &str, options: &[&str]) -> anyhow::Result<Self> {
        let inner = python.target_command(file);
        let mut command = Command::new("unshare");
        command
            .args(options)
            .arg(inner.get_program())
            .args(inner.get_args());
        let target = Target::spawn(command)?;
        ensure!(
            target.pid == 1,
            "the target has no PID namespace of its own: {}",
            target.pid
        );
        let mut firsts = vec![only_child(target.child_id())?];
        while let Ok(child) = only_child(firsts[firsts.len() - 1]) {
            firsts.push(child);
        }
        Ok(Self { target, firsts })
    }

    /// The target as this namespace sees it.
    fn pid(&self) -> u32 {
        self.firsts[self.firsts.len() - 1]
    }

    /// `awaitwhat` with `arguments`, run `depth` containers deep.
    fn awaitwhat(&self, depth: usize, arguments: &[&str]) -> anyhow::Result<Command> {
        let program = tool::awaitwhat()?;
        let Some(entered) = depth.checked_sub(1) else {
            let mut command = program;
            command.args(arguments);
            return Ok(command);
        };
        let mut command = Command::new("nsenter");
        command
            .args(["--pid", "--target", &self.firsts[entered].to_string(), "--"])
            .args(["unshare", "--mount-proc", "--"])
            // A container's root seldom has more than it is given by name.
            .args([
                "setpriv",
                "--bounding-set=-all,+bpf,+perfmon",
                "--inh-caps=-all",
                "--",
            ])
            .arg(program.get_program())
            .args(arguments);
        Ok(command)
    }
}

/// Compares a snapshot taken `depth` containers deep with the truth.
fn check(container: &Container, depth: usize) -> anyhow::Result<()> {
    let threads = threads(container.pid(), depth)?;
    let seen = |inner| {
        threads
            .get(&inner)
            .copied()
            .with_context(|| format!("no thread {inner}"))
    };
    let mut truth = container.target.tasks()?;
    for task in &mut truth {
        task.tid = Some(seen(task.tid.context("a loop without a thread")?)?);
    }
    let pid = seen(1)?;
    let outcome = tool::run_command(container.awaitwhat(depth, &["ps", "--json", &pid.to_string()])?)?;
    tool::says(&outcome, 0, &[])?;
    let snapshot: Snapshot = serde_json::from_str(&outcome.stdout).context("the snapshot is malformed")?;
    ensure!(snapshot.pid == pid, "asked for {pid}, got {}", snapshot.pid);
    let found = differences(&truth, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// A container whose `/proc` is another namespace's: the numbers in it mean other processes.
fn foreign_proc() -> anyhow::Result<()> {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--"])
        .arg(tool::awaitwhat()?.get_program())
        .args(["ps", "1"]);
    tool::says(
        &tool::run_command(command)?,
        PRIVILEGE,
        &["/proc", "PID namespace"],
    )
}

/// The one child of a process.
fn only_child(pid: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("the children are {text:?}"))
}

/// Thread ids of a process: those in its own namespace, and what they are `depth` containers deep.
fn threads(pid: u32, depth: usize) -> anyhow::Result<BTreeMap<u32, u32>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(PathBuf::from(format!("/proc/{pid}/task")))? {
        // One that has ended meanwhile has none.
        let Ok(text) = fs::read_to_string(entry?.path().join("status")) else {
            continue;
        };
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let ids: Vec<u32> = line
            .unwrap_or("")
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect();
        let (Some(seen), Some(inner)) = (ids.get(depth), ids.last()) else {
            continue;
        };
        threads.insert(*inner, *seen);
    }
    Ok(threads)
}
