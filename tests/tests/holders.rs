//! What tasks are inside of, and who holds what others wait for.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use awaitwhat::memory::Address;
use awaitwhat::python::inside::Blocks;
use awaitwhat::session::own_thread_ids;
use awaitwhat::target::find_interpreter;
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::peer_memory::{PeerMemory, mappings};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::trials;
use libtest_mimic::Trial;
use serde::Deserialize;

fn main() -> Result<()> {
    trials::run("holders", list)
}

fn list() -> Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::pythons()? {
        let name = format!("{}::blocks", python.label);
        list.push(trials::trial(name, move || blocks(&python)));
    }
    Ok(list)
}

/// What a target says of one of its tasks.
#[derive(Deserialize)]
struct Truth {
    coroutine: String,
    /// The objects whose blocks it is inside of, outermost first.
    inside: Vec<String>,
}

fn address(text: &str) -> Result<Address> {
    let digits = text.strip_prefix("0x").context("an address begins with 0x")?;
    Ok(Address(u64::from_str_radix(digits, 16)?))
}

/// What suspended tasks are inside of, as it is read from their stacks.
fn blocks(python: &Python) -> Result<()> {
    let target = Target::start::<&str>(python, "holders.py", &[])?;
    let truth: BTreeMap<String, Truth> = serde_json::from_value(target.announced["blocks"].clone())?;
    let memory = PeerMemory::new(target.pid)?;
    let mut interpreter = find_interpreter(&memory, &mappings(target.pid)?)?;
    interpreter.process_id = Some(target.pid);
    let loops = interpreter.event_loops(&memory, &|| own_thread_ids(target.pid))?;
    let plan = loops.plans.first().context("no loop was found")?;
    let frames = interpreter
        .frames(&memory, plan.layout)
        .context("there is a plan, but no layout")?;
    let mut blocks = Blocks::new(frames);
    let mut wrong = Vec::new();
    for (name, truth) in &truth {
        let chain = frames.chain_frames(address(&truth.coroutine)?)?;
        let found: Vec<String> = blocks
            .of_chain(&chain)?
            .iter()
            .map(|block| block.object.to_string())
            .collect();
        if found != truth.inside {
            wrong.push(format!("{name} is inside of {:?}, found {found:?}", truth.inside));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
