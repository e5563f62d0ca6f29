//! What became of each trial, noted for the table that `cargo xtask test` prints at its end.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

use serde::Serialize;

/// Names the file that every trial adds a line of JSON to: a [`Line`].
pub const RESULTS: &str = "AWAITWHAT_RESULTS";

/// The test binary that this is.
static BINARY: OnceLock<String> = OnceLock::new();

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

#[derive(Serialize)]
struct Line<'a> {
    binary: &'a str,
    name: &'a str,
    outcome: Outcome,
    seconds: f64,
    /// Why it was skipped.
    reason: &'a str,
}

/// Says which test binary this is, before its trials are listed.
pub fn begin(binary: &str) {
    // A second call would be of the same binary.
    let _ = BINARY.set(binary.to_owned());
}

/// Notes a trial that does not run; returns whether there is a file to note it in.
pub fn skipped(name: &str, reason: &str) -> bool {
    write(name, Outcome::Skipped, 0.0, reason)
}

/// Notes what became of a trial when it is dropped: unless it is said to have passed, it failed, by a panic too.
pub struct Running {
    name: String,
    begun: Instant,
    outcome: Outcome,
}

impl Running {
    pub fn begin(name: String) -> Self {
        Self {
            name,
            begun: Instant::now(),
            outcome: Outcome::Failed,
        }
    }

    pub fn passed(mut self) {
        self.outcome = Outcome::Passed;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        write(&self.name, self.outcome, self.begun.elapsed().as_secs_f64(), "");
    }
}

/// Adds a line to the file, if one is asked for.
fn write(name: &str, outcome: Outcome, seconds: f64, reason: &str) -> bool {
    let Some(path) = env::var_os(RESULTS) else {
        return false;
    };
    let line = Line {
        binary: BINARY.get().map_or("", String::as_str),
        name,
        outcome,
        seconds,
        reason,
    };
    let noted = serde_json::to_string(&line)
        .map_err(std::io::Error::from)
        .and_then(|line| {
            // One call of write for a line: those of other threads stay apart from it.
            OpenOptions::new()
                .append(true)
                .open(path)?
                .write_all(format!("{line}\n").as_bytes())
        });
    if let Err(error) = noted {
        eprintln!("cannot note that {name} {outcome:?}: {error}");
    }
    true
}
