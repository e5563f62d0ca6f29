//! Tests of the readers over synthetic objects, well-formed and hostile.

use super::image::Heap;
use super::sequence::MAX_ITEMS;
use super::str::MAX_CHARACTERS;
use super::{ReadError, Text};
use crate::layout::{ManagedDict, Offsets, Table, Version};
use crate::memory::{Address, Fragment};
use crate::python::image::MemoryImage;

/// Flags of a type made by `class`: heap type with a managed dict, and with values in its instances.
const HEAP_TYPE: u64 = 1 << 9;
const MANAGED: u64 = HEAP_TYPE | 1 << 4;
const INLINE: u64 = MANAGED | 1 << 2;

fn offsets(minor: u32) -> Offsets {
    let version = Version::from_hex(3 << 24 | minor << 16 | 0xf0);
    let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
    table
        .map(|table| table.offsets)
        .expect("up to 3.12 they publish nothing")
}

fn heap() -> Heap {
    Heap::new(offsets(12))
}

fn shown(heap: &Heap, object: Address) -> Result<String, ReadError> {
    heap.objects().text(object).map(Text::into_shown)
}

#[test]
fn reads_text_of_every_width() {
    let mut heap = heap();
    let ascii = heap.text("plain");
    let latin = heap.wide_text(4, 1, false, &[b'c', b'a', b'f', 0xe9]);
    let two: Vec<u8> = "日本\u{202e}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let two = heap.wide_text(3, 2, false, &two);
    let four = heap.wide_text(1, 4, false, &0x1f3b5_u32.to_le_bytes());
    assert_eq!(shown(&heap, ascii), Ok("plain".to_owned()));
    assert_eq!(shown(&heap, latin), Ok("café".to_owned()));
    assert_eq!(shown(&heap, two), Ok("日本\u{202e}".to_owned()));
    assert_eq!(shown(&heap, four), Ok("🎵".to_owned()));
}

#[test]
fn reads_text_of_subclasses_of_str() {
    let mut heap = heap();
    let data = heap.allocate(16);
    heap.image.write(data.0, b"apart");
    let object = heap.object(heap.types.unicode, 64);
    heap.set(object, heap.offsets.unicode.length, 5);
    heap.image.write(
        object.0 + heap.offsets.unicode.state,
        &(1_u32 << 2 | 1 << 6).to_le_bytes(),
    );
    heap.set(object, heap.offsets.unicode.data, data.0);
    assert_eq!(shown(&heap, object), Ok("apart".to_owned()));
}

#[test]
fn reads_text_of_a_free_threaded_build() {
    let mut heap = heap();
    heap.offsets.unicode.kind_shift = 8;
    let plain = heap.text("plain");
    let wide = heap.wide_text(2, 2, false, &[0xe5, 0x65, 0x2c, 0x67]);
    // What is interned says so in a byte of its own.
    heap.image.write(plain.0 + heap.offsets.unicode.state, &[3]);
    assert_eq!(shown(&heap, plain), Ok("plain".to_owned()));
    assert_eq!(shown(&heap, wide), Ok("日本".to_owned()));
}

#[test]
fn replaces_what_is_no_character_and_cuts_what_is_long() {
    let mut heap = heap();
    let surrogate = heap.wide_text(1, 2, false, &0xd800_u16.to_le_bytes());
    let long = heap.text(&"x".repeat(MAX_CHARACTERS as usize + 1));
    assert_eq!(shown(&heap, surrogate), Ok("\u{fffd}".to_owned()));
    let text = heap.objects().text(long).expect("it is well-formed");
    assert!(text.is_cut);
    assert_eq!(text.text.len(), MAX_CHARACTERS as usize);
}

#[test]
fn refuses_text_of_impossible_width_or_length() {
    let mut heap = heap();
    for (length, width) in [(1, 3), (1, 0), (u64::MAX, 1)] {
        let object = heap.wide_text(length, width, false, &[0; 16]);
        assert_eq!(
            heap.objects().text(object),
            Err(ReadError::Malformed {
                what: "str",
                address: object
            })
        );
    }
}

#[test]
fn reads_integers() {
    for minor in [11, 12] {
        let mut heap = Heap::new(offsets(minor));
        let mut integer = |digits: &[u32], is_negative: bool| {
            let object = heap.object(heap.types.long, 48);
            let count = digits.len() as u64;
            let tag = match (minor, is_negative) {
                (11, false) => count,
                (11, true) => count.wrapping_neg(),
                (_, false) => count << 3 | u64::from(count == 0),
                (_, true) => count << 3 | 2,
            };
            heap.set(object, heap.offsets.long.tag, tag);
            for (index, digit) in digits.iter().enumerate() {
                heap.image.write(
                    object.0 + heap.offsets.long.digits + index as u64 * 4,
                    &digit.to_le_bytes(),
                );
            }
            heap.objects().integer(object)
        };
        assert_eq!(integer(&[], false), Ok(Some(0)));
        assert_eq!(integer(&[42], false), Ok(Some(42)));
        assert_eq!(integer(&[7], true), Ok(Some(-7)));
        assert_eq!(integer(&[5, 1], false), Ok(Some((1 << 30) + 5)));
        assert_eq!(integer(&[0, 0, 8], true), Ok(Some(i64::MIN)));
        assert_eq!(integer(&[0, 0, 8], false), Ok(None));
        assert_eq!(integer(&[1; 4], false), Ok(None));
    }
}

#[test]
fn finds_items_of_dicts() {
    let mut heap = heap();
    let dict = heap.dict(&[("first", Address(1)), ("second", Address(2))]);
    let objects = heap.objects();
    assert_eq!(objects.dict_get(dict, "second"), Ok(Some(Address(2))));
    assert_eq!(objects.dict_get(dict, "third"), Ok(None));
    let values: Vec<u64> = objects
        .dict_items(dict)
        .expect("it is well-formed")
        .iter()
        .map(|(_, value)| value.0)
        .collect();
    assert_eq!(values, [1, 2]);
}

/// A dict in which a key is searched again and again is not read from end to end each time, and tells what it has at the moment.
#[test]
fn finds_items_again_after_a_dict_has_changed() {
    let mut heap = heap();
    let [name, other] = ["name", "other"].map(|text| heap.text(text).0);
    let dict = heap.object(heap.types.dict, 48);
    let set = |heap: &mut Heap, count, words: &[u64]| {
        let keys = heap.keys(1, count, words);
        heap.set(dict, heap.offsets.dict.keys, keys.0);
        keys
    };
    let mut known = None;
    let mut find = |heap: &Heap| heap.objects().dict_get_again(dict, "name", &mut known);
    set(&mut heap, 1, &[other, 1]);
    assert_eq!(find(&heap), Ok(None));
    assert_eq!(find(&heap), Ok(None));
    let keys = set(&mut heap, 2, &[other, 1, name, 2]);
    assert_eq!(find(&heap), Ok(Some(Address(2))));
    // Another value, then none: a key that is deleted leaves an empty entry. The second entry is behind the header, the index, and the first.
    let entry = keys.offset(32 + 8 + 16);
    for ([key, value], expected) in [([name, 3], Some(Address(3))), ([0, 0], None)] {
        heap.set(entry, 0, key);
        heap.set(entry, 8, value);
        assert_eq!(find(&heap), Ok(expected));
    }
    set(&mut heap, 2, &[name, 5, other, 1]);
    assert_eq!(find(&heap), Ok(Some(Address(5))));
}

#[test]
fn finds_items_of_dicts_whose_keys_are_not_all_text() {
    let mut heap = heap();
    let text = heap.text("name").0;
    let garbage = 0xdead_0000;
    let keys = heap.keys(0, 4, &[5, garbage, 9, 6, text, 7, 0, 0, 0, 1, text, 8]);
    let dict = heap.object(heap.types.dict, 48);
    heap.set(dict, heap.offsets.dict.keys, keys.0);
    assert_eq!(heap.objects().dict_get(dict, "name"), Ok(Some(Address(7))));
}

fn refuses_keys(heap: &mut Heap, keys: Address) {
    let dict = heap.object(heap.types.dict, 48);
    heap.set(dict, heap.offsets.dict.keys, keys.0);
    let malformed = ReadError::Malformed {
        what: "dict",
        address: keys,
    };
    assert_eq!(heap.objects().dict_get(dict, "name"), Err(malformed));
}

#[test]
fn refuses_dicts_with_absurd_counts_or_kinds() {
    let mut heap = heap();
    for (kind, count) in [(1, u64::MAX), (0, 1 << 40), (9, 1)] {
        let keys = heap.keys(kind, count, &[0; 4]);
        refuses_keys(&mut heap, keys);
    }
}

#[test]
fn finds_items_of_dicts_that_say_how_many_slots_their_index_has() {
    for minor in 7..=10 {
        let mut heap = Heap::new(offsets(minor));
        let [first, second] = ["first", "second"].map(|text| heap.text(text));
        let items = [
            (first, Address(1)),
            (Address::NULL, Address::NULL),
            (second, Address(2)),
        ];
        let keys = heap.sized_keys(16, &items);
        let dict = heap.object(heap.types.dict, 48);
        heap.set(dict, heap.offsets.dict.keys, keys.0);
        assert_eq!(heap.objects().dict_get(dict, "second"), Ok(Some(Address(2))));
        assert_eq!(heap.objects().dict_key(dict, "second"), Ok(Some(second)));
        assert_eq!(heap.objects().dict_key(dict, "third"), Ok(None));
        let values = heap.allocate(24);
        heap.image.write_words(values.0, &[3, 0, 0]);
        heap.set(dict, heap.offsets.dict.values, values.0);
        assert_eq!(heap.objects().dict_get(dict, "first"), Ok(Some(Address(3))));
        assert_eq!(heap.objects().dict_get(dict, "second"), Ok(None));
    }
}

#[test]
fn refuses_dicts_with_an_impossible_index() {
    let mut heap = Heap::new(offsets(9));
    for (slots, count) in [(0, 0), (12, 1), (1 << 32, 1), (8, 9), (8, u64::MAX)] {
        let keys = heap.sized_keys(8, &[(Address(1), Address(2))]);
        heap.image.write_words(keys.0 + 8, &[slots, 0, 0, count]);
        refuses_keys(&mut heap, keys);
    }
}

#[test]
fn finds_the_names_of_attributes_in_an_instance_or_its_classes() {
    let mut heap = Heap::new(offsets(9));
    let mut names = ["_coro", "_state", "_loop"].map(|text| heap.text(text));
    let [coro, state, event_loop] = &mut names;
    // Nothing says that a name which is not interned is the one of other instances too.
    for name in [&mut *coro, &mut *state] {
        *name = heap.intern(*name);
    }
    let mut with_items = |items: &[(Address, Address)]| {
        let keys = heap.sized_keys(8, items);
        let dict = heap.object(heap.types.dict, 48);
        heap.set(dict, heap.offsets.dict.keys, keys.0);
        dict
    };
    let of_class = with_items(&[(*coro, Address(1)), (*state, Address(2))]);
    let of_instance = with_items(&[(*event_loop, Address(3)), (*coro, Address(4))]);
    let base = heap.new_type("Future", HEAP_TYPE, 32);
    heap.set(base, heap.offsets.type_object.dict_offset - 24, of_class.0);
    let type_object = heap.new_type("Task", HEAP_TYPE, 32);
    heap.set(type_object, heap.offsets.type_object.dict_offset, 16);
    let order = heap.tuple(&[type_object, base]);
    heap.set(type_object, heap.offsets.type_object.mro, order.0);
    let task = heap.object(type_object, 32);
    heap.set(task, 16, of_instance.0);
    let objects = heap.objects();
    assert_eq!(objects.attribute_name(task, "_coro"), Ok(Some(*coro)));
    assert_eq!(objects.attribute_name(task, "_state"), Ok(Some(*state)));
    assert_eq!(objects.attribute_name(task, "_loop"), Ok(None));
    assert_eq!(objects.attribute_name(task, "_name"), Ok(None));
    assert_eq!(objects.is_interned(*coro, "_coro"), Ok(true));
    assert_eq!(objects.is_interned(*coro, "_loop"), Ok(false));
    assert_eq!(objects.is_interned(*event_loop, "_loop"), Ok(false));
}

#[test]
fn believes_only_a_place_of_the_dict_within_an_instance() {
    let mut heap = Heap::new(offsets(9));
    let type_object = heap.new_type("Task", HEAP_TYPE, 32);
    for (dict_offset, expected) in [
        (16, Some(16)),
        (0, None),
        (20, None),
        (-8_i64 as u64, None),
        (1 << 15, None),
    ] {
        heap.set(type_object, heap.offsets.type_object.dict_offset, dict_offset);
        assert_eq!(heap.objects().dict_pointer(type_object), Ok(expected));
    }
}

/// An instance with room for four words before it.
fn instance(heap: &mut Heap, flags: u64) -> (Address, Address) {
    let type_object = heap.new_type("Thing", flags, 16);
    let name = heap.text("data").0;
    let keys = heap.keys(2, 1, &[name, 0]);
    heap.set(type_object, heap.offsets.type_object.cached_keys, keys.0);
    let before = heap.allocate(112);
    let object = before.offset(32);
    heap.set(object, heap.offsets.object_type, type_object.0);
    (before, object)
}

#[test]
fn finds_the_names_of_attributes_among_the_keys_that_instances_share() {
    let offsets = Offsets {
        managed_dict: ManagedDict::Inline { before: 24 },
        ..offsets(12)
    };
    let mut heap = Heap::new(offsets);
    let (_, object) = instance(&mut heap, INLINE);
    let type_object = heap.objects().type_of(object).expect("an object has a type");
    let order = heap.tuple(&[]);
    heap.set(type_object, heap.offsets.type_object.mro, order.0);
    assert_eq!(heap.objects().attribute_name(object, "data"), Ok(None));
    let shared = heap.objects().shared_attributes(type_object);
    let keys = shared.expect("a class").expect("shared keys").keys;
    let name = heap.objects().shared_key(keys, "data");
    let name = name.expect("keys").expect("a key");
    heap.intern(name);
    assert_eq!(heap.objects().attribute_name(object, "data"), Ok(Some(name)));
    assert_eq!(heap.objects().attribute_name(object, "other"), Ok(None));
}

#[test]
fn knows_whether_instances_have_values_in_themselves() {
    for (flags, inline_values) in [(INLINE, Some(16)), (MANAGED, None)] {
        let offsets = Offsets {
            managed_dict: ManagedDict::Inline { before: 24 },
            ..offsets(12)
        };
        let mut heap = Heap::new(offsets);
        let (_, object) = instance(&mut heap, flags);
        let objects = heap.objects();
        let type_object = objects.type_of(object).expect("an object has a type");
        let shared = objects.shared_attributes(type_object);
        let shared = shared.expect("a class").expect("shared keys");
        assert_eq!(shared.inline_values, inline_values);
        assert_eq!((shared.values_pointer, shared.dict_pointer), (0, -24));
    }
}

#[test]
fn finds_attributes_in_every_place() {
    for (minor, managed) in [
        (11, ManagedDict::Pointers),
        (12, ManagedDict::Tagged),
        (12, ManagedDict::Inline { before: 24 }),
        (12, ManagedDict::Inline { before: 8 }),
    ] {
        let offsets = Offsets {
            managed_dict: managed,
            ..offsets(minor)
        };
        let mut heap = Heap::new(offsets);
        let (before, object) = instance(
            &mut heap,
            if matches!(managed, ManagedDict::Inline { .. }) {
                INLINE
            } else {
                MANAGED
            },
        );
        assert_eq!(
            heap.objects().attribute(object, "data"),
            Ok(None),
            "{managed:?} without values"
        );
        let values = heap.allocate(16);
        heap.image.write_words(values.0, &[77]);
        match managed {
            ManagedDict::None => unreachable!("it has no instances of this kind"),
            ManagedDict::Pointers => heap.set(before, 0, values.0),
            ManagedDict::Tagged => heap.set(before, 8, values.0 - 1),
            ManagedDict::Inline { .. } => {
                heap.offsets.dict.first_value = 8;
                // Capacity, size, embedded, valid; then the value.
                heap.image.write(object.0 + 16, &[1, 1, 1, 1]);
                heap.set(object, 24, 77);
            }
        }
        assert_eq!(
            heap.objects().attribute(object, "data"),
            Ok(Some(Address(77))),
            "{managed:?}"
        );
        let dict = heap.dict(&[("data", Address(88))]);
        if managed == ManagedDict::Pointers {
            heap.set(before, 0, 0);
        }
        let pointer = match managed {
            ManagedDict::Inline { before } => 32 - before,
            ManagedDict::None | ManagedDict::Pointers | ManagedDict::Tagged => 8,
        };
        heap.set(before, pointer, dict.0);
        assert_eq!(
            heap.objects().attribute(object, "data"),
            Ok(Some(Address(88))),
            "{managed:?} with a dict"
        );
    }
}

#[test]
fn finds_attributes_in_an_ordinary_dict() {
    let mut heap = heap();
    let type_object = heap.new_type("Thing", HEAP_TYPE, 32);
    heap.set(type_object, heap.offsets.type_object.dict_offset, 16);
    let object = heap.object(type_object, 32);
    assert_eq!(heap.objects().attribute(object, "data"), Ok(None));
    let dict = heap.dict(&[("data", Address(9))]);
    heap.set(object, 16, dict.0);
    assert_eq!(heap.objects().attribute(object, "data"), Ok(Some(Address(9))));
}

#[test]
fn finds_attributes_of_modules_only() {
    let mut heap = heap();
    let dict = heap.dict(&[("Task", Address(9))]);
    let type_object = heap.new_type("Proxy", 0, 32);
    let (module, other) = (heap.object(heap.types.module, 64), heap.object(type_object, 64));
    for object in [module, other] {
        heap.set(object, heap.offsets.module.dict, dict.0);
    }
    let objects = heap.objects();
    assert_eq!(objects.module_attribute(module, "Task"), Ok(Some(Address(9))));
    assert_eq!(objects.module_attribute(module, "Future"), Ok(None));
    assert_eq!(objects.module_attribute(other, "Task"), Ok(None));
}

#[test]
fn reads_sequences() {
    let mut heap = heap();
    let items = [Address(3), Address(5)];
    let (list, tuple) = (heap.list(&items), heap.tuple(&items));
    let objects = heap.objects();
    assert_eq!(objects.first_list_items(list, 9), Ok(items.to_vec()));
    assert_eq!(objects.first_tuple_items(tuple, 9), Ok(items.to_vec()));
    assert_eq!(objects.first_list_items(list, 1), Ok(vec![Address(3)]));
    assert_eq!(objects.first_tuple_items(tuple, 1), Ok(vec![Address(3)]));
}

#[test]
fn reads_the_keys_that_are_in_a_set() {
    let mut heap = heap();
    let header = heap.offsets.header_bytes();
    let (set, table) = (heap.allocate(200), heap.allocate(64));
    // Two keys, one that was removed, and a place that nothing was in.
    for (index, word) in [3, 30, 9, u64::MAX, 0, 0, 5, 50].into_iter().enumerate() {
        heap.set(table, index as u64 * 8, word);
    }
    for (index, word) in [3, 2, 3, table.0].into_iter().enumerate() {
        heap.set(set, header + index as u64 * 8, word);
    }
    let objects = heap.objects();
    assert_eq!(objects.first_set_items(set, 9), Ok(vec![Address(3), Address(5)]));
    assert_eq!(objects.first_set_items(set, 2), Ok(vec![Address(3)]));
    heap.set(set, header + 16, MAX_ITEMS + 1);
    heap.objects()
        .first_set_items(set, 9)
        .expect_err("its table is absurd");
}

#[test]
fn refuses_sequences_of_absurd_sizes() {
    let mut heap = heap();
    let list = heap.list(&[]);
    heap.set(list, heap.offsets.list.size, MAX_ITEMS + 1);
    assert_eq!(
        heap.objects().first_list_items(list, 1),
        Err(ReadError::Malformed {
            what: "list",
            address: list
        })
    );
}

#[test]
fn names_types_and_tells_subtypes() {
    let mut heap = heap();
    let base = heap.new_type("_asyncio.Future", 0, 16);
    let derived = heap.new_type("Traced", 0, 16);
    let mro = heap.tuple(&[derived, base]);
    heap.set(derived, heap.offsets.type_object.mro, mro.0);
    let objects = heap.objects();
    assert_eq!(objects.type_name(base), Ok("Future".to_owned()));
    assert_eq!(objects.full_type_name(base), Ok("_asyncio.Future".to_owned()));
    assert_eq!(objects.is_subtype(derived, base), Ok(true));
    assert_eq!(objects.is_subtype(base, derived), Ok(false));
}

#[test]
fn ends_a_type_name_without_end() {
    let mut heap = heap();
    let endless = heap.new_type(&"x".repeat(4000), 0, 16);
    let malformed = ReadError::Malformed {
        what: "type",
        address: endless,
    };
    assert_eq!(heap.objects().full_type_name(endless), Err(malformed));
}

#[test]
fn names_tasks_by_text_number_and_anything_else() {
    let mut heap = heap();
    let base = |heap: &mut Heap, type_object: Address, name: &str| {
        let text = heap.allocate(16);
        heap.image.write(text.0, name.as_bytes());
        heap.set(type_object, heap.offsets.type_object.name, text.0);
    };
    let types = heap.types;
    base(&mut heap, types.list, "list");
    heap.set(types.list, heap.offsets.object_type, types.type_type.0);
    let text = heap.text("worker");
    let number = heap.object(types.long, 32);
    heap.set(number, heap.offsets.long.tag, 1 << 3);
    heap.set(number, heap.offsets.long.digits, 17);
    let list = heap.list(&[]);
    let objects = heap.objects();
    let name = |start: Address| {
        let mut bytes = [0; 64];
        objects.memory.read(start, &mut bytes).unwrap();
        objects.task_name(Fragment { start, bytes: &bytes })
    };
    assert_eq!(name(text), Ok("worker".to_owned()));
    assert_eq!(name(number), Ok("Task-17".to_owned()));
    assert_eq!(name(list), Ok(format!("<list object at {list}>")));
}
