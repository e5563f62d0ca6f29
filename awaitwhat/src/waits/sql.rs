//! The text of a query without what is somebody's data: the literals in it.
//!
//! A program that keeps its parameters apart has none in the text, but not every program does. Dialects differ in where a literal ends; where
//! that is in doubt, all that follows counts as a part of it.

/// Stands for a literal.
const LITERAL: char = '?';
/// The same, where all that follows may be a part of it.
const LITERAL_TO_END: &str = "?…";

/// The text on one line, without comments, and with a question mark for each literal: strings and numbers. `is_cut` says that the text goes on.
pub(super) fn without_literals(text: &str, is_cut: bool) -> String {
    let mut shown = Shown::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match token(rest, shown.before()) {
            Token::Space(length) => {
                shown.is_apart = true;
                &rest[length..]
            }
            Token::Literal(length) => {
                shown.push(LITERAL);
                &rest[length..]
            }
            Token::Quoted(length) => {
                rest[..length].chars().for_each(|part| shown.push(part));
                &rest[length..]
            }
            Token::LiteralToEnd => {
                shown.separate();
                shown.text.push_str(LITERAL_TO_END);
                return shown.text;
            }
            Token::Other => {
                shown.push(first);
                &rest[first.len_utf8()..]
            }
        };
    }
    if is_cut {
        shown.text.push('…');
    }
    shown.text
}

/// The text on one line.
pub(super) fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a text begins with, and its length in bytes.
enum Token {
    /// Space or a comment.
    Space(usize),
    Literal(usize),
    /// A name in double quotes, square brackets or backticks are not looked into.
    Quoted(usize),
    LiteralToEnd,
    Other,
}

#[derive(Default)]
struct Shown {
    text: String,
    /// There was space behind the last character.
    is_apart: bool,
}

impl Shown {
    fn push(&mut self, character: char) {
        self.separate();
        self.text.push(character);
    }

    fn separate(&mut self) {
        if std::mem::take(&mut self.is_apart) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    /// The two characters that stand directly before what comes next, the last one first.
    fn before(&self) -> [Option<char>; 2] {
        let mut before = self.text.chars().rev().filter(|_| !self.is_apart);
        [before.next(), before.next()]
    }
}

/// What `text` begins with, behind the characters `before`.
fn token(text: &str, before: [Option<char>; 2]) -> Token {
    let [is_in_name, is_longer] = before.map(|it| it.is_some_and(is_of_name));
    let bytes = text.as_bytes();
    match bytes {
        [first, ..] if first.is_ascii_whitespace() => Token::Space(1),
        [b'-', b'-', ..] => Token::Space(text.find('\n').unwrap_or(text.len())),
        [b'/', b'*', ..] => comment(text).map_or(Token::LiteralToEnd, Token::Space),
        [b'\'', ..] => string(text, !is_longer && matches!(before[0], Some('e' | 'E'))),
        [b'"', ..] => text[1..]
            .find('"')
            .map_or(Token::LiteralToEnd, |end| Token::Quoted(end + 2)),
        [b'$', ..] if !is_in_name => dollar(text),
        [first, ..] if first.is_ascii_digit() && !is_in_name => Token::Literal(number(text)),
        [b'.', digit, ..] if digit.is_ascii_digit() && !is_in_name => Token::Literal(number(text)),
        _ => Token::Other,
    }
}

/// Whether a digit behind this character belongs to a name, or to the number of a parameter (`$1`, `:1`).
fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$' | ':')
}

/// The length of a comment, which may have others inside of it.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_u32, 0);
    loop {
        let rest = text.as_bytes().get(at..)?;
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            [] => return None,
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A string in single quotes. A backslash before a quote takes its meaning away in some dialects, and in `E'...'`.
fn string(text: &str, has_escapes: bool) -> Token {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'\\', Some(b'\'')) if !has_escapes => return Token::LiteralToEnd,
            (b'\\', Some(_)) if has_escapes => at += 2,
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Token::Literal(at + 1),
            _ => at += 1,
        }
    }
    Token::LiteralToEnd
}

/// What begins with a dollar sign: a parameter (`$1`), or a string between two tags (`$$...$$`, `$tag$...$tag$`).
fn dollar(text: &str) -> Token {
    let Some(end) = text[1..].find(|character: char| !(character.is_alphanumeric() || character == '_'))
    else {
        return Token::Other;
    };
    let tag = &text[..end + 1];
    let is_number = tag.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if is_number || !text[tag.len()..].starts_with('$') {
        return Token::Other;
    }
    let tag = &text[..tag.len() + 1];
    match text[tag.len()..].find(tag) {
        Some(end) => Token::Literal(tag.len() + end + tag.len()),
        None => Token::LiteralToEnd,
    }
}

/// The length of a number, with whatever hangs on to it: `1.5e-3`, `0x1F`, `1_000`.
fn number(text: &str) -> usize {
    let mut before = ' ';
    let end = text.find(|character: char| {
        let is_sign_of_exponent = matches!(character, '+' | '-') && matches!(before, 'e' | 'E');
        before = character;
        !(character.is_alphanumeric() || matches!(character, '_' | '.') || is_sign_of_exponent)
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_left_out_and_all_else_is_shown() {
        for (text, shown) in [
            ("select 1", "select ?"),
            (
                "select\n  *\tfrom t1 where v_2 = $1 ",
                "select * from t1 where v_2 = $1",
            ),
            (
                "update t set v = 'it''s'  where id=-12",
                "update t set v = ? where id=-?",
            ),
            ("values (1.5e-3,0x1F,.5,1_000)", "values (?,?,?,?)"),
            (
                "select %s, %(name)s, :1, :name, $12",
                "select %s, %(name)s, :1, :name, $12",
            ),
            (r"select E'it\'s' || 'x'", "select E? || ?"),
            ("select $$a'b$$, $x$ $$ $x$ from t", "select ?, ? from t"),
            (r#"select "odd 1" from "T2""#, r#"select "odd 1" from "T2""#),
            (
                "select 1 -- secret\n, 2 /* se /* cr */ et */ from t",
                "select ? , ? from t",
            ),
            ("select '' from t", "select ? from t"),
            ("sélect 'é' + 7é", "sélect ? + ?"),
            ("$", "$"),
            ("BLPOP", "BLPOP"),
            ("", ""),
        ] {
            assert_eq!(without_literals(text, false), shown, "{text}");
        }
    }

    #[test]
    fn where_a_literal_may_not_end_nothing_is_shown_any_more() {
        for text in [
            r"select 'it\'s' secret'",
            "select 'secret",
            "select $x$ secret $y$ secret",
            "select /* secret",
            "select \"secret",
            r"select E'\",
            r"v like'a\' or v = 'secret'",
        ] {
            let shown = without_literals(text, false);
            assert!(shown.ends_with("?…") && !shown.contains("secret"), "{shown}");
        }
        assert_eq!(without_literals("select a, b", true), "select a, b…");
    }

    #[test]
    fn no_literal_is_shown_whatever_stands_beside_it() {
        let pieces = [
            "select",
            "t.a",
            "\"odd name\"",
            "$1",
            "%(x)s",
            ",",
            "(",
            ")",
            "=",
            "1234567",
            "'1234567'",
            "''",
            "'it''s 1234567'",
            r"E'\'1234567'",
            r"e'\\'",
            r"'C:\1234567\'",
            "$$1234567$$",
            "$t$'1234567$t$",
            "-- 1234567\n",
            "/* 1234567 */",
            "1234567.5e-7",
        ];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
                text.push(' ');
            }
            let shown = without_literals(&text, false);
            assert!(!shown.contains("1234567"), "{text} {shown}");
        }
    }

    #[test]
    fn whatever_it_is_it_stays_one_line() {
        let pieces = [
            "'", "\"", "$", "\\", "--", "\n", "/*", "*/", "1", "a", "é", "E'", "$$", ".", "…",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let shown = without_literals(&text, false);
            let is_quoted = text.contains('"');
            assert!(is_quoted || !shown.contains('\n'), "{text:?} {shown:?}");
            assert!(is_quoted || !shown.contains('\''), "{text:?} {shown:?}");
        }
    }
}
