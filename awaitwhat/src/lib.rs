//! What awaits what in a running asyncio program.
//!
//! Data flows one way; see `ARCHITECTURE.md`.

// They panic where nobody reads: what is said goes through `cli::diagnostics`, what is shown through `cli`'s standard output.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod budget;
pub mod capture;
pub mod chains;
pub mod check;
pub mod cli;
pub mod condition;
pub mod core_file;
pub mod decode;
pub mod export;
pub mod file_kinds;
pub mod findings;
pub mod graph;
pub mod import;
pub mod layout;
pub mod memory;
pub mod origin;
pub mod pattern;
pub mod privileges;
pub mod processes;
pub mod profile;
pub mod python;
pub mod reading;
pub mod recording;
pub mod resource;
pub mod selection;
pub mod session;
pub mod snapshot;
pub mod survey;
pub mod symbolize;
pub mod target;
pub mod view;
pub mod waits;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod testing;
