//! JSON that is safe to look at: whatever could act on a terminal or mislead a reader is written as an escape.
//!
//! The value is the same: JSON has an escape for every character. serde_json escapes what JSON demands, which leaves out C1 controls
//! (U+009B begins a control sequence in a terminal) and bidirectional controls.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::view::escape::is_safe;

/// Writes `value` as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub(super) fn write_line(value: &impl Serialize, output: &mut impl Write) -> io::Result<()> {
    write(value, output)?;
    output.write_all(b"\n")
}

/// Writes `value` as JSON, without an end of line.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(value: &impl Serialize, output: &mut impl Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(&mut *output, Safe))?)
}

struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Almost every name: no decoding needed.
        if fragment.is_ascii() && !fragment.as_bytes().contains(&0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, unsafe_character)) =
            rest.char_indices().find(|(_, character)| !is_safe(*character))
        {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in unsafe_character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + unsafe_character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::write_line;

    fn line(text: &str) -> String {
        let mut output = Vec::new();
        write_line(&text, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(
            line("a\u{9b}31m\u{202e}b\u{7f}\u{1b}"),
            "\"a\\u009b31m\\u202eb\\u007f\\u001b\"\n"
        );
        assert_eq!(line("Grüße 日本 \u{e0041}"), "\"Grüße 日本 \\udb40\\udc41\"\n");
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(text: String) {
            assert_eq!(serde_json::from_str::<String>(&line(&text)).unwrap(), text);
        }
    }
}
