//! Fuzz targets of everything that reads a target's objects: images of real-looking ones, of every version, with some words changed.
//!
//! Those of a single format lie beside what reads it: `decode`, `symbolize/line_table`, `target/elf`, `capture/kernel_types`,
//! `processes`; and that of a whole process in `target/fuzz_tests`.

mod blocks;
pub(crate) mod hostile;
mod jobs;
mod objects;
mod readers;
mod waits;
mod world;
