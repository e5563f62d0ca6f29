//! What the commands write, of live processes: nothing that commands a terminal, and what the formats promise.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::Profile;
use awaitwhat_tests::processes::{children_with, wait_for_end, wait_until};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool::{self, says};
use awaitwhat_tests::trace::Trace;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use serde_json::Value;

/// One trial of an interpreter.
type Check = fn(&Python) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 10] = [
    ("terminal_is_safe", terminal_is_safe),
    ("json_is_valid", json_is_valid),
    ("graphs_and_answers_are_json", graphs_and_answers_are_json),
    ("a_table_is_watched", a_table_is_watched),
    ("tree_folds_equal_tasks", tree_folds_equal_tasks),
    ("tree_draws_cycles", tree_draws_cycles),
    ("trace_files", trace_files),
    ("trace_starts_program", trace_starts_program),
    (
        "trace_tells_what_there_is_so_far",
        trace_tells_what_there_is_so_far,
    ),
    ("doctor_is_content", doctor_is_content),
];

/// The check that is made of each interpreter.
const OF_ALL: &str = "json_is_valid";

/// Versions in which looks that follow each other are tried with code that is ever new.
const WATCHED: [&str; 2] = ["3.8", "3.12"];

fn main() -> anyhow::Result<()> {
    trials::run("commands", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        // What is done with what was read is the same for all: the oldest, the newest, and one between have to do for most.
        let is_one_of_few = matches!(python.version, (3, 7 | 12 | 15)) && !python.is_debug();
        for (name, check) in CHECKS.into_iter().filter(|it| is_one_of_few || it.0 == OF_ALL) {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
        if WATCHED.contains(&python.label.as_str()) {
            let python = python.clone();
            let name = format!("{}::a_watch_names_what_is_there_now", python.label);
            list.push(trial(name, move || a_watch_names_what_is_there_now(&python)));
        }
        if python.label == "3.11" {
            let python = python.clone();
            list.push(trial("3.11::findings_of_tasks_are_told", move || {
                findings_of_tasks_are_told(&python)
            }));
        }
        // In another root it could not be started by its name.
        if let [program] = python.command.as_slice() {
            let (program, version) = (program.clone(), python.version);
            list.push(trial(format!("{}::demo", python.label), move || {
                demo(&program, version)
            }));
        }
    }
    let mut names =
        environment::pythons()?
            .into_iter()
            .filter_map(|python| match python.command.as_slice() {
                [program] => Some(program.clone()),
                _ => None,
            });
    if let Some(program) = names.next_back() {
        let python = program.clone();
        list.push(trial("demo_leaves_others_files_alone", move || {
            demo_leaves_others_files_alone(&python)
        }));
        list.push(trial("demo_leaves_nothing_behind", move || {
            demo_leaves_nothing_behind(&program)
        }));
    }
    Ok(list)
}

/// The standard output of a run that has to succeed.
fn written(arguments: &[&str]) -> anyhow::Result<String> {
    let outcome = tool::run(arguments)?;
    ensure!(
        outcome.status.success(),
        "{arguments:?}: {}: {}",
        outcome.status,
        outcome.stderr
    );
    Ok(outcome.stdout)
}

/// Names of tasks, functions and files reach a terminal escaped, with colours and without.
fn terminal_is_safe(python: &Python) -> anyhow::Result<()> {
    // Before 3.8 tasks have no names, and code objects cannot be renamed.
    let files: &[&str] = if python.version < (3, 8) {
        &["coroutines.py"]
    } else {
        &["names.py", "hostile_text.py"]
    };
    for file in files {
        let target = Target::start::<&str>(python, file, &[])?;
        let pid = target.pid.to_string();
        for arguments in [
            &["ps", &pid] as &[&str],
            &["tree", &pid],
            &["doctor", "--pid", &pid],
            &["trace", "-p", &pid, "-d", "0.3"],
            &["trace", "-p", &pid, "-d", "0.3", "-f", "tree"],
            &["trace", "-p", &pid, "-d", "0.3", "-f", "folded"],
            &["trace", "-p", &pid, "-d", "0.3", "-f", "flamegraph"],
            &["trace", "-p", &pid, "-d", "0.3", "-f", "json"],
            &["ps", "--json", &pid],
        ] {
            for color in ["never", "always"] {
                let text = written(&[&["--color", color], arguments].concat())?;
                let plain = if color == "always" {
                    without_colors(&text)
                } else {
                    text
                };
                let bad = plain.chars().find(|&character| commands_terminal(character));
                ensure!(
                    bad.is_none(),
                    "{file}, {arguments:?}, --color {color}: {bad:?} in {plain:?}"
                );
            }
        }
    }
    Ok(())
}

/// Control characters of both kinds, and those that turn the direction of writing.
fn commands_terminal(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character != '\n' && (character.is_control() || turns)
}

/// `text` without the sequences that set colours and weights: `ESC [ digits and semicolons m`.
fn without_colors(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = after.find(|character: char| !character.is_ascii_digit() && character != ';');
        rest = match end
            .and_then(|end| after.get(end..))
            .and_then(|tail| tail.strip_prefix('m'))
        {
            Some(tail) => tail,
            None => {
                // No colour: the check that follows is to find it.
                plain.push('\x1b');
                after
            }
        };
    }
    plain.push_str(rest);
    plain
}

/// Real output has the form that the published schemas describe.
fn json_is_valid(python: &Python) -> anyhow::Result<()> {
    let group = if python.version < (3, 11) {
        "gather_tasks.py"
    } else {
        "task_group.py"
    };
    for file in [
        group,
        "running_busy.py",
        "deep_chain.py",
        "without_asyncio.py",
        if python.version < (3, 8) {
            "coroutines.py"
        } else {
            "hostile_text.py"
        },
    ] {
        let target = Target::start::<&str>(python, file, &[])?;
        let pid = target.pid.to_string();
        let snapshot = written(&["ps", "--json", &pid])?;
        is_valid("awaitwhat.snapshot-1.schema.json", &snapshot).with_context(|| file.to_owned())?;
        let profile = written(&["trace", "-p", &pid, "-d", "1", "-f", "json"])?;
        is_valid("awaitwhat.profile-1.schema.json", &profile).with_context(|| file.to_owned())?;
    }
    Ok(())
}

/// Every task has its place in the graph, and `why` begins with the task that was asked for.
fn graphs_and_answers_are_json(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let pid = target.pid.to_string();
    let parse = |text: &str| serde_json::from_str::<Value>(text);
    let snapshot = parse(&written(&["ps", "--json", &pid])?)?;
    let graph = parse(&written(&["graph", &pid, "--format", "json"])?)?;
    ensure!(graph["schema"] == "awaitwhat.graph/1", "{}", graph["schema"]);
    let nodes = graph["nodes"].as_array().context("no nodes")?;
    let mut drawn: Vec<&str> = nodes
        .iter()
        .filter_map(|node| node["tasks"].as_array())
        .flatten()
        .filter_map(|task| task["id"].as_str())
        .collect();
    let tasks = snapshot["tasks"].as_array().context("no tasks")?;
    let mut all: Vec<&str> = tasks.iter().filter_map(|task| task["id"].as_str()).collect();
    drawn.sort_unstable();
    all.sort_unstable();
    ensure!(drawn == all, "{drawn:?} are drawn of {all:?}");
    let is_shared = |node: &Value| node["resource"]["kind"] == "lock" && node["resource"]["waiters"] == 3;
    ensure!(nodes.iter().any(is_shared), "three tasks wait for a lock");
    let id = all.first().context("no task")?;
    let why = parse(&written(&["why", id, &pid, "--format", "json"])?)?;
    ensure!(why["schema"] == "awaitwhat.why/1", "{}", why["schema"]);
    ensure!(why["answers"][0]["steps"][0]["task"] == *id, "{id}: {why}");
    Ok(())
}

/// Snapshots follow each other until Ctrl-C, with what is known of since when, and how much is hidden; or until the target ends.
fn a_table_is_watched(python: &Python) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let pid = target.pid.to_string();
    let watch = || -> anyhow::Result<(Child, Vec<String>)> {
        let mut child = tool::awaitwhat()?
            .args(["ps", "--watch=0.1", "--filter", "sleep", "--sort", "since", &pid])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.as_mut().context("no output")?;
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            lines.push(line?);
            let hidden = lines
                .iter()
                .filter(|line| line.ends_with("are hidden by --filter"));
            if hidden.count() == 3 {
                break;
            }
        }
        Ok((child, lines))
    };
    let (child, lines) = watch()?;
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()?;
    ensure!(status.success(), "it has ended by itself");
    ensure!(tool::collect(child)?.code() == Some(0), "Ctrl-C is how it ends");
    let rows: Vec<&String> = lines.iter().filter(|line| line.contains("pending")).collect();
    ensure!(
        rows.len() >= 6 && rows.iter().all(|row| row.contains("sleep")),
        "{lines:#?}"
    );
    ensure!(lines.iter().any(|line| line.contains("SINCE")), "{lines:#?}");
    let (child, _) = watch()?;
    target.end();
    let outcome = tool::collect(child)?;
    ensure!(
        outcome.code() == Some(5),
        "{:?}: {}",
        outcome.code(),
        outcome.stderr
    );
    ensure!(
        outcome.stderr.contains("Nothing is left to look at"),
        "{}",
        outcome.stderr
    );
    Ok(())
}

/// What one look has learnt of code is not told of other code that lies there in the next one. Functions are numbered as their tasks are.
fn a_watch_names_what_is_there_now(python: &Python) -> anyhow::Result<()> {
    const TABLES: usize = 25;
    let target = Target::start::<&str>(python, "made_code.py", &[])?;
    let mut child = tool::awaitwhat()?
        .args(["ps", "--watch=0.1", "--filter", "made_", &target.pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.as_mut().context("no output")?;
    let (mut tables, mut rows) = (0, Vec::new());
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        tables += usize::from(line.contains("every 0.1 s"));
        if tables > TABLES {
            break;
        }
        if line.contains("made_") && line.contains("Task-") {
            rows.push(line);
        }
    }
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()?;
    tool::collect(child)?;
    let number = |row: &str, before: &str| -> Option<u64> {
        let digits: String = row
            .split(before)
            .nth(1)?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    let mut functions = Vec::new();
    for row in &rows {
        let (task, function) = (number(row, "Task-"), number(row, "made_"));
        ensure!(task == function.map(|it| it + 1), "another one's name: {row}");
        functions.extend(function);
    }
    functions.sort_unstable();
    functions.dedup();
    // A function lives for as long as an eighth of what was watched lasts.
    ensure!(
        functions.len() > 40,
        "{} functions in {} rows",
        functions.len(),
        rows.len()
    );
    Ok(())
}

/// What is used up, who was cancelled and waits, and who waits for long.
fn findings_of_tasks_are_told(python: &Python) -> anyhow::Result<()> {
    let found = |file: &str, more: &[&str]| -> anyhow::Result<Vec<(String, Value)>> {
        let target = Target::start::<&str>(python, file, &[])?;
        let pid = target.pid.to_string();
        let document = written(&[&["ps", "--json", &pid], more].concat())?;
        is_valid("awaitwhat.snapshot-1.schema.json", &document)?;
        let document: Value = serde_json::from_str(&document)?;
        let findings = document["findings"].as_array().context("no findings")?;
        let with_id = |finding: &Value| {
            (
                finding["id"].as_str().unwrap_or_default().to_owned(),
                finding.clone(),
            )
        };
        Ok(findings.iter().map(with_id).collect())
    };
    let cancelled = found("cancelled.py", &[])?;
    ensure!(
        matches!(cancelled.as_slice(), [(id, it)] if id == "cancelled-but-waits" && it["count"] == 2),
        "{cancelled:?}"
    );
    let ids = |found: Vec<(String, Value)>| -> Vec<String> { found.into_iter().map(|(id, _)| id).collect() };
    let named = ids(found("named_waits.py", &[])?);
    ensure!(named == ["used-up", "used-up"], "{named:?}");
    let slow = ids(found("named_waits.py", &["--slow", "0.001"])?);
    ensure!(slow == ["used-up", "used-up", "slow-wait"], "{slow:?}");
    Ok(())
}

fn is_valid(schema: &str, document: &str) -> anyhow::Result<()> {
    let path = environment::repository().join("schemas").join(schema);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let validator = jsonschema::validator_for(&serde_json::from_str(&text)?)?;
    let document: Value = serde_json::from_str(document)?;
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect();
    ensure!(errors.is_empty(), "{schema}: {}", errors.join("; "));
    Ok(())
}

fn tree_folds_equal_tasks(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "equal_workers.py", &[])?;
    let tree = written(&["tree", &target.pid.to_string()])?;
    ensure!(
        tree.contains("x1000"),
        "a thousand equal tasks are not folded:\n{tree}"
    );
    ensure!(
        tree.lines().count() < 30,
        "{} lines for two kinds of tasks",
        tree.lines().count()
    );
    for function in ["main", "worker", "fetches", "sleep"] {
        ensure!(tree.contains(function), "{function} is not in\n{tree}");
    }
    Ok(())
}

fn tree_draws_cycles(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "mutual.py", &[])?;
    let tree = written(&["tree", &target.pid.to_string()])?;
    for word in ["first", "second", "cycle", "mutual.py:"] {
        ensure!(tree.contains(word), "{word} is not in\n{tree}");
    }
    Ok(())
}

/// The ending of the file's name tells the format; the summary goes to standard output all the same.
fn trace_files(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "coroutines.py", &[])?;
    let folder = tempfile::tempdir()?;
    let trace = |name: &str| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        let text = path.to_str().context("the path is not UTF-8")?;
        let summary = written(&["trace", "-p", &target.pid.to_string(), "-d", "1", "-o", text])?;
        ensure!(
            summary.contains("Await points"),
            "no summary beside {name}: {summary}"
        );
        Ok(fs::read_to_string(&path)?)
    };
    let folded = trace("profile.folded")?;
    let (chain, weight) = folded.trim_end().rsplit_once(' ').context("no weight")?;
    ensure!(
        weight.parse::<u64>()? > 0 && folded.lines().count() == 1,
        "{folded}"
    );
    let positions: Option<Vec<_>> = ["main", "outer", "middle", "innermost", "sleep"]
        .iter()
        .map(|function| chain.find(function))
        .collect();
    ensure!(
        positions.is_some_and(|positions| positions.is_sorted()),
        "not outermost first: {chain}"
    );
    let profile: Profile = serde_json::from_str(&trace("profile.json")?)?;
    ensure!(profile.chains.len() == 1, "{profile:?}");
    let svg = trace("profile.svg")?;
    ensure!(
        svg.contains("<svg") && svg.trim_end().ends_with("</svg>"),
        "not an SVG file"
    );
    ensure!(svg.contains("innermost"), "the chain is not in the flame graph");
    Ok(())
}

/// `trace` shows its summary again and again, and when it is asked by a signal; each is as if it had ended then.
fn trace_tells_what_there_is_so_far(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "coroutines.py", &[])?;
    let pid = target.pid.to_string();
    let shown = written(&["trace", "-p", &pid, "-d", "4", "--interval", "1"])?;
    let seconds: Vec<f64> = shown
        .lines()
        .filter_map(|line| line.split_once("traced for ")?.1.strip_suffix(" s"))
        .map(|seconds| Ok(seconds.parse()?))
        .collect::<anyhow::Result<_>>()?;
    ensure!(seconds.len() > 1 && seconds.is_sorted(), "{seconds:?}: {shown}");
    let whole = shown.matches("1.0 tasks on average").count();
    ensure!(whole == seconds.len(), "tasks are missing in {shown}");

    let mut trace = Trace::start(&["-p", &pid, "-d", "600", "-f", "json"])?;
    trace.wait_for(target.pid)?;
    trace.signal("USR1")?;
    trace.wait_for(target.pid)?;
    trace.interrupt()?;
    let outcome = trace.outcome()?;
    ensure!(
        outcome.stderr.matches("Await points").count() == 1,
        "{}",
        outcome.stderr
    );
    let profile: Profile = serde_json::from_str(&outcome.stdout)?;
    ensure!(profile.chains.len() == 1, "{profile:?}");
    Ok(())
}

/// `trace -- COMMAND` starts the program, and ends with it.
fn trace_starts_program(python: &Python) -> anyhow::Result<()> {
    let code = "import asyncio\nasync def waits():\n    await asyncio.sleep(2)\nasyncio.run(waits())\n";
    let mut arguments = vec!["trace", "-f", "json", "--"];
    arguments.extend(python.command.iter().map(String::as_str));
    arguments.extend(["-c", code]);
    let profile: Profile = serde_json::from_str(&written(&arguments)?)?;
    let point = profile
        .await_points
        .iter()
        .find(|point| point.function == "waits" && point.awaits == "sleep");
    let point = point.with_context(|| format!("{profile:?}"))?;
    ensure!(point.line == 3 && point.task_seconds > 0.0, "{point:?}");
    Ok(())
}

fn doctor_is_content(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "idle.py", &[])?;
    let text = written(&["doctor", "--pid", &target.pid.to_string()])?;
    let version = target.announced["python"].as_str().context("no version")?;
    ensure!(text.contains(version), "{version} is not in\n{text}");
    Ok(())
}

/// The first thing that a newcomer runs.
fn demo(program: &str, version: (u32, u32)) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = tool::awaitwhat()?;
    command
        .args(["demo", "--python", program])
        .current_dir(folder.path());
    let outcome = tool::run_command(command)?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    // Before 3.11 a function does not know its class.
    let get = if version < (3, 11) { "get" } else { "Queue.get" };
    for words in ["Await points", "sleep", "Lock", get, "queues.py", "gather"] {
        ensure!(
            outcome.stdout.to_lowercase().contains(&words.to_lowercase()),
            "{words} is not in\n{}",
            outcome.stdout
        );
    }
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    let svg = said
        .split_whitespace()
        .map(|word| word.trim_end_matches(['.', ',', ':']))
        .find(|word| word.ends_with(".svg"))
        .with_context(|| format!("where is the flame graph?\n{said}"))?;
    let path = folder.path().join(Path::new(svg));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.contains("<svg"), "{} is not an SVG file", path.display());
    // It may lie outside the folder that goes away with this test.
    fs::remove_file(&path)?;
    Ok(())
}

/// Whoever owns the folder has put a link where the flame graph goes.
fn demo_leaves_others_files_alone(program: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious")?;
    symlink(&victim, folder.path().join("awaitwhat-demo.svg"))?;
    let mut command = tool::awaitwhat()?;
    command
        .args(["demo", "--python", program])
        .current_dir(folder.path());
    let outcome = tool::run_command(command)?;
    says(&outcome, 0, &[])?;
    ensure!(
        fs::read_to_string(&victim)? == "precious",
        "the link was followed"
    );
    ensure!(
        outcome.stdout.contains("awaitwhat-demo-2.svg"),
        "where is the flame graph? {}",
        outcome.stdout
    );
    let text = fs::read_to_string(folder.path().join("awaitwhat-demo-2.svg"))?;
    ensure!(text.contains("<svg"), "not an SVG file");
    Ok(())
}

/// Whatever signal ends it, its program ends with it, and no file stays.
fn demo_leaves_nothing_behind(program: &str) -> anyhow::Result<()> {
    for (name, number) in [
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("KILL", libc::SIGKILL),
    ] {
        let (folder, temporary) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut child = tool::awaitwhat()?
            .args(["demo", "--python", program])
            .current_dir(folder.path())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut programs = Vec::new();
        // Its file is gone as soon as it has been read.
        let begun = wait_until("the start of the program", || {
            programs = children_with(child.id(), "demo.py")?;
            Ok(!programs.is_empty() && fs::read_dir(temporary.path())?.next().is_none())
        });
        Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status()?;
        let status = child.wait()?;
        begun?;
        ensure!(status.signal() == Some(number), "SIG{name}: {status}");
        programs.into_iter().try_for_each(wait_for_end)?;
        for place in [&folder, &temporary] {
            ensure!(
                fs::read_dir(place.path())?.next().is_none(),
                "SIG{name}: a file stays behind"
            );
        }
    }
    Ok(())
}
