//! What was tested on which interpreter, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde::Deserialize;

/// The test binary whose trials have a row each.
pub const SHAPES: &str = "shapes";
/// The column of what is tested once, on no interpreter or on one of the trial's choice.
const ONCE: &str = "once";

/// What the tests note about each trial; see `tests/src/results.rs`.
#[derive(Clone, Debug, Deserialize)]
pub struct Trial {
    pub binary: String,
    pub name: String,
    pub outcome: Outcome,
    seconds: f64,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Trial {
    /// The interpreter that it ran on, if its name begins with that of one.
    pub fn interpreter(&self) -> Option<&str> {
        self.name.split_once("::").map(|(label, _)| label)
    }

    /// Its name without the interpreter.
    pub fn what(&self) -> &str {
        self.name.split_once("::").map_or(&self.name, |(_, rest)| rest)
    }

    /// Shapes have a row each; the other binaries have one for all of their trials.
    fn row(&self) -> (bool, &str) {
        if self.binary == SHAPES {
            (false, self.what())
        } else {
            (true, &self.binary)
        }
    }
}

/// Reads what the tests noted.
pub fn read(path: &Path) -> Result<Vec<Trial>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let trial = |line: &str| serde_json::from_str(line).with_context(|| format!("not a result: {line}"));
    text.lines().map(trial).collect()
}

/// Counts of the trials behind a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Cell {
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.passed, self.failed, self.skipped) {
            (0, 0, 0) => Ok(()),
            (0, 0, _) => f.write_str("-"),
            (1, 0, 0) => f.write_str("ok"),
            (passed, 0, 0) => write!(f, "{passed}"),
            (passed, 0, skipped) => write!(f, "{passed} of {}", passed + skipped),
            (0, 1, 0) => f.write_str("FAILED"),
            (passed, failed, skipped) => write!(f, "{failed} of {} FAILED", passed + failed + skipped),
        }
    }
}

/// One row per shape and per other test binary, one column per interpreter of `labels`. Rows of which nothing ran are left out if `is_part`.
pub fn table(trials: &[Trial], labels: &[String], is_part: bool) -> String {
    let mut rows: BTreeMap<_, (BTreeMap<&str, Cell>, f64)> = BTreeMap::new();
    for trial in trials {
        let (cells, seconds) = rows.entry(trial.row()).or_default();
        let known = trial
            .interpreter()
            .filter(|it| labels.iter().any(|label| label == it));
        cells.entry(known.unwrap_or(ONCE)).or_default().add(trial.outcome);
        *seconds += trial.seconds;
    }
    let has_run = |cells: &BTreeMap<&str, Cell>| cells.values().any(|it| it.passed + it.failed > 0);
    rows.retain(|_, (cells, _)| !is_part || has_run(cells));
    let used: BTreeSet<&str> = rows
        .values()
        .flat_map(|(cells, _)| cells.keys().copied())
        .collect();
    let columns = labels.iter().map(String::as_str).chain([ONCE]);
    let columns: Vec<&str> = columns.filter(|it| used.contains(it)).collect();
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([""].iter().chain(&columns).chain(&["seconds"]));
    for ((_, what), (cells, seconds)) in &rows {
        let mut row = vec![(*what).to_owned()];
        row.extend(
            columns
                .iter()
                .map(|it| cells.get(it).copied().unwrap_or_default().to_string()),
        );
        row.push(format!("{seconds:.0}"));
        table.add_row(row);
    }
    table.to_string()
}

/// What was skipped and why: one line for all the interpreters with the same reason.
pub fn skipped(trials: &[Trial]) -> Vec<String> {
    let mut labels: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for trial in trials.iter().filter(|it| it.outcome == Outcome::Skipped) {
        let key = (&trial.binary, trial.what(), &trial.reason);
        labels.entry(key).or_default().extend(trial.interpreter());
    }
    let line = |((binary, what, reason), labels): (_, Vec<&str>)| {
        let on = if labels.is_empty() {
            String::new()
        } else {
            format!(" on {}", labels.join(", "))
        };
        format!("{binary}: {what}{on}: {reason}")
    };
    labels.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Trial, skipped, table};

    fn trial(binary: &str, name: &str, outcome: Outcome) -> Trial {
        Trial {
            binary: binary.to_owned(),
            name: name.to_owned(),
            outcome,
            seconds: 1.0,
            reason: if outcome == Outcome::Skipped {
                "needs 3.12".to_owned()
            } else {
                String::new()
            },
        }
    }

    fn trials() -> Vec<Trial> {
        use Outcome::{Failed, Passed, Skipped};
        vec![
            trial("busy", "3.12::snapshots", Passed),
            trial("busy", "3.12::trace", Failed),
            trial("bad_luck", "no_such_process", Passed),
            trial("shapes", "3.10::eager", Skipped),
            trial("shapes", "3.11::eager", Skipped),
            trial("shapes", "3.12::eager", Passed),
        ]
    }

    #[test]
    fn shapes_have_a_row_each_and_come_first() {
        let labels = ["3.10", "3.11", "3.12"].map(str::to_owned);
        let expected = "\
|          | 3.10 | 3.11 | 3.12          | once | seconds |
|----------|------|------|---------------|------|---------|
| eager    | -    | -    | ok            |      | 3       |
| bad_luck |      |      |               | ok   | 1       |
| busy     |      |      | 1 of 2 FAILED |      | 2       |";
        assert_eq!(table(&trials(), &labels, false), expected);
    }

    #[test]
    fn reasons_are_said_once() {
        assert_eq!(
            skipped(&trials()),
            ["shapes: eager on 3.10, 3.11: needs 3.12".to_owned()]
        );
    }
}
