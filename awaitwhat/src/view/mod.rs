//! Views for people: pure functions from the model to text.
//!
//! Every piece of text that comes from the target goes through [`escape`]: names and paths of a hostile program must not reach
//! the terminal as they are.

pub mod diff;
pub mod doctor;
pub mod escape;
pub mod graph;
pub mod losses;
pub mod stack;
pub mod style;
pub mod summary;
pub mod survey;
pub mod table;
pub mod top;
pub mod tree;
pub mod why;

mod blocked;
mod branches;
mod chosen;
mod deadlock;
pub(crate) mod findings;
mod held;
mod jobs;
mod merged;
mod names;
mod rows;
pub(crate) mod wait_times;
mod waits;
mod warnings;
