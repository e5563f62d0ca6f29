//! What `cargo test` says as it goes on: results, what was skipped, why trials failed, and how long each test binary took.

use std::time::{Duration, Instant};

use super::counts::Counts;

/// How a test says that something was not tested, and why.
const SKIPPED: &str = "skipped: ";
/// How cargo says which test binary begins.
const BEGINS: [&str; 2] = ["     Running ", "   Doc-tests "];

/// Lines that are kept of what a failed trial said: its first and its last ones.
const MAX_LINES: usize = 12;
/// Characters that are kept of such a line.
const MAX_LINE: usize = 400;

/// A part of the run, and how long it took.
#[derive(Debug)]
pub struct Stage {
    pub name: String,
    pub took: Duration,
}

/// A trial that failed, or a test binary that ended before it had a result.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// As cargo names it: `tests/shapes.rs`, or `unittests src/lib.rs` and the file that it is built to.
    binary: String,
    /// Nothing where the binary has no result at all.
    trial: Option<String>,
    said: Vec<String>,
}

/// Everything that was heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub counts: Counts,
    pub skipped: Vec<String>,
    pub failures: Vec<Failure>,
    pub stages: Vec<Stage>,
    /// The binary that runs, and since when.
    running: Option<(String, Instant)>,
    has_result: bool,
    /// Whether the lines are those that tell of the failed trial that was noted last.
    is_telling: bool,
}

impl Heard {
    /// Takes in one line of what cargo and the tests write.
    pub fn line(&mut self, line: &str) {
        if let Some(binary) = BEGINS.iter().find_map(|it| line.strip_prefix(it)) {
            self.end_binary();
            self.running = Some((binary.trim().to_owned(), Instant::now()));
            return;
        }
        if self.counts.add(line) {
            self.has_result = true;
        } else if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skipped.push(reason.to_owned());
        }
        if let Some(trial) = failed_trial(line) {
            self.begin_failure(Some(trial.to_owned()));
        } else if line == "failures:" {
            self.is_telling = false;
        } else if self.is_telling
            && let Some(failure) = self.failures.last_mut()
        {
            failure.say(line);
        }
    }

    /// The binary that ran, if one did, has come to its end.
    pub fn end_binary(&mut self) {
        if let Some((name, begun)) = self.running.take() {
            let took = begun.elapsed();
            if !self.has_result {
                self.running = Some((name.clone(), begun));
                self.begin_failure(None);
                self.running = None;
            }
            self.stages.push(Stage { name, took });
        }
        self.has_result = false;
        self.is_telling = false;
    }

    fn begin_failure(&mut self, trial: Option<String>) {
        let binary = self.running.as_ref().map(|it| it.0.clone());
        self.failures.push(Failure {
            binary: binary.unwrap_or_default(),
            trial,
            said: Vec::new(),
        });
        self.is_telling = true;
    }
}

/// The trial that a line heads the report of: `---- 3.12::gather_tasks ----`, and libtest's `---- name stdout ----`.
fn failed_trial(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

impl Failure {
    fn say(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let mut shown: String = line.chars().take(MAX_LINE).collect();
        if shown.len() < line.len() {
            shown.push_str(" ...");
        }
        if self.said.len() == 2 * MAX_LINES {
            self.said.remove(MAX_LINES);
        }
        self.said.push(shown);
    }

    /// What happened, what was said, and the one command that tries it again.
    pub fn report(&self) -> String {
        let what = match &self.trial {
            Some(trial) => format!("FAILED {trial} ({})", self.binary),
            None => format!("ENDED EARLY, without a result: {}", self.binary),
        };
        let mut report = what;
        for (place, line) in self.said.iter().enumerate() {
            if place == MAX_LINES && self.said.len() == 2 * MAX_LINES {
                report.push_str("\n    [...]");
            }
            report.push_str("\n    ");
            report.push_str(line);
        }
        format!("{report}\n  again: {}", self.command())
    }

    fn command(&self) -> String {
        let exact = self
            .trial
            .as_ref()
            .map_or_else(String::new, |trial| format!(" -- --exact '{trial}'"));
        let mut words = self.binary.split([' ', '(', ')']).filter(|it| !it.is_empty());
        match (words.next(), words.next(), words.next()) {
            (Some("unittests"), Some(source), Some(file)) => {
                let package = package_of(file);
                let target = if source.ends_with("lib.rs") {
                    "--lib".to_owned()
                } else {
                    "--bins".to_owned()
                };
                format!("cargo test -p {package} {target}{exact}")
            }
            (Some(source), Some(_), None) => {
                let test = source.rsplit('/').next().unwrap_or(source);
                let test = test.strip_suffix(".rs").unwrap_or(test);
                format!("cargo xtask test -- --workspace --test {test}{exact}")
            }
            (Some(package), None, None) => format!("cargo test -p {} --doc", package.replace('_', "-")),
            _ => format!("cargo xtask test --{exact}"),
        }
    }
}

/// The package of `target/debug/deps/awaitwhat_common-0123456789abcdef`.
fn package_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    name.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::{Heard, MAX_LINES};

    fn heard(text: &str) -> Heard {
        let mut heard = Heard::default();
        text.lines().for_each(|line| heard.line(line));
        heard.end_binary();
        heard
    }

    fn reports(text: &str) -> Vec<String> {
        heard(text).failures.iter().map(super::Failure::report).collect()
    }

    #[test]
    fn what_was_skipped_is_kept() {
        let heard = heard("skipped: x: no root\ntest result: ok. 1 passed; 0 failed; 1 ignored\n");
        assert_eq!(heard.counts.line(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(heard.skipped, ["x: no root"]);
        assert!(heard.failures.is_empty() && heard.stages.is_empty());
    }

    #[test]
    fn a_failed_live_trial_says_why_and_how_to_try_it_again() {
        let text = "     Running tests/shapes.rs (target/debug/deps/shapes-04a0cc2f189a9366)\n\
             test 3.12::gather_tasks ... FAILED\n\nfailures:\n\n\
             ---- 3.12::gather_tasks ----\n2 differences\n\ntask Task-1: state\n\n\
             failures:\n    3.12::gather_tasks\n\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            reports(text),
            [
                "FAILED 3.12::gather_tasks (tests/shapes.rs (target/debug/deps/shapes-04a0cc2f189a9366))\n    \
                 2 differences\n    task Task-1: state\n  \
                 again: cargo xtask test -- --workspace --test shapes -- --exact '3.12::gather_tasks'"
            ]
        );
        assert_eq!(heard(text).stages.len(), 1);
    }

    #[test]
    fn a_failed_unit_test_is_repeated_in_its_package() {
        let text = "     Running unittests src/lib.rs (target/debug/deps/awaitwhat_common-0123456789abcdef)\n\
             failures:\n\n---- plan::tests::fits stdout ----\npanicked at x\n\n\nfailures:\n    plan::tests::fits\n\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
             \x20  Doc-tests awaitwhat_walker\n\
             ---- src/lib.rs - it (line 3) stdout ----\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let reports = reports(text);
        assert_eq!(reports.len(), 2);
        assert!(reports[0].contains("panicked at x"), "{reports:?}");
        assert!(
            reports[0]
                .ends_with("again: cargo test -p awaitwhat-common --lib -- --exact 'plan::tests::fits'"),
            "{reports:?}"
        );
        assert!(
            reports[1].contains("again: cargo test -p awaitwhat-walker --doc"),
            "{reports:?}"
        );
    }

    #[test]
    fn a_binary_without_a_result_has_ended_early() {
        let text = "     Running tests/busy.rs (target/debug/deps/busy-1)\nrunning 2 tests\n\
             \x20    Running tests/churn.rs (target/debug/deps/churn-2)\n\
             test result: ok. 1 passed; 0 failed; 0 ignored\n";
        let reports = reports(text);
        assert_eq!(
            reports,
            [
                "ENDED EARLY, without a result: tests/busy.rs (target/debug/deps/busy-1)\n  again: cargo xtask test -- --workspace --test busy"
            ]
        );
    }

    #[test]
    fn of_a_long_message_the_beginning_and_the_end_are_kept() {
        let lines: Vec<String> = (0..100).map(|it| format!("line {it}")).collect();
        let text = format!("---- x ----\n{}\n{}\n", lines.join("\n"), "y".repeat(5000));
        let report = reports(&text).pop().unwrap_or_default();
        assert!(
            report.contains("line 0\n") && report.contains("[...]"),
            "{report}"
        );
        assert!(
            report.contains("line 99\n") && !report.contains("line 50\n"),
            "{report}"
        );
        assert!(
            report.lines().count() <= 2 * MAX_LINES + 3 && report.len() < 2000,
            "{report}"
        );
    }
}
