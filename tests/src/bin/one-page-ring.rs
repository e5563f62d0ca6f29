//! `one-page-ring snapshot|profile|summary PID`: what `ps --json` and `trace` show where the ring buffer has one page only.

use std::env;
use std::future::pending;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use awaitwhat::export::{profile_json, snapshot_json};
use awaitwhat::profile::Profile;
use awaitwhat::selection::Selection;
use awaitwhat::session::{self, Options, TraceOptions};
use awaitwhat::view::summary;
use awaitwhat_common::limits::MAX_FRAMES;

/// Room for some twenty tasks.
const RING_BYTES: u32 = 4096;
/// How long it traces.
const DURATION: Duration = Duration::from_secs(3);

fn options() -> Options {
    Options {
        budget: Duration::from_micros(100),
        max_frames: MAX_FRAMES,
        mine: [].into(),
        slow: Duration::from_secs(10),
        arguments: false,
        ring_bytes: RING_BYTES,
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, pid] = arguments.as_slice() else {
        bail!("usage: one-page-ring snapshot|profile|summary PID");
    };
    let selection = Selection::of(pid.parse()?);
    let mut stdout = io::stdout().lock();
    match what.as_str() {
        "snapshot" => {
            let found = session::snapshots(&selection, &options()).await?;
            let snapshot = found.targets.first().context("no snapshot")?;
            snapshot_json::write(snapshot, &mut stdout)?;
        }
        "profile" => profile_json::write(&traced(&selection).await?, &mut stdout)?,
        "summary" => {
            let profile = traced(&selection).await?;
            summary::write(&profile, MAX_FRAMES, None, &mut stdout)?;
        }
        other => bail!("{other}: nothing of this kind is shown"),
    }
    Ok(())
}

async fn traced(selection: &Selection) -> Result<Profile> {
    let options = TraceOptions {
        reading: options(),
        rate_hz: 99,
        duration: Some(DURATION),
        just_started: false,
        keeps_timeline: false,
    };
    let so_far = (session::Interim::default(), |_| {});
    let trace = session::trace(selection, &options, None, pending::<()>(), |_| {}, so_far, |_| {}).await?;
    trace.survey.targets.into_iter().next().context("no profile")
}
