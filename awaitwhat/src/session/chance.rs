//! Numbers by chance, where what is chosen must not keep step with what a target does.

/// A source of them (xorshift, by G. Marsaglia). Nobody's secret depends on it.
pub(super) struct Chance(u64);

impl Chance {
    /// Any `seed` will do.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// From 0 on, less than 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 on, less than `count`.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        // What is lost of a large number is no more than its last digits.
        (self.share() * count as f64) as u64
    }
}
