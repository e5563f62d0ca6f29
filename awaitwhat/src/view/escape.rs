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

/// Escapes `text` and cuts it to `width` columns, with `…` in its middle where something was left out: names are often told apart by
/// their ends. What is empty is shown as `""`.
///
/// Work is bounded by `width`, however long the text is.
#[must_use]
pub fn fitted(text: &str, width: usize) -> String {
    let text = if width < EMPTY.len() { text } else { named(text) };
    // Marks that take no column could go on for ever: some more characters than columns must do.
    let whole = Piece::of(text.chars(), width, 4 * width.max(1));
    if whole.characters == text.chars().take(whole.characters + 1).count() {
        return whole.shown.concat();
    }
    let Some(shown) = width.checked_sub(1) else {
        return String::new();
    };
    let tail = shown / 2;
    let head = Piece::of(text.chars(), shown - tail, 2 * width);
    let mut tail = Piece::of(text.chars().rev(), tail, 2 * width);
    tail.shown.reverse();
    format!("{}…{}", head.shown.concat(), tail.shown.concat())
}

/// What stands for a name that is empty.
const EMPTY: &str = "\"\"";

/// A name, in quotes where nothing of it would be seen.
#[must_use]
pub fn named(name: &str) -> &str {
    if name.is_empty() { EMPTY } else { name }
}

/// One end of a text: the characters that fit, each escaped.
struct Piece {
    shown: Vec<String>,
    characters: usize,
}

impl Piece {
    fn of(characters: impl Iterator<Item = char>, width: usize, most: usize) -> Self {
        let mut shown = Vec::new();
        let mut used = 0;
        for character in characters.take(most) {
            let mut escaped = String::new();
            // Writing into a string cannot fail.
            let _ = write_escaped(&mut escaped, character);
            used += escaped
                .chars()
                .map(|shown| shown.width().unwrap_or(0))
                .sum::<usize>();
            if used > width {
                break;
            }
            shown.push(escaped);
        }
        let characters = shown.len();
        Self { shown, characters }
    }
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
    fn text_is_cut_by_columns_in_its_middle() {
        assert_eq!(fitted("worker", 6), "worker");
        assert_eq!(fitted("worker-1", 6), "wor…-1");
        assert_eq!(fitted("仕事仕事", 8), "仕事仕事");
        assert_eq!(fitted("仕事仕事", 5), "仕…事");
        assert_eq!(fitted("仕事仕事", 4), "仕…");
        assert_eq!(fitted("ab\x1bcd", 6), "ab…cd");
        assert_eq!(fitted("abc", 1), "…");
        assert_eq!(fitted("abc", 0), "");
        assert_eq!(fitted("", 0), "");
        assert_eq!(fitted("", 10), r#""""#);
    }

    #[test]
    fn endless_marks_without_width_are_cut() {
        let marks = "e".to_owned() + &"\u{301}".repeat(100_000);
        assert!(fitted(&marks, 10).len() < 200);
        assert!(fitted(&("a".to_owned() + &marks + "b"), 10).ends_with('b'));
    }
}
