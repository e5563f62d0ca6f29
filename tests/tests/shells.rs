//! What shells and `man` make of what awaitwhat gives them: completions, and a manual page for each command.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use awaitwhat_tests::tool::{self, awaitwhat, run_command};
use awaitwhat_tests::trials::{self, skipped, trial};

/// A check that needs a program, which is a Debian package's.
struct Check {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    run: fn() -> anyhow::Result<()>,
}

const CHECKS: [Check; 5] = [
    Check {
        name: "bash_completes",
        program: "/bin/bash",
        package: "bash",
        run: bash_completes,
    },
    Check {
        name: "zsh_completes",
        program: "/bin/zsh",
        package: "zsh",
        run: zsh_completes,
    },
    Check {
        name: "fish_completes",
        program: "/usr/bin/fish",
        package: "fish",
        run: fish_completes,
    },
    Check {
        name: "man_shows_every_page",
        program: "/usr/bin/man",
        package: "man-db",
        run: man_shows_every_page,
    },
    Check {
        name: "mandoc_reads_every_page",
        program: "/usr/bin/mandoc",
        package: "mandoc",
        run: mandoc_reads_every_page,
    },
];

fn main() -> anyhow::Result<()> {
    trials::run("shells", || {
        let check = |check: Check| {
            if Path::new(check.program).exists() {
                trial(check.name, check.run)
            } else {
                let reason = format!("no {}: install the package {}", check.program, check.package);
                skipped(check.name, &reason)
            }
        };
        Ok(CHECKS.into_iter().map(check).collect())
    })
}

/// What `program` writes when it runs `script`, which finds the completions for it in the file `$1`.
///
/// # Errors
/// When it fails, or complains.
fn completed(program: &str, arguments: &[&str], shell: &str) -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("_awaitwhat");
    let script = tool::run(&["completions", shell])?;
    ensure!(script.status.success(), "{}", script.stderr);
    fs::write(&file, script.stdout)?;
    let mut command = Command::new(program);
    command.args(arguments).arg(&file).env("HOME", folder.path());
    let outcome = run_command(command)?;
    ensure!(
        outcome.status.success() && outcome.stderr.is_empty(),
        "{outcome:?}"
    );
    Ok(outcome.stdout.lines().map(str::to_owned).collect())
}

fn bash_completes() -> anyhow::Result<()> {
    let script = r#"set -u; source "$1"
        tried() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _awaitwhat awaitwhat "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}"; }
        tried awaitwhat tr; tried awaitwhat trace --form; tried awaitwhat trace --format fl; complete -p awaitwhat"#;
    let lines = completed("/bin/bash", &["--norc", "-c", script, "bash"], "bash")?;
    ensure!(lines.first().is_some_and(|it| it == "tree trace"), "{lines:?}");
    ensure!(lines.get(1).is_some_and(|it| it == "--format"), "{lines:?}");
    ensure!(lines.get(2).is_some_and(|it| it == "flamegraph"), "{lines:?}");
    ensure!(
        lines.last().is_some_and(|it| it.contains("-F _awaitwhat")),
        "{lines:?}"
    );
    Ok(())
}

fn fish_completes() -> anyhow::Result<()> {
    // A completion and its description are a line, with a tab between.
    let script = r#"source $argv[1]; complete -C "awaitwhat tr"; complete -C "awaitwhat trace --format fl""#;
    let lines = completed("/usr/bin/fish", &["--no-config", "-c", script], "fish")?;
    let words: Vec<_> = lines.iter().filter_map(|it| it.split('\t').next()).collect();
    ensure!(words == ["trace", "tree", "flamegraph"], "{lines:?}");
    Ok(())
}

fn zsh_completes() -> anyhow::Result<()> {
    // Only its line editor completes: here it has to parse, and to say whom it completes.
    let script = r#"emulate -L zsh; autoload -Uz compinit; compinit -u -D; zsh -n $1 && source $1; print $_comps[awaitwhat]"#;
    let lines = completed("/bin/zsh", &["-f", "-c", script, "zsh"], "zsh")?;
    ensure!(lines == ["_awaitwhat"], "{lines:?}");
    Ok(())
}

/// Has `reader` read every page, which must say nothing on its standard error.
fn every_page(reader: &[&str]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut write = awaitwhat()?;
    write.arg("man-pages").arg(folder.path());
    let written = run_command(write)?;
    ensure!(written.status.success(), "{}", written.stderr);
    let mut pages = 0;
    for entry in fs::read_dir(folder.path())? {
        let page = entry?.path();
        let mut command = Command::new(reader[0]);
        command.args(&reader[1..]).arg(&page);
        let outcome = run_command(command)?;
        ensure!(
            outcome.status.success() && outcome.stderr.is_empty(),
            "{}: {}",
            page.display(),
            outcome.stderr
        );
        ensure!(
            outcome.stdout.contains("AWAITWHAT"),
            "{}: {}",
            page.display(),
            outcome.stdout
        );
        pages += 1;
    }
    ensure!(pages > 10, "{pages} pages");
    Ok(())
}

fn man_shows_every_page() -> anyhow::Result<()> {
    every_page(&["/usr/bin/man", "--warnings", "--local-file"])
}

fn mandoc_reads_every_page() -> anyhow::Result<()> {
    every_page(&["/usr/bin/mandoc", "-W", "error"])
}
