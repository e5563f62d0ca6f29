//! `awaitwhat trace` tells what tasks waited for, and for how long: also of things that one line of code waits for by turns, which no chain tells apart.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::output::{Chain, Profile, Resource};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::{tool, trials};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

const SECONDS: u32 = 12;
const RATE: u32 = 99;
/// Versions, and shares of the time that the program works, in percent.
const TRACED: [((u32, u32), u32); 4] = [((3, 8), 50), ((3, 11), 5), ((3, 12), 50), ((3, 14), 50)];
/// How much of the time of a line of code may be of things that are not known.
const UNKNOWN: f64 = 0.02;
/// How far a share may be from the truth besides what chance does, and how many standard deviations that may be.
const TOLERANCE: f64 = 0.03;
const DEVIATIONS: f64 = 4.0;
/// Fewer answers than these show nothing.
const FEW: f64 = 20.0;

fn main() -> anyhow::Result<()> {
    trials::run_alone("wait_shares", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let mut list = Vec::new();
    for python in environment::release_pythons()? {
        for (_, percent) in TRACED.iter().filter(|(version, _)| *version == python.version) {
            let name = format!("{}::{percent}_percent_busy", python.label);
            let (python, percent) = (python.clone(), *percent);
            list.push(trials::trial(name, move || check(&python, percent)));
        }
    }
    Ok(list)
}

/// What the program says of itself.
#[derive(Debug, Deserialize)]
struct Account {
    /// Addresses of its servers.
    peers: BTreeMap<String, String>,
    /// For how long its tasks have waited for each server, and for each lock.
    seconds: BTreeMap<String, f64>,
}

impl Account {
    fn of(report: Value) -> anyhow::Result<Self> {
        serde_json::from_value(report).context("the program's account is malformed")
    }
}

fn check(python: &Python, percent: u32) -> anyhow::Result<()> {
    let mut program = Target::start(python, "wait_shares.py", &[percent.to_string()])?;
    let before = Account::of(program.ask("report")?)?;
    let profile = tool::profile(program.pid, SECONDS, RATE)?;
    let after = Account::of(program.ask("report")?)?;
    let during = |name: &str| after.seconds[name] - before.seconds[name];

    let asked = waits(&profile, "ask");
    let near = share_of(&asked, |it| it.peer.as_ref() == after.peers.get("near"))?;
    let far = share_of(&asked, |it| it.peer.as_ref() == after.peers.get("far"))?;
    let expected = during("near") / (during("near") + during("far"));
    println!(
        "{}: {:.1} % busy, near {:.3}, shown {:.3} of {:.0} answers",
        python.label,
        profile.busy_share * 100.0,
        expected,
        near.share,
        near.answers + far.answers
    );
    ensure!(
        near.share + far.share > 1.0 - UNKNOWN,
        "something else was waited for: {:?}",
        asked.iter().map(|chain| &chain.resource).collect::<Vec<_>>()
    );
    let answers = near.answers + far.answers;
    ensure!(answers >= FEW, "{answers:.0} answers are too few");
    let by_chance = DEVIATIONS * (expected * (1.0 - expected) / answers).sqrt();
    ensure!(
        (near.share - expected).abs() < TOLERANCE + by_chance,
        "{expected:.3} of the time was waited for the near server, shown {:.3} of {answers:.0} answers",
        near.share
    );

    let guests = waits(&profile, "enter");
    let acquiring: Vec<_> = guests
        .into_iter()
        .filter(|chain| chain.frames[0].function.ends_with("acquire"))
        .collect();
    let gate = share_of(&acquiring, |it| {
        it.kind == "lock" && it.label.as_deref() == Some("gate")
    })?;
    ensure!(gate.share > 1.0 - UNKNOWN, "the locks are called {acquiring:?}");
    Ok(())
}

/// Chains of waiting tasks that lead through a function.
fn waits<'a>(profile: &'a Profile, function: &str) -> Vec<&'a Chain> {
    let is_it = |chain: &&Chain| {
        let mut functions = chain.frames.iter().map(|frame| frame.function.rsplit('.').next());
        chain.state == "waiting" && functions.any(|name| name == Some(function))
    };
    profile.chains.iter().filter(is_it).collect()
}

struct Shown {
    share: f64,
    answers: f64,
}

/// How much of the time of some chains is of such a thing.
fn share_of(chains: &[&Chain], is_it: impl Fn(&Resource) -> bool) -> anyhow::Result<Shown> {
    let whole: f64 = chains.iter().map(|chain| chain.task_seconds).sum();
    ensure!(whole > 0.0, "there is no such chain");
    let found = || {
        chains
            .iter()
            .filter(|chain| chain.resource.as_ref().is_some_and(&is_it))
    };
    Ok(Shown {
        share: found().map(|chain| chain.task_seconds).sum::<f64>() / whole,
        answers: found().map(|chain| chain.answers).sum(),
    })
}
