//! `int` and `bytes` objects.

use super::{Objects, ReadError};
use crate::memory::Address;

/// Bits of a digit of an `int`.
const DIGIT_BITS: u32 = 30;
/// Digits of an `int` that are read: more do not fit 64 bits anyway.
const MAX_DIGITS: u64 = 3;

impl Objects<'_> {
    /// The value of an `int`; `None` where it does not fit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn integer(&self, object: Address) -> Result<Option<i64>, ReadError> {
        let offsets = &self.offsets.long;
        let tag = self.memory.read_u64(object.offset(offsets.tag))?;
        let (is_negative, count) = if offsets.is_tagged {
            (tag & 3 == 2, if tag & 3 == 1 { 0 } else { tag >> 3 })
        } else {
            ((tag as i64) < 0, (tag as i64).unsigned_abs())
        };
        if count > MAX_DIGITS {
            return Ok(None);
        }
        let mut magnitude = 0_i128;
        for index in (0..count).rev() {
            let digit = self.read_u32(object.offset(offsets.digits + index * 4))?;
            magnitude = magnitude << DIGIT_BITS | i128::from(digit);
        }
        Ok(i64::try_from(if is_negative { -magnitude } else { magnitude }).ok())
    }

    /// What a `bytes` object begins with, at most `limit` bytes, and whether there is more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_bytes(&self, object: Address, limit: usize) -> Result<(Vec<u8>, bool), ReadError> {
        let offsets = &self.offsets.bytes;
        let size = self.memory.read_u64(object.offset(offsets.size))?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(limit)];
        self.memory.read(object.offset(offsets.value), &mut bytes)?;
        Ok((bytes, size > limit))
    }

    /// The value of a `bytes` object of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be read or is longer.
    pub fn bytes(&self, object: Address, limit: usize) -> Result<Vec<u8>, ReadError> {
        let offsets = &self.offsets.bytes;
        let size = self.memory.read_u64(object.offset(offsets.size))?;
        let size = usize::try_from(size).ok().filter(|&size| size <= limit);
        let mut bytes = vec![
            0;
            size.ok_or(ReadError::Malformed {
                what: "bytes",
                address: object
            })?
        ];
        self.memory.read(object.offset(offsets.value), &mut bytes)?;
        Ok(bytes)
    }
}
