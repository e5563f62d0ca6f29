//! Tests of versions, and of what interpreters publish about themselves.

use awaitwhat_common::layout::{ABSENT, Layout};
use proptest::prelude::{any, prop, prop_assert, proptest};

use super::asyncio_debug::find;
use super::published::PublishedError;
use super::{KNOWN, KNOWN_MINORS, LayoutError, ManagedDict, Registry, RunningLoop, Table, Version};
use crate::memory::Address;
use crate::python::image::MemoryImage;

const RUNTIME: Address = Address(0x7000_0000);
const V3_13: Version = Version(0x030d_00f0);
const V3_14: Version = Version(0x030e_0af0);
const V3_15: Version = Version(0x030f_02f0);

/// What 3.13.0 has at the start of `_PyRuntime`.
pub(crate) const PUBLISHED_3_13: [&[u64]; 17] = [
    &[u64::from_le_bytes(*b"xdebugpy"), 0x030d_00f0, 0],
    &[283_320, 648, 632],
    &[
        194_968, 7272, 7264, 7344, 7400, 7656, 7640, 7648, 16, 7752, 0, 7760, 7752,
    ],
    &[304, 0, 8, 16, 72, 152, 160, 240, 32],
    &[80, 8, 0, 56, 72, 70],
    &[208, 112, 120, 128, 136, 68, 52, 96, 104, 200],
    &[16, 8],
    &[416, 24, 88, 168],
    &[32, 24, 16],
    &[40, 24, 16],
    &[48, 32, 40],
    &[24, 16],
    &[32, 16, 24],
    &[40, 16, 32],
    &[64, 32, 16, 40],
    &[248, 0],
    &[],
];

/// What 3.14.10 has there.
pub(crate) const PUBLISHED_3_14: [&[u64]; 18] = [
    &[u64::from_le_bytes(*b"xdebugpy"), 0x030e_0af0, 0],
    &[316_616, 792, 808],
    &[
        225_864, 7280, 7272, 7344, 7352, 7408, 7688, 7672, 7680, 16, 7784, 0, 7792, 7784, 200, 0,
    ],
    &[832, 0, 8, 16, 72, 152, 160, 240, 32],
    &[88, 8, 0, 56, 80, 74, 64, 0],
    &[216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0],
    &[16, 8],
    &[416, 24, 88, 168],
    &[40, 32, 16],
    &[40, 24, 16],
    &[200, 24, 40, 32],
    &[48, 32, 40],
    &[24, 16],
    &[32, 16, 24],
    &[40, 16, 32],
    &[64, 32, 16, 40],
    &[248, 0],
    &[160, 24, 72, 67],
];

/// What a free-threaded build of 3.14.10 has there, by its headers (`tests/headers`).
pub(crate) const PUBLISHED_3_14_FREE_THREADED: [&[u64]; 18] = [
    &[u64::from_le_bytes(*b"xdebugpy"), 0x030e_0af0, 1],
    &[365_624, 784, 808],
    &[
        249_976, 7280, 7272, 7344, 7360, 7408, 7712, 7696, 7704, 16, 7808, 0, 7832, 7824, 8024, 17_300,
    ],
    &[832, 0, 8, 16, 72, 152, 160, 232, 32],
    &[88, 8, 0, 56, 80, 78, 64, 72],
    &[240, 128, 136, 144, 152, 84, 68, 112, 120, 232, 224],
    &[32, 24],
    &[432, 40, 104, 184],
    &[56, 48, 32],
    &[56, 40, 32],
    &[216, 40, 56, 48],
    &[64, 48, 56],
    &[40, 32],
    &[48, 32, 40],
    &[56, 32, 48],
    &[80, 48, 32, 56],
    &[288, 192],
    &[176, 40, 88, 83],
];

/// What 3.15.2 has there.
pub(crate) const PUBLISHED_3_15: [&[u64]; 20] = [
    &[u64::from_le_bytes(*b"xdebugpy"), 0x030f_02f0, 0],
    &[346_568, 912, 936],
    &[
        226_240, 7272, 7264, 7336, 7352, 7400, 7592, 7576, 7584, 16, 7736, 0, 7752, 7744, 7944, 0,
    ],
    &[888, 0, 8, 16, 72, 80, 88, 96, 176, 184, 256, 32, 36, 40, 136, 288],
    &[0],
    &[88, 8, 0, 56, 80, 74, 64, 0],
    &[216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0],
    &[16, 8],
    &[424, 24, 88, 168, 32, 288],
    &[944, 888],
    &[40, 32, 16],
    &[40, 24, 16],
    &[200, 24, 40, 32],
    &[48, 32, 40],
    &[24, 16],
    &[32, 16, 24],
    &[40, 16, 32],
    &[64, 32, 16, 40, 56],
    &[176, 112, 120, 1120, 104],
    &[160, 24, 72, 67],
];

/// An image with what is published, and zeros behind it.
pub(crate) fn published(sections: &[&[u64]]) -> MemoryImage {
    let mut image = MemoryImage::default();
    let mut words = sections.concat();
    words.resize(512, 0);
    image.write_words(RUNTIME.0, &words);
    image
}

fn table(sections: &[&[u64]], version: Version) -> Result<Table, LayoutError> {
    Table::for_interpreter(&published(sections), version, RUNTIME)
}

#[test]
fn shows_versions_as_python_does() {
    let shown = |hex| Version::from_hex(hex).to_string();
    assert_eq!(shown(0x030e_0af0), "3.14.10");
    assert_eq!(shown(0x030c_00f0), "3.12.0");
    assert_eq!(shown(0x030f_00b2), "3.15.0b2");
    assert_eq!(shown(0x030d_00c1), "3.13.0rc1");
    assert_eq!(shown(0x030f_00a6), "3.15.0a6");
}

#[test]
fn says_which_versions_it_knows() {
    let ((major, first), (_, last)) = (*KNOWN_MINORS.start(), *KNOWN_MINORS.end());
    assert_eq!(KNOWN, format!("{major}.{first} to {major}.{last}"));
    let none = MemoryImage::default();
    for minor in first..=last {
        let version = Version::from_hex(u32::from_be_bytes([major, minor, 1, 0xf0]));
        let table = Table::for_interpreter(&none, version, RUNTIME);
        let is_known = !matches!(table, Err(LayoutError::UnknownVersion(_)));
        assert!(is_known, "{version}");
    }
}

#[test]
fn refuses_versions_that_it_does_not_know() {
    for hex in [0x0306_0ff0, 0x0310_00a1, 0x0400_00f0, u32::MAX] {
        let version = Version::from_hex(hex);
        assert_eq!(
            table(&[], version).err(),
            Some(LayoutError::UnknownVersion(version))
        );
    }
}

#[test]
fn believes_what_is_published() {
    let table_3_13 = table(&PUBLISHED_3_13, V3_13).expect("it is well-formed");
    assert_eq!(table_3_13.offsets.interpreter.modules, 7656);
    assert_eq!(table_3_13.offsets.thread.dict, 128);
    assert_eq!(table_3_13.offsets.running_loop, RunningLoop::ThreadState(304));
    assert_eq!(table_3_13.walk.frame_locals, 72);
    let table_3_14 = table(&PUBLISHED_3_14, V3_14).expect("it is well-formed");
    assert_eq!(table_3_14.offsets.tuple.items, 32);
    assert_eq!(table_3_14.walk.frame_owner, 74);
    assert_eq!(table_3_14.walk.generator_frame, 72);
    // The tables say the same where they say something.
    let (of_3_13, of_3_14) = (super::v3_13::UNPUBLISHED, super::v3_14::UNPUBLISHED);
    let (table_3_15, of_3_15) = (
        table(&PUBLISHED_3_15, V3_15).expect("it is well-formed"),
        super::v3_15::UNPUBLISHED,
    );
    assert_eq!(
        (table_3_15.offsets, table_3_15.walk),
        (of_3_15.offsets, of_3_15.walk)
    );
    assert_eq!(
        (table_3_13.offsets, table_3_13.walk),
        (of_3_13.offsets, of_3_13.walk)
    );
    assert_eq!(
        (table_3_14.offsets, table_3_14.walk),
        (of_3_14.offsets, of_3_14.walk)
    );
}

#[test]
fn moves_what_a_free_threaded_build_does_not_publish() {
    let table = table(&PUBLISHED_3_14_FREE_THREADED, V3_14).expect("it is well-formed");
    let offsets = &table.offsets;
    assert_eq!((offsets.header_bytes(), offsets.object_type), (32, 24));
    assert_eq!(
        (offsets.type_object.basic_size, offsets.type_object.mro),
        (48, 360)
    );
    assert_eq!((offsets.unicode.data, offsets.unicode.kind_shift), (72, 8));
    assert_eq!((offsets.code.flags, offsets.code.copies), (64, Some(224)));
    assert_eq!(offsets.managed_dict, ManagedDict::Inline { before: 8 });
    assert_eq!((table.walk.generator_frame, table.walk.weakref_object), (88, 32));
    // The longer header is there only where it is said to be.
    let mut changed = PUBLISHED_3_14_FREE_THREADED;
    changed[0] = PUBLISHED_3_14[0];
    let error = Table::for_interpreter(&published(&changed), V3_14, RUNTIME).err();
    let expected = PublishedError::Nonsense {
        section: "pyobject",
        size: 32,
        offset: 24,
    };
    assert_eq!(error, Some(LayoutError::Published(expected)));
}

#[test]
fn follows_published_offsets_that_differ() {
    let mut moved = PUBLISHED_3_14;
    moved[3] = &[900, 8, 16, 24, 80, 200, 208, 240, 32];
    moved[4] = &[96, 16, 8, 64, 88, 82, 72, 0];
    let table = table(&moved, V3_14).expect("it is well-formed");
    assert_eq!((table.offsets.thread.next, table.offsets.thread.dict), (16, 176));
    assert_eq!(
        (table.walk.thread_current_frame, table.walk.frame_stack),
        (80, 72)
    );
}

#[test]
fn refuses_published_offsets_that_make_no_sense() {
    let error = |section: usize, words: &[u64], version| {
        let mut changed: Vec<&[u64]> = PUBLISHED_3_14.to_vec();
        changed[section] = words;
        match table(&changed, version) {
            Err(LayoutError::Published(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let header = PUBLISHED_3_14[0];
    let older = Version::from_hex(0x030e_09f0);
    assert_eq!(
        error(0, &[7, 0x030e_0af0, 0], V3_14),
        PublishedError::Cookie { found: 7 }
    );
    assert_eq!(
        error(0, header, older),
        PublishedError::Version {
            interpreter: older,
            published: V3_14
        }
    );
    let cookie = u64::from_le_bytes(*b"xdebugpy");
    assert_eq!(
        error(0, &[cookie, 0x030e_0af0, 2], V3_14),
        PublishedError::FreeThreaded { found: 2 }
    );
    let outside = PublishedError::Nonsense {
        section: "interpreter_frame",
        size: 88,
        offset: 88,
    };
    assert_eq!(error(4, &[88, 8, 0, 56, 80, 88, 64, 0], V3_14), outside);
    let large = PublishedError::Nonsense {
        section: "thread_state",
        size: u64::MAX,
        offset: 0,
    };
    assert_eq!(
        error(3, &[u64::MAX, 0, 8, 16, 72, 152, 160, 240, 32], V3_14),
        large
    );
}

#[test]
fn finds_what_the_asyncio_module_publishes() {
    let mut image = MemoryImage::default();
    // Decoys with the same first word: too large an offset, and one that points into the object's head.
    image.write_words(
        0x9000,
        &[
            168, 136, 168, 108, 109, 128, 152, 225_864, 10_880, 936, 864, 872, 880,
        ],
    );
    image.write_words(
        0x9100,
        &[
            168, 8, 96, 108, 109, 128, 152, 225_864, 10_880, 936, 864, 872, 880,
        ],
    );
    image.write_words(
        0xa7c0,
        &[
            168, 136, 96, 108, 109, 128, 152, 225_864, 10_880, 936, 864, 872, 880,
        ],
    );
    let found = find(&image, Address(0x9abc), 168).expect("it is there");
    assert_eq!(found.interpreter_tasks_head, 10_880);
    assert_eq!((found.thread_running_loop, found.thread_tasks_head), (864, 880));
    let mut walk = Layout {
        task_node: ABSENT,
        ..Layout::default()
    };
    found.apply(&mut walk);
    assert_eq!(
        (
            walk.task_node,
            walk.task_fut_waiter,
            walk.task_state,
            walk.task_cancellations
        ),
        (152, 120, 104, 112)
    );
    assert_eq!(find(&image, Address(0x9abc), 176), None);
}

#[test]
fn knows_the_registry_of_each_version() {
    let registry = |hex| table(&[], Version::from_hex(hex)).map(|table| table.offsets.registry);
    assert_eq!(registry(0x030b_07f0), Ok(Registry::AllTasks));
    assert_eq!(registry(0x030c_01f0), Ok(Registry::ScheduledAndEager));
}

proptest! {
    #[test]
    fn published_offsets_are_total(words in prop::collection::vec(any::<u64>(), 160), section in 0_usize..160) {
        // Well-formed up to a point, garbage from there on.
        for (published, version) in [(PUBLISHED_3_14.concat(), V3_14), (PUBLISHED_3_15.concat(), V3_15)] {
            let mut all = published;
            all.resize(160, 0);
            let all: Vec<u64> = all.into_iter().take(section).chain(words.clone()).collect();
            if let Ok(table) = table(&[&all], version) {
                prop_assert!(table.offsets.thread.next < 16 << 20);
            }
        }
    }
}

#[test]
fn tells_layouts_of_tasks_apart_by_their_size() {
    let sizes = |minor: u32| {
        let version = Version::from_hex(3 << 24 | minor << 16);
        let table = table(&[], version).expect("it publishes nothing");
        assert!(
            table.walk.has_heap_frames(),
            "before 3.11 a frame is an object of its own"
        );
        let tasks = table.offsets.tasks.iter().map(move |task| {
            let mut walk = table.walk;
            task.apply(&mut walk);
            assert!(walk.is_within_bounds(), "3.{minor}, {} bytes", task.size);
            assert!(u64::from(walk.task_coro) < task.size);
            assert_eq!(walk.task_name == ABSENT, minor == 7);
            task.size
        });
        tasks.collect::<Vec<_>>()
    };
    assert_eq!(
        [7, 8, 9, 10].map(sizes),
        [vec![136], vec![144], vec![184], vec![184, 192]]
    );
}
