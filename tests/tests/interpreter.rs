//! What user space finds in live interpreters, through `process_vm_readv`: versions, event loops, tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use awaitwhat::decode::{self, TaskRecord};
use awaitwhat::layout::LayoutError;
use awaitwhat::memory::{Address, Fault, Fragment, Memory};
use awaitwhat::reading::edges::{self, Side, Turn};
use awaitwhat::reading::ends::{self, Kinds, Suspension};
use awaitwhat::reading::still;
use awaitwhat::session::own_thread_ids;
use awaitwhat::snapshot::{FutureState, WaitKind};
use awaitwhat::symbolize::CodeCache;
use awaitwhat::target::{EventLoop, FindError, Interpreter, find_interpreter};
use awaitwhat::waits::Reader;
use awaitwhat_common::event::{TaskState, ring, task};
use awaitwhat_common::layout::Layout;
use awaitwhat_common::plan::{ThreadPlan, wants};
use awaitwhat_common::status::{SliceStatus, TaskStatus};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Frame, Snapshot, Task, WaitsOn};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::quick;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::trials::{Shape, shapes};

/// One pass over all tasks, and how it ended.
fn walk(memory: &PeerMemory, layout: &Layout, plan: &ThreadPlan) -> Result<(Vec<Vec<u64>>, SliceStatus)> {
    let plan = &ThreadPlan {
        wants: wants::NAME | wants::LINKS,
        ..*plan
    };
    let (records, status) = still::walk(memory, layout, plan);
    let words = |record: Vec<u8>| {
        record
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect()
    };
    let records = records.into_iter().map(words).collect();
    Ok((records, status.context("the walk did not end")?))
}

/// Passes that are begun: the thread that told the truth may be about to end, and takes its tasks from one list to another by that.
const MAX_PASSES: u32 = 10;

/// The records of a pass in which no registry changed.
fn whole_pass(memory: &PeerMemory, layout: &Layout, plan: &ThreadPlan) -> Result<Vec<Vec<u64>>> {
    for _ in 0..MAX_PASSES {
        match walk(memory, layout, plan)? {
            (records, SliceStatus::PassComplete) => return Ok(records),
            (_, SliceStatus::RegistryTorn) => {}
            (_, status) => bail!("the walk ended with {status:?}"),
        }
    }
    bail!("the registries changed in each of {MAX_PASSES} passes")
}

/// The layout that a plan refers to.
fn layout_of<'a>(interpreter: &'a Interpreter, plan: &ThreadPlan) -> Result<&'a Layout> {
    let mut layouts = interpreter.layouts();
    let found = layouts.find(|(number, _)| *number == plan.layout);
    Ok(found.context("there is a plan, but no layout")?.1)
}

/// Whether the tests can run; prints why not.
fn pythons() -> Vec<Python> {
    match environment::pythons() {
        Ok(pythons) => pythons,
        Err(error) if environment::is_ci() => panic!("{error:#}"),
        Err(error) => {
            println!("skipped: {error:#}");
            Vec::new()
        }
    }
}

fn find(target: &Target) -> Result<(PeerMemory, Interpreter)> {
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    interpreter.process_id = Some(target.pid);
    Ok((memory, interpreter))
}

/// Interpreters that are looked at at a time.
const AT_ONCE: usize = 2;

#[test]
fn tells_the_truth_about_every_shape() -> Result<()> {
    let (pythons, shapes) = (pythons(), shapes()?);
    let share = pythons.len().div_ceil(AT_ONCE).max(1);
    let failures: Vec<String> = thread::scope(|scope| {
        let shapes = &shapes;
        let start = |pythons| scope.spawn(move || check_shapes(pythons, shapes));
        let workers: Vec<_> = pythons.chunks(share).map(start).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Shapes that are not told truly, and how.
fn check_shapes(pythons: &[Python], shapes: &[Shape]) -> Vec<String> {
    let mut failures = Vec::new();
    for (turn, python) in pythons.iter().enumerate() {
        for (number, shape) in shapes.iter().enumerate() {
            if quick::is_asked() && number % pythons.len() != turn {
                continue;
            }
            // What trio adds to a task is put together from all of them, elsewhere; `shapes` looks at that.
            if shape.missing(python).is_some() || shape.needs("trio") {
                continue;
            }
            if let Err(error) = check_shape(python, &shape.file()) {
                failures.push(format!("{} {}: {error:#}", python.label, shape.name));
            }
        }
    }
    failures
}

fn check_shape(python: &Python, file: &str) -> Result<()> {
    let target = Target::start::<&str>(python, file, &[])?;
    let (memory, mut interpreter) = find(&target)?;
    ensure!(target.announced["python"] == interpreter.version.to_string().as_str());
    let loops = interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
    learn_task_types(&memory, &mut interpreter, &loops.plans)?;
    let mut truth = target.tasks()?;
    for task in &mut truth {
        // What need not be looked into is looked into all the same.
        task.awaited_by.append(&mut task.optional_awaited_by);
    }
    let mut look = Look::new(&memory, &interpreter, &loops.running);
    let mut tasks = Vec::new();
    for plan in &loops.plans {
        for record in whole_pass(&memory, layout_of(&interpreter, plan)?, plan)? {
            tasks.extend(look.task(&record)?);
        }
    }
    let torn = target.announced["torn"].as_u64().unwrap_or(0);
    ensure!(look.torn == torn, "{torn} tasks are torn, seen {}", look.torn);
    ensure!(look.code.take_unreadable() == 0, "code objects could not be read");
    ensure!(
        look.code.revalidate(&interpreter.objects(&memory))?.is_empty(),
        "code objects are stale"
    );
    look.add_awaiters(&mut tasks);
    let snapshot = Snapshot {
        schema: String::new(),
        pid: target.pid,
        python: interpreter.version.to_string(),
        captured_at: String::new(),
        tasks,
        loops: Vec::new(),
        findings: Vec::new(),
        lost: BTreeMap::new(),
    };
    let found = differences(&truth, &snapshot);
    ensure!(
        found.is_empty(),
        "{}",
        found.into_iter().take(3).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

/// Has the interpreter learn the classes of all tasks that are written in Python.
fn learn_task_types(memory: &PeerMemory, interpreter: &mut Interpreter, plans: &[ThreadPlan]) -> Result<()> {
    for plan in plans {
        let (records, _) = walk(memory, layout_of(interpreter, plan)?, plan)?;
        let word = |record: &[u64], at: usize| Address(record.get(at).copied().unwrap_or(0));
        let of_tasks = records.iter().filter(|it| !word(it, task::ADDRESS).is_null());
        for (task_type, task) in of_tasks.map(|it| (word(it, task::TYPE), word(it, task::ADDRESS))) {
            if !interpreter.is_task_type(memory, plan.layout, task_type)? {
                interpreter.learn_task_type(memory, plan.layout, task_type, task)?;
            }
        }
    }
    Ok(())
}

/// How often a program is watched while it begins.
const BEGINNINGS: u32 = 4;

/// A program whose loop runs for good.
const PROGRAM: &str = "import asyncio
async def main(): await asyncio.get_running_loop().create_future()
asyncio.run(main())";

/// From the first moment on, a program that begins is either not there yet or read rightly.
#[test]
fn waits_for_an_interpreter_that_begins() -> Result<()> {
    for python in pythons() {
        for _ in 0..BEGINNINGS {
            let mut child = python
                .command()
                .args(["-c", PROGRAM])
                .stdin(Stdio::null())
                .spawn()?;
            let begun = watch_beginning(child.id());
            child.kill()?;
            child.wait()?;
            begun.with_context(|| python.label.clone())?;
        }
    }
    Ok(())
}

/// The dynamic loader is held before it maps what the program needs: by a library to load first that is a pipe, which says nothing yet.
#[test]
fn tells_a_program_that_is_being_loaded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gate = folder.path().join("gate");
    ensure!(Command::new("mkfifo").arg(&gate).status()?.success(), "no pipe");
    // In another root there is no such pipe.
    let is_here = |python: &Python| python.root() == Path::new("/");
    for python in pythons().into_iter().filter(is_here) {
        let mut child = python
            .command()
            .args(["-c", PROGRAM])
            .env("LD_PRELOAD", &gate)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Opened once the loader has opened the other end.
        let held = File::options().write(true).open(&gate)?;
        let early = find_interpreter(&PeerMemory::new(child.id())?, &mappings(child.id())?);
        drop(held);
        let begun = watch_beginning(child.id());
        child.kill()?;
        child.wait()?;
        begun.with_context(|| python.label.clone())?;
        let is_told = matches!(
            early,
            Err(FindError::NotPython {
                is_without_libc: true,
                ..
            } | FindError::NotInitialised)
        );
        ensure!(is_told, "{}: {early:?}", python.label);
    }
    Ok(())
}

fn watch_beginning(pid: u32) -> Result<()> {
    let memory = PeerMemory::new(pid)?;
    let mut interpreter = loop {
        match find_interpreter(&memory, &mappings(pid)?) {
            Err(FindError::NotPython { .. } | FindError::NotInitialised) => {}
            found => break found?,
        }
    };
    while interpreter
        .event_loops(&memory, &|| own_thread_ids(pid))?
        .plans
        .is_empty()
    {}
    Ok(())
}

/// How often a busy process is looked at.
const BUSY_LOOKS: usize = 20;
/// The same where a quick run will do.
const QUICK_LOOKS: usize = 2;

/// What is read while it changes is at worst missing or wrong, but every look ends, and the loop is always found.
#[test]
fn keeps_its_head_while_the_target_is_busy() -> Result<()> {
    let looks = if quick::is_asked() {
        QUICK_LOOKS
    } else {
        BUSY_LOOKS
    };
    for python in pythons() {
        let target = Target::start::<&str>(&python, "busy_tasks.py", &[])?;
        let (memory, mut interpreter) = find(&target)?;
        let mut described = 0;
        for _ in 0..looks {
            let loops = interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
            ensure!(loops.plans.len() == 1, "{}: {loops:?}", python.label);
            let mut look = Look::new(&memory, &interpreter, &loops.running);
            for record in walk(
                &memory,
                layout_of(&interpreter, &loops.plans[0])?,
                &loops.plans[0],
            )?
            .0
            {
                // An error is an honest answer here.
                described += usize::from(matches!(look.task(&record), Ok(Some(_))));
            }
            look.code.revalidate(&interpreter.objects(&memory))?;
        }
        ensure!(described > 0, "{}: no task was ever read", python.label);
    }
    Ok(())
}

#[test]
fn refuses_other_interpreters_by_name() -> Result<()> {
    let unsupported = environment::unsupported_pythons().unwrap_or_default();
    for python in unsupported {
        // Too old for the module that the other targets have in common.
        let mut command = python.command();
        command.args([
            "-c",
            "import sys; print('{}'); sys.stdout.flush(); sys.stdin.read()",
        ]);
        let target = Target::spawn(command)?;
        let memory = PeerMemory::new(target.pid)?;
        let found = find_interpreter(&memory, &mappings(target.pid)?).map(|it| it.version.to_string());
        let Err(error) = found else {
            bail!("{} was taken for {found:?}", python.label)
        };
        let is_as_expected = match &error {
            FindError::Python2 { .. } => python.version < (3, 0),
            FindError::TooOld { .. } => python.version >= (3, 0),
            FindError::Layout(LayoutError::UnknownVersion(version)) => {
                (u32::from(version.minor().0), u32::from(version.minor().1)) == python.version
            }
            _ => false,
        };
        ensure!(is_as_expected, "{}: {error}", python.label);
    }
    Ok(())
}

#[test]
fn refuses_programs_that_are_not_python() -> Result<()> {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // It answers, so it has long begun.
    child
        .stdin
        .as_mut()
        .context("cat has no input")?
        .write_all(b"x")?;
    child
        .stdout
        .as_mut()
        .context("cat has no output")?
        .read_exact(&mut [0])?;
    let memory = PeerMemory::new(child.id())?;
    let found = find_interpreter(&memory, &mappings(child.id())?).map(|it| it.version);
    drop(child.stdin.take());
    child.wait()?;
    ensure!(
        matches!(found, Err(FindError::NotPython { images, is_without_libc: false }) if images > 1),
        "{found:?}"
    );
    ensure!(
        matches!(memory.read_u64(Address(0x1000)), Err(Fault::Gone)),
        "the process is gone"
    );
    Ok(())
}

/// Turns records into what the program is to show.
struct Look<'a> {
    memory: &'a PeerMemory,
    interpreter: &'a Interpreter,
    running: &'a [EventLoop],
    code: CodeCache,
    kinds: Kinds,
    /// What is to be joined to who waits for whom.
    sides: Vec<Side>,
    /// Tasks that cannot be told.
    torn: u64,
    /// Tasks that are told: with many loops, several walks meet the same ones.
    told: BTreeSet<Address>,
}

impl<'a> Look<'a> {
    fn new(memory: &'a PeerMemory, interpreter: &'a Interpreter, running: &'a [EventLoop]) -> Self {
        Self {
            memory,
            interpreter,
            running,
            code: CodeCache::default(),
            kinds: Kinds::default(),
            sides: Vec::new(),
            torn: 0,
            told: BTreeSet::new(),
        }
    }

    /// The task of a record; `None` where it is none.
    fn task(&mut self, record: &[u64]) -> Result<Option<Task>> {
        let bytes: Vec<u8> = record.iter().flat_map(|word| word.to_le_bytes()).collect();
        let decode::Record::Task(record) = decode::decode(&bytes)? else {
            bail!("no record of a task")
        };
        if record.address.is_null()
            || !self
                .interpreter
                .is_task_type(self.memory, record.layout, record.task_type)?
        {
            return Ok(None);
        }
        match record.status {
            TaskStatus::Opaque => return Ok(None),
            TaskStatus::Torn => {
                self.torn += 1;
                return Ok(None);
            }
            TaskStatus::Complete | TaskStatus::Truncated => {}
            TaskStatus::Fault | TaskStatus::Refused => bail!("a task cannot be read"),
        }
        if !self.told.insert(record.address) {
            return Ok(None);
        }
        let objects = self.interpreter.objects(self.memory);
        let mut stack = Vec::new();
        for (code, instruction) in record.frames() {
            stack.push(self.code.frame(&objects, code, instruction)?);
        }
        if record.left_out > 0 && record.state != TaskState::Running {
            // Between the innermost frames and the outermost ones, which stay.
            let outermost = ring::outermost(stack.len() as u32) as usize;
            let place = stack.len() - outermost;
            stack.insert(place, awaitwhat::snapshot::Frame::left_out(Some(record.left_out)));
        }
        let (state, waits_on) = self.waits(&record, &stack)?;
        if record.state == TaskState::Waiting {
            awaitwhat::reading::greenlets::mark(&mut stack);
        }
        // Before 3.8 tasks have none.
        let name = (!record.name.is_null()).then_some(Fragment {
            start: record.name,
            bytes: record.name_bytes,
        });
        let is_loop = |it: &&EventLoop| it.address == record.event_loop;
        Ok(Some(Task {
            id: record.address.to_string(),
            name: name.map(|name| objects.task_name(name)).transpose()?,
            tid: self.running.iter().find(is_loop).map(|it| it.tid),
            state: state.to_owned(),
            stack: stack.iter().map(shown).collect::<Result<_>>()?,
            waits_on,
            awaited_by: Vec::new(),
            optional_awaited_by: Vec::new(),
            truncated: record.left_out > 0 || record.status == TaskStatus::Truncated,
            cancelling: record.cancellations,
            trio: None,
        }))
    }

    /// The state of a task, and what it waits for.
    fn waits(
        &mut self,
        record: &TaskRecord<'_>,
        stack: &[awaitwhat::snapshot::Frame],
    ) -> Result<(&'static str, Option<WaitsOn>)> {
        let objects = self.interpreter.objects(self.memory);
        let types = self.interpreter.future_types(record.layout).context("no types")?;
        let suspension = Suspension::of(record);
        let python_future = self.kinds.python_future(objects, types, &suspension)?;
        let frames = self
            .interpreter
            .frames(self.memory, record.layout)
            .context("no frames")?;
        let python_state = match python_future {
            Some(future) => Reader::new(frames, Some(*types), false).python_state(future)?,
            None => None,
        };
        let state = match record.state {
            TaskState::Running => "running",
            TaskState::Created => "ready",
            TaskState::Waiting if python_state.is_some_and(|it| it != FutureState::Pending) => "ready",
            TaskState::Waiting if self.kinds.is_ready(objects, types, &suspension)? => "ready",
            TaskState::Waiting => "pending",
        };
        let end = match (record.state, record.status) {
            (TaskState::Waiting, TaskStatus::Complete) => {
                self.kinds.end(objects, types, &suspension, stack.first())?
            }
            _ => None,
        };
        let is_waiting = state == "pending";
        self.sides.push(Side {
            task: record.address,
            turn: Turn::of(&record.origin),
            time: 0,
            again: None,
            end: end
                .as_ref()
                .filter(|_| is_waiting)
                .and_then(|end| match end.kind {
                    WaitKind::Task => Some(edges::End::Task(end.object)),
                    WaitKind::Other => None,
                    _ => Some(edges::End::Future(end.object)),
                }),
            group: ends::group(stack, record.first_variables).filter(|_| is_waiting),
            open_groups: Box::default(),
            links: record.links.iter().collect(),
            cut_callbacks: record.cut_callbacks,
        });
        let waits_on = match end {
            Some(end) => Some(WaitsOn {
                kind: as_text(end.kind)?,
                id: end.object.to_string(),
                type_name: end.type_name.to_string(),
                state: end.state.or(python_state).map(as_text).transpose()?,
            }),
            None => None,
        };
        Ok((state, waits_on))
    }

    fn add_awaiters(&self, tasks: &mut [Task]) {
        let joined = edges::join(&self.sides);
        let mut found: BTreeMap<String, BTreeSet<Address>> = BTreeMap::new();
        for (side, waits) in self.sides.iter().zip(&joined.waits) {
            for awaited in &waits.tasks {
                found.entry(awaited.to_string()).or_default().insert(side.task);
            }
        }
        for task in tasks {
            let waiters = found.remove(&task.id).unwrap_or_default();
            task.awaited_by = waiters.iter().map(Address::to_string).collect();
        }
    }
}

fn shown(frame: &awaitwhat::snapshot::Frame) -> Result<Frame> {
    Ok(Frame {
        function: frame.function.to_string(),
        file: frame.file.to_string(),
        line: frame.line,
        kind: Some(as_text(frame.kind)?),
    })
}

/// How a unit variant is written.
fn as_text(value: impl serde::Serialize) -> Result<String> {
    Ok(serde_json::from_value(serde_json::to_value(value)?)?)
}
