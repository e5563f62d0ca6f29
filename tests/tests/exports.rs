//! Files for other tools hold what the summary beside them says, and two traces compare.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::firefox_profile::{self, Thread};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trace_events::{self, Slice};
use awaitwhat_tests::trials::{self, skipped, trial};
use flate2::read::GzDecoder;
use libtest_mimic::Trial;
use serde_json::Value;

/// The versions that are looked at: what is written depends on none.
const VERSIONS: [(u32, u32); 2] = [(3, 9), (3, 12)];

/// Workers of `equal_workers.py`.
const WORKERS: f64 = 1000.0;

fn main() -> anyhow::Result<()> {
    trials::run("exports", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    let is_wanted = |python: &Python| VERSIONS.contains(&python.version);
    let pythons = environment::release_pythons()?;
    let reader = pythons.iter().find(|it| it.readers.is_some()).cloned();
    for python in pythons.into_iter().filter(is_wanted) {
        let label = python.label.clone();
        let (one, other, third) = (python.clone(), python.clone(), python.clone());
        list.push(trial(format!("{label}::chrome"), move || chrome(&python)));
        list.push(trial(format!("{label}::speedscope"), move || speedscope(&one)));
        let target = third.clone();
        list.push(trial(format!("{label}::firefox"), move || firefox(&target)));
        let (name, target) = (format!("{label}::otlp"), third.clone());
        list.push(match reader.clone() {
            Some(reader) => trial(name, move || otlp(&target, &reader)),
            None => skipped(
                name,
                "no CPython 3.11 with opentelemetry-proto, which could read the file",
            ),
        });
        let name = format!("{label}::parquet");
        let target = third.clone();
        list.push(match reader.clone() {
            Some(reader) => trial(name, move || parquet(&target, &reader)),
            None => skipped(name, "no CPython 3.11 with DuckDB, which could read the file"),
        });
        let name = format!("{label}::parquet_waits");
        let target = third.clone();
        list.push(match reader.clone() {
            Some(reader) => trial(name, move || parquet_waits(&target, &reader)),
            None => skipped(name, "no CPython 3.11 with DuckDB, which could read the file"),
        });
        let (name, target) = (format!("{label}::html"), third.clone());
        list.push(if has_program("chromium", "--version") {
            trial(name, move || html(&target))
        } else {
            skipped(name, "no Chromium on this machine, which could show the file")
        });
        let name = format!("{label}::pprof");
        list.push(if has_program("go", "version") {
            trial(name, move || pprof(&other))
        } else {
            skipped(name, "no Go on this machine, whose pprof could read the file")
        });
        list.push(trial(format!("{label}::diff"), move || diff(&third)));
    }
    Ok(list)
}

/// Whether there is a program that tells its version.
fn has_program(name: &str, version: &str) -> bool {
    let mut command = Command::new(name);
    command.arg(version).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A trace of two processes into a file.
struct Traced {
    pids: [u32; 2],
    file: PathBuf,
    /// The seconds that tasks waited in each, as the summary has them.
    waited: [f64; 2],
}

/// Traces two processes with one and with a thousand and one tasks that wait.
fn traced(python: &Python, folder: &Path, name: &str) -> anyhow::Result<Traced> {
    let one = Target::start::<&str>(python, "coroutines.py", &[])?;
    let many = Target::start::<&str>(python, "equal_workers.py", &[])?;
    let pids = [one.pid, many.pid];
    let file = folder.join(name);
    let output = file.to_str().context("the path is not UTF-8")?;
    let [first, second] = pids.map(|pid| pid.to_string());
    let arguments = ["trace", "-p", &first, "-p", &second, "-d", "1", "-o", output];
    let summary = written(&arguments)?;
    let waited = |pid: &str| -> anyhow::Result<f64> {
        let (_, rest) = summary
            .split_once(&format!("Process {pid} "))
            .with_context(|| format!("no process {pid} in\n{summary}"))?;
        let (_, rest) = rest
            .split_once("where tasks waited (")
            .with_context(|| format!("no waiting of process {pid} in\n{summary}"))?;
        Ok(rest.split(' ').next().unwrap_or_default().parse()?)
    };
    let waited = [waited(&first)?, waited(&second)?];
    ensure!(waited[0] > 0.0 && waited[1] > 100.0 * waited[0], "{summary}");
    Ok(Traced { pids, file, waited })
}

/// A browser shows the report from disk without a complaint, and with no network: what each task did, and what stands out.
fn html(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.html");
    let mut target = Target::start::<&str>(python, "on_demand.py", &[])?;
    let mut command = tool::awaitwhat()?;
    command
        .args(["trace", "-p", &target.pid.to_string(), "-d", "3", "-o"])
        .arg(&path);
    let tracer = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Where that comes before the first look there is nothing to find, so it comes again.
    for _ in 0..4 {
        target.ask("later 0.5")?;
        target.ask("block 0.3")?;
    }
    let traced = tool::collect(tracer)?;
    ensure!(traced.code() == Some(0), "{traced:?}");
    let shown = browsed(&path, folder.path())?;
    let complaints: Vec<&str> = shown
        .stderr
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .collect();
    ensure!(complaints.is_empty(), "{complaints:?}");
    for part in [
        "<li>blocked-loop: an event loop did not turn",
        "<svg",
        "aria-label=\"Timeline\"",
        "<rect class=\"waiting\"",
        "<rect class=\"held\"",
        ">beat 1</text>",
    ] {
        ensure!(shown.stdout.contains(part), "{part} is not in {}", shown.stdout);
    }
    // That complaints would be heard.
    let bad =
        fs::read_to_string(&path)?.replace("</body>", "<img src=\"https://awaitwhat.invalid/x.png\"></body>");
    fs::write(&path, bad)?;
    let shown = browsed(&path, folder.path())?;
    ensure!(
        shown.stderr.contains(":CONSOLE"),
        "it complains of nothing: {}",
        shown.stderr
    );
    Ok(())
}

/// What a browser makes of a page, and what it says.
fn browsed(page: &Path, folder: &Path) -> anyhow::Result<tool::Outcome> {
    let mut browser = Command::new("chromium");
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.join("user").display()))
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("file://{}", page.display()));
    tool::run_command(browser)
}

/// Each process is a profile of its own, with its own time.
fn speedscope(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let traced = traced(python, folder.path(), "two.speedscope.json")?;
    let document: Value = serde_json::from_str(&fs::read_to_string(&traced.file)?)?;
    let profiles = document["profiles"].as_array().context("no profiles")?;
    for (pid, waited) in traced.pids.iter().zip(traced.waited) {
        let end = format!("[{pid}]: waiting");
        let is_it = |profile: &&Value| profile["name"].as_str().is_some_and(|name| name.ends_with(&end));
        let profile = profiles
            .iter()
            .find(is_it)
            .with_context(|| format!("{end} is not there"))?;
        let value = profile["endValue"].as_f64().context("no end")?;
        ensure!((value - waited).abs() <= 0.0051, "{end}: {value}, not {waited}");
    }
    let frames = document["shared"]["frames"].as_array().context("no frames")?;
    for function in ["innermost", "fetches"] {
        ensure!(
            frames.iter().any(|frame| frame["name"] == function),
            "no {function}"
        );
    }
    Ok(())
}

/// OpenTelemetry's own messages read the file, and sums are those of the summary, of each process for itself.
fn otlp(python: &Python, reader: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let traced = traced(python, folder.path(), "two.otlp")?;
    let read = read_by(reader, "otlp.py", &[&traced.file])?;
    let resources = read.as_array().context("no resources")?;
    ensure!(resources.len() == 2, "{read}");
    for (pid, waited) in traced.pids.iter().zip(traced.waited) {
        let resource = resources.iter().find(|it| it["pid"] == *pid);
        let resource = resource.with_context(|| format!("no process {pid} in {read}"))?;
        let attributes = &resource["attributes"];
        ensure!(attributes["process.runtime.name"] == "cpython", "{attributes}");
        let first = &resource["profiles"][0];
        ensure!(
            first["type"] == "waiting" && first["unit"] == "nanoseconds",
            "{first}"
        );
        let seconds = first["seconds"].as_f64().context("no seconds")?;
        ensure!(
            (seconds - waited).abs() <= 0.0051,
            "{pid}: {seconds}, not {waited}"
        );
    }
    for function in ["innermost", "fetches"] {
        ensure!(
            read.to_string().contains(&format!("\"{function}\"")),
            "no {function}"
        );
    }
    Ok(())
}

/// DuckDB says which await point grew most between two recordings on each of two hosts.
fn parquet(python: &Python, reader: &Python) -> anyhow::Result<()> {
    let one = Target::start::<&str>(python, "coroutines.py", &[])?;
    let many = Target::start::<&str>(python, "equal_workers.py", &[])?;
    let hosts = ["db-1", "db-2"];
    let read = before_and_after(reader, &hosts, [one.pid, many.pid])?;
    let most = &read["grown"][0];
    ensure!(most["function"] == "fetches" && most["before"] == 0.0, "{most}");
    let after = most["after"].as_f64().context("no tasks after")?;
    let expected = WORKERS * hosts.len() as f64;
    ensure!((after - expected).abs() < 0.05 * expected, "{most}");
    let rows = read["after"].as_array().context("no rows")?;
    let of_host = |host: &str| rows.iter().filter(|row| row["host"] == host).count();
    ensure!(
        hosts.iter().all(|host| of_host(host) == 2) && rows.len() == 4,
        "{read}"
    );
    ensure!(rows.iter().all(|row| row["pid"] == many.pid), "{read}");
    Ok(())
}

/// DuckDB says at which await point waits have become longer on two hosts, and how many there were.
fn parquet_waits(python: &Python, reader: &Python) -> anyhow::Result<()> {
    let quick = Target::start(python, "slower.py", &["0.1"])?;
    let slow = Target::start(python, "slower.py", &["0.3"])?;
    let hosts = ["db-1", "db-2"];
    let read = before_and_after(reader, &hosts, [quick.pid, slow.pid])?;
    let number = |row: &Value, key: &str| row[key].as_f64().with_context(|| format!("{key} of {row}"));
    let slower = read["slower"].as_array().context("no rows")?;
    let most = slower.first().context("nothing became slower")?;
    ensure!(most["function"] == "slowing" && most["hosts"] == 2, "{slower:?}");
    for (when, length) in [("before", 0.1), ("after", 0.3)] {
        let rows = read[when].as_array().context("no rows")?;
        let told: Vec<&Value> = rows
            .iter()
            .filter(|it| it["function"] == "slowing" && !it["waits"].is_null())
            .collect();
        ensure!(told.len() == hosts.len(), "{told:?}");
        let mut waits = 0.0;
        for row in told {
            // A second has room for so many whole ones, and no wait is shorter than that.
            let most = number(row, "duration_seconds")? / length;
            ensure!(
                number(row, "waits")? >= 1.0 && number(row, "waits")? <= most,
                "{row}"
            );
            let off = number(row, "wait_precision_seconds")? + 0.01 * length;
            for key in [
                "wait_p50_seconds",
                "wait_p90_seconds",
                "wait_p99_seconds",
                "wait_max_seconds",
            ] {
                ensure!(number(row, key)? >= length - off, "{key}: {row}");
            }
            ensure!((number(row, "wait_p50_seconds")? - length).abs() < 0.1, "{row}");
            ensure!(number(row, "waits_in_part")? <= 2.0, "{row}");
            waits += number(row, "waits")?;
        }
        ensure!(number(most, &format!("waits_{when}"))? == waits, "{most}");
    }
    Ok(())
}

/// What DuckDB says of recordings of one process, and of another one later, on each of these hosts.
fn before_and_after(reader: &Python, hosts: &[&str], pids: [u32; 2]) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    for (name, pid) in ["before", "after"].into_iter().zip(pids) {
        for host in hosts {
            let path = |ending: &str| {
                folder
                    .path()
                    .join(format!("{name}-{host}.{ending}"))
                    .display()
                    .to_string()
            };
            record_on(host, pid, &path("await"))?;
            written(&["report", &path("await"), "-o", &path("parquet")])?;
        }
    }
    let files = ["before", "after"].map(|name| folder.path().join(format!("{name}-*.parquet")));
    read_by(reader, "grown.py", &[&files[0], &files[1]])
}

/// Records a process for a second, on a machine of this name.
fn record_on(host: &str, pid: u32, file: &str) -> anyhow::Result<()> {
    let output = Command::new("unshare")
        .args(["--uts", "sh", "-c"])
        .arg("echo \"$0\" > /proc/sys/kernel/hostname && exec \"$@\"")
        .arg(host)
        .arg(environment::program()?)
        .args(["record", "-d", "1", "-o", file, "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no recording on {host}: {errors}");
    Ok(())
}

/// What a program of `tests/readers` makes of files.
fn read_by(reader: &Python, program: &str, files: &[&Path]) -> anyhow::Result<Value> {
    let packages = reader.readers.as_ref().context("it has no readers")?;
    let (command, arguments) = reader.command.split_first().context("no command")?;
    let output = Command::new(command)
        .args(arguments)
        .arg(environment::repository().join("tests/readers").join(program))
        .args(files)
        .env("PYTHONPATH", packages)
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{program} tells no JSON"))
}

/// Each process has its tasks, and the slices of what waited come to the time that the summary has: that credits tasks which the first pass has met with the time
/// from its beginning on, and the timeline begins when each was met.
fn chrome(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let traced = traced(python, folder.path(), "two.trace.json")?;
    let slices = trace_events::slices(&serde_json::from_str(&fs::read_to_string(&traced.file)?)?)?;
    for (pid, waited) in traced.pids.iter().zip(traced.waited) {
        let of = |category: &'static str| {
            let is_it = move |it: &&Slice| it.pid == u64::from(*pid) && it.category == category;
            slices.iter().filter(is_it)
        };
        let first = of("task").map(|it| it.begin).fold(f64::INFINITY, f64::min);
        let before: f64 = of("task").map(|it| (it.begin - first) / 1e6).sum();
        let seconds: f64 = of("waiting").map(|it| it.duration / 1e6).sum();
        ensure!(
            (before + seconds - waited).abs() <= 0.01 * waited + 0.01,
            "{pid}: {seconds} and {before} before, not {waited}"
        );
    }
    let tasks = slices.iter().filter(|slice| slice.category == "task").count();
    ensure!(tasks as f64 > WORKERS, "{tasks} tasks");
    same_when_recorded(python, folder.path())
}

/// A track has what tasks that begin alike did, and its waiting comes to the summary's, as in [`chrome`].
fn firefox(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let traced = traced(python, folder.path(), "two.firefox.json.gz")?;
    let profile = serde_json::from_reader(GzDecoder::new(fs::File::open(&traced.file)?))?;
    let threads = firefox_profile::threads(&profile)?;
    for (pid, waited) in traced.pids.iter().zip(traced.waited) {
        let own = |it: &&Thread| it.pid.split('.').next() == Some(&pid.to_string());
        let threads = || threads.iter().filter(own);
        let weights = threads().flat_map(|it| &it.weights);
        let waiting: f64 = weights
            .filter(|(category, _)| category == "Waiting")
            .map(|(_, weight)| weight / 1000.0)
            .sum();
        let begins = || threads().flat_map(|it| it.markers.iter().map(|(begin, _)| *begin));
        let first = begins().fold(f64::INFINITY, f64::min);
        let before: f64 = begins().map(|begin| (begin - first) / 1000.0).sum();
        ensure!(
            (before + waiting - waited).abs() <= 0.01 * waited + 0.01,
            "{pid}: {waiting} and {before} before, not {waited}"
        );
    }
    let workers = threads
        .iter()
        .find(|it| it.name == "worker")
        .context("no workers")?;
    ensure!(
        workers.markers.len() as f64 >= WORKERS,
        "{} waits",
        workers.markers.len()
    );
    Ok(())
}

/// A recording of tasks that come, go, wait and run gives the timeline that the live trace gave.
fn same_when_recorded(python: &Python, folder: &Path) -> anyhow::Result<()> {
    let server = Target::start(python, "paced_server.py", &["30"])?;
    let path = |name: &str| folder.join(name).display().to_string();
    let (recording, timeline) = (path("x.await"), path("x.trace.json"));
    let pid = server.pid.to_string();
    written(&[
        "record",
        "-p",
        &pid,
        "-d",
        "2",
        "-o",
        &recording,
        "--profile",
        &timeline,
    ])?;
    let live = fs::read_to_string(&timeline)?;
    ensure!(
        written(&["report", &recording, "-f", "chrome"])? == live,
        "a recording tells something else"
    );
    let slices = trace_events::slices(&serde_json::from_str(&live)?)?;
    for state in ["waiting", "running", "task"] {
        ensure!(slices.iter().any(|it| it.category == state), "nothing is {state}");
    }
    // A part has what went on when it began, and nothing of what came after it: to a look's precision, as the file tells that, since the period of
    // the sums ends with the last look that came to its end.
    let part = |format| written(&["report", &recording, "-f", format, "--from", "0.5", "--to", "1"]);
    let slices = trace_events::slices(&serde_json::from_str(&part("chrome")?)?)?;
    let profile: Value = serde_json::from_str(&part("json")?)?;
    let duration = profile["duration_seconds"].as_f64().context("no duration")? * 1e6;
    let end = slices.iter().map(|it| it.begin + it.duration).fold(0.0, f64::max);
    let uncertain = |it: &Slice| {
        ["begin_uncertain_us", "end_uncertain_us"].map(|key| it.args[key].as_f64().unwrap_or(0.0))
    };
    let precision = slices.iter().flat_map(uncertain).fold(0.0, f64::max);
    ensure!(
        end > 0.0 && end <= duration + precision + 1.0,
        "it ends at {end} us of {duration}, looks are {precision} us apart"
    );
    ensure!(
        slices.iter().any(|it| it.begin == 0.0),
        "nothing went on at its beginning"
    );
    Ok(())
}

/// Go's pprof opens the file, and its sums are those of the summary, of each process for itself.
fn pprof(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let traced = traced(python, folder.path(), "two.pb.gz")?;
    for (pid, waited) in traced.pids.iter().zip(traced.waited) {
        let output = Command::new("go")
            .args(["tool", "pprof", "-top", "-unit=s", "-nodefraction=0"])
            .arg(format!("-tagfocus=pid={pid}"))
            .arg(&traced.file)
            // It asks for a folder of its own, and for a home.
            .env("PPROF_TMPDIR", folder.path())
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // It writes 1305 where the summary has 1305.00.
        let (_, rest) = text
            .split_once("Showing nodes accounting for ")
            .with_context(|| text.clone())?;
        let seconds: f64 = rest.split('s').next().unwrap_or_default().parse()?;
        ensure!(
            (seconds - waited).abs() <= 0.0051,
            "{pid}: {waited} is not in\n{text}"
        );
        ensure!(text.contains("Type: waiting"), "{text}");
    }
    Ok(())
}

/// A trace compares with a trace: what is the same does not differ, and what differs is found.
fn diff(python: &Python) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let trace = |file: &str, name: &str, times: usize| -> anyhow::Result<Vec<String>> {
        let target = Target::start::<&str>(python, file, &[])?;
        let file = |number: usize| -> anyhow::Result<String> {
            let path = folder.path().join(format!("{name}{number}.json"));
            let path = path.to_str().context("the path is not UTF-8")?.to_owned();
            written(&["trace", "-p", &target.pid.to_string(), "-d", "1", "-o", &path])?;
            Ok(path)
        };
        (0..times).map(file).collect()
    };
    let one = trace("coroutines.py", "one", 2)?;
    let many = trace("equal_workers.py", "many", 1)?;
    let same: Value = tool::json(&["diff", &one[0], &one[1], "--format", "json"])?;
    let changes = same["changes"].as_array().context("no changes")?;
    ensure!(
        changes.len() == 1 && changes[0]["beyond_chance"] == false,
        "{same}"
    );
    let other: Value = tool::json(&["diff", &one[0], &many[0], "-f", "json", "--by", "chain"])?;
    let most = &other["changes"][0];
    ensure!(
        most["beyond_chance"] == true && most["before"]["mean_tasks"] == 0.0,
        "{other}"
    );
    let change = most["change"].as_f64().context("no change")?;
    ensure!((change - WORKERS).abs() < 0.05 * WORKERS, "{other}");
    let text = written(&["diff", &one[0], &many[0]])?;
    ensure!(
        text.contains("Await points") && text.contains("fetches") && text.contains("  yes  "),
        "{text}"
    );
    let svg = written(&["diff", &one[0], &many[0], "-f", "flamegraph"])?;
    ensure!(
        svg.contains("what has changed") && svg.trim_end().ends_with("</svg>"),
        "no picture"
    );
    let refused = tool::run(&["diff", &one[0], "/proc/self/exe"])?;
    tool::says(&refused, 3, &["/proc/self/exe cannot be compared", "ELF"])
}

/// What a run writes that must go well.
fn written(arguments: &[&str]) -> anyhow::Result<String> {
    let outcome = tool::run(arguments)?;
    ensure!(
        outcome.status.success(),
        "`awaitwhat {}` ended with {}: {}",
        arguments.join(" "),
        outcome.status,
        outcome.stderr
    );
    Ok(outcome.stdout)
}
