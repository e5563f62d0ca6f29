//! The readers of `python/`, and of code objects.

use awaitwhat_fuzz::{Choices, Place, Reached, Target};

use super::hostile::{Hostile, MAX_HELD_BYTES};
use super::world::{Kind, World};
use crate::memory::{Address, Fragment};
use crate::python::frame::{Chain, FrameAddress};
use crate::python::trio::TrioVisit;
use crate::python::{Objects, ReadError};
use crate::reading::ends::{Kinds, Suspension};
use crate::snapshot::FrameKind;
use crate::symbolize::CodeCache;
use crate::testing::frame;

/// Attributes and variables that are looked for.
const NAMES: [&str; 5] = ["data", "first", "self", "_state", "missing"];
/// Where a waiting task may be, of what `ends` knows.
const INNERMOST: [(&str, &str); 7] = [
    ("TaskGroup._aexit", "/lib/asyncio/taskgroups.py"),
    ("_wait", "/lib/asyncio/tasks.py"),
    ("wait_for", "/lib/asyncio/tasks.py"),
    ("Queue.get", "/lib/asyncio/queues.py"),
    ("TaskGroup.__aexit__", "/lib/anyio/_backends/_asyncio.py"),
    ("sleep", "/lib/asyncio/tasks.py"),
    ("main", "/srv/app.py"),
];

/// Runs a target over the memory of every version.
pub(super) fn run(
    name: &'static str,
    executions: u64,
    places: &[Place],
    read: impl Fn(&World, &Hostile, &mut Choices<'_>, &mut Reached),
) {
    let worlds = World::every();
    let target = Target {
        name,
        executions,
        max_bytes: MAX_HELD_BYTES,
        places,
    };
    target.run(|choices, reached| {
        let version = choices.below(worlds.len());
        let world = &worlds[version];
        let memory = world.memory(choices);
        reached.note("version", version as u32);
        for _ in 0..=choices.below(4) {
            read(world, &memory, choices, reached);
        }
    });
}

/// The name of a task, of what a record would have of the object at `start`.
fn name_at(objects: &Objects<'_>, start: Address) -> Result<String, ReadError> {
    let mut bytes = [0; 64];
    objects.memory.read(start, &mut bytes)?;
    objects.task_name(Fragment { start, bytes: &bytes })
}

#[test]
fn fuzz_text() {
    let places = [
        ("text", 0),
        ("text", 1),
        ("text", 2),
        ("text", 3),
        ("is_interned", 0),
    ];
    run("text", 8000, &places, |world, memory, choices, reached| {
        let (objects, text) = (world.objects(memory), world.pick(choices, Kind::Text));
        memory.call(reached, "text", || objects.text(text));
        memory.call(reached, "is_interned", || objects.is_interned(text, "worker"));
        memory.call(reached, "task_name", || name_at(&objects, text));
    });
}

#[test]
fn fuzz_numbers() {
    let places = [
        ("integer", 0),
        ("bytes", 0),
        ("bytes", 3),
        ("task_name", 0),
        ("task_name", 1),
    ];
    run("numbers", 4000, &places, |world, memory, choices, reached| {
        let objects = world.objects(memory);
        let (number, bytes) = (
            world.pick(choices, Kind::Number),
            world.pick(choices, Kind::Bytes),
        );
        memory.call(reached, "integer", || objects.integer(number));
        memory.call(reached, "task_name", || name_at(&objects, number));
        memory.call(reached, "bytes", || objects.bytes(bytes, 1 << 20));
    });
}

#[test]
fn fuzz_dicts() {
    let places = [
        ("dict_get", 0),
        ("dict_get", 1),
        ("dict_get", 2),
        ("dict_get", 3),
        ("found", 0),
        ("found", 1),
        ("found again", 1),
        ("dict_items", 0),
        ("dict_items", 3),
    ];
    run("dicts", 4000, &places, |world, memory, choices, reached| {
        let (objects, dict) = (world.objects(memory), world.pick(choices, Kind::Dict));
        let name = choices.pick(&NAMES);
        let found = memory.call(reached, "dict_get", || objects.dict_get(dict, name));
        reached.note_option("found", &found.flatten());
        let mut known = None;
        for _ in 0..2 {
            let found = memory.call(reached, "dict_get_again", || {
                objects.dict_get_again(dict, name, &mut known)
            });
            reached.note_option("found again", &found.flatten());
        }
        memory.call(reached, "dict_items", || objects.dict_items(dict));
    });
}

#[test]
fn fuzz_sequences() {
    let places = [
        ("first_list_items", 0),
        ("first_list_items", 3),
        ("first_tuple_items", 0),
        ("first_tuple_items", 3),
    ];
    run("sequences", 4000, &places, |world, memory, choices, reached| {
        let (objects, sequence) = (world.objects(memory), world.pick(choices, Kind::Sequence));
        memory.call(reached, "first_list_items", || {
            objects.first_list_items(sequence, 1 << 20)
        });
        memory.call(reached, "first_tuple_items", || {
            objects.first_tuple_items(sequence, 1 << 20)
        });
    });
}

#[test]
fn fuzz_instances() {
    let places = [
        ("attribute", 0),
        ("attribute", 1),
        ("attribute", 3),
        ("found", 0),
        ("found", 1),
        ("member", 0),
        ("slot", 0),
        ("attribute_name", 0),
        ("name found", 1),
        ("shared_attributes", 0),
        ("module_attribute", 0),
        ("dict_pointer", 0),
    ];
    run("instances", 4000, &places, |world, memory, choices, reached| {
        let objects = world.objects(memory);
        let (object, module) = (
            world.pick(choices, Kind::Instance),
            world.pick(choices, Kind::Module),
        );
        let (class, name) = (world.pick(choices, Kind::Class), choices.pick(&NAMES));
        let found = memory.call(reached, "attribute", || objects.attribute(object, name));
        reached.note_option("found", &found.flatten());
        memory.call(reached, "member", || objects.member(object, name));
        let found = memory.call(reached, "attribute_name", || objects.attribute_name(object, name));
        reached.note_option("name found", &found.flatten());
        memory.call(reached, "slot", || objects.slot(class, name));
        memory.call(reached, "dict_pointer", || objects.dict_pointer(class));
        memory.call(reached, "module_attribute", || {
            objects.module_attribute(module, name)
        });
        let shared = memory.call(reached, "shared_attributes", || objects.shared_attributes(class));
        if let Some(Some(shared)) = shared {
            memory.call(reached, "shared_attribute", || {
                objects.shared_attribute(&shared, name)
            });
        }
    });
}

#[test]
fn fuzz_types() {
    let places = [
        ("full_type_name", 0),
        ("full_type_name", 1),
        ("full_type_name", 3),
        ("is_subtype", 0),
        ("is_type", 0),
        ("object_members", 0),
    ];
    run("types", 16_000, &places, |world, memory, choices, reached| {
        let objects = world.objects(memory);
        let (class, base) = (world.pick(choices, Kind::Class), world.pick(choices, Kind::Class));
        memory.call(reached, "full_type_name", || objects.full_type_name(class));
        memory.call(reached, "is_subtype", || objects.is_subtype(class, base));
        memory.call(reached, "is_type", || objects.is_type(class));
        memory.call(reached, "object_members", || objects.object_members(class));
    });
}

#[test]
fn fuzz_frames() {
    let places = [
        ("chain", 0),
        ("chain", 1),
        ("chain", 3),
        ("objects", 4),
        ("local", 0),
        ("local found", 1),
    ];
    run("frames", 4000, &places, |world, memory, choices, reached| {
        let (frames, coroutine) = (world.frames(memory), world.pick(choices, Kind::Coroutine));
        let name = choices.pick(&NAMES);
        memory.call(reached, "chain_frames", || frames.chain_frames(coroutine));
        let chain = memory.call(reached, "chain", || frames.chain(coroutine));
        if let Some(Chain {
            innermost: Some(frame),
            objects,
            ..
        }) = chain
        {
            reached.note("objects", objects);
            let found = memory.call(reached, "local", || frames.local(frame, name));
            reached.note_option("local found", &found.flatten());
        }
    });
}

#[test]
fn fuzz_thread_local() {
    let places = [
        ("thread_local", 0),
        ("thread_local", 1),
        ("thread_local", 3),
        ("found", 0),
        ("found", 1),
        ("thread_local_is_empty", 0),
    ];
    run(
        "thread_local",
        4000,
        &places,
        |world, memory, choices, reached| {
            let objects = world.objects(memory);
            let (local, thread) = (
                world.pick(choices, Kind::ThreadLocal),
                world.pick(choices, Kind::Thread),
            );
            let found = memory.call(reached, "thread_local", || {
                objects.thread_local(local, thread, "data")
            });
            reached.note_option("found", &found.flatten());
            memory.call(reached, "thread_local_is_empty", || {
                objects.thread_local_is_empty(local, thread)
            });
        },
    );
}

#[test]
fn fuzz_ends() {
    let places = [
        ("is_ready", 0),
        ("ready", 0),
        ("ready", 1),
        ("end", 0),
        ("end", 1),
        ("kind", 0),
        ("kind", 1),
        ("kind", 2),
        ("kind", 3),
    ];
    run("ends", 4000, &places, |world, memory, choices, reached| {
        let (function, file) = choices.pick(&INNERMOST);
        let innermost = frame(function, file, 1);
        let objects = world.objects(memory);
        let mut object = || {
            let object = world.pick(choices, Kind::Awaitable);
            let type_object = objects
                .memory
                .read_address(object.offset(objects.offsets.object_type));
            (object, type_object.unwrap_or_default())
        };
        let ((task, task_type), (fut_waiter, fut_waiter_type)) = (object(), object());
        let (terminal, terminal_type) = object();
        let suspension = Suspension {
            task_type,
            fut_waiter: choices.pick(&[Address::NULL, fut_waiter, terminal]),
            fut_waiter_type,
            fut_waiter_state: choices.below(3) as u32,
            terminal: choices.pick(&[Address::NULL, terminal, task]),
            terminal_type,
            terminal_state: choices.below(3) as u32,
        };
        let mut kinds = Kinds::default();
        for _ in 0..=choices.below(2) {
            let ready = memory.call(reached, "is_ready", || {
                kinds.is_ready(objects, &world.futures, &suspension)
            });
            if let Some(ready) = ready {
                reached.note("ready", u32::from(ready));
            }
            let end = memory.call(reached, "end", || {
                kinds.end(objects, &world.futures, &suspension, Some(&innermost))
            });
            if let Some(end) = end.flatten() {
                reached.note("kind", end.kind as u32);
            }
        }
    });
}

#[test]
fn fuzz_trio() {
    let places = [
        ("trio_task", 0),
        ("trio_task", 1),
        ("waits", 0),
        ("waits", 1),
        ("trio_turns", 0),
        ("trio_folder", 0),
    ];
    run("trio", 4000, &places, |world, memory, choices, reached| {
        let frames = world.frames(memory);
        let (task, coroutine) = (
            world.pick(choices, Kind::TrioTask),
            world.pick(choices, Kind::Coroutine),
        );
        let found = memory.call(reached, "chain_frames", || frames.chain_frames(coroutine));
        let mut found: Vec<FrameAddress> = found.unwrap_or_default();
        found.reverse();
        let codes: Vec<_> = found.iter().map(|it| (it.code, Address::NULL)).collect();
        let stack = vec![
            frame(
                "NurseryManager._nested_child_finished",
                "/lib/trio/_core/_run.py",
                1
            );
            codes.len()
        ];
        let visit = TrioVisit {
            task,
            coroutine,
            is_running: choices.once_in(8),
            is_truncated: choices.once_in(8),
            next_send: Address(choices.pick(&[0, 0, 0, 8])),
            stack: &stack,
            frames: &codes,
        };
        let found = memory.call(reached, "trio_task", || frames.trio_task(&world.trio, &visit));
        reached.note_option("waits", &found.and_then(|found| found.waits_on));
        memory.call(reached, "trio_turns", || frames.trio_turns(&world.trio, task));
        let function = world.pick(choices, Kind::Function);
        memory.call(reached, "trio_folder", || frames.objects.trio_folder(function));
    });
}

#[test]
fn fuzz_code() {
    let places = [
        ("kind", FrameKind::Coroutine as u32),
        ("kind", FrameKind::Unknown as u32),
        ("line", 0),
        ("line", 1),
        ("revalidate", 1),
        ("changed", 0),
        ("changed", 1),
    ];
    run("code", 4000, &places, |world, memory, choices, reached| {
        let (objects, mut cache) = (world.objects(memory), CodeCache::default());
        for _ in 0..=choices.below(3) {
            let code = world.pick(choices, Kind::Code);
            let first = objects
                .offsets
                .code
                .instructions
                .map_or(0, |first| code.0.wrapping_add(first));
            let instruction = match choices.below(4) {
                0 => choices.number(),
                1 => world.pick(choices, Kind::Text).0 | 1,
                _ => first.wrapping_add(u64::from(choices.byte()) & !1),
            };
            let found = memory.bounded(|| cache.frame(&objects, code, Address(instruction)));
            reached.note_result("frame", &found);
            if let Ok(found) = found {
                reached.note("kind", found.kind as u32);
                reached.note("line", u32::from(found.line != 0));
            }
            if choices.once_in(4) {
                let name = code.offset(objects.offsets.code.qualified_name);
                memory.set(name, choices.number());
            }
        }
        let changed = memory.bounded(|| cache.revalidate(&objects));
        reached.note_result("revalidate", &changed);
        if let Ok(changed) = changed {
            reached.note("changed", u32::from(!changed.is_empty()));
        }
    });
}
