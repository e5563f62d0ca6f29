//! Searches the data of an image around a known address.

use crate::memory::{Address, Memory};

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
/// Pages that are searched in each direction: twice the data of the largest build of CPython known.
const MAX_PAGES: u64 = 512;

/// Calls `check` with every aligned word around `near`, in pages of growing distance, until it returns something.
///
/// A direction ends where memory ends.
pub(crate) fn scan_data<T>(
    memory: &dyn Memory,
    near: Address,
    mut check: impl FnMut(Address, u64) -> Option<T>,
) -> Option<T> {
    let page = Address(near.0 & !(PAGE_BYTES - 1));
    let (mut is_up_open, mut is_down_open) = (true, true);
    for distance in 0..MAX_PAGES {
        let offset = distance * PAGE_BYTES;
        for (is_open, address) in [
            (&mut is_up_open, page.offset(offset)),
            (&mut is_down_open, page.offset(offset.wrapping_neg())),
        ] {
            if !*is_open {
                continue;
            }
            match scan_page(memory, address, &mut check) {
                None => *is_open = false,
                Some(Some(found)) => return Some(found),
                Some(None) => {}
            }
        }
    }
    None
}

/// `None` where the page cannot be read.
fn scan_page<T>(
    memory: &dyn Memory,
    page: Address,
    check: &mut impl FnMut(Address, u64) -> Option<T>,
) -> Option<Option<T>> {
    let mut bytes = [0; PAGE_BYTES as usize];
    memory.read(page, &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    Some(
        words
            .iter()
            .enumerate()
            .find_map(|(index, word)| check(page.offset(index as u64 * 8), u64::from_le_bytes(*word))),
    )
}
