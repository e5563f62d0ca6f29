//! What was measured, as a table.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};

/// One thing that was measured.
pub struct Row {
    /// What it is, with its unit or its conditions.
    pub what: String,
    /// What awaitwhat, `asyncio ps` and py-spy take; empty where it does not apply to them.
    pub measured: [String; 3],
    /// What awaitwhat is to reach, where something is.
    pub reach: Option<Reach>,
}

/// An aim.
pub struct Reach {
    /// In words.
    pub aim: String,
    /// Whether it is reached.
    pub met: bool,
}

impl Row {
    /// A row about awaitwhat alone.
    pub fn own(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: [measured.into(), String::new(), String::new()],
            reach: None,
        }
    }

    /// The row with an aim.
    pub fn reach(mut self, aim: impl Into<String>, met: bool) -> Self {
        self.reach = Some(Reach { aim: aim.into(), met });
        self
    }
}

/// The rows as a table in Markdown, which a terminal shows as well.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "what",
        "awaitwhat",
        "`python -m asyncio ps`",
        "`py-spy dump`",
        "to reach",
        "",
    ]);
    for row in rows {
        let (aim, verdict) = match &row.reach {
            Some(Reach { aim, met: true }) => (aim.as_str(), "met"),
            Some(Reach { aim, met: false }) => (aim.as_str(), "**missed**"),
            None => ("", ""),
        };
        let [awaitwhat, asyncio_ps, py_spy] = row.measured.each_ref().map(String::as_str);
        table.add_row([row.what.as_str(), awaitwhat, asyncio_ps, py_spy, aim, verdict]);
    }
    table.to_string()
}

/// `value` seconds with a unit that suits it.
pub fn seconds(value: f64) -> String {
    if value.is_nan() {
        "not known".to_owned()
    } else if value < 0.000_999_5 {
        format!("{:.0} us", value * 1e6)
    } else if value < 0.099_95 {
        format!("{:.1} ms", value * 1e3)
    } else {
        format!("{value:.2} s")
    }
}

/// `value` as a percentage.
pub fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

/// `bytes` in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::{Row, seconds, table};

    #[test]
    fn units() {
        assert_eq!(seconds(0.000_12), "120 us");
        assert_eq!(seconds(0.012_34), "12.3 ms");
        assert_eq!(seconds(1.234), "1.23 s");
        assert_eq!(seconds(f64::NAN), "not known");
    }

    #[test]
    fn what_is_missed_is_said() {
        let text = table(&[Row::own("walk", "40 ms").reach("<= 30 ms", false)]);
        assert!(
            text.lines()
                .last()
                .is_some_and(|line| line.contains("missed") && line.contains("<= 30 ms"))
        );
    }
}
