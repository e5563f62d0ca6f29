//! Where a fact is found, written as Python would write it: `self._waiters`, `len(self._queue)`, `h._when`, `transport._extra['peername']`.
//!
//! No code of the target runs: an attribute is what is in a slot or in the instance's `__dict__`, or the `__self__` of a method; an item is one of
//! a tuple, a list or a dict.

use std::fmt;

/// Attributes and items that one path leads through.
const MAX_STEPS: usize = 12;

/// A path from a frame to an object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Path {
    /// The local variable that it begins with.
    pub local: String,
    pub steps: Vec<Step>,
    /// It is about the number of the object's items.
    pub is_length: bool,
    /// It is about the number of bytes in the object, or in the pieces that it is a queue of.
    pub is_bytes: bool,
}

/// From one object to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What a slot or the instance's `__dict__` has under this name.
    Attribute(String),
    /// An item of a tuple or a list.
    Item(u64),
    /// What a dict has under this key.
    Key(String),
    /// What a dict has under its first key.
    AnyKey,
}

/// A number, as paths to numbers that are added or taken away: `self._maxsize - len(self._free)`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Sum {
    /// Each, and whether it is taken away.
    pub terms: Vec<(Path, bool)>,
}

impl TryFrom<String> for Sum {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        let mut words = text.split(' ');
        let first = Path::try_from(words.next().unwrap_or_default().to_owned())?;
        let mut terms = vec![(first, false)];
        while let Some(sign) = words.next() {
            let is_taken_away = match sign {
                "+" => false,
                "-" => true,
                _ => {
                    return Err(PathError {
                        at: text.len(),
                        text,
                        what: "` + ` or ` - `",
                    });
                }
            };
            let path = Path::try_from(words.next().unwrap_or_default().to_owned())?;
            terms.push((path, is_taken_away));
        }
        Ok(Self { terms })
    }
}

/// What is wrong with the text of a path.
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is no path: {what} was expected behind \"{}\"", text.get(..*at).unwrap_or_default())]
pub struct PathError {
    text: String,
    at: usize,
    what: &'static str,
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        let inner = |function| text.strip_prefix(function)?.strip_suffix(')');
        let (length, bytes) = (inner("len("), inner("bytes("));
        let whole = length.or(bytes).unwrap_or(&text);
        let (is_length, is_bytes) = (length.is_some(), bytes.is_some());
        let (local, mut rest) = name(whole);
        let mut steps = Vec::new();
        let error = |rest: &str, what| PathError {
            text: text.clone(),
            at: text.len() - rest.len() - usize::from(is_length || is_bytes),
            what,
        };
        if local.is_empty() {
            return Err(error(rest, "a variable"));
        }
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or_else(|| error(rest, "an attribute, `[0]` or `['key']`"))?;
            steps.push(step);
            rest = behind;
            if steps.len() > MAX_STEPS {
                return Err(error(rest, "the end"));
            }
        }
        Ok(Self {
            local: local.to_owned(),
            steps,
            is_length,
            is_bytes,
        })
    }
}

/// The name that a text begins with, and what follows it.
fn name(text: &str) -> (&str, &str) {
    let is_part = |character: char| character == '_' || character.is_ascii_alphanumeric();
    text.split_at(text.find(|character| !is_part(character)).unwrap_or(text.len()))
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(text) = text.strip_prefix('.') {
        let (attribute, rest) = name(text);
        return (!attribute.is_empty()).then(|| (Step::Attribute(attribute.to_owned()), rest));
    }
    let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
    let key = inner.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
    let step = match key {
        Some(key) => Step::Key(key.to_owned()),
        None if inner == "*" => Step::AnyKey,
        None => Step::Item(inner.parse().ok()?),
    };
    Some((step, rest))
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, behind) = match self {
            Self { is_length: true, .. } => ("len(", ")"),
            Self { is_bytes: true, .. } => ("bytes(", ")"),
            _ => ("", ""),
        };
        write!(formatter, "{before}{}", self.local)?;
        for step in &self.steps {
            match step {
                Step::Attribute(name) => write!(formatter, ".{name}")?,
                Step::Item(index) => write!(formatter, "[{index}]")?,
                Step::Key(key) => write!(formatter, "['{key}']")?,
                Step::AnyKey => formatter.write_str("[*]")?,
            }
        }
        formatter.write_str(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, Sum};

    #[test]
    fn a_number_is_a_sum() {
        let sum = Sum::try_from("a.b - len(c) + d[*].e".to_owned()).expect("a sum");
        let terms: Vec<_> = sum
            .terms
            .iter()
            .map(|(path, minus)| (path.to_string(), *minus))
            .collect();
        let expected = [("a.b", false), ("len(c)", true), ("d[*].e", false)];
        assert_eq!(terms, expected.map(|(path, minus)| (path.to_owned(), minus)));
        for text in ["a b", "a -", "a * b", "- a", ""] {
            Sum::try_from(text.to_owned()).expect_err(text);
        }
    }

    #[test]
    fn a_path_is_written_as_it_is_read() {
        for text in [
            "self",
            "self._waiters",
            "len(self._queue)",
            "h._args[0]",
            "self._transport._extra['peername']",
            "len(self._clients.data)",
            "bytes(self._transport._buffer)",
        ] {
            let path = Path::try_from(text.to_owned()).expect(text);
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_place() {
        let error = |text: &str| Path::try_from(text.to_owned()).expect_err(text).to_string();
        insta::assert_snapshot!(error("self.a..b"), @r#""self.a..b" is no path: an attribute, `[0]` or `['key']` was expected behind "self.a""#);
        insta::assert_snapshot!(error("self[x]"), @r#""self[x]" is no path: an attribute, `[0]` or `['key']` was expected behind "self""#);
        insta::assert_snapshot!(error("len(self.f())"), @r#""len(self.f())" is no path: an attribute, `[0]` or `['key']` was expected behind "len(self.f""#);
        insta::assert_snapshot!(error(""), @r#""" is no path: a variable was expected behind """#);
        error(&format!("self{}", ".a".repeat(13)));
    }
}
