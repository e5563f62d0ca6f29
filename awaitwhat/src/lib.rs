//! What awaits what in a running asyncio program.
//!
//! Data flows one way; see `ARCHITECTURE.md`.

pub mod capture;
pub mod decode;
pub mod memory;
pub mod profile;
pub mod snapshot;
