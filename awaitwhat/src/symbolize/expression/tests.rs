use awaitwhat_fuzz::{Choices, Target};

use super::machine::{Instructions, Machine};
use super::{Awaited, Called, Expressions, Way};
use crate::layout::opcodes::{ALL, Opcodes};
use crate::layout::{Table, Version};
use crate::memory::Address;
use crate::python::image::{Heap, MemoryImage};

/// Names and constants that the code objects have.
const NAMES: [&str; 3] = ["locks", "acquire", "run"];
const LOCALS: [&str; 3] = ["self", "key", ".0"];

fn heap(hex: u32) -> Heap {
    let version = Version::from_hex(hex);
    let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
    Heap::new(table.expect("it publishes nothing").offsets)
}

/// A code object of 3.12 with instructions.
fn code(heap: &mut Heap, instructions: &[u8]) -> Address {
    let code = heap.object(heap.types.code, 256 + instructions.len() as u64);
    let offsets = heap.offsets.code;
    let names = NAMES.map(|name| heap.text(name));
    let locals = LOCALS.map(|name| heap.text(name));
    let (names, locals) = (heap.tuple(&names), heap.tuple(&locals));
    let secret = heap.text("secret");
    let number = heap.object(heap.types.long, 40);
    heap.set(number, heap.offsets.long.tag, 1 << 3);
    heap.set(number, heap.offsets.long.digits, 7);
    let keywords = heap.tuple(&[heap
        .objects()
        .memory
        .read_address(names.offset(heap.offsets.tuple.items))
        .unwrap()]);
    let none = heap.types.none;
    let constants = heap.tuple(&[none, secret, number, keywords]);
    heap.set(code, offsets.names, names.0);
    heap.set(code, offsets.local_names, locals.0);
    heap.set(code, offsets.constants, constants.0);
    let units = instructions.len() as u64 / 2;
    heap.set(code, heap.offsets.header_bytes(), units);
    let start = offsets.instructions.expect("they are in place");
    heap.image.write(code.0 + start, instructions);
    code
}

/// Instructions by their names, with their caches.
fn assemble(opcodes: &Opcodes, instructions: &[(&str, u8)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, argument) in instructions {
        let number = opcodes
            .number(name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        bytes.extend([number, *argument]);
        let caches = opcodes.named(name).map_or(0, |opcode| opcode.caches);
        bytes.resize(bytes.len() + 2 * usize::from(caches), 0);
    }
    bytes
}

/// The same, and then `await`: and the unit of its `YIELD_VALUE`.
fn assemble_await(opcodes: &Opcodes, instructions: &[(&str, u8)]) -> (Vec<u8>, u64) {
    const AWAIT: [(&str, u8); 3] = [("LOAD_CONST", 0), ("SEND", 3), ("YIELD_VALUE", 2)];
    let bytes = assemble(opcodes, &[instructions, &AWAIT].concat());
    let unit = bytes.len() as u64 / 2 - 1;
    (bytes, unit)
}

fn awaited(instructions: &[(&str, u8)]) -> Awaited {
    let mut heap = heap(0x030c_00f0);
    let opcodes = heap.offsets.opcodes.read();
    let (bytes, unit) = assemble_await(&opcodes, instructions);
    let code = code(&mut heap, &bytes);
    let start = heap.offsets.code.instructions.expect("they are in place");
    let mut expressions = Expressions::new(heap.offsets.opcodes);
    let instruction = code.offset(start + 2 * unit);
    expressions
        .awaited(&heap.objects(), code, instruction)
        .expect("all of it is there")
}

fn expression(instructions: &[(&str, u8)]) -> Option<String> {
    awaited(instructions).expression
}

#[test]
fn tells_what_is_entered() {
    let found = awaited(&[
        ("LOAD_FAST", 0),
        ("LOAD_ATTR", 0),
        ("LOAD_FAST", 1),
        ("BINARY_SUBSCR", 0),
        ("BEFORE_ASYNC_WITH", 0),
        ("GET_AWAITABLE", 1),
    ]);
    let expected = Awaited {
        way: Some(Way::AsyncWith),
        receiver: Some("self.locks[key]".to_owned()),
        ..Awaited::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn tells_what_is_called() {
    let found = awaited(&[
        ("LOAD_FAST", 0),
        ("LOAD_ATTR", 1 << 1 | 1),
        ("LOAD_CONST", 1),
        ("LOAD_CONST", 2),
        ("KW_NAMES", 3),
        ("CALL", 2),
        ("GET_AWAITABLE", 0),
    ]);
    assert_eq!(found.receiver.as_deref(), Some("self"));
    // A text is somebody's.
    assert_eq!(found.expression.as_deref(), Some("self.acquire(…, locks=7)"));
}

#[test]
fn tells_what_is_called_among_arguments() {
    let found = awaited(&[
        ("PUSH_NULL", 0),
        ("LOAD_NAME", 2),
        ("LOAD_FAST", 0),
        ("LOAD_ATTR", 0),
        ("LOAD_ATTR", 1 << 1 | 1),
        ("CALL", 0),
        ("LOAD_FAST", 1),
        ("CALL", 2),
        ("GET_AWAITABLE", 0),
    ]);
    assert_eq!(
        found.expression.as_deref(),
        Some("run(self.locks.acquire(), key)")
    );
    let (receiver, method) = ("self.locks".to_owned(), "acquire".to_owned());
    assert_eq!(found.names, ["key"]);
    assert_eq!(found.calls, [Called { receiver, method }]);
}

#[test]
fn says_nothing_of_what_it_does_not_know() {
    let run = |last: &[(&'static str, u8)]| {
        expression(&[&[("LOAD_FAST", 0)], last, &[("GET_AWAITABLE", 0)]].concat())
    };
    assert_eq!(run(&[]).as_deref(), Some("self"));
    assert_eq!(run(&[("UNARY_NOT", 0)]), None);
    assert_eq!(run(&[("MATCH_KEYS", 0)]), None);
    // A variable that the compiler made, one that is not there, and constants.
    assert_eq!(run(&[("LOAD_FAST", 2)]), None);
    assert_eq!(run(&[("LOAD_FAST", 3)]), None);
    assert_eq!(run(&[("LOAD_CONST", 1)]), None);
    assert_eq!(run(&[("LOAD_CONST", 0), ("LOAD_ATTR", 0)]), None);
}

#[test]
fn believes_what_all_ways_agree_about() {
    let run = |other: u8| {
        expression(&[
            ("LOAD_FAST", 0),
            ("LOAD_FAST", 0),
            ("POP_JUMP_IF_FALSE", 2),
            ("LOAD_FAST", 1),
            ("JUMP_FORWARD", 1),
            ("LOAD_FAST", other),
            // Either of two values that differ, or that one at the top is gone.
            ("POP_TOP", 0),
            ("GET_AWAITABLE", 0),
        ])
    };
    assert_eq!(run(0).as_deref(), Some("self"));
    let differs = expression(&[
        ("LOAD_FAST", 0),
        ("POP_JUMP_IF_FALSE", 2),
        ("LOAD_FAST", 1),
        ("JUMP_FORWARD", 1),
        ("LOAD_FAST", 0),
        ("GET_AWAITABLE", 0),
    ]);
    assert_eq!(differs, None);
}

#[test]
fn ends_at_an_unknown_instruction() {
    let opcodes = heap(0x030c_00f0).offsets.opcodes.read();
    let (mut bytes, unit) = assemble_await(&opcodes, &[("NOP", 0), ("LOAD_FAST", 0), ("GET_AWAITABLE", 0)]);
    let instructions = Instructions::new(opcodes);
    let find = |bytes: &[u8]| {
        Machine::new(&instructions)
            .awaited(bytes, unit as usize)
            .is_some()
    };
    assert!(find(&bytes));
    // `INSTRUMENTED_LINE` of 3.12.
    bytes[0] = 254;
    assert!(!find(&bytes));
}

#[test]
fn leaves_out_what_is_long() {
    let mut instructions = vec![("LOAD_FAST", 0), ("LOAD_ATTR", 1 << 1 | 1)];
    for _ in 0..4 {
        instructions.push(("LOAD_FAST", 0));
        instructions.extend([("LOAD_ATTR", 0); 4]);
    }
    instructions.extend([("CALL", 4), ("GET_AWAITABLE", 0)]);
    assert_eq!(expression(&instructions).as_deref(), Some("self.acquire(…)"));
}

#[test]
fn remembers_and_forgets() {
    let mut heap = heap(0x030c_00f0);
    let (bytes, unit) = assemble_await(
        &heap.offsets.opcodes.read(),
        &[("LOAD_FAST", 0), ("GET_AWAITABLE", 0)],
    );
    let code = code(&mut heap, &bytes);
    let start = heap.offsets.code.instructions.expect("they are in place");
    let mut expressions = Expressions::new(heap.offsets.opcodes);
    let find = |heap: &Heap, expressions: &mut Expressions| {
        let instruction = code.offset(start + 2 * unit);
        expressions
            .awaited(&heap.objects(), code, instruction)
            .unwrap()
            .expression
    };
    let known = find(&heap, &mut expressions);
    assert_eq!(known.as_deref(), Some("self"));
    heap.image.write(code.0 + start, &[0; 2]);
    assert_eq!(find(&heap, &mut expressions), known);
    expressions.forget(&[code]);
    assert_eq!(find(&heap, &mut expressions), None);
    // No code object, and no instruction of it.
    let text = heap.text("no code");
    assert!(expressions.awaited(&heap.objects(), text, text).is_err());
    for instruction in [Address::NULL, code, code.offset(start + 2000), Address(u64::MAX)] {
        let found = expressions.awaited(&heap.objects(), code, instruction);
        assert_eq!(found, Ok(Awaited::default()), "{instruction}");
    }
}

/// Reads that one place takes, whatever it is: few for the code, and some for each part of a text.
const MAX_READS: u64 = 4000;
/// Bytes of a text: some characters take several.
const MAX_TEXT_BYTES: usize = 400;

/// What compilers of different versions make of `await self.acquire()`, as far as a version has it.
const METHOD: [(&str, u8); 9] = [
    ("LOAD_FAST", 0),
    ("LOAD_METHOD", 1),
    ("LOAD_ATTR", 1 << 1 | 1),
    ("CALL", 0),
    ("CALL_METHOD", 0),
    ("GET_AWAITABLE", 0),
    ("LOAD_CONST", 0),
    ("SEND", 3),
    ("YIELD_FROM", 0),
];

/// Instructions that are mostly known ones of a version, mostly with small arguments.
fn instructions(choices: &mut Choices<'_>, opcodes: &Opcodes, numbers: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..choices.below(64) {
        if choices.once_in(8) {
            let has = |(name, _): &&(&str, u8)| {
                // Where there is `LOAD_METHOD`, `LOAD_ATTR` loads no methods.
                opcodes.number(name).is_some()
                    && (*name != "LOAD_ATTR" || opcodes.number("LOAD_METHOD").is_none())
            };
            let known: Vec<_> = METHOD.iter().filter(has).copied().collect();
            bytes.extend(assemble(opcodes, &known));
        }
        let number = if choices.once_in(32) {
            choices.byte()
        } else {
            choices.pick(numbers)
        };
        let argument = choices.byte();
        bytes.extend([
            number,
            if choices.once_in(4) {
                argument
            } else {
                argument % 4
            },
        ]);
    }
    bytes
}

/// Places that are asked for in one execution.
const PLACES: usize = 8;

/// Whatever the instructions are, each place is told by a bounded number of reads, or is not.
#[test]
fn fuzz_expressions() {
    let target = Target {
        name: "expressions",
        executions: 2_000,
        max_bytes: 4 << 20,
        places: &[("way", 0), ("way", 1), ("receiver", 1), ("expression", 1)],
    };
    let tables = ALL.map(|listing| {
        let opcodes = listing.read();
        let numbers: Vec<u8> = (0..=u8::MAX)
            .filter(|number| opcodes.get(*number).is_some())
            .collect();
        (listing, opcodes, numbers)
    });
    target.run(|choices, reached| {
        let (listing, opcodes, numbers) = &tables[choices.below(tables.len())];
        let mut heap = heap(0x030c_00f0);
        let bytes = instructions(choices, opcodes, numbers);
        let code = code(&mut heap, &bytes);
        if choices.once_in(4) {
            heap.set(code, choices.below(256) as u64 & !7, choices.number());
        }
        let start = heap.offsets.code.instructions.expect("they are in place");
        let mut expressions = Expressions::new(*listing);
        for _ in 0..PLACES {
            let unit = choices.below(bytes.len() / 2 + 1) as u64;
            *heap.image.reads.borrow_mut() = 0;
            let instruction = code.offset(start + 2 * unit);
            let Ok(found) = expressions.awaited(&heap.objects(), code, instruction) else {
                continue;
            };
            assert!(*heap.image.reads.borrow() < MAX_READS);
            reached.note_option("way", &found.way);
            for (name, text) in [("receiver", found.receiver), ("expression", found.expression)] {
                assert!(text.as_ref().is_none_or(|text| text.len() < MAX_TEXT_BYTES));
                reached.note_option(name, &text);
            }
        }
    });
}
