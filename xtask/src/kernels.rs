//! `cargo xtask kernels`: runs live tests on other kernels than the machine's, each in an emulated machine.
//!
//! The guests see one root file system, held in memory ([`image`]): the interpreter, awaitwhat, and test binaries of this machine, each
//! where it is here. They need no driver, no network, and no right on the host.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{debian, test};

mod guest;
mod image;
mod package;

use guest::Report;
use package::Kernel;

/// Suites of Debian, each with the kernel of its package `linux-image-cloud-amd64`: the oldest that awaitwhat supports (6.1), the one
/// between (6.12), and the newest that Debian builds.
const SUITES: [&str; 3] = ["bookworm", "trixie", "trixie-backports"];
/// Guests that run at the same time. Each emulates two CPUs: the observer needs one beside the target's.
const AT_ONCE: usize = 2;

/// Run live tests on Linux 6.1, 6.12, and the newest that Debian has, in emulated machines
#[derive(Args)]
pub struct Arguments {
    /// Suites of Debian whose kernel to boot, in place of the supported range
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Print all that the guests write, also where nothing failed
    #[arg(long)]
    verbose: bool,
}

/// Provides kernels, emulator, and image, runs every guest, and counts.
pub fn run(arguments: &Arguments) -> Result<()> {
    debian::need("qemu-system-x86_64", "qemu-system-x86")?;
    let suites: Vec<&str> = if arguments.suites.is_empty() {
        SUITES.to_vec()
    } else {
        arguments.suites.iter().map(String::as_str).collect()
    };
    let kernels = suites
        .into_iter()
        .map(package::kernel)
        .collect::<Result<VecDeque<_>>>()?;
    test::build()?;
    let image = image::make(&package::busybox()?)?;
    let reports = run_guests(kernels, &image)?;
    let mut failed = 0;
    for report in &reports {
        if arguments.verbose || !report.is_success() {
            println!("{}", report.console);
        }
    }
    for report in &reports {
        println!("{}", report.line());
        failed += usize::from(!report.is_success());
    }
    if failed > 0 {
        bail!("{failed} of {} kernels failed", reports.len());
    }
    Ok(())
}

/// Runs a guest per kernel, [`AT_ONCE`] at the same time; the reports are in the kernels' order.
fn run_guests(kernels: VecDeque<Kernel>, image: &Path) -> Result<Vec<Report>> {
    let waiting = Mutex::new(kernels.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut reports = Vec::new();
        while let Some((index, kernel)) = next() {
            reports.push((index, guest::run(&kernel, image)));
        }
        reports
    };
    let reports = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results.collect::<Result<Vec<_>, _>>().ok()
    });
    let reports = reports.context("a guest's thread panicked")?;
    let mut reports: Vec<_> = reports.into_iter().flatten().collect();
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}
