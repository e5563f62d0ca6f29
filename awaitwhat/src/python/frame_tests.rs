//! Tests of chains over synthetic coroutines, well-formed and hostile.

use awaitwhat_common::layout::{Layout, Wrapper};

use super::frame::{Chain, FrameAddress, Frames};
use super::image::{Heap, MemoryImage};
use super::{ReadError, Types};
use crate::layout::{Table, Version};
use crate::memory::Address;

/// `RESUME` of 3.12, and its argument after an `await`.
const RESUME_AFTER_AWAIT: [u8; 2] = [151, 3];
const RESUME_AFTER_YIELD: [u8; 2] = [151, 1];

fn table() -> Table {
    let version = Version::from_hex(0x030c_00f0);
    Table::for_interpreter(&MemoryImage::default(), version, Address::NULL).expect("3.12 publishes nothing")
}

fn layout(types: &Types, wrapper: Address) -> Layout {
    let mut layout = Layout {
        coroutine_type: types.coroutine.0,
        generator_type: types.generator.0,
        async_generator_type: types.async_generator.0,
        ..table().walk
    };
    layout.wrappers[0] = Wrapper {
        type_address: wrapper.0,
        inner: 16,
        is_terminal: 1,
        name: 0,
        code: 0,
    };
    layout
}

/// A code object with the named variables.
fn code(heap: &mut Heap, names: &[&str]) -> Address {
    let names: Vec<Address> = names.iter().map(|name| heap.text(name)).collect();
    let names = heap.tuple(&names);
    let code = heap.object(heap.types.code, 256);
    heap.set(code, heap.offsets.code.local_names, names.0);
    code
}

/// A suspended coroutine with one variable, whose next instruction is `next`.
fn coroutine(
    heap: &mut Heap,
    layout: &Layout,
    code: Address,
    local: Address,
    awaited: Address,
    next: [u8; 2],
) -> Address {
    let coroutine = heap.object(heap.types.coroutine, 256);
    let instructions = heap.allocate(8);
    heap.image.write(instructions.0 + 2, &next);
    heap.image.write(
        coroutine.0 + u64::from(layout.generator_frame_state),
        &[layout.state_suspended as u8],
    );
    let frame = u64::from(layout.generator_frame);
    heap.set(coroutine, frame + u64::from(layout.frame_code), code.0);
    heap.set(
        coroutine,
        frame + u64::from(layout.frame_instruction),
        instructions.0,
    );
    heap.image.write(
        coroutine.0 + frame + u64::from(layout.frame_stack),
        &2_u32.to_le_bytes(),
    );
    heap.set(coroutine, frame + u64::from(layout.frame_locals), local.0);
    heap.set(coroutine, frame + u64::from(layout.frame_locals) + 8, awaited.0);
    coroutine
}

#[test]
fn follows_a_chain_to_its_end() {
    let mut heap = Heap::new(table().offsets);
    let iterator_type = heap.new_type("_asyncio.FutureIter", 0, 24);
    let layout = layout(&heap.types, iterator_type);
    let code = code(&mut heap, &["fs"]);
    let (iterator, future, local) = (
        heap.object(iterator_type, 24),
        heap.allocate(64),
        heap.allocate(16),
    );
    heap.set(iterator, 16, future.0);
    let inner = coroutine(&mut heap, &layout, code, local, iterator, RESUME_AFTER_AWAIT);
    let outer = coroutine(&mut heap, &layout, code, Address::NULL, inner, RESUME_AFTER_AWAIT);
    let frames = Frames {
        objects: heap.objects(),
        layout: &layout,
    };
    let chain = frames.chain(outer).expect("it is well-formed");
    let at = |coroutine: Address| {
        Some(FrameAddress {
            frame: coroutine.offset(u64::from(layout.generator_frame)),
            code,
        })
    };
    assert_eq!(
        chain,
        Chain {
            innermost: at(inner),
            next: at(outer),
            after_next: None,
            objects: 3,
            terminal: Some(future)
        }
    );
    let innermost = at(inner).expect("it is one");
    assert_eq!(frames.local(innermost, "fs"), Ok(Some(local)));
    assert_eq!(frames.local(innermost, "gs"), Ok(None));
    assert_eq!(frames.local(at(outer).expect("it is one"), "fs"), Ok(None));
}

#[test]
fn tells_yield_from_await() {
    let mut heap = Heap::new(table().offsets);
    let layout = layout(&heap.types, Address(8));
    let code = code(&mut heap, &[]);
    let awaited = heap.allocate(64);
    let yielding = coroutine(
        &mut heap,
        &layout,
        code,
        Address::NULL,
        awaited,
        RESUME_AFTER_YIELD,
    );
    let frames = Frames {
        objects: heap.objects(),
        layout: &layout,
    };
    assert_eq!(frames.chain(yielding).map(|chain| chain.terminal), Ok(None));
}

#[test]
fn reads_variables_that_are_shared_through_cells() {
    let mut heap = Heap::new(table().offsets);
    let layout = layout(&heap.types, Address(8));
    let code = code(&mut heap, &["todo"]);
    let (cell, contents) = (heap.object(heap.types.cell, 24), heap.allocate(16));
    heap.set(cell, heap.offsets.cell_contents, contents.0);
    let coroutine = coroutine(&mut heap, &layout, code, cell, Address::NULL, RESUME_AFTER_YIELD);
    let frame = coroutine.offset(u64::from(layout.generator_frame));
    let frames = Frames {
        objects: heap.objects(),
        layout: &layout,
    };
    assert_eq!(
        frames.local(FrameAddress { frame, code }, "todo"),
        Ok(Some(contents))
    );
}

#[test]
fn ends_a_chain_that_leads_to_itself() {
    let mut heap = Heap::new(table().offsets);
    let layout = layout(&heap.types, Address(8));
    let code = code(&mut heap, &[]);
    let first = coroutine(
        &mut heap,
        &layout,
        code,
        Address::NULL,
        Address::NULL,
        RESUME_AFTER_AWAIT,
    );
    let second = coroutine(&mut heap, &layout, code, Address::NULL, first, RESUME_AFTER_AWAIT);
    let slot = u64::from(layout.generator_frame) + u64::from(layout.frame_locals) + 8;
    heap.set(first, slot, second.0);
    let frames = Frames {
        objects: heap.objects(),
        layout: &layout,
    };
    let malformed = ReadError::Malformed {
        what: "chain of coroutines",
        address: first,
    };
    assert_eq!(frames.chain(first), Err(malformed));
    assert!(*heap.image.reads.borrow() < 20_000);
}
