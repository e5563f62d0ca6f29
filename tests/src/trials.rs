//! What a live test needs beyond the shape itself: which targets exist, and where they can run.

use std::fs;

use anyhow::Context;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::environment::{self, Python, targets};
use crate::quick;
use crate::results::{self, Running};

/// Files of `tests/targets` that are no shapes.
const OTHERS: &[&str] = &[
    "busy_waits.py",
    "busy_pool.py",
    "databases.py",
    "io_waits.py",
    "named_library_waits.py",
    "network_waits.py",
    "sync_endpoints.py",
    "open_groups.py",
    "named_waits.py",
    "several_awaited.py",
    "labels.py",
    "blocked_loop.py",
    "never_woken.py",
    "churning.py",
    "executor_jobs.py",
    "family.py",
    "holders.py",
    "lock_deadlock.py",
    "truth.py",
    "app_fastapi.py",
    "app_aiohttp.py",
    "c_task_subclass.py",
    "cython_coroutines.py",
    "trio_truth.py",
    "interpreters.py",
    "pacing.py",
    "paced_server.py",
    "trio_paced_server.py",
    "guest_paced_server.py",
    "busy_families.py",
    "busy_tasks.py",
    "pure_busy_tasks.py",
    "trio_busy_tasks.py",
    "hostile.py",
    "changes.py",
    "restless.py",
    "pretends.py",
    "half_imported.py",
    "many_data_files.py",
    "paged_out.py",
    "made_code.py",
    "request_server.py",
    "expressions.py",
    "opcodes.py",
    "wait_shares.py",
    "shared_cpu.py",
    "wait_times.py",
    "on_demand.py",
    "slower.py",
    "many_waits.py",
];

/// The declaration in a target's file that starts a line like `# needs: 3.12`, `# needs: <3.12` or `# needs: uvloop`.
const NEEDS: &str = "# needs: ";

/// A target that reports the truth about one shape.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: String,
    needs: Vec<String>,
}

impl Shape {
    /// Its file in `tests/targets`.
    pub fn file(&self) -> String {
        format!("{}.py", self.name)
    }

    /// Whether it declares that it needs `what`.
    pub fn needs(&self, what: &str) -> bool {
        self.needs.iter().any(|need| need == what)
    }

    /// What `python` lacks of what the shape needs, if anything.
    pub fn missing(&self, python: &Python) -> Option<&str> {
        self.needs
            .iter()
            .map(String::as_str)
            .find(|need| !has(python, need))
    }
}

fn has(python: &Python, need: &str) -> bool {
    match need.strip_prefix('<') {
        Some(first_without) => version(first_without).is_some_and(|it| python.version < it),
        None => version(need).map_or_else(|| python.has_package(need), |it| python.version >= it),
    }
}

/// Major and minor version, if the text is one.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Every shape, by name.
///
/// # Errors
/// When the targets' folder cannot be read.
pub fn shapes() -> anyhow::Result<Vec<Shape>> {
    let folder = targets();
    let mut shapes = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(stem) = name.strip_suffix(".py") else {
            continue;
        };
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let needs = text.lines().filter_map(|line| line.strip_prefix(NEEDS));
        shapes.push(Shape {
            name: stem.to_owned(),
            needs: needs.map(str::to_owned).collect(),
        });
    }
    shapes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(shapes)
}

/// Lists a test binary's trials.
pub type List = fn() -> anyhow::Result<Vec<Trial>>;

/// Runs a test binary's trials and ends the process.
///
/// Where they cannot run at all, that is one trial: skipped, or failed in CI.
///
/// # Errors
/// When the trials cannot be listed.
pub fn run(binary: &str, list: List) -> anyhow::Result<()> {
    run_with(binary, list, Arguments::from_args())
}

/// Runs a test binary's trials one after the other: they need the machine for themselves.
///
/// # Errors
/// As [`run`].
pub fn run_alone(binary: &str, list: List) -> anyhow::Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    run_with(binary, list, arguments)
}

fn run_with(binary: &str, list: List, arguments: Arguments) -> anyhow::Result<()> {
    results::begin(binary);
    let trials = match environment::obstacle() {
        None => list()?,
        Some(obstacle) => {
            note_skipped(binary, &obstacle);
            let cannot_run = trial(binary, move || anyhow::bail!(obstacle));
            vec![cannot_run.with_ignored_flag(!environment::is_ci())]
        }
    };
    libtest_mimic::run(&arguments, quick::choose(trials)).exit();
}

/// What is tried with one interpreter.
pub type Check = fn(&Python) -> anyhow::Result<()>;
/// Versions, and what is tried with each of them, by name.
pub type Row<'a> = (&'a [(u32, u32)], &'a [(&'a str, Check)]);

/// The trials of all rows, each under the interpreter's label and its name.
///
/// # Errors
/// When the interpreters are not known.
pub fn of_versions(rows: &[Row<'_>]) -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        let wanted = rows
            .iter()
            .filter(|(versions, _)| versions.contains(&python.version));
        for (name, check) in wanted.flat_map(|(_, checks)| *checks) {
            let (name, python, check) = (format!("{}::{name}", python.label), python.clone(), *check);
            list.push(trial(name, move || check(&python)));
        }
    }
    Ok(list)
}

/// A trial that fails with `check`'s error.
pub fn trial(name: impl Into<String>, check: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    let name = name.into();
    Trial::test(name.clone(), move || {
        let running = Running::begin(name);
        check().map_err(|error| Failed::from(format!("{error:#}")))?;
        running.passed();
        Ok(())
    })
}

/// A trial that cannot run here, for `reason`.
pub fn skipped(name: impl Into<String>, reason: &str) -> Trial {
    let name = name.into();
    note_skipped(&name, reason);
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

/// Says why a trial does not run: in the table at the end, or at once where there is none.
fn note_skipped(name: &str, reason: &str) {
    if !results::skipped(name, reason) {
        println!("skipped: {name}: {reason}");
    }
}
