//! The command line: from arguments to a model, and from the model to a stream.

pub mod args;
pub mod config;
pub mod exit;
