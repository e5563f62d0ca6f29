//! The walk from a registry of tasks to their terminal awaitables, written once.
#![no_std]
#![forbid(unsafe_code)]
