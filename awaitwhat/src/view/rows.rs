//! Rows in columns, as `comfy-table` arranges them. A table of many rows is never held as a whole: its rows are made again for each look at
//! them, as each takes some hundred times the memory of what it is made from.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use unicode_width::UnicodeWidthStr as _;

use super::style::{HEADING, styled};

/// Rows that are arranged at a time.
const CHUNK: usize = 2048;
/// Columns of space between two columns.
const GAP: u16 = 2;
/// A column that its content leaves so much of free is made narrower (`dynamic::optimize_space_after_split` of comfy-table).
const CONSIDERABLE: usize = 3;

/// The columns of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    pub(super) heads: &'a [&'a str],
    /// Those that are aligned to the right.
    pub(super) right: &'a [usize],
    /// Those that are never wrapped.
    pub(super) whole: &'a [usize],
}

/// Writes rows under their heads without lines between them; the columns `right` are aligned to the right, those
/// `whole` are never wrapped. All cells must be escaped.
pub(super) fn write_rows(
    heads: &[&str],
    right: &[usize],
    whole: &[usize],
    rows: impl Iterator<Item = Vec<String>>,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let columns = Columns { heads, right, whole };
    let mut table = columns.table(true, rows);
    arrange(&mut table, width);
    for (number, column) in table.column_iter_mut().enumerate() {
        if whole.contains(&number) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    write_lines(&table, true, output)
}

/// Writes the same, of rows that may be many: `rows` makes all of them anew each time.
pub(super) fn write_many<I: Iterator<Item = Vec<String>>>(
    columns: Columns<'_>,
    rows: impl Fn() -> I,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    write_in_chunks(columns, rows, width, CHUNK, output)
}

fn write_in_chunks<I: Iterator<Item = Vec<String>>>(
    columns: Columns<'_>,
    rows: impl Fn() -> I,
    width: Option<usize>,
    chunk: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let Columns { heads, right, whole } = columns;
    let mut rest = rows();
    let first: Vec<_> = rest.by_ref().take(chunk + 1).collect();
    if first.len() <= chunk {
        return write_rows(heads, right, whole, first.into_iter(), width, output);
    }
    drop((first, rest));
    let widest = columns.widest(rows());
    let widths = match width.filter(|width| u16::try_from(*width).is_ok()) {
        Some(width) => columns.arranged(&widest, width, |column, limit| {
            columns.longest(column, limit, &rows, chunk)
        }),
        None => widest,
    };
    let mut rest = rows().peekable();
    let mut is_first = true;
    while is_first || rest.peek().is_some() {
        let mut table = columns.table(is_first, rest.by_ref().take(chunk));
        for (column, width) in table.column_iter_mut().zip(&widths) {
            let width = Width::Fixed(width.saturating_add(GAP));
            column.set_constraint(ColumnConstraint::Absolute(width));
        }
        write_lines(&table, is_first, output)?;
        is_first = false;
    }
    Ok(())
}

fn write_lines(table: &Table, has_heads: bool, output: &mut impl Write) -> io::Result<()> {
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        if number == 0 && has_heads {
            writeln!(output, "{}", styled(HEADING, line))?;
        } else {
            writeln!(output, "{line}")?;
        }
    }
    Ok(())
}

fn arrange(table: &mut Table, width: Option<usize>) {
    match width.and_then(|width| u16::try_from(width).ok()) {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
}

impl Columns<'_> {
    fn table(&self, has_heads: bool, rows: impl Iterator<Item = Vec<String>>) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if has_heads {
            table.set_header(self.heads.to_vec());
        }
        table
            .add_rows(rows)
            .set_content_arrangement(ContentArrangement::Disabled);
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            if self.right.contains(&number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// How wide the content of each column is, one at least.
    fn widest(&self, rows: impl Iterator<Item = Vec<String>>) -> Vec<u16> {
        let width = |text: &str| u16::try_from(text.width()).unwrap_or(u16::MAX).max(1);
        let mut widest: Vec<u16> = self.heads.iter().map(|head| width(head)).collect();
        for row in rows {
            for (known, cell) in widest.iter_mut().zip(&row) {
                *known = width(cell).max(*known);
            }
        }
        widest
    }

    /// How wide the content of a column is once it is wrapped within `limit`; `limit`, where that leaves nothing considerable free.
    fn longest<I: Iterator<Item = Vec<String>>>(
        &self,
        column: usize,
        limit: usize,
        rows: impl Fn() -> I,
        chunk: usize,
    ) -> usize {
        let mut longest = 0;
        let mut rest = rows().peekable();
        while rest.peek().is_some() && longest < limit {
            // Alone in a table of that width, the column is as wide as it has to be, and every line is.
            let cells = rest
                .by_ref()
                .take(chunk)
                .filter_map(|row| row.into_iter().nth(column));
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_header([self.heads[column]])
                .add_rows(cells.map(|cell| [cell]));
            arrange(&mut table, Some(limit));
            for column in table.column_iter_mut() {
                column.set_padding((0, 0));
            }
            let width = table.lines().map(|line| line.width()).max();
            longest = longest.max(width.unwrap_or(0));
        }
        longest
    }

    /// The widths of the columns in a table of `width`, as `dynamic::arrange` of comfy-table finds them.
    fn arranged(&self, widest: &[u16], width: usize, longest: impl Fn(usize, usize) -> usize) -> Vec<u16> {
        let mut space = Space::new(widest, self.whole, width);
        space.fix_narrow(widest);
        space.fix_wrapped(longest);
        space.share_out()
    }
}

/// The space of a table that is not given to columns yet.
struct Space {
    /// What columns have been given.
    given: Vec<Option<u16>>,
    free: usize,
}

impl Space {
    fn new(widest: &[u16], whole: &[usize], width: usize) -> Self {
        let given: Vec<Option<u16>> = (0..widest.len())
            .map(|column| whole.contains(&column).then(|| widest[column].max(1)))
            .collect();
        let gaps = usize::from(GAP) * widest.len();
        let taken: usize = given.iter().flatten().map(|width| usize::from(*width)).sum();
        Self {
            given,
            free: width.saturating_sub(gaps).saturating_sub(taken),
        }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.given.len())
            .filter(|column| self.given[*column].is_none())
            .collect()
    }

    fn average(&self) -> usize {
        self.free.checked_div(self.open().len()).unwrap_or(0)
    }

    fn give(&mut self, column: usize, width: usize) {
        self.given[column] = Some(u16::try_from(width).unwrap_or(u16::MAX).max(1));
        self.free = self.free.saturating_sub(width);
    }

    /// Gives columns that need less than the average what they need.
    fn fix_narrow(&mut self, widest: &[u16]) {
        loop {
            let before = self.open();
            for &column in &before {
                let needed = usize::from(widest[column]);
                if self.average() > 0 && needed <= self.average() {
                    self.give(column, needed);
                }
            }
            if self.open().len() == before.len() {
                return;
            }
        }
    }

    /// Gives columns that need considerably less than the average, once they are wrapped, what they need then.
    fn fix_wrapped(&mut self, longest: impl Fn(usize, usize) -> usize) {
        loop {
            let before = self.open();
            for &column in &before {
                let average = self.average();
                let needed = longest(column, average);
                if average.saturating_sub(needed) >= CONSIDERABLE {
                    self.give(column, needed);
                }
            }
            if self.open().len() == before.len() {
                return;
            }
        }
    }

    /// Gives what is left to the columns that are left.
    fn share_out(mut self) -> Vec<u16> {
        let open = self.open();
        let free = self.free.max(open.len());
        for (position, &column) in open.iter().enumerate() {
            let excess = usize::from(position < free % open.len());
            self.give(column, free / open.len() + excess);
        }
        self.given.into_iter().map(Option::unwrap_or_default).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

    use super::{Columns, write_in_chunks, write_rows};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// A table in chunks looks like one that is held as a whole.
        #[test]
        fn chunks_look_like_the_whole(
            rows in prop::collection::vec(prop::collection::vec("[a-c ä漢]{0,30}", 5), 0..20),
            width in prop::option::of(0_usize..120),
            chunk in 1_usize..8,
            right in prop::collection::vec(0_usize..5, 0..3),
            whole in prop::collection::vec(0_usize..5, 0..3),
            long in any::<bool>(),
        ) {
            let long_head = if long { "STACK (INNERMOST LAST)" } else { "S" };
            let columns = Columns { heads: &["A", "BB", long_head, "WAITS ON", "-"], right: &right, whole: &whole };
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            write_rows(columns.heads, &right, &whole, rows.iter().cloned(), width, &mut expected).unwrap();
            write_in_chunks(columns, || rows.iter().cloned(), width, chunk, &mut found).unwrap();
            prop_assert_eq!(String::from_utf8(found), String::from_utf8(expected));
        }
    }
}
