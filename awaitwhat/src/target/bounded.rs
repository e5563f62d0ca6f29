//! A bound on what one search may read.

use std::cell::Cell;

use crate::memory::{Address, Fault, Memory};

const PAGE_BYTES: u64 = 4096;

/// Memory of which so many pages can be read; what follows is unreadable.
pub(super) struct Bounded<'a> {
    memory: &'a dyn Memory,
    left: Cell<u64>,
    /// The last page that was read: what follows in it counts once.
    last: Cell<u64>,
    is_used_up: Cell<bool>,
}

impl<'a> Bounded<'a> {
    pub(super) fn new(memory: &'a dyn Memory, pages: u64) -> Self {
        Self {
            memory,
            left: Cell::new(pages),
            last: Cell::new(u64::MAX),
            is_used_up: Cell::new(false),
        }
    }

    /// Whether something was not read for that.
    pub(super) fn is_used_up(&self) -> bool {
        self.is_used_up.get()
    }
}

impl Memory for Bounded<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let length = buffer.len();
        let first = address.0 / PAGE_BYTES;
        let last = address.0.saturating_add(length as u64).saturating_sub(1) / PAGE_BYTES;
        let known = u64::from(first == self.last.get());
        let pages = (last.saturating_sub(first) + 1).saturating_sub(known);
        let Some(left) = self.left.get().checked_sub(pages) else {
            self.is_used_up.set(true);
            return Err(Fault::Unreadable { address, length });
        };
        self.left.set(left);
        self.last.set(last);
        self.memory.read(address, buffer)
    }

    fn forget(&self) {
        self.last.set(u64::MAX);
        self.memory.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;
    use crate::memory::{Address, Memory as _};
    use crate::python::image::MemoryImage;

    #[test]
    fn a_search_ends_with_its_pages() {
        let mut image = MemoryImage::default();
        image.write(0x1000, &[1; 0x3000]);
        let bounded = Bounded::new(&image, 3);
        let reads = |address| bounded.read_u64(Address(address)).is_ok();
        // Two pages of three; what lies in the last one costs nothing.
        assert!(reads(0x1ffc) && reads(0x2008) && reads(0x2ff0));
        assert!(reads(0x3000) && !bounded.is_used_up());
        assert!(!reads(0x1000) && bounded.is_used_up());
    }
}
