//! `str` objects (`PyUnicodeObject`, in all of its representations).

use super::{Objects, ReadError};
use crate::memory::Address;

/// Characters of a string that are read; the rest is cut.
pub const MAX_CHARACTERS: u64 = 4096;
/// Characters of what is believed to be a name in code.
const MAX_NAME: usize = 64;

/// Bits of `PyASCIIObject.state`, from `kind` on.
mod state {
    /// Bytes per character: 1, 2 or 4.
    pub const KIND_MASK: u32 = 7;
    /// The characters follow the header.
    pub const COMPACT: u32 = 1 << 3;
    /// All characters are ASCII (and, when it is compact, the header is the short one).
    pub const ASCII: u32 = 1 << 4;
}

/// The text of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// The string is longer: this is its beginning.
    pub is_cut: bool,
}

impl Text {
    /// The text, with an ellipsis where it was cut.
    pub fn into_shown(mut self) -> String {
        if self.is_cut {
            self.text.push('…');
        }
        self.text
    }
}

struct Header {
    length: u64,
    width: usize,
    data: Address,
}

impl Objects<'_> {
    /// The text of a `str`; characters that are not valid (lone surrogates) are replaced.
    ///
    /// # Errors
    /// When it cannot be read or is no string.
    pub fn text(&self, object: Address) -> Result<Text, ReadError> {
        self.text_until(object, Address(u64::MAX))
    }

    /// The text of a `str` as far as its characters lie before `end`.
    ///
    /// # Errors
    /// As [`Objects::text`].
    pub(super) fn text_until(&self, object: Address, end: Address) -> Result<Text, ReadError> {
        let header = self.str_header(object)?;
        let room = end.0.saturating_sub(header.data.0) / header.width as u64;
        let length = header.length.min(MAX_CHARACTERS).min(room);
        let mut bytes = vec![0; length as usize * header.width];
        self.memory.read(header.data, &mut bytes)?;
        let character = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let text = bytes
            .chunks_exact(header.width)
            .map(|chunk| {
                character(
                    chunk
                        .iter()
                        .rev()
                        .fold(0, |code, byte| code << 8 | u32::from(*byte)),
                )
            })
            .collect();
        Ok(Text {
            text,
            is_cut: header.length > length,
        })
    }

    /// The text of a `str` that is a name as code has them: what the compiler made up (`.0`) is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn identifier(&self, object: Address) -> Result<Option<String>, ReadError> {
        if !self.is_exactly(object, self.types.unicode)? {
            return Ok(None);
        }
        let Text { text, is_cut } = self.text(object)?;
        let is_inside = |character: char| character == '_' || character.is_alphanumeric();
        let is_name = !is_cut
            && !text.is_empty()
            && text.chars().count() <= MAX_NAME
            && text.chars().all(is_inside)
            && !text.starts_with(char::is_numeric);
        Ok(is_name.then_some(text))
    }

    /// Whether the object is a `str` with this ASCII text.
    pub(crate) fn str_equals(&self, object: Address, text: &str) -> Result<bool, ReadError> {
        let header = self.str_header(object)?;
        if header.width != 1 || header.length != text.len() as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; text.len()];
        self.memory.read(header.data, &mut bytes)?;
        Ok(bytes == text.as_bytes())
    }

    /// Whether the object is a `str` with this ASCII text, and the one that names in programs refer to.
    pub(crate) fn is_interned(&self, object: Address, text: &str) -> Result<bool, ReadError> {
        let offsets = &self.offsets.unicode;
        // `state.interned` takes the bits in front of `state.kind`.
        let mask = 1_u32.unbounded_shl(offsets.kind_shift).wrapping_sub(1);
        let is_interned = self.read_u32(object.offset(offsets.state))? & mask != 0;
        Ok(is_interned && self.str_equals(object, text)?)
    }

    fn str_header(&self, object: Address) -> Result<Header, ReadError> {
        let offsets = &self.offsets.unicode;
        let length = self.memory.read_u64(object.offset(offsets.length))?;
        let state = self
            .read_u32(object.offset(offsets.state))?
            .unbounded_shr(offsets.kind_shift);
        let width = state & state::KIND_MASK;
        if !matches!(width, 1 | 2 | 4) || length > i64::MAX as u64 {
            return Err(ReadError::Malformed {
                what: "str",
                address: object,
            });
        }
        let data = match (state & state::COMPACT != 0, state & state::ASCII != 0) {
            (true, true) => object.offset(offsets.ascii_data),
            (true, false) => object.offset(offsets.data),
            (false, _) => self.memory.read_address(object.offset(offsets.data))?,
        };
        Ok(Header {
            length,
            width: width as usize,
            data,
        })
    }
}
