//! What frames are inside of.

use super::objects::{NAMESPACE_BEFORE, Planter};
use super::readers::run;
use super::world::Kind;
use crate::layout::ExitMethods;
use crate::memory::Address;
use crate::python::inside::Blocks;

/// `BLOCKLEN` of a deque, and the bytes of a block of it.
const BLOCK_ITEMS: u64 = 64;
const BLOCK_BYTES: u64 = (BLOCK_ITEMS + 2) * 8;

impl Planter {
    /// A coroutine that is inside of everything that a frame can be inside of, and another that enters what the first one has.
    pub(super) fn plant_blocks(&mut self) {
        let enter = self.method_of_class("Lock.__aenter__");
        let exit = self.method_of_class("Lock.__aexit__");
        let lock_class = self.context_class("Lock", &[("__aenter__", enter), ("__aexit__", exit)], &[]);
        let lock = self.heap.object(lock_class, 64);
        let code = self.code("main", "/srv/app.py", &["self"]);
        let iterator = self
            .heap
            .object(Address(self.layout.wrappers[0].type_address), 64);

        // A generator that rests inside of the lock's block, and what `contextlib` makes of one.
        let held = self.block(exit, lock);
        let generator = self.inside(code, &held, Address::NULL);
        let type_at = self.heap.offsets.object_type;
        self.heap
            .set(generator, type_at, self.heap.types.async_generator.0);
        let base = self.new_type("_GeneratorContextManagerBase", 0, 64, &[]);
        let manager_class = self.context_class("Manager", &[("__aexit__", exit)], &[base]);
        let manager = self.instance(manager_class, &[("gen", generator)]);

        // A stack with one context.
        let context = self.bound(exit, lock);
        let context = self.heap.tuple(&[self.heap.types.none, context]);
        let deque = self.deque_of(context);
        let base = self.new_type("_BaseExitStack", 0, 64, &[]);
        let stack_class = self.context_class("AsyncExitStack", &[("__aexit__", exit)], &[base]);
        let contexts = self.instance(stack_class, &[("_exit_callbacks", deque)]);

        let all: Vec<Address> = [lock, manager, contexts]
            .into_iter()
            .flat_map(|object| self.block(exit, object))
            .chain([generator])
            .collect();
        self.inside(code, &all, iterator);
        let enters_code = self
            .heap
            .objects()
            .memory
            .read_address(enter.offset(self.heap.offsets.function.code));
        let enters = self.coroutine(enters_code.unwrap_or_default(), lock, iterator);
        let entering = self.block(exit, lock);
        self.inside(code, &entering, enters);
    }

    /// A function that a class has.
    fn method_of_class(&mut self, name: &str) -> Address {
        let code = self.code(name, "/srv/locks.py", &["self"]);
        let function = self.heap.object(self.heap.types.function, 256);
        let offsets = self.heap.offsets;
        self.heap.set(function, offsets.function.code, code.0);
        // `CO_COROUTINE`.
        self.heap
            .image
            .write(code.0 + offsets.code.flags, &0x80_u32.to_le_bytes());
        function
    }

    fn context_class(&mut self, name: &str, methods: &[(&str, Address)], bases: &[Address]) -> Address {
        let class = self.new_type(name, 0, 64, bases);
        let namespace = self.heap.dict(methods);
        let at = self.heap.offsets.type_object.dict_offset;
        self.heap.set(class, at - NAMESPACE_BEFORE, namespace.0);
        class
    }

    fn bound(&mut self, function: Address, instance: Address) -> Address {
        let kind = self.new_type("method", 0, 64, &[]);
        let method = self.heap.object(kind, 64);
        let offsets = self.heap.offsets.method;
        self.heap.set(method, offsets.function, function.0);
        self.heap.set(method, offsets.instance, instance.0);
        method
    }

    /// What a block leaves on the stack.
    fn block(&mut self, exit: Address, object: Address) -> Vec<Address> {
        match self.heap.offsets.exit_methods {
            ExitMethods::Bound => vec![self.bound(exit, object)],
            ExitMethods::WithObject => vec![exit, object],
        }
    }

    pub(super) fn deque_of(&mut self, item: Address) -> Address {
        let block = self.heap.allocate(BLOCK_BYTES);
        self.heap.set(block, 8, item.0);
        let kind = self.new_type("collections.deque", 0, 80, &[]);
        let deque = self.heap.object(kind, 96);
        let header = self.heap.offsets.header_bytes();
        for (place, word) in [(0, 1), (1, block.0), (2, block.0), (3, 0)] {
            self.heap.set(deque, header + place * 8, word);
        }
        deque
    }
}

#[test]
fn fuzz_blocks() {
    let places = [
        ("of_chain", 0),
        ("of_chain", 1),
        ("of_chain", 3),
        ("blocks", 0),
        ("blocks", 1),
        ("blocks", 4),
        ("generator", 1),
    ];
    run("blocks", 4000, &places, |world, memory, choices, reached| {
        let frames = world.frames(memory);
        let mut blocks = Blocks::new(frames);
        for _ in 0..=choices.below(3) {
            let coroutine = world.pick(choices, Kind::Coroutine);
            let chain = memory.call(reached, "chain_frames", || frames.chain_frames(coroutine));
            let chain = chain.unwrap_or_default();
            let found = memory.call(reached, "of_chain", || blocks.of_chain(&chain));
            let found = found.unwrap_or_default();
            reached.note("blocks", found.len().min(4) as u32);
            let has_generator = found.iter().any(|block| block.generator.is_some());
            reached.note("generator", u32::from(has_generator));
        }
    });
}
