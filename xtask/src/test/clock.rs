//! How long each part of a run took, as a table.

use std::time::{Duration, Instant};

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};

use super::listen::Stage;

/// Test binaries that took less are added up in one row.
const SHORT: Duration = Duration::from_secs(2);

/// Parts that came to their end, and when the one that goes on began.
pub struct Clock {
    pub stages: Vec<Stage>,
    since: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            stages: Vec::new(),
            since: Instant::now(),
        }
    }

    /// A part has come to its end, and the next one begins.
    pub fn end(&mut self, name: &str) {
        let now = Instant::now();
        self.stages.push(Stage {
            name: name.to_owned(),
            took: now - self.since,
        });
        self.since = now;
    }

    /// The parts in their order, and how long all of them took.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["stage", "seconds"]);
        let (short, long): (Vec<_>, Vec<_>) = self.stages.iter().partition(|it| it.took < SHORT);
        let sum = |stages: &[&Stage]| stages.iter().map(|it| it.took).sum::<Duration>();
        let mut row = |name: &str, took: Duration| {
            table.add_row([name.to_owned(), format!("{:.0}", took.as_secs_f64())]);
        };
        for stage in &long {
            // The file that a test binary is built to says nothing where its source does.
            let name = stage.name.split(" (").next().unwrap_or(&stage.name);
            row(
                if name.starts_with("unittests") {
                    &stage.name
                } else {
                    name
                },
                stage.took,
            );
        }
        row(&format!("{} short ones", short.len()), sum(&short));
        row("all", sum(&long) + sum(&short));
        table.to_string()
    }
}
