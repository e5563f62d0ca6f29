//! What each task waits for: rules say which function waits for what and where the facts of it are, a reader follows them.
//!
//! Everything here reads memory that stands still meanwhile, or of which is proven afterwards that the task had no turn. What does not fit
//! together is an error, and never a guess: the future that ends the chain has to be the one that the rule finds.

mod deadlines;
mod fields;
mod futures;
mod holders;
mod known;
mod label;
mod path;
mod reader;
mod requests;
mod rules;
mod sql;
mod values;

pub use holders::Held;
pub use reader::{Learnt, Reader, Waiting};
pub use rules::Rules;
