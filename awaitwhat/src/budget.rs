//! How much may be held of what was learnt, of all targets together: what a target does must not cost awaitwhat the machine's memory.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that code objects and chains, with their names, may take while they are in use.
pub const NAMES_BYTES: usize = 96 << 20;
/// Bytes that a trace's sums may take, as text: what is written in the end is as long.
pub const SUMS_BYTES: usize = 64 << 20;

/// A bound for what several holders have together.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Rc<Cell<usize>>,
    limit: usize,
}

/// What one holder has of a [`Budget`]; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes, of which nothing is used.
    pub fn new(limit: usize) -> Self {
        Self {
            used: Rc::default(),
            limit,
        }
    }

    /// The share of a holder that has nothing yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Whether nothing more may be held.
    pub fn is_used_up(&self) -> bool {
        self.used.get() >= self.limit
    }
}

impl Share {
    /// What this holder has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says how much this holder has now.
    pub fn set(&mut self, bytes: usize) {
        let used = &self.budget.used;
        used.set(used.get() - self.bytes + bytes);
        self.bytes = bytes;
    }

    /// Whether nothing more may be held, by this holder or another one.
    pub fn is_used_up(&self) -> bool {
        self.budget.is_used_up()
    }
}

impl Clone for Share {
    /// Another holder that has as much.
    fn clone(&self) -> Self {
        let mut share = self.budget.share();
        share.set(self.bytes);
        share
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.set(4);
        other.set(5);
        assert!(!budget.is_used_up());
        other.set(6);
        assert!(one.is_used_up() && other.is_used_up());
        drop(one);
        assert!(!budget.is_used_up());
        assert_eq!(other.bytes(), 6);
    }
}
