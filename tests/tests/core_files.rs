//! What is told of a process by its core file equals what the process said of itself before it died.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Snapshot, Task};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{dwarf, tool, trials};
use libtest_mimic::Trial;

/// Where the kernel says what core files are called. This is what it says where nobody changed it.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const PLAIN: &str = "core";
/// What to look at: who waits for whom, what the objects are called, names of every kind, one that works, and
/// trio's nurseries.
const SHAPES: [&str; 5] = [
    "gather_tasks",
    "names",
    "primitives",
    "running_blocked",
    "trio_nurseries",
];
/// Into how many parts a core file is cut.
const PARTS: u64 = 8;

fn main() -> anyhow::Result<()> {
    // Some of them write to one folder.
    trials::run_alone("core_files", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pattern = fs::read_to_string(PATTERN).context(PATTERN)?;
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        // Frames and tasks changed with these most.
        if !matches!(python.version, (3, 7 | 8 | 11 | 12 | 14 | 15)) {
            continue;
        }
        if python.version == (3, 12) {
            let name = format!("{}::copied_by_a_debugger", python.label);
            if dwarf::is_there() {
                let python = python.clone();
                list.push(trials::trial(name, move || {
                    check(&python, "primitives.py", by_debugger)
                }));
            } else {
                list.push(trials::skipped(name, "there is no gdb"));
            }
        }
        for shape in trials::shapes()? {
            if !SHAPES.contains(&shape.name.as_str()) || shape.missing(&python).is_some() {
                continue;
            }
            let name = format!("{}::{}", python.label, shape.name);
            if pattern.trim() != PLAIN {
                list.push(trials::skipped(
                    name,
                    "core files go to a program of this machine",
                ));
                continue;
            }
            let python = python.clone();
            list.push(trials::trial(name, move || {
                check(&python, &shape.file(), by_kernel)
            }));
        }
    }
    Ok(list)
}

/// A core file, which is removed with its value.
struct Core {
    path: PathBuf,
    root: PathBuf,
    folder: Option<tempfile::TempDir>,
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.folder.is_none() {
            // It lies in the interpreter's own root.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a target's memory to a file, by which it ends.
type Write = fn(&mut Target, &Python, tempfile::TempDir) -> anyhow::Result<Core>;

/// Has the kernel write it, to the folder that the target was started in.
fn by_kernel(target: &mut Target, python: &Python, folder: tempfile::TempDir) -> anyhow::Result<Core> {
    let root = python.root().to_owned();
    let is_here = root == Path::new("/");
    let place = if is_here { folder.path() } else { &root };
    let names = [format!("core.{}", target.pid), PLAIN.to_owned()];
    let pid = rustix::process::Pid::from_raw(target.pid.cast_signed()).context("it has no id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT)?;
    target.wait()?;
    let found = names
        .iter()
        .map(|name| place.join(name))
        .find(|path| path.exists());
    let path = found.with_context(|| format!("there is no core file in {}", place.display()))?;
    Ok(Core {
        path,
        root,
        folder: is_here.then_some(folder),
    })
}

/// Has gdb copy it, which leaves out what is mapped to be run.
fn by_debugger(target: &mut Target, python: &Python, folder: tempfile::TempDir) -> anyhow::Result<Core> {
    let prefix = folder.path().join("copy");
    let mut command = Command::new("gcore");
    command.arg("-o").arg(&prefix).arg(target.pid.to_string());
    let outcome = tool::run_command(command)?;
    ensure!(outcome.status.success(), "gcore: {}", outcome.stderr);
    target.kill()?;
    Ok(Core {
        path: folder.path().join(format!("copy.{}", target.pid)),
        root: python.root().to_owned(),
        folder: Some(folder),
    })
}

impl Core {
    fn arguments<'a>(&'a self, path: &'a Path) -> anyhow::Result<Vec<&'a str>> {
        let word = |path: &'a Path| path.to_str().context("it is no text");
        let mut arguments = vec!["ps", "--json", "--core", word(path)?];
        if self.root != Path::new("/") {
            arguments.extend(["--sysroot", word(&self.root)?]);
        }
        Ok(arguments)
    }
}

fn check(python: &Python, file: &str, write: Write) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .args(words(&python.target_command(file))?)
        .envs(
            python
                .target_command(file)
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(folder.path());
    let mut target = Target::spawn(command)?;
    let truth = target.tasks()?;
    let core = write(&mut target, python, folder)?;
    let mut snapshot: Snapshot = tool::json(&core.arguments(&core.path)?)?;
    ensure!(
        snapshot.pid == target.pid,
        "it was process {}, shown {}",
        target.pid,
        snapshot.pid
    );
    // What the target keeps from being read.
    for kind in ["opaque", "torn"] {
        snapshot.lost.remove(kind);
    }
    let found = differences(&truth, &snapshot);
    if !found.is_empty() {
        bail!("{} differences\n{}", found.len(), found.join("\n"));
    }
    check_cut(&core, &truth)
}

fn words(command: &Command) -> anyhow::Result<Vec<String>> {
    [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| Ok(word.to_str().context("it is no text")?.to_owned()))
        .collect()
}

/// What is left of a core file gives an error, or tasks that there were, and says that it was cut.
fn check_cut(core: &Core, truth: &[Task]) -> anyhow::Result<()> {
    let ids: BTreeSet<&str> = truth.iter().map(|task| task.id.as_str()).collect();
    let length = fs::metadata(&core.path)?.len();
    let file = fs::File::options().write(true).open(&core.path)?;
    for part in (1..PARTS).rev() {
        file.set_len(length * part / PARTS)?;
        let outcome = tool::run(&core.arguments(&core.path)?)?;
        match outcome.code() {
            Some(0) => {
                let snapshot: Snapshot = serde_json::from_str(&outcome.stdout)?;
                for task in &snapshot.tasks {
                    ensure!(ids.contains(task.id.as_str()), "there was no task {}", task.id);
                }
            }
            Some(3) => {}
            code => bail!("{part} of {PARTS} parts: {code:?}: {}", outcome.stderr),
        }
        ensure!(
            outcome.stderr.contains("was cut"),
            "{part} of {PARTS} parts: it does not say that it was cut: {}",
            outcome.stderr
        );
    }
    Ok(())
}
