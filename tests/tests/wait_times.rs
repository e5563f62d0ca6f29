//! `awaitwhat trace` tells how long waits took, one by one, as the program itself does.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Profile, WaitTimes};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

const SECONDS: u32 = 7;
const RATE: u32 = 99;
const VERSIONS: [(u32, u32); 3] = [(3, 8), (3, 12), (3, 14)];
/// Lengths are told with two digits.
const DIGITS: f64 = 0.01;
/// Waits at either end of the trace that the program and awaitwhat may see otherwise.
const ENDS: usize = 2;

fn main() -> anyhow::Result<()> {
    trials::run_alone("wait_times", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::release_pythons()?.into_iter();
    let chosen = pythons.filter(|python| VERSIONS.contains(&python.version));
    Ok(chosen
        .map(|python| {
            let name = format!("{}::long_and_short", python.label);
            trials::trial(name, move || check(&python))
        })
        .collect())
}

/// What the program says of itself: when waits began and ended, by its monotonic clock.
#[derive(Debug, Deserialize)]
struct Account {
    now: f64,
    taken: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Account {
    fn of(report: Value) -> anyhow::Result<Self> {
        serde_json::from_value(report).context("the program's account is malformed")
    }

    /// The lengths of the waits of a function that began and ended since `begin`, shortest first.
    fn lengths(&self, function: &str, begin: f64) -> Vec<f64> {
        let waits = self.taken[function].iter();
        let mut lengths: Vec<f64> = waits
            .filter(|(since, _)| *since >= begin)
            .map(|(since, until)| until - since)
            .collect();
        lengths.sort_by(f64::total_cmp);
        lengths
    }
}

fn check(python: &Python) -> anyhow::Result<()> {
    let mut program = Target::start::<&str>(python, "wait_times.py", &[])?;
    let before = Account::of(program.ask("report")?)?;
    let profile = tool::profile(program.pid, SECONDS, RATE)?;
    let after = Account::of(program.ask("report")?)?;
    for (function, least) in [("one_long", 3), ("six_short", 20)] {
        let truth = after.lengths(function, before.now);
        let waits = waits_in(&profile, function)?;
        println!("{} {function}: {waits:?}, truth {truth:?}", python.label);
        ensure!(
            truth.len() >= least,
            "the program has made too few waits to tell: {truth:?}"
        );
        let seen = waits.whole as usize;
        ensure!(
            seen <= truth.len() && seen + ENDS >= truth.len(),
            "{seen} waits of {truth:?}"
        );
        ensure!(waits.in_part <= 2 && waits.returns == 0, "{waits:?}");
        let precision = waits.precision_seconds.context("there is no precision")?;
        let is_right = |shown: Option<f64>, truth: f64| {
            shown.is_some_and(|shown| (shown - truth).abs() <= precision + DIGITS * truth)
        };
        let (shortest, longest) = (truth[0], truth[truth.len() - 1]);
        // What the program measures includes the turns at both ends, and not all of the waits are the same ones.
        ensure!(
            is_right(waits.max_seconds, longest) || waits.max_seconds < Some(longest),
            "{waits:?}, longest {longest}"
        );
        ensure!(
            is_right(waits.p50_seconds, shortest) || waits.p50_seconds > Some(shortest),
            "{waits:?}, shortest {shortest}"
        );
    }
    let never = waits_in(&profile, "never")?;
    let seen = never.longest_in_part_seconds.context("it was not seen")?;
    ensure!((never.whole, never.in_part) == (0, 1), "{never:?}");
    ensure!(
        seen > f64::from(SECONDS) - 0.5 && seen <= profile.duration_seconds,
        "it waited all the time: {never:?}"
    );
    // Tasks that are back within the time between two looks are told of as such.
    let back = waits_in(&profile, "back_soon")?;
    println!("{} back_soon: {back:?}", python.label);
    ensure!(back.returns > 0, "{back:?}");
    Ok(())
}

fn waits_in<'a>(profile: &'a Profile, function: &str) -> anyhow::Result<&'a WaitTimes> {
    let mut points = profile.await_points.iter();
    let point = points.find(|point| point.function == function);
    Ok(&point
        .with_context(|| format!("{function} is not among the await points"))?
        .waits)
}
