//! Tests of blocks over synthetic frames, well-formed and hostile.

use awaitwhat_common::layout::{Layout, quirks};

use super::ReadError;
use super::frame::{FrameAddress, Frames};
use super::image::{Heap, MemoryImage};
use super::inside::{Blocks, Inside};
use crate::layout::{ExitMethods, Table, Version};
use crate::memory::Address;

/// `tp_dict` lies so far before `tp_dictoffset`.
const DICT_BEFORE_DICT_OFFSET: u64 = 24;
/// `CO_COROUTINE`.
const COROUTINE: u32 = 0x80;

/// An image with frames and classes in it.
struct World {
    heap: Heap,
    layout: Layout,
    method: Address,
}

impl World {
    fn new(exit_methods: ExitMethods) -> Self {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL)
            .expect("3.12 publishes nothing");
        let mut heap = Heap::new(table.offsets);
        heap.offsets.exit_methods = exit_methods;
        let mut layout = Layout {
            coroutine_type: heap.types.coroutine.0,
            generator_type: heap.types.generator.0,
            async_generator_type: heap.types.async_generator.0,
            ..table.walk
        };
        if exit_methods == ExitMethods::WithObject {
            layout.quirks = quirks::STACK_POINTER;
            layout.tag_mask = 3;
        }
        let method = heap.new_type("method", 0, 40);
        Self { heap, layout, method }
    }

    fn frames(&self) -> Frames<'_> {
        Frames {
            objects: self.heap.objects(),
            layout: &self.layout,
        }
    }

    fn code(&mut self, name: &str, locals: usize, flags: u32) -> Address {
        let heap = &mut self.heap;
        let names: Vec<Address> = (0..locals).map(|_| heap.text("local")).collect();
        let names = heap.tuple(&names);
        let name = heap.text(name);
        let offsets = heap.offsets.code;
        let code = heap.object(heap.types.code, 256);
        heap.set(code, offsets.local_names, names.0);
        heap.set(code, offsets.qualified_name, name.0);
        heap.image.write(code.0 + offsets.flags, &flags.to_le_bytes());
        code
    }

    fn function(&mut self, code: Address) -> Address {
        let function = self.heap.object(self.heap.types.function, 128);
        let offset = self.heap.offsets.function.code;
        self.heap.set(function, offset, code.0);
        function
    }

    /// A class with these attributes, which has the classes after it as its bases.
    fn class(&mut self, name: &str, attributes: &[(&str, Address)], bases: &[Address]) -> Address {
        let heap = &mut self.heap;
        let class = heap.new_type(name, 0, 64);
        let namespace = heap.dict(attributes);
        let order: Vec<Address> = [class].iter().chain(bases).copied().collect();
        let order = heap.tuple(&order);
        let offsets = heap.offsets.type_object;
        heap.set(class, offsets.dict_offset - DICT_BEFORE_DICT_OFFSET, namespace.0);
        heap.set(class, offsets.mro, order.0);
        class
    }

    /// A class of locks: its `__aenter__` is a coroutine function. Also returns the code of that, and its `__aexit__`.
    fn lock_class(&mut self) -> (Address, Address, Address) {
        let enter_code = self.code("Lock.__aenter__", 1, COROUTINE);
        let enter = self.function(enter_code);
        let exit_code = self.code("Lock.__aexit__", 1, COROUTINE);
        let exit = self.function(exit_code);
        let base = self.class("Base", &[("__aenter__", enter), ("__aexit__", exit)], &[]);
        (self.class("Lock", &[], &[base]), enter_code, exit)
    }

    fn instance(&mut self, class: Address) -> Address {
        self.heap.object(class, 64)
    }

    fn bound(&mut self, function: Address, instance: Address) -> Address {
        let method = self.heap.object(self.method, 40);
        self.heap.set(method, 16, function.0);
        self.heap.set(method, 24, instance.0);
        method
    }

    /// A suspended frame of an object of a type of generators.
    fn suspended(
        &mut self,
        type_object: Address,
        code: Address,
        locals: &[Address],
        stack: &[u64],
    ) -> (Address, FrameAddress) {
        let layout = self.layout;
        let size = 256 + (locals.len() + stack.len()) as u64 * 8;
        let heap = &mut self.heap;
        let object = heap.object(type_object, size);
        let state = object.0 + u64::from(layout.generator_frame_state);
        heap.image.write(state, &[layout.state_suspended as u8]);
        let frame = object.offset(u64::from(layout.generator_frame));
        heap.set(frame, u64::from(layout.frame_code), code.0);
        let first = frame.offset(u64::from(layout.frame_locals));
        let words: Vec<u64> = locals
            .iter()
            .map(|local| local.0)
            .chain(stack.iter().copied())
            .collect();
        heap.image.write_words(first.0, &words);
        let stack_at = frame.0 + u64::from(layout.frame_stack);
        if layout.quirks & quirks::STACK_POINTER != 0 {
            let top = first.offset(words.len() as u64 * 8);
            heap.image.write_words(stack_at, &[top.0]);
        } else {
            heap.image.write(stack_at, &(words.len() as u32).to_le_bytes());
        }
        (object, FrameAddress { frame, code })
    }

    fn coroutine(&mut self, code: Address, locals: &[Address], stack: &[u64]) -> FrameAddress {
        self.suspended(self.heap.types.coroutine, code, locals, stack).1
    }

    fn objects_of(&self, chain: &[FrameAddress]) -> Result<Vec<Address>, ReadError> {
        let blocks = Blocks::new(self.frames()).of_chain(chain)?;
        Ok(blocks.iter().map(|block| block.object).collect())
    }
}

#[test]
fn methods_that_leave_blocks_are_on_the_stack() {
    let mut world = World::new(ExitMethods::Bound);
    let (class, _, exit) = world.lock_class();
    let (one, two) = (world.instance(class), world.instance(class));
    let sync_code = world.code("Sync.__exit__", 1, 0);
    let sync_exit = world.function(sync_code);
    let sync_class = world.class("Sync", &[("__exit__", sync_exit)], &[]);
    let sync = world.instance(sync_class);
    let other_code = world.code("other", 0, 0);
    let other = world.function(other_code);
    let exits = [
        world.bound(exit, one),
        world.bound(sync_exit, sync),
        // A method that leaves nothing; and one that leaves what is of another class.
        world.bound(other, one),
        world.bound(exit, sync),
        Address::NULL,
        Address(0x77),
        world.bound(exit, two),
    ];
    let code = world.code("main", 2, COROUTINE);
    let awaited = world.heap.allocate(32);
    let stack: Vec<u64> = exits.iter().chain([&awaited]).map(|value| value.0).collect();
    let local = world.bound(exit, one);
    let at = world.coroutine(code, &[local, local], &stack);
    let block = |object, is_async| Inside {
        object,
        is_async,
        frame: at,
        generator: None,
    };
    assert_eq!(
        world.frames().inside_of(at),
        Ok(vec![block(one, true), block(sync, false), block(two, true)])
    );
}

#[test]
fn since_3_14_the_object_lies_above_its_function() {
    let mut world = World::new(ExitMethods::WithObject);
    let (class, _, exit) = world.lock_class();
    let (one, two, three) = (
        world.instance(class),
        world.instance(class),
        world.instance(class),
    );
    let bound = world.bound(exit, three);
    let awaited = world.heap.allocate(32);
    // References may be tagged, NULL is, and integers look like nothing else.
    let stack = [
        exit.0 | 1,
        one.0 | 1,
        7 << 2 | 3,
        exit.0,
        two.0,
        bound.0,
        1,
        exit.0,
        awaited.0,
        1,
    ];
    let code = world.code("main", 0, COROUTINE);
    let at = world.coroutine(code, &[], &stack);
    assert_eq!(world.objects_of(&[at]), Ok(vec![one, two, three]));
}

#[test]
fn who_only_enters_a_block_is_not_inside() {
    for exit_methods in [ExitMethods::Bound, ExitMethods::WithObject] {
        let mut world = World::new(exit_methods);
        let (class, enter_code, exit) = world.lock_class();
        let lock = world.instance(class);
        let awaited = world.heap.allocate(32);
        let block = |world: &mut World| match exit_methods {
            ExitMethods::Bound => vec![world.bound(exit, lock).0],
            ExitMethods::WithObject => vec![exit.0, lock.0],
        };
        let once = [block(&mut world), vec![awaited.0]].concat();
        let twice = [block(&mut world), block(&mut world), vec![awaited.0]].concat();
        let code = world.code("main", 0, COROUTINE);
        let (once, twice) = (
            world.coroutine(code, &[], &once),
            world.coroutine(code, &[], &twice),
        );
        let enters = world.coroutine(enter_code, &[lock], &[awaited.0]);
        let body_code = world.code("body", 1, COROUTINE);
        let body = world.coroutine(body_code, &[lock], &[awaited.0]);
        assert_eq!(world.objects_of(&[once, enters]), Ok(vec![]));
        assert_eq!(world.objects_of(&[once, body]), Ok(vec![lock]));
        assert_eq!(world.objects_of(&[once]), Ok(vec![lock]));
        // It has the lock already.
        assert_eq!(world.objects_of(&[twice, enters]), Ok(vec![lock]));
        assert_eq!(world.objects_of(&[once, twice, enters]), Ok(vec![lock, lock]));
    }
}

#[test]
fn an_enter_that_is_no_coroutine_function_is_told_by_its_object() {
    let mut world = World::new(ExitMethods::Bound);
    let plain_code = world.code("Plain.__aenter__", 1, 0);
    let enter = world.function(plain_code);
    let exit = world.function(plain_code);
    let class = world.class("Plain", &[("__aenter__", enter), ("__aexit__", exit)], &[]);
    let object = world.instance(class);
    let awaited = world.heap.allocate(32);
    let bound = world.bound(exit, object);
    let code = world.code("main", 1, COROUTINE);
    let at = world.coroutine(code, &[Address::NULL], &[bound.0, awaited.0]);
    let of_object = world.coroutine(code, &[object], &[awaited.0]);
    let of_another = world.coroutine(code, &[awaited], &[awaited.0]);
    assert_eq!(world.objects_of(&[at, of_object]), Ok(vec![]));
    assert_eq!(world.objects_of(&[at, of_another]), Ok(vec![object]));
    // What it awaits may be what its `__aenter__` returned.
    assert_eq!(world.objects_of(&[at]), Ok(vec![]));
}

#[test]
fn who_leaves_a_block_is_still_inside() {
    let mut world = World::new(ExitMethods::Bound);
    let (class, _, exit) = world.lock_class();
    let lock = world.instance(class);
    let awaited = world.heap.allocate(32);
    let exit_code = Address(
        world
            .heap
            .objects()
            .memory
            .read_u64(exit.offset(world.heap.offsets.function.code))
            .unwrap(),
    );
    let leaves = world.coroutine(exit_code, &[lock], &[awaited.0]);
    let code = world.code("main", 0, COROUTINE);
    let bound = world.bound(exit, lock);
    let after = world.coroutine(code, &[], &[awaited.0]);
    let by_exception = world.coroutine(code, &[], &[bound.0, awaited.0]);
    assert_eq!(world.objects_of(&[after, leaves]), Ok(vec![lock]));
    assert_eq!(world.objects_of(&[by_exception, leaves]), Ok(vec![lock]));
}

/// An instance of a class whose attributes are in a dict at 16.
fn with_attributes(world: &mut World, class: Address, attributes: &[(&str, Address)]) -> Address {
    let dict = world.heap.dict(attributes);
    let offset = world.heap.offsets.type_object.dict_offset;
    world.heap.set(class, offset, 16);
    let object = world.instance(class);
    world.heap.set(object, 16, dict.0);
    object
}

#[test]
fn generators_and_what_is_made_of_them_have_blocks_of_their_own() {
    let mut world = World::new(ExitMethods::Bound);
    let (class, _, exit) = world.lock_class();
    let (one, two) = (world.instance(class), world.instance(class));
    let awaited = world.heap.allocate(32);
    let code = world.code("generator", 0, 0);
    let (first, second) = (world.bound(exit, one), world.bound(exit, two));
    let async_generator = world.heap.types.async_generator;
    let (inner, inner_at) = world.suspended(async_generator, code, &[], &[first.0]);
    let (outer, _) = world.suspended(async_generator, code, &[], &[second.0, inner.0]);

    // `async for`.
    let iterates = world.coroutine(code, &[], &[outer.0, awaited.0]);
    assert_eq!(world.objects_of(&[iterates]), Ok(vec![two, one]));
    // A generator that is being gone on with is part of the chain.
    assert_eq!(world.objects_of(&[iterates, inner_at]), Ok(vec![two, one]));

    // `asynccontextmanager`.
    let base = world.class("_GeneratorContextManagerBase", &[], &[]);
    let manager_class = world.class("Manager", &[("__aexit__", exit)], &[base]);
    let manager = with_attributes(&mut world, manager_class, &[("gen", inner)]);
    let bound = world.bound(exit, manager);
    let manages = world.coroutine(code, &[], &[bound.0, Address::NULL.0, awaited.0]);
    let blocks = world.frames().inside_of(manages).expect("it is well-formed");
    let found: Vec<_> = blocks
        .iter()
        .map(|block| (block.object, block.generator))
        .collect();
    assert_eq!(found, [(manager, Some(inner_at)), (one, None)]);
}

#[test]
fn stacks_of_contexts_have_what_they_have_entered() {
    let mut world = World::new(ExitMethods::Bound);
    let (class, _, exit) = world.lock_class();
    let lock = world.instance(class);
    let callback = world.bound(exit, lock);
    let context = world.heap.tuple(&[Address(0x8), callback]);
    let nonsense = world.heap.tuple(&[callback]);
    let deque_type = world.heap.new_type("collections.deque", 0, 64);
    let deque = world.heap.object(deque_type, 64);
    let block = world.heap.allocate(8 + 65 * 8);
    for (index, item) in [nonsense, callback, context].iter().enumerate() {
        world.heap.set(block, 8 + index as u64 * 8, item.0);
    }
    world.heap.set(deque, 16, 3);
    world.heap.set(deque, 24, block.0);
    let base = world.class("_BaseExitStack", &[], &[]);
    let stack_class = world.class("AsyncExitStack", &[("__aexit__", exit)], &[base]);
    let stack = with_attributes(&mut world, stack_class, &[("_exit_callbacks", deque)]);
    let bound = world.bound(exit, stack);
    let code = world.code("main", 0, COROUTINE);
    let at = world.coroutine(code, &[], &[bound.0, 0, 0]);
    assert_eq!(world.objects_of(&[at]), Ok(vec![stack, lock]));
}

#[test]
fn hostile_frames_end() {
    let mut world = World::new(ExitMethods::Bound);
    let (class, _, exit) = world.lock_class();
    let lock = world.instance(class);
    let bound = world.bound(exit, lock);
    let code = world.code("main", 0, COROUTINE);
    // A generator that has itself on its stack.
    let generator_type = world.heap.types.generator;
    let (generator, at) = world.suspended(generator_type, code, &[], &[bound.0, 0]);
    let slot = u64::from(world.layout.frame_locals) + 8;
    world.heap.set(at.frame, slot, generator.0);
    assert_eq!(world.objects_of(&[at]), Ok(vec![lock]));

    // Stacks of so many generators that each has the next one.
    let mut next = generator;
    for _ in 0..100 {
        next = world.suspended(generator_type, code, &[], &[next.0, bound.0]).0;
    }
    let many = world.coroutine(code, &[], &[next.0, 0]);
    let blocks = world.objects_of(&[many]).expect("it is well-formed");
    assert!(blocks.len() < 20, "{}", blocks.len());

    // More blocks than are believed, and a stack that is longer than memory.
    let full = vec![bound.0; 3000];
    let full = world.coroutine(code, &[], &full);
    assert!(matches!(
        world.objects_of(&[full]),
        Err(ReadError::Exhausted { .. })
    ));
    let count = full.frame.0 + u64::from(world.layout.frame_stack);
    world.heap.image.write(count, &i32::MAX.to_le_bytes());
    assert!(world.objects_of(&[full]).is_err());
    world.heap.image.write(count, &(-1_i32).to_le_bytes());
    assert!(world.objects_of(&[full]).is_err());
    assert!(*world.heap.image.reads.borrow() < 100_000);
}
