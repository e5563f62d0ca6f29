//! `cargo xtask supported`: what the whole run of the tests covered, in `docs/supported.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};

use crate::pythons::{self, Provided};
use crate::repo;
use crate::test::matrix::{self, Outcome, SHAPES, Trial};

const DOCUMENT: &str = "docs/supported.md";
/// The lines of the document between which the table stands.
const BEGIN: &str = "<!-- Written by `cargo xtask supported` after a whole run of `cargo xtask test`. -->\n";
/// The header of the table's first column.
const FIRST_COLUMN: &str = "interpreter";
const END: &str = "<!-- End of what is written. -->\n";

/// Where a whole run of the tests notes what became of each trial.
pub fn results() -> Result<PathBuf> {
    Ok(repo::root()?.join("target/test-results.jsonl"))
}

/// Writes the table of the last whole run.
pub fn write() -> Result<()> {
    let trials = matrix::read(&results()?).context("run the whole `cargo xtask test` before")?;
    if trials.iter().any(|trial| trial.outcome == Outcome::Failed) {
        bail!("the last whole run of the tests had failures");
    }
    let path = repo::root()?.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let table = table(&pythons::provide()?, &trials);
    fs::write(&path, replace(&text, &table)?).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// What the document promises and `trials`, of a whole run, did not test. That it promises too little is only said.
pub fn broken_promises(provided: &Provided, trials: &[Trial]) -> Result<Vec<String>> {
    let text = fs::read_to_string(repo::root()?.join(DOCUMENT)).context(DOCUMENT)?;
    let written = text
        .split_once(BEGIN)
        .and_then(|(_, after)| after.split_once(END));
    let (written, _) = written.with_context(|| format!("{DOCUMENT} has no place for its table"))?;
    let (promised, tested) = (promises(written), promises(&table(provided, trials)));
    if promised != tested {
        println!("{DOCUMENT} is not what was tested; `cargo xtask supported` writes it");
    }
    let broken = promised.difference(&tested);
    Ok(broken
        .map(|(interpreter, column)| format!("{DOCUMENT}: {column} on {interpreter}"))
        .collect())
}

/// The interpreters and the columns of every `yes` in a table.
fn promises(text: &str) -> BTreeSet<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = text.lines().filter(|line| line.starts_with('|'));
    let header = rows
        .find(|line| line.contains(FIRST_COLUMN))
        .map(cells)
        .unwrap_or_default();
    let mut found = BTreeSet::new();
    for row in rows.map(cells) {
        let interpreter = row.first().cloned().unwrap_or_default();
        for (column, _) in header.iter().zip(&row).filter(|(_, cell)| *cell == "yes") {
            found.insert((interpreter.clone(), column.clone()));
        }
    }
    found
}

/// The document with another table.
fn replace(text: &str, table: &str) -> Result<String> {
    let parts = text.split_once(BEGIN).zip(text.split_once(END));
    let ((before, _), (_, after)) =
        parts.with_context(|| format!("{DOCUMENT} has no place for its table"))?;
    Ok(format!("{before}{BEGIN}\n{table}\n\n{END}{after}"))
}

/// A row per interpreter: its build, and a column for each event loop and each kind of test, `yes` where some ran and none failed.
fn table(provided: &Provided, trials: &[Trial]) -> String {
    let mut passed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for trial in trials.iter().filter(|it| it.outcome == Outcome::Passed) {
        if let Some(label) = trial.interpreter() {
            passed.entry(label).or_default().insert(column(trial));
        }
    }
    let known: BTreeSet<&str> = provided.pythons.iter().map(|it| it.label.as_str()).collect();
    passed.retain(|label, _| known.contains(label));
    let columns: BTreeSet<(bool, &str)> = passed
        .values()
        .flatten()
        .map(|it| (!it.contains(' '), *it))
        .collect();
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        [FIRST_COLUMN, "build"]
            .into_iter()
            .chain(columns.iter().map(|it| it.1)),
    );
    for python in &provided.pythons {
        let has = passed.get(python.label.as_str());
        let cell = |column: &str| {
            if has.is_some_and(|it| it.contains(column)) {
                "yes"
            } else {
                ""
            }
        };
        table.add_row(
            [python.label.as_str(), python.build.as_str()]
                .into_iter()
                .chain(columns.iter().map(|it| cell(it.1))),
        );
    }
    table.to_string()
}

/// The column of a trial: the shapes' is that of the event loop that they run in.
fn column(trial: &Trial) -> &str {
    match trial.what() {
        _ if trial.binary != SHAPES => &trial.binary,
        what if what.contains("uvloop") => "shapes in uvloop",
        what if what.contains("trio") => "shapes in trio",
        _ => "shapes in asyncio",
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, promises, replace};

    #[test]
    fn prose_around_the_table_stays() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let new = replace(&text, "new").unwrap_or_default();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n\n{END}after\n"));
        assert_eq!(replace(&new, "new").ok(), Some(new));
        assert!(replace("nothing", "new").is_err());
    }

    #[test]
    fn promises_are_the_cells_that_say_yes() {
        let text = "prose\n| interpreter | build | busy | trio |\n|---|---|---|---|\n| 3.7 | x | yes |  |\n| 3.8 | x |  | yes |\n";
        let expected =
            [("3.7", "busy"), ("3.8", "trio")].map(|(one, other)| (one.to_owned(), other.to_owned()));
        assert_eq!(promises(text), expected.into());
    }
}
