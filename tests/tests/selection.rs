//! Several processes at once: who is selected, that each tells its own truth, and what becomes of children.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Profile, Snapshot, Survey, Task};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, Outcome, says};
use awaitwhat_tests::trace::Trace;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Exit codes, as `--help` documents them.
mod exit {
    pub const OK: i32 = 0;
    pub const TARGET: i32 = 3;
    pub const ENDED: i32 = 5;
    pub const SOME: i32 = 6;
}

/// More than any test waits.
const HOURS: &str = "7200";

fn main() -> anyhow::Result<()> {
    trials::run("selection", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = vec![
        trial("nothing_matches", nothing_matches),
        trial("several_versions", several_versions),
    ];
    type Check = fn(&Python) -> anyhow::Result<()>;
    let checks: [(&str, Check); 13] = [
        ("some_are_refused", some_are_refused),
        ("by_name", by_name),
        ("by_any_bytes", by_any_bytes),
        ("by_cgroup", by_cgroup),
        ("all", all),
        ("children", children),
        ("children_are_named", children_are_named),
        ("traced_together", traced_together),
        ("traced_children_come_and_go", traced_children_come_and_go),
        ("traced_child_execs", traced_child_execs),
        ("traced_parent_ends", traced_parent_ends),
        ("traced_program", traced_program),
        ("fork_without_loop", fork_without_loop),
    ];
    for python in environment::pythons()? {
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
    }
    Ok(list)
}

/// A process that is no Python, and ends with this value.
struct Other(Child);

impl Other {
    fn start(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parsed<T: DeserializeOwned>(outcome: &Outcome) -> anyhow::Result<T> {
    let start: String = outcome.stdout.chars().take(500).collect();
    serde_json::from_str(&outcome.stdout).with_context(|| format!("it wrote {start:?}: {}", outcome.stderr))
}

/// `awaitwhat ps --json` of a selection of several.
fn snapshots(arguments: &[&str], code: i32) -> anyhow::Result<Survey<Snapshot>> {
    let outcome = tool::run(&[&["ps", "--json"], arguments].concat())?;
    says(&outcome, code, &[])?;
    let survey: Survey<Snapshot> = parsed(&outcome)?;
    ensure!(
        survey.schema == "awaitwhat.snapshots/1",
        "schema {:?}",
        survey.schema
    );
    Ok(survey)
}

fn pids<T>(targets: &[T], pid: impl Fn(&T) -> u32) -> BTreeSet<u32> {
    targets.iter().map(pid).collect()
}

fn ids(survey: &Survey<Snapshot>) -> BTreeSet<u32> {
    pids(&survey.targets, |target| target.pid)
}

/// What `survey` shows of process `pid`, without what is to be expected in a forked child only.
fn shown(survey: &Survey<Snapshot>, pid: u32) -> anyhow::Result<Snapshot> {
    let found = survey.targets.iter().find(|target| target.pid == pid);
    found
        .cloned()
        .with_context(|| format!("process {pid} is not shown"))
}

fn equal(truth: &[Task], snapshot: &Snapshot) -> anyhow::Result<()> {
    let found = differences(truth, snapshot);
    ensure!(found.is_empty(), "process {}: {}", snapshot.pid, found.join("\n"));
    Ok(())
}

/// An own word on the command line of a target, which no other process has.
fn word(name: &str) -> String {
    format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "")
}

/// A process that has no tasks itself, as a supervisor or a loader: who has some is said, and how to look at them.
fn children_are_named(python: &Python) -> anyhow::Result<()> {
    let inner = python.target_command("coroutines.py");
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\"; true", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let target = Target::spawn(command)?;
    let (parent, child) = (target.child_id().to_string(), target.pid.to_string());
    ensure!(
        parent != child,
        "the shell has become the target: this tests nothing"
    );
    let hint = format!("its child runs an event loop: {child} (");
    for arguments in [&["ps", &parent][..], &["trace", "-d", "1", "-p", &parent]] {
        let outcome = tool::run(arguments)?;
        says(&outcome, 3, &[&hint, "--subprocesses"])?;
    }
    let outcome = tool::run(&["ps", "--subprocesses", "-p", &parent])?;
    says(&outcome, 0, &[])?;
    ensure!(
        !outcome.stderr.contains("event loop") && outcome.stdout.contains(&child),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    Ok(())
}

fn nothing_matches() -> anyhow::Result<()> {
    let word = word("nobody");
    for arguments in [
        &["ps", "--name", &word][..],
        &["tree", "--json", "--name", &word],
        &["ps", "--cgroup", "/no/such/group"],
        &["trace", "--name", &word, "-d", HOURS],
    ] {
        let outcome = tool::run(arguments)?;
        says(&outcome, exit::TARGET, &["no Python process was found"])?;
        ensure!(outcome.stdout.is_empty(), "{arguments:?}: {:?}", outcome.stdout);
    }
    Ok(())
}

/// One target of each version at once: none is taken for another.
fn several_versions() -> anyhow::Result<()> {
    let pythons = environment::pythons()?;
    let start = |python: &Python| Target::start::<&str>(python, "gather_tasks.py", &[]);
    let targets: Vec<Target> = pythons.iter().map(start).collect::<Result<_, _>>()?;
    let mut arguments = Vec::new();
    for target in &targets {
        arguments.extend(["--pid".to_owned(), target.pid.to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let survey = snapshots(&arguments, exit::OK)?;
    ensure!(survey.refused.is_empty(), "{:?}", survey.refused);
    ensure!(survey.targets.len() == targets.len(), "{:?}", ids(&survey));
    for target in &targets {
        let snapshot = shown(&survey, target.pid)?;
        ensure!(
            target.announced["python"] == snapshot.python.as_str(),
            "{} is no {}",
            snapshot.python,
            target.announced["python"]
        );
        equal(&target.tasks()?, &snapshot)?;
    }
    Ok(())
}

fn some_are_refused(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "gather_tasks.py", &[])?;
    let other = Other::start("sleep", &[HOURS])?;
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let (pid, other_pid, gone_pid) = (
        target.pid.to_string(),
        other.pid().to_string(),
        gone.id().to_string(),
    );
    let given = ["-p", &other_pid, "-p", &pid, "-p", &gone_pid];
    let survey = snapshots(&given, exit::SOME)?;
    equal(&target.tasks()?, &shown(&survey, target.pid)?)?;
    ensure!(survey.targets.len() == 1, "{:?}", ids(&survey));
    let refused = pids(&survey.refused, |refused| refused.pid);
    ensure!(
        refused == BTreeSet::from([other.pid(), gone.id()]),
        "{:?}",
        survey.refused
    );
    let reason = |pid| {
        let refused = survey.refused.iter().find(|refused| refused.pid == pid);
        refused.map(|refused| (refused.command.as_str(), refused.reason.as_str()))
    };
    ensure!(
        reason(other.pid()).is_some_and(|(command, reason)| command == "sleep" && reason.contains("Python")),
        "{:?}",
        survey.refused
    );
    ensure!(
        reason(gone.id()).is_some_and(|(_, reason)| reason.contains("no such process")),
        "{:?}",
        survey.refused
    );
    for command in ["ps", "tree"] {
        let outcome = tool::run(&[&[command], &given[..]].concat())?;
        says(&outcome, exit::SOME, &[&other_pid, "sleep", "Python", &gone_pid])?;
        for word in [&pid, &other_pid, "Not looked at"] {
            ensure!(
                outcome.stdout.contains(word),
                "{word} is not in {}",
                outcome.stdout
            );
        }
    }
    let outcome = tool::run(&[&["trace", "-d", "0.3", "-f", "json"], &given[..]].concat())?;
    says(&outcome, exit::SOME, &[&other_pid, &gone_pid])?;
    let survey: Survey<Profile> = parsed(&outcome)?;
    ensure!(survey.schema == "awaitwhat.profiles/1", "{:?}", survey.schema);
    ensure!(pids(&survey.targets, |target| target.pid) == BTreeSet::from([target.pid]));
    ensure!(survey.refused.len() == 2, "{:?}", survey.refused);
    // None of several: why each of them is not, and nothing else.
    let outcome = tool::run(&["ps", &other_pid, &gone_pid])?;
    says(&outcome, exit::TARGET, &[&other_pid, &gone_pid])?;
    ensure!(outcome.stdout.is_empty(), "{:?}", outcome.stdout);
    Ok(())
}

/// What has the word on its command line is selected where it is Python; awaitwhat itself, and a shell, have it too.
fn by_name(python: &Python) -> anyhow::Result<()> {
    let word = word("by-name");
    let _shell = Other::start("sh", &["-c", "read line", &word])?;
    let targets = [
        Target::start(python, "gather_tasks.py", &[&word])?,
        Target::start(python, "no_tasks.py", &[&word])?,
    ];
    let expected = pids(&targets, |target| target.pid);
    for pattern in [
        word.clone(),
        format!("^[^ ].* {word}$"),
        format!("(?i){}", word.to_uppercase()),
    ] {
        let survey = snapshots(&["--name", &pattern], exit::OK)?;
        ensure!(ids(&survey) == expected, "{pattern}: {:?}", ids(&survey));
        ensure!(survey.refused.is_empty(), "{:?}", survey.refused);
        equal(&targets[0].tasks()?, &shown(&survey, targets[0].pid)?)?;
    }
    let survey = snapshots(&["--name", &format!("gather_tasks.*{word}")], exit::OK)?;
    ensure!(
        ids(&survey) == BTreeSet::from([targets[0].pid]),
        "{:?}",
        ids(&survey)
    );
    Ok(())
}

/// A command line is whatever bytes a process likes; neither searching nor showing it goes wrong.
fn by_any_bytes(python: &Python) -> anyhow::Result<()> {
    let word = word("by-bytes");
    let bytes = [b"\xff\xfe\n\x1b[31m\xc3(", word.as_bytes(), b"\x9b\xe2\x80\xae"].concat();
    let target = Target::start(python, "gather_tasks.py", &[OsString::from_vec(bytes)])?;
    for pattern in [word.clone(), format!("gather_tasks.py .*\n.*{word}")] {
        let survey = snapshots(&["--name", &pattern], exit::OK)?;
        ensure!(ids(&survey) == BTreeSet::from([target.pid]), "{:?}", ids(&survey));
        equal(&target.tasks()?, &shown(&survey, target.pid)?)?;
    }
    Ok(())
}

/// A control group of the unified hierarchy, wherever that is mounted. It is removed with this value.
struct Group {
    _folder: tempfile::TempDir,
    mount: PathBuf,
    path: PathBuf,
}

impl Group {
    fn make(name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mount = folder.path().to_owned();
        let status = Command::new("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(&mount)
            .status()?;
        ensure!(status.success(), "the unified hierarchy cannot be mounted");
        let group = Self {
            _folder: folder,
            path: mount.join(name),
            mount,
        };
        fs::create_dir_all(group.path.join("inner"))?;
        Ok(group)
    }

    fn add(&self, inner: &str, pid: u32) -> anyhow::Result<()> {
        fs::write(self.path.join(inner).join("cgroup.procs"), pid.to_string())
            .context("a process cannot be moved into a control group")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in [self.path.join("inner"), self.path.clone()] {
            // Only an empty one can be removed: whoever is left in it goes back.
            for pid in fs::read_to_string(folder.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                let _ = fs::write(self.mount.join("cgroup.procs"), pid);
            }
            let _ = fs::remove_dir(folder);
        }
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

fn by_cgroup(python: &Python) -> anyhow::Result<()> {
    let start = || Target::start::<&str>(python, "gather_tasks.py", &[]);
    let (outer, inner, outside) = (start()?, start()?, start()?);
    let other = Other::start("sleep", &[HOURS])?;
    let name = word("awaitwhat");
    let group = Group::make(&name)?;
    group.add("", outer.pid)?;
    group.add("", other.pid())?;
    group.add("inner", inner.pid)?;
    let path = fs::read_to_string(format!("/proc/{}/cgroup", outer.pid))?;
    let path = path
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .context("no unified hierarchy")?;
    for given in [path.to_owned(), format!("/sys/fs/cgroup{path}/")] {
        let survey = snapshots(&["--cgroup", &given], exit::OK)?;
        let expected = BTreeSet::from([outer.pid, inner.pid]);
        ensure!(ids(&survey) == expected, "{given}: {:?}", ids(&survey));
        ensure!(survey.refused.is_empty(), "{:?}", survey.refused);
    }
    let below = Path::new(path).join("inner");
    let survey = snapshots(&["--cgroup", &below.display().to_string()], exit::OK)?;
    ensure!(ids(&survey) == BTreeSet::from([inner.pid]), "{:?}", ids(&survey));
    equal(&inner.tasks()?, &shown(&survey, inner.pid)?)?;
    // One that was named comes on top.
    let outside_pid = outside.pid.to_string();
    let survey = snapshots(
        &["--cgroup", &below.display().to_string(), &outside_pid],
        exit::OK,
    )?;
    let expected = BTreeSet::from([inner.pid, outside.pid]);
    ensure!(ids(&survey) == expected, "{:?}", ids(&survey));
    Ok(())
}

/// Other tests run at the same time: there are other Pythons, and some of them cannot be read.
fn all(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "gather_tasks.py", &[])?;
    let idle = Target::start::<&str>(python, "no_tasks.py", &[])?;
    let other = Other::start("sleep", &[HOURS])?;
    let outcome = tool::run(&["ps", "--json", "--all"])?;
    ensure!(
        matches!(outcome.code(), Some(exit::OK | exit::SOME)),
        "{}: {}",
        outcome.status,
        outcome.stderr
    );
    let survey: Survey<Snapshot> = parsed(&outcome)?;
    equal(&target.tasks()?, &shown(&survey, target.pid)?)?;
    let refused = pids(&survey.refused, |refused| refused.pid);
    for (name, pid) in [("without tasks", idle.pid), ("no Python", other.pid())] {
        ensure!(
            !ids(&survey).contains(&pid) && !refused.contains(&pid),
            "process {pid} is shown, which is {name}"
        );
    }
    let is_some = outcome.code() == Some(exit::SOME);
    ensure!(is_some != survey.refused.is_empty(), "{:?}", survey.refused);
    Ok(())
}

/// A process with children, of which those are known that reported.
struct Family {
    parent: Target,
    children: Vec<(u32, Vec<Task>)>,
}

impl Family {
    fn start(python: &Python) -> anyhow::Result<Self> {
        Ok(Self {
            parent: Target::start::<&str>(python, "family.py", &[])?,
            children: Vec::new(),
        })
    }

    fn pid(&self) -> String {
        self.parent.pid.to_string()
    }

    /// Has the parent make a child; returns the id of who reports.
    fn order(&mut self, order: &str) -> anyhow::Result<u32> {
        let answer = self.parent.ask(order)?;
        let pid = u32::try_from(answer["pid"].as_u64().context("no process id")?)?;
        let tasks = match &answer["tasks"] {
            Value::Null => Vec::new(),
            tasks => serde_json::from_value(tasks.clone())?,
        };
        self.children.push((pid, tasks));
        Ok(pid)
    }

    fn end(&mut self, pid: u32) -> anyhow::Result<()> {
        self.parent.ask(&format!("end {pid}")).map(|_| ())
    }
}

/// A forked child's own tasks. What it has from its parent belongs to no thread.
fn own_tasks(snapshot: &Snapshot, parent: &[Task]) -> anyhow::Result<Snapshot> {
    let mut own = snapshot.clone();
    own.tasks.retain(|task| task.tid.is_some());
    for task in snapshot.tasks.iter().filter(|task| task.tid.is_none()) {
        ensure!(
            parent.iter().any(|copied| copied.id == task.id),
            "task {} {:?} of process {} is nobody's",
            task.id,
            task.name,
            snapshot.pid
        );
    }
    Ok(own)
}

fn children(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    for order in ["fork", "spawn", "deep"] {
        family.order(order)?;
    }
    let survey = snapshots(&["--subprocesses", &family.pid()], exit::OK)?;
    ensure!(survey.refused.is_empty(), "{:?}", survey.refused);
    let truth = family.parent.tasks()?;
    equal(&truth, &shown(&survey, family.parent.pid)?)?;
    for (pid, tasks) in &family.children {
        let own = own_tasks(&shown(&survey, *pid)?, &truth)?;
        equal(tasks, &own)?;
    }
    // Without being asked for, children are not shown.
    let alone = tool::snapshot(family.parent.pid)?;
    equal(&truth, &alone)
}

/// A trace's profiles, and that they are of the form that is promised.
fn profiles(outcome: &Outcome, code: i32) -> anyhow::Result<Vec<Profile>> {
    says(outcome, code, &[])?;
    let survey: Survey<Profile> = parsed(outcome)?;
    ensure!(survey.schema == "awaitwhat.profiles/1", "{:?}", survey.schema);
    ensure!(survey.refused.is_empty(), "{:?}", survey.refused);
    Ok(survey.targets)
}

/// The profile of process `pid`, in which `tasks` tasks wait in `function` all the time, besides one that waits for them.
fn waits_in<'a>(
    profiles: &'a [Profile],
    pid: u32,
    function: &str,
    tasks: f64,
) -> anyhow::Result<&'a Profile> {
    let found = profiles.iter().find(|profile| profile.pid == pid);
    let profile = found.with_context(|| format!("process {pid} is not shown"))?;
    let seconds: f64 = profile.chains.iter().map(|chain| chain.task_seconds).sum();
    let of_function: f64 = profile
        .chains
        .iter()
        .filter(|chain| {
            chain
                .frames
                .last()
                .is_some_and(|frame| frame.function == function)
        })
        .map(|chain| chain.task_seconds)
        .sum();
    ensure!(seconds > 0.0, "process {pid}: nothing was seen");
    let share = of_function / seconds;
    let expected = tasks / (tasks + 1.0);
    ensure!(
        (share - expected).abs() < 0.01,
        "process {pid}: {function} has {share} of the time, not {expected}"
    );
    Ok(profile)
}

fn traced_together(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    let child = family.order("spawn")?;
    let (parent, child_text) = (family.pid(), child.to_string());
    let both = ["trace", "-d", "1", "-p", &parent, "-p", &child_text];
    let outcome = tool::run(&[&both[..], &["-f", "json"]].concat())?;
    let each = profiles(&outcome, exit::OK)?;
    ensure!(each.len() == 2, "{} profiles", each.len());
    waits_in(&each, family.parent.pid, "work", 3.0)?;
    waits_in(&each, child, "work", 2.0)?;

    let folded = tool::run(&[&both[..], &["-f", "folded"]].concat())?;
    says(&folded, exit::OK, &[])?;
    for line in folded.stdout.lines() {
        let is_rooted = [&parent, &child_text].iter().any(|pid| {
            line.split(';')
                .next()
                .is_some_and(|root| root.ends_with(&format!("[{pid}]")))
        });
        ensure!(is_rooted, "no process is at the root of {line:?}");
    }

    let merged = tool::run(&[&both[..], &["-f", "json", "--merge"]].concat())?;
    says(&merged, exit::OK, &[])?;
    let merged: Value = parsed(&merged)?;
    let merged = &merged["merged"];
    let named: BTreeSet<u64> = merged["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|process| process["pid"].as_u64())
        .collect();
    ensure!(
        named == BTreeSet::from([u64::from(family.parent.pid), u64::from(child)]),
        "{named:?}"
    );
    let mean = merged["mean_tasks"].as_f64().context("no mean")?;
    ensure!((mean - 7.0).abs() < 0.35, "7 tasks, {mean} in the mean");
    let summary = tool::run(&[&both[..], &["--merge"]].concat())?;
    says(&summary, exit::OK, &[])?;
    ensure!(
        summary.stdout.contains("2 processes together"),
        "{}",
        summary.stdout
    );
    Ok(())
}

/// Children that appear while their parent is traced are traced, and what was seen of them stays when they end.
fn traced_children_come_and_go(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    let mut trace = Trace::start(&["-f", "json", "--subprocesses", "-d", HOURS, "-p", &family.pid()])?;
    let mut known = Vec::new();
    for order in ["fork", "deep", "spawn"] {
        let pid = family.order(order)?;
        trace.wait_for(pid)?;
        known.push(pid);
    }
    let ended = known[0];
    family.end(ended)?;
    trace.interrupt()?;
    let found = profiles(&trace.outcome()?, exit::OK)?;
    let parent = waits_in(&found, family.parent.pid, "work", 3.0)?;
    ensure!(
        (parent.mean_tasks - 4.0).abs() < 0.2,
        "the parent has 4 tasks, {} in the mean",
        parent.mean_tasks
    );
    for pid in known {
        let child = waits_in(&found, pid, "work", 2.0)?;
        ensure!(
            child.target_exited == (pid == ended),
            "process {pid}: target_exited is {}",
            child.target_exited
        );
    }
    let seen: Vec<_> = found
        .iter()
        .map(|profile| (profile.pid, profile.mean_tasks))
        .collect();
    ensure!(found.len() == 4, "other profiles than those of four: {seen:?}");
    Ok(())
}

/// A child that becomes another program: what was seen before is kept, and a Python that it becomes is looked at, too.
fn traced_child_execs(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    let (other, again) = (family.order("fork")?, family.order("fork")?);
    let mut trace = Trace::start(&["-f", "json", "--subprocesses", "-d", HOURS, "-p", &family.pid()])?;
    trace.wait_for(other)?;
    trace.wait_for(again)?;
    family.parent.tell(&format!("exec {other}"))?;
    let before = trace.links(again)?;
    family.order(&format!("again {again}"))?;
    trace.wait_for_new(again, &before)?;
    trace.interrupt()?;
    let found = profiles(&trace.outcome()?, exit::OK)?;
    waits_in(&found, family.parent.pid, "work", 3.0)?;
    waits_in(&found, other, "work", 2.0)?;
    let programs: Vec<&Profile> = found.iter().filter(|profile| profile.pid == again).collect();
    ensure!(
        programs.len() == 2,
        "process {again} ran two programs, {} were seen",
        programs.len()
    );
    for program in programs {
        waits_in(std::slice::from_ref(program), again, "work", 2.0)?;
    }
    Ok(())
}

/// Children go on, and so does the trace, when the process that was named ends.
fn traced_parent_ends(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    let child = family.order("deep")?;
    let trace = Trace::start(&["-f", "json", "--subprocesses", "-d", HOURS, "-p", &family.pid()])?;
    // Its children end with it: the trace is over once nobody is left.
    family.parent.end();
    let found = profiles(&trace.outcome()?, exit::ENDED)?;
    waits_in(&found, family.parent.pid, "work", 3.0)?;
    waits_in(&found, child, "work", 2.0)?;
    ensure!(found.iter().all(|profile| profile.target_exited), "{found:?}");
    Ok(())
}

fn traced_program(python: &Python) -> anyhow::Result<()> {
    let file = python.targets.join("family.py").display().to_string();
    // A shell in between, which is no Python; what the program itself says is not the trace's output.
    let mut arguments = vec![
        "-f",
        "json",
        "--subprocesses",
        "--",
        "sh",
        "-c",
        "\"$@\" >&2; :",
        "sh",
    ];
    arguments.extend(python.command.iter().map(String::as_str));
    arguments.extend([file.as_str(), "forking"]);
    let trace = Trace::start_open(&arguments, 2)?;
    trace.interrupt()?;
    let found = profiles(&trace.outcome()?, exit::OK)?;
    ensure!(
        found.len() == 2,
        "a parent and its child, {} were seen",
        found.len()
    );
    let of = |tasks| {
        found
            .iter()
            .any(|profile| waits_in(std::slice::from_ref(profile), profile.pid, "work", tasks).is_ok())
    };
    if !(of(3.0) && of(2.0)) {
        bail!("{found:?}");
    }
    Ok(())
}

/// A child that was forked where a loop ran, and runs none itself: what it has of its parent's tasks is not counted as its own.
fn fork_without_loop(python: &Python) -> anyhow::Result<()> {
    let mut family = Family::start(python)?;
    let bare = family.order("bare")?;
    let mut trace = Trace::start(&["-f", "json", "--subprocesses", "-d", HOURS, "-p", &family.pid()])?;
    trace.wait_for(bare)?;
    trace.interrupt()?;
    let found = profiles(&trace.outcome()?, exit::OK)?;
    let seen = pids(&found, |profile| profile.pid);
    ensure!(seen == BTreeSet::from([family.parent.pid]), "{seen:?}");
    let snapshot = tool::snapshot(bare)?;
    let own = own_tasks(&snapshot, &family.parent.tasks()?)?;
    ensure!(own.tasks.is_empty(), "{:?}", own.tasks);
    Ok(())
}
