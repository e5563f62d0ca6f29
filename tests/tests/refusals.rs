//! What is no CPython that awaitwhat knows, or not laid out like one: refused with a reason, and with what to send in a bug report.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use awaitwhat::layout::KNOWN_MINORS;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, says};
use awaitwhat_tests::trials::{self, skipped, trial};
use libtest_mimic::Trial;

/// The exit code for a target that cannot be used.
const TARGET: i32 = 3;
/// The first version that has the symbol `Py_Version`.
const WITH_VERSION: (u32, u32) = (3, 11);
/// How a report begins.
const REPORT: &str = "For a bug report";
/// What a report says of a fact that does not hold.
const FAILS: &str = "  FAILS: ";
/// What a program is about, which is nobody's business.
const SECRET: &str = "s3cr3t";
/// Modules at which the import of asyncio can stop, the first of them before there is anything.
const HALVES: [&str; 4] = [
    "asyncio.base_events",
    "asyncio.futures",
    "asyncio.tasks",
    "asyncio.queues",
];

fn main() -> Result<()> {
    trials::run("refusals", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = vec![trial("pypy_is_refused", pypy_is_refused)];
    list.push(match python_2() {
        Some(program) => trial("python_2_is_refused", move || python_2_is_refused(&program)),
        None => skipped("python_2_is_refused", "there is no Python 2"),
    });
    for python in environment::pythons()? {
        let label = python.label.clone();
        let add = |name: &str, check: fn(&Python) -> Result<()>| {
            let python = python.clone();
            trial(format!("{label}::{name}"), move || check(&python))
        };
        list.push(add("half_imported", half_imported));
        list.push(add("report_is_complete_and_private", report));
        if python.version >= WITH_VERSION {
            list.push(add("newer_version_is_refused", newer_version));
            list.push(add("wrong_version_is_refused", wrong_versions));
        }
    }
    Ok(list)
}

/// Starts a program that says that it is of another version.
fn pretender(python: &Python, minor: u32, release: u32) -> Result<Target> {
    let hex = format!("{:x}", 3 << 24 | minor << 16 | release);
    Target::start(python, "pretends.py", &[hex])
}

/// What `doctor` says of a target, which it finds usable or not.
fn doctor(pid: u32, code: i32) -> Result<String> {
    let outcome = tool::run(&["doctor", "--pid", &pid.to_string()])?;
    says(&outcome, code, &[])?;
    let text = outcome.stdout;
    ensure!(text.contains(REPORT), "there is no report in {text}");
    Ok(text)
}

fn newer_version(python: &Python) -> Result<()> {
    let target = pretender(python, 16, 0x00a1)?;
    let outcome = tool::run(&["ps", &target.pid.to_string()])?;
    says(&outcome, TARGET, &["3.16.0a1", "3.15"])?;
    let text = doctor(target.pid, TARGET)?;
    for part in [
        "Py_Version: 3.16.0a1 (0x31000a1)",
        "basic sizes: PyType_Type ",
        "build id: ",
    ] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    let is_published = text.contains("published offsets: 51380385 ");
    ensure!(is_published == (python.version >= (3, 13)), "{text}");
    Ok(())
}

/// Read by the table of any other version, an interpreter is refused, and never misread.
fn wrong_versions(python: &Python) -> Result<()> {
    for minor in WITH_VERSION.1..=u32::from(KNOWN_MINORS.end().1) {
        if minor == python.version.1 {
            continue;
        }
        let target = pretender(python, minor, 0x01f0)?;
        let outcome = tool::run(&["ps", &target.pid.to_string()])?;
        says(&outcome, TARGET, &[]).with_context(|| format!("as 3.{minor}"))?;
        let text = doctor(target.pid, TARGET)?;
        let is_explained = text.contains(FAILS) || text.contains("  refused: ");
        ensure!(is_explained, "as 3.{minor}: {text}");
    }
    Ok(())
}

fn report(python: &Python) -> Result<()> {
    let code = format!(
        "import asyncio, threading\n\
        async def {SECRET}_function(): print('{{}}', flush=True); threading.Event().wait()\n\
        async def main(): await asyncio.create_task({SECRET}_function())\n\
        asyncio.run(main())"
    );
    let mut command = python.command();
    command.args(["-c", &code, &format!("--{SECRET}-argument")]);
    let target = Target::spawn(command)?;
    let tree = tool::run(&["tree", &target.pid.to_string()])?;
    ensure!(
        tree.stdout.contains(SECRET),
        "the program is not the one: {}",
        tree.stdout
    );
    let text = doctor(target.pid, 0)?;
    let (_, report) = text.split_once(REPORT).context("there is no report")?;
    ensure!(!report.contains(SECRET), "{report}");
    ensure!(!report.contains(FAILS.trim()), "{report}");
    let version = format!("layout: of CPython {}.{}.", python.version.0, python.version.1);
    for part in [
        &version,
        "holds: the name of the code of `_find_and_load`",
        "asyncio: found",
    ] {
        ensure!(report.contains(part), "{part:?} is not in {report}");
    }
    let is_debug = report.contains("debug build: yes");
    ensure!(is_debug == python.label.ends_with("dbg"), "{report}");
    Ok(())
}

fn half_imported(python: &Python) -> Result<()> {
    for module in HALVES {
        let target = Target::start(python, "half_imported.py", &[module])?;
        let snapshot = tool::snapshot(target.pid).with_context(|| module.to_owned())?;
        ensure!(snapshot.tasks.is_empty(), "{module}: {:?}", snapshot.tasks);
        let text = doctor(target.pid, 0)?;
        ensure!(text.contains("none is running"), "{module}: {text}");
    }
    Ok(())
}

/// The newest Python 2 of pyenv.
fn python_2() -> Option<PathBuf> {
    let home = std::env::var_os("PYENV_ROOT").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".pyenv"),
        PathBuf::from,
    );
    let versions = fs::read_dir(home.join("versions")).ok()?;
    let programs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin/python2.7")));
    programs.filter(|program| program.exists()).max()
}

fn python_2_is_refused(program: &PathBuf) -> Result<()> {
    let mut command = Command::new(program);
    command.args([
        "-c",
        "import sys; print('{}'); sys.stdout.flush(); sys.stdin.read()",
    ]);
    let target = Target::spawn(command)?;
    let outcome = tool::run(&["ps", &target.pid.to_string()])?;
    says(&outcome, TARGET, &["Python 2", "3.15"])?;
    doctor(target.pid, TARGET)?;
    Ok(())
}

/// A program that defines what PyPy does; that is all that is looked at.
fn pypy_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (source, program) = (folder.path().join("pypy.c"), folder.path().join("pypy3"));
    fs::write(
        &source,
        "#include <stdio.h>\nvoid pypy_main_startup(void) {}\n\
        int main(void) { puts(\"{}\"); fflush(stdout); getchar(); return 0; }\n",
    )?;
    let built = Command::new("cc")
        .args(["-rdynamic", "-o"])
        .args([&program, &source])
        .stdin(Stdio::null())
        .status()?;
    ensure!(built.success(), "the program cannot be built");
    let target = Target::spawn(Command::new(&program))?;
    let outcome = tool::run(&["ps", &target.pid.to_string()])?;
    says(&outcome, TARGET, &["PyPy"])?;
    let text = doctor(target.pid, TARGET)?;
    ensure!(text.contains("symbols: pypy_main_startup"), "{text}");
    Ok(())
}
