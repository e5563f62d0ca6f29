//! Inputs that are worth another try.

use fastrand::Rng;

/// Bytes of an input. One that is longer is cut.
const MAX_INPUT_BYTES: usize = 2048;
/// Inputs that are kept.
const MAX_INPUTS: usize = 4096;
/// Changes of one input for the next try.
const MAX_CHANGES: usize = 8;
/// One of so many inputs is made anew.
const NEW_IN: usize = 8;
/// Bytes that are removed, repeated or copied at a time.
const MAX_PIECE_BYTES: usize = 32;

/// Inputs that came to a place which no other had reached.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    inputs: Vec<Vec<u8>>,
}

impl Corpus {
    /// Keeps an input; where there are too many, in the place of any other.
    pub(crate) fn add(&mut self, input: Vec<u8>, rng: &mut Rng) {
        if self.inputs.len() < MAX_INPUTS {
            self.inputs.push(input);
        } else if let Some(other) = rng.choice(&mut self.inputs) {
            *other = input;
        }
    }

    /// The next input to try.
    pub(crate) fn next(&self, rng: &mut Rng) -> Vec<u8> {
        let kept = rng.choice(&self.inputs).filter(|_| rng.usize(..NEW_IN) != 0);
        let Some(kept) = kept else {
            let bytes = below(rng, MAX_INPUT_BYTES);
            return std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect();
        };
        let mut input = kept.clone();
        for _ in 0..=rng.usize(..MAX_CHANGES) {
            self.change(&mut input, rng);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    /// Changes one input a little.
    fn change(&self, input: &mut Vec<u8>, rng: &mut Rng) {
        if input.is_empty() {
            input.push(rng.u8(..));
            return;
        }
        let at = below(rng, input.len());
        let end = input.len().min(at + 1 + rng.usize(..MAX_PIECE_BYTES));
        match rng.u8(..7) {
            0 => input[at] = rng.u8(..),
            1 => input[at] ^= 1 << rng.u8(..8),
            2 => input[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0),
            3 => input.insert(at, rng.u8(..)),
            4 => drop(input.drain(at..end)),
            5 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                // The rest of another one.
                if let Some(other) = rng.choice(&self.inputs) {
                    let from = at.min(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
    }
}

/// A number below `end`, of any order of magnitude: the first decisions of an input are those that matter most.
fn below(rng: &mut Rng, end: usize) -> usize {
    let magnitude = rng.u32(..=end.ilog2());
    rng.usize(..end.min(2 << magnitude))
}

/// An input that fails like this one, with fewer bytes, and more of them zero. `fails` is asked `tries` times at most.
pub(crate) fn smaller(input: &[u8], mut tries: u32, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut piece = smallest.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < smallest.len() {
            let end = smallest.len().min(at + piece);
            let without = [&smallest[..at], &smallest[end..]].concat();
            let mut zeros = smallest.clone();
            zeros[at..end].fill(0);
            let is_new = zeros != smallest;
            if tries == 0 {
                return smallest;
            }
            tries -= 1;
            if fails(&without) {
                smallest = without;
                continue;
            }
            if is_new && fails(&zeros) {
                smallest = zeros;
            }
            at = end;
        }
        piece /= 2;
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::smaller;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let input: Vec<u8> = (0..200).collect();
        let fails = |input: &[u8]| input.contains(&77) && input.contains(&150);
        assert_eq!(smaller(&input, 1000, fails), [77, 150]);
    }
}
