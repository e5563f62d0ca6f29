//! Where the executions of a target came.

use std::collections::BTreeMap;

/// A place of what is tried, by a name and a number: a phase of the walk, an error, a reader that gave an answer.
pub type Place = (&'static str, u32);

/// How often each place was reached.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    places: BTreeMap<Place, u64>,
}

impl Reached {
    pub fn note(&mut self, name: &'static str, number: u32) {
        *self.places.entry((name, number)).or_default() += 1;
    }

    /// Notes how a call ended: number 1 is a value, 0 an error.
    pub fn note_result<T, E>(&mut self, name: &'static str, result: &Result<T, E>) {
        self.note(name, result.is_ok().into());
    }

    /// Notes whether a call that does not fail found something: number 1 is a value, 0 none.
    pub fn note_option<T>(&mut self, name: &'static str, option: &Option<T>) {
        self.note(name, option.is_some().into());
    }

    /// Adds what one execution has reached. Whether any of it is new, or was reached by orders of magnitude more often than ever before.
    pub(crate) fn add(&mut self, execution: &Self, most: &mut BTreeMap<Place, u32>) -> bool {
        let mut is_new = false;
        for (place, count) in &execution.places {
            *self.places.entry(*place).or_default() += count;
            let magnitude = count.ilog2() / 2 + 1;
            let known = most.entry(*place).or_default();
            is_new |= magnitude > *known;
            *known = magnitude.max(*known);
        }
        is_new
    }

    pub(crate) fn has(&self, place: Place) -> bool {
        self.places.contains_key(&place)
    }

    /// The places, with a line for each name.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        for ((name, number), count) in &self.places {
            let line = lines.entry(name).or_insert_with(|| format!("{name}:"));
            line.push_str(&format!(" {number} ({count}x)"));
        }
        lines.into_values().collect()
    }
}
