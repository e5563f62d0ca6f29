//! What is remembered by an address and a name.

use foldhash::{HashMap, HashMapExt as _};

use crate::memory::Address;

/// Facts that are held; then all are forgotten, and read again where they are needed.
const MAX_KNOWN: usize = 1 << 16;

/// Facts by address and name.
#[derive(Debug)]
pub(super) struct Known<T> {
    facts: HashMap<Address, HashMap<String, T>>,
    count: usize,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            facts: HashMap::new(),
            count: 0,
        }
    }
}

impl<T: Clone> Known<T> {
    /// What is known, or else what `find` finds, which is remembered.
    ///
    /// # Errors
    /// Those of `find`.
    pub(super) fn get_or<E>(
        &mut self,
        address: Address,
        name: &str,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(known) = self.facts.get(&address).and_then(|names| names.get(name)) {
            return Ok(known.clone());
        }
        let found = find()?;
        if self.count >= MAX_KNOWN {
            self.facts.clear();
            self.count = 0;
        }
        self.count += 1;
        let names = self.facts.entry(address).or_default();
        names.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn what_is_known_is_not_looked_for_again_and_has_a_bound() {
        let mut known = Known::default();
        let mut get = |address, name: &str, value| {
            let found = known.get_or(Address(address), name, || Ok::<u64, Infallible>(value));
            found.expect("it cannot fail")
        };
        assert_eq!([get(1, "a", 7), get(1, "b", 8), get(2, "a", 9)], [7, 8, 9]);
        assert_eq!([get(1, "a", 0), get(1, "b", 0), get(2, "a", 0)], [7, 8, 9]);
        for address in 3..=MAX_KNOWN as u64 {
            get(address, "a", 0);
        }
        assert_eq!(get(1, "a", 1), 1);
        assert!(known.count <= MAX_KNOWN);
    }
}
