//! The command line as a user meets it, as far as that needs neither privileges nor a target.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn awaitwhat(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_awaitwhat"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Runs what must fail, and returns its diagnostics. Data must not be mixed with them.
fn failing(arguments: &[&str], code: i32) -> String {
    let output = awaitwhat(arguments);
    let diagnostics = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {diagnostics}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    diagnostics
}

#[test]
fn help_goes_to_standard_output() {
    let output = awaitwhat(&["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for part in ["demo", "ps", "tree", "trace", "doctor", "Exit codes:"] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
}

/// The commands that `--help` lists, `help` itself left out.
fn commands() -> Vec<String> {
    let help = text(&awaitwhat(&["--help"]).stdout);
    let (_, list) = help.split_once("Commands:\n").expect("commands are listed");
    let (list, _) = list.split_once("\n\n").expect("the list ends");
    // Lines that only go on with a description begin further to the right.
    let names = list.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_is_there_for_every_command_and_fits_into_80_columns() {
    let commands = commands();
    assert!(commands.len() >= 13, "{commands:?}");
    let mut all = vec![awaitwhat(&["--help"]), awaitwhat(&["-h"])];
    for command in &commands {
        let long = awaitwhat(&[command, "--help"]);
        assert_eq!(text(&awaitwhat(&["help", command]).stdout), text(&long.stdout));
        all.extend([long, awaitwhat(&[command, "-h"])]);
    }
    for output in all {
        assert!(output.status.success());
        for line in text(&output.stdout).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn versions_are_told_briefly_and_in_full() {
    let brief = text(&awaitwhat(&["-V"]).stdout);
    assert_eq!(brief, concat!("awaitwhat ", env!("CARGO_PKG_VERSION"), "\n"));
    let full = text(&awaitwhat(&["--version"]).stdout);
    let rest = full
        .strip_prefix(&brief)
        .expect("the full one begins as the brief one");
    for part in ["commit: ", "eBPF object: sha256 ", "compiler: rustc "] {
        assert!(rest.lines().any(|line| line.starts_with(part)), "{part}: {rest}");
    }
}

#[test]
fn every_listed_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new").join("man1");
    assert!(
        awaitwhat(&["man-pages", place.to_str().unwrap()])
            .status
            .success()
    );
    let mut expected: Vec<String> = commands().iter().map(|it| format!("awaitwhat-{it}.1")).collect();
    expected.push("awaitwhat.1".to_owned());
    let mut found: Vec<String> = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["ps"][..],
        &["ps", "x"],
        &["trace"],
        &["trace", "--pid", "1", "--rate", "0"],
        &["trace", "--pid", "1", "--duration", "0"],
        &["trace", "--pid", "1", "--interval", "0"],
        &["trace", "--pid", "1", "--reverse"],
        &["ps", "1", "--exe", "x"],
        &["why", "x", "1", "--exe", "x"],
        &["graph", "1", "--sysroot", "x"],
        &["stack", "x"],
        &["diff", "x"],
        &["report"],
        &["trace", "--pid", "1", "--output", "x.doc"],
        &["tree", "1", "--max-frames", "0"],
        &["--budget", "1", "ps", "1"],
        &["fly"],
    ] {
        assert!(failing(arguments, 2).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_before_tracing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("x.svg");
    let started = folder.path().join("started");
    let touch = format!("touch {}", started.display());
    let arguments = [
        "trace",
        "--output",
        missing.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        &touch,
    ];
    let diagnostics = failing(&arguments, 1);
    assert!(
        diagnostics.contains("cannot be written to, so nothing was begun"),
        "{diagnostics}"
    );
    assert!(!started.exists());
}

#[test]
fn a_trace_that_fails_leaves_the_output_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.json");
    fs::write(&output, "precious").unwrap();
    // Process ids end at 2^22; without privileges it fails even before that matters.
    let result = awaitwhat(&["trace", "--pid", "8388608", "--output", output.to_str().unwrap()]);
    assert!(
        matches!(result.status.code(), Some(3 | 4)),
        "{}",
        text(&result.stderr)
    );
    assert_eq!(fs::read_to_string(&output).unwrap(), "precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn programs_that_cannot_be_started_are_named() {
    let diagnostics = failing(&["trace", "--", "/nonexistent/program"], 3);
    assert!(
        diagnostics.contains("/nonexistent/program cannot be started"),
        "{diagnostics}"
    );
}

#[test]
fn the_demo_says_which_python_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |python: &str, code: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_awaitwhat"));
        let output = command
            .args(["demo", "--python", python])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        text(&output.stderr)
    };
    let old = folder.path().join("old-python");
    fs::write(&old, "#!/bin/sh\necho cpython 3 6\n").unwrap();
    make_executable(&old);
    // As with `trace -- PROGRAM`, what cannot be started cannot be used.
    assert!(demo("/nonexistent/python", 3).contains("the demo needs a CPython 3.7 to 3.15"));
    let diagnostics = demo(old.to_str().unwrap(), 1);
    assert!(
        diagnostics.contains("is cpython 3 6: the demo needs a CPython 3.7 to 3.15"),
        "{diagnostics}"
    );
    assert!(!folder.path().join("awaitwhat-demo.svg").exists());
}

fn make_executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let plain = awaitwhat(&["doctor"]);
    assert!(!plain.stdout.contains(&0x1b));
    assert!(awaitwhat(&["doctor", "--color", "always"]).stdout.contains(&0x1b));
    assert!(text(&plain.stdout).starts_with("This machine\n"));
}
