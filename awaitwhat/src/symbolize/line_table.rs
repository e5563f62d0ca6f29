//! `co_linetable`, before 3.10 `co_lnotab`: which line each instruction belongs to.
//!
//! Facts: `Objects/lnotab_notes.txt` (3.9 and 3.10), `PyCode_Addr2Line` (codeobject.c), `Objects/locations.md` (3.11) and
//! `InternalDocs/code_objects.md` (3.14). Since 3.11 the table is a sequence of entries. Each begins with the only byte of it that has its
//! highest bit set, which tells how many code units it covers and its form; the form tells how the line is encoded. Before, it is a
//! sequence of pairs of bytes: how many bytes of instructions, and how many lines (signed). Until 3.9 a pair leads to the next line; in 3.10
//! it is about the instructions that it covers.

use crate::layout::LineTable;

/// Bytes of a code unit.
const CODE_UNIT: i64 = 2;

/// Set in the first byte of an entry only.
const BEGIN: u8 = 1 << 7;
/// In a variable-length integer: more follows.
const CONTINUED: u8 = 1 << 6;
/// Payload of one byte of a variable-length integer.
const PAYLOAD_BITS: u32 = 6;

/// In 3.10: the instructions belong to no line.
const NO_LINE: i8 = -128;

/// `_PyCodeLocationInfoKind` (cpython/code.h).
mod form {
    /// Columns on the line of the entry before.
    pub const SHORT_LAST: u8 = 9;
    /// Columns on the line of the entry before, or one or two lines below.
    pub const ONE_LINE_FIRST: u8 = 10;
    pub const ONE_LINE_LAST: u8 = 12;
    /// A line without columns.
    pub const NO_COLUMNS: u8 = 13;
    /// Lines and columns.
    pub const LONG: u8 = 14;
}

/// The line of the instruction `offset` bytes after the start of a code object's instructions, as
/// `PyCode_Addr2Line` finds it; `None` where the table does not reach so far.
///
/// An instruction that belongs to no line (one that the compiler added) is taken for the line before it, so that a chain is not
/// split by where exactly in a line it was seen. A negative offset is that of a frame that has not begun, which is at the first line.
pub fn line_at(format: LineTable, table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    match format {
        _ if offset < 0 => Some(first_line),
        LineTable::Increments => line_by_increments(table, first_line, offset),
        LineTable::Ranges => line_by_ranges(table, first_line, offset),
        LineTable::Locations => line_by_locations(table, first_line, offset),
    }
}

/// The line that the pairs lead to which begin at the instruction, or before it.
fn line_by_increments(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    let (mut line, mut begin) = (i64::from(first_line), 0_i64);
    for &[bytes, lines] in table.as_chunks::<2>().0 {
        begin += i64::from(bytes);
        if begin > offset {
            break;
        }
        line += i64::from(lines.cast_signed());
    }
    u32::try_from(line).ok()
}

/// The line of the pair that covers the instruction.
fn line_by_ranges(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    let (mut line, mut end) = (i64::from(first_line), 0_i64);
    for &[bytes, lines] in table.as_chunks::<2>().0 {
        end += i64::from(bytes);
        if lines.cast_signed() != NO_LINE {
            line += i64::from(lines.cast_signed());
        }
        if offset < end {
            return u32::try_from(line).ok();
        }
    }
    None
}

fn line_by_locations(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    let unit = offset / CODE_UNIT;
    let mut line = i64::from(first_line);
    let mut end = 0_i64;
    let mut rest = table;
    while let [head, tail @ ..] = rest {
        // Bytes before the first entry cannot be: skip what is no beginning.
        let length = tail.iter().take_while(|byte| **byte & BEGIN == 0).count();
        let (body, following) = tail.split_at(length);
        rest = following;
        if head & BEGIN == 0 {
            continue;
        }
        let delta = line_delta(head >> 3 & 0xf, body);
        line = line.saturating_add(delta.unwrap_or(0));
        end += i64::from(head & 7) + 1;
        if unit < end {
            return u32::try_from(line).ok();
        }
    }
    None
}

/// How far an entry's line is from the one before; `None` where it has no line.
fn line_delta(form: u8, body: &[u8]) -> Option<i64> {
    match form {
        0..=form::SHORT_LAST => Some(0),
        form::ONE_LINE_FIRST..=form::ONE_LINE_LAST => Some(i64::from(form - form::ONE_LINE_FIRST)),
        form::NO_COLUMNS | form::LONG => Some(signed_integer(body)),
        _ => None,
    }
}

/// A signed variable-length integer: the lowest bit is the sign.
fn signed_integer(bytes: &[u8]) -> i64 {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().enumerate() {
        let payload = u32::from(byte & (CONTINUED - 1));
        let shift = PAYLOAD_BITS.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        value |= payload.checked_shl(shift).unwrap_or(0);
        if byte & CONTINUED == 0 {
            break;
        }
    }
    let magnitude = i64::from(value >> 1);
    if value & 1 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use awaitwhat_fuzz::{Choices, Target};

    use super::{BEGIN, CODE_UNIT, CONTINUED, form};
    use crate::layout::LineTable;

    const FORMATS: [LineTable; 3] = [LineTable::Increments, LineTable::Ranges, LineTable::Locations];

    fn line_at(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
        super::line_at(LineTable::Locations, table, first_line, offset)
    }

    fn entry(form: u8, units: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![BEGIN | form << 3 | (units - 1)];
        bytes.extend(body);
        bytes
    }

    #[test]
    fn follows_every_form() {
        let table = [
            entry(0, 1, &[0x11]),
            entry(11, 2, &[3, 9]),
            entry(form::NO_COLUMNS, 8, &[5 << 1]),
            entry(form::LONG, 1, &[3 << 1 | 1, 0, 1, 1]),
            entry(15, 1, &[]),
            entry(12, 1, &[0, 0]),
        ]
        .concat();
        let lines: Vec<_> = (0..15)
            .map(|unit| line_at(&table, 100, unit * CODE_UNIT))
            .collect();
        let expected = [
            vec![Some(100)],
            vec![Some(101); 2],
            vec![Some(106); 8],
            vec![Some(103), Some(103), Some(105), None],
        ]
        .concat();
        assert_eq!(lines, expected);
    }

    #[test]
    fn takes_a_frame_that_has_not_begun_for_its_first_line() {
        assert_eq!(line_at(&[], 7, -2), Some(7));
    }

    #[test]
    fn joins_the_parts_of_long_integers() {
        // 1000 is 0b1111_101000, and its sign bit follows.
        let encoded = 1000_u32 << 1;
        let body = [encoded as u8 & 0x3f | CONTINUED, (encoded >> 6) as u8];
        let table = entry(form::NO_COLUMNS, 1, &body);
        assert_eq!(line_at(&table, 1, 0), Some(1001));
    }

    #[test]
    fn follows_pairs() {
        let line = |format, table: &[u8], offset| super::line_at(format, table, 10, offset);
        // Lines 11 (6 bytes), 311 (2 bytes; more than a signed byte holds), 9 (from there on).
        let increments = [0, 1, 6, 127, 0, 127, 0, 46, 2, 0x80, 0, 0x80, 0, 0xd2];
        let lines: Vec<_> = [-2, 0, 4, 6, 8, 1000]
            .map(|offset| line(LineTable::Increments, &increments, offset))
            .to_vec();
        assert_eq!(lines, [10, 11, 11, 311, 9, 9].map(Some));
        // The same, with 4 bytes that have no line before the last, which ends after 2.
        let ranges = [6, 1, 0, 127, 0, 127, 2, 46, 4, 0x80, 0, 0x81, 0, 0x81, 2, 0xd0];
        let lines: Vec<_> = [-2, 0, 4, 6, 8, 10, 12]
            .map(|offset| line(LineTable::Ranges, &ranges, offset))
            .to_vec();
        assert_eq!(lines, [10, 11, 11, 311, 311, 311, 9].map(Some));
        assert_eq!(line(LineTable::Ranges, &ranges, 14), None);
    }

    /// The longest run of one form's entries.
    const MAX_ENTRIES: usize = 64;

    /// Entries of the format, or pairs, and then some bytes that are wrong.
    fn table(choices: &mut Choices<'_>) -> Vec<u8> {
        let mut table = Vec::new();
        for _ in 0..choices.below(MAX_ENTRIES) {
            let body: Vec<u8> = (0..choices.below(12)).map(|_| choices.byte() & !BEGIN).collect();
            table.extend(entry(choices.byte() & 0xf, choices.byte() % 8 + 1, &body));
        }
        for _ in 0..choices.below(8) {
            if !table.is_empty() {
                let at = choices.below(table.len());
                table[at] = choices.byte();
            }
        }
        table
    }

    /// Whatever the table is, an instruction has a line or none.
    #[test]
    fn fuzz_line_table() {
        let target = Target {
            name: "line_table",
            executions: 20_000,
            max_bytes: 1 << 20,
            places: &[
                ("increments", 0),
                ("increments", 1),
                ("ranges", 0),
                ("ranges", 1),
                ("locations", 0),
                ("locations", 1),
            ],
        };
        target.run(|choices, reached| {
            let table = table(choices);
            let first_line = choices.number() as u32;
            let mut offset = 0_i64;
            for _ in 0..=choices.below(16) {
                offset = offset.saturating_add(i64::from(choices.byte()));
                for (index, name) in ["increments", "ranges", "locations"].into_iter().enumerate() {
                    let line = super::line_at(FORMATS[index], &table, first_line, offset);
                    reached.note_option(name, &line);
                    let before = super::line_at(FORMATS[index], &table, first_line, -1);
                    assert_eq!(before, Some(first_line));
                }
            }
            let any = choices.number().cast_signed();
            for format in FORMATS {
                super::line_at(format, &table, first_line, any);
            }
        });
    }
}
