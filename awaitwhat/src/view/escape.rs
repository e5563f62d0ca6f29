//! Text from the target, made harmless.

use std::fmt::{self, Write};

use unicode_width::UnicodeWidthChar;

/// Shows text with everything that could act on a terminal, or mislead a reader, written as an escape.
///
/// Control characters, line and paragraph separators, bidirectional controls and invisible characters become `\n`, `\x1b`,
/// `\u{202e}`; a backslash is doubled, so that the result is unambiguous. The result is always one line.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| write_escaped(formatter, character))
    }
}

/// As [`Escaped`], and `;` becomes `\x3b`: a frame of the folded format, whose frames are separated by semicolons.
#[derive(Clone, Copy, Debug)]
pub struct FoldedEscaped<'a>(pub &'a str);

impl fmt::Display for FoldedEscaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            ';' => formatter.write_str(r"\x3b"),
            other => write_escaped(formatter, other),
        })
    }
}

fn write_escaped(output: &mut impl Write, character: char) -> fmt::Result {
    match character {
        '\\' => output.write_str(r"\\"),
        '\n' => output.write_str(r"\n"),
        '\r' => output.write_str(r"\r"),
        '\t' => output.write_str(r"\t"),
        '\0'..='\u{ff}' if character.is_control() => write!(output, r"\x{:02x}", u32::from(character)),
        _ if is_deceptive(character) => write!(output, r"\u{{{:x}}}", u32::from(character)),
        _ => output.write_char(character),
    }
}

/// Whether a character does nothing but show itself.
pub(crate) fn is_safe(character: char) -> bool {
    !character.is_control() && !is_deceptive(character)
}

/// Whether a character changes how its neighbours are shown, or shows nothing at all.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Zero width, directional marks, separators, embeddings, overrides, isolates.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes `text` and cuts it to `width` columns, ending with `…` where something was left out.
///
/// Work is bounded by `width`, however long the text is.
#[must_use]
pub fn fitted(text: &str, width: usize) -> String {
    let mut fitting = String::new();
    let mut used = 0;
    // Where to cut if the rest does not fit: there must be room for the ellipsis.
    let mut cut_at = 0;
    let mut piece = String::new();
    for (taken, character) in text.chars().enumerate() {
        piece.clear();
        // Writing into a string cannot fail.
        let _ = write_escaped(&mut piece, character);
        let columns: usize = piece.chars().map(|shown| shown.width().unwrap_or(0)).sum();
        // Marks that take no column could go on for ever: as many characters as columns must do.
        if used + columns > width || taken >= 4 * width.max(1) {
            fitting.truncate(cut_at);
            if width > 0 {
                fitting.push('…');
            }
            return fitting;
        }
        fitting.push_str(&piece);
        used += columns;
        if used < width {
            cut_at = fitting.len();
        }
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::{Escaped, FoldedEscaped, fitted};

    #[test]
    fn controls_and_bidirectional_marks_are_written_out() {
        let hostile = "\x1b[31mred\x07\u{9b}2J\r\n\u{202e}evil\u{2066}\u{200b}\u{2028}\\x1b";
        assert_eq!(
            Escaped(hostile).to_string(),
            r"\x1b[31mred\x07\x9b2J\r\n\u{202e}evil\u{2066}\u{200b}\u{2028}\\x1b"
        );
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        for text in ["Task-1", "worker <locals>", "задача", "仕事", "é", "🦀"] {
            assert_eq!(Escaped(text).to_string(), text);
        }
    }

    #[test]
    fn folded_frames_hold_no_separator() {
        assert_eq!(FoldedEscaped("a;b\nc 7").to_string(), r"a\x3bb\nc 7");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(fitted("worker", 6), "worker");
        assert_eq!(fitted("worker-1", 6), "worke…");
        assert_eq!(fitted("仕事仕事", 5), "仕事…");
        assert_eq!(fitted("仕事仕事", 4), "仕…");
        assert_eq!(fitted("ab\x1bcd", 5), "ab…");
        assert_eq!(fitted("abc", 0), "");
        assert_eq!(fitted("", 0), "");
    }

    #[test]
    fn endless_marks_without_width_are_cut() {
        let marks = "e".to_owned() + &"\u{301}".repeat(100_000);
        assert!(fitted(&marks, 10).len() < 200);
    }
}
