//! Tasks of the repository: `cargo xtask <task>`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod debian;
mod dist;
mod ebpf;
mod fuzz;
mod kernels;
mod pythons;
mod repo;
mod servers;
mod shells;
mod soak;
mod supported;
mod test;

/// Tasks of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::Arguments),
    /// Build the eBPF object, byte for byte the same on every machine, and put it where it is committed
    BuildEbpf {
        /// Change nothing; fail when the committed object is not what the source gives
        #[arg(long)]
        check: bool,
    },
    Dist(dist::Arguments),
    Fuzz(fuzz::Arguments),
    Kernels(kernels::Arguments),
    /// Run clippy over the eBPF side, warnings denied
    LintEbpf,
    /// Check the tables of offsets against the interpreters' debug information and headers; print what a version without a
    /// table has
    Offsets {
        /// Only interpreters whose label begins like this, for example 3.15
        #[arg(default_value = "")]
        label: String,
    },
    Soak(soak::Arguments),
    /// Write what the last whole run of the tests covered into docs/supported.md
    Supported,
    /// Provide the interpreters that the tests need, and print where they are
    Pythons,
    /// Provide what the tests need, build everything and run every test
    Test(test::Arguments),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if ebpf::wrapper::is_requested() {
        return ebpf::wrapper::run();
    }
    match Arguments::parse().task {
        Task::Bench(arguments) => bench::run(&arguments),
        Task::BuildEbpf { check: false } => ebpf::build(),
        Task::BuildEbpf { check: true } => ebpf::check(),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Kernels(arguments) => kernels::run(&arguments),
        Task::LintEbpf => ebpf::lint(),
        Task::Pythons => pythons::print(),
        Task::Offsets { label } => test::offsets(&label),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Supported => supported::write(),
        Task::Test(arguments) => test::run(&arguments),
    }
}
