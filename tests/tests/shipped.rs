//! Whose code is whose, in the ways that programs are shipped: what leads the await points, and which paths are shown.
//!
//! The layouts are those that pip, PEX and PyInstaller make, of a program and a package of our own; PEX and shiv themselves make theirs, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use serde_json::Value;

/// The program, and the package that it uses, in `tests/targets`.
const APPLICATION: &str = "shipped/application/stock";
const PACKAGE: &str = "shipped/packages/limits";
/// How PEX calls a folder.
const HASH: &str = "7d4cd5ae1a5a5f5e0a4f2a1c8a3f0f1d7d4cd5ae1a5a5f5e0a4f2a1c8a3f0f1d";

fn main() -> Result<()> {
    trials::run("shipped", list)
}

fn list() -> Result<Vec<Trial>> {
    type Check = fn(&Python) -> Result<()>;
    let checks: [(&str, Check); 4] = [
        ("installed", installed),
        ("what_is_mine", what_is_mine),
        ("pex", pex),
        ("bundled", bundled),
    ];
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        // What is installed here is not seen by interpreters elsewhere.
        if python.root() != Path::new("/") {
            continue;
        }
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
        if let Some(folder) = &python.shippers {
            for (name, check) in [
                ("packed_by_pex", packed_by_pex as PackedCheck),
                ("packed_by_shiv", packed_by_shiv),
            ] {
                let (python, folder) = (python.clone(), folder.clone());
                list.push(trial(format!("{}::{name}", python.label), move || {
                    check(&python, &folder)
                }));
            }
        }
    }
    Ok(list)
}

type PackedCheck = fn(&Python, &Path) -> Result<()>;

/// A program that was laid out in a folder, which goes with it.
struct Shipped {
    target: Target,
    _folder: tempfile::TempDir,
}

impl Shipped {
    /// Puts the application and the package into these folders, and runs it: by `launcher`, or as a module.
    fn start(python: &Python, application: &str, package: &str, launcher: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [application, package] = [application, package].map(|inside| folder.path().join(inside));
        copy(&targets().join(APPLICATION), &application.join("stock"))?;
        copy(&targets().join(PACKAGE), &package.join("limits"))?;
        let mut command: Command = python.command();
        let path = std::env::join_paths([application, package])?;
        command.env("PYTHONPATH", path);
        match launcher {
            Some(launcher) => command.arg(targets().join(launcher)),
            None => command.arg("-m"),
        };
        command.arg("stock.app");
        Ok(Self {
            target: Target::spawn(command)?,
            _folder: folder,
        })
    }

    /// A profile of it, as JSON.
    fn profile(&self, more: &[&str]) -> Result<Value> {
        let pid = self.target.pid.to_string();
        let arguments = ["trace", "-d", "1", "-f", "json", "-p", &pid];
        tool::json(&[&arguments, more].concat())
    }

    /// A profile of it, for people.
    fn summary(&self) -> Result<String> {
        let pid = self.target.pid.to_string();
        let outcome = tool::run(&["trace", "-d", "1", "-p", &pid])?;
        ensure!(outcome.status.success(), "{}", outcome.stderr);
        Ok(outcome.stdout)
    }
}

fn targets() -> PathBuf {
    environment::repository().join("tests/targets")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Functions of await points, without their classes, which only newer versions tell; and what they await.
fn points(profile: &Value) -> Result<Vec<(String, String)>> {
    let name = |point: &Value, key: &str| {
        let name = point[key].as_str().unwrap_or_default();
        name.rsplit('.').next().unwrap_or_default().to_owned()
    };
    let points = profile["await_points"].as_array().context("no await points")?;
    Ok(points
        .iter()
        .map(|point| (name(point, "function"), name(point, "awaits")))
        .collect())
}

/// The rank of the frames of a function.
fn rank<'a>(profile: &'a Value, function: &str) -> Option<&'a str> {
    let chains = profile["chains"].as_array()?;
    let mut frames = chains
        .iter()
        .filter_map(|chain| chain["frames"].as_array())
        .flatten();
    let is_it = |frame: &&Value| {
        let name = frame["function"].as_str().unwrap_or_default();
        name == function || name.ends_with(&format!(".{function}"))
    };
    frames.find(is_it)?["rank"].as_str()
}

/// What leads is the program's own, and what it awaits; of the package's task, the package's own.
fn leads(profile: &Value, reserve: &str, limit: &str) -> Result<()> {
    let found = points(profile)?;
    for (function, awaits) in [
        ("reserve", "acquire"),
        ("acquire", "wait"),
        ("main", "_GatheringFuture"),
    ] {
        let expected = (function.to_owned(), awaits.to_owned());
        ensure!(found.contains(&expected), "{expected:?} is not among {found:?}");
    }
    ensure!(found.len() == 3 && found[0].0 == "reserve", "{found:?}");
    for (function, expected) in [("reserve", reserve), ("wait", "standard_library")] {
        let found = rank(profile, function);
        ensure!(
            found == Some(expected),
            "{function} is {found:?}, and not {expected}"
        );
    }
    // `Limit.acquire` is the one that waits.
    let chains = profile["chains"].as_array().context("no chains")?;
    let of_limit = chains.iter().find(|chain| {
        let file = chain["frames"][1]["file"].as_str().unwrap_or_default();
        file.ends_with("limits/__init__.py")
    });
    let found = of_limit.and_then(|chain| chain["frames"][1]["rank"].as_str());
    ensure!(found == Some(limit), "the package is {found:?}, and not {limit}");
    Ok(())
}

fn shows(summary: &str, words: &[&str], not: &[&str]) -> Result<()> {
    for word in words {
        ensure!(summary.contains(word), "{word:?} is missing: {summary}");
    }
    for word in not {
        ensure!(!summary.contains(word), "{word:?} is there: {summary}");
    }
    Ok(())
}

/// As pip, pipx and shiv do: the application is a package like others.
fn installed(python: &Python) -> Result<()> {
    let site = "venv/lib/python3/site-packages";
    let shipped = Shipped::start(python, site, site, None)?;
    leads(&shipped.profile(&[])?, "installed", "installed")?;
    shows(
        &shipped.summary()?,
        &[" stock/app.py:", " limits/__init__.py:", " asyncio/locks.py:"],
        &["site-packages"],
    )
}

fn what_is_mine(python: &Python) -> Result<()> {
    let site = "venv/lib/python3/site-packages";
    let shipped = Shipped::start(python, site, site, None)?;
    let profile = shipped.profile(&["--mine", "/stock/"])?;
    leads(&profile, "application", "installed")?;
    // Whoever works on asyncio itself.
    let profile = shipped.profile(&["--mine", r"asyncio/locks\.py$"])?;
    let found = points(&profile)?;
    ensure!(
        found[0] == ("acquire".to_owned(), "Future".to_owned()),
        "{found:?}"
    );
    let found = rank(&profile, "reserve");
    ensure!(found == Some("installed"), "reserve is {found:?}");
    Ok(())
}

/// As PEX does: wheels, and the application's sources, below folders that are called by hashes.
fn pex(python: &Python) -> Result<()> {
    let sources = format!("pex/unzipped_pexes/1/{HASH}");
    let wheel = format!("pex/installed_wheels/1/{HASH}/limits-1.0-py3-none-any.whl");
    let shipped = Shipped::start(python, &sources, &wheel, None)?;
    leads(&shipped.profile(&[])?, "application", "installed")?;
    shows(
        &shipped.summary()?,
        &[" stock/app.py:", " limits/__init__.py:", " asyncio/locks.py:"],
        &[HASH, ".whl"],
    )
}

/// What PEX makes of the application's sources and of a wheel.
fn packed_by_pex(python: &Python, shippers: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = python.command();
    command
        .arg(targets().join("shipped/make_wheel.py"))
        .arg(folder.path());
    let outcome = tool::run_command(command)?;
    let program = folder.path().join("stock.pex");
    let mut pex = shipper(python, shippers, "pex", folder.path());
    pex.args([
        outcome.stdout.trim_end(),
        "--no-index",
        "--entry-point",
        "stock.app",
    ]);
    pex.arg("--sources-directory")
        .arg(targets().join("shipped/application"));
    pex.arg("--output-file").arg(&program);
    let shipped = run_packed(python, pex, &program, folder)?;
    leads(&shipped.profile(&[])?, "application", "installed")?;
    shows(
        &shipped.summary()?,
        &[" stock/app.py:", " limits/__init__.py:", " asyncio/locks.py:"],
        &["_pexes", "_wheels", ".whl"],
    )
}

/// What shiv makes: all of it is a package.
fn packed_by_shiv(python: &Python, shippers: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    copy(&targets().join(APPLICATION), &site.join("stock"))?;
    copy(&targets().join(PACKAGE), &site.join("limits"))?;
    let program = folder.path().join("stock.pyz");
    let mut shiv = shipper(python, shippers, "shiv", folder.path());
    shiv.args(["--entry-point", "stock.app", "--site-packages"])
        .arg(&site);
    shiv.arg("--output-file").arg(&program);
    let shipped = run_packed(python, shiv, &program, folder)?;
    leads(&shipped.profile(&[])?, "installed", "installed")?;
    shows(
        &shipped.summary()?,
        &[" stock/app.py:", " limits/__init__.py:", " asyncio/locks.py:"],
        &["site-packages"],
    )
}

/// The program `name` that is in `shippers`, which keeps what it unpacks in `folder`.
fn shipper(python: &Python, shippers: &Path, name: &str, folder: &Path) -> Command {
    let mut command = python.command();
    command
        .env("PYTHONPATH", shippers)
        .env("PEX_ROOT", folder.join("root"));
    command.args(["-m", name]);
    command
}

/// Has `shipper` make `program`, and runs that.
fn run_packed(
    python: &Python,
    shipper: Command,
    program: &Path,
    folder: tempfile::TempDir,
) -> Result<Shipped> {
    let outcome = tool::run_command(shipper)?;
    ensure!(outcome.status.success(), "{}{}", outcome.stdout, outcome.stderr);
    let root = folder.path().join("root");
    let mut command: Command = python.command();
    command
        .env("PEX_ROOT", &root)
        .env("SHIV_ROOT", &root)
        .arg(program);
    Ok(Shipped {
        target: Target::spawn(command)?,
        _folder: folder,
    })
}

/// As PyInstaller does: no path says where anything is from, the standard library's included.
fn bundled(python: &Python) -> Result<()> {
    let shipped = Shipped::start(python, "bundle", "bundle", Some("shipped/bundled.py"))?;
    leads(&shipped.profile(&[])?, "installed", "installed")?;
    leads(
        &shipped.profile(&["--mine", "^stock/"])?,
        "application",
        "installed",
    )?;
    shows(
        &shipped.summary()?,
        &[" stock/app.py:", " limits/__init__.py:", " asyncio/locks.py:"],
        &[],
    )
}
