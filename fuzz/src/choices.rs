//! Decisions of a target.

/// Bytes that are read as decisions. Where they end, each further decision is the first of its alternatives.
#[derive(Clone, Debug)]
pub struct Choices<'input> {
    rest: &'input [u8],
}

impl<'input> Choices<'input> {
    pub fn new(input: &'input [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether there is nothing left to decide by.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left.
    pub fn rest(&self) -> &'input [u8] {
        self.rest
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest {
            [first, rest @ ..] => {
                self.rest = rest;
                *first
            }
            [] => 0,
        }
    }

    /// A word of any value.
    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let mut number = usize::from(self.byte());
        if end > 1 << 8 {
            number = number << 8 | usize::from(self.byte());
        }
        if end > 1 << 16 {
            number = number << 8 | usize::from(self.byte());
        }
        number % end
    }

    /// One of `alternatives`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, alternatives: &[T]) -> T {
        alternatives[self.below(alternatives.len())]
    }

    /// True in one of `parts` cases on average, and never where nothing is left.
    pub fn once_in(&mut self, parts: u8) -> bool {
        self.byte() % parts == parts - 1
    }

    /// A word of the kind that bounds and checks are wrong about: small, large, a power of two, or any.
    pub fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::from(self.byte()),
            2 => u64::MAX - u64::from(self.byte()),
            3 => 1 << (self.byte() % 64),
            4 => (1_u64 << (self.byte() % 64)).wrapping_sub(1),
            5 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            6 => 1 << 63 | u64::from(self.byte()),
            _ => self.word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn decisions_end_with_the_first_alternative() {
        let mut choices = Choices::new(&[2, 0xff, 1]);
        assert_eq!(choices.pick(&["a", "b", "c"]), "c");
        assert!(choices.once_in(2));
        assert!(!choices.is_empty());
        assert_eq!(choices.below(10), 1);
        assert!(choices.is_empty());
        assert_eq!((choices.word(), choices.number()), (0, 0));
        assert_eq!(choices.pick(&["a", "b", "c"]), "a");
        assert!(!choices.once_in(1 << 7));
    }

    #[test]
    fn a_number_has_as_many_bytes_as_it_needs() {
        let mut choices = Choices::new(&[1, 2, 3, 4, 5]);
        assert_eq!(choices.below(1 << 16), 0x0102);
        assert_eq!(choices.below(1 << 24), 0x03_0405);
    }
}
