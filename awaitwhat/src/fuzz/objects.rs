//! Makes objects of every kind.

use awaitwhat_common::layout::{Layout, Wrapper, quirks};

use super::world::Kind;
use crate::layout::{DictKeys, ManagedDict, Table};
use crate::memory::Address;
use crate::python::future::FutureTypes;
use crate::python::image::Heap;
use crate::python::trio::TrioTypes;

/// Flags of a type made by `class`: heap type, with a managed dict, and with values in its instances.
const HEAP_TYPE: u64 = 1 << 9;
const MANAGED: u64 = HEAP_TYPE | 1 << 4;
const INLINE: u64 = MANAGED | 1 << 2;
/// Where futures have their dict, and the size of one.
const FUTURE_DICT: u64 = 104;
const FUTURE_BYTES: u64 = 192;
/// Where a class has the dict of what it declares, before `tp_dictoffset`.
pub(super) const NAMESPACE_BEFORE: u64 = 24;
/// `threading_local_key` of a thread state of 3.13.
const DUMMY_OF_THREAD: u64 = 288;
/// Kind of a keys object whose entries are hash, key and value.
const GENERAL: u8 = 0;

/// A heap, and what is where in it.
pub(super) struct Planter {
    pub(super) heap: Heap,
    pub(super) layout: Layout,
    pub(super) futures: FutureTypes,
    pub(super) trio: TrioTypes,
    pub(super) planted: Vec<(Kind, Address)>,
}

impl Planter {
    /// A heap with everything.
    pub(super) fn planted(table: &Table) -> Self {
        let heap = Heap::new(table.offsets);
        let types = heap.types;
        let layout = Layout {
            coroutine_type: types.coroutine.0,
            generator_type: types.generator.0,
            async_generator_type: types.async_generator.0,
            none_address: types.none.0,
            ..table.walk
        };
        let mut this = Self {
            heap,
            layout,
            futures: FutureTypes::default(),
            trio: TrioTypes::default(),
            planted: Vec::new(),
        };
        this.name_types();
        this.plant_values();
        this.plant_dicts();
        this.plant_instances();
        this.plant_slots();
        this.plant_coroutines();
        this.plant_blocks();
        this.plant_awaitables();
        this.plant_waits();
        this.plant_jobs();
        this.plant_threads();
        this.plant_trio();
        this
    }

    pub(super) fn plant(&mut self, kind: Kind, address: Address) -> Address {
        self.planted.push((kind, address));
        address
    }

    /// Gives a type a name and a method resolution order of itself and `bases`.
    fn complete_type(&mut self, type_object: Address, name: &str, bases: &[Address]) {
        let offsets = self.heap.offsets.type_object;
        let text = self.heap.allocate(name.len() as u64 + 1);
        self.heap.image.write(text.0, name.as_bytes());
        let order = self.heap.tuple(&[&[type_object], bases].concat());
        let type_type = self.heap.types.type_type;
        self.heap
            .set(type_object, self.heap.offsets.object_type, type_type.0);
        self.heap.set(type_object, offsets.name, text.0);
        self.heap.set(type_object, offsets.mro, order.0);
        self.plant(Kind::Class, type_object);
    }

    pub(super) fn new_type(&mut self, name: &str, flags: u64, basic_size: u64, bases: &[Address]) -> Address {
        let type_object = self.heap.new_type(name, flags, basic_size);
        self.complete_type(type_object, name, bases);
        type_object
    }

    fn name_types(&mut self) {
        let types = self.heap.types;
        for (type_object, name) in [
            (types.type_type, "type"),
            (types.unicode, "str"),
            (types.long, "int"),
            (types.list, "list"),
            (types.dict, "dict"),
            (types.module, "module"),
            (types.coroutine, "coroutine"),
            (types.generator, "generator"),
        ] {
            self.complete_type(type_object, name, &[]);
        }
    }

    fn plant_values(&mut self) {
        let text = self.heap.text("worker");
        let latin = self.heap.wide_text(4, 1, false, b"caf\xe9");
        let two = self
            .heap
            .wide_text(3, 2, false, &[0xe5, 0x65, 0x2c, 0x67, 0x2e, 0x20]);
        let four = self.heap.wide_text(1, 4, false, &0x1f3b5_u32.to_le_bytes());
        let long = self.heap.text(&"x".repeat(5000));
        for text in [text, latin, two, four, long] {
            self.plant(Kind::Text, text);
        }
        for digits in [[7, 0, 0], [5, 1, 0], [1, 2, 8]] {
            let number = self.number(&digits);
            self.plant(Kind::Number, number);
        }
        let bytes = self.heap.bytes(&[0xd8, 0, 0, 0xe9, 1, 2, 3]);
        self.plant(Kind::Bytes, bytes);
        let (list, tuple) = (
            self.heap.list(&[text, two]),
            self.heap.tuple(&[long, bytes, four]),
        );
        let set = self.set_of(&[text, two, four]);
        for sequence in [list, tuple, set] {
            self.plant(Kind::Sequence, sequence);
        }
    }

    pub(super) fn number(&mut self, digits: &[u32]) -> Address {
        let heap = &mut self.heap;
        let offsets = heap.offsets.long;
        let number = heap.object(heap.types.long, 48);
        let count = digits.iter().filter(|digit| **digit != 0).count() as u64;
        heap.set(
            number,
            offsets.tag,
            if offsets.is_tagged { count << 3 } else { count },
        );
        for (at, digit) in (number.0 + offsets.digits..).step_by(4).zip(digits) {
            heap.image.write(at, &digit.to_le_bytes());
        }
        number
    }

    fn set_of(&mut self, items: &[Address]) -> Address {
        let heap = &mut self.heap;
        let (set, table) = (heap.object(heap.types.set, 256), heap.allocate(8 * 16));
        let words: Vec<u64> = items
            .iter()
            .flat_map(|item| [item.0, 7])
            .chain([0x99, u64::MAX])
            .collect();
        heap.image.write_words(table.0, &words);
        heap.set(set, heap.offsets.set.mask, 7);
        heap.set(set, heap.offsets.set.table, table.0);
        set
    }

    fn plant_dicts(&mut self) {
        let value = self.heap.text("value");
        let plain = self
            .heap
            .dict(&[("first", value), ("data", value), ("last", value)]);
        let nested = self.heap.dict(&[("dict", plain), ("data", plain)]);
        let by_object = self.dict_by_object(&[(value, plain), (plain, nested)]);
        for dict in [plain, nested, by_object] {
            self.plant(Kind::Dict, dict);
        }
        // Values apart from their keys, as instances of one class have them.
        let split = self
            .heap
            .dict(&[("first", Address::NULL), ("data", Address::NULL)]);
        let values = self.heap.allocate(64);
        let first = values.offset(self.heap.offsets.dict.first_value);
        self.heap.image.write_words(first.0, &[value.0, plain.0]);
        self.heap.set(split, self.heap.offsets.dict.values, values.0);
        self.plant(Kind::Dict, split);
        let module = self.heap.object(self.heap.types.module, 256);
        self.heap.set(module, self.heap.offsets.module.dict, plain.0);
        self.plant(Kind::Module, module);
    }

    /// A dict whose keys are whatever they are.
    fn dict_by_object(&mut self, items: &[(Address, Address)]) -> Address {
        let heap = &mut self.heap;
        let keys = match heap.offsets.dict.keys_format {
            DictKeys::Sized => heap.sized_keys(8, items),
            DictKeys::OfKinds => {
                let words: Vec<u64> = items
                    .iter()
                    .flat_map(|(key, value)| [7, key.0, value.0])
                    .collect();
                heap.keys(GENERAL, items.len() as u64, &words)
            }
        };
        let dict = heap.object(heap.types.dict, 48);
        heap.set(dict, heap.offsets.dict.keys, keys.0);
        dict
    }

    /// Instances with attributes in every place that the version has.
    fn plant_instances(&mut self) {
        let value = self.heap.text("attribute");
        let class = self.new_type("Thing", HEAP_TYPE, 64, &[]);
        let object = self.instance(class, &[("data", value), ("_state", value)]);
        self.plant(Kind::Instance, object);
        let managed = self.heap.offsets.managed_dict;
        if managed == ManagedDict::None {
            return;
        }
        let flags = if matches!(managed, ManagedDict::Inline { .. }) {
            INLINE
        } else {
            MANAGED
        };
        let size = 32;
        let class = self.new_type("Managed", flags, size, &[class]);
        let name = self.heap.text("data");
        let name = self.heap.intern(name);
        let keys = self.heap.keys(2, 1, &[name.0, 0]);
        self.heap
            .set(class, self.heap.offsets.type_object.cached_keys, keys.0);
        let dict = self.heap.dict(&[("data", value)]);
        let first_value = self.heap.offsets.dict.first_value;
        for has_dict in [false, true] {
            let before = self.heap.allocate(160);
            let object = before.offset(32);
            self.heap.set(object, self.heap.offsets.object_type, class.0);
            let values = if matches!(managed, ManagedDict::Inline { .. }) {
                self.heap.image.write(object.0 + size, &[1, 1, 1, 1]);
                object.offset(size)
            } else {
                self.heap.allocate(32)
            };
            self.heap.set(values, first_value, value.0);
            let pointer = match (managed, has_dict) {
                // Nothing leads to values that an instance has in itself.
                (ManagedDict::None, _) | (ManagedDict::Inline { .. }, false) => None,
                (ManagedDict::Pointers, false) => Some((before, values.0)),
                (ManagedDict::Tagged, false) => Some((before.offset(8), values.0 - 1)),
                (ManagedDict::Pointers | ManagedDict::Tagged, true) => Some((before.offset(8), dict.0)),
                (ManagedDict::Inline { before }, true) => {
                    Some((object.offset(before.wrapping_neg()), dict.0))
                }
            };
            if let Some((place, word)) = pointer {
                self.heap.set(place, 0, word);
            }
            self.plant(Kind::Instance, object);
        }
    }

    /// An instance of a class made by `class`, with an ordinary dict behind its header.
    pub(super) fn instance(&mut self, class: Address, items: &[(&str, Address)]) -> Address {
        let place = self.heap.offsets.header_bytes();
        let offset = self.heap.offsets.type_object.dict_offset;
        self.heap.set(class, offset, place);
        let object = self.heap.object(class, 64);
        let dict = self.heap.dict(items);
        self.heap.set(object, place, dict.0);
        object
    }

    /// A class with slots, and an instance of it.
    fn plant_slots(&mut self) {
        let header = self.heap.offsets.header_bytes();
        let kind = self.new_type("member_descriptor", 0, 48, &[]);
        let definition = self.heap.allocate(80);
        let name = self.heap.allocate(8);
        self.heap.image.write(name.0, b"data");
        // T_OBJECT_EX.
        self.heap
            .image
            .write_words(definition.0, &[name.0, 16, header + 8]);
        let descriptor = self.heap.object(kind, 64);
        self.heap.set(descriptor, header + NAMESPACE_BEFORE, definition.0);
        let namespace = self.heap.dict(&[("data", descriptor)]);
        let class = self.new_type("Slotted", 0, 64, &[]);
        let at = self.heap.offsets.type_object.dict_offset;
        self.heap.set(class, at - NAMESPACE_BEFORE, namespace.0);
        self.heap.set(class, at - 2 * NAMESPACE_BEFORE, definition.0);
        let instance = self.heap.object(class, 64);
        let value = self.heap.text("in a slot");
        self.heap.set(instance, header + 8, value.0);
        self.plant(Kind::Instance, instance);
    }

    pub(super) fn code(&mut self, name: &str, file: &str, locals: &[&str]) -> Address {
        let names: Vec<Address> = locals.iter().map(|name| self.heap.text(name)).collect();
        let heap = &mut self.heap;
        let offsets = heap.offsets.code;
        let (name, file, names) = (heap.text(name), heap.text(file), heap.tuple(&names));
        let (lines, none) = (heap.bytes(&[0xd8, 0, 0, 0xd8, 0, 0]), heap.tuple(&[]));
        let code = heap.object(heap.types.code, 512);
        for (offset, word) in [
            (offsets.qualified_name, name.0),
            (offsets.filename, file.0),
            (offsets.local_names, names.0),
            (offsets.line_table, lines.0),
        ] {
            heap.set(code, offset, word);
        }
        for offset in offsets.shared_names.into_iter().flatten() {
            heap.set(code, offset, none.0);
        }
        heap.image.write(code.0 + offsets.flags, &0x80_u32.to_le_bytes());
        heap.image
            .write(code.0 + offsets.first_line, &10_u32.to_le_bytes());
        // All instructions are those that follow an `await`.
        let unit = [self.layout.resume_opcodes[0], 3];
        match offsets.instructions {
            Some(instructions) => heap.image.write(code.0 + instructions, &unit.repeat(4)),
            None => {
                let bytes = heap.bytes(&unit.repeat(4));
                heap.set(code, self.layout.code_bytes.into(), bytes.0);
            }
        }
        self.plant(Kind::Code, code)
    }

    /// A coroutine that awaits something, and has one variable.
    pub(super) fn coroutine(&mut self, code: Address, local: Address, awaited: Address) -> Address {
        self.suspended(code, local, &[], awaited)
    }

    /// A coroutine with these values on its stack.
    pub(super) fn inside(&mut self, code: Address, values: &[Address], awaited: Address) -> Address {
        self.suspended(code, Address::NULL, values, awaited)
    }

    fn suspended(&mut self, code: Address, local: Address, values: &[Address], awaited: Address) -> Address {
        let (heap, layout) = (&mut self.heap, self.layout);
        let coroutine = heap.object(heap.types.coroutine, 512);
        let state = [layout.state_awaiting.cast_unsigned()];
        let frame = if layout.has_heap_frames() {
            let frame = heap.object(heap.types.frame, 512);
            heap.set(coroutine, layout.generator_frame.into(), frame.0);
            heap.set(frame, layout.frame_generator.into(), coroutine.0);
            heap.image.write(frame.0 + u64::from(layout.frame_state), &state);
            frame
        } else {
            heap.image
                .write(coroutine.0 + u64::from(layout.generator_frame_state), &state);
            coroutine.offset(layout.generator_frame.into())
        };
        let locals = frame.offset(layout.frame_locals.into());
        heap.set(frame, layout.frame_code.into(), code.0 | layout.tag_mask & 1);
        let words: Vec<u64> = [local]
            .iter()
            .chain(values)
            .chain([&awaited])
            .map(|value| value.0)
            .collect();
        heap.image.write_words(locals.0, &words);
        let top = locals.0 + (words.len() as u64 - 1) * 8 + u64::from(layout.frame_awaited);
        let stack = frame.0 + u64::from(layout.frame_stack);
        if layout.quirks & quirks::STACK_POINTER != 0 {
            heap.image.write_words(stack, &[top]);
        } else {
            heap.image
                .write(stack, &((top - locals.0) as u32 / 8).to_le_bytes());
        }
        if layout.has_heap_frames() {
            heap.set(frame, layout.frame_value_stack.into(), locals.0);
        } else {
            let first = heap.offsets.code.instructions.unwrap_or_default();
            heap.set(frame, layout.frame_instruction.into(), code.0 + first);
            heap.image.write(frame.0 + u64::from(layout.frame_owner), &[1]);
        }
        self.plant(Kind::Coroutine, coroutine)
    }

    fn plant_coroutines(&mut self) {
        let header = self.heap.offsets.header_bytes();
        let iterator_type = self.new_type("_asyncio.FutureIter", 0, header + 8, &[]);
        self.layout.wrappers[0] = Wrapper {
            type_address: iterator_type.0,
            inner: header as u16,
            is_terminal: 1,
            name: 0,
            code: 0,
        };
        let future = self.new_type("_asyncio.Future", 0, FUTURE_BYTES, &[]);
        self.futures.future = future;
        let (terminal, iterator) = (
            self.heap.object(future, FUTURE_BYTES),
            self.heap.object(iterator_type, 64),
        );
        self.heap.set(iterator, header, terminal.0);
        let (cell, contents) = (
            self.heap.object(self.heap.types.cell, 64),
            self.heap.text("shared"),
        );
        self.heap.set(cell, self.heap.offsets.cell_contents, contents.0);
        let code = self.code("handle", "/srv/app.py", &["self", "request"]);
        let inner = self.coroutine(code, contents, iterator);
        let middle = self.coroutine(code, cell, inner);
        self.coroutine(code, contents, middle);
        let closure = self.heap.tuple(&[cell]);
        let code = self.code(
            "shield.<locals>._outer_done_callback",
            "/lib/asyncio/tasks.py",
            &["inner"],
        );
        let function = self.heap.object(self.heap.types.function, 256);
        let offsets = self.heap.offsets.function;
        let name = self.heap.text("shield.<locals>._outer_done_callback");
        self.heap.set(function, offsets.code, code.0);
        self.heap.set(function, offsets.closure, closure.0);
        self.heap.set(function, offsets.qualified_name, name.0);
        self.plant(Kind::Function, function);
        self.plant(Kind::Awaitable, terminal);
        // What `shield` gives.
        let task = self.task();
        self.heap.set(cell, self.heap.offsets.cell_contents, task.0);
        let outer = self.heap.object(future, FUTURE_BYTES);
        self.heap
            .set(outer, self.heap.offsets.future.callback0, function.0);
        let list = self.heap.tuple(&[function, task]);
        let list = self.heap.list(&[list]);
        self.heap.set(outer, self.heap.offsets.future.callbacks, list.0);
        self.plant(Kind::Awaitable, outer);
    }

    fn task(&mut self) -> Address {
        if self.futures.task.is_null() {
            let future = self.futures.future;
            self.futures.task = self.new_type("_asyncio.Task", 0, FUTURE_BYTES, &[future]);
        }
        let task = self.heap.object(self.futures.task, FUTURE_BYTES);
        self.plant(Kind::Awaitable, task)
    }

    /// What `gather`, `wait`, a `TaskGroup`, and futures written in Python look like.
    fn plant_awaitables(&mut self) {
        let future = self.futures.future;
        let gathering = self.new_type("_GatheringFuture", HEAP_TYPE, FUTURE_BYTES, &[future]);
        self.futures.gathering = gathering;
        self.futures.python_future = self.new_type("Future", HEAP_TYPE, 64, &[]);
        self.futures.python_task = self.new_type("Task", HEAP_TYPE, 64, &[self.futures.python_future]);
        let offset = self.heap.offsets.type_object.dict_offset;
        self.heap.set(gathering, offset, FUTURE_DICT);
        let tasks = [self.task(), self.task()];
        let gathers = [(); 2].map(|()| self.heap.object(gathering, FUTURE_BYTES));
        let children = [
            self.heap.list(&[tasks[0], gathers[1], tasks[1]]),
            self.set_of(&[tasks[1], gathers[0], gathers[1]]),
        ];
        for (gather, children) in gathers.into_iter().zip(children) {
            let dict = self.heap.dict(&[("_children", children)]);
            self.heap.set(gather, FUTURE_DICT, dict.0);
            self.plant(Kind::Awaitable, gather);
        }
        let waiter = self.heap.object(future, FUTURE_BYTES);
        self.plant(Kind::Awaitable, waiter);
        let iterator = self
            .heap
            .object(Address(self.layout.wrappers[0].type_address), 64);
        self.heap
            .set(iterator, self.heap.offsets.header_bytes(), waiter.0);
        let class = self.new_type("TaskGroup", HEAP_TYPE, 64, &[]);
        let members = self.set_of(&tasks);
        let group = self.instance(class, &[("_on_completed_fut", waiter), ("_tasks", members)]);
        let code = self.code("TaskGroup._aexit", "/lib/asyncio/taskgroups.py", &["self"]);
        self.coroutine(code, group, iterator);
        let code = self.code("_wait", "/lib/asyncio/tasks.py", &["waiter"]);
        self.coroutine(code, waiter, iterator);
        let pending = self.heap.text("PENDING");
        for class in [self.futures.python_future, self.futures.python_task] {
            let callbacks = self.heap.list(&[]);
            let items = [("_state", pending), ("_callbacks", callbacks)];
            let object = self.instance(class, &items);
            self.plant(Kind::Awaitable, object);
        }
    }

    /// Threads, and what a `threading.local` has for each: found by a key of its own until 3.12, by the thread's dummy since.
    fn plant_threads(&mut self) {
        let header = self.heap.offsets.header_bytes();
        let kind = self.new_type("_thread._local", 0, 64, &[]);
        let threads = [(); 2].map(|()| self.heap.allocate(1024));
        let key = self.heap.text("thread.local.0x7f00");
        let value = self.heap.text("one");
        let attributes = self.heap.dict(&[("data", value)]);
        let dummies = threads.map(|thread| {
            let dummy = self.heap.object(kind, 64);
            self.heap.set(dummy, header, attributes.0);
            let entries = self.dict_by_object(&[(key, dummy)]);
            self.heap.set(thread, DUMMY_OF_THREAD, dummy.0);
            self.heap.set(thread, self.heap.offsets.thread.dict, entries.0);
            (dummy, attributes)
        });
        let dicts = self.dict_by_object(&dummies);
        let arguments = self.heap.tuple(&[]);
        for (first, third) in [(key, Address::NULL), (arguments, dicts)] {
            let local = self.heap.object(kind, 96);
            self.heap.set(local, header, first.0);
            self.heap.set(local, header + NAMESPACE_BEFORE, third.0);
            self.plant(Kind::ThreadLocal, local);
        }
        for thread in threads {
            self.plant(Kind::Thread, thread);
        }
    }

    fn plant_trio(&mut self) {
        let header = self.heap.offsets.header_bytes() as u16;
        let class = self.new_type("Task", HEAP_TYPE, 96, &[]);
        self.trio = TrioTypes {
            task: class,
            parent_nursery: header,
            child_nurseries: header + 8,
            abort_func: header + 16,
            schedule_points: header + 24,
            folder: "/lib/trio/".to_owned(),
        };
        let nursery = self.new_type("Nursery", HEAP_TYPE, 64, &[]);
        let nursery = self.heap.object(nursery, 64);
        let (nurseries, turns) = (self.heap.list(&[nursery, nursery]), self.number(&[7]));
        let code = self.code(
            "NurseryManager._nested_child_finished",
            "/lib/trio/_core/_run.py",
            &["self"],
        );
        self.coroutine(code, nursery, Address::NULL);
        let task = self.heap.object(class, 128);
        for (offset, word) in [(0, nursery), (8, nurseries), (16, code), (24, turns)] {
            self.heap.set(task, u64::from(header) + offset, word.0);
        }
        self.plant(Kind::TrioTask, task);
    }
}
