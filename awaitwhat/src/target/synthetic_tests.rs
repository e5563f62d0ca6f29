//! A task of a process made by hand, from its thread's list to its name, line and what it waits for: in the layout of an ordinary
//! build, and in that of a free-threaded one, which no live process here has.

use std::collections::BTreeSet;

use awaitwhat_common::layout::quirks;
use awaitwhat_common::status::{SliceStatus, TaskStatus};

use super::self_check_tests::{Process, table_of};
use crate::decode;
use crate::layout::NativeId;
use crate::memory::{Address, Memory};
use crate::python::image::Heap;
use crate::reading::still;
use crate::symbolize::CodeCache;

/// `Py_TPFLAGS_MANAGED_DICT` and `Py_TPFLAGS_HEAPTYPE`.
const WITH_DICT: u64 = 1 << 4 | 1 << 9;
/// Id of the only thread.
const TID: u64 = 4711;
/// What lies behind the structures that both builds begin with.
const RUNNING_LOOP: u64 = 4000;
const THREAD_TASKS: u64 = 4016;
const INTERPRETER_TASKS: u64 = 11_000;
/// `sizeof(PyInterpreterState)` and `sizeof(_PyThreadStateImpl)`.
const SIZES: [u64; 2] = [12_000, 8000];

/// The layouts of each kind of build, and how far before an instance its dict is.
pub(super) const BUILDS: [(&str, u64); 3] = [("3.14", 24), ("3.14 free-threaded", 8), ("3.15", 24)];

/// Where the fields of a `TaskObj` are in a build of 3.14 whose header has this size, and the size of all of it.
struct TaskObject {
    awaited_by: u64,
    coro: u64,
    name: u64,
    node: u64,
    size: u64,
}

impl TaskObject {
    /// Eleven pointers of `FutureObj_HEAD` come first; then two words of numbers and bits, and four pointers. A free-threaded build ends
    /// with the id of a thread.
    fn new(header: u64) -> Self {
        let awaited_by = header + 10 * 8;
        let fut_waiter = awaited_by + 3 * 8;
        Self {
            awaited_by,
            coro: fut_waiter + 8,
            name: fut_waiter + 16,
            node: fut_waiter + 32,
            size: fut_waiter + 48 + u64::from(header == 32) * 8,
        }
    }
}

/// What the image has of the one task.
pub(super) struct Planted {
    pub(super) process: Process,
    task: Address,
    future: Address,
    event_loop: Address,
}

fn instance_with_dict(heap: &mut Heap, type_name: &str, items: &[(&str, Address)], before: u64) -> Address {
    let type_object = heap.new_type(type_name, WITH_DICT, heap.offsets.header_bytes());
    let memory = heap.allocate(128);
    let object = memory.offset(64);
    heap.set(object, heap.offsets.object_type, type_object.0);
    let dict = heap.dict(items);
    heap.set(object.offset(before.wrapping_neg()), 0, dict.0);
    object
}

fn module(heap: &mut Heap, items: &[(&str, Address)]) -> Address {
    let dict = heap.dict(items);
    let module = heap.object(heap.types.module, 256);
    heap.set(module, heap.offsets.module.dict, dict.0);
    module
}

fn empty_set(heap: &mut Heap) -> Address {
    let (set, table) = (heap.object(heap.types.set, 256), heap.allocate(8 * 16));
    let offsets = heap.offsets.set;
    heap.set(set, offsets.mask, 7);
    heap.set(set, offsets.table, table.0);
    set
}

/// A function `work` in a coroutine that awaits a future, by a copy of its instructions where the build has such.
fn coroutine(process: &mut Process, awaited: Address) -> Address {
    let function = process.function("work");
    let walk = process.walk;
    let heap = &mut process.heap;
    let code = heap
        .image
        .read_address(function.offset(heap.offsets.function.code));
    let code = code.expect("it was written");
    let instructions = match heap.offsets.code.copies {
        Some(copies) => {
            let (own, copy) = (
                code.offset(heap.offsets.code.instructions.unwrap_or(0)),
                heap.allocate(16),
            );
            let array = heap.allocate(32);
            heap.image.write_words(array.0, &[2, own.0, copy.0]);
            heap.set(code, copies, array.0);
            heap.set(code, heap.offsets.header_bytes(), 4);
            copy
        }
        None => code.offset(heap.offsets.code.instructions.unwrap_or(0)),
    };
    let coroutine = heap.object(heap.types.coroutine, 512);
    heap.image.write(
        coroutine.0 + u64::from(walk.generator_frame_state),
        &[walk.state_awaiting.cast_unsigned()],
    );
    let frame = coroutine.offset(walk.generator_frame.into());
    let top = frame.offset(u64::from(walk.frame_locals) + 32);
    for (offset, word) in [
        (walk.frame_code, code.0 | 1),
        (walk.frame_instruction, instructions.0 + 2),
        (walk.frame_stack, top.0),
    ] {
        heap.set(frame, offset.into(), word);
    }
    heap.image.write(frame.0 + u64::from(walk.frame_owner), &[1]);
    heap.set(
        top.offset(u64::from(walk.frame_awaited).wrapping_neg()),
        0,
        awaited.0 | 1,
    );
    coroutine
}

pub(super) fn plant(table: &str, before: u64) -> Planted {
    let mut process = Process::new(&table_of(table));
    assert_ne!(process.walk.quirks & quirks::STACK_POINTER, 0);
    let header = process.heap.offsets.header_bytes();
    let fields = TaskObject::new(header);
    let heap = &mut process.heap;
    let task_type = heap.new_type("_asyncio.Task", 0, fields.size);
    let future_type = heap.new_type("_asyncio.Future", 0, fields.coro);
    let iterator_type = heap.new_type("_asyncio.FutureIter", 0, header + 8);
    let loop_type = heap.new_type("Loop", 0, header);
    let (future, iterator) = (heap.object(future_type, 256), heap.object(iterator_type, 64));
    heap.set(iterator, header, future.0);
    let event_loop = heap.object(loop_type, 64);
    let coroutine = coroutine(&mut process, iterator);
    let heap = &mut process.heap;
    let (task, name) = (heap.object(task_type, 256), heap.text("worker"));
    for (offset, word) in [
        (header, event_loop.0),
        (fields.coro - 8, future.0),
        (fields.coro, coroutine.0),
        (fields.name, name.0),
    ] {
        heap.set(task, offset, word);
    }
    let list = process.thread.offset(THREAD_TASKS);
    let node = task.offset(fields.node);
    heap.image.write_words(list.0, &[node.0, node.0]);
    heap.image.write_words(node.0, &[list.0, list.0]);
    let lingering = process.main.offset(INTERPRETER_TASKS);
    heap.image.write_words(lingering.0, &[lingering.0, lingering.0]);
    heap.set(process.thread, RUNNING_LOOP, event_loop.0);
    let NativeId::At(native_id) = heap.offsets.thread.id else {
        panic!("{table} has none");
    };
    heap.set(process.thread, native_id, TID);
    plant_modules(
        &mut process,
        &fields,
        [task_type, future_type, iterator_type],
        before,
    );
    Planted {
        process,
        task,
        future,
        event_loop,
    }
}

fn plant_modules(process: &mut Process, fields: &TaskObject, types: [Address; 3], before: u64) {
    let [task_type, future_type, iterator_type] = types;
    let functions = ["gather", "wait_for"].map(|name| (name, process.function(name)));
    let heap = &mut process.heap;
    let accelerator = module(heap, &[("Task", task_type), ("Future", future_type)]);
    let state = heap.allocate(256);
    heap.set(state, 24, iterator_type.0);
    heap.set(accelerator, heap.offsets.module.state, state.0);
    let [interpreter, thread] = SIZES;
    let published = heap.allocate(13 * 8);
    heap.image.write_words(
        published.0,
        &[
            fields.size,
            fields.name,
            fields.awaited_by,
            fields.awaited_by + 12,
            fields.awaited_by + 13,
            fields.coro,
            fields.node,
            interpreter,
            INTERPRETER_TASKS,
            thread,
            RUNNING_LOOP,
            RUNNING_LOOP + 8,
            THREAD_TASKS,
        ],
    );
    heap.set(accelerator, heap.offsets.module.definition, published.0);
    let (scheduled, eager) = (empty_set(heap), empty_set(heap));
    let weak_set = instance_with_dict(heap, "WeakSet", &[("data", scheduled)], before);
    let items = [("_scheduled_tasks", weak_set), ("_eager_tasks", eager)];
    let tasks = module(heap, &[items, functions].concat());
    process.import(&[("_asyncio", accelerator), ("asyncio.tasks", tasks)]);
}

#[test]
fn reads_a_task_in_every_kind_of_build() {
    for (name, before) in BUILDS {
        let planted = plant(name, before);
        let memory = &planted.process.heap.image;
        let mut interpreter = planted.process.own();
        assert_eq!(interpreter.check(memory), Ok(()), "{name}");
        let loops = interpreter
            .event_loops(memory, &BTreeSet::new)
            .expect("asyncio is there");
        let [plan] = loops.plans.as_slice() else {
            panic!("{name}: {loops:?}");
        };
        assert_eq!(
            (u64::from(plan.tid), loops.running[0].address),
            (TID, planted.event_loop)
        );
        let (_, layout) = interpreter.layouts().next().expect("it was found");
        let (records, status) = still::walk(memory, layout, plan);
        assert_eq!(
            (status, records.len()),
            (Some(SliceStatus::PassComplete), 1),
            "{name}"
        );
        let Ok(decode::Record::Task(record)) = decode::decode(&records[0]) else {
            panic!("{name}: it is no record of a task");
        };
        assert_eq!(
            (record.status, record.address),
            (TaskStatus::Complete, planted.task),
            "{name}"
        );
        assert_eq!(record.terminal, planted.future, "{name}");
        let objects = interpreter.objects(memory);
        let task_name = objects.text(record.name).map(|text| text.text);
        assert_eq!(task_name, Ok("worker".to_owned()), "{name}");
        let frames = record.frames();
        let [(code, instruction)] = frames.as_slice() else {
            panic!("{name}: {frames:?}");
        };
        let found = CodeCache::default().frame(&objects, *code, *instruction);
        let found = found.expect("the target is there");
        assert_eq!((&*found.function, found.line), ("work", 9), "{name}");
    }
}
