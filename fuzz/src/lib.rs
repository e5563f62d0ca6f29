//! Drives fuzz targets, on stable Rust.
//!
//! A target is a test called `fuzz_NAME`, beside what it tries. It takes all of its decisions from [`Choices`], that is from bytes, so that
//! these bytes are the whole of an input; and it notes in [`Reached`] where it came. Inputs that came to a new place are kept, and
//! changed a little for the next ones. Under `cargo test` a target is tried a fixed number of times, always with the same inputs. `cargo xtask
//! fuzz` gives it minutes, and tries one input again.

mod choices;
mod corpus;
mod reached;
mod target;

pub use choices::Choices;
pub use reached::{Place, Reached};
pub use target::Target;

/// Variables of the environment by which `cargo xtask fuzz` tells a target what to do.
pub mod variable {
    /// For how many seconds to try.
    pub const SECONDS: &str = "AWAITWHAT_FUZZ_SECONDS";
    /// What the inputs are made from: a number.
    pub const SEED: &str = "AWAITWHAT_FUZZ_SEED";
    /// The one input to try, in hexadecimal.
    pub const INPUT: &str = "AWAITWHAT_FUZZ_INPUT";
}
