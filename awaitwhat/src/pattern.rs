//! Regular expressions that a user gives.

use regex::{Regex, RegexBuilder};

/// A regular expression. Two are equal when they are spelled alike.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads a regular expression in the syntax of the `regex` crate; `.` matches the end of a line too.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text)
            .dot_matches_new_line(true)
            .build()
            .map(Self)
    }

    /// Whether it is found in `text`.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}
