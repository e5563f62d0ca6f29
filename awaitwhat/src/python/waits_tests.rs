//! Tests of what is behind awaitables, over synthetic futures.

use std::sync::Arc;

use awaitwhat_common::layout::Layout;

use super::frame::Frames;
use super::image::{Heap, MemoryImage};
use super::waits::{FutureTypes, WaitReader, Waiter};
use crate::layout::{Table, Version};
use crate::memory::Address;
use crate::snapshot::{Frame, FrameKind, WaitKind, WaitsOn};

/// Flags of a type made by `class`.
const HEAP_TYPE: u64 = 1 << 9;
/// Where the synthetic futures have their dict.
const DICT: u64 = 104;

struct World {
    heap: Heap,
    walk: Layout,
    types: FutureTypes,
}

impl World {
    fn new() -> Self {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        let table = table.expect("3.12 publishes nothing");
        let mut heap = Heap::new(table.offsets);
        let future = heap.new_type("_asyncio.Future", 0, 128);
        let mut derived = |name, flags| {
            let type_object = heap.new_type(name, flags, 128);
            let mro = heap.tuple(&[type_object, future]);
            heap.set(type_object, heap.offsets.type_object.mro, mro.0);
            type_object
        };
        let types = FutureTypes {
            task: derived("_asyncio.Task", 0),
            gathering: derived("_GatheringFuture", HEAP_TYPE),
            future,
            python_future: Address::NULL,
            python_task: Address::NULL,
        };
        heap.set(types.gathering, heap.offsets.type_object.dict_offset, DICT);
        Self {
            heap,
            walk: table.walk,
            types,
        }
    }

    fn task(&mut self, state: u32) -> Address {
        let task = self.heap.object(self.types.task, 176);
        self.heap
            .image
            .write(task.0 + u64::from(self.walk.task_state), &state.to_le_bytes());
        task
    }

    fn gather(&mut self) -> Address {
        self.heap.object(self.types.gathering, 128)
    }

    fn set_children(&mut self, gather: Address, children: &[Address]) {
        let children = self.heap.list(children);
        let dict = self.heap.dict(&[("_children", children)]);
        self.heap.set(gather, DICT, dict.0);
    }

    /// The outer future of a `shield` around `inner`.
    fn shield(&mut self, inner: Address) -> Address {
        let heap = &mut self.heap;
        let name = heap.text("inner");
        let (names, cell) = (heap.tuple(&[name]), heap.object(heap.types.cell, 24));
        heap.set(cell, heap.offsets.cell_contents, inner.0);
        let (code, closure) = (heap.object(heap.types.code, 256), heap.tuple(&[cell]));
        heap.set(code, heap.offsets.code.local_names, names.0);
        let function = heap.object(heap.types.function, 128);
        let qualified_name = heap.text("shield.<locals>._outer_done_callback");
        heap.set(function, heap.offsets.function.code, code.0);
        heap.set(function, heap.offsets.function.closure, closure.0);
        heap.set(function, heap.offsets.function.qualified_name, qualified_name.0);
        let outer = heap.object(self.types.future, 128);
        heap.set(outer, heap.offsets.future.callback0, function.0);
        outer
    }

    fn describe(&self, terminal: Address, innermost: Option<&Frame>) -> WaitsOn {
        let frames = Frames {
            objects: self.heap.objects(),
            layout: &self.walk,
        };
        let waiter = Waiter {
            coroutine: Address::NULL,
            terminal,
            innermost,
        };
        WaitReader::default()
            .describe(frames, &self.types, &waiter)
            .expect("the terminal is readable")
    }
}

#[test]
fn names_the_pending_tasks_of_a_gather_within_a_gather() {
    let mut world = World::new();
    let (pending, done, other) = (world.task(0), world.task(2), world.task(0));
    let (outer, inner) = (world.gather(), world.gather());
    world.set_children(inner, &[pending, done]);
    // It is among its own children, twice, which would never end.
    world.set_children(outer, &[inner, other, outer, outer, other]);
    let found = world.describe(outer, None);
    assert_eq!(
        (found.kind, &*found.type_name),
        (WaitKind::Gather, "_GatheringFuture")
    );
    assert_eq!(found.tasks, [pending, other]);
}

#[test]
fn looks_behind_a_shield_unless_asyncio_waits_itself() {
    let mut world = World::new();
    let task = world.task(0);
    let outer = world.shield(task);
    assert_eq!(world.describe(outer, None).tasks, [task]);
    let frame = |function: &str, file: &str| Frame {
        function: Arc::from(function),
        file: Arc::from(file),
        line: 1,
        kind: FrameKind::Coroutine,
        origin: Default::default(),
    };
    assert_eq!(
        world.describe(outer, Some(&frame("main", "/srv/app.py"))).tasks,
        [task]
    );
    assert_eq!(
        world
            .describe(outer, Some(&frame("wait_for", "/lib/asyncio/timeouts.py")))
            .tasks,
        [task]
    );
    assert!(
        world
            .describe(outer, Some(&frame("sleep", "/lib/asyncio/tasks.py")))
            .tasks
            .is_empty()
    );
}

#[test]
fn tells_where_tasks_are_not_named() {
    let mut world = World::new();
    let task = world.task(0);
    let mut gathers = vec![world.gather()];
    world.set_children(gathers[0], &[task]);
    for depth in 1..30 {
        let outer = world.gather();
        world.set_children(outer, &[gathers[depth - 1]]);
        gathers.push(outer);
    }
    let unreadable = world.gather();
    world.set_children(unreadable, &[task, Address(0xdead_0000)]);
    let frames = Frames {
        objects: world.heap.objects(),
        layout: &world.walk,
    };
    let mut reader = WaitReader::default();
    let mut cut = |terminal| {
        let waiter = Waiter {
            coroutine: Address::NULL,
            terminal,
            innermost: None,
        };
        let found = reader.describe(frames, &world.types, &waiter);
        (found.expect("the terminal is readable").tasks, reader.take_cut())
    };
    assert_eq!(cut(gathers[16]), (vec![task], 0));
    assert_eq!(cut(gathers[29]), (vec![], 1));
    assert_eq!(cut(unreadable), (vec![], 1));
    assert_eq!(cut(gathers[0]), (vec![task], 0));
}

#[test]
fn names_no_tasks_where_they_cannot_be_read() {
    let mut world = World::new();
    let gather = world.gather();
    let pending = world.task(0);
    world.set_children(gather, &[pending, Address(0xdead_0000)]);
    assert_eq!(world.describe(gather, None).tasks, []);
    assert_eq!(world.describe(gather, None).kind, WaitKind::Gather);
}

#[test]
fn ends_looking_when_a_snapshot_leads_to_too_much() {
    let mut world = World::new();
    let (vast, small, task) = (world.gather(), world.gather(), world.task(0));
    world.set_children(small, &[task]);
    let set = world.heap.object(world.heap.types.set, 64);
    world.heap.set(set, world.heap.offsets.set.mask, (1 << 22) - 1);
    let dict = world.heap.dict(&[("_children", set)]);
    world.heap.set(vast, DICT, dict.0);
    let frames = Frames {
        objects: world.heap.objects(),
        layout: &world.walk,
    };
    let mut reader = WaitReader::default();
    let mut tasks = |terminal, is_new| {
        let waiter = Waiter {
            coroutine: Address::NULL,
            terminal,
            innermost: None,
        };
        if is_new {
            reader.begin_snapshot();
        }
        reader
            .describe(frames, &world.types, &waiter)
            .expect("the terminal is readable")
            .tasks
    };
    assert_eq!(tasks(small, false), [task]);
    for _ in 0..5 {
        assert_eq!(tasks(vast, false), []);
    }
    assert_eq!(tasks(small, false), []);
    assert_eq!(tasks(small, true), [task]);
}

#[test]
fn tells_what_is_no_future() {
    let mut world = World::new();
    let type_object = world.heap.new_type("Iterator", 0, 16);
    let object = world.heap.object(type_object, 32);
    let found = world.describe(object, None);
    assert_eq!((found.kind, &*found.type_name), (WaitKind::Other, "Iterator"));
}
