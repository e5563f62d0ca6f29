//! What awaits what in a running asyncio program.
//!
//! Data flows one way; see `ARCHITECTURE.md`.

pub mod capture;
pub mod layout;
pub mod memory;
pub mod profile;
pub mod python;
pub mod snapshot;
pub mod symbolize;
pub mod target;
