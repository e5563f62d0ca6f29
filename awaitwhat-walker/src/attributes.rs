//! Attributes of an instance whose dict has to be searched for them (3.7 to 3.10).
//!
//! There, instances of a class share their keys until one of them gets its attributes in another order or loses one; from then on new
//! ones have keys of their own, or share them with some others. But a name in a program is one `str`, which all keys refer to: an
//! entry is told by its key's address.
//!
//! Facts: `Objects/dictobject.c` (`insertdict`, `dictresize`, `make_keys_shared`), `Objects/dict-common.h`. A dict that becomes another
//! size has an empty table until all entries are in it: the number of entries, and whether values are apart, change last. So a search
//! that ends in the middle of a change finds nothing, but never a value of another attribute.

use awaitwhat_common::layout::{Layout, attribute, sized_keys};
use awaitwhat_common::limits::{MAX_ATTRIBUTE_SLOTS, MAX_ATTRIBUTES, WINDOW_BYTES};
use awaitwhat_common::status::TaskStatus;

use crate::walk::{ATTRIBUTE_WORDS, Flow, Walk, phase};

/// Entries that a window holds.
const WINDOW_ENTRIES: u32 = (WINDOW_BYTES / sized_keys::ENTRY) as u32;
// The index has slots of one byte, or of two.
const _: () = assert!(MAX_ATTRIBUTE_SLOTS <= sized_keys::MAX_SHORT_SLOTS);

impl Walk {
    /// Goes on from the head of a dict's keys to the entries; `value` has the pointer to the dict's values so far.
    #[inline(always)]
    pub(crate) fn find_entries(&mut self) -> Flow {
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let slots = self.window().word(sized_keys::SLOTS);
        let count = self.window().word(sized_keys::ENTRY_COUNT);
        if count == 0 {
            // It becomes another size.
            return self.end_task(TaskStatus::Torn);
        }
        let is_power_of_two = slots & slots.wrapping_sub(1) == 0;
        let is_size = (sized_keys::MIN_SLOTS..=MAX_ATTRIBUTE_SLOTS).contains(&slots);
        if !is_power_of_two || !is_size || count > MAX_ATTRIBUTES {
            return self.end_task(TaskStatus::Opaque);
        }
        let index_bytes = slots << u32::from(slots > sized_keys::MAX_BYTE_SLOTS);
        let keys = self.window().base();
        self.entries = keys.wrapping_add(sized_keys::INDEX).wrapping_add(index_bytes);
        self.entry = 0;
        self.entries_left = count;
        if self.value == 0 {
            self.value = self.entries.wrapping_add(sized_keys::VALUE);
            self.value_stride = sized_keys::ENTRY;
        } else {
            self.value_stride = 8;
        }
        self.attributes = [0; ATTRIBUTE_WORDS];
        self.want(self.entries, phase::ENTRY);
        Flow::Continue
    }

    /// Looks at one entry: what the others take, the verifier would have to follow together with this one.
    #[inline(always)]
    pub(crate) fn visit_entry(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        if self.entries_left == 0 {
            self.phase = phase::ATTRIBUTES;
            return Flow::Continue;
        }
        if self.entry == WINDOW_ENTRIES {
            self.entries = self
                .entries
                .wrapping_add(u64::from(WINDOW_ENTRIES) * sized_keys::ENTRY);
            self.entry = 0;
            self.want(self.entries, phase::ENTRY);
            return Flow::Continue;
        }
        let key = self
            .window()
            .word(u64::from(self.entry) * sized_keys::ENTRY + sized_keys::KEY);
        let value = self.value;
        self.entry += 1;
        self.entries_left -= 1;
        self.value = value.wrapping_add(self.value_stride);
        let mut number = 0;
        let mut is_found = false;
        for at in 0..attribute::COUNT {
            let is_it = key != 0 && layout.attribute_names[at] == key;
            number |= at as u32 * u32::from(is_it);
            is_found |= is_it;
        }
        if is_found {
            self.attribute = number;
            self.want_word(value, phase::ENTRY_VALUE);
        }
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn take_entry_value(&mut self) -> Flow {
        self.attributes[self.attribute as usize & (ATTRIBUTE_WORDS - 1)] = self.word;
        self.phase = phase::ENTRY;
        Flow::Continue
    }
}
