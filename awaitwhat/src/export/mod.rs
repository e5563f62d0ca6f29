//! Exports for machines: pure functions from the model to a stream, a file per format.

mod finding_json;
pub mod flamegraph;
pub mod folded;
mod json;
pub mod profile_json;
mod resource_json;
pub mod snapshot_json;
pub mod survey_json;

#[cfg(test)]
mod schema_tests;
