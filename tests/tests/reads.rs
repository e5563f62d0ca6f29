//! What looking at processes does to them: nothing. No page is made in any, and no file system is waited for.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Snapshot, Survey};
use awaitwhat_tests::resident::Resident;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome, says};
use awaitwhat_tests::trials::{self, skipped, trial};
use libtest_mimic::Trial;
use tempfile::TempDir;

/// Exit codes.
const OK: i32 = 0;
const TARGET: i32 = 3;
const SOME: i32 = 6;
/// How many of each there are, by default; the variable asks for others.
const MANY: (usize, usize) = (20, 10);
const HOW_MANY: &str = "AWAITWHAT_BYSTANDERS";
/// Where files lie in memory.
const MEMORY: &str = "/dev/shm";
/// Kinds of memory that every machine can map.
const KINDS: [&str; 6] = [
    "shared file",
    "shared file for reading",
    "private file",
    "image",
    "shared",
    "/dev/zero",
];

fn main() -> anyhow::Result<()> {
    // `ps --all` of one reads, and waits for, what another has made.
    trials::run_alone("reads", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = vec![trial("bystander", bystander), trial("all_of_many", all_of_many)];
    for (name, check) in SLOW {
        list.push(if Path::new("/dev/fuse").exists() {
            trial(name, check)
        } else {
            skipped(name, "the kernel has no FUSE")
        });
    }
    for python in environment::pythons()? {
        let name = format!("{}::many_data_files", python.label);
        list.push(trial(name, move || many_data_files(&python)));
    }
    Ok(list)
}

type Check = fn() -> anyhow::Result<()>;

/// What is tried with a file system that does not answer.
const SLOW: [(&str, Check); 2] = [
    ("slow_files_of_others", slow_files_of_others),
    ("slow_file_of_its_own", slow_file_of_its_own),
];

/// A file system with one file, which answers or does not. It ends with this value.
struct SlowFiles {
    server: Target,
    folder: TempDir,
}

impl SlowFiles {
    fn serve(original: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let pythons = environment::release_pythons()?;
        let python = pythons.iter().find(|it| it.command.len() == 1);
        let mut command = python.context("no interpreter is here")?.command();
        command.arg(environment::repository().join("tests/bystanders/slow_files.py"));
        command.arg(folder.path()).arg(original);
        let server = Target::spawn(command)?;
        Ok(Self { server, folder })
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("program")
    }
}

/// Files of a file system that does not answer, mapped by a process that does not lie there, are not waited for.
fn slow_files_of_others() -> anyhow::Result<()> {
    let program = Program::build()?;
    let mut slow = SlowFiles::serve(&program.path())?;
    let folder = TempDir::new_in(MEMORY)?;
    let mut command = Command::new(program.path());
    command.arg(folder.path()).arg(slow.program());
    let target = Target::spawn(command)?;
    slow.server.ask("hold")?;
    let pid = target.pid.to_string();
    let commands = [&["ps", &pid][..], &["doctor", "--pid", &pid]];
    let outcomes = commands.map(tool::run);
    slow.server.ask("answer")?;
    for outcome in outcomes {
        let outcome = outcome?;
        says(&outcome, TARGET, &[])?;
        ensure!(!outcome.stderr.contains(WAITS), "{}", outcome.stderr);
    }
    Ok(())
}

/// A process whose own program lies there is waited for, which is said, and not for ever.
fn slow_file_of_its_own() -> anyhow::Result<()> {
    let program = Program::build()?;
    let mut slow = SlowFiles::serve(&program.path())?;
    let folder = TempDir::new_in(MEMORY)?;
    let target = start_at(&slow.program(), folder.path())?;
    slow.server.ask("hold")?;
    let pid = target.pid.to_string();
    let said = [WAITS, "\"program\"", &pid, "does not answer"];
    let outcome = tool::run(&["ps", &pid])?;
    // First, as the target could not even end otherwise.
    slow.server.ask("answer")?;
    says(&outcome, TARGET, &said)?;
    let outcome = tool::run(&["ps", &pid])?;
    says(&outcome, TARGET, &["no Python interpreter"])?;
    ensure!(!outcome.stderr.contains(WAITS), "{}", outcome.stderr);
    Ok(())
}

/// How awaitwhat begins to say what it waits for.
const WAITS: &str = "waiting for the file system of";

/// The compiled program of bystanders. It is removed with this value.
struct Program {
    folder: TempDir,
}

impl Program {
    fn build() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-o"]).arg(folder.path().join("bystander"));
        compiler.arg(environment::repository().join("tests/bystanders/bystander.c"));
        let outcome = tool::run_command(compiler)?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
        Ok(Self { folder })
    }

    fn start(&self, folder: &Path) -> anyhow::Result<Target> {
        start_at(&self.path(), folder)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bystander")
    }
}

fn start_at(program: &Path, folder: &Path) -> anyhow::Result<Target> {
    let mut command = Command::new(program);
    command.arg(folder);
    Target::spawn(command)
}

/// Processes that do nothing while this lives: what changes in them is of somebody else's making.
struct Stopped(Vec<String>);

impl Stopped {
    fn all<'a>(targets: impl Iterator<Item = &'a Target>) -> anyhow::Result<Self> {
        let stopped = Self(targets.map(|target| target.pid.to_string()).collect());
        let outcome = signal("-STOP", &stopped.0)?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
        for pid in &stopped.0 {
            while !is_stopped(pid)? {
                thread::yield_now();
            }
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // An error means that they have ended.
        let _ = signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[String]) -> anyhow::Result<Outcome> {
    let mut command = Command::new("kill");
    command.arg(name).args(pids);
    tool::run_command(command)
}

/// Whether no thread of the process runs any more (`/proc/PID/task/TID/stat`).
fn is_stopped(pid: &str) -> anyhow::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit_once(") ").context("malformed")?.1;
        if !state.starts_with('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Pages of a process, and blocks of the files that it maps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Used {
    resident: Resident,
    blocks: Vec<u64>,
    /// Command line, and for how long each of its threads has run, in ns: whether what was made may be of its own making.
    whose: (String, Vec<String>),
}

impl Used {
    fn by(target: &Target, files: &[PathBuf]) -> anyhow::Result<Self> {
        let blocks = files.iter().map(|file| Ok(fs::metadata(file)?.blocks()));
        Ok(Self {
            resident: Resident::of(target.pid)?,
            blocks: blocks.collect::<anyhow::Result<_>>()?,
            whose: whose(target.pid)?,
        })
    }

    /// Whether no page was made since `before`. The kernel may have taken some away meanwhile.
    fn has_no_more_than(&self, before: &Self) -> bool {
        let (now, then) = (self.resident, before.resident);
        now.anonymous + now.swapped <= then.anonymous + then.swapped
            && now.shared <= then.shared
            && now.file <= then.file
            && self.blocks == before.blocks
    }

    fn with_file(mut self, file: u64) -> Self {
        self.resident.file = file;
        self
    }
}

fn whose(pid: u32) -> anyhow::Result<(String, Vec<String>)> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let command = fs::read_to_string(process.join("cmdline"))?.replace('\0', " ");
    let threads = fs::read_dir(process.join("task"))?;
    let run = threads.map(|thread| {
        Ok(fs::read_to_string(thread?.path().join("schedstat"))?
            .trim_end()
            .to_owned())
    });
    Ok((command, run.collect::<anyhow::Result<_>>()?))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Every command that looks at a process leaves it as it was.
fn bystander() -> anyhow::Result<()> {
    let program = Program::build()?;
    let folder = TempDir::new_in(MEMORY)?;
    let target = program.start(folder.path())?;
    let kinds: Vec<String> = serde_json::from_value(target.announced["kinds"].clone())?;
    for kind in KINDS {
        ensure!(kinds.iter().any(|it| it == kind), "it has no {kind}: {kinds:?}");
    }
    let files = files(folder.path())?;
    let before = Used::by(&target, &files)?;
    let pid = target.pid.to_string();
    for (arguments, code) in [
        (&["ps", &pid][..], TARGET),
        (&["tree", &pid], TARGET),
        (&["trace", "-d", "1", "--pid", &pid], TARGET),
        (&["doctor", "--pid", &pid], TARGET),
        (
            &["ps", "--json", "--pid", &pid, "--name", "no such thing"],
            TARGET,
        ),
    ] {
        says(&tool::run(arguments)?, code, &[])?;
        let after = Used::by(&target, &files)?;
        ensure!(
            after.has_no_more_than(&before),
            "{arguments:?}: {before:?} became {after:?}"
        );
    }
    Ok(())
}

/// `ps --all` over Pythons and others makes no page in any of them.
fn all_of_many() -> anyhow::Result<()> {
    let (pythons, others) = how_many()?;
    let program = Program::build()?;
    let folder = TempDir::new_in(MEMORY)?;
    let releases = environment::release_pythons()?;
    let mut targets = Vec::new();
    for python in releases.iter().cycle().take(pythons) {
        targets.push((Target::start::<&str>(python, "gather_tasks.py", &[])?, Vec::new()));
    }
    for number in 0..others {
        let own = folder.path().join(number.to_string());
        fs::create_dir(&own)?;
        let target = program.start(&own)?;
        targets.push((target, files(&own)?));
    }
    let stopped = Stopped::all(targets.iter().map(|(target, _)| target))?;
    let used = || -> anyhow::Result<Vec<Used>> {
        targets
            .iter()
            .map(|(target, files)| Used::by(target, files))
            .collect()
    };
    let before = used()?;
    let outcome = tool::run(&["ps", "--all", "--json"])?;
    // Of the rest of the machine some may not be readable: Pythons of other tests, which begin, end, and wait for file systems that do not answer.
    ensure!(
        matches!(outcome.code(), Some(OK | SOME)),
        "{}: {}",
        outcome.status,
        outcome.stderr
    );
    let survey: Survey<Snapshot> = serde_json::from_str(&outcome.stdout)?;
    for (target, files) in &targets {
        let is_shown = survey.targets.iter().any(|it| it.pid == target.pid);
        let refused = survey.refused.iter().find(|it| it.pid == target.pid);
        // A bystander has files.
        ensure!(
            is_shown == files.is_empty() && refused.is_none(),
            "process {}: shown {is_shown}, refused {refused:?}",
            target.pid
        );
    }
    let after = used()?;
    drop(stopped);
    let sum = |all: &[Used], part: fn(&Resident) -> u64| all.iter().map(|it| part(&it.resident)).sum::<u64>();
    eprintln!(
        "{pythons} Pythons and {others} others: anonymous {} and {} KiB, shared {} and {} KiB, of files {} and {} KiB",
        sum(&before, |it| it.anonymous),
        sum(&after, |it| it.anonymous),
        sum(&before, |it| it.shared),
        sum(&after, |it| it.shared),
        sum(&before, |it| it.file),
        sum(&after, |it| it.file),
    );
    for ((before, after), (target, _)) in before.iter().zip(&after).zip(&targets) {
        // Pages of images that are in memory already are mapped, where they are read.
        let file = before.resident.file.max(after.resident.file);
        let before = before.clone().with_file(file);
        ensure!(
            after.has_no_more_than(&before),
            "process {}: {before:?} became {after:?}",
            target.pid
        );
    }
    Ok(())
}

fn how_many() -> anyhow::Result<(usize, usize)> {
    let Ok(text) = std::env::var(HOW_MANY) else {
        return Ok(MANY);
    };
    let numbers = text.split_once(',').context("two numbers are needed")?;
    Ok((numbers.0.parse()?, numbers.1.parse()?))
}

/// A Python with thousands of mapped files of data is a Python.
fn many_data_files(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "many_data_files.py", &["4200"])?;
    let outcome = tool::snapshot(target.pid)?;
    ensure!(outcome.tasks.len() == 2, "{:?}", outcome.tasks);
    Ok(())
}
