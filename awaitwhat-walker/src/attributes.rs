//! Attributes of an instance whose dict has to be searched for them.
//!
//! Until 3.10 instances of a class share their keys until one of them gets its attributes in another order or loses one; from then on new
//! ones have keys of their own, or share them with some others. From 3.11 on they share them as long as there are no more than 30, and
//! nobody gives one another dict. But a name in a program is one `str`, which all keys refer to: an entry is told by its key's
//! address.
//!
//! Facts: `Objects/dictobject.c` (`insertdict`, `dictresize`, `make_keys_shared`), `Objects/dict-common.h`; since 3.11
//! `Include/internal/pycore_dict.h`. A dict that becomes another size has an empty table until all entries are in it: their number changes
//! last. Values that were apart have the order of the new entries until 3.10. Since then they have not, but keys tell whether their
//! values are apart, and have to agree with the dict. So a search that ends in the middle of a change finds nothing, but never a value
//! of another attribute.

use awaitwhat_common::layout::{
    ENTRY, KEY_BEFORE_END, Layout, UNICODE_ENTRY, VALUE_BEFORE_END, attribute, keys_of_kinds, quirks,
    sized_keys,
};
use awaitwhat_common::limits::{MAX_ATTRIBUTE_SLOTS, MAX_ATTRIBUTES, WINDOW_BYTES};
use awaitwhat_common::status::TaskStatus;

use crate::walk::{ATTRIBUTE_WORDS, Flow, Walk, phase};

// The index has slots of one byte, or of two.
const _: () = assert!(MAX_ATTRIBUTE_SLOTS <= sized_keys::MAX_SHORT_SLOTS);

/// What the head of a dict's keys says.
struct Head {
    count: u64,
    /// Where the entries begin.
    entries: u64,
    entry_bytes: u64,
    /// Whether it can be the head of such keys.
    is_possible: bool,
    /// Whether it agrees with the dict on where the values are.
    agrees: bool,
}

impl Walk {
    /// Goes on from the head of a dict's keys to the entries; `value` has the pointer to the dict's values so far.
    #[inline(always)]
    pub(crate) fn find_entries(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let is_split = self.value != 0;
        let head = if layout.quirks & quirks::SIZED_KEYS == 0 {
            self.head_of_kind(is_split)
        } else {
            self.head_of_size()
        };
        if !head.is_possible || head.count > MAX_ATTRIBUTES {
            return self.end_task(TaskStatus::Opaque);
        }
        if head.count == 0 || !head.agrees {
            // It becomes another size.
            return self.end_task(TaskStatus::Torn);
        }
        self.entries = self.window().base().wrapping_add(head.entries);
        self.entry = 0;
        self.entry_bytes = head.entry_bytes;
        self.entries_left = head.count;
        if is_split {
            let first_value = u64::from(self.shape(layout).first_value);
            self.value = self.value.wrapping_add(first_value);
            self.value_stride = 8;
        } else {
            self.value = self.entries.wrapping_add(head.entry_bytes - VALUE_BEFORE_END);
            self.value_stride = head.entry_bytes;
        }
        self.attributes = [0; ATTRIBUTE_WORDS];
        self.want(self.entries, phase::ENTRY);
        Flow::Continue
    }

    #[inline(always)]
    fn head_of_size(&self) -> Head {
        let slots = self.window().word(sized_keys::SLOTS);
        let is_power_of_two = slots & slots.wrapping_sub(1) == 0;
        let index_bytes = slots << u32::from(slots > sized_keys::MAX_BYTE_SLOTS);
        Head {
            count: self.window().word(sized_keys::ENTRY_COUNT),
            entries: index_bytes.wrapping_add(sized_keys::INDEX),
            entry_bytes: ENTRY,
            is_possible: is_power_of_two && (sized_keys::MIN_SLOTS..=MAX_ATTRIBUTE_SLOTS).contains(&slots),
            agrees: true,
        }
    }

    #[inline(always)]
    fn head_of_kind(&self, is_split: bool) -> Head {
        let window = self.window();
        let log2_slots = window.byte(keys_of_kinds::LOG2_SLOTS);
        let log2_index_bytes = window.byte(keys_of_kinds::LOG2_INDEX_BYTES);
        let kind = window.byte(keys_of_kinds::KIND);
        let log2_slot_bytes = u8::from(log2_slots >= keys_of_kinds::MIN_LOG2_SHORT_SLOTS);
        let sizes = keys_of_kinds::MIN_LOG2_SLOTS..=MAX_ATTRIBUTE_SLOTS.ilog2() as u8;
        Head {
            count: window.word(keys_of_kinds::ENTRY_COUNT),
            entries: (1_u64 << (log2_index_bytes & 63)) + keys_of_kinds::INDEX,
            entry_bytes: if kind == keys_of_kinds::GENERAL {
                ENTRY
            } else {
                UNICODE_ENTRY
            },
            is_possible: sizes.contains(&log2_slots)
                && log2_index_bytes == log2_slots.wrapping_add(log2_slot_bytes)
                && kind <= keys_of_kinds::SPLIT,
            agrees: is_split == (kind == keys_of_kinds::SPLIT),
        }
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
        let end = self.entry.wrapping_add(self.entry_bytes);
        if end > WINDOW_BYTES {
            self.entries = self.entries.wrapping_add(self.entry);
            self.entry = 0;
            self.want(self.entries, phase::ENTRY);
            return Flow::Continue;
        }
        let key = self.window().word(end.wrapping_sub(KEY_BEFORE_END));
        let value = self.value;
        self.entry = end;
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
