//! `record --when` keeps the time around what it was told to wait for, and nothing else. The target does what it is told, and knows when.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::Python;
use awaitwhat_tests::output::Profile;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{processes, tool, trials};
use libtest_mimic::Trial;
use tempfile::TempDir;

const VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// The version on which all else is tried that has nothing to do with versions.
const VERSION: (u32, u32) = (3, 12);
/// What a task is credited with may be so much off: looks are a hundredth of a second apart, and files begin with a pass.
const SECONDS_OFF: f64 = 0.1;
/// Waits at either end of a file that the target and awaitwhat may see otherwise.
const ENDS: usize = 2;

fn main() -> anyhow::Result<()> {
    trials::run_alone("triggers", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    trials::of_versions(&[
        (
            &VERSIONS,
            &[("waiting", waiting), ("blocked", blocked), ("tasks", tasks)],
        ),
        (
            &[VERSION],
            &[
                ("whole", whole),
                ("turned", turned),
                ("several_times", several_times),
                ("nothing", nothing),
                ("refused", refused),
            ],
        ),
    ])
}

/// A target under `record --when`.
struct Watched {
    target: Target,
    folder: TempDir,
    recorder: Child,
    said: BufReader<ChildStderr>,
}

impl Watched {
    fn start(python: &Python, options: &[&str]) -> anyhow::Result<Self> {
        let target = Target::start::<&str>(python, "on_demand.py", &[])?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.await");
        let mut recorder = tool::awaitwhat()?
            .args(["record", "-p", &target.pid.to_string(), "-o"])
            .arg(path)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(recorder.stderr.take().context("it says nothing")?);
        Ok(Self {
            target,
            folder,
            recorder,
            said,
        })
    }

    /// The file that has become so much older.
    fn file(&self, age: u32) -> String {
        let name = match age {
            0 => "x.await".to_owned(),
            age => format!("x.await.{age}"),
        };
        self.folder.path().join(name).display().to_string()
    }

    fn has_file(&self) -> bool {
        Path::new(&self.file(0)).exists()
    }

    /// Has the target do something; returns when it began with that.
    fn ask(&mut self, line: &str) -> anyhow::Result<f64> {
        let answer = self.target.ask(line)?;
        let moment = answer["began"].as_f64().or(answer["now"].as_f64());
        moment.with_context(|| format!("the target answers {answer}"))
    }

    /// The next line that the recorder says.
    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.said.read_line(&mut line)? > 0, "it has ended");
        Ok(line)
    }

    /// Waits until a file was begun, and is whole; returns why.
    fn kept(&mut self) -> anyhow::Result<String> {
        let why = self.line()?;
        ensure!(why.contains("x.await goes back"), "{why}");
        let whole = self.line()?;
        ensure!(whole.contains("x.await is whole"), "{whole}");
        Ok(why)
    }

    /// Ends the recorder; returns what it says last.
    fn end(&mut self) -> anyhow::Result<String> {
        processes::interrupt(self.recorder.id())?;
        let mut said = String::new();
        while self.said.read_line(&mut said)? > 0 {}
        let status = self.recorder.wait()?;
        ensure!(status.code() == Some(0), "{status:?}: {said}");
        Ok(said)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
    }
}

/// What a file tells, and why it is there.
fn report(file: &str) -> anyhow::Result<(Profile, String)> {
    let report = tool::run(&["report", file, "-f", "json"])?;
    ensure!(report.code() == Some(0), "{report:?}");
    Ok((serde_json::from_str(&report.stdout)?, report.stderr))
}

/// When the period of a profile began and ended, in seconds since 1970.
fn period(profile: &Profile) -> (f64, f64) {
    let began = profile.started_at.as_nanosecond() as f64 / 1e9;
    (began, began + profile.duration_seconds)
}

fn task_seconds(profile: &Profile, function: &str) -> f64 {
    let points = profile.await_points.iter();
    points
        .filter(|it| it.function == function)
        .map(|it| it.task_seconds)
        .sum()
}

/// When a recording was triggered, by what is said of it.
fn moment(why: &str) -> anyhow::Result<f64> {
    let time = why
        .strip_prefix("Triggered at ")
        .and_then(|it| it.split(' ').next());
    let at: jiff::Timestamp = time.with_context(|| why.to_owned())?.parse()?;
    Ok(at.as_nanosecond() as f64 / 1e9)
}

/// What functions of classes are called.
fn acquire(python: &Python) -> &'static str {
    if python.version < (3, 11) {
        "acquire"
    } else {
        "Pool.acquire"
    }
}

fn waiting(python: &Python) -> anyhow::Result<()> {
    let acquire = acquire(python);
    let condition = format!("waiting(\"{acquire}\") > 1s");
    let options = [
        "--when",
        &condition,
        "--when",
        "waiting(\"nowhere\") > 0.1s",
        "--after",
        "1",
    ];
    let mut watched = Watched::start(python, &options)?;
    // It is looked at by now, and many waits elsewhere have been longer than a tenth of a second.
    watched.ask("later 2")?;
    ensure!(!watched.has_file(), "nothing has happened");
    let began = watched.ask("wait")?;
    let why = watched.kept()?;
    ensure!(
        why.contains(&condition) && why.contains("a task of handler"),
        "{why}"
    );
    let triggered = moment(&why)?;
    ensure!(triggered >= began + 1.0, "too early: {began} {why}");
    let (profile, said) = report(&watched.file(0))?;
    let reason = format!("{condition}: process {} ", watched.target.pid);
    ensure!(
        said.contains(&reason) && said.contains("a task of handler"),
        "{said}"
    );
    let (first, last) = period(&profile);
    ensure!(
        first < began && last >= triggered + 1.0 - SECONDS_OFF,
        "{first} to {last}: {why}"
    );
    let (found, truth) = (task_seconds(&profile, acquire), last - began);
    ensure!(
        (found - truth).abs() < SECONDS_OFF,
        "{found} s, and it waited for {truth} s"
    );
    // A snapshot of that moment has the task, and nothing that was not yet.
    let ps = tool::run(&["ps", "--recording", &watched.file(0), "--filter", "handler"])?;
    ensure!(ps.stdout.contains(acquire), "{ps:?}");
    // It is not triggered again by the wait that goes on.
    let said = watched.end()?;
    ensure!(said.starts_with("Wrote 1 file within "), "{said}");
    Ok(())
}

fn blocked(python: &Python) -> anyhow::Result<()> {
    let options = ["--when", "blocked > 400ms", "--after", "2"];
    let mut watched = Watched::start(python, &options)?;
    watched.ask("later 1")?;
    watched.ask("block 0.2")?;
    watched.ask("later 0.1")?;
    ensure!(!watched.has_file(), "it was blocked for 0.2 s only");
    let began = watched.ask("block 0.9")?;
    let why = watched.kept()?;
    ensure!(
        why.contains("blocked > 400ms") && why.contains("at work in hog"),
        "{why}"
    );
    ensure!(moment(&why)? >= began + 0.4, "too early: {began} {why}");
    let (profile, said) = report(&watched.file(0))?;
    ensure!(said.contains("at work in hog"), "{said}");
    let longest = profile
        .blocked
        .iter()
        .map(|it| it.longest_seconds)
        .fold(0.0, f64::max);
    ensure!(
        (0.9 - SECONDS_OFF..0.9 + SECONDS_OFF).contains(&longest),
        "{profile:?}"
    );
    watched.end().map(drop)
}

fn tasks(python: &Python) -> anyhow::Result<()> {
    let mut watched = Watched::start(python, &["--when", "tasks > 100", "--after", "1"])?;
    watched.ask("grow 98")?;
    watched.ask("later 1")?;
    // With the one that counts there are 99.
    ensure!(!watched.has_file(), "there are too few tasks");
    let began = watched.ask("grow 50")?;
    let why = watched.kept()?;
    ensure!(
        why.contains("tasks > 100") && why.contains("it has 149 tasks"),
        "{why}"
    );
    ensure!(moment(&why)? >= began, "too early: {began} {why}");
    let (profile, said) = report(&watched.file(0))?;
    ensure!(said.contains("it has 149 tasks"), "{said}");
    // 98 of them were there for longer than the file goes back, or from their beginning on.
    let (_, last) = period(&profile);
    let later = task_seconds(&profile, "member") - 50.0 * (last - began);
    ensure!(
        later > 98.0 * (last - began),
        "{later} task-seconds are of those that were there first"
    );
    watched.end().map(drop)
}

/// Of a run that fits into one file, that tells to the last digit what was traced.
fn whole(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let profile = folder.path().join("x.json").display().to_string();
    let options = [
        "--when",
        "tasks > 10",
        "--before",
        "600",
        "--after",
        "600",
        "--profile",
        &profile,
    ];
    let mut watched = Watched::start(python, &options)?;
    watched.ask("later 1")?;
    watched.ask("grow 20")?;
    let why = watched.line()?;
    ensure!(why.contains("it has 21 tasks"), "{why}");
    watched.ask("block 0.3")?;
    watched.ask("later 1")?;
    let said = watched.end()?;
    ensure!(said.contains("x.await is whole"), "{said}");
    let report = tool::run(&["report", &watched.file(0), "-f", "json"])?;
    ensure!(report.stdout == fs::read_to_string(profile)?, "{report:?}");
    Ok(())
}

/// A file goes back as far as it was told to, and not to the beginning; who rests all the while is in it, and what was done is counted.
fn turned(python: &Python) -> anyhow::Result<()> {
    let options = [
        "--when",
        "blocked > 0.3s",
        "--before",
        "1.5",
        "--after",
        "1",
        "--snapshots",
        "0.5",
    ];
    let mut watched = Watched::start(python, &options)?;
    let rest = watched.ask("grow 5")?;
    watched.ask("later 6")?;
    let blocked = watched.ask("block 0.6")?;
    watched.kept()?;
    let (profile, _) = report(&watched.file(0))?;
    let (first, last) = period(&profile);
    ensure!(
        first > rest + 1.5 && first < blocked - 1.0,
        "{first} of {rest} to {last}"
    );
    let resting = task_seconds(&profile, "member");
    ensure!(
        (resting - 5.0 * (last - first)).abs() < 5.0 * SECONDS_OFF,
        "{resting} s of {first} to {last}"
    );
    let answer = watched.target.ask("rounds")?;
    let rounds: Vec<(f64, f64)> = serde_json::from_value(answer["rounds"].clone())?;
    let truth = rounds
        .iter()
        .filter(|(since, until)| *since >= first && *until <= last)
        .count();
    let points = profile.await_points.iter();
    let beat = points.filter(|it| it.function == "beat");
    let seen: u64 = beat.map(|it| it.waits.whole).sum();
    ensure!(
        truth > 10 && truth.abs_diff(seen as usize) <= ENDS,
        "{seen} waits of {truth}"
    );
    for at in ["1", "2"] {
        let ps = tool::run(&["ps", "--recording", &watched.file(0), "--at", at])?;
        ensure!(ps.stdout.matches("member").count() == 5, "{ps:?}");
    }
    watched.end().map(drop)
}

/// Each time that something happens there is another file, of which the newest are kept.
fn several_times(python: &Python) -> anyhow::Result<()> {
    let options = [
        "--when",
        "blocked > 0.3s",
        "--before",
        "1",
        "--after",
        "0.5",
        "--rotate",
        "2",
    ];
    let mut watched = Watched::start(python, &options)?;
    watched.ask("later 0.5")?;
    let mut began = Vec::new();
    for _ in 0..3 {
        began.push(watched.ask("block 0.5")?);
        watched.kept()?;
    }
    ensure!(!Path::new(&watched.file(2)).exists(), "two files are kept");
    for (age, began) in began.iter().rev().take(2).enumerate() {
        let (profile, said) = report(&watched.file(age as u32))?;
        let (first, last) = period(&profile);
        ensure!(
            first < *began && last > began + 0.5,
            "{age}: {first} to {last}, {began}: {said}"
        );
    }
    let said = watched.end()?;
    ensure!(said.starts_with("Wrote 3 files within "), "{said}");
    Ok(())
}

/// Nothing has happened: there is no file, and that is said; also where it was told to end before.
fn nothing(python: &Python) -> anyhow::Result<()> {
    let mut watched = Watched::start(python, &["--when", "tasks > 100"])?;
    watched.ask("later 1")?;
    let said = watched.end()?;
    ensure!(said.starts_with("Nothing has triggered within "), "{said}");
    ensure!(
        fs::read_dir(watched.folder.path())?.next().is_none(),
        "there is a file"
    );
    let pid = watched.target.pid.to_string();
    let path = watched.file(0);
    let briefly =
        |options: &[&str]| tool::run(&[&["record", "-p", &pid, "-o", &path, "-d", "0.5"], options].concat());
    let timed = briefly(&["--when", "tasks > 100"])?;
    ensure!(
        timed.code() == Some(0) && timed.stderr.contains("Nothing has triggered"),
        "{timed:?}"
    );
    ensure!(
        fs::read_dir(watched.folder.path())?.next().is_none(),
        "there is a file"
    );
    // A recording that was there before stays.
    let before = briefly(&[])?;
    ensure!(before.code() == Some(0), "{before:?}");
    let bytes = fs::read(&path)?;
    briefly(&["--when", "tasks > 100"])?;
    ensure!(fs::read(&path)? == bytes, "it was replaced");
    Ok(())
}

/// What makes no sense, or cannot be written, is told before anything is looked at.
fn refused(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "on_demand.py", &[])?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |output: &str, options: &[&str]| {
        tool::run(
            &[
                &["record", "-p", &target.pid.to_string(), "-d", "30", "-o", output],
                options,
            ]
            .concat(),
        )
    };
    for (options, expected) in [
        (&["--when", "cpu > 5"][..], "waiting(\"Pool.acquire\") > 10s"),
        (&["--when", "blocked > 5"], "say a number and a unit"),
        (
            &["--when", "tasks > 5", "--before", "0"],
            "--before 0 is out of range",
        ),
        (
            &["--when", "tasks > 5", "--max-size", "200K"],
            "choose 1M or more",
        ),
    ] {
        let refused = run(&path("x.await"), options)?;
        ensure!(
            refused.code() == Some(2) && refused.stderr.contains(expected),
            "{refused:?}"
        );
    }
    fs::write(path("diary"), "mine")?;
    fs::write(path("x.await.3"), "mine, too")?;
    for (output, expected) in [
        ("diary", "that is no recording"),
        ("x.await", "x.await.3 is no recording"),
        ("missing/x.await", "No such file"),
    ] {
        let refused = run(&path(output), &["--when", "tasks > 5"])?;
        ensure!(
            refused.code() == Some(1) && refused.stderr.contains(expected),
            "{refused:?}"
        );
        ensure!(refused.stderr.contains("nothing was looked at"), "{refused:?}");
    }
    ensure!(!Path::new(&path("x.await")).exists() && fs::read(path("diary"))? == b"mine");
    Ok(())
}
