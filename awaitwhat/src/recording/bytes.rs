//! Numbers and text as bytes: seven bits a byte, the least first. Reading is total.

use std::sync::Arc;

/// Text of a target is not longer; what is longer is no recording's.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// These bytes do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not say {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Appends numbers and text.
#[derive(Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// How much larger or smaller `number` is than `before`: small either way where they are close, also around the end of the numbers.
    pub(super) fn change(&mut self, before: u64, number: u64) {
        let change = number.wrapping_sub(before).cast_signed();
        self.number(((change << 1) ^ (change >> 63)).cast_unsigned());
    }

    pub(super) fn float(&mut self, number: f64) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        let end = text.floor_char_boundary(MAX_TEXT);
        self.number(end as u64);
        self.0.extend(&text.as_bytes()[..end]);
    }
}

/// Takes numbers and text from bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn is_at_end(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed("all of an entry"))?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number of 64 bits"))
    }

    pub(super) fn change(&mut self, before: u64) -> Result<u64, Malformed> {
        let bits = self.number()?;
        let change = (bits >> 1).cast_signed() ^ -((bits & 1).cast_signed());
        Ok(before.wrapping_add(change.cast_unsigned()))
    }

    /// A number of at most `most`, as something is counted.
    pub(super) fn count(&mut self, most: usize, what: &'static str) -> Result<usize, Malformed> {
        let number = self.number()?;
        usize::try_from(number)
            .ok()
            .filter(|number| *number <= most)
            .ok_or(Malformed(what))
    }

    /// A number that is finite and not negative.
    pub(super) fn float(&mut self) -> Result<f64, Malformed> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("all of a floating-point number"))?;
        self.0 = rest;
        let number = f64::from_le_bytes(*bytes);
        let is_amount = number.is_finite() && number >= 0.0;
        is_amount.then_some(number).ok_or(Malformed("an amount"))
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, Malformed> {
        let length = self.count(MAX_TEXT, "a text of a length that there is")?;
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("all of a text"))?;
        self.0 = rest;
        std::str::from_utf8(text)
            .map(Arc::from)
            .map_err(|_| Malformed("text in UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Cursor};

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX];
        let mut bytes = Bytes::default();
        for number in numbers {
            bytes.number(number);
            bytes.change(7, number);
        }
        let mut cursor = Cursor(&bytes.0);
        for number in numbers {
            assert_eq!(cursor.number(), Ok(number));
            assert_eq!(cursor.change(7), Ok(number));
        }
        assert!(cursor.is_at_end() && cursor.number().is_err());
    }

    #[test]
    fn numbers_that_are_too_long_are_none() {
        for bytes in [&[0xff; 11][..], &[0xff; 9], &[0x80; 9]] {
            assert!(Cursor(bytes).number().is_err(), "{bytes:?}");
        }
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(Cursor(&largest).number(), Ok(u64::MAX));
        largest[9] = 2;
        assert!(Cursor(&largest).number().is_err());
    }
}
