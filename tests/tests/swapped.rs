//! A target whose memory is swapped out. Swap space is the whole machine's, and changes what memory others have: this is no test among others.

use anyhow::{Context, ensure};
use awaitwhat_tests::compare::differences;
use awaitwhat_tests::environment;
use awaitwhat_tests::resident::Resident;
use awaitwhat_tests::swap::Swap;
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{self, skipped, trial};
use libtest_mimic::Trial;

/// Swap space for one target; how much of it has nothing to do with tasks, in KiB; and how much may come back for 200 tasks and their interpreter.
const SWAP_MIB: usize = 96;
const BALLAST_KIB: u64 = 32 << 10;
const BROUGHT_BACK_KIB: u64 = 4 << 10;

fn main() -> anyhow::Result<()> {
    trials::run_alone("swapped", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    Ok(vec![match Swap::add(Swap::LEAST_MIB) {
        Ok(_) => trial("swapped_out", swapped_out),
        Err(error) => skipped(
            "swapped_out",
            &format!("swap space cannot be had here: {error:#}"),
        ),
    }])
}

/// Of memory that is swapped out, no more comes back than what is needed.
fn swapped_out() -> anyhow::Result<()> {
    let _swap = Swap::add(SWAP_MIB)?;
    let pythons = environment::release_pythons()?;
    let python = pythons.iter().find(|it| it.command.len() == 1);
    let python = python.context("no interpreter is here")?;
    let mut target = Target::start::<&str>(python, "paged_out.py", &[])?;
    let tasks = target.tasks()?;
    target.ask("page out")?;
    let before = Resident::of(target.pid)?;
    ensure!(before.swapped > BALLAST_KIB, "it was not swapped out: {before:?}");
    let snapshot = tool::snapshot(target.pid)?;
    let after = Resident::of(target.pid)?;
    let found = differences(&tasks, &snapshot);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    let back = before.swapped.saturating_sub(after.swapped);
    eprintln!(
        "{} KiB were swapped out, of which {back} came back",
        before.swapped
    );
    ensure!(back < BROUGHT_BACK_KIB, "{before:?} became {after:?}");
    Ok(())
}
