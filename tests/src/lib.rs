//! Support for the tests that run against live interpreters.
//!
//! `cargo xtask test` provides the interpreters and says where they are in the environment; see [`environment`].

pub mod churn;
pub mod compare;
pub mod dwarf;
pub mod environment;
pub mod extension;
pub mod firefox_profile;
pub mod grammar;
pub mod output;
pub mod peer_memory;
pub mod processes;
pub mod quick;
pub mod resident;
pub mod results;
pub mod servers;
pub mod settings;
pub mod swap;
pub mod target;
pub mod tool;
pub mod trace;
pub mod trace_events;
pub mod trials;
