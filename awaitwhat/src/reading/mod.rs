//! What a record says of a task besides its chain: plain values, made of what the walk read in the turn of that chain.
//!
//! No kernel and no clock: tests drive it over any [`crate::memory::Memory`], from which nothing is read but types, which are asked
//! whether they are types.

pub mod edges;
pub mod ends;
pub mod greenlets;
pub mod still;
