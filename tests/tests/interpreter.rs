//! What user space finds in live interpreters, through `process_vm_readv`: versions, event loops, tasks.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use awaitwhat::memory::{Address, Memory};
use awaitwhat::target::{Interpreter, find_interpreter};
use awaitwhat_common::event::task;
use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::trials::shapes;
use awaitwhat_walker::{Flow, Host, Record, Walk};

/// A task of the pure-Python implementation, named `pure`, among others.
const PURE_PYTHON: &str = "pure_python_tasks.py";

/// Drives the walker over the memory of a process at rest.
struct PeerHost<'a> {
    memory: &'a PeerMemory,
    records: Vec<Vec<u64>>,
}

impl Host for PeerHost<'_> {
    fn read_window(&mut self, address: u64, window: &mut [u64; WINDOW_WORDS]) -> bool {
        let mut is_readable = false;
        for (index, word) in window.iter_mut().enumerate() {
            let read = self.memory.read_u64(Address(address + index as u64 * 8));
            is_readable |= read.is_ok();
            *word = read.unwrap_or(0);
        }
        is_readable
    }

    fn read_word(&mut self, address: u64) -> Option<u64> {
        self.memory.read_u64(Address(address)).ok()
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        false
    }

    fn emit(&mut self, record: &Record) {
        self.records.push(record.words().collect());
    }
}

fn walk(memory: &PeerMemory, layout: &Layout, plan: &ThreadPlan) -> Result<Vec<Vec<u64>>> {
    let mut host = PeerHost {
        memory,
        records: Vec::new(),
    };
    let mut walk = Walk::NEW;
    walk.begin_slice(plan, false, 0, 0, 0);
    loop {
        if let Flow::Done(status) = walk.step(layout, plan, &mut host) {
            ensure!(
                status == SliceStatus::PassComplete,
                "the walk ended with {status:?}"
            );
            return Ok(host.records);
        }
    }
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
    let interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    Ok((memory, interpreter))
}

#[test]
fn finds_every_task_of_every_shape() -> Result<()> {
    let mut failures = Vec::new();
    for python in pythons() {
        for shape in shapes()? {
            if shape.missing(&python).is_some() {
                continue;
            }
            if let Err(error) = check_tasks(&python, &shape.file()) {
                failures.push(format!("{} {}: {error:#}", python.label, shape.name));
            }
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn check_tasks(python: &Python, file: &str) -> Result<()> {
    let target = Target::start::<&str>(python, file, &[])?;
    let (memory, mut interpreter) = find(&target)?;
    ensure!(target.announced["python"] == interpreter.version.to_string().as_str());
    let loops = interpreter.event_loops(&memory)?;
    let opaque = interpreter.count_opaque_tasks(&memory)?;
    ensure!(
        (opaque == 1) == (file == PURE_PYTHON),
        "{opaque} tasks are opaque"
    );
    let truth: BTreeSet<String> = target
        .tasks()?
        .into_iter()
        .filter(|task| opaque == 0 || task.name.as_deref() != Some("pure"))
        .map(|task| task.id)
        .collect();
    let mut found = BTreeSet::new();
    for plan in &loops.plans {
        let layout = interpreter.layout().context("there is a loop, but no layout")?;
        for record in walk(&memory, layout, plan)? {
            let word = |at: usize| Address(record.get(at).copied().unwrap_or(0));
            let address = word(task::ADDRESS);
            if !address.is_null() && interpreter.is_task_type(&memory, word(task::TYPE))? {
                ensure!(found.insert(address.to_string()), "{address} was visited twice");
            }
        }
    }
    ensure!(
        found == truth,
        "found {found:?}, but there are {truth:?} in {loops:?}"
    );
    Ok(())
}
