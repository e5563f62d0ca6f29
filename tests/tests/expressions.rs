//! What code says at the places where it waits, against the syntax tree of the same code; and what the numbers of instructions mean.

use anyhow::{Context, Result, ensure};
use awaitwhat::memory::{Address, Memory};
use awaitwhat::python::frame::Frames;
use awaitwhat::symbolize::expression::{Awaited, Expressions, Way};
use awaitwhat::target::{Interpreter, find_interpreter};
use awaitwhat_common::layout::Layout;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;
use serde::Deserialize;

/// Prints what the interpreter says about its instructions.
const LISTING: &str = "opcodes.py";
/// Waits in many shapes.
const TARGET: &str = "expressions.py";

/// The first version whose code objects have exact places in the source.
const POSITIONS: (u32, u32) = (3, 11);

fn main() -> Result<()> {
    trials::run("expressions", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        type Check = fn(&Python) -> Result<()>;
        let checks: [(&str, Check); 4] = [
            ("opcodes", opcodes),
            ("shapes", |python| shapes(python, "")),
            // Instructions are instrumented in place, from 3.12 on.
            ("watched_by_a_profiler", |python| shapes(python, "profile")),
            ("watched_by_a_debugger", |python| shapes(python, "trace")),
        ];
        let checks = checks
            .into_iter()
            .chain((python.version >= POSITIONS).then_some(("all_code", all_code as Check)));
        for (name, check) in checks {
            let python = python.clone();
            list.push(trial(format!("{}::{name}", python.label), move || check(&python)));
        }
    }
    Ok(list)
}

/// Every line of a version's listing is what the interpreter says.
fn opcodes(python: &Python) -> Result<()> {
    let output = python.target_command(LISTING).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout)?;
    let target = Target::start::<&str>(python, "idle.py", &[])?;
    let (memory, interpreter) = find(&target)?;
    let known = interpreter.objects(&memory).offsets.opcodes.text();
    let differences: Vec<_> = known
        .lines()
        .map(|line| ("known", line, &said[..]))
        .chain(said.lines().map(|line| ("said", line, known)))
        .filter(|(_, line, other)| !other.lines().any(|it| it == *line))
        .map(|(who, line, _)| format!("{who}: {line}"))
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// What is true of one shape.
#[derive(Debug, Deserialize)]
struct Shape {
    function: String,
    coroutine: u64,
    way: Option<String>,
    receiver: Option<String>,
    expression: Option<String>,
}

fn shapes(python: &Python, watched_by: &str) -> Result<()> {
    let target = Target::start(python, TARGET, &[watched_by])?;
    let (memory, interpreter) = find(&target)?;
    let shapes: Vec<Shape> = serde_json::from_value(target.announced["shapes"].clone())?;
    ensure!(!shapes.is_empty(), "there are no shapes");
    let (_, layout) = interpreter.layouts().next().context("there is no layout")?;
    let mut expressions = Expressions::new(interpreter.objects(&memory).offsets.opcodes);
    let mut failures = Vec::new();
    let mut told = 0;
    for shape in &shapes {
        let found = awaited(&memory, &interpreter, layout, &mut expressions, shape.coroutine)?;
        // A debugger may have its own instructions in place of others, which is to be noticed.
        if found.way.is_none() && watched_by == "trace" {
            continue;
        }
        told += 1;
        let way = found.way.map(|way| format!("{way:?}"));
        if (&way, &found.receiver, &found.expression) != (&shape.way, &shape.receiver, &shape.expression) {
            failures.push(format!("{}: not {shape:?}, but {found:?}", shape.function));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    println!(
        "{}: {told} of {} shapes, watched by {watched_by:?}",
        python.label,
        shapes.len()
    );
    Ok(())
}

/// One of so many places may be unknown: in 3.13 and later, these have one more for each `async with` that an exception ends.
const UNKNOWN_SHARE: usize = 6;

/// What is true of a place in code that does not run.
#[derive(Debug, Deserialize)]
struct Place {
    code: u64,
    unit: u64,
    #[serde(rename = "where")]
    file_and_line: String,
    way: Option<String>,
    receiver: Option<String>,
    expression: Option<String>,
}

/// Code of the standard library and of packages: what is said of it is right, and hardly ever nothing.
fn all_code(python: &Python) -> Result<()> {
    let target = Target::start(python, TARGET, &["code"])?;
    let (memory, interpreter) = find(&target)?;
    let objects = interpreter.objects(&memory);
    let start = objects
        .offsets
        .code
        .instructions
        .context("instructions are elsewhere")?;
    let places: Vec<Place> = serde_json::from_value(target.announced["places"].clone())?;
    let mut expressions = Expressions::new(objects.offsets.opcodes);
    let (mut failures, mut unknown) = (Vec::new(), 0);
    for place in &places {
        let code = Address(place.code);
        let found = expressions.awaited(&objects, code, code.offset(start + 2 * place.unit))?;
        // The end of `async with` is at the same place as its beginning.
        let way = match found.way {
            Some(Way::AsyncWithEnd) => Some("AsyncWith".to_owned()),
            way => way.map(|way| format!("{way:?}")),
        };
        if (&found.receiver, &found.expression) == (&None, &None) {
            unknown += usize::from(place.receiver.is_some() || place.expression.is_some());
        } else if (&way, &found.receiver, &found.expression)
            != (&place.way, &place.receiver, &place.expression)
        {
            failures.push(format!("{}: not {place:?}, but {found:?}", place.file_and_line));
        }
    }
    println!("{}: {unknown} of {} places unknown", python.label, places.len());
    ensure!(!places.is_empty(), "there are no places");
    ensure!(
        unknown * UNKNOWN_SHARE <= places.len(),
        "{unknown} of {} places are unknown",
        places.len()
    );
    ensure!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        places.len(),
        failures.join("\n")
    );
    Ok(())
}

fn find(target: &Target) -> Result<(PeerMemory, Interpreter)> {
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    interpreter.process_id = Some(target.pid);
    // Its layouts come with its loops.
    interpreter.event_loops(&memory, &|| awaitwhat::session::own_thread_ids(target.pid))?;
    Ok((memory, interpreter))
}

fn awaited(
    memory: &PeerMemory,
    interpreter: &Interpreter,
    layout: &Layout,
    expressions: &mut Expressions,
    coroutine: u64,
) -> Result<Awaited> {
    let objects = interpreter.objects(memory);
    let frames = Frames { objects, layout };
    let chain = frames.chain_frames(Address(coroutine))?;
    let outermost = chain.first().context("a coroutine without a frame")?;
    let at = outermost.frame.offset(u64::from(layout.frame_instruction));
    let instruction = if layout.has_heap_frames() {
        let mut last = [0; 4];
        memory.read(at, &mut last)?;
        Address(u64::from(u32::from_le_bytes(last)) * u64::from(layout.instruction_unit))
    } else {
        memory.read_address(at)?
    };
    Ok(expressions.awaited(&objects, outermost.code, instruction)?)
}

/// The ways have the names that the targets know.
const _: [Way; 4] = [Way::Await, Way::AsyncWith, Way::AsyncWithEnd, Way::AsyncFor];
