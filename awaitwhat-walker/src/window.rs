//! The words around one object.

use awaitwhat_common::limits::{USER_ADDRESSES, WINDOW_BYTES, WINDOW_WORDS};

/// The memory from an object's address on, as far as the walker looks.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window {
    base: u64,
    words: [u64; WINDOW_WORDS],
}

impl Window {
    pub(crate) const EMPTY: Self = Self {
        base: 0,
        words: [0; WINDOW_WORDS],
    };

    /// Moves the window to `address`, from where on its words are to be filled.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, address: u64) -> &mut [u64; WINDOW_WORDS] {
        self.base = address;
        &mut self.words
    }

    /// Whether the window is at `address`, with what was read there.
    #[inline(always)]
    pub(crate) fn is_at(&self, address: u64) -> bool {
        self.base == address
    }

    /// The address that the window is at.
    #[inline(always)]
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Makes the next use read the memory again.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        self.base = 0;
    }

    /// The word at byte `offset`, a multiple of 8. Total: an offset outside wraps around, as the verifier wants it.
    #[inline(always)]
    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.words[(offset as usize >> 3) & (WINDOW_WORDS - 1)]
    }

    /// The 32-bit word at byte `offset`, a multiple of 4.
    #[inline(always)]
    pub(crate) fn half(&self, offset: u64) -> u32 {
        (self.word(offset) >> ((offset & 4) * 8)) as u32
    }

    /// The byte at byte `offset`.
    #[inline(always)]
    pub(crate) fn byte(&self, offset: u64) -> u8 {
        (self.word(offset) >> ((offset & 7) * 8)) as u8
    }

    /// The word at `address`, if the window holds it.
    #[inline(always)]
    pub(crate) fn word_at(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.base);
        if offset < WINDOW_BYTES {
            Some(self.word(offset))
        } else {
            None
        }
    }
}

/// Whether a pointer can be one to an object, a frame or a table of a user process: all of these are aligned.
#[inline(always)]
pub(crate) fn is_object_address(address: u64) -> bool {
    address & 7 == 0 && (USER_ADDRESSES.start..USER_ADDRESSES.end).contains(&address)
}
