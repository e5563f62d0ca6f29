//! A recording tells what the live trace of the same run has told, to the last digit; and files that are cut, damaged or no recordings are no danger.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::Python;
use awaitwhat_tests::output::{Profile, Survey};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::Outcome;
use awaitwhat_tests::{processes, tool, trials};
use libtest_mimic::Trial;
use tempfile::TempDir;

const SECONDS: &str = "4";
const VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// The version on which all else is tried that has nothing to do with versions.
const VERSION: (u32, u32) = (3, 12);
/// What a header and a first block come to: from there on there is something to report.
const SOMETHING: u64 = 2000;

fn main() -> anyhow::Result<()> {
    trials::run_alone("recordings", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    trials::of_versions(&[
        (&VERSIONS, &[("busy", busy), ("idle", idle), ("moments", moments)]),
        (
            &[VERSION],
            &[
                ("several", several),
                ("moments_of_several", moments_of_several),
                ("killed", killed),
                ("rotated", rotated),
                ("started", started),
            ],
        ),
    ])
}

/// What a view says, without how long it took to read, which is said where that was long.
fn without_span(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().filter(|it| !it.starts_with("Read over "));
    lines.collect::<Vec<_>>().join("\n")
}

/// A recording, and the profile of the same run.
struct Recorded {
    folder: TempDir,
    recording: String,
    profile: String,
}

impl Recorded {
    /// Records what `targets` say.
    fn of(targets: &[&str]) -> anyhow::Result<Self> {
        Self::into(tempfile::tempdir()?, targets)
    }

    fn into(folder: TempDir, targets: &[&str]) -> anyhow::Result<Self> {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (recording, profile) = (path("x.await"), path("x.json"));
        let options = ["record", "-o", &recording, "--profile", &profile];
        let outcome = tool::run(&[&options[..], targets].concat())?;
        ensure!(outcome.code() == Some(0), "{outcome:?}");
        ensure!(
            outcome.stderr.contains(&format!("Wrote {recording}: ")),
            "{outcome:?}"
        );
        Ok(Self {
            recording,
            profile: fs::read_to_string(profile)?,
            folder,
        })
    }

    fn report(&self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        tool::run(&[&["report", self.recording.as_str()], arguments].concat())
    }

    /// The report equals the profile, byte by byte.
    fn check(&self) -> anyhow::Result<()> {
        let report = self.report(&["-f", "json"])?;
        ensure!(report.code() == Some(0) && report.stderr.is_empty(), "{report:?}");
        ensure!(
            report.stdout == self.profile,
            "recorded, it is {}\nand live it was {}",
            report.stdout,
            self.profile
        );
        Ok(())
    }

    /// Reports another file with this content.
    fn report_of(&self, content: &[u8]) -> anyhow::Result<Outcome> {
        let path = self.folder.path().join("other");
        fs::write(&path, content)?;
        tool::run(&["report", &path.display().to_string()])
    }
}

fn busy(python: &Python) -> anyhow::Result<()> {
    let mut server = Target::start(python, "paced_server.py", &["50"])?;
    let before = cpu_seconds(&server.ask("report")?)?;
    let recorded = Recorded::of(&["-p", &server.pid.to_string(), "-d", SECONDS])?;
    let ran = cpu_seconds(&server.ask("report")?)? - before;
    recorded.check()?;
    let whole: Profile = serde_json::from_str(&recorded.profile)?;
    // On a machine with other work it gets less of a CPU than it wants.
    let shown = whole.busy_share * whole.duration_seconds;
    ensure!(whole.mean_tasks > 1.0, "{whole:?}");
    ensure!(shown > 0.0 && shown <= ran, "it ran for {ran} s: {whole:?}");
    for format in ["summary", "tree", "folded", "flamegraph"] {
        let report = recorded.report(&["-f", format])?;
        ensure!(
            report.code() == Some(0) && !report.stdout.is_empty(),
            "{report:?}"
        );
    }
    windows(&recorded, &whole)?;
    damaged(&recorded)
}

/// The CPU time of which a server tells in its account.
fn cpu_seconds(account: &serde_json::Value) -> anyhow::Result<f64> {
    account["cpu_seconds"].as_f64().context("no CPU time")
}

/// Parts of the period add up to it.
fn windows(recorded: &Recorded, whole: &Profile) -> anyhow::Result<()> {
    let part = |arguments: &[&str]| -> anyhow::Result<Profile> {
        let report = recorded.report(&[&["-f", "json"], arguments].concat())?;
        serde_json::from_str(&report.stdout).with_context(|| format!("{report:?}"))
    };
    let parts = [
        part(&["--to", "1.5"])?,
        part(&["--from", "1.5", "--to", "3"])?,
        part(&["--from", "3"])?,
    ];
    let samples: u64 = parts.iter().map(|it| it.samples).sum();
    let tasks: f64 = parts.iter().map(|it| it.mean_tasks * it.duration_seconds).sum();
    let seconds: f64 = parts.iter().map(|it| it.duration_seconds).sum();
    let expected = whole.mean_tasks * whole.duration_seconds;
    ensure!(samples == whole.samples, "{samples} of {}", whole.samples);
    ensure!((seconds - whole.duration_seconds).abs() < 1e-6, "{seconds} s");
    ensure!(
        (tasks - expected).abs() < 0.01 * expected,
        "{tasks} of {expected}"
    );
    Ok(())
}

/// What is not whole is shown as far as it goes; what is no recording is refused.
fn damaged(recorded: &Recorded) -> anyhow::Result<()> {
    let bytes = fs::read(&recorded.recording)?;
    let cut = recorded.report_of(&bytes[..bytes.len() - 7])?;
    ensure!(cut.code() == Some(0), "{cut:?}");
    ensure!(cut.stderr.contains("without its last block"), "{cut:?}");
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let flipped = recorded.report_of(&flipped)?;
    ensure!(flipped.code() == Some(1), "{flipped:?}");
    ensure!(flipped.stderr.contains("is damaged from byte"), "{flipped:?}");
    let json = recorded.report_of(recorded.profile.as_bytes())?;
    ensure!(json.code() == Some(3), "{json:?}");
    ensure!(json.stderr.contains("awaitwhat.profile/1"), "{json:?}");
    Ok(())
}

/// What every view and format shows of a snapshot in a recording equals what it shows of the process, in which nothing moves.
fn moments(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "primitives.py", &[])?;
    let pid = target.pid.to_string();
    let recorded = Recorded::of(&["-p", &pid, "-d", "1", "--snapshots", "0.2"])?;
    let recording = recorded.recording.as_str();
    for view in [
        &["ps"][..],
        &["ps", "--sort", "waits-for", "--filter", "lock"],
        &["tree"],
        &["why", "Task-2"],
        &["graph"],
        &["graph", "--format", "svg"],
    ] {
        let live = tool::run(&[view, &[&pid]].concat())?;
        let shown = tool::run(&[view, &["--recording", recording]].concat())?;
        ensure!(
            live.code() == Some(0) && shown.code() == Some(0),
            "{live:?} {shown:?}"
        );
        ensure!(shown.stderr.starts_with("Snapshot of 20"), "{shown:?}");
        let (live, shown) = (without_span(&live), without_span(&shown));
        ensure!(live == shown, "{view:?}\n{live}\n{shown}");
    }
    for (view, key) in [
        (&["ps", "--json"][..], "tasks"),
        (&["why", "Task-2", "--format", "json"], "answers"),
    ] {
        let json = |arguments: &[&str]| -> anyhow::Result<serde_json::Value> {
            let outcome = tool::run(&[view, arguments].concat())?;
            let mut document: serde_json::Value =
                serde_json::from_str(&outcome.stdout).with_context(|| format!("{outcome:?}"))?;
            let keys = document.as_object_mut().context("it is no object")?;
            // All that differs is when it was.
            keys.remove("captured_at");
            keys.remove("span_seconds");
            ensure!(keys.contains_key(key), "{keys:?}");
            Ok(document)
        };
        let (live, shown) = (json(&[&pid])?, json(&["--recording", recording])?);
        ensure!(live == shown, "{live}\n{shown}");
    }
    let stack = tool::run(&["stack", "Task-2", "--recording", recording])?;
    ensure!(stack.stdout.contains("waits for lock"), "{stack:?}");
    let early = tool::run(&["tree", "--recording", recording, "--at", "0"])?;
    ensure!(early.code() == Some(3), "{early:?}");
    ensure!(early.stderr.contains("its first snapshot is of"), "{early:?}");
    let later = tool::run(&["tree", "--recording", recording, "--at", "60"])?;
    ensure!(
        later.stderr.contains("s before the moment that was asked for"),
        "{later:?}"
    );
    none_is_kept(&pid)
}

/// Who wants no snapshots gets none, and is told so.
fn none_is_kept(pid: &str) -> anyhow::Result<()> {
    let recorded = Recorded::of(&["-p", pid, "-d", "0.5", "--snapshots", "0"])?;
    let shown = tool::run(&["ps", "--recording", &recorded.recording])?;
    ensure!(shown.code() == Some(3), "{shown:?}");
    ensure!(shown.stderr.contains("it has no snapshots"), "{shown:?}");
    Ok(())
}

fn moments_of_several(python: &Python) -> anyhow::Result<()> {
    let one = Target::start::<&str>(python, "primitives.py", &[])?;
    let other = Target::start::<&str>(python, "primitives.py", &[])?;
    let pids = [one.pid, other.pid].map(|pid| pid.to_string());
    let recorded = Recorded::of(&["-p", &pids[0], "-p", &pids[1], "-d", "1", "--snapshots", "0.2"])?;
    let recording = recorded.recording.as_str();
    let run = |arguments: &[&str]| tool::run(&[arguments, &["--recording", recording]].concat());
    let all = run(&["tree"])?;
    let live = tool::run(&["tree", &pids[0], &pids[1]])?;
    ensure!(
        all.code() == Some(0) && without_span(&all) == without_span(&live),
        "{all:?}\n{live:?}"
    );
    let json = run(&["ps", "--json"])?;
    ensure!(json.stdout.contains("awaitwhat.snapshots/1"), "{json:?}");
    let single = run(&["tree", &pids[0]])?;
    let live = tool::run(&["tree", &pids[0]])?;
    ensure!(
        single.code() == Some(0) && without_span(&single) == without_span(&live),
        "{single:?}\n{live:?}"
    );
    let unclear = run(&["why", "Task-2"])?;
    ensure!(unclear.code() == Some(3), "{unclear:?}");
    ensure!(
        unclear.stderr.contains("say which process is meant"),
        "{unclear:?}"
    );
    let clear = run(&["why", "Task-2", &pids[0]])?;
    ensure!(clear.code() == Some(0), "{clear:?}");
    let missing = run(&["ps", "1"])?;
    ensure!(
        missing.code() == Some(3) && missing.stderr.contains("has no process 1"),
        "{missing:?}"
    );
    Ok(())
}

/// Each of several files tells of all tasks, also of those that rest all the while, and together they tell what the trace did.
fn rotated(python: &Python) -> anyhow::Result<()> {
    let busy = Target::start::<&str>(python, "churning.py", &[])?;
    let resting = Target::start::<&str>(python, "primitives.py", &[])?;
    let pids = [busy.pid, resting.pid].map(|pid| pid.to_string());
    let limits = ["--max-size", "192K", "--rotate", "20", "--rate", "500"];
    let targets = ["-d", "5", "--snapshots", "0.5", "-p", &pids[0], "-p", &pids[1]];
    let recorded = Recorded::of(&[&limits[..], &targets].concat())?;
    let whole: Survey<Profile> = serde_json::from_str(&recorded.profile)?;
    let mut parts = Vec::new();
    for age in 0.. {
        let path = match age {
            0 => recorded.recording.clone(),
            age => format!("{}.{age}", recorded.recording),
        };
        if !Path::new(&path).exists() {
            break;
        }
        ensure!(fs::metadata(&path)?.len() <= 192 << 10, "{path} is too large");
        let report = tool::run(&["report", &path, "-f", "json"])?;
        // Nothing is said of a block that is missing.
        ensure!(report.code() == Some(0) && report.stderr.is_empty(), "{report:?}");
        let part: Survey<Profile> = serde_json::from_str(&report.stdout)?;
        let tree = tool::run(&["tree", &pids[1], "--recording", &path])?;
        ensure!(age == 0 || tree.stdout.contains("at_lock"), "{tree:?}");
        parts.push(part);
    }
    ensure!(parts.len() > 1, "all fitted into one file");
    for pid in [busy.pid, resting.pid] {
        let of = |profiles: &Survey<Profile>| -> anyhow::Result<Profile> {
            let found = profiles.targets.iter().find(|it| it.pid == pid);
            found
                .cloned()
                .with_context(|| format!("process {pid} is missing"))
        };
        let whole = of(&whole)?;
        let each: Vec<Profile> = parts.iter().map(of).collect::<Result<_, _>>()?;
        // Each look is told in one file, and no other.
        let samples: u64 = each.iter().map(|it| it.samples).sum();
        ensure!(samples == whole.samples, "{samples} of {}", whole.samples);
        if pid == resting.pid {
            let places = |profile: &Profile| -> BTreeSet<String> {
                let frames = profile.chains.iter().map(|chain| &chain.frames);
                frames.map(|frames| format!("{frames:?}")).collect()
            };
            for part in &each {
                ensure!(places(part) == places(&whole), "{part:?}");
            }
        }
    }
    Ok(())
}

fn idle(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "idle.py", &[])?;
    let recorded = Recorded::of(&["-p", &target.pid.to_string(), "-d", "2"])?;
    recorded.check()?;
    let bytes = fs::metadata(&recorded.recording)?.len();
    // An hour of it: some megabytes, as nothing happens.
    ensure!(bytes < 8000, "two seconds of nothing took {bytes} bytes");
    Ok(())
}

fn several(python: &Python) -> anyhow::Result<()> {
    let one = Target::start(python, "paced_server.py", &["5"])?;
    let other = Target::start::<&str>(python, "idle.py", &[])?;
    let pids = [one.pid, other.pid].map(|pid| pid.to_string());
    let recorded = Recorded::of(&["-p", &pids[0], "-p", &pids[1], "-d", "2"])?;
    recorded.check()?;
    let merged = recorded.report(&["--merge", "-f", "json"])?;
    ensure!(merged.stdout.contains("awaitwhat.profiles/1"), "{merged:?}");
    Ok(())
}

/// All is there up to the last whole block, however it ended.
fn killed(python: &Python) -> anyhow::Result<()> {
    let target = Target::start(python, "paced_server.py", &["50"])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.await");
    let recording = path.display().to_string();
    let mut recorder = tool::awaitwhat()?
        .args(["record", "-p", &target.pid.to_string(), "-o", &recording])
        .stderr(Stdio::null())
        .spawn()?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |it| it.len());
    while size(&path) < SOMETHING && recorder.try_wait()?.is_none() {
        thread::yield_now();
    }
    recorder.kill()?;
    recorder.wait()?;
    let report = tool::run(&["report", &recording])?;
    ensure!(report.code() == Some(0), "{report:?}");
    ensure!(report.stderr.contains("without its last block"), "{report:?}");
    ensure!(report.stdout.contains("paced_server.py"), "{report:?}");
    // It may be recorded to anew, and nothing else may.
    let diary = folder.path().join("diary");
    fs::write(&diary, "mine")?;
    let pid = target.pid.to_string();
    let again = tool::run(&["record", "-p", &pid, "-d", "1", "-o", &recording])?;
    ensure!(again.code() == Some(0), "{again:?}");
    let refused = tool::run(&[
        "record",
        "-p",
        &pid,
        "-d",
        "1",
        "-o",
        &diary.display().to_string(),
    ])?;
    ensure!(refused.code() == Some(1), "{refused:?}");
    ensure!(fs::read(&diary)? == b"mine", "{refused:?}");
    Ok(())
}

/// A program that is started is recorded from its beginning on, until it ends: which it does once there is something to report.
fn started(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (app, recording, enough) = (path("app.py"), path("x.await"), path("enough"));
    fs::write(
        &app,
        "import asyncio, os, sys\nasync def main():\n    while not os.path.exists(sys.argv[1]):\n        await asyncio.sleep(0.1)\nasyncio.run(main())\n",
    )?;
    let command = python.command();
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|it| it.to_string_lossy().into_owned());
    let paths = [&app, &enough].map(|path| path.display().to_string());
    let words: Vec<String> = ["--".to_owned(), program]
        .into_iter()
        .chain(arguments)
        .chain(paths)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let recorded = thread::scope(|scope| {
        scope.spawn(|| {
            let has_something = || Ok(fs::metadata(&recording).is_ok_and(|it| it.len() >= SOMETHING));
            // Without it the program ends all the same, and what it tells is looked at.
            let _ = processes::wait_until("a first block", has_something);
            fs::write(&enough, "")
        });
        Recorded::into(folder, &words)
    })?;
    recorded.check()?;
    ensure!(recorded.profile.contains("app.py"), "{}", recorded.profile);
    Ok(())
}
